"""The overseas programme: what joining did at home and abroad, what is sold abroad, and what rates and subsidies make of it."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.overseas.joining import (
    LEVER,
    among_joiners,
    joiners_panel,
    margin_panels,
    overlap_panels,
    sales_panels,
)
from strategy_kit.overseas.trade import constant_currency, growth_split, markets, naive_growth

__all__ = [
    "LEVER", "among_joiners", "constant_currency", "growth_split", "joiners_panel", "margin_panels", "markets",
    "naive_growth", "overlap_panels", "sales_panels"
]  # fmt: skip

hold_arguments(globals())
