"""The page on the next category: words follow the ranking, in both languages, and what cannot be ranked is one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

import strategy_kit as sk
from strategy_kit.report import next_category_page as page
from strategy_kit.report import read_week
from strategy_kit.report.blocks import Block

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.report import Reading, Section

SECTIONS = (page.value, page.learning, page.design)
NUMBER = re.compile(r"[+−]?\d[\d.,]*%")


def shown(section: Section) -> str:
    """What a section says, chances in percent as Chinese writes them."""
    parts = (part.html if isinstance(part, Block) else json.dumps(part.to_dict()) for part in section.parts)
    return re.sub(r"(\d+) in 100", r"\1%", " ".join(parts))


@pytest.fixture(scope="module")
def readings(sample: Path) -> dict[str, Reading]:
    return {language: read_week(sk.open_dataset(sample), "2025-W30", language) for language in ("en", "zh")}  # type: ignore[arg-type]


def test_titles_name_the_first_of_each_ranking(readings: dict[str, Reading]) -> None:
    found = page.ranked(readings["en"])
    assert not isinstance(found, str)
    say = readings["en"].words
    value, learning, design = (str(section(readings["en"])).splitlines()[0] for section in SECTIONS)
    assert value.startswith(f"Value: {say.label(found['category'].iloc[0])} comes first by size")
    teacher = found.sort_values("rank_learning")["category"].iloc[0]
    assert learning.startswith(f"Learning: A pilot in {say.label(teacher)} would teach most")
    assert design == "Next wave: 3 pairs of candidates, one of each started by lot: 8 ways the lots could have fallen"
    assert say.label(teacher) in page.answer(readings["en"])


def test_both_languages_tell_the_same_numbers(readings: dict[str, Reading]) -> None:
    for section in SECTIONS:
        told = [sorted(NUMBER.findall(shown(section(readings[language])))) for language in ("en", "zh")]
        assert told[0] == told[1]
        assert told[0]


def test_the_seed_draws_the_wave(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    drawn = {page.design(reading, seed=seed).parts[1].html for seed in range(8)}
    assert len(drawn) > 1
    assert page.design(reading, seed=3).parts[1].html == page.design(reading, seed=3).parts[1].html


def test_pilots_that_predict_nothing_are_one_line(sample: Path) -> None:
    shop = sk.open_dataset(sample)
    frames = {name: shop.engine.frame(f"select * from {name}") for name in ("order_lines", "merchants")}
    pilot = {name: shop.pilot.starts[name] for name in ("apparel", "beauty")}
    two = sk.dataset_from_frames(**frames, pilot=pilot, timezone="UTC", currency="CNY",
                                 data_from=shop.data_from, data_through=shop.data_through)  # fmt: skip
    reading = read_week(two, "2025-W30", "zh")
    assert page.answer(reading) == "无法给候选类目排序：现有试点推不出其他类目的效果。"
    for section in SECTIONS:
        assert len(section(reading).parts) == 1


def test_sales_without_a_category_are_no_candidate(
    readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = page.planning.candidates

    def renamed(*given: object, **more: object) -> object:
        found = real(*given, **more)  # type: ignore[arg-type]
        return found.assign(category=found["category"].replace("appliances", "unknown"))

    monkeypatch.setattr(page.planning, "candidates", renamed)
    monkeypatch.setattr(page, "merchants_of", lambda _: dict.fromkeys(["unknown", "electronics", "jewellery"], 99))
    found = page.ranked(readings["en"])
    assert not isinstance(found, str)
    assert set(found["category"]) == {"electronics", "jewellery"}
