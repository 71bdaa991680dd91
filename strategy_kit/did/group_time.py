"""Average effects by cohort and period: from cohort moments where they are enough, else from units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from strategy_kit.did.aggregate import overall
from strategy_kit.did.balanced import Balanced, Method
from strategy_kit.did.cells import Cells, Control, comparisons
from strategy_kit.did.cross_sections import CrossSections
from strategy_kit.did.guards import (
    cautions,
    refuse_category_level,
    refuse_few_clusters,
    refuse_no_cohort,
    settled,
    sides,
)
from strategy_kit.did.influence import Units
from strategy_kit.did.observed import Observed
from strategy_kit.errors import ParameterError, nearest, refuse, whole_number
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Multiplier
from strategy_kit.joint import Joint
from strategy_kit.moments import BLOCK_ROWS, rows_by_cohort

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
Base = Literal["varying", "universal"]
Inference = Literal["analytic", "none"] | Multiplier


def group_time(
    panel: Panel,
    *,
    control: Control = "never",
    anticipation: int = 0,
    base: Base = "varying",
    method: Method = "doubly_robust",
    inference: Inference = "analytic",
) -> Estimates:
    """Estimate the average effect on each cohort in each period, ATT(g, t).

    Each cohort's change since its base period is compared with the change of units that are not treated: those never
    treated, or all not treated yet. Before the start the same comparison shows differences in trend.

    Parameters
    ----------
    panel
        Treatment assigned at merchant level. Covariates, weights and clusters are used. An unbalanced panel is used as it is:
        means over the rows observed, as R `did` with `allow_unbalanced_panel=TRUE`; `panel.complete_units()` drops units
        that lack a period, as it does with FALSE where some units are never treated. Where none is, R cuts the last cohort's
        periods before it asks for completeness. Units treated from the first period on are left out and counted.
    control
        "never": units never treated. "not_yet": these and the units that start after the period (and after its base).
        Where no unit is never treated, the last cohort serves as control and periods from its start on are left out.
    anticipation
        Periods before the start in which units may already react. Units of a cohort that has no period before these are
        left out, as R `did` does, and counted in the notes.
    base
        "varying": the period before, for cells before the start. "universal": one base period for all cells of a
        cohort, the last one before start and anticipation; its own cell is 0 without a standard error.
    method
        How covariates are adjusted for: by a regression of the comparison units' change, by weights from a logit of
        treatment (adding up to one), or both. Without covariates the three are one estimator.
    inference
        "none" gives points without standard errors, the only choice when treatment was assigned at category level;
        `Multiplier` draws standard errors and bands instead of deriving them.

    Returns
    -------
    Estimates
        Labels cohort and period; analytic standard errors clustered by unit.

    Raises
    ------
    ParameterError
        If an option has none of its values.
    DesignError
        If the panel has no cohort with a past or no control, covariates are collinear or separate a cohort from its
        comparison units, or treatment was assigned at category level and inference is not "none".

    References
    ----------
    Callaway and Sant'Anna (2021), "Difference-in-differences with multiple time periods", section 2, theorem 1;
    the moments form is derived in docs/house.md.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0], [2.0, 5.0], [1.0, 2.0], [3.0, 4.5]])
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, np.inf, np.inf])
    >>> group_time(panel).tidy()[["cohort", "period", "estimate"]].to_numpy().tolist()
    [[2.0, 2.0, 0.75]]
    """
    refuse_options((control, Control), (base, Base), (method, Method), anticipation=anticipation, inference=inference)
    refuse_category_level(panel, points_only=inference == "none")
    panel = panel.unmoved(anticipation) if anticipation else panel.comparable
    refuse_no_cohort(panel)
    refuse_category_level(panel, points_only=inference == "none")  # again: the units left may be whole categories
    panel = _as_far_as_compared(panel, anticipation)
    refuse_few_clusters(panel, points_only=inference == "none")
    n_cohorts = len(panel.units_by_cohort)
    cells, notes = comparisons(
        panel, n_cohorts, control=control, anticipation=anticipation, universal=base == "universal"
    )
    multiplier = inference if isinstance(inference, Multiplier) else None
    found = from_moments(panel, cells, multiplier) if panel.plain else _from_units(panel, cells, method, multiplier)
    cells = cells if found.held is None else cells.only(found.held)
    silent = (cells.period == cells.base) | (inference == "none")
    count = found.joint.count
    treated = np.arange(len(count)) < (len(count) - 1 if notes else len(panel.cohorts))
    result = Estimates(
        estimator="group_time",
        outcome=panel.name,
        labels=pd.DataFrame({"cohort": panel.cohorts[cells.cohort], "period": panel.periods[cells.period]}),
        estimate=found.estimate,
        spread=found.joint.without_errors(silent),
        n_units=count[cells.cohort],
        assigned_at=panel.assigned_at,
        clusters=sides(panel, treated),
        average=(np.nan, np.nan),
        age=panel.ages[cells.cohort, cells.period],
        notes=(*panel.notes, *notes, *found.notes, *cautions(panel)),
        seed=0 if multiplier is None else multiplier.seed,
        comparison="never treated" if control == "never" else "not yet treated",
    )
    if (panel.ages[cells.cohort, cells.period] < 0).all():
        return settled(
            replace(result, notes=(*result.notes, "no effect lies at or after a start: no average")), panel.scale
        )
    return settled(replace(result, average=overall(result).average), panel.scale)


def _as_far_as_compared(panel: Panel, anticipation: int) -> Panel:
    """Leave out periods in which no unit is a control any more, and the rows that are seen in them alone, as R `did` does.

    Where every row is seen in every period, none is lost, and the cells leave these periods out.
    """
    if panel.balanced or len(panel.units_by_cohort) > len(panel.cohorts):
        return panel
    last = int((panel.ages[-1] < -anticipation).sum())
    traits = panel.covariates
    cut = replace(
        panel,
        outcome=panel.outcome[:, :last],
        periods=panel.periods[:last],
        covariates=traits if traits is None or traits.ndim == 2 else traits[:, :last],
    )
    cut = cut.only(~np.isnan(cut.outcome).all(axis=1))
    refuse_no_cohort(cut)
    return cut if len(cut.cohorts) == len(panel.cohorts) else _as_far_as_compared(cut, anticipation)


@dataclass(frozen=True)
class Found:
    """What a path from a panel to its cells' effects returns; `held` marks the cells that could be estimated."""

    estimate: Array
    joint: Joint
    notes: tuple[str, ...] = ()
    held: Array | None = None


def _from_units(panel: Panel, cells: Cells, method: Method, multiplier: Multiplier | None) -> Found:
    units = Units.of(panel)
    if panel.balanced:
        balanced = Balanced(panel, units, cells, method)
        return Found(balanced.estimate, units.joint(balanced, len(balanced.estimate), multiplier), balanced.notes)
    observed = Observed(panel, units, cells)
    if panel.covariates is None:
        joint = units.joint(observed, len(observed.estimate), multiplier)
        return Found(observed.estimate, joint, observed.notes, observed.held)
    rows = CrossSections(panel, units, cells.only(observed.held), method)
    joint = units.joint(rows, len(rows.estimate), multiplier)
    return Found(rows.estimate, joint, (*observed.notes, *rows.notes), observed.held)


def refuse_options(*given: tuple[object, object], anticipation: int, inference: Inference) -> None:
    """Refuse options that have none of their values, all at once."""
    laws = []
    for value, allowed in given:
        known = get_args(allowed)
        if str(value) not in known:
            laws.append(f"an option is one of {', '.join(known)}, not {value!r}{nearest(str(value), known)}")
    if not whole_number(anticipation, 0):
        laws.append(f"anticipation is a number of whole periods, 0 or more, not {anticipation!r}")
    if not isinstance(inference, Multiplier) and str(inference) not in {"analytic", "none"}:
        laws.append(f"inference is analytic, none or a Multiplier(draws, seed), not {inference!r}")
    refuse(ParameterError, "group_time", laws)


def from_moments(panel: Panel, cells: Cells, multiplier: Multiplier | None) -> Found:
    """Estimate the cells from cohort moments alone; draws need one more pass over the outcome."""
    moments = panel.moments
    share = moments.count / moments.count.sum()
    change = moments.path[:, cells.period] - moments.path[:, cells.base]  # (G, K)
    pooled = cells.control * share  # (K, G)
    pool = pooled.sum(axis=1)
    comparison = (pooled * change.T).sum(axis=1) / pool
    row = np.arange(len(cells.cohort))
    weight = -pooled / pool[:, None]
    weight[row, cells.cohort] += 1.0
    parts: list[tuple[csr_array | None, Array]] = [
        (_over_time(cells, weight[:, g], moments.path.shape), spread / moments.count[g])
        for g, spread in enumerate(moments.covariance)
    ]
    gradient = cells.control * (comparison[:, None] - change.T) / pool[:, None]
    whole = np.vstack([gradient, np.eye(len(share))])
    parts.append((csr_array(whole), (np.diag(share) - np.outer(share, share)) / moments.count.sum()))
    draws = None if multiplier is None else _draws(panel, cells, weight, whole, multiplier)
    joint = Joint(tuple(parts), share, moments.count, panel.cohorts, draws)
    return Found(change[cells.cohort, row] - comparison, joint)


def _over_time(cells: Cells, weight: Array, shape: tuple[int, ...]) -> csr_array:
    """(K + G, T): what each cell takes of a cohort's path, the shares nothing."""
    used = np.flatnonzero(weight)
    row, column = np.tile(used, 2), np.append(cells.period[used], cells.base[used])
    groups, periods = shape
    return csr_array((np.append(weight[used], -weight[used]), (row, column)), shape=(len(weight) + groups, periods))


def _draws(panel: Panel, cells: Cells, weight: Array, gradient: Array, multiplier: Multiplier) -> Array:
    """Return (B, K + G) sums of the units' influences under random signs: of paths first, then of the shares."""
    moments, n = panel.moments, panel.n_units
    result = np.zeros((multiplier.draws, len(gradient)))
    number = 0
    for g, members in enumerate(rows_by_cohort(panel.cohort_codes, len(moments.count))):
        drawn = np.zeros((multiplier.draws, len(panel.periods) + 1), dtype=np.float32)
        for first in range(0, len(members), BLOCK_ROWS):
            block = panel.outcome[members[first : first + BLOCK_ROWS]] - moments.mean[g]
            signs = multiplier.signs(len(block), number)
            drawn[:, :-1] += signs @ (block - block.mean(axis=1, keepdims=True)).astype(np.float32)
            drawn[:, -1] += signs.sum(axis=1)
            number += 1
        used = np.flatnonzero(weight[:, g])
        change = drawn[:, cells.period[used]] - drawn[:, cells.base[used]]
        result[:, used] += change * (weight[used, g] / moments.count[g])
        member = np.eye(len(moments.count))[g] - moments.count / n
        result += np.outer(drawn[:, -1] / n, gradient @ member)
    return result
