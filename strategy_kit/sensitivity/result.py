"""The result of a sensitivity analysis, and the sentence that it allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError
from strategy_kit.formats import number
from strategy_kit.shown import Shown, View, digits_of

if TYPE_CHECKING:
    from strategy_kit.sensitivity.study import Path

Array = np.ndarray
Restriction = Literal["relative_magnitudes", "smoothness"]


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity(Shown):
    """Intervals of one effect under violations of parallel trends of growing size.

    Attributes
    ----------
    restriction
        How the size is measured: `relative_magnitudes` in multiples of the worst break seen before the start,
        `smoothness` as a change of slope a period, in units of the outcome.
    ages
        The effect is the average over these ages.
    estimate, std_error, original
        The effect as the study has it, and its interval, which takes trends to be parallel.
    magnitude, conf_low, conf_high
        (M,) sizes and ends of the intervals.
    breakdown
        The size up to which every interval lies on the estimate's side of zero; 0 if not even that of size 0 does,
        infinite if no size ends it, missing if the original interval holds zero, so that there is nothing to defend.
    worst_seen
        The worst violation estimated before the start, in units of the outcome: the largest change from one age to the
        next, or of slope; missing where one age before the base shows no slope.
    notes
        The study's own cautions, and what was found here.

    Examples
    --------
    >>> from strategy_kit.sensitivity import relative_magnitudes, study_of
    >>> study = study_of([0.1, 1.0], [[0.01, 0.0], [0.0, 0.01]], [-2, 0])
    >>> relative_magnitudes(study, magnitudes=[0.0, 1.0]).tidy().round(2).to_numpy().tolist()
    [[0.0, 0.8, 1.2, True], [1.0, 0.66, 1.34, True]]
    """

    restriction: Restriction
    outcome: str
    ages: tuple[int, ...]
    level: float
    estimate: float
    std_error: float
    original: tuple[float, float]
    magnitude: Array
    conf_low: Array
    conf_high: Array
    breakdown: float
    worst_seen: float
    notes: tuple[str, ...] = ()

    def tidy(self) -> pd.DataFrame:
        """Return one row a size of violation: magnitude, conf_low, conf_high, excludes_zero."""
        ends = {"magnitude": self.magnitude, "conf_low": self.conf_low, "conf_high": self.conf_high}
        return pd.DataFrame({**ends, "excludes_zero": (self.conf_low > 0) | (self.conf_high < 0)})

    def glance(self) -> pd.DataFrame:
        """Return one row: restriction, outcome, estimate, std_error, conf_low, conf_high, level, breakdown, worst_seen.

        Ends are those of the original interval.
        """
        low, high = self.original
        values = {
            "restriction": self.restriction,
            "outcome": self.outcome,
            "estimate": self.estimate,
            "std_error": self.std_error,
            "conf_low": low,
            "conf_high": high,
            "level": self.level,
            "breakdown": self.breakdown,
            "worst_seen": self.worst_seen,
        }
        return pd.DataFrame(values, index=[0])

    @property
    def reading(self) -> str:
        """One sentence on what the breakdown value says."""
        low, high = self.original
        digits = digits_of(high - low)
        span = f"{number(low, digits, signed=True)} to {number(high, digits, signed=True)}"
        where = f"age {self.ages[0]}" if len(self.ages) == 1 else f"ages {_spelt(self.ages)} on average"
        value = number(self.estimate, digits, signed=True)
        finding = f"the effect at {where} ({value}, {self.level:.0%} interval {span})"
        if np.isnan(self.breakdown):
            return f"No finding to defend: {finding} holds zero even if trends are parallel."
        if np.isinf(self.breakdown):
            return f"The finding has no end: {finding} stays off zero however large the violation, as none was seen before."
        size = number(self.breakdown, digits_of(self.breakdown))
        if self.restriction == "relative_magnitudes":
            return f"The finding survives until trends break by {size} times the worst break seen before: {finding}."
        if self.breakdown == 0:
            return f"The finding does not survive a straight line: {finding} is lost where trends may differ by a constant slope."
        seen = number(self.worst_seen, digits_of(self.worst_seen))
        beside = "" if np.isnan(self.worst_seen) else f", where {seen} is the worst estimated before"
        return f"The finding survives until slopes change by {size} a period{beside}: {finding}."

    def __repr__(self) -> str:
        return "\n".join([self.reading, *self.notes, self.tidy().to_string(index=False)])

    def _view(self) -> View:
        return View(self.reading, self.notes, self.tidy())


def result_of(
    path: Path,
    restriction: Restriction,
    magnitude: Array,
    ends: tuple[Array, Array],
    judged: tuple[float, float],
    notes: tuple[str, ...],
) -> Sensitivity:
    """Put ends and the worst violation seen, in standard errors, and the breakdown into a result in units of the outcome."""
    return Sensitivity(
        restriction=restriction,
        outcome=path.outcome,
        ages=path.ages,
        level=path.level,
        estimate=float(path.target @ path.estimate) * path.scale,
        std_error=path.scale,
        original=path.original,
        magnitude=magnitude,
        conf_low=ends[0] * path.scale,
        conf_high=ends[1] * path.scale,
        breakdown=judged[0],
        worst_seen=judged[1] * path.scale,
        notes=(*path.notes, *notes),
    )


def magnitudes_of(given: object) -> Array:
    """Return sizes of violation as a rising array, or refuse them."""
    try:
        sizes = np.atleast_1d(np.asarray(given, dtype=float))
    except (TypeError, ValueError):
        sizes = np.array([np.nan])
    if sizes.ndim != 1 or not sizes.size or not ((sizes >= 0) & (sizes < np.inf)).all() or (np.diff(sizes) <= 0).any():
        raise ParameterError(f"magnitudes are finite numbers of 0 or more in rising order, not {given!r}")
    return sizes


def _spelt(ages: tuple[int, ...]) -> str:
    whole = len(ages) == ages[-1] - ages[0] + 1
    return f"{ages[0]} to {ages[-1]}" if whole else ", ".join(map(str, ages))
