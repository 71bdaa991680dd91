"""Effects on a mean in percent: Poisson regressions with unit and period effects, from cohort moments."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.cells import comparisons, refuse_nothing
from strategy_kit.did.fixed_effects import singular, small_sample
from strategy_kit.did.guards import cautions, refuse_no_cohort
from strategy_kit.did.regression import Inference, points_alone, refuse_not_plain
from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Ratio

if TYPE_CHECKING:
    from strategy_kit.did.cells import Cells
    from strategy_kit.panel import Panel

Array = np.ndarray
_SINGULAR = 1e-10
_NOTHING = (
    "units to compare with are lacking, or they or the treated sold nothing where they are needed, so that no percentage can "
    "be told; add units that are never treated and sell, or use longer periods"
)


def poisson(panel: Panel, *, inference: Inference = "analytic") -> Estimates:
    """Estimate one effect in percent of the mean, by Poisson regression with unit and period effects.

    The mean of the treated is compared with what it would have been, had it moved in proportion to that of the others.
    Zeros are figures like any other, and the unit of money does not matter. A Poisson law is not assumed.

    Parameters
    ----------
    panel
        Balanced, of outcomes of 0 or more, without covariates, weights and clusters; treatment assigned at merchant level.

    Returns
    -------
    Estimates
        One row: the effect as a share (0.1 is 10 percent), its interval exact on the logarithmic scale; standard error
        clustered by unit with the small-sample factor of R's fixest.

    Raises
    ------
    DesignError
        If an outcome is below 0, a side sold nothing before or after, nothing is treated, the panel is not plain, or
        treatment was assigned at category level.

    References
    ----------
    Wooldridge (2023), "Simple approaches to nonlinear difference-in-differences with panel data", section 3; Santos
    Silva and Tenreyro (2006), "The log of gravity". That unit effects need only the cohorts' means: docs/methods/poisson.md.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[2.0, 6.0], [0.0, 0.0], [4.0, 8.0]]), treated_from=[2, 2, 0])
    >>> poisson(panel).estimate.round(9).tolist()
    [0.5]
    """
    panel = _checked(panel.comparable if (panel.starts < 1).all() else panel, "poisson", inference)
    fit = _Fit(panel, _treated(panel)[:, :, None], len(panel.periods))
    covariance = fit.covariance(fit.pull, fit.between)
    effect = np.expm1(fit.slope)
    result = _result(
        panel, "poisson", fit, pd.DataFrame(index=[0]), (effect, covariance * np.outer(1 + effect, 1 + effect))
    )
    return points_alone(result, inference, 25.0)


def poisson_saturated(panel: Panel, *, inference: Inference = "analytic") -> Estimates:
    """Estimate an effect in percent for each cohort and period after its start, and the percentage of all together.

    Parameters
    ----------
    panel
        As in `poisson`; units treated from the first period on, and periods in which every unit is treated, are left out
        and counted in the notes.

    Returns
    -------
    Estimates
        Labels cohort and period, each a share of the cohort's own counterfactual mean. `glance` shows what all treated
        units sold together above what they would have sold, as a share of the latter.

    Raises
    ------
    DesignError
        As in `poisson`, and if a cohort sold nothing in a treated period.

    References
    ----------
    Wooldridge (2023), "Simple approaches to nonlinear difference-in-differences with panel data", section 3.3, proposition 3.1.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[2.0, 6.0], [0.0, 0.0], [4.0, 8.0]]), treated_from=[2, 2, 0])
    >>> round(poisson_saturated(panel).average[0], 9)
    0.5
    """
    panel = _checked(panel.comparable, "poisson_saturated", inference)
    moments = panel.moments
    cells, notes = comparisons(panel, len(moments.count), control="not_yet", anticipation=0, universal=True)
    cells = cells.only(cells.period >= panel.starts[cells.cohort])
    refuse_nothing(cells.period)
    row = np.arange(len(cells.cohort))
    sold = moments.mean[cells.cohort, cells.period]
    _refuse_silent(panel, cells)
    design = np.zeros((*moments.mean.shape, len(row)))
    design[cells.cohort, cells.period, row] = 1.0
    fit = _Fit(panel, design, int(cells.period.max()) + 1)
    effect = np.expm1(fit.slope)
    covariance = fit.covariance(fit.pull, fit.between) * np.outer(1 + effect, 1 + effect)
    labels = pd.DataFrame({"cohort": panel.cohorts[cells.cohort], "period": panel.periods[cells.period]})
    result = _result(panel, "poisson_saturated", fit, labels, (effect, covariance), cells.cohort)
    # the whole: sold over what would have been sold, both sums; sold moves by itself and through its counterfactual
    units = moments.count[cells.cohort]
    without = units * sold / (1 + effect)
    weight = without / without.sum()
    direct = np.zeros((len(moments.count), 1, moments.mean.shape[1]))
    direct[cells.cohort, 0, cells.period] = moments.count[cells.cohort] * (
        1 / (units @ sold) - 1 / (1 + effect) / without.sum()
    )
    between = fit.between @ weight[:, None] + np.einsum("gkt,gt->gk", direct, moments.mean)
    whole = fit.covariance(np.einsum("k,gkt->gt", weight, fit.pull)[:, None] + direct, between)
    ratio = float(units @ sold / without.sum())
    average = (ratio - 1, ratio * float(np.sqrt(whole[0, 0])))
    return points_alone(replace(result, average=average, notes=(*notes, *result.notes)), inference, 25.0)


class _Fit:
    """Poisson regression on cohort means, with the influence that unit effects give the units of a cohort.

    With unit effects the fitted path of a unit is its own total spread over time as its cohort's is, so that scores add
    up to those of the cohort, and the influence of a unit is linear in its path.
    """

    def __init__(self, panel: Panel, design: Array, last: int) -> None:
        from statsmodels.genmod.families import Poisson
        from statsmodels.genmod.generalized_linear_model import GLM
        from statsmodels.tools.sm_exceptions import PerfectSeparationWarning, SingularMatrixWarning

        self.moments, self.last = panel.moments, last
        count, mean = self.moments.count.astype(float), _means(panel)[:, :last]
        groups, design = len(count), design[:, :last].astype(float)
        sold = mean.sum(axis=1) > 0
        cohorts = np.repeat(np.eye(groups)[:, sold], last, axis=0)
        dummies = np.tile(np.eye(last)[:, np.flatnonzero(mean.sum(axis=0) > 0)[1:]], (groups, 1))
        flat = design.reshape(-1, design.shape[2])
        kept = (sold[:, None] & (mean.sum(axis=0) > 0)).ravel()
        every = np.hstack([flat, cohorts, dummies])[kept]
        scale = mean[sold].mean()
        model = GLM((mean.ravel() / scale)[kept], every, family=Poisson(), freq_weights=np.repeat(count, last)[kept])
        with np.errstate(divide="ignore"), warnings.catch_warnings():
            # a saturated model fits its cells exactly, and leaves no degree of freedom to its scale
            warnings.simplefilter("ignore", PerfectSeparationWarning)
            warnings.simplefilter("ignore", SingularMatrixWarning)
            fitted = model.fit(tol=1e-12, tol_criterion="params", maxiter=200)
        if not fitted.converged or fitted.fittedvalues.min() < _SINGULAR:
            raise DesignError(_NOTHING)
        self.slope = fitted.params[: flat.shape[1]]
        expected = np.zeros(groups * last)
        expected[kept] = fitted.fittedvalues * scale
        weight = expected * np.repeat(count, last)
        root = np.sqrt(weight)[:, None]
        nuisance = np.hstack([cohorts, dummies])
        common, *_ = np.linalg.lstsq(root * nuisance, root * flat, rcond=1e-12)
        left = (flat - nuisance @ common).reshape(groups, last, -1)
        gram = np.einsum("gtk,gtl,gt->kl", left, left, weight.reshape(groups, last), optimize=True)
        if singular(gram, (flat * flat).T @ weight):
            raise DesignError(_NOTHING)
        inverse = np.linalg.inv(gram)
        score = np.einsum("kl,gtl,g->gkt", inverse, left, count)
        path = expected.reshape(groups, last)
        profile = path / np.where(sold, path.sum(axis=1), 1.0)[:, None]
        self.pull = np.zeros((groups, len(self.slope), len(panel.periods)))
        self.pull[:, :, :last] = score - np.einsum("gkt,gt->gk", score, profile)[:, :, None]
        self.between = np.einsum("gkt,gt->gk", score, mean - path)
        selling = int(panel.selling[:last].sum())
        self.silent = panel.n_units - selling
        periods = int((mean.sum(axis=0) > 0).sum())
        self.factor = small_sample(selling, selling * periods, len(self.slope) + periods)

    def covariance(self, gradient: Array, between: Array) -> Array:
        """Return (K, K), clustered by unit, of estimates that a unit's whole path moves by `gradient` (G, K, T)."""
        spread = gradient @ self.moments.whole_covariance @ gradient.swapaxes(1, 2)
        spread += between[:, :, None] * between[:, None, :]
        result: Array = self.factor * np.tensordot(1 / self.moments.count, spread, axes=1)
        np.fill_diagonal(result, np.maximum(np.diag(result), 0.0))
        return result


def _refuse_silent(panel: Panel, cells: Cells) -> None:
    """Refuse cells whose counterfactual or percentage would be a ratio to nothing."""
    mean, treated = _means(panel), _treated(panel)
    periods, cohorts = np.unique(cells.period), np.unique(cells.cohort)
    untreated = np.where(treated, 0.0, mean)
    laws = [f"untreated units sold nothing in {panel.periods[t]}" for t in periods if not untreated[:, t].any()]
    laws += [f"cohort {panel.cohort_names[g]} sold nothing before its start" for g in cohorts if not untreated[g].any()]
    silent = mean[cells.cohort, cells.period] <= 0
    laws += [
        f"cohort {panel.cohort_names[g]} sold nothing in {panel.periods[t]}"
        for g, t in zip(cells.cohort[silent], cells.period[silent], strict=True)
    ]
    if laws:
        raise DesignError(
            f"{laws[0]}{f', and {len(laws) - 1} more such gaps' if len(laws) > 1 else ''}, so that no percentage can be told for "
            "each cohort and period; use longer periods or larger units, or poisson for one effect over all"
        )


def _means(panel: Panel) -> Array:
    """(G, T) mean paths, with a plain zero where nothing but rounding is left."""
    mean = panel.moments.mean
    return np.where(mean > 1e-12 * mean.max(), mean, 0.0)


def _treated(panel: Panel) -> Array:
    """(G, T) whether a cohort is treated, the never treated last."""
    never = np.zeros((len(panel.moments.count) - len(panel.cohorts), len(panel.periods)), dtype=bool)
    return np.vstack([panel.ages >= 0, never])


def _checked(panel: Panel, estimator: str, inference: Inference) -> Panel:
    refuse_not_plain(panel, estimator, inference)
    refuse_no_cohort(panel)
    if panel.negative:
        raise DesignError(
            f"{panel.negative} of {panel.n_units} units have an outcome below 0, of which no percentage can be told; take an "
            "outcome of 0 or more, such as GMV before refunds, or group_time for an effect in money"
        )
    sold = _means(panel)
    treated = _treated(panel)
    sides = {
        "treated units after their start": treated,
        "treated units before it": ~treated & treated.any(axis=1, keepdims=True),
        "units not treated": ~treated,
    }
    nothing = [name for name, side in sides.items() if not sold[side].any()]
    if nothing:
        raise DesignError(
            f"{' and '.join(nothing)} sold nothing, so that no percentage can be told; use longer periods"
        )
    return panel


def _result(
    panel: Panel,
    estimator: str,
    fit: _Fit,
    labels: pd.DataFrame,
    effect: tuple[Array, Array],
    cohort: Array | None = None,
) -> Estimates:
    count = fit.moments.count
    treated, total = int(count[: len(panel.cohorts)].sum()), int(count.sum())
    silent = f"{fit.silent} of {total} units sold nothing at all and do not count"
    return Estimates(
        estimator=estimator,
        outcome=panel.name,
        labels=labels,
        estimate=effect[0],
        spread=effect[1],
        n_units=np.array([treated]) if cohort is None else count[cohort],
        assigned_at=panel.assigned_at,
        clusters=(treated, total - treated),
        average=(float(effect[0][0]), float(np.sqrt(effect[1][0, 0]))),
        law=Ratio(),
        notes=(*panel.notes, *([silent] if fit.silent else []), *cautions(panel)),
    )
