"""The panel contract: one row a unit and period, a treatment that starts once, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit import assigned, kept_units, outcomes
from strategy_kit import panel_input as reading
from strategy_kit.errors import ContractError, DesignError, ParameterError, nearest, refuse
from strategy_kit.moments import Moments
from strategy_kit.panel_starts import cohorts_of, late_notes
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
        if not isinstance(frame, pd.DataFrame):
            raise ParameterError(
                f"panel: frame must be a DataFrame, not a {type(frame).__name__}; from_matrix reads arrays"
            )
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
        mislaid = reading.mislaid({"treated_from": treated_from, "category": category, name: outcome}, units)
        refuse(ContractError, "panel", mislaid)
        outcome = reading.as_matrix(outcome, name)
        numbers = np.arange(1, outcome.shape[1] + 1)
        times = pd.Index(reading.times_of(pd.Series(numbers if periods is None else periods), "period"))
        given = reading.times_of(pd.Series(treated_from).reset_index(drop=True), "treated_from")
        labels = pd.RangeIndex(len(outcome)) if units is None else pd.Index(units)
        laws = reading.matrix_laws(outcome, labels, given, times, name)
        if category is not None and len(category) != len(outcome):
            laws.append(f"there are {len(outcome)} units, but {len(category)} categories")
        refuse(ContractError, "panel", laws)
        cohort, cohorts, late = cohorts_of(given, times)
        notes = () if late is None else late_notes(int((late > 0).sum()))
        if isinstance(category, pd.Series) and isinstance(category.dtype, pd.StringDtype):
            groups: pd.Series | None = category.set_axis(labels)
        else:
            groups = None if category is None else pd.Series(np.asarray(category), index=labels)
        panel = cls(outcome, labels, times, cohorts, cohort, groups, name, notes, late=late)
        uneven = "periods are unequally spaced: a base is the last period before, and ages count on the calendar"
        return panel if panel.step else replace(panel, notes=(*notes, uneven))

    @cached_property
    def starts(self) -> Array:
        """(G,) position of the first treated period of each cohort."""
        return np.searchsorted(self.periods, self.cohorts)

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return len(self.outcome)

    @cached_property
    def units_by_cohort(self) -> Array:
        """(G,) or (G + 1,): units of each cohort, the never treated last if there are any."""
        return np.bincount(self.cohort_codes, minlength=len(self.cohorts))

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

    @cached_property
    def selling(self) -> Array:
        """(T,) units whose first outcome above 0 lies in each period, in a panel without outcomes below 0."""
        sold = self.outcome > 0
        return np.bincount(sold.argmax(axis=1)[sold.any(axis=1)], minlength=len(self.periods))

    @cached_property
    def negative(self) -> int:
        """How many units have an outcome below 0 in some period."""
        return int((self.outcome.min(axis=1) < 0).sum())

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
        return Moments.of(self.outcome, self.cohort_codes, len(self.units_by_cohort))

    @cached_property
    def starts_by_category(self) -> Array | None:
        """(C, G + 1) units of each category that were never treated, or started with each cohort; None without categories."""
        return None if self.category is None else assigned.starts_by_category(self.cohort, self.category)

    @cached_property
    def category_means(self) -> tuple[pd.Index, Array, Array, Array]:
        """Categories, their mean paths, cohorts and units, where all units of a category start alike."""
        return assigned.category_means(self)

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

    def collected(self) -> Panel:
        """Return the panel with its units: itself, where they are in memory already."""
        return self

    def noting(self, note: str) -> Panel:
        """Return the panel with a further note."""
        return replace(self, notes=(*self.notes, note))

    def units_in(self, held: Array) -> int:
        """How many units the marks (N,) hold."""
        return int(held.sum())

    @cached_property
    def comparable(self) -> Panel:
        """The panel of the units that are not treated from the first period on, whose effect could not be told."""
        return self.untreated_at_first()

    complete_units = kept_units.complete_units
    untreated_at_first = kept_units.untreated_at_first
    unmoved = kept_units.unmoved
    within = kept_units.within
    logs = outcomes.logs
    active = outcomes.active
    while_active = outcomes.while_active
    winsorised = outcomes.winsorised
    restarted = outcomes.restarted

    def only(self, held: Array) -> Panel:
        """Return the panel of the units marked in `held` (N,), or at these positions.

        Raises
        ------
        ParameterError
            If `held` is no array of N booleans and none of positions.

        Examples
        --------
        >>> Panel.from_matrix(np.zeros((3, 4)), treated_from=[3, 4, 0]).only(np.array([True, False, True])).cohorts.tolist()
        [3]
        """
        held, count = np.asarray(held), self.n_units
        marked = held.dtype == bool and held.shape == (count,)
        if not (marked or (held.dtype.kind in "iu" and held.ndim == 1 and np.isin(held, np.arange(count)).all())):
            law = f"panel: held marks each of {count} units as true or false, unlike {held.dtype} of shape {held.shape}"
            raise ParameterError(f"{law}; select with panel.units.isin([...])")
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
        never, cohorts = int(self.units_by_cohort[len(self.cohorts) :].sum()), len(self.cohorts)
        contract = (
            f"{type(self).__name__}: {self.n_units:,} units × {len(self.periods)} "
            f"{'weeks' if weekly(self.periods) else 'periods'} [{first} to {last}], outcome {self.name}; "
            f"{cohorts} cohort{'s' * (cohorts != 1)} + {never:,} never treated; "
            f"{'balanced' if self.balanced else 'unbalanced'}; assigned at {self.assigned_at} level"
        )
        return "\n".join([contract, *self.notes])
