"""Time in a simulated market: its weeks, its festivals, its policies, and how busy each day is."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAST_MONDAY, OPEN_DAYS = dt.date(2025, 7, 21), 3
WEEKDAY = np.array([0.97, 0.96, 0.96, 0.98, 1.00, 1.07, 1.06])
# festival (- none), phase, first and last day, lift of every category's sales in log points
_SEASONS = """
lunar_new_year none 2024-02-03 2024-02-16 -0.45
lunar_new_year none 2024-02-17 2024-03-02 0.12
618 spot 2024-05-20 2024-05-23 0.45
618 spot 2024-05-24 2024-06-14 0.14
618 spot 2024-06-15 2024-06-18 0.50
- none 2024-06-19 2024-07-02 -0.08
double_11 presale 2024-10-14 2024-10-14 -0.06
double_11 deposit 2024-10-15 2024-10-20 -0.08
double_11 balance 2024-10-21 2024-10-24 0.45
double_11 spot 2024-10-25 2024-11-08 0.18
double_11 spot 2024-11-09 2024-11-11 0.60
- none 2024-11-12 2024-11-25 -0.10
lunar_new_year none 2025-01-22 2025-02-04 -0.45
lunar_new_year none 2025-02-05 2025-02-19 0.12
618 presale 2025-05-13 2025-05-13 -0.06
618 deposit 2025-05-14 2025-05-15 -0.08
618 balance 2025-05-16 2025-05-18 0.45
618 spot 2025-05-19 2025-06-14 0.16
618 spot 2025-06-15 2025-06-18 0.50
- none 2025-06-19 2025-07-02 -0.08
"""
# invented rules for the whole platform: name, first and last day, direction, lift as above
POLICIES = [
    ("service_fee_cut", dt.date(2024, 9, 2), None, "up", 0.008),
    ("free_shipping_trial", dt.date(2024, 10, 1), dt.date(2024, 12, 31), "up", 0.010),
    ("stricter_refund_rules", dt.date(2025, 6, 2), None, "down", -0.012),
]


class Clock(NamedTuple):
    """A market's time: `weeks` complete weeks, a pilot in the last fifth of them, and an open week."""

    weeks: int

    @property
    def pilot_week(self) -> int:
        """The first post week, counted from 0."""
        return self.weeks - max(4, round(0.19 * self.weeks))

    def monday(self, week: int) -> dt.date:
        """Return the Monday of week number `week`, counted from 0."""
        return LAST_MONDAY + dt.timedelta(weeks=week - self.weeks + 1)

    def moved_festival(self) -> tuple[int, int]:
        """Return the weeks of the pilots' own festival: the first post week free of others, and one of the year before.

        The earlier one is two weeks earlier in the calendar, or more where another festival is; it may lie before the data.
        """
        free = self._days()[0].reshape(-1, 7) == None  # noqa: E711  # element by element
        weeks = np.flatnonzero(free.all(axis=1))
        week = int(weeks[weeks >= self.pilot_week][0])
        earlier = weeks[weeks <= week - 54]
        return week, int(earlier[-1]) if earlier.size else week - 54

    def festive(self) -> NDArray[np.bool_]:
        """Say which weeks a festival or its two weeks after touch, (weeks + 1,)."""
        return np.asarray((self._days()[2].reshape(-1, 7) != 0).any(axis=1))

    def calendar(self) -> pd.DataFrame:
        """Return every day with orders: date, festival, phase and lift in log points."""
        count = 7 * self.weeks + OPEN_DAYS
        dates = [self.monday(0) + dt.timedelta(n) for n in range(count)]
        festival, phase, lift = (values[:count] for values in self._days())
        plain = pd.Series(festival, dtype=object)  # else pandas makes missing numbers of None
        return pd.DataFrame({"date": dates, "festival": plain, "phase": phase, "lift": lift})

    def busyness(self, festival_response: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each day's expected sales, 1 being an ordinary week: (categories, weeks + 1, 7).

        `festival_response` (categories,) scales the festivals; all else is the same in every category.
        """
        count = 7 * self.weeks + OPEN_DAYS
        age = np.arange(count) - self._day(dt.date(2024, 11, 25))
        common = 0.06 * np.cos(2 * np.pi * age / 365.25) + 0.04 * age / 365.25
        common += np.log(np.resize(WEEKDAY / 7, count))
        for _, first, last, _, lift in POLICIES:
            common[self._span(first, last or dt.date.max)] += lift
        result = np.zeros((festival_response.size, 7 * (self.weeks + 1)))
        result[:, :count] = np.exp(common + festival_response[:, None] * self._days()[2][:count])
        return result.reshape(-1, self.weeks + 1, 7)

    def _day(self, date: dt.date) -> int:
        return (date - self.monday(0)).days

    def _span(self, first: dt.date, last: dt.date) -> slice:
        return slice(max(self._day(first), 0), max(self._day(last) + 1, 0))

    def _days(self) -> tuple[NDArray[np.object_], NDArray[np.object_], NDArray[np.float64]]:
        """Return festival, phase and lift of every day of the weeks + 1."""
        count = 7 * (self.weeks + 1)
        festivals, phases, lifts = np.full(count, None), np.full(count, "none", dtype=object), np.zeros(count)
        for name, phase, first, last, lift in (line.split() for line in _SEASONS.strip().splitlines()):
            days = self._span(dt.date.fromisoformat(first), dt.date.fromisoformat(last))
            festivals[days], phases[days], lifts[days] = None if name == "-" else name, phase, float(lift)
        return festivals, phases, lifts
