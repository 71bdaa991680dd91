"""The page on prices: titles follow the numbers, both languages tell the same, and what is absent is one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

import strategy_kit as sk
from strategy_kit import prices
from strategy_kit.report import prices_page as page
from strategy_kit.report import read_week
from strategy_kit.report.blocks import Block
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.report import Reading, Section

SECTIONS = (page.index, page.fairness, page.discount, page.drift)
NUMBER = re.compile(r"[+−]?\d[\d.,]*%|[+−]?\d+\.\d+")


def shown(section: Section) -> str:
    """What a section says, chances in percent as Chinese writes them."""
    words = [part.html if isinstance(part, Block) else " ".join(told(part)) for part in section.parts]
    return re.sub(r"(\d+) in 100", r"\1%", re.sub(r"<[^>]*>", " ", " ".join(words)))


def told(chart: object) -> list[str]:
    """Title, subtitle and caption of a chart, and the table behind it."""
    meta = json.loads(json.dumps(chart.to_dict()["usermeta"]))  # type: ignore[attr-defined]
    return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in meta.values()]


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reading]:
    folder = simulate(
        tmp_path_factory.mktemp("p") / "market", seed=2, merchants=200, weeks=40, world=World(price_drift=1)
    )
    return {language: read_week(sk.open_dataset(folder), None, language) for language in ("en", "zh")}


@pytest.fixture(scope="module")
def bare(sample: Path) -> dict[str, Reading]:
    return {language: read_week(sk.open_dataset(sample), "2025-W30", language) for language in ("en", "zh")}


def test_titles_follow_the_numbers(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    index = prices.price_index(reading.shop, since=reading.totals.periods[0].date(), through=reading.monday)
    end = index.groupby("group")["geks"].last() - 1
    told = str(page.index(reading))
    assert f"{100 * abs(end['pilot']):.1f}% in the pilot categories" in told
    shares = prices.quadrants(reading.shop, since=reading.totals.cohorts.min().date(), through=reading.monday)
    share = shares.set_index(["side", "quality", "price"])["share"]
    expected = "Good goods at a fair price: {:.0%} of supported merchants' products, {:.0%} beside them"
    assert expected.format(*(share[(side, "good", "fair")] for side in ("supported", "beside"))) in str(
        page.fairness(reading)
    )
    value = page._study(reading).average[0]
    drift = str(page.drift(reading))
    assert re.search(rf"price against the market (fell|may have fallen).* by {100 * -np.expm1(value):.1f}%", drift)
    assert "Judged by categories" in drift


def test_both_languages_tell_the_same_numbers(readings: dict[str, Reading]) -> None:
    for section in SECTIONS:
        found = [sorted(NUMBER.findall(shown(section(readings[language])))) for language in ("en", "zh")]
        assert found[0] == found[1], section.__name__
        assert len(found[0]) > 5


def test_no_side_of_few_merchants_is_shown(readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    reading = readings["en"]
    monkeypatch.setattr(page, "FEWEST", 45)
    assert "so few are not shown" in str(page.fairness(reading))
    assert "so few are not shown" in str(page.drift(reading))
    assert "so few are not shown" in page.answer(reading)


def test_the_answer_is_one_short_sentence(readings: dict[str, Reading], bare: dict[str, Reading]) -> None:
    for found in (readings, bare):
        english = page.answer(found["en"])
        assert len(english.split()) <= 45
        assert english.count(". ") == 0
        assert english.endswith(".")
        numbers = [
            NUMBER.findall(re.sub(r"(\d+) in 100", r"\1%", page.answer(found[language]))) for language in ("en", "zh")
        ]
        assert numbers[0] == numbers[1]
    assert "needs the table prices" in page.answer(bare["en"])
    assert "需要 prices 表" in page.answer(bare["zh"])


def test_without_the_table_a_section_is_one_line_and_discounts_stay(bare: dict[str, Reading]) -> None:
    for section in (page.index, page.fairness, page.drift):
        found = section(bare["en"])
        assert len(found.parts) == 1
        assert "needs the table prices" in str(found)
    discount = page.discount(bare["en"])
    assert "Discount depth in the pilot categories" in str(discount)
    assert "needs the table prices" in str(discount)


def test_nobody_is_named(readings: dict[str, Reading]) -> None:
    merchants = readings["en"].shop.engine.frame("select merchant_id from merchants")["merchant_id"]
    text = " ".join(shown(section(readings["en"])) for section in SECTIONS)
    assert not set(re.findall(r"m\d{5}", text)) & set(merchants)
    assert not re.search(r"\bs\d{7}\b", text)


def test_the_notebook_runs_where_the_table_is_absent(sample: Path, tmp_path: Path) -> None:
    found = sk.report.run("prices", data=sample, week="2025-W30", out=tmp_path)
    html = next(tmp_path.rglob("prices.html")).read_text(encoding="utf-8")
    assert "needs the table prices" in html
    assert found
