"""A panel whose units stay in their database: counts and cohort moments came over, and no unit's row."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.moments import Moments
from strategy_kit.panel import Panel
from strategy_kit.panel_starts import cohorts_of, late_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strategy_kit.engine.sums import Sums

Array = np.ndarray
_FIELDS = {field.name for field in fields(Panel)}


@dataclass(frozen=True)
class StartSums:
    """What came over: the sums of units by start, and by start and category.

    Attributes
    ----------
    starts
        (S,) distinct starts, missing for units that are never treated.
    whole
        The sums of the units of each start.
    parts
        (position in starts, category) -> sums without products.
    """

    starts: pd.Series
    whole: list[Sums]
    parts: Mapping[tuple[int, Any], Sums]

    def only(self, held: Array) -> StartSums:
        """Return the sums of the starts marked in `held` (S,)."""
        place = np.cumsum(held) - 1
        whole = [sums for sums, kept in zip(self.whole, held, strict=True) if kept]
        parts = {(int(place[at]), category): sums for (at, category), sums in self.parts.items() if held[at]}
        return StartSums(self.starts[held].reset_index(drop=True), whole, parts)


class MomentPanel(Panel):
    """Units × periods as their sums by start and category; what cohort moments can say is asked of it as of a `Panel`.

    Whatever needs units is refused, with the way to bring them over: `collected()`. Its cohort and late are those of the
    distinct starts (S,).

    Parameters
    ----------
    sums
        Of every unit.
    periods
        (T,) labels, ascending.
    name
        Of the outcome.
    collect
        Asks the database for the units.
    sum_logs
        Asks it for the sums of logarithms.
    """

    _sums: StartSums
    _whole: list[Sums]
    _count: Array
    _collect: Callable[[], Panel]
    _sum_logs: Callable[[], MomentPanel]

    def __init__(
        self,
        sums: StartSums,
        periods: pd.Index,
        name: str,
        collect: Callable[[], Panel],
        sum_logs: Callable[[], MomentPanel],
    ) -> None:
        cohort, cohorts, late = cohorts_of(sums.starts, periods)
        count = np.array([each.count for each in sums.whole])
        notes = () if late is None else late_notes(int(count[late > 0].sum()))
        self._set(periods=periods, name=name, cohort=cohort, cohorts=cohorts, late=late, notes=notes)
        self._set(_sums=sums, _whole=sums.whole, _count=count, _collect=collect, _sum_logs=sum_logs)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what only units could tell."""
        if name in _FIELDS:
            raise DesignError(
                f"the units of this panel stay in their database, and {name} would need them; bring them over with "
                "panel.collected(), if they fit in memory"
            )
        raise AttributeError(name)

    @property
    def category(self) -> NoReturn:
        """Of each unit: refused, where None would be taken for a panel without categories."""
        self.__getattr__("category")

    def collected(self) -> Panel:
        """Return the panel with its units, which are brought over: N × T numbers in memory."""
        return self._collect()

    def noting(self, note: str) -> MomentPanel:
        """Return the panel with a further note."""
        result = MomentPanel(
            self._sums,
            self.periods,
            self.name,
            lambda: self._collect().noting(note),
            lambda: self._sum_logs().noting(note),
        )
        result._set(notes=(*self.notes, note))
        return result

    def only(self, held: Array) -> MomentPanel:
        """Return the panel of the starts marked in `held` (S,)."""
        kept = _keys(self)[held]

        def collect() -> Panel:
            units = self._collect()
            return units.only(np.isin(_keys(units), kept))

        sums = self._sums.only(held)
        result = MomentPanel(sums, self.periods, self.name, collect, lambda: self._sum_logs().only(held))
        result._set(notes=self.notes)
        return result

    def logs(self) -> Panel:
        """Return the panel of the logarithm of the outcome, as `Panel.logs` does."""
        if empty := sum(sums.empty for sums in self._whole):
            raise DesignError(
                f"a log of zero was refused: {empty} of {self.n_units} units have an outcome of 0 or less in some period; use "
                "longer periods or larger units, or keep the outcome as it is"
            )
        return self._sum_logs()

    def units_in(self, held: Array) -> int:
        """How many units the marked starts (S,) have."""
        return int(self._count[held].sum())

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return int(self._count.sum())

    @property
    def balanced(self) -> bool:
        """Whether every unit is observed in every period: always, as periods without a sale count 0."""
        return True

    @property
    def scale(self) -> float:
        """How large outcomes are."""
        return max(max(sums.most, -sums.least) for sums in self._whole)

    @property
    def negative(self) -> int:
        """How many units have an outcome below 0 in some period."""
        return sum(sums.negative for sums in self._whole)

    @cached_property
    def selling(self) -> Array:
        """(T,) units whose first outcome above 0 lies in each period."""
        result: Array = np.stack([sums.first_sold for sums in self._whole]).sum(axis=0)[:-1]
        return result

    @cached_property
    def units_by_cohort(self) -> Array:
        """(G,) or (G + 1,): units of each cohort, the never treated last if there are any."""
        return np.bincount(self.cohort_codes, self._count, len(self.cohorts)).astype(int)

    @cached_property
    def moments(self) -> Moments:
        """Moments of the cohorts in order, then of the never treated if there are any."""
        codes = self.cohort_codes
        found = [
            reduce(add, (sums for sums, own in zip(self._whole, codes == g, strict=True) if own))
            for g in range(len(self.units_by_cohort))
        ]
        mean, count = np.stack([sums.mean for sums in found]), np.array([sums.count for sums in found])
        spread = np.stack([sums.cross / sums.count for sums in found])
        return Moments(count, mean[:, :-1], mean[:, -1], spread[:, :-1, :-1], spread[:, -1, :])

    @cached_property
    def _pairs(self) -> tuple[pd.Index, Array, Array, list[Sums]]:
        """Categories, then code of category, cohort and sums of each pair."""
        parts = self._sums.parts
        names = [category for _, category in parts]
        code, found = pd.factorize(pd.Series(names, dtype=object), sort=True, use_na_sentinel=False)
        return pd.Index(found), code, self.cohort[[at for at, _ in parts]], list(parts.values())

    @cached_property
    def starts_by_category(self) -> Array:
        """(C, G + 1) units of each category that were never treated, or started with each cohort."""
        names, code, cohort, sums = self._pairs
        width = int(cohort.max(initial=-1)) + 2
        counted = np.bincount(code * width + cohort + 1, [each.count for each in sums], len(names) * width)
        return counted.astype(int).reshape(-1, width)

    @cached_property
    def category_means(self) -> tuple[pd.Index, Array, Array, Array]:
        """Categories, their mean paths, cohorts and units, where all units of a category start alike."""
        names, code, cohort, sums = self._pairs
        first = np.full(len(names), -1)
        first[code] = cohort
        found = [
            reduce(add, (each for each, own in zip(sums, code == c, strict=True) if own)) for c in range(len(names))
        ]
        paths = np.stack([each.mean[:-1] + each.mean[-1] for each in found])
        return names, paths, first, np.array([each.count for each in found])


def _keys(panel: Panel) -> Array:
    """Number each start: its cohort, or how late it is."""
    late = np.zeros(len(panel.cohort), dtype=int) if panel.late is None else panel.late
    return np.where(panel.cohort >= 0, panel.cohort, -1 - late)
