"""What consumers spend on finding what they buy: minutes and queries a purchase, and conversion."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, nearest
from strategy_kit.platform_health.costs import require

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

SearchMeasure = Literal["minutes_per_purchase", "queries_per_purchase", "conversion"]
# over which column each ratio of sums is taken
_RATIOS = {
    "minutes_per_purchase": ("minutes", "conversions"),
    "queries_per_purchase": ("queries", "conversions"),
    "conversion": ("conversions", "sessions"),
}


def search_cost(shop: Dataset, by: Sequence[str] = ("pilot", "week")) -> pd.DataFrame:
    """Return minutes and queries a purchase, and purchases a session, each a ratio of sums over the cells of a group.

    `minutes_to_purchase` of the table is the mean over the purchases of its category and week: it is weighted by these.

    Parameters
    ----------
    by
        Any of category, pilot (whether the category is one) and week.

    Returns
    -------
    DataFrame
        The columns of `by`, then sessions, queries, conversions, minutes (sums) and minutes_per_purchase,
        queries_per_purchase, conversion, missing where nothing was bought or searched.

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
        """select category, cast(week as date) as week, cast(sum(sessions) as double) as sessions,
            cast(sum(queries) as double) as queries, cast(sum(conversions) as double) as conversions,
            cast(sum(minutes_to_purchase * conversions) as double) as minutes
            from searches group by 1, 2 order by 1, 2"""
    )
    pilots = shop.pilot.categories if "pilot" in by else ()
    found = found.assign(week=pd.to_datetime(found["week"]), pilot=found["category"].isin(list(pilots)))
    sums = ["sessions", "queries", "conversions", "minutes"]
    result = found.groupby(list(by))[sums].sum().reset_index() if by else found[sums].sum().to_frame().T
    for name, (over, under) in _RATIOS.items():
        result[name] = (result[over] / result[under]).where(result[under] > 0)
    return result


def search_panel(
    shop: Dataset, measure: SearchMeasure = "minutes_per_purchase", *, since: dt.date, through: dt.date
) -> Panel:
    """Build the panel of logs of a search measure by category and week, the pilots treated from their start.

    Each cell is one category's ratio of one week; categories without a value in each week are left out and counted.

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
    values = wide.to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        whole = np.asarray((values > 0).all(axis=1))
    if not whole.any():
        raise DesignError(
            f"no category has {measure} in each of the {wide.shape[1]} weeks; enter searches of these weeks"
        )
    from strategy_kit.panel import Panel

    kept = wide.index[whole]
    begun = {name: day for name, day in shop.pilot.starts.items() if day <= through}
    panel = Panel.from_matrix(
        np.log(values[whole]),
        treated_from=pd.to_datetime(pd.Series(kept).map(begun)),
        periods=wide.columns,
        units=kept,
        category=list(kept),
        name=f"log {measure}",
    )
    lost = int((~whole).sum())
    note = f"categories without {measure} in each week, left out: {lost} of {len(whole)}"
    return replace(panel, notes=(*panel.notes, note)) if lost else panel
