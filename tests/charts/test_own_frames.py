"""Each chart draws what its own method returns, as it is."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

import strategy_kit as sk
from strategy_kit.charts.theme import wrapped
from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from pathlib import Path

PAIR: dict[str, Any] = {"period": "month", "before": dt.date(2025, 5, 1), "after": dt.date(2025, 6, 1)}


@pytest.fixture(scope="module")
def shop(sample: Path) -> sk.Dataset:
    return sk.open_dataset(sample)


def test_charts_draw_the_frames_of_their_methods(shop: sk.Dataset) -> None:
    buyers = sk.cohort.triangle(shop, unit="buyer")
    charts = [
        sk.charts.yardsticks(sk.kpi.yardsticks(shop, by=["category"], **PAIR)),
        sk.charts.yardsticks(sk.kpi.yardsticks(shop, **PAIR)),
        sk.charts.growth_waterfall(sk.kpi.drivers(shop, **PAIR)),
        sk.charts.growth_waterfall(sk.kpi.merchant_growth(shop)),
        sk.charts.retention_curves(sk.cohort.retention(buyers)),
        sk.charts.retention_curves(sk.cohort.average(sk.cohort.retention(buyers))),
        sk.charts.retention_curves(sk.cohort.survival(shop)),
        sk.charts.retention_curves(sk.cohort.supported(shop), percent=False),
        sk.charts.process_control(sk.kpi.process_control(shop, metric="gmv")),
        sk.charts.triangle(buyers),
        sk.charts.ladder_transitions(
            sk.kpi.merchant_ladder(shop, before=dt.date(2025, 7, 29), after=dt.date(2025, 7, 30))
        ),
    ]
    assert all(chart.description and chart.to_dict()["layer"] for chart in charts)


def test_the_waterfall_of_drivers_ends_at_the_gmv_of_the_period(shop: sk.Dataset) -> None:
    chart = sk.charts.growth_waterfall(sk.kpi.drivers(shop, **PAIR))
    gmv = sk.kpi.table(shop, by=["month"], metrics=["gmv"]).set_index("month")["gmv"]["2025-06-01"]
    rows = next(iter(chart.to_dict()["datasets"].values()))
    assert rows[-1]["end"] == pytest.approx(gmv)


def test_process_control_of_several_groups_is_refused(shop: sk.Dataset) -> None:
    with pytest.raises(ParameterError, match="a week repeats; choose one group"):
        sk.charts.process_control(sk.kpi.process_control(shop, metric="gmv", by=["pilot"]))


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 8, ["one two", "three"]),
        ("", 8, []),
        ("100–1,000万", 8, ["100–", "1,000万"]),
        ("2025 年 5 月", 16, ["2025 年 5 月"]),
        ("增长来自价格，不是数量。", 14, ["增长来自价格，", "不是数量。"]),
        ("averyverylongword", 8, ["averyver", "ylongwor", "d"]),
        ("¥17.1\xa0million in all", 13, ["¥17.1\xa0million", "in all"]),
    ],
)
def test_lines_break_between_words_and_numbers(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width) == lines
