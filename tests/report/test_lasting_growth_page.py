"""The page on growth that lasts: both languages tell the same numbers, and what is absent is one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.report import lasting_growth_page as page
from strategy_kit.report import read_week, review
from strategy_kit.report.blocks import Block
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.report import Section

SECTIONS = (page.ladder, page.subsidised, page.festivals, page.survival, page.new_products, page.typical)
NEEDS = {page.ladder: "platform_subsidy", page.subsidised: "refund_amount", page.new_products: "sku_id"}
PERCENT = re.compile(r"[+−]?\d[\d.,]*%")


def shown(section: Section) -> str:
    parts = (part.html if isinstance(part, Block) else json.dumps(part.to_dict()) for part in section.parts)
    return " ".join(parts)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    folder = tmp_path_factory.mktemp("page") / "hollow"
    return sk.open_dataset(simulate(folder, seed=3, merchants=150, weeks=78, world=World(hollow_growth=1.0)))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_both_languages_tell_the_same_percentages(section: object, market: sk.Dataset) -> None:
    told = []
    for language in ("en", "zh"):
        text = shown(section(review.open_review(market, None, language, "month")))  # type: ignore[operator]
        told.append(sorted(PERCENT.findall(text)))
    assert told[0] == told[1]
    assert told[0], "the section shows a share"


def test_titles_say_that_a_description_is_none_of_an_effect(market: sk.Dataset) -> None:
    read = review.open_review(market, None, "en", "month")
    text = shown(page.subsidised(read))
    assert "description, not an effect" in text
    assert re.search(r"Later orders of buyers whose first order was subsidised: −\d+%", text)
    assert "left out" in text.lower()


def test_the_answer_adds_up_to_the_whole(sample: Path) -> None:
    sentence = page.answer(read_week(sk.open_dataset(sample), "2025-W30"))
    shares = [int(share) for share in re.findall(r"(\d+)%", sentence)]
    assert len(shares) == 4
    assert abs(sum(shares) - 100) <= 2  # four shares are rounded to whole percents
    told = page.answer(read_week(sk.open_dataset(sample), "2025-W30", "zh"))
    assert sorted(re.findall(r"\d+%", told)) == sorted(re.findall(r"\d+%", sentence))


def test_sections_without_their_columns_are_one_line_that_names_them(sample: Path) -> None:
    lines = pd.read_parquet(sample / "order_lines.parquet")
    bare = lines.drop(columns=["platform_subsidy", "refund_amount", "status"])
    shop = sk.dataset_from_frames(bare, pd.read_parquet(sample / "merchants.parquet"), timezone="UTC", currency="CNY")
    for language in ("en", "zh"):
        read = review.open_review(shop, None, language, "month")  # type: ignore[arg-type]
        for section, column in (
            (page.ladder, "platform_subsidy"),
            (page.subsidised, "refund_amount"),
            (page.new_products, "sku_id"),
        ):
            made = section(read)
            assert len(made.parts) == 1
            assert column in shown(made)
