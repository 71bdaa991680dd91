"""What consumers spend on finding what they buy: minutes and queries a purchase, and conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError, nearest
from strategy_kit.platform_health.costs import require
from strategy_kit.platform_health.rates import rates_panel

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

SearchMeasure = Literal["minutes_per_purchase", "queries_per_purchase", "conversion"]
_SUMS = ["sessions", "queries", "conversions", "minutes"]
# over which column each ratio of sums is taken
_RATIOS = {
    "minutes_per_purchase": ("minutes", "conversions"),
    "queries_per_purchase": ("queries", "conversions"),
    "conversion": ("conversions", "sessions"),
}


def search_cost(shop: Dataset, by: Sequence[str] = ("pilot", "week")) -> pd.DataFrame:
    """Return minutes and queries a purchase, and purchases a session, each a ratio of sums over the cells of a group.

    `minutes_to_purchase` of the table is the mean over the purchases of its category and week: it is weighted by these. A row
    counts in a ratio where both its sides are known.

    Parameters
    ----------
    by
        Any of category, pilot (whether the category is one) and week.

    Returns
    -------
    DataFrame
        The columns of `by`, then sessions, queries, conversions, minutes (sums) and minutes_per_purchase,
        queries_per_purchase, conversion, missing where nothing was bought or searched, or is known. `attrs["unknown"]`: by
        measure, rows that do not count because a side of it is missing.

    Raises
    ------
    DesignError
        If there is no searches table with queries, minutes_to_purchase and conversions.
    ParameterError
        If `by` has another name.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> search_cost(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no searches.sessions, searches.queries, \
searches.minutes_to_purchase, searches.conversions, which this question rests on; add the data
    """
    known = ("category", "pilot", "week")
    if wrong := [name for name in by if name not in known]:
        raise ParameterError(f"searches are grouped by {', '.join(known)}, not {wrong[0]!r}{nearest(wrong[0], known)}")
    require(shop, "searches", "sessions", "queries", "minutes_to_purchase", "conversions")
    found = shop.engine.frame(
        """select category, cast(week as date) as week, cast(sessions as double) as sessions, cast(queries as double) as queries,
            cast(conversions as double) as conversions, cast(minutes_to_purchase * conversions as double) as minutes
            from searches order by 1, 2"""
    )
    # nothing bought took no minutes, whatever their mean
    found.loc[found["conversions"] == 0, "minutes"] = 0.0
    pilots = shop.pilot.categories if "pilot" in by else ()
    found = found.assign(week=pd.to_datetime(found["week"]), pilot=found["category"].isin(list(pilots)))
    unknown = {}
    for name, sides in _RATIOS.items():
        known_here = found[list(sides)].notna().all(axis=1)
        unknown[name] = int((~known_here).sum())
        for side in sides:
            found[f"{name} {side}"] = found[side].where(known_here)
    sums = [*_SUMS, *(f"{name} {side}" for name, sides in _RATIOS.items() for side in sides)]
    result = found.groupby(list(by))[sums].sum().reset_index() if by else found[sums].sum().to_frame().T
    for name, (over, under) in _RATIOS.items():
        result[name] = (result[f"{name} {over}"] / result[f"{name} {under}"]).where(result[f"{name} {under}"] > 0)
    result = result[[*by, *_SUMS, *_RATIOS]]
    result.attrs["unknown"] = unknown
    return result


def search_panel(
    shop: Dataset, measure: SearchMeasure = "minutes_per_purchase", *, since: dt.date, through: dt.date
) -> Panel:
    """Build the panel of logs of a search measure by category and week, the pilots treated from their start.

    Each cell is one category's ratio of one week; categories without a value in each week, and pilots that begin later, are left
    out and told.

    Raises
    ------
    DesignError
        If the table or its columns are missing, or no category has all weeks.
    ParameterError
        If the measure is unknown.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> search_panel(sk.open_dataset("data/sample"), "minutes", since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.ParameterError: a search measure is one of minutes_per_purchase, queries_per_purchase, conversion, \
not 'minutes'
    """
    if measure not in get_args(SearchMeasure):
        raise ParameterError(f"a search measure is one of {', '.join(get_args(SearchMeasure))}, not {measure!r}")
    wide = search_cost(shop, ("category", "week")).pivot_table(
        index="category", columns="week", values=measure, dropna=False
    )
    weeks = pd.DatetimeIndex(shop.complete_periods("week", through))
    wide = wide.reindex(columns=weeks[weeks >= pd.Timestamp(since)])
    refusal = f"no category has {measure} in each of the {wide.shape[1]} weeks; enter searches of these weeks"
    logs = wide.astype(float).where(wide > 0).apply(np.log)
    return rates_panel(
        shop, logs, f"log {measure}", lacking=f"categories without {measure} in each week", refusal=refusal
    )
