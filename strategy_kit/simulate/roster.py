"""Who sells in a simulated market, in which category, and who is supported from when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from strategy_kit.simulate.seasons import Clock

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# share of merchants in percent, typical price of a piece in yuan, share of lines refunded, share of sales that the platform keeps
CATEGORIES = {
    "apparel": (12, 160, 0.14, 0.05),
    "beauty": (10, 130, 0.06, 0.05),
    "sports_outdoors": (8, 220, 0.09, 0.05),
    "electronics": (9, 900, 0.05, 0.02),
    "home": (9, 180, 0.06, 0.05),
    "grocery": (8, 60, 0.02, 0.02),
    "baby": (6, 150, 0.05, 0.03),
    "shoes_bags": (7, 300, 0.13, 0.05),
    "jewellery": (4, 600, 0.10, 0.05),
    "toys": (5, 110, 0.05, 0.04),
    "books": (4, 45, 0.02, 0.02),
    "pets": (4, 90, 0.03, 0.04),
    "health": (5, 140, 0.03, 0.04),
    "appliances": (5, 1200, 0.05, 0.02),
    "automotive": (4, 350, 0.06, 0.03),
}
NAMES = list(CATEGORIES)
WEIGHT, PRICE, REFUNDED, KEPT = np.array(list(CATEGORIES.values())).T
# log effect in the long run, of a cohort of strength 1
PILOTS = {"apparel": 0.178, "beauty": 0.217, "sports_outdoors": 0.092}
IS_PILOT = np.isin(NAMES, list(PILOTS))
COHORT_STRENGTH = [1.05, 1.0, 0.9, 0.8]
COHORT_DELAY = np.array([0.0, 0.14, 0.34, 0.54])  # share of the post weeks that pass before its start
COHORT_SHARE = np.array([0.36, 0.26, 0.15, 0.09])  # of the eligible; the rest is never supported
ORDERS_A_WEEK, TAIL, NEVER = 3.6, 0.7, -1


def draw_roster(clock: Clock, merchants: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw one row a merchant: category (code), level, price, opens, closes, score, eligible, cohort (week or NEVER)."""
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
        weeks = np.append(cohort_weeks(clock), NEVER)
        roster.loc[chosen, "cohort"] = weeks[np.searchsorted(np.cumsum(COHORT_SHARE), place, side="right")]
    return roster


def cohorts(roster: pd.DataFrame) -> Any:  # pandas types the pair of keys as a scalar
    """Group the supported merchants by category and cohort."""
    return roster[roster["cohort"] != NEVER].groupby(["category", "cohort"])


def cohort_weeks(clock: Clock) -> Ints:
    """Return the weeks in which the cohorts start."""
    delay = np.floor(COHORT_DELAY * (clock.weeks - clock.pilot_week) + 0.5)
    return np.asarray(clock.pilot_week + delay, dtype=np.int64)


def long_run(roster: pd.DataFrame, clock: Clock) -> Floats:
    """Return the log effect that each merchant's support comes to in the long run, 0 without support, (N,)."""
    supported, by_name = roster["cohort"].to_numpy() != NEVER, np.array([PILOTS.get(name, 0.0) for name in NAMES])
    strength = np.array([*COHORT_STRENGTH, 0.0])[np.searchsorted(cohort_weeks(clock), roster["cohort"].to_numpy())]
    return np.asarray(by_name[roster["category"].to_numpy()] * strength * supported)
