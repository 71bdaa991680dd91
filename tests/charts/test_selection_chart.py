"""Base windows side by side: order, words, and what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did
from strategy_kit.errors import ParameterError
from strategy_kit.panel import Panel

CHOSEN = did.Selection(early=(3, 4), late=(5, 6))


def rows(*, dates: bool = False, sharp: bool = False) -> pd.DataFrame:
    """Ninety merchants of whom thirty are supported, by lot or as the best by growth."""
    y = np.random.default_rng(1).normal(size=(90, 9))
    growth = y[:, 4:6].mean(axis=1) - y[:, 2:4].mean(axis=1)
    held = growth >= np.sort(growth)[60] if sharp else np.arange(90) < 30
    weeks = pd.date_range("2025-01-06", periods=9, freq="7D")
    if not dates:
        return did.selection_windows(Panel.from_matrix(y, treated_from=np.where(held, 7, 0)), selection=CHOSEN)
    starts = pd.Series(weeks[6]).repeat(90).where(held.tolist()).reset_index(drop=True)
    windows = {name: tuple(weeks[[first - 1, last - 1]]) for name, (first, last) in CHOSEN.windows.items()}
    return did.selection_windows(
        Panel.from_matrix(y, treated_from=starts, periods=weeks), selection=did.Selection(**windows)
    )


def test_the_declared_window_comes_first_and_all_others_follow() -> None:
    frame = rows()
    described = sk.charts.selection_windows(frame, declared="symmetric").description
    places = [
        described.index(name) for name in ("as far before as after", "before the selection", "all periods before")
    ]
    assert places == sorted(places)
    assert described.count("base ") == len(frame) == 6
    drawn = next(iter(sk.charts.selection_windows(frame).to_dict()["datasets"].values()))
    assert drawn


def test_windows_are_told_as_days() -> None:
    described = sk.charts.selection_windows(rows(dates=True)).description
    assert "before the selection, base 2025-01-06–2025-01-13" in described


def test_what_cannot_be_told_is_named() -> None:
    frame = rows(sharp=True)
    described = sk.charts.selection_windows(frame, labels={"forecast": "Prognose"}).description
    assert "cannot be told: Prognose." in described
    with pytest.raises(ParameterError, match="no row has anything to draw"):
        sk.charts.selection_windows(frame, declared="forecast")


def test_a_frame_of_another_kind_is_refused() -> None:
    with pytest.raises(ParameterError, match="lacks 'base_window'"):
        sk.charts.selection_windows(rows().drop(columns="base_window"))
    with pytest.raises(ParameterError, match="no word is called 'forcast'"):
        sk.charts.selection_windows(rows(), labels={"forcast": "x"})


def test_survival_of_the_roster_is_drawn_by_the_curves() -> None:
    y = np.random.default_rng(2).lognormal(size=(40, 6))
    y[:8, 4:] = 0
    panel = Panel.from_matrix(y, treated_from=[4] * 20 + [0] * 20)
    described = sk.charts.retention_curves(did.attrition(panel).details["survival"]).description
    assert "supported 100.0% at 0, 60.0% at 2; unsupported 100.0% at 0, 100.0% at 2" in described
