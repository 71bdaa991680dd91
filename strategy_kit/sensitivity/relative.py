"""Violations after the start of at most so many times the worst one before: Rambachan and Roth's relative magnitudes.

Fix the change s that was the worst and its sign, so that w = ±(δ_s+1 − δ_s) bounds all others. A value θ of the target
Σ l_j τ_j can be true if changes x_j of τ exist with |d_j − x_j| ≤ M w and c'x = θ, where d are the changes after the base and
c_j = Σ_{i≥j} l_i. The smallest common slack η of these moments is a linear program whose dual has few vertices: with
C = Σ|c_j|, sd of each moment σ and e = c'd − θ it is the largest of

    (e − M C w) / S_up,   (−e − M C w) / S_down,   −2 M w / m_j  for each j,

S sums of |c_j| σ, m_j = σ_j+ + σ_j−. Everything the test needs is normal in two dimensions, (e, w), and exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_ndtr

from strategy_kit.errors import DesignError
from strategy_kit.sensitivity.result import magnitudes_of, result_of
from strategy_kit.sensitivity.study import path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.estimates import Estimates
    from strategy_kit.sensitivity.result import Sensitivity
    from strategy_kit.sensitivity.study import Path

Array = np.ndarray
_ANGLES, _NEWTON, _SCAN, _HALVINGS = 2048, 12, 512, 40
_FIRST_STAGE = 0.1
_ENDLESS, _CLOSE = 1e6, 1e-6  # a magnitude that stands for any, and the share to which a breakdown is found
"""Share of the size that the first test, against the least favourable critical value, takes; R's default."""


def relative_magnitudes(
    study: Estimates,
    *,
    magnitudes: float | Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0),
    ages: int | Sequence[int] | None = None,
    since: int | None = None,
    level: float = 0.95,
) -> Sensitivity:
    """Bound the effect when trends may break after the start by at most so many times the worst break before it.

    Parameters
    ----------
    study
        Effects by age from one base period, with at least one age before it and no gap: of
        `event_study(group_time(panel, base="universal"))`, `sun_abraham`, `two_way_event_study` or `study_of`.
    magnitudes
        How many times the worst change from one age to the next seen before the start (Mbar), rising.
    ages
        The effect is the average over these; age 0 unless given.
    since
        The oldest age that is used; all unless given.
    level
        Coverage of the intervals.

    Returns
    -------
    Sensitivity
        Intervals are the hull of all values that are not refused for any choice of the worst change and its sign.
        `breakdown` is accurate to 1e-6 of the magnitude at which the estimates themselves allow zero.

    Raises
    ------
    DesignError
        If the study has no single base period, no age before it, a gap, no covariance to rest on, or a change before the
        start has no variance.
    ParameterError
        If magnitudes, ages, since or level cannot be.

    Notes
    -----
    The test is the hybrid of a conditional and a least favourable test with a tenth of the size in the first, on the
    moments after the base, as in R's HonestDiD. Where the study's law is t, covariances are widened by the square of its
    critical value over the normal one, so that magnitude 0 gives the study's own interval.

    References
    ----------
    Rambachan and Roth (2023), "A more credible approach to parallel trends"; Andrews, Roth
    and Pakes (2023), "Inference for linear conditional moment inequalities".

    Examples
    --------
    >>> from strategy_kit.sensitivity import study_of
    >>> study = study_of([0.1, 1.0], [[0.01, 0.0], [0.0, 0.01]], [-2, 0])
    >>> round(relative_magnitudes(study).breakdown, 2)
    3.67
    """
    sizes = magnitudes_of(magnitudes)
    path = path_of(study, ages=ages, since=since, level=level)
    _refuse_no_variance(path)
    low, high, holes = zip(*(_hull(_Sets(path, size)) for size in sizes), strict=True)
    told = ", ".join(f"{size:g}" for size in sizes[np.array(holes)])
    notes = (f"values inside the interval are refused at magnitude {told}; the hull is shown",) if told else ()
    worst = float(np.abs(path.changes[: path.before] @ path.estimate).max())
    judged = _breakdown(path, worst), worst
    return result_of(path, "relative_magnitudes", sizes, (np.array(low), np.array(high)), judged, notes)


def _refuse_no_variance(path: Path) -> None:
    changes = path.changes
    variance = np.einsum("jk,kl,jl->j", changes, path.covariance, changes)
    still = np.flatnonzero(variance <= 1e-12 * variance.max())
    if len(still):
        pairs = ", ".join(f"{path.all_ages[one]} to {path.all_ages[one + 1]}" for one in still)
        raise DesignError(
            f"the change from age {pairs} has no variance, so it was not estimated; leave such ages out by since or study_of"
        )


class _Sets:
    """One violation set for each change before the base and each sign, at one magnitude M: 2P sets.

    Values (2P, N) of e = estimate − θ go in, and whether θ is accepted comes out.
    """

    def __init__(self, path: Path, magnitude: float) -> None:
        changes = path.changes
        before, after = changes[: path.before], changes[path.before :]
        weight = np.cumsum(path.weight[::-1])[::-1]
        self.estimate = float(path.target @ path.estimate)
        signed = np.concatenate([before, -before])
        self.worst = signed @ path.estimate
        rows = np.stack([np.tile(weight @ after, (len(signed), 1)), signed], axis=1)
        plane = rows @ path.covariance @ rows.swapaxes(1, 2)
        spread = np.stack([_spread(sign * after, magnitude * signed, path.covariance) for sign in (1, -1)])
        up = np.where(weight >= 0, spread[0], spread[1]) @ np.abs(weight)
        down = np.where(weight >= 0, spread[1], spread[0]) @ np.abs(weight)
        both = spread.sum(axis=0)
        reach = magnitude * np.abs(weight).sum()
        none = np.zeros(len(signed))
        # of the changes with w alone in the numerator only the narrowest and the widest can be the largest
        self.vertex = np.stack(
            [
                np.stack([1 / up, -reach / up], axis=1),
                np.stack([-1 / down, -reach / down], axis=1),
                np.stack([none, -2 * magnitude / both.min(axis=1)], axis=1),
                np.stack([none, -2 * magnitude / both.max(axis=1)], axis=1),
            ],
            axis=1,
        )
        self.covariance = self.vertex @ plane @ self.vertex.swapaxes(1, 2)
        size = 1 - path.level
        first = _FIRST_STAGE * size
        half = path.before  # the other sign mirrors the law and so has the same critical value
        self.critical = np.tile(_least_favourable(self.vertex[:half], plane[:half], first), 2)
        self.second = (size - first) / (1 - first)
        middle = reach * self.worst
        # beyond these values of e the first test refuses
        self.low, self.high = -middle - self.critical * down, middle + self.critical * up

    def accept(self, e: Array) -> Array:
        """Return (2P, N): not refused by either test."""
        value = e[:, :, None] * self.vertex[:, None, :, 0] + (self.worst[:, None] * self.vertex[:, :, 1])[:, None, :]
        top, largest = value.argmax(axis=2), value.max(axis=2)
        which = np.arange(len(e))[:, None]
        across = self.covariance[which, top]
        own = np.take_along_axis(across, top[:, :, None], axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = across / own
            limit = (value - slope * largest[:, :, None]) / (1 - slope)
            low = np.where(slope < 1 - 1e-12, limit, -np.inf).max(axis=2)
            high = np.where(slope > 1 + 1e-12, limit, np.inf).min(axis=2)
            high = np.minimum(high, self.critical[:, None])
            error = np.sqrt(own[:, :, 0])
            chance = _beyond(largest / error, low / error, high / error)
        refused = (largest > self.critical[:, None]) | ((largest > 0) & (chance < self.second))
        return ~refused


def _spread(moment: Array, bound: Array, covariance: Array) -> Array:
    """Return (sets, Q) standard deviations of each moment less the bound of its set."""
    whole = moment[None, :, :] - bound[:, None, :]
    return np.sqrt(np.einsum("sqk,kl,sql->sq", whole, covariance, whole))


def _least_favourable(vertex: Array, plane: Array, size: float) -> Array:
    """Return c with P(largest statistic > c) = size for a normal of mean zero, by its radius in each direction.

    P = mean over directions of exp(−c² / 2a²), a the largest statistic at the unit vector; its logarithm is convex in c², so
    that Newton's steps from the left end at the root.
    """
    angle = 2 * np.pi * (np.arange(_ANGLES) + 0.5) / _ANGLES
    values, vectors = np.linalg.eigh(plane)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    most = (vertex @ root @ np.stack([np.cos(angle), np.sin(angle)])).max(axis=1)
    rate = 0.5 / np.maximum(most, 1e-6) ** 2  # a direction in which nothing grows is never beyond
    square = np.full(len(plane), 1e-3)
    for _ in range(_NEWTON):
        beyond = np.exp(-square[:, None] * rate)
        square += (np.log(beyond.mean(axis=1)) - np.log(size)) * beyond.sum(axis=1) / (rate * beyond).sum(axis=1)
    return np.sqrt(square)


def _beyond(value: Array, low: Array, high: Array) -> Array:
    """Return P(Z > value) of a standard normal Z that lies between low and high, exact in the far tail too."""
    here, first, last = (log_ndtr(-one) for one in (value, low, high))
    tail = np.exp(last - first)
    return (np.exp(here - first) - tail) / (1 - tail)


def _hull(sets: _Sets) -> tuple[float, float, bool]:
    """Return the smallest and largest value that a set accepts, and whether values between them are refused by all."""
    e, kept, first, last = _scanned(sets)
    row = np.arange(len(e))
    smallest = _edge(sets, e[row, first - 1], e[row, first])[kept].min()
    largest = _edge(sets, e[row, np.minimum(last + 1, _SCAN - 1)], e[row, last])[kept].max()
    inside = np.linspace(smallest, largest, _SCAN)[1:-1]
    holes = not sets.accept(np.tile(inside, (len(e), 1))).any(axis=0).all()
    return sets.estimate - float(largest), sets.estimate - float(smallest), holes


def _excludes_zero(sets: _Sets) -> bool:
    """Whether the hull lies on the estimate's side of zero; its ends need not be found where none can be zero."""
    e, kept, first, last = _scanned(sets)
    row, zero, up = np.arange(len(e)), sets.estimate, sets.estimate > 0
    inner = e[row, last if up else first]
    outer = e[row, np.minimum(last + 1, _SCAN - 1) if up else first - 1]
    if (kept & (inner >= zero if up else inner <= zero)).any():
        return False
    between = kept & (outer > zero if up else outer < zero)
    return not (between & sets.accept(np.full((len(e), 1), zero))[:, 0]).any()


def _scanned(sets: _Sets) -> tuple[Array, Array, Array, Array]:
    """Return values (2P, N) of e over each set's bracket, whether it accepts any, and the first and last that it does."""
    pad = 1e-6 * (sets.high - sets.low)
    share = np.linspace(0, 1, _SCAN)
    e = (sets.low - pad)[:, None] + share * (sets.high - sets.low + 2 * pad)[:, None]
    accepted = sets.accept(e) & (sets.high > sets.low)[:, None]
    accepted[:, [0, -1]] = False  # outside the bracket
    return e, accepted.any(axis=1), accepted.argmax(axis=1), _SCAN - 1 - accepted[:, ::-1].argmax(axis=1)


def _edge(sets: _Sets, outside: Array, inside: Array) -> Array:
    """Halve the way between a refused and an accepted value of each set."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        accepted = sets.accept(middle[:, None])[:, 0]
        outside, inside = np.where(accepted, outside, middle), np.where(accepted, middle, inside)
    return inside


def _breakdown(path: Path, worst: float) -> float:
    low, high = path.original
    if low <= 0 <= high:
        return np.nan
    reach = np.abs(np.cumsum(path.weight[::-1])).sum() * worst
    estimate = abs(float(path.target @ path.estimate))
    # There the estimates themselves allow zero. What was seen is an estimate too: none at all is no proof of none.
    most = estimate / reach if reach * _ENDLESS > estimate else _ENDLESS

    def survives(magnitude: float) -> bool:
        return _excludes_zero(_Sets(path, magnitude))

    if not survives(0.0):
        return 0.0
    last, lost = 0.0, min(1.0, most)
    while survives(lost):
        if lost >= most:
            return np.inf if most == _ENDLESS else most
        last, lost = lost, min(2 * lost, most)
    while lost - last > _CLOSE * lost:
        middle = (last + lost) / 2
        last, lost = (middle, lost) if survives(middle) else (last, middle)
    return last
