"""Several levers at once: what each adds, what their combinations did, and whether the two agree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.collapsed import by_unit, collapsed, described, few, fitted
from strategy_kit.did.guards import FEW, known_errors
from strategy_kit.errors import DesignError, refuse

if TYPE_CHECKING:
    from strategy_kit.did.collapsed import Changes
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
_ASSUMED = (
    "effects of levers add up by assumption, and each is counted from the start of the unit's first lever; details['bundles'] "
    "holds the mean of each combination, which needs no sums"
)


def lever_effects(panel: Panel, levers: pd.DataFrame) -> Estimates:
    """Estimate what each of several overlapping levers adds to the change of the units that have it.

    Each treated unit's mean over its treated periods, less the period before its first lever, is set against the mean
    change of the never treated over the same periods, and regressed on its levers without a constant: no lever, no effect.

    Parameters
    ----------
    panel
        Balanced, with treatment assigned at merchant level; a unit's treatment starts with its first lever. Weights and
        clusters are used.
    levers
        Booleans, indexed by unit, one column a lever; never-treated units have none and may be absent.

    Returns
    -------
    Estimates
        Label lever, with errors robust to unequal variances; `glance` is the mean effect over treated units. `details`
        has "bundles" (each combination that occurs, its own mean, and what the sum of its levers would be), "overlap" (units of a
        lever that have the other one too, and their share) and "additivity" (Wald test that all bundles equal these sums).

    Raises
    ------
    DesignError
        If the panel breaks a law of `dose_response`, levers are not booleans, a treated unit has none, a never-treated one
        has some, or levers always come together or sum to others, so that they cannot be told apart; all at once.

    References
    ----------
    White (1980), "A heteroskedasticity-consistent covariance matrix estimator", theorem 1; Wooldridge (2010),
    "Econometric analysis of cross section and panel data", section 4.2.3 (Wald test). The influence of estimated
    comparison means is derived in docs/methods/dose_response.md.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 3.0], [1.0, 4.0], [2.0, 7.0], [0.0, 1.0], [3.0, 4.0]])
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, 2, 0, 0])
    >>> levers = pd.DataFrame({"display": [True, False, True], "service": [False, True, True]})
    >>> lever_effects(panel, levers).tidy()[["lever", "estimate", "n_units"]].round(2).to_numpy().tolist()
    [['display', 1.33, 2], ['service', 2.33, 2]]
    """
    changes = collapsed(panel, "lever_effects")
    held, outside = _held(panel, levers)
    names = list(map(str, levers.columns))
    result = fitted(panel, changes, "lever_effects", pd.DataFrame({"lever": names}), held.astype(float))
    combination, code = np.unique(held, axis=0, return_inverse=True)
    bundles, additivity, untested = _bundles(
        changes, result.estimate, combination.astype(float), code.ravel(), names, panel.scale
    )
    both = held.T.astype(int) @ held
    one, other = (~np.eye(len(names), dtype=bool)).nonzero()
    overlap = {
        "lever": np.array(names)[one],
        "other": np.array(names)[other],
        "n_units": both[one, other],
        "share": both[one, other] / both[one, one],
    }
    details = {"bundles": bundles, "overlap": pd.DataFrame(overlap), "additivity": additivity}
    notes = (*result.notes, *outside, *few("levers", names, result.n_units), *untested, _ASSUMED)
    return replace(result, details=details, notes=notes)


def _held(panel: Panel, levers: pd.DataFrame) -> tuple[Array, tuple[str, ...]]:
    """Return the (N1, L) levers of treated units."""
    wrong = [str(name) for name, kind in levers.dtypes.items() if not pd.api.types.is_bool_dtype(kind)]
    if wrong or not len(levers.columns) or levers.isna().to_numpy().any():
        raise DesignError(
            f"levers are columns of true and false without gaps, but {', '.join(wrong) or 'some values'} are not; "
            "make them with .astype(bool)"
        )
    given, outside = by_unit(levers.astype(float), panel.units, "levers")
    values, treated = given.to_numpy() == 1, panel.cohort >= 0
    held, count = values[treated], values[treated].sum(axis=0)
    tied = _tied(held) & (count > 0)
    laws = [
        f"{int(units.sum())} {who} (first: {panel.units[units][0]}); {remedy}"
        for units, who, remedy in (
            (treated & ~values.any(axis=1), "treated units have no lever", "name their lever, or leave them out"),
            (~treated & values.any(axis=1), "never-treated units have a lever", "correct treated_from, or the lever"),
        )
        if units.any()
    ]
    for which, what, remedy in (
        (count == 0, "no treated unit has", "leave it out"),
        (
            tied,
            "what each adds cannot be told apart, for they always come together or sum to one another:",
            "merge them",
        ),
    ):
        if which.any():
            laws.append(f"{what} {', '.join(map(str, levers.columns[which]))}; {remedy}")
    refuse(DesignError, "levers", laws)
    return held, outside


def _tied(held: Array) -> Array:
    """Mark the levers that a combination of others equals."""
    from scipy.linalg import null_space

    tied = np.abs(null_space(held.T.astype(float) @ held, rcond=1e-10)) > 1e-6
    return np.asarray(tied.any(axis=1))


def _bundles(
    changes: Changes, estimate: Array, combination: Array, code: Array, names: list[str], size: float
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    own, influence = changes.regressed(np.eye(len(combination))[code])
    covariance, count = changes.covariance(influence), np.bincount(code)
    labels = [" + ".join(np.array(names)[row > 0]) for row in combination]
    error = known_errors(np.sqrt(np.diag(covariance)), size)
    frame = described(pd.DataFrame({"bundle": labels}), own, error)
    frame = frame.assign(additive=combination @ estimate, n_units=count)
    order = np.lexsort((np.arange(len(count)), combination.sum(axis=1)))
    known = np.flatnonzero(count >= FEW)
    test, untested = _additivity(own[known], covariance[np.ix_(known, known)], combination[known])
    skipped = len(count) - len(known)
    notes = (
        *([f"bundles of fewer than {FEW} units, left out of the test of additivity: {skipped}"] if skipped else []),
        *untested,
    )
    return frame.iloc[order].reset_index(drop=True), test, notes


def _additivity(own: Array, covariance: Array, combination: Array) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Test that no contrast of bundles in which every lever cancels differs from 0."""
    from scipy.linalg import null_space
    from scipy.special import chdtrc

    contrast = null_space(combination.T).T if len(own) else np.empty((0, 0))
    spread = contrast @ covariance @ contrast.T
    freedom = len(contrast)
    columns = ["statistic", "degrees_of_freedom", "p_value"]
    if not freedom or np.linalg.matrix_rank(spread, hermitian=True) < freedom:
        return pd.DataFrame(columns=columns, dtype=float), (
            "additivity cannot be tested: the bundles with enough units are no more than their levers",
        )
    gap = contrast @ own
    statistic = float(gap @ np.linalg.solve(spread, gap))
    return pd.DataFrame([[statistic, float(freedom), float(chdtrc(freedom, statistic))]], columns=columns), ()
