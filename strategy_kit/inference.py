"""Laws of intervals and bands: arrays in, arrays out.

A law turns estimates and standard errors into intervals at any level and into p-values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations
from math import comb, factorial, prod
from typing import Protocol

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Array = np.ndarray
BAND_DRAWS = 20_000
MOST_ASSIGNMENTS = 50_000


class IntervalLaw(Protocol):
    """How an estimate and its standard error become an interval and a p-value."""

    def interval(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends at coverage `level`."""

    def p_value(self, estimate: Array, std_error: Array) -> Array:
        """Return the two-sided p-value against no effect."""


@dataclass(frozen=True, slots=True)
class Student:
    """Student's t law; infinite degrees of freedom make it the normal law.

    Examples
    --------
    >>> low, high = Student(2.0).interval(np.array([1.0]), np.array([1.0]), 0.95)
    >>> round(float(high[0]), 3)
    5.303
    """

    degrees_of_freedom: float = np.inf

    def interval(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends at coverage `level`."""
        tail = 0.5 + level / 2
        finite = np.isfinite(self.degrees_of_freedom)
        width = (stdtrit(self.degrees_of_freedom, tail) if finite else ndtri(tail)) * std_error
        return estimate - width, estimate + width

    def p_value(self, estimate: Array, std_error: Array) -> Array:
        """Return the two-sided p-value against no effect."""
        with np.errstate(divide="ignore", invalid="ignore"):
            size = -np.abs(estimate / std_error)
        return 2 * (stdtr(self.degrees_of_freedom, size) if np.isfinite(self.degrees_of_freedom) else ndtr(size))


@dataclass(frozen=True)
class Randomisation:
    """The law of the studentised contrast when the same starts are dealt anew to other groups.

    Parameters
    ----------
    contrasts
        (G, S): after minus before of each group, split at each of the S distinct starts.
    exposure
        (G, S): share of an effect that each of those contrasts would hold, 1 for a group at its own start, 0 for a
        group that was never treated.
    start
        (G,): position of each group's start among the S, -1 for a group never treated.
    seed
        Of the draw, where there are more than 50,000 ways to deal the starts.
    """

    contrasts: Array
    exposure: Array
    start: Array
    seed: int = 0

    @cached_property
    def assignments(self) -> Array:
        """(M, G) ways to deal the starts; the first is the one that happened."""
        every = deals(self.start, MOST_ASSIGNMENTS, self.seed)
        return np.vstack([self.start[None, :], every[(every != self.start).any(axis=1)]])

    @property
    def exact(self) -> bool:
        """Whether every way to deal the starts is among the assignments."""
        return len(self.assignments) == number_of_deals(self.start)

    def statistics(self, effect: float = 0.0) -> tuple[Array, Array]:
        """Return (M,) differences of means and (M,) studentised ones after an effect is taken out."""
        return welch_over(self.contrasts - effect * self.exposure, self.assignments, self.start)

    def p_value_of(self, effect: float) -> float:
        """Return the share of assignments at least as extreme as the real one, were `effect` the truth."""
        size = np.abs(self.statistics(effect)[1])
        return float(np.mean(size >= size[0] * (1 - 1e-12)))

    def p_value(self, estimate: Array, std_error: Array) -> Array:  # noqa: ARG002  # the law holds its own data
        """Return the two-sided p-value against no effect."""
        return np.full(estimate.shape, self.p_value_of(0.0))

    def interval(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the effects that are not refused at 1 - `level`; infinite where no effect can be refused."""
        centre, unit = float(estimate[0]), float(std_error[0])
        if 1 / len(self.assignments) > 1 - level + 1e-12:
            return np.array([-np.inf]), np.array([np.inf])
        ends = [self._end(centre, side * unit, 1 - level) for side in (-1, 1)]
        return np.array(ends[:1]), np.array(ends[1:])

    def _end(self, centre: float, step: float, refused: float) -> float:
        inside = centre
        for size in 2.0 ** np.arange(-2, 14):
            outside = centre + size * step
            if self.p_value_of(outside) <= refused + 1e-12:
                break
            inside = outside
        else:
            return float(np.sign(step) * np.inf)
        for _ in range(30):
            middle = (inside + outside) / 2
            if self.p_value_of(middle) <= refused + 1e-12:
                outside = middle
            else:
                inside = middle
        return outside


def welch(treated: Array, comparison: Array) -> tuple[Array, Array, Array]:
    """Return difference of means, its standard error and Welch-Satterthwaite degrees of freedom.

    Parameters
    ----------
    treated, comparison
        (..., n) and (..., m) values; at least two of each.

    References
    ----------
    Welch (1947), "The generalization of Student's problem when several different population variances are involved".
    """
    size, other = treated.shape[-1], comparison.shape[-1]
    first, second = treated.var(axis=-1, ddof=1) / size, comparison.var(axis=-1, ddof=1) / other
    freedom = (first + second) ** 2 / (first**2 / (size - 1) + second**2 / (other - 1))
    return treated.mean(axis=-1) - comparison.mean(axis=-1), np.sqrt(first + second), freedom


def own_and_pooled(contrasts: Array, assignments: Array, real: Array) -> Array:
    """Return (M, G) the contrast each group has when dealt: at its start, or averaged over the real starts if at none."""
    counts = np.bincount(real[real >= 0], minlength=contrasts.shape[1])
    own = contrasts[np.arange(len(contrasts)), np.maximum(assignments, 0)]
    return np.where(assignments >= 0, own, contrasts @ (counts / counts.sum()))


def welch_over(contrasts: Array, assignments: Array, real: Array) -> tuple[Array, Array]:
    """Return the difference of means and the Welch statistic of each of the (M, G) assignments."""
    values = own_and_pooled(contrasts, assignments, real)
    picked = assignments >= 0
    size = picked[0].sum()
    other = picked.shape[1] - size
    mean = np.where(picked, values, 0).sum(axis=1) / size
    rest = np.where(picked, 0, values).sum(axis=1) / other
    gap = np.where(picked, values - mean[:, None], values - rest[:, None]) ** 2
    variance = np.where(picked, gap, 0).sum(axis=1) / (size - 1) / size
    variance += np.where(picked, 0, gap).sum(axis=1) / (other - 1) / other
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean - rest, (mean - rest) / np.sqrt(variance)


def number_of_deals(start: Array) -> int:
    """Return in how many ways the starts (-1: never) can be dealt to the groups.

    Examples
    --------
    >>> number_of_deals(np.array([0, 0, 0] + [-1] * 12))
    455
    """
    treated = np.bincount(start[start >= 0])
    total = int(treated.sum())
    return comb(len(start), total) * factorial(total) // prod(factorial(int(n)) for n in treated)


def deals(start: Array, most: int, seed: int) -> Array:
    """Return (M, G) all ways to deal the starts, or `most` seeded random ones when there are more."""
    groups, treated = len(start), start[start >= 0]
    if number_of_deals(start) > most:
        draw = np.random.default_rng(seed)
        return draw.permuted(np.broadcast_to(start, (most, groups)), axis=1)
    chosen = np.array(list(combinations(range(groups), len(treated))))
    orders = np.array(sorted(set(permutations(treated.tolist())))) if len(set(treated)) > 1 else treated[None, :]
    result = np.full((len(chosen) * len(orders), groups), -1)
    np.put_along_axis(result, np.repeat(chosen, len(orders), axis=0), np.tile(orders, (len(chosen), 1)), axis=1)
    return result


def band_critical(covariance: Array, level: float, *, seed: int = 0) -> float:
    """Return c such that all of estimate ± c·std_error hold together with probability `level`.

    The Gaussian maximum, by seeded simulation from the correlation matrix (20,000 draws: simulation error of c below
    0.02), and never less than for one row alone. Rows without a standard error are left out.

    References
    ----------
    Montiel Olea and Plagborg-Møller (2019), "Simultaneous confidence bands", algorithm 1.
    """
    variance = np.diag(covariance)
    held = np.isfinite(variance) & (variance > 0)
    if held.sum() <= 1:
        return float(ndtri(0.5 + level / 2))
    scale = np.sqrt(variance[held])
    correlation = covariance[np.ix_(held, held)] / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0))
    draws = np.random.default_rng(seed).standard_normal((BAND_DRAWS, len(values)))
    largest = np.zeros(BAND_DRAWS)
    for block in range(0, BAND_DRAWS, 2_000):
        largest[block : block + 2_000] = np.abs(draws[block : block + 2_000] @ root.T).max(axis=1)
    return max(float(np.quantile(largest, level)), float(ndtri(0.5 + level / 2)))
