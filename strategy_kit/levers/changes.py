"""Changes of sums beyond those of the others of the same category, with influences of every merchant left out once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from strategy_kit.levers.windows import Windows

Array = np.ndarray


class Changes(NamedTuple):
    """K estimates with the influence of each of the S + N merchants on them; missing where one merchant is all of a sum."""

    estimate: Array  # (K,)
    influence: Array  # (S + N, K)


def log_changes(found: Windows, measure: str, group: Array) -> Changes:
    """Return by how many log points each group's sum exceeds what it would be by the growth of the others.

    With b and a a merchant's sums before and after its start, R the ratio of the others' sums in its category over the same
    weeks, the change of a group is log(sum of a) − log(sum of b R). The influence of a merchant is the change less that
    without the merchant, the jackknife's; those of several measures go with each other.

    Parameters
    ----------
    group
        (S,) place of each supported merchant's group, from 0; −1 for none.
    """
    own, others = found.sums(measure)
    place = group >= 0
    count = int(group.max(initial=-1)) + 1
    growth, without = _growth(found, others)
    cell = found.supported["category"].to_numpy(), found.supported["start"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = own[:, 0] * growth[cell]
        after, before = (np.bincount(group[place], v[place], count) for v in (own[:, 1], expected))
        estimate = np.log(after) - np.log(before)
        mine = np.zeros((len(group), count))
        rest = np.log((after[group] - own[:, 1]) / (before[group] - expected))
        mine[place, group[place]] = (estimate[group] - rest)[place]
        moved = before + _moved(found, own[:, 0], group, count, without - growth[found.category])
        theirs = np.log(moved) - np.log(before)
    return _known(estimate, np.vstack([mine, theirs]))


def gains(found: Windows, measure: str, group: Array) -> Changes:
    """Return how much more each group sold than it would have by the growth of the others, in the measure's unit.

    Influences of a group's merchants are about their mean, those of the others are the jackknife's.
    """
    own, others = found.sums(measure)
    place = group >= 0
    count = int(group.max(initial=-1)) + 1
    growth, without = _growth(found, others)
    cell = found.supported["category"].to_numpy(), found.supported["start"].to_numpy()
    gain = own[:, 1] - own[:, 0] * growth[cell]
    size = np.bincount(group[place], minlength=count)
    estimate = np.bincount(group[place], gain[place], count)
    mine = np.zeros((len(group), count))
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = (gain - (estimate / size)[group]) * np.sqrt(size / (size - 1))[group]
    mine[place, group[place]] = centred[place]
    moved = _moved(found, own[:, 0], group, count, without - growth[found.category])
    return _known(estimate, np.vstack([mine, moved]))


def _growth(found: Windows, others: Array) -> tuple[Array, Array]:
    """Return the others' growth (C, G), and their growth without each of them (N, G)."""
    total = np.zeros((len(found.categories), *others.shape[1:]))
    np.add.at(total, found.category, others)
    rest = total[found.category] - others
    with np.errstate(divide="ignore", invalid="ignore"):
        return total[..., 1] / total[..., 0], rest[..., 1] / rest[..., 0]


def _moved(found: Windows, before: Array, group: Array, count: int, change: Array) -> Array:
    """Return (N, K) what each group would have grown by more where growth moves by `change` (N, G) without one of the others."""
    base = np.zeros((len(found.categories), change.shape[1], count))
    place = group >= 0
    cell = found.supported["category"].to_numpy()[place], found.supported["start"].to_numpy()[place], group[place]
    np.add.at(base, cell, before[place])
    weights = base[found.category]
    # a category of one other moves nobody but its own: what is missing there is nothing to the rest
    result: Array = np.where(weights != 0, change[:, :, None] * weights, 0.0).sum(axis=1)
    return result


def _known(estimate: Array, influence: Array) -> Changes:
    lost = ~(np.isfinite(estimate) & np.isfinite(influence).all(axis=0))
    return Changes(np.where(lost, np.nan, estimate), np.where(lost, np.nan, influence))
