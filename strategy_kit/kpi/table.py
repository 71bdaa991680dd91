"""One query for all metrics asked for, by any columns and period."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from strategy_kit.engine import quoted
from strategy_kit.errors import ParameterError, nearest, refuse
from strategy_kit.metrics import Metric, chosen, fills_with_zero, parts
from strategy_kit.periods import Period, next_start, period_start
from strategy_kit.tables_to_panel import CATEGORY, sold_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset


def table(shop: Dataset, *, by: Sequence[str], metrics: Sequence[str | Metric]) -> pd.DataFrame:
    """Compute metrics over the lines of orders that were not cancelled, by columns and period.

    Parameters
    ----------
    shop
        The data set.
    by
        Columns of order_lines or merchants, "pilot" (whether the line's category is piloted), and at most one of day,
        week, month. The category is the one at order time ("unknown" where missing); a merchant's frozen category is
        "merchant_category".
    metrics
        Names of metrics, see `strategy_kit.metrics.METRICS`, or metrics of your own, see `strategy_kit.Metric`.

    Returns
    -------
    DataFrame
        The `by` columns in order, the metrics, then `complete`: whether the period lies whole inside the data set's
        window. Sorted by the `by` columns. With a period, a group without sales is 0 from its first period on, and a
        ratio of nothing is missing.

    Raises
    ------
    ParameterError
        If a column or metric is unknown (the nearest is offered), or two periods are asked for; all at once.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> sk.kpi.table(sk.open_dataset("data/sample"), by=["pilot"], metrics=["gmv", "orders"]).columns.tolist()
    ['pilot', 'gmv', 'orders', 'complete']
    """
    if isinstance(by, str) or isinstance(metrics, str):
        raise ParameterError("by and metrics are lists of names, such as by=['category', 'month']")
    expressions, period = _grouping(shop, by)
    asked = chosen(metrics, shop.columns("order_lines"))
    clash = sorted({metric.name for metric in asked} & {*by, "complete"})
    if clash:
        raise ParameterError(f"{', '.join(clash)} cannot name both a metric and another column; rename the metric")
    needed = list({part.name: part for metric in asked for part in parts(metric)}.values())
    sums = _sums(shop, expressions, needed)
    if period is not None and len(sums):
        sums = _filled(shop, sums, by, period, needed)
    result = sums[list(by)].copy()
    for metric in asked:
        values = [sums[part.name] for part in parts(metric)]
        result[metric.name] = values[0] if metric.sql else _ratio(*values)
    result["complete"] = True if period is None else _complete(shop, result[period], period)
    return result.sort_values(list(by), ignore_index=True)


def _grouping(shop: Dataset, by: Sequence[str]) -> tuple[dict[str, str], Period | None]:
    lines, roster = shop.columns("order_lines"), shop.columns("merchants")
    known = {c: f"l.{quoted(c)}" for c in lines}
    known |= {f"merchant_{c}" if c in lines else c: f"m.{quoted(f'merchant {c}')}" for c in roster}
    known["category"] = CATEGORY.replace("category", "l.category")
    known |= {p: f"cast(date_trunc('{p}', l.paid_at) as timestamp)" for p in get_args(Period)}
    if "pilot" in by:
        known["pilot"] = f"list_contains($pilots, {known['category']})"
    laws = [f"{name!r} is not a column to group by{nearest(name, known)}" for name in by if name not in known]
    periods = [name for name in by if name in get_args(Period)]
    if len(periods) > 1:
        laws.append(f"a table has one period, not {' and '.join(periods)}")
    if len(set(by)) < len(by):
        laws.append("a column to group by is named twice")
    refuse(ParameterError, "by", laws)
    return {name: known[name] for name in by}, periods[0] if periods else None  # type: ignore[return-value]


def _sums(shop: Dataset, expressions: dict[str, str], needed: list[Metric]) -> pd.DataFrame:
    sold = sold_lines(shop)
    keys = [f"{sql} as {quoted(name)}" for name, sql in expressions.items()]
    values = [f"cast({_filled_sql(m)} as {_kind(shop, m)}) as {quoted(m.name)}" for m in needed]
    join = ""
    if any(sql.startswith("m.") for sql in expressions.values()):
        # no name of the roster may shadow a column that a metric reads
        renamed = ", ".join(f"{quoted(c)} as {quoted(f'merchant {c}')}" for c in shop.columns("merchants"))
        join = f'left join (select {renamed} from merchants) m on l.merchant_id = m."merchant merchant_id"'
    sql = f"select {', '.join(keys + values)} from order_lines l {join} where {sold}"
    if keys:
        sql += f" group by {', '.join(str(i + 1) for i in range(len(keys)))}"
    pilots = {"pilots": shop.pilot.categories} if "pilot" in expressions else {}
    return shop.engine.frame(sql, pilots)


def _filled_sql(metric: Metric) -> str:
    return f"coalesce({metric.sql}, 0)" if fills_with_zero(metric) else metric.sql


def _kind(shop: Dataset, metric: Metric) -> str:
    quantity = shop.engine.types("order_lines").get("quantity", "")
    whole = metric.sql.startswith("count(") or (metric.sql == "sum(quantity)" and "INT" in quantity)
    return "bigint" if whole else "double"


def _filled(shop: Dataset, sums: pd.DataFrame, by: Sequence[str], period: Period, needed: list[Metric]) -> pd.DataFrame:
    """Add the periods in which a group sold nothing, from its first period to the end of the data, as zeros."""
    groups = [name for name in by if name != period]
    first, last = sums[period].min().date(), max(sums[period].max().date(), period_start(shop.data_through, period))
    spine = [first]
    while spine[-1] < last:
        spine.append(next_start(spine[-1], period))
    opened = (
        sums.groupby(groups, dropna=False, sort=False)[period].min().rename("opened").reset_index() if groups else None
    )
    if opened is not None and len(opened) * len(spine) == len(sums):
        return sums
    calendar = pd.DataFrame({period: pd.DatetimeIndex(spine).as_unit(sums[period].dt.unit)})
    if opened is not None:
        calendar = opened.merge(calendar, how="cross")
        calendar = calendar[calendar[period] >= calendar["opened"]].drop(columns="opened")
    filled = calendar.merge(sums, on=list(by), how="left")
    for metric in needed:
        if fills_with_zero(metric):
            filled[metric.name] = filled[metric.name].fillna(0).astype(sums[metric.name].dtype)
    return filled


def _complete(shop: Dataset, periods: pd.Series, period: Period) -> pd.Series:
    return periods.isin(pd.DatetimeIndex(shop.complete_periods(period)))


def _ratio(numerator: pd.Series, denominator: pd.Series) -> pd.Series:
    return (numerator / denominator).where(denominator != 0, np.nan)
