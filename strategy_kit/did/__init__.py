"""Difference-in-differences: every estimator is a function of a panel that returns `Estimates`."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.did.aggregate import by_cohort, by_period, event_study, overall
from strategy_kit.did.attrition import attrition
from strategy_kit.did.bacon import bacon
from strategy_kit.did.base_windows import selection_windows
from strategy_kit.did.categories import category_effects
from strategy_kit.did.comparison import balance, overlap
from strategy_kit.did.diagnostics import base_periods, cohort_sizes, composition, thin_cells
from strategy_kit.did.dose import dose_response
from strategy_kit.did.group_time import group_time
from strategy_kit.did.groups import by_group, leave_one_out
from strategy_kit.did.imputation import imputation
from strategy_kit.did.just_below import just_below
from strategy_kit.did.ladder import gross_to_net
from strategy_kit.did.lee import lee_bounds
from strategy_kit.did.levers import lever_effects
from strategy_kit.did.multiverse import multiverse, multiverse_summary
from strategy_kit.did.past_growth import past_growth
from strategy_kit.did.paths import pilot_path
from strategy_kit.did.pilot import pilot_contrast
from strategy_kit.did.poisson import poisson, poisson_saturated
from strategy_kit.did.pretrends import pretrend_power, pretrend_test
from strategy_kit.did.ranks import rank_intervals
from strategy_kit.did.regression import saturated, sun_abraham, two_way, two_way_event_study
from strategy_kit.did.returns import return_per_yuan
from strategy_kit.did.selection import Selection
from strategy_kit.did.stacked import stacked
from strategy_kit.did.stratified import within_categories
from strategy_kit.did.symmetric import pre_selection, symmetric
from strategy_kit.did.synthetic import synthetic, synthetic_control
from strategy_kit.did.transport import new_category
from strategy_kit.did.triple import eligible_gap, triple_difference
from strategy_kit.inference import Multiplier

__all__ = [
    "Multiplier", "Selection", "attrition", "bacon", "balance", "base_periods", "by_cohort", "by_group", "by_period",
    "category_effects", "cohort_sizes", "composition", "dose_response", "eligible_gap", "event_study", "gross_to_net",
    "group_time", "imputation", "just_below", "leave_one_out", "lee_bounds", "lever_effects", "multiverse",
    "multiverse_summary", "new_category", "overall", "overlap", "past_growth", "pilot_contrast", "pilot_path", "poisson",
    "poisson_saturated", "pre_selection", "pretrend_power", "pretrend_test", "rank_intervals", "return_per_yuan", "saturated",
    "selection_windows", "stacked", "sun_abraham", "symmetric", "synthetic", "synthetic_control", "thin_cells",
    "triple_difference", "two_way", "two_way_event_study", "within_categories"
]  # fmt: skip

hold_arguments(globals())
