"""Just above a line against just below it: only where nobody could choose the side, which a test of the density asks first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import bdtr, ndtr

from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray
_FEW, _FEW_OUTCOMES, _NEAR = 20, 100, 0.1
REFUSED = 0.025
"""p-value of either of the two density tests below which no discontinuity is estimated: 5% for both together, at most."""


@dataclass(frozen=True, slots=True)
class Density:
    """Densities just below and just above a line, with the test that they are one.

    Attributes
    ----------
    below, above
        Densities at the line from either side, each a share of all values.
    statistic, p_value
        Of their difference over its error, standard normal where the density is smooth.
    bandwidth
        How far from the line values count.
    n_below, n_above
        Values that count.
    p_near
        Of the exact binomial test that as many lie just above as just below, within a tenth of the bandwidth: it also sees
        values that were heaped on one point, which no density describes.
    """

    below: float
    above: float
    statistic: float
    p_value: float
    bandwidth: float
    n_below: int
    n_above: int
    p_near: float


def density_test(values: Sequence[float] | Array, *, at: float = 1.0, bandwidth: float | None = None) -> Density:
    """Test whether a density jumps at a line, as it does where values were pushed over it.

    The distribution function of all values is fitted by a polynomial of third degree on either side, with triangular weights;
    the slopes at the line are the densities. Third degree with a bandwidth meant for the second keeps bias out of the test.

    Parameters
    ----------
    values
        (N,) such as sales over the target.
    bandwidth
        How far from the line values count; by default 2.5 standard deviations times N to the power of -1/5, at most one.

    Raises
    ------
    DesignError
        If fewer than twenty values lie on one side within the bandwidth.

    References
    ----------
    Cattaneo, Jansson and Ma (2020), "Simple local polynomial density estimators", sections 2 and 4; McCrary (2008).

    Examples
    --------
    >>> even = np.linspace(0.5, 1.5, 2001)
    >>> pushed = np.where((even > 0.95) & (even < 1), 1.002, even)
    >>> density_test(even).p_value > 0.5, density_test(pushed).p_near < 0.001
    (True, True)
    """
    value = np.sort(np.asarray(values, dtype=float)) - at
    size = len(value)
    width = bandwidth or float(min(value.std(), 2.5 * value.std() * max(size, 1) ** -0.2))
    near = np.abs(value) <= width
    above = value >= 0
    counts = int((near & ~above).sum()), int((near & above).sum())
    if min(counts) < _FEW:
        raise DesignError(
            f"the density at {at:g} needs {_FEW} values on each side within {width:.3g}, but there are {counts[0]} and "
            f"{counts[1]}; widen the bandwidth or add periods"
        )
    share = (np.searchsorted(value, value, side="right") - 1) / (size - 1)
    terms = np.where(near, 1 - np.abs(value) / width, 0.0)
    powers = (value / width)[:, None] ** np.arange(4)
    design = np.hstack([powers * ~above[:, None], powers * above[:, None]])
    weighted = design * terms[:, None]
    inverse = np.linalg.pinv(weighted.T @ design)
    slopes = inverse @ weighted.T @ share
    # a value moves the fit as a point of it, and as part of the share at every point that is not below it
    later = np.cumsum(weighted[::-1], axis=0)[::-1]
    first = np.searchsorted(value, value, side="left")
    moved = weighted * (share - design @ slopes)[:, None] + (later[first] - weighted.T @ share) / size
    below, up = float(slopes[1] / width), float(slopes[5] / width)
    contrast = np.zeros(8)
    contrast[[1, 5]] = -1 / width, 1 / width
    error = float(np.sqrt((((moved @ inverse) @ contrast) ** 2).sum()))
    sides = [int((side & (np.abs(value) <= _NEAR * width)).sum()) for side in (~above, above)]
    near_p = min(1.0, 2 * float(bdtr(min(sides), sum(sides), 0.5))) if sum(sides) else 1.0
    statistic = (up - below) / error if error > 0 else np.inf
    return Density(below, up, float(statistic), float(2 * ndtr(-abs(statistic))), width, *counts, near_p)


def discontinuity(
    outcome: Sequence[float] | Array,
    values: Sequence[float] | Array,
    *,
    at: float = 1.0,
    bandwidth: float | None = None,
    cluster: Sequence[object] | Array | None = None,
) -> Estimates:
    """Estimate the jump of an outcome at a line, unless values were sorted around it.

    Local quadratic on either side with triangular weights: at the bandwidth of a local line, its interval allows for the
    line's bias. Residuals are those of fits without their target (HC3), clustered where `cluster` is given.

    Parameters
    ----------
    outcome, values
        (N,) what may jump, and sales over the target.
    cluster
        (N,) whose target it is; by default each its own.

    Returns
    -------
    Estimates
        Label term: above_less_below.

    Raises
    ------
    DesignError
        If one of the two tests of `density_test` rejects at 2.5%, naming its p-value, or fewer than 100 values lie on
        a side within the bandwidth.
    ParameterError
        If lengths differ.

    References
    ----------
    Calonico, Cattaneo and Titiunik (2014), "Robust nonparametric confidence intervals for regression-discontinuity designs",
    remark 7; Hahn, Todd and van der Klaauw (2001).

    Examples
    --------
    >>> x = np.linspace(0.5, 1.5, 2001)
    >>> discontinuity(2 * x + (x >= 1), x).estimate.round(6).tolist()
    [1.0]
    """
    y, x = np.asarray(outcome, dtype=float), np.asarray(values, dtype=float)
    if len(y) != len(x):
        raise ParameterError(
            f"outcome and values are of the same targets, not {len(y)} and {len(x)}; give both in one order"
        )
    if lost := int((~np.isfinite([y, x])).any(axis=0).sum()):
        raise ParameterError(
            f"outcome and values are finite numbers, and {lost} of {len(y)} targets have none; leave them out"
        )
    test = density_test(x, at=at, bandwidth=bandwidth)
    if (smallest := min(test.p_value, test.p_near)) < REFUSED:
        raise DesignError(
            f"the density of attainment jumps at {at:g} (p = {smallest:.2g}), so who is above was chosen and no jump of an "
            "outcome is an effect; read the bunching instead"
        )
    if min(test.n_below, test.n_above) < _FEW_OUTCOMES:
        raise DesignError(
            f"a jump at {at:g} needs {_FEW_OUTCOMES} targets on each side within {test.bandwidth:.3g}, but there are "
            f"{test.n_below} and {test.n_above}; widen the bandwidth or add periods"
        )
    near = np.abs(x - at) < test.bandwidth
    gap = (x[near] - at) / test.bandwidth
    powers = gap[:, None] ** np.arange(3)
    design = np.hstack([powers, powers * (gap >= 0)[:, None]])
    weighted = design * (1 - np.abs(gap))[:, None]
    inverse = np.linalg.pinv(weighted.T @ design)
    slopes = inverse @ weighted.T @ y[near]
    owner = pd.factorize(np.asarray(cluster)[near])[0] if cluster is not None else np.arange(len(gap))
    groups = int(owner.max()) + 1
    score = np.zeros((groups, 6))
    left_out = (y[near] - design @ slopes) / np.maximum(1 - ((weighted @ inverse) * design).sum(axis=1), 1e-9)
    np.add.at(score, owner, weighted * left_out[:, None])
    spread = (inverse @ (score.T @ score) @ inverse)[3:4, 3:4] * groups / max(groups - 1, 1)
    estimate = slopes[3:4]
    note = f"density test: p = {test.p_value:.2g} within {test.bandwidth:.3g} of the line"
    return Estimates("discontinuity", "outcome", pd.DataFrame({"term": ["above_less_below"]}), estimate, spread,
                     np.array([test.n_above]), "merchant", (test.n_above, test.n_below),
                     (float(estimate[0]), float(np.sqrt(spread[0, 0]))), Student(float(max(groups - 1, 1))),
                     notes=(note,))  # fmt: skip
