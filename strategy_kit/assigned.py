"""The groups to which treatment was assigned, each with one path: what a pilot is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
AssignedAt = Literal["merchant", "category", "hybrid"]
BY_CHANCE = 0.01
"""Chance below which what categories have in common is no accident of choosing merchants."""
HYBRID = (
    "assignment is a hybrid: whole categories were chosen, and merchants inside some of them, so that merchants are no "
    "independent draws; give all merchants of a chosen category its start to judge categories, or compare inside categories "
    "with within_categories, or with panel.within(...) first"
)
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
    units
        (G,) how many units a group has.
    start
        (G,) which of `firsts` is the group's start, -1 for a group never treated.
    firsts
        (S,) positions among the T periods of the distinct starts, ascending.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 3.0], [2.0, 4.5], [1.0, 1.0], [2.0, 2.5], [3.0, 3.1]])
    >>> groups = assigned_groups(Panel.from_matrix(y, treated_from=[2, 2, 0, 0, 0]))
    >>> groups.treated.tolist(), groups.contrasts.round(2).tolist()
    ([True, True, False, False, False], [2.0, 2.5, 0.0, 0.5, 0.1])
    """

    names: pd.Index
    paths: Array
    units: Array
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

    @property
    def contrasts(self) -> Array:
        """(G,) mean after minus mean before: see `at_own_start`."""
        return self.at_own_start(self.changes)

    def over_starts(self, values: Array) -> Array:
        """Return (G, ...) of values (G, S, ...): the average over the starts that happened, by the groups of each."""
        counts = np.bincount(self.start[self.treated], minlength=len(self.firsts))
        return np.tensordot(values, counts / counts.sum(), axes=(1, 0))

    def at_own_start(self, values: Array) -> Array:
        """Return (G, ...) of values (G, S, ...): a treated group's at its own start, another's averaged over the starts.

        What the untreated moved more at one start than at the average one is common to all and no draw of a group: it leaves
        the difference of the sides as it is, and would be taken for chance.
        """
        result, common = self.over_starts(values), values[~self.treated].mean(axis=0)
        own = self.start[self.treated]
        result[self.treated] = values[self.treated, own] - (common - self.over_starts(common[None])[0])[own]
        return result


def starts_by_category(cohort: Array, category: pd.Series) -> Array:
    """Return (C, G + 1) how many units of each category were never treated (first column) or started with each cohort.

    Examples
    --------
    >>> starts_by_category(np.array([0, -1, -1]), pd.Series(list("aab"))).tolist()
    [[1, 1], [1, 0]]
    """
    code, names = pd.factorize(category, sort=True, use_na_sentinel=False)
    width = int(cohort.max(initial=-1)) + 2
    return np.bincount(code * width + cohort + 1, minlength=len(names) * width).reshape(-1, width)


def assignment_level(table: Array) -> AssignedAt:
    """Say at which level treatment was assigned, from `starts_by_category`.

    "category": the start is the same within every category, and differs between some. "hybrid": it varies inside some
    categories, but more categories start as one, or not at all, than choosing merchants would leave: categories were
    chosen first and merchants inside them, or some categories whole. "merchant": all else.

    Examples
    --------
    >>> starts = np.repeat([0, -1, 0, -1, -1, -1], [12, 8, 9, 11, 20, 20])
    >>> assignment_level(starts_by_category(starts, pd.Series(np.repeat(list("abcd"), 20))))
    'hybrid'
    """
    uniform = (table > 0).sum(axis=1) == 1
    if len(table) == 1 or not table[:, 1:].any() or not uniform.any():
        return "merchant"
    if uniform.all():
        return "category" if table.any(axis=0).sum() > 1 else "merchant"
    size, total = table.sum(axis=1)[:, None], table.sum(axis=0)[None, :]
    chance = np.exp(_log_choices(total, size) - _log_choices(np.array(total.sum()), size)).sum(axis=1)
    return "hybrid" if _at_least(int(uniform.sum()), np.minimum(chance, 1.0)) < BY_CHANCE else "merchant"


def uneven(table: Array) -> bool:
    """Whether shares of units that start differ between categories by more than choosing units would leave.

    Pearson's test at 1 in 100, from `starts_by_category`.

    Examples
    --------
    >>> uneven(np.array([[80, 120], [140, 60], [180, 20]])), uneven(np.array([[80, 120], [85, 115], [75, 125]]))
    (True, False)
    """
    from scipy.special import chdtrc

    seen = np.stack([table[:, 0], table[:, 1:].sum(axis=1)], axis=1)
    if len(seen) == 1 or not seen.any(axis=0).all():
        return False
    expected = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / seen.sum()
    return bool(chdtrc(len(seen) - 1, ((seen - expected) ** 2 / expected).sum()) < BY_CHANCE)


def _log_choices(among: Array, chosen: Array) -> Array:
    """Log of the number of ways to choose; minus infinity where there are too few."""
    from scipy.special import gammaln

    possible = among >= chosen
    ways = gammaln(among + 1) - gammaln(chosen + 1) - gammaln(np.where(possible, among - chosen, 0) + 1)
    return np.where(possible, ways, -np.inf)


def _at_least(count: int, chance: Array) -> float:
    """Chance that at least `count` of independent events with these chances happen."""
    law = np.ones(1)
    for each in chance:
        law = np.convolve(law, [1 - each, each])
    return float(law[count:].sum())


def assigned_groups(panel: Panel) -> AssignedGroups:
    """Average the panel over the units of each group to which treatment was assigned.

    Raises
    ------
    DesignError
        If the panel is unbalanced, its assignment a hybrid, a side has fewer than two groups, or no period lies before
        the first start.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.zeros((8, 3)), treated_from=[3] * 4 + [0] * 4, category=list("aabbccdd"))
    >>> assigned_groups(panel).names.tolist()
    ['a', 'b', 'c', 'd']
    """
    names, paths, code, units = group_means(panel)
    cohorts = np.unique(code[code >= 0])
    start = np.where(code >= 0, np.searchsorted(cohorts, code), -1)
    _refuse(panel, start, cohorts)
    return AssignedGroups(names, paths, units, start, panel.starts[cohorts])


def group_means(panel: Panel) -> tuple[pd.Index, Array, Array, Array]:
    """Return names (G,), mean paths (G, T), cohorts (G,), -1 for never treated, and units (G,) of the assigned groups.

    Raises
    ------
    DesignError
        If the panel is unbalanced, or its assignment a hybrid.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.arange(6.0).reshape(3, 2), treated_from=[2, 0, 0])
    >>> group_means(panel)[2].tolist()
    [0, -1, -1]
    """
    if not panel.balanced:
        raise DesignError("the panel is unbalanced; keep the complete units with panel.complete_units()")
    if panel.assigned_at == "hybrid":
        raise DesignError(HYBRID)
    if panel.assigned_at != "category":
        return panel.units, panel.outcome, panel.cohort, np.ones(panel.n_units)
    return panel.category_means


def category_means(panel: Panel) -> tuple[pd.Index, Array, Array, Array]:
    """Return what `group_means` does of the categories, whose units all start alike."""
    code, names = pd.factorize(np.asarray(panel.category), sort=True, use_na_sentinel=False)
    paths = np.zeros((len(names), len(panel.periods)))
    np.add.at(paths, code, panel.outcome)
    first = np.full(len(names), -1)
    first[code[::-1]] = panel.cohort[::-1]
    count = np.bincount(code)
    return pd.Index(names), paths / count[:, None], first, count


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
