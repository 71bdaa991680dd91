"""Cohorts: units by the period of their first sale, followed by age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError, nearest
from strategy_kit.metrics import chosen
from strategy_kit.periods import Period, checked_period, last_complete
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

_MONTHS = {"month": 1, "quarter": 3}
_UNITS = {"merchant": "merchant_id", "buyer": "buyer_id"}


def triangle(
    shop: Dataset,
    *,
    unit: Literal["merchant", "buyer"],
    period: Period = "month",
    value: str = "active",
) -> pd.DataFrame:
    """Follow each cohort of units, formed by the period of their first sale, by age in periods.

    Parameters
    ----------
    shop
        The data set.
    unit
        Who forms the cohorts.
    value
        "active": units with a sale in the period; or a metric that adds up over nothing sold, such as gmv or orders.

    Returns
    -------
    DataFrame
        One row a cohort and age: cohort (first day), age, value, cohort_size (units), observed. Where the period has
        not ended by the data set's last day, observed is False and the value missing; where it has and nothing was
        sold, the value is 0.

    Raises
    ------
    ParameterError
        If unit, period or value is unknown, or the value is a ratio.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> frame = triangle(sk.open_dataset("data/sample"), unit="merchant")
    >>> bool((frame.query("age == 0 and observed")["value"] == frame.query("age == 0 and observed")["cohort_size"]).all())
    True
    """
    if unit not in _UNITS:
        raise ParameterError(f"a cohort is of merchant or buyer, not {unit!r}{nearest(unit, _UNITS)}")
    sums = _sums(shop, _UNITS[unit], checked_period(period), value)
    if sums.empty:
        raise ParameterError(f"data set {shop.name!r} has no sale, so that no cohort can be formed")
    size = sums[sums["age"] == 0].set_index("cohort")["members"]
    last = pd.Timestamp(last_complete(shop.settled_through, period))
    ages = range(max(int(sums["age"].max()), _age(size.index[0], last, period)) + 1)
    spine = pd.MultiIndex.from_product([size.index, ages], names=["cohort", "age"])
    result = spine.to_frame(index=False).merge(sums[["cohort", "age", "value"]], on=["cohort", "age"], how="left")
    result["cohort_size"] = result["cohort"].map(size).astype("int64")
    result["observed"] = _period_at(result["cohort"], result["age"], period) <= last
    result["value"] = result["value"].fillna(0.0).where(result["observed"], np.nan)
    return result


def _sums(shop: Dataset, key: str, period: Period, value: str) -> pd.DataFrame:
    if value == "active":
        measured = f"count(distinct {key})"
    else:
        metric = chosen([value], shop.columns("order_lines"))[0]
        if not metric.sql:
            raise ParameterError(f"{value} is a ratio; follow its parts {metric.numerator} and {metric.denominator}")
        measured = metric.sql
    sold = sold_lines(shop)
    return shop.engine.frame(
        f"""with first as (select {key}, date_trunc('{period}', min(paid_at)) as cohort
                           from order_lines where {sold} group by 1)
            select cast(first.cohort as timestamp) as cohort,
                   cast(date_diff('{period}', first.cohort, date_trunc('{period}', paid_at)) as bigint) as age,
                   count(distinct {key}) as members, cast({measured} as double) as value
            from order_lines join first using ({key}) where {sold} group by 1, 2 order by 1, 2"""
    )


def _age(cohort: pd.Timestamp, at: pd.Timestamp, period: Period) -> int:
    if period in _MONTHS:
        return ((at.year - cohort.year) * 12 + at.month - cohort.month) // _MONTHS[period]
    return (at - cohort).days // (7 if period == "week" else 1)


def _period_at(cohort: pd.Series, age: pd.Series, period: Period) -> pd.Series:
    if period in _MONTHS:
        months = cohort.dt.year * 12 + cohort.dt.month - 1 + age * _MONTHS[period]
        return pd.to_datetime(pd.DataFrame({"year": months // 12, "month": months % 12 + 1, "day": 1}))
    return cohort + pd.to_timedelta(age * (7 if period == "week" else 1), unit="D")
