"""The page on targets: words follow the numbers, in both languages, and what cannot be told is one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did, targets
from strategy_kit.panel import Panel
from strategy_kit.report import read_week
from strategy_kit.report import targets_page as page
from strategy_kit.report.blocks import Block
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.report import Reading, Section

SECTIONS = (page.setting, page.attained, page.fairness, page.gaming, page.floor)
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
    folder = tmp_path_factory.mktemp("page") / "pushed"
    simulate(folder, seed=3, merchants=300, weeks=78, world=World(target_bunching=1))
    return {language: read_week(sk.open_dataset(folder), None, language) for language in ("en", "zh")}  # type: ignore[arg-type]


def test_titles_say_what_was_found(readings: dict[str, Reading]) -> None:
    reading = readings["en"]
    made = targets.made(reading.shop)
    found = targets.bunching((made["sold"] / made["stretch"]).to_numpy(), cluster=made["merchant_id"].to_numpy())
    share = f"{100 * found.measures.set_index('measure').loc['share', 'estimate']:.1f}%"
    assert str(page.gaming(reading)).startswith(f"Gaming: {share} of targets sit just over the stretch that would not")
    met = f"{100 * (made['sold'] >= made['stretch']).mean():.0f}%"
    assert page.answer(reading).startswith(f"Of {len(made):,} targets that ended, ")
    assert f"{met} the stretch; {share} (" in page.answer(reading)
    assert len(page.answer(reading).split()) <= 45
    assert "Set by forecast, the floor would have been met by" in str(page.setting(reading))
    assert str(page.fairness(reading)).startswith(
        "Fairness: No clear difference between sizes"
    )  # all targets are alike
    floor = str(page.floor(reading))
    assert floor.startswith("Floor: Weekly GMV of a merchant with a looser floor")
    assert "stretch are not compared: too many sit just above it (p < 0.001)" in floor


def test_both_languages_tell_the_same_numbers(readings: dict[str, Reading]) -> None:
    for section in SECTIONS:
        told = [sorted(NUMBER.findall(shown(section(readings[language])))) for language in ("en", "zh")]
        assert told[0] == told[1]
        assert told[0]
    answers = [sorted(NUMBER.findall(page.answer(readings[language]))) for language in ("en", "zh")]
    assert answers[0] == answers[1]


def test_no_bar_or_row_stands_for_fewer_than_ten(readings: dict[str, Reading]) -> None:
    figure = page.gaming(readings["en"]).parts[1].to_dict()
    rows = next(rows for rows in figure["datasets"].values() if "observed" in rows[0])
    assert {row["observed"] for row in rows if row["clusters"] < 10} == {0}
    for section in (page.setting, page.fairness):
        figure = section(readings["en"]).parts[1].to_dict()
        bands = next(rows for rows in figure["datasets"].values() if "merchants" in rows[0])
        assert all(row["merchants"] >= 10 for row in bands)
    assert all("m000" not in shown(section(readings["en"])) for section in SECTIONS)


def test_unequal_targets_are_called_unequal(readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    def harder(made: pd.DataFrame) -> pd.DataFrame:
        by = np.where(made["size_band"] == "large", 2.0, 1.0)
        return made.assign(floor=made["floor"] * by, stretch=made["stretch"] * by)

    monkeypatch.setattr(page, "_made", lambda reading: harder(targets.made(reading.shop)))
    assert str(page.fairness(readings["en"])).startswith("Fairness: Targets are not equally hard at every size")


def test_sales_that_come_back_after_a_bad_period_are_seen_before_the_looser_floor(
    readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, own = np.random.default_rng(2), np.zeros((200, 40))
    for week in range(1, 40):
        own[:, week] = 0.7 * own[:, week - 1] + rng.normal(0, 0.2, 200)
    loosened = np.zeros(200, dtype=int)
    loosened[np.argsort(own[:, 16:20].sum(axis=1))[:50]] = 21  # after four bad weeks, and nothing else happens
    panel = Panel.from_matrix(1000 * np.exp(own), treated_from=loosened)
    monkeypatch.setattr(targets, "loosened_panel", lambda *_, **__: panel)
    floor = page.floor(readings["en"])
    assert "may have risen (" in str(floor)
    assert "over all weeks before, +" in shown(floor)  # both ends above 0
    study = did.event_study(did.group_time(panel, control="not_yet", base="universal"))
    before = page._before(readings["en"], study)
    assert abs(before.estimate - study.average[0]) < 2 * before.std_error  # what it "did" was there before


def test_next_period_s_sales_hold_zeros_and_skip_no_period() -> None:
    starts = pd.to_datetime(["2025-03-03", "2025-01-06", "2025-01-06", "2025-02-03", "2025-03-03"])
    made = pd.DataFrame({"merchant_id": ["b", "b", "a", "a", "a"], "period_start": starts})
    made = made.assign(period_end=starts + pd.Timedelta(days=27), sold=[9.0, 4.0, 2.0, 0.0, 5.0])
    growth, held = page._growth(made)
    assert held.tolist() == [False, False, True, False, False]  # b has none in February, a sold nothing then
    assert growth[held].tolist() == [0.0]


def test_a_jump_at_the_line_tells_who_was_left_out(readings: dict[str, Reading]) -> None:
    rng = np.random.default_rng(6)
    starts = pd.date_range("2024-01-01", periods=4, freq="28D")
    made = pd.DataFrame({"merchant_id": np.repeat(range(700), 4), "period_start": np.tile(starts, 700), "stretch": 1.0})
    made = made.assign(period_end=made["period_start"] + pd.Timedelta(days=27), sold=rng.uniform(0.7, 1.3, 2800))
    made.loc[rng.random(2800) < 0.1, "sold"] = 0.0
    told = page._jump(readings["en"], made, "stretch").html
    assert "sales of the period right after" in told
    lost = (made["sold"] == 0) | (made["period_start"] == starts[-1])
    assert f"left out: {lost.sum()} of 2,800" in told.replace("\u2060", "").replace(f"{lost.sum():,}", str(lost.sum()))


def test_where_nothing_is_due_no_share_is_told(readings: dict[str, Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    now = pd.DataFrame({"merchants": [12], "sold": [5.0], "stretch_due": [0.0]})
    monkeypatch.setattr(targets, "running", lambda *_, **__: now)
    assert "nothing was due by now of 12 merchants" in shown(page.attained(readings["en"]))
    assert "∞" not in shown(page.attained(readings["en"]))


def test_without_targets_each_section_but_setting_is_one_line(sample: Path) -> None:
    reading = read_week(sk.open_dataset(sample), "2025-W30", "zh")
    assert page.answer(reading) == "这个数据集没有目标表，因此不评价门槛和挑战目标。"
    for section in SECTIONS[1:]:
        assert len(section(reading).parts) == 1
    assert len(page.setting(reading).parts) > 1  # order lines are enough to set targets
