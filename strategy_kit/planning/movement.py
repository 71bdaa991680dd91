"""How far the estimate would stray by itself, judged by how the groups moved before the start: arrays in, arrays out."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from strategy_kit.threads import one_blas_thread

Array = np.ndarray
PATHS = 6_000
"""Worlds without an effect from which a critical value is taken."""
RATIOS = (1 / 3, 1.0, 3.0)
"""Volatility of treated to other groups in those worlds; the least favourable counts."""
AUTOCORRELATIONS = np.round(np.arange(0, 1, 0.02), 2)
SHARES = np.array([0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
"""Share of white noise in the variance of a group's movements; the rest is autoregressive."""
_COARSE = 5
_CELLS = 2_000_000
_MOST = 40
_TINY = 1e-300


class Looks(NamedTuple):
    """When groups start and when the estimate is read.

    `before` is the number of periods before the first start, `starts` (S,) the periods from it to each start, `sizes`
    (S + 1,) the number of groups of each start and of those never treated, `looks` (K,) the periods since the first start.
    """

    before: int
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    looks: tuple[int, ...]


class Tables(NamedTuple):
    """What follows from the looks alone, under M laws of movement: each share of noise with each of R autocorrelations."""

    weights: Array  # (S + 1, K, T) of the mean path of each kind of group in the estimate at each look
    variance: Array  # (M, S + 1, K) of the weighted mean path of a kind whose groups have variance 1
    later: Array  # (M, S + 1, K) the same of its part after the first start
    squares: Array  # (M, L) expected sum of squares of L periods less their mean, of variance 1
    shown: Array  # (2, shares, R) what `fading` finds before the start


@lru_cache(maxsize=64)
def tables(looks: Looks) -> Tables:
    """Work out weights and variances of the estimates at all looks."""
    weights, before, sizes = _weights(looks), looks.before, np.array(looks.sizes)[:, None]
    length = np.arange(1, weights.shape[2] + 1)
    powers = (AUTOCORRELATIONS[:, None] ** (length - 1)).cumsum(axis=1)
    whole = (2 * powers - 1).cumsum(axis=1)
    own = (powers[:, :before] + powers[:, before - 1 :: -1] - 1) / before  # of a period with the mean
    mean, half = whole[:, before - 1] / before**2, before // 2
    inside = sliding_window_view(own, half, axis=1)
    next_one = (before - 1) * (AUTOCORRELATIONS + mean) - own[:, 1:].sum(axis=1) - own[:, :-1].sum(axis=1)
    halves = inside.shape[1] * (whole[:, half - 1] + half**2 * mean) - 2 * half * inside.sum(axis=(1, 2))
    squares = _mixed(length - whole / length)
    shown = np.stack([_mixed(next_one), _mixed(halves)]) / squares[:, before - 1]
    later = weights * (length > before)
    whole, part = (_mixed(_variance(paths)) / sizes for paths in (weights, later))
    return Tables(weights, whole, part, squares, shown.reshape(2, len(SHARES), -1))


def _mixed(values: Array) -> Array:
    """Return (M, ...) of (R, ...) what is linear in the covariance, at every share of noise and autocorrelation."""
    share = SHARES.reshape(-1, *[1] * values.ndim)
    return ((1 - share) * values + share * values[0]).reshape(-1, *values.shape[1:])


def _variance(weights: Array) -> Array:
    """Return the sum over pairs of w[s] w[t] rho^|s - t|, one period after the other."""
    variance, carried = np.zeros((2, len(AUTOCORRELATIONS), *weights.shape[:2]))
    for now in np.moveaxis(weights, 2, 0):
        variance += now * (now + 2 * carried)
        carried = AUTOCORRELATIONS[:, None, None] * (carried + now)
    return variance


def _weights(looks: Looks) -> Array:
    sizes, starts = np.array(looks.sizes), np.array(looks.starts)
    time = np.arange(looks.before + looks.looks[-1]) - looks.before
    result = np.zeros((len(sizes), len(looks.looks), len(time)))
    for k, look in enumerate(looks.looks):
        begun = starts < look
        after, seen = time >= starts[begun][:, None], time < look
        own = (after & seen) / (after & seen).sum(axis=1, keepdims=True)
        own = own - ~after / (~after).sum(axis=1, keepdims=True)
        shares = sizes[:-1] * begun / sizes[:-1][begun].sum()
        result[np.flatnonzero(begun), k] = shares[begun, None] * own
        others = np.flatnonzero(np.append(~begun, True))
        result[others, k] = -np.outer(sizes[others] / sizes[others].sum(), shares[begun] @ own)
    return result


def movement(past: Array, kind: Array, known: Tables) -> tuple[Array, Array]:
    """Return the law and the variances of the groups' own movements before the start.

    Residuals of group and period means are pooled over groups. What taking out the means does to the ratios of `fading` and
    to the squares, and what the groups' movements do to the period means of the others, is known exactly for an
    autoregressive path with noise, and undone.

    Parameters
    ----------
    past
        (T0, P, G) outcomes of P worlds.
    kind
        (G,) which kind a group is: its start, or never treated.

    Returns
    -------
    step
        (P,) position of the law: that in `SHARES` times the number of autocorrelations, plus that in `AUTOCORRELATIONS`.
    variance
        (P, S + 1) mean variance of the groups of each kind, not below 0.
    """
    groups = past.shape[2]
    residual = past - past.mean(axis=0) - past.mean(axis=2, keepdims=True) + past.mean(axis=(0, 2))[:, None]
    squares = np.einsum("tpg,tpg->pg", residual, residual)
    ratios = fading(residual) / squares.sum(axis=1)
    step = _law(ratios[0], ratios[1], known.shown)
    variance = squares / known.squares[step, len(past) - 1, None]
    whole = variance.sum(axis=1, keepdims=True) / (1 - 1 / groups)
    own = (variance - whole / groups**2) / (1 - 2 / groups)
    member = kind[:, None] == np.arange(known.weights.shape[0])
    return step, np.maximum(own @ member / member.sum(axis=0), 0.0)


def _law(next_one: Array, halves: Array, shown: Array) -> Array:
    """Return (P,) positions of the laws that show these ratios, share of noise and autocorrelation rounded up.

    At each share the half-window sums tell the autocorrelation, where one can show as much; the smallest share counts that
    leaves no more correlation of one period with the next than there is, or else the largest that can show as much.
    """
    last = shown.shape[2] - 1
    rising = np.maximum.accumulate(shown[1], axis=1)
    each = np.stack([np.minimum(np.searchsorted(row, halves), last) for row in rising])
    able = rising[:, -1:] >= halves
    fits = able & (np.take_along_axis(shown[0], each, axis=1) <= next_one)
    share = np.where(fits.any(axis=0), fits.argmax(axis=0), np.maximum(able.sum(axis=0) - 1, 0))
    rho = np.take_along_axis(each, share[None, :], axis=0)[0]
    plain = np.minimum(np.maximum(rho, np.searchsorted(shown[0, 0], next_one)), last)
    return np.where((share == 0) | (rho == 0), plain, share * (last + 1) + rho)


def fading(residual: Array) -> Array:
    """Return (2, P) how slowly residuals (T0, P, G) fade: sums of products one period apart, and of squared half-window sums.

    The second sees a slow movement that hides beneath fast noise from the first.
    """
    half, sums = len(residual) // 2, residual.cumsum(axis=0)
    moving = np.concatenate([sums[half - 1 : half], sums[half:] - sums[:-half]])
    next_one = np.einsum("tpg,tpg->p", residual[1:], residual[:-1])
    return np.stack([next_one, np.einsum("tpg,tpg->p", moving, moving)])


def spreads(paths: Array, before: int, sides: Array) -> Array:
    """Return (T1, P, 2) sums of squares of each side up to each period after the start, over those before it.

    Only what sets the groups of a side (G,) apart counts, so that a common effect is no movement; each less its own mean.
    """
    length = np.arange(1, len(paths) - before + 1)[:, None]
    found = []
    for side in (sides == 0, sides == 1):
        own = paths[:, :, side] - paths[:, :, side].mean(axis=2, keepdims=True)
        past, later = np.split(own, [before])
        past = past - past.mean(axis=0)
        squares = np.einsum("tpg,tpg->tp", later, later).cumsum(axis=0)
        sums = later.cumsum(axis=0)
        squares -= np.einsum("tpg,tpg->tp", sums, sums) / length
        found.append(squares / np.einsum("tpg,tpg->p", past, past))
    return np.stack(found, axis=2)


def growth(spread: Array, before: int, known: Tables, step: Array) -> Array:
    """Return (T1, P, 2) how much more variance those sums mean after the start than before; at least 1."""
    usual = known.squares[step, before - 1, None] / np.maximum(known.squares[step, : len(spread)], _TINY)
    more = np.maximum(spread * usual.T[:, :, None], 1.0)
    more[0] = 1.0  # one period has no spread over time
    return more


def expected_error(step: Array, variance: Array, more: Array, known: Tables) -> Array:
    """Return (P, K) standard errors of the estimates at the looks that those movements let one expect.

    `more` (K, P, 2) is `growth` at those looks; kinds of groups that start are on its first side.
    """
    kinds, looks = variance.shape[1], len(more)
    extra = np.repeat(more - 1, [kinds - 1, 1], axis=2)
    each = known.variance[step][:, :, :looks] + np.moveaxis(extra, 0, 2) * known.later[step][:, :, :looks]
    result: Array = np.sqrt(np.einsum("ps,psk->pk", variance, each))
    return result


def largest_ratios(looks: Looks, step: int, seed: int) -> Array:
    """Return (R, P) the largest ratio of an estimate to its expected error over all looks, in worlds without an effect.

    The worlds have Gaussian paths of the law at `step`, its autocorrelation rounded up to tenths; in each the expected errors
    are worked out from its own periods, as they are for real data. No kind has more than forty groups there: with more, hardly
    anything is left to estimate, and the ratios stay the same.
    """
    share, rho = divmod(step, len(AUTOCORRELATIONS))
    rho = min(-(-rho // _COARSE) * _COARSE, len(AUTOCORRELATIONS) - 1)
    return _largest_ratios(looks._replace(sizes=tuple(min(size, _MOST) for size in looks.sizes)), (share, rho), seed)


@lru_cache(maxsize=512)
@one_blas_thread
def _largest_ratios(looks: Looks, law: tuple[int, int], seed: int) -> Array:
    random, known, share = np.random.default_rng(seed), tables(looks), SHARES[law[0]]
    sizes, span = np.array(looks.sizes), known.weights.shape[2]
    kind = np.repeat(np.arange(len(sizes)), sizes)
    sides = (kind == len(sizes) - 1).astype(int)
    member = (kind[:, None] == np.arange(len(sizes))) / sizes
    size = max(1, min(PATHS, _CELLS // (span * len(kind))))
    found: list[list[Array]] = [[] for _ in RATIOS]
    for first in range(0, PATHS, size):
        shape = (span, min(size, PATHS - first), len(kind))
        paths = np.sqrt(1 - share) * autoregressive(random.standard_normal(shape), AUTOCORRELATIONS[law[1]])
        if share:
            paths += np.sqrt(share) * random.standard_normal(shape)
        spread, means = spreads(paths, looks.before, sides), paths @ member
        for ratio, store in zip(RATIOS, found, strict=True):
            scale = np.where(sides == 0, ratio, 1.0)
            at, variance = movement(paths[: looks.before] * scale, kind, known)
            more = growth(spread, looks.before, known, at)[np.array(looks.looks) - 1]
            ends = np.append(np.full(len(sizes) - 1, ratio), 1.0)
            estimate = np.einsum("skt,tps->pk", known.weights, means * ends, optimize=True)
            error = expected_error(at, variance, more, known)
            store.append(np.abs(estimate / error).max(axis=1))
    return np.stack([np.concatenate(store) for store in found])


def autoregressive(normal: Array, rho: float) -> Array:
    """Turn independent draws (T, ...) into autoregressive paths of the same variance, in place."""
    for period in range(1, len(normal)):
        normal[period] *= np.sqrt(1 - rho**2)
        normal[period] += rho * normal[period - 1]
    return normal
