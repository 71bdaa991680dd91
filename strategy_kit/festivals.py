"""Shopping festivals: their dated phases from 2022 to 2026, and the comparable week of the year before.

Tmall's 618 and Double 11 move every year, as does the Lunar New Year holiday, so that the same week of two years is not
the same week of the festival. `festivals.csv` holds the dates, in Asia/Shanghai, and who reported each.
"""

from __future__ import annotations

import datetime as dt
from importlib.resources import files
from typing import TYPE_CHECKING

import pandas as pd

from strategy_kit.errors import ParameterError, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FIRST", "LAST", "UNKNOWN", "calendar", "festival_weeks", "phases", "told", "year_before"]

FIRST, LAST = dt.date(2022, 1, 1), dt.date(2026, 12, 31)
"""First and last day of the shipped calendar."""
UNKNOWN = "unknown"
_BEFORE = pd.Timedelta(weeks=4)  # what Double 11 of 2022 to 2025 took at most before its day
_WEEK, _YEAR = pd.Timedelta(weeks=1), pd.Timedelta(weeks=52)
_APART, _YEAR_APART, _FARTHEST_MOVE = 60, (200, 500), 4  # days between occurrences, days, weeks
_KEY = ["festival", "phase", "occurrence"]


def phases() -> pd.DataFrame:
    """Return the shipped table: festival, phase, first and last day (inclusive), source, confidence.

    Confidence is reported, recalled (no source was at hand for a date) or anchor_only (nothing but the day that names the
    festival is known). A phase that starts at 20:00 has that day.

    Examples
    --------
    >>> table = phases()
    >>> table.loc[table["confidence"] == "anchor_only", ["festival", "first"]].to_string(index=False, header=False)
    'double_11 2026-11-11'
    """
    with files("strategy_kit").joinpath("festivals.csv").open(encoding="utf-8") as table:
        return pd.read_csv(table, parse_dates=["first", "last"])


def calendar(first: dt.date, last: dt.date) -> pd.DataFrame:
    """Return the shipped festivals as the `calendar` table of a data set.

    The days before 11 November 2026 are ordinary here, because the phases of that Double 11 are not known (see `phases`).

    Returns
    -------
    DataFrame
        One row a day: date, festival (missing on ordinary days), phase (none on those and in the Lunar New Year holiday).

    Raises
    ------
    ParameterError
        If the range is empty or leaves 2022 to 2026.

    Examples
    --------
    >>> calendar(dt.date(2025, 5, 12), dt.date(2025, 5, 16))["phase"].tolist()
    ['none', 'presale', 'presale', 'presale', 'spot']
    """
    dates = all(isinstance(day, dt.date) for day in (first, last))
    if not (dates and pd.Timestamp(FIRST) <= pd.Timestamp(first) <= pd.Timestamp(last) <= pd.Timestamp(LAST)):
        raise ParameterError(
            f"the shipped calendar has the days {FIRST} to {LAST}, not {first} to {last}; ask for days within"
        )
    days = pd.DataFrame({"date": pd.date_range(first, last, unit="us")})
    table = phases()
    table["date"] = [pd.date_range(*span).tolist() for span in zip(table["first"], table["last"], strict=True)]
    marked = table[["date", "festival", "phase"]].explode("date").astype({"date": days["date"].dtype})
    return days.merge(marked, on="date", how="left").fillna({"phase": "none"})


def told(first: dt.date, last: dt.date) -> pd.DataFrame:
    """Return `calendar` with the four weeks before a festival of which only the day is known as its phase "unknown".

    So they are neither ordinary weeks nor comparable with any.

    Examples
    --------
    >>> told(dt.date(2026, 10, 13), dt.date(2026, 10, 15))["phase"].tolist()
    ['none', 'unknown', 'unknown']
    """
    days, table = calendar(first, last), phases()
    for name, day in table.loc[table["confidence"] == "anchor_only", ["festival", "first"]].itertuples(index=False):
        before = days["date"].between(day - _BEFORE, day, inclusive="left") & days["festival"].isna()
        days.loc[before, ["festival", "phase"]] = name, UNKNOWN
    return days


def shipped(first: dt.date, last: dt.date) -> pd.DataFrame:
    """Return `told` for the days of a range that the shipped calendar has; there may be none.

    Examples
    --------
    >>> len(shipped(dt.date(2019, 1, 1), dt.date(2022, 1, 2))), len(shipped(dt.date(2019, 1, 1), dt.date(2019, 12, 31)))
    (2, 0)
    """
    span = max(first, FIRST), min(last, LAST)
    return told(LAST, LAST).iloc[:0] if span[0] > span[1] else told(*span)


def year_before(weeks: Sequence[dt.date], days: pd.DataFrame) -> pd.DataFrame:
    """Find for each week the comparable week of the year before: the same phase of the same festival, as near its end.

    A week belongs to the festival and phase of most of its festival days (of equals, the later) if it has two of them or
    the last day of a festival; otherwise it is ordinary. Its match lies as many weeks before the last week of that phase a
    year before (200 to 500 days). An ordinary week is matched with the one 364 days before or, where that belongs to a
    festival, with the nearest ordinary week (of equals, the earlier) up to 4 weeks away. Weeks are Mondays; `days` is a
    `calendar` table, in any order.

    Returns
    -------
    DataFrame
        One row a week, in the order given: week, compared_with (a Monday, missing where no week is comparable), matched
        (in words: what was matched, with how many days where the two differ, or why nothing was).

    Raises
    ------
    ParameterError
        If a week is no Monday, or `days` lacks a column, a date or a phase, or has a date twice.

    Examples
    --------
    >>> days = calendar(dt.date(2024, 1, 1), dt.date(2025, 12, 31))
    >>> year_before([dt.date(2025, 5, 12), dt.date(2025, 6, 2)], days)["matched"].tolist()
    ['no week of 618 spot a year before that is 5 weeks before its end', '618 spot, 2 weeks before its end']
    """
    given: list[object] = list(weeks)
    odd = [week for week in given if not isinstance(week, dt.date) or week.weekday() != 0]
    laws = [f"a week is keyed by its Monday, which {week} is not; give the Monday" for week in odd]
    refuse(ParameterError, "year_before", laws + _broken(days))
    known, types = _Weeks(days), {"week": "datetime64[us]", "compared_with": "datetime64[us]", "matched": "str"}
    found = [(week, *known.comparable(week)) for week in pd.DatetimeIndex(given)]
    return pd.DataFrame(found, columns=list(types)).astype(types)


def festival_weeks(days: pd.DataFrame) -> dict[pd.Timestamp, str]:
    """Name the festival of each week, keyed by its Monday, that belongs to one by the rule of `year_before`.

    Raises
    ------
    ParameterError
        If `days` lacks a column, a date or a phase, or has a date twice.

    Examples
    --------
    >>> weeks = festival_weeks(calendar(dt.date(2024, 10, 1), dt.date(2024, 12, 31)))
    >>> [str(week.date()) for week in weeks][-2:]
    ['2024-11-04', '2024-11-11']
    """
    refuse(ParameterError, "the calendar", _broken(days))
    held = _Weeks(days).held if days["festival"].notna().any() else {}
    return {week: key[0] for week, (key, _) in sorted(held.items())}


def _broken(days: pd.DataFrame) -> list[str]:
    lacking = [name for name in ("date", "festival", "phase") if name not in days]
    if lacking:
        return [f"the calendar has no column {', '.join(lacking)}; it needs date, festival and phase"]
    laws = [f"the calendar lacks a {name} in a row; fill it" for name in ("date", "phase") if days[name].isna().any()]
    twice = days["date"][days["date"].duplicated()].head(1)
    return laws + [f"the calendar has {pd.Timestamp(day).date()} more than once; keep one row a day" for day in twice]


class _Weeks:
    """The weeks that a calendar covers; `held`: what each belongs to, and with how many days."""

    def __init__(self, days: pd.DataFrame) -> None:
        days = days.assign(date=pd.to_datetime(days["date"]))
        days["week"] = days["date"] - pd.to_timedelta(days["date"].dt.day_of_week, unit="D")
        self.covered = set(days["week"])
        marked = days.dropna(subset="festival").sort_values(["festival", "date"])
        marked["occurrence"] = (~(marked.groupby("festival")["date"].diff().dt.days < _APART)).cumsum()
        self.unfinished = set(marked.loc[marked["date"] == days["date"].max(), _KEY].itertuples(index=False, name=None))
        size = marked.groupby("week")["date"].transform("size")
        last = marked.groupby("occurrence")["date"].transform("max")
        parts = marked[(size >= 2) | (marked["date"] == last)].groupby([*_KEY, "week"])["date"].agg(["size", "max"])
        most = parts.sort_values(["size", "max"]).reset_index().drop_duplicates("week", keep="last")
        self.last_weeks = most.groupby(_KEY)["week"].max()
        keys = most[_KEY].itertuples(index=False, name=None)
        self.held = dict(zip(most["week"], zip(keys, most["size"], strict=True), strict=True))

    def comparable(self, week: pd.Timestamp) -> tuple[pd.Timestamp | None, str]:
        """Return the week of the year before, if there is one, and the words for it."""
        if week not in self.covered or week - _YEAR not in self.covered:
            return None, f"the calendar does not cover the {'year before' if week in self.covered else 'week'}"
        return self._same_phase(week) if week in self.held else self._ordinary(week - _YEAR)

    def _same_phase(self, week: pd.Timestamp) -> tuple[pd.Timestamp | None, str]:
        key, days = self.held[week]
        name = key[0] if key[1] == "none" else " ".join(key[:2])
        if key[1] == UNKNOWN:
            return None, f"the phases of this {key[0]} are not known"
        if key in self.unfinished:
            return None, f"the calendar ends within {name}, so that its end is not known"
        apart = (self.last_weeks[key] - self.last_weeks[key[:2]]).dt.days
        apart = (apart[apart.between(*_YEAR_APART)] - _YEAR.days).abs()
        if apart.empty:
            return None, f"no week of {name} a year before"
        before, left = (*key[:2], apart.idxmin()), self.last_weeks[key] - week
        count = left // _WEEK
        place = f"{count} week{'s' * (count > 1)} before its end" if count else "the week of its end"
        match, then = self.held.get(self.last_weeks[before] - left, (None, 0))
        if match != before:
            return None, f"no week of {name} a year before that is {place}"
        unequal = "" if days == then else f" (days of it: {days}, a year before {then})"
        return self.last_weeks[before] - left, f"{name}, {place}{unequal}"

    def _ordinary(self, other: pd.Timestamp) -> tuple[pd.Timestamp | None, str]:
        if other not in self.held:
            return other, "ordinary week"
        festival = self.held[other][0][0]
        for step in range(1, _FARTHEST_MOVE + 1):
            for moved in (other - step * _WEEK, other + step * _WEEK):
                if moved in self.covered and moved not in self.held:
                    return moved, f"ordinary week, moved {step} week{'s' * (step > 1)} past {festival}"
        return None, f"no ordinary week within {_FARTHEST_MOVE} weeks of {festival} a year before"
