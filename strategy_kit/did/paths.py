"""The pilot question period by period: gaps around the start, and how far they stray when starts are dealt anew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.assigned import assigned_groups
from strategy_kit.did.guards import ROUNDING, settled, unused_by_means
from strategy_kit.errors import DesignError, ParameterError, refuse, seed_laws
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student, StudentByRow, welch
from strategy_kit.randomisation import deals, number_of_deals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strategy_kit.assigned import AssignedGroups
    from strategy_kit.panel import Panel

Array = np.ndarray
PLACEBO_PATHS = 500
_CELLS, _TIED = 2_000_000, 1e-9
_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class DealtPath(StudentByRow):
    """The law of a path: Student's at each age, and for all ages the largest gap of every way to deal the starts.

    Attributes
    ----------
    largest
        (M,) largest absolute gap of each assignment in units of its own error, the real one first.
    unit
        That error for the real one.

    Examples
    --------
    >>> law = DealtPath(np.array([2.0]), np.arange(40.0), 0.5)
    >>> law.critical(0.9).__round__(6), law.critical(0.99)
    (35.0, inf)
    """

    largest: Array
    unit: float

    def critical(self, level: float) -> float:
        """Return what at most 1 - `level` of the assignments exceed; infinite where not even the most extreme one does."""
        ordered = np.sort(self.largest)[::-1]
        allowed = min(int((1 - level) * len(ordered) + _TIED), len(ordered) - 1)
        critical = ordered[allowed] * (1 + _TIED)  # mirror images agree to rounding of the sums
        return float(critical) if ordered[0] > critical else np.inf

    def band(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the ends between which the whole path lies at coverage `level`."""
        half = np.where(np.isfinite(std_error), self.critical(level) * self.unit, np.nan)
        return estimate - half, estimate + half


class _Contrasts(NamedTuple):
    """How each of G groups stands at each of A ages, were its start each of S, less the mean of its other periods before."""

    age: Array  # (A,)
    value: Array  # (G, S, A)
    judged: Array  # (A,) whether there is another period before
    omitted: int


def pilot_path(panel: Panel, *, seed: int = 0) -> Estimates:
    """Follow the gap between treated groups and the others through the periods before and after the start.

    Groups are those of `pilot_contrast`. A group's value at an age is its outcome less its mean over the periods before
    the start; a period before the start is measured from the others before it, so that it is no part of its own base and
    its gap is no smaller than one of the same noise afterwards. The gap at an age is the mean of treated groups less the
    mean of the others, which with several starts count as the average over the starts that happened. Ages are those that
    all starts have, so that the same groups stand at every age.

    Parameters
    ----------
    panel
        Observed in every period; the outcome is used as it is.
    seed
        Of the sample, should there be more than 50,000 ways to deal the starts.

    Returns
    -------
    Estimates
        Label age. conf_low and conf_high are Welch's, each age alone. Between band_low and band_high the whole path lies:
        the largest gap over all ages, in units of one error (of the mean of Welch's variances over the ages), is compared
        with that of every way to deal the starts. `glance` is the mean over ages from 0 on. `details` has "tests" (ages:
        all, before, after; statistic: the largest gap; p_value, smallest_p_value, assignments, exact), "placebo"
        (assignment, age, gap; 0 is the real one; at most 500 assignments) and "placebo_range" (age, placebo_low,
        placebo_high: the middle 95 % of all gaps).

    Raises
    ------
    DesignError
        If a side has fewer than two groups, no period lies before the first start, the starts have no age in common, all
        groups moved alike, or the panel is unbalanced.
    ParameterError
        If `seed` is no whole number.

    References
    ----------
    Westfall and Young (1993), "Resampling-based multiple testing" (the largest statistic); MacKinnon and Webb (2020),
    "Randomization inference for difference-in-differences with few treated clusters".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 1, 3], [2, 1.5, 4.5], [1, 2, 1], [2, 1.8, 2.5], [3, 3.1, 2.9]])
    >>> path = pilot_path(Panel.from_matrix(y, treated_from=[3, 3, 0, 0, 0]))
    >>> path.tidy(level=0.8)[["age", "estimate", "band_low", "band_high"]].round(2).to_numpy().tolist()
    [[-2.0, 0.55, -0.32, 1.42], [-1.0, -0.55, -1.42, 0.32], [0.0, 2.39, 1.52, 3.26]]
    """
    refuse(ParameterError, "pilot_path", seed_laws(seed))
    groups = assigned_groups(panel)
    contrasts = _contrasts(panel, groups)
    values = groups.at_own_start(contrasts.value)
    judged = contrasts.judged & (np.ptp(values, axis=0) > ROUNDING * panel.scale)
    if not judged.any():
        raise DesignError(
            "all groups moved alike, so chance cannot be measured; check that the outcome is not filled in"
        )
    gap, unit = _dealt(contrasts.value[:, :, judged], groups, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.nan_to_num(np.abs(gap) / unit[:, None], nan=0.0, posinf=np.inf)
    treated, age = groups.treated, contrasts.age
    with np.errstate(invalid="ignore"):
        estimate, _, freedom = welch(values[treated].T, values[~treated].T)
    after = values[:, age >= 0].mean(axis=1)
    mean, error, mean_freedom = welch(after[treated], after[~treated])
    sides = (int(treated.sum()), int((~treated).sum()))
    covariance = sum(
        np.atleast_2d(np.cov(values[treated == side].T)) / (treated == side).sum() for side in (True, False)
    )
    law = DealtPath(freedom, size.max(axis=1), float(unit[0]))
    tests = _tests(size, age[judged], number_of_deals(groups.start))
    result = Estimates(
        estimator="pilot_path",
        outcome=panel.name,
        labels=pd.DataFrame({"age": age}),
        estimate=estimate,
        spread=np.asarray(covariance),
        n_units=np.repeat(int((panel.cohort >= 0).sum()), len(age)),
        assigned_at=panel.assigned_at,
        clusters=sides,
        average=(float(mean), float(error)),
        law=law,
        details={"tests": tests, **_placebo(gap, age[judged])},
        notes=(*panel.notes, *unused_by_means(panel), *_told(contrasts, tests)),
        seed=seed,
        average_law=Student(float(mean_freedom)),
    )
    return settled(result.without_errors(~judged), panel.scale)


def _contrasts(panel: Panel, groups: AssignedGroups) -> _Contrasts:
    ages = panel.ages[np.isin(panel.starts, groups.firsts)]
    common = reduce(np.intersect1d, ages)
    if not (common >= 0).any():
        raise DesignError("the starts have no age in common; ask about each start alone")
    period = np.arange(ages.shape[1])
    at = np.stack([np.searchsorted(row, common) for row in ages])[:, :, None]  # (S, A, 1)
    base = (period < groups.firsts[:, None, None]) & (period != at)
    count = base.sum(axis=2, keepdims=True)
    judged = (count > 0).all(axis=(0, 2))
    weights = ((period == at) - base / np.maximum(count, 1)) * judged[:, None]  # (S, A, T)
    value = np.tensordot(groups.paths, weights, axes=(1, 2))
    return _Contrasts(common, value, judged, len(np.unique(ages)) - len(common))


def _dealt(contrasts: Array, groups: AssignedGroups, seed: int) -> tuple[Array, Array]:
    """Return (M, A) gaps of every assignment, the real one first, and the (M,) error that the ages of each share."""
    own = contrasts - contrasts.mean(axis=(0, 1))
    terms = [(values, values**2) for values in (*np.moveaxis(own, 1, 0), groups.over_starts(own))]
    treated = groups.start[groups.treated]
    gaps, units = [], []
    for dealt in _blocks(groups.start, seed, max(1, _CELLS // own.shape[2])):
        marked, never = [(dealt == code).astype(float) for code in range(own.shape[1])], (dealt < 0).astype(float)
        size, rest = len(treated), len(groups.start) - len(treated)
        outside, other = (never @ terms[-1][n] for n in (0, 1))
        common = (
            np.stack([never @ values for values, _ in terms[:-1]]) / rest - outside / rest
        )  # (S, m, A): no draw of a group
        total, squares = np.zeros((2, *outside.shape))
        for mark, (values, square), moved in zip(marked, terms, common, strict=False):
            sums, count = mark @ values, float(mark[0].sum())
            total += sums - count * moved
            squares += mark @ square - 2 * moved * sums + count * moved**2
        inside, outside = total / size, outside / rest
        spread = np.maximum(squares - size * inside**2, 0.0) / (size - 1) / size
        gaps.append(inside - outside)
        units.append(np.sqrt((spread + np.maximum(other - rest * outside**2, 0.0) / (rest - 1) / rest).mean(axis=1)))
    return np.concatenate(gaps), np.concatenate(units)


def _blocks(start: Array, seed: int, rows: int) -> Iterator[Array]:
    yield start[None, :]
    for block in deals(start, seed):
        other = block[(block != start).any(axis=1)]
        yield from (other[first : first + rows] for first in range(0, len(other), rows))


def _tests(size: Array, age: Array, ways: int) -> pd.DataFrame:
    asked = {"all": age == age, "before": age < 0, "after": age >= 0}  # noqa: PLR0124  # all of them
    rows = []
    for name, held in asked.items():
        if held.any():
            largest = size[:, held].max(axis=1)
            extreme = [float(np.mean(largest >= least * (1 - _TIED))) for least in (largest[0], largest.max())]
            rows.append((name, largest[0], *extreme, len(size), len(size) == ways))
    columns = ["ages", "statistic", "p_value", "smallest_p_value", "assignments", "exact"]
    return pd.DataFrame(rows, columns=columns)


def _placebo(gap: Array, age: Array) -> dict[str, pd.DataFrame]:
    shown = np.unique(np.linspace(0, len(gap) - 1, min(len(gap), PLACEBO_PATHS)).astype(int))
    paths = {"assignment": np.repeat(shown, len(age)), "age": np.tile(age, len(shown)), "gap": gap[shown].ravel()}
    low, high = np.quantile(gap, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    return {
        "placebo": pd.DataFrame(paths),
        "placebo_range": pd.DataFrame({"age": age, "placebo_low": low, "placebo_high": high}),
    }


def _told(contrasts: _Contrasts, tests: pd.DataFrame) -> list[str]:
    notes = []
    if contrasts.omitted:
        notes.append(f"ages that some starts do not have, left out: {contrasts.omitted}")
    if not contrasts.judged.all():
        notes.append("a start has one period before it, which is the base and is not judged itself")
    least = float(tests["smallest_p_value"].iloc[0])
    if least > 1 - _LEVEL:
        notes.append(
            f"of {tests['assignments'].iloc[0]} ways to deal the starts not even the most extreme has a p-value below "
            f"{least:.3g}, so that the band at {_LEVEL:.0%} is infinite"
        )
    return notes
