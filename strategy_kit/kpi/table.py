"""One table for all metrics asked for, by any columns and period."""

from __future__ import annotations

import datetime as dt
from functools import reduce
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from strategy_kit.contract import TABLES
from strategy_kit.engine import quoted
from strategy_kit.errors import ContractError, ParameterError, nearest, refuse, whole_number
from strategy_kit.formats import Count
from strategy_kit.kpi.scans import Scope, Windows, line_scan, unit_scan, window_scan
from strategy_kit.metrics import DISTINCT, Metric, chosen, fills_with_zero, parts, runs_over_windows
from strategy_kit.periods import Period, day_of, next_start, period_start
from strategy_kit.tables_to_panel import CATEGORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset


MOST_PERIODS = 1_000


def table(
    shop: Dataset,
    *,
    by: Sequence[str],
    metrics: Sequence[str | Metric],
    trailing: int = 1,
    since: dt.date | None = None,
    through: dt.date | None = None,
) -> pd.DataFrame:
    """Compute metrics over the lines of orders that were not cancelled, by columns and period.

    Parameters
    ----------
    shop
        The data set.
    by
        Columns of order_lines or merchants, "pilot" (whether the line's category is piloted), and at most one of day,
        week, month, quarter. The category is the one at order time ("unknown" where missing); a merchant's frozen
        category is "merchant_category".
    metrics
        Names of metrics, see `strategy_kit.metrics.METRICS`, or metrics of your own, see `strategy_kit.Metric`.
    trailing
        Periods, up to and with the named one, over which each sum or count of distinct values runs.
    since, through
        First and last day that count; all days of the data by default.

    Returns
    -------
    DataFrame
        The `by` columns in order, the metrics, then `complete`: whether the period (all of them, when trailing) lies whole
        inside the data set's window, the settlement lag passed. Sorted by the `by` columns. With a period, a group
        without sales is 0 from its first period on. A ratio of nothing is missing, and so is a window, such as twelve
        months, that begins before the data.

    Raises
    ------
    ParameterError
        If a column or metric is unknown (the nearest is offered), a grouping would count lines more than once, two periods
        are asked for, or days lie outside the data; all at once.
    ContractError
        If merchants are grouped by a roster that names one twice.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> sk.kpi.table(sk.open_dataset("data/sample"), by=["pilot"], metrics=["gmv", "orders"]).columns.tolist()
    ['pilot', 'gmv', 'orders', 'complete']
    """
    expressions, period = grouping(shop, by)
    since, through = _held_days(shop, since, through)
    asked = chosen(metrics, shop.columns("order_lines"))
    clash = sorted({metric.name for metric in asked} & {*by, "complete"})
    if clash:
        raise ParameterError(f"{', '.join(clash)} cannot name both a metric and another column; rename the metric")
    needed = list({part.name: part for metric in asked for part in parts(metric)}.values())
    _hold_trailing(needed, trailing, period)
    if not (asked or by):
        raise ParameterError("neither by nor metrics names anything; ask for a metric, such as metrics=['gmv']")
    scope = Scope(shop, expressions, period, since, through)
    found = _scans(scope, needed, trailing)
    sums = merged(found, list(by))
    if not by and len(sums) > 1:
        raise ParameterError(
            f"{', '.join(m.name for m in needed)}: a metric is an aggregate, such as sum(amount); correct its sql"
        )
    if period is not None and len(sums):
        sums = _filled(scope, sums)
    for metric in needed:
        if fills_with_zero(metric) and sums[metric.name].hasnans:
            kind = next(frame[metric.name].dtype for frame in found if metric.name in frame)
            held = _held(scope, metric, trailing, sums)
            sums[metric.name] = sums[metric.name].mask(sums[metric.name].isna() & held, 0)
            sums[metric.name] = sums[metric.name].astype(kind)
    result = sums[list(by)]
    for metric in asked:
        values = [sums[part.name] for part in parts(metric)]
        result = result.assign(**{metric.name: values[0] if metric.sql else _ratio(*values)})
    result["complete"] = True if period is None else _complete(scope, result[period], period, trailing)
    if by and by[-1] == period:  # filled in that order
        return result
    return result.take(np.argsort(_codes(result, by), kind="stable")).reset_index(drop=True)


def names_listed(by: object) -> None:
    """Refuse what is no list of names."""
    if not isinstance(by, list | tuple) or not all(isinstance(name, str) for name in by):
        raise ParameterError(f"by is a list of names of columns, such as ['category', 'month'], not {by!r}")


def grouping(
    shop: Dataset, by: Sequence[str], result: Sequence[str] = ("complete",)
) -> tuple[dict[str, str], Period | None]:
    """Return the SQL of each column to group by, and the period among them; ParameterError names all that is wrong.

    No such column may be called like a column of the `result`.
    """
    names_listed(by)
    lines, roster = shop.columns("order_lines"), shop.columns("merchants")
    known = {c: f"l.{quoted(c)}" for c in lines}
    known |= {f"merchant_{c}" if c in lines else c: f"m.{quoted(f'merchant {c}')}" for c in roster}
    known["category"] = CATEGORY.replace("category", "l.category")
    known |= {p: f"cast(date_trunc('{p}', l.paid_at) as timestamp)" for p in get_args(Period)}
    if "pilot" in by:
        known["pilot"] = f"list_contains($pilots, {known['category']})"
    laws = [_unknown(name, known) for name in by if name not in known]
    periods: list[Period] = [period for period in get_args(Period) if period in by]
    if len(periods) > 1:
        laws.append(f"a table has one period, not {' and '.join(periods)}")
    if len({name.lower() for name in by}) < len(by):
        laws.append("a column to group by is named twice")
    laws += [f"{name!r} is a column of the result too; rename it in the data" for name in by if name in result]
    refuse(ParameterError, "by", laws)
    if any(known[name].startswith("m.") for name in by):
        _hold_roster(shop)
    return {name: known[name] for name in by}, periods[0] if periods else None


def _unknown(name: str, known: dict[str, str]) -> str:
    home = [t for t, contract in TABLES.items() if name in contract.columns and t not in ("order_lines", "merchants")]
    if not home or name.lower() in (k.lower() for k in known):
        return f"{name!r} is not a column to group by{nearest(name, known)}"
    many = "where a merchant has many rows, so that its sales would count more than once"
    law = (
        f"{name!r} is a column of {home[0]}, {many if 'merchant_id' in TABLES[home[0]].columns else 'not of the lines'}"
    )
    return f"{law}; group by a column of order_lines or merchants"


def _hold_roster(shop: Dataset) -> None:
    n = Count(shop.engine.frame("select count(*) - count(distinct merchant_id) as n from merchants")["n"][0])
    if n:
        law = (
            f"merchants names a merchant_id again in {n} {n:row|rows}, so that grouped lines would count more than once"
        )
        raise ContractError(f"{law}; keep one row a merchant")


def _held_days(shop: Dataset, since: dt.date | None, through: dt.date | None) -> list[dt.date | None]:
    given = {"since": since, "through": through}
    days = [None if day is None else day_of(day, name) for name, day in given.items()]
    window = f"the data, which cover {shop.data_from} to {shop.data_through}; choose a day inside"
    laws = [f"{name} {day} lies outside {window}" for name, day in zip(given, days, strict=True)
            if day and not shop.data_from <= day <= shop.data_through]  # fmt: skip
    first, last = days
    laws += [f"since {first} is after through {last}; exchange them"] if first and last and first > last else []
    refuse(ParameterError, "table", laws)
    return days


def _hold_trailing(needed: list[Metric], trailing: int, period: Period | None) -> None:
    fits = whole_number(trailing, 1) and trailing <= MOST_PERIODS
    laws = [] if fits else [f"trailing is a number of periods, 1 to {MOST_PERIODS}, not {trailing!r}"]
    if not laws and trailing > 1:
        laws = [f"{m.name} cannot run over several periods, only sums and counts of distinct values can; use a longer "
                "period" for m in needed if not runs_over_windows(m) or m.clock != "paid_at"]  # fmt: skip
        laws += [] if period else ["trailing counts periods, but by names none; add week, month or quarter"]
    refuse(ParameterError, "table", laws)


def _scans(scope: Scope, needed: list[Metric], trailing: int) -> list[pd.DataFrame]:
    """Run one query for each kind of row and window, one for each count of distinct values over a window."""
    kinds: dict[tuple[str, str, int, str], list[Metric]] = {}
    for metric in needed:
        window = metric.trailing_months if metric.trailing_months or trailing == 1 else -trailing
        distinct = metric.name if window and DISTINCT.fullmatch(metric.sql) else ""
        kinds.setdefault((metric.per, metric.clock, window, distinct), []).append(metric)
    found = []
    for (per, clock, window, _), metrics in kinds.items():
        if window:
            found.append(window_scan(scope, metrics, Windows.laid(scope, max(window, 0), trailing)))
        elif per == "line":
            found.append(line_scan(scope, metrics, clock))
        else:
            found.append(unit_scan(scope, metrics, per))
    return found or [line_scan(scope, [], "paid_at")]


def merged(frames: list[pd.DataFrame], by: list[str]) -> pd.DataFrame:
    """Join frames by the columns of `by`, missing ones included; frames of one row side by side when there are none."""
    if not by:
        return pd.concat(frames, axis=1)
    return reduce(lambda left, right: left.merge(right, on=by, how="outer"), frames)


def _filled(scope: Scope, sums: pd.DataFrame) -> pd.DataFrame:
    """Add the periods in which a group sold nothing, from its first period to the end of the data."""
    period = scope.period or "day"
    end = scope.through or scope.shop.data_through
    first, last = sums[period].min().date(), max(sums[period].max().date(), period_start(end, period))
    spine = [first]
    while spine[-1] < last:
        spine.append(next_start(spine[-1], period))
    starts = pd.DatetimeIndex(spine).as_unit("us")
    group, place = _codes(sums, scope.groups), starts.get_indexer(pd.DatetimeIndex(sums[period]))
    opened = np.full(int(group.max()) + 1, len(starts))
    np.minimum.at(opened, group, place)
    length = len(starts) - opened
    began = np.cumsum(length) - length
    source = np.full(int(length.sum()), -1)
    source[began[group] + place - opened[group]] = np.arange(len(sums))
    member = np.repeat(np.arange(len(opened)), length)
    values = sums.drop(columns=list(scope.keys)).reset_index(drop=True)
    filled = values.reindex(source).reset_index(drop=True)
    filled[period] = starts[np.arange(len(source)) - np.repeat(began - opened, length)]
    one = np.zeros(len(opened), dtype=int)
    one[group] = np.arange(len(sums))
    for name in scope.groups:
        filled[name] = sums[name].take(one[member]).set_axis(filled.index)
    return filled


def _held(scope: Scope, metric: Metric, trailing: int, sums: pd.DataFrame) -> Any:
    """Say which rows a metric can be had for: those whose window lies inside the data."""
    if trailing == 1 and not metric.trailing_months:
        return sums.index >= 0
    windows = Windows.laid(scope, metric.trailing_months, trailing)
    inside = [
        start for start, opens in zip(windows.periods, windows.opens, strict=True) if opens >= scope.shop.data_from
    ]
    return sums[scope.period].isin(pd.DatetimeIndex(inside)) if scope.period else (sums.index >= 0) & bool(inside)


def _codes(frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Number the rows by what they hold in `names`, in sorted order, missing last; equal rows are numbered alike."""
    code = np.zeros(len(frame), dtype=np.int64)
    for name in names:
        found, values = pd.factorize(frame[name], sort=True)
        code = code * (len(values) + 1) + np.where(found < 0, len(values), found)
        code = pd.factorize(code, sort=True)[0]
    return code


def _complete(scope: Scope, periods: pd.Series, period: Period, trailing: int) -> pd.Series:
    first = scope.since or dt.date.min
    last = dt.date.max if scope.through is None else period_start(scope.through + dt.timedelta(days=1), period)
    whole = [start for start in scope.shop.complete_periods(period)[trailing - 1 :] if first <= start < last]
    return periods.isin(pd.DatetimeIndex(whole))


def _ratio(numerator: pd.Series, denominator: pd.Series) -> pd.Series:
    return (numerator / denominator).where(denominator != 0, np.nan)
