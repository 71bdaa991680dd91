"""The charts and tables of the page on growth that lasts, with their words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, formats, lasting_growth
from strategy_kit.errors import DesignError
from strategy_kit.lasting_growth.grounds import ALL
from strategy_kit.periods import months_later
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.common_figures import survival, waterfall

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.report.blocks import Block
    from strategy_kit.report.review import Review
    from strategy_kit.report.words import Words


def side_names(say: Words) -> dict[str, str]:
    """Name the sides."""
    return {"pilots": say("series_pilot"), "others": say("series_other"), ALL: say("lg_all")}


def step_names(say: Words) -> dict[str, str]:
    """Name the rungs and what lies between them."""
    return {
        "paid": say("lg_step_paid"), "cancelled": say("lg_step_cancelled"), "refunded": say("lg_step_refunded"),
        "settled": say("lg_step_settled"), "subsidy": say("lg_step_subsidy"), "net": say("lg_step_net"),
        "first_time": say("lg_step_first_time"), "repeat": say("lg_step_repeat"),
    }  # fmt: skip


def falls(review: Review, now: pd.DataFrame, month: str) -> Any:
    """Draw a month's ladder from paid GMV down to that of buyers who came back."""
    say, names = review.words, step_names(review.words)
    steps, amounts = [names[str(step)] for step in now.index], [*map(float, now["amount"])]
    chart, table, _ = waterfall(review, steps, amounts, [*now["kind"]], say("metric_gmv"), float(now["amount"]["paid"]))
    table[say("lg_of_paid")] = [formats.percent(share) for share in now["share"]]
    parts = {name: formats.percent(abs(float(now["share"][name])), 0) for name in ("settled", "net", "repeat")}
    return review.figure("lg_falls", chart, table, say("adds_up"), month=month, **parts)


def kept_path(review: Review, rungs: pd.DataFrame) -> Any:
    """Draw the share of paid GMV that lasts by month, pilots and others."""
    say, names = review.words, side_names(review.words)
    kept = rungs[rungs["step"] == "repeat"]
    sides = [side for side in ("pilots", "others") if side in set(kept["side"])] or [ALL]
    series = {"pilots": "pilot", "others": "other", ALL: "pilot"}
    kept = kept[kept["side"].isin(sides)]
    rows = kept.assign(series=kept["side"].map(series), percent=100 * kept["share"], complete=True)
    wide = kept.pivot_table(index="month", columns="side", values="share")
    table = pd.DataFrame({say("lg_month"): pd.DatetimeIndex(wide.index).strftime("%Y-%m")})
    table = table.assign(**{names[side]: [formats.percent(value) for value in wide[side]] for side in sides})
    labels = {"value": say("lg_kept_axis"), "incomplete": say("incomplete"), "start": say("pilot_starts")}
    labels |= {series[side]: names[side] for side in sides}
    start = review.shop.pilot.starts_on if review.shop.description.pilot else None
    chart = charts.kpi_trend(rows, metric="percent", period="month", series="series", labels=labels, start=start)
    first, last = (formats.percent(float(wide[sides[0]].iloc[at]), 0) for at in (0, -1))
    words = {"side": names[sides[0]], "first": first, "last": last}
    return review.figure("lg_kept", chart, table, say("lg_description"), **words)


def growth(review: Review, rungs: pd.DataFrame) -> Block:
    """Return what the growth of paid GMV was made of, from a year before where the ladder reaches so far."""
    say = review.words
    months = sorted({month.date() for month in rungs["month"]})
    if len(months) < 2:
        return blocks.line(say("lg_growth_none"))
    year = months_later(months[-1], -12)
    before = year if year in months else months[0]
    found = lasting_growth.growth_on_ladder(rungs, before=before, after=months[-1]).sort_values("side", kind="stable")
    named, sides = step_names(say), side_names(say)
    rows = []
    row: Any
    for row in found.itertuples():
        share = formats.percent(row.share, signed=True)
        amount = review.amount(row.change, signed=True)
        rows.append([f"{sides[row.side]} · {named[row.part]}", amount, share])
    aid = float(found[(found["side"] == ALL) & (found["part"] == "subsidy")]["share"].iloc[0])
    ends = {"before": formats.period_name(before, "month", say.language),
            "after": formats.period_name(months[-1], "month", say.language)}  # fmt: skip
    caption = (
        say("lg_growth_caption", share=formats.percent(aid), **ends)
        if np.isfinite(aid)
        else say("lg_fell_caption", **ends)
    )
    return blocks.listing(
        [say("column_step"), say("lg_daily"), say("lg_of_growth")], rows, caption, numbers=range(1, 3)
    )


def buyers(review: Review, found: pd.DataFrame, measure: str) -> Any:
    """Draw retention or spend of both groups of buyers by age, with intervals."""
    say, rows = review.words, found[found["measure"] == measure]
    share = measure == "retention"
    names = {"subsidised": say("lg_subsidised"), "others": say("lg_unsubsidised")}
    frames = [
        pd.DataFrame({"age": rows["age"], "value": rows[group], "low": rows[f"{group}_low"], "high": rows[f"{group}_high"],
                      "series": group}) for group in names
    ]  # fmt: skip

    def told(value: float, *, signed: bool = False) -> str:
        return formats.percent(value, signed=signed) if share else review.amount(value, signed=signed)

    axis = say("lg_retention_axis") if share else say("with_unit", name=say("lg_spend_axis"), unit=review.unit)
    labels = {**names, "value": axis, "age": say("ages_month"), "interval": say("shaded")}
    table = pd.DataFrame({say("column_ages"): [str(age) for age in rows["age"]]})
    table = table.assign(**{name: [told(value) for value in rows[group]] for group, name in names.items()})
    table[say("column_change")] = [told(value, signed=True) for value in rows["difference"]]
    spans = zip(rows["conf_low"], rows["conf_high"], strict=True)
    table[say("column_interval")] = [say.span(told(low, signed=True), told(high, signed=True)) for low, high in spans]
    last: Any = rows.iloc[-1]
    words = {"age": say("step_month", n=formats.Count(int(last["age"]))), "mine": told(last["subsidised"]),
             "theirs": told(last["others"])}  # fmt: skip
    title = say("lg_retention_title", **words) if share else say("lg_spend_title", **words)
    chart = charts.retention_curves(pd.concat(frames, ignore_index=True), percent=share, labels=labels)
    counts = {
        "n": formats.Count(int(rows["buyers_subsidised"].max())),
        "m": formats.Count(int(rows["buyers_others"].max())),
    }
    return review.figure("lg_buyers", chart, table, say("lg_buyers_caption", **counts), title=title)


def lift_words(say: Words, row: Any) -> dict[str, str]:
    """Write a lift with its interval."""
    ends = {name: formats.percent(row[f"conf_{name}"], signed=True) for name in ("low", "high")}
    return {"lift": formats.percent(abs(row["lift"])), "range": say("range_to", **ends)}


def festival(review: Review, weeks: pd.DataFrame, found: pd.DataFrame, last: Any) -> Any:
    """Draw the last block against what ordinary weeks lead to expect."""
    say = review.words
    scale, unit = review.scale(float(weeks["sold"].max()))
    shown = weeks.assign(sold=weeks["sold"] / scale, expected=weeks["expected"] / scale)
    parts = {"ordinary": say("lg_ordinary"), "festival": say.label(str(last["festival"])), "trough": say("lg_trough")}
    labels = {
        "value": say("with_unit", name=say("metric_gmv"), unit=unit),
        "sold": say("lg_sold"),
        "expected": say("lg_expected"),
    }
    labels |= {"festival": parts["festival"], "trough": parts["trough"]}
    table = pd.DataFrame(
        {say("column_week"): weeks["week"].dt.strftime("%Y-%m-%d"), say("lg_part"): weeks["part"].map(parts)}
    )
    for name in ("sold", "expected"):
        table[labels[name]] = [review.amount(value) for value in weeks[name]]
    mine = found[found["side"] == ALL].tail(3).set_index("part")["lift"]  # blocks stand in order of time
    over = {
        name: formats.percent(float(mine[part]), signed=True)
        for name, part in (("lift", "festival"), ("trough", "trough"))
    }
    chart, note = charts.festival_block(shown, labels=labels), say("lg_festival_caption")
    return review.figure("lg_festival", chart, table, note, festival=parts["festival"], **over)


def festival_table(review: Review, found: pd.DataFrame) -> Block:
    """Return every judged block by side: lifts of festival, trough and block, and what was given back."""
    say, rows, sides = review.words, [], side_names(review.words)
    for (side, ends), group in found.assign(ends=found.groupby(["side"], sort=False).cumcount() // 3).groupby(
        ["side", "ends"]
    ):
        parts: Any = group.set_index("part")
        block = parts.loc["block"]
        name = f"{say.label(str(block['festival']))} · {block['first_week'].year} · {sides[str(side)]}"
        lifts = [
            formats.percent(float(parts.loc[part, "lift"]), signed=True) for part in ("festival", "trough", "block")
        ]
        rows.append([name, *lifts, lift_words(say, block)["range"], formats.percent(block["given_back"], 0)])
        del ends
    heads = [
        say("lg_festival"),
        say("lg_weeks_of"),
        say("lg_trough"),
        say("lg_block"),
        say("column_interval"),
        say("lg_given_back"),
    ]
    return blocks.listing(heads, rows, say("lg_festivals_caption"), numbers=range(1, 6))


def vintages(review: Review, found: pd.DataFrame) -> Any:
    """Draw monthly GMV by the quarter in which products were first sold."""
    say = review.words
    wide = found.pivot_table(index="month", columns="vintage", values="gmv").fillna(0.0)
    scale, unit = review.scale(float(wide.sum(axis=1).max()))
    labels = {"value": say("with_unit", name=say("metric_gmv"), unit=unit), "established": say("lg_established")}
    table = pd.DataFrame({say("lg_month"): pd.DatetimeIndex(wide.index).strftime("%Y-%m")})
    for name in wide:
        table[labels.get(str(name), str(name))] = [review.amount(v) for v in wide[name]]
    last = wide.iloc[-1]
    younger = 1 - float(last.get("established", 0.0)) / float(last.sum())
    chart = charts.vintage_areas(found.assign(gmv=found["gmv"] / scale), labels=labels)
    return review.figure("lg_vintage", chart, table, say("adds_up"), share=formats.percent(younger, 0))


def product_share(review: Review, share: pd.DataFrame) -> Block:
    """Return the share of new products of the last month by side."""
    say, names = review.words, side_names(review.words)
    last = share[share["month"] == share["month"].max()]
    rows = [
        [names[str(row.side)], formats.percent(row.share), formats.number(row.skus_new), formats.number(row.skus)]
        for row in last.itertuples()
    ]
    heads = [say("lg_side"), say("lg_new_share"), say("lg_new_skus"), say("lg_skus")]
    month = formats.period_name(last["month"].iloc[0].date(), "month", say.language)
    return blocks.listing(heads, rows, say("lg_share_caption", month=month), numbers=range(1, 4))


def products_left(review: Review, until: dt.date) -> Any:
    """Draw how many new products still sell by age."""
    say = review.words
    try:
        found = lasting_growth.sku_survival(review.shop, through=until)
    except DesignError:
        return blocks.line(say("lg_young"))
    left_out, found = found.attrs["left_out"], found[found["at_risk"] >= FEWEST]
    if len(found) < 2:
        return blocks.line(say("lg_young"))
    last: Any = found.iloc[-1]
    step = say("step_month", n=formats.Count(int(last["age"])))
    labels = {"value": say("lg_still_sells"), "age": say("ages_month"), "average": say("lg_new_products")}
    chart, table = survival(review, found, labels)
    note, share = say("lg_left_note", n=formats.Count(left_out["left_censored"])), formats.percent(last["survival"], 0)
    return review.figure("lg_left", chart, table, note, share=share, step=step)


def _named(say: Words, group: str) -> str:
    own = {ALL: say("lg_all"), lasting_growth.NEW: say("lg_tenure_new"), lasting_growth.LONG: say("lg_tenure_long")}
    return own.get(group) or say.label(group)


def percentiles(review: Review, found: pd.DataFrame) -> Any:
    """Draw the percentile ladder of all merchants, of new ones and by region."""
    say = review.words
    labels = {
        "value": say("with_unit", name=say("lg_percentile_axis"), unit=review.unit),
        "mean": say("lg_mean"),
        "p50": say("lg_median"),
    }
    shown = found.assign(group=[_named(say, str(group)) for group in found["group"]])
    row: Any = found.iloc[0]
    title = (
        say("lg_percentile_title", ratio=formats.number(row["mean"] / row["p50"], 1))
        if row["p50"] > 0
        else say("lg_half_none")
    )
    columns = ["p10", "p25", "p50", "p75", "p90", "mean"]
    table = pd.DataFrame({say("lg_group"): shown["group"]})
    for name in columns:
        table[name if name != "mean" else labels["mean"]] = [review.told("gmv", v) for v in found[name]]
    chart = charts.percentile_ladder(shown, labels=labels)
    return review.figure("lg_percentile", chart, table, say("lg_percentile_caption"), title=title)


def percentile_table(review: Review, found: pd.DataFrame) -> Block:
    """Return medians beside means, and who sold nothing."""
    row: Any
    say, rows = review.words, []
    for row in found.itertuples():
        money = [review.told("gmv", float(value)) for value in (row.p50, row.mean, row.p50_active)]
        rows.append(
            [_named(say, str(row.group)), formats.number(row.merchants), formats.percent(row.without_sale, 0), *money]
        )
    heads = [
        say("lg_group"),
        say("column_merchants"),
        say("lg_without_sale"),
        say("lg_median"),
        say("lg_mean"),
        say("lg_median_active"),
    ]
    return blocks.listing(heads, rows, say("lg_typical_caption"), numbers=range(1, 6))
