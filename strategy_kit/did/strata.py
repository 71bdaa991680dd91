"""Starts dealt anew inside each stratum only: randomisation inference for support given merchant by merchant."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import lgamma, log, prod
from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.randomisation import MOST_ASSIGNMENTS, Randomisation, apart, deals, number_of_deals

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray
_CELLS, _LARGE, _FEW_UNITS = 1_000_000, 1_000, 1_000


@dataclass(frozen=True)
class WithinStrata(Randomisation):
    """The law of a difference inside strata, weighted by treated units, when starts are dealt anew within each.

    Parameters
    ----------
    stratum
        (G,) stratum of each unit, 0 .. C - 1; each has two units or more on both sides. In a stratum an untreated unit
        counts as the average over the starts that happened there. Up to 50,000 ways in all strata together are all tried;
        beyond, 9,999 are drawn, or 999 with more than 1,000 units.

    Examples
    --------
    >>> start = np.array([0, 0, -1, -1, 0, 0, -1, -1])
    >>> change = np.array([[4.0], [6.0], [1.0], [0.0], [5.0], [3.0], [2.0], [1.5]])
    >>> law = WithinStrata(change, (start[:, None] >= 0) * 1.0, start, stratum=np.repeat([0, 1], 4))
    >>> law.count, law.smallest_p_value, law.p_value_of(0.0).__round__(3)
    (36, 0.05555555555555555, 0.056)
    """

    stratum: Array = field(kw_only=True)

    @cached_property
    def _members(self) -> list[Array]:
        order = np.argsort(self.stratum, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.stratum[order])) + 1)

    @cached_property
    def exact(self) -> bool:
        """Whether every way to deal the starts inside the strata is tried."""
        return _log_ways([self.start[m] for m in self._members]) < log(MOST_ASSIGNMENTS) + 1e-9

    @property
    def count(self) -> int:
        """Assignments tried, the real one among them."""
        return len(self._moments)

    @property
    def smallest_p_value(self) -> float:
        """The smallest p-value that can come out; with equal sides of one start in all strata each way has a mirror image."""
        starts = [self.start[m] for m in self._members]
        mirrored = all(len(np.unique(s)) == 2 and 2 * (s >= 0).sum() == len(s) for s in starts)
        return (2 if mirrored and self.exact else 1) / self.count

    def statistics(self, effect: float = 0.0) -> tuple[Array, Array]:
        """Return (M,) weighted differences of means and (M,) studentised ones after an effect is taken out."""
        difference, held, square, product, exposed = self._moments.T
        variance = np.maximum(square - 2 * effect * product + effect**2 * exposed, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return difference - effect * held, (difference - effect * held) / np.sqrt(variance)

    @cached_property
    def _moments(self) -> Array:
        """(M, 5): difference of means of changes and of exposures, then their squared errors and product; real first.

        All five add up over strata, so that the ways of single strata are put together without being written out.
        """
        whole = np.zeros((1, 5))
        draws = 0 if self.exact else 9_999 if len(self.start) <= _FEW_UNITS else 999
        total = int((self.start >= 0).sum())
        for number, members in enumerate(self._members):
            start = self.start[members]
            sums = np.concatenate(list(self._sums_of(members, draws, np.random.default_rng((self.seed, number)))))
            treated = int((start >= 0).sum())
            part = _differences(sums, np.array([treated, len(start) - treated]))
            part *= (treated / total) ** np.array([1, 1, 2, 2, 2])
            whole = whole + part if draws and number else (whole[:, None] + part).reshape(-1, 5)
        return whole

    def _sums_of(self, members: Array, draws: int, random: np.random.Generator) -> Iterator[Array]:
        """Yield blocks of (m, 2, 5) sums over treated and other units of v, e, vv, ve and ee, the real ones first."""
        start = self.start[members]
        contrasts = self.contrasts[members] - self.contrasts[members].mean()
        happened = np.bincount(start[start >= 0], minlength=contrasts.shape[1]) / (start >= 0).sum()
        own, pooled = (
            _terms(contrasts, self.exposure[members]),
            _terms(contrasts @ happened, self.exposure[members] @ happened),
        )
        yield self._summed(start[None, :], own, pooled)
        if not draws:
            for block in deals(start, self.seed):
                yield self._summed(block[(block != start).any(axis=1)], own, pooled)
        elif len(members) <= _LARGE:
            step = max(1, _CELLS // len(members))
            for first in range(0, draws, step):
                rows = (min(step, draws - first), len(members))
                yield self._summed(random.permuted(np.broadcast_to(start.astype(np.int16), rows), axis=1), own, pooled)
        else:
            yield _drawn(start, own, pooled, draws, random)

    @staticmethod
    def _summed(dealt: Array, own: Array, pooled: Array) -> Array:
        marked, never = [(dealt == code).astype(float) for code in range(own.shape[1])], (dealt < 0).astype(float)
        others = np.tensordot(never, own[:, :, :2], axes=(1, 0)) / never[0].sum()
        counts = np.array([mark[0].sum() for mark in marked])
        treated = apart([mark @ own[:, code] for code, mark in enumerate(marked)], others, counts)
        return np.stack([treated, never @ pooled], axis=1)


def _log_ways(starts: list[Array]) -> float:
    """Log of the product of ways; exact near the most that are tried."""
    near = sum(
        lgamma(len(s) + 1) - sum(lgamma(n + 1) for n in np.unique(s, return_counts=True)[1].tolist()) for s in starts
    )
    return near if near > log(MOST_ASSIGNMENTS) + 1 else log(prod(number_of_deals(s) for s in starts))


def _terms(value: Array, effect: Array) -> Array:
    return np.stack([value, effect, value * value, value * effect, effect * effect], axis=-1)


def _drawn(start: Array, own: Array, pooled: Array, draws: int, random: np.random.Generator) -> Array:
    """Return (draws, 2, 5) sums, each from a look at the treated units only."""
    counts = np.bincount(start[start >= 0], minlength=own.shape[1])
    size, dealt = int(counts.sum()), np.repeat(np.arange(len(counts)), counts)
    terms = own.reshape(-1, own.shape[2])  # unit i at start s is row i S + s
    several, marks = len(counts) > 1, (dealt == np.arange(len(counts))[:, None]).astype(float)
    sides, lacking, seen = (np.zeros((draws, *shape)) for shape in ((len(counts), 5), (5,), (len(counts), 2)))
    for draw in range(draws):
        chosen = random.choice(len(start), size, replace=False, shuffle=several)
        sides[draw] = marks @ terms.take(chosen * len(counts) + dealt, axis=0)
        lacking[draw] = sides[draw, 0]
        if several:
            lacking[draw] = np.ones(size) @ pooled.take(chosen, axis=0)
            seen[draw] = own[:, :, :2].take(chosen, axis=0).sum(axis=0)
    others = (own[:, :, :2].sum(axis=0) - seen) / (len(start) - size)
    treated = apart(list(np.moveaxis(sides, 1, 0)), others, counts)
    return np.stack([treated, pooled.sum(axis=0) - lacking], axis=1)


def _differences(sums: Array, counts: Array) -> Array:
    """Return (m, 5) differences of means and squared errors from (m, 2, 5) sums of two sides."""
    v, e, vv, ve, ee = np.moveaxis(sums, 2, 0)
    v, e = v / counts, e / counts
    errors = [(part - counts * mean) / (counts - 1) / counts for part, mean in ((vv, v * v), (ve, v * e), (ee, e * e))]
    return np.stack([v[:, 0] - v[:, 1], e[:, 0] - e[:, 1], *(error.sum(axis=1) for error in errors)], axis=1)
