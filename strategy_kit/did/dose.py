"""Dose and response: the effect by band of dose, and the slope of the effect on dose."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.collapsed import by_unit, collapsed, described, few, fitted
from strategy_kit.did.guards import known_errors
from strategy_kit.errors import DesignError, ParameterError, refuse, whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.did.collapsed import Changes
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
_ASSUMED = (
    "bands are effects of the dose that their units had, under parallel trends; comparing bands, or reading the slope as what "
    "more dose would do, needs strong parallel trends: at each dose, its units gain what all treated units would"
)


def dose_response(panel: Panel, dose: pd.Series, *, edges: Sequence[float], degree: int = 1) -> Estimates:
    """Estimate the average effect on the units of each band of dose, ATT(d | d), and its slope on dose.

    Each treated unit's mean over its treated periods, less the period before its start, is set against the mean change
    of the never treated over the same periods.

    Parameters
    ----------
    panel
        Balanced, with treatment assigned at merchant level. Weights and clusters are used.
    dose
        Indexed by unit, in one measure such as CNY: above 0 for treated units, 0 or missing for the others.
    edges
        Edges of the bands, ascending, declared before looking at results; a band holds its upper edge.
    degree
        Of the polynomial of effect on dose among treated units.

    Returns
    -------
    Estimates
        Labels dose_low and dose_high; `glance` is the mean over treated units. `details["slope"]`, in units of the
        outcome per unit of dose, has the slope `at` the "mean_dose" and its average over "all_doses".

    Raises
    ------
    ParameterError
        If edges do not ascend from 0 or more, or the degree is not 1 or more.
    DesignError
        If the panel or the doses break one of their laws; all at once.

    References
    ----------
    Callaway, Goodman-Bacon and Sant'Anna (2024), "Difference-in-differences with a continuous treatment", theorem 3.1
    (levels), theorem 3.2 (why the slope needs more), theorem 3.3 and corollary 3.1 (slope under strong parallel trends).

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 3.0], [1.0, 4.0], [2.0, 7.0], [0.0, 1.0], [3.0, 4.0]])
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, 2, 0, 0])
    >>> result = dose_response(panel, pd.Series([1.0, 2.0, 4.0]), edges=[0, 2, 5])
    >>> result.tidy()[["dose_low", "dose_high", "estimate", "n_units"]].to_numpy().tolist()
    [[0.0, 2.0, 1.5, 2.0], [2.0, 5.0, 4.0, 1.0]]
    >>> result.details["slope"]["estimate"].round(9).tolist()
    [1.0, 1.0]
    """
    bounds = _bounds(edges, degree)
    changes = collapsed(panel, "dose_response")
    given, outside = by_unit(dose, panel.units, "dose")
    amount = _amounts(panel, given, bounds, degree)
    code = np.searchsorted(bounds, amount, side="left") - 1
    held = np.unique(code)
    labels = pd.DataFrame({"dose_low": bounds[held], "dose_high": bounds[held + 1]})
    result = fitted(panel, changes, "dose_response", labels, (code[:, None] == held).astype(float))
    empty = [f"{bounds[k]:g} to {bounds[k + 1]:g}" for k in range(len(bounds) - 1) if k not in held]
    absent = (f"bands of dose without a treated unit, left out: {', '.join(empty)}",) if empty else ()
    names = [f"{low:g} to {high:g}" for low, high in labels.to_numpy()]
    notes = (*result.notes, *outside, *absent, *few("bands", names, result.n_units), _ASSUMED)
    return replace(result, details={"slope": _slope(changes, amount, degree, panel.scale)}, notes=notes)


def _bounds(edges: Sequence[float], degree: int) -> Array:
    bounds = np.asarray(edges, dtype=float)
    laws = []
    if bounds.ndim != 1 or len(bounds) < 2 or bounds[0] < 0 or not (np.diff(bounds) > 0).all():
        laws.append(f"edges are two or more ascending doses from 0 on, not {edges!r}")
    if not whole_number(degree, 1):
        laws.append(f"degree is a whole number, 1 or more, not {degree!r}")
    refuse(ParameterError, "dose_response", laws)
    return bounds


def _amounts(panel: Panel, given: pd.Series, bounds: Array, degree: int) -> Array:
    value, treated = pd.to_numeric(given, errors="coerce").to_numpy(float), panel.cohort >= 0
    none = treated & ~(np.isfinite(value) & (value > 0))
    stray = ~treated & given.notna().to_numpy() & (value != 0)
    amount = value[treated & ~none]
    beyond = (amount <= bounds[0]) | (amount > bounds[-1])
    laws = [
        f"{int(wrong.sum())} {who} (first: {panel.units[wrong][0]}); {remedy}"
        for wrong, who, remedy in (
            (none, "treated units have no finite dose above 0", "give it, or leave them out with panel.only"),
            (stray, "units were never treated but have a dose", "set it to 0, or correct treated_from"),
        )
        if wrong.any()
    ]
    if beyond.any():
        laws.append(
            f"{int(beyond.sum())} treated units have a dose outside the bands ({amount.min():g} to {amount.max():g} in all); "
            "declare edges that hold every dose"
        )
    if (distinct := len(np.unique(amount))) <= degree:
        laws.append(
            f"a slope of degree {degree} needs {degree + 1} different doses, but there are {distinct}; lower the degree, or "
            "use group_time where all have one dose"
        )
    refuse(DesignError, "dose", laws)
    return amount


def _slope(changes: Changes, amount: Array, degree: int, size: float) -> pd.DataFrame:
    share = changes.weight[changes.treated] / changes.weight[changes.treated].sum()
    centre = share @ amount
    scale = np.sqrt(share @ (amount - centre) ** 2)
    distance, power = (amount - centre) / scale, np.arange(degree + 1)
    coefficient, influence = changes.regressed(distance[:, None] ** power)
    derivative = power * distance[:, None] ** np.maximum(power - 1, 0) / scale
    gradient = np.stack([np.eye(degree + 1)[1] / scale, share @ derivative])
    estimate, influence = gradient @ coefficient, influence @ gradient.T
    # The mean dose and the spread of doses are estimates too.
    bend = 2 * coefficient[2] / scale if degree > 1 else 0.0
    own = np.column_stack([bend * distance, derivative @ coefficient - estimate[1]])
    influence[changes.treated] += share[:, None] * own
    labels = pd.DataFrame({"at": ["mean_dose", "all_doses"], "dose": [centre, centre]})
    return described(labels, estimate, known_errors(changes.errors(influence), size / scale)).assign(
        n_units=len(amount)
    )
