"""The groups to which treatment was assigned, each with one path: what a pilot is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
_LEAST = 2


@dataclass(frozen=True, eq=False)
class AssignedGroups:
    """Categories where whole categories start, else units, with their mean paths; made by `assigned_groups`.

    Attributes
    ----------
    names
        (G,) labels.
    paths
        (G, T) mean outcome of each group's units.
    start
        (G,) which of `firsts` is the group's start, -1 for a group never treated.
    firsts
        (S,) positions among the T periods of the distinct starts, ascending.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 3.0], [2.0, 4.5], [1.0, 1.0], [2.0, 2.5], [3.0, 3.1]])
    >>> groups = assigned_groups(Panel.from_matrix(y, treated_from=[2, 2, 0, 0, 0]))
    >>> groups.treated.sum(), groups.changes[:, 0].round(2).tolist()
    (np.int64(2), [2.0, 2.5, 0.0, 0.5, 0.1])
    """

    names: pd.Index
    paths: Array
    start: Array
    firsts: Array

    @property
    def treated(self) -> Array:
        """(G,) whether the group is ever treated."""
        return self.start >= 0

    @property
    def after(self) -> Array:
        """(S, T) whether a period lies after each start."""
        return np.arange(self.paths.shape[1])[None, :] >= self.firsts[:, None]

    @property
    def weights(self) -> Array:
        """(S, T) weights of the periods in the contrast at each start: mean after minus mean before."""
        after = self.after
        return after / after.sum(axis=1, keepdims=True) - ~after / (~after).sum(axis=1, keepdims=True)

    @property
    def changes(self) -> Array:
        """(G, S) mean after minus mean before, of every group at every start."""
        result: Array = self.paths @ self.weights.T
        return result


def assigned_groups(panel: Panel) -> AssignedGroups:
    """Average the panel over the units of each group to which treatment was assigned.

    Raises
    ------
    DesignError
        If the panel is unbalanced, a side has fewer than two groups, or no period lies before the first start.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.zeros((8, 3)), treated_from=[3] * 4 + [0] * 4, category=list("aabbccdd"))
    >>> assigned_groups(panel).names.tolist()
    ['a', 'b', 'c', 'd']
    """
    names, paths, code = group_means(panel)
    cohorts = np.unique(code[code >= 0])
    start = np.where(code >= 0, np.searchsorted(cohorts, code), -1)
    _refuse(panel, start, cohorts)
    return AssignedGroups(names, paths, start, panel.starts[cohorts])


def group_means(panel: Panel) -> tuple[pd.Index, Array, Array]:
    """Return names (G,), mean paths (G, T) and cohorts (G,), -1 for never treated, of the assigned groups.

    Raises
    ------
    DesignError
        If the panel is unbalanced.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.arange(6.0).reshape(3, 2), treated_from=[2, 0, 0])
    >>> group_means(panel)[2].tolist()
    [0, -1, -1]
    """
    if not panel.balanced:
        raise DesignError("the panel is unbalanced; keep the complete units with panel.complete_units()")
    if panel.category is None or panel.assigned_at == "merchant":
        return panel.units, panel.outcome, panel.cohort
    code, groups = pd.factorize(panel.category, sort=True, use_na_sentinel=False)
    paths = np.zeros((len(groups), panel.outcome.shape[1]))
    np.add.at(paths, code, panel.outcome)
    first = np.full(len(groups), -1)
    first[code[::-1]] = panel.cohort[::-1]
    return pd.Index(groups), paths / np.bincount(code)[:, None], first


def _refuse(panel: Panel, start: Array, cohorts: Array) -> None:
    treated, other = int((start >= 0).sum()), int((start < 0).sum())
    if treated < _LEAST or other < _LEAST:
        raise DesignError(
            f"an interval needs at least two groups on each side, but {treated} are treated and {other} are not; add "
            "categories, or report the changes without an interval"
        )
    if panel.starts[cohorts].min() < 1:
        raise DesignError(
            f"no period lies before {panel.cohorts[cohorts[0]]}, when the first groups start; begin the panel earlier"
        )
