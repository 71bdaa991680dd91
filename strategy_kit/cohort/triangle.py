"""Cohorts: units by the period of their start, followed by age."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from strategy_kit.engine import kind_of, quoted
from strategy_kit.errors import DesignError, ParameterError, nearest, whole_number
from strategy_kit.metrics import Metric, chosen, fills_with_zero
from strategy_kit.periods import Period, checked_period, last_complete
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

_DAY = dt.timedelta(days=1)
COLUMNS = ["cohort", "age", "value", "cohort_size", "observed", "left_censored"]
_UNITS = {"merchant": "merchant_id", "buyer": "buyer_id"}
# of each period: numpy's unit, how many of them, and where the first begins (1970-01-05 was a Monday)
_LENGTHS = {"day": ("D", 1, 0), "week": ("D", 7, 4), "month": ("M", 1, 0), "quarter": ("M", 3, 0)}


def triangle(
    shop: Dataset,
    *,
    unit: Literal["merchant", "buyer"],
    period: Period = "month",
    value: str | Metric = "active",
    start: str = "first_sale",
    burn_in_days: int = 60,
) -> pd.DataFrame:
    """Follow each cohort of units, formed by the period of their start, by age in periods.

    Parameters
    ----------
    value
        "active": members with a sale in the period; or a metric that is 0 where nothing was sold, such as gmv or orders.
    start
        "first_sale"; "support", a merchant's first; or a date column: of merchants for merchants, of order_lines for
        buyers (the earliest of all their lines, also cancelled ones). Sales before the day of the start do not count.
    burn_in_days
        Cohorts by first sale that begin less than this after the data are left_censored: they may have sold before.

    Returns
    -------
    DataFrame
        One row a cohort and age: cohort (first day), age, value, cohort_size (members, also those without any sale),
        observed, left_censored. Age 0 is a part of a period. Where the period has not ended by the last settled day, and
        for other starts than the first sale also where it begins before the data, observed is False and the value
        missing; where nothing was sold, it is 0. `attrs["left_out"]` counts units that start after the data or never.

    Raises
    ------
    ParameterError
        If an argument is unknown, the value is no sum or count over lines, or no unit has a start.
    DesignError
        If support starts the cohorts and the data set has no support table.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> frame = triangle(sk.open_dataset("data/sample"), unit="merchant").query("age == 0 and observed")
    >>> bool((frame["value"] == frame["cohort_size"]).all())
    True
    """
    if unit not in _UNITS:
        raise ParameterError(f"a cohort is of merchant or buyer, not {unit!r}{nearest(unit, _UNITS)}")
    if not whole_number(burn_in_days, 0):
        raise ParameterError(f"burn_in_days is a whole number of days, 0 or more, not {burn_in_days!r}")
    found = sums(shop, _UNITS[unit], checked_period(period), value, starts_of(shop, unit, start))
    if found["cohort"].isna().all():
        lacking = "sale" if start == "first_sale" else f"{unit} whose {start} lies up to {shop.data_through}"
        raise ParameterError(f"data set {shop.name!r} has no {lacking}, so that no cohort can be formed")
    return laid_out(shop, found, period, burn_in_days if start == "first_sale" else None)


def sums(shop: Dataset, key: str, period: Period, value: str | Metric, starts: str, only: str = "true") -> pd.DataFrame:
    """Return cohort, period, value; without a period the members, without a cohort too. `only` is a condition on lines."""
    lines, cells, sold = "order_lines", "", f"{sold_lines(shop)} and {only}"
    if value == "active":  # from one row a unit and period follows all else, without a costly count of distinct units
        cells = f"""cells as materialized (select {key}, max(paid_at) as paid_at from order_lines where {sold}
                                           group by {key}, date_trunc('{period}', paid_at)),"""
        lines, sold, measured = "cells", "true", "count(*)"
    else:
        metric = chosen([value], shop.columns("order_lines"))[0]
        if not (metric.plain and fills_with_zero(metric)):
            law = f"{metric.name} is no sum or count over the lines paid in a period"
            raise ParameterError(f"{law}, so that it is not 0 where nothing was sold; follow one, such as gmv")
        measured = metric.sql
    starts = starts or f"select {key}, min(paid_at) as start from {lines} where {sold} group by 1"
    # no name of a member may shadow a column that a metric reads
    sql = f"""with {cells} members as materialized (
                  select {key} as "member id", start as "member start",
                         cast(date_trunc('{period}', start) as timestamp) as "member cohort"
                  from ({starts}) where {key} is not null)
              select "member cohort" as cohort, cast(null as timestamp) as period, cast(count(*) as double) as value
              from members group by 1
              union all
              select "member cohort", cast(date_trunc('{period}', paid_at) as timestamp), cast({measured} as double)
              from {lines} join members on {key} = "member id" where {sold} and paid_at >= "member start" group by 1, 2"""
    days = {"through": shop.data_through, "matured_before": shop.matured_through + _DAY}
    return shop.engine.frame(sql, {name: day for name, day in days.items() if f"${name}" in sql})


def laid_out(shop: Dataset, found: pd.DataFrame, period: Period, burn_in_days: int | None) -> pd.DataFrame:
    """Lay what `sums` found out as a triangle; burn_in_days is None where cohorts do not start with the first sale."""
    members, cells = found[found["period"].isna()], found[found["period"].notna()]
    size = members.dropna(subset="cohort").set_index("cohort")["value"].astype("int64").sort_index()
    born, row = numbered(size.index, period), size.index.get_indexer(pd.Index(cells["cohort"]))
    age, last = numbered(cells["period"], period) - born[row], last_number(shop, period)
    ages = np.arange(max(age.max(initial=0), last - born.min()) + 1)
    values, at, first_sale = np.zeros((len(size), len(ages))), born[:, None] + ages, burn_in_days is not None
    values[row, age] = cells["value"].fillna(0)
    observed = (at <= last) & (first_sale | (at > numbered([shop.data_from - _DAY], period)))
    result = pd.MultiIndex.from_product([size.index, ages], names=COLUMNS[:2]).to_frame(index=False)
    result["value"] = np.where(observed, values, np.nan).ravel()
    result["cohort_size"], result["observed"] = size.to_numpy().repeat(len(ages)), observed.ravel()
    known_from = pd.Timestamp(shop.data_from + (burn_in_days or 0) * _DAY)
    result["left_censored"] = first_sale & (result["cohort"] < known_from)
    result.attrs["left_out"] = int(members.loc[members["cohort"].isna(), "value"].sum())
    return result


def numbered(days: Any, period: Period) -> np.ndarray:
    """Number the periods of days, so that neighbours differ by 1."""
    unit, length, first = _LENGTHS[period]
    return (np.asarray(days, "datetime64[D]").astype(f"datetime64[{unit}]").astype("int64") - first) // length


def first_days(numbers: np.ndarray, period: Period) -> pd.DatetimeIndex:
    """Return the first days of numbered periods."""
    unit, length, first = _LENGTHS[period]
    return pd.DatetimeIndex((numbers * length + first).astype(f"datetime64[{unit}]").astype("datetime64[us]"))


def last_number(shop: Dataset, period: Period) -> int:
    """Return the number of the last observed period."""
    return int(numbered([last_complete(shop.settled_through, period)], period)[0])


def starts_of(shop: Dataset, unit: str, start: str) -> str:
    """Return the SQL for a start by unit up to the end of the data, empty for the first sale, or refuse it."""
    words = ["first_sale", *["support"][: unit == "merchant"]]
    table, column = ("merchants" if unit == "merchant" else "order_lines"), start
    if start == "first_sale":
        return ""
    if start in words:
        table, column = "support", "started_on"
        if table not in shop.tables:
            raise DesignError(f"data set {shop.name!r} has no support table, so that no start is known; add the table")
    types = {name: kind for name, kind in shop.engine.types(table).items() if kind_of(kind) in ("date", "timestamp")}
    if column not in types:
        law = f"the start of a {unit} is {', '.join(words)} or a date column of {table}, not {start!r}"
        raise ParameterError(law + nearest(str(start), [*words, *types]))
    local = f" at time zone '{shop.description.timezone}'" if "ZONE" in types[column].upper() else ""
    day = f"cast({quoted(column)}{local} as date)"
    return f"select {_UNITS[unit]}, min({day}) filter (where {day} <= $through) as start from {table} group by 1"
