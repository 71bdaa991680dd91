"""What came back for each yuan of cost, both uncertain."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError, refuse, seed_laws
from strategy_kit.inference import Student
from strategy_kit.ratio import fieller

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates

Array = np.ndarray
DRAWS = 9_999


def return_per_yuan(ladder: Estimates, level: float = 0.95, *, seed: int = 0) -> pd.DataFrame:
    """Divide revenue by cost: what came back for each yuan, and the chance that all of it did.

    Parameters
    ----------
    ladder
        Of `gross_to_net` with a take rate and a cost.
    level
        Coverage of the intervals.
    seed
        Of the draws, 9,999 of each kind.

    Returns
    -------
    DataFrame
        One row a method, with estimate, conf_low, conf_high, form, break_even (chance that revenue exceeds the cost) and
        distinct_draws. *fieller*, the headline: the ratios that a t test with the degrees of freedom of revenue does not
        refuse; its form is bounded, outside (all but what lies between conf_low and conf_high) or everything; its chance
        is that of the t law. *parametric*: revenue drawn from its t law and cost from the normal one. *bootstrap*:
        categories of each side drawn with replacement; with three pilots there are ten different draws of them
        (distinct_draws), so that its interval is too short. Both leave their ends open where a cost of 0 was drawn.

    Raises
    ------
    ParameterError
        If the ladder has no revenue or no cost, or `level` or `seed` is not one.

    References
    ----------
    Fieller (1954), "Some problems in interval estimation"; Efron and Tibshirani (1993), "An introduction to the bootstrap".

    Examples
    --------
    >>> from strategy_kit.did import gross_to_net
    >>> from strategy_kit.panel import Panel
    >>> sales = np.array([[10.0, 14], [30, 31], [20, 26], [20, 20], [40, 40], [40, 41], [40, 41]])
    >>> panel = Panel.from_matrix(sales, treated_from=[2] * 4 + [0] * 3, category=list("aabbxyz"))
    >>> marks = [True, False, True, False, False, False, False]
    >>> ladder = gross_to_net(panel, marks, take_rate=0.1, cost=0.5, cost_error=0.05)
    >>> return_per_yuan(ladder)[["method", "estimate", "form", "break_even"]].round(2).to_numpy().tolist()[0]
    ['fieller', 1.93, 'bounded', 0.96]
    """
    ladder.tidy(level)
    refuse(ParameterError, "return_per_yuan", seed_laws(seed))
    (revenue, error, law), (cost, cost_error, _) = (_rung(ladder, name) for name in ("revenue", "cost"))
    random = np.random.default_rng(seed)
    low, high, form = fieller(revenue, cost, np.diag([error, cost_error]) ** 2, law=law, level=level)
    chance = 1 - law.p_value(np.array([revenue - cost]), np.array([np.hypot(error, cost_error)]))[0] / 2
    paid = cost + cost_error * random.standard_normal(DRAWS)
    drawn = [revenue + error * random.standard_t(law.degrees_of_freedom, DRAWS), _resampled(ladder, random)]
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends = np.array([[low, high], *(np.quantile(earned / paid, tails) for earned in drawn)])
    drawn_form = "bounded"
    if (paid <= 0).any():  # quotients on both sides of a pole have no quantiles that mean anything
        ends[1:], drawn_form = [-np.inf, np.inf], "everything"
    pilots = ladder.clusters[0]
    return pd.DataFrame(
        {
            "method": ["fieller", "parametric", "bootstrap"],
            "estimate": revenue / cost,
            "conf_low": ends[:, 0],
            "conf_high": ends[:, 1],
            "form": [str(form), drawn_form, drawn_form],
            "break_even": [
                chance if revenue > cost else 1 - chance,
                *(float((earned > paid).mean()) for earned in drawn),
            ],
            "distinct_draws": [np.nan, DRAWS, comb(2 * pilots - 1, pilots)],
        }
    )


def _rung(ladder: Estimates, name: str) -> tuple[float, float, Student]:
    at = np.flatnonzero(ladder.labels.get("rung", pd.Series(dtype=object)) == name)
    law = ladder.law[at[0]] if len(at) and isinstance(ladder.law, tuple) else None
    if not isinstance(law, Student):
        raise ParameterError(f"a return needs {name}; give take_rate and cost to gross_to_net")
    return float(ladder.estimate[at[0]]), float(np.nan_to_num(ladder.std_error[at[0]])), law


def _resampled(ladder: Estimates, random: np.random.Generator) -> Array:
    """Return draws of revenue, with each side's categories drawn anew."""
    groups = ladder.details["groups"]
    sides = [groups.loc[groups["treated"] == side, "revenue"].to_numpy() for side in (True, False)]
    means = [side[random.integers(len(side), size=(DRAWS, len(side)))].mean(axis=1) for side in sides]
    result: Array = means[0] - means[1]
    return result
