"""The same units asked something else: logarithms, whether anything was sold, sales while active, winsorised, a placebo.

Each is a method of `Panel`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.errors import DesignError, ParameterError

if TYPE_CHECKING:
    from strategy_kit.panel import Panel


def logs(panel: Panel) -> Panel:
    """Return the panel of the logarithm of the outcome.

    Raises
    ------
    DesignError
        If an outcome is zero or negative: a log of zero is never replaced by something else.
    """
    empty = np.asarray((panel.outcome <= 0).any(axis=1))
    if empty.any():
        listed = ", ".join(map(str, panel.units[empty][:3]))
        raise DesignError(
            f"a log of zero was refused: {int(empty.sum())} of {len(empty)} units have an outcome of 0 or less in some "
            f"period (first: {listed}); use longer periods or larger units, or keep the outcome as it is"
        )
    return replace(panel, outcome=np.log(panel.outcome), name=f"log {panel.name}")


def active(panel: Panel) -> Panel:
    """Return the panel of whether anything was sold, 1 or 0: the extensive margin, whose effects are shares.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> Panel.from_matrix(np.array([[0.0, 5.0]]), treated_from=[2]).active().outcome.tolist()
    [[0.0, 1.0]]
    """
    sold = np.where(np.isnan(panel.outcome), np.nan, panel.outcome > 0)
    return replace(panel, outcome=sold, name=f"share with {panel.name}")


def while_active(panel: Panel) -> Panel:
    """Return the panel of the outcome where it is above 0, missing elsewhere: the intensive margin.

    Who is active is a result of the treatment too: read an effect on it beside that on `active`.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> Panel.from_matrix(np.array([[0.0, 5.0]]), treated_from=[2]).while_active().notes
    ('1 of 2 unit-periods without outcome are left out',)
    """
    silent = panel.outcome <= 0
    note = f"{int(silent.sum())} of {silent.size} unit-periods without {panel.name} are left out"
    outcome = np.where(silent, np.nan, panel.outcome)
    result = replace(panel, outcome=outcome, name=f"{panel.name} while active", notes=(*panel.notes, note))
    never = np.asarray(np.isnan(outcome).all(axis=1))
    if not never.any():
        return result
    note = f"{int(never.sum())} of {len(never)} units that never had any are left out"
    return replace(result.only(~never), notes=(*result.notes, note))


def winsorised(panel: Panel, share: float) -> Panel:
    """Return the panel with outcomes capped at the value that `share` of the untreated unit-periods stay below.

    The cap is one for all units and periods, and its notes tell it. `share` is fixed before results are seen.

    Raises
    ------
    ParameterError
        If `share` is not between 0.5 and 1.
    DesignError
        If no unit-period is untreated.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> Panel.from_matrix(np.array([[1.0, 2.0, 9.0]]), treated_from=[0]).winsorised(0.5).outcome.tolist()
    [[1.0, 2.0, 2.0]]
    """
    if not 0.5 <= share < 1:
        raise ParameterError(f"share lies between 0.5 and 1, such as 0.999, not {share!r}")
    treated = np.vstack([panel.ages >= 0, np.zeros((1, len(panel.periods)), dtype=bool)])
    untreated = panel.outcome[~treated[panel.cohort]]
    if np.isnan(untreated).all():
        raise DesignError(
            "no unit-period is untreated, so that there is no quantile to cap at; begin the panel earlier"
        )
    cap = float(np.nanquantile(untreated, share))
    above = int((panel.outcome > cap).sum())
    note = f"{above} outcomes above {cap:.6g}, the {share:.4%} quantile of untreated ones, are capped"
    return replace(panel, outcome=np.minimum(panel.outcome, cap), notes=(*panel.notes, note))


def restarted(panel: Panel, start: int, stop: int) -> Panel:
    """Return the panel of the first `stop` periods in which every treated unit starts at position `start`.

    A placebo in time: the same units asked the same question about periods in which nothing started.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.zeros((2, 6)), treated_from=[5, 0])
    >>> panel.restarted(2, 4).cohorts.tolist()
    [3]
    """
    return replace(
        panel,
        outcome=panel.outcome[:, :stop],
        covariates=panel.covariates
        if panel.covariates is None or panel.covariates.ndim == 2
        else panel.covariates[:, :stop],
        periods=panel.periods[:stop],
        cohorts=panel.periods[[start]],
        cohort=np.where(panel.cohort >= 0, 0, -1),
        late=None,
    )
