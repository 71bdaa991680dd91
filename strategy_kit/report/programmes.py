"""Programmes beside the pilot: two-tier targets and overseas; each is one line where its data are absent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import charts, formats, targets
from strategy_kit.errors import DesignError
from strategy_kit.overseas import LEVER, joiners_panel
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST, masked
from strategy_kit.report.figures import effect_by_week, kpi_trend
from strategy_kit.report.measures import written
from strategy_kit.report.overseas_page import compared
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from strategy_kit.report.blocks import Block
    from strategy_kit.report.reading import Reading


def target_section(reading: Reading) -> Section:
    """Return how many merchants met floor and stretch in the last period that has ended."""
    say, shop = reading.words, reading.shop
    head = say("section_targets"), say("question_targets")
    if "targets" not in shop.tables:
        return Section("targets", (blocks.absent(*head, say("targets_absent")),))
    found = targets.attainment(shop, through=reading.sunday)
    if found.empty:
        return Section("targets", (blocks.absent(*head, say("targets_none_ended")),))
    last = found[found["period_start"] == found["period_start"].max()]
    total: Any = last[["merchants", "sold", "floor", "stretch", "met_floor", "met_stretch"]].sum()
    if total["merchants"] < FEWEST:
        return Section("targets", (blocks.absent(*head, say("targets_few", least=FEWEST)),))
    floor, stretch = (formats.percent(total[name] / total["merchants"], 0) for name in ("met_floor", "met_stretch"))
    title = say("targets_title", floor=floor, stretch=stretch)
    return Section("targets", (blocks.section_head(*head, title), _attained(reading, last), _bands(reading, last)))


def overseas_section(reading: Reading) -> Section:
    """Return what is sold overseas, and what joining the programme did to merchants where some joined."""
    say, shop = reading.words, reading.shop
    head = say("section_overseas"), say("question_overseas")
    if "market" not in shop.columns("order_lines"):
        return Section("overseas", (blocks.absent(*head, say("overseas_absent")),))
    pilots: Any = reading.measures[reading.measures["pilot"]].set_index("week")
    share = written(reading, "overseas_share", float(pilots.loc[pd.Timestamp(reading.monday), "overseas_share"]))[0]
    title = say("overseas_title", share=share)
    trend = kpi_trend(reading, "overseas_share")
    return Section("overseas", (blocks.section_head(*head, title), trend, joiners(reading)))


def joiners(reading: Reading) -> Any:
    """Draw what joining overseas did to a merchant's sales at home and abroad together, by weeks since it joined."""
    say, shop = reading.words, reading.shop
    if "support" not in shop.tables:
        return blocks.line(say("joiners_absent"))
    if shop.engine.frame("select count(*) as n from support where lever = $lever", {"lever": LEVER})["n"][0] == 0:
        return blocks.line(say("joiners_none"))
    try:
        panel = joiners_panel(shop, **reading.window)
        found = compared(reading, {"total": panel})
    except DesignError as reason:
        return blocks.line(say("joiners_impossible", reason=reason))
    study = found.studies["total"]
    spread = reading.mean(study)
    # who joins has chosen to, and when: others are no proof that joiners would not have grown
    effect = reading.amount(abs(spread.estimate), like=spread.interval(reading.level))
    title = say("joiners_title", verb=reading.told(spread, effect, limited=True))
    return effect_by_week(reading, study, title, say(f"os_joining_{found.against}", unit=reading.unit), kind="joiners")


def _attained(reading: Reading, last: pd.DataFrame) -> Any:
    say, start = reading.words, last["period_start"].iloc[0]
    bins = targets.attainment_bins(reading.shop, start)
    day = formats.day(pd.Timestamp(start).date(), say.language)
    total = last[["sold", "stretch", "merchants"]].sum()
    portfolio = formats.percent(total["sold"] / total["stretch"])
    table = pd.DataFrame(
        {
            say("column_attained"): [f"{100 * low:.0f}%" for low in bins["low"]],
            say("column_merchants"): [masked(n) for n in bins["merchants"]],
        }
    )
    labels = {"value": say("column_merchants"), "share": say("attained_share"), "floor": say("word_floor")}
    shown = bins.assign(merchants=bins["merchants"].where(bins["merchants"] >= FEWEST, 0))
    count = formats.Count(int(total["merchants"]))
    chart = charts.attainment(shown, labels=labels | {"stretch": say("word_stretch")})
    note = say("attained_n", n=count, least=FEWEST)
    return reading.figure("attained", chart, table, note, share=portfolio, day=day, n=count)


def _bands(reading: Reading, last: pd.DataFrame) -> Block:
    """Return attainment by size band, bands of fewer than ten merchants left out and counted."""
    say = reading.words
    shown: Any = last[last["merchants"] >= FEWEST]
    rows = [
        [say.label(str(row.size_band)), *(
            formats.number(row.merchants), formats.percent(row.met_floor / row.merchants, 0),
            formats.percent(row.met_stretch / row.merchants, 0), formats.percent(row.sold / row.stretch))]
        for row in shown.fillna({"size_band": "unknown"}).itertuples()
    ]  # fmt: skip
    heads = say.heads("size_band", "merchants", "met_floor", "met_stretch", "portfolio")
    hidden = formats.Count(len(last) - len(shown))
    return blocks.listing(heads, rows, say("bands_caption", n=hidden, least=FEWEST), numbers=range(1, 5))
