"""A window without any order is silent from its first day to its last."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

import strategy_kit as sk


def test_a_window_of_another_year_is_no_window_without_gaps() -> None:
    count, draw = 2000, np.random.default_rng(0)
    lines = pd.DataFrame(
        {"order_id": np.arange(count), "line_id": 1, "buyer_id": 1, "merchant_id": "m", "category": "b"}
    )
    lines["amount"] = 1.0
    lines["paid_at"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 366 * 86_400, count), unit="s")
    roster = pd.DataFrame({"merchant_id": ["m"], "category": ["b"]})
    window = {"data_from": dt.date(2025, 1, 6), "data_through": dt.date(2025, 6, 30)}
    shop = sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", **window)  # type: ignore[arg-type]
    found = shop.check().set_index("check")
    for law in ("the last complete day has orders", "every day of the window has orders"):
        assert found.loc[law, "rows"] == 176
        assert found.loc[law, "example"] == "no order from 2025-01-06 to 2025-06-30"
