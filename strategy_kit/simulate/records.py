"""What a world does to the record: the same orders less some, plus some, and what is written down of them, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.simulate.forces import JOIN_GAIN
from strategy_kit.simulate.hollow import hollow_out, products
from strategy_kit.simulate.orders import LOYALTY, MARKETS, draw_baskets, draw_times
from strategy_kit.simulate.roster import NEVER, Floats, Ints
from strategy_kit.simulate.seasons import OPEN_DAYS
from strategy_kit.simulate.targets import make_targets
from strategy_kit.simulate.world import stream

if TYPE_CHECKING:
    from strategy_kit.simulate.market import Market

DAY, REFUND_DAYS = 86_400, 28
_PAID, _CANCELLED, _REFUNDED = range(3)


def rework(
    plain: Market, lines: pd.DataFrame, luck: Floats, market: Market, key: int
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Turn the lines of the plain market into those of `market`; return them with the targets, if it has any.

    An order that both markets have keeps its number, buyer and price, and its time if no target moved it, so that two worlds
    of the same seed can be laid over each other. An expected count that is lower keeps each order with the ratio's chance;
    one that is higher adds a Poisson number: counts are then distributed as if they had been drawn from `market` at once.
    """
    world, targets = market.world, None
    lines = _moved(plain, lines, luck, market, key)
    if world.hollow_growth:
        lines = hollow_out(lines, market, key)
    lines = lines.assign(refunded=np.where(lines["status"] == _REFUNDED, lines["second"], -1))
    if world.overseas:
        lines["market"] = _joined(lines, market, key)
    if world.refund_lag:
        lag = _by_order(lines, stream(key, "refund_lag")) * world.refund_lag * REFUND_DAYS * DAY
        lines["refunded"] += (lag * (lines["status"] == _REFUNDED)).astype(np.int64)
    if world.target_bunching:
        lines, targets = make_targets(lines, market, key)
    if world.kpi_regimes:
        hidden = _by_order(lines, stream(key, "kpi_regimes")) < world.kpi_regimes
        before = lines["second"] < market.clock.pilot_week * 7 * DAY
        lines["status"] = lines["status"].mask(hidden & before & (lines["status"] == _CANCELLED), _PAID)
    to_come = lines["refunded"] >= (7 * market.clock.weeks + OPEN_DAYS) * DAY
    for name, value in {"status": _PAID, "refund_amount": 0, "refunded": -1}.items():
        lines[name] = lines[name].mask(to_come, value)
    if world.hollow_growth:
        lines["sku"] = products(lines, market, key)
    if not (world.refund_lag or world.target_bunching):
        lines = lines.drop(columns="refunded")
    return lines, targets


def _by_order(lines: pd.DataFrame, rng: np.random.Generator) -> Floats:
    """Draw a uniform number for each order; an order has the same in every world."""
    return rng.random(lines["order"].max() + 1)[lines["order"]]


def _daily(market: Market, orders: Floats) -> Floats:
    share = market.days / market.days.sum(axis=2, keepdims=True)
    return np.asarray(orders[:, :, None] * share[market.column("category")])


def _moved(plain: Market, lines: pd.DataFrame, luck: Floats, market: Market, key: int) -> pd.DataFrame:
    """Thin out the orders that are expected less often, and add those that are expected more often."""
    before, now = _daily(plain, plain.orders()), _daily(market, market.orders_while_open())
    first = lines.drop_duplicates("order")
    day = first["second"].to_numpy() // DAY
    cell = (first["merchant"].to_numpy(), day // 7, day % 7)
    stays = stream(key, "thinning").random(len(first)) * before[cell] < now[cell]
    adding = stream(key, "adding")
    counts = adding.poisson(np.maximum(now - before, 0) * luck[:, :, None])
    merchant, week, weekday = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    like = _templates(first["merchant"].to_numpy(), merchant, adding)
    orders = {
        "order": len(first) + np.arange(merchant.size),
        "merchant": merchant,
        "second": draw_times(week * 7 + weekday, adding),
        "buyer": first["buyer"].to_numpy()[like],
        "market": first["market"].to_numpy()[like],
        "status": first["status"].to_numpy()[like] % _REFUNDED,  # cancelled as often; refunds are drawn by line
    }
    more = draw_baskets(market, orders, adding)
    kept = lines[stays[lines["order"]]]
    return pd.concat([kept, more], ignore_index=True).sort_values("second", kind="stable", ignore_index=True)


def _templates(known: Ints, merchant: Ints, rng: np.random.Generator) -> Ints:
    """Draw for each new order one that lends it buyer and market: of the same merchant, or of any."""
    by_merchant = np.argsort(known, kind="stable")
    count = np.bincount(known, minlength=int(merchant.max(initial=0)) + 1)
    place = (np.cumsum(count) - count)[merchant] + (rng.random(merchant.size) * count[merchant]).astype(np.int64)
    anyone = rng.integers(0, known.size, merchant.size)
    loyal = (rng.random(merchant.size) < LOYALTY) & (count[merchant] > 0)
    return np.where(loyal, by_merchant[np.minimum(place, known.size - 1)], anyone)


def _joined(lines: pd.DataFrame, market: Market, key: int) -> Ints:
    """Sell abroad what joining adds: a joiner's orders are domestic before, and that share of them abroad afterwards."""
    share = JOIN_GAIN * market.world.overseas / (1 + JOIN_GAIN * market.world.overseas)
    order, joins = lines["order"].to_numpy(), market.column("joins")[lines["merchant"]]
    abroad = (_by_order(lines, stream(key, "abroad")) < share) & (lines["second"].to_numpy() >= joins * 7 * DAY)
    place = stream(key, "place").integers(1, len(MARKETS), order.max() + 1)[order]
    return np.where(joins == NEVER, lines["market"], abroad * place)
