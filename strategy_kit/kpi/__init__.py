"""KPIs: declared metrics, how sure they are, and decompositions of their change that add up."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.kpi.control import control_limits, process_control, year_on_year
from strategy_kit.kpi.decompositions import entry_and_exit, merchant_ladder, mix_and_rate
from strategy_kit.kpi.growth import drivers, merchant_growth
from strategy_kit.kpi.table import table
from strategy_kit.kpi.uncertainty import change, uncertainty, yardsticks

__all__ = [
    "change", "control_limits", "drivers", "entry_and_exit", "merchant_growth", "merchant_ladder", "mix_and_rate",
    "process_control", "table", "uncertainty", "yardsticks", "year_on_year"
]  # fmt: skip

hold_arguments(globals())
