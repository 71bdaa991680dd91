"""A data set opens from files and frames alike, refuses what it cannot read, and knows its weeks."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.errors import ContractError, DesignError, ParameterError
from strategy_kit.periods import week_label

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.periods import Period

HEAD = {"name": '"shop"', "currency": '"CNY"', "timezone": '"Asia/Shanghai"'}
WINDOW = {"data_from": dt.date(2025, 1, 6), "data_through": dt.date(2025, 2, 2)}
METRICS = ["gmv", "orders", "buyers", "units", "average_order_value"]


def lines(**columns: Any) -> pd.DataFrame:
    """Four lines of three orders; keywords replace columns."""
    plain = {
        "order_id": ["o1", "o1", "o2", "o3"],
        "line_id": [1, 2, 1, 1],
        "buyer_id": ["b1", "b1", "b2", "b1"],
        "merchant_id": ["m1", "m2", "m2", "m1"],
        "category": ["beauty", "apparel", None, "beauty"],
        "paid_at": pd.to_datetime(["2025-01-06", "2025-01-06", "2025-01-14 23:59:59", "2025-02-02"], format="ISO8601"),
        "amount": [10.25, 5.5, 0.75, 100.0],
        "quantity": [1, 2, 3, 1],
    }
    return pd.DataFrame(plain | columns)


def roster(**columns: Any) -> pd.DataFrame:
    """Two merchants; keywords replace columns."""
    return pd.DataFrame({"merchant_id": ["m1", "m2"], "category": ["beauty", "apparel"]} | columns)


def frames(order_lines: pd.DataFrame | None = None, merchants: pd.DataFrame | None = None, **others: Any) -> sk.Dataset:
    """Open frames in hand."""
    given = lines() if order_lines is None else order_lines
    held = roster() if merchants is None else merchants
    return sk.dataset_from_frames(given, held, timezone="Asia/Shanghai", currency="CNY", **others)


def folder(place: Path, head: dict[str, str] | None = None, **tables: pd.DataFrame | str) -> Path:
    """Write a data set: `head` in TOML, frames as Parquet; a text is a pattern for which nothing is written."""
    given: dict[str, pd.DataFrame | str] = {"order_lines": lines(), "merchants": roster()} | tables
    text = [f"{key} = {value}" for key, value in (HEAD if head is None else head).items()]
    text += [
        "[tables]",
        *(f'{t} = "{v if isinstance(v, str) else t + ".parquet"}"' for t, v in given.items()),
    ]
    for table, frame in given.items():
        if not isinstance(frame, str):
            frame.to_parquet(place / f"{table}.parquet", index=False)
    (place / "dataset.toml").write_text("\n".join(text), encoding="utf-8")
    return place


def kpis(shop: sk.Dataset, by: tuple[str, ...] = ("category", "merchant_id", "week")) -> pd.DataFrame:
    return sk.kpi.table(shop, by=list(by), metrics=METRICS)


def test_files_of_both_formats_and_frames_give_the_same_table(tmp_path: Path) -> None:
    by_hand = kpis(frames())
    assert by_hand["gmv"].sum() == 116.5
    halves = lines()
    for number, part in enumerate([halves.iloc[:2], halves.iloc[2:]]):
        part.to_parquet(tmp_path / f"part{number}.parquet", index=False)
        part.to_csv(tmp_path / f"part{number}.csv", index=False)
    for pattern in ("part*.parquet", "part?.csv"):
        pd.testing.assert_frame_equal(kpis(sk.open_dataset(folder(tmp_path, order_lines=pattern))), by_hand)
    assert sk.open_dataset(str(tmp_path)).name == "shop"
    assert len(sk.open_dataset(tmp_path).files["order_lines"]) == 2


def test_files_may_differ_in_the_order_of_their_columns(tmp_path: Path) -> None:
    lines().iloc[:2].to_csv(tmp_path / "a.csv", index=False)
    lines().iloc[2:][list(reversed(lines().columns))].to_csv(tmp_path / "b.csv", index=False)
    pd.testing.assert_frame_equal(kpis(sk.open_dataset(folder(tmp_path, order_lines="*.csv"))), kpis(frames()))


def test_leading_zeros_of_keys_survive_csv(tmp_path: Path) -> None:
    codes = {"merchant_id": ["007", "008", "008", "007"]}
    lines(**codes).to_csv(tmp_path / "o.csv", index=False)
    roster(merchant_id=["007", "008"]).to_csv(tmp_path / "m.csv", index=False)
    shop = sk.open_dataset(folder(tmp_path, order_lines="o.csv", merchants="m.csv"))
    assert kpis(shop, ("merchant_id",))["merchant_id"].tolist() == ["007", "008"]


@pytest.mark.parametrize("how", ["frame", "parquet", "csv"])
def test_an_instant_belongs_to_the_local_day(tmp_path: Path, how: str) -> None:
    instants = [
        "2025-01-06T15:59:59Z",
        "2025-01-06T16:30:00Z",
        "2025-01-31T16:00:00Z",
        "2025-02-01T00:00:00Z",
    ]
    given = lines(paid_at=pd.to_datetime(instants))
    if how == "csv":
        lines(paid_at=instants).to_csv(tmp_path / "o.csv", index=False)
        shop = sk.open_dataset(folder(tmp_path, order_lines="o.csv"))
    else:
        shop = frames(given) if how == "frame" else sk.open_dataset(folder(tmp_path, order_lines=given))
    days = sk.kpi.table(shop, by=["day"], metrics=["gmv"]).query("gmv > 0")
    assert days["day"].dt.strftime("%m-%d").tolist() == ["01-06", "01-07", "02-01"]
    assert days["gmv"].tolist() == [10.25, 5.5, 100.75]


@pytest.mark.parametrize("dtype", ["str", "object", "category", "string", "string[pyarrow]"])
def test_every_kind_of_pandas_text_is_read(dtype: str) -> None:
    names = ["order_id", "buyer_id", "merchant_id", "category"]
    shop = frames(lines().astype(dict.fromkeys(names, dtype)), roster().astype(dtype))
    pd.testing.assert_frame_equal(kpis(shop), kpis(frames()), check_dtype=False, check_column_type=False)
    assert int(shop.check().query("severity == 'error'")["rows"].sum()) == 0
    assert kpis(shop, ("merchant_category",))["gmv"].sum() == 116.5


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_resolution_of_time_is_read(unit: str) -> None:
    given = lines().astype({"paid_at": f"datetime64[{unit}]"})
    opened = roster(opened_on=pd.to_datetime(["2025-01-01", None]).as_unit(unit))
    shop = frames(given, opened)
    pd.testing.assert_frame_equal(kpis(shop), kpis(frames()))
    assert shop.engine.types("merchants")["opened_on"] == "DATE"


@pytest.mark.parametrize("money", [float, "float32", lambda x: Decimal(str(x)), "Float64"])
def test_every_kind_of_money_is_read_to_the_cent(money: Any) -> None:
    given = lines()
    given["amount"] = (
        given["amount"].map(money).astype(object)
        if callable(money) and money is not float
        else (given["amount"].astype(money))
    )
    table = kpis(frames(given))
    pd.testing.assert_frame_equal(table, kpis(frames()))
    assert table["gmv"].dtype == "float64"


def test_many_doubles_add_up_to_the_cent() -> None:
    # 0.1 has no exact double: added up naively, 10,000 of them miss 1,000 by 1.6e-10
    n = 10_000
    given = pd.DataFrame({"order_id": np.arange(n), "line_id": 1, "buyer_id": "b", "merchant_id": "m1",
                          "category": "beauty", "paid_at": pd.Timestamp("2025-01-06"), "amount": 0.1})  # fmt: skip
    assert np.cumsum(np.full(n, 0.1))[-1] != 1000.0
    assert sk.kpi.table(frames(given), by=[], metrics=["gmv"])["gmv"].tolist() == [1000.0]


def test_integer_keys_and_whole_money_are_read() -> None:
    given = lines(order_id=[1, 1, 2, 3], buyer_id=[1, 1, 2, 1], merchant_id=[7, 8, 8, 7], amount=[1, 2, 3, 4])
    table = kpis(frames(given, roster(merchant_id=[7, 8])), ("merchant_id",))
    assert table[["merchant_id", "gmv", "orders"]].to_numpy().tolist() == [[7, 5, 2], [8, 5, 2]]


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NaT])
@pytest.mark.parametrize("column", ["announced_on", "ended_on", "cost"])
def test_a_column_without_any_value_is_of_every_kind(tmp_path: Path, column: str, nothing: object) -> None:
    support = pd.DataFrame({"merchant_id": ["m1"], "lever": "display", "started_on": pd.to_datetime(["2025-01-13"])})
    support[column] = pd.Series([nothing], dtype=object if nothing is None else None)
    for shop in (frames(support=support), sk.open_dataset(folder(tmp_path, support=support))):
        assert shop.engine.types("support")[column] in (("DOUBLE", "INTEGER") if column == "cost" else ("DATE",))
        assert shop.check().query("table == 'support'")["rows"].sum() == 0


def test_frames_may_have_any_index_and_are_not_changed() -> None:
    given = lines().set_index(pd.Index([5, 5, 5, 5], name="amount"))
    kept = given.copy()
    assert kpis(frames(given), ())["gmv"].tolist() == [116.5]
    pd.testing.assert_frame_equal(given, kept)


# What is wrong with the head of the file -> words of the message.
HEADS = {
    "unknown key": (HEAD | {"colour": "3"}, ["colour is not a key"]),
    "misspelt key": (HEAD | {"titel": '"x"'}, ["titel is not a key", "did you mean 'title'?"]),
    "wrong type": (HEAD | {"synthetic": '"yes"'}, ["synthetic must be true or false, not 'yes'"]),
    "date as text": (HEAD | {"data_from": '"2025-01-06"'}, ["data_from must be a date, not '2025-01-06'"]),
    "a time, not a day": (HEAD | {"data_through": "2025-01-06T08:00:00"}, ["data_through must be a date"]),
    "no name": ({k: v for k, v in HEAD.items() if k != "name"}, ["the key 'name' is missing"]),
    "bad name": (HEAD | {"name": '"My Shop/.."'}, ["name 'My Shop/..' must be lower-case"]),
    "unknown zone": (HEAD | {"timezone": '"Asia/Peking"'}, ["timezone 'Asia/Peking' does not exist", "Asia/Shanghai"]),
    "window backwards": (
        HEAD | {"data_from": "2025-02-01", "data_through": "2025-01-01"},
        ["data_from 2025-02-01 is after data_through 2025-01-01"],
    ),
    "pilot without dates": (HEAD | {"pilot": '{categories = ["beauty"]}'}, ["pilot.starts_on is missing"]),
    "pilot without categories": (HEAD | {"pilot": "{starts_on = 2025-01-13}"}, ["pilot.categories is missing"]),
    "pilot of none": (HEAD | {"pilot": "{categories = [], starts_on = 2025-01-13}"}, ["at least one category"]),
    "one date missing": (
        HEAD | {"pilot": '{categories = ["beauty", "toys"], starts_on = {beauty = 2025-01-13}}'},
        ["gives no date for 'toys'"],
    ),
    "a text, not a pilot": (HEAD | {"pilot": '"beauty"'}, ["pilot must be a table, not 'beauty'"]),
    "misspelt plan": (HEAD | {"plan": "{treshold = 0.1}"}, ["plan.treshold is not a key", "'threshold'"]),
    "all at once": (
        HEAD | {"colour": "3", "name": '"A"', "timezone": '"Mars"', "currency": "1", "pilot": "{placebo = 1}"},
        ["breaks 7 laws", "colour", "name 'A'", "Mars", "currency must be", "pilot.placebo", "pilot.starts_on",
         "pilot.categories"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADS)
def test_a_wrong_head_is_refused(tmp_path: Path, case: str) -> None:
    head, words = HEADS[case]
    folder(tmp_path, head)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ContractError) as raised:
        sk.open_dataset(tmp_path)
    assert [word for word in ["dataset.toml", *words] if word not in str(raised.value)] == [], str(raised.value)
    assert raised.value.exit_code == 4
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_is_not_a_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="nowhere does not exist"):
        sk.open_dataset(tmp_path / "nowhere")
    with pytest.raises(ParameterError, match=r"has no dataset\.toml"):
        sk.open_dataset(tmp_path)
    (tmp_path / "dataset.toml").write_text("name = [")
    with pytest.raises(ContractError, match="not valid TOML"):
        sk.open_dataset(tmp_path)
    with pytest.raises(ParameterError, match=r"dataset.toml is a file; see data/README.md"):
        sk.open_dataset(tmp_path / "dataset.toml")
    (tmp_path / "dataset.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ContractError, match=r"is not UTF-8: invalid start byte; save it as UTF-8"):
        sk.open_dataset(tmp_path)
    (tmp_path / "dataset.toml").write_text('name = "x"\ncurrency = "CNY"\ntimezone = "UTC"\n')
    with pytest.raises(ContractError, match="tables"):
        sk.open_dataset(tmp_path)
    with pytest.raises(ParameterError, match=r"engine is one of duckdb, spark, not 'spork' \(did you mean 'spark'\?\)"):
        sk.open_dataset(folder(tmp_path), engine="spork")  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["", "/abs/x.parquet", "missing.parquet", "*.csv"])
def test_a_table_without_a_file_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ContractError) as raised:
        sk.open_dataset(folder(tmp_path, order_lines=pattern, merchants="none*.csv"))
    assert "tables.order_lines" in str(raised.value)
    assert repr(pattern) in str(raised.value)
    laid = not pattern or pattern.startswith("/")
    assert ("tables.merchants: no file matches 'none*.csv'" in str(raised.value)) != laid, "a pattern is read first"


def test_unknown_and_missing_tables_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, order_line=lines(), suport=roster())
    with pytest.raises(ContractError, match=r"'order_line' is not a table .*'order_lines'.*'suport'.*'support'"):
        sk.open_dataset(tmp_path)
    (tmp_path / "dataset.toml").write_text('name = "x"\ncurrency = "a"\ntimezone = "UTC"\ntables = {calendar = "c"}')
    with pytest.raises(ContractError, match=r"tables.order_lines is missing.*tables.merchants is missing.*calendar"):
        sk.open_dataset(tmp_path)
    (tmp_path / "order_lines.parquet").write_bytes(b"not a parquet file at all")
    folder(tmp_path, order_lines="order_lines.parquet")
    with pytest.raises(ContractError, match="table order_lines cannot be read"):
        sk.open_dataset(tmp_path)


# What is wrong with the lines -> words of the message.
COLUMNS: dict[str, tuple[pd.DataFrame, list[str]]] = {
    "missing": (lines().drop(columns="buyer_id"), ["order_lines.buyer_id is missing"]),
    "misspelt": (lines().rename(columns={"amount": "amuont"}),
                 ["order_lines.amount is missing (did you mean 'amuont'?)"]),
    "text in a number": (lines(amount=["10", "n/a!", "5", "n/a!"]),
                         ["order_lines.amount must be a number", "2 rows cannot be read as one", "'n/a!'"]),
    "text in a date": (lines(paid_at=["2025-01-06", "soon", "2025-01-07", "2025-01-08"]),
                       ["order_lines.paid_at must be a timestamp", "1 row cannot be read as one", "'soon'"]),
    "number as a date": (lines(paid_at=[20250106] * 4), ["order_lines.paid_at must be a timestamp"]),
    "infinite": (lines(amount=[np.inf, 1.0, -np.inf, 1.0]), ["order_lines.amount must be finite", "2 rows"]),
    "infinite count": (lines(quantity=[np.inf, 1.0, 1.0, 1.0]), ["order_lines.quantity must be finite", "1 row is not"]),
    "too large": (lines(amount=[1e15, 1.0, 1.0, 1.0]), ["order_lines.amount must be finite and below 1e+14", "1 row is not"]),
    "number as text": (lines(category=[1, 2, 3, 4]), ["order_lines.category must be a text"]),
    "keys not alike": (lines(merchant_id=[1, 2, 2, 1]), ["order_lines.merchant_id holds BIGINT", "holds VARCHAR"]),
    "all at once": (
        lines(amount=["a", "b", "c", "d"], category=[1, 2, 3, 4]).drop(columns=["buyer_id", "order_id"]),
        ["breaks 4 laws", "amount must", "category must", "buyer_id is missing", "order_id is missing"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COLUMNS)
@pytest.mark.parametrize("how", ["frame", "parquet", "csv"])
def test_wrong_columns_are_refused(tmp_path: Path, case: str, how: str) -> None:
    given, words = COLUMNS[case]
    if how == "csv" and case in ("number as a date", "number as text", "infinite", "infinite count"):
        pytest.skip("a CSV file has no kinds of its own, and infinity in it is text")
    given.to_csv(tmp_path / "o.csv", index=False)
    place = tmp_path if how == "frame" else folder(tmp_path, order_lines="o.csv" if how == "csv" else given)
    with pytest.raises(ContractError) as raised:
        _ = frames(given) if how == "frame" else sk.open_dataset(place)
    absent = [word for word in words if word not in str(raised.value)]
    assert absent == [], str(raised.value)


def test_faults_of_several_tables_are_named_together() -> None:
    with pytest.raises(ContractError, match=r"order_lines\.amount is missing.*merchants\.category is missing"):
        frames(lines().drop(columns="amount"), roster().drop(columns="category"))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"suport": roster()}, ParameterError, "'suport' is not a table of the contract .*'support'"),
        ({"engine": "spark"}, ParameterError, "'engine' is not a key"),
        ({"titel": "x"}, ParameterError, "'titel' is not a key .*'title'"),
        ({"support": [1]}, ParameterError, "support must be a pandas frame"),
        ({"name": 3}, ContractError, "name must be a text"),
        ({"plan": 3}, ContractError, "plan must be a table"),
        ({"pilot": "beauty"}, ContractError, "pilot must be a table"),
        ({"pilot": {"beauty": "2025-01-13"}}, ContractError, "pilot.starts_on.beauty must be a date"),
        ({"data_through": "2025-01-26"}, ContractError, "data_through must be a date"),
    ],
)
def test_wrong_keywords_are_refused(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        frames(**given)


@pytest.mark.parametrize("day", [dt.date(2025, 1, 13), pd.Timestamp("2025-01-13"), dt.datetime(2025, 1, 13)])
def test_the_pilot_is_read_in_each_of_its_forms(day: Any) -> None:
    plain = {"categories": ["beauty", "toys"], "starts_on": day}
    own = {
        "categories": ["beauty", "toys"],
        "starts_on": {"beauty": day, "toys": dt.date(2025, 1, 20)},
        "placebo": True,
    }
    assert frames(pilot=plain).pilot.starts == dict.fromkeys(["beauty", "toys"], dt.date(2025, 1, 13))
    assert frames(pilot={"beauty": day}).pilot.starts == {"beauty": dt.date(2025, 1, 13)}
    given = frames(pilot=own).pilot
    assert (given.starts_on, given.starts["toys"], given.placebo) == (
        dt.date(2025, 1, 13),
        dt.date(2025, 1, 20),
        True,
    )
    assert frames(pilot=given).pilot == given
    with pytest.raises(DesignError, match="names no pilot categories"):
        _ = frames().pilot


def test_the_window_is_as_described_or_that_of_the_orders() -> None:
    assert (frames().data_from, frames().data_through) == (dt.date(2025, 1, 6), dt.date(2025, 2, 2))
    shop = frames(**WINDOW | {"data_through": pd.Timestamp("2025-01-31")})
    assert (shop.data_from, shop.data_through) == (dt.date(2025, 1, 6), dt.date(2025, 1, 31))
    assert "2025-01-06 to 2025-01-31, Asia/Shanghai, CNY" in repr(shop)


def test_a_week_must_be_complete_and_hold_orders() -> None:
    shop = frames(**WINDOW)
    assert shop.week("2025-W03") == shop.week("2025-01-19") == dt.date(2025, 1, 13)
    assert shop.week() == shop.week("2025-W05") == dt.date(2025, 1, 27), "data through a Sunday close its week"
    assert frames(**WINDOW | {"data_through": dt.date(2025, 1, 19)}).week() == dt.date(2025, 1, 13)
    cut = frames(**WINDOW | {"data_through": dt.date(2025, 1, 18)})
    assert week_label(cut.week()) == "2025-W02", "a Saturday does not close its week"
    with pytest.raises(ParameterError, match=r"2025-W03 is not complete.*last complete week is 2025-W02"):
        cut.week("2025-W03")
    with pytest.raises(ParameterError, match="2025-W04 has no order at all"):
        shop.week("2025-W04")
    with pytest.raises(ParameterError, match=r"2025-W01 has no complete data.*2025-01-06 to 2025-02-02"):
        shop.week("2025-W01")
    with pytest.raises(ParameterError, match="2025-W02 has no complete data"):
        frames(**WINDOW | {"data_from": dt.date(2025, 1, 7)}).week("2025-W02")
    with pytest.raises(ParameterError, match="2025-W06 is not complete"):
        shop.week("2025-W06")


@pytest.mark.parametrize(
    "text", ["", "W03", "2025-W3", "2025-W54", "2025-W53", "2025W03", "2025-02-30", "２０２５-W03x"]
)
def test_a_malformed_week_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="week"):
        frames(**WINDOW).week(text)


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_complete_periods_lie_whole_inside_the_window(period: Period) -> None:
    shop = frames()
    for first in pd.date_range("2023-12-25", "2024-01-02"):
        for last in pd.to_datetime(["2024-02-28", "2024-02-29", "2024-03-02", "2024-03-03", "2024-03-31"]):
            window = {"data_from": first.date(), "data_through": last.date()}
            touched = pd.period_range(first, last, freq={"day": "D", "week": "W-SUN", "month": "M"}[period])
            whole = [p for p in touched if p.start_time >= first and p.end_time.normalize() <= last]
            expected = [p.start_time.date() for p in whole]
            cut = replace(shop, description=replace(shop.description, **window))
            assert cut.complete_periods(period) == expected
            assert not expected or cut.complete_periods(period, through=expected[0]) == expected[:1]
