"""Trends that may differ by a line, bent by at most M a period: the shortest fixed-length interval.

An estimator adds weights v on the coefficients before the base to the target. Its bias is finite only if it is zero on every
straight line; then it is Σ a_k u_k over the bends u_k, |u_k| ≤ M, and at most M Σ|a_k|. The a_k of bends after the base and
at it are given by the target; the others, x, are free and one to one with v. Variance is a quadratic of x, so least variance
for given bias is a lasso, whose path in x is piecewise linear: along it the half-length is convex, and its least point exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri

from strategy_kit.errors import DesignError
from strategy_kit.sensitivity.result import magnitudes_of, result_of
from strategy_kit.sensitivity.study import path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.estimates import Estimates
    from strategy_kit.sensitivity.result import Sensitivity
    from strategy_kit.sensitivity.study import Path

Array = np.ndarray
_GOLDEN = (np.sqrt(5) - 1) / 2
_SCAN, _SHRINKINGS, _ZOOMS = 65, 48, 3
_CAUTION = 1.05
"""Ratio of true to estimated standard error from which on fitted weights are cautioned against."""


def smoothness(
    study: Estimates,
    *,
    magnitudes: float | Sequence[float] | None = None,
    ages: int | Sequence[int] | None = None,
    since: int | None = None,
    level: float = 0.95,
) -> Sensitivity:
    """Bound the effect when trends may differ by a straight line that bends by at most M from one period to the next.

    Parameters
    ----------
    study
        As in `relative_magnitudes`.
    magnitudes
        M, changes of slope a period in units of the outcome, rising; 0 is a line that goes on after the start. Unless
        given, five steps from 0 to the upper end of what was seen before: the largest over bends of estimate + 1.64
        standard errors (at level 0.95), or the standard error where one age before the base shows no bend.
    ages
        The effect is the average over these; age 0 unless given.
    since
        The oldest age that is used; all unless given.
    level
        Coverage of the intervals.

    Returns
    -------
    Sensitivity
        Intervals of fixed length, the shortest that an affine estimator has at each M. They are not nested: a larger M
        leans less on the line before the start, and moves the centre too. `breakdown` is accurate to 1e-6 of the M at
        which the bias alone reaches zero.

    Raises
    ------
    DesignError
        If the study has no single base period, no age before it, a gap, a covariance that is singular before the base, or
        fewer than two independent units of the smaller side for each weight that is to be fitted.
    ParameterError
        If magnitudes, ages, since or level cannot be.

    Notes
    -----
    Where the study's law is t, covariances are widened by the square of its critical value over the normal one. Weights are
    fitted to an estimated covariance: with ν + 1 units and q weights a standard error is about ν / (ν − q) times as large as
    it seems, which the notes tell from 1.05 on. `study_of` knows no units, and says nothing.

    References
    ----------
    Rambachan and Roth (2023), "A more credible approach to parallel trends"; Armstrong and
    Kolesár (2020), "Simple and honest confidence intervals in nonparametric regression". The path: Osborne, Presnell and
    Turlach (2000), "A new approach to variable selection in least squares problems".

    Examples
    --------
    >>> from strategy_kit.sensitivity import study_of
    >>> study = study_of([0.1, 1.0], [[0.01, 0.0], [0.0, 0.01]], [-2, 0])
    >>> smoothness(study, magnitudes=[0.0, 0.5]).tidy()[["conf_low", "conf_high"]].round(2).to_numpy().tolist()
    [[0.82, 1.38], [0.37, 1.83]]
    """
    given = None if magnitudes is None else magnitudes_of(magnitudes)
    path = path_of(study, ages=ages, since=since, level=level)
    _refuse_singular(path)
    notes = _thin(path)
    bends = np.diff(path.changes[: path.before], axis=0)
    sizes = _usual(path, bends) if given is None else given / path.scale
    frontier = _Frontier(path)
    centre, half = frontier.interval(sizes)
    worst = float(np.abs(bends @ path.estimate).max()) if len(bends) else np.nan
    judged = _breakdown(path, frontier) * path.scale, worst
    shown = sizes * path.scale if given is None else given
    return result_of(path, "smoothness", shown, (centre - half, centre + half), judged, notes)


def _thin(path: Path) -> tuple[str, ...]:
    """Caution where weights are fitted to a covariance of few units, and refuse them where it is mostly noise."""
    free, freedom = path.before - 1, path.freedom
    fitted = f"{free} weights of early ages are fitted to a covariance that rests on {freedom + 1:g} units of the smaller side"
    if 2 * free > freedom:
        raise DesignError(f"{fitted}, and so to its noise; use fewer early ages by since, or use relative_magnitudes")
    ratio = freedom / (freedom - free) if free and np.isfinite(freedom) else 1.0
    note = (
        f"{fitted}: at small magnitudes standard errors are about {ratio:.2f} times as large as they seem; use fewer early "
        "ages by since"
    )
    return (note,) if ratio > _CAUTION else ()


def _refuse_singular(path: Path) -> None:
    rows = np.vstack([np.eye(len(path.estimate))[: path.before], path.target])
    covariance = rows @ path.covariance @ rows.T
    scale = np.sqrt(np.diag(covariance))
    rank = 0
    if (scale > 0).all():
        rank = int(np.linalg.matrix_rank(covariance / np.outer(scale, scale), tol=1e-11 * len(rows), hermitian=True))
    if rank < len(rows):
        raise DesignError(
            f"the {path.before} effects before the start and the one in question have a covariance of rank {rank}, as with "
            "fewer units or clusters than effects, so some mix of them would look certain; leave early ages out by since, "
            "or use relative_magnitudes"
        )


def _usual(path: Path, bends: Array) -> Array:
    """Return five magnitudes up to what the bends before the base may have been at most."""
    if len(bends):
        error = np.sqrt(np.einsum("bk,kl,bl->b", bends, path.covariance, bends))
        most = (np.abs(bends @ path.estimate) + ndtri(path.level) * error).max()
    else:
        most = np.sqrt(path.covariance[0, 0])
    return np.linspace(0, float(most), 5)


class _Frontier:
    """Least variance for each bias: bends' weights x (knots, P − 1), linear between knots of rising bias."""

    def __init__(self, path: Path) -> None:
        before, changes = path.before, path.changes
        count = len(changes)
        # coefficients from the first change after the base and the bends: a change adds bends up to it, or takes them off
        place, bend = np.arange(count)[:, None], np.arange(count - 1)[None, :]
        bent = ((bend >= before) & (bend < place)).astype(float) - ((bend < before) & (bend >= place))
        line, from_bends = np.linalg.solve(changes, np.ones(count)), np.linalg.solve(changes, bent)
        given = path.target @ from_bends
        at_base = float(path.target @ line)
        weights = np.linalg.inv(from_bends[:before, :before])  # (P, P): v from the bends' weights, the last at the base
        self._fixed = path.target.copy()
        self._fixed[:before] = at_base * weights[-1]
        self._free = np.hstack([weights[:-1], np.zeros((before - 1, count - before))])
        self._path = path
        hessian = self._free @ path.covariance @ self._free.T
        self._knots = lasso_path(hessian, self._free @ path.covariance @ self._fixed)
        self.least_bias = abs(at_base) + float(np.abs(given[before:]).sum())
        self._bias = self.least_bias + np.abs(self._knots).sum(axis=1)

    def interval(self, magnitude: Array) -> tuple[Array, Array]:
        """Return centres and half-lengths (M,) of the shortest intervals, by golden sections of the bias."""
        low, high = (np.full(len(magnitude), self._bias[at]) for at in (0, -1))
        for _ in range(_SHRINKINGS):
            first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
            shorter = self._half(first, magnitude) <= self._half(second, magnitude)
            low, high = np.where(shorter, low, first), np.where(shorter, second, high)
        ends = [(low + high) / 2, *(np.full(len(magnitude), self._bias[at]) for at in (0, -1))]
        halves = np.stack([self._half(bias, magnitude) for bias in ends])
        best = halves.argmin(axis=0)[None]
        bias = np.take_along_axis(np.stack(ends), best, axis=0)[0]
        return self._estimator(bias) @ self._path.estimate, np.take_along_axis(halves, best, axis=0)[0]

    def farthest(self) -> float:
        """Return the largest distance from zero that a centre can have."""
        return float(np.abs((self._fixed + self._knots @ self._free) @ self._path.estimate).max())

    def _estimator(self, bias: Array) -> Array:
        last = max(len(self._bias) - 2, 0)
        at = np.clip(np.searchsorted(self._bias, bias, side="right") - 1, 0, last)
        after = np.minimum(at + 1, len(self._bias) - 1)
        gap = self._bias[after] - self._bias[at]
        share = np.where(gap > 0, (bias - self._bias[at]) / np.where(gap > 0, gap, 1), 0.0)[:, None]
        return self._fixed + ((1 - share) * self._knots[at] + share * self._knots[after]) @ self._free

    def _half(self, bias: Array, magnitude: Array) -> Array:
        row = self._estimator(bias)
        error = np.sqrt(((row @ self._path.covariance) * row).sum(axis=1))
        return error * folded_quantile(magnitude * bias / error, 1 - self._path.level)


def lasso_path(hessian: Array, pull: Array) -> Array:
    """Return the knots (n, J) of argmin x'Hx/2 + pull'x + λ Σ|x|, from λ so large that x = 0 down to λ = 0.

    Examples
    --------
    >>> lasso_path(np.eye(2), np.array([-2.0, 1.0])).round(9).tolist()
    [[0.0, 0.0], [1.0, 0.0], [2.0, -1.0]]
    """
    size = len(pull)
    knots, x = [np.zeros(size)], np.zeros(size)
    penalty = float(np.abs(pull).max(initial=0.0))
    sign = np.zeros(size)
    if penalty > 0:
        sign[np.abs(pull).argmax()] = -np.sign(pull[np.abs(pull).argmax()])
    tiny, dropped = 1e-12 * penalty, -1
    for _ in range(20 * size + 20):
        active = np.flatnonzero(sign)
        if penalty <= tiny or not len(active):
            break
        move = np.zeros(size)
        move[active] = np.linalg.solve(hessian[np.ix_(active, active)], sign[active])
        force, drift = -pull - hessian @ x, hessian @ move
        step = np.full((3, size), np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            step[0] = (penalty - force) / (1 - drift)
            step[1] = (penalty + force) / (1 + drift)
            step[2] = -x / move
        step[:2, active] = np.inf
        step[2, sign == 0] = np.inf
        step[2, (move * sign) >= 0] = np.inf
        if dropped >= 0:
            step[:2, dropped] = np.where(step[:2, dropped] <= tiny, np.inf, step[:2, dropped])
        step = np.where(step >= -tiny, np.maximum(step, 0), np.inf)
        kind, which = np.unravel_index(step.argmin(), step.shape)
        length = min(float(step[kind, which]), penalty)
        x = x + length * move
        penalty -= length
        dropped = -1
        if length == step[kind, which]:
            if kind == 2:
                x[which], sign[which], dropped = 0.0, 0.0, int(which)
            else:
                sign[which] = 1.0 if kind == 0 else -1.0
        knots.append(x)
    else:
        raise DesignError(
            "the covariance before the start is too close to singular for weights; use fewer early ages by since"
        )
    return np.array(knots)


def folded_quantile(bias: Array, size: float) -> Array:
    """Return the 1 − size quantile of |Z + bias|, Z standard normal and bias (n,) of 0 or more.

    Examples
    --------
    >>> folded_quantile(np.array([0.0, 1.0, 10.0]), 0.05).round(4).tolist()
    [1.96, 2.6461, 11.6449]
    """
    least, value = bias + ndtri(1 - size), bias + ndtri(1 - size / 2)
    for _ in range(6):  # Newton on a concave function, from below after the first step
        slope = (np.exp(-((value - bias) ** 2) / 2) + np.exp(-((value + bias) ** 2) / 2)) / np.sqrt(2 * np.pi)
        value = np.maximum(value - (ndtr(value - bias) - ndtr(-value - bias) - (1 - size)) / slope, least)
    return value


def _breakdown(path: Path, frontier: _Frontier) -> float:
    low, high = path.original
    if low <= 0 <= high:
        return np.nan
    side = 1.0 if low > 0 else -1.0

    def gap(magnitude: Array) -> Array:
        centre, half = frontier.interval(magnitude)
        return side * centre - half

    # at the last the bias alone is as large as any centre
    sizes = np.linspace(0, frontier.farthest() / frontier.least_bias, _SCAN)
    lost = int((gap(sizes) <= 0).argmax())
    if lost == 0:
        return 0.0
    for _ in range(_ZOOMS):
        sizes = np.linspace(sizes[lost - 1], sizes[lost], _SCAN)
        lost = max(int((gap(sizes) <= 0).argmax()), 1)
    return float(sizes[lost - 1])
