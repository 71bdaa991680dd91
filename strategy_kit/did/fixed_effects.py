"""Regressions with unit and period effects, worked on cohort by cohort: coefficients, influence, what cannot be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.errors import DesignError
from strategy_kit.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.moments import Moments

Array = np.ndarray
_SINGULAR = 1e-10
NOTHING_TO_COMPARE = (
    "unit and period effects leave an effect without anything to compare it with; add units that are never treated or start "
    "later, or use group_time, which leaves such cells out"
)


@dataclass(frozen=True)
class Stack:
    """One experiment of a regression, with unit and period effects of its own.

    Attributes
    ----------
    design
        (G, T, K) regressors, the same for all units of a cohort.
    seen
        (G, T): which periods of which cohorts take part.
    weight
        (G,): of each unit of a cohort.
    """

    design: Array
    seen: Array
    weight: Array


@one_blas_thread
def fixed_effects(moments: Moments, stacks: Sequence[Stack]) -> tuple[Array, Array, Array, Array]:
    """Return coefficients, their covariance clustered by unit, and the two parts of their influence.

    A unit's own effect takes the mean over its periods away, so that a regressor that is common to a cohort is worked on
    once a cohort. Without small-sample factor. The influence is (G, K, T) on the mean path and (G, K) between cohorts, as
    in `Moments.linear`.

    Raises
    ------
    DesignError
        If a coefficient cannot be told from the others.
    """
    size = stacks[0].design.shape[2]
    parts = [(stack.weight * moments.count, _left(moments, stack)) for stack in stacks]
    gram, aim = np.zeros((size, size)), np.zeros(size)
    for weight, left in parts:
        flat = left.reshape(-1, size + 1)
        cross = flat.T @ (flat * np.repeat(weight, left.shape[1])[:, None])
        gram += cross[:-1, :-1]
        aim += cross[:-1, -1]
    given = sum(np.einsum("gtk,gt,g->k", s.design**2, s.seen, s.weight * moments.count) for s in stacks)
    if singular(gram, given):
        raise DesignError(NOTHING_TO_COMPARE)
    inverse = np.linalg.inv(gram)
    slope = inverse @ aim
    gradient = np.zeros((len(moments.count), size, moments.path.shape[1]))
    between = np.zeros(gradient.shape[:2])
    for weight, left in parts:
        pull = inverse @ (left[:, :, :-1] * weight[:, None, None]).swapaxes(1, 2)
        gradient += pull
        between += np.einsum("gkt,gt->gk", pull, left[:, :, -1] - left[:, :, :-1] @ slope)
    return slope, moments.linear(gradient, between)[1], gradient, between


def _left(moments: Moments, stack: Stack) -> Array:
    """(G, T, K + 1) regressors and mean path less unit and period effects."""
    weight = stack.weight * moments.count
    seen = (stack.seen & (weight > 0)[:, None]).astype(float)[:, :, None]
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1.0)
    dummies = np.broadcast_to(np.eye(seen.shape[1]), (*seen.shape[:2], seen.shape[1]))
    columns = np.concatenate([stack.design, moments.path[:, :, None], dummies], axis=2)
    columns = seen * (columns - (seen * columns).sum(axis=1, keepdims=True) / count)
    left, periods = columns[:, :, : -seen.shape[1]], columns[:, :, -seen.shape[1] :].reshape(-1, seen.shape[1])
    weighted = (periods * np.repeat(weight, seen.shape[1])[:, None]).T
    common = np.linalg.pinv(weighted @ periods, rcond=_SINGULAR, hermitian=True) @ (
        weighted @ left.reshape(len(periods), -1)
    )
    result: Array = left - (periods @ common).reshape(left.shape)
    return result


def singular(gram: Array, given: Array) -> bool:
    """Whether regressors say nothing of their own: what is left of `given` squares (K,), or of a combination."""
    scale = np.sqrt(np.diag(gram))
    if not (scale > (_SINGULAR * given) ** 0.5).all():
        return True
    return bool(np.linalg.eigvalsh(gram / np.outer(scale, scale))[0] < _SINGULAR)


@one_blas_thread
def told_apart(moments: Moments, stack: Stack) -> Array:
    """(K,) whether each regressor says anything that unit and period effects and those before it do not."""
    root: Array = np.sqrt(np.repeat(stack.weight * moments.count, moments.path.shape[1]))[:, None]
    size = stack.design.shape[2]
    rows = _left(moments, stack)[:, :, :-1].reshape(len(root), size) * root
    given = np.linalg.norm(stack.design.reshape(len(root), size) * root, axis=0)
    if size and not singular(rows.T @ rows, given**2):
        return np.ones(size, dtype=bool)
    basis, held = np.zeros(rows.shape, order="F"), np.zeros(size, dtype=bool)
    for k, column in enumerate(rows.T):
        before = basis[:, : held.sum()]
        rest = column - before @ (before.T @ column)
        rest -= before @ (before.T @ rest)
        length = np.linalg.norm(rest)
        held[k] = length > _SINGULAR**0.5 * given[k]
        if held[k]:
            basis[:, before.shape[1]] = rest / length
    return held


def small_sample(units: int, rows: int, coefficients: int) -> float:
    """Return the factor of R's fixest for errors clustered by unit; `coefficients` counts periods, and no unit effect."""
    return (rows - 1) / max(rows - coefficients, 1) * units / max(units - 1, 1)
