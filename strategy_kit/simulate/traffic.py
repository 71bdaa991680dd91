"""What is seen, clicked and complained of, by merchant and week: each lever works on a step of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from strategy_kit.simulate.roster import NEVER
from strategy_kit.simulate.world import stream

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from strategy_kit.simulate.market import Market
    from strategy_kit.simulate.roster import Floats, Ints

LEVERS, STEPS = ("display", "marketing", "service"), ("impressions", "click_rate", "conversion")
CLICK_RATE, CONVERSION, SPREAD, WEEKLY = 0.05, 0.04, 0.2, 0.03  # of a usual merchant; standard deviations in log points
COMPLAINTS, MINUTES, FEWER_COMPLAINTS, FASTER = 0.08, 9.0, 0.30, 0.40  # an order; log points less under service, at 1
_WEEK, _CANCELLED = 7 * 86_400, 1


def step_shares(levers: Floats, strength: float) -> Floats:
    """Return which part of a merchant's effect goes through each step, (N, 3), from its levers (N, 3); rows add up to 1.

    At full strength a merchant with two levers has half of its effect through the step of each; what is left below full
    strength goes through impressions, as does all that happens to a merchant without a lever.
    """
    count = levers.sum(axis=1, keepdims=True)
    exposure = np.eye(3)[0]
    own = np.where(count > 0, levers / np.maximum(count, 1), exposure)
    return np.asarray(strength * own + (1 - strength) * exposure)


def levers_held(merchant: Ints, lever: Ints, count: int) -> Floats:
    """Return the levers of each merchant, (N, 3), from rows of support; overseas is none of them."""
    held = np.zeros((count, len(LEVERS)))
    known = lever < len(LEVERS)
    held[merchant[known], lever[known]] = 1.0
    return held


def true_traffic(strength: float) -> dict[str, Any]:
    """Return which share of its effect each lever alone has through each step, and what service does, in log points."""
    shares = step_shares(np.eye(len(LEVERS)), strength).round(8) + 0.0
    funnel = {name: dict(zip(STEPS, row, strict=True)) for name, row in zip(LEVERS, shares.tolist(), strict=True)}
    service = {"complaints_per_order": -FEWER_COMPLAINTS, "response_minutes": -FASTER, "refund_rate": 0.0}
    return {"shares": funnel, "service": {name: round(strength * size, 8) + 0.0 for name, size in service.items()}}


def make_traffic(
    market: Market, orders: NDArray[np.int32], levers: Floats, key: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write traffic and experience of each merchant and complete week in which it is open, as codes and numbers.

    `orders` (N, T - 1) are those of complete weeks. Impressions and clicks are drawn from what is expected, so that the luck
    of a week's orders is in its conversion. Clicks are no fewer than orders, impressions no fewer than clicks.
    """
    strength, weeks, rng = market.world.lever_funnel, market.clock.weeks, stream(key, "lever_funnel")
    own = np.exp(rng.normal(0.0, SPREAD, (3, len(orders), 1)) + rng.normal(0.0, WEEKLY, (3, *orders.shape)))
    share, moved = step_shares(levers, strength), market.effects[:, :weeks]
    expected = market.orders_while_open()[:, :weeks]
    seen = expected * np.exp((share[:, :1] - 1) * moved) / (CLICK_RATE * CONVERSION) * own[0]
    rate = np.minimum(CLICK_RATE * own[1] * np.exp(share[:, 1:2] * moved), 1.0)
    clicks = np.maximum(rng.poisson(seen * rate), orders)
    impressions = np.maximum(rng.poisson(seen), clicks)
    start = market.column("cohort")[:, None]
    served = strength * levers[:, 2:] * ((start != NEVER) & (np.arange(weeks) >= start))
    complaints = rng.poisson(COMPLAINTS * orders * np.exp(-FEWER_COMPLAINTS * served))
    minutes = MINUTES * own[2] * np.exp(-FASTER * served)
    score = np.clip(5.0 - 0.03 * minutes + rng.normal(0.0, 0.05, orders.shape), 1.0, 5.0)
    at = np.nonzero((expected > 0) | (orders > 0))
    keys = {"merchant": at[0], "week": at[1]}
    experience = {"score": score.round(2), "response_minutes": minutes.round(2), "complaints": complaints}
    return keys | {"impressions": impressions[at], "clicks": clicks[at]}, keys | {
        k: v[at] for k, v in experience.items()
    }


def add_orders(sold: NDArray[np.int32], lines: pd.DataFrame) -> None:
    """Add to `sold`, by merchant and week (N, T), the orders among `lines` that were not cancelled."""
    first = lines[lines["status"] != _CANCELLED].drop_duplicates("order")
    np.add.at(sold, (first["merchant"].to_numpy(), first["second"].to_numpy() // _WEEK), 1)
