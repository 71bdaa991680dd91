"""Merchants just below the cut as negative controls: nothing was done to them, so nothing should be found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.collapsed import by_unit, few
from strategy_kit.did.selection import difference, wave_of
from strategy_kit.errors import DesignError, ParameterError, refuse

if TYPE_CHECKING:
    from strategy_kit.did.selection import Window
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
_LEAST = 2


def just_below(panel: Panel, score: pd.Series, *, cut: float, width: float, base: Window | None = None) -> Estimates:
    """Treat merchants just below the cut as if they had been supported, and compare them with those further below.

    They nearly had the score of the supported, and no support. What the comparison finds for them, it finds without any
    effect.

    Parameters
    ----------
    panel
        Balanced, with one start and support given merchant by merchant. Weights and clusters are used.
    score
        By which merchants were chosen, indexed by unit.
    cut
        Score from which on merchants were supported.
    width
        How far below the cut a merchant is just below it, in units of the score.
    base
        First and last period of the base window; all periods before the start by default.

    Returns
    -------
    Estimates
        Labels contrast, n_comparison: placebo, the headline (just below less further below; should be nothing),
        uncorrected (supported less further below) and corrected (uncorrected less placebo, which is supported less just
        below). `details["sides"]` has side, n_units, mean_score and change.

    Raises
    ------
    ParameterError
        If cut or width is not a finite number, or width is not above 0.
    DesignError
        If the panel or the base breaks a law of theirs, a merchant has no score, or a side has fewer than two; all at
        once.

    References
    ----------
    Lipsitch, Tchetgen Tchetgen and Cohen (2010), "Negative controls: a tool for detecting confounding and bias in
    observational studies".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 3.0], [1.0, 4.0], [1.0, 2.0], [2.0, 3.5], [0.0, 0.0], [1.0, 1.5], [2.0, 2.0]])
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, 0, 0, 0, 0, 0])
    >>> result = just_below(panel, pd.Series([9.0, 8, 7, 6, 3, 2, 1]), cut=8, width=3)
    >>> result.tidy()[["contrast", "n_units", "n_comparison", "estimate"]].round(3).to_numpy().tolist()
    [['placebo', 2, 3, 1.083], ['uncorrected', 2, 3, 2.333], ['corrected', 2, 2, 1.25]]
    """
    laws = [
        f"{name} is a finite number{more}, not {value!r}"
        for name, value, least, more in (("cut", cut, -np.inf, ""), ("width", width, 0.0, " above 0"))
        if not (isinstance(value, (int, float, np.number)) and np.isfinite(value) and value > least)  # type: ignore[redundant-expr]
    ]
    refuse(ParameterError, "just_below", laws)
    wave = wave_of(panel, "just_below", {} if base is None else {"base": base})
    given, outside = by_unit(score, panel.units, "score")
    value = pd.to_numeric(given, errors="coerce").to_numpy(float)
    sides = {
        "supported": wave.treated & (value >= cut),
        "just_below": ~wave.treated & (value < cut) & (value >= cut - width),
        "further_below": ~wave.treated & (value < cut - width),
    }
    _refuse(value, panel.units, sides)
    change = wave.after - wave.mean(wave.windows.get("base", slice(wave.start)))
    top, near, far = sides.values()
    pairs = {"placebo": (near, far), "uncorrected": (top, far), "corrected": (top, near)}
    found = [difference(change, *pair, wave.share) for pair in pairs.values()]
    count = np.array([[held.sum() for held in pair] for pair in pairs.values()])
    labels = pd.DataFrame({"contrast": list(pairs), "n_comparison": count[:, 1]})
    result = wave.result("just_below", labels, np.array([e for e, _ in found]), np.column_stack([i for _, i in found]))
    rows = [(name, int(h.sum()), *_means(wave.share[h], value[h], change[h])) for name, h in sides.items()]
    other = {
        "supported with a score below the cut": wave.treated & (value < cut),
        "not supported with a score at or above it": ~wave.treated & (value >= cut),
    }
    left = [f"merchants {name}, left out: {int(held.sum())}" for name, held in other.items() if held.any()]
    return replace(
        result,
        n_units=count[:, 0],
        details={"sides": pd.DataFrame(rows, columns=["side", "n_units", "mean_score", "change"])},
        notes=(*result.notes, *outside, *left, *few("sides", sides, np.array([held.sum() for held in sides.values()]))),
    )


def _refuse(value: Array, units: pd.Index, sides: dict[str, Array]) -> None:
    laws, none = [], ~np.isfinite(value)
    if none.any():
        laws.append(
            f"{int(none.sum())} merchants have no finite score (first: {units[none][0]}); give it, or panel.only"
        )
    laws += [
        f"{name} holds {int(held.sum())} merchants, and an error needs {_LEAST}; choose another cut or width"
        for name, held in sides.items()
        if held.sum() < _LEAST
    ]
    refuse(DesignError, "just_below", laws)


def _means(weight: Array, *values: Array) -> tuple[float, ...]:
    return tuple(float(np.average(value, weights=weight)) for value in values)
