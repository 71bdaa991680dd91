"""What supported merchants would have done: a forecast from unsupported ones with the same past growth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.collapsed import described, summed
from strategy_kit.did.guards import FEW
from strategy_kit.did.selection import wave_of
from strategy_kit.errors import DesignError, refuse

if TYPE_CHECKING:
    from strategy_kit.did.selection import Selection, Wave
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
MOST_OUTSIDE = 0.5
"""Share of supported merchants beyond all unsupported ones, from which on the forecast would be made of a formula."""
_PARTS = {
    "supported": (1, 0, 0),
    "forecast": (0, 1, 0),
    "unsupported": (0, 0, 1),
    "effect": (1, -1, 0),
    "before_after": (1, 0, -1),
    "anyway": (0, 1, -1),
}


def past_growth(panel: Panel, *, selection: Selection) -> Estimates:
    """Compare what supported merchants did with a forecast from unsupported ones with the same past growth and level.

    The mean outcome after the start is regressed on past growth, its square, the level in the selection windows and,
    where there are periods before them, the level there, among the unsupported merchants whose growth lies in the range
    of the supported. The effect is the mean of the supported less the mean of their forecasts.

    Parameters
    ----------
    panel
        Balanced, with one start and support given merchant by merchant. Weights and clusters are used.
    selection
        Growth is the mean outcome in its late window less that in its early one, or the mean in the late window alone
        where it has no early one.

    Returns
    -------
    Estimates
        Label merchants: all (the headline), and in_range, those whose growth some unsupported merchants reach. Errors
        hold what estimating the forecast adds, with residuals as if each merchant had been left out of it (HC3).
        `details` has "parts" (part, estimate and interval, as changes from the late window): what the supported did,
        their forecast, what all unsupported did, and from these the effect, the plain before_after difference and what
        merchants so chosen would have changed by anyway, compared with the rest; and "overlap": share_outside of the
        supported beyond all unsupported, n_comparison units of the forecast and effective_units that would be as
        informative.

    Raises
    ------
    DesignError
        If the panel or the windows break a law of theirs, too few unsupported merchants grew like the supported, more
        than half of the supported grew beyond all of them, or the terms of the forecast are collinear; all at once.

    Notes
    -----
    Right where merchants were chosen by what the windows hold and by chance, not by what else was known of their future.

    References
    ----------
    Imbens (2004), "Nonparametric estimation of average treatment effects under exogeneity: a review"; MacKinnon and White
    (1985), "Some heteroskedasticity-consistent covariance matrix estimators with improved finite sample properties".

    Examples
    --------
    >>> from strategy_kit.did import Selection
    >>> from strategy_kit.panel import Panel
    >>> random = np.random.default_rng(0)
    >>> y = random.normal(size=(2000, 6))
    >>> chosen = (y[:, 3] - y[:, 2] > 1.0) & (random.random(2000) < 0.5)
    >>> panel = Panel.from_matrix(y, treated_from=np.where(chosen, 5, 0))
    >>> result = past_growth(panel, selection=Selection(early=(3, 3), late=(4, 4)))
    >>> result.details["parts"].set_index("part")["estimate"].round(2)[["effect", "before_after", "anyway"]].tolist()
    [0.07, -1.06, -1.13]
    """
    wave = wave_of(panel, "past_growth", selection.windows)
    late = wave.mean(wave.windows["late"])
    early = wave.mean(wave.windows["early"]) if "early" in wave.windows else np.zeros(len(late))
    growth, treated = late - early, wave.treated
    in_range, used, overlap = _ranges(growth, treated)
    levels = [(late + early) / 2] if "early" in wave.windows else []
    first = next(iter(wave.windows.values())).start
    levels += [wave.mean(slice(first))] if first else []
    design = _design(growth, levels, used)
    change = wave.after - late
    values, influence, effective = _parts(wave, design, used, change, in_range)
    both = np.array([[1.0, -1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, -1.0]])
    labels = pd.DataFrame({"merchants": ["all", "in_range"]})
    result = wave.result("past_growth", labels, both @ values, influence @ both.T)
    turn = np.array(list(_PARTS.values()), dtype=float)
    errors = np.sqrt(np.diag(summed(influence[:, :3] @ turn.T, panel.cluster)))
    parts = described(pd.DataFrame({"part": list(_PARTS)}), turn @ values[:3], errors)
    beyond = int((treated & ~in_range).sum())
    notes = [
        *(["no period lies before the selection, so merchants are alike in its windows only"] if not first else []),
        *([f"supported merchants whose growth no other reached, forecast by the formula: {beyond}"] if beyond else []),
    ]
    return replace(
        result,
        n_units=np.array([treated.sum(), in_range.sum()]),
        details={"parts": parts, "overlap": overlap.assign(effective_units=effective)},
        notes=(*result.notes, *notes),
    )


def _ranges(growth: Array, treated: Array) -> tuple[Array, Array, pd.DataFrame]:
    """Mark the supported in the range of the unsupported, and the unsupported in the range of the supported."""
    other = growth[~treated]
    in_range = treated & (growth >= other.min()) & (growth <= other.max())
    low, high = growth[treated].min(), growth[treated].max()
    used = ~treated & (growth >= low) & (growth <= high)
    outside, laws = 1 - in_range.sum() / treated.sum(), []
    if outside > MOST_OUTSIDE:
        laws.append(
            f"{outside:.0%} of the supported merchants grew beyond all unsupported ones, so none show what they would have "
            "done; compare with did.just_below, and support a random part of the eligible next time"
        )
    if used.sum() < 5 * FEW:
        laws.append(
            f"only {int(used.sum())} unsupported merchants have past growth in the range of the supported ({low:.4g} to "
            f"{high:.4g}), and a forecast takes {5 * FEW}; add merchants, for instance from other categories"
        )
    refuse(DesignError, "past_growth", laws)
    return in_range, used, pd.DataFrame({"share_outside": [outside], "n_comparison": [int(used.sum())]})


def _design(growth: Array, levels: list[Array], used: Array) -> Array:
    """Return (N, P) terms of the forecast, each with mean 0 and deviation 1 over the units that it is fitted to."""
    traits = np.column_stack([growth, *levels])
    centre, scale = traits[used].mean(axis=0), traits[used].std(axis=0)
    terms = (traits - centre) / np.where(scale > 0, scale, 1.0)
    design = np.column_stack([np.ones(len(terms)), terms[:, 0], terms[:, 0] ** 2, terms[:, 1:]])
    rank = int(np.linalg.matrix_rank(design[used], tol=1e-9 * np.sqrt(used.sum())))
    if rank < design.shape[1]:
        raise DesignError(
            f"the {design.shape[1]} terms of the forecast have rank {rank} among the unsupported merchants, so that growth and "
            "level cannot be told apart; choose other windows, or check that the outcome is not filled in"
        )
    return design


def _parts(wave: Wave, design: Array, used: Array, change: Array, in_range: Array) -> tuple[Array, Array, float]:
    """Return (5,) means, the (N, 5) influence on them, and how many equal units the forecast is worth.

    Actual and forecast change of the supported, change of the unsupported, actual and forecast change in range.
    """
    weight, treated = wave.share, wave.treated
    weighted = design[used] * weight[used, None]
    inverse = np.linalg.inv(weighted.T @ design[used])
    slope = inverse @ (weighted.T @ change[used])
    leverage = ((design[used] @ inverse) * weighted).sum(axis=1)
    told, missed = design @ slope, (change[used] - design[used] @ slope) / np.maximum(1 - leverage, 1e-9)
    values, influence = np.empty(5), np.zeros((len(change), 5))
    sides = (treated, treated, ~treated, in_range, in_range)
    rows = enumerate(zip(sides, (change, told, change, change, told), strict=True))
    effective = 0.0
    for column, (held, value) in rows:
        share = weight[held] / weight[held].sum()
        values[column] = share @ value[held]
        influence[held, column] = share * (value[held] - values[column])
        if value is told:
            pull = weighted @ (inverse @ (share @ design[held]))
            influence[used, column] += pull * missed
            effective = effective or float(1 / (pull @ pull))
    return values, influence, effective
