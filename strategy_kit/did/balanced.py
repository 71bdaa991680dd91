"""Effects by cohort and period where every unit is seen in every period, with covariates, weights or clusters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import expit

from strategy_kit.did.logit import logit
from strategy_kit.errors import DesignError, refuse
from strategy_kit.moments import BLOCK_ROWS, rows_by_cohort
from strategy_kit.threads import one_blas_thread

if TYPE_CHECKING:
    from strategy_kit.did.cells import Cells
    from strategy_kit.did.influence import Units
    from strategy_kit.panel import Panel

Array = np.ndarray
Method = Literal["regression", "weighting", "doubly_robust"]
TRIMMED = 0.995
"""Propensity from which on a comparison unit counts for nothing, as in R's DRDID."""
CERTAIN = 0.999
"""Propensity from which on a cohort has nothing to be compared with, as in R's did."""


@dataclass
class Fit:
    """One cohort against one set of control cohorts, with the covariates of one period."""

    cohort: int
    control: Array  # (G,) bool
    cells: Array  # (k,) numbers of its comparisons
    at: int  # period of the covariates
    odds: Array = field(init=False)  # (P,) coefficients of the propensity
    inverse: Array = field(init=False)  # (P, P) inverse of its information
    slope: Array = field(init=False)  # (P, k) regression of the controls' change
    means: Array = field(init=False)  # (2, k) mean residual change of the treated, and of the weighted controls
    totals: Array = field(init=False)  # (2,) their weights
    pull: Array = field(init=False)  # (P,) what a control's covariates weigh in the regression's influence
    moved: Array = field(init=False)  # (P, k) influence of a score of the propensity


Sums = dict[tuple[int, int, int | None], tuple[Array, Array]]


def standardised(covariates: Array) -> Array:
    """Return covariates with mean 0 and standard deviation 1 over the panel: no estimate depends on their units."""
    along = tuple(range(covariates.ndim - 1))
    spread = covariates.std(axis=along)
    centre = covariates.mean(axis=along)
    # a constant stays what it is, for the check of collinear covariates to name
    flat = spread <= 1e-12 * np.abs(centre)
    return (covariates - np.where(flat, 0.0, centre)) / np.where(flat, 1.0, spread)


class Balanced:
    """Doubly robust, weighting and regression estimators of all cells, and the influence of every unit on them.

    A comparison needs of its data only weighted sums of paths, so one pass gives all estimates and a second the
    influences. The propensity is fitted once a cohort and control set, and the regression for all periods at once.

    References
    ----------
    Sant'Anna and Zhao (2020), "Doubly robust difference-in-differences estimators", equations 2.3 to 3.2 and theorem 1,
    with weights that add up to one; Callaway and Sant'Anna (2021), equations 2.6 to 2.8.
    """

    @one_blas_thread
    def __init__(self, panel: Panel, units: Units, cells: Cells, method: Method) -> None:
        self._panel, self._units, self._cells = panel, units, cells
        self._members = list(rows_by_cohort(units.cohort, units.n_cohorts))
        given = None if panel.covariates is None else standardised(panel.covariates)
        self._moving = given
        self._adjusts = given is not None
        self._regresses = given is None or method != "weighting"
        self._weighs = given is not None and method != "regression"
        moving = given is not None and given.ndim > 2
        periods = np.minimum(cells.period, cells.base) if moving else np.zeros_like(cells.period)
        fixed = np.zeros((len(units.cohort), 0)) if given is None else given
        self._constant = self._with_one(fixed) if fixed.ndim == 2 else None
        self._fits = [
            Fit(cohort, control, numbers[periods[numbers] == at], int(at))
            for cohort, control, numbers in cells.by_fit()
            for at in np.unique(periods[numbers])
        ]
        self.notes: tuple[str, ...] = ()
        if self._adjusts:
            self._refuse_collinear()
        if self._weighs:
            self._weigh()
        self.estimate = self._estimate()

    def _design(self, rows: Array, at: int) -> Array:
        if self._constant is not None:
            return self._constant.take(rows, axis=0)
        return self._with_one(np.asarray(self._moving)[rows, at])

    @staticmethod
    def _with_one(covariates: Array) -> Array:
        return np.column_stack([np.ones(len(covariates)), covariates])

    def _refuse_collinear(self) -> None:
        laws = []
        names = ("a constant", *self._panel.covariate_names)
        for control, at in {(tuple(f.control), f.at) for f in self._fits}:
            rows = np.concatenate([self._members[h] for h in np.flatnonzero(control)])
            X = self._design(rows, at)
            scale = np.sqrt((X * X).mean(axis=0))
            triangle = np.linalg.qr(X / np.where(scale > 0, scale, 1.0), mode="r")
            short = len(rows) < X.shape[1]
            lost = [
                name for name, d in zip(names, np.abs(np.diag(triangle)), strict=False) if d < 1e-7 * len(rows) ** 0.5
            ]
            if short or lost:
                what = f"only {len(rows)} units" if short else f"{', '.join(lost)} is a combination of the others"
                laws.append(
                    f"covariates cannot be told apart among the comparison units ({what}); leave one of them out"
                )
        refuse(DesignError, "group_time", sorted(set(laws)))

    def _weigh(self) -> None:
        laws: list[str] = []
        start: dict[tuple[int, int], Array] = {}
        trimmed = 0
        for fit in sorted(self._fits, key=lambda f: (f.cohort, f.control.sum())):
            inside = self._members[fit.cohort]
            outside = np.concatenate([self._members[h] for h in np.flatnonzero(fit.control)])
            rows = np.concatenate([inside, outside])
            treated = np.arange(len(rows)) < len(inside)
            X = self._design(rows, fit.at)
            found = logit(X, treated.astype(float), self._units.weight[rows], start.get((fit.cohort, fit.at)))
            chance = np.ones(len(X)) if found is None else expit(X @ found[0])
            weightless = chance[~treated] >= TRIMMED
            if found is None or chance.max() >= CERTAIN or weightless.all():
                laws.append(str(self._units.cohorts[fit.cohort]))
                continue
            fit.odds, fit.inverse = found
            start[fit.cohort, fit.at] = found[0]
            trimmed = max(trimmed, int(weightless.sum()))
        if laws:
            raise DesignError(
                f"covariates separate cohort {', '.join(dict.fromkeys(laws))} from its comparison units (a propensity of "
                f"{CERTAIN} or more, or of {TRIMMED} for all of these), so that no weights make them alike; use fewer or coarser "
                "covariates, or method='regression'"
            )
        if trimmed:
            self.notes = (
                f"up to {trimmed} comparison units have a propensity of {TRIMMED} or more and count for nothing",
            )

    def _odds(self, fit: Fit, X: Array, weight: Array) -> tuple[Array, Array]:
        """Return the propensity of controls, and their weights that make them like the treated."""
        chance = np.minimum(expit(X @ fit.odds), 1 - 1e-6)
        return chance, np.where(chance < TRIMMED, weight * chance / (1 - chance), 0.0)

    def _estimate(self) -> Array:
        sums = self._sums()
        result = np.zeros(len(self._cells.cohort))
        for number, fit in enumerate(self._fits):
            after, before = self._cells.period[fit.cells], self._cells.base[fit.cells]
            gram, paths = self._pooled(sums, fit, None)
            own, own_paths = sums[fit.cohort, fit.at, None]
            mean, compared = own[0] / own[0, 0], np.zeros(len(own))
            means, totals = np.zeros((2, len(fit.cells))), np.ones(2)
            fit.slope = np.zeros((len(gram), len(fit.cells)))
            if self._regresses:
                fit.slope = np.linalg.solve(gram, paths[:, after] - paths[:, before])
            totals[0] = own[0, 0]
            means[0] = (own_paths[0, after] - own_paths[0, before]) / own[0, 0] - mean @ fit.slope
            if self._weighs:
                gram_odds, paths_odds = self._pooled(sums, fit, number)
                totals[1] = gram_odds[0, 0]
                left = (paths_odds[:, after] - paths_odds[:, before] - gram_odds @ fit.slope) / totals[1]
                compared, means[1] = gram_odds[0] / totals[1], left[0]
                fit.moved = -fit.inverse @ (left - np.outer(compared, means[1]))
            fit.pull = np.linalg.solve(gram, compared - mean) if self._regresses else np.zeros(len(gram))
            fit.means, fit.totals = means, totals
            result[fit.cells] = means[0] - means[1]
        return result

    @staticmethod
    def _pooled(sums: Sums, fit: Fit, number: int | None) -> tuple[Array, Array]:
        parts = [sums[h, fit.at, number] for h in np.flatnonzero(fit.control).tolist()]
        return np.sum([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)

    def _sums(self) -> Sums:
        """Weighted cross-products of covariates, and of covariates and paths, by cohort, period and fit; one pass."""
        wanted: list[dict[tuple[int, int | None], Fit]] = [{} for _ in self._members]
        for number, fit in enumerate(self._fits):
            for h in (fit.cohort, *np.flatnonzero(fit.control).tolist()):
                wanted[h][fit.at, None] = fit
                if self._weighs and h != fit.cohort:
                    wanted[h][fit.at, number] = fit
        found: Sums = {}
        for h, keys in enumerate(wanted):
            for first in range(0, len(self._members[h]) if keys else 0, BLOCK_ROWS):
                rows = self._members[h][first : first + BLOCK_ROWS]
                paths, weight = self._panel.outcome.take(rows, axis=0), self._units.weight[rows]
                for (at, kind), fit in keys.items():
                    X = self._design(rows, at)
                    left = X * (weight if kind is None else self._odds(fit, X, weight)[1])[:, None]
                    old = found.get((h, at, kind), (np.zeros(()), np.zeros(())))
                    found[h, at, kind] = (old[0] + left.T @ X, old[1] + left.T @ paths)
        return found

    def fill(self, cohort: int, rows: Array, out: Array) -> None:
        """Write the influence of units of one cohort on every cell."""
        paths, weight = self._panel.outcome.take(rows, axis=0), self._units.weight[rows]
        for fit in self._fits:
            inside = fit.cohort == cohort
            if not (inside or fit.control[cohort]):
                continue
            X = self._design(rows, fit.at)
            chance, odds = self._odds(fit, X, weight) if self._weighs else (np.zeros(len(rows)), np.zeros(len(rows)))
            # the change times a factor, and the rest a combination of covariates times factors
            factor = weight / fit.totals[0] if inside else weight * (X @ fit.pull) - odds / fit.totals[1]
            constant = -factor if inside else odds / fit.totals[1]
            parts = [X * factor[:, None], constant[:, None]]
            slopes = [-fit.slope, fit.means[[0 if inside else 1]]]
            if self._weighs:
                parts.append(X * (weight * (inside - chance))[:, None])
                slopes.append(fit.moved)
            left = paths.take(self._cells.period[fit.cells], axis=1)
            left -= paths.take(self._cells.base[fit.cells], axis=1)
            left *= factor[:, None]
            left += np.concatenate(parts, axis=1) @ np.concatenate(slopes)
            out[:, fit.cells] = left
