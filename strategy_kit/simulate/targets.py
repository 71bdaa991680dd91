"""Two-tier targets of a simulated market, and how merchants make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.simulate.world import stream

if TYPE_CHECKING:
    from strategy_kit.simulate.market import Market
    from strategy_kit.simulate.roster import Floats, Ints

PERIOD_WEEKS, LEAST_ORDERS, FLOOR, LOOSER = (
    4,
    10,
    0.75,
    0.65,
)  # orders expected a period; floor per stretch, before and after
LEAST, MOST, REACH, PUSHING = 0.7, 1.3, 0.9, 0.8  # honest attainment is even between the first two
PULLED, LAST_DAYS, FEWEST_DAYS, MOST_DAYS = 0.5, 3, 10, 24  # share of the gap; days before the end; days to a refund
_DAY, _CANCELLED, _REFUNDED = 86_400, 1, 2


def make_targets(lines: pd.DataFrame, market: Market, key: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Set targets on what each merchant sells, and let some of those that would just miss the stretch make it.

    A stretch is honest sales over an even draw, so that attainment has the same smooth law at every size. Honest sales of a
    period are those after the dip that the period before has left.

    Returns
    -------
    lines, targets
        Lines with times moved and orders added; targets with merchant, period (from 0), floor and stretch (fen), and
        whether it was pushed.
    """
    world, rng = market.world, stream(key, "target_bunching")
    periods, count = market.clock.weeks // PERIOD_WEEKS, len(market.roster)
    honest = rng.uniform(LEAST, MOST, (periods, count))
    pushes = (honest >= REACH) & (honest < 1) & (rng.random(honest.shape) < PUSHING * world.target_bunching)
    given = market.column("eligible") & (PERIOD_WEEKS * market.column("level") >= LEAST_ORDERS)
    rows = []
    for period in range(periods):
        end = (period + 1) * PERIOD_WEEKS * 7 * _DAY
        start = end - PERIOD_WEEKS * 7 * _DAY
        sold = _sums(lines, lines["second"].between(start, end, inclusive="left"), count)
        stretch = np.where(honest[period] < 1, np.ceil(sold / honest[period]), np.floor(sold / honest[period]))
        has = given & (sold > 0)
        pushed = has & pushes[period]
        gap = np.where(pushed, stretch - sold, 0)
        pull = _to_pull(lines, end, PULLED * gap)
        gap -= _sums(lines, pull, count)
        lines = lines.assign(second=lines["second"].mask(pull, end - 1 - lines["second"] % (LAST_DAYS * _DAY)))
        lines = pd.concat([lines, _brushed(lines, gap, end, rng)], ignore_index=True)
        who = np.flatnonzero(has)
        row = {"merchant": who, "period": period, "stretch": stretch[who].astype(np.int64), "pushed": pushed[who]}
        rows.append(pd.DataFrame(row))
    targets = pd.concat(rows, ignore_index=True)
    by_lot = stream(key, "target_bunching floors").permutation(count) < count // 2
    loose = by_lot[targets["merchant"]] & (targets["period"] >= loosened_from(periods))
    floor = np.floor(np.where(loose, LOOSER, FLOOR) * targets["stretch"]).astype(np.int64)
    return lines.sort_values("second", kind="stable", ignore_index=True), targets.assign(floor=floor)


def attainment(strength: float) -> tuple[float, float]:
    """Return the share of targets made as recorded, and honestly, when `strength` of full pushing is done."""
    honest = (MOST - 1) / (MOST - LEAST)
    return honest + PUSHING * strength * (1 - REACH) / (MOST - LEAST), honest


def loosened_from(periods: int) -> int:
    """Return the period from which half of the merchants, drawn by lot, have the looser floor; it moves no sale."""
    return periods // 2


def true_targets(strength: float, weeks: int) -> dict[str, float]:
    """Return what is true of targets: bunching as shares of all and of the density at the stretch, and loosened floors."""
    recorded, honest = attainment(strength)
    excess, periods = recorded - honest, weeks // PERIOD_WEEKS
    told = {"excess_share": excess, "excess_in_widths_of_stretch": excess * (MOST - LEAST), "missing_from": REACH}
    told |= {
        "honest_share_met": honest,
        "share_met": recorded,
        "excess_at_floor": 0.0,
        "floor": FLOOR,
        "looser_floor": LOOSER,
    }
    told |= {"loosened_from_period": loosened_from(periods), "effect_of_looser_floor": 0.0}
    return {name: round(value, 8) for name, value in told.items()}


def _sums(lines: pd.DataFrame, chosen: pd.Series[bool], count: int) -> Floats:
    mine = lines[chosen & (lines["status"] != _CANCELLED)]
    return np.bincount(mine["merchant"], mine["amount"], count).astype(np.float64)


def _to_pull(lines: pd.DataFrame, end: int, most: Floats) -> pd.Series[bool]:
    """Say which lines of the week from `end` on merchants have paid early: whole orders, the smallest first, while they fit."""
    near = lines["second"].between(end, end + 7 * _DAY, inclusive="left") & (most[lines["merchant"]] > 0)
    near &= lines["status"] != _CANCELLED
    orders = (
        lines[near].groupby("order").agg({"amount": "sum", "merchant": "first"}).sort_values("amount", kind="stable")
    )
    fits = orders.groupby("merchant")["amount"].cumsum() <= most[orders["merchant"]]
    return near & lines["order"].isin(fits.index[fits])


def _brushed(lines: pd.DataFrame, gap: Floats, end: int, rng: np.random.Generator) -> pd.DataFrame:
    """Close what is left of each gap, and a little more, by three orders in the last days that are refunded later."""
    who: Ints = np.repeat(np.flatnonzero(gap > 0), 3)
    amount = np.ceil(gap[who] / 3 * (1 + 0.05 * rng.random(who.size // 3).repeat(3))).astype(np.int64)
    second = end - 1 - rng.integers(0, LAST_DAYS * _DAY, who.size)
    return pd.DataFrame(
        {
            "order": lines["order"].max() + 1 + np.arange(who.size),
            "line_id": 1,
            "merchant": who,
            "second": second,
            "buyer": lines["buyer"].to_numpy()[rng.integers(0, len(lines), who.size)],
            "market": 0,
            "status": _REFUNDED,
            "amount": amount,
            "quantity": 1,
            "refund_amount": amount,
            "platform_subsidy": 0,
            "list_amount": amount,
            "refunded": second + rng.integers(FEWEST_DAYS * _DAY, MOST_DAYS * _DAY, who.size),
        }
    )
