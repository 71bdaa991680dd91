"""What a test of the trends before the start says, and what it could not have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.linalg import cholesky, solve_triangular
from scipy.special import chdtrc, chdtri, chndtr, chndtrinc, ndtr, ndtri

from strategy_kit.base_age import base_age
from strategy_kit.errors import DesignError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.estimates import Estimates

Array = np.ndarray
_LEVEL = 0.05
_POINTS = 2**13


def pretrend_test(effects: Estimates) -> pd.DataFrame:
    """Test that all effects before the start are zero together.

    Parameters
    ----------
    effects
        By cohort and period (from `group_time`), or by age. An effect that is fixed at zero is no part of the test, and
        periods that anticipation allows for are: units that react early fail it.

    Returns
    -------
    DataFrame
        One row: statistic (Wald), degrees_of_freedom (effects tested), p_value (chi-squared).

    Raises
    ------
    DesignError
        If no effect before the start has a standard error, or their covariance is singular.

    References
    ----------
    R `did` 2.5.1, att_gt: its W, which tests the effects of the periods before the cohort's start.

    Examples
    --------
    >>> from strategy_kit.did import group_time
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0, 4.0], [2.0, 2.5, 5.0], [1.0, 1.0, 2.0], [3.0, 3.5, 4.5]])
    >>> pretrend_test(group_time(Panel.from_matrix(y, treated_from=[3, 3, 0, 0]))).round(3).to_numpy().tolist()
    [[4.0, 1.0, 0.046]]
    """
    tested = np.flatnonzero((_ages(effects) < 0) & np.isfinite(effects.std_error))
    root = _root(effects, tested)
    statistic = float(np.square(solve_triangular(root, effects.estimate[tested], lower=True)).sum())
    values = {"statistic": statistic, "degrees_of_freedom": len(tested), "p_value": chdtrc(len(tested), statistic)}
    return pd.DataFrame(values, index=[0])


def pretrend_power(study: Estimates, *, power: float | Sequence[float] = 0.5) -> pd.DataFrame:
    """Find the linear violation of parallel trends that a pre-test would detect with given power, and what it would do.

    Two pre-tests are judged, both at 5%: `individual` rejects where any effect before the start differs from zero alone,
    `joint` is `pretrend_test`. A test that detects a slope half of the time lets it pass the other half.

    Parameters
    ----------
    study
        By age, against one base period: `event_study(group_time(panel, base="universal"))`.
    power
        Chance of a detection, above 0.05 and below 1.

    Returns
    -------
    DataFrame
        One row a test, power and age after the base period: test, power, false_alarm (chance to reject without any
        violation), slope (the smallest violation an age, in units of the outcome, that is detected with `power`; 0 where
        the false alarms alone reach it), likelihood_ratio (of the effects seen before the start, under the slope against
        none), age, bias (slope × ages since the base), bias_if_passed (the same on average over the samples that pass).

    Raises
    ------
    ParameterError
        If a power is not above 0.05 and below 1.
    DesignError
        If the study has no single base period, no effect before or after it, or a singular covariance.

    References
    ----------
    Roth (2022), "Pretest with caution: event-study estimates after testing for parallel trends", proposition 1.
    Individual: chances and truncated means from 8,192 quasi-random points of a separated normal integral (Genz 1992),
    accurate to 1e-4 with few effects and to 1e-3 with 40. Joint: exact.

    Examples
    --------
    >>> from strategy_kit.did import event_study, group_time
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0, 4.0], [2.0, 2.5, 5.0], [1.0, 1.0, 2.0], [3.0, 3.5, 4.5]])
    >>> panel = Panel.from_matrix(y, treated_from=[3, 3, 0, 0])
    >>> pretrend_power(event_study(group_time(panel, base="universal")))[["test", "slope", "bias"]].round(2)
             test  slope  bias
    0  individual   0.49  0.49
    1       joint   0.49  0.49
    """
    asked = np.atleast_1d(np.asarray(power, dtype=float))
    if not (asked.size and ((asked > _LEVEL) & (asked < 1)).all()):
        raise ParameterError(f"power must lie above {_LEVEL}, the false alarms of one test, and below 1, not {power!r}")
    age, base = _ages(study), base_age(study)
    held = np.isfinite(study.std_error)
    before, after = np.flatnonzero(held & (age < base)), np.flatnonzero(held & (age > base))
    root = _root(study, before)
    if not len(after):
        raise DesignError(
            "the study has no effect after its base period that a violation could bias; add later periods"
        )
    line = (age - base).astype(float)
    carried = study.covariance[np.ix_(after, before)] @ np.linalg.inv(root @ root.T)
    frames = []
    for name, test in (("individual", _Individual(root, line[before])), ("joint", _Joint(root, line[before]))):
        for wanted in asked:
            slope = test.slope(float(wanted))
            passed = test.passed_mean(slope) - slope * line[before]
            whitened = solve_triangular(root, np.column_stack([slope * line, study.estimate])[before], lower=True)
            with np.errstate(over="ignore"):
                ratio = np.exp(whitened[:, 0] @ (whitened[:, 1] - whitened[:, 0] / 2))
            one = {
                "test": name,
                "power": wanted,
                "false_alarm": 1 - test.passes(0.0),
                "slope": slope,
                "likelihood_ratio": ratio,
                "age": age[after],
                "bias": slope * line[after],
                "bias_if_passed": slope * line[after] + carried @ passed,
            }
            frames.append(pd.DataFrame(one))
    return pd.concat(frames, ignore_index=True)


class _Individual:
    """No effect before the start is significant alone; the effects are normal with covariance root @ root.T."""

    def __init__(self, root: Array, line: Array) -> None:
        from scipy.stats import qmc

        self._root, self._line = root, line
        self._limit = ndtri(1 - _LEVEL / 2) * np.sqrt(np.square(root).sum(axis=1))
        self._uniform = qmc.Sobol(len(line), rng=np.random.default_rng(0)).random(_POINTS)

    def _points(self, slope: float) -> tuple[Array, Array]:
        """Return effects (M, K) inside the limits and their weights, which average to the chance of being there."""
        weight, normal = np.ones(_POINTS), np.zeros_like(self._uniform)
        for k, (row, end) in enumerate(zip(self._root, self._limit, strict=True)):
            centre = normal[:, :k] @ row[:k] + slope * self._line[k]
            low, high = (ndtr((side * end - centre) / row[k]) for side in (-1, 1))
            weight *= high - low
            normal[:, k] = ndtri(np.clip(low + self._uniform[:, k] * (high - low), 1e-300, 1 - 1e-16))
        return normal @ self._root.T + slope * self._line, weight

    def passes(self, slope: float) -> float:
        return float(self._points(slope)[1].mean())

    def passed_mean(self, slope: float) -> Array:
        effects, weight = self._points(slope)
        return weight @ effects / weight.sum() if slope else np.zeros(len(self._line))  # exact by symmetry

    def slope(self, power: float) -> float:
        from scipy.optimize import brentq

        if 1 - self.passes(0.0) >= power:
            return 0.0
        spread = np.sqrt(np.square(self._root).sum(axis=1))
        # one test alone has the power there, so that all together have it before
        enough = 1.05 * ((ndtri(1 - _LEVEL / 2) + ndtri(power)) * spread / np.abs(self._line)).min()
        return float(brentq(lambda slope: 1 - self.passes(slope) - power, 0.0, enough, xtol=1e-10 * enough))


class _Joint:
    """The Wald statistic stays below its critical value; its law under a slope is a noncentral chi-squared."""

    def __init__(self, root: Array, line: Array) -> None:
        self._line, self._size = line, len(line)
        self._unit = float(np.square(solve_triangular(root, line, lower=True)).sum())
        self._critical = float(chdtri(self._size, _LEVEL))

    def passes(self, slope: float) -> float:
        return float(chndtr(self._critical, self._size, slope**2 * self._unit))

    def passed_mean(self, slope: float) -> Array:
        shrunk = chndtr(self._critical, self._size + 2, slope**2 * self._unit) / self.passes(slope)
        return shrunk * slope * self._line

    def slope(self, power: float) -> float:
        return float(np.sqrt(chndtrinc(self._critical, self._size, 1 - power) / self._unit))


def _ages(effects: Estimates) -> Array:
    if "age" in effects.labels:
        return effects.labels["age"].to_numpy()
    if effects.age is not None:
        return effects.age
    raise DesignError(f"{effects.estimator} has no effects before the start; use group_time or event_study")


def _root(effects: Estimates, tested: Array) -> Array:
    """Return the Cholesky root of the covariance of the effects tested."""
    if not len(tested):
        raise DesignError(
            f"{effects.estimator} has no effect before the start with a standard error, so trends cannot be tested; begin "
            "the panel earlier, or ask for standard errors"
        )
    covariance = effects.covariance[np.ix_(tested, tested)]
    scale = np.sqrt(np.diag(covariance))
    rank = int(np.linalg.matrix_rank(covariance / np.outer(scale, scale), tol=1e-11 * len(tested), hermitian=True))
    if rank < len(tested):
        raise DesignError(
            f"the {len(tested)} effects before the start have a covariance of rank {rank}, as with fewer units or clusters than "
            "effects, so they cannot be tested together; test event_study(effects), or begin the panel later"
        )
    return cholesky(covariance, lower=True)
