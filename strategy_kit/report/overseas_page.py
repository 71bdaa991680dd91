"""The overseas plan: joining, at home and abroad, exchange rates, margin, overlap with other support, and the naive reading."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit import charts, did, formats, overseas
from strategy_kit.charts.nested import nested_forest
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST, masked
from strategy_kit.report.categories import (
    Row,
    forest,
    interval_columns,
    nested_note,
    nested_rows,
    percent_rows,
    signed_percent,
)
from strategy_kit.report.claims import Spread, in_percent
from strategy_kit.report.figures import effect_by_week, latest
from strategy_kit.report.overseas_trade import currency_parts
from strategy_kit.report.programme_page import Parts, ProgrammePage

if TYPE_CHECKING:
    from strategy_kit.charts.forest import Unit
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel
    from strategy_kit.report.reading import Reading

SIDES = ("total", "domestic", "overseas")
PAST, _SUNDAY = dt.timedelta(weeks=26), dt.timedelta(days=6)
AGES_BEFORE = 12
_COUNTED = ("counted as", "has no cost")


class Compared(NamedTuple):
    """Panels of joiners, whom they are compared with (those that join later, or all others), and the study of each."""

    panels: dict[str, Panel]
    against: str
    studies: dict[str, Estimates]


PAGE = ProgrammePage("overseas", "os", "support")
currency = PAGE.section("currency", always=True)(currency_parts)
masthead, foot = PAGE.masthead, PAGE.foot


def _window(reading: Reading, *, every_lever: bool = False) -> dict[str, dt.date]:
    """Return the weeks from half a year before the first joining, or the first support of any kind, on."""
    weeks = reading.shop.complete_periods("week", reading.monday + _SUNDAY)
    first = reading.shop.engine.frame(
        "select min(started_on) as day from support where lever = $lever or $every_lever",
        {"lever": overseas.LEVER, "every_lever": every_lever},
    )["day"][0]
    earliest = weeks[0] if pd.isna(first) else pd.Timestamp(first).date() - PAST
    return {"since": next((week for week in weeks if week >= earliest), weeks[-1]), "through": reading.monday}


def _studied(reading: Reading, panel: Panel) -> Estimates:
    study = did.event_study(did.group_time(panel, control="not_yet"))
    if min(study.clusters) < FEWEST:
        raise DesignError(reading.words("os_few", least=FEWEST))
    return study


def compared(reading: Reading, panels: dict[str, Panel]) -> Compared:
    """Compare with those that join later where that can be done, and else with all others."""
    try:
        later = {name: overseas.among_joiners(panel) for name, panel in panels.items()}
        return Compared(later, "later", {name: _studied(reading, panel) for name, panel in later.items()})
    except DesignError:
        return Compared(panels, "all", {name: _studied(reading, panel) for name, panel in panels.items()})


def _in_log(reading: Reading, panel: Panel) -> Spread | None:
    """Return the effect in log points of what would have been sold, or None where it has none."""
    try:
        value, error = did.poisson_saturated(panel).average
    except DesignError:
        return None
    return Spread(float(np.log1p(value)), error / (1 + value), np.inf, reading.widening)


def _money_verb(reading: Reading, spread: Spread) -> str:
    """Choose the verb; merchants choose to join, which limits every claim here."""
    size = reading.amount(abs(spread.estimate), like=spread.interval(reading.level))
    return reading.told(spread, size, limited=True)


def _span(reading: Reading, spread: Spread) -> str:
    ends = spread.interval(reading.level)
    return reading.words.span(*(reading.amount(end, signed=True, like=ends) for end in ends))


def _forest(reading: Reading, rows: list[Row], key: str, n: str, *, percent: bool = False) -> Any:
    """Draw effects below each other, in money or in percent, with the table behind them."""
    say, write = reading.words, signed_percent if percent else partial(reading.amount, signed=True)

    def told(estimate: float, low: float, high: float) -> str:
        return say("nested_value", estimate=write(estimate), low=write(low), high=write(high))

    frame = percent_rows(rows, reading.level, say) if percent else nested_rows(rows, reading.level, told)
    bare = frame["conf_low"].isna()
    frame.loc[bare, "value"] = frame.loc[bare, "estimate"].map(write)
    table = pd.DataFrame({say("column_measure"): frame["name"], say("column_estimate"): frame["estimate"].map(write)})
    table = table.assign(**interval_columns(frame, reading.level, write, say))
    unit: Unit = "%" if percent else partial(reading.amount, signed=True)
    listed = "; ".join(frame["name"] + " " + frame["value"])
    return forest(
        reading,
        f"os_{key}",
        frame,
        table,
        nested_note(reading, n),
        partial(nested_forest, unit=unit),
        description=listed,
    )


def _counts(reading: Reading, study: Estimates) -> str:
    counts = dict(zip(("treated", "others"), map(formats.number, study.clusters), strict=True))
    return reading.words("os_n", **counts)


@PAGE.section("joining")
def joining(reading: Reading) -> Parts:
    """Return what joining did to a merchant's sales, against those that join later and against all others."""
    say, panels = reading.words, overseas.sales_panels(reading.shop, **_window(reading))
    found = compared(reading, {"total": panels["total"]})
    study = found.studies["total"]
    title = say("os_joining_title", verb=_money_verb(reading, reading.mean(study)))
    sides, lines = [(f"os_{found.against}", found)], []
    if found.against == "later":
        try:
            total = {"total": panels["total"]}
            sides.append(("os_all", Compared(total, "all", {"total": _studied(reading, panels["total"])})))
        except DesignError as reason:
            lines.append(blocks.line(say("os_all_impossible", reason=reason)))
    rows = []
    for key, part in sides:
        spread, log = reading.mean(part.studies["total"]), _in_log(reading, part.panels["total"])
        share = ["–"] * 2
        if log is not None:
            low, high = map(in_percent, log.interval(reading.level))
            share = [in_percent(log.estimate), say.span(low, high)]
        counts = [formats.number(n) for n in part.studies["total"].clusters]
        rows.append([say(key), reading.amount(spread.estimate, signed=True), _span(reading, spread), *share, *counts])
    heads = say.heads("os_against", "os_money", "os_span", "os_percent", "os_percent_span", "os_treated", "os_others")
    table = blocks.listing(heads, rows, say("os_joining_caption", level=f"{reading.level:.0%}"), numbers=range(1, 7))
    subtitle = say(f"os_joining_{found.against}", unit=reading.unit)
    figure = effect_by_week(reading, study, say("os_joining_figure"), subtitle, kind="joiners")
    return title, say(f"os_note_{found.against}"), figure, table, *lines


@PAGE.section("split")
def split(reading: Reading) -> Parts:
    """Return what joining did at home and abroad, which add up to the total."""
    say = reading.words
    found = compared(reading, overseas.sales_panels(reading.shop, **_window(reading)))
    spreads = {name: reading.mean(found.studies[name]) for name in SIDES}
    verbs = {name: _money_verb(reading, spreads[name]) for name in SIDES[1:]}
    note = say("os_split_note", range=_span(reading, spreads["domestic"]), against=say(f"os_{found.against}"))
    rows = [Row(say(f"os_{name}"), "average" if name == "total" else "one", spreads[name]) for name in SIDES]
    subtitle = say(f"os_joining_{found.against}", unit=reading.unit)
    paths = [
        effect_by_week(reading, found.studies[name], say(f"os_split_{name}"), subtitle, kind="joiners")
        for name in SIDES[1:]
    ]
    figure = _forest(reading, rows, "split", _counts(reading, found.studies["total"]))
    return say("os_split_title", **verbs), note, figure, _stacked(reading, found), *paths


def _stacked(reading: Reading, found: Compared) -> Any:
    """Draw home and abroad on each other by weeks since joining; weeks that rest on fewer than ten joiners are left out."""
    say, about = reading.words, reading.shop.description
    shown = {name: latest(study, -AGES_BEFORE).tidy() for name, study in found.studies.items()}
    values = {"filled": "overseas", "hollow": "domestic", "total": "total"}
    frame = pd.DataFrame({part: shown[name]["estimate"].to_numpy() for part, name in values.items()})
    frame.insert(0, "age", shown["total"]["age"].to_numpy())
    unit = formats.currency_unit(about.currency, say.language)
    labels = {part: say(f"os_{name}") for part, name in values.items()}
    labels |= {"value": say("with_unit", name=say("column_estimate"), unit=unit), "age": say("joiners_age"),
               "start": say("joiners_start")}  # fmt: skip
    means = {name: reading.amount(study.average[0], signed=True) for name, study in found.studies.items()}
    table = pd.DataFrame({say("column_age"): frame["age"].map(lambda age: formats.number(age, signed=True))})
    table = table.assign(**{labels[part]: frame[part].map(lambda v: formats.number(v, signed=True)) for part in values})
    chart = charts.stacked_effects(frame, labels=labels)
    note = f"{_counts(reading, found.studies['total'])} · {say('os_stacked_note')}"
    words = {"subtitle": say(f"os_joining_{found.against}", unit=unit)}
    return reading.figure("os_stacked", chart, table, note, **words, **means)


@PAGE.section("margin")
def margin(reading: Reading) -> Parts:
    """Return what joining did to what the platform keeps after subsidies and the cost of the programme."""
    say, panels = reading.words, overseas.margin_panels(reading.shop, **_window(reading))
    found = compared(reading, panels)
    spreads = {name: reading.mean(found.studies[name]) for name in SIDES}
    rows = [Row(say(f"os_{name}"), "average" if name == "total" else "one", spreads[name]) for name in SIDES]
    title = say("os_margin_title", verb=_money_verb(reading, spreads["overseas"]))
    note = say("os_margin_note", range=_span(reading, spreads["overseas"]), against=say(f"os_{found.against}"))
    counted = [text for text in panels["overseas"].notes if any(word in text for word in _COUNTED)]
    lines = [blocks.line(say("os_counted", reason=text)) for text in counted]
    return title, note, _forest(reading, rows, "margin", _counts(reading, found.studies["total"])), *lines


@PAGE.section("overlap")
def overlap(reading: Reading) -> Parts:
    """Return who has overseas support, domestic support or both, with the effect of each."""
    say = reading.words
    panels, table = overseas.overlap_panels(reading.shop, **_window(reading, every_lever=True))
    counts: Any = table.set_index(["domestic", "overseas"])["merchants"]
    if not counts[:, True].sum():
        raise DesignError(say("os_nobody"))
    spreads, told = dict[str, Spread](), dict[str, str]()
    for name in ("overseas", "domestic", "both"):
        told[name] = say("os_cell_none", reason=say("os_nobody"))
        try:
            spreads |= {name: reading.mean(_studied(reading, panels[name]))} if name in panels else {}
        except DesignError as reason:
            told[name] = say("os_cell_none", reason=reason)
        if name in spreads:
            span = _span(reading, spreads[name])
            told[name] = say("os_cell", value=reading.amount(spreads[name].estimate, signed=True), range=span)
    texts = {(False, False): say("os_cell_base"), (False, True): told["overseas"], (True, False): told["domestic"],
             (True, True): told["both"]}  # fmt: skip
    tiles = {cell: masked(int(counts[cell]), zero=True) for cell in texts}
    cells = [
        [say("os_with_domestic" if here else "os_without_domestic"),
         *(say("os_tile", n=tiles[here, abroad], effect=texts[here, abroad]) for abroad in (False, True))]
        for here in (False, True)
    ]  # fmt: skip
    heads = say.heads("os_tile", "os_without", "os_with")
    shown = [blocks.listing(heads, cells, say("os_overlap_caption", least=FEWEST))]
    rows = [Row(say(f"os_only_{name}"), "one", spread) for name, spread in spreads.items()]
    figure = [_forest(reading, rows, "overlap", say("os_overlap_n"))] if rows else []
    share = formats.percent(counts[True, True] / max(int(counts[:, True].sum()), 1), 0)
    key = "os_overlap_title" if counts[True, True] == 0 or counts[True, True] >= FEWEST else "os_overlap_title_few"
    between = int(np.isnan(panels["both"].outcome).sum()) if "both" in spreads else 0
    note = say("os_overlap_note", between=formats.Count(between))
    return say(key, share=share), note, *shown, *figure, _interaction(reading, spreads)


def _interaction(reading: Reading, spreads: dict[str, Spread]) -> Any:
    """Tell whether both together do more than one by one; the interval holds however the three estimates vary together."""
    say = reading.words
    if len(spreads) < 3:
        return blocks.line(say("os_interaction_none"))
    both, one, other = (spreads[name] for name in ("both", "overseas", "domestic"))
    value = both.estimate - one.estimate - other.estimate
    spread = Spread(value, both.std_error + one.std_error + other.std_error, np.inf, reading.widening)
    return blocks.line(say("os_interaction", value=reading.amount(value, signed=True), range=_span(reading, spread)))


@PAGE.section("naive")
def naive(reading: Reading) -> Parts:
    """Return how much faster joiners grew than the market beside the effect, and why the first is none."""
    say = reading.words
    grown: Any = overseas.naive_growth(reading.shop, **_window(reading)).set_index("group")
    if grown.loc["joiners", "merchants"] < FEWEST:
        raise DesignError(say("os_few", least=FEWEST))
    growth = {name: float(grown.loc[name, "growth"]) for name in grown.index}
    told = {name: formats.percent(value, signed=True) for name, value in growth.items()}
    before = {
        f"{name}_before": formats.percent(float(grown.loc[name, "growth_before"]), signed=True) for name in grown.index
    }
    panel = overseas.joiners_panel(reading.shop, **_window(reading))
    bare = Spread(float(np.log1p(growth["joiners"]) - np.log1p(growth["market"])), np.nan, np.inf)
    drawn = [Row(say("os_naive_row"), "open", bare)]
    fits = {"all": _in_log(reading, panel)}
    try:
        fits["later"] = _in_log(reading, overseas.among_joiners(panel))
    except DesignError:
        fits["later"] = None
    drawn += [Row(say(f"os_{name}"), "one", spread) for name, spread in fits.items() if spread is not None]
    best = fits["later"] or fits["all"]
    verb = (
        say("verb_cannot_tell")
        if best is None
        else reading.told(best, in_percent(abs(best.estimate), signed=False), limited=True)
    )
    title = say("os_naive_title", joiners=told["joiners"], market=told["market"], verb=verb)
    lines = [say("os_naive_why", joiners=before["joiners_before"], others=before["others_before"])]
    if growth["market"] > 0 and growth["joiners"] > 0:
        lines.insert(0, say("os_naive_times", times=formats.number(growth["joiners"] / growth["market"], 1)))
    cells = [
        [say(f"os_group_{name}"), *(formats.number(row.merchants), reading.amount(row.before),
         reading.amount(row.after), signed_percent(row.growth), signed_percent(row.growth_before))]
        for name, row in zip(grown.index, grown.itertuples(), strict=True)
    ]  # fmt: skip
    heads = say.heads("os_group", "os_merchants", "os_before", "os_after", "os_growth", "os_growth_before")
    table = blocks.listing(heads, cells, say("os_naive_caption"), numbers=range(1, 6))
    n = say("os_naive_n", n=formats.Count(int(grown.loc["joiners", "merchants"])))
    note = say.prose(*lines)
    return title, note, _forest(reading, drawn, "naive", n, percent=True), table
