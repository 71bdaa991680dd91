"""What the knobs of a world do to expected sales: on the merchants' side, and as effects of the support itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.simulate.roster import IS_PILOT, NAMES, NEVER, Floats, Ints, long_run
from strategy_kit.simulate.world import stream

if TYPE_CHECKING:
    import pandas as pd

    from strategy_kit.simulate.seasons import Clock
    from strategy_kit.simulate.world import World

# full strengths, in log points unless said otherwise
GOOD_MONTH, GOOD_WEEKS, GOOD_SHARE = 0.35, 4, 0.25
MATURITY_WEEKS = 4.0  # in which 1 - 1/e of the long-run effect is there
NOTICE_WEEKS, READINESS = 2, 0.5  # share of the long-run effect that is there from the announcement on
CLOSING = 0.20  # share of unsupported merchants closed by the last complete week
MOST_TAKEN = 0.9  # of the rivals' sales
ENTRY_SHARE, ENTRY_LIFT, ELSEWHERE = 0.4, 0.05, 0.4  # merchants; log points; off-platform per on-platform sales
JOIN_SHARE, JOIN_GAIN, OWN_GROWTH = 0.25, 0.10, 0.5  # merchants; share of sales; log points over the window
PILOT_POLICY, OWN_FESTIVAL = 0.04, 0.45


def waves(clock: Clock) -> Ints:
    """Return the three weeks in which merchants enter other platforms or join the overseas programme."""
    return np.array([clock.weeks * 2 // 5, clock.weeks * 3 // 5, clock.weeks * 4 // 5])


def with_parts(roster: pd.DataFrame, clock: Clock, key: int, world: World) -> pd.DataFrame:
    """Add who takes part in what: lucky, enters, joins and leaves (weeks or NEVER); and undo churn that is not wanted.

    Who is supported does not depend on it. A merchant's uniform number is the same at every strength, so that whoever
    leaves at a weak knob leaves at a stronger one too, no later.
    """
    count, opens, closes = len(roster), roster["opens"].to_numpy(), roster["closes"].to_numpy()
    cohort, own = roster["cohort"].to_numpy(), waves(clock)
    stays = (opens == 0) & (closes > clock.weeks)
    kept = stream(key, "churn").random(count) < world.churn
    good, entry, joining = (stream(key, knob) for knob in ("selection", "multi_homing", "overseas"))
    enters = np.where(entry.random(count) < ENTRY_SHARE, own[entry.integers(0, 3, count)], NEVER)
    candidates = stays & (cohort == NEVER)
    joins = np.where(candidates & (joining.random(count) < JOIN_SHARE), own[joining.integers(0, 3, count)], NEVER)
    gone = stream(key, "exits").random(count)[:, None] > np.exp(log_open(roster, clock, world, supported=True))
    return roster.assign(
        opens=np.where(kept, opens, 0),
        closes=np.where(kept, closes, clock.weeks + 1),
        lucky=(cohort != NEVER) | (good.random(count) < GOOD_SHARE),
        enters=enters,
        joins=joins,
        leaves=np.where(gone.any(axis=1), gone.argmax(axis=1), NEVER),
    )


def log_open(roster: pd.DataFrame, clock: Clock, world: World, *, supported: bool) -> Floats:
    """Give the log chance (N, T) that a merchant has not left because of want of support."""
    if not world.exits:
        return np.zeros((len(roster), clock.weeks + 1))
    start = np.where(supported & (roster["cohort"] != NEVER), roster["cohort"], clock.weeks + 1)[:, None]
    exposed = np.clip(np.minimum(np.arange(clock.weeks + 1) + 1, start) - clock.pilot_week, 0, None)
    return np.asarray(np.log1p(-CLOSING * world.exits) / (clock.weeks - clock.pilot_week) * exposed)


def forces(roster: pd.DataFrame, clock: Clock, world: World) -> Floats:
    """Add up, in log points (N, T), what moves merchants with or without support."""
    week, pilot = np.arange(clock.weeks + 1), IS_PILOT[roster["category"].to_numpy()]
    start = np.where(roster["cohort"] == NEVER, clock.pilot_week, roster["cohort"])[:, None]
    good = roster["lucky"].to_numpy()[:, None] & (week >= start - GOOD_WEEKS) & (week < start)
    enters, joins = (roster[name].to_numpy()[:, None] for name in ("enters", "joins"))
    result = world.selection * GOOD_MONTH * good
    result += world.multi_homing * ENTRY_LIFT * ((enters != NEVER) & (week >= enters))
    result += joining(world) * ((joins != NEVER) & (week >= joins))
    result += world.concurrent_policies * PILOT_POLICY * (pilot[:, None] & (week >= clock.pilot_week))
    result += log_open(roster, clock, world, supported=False)
    return np.asarray(result + _own_growth(roster, clock, world) if world.overseas else result)


def joining(world: World) -> float:
    """Return the log gain of joining the overseas programme."""
    return float(np.log1p(JOIN_GAIN * world.overseas))


def _own_growth(roster: pd.DataFrame, clock: Clock, world: World) -> Floats:
    """Growth of those who will join; the others of the category lose as much, so that its total does not change."""
    path = world.overseas * OWN_GROWTH * (np.arange(clock.weeks + 1) / clock.weeks - 0.5)
    growth = np.outer(roster["joins"] != NEVER, path)
    value = np.eye(len(NAMES))[roster["category"]] * (roster["level"] * roster["price"]).to_numpy()[:, None]
    return np.asarray(growth - np.log((value.T @ np.exp(growth)) / value.sum(axis=0)[:, None])[roster["category"]])


def own_effects(roster: pd.DataFrame, clock: Clock, world: World) -> Floats:
    """Give the log effect (N, T) of support on whom it is given to, from the announcement where that has one."""
    age = np.arange(clock.weeks + 1) - roster["cohort"].to_numpy()[:, None]
    ramp = -np.expm1(-(np.arange(clock.weeks + 2) + 1) / MATURITY_WEEKS)
    ready = world.anticipation * READINESS * (age >= -NOTICE_WEEKS)
    result = long_run(roster, clock)[:, None] * np.where(age >= 0, ramp[np.maximum(age, 0)], ready)
    return result + log_open(roster, clock, world, supported=True) - log_open(roster, clock, world, supported=False)


def rivals_effects(value: Floats, effects: Floats, category: Ints, share: float) -> Floats:
    """Give the log effect (N, T) on those who gain nothing themselves when `share` of all gains is theirs by right.

    `value` is each merchant's expected sales without support.
    """
    members, rival = np.eye(len(NAMES))[category].T, effects == 0
    gain, rivals = members @ (value * np.expm1(effects)), members @ (value * rival)
    lost = np.minimum(share * gain, MOST_TAKEN * rivals) / np.where(rivals > 0, rivals, 1)
    return np.asarray(np.log1p(-lost)[category] * rival)
