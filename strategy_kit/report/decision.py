"""The first screen: the decision with its facts, and at most six main points."""

from __future__ import annotations

from math import expm1
from typing import TYPE_CHECKING

import numpy as np

from strategy_kit import formats
from strategy_kit.metrics import METRICS
from strategy_kit.report import blocks, claims, drawings
from strategy_kit.report.categories import prediction, single_pilots
from strategy_kit.report.claims import in_percent
from strategy_kit.report.measures import last_signal, signalled
from strategy_kit.report.page import headline, measured, shown_alone
from strategy_kit.report.reading import Reading, listed

if TYPE_CHECKING:
    from strategy_kit.report.blocks import Block

MOST_POINTS = 6


def decision_card(reading: Reading) -> Block:
    """Return the first screen: decision, headline, fifty equally likely values, facts."""
    say, claim = reading.words, reading.claim
    limit = claims.limits(reading.evidence, say)
    return blocks.decision_card(
        blocks.Card(
            kicker=say("recommendation"),
            decision=say(f"decision_{claim.decision}"),
            advice=say(f"advice_{claim.decision}"),
            headline=headline(reading),
            dots_title=say("dots_title", measure=measured(reading)),
            dots=_dots(reading),
            limit=f"**{say('limits')}** {limit}" if limit else "",
            facts=_facts(reading),
        )
    )


def main_points(reading: Reading) -> Block:
    """Return at most six sentences, ranked; what cannot be said is left out."""
    say, placebo = reading.words, reading.shop.pilot.placebo
    sentences = [
        say("point_placebo") if placebo else _chance_point(reading),
        _groups_point(reading),
        _money_point(reading),
        _study_point(reading),
        _further_point(reading),
        _rank_point(reading) if placebo or isinstance(reading.study, str) else "",
        _measure_point(reading),
    ]
    return blocks.points(say("points"), [sentence for sentence in sentences if sentence][:MOST_POINTS])


def _facts(reading: Reading) -> list[tuple[str, str, str]]:
    say, plan, claim = reading.words, reading.shop.plan, reading.claim
    low, middle, high = reading.money
    chance = claims.in_hundred(claim.chance, say)
    sold, span = _extra(reading, low, middle, high)
    notes = [
        say("fact_chance_note", needed=claims.in_hundred(plan.chance_needed, say)) if plan.declared else say("no_plan"),
        say("fact_interval", interval=claims.interval_name(reading.evidence, say), range=span),
    ]
    if claim.verb == "cannot_tell":
        chance = sold = say("not_claimed")
        notes = [say("why_not_claimed") if reading.shop.pilot.placebo else ""] * 2
    when, who = say("fact_next_none"), say("fact_next_none_note")
    if plan.next_decision is not None:
        when, who = formats.day(plan.next_decision, say.language), say.label(plan.owner or "")
    return [
        (say("fact_chance", threshold=formats.percent(plan.threshold, signed=True)), chance, notes[0]),
        (say("fact_money", measure=measured(reading)), sold, notes[1]),
        _worth(reading),
        (say("fact_next"), when, who),
    ]


def _worth(reading: Reading) -> tuple[str, str, str]:
    """Return what support returned, or else what it cost, or else how rare so large a gap is."""
    say, money = reading.words, reading.money_followed
    if not isinstance(money, str) and money.returned is not None:
        found = money.returned
        chance = claims.in_hundred(float(found["break_even"]), say)
        ends = {name: formats.number(found[f"conf_{name}"], 2) for name in ("low", "high")}
        interval = claims.interval_name(reading.evidence, say)
        note = say("fact_return_note", chance=chance, interval=interval, **ends)
        return say("fact_return"), formats.number(found["estimate"], 2), note
    if not isinstance(money, str) and money.cost is not None:
        gain = money.spread("category").estimate
        covered = gain > money.cost
        share = formats.percent(money.cost / gain) if covered else ""
        note = say("fact_cost_note", share=share) if covered else say("fact_cost_never")
        return say("fact_cost"), reading.amount(money.cost), note
    n, total = map(formats.number, reading.rank)
    pilots, others = reading.contrast.clusters
    value = say("fact_rank_value", n=n, total=total)
    return say("fact_rank"), value, say("fact_rank_note", pilots=pilots, all=pilots + others)


def _dots(reading: Reading) -> str:
    say, spread = reading.words, reading.spread
    values = 100 * np.expm1(spread.quantiles(50))
    low, high = (100 * expm1(end) for end in spread.interval(reading.level))
    threshold = 100 * reading.shop.plan.threshold
    shown = formats.percent(threshold / 100, signed=True)
    above = int((values > threshold).sum())
    ends = {"low": in_percent(np.log1p(values[0] / 100)), "high": in_percent(np.log1p(values[-1] / 100))}
    words = {
        "threshold": say("dots_threshold", threshold=shown),
        "above": say("dots_above", n=above),
        "note": say("dots_note", interval=claims.interval_name(reading.evidence, say)),
        "alt": say("dots_alt", n=above, threshold=shown, **ends),
    }
    interval = (low, 100 * expm1(spread.estimate), high)
    return drawings.quantile_dots(
        values, threshold, interval, words, lambda v: formats.percent(v / 100, int(v != round(v)), signed=True)
    )


def _extra(reading: Reading, low: float, middle: float, high: float) -> tuple[str, str]:
    """Write what was sold in addition and its interval, as money or as a count."""
    if METRICS[reading.shop.plan.metric].unit == "currency":
        sold = reading.amount(middle, signed=True, like=(low, high))
        return sold, reading.amounts(low, high)
    low_told, middle_told, high_told = (formats.number(value, signed=True) for value in (low, middle, high))
    return middle_told, reading.words.span(low_told, high_told)


def _chance_point(reading: Reading) -> str:
    say, plan = reading.words, reading.shop.plan
    if not plan.declared:
        return say("point_no_plan")
    chance = reading.spread.chance_above(reading.evidence.threshold)
    return say(
        "point_chance",
        threshold=formats.percent(plan.threshold, signed=True),
        chance=claims.in_hundred(chance, say),
        side=say("side_above" if chance >= plan.chance_needed else "side_below"),
        needed=claims.in_hundred(plan.chance_needed, say),
    )


def _groups_point(reading: Reading) -> str:
    """Name the pilots that moved most and least, with intervals that hold for all pilots and all looks."""
    say = reading.words
    rows = sorted(single_pilots(reading)[0], key=lambda row: -row.spread.estimate)
    if reading.claim.verb == "cannot_tell" or not rows:
        return _bare_groups_point(reading)
    values = {"interval": claims.interval_name(reading.evidence, say)}
    for name, row in (("top", rows[0]), ("bottom", rows[-1])):
        low, high = map(in_percent, row.interval(reading.level))
        values |= {name: row.name, f"{name}_value": in_percent(row.spread.estimate)}
        values[f"{name}_range"] = say.span(low, high)
    return say("point_groups", **values)


def _bare_groups_point(reading: Reading) -> str:
    say, (groups, _) = reading.words, shown_alone(reading)
    pilots = groups[groups["treated"]].sort_values("contrast", ascending=False)
    if pilots.empty:
        return ""
    ends = {"top": pilots.iloc[0], "bottom": pilots.iloc[-1]}
    values = {name: say.label(row["group"]) for name, row in ends.items()}
    values |= {f"{name}_value": in_percent(row["contrast"]) for name, row in ends.items()}
    return say("point_groups_bare", **values)


def _rank_point(reading: Reading) -> str:
    pilots, others = reading.contrast.clusters
    n, total = reading.rank
    rows = reading.contrast.tidy()
    judged = float(rows.loc[rows["method"] == "randomisation", "p_value"].iloc[0])
    counts = {"n": formats.number(n), "total": formats.number(total), "pilots": pilots, "all": pilots + others}
    return reading.words("point_rank", p=f"{judged:.2g}", **counts)


def _money_point(reading: Reading) -> str:
    say, money = reading.words, reading.money_followed
    if isinstance(money, str):
        return ""
    verbs = {"supported": money.verb("supported"), "net": money.verb("category")}
    interval = claims.interval_name(reading.evidence, say)
    return say("point_money", interval=interval, range=money.range("category"), **verbs)


def _study_point(reading: Reading) -> str:
    say, spread = reading.words, reading.study_spread
    if spread is None:
        return ""
    effect = reading.amount(abs(spread.estimate), like=spread.interval(reading.level))
    span = reading.amounts(*spread.interval(reading.level))
    verb = reading.told(spread, effect, limited=reading.uneven)
    return say("point_study", verb=verb, interval=claims.interval_name(reading.evidence, say), range=span)


def _further_point(reading: Reading) -> str:
    """Say what one more category may do, in a prediction interval; nothing where too few pilots tell."""
    say, new = reading.words, reading.further
    if new is None:
        return ""
    low, high = map(in_percent, prediction(new, reading.widening).interval(reading.level))
    key = "point_further_open" if low.startswith(formats.MINUS) and high.startswith("+") else "point_further"
    return say(key, low=low, high=high, level=f"{reading.level:.0%}")


def _measure_point(reading: Reading) -> str:
    """Name the measures with a special cause in the last complete week; a description."""
    say, out = reading.words, signalled(reading)
    if any(last_signal(reading, name) == "festival" for name in reading.controls):
        return say("point_festival")
    names = listed(say, [say(f"metric_{name}") for name in out])
    counts = {"n": formats.Count(len(out)), "all": formats.Count(len(reading.controls))}
    return say("point_measures" if out else "point_measures_none", listed=names, **counts)
