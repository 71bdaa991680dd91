"""Cohort moments: all that linear difference-in-differences estimators need to see of a balanced panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.linalg.blas import dger

from strategy_kit.shown import Shown, View
from strategy_kit.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray
BLOCK_ROWS = 2_048


@dataclass(frozen=True, repr=False)
class Moments(Shown):
    """Counts, mean paths and covariances of paths, by cohort.

    Attributes
    ----------
    count
        (G,) units of each cohort.
    path
        (G, T) mean outcome path, less its own level: a change keeps its digits where levels are large.
    own
        (G,) that level, the mean over units of their own means.
    covariance
        (G, T, T) covariance, across the cohort's units and divided by n, of the path less each unit's own mean. Every
        comparison over time is the same with and without that mean, and keeps its digits where levels are large.
    level
        (G, T + 1): covariance of each unit's own mean with that path, then the variance of the own mean.
    """

    count: Array
    path: Array
    own: Array
    covariance: Array
    level: Array

    @classmethod
    @one_blas_thread
    def of(cls, outcome: Array, cohort: Array, n_cohorts: int) -> Moments:
        """Scan an (N, T) matrix once; peak memory is the matrix plus one block of rows.

        Parameters
        ----------
        outcome
            (N, T) without missing values.
        cohort
            (N,) codes 0 .. n_cohorts - 1.

        Examples
        --------
        >>> moments = Moments.of(np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([0, 0]), 1)
        >>> moments.mean.tolist(), moments.covariance.tolist()
        ([[2.0, 4.0]], [[[0.25, -0.25], [-0.25, 0.25]]])
        """
        periods = outcome.shape[1]
        average = np.full(periods, 1 / periods)
        count, mean = np.zeros(n_cohorts, dtype=int), np.zeros((n_cohorts, periods + 1))
        covariance, level = np.zeros((n_cohorts, periods, periods)), np.zeros((n_cohorts, periods + 1))
        for g, rows in enumerate(rows_by_cohort(cohort, n_cohorts)):
            shift, total = np.zeros(periods + 1), np.zeros(periods + 1)
            cross, along = np.zeros((periods, periods)), np.zeros(periods + 1)
            for first in range(0, len(rows), BLOCK_ROWS):
                block = outcome.take(rows[first : first + BLOCK_ROWS], axis=0)
                own = block @ average
                block = dger(
                    -1.0, np.ones(periods), own, a=block.T, overwrite_a=True
                ).T  # in place: less each unit's own mean
                if first == 0:
                    shift = np.append(block.mean(axis=0), own.mean())
                block -= shift[:-1]
                own -= shift[-1]
                total += np.append(np.ones(len(own)) @ block, own.sum())
                cross += block.T @ block
                along += np.append(own @ block, own @ own)
            count[g] = len(rows)
            offset = total / len(rows)
            mean[g] = shift + offset
            covariance[g] = cross / len(rows) - np.outer(offset[:-1], offset[:-1])
            level[g] = along / len(rows) - offset[-1] * offset
        return cls(count, mean[:, :-1], mean[:, -1], covariance, level)

    @property
    def mean(self) -> Array:
        """(G, T) mean outcome path."""
        return self.path + self.own[:, None]

    @property
    def whole_covariance(self) -> Array:
        """(G, T, T) covariance of the path with each unit's own mean in it, for effects that are ratios."""
        along, own = self.level[:, :-1], self.level[:, -1]
        return self.covariance + along[:, :, None] + along[:, None, :] + own[:, None, None]

    def tidy(self) -> pd.DataFrame:
        """Return one row a cohort and period, both by their position: cohort, period, mean, n_units."""
        cohort, period = np.indices(self.path.shape)
        columns = {"cohort": cohort.ravel(), "period": period.ravel(), "mean": self.mean.ravel()}
        return pd.DataFrame({**columns, "n_units": np.repeat(self.count, self.path.shape[1])})

    def _view(self) -> View:
        return View(repr(self), (), self.tidy())

    def __repr__(self) -> str:
        cohorts, periods = self.path.shape
        return f"Moments of {cohorts} cohorts over {periods} periods, from {self.count.sum():,} units"

    @one_blas_thread
    def linear(self, gradient: Array, between: Array | None = None) -> tuple[Array, Array]:
        """Return the estimates Σ_g A_g mu_g and their covariance, clustered by unit.

        Parameters
        ----------
        gradient
            (G, K, T): A_g, each row adding up to zero over time.
        between
            (G, K): what the mean path that a model leaves unexplained adds to the influence of a cohort's units; a
            regression whose design is held fixed counts it.

        Returns
        -------
        tuple of Array
            (K,) and (K, K).
        """
        estimate = np.einsum("gkt,gt->k", gradient, self.path)
        spread = gradient @ self.covariance @ gradient.swapaxes(1, 2)
        if between is not None:
            spread += between[:, :, None] * between[:, None, :]
        return estimate, np.tensordot(1 / self.count, spread, axes=1)

    def only(self, held: Array) -> Moments:
        """Return the moments of the cohorts marked in `held` (G,)."""
        return Moments(self.count[held], self.path[held], self.own[held], self.covariance[held], self.level[held])


def rows_by_cohort(cohort: Array, n_cohorts: int) -> Iterator[Array]:
    """Yield the row numbers of each cohort 0 .. n_cohorts - 1 in turn."""
    order = np.argsort(cohort, kind="stable")
    bounds = np.searchsorted(cohort[order], np.arange(n_cohorts + 1))
    for g in range(n_cohorts):
        yield order[bounds[g] : bounds[g + 1]]
