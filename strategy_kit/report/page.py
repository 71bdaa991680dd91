"""The blocks of the weekly page, written from a `Reading`: words are chosen by numbers, never typed."""

from __future__ import annotations

from math import expm1
from typing import TYPE_CHECKING

import numpy as np

from strategy_kit import did, formats
from strategy_kit.errors import DesignError
from strategy_kit.metrics import METRICS
from strategy_kit.periods import week_label
from strategy_kit.report import blocks, claims, drawings
from strategy_kit.report.claims import in_percent
from strategy_kit.report.reading import Reading, listed, study_verb
from strategy_kit.report.words import marked, plain

if TYPE_CHECKING:
    import pandas as pd

    from strategy_kit.report.blocks import Block

_LEVEL_WORD = "95%"
KEPT_AGE, COHORTS, FEWEST = 3, 13, 10


def headline(reading: Reading) -> str:
    """Return the sentence that the week's numbers allow, with **marks**."""
    return claims.sentence(reading.evidence, reading.words)


def statement(reading: Reading) -> blocks.Statement:
    """Return the claim for the machine that publishes the run; effects in log points."""
    claim, spread, plan, again = reading.claim, reading.spread, reading.shop.plan, reading.again
    low, high = spread.interval(reading.level)
    numbers = {
        "metric": plan.metric, "week": week_label(reading.monday), "estimate": spread.estimate, "std_error": spread.std_error,
        "degrees_of_freedom": spread.degrees_of_freedom, "widening": spread.widening, "conf_low": low, "conf_high": high,
        "level": reading.level, "looks": reading.evidence.looks, "threshold": reading.evidence.threshold,
        "chance": claim.chance, "weeks_after": reading.weeks_after, "horizon": plan.horizon,
        "last_week_again": None if again is None else float(again.glance()["estimate"].iloc[0]),
    }  # fmt: skip
    return blocks.Statement(plain(headline(reading)), claim.verb, claim.decision, reading.words.language, numbers)


def masthead(reading: Reading) -> Block:
    """Return the head of the page with its marks."""
    say, about = reading.words, reading.shop.description
    marks = [(say("synthetic"), say("synthetic_note"))] if about.synthetic else []
    marks += [(say("placebo_mark"), say("placebo_mark_note"))] if reading.shop.pilot.placebo else []
    week = formats.week_span(reading.monday, say.language)
    edition = say("edition", dataset=say.label(about.title or about.name), week=week)
    role, languages = reading.audience.role, blocks.language_links(say.language, reading.audience.translation)
    product = say("product") if role is None else say("product_for", role=say(f"role_{role}"))
    return blocks.masthead(product, say("title"), edition, marks, languages)


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
    """Return at most six sentences, ranked."""
    say = reading.words
    placebo = reading.shop.pilot.placebo
    sentences = [
        say("point_placebo") if placebo else _chance_point(reading),
        _groups_point(reading),
        _rank_point(reading),
    ]
    if reading.study_spread is not None:
        sentences.append(_study_point(reading))
    return blocks.points(say("points"), sentences[:6])


def trust_strip(reading: Reading) -> Block:
    """Return the checks that the claim rests on."""
    return blocks.trust_strip(reading.words("trust"), reading.words("failed"), reading.checks)


def effect_head(reading: Reading) -> Block:
    """Return the head of the effect section; its title follows the claim."""
    say = reading.words
    title = say(f"title_{reading.claim.verb}", measure=measured(reading), chance=chance_told(reading))
    return blocks.section_head(say("section_effect"), say("question_effect"), title)


def measured(reading: Reading) -> str:
    """Return the name of the plan's metric."""
    return reading.words(f"metric_{reading.shop.plan.metric}")


def chance_told(reading: Reading) -> str:
    """Return the chance that belongs to the headline's "may have"."""
    return claims.chance_of(reading.claim.verb, reading.spread, reading.words)


def merchants_head(reading: Reading) -> Block:
    """Return the head of the cohort section; its title says what share of the cohorts stayed."""
    say, kept = reading.words, kept_selling(reading)
    title = (
        say("cohort_title_none")
        if kept is None
        else say("cohort_title", age=formats.Count(kept[0]), low=kept[1], high=kept[2])
    )
    return blocks.section_head(say("section_merchants"), say("question_merchants"), title)


def shown_cohorts(reading: Reading) -> pd.DataFrame:
    """Return the observed cells of the latest cohorts of at least ten merchants.

    The first cohort of the data is left out: its merchants may have sold before the data begin.
    """
    rows = reading.cohorts[reading.cohorts["observed"] & (reading.cohorts["cohort_size"] >= FEWEST)]
    rows = rows[rows["cohort"] > reading.cohorts["cohort"].min()]
    latest = np.sort(rows["cohort"].unique())[-COHORTS:]
    return rows[rows["cohort"].isin(latest) & (rows["age"] < COHORTS)]


def kept_selling(reading: Reading) -> tuple[int, str, str] | None:
    """Return an age in months, three where observed, and the lowest and highest share of those cohorts that sold then."""
    rows = shown_cohorts(reading)
    rows = rows[rows["age"] > 0]
    if rows.empty:
        return None
    age = int(min(KEPT_AGE, rows["age"].max()))
    share = (rows["value"] / rows["cohort_size"])[rows["age"] == age]
    return age, formats.percent(float(share.min()), 0), formats.percent(float(share.max()), 0)


def method(reading: Reading) -> tuple[Block, Block]:
    """Return how the numbers are made, in at most 150 words."""
    say, before = reading.words, len(reading.totals.periods) - reading.weeks_after
    values = {"measure": measured(reading), "before": formats.Count(before), "level": f"{reading.level:.0%}"}
    return (
        blocks.section_head(say("section_method"), say("question_method"), say("method_title")),
        blocks.line(say("method_text", **values)),
    )


def glossary(reading: Reading) -> tuple[Block, Block]:
    """Return the terms of the page, and the warning about a letter word with two meanings."""
    say = reading.words
    terms = ("interval", "chance", "complete", "pilot", "special", "aac")
    rows = [[marked(say(f"term_{term}")), marked(say(f"meaning_{term}"))] for term in terms]
    heads = [say("column_term"), say("column_meaning")]
    return (
        blocks.section_head(say("section_glossary"), say("question_glossary"), say("glossary_title")),
        blocks.listing(heads, rows, say("glossary_caption")),
    )


def provenance(reading: Reading) -> Block:
    """Return the foot of the page: data, source, method, words, versions."""
    from importlib.metadata import version

    say, shop = reading.words, reading.shop
    window = (
        f"{shop.description.title or shop.name}; {shop.data_from} – {shop.data_through}; {week_label(reading.monday)}"
    )
    notes = listed(say, [*reading.contrast.notes, *(() if isinstance(reading.study, str) else reading.study.notes)])
    entries = [
        (say("prov_data"), f"{window}{'; ' + notes if notes else ''}"),
        (say("prov_source"), shop.description.source or "–"),
        (say("prov_method"), say("prov_method_text")),
        (say("prov_words"), say("prov_words_text")),
        (
            say("prov_versions"),
            ", ".join(f"{package} {version(package)}" for package in ("strategy-kit", "pandas", "duckdb")),
        ),
    ]
    return blocks.provenance(
        say("section_provenance"), entries, say("prov_invented") if shop.description.synthetic else ""
    )


def _facts(reading: Reading) -> list[tuple[str, str, str]]:
    say, plan, claim = reading.words, reading.shop.plan, reading.claim
    low, middle, high = reading.money
    pilots, others = reading.contrast.clusters
    n, total = reading.rank
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
        (
            say("fact_rank"),
            say("fact_rank_value", n=formats.number(n), total=formats.number(total)),
            say("fact_rank_note", pilots=pilots, all=pilots + others),
        ),
        (say("fact_next"), when, who),
    ]


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
    say, currency = reading.words, reading.shop.description.currency
    if METRICS[reading.shop.plan.metric].unit == "currency":
        sold = formats.money(middle, currency, say.language, signed=True, like=(low, high))
        return sold, formats.money_range(low, high, currency, say.language)
    ends = {"low": formats.number(low, signed=True), "high": formats.number(high, signed=True)}
    return formats.number(middle, signed=True), say("range_to", **ends)


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
    say, groups = reading.words, against_others(reading)
    pilots = groups[groups["treated"]].sort_values("contrast", ascending=False)
    ends = {"top": pilots.iloc[0], "bottom": pilots.iloc[-1]}
    values = {name: say.label(row["group"]) for name, row in ends.items()}
    values |= {f"{name}_value": in_percent(row["contrast"]) for name, row in ends.items()}
    try:
        rows = did.category_effects(reading.totals).tidy(reading.level).set_index("group")
    except DesignError:
        return say("point_groups_bare", **values)
    for name, row in ends.items():
        low, high = rows.loc[row["group"], ["band_low", "band_high"]]
        values[f"{name}_range"] = say("range_to", low=in_percent(low), high=in_percent(high))
    return say("point_groups", level=f"{reading.level:.0%}", **values)


def against_others(reading: Reading) -> pd.DataFrame:
    """Return each category's contrast less the average of the categories outside the pilots, in log points."""
    groups = reading.contrast.details["groups"]
    return groups.assign(contrast=groups["contrast"] - groups.loc[~groups["treated"], "contrast"].mean())


def _rank_point(reading: Reading) -> str:
    pilots, others = reading.contrast.clusters
    n, total = reading.rank
    rows = reading.contrast.tidy()
    judged = float(rows.loc[rows["method"] == "randomisation", "p_value"].iloc[0])
    counts = {"n": formats.number(n), "total": formats.number(total), "pilots": pilots, "all": pilots + others}
    return reading.words("point_rank", p=f"{judged:.2g}", **counts)


def _study_point(reading: Reading) -> str:
    say, spread = reading.words, reading.study_spread
    assert spread is not None  # noqa: S101  # the caller looked
    currency = reading.shop.description.currency
    effect = formats.money(abs(spread.estimate), currency, say.language, like=spread.interval(reading.level))
    span = formats.money_range(*spread.interval(reading.level), currency, say.language)
    verb = claims.told(study_verb(reading), spread, effect, say)
    return say("point_study", verb=verb, interval=claims.interval_name(reading.evidence, say), range=span)
