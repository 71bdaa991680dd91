"""The page on the whole web: titles follow the numbers, both languages tell the same, and what is absent is one line."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import charts, did, formats, whole_web
from strategy_kit.errors import ParameterError
from strategy_kit.report import Reading, read_week
from strategy_kit.report import whole_web_growth as growth
from strategy_kit.report import whole_web_page as page
from strategy_kit.report.blocks import Block
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.report import Section

SECTIONS = (page.wallet, page.entry, growth.pass_through, growth.advertising)
NUMBER = re.compile(r"[+−]?\d[\d.,]*%|[+−]?\d+\.\d+")


def shown(section: Section) -> str:
    """What a section says, chances in percent as Chinese writes them, without amounts, whose scale follows the language."""
    words = [part.html if isinstance(part, Block) else " ".join(told(part)) for part in section.parts]
    text = re.sub(r"<[^>]*>", " ", " ".join(words))
    text = re.sub(r"(\d+) in 100", r"\1%", text)
    return re.sub(r"¥[\d.,]+", "¥", text)


def told(chart: object) -> list[str]:
    """Title, subtitle and caption of a chart, and the table behind it."""
    meta = json.loads(json.dumps(chart.to_dict()["usermeta"]))  # type: ignore[attr-defined]
    return [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in meta["strategy_kit"].values()
    ]


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reading]:
    world = World(multi_homing=1, advertising=1)
    folder = simulate(tmp_path_factory.mktemp("web") / "market", seed=2, merchants=240, weeks=66, world=world)
    return {language: read_week(sk.open_dataset(folder), None, language) for language in ("en", "zh")}


@pytest.fixture(scope="module")
def bare(sample: Path) -> dict[str, Reading]:
    return {language: read_week(sk.open_dataset(sample), "2025-W30", language) for language in ("en", "zh")}


def test_titles_follow_the_numbers(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    split = whole_web.growth_split(whole_web.wallet(reading.shop, "all"), months=12).iloc[-1]
    before, after = (f"{split[name]:.1%}" for name in ("share_before", "share_after"))
    assert f"{after} of these merchants' total passes through us, {before} 12 months before" in str(
        page.wallet(reading)
    )
    slope = whole_web.pass_through(whole_web.changes(reading.shop)).average[0]
    assert "here in the same month" in str(growth.pass_through(reading))
    assert f"grows by {100 * (1.1**slope - 1):+.1f}%".replace("-", "−") in str(growth.pass_through(reading))
    total = whole_web.advertising_response(whole_web.advertisers(reading.shop)).average[0]
    assert f"goes with {100 * (1.1**total - 1):+.1f}% sales here" in str(growth.advertising(reading)).replace("−", "-")
    assert re.search("monthly turnover here (may have|shows no clear change|cannot)", str(page.entry(reading)))


def test_diversion_and_percent_are_as_wide_as_the_reading(
    readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = readings["en"]
    panels = whole_web.entry_panels(reading.shop, through=reading.sunday)
    fits = {name: did.overall(did.group_time(panel, control="not_yet")) for name, panel in panels.items()}
    told = []
    for wide in (1.0, 3.0):
        monkeypatch.setattr(Reading, "widening", wide)
        told.append((page._diverted(reading, fits), page._in_percent(reading, panels["on_platform"]).html))
    row: Any = did.poisson_saturated(panels["on_platform"]).glance(reading.level).iloc[0]
    assert formats.percent(row["conf_low"], signed=True) in told[0][1]  # a single look is read by the law of the fit
    assert formats.percent(row["conf_high"], signed=True) in told[0][1]
    assert told[0][0] != told[1][0]
    assert told[0][1] != told[1][1]


def test_a_failed_placebo_takes_the_title(readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "DOUBTED", 1.0)
    assert "cannot be judged: sales here move before it" in str(growth.advertising(readings["en"]))


def test_both_languages_tell_the_same_numbers(readings: dict[str, Reading]) -> None:
    for section in SECTIONS:
        found = [sorted(NUMBER.findall(shown(section(readings[language])))) for language in ("en", "zh")]
        assert found[0] == found[1], section.__name__
        assert len(found[0]) > 5


def test_source_and_confidence_stand_under_every_chart(readings: dict[str, Reading]) -> None:
    for section in SECTIONS:
        figures = [part for part in section(readings["en"]).parts if not isinstance(part, Block)]
        assert figures
        for figure in figures:
            under = figure.to_dict()["usermeta"]["strategy_kit"]["caption"]
            assert re.search(
                r"estimates: panel estimate; by confidence of their amount high \d+%, medium \d+%, low \d+%", under
            )


def test_no_cell_of_few_merchants_is_shown(readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    reading = readings["en"]
    monkeypatch.setattr("strategy_kit.whole_web.share.FEWEST", 20)  # the large are fewer
    split = whole_web.growth_split(whole_web.wallet(reading.shop), months=12)
    assert set(split["group"]) == {"small", "middle"}
    drawn = page._bands(reading, 12)
    assert "2 size bands" in " ".join(told(drawn))  # with one hidden, the total would give it away
    assert {row["name"] for rows in drawn.to_dict()["datasets"].values() for row in rows if "name" in row} == {"small"}
    monkeypatch.setattr(page, "FEWEST", 500)
    assert "fewer than 500 merchants" in str(page.entry(reading))


def test_later_months_are_not_looked_at(readings: dict[str, Reading]) -> None:
    early = read_week(readings["en"].shop, "2025-W21")
    months = whole_web.wallet(early.shop, "all", through=early.sunday)["month"]
    assert months.max() == pd.Timestamp("2025-04-01")


def test_the_answer_is_one_short_sentence(readings: dict[str, Reading], bare: dict[str, Reading]) -> None:
    for found in (readings, bare):
        start = time.process_time()
        english = page.answer(found["en"])
        assert time.process_time() - start < 2  # of a small market
        assert len(english.split()) <= 45
        assert english.count(". ") == 0
        assert english.endswith(".")
        numbers = [NUMBER.findall(page.answer(found[language])) for language in ("en", "zh")]
        assert numbers[0] == numbers[1]
    assert "passes through us" in page.answer(readings["en"])
    assert "needs the table offplatform_sales" in page.answer(bare["en"])
    assert "需要 offplatform_sales 表" in page.answer(bare["zh"])


def test_without_the_table_each_section_is_one_line(bare: dict[str, Reading]) -> None:
    for section in SECTIONS:
        for language, words in {"en": "needs the table offplatform_sales", "zh": "需要 offplatform_sales 表"}.items():
            found = section(bare[language])
            assert len(found.parts) == 1
            assert words in str(found)


def test_nobody_is_named(readings: dict[str, Reading]) -> None:
    merchants = readings["en"].shop.engine.frame("select merchant_id from merchants")["merchant_id"]
    text = " ".join(json.dumps(part.to_dict()) if hasattr(part, "to_dict") else part.html
                    for section in SECTIONS for part in section(readings["en"]).parts)  # fmt: skip
    assert not set(re.findall(r"m\d{5}", text)) & set(merchants)


def test_the_notebook_runs_where_the_table_is_absent(sample: Path, tmp_path: Path) -> None:
    assert sk.report.run("whole_web", data=sample, week="2025-W30", out=tmp_path)
    html = next(tmp_path.rglob("whole_web.html")).read_text(encoding="utf-8")
    assert html.count("needs the table offplatform_sales") >= len(SECTIONS)


# charts


def test_share_and_level_starts_at_100_and_ends_where_the_total_does() -> None:
    split = pd.DataFrame({"group": ["a", "b"], "total_before": [50.0, 10.0], "total_after": [60.0, 9.0]})
    split = split.assign(share_before=[0.9, 0.8], share_after=[0.85, 0.849], text=["85%", "84.9%"])
    chart: Any = charts.share_and_level(split, labels={"a": "small"})
    rows = [row for rows in chart.to_dict()["datasets"].values() for row in rows if "at" in row]
    ends = {(row["name"], row["at"]): (row["level"], row["share"]) for row in rows}
    assert ends[("small", 0)] == (100.0, 0.9)
    assert ends[("small", 1)] == pytest.approx((120.0, 0.85))
    assert ends[("b", 1)] == pytest.approx((90.0, 0.849))
    assert chart.description.endswith("small 90% to 85%, total 100 to 120; b 80% to 85%, total 100 to 90.")
    with pytest.raises(ParameterError, match="lacks 'text'"):
        charts.share_and_level(split.drop(columns="text"))


def test_growth_together_has_both_axes_alike_and_a_shape_a_group() -> None:
    bins = pd.DataFrame(
        {"group": ["a", "a", "b"], "total": [-0.5, 0.2, 0.1], "on_platform": [-0.9, 0.4, 0.1], "merchants": 10}
    )
    spec: Any = charts.growth_together(bins).to_dict()
    domains = [enc["scale"]["domain"] for layer in spec["layer"] for name, enc in layer.get("encoding", {}).items()
               if name in ("x", "y") and "scale" in enc]  # fmt: skip
    assert domains
    assert all(np.allclose(domain, [-0.972, 0.972]) for domain in domains)
    shapes = [layer["encoding"]["shape"]["scale"] for layer in spec["layer"] if "shape" in layer.get("encoding", {})]
    assert shapes == [{"domain": ["a", "b"], "range": ["circle", "square"]}]
