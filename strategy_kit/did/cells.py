"""Which comparisons a group-time estimator makes: cohort, period, base period and the cohorts that serve as control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
Control = Literal["never", "not_yet"]


@dataclass(frozen=True)
class Cells:
    """K comparisons: outcome at `period` minus at `base`, in `cohort` minus in the cohorts marked in `control`.

    Cohorts are numbered as in `Panel.cohorts`, the never treated last.
    """

    cohort: Array  # (K,)
    period: Array  # (K,)
    base: Array  # (K,)
    control: Array  # (K, G) bool

    def only(self, held: Array) -> Cells:
        """Return the comparisons marked in `held` (K,)."""
        return Cells(self.cohort[held], self.period[held], self.base[held], self.control[held])

    def by_fit(self) -> list[tuple[int, Array, Array]]:
        """Return (cohort, control (G,), numbers of the cells) of each distinct pair of cohort and control set."""
        key = np.column_stack([self.cohort, self.control])
        distinct, which = np.unique(key, axis=0, return_inverse=True)
        return [
            (int(row[0]), row[1:].astype(bool), np.flatnonzero(which.ravel() == n)) for n, row in enumerate(distinct)
        ]


def comparisons(
    panel: Panel, n_cohorts: int, *, control: Control, anticipation: int, universal: bool
) -> tuple[Cells, tuple[str, ...]]:
    """List the comparisons of a panel without cohorts that lack a past, and notes on what serves as control.

    Raises
    ------
    DesignError
        If no unit is never treated and control is "never", or one cohort is all there is.
    """
    ages, last = panel.ages, len(panel.periods)
    notes: tuple[str, ...] = ()
    if len(ages) == n_cohorts:
        _refuse_no_control(panel, control)
        last = int((ages[-1] < -anticipation).sum())
        ages = ages[:-1]
        notes = (
            f"no unit was never treated: the last cohort, {panel.cohort_names[-1]}, serves as control until it starts",
        )
    cohort, period = (a.ravel() for a in np.meshgrid(np.arange(len(ages)), np.arange(last), indexing="ij"))
    past = (ages < -anticipation).sum(axis=1) - 1
    base = np.where(universal | (ages[cohort, period] >= 0), past[cohort], period - 1)
    held = base >= 0
    cohort, period, base = cohort[held], period[held], base[held]
    refuse_nothing(period)
    allowed = np.tile(np.arange(n_cohorts) >= len(ages), (len(cohort), 1))
    if control == "not_yet":
        allowed[:, : len(ages)] = (ages[:, np.maximum(period, base)] < -anticipation).T
        allowed[np.arange(len(cohort)), cohort] = False
    return Cells(cohort, period, base, allowed), notes


def refuse_nothing(cells: Array) -> None:
    """Refuse a panel of which no comparison is left."""
    if not len(cells):
        raise DesignError(
            "no cohort is treated while another is not, so there is nothing to compare with; add units that start later or never"
        )


def _refuse_no_control(panel: Panel, control: Control) -> None:
    if control == "never" and len(panel.cohorts) > 1:
        raise DesignError(
            "no unit was never treated, so control='never' has nothing to compare with; use control='not_yet', which "
            "compares with units not treated yet"
        )
    if len(panel.cohorts) == 1:
        raise DesignError(
            "the panel has one cohort and no other unit, so there is nothing to compare with; add units that start later "
            "or never"
        )
