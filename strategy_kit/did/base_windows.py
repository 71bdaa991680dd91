"""One effect from every base window side by side, so that none is chosen after seeing results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.past_growth import past_growth
from strategy_kit.did.selection import wave_of
from strategy_kit.did.symmetric import compared, mirrored, pre_selection
from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.did.selection import Selection, Wave
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

_WINDOWS = ("before_selection", "all_before", "early", "late", "symmetric", "forecast")
_ENDS = ["base_first", "base_last", "after_first", "after_last"]
_FOUND = ["estimate", "std_error", "conf_low", "conf_high", "p_value", "n_units"]


def selection_windows(panel: Panel, *, selection: Selection) -> pd.DataFrame:
    """Estimate the effect on chosen merchants from every base window: where choice did no harm, all mean the same.

    Parameters
    ----------
    panel
        Balanced, with one start and support given merchant by merchant. Weights and clusters are used.
    selection
        The windows that merchants were chosen by.

    Returns
    -------
    DataFrame
        One row a base_window: before_selection (as `pre_selection`), all_before the start, the early and the late window
        of the selection, symmetric (around the late one) and forecast (as `past_growth`, whose base are the selection
        windows). Columns base_first, base_last, after_first, after_last, estimate, std_error, conf_low, conf_high,
        p_value, n_units, n_comparison, spread (largest estimate less smallest, the same in all rows), missing_because
        (why a row has no estimate; empty where it has one).

    Raises
    ------
    DesignError
        If the panel or the windows break a law of theirs.

    Examples
    --------
    >>> from strategy_kit.did import Selection
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0, 9.0, 5.0], [0.0, 1.0, 8.0, 4.0], [1.0, 2.0, 1.0, 1.0], [2.0, 2.0, 2.0, 3.0]])
    >>> panel = Panel.from_matrix(y, treated_from=[4, 4, 0, 0])
    >>> frame = selection_windows(panel, selection=Selection(early=(2, 2), late=(3, 3)))
    >>> frame[["base_window", "estimate", "missing_because"]].round(3).head(2).to_numpy().tolist()
    [['before_selection', 3.5, ''], ['all_before', 0.667, '']]
    >>> frame["missing_because"].iloc[-1][:60]
    'past_growth breaks 2 laws: (1) 100% of the supported merchan'
    """
    wave = wave_of(panel, "selection_windows", selection.windows)
    names = [name for name in _WINDOWS if name != "early" or selection.early is not None]
    frame = pd.concat([_row(wave, name, selection) for name in names], ignore_index=True)
    spread = np.ptp(frame["estimate"].dropna().to_numpy())
    return frame.assign(spread=spread)[["base_window", *_ENDS, *_FOUND, "n_comparison", "spread", "missing_because"]]


def _row(wave: Wave, name: str, selection: Selection) -> pd.DataFrame:
    """Return one row: the estimate from this base window, or why there is none."""
    try:
        fit = _fit(wave, name, selection)
    except DesignError as refusal:
        return pd.DataFrame({"base_window": [name], "missing_because": [str(refusal)]})
    compared_with = fit.details["overlap"]["n_comparison"].iloc[0] if name == "forecast" else fit.clusters[1]
    return fit.tidy().head(1).assign(base_window=name, n_comparison=compared_with, missing_because="")


def _fit(wave: Wave, name: str, selection: Selection) -> Estimates:
    first, late = next(iter(wave.windows.values())).start, wave.windows["late"]
    if name == "before_selection":
        return pre_selection(wave.panel, selection=selection)
    if name == "symmetric":
        return compared(wave, name, *mirrored(wave, 0))
    if name == "forecast":
        ends = wave.panel.periods[[first, late.stop - 1, wave.start, -1]]
        forecast = past_growth(wave.panel, selection=selection)
        return replace(forecast, labels=forecast.labels.assign(**dict(zip(_ENDS, ends, strict=True))))
    return compared(wave, name, wave.windows.get(name, slice(wave.start)), slice(wave.start, len(wave.panel.periods)))
