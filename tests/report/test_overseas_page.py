"""The page on the overseas plan: parts add up, both languages tell the same, what is absent is one line, nobody is named."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did, overseas
from strategy_kit.report import audience, overseas_trade, read_week
from strategy_kit.report import overseas_page as page
from strategy_kit.report.blocks import Block
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.dataset import Dataset
    from strategy_kit.report import Reading, Section

SECTIONS = (page.joining, page.split, page.currency, page.margin, page.overlap, page.naive)
NUMBER = re.compile(r"[+−]\d[\d.,]*%?|\d[\d.,]*%")
COINS = {"domestic": ("CNY", 1.0), "SG": ("SGD", 5.4), "MY": ("MYR", 1.6), "KR": ("KRW", 0.005), "JP": ("JPY", 0.05),
         "AU": ("AUD", 4.7)}  # fmt: skip


def shown(section: Section) -> str:
    """What a section says, chances in percent as Chinese writes them."""
    words = [part.html if isinstance(part, Block) else " ".join(told(part)) for part in section.parts]
    return re.sub(r"(\d+) in 100", r"\1%", re.sub(r"<[^>]*>", " ", " ".join(words)))


def told(chart: object) -> list[str]:
    """Title, subtitle and caption of a chart, and the table behind it."""
    meta = json.loads(json.dumps(chart.to_dict()["usermeta"]))  # type: ignore[attr-defined]
    return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in meta.values()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("o") / "market", seed=2, merchants=300, weeks=44, world=World(overseas=1))


def rich(folder: Path) -> Dataset:
    """The market with fees, currencies whose rates rise, a cost of joining, and domestic support for some joiners."""
    known = sk.open_dataset(folder)
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("order_lines", "merchants", "support")}
    lines, support = frames["order_lines"], frames["support"]
    coin = lines["market"].astype(str).map(COINS)
    day = (pd.to_datetime(lines["paid_at"]).dt.tz_localize(None) - pd.Timestamp(known.data_from)).dt.days
    rate = coin.str[1].astype(float) * np.where(coin.str[0] == "CNY", 1.0, 1 + 0.2 * day / 365)
    money = {name: lines[name].astype(float) / rate for name in ("amount", "platform_subsidy", "list_amount")}
    lines = lines.drop(columns=["refund_amount", "refunded_at"], errors="ignore").assign(
        **money, currency=coin.str[0], fx_rate=rate
    )
    frames["order_lines"] = lines.assign(platform_fee=0.06 * lines["amount"])
    joined = support["lever"] == overseas.LEVER
    more = support[joined].iloc[::4].assign(lever="display")
    support = support.assign(cost=support["cost"].astype(float).mask(joined, 300.0))
    frames["support"] = pd.concat([support, more.assign(cost=100.0)], ignore_index=True)
    about: dict[str, Any] = {"timezone": "Asia/Shanghai", "currency": "CNY", "pilot": known.pilot.starts}
    return sk.dataset_from_frames(**frames, **about, data_from=known.data_from, data_through=known.data_through)


@pytest.fixture(scope="module")
def readings(folder: Path) -> dict[str, Reading]:
    shop = rich(folder)
    return {language: read_week(shop, None, language) for language in ("en", "zh")}


@pytest.fixture(scope="module")
def bare(sample: Path) -> dict[str, Reading]:
    return {language: read_week(sk.open_dataset(sample), "2025-W30", language) for language in ("en", "zh")}


def test_every_section_shows_what_the_library_finds(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    window = page._window(reading)
    panel = overseas.among_joiners(overseas.joiners_panel(reading.shop, **window))
    share = did.poisson_saturated(panel).average[0]
    joining = shown(page.joining(reading))
    assert f"{100 * share:+.1f}%".replace("-", "−") in joining
    assert "against merchants that join later" in joining
    assert "against all others" in joining.lower()
    grown = overseas.naive_growth(reading.shop, **window).set_index("group")["growth"]
    naive = shown(page.naive(reading))
    assert f"{100 * grown['joiners']:+.1f}%".replace("-", "−") in naive
    assert f"{100 * share:+.1f}%".replace("-", "−") in naive
    sales = overseas_trade._months(reading)
    split = overseas.growth_split(sales).iloc[0]
    currency = shown(page.currency(reading))
    assert f"{100 * split['growth_constant']:+.1f}%".replace("-", "−") in currency
    assert "at constant rates" in currency


def test_the_split_on_the_page_adds_up(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    for panels in (overseas.sales_panels, overseas.margin_panels):
        found = page.compared(reading, panels(reading.shop, **page._window(reading)))
        value = {name: study.average[0] for name, study in found.studies.items()}
        assert value["total"] == pytest.approx(value["domestic"] + value["overseas"], abs=1e-9)
        assert value["overseas"] != 0


def test_no_claim_about_joining_is_more_than_may(readings: dict[str, Reading]) -> None:
    for section in (page.joining, page.split, page.margin, page.naive):
        assert not re.search(r"(?<!have )\b(rose|fell) by", shown(section(readings["en"]))), section.__name__


def test_the_stacked_bars_are_the_effects_by_week(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    found = page.compared(reading, overseas.sales_panels(reading.shop, **page._window(reading)))
    spec = page._stacked(reading, found).to_dict()
    drawn = next(pd.DataFrame(rows) for rows in spec["datasets"].values() if "part" in rows[0])
    drawn = drawn.assign(height=drawn["top"] - drawn["bottom"], week=((drawn["age"] + drawn["until"]) / 2).round())
    height = drawn.pivot_table(index="week", columns="part", values="height", aggfunc="sum")
    tidy = {name: study.tidy().set_index("age") for name, study in found.studies.items()}
    kept = tidy["total"].index[(tidy["total"]["n_units"] >= page.FEWEST) & (tidy["total"].index >= -page.AGES_BEFORE)]
    assert sorted(height.index) == sorted(kept)
    assert height["filled"].to_numpy() == pytest.approx(tidy["overseas"].loc[height.index, "estimate"].to_numpy())
    assert height["hollow"].to_numpy() == pytest.approx(tidy["domestic"].loc[height.index, "estimate"].to_numpy())


def numbers(section: Section) -> list[str]:
    """Percentages and signed amounts by their digits, as English counts in thousands and Chinese in ten thousands."""
    text = re.sub("[¥\u2060]", "", shown(section)).replace("50, 80 and", "50%, 80% and")
    return sorted(re.sub("[.,]", "", number) for number in NUMBER.findall(text))


def test_both_languages_tell_the_same_numbers(readings: dict[str, Reading]) -> None:
    for section in SECTIONS:
        found = [numbers(section(readings[language])) for language in ("en", "zh")]
        assert found[0] == found[1], section.__name__
        assert len(found[0]) > 5


def test_few_merchants_are_masked_and_counted(readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    reading = readings["en"]
    table = overseas.overlap_panels(reading.shop, **page._window(reading, every_lever=True))[1]
    both = int(table.loc[table["overseas"] & table["domestic"], "merchants"].iloc[0])
    assert both > 0
    for module in (page, audience):
        monkeypatch.setattr(module, "FEWEST", both + 1)
    assert f"&lt; {both + 1}" in shown(page.overlap(reading))
    assert "cannot be told" in shown(page.overlap(reading))
    sold = overseas.markets(reading.shop, **overseas_trade._weeks(reading))["merchants"]
    monkeypatch.setattr(overseas_trade, "FEWEST", int(sold.min()) + 1)
    hidden = int((sold <= sold.min()).sum())
    assert f"{hidden} market" in shown(page.currency(reading))
    monkeypatch.setattr(overseas_trade, "FEWEST", 1000)
    assert "so few are not shown" in shown(page.currency(reading))


def test_what_is_absent_is_one_line_that_names_it(folder: Path, bare: dict[str, Reading]) -> None:
    plain = read_week(sk.open_dataset(folder), None, "en")
    assert "needs order_lines.currency, order_lines.fx_rate" in shown(page.currency(plain))
    for language, needed in (("en", "has the lever"), ("zh", "没有使用手段")):
        for section in (page.joining, page.split, page.naive):
            found = section(bare[language])
            assert len(found.parts) == 1
            assert needed in shown(found)
    assert "nobody is in it" in shown(page.overlap(bare["en"]))


def test_where_all_join_at_once_the_page_compares_with_all_others_and_says_so(folder: Path) -> None:
    known = sk.open_dataset(folder)
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("order_lines", "merchants", "support")}
    support = frames["support"]
    joined = support["lever"] == overseas.LEVER
    once = support["started_on"].mask(joined, support.loc[joined, "started_on"].min())
    frames["support"] = support.assign(started_on=once, announced_on=once, ended_on=pd.NaT)
    about: dict[str, Any] = {"timezone": "Asia/Shanghai", "currency": "CNY", "pilot": known.pilot.starts}
    shop = sk.dataset_from_frames(**frames, **about, data_from=known.data_from, data_through=known.data_through)
    told_of = {language: shown(page.joining(read_week(shop, None, language))) for language in ("en", "zh")}
    assert "holds that growth as well" in told_of["en"]
    assert "against merchants that join later" not in told_of["en"]
    assert "也包含自身增长" in told_of["zh"]


def test_nobody_is_named(readings: dict[str, Reading]) -> None:
    merchants = readings["en"].shop.engine.frame("select merchant_id from merchants")["merchant_id"]
    text = " ".join(shown(section(readings["en"])) for section in SECTIONS)
    assert not set(re.findall(r"m\d{5}", text)) & set(merchants)


def test_the_notebook_runs_where_nobody_joined(sample: Path, tmp_path: Path) -> None:
    found = sk.report.run("overseas", data=sample, week="2025-W30", out=tmp_path)
    html = next(tmp_path.rglob("overseas.html")).read_text(encoding="utf-8")
    assert "has the lever" in html
    assert found
