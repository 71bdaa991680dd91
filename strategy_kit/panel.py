"""The panel contract: one row a unit and period, a treatment that starts once, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import ContractError, DesignError, nearest, refuse
from strategy_kit.moments import Moments
from strategy_kit.panel_input import cohorts_of, constant_law, row_laws, times_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.estimates import AssignedAt

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Panel:
    """Units × periods with the period in which each unit's treatment starts.

    Made by `Panel.from_frame`, `Panel.from_matrix` or `Dataset.panel`; its constructor checks nothing.

    Attributes
    ----------
    outcome
        (N, T); missing where a unit was not observed.
    units, periods
        (N,) and (T,) labels, both in ascending order.
    cohorts
        (G,) distinct starts inside the panel's span, ascending.
    cohort
        (N,) position in `cohorts`, -1 for units that were never treated within the span.
    category
        (N,) category of each unit, or None.
    name
        Of the outcome.
    notes
        Sentences on what was left out.

    Examples
    --------
    >>> Panel.from_matrix(np.zeros((3, 4)), treated_from=[3, 4, 0]).starts.tolist()
    [2, 3]
    """

    outcome: Array
    units: pd.Index
    periods: pd.Index
    cohorts: pd.Index
    cohort: Array
    category: pd.Series | None = None
    name: str = "outcome"
    notes: tuple[str, ...] = ()

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        unit: str,
        period: str,
        outcome: str,
        treated_from: str,
        category: str | None = None,
        covariates: Sequence[str] | None = None,
        weight: str | None = None,
        cluster: str | None = None,
    ) -> Panel:
        """Read a long frame, one row a unit and period.

        Parameters
        ----------
        frame
            Any order of rows.
        period
            Integers, dates or timestamps.
        treated_from
            First treated period of the unit, the same in all its rows; missing, infinite, or 0 where periods are
            positive numbers: never treated. A date inside a period counts from that period on.
        category
            Category of the unit, the same in all its rows.
        covariates, weight, cluster
            Refused for now: no estimator of this version uses them, and none is ignored in silence.

        Raises
        ------
        DesignError
            If covariates, a weight or a cluster is named.
        ContractError
            If a column is missing, a unit-period repeats, a start or category changes within a unit, or an outcome is
            missing or infinite; all at once.

        Examples
        --------
        >>> long = pd.DataFrame({"id": [1, 1, 2, 2], "week": [1, 2, 1, 2], "y": [1.0, 4.0, 1.0, 2.0], "g": [2, 2, 0, 0]})
        >>> Panel.from_frame(long, unit="id", period="week", outcome="y", treated_from="g")
        Panel: 2 units × 2 periods [1 to 2], outcome y; 1 cohort + 1 never treated; balanced; assigned at merchant level
        """
        if covariates or weight or cluster:
            unused = ", ".join(
                map(str, [*(covariates or []), *([weight] if weight else []), *([cluster] if cluster else [])])
            )
            raise DesignError(f"no estimator of this version uses covariates, weights or clusters; leave {unused} out")
        named = [c for c in (unit, period, outcome, treated_from, category) if c is not None]
        absent = [f"column {c!r} is missing{nearest(c, map(str, frame.columns))}" for c in named if c not in frame]
        refuse(ContractError, "panel", absent)
        unit_code, units = pd.factorize(frame[unit], sort=True)
        period_code, periods = pd.factorize(times_of(frame[period], "period"), sort=True)
        values = pd.to_numeric(frame[outcome], errors="coerce").to_numpy(dtype=float)
        starts = times_of(frame[treated_from], "treated_from")
        first = np.full(len(units), -1)
        known = np.flatnonzero(unit_code >= 0)[::-1]
        first[unit_code[known]] = known
        laws = row_laws(frame, (unit, period, outcome), (unit_code, period_code, values))
        laws += constant_law(starts, first, unit_code, units, treated_from)
        if category is not None:
            laws += constant_law(frame[category], first, unit_code, units, category)
        refuse(ContractError, "panel", laws)
        matrix = np.full((len(units), len(periods)), np.nan)
        matrix[unit_code, period_code] = values
        return cls.from_matrix(
            matrix,
            treated_from=starts.iloc[first],
            periods=periods,
            units=units,
            category=None if category is None else frame[category].iloc[first],
            name=outcome,
        )

    @classmethod
    def from_matrix(
        cls,
        outcome: Array,
        *,
        treated_from: Sequence[object] | pd.Series | Array,
        periods: Sequence[object] | pd.Index | None = None,
        units: Sequence[object] | pd.Index | None = None,
        category: Sequence[object] | pd.Series | None = None,
        name: str = "outcome",
    ) -> Panel:
        """Take an (N, T) matrix that is in memory already; it is not copied.

        Parameters
        ----------
        outcome
            (N, T), periods ascending; missing where a unit was not observed.
        treated_from
            (N,) first treated period of each unit, as in `from_frame`.
        periods, units
            Labels; 1 .. T and 0 .. N - 1 by default.

        Raises
        ------
        ContractError
            If lengths differ, periods do not ascend or an outcome is infinite.

        Examples
        --------
        >>> Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0]]), treated_from=[2, np.inf]).cohorts.tolist()
        [2]
        """
        outcome = np.asarray(outcome, dtype=float)
        numbers = np.arange(1, outcome.shape[1] + 1)
        times = pd.Index(times_of(pd.Series(numbers if periods is None else periods), "period"))
        given = times_of(pd.Series(treated_from).reset_index(drop=True), "treated_from")
        labels = pd.RangeIndex(len(outcome)) if units is None else pd.Index(units)
        laws = [] if times.is_monotonic_increasing and times.is_unique else ["periods must ascend without repeats"]
        if (len(labels), len(times)) != outcome.shape or len(given) != len(outcome):
            laws.append(
                f"outcome is {outcome.shape[0]} × {outcome.shape[1]}, but there are {len(labels)} units, "
                f"{len(given)} starts and {len(times)} periods"
            )
        if np.isinf(outcome).any():
            laws.append(f"{name} must be finite, or missing where a unit was not observed")
        refuse(ContractError, "panel", laws)
        cohort, cohorts, notes = cohorts_of(given, times)
        groups = None if category is None else pd.Series(np.asarray(category), index=labels)
        return cls(outcome, labels, times, cohorts, cohort, groups, name, notes)

    @property
    def starts(self) -> Array:
        """(G,) position of the first treated period of each cohort."""
        return np.searchsorted(self.periods, self.cohorts)

    @cached_property
    def balanced(self) -> bool:
        """Whether every unit is observed in every period."""
        return not bool(np.isnan(self.outcome.sum()))

    @cached_property
    def moments(self) -> Moments:
        """Moments of the cohorts in order, then of the never treated if there are any; one scan, then kept.

        Raises
        ------
        DesignError
            If a unit lacks a period.
        """
        if not self.balanced:
            lacking = int(np.isnan(self.outcome).any(axis=1).sum())
            raise DesignError(
                f"the panel is unbalanced: {lacking} of {len(self.units)} units lack at least one of {len(self.periods)} "
                "periods; keep the complete ones with panel.complete_units()"
            )
        never = int((self.cohort < 0).any())
        codes = np.where(self.cohort < 0, len(self.cohorts), self.cohort)
        return Moments.of(self.outcome, codes, len(self.cohorts) + never)

    @cached_property
    def assigned_at(self) -> AssignedAt:
        """Return "category" when the start is constant within every category, else "merchant"."""
        if self.category is None or not len(self.cohorts):
            return "merchant"
        starts = pd.Series(self.cohort, index=self.category.index).groupby(self.category, dropna=False).nunique()
        return "category" if len(starts) > 1 and bool((starts == 1).all()) else "merchant"

    def complete_units(self) -> Panel:
        """Return the panel of the units observed in every period; its notes count the others."""
        held = ~np.isnan(self.outcome).any(axis=1)
        note = f"{int((~held).sum())} of {len(held)} units lacked a period and were left out"
        return replace(self._kept(held), notes=(*self.notes, note))

    def untreated_at_first(self, periods: int = 1) -> Panel:
        """Return the panel of the units not treated in the first `periods` periods; its notes count the others.

        Examples
        --------
        >>> Panel.from_matrix(np.zeros((2, 3)), treated_from=[1, 3]).untreated_at_first().notes
        ('units treated from the first periods on, left out: 1 of 2',)
        """
        early = np.isin(self.cohort, np.flatnonzero(self.starts < periods))
        if not early.any():
            return self
        note = f"units treated from the first periods on, left out: {int(early.sum())} of {len(early)}"
        return replace(self._kept(~early), notes=(*self.notes, note))

    def within(self, categories: Sequence[str]) -> Panel:
        """Return the panel of the units of these categories.

        Raises
        ------
        DesignError
            If the panel has no categories, or none of these.
        """
        if self.category is None:
            raise DesignError("the panel has no categories; name their column when it is made")
        held = self.category.isin(categories).to_numpy()
        if not held.any():
            raise DesignError(f"the panel has no unit in {', '.join(categories)}; choose among its categories")
        return self._kept(held)

    def logs(self) -> Panel:
        """Return the panel of the logarithm of the outcome.

        Raises
        ------
        DesignError
            If an outcome is zero or negative: a log of zero is never replaced by something else.
        """
        empty = np.asarray((self.outcome <= 0).any(axis=1))
        if empty.any():
            listed = ", ".join(map(str, self.units[empty][:3]))
            raise DesignError(
                f"a log of zero was refused: {int(empty.sum())} of {len(empty)} units have an outcome of 0 or less in some "
                f"period (first: {listed}); use longer periods or larger units, or keep the outcome as it is"
            )
        return replace(self, outcome=np.log(self.outcome), name=f"log {self.name}")

    def restarted(self, start: int, stop: int) -> Panel:
        """Return the panel of the first `stop` periods in which every treated unit starts at position `start`.

        A placebo in time: the same units asked the same question about periods in which nothing started.

        Examples
        --------
        >>> panel = Panel.from_matrix(np.zeros((2, 6)), treated_from=[5, 0])
        >>> panel.restarted(2, 4).cohorts.tolist()
        [3]
        """
        return replace(
            self,
            outcome=self.outcome[:, :stop],
            periods=self.periods[:stop],
            cohorts=self.periods[[start]],
            cohort=np.where(self.cohort >= 0, 0, -1),
        )

    def _kept(self, held: Array) -> Panel:
        present = np.unique(self.cohort[held])
        present = present[present >= 0]
        code = np.full(len(self.cohorts) + 1, -1)
        code[present] = np.arange(len(present))
        return replace(
            self,
            outcome=self.outcome[held],
            units=self.units[held],
            cohorts=self.cohorts[present],
            cohort=code[self.cohort[held]],
            category=None if self.category is None else self.category[held],
        )

    def __repr__(self) -> str:
        word = {True: "weeks", False: "periods"}[_weekly(self.periods)]
        first, last = (f"{p:%Y-%m-%d}" if isinstance(p, pd.Timestamp) else p for p in self.periods[[0, -1]])
        cohorts = f"{len(self.cohorts)} cohort{'s' * (len(self.cohorts) != 1)}"
        state = "balanced" if self.balanced else "unbalanced"
        contract = (
            f"Panel: {len(self.units):,} units × {len(self.periods)} {word} [{first} to {last}], outcome {self.name}; "
            f"{cohorts} + {int((self.cohort < 0).sum()):,} never treated; {state}; assigned at {self.assigned_at} level"
        )
        return "\n".join([contract, *self.notes])


def ages(periods: pd.Index, cohorts: pd.Index) -> Array:
    """Return how many periods each of K periods lies after the start of each of K cohorts, negative before it.

    Examples
    --------
    >>> ages(pd.DatetimeIndex(["2025-03-01"]), pd.DatetimeIndex(["2025-05-01"])).tolist()
    [-2]
    """
    if not (isinstance(periods, pd.DatetimeIndex) and isinstance(cohorts, pd.DatetimeIndex)):
        return np.asarray(periods) - np.asarray(cohorts)
    if (periods.day == 1).all() and (cohorts.day == 1).all():
        return np.asarray((periods.year - cohorts.year) * 12 + periods.month - cohorts.month)
    days: Array = np.asarray((periods - cohorts).days)
    return days // 7 if (days % 7 == 0).all() else days


def _weekly(periods: pd.Index) -> bool:
    dated = isinstance(periods, pd.DatetimeIndex) and len(periods) > 1
    return dated and bool((np.diff(periods) == np.timedelta64(7, "D")).all())
