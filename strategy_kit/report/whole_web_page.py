"""The whole web: what passes through us of all that merchants sell, and what entering another platform did to sales here."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, did, formats, whole_web
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks, claims
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.claims import Spread, verb_for
from strategy_kit.report.figures import _caption, _kept, _since
from strategy_kit.report.reading import listed
from strategy_kit.report.review import opening, provenance
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.report.reading import Reading

_SUNDAY, _YEAR, _AGES_BEFORE = dt.timedelta(days=6), 12, 6
_SURE = ("high", "medium", "low", "unstated")


def masthead(reading: Reading) -> Section:
    """Return the head of the page with its marks."""
    return opening(reading, reading.words("product_review"), reading.words("title_whole_web"))


def wallet(reading: Reading) -> Section:
    """Return share of wallet and level together, and where the growth of the total came from."""
    return section(reading, "wallet", lambda: _wallet(reading))


def entry(reading: Reading) -> Section:
    """Return what entering another platform did to sales here."""
    return section(reading, "entry", lambda: _entry(reading))


def foot(reading: Reading) -> Section:
    """Return the foot of the page."""
    return Section("provenance", (provenance(reading, "ww_method"),))


def answer(reading: Reading) -> str:
    """Return one sentence for the weekly page."""
    say = reading.words
    if "offplatform_sales" not in reading.shop.tables:
        return say("ww_absent")
    try:
        row, months = _whole(reading)
    except DesignError as reason:
        return say("ww_impossible", reason=reason)
    return say("ww_answer", n=formats.Count(int(row.merchants)), months=formats.Count(months), **_told(row))


def section(reading: Reading, name: str, parts: Callable[[], tuple[Any, ...]]) -> Section:
    """Show a section, or the one line that says why it has nothing to show."""
    say = reading.words
    head = say(f"section_ww_{name}"), say(f"question_ww_{name}")
    if "offplatform_sales" not in reading.shop.tables:
        return Section(name, (blocks.absent(*head, say("ww_absent")),))
    try:
        title, note, *shown = parts()
    except DesignError as reason:
        return Section(name, (blocks.absent(*head, say("ww_impossible", reason=reason)),))
    return Section(name, (blocks.section_head(*head, title, note), *shown))


def window(reading: Reading) -> dict[str, dt.date]:
    """Return the keywords that keep later months out."""
    return {"through": reading.monday + _SUNDAY}


def caption(reading: Reading, n: str) -> str:
    """Write the line under a chart: mark, data set, week, n, and where the estimates of sales elsewhere come from."""
    say, behind = reading.words, whole_web.estimates_behind(reading.shop, **window(reading))
    sources = listed(say, [say.label(str(name)) for name in dict.fromkeys(behind["source"])])
    shares = behind.groupby("confidence", sort=False)["share"].sum()
    known = [name for name in _SURE if name in shares.index]
    sure = listed(say, [f"{say(f'ww_sure_{name}')} {formats.percent(float(shares[name]), 0)}" for name in known])
    return _caption(reading, say("ww_behind", n=n, sources=sources, sure=sure))


def _whole(reading: Reading) -> tuple[Any, int]:
    """Return the last month of all merchants together against the same month a year ago, or else the first, and the distance."""
    found = whole_web.wallet(reading.shop, "all", **window(reading))
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


def _wallet(reading: Reading) -> tuple[Any, ...]:
    say, currency = reading.words, reading.shop.description.currency
    row, months = _whole(reading)
    whole = whole_web.wallet(reading.shop, "all", **window(reading)).iloc[-1]
    steps = [("ww_total_before", row.total_before, "level"), ("ww_here", row.on_platform_change, "change"),
             ("ww_elsewhere", row.off_platform_change, "change"), ("ww_total_after", row.total_after, "level")]  # fmt: skip
    frame = pd.DataFrame(
        [(say(name), amount, kind) for name, amount, kind in steps], columns=["step", "amount", "kind"]
    )
    like = float(row.total_before), float(row.total_after)
    frame["text"] = [
        formats.money(amount, currency, say.language, signed=kind == "change", like=like) for _, amount, kind in steps
    ]
    n = say("ww_wallet_n", n=formats.Count(int(row.merchants)), covered=formats.percent(float(whole["covered"]), 0))
    drawn = charts.growth_waterfall(frame, labels={"value": say("ww_steps_value"), "cut": say("ww_cut")})
    figure = charts.figure(
        drawn, title=say("ww_steps_title", **_told(row)), subtitle=say("ww_steps_subtitle", months=formats.Count(months)),
        caption=caption(reading, n), description=drawn.description, table=frame[["step", "text"]].set_axis(
            [say("ww_steps_value"), say("ww_amount")], axis=1), table_label=say("table_behind"),
    )  # fmt: skip
    title = say("ww_wallet_title", **_told(row), months=formats.Count(months))
    return title, say("ww_wallet_note"), _bands(reading, months), figure


def _bands(reading: Reading, months: int) -> Any:
    """Draw share and level by size band; where one band is too small to show, a second one hides it from subtraction."""
    say, shop = reading.words, reading.shop
    if "size_band" not in shop.columns("merchants"):
        return blocks.line(say("ww_no_bands"))
    found = whole_web.wallet(shop, "size_band", **window(reading))
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
    return charts.figure(drawn, title=title, subtitle=say("ww_bands_subtitle"), caption=caption(reading, note),
                         description=title, table=table, table_label=say("table_behind"))  # fmt: skip


def _entry(reading: Reading) -> tuple[Any, ...]:
    say, currency = reading.words, reading.shop.description.currency
    panels = whole_web.entry_panels(reading.shop, **window(reading))
    fits = {name: did.overall(did.group_time(panel, control="not_yet")) for name, panel in panels.items()}
    if min(fits["on_platform"].clusters) < FEWEST:
        raise DesignError(say("ww_few", least=FEWEST))
    study = did.event_study(did.group_time(panels["on_platform"], control="not_yet"))
    spread = Spread(*fits["on_platform"].average, np.inf, reading.widening)
    ends = spread.interval(reading.level)
    size = formats.money(abs(spread.estimate), currency, say.language, like=ends)
    verb = verb_for(
        spread, reading.level, [*(check.state for check in reading.checks), "limits"]
    )  # merchants chose to enter
    title = say("ww_entry_title", verb=claims.told(verb, spread, size, say))
    note = say(
        "ww_entry_note", range=formats.money_range(*ends, currency, say.language), diversion=_diverted(reading, fits)
    )
    recent = _since(_kept(study, study.n_units >= FEWEST), -_AGES_BEFORE)
    labels = {"value": say("with_unit", name=say("column_estimate"), unit=formats.currency_unit(currency, say.language)),
              "age": say("ww_entry_age"), "start": say("ww_entry_start")}  # fmt: skip
    labels["nested"], labels["band"] = (part.strip() for part in say("ww_study_note").split("|"))
    rows = recent.tidy()
    spans = [say("range_to", low=formats.number(low, signed=True), high=formats.number(high, signed=True))
             for low, high in zip(rows["conf_low"], rows["conf_high"], strict=True)]  # fmt: skip
    table = pd.DataFrame({say("ww_month"): [formats.number(age, signed=True) for age in rows["age"]],
                          say("column_estimate"): [formats.number(v, signed=True) for v in rows["estimate"]],
                          say("column_interval"): spans})  # fmt: skip
    counts = dict(zip(("entered", "others"), map(formats.Count, study.clusters), strict=True))
    figure = charts.figure(charts.event_study(recent, labels=labels), title=title, subtitle=say("ww_entry_subtitle"),
                           caption=caption(reading, say("ww_entry_n", **counts)), description=note, table=table,
                           table_label=say("table_behind"))  # fmt: skip
    return title, note, figure, _in_percent(reading, panels["on_platform"])


def _diverted(reading: Reading, fits: dict[str, Any]) -> str:
    """Tell how much of each unit sold elsewhere would have been sold here, as far as that can be told."""
    say, row = reading.words, whole_web.diversion(*fits.values(), level=reading.level).iloc[0]
    if row["form"] != "bounded":
        return say("ww_diversion_open")
    value, low, high = (formats.number(row[name], 2, signed=True) for name in ("estimate", "conf_low", "conf_high"))
    return say("ww_diversion", value=value, range=say("range_to", low=low, high=high))


def _in_percent(reading: Reading, panel: Any) -> Any:
    """Tell the effect of entry as a share of what would have been sold, and who was left out."""
    say = reading.words
    try:
        row: Any = did.poisson_saturated(panel).glance(reading.level).iloc[0]
    except DesignError as reason:
        return blocks.line(say("ww_impossible", reason=reason))
    low, middle, high = (formats.percent(row[name], signed=True) for name in ("conf_low", "estimate", "conf_high"))
    return blocks.line(say("ww_entry_percent", estimate=middle, range=say("range_to", low=low, high=high)))
