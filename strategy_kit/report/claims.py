"""Words are chosen by numbers: from an estimate, a plan and checks to a verb, a decision and a sentence, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log1p
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from strategy_kit import formats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.plan import Plan
    from strategy_kit.report.words import Words

Verb = Literal["rose", "fell", "may_have_risen", "may_have_fallen", "no_clear_change", "cannot_tell"]
Decision = Literal["extend", "hold", "stop", "cannot_tell"]
State = Literal["holds", "limits", "blocks"]
Looks = Literal["declared", "undeclared", "late", "no_horizon", "one_look", "unknown"]

_MOST = 700.0  # log points of which the exponential is still a number
LIKELY = 0.9
"""Chance of one sign from which "may have" is said of one effect at 95%; below it, "no clear change"."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a claim rests on: what was measured, and whether it limits the claim or blocks it."""

    label: str
    value: str
    note: str
    state: State = "holds"


@dataclass(frozen=True, slots=True)
class Spread:
    """An estimate with its standard error and t law, read as a distribution of the effect.

    Attributes
    ----------
    widening
        Times the interval of a single look that an interval has which stays valid over all looks; chances are of one look.
    """

    estimate: float
    std_error: float
    degrees_of_freedom: float
    widening: float = 1.0

    @property
    def known(self) -> bool:
        """Whether there are numbers to speak of."""
        numbers = (self.degrees_of_freedom, self.widening)
        return bool(np.isfinite(self.estimate) and 0 < self.std_error < np.inf and all(n > 0 for n in numbers))

    def chance_above(self, value: float) -> float:
        """Return the chance that the effect exceeds `value`.

        Examples
        --------
        >>> Spread(0.1, 0.05, 8.0).chance_above(0.1)
        0.5
        """
        return float(1 - stdtr(self.degrees_of_freedom, (value - self.estimate) / self.std_error))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the lower and upper end at coverage `level`, valid over all looks that `widening` allows for."""
        width = float(stdtrit(self.degrees_of_freedom, 0.5 + level / 2)) * self.std_error * self.widening
        return self.estimate - width, self.estimate + width

    def quantiles(self, count: int) -> np.ndarray:
        """Return `count` equally likely values, ascending."""
        shares = (np.arange(count) + 0.5) / count
        return self.estimate + self.std_error * stdtrit(self.degrees_of_freedom, shares)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a claim is made from.

    Attributes
    ----------
    spread
        Of the headline method, in log points of the plan's metric.
    checks
        In the order in which they are told.
    pilots, others
        Groups on each side at the level of assignment, which is what n means.
    weeks, merchants
        Complete weeks since the start, and merchants behind the groups.
    looks, count
        What the interval is valid for, as `planning.ReadingWidth` has it, and for how many looks; unknown where the past is
        too short to tell.
    placebo
        Whether no pilot ever ran.

    Examples
    --------
    >>> from strategy_kit.plan import Plan
    >>> from strategy_kit.report.words import Words
    >>> found = Evidence(Spread(0.1, 0.02, 8.0), Plan(threshold=0.03), (), 3, 12, 10, 270)
    >>> claim_for(found).decision, sentence(found, Words("en"))
    ('extend', 'GMV in the pilot categories **rose by 10.5%** (95% interval +5.5% to +15.7%): 3 pilot categories against \
12 others, 10 complete weeks, 270 merchants.')
    """

    spread: Spread
    plan: Plan
    checks: Sequence[Check]
    pilots: int
    others: int
    weeks: int
    merchants: int
    looks: Looks = "one_look"
    count: int = 1
    placebo: bool = False

    @property
    def states(self) -> list[State]:
        """What each check allows; a placebo blocks."""
        states: list[State] = [check.state for check in self.checks]
        return [*states, "blocks"] if self.placebo else states

    @property
    def threshold(self) -> float:
        """The plan's threshold in log points."""
        return log1p(self.plan.threshold)


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
        Coverage of the interval that counts; of effects told together it is higher, and "may have" asks for more chance.
    states
        Of the checks: one that blocks leaves nothing to say, one that limits caps the verb at "may have".

    Examples
    --------
    >>> sure = Spread(0.10, 0.02, 8.0)
    >>> verb_for(sure, 0.95), verb_for(sure, 0.95, ["limits"]), verb_for(sure, 0.95, ["limits", "blocks"])
    ('rose', 'may_have_risen', 'cannot_tell')
    """
    if "blocks" in states or not spread.known:
        return "cannot_tell"
    low, high = spread.interval(level)
    rising = spread.chance_above(0.0)
    likely = max(LIKELY, 1 - 2 * (1 - level))  # effects told together ask for more: twice the tails of the interval
    limited = any(state != "holds" for state in states)  # what is not known to hold limits
    if (low > 0 or high < 0) and not limited:
        return "rose" if low > 0 else "fell"
    if low > 0 or rising >= likely:
        return "may_have_risen"
    return "may_have_fallen" if high < 0 or rising <= 1 - likely else "no_clear_change"


def claim_for(evidence: Evidence) -> Claim:
    """Choose verb and decision by the plan: extend or stop only where nothing limits the claim.

    Examples
    --------
    >>> from strategy_kit.plan import Plan
    >>> limit = Check("Same test before the start", "+9%", "should contain 0", "limits")
    >>> found = Evidence(Spread(0.1, 0.02, 8.0), Plan(threshold=0.03), [limit], 3, 12, 10, 270)
    >>> claim_for(found).verb, claim_for(found).decision
    ('may_have_risen', 'hold')
    """
    spread, plan, states = evidence.spread, evidence.plan, evidence.states
    verb = verb_for(spread, plan.level, states)
    chance = spread.chance_above(evidence.threshold) if spread.known else float("nan")
    decision: Decision = "hold"
    if verb == "cannot_tell":
        decision = "cannot_tell"
    elif not plan.declared:
        decision = "hold"
    elif verb == "rose" and chance >= plan.chance_needed:
        decision = "extend"
    elif all(state == "holds" for state in states) and spread.interval(plan.level)[1] < evidence.threshold:
        decision = "stop"  # also where it rose, by less than the plan asks for
    return Claim(verb, decision, chance)


def sentence(evidence: Evidence, words: Words) -> str:
    """Return the headline that the evidence allows, with **marks**: effect, unit, interval, and n at the level of assignment.

    The same evidence gives the same numbers in every language.
    """
    spread, verb = evidence.spread, claim_for(evidence).verb
    counts: dict[str, object] = {
        "pilots": evidence.pilots,
        "others": evidence.others,
        "weeks": formats.Count(evidence.weeks),
    }
    counts |= {"merchants": formats.Count(evidence.merchants), "measure": words(f"metric_{evidence.plan.metric}")}
    if verb == "cannot_tell" and not evidence.placebo:
        return words("headline_cannot_tell", reason=limits(evidence, words), measure=counts["measure"])
    low, high = map(in_percent, spread.interval(evidence.plan.level))
    counts |= {"low": low, "high": high, "interval": interval_name(evidence, words)}
    if evidence.placebo:
        return words("headline_placebo", estimate=in_percent(spread.estimate), **counts)
    return words(
        "headline", verb=told(verb, spread, formats.percent(abs(expm1(min(spread.estimate, _MOST)))), words), **counts
    )


def in_percent(log_points: float, *, signed: bool = True) -> str:
    """Write log points as a percentage change.

    Examples
    --------
    >>> in_percent(0.0953), in_percent(0.0953, signed=False)
    ('+10.0%', '10.0%')
    """
    return formats.percent(expm1(min(log_points, _MOST)), signed=signed)


def told(verb: Verb, spread: Spread, effect: str, words: Words) -> str:
    """Return the verb with the size of the effect, and the chance in brackets where it says "may have"."""
    return words(f"verb_{verb}", effect=effect, chance=chance_of(verb, spread, words))


def chance_of(verb: Verb, spread: Spread, words: Words) -> str:
    """Return the chance of the verb's direction, empty where the verb names none."""
    if not spread.known or verb not in ("may_have_risen", "may_have_fallen"):
        return ""
    rising = spread.chance_above(0.0)
    return in_hundred(rising if verb == "may_have_risen" else 1 - rising, words)


def in_hundred(chance: float, words: Words) -> str:
    """Write a chance in whole hundredths, rounded down and never as certainty."""
    return words("in_hundred", n=min(99, max(1, int(100 * chance + 1e-9))))


def interval_name(evidence: Evidence, words: Words) -> str:
    """Name the interval by its level and by the looks over which it stays valid."""
    return words(f"interval_{evidence.looks}", level=f"{evidence.plan.level:.0%}", n=formats.Count(evidence.count))


def limits(evidence: Evidence, words: Words) -> str:
    """Return what limits or blocks the claim, empty where nothing does."""
    held = [check for check in evidence.checks if check.state != "holds"]
    told = [words("label_and_note", label=check.label, note=check.note) for check in held]
    return " ".join(told) if told or evidence.spread.known else words("no_numbers")
