"""Words are chosen by numbers: which verb an interval allows, and which decision the plan allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.plan import Plan

Verb = Literal["rose", "fell", "may_have_risen", "may_have_fallen", "no_clear_change", "cannot_tell"]
Decision = Literal["extend", "hold", "stop", "cannot_tell"]
State = Literal["holds", "limits", "blocks"]

LIKELY = 0.9
"""Chance of one sign from which "may have" is said; below it, "no clear change"."""


@dataclass(frozen=True, slots=True)
class Spread:
    """An estimate with its standard error and t law, read as a distribution of the effect."""

    estimate: float
    std_error: float
    degrees_of_freedom: float

    def chance_above(self, value: float) -> float:
        """Return the chance that the effect exceeds `value`.

        Examples
        --------
        >>> Spread(0.1, 0.05, 8.0).chance_above(0.1)
        0.5
        """
        return float(1 - stdtr(self.degrees_of_freedom, (value - self.estimate) / self.std_error))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the lower and upper end at coverage `level`."""
        width = float(stdtrit(self.degrees_of_freedom, 0.5 + level / 2)) * self.std_error
        return self.estimate - width, self.estimate + width

    def quantiles(self, count: int) -> np.ndarray:
        """Return `count` equally likely values, ascending."""
        shares = (np.arange(count) + 0.5) / count
        return self.estimate + self.std_error * stdtrit(self.degrees_of_freedom, shares)


@dataclass(frozen=True, slots=True)
class Claim:
    """What may be said and advised, and the chance that the plan's threshold is beaten."""

    verb: Verb
    decision: Decision
    chance: float


def verb_for(spread: Spread, level: float, states: Sequence[State] = ()) -> Verb:
    """Choose the strongest verb that the interval and the checks allow.

    Parameters
    ----------
    spread
        Of the headline method.
    level
        Coverage of the interval that counts.
    states
        Of the checks: one that blocks leaves nothing to say, one that limits caps the verb at "may have".

    Examples
    --------
    >>> sure = Spread(0.10, 0.02, 8.0)
    >>> verb_for(sure, 0.95), verb_for(sure, 0.95, ["limits"]), verb_for(sure, 0.95, ["limits", "blocks"])
    ('rose', 'may_have_risen', 'cannot_tell')
    """
    known = np.isfinite(spread.estimate) and 0 < spread.std_error < np.inf and spread.degrees_of_freedom > 0
    if "blocks" in states or not known:
        return "cannot_tell"
    low, high = spread.interval(level)
    rising = spread.chance_above(0.0)
    if (low > 0 or high < 0) and "limits" not in states:
        return "rose" if low > 0 else "fell"
    if low > 0 or rising >= LIKELY:
        return "may_have_risen"
    return "may_have_fallen" if high < 0 or rising <= 1 - LIKELY else "no_clear_change"


def claim_for(spread: Spread, level: float, threshold: float, plan: Plan, states: Sequence[State] = ()) -> Claim:
    """Choose verb and decision by the plan: extend or stop only where nothing limits the claim.

    Parameters
    ----------
    threshold
        The plan's threshold in the units of `spread`.

    Examples
    --------
    >>> from strategy_kit.plan import Plan
    >>> claim_for(Spread(0.10, 0.02, 8.0), 0.95, 0.03, Plan(chance_needed=0.9)).decision
    'extend'
    """
    verb = verb_for(spread, level, states)
    chance = spread.chance_above(threshold) if spread.std_error else float("nan")
    decision: Decision = "hold"
    if verb == "cannot_tell":
        decision = "cannot_tell"
    elif not plan.declared:
        decision = "hold"
    elif verb == "rose" and chance >= plan.chance_needed:
        decision = "extend"
    elif (
        verb in ("fell", "may_have_fallen", "no_clear_change")
        and "limits" not in states
        and spread.interval(level)[1] < threshold
    ):
        decision = "stop"
    return Claim(verb, decision, chance)
