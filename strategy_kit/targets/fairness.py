"""Whether a target is as hard for a small merchant as for a large one: shares that met it, by size band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE = "all"
_FEW = 2


def fairness(made: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Return which share of targets was met by size band, with intervals, and whether the bands differ.

    Parameters
    ----------
    made
        Targets of ended periods, as `targets.made` returns them.

    Returns
    -------
    DataFrame
        tier (floor, stretch), then the columns of `met_by_band`.

    Examples
    --------
    >>> rows = {"merchant_id": range(6), "size_band": ["small"] * 3 + ["large"] * 3, "floor": 1.0, "stretch": 2.0}
    >>> found = fairness(pd.DataFrame({**rows, "sold": [0.5, 1.5, 2.5, 1.5, 2.5, 2.5]}))
    >>> found[["tier", "size_band", "met"]].round(2).to_numpy().tolist()[:3]
    [['floor', 'all', 0.83], ['floor', 'large', 1.0], ['floor', 'small', 0.67]]
    """
    parts = [
        met_by_band(made, made["sold"].to_numpy() >= made[tier].to_numpy(), level).assign(tier=tier)
        for tier in ("floor", "stretch")
    ]
    found = pd.concat(parts, ignore_index=True)
    return found[["tier", *(name for name in found if name != "tier")]]


def met_by_band(
    targets: pd.DataFrame,
    met: Sequence[bool] | pd.Series | np.ndarray,
    level: float = 0.95,
    *,
    cluster: str = "merchant_id",
) -> pd.DataFrame:
    """Return the share met of all targets and of each size band, with errors clustered by `cluster`.

    Clusters are merchants, who have a target every period: a period's common luck is then held fixed, as it should be
    when bands of the same periods are compared. By "period_start" the interval also speaks of other periods.

    Returns
    -------
    DataFrame
        size_band ("all" first; a missing one is "unknown"), targets, merchants, clusters, met (share), std_error, conf_low and
        conf_high (t with clusters - 1 degrees of freedom, cut at 0 and 1), p_value (Wald test that all bands are equal, in
        every row).

    Raises
    ------
    DesignError
        If there is no target.

    Examples
    --------
    >>> rows = pd.DataFrame({"merchant_id": [1, 1, 2, 2, 3, 3], "size_band": "small"})
    >>> met_by_band(rows, [True, True, False, True, False, False])["met"].tolist()
    [0.5, 0.5]
    """
    if not len(targets):
        raise DesignError("no target has ended, so none was met; take a later day")
    band = targets["size_band"].astype(object).fillna("unknown").astype(str).to_numpy()
    unit = pd.factorize(targets[cluster])[0]
    values = np.asarray(met, dtype=float)
    rows, influences = [], {}
    for name in (WHOLE, *np.unique(band)):
        inside = (band == name) | (name == WHOLE)
        share = values[inside].mean()
        moved = np.bincount(unit[inside], values[inside] - share, unit.max() + 1) / inside.sum()
        count = len(np.unique(unit[inside]))
        scaled = moved * np.sqrt(count / max(count - 1, 1))
        error = float(np.sqrt(scaled @ scaled)) if count >= _FEW else np.nan
        law = Student(float(max(count - 1, 1)))
        low, high = law.interval(np.array([share]), np.array([error]), level)
        merchants = targets["merchant_id"].to_numpy()[inside]
        rows.append(
            (
                name,
                int(inside.sum()),
                len(pd.unique(merchants)),
                count,
                share,
                error,
                max(low[0], 0.0),
                min(high[0], 1.0),
            )
        )
        influences[name] = scaled
    names = ["size_band", "targets", "merchants", "clusters", "met", "std_error", "conf_low", "conf_high"]
    found = pd.DataFrame(rows, columns=names)
    bands = [name for name in influences if name != WHOLE]
    return found.assign(p_value=_equal(found["met"].to_numpy()[1:], np.array([influences[name] for name in bands])))


def _equal(shares: np.ndarray, influences: np.ndarray) -> float:
    """Return the p-value of the Wald test that all shares (K,) are one, from influences (K, clusters)."""
    from scipy.special import chdtrc

    if len(shares) < _FEW:
        return np.nan
    gaps, moved = np.diff(shares), np.diff(influences, axis=0)
    covariance = moved @ moved.T
    rank = int(np.linalg.matrix_rank(covariance))
    return float(chdtrc(rank, gaps @ np.linalg.pinv(covariance) @ gaps)) if rank == len(gaps) else np.nan
