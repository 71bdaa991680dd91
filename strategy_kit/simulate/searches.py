"""What consumers spend on finding what they buy, by category and week."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from strategy_kit.simulate.roster import IS_PILOT, NAMES
from strategy_kit.simulate.world import stream

if TYPE_CHECKING:
    from strategy_kit.simulate.market import Market
    from strategy_kit.simulate.roster import Floats

SAVED = 0.10  # log points less to a purchase in the pilots, at 1
MINUTES, QUERIES, CONVERSION, SPREAD = 14.0, 3.2, 0.06, 0.15  # of a usual category; standard deviation over categories
WEEKLY = 0.02  # noise in log points


def minutes_saved(market: Market) -> Floats:
    """Return by how many log points a purchase takes less time in each category and complete week, (C, T)."""
    since = np.arange(market.clock.weeks) >= market.clock.pilot_week
    return np.asarray(SAVED * market.world.search_cost * (IS_PILOT[:, None] & since))


def true_searches(strength: float) -> dict[str, float]:
    """Return what is true of the pilots' search from the start on, in log points, and of conversion."""
    saved = round(-SAVED * strength, 8) + 0.0
    return {"minutes_per_purchase": saved, "queries_per_purchase": saved, "conversion": 0.0}


def make_searches(market: Market, key: int) -> dict[str, Any]:
    """Write sessions, queries and conversions of each category and complete week, and mean minutes to a purchase.

    Conversions are drawn from expected orders: finding costs less time and fewer queries, and sells no more by itself.
    """
    rng, clock = stream(key, "search_cost"), market.clock
    shape = len(NAMES), clock.weeks
    saved = minutes_saved(market)
    own = np.exp(rng.normal(0.0, SPREAD, (3, len(NAMES), 1)) + rng.normal(0.0, WEEKLY, (3, *shape)))
    minutes, queries, conversion = own * np.array([MINUTES, QUERIES, CONVERSION])[:, None, None]
    bought = rng.poisson(market.by_category(market.orders_while_open())[:, :-1])
    sessions = np.round(bought / np.minimum(conversion, 1.0)).astype(np.int64)
    return {
        "category": np.repeat(np.array(NAMES), clock.weeks).tolist(),
        "week": [clock.monday(week) for _ in NAMES for week in range(clock.weeks)],
        "sessions": sessions.ravel(),
        "queries": np.round(queries * np.exp(-saved) * bought).astype(np.int64).ravel(),
        "minutes_to_purchase": np.round(minutes * np.exp(-saved), 3).ravel(),
        "conversions": bought.ravel(),
    }
