"""Who sells in a simulated market, who is supported from when, what is expected, and so what is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strategy_kit.simulate.seasons import POLICIES

if TYPE_CHECKING:
    from strategy_kit.simulate.seasons import Clock

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# share of merchants in percent, typical price of a piece in yuan, share of lines refunded
CATEGORIES = {
    "apparel": (12, 160, 0.14),
    "beauty": (10, 130, 0.06),
    "sports_outdoors": (8, 220, 0.09),
    "electronics": (9, 900, 0.05),
    "home": (9, 180, 0.06),
    "grocery": (8, 60, 0.02),
    "baby": (6, 150, 0.05),
    "shoes_bags": (7, 300, 0.13),
    "jewellery": (4, 600, 0.10),
    "toys": (5, 110, 0.05),
    "books": (4, 45, 0.02),
    "pets": (4, 90, 0.03),
    "health": (5, 140, 0.03),
    "appliances": (5, 1200, 0.05),
    "automotive": (4, 350, 0.06),
}
NAMES = list(CATEGORIES)
WEIGHT, PRICE, REFUNDED = np.array(list(CATEGORIES.values())).T
# log effect in the long run, of a cohort of strength 1
PILOTS = {"apparel": 0.178, "beauty": 0.217, "sports_outdoors": 0.092}
COHORT_STRENGTH = [1.05, 1.0, 0.9, 0.8]
COHORT_DELAY = np.array([0.0, 0.14, 0.34, 0.54])  # share of the post weeks that pass before its start
COHORT_SHARE = np.array([0.36, 0.26, 0.15, 0.09])  # of the eligible; the rest is never supported
SHOCK_SD, SHOCK_RHO = 0.058, 0.65
ORDERS_A_WEEK, TAIL, MATURITY_WEEKS, NEVER = 3.6, 0.7, 4.0, -1
NOTES = {
    "effects": "change of a supported merchant's expected GMV by age in weeks from 0; it depends on neither "
    "lever, dose, size nor score, and nothing happens before the start",
    "categories": "change of the category's expected GMV, mean log ratio over complete post weeks, against"
    " the same market without support; shock is what the drawn shocks alone put between before and after",
}


@dataclass(frozen=True, slots=True)
class Market:
    """A drawn market of C categories and N merchants over T weeks, the open one included.

    `roster` has one row a merchant: category (code), level (orders in an ordinary week), price, opens, closes
    (weeks), score, eligible, cohort (week in which support starts, or NEVER). Log shocks are (C, T), the
    busyness of days (C, T, 7), log effects (N, T).
    """

    clock: Clock
    roster: pd.DataFrame
    shocks: Floats
    days: Floats
    effects: Floats

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of the roster, (N,)."""
        return self.roster[name].to_numpy()

    def orders(self, *, supported: bool = True) -> Floats:
        """Give the expected orders of each merchant-week (N, T), with the support given or without any."""
        week = np.arange(self.clock.weeks + 1)
        active = (week >= self.column("opens")[:, None]) & (week < self.column("closes")[:, None])
        pace = (self.days.sum(axis=2) * np.exp(self.shocks))[self.column("category")]
        return np.asarray(self.column("level")[:, None] * active * pace * np.exp(self.effects * supported))

    def category_effects(self) -> Floats:
        """Give log(expected GMV with support / without) by category and complete post week."""
        value = (np.eye(len(NAMES))[self.column("category")] * self.column("price")[:, None]).T
        ratio = (value @ self.orders()) / (value @ self.orders(supported=False))
        return np.asarray(np.log(ratio[:, self.clock.pilot_week : -1]))


def draw_market(clock: Clock, merchants: int, rng: np.random.Generator) -> Market:
    """Draw a market of `merchants` sellers over the weeks of `clock`."""
    roster = _draw_roster(clock, merchants, rng)
    response = np.exp(rng.normal(0.0, 0.06, len(NAMES)))
    shocks = rng.normal(0.0, SHOCK_SD, (len(NAMES), clock.weeks + 1))
    for week in range(1, clock.weeks + 1):
        shocks[:, week] = SHOCK_RHO * shocks[:, week - 1] + np.sqrt(1 - SHOCK_RHO**2) * shocks[:, week]
    effects = np.zeros((merchants, clock.weeks + 1))
    for (code, start), group in _cohorts(roster):
        effects[group.index, start:] = _effect(clock, code, start)
    return Market(clock, roster, shocks, clock.busyness(response), effects)


def truth(market: Market) -> dict[str, Any]:
    """Collect the true effects and parameters as flat rows; `percent` is 100 (exp(`log_effect`) - 1)."""
    clock, start, weekly = market.clock, market.clock.pilot_week, market.category_effects()
    shock = market.shocks[:, start:-1].mean(axis=1) - market.shocks[:, :start].mean(axis=1)
    return {
        "notes": NOTES,
        "effects": [
            {"category": NAMES[code], "cohort": str(clock.monday(week)), "age": age, "merchants": len(group)}
            | _sizes(log_effect)
            for (code, week), group in _cohorts(market.roster)
            for age, log_effect in enumerate(_effect(clock, code, week)[:-1])
        ],
        "categories": [
            {"category": name, "shock": _sizes(drift), **_sizes(mean)}
            for name, drift, mean in zip(NAMES, shock, weekly.mean(axis=1), strict=True)
        ],
        "category_weeks": [
            {"category": name, "week": str(clock.monday(start + week))} | _sizes(log_effect)
            for name, row in zip(NAMES, weekly, strict=True)
            for week, log_effect in enumerate(row)
        ],
        "pilot_average": _sizes(weekly[np.isin(NAMES, list(PILOTS))].mean()),
        "shocks": {"kind": "AR(1) by week in log points", "sd": SHOCK_SD, "rho": SHOCK_RHO},
        "policies": [{"policy": name} | _sizes(lift) for name, *_, lift in POLICIES],
    }


def _draw_roster(clock: Clock, merchants: int, rng: np.random.Generator) -> pd.DataFrame:
    due = np.cumsum(WEIGHT / WEIGHT.sum() * (merchants - 3 * len(NAMES)))
    sizes = 3 + np.diff(np.floor(due + 1e-9), prepend=0).astype(np.int64)
    category = np.repeat(np.arange(len(NAMES)), sizes)
    rank = np.concatenate([rng.permutation(size) for size in sizes])
    # even quantiles: the size of a category then varies little between seeds, heavy tail or not
    quantile = (rank + rng.uniform(0.25, 0.75, merchants)) / sizes[category]
    level = (quantile / (1 - quantile)) ** TAIL * np.sinc(TAIL) * ORDERS_A_WEEK
    price = PRICE[category] * np.exp(rng.normal(0, 0.35, merchants))
    small = (rank + 1) / sizes[category] <= 0.9
    new = small & (rng.random(merchants) < 0.12)
    opens = np.where(new, rng.integers(1, clock.weeks - 2, merchants), 0)
    closes = opens + rng.integers(clock.weeks // 6, clock.weeks + 1, merchants)
    leaves = small & (rng.random(merchants) < 0.09) & (closes < clock.weeks)
    closes = np.where(leaves, closes, clock.weeks + 1)
    score = np.clip(np.round(64 + 4 * (quantile - 0.5) + rng.normal(0, 11, merchants), 1), 0, 100)
    known = clock.pilot_week - min(12, clock.pilot_week // 3)
    eligible = (score >= 58) & (opens <= known) & (closes > clock.pilot_week)
    columns = {"category": category, "level": level, "price": price, "opens": opens, "closes": closes}
    roster = pd.DataFrame({**columns, "score": score, "eligible": eligible, "cohort": NEVER})
    for name in PILOTS:
        chosen = np.flatnonzero(eligible & (category == NAMES.index(name)))
        chosen = chosen[np.argsort(-level[chosen])]
        # dealt largest first by steps of the golden ratio, so that every cohort gets merchants of every size
        place = (rng.random() * COHORT_SHARE[0] + np.arange(chosen.size) * (np.sqrt(5) - 1) / 2) % 1
        weeks = np.append(_cohort_weeks(clock), NEVER)
        roster.loc[chosen, "cohort"] = weeks[np.searchsorted(np.cumsum(COHORT_SHARE), place, side="right")]
    return roster


def _cohorts(roster: pd.DataFrame) -> Any:  # pandas types the pair of keys as a scalar
    return roster[roster["cohort"] != NEVER].groupby(["category", "cohort"])


def _cohort_weeks(clock: Clock) -> Ints:
    delay = np.floor(COHORT_DELAY * (clock.weeks - clock.pilot_week) + 0.5)
    return np.asarray(clock.pilot_week + delay, dtype=np.int64)


def _effect(clock: Clock, code: int, cohort: int) -> Floats:
    strength = COHORT_STRENGTH[int(np.searchsorted(_cohort_weeks(clock), cohort))]
    age = np.arange(clock.weeks + 1 - cohort)
    return np.asarray(PILOTS[NAMES[code]] * strength * -np.expm1(-(age + 1) / MATURITY_WEEKS))


def _sizes(log_effect: float) -> dict[str, float]:
    size = float(log_effect)
    return {"log_effect": round(size, 8) + 0.0, "percent": round(100 * float(np.expm1(size)), 8) + 0.0}
