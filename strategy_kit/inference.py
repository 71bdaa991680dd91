"""Laws of intervals and bands: arrays in, arrays out.

A law turns estimates and standard errors into intervals at any level and into p-values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from scipy.sparse import hstack
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from strategy_kit.errors import ParameterError, refuse, seed_laws, whole_number
from strategy_kit.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy.sparse import csr_array

Array = np.ndarray
Parts = tuple[tuple["csr_array | None", Array], ...]
"""A covariance as Σ F M F', F (K, m) mostly zeros; or one M with the identity, None."""
BAND_DRAWS = 20_000
FREEDOM_CAP = 1.3
"""Times Bell and McCaffrey's degrees of freedom that Welch's interval has at most; chosen by `make grade`."""
_BLOCK_CELLS = 4_000_000


class IntervalLaw(Protocol):
    """How an estimate and its standard error become an interval and a p-value."""

    def interval(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends at coverage `level`."""

    def p_value(self, estimate: Array, std_error: Array) -> Array:
        """Return the two-sided p-value against no effect."""


class BandLaw(IntervalLaw, Protocol):
    """A law that one critical value can widen to a band over several estimates."""

    def ends(self, estimate: Array, std_error: Array, critical: float) -> tuple[Array, Array]:
        """Return the lower and upper ends that lie `critical` standard errors away."""


@runtime_checkable
class OwnBand(IntervalLaw, Protocol):
    """A law that knows the band over all its rows without their covariance, such as one from permutations."""

    def band(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends between which all rows lie together at coverage `level`."""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Standard errors and bands by drawing a sign (+1 or −1) for each unit or cluster, instead of analytic ones.

    Parameters
    ----------
    draws
        How often; at least 99.
    seed
        Of the signs: the same seed gives the same bytes.

    Examples
    --------
    >>> Multiplier(draws=1999, seed=7).draws
    1999
    """

    draws: int = 999
    seed: int = 0

    def __post_init__(self) -> None:
        if not (whole_number(self.draws, 99) and whole_number(self.seed, 0)):
            raise ParameterError(
                f"a multiplier bootstrap takes at least 99 draws and a seed of 0 or more, not {self.draws!r} and {self.seed!r}"
            )

    def signs(self, units: int, block: int) -> Array:
        """Return (draws, units) signs of the block with this number; float32, which holds them exactly."""
        draw = np.random.default_rng((self.seed, block))
        bits = np.unpackbits(np.frombuffer(draw.bytes(self.draws * ((units + 7) // 8)), np.uint8))
        signs = bits.reshape(self.draws, -1)[:, :units].astype(np.float32)
        signs *= 2
        signs -= 1
        return signs


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
        critical = float(stdtrit(self.degrees_of_freedom, tail) if finite else ndtri(tail))
        return self.ends(estimate, std_error, critical)

    def p_value(self, estimate: Array, std_error: Array) -> Array:
        """Return the two-sided p-value against no effect."""
        with np.errstate(divide="ignore", invalid="ignore"):
            size = -np.abs(estimate / std_error)
        return 2 * (stdtr(self.degrees_of_freedom, size) if np.isfinite(self.degrees_of_freedom) else ndtr(size))

    def ends(self, estimate: Array, std_error: Array, critical: float) -> tuple[Array, Array]:
        """Return the lower and upper ends that lie `critical` standard errors away."""
        return estimate - critical * std_error, estimate + critical * std_error


@dataclass(frozen=True, slots=True, eq=False)
class StudentByRow:
    """Student's t law with degrees of freedom (K,) of each row's own; its band is Bonferroni's.

    Examples
    --------
    >>> law = StudentByRow(np.array([2.0, 2.0]))
    >>> zero, one = np.zeros(2), np.ones(2)
    >>> law.interval(zero, one, 0.975)[1].round(3).tolist() == law.band(zero, one, 0.95)[1].round(3).tolist()
    True
    """

    degrees_of_freedom: Array

    def interval(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends at coverage `level`."""
        critical = stdtrit(self.degrees_of_freedom, 0.5 + level / 2)
        return estimate - critical * std_error, estimate + critical * std_error

    def p_value(self, estimate: Array, std_error: Array) -> Array:
        """Return the two-sided p-value against no effect."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(2 * stdtr(self.degrees_of_freedom, -np.abs(estimate / std_error)))

    def band(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends between which all rows lie together at coverage `level`."""
        return self.interval(estimate, std_error, 1 - (1 - level) / max(1, int(np.isfinite(std_error).sum())))


@dataclass(frozen=True, slots=True)
class Ratio:
    """The normal law of the logarithm of 1 + estimate, for effects on a mean as a share of that mean.

    Examples
    --------
    >>> low, high = Ratio().interval(np.array([0.5]), np.array([0.15]), 0.95)
    >>> round(float((1 + low[0]) * (1 + high[0])), 6)
    2.25
    """

    def interval(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends at coverage `level`."""
        return self.ends(estimate, std_error, float(ndtri(0.5 + level / 2)))

    def p_value(self, estimate: Array, std_error: Array) -> Array:
        """Return the two-sided p-value against no effect."""
        return Student().p_value(np.log1p(estimate), std_error / (1 + estimate))

    def ends(self, estimate: Array, std_error: Array, critical: float) -> tuple[Array, Array]:
        """Return the lower and upper ends that lie `critical` standard errors of the logarithm away."""
        factor = np.exp(critical * std_error / (1 + estimate))
        return (1 + estimate) / factor - 1, (1 + estimate) * factor - 1


def welch(treated: Array, comparison: Array) -> tuple[Array, Array, Array]:
    """Return difference of means, its standard error and degrees of freedom.

    Degrees of freedom are Welch and Satterthwaite's, but at most 1.3 times those of Bell and McCaffrey. With three treated
    groups their spread is sometimes found too small by chance, and Satterthwaite's then come out far too many: the cap was
    chosen by the grading, see docs/grading.md.

    Parameters
    ----------
    treated, comparison
        (..., n) and (..., m) values; at least two of each.

    References
    ----------
    Welch (1947), "The generalization of Student's problem when several different population variances are involved";
    Bell and McCaffrey (2002), "Bias reduction in standard errors for linear regression with multi-stage samples".
    """
    size, other = treated.shape[-1], comparison.shape[-1]
    first, second = treated.var(axis=-1, ddof=1) / size, comparison.var(axis=-1, ddof=1) / other
    freedom = (first + second) ** 2 / (first**2 / (size - 1) + second**2 / (other - 1))
    most = FREEDOM_CAP * bell_mccaffrey(size, other)
    return treated.mean(axis=-1) - comparison.mean(axis=-1), np.sqrt(first + second), np.minimum(freedom, most)


def pooled(treated: Array, comparison: Array) -> tuple[Array, Array, Array]:
    """Return difference of means, its standard error and degrees of freedom, as `welch`, with one spread for both sides."""
    size, other = treated.shape[-1], comparison.shape[-1]
    freedom = size + other - 2
    spread = (treated.var(axis=-1) * size + comparison.var(axis=-1) * other) / freedom
    error = np.sqrt(spread * (1 / size + 1 / other))
    return treated.mean(axis=-1) - comparison.mean(axis=-1), error, np.full(np.shape(error), float(freedom))


def bell_mccaffrey(size: int, other: int) -> float:
    """Return the degrees of freedom of a difference of two means, were the spread the same on both sides.

    Examples
    --------
    >>> round(bell_mccaffrey(5, 5), 9), round(bell_mccaffrey(3, 12), 2)
    (8.0, 3.09)
    """
    return (1 / size + 1 / other) ** 2 / (1 / (size**2 * (size - 1)) + 1 / (other**2 * (other - 1)))


@one_blas_thread
def band_critical(
    spread: Array | Parts, level: float, *, law: BandLaw | None = None, seed: int = 0, draws: Array | None = None
) -> float:
    """Return c such that all of estimate ± c·std_error hold together with probability `level`.

    The Gaussian maximum, by seeded simulation from the covariance or its factors (20,000 draws: simulation error of c
    below 0.02), divided by a common chi where `law` has degrees of freedom, or the maximum over multiplier `draws` (B, K)
    where they are given; never less than for one row alone. Rows without a standard error are left out.

    References
    ----------
    Montiel Olea and Plagborg-Møller (2019), "Simultaneous confidence bands", algorithm 1.
    """
    refuse(ParameterError, "bands", seed_laws(seed))
    parts = ((None, spread),) if isinstance(spread, np.ndarray) else spread
    variance = diagonal(parts)
    held = np.flatnonzero(np.isfinite(variance) & (variance > 0))
    freedom = law.degrees_of_freedom if isinstance(law, Student) else np.inf
    alone = float(Student(freedom).interval(np.zeros(1), np.ones(1), level)[1][0])
    if len(held) <= 1:
        return alone
    scale = np.sqrt(variance[held])
    if draws is not None:
        return max(float(np.quantile(np.abs(draws[:, held] / scale).max(axis=1), level)), alone)
    width, moved = _movement(parts, held, scale)
    random, largest = np.random.default_rng(seed), np.zeros(BAND_DRAWS)
    step = min(2_000, max(100, _BLOCK_CELLS // len(held)))
    for first in range(0, BAND_DRAWS, step):
        normal = random.standard_normal((min(step, BAND_DRAWS - first), width))
        largest[first : first + step] = np.abs(moved(normal)).max(axis=1)
    if np.isfinite(freedom):
        largest /= np.sqrt(random.chisquare(freedom, BAND_DRAWS) / freedom)
    return max(float(np.quantile(largest, level)), alone)


def diagonal(parts: Parts) -> Array:
    """Return the diagonal of Σ F M F'; a path's difference with itself leaves nothing but rounding, and counts as 0."""
    rows = [np.diag(m) if f is None else np.ravel(f.multiply(f @ m).sum(axis=1)) for f, m in parts]
    result: Array = np.sum(rows, axis=0)
    return np.where(result < 0, 0.0, result)


def _movement(parts: Parts, held: Array, scale: Array) -> tuple[int, Callable[[Array], Array]]:
    """How many normals m a draw takes, and what makes of (n, m) of them (n, K) draws with unit variance."""
    factor, middle = parts[0]
    if factor is None:
        whole = _root(middle[np.ix_(held, held)] / np.outer(scale, scale))
        return len(whole), lambda normal: normal @ whole.T
    taken = hstack([f[held] for f, _ in parts if f is not None], format="csr").multiply(1 / scale[:, None]).tocsr()
    roots = [_root(m) for _, m in parts]
    bounds = np.cumsum([len(root) for root in roots])

    def moved(normal: Array) -> Array:
        pieces = np.split(normal.T, bounds[:-1])
        return (taken @ np.concatenate([root @ piece for root, piece in zip(roots, pieces, strict=True)])).T

    return int(bounds[-1]), moved


def _root(covariance: Array) -> Array:
    """Return the symmetric R such that R R is the matrix, which may be singular: it has one, whatever rounding and signs do."""
    values, vectors = np.linalg.eigh(covariance)
    result: Array = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return result
