"""The panel contract: one row a unit and period, a treatment that starts once, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit import assigned, outcomes
from strategy_kit import panel_input as reading
from strategy_kit.errors import ContractError, DesignError, nearest, refuse
from strategy_kit.moments import Moments
from strategy_kit.periods import ages, weekly
from strategy_kit.shown import Shown, panel_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.assigned import AssignedAt

Array = np.ndarray
_BY_UNIT = ("category", "covariates", "weight", "cluster", "late")


@dataclass(frozen=True, eq=False, repr=False)
class Panel(Shown):
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
    covariates, covariate_names
        (N, P), or (N, T, P) where one changes over time; None without covariates.
    weight
        (N,) sampling weights, or None.
    cluster
        (N,) code of the group of units that a standard error takes as one draw, or None for units.
    source
        Column of a frame whose memory `outcome` shares; pandas copies it before the frame is written to, because it is
        held here.
    late
        (N,) periods from the last one to a start after it, 0 for other units; None where no unit starts so late.

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
    covariates: Array | None = None
    covariate_names: tuple[str, ...] = ()
    weight: Array | None = None
    cluster: Array | None = None
    source: pd.Series | None = None
    late: Array | None = None
    _view = panel_view

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        unit: str | None,
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
        unit
            None for repeated cross-sections: every row is a unit of its own, seen once.
        period
            Integers, dates or timestamps.
        treated_from
            First treated period of the unit, the same in all its rows; missing, infinite, or 0 where periods begin above
            it, or with it and no start is missing: never treated. A date inside a period counts from that period on.
        category
            Category of the unit, the same in all its rows.
        covariates
            Columns of numbers. One that changes over time counts as in the earlier of the two periods of a comparison;
            in an unbalanced panel, each row has its own.
        weight
            Sampling weight of the unit, above 0 and the same in all its rows.
        cluster
            Group of units that are one draw, the same in all rows of a unit.

        Raises
        ------
        ContractError
            If a column is missing, a unit-period repeats, a start, category, weight or cluster changes within a unit,
            an outcome or covariate is not finite, or a weight is not above 0; all at once.

        Examples
        --------
        >>> long = pd.DataFrame({"id": [1, 1, 2, 2], "week": [1, 2, 1, 2], "y": [1.0, 4.0, 1.0, 2.0], "g": [2, 2, 0, 0]})
        >>> Panel.from_frame(long, unit="id", period="week", outcome="y", treated_from="g")
        Panel: 2 units × 2 periods [1 to 2], outcome y; 1 cohort + 1 never treated; balanced; assigned at merchant level
        """
        covariates = (covariates,) if isinstance(covariates, str) else tuple(covariates or ())
        names = reading.Columns(unit, period, outcome, treated_from, category, covariates, weight, cluster)
        absent = [f"column {c!r} is missing{nearest(c, map(str, frame.columns))}" for c in names.used if c not in frame]
        absent += [f"column {c!r} occurs twice; keep one" for c in names.used if (frame.columns == c).sum() > 1]
        refuse(ContractError, "panel", absent)
        rows = reading.read(frame, names)
        first = rows.layout.first
        panel = cls.from_matrix(
            rows.layout.grid(rows.numbers[outcome]),
            treated_from=rows.starts.iloc[first],
            periods=rows.layout.periods,
            units=rows.layout.units,
            category=None if category is None else frame[category].iloc[first],
            name=outcome,
        )
        return replace(
            panel,
            covariates=rows.covariates(names.covariates),
            covariate_names=names.covariates,
            weight=rows.numbers[weight][first] if weight else None,
            cluster=pd.factorize(frame[cluster].iloc[first], use_na_sentinel=False)[0] if cluster else None,
            source=frame[outcome],
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
        outcome = reading.as_matrix(outcome, name)
        numbers = np.arange(1, outcome.shape[1] + 1)
        times = pd.Index(reading.times_of(pd.Series(numbers if periods is None else periods), "period"))
        given = reading.times_of(pd.Series(treated_from).reset_index(drop=True), "treated_from")
        labels = pd.RangeIndex(len(outcome)) if units is None else pd.Index(units)
        laws = reading.matrix_laws(outcome, labels, given, times, name)
        if category is not None and len(category) != len(outcome):
            laws.append(f"there are {len(outcome)} units, but {len(category)} categories")
        refuse(ContractError, "panel", laws)
        cohort, cohorts, late, notes = reading.cohorts_of(given, times)
        groups = None if category is None else pd.Series(np.asarray(category), index=labels)
        panel = cls(outcome, labels, times, cohorts, cohort, groups, name, notes, late=late)
        uneven = "periods are unequally spaced: a base is the last period before, and ages count on the calendar"
        return panel if panel.step else replace(panel, notes=(*notes, uneven))

    @property
    def starts(self) -> Array:
        """(G,) position of the first treated period of each cohort."""
        return np.searchsorted(self.periods, self.cohorts)

    @cached_property
    def ages(self) -> Array:
        """(G, T) periods since the start of each cohort, negative before it."""
        return ages(self.periods, self.cohorts)

    @cached_property
    def balanced(self) -> bool:
        """Whether every unit is observed in every period."""
        return not bool(np.isnan(self.outcome.sum()))

    @cached_property
    def scale(self) -> float:
        """How large outcomes are: what rounding is measured by."""
        return float(max(np.nanmax(self.outcome, initial=0.0), -np.nanmin(self.outcome, initial=0.0)))

    @property
    def cohort_names(self) -> list[str]:
        """The starts as text, dates as days."""
        return list(self.cohorts.astype(str))

    @cached_property
    def step(self) -> int:
        """How far the periods lie apart on the calendar, 0 where they are unequally spaced."""
        steps = np.diff(ages(self.periods, self.periods[:1])[0])
        return int(steps[0]) if len(steps) and (steps == steps[0]).all() else int(not len(steps))

    @property
    def plain(self) -> bool:
        """Whether cohort moments say all that a linear estimator asks: balanced, and units drawn and counted alike."""
        return self.balanced and self.covariates is None and self.weight is None and self.cluster is None

    @property
    def cohort_codes(self) -> Array:
        """(N,) position of each unit's cohort, the never treated last."""
        return np.where(self.cohort < 0, len(self.cohorts), self.cohort)

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
        return Moments.of(self.outcome, self.cohort_codes, len(self.cohorts) + int((self.cohort < 0).any()))

    @cached_property
    def starts_by_category(self) -> Array | None:
        """(C, G + 1) units of each category that were never treated, or started with each cohort; None without categories."""
        return None if self.category is None else assigned.starts_by_category(self.cohort, self.category)

    @cached_property
    def assigned_at(self) -> AssignedAt:
        """Return "category", "merchant" or "hybrid", as `assigned.assignment_level` tells them apart."""
        table = self.starts_by_category
        return "merchant" if table is None else assigned.assignment_level(table)

    @cached_property
    def uneven(self) -> bool:
        """Whether merchants were chosen more often in some categories than in others, beyond chance."""
        table = self.starts_by_category
        return table is not None and self.assigned_at == "merchant" and assigned.uneven(table)

    def complete_units(self) -> Panel:
        """Return the panel of the units observed in every period; its notes count the others."""
        held = ~np.isnan(self.outcome).any(axis=1)
        note = f"{int((~held).sum())} of {len(held)} units lacked a period and were left out"
        return replace(self.only(held), notes=(*self.notes, note))

    def untreated_at_first(self, periods: int = 1) -> Panel:
        """Return the panel of the units not treated in the first `periods` periods; its notes count the others.

        Examples
        --------
        >>> Panel.from_matrix(np.zeros((2, 3)), treated_from=[1, 3]).untreated_at_first().notes
        ('units treated from the first periods on, left out: 1 of 2',)
        """
        early = np.isin(self.cohort, np.flatnonzero(self.ages[:, 0] > -periods))
        if not early.any():
            return self
        note = f"units treated from the first periods on, left out: {int(early.sum())} of {len(early)}"
        return replace(self.only(~early), notes=(*self.notes, note))

    def unmoved(self, anticipation: int) -> Panel:
        """Return the panel of the units that do not react to a start before its first or after its last period.

        Units of the first kind have no base period, and of the second they would pass for never treated; its notes count
        both.

        Examples
        --------
        >>> Panel.from_matrix(np.zeros((3, 3)), treated_from=[3, 4, 9]).unmoved(1).notes[1]
        'units that start within 1 periods after the last one and may react before, left out: 1 of 3'
        """
        result = self.untreated_at_first(anticipation + 1)
        if result.late is None or not (moved := (result.late > 0) & (result.late <= anticipation)).any():
            return result
        note = (
            f"units that start within {anticipation} periods after the last one and may react before, left out: "
            f"{int(moved.sum())} of {len(moved)}"
        )
        return replace(result.only(~moved), notes=(*result.notes, note))

    @cached_property
    def comparable(self) -> Panel:
        """The panel of the units that are not treated from the first period on, whose effect could not be told."""
        return self.untreated_at_first()

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
        return self.only(held)

    logs = outcomes.logs
    active = outcomes.active
    while_active = outcomes.while_active
    winsorised = outcomes.winsorised

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
            covariates=self.covariates
            if self.covariates is None or self.covariates.ndim == 2
            else self.covariates[:, :stop],
            periods=self.periods[:stop],
            cohorts=self.periods[[start]],
            cohort=np.where(self.cohort >= 0, 0, -1),
            late=None,
        )

    def only(self, held: Array) -> Panel:
        """Return the panel of the units marked in `held` (N,).

        Examples
        --------
        >>> Panel.from_matrix(np.zeros((3, 4)), treated_from=[3, 4, 0]).only(np.array([True, False, True])).cohorts.tolist()
        [3]
        """
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
            **{name: value[held] for name in _BY_UNIT if (value := getattr(self, name)) is not None},
        )

    def __repr__(self) -> str:
        first, last = (f"{p:%Y-%m-%d}" if isinstance(p, pd.Timestamp) else p for p in self.periods[[0, -1]])
        contract = (
            f"Panel: {len(self.units):,} units × {len(self.periods)} {'weeks' if weekly(self.periods) else 'periods'} "
            f"[{first} to {last}], outcome {self.name}; {len(self.cohorts)} cohort{'s' * (len(self.cohorts) != 1)} + "
            f"{int((self.cohort < 0).sum()):,} never treated; {'balanced' if self.balanced else 'unbalanced'}; "
            f"assigned at {self.assigned_at} level"
        )
        return "\n".join([contract, *self.notes])
