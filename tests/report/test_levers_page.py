"""The page on levers: titles follow the numbers, both languages tell the same, what is absent is one line, nobody is named."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

import strategy_kit as sk
from strategy_kit import did, levers
from strategy_kit.errors import ParameterError
from strategy_kit.report import levers_page as page
from strategy_kit.report import levers_worth, read_week
from strategy_kit.report.blocks import Block
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from strategy_kit.report import Reading, Section

SECTIONS = (page.funnel, page.overlap, page.returns, page.concentration, page.needs)
MONEY = re.compile(r"[+−]?\u2060?¥[\d.,]+(\xa0[a-z]+)?|[+−]?[\d.,]+\xa0?[万亿]?元")
"""Amounts, which Chinese scales by ten thousand."""
NUMBER = re.compile(r"[+−]?\d[\d.,]*%|[+−]?\d+\.\d+")


def shown(section: Section) -> str:
    """What a section says, chances in percent as Chinese writes them."""
    words = [part.html if isinstance(part, Block) else " ".join(told(part)) for part in section.parts]
    text = MONEY.sub("", re.sub(r"<[^>]*>", " ", " ".join(words)))
    return re.sub(r"(\d+) in 100", r"\1%", text)


def told(chart: Any) -> list[str]:
    """Title, subtitle and caption of a chart, and the table behind it."""
    meta = json.loads(json.dumps(chart.to_dict()["usermeta"]))
    return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in meta.values()]


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reading]:
    folder = tmp_path_factory.mktemp("levers") / "market"
    simulate(folder, seed=2, merchants=1200, weeks=40, world=World(lever_funnel=1))
    return {language: read_week(sk.open_dataset(folder), None, language) for language in ("en", "zh")}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bare(sample: Path) -> dict[str, Reading]:
    return {language: read_week(sk.open_dataset(sample), "2025-W30", language) for language in ("en", "zh")}  # type: ignore[arg-type]


def test_titles_follow_the_numbers(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    found = levers.windows(reading.shop, since=reading.totals.periods[0].date(), through=reading.monday)
    orders = levers.funnel(found).tidy().set_index(["bundle", "step"])["estimate"]
    said = shown(page.funnel(reading))
    for lever in ("display", "marketing", "service"):
        size = 100 * orders[(lever, "orders")]
        assert f"orders {'+' if size > 0 else '−'}{abs(size):.1f}" in said
        assert re.search(rf"{lever}: (may have|shows no clear change|cannot be judged)", said)
    back = levers.returns(found).tidy().set_index("bundle")["estimate"]
    title = str(page.returns(reading))
    assert all(f"{name} {back[name]:.2f} (" in title for name in ("display", "marketing", "service"))
    area = levers.concentration(found, level=reading.level).area["estimate"][0]
    assert f"diagonal {'+' if area > 0 else '−'}{abs(area):.2f}" in shown(page.concentration(reading))


def test_needs_follow_the_ranks(readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    reading = readings["en"]
    assert "Among small merchants" in str(page.needs(reading))

    first = did.rank_intervals(levers.sales(levers_worth.summed(reading, ("sales",)), size_band="small"))
    best = first.sort_values("rank")["bundle"].iloc[0]
    monkeypatch.setattr(levers_worth.did, "rank_intervals", lambda effects, level: sure_of(effects, level, first))
    assert f"Among small merchants, {best} went with the largest change of sales" in str(page.needs(reading))


def sure_of(effects: Any, level: float, ranks: pd.DataFrame) -> pd.DataFrame:
    """Ranks without doubt."""
    del effects, level
    return ranks.assign(rank_low=ranks["rank"], rank_high=ranks["rank"])


def test_both_languages_tell_the_same_numbers(readings: dict[str, Reading]) -> None:
    for section in SECTIONS:
        found = [sorted(NUMBER.findall(shown(section(readings[language])))) for language in ("en", "zh")]
        assert found[0] == found[1], section.__name__
        assert found[0] or section is page.overlap


def test_the_answer_is_one_short_sentence(readings: dict[str, Reading], bare: dict[str, Reading]) -> None:
    for found in (readings, bare):
        english = page.answer(found["en"])
        assert len(english.split()) <= 45
        assert english.count(". ") == 0
        assert english.endswith(".")
        numbers = [NUMBER.findall(page.answer(found[language])) for language in ("en", "zh")]
        assert numbers[0] == numbers[1]
    assert "display" in page.answer(readings["en"])


def test_without_traffic_the_rest_stands(bare: dict[str, Reading]) -> None:
    found = page.funnel(bare["en"])
    assert "Share of repeat buyers of merchants with one lever" in str(found)
    assert "impressions cannot be summed without traffic.impressions" in shown(found)
    assert "缺少 traffic.impressions" in shown(page.funnel(bare["zh"]))


def test_without_support_each_section_is_one_line(sample: Path) -> None:
    shop = sk.open_dataset(sample)
    frames = {name: shop.engine.frame(f"select * from {name}") for name in ("order_lines", "merchants")}
    alone = sk.dataset_from_frames(
        **frames, timezone="Asia/Shanghai", currency="CNY", pilot=shop.pilot, data_from=shop.data_from,
        data_through=shop.data_through,
    )  # fmt: skip
    reading = read_week(alone, "2025-W30")
    for section in SECTIONS:
        found = section(reading)
        assert len(found.parts) == 1
        assert "needs the table support" in str(found)
    assert "needs the table support" in page.answer(reading)


def test_no_cell_of_few_merchants_is_shown_and_nobody_is_named(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    pairs = levers.overlap(reading.shop, through=reading.monday)
    few = pairs[pairs["only_these"].between(1, 9)]
    assert len(few)
    assert "< 10" in shown(page.overlap(reading))
    merchants = reading.shop.engine.frame("select merchant_id from merchants")["merchant_id"]
    text = " ".join(shown(section(reading)) for section in SECTIONS)
    assert not set(re.findall(r"m\d{5}", text)) & set(merchants)


def test_the_notebook_runs_where_traffic_is_absent(sample: Path, tmp_path: Path) -> None:
    sk.report.run("levers", data=sample, week="2025-W30", out=tmp_path)
    html = next(tmp_path.rglob("levers.html")).read_text(encoding="utf-8")
    assert "cannot be summed without traffic.impressions" in html


def test_a_size_that_nobody_has_is_refused(whole_market: Path) -> None:
    reading = read_week(sk.open_dataset(whole_market))
    with pytest.raises(ParameterError, match=r"band is one of large, middle, small, not 'smal' .did you mean 'small'"):
        page.needs(reading, "smal")
