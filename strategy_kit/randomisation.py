"""Exact randomisation inference on the studentised difference of treated and other groups: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from math import comb, factorial, prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Array = np.ndarray
MOST_ASSIGNMENTS = 50_000
"""Ways to deal the starts up to which all are tried; beyond, a seeded sample is."""
_BLOCK = 1_000_000
_FEW_GROUPS = 1_000


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
        Of the sample, where there are more than 50,000 ways: 9,999 draws, or 999 with more than 1,000 groups.

    Examples
    --------
    >>> start = np.array([0, 0, -1, -1, -1])
    >>> law = Randomisation(np.array([[2.0], [2.5], [0.0], [0.5], [0.1]]), (start[:, None] >= 0) * 1.0, start)
    >>> law.count, law.p_value_of(0.0)
    (10, 0.1)
    """

    contrasts: Array
    exposure: Array
    start: Array
    seed: int = 0

    @cached_property
    def _sums(self) -> Array:
        """(M, 2, 5): for treated and other groups of each assignment, the sums of v, e, vv, ve and ee; the real one first.

        v is a contrast less the average, e its exposure: with these the statistic at any effect costs nothing per group.
        """
        real = self.start[self.start >= 0]
        shares = np.bincount(real, minlength=self.contrasts.shape[1]) / len(real)
        centred, size = self.contrasts - self.contrasts.mean(), len(self.start) - len(real)
        value, effect = (np.column_stack([own, own @ shares]) for own in (centred, self.exposure))
        terms = np.stack([value, effect, value * value, value * effect, effect * effect], axis=2)  # (G, S + 1, 5)
        blocks = []
        for assigned in self._blocks():
            sides = [(assigned == at).astype(float) @ terms[:, at] for at in range(len(shares))]
            never = (assigned == -1).astype(float)
            others = np.tensordot(never, terms[:, :-1, :2], axes=(1, 0)) / size
            blocks.append(np.stack([apart(sides, others, shares * len(real)), never @ terms[:, -1]], axis=1))
        return np.concatenate(blocks)

    def _blocks(self) -> Iterator[Array]:
        yield self.start[None, :]
        for block in deals(self.start, self.seed):
            yield block[(block != self.start).any(axis=1)]

    @property
    def count(self) -> int:
        """Assignments tried, the real one among them."""
        return len(self._sums)

    @property
    def exact(self) -> bool:
        """Whether every way to deal the starts was tried."""
        return self.count == number_of_deals(self.start)

    @property
    def smallest_p_value(self) -> float:
        """The smallest p-value that can come out; with equal sides of one start each way has a mirror image."""
        mirrored = self.contrasts.shape[1] == 1 and 2 * int((self.start >= 0).sum()) == len(self.start)
        return (2 if mirrored and self.exact else 1) / self.count

    def statistics(self, effect: float = 0.0) -> tuple[Array, Array]:
        """Return (M,) differences of means and (M,) studentised ones after an effect is taken out."""
        size = int((self.start >= 0).sum())
        counts = np.array([size, len(self.start) - size])
        v, e, vv, ve, ee = np.moveaxis(self._sums, 2, 0)
        mean = (v - effect * e) / counts
        squares = vv - 2 * effect * ve + effect**2 * ee
        variance = np.maximum(squares - counts * mean**2, 0.0) / (counts - 1) / counts
        difference = mean[:, 0] - mean[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return difference, difference / np.sqrt(variance.sum(axis=1))

    def p_value_of(self, effect: float) -> float:
        """Return the share of assignments at least as extreme as the real one, were `effect` the truth."""
        size = np.abs(self.statistics(effect)[1])
        return float(np.mean(size >= size[0] * (1 - 1e-9)))  # mirror images agree to rounding of the sums

    def p_value(self, estimate: Array, std_error: Array) -> Array:  # noqa: ARG002  # the law holds its own data
        """Return the two-sided p-value against no effect."""
        return np.full(estimate.shape, self.p_value_of(0.0))

    def interval(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the effects that are not refused at 1 - `level`; infinite where no effect can be refused."""
        centre, unit = float(estimate[0]), float(std_error[0])
        if self.smallest_p_value > 1 - level + 1e-12:
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
        return float(outside)


def apart(sides: Sequence[Array], others: Array, counts: Array) -> Array:
    """Add up (m, 5) sums of the groups dealt each of S starts, less what the others have more there than at the average one.

    That is common to all and no draw of a group. The difference of the sides stays as it is.

    Parameters
    ----------
    sides
        S sums of v, e, vv, ve and ee.
    others
        (m, S, 2) means of v and e of the groups that are dealt no start.
    counts
        (S,) groups that are dealt each start.

    Examples
    --------
    >>> sides = [np.array([[1.0, 1, 1, 1, 1]]), np.array([[7.0, 1, 49, 7, 1]])]
    >>> apart(sides, np.array([[[0.0, 0], [6, 0]]]), np.array([1, 1])).tolist()
    [[8.0, 2.0, 32.0, 8.0, 2.0]]
    """
    common = others - np.tensordot(others, counts / counts.sum(), axes=(1, 0))[:, None]
    whole = np.zeros_like(sides[0])
    for side, moved, n in zip(sides, np.moveaxis(common, 1, 0), counts, strict=True):
        (v, e, vv, ve, ee), (dv, de) = side.T, moved.T
        square, product, exposed = n * dv**2 - 2 * dv * v, n * dv * de - dv * e - de * v, n * de**2 - 2 * de * e
        whole += np.stack([v - n * dv, e - n * de, vv + square, ve + product, ee + exposed], axis=1)
    return whole


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


@lru_cache(maxsize=16)
def _choices(among: int, count: int) -> Array:
    """(M, count) every way to choose so many."""
    return np.array(list(combinations(range(among), count)))


def deals(start: Array, seed: int) -> Iterator[Array]:
    """Yield blocks of (m, G) ways to deal the starts: all of them, or a seeded sample when they are too many.

    Examples
    --------
    >>> sum(len(block) for block in deals(np.array([0, 0, 1, -1]), 0))
    12
    """
    groups = len(start)
    rows = max(1, _BLOCK // groups)
    if number_of_deals(start) > MOST_ASSIGNMENTS:
        draw, left = np.random.default_rng(seed), 9_999 if groups <= _FEW_GROUPS else 999
        while left > 0:
            yield draw.permuted(np.broadcast_to(start, (min(rows, left), groups)), axis=1)
            left -= rows
        return
    dealt = np.full((1, groups), -1)
    for code, count in zip(*np.unique(start[start >= 0], return_counts=True), strict=True):
        free = np.argsort(dealt >= 0, axis=1, kind="stable")[:, : int((dealt[0] < 0).sum())]
        chosen = _choices(free.shape[1], int(count))
        places = free[:, chosen].reshape(-1, int(count))
        dealt = np.repeat(dealt, len(chosen), axis=0)
        np.put_along_axis(dealt, places, code, axis=1)
    for first in range(0, len(dealt), rows):
        yield dealt[first : first + rows]
