"""A regression on the same measure of earlier and later periods, with effects of units and periods: an association."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, whole_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = np.ndarray
_LEAST = 1e-9  # of all that the measure varies, below which nothing but rounding is left


class DistributedLag(NamedTuple):
    """Coefficients by lag, negative where the measure comes later than the outcome, with their covariance.

    Attributes
    ----------
    lags, estimate, covariance
        (K,), (K,) and (K, K): in units of the outcome a unit of the measure.
    units, alone
        Units compared, which are the clusters, and those that were alone in their group and are left out.
    freedom
        Units less groups: degrees of freedom of t and F.
    """

    lags: Array
    estimate: Array
    covariance: Array
    units: int
    alone: int
    freedom: int

    @property
    def placebo(self) -> pd.DataFrame:
        """Test that all leads are 0, by F with as many degrees of freedom as there are units less groups."""
        from scipy.special import fdtrc

        leads = int((self.lags < 0).sum())
        estimate, spread = self.estimate[:leads], self.covariance[:leads, :leads]
        statistic = float(estimate @ np.linalg.solve(spread, estimate)) / leads
        p_value = float(fdtrc(leads, self.freedom, statistic))
        return pd.DataFrame([{"statistic": statistic, "degrees_of_freedom": leads, "p_value": p_value}])

    def sums(self, weights: Array) -> tuple[Array, Array]:
        """Return weighted sums (J,) of the coefficients and their errors, from weights (J, K)."""
        return weights @ self.estimate, np.sqrt(np.einsum("jk,kl,jl->j", weights, self.covariance, weights))


def fitted(
    outcome: ArrayLike, measure: ArrayLike, *, lags: int, leads: int, groups: ArrayLike | None = None
) -> DistributedLag:
    """Regress y_it = a_i + w_gt + Σ_k b_k x_i,t-k + e_it, for k from -`leads` to `lags`.

    Errors are clustered by unit, with the factor G/(G - 1) · (n - 1)/(n - k), period effects counted in k.

    Parameters
    ----------
    outcome, measure
        (N, T), without gaps.
    groups
        (N,) whose periods have effects of their own; one group by default.

    Raises
    ------
    ParameterError
        If the arrays do not fit, have gaps, or lags or leads are no whole numbers of 1 or more.
    DesignError
        If units or periods are too few, or the measure does not move by itself within units.

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(200, 30))
    >>> y = 0.5 * np.roll(x, 2, axis=1) + np.random.default_rng(2).normal(size=(200, 30))
    >>> fitted(y, x, lags=3, leads=1).estimate.round(1).tolist()[3:]
    [0.5, 0.0]
    """
    y, x = (np.asarray(values, dtype=float) for values in (outcome, measure))
    given = np.zeros(y.shape[:1]) if groups is None else np.asarray(groups)
    _refuse(y, x, given, (lags, leads))
    group = pd.factorize(given)[0]
    beside = np.bincount(group)[group] > 1
    y, x, group = y[beside], x[beside], pd.factorize(group[beside])[0]
    units, periods = y.shape
    free = units - len(np.unique(group))
    shifts, kept = np.arange(-leads, lags + 1), periods - lags - leads
    if kept < 2 or free <= len(shifts):
        raise DesignError(
            f"{units} units of {periods} periods cannot tell {len(shifts)} leads and lags apart; take a longer window, or "
            "fewer lags"
        )
    columns = np.stack([_within(x[:, lags - k : lags - k + kept], group) for k in shifts], axis=2)
    left = _within(y[:, lags : lags + kept], group)
    moments = np.einsum("itk,itl->kl", columns, columns)
    scale = np.sqrt(np.diag(moments))
    if (
        scale.min() <= _LEAST * np.linalg.norm(x - x.mean())
        or np.linalg.eigvalsh(moments / np.outer(scale, scale))[0] < _LEAST
    ):
        raise DesignError(
            "the measure does not move by itself within units and periods; take a longer window, or fewer lags"
        )
    inverse = np.linalg.inv(moments)
    estimate = inverse @ np.einsum("itk,it->k", columns, left)
    rest = left - columns @ estimate
    if np.abs(rest).max() <= _LEAST * np.abs(y).max():
        raise DesignError(
            "the measure explains the outcome to the last digit, so chance cannot be measured; check that it is not filled in"
        )
    scores = np.einsum("itk,it->ik", columns, rest)
    counted = len(shifts) + (units - free) * (kept - 1) + 1
    small = units / (units - 1) * (units * kept - 1) / max(units * kept - counted, 1)
    spread = small * inverse @ (scores.T @ scores) @ inverse
    return DistributedLag(shifts, estimate, spread, units, len(beside) - units, free)


def _refuse(y: Array, x: Array, group: Array, shifts: tuple[int, int]) -> None:
    if y.ndim != 2 or y.shape != x.shape or group.shape != y.shape[:1] or not np.isfinite([y, x]).all():
        shapes = f"{y.shape}, {x.shape}, {group.shape}"
        raise ParameterError(f"outcome and measure are (N, T) arrays without gaps, with N groups, not {shapes}")
    if pd.isna(group).any():
        raise ParameterError(f"groups are known of all units, not missing for {int(pd.isna(group).sum())}; name them")
    if not all(whole_number(count, 1) for count in shifts):
        raise ParameterError(f"lags and leads are whole numbers of 1 or more, not {shifts[0]!r} and {shifts[1]!r}")


def _within(values: Array, group: Array) -> Array:
    """Take out means of units, and of periods within groups."""
    own = values - values.mean(axis=1, keepdims=True)
    size = np.bincount(group)[:, None]
    sums = np.zeros((len(size), values.shape[1]))
    np.add.at(sums, group, own)
    result: Array = own - (sums / size)[group]
    return result
