"""Growth here by growth elsewhere within categories of few: who is alone says nothing, and intervals of pairs hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from strategy_kit import whole_web as web

SLOPE = 0.3


def drawn(seed: int, category: np.ndarray) -> pd.DataFrame:
    """Changes over nine months of merchants, one for each entry of `category`."""
    rng, shape = np.random.default_rng(seed), (len(category), 10)
    there = rng.normal(0, 0.3, shape).cumsum(axis=1)
    here = SLOPE * there + rng.normal(0, 0.15, shape).cumsum(axis=1)
    months = pd.date_range("2025-01-01", periods=10, freq="MS")
    who = {"merchant_id": np.arange(len(category)), "category": category.astype(str), "size_band": "s", "confidence": 2}
    levels = pd.DataFrame(who).merge(pd.DataFrame({"month": months}), how="cross")
    return web.log_changes(levels.assign(on_platform=np.exp(5 + here).ravel(), off_platform=np.exp(4 + there).ravel()))


def test_a_merchant_alone_in_its_category_says_nothing() -> None:
    moved = drawn(1, np.append(np.zeros(25), np.arange(1, 16)))
    found, own = web.pass_through(moved), web.pass_through(moved[moved["merchant_id"] < 25])
    assert found.covariance == pytest.approx(own.covariance)
    assert found.average == pytest.approx(own.average)
    assert found.clusters == (25, 0)
    assert found.glance()["degrees_of_freedom"][0] == 24
    assert "alone in their category, left out: 135 of 400" in found.notes[-1]


@pytest.mark.parametrize(("pairs", "lost"), [(20, 0.0), (9, 0.03)])  # clustered errors of few are a little too small
def test_the_slope_covers_with_two_merchants_a_category(pairs: int, lost: float) -> None:
    rows = [web.pass_through(drawn(seed, np.arange(2 * pairs) % pairs)).tidy().iloc[3] for seed in range(300)]
    held = np.mean([row["conf_low"] <= SLOPE <= row["conf_high"] for row in rows])
    assert held > 0.95 - lost - 3.4 * np.sqrt(0.95 * 0.05 / 300)
