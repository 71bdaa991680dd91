"""From what each unit moves the estimates by to their covariance and multiplier draws, block of rows by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from strategy_kit.joint import Joint
from strategy_kit.moments import BLOCK_ROWS, rows_by_cohort
from strategy_kit.threads import one_blas_thread

if TYPE_CHECKING:
    import pandas as pd

    from strategy_kit.inference import Multiplier
    from strategy_kit.panel import Panel

Array = np.ndarray


class Kernel(Protocol):
    """Fills in the influence of some units of one cohort on K estimates."""

    def fill(self, cohort: int, rows: Array, out: Array) -> None:
        """Write what each unit in `rows` moves each estimate by into `out` (rows, K), which holds zeros."""


@dataclass(frozen=True)
class Units:
    """Units as the influence functions see them.

    Attributes
    ----------
    cohort
        (N,) codes 0 .. n_cohorts - 1, the never treated last.
    weight
        (N,) sampling weights with mean 1.
    cluster
        (N,) codes of the draws, or None where each unit is one.
    cohorts
        Labels of the first cohorts.
    """

    cohort: Array
    n_cohorts: int
    weight: Array
    cluster: Array | None
    cohorts: pd.Index

    @classmethod
    def of(cls, panel: Panel) -> Units:
        """Return the units of a panel in its cohorts."""
        weight = np.ones(len(panel.units)) if panel.weight is None else panel.weight / panel.weight.mean()
        n_cohorts = len(panel.units_by_cohort)
        return cls(panel.cohort_codes, n_cohorts, weight, panel.cluster, panel.cohorts)

    @property
    def shares(self) -> Array:
        """(G,) weighted cohort shares."""
        total: Array = np.bincount(self.cohort, self.weight, minlength=self.n_cohorts)
        return total / len(self.cohort)

    @one_blas_thread
    def joint(self, kernel: Kernel, size: int, multiplier: Multiplier | None) -> Joint:
        """Return how `size` estimates and the cohort shares vary together; peak memory is one block of rows.

        References
        ----------
        Callaway and Sant'Anna (2021), theorem 2 (influence functions) and algorithm 1 with remark 10 (multiplier
        bootstrap, clusters drawn as one).
        """
        shares, n = self.shares, len(self.cohort)
        width = size + self.n_cohorts
        sums = None if self.cluster is None else np.zeros((int(self.cluster.max()) + 1, width))
        covariance = np.zeros((width, width))
        draws, number = np.zeros((0 if multiplier is None else multiplier.draws, width)), 0
        for g, members in enumerate(rows_by_cohort(self.cohort, self.n_cohorts)):
            for first in range(0, len(members), BLOCK_ROWS):
                rows = members[first : first + BLOCK_ROWS]
                block = np.zeros((len(rows), width))
                kernel.fill(g, rows, block[:, :size])
                block[:, size:] = -shares / n
                block[:, size + g] += self.weight[rows] / n
                if sums is not None and self.cluster is not None:
                    _add(sums, self.cluster[rows], block)
                    continue
                moved = np.flatnonzero(block.any(axis=0))  # a treated cohort moves no estimate of another
                block = block[:, moved]
                covariance[np.ix_(moved, moved)] += block.T @ block
                if multiplier is not None:
                    draws[:, moved] += multiplier.signs(len(rows), number) @ block.astype(np.float32)
                    number += 1
        if sums is not None:
            covariance = sums.T @ sums
            if multiplier is not None:
                for number, first in enumerate(range(0, len(sums), BLOCK_ROWS)):
                    part = sums[first : first + BLOCK_ROWS]
                    draws += multiplier.signs(len(part), number) @ part
        sizes = np.bincount(self.cohort, minlength=self.n_cohorts)
        return Joint(((None, covariance),), shares, sizes, self.cohorts, draws if len(draws) else None)


def _add(sums: Array, cluster: Array, block: Array) -> None:
    """Add the rows of a block to the sums of their clusters."""
    order = np.argsort(cluster, kind="stable")
    present, first = np.unique(cluster[order], return_index=True)
    sums[present] += np.add.reduceat(block[order], first, axis=0)
