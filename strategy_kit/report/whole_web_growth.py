"""The whole web: growth that passes through, and advertising elsewhere with demand here; associations, told as such."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, formats, whole_web
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.figures import bands
from strategy_kit.report.reading import listed
from strategy_kit.report.whole_web_page import PAGE, sourced

if TYPE_CHECKING:
    from strategy_kit.report.programme_page import Parts
    from strategy_kit.report.reading import Reading

_TERMS = ("total", "mechanical", "co_movement", "off_platform", "off_platform_before")
MORE, DOUBTED, ERROR = 0.10, 0.05, 0.10
"""Growth elsewhere that is spoken of; p-value of the placebo below which it fails; error of a log estimate that bounds assume."""


def _gain(elasticity: float) -> str:
    """Write what a tenth more goes with, from an elasticity."""
    return formats.percent(np.expm1(elasticity * np.log1p(MORE)), signed=True)


def _gains(reading: Reading, row: Any) -> dict[str, str]:
    return {"estimate": _gain(row.estimate), "range": reading.words.span(_gain(row.conf_low), _gain(row.conf_high))}


@PAGE.section("pass_through")
def pass_through(reading: Reading) -> Parts:
    """Return whether we grow with a merchant that grows elsewhere, and what of it is arithmetic."""
    say, moved = reading.words, whole_web.changes(reading.shop, through=reading.sunday)
    found = whole_web.pass_through(moved)
    terms: Any = found.tidy(reading.level).set_index("term")
    head: Any = next(found.glance(reading.level).itertuples())
    title = say("ww_pass_title", more=formats.percent(MORE, 0), **_gains(reading, head))
    raw, part = (formats.number(float(terms.loc[name, "estimate"]), 2) for name in ("total", "mechanical"))
    note = say("ww_pass_note", raw=raw, part=part)
    bins: Any = whole_web.growth_bins(moved)
    if bins.empty:
        raise DesignError(say("ww_few", least=FEWEST))
    names = list(dict.fromkeys(bins["group"]))
    labels = {name: say.label(name) for name in names}
    labels |= {"value": say("ww_growth_here"), "total": say("ww_growth_total"), "even": say("ww_even")}
    drawn = charts.growth_together(bins, labels=labels)
    cells = [(say.label(row.group), formats.number(row.total, 2, signed=True), formats.number(row.on_platform, 2, signed=True),
              formats.number(row.merchants)) for row in bins.itertuples()]  # fmt: skip
    heads = ("size_band", "ww_total", "ww_on", "merchants")
    counts = {"n": formats.Count(found.clusters[0]), "changes": formats.Count(len(moved)),
              "out": formats.Count(int(moved.attrs["left_out"]))}  # fmt: skip
    table = pd.DataFrame(cells, columns=[say(f"column_{name}") for name in heads])
    counted = sourced(reading, say("ww_pass_n", **counts))
    figure = reading.figure("ww_bins", drawn, table, counted, raw=raw, part=part)
    return title, note, figure, _slopes(reading, terms, moved), blocks.line(_blurred(reading, moved))


def _slopes(reading: Reading, terms: Any, moved: pd.DataFrame) -> Any:
    """List the slopes and what they are made of, then the slope on growth elsewhere by confidence of the estimates."""
    say, ends = reading.words, ["estimate", "conf_low", "conf_high"]
    classes: Any = whole_web.by_confidence(moved, level=reading.level)
    names = [say(f"ww_term_{name}") for name in _TERMS if name in terms.index]
    names += [
        say("ww_term_class", name=say(f"ww_sure_{row.confidence}"), n=formats.Count(row.merchants))
        for row in classes.itertuples()
    ]
    values = [*terms[ends].to_numpy(float), *classes[ends].to_numpy(float)]
    cells = [[name, *(formats.number(v, 2, signed=True) for v in row)] for name, row in zip(names, values, strict=True)]
    heads = say.heads("ww_slope", "ww_estimate", "ww_low", "ww_high")
    return blocks.listing(heads, cells, say("ww_slopes_caption", level=f"{reading.level:.0%}"), numbers=range(1, 4))


def _blurred(reading: Reading, moved: pd.DataFrame) -> str:
    """Tell what errors of the estimates may hide, where the slope has a sign at all."""
    say = reading.words
    try:
        row: Any = next(whole_web.attenuation_bounds(moved, error=ERROR).itertuples())
    except DesignError as reason:
        return say("ww_impossible", reason=reason)
    told = {"error": formats.percent(ERROR, 0), "share": formats.percent(row.reliability, 0)}
    told |= {
        "slope": formats.number(row.estimate, 2, signed=True),
        "true": formats.number(row.corrected, 2, signed=True),
    }
    return say("ww_blurred", **told)


@PAGE.section("advertising")
def advertising(reading: Reading) -> Parts:
    """Return how sales here follow advertising elsewhere over months."""
    say, who = reading.words, whole_web.advertisers(reading.shop, through=reading.sunday)
    found = whole_web.advertising_response(who)
    whole: Any = next(found.glance(reading.level).itertuples())
    sums: Any = found.details["cumulative"].set_index("lag").loc["after"]
    p = float(found.details["placebo"]["p_value"].iloc[0])
    lags = int(found.labels["lag"].max())
    told = {"more": formats.percent(MORE, 0), "lags": formats.Count(lags), **_gains(reading, whole)}
    fails = p < DOUBTED
    title = say("ww_ads_fails" if fails else "ww_ads_title", p=formats.number(p, 3), **told)
    note = say("ww_ads_note", after=_gain(float(sums["estimate"])), p=formats.number(p, 3),
               low=_gain(float(sums["conf_low"])), high=_gain(float(sums["conf_high"])), more=told["more"])  # fmt: skip
    drawn = replace(found, labels=found.labels.rename(columns={"lag": "age"}))
    labels = {"value": say("ww_ads_value"), "age": say("ww_ads_age"), "start": say("ww_ads_start")}
    labels |= bands(say, "ww_study_note")
    rows = found.tidy()
    table = pd.DataFrame({say("ww_month"): [formats.number(v, signed=True) for v in rows["lag"]]})
    for head, name in (
        ("column_ww_estimate", "estimate"),
        ("column_ww_low", "conf_low"),
        ("column_ww_high", "conf_high"),
    ):
        table[say(head)] = [formats.number(v, 3, signed=True) for v in rows[name]]
    counts = {
        "n": formats.Count(found.clusters[0]),
        "months": formats.Count(len(who.months)),
        "out": formats.Count(who.left_out),
    }
    chart = charts.event_study(drawn, labels=labels)
    counted = sourced(reading, say("ww_ads_n", **counts))
    figure = reading.figure("ww_ads", chart, table, counted, title=title, description=note)
    return title, note, figure, blocks.line(_by_class(reading, who))


def _by_class(reading: Reading, who: whole_web.Advertisers) -> str:
    """Tell the response by the class that most of a merchant's estimates have."""
    say = reading.words
    found: Any = whole_web.response_by_confidence(who, level=reading.level)
    if found.empty:
        return say("ww_few", least=FEWEST)
    rows = [say("ww_class", name=say(f"ww_sure_{row.confidence}"), n=formats.Count(row.merchants), **_gains(reading, row))
            for row in found.itertuples()]  # fmt: skip
    return say("ww_ads_classes", more=formats.percent(MORE, 0), listed=listed(say, rows))
