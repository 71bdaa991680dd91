"""Cohorts of merchants and buyers: triangles, curves over ages, survival, and supported beside not supported."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.cohort.curves import (
    average,
    by_calendar,
    cumulative_per_member,
    retention,
    supported,
    survival,
    value_retention,
)
from strategy_kit.cohort.triangle import triangle

__all__ = ["average", "by_calendar", "cumulative_per_member", "retention",
           "supported", "survival", "triangle", "value_retention"]  # fmt: skip

hold_arguments(globals())
