"""The ratio of two uncertain numbers, and the interval of a share: arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.errors import ParameterError, level_laws, refuse

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from strategy_kit.inference import Student

Array = np.ndarray
_NO_ERROR = 1e-9


def fieller(
    numerator: ArrayLike, denominator: ArrayLike, covariance: ArrayLike, *, law: Student, level: float
) -> tuple[Array, Array, Array]:
    """Return the ratios that are not refused at 1 − `level`: those r for which numerator − r·denominator may be 0.

    Parameters
    ----------
    numerator, denominator
        (...) estimates.
    covariance
        (..., 2, 2) of the two, in this order.
    law
        Of a linear combination of the two, divided by its standard error.

    Returns
    -------
    low, high, form
        (...). What is not refused is, by `form`: "bounded", from low to high; "outside", everything up to low and
        from high on, where the denominator may be 0; "everything", low and high infinite, where both may be.

    Raises
    ------
    ParameterError
        If a covariance is not that of two numbers: not finite, not symmetric, or with a negative variance.

    References
    ----------
    Fieller (1954), "Some problems in interval estimation"; von Luxburg and Franz (2009), "A geometric approach to
    confidence sets for ratios: Fieller's theorem, generalizations and bootstrap", section 2 (the three forms).

    Examples
    --------
    >>> from strategy_kit.inference import Student
    >>> spread, law = np.diag([0.25, 0.04]), Student(10.0)
    >>> low, high, form = fieller([3.0, 3.0, 0.5], [2.0, 0.4, 0.2], spread, law=law, level=0.95)
    >>> form.tolist(), low.round(2).tolist(), high.round(2).tolist()
    (['bounded', 'outside', 'everything'], [0.91, -65.28, -inf], [2.25, 3.08, inf])
    """
    over, under, spread = (np.asarray(part, dtype=float) for part in (numerator, denominator, covariance))
    variance, shared, under_variance = spread[..., 0, 0], spread[..., 0, 1], spread[..., 1, 1]
    least = np.minimum(variance, under_variance)
    if not np.isfinite(spread).all() or (least < 0).any() or (shared != spread[..., 1, 0]).any():
        raise ParameterError(
            "the covariance of numerator and denominator must be finite and symmetric, its variances not below 0"
        )
    refuse(ParameterError, "interval of a ratio", level_laws(level))
    critical = float(law.interval(np.zeros(1), np.ones(1), level)[1][0])
    square = under**2 - critical**2 * under_variance
    middle = over * under - critical**2 * shared
    constant = over**2 - critical**2 * variance
    inside = middle**2 - square * constant  # never below 0 but by rounding where the denominator is off 0
    away = middle + np.where(middle < 0, -1.0, 1.0) * np.sqrt(np.maximum(inside, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(square == 0, np.where(away < 0, np.inf, -np.inf), away / square)
        second = np.where(away == 0, 0.0, constant / away)
    form = np.where(square > 0, "bounded", np.where(inside > 0, "outside", "everything"))
    low = np.where(form == "everything", -np.inf, np.minimum(first, second))
    high = np.where(form == "everything", np.inf, np.maximum(first, second))
    return low, high, form


def effective_count(share: ArrayLike, std_error: ArrayLike, clusters: ArrayLike, level: float) -> Array:
    """Return how many independent draws would leave a share as uncertain as this error of few clusters does at `level`.

    Where the error is 0, as of a share of 0 or 1, each cluster counts as one draw; missing where the error is.

    References
    ----------
    Korn and Graubard (1998), "Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data" (effective n, corrected by the quantiles of the normal law over those of Student's).

    Examples
    --------
    >>> effective_count([0.5, 1.0], [0.1, 0.0], [40, 12], 0.95).round(1).tolist()
    [23.5, 9.5]
    """
    from scipy.special import ndtri, stdtrit

    share, spread, clusters = (np.asarray(part, dtype=float) for part in (share, std_error, clusters))
    tail = 0.5 + level / 2
    known = (ndtri(tail) / stdtrit(np.maximum(clusters - 1, 1), tail)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return known * np.where(spread > _NO_ERROR, share * (1 - share) / spread**2, clusters + 0 * spread)


def wilson_interval(share: ArrayLike, effective_n: ArrayLike, level: float) -> tuple[Array, Array]:
    """Return the shares in 0 to 1 that a score test of `effective_n` draws does not refuse: wide at 0 and 1 as well.

    Missing where the share is missing or `effective_n` is not above 0.

    References
    ----------
    Wilson (1927), "Probable inference, the law of succession, and statistical inference"; Franco, Little, Louis and
    Slud (2019), "Comparative study of confidence intervals for proportions in complex sample surveys" (effective n).

    Examples
    --------
    >>> low, high = wilson_interval([1.0, 0.9], 10, 0.95)
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([0.72, 0.6], [1.0, 0.98])
    """
    from scipy.special import ndtri

    share, count = np.broadcast_arrays(np.asarray(share, dtype=float), np.asarray(effective_n, dtype=float))
    count = np.where(count > 0, count, np.nan)
    square = ndtri(0.5 + level / 2) ** 2 / count
    middle = (share + square / 2) / (1 + square)
    half = np.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return np.minimum(np.maximum(middle - half, 0.0), share), np.maximum(np.minimum(middle + half, 1.0), share)
