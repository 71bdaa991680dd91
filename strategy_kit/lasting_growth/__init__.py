"""Growth that lasts: how much of GMV is kept, who comes back, what festivals only moved, what is new, what is typical."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.lasting_growth.festivals import festival_blocks, festival_weeks_shown
from strategy_kit.lasting_growth.ladder import LOOKBACK, growth_on_ladder, ladder
from strategy_kit.lasting_growth.new_products import NEW_DAYS, new_product_share, sku_survival, vintages
from strategy_kit.lasting_growth.subsidised import FEWEST, later_orders, subsidised_buyers
from strategy_kit.lasting_growth.typical import LONG, NEW, TENURE, typical_merchants

__all__ = [
    "FEWEST", "LONG", "LOOKBACK", "NEW", "NEW_DAYS", "TENURE", "festival_blocks", "festival_weeks_shown", "growth_on_ladder",
    "ladder", "later_orders", "new_product_share", "sku_survival", "subsidised_buyers", "typical_merchants", "vintages"
]  # fmt: skip

hold_arguments(globals())
