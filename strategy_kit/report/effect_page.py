"""The blocks of the effect page: words are chosen by numbers, never typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import did, formats
from strategy_kit.report import blocks, claims, page
from strategy_kit.report.claims import in_percent
from strategy_kit.report.effect import COMPARED, Inside
from strategy_kit.report.reading import LEVEL, listed
from strategy_kit.report.review import foot, opening

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.blocks import Block
    from strategy_kit.report.reading import Reading
    from strategy_kit.report.sections import Section

_LEVEL_WORD = "95%"


def masthead(reading: Reading) -> Section:
    """Return the head of the page with its marks."""
    return opening(reading, reading.words("product_review"), reading.words("title_effect"))


def merchants_head(reading: Reading, inside: Inside | str) -> Block:
    """Return the head of the merchants' section; its title follows the first estimator and the checks."""
    say = reading.words
    head = say("section_inside"), say("question_inside")
    if isinstance(inside, str):
        note = say("study_impossible", reason=inside) if inside else say("inside_absent_note")
        return blocks.section_head(*head, say("inside_absent"), note)
    panel, measure = inside.panel, say(f"metric_{inside.outcome}")
    sizes = {
        "merchants": panel.units,
        "weeks": panel.periods,
        "cohorts": panel.cohorts,
        "never": panel.units[panel.cohort < 0],
    }
    note = say("inside_note", measure=measure, **{name: formats.Count(len(labels)) for name, labels in sizes.items()})
    if panel.notes:
        note = say.prose(note, say("inside_notes", notes=listed(say, panel.notes)))
    return blocks.section_head(*head, say("inside_title", measure=measure, verb=inside.told), note)


def cohorts(inside: Inside) -> Block:
    """Return the cohorts of supported merchants: when they started, how many, how long they are seen."""
    say, sizes = inside.reading.words, did.cohort_sizes(inside.panel)
    starts = [
        say("compared_never") if pd.isna(day) else formats.day(day.date(), say.language) for day in sizes["cohort"]
    ]
    columns = [starts, sizes["n_units"].map(formats.number), sizes["share"].map(formats.percent)]
    columns += [sizes[name].map(formats.number) for name in ("periods_before", "periods_after")]
    rows = [[*row] for row in zip(*columns, strict=True)]
    heads = say.heads("support_start", "size", "of_all", "weeks_before", "weeks_after")
    return blocks.listing(heads, rows, say("cohorts_caption"), numbers=range(1, 5))


def pair_head(reading: Reading, pair: Estimates | str) -> Block:
    """Return the head of the synthetic pair's section."""
    say = reading.words
    title = say("synthetic_head_absent") if isinstance(pair, str) else say("synthetic_head", **pair_words(pair))
    return blocks.section_head(say("section_synthetic"), say("question_synthetic"), title)


def pair_words(pair: Estimates) -> dict[str, str]:
    """Write the gap to the synthetic pair and its interval, in percent."""
    row: Any = pair.glance(LEVEL).iloc[0]
    ends = {"low": in_percent(row.conf_low), "high": in_percent(row.conf_high)}
    return {"estimate": in_percent(row.estimate), "level": _LEVEL_WORD, **ends}


def checks(reading: Reading, inside: Inside | str) -> Block:
    """Return the checks of the pilot question and of the merchants' comparison."""
    own = [] if isinstance(inside, str) else inside.checks
    return blocks.trust_strip(reading.words("trust"), reading.words("failed"), [*reading.checks, *own])


def finding(reading: Reading, inside: Inside | str, pair: Estimates | str) -> Block:
    """Return what all this allows to be said; the first sentence is the weekly report's."""
    say, sentences, held = reading.words, [page.headline(reading)], reading.checks
    if not isinstance(inside, str):
        sentences += _merchant_sentences(inside)
        held = [*held, *inside.checks]
    if not isinstance(pair, str):
        sentences.append(say("finding_synthetic", **pair_words(pair)))
    limits = [check.label for check in held if check.state != "holds"]
    counts = {"n": formats.Count(len(limits)), "all": formats.Count(len(held))}
    sentences.append(say("finding_limits" if limits else "finding_clear", listed=listed(say, limits), **counts))
    return blocks.points(say("section_finding"), sentences)


def _merchant_sentences(inside: Inside) -> list[str]:
    say, rows = inside.reading.words, inside.rows
    measure, against = say(f"metric_{inside.outcome}"), compared(inside, "group_time")
    words = {"measure": measure, "verb": inside.told, "against": against}
    words["interval"] = claims.interval_name(inside.reading.evidence, say)
    sentences = [say("finding_inside", range=inside.span(*inside.spread.interval(inside.reading.level)), **words)]
    span = inside.span(rows["estimate"].min(), rows["estimate"].max())
    sentences.append(say("finding_estimators", n=formats.Count(len(rows)), range=span))
    if not isinstance(inside.in_percent, str):
        sentences.append(percent_sentence(inside, inside.in_percent))
    return sentences


def percent_sentence(inside: Inside, found: Estimates) -> str:
    """Return the effect in percent of what would have been sold."""
    row: Any = found.glance(LEVEL).iloc[0]
    low, middle, high = (formats.percent(row[c], signed=True) for c in ("conf_low", "estimate", "conf_high"))
    return inside.reading.words("finding_percent", estimate=middle, low=low, high=high, level=_LEVEL_WORD)


def compared(inside: Inside, name: str) -> str:
    """Say with whom an estimator compares."""
    kind, say, fit = COMPARED[name] or inside.control, inside.reading.words, inside.fits[name]
    if kind == "never" and (inside.panel.cohort >= 0).all():
        kind = "last"
    weeks = "" if isinstance(fit, str) or kind != "clean" else formats.Count(fit.labels["age"].max() + 1)
    return say(f"compared_{kind}", weeks=weeks)


def provenance(reading: Reading) -> Block:
    """Return the foot of the page."""
    say, about = reading.words, reading.shop.description
    window = f"{say.label(about.title or about.name)}; {reading.shop.data_from} – {reading.shop.data_through}"
    method = say.prose(say("prov_method_text"), say("effect_method"))
    return foot(reading, window, {"prov_method": method, "prov_words": say("prov_words_text")})
