"""The page on platform health: its words follow the numbers in both languages, and what has no data is one line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import platform_health
from strategy_kit.report import platform_health_page as page
from strategy_kit.report import platform_outlook as outlook
from strategy_kit.report import read_week
from strategy_kit.report.blocks import Block
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.report import Reading, Section

SECTIONS = (page.bridge, page.payback, outlook.long_run, outlook.search, outlook.trust)
NUMBER = re.compile(r"[+−]?\d[\d.,]*%")


def shown(section: Section) -> str:
    """What a section says, chances in percent as Chinese writes them."""
    parts = (
        part.html if isinstance(part, Block) else json.dumps(part.to_dict(), ensure_ascii=False)
        for part in section.parts
    )
    return re.sub(r"(\d+) in 100", r"\1%", " ".join(parts))


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reading]:
    folder = simulate(
        tmp_path_factory.mktemp("health") / "health", seed=7, merchants=220, weeks=66, world=World(search_cost=1)
    )
    return {language: read_week(sk.open_dataset(folder), None, language) for language in ("en", "zh")}


@pytest.fixture(scope="module")
def plain(sample: Path) -> Reading:
    return read_week(sk.open_dataset(sample))


def test_titles_follow_the_numbers(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    sums = page.bridged(reading)[0].sum(numeric_only=True)
    change = reading.amount(sums["fees_after"] - sums["fees_before"], signed=True)
    assert str(page.bridge(reading)).startswith(f"Revenue: Platform revenue moved by {change} between ")
    state = page.state_of(reading, page.repaid(reading)[0])
    words = {"not_yet": "Not yet paid back", "cannot_tell": "Whether support", "paid_back": "Paid back"}
    assert str(page.payback(reading)).startswith(f"Payback: {words[state]}")
    assert "surrogacy" in shown(outlook.long_run(reading))
    assert "comparability" in shown(outlook.long_run(reading))
    assert re.match(r"Search: .*: (may have fallen \(\d+ in 100\)|fell) by (9|10)\.\d%", str(outlook.search(reading)))


def test_both_languages_tell_the_same_numbers(readings: dict[str, Reading]) -> None:
    count = 0
    for section in SECTIONS:
        told = [sorted(NUMBER.findall(shown(section(readings[language])))) for language in ("en", "zh")]
        assert told[0] == told[1]
        count += len(told[0])
    assert count > 20


def test_no_merchant_is_named(readings: dict[str, Reading]) -> None:
    text = " ".join(shown(section(readings["en"])) for section in SECTIONS)
    assert not re.search(r"\bm\d{5}\b|\bb\d{7}\b|\bo\d{8}\b", text)


def test_what_has_no_data_is_one_line(plain: Reading) -> None:
    for section, needed in ((outlook.search, "searches.sessions"), (outlook.long_run, "60 complete weeks")):
        parts = section(plain).parts
        assert len(parts) == 1
        assert needed in str(parts[0])
    trust = shown(outlook.trust(plain))
    assert "experience.complaints" in trust
    assert "experience.score" in trust


def test_the_answer_is_one_sentence(plain: Reading, readings: dict[str, Reading]) -> None:
    for reading in (plain, readings["en"]):
        told = page.answer(reading)
        assert told.startswith("Platform revenue moved by ")
        assert len(told.split()) <= 45
        assert told.count(". ") == 0
    assert page.answer(readings["zh"]).startswith("试点以来平台收入变动")


def test_experience_and_complaints_are_told_where_they_are_known(readings: dict[str, Reading]) -> None:
    """Scores that sales follow by two weeks; complaints at a rate that nothing moves."""
    base = readings["en"].shop
    tables = {name: base.engine.frame(f"select * from {name}") for name in ("order_lines", "merchants", "support")}
    weeks = pd.DatetimeIndex(base.complete_periods("week"))
    index = pd.MultiIndex.from_product([tables["merchants"]["merchant_id"], weeks], names=["merchant_id", "week"])
    sold = base.panel("gmv")
    later = np.roll(sold.outcome / sold.outcome.mean(axis=1, keepdims=True).clip(1), -2, axis=1)
    score = (
        pd.DataFrame(later, index=sold.units).reindex(tables["merchants"]["merchant_id"]).fillna(0.0).to_numpy().ravel()
    )
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {"score": 4.5 + 0.1 * score, "complaints": rng.poisson(1, len(index))}, index=index
    ).reset_index()
    pilot = {"categories": list(base.pilot.categories), "starts_on": base.pilot.starts_on}
    shop = sk.dataset_from_frames(**tables, experience=table, timezone="Asia/Shanghai", currency="CNY", pilot=pilot)
    shown_parts = outlook.trust(read_week(shop)).parts
    assert len(shown_parts) == 3
    text = " ".join(str(getattr(part, "description", part)) for part in shown_parts)
    assert "Complaints an order in the pilots" in shown(outlook.trust(read_week(shop)))
    assert re.search(r"One point more of experience score goes with \+[\d,.]+%", text)


def test_payback_is_claimed_no_stronger_than_the_checks_allow(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    curve, study, cost = page.repaid(reading)
    good = platform_health.net_contribution(study, cost.assign(cost=-1e6))
    sound = replace(reading, checks=[replace(check, state="holds") for check in reading.checks])
    limited = replace(reading, checks=[replace(reading.checks[0], state="limits")])
    blocked = replace(reading, checks=[replace(reading.checks[0], state="blocks")])
    assert [page.state_of(read, good) for read in (sound, limited, blocked)] == [
        "paid_back",
        "cannot_tell",
        "cannot_tell",
    ]
    assert page.state_of(blocked, curve) == "cannot_tell"


def test_survival_is_told_as_the_data_stood_in_the_week_of_the_page(readings: dict[str, Reading]) -> None:
    later = readings["en"]
    end = later.monday - pd.Timedelta(weeks=8)
    reading = read_week(later.shop, end)
    lines = later.shop.engine.frame("select * from order_lines")
    cut = lines[pd.to_datetime(lines["paid_at"]) < pd.Timestamp(end) + pd.Timedelta(weeks=1)]
    tables = {name: later.shop.engine.frame(f"select * from {name}") for name in ("merchants", "support")}
    about = {"timezone": "Asia/Shanghai", "currency": "CNY", "data_from": later.shop.data_from}
    then = sk.dataset_from_frames(cut, **tables, **about, data_through=(end + pd.Timedelta(days=6)))
    known = sk.cohort.survival(then)
    told = str(outlook._survival(reading).description)
    last = known[known["at_risk"] >= 10].iloc[-1]
    assert f"{last['survival']:.0%}" in told
    assert f"merchants {last['age']:.0f} " in told
