"""Growth that lasts: what of GMV is kept, who comes back, what festivals only moved, what is new and what is typical."""

from __future__ import annotations

from functools import wraps
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

    from strategy_kit.report.programme_page import Parts
    from strategy_kit.report.reading import Reading
    from strategy_kit.report.review import Review

LADDER, BUYERS, PRODUCTS = (
    ("status", "refund_amount", "platform_subsidy"),
    ("refund_amount", "platform_subsidy"),
    ("sku_id",),
)


def answer(reading: Reading) -> str:
    """Say in one sentence what share of paid GMV lasts, or what is needed to tell.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> answer(sk.report.read_week(sk.open_dataset("data/sample"))).startswith("Of GMV paid in May 2025, ")
    True
    """
    say = reading.words
    asked: Any = {"through": reading.sunday}
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


def _section(
    name: str, key: str, columns: Sequence[str] = ()
) -> Callable[[Callable[[Review], Parts]], Callable[[Review], Section]]:
    """Make a section of one line where the data cannot answer, for want of `columns`, or too few merchants would be shown."""

    def decorated(parts: Callable[[Review], Parts]) -> Callable[[Review], Section]:
        @wraps(parts)
        def section(review: Review) -> Section:
            say = review.words
            head = say(f"lg_{key}"), say(f"lg_{key}_question")
            if merchants_by_side(review)[ALL] < FEWEST:
                return Section(name, (blocks.absent(*head, say("lg_few", least=FEWEST)),))
            try:
                title, note, *shown = parts(review)
            except DesignError:
                return Section(name, (blocks.absent(*head, why_not(review, columns)),))
            return Section(name, (blocks.section_head(*head, title, note), *shown))

        return section

    return decorated


@_section("ladder", "ladder", LADDER)
def ladder(review: Review) -> Parts:
    """Return the ladder of the last month that has matured, its path by side, and what growth was made of."""
    say = review.words
    rungs = lasting_growth.ladder(review.shop, through=review.sunday)
    counts = merchants_by_side(review)
    rungs = rungs[rungs["side"].map(counts).ge(FEWEST)]
    month = rungs["month"].max().date()
    now = rungs[(rungs["month"] == pd.Timestamp(month)) & (rungs["side"] == ALL)].set_index("step")
    named = formats.period_name(month, "month", say.language)
    title = say("lg_ladder_title", month=named, kept=formats.percent(float(now["share"]["repeat"]), 0))
    note = say("lg_ladder_note", days=formats.Count(lasting_growth.LOOKBACK))
    shown = figures.kept_path(review, rungs), figures.growth(review, rungs)
    return title, note, figures.falls(review, now, named), *shown


@_section("subsidised", "buyers", BUYERS)
def subsidised(review: Review) -> Parts:
    """Return buyers whose first order was subsidised beside the others, by age: retention and spend."""
    say = review.words
    until = review.sunday
    found = lasting_growth.subsidised_buyers(review.shop, through=until)
    whole: Any = lasting_growth.later_orders(review.shop, through=until).set_index("measure").loc["orders"]
    enough = found[["buyers_subsidised", "buyers_others"]].min(axis=1) >= FEWEST
    found, left_out = found[enough & (found["age"] > 0)], found.attrs["left_out"]
    if found.empty or not np.isfinite(whole["ratio"]):
        raise DesignError(say("lg_young"))
    change, low, high = (
        formats.percent(whole[name] - 1, 0, signed=True) for name in ("ratio", "conf_low", "conf_high")
    )
    title = say("lg_buyers_title", change=change, low=low, high=high)
    counts = {name: formats.Count(left_out[name]) for name in ("left_censored", "too_young", "few")}
    note = say("lg_buyers_note", **counts, least=formats.Count(lasting_growth.FEWEST))
    curves = (figures.buyers(review, found, "retention"), figures.buyers(review, found, "spend"))
    return title, note, *curves


@_section("festivals", "festivals")
def festivals(review: Review) -> Parts:
    """Return the last festival and its trough as one block, and every block that could be judged."""
    say = review.words
    until = review.sunday
    found = lasting_growth.festival_blocks(review.shop, through=until)
    left_out = len(found.attrs["left_out"])
    attrs, found = found.attrs, found[found["side"].map(merchants_by_side(review)).ge(FEWEST)]
    found.attrs = attrs
    last: Any = found[(found["side"] == ALL) & (found["part"] == "block")].sort_values("last_week").iloc[-1]
    told = figures.lift_words(say, last)
    verb = "lg_more" if last["conf_low"] > 0 else "lg_less" if last["conf_high"] < 0 else "lg_unclear"
    title = say("lg_festivals_title", festival=say.label(last["festival"]), verb=say(verb, **told))
    weeks = lasting_growth.festival_weeks_shown(review.shop, found, through=until)
    note = say("lg_festivals_note", n=formats.Count(left_out))
    return title, note, figures.festival(review, weeks, found, last), figures.festival_table(review, found)


@_section("survival", "survival")
def survival(review: Review) -> Parts:
    """Return how many merchants still sell by age, and the supported beside the others, which is no effect."""
    return review.words("lg_survival_title"), "", followed.survival(review), followed.supported(review)


@_section("new_products", "products", PRODUCTS)
def new_products(review: Review) -> Parts:
    """Return the share of new products in GMV, the vintages, and how many new products still sell."""
    say = review.words
    until = review.sunday
    share = lasting_growth.new_product_share(review.shop, through=until)
    share = share[share["merchants"] >= FEWEST]
    vintages = lasting_growth.vintages(review.shop, through=until)
    last = share[share["side"] == ALL].iloc[-1]
    month = formats.period_name(last["month"].date(), "month", say.language)
    days = formats.Count(lasting_growth.NEW_DAYS)
    title = say("lg_products_title", month=month, share=formats.percent(last["share"]), days=days)
    shown = figures.product_share(review, share), figures.products_left(review, until)
    return title, say("lg_products_note", days=days), figures.vintages(review, vintages), *shown


@_section("typical", "typical")
def typical(review: Review) -> Parts:
    """Return percentiles of what merchants sell in a month, all, new and by region."""
    say = review.words
    shop, until = review.shop, review.sunday
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
    return (title, note, figures.percentiles(review, shown), figures.percentile_table(review, shown))
