"""What DuckDB makes of frames that it only looks at in part, what it holds in memory, and how its answers come over."""

from __future__ import annotations

import shutil
from decimal import Decimal
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.engine.duckdb import DuckDBEngine
from strategy_kit.errors import ContractError

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


def test_a_small_table_is_held_in_memory_and_answers_as_before(sample: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sample, tmp_path / "sample")
    shop = sk.open_dataset(folder)
    asked = "select * from order_lines order by all"
    before, types, laws = shop.engine.frame(asked), shop.engine.types("order_lines"), shop.check()
    for _ in range(2):
        shop.engine.hold("order_lines")
    assert shop.check().equals(laws)
    for file in folder.glob("order_lines*"):
        file.unlink()
    assert shop.engine.frame(asked).equals(before)
    assert shop.engine.types("order_lines") == types
    beside = shop.engine.beside()
    assert beside is not None
    assert beside.frame(asked).equals(before)


def test_a_large_table_stays_in_its_files(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(sample, tmp_path / "sample")
    shop = sk.open_dataset(folder)
    lines = int(shop.engine.frame("select count(*) as n from order_lines")["n"][0])
    monkeypatch.setattr(shop.engine, "lines_at_once", 8 * lines - 8)
    shop.engine.hold("order_lines")
    for file in folder.glob("order_lines*"):
        file.unlink()
    with pytest.raises(ContractError, match="cannot be answered from these data: IO Error"):
        shop.engine.frame("select count(*) as n from order_lines")


def test_frames_and_absent_tables_are_not_held() -> None:
    engine = DuckDBEngine()
    engine.add_frame("lines", pd.DataFrame({"a": [1]}))
    for table in ("lines", "support"):
        engine.hold(table)
    assert engine.frame("select a from lines")["a"].tolist() == [1]


def test_texts_stay_as_arrow_holds_them() -> None:
    engine = DuckDBEngine()
    kinds = "'m1' as worded, cast(null as varchar) as absent, 1 as whole, cast(1.5 as decimal(12, 2)) as money"
    found = engine.frame(f"select {kinds}, date '2025-01-06' as day, 'a'::enum('b', 'a') as listed")
    assert list(found) == ["worded", "absent", "whole", "money", "day", "listed"]
    assert [str(kind) for kind in found.dtypes] == ["str", "str", "int32", "float64", "datetime64[us]", "category"]
    assert found["listed"].cat.ordered
    assert found["listed"].cat.categories.tolist() == ["b", "a"]
    nothing = engine.frame("select 'm1' as worded, 1 as whole where false")
    assert [str(kind) for kind in nothing.dtypes] == ["str", "int32"]
