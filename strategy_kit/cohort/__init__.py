"""Cohorts of merchants and buyers: triangles, curves over ages, survival, and supported beside not supported."""

from __future__ import annotations

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
from strategy_kit.first_arguments import hold_first_arguments

__all__ = ["average", "by_calendar", "cumulative_per_member", "retention",
           "supported", "survival", "triangle", "value_retention"]  # fmt: skip

hold_first_arguments(globals())
