"""The blocks of the weekly page, written from a `Reading`: words are chosen by numbers, never typed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit import formats
from strategy_kit.periods import week_label
from strategy_kit.report import blocks, claims
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.reading import Reading, listed
from strategy_kit.report.review import foot, opening
from strategy_kit.report.words import plain
from strategy_kit.tables_to_panel import CATEGORY, POOLED, sold_lines

if TYPE_CHECKING:
    from strategy_kit.report.blocks import Block
    from strategy_kit.report.sections import Section

KEPT_AGE, COHORTS = 3, 13


def headline(reading: Reading) -> str:
    """Return the sentence that the week's numbers allow, with **marks**."""
    return claims.sentence(reading.evidence, reading.words)


def statement(reading: Reading) -> blocks.Statement:
    """Return the claim for the machine that publishes the run; effects in log points."""
    claim, spread, plan, again = reading.claim, reading.spread, reading.shop.plan, reading.again
    low, high = spread.interval(reading.level)
    numbers: dict[str, float | str | None] = {
        "metric": plan.metric, "week": week_label(reading.monday), "estimate": spread.estimate, "std_error": spread.std_error,
        "degrees_of_freedom": spread.degrees_of_freedom, "widening": spread.widening, "conf_low": low, "conf_high": high,
        "level": reading.level, "looks": reading.evidence.looks, "threshold": reading.evidence.threshold,
        "chance": claim.chance, "weeks_after": reading.weeks_after, "horizon": plan.horizon,
        "last_week_again": None if again is None else float(again.glance()["estimate"].iloc[0]),
    }  # fmt: skip
    return blocks.Statement(plain(headline(reading)), claim.verb, claim.decision, reading.words.language, numbers)


def masthead(reading: Reading) -> Section:
    """Return the head of the page with its marks and languages."""
    say, role = reading.words, reading.audience.role
    product = say("product") if role is None else say("product_for", role=say(f"role_{role}"))
    return opening(reading, product, say("title"), blocks.language_links(say.language, reading.audience.translation))


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
    rows = [[say(f"term_{term}"), say(f"meaning_{term}")] for term in terms]
    heads = say.heads("term", "meaning")
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
    versions = ", ".join(f"{package} {version(package)}" for package in ("strategy-kit", "pandas", "duckdb"))
    return foot(reading, f"{window}{'; ' + notes if notes else ''}", {"prov_versions": versions})


@lru_cache(maxsize=2)
def merchants_of(reading: Reading) -> dict[str, int]:
    """Count merchants who sold in each category in the compared weeks, and in the small categories that are added up."""
    totals = reading.totals
    found = reading.shop.engine.frame(
        f"""with sold as (select distinct {CATEGORY} as category, merchant_id from order_lines
                          where {sold_lines(reading.shop)} and paid_at >= $first and paid_at < $next)
            select category, count(*) as n from sold group by 1 union all
            select '{POOLED}', count(distinct merchant_id) from sold where not list_contains($kept, category)
            having count(*) > 0""",
        {
            "first": totals.periods[0].date(),
            "next": (totals.periods[-1] + pd.Timedelta(weeks=1)).date(),
            "kept": [*map(str, totals.units), *reading.not_begun],
        },
    )
    return dict(zip(found["category"], found["n"].astype(int), strict=True))


def shown_alone(reading: Reading) -> tuple[pd.DataFrame, int]:
    """Return the categories of `against_others` that enough merchants sold in, and how many are left out."""
    groups, sold = against_others(reading), merchants_of(reading)
    enough = groups["group"].map(lambda name: sold.get(str(name), 0) >= FEWEST).astype(bool)
    return groups[enough].reset_index(drop=True), int((~enough).sum())


def against_others(reading: Reading) -> pd.DataFrame:
    """Return each category's contrast less the average of the categories outside the pilots, in log points."""
    groups = reading.contrast.details["groups"]
    return groups.assign(contrast=groups["contrast"] - groups.loc[~groups["treated"], "contrast"].mean())
