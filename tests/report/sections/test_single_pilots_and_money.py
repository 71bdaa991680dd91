"""Sections of single pilots and of money: their numbers, their words, and what they do without data."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from math import expm1
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did, formats
from strategy_kit.report import blocks, weekly
from strategy_kit.report.categories import Row, categories, nested_rows, prediction
from strategy_kit.report.claims import Check, Spread
from strategy_kit.report.declared import read_declared
from strategy_kit.report.money import Money, _spent, cost_sentence, merchant_sales, money, read_money

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.report import Reading
    from strategy_kit.report.sections import Section

    Tables = dict[str, pd.DataFrame]
    Made = Callable[..., Any]

EXACT: dict[str, Any] = {"rel": 1e-9}  # the same formula on the same numbers
START, MONDAY = dt.date(2025, 5, 19), dt.date(2025, 7, 21)
LIMIT = Check("Policies", "1", "one began.", "limits")
BLOCKED = Check("Data", "2", "two rows.", "blocks")


def shifted(reading: Reading, by: float, *, noise: float = 1.0) -> Reading:
    """Pilots' log totals after the start moved by `by`, and what is a category's own shrunk: everything is computed anew."""
    totals = reading.totals
    after = np.arange(len(totals.periods)) >= int(totals.starts.min())
    common = totals.outcome.mean(axis=0)
    own = totals.outcome - totals.outcome.mean(axis=1, keepdims=True) - (common - common.mean())
    outcome = totals.outcome - (1 - noise) * own + by * (totals.cohort >= 0)[:, None] * after
    moved = replace(totals, outcome=outcome)
    return replace(reading, totals=moved, contrast=did.pilot_contrast(moved), checks=[], width=None)


def figures(section: Section) -> list[Any]:
    return [part for part in section.parts if not isinstance(part, blocks.Block)]


def words(figure: Any) -> dict[str, Any]:
    return dict(figure.to_dict()["usermeta"]["strategy_kit"])


def html(section: Section) -> str:
    return "".join(part.html for part in section.parts if isinstance(part, blocks.Block))


def title(section: Section) -> str:
    return str(section.parts[0])


def everything(section: Section) -> str:
    """All that a section says: blocks, the words around its charts, and the tables behind them."""
    shown = [html(section)]
    for figure in figures(section):
        own = words(figure)
        shown += [own["title"], own["subtitle"], own["caption"], figure.description]
        shown += [cell for row in own["table"]["rows"] for cell in row]
    return " ".join(shown)


# Single pilots and one more category


def test_pilots_their_average_and_a_further_one_are_those_of_the_estimators(reading: Reading) -> None:
    effects, new = did.category_effects(reading.totals), did.new_category(did.category_effects(reading.totals))
    wide = replace(effects, spread=effects.covariance * reading.widening**2).tidy(reading.level)
    rows = words(figures(categories(reading))[0])["table"]["rows"]
    for row, (_, expected) in zip(rows[:3], wide.iterrows(), strict=True):
        low, high = (formats.percent(expm1(expected[end]), signed=True) for end in ("band_low", "band_high"))
        assert row[1:3] == [formats.percent(expm1(expected["estimate"]), signed=True), f"{low} to {high}"]
    pooled = [formats.percent(expm1(value), signed=True) for value in effects.details["shrunken"]["estimate"]]
    assert [row[-1] for row in rows] == [*pooled, "", ""]
    assert rows[3][1] == formats.percent(expm1(reading.spread.estimate), signed=True)  # the headline's number
    law: Any = new.law
    ends = law[1].interval(new.estimate[1:], reading.widening * new.std_error[1:], reading.level)
    told = [formats.percent(expm1(end[0]), signed=True) for end in ends]
    assert rows[4][2] == " to ".join(told)
    assert title(categories(reading)).endswith(f"could go either way: {told[0]} to {told[1]}")


def test_the_title_on_one_more_category_follows_the_prediction(reading: Reading) -> None:
    calm = {by: shifted(reading, by - reading.spread.estimate * 0.01, noise=0.01) for by in (0.3, -0.3, 0.0)}
    for by, verb in ((0.3, "may gain"), (-0.3, "may lose"), (0.0, "could go either way")):
        new = prediction(did.new_category(did.category_effects(calm[by].totals)), 1.0)
        low, high = new.interval(0.95)
        assert (low > 0, high < 0) == (by > 0, by < 0)
        told = title(categories(calm[by]))
        assert verb in told
        if by:
            chance = min(99, int(100 * (new.chance_above(0) if by > 0 else 1 - new.chance_above(0))))
            assert f"({chance} in 100)" in told


def test_single_pilots_say_what_their_own_interval_and_the_checks_allow(reading: Reading) -> None:
    sure = shifted(reading, 0.3, noise=0.01)
    assert html(categories(sure)).count("<strong>rose by") == 3
    limited = html(categories(replace(sure, checks=[LIMIT])))
    assert "rose by" not in limited
    assert limited.count("<strong>may have risen (99 in 100)") == 3
    assert html(categories(shifted(reading, -reading.spread.estimate))).count("shows no clear change") >= 1


def test_two_pilots_say_nothing_on_another_one(reading: Reading) -> None:
    totals = reading.totals.only(reading.totals.units != "beauty")
    section = categories(replace(reading, totals=totals, contrast=did.pilot_contrast(totals)))
    assert title(section) == "Categories: 2 pilots say nothing about one more category"
    assert len(words(figures(section)[0])["table"]["rows"]) == 3


def test_a_pilot_of_few_merchants_is_not_shown_alone(reading: Reading, tables: Tables, shop_of: Made) -> None:
    lines = tables["order_lines"]
    held = lines.loc[lines["category"] == "beauty", "merchant_id"].drop_duplicates().head(9)
    lines = lines[(lines["category"] != "beauty") | lines["merchant_id"].isin(held)]
    section = categories(replace(reading, shop=shop_of({**tables, "order_lines": lines})))
    names = [row[0] for row in words(figures(section)[0])["table"]["rows"]]
    assert "Beauty" not in names
    assert "Apparel" in names
    assert "1 pilot of fewer than 10 merchants is not shown alone; the average includes it." in html(section)
    assert "Beauty" not in everything(section)
    small = replace(reading, shop=shop_of({**tables, "order_lines": lines}))
    for silent in (small, replace(small, checks=[BLOCKED])):
        for name in ("decision", "points", "trust", "effect", "categories", "doubts"):
            assert "Beauty" not in everything(getattr(weekly, name)(silent)), name
    assert "1 category of fewer than 10 merchants is not shown alone" in everything(weekly.effect(small))


def test_nested_rows_are_the_intervals_of_the_spread() -> None:
    spread = Spread(0.1, 0.02, 7.0, 1.3)
    frame = nested_rows(
        [Row("a", "one", spread), Row("b", "one", spread, together=4)], 0.9, lambda *ends: str(len(ends))
    )
    for at, share in enumerate((1, 4)):
        for level, ends in (
            (0.9, ("conf_low", "conf_high")),
            (0.8, ("low_80", "high_80")),
            (0.5, ("low_50", "high_50")),
        ):
            shown = [float(frame[end][at]) for end in ends]
            assert shown == pytest.approx(spread.interval(1 - (1 - level) / share), **EXACT)


# Money


def test_the_ladder_follows_the_sales_of_the_headline(reading: Reading) -> None:
    panel, marks = merchant_sales(reading)
    whole = panel.outcome[::2] + panel.outcome[1::2]
    np.testing.assert_allclose(np.log(whole), reading.totals.outcome, rtol=1e-12)  # sums of the same amounts
    supported = reading.shop.engine.frame(
        """select sum(amount) as y from order_lines where coalesce(status, 'paid') <> 'cancelled' and paid_at >= $first
           and paid_at < $next and category in ('apparel', 'beauty', 'sports_outdoors') and merchant_id in
           (select merchant_id from support where started_on < $next)""",
        {"first": reading.totals.periods[0].date(), "next": MONDAY + dt.timedelta(weeks=1)},
    )["y"][0]
    assert panel.outcome[marks].sum() == pytest.approx(float(supported), rel=1e-12)


def test_small_categories_are_added_up_and_pilots_to_come_left_out_as_in_the_headline(
    tables: Tables, shop_of: Made
) -> None:
    lines = tables["order_lines"]
    cheap = lines["amount"].astype(float) < 30  # of each category a few, in every week, and little money
    lines = lines.assign(category=lines["category"].where(~(cheap & (lines["line_id"] == 1)), "tiny"))
    starts = {**dict.fromkeys(["apparel", "beauty", "sports_outdoors"], START), "books": dt.date(2025, 7, 29)}
    reading = sk.report.read_week(shop_of({**tables, "order_lines": lines}, pilot=starts))
    assert {"all_other", "toys"} < set(reading.totals.units)
    assert not {"tiny", "books"} & set(reading.totals.units)
    panel, _ = merchant_sales(reading)
    np.testing.assert_allclose(np.log(panel.outcome[::2] + panel.outcome[1::2]), reading.totals.outcome, rtol=1e-12)
    results = read_declared(reading).results
    assert results["orders"].average[0] + results["average_order_value"].average[0] == pytest.approx(  # type: ignore[union-attr]
        reading.spread.estimate, **EXACT
    )


def test_rungs_add_up_and_are_those_of_the_method(rich: Reading) -> None:
    found = read_money(rich)
    assert isinstance(found, Money)
    rungs = dict(zip(found.rungs, found.ladder.estimate, strict=True))
    assert rungs["supported"] + rungs["rivals"] == pytest.approx(rungs["category"], abs=1e-6)
    assert rungs["profit"] == pytest.approx(rungs["revenue"] - rungs["cost"], abs=1e-6)
    panel, marks = merchant_sales(rich)
    rates = pd.Series({"apparel": 0.05, "beauty": 0.08, "sports_outdoors": 0.12})
    expected = did.gross_to_net(panel, marks.tolist(), take_rate=rates, cost=found.cost)
    np.testing.assert_allclose(found.ladder.estimate, expected.estimate, rtol=1e-6)  # fees are rounded by nobody
    scale = 1e3
    shown = {row[0]: row[1] for row in words(figures(money(rich))[0])["table"]["rows"]}
    assert shown["New to the categories"] == formats.number(rungs["category"] / scale, signed=True)
    assert shown["Revenue less cost"] == formats.number(rungs["profit"] / scale, signed=True)


def test_the_return_is_fiellers_for_all_looks_and_its_chance_that_of_one_look(rich: Reading) -> None:
    found = read_money(rich)
    assert isinstance(found, Money)
    returned, wide = found.returned, found.spread("revenue")
    assert returned is not None
    low, high = wide.interval(rich.level)  # a known cost divides the interval of revenue
    assert found.cost is not None
    assert (returned["conf_low"], returned["conf_high"]) == pytest.approx(
        (low / found.cost, high / found.cost), **EXACT
    )
    assert returned["break_even"] == pytest.approx(wide.chance_above(found.cost), **EXACT)
    text = html(money(rich))
    assert f"{formats.number(returned['estimate'], 2)} CNY of revenue" in text
    assert f"{formats.number(low / found.cost, 2)} to {formats.number(high / found.cost, 2)}" in text


def test_cost_so_far_is_each_stays_share_of_its_days(reading: Reading, tables: Tables, shop_of: Made) -> None:
    roster = tables["merchants"].set_index("merchant_id")["category"]
    stays = [
        ("beauty", START, "2025-05-28", 100.0),  # over: all of it
        ("beauty", dt.date(2025, 7, 27), None, 100.0),  # since Sunday, and the data end on Wednesday: one day of four
        ("beauty", dt.date(2025, 7, 30), None, 100.0),  # after the week
        ("toys", START, None, 100.0),  # no pilot
    ]
    rows = [
        (roster.index[roster == group][at], "display", start, end, cost)
        for at, (group, start, end, cost) in enumerate(stays)
    ]
    support = pd.DataFrame(rows, columns=["merchant_id", "lever", "started_on", "ended_on", "cost"])
    support = support.assign(**{day: pd.to_datetime(support[day]) for day in ("started_on", "ended_on")})
    assert _spent(replace(reading, shop=shop_of({**tables, "support": support}))) == pytest.approx(125.0)


def test_without_fees_the_ladder_ends_at_sales_and_says_what_would_pay(
    reading: Reading, tables: Tables, shop_of: Made
) -> None:
    bare = {**tables, "order_lines": tables["order_lines"].drop(columns="platform_fee", errors="ignore")}
    without = replace(reading, shop=shop_of(bare))
    found = read_money(without)
    assert isinstance(found, Money)
    assert found.rungs == ["supported", "rivals", "category"]
    assert found.cost is not None
    for factor in (0.5, 2.0):  # the cost covered by half of what is new, and not by all of it
        cheap = replace(found, cost=factor * found.spread("category").estimate)
        said = (
            "if the platform keeps **50.0% of what is new**" if factor < 1 else "no less than the new sales themselves"
        )
        assert said in cost_sentence(cheap)
    free = replace(reading, shop=shop_of({**bare, "support": tables["support"].drop(columns="cost")}))
    assert "do not tell what support cost, nor what the platform keeps" in html(money(free))


@pytest.mark.parametrize(("by", "verb"), [(30, " rose by ¥"), (-30, " fell by ¥"), (0.2, "shows no clear change")])
def test_the_verb_of_money_flips_with_the_data(by: float, verb: str, rich: Reading) -> None:
    found = read_money(rich)
    assert isinstance(found, Money)
    error = found.ladder.std_error
    moved = replace(found.ladder, estimate=np.where(np.isnan(error), found.ladder.estimate, by * error))
    for checks in ([], [LIMIT]):
        reading = replace(rich, checks=checks)
        reading.__dict__["money_followed"] = replace(found, reading=reading, ladder=moved)
        assert (verb in title(money(reading))) == (not checks or by == 0.2)


def test_few_supported_merchants_are_not_shown(reading: Reading, tables: Tables, shop_of: Made) -> None:
    pilots = tables["merchants"].set_index("merchant_id")["category"].isin(["apparel", "beauty", "sports_outdoors"])
    support = tables["support"]
    held = support.loc[support["merchant_id"].map(pilots), "merchant_id"].drop_duplicates().head(9)
    reading = replace(reading, shop=shop_of({**tables, "support": support[support["merchant_id"].isin(held)]}))
    assert len(money(reading).parts) == 1
    assert re.search(
        r"9 supported and \d+ other merchants sold in the pilots, and a figure needs 10 of each", str(money(reading))
    )
