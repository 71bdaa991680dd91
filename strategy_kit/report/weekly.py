"""The weekly report, section by section; each takes a `Reading` and shows what its reader's role asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strategy_kit.report import figures, groups, page
from strategy_kit.report import measures as measures_section
from strategy_kit.report.categories import categories as categories_section
from strategy_kit.report.changed import changed as changed_section
from strategy_kit.report.decision import decision_card, main_points
from strategy_kit.report.declared import declared as declared_section
from strategy_kit.report.declared import read_declared
from strategy_kit.report.doubts import doubts as doubts_section
from strategy_kit.report.money import money as money_section
from strategy_kit.report.path import pilot_path
from strategy_kit.report.programmes import overseas_section, target_section
from strategy_kit.report.sections import Section
from strategy_kit.report.strategy import answers
from strategy_kit.report.strategy import strategy as strategy_section

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.report.reading import Reading

_LONG = {"yardsticks": groups.pilots_and_others, "strategy": answers, "declared": read_declared}
"""What sections far down ask of the database, by section."""


def masthead(reading: Reading) -> Section:
    """Show the head of the page with its marks and languages, and begin what the database answers longest."""
    reading.ahead.begin(reading, *(make for name, make in _LONG.items() if reading.audience.wants(name)))
    return _wanted("masthead", reading, page.masthead)


def decision(reading: Reading) -> Section:
    """Show the first screen: decision, headline, fifty equally likely values, facts."""
    return _wanted("decision", reading, decision_card)


def points(reading: Reading) -> Section:
    """Show at most six sentences, ranked."""
    return _wanted("points", reading, main_points)


def trust(reading: Reading) -> Section:
    """Show the checks that the claim rests on."""
    return _wanted("trust", reading, page.trust_strip)


def effect(reading: Reading) -> Section:
    """Show the pilots' path with the events of its weeks, the placebo strip, and supported merchants by week."""
    return _wanted("effect", reading, page.effect_head, pilot_path, figures.placebo_strip, figures.event_study)


def categories(reading: Reading) -> Section:
    """Show each pilot's effect and what they say on a further category."""
    return _wanted("categories", reading, categories_section)


def money(reading: Reading) -> Section:
    """Show the ladder from gross to net, and what support cost and returned."""
    return _wanted("money", reading, money_section)


def measures(reading: Reading) -> Section:
    """Show the weekly measures and what is out of the ordinary."""
    return _wanted("measures", reading, measures_section.head, figures.kpi_trend, measures_section.table)


def yardsticks(reading: Reading) -> Section:
    """Show whether orders, GMV and spend per annual active buyer tell pilots and others alike, month on month."""
    return _wanted("yardsticks", reading, groups.yardstick_section)


def merchants(reading: Reading) -> Section:
    """Show how long new merchants stay."""
    return _wanted("merchants", reading, page.merchants_head, figures.cohort_triangle)


def targets(reading: Reading) -> Section:
    """Show how many merchants met floor and stretch."""
    return _wanted("targets", reading, target_section)


def overseas(reading: Reading) -> Section:
    """Show what is sold overseas, and what joining did."""
    return _wanted("overseas", reading, overseas_section)


def strategy(reading: Reading) -> Section:
    """Show one sentence of each further programme, and which have no data."""
    return _wanted("strategy", reading, strategy_section)


def declared(reading: Reading) -> Section:
    """Show all declared metrics and guardrails, the flat and negative ones too."""
    return _wanted("declared", reading, declared_section)


def doubts(reading: Reading) -> Section:
    """Show what would change our mind."""
    return _wanted("doubts", reading, doubts_section)


def changed(reading: Reading) -> Section:
    """Show what was said last time, and why it is different now."""
    return _wanted("changed", reading, changed_section)


def method(reading: Reading) -> Section:
    """Show how the numbers are made."""
    return _wanted("method", reading, lambda read: Section("method", page.method(read)))


def glossary(reading: Reading) -> Section:
    """Show what the words mean."""
    return _wanted("glossary", reading, lambda read: Section("glossary", page.glossary(read)))


def provenance(reading: Reading) -> Section:
    """Show the foot of the page: data, source, words."""
    return _wanted("provenance", reading, page.provenance)


def statement(reading: Reading) -> Section:
    """Hand the claim to the machine that publishes the run; the page does not show it."""
    return _wanted("statement", reading, page.statement)


def _wanted(name: str, reading: Reading, *makers: Callable[[Reading], Any]) -> Section:
    """Make the parts of a section, one after the other, or none where the role leaves it out."""
    made = [make(reading) for make in makers if reading.audience.wants(name)]
    return Section(name, tuple(part for one in made for part in (one.parts if isinstance(one, Section) else (one,))))
