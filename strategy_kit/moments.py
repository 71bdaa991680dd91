"""Cohort moments: all that linear difference-in-differences estimators need to see of a balanced panel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
_BLOCK_ROWS = 8_192


@dataclass(frozen=True)
class Moments:
    """Counts, mean paths and covariances of paths, by cohort.

    Attributes
    ----------
    count
        (G,) units of each cohort.
    mean
        (G, T) mean outcome path.
    covariance
        (G, T, T) covariance, across the cohort's units and divided by n, of the path less each unit's own mean. Every
        comparison over time is the same with and without that mean, and keeps its digits where levels are large.
    """

    count: Array
    mean: Array
    covariance: Array

    @classmethod
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
        order = np.argsort(cohort, kind="stable")
        bounds = np.searchsorted(cohort[order], np.arange(n_cohorts + 1))
        count = np.diff(bounds)
        mean, covariance = np.zeros((n_cohorts, periods)), np.zeros((n_cohorts, periods, periods))
        for g in range(n_cohorts):
            rows = order[bounds[g] : bounds[g + 1]]
            level, shift, total, cross = 0.0, np.zeros(periods), np.zeros(periods), np.zeros((periods, periods))
            for first in range(0, len(rows), _BLOCK_ROWS):
                block = outcome[rows[first : first + _BLOCK_ROWS]]
                own = block.mean(axis=1, keepdims=True)
                block -= own
                if first == 0:
                    shift = block.mean(axis=0)
                block -= shift
                level += float(own.sum())
                total += block.sum(axis=0)
                cross += block.T @ block
            offset = total / len(rows)
            mean[g] = level / len(rows) + shift + offset
            covariance[g] = cross / len(rows) - np.outer(offset, offset)
        return cls(count, mean, covariance)
