"""Growth that lasts: what of GMV is kept, who comes back, what festivals only moved, what is new and what is typical."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import formats, lasting_growth
from strategy_kit.errors import DesignError
from strategy_kit.lasting_growth.grounds import ALL, months
from strategy_kit.report import blocks, followed
from strategy_kit.report import lasting_growth_figures as figures
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.reading import listed
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strategy_kit.report.reading import Reading
    from strategy_kit.report.review import Review

LADDER, BUYERS, PRODUCTS = (
    ("status", "refund_amount", "platform_subsidy"),
    ("refund_amount", "platform_subsidy"),
    ("sku_id",),
)
_SUNDAY = dt.timedelta(days=6)


def answer(reading: Reading) -> str:
    """Say in one sentence what share of paid GMV lasts, or what is needed to tell.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> answer(sk.report.read_week(sk.open_dataset("data/sample"))).startswith("Of GMV paid in May 2025, ")
    True
    """
    say = reading.words
    asked: Any = {"through": reading.monday + _SUNDAY}
    known = months(reading.shop, matured=True, burn_in_days=lasting_growth.LOOKBACK, **asked)
    try:
        rungs = lasting_growth.ladder(reading.shop, since=known[-1] if known else None, **asked)
    except DesignError:
        return why_not(reading, LADDER)
    last = rungs[(rungs["month"] == rungs["month"].max()) & (rungs["side"] == ALL)].set_index("step")["share"]
    if last.isna().any():
        return why_not(reading, LADDER)
    values = {"lost": -last["cancelled"] - last["refunded"], "aid": -last["subsidy"], "new": -last["first_time"]}
    shares = {name: formats.percent(float(value), 0) for name, value in {**values, "kept": last["repeat"]}.items()}
    month = formats.period_name(rungs["month"].max().date(), "month", say.language)
    return say("lg_answer", month=month, days=formats.Count(lasting_growth.LOOKBACK), **shares)


def why_not(read: Reading | Review, columns: Sequence[str]) -> str:
    """Say which columns are lacking, or that the data do not reach far enough."""
    lacking = [f"order_lines.{name}" for name in columns if name not in read.shop.columns("order_lines")]
    return read.words("lg_lacks", columns=listed(read.words, lacking)) if lacking else read.words("lg_young")


def merchants_by_side(review: Review) -> dict[str, int]:
    """Count the merchants of the roster on each side, and all of them."""
    found = review.shop.engine.frame("select category, count(*) as n from merchants group by 1")
    pilots = review.shop.pilot.categories if review.shop.description.pilot else ()
    mine = int(found.loc[found["category"].isin(list(pilots)), "n"].sum())
    every = int(found["n"].sum())
    return {"pilots": mine, "others": every - mine, ALL: every}


def _guarded(
    review: Review, name: str, head: tuple[str, str], columns: Sequence[str], parts: Callable[[], Sequence[Any]]
) -> Section:
    """Make a section, of one line where the data cannot answer or too few merchants would be shown."""
    if merchants_by_side(review)[ALL] < FEWEST:
        return Section(name, (blocks.absent(*head, review.words("lg_few", least=FEWEST)),))
    try:
        return Section(name, tuple(parts()))
    except DesignError:
        return Section(name, (blocks.absent(*head, why_not(review, columns)),))


def ladder(review: Review) -> Section:
    """Return the ladder of the last month that has matured, its path by side, and what growth was made of."""
    say = review.words
    head = say("lg_ladder"), say("lg_ladder_question")

    def parts() -> Sequence[Any]:
        rungs = lasting_growth.ladder(review.shop, through=review.monday + _SUNDAY)
        counts = merchants_by_side(review)
        rungs = rungs[rungs["side"].map(counts).ge(FEWEST)]
        month = rungs["month"].max().date()
        now = rungs[(rungs["month"] == pd.Timestamp(month)) & (rungs["side"] == ALL)].set_index("step")
        named = formats.period_name(month, "month", say.language)
        title = say("lg_ladder_title", month=named, kept=formats.percent(float(now["share"]["repeat"]), 0))
        top = blocks.section_head(*head, title, say("lg_ladder_note", days=formats.Count(lasting_growth.LOOKBACK)))
        return top, figures.falls(review, now, named), figures.kept_path(review, rungs), figures.growth(review, rungs)

    return _guarded(review, "ladder", head, LADDER, parts)


def subsidised(review: Review) -> Section:
    """Return buyers whose first order was subsidised beside the others, by age: retention and spend."""
    say = review.words
    head = say("lg_buyers"), say("lg_buyers_question")

    def parts() -> Sequence[Any]:
        until = review.monday + _SUNDAY
        found = lasting_growth.subsidised_buyers(review.shop, through=until)
        whole: Any = lasting_growth.later_orders(review.shop, through=until).set_index("measure").loc["orders"]
        enough = found[["buyers_subsidised", "buyers_others"]].min(axis=1) >= FEWEST
        found, left_out = found[enough & (found["age"] > 0)], found.attrs["left_out"]
        if found.empty or not np.isfinite(whole["ratio"]):
            return (blocks.absent(*head, say("lg_young")),)
        change, low, high = (
            formats.percent(whole[name] - 1, 0, signed=True) for name in ("ratio", "conf_low", "conf_high")
        )
        title = say("lg_buyers_title", change=change, low=low, high=high)
        counts = {name: formats.Count(left_out[name]) for name in ("left_censored", "too_young")}
        note = say("lg_buyers_note", **counts)
        curves = (figures.buyers(review, found, "retention"), figures.buyers(review, found, "spend"))
        return blocks.section_head(*head, title, note), *curves

    return _guarded(review, "subsidised", head, BUYERS, parts)


def festivals(review: Review) -> Section:
    """Return the last festival and its trough as one block, and every block that could be judged."""
    say = review.words
    head = say("lg_festivals"), say("lg_festivals_question")

    def parts() -> Sequence[Any]:
        until = review.monday + _SUNDAY
        found = lasting_growth.festival_blocks(review.shop, through=until)
        left_out = len(found.attrs["left_out"])
        attrs, found = found.attrs, found[found["side"].map(merchants_by_side(review)).ge(FEWEST)]
        found.attrs = attrs
        last: Any = found[(found["side"] == ALL) & (found["part"] == "block")].sort_values("last_week").iloc[-1]
        told = figures.lift_words(say, last)
        verb = "lg_more" if last["conf_low"] > 0 else "lg_less" if last["conf_high"] < 0 else "lg_unclear"
        words = {
            "lg_more": say("lg_more", **told),
            "lg_less": say("lg_less", **told),
            "lg_unclear": say("lg_unclear", **told),
        }
        title = say("lg_festivals_title", festival=say.label(last["festival"]), verb=words[verb])
        weeks = lasting_growth.festival_weeks_shown(review.shop, found, through=until)
        top = blocks.section_head(*head, title, say("lg_festivals_note", n=formats.Count(left_out)))
        return top, figures.festival(review, weeks, found, last), figures.festival_table(review, found)

    return _guarded(review, "festivals", head, (), parts)


def survival(review: Review) -> Section:
    """Return how many merchants still sell by age, and the supported beside the others, which is no effect."""
    say = review.words
    head = say("lg_survival"), say("lg_survival_question")

    def parts() -> Sequence[Any]:
        return (
            blocks.section_head(*head, say("lg_survival_title")),
            followed.survival(review),
            followed.supported(review),
        )

    return _guarded(review, "survival", head, (), parts)


def new_products(review: Review) -> Section:
    """Return the share of new products in GMV, the vintages, and how many new products still sell."""
    say = review.words
    head = say("lg_products"), say("lg_products_question")

    def parts() -> Sequence[Any]:
        until = review.monday + _SUNDAY
        share = lasting_growth.new_product_share(review.shop, through=until)
        share = share[share["merchants"] >= FEWEST]
        vintages = lasting_growth.vintages(review.shop, through=until)
        last = share[share["side"] == ALL].iloc[-1]
        month = formats.period_name(last["month"].date(), "month", say.language)
        days = formats.Count(lasting_growth.NEW_DAYS)
        title = say("lg_products_title", month=month, share=formats.percent(last["share"]), days=days)
        top = blocks.section_head(*head, title, say("lg_products_note", days=days))
        return (
            top,
            figures.vintages(review, vintages),
            figures.product_share(review, share),
            figures.products_left(review, until),
        )

    return _guarded(review, "new_products", head, PRODUCTS, parts)


def typical(review: Review) -> Section:
    """Return percentiles of what merchants sell in a month, all, new and by region."""
    say = review.words
    head = say("lg_typical"), say("lg_typical_question")

    def parts() -> Sequence[Any]:
        shop, until = review.shop, review.monday + _SUNDAY
        known = shop.columns("merchants")
        asked = [by for by, column in ((lasting_growth.TENURE, "opened_on"), ("region", "region")) if column in known]
        frames = [lasting_growth.typical_merchants(shop, through=until)]
        frames += [lasting_growth.typical_merchants(shop, through=until, by=by).iloc[1:] for by in asked]
        found = pd.concat(frames, ignore_index=True)
        shown = found[(found["merchants"] >= FEWEST) & found["group"].notna()]
        row: Any = shown.iloc[0]
        title = say("lg_typical_title", month=formats.period_name(row["month"].date(), "month", say.language),
                    median=review.told("gmv", row["p50"]), mean=review.told("gmv", row["mean"]),
                    none=formats.percent(row["without_sale"], 0))  # fmt: skip
        note = say("lg_typical_note", n=formats.Count(len(found) - len(shown)), least=FEWEST)
        return (
            blocks.section_head(*head, title, note),
            figures.percentiles(review, shown),
            figures.percentile_table(review, shown),
        )

    return _guarded(review, "typical", head, (), parts)
