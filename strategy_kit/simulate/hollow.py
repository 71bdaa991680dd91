"""Growth that does not last: orders pulled into festivals, buyers whom a subsidy brought and who buy less, products by launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.festivals import festival_weeks
from strategy_kit.simulate.world import stream

if TYPE_CHECKING:
    from strategy_kit.simulate.market import Market
    from strategy_kit.simulate.roster import Floats, Ints

LOST, PULLED, NEW = 0.4, 0.25, 0.2  # later orders; orders of the two weeks after; lines of products under 90 days, at 1
TROUGH_WEEKS, BASE, LAUNCH_DAYS, NEW_LAUNCHES, STAYS = 2, 5, 45, 2, 0.5  # a launch each 45 days: two are under 90 days
_DAY, _CANCELLED, _SLOTS = 86_400, 1, 64


def festival_ends(market: Market) -> list[tuple[str, int, int]]:
    """Return name, first and last week of each selling festival whose two weeks after lie in the complete weeks."""
    days = market.clock.calendar()
    selling = set(days.loc[days["phase"] != "none", "festival"].dropna())
    start, found = pd.Timestamp(market.clock.monday(0)), dict[tuple[str, int], list[int]]()
    for monday, name in festival_weeks(days).items():
        week = (monday - start).days // 7
        if name in selling:
            found.setdefault((name, monday.year), []).append(week)
    spans = [(name, min(weeks), max(weeks)) for (name, _), weeks in found.items()]
    return [span for span in spans if span[2] + TROUGH_WEEKS < market.clock.weeks]


def hollow_out(lines: pd.DataFrame, market: Market, key: int) -> pd.DataFrame:
    """Pull orders into festivals' last weeks, then drop later orders of buyers whose first order was subsidised."""
    strength = market.world.hollow_growth
    chance = stream(key, "hollow_growth").random((lines["order"].max() + 1, 2))[lines["order"]]
    week = lines["second"].to_numpy() // (7 * _DAY)
    for _, _, last in festival_ends(market):
        near = (week > last) & (week <= last + TROUGH_WEEKS) & (chance[:, 0] < PULLED * strength)
        lines = lines.assign(second=lines["second"] - np.where(near, (week - last) * 7 * _DAY, 0))
    placed = lines[lines["status"] != _CANCELLED].groupby("order", sort=False)
    orders = placed.agg(buyer=("buyer", "first"), second=("second", "min"), aid=("platform_subsidy", "sum"))
    firsts = orders.reset_index().sort_values(["second", "order"]).drop_duplicates("buyer").set_index("buyer")
    first = firsts.reindex(lines["buyer"])
    later = lines["second"].to_numpy() > first["second"].to_numpy()
    lost = later & (first["aid"].to_numpy() > 0) & (chance[:, 1] < LOST * strength)
    return lines[~lost].sort_values("second", kind="stable", ignore_index=True)


def products(lines: pd.DataFrame, market: Market, key: int) -> Ints:
    """Draw the product of each line: one of the two launched last with a known chance, else an old one that is still sold."""
    rng, merchants = stream(key, "hollow_products"), len(market.roster)
    phase, stays = rng.uniform(0, LAUNCH_DAYS, merchants), rng.random((merchants, _SLOTS)) < STAYS
    merchant = lines["merchant"].to_numpy()
    newest = ((lines["second"].to_numpy() / _DAY + 2 * LAUNCH_DAYS - phase[merchant]) // LAUNCH_DAYS).astype(np.int64)
    fresh = rng.random(len(lines)) < NEW * market.world.hollow_growth
    launched = np.maximum(newest - NEW_LAUNCHES + 1, 0)
    old = (rng.random(len(lines)) * (BASE + launched)).astype(np.int64)
    gone = (old >= BASE) & ~stays[merchant, np.clip(old - BASE, 0, _SLOTS - 1)]
    old = np.where(gone, rng.integers(0, BASE, len(lines)), old)
    new = BASE + newest - rng.integers(0, NEW_LAUNCHES, len(lines))
    return np.asarray(merchant * _SLOTS + np.minimum(np.where(fresh, new, old), _SLOTS - 1))


def lifts(market: Market, pulled: float) -> list[dict[str, Any]]:
    """Give what each festival does to expected sales: log lift of its weeks, of the two after, and of both as one block."""
    sales = market.totals().sum(axis=0)
    quiet = market.clock.busyness(np.zeros(market.days.shape[0])).sum(axis=2)
    without: Floats = (market.totals() * quiet / market.days.sum(axis=2)).sum(axis=0)
    rows = []
    for name, first, last in festival_ends(market):
        festival, trough = slice(first, last + 1), slice(last + 1, last + TROUGH_WEEKS + 1)
        moved, block = pulled * sales[trough].sum(), slice(first, last + TROUGH_WEEKS + 1)
        told = {"festival": (sales[festival].sum() + moved) / without[festival].sum()}
        told |= {"trough": (sales[trough].sum() - moved) / without[trough].sum()}
        told |= {"block": sales[block].sum() / without[block].sum()}
        where = {"festival": name, "last_week": str(market.clock.monday(last))}
        rows.append(where | {f"log_lift_{part}": round(float(np.log(ratio)), 8) for part, ratio in told.items()})
    return rows


def truth(market: Market) -> dict[str, Any]:
    """Return the shares that the knob sets, and what festivals do."""
    knob = market.world.hollow_growth
    shares = {
        "lost_share": LOST * knob,
        "pulled_share": PULLED * knob,
        "new_share": NEW * knob,
        "products_that_stay": STAYS,
    }
    return {**shares, "festivals": lifts(market, PULLED * knob)}
