"""Platform health beyond revenue: value over twelve months, consumers' search, merchants' trust."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, cohort, did, formats, platform_health, surrogate
from strategy_kit.charts.nested import nested_forest
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.categories import Row, interval_columns, nested_rows
from strategy_kit.report.claims import Spread, in_percent
from strategy_kit.report.figures import bands, sides_by_week, sides_counted
from strategy_kit.report.platform_health_page import PAGE
from strategy_kit.report.reasons import reason_in

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.programme_page import Parts
    from strategy_kit.report.reading import Reading

FIRST, YEAR = 8, 52
"""First weeks that a year's value is foretold from, and the weeks of that value."""
SILENCE = 8
LAGS, LEADS = 6, 3


@PAGE.section("surrogate")
def long_run(reading: Reading) -> Parts:
    """Return what the first weeks say of twelve-month value, under two readings of them, and which metric says most."""
    say = reading.words
    panels = _histories(reading)
    found = {past: _projected(reading, panels, past) for past in (0, FIRST)}
    card = surrogate.scorecard(panels, weeks=FIRST, horizon=YEAR)
    if found[0][1].clusters[0] < FEWEST:
        few = say("ph_few", n=formats.Count(found[0][1].clusters[0]), fewest=FEWEST)
        raise DesignError(few)
    best = say(f"metric_{card['metric'].iloc[0]}")
    title = say(
        "ph_surrogate_title",
        metric=best,
        weeks=formats.Count(FIRST),
        share=formats.percent(card["r_squared"].iloc[0], 0),
    )
    note = say("ph_surrogate_note", weeks=formats.Count(FIRST), n=formats.Count(int(card["merchants"].iloc[0])))
    return title, note, _values(reading, found), _card(reading, card)


@PAGE.section("search")
def search(reading: Reading) -> Parts:
    """Return whether consumers find what they buy in less time in the pilots than elsewhere."""
    say = reading.words
    weekly = platform_health.search_cost(reading.shop)
    since = reading.totals.periods[0].date()
    panels = [platform_health.search_panel(reading.shop, name, since=since, through=reading.monday)
              for name in ("minutes_per_purchase", "queries_per_purchase", "conversion")]  # fmt: skip
    contrasts = [did.pilot_contrast(panel) for panel in panels]
    told = [_verb(reading, contrast) for contrast in contrasts]
    title = say("ph_search_title", verb=told[0])
    note = say("ph_search_note", queries=told[1], conversion=told[2], range=_range(reading, contrasts[0]))
    if unknown := weekly.attrs["unknown"]["minutes_per_purchase"]:
        note = say.prose(note, say("ph_search_unknown", rows=formats.Count(unknown)))
    return title, note, _minutes(reading, weekly, title)


@PAGE.section("trust")
def trust(reading: Reading) -> Parts:
    """Return whether merchants stay, complain less, and whether experience comes before growth."""
    say, shop = reading.words, reading.shop
    window = reading.window
    merchants = shop.panel(categories=shop.pilot.categories, **window).collected().untreated_at_first()
    effect = platform_health.exit_effect(merchants, silence=SILENCE)
    if (fewer := min(effect.clusters)) < FEWEST:
        raise DesignError(say("ph_few", n=formats.Count(fewer), fewest=FEWEST))
    spread = reading.overall(effect)
    points = partial(_points, reading)
    # no week before a start can show that those who got support would have stayed alike
    verb = reading.told(spread, points(abs(spread.estimate), signed=False), limited=True)
    title = say("ph_trust_title", verb=verb)
    low, high = map(points, spread.interval(reading.level))
    rows = [
        say("ph_trust_note", low=low, high=high, silence=formats.Count(SILENCE)),
        _complaints(reading),
        say("ph_cutoff"),
    ]
    return title, " ".join(rows), _survival(reading), _lead_lag(reading)


def _histories(reading: Reading) -> dict[str, Any]:
    first = reading.shop.complete_periods("week")[0]
    return surrogate.measure_panels(reading.shop, surrogate.SCORED, since=first, through=reading.monday)


def _projected(reading: Reading, panels: dict[str, Any], past: int) -> tuple[surrogate.Index, Estimates, Estimates]:
    """Return the index, the effect on it, and the effect on sales of the first weeks."""
    panels = {name: panels[name] for name in surrogate.MEASURES}
    index = surrogate.fit_index(panels, weeks=FIRST, horizon=YEAR, past=past)

    def study(panel: Any) -> Estimates:
        inside = panel.within(reading.shop.pilot.categories).untreated_at_first()
        return did.event_study(did.group_time(inside, control="not_yet"))

    effects = {name: study(panel) for name, panel in surrogate.without_season(panels).items()}
    found = surrogate.long_run_effect(index, study(surrogate.index_panel(index, panels)), effects)
    return index, found, study(panels["gmv"])


def _values(reading: Reading, found: dict[int, Any]) -> Any:
    say, write = reading.words, partial(reading.amount, signed=True)
    early, error = surrogate.first_weeks(found[0][2], FIRST)
    spreads = {"ph_first": Spread(FIRST * early, FIRST * error, np.inf, reading.widening)}
    names = {0: "ph_lasting", FIRST: "ph_fresh"}
    spreads |= {names[past]: reading.mean(row[1]) for past, row in found.items()}
    weeks = formats.Count(FIRST)
    rows = [
        Row(say(name, weeks=weeks), "one" if name == "ph_first" else "prediction", spread)
        for name, spread in spreads.items()
    ]
    frame = nested_rows(rows, reading.level, lambda *ends: say("nested_value", **{
        name: write(end) for name, end in zip(("estimate", "low", "high"), ends, strict=True)}))  # fmt: skip
    table = pd.DataFrame({say("column_measure"): frame["name"], say("column_estimate"): frame["estimate"].map(write)})
    table = table.assign(**interval_columns(frame, reading.level, write, say))
    fits = [row[0].calibration().attrs for row in found.values()]
    held = {f"slope_{at}": formats.number(fit["slope"], 2) for at, fit in enumerate(fits)}
    chart = nested_forest(
        frame, unit=write, labels={"note": say("nested_note", level=f"{reading.level:.0%}"), "cut": say("nested_cut")}
    )
    note = say("ph_values_caption", **held)
    words = {"description": "; ".join(frame["name"] + " " + frame["value"]), "weeks": weeks}
    return reading.figure("ph_values", chart, table, note, **words)


def _card(reading: Reading, card: pd.DataFrame) -> Any:
    say = reading.words
    cells: list[Any] = list(card.itertuples(index=False))
    rows = [
        [say(f"metric_{row.metric}"), formats.percent(row.r_squared, 0), formats.number(row.rank_correlation, 2),
         formats.percent(row.reliability, 0), str(row.weeks_needed)]
        for row in cells
    ]  # fmt: skip
    heads = [say("column_measure"), *(say(f"ph_card_{name}") for name in ("power", "rank", "reliability", "weeks"))]
    return blocks.listing(heads, rows, say("ph_card_caption"), numbers=range(1, 5))


def _verb(reading: Reading, contrast: Estimates) -> str:
    spread = reading.overall(contrast)
    return reading.told(spread, in_percent(abs(spread.estimate), signed=False))


def _range(reading: Reading, contrast: Estimates) -> str:
    low, high = map(in_percent, reading.overall(contrast).interval(reading.level))
    return reading.words.span(low, high)


def _minutes(reading: Reading, weekly: pd.DataFrame, title: str) -> Any:
    say, measure, write = reading.words, "minutes_per_purchase", partial(formats.number, digits=1)
    shown = weekly[(weekly["week"] >= reading.totals.periods[0]) & (weekly["week"] <= pd.Timestamp(reading.monday))]
    shown = shown.assign(series=np.where(shown["pilot"], "pilot", "other"), complete=True)
    chart, table = sides_by_week(reading, shown, measure, say("ph_minutes"), write)
    last = {side: table[say(f"series_{side}")].iloc[-1] for side in ("pilot", "other")}
    return reading.figure("ph_search", chart, table, sides_counted(reading), title=title, **last)


def _points(reading: Reading, share: float, *, signed: bool = True) -> str:
    return reading.words("share_points", n=formats.number(100 * share, 1, signed=signed))


def _complaints(reading: Reading) -> str:
    say, window = reading.words, reading.window
    try:
        contrast = did.pilot_contrast(platform_health.complaints_panel(reading.shop, **window))
    except DesignError as reason:
        return say("ph_complaints_absent", reason=str(reason))
    spread = reading.overall(contrast)
    size = say("ph_per_thousand", n=formats.number(1000 * abs(spread.estimate), 1))
    return say("ph_complaints", verb=reading.told(spread, size))


def _survival(reading: Reading) -> Any:
    say = reading.words
    try:
        curve = cohort.survival(reading.shop, through=reading.monday + dt.timedelta(days=6))
    except DesignError as reason:
        return blocks.line(reason_in(reading.words.language, str(reason)))
    curve = curve[curve["at_risk"] >= FEWEST]
    if curve.empty:
        return blocks.line(say("ph_survival_few", fewest=FEWEST))
    last: Any = curve.iloc[-1]
    told = {"age": formats.Count(int(last["age"])), "share": formats.percent(last["survival"], 0)}
    table = pd.DataFrame({say("ph_months"): curve["age"].astype(str)})
    table[say("ph_surviving")] = curve["survival"].map(partial(formats.percent, digits=1))
    labels = {"value": say("ph_surviving"), "age": say("ph_months"), "average": say("average_line")}
    chart = charts.retention_curves(curve, labels=labels)
    note = say("ph_survival_n", n=formats.Count(int(curve["at_risk"].iloc[0])))
    return reading.figure("ph_survival", chart, table, note, **told)


def _lead_lag(reading: Reading) -> Any:
    say, window = reading.words, reading.window
    try:
        sales, score, _ = platform_health.experience_panel(reading.shop, **window)
        found = platform_health.lead_lag(sales, score, lags=LAGS, leads=LEADS)
    except DesignError as reason:
        return blocks.line(say("ph_lead_absent", reason=str(reason)))
    if found.clusters[0] < FEWEST:
        return blocks.line(say("ph_few", n=formats.Count(found.clusters[0]), fewest=FEWEST))
    total, error = found.average
    placebo = float(found.details["placebo"]["p_value"][0])
    low, high = (
        formats.percent(end, signed=True)
        for end in Spread(total, error, found.clusters[0] - 1.0).interval(reading.level)
    )
    told = {"sum": formats.percent(total, signed=True), "low": low, "high": high, "p": formats.number(placebo, 3)}
    drawn = replace(found, labels=found.labels.rename(columns={"lag": "age"}))
    labels = {"value": say("ph_lead_value"), "age": say("ph_lag"), "start": say("ph_same_week")}
    labels |= bands(say)
    rows = found.tidy(reading.level)
    table = pd.DataFrame({say("ph_lag"): [formats.number(v, signed=True) for v in rows["lag"]],
                          say("column_estimate"): [formats.percent(v, signed=True) for v in rows["estimate"]]})  # fmt: skip
    chart = charts.event_study(drawn, percent=True, labels=labels)
    note = say("ph_lead_n", n=formats.Count(found.clusters[0]))
    return reading.figure("ph_lead", chart, table, note, **told)
