"""Reading a pilot every week: bands that hold at all looks together, and how much wider that makes a reading."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.assigned import assigned_groups
from strategy_kit.errors import DesignError, ParameterError, refuse, seed_laws
from strategy_kit.estimates import Estimates
from strategy_kit.formats import number
from strategy_kit.inference import Student, StudentByRow, welch
from strategy_kit.plan import LONGEST
from strategy_kit.planning.movement import (
    AUTOCORRELATIONS,
    SHARES,
    Looks,
    expected_error,
    growth,
    largest_ratios,
    movement,
    spreads,
    tables,
)
from strategy_kit.shown import Shown, View

if TYPE_CHECKING:
    from strategy_kit.assigned import AssignedGroups
    from strategy_kit.panel import Panel
    from strategy_kit.plan import Plan

Array = np.ndarray
Kind = Literal["one_look", "declared", "undeclared", "late", "no_horizon"]
FEWEST_BEFORE = 6
"""Periods before the start from which the groups' movements can be told."""
_LEAST, _ROUNDING = 2, 4e-15
_MEANING: dict[Kind, str] = {
    "one_look": "valid at one look, the only one declared",
    "declared": "valid at all {n} declared looks",
    "undeclared": "not a declared look: valid at all {n} weeks up to the horizon",
    "late": "after the horizon: valid at all {n} weeks of three years",
    "no_horizon": "valid at every look, no horizon was declared: at all {n} weeks of three years",
}


@dataclass(frozen=True, eq=False)
class LookLaw:
    """The law of estimates that are read again and again.

    An interval at one look is Welch's. The band is the wider of it and of `critical` expected errors either way.

    Attributes
    ----------
    alone
        Student's law at each look.
    expected_error
        (K,) standard errors that the periods before the start let one expect.
    largest
        (R, P) largest ratio of an estimate to its expected error over all looks, in worlds without an effect.

    Examples
    --------
    >>> law = LookLaw(StudentByRow(np.array([4.0])), np.array([1.0]), np.linspace(0, 4, 101)[None, :])
    >>> law.critical(0.9), law.band(np.zeros(1), np.array([0.5]), 0.9)[1].tolist()
    (3.6, [3.6])
    """

    alone: StudentByRow
    expected_error: Array
    largest: Array

    def interval(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends at coverage `level`, each look alone."""
        return self.alone.interval(estimate, std_error, level)

    def p_value(self, estimate: Array, std_error: Array) -> Array:
        """Return the two-sided p-value against no effect, each look alone."""
        return self.alone.p_value(estimate, std_error)

    def critical(self, level: float) -> float:
        """Return what the largest ratio stays below with probability `level`, whatever the volatility of the treated."""
        return float(np.quantile(self.largest, level, axis=1, method="higher").max())

    def band(self, estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
        """Return the lower and upper ends between which the effect lies at all looks together at coverage `level`."""
        low, high = self.interval(estimate, std_error, level)
        half = self.critical(level) * self.expected_error
        return np.minimum(low, estimate - half), np.maximum(high, estimate + half)


@dataclass(frozen=True, slots=True)
class ReadingWidth(Shown):
    """How much wider than a single reading the interval of today is, and why.

    Attributes
    ----------
    factor
        Half-width of the band over that of the interval at one look; 1 where there is one look only.
    kind
        one_look; declared (a look of the plan); undeclared (a week before the horizon that the plan does not name); late
        (after the horizon); no_horizon.
    look
        Complete periods since the first start.
    looks
        How many looks the band holds at.

    Examples
    --------
    >>> ReadingWidth(1.2, "declared", 4, 26).meaning
    'valid at all 26 declared looks'
    """

    factor: float
    kind: Kind
    look: int
    looks: int

    @property
    def meaning(self) -> str:
        """What the band is valid for, in words."""
        return _MEANING[self.kind].format(n=self.looks)

    def tidy(self) -> pd.DataFrame:
        """Return one row: look, widening, reading, looks."""
        row = {"look": self.look, "widening": self.factor, "reading": self.kind, "looks": self.looks}
        return pd.DataFrame(row, index=[0])

    def _view(self) -> View:
        sentence = f"Today's interval is {number(self.factor, 2)} times that of a single look: {self.meaning}."
        return View(sentence, (), self.tidy())


def weekly_looks(panel: Panel, plan: Plan, *, seed: int = 0) -> Estimates:
    """Follow the pilot question from look to look, with a band that holds at all of them together.

    The estimate at a look is `pilot_contrast` with the data up to then. The band is the wider of two: Welch's interval at
    that look, and c expected errors either way. The expected error is what the groups' own movements over time let one
    expect of the estimate at that look: their volatility and autocorrelation before the start, and where the groups of a
    side have moved more apart since the start, their volatility since. The critical value c is such that in worlds without
    an effect the estimate stays within c expected errors at all looks of the plan with probability `level`.

    Parameters
    ----------
    panel
        Observed in every period, at least six of them before the first start; the outcome is used as it is. Assumed are
        periods that are common to all groups, and independent movements of each group, autoregressive with noise; pilots may
        be more or less volatile than others.
    plan
        Its looks are counted in complete periods of the panel since the first start. Without a horizon every week of
        three years is a look.
    seed
        Of the simulated worlds.

    Returns
    -------
    Estimates
        Labels look and period, one row for each look that the panel has reached; conf_low and conf_high hold at one look,
        band_low and band_high at all; they are the same where the plan has one look. `glance` is the last row. Otherwise
        `details` has "calibration" (measure, value: autocorrelation of the movements before the start and share of white noise in
        them, both rounded up; critical, the c at 95 %; looks; periods_before) and "expected" (look, expected_error).

    Raises
    ------
    DesignError
        If the panel has fewer than six periods before the first start and the plan more than one look, no declared look has
        been reached, more than three years have passed without a horizon, the groups of a side moved alike, a side has fewer
        than two groups, or the panel is unbalanced.
    ParameterError
        If `seed` is no whole number.

    References
    ----------
    Welch (1947), "The generalization of Student's problem when several different population variances are involved";
    Pocock (1977), "Group sequential methods in the design and analysis of clinical trials" (one critical value for all
    looks). The expected errors are our own.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> from strategy_kit.plan import Plan
    >>> y = np.random.default_rng(0).normal(size=(8, 12)) + np.outer(np.arange(8) < 3, np.arange(12) >= 8)
    >>> study = weekly_looks(Panel.from_matrix(y, treated_from=[9] * 3 + [0] * 5), Plan(horizon=4))
    >>> study.tidy()[["look", "period"]].to_numpy().tolist(), study.notes[-1]
    ([[1, 9], [2, 10], [3, 11], [4, 12]], 'valid at all 4 declared looks')
    """
    refuse(ParameterError, "weekly_looks", seed_laws(seed))
    groups = assigned_groups(panel)
    observed = panel.outcome.shape[1] - int(groups.firsts.min())
    if plan.horizon is None and observed > LONGEST:
        raise DesignError(
            f"{observed} periods have passed since the first start, but without a horizon a band holds for {LONGEST}; end the "
            "panel earlier, or declare a horizon"
        )
    kind: Kind = "no_horizon" if plan.horizon is None else "one_look" if len(plan.looks) == 1 else "declared"
    design = _design(groups, plan.looks or tuple(range(1, LONGEST + 1)))
    reached = [look for look in design.looks if look <= observed]
    if not reached:
        raise DesignError(
            f"the first look that can be taken comes {design.looks[0]} periods after the start, and the panel has {observed}; "
            "wait for it"
        )
    least = _ROUNDING * panel.scale
    rows = [_at(groups, look, least) for look in reached]
    estimate, error, freedom = (np.array(column) for column in zip(*rows, strict=True))
    law, details = LookLaw(StudentByRow(freedom), np.zeros(len(reached)), np.zeros((1, 1))), {}
    if kind != "one_look":
        step, expected = _expected(groups, design, least)
        law = LookLaw(law.alone, expected, largest_ratios(design, step, seed))
        details = _details(design, step, law, reached)
    periods = int(groups.firsts.min()) + np.array(reached) - 1
    begun = groups.treated & (groups.firsts[groups.start] - groups.firsts.min() < np.array(reached)[:, None])
    return Estimates(
        estimator="weekly_looks",
        outcome=panel.name,
        labels=pd.DataFrame({"look": reached, "period": panel.periods[periods]}),
        estimate=estimate,
        spread=np.diag(error**2),
        n_units=(begun @ groups.units).astype(int),
        assigned_at=panel.assigned_at,
        clusters=(int(begun[-1].sum()), int((~begun[-1]).sum())),
        average=(float(estimate[-1]), float(error[-1])),
        law=law,
        average_law=Student(float(freedom[-1])),
        details=details,
        notes=(*panel.notes, *_left_out(plan, design, observed), _MEANING[kind].format(n=len(design.looks))),
        seed=seed,
    )


def reading_width(panel: Panel, plan: Plan, *, seed: int = 0) -> ReadingWidth:
    """Say how much wider today's interval must be than that of a single reading, under the plan.

    Today is the panel's last period. A week that the plan does not name, before its horizon, is read with the band that
    holds at all weeks up to the horizon; after the horizon, or without one, with the band that holds for three years.

    Parameters
    ----------
    panel, seed
        As for `weekly_looks`.
    plan
        Its level is that of both intervals.

    Raises
    ------
    DesignError
        As `weekly_looks`; with a single declared look, when that comes, no more is needed than `pilot_contrast` needs.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> from strategy_kit.plan import Plan
    >>> y = np.random.default_rng(0).normal(size=(8, 12)) + np.outer(np.arange(8) < 3, np.arange(12) >= 8)
    >>> panel = Panel.from_matrix(y, treated_from=[9] * 3 + [0] * 5)
    >>> [reading_width(panel, plan).kind for plan in (Plan(horizon=4), Plan(horizon=4, looks=(4,)), Plan(horizon=9, looks=(9,)))]
    ['declared', 'one_look', 'undeclared']
    """
    refuse(ParameterError, "reading_width", seed_laws(seed))
    groups = assigned_groups(panel)
    look = panel.outcome.shape[1] - int(groups.firsts.min())
    if plan.horizon is None:
        kind: Kind = "no_horizon"
    elif look in plan.looks:
        kind = "one_look" if len(plan.looks) == 1 else "declared"
    else:
        kind = "undeclared" if look < plan.horizon else "late"
    if kind == "one_look":
        return ReadingWidth(1.0, kind, look, 1)
    last = plan.horizon if kind == "undeclared" and plan.horizon else LONGEST
    looks = plan.looks if kind == "declared" else tuple(range(1, last + 1))
    design = _design(groups, looks)
    if look not in design.looks:
        raise DesignError(
            f"look {look} cannot be taken: it comes more than {LONGEST} periods after the first start, or before a second group "
            "started; choose another week"
        )
    least = _ROUNDING * panel.scale
    step, expected = _expected(groups, design, least)
    _, error, freedom = np.array([_at(groups, look, least)]).T
    law = LookLaw(StudentByRow(freedom), expected[-1:], largest_ratios(design, step, seed))
    zero = np.zeros(1)
    factor = law.band(zero, error, plan.level)[1] / law.interval(zero, error, plan.level)[1]
    return ReadingWidth(float(factor[0]), kind, look, len(design.looks))


def _design(groups: AssignedGroups, looks: tuple[int, ...]) -> Looks:
    """Leave out looks at which fewer than two groups have started; that is when no error can be told."""
    before = int(groups.firsts.min())
    starts = groups.firsts - before
    sizes = np.bincount(groups.start[groups.treated])
    taken = tuple(look for look in looks if sizes[starts < look].sum() >= _LEAST)
    if not taken:
        raise DesignError(
            f"fewer than two groups have started by look {looks[-1]}, the last one, so none can be taken; read later"
        )
    never = int((~groups.treated).sum())
    return Looks(before, tuple(starts.tolist()), (*sizes.tolist(), never), taken)


def _at(groups: AssignedGroups, look: int, least: float) -> tuple[float, float, float]:
    """Return difference, standard error and degrees of freedom with the data up to a look."""
    seen = int(groups.firsts.min()) + look
    begun = groups.firsts < seen
    start = np.where(groups.treated & begun[groups.start], groups.start, -1)
    now = replace(groups, paths=groups.paths[:, :seen], start=start, firsts=groups.firsts[begun])
    values = now.contrasts
    difference, error, freedom = welch(values[start >= 0], values[start < 0])
    if not error > least:
        raise DesignError(
            f"all groups of each side changed by exactly the same amount at look {look}, so chance cannot be measured; check "
            "that the outcome is not filled in"
        )
    return float(difference), float(error), float(freedom)


def _expected(groups: AssignedGroups, design: Looks, least: float) -> tuple[int, Array]:
    """Return the position of the law of movement and the expected errors at the looks that the panel has reached."""
    if design.before < FEWEST_BEFORE:
        raise DesignError(
            f"a band over looks needs at least {FEWEST_BEFORE} periods before the first start, to learn how the groups move, "
            f"but the panel has {design.before}; begin it earlier, or declare one look"
        )
    known, before = tables(design), design.before
    paths, sides = groups.paths.T[:, None, :], (~groups.treated).astype(int)
    moved = paths[:before] - paths[:before].mean(axis=0)
    if any(np.ptp(moved[:, :, sides == side], axis=2).max() <= least for side in (0, 1)):
        raise DesignError(
            "the groups of a side moved exactly alike before the start, so that what chance does cannot be told; check that "
            "the outcome is not filled in"
        )
    kind = np.where(groups.treated, groups.start, len(design.starts))
    step, variance = movement(paths[:before], kind, known)
    paths = paths[: before + design.looks[-1]]
    more = growth(spreads(paths, before, sides), before, known, step)
    reached = np.array([look - 1 for look in design.looks if look <= len(more)])
    return int(step[0]), expected_error(step, variance, more[reached], known)[0]


def _details(design: Looks, step: int, law: LookLaw, reached: list[int]) -> dict[str, pd.DataFrame]:
    share, rho = divmod(step, len(AUTOCORRELATIONS))
    measures = {
        "autocorrelation": float(AUTOCORRELATIONS[rho]),
        "noise_share": float(SHARES[share]),
        "critical": law.critical(0.95),
        "looks": float(len(design.looks)),
        "periods_before": float(design.before),
    }
    return {
        "calibration": pd.DataFrame({"measure": list(measures), "value": list(measures.values())}),
        "expected": pd.DataFrame({"look": reached, "expected_error": law.expected_error}),
    }


def _left_out(plan: Plan, design: Looks, observed: int) -> tuple[str, ...]:
    early = [look for look in plan.looks if look not in design.looks]
    notes = [f"looks left out, fewer than two groups had started: {', '.join(map(str, early))}"] if early else []
    if plan.horizon is not None and observed > plan.horizon:
        notes.append(f"periods after the horizon, not read: {observed - plan.horizon}")
    return tuple(notes)
