"""Price power as fair price on good goods: indexes of matched products, quality-adjusted prices, discounts and drift."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.prices.fairness import dispersion, hedonic, quadrants
from strategy_kit.prices.index import matched_pairs, multilateral, price_index
from strategy_kit.prices.panels import category_prices, competition, discounts, merchant_prices

__all__ = [
    "category_prices", "competition", "discounts", "dispersion", "hedonic", "matched_pairs", "merchant_prices",
    "multilateral", "price_index", "quadrants"
]  # fmt: skip

hold_arguments(globals())
