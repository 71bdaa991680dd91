"""Stacked experiments: one clean comparison a cohort, weighted so that every age averages over the same treated units."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.fixed_effects import NOTHING_TO_COMPARE, Stack, fixed_effects, small_sample
from strategy_kit.did.guards import refuse_no_cohort, sides
from strategy_kit.did.regression import Inference, averaged_after, points_alone, refuse_not_plain, regression_result
from strategy_kit.errors import DesignError, ParameterError, whole_number
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray


def stacked(
    panel: Panel, *, before: int | None = None, after: int | None = None, inference: Inference = "analytic"
) -> Estimates:
    """Stack one clean experiment a cohort and regress on ages, comparison units weighted as the treated are spread.

    A cohort's experiment holds its units and those that do not start by the end of its window. The weights make the
    average over cohorts that of the treated units, the same at every age.

    Parameters
    ----------
    panel
        As in `two_way`.
    before, after
        Periods of the window before the start, at least 1, and after its first period; by default the longest that all
        cohorts have. Cohorts without a whole window are left out and named in the notes.

    Returns
    -------
    Estimates
        Label age, the base −1 left out. `glance` shows the plain average over ages 0 and later. Clustered by unit, over
        all the experiments that a unit takes part in.

    Raises
    ------
    ParameterError
        If a window is no whole number, or no cohort has it.
    DesignError
        As in `two_way`.

    References
    ----------
    Wing, Freedman and Hollingsworth (2024), "Stacked difference-in-differences", section 3 (corrective weights).

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]), treated_from=[3, 0, 0])
    >>> stacked(panel, before=2, after=0).tidy()["age"].tolist()
    [-2, 0]
    """
    refuse_not_plain(panel, "stacked", inference)
    panel = panel.comparable
    refuse_no_cohort(panel)
    moments, starts, total = panel.moments, panel.starts, len(panel.periods)
    if len(moments.count) == 1:
        raise DesignError(NOTHING_TO_COMPARE)
    _refuse_uneven(panel)
    never = len(moments.count) > len(starts)
    own = starts if never else starts[:-1]
    before = int(own.min(initial=total)) if before is None else before
    open_until = total if never else int(starts[-1])
    after = int(open_until - 1 - own.max(initial=0)) if after is None else after
    if not (whole_number(before, 1) and whole_number(after, 0)):
        raise ParameterError(
            f"a window has at least 1 period before the start and 0 after, not {before!r} and {after!r}"
        )
    begin = np.append(starts, [total + after + 1] * never)
    whole = (starts >= before) & (starts + after < total)
    held = [g for g in np.flatnonzero(whole).tolist() if (begin > starts[g] + after).any()]
    if not held:
        raise ParameterError(
            f"no cohort has {before} periods before its start and {after} after; take a shorter window"
        )
    ages = np.setdiff1d(np.arange(-before, after + 1), [-1])
    clean = np.stack([begin > starts[g] + after for g in held])
    treated, control = moments.count[held], clean @ moments.count
    # in the whole stack a control weighs as if its experiment had the share of controls that it has of the treated
    weight = clean * (treated / treated.sum() * control.sum() / control)[:, None]
    weight[np.arange(len(held)), held] = 1.0
    stacks = [_experiment(panel, begin, g, ages, weight[n]) for n, g in enumerate(held)]
    slope, covariance, *_ = fixed_effects(moments, stacks)
    width = before + after + 1
    taking_part = int(moments.count[(weight > 0).any(axis=0)].sum())
    rows = int((weight > 0).sum(axis=0) @ moments.count) * width
    covariance *= small_sample(taking_part, rows, len(ages) + width * len(held))
    counts = [int(treated.sum())] * len(ages)
    result = regression_result(
        panel, "stacked", pd.DataFrame({"age": ages * panel.step}), slope, covariance, n_units=counts
    )
    result = replace(result, clusters=_sides(panel, held, weight), law=Student(float(taking_part - 1)))
    out = [panel.cohort_names[g] for g in range(len(starts)) if g not in held]
    notes = [f"window of {before} periods before and {after} after the start"]
    notes += [f"cohorts without a whole window and a clean comparison, left out: {', '.join(out)}"] if out else []
    return points_alone(averaged_after(replace(result, notes=(*result.notes, *notes))), inference, panel.scale)


def _refuse_uneven(panel: Panel) -> None:
    if not panel.step:
        raise DesignError(
            "windows need periods that are equally spaced; fill in the periods that are missing, or use group_time"
        )
    if between := [name for name, at in zip(panel.cohort_names, panel.cohorts, strict=True) if at not in panel.periods]:
        raise DesignError(
            f"stacked: cohorts {', '.join(between)} start between two periods, so that their ages are not those of the others; "
            "give starts that are periods, or use group_time"
        )


def _sides(panel: Panel, held: list[int], weight: Array) -> tuple[int, int]:
    own = np.isin(np.arange(weight.shape[1]), held)
    return sides(panel, own, (weight > 0).any(axis=0) & ~own)


def _experiment(panel: Panel, begin: Array, own: int, ages: Array, weight: Array) -> Stack:
    """One cohort in its window, against all that start after it."""
    age = np.arange(len(panel.periods)) - begin[own]
    design = np.zeros((len(begin), len(age), len(ages)))
    design[own] = age[:, None] == ages
    seen = np.broadcast_to((age >= min(ages[0], -1)) & (age <= max(ages[-1], -1)), (len(begin), len(age)))
    return Stack(design, seen, weight)
