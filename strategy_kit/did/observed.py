"""Effects by cohort and period from whatever was observed: unbalanced panels and repeated cross-sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.errors import DesignError
from strategy_kit.moments import BLOCK_ROWS, rows_by_cohort

if TYPE_CHECKING:
    from strategy_kit.did.cells import Cells
    from strategy_kit.did.influence import Units
    from strategy_kit.panel import Panel

Array = np.ndarray


class Observed:
    """Means over the rows observed, each cell's own, and the influence of every unit on the cells.

    What R's did computes with `allow_unbalanced_panel=TRUE` or `panel=FALSE` without covariates: every observed row
    counts, and a unit's influence is the sum of its rows'.
    """

    def __init__(self, panel: Panel, units: Units, cells: Cells) -> None:
        self._panel, self._units = panel, units
        count, total = (np.zeros((units.n_cohorts, len(panel.periods))) for _ in range(2))
        for h, members in enumerate(rows_by_cohort(units.cohort, units.n_cohorts)):
            for first in range(0, len(members), BLOCK_ROWS):
                seen, paths = self._seen(members[first : first + BLOCK_ROWS])
                count[h] += seen.sum(axis=0)
                total[h] += (seen * paths).sum(axis=0)
        control = cells.control.astype(float)
        held = np.ones(len(cells.cohort), dtype=bool)
        row = np.arange(len(held))
        for at in (cells.period, cells.base):
            held &= (count[cells.cohort, at] > 0) & ((control @ count)[row, at] > 0)
        if not held.any():
            raise DesignError(
                "no cohort is observed together with a comparison unit before and after; observe units for longer"
            )
        self.held, self.notes = held, self._told(cells, held)
        self._cells = cells.only(held)
        self._fits = [
            (cohort, mask, numbers, count[mask].sum(axis=0), total[mask].sum(axis=0))
            for cohort, mask, numbers in self._cells.by_fit()
        ]
        self._count, self._mean = count, total / np.where(count > 0, count, 1.0)
        self.estimate = np.zeros(int(held.sum()))
        for cohort, _, numbers, pool, sums in self._fits:
            after, before = self._cells.period[numbers], self._cells.base[numbers]
            gap = self._mean[cohort] - sums / np.where(pool > 0, pool, 1.0)
            self.estimate[numbers] = gap[after] - gap[before]

    def _told(self, cells: Cells, held: Array) -> tuple[str, ...]:
        seen, units = int((~np.isnan(self._panel.outcome)).sum()), len(self._panel.units)
        note = f"{seen:,} observed rows of {units:,} units are used as they are; panel.complete_units() compares complete units"
        if held.all():
            return (note,)
        k = int(np.flatnonzero(~held)[0])
        first = f"cohort {self._panel.cohorts[cells.cohort[k]]}, period {self._panel.periods[cells.period[k]]}"
        return (note, f"{int((~held).sum())} cells in which a side was never observed are left out (first: {first})")

    def _seen(self, rows: Array) -> tuple[Array, Array]:
        """Return the weight of each observed row, 0 where there is none, and the outcome with 0 there."""
        paths = self._panel.outcome[rows]
        missing = np.isnan(paths)
        return np.where(missing, 0.0, self._units.weight[rows][:, None]), np.where(missing, 0.0, paths)

    def fill(self, cohort: int, rows: Array, out: Array) -> None:
        """Write the influence of units of one cohort on every cell."""
        seen, paths = self._seen(rows)
        for own, mask, numbers, pool, sums in self._fits:
            if not (own == cohort or mask[cohort]):
                continue
            count, mean = pool, sums / np.where(pool > 0, pool, 1.0)
            if own == cohort:
                count, mean = self._count[cohort], self._mean[cohort]
            moved = seen * (paths - mean) / np.where(count > 0, count, 1.0)
            after, before = self._cells.period[numbers], self._cells.base[numbers]
            out[:, numbers] = (moved[:, after] - moved[:, before]) * (1.0 if own == cohort else -1.0)
