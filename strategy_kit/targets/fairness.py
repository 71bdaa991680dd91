"""Whether a target is as hard for a small merchant as for a large one: shares that met it, by size band."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, level_laws, refuse
from strategy_kit.ratio import effective_count, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE = "all"
_FEW = 2
_NO_SPREAD = 1e-18


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
        conf_high (Wilson's, of as many draws as would give this error: a share of 0 or 1 is not known exactly), p_value (that
        all bands are equal, errors as they are where all have the share of all; in every row).

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
    refuse(ParameterError, "shares met", level_laws(level))
    if not len(targets):
        raise DesignError("no target has ended, so none was met; take a later day")
    code, bands = pd.factorize(targets["size_band"].astype("str").fillna("unknown"), sort=True)
    unit, merchant = pd.factorize(targets[cluster])[0], targets["merchant_id"].to_numpy()
    names = [WHOLE, *bands]
    sides = [np.ones(len(code), dtype=bool), *(code == at for at in range(len(bands)))]
    ratios = [clustered_ratio(np.asarray(met, dtype=float) * side, 1.0 * side, unit) for side in sides]
    found = pd.DataFrame({"size_band": names, "targets": [int(side.sum()) for side in sides],
                          "merchants": [len(pd.unique(merchant[side])) for side in sides],
                          "clusters": [ratio.clusters for ratio in ratios], "met": [ratio.share for ratio in ratios],
                          "std_error": [ratio.std_error for ratio in ratios]})  # fmt: skip
    met, error, count = (found[name].to_numpy(dtype=float) for name in ("met", "std_error", "clusters"))
    low, high = wilson_interval(met, effective_count(met, error, count, level), level)
    p_value = _equal(met, np.array([ratio.influence for ratio in ratios[1:]]), count[1:])
    return found.assign(conf_low=low, conf_high=high, p_value=p_value)


class Ratio(NamedTuple):
    """A ratio of sums, and what each of G clusters moves it by."""

    share: float
    influence: np.ndarray
    clusters: int

    @property
    def std_error(self) -> float:
        """Missing for a single cluster."""
        return float(np.sqrt(self.influence @ self.influence)) if self.clusters >= _FEW else np.nan


def clustered_ratio(top: np.ndarray, bottom: np.ndarray, unit: np.ndarray) -> Ratio:
    """Return the sum of `top` over that of `bottom`, both 0 or more and 0 where a row does not count.

    Examples
    --------
    >>> clustered_ratio(np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([0, 1])).share
    0.5
    """
    whole, clusters = bottom.sum(), len(np.unique(unit[bottom > 0]))
    share = top.sum() / whole if whole > 0 else np.nan
    moved = np.bincount(unit, top - share * bottom, unit.max() + 1) / (whole or np.nan)
    return Ratio(float(share), moved * np.sqrt(clusters / max(clusters - 1, 1)), clusters)


def _equal(shares: np.ndarray, influences: np.ndarray, clusters: np.ndarray) -> float:
    """Return the p-value of K shares being one: `shares` has that of all first, `influences` are (K, clusters).

    Where all bands had the share of all, a band's variance would be that of as many draws as its error is worth: of one a
    cluster where no cluster differs from another, as where all targets of a band were met.
    """
    from scipy.special import chdtrc

    whole, shares, gaps = shares[0] * (1 - shares[0]), shares[1:], np.diff(shares[1:])
    if len(shares) < _FEW or not gaps.any():
        return 1.0 if len(shares) >= _FEW else np.nan
    spread = influences @ influences.T
    moves = (np.diag(spread) > _NO_SPREAD) & (clusters >= _FEW)
    scale = np.sqrt(whole / np.where(moves, shares * (1 - shares), whole))
    covariance = spread * np.outer(scale, scale) * np.outer(moves, moves) + np.diag(
        np.where(moves, 0, whole / clusters)
    )
    apart = np.diff(np.eye(len(shares)), axis=0)
    covariance = apart @ covariance @ apart.T
    rank = int(np.linalg.matrix_rank(covariance))
    return float(chdtrc(rank, gaps @ np.linalg.pinv(covariance) @ gaps)) if rank == len(gaps) else np.nan
