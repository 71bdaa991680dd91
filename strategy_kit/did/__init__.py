"""Difference-in-differences: every estimator is a function of a panel that returns `Estimates`."""

from __future__ import annotations

from strategy_kit.did.aggregate import by_cohort, by_period, event_study, overall
from strategy_kit.did.bacon import bacon
from strategy_kit.did.group_time import group_time
from strategy_kit.did.imputation import imputation
from strategy_kit.did.pilot import pilot_contrast
from strategy_kit.did.poisson import poisson, poisson_saturated
from strategy_kit.did.regression import saturated, sun_abraham, two_way, two_way_event_study
from strategy_kit.did.stacked import stacked
from strategy_kit.did.triple import eligible_gap, triple_difference

__all__ = [
    "bacon",
    "by_cohort",
    "by_period",
    "eligible_gap",
    "event_study",
    "group_time",
    "imputation",
    "overall",
    "pilot_contrast",
    "poisson",
    "poisson_saturated",
    "saturated",
    "stacked",
    "sun_abraham",
    "triple_difference",
    "two_way",
    "two_way_event_study",
]
