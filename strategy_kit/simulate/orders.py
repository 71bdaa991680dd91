"""The order lines of a simulated market: all drawn at once, or week after week where they are too many for memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.simulate.market import CANCELLED, MORE_PIECES, SECOND_LINE
from strategy_kit.simulate.roster import REFUNDED, Floats, Ints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from strategy_kit.simulate.market import Market

MARKETS = ["domestic", "SG", "MY", "KR", "JP", "AU"]
STATUSES = ["paid", "cancelled", "refunded"]
MERCHANT_WEEK_CV, LINE_SPREAD = 0.2, 0.5
WHOLE, BLOCK = 4_000_000, 1_000_000  # orders: the most that are drawn at once; what fills a block of weeks beyond
LOYALTY, WHOLE_REFUNDS = 0.45, 0.8
MEAN_REFUND = WHOLE_REFUNDS + (1 - WHOLE_REFUNDS) / 2  # of a refunded line's amount
_DISCOUNT = np.repeat([0.0, 0.05, 0.10, 0.15, 0.20], [11, 3, 3, 2, 1])
_HOUR = np.cumsum([9, 5, 3, 2, 2, 3, 8, 18, 34, 50, 60, 56, 48, 48, 52, 54, 52, 48, 46, 56, 78, 86, 66, 30])


def mean_hour() -> float:
    """Return the hour of the day at which orders are paid on average."""
    return float(np.diff(_HOUR, prepend=0) @ (np.arange(24) + 0.5) / _HOUR[-1])


def draw_luck(market: Market, rng: np.random.Generator) -> Floats:
    """Draw what each merchant-week's orders are expected to be over what the market expects of them, (N, T)."""
    shape = 1 / MERCHANT_WEEK_CV**2
    return rng.gamma(shape, 1 / shape, market.effects.shape)


class _Once(dict[str, Any]):
    """What the first block draws for all: drawn there and not before, one block is the market that is drawn at once."""

    def __call__(self, name: str, draw: Callable[[], Any]) -> Any:
        if name not in self:
            self[name] = draw()
        return self[name]


def draw_counts(market: Market, luck: Floats, rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw how many orders each merchant gets in each week, (N, T)."""
    return rng.poisson(market.orders() * luck).astype(np.int32)


def draw_lines(market: Market, counts: NDArray[np.int32], rng: np.random.Generator) -> Iterator[pd.DataFrame]:
    """Draw the lines of `counts` orders, in one block up to `WHOLE` orders, else in blocks of whole weeks.

    Yields
    ------
    DataFrame
        Integers, one row a line in order of time: merchant, buyer, status and market are codes, order counts
        from 0, second from the first Monday; amount, refund_amount, platform_subsidy and list_amount in fen.
    """
    orders = counts.sum(axis=0, dtype=np.int64)
    upto, once = np.cumsum(orders), _Once(pool=max(int(orders.sum()) // 4, 20))
    block = (upto - 1) // BLOCK if upto[-1] > WHOLE else np.zeros_like(upto)
    for number in np.unique(block):
        weeks = np.flatnonzero(block == number)
        drawn = _draw_orders(market, counts[:, weeks], weeks, once, rng)
        drawn["order"] += upto[weeks[0]] - orders[weeks[0]]
        yield draw_baskets(market, drawn, rng)


def _draw_orders(
    market: Market, counts: NDArray[np.int32], weeks: Ints, once: _Once, rng: np.random.Generator
) -> dict[str, Ints]:
    merchant, place = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    week = weeks[place]
    second = _draw_seconds(market, merchant, week, rng)
    by_time = np.argsort(second, kind="stable")
    merchant, week, second = merchant[by_time], week[by_time], second[by_time]
    count = len(market.roster)
    abroad = once("abroad", lambda: np.where(rng.random(count) < 0.2, 0.12, 0.005))[merchant]
    return {
        "order": np.arange(merchant.size),
        "merchant": merchant,
        "second": second,
        "buyer": _draw_buyers(market, merchant, week, once, rng),
        "market": rng.integers(1, len(MARKETS), merchant.size) * (rng.random(merchant.size) < abroad),
        "status": (rng.random(merchant.size) < CANCELLED).astype(np.int64),
    }


def draw_baskets(market: Market, orders: dict[str, Ints], rng: np.random.Generator) -> pd.DataFrame:
    """Draw the lines of given orders, with their prices and refunds."""
    lines = 1 + (rng.random(orders["order"].size) < SECOND_LINE)
    order = np.repeat(np.arange(lines.size), lines)
    number = 1 + np.arange(order.size) - (np.cumsum(lines) - lines)[order]
    repeated = {name: values[order] for name, values in orders.items()}
    return _price(market, {"order": repeated.pop("order"), "line_id": number, **repeated}, rng)


def _price(market: Market, lines: dict[str, Ints], rng: np.random.Generator) -> pd.DataFrame:
    merchant, count = lines["merchant"], lines["order"].size
    quantity = 1 + (rng.random(count) < MORE_PIECES)
    price = market.column("price")[merchant] * quantity
    amount = np.maximum(fen(price * np.exp(rng.normal(-(LINE_SPREAD**2) / 2, LINE_SPREAD, count))), 1)
    discount = rng.choice(_DISCOUNT, count)
    list_amount = fen(amount / (1 - discount) / 100)
    subsidy = fen((list_amount - amount) * 0.4 / 100) * (rng.random(count) < 0.5)
    rate = REFUNDED[market.column("category")[merchant]]
    returned = (rng.random(count) < rate) & (lines["status"] == 0)
    refund = fen(amount * np.where(rng.random(count) < WHOLE_REFUNDS, 1.0, 0.5) / 100) * returned
    money = {"refund_amount": refund, "platform_subsidy": subsidy, "list_amount": list_amount}
    lines |= {"amount": amount, "quantity": quantity, "status": np.where(returned, 2, lines["status"])}
    return pd.DataFrame(lines | money, copy=False)


def _draw_seconds(market: Market, merchant: Ints, week: Ints, rng: np.random.Generator) -> Ints:
    upto = np.cumsum(market.days, axis=2)
    upto = (upto / upto[:, :, -1:])[:, :, :-1]
    cell = market.column("category")[merchant] * upto.shape[1] + week
    day = (rng.random(merchant.size)[:, None] >= upto.reshape(-1, 6)[cell]).sum(axis=1)
    return draw_times(week * 7 + day, rng)


def draw_times(day: Ints, rng: np.random.Generator) -> Ints:
    """Draw seconds within given days, busier in the evening."""
    hour = np.searchsorted(_HOUR, rng.integers(0, _HOUR[-1], day.size), side="right")
    return np.asarray((day * 24 + hour) * 3600 + rng.integers(0, 3600, day.size))


def _draw_buyers(market: Market, merchant: Ints, week: Ints, once: _Once, rng: np.random.Generator) -> Ints:
    """Draw from a pool that grows week by week, or from the merchant's own regulars, growing too."""
    visits = once("visits", lambda: _draw_visits(once["pool"], rng))
    known = (0.4 + 0.6 * (week + 1) / (market.clock.weeks + 1)) * rng.random(merchant.size)
    anyone = visits[(visits.size * known).astype(np.int64)]
    regulars = np.ceil(market.column("level") * market.clock.weeks / 6).astype(np.int64)
    names = once("names", lambda: visits[rng.integers(0, visits.size, regulars.sum())])
    loyal = names[(np.cumsum(regulars) - regulars)[merchant] + (regulars[merchant] * known).astype(np.int64)]
    return np.where(rng.random(merchant.size) < LOYALTY, loyal, anyone).astype(np.int64)


def _draw_visits(pool: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw who comes how often; buyers of large markets are many, so half as wide as other codes."""
    return np.repeat(np.arange(pool, dtype=np.int32), np.minimum(rng.zipf(2.2, pool), 40))


def fen(yuan: Floats) -> Ints:
    """Round money to whole fen, halves up."""
    return np.floor(100 * yuan + 0.5).astype(np.int64)
