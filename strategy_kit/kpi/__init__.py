"""KPIs: declared metrics, how sure they are, and decompositions of their change that add up."""

from __future__ import annotations

from strategy_kit.kpi.growth import drivers, merchant_growth
from strategy_kit.kpi.table import table
from strategy_kit.kpi.uncertainty import change, uncertainty, yardsticks

__all__ = ["change", "drivers", "merchant_growth", "table", "uncertainty", "yardsticks"]
