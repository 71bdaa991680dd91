"""The whole web: share of wallet and level together, entry elsewhere, pass-through of growth, and advertising elsewhere."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.whole_web.advertising import (
    Advertisers,
    advertisers,
    advertising_response,
    lag_profile,
    response_by_confidence,
)
from strategy_kit.whole_web.growth import (
    attenuation_bounds,
    by_confidence,
    changes,
    growth_bins,
    log_changes,
    pass_through,
)
from strategy_kit.whole_web.rows import estimates_behind
from strategy_kit.whole_web.share import diversion, entry_panels, growth_split, wallet

__all__ = [
    "Advertisers", "advertisers", "advertising_response", "attenuation_bounds", "by_confidence", "changes",
    "diversion", "entry_panels", "estimates_behind", "growth_bins", "growth_split", "lag_profile", "log_changes",
    "pass_through", "response_by_confidence", "wallet"
]  # fmt: skip

hold_arguments(globals())
