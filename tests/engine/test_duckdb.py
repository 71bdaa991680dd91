"""What DuckDB makes of frames that it only looks at in part."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pandas as pd

import strategy_kit as sk
from strategy_kit.engine.duckdb import DuckDBEngine

if TYPE_CHECKING:
    from pathlib import Path


def test_python_decimals_of_any_width_are_money() -> None:
    # DuckDB guesses a width from a sample of objects and fails on a wider one that it did not see.
    amounts = [Decimal("1.25"), Decimal("123456.75"), *[Decimal("1.25")] * 4_999]
    lines = pd.DataFrame({"order_id": range(5_001), "line_id": 1, "buyer_id": "b", "merchant_id": "m1",
                          "category": "beauty", "paid_at": pd.Timestamp("2025-01-06"), "amount": amounts})  # fmt: skip
    roster = pd.DataFrame({"merchant_id": ["m1"], "category": ["beauty"]})
    shop = sk.dataset_from_frames(lines, roster, timezone="UTC", currency="CNY")
    assert sk.kpi.table(shop, by=[], metrics=["gmv"])["gmv"].tolist() == [129_706.75]


def test_a_further_connection_answers_as_the_first_one_does(sample: Path) -> None:
    shop = sk.open_dataset(sample)
    beside = shop.engine.beside()
    assert beside is not None
    asked = "select count(*) as n, min(paid_at) as first, current_setting('TimeZone') as zone from order_lines"
    assert beside.frame(asked).equals(shop.engine.frame(asked))


def test_frames_are_held_by_one_connection() -> None:
    engine = DuckDBEngine()
    engine.add_frame("lines", pd.DataFrame({"a": [1]}))
    assert engine.beside() is None
