"""The propensity to be treated, by Newton's method; statsmodels would hold several copies of the data."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

Array = np.ndarray
_STEPS = 50
_MANY = 20_000


def logit(X: Array, treated: Array, weight: Array, start: Array | None = None) -> tuple[Array, Array] | None:
    """Return coefficients and the inverse of the information of a weighted logit, or None where there is no optimum.

    Parameters
    ----------
    X
        (n, P) with a column of ones, of full rank.
    treated
        (n,) of 0 and 1.
    weight
        (n,).
    start
        (P,) where to begin.

    Examples
    --------
    >>> fit = logit(np.ones((4, 1)), np.array([1.0, 0.0, 0.0, 0.0]), np.ones(4))
    >>> round(float(expit(fit[0][0])), 12)
    0.25
    """
    coefficient = np.zeros(X.shape[1]) if start is None else start
    # most steps are taken on a sixteenth of the rows; what tells its coefficients apart, all rows hold as well
    if start is None and len(X) > _MANY and (few := logit(X[::16], treated[::16], weight[::16], coefficient)):
        coefficient = few[0]
    for _ in range(_STEPS):
        index = X @ coefficient
        chance = expit(index)
        information = X.T @ (X * (weight * chance * (1 - chance))[:, None])
        try:
            factor = cho_factor(information)
        except np.linalg.LinAlgError:
            return None
        step = cho_solve(factor, X.T @ (weight * (treated - chance)))
        along = X @ step
        longest = np.abs(along).max()
        while longest > 1 and _log_likelihood(index + along, treated, weight) < _log_likelihood(index, treated, weight):
            step, along, longest = step / 2, along / 2, longest / 2
        coefficient = coefficient + step
        # the last step is of the size of rounding: where Newton converges at all, the one before squared it
        if longest < 1e-10:
            return coefficient, cho_solve(factor, np.eye(len(coefficient)))
    return None


def _log_likelihood(index: Array, treated: Array, weight: Array) -> float:
    return float(weight @ (treated * index - np.logaddexp(0.0, index)))
