"""What the treated would have sold, imputed from all that was not treated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.fixed_effects import Stack, fixed_effects, small_sample, told_apart
from strategy_kit.did.guards import cautions, refuse_no_cohort, sides
from strategy_kit.did.regression import Inference, points_alone, refuse_not_plain
from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.threads import one_blas_thread

if TYPE_CHECKING:
    from strategy_kit.moments import Moments
    from strategy_kit.panel import Panel

Array = np.ndarray


def imputation(panel: Panel, *, inference: Inference = "analytic") -> Estimates:
    """Fit unit and period effects to untreated observations, and average what the treated ones lie above them.

    Efficient when errors are alike and unrelated; all untreated periods count, not only the last. Rows before the start
    are a test of their own: leads in a regression on untreated observations, against the last age before the start.

    Parameters
    ----------
    panel
        Balanced, without covariates, weights and clusters; treatment assigned at merchant level. Units treated from the
        first period on, and periods in which every unit is treated, are left out and counted in the notes.

    Returns
    -------
    Estimates
        Label age. Errors are clustered by unit and conservative: they take effects to differ between cohorts and
        periods, not between units of one. `glance` shows the average over all treated observations.

    Raises
    ------
    DesignError
        If nothing is treated, nothing can be imputed, the panel is not plain, or treatment was assigned at category
        level.

    References
    ----------
    Borusyak, Jaravel and Spiess (2024), "Revisiting event-study designs: robust and efficient estimation", theorem 2
    (estimator), theorem 3 (errors) and section 4.4 (test of leads).

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> float(imputation(panel).average[0])
    2.5
    """
    refuse_not_plain(panel, "imputation", inference)
    panel = panel.comparable
    refuse_no_cohort(panel)
    moments, ages, last = panel.moments, panel.ages, len(panel.periods)
    notes: tuple[str, ...] = ()
    if len(ages) == len(moments.count):
        last = int((ages[-1] < 0).sum())
        notes = (
            f"every unit is treated from {panel.cohort_names[-1]} on: periods from then on cannot be imputed and are left out",
        )
    untreated = np.ones((len(moments.count), len(panel.periods)), dtype=bool)
    untreated[: len(ages)] = ages < 0
    untreated[:, last:] = False
    treated = np.zeros_like(untreated)
    treated[: len(ages), :last] = ages[:, :last] >= 0
    if not treated.any():
        raise DesignError(
            "every unit starts in the same period, so there is nothing to impute from; add units that start later or never"
        )
    after = np.unique(ages[:, :last][treated[: len(ages), :last]])
    rows = [(treated[: len(ages)] & (ages == age)) * moments.count[: len(ages), None] for age in after]
    rows.append(treated[: len(ages)] * moments.count[: len(ages), None])
    gradient, between = _imputed(moments, untreated, np.stack([row / row.sum() for row in rows]))
    leads, pull, left, lost = _leads(moments, ages, untreated)
    gradient, between = np.concatenate([pull, gradient], axis=1), np.concatenate([left, between], axis=1)
    scale = np.ones(gradient.shape[1])
    observed = int(untreated.sum(axis=1) @ moments.count)
    scale[: len(leads)] = small_sample(int(moments.count.sum()), observed, len(leads) + last) ** 0.5
    estimate, covariance = moments.linear(gradient, between)
    covariance *= np.outer(scale, scale)
    labels = np.append(leads, after).astype(int)
    counts = [int(moments.count[: len(ages)][(ages[:, :last] == age).any(axis=1)].sum()) for age in labels]
    started = np.pad(treated[: len(ages)].any(axis=1), (0, len(moments.count) - len(ages)))
    result = Estimates(
        estimator="imputation",
        outcome=panel.name,
        labels=pd.DataFrame({"age": labels}),
        estimate=estimate[:-1],
        spread=covariance[:-1, :-1],
        n_units=np.array(counts, dtype=int),
        assigned_at=panel.assigned_at,
        clusters=sides(panel, started),
        average=(float(estimate[-1]), float(np.sqrt(covariance[-1, -1]))),
        notes=(*panel.notes, *notes, *lost, *cautions(panel)),
    )
    return points_alone(result, inference, panel.scale)


def _leads(moments: Moments, ages: Array, untreated: Array) -> tuple[Array, Array, Array, tuple[str, ...]]:
    """Return the K ages before the last one untreated that can be told apart, their influences, and a note on the others."""
    given = np.unique(ages[untreated[: len(ages)]])
    reference, given = given[-1], given[-2::-1]  # the earliest are the first to go
    design = np.zeros((*untreated.shape, len(given)))
    design[: len(ages)] = ages[:, :, None] == given
    stack = Stack(design, untreated, np.ones(len(untreated)))
    told = told_apart(moments, stack)
    lost = ", ".join(map(str, given[~told]))
    notes = (f"ages that cannot be told apart from age {reference} and the others, left out: {lost}",) if lost else ()
    leads = given[told][::-1]
    if not len(leads):
        return leads, np.zeros((len(design), 0, design.shape[1])), np.zeros((len(design), 0)), notes
    *_, pull, left = fixed_effects(moments, [replace(stack, design=design[:, :, told][:, :, ::-1])])
    return leads, pull, left, notes


@one_blas_thread
def _imputed(moments: Moments, untreated: Array, weights: Array) -> tuple[Array, Array]:
    """Return the influences of K averages with `weights` (K, treated cohorts, T) of effects above the imputed path."""
    seen = untreated.astype(float)
    own = seen / seen.sum(axis=1, keepdims=True)  # the mean that a unit's effect is
    periods = np.eye(seen.shape[1]) - own[:, None, :]  # (G, T, T)
    within = seen[:, :, None] * periods
    flat = within.reshape(-1, within.shape[2])
    gram = flat.T @ (flat * np.repeat(moments.count, within.shape[1])[:, None])
    pull = np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ (within * moments.count[:, None, None]).swapaxes(1, 2)
    effect = (weights.swapaxes(0, 1) @ periods[: weights.shape[1]]).swapaxes(0, 1)  # of period effects on each average
    gradient = -(effect.sum(axis=1) @ pull)
    gradient[: weights.shape[1]] += effect.swapaxes(0, 1)
    common = np.einsum("hst,ht->s", pull, moments.path)
    left = seen * np.einsum("gts,gs->gt", periods, moments.path - common)
    return gradient, np.einsum("hkt,ht->hk", gradient, left)
