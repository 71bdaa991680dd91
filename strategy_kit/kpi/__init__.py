"""KPIs: declared metrics, one query, complete and incomplete periods apart."""

from __future__ import annotations

from strategy_kit.kpi.growth import drivers, merchant_growth
from strategy_kit.kpi.table import table

__all__ = ["drivers", "merchant_growth", "table"]
