"""Who is compared with whom, and how alike they are before the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import expit

from strategy_kit.did.balanced import TRIMMED
from strategy_kit.did.logit import logit
from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strategy_kit.panel import Panel

Array = np.ndarray


def balance(panel: Panel) -> pd.DataFrame:
    """Compare each cohort before its start with the units that it is compared with.

    These are the never treated, or where there are none, the units that start later; the last cohort then has nobody to
    be compared with and no row.

    Parameters
    ----------
    panel
        Weighted means and variances where it has weights.

    Returns
    -------
    DataFrame
        One row a cohort and measure: cohort, measure (each covariate, as it was in the first period;
        outcome_level, the mean over the periods before the start; outcome_trend, the mean over the later half of these
        less that over the earlier half, which needs two of them), treated_mean, comparison_mean,
        standardised_difference (of means, by the root of the mean of both variances; missing where neither side varies),
        variance_ratio (treated to comparison), n_units and n_comparison (units that have the measure).

    Raises
    ------
    DesignError
        If there is no cohort, none to compare it with, or a cohort starts in the first period.

    References
    ----------
    Imbens and Rubin (2015), "Causal inference for statistics, social, and biomedical sciences", section 14.2.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0, 4.0], [2.0, 4.0, 5.0], [1.0, 1.0, 2.0], [3.0, 4.0, 4.5]])
    >>> balance(Panel.from_matrix(y, treated_from=[3, 3, 0, 0])).iloc[1, 2:6].astype(float).round(3).tolist()
    [1.5, 0.5, 1.414, 1.0]
    """
    weight = _weight(panel)
    frames = []
    for g, treated, other in _sides(panel):
        rows = np.concatenate([treated, other])
        values, names = _measures(panel, rows, int(panel.starts[g]))
        low = np.fmin.reduce(values)
        sides = slice(None, len(treated)), slice(len(treated), None)
        (mean, variance, count), (base, spread, n) = (_spread((values - low)[s], weight[rows[s]]) for s in sides)
        with np.errstate(divide="ignore", invalid="ignore"):
            one = {
                "cohort": panel.cohorts[g],
                "measure": names,
                "treated_mean": low + mean,
                "comparison_mean": low + base,
                "standardised_difference": (mean - base) / np.sqrt((variance + spread) / 2),
                "variance_ratio": variance / spread,
                "n_units": count,
                "n_comparison": n,
            }
        frames.append(pd.DataFrame(one))
    return pd.concat(frames, ignore_index=True)


def overlap(panel: Panel) -> pd.DataFrame:
    """Show whether each cohort has comparison units like its own: the propensity to be in it, by the covariates.

    A logit of the cohort against its comparison units, on the covariates of the last period before the start.

    Parameters
    ----------
    panel
        With covariates. The comparison units are those of `balance`.

    Returns
    -------
    DataFrame
        Two rows a cohort: cohort, side (treated, comparison), n_side (its units), smallest, lower_quartile, median,
        upper_quartile, largest (of its units' propensities), share_outside (of the treated: above every comparison unit;
        of the comparison: below every treated one), share_trimmed (propensity of 0.995 or more, from where on a
        comparison unit counts for nothing), effective_units (units of equal weight that would be as informative as
        these with the weights that make the sides alike).

    Raises
    ------
    DesignError
        If the panel has no covariates, or these separate a cohort from its comparison units; otherwise as `balance`.

    References
    ----------
    Sant'Anna and Zhao (2020), "Doubly robust difference-in-differences estimators", equation 2.3; Kish (1965),
    "Survey sampling", for effective units.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.zeros((5, 2)), treated_from=[2, 2, 0, 0, 0])
    >>> traits = np.array([[1.0], [0.0], [1.0], [0.0], [0.0]])
    >>> overlap(replace(panel, covariates=traits, covariate_names=("large",)))["largest"].round(3).tolist()
    [0.5, 0.5]
    """
    if panel.covariates is None:
        raise DesignError("the panel has no covariates, so there is no overlap to judge; name them when it is made")
    weight = _weight(panel)
    frames, separated = [], []
    for g, treated, other in _sides(panel):
        rows = np.concatenate([treated, other])
        X = np.column_stack([np.ones(len(rows)), _covariates(panel, rows, int(panel.starts[g]) - 1)])
        inside = np.arange(len(rows)) < len(treated)
        fit = logit(X, inside.astype(float), weight[rows])
        if fit is None:
            separated.append(str(panel.cohorts[g]))
            continue
        chance = expit(X @ fit[0])
        odds = np.where(chance < TRIMMED, chance / (1 - chance), 0.0)
        own, others = chance[inside], chance[~inside]
        frames += [
            _side(panel.cohorts[g], "treated", own, weight[treated], (own > others.max()).mean()),
            _side(panel.cohorts[g], "comparison", others, weight[other] * odds[~inside], (others < own.min()).mean()),
        ]
    if separated:
        raise DesignError(
            f"covariates separate cohort {', '.join(separated)} from its comparison units, or are combinations of one "
            "another, so that there is no propensity; use fewer or coarser covariates"
        )
    return pd.DataFrame(frames)


def _weight(panel: Panel) -> Array:
    return np.ones(len(panel.units)) if panel.weight is None else panel.weight


def _sides(panel: Panel) -> Iterator[tuple[int, Array, Array]]:
    """Yield each cohort that can be compared, its rows, and those of its comparison units."""
    never = np.flatnonzero(panel.cohort < 0)
    compared = len(panel.cohorts) - (not len(never))
    if compared < 1 or panel.starts[0] < 1:
        raise DesignError(
            "a comparison needs a cohort with a period before its start, and units that start later or never; leave early ones "
            "out with panel.untreated_at_first(), or add units"
        )
    for g in range(compared):
        yield g, np.flatnonzero(panel.cohort == g), never if len(never) else np.flatnonzero(panel.cohort > g)


def _covariates(panel: Panel, rows: Array, period: int) -> Array:
    given = panel.covariates
    if given is None:
        return np.empty((len(rows), 0))
    return given[rows] if given.ndim == 2 else given[rows, period]


def _measures(panel: Panel, rows: Array, start: int) -> tuple[Array, list[str]]:
    past, half = panel.outcome[rows, :start], start // 2
    outcome = [_row_mean(past)]
    if half:
        outcome.append(_row_mean(past[:, start - half :]) - _row_mean(past[:, :half]))
    names = [*panel.covariate_names, *("outcome_level", "outcome_trend")[: len(outcome)]]
    return np.column_stack([_covariates(panel, rows, 0), *outcome]), names


def _row_mean(values: Array) -> Array:
    seen = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(seen, values, 0.0).sum(axis=1) / seen.sum(axis=1)


def _spread(values: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return mean, unbiased variance and count of each column, where it is not missing."""
    seen = ~np.isnan(values)
    weights = seen * weight[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights.sum(axis=0)
        mean = np.where(seen, weights * values, 0.0).sum(axis=0) / total
        squares = np.where(seen, weights * (values - mean) ** 2, 0.0).sum(axis=0)
        return mean, squares / (total - np.square(weights).sum(axis=0) / total), seen.sum(axis=0)


def _side(cohort: object, side: str, chance: Array, weight: Array, outside: float) -> dict[str, object]:
    names = ("smallest", "lower_quartile", "median", "upper_quartile", "largest")
    return {
        "cohort": cohort,
        "side": side,
        "n_side": len(chance),
        **dict(zip(names, np.quantile(chance, (0, 0.25, 0.5, 0.75, 1)), strict=True)),
        "share_outside": outside,
        "share_trimmed": (chance >= TRIMMED).mean(),
        "effective_units": weight.sum() ** 2 / np.square(weight).sum(),
    }
