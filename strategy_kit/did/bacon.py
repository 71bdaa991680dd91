"""What the two-way coefficient is made of: every comparison of two cohorts, with its weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.fixed_effects import NOTHING_TO_COMPARE
from strategy_kit.did.guards import refuse_no_cohort
from strategy_kit.did.regression import Inference, points_alone, refuse_not_plain, two_way
from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray


def bacon(panel: Panel, *, inference: Inference = "analytic") -> Estimates:
    """Split the two-way coefficient into its two-by-two comparisons.

    Comparisons with units that are treated already ("later vs earlier treated", "later vs always treated") subtract
    effects of the treatment from the effect; their weight says how far the coefficient can be trusted.

    Parameters
    ----------
    panel
        As in `two_way`.

    Returns
    -------
    Estimates
        Labels cohort, comparison (a cohort or "never treated"), type and weight; the weights add up to one. `glance` is
        `two_way`'s. `details["types"]` adds up by type: weight, and the weighted mean estimate.

    Raises
    ------
    DesignError
        As in `two_way`.

    References
    ----------
    Goodman-Bacon (2021), "Difference-in-differences with variation in treatment timing", theorem 1, equations 10a to 10g.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> bacon(panel).tidy()[["comparison", "weight", "estimate"]].to_numpy().tolist()
    [['never treated', 1.0, 2.5]]
    """
    refuse_not_plain(panel, "bacon", inference)
    refuse_no_cohort(panel)
    moments, total = panel.moments, len(panel.periods)
    start = np.append(panel.starts, [total] * (len(moments.count) - len(panel.cohorts))).astype(int)
    names = [*panel.cohort_names, "never treated"]
    rows, gradient = [], []
    for treated, begin in enumerate(start):
        for other, switch in enumerate(start):
            if begin in {0, total, switch}:
                continue
            kind, weight, path = _comparison(begin, switch, total, *moments.count[[treated, other]])
            rows.append((panel.cohorts[treated], names[other], kind, weight, moments.count[treated]))
            sides = np.zeros((len(start), total))
            sides[treated], sides[other] = path, -path
            gradient.append(sides)
    if not rows:
        raise DesignError(NOTHING_TO_COMPARE)
    labels = pd.DataFrame(rows, columns=["cohort", "comparison", "type", "weight", "units"])
    labels["weight"] /= labels["weight"].sum()
    estimate, covariance = moments.linear(np.stack(gradient, axis=1))
    whole = two_way(panel, inference=inference)
    types = labels.assign(estimate=estimate * labels["weight"]).groupby("type", sort=True)[["weight", "estimate"]].sum()
    types["estimate"] /= types["weight"]
    result = Estimates(
        estimator="bacon",
        outcome=panel.name,
        labels=labels.drop(columns="units"),
        estimate=estimate,
        spread=covariance,
        n_units=labels["units"].to_numpy(),
        assigned_at=panel.assigned_at,
        clusters=whole.clusters,
        average=whole.average,
        law=Student(float(moments.count.sum() - 1)),
        details={"types": types.reset_index()},
        notes=whole.notes,
    )
    return points_alone(result, inference, panel.scale)


def _comparison(begin: int, switch: int, total: int, treated: int, other: int) -> tuple[str, float, Array]:
    """Type, weight up to a factor, and path (T,) of two cohorts of sizes `treated` and `other` that start at these positions.

    An earlier start as comparison leaves the periods in which that cohort is treated already.
    """
    first, last = (switch, total) if switch < begin else (0, switch)
    window = last - first
    late = (last - begin) / window
    weight = (window / total) ** 2 * treated * other * late * (1 - late)
    kind = "treated vs never treated" if switch == total else "earlier vs later treated"
    if switch < begin:
        kind = "later vs always treated" if switch == 0 else "later vs earlier treated"
    path = np.zeros(total)
    path[begin:last], path[first:begin] = 1 / (last - begin), -1 / (begin - first)
    return kind, weight, path
