"""How wide a reading of today must be: by the plan, in milliseconds, or refused."""

from __future__ import annotations

import time
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from strategy_kit.did import pilot_contrast
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.glossary import COLUMNS
from strategy_kit.panel import Panel
from strategy_kit.plan import LONGEST, Plan
from strategy_kit.planning import ReadingWidth, reading_width, weekly_looks
from strategy_kit.planning.looks import Kind
from strategy_kit.planning.movement import autoregressive

BEFORE, LATER = 10, 12
ONE = [BEFORE + 1] * 3 + [0] * 5


def outcomes(groups: int = 8, periods: int = BEFORE + LATER) -> np.ndarray:
    return autoregressive(np.random.default_rng(0).normal(size=(periods, groups)), 0.5).T


def panel(y: np.ndarray | None = None, starts: list[int] = ONE) -> Panel:
    return Panel.from_matrix(outcomes() if y is None else y, treated_from=starts)


# Horizon, looks, complete periods since the start -> kind, looks of the band.
READINGS: list[tuple[int | None, tuple[int, ...], int, str, int]] = [
    (12, (), 12, "declared", 12),
    (12, (), 5, "declared", 12),
    (12, (6, 12), 12, "declared", 2),
    (12, (6, 12), 7, "undeclared", 12),
    (12, (12,), 12, "one_look", 1),
    (12, (12,), 11, "undeclared", 12),
    (8, (), 12, "late", LONGEST),
    (8, (8,), 12, "late", LONGEST),
    (None, (), 12, "no_horizon", LONGEST),
]


@pytest.mark.parametrize(("horizon", "looks", "since", "kind", "count"), READINGS)
def test_a_reading_is_as_wide_as_its_kind_needs(
    horizon: int | None, looks: tuple[int, ...], since: int, kind: str, count: int
) -> None:
    today = panel(outcomes()[:, : BEFORE + since])
    reading = reading_width(today, Plan(horizon=horizon, looks=looks, level=0.9))
    assert (reading.kind, reading.look, reading.looks) == (kind, since, count)
    assert (reading.factor == 1.0) or kind != "one_look"
    assert reading.factor >= 1.0
    plan = (
        Plan(horizon=horizon, looks=looks) if kind == "declared" else Plan(horizon=12 if kind == "undeclared" else None)
    )
    if kind != "one_look":
        row = weekly_looks(today, plan).tidy(0.9).iloc[-1]
        width = (row["band_high"] - row["band_low"]) / (row["conf_high"] - row["conf_low"])
        assert reading.factor == pytest.approx(width, rel=1e-12)
    assert not set(reading.tidy().columns) - set(COLUMNS)
    assert reading.tidy()["widening"].tolist() == [reading.factor]
    assert kind == "one_look" or str(count) in reading.meaning


def test_one_declared_look_is_a_single_interval_and_needs_no_past() -> None:
    for day in (panel(), Panel.from_matrix(outcomes()[:, 8:], treated_from=[BEFORE - 7] * 3 + [0] * 5)):
        study = weekly_looks(day, Plan(horizon=12, looks=(12,)))
        assert study.notes[-1] == "valid at one look, the only one declared"
        row = study.tidy().iloc[0]
        told = pilot_contrast(day).tidy().iloc[0]
        assert row[["band_low", "band_high"]].tolist() == row[["conf_low", "conf_high"]].tolist()
        assert row[["conf_low", "conf_high"]].tolist() == told[["conf_low", "conf_high"]].tolist()
    assert "no horizon was declared" in weekly_looks(panel(), Plan()).notes[-1]


def test_a_reading_takes_milliseconds_after_the_first() -> None:
    y = outcomes(groups=30, periods=52)
    today, plan = Panel.from_matrix(y, treated_from=[27] * 3 + [0] * 27), Plan(horizon=26)
    reading_width(today, plan)
    taken = []
    for _ in range(5):
        start = time.process_time()
        reading_width(today, plan)
        pilot_contrast(today).glance()
        taken.append(time.process_time() - start)
    assert min(taken) < 0.05


def test_designs_that_cannot_be_read_are_refused() -> None:
    plan = Plan(horizon=LATER)
    short = Panel.from_matrix(outcomes()[:, 5:], treated_from=[BEFORE - 4] * 3 + [0] * 5)
    for function in (weekly_looks, reading_width):
        with pytest.raises(
            DesignError, match=r"at least 6 periods before the first start, .* the panel has 5; begin it ea"
        ):
            function(short, plan)
        with pytest.raises(ParameterError, match="seed is a whole number, 0 or more, not -1"):
            function(panel(), plan, seed=-1)
        with pytest.raises(DesignError, match="needs at least two groups on each side"):
            function(panel(starts=[BEFORE + 1] + [0] * 7), plan)
        flat = outcomes()
        flat[3:, :BEFORE] = np.sin(np.arange(BEFORE))
        with pytest.raises(DesignError, match="a side moved exactly alike before the start"):
            function(panel(flat), plan)
        alike = np.tile(np.sin(np.arange(BEFORE)), (8, 1)) * [[1], [2], [1], [1], [2], [1], [2], [1]]
        same = np.hstack([alike, np.repeat(alike.mean(axis=1), LATER).reshape(8, LATER)])
        with pytest.raises(DesignError, match="changed by exactly the same amount at look"):
            function(panel(same), plan)
    with pytest.raises(
        DesignError, match=r"the first look that can be taken comes 20 periods after the start, and .* 12"
    ):
        weekly_looks(panel(), Plan(horizon=20, looks=(20,)))
    long = Panel.from_matrix(np.random.default_rng(0).normal(size=(8, BEFORE + 157)), treated_from=ONE)
    with pytest.raises(DesignError, match=r"157 periods have passed .* a band holds for 156"):
        weekly_looks(long, Plan())
    with pytest.raises(DesignError, match="look 157 cannot be taken"):
        reading_width(long, Plan())
    apart = panel(starts=[BEFORE + 1, BEFORE + 8, 0, 0, 0, 0, 0, 0])
    with pytest.raises(DesignError, match="fewer than two groups have started by look 6, the last one"):
        weekly_looks(apart, Plan(horizon=6))
    early = panel(outcomes()[:, : BEFORE + 2], [BEFORE + 1, BEFORE + 2, 0, 0, 0, 0, 0, 0])
    assert reading_width(early, plan).look == 2
    gaps: dict[str, Any] = {"unit": [0, 0, 1], "t": [1, 2, 1], "y": 1.0, "g": [2, 2, 0]}
    torn = Panel.from_frame(pd.DataFrame(gaps), unit="unit", period="t", outcome="y", treated_from="g")
    with pytest.raises(DesignError, match="unbalanced"):
        weekly_looks(torn, plan)


def test_a_meaning_is_a_whole_phrase() -> None:
    for kind in get_args(Kind):
        assert "{" not in ReadingWidth(1.0, kind, 1, 3).meaning
