"""Difference-in-differences: every estimator is a function of a panel that returns `Estimates`."""

from __future__ import annotations

from strategy_kit.did.aggregate import by_cohort, by_period, event_study, overall
from strategy_kit.did.bacon import bacon
from strategy_kit.did.comparison import balance, overlap
from strategy_kit.did.diagnostics import base_periods, cohort_sizes, composition, thin_cells
from strategy_kit.did.dose import dose_response
from strategy_kit.did.group_time import group_time
from strategy_kit.did.groups import by_group, leave_one_out
from strategy_kit.did.imputation import imputation
from strategy_kit.did.levers import lever_effects
from strategy_kit.did.pilot import pilot_contrast
from strategy_kit.did.poisson import poisson, poisson_saturated
from strategy_kit.did.pretrends import pretrend_power, pretrend_test
from strategy_kit.did.regression import saturated, sun_abraham, two_way, two_way_event_study
from strategy_kit.did.stacked import stacked
from strategy_kit.did.synthetic import synthetic, synthetic_control
from strategy_kit.did.triple import eligible_gap, triple_difference
from strategy_kit.inference import Multiplier

__all__ = [
    "Multiplier",
    "bacon",
    "balance",
    "base_periods",
    "by_cohort",
    "by_group",
    "by_period",
    "cohort_sizes",
    "composition",
    "dose_response",
    "eligible_gap",
    "event_study",
    "group_time",
    "imputation",
    "leave_one_out",
    "lever_effects",
    "overall",
    "overlap",
    "pilot_contrast",
    "poisson",
    "poisson_saturated",
    "pretrend_power",
    "pretrend_test",
    "saturated",
    "stacked",
    "sun_abraham",
    "synthetic",
    "synthetic_control",
    "thin_cells",
    "triple_difference",
    "two_way",
    "two_way_event_study",
]
