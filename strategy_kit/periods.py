"""Weeks, months and quarters: how a date falls into one, how one is named, when one ends.

A week is keyed by its Monday, a month or quarter by its first day, never by a number: 2025-12-29 opens ISO week 2026-W01.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Literal, get_args

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError, nearest

Array = np.ndarray
Period = Literal["day", "week", "month", "quarter"]


def checked_period(name: str) -> Period:
    """Return `name` when it is a period, else refuse it.

    Raises
    ------
    ParameterError
        If `name` is not one of day, week, month, quarter.

    Examples
    --------
    >>> checked_period("week")
    'week'
    """
    if name not in get_args(Period):
        hint = nearest(name, get_args(Period))
        raise ParameterError(f"a period is one of {', '.join(get_args(Period))}, not {name!r}{hint}")
    return name  # type: ignore[return-value]  # membership was just checked


def day_of(value: object, name: str) -> dt.date:
    """Return the day of a date, datetime or timestamp, refusing what is none; `name` opens the sentence.

    Raises
    ------
    ParameterError
        If `value` is no date.

    Examples
    --------
    >>> day_of(dt.datetime(2025, 3, 1), "before")
    datetime.date(2025, 3, 1)
    """
    if isinstance(value, dt.datetime) and value == value:  # noqa: PLR0124  # a missing timestamp is not itself
        return value.date()
    if type(value) is not dt.date:
        raise ParameterError(f"{name} is a date, not {value!r}; write it like datetime.date(2025, 3, 31)")
    return value


def period_start(day: dt.date, period: Period) -> dt.date:
    """Return the first day of the period that holds `day`.

    Examples
    --------
    >>> period_start(dt.date(2025, 12, 31), "week")
    datetime.date(2025, 12, 29)
    """
    if period == "week":
        return day - dt.timedelta(days=day.weekday())
    if period == "quarter":
        return dt.date(day.year, 3 * ((day.month - 1) // 3) + 1, 1)
    return day.replace(day=1) if period == "month" else day


def next_start(start: dt.date, period: Period) -> dt.date:
    """Return the first day of the following period.

    Examples
    --------
    >>> next_start(dt.date(2025, 12, 1), "month")
    datetime.date(2026, 1, 1)
    """
    if period in ("month", "quarter"):
        return months_later(start.replace(day=1), 1 if period == "month" else 3)
    return start + dt.timedelta(days=7 if period == "week" else 1)


def months_later(day: dt.date, months: int) -> dt.date:
    """Return the same day `months` later (earlier when negative), or the last day of a month that is too short.

    Examples
    --------
    >>> months_later(dt.date(2024, 2, 29), 12), months_later(dt.date(2025, 1, 1), -1)
    (datetime.date(2025, 2, 28), datetime.date(2024, 12, 1))
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = (dt.date(year, month + 1, 28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)
    return last.replace(day=min(day.day, last.day))


def last_complete(day: dt.date, period: Period) -> dt.date:
    """Return the start of the last period that has ended on or before `day`.

    Examples
    --------
    >>> last_complete(dt.date(2025, 7, 30), "week")
    datetime.date(2025, 7, 21)
    """
    return period_start(period_start(day + dt.timedelta(days=1), period) - dt.timedelta(days=1), period)


def week_label(monday: dt.date) -> str:
    """Name a week as people do, with its ISO year and number.

    Examples
    --------
    >>> week_label(dt.date(2025, 12, 29))
    '2026-W01'
    """
    year, week, _ = monday.isocalendar()
    return f"{year}-W{week:02d}"


def parse_week(text: str) -> dt.date:
    """Read "2025-W30", or any date of the week, as the Monday of that week.

    Raises
    ------
    ParameterError
        If `text` is neither.

    Examples
    --------
    >>> parse_week("2025-W30")
    datetime.date(2025, 7, 21)
    """
    text = str(text)
    try:
        if re.fullmatch(r"\d{4}-W\d{2}", text):
            return dt.date.fromisocalendar(int(text[:4]), int(text[6:]), 1)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return period_start(dt.date.fromisoformat(text), "week")
    except ValueError as error:
        raise ParameterError(f"week {text!r} does not exist: {error}") from None
    raise ParameterError(f"a week is written like 2025-W30, or as a date of that week, not {text!r}")


def period_length(periods: pd.DatetimeIndex) -> pd.DateOffset | pd.offsets.MonthEnd | pd.Timedelta:
    """Return how long one period is, what its labels are apart at least: months where all begin with a month.

    Examples
    --------
    >>> period_length(pd.DatetimeIndex(["2025-01-01", "2025-04-01", "2025-10-01"]))
    <DateOffset: months=3>
    """
    if len(periods) < 2:
        return pd.Timedelta(days=1)
    if months := _months_apart(periods):
        return pd.offsets.MonthEnd(months) if periods.is_month_end.all() else pd.DateOffset(months=months)
    return pd.Timedelta(np.diff(periods).min())


def ages(periods: pd.Index, cohorts: pd.Index) -> Array:
    """Return (G, T): how many periods each of T ascending periods lies after each of G starts, negative before it.

    Dates count in the shortest step between them, whole numbers in ones (as R's did counts years), other numbers in their
    shortest step.

    Examples
    --------
    >>> ages(pd.DatetimeIndex(["2025-03-01", "2025-04-01", "2025-05-01"]), pd.DatetimeIndex(["2025-05-01"])).tolist()
    [[-2, -1, 0]]
    """
    if isinstance(periods, pd.DatetimeIndex):
        starts = pd.DatetimeIndex(cohorts)
        if months := _months_apart(periods):
            return np.floor_divide(_months(periods) - _months(starts)[:, None], months)
        step = np.diff(periods).min() if len(periods) > 1 else np.timedelta64(1, "D")
        return np.floor((periods.to_numpy() - starts.to_numpy()[:, None]) / step + 1e-9).astype(int)
    labels = periods.to_numpy(dtype=float)
    whole = len(labels) < 2 or bool((labels == np.rint(labels)).all())
    unit = 1.0 if whole else float(np.diff(labels).min())
    return np.floor((labels - cohorts.to_numpy(dtype=float)[:, None]) / unit + 1e-6).astype(int)


def _months_apart(periods: pd.DatetimeIndex) -> int:
    """How many months lie between labels at least, 0 where they are not the same day, or the last, of their months."""
    alike = len(periods) > 1 and ((periods.day == periods.day[0]).all() or periods.is_month_end.all())
    return int(np.diff(_months(periods)).min()) if alike and (periods == periods.normalize()).all() else 0


def _months(dates: pd.DatetimeIndex) -> Array:
    return np.asarray(dates.year * 12 + dates.month)


def weekly(periods: pd.Index) -> bool:
    """Whether the labels are dates seven days apart."""
    dated = isinstance(periods, pd.DatetimeIndex) and len(periods) > 1
    return dated and bool((np.diff(periods) == np.timedelta64(7, "D")).all())
