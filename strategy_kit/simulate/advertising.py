"""Advertising elsewhere that raises demand here over months: who advertises, by how much over their usual, and what is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.simulate.roster import IS_PILOT, Floats, Ints
from strategy_kit.simulate.world import stream

if TYPE_CHECKING:
    from strategy_kit.simulate.market import Market
    from strategy_kit.simulate.seasons import Clock

ADVERTISERS, SPREAD = 0.3, 0.5  # share of merchants; standard deviation of log spend by month
PROFILE = np.array([0.10, 0.06, 0.03])  # log points of demand a log point of spend, 0, 1 and 2 months later, at 1
BEFORE = len(PROFILE) - 1  # months before the window whose spend still works inside it
OF_SALES = 0.08  # spend in a usual month, of a usual month's sales elsewhere


def months_of_weeks(clock: Clock) -> Ints:
    """Return the month of each week's Monday, counted from the first week's, (T,)."""
    mondays = np.datetime64(clock.monday(0), "D") + 7 * np.arange(clock.weeks + 1)
    month = mondays.astype("datetime64[M]").astype(np.int64)
    return np.asarray(month - month[0])


def month_numbers(clock: Clock, months: pd.DatetimeIndex) -> Ints:
    """Return the numbers of months by their first days, counted from the month of the first week's Monday."""
    first = clock.monday(0)
    return np.asarray(12 * (months.year - first.year) + months.month - first.month, dtype=np.int64)


def draw_spending(clock: Clock, merchants: int, key: int) -> Floats:
    """Draw log spend over the merchant's usual by month, those before the window first; missing for who does not advertise."""
    rng = stream(key, "advertising")
    own = rng.random(merchants) < ADVERTISERS
    months = BEFORE + int(months_of_weeks(clock)[-1]) + 1
    return np.where(own[:, None], rng.normal(0.0, SPREAD, (merchants, months)), np.nan)


def lagged(spending: Floats, clock: Clock) -> Floats:
    """Give each week the spend of its month and of the months before, nothing being a usual spend, (K, N, T)."""
    month, known = BEFORE + months_of_weeks(clock), np.nan_to_num(spending)
    return np.stack([known[:, month - lag] for lag in range(len(PROFILE))])


def demand(spending: Floats, clock: Clock, strength: float) -> Floats:
    """Add up what spend does to demand here in each week, in log points (N, T)."""
    return np.asarray(np.tensordot(strength * PROFILE, lagged(spending, clock), axes=1))


def planned(market: Market, usual: Floats, months: pd.DatetimeIndex, who: Ints) -> Floats:
    """Give spend of merchants by month in yuan from usual monthly sales elsewhere; missing for who does not advertise."""
    column = BEFORE + month_numbers(market.clock, months)
    return np.asarray(OF_SALES * usual[:, None] * np.exp(market.spending[np.ix_(who, column)]))


def true_advertising(strength: float, clock: Clock) -> dict[str, Any]:
    """Return the lag profile as made, from the first Monday of a month on, and as months of the calendar show it."""
    days = pd.date_range(clock.monday(0), periods=7 * clock.weeks)
    behind = np.repeat(months_of_weeks(clock)[:-1], 7) < month_numbers(clock, days)
    early, made = float(behind.mean()), np.append(strength * PROFILE, 0.0)
    by_month = (1 - early) * made + early * np.append(0.0, made[:-1])
    rows = {"by_lag": made[:-1], "by_calendar_month": by_month}
    told = {
        name: [{"lag": lag, "log_points": round(float(v), 8) + 0.0} for lag, v in enumerate(row)]
        for name, row in rows.items()
    }
    return {**told, "sum": round(float(made.sum()), 8) + 0.0, "share_of_merchants": ADVERTISERS}


def slopes(market: Market) -> tuple[float, float] | None:
    """Regress expected log sales on the same month's spend alone, and on all months' added up; None where too few can tell."""
    category = market.column("category")
    stays = (market.column("opens") == 0) & (market.column("closes") > market.clock.weeks) & ~IS_PILOT[category]
    if not stays.any():
        return None
    own, sales = category[stays], np.log(market.sales()[stays, :-1])
    y, *columns = (
        _within(part, own).ravel() for part in (sales, *lagged(market.spending, market.clock)[:, stays, :-1])
    )
    design = np.stack(columns, axis=1)
    if np.linalg.matrix_rank(design, tol=1e-8) < len(PROFILE):
        return None
    return float(columns[0] @ y / (columns[0] @ columns[0])), float(np.linalg.lstsq(design, y, rcond=None)[0].sum())


def _within(values: Floats, group: Ints) -> Floats:
    """Take out means of merchants, and of weeks within groups."""
    own = values - values.mean(axis=1, keepdims=True)
    return np.asarray(own - pd.DataFrame(own).groupby(group).transform("mean").to_numpy())
