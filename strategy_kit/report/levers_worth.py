"""What levers returned, who got the money against who gained, and what merchants of one size need most."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import charts, did, formats, levers
from strategy_kit.charts.nested import nested_forest
from strategy_kit.errors import ParameterError, nearest
from strategy_kit.report import blocks, claims
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.categories import Row, forest, interval_columns, nested_rows
from strategy_kit.report.claims import Spread
from strategy_kit.report.reading import listed

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.reading import Reading

SMALL = "small"


def summed(reading: Reading, measures: tuple[str, ...]) -> levers.Windows:
    """Sum measures of the reading's weeks before and after each merchant's support."""
    return levers.windows(reading.shop, **reading.window, measures=measures)


def bundled(reading: Reading, bundle: str) -> str:
    """Name a bundle in the page's language."""
    return " + ".join(reading.words.label(lever) for lever in bundle.split(" + "))


def counted(reading: Reading, found: Estimates) -> str:
    """Count both sides."""
    supported, others = map(formats.Count, found.clusters)
    return reading.words("levers_n", supported=supported, others=others)


def left_out(reading: Reading, found: levers.Windows, kept: Estimates) -> Any:
    """Count who is left out, and why."""
    say = reading.words
    counts = {**found.left_out, "few": len(found.supported) - kept.clusters[0]}
    told = [say(f"levers_left_{why}", n=formats.Count(n), least=FEWEST) for why, n in counts.items() if n]
    return blocks.line(say("levers_left", listed=say.clauses(told) if told else say("levers_left_nobody")))


def ratio(value: float) -> str:
    """Write a return with two decimals."""
    return formats.number(value, 2, signed=bool(value < 0))


def _yields(reading: Reading, found: Estimates, *, single: bool = False) -> list[Row]:
    """Return what came back for each unit of cost, one row a bundle; of single levers alone if asked."""
    rows = zip(found.labels["bundle"], found.estimate, found.std_error, found.n_units, strict=True)
    return [
        Row(bundled(reading, bundle), "one", Spread(value, error, n - 1, reading.widening), len(found.estimate))
        for bundle, value, error, n in rows
        if not (single and " + " in bundle)
    ]


def returned(reading: Reading, found: Estimates) -> str:
    """List what single levers returned, with intervals that hold at once."""
    say, told = reading.words, []
    for row in _yields(reading, found, single=True):
        low, high = map(ratio, row.interval(reading.level))
        told.append(say("levers_return", lever=row.name, estimate=ratio(row.spread.estimate), low=low, high=high))
    return listed(say, told or [say("levers_none_alone")])


def worth(reading: Reading) -> tuple[Any, ...]:
    """Tell what each bundle cost and returned."""
    say, windows = reading.words, summed(reading, ("sales",))
    found = levers.returns(windows)
    unit = reading.unit
    rows = _yields(reading, found)
    rows.append(Row(say("levers_all"), "average", reading.overall(found)))

    def value(estimate: float, low: float, high: float) -> str:
        return say("nested_value", estimate=ratio(estimate), low=ratio(low), high=ratio(high))

    frame, money = nested_rows(rows, reading.level, value), found.details["money"]
    sums = [*money[["merchants", "cost", "gain"]].to_numpy(), money[["merchants", "cost", "gain"]].sum().to_numpy()]
    table = pd.DataFrame(
        [[row.name, formats.number(n), reading.amount(cost), reading.amount(gain), ratio(row.spread.estimate)]
         for row, (n, cost, gain) in zip(rows, sums, strict=True)],
        columns=say.heads("levers_bundle", "levers_merchants", "levers_cost", "levers_gain", "levers_return"),
    )  # fmt: skip
    table = table.assign(**interval_columns(frame, reading.level, ratio, say))
    subtitle = say("levers_subtitle", interval=claims.interval_name(reading.evidence, say))
    words: Any = {"subtitle": subtitle, "unit": unit}
    figure = forest(
        reading, "levers_returns", frame, table, counted(reading, found), partial(nested_forest, unit=ratio), **words
    )
    title = say("levers_returns_title", unit=unit, listed=returned(reading, found))
    return title, say("levers_returns_note"), figure, left_out(reading, windows, found)


def curve_of_cost(reading: Reading) -> tuple[Any, ...]:
    """Tell who got the money against who gained."""
    say, windows = reading.words, summed(reading, ("sales",))
    found = levers.concentration(windows, level=reading.level, least=FEWEST)
    curve: Any = found.curve
    area: Any = found.area.iloc[0]
    names = [f"{say.label(band)} · {say('levers_other_cells') if name == 'other' else say.label(name)}"
             for band, name in zip(curve["size_band"], curve["category"], strict=True)]  # fmt: skip
    bounded = curve["form"] == "bounded"
    drawn = curve.assign(name=names, low=curve["low"].where(bounded), high=curve["high"].where(bounded))
    told = {"estimate": formats.number(area["estimate"], 2, signed=True)}
    told |= {end: formats.number(area[end], 2, signed=True) for end in ("low", "high")}
    above, below = area["form"] == "bounded" and area["low"] > 0, area["form"] == "bounded" and area["high"] < 0
    key = "above" if above else "below" if below else "even"
    title = {"above": say("levers_curve_above"), "below": say("levers_curve_below"), "even": say("levers_curve_level")}[
        key
    ]
    span = (
        say("levers_area", **told) if area["form"] == "bounded" else say("levers_area_open", estimate=told["estimate"])
    )
    spans = [say.span(reading.amount(row.gain_low), reading.amount(row.gain_high)) for row in curve.itertuples()]
    rows = [
        [name, formats.number(row.merchants), formats.percent(row.cost_share, 0), reading.amount(row.gain), gained,
         formats.percent(row.gain_so_far, 0)]
        for name, gained, row in zip(names, spans, curve.itertuples(), strict=True)
    ]  # fmt: skip
    heads = say.heads(
        "levers_cell",
        "levers_merchants",
        "levers_cost_share",
        "levers_gain",
        "levers_gain_interval",
        "levers_gain_so_far",
    )
    labels = {name: say(f"levers_curve_{name}") for name in ("cost", "gain", "even")}
    chart = charts.concentration_curve(drawn, labels=labels)
    table = pd.DataFrame(rows, columns=heads)
    note = say("levers_curve_n", least=FEWEST)
    words = {"subtitle": span, "listed": "; ".join(f"{row[0]} {row[2]}, {row[5]}" for row in rows)}
    figure = reading.figure("levers_curve", chart, table, note, **words)
    return title, say("levers_curve_text", span=span, least=FEWEST), figure


def _refuse_unknown(band: str, known: list[str]) -> None:
    if band not in (SMALL, *known):
        raise ParameterError(f"band is one of {', '.join(known)}, not {band!r}{nearest(band, known)}")


def ranked(reading: Reading, band: str = SMALL) -> tuple[Any, ...]:
    """Tell how levers rank among merchants of one size."""
    say, windows = reading.words, summed(reading, ("sales",))
    _refuse_unknown(band, sorted(windows.supported["size_band"].unique()))
    effects = levers.sales(windows, size_band=band)
    ranks = did.rank_intervals(effects, reading.level)
    names = {bundle: bundled(reading, bundle) for bundle in ranks["bundle"]}
    first: Any = ranks[ranks["rank_high"] == 1]
    last = [names[bundle] for bundle in ranks["bundle"][ranks["rank_low"] > 1]]
    title = (say("levers_needs_first", band=say.label(band), lever=names[first["bundle"].iloc[0]]) if len(first) else
             say("levers_needs_some", band=say.label(band), listed=listed(say, last)) if last else
             say("levers_needs_open", band=say.label(band)))  # fmt: skip
    money = levers.returns(windows, size_band=band)
    tidy: Any = effects.tidy(reading.level)
    cost: Any = money.details["money"].set_index("bundle").assign(value=money.estimate, error=money.std_error)
    rows = []
    for row in tidy.sort_values("estimate", ascending=False).itertuples():
        part = cost.loc[row.bundle]
        low, high = map(
            claims.in_percent,
            Spread(row.estimate, row.std_error, row.n_units - 1, reading.widening).interval(reading.level),
        )
        ends = map(
            ratio, Spread(part["value"], part["error"], row.n_units - 1, reading.widening).interval(reading.level)
        )
        back = dict(zip(("low", "high"), ends, strict=True))
        rows.append([names[row.bundle], *(
            formats.number(row.n_units), claims.in_percent(row.estimate), say.span(low, high),
            reading.amount(part["cost"] / part["merchants"]), ratio(part["value"]), say("range_to", **back))])  # fmt: skip
    heads = say.heads(
        "levers_bundle",
        "levers_merchants",
        "levers_effect",
        "levers_interval",
        "levers_cost_each",
        "levers_return",
        "levers_interval",
    )
    listing = blocks.listing(heads, rows, say("levers_needs_caption"), numbers=range(1, 7))
    chart = charts.rank_intervals(
        ranks, labels=names | {name: say(f"levers_rank_{name}") for name in ("value", "note", "to")}
    )
    table = pd.DataFrame(
        [[names[row.bundle], str(row.rank), say.span(str(row.rank_low), str(row.rank_high))]
         for row in ranks.sort_values("rank").itertuples()],
        columns=say.heads("levers_bundle", "levers_rank", "levers_interval"),
    )  # fmt: skip
    words = {"description": chart.description, "band": say.label(band), "level": f"{reading.level:.0%}"}
    figure = reading.figure("levers_needs", chart, table, counted(reading, effects), **words)
    return title, say("levers_needs_note"), figure, listing
