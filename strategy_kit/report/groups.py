"""The KPI review by groups: mix against rate, the merchant ladder, and three yardsticks by category."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, formats, kpi
from strategy_kit.errors import ParameterError
from strategy_kit.kpi.decompositions import BANDS
from strategy_kit.metrics import METRICS
from strategy_kit.periods import months_later, next_start
from strategy_kit.report import blocks
from strategy_kit.report.review import Review
from strategy_kit.report.sections import Section
from strategy_kit.report.words import Html

if TYPE_CHECKING:
    from strategy_kit.report.blocks import Block
    from strategy_kit.report.reading import Reading

FEWEST_DAYS, MOST_GROUPS = 28, 15
_DAY = dt.timedelta(days=1)


def mix_head(review: Review) -> Block:
    """Return the head of the mix section; its title says how much of the order value's change was mix."""
    say, found = review.words, review.mix
    change = float(found[["rate_effect", "mix_effect"]].to_numpy().sum())
    amounts = {"change": change, "rate": float(found["rate_effect"].sum()), "mix": float(found["mix_effect"].sum())}
    told = {name: review.amount(value, signed=True) for name, value in amounts.items()}
    title = say("mix_title", kind=say(f"kind_{review.by}"), **told)
    return blocks.section_head(say("section_mix"), say("question_mix"), title)


def mix_table(review: Review) -> Block:
    """Return each category's share of orders and order value, and what they did to the average of all."""
    say, found = review.words, review.mix
    found = found.reindex(found[["rate_effect", "mix_effect"]].abs().max(axis=1).sort_values(ascending=False).index)
    rows = [
        [
            say("overlap") if row.group == "overlap" else say.label(str(row.group)),
            *(formats.percent(share) for share in (row.weight_before, row.weight_after)),
            *(review.told("average_order_value", rate) for rate in (row.rate_before, row.rate_after)),
            *(review.amount(effect, signed=True) for effect in (row.rate_effect, row.mix_effect)),
        ]
        for row in found.rename(columns={review.by: "group"}).head(MOST_GROUPS).itertuples()
    ]
    if len(rest := found.iloc[MOST_GROUPS:]):
        weights = [formats.percent(rest[f"weight_{side}"].sum()) for side in ("before", "after")]
        effects = [review.amount(rest[f"{part}_effect"].sum(), signed=True) for part in ("rate", "mix")]
        rows.append([say("other_groups", n=formats.Count(len(rest))), *weights, "–", "–", *effects])
    first, last = review.names
    heads = [say(f"column_{review.by}"), *(say("column_share", period=p) for p in (first, last)), first, last]
    heads += say.heads("rate", "mix")
    return blocks.listing(heads, rows, say("mix_caption"), numbers=range(1, 7))


def ladder(review: Review) -> Any:
    """Draw the moves of merchants on the ladder of yearly GMV, over a year or what the data hold of it."""
    say, shop = review.words, review.shop
    after = next_start(review.pair[1], review.period) - _DAY
    before = max(months_later(after, -12), months_later(shop.data_from, 12) - _DAY)
    if (after - before).days < FEWEST_DAYS:
        return blocks.line(say("ladder_absent"))
    found = kpi.merchant_ladder(shop, before=before, after=after)
    names = [say("ladder_none"), *_rungs(say.language)]
    bands = {side: found[side].cat.rename_categories(names) for side in ("band_before", "band_after")}
    used = sorted({*found["band_before"].cat.codes, *found["band_after"].cat.codes})
    bands = {side: band.cat.set_categories([names[code] for code in used]) for side, band in bands.items()}
    found = found.assign(**bands)
    counts = found.groupby("move")["merchants"].sum()
    moves = {name: formats.number(int(counts.get(name, 0))) for name in ("up", "down", "same", "entered", "left")}
    days = {"before": formats.day(before, say.language), "after": formats.day(after, say.language)}
    labels = {name: say(f"move_{name}") for name in moves}
    labels |= {
        "value": say("ladder_value", unit=review.unit),
        "none": names[0],
        "before": say("ladder_year", day=before),
    }
    labels |= {"after": say("ladder_year", day=after)}
    table = found.pivot_table(
        index="band_before", columns="band_after", values="merchants", aggfunc="sum", observed=True
    )
    table = (
        table.fillna(0)
        .astype(int)
        .map(formats.number)
        .reset_index()
        .rename(columns={"band_before": say("ladder_from")})
    )
    chart = charts.ladder_transitions(found, labels=labels)
    behind = table.set_axis([str(name) for name in table.columns], axis=1)
    note = say("ladder_note") if (after - before).days < 365 else say("ladder_note_apart")
    return review.figure("ladder", chart, behind, note, **moves, **days)


def _rungs(language: formats.Language) -> list[str]:
    """Name the bands shortly: a heat map on a phone has little room."""
    scales = ((1e8, "亿"), (1e7, "千万"), (1e4, "万")) if language == "zh" else ((1e9, "bn"), (1e6, "M"), (1e3, "k"))
    ends = [next(((formats.number(band / size), word) for size, word in scales if band >= size)) for band in BANDS]
    inner = [f"{low}{'' if unit == word else unit}–{high}{word}" for (low, unit), (high, word) in pairwise(ends)]
    return ["< " + "".join(ends[0]), *inner, "≥ " + "".join(ends[-1])]


def yardstick_section(reading: Reading) -> Section:
    """Return the yardsticks of pilots against others for the weekly report, one line before two months are complete."""
    say, review = reading.words, Review(reading.shop, reading.monday, "month", reading.words)
    head = say("section_yardsticks"), say("question_yardsticks")
    try:
        before, after = review.names
    except ParameterError:  # there is no pair of months yet
        return Section("yardsticks", (blocks.absent(*head, say("yardsticks_short")),))
    title = say("yardsticks_head", before=before, after=after)
    drawn = _drawn(review, "pilot", reading.ahead.of(pilots_and_others, reading))
    return Section("yardsticks", (blocks.section_head(*head, title), drawn))


def pilots_and_others(reading: Reading) -> pd.DataFrame:
    """Return the yardsticks of pilots and of others; ParameterError before two months are complete."""
    review = Review(reading.shop, reading.monday, "month", reading.words)
    return kpi.yardsticks(review.shop, by=["pilot"], **review.asked)


def yardsticks(review: Review) -> Any:
    """Draw each group's change by orders, by GMV and by spend per annual active buyer; by category or market."""
    return _drawn(review, review.by, kpi.yardsticks(review.shop, by=[review.by], **review.asked))


def _drawn(review: Review, by: str, changes: pd.DataFrame) -> Any:
    say = review.words
    found: Any = changes.rename(columns={by: "category"})
    sides = {True: say("series_pilot"), False: say("series_other")}
    found["category"] = found["category"].map(sides) if by == "pilot" else found["category"]
    order = found[found["metric"] == "gmv"].sort_values("change", ascending=False)["category"]
    largest = found[found["metric"] == "gmv"].nlargest(MOST_GROUPS, "after")["category"]
    rest = len(order) - len(largest)
    found = found.set_index("category").loc[[c for c in order if c in set(largest)]].reset_index()
    found = found.assign(group=[say.label(str(category)) for category in found["category"]])
    once = found.drop_duplicates("group")
    counts = {"n": int((~once["agree"]).sum()), "apart": int(once["apart"].sum()), "all": len(once)}
    labels = {name: say(f"metric_{name}") for name in found["metric"].unique()}
    labels |= {
        "value": say("column_change"),
        "interval": say("yardsticks_interval"),
        "disagree": say("yardsticks_disagree"),
    }
    rows = [
        [row.group, labels[row.metric], formats.percent(row.change, signed=True),
         "–" if np.isnan(row.conf_low) else "…".join(formats.percent(v, signed=True) for v in (row.conf_low, row.conf_high))]
        for row in found.itertuples()
    ]  # fmt: skip
    title = say("yardsticks_title", kind=say(f"kind_{by}"), **counts)
    return charts.figure(
        charts.yardsticks(found.dropna(subset="change"), labels=labels),
        title=title,
        subtitle=say("yardsticks_subtitle", before=review.names[0], after=review.names[1]),
        caption=review.caption(say("yardsticks_note") + say("yardsticks_rest", n=formats.Count(rest)) * (rest > 0)),
        description=title,
        table=pd.DataFrame(rows, columns=[say(f"column_{c}") for c in (by, "measure", "change", "interval")]),
        table_label=say("table_behind"),
    )


def definitions(review: Review) -> Block:
    """Return the definition and unit of every metric that the kit ships; of a ratio its parts."""
    say = review.words
    rows = [
        [Html(f"<code>{name}</code>"), getattr(metric, say.language), say.label(metric.unit),
         "" if metric.sql else f"{metric.numerator} ÷ {metric.denominator}"]
        for name, metric in METRICS.items()
    ]  # fmt: skip
    heads = say.heads("name", "definition", "unit", "parts")
    return blocks.listing(heads, rows, say("definitions_caption"))
