"""Price power: what the same products cost, who sells good goods at a fair price, discounts, and drift to low prices."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, did, formats, prices
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.claims import Spread, in_percent
from strategy_kit.report.figures import bands, effects_table, latest, sides_by_week, sides_counted
from strategy_kit.report.programme_page import Parts, ProgrammePage

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.reading import Reading

_AGES_BEFORE = 12
_GROUPS = ("pilot", "other")
_SIDES = ("supported", "beside", "elsewhere")
_COMPONENTS = ("depth", "relative_price", "std_dev", "new_share", "service")


PAGE = ProgrammePage("prices", "prices", "prices")
masthead, foot = PAGE.masthead, PAGE.foot


@PAGE.answer
def answer(reading: Reading) -> str:
    """Return one sentence for the weekly page."""
    shares = _good_and_fair(_quadrants(reading))
    return reading.words("prices_answer", verb=_verb(reading, _study(reading)), **shares)


def _after(reading: Reading) -> dict[str, Any]:
    return {"since": reading.totals.cohorts.min().date(), "through": reading.monday}


@PAGE.section("index")
def index(reading: Reading) -> Parts:
    """Return what the same products cost from week to week, pilot categories against the others."""
    say, asked = reading.words, reading.window
    found = prices.price_index(reading.shop, **asked)
    market = "market_price" in reading.shop.columns("prices")
    beside = prices.price_index(reading.shop, of="market_price", **asked) if market else None
    last: Any = found.groupby("group").last()
    change = {name: formats.percent(last["geks"].get(name, np.nan) - 1, signed=True) for name in _GROUPS}
    rows = []
    for name in [group for group in _GROUPS if group in last.index]:
        part, row = found[found["group"] == name], last.loc[name]
        levels = [row["geks"], row["time_product_dummy"], row["chained"]]
        levels.append(np.nan if beside is None else beside[beside["group"] == name]["geks"].iloc[-1])
        share = part["matched"].iloc[1:].sum() / part["items"].iloc[1:].sum()
        cells = ["–" if np.isnan(level) else formats.percent(level - 1, signed=True) for level in levels]
        cells += [
            formats.percent(np.expm1(row["drift"]), 2, signed=True),
            formats.number(row["items"]),
            formats.percent(share),
        ]
        rows.append([say(f"series_{name}"), *cells])
    names = ("group", "geks", "dummy", "chained", "market", "chain_drift", "items", "matched")
    counts = {name: formats.Count(int(found[name].sum())) for name in ("entered", "left", "free")}
    counts["skipped"] = formats.Count(int(found.groupby("group")["skipped"].sum().max()))
    heads = [say(f"column_prices_{name}") for name in names]
    table = blocks.listing(heads, rows, say("prices_index_caption", **counts), numbers=range(1, 8))
    title = say("prices_index_title", **change)
    return title, say("prices_index_note"), _lines(reading, found.assign(value=100 * found["geks"]), "index"), table


def _lines(reading: Reading, rows: pd.DataFrame, name: str) -> Any:
    """Draw a measure by week, pilots against others."""
    say, write = reading.words, partial(formats.number, digits=1)
    rows = rows.rename(columns={"group": "series"}).assign(complete=True)
    chart, table = sides_by_week(reading, rows, "value", say(f"prices_{name}_axis"), write)
    words = {group: table.iloc[-1].get(say(f"series_{group}"), "–") for group in _GROUPS}
    return reading.figure(f"prices_{name}", chart, table, sides_counted(reading), **words)


def _quadrants(reading: Reading) -> pd.DataFrame:
    found = prices.quadrants(reading.shop, **_after(reading))
    kept = found[found["merchants"] >= FEWEST]
    if not {"supported", "beside"} <= set(kept["side"]):
        raise DesignError(reading.words("prices_few", least=FEWEST))
    return kept


def _good_and_fair(found: pd.DataFrame) -> dict[str, str]:
    corner: Any = found[(found["quality"] == "good") & (found["price"] == "fair")].set_index("side")["share"]
    return {side: formats.percent(float(corner[side]), 0) for side in ("supported", "beside")}


@PAGE.section("fairness")
def fairness(reading: Reading) -> Parts:
    """Return who sells good goods at a fair price, and what quality goes with in the price."""
    say, found = reading.words, _quadrants(reading)
    shares, sides = _good_and_fair(found), found.drop_duplicates("side").set_index("side")
    merchants = {str(name): formats.Count(int(n)) for name, n in sides["merchants"].items()}
    counts = {name: say(f"prices_side_{name}", n=merchants[name]) for name in _SIDES if name in merchants}
    labels = {name: say(f"prices_quadrant_{name}") for name in ("good", "plain", "fair", "dear", "value")}
    rows: Any = found
    cells = [
        (counts[row.side], labels[row.quality], labels[row.price], formats.percent(row.share),
         say.span(formats.percent(row.conf_low), formats.percent(row.conf_high)))
        for row in rows.itertuples()
    ]  # fmt: skip
    heads = say.heads("prices_side", "prices_quality", "prices_price", "prices_share", "interval")
    lost = formats.Count(int(sides["left_out"].sum()))
    chart = charts.price_quadrants(found, labels=labels | counts)
    table = pd.DataFrame(cells, columns=heads)
    note = say("prices_quadrant_n", n=formats.Count(int(sides["product_weeks"].sum())), out=lost)
    figure = reading.figure("prices_quadrant", chart, table, note, **shares)
    return say("prices_fairness_title", **shares), say("prices_fairness_note"), figure, _hedonic(reading)


def _hedonic(reading: Reading) -> Any:
    """Tell what quality goes with in the price, and how much dearer supported merchants are at equal quality."""
    say = reading.words
    try:
        found = prices.hedonic(reading.shop, supported=True, **_after(reading))
    except DesignError as reason:
        return blocks.line(say("prices_impossible", reason=reason))
    tidy: Any = found.tidy(reading.level)
    step = {"supported": 1.0, "rating": 0.1, "return_rate": 0.01}
    rows = []
    for row in tidy.itertuples():
        low, middle, high = (in_percent(step[row.term] * v) for v in (row.conf_low, row.estimate, row.conf_high))
        rows.append([say(f"prices_hedonic_{row.term}"), middle, say.span(low, high)])
    fit: Any = found.details["fit"].iloc[0]
    counts = {"n": formats.Count(int(fit["product_weeks"])), "merchants": formats.Count(int(fit["merchants"]))}
    counts |= {"out": formats.Count(int(fit["left_out"]))}
    heads = [
        say("column_prices_term"),
        say("column_prices_difference"),
        say("column_interval_at", level=f"{reading.level:.0%}"),
    ]
    return blocks.listing(heads, rows, say("prices_hedonic_caption", **counts), numbers=range(1, 3))


@PAGE.section("discount", always=True)
def discount(reading: Reading) -> Parts:
    """Return how deep discounts are, whether they and the spread of prices changed, and what else competition is fought with."""
    say, asked = reading.words, reading.window
    rows = prices.discounts(reading.shop, **asked)
    unlisted = formats.Count(int(rows["unlisted"].sum()))
    spread = reading.overall(did.pilot_contrast(prices.category_prices(reading.shop, "discount_depth", **asked)))
    title = say(
        "prices_discount_title", verb=reading.told(spread, _points(reading, abs(spread.estimate), signed=False))
    )
    note = say("prices_discount_note", range=_span(reading, spread), out=unlisted)
    figure = _lines(reading, rows.assign(value=100 * rows["depth"]), "discount")
    return title, note, figure, _dispersed(reading), _components(reading)


def _dispersed(reading: Reading) -> Any:
    say = reading.words
    if "prices" not in reading.shop.tables:
        return blocks.line(say("prices_absent"))
    try:
        panel = prices.category_prices(reading.shop, "dispersion", **reading.window)
        spread = reading.overall(did.pilot_contrast(panel))
    except DesignError as reason:
        return blocks.line(say("prices_impossible", reason=reason))
    verb = reading.told(spread, _points(reading, abs(spread.estimate), signed=False))
    return blocks.line(say("prices_dispersion_line", verb=verb, range=_span(reading, spread)))


def _components(reading: Reading) -> Any:
    """Draw what competition is fought with, each component in its own unit, and list it before and since the pilots' start."""
    say = reading.words
    found = prices.competition(reading.shop, **reading.window)
    after = found["week"] >= reading.totals.cohorts.min()
    means: Any = found.assign(after=after).groupby(["group", "after"])[list(_COMPONENTS)].mean()
    rows = [
        [say(f"prices_component_{name}"), *(_component(name, float(means.loc[(group, late), name]))
                                            for group in _GROUPS for late in (False, True))]
        for name in _COMPONENTS
    ]  # fmt: skip
    columns = ("component", "pilots_before", "pilots_after", "others_before", "others_after")
    table = pd.DataFrame(rows, columns=[say(f"column_prices_{name}") for name in columns])
    long = found.melt(["group", "week"], var_name="component")
    long = long.assign(shown=[_component(*pair) for pair in zip(long["component"], long["value"], strict=True)])
    labels = {name: say(f"prices_component_{name}") for name in _COMPONENTS if found[name].notna().any()}
    labels |= {"start": say("pilot_starts"), **{group: say(f"series_{group}") for group in _GROUPS}}
    last: Any = found[found["week"] == found["week"].max()].set_index("group")
    ends = {f"{name}_{group}": _component(name, float(last.loc[group, name]))
            for name in ("depth", "new_share") for group in _GROUPS}  # fmt: skip
    chart = charts.competition(long, labels=labels, start=reading.shop.pilot.starts_on)
    note = say("prices_components_caption")
    return reading.figure("prices_components", chart, table, note, description=chart.description, **ends)


def _component(name: str, value: float) -> str:
    told = formats.number if name == "service" else formats.percent
    return "–" if np.isnan(value) else told(value, 1)


def _study(reading: Reading) -> Estimates:
    panel = prices.merchant_prices(reading.shop, categories=reading.shop.pilot.categories, **reading.window)
    study = did.event_study(did.group_time(panel.untreated_at_first(), control="not_yet"))
    if min(study.clusters) < FEWEST:
        raise DesignError(reading.words("prices_few", least=FEWEST))
    return study


def _verb(reading: Reading, study: Estimates) -> str:
    spread = reading.mean(study)
    size = formats.percent(abs(np.expm1(spread.estimate)))
    return reading.told(spread, size, limited=reading.uneven)


@PAGE.section("drift")
def drift(reading: Reading) -> Parts:
    """Return whether supported merchants drifted to low prices."""
    say, study = reading.words, _study(reading)
    verb, ends = _verb(reading, study), reading.mean(study).interval(reading.level)
    span = say.span(in_percent(ends[0]), in_percent(ends[1]))
    recent = latest(study, -_AGES_BEFORE)
    labels = {"value": say("prices_drift_axis"), "age": say("study_age"), "start": say("study_start"), **bands(say)}
    table = effects_table(say, recent.tidy(), partial(formats.number, digits=3, signed=True), say.span)
    counts = dict(zip(("treated", "others"), map(formats.number, study.clusters), strict=True))
    chart = charts.event_study(recent, labels=labels)
    words = {"title": say("prices_drift_title", verb=verb), "range": span}
    figure = reading.figure("prices_drift", chart, table, say("study_n", **counts), **words)
    return say("prices_drift_title", verb=verb), say("prices_drift_note", range=span), figure, _whole(reading)


def _whole(reading: Reading) -> Any:
    """Tell whether the pilots' mean relative price moved, judged at the level at which pilots were chosen."""
    say = reading.words
    try:
        spread = reading.overall(did.pilot_contrast(prices.category_prices(reading.shop, **reading.window)))
    except DesignError as reason:
        return blocks.line(say("prices_impossible", reason=reason))
    low, high = (in_percent(end) for end in spread.interval(reading.level))
    verb = reading.told(spread, in_percent(abs(spread.estimate), signed=False))
    return blocks.line(say("prices_drift_pilots", verb=verb, range=say.span(low, high)))


def _points(reading: Reading, share: float, *, signed: bool = True) -> str:
    return reading.words("prices_points", n=formats.number(100 * share, 1, signed=signed))


def _span(reading: Reading, spread: Spread) -> str:
    low, high = (formats.number(100 * end, 1, signed=True) for end in spread.interval(reading.level))
    return reading.words("prices_points", n=reading.words.span(low, high))
