"""What every question on the whole web rests on: the months that both sides know, and what the estimates are."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.periods import day_of, next_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

Array = np.ndarray
FEWEST = 10
"""Merchants that a figure rests on at least."""
CLASSES = ("high", "medium", "low", "unstated")
MONTH = "cast(date_trunc('month', month) as date)"
# 0 unstated, 1 low, 2 medium, 3 high: what rests on several estimates is as sure as the least sure of them
RANK = "case lower({}) when 'high' then 3 when 'medium' then 2 when 'low' then 1 else 0 end"
_WITHIN = "month >= $first and month < $next"
_DAY = dt.timedelta(days=1)


def require(shop: Dataset, *columns: str) -> None:
    """Refuse a data set without the table of estimates, or without columns of it."""
    if "offplatform_sales" not in shop.tables:
        raise DesignError(
            f"data set {shop.name!r} has no offplatform_sales table, so what merchants sell elsewhere is not known; add it"
        )
    known = shop.columns("offplatform_sales")
    if lacking := [name for name in columns if name not in known]:
        raise DesignError(f"offplatform_sales of data set {shop.name!r} has no {', '.join(lacking)}; add the column")


def months_known(
    shop: Dataset, since: dt.date | None, through: dt.date | None, *, least: int = 1, columns: tuple[str, ...] = ()
) -> list[dt.date]:
    """Return the complete months, ended by `through`, between the first and the last with an estimate."""
    require(shop, *columns)
    span = shop.engine.frame(f"select min({MONTH}) as first, max({MONTH}) as last from offplatform_sales").iloc[0]
    months = (
        [] if pd.isna(span["first"]) else shop.complete_periods("month", pd.Timestamp(span["last"]).date(), since=since)
    )
    months = [m for m in months if pd.Timestamp(m) >= pd.Timestamp(span["first"])]
    months = [m for m in months if through is None or next_start(m, "month") - _DAY <= day_of(through, "through")]
    if len(months) < least:
        raise DesignError(
            f"orders and estimates of sales elsewhere have {len(months)} complete months in common, where this needs "
            f"{least}; take a longer window"
        )
    return months


def both_sides(shop: Dataset, *, everyone: bool = False) -> str:
    """Return SQL for sales on and off the platform by merchant and month, of merchants with an estimate in the window or all.

    Columns: merchant_id, month, on_platform, off_platform, ad_spend (null where none is given), confidence (rank of the
    least sure estimate, null without one). Binds $first and $next.
    """
    known = shop.columns("offplatform_sales")
    spend = "ad_spend" if "ad_spend" in known else "cast(null as double)"
    sure = RANK.format("confidence") if "confidence" in known else "0"
    whose = "true" if everyone else f"merchant_id in (select merchant_id from offplatform_sales where {_WITHIN})"
    return f"""
        select merchant_id, month, sum(on_platform) as on_platform, sum(off_platform) as off_platform,
               sum(ad_spend) as ad_spend, min(confidence) as confidence
        from (select merchant_id, cast(date_trunc('month', paid_at) as date) as month, amount as on_platform, 0 as off_platform,
                     null as ad_spend, cast(null as integer) as confidence
              from order_lines where {sold_lines(shop)} and paid_at >= $first and paid_at < $next
              union all
              select merchant_id, {MONTH} as month, 0, gmv, {spend}, {sure}
              from offplatform_sales where {_WITHIN}) as sides
        where {whose} group by 1, 2"""


def cell_of(shop: Dataset, by: str) -> str:
    """Return the SQL of a merchant's cell, `m` being the roster."""
    if by not in shop.columns("merchants"):
        raise DesignError(f"merchants of data set {shop.name!r} have no {by}; add the column, or take another cell")
    return f"coalesce(m.{by}, 'unknown')"


def days_of(months: list[dt.date]) -> dict[str, dt.date]:
    """Return what the SQL of `both_sides` binds."""
    return {"first": months[0], "next": next_start(months[-1], "month")}


def estimates_behind(shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None) -> pd.DataFrame:
    """Return by source and confidence how many estimates of sales elsewhere there are, and how much they make up.

    Returns
    -------
    DataFrame
        source (unstated where there is none), confidence (high, medium, low, unstated), estimates (rows), merchants, gmv
        (currency), share (of the gmv of all).

    Raises
    ------
    DesignError
        If there is no offplatform_sales table, or no complete month with estimates.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> estimates_behind(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no offplatform_sales table, so what merchants sell elsewhere is \
not known; add it
    """
    months = months_known(shop, since, through)
    known = shop.columns("offplatform_sales")
    source = "coalesce(source, 'unstated')" if "source" in known else "'unstated'"
    sure = RANK.format("confidence") if "confidence" in known else "0"
    found = shop.engine.frame(
        f"""select {source} as source, {sure} as confidence, count(*) as estimates, count(distinct merchant_id) as merchants,
                   cast(sum(gmv) as double) as gmv
            from offplatform_sales where {_WITHIN} group by 1, 2 order by 1, 2 desc""",
        days_of(months),
    )
    names = found["confidence"].map(dict(enumerate(reversed(CLASSES))))
    return found.assign(confidence=names, share=found["gmv"] / found["gmv"].sum())


def comparable(group: Array) -> int:
    """Return merchants (N,) less groups: each group's merchants are compared with each other, one alone with nobody."""
    return len(group) - pd.Series(group).nunique(dropna=False)
