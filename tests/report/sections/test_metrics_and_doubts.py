"""Sections of all metrics and of doubts, and what all four sections of the effect have in common."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from math import expm1, log1p
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did, formats, planning, sensitivity
from strategy_kit.formats import Language
from strategy_kit.metrics import METRICS
from strategy_kit.planning.families import PRIMARY
from strategy_kit.report import blocks
from strategy_kit.report.categories import categories
from strategy_kit.report.declared import GUARDRAILS, UNDECLARED, Declared, declared, read_declared
from strategy_kit.report.doubts import BASES, doubts, merchants_break, other_ways, without_each
from strategy_kit.report.money import money
from strategy_kit.report.words import Words, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.report import Reading
    from strategy_kit.report.sections import Section

    Tables = dict[str, pd.DataFrame]
    Made = Callable[..., Any]

SECTIONS: dict[str, Callable[[Reading], Section]] = {
    "categories": categories, "money": money, "declared": declared, "doubts": doubts,
}  # fmt: skip
HOSTILE = "<script>alert('x')</script> **bold** & co"
EXACT: dict[str, Any] = {"rel": 1e-9}  # the same formula on the same numbers
START, LANGUAGES = dt.date(2025, 5, 19), get_args(Language)


@pytest.fixture(scope="module")
def metrics(reading: Reading) -> Declared:
    return read_declared(reading)


@pytest.fixture(scope="module")
def many(rich: Reading) -> Declared:
    return read_declared(rich)


@pytest.fixture(scope="module")
def many_section(rich: Reading) -> Section:
    return declared(rich)


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


# All metrics


def test_log_gmv_is_the_sum_of_its_factors(reading: Reading, metrics: Declared) -> None:
    """Contrasts of logarithms add up: orders times average value, buyers times orders each."""
    results = {name: fit.average[0] for name, fit in metrics.results.items() if not isinstance(fit, str)}
    assert results["orders"] + results["average_order_value"] == pytest.approx(reading.spread.estimate, **EXACT)
    assert results["buyers"] + results["orders_per_buyer"] == pytest.approx(results["orders"], **EXACT)


def test_every_metric_is_the_contrast_of_its_own_panel(reading: Reading, metrics: Declared) -> None:
    found, since = metrics, reading.totals.periods[0].date()
    assert [*found.families] == ["undeclared", "guardrails"]
    assert found.families["undeclared"] == UNDECLARED
    for name in ("orders", "buyers", "units", "active_merchants"):
        panel = reading.shop.category_panel(name, since=since, through=reading.monday).logs()
        assert found.results[name].average == pytest.approx(did.pilot_contrast(panel).average, **EXACT)  # type: ignore[union-attr]


def test_intervals_hold_for_the_family_and_all_looks(rich: Reading, many: Declared, many_section: Section) -> None:
    found = many
    assert [*found.families] == ["reach", "quality", "guardrails"]
    assert found.families["guardrails"] == GUARDRAILS[1:]
    table = {row[1]: row for row in words(figures(many_section)[0])["table"]["rows"]}
    orders = found.spread("orders")
    assert orders is not None
    low, high = (formats.percent(expm1(end), signed=True) for end in orders.interval(1 - 0.05 / 3))
    assert table["Orders"][3] == f"{low} to {high}"
    expected = planning.all_metrics(
        {name: replace(fit, average=(fit.average[0], fit.average[1] * rich.widening)) for name, fit in
         found.results.items() if not isinstance(fit, str)} | {"gmv": rich.contrast},
        primary="gmv", families=found.families,
    )  # fmt: skip
    reach = expected[expected["family"] == "reach"].set_index("metric")["p_adjusted"]
    assert table["Orders"][-2] == formats.number(reach["orders"], 3)
    assert [row.block for row in found.rows][:1] == [PRIMARY]


def test_what_cannot_be_computed_stays_in_the_forest_with_its_reason(many_section: Section) -> None:
    figure = figures(many_section)[0]
    table = {row[1]: row for row in words(figure)["table"]["rows"]}
    lost = {"Refunds made in the week": "the data lack refunded_at",
            "Spend per annual active buyer": "a pilot has weeks without a value"}  # fmt: skip
    for name, reason in lost.items():
        assert table[name][-1] == reason
        assert table[name][2] == table[name][-2] == ""
    assert "not computed" in figure.description


def test_titles_count_the_intervals_that_exclude_zero(reading: Reading, metrics: Declared) -> None:
    found = metrics
    further = [row for row in found.rows if row.block != PRIMARY]
    clear = sum(low > 0 or high < 0 for low, high in (row.interval(reading.level) for row in further))
    told = title(declared(reading))
    assert told == f"All metrics: No interval of {len(further)} further metrics excludes 0"
    assert clear == 0
    strong = {
        name: replace(fit, average=(0.5, 0.01)) for name, fit in found.results.items() if not isinstance(fit, str)
    }
    assert all(row.kind == "clear" for row in replace(found, results=strong).rows if row.block != PRIMARY)


def test_a_week_of_nothing_is_compared_by_sums(reading: Reading, tables: Tables, shop_of: Made) -> None:
    lines = tables["order_lines"]
    week = pd.to_datetime(lines["paid_at"]).dt.to_period("W")
    none = (lines["category"] == "apparel") & (week == week.max() - 12)
    refund = lines["refund_amount"].astype(float).fillna(0.0).where(~none, 0.0)
    reading = replace(reading, shop=shop_of({**tables, "order_lines": lines.assign(refund_amount=refund)}))
    found = read_declared(reading)
    assert "refund_rate" in found.summed
    sums = lines.assign(
        refund_amount=refund, amount=lines["amount"].astype(float), paid=pd.to_datetime(lines["paid_at"])
    )
    sums = sums[(sums["status"] != "cancelled") & (sums["paid"] >= reading.totals.periods[0])]
    last = pd.Timestamp(reading.shop.matured_through)  # whole weeks up to it
    sums = sums[sums["paid"] < last - pd.Timedelta(days=(last.weekday() + 1) % 7) + pd.Timedelta(days=1)]
    sums["after"] = sums["paid"] >= pd.Timestamp(START)
    rate = sums.groupby(["category", "after"])[["refund_amount", "amount"]].sum()
    level = np.log(rate["refund_amount"] / rate["amount"])
    change = level.xs(True, level="after") - level.xs(False, level="after")
    pilot = change.index.isin(reading.shop.pilot.categories)
    expected = change[pilot].mean() - change[~pilot].mean()
    assert found.results["refund_rate"].average[0] == pytest.approx(expected, **EXACT)  # type: ignore[union-attr]


def test_guardrails_are_told_by_the_grammar(many: Declared, many_section: Section) -> None:
    text = html(many_section)
    for name in ("GMV of other merchants", "Complaints per order", "Search sessions"):
        assert name in text
    assert "No data for" not in text
    sessions = many.spread("sessions")
    assert sessions is not None
    assert abs(sessions.estimate) < 0.05  # drawn alike everywhere: 5 % is many errors of sums of thousands


# Doubts


def test_leaving_one_out_is_the_headline_of_the_others(reading: Reading) -> None:
    rest, totals = without_each(reading), reading.totals
    assert [row.group for row in rest] == list(map(str, totals.units))
    for at, row in enumerate(rest):
        expected = did.pilot_contrast(totals.only(np.arange(len(totals.units)) != at)).glance().iloc[0]
        assert (row.spread.estimate, row.spread.std_error) == pytest.approx(
            (expected["estimate"], expected["std_error"]), **EXACT
        )
        assert row.spread.degrees_of_freedom == pytest.approx(expected["degrees_of_freedom"], **EXACT)
    most = max(rest, key=lambda row: abs(row.spread.estimate - reading.spread.estimate))
    told = (formats.percent(expm1(value), signed=True) for value in (reading.spread.estimate, most.spread.estimate))
    assert title(doubts(reading)) == f"Doubts: Without {reading.words.label(most.group)}, {' becomes '.join(told)}"


def test_other_ways_are_those_of_the_multiverse(reading: Reading) -> None:
    found, every = other_ways(reading), did.multiverse(reading.totals, windows=BASES)
    whole = every[(every["left_out"] == "none") & every["estimate"].notna()]
    rows = whole.set_index(["estimator", "base_window"])["estimate"]
    for weeks in BASES:
        assert found[f"base_{weeks}"] == pytest.approx(rows["welch", f"last_{weeks}"], **EXACT)
    assert found["symmetric"] == pytest.approx(rows["welch", "symmetric"], **EXACT)
    for name in ("synthetic", "synthetic_control"):
        assert found[name] == pytest.approx(rows[name, "all_before"], **EXACT)
    text = html(doubts(reading))
    for value in (min(found.values()), max(found.values())):
        assert f"<strong>{formats.percent(expm1(value), signed=True)}</strong>" in text


def test_the_break_is_that_of_relative_magnitudes(reading: Reading) -> None:
    found, shop = merchants_break(reading), reading.shop
    assert found is not None
    panel = shop.panel(categories=shop.pilot.categories, since=reading.totals.periods[0].date(), through=reading.monday)
    study = did.event_study(did.group_time(panel.untreated_at_first(), control="not_yet", base="universal"))
    ages = [int(age) for age in study.labels["age"] if age >= 0]
    if reading.widening == 1:
        expected = sensitivity.relative_magnitudes(study, since=-12, ages=ages, magnitudes=0.0)
        assert (found.estimate, *found.original) == pytest.approx((expected.estimate, *expected.original), **EXACT)
        assert found.breakdown == pytest.approx(expected.breakdown, nan_ok=True)
    assert ("no finding to defend" in html(doubts(reading)).split("<dt>")[2]) == np.isnan(found.breakdown)


def test_parallel_paths_are_defended_only_where_there_is_a_finding(reading: Reading) -> None:
    none, some = shifted(reading, 0.0), shifted(reading, 0.3, noise=0.2)
    assert "no finding to defend" in html(doubts(none)).split("<dt>")[1]
    said = html(doubts(some)).split("<dt>")[1]
    edge = formats.percent(expm1(some.spread.interval(0.95)[0]), signed=True)
    assert f"<strong>{edge} or more</strong>" in said
    past = did.pilot_contrast(some.totals.restarted(13, 26)).average[0]
    assert f"gives {formats.percent(expm1(past), signed=True)}." in said
    fallen = shifted(reading, -0.4, noise=0.2)
    assert "or less</strong>" in html(doubts(fallen)).split("<dt>")[1]


def test_the_next_measurement_is_what_shrinks_the_detectable_effect_most(reading: Reading) -> None:
    rows = planning.what_if(reading.totals, effect=log1p(0.03), widening=reading.widening).set_index(
        ["pilots", "weeks"]
    )
    pilots, weeks = rows.index[0]
    pilot, longer = (rows.loc[at, "detectable_effect"] for at in ((pilots + 1, weeks), (pilots, weeks + 13)))
    said = html(doubts(reading)).split("<dt>")[-1]
    assert f"<strong>{'One more pilot category' if pilot < longer else '13 more weeks'}.</strong>" in said
    for size in (rows["detectable_effect"].iloc[0], pilot, longer):
        assert formats.percent(expm1(size)) in said


# All four


@pytest.mark.parametrize("name", SECTIONS)
def test_every_figure_has_words_a_description_and_a_table(name: str, rich: Reading) -> None:
    for figure in figures(SECTIONS[name](rich)):
        own = words(figure)
        assert own["title"]
        assert len(own["title"].split()) <= 10
        assert own["subtitle"]
        assert "week 30 of 2025" in own["caption"]
        assert len(figure.description) > 40
        assert len(own["table"]["rows"]) >= 3
        chinese = words(figures(SECTIONS[name](replace(rich, words=Words("zh"))))[0])
        assert len(chinese["title"]) <= 20


@pytest.mark.parametrize("name", SECTIONS)
def test_both_languages_carry_the_same_numbers(name: str, rich: Reading, reading: Reading) -> None:
    for one in (rich, reading):
        english, chinese = (everything(SECTIONS[name](replace(one, words=words))) for words in map(Words, LANGUAGES))
        counts = [sorted(re.findall(r"[+−]?\d[\d,]*\.\d+%", text)) for text in (english, chinese)]
        assert counts[0] == counts[1]
        chances = [
            sorted(re.findall(r"(\d+) in 100", english)),
            sorted(re.findall(r"可能（(\d+)%）|可能性为 (\d+)%", chinese)),
        ]
        assert chances[0] == sorted(a or b for a, b in chances[1])
        assert not re.search(r"[\u4e00-\u9fff]", english)


def test_a_placebo_is_one_line(reading: Reading, tables: Tables, shop_of: Made) -> None:
    pilot = {"categories": ["apparel", "beauty", "sports_outdoors"], "starts_on": START, "placebo": True}
    shop = shop_of(tables, pilot=pilot)
    for language in LANGUAGES:
        for make in SECTIONS.values():
            section = make(replace(reading, shop=shop, words=Words(language, placebo=True)))
            assert len(section.parts) == 1
            assert "sk-absent" in html(section)
            assert re.search("no pilot ran here|这里没有试点", html(section), re.IGNORECASE)
            assert not re.search(r"\d", re.sub("<[^>]+>", "", html(section)))


def test_every_metric_has_a_name() -> None:
    assert not [name for name in METRICS if f"metric_{name}" not in catalogue()]


def test_without_support_table_money_is_one_line_and_doubts_say_what_is_unknown(
    reading: Reading, tables: Tables, shop_of: Made
) -> None:
    given = {name: frame for name, frame in tables.items() if name != "support"}
    reading = replace(reading, shop=shop_of(given), study="", supported=None)
    assert [str(part) for part in money(reading).parts] == [
        "Money: Money is not followed: this data set has no support table, so supported merchants and the cost are not known."
    ]
    assert merchants_break(reading) is None
    assert "<dd>Not known: the data hold no study of merchants" in html(doubts(reading))
    assert "rivals" not in read_declared(reading).results
    assert "No data for: GMV of other merchants, Complaints per order, Search sessions." in html(declared(reading))


def test_hostile_names_stay_text(tables: Tables, shop_of: Made) -> None:
    renamed = {name: frame.replace({"category": {"beauty": HOSTILE, "toys": f"{HOSTILE} 2"}}) if "category" in frame else frame
               for name, frame in tables.items()}  # fmt: skip
    pilot = {"categories": ["apparel", HOSTILE, "sports_outdoors"], "starts_on": START}
    reading = sk.report.read_week(shop_of(renamed, pilot=pilot))
    for section in (make(reading) for make in SECTIONS.values()):
        assert "<script" not in html(section)
    assert "&lt;script&gt;" in html(doubts(reading)) + html(categories(reading))
