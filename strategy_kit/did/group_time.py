"""Average effects by cohort and period, from cohort moments alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from strategy_kit.did.aggregate import overall
from strategy_kit.errors import DesignError, ParameterError, nearest, refuse, whole_number
from strategy_kit.estimates import Estimates, MomentParts

if TYPE_CHECKING:
    from strategy_kit.moments import Moments
    from strategy_kit.panel import Panel

Array = np.ndarray
Control = Literal["never", "not_yet"]
Base = Literal["varying", "universal"]
Method = Literal["regression", "weighting", "doubly_robust"]
Inference = Literal["analytic", "none"]
_FEW_UNITS = 5


@dataclass(frozen=True)
class _Cells:
    """K comparisons: outcome at `period` minus at `base`, in `cohort` minus in the cohorts marked in `control`."""

    cohort: Array  # (K,)
    period: Array  # (K,)
    base: Array  # (K,)
    control: Array  # (K, G) bool


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
        Balanced, with treatment assigned at merchant level.
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
        How covariates are adjusted for. Panels carry none yet, and without covariates the three are one estimator.
    inference
        "none" gives points without standard errors, the only choice when treatment was assigned at category level.

    Returns
    -------
    Estimates
        Labels cohort and period; analytic standard errors clustered by unit.

    Raises
    ------
    ParameterError
        If an option has none of its values.
    DesignError
        If the panel is unbalanced, has no cohort or no control, a cohort starts in the first period, or treatment was
        assigned at category level and inference is not "none".

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
    _refuse_options(
        (control, Control), (base, Base), (method, Method), (inference, Inference), anticipation=anticipation
    )
    _refuse_category_level(panel, inference)
    _refuse_no_past(panel)
    panel = panel.untreated_at_first(anticipation + 1)
    _refuse_no_cohort(panel)
    moments, starts, last = panel.moments, panel.starts, len(panel.periods)
    notes: tuple[str, ...] = ()
    if len(starts) == len(moments.count):
        starts, last, notes = _last_cohort_as_control(panel, control, anticipation)
    cells = _cells(
        starts, len(moments.count), last, control=control, anticipation=anticipation, universal=base == "universal"
    )
    estimate, parts = _moment_parts(moments, cells)
    labels = pd.DataFrame({"cohort": panel.cohorts[cells.cohort], "period": panel.periods[cells.period]})
    treated = int(moments.count[: len(starts)].sum())
    covariance = _without_fixed(parts.covariance, cells.period == cells.base)
    result = Estimates(
        estimator="group_time",
        outcome=panel.name,
        labels=labels,
        estimate=estimate,
        covariance=covariance if inference == "analytic" else np.full_like(covariance, np.nan),
        n_units=moments.count[cells.cohort],
        assigned_at=panel.assigned_at,
        clusters=(treated, int(moments.count.sum()) - treated),
        average=(np.nan, np.nan),
        parts=parts,
        notes=(*panel.notes, *notes, *_cautions(panel, moments)),
    )
    return replace(result, average=overall(result).average)


def _refuse_options(*given: tuple[str, object], anticipation: int) -> None:
    laws = []
    for value, allowed in given:
        known = get_args(allowed)
        if value not in known:
            laws.append(f"an option is one of {', '.join(known)}, not {value!r}{nearest(str(value), known)}")
    if not whole_number(anticipation, 0):
        laws.append(f"anticipation is a number of whole periods, 0 or more, not {anticipation!r}")
    refuse(ParameterError, "group_time", laws)


def _refuse_category_level(panel: Panel, inference: str) -> None:
    if panel.assigned_at == "category" and inference != "none":
        raise DesignError(
            "treatment was assigned at category level, so merchants are not independent draws and intervals clustered by "
            "merchant would be wrong about half of the time; use pilot_contrast, or inference='none' for points alone"
        )


def _refuse_no_cohort(panel: Panel) -> None:
    if not len(panel.cohorts):
        raise DesignError(
            "the panel has no treated cohort with a period before its start and anticipation; check treated_from, or begin "
            "the panel earlier"
        )


def _last_cohort_as_control(panel: Panel, control: Control, anticipation: int) -> tuple[Array, int, tuple[str, ...]]:
    starts = panel.starts
    if control == "never":
        raise DesignError(
            "no unit was never treated, so control='never' has nothing to compare with; use control='not_yet', which "
            "compares with units not treated yet"
        )
    if len(starts) == 1:
        raise DesignError(
            "the panel has one cohort and no other unit, so there is nothing to compare with; add units that start later "
            "or never"
        )
    last = int(starts[-1]) - anticipation
    note = f"no unit was never treated: the last cohort, {panel.cohorts[-1]}, serves as control until it starts"
    return starts[:-1], last, (note,)


def _refuse_no_past(panel: Panel) -> None:
    none = [str(panel.cohorts[g]) for g in np.flatnonzero(panel.starts < 1).tolist()]
    if none:
        raise DesignError(
            f"cohort {', '.join(none)} has no period before its start, so its change cannot be measured; leave its units out "
            "with panel.untreated_at_first(), or begin the panel earlier"
        )


def _cautions(panel: Panel, moments: Moments) -> tuple[str, ...]:
    names = [*map(str, panel.cohorts), "never treated"]
    small = [name for name, n in zip(names, moments.count, strict=False) if n < _FEW_UNITS]
    law = f"cohorts of fewer than {_FEW_UNITS} units ({', '.join(small)}): their standard errors say little"
    notes = [law] if small else []
    if panel.category is not None and panel.assigned_at == "merchant":
        treated = pd.Series(panel.cohort >= 0, index=panel.category.index).groupby(panel.category).any()
        if not treated.all():
            notes.append(
                f"treated units are in {int(treated.sum())} of {len(treated)} categories only, and standard errors leave out "
                "what moves whole categories; compare inside them with panel.within(...)"
            )
    return tuple(notes)


def _cells(starts: Array, n_cohorts: int, last: int, *, control: Control, anticipation: int, universal: bool) -> _Cells:
    cohort, period = (a.ravel() for a in np.meshgrid(np.arange(len(starts)), np.arange(last), indexing="ij"))
    past = starts[cohort] - anticipation - 1
    base = past if universal else np.where(period >= starts[cohort], past, period - 1)
    held = base >= 0
    cohort, period, base = cohort[held], period[held], base[held]
    begin = np.full(n_cohorts, np.iinfo(int).max)
    begin[: len(starts)] = starts
    allowed = np.tile(np.arange(n_cohorts) >= len(starts), (len(cohort), 1))
    if control == "not_yet":
        reach = np.maximum(period, base) + anticipation
        allowed = (begin[None, :] > reach[:, None]) & (np.arange(n_cohorts)[None, :] != cohort[:, None])
    return _Cells(cohort, period, base, allowed)


def _moment_parts(moments: Moments, cells: _Cells) -> tuple[Array, MomentParts]:
    share = moments.count / moments.count.sum()
    change = moments.mean[:, cells.period] - moments.mean[:, cells.base]  # (G, K)
    pooled = cells.control * share  # (K, G)
    pool = pooled.sum(axis=1)
    comparison = (pooled * change.T).sum(axis=1) / pool
    row = np.arange(len(cells.cohort))
    estimate = change[cells.cohort, row] - comparison
    weight = -pooled / pool[:, None]
    weight[row, cells.cohort] += 1.0
    within = np.zeros((len(row), len(row)))
    for g, covariance in enumerate(moments.covariance):
        used = np.flatnonzero(weight[:, g])
        spread = _difference_covariance(covariance, cells.period[used], cells.base[used])
        within[np.ix_(used, used)] += np.outer(weight[used, g], weight[used, g]) * spread / moments.count[g]
    gradient = cells.control * (comparison[:, None] - change.T) / pool[:, None]
    return estimate, MomentParts(within, gradient, share, int(moments.count.sum()))


def _difference_covariance(covariance: Array, period: Array, base: Array) -> Array:
    differenced = covariance[period] - covariance[base]
    return differenced[:, period] - differenced[:, base]


def _without_fixed(covariance: Array, fixed: Array) -> Array:
    fixed = fixed | (np.diag(covariance) <= 0)
    covariance = covariance.copy()
    covariance[fixed, :] = np.nan
    covariance[:, fixed] = np.nan
    return covariance
