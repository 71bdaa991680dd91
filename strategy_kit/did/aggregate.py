"""Averages of cohort-by-period effects, with the variance that estimated cohort shares add."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates
    from strategy_kit.joint import Joint

Array = np.ndarray


def overall(effects: Estimates) -> Estimates:
    """Average all effects after the start, each cohort-period weighted by the cohort's units.

    Parameters
    ----------
    effects
        From `group_time`.

    Returns
    -------
    Estimates
        One row, without labels.

    Raises
    ------
    DesignError
        If `effects` are not by cohort and period, or none lies after a start.

    References
    ----------
    Callaway and Sant'Anna (2021), section 3 ("simple" in R's aggte).

    Examples
    --------
    >>> from strategy_kit.did import group_time
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> float(overall(group_time(panel)).tidy()["estimate"][0])
    2.5
    """
    after = _age(effects) >= 0
    return _averaged(effects, "overall", pd.DataFrame(index=[0]), after[None, :], _plain(np.array([True])))


def event_study(effects: Estimates) -> Estimates:
    """Average the effects by age, weighting cohorts by their units; negative ages are the pre-trend.

    Parameters
    ----------
    effects
        From `group_time`.

    Returns
    -------
    Estimates
        Label age. `glance` shows the plain average over ages 0 and later.

    References
    ----------
    Callaway and Sant'Anna (2021), section 3 ("dynamic" in R's aggte).

    Examples
    --------
    >>> from strategy_kit.did import group_time
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> event_study(group_time(panel)).tidy()["age"].tolist()
    [0]
    """
    age = _age(effects)
    distinct = np.unique(age)
    labels = pd.DataFrame({"age": distinct})
    return _averaged(effects, "event_study", labels, age == distinct[:, None], _plain(distinct >= 0))


def by_cohort(effects: Estimates) -> Estimates:
    """Average the effects after the start within each cohort.

    Parameters
    ----------
    effects
        From `group_time`.

    Returns
    -------
    Estimates
        Label cohort. `glance` weighs the cohorts by their units.

    References
    ----------
    Callaway and Sant'Anna (2021), section 3 ("group" in R's aggte).

    Examples
    --------
    >>> from strategy_kit.did import group_time
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> by_cohort(group_time(panel)).tidy()["cohort"].tolist()
    [2]
    """
    after = _age(effects) >= 0
    cohort = effects.labels["cohort"].to_numpy()
    distinct = np.unique(cohort[after])
    chosen = (cohort == distinct[:, None]) & after
    return _averaged(effects, "by_cohort", pd.DataFrame({"cohort": distinct}), chosen, _by_units)


def by_period(effects: Estimates) -> Estimates:
    """Average the effects by calendar period over the cohorts that have started, weighted by their units.

    Parameters
    ----------
    effects
        From `group_time`.

    Returns
    -------
    Estimates
        Label period. `glance` shows the plain average over periods.

    References
    ----------
    Callaway and Sant'Anna (2021), section 3 ("calendar" in R's aggte).

    Examples
    --------
    >>> from strategy_kit.did import group_time
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> by_period(group_time(panel)).tidy()["period"].tolist()
    [2]
    """
    after = _age(effects) >= 0
    period = effects.labels["period"].to_numpy()
    distinct = np.unique(period[after])
    chosen = (period == distinct[:, None]) & after
    return _averaged(
        effects, "by_period", pd.DataFrame({"period": distinct}), chosen, _plain(np.ones(len(distinct), bool))
    )


def _age(effects: Estimates) -> Array:
    if effects.joint is None or effects.age is None:
        raise DesignError(f"{effects.estimator} has no effects by cohort and period to average; start from group_time")
    if not (effects.age >= 0).any():
        raise DesignError("no effect lies at or after a cohort's start, so there is nothing to average")
    return effects.age


def _averaged(
    effects: Estimates,
    estimator: str,
    labels: pd.DataFrame,
    chosen: Array,
    whole: Callable[[Estimates, Joint, Array], tuple[float, float]],
) -> Estimates:
    """Average the (J, K) chosen cells row by row, weighted by cohort shares; `whole` then averages the rows."""
    joint = effects.joint
    assert joint is not None  # noqa: S101  # `_age` refused everything else
    cohort = joint.cohorts.get_indexer(pd.Index(effects.labels["cohort"]))
    row, cell = chosen.nonzero()
    shape = len(labels), len(joint.shares)
    total = np.bincount(row, joint.shares[cohort[cell]], len(labels))
    weight = joint.shares[cohort[cell]] / total[row]
    estimate = np.bincount(row, weight * effects.estimate[cell], len(labels))
    gap = csr_array(((effects.estimate[cell] - estimate[row]) / total[row], (row, cohort[cell])), shape=shape)
    averaged = joint.combined(csr_array((weight, (row, cell)), shape=chosen.shape), gap.toarray())
    fixed = np.bincount(row, np.isfinite(effects.std_error[cell]), len(labels)) == 0
    held = csr_array((np.ones(len(row)), (row, cohort[cell])), shape=shape).toarray() > 0
    result = replace(
        effects,
        estimator=estimator,
        labels=labels,
        estimate=estimate,
        spread=averaged.without_errors(fixed),
        n_units=held @ joint.count,
        age=None,
    )
    value, spread = whole(result, averaged, held)
    return replace(result, average=(value, spread if np.isfinite(effects.std_error).any() else np.nan))


def _plain(counted: Array) -> Callable[[Estimates, Joint, Array], tuple[float, float]]:
    def whole(rows: Estimates, joint: Joint, held: Array) -> tuple[float, float]:  # noqa: ARG001
        if not counted.any():
            return np.nan, np.nan
        weight = counted / counted.sum()
        averaged = joint.combined(weight[None, :], np.zeros((1, len(joint.shares))))
        return float(weight @ rows.estimate), float(np.sqrt(averaged.variance[0]))

    return whole


def _by_units(rows: Estimates, joint: Joint, held: Array) -> tuple[float, float]:
    share = held @ joint.shares
    weight = share / share.sum()
    value = float(weight @ rows.estimate)
    gradient = ((rows.estimate - value) @ held) / share.sum()
    averaged = joint.combined(weight[None, :], gradient[None, :])
    return value, float(np.sqrt(averaged.variance[0]))
