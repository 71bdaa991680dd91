"""The weekly report, section by section; each takes a `Reading` and shows what its reader's role asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strategy_kit.report import figures, page
from strategy_kit.report import measures as measures_section
from strategy_kit.report.path import pilot_path
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.report.reading import Reading


def masthead(reading: Reading) -> Section:
    """Show the head of the page with its marks and languages."""
    return _wanted("masthead", reading, page.masthead)


def decision(reading: Reading) -> Section:
    """Show the first screen: decision, headline, fifty equally likely values, facts."""
    return _wanted("decision", reading, page.decision_card)


def points(reading: Reading) -> Section:
    """Show at most six sentences, ranked."""
    return _wanted("points", reading, page.main_points)


def trust(reading: Reading) -> Section:
    """Show the checks that the claim rests on."""
    return _wanted("trust", reading, page.trust_strip)


def effect(reading: Reading) -> Section:
    """Show the pilots' path with the events of its weeks, the placebo strip, and supported merchants by week."""
    return _wanted("effect", reading, page.effect_head, pilot_path, figures.placebo_strip, figures.event_study)


def measures(reading: Reading) -> Section:
    """Show the weekly measures and what is out of the ordinary."""
    return _wanted("measures", reading, measures_section.head, figures.kpi_trend, measures_section.table)


def merchants(reading: Reading) -> Section:
    """Show how long new merchants stay."""
    return _wanted("merchants", reading, page.merchants_head, figures.cohort_triangle)


def provenance(reading: Reading) -> Section:
    """Show the foot of the page: data, source, words."""
    return _wanted("provenance", reading, page.provenance)


def statement(reading: Reading) -> Section:
    """Hand the claim to the machine that publishes the run; the page does not show it."""
    return _wanted("statement", reading, page.statement)


def _wanted(name: str, reading: Reading, *makers: Callable[[Reading], Any]) -> Section:
    """Make a section's parts, or none where the role leaves it out."""
    wanted = reading.audience.wants(name)
    return Section(name, tuple(make(reading) for make in makers if wanted))
