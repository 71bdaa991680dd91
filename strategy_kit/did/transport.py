"""What the piloted categories say on a category that was not piloted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.inference import Student
from strategy_kit.pooling import heterogeneity, random_effects

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.pooling import Between, RandomEffects

Array = np.ndarray
_LEAST, FURTHER = 3, 3
LEVEL = 0.95


def new_category(effects: Estimates, *, between: Between = "paule_mandel") -> Estimates:
    """Pool the effects of categories that differ, and predict the effect in one that was not tried.

    Effects of categories are taken for draws from a normal population, to which the new category belongs too: nothing in the
    data can show that it does. Their errors are taken as known.

    Parameters
    ----------
    effects
        One row a category, as of `category_effects`; what their errors share is taken from the covariance.
    between
        How the spread of true effects is estimated, see `pooling.random_effects`.

    Returns
    -------
    Estimates
        Label scope: average (mean of the population, with Hartung and Knapp's interval, never narrower than with a known
        spread, and K − 1 degrees of freedom) and new (the effect in a further category, with K − 2). `details` has "spread"
        (tau; heterogeneity, Cochran's Q, with its degrees of freedom and p-value), "left_out" (both without each category in
        turn) and "further" (the interval of a new category and its width relative to today's, were 1 to 3 more piloted that
        spread alike and are measured alike). The last note says how much the categories constrain a new one.

    Raises
    ------
    ParameterError
        If rows have more than one label, or `between` is not known.
    DesignError
        If there are fewer than three categories, or errors are missing, 0 or fully shared.

    References
    ----------
    Röver, Knapp and Friede (2015), "Hartung-Knapp-Sidik-Jonkman approach and its modification for random-effects meta-analysis
    with few studies"; Higgins, Thompson and Spiegelhalter (2009), "A re-evaluation of random-effects meta-analysis".

    Examples
    --------
    >>> from strategy_kit.did.categories import category_effects
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2, 4, 4], [5, 4, 7, 8], [2, 2, 6, 7], [1, 0, 1, 0], [2, 2, 2, 3], [3, 4, 2, 4]])
    >>> result = new_category(category_effects(Panel.from_matrix(y, treated_from=[3, 3, 3, 0, 0, 0])))
    >>> result.tidy()[["scope", "estimate", "conf_low", "conf_high"]].round(1).to_numpy().tolist()
    [['average', 3.4, 0.5, 6.3], ['new', 3.4, -12.1, 18.9]]
    """
    if effects.labels.shape[1] != 1:
        raise ParameterError(
            f"effects have one row a category, but labels {', '.join(map(str, effects.labels.columns))}; take category_effects"
        )
    value, covariance, names = effects.estimate, effects.covariance, effects.labels.iloc[:, 0]
    if len(value) < _LEAST:
        raise DesignError(f"{len(value)} categories say nothing on another one; it takes {_LEAST}")
    pooled = random_effects(value, covariance, between=between)
    further = _further(pooled, value, covariance)
    surplus, freedom = heterogeneity(value, covariance), len(value) - 1
    spread = {"tau": [pooled.tau], "heterogeneity": [surplus], "degrees_of_freedom": [float(freedom)]}
    return replace(
        effects,
        estimator="new_category",
        labels=pd.DataFrame({"scope": ["average", "new"]}),
        estimate=np.full(2, pooled.mean),
        spread=np.diag([pooled.std_error**2, pooled.tau**2 + pooled.model_error**2]),
        n_units=np.full(2, effects.n_units.sum()),
        average=(pooled.mean, pooled.std_error),
        law=(pooled.law, Student(float(freedom - 1))),
        average_law=pooled.law,
        details={
            "spread": pd.DataFrame(spread | {"p_value": [float(chdtrc(freedom, surplus))]}),
            "left_out": _left_out(value, covariance, names, between),
            "further": further,
        },
        notes=(*effects.notes, _statement(pooled, value, further)),
    )


def _row(pooled: RandomEffects) -> dict[str, float]:
    (low, high), (new_low, new_high) = pooled.interval(LEVEL), pooled.predicted(LEVEL)
    ends = {"conf_low": low, "conf_high": high, "predicted_low": new_low, "predicted_high": new_high}
    return {"estimate": pooled.mean, **ends}


def _left_out(value: Array, covariance: Array, names: pd.Series, between: Between) -> pd.DataFrame:
    """Return mean and prediction without each category; two that are left predict nothing."""
    rows = []
    for at, name in enumerate(names):
        rest = np.delete(np.arange(len(value)), at)
        rows.append(
            {"left_out": name, **_row(random_effects(value[rest], covariance[np.ix_(rest, rest)], between=between))}
        )
    return pd.DataFrame(rows)


def _further(pooled: RandomEffects, value: Array, covariance: Array) -> pd.DataFrame:
    """Return the interval of a new category with more pilots, whose errors are as today's are on average."""
    size, rows = len(value), []
    own, tied = np.trace(covariance) / size, (covariance.sum() - np.trace(covariance)) / size / (size - 1)
    for more in range(FURTHER + 1):
        whole = np.full((size + more, size + more), tied)
        whole[np.diag_indices(size + more)] = own
        whole[:size, :size] = covariance
        weights = np.linalg.solve(whole + pooled.tau**2 * np.eye(size + more), np.ones(size + more))
        later = replace(pooled, size=size + more, model_error=float(weights.sum() ** -0.5))
        low, high = later.predicted(LEVEL)
        rows.append({"categories": size + more, "predicted_low": low, "predicted_high": high})
    frame = pd.DataFrame(rows)
    width = frame["predicted_high"] - frame["predicted_low"]
    return frame.assign(relative_width=width / width[0])


def _statement(pooled: RandomEffects, value: Array, further: pd.DataFrame) -> str:
    """Say what the interval of a new category leaves open, and what more pilots would change."""
    low, high = pooled.predicted(LEVEL)
    away = pooled.mean - low
    if away >= 2 * abs(pooled.mean):
        said = f"{pooled.size} categories hardly constrain a new one, whose effect may be three times the average or its opposite"
    elif low <= 0 <= high:
        said = f"{pooled.size} categories do not settle the sign of the effect in a new one"
    else:
        said = f"{pooled.size} categories settle the sign of the effect in a new one"
    share, span = further["relative_width"], np.ptp(value)
    wide = (
        f"{(high - low) / span:.1f} times the span of the effects seen" if span > 0 else "those seen were all the same"
    )
    return (
        f"{said} (95 % interval from {low:.4g} to {high:.4g}, {wide}); with {pooled.size + 1} it would be {1 - share[1]:.0%} "
        f"narrower, with {pooled.size + 2} {1 - share[2]:.0%}, were they to spread alike"
    )
