"""A description and tables in odd encodings, of odd kinds, or out of reach are named in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.errors import ContractError, ParameterError


def test_a_description_with_a_mark_of_its_encoding_is_read(sample: Path, tmp_path: Path) -> None:
    shutil.copytree(sample, tmp_path / "sample")
    head = tmp_path / "sample" / "dataset.toml"
    head.write_text(head.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert sk.open_dataset(tmp_path / "sample").name == "sample"


def test_what_may_not_be_read_says_so(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(
        ParameterError, match=r"dataset.toml cannot be read: Permission denied; give this user the right"
    ):
        sk.open_dataset(sample)


def test_tables_in_another_encoding_and_files_of_another_kind_are_named(sample: Path, tmp_path: Path) -> None:
    head = 'name = "odd"\ntimezone = "Asia/Shanghai"\ncurrency = "CNY"\n[tables]\norder_lines = "{}"\nmerchants = "m.csv"\n'
    (tmp_path / "m.csv").write_text("merchant_id,category\nm1,beauty\n", encoding="utf-8")
    line = "order_id,line_id,buyer_id,merchant_id,category,paid_at,amount\no1,1,b1,m1,服饰,2025-01-05 17:00:00,10\n"
    (tmp_path / "o.csv").write_text(line, encoding="gbk")
    (tmp_path / "dataset.toml").write_text(head.format("o.csv"), encoding="utf-8")
    with pytest.raises(ContractError, match="table order_lines is not UTF-8; save its files as UTF-8"):
        sk.open_dataset(tmp_path)
    (tmp_path / "dataset.toml").write_text(head.format("o.xlsx"), encoding="utf-8")
    with pytest.raises(ContractError, match=r"'o.xlsx' is no Parquet or CSV file of this folder; save it as one"):
        sk.open_dataset(tmp_path)


def test_no_complete_week_is_said_to_be_none() -> None:
    lines = pd.DataFrame(
        {"order_id": [1], "line_id": 1, "buyer_id": 1, "merchant_id": "m", "category": "a", "amount": 1.0}
    )
    roster = pd.DataFrame({"merchant_id": ["m"], "category": ["a"]})
    paid = lines.assign(paid_at=pd.Timestamp("2025-01-07 09:00"))
    shop = sk.dataset_from_frames(paid, roster, timezone="Asia/Shanghai", currency="CNY")
    with pytest.raises(ParameterError, match="no week from Monday to Sunday is complete"):
        shop.week()


def test_an_unknown_period_is_refused(sample: Path) -> None:
    with pytest.raises(ParameterError, match="one of day, week, month, quarter, not 'year'"):
        sk.open_dataset(sample).complete_periods("year")  # type: ignore[arg-type]
