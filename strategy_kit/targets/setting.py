"""Setting targets: a floor that nine in ten meet and a stretch that one in four meets, at every size.

A merchant's forecast is its season times its level. The season is what its category did a year earlier; the level is the
merchant's mean of the last blocks of weeks, drawn towards its size band as far as levels of the past were found to fall
back. Floor and stretch are the forecast times quantiles of what sales were of such forecasts at past origins, by band.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, refuse, whole_number
from strategy_kit.identifiers import places
from strategy_kit.periods import day_of
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

Array = np.ndarray
BASE, LEAST_ORIGINS, YEAR = 3, 4, 52
"""Blocks that the level is the mean of; origins that a seasonal forecast must have been tried at; weeks."""


@dataclass(frozen=True)
class _Blocks:
    """Sales (N, B) of merchants by block of weeks, oldest first, with the blocks of a year."""

    sold: Array
    roster: pd.DataFrame
    starts: list[dt.date]
    a_year: int

    @cached_property
    def levels(self) -> Array:
        """(N, B + 1) log mean of the blocks before each, and before the next one; missing where one has no sale."""
        base = np.lib.stride_tricks.sliding_window_view(self.sold, BASE, axis=1)
        result = np.full((len(self.sold), self.sold.shape[1] + 1), np.nan)
        np.log(base.mean(axis=2), out=result[:, BASE:], where=(base > 0).all(axis=2))
        return result

    @cached_property
    def seasons(self) -> Array:
        """(N, B + 1) what a category sold a year before each block, over its mean block just before that one; 1 if unknown."""
        code, names = pd.factorize(self.roster["category"])
        sums, result = np.zeros((len(names), self.sold.shape[1])), np.ones((len(code), self.sold.shape[1] + 1))
        np.add.at(sums, code[code >= 0], self.sold[code >= 0])
        before = np.lib.stride_tricks.sliding_window_view(sums, BASE, axis=1).mean(axis=2)
        known = max(0, result.shape[1] - self.a_year - BASE)
        after = sums[:, BASE : BASE + known]
        ratio = np.divide(
            after, before[:, :known], out=np.ones(after.shape), where=(after > 0) & (before[:, :known] > 0)
        )
        result[code >= 0, result.shape[1] - known :] = ratio[code[code >= 0]]
        return result


def setting(
    shop: Dataset, *, promise: float = 0.9, reach: float = 0.25, weeks: int = 4, through: dt.date | None = None
) -> pd.DataFrame:
    """Set floor and stretch of each merchant for the next block of weeks.

    Parameters
    ----------
    promise, reach
        Share of merchants of each band that is to meet the floor, and the stretch.
    weeks
        Length of the block, a divisor of 52.
    through
        Last day that may be known; the last complete week by then ends the past.

    Returns
    -------
    DataFrame
        merchant_id, size_band, forecast (median), floor, stretch (currency), season (factor of the category, 1 where the past
        is too short to try one) and residuals (past forecasts that the band's quantiles rest on). Merchants without a sale
        in each of the last three blocks have no level: their forecast, floor and stretch are missing. Where more than a share
        of 1 - promise of a band sold nothing in past blocks, its floor is 0, and all meet it; take longer blocks.

    Raises
    ------
    DesignError
        If the past is too short, or a band has too few past forecasts for such a promise.
    ParameterError
        If shares do not fall from `promise` to `reach` within 0 and 1, or the block does not divide a year.

    References
    ----------
    Vovk, Gammerman and Shafer (2005), "Algorithmic learning in a random world": quantiles of exchangeable residuals.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> found = setting(sk.open_dataset("data/sample"), weeks=1).dropna(subset=["floor"])
    >>> bool(((found["floor"] <= found["forecast"]) & (found["forecast"] <= found["stretch"])).all())
    True
    """
    blocks = _read(shop, (promise, reach), weeks, through)
    found = _set(blocks, len(blocks.starts), (promise, reach))
    unset = found[found["floor"].isna() & found["level"].notna()].drop_duplicates("size_band")
    laws = [
        f"band {name!r} has {count} past forecasts, too few to promise {max(promise, 1 - reach):g}"
        for name, count in zip(unset["size_band"], unset["residuals"], strict=True)
    ]
    refuse(DesignError, "targets cannot be set; use shorter blocks or merge bands", laws)
    return found.drop(columns="level")


def backtest(
    shop: Dataset, *, promise: float = 0.9, reach: float = 0.25, weeks: int = 4, through: dt.date | None = None
) -> pd.DataFrame:
    """Set targets as of each past block from what was known before it, and compare them with what was sold.

    Returns
    -------
    DataFrame
        merchant_id, size_band, period_start, forecast, floor, stretch, sold, of all blocks and merchants that targets could be
        set for: what `fairness` and `met_by_band` read.

    Raises
    ------
    DesignError
        If no block of the past could have been given a target.
    ParameterError
        As in `setting`.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> found = backtest(sk.open_dataset("data/sample"), weeks=1)
    >>> bool(0.8 < (found["sold"] >= found["floor"]).mean() < 0.97)
    True
    """
    blocks = _read(shop, (promise, reach), weeks, through)
    parts = []
    for origin in range(BASE + 1, len(blocks.starts)):
        found = _set(blocks, origin, (promise, reach))
        parts.append(
            found.assign(period_start=blocks.starts[origin], sold=blocks.sold[:, origin])[found["floor"].notna()]
        )
    if not parts or not sum(map(len, parts)):
        raise DesignError(
            f"{len(blocks.starts)} blocks of {weeks} weeks are too few to try a promise on; use shorter ones"
        )
    names = ["merchant_id", "size_band", "period_start", "forecast", "floor", "stretch", "sold"]
    return pd.concat(parts, ignore_index=True)[names]


def _read(shop: Dataset, shares: tuple[float, float], weeks: int, through: dt.date | None) -> _Blocks:
    if any(isinstance(share, str) for share in shares) or not 0 < shares[1] < shares[0] < 1:
        raise ParameterError(
            f"promise and reach are shares, reach the smaller one, not {shares[0]!r} and {shares[1]!r}"
        )
    if not whole_number(weeks, 1) or YEAR % weeks:
        raise ParameterError(f"a block has 1, 2, 4, 13 or 26 weeks, a divisor of {YEAR}, not {weeks!r}")
    mondays = shop.complete_periods("week")
    mondays = [monday for monday in mondays if through is None or (day_of(through, "through") - monday).days >= 6]
    mondays = mondays[len(mondays) % weeks :]
    starts = mondays[::weeks]
    if len(starts) < BASE + 1:
        raise DesignError(
            f"targets need {BASE + 1} complete blocks of {weeks} weeks, but there are {len(starts)}; use shorter ones"
        )
    band = (
        "coalesce(cast(size_band as varchar), 'unknown')" if "size_band" in shop.columns("merchants") else "'unknown'"
    )
    roster = shop.engine.frame(f"select merchant_id, category, {band} as size_band from merchants order by 1")
    sums = shop.engine.frame(
        f"""select merchant_id, cast(date_trunc('week', paid_at) as date) as week, cast(sum(amount) as double) as sold
            from order_lines where {sold_lines(shop)} group by 1, 2"""
    )
    row = places(sums["merchant_id"], pd.Index(roster["merchant_id"]))
    column = pd.DatetimeIndex(mondays).get_indexer(pd.DatetimeIndex(sums["week"])) // weeks
    held = (row >= 0) & (column >= 0)
    sold = np.zeros((len(roster), len(starts)))
    np.add.at(sold, (row[held], column[held]), sums["sold"].to_numpy()[held])
    return _Blocks(sold, roster, starts, YEAR // weeks)


def _set(blocks: _Blocks, origin: int, shares: tuple[float, float]) -> pd.DataFrame:
    """Set the targets of the block at `origin` from the blocks before it."""
    past = np.arange(BASE, origin)
    seasonal = past[past >= blocks.a_year + BASE]
    tried, seasons = (
        (seasonal, blocks.seasons) if len(seasonal) >= LEAST_ORIGINS else (past, np.ones(blocks.seasons.shape))
    )
    level, season = blocks.levels[:, origin], seasons[:, origin]
    result = blocks.roster[["merchant_id", "size_band"]].assign(level=level, season=season, residuals=0)
    ends = np.full((3, len(level)), np.nan)
    code, bands = pd.factorize(blocks.roster["size_band"])
    for band in range(len(bands)):
        inside = code == band
        known, reached = blocks.levels[inside][:, tried], (blocks.sold[:, tried] / seasons[:, tried])[inside]
        sold = np.where(np.isnan(known) | (reached <= 0), np.nan, 1.0)
        apart, gone = _centred(known * sold), _centred(np.log(np.where(reached > 0, reached, 1.0)) * sold)
        spread = np.nansum(apart**2)
        # from 0, all to the band, to 1, each its own
        slope = float(np.clip(np.nansum(apart * gone) / spread, 0.0, 1.0)) if spread > 0 else 1.0
        residual = reached / np.exp(known - (1 - slope) * _centred(known))
        residual = np.sort(residual[~np.isnan(known)])
        forecast = np.exp(level - (1 - slope) * _centred(np.where(inside, level, np.nan)[:, None])[:, 0]) * season
        result.loc[inside, "residuals"] = len(residual)
        ends[:, inside] = np.array(_quantiles(residual, shares))[:, None] * forecast[inside]
    return result.assign(forecast=ends[1], floor=ends[0], stretch=ends[2])


def _centred(values: Array) -> Array:
    """Return (N, K) less the means of what is known of each column."""
    return values - np.nansum(values, axis=0) / np.maximum((~np.isnan(values)).sum(axis=0), 1)


def _quantiles(residual: Array, shares: tuple[float, float]) -> tuple[float, float, float]:
    """Return floor, median and stretch of sorted residuals; a further one is met with at least the chances promised.

    The k-th smallest of n is met or passed by a further exchangeable one with probability at least 1 - k / (n + 1).
    """
    size = len(residual)
    if (1 - shares[0]) * (size + 1) < 1 or shares[1] * (size + 1) < 1:
        return np.nan, np.nan, np.nan
    ranks = [int(np.floor((1 - share) * (size + 1) + 1e-9)) for share in shares]
    return float(residual[ranks[0] - 1]), float(np.median(residual)), float(residual[min(ranks[1], size) - 1])
