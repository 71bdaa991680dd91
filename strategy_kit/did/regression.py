"""Regressions with unit and period effects from cohort moments: two-way, event study, saturated, Sun-Abraham."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.did.aggregate import event_study, overall
from strategy_kit.did.cells import comparisons, refuse_nothing
from strategy_kit.did.fixed_effects import NOTHING_TO_COMPARE, Stack, fixed_effects, small_sample, told_apart
from strategy_kit.did.group_time import from_moments
from strategy_kit.did.guards import cautions, refuse_category_level, refuse_no_cohort, settled, sides
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.joint import Joint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.did.cells import Cells
    from strategy_kit.inference import Parts
    from strategy_kit.moments import Moments
    from strategy_kit.panel import Panel

Array = np.ndarray
Inference = Literal["analytic", "none"]


def two_way(panel: Panel, *, inference: Inference = "analytic") -> Estimates:
    """Regress on one indicator of treatment with unit and period effects: the textbook coefficient.

    With several starts and effects that differ it compares newly treated with already treated units; `bacon` shows how
    much. Units treated from the first period on take part as comparison, as in any regression.

    Parameters
    ----------
    panel
        Balanced, without covariates, weights and clusters; treatment assigned at merchant level.
    inference
        "none" gives points alone, the only choice when treatment was assigned at category level.

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
    refuse_not_plain(panel, "two_way", inference)
    refuse_no_cohort(panel)
    design = (_whole_ages(panel) >= 0)[:, :, None]
    slope, covariance, *_ = fixed_effects(panel.moments, _one_stack(panel.moments, design))
    treated, covariance = int(panel.units_by_cohort[: len(panel.cohorts)].sum()), covariance * _factor(panel, 1)
    result = regression_result(panel, "two_way", pd.DataFrame(index=[0]), slope, covariance, n_units=[treated])
    return points_alone(result, inference, panel.scale)


def two_way_event_study(panel: Panel, *, inference: Inference = "analytic") -> Estimates:
    """Regress on an indicator for each period since the start, the last one before it left out, with both effects.

    Parameters
    ----------
    panel
        As in `two_way`. Where no unit is never treated, the earliest ages that cannot be told apart are left
        out too, and named in the notes.

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
    refuse_not_plain(panel, "two_way_event_study", inference)
    refuse_no_cohort(panel)
    moments, every = panel.moments, np.unique(panel.ages)
    if every[0] >= 0:
        raise DesignError(NOTHING_TO_COMPARE)
    reference = every[every < 0].max()
    ages = np.setdiff1d(every, [reference])[::-1]  # the earliest are the first to go
    stack = _one_stack(moments, _whole_ages(panel)[:, :, None] == ages)[0]
    told = told_apart(moments, stack)
    spare, ages = ages[~told], ages[told][::-1]
    if not len(ages) or (spare >= 0).any():
        raise DesignError(NOTHING_TO_COMPARE)
    slope, covariance, *_ = fixed_effects(moments, [replace(stack, design=stack.design[:, :, told][:, :, ::-1])])
    covariance *= _factor(panel, len(ages))
    counts = [int(moments.count[: len(panel.cohorts)][(panel.ages == age).any(axis=1)].sum()) for age in ages]
    labels = pd.DataFrame({"age": ages})
    result = regression_result(panel, "two_way_event_study", labels, slope, covariance, n_units=counts)
    note = f"ages that cannot be told apart from age {reference} and the others, left out: {', '.join(map(str, spare))}"
    result = averaged_after(replace(result, notes=(*result.notes, *([note] if len(spare) else []))))
    return points_alone(result, inference, panel.scale)


def saturated(panel: Panel, *, inference: Inference = "analytic") -> Estimates:
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
    panel, cells, notes = _after_start(panel, "saturated", inference)
    cells = cells.only(cells.period >= panel.starts[cells.cohort])
    moments, last = panel.moments, int(cells.period.max()) + 1
    shape = (len(moments.count), len(panel.periods))
    indicators = np.zeros((*shape, len(cells.cohort)))
    indicators[cells.cohort, cells.period, np.arange(len(cells.cohort))] = 1.0
    seen = np.broadcast_to(np.arange(shape[1]) < last, shape)
    slope, covariance, *_ = fixed_effects(moments, [Stack(indicators, seen, np.ones(shape[0]))])
    whole = np.pad(covariance, (0, shape[0]))  # shares are held fixed
    return points_alone(_by_cell(panel, "saturated", cells, slope, ((None, whole),), notes), inference, panel.scale)


def sun_abraham(panel: Panel, *, inference: Inference = "analytic") -> Estimates:
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
    panel, cells, notes = _after_start(panel, "sun_abraham", inference)
    cells = cells.only(cells.period != cells.base)
    last = np.arange(cells.control.shape[1]) == cells.control.shape[1] - 1
    cells = replace(cells, control=np.tile(last, (len(cells.cohort), 1)))
    found = from_moments(panel, cells, None)
    effects = _by_cell(panel, "sun_abraham", cells, found.estimate, found.joint.parts[:-1], notes)
    result = replace(event_study(effects), estimator="sun_abraham", average=effects.average)
    return points_alone(result, inference, panel.scale)


def _factor(panel: Panel, coefficients: int) -> float:
    units, periods = panel.n_units, len(panel.periods)
    return small_sample(units, units * periods, coefficients + periods)


def points_alone(result: Estimates, inference: Inference, scale: float) -> Estimates:
    """Take the standard errors away where points were all that was asked for, or where they are rounding."""
    if inference == "analytic":
        return settled(result, scale)
    alone = result.without_errors(np.ones(len(result.estimate), dtype=bool))
    return replace(alone, average=(result.average[0], np.nan))


def refuse_not_plain(panel: Panel, estimator: str, inference: Inference) -> None:
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
    if str(inference) not in {"analytic", "none"}:
        raise ParameterError(f"{estimator}: inference is analytic or none, not {inference!r}")
    for judged in (panel, panel.comparable):  # whom a start is seen of may be whole categories where all units are not
        refuse_category_level(judged, points_only=inference == "none")


def _after_start(panel: Panel, estimator: str, inference: Inference) -> tuple[Panel, Cells, tuple[str, ...]]:
    """Return the units that have a past, their comparisons with the last period before the start, and notes."""
    refuse_not_plain(panel, estimator, inference)
    panel = panel.comparable
    refuse_no_cohort(panel)
    cells, notes = comparisons(panel, len(panel.moments.count), control="not_yet", anticipation=0, universal=True)
    refuse_nothing(cells.period[cells.period >= panel.starts[cells.cohort]])
    return panel, cells, notes


def _whole_ages(panel: Panel) -> Array:
    """(G, T) ages, with a row for the never treated."""
    never = np.full((len(panel.moments.count) - len(panel.cohorts), len(panel.periods)), np.iinfo(int).min)
    return np.vstack([panel.ages, never])


def _one_stack(moments: Moments, design: Array) -> list[Stack]:
    shape = moments.path.shape
    return [Stack(design.astype(float), np.ones(shape, dtype=bool), np.ones(shape[0]))]


def regression_result(
    panel: Panel, estimator: str, labels: pd.DataFrame, slope: Array, spread: Array | Joint, n_units: Sequence[int]
) -> Estimates:
    """Put coefficients of a regression with unit and period effects, and how they vary in the end, into `Estimates`."""
    moments = panel.moments
    result = Estimates(
        estimator=estimator,
        outcome=panel.name,
        labels=labels,
        estimate=slope,
        spread=spread,
        n_units=np.asarray(n_units, dtype=int),
        assigned_at=panel.assigned_at,
        clusters=sides(panel, np.arange(len(moments.count)) < len(panel.cohorts)),
        average=(np.nan, np.nan),
        law=Student(float(moments.count.sum() - 1)),
        notes=(*panel.notes, *cautions(panel)),
    )
    return replace(result, average=(float(slope[0]), float(result.std_error[0])))


def averaged_after(result: Estimates) -> Estimates:
    """Put the plain average over ages 0 and later in the place of the overall estimate."""
    after = (result.labels["age"].to_numpy() >= 0).astype(float)
    after /= max(after.sum(), 1)
    spread = float(np.sqrt(after @ result.covariance @ after))
    return replace(result, average=(float(after @ result.estimate), spread))


def _by_cell(
    panel: Panel, estimator: str, cells: Cells, estimate: Array, parts: Parts, notes: tuple[str, ...]
) -> Estimates:
    """Effects by cohort and period of a regression, to be averaged with the cohorts' shares held fixed."""
    count = panel.moments.count
    units, last = int(count.sum()), int(cells.period.max()) + 1
    factor = small_sample(units, units * last, len(estimate) + last)
    joint = Joint(tuple((f, factor * middle) for f, middle in parts), count / count.sum(), count, panel.cohorts)
    labels = pd.DataFrame({"cohort": panel.cohorts[cells.cohort], "period": panel.periods[cells.period]})
    result = regression_result(panel, estimator, labels, estimate, joint, n_units=count[cells.cohort])
    result = replace(
        result,
        age=panel.ages[cells.cohort, cells.period],
        clusters=sides(panel, np.arange(len(count)) <= cells.cohort.max()),
        notes=(*notes, *result.notes),
    )
    return replace(result, average=overall(result).average)
