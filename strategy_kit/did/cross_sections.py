"""Covariates where units come and go: regression, weighting and doubly robust estimators on rows of two periods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from strategy_kit.did.balanced import CERTAIN, TRIMMED, standardised
from strategy_kit.did.logit import logit
from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.did.balanced import Method
    from strategy_kit.did.cells import Cells
    from strategy_kit.did.influence import Units
    from strategy_kit.panel import Panel

Array = np.ndarray


class _Rows:
    """The observed rows of one comparison, and what the estimator and its influence are put together from.

    Every term is a mean of residuals under some weights; its influence is that of the mean, and what the coefficients
    behind residuals and weights add.
    """

    def __init__(self, X: Array, y: Array, post: Array, treated: Array, weight: Array) -> None:
        self.X, self.y, self.weight = X, y, weight
        self.cell = {(d, p): (treated == d) & (post == p) for d in (0, 1) for p in (0, 1)}
        self.treated = treated
        self.influence = np.zeros(len(y))
        self.trimmed = 0
        self.value = 0.0

    def regression(self, d: int, p: int) -> tuple[Array, Array]:
        """Return coefficients on the rows of one side and period, and (n, P) their influence."""
        held = self.cell[d, p] * self.weight
        gram = self.X.T @ (self.X * held[:, None])
        if np.linalg.cond(gram) > 1e14:
            raise np.linalg.LinAlgError
        slope = np.linalg.solve(gram, self.X.T @ (held * self.y))
        return slope, np.linalg.solve(gram, (self.X * (held * (self.y - self.X @ slope))[:, None]).T).T

    def add(self, sign: float, weight: Array, value: Array) -> Array:
        """Add a weighted mean to the estimate; return its weights, which add up to one."""
        share: Array = weight / weight.sum()
        mean = share @ value
        self.value += sign * mean
        self.influence += sign * share * (value - mean)
        return share

    def odds(self) -> tuple[Array, Array]:
        """Return what a row of the controls weighs, and (n, P) the influence of the propensity's coefficients."""
        found = logit(self.X, self.treated.astype(float), self.weight)
        chance = np.ones(len(self.X)) if found is None else expit(self.X @ found[0])
        if found is None or chance.max() >= CERTAIN or (chance[self.treated == 0] >= TRIMMED).all():
            raise np.linalg.LinAlgError
        self.trimmed = int(((self.treated == 0) & (chance >= TRIMMED)).sum())
        odds = np.where((self.treated == 0) & (chance < TRIMMED), self.weight * chance / (1 - chance), 0.0)
        return odds, (self.X * (self.weight * (self.treated - chance))[:, None]) @ found[1]


def _regression(rows: _Rows) -> None:
    fitted = {p: rows.regression(0, p) for p in (0, 1)}
    treated = rows.weight * rows.treated
    rows.add(1, treated * rows.cell[1, 1], rows.y)
    rows.add(-1, treated * rows.cell[1, 0], rows.y)
    share = rows.add(-1, treated, rows.X @ (fitted[1][0] - fitted[0][0]))
    rows.influence -= (fitted[1][1] - fitted[0][1]) @ (share @ rows.X)


def _weighting(rows: _Rows) -> None:
    odds, moved = rows.odds()
    for sign, p in ((1, 1), (-1, 0)):
        rows.add(sign, rows.weight * rows.cell[1, p], rows.y)
        share = rows.add(-sign, odds * rows.cell[0, p], rows.y)
        rows.influence -= sign * moved @ ((share * (rows.y - share @ rows.y)) @ rows.X)


def _doubly_robust(rows: _Rows) -> None:
    odds, moved = rows.odds()
    treated = rows.weight * rows.treated
    for sign, p in ((1, 1), (-1, 0)):
        (slope, slope_moved), (own, own_moved) = rows.regression(0, p), rows.regression(1, p)
        left, gap = rows.y - rows.X @ slope, rows.X @ (own - slope)
        inside = rows.add(sign, treated * rows.cell[1, p], left)
        outside = rows.add(-sign, odds * rows.cell[0, p], left)
        whole = rows.add(sign, treated, gap)
        here = rows.add(-sign, treated * rows.cell[1, p], gap)
        rows.influence -= sign * slope_moved @ ((inside - outside) @ rows.X)
        rows.influence -= sign * moved @ ((outside * (left - outside @ left)) @ rows.X)
        rows.influence += sign * (own_moved - slope_moved) @ ((whole - here) @ rows.X)


_ESTIMATORS = {"regression": _regression, "weighting": _weighting, "doubly_robust": _doubly_robust}


def _standardised_where_seen(panel: Panel) -> Array:
    given = np.asarray(panel.covariates)
    if given.ndim == 2:
        return standardised(given)
    seen = ~np.isnan(panel.outcome)
    result = np.zeros_like(given)
    result[seen] = standardised(given[seen])
    return result


class CrossSections:
    """Effects of all cells with covariates on the rows observed, and the influence of every unit; (N, K) in memory.

    References
    ----------
    Sant'Anna and Zhao (2020), "Doubly robust difference-in-differences estimators", section 2.2 and equation 3.4 for
    repeated cross-sections (the locally efficient estimator), as R's DRDID computes them.
    """

    def __init__(self, panel: Panel, units: Units, cells: Cells, method: Method) -> None:
        self.trimmed = 0
        self._given = _standardised_where_seen(panel)
        self.estimate = np.zeros(len(cells.cohort))
        self._influence = np.zeros((len(panel.units), len(cells.cohort)))
        failed = []
        for k in range(len(cells.cohort)):
            try:
                self._compare(panel, units, cells, method, k)
            except np.linalg.LinAlgError:
                failed.append(f"{panel.cohort_names[cells.cohort[k]]} in {panel.periods[cells.period[k]]}")
        if failed:
            raise DesignError(
                f"covariates leave nothing to compare in {len(failed)} cells (first: cohort {failed[0]}): they are collinear "
                "there, or separate treated from comparison rows; use fewer or coarser covariates, or longer periods"
            )

    def _compare(self, panel: Panel, units: Units, cells: Cells, method: Method, k: int) -> None:
        inside, outside = units.cohort == cells.cohort[k], cells.control[k][units.cohort]
        parts = []
        for at, post in ((cells.base[k], 0), (cells.period[k], 1)):
            rows = np.flatnonzero((inside | outside) & ~np.isnan(panel.outcome[:, at]))
            given = self._given
            X = np.column_stack([np.ones(len(rows)), given[rows] if given.ndim == 2 else given[rows, at]])
            parts.append((rows, X, panel.outcome[rows, at], np.full(len(rows), post)))
        both: list[Array] = [np.concatenate(column) for column in zip(*parts, strict=True)]
        unit, X, y, after = both
        compared = _Rows(X, y, after, inside[unit].astype(int), units.weight[unit])
        if any(not held.any() for held in compared.cell.values()):
            raise np.linalg.LinAlgError
        _ESTIMATORS[method](compared)
        self.estimate[k] = compared.value
        self.trimmed = max(self.trimmed, compared.trimmed)
        self._influence[:, k] = np.bincount(unit, compared.influence, minlength=len(panel.units))

    @property
    def notes(self) -> tuple[str, ...]:
        """How many comparison rows count for nothing."""
        told = f"up to {self.trimmed} comparison rows have a propensity of {TRIMMED} or more and count for nothing"
        return (told,) if self.trimmed else ()

    def fill(self, cohort: int, rows: Array, out: Array) -> None:  # noqa: ARG002  # every kernel takes the cohort
        """Write the influence of units on every cell."""
        out[:] = self._influence[rows]
