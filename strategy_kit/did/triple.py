"""Triple difference: eligible against others, inside piloted groups against outside, before and after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.aggregate import overall
from strategy_kit.did.balanced import Balanced, Method
from strategy_kit.did.cells import Cells, Control, comparisons
from strategy_kit.did.collapsed import marked
from strategy_kit.did.group_time import Inference, refuse_options
from strategy_kit.did.guards import (
    FEW,
    cautions,
    drawn,
    refuse_category_level,
    refuse_few_clusters,
    refuse_no_cohort,
    settled,
)
from strategy_kit.did.influence import Units
from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Multiplier
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.joint import Joint

Array = np.ndarray


def triple_difference(
    panel: Panel,
    eligible: pd.Series | Sequence[bool],
    *,
    control: Control = "never",
    anticipation: int = 0,
    method: Method = "doubly_robust",
    inference: Inference = "analytic",
) -> Estimates:
    """Estimate the effect on eligible units of groups that start, free of what moves either eligible units or a group.

    Eligible units of a cohort are compared with its other units, with eligible units elsewhere and with the others
    elsewhere; the first two comparisons less the third is the effect. With covariates each is brought to the covariates
    of the eligible treated, which the difference of two separate fits does not do. Control cohorts are compared with one
    by one, and weighted by precision: pooled, they would be biased.

    Parameters
    ----------
    panel
        Balanced. `treated_from` is when the unit's group (such as its category) started, whether it is eligible or not.
    eligible
        (N,) in the order of `panel.units`, or a Series indexed by them.
    control, anticipation, method, inference
        As in `group_time`.

    Returns
    -------
    Estimates
        Labels cohort and period, as of `group_time`, with shares of the eligible units.

    Raises
    ------
    ParameterError
        If an option has none of its values, or `eligible` does not fit the units.
    DesignError
        If the panel is unbalanced, a cohort or its controls lack eligible or other units, or treatment was assigned at
        category level: then compare the gaps of the categories, `pilot_contrast(eligible_gap(panel, eligible))`.

    References
    ----------
    Ortiz-Villavicencio and Sant'Anna (2025), "Better understanding triple differences estimators", equations 4.1
    (doubly robust), 4.11 and 4.12 (combination of control cohorts).

    Examples
    --------
    >>> y = np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.5], [3.0, 3.0]])
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, 0, 0])
    >>> triple_difference(panel, [True, False, True, False]).estimate.round(9).tolist()
    [1.5]
    """
    refuse_options((control, Control), (method, Method), anticipation=anticipation, inference=inference)
    chosen = marked(panel, eligible, "eligible")
    if not panel.balanced:
        raise DesignError("the panel is unbalanced; keep the complete units with panel.complete_units()")
    given, whole, panel = panel.units, panel, panel.unmoved(anticipation)
    for judged in (whole, panel):  # the units left may be whole categories
        refuse_category_level(
            judged, points_only=inference == "none", way_out="pilot_contrast(eligible_gap(panel, eligible))"
        )
    chosen = chosen[given.isin(panel.units)]
    refuse_no_cohort(panel)
    units = Units.of(panel)
    cells, notes = comparisons(panel, units.n_cohorts, control=control, anticipation=anticipation, universal=False)
    refuse_few_clusters(panel, points_only=inference == "none")
    thin = _sides(units, chosen, cells)
    doubled = replace(
        units, cohort=2 * units.cohort + chosen, n_cohorts=2 * units.n_cohorts, cohorts=units.cohorts.repeat(2)
    )
    # a control cohort of one unit a side looks exact and would take all the weight
    thick = cells.control & ~thin
    pair = np.argwhere(np.where(thick.any(axis=1, keepdims=True), thick, cells.control))  # (M, 2): cell, control cohort
    three = Balanced(panel, doubled, _three(cells, pair, doubled.n_cohorts), method)
    joint = doubled.joint(three, 3 * len(pair), inference if isinstance(inference, Multiplier) else None)
    joint, weights = _combined(joint, panel.cohorts, pair[:, 0], len(cells.cohort))
    treated = chosen & np.isin(panel.cohort_codes, cells.cohort)
    result = Estimates(
        estimator="triple_difference",
        outcome=panel.name,
        labels=pd.DataFrame({"cohort": panel.cohorts[cells.cohort], "period": panel.periods[cells.period]}),
        estimate=weights @ three.estimate,
        spread=joint.without_errors(np.full(len(weights), inference == "none")),
        n_units=joint.count[cells.cohort],
        assigned_at=panel.assigned_at,
        clusters=(drawn(panel, treated), drawn(panel, ~treated)),
        average=(np.nan, np.nan),
        age=panel.ages[cells.cohort, cells.period],
        notes=(*panel.notes, *notes, *three.notes, *_told(units, thin), *cautions(panel)),
    )
    return settled(replace(result, average=overall(result).average), panel.scale)


def eligible_gap(panel: Panel, eligible: pd.Series | Sequence[bool]) -> Panel:
    """Return a panel of categories: mean outcome of their eligible units less that of the others.

    What `pilot_contrast` compares when whole categories started: the triple difference with categories as draws.

    Raises
    ------
    ParameterError
        If `eligible` does not fit the units.
    DesignError
        If the panel has no categories, is unbalanced, or no category has both kinds of units.

    Examples
    --------
    >>> y = np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.5], [3.0, 3.0]])
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, 0, 0], category=["a", "a", "b", "b"])
    >>> eligible_gap(panel, [True, False, True, False]).outcome.tolist()
    [[0.0, 2.0], [0.0, 0.5]]
    """
    chosen = marked(panel, eligible, "eligible")
    if panel.category is None or not panel.balanced or panel.assigned_at != "category":
        raise DesignError(
            "gaps are told by category, for a balanced panel in which whole categories start; use triple_difference otherwise"
        )
    code, names = pd.factorize(panel.category.fillna("unknown"), sort=True)
    weight = np.ones(len(code)) if panel.weight is None else panel.weight
    sums, count = np.zeros((2, len(names), len(panel.periods))), np.zeros((2, len(names)))
    np.add.at(sums, (chosen.astype(int), code), panel.outcome * weight[:, None])
    np.add.at(count, (chosen.astype(int), code), weight)
    both = (count > 0).all(axis=0)
    if not both.any():
        raise DesignError(
            "no category has both eligible and other units, so that there is no gap; name eligible units of each"
        )
    first = np.zeros(len(names), dtype=int)
    first[code[::-1]] = np.arange(len(code))[::-1]
    gap = sums[1][both] / count[1][both][:, None] - sums[0][both] / count[0][both][:, None]
    code = panel.cohort[first[both]]
    start = pd.Series(panel.cohorts.take(np.maximum(code, 0))).where(code >= 0)
    kept = pd.Index(names)[both]
    result = Panel.from_matrix(
        gap, treated_from=start, periods=panel.periods, units=kept, category=kept, name=panel.name
    )
    left = [str(name) for name in pd.Index(names)[~both]]
    note = f"categories without both eligible and other units, left out: {', '.join(left)}"
    return replace(result, notes=(*panel.notes, note) if left else panel.notes)


def _sides(units: Units, chosen: Array, cells: Cells) -> Array:
    """(G,) whether a cohort has few eligible or few other units; refused where one that is needed has none."""
    count = np.stack([np.bincount(units.cohort[chosen == side], minlength=units.n_cohorts) for side in (False, True)])
    used = np.array(cells.control.any(axis=0))
    used[cells.cohort] = True
    lacking = used & (count == 0).any(axis=0)
    if lacking.any():
        raise DesignError(
            f"cohort {', '.join(_names(units, lacking))} lacks eligible or other units, so that there is no gap; leave it "
            "out with panel.only, or use group_time"
        )
    return np.asarray((count < FEW).any(axis=0))


def _names(units: Units, marked: Array) -> list[str]:
    names = [*units.cohorts.astype(str), "never treated"]
    return [names[g] for g in np.flatnonzero(marked).tolist()]


def _told(units: Units, thin: Array) -> tuple[str, ...]:
    law = f"cohorts with fewer than {FEW} units that are eligible, or that are not ({', '.join(_names(units, thin))})"
    return (f"{law}: no comparison where there is another, and their standard errors say little",) if thin.any() else ()


def _three(cells: Cells, pair: Array, n_cohorts: int) -> Cells:
    """The three comparisons of the eligible units of a cell's cohort: own others, eligible elsewhere, others elsewhere."""
    k, other = pair.T
    own = cells.cohort[k]
    control = np.zeros((3, len(pair), n_cohorts), dtype=bool)
    for n, code in enumerate((2 * own, 2 * other + 1, 2 * other)):
        control[n, np.arange(len(pair)), code] = True
    period, base = np.tile(cells.period[k], 3), np.tile(cells.base[k], 3)
    return Cells(np.tile(2 * own + 1, 3), period, base, control.reshape(-1, n_cohorts))


def _combined(joint: Joint, cohorts: pd.Index, cell: Array, size: int) -> tuple[Joint, Array]:
    """Put the three comparisons together, then the control cohorts of each of `size` cells; keep shares of the eligible."""
    kinds = len(joint.shares)
    sums = np.kron(np.array([[1.0, 1.0, -1.0]]), np.eye(len(cell)))
    joint = joint.combined(sums, np.zeros((len(sums), kinds)))
    weights = _precision(joint.covariance, cell, size)
    joint = joint.combined(weights, np.zeros((size, kinds)))
    shared = 2 * np.arange(len(cohorts)) + 1
    return joint.of_shares(shared, cohorts), weights @ sums


def _precision(covariance: Array, cell: Array, size: int) -> Array:
    """(K, M) weights of each cell's control cohorts, the inverse of their covariance; taken as known afterwards."""
    weights = np.zeros((size, len(cell)))
    for k in range(size):
        held = np.flatnonzero(cell == k)
        pull = np.linalg.pinv(covariance[np.ix_(held, held)], hermitian=True).sum(axis=0)
        weights[k, held] = pull / pull.sum() if abs(pull.sum()) > 0 else 1 / len(held)
    return weights
