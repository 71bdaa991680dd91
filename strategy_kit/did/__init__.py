"""Difference-in-differences: every estimator is a function of a panel that returns `Estimates`."""

from __future__ import annotations

from strategy_kit.did.aggregate import by_cohort, by_period, event_study, overall
from strategy_kit.did.group_time import group_time
from strategy_kit.did.pilot import pilot_contrast

__all__ = ["by_cohort", "by_period", "event_study", "group_time", "overall", "pilot_contrast"]
