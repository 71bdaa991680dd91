"""Levers: what each did from exposure to order and to service, which come together, returns, who gained, what is needed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import charts, formats, levers
from strategy_kit.charts.nested import nested_forest
from strategy_kit.errors import DesignError
from strategy_kit.report import claims
from strategy_kit.report.audience import FEWEST, masked
from strategy_kit.report.categories import Row, forest, interval_columns, percent_rows, signed_percent
from strategy_kit.report.claims import Spread
from strategy_kit.report.levers_worth import bundled, counted, curve_of_cost, left_out, ranked, returned, summed, worth
from strategy_kit.report.programme_page import Parts, ProgrammePage
from strategy_kit.report.reading import listed

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.reading import Reading

_SEEN = ("impressions", "clicks", "seen_orders")
_HEARD = ("refunded", "sales", "complaints", "heard_orders", "minutes", "answered_orders", "buyers", "repeat_buyers")
_NAMES = {"impressions": "levers_impressions", "click_rate": "levers_click_rate", "conversion": "levers_conversion",
    "orders": "levers_orders", "refund_rate": "levers_refund_rate",
    "complaints_per_order": "levers_complaints_per_order", "response_minutes": "levers_response_minutes",
    "repeat_share": "levers_repeat_share"}  # fmt: skip


PAGE = ProgrammePage("levers", "levers", "support")
needs = PAGE.section("needs")(ranked)
concentration = PAGE.section("concentration")(curve_of_cost)
returns = PAGE.section("returns")(worth)
masthead, foot = PAGE.masthead, PAGE.foot


@PAGE.answer
def answer(reading: Reading) -> str:
    """Return one sentence for the weekly page."""
    return reading.words("levers_answer", listed=returned(reading, levers.returns(summed(reading, ("sales",)))))


def _told(reading: Reading, row: Row) -> str:
    """Say a change with its verb, for all rows told together; levers were chosen, which limits every verb."""
    size = claims.in_percent(row.spread.estimate).lstrip("+\u2212")
    verb = reading.told(row.spread, size, together=row.together, limited=True)
    return reading.words("levers_told", lever=row.name, verb=verb)


def _rows(reading: Reading, found: Estimates, kind: str, *, single: bool = False) -> list[Row]:
    """Return one row a label, in blocks of its step or measure; of single levers alone if asked."""
    say, labels = reading.words, found.labels
    count = labels["bundle"].nunique()
    rows = zip(labels["bundle"], labels[kind], found.estimate, found.std_error, found.n_units, strict=True)
    return [
        Row(bundled(reading, bundle), "one", Spread(value, error, n - 1, reading.widening), count, block=say(_NAMES[name]))
        for bundle, name, value, error, n in rows
        if not (single and " + " in bundle)
    ]  # fmt: skip


def _percents(reading: Reading, found: Estimates, kind: str, name: str) -> Any:
    """Draw changes in percent, one block a step or measure."""
    say, rows = reading.words, _rows(reading, found, kind)
    order = list(dict.fromkeys(row.block for row in rows))
    frame = percent_rows(sorted(rows, key=lambda row: order.index(row.block)), reading.level, say)
    table = pd.DataFrame({say("column_levers_step"): frame["block"], say("column_levers_bundle"): frame["name"]})
    table[say("column_change")] = frame["estimate"].map(signed_percent)
    table = table.assign(**interval_columns(frame, reading.level, signed_percent, say))
    told = "; ".join(frame["block"] + ", " + frame["name"] + " " + frame["value"])
    subtitle = say("levers_subtitle", interval=claims.interval_name(reading.evidence, say))
    note = counted(reading, found)
    return forest(
        reading,
        f"levers_{name}",
        frame,
        table,
        note,
        partial(nested_forest, shared=False),
        subtitle=subtitle,
        listed=told,
    )


@PAGE.section("funnel")
def funnel(reading: Reading) -> Parts:
    """Return what each lever did to exposure, clicks and orders, and to refunds, complaints, answers and repeat buyers."""
    say, heard = reading.words, summed(reading, _HEARD)
    cared = levers.care(heard)
    rest = [_percents(reading, cared, "measure", "care"), left_out(reading, heard, cared)]
    try:
        found = levers.funnel(summed(reading, _SEEN))
    except DesignError as reason:
        repeat = [
            row for row in _rows(reading, cared, "measure", single=True) if row.block == say("levers_repeat_share")
        ]
        title = say("levers_care_title", listed=say.clauses([_told(reading, row) for row in repeat]))
        return title, say("levers_no_funnel", reason=reason), *rest
    orders = [row for row in _rows(reading, found, "step", single=True) if row.block == say("levers_orders")]
    title = say("levers_funnel_title", listed=say.clauses([_told(reading, row) for row in orders]))
    points = found.labels.assign(points=100 * found.estimate).pivot_table("points", "bundle", "step", sort=False)
    steps = points[~points.index.str.contains("+", regex=False)].dropna()
    told = [
        say("levers_steps", lever=say.label(str(lever)),
            **{name: formats.number(row[name], 1, signed=True) for name in levers.STEPS})
        for lever, row in steps.iterrows()
    ]  # fmt: skip
    return (
        title,
        say("levers_funnel_note", listed=say.clauses(told)),
        _percents(reading, found, "step", "funnel"),
        *rest,
    )


@PAGE.section("overlap")
def overlap(reading: Reading) -> Parts:
    """Return which levers come together, and which of them cannot be told apart."""
    say = reading.words
    pairs: Any = levers.overlap(reading.shop, through=reading.monday, least=FEWEST)
    one = pairs[pairs["lever"] < pairs["other"]]
    lost = [bundled(reading, f"{row.lever} + {row.other}") for row in one[~one["told_apart"]].itertuples()]
    counts = {"n": formats.Count(int(one["told_apart"].sum())), "all": formats.Count(len(one))}
    title = (
        say("levers_overlap_lost", listed=listed(say, lost), **counts)
        if lost
        else say("levers_overlap_title", **counts)
    )
    columns = ["merchants", "alone", "only_these", "same_day"]
    rows = [
        [bundled(reading, row.lever if row.lever == row.other else f"{row.lever} + {row.other}"),
         *(masked(int(getattr(row, name))) for name in columns), say("levers_yes" if row.told_apart else "levers_no")]
        for row in pairs[pairs["lever"] <= pairs["other"]].itertuples()
    ]  # fmt: skip
    heads = [say(f"column_levers_{name}") for name in ("bundle", *columns, "told_apart")]
    names = {name: say.label(name) for name in pairs["lever"].unique()}
    count = pairs["alone"].where(pairs["lever"] == pairs["other"], pairs["merchants"])
    chart = charts.overlap_map(
        pairs.assign(merchants=count.where(count >= FEWEST)),
        labels=names | {"few": f"< {FEWEST}", "value": say("levers_overlap_axis")},
    )
    table = pd.DataFrame(rows, columns=heads)
    note = say("levers_overlap_n", least=FEWEST)
    figure = reading.figure("levers_overlap", chart, table, note, description=chart.description, least=FEWEST)
    return title, say("levers_overlap_note"), figure
