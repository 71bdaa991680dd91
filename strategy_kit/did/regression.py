"""Regressions with unit and period effects from cohort moments: two-way, event study, saturated, Sun-Abraham."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.aggregate import event_study, overall
from strategy_kit.did.cells import comparisons
from strategy_kit.did.group_time import (
    cautions,
    from_moments,
    refuse_category_level,
    refuse_no_cohort,
    without_fixed,
)
from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates, Joint
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.did.cells import Cells
    from strategy_kit.moments import Moments
    from strategy_kit.panel import Panel

Array = np.ndarray


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
    parts = []
    for stack in stacks:
        weight = stack.weight * moments.count
        seen = (stack.seen & (weight > 0)[:, None]).astype(float)
        count = np.maximum(seen.sum(axis=1), 1.0)[:, None, None]
        periods = np.broadcast_to(np.eye(seen.shape[1]), (*seen.shape, seen.shape[1]))
        left = [np.concatenate([stack.design, moments.mean[:, :, None]], axis=2), periods]
        left = [seen[:, :, None] * (v - (seen[:, :, None] * v).sum(axis=1, keepdims=True) / count) for v in left]
        flat, dummies = (v.reshape(-1, v.shape[2]) for v in left)
        root = np.sqrt(np.repeat(weight, seen.shape[1]))[:, None]
        common, *_ = np.linalg.lstsq(root * dummies, root * flat, rcond=1e-10)
        parts.append((weight, (flat - dummies @ common).reshape(*seen.shape, -1)))
    gram = sum(np.einsum("gtk,gtl,g->kl", x[:, :, :-1], x[:, :, :-1], w) for w, x in parts)
    scale = np.sqrt(np.diag(gram))
    if not (scale > 0).all() or np.linalg.eigvalsh(gram / np.outer(scale, scale))[0] < 1e-10:
        raise DesignError(
            "unit and period effects leave an effect without anything to compare it with; add units that are never treated, "
            "or use group_time, which leaves such cells out"
        )
    inverse = np.linalg.inv(gram / np.outer(scale, scale)) / np.outer(scale, scale)
    slope = inverse @ sum(np.einsum("gtk,gt,g->k", x[:, :, :-1], x[:, :, -1], w) for w, x in parts)
    gradient = np.zeros((len(moments.count), len(slope), moments.mean.shape[1]))
    between = np.zeros(gradient.shape[:2])
    for weight, x in parts:
        pull = np.einsum("kl,gtl,g->gkt", inverse, x[:, :, :-1], weight)
        gradient += pull
        between += np.einsum("gkt,gt->gk", pull, x[:, :, -1] - x[:, :, :-1] @ slope)
    return slope, moments.linear(gradient, between)[1], gradient, between


def two_way(panel: Panel) -> Estimates:
    """Regress on one indicator of treatment with unit and period effects: the textbook coefficient.

    With several starts and effects that differ it compares newly treated with already treated units; `bacon` shows how
    much. Units treated from the first period on take part as comparison, as in any regression.

    Parameters
    ----------
    panel
        Balanced, without covariates, weights and clusters; treatment assigned at merchant level.

    Returns
    -------
    Estimates
        One row; standard error clustered by unit with the small-sample factor of R's fixest.

    Raises
    ------
    DesignError
        If nothing is treated, nothing can be compared, the panel is not plain, or treatment was assigned at category
        level.

    References
    ----------
    Goodman-Bacon (2021), "Difference-in-differences with variation in treatment timing", equation 2.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> float(two_way(panel).estimate.round(12)[0])
    2.5
    """
    refuse_not_plain(panel, "two_way")
    refuse_no_cohort(panel)
    design = (_whole_ages(panel) >= 0)[:, :, None]
    slope, covariance, *_ = fixed_effects(panel.moments, _one_stack(panel.moments, design))
    return regression_result(
        panel, "two_way", pd.DataFrame(index=[0]), slope, covariance, n_units=[int((panel.cohort >= 0).sum())]
    )


def two_way_event_study(panel: Panel) -> Estimates:
    """Regress on an indicator for each period since the start, the last one before it left out, with both effects.

    Parameters
    ----------
    panel
        As in `two_way`. Where no unit is never treated the earliest age is left out too.

    Returns
    -------
    Estimates
        Label age. `glance` shows the plain average over ages 0 and later.

    Raises
    ------
    DesignError
        As in `two_way`.

    References
    ----------
    Sun and Abraham (2021), "Estimating dynamic treatment effects in event studies", equation 5; its section 3 shows
    how other ages leak into a coefficient when effects differ between cohorts.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]), treated_from=[3, 0, 0])
    >>> two_way_event_study(panel).tidy()["age"].tolist()
    [-2, 0]
    """
    refuse_not_plain(panel, "two_way_event_study")
    refuse_no_cohort(panel)
    moments, every = panel.moments, np.unique(panel.ages)
    spare = [] if (panel.cohort < 0).any() else [every[0]]
    ages = np.setdiff1d(every, [-1, *spare])
    design = _whole_ages(panel)[:, :, None] == ages
    slope, covariance, *_ = fixed_effects(moments, _one_stack(moments, design))
    counts = [int(moments.count[: len(panel.cohorts)][(panel.ages == age).any(axis=1)].sum()) for age in ages]
    result = regression_result(
        panel, "two_way_event_study", pd.DataFrame({"age": ages}), slope, covariance, n_units=counts
    )
    note = f"no unit was never treated, so that age {every[0]} is left out beside age −1"
    return averaged_after(replace(result, notes=(*result.notes, *([note] if spare else []))))


def saturated(panel: Panel) -> Estimates:
    """Regress on an indicator for each cohort and period after its start, with both effects (extended two-way).

    Every cohort is compared with all that is not treated yet, all periods before the start weighing alike.

    Parameters
    ----------
    panel
        As in `two_way`; units treated from the first period on, and periods in which every unit is treated, are left out
        and counted in the notes.

    Returns
    -------
    Estimates
        Labels cohort and period; `event_study` and the like average them with shares held fixed.

    Raises
    ------
    DesignError
        As in `two_way`.

    References
    ----------
    Wooldridge (2021), "Two-way fixed effects, the two-way Mundlak regression, and difference-in-differences
    estimators", equation 6.33.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> saturated(panel).tidy()[["cohort", "period", "estimate"]].round(9).to_numpy().tolist()
    [[2.0, 2.0, 2.5]]
    """
    panel, cells, notes = _after_start(panel, "saturated")
    cells = cells.only(cells.period >= panel.starts[cells.cohort])
    moments, last = panel.moments, int(cells.period.max()) + 1
    shape = (len(moments.count), len(panel.periods))
    indicators = np.zeros((*shape, len(cells.cohort)))
    indicators[cells.cohort, cells.period, np.arange(len(cells.cohort))] = 1.0
    seen = np.broadcast_to(np.arange(shape[1]) < last, shape)
    slope, covariance, *_ = fixed_effects(moments, [Stack(indicators, seen, np.ones(shape[0]))])
    return _by_cell(panel, "saturated", cells, slope, covariance, notes)


def sun_abraham(panel: Panel) -> Estimates:
    """Average by age the effects of an event study that is interacted with the cohorts.

    Parameters
    ----------
    panel
        As in `two_way`. Compared are units never treated; where there are none, the last cohort before its start.

    Returns
    -------
    Estimates
        Label age, the base −1 left out. `glance` shows the average of all effects after the start, weighted by units.
        Cohort shares are held fixed, as R's fixest does.

    Raises
    ------
    DesignError
        As in `two_way`.

    References
    ----------
    Sun and Abraham (2021), "Estimating dynamic treatment effects in event studies", equations 26 to 28.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]), treated_from=[3, 0, 0])
    >>> sun_abraham(panel).tidy()["age"].tolist()
    [-2, 0]
    """
    panel, cells, notes = _after_start(panel, "sun_abraham")
    cells = cells.only(cells.period != cells.base)
    cells.control[:] = np.arange(cells.control.shape[1]) == cells.control.shape[1] - 1
    found = from_moments(panel, cells, None)
    effects = _by_cell(panel, "sun_abraham", cells, found.estimate, found.joint.estimates, notes)
    return replace(event_study(effects), estimator="sun_abraham", average=effects.average)


def small_sample(units: int, rows: int, coefficients: int) -> float:
    """Return the factor of R's fixest for errors clustered by unit; `coefficients` counts periods, and no unit effect."""
    return (rows - 1) / max(rows - coefficients, 1) * units / max(units - 1, 1)


def refuse_not_plain(panel: Panel, estimator: str) -> None:
    """Refuse what cohort moments cannot say: gaps, covariates, weights, clusters, and assignment by category."""
    given = {"covariates": panel.covariates, "weights": panel.weight, "clusters": panel.cluster}
    laws = [f"it takes no {name} and would ignore them" for name, value in given.items() if value is not None]
    if not panel.balanced:
        lacking = int(np.isnan(panel.outcome).any(axis=1).sum())
        laws.append(
            f"it needs every unit in every period and {lacking} of {len(panel.units)} lack one; use panel.complete_units()"
        )
    if laws:
        raise DesignError(f"{estimator}: {' and '.join(laws)}; group_time takes such a panel as it is")
    refuse_category_level(panel)


def _after_start(panel: Panel, estimator: str) -> tuple[Panel, Cells, tuple[str, ...]]:
    """Return the units that have a past, their comparisons with the last period before the start, and notes."""
    refuse_not_plain(panel, estimator)
    panel = panel.comparable
    refuse_no_cohort(panel)
    cells, notes = comparisons(panel, len(panel.moments.count), control="not_yet", anticipation=0, universal=True)
    return panel, cells, notes


def _whole_ages(panel: Panel) -> Array:
    """(G, T) ages, with a row for the never treated."""
    never = np.full((len(panel.moments.count) - len(panel.cohorts), len(panel.periods)), np.iinfo(int).min)
    return np.vstack([panel.ages, never])


def _one_stack(moments: Moments, design: Array) -> list[Stack]:
    shape = moments.mean.shape
    return [Stack(design.astype(float), np.ones(shape, dtype=bool), np.ones(shape[0]))]


def regression_result(
    panel: Panel, estimator: str, labels: pd.DataFrame, slope: Array, covariance: Array, n_units: Sequence[int]
) -> Estimates:
    """Put coefficients of a regression with unit and period effects into `Estimates`, with fixest's factor."""
    moments = panel.moments
    units, treated = int(moments.count.sum()), int(moments.count[: len(panel.cohorts)].sum())
    covariance = covariance * small_sample(units, units * len(panel.periods), len(slope) + len(panel.periods))
    return Estimates(
        estimator=estimator,
        outcome=panel.name,
        labels=labels,
        estimate=slope,
        covariance=covariance,
        n_units=np.asarray(n_units, dtype=int),
        assigned_at=panel.assigned_at,
        clusters=(treated, units - treated),
        average=(float(slope[0]), float(np.sqrt(covariance[0, 0]))),
        law=Student(float(units - 1)),
        notes=(*panel.notes, *cautions(panel, moments.count)),
    )


def averaged_after(result: Estimates) -> Estimates:
    """Put the plain average over ages 0 and later in the place of the overall estimate."""
    after = (result.labels["age"].to_numpy() >= 0).astype(float)
    after /= max(after.sum(), 1)
    spread = float(np.sqrt(after @ result.covariance @ after))
    return replace(result, average=(float(after @ result.estimate), spread))


def _by_cell(
    panel: Panel, estimator: str, cells: Cells, estimate: Array, covariance: Array, notes: tuple[str, ...]
) -> Estimates:
    """Effects by cohort and period of a regression, to be averaged with the cohorts' shares held fixed."""
    count = panel.moments.count
    labels = pd.DataFrame({"cohort": panel.cohorts[cells.cohort], "period": panel.periods[cells.period]})
    result = regression_result(panel, estimator, labels, estimate, covariance, n_units=count[cells.cohort])
    units, last = int(count.sum()), int(cells.period.max()) + 1
    factor = small_sample(units, units * last, len(estimate) + last)
    whole = np.zeros((len(estimate) + len(count),) * 2)
    whole[: len(estimate), : len(estimate)] = covariance * factor
    result = replace(
        result,
        covariance=without_fixed(covariance * factor, np.zeros(len(estimate), dtype=bool)),
        joint=Joint(whole, count / count.sum(), count, panel.cohorts),
        notes=(*notes, *result.notes),
    )
    return replace(result, average=overall(result).average)
