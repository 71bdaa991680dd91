"""The whole web: what passes through us of all that merchants sell, and what entering another platform did to sales here."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, did, formats, whole_web
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.claims import Spread, in_percent
from strategy_kit.report.figures import bands, effects_table, latest
from strategy_kit.report.programme_page import Parts, ProgrammePage
from strategy_kit.report.reading import listed

if TYPE_CHECKING:
    from strategy_kit.report.reading import Reading

_YEAR, _AGES_BEFORE = 12, 6
_SURE = ("high", "medium", "low", "unstated")


PAGE = ProgrammePage("whole_web", "ww", "offplatform_sales")
masthead, foot = PAGE.masthead, PAGE.foot


@PAGE.answer
def answer(reading: Reading) -> str:
    """Return one sentence for the weekly page."""
    row, months = _whole(reading)
    return reading.words("ww_answer", n=formats.Count(int(row.merchants)), months=formats.Count(months), **_told(row))


def sourced(reading: Reading, n: str) -> str:
    """Write n, and where the estimates of sales elsewhere come from."""
    say, behind = reading.words, whole_web.estimates_behind(reading.shop, through=reading.sunday)
    sources = listed(say, [say.label(str(name)) for name in dict.fromkeys(behind["source"])])
    shares = behind.groupby("confidence", sort=False)["share"].sum()
    known = [name for name in _SURE if name in shares.index]
    sure = listed(say, [f"{say(f'ww_sure_{name}')} {formats.percent(float(shares[name]), 0)}" for name in known])
    return say("ww_behind", n=n, sources=sources, sure=sure)


def _whole(reading: Reading) -> tuple[Any, int]:
    """Return the last month of all merchants together against the same month a year ago, or else the first, and the distance."""
    found = whole_web.wallet(reading.shop, "all", through=reading.sunday)
    months = min(_YEAR, _apart(found["month"].iloc[-1], found["month"].iloc[0]))
    if months < 1:
        raise DesignError(reading.words("ww_one_month"))
    split = whole_web.growth_split(found, months=months)
    last = split[split["month"] == found["month"].iloc[-1]]
    if last.empty:
        raise DesignError(reading.words("ww_few", least=FEWEST))
    return next(last.itertuples()), months


def _apart(later: pd.Timestamp, earlier: pd.Timestamp) -> int:
    return 12 * (later.year - earlier.year) + later.month - earlier.month


def _told(row: Any) -> dict[str, str]:
    """Write the shares and the split of growth."""
    growth = {
        name: formats.percent(getattr(row, name), signed=True)
        for name in ("growth", "from_on_platform", "from_off_platform")
    }
    return growth | {name: formats.percent(getattr(row, name)) for name in ("share_before", "share_after")}


@PAGE.section("wallet")
def wallet(reading: Reading) -> Parts:
    """Return share of wallet and level together, and where the growth of the total came from."""
    say = reading.words
    row, months = _whole(reading)
    whole = whole_web.wallet(reading.shop, "all", through=reading.sunday).iloc[-1]
    steps = [("ww_total_before", row.total_before, "level"), ("ww_here", row.on_platform_change, "change"),
             ("ww_elsewhere", row.off_platform_change, "change"), ("ww_total_after", row.total_after, "level")]  # fmt: skip
    frame = pd.DataFrame(
        [(say(name), amount, kind) for name, amount, kind in steps], columns=["step", "amount", "kind"]
    )
    like = float(row.total_before), float(row.total_after)
    frame["text"] = [reading.amount(amount, signed=kind == "change", like=like) for _, amount, kind in steps]
    n = say("ww_wallet_n", n=formats.Count(int(row.merchants)), covered=formats.percent(float(whole["covered"]), 0))
    drawn = charts.growth_waterfall(frame, labels={"value": say("ww_steps_value"), "cut": say("ww_cut")})
    table = frame[["step", "text"]].set_axis([say("ww_steps_value"), say("ww_amount")], axis=1)
    words = {"description": drawn.description, "months": formats.Count(months)}
    figure = reading.figure("ww_steps", drawn, table, sourced(reading, n), **words, **_told(row))
    title = say("ww_wallet_title", **_told(row), months=formats.Count(months))
    return title, say("ww_wallet_note"), _bands(reading, months), figure


def _bands(reading: Reading, months: int) -> Any:
    """Draw share and level by size band; where one band is too small to show, a second one hides it from subtraction."""
    say, shop = reading.words, reading.shop
    if "size_band" not in shop.columns("merchants"):
        return blocks.line(say("ww_no_bands"))
    found = whole_web.wallet(shop, "size_band", through=reading.sunday)
    split = whole_web.growth_split(found, months=months)
    split = split[split["month"] == found["month"].max()].sort_values("merchants", ascending=False)
    hidden = found["group"].nunique() - len(split)
    split = split.head(-1) if hidden == 1 else split
    if split.empty:
        return blocks.line(say("ww_few", least=FEWEST))
    rows = [_told(row) | {"name": say.label(row.group)} for row in split.itertuples()]
    labels = {name: say.label(name) for name in split["group"]} | {"value": say("ww_share"), "level": say("ww_level")}
    drawn = charts.share_and_level(split.assign(text=[row["share_after"] for row in rows]), labels=labels)
    columns = ("name", "share_before", "share_after", "growth", "from_on_platform", "from_off_platform")
    table = pd.DataFrame([[row[name] for name in columns] for row in rows])
    heads = ("size_band", "ww_share_before", "ww_share_after", "ww_growth", "ww_here", "ww_elsewhere")
    table.columns = [say(f"column_{name}") for name in heads]
    lost = formats.Count(found["group"].nunique() - len(split))
    note = say("ww_known_n", n=formats.Count(int(split["merchants"].sum())))
    note = say("ww_bands_n", note=note, hidden=lost, least=FEWEST) if lost else note
    ends = listed(say, [say("ww_band_end", name=r["name"], share=r["share_after"], growth=r["growth"]) for r in rows])
    title = say("ww_bands_title", listed=ends)
    return reading.figure("ww_bands", drawn, table, sourced(reading, note), title=title)


@PAGE.section("entry")
def entry(reading: Reading) -> Parts:
    """Return what entering another platform did to sales here."""
    say = reading.words
    panels = whole_web.entry_panels(reading.shop, through=reading.sunday)
    fits = {name: did.overall(did.group_time(panel, control="not_yet")) for name, panel in panels.items()}
    if min(fits["on_platform"].clusters) < FEWEST:
        raise DesignError(say("ww_few", least=FEWEST))
    study = did.event_study(did.group_time(panels["on_platform"], control="not_yet"))
    spread = reading.mean(fits["on_platform"])
    ends = spread.interval(reading.level)
    size = reading.amount(abs(spread.estimate), like=ends)
    title = say("ww_entry_title", verb=reading.told(spread, size, limited=True))  # merchants chose to enter
    note = say("ww_entry_note", range=reading.amounts(*ends), diversion=_diverted(reading, fits))
    recent = latest(study, -_AGES_BEFORE)
    labels = {"value": say("with_unit", name=say("column_estimate"), unit=reading.unit),
              "age": say("ww_entry_age"), "start": say("ww_entry_start")}  # fmt: skip
    labels |= bands(say, "ww_study_note")
    table = effects_table(say, recent.tidy(), partial(formats.number, signed=True), say.span, "ww_month")
    counts = dict(zip(("entered", "others"), map(formats.Count, study.clusters), strict=True))
    chart = charts.event_study(recent, labels=labels)
    counted = sourced(reading, say("ww_entry_n", **counts))
    figure = reading.figure("ww_entry", chart, table, counted, title=title, description=note)
    return title, note, figure, _in_percent(reading, panels["on_platform"])


def _diverted(reading: Reading, fits: dict[str, Any]) -> str:
    """Tell how much of each unit sold elsewhere would have been sold here, as far as that can be told."""
    say, wide = reading.words, reading.widening
    fits = {name: replace(fit, average=(fit.average[0], fit.average[1] * wide)) for name, fit in fits.items()}
    row = whole_web.diversion(*fits.values(), level=reading.level).iloc[0]
    if row["form"] != "bounded":
        return say("ww_diversion_open")
    value, low, high = (formats.number(row[name], 2, signed=True) for name in ("estimate", "conf_low", "conf_high"))
    return say("ww_diversion", value=value, range=say.span(low, high))


def _in_percent(reading: Reading, panel: Any) -> Any:
    """Tell the effect of entry as a share of what would have been sold, and who was left out."""
    say = reading.words
    try:
        value, error = did.poisson_saturated(panel).average
    except DesignError as reason:
        return blocks.line(say("ww_impossible", reason=reason))
    spread = Spread(float(np.log1p(value)), error / (1 + value), np.inf, reading.widening)
    low, middle, high = map(in_percent, np.insert(spread.interval(reading.level), 1, spread.estimate))
    return blocks.line(say("ww_entry_percent", estimate=middle, range=say.span(low, high)))
