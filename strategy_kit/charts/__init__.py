"""Charts: free functions from tidy frames to Altair charts; importing the room turns the kit's look on."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.charts.attainment import attainment
from strategy_kit.charts.bacon import bacon
from strategy_kit.charts.bunching import bunching, met_by_band
from strategy_kit.charts.cohort_paths import cohort_paths
from strategy_kit.charts.competition import competition
from strategy_kit.charts.control import process_control
from strategy_kit.charts.curves import retention_curves
from strategy_kit.charts.effects_grid import effects_grid
from strategy_kit.charts.estimators import estimator_comparison
from strategy_kit.charts.event_study import event_study
from strategy_kit.charts.festival_block import festival_block
from strategy_kit.charts.figure import figure
from strategy_kit.charts.fitting import fitting
from strategy_kit.charts.forest import forest, metrics_forest, rank_intervals
from strategy_kit.charts.ladder import ladder_transitions
from strategy_kit.charts.levers import concentration_curve, overlap_map
from strategy_kit.charts.looks import looks
from strategy_kit.charts.multiverse import multiverse
from strategy_kit.charts.nested import nested_forest
from strategy_kit.charts.net import gross_to_net
from strategy_kit.charts.percentiles import percentile_ladder
from strategy_kit.charts.placebo import placebo_strip
from strategy_kit.charts.power import power_curve, what_if
from strategy_kit.charts.price_quadrants import price_quadrants
from strategy_kit.charts.selection import selection_windows
from strategy_kit.charts.sensitivity import sensitivity
from strategy_kit.charts.stacked_effects import stacked_effects
from strategy_kit.charts.synthetic import synthetic_pair
from strategy_kit.charts.theme import enable
from strategy_kit.charts.timeline import effect_timeline
from strategy_kit.charts.trend import kpi_trend
from strategy_kit.charts.triangle import triangle
from strategy_kit.charts.vintages import vintage_areas
from strategy_kit.charts.wallet import growth_together, share_and_level
from strategy_kit.charts.waterfall import growth_waterfall
from strategy_kit.charts.yardsticks import yardsticks

enable()

__all__ = [
    "attainment", "bacon", "bunching", "cohort_paths", "competition", "concentration_curve", "effect_timeline",
    "effects_grid", "estimator_comparison", "event_study", "festival_block", "figure", "fitting", "forest", "gross_to_net",
    "growth_together", "growth_waterfall", "kpi_trend", "ladder_transitions", "looks", "met_by_band", "metrics_forest",
    "multiverse", "nested_forest", "overlap_map", "percentile_ladder", "placebo_strip", "power_curve", "price_quadrants",
    "process_control", "rank_intervals", "retention_curves", "selection_windows", "sensitivity", "share_and_level",
    "stacked_effects", "synthetic_pair", "triangle", "vintage_areas", "what_if", "yardsticks"
]  # fmt: skip

hold_arguments(globals())
