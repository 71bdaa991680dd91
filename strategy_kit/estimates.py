"""The one result type of every estimator."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError, level_laws, refuse
from strategy_kit.formats import percent
from strategy_kit.inference import BandLaw, IntervalLaw, OwnBand, Student, band_critical
from strategy_kit.joint import Joint
from strategy_kit.shown import Shown, View, ranged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strategy_kit.assigned import AssignedAt

Array = np.ndarray
_PRINTED = 60


@dataclass(frozen=True, eq=False, repr=False)
class Estimates(Shown):
    """Labelled estimates with their covariance, what they rest on, and the law of their intervals.

    Attributes
    ----------
    labels
        K rows; its columns (cohort, period, age, method) name each estimate.
    spread
        (K, K) covariance, or how estimates and cohort shares vary together where they can be averaged.
    law
        One law for all rows, which may bring its own band, or a law a row.
    average
        Overall estimate and standard error, as `glance` shows them.
    average_law
        Law of the overall estimate; that of the first row where it is not given.
    comparison
        Who serves as comparison, where the estimator lets its caller choose: never treated, or not yet treated.
    age
        (K,) periods since the start, of estimates by cohort and period.
    details
        Further tidy frames, such as the contrasts of single groups.
    notes
        Sentences on what was left out or assumed.

    Examples
    --------
    >>> from strategy_kit.did import overall, group_time
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> overall(group_time(panel)).glance()[["estimate", "clusters_treated", "assigned_at"]].to_numpy().tolist()
    [[2.5, 1, 'merchant']]
    """

    estimator: str
    outcome: str
    labels: pd.DataFrame
    estimate: Array
    spread: Array | Joint
    n_units: Array
    assigned_at: AssignedAt
    clusters: tuple[int, int]
    average: tuple[float, float]
    law: BandLaw | OwnBand | tuple[IntervalLaw, ...] = field(default_factory=Student)
    age: Array | None = None
    details: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seed: int = 0
    average_law: IntervalLaw | None = None
    comparison: str = ""

    @property
    def law_of_average(self) -> IntervalLaw:
        """The law of the overall estimate."""
        return self.average_law or (self.law[0] if isinstance(self.law, tuple) else self.law)

    @property
    def joint(self) -> Joint | None:
        """How estimates and cohort shares vary together, for those that `event_study` and the like can average."""
        return self.spread if isinstance(self.spread, Joint) else None

    @property
    def covariance(self) -> Array:
        """(K, K); missing in the rows and columns of estimates without a standard error."""
        return self.spread.covariance if isinstance(self.spread, Joint) else self.spread

    @property
    def std_error(self) -> Array:
        """(K,) standard errors; missing where an estimate is fixed by design."""
        return np.sqrt(self.spread.variance if isinstance(self.spread, Joint) else np.diag(self.spread))

    def without_errors(self, lost: Array) -> Estimates:
        """Return the same estimates, those marked in `lost` (K,) without a standard error."""
        if isinstance(self.spread, Joint):
            return replace(self, spread=self.spread.without_errors(lost))
        spread = self.spread.copy()
        spread[lost, :] = spread[:, lost] = np.nan
        return replace(self, spread=spread)

    def tidy(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row an estimate.

        Parameters
        ----------
        level
            Coverage of intervals and bands.

        Returns
        -------
        DataFrame
            The labels, then estimate, std_error, conf_low, conf_high (pointwise), band_low, band_high (all rows
            together), p_value, n_units.

        Raises
        ------
        ParameterError
            If `level` is not between 0 and 1.
        """
        refuse(ParameterError, self.estimator, level_laws(level))
        low, high, p_value = self._intervals(level)
        band_low, band_high = low, high
        if isinstance(self.law, OwnBand):
            band_low, band_high = self.law.band(self.estimate, self.std_error, level)
        elif not isinstance(self.law, tuple):
            joint = self.joint
            critical = (
                band_critical(self.covariance, level, law=self.law, seed=self.seed)
                if joint is None
                else joint.critical(level, self.law, self.seed)
            )
            band_low, band_high = self.law.ends(self.estimate, self.std_error, critical)
        return self.labels.assign(
            estimate=self.estimate,
            std_error=self.std_error,
            conf_low=low,
            conf_high=high,
            band_low=band_low,
            band_high=band_high,
            p_value=p_value,
            n_units=self.n_units,
        )

    def _intervals(self, level: float) -> tuple[Array, Array, Array]:
        if not isinstance(self.law, tuple):
            ends = self.law.interval(self.estimate, self.std_error, level)
            return *ends, self.law.p_value(self.estimate, self.std_error)
        rows = []
        for law, estimate, error in zip(self.law, self.estimate, self.std_error, strict=True):
            value, spread = np.array([estimate]), np.array([error])
            rows.append((*law.interval(value, spread, level), law.p_value(value, spread)))
        low, high, p_value = (np.concatenate(column) for column in zip(*rows, strict=True))
        return low, high, p_value

    def glance(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row for the whole fit: the overall average with its interval, and what it rests on.

        Returns
        -------
        DataFrame
            estimator, outcome, estimate, std_error, conf_low, conf_high, p_value, degrees_of_freedom, level,
            assigned_at, clusters_treated, clusters_comparison.

        Raises
        ------
        ParameterError
            If `level` is not between 0 and 1.
        """
        refuse(ParameterError, self.estimator, level_laws(level))
        law = self.law_of_average
        value, spread = (np.array([part]) for part in self.average)
        low, high = law.interval(value, spread, level)
        freedom = law.degrees_of_freedom if isinstance(law, Student) else np.nan
        return pd.DataFrame(
            {
                "estimator": [self.estimator],
                "outcome": [self.outcome],
                "estimate": value,
                "std_error": spread,
                "conf_low": low,
                "conf_high": high,
                "p_value": law.p_value(value, spread),
                "degrees_of_freedom": [freedom if np.isfinite(freedom) else np.nan],
                "level": [level],
                "assigned_at": [self.assigned_at],
                "clusters_treated": [self.clusters[0]],
                "clusters_comparison": [self.clusters[1]],
            }
        )

    @property
    def reading(self) -> str:
        """One sentence without a verb of change: the overall estimate, its interval, and what it rests on."""
        whole, (treated, comparison) = self.glance().iloc[0], self.clusters
        value, low, high = (float(whole[name]) for name in ("estimate", "conf_low", "conf_high"))
        told = ranged(value, low, high, float(whole["level"]))
        if self.outcome.startswith("log ") and not np.isnan([value, low, high]).any():
            told += (
                f", in percent {', '.join(percent(float(np.expm1(end)), signed=True) for end in (value, low, high))}"
            )
        groups = f"{comparison:,} comparison {'categories' if self.assigned_at == 'category' else 'units'}"
        control = f" ({self.comparison})" if self.comparison else ""
        return (
            f"{self.estimator} of {self.outcome}: {self._whole} {told}; {treated:,} treated, {groups}{control}, "
            f"assigned at {self.assigned_at} level."
        )

    @property
    def _whole(self) -> str:
        """What the overall estimate is: the only row, a row by name, or an average of rows."""
        names = self.labels.select_dtypes(exclude="number")
        same = (self.estimate == self.average[0]) & (self.std_error == self.average[1])
        if len(self.labels) == 1 or (names.shape[1] == 1 and same.any()):
            return "estimate" if len(self.labels) == 1 else f"estimate ({names.iloc[int(np.argmax(same)), 0]!s})"
        return "overall estimate"

    def _view(self) -> View:
        ages = self.labels.get("age")
        first = 0 if ages is None else int((ages < 0).sum()) - 4
        return View(self.reading, self.notes, self.tidy(), first)

    def __repr__(self) -> str:
        table = self.tidy()
        rows = table.to_string(index=False, max_rows=_PRINTED, show_dimensions=len(table) > _PRINTED)
        return "\n".join([self.reading, *self.notes, rows])
