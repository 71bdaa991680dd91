"""The same estimate in each of several groups, partially pooled, and without each of them in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.collapsed import by_unit, described
from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student, StudentByRow
from strategy_kit.pooling import heterogeneity, posterior, predicted, shrunken, spread_between

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strategy_kit.inference import BandLaw, IntervalLaw, OwnBand
    from strategy_kit.panel import Panel

Array = np.ndarray
_LEAST, _LEAST_POOLED = 2, 3


def by_group(panel: Panel, groups: pd.Series, estimate: Callable[[Panel], Estimates]) -> Estimates:
    """Estimate the effect within each group's own units, and pool the groups in part.

    Parameters
    ----------
    panel
        Whatever `estimate` takes.
    groups
        Band or category of each unit, indexed by unit; declared before looking at results. Units without one are left
        out and counted in the notes.
    estimate
        From the panel of a group to its estimates, whose overall average (as `glance` shows it) becomes the group's row.

    Returns
    -------
    Estimates
        Label group; groups share no unit, so their covariance is diagonal. `glance` weighs them by treated units.
        `details` has, for three groups or more, "pooled" (mean of the population of groups, with a t interval; predicted
        interval of a further group's effect; tau, the spread of effects between groups; heterogeneity, Cochran's Q, with its
        degrees of freedom and p-value; heterogeneity_share, I2) and "shrunken" (each group drawn towards the others;
        own_weight is what its own data keep).

    Raises
    ------
    DesignError
        If there are fewer than two groups, they cut through clusters, or `estimate` refuses all of them; what it refuses
        on a panel assigned at category level is passed on.

    References
    ----------
    Paule and Mandel (1982), "Consensus values and weighting factors" (tau); Röver, Knapp and Friede (2015),
    "Hartung-Knapp-Sidik-Jonkman approach and its modification for random-effects meta-analysis with few studies" (the
    t interval; its factor is 1 for this tau); Higgins and Thompson (2002), "Quantifying heterogeneity in a
    meta-analysis" (I2); Gelman et al. (2013), "Bayesian data analysis", section 5.4, equations 5.17 to 5.21 (shrunken
    and predicted, averaged over tau with a flat prior).

    Examples
    --------
    >>> from strategy_kit.did import group_time
    >>> from strategy_kit.panel import Panel
    >>> y = np.c_[np.zeros(12), [3.0, 5, 1, 2, 2, 3, 0, 1, 5, 6, 1, 3]]
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, 0, 0] * 3)
    >>> result = by_group(panel, pd.Series(["large"] * 4 + ["middle"] * 4 + ["small"] * 4), group_time)
    >>> result.tidy()[["group", "estimate"]].to_numpy().tolist()
    [['large', 2.5], ['middle', 2.0], ['small', 3.5]]
    >>> result.details["shrunken"]["estimate"].round(1).tolist()
    [2.5, 2.1, 3.1]
    """
    if panel.assigned_at == "category":
        estimate(panel)
    code, names, notes = _grouped(panel, groups)
    if panel.cluster is not None:
        inside = code >= 0
        _refuse_cut(panel.cluster[inside], code[inside])
    held = {name: code == g for g, name in enumerate(names)}
    result = _each(panel, "group", held, estimate)
    share = result.n_units / result.n_units.sum()
    average = (float(share @ result.estimate), float(np.sqrt(share**2 @ np.diag(result.covariance))))
    details, unpooled = _pooled(result)
    return replace(
        result,
        estimator="by_group",
        average=average,
        average_law=_averaged(result, share),
        details=details,
        notes=(*notes, *result.notes, *unpooled),
    )


def leave_one_out(panel: Panel, groups: pd.Series, estimate: Callable[[Panel], Estimates]) -> Estimates:
    """Estimate the effect again without each group in turn, to see whether one of them carries it.

    Parameters
    ----------
    panel
        Whatever `estimate` takes.
    groups
        Group of each unit, indexed by unit; units without one stay in every row.
    estimate
        From a panel to its estimates, whose overall average (as `glance` shows it) becomes a row.

    Returns
    -------
    Estimates
        Label left_out, and the diagonal of the covariance only. `glance` is the estimate with every unit, and
        `details["whole"]` has it beside each row, with the shift: the row less the whole.

    Raises
    ------
    DesignError
        If there are fewer than two groups, or `estimate` refuses the whole panel or every row.

    References
    ----------
    Viechtbauer and Cheung (2010), "Outlier and influence diagnostics for meta-analysis".

    Examples
    --------
    >>> from strategy_kit.did import group_time
    >>> from strategy_kit.panel import Panel
    >>> y = np.c_[np.zeros(8), [3.0, 5, 1, 2, 2, 3, 0, 1]]
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, 0, 0] * 2)
    >>> result = leave_one_out(panel, pd.Series(["large"] * 4 + ["small"] * 4), group_time)
    >>> result.details["whole"][["left_out", "estimate", "shift"]].to_numpy().tolist()
    [['large', 2.25, -0.25], ['small', 2.25, 0.25]]

    Where categories are the units, each of them is a group:

    >>> from strategy_kit.did import pilot_contrast
    >>> pilots = Panel.from_matrix(y, treated_from=[2, 2, 2, 0, 0, 0, 0, 0], units=list("abcdefgh"))
    >>> leave_one_out(pilots, pd.Series(pilots.units, index=pilots.units), pilot_contrast).estimate.round(2).tolist()
    [1.4, 0.4, 2.4, 1.5, 1.5, 1.75, 1.0, 1.25]
    """
    whole = estimate(panel)
    code, names, notes = _grouped(panel, groups)
    result = _each(panel, "left_out", {name: code != g for g, name in enumerate(names)}, estimate)
    value, error = whole.average
    beside = result.labels.assign(estimate=value, std_error=error, shift=result.estimate - value)
    shared = (
        "rows share most of their units: covariances between rows are not estimated, and bands are wider than need be"
    )
    return replace(
        result,
        estimator="leave_one_out",
        average=whole.average,
        average_law=whole.law_of_average,
        clusters=whole.clusters,
        details={"whole": beside},
        notes=(*notes, *result.notes, shared),
    )


def _grouped(panel: Panel, groups: pd.Series) -> tuple[Array, pd.Index, tuple[str, ...]]:
    given, outside = by_unit(groups, panel.units, "groups")
    code, names = pd.factorize(given, sort=True)
    if len(names) < _LEAST:
        raise DesignError(
            f"groups are two or more, but the units of the panel have {len(names)}; use the estimator alone"
        )
    none = int((code < 0).sum())
    return code, pd.Index(names), (*panel.notes, *outside, *([f"units without a group: {none}"] if none else []))


def _refuse_cut(cluster: Array, code: Array) -> None:
    cut = int((np.bincount(np.unique(np.stack([cluster, code]), axis=1)[0]) > 1).sum())
    if cut:
        raise DesignError(
            f"{cut} clusters have units in several groups, so that groups are not independent; group whole clusters"
        )


def _each(panel: Panel, label: str, held: Mapping[object, Array], estimate: Callable[[Panel], Estimates]) -> Estimates:
    """Return one row for each part of the panel that `estimate` does not refuse."""
    results: dict[object, Estimates] = {}
    notes, what = list[str](), label.replace("_", " ")
    for name, units in held.items():
        try:
            results[name] = estimate(panel.only(units))
        except DesignError as refusal:
            notes.append(f"no row for {what} {name}: {refusal}")
            continue
        notes += [f"{what} {name}: {note}" for note in results[name].notes if note not in panel.notes]
    if not results:
        raise DesignError("no group can be estimated, so there is nothing to compare; " + "; ".join(notes))
    value, error = np.array([result.average for result in results.values()]).T
    count = np.array([result.clusters for result in results.values()])
    laws = tuple(result.law_of_average for result in results.values())
    return Estimates(
        estimator=label,
        outcome=next(iter(results.values())).outcome,
        labels=pd.DataFrame({label: list(results)}),
        estimate=value,
        spread=np.diag(error**2),
        n_units=count[:, 0],
        assigned_at=panel.assigned_at,
        clusters=(int(count[:, 0].sum()), int(count[:, 1].sum())),
        average=(np.nan, np.nan),
        law=_together(laws),
        notes=tuple(notes),
    )


def _together(laws: tuple[IntervalLaw, ...]) -> BandLaw | OwnBand | tuple[IntervalLaw, ...]:
    """Return one law of all rows, so that they have a band, where each row's is Student's."""
    freedom = [law.degrees_of_freedom for law in laws if isinstance(law, Student)]
    if len(freedom) < len(laws):
        return laws
    return StudentByRow(np.array(freedom)) if np.isfinite(freedom).any() else Student()


def _averaged(rows: Estimates, share: Array) -> Student | None:
    """Return the law of the average of rows with degrees of freedom of their own, Satterthwaite's."""
    if not isinstance(rows.law, StudentByRow):
        return None
    part = share**2 * np.diag(rows.covariance)
    return Student(float(part.sum() ** 2 / (part**2 / rows.law.degrees_of_freedom).sum()))


def _pooled(rows: Estimates) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    usable = np.isfinite(rows.std_error) & (rows.std_error > 0)
    value, variance, freedom = rows.estimate[usable], rows.std_error[usable] ** 2, int(usable.sum()) - 1
    if freedom + 1 < _LEAST_POOLED:
        return {}, (f"nothing is pooled: {freedom + 1} groups have a standard error, and it takes {_LEAST_POOLED}",)
    tau = np.sqrt(spread_between(value, variance))
    precision = 1 / (variance + tau**2)
    mean, error = np.array([precision @ value / precision.sum()]), np.array([precision.sum() ** -0.5])
    surplus = heterogeneity(value, variance)
    law = Student(float(freedom))
    known = posterior(value, variance)
    pooled = described(pd.DataFrame(index=[0]), mean, error, law).assign(
        predicted_low=predicted(known, 0.025),
        predicted_high=predicted(known, 0.975),
        tau=tau,
        heterogeneity=surplus,
        degrees_of_freedom=float(freedom),
        p_value=_upper_tail(freedom, surplus),
        heterogeneity_share=max(0.0, 1 - freedom / surplus) if surplus > 0 else 0.0,
    )
    centre, spread, own_weight = shrunken(value, variance, known)
    drawn = described(rows.labels[usable].reset_index(drop=True), centre, spread).assign(own_weight=own_weight)
    lacking = int((~usable).sum())
    note = (f"groups without a standard error, left out of the pooling: {lacking}",) if lacking else ()
    return {"pooled": pooled, "shrunken": drawn}, note


def _upper_tail(freedom: int, statistic: float) -> float:
    from scipy.special import chdtrc

    return float(chdtrc(freedom, statistic))
