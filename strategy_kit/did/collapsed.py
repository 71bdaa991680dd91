"""One change a unit: after its start less the period before it, set against the never treated over the same periods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from strategy_kit.did.guards import FEW, assignment_laws, refuse_few_clusters, settled
from strategy_kit.errors import DesignError, ParameterError, refuse
from strategy_kit.estimates import Estimates
from strategy_kit.formats import Count
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from strategy_kit.inference import IntervalLaw
    from strategy_kit.panel import Panel

Array = np.ndarray
Values = TypeVar("Values", pd.Series, pd.DataFrame)
_LEAST = 2


@dataclass(frozen=True)
class Changes:
    """What the treated units changed by, and what estimating the comparison adds to the error of any average of it.

    Attributes
    ----------
    value
        (N1,) change of each treated unit less the mean change of the never treated over its cohort's periods.
    cohort
        (N1,) cohort of each.
    comparison
        (N0, G) changes of the never treated over the periods of each cohort, less their means.
    treated
        (N,) which units of the panel are the N1.
    weight
        (N,) sampling weights.
    cluster
        (N,) codes, or None.
    """

    value: Array
    cohort: Array
    comparison: Array
    treated: Array
    weight: Array
    cluster: Array | None

    def regressed(self, design: Array) -> tuple[Array, Array]:
        """Return (K,) least-squares coefficients of the changes on an (N1, K) design, and the (N, K) influence of units."""
        other = self.weight[~self.treated, None]
        weighted = design * self.weight[self.treated, None]
        inverse = np.linalg.inv(weighted.T @ design)
        coefficient = inverse @ (weighted.T @ self.value)
        total = np.zeros((self.comparison.shape[1], design.shape[1]))
        np.add.at(total, self.cohort, weighted)
        influence = np.empty((len(self.treated), design.shape[1]))
        influence[self.treated] = weighted * (self.value - design @ coefficient)[:, None] @ inverse
        influence[~self.treated] = -(other / other.sum() * self.comparison) @ (total @ inverse)
        return coefficient, influence

    def covariance(self, influence: Array) -> Array:
        """Return the (K, K) sum over units, or clusters, of the outer products of their (N, K) influence."""
        return summed(influence, self.cluster)

    def errors(self, influence: Array) -> Array:
        """Return (K,) standard errors."""
        return np.sqrt(np.diag(self.covariance(influence)))


def summed(influence: Array, cluster: Array | None) -> Array:
    """Return the (K, K) sum over units, or clusters, of the outer products of their (N, K) influence."""
    if cluster is not None:
        total = np.zeros((cluster.max() + 1, influence.shape[1]))
        np.add.at(total, cluster, influence)
        influence = total
    return influence.T @ influence


def collapsed(panel: Panel, estimator: str) -> Changes:
    """Collapse a balanced panel to the changes of its units.

    Raises
    ------
    DesignError
        If the panel is unbalanced, a cohort starts in the first period, fewer than two units were treated or fewer than
        two were never treated, or treatment was assigned at category level.
    """
    treated = panel.cohort >= 0
    laws = assignment_laws(panel)
    if not panel.balanced:
        laws.append("the panel is unbalanced; keep the complete units with panel.complete_units()")
    if (panel.starts < 1).any():
        laws.append(
            f"cohort {panel.cohorts[0]} has no period before its start; leave it out with panel.untreated_at_first()"
        )
    if min(treated.sum(), (~treated).sum()) < _LEAST:
        laws.append(
            f"an error needs two treated and two never-treated units, but there are {int(treated.sum())} and "
            f"{int((~treated).sum())}; add units"
        )
    refuse(DesignError, estimator, laws)
    refuse_few_clusters(panel)
    after = np.arange(len(panel.periods)) >= panel.starts[:, None]
    steps = after / after.sum(axis=1, keepdims=True)
    steps[np.arange(len(steps)), panel.starts - 1] = -1.0
    change = (panel.outcome - panel.outcome[:, :1]) @ steps.T
    weight = np.ones(len(treated)) if panel.weight is None else panel.weight
    cohort = panel.cohort[treated]
    mean = np.average(change[~treated], axis=0, weights=weight[~treated])
    own = change[treated][np.arange(len(cohort)), cohort]
    return Changes(own - mean[cohort], cohort, change[~treated] - mean, treated, weight, panel.cluster)


def fitted(panel: Panel, changes: Changes, estimator: str, labels: pd.DataFrame, design: Array) -> Estimates:
    """Return the coefficients of the changes on an (N1, K) design; `average` is the mean over treated units."""
    estimate, influence = changes.regressed(design)
    whole, whole_influence = changes.regressed(np.ones((len(design), 1)))
    treated = int(changes.treated.sum())
    unused = ", ".join(panel.covariate_names)
    result = Estimates(
        estimator=estimator,
        outcome=panel.name,
        labels=labels,
        estimate=estimate,
        spread=changes.covariance(influence),
        n_units=(design != 0).sum(axis=0),
        assigned_at=panel.assigned_at,
        clusters=(treated, len(changes.treated) - treated),
        average=(float(whole[0]), float(changes.errors(whole_influence)[0])),
        notes=(*panel.notes, *([f"covariates of the panel, not adjusted for: {unused}"] if unused else [])),
    )
    return settled(result, panel.scale)


def by_unit(values: Values, units: pd.Index, what: str) -> tuple[Values, tuple[str, ...]]:
    """Return `values` in the order of the units, missing where they have none, and a note on rows of other units.

    Raises
    ------
    DesignError
        If a unit repeats.
    """
    repeated = values.index[values.index.duplicated()]
    if n := Count(repeated.nunique()):
        law = f"{what} has one row a unit, but {n} {n:unit repeats|units repeat} (first: {repeated[0]})"
        raise DesignError(f"{law}; keep one row of each")
    outside = int((~values.index.isin(units)).sum())
    note = f"rows of {what} for units that are not in the panel, not used: {outside}"
    return values.reindex(units), (note,) if outside else ()


def marked(panel: Panel, given: pd.Series | Sequence[bool], what: str) -> Array:
    """Return (N,) which units are marked in `given`, in the order of the units or indexed by them.

    Raises
    ------
    ParameterError
        If it is not true or false for each unit.
    """
    values = pd.Series(np.ravel(np.asarray(given, dtype=object)))
    if isinstance(given, pd.Series):
        values = given.reindex(panel.units) if given.index.is_unique else given.head(0)
    if len(values) != len(panel.units) or values.isna().any() or not values.isin([True, False]).all():
        raise ParameterError(
            f"{what} is true or false for each of the {len(panel.units)} units of the panel; give it once for each"
        )
    return values.to_numpy(dtype=bool)


def few(what: str, names: Iterable[object], count: Array) -> tuple[str, ...]:
    """Return a note on the rows that rest on fewer than five units, if there are any."""
    small = ", ".join(str(name) for name, n in zip(names, count, strict=True) if n < FEW)
    return (f"{what} of fewer than {FEW} units ({small}): their standard errors say little",) if small else ()


def described(labels: pd.DataFrame, estimate: Array, error: Array, law: IntervalLaw | None = None) -> pd.DataFrame:
    """Return a frame of details: the labels, then estimates with their pointwise 95 % interval."""
    low, high = (law or Student()).interval(estimate, error, 0.95)
    return labels.assign(estimate=estimate, std_error=error, conf_low=low, conf_high=high)
