"""Every law of the contract: kept by a clean data set, broken by exactly the row that breaks it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.checks import COLUMNS
from strategy_kit.contract import TABLES, Law
from strategy_kit.errors import ContractError

if TYPE_CHECKING:
    from pathlib import Path

DAY = pd.Timestamp("2025-01-13")
WINDOW = {"data_from": dt.date(2025, 1, 6), "data_through": dt.date(2025, 2, 2)}
TEXTS: dict[str, Any] = {
    "status": "paid",
    "phase": "spot",
    "category": "beauty",
    "merchant_id": "m1",
    "currency": "CNY",
}
TEXTS["refunded_at"] = pd.Timestamp("2027-01-01")

# (table, check) -> the values that break this law in one row, and no other law.
BROKEN: dict[tuple[str, str], dict[str, Any]] = {
    ("order_lines", "amount is not negative"): {"amount": -0.01, "refund_amount": -0.02},
    ("order_lines", "quantity is not negative"): {"quantity": -1},
    ("order_lines", "refund_amount is not negative"): {"refund_amount": -0.01},
    ("order_lines", "platform_subsidy is not negative"): {"platform_subsidy": -0.01},
    ("order_lines", "platform_fee is not negative"): {"platform_fee": -0.01},
    ("order_lines", "refunded_at is not before paid_at"): {"refunded_at": pd.Timestamp("2025-01-12")},
    ("order_lines", "list_amount is not negative"): {"list_amount": -0.01},
    ("order_lines", "status is one of paid, cancelled, refunded"): {"status": "PAID"},
    ("order_lines", "merchant_id is on the roster"): {"merchant_id": "stranger"},
    ("order_lines", "category is known"): {"category": None},
    ("order_lines", "refund_amount is at most amount"): {"amount": 1.0, "refund_amount": 1.01},
    ("order_lines", "a refunded line has its refund_amount"): {"status": "refunded", "refund_amount": None},
    ("order_lines", "paid_at lies within the data set's window"): {"paid_at": pd.Timestamp("2025-02-03")},
    ("support", "merchant_id is on the roster"): {"merchant_id": "stranger"},
    ("support", "ended_on is not before started_on"): {"ended_on": pd.Timestamp("2025-01-12")},
    ("support", "cost is not negative"): {"cost": -1.0},
    ("support", "dose is not negative"): {"dose": -1.0},
    ("targets", "merchant_id is on the roster"): {"merchant_id": "stranger"},
    ("targets", "period_end is not before period_start"): {"period_end": pd.Timestamp("2025-01-12")},
    ("targets", "floor is not negative"): {"floor": -1.0},
    ("targets", "stretch is not negative"): {"floor": -3.0, "stretch": -2.0},
    ("targets", "stretch is not below floor"): {"floor": 9.0, "stretch": 8.0},
    ("offplatform_sales", "merchant_id is on the roster"): {"merchant_id": "stranger"},
    ("offplatform_sales", "gmv is not negative"): {"gmv": -1.0},
    ("offplatform_sales", "ad_spend is not negative"): {"ad_spend": -1.0},
    ("prices", "merchant_id is on the roster"): {"merchant_id": "stranger"},
    ("prices", "price is not negative"): {"price": -1.0},
    ("prices", "week is a Monday"): {"week": pd.Timestamp("2025-01-12")},
    ("prices", "market_price is not negative"): {"market_price": -1.0},
    ("experience", "week is a Monday"): {"week": pd.Timestamp("2025-01-12")},
    ("experience", "merchant_id is on the roster"): {"merchant_id": "stranger"},
    ("experience", "response_minutes is not negative"): {"response_minutes": -1.0},
    ("experience", "complaints is not negative"): {"complaints": -1.0},
    ("traffic", "week is a Monday"): {"week": pd.Timestamp("2025-01-12")},
    ("traffic", "merchant_id is on the roster"): {"merchant_id": "stranger"},
    ("traffic", "impressions is not negative"): {"impressions": -1.0, "clicks": -2.0},
    ("traffic", "clicks is not negative"): {"clicks": -1.0},
    ("traffic", "visits is not negative"): {"visits": -1.0},
    ("traffic", "clicks is at most impressions"): {"impressions": 5.0, "clicks": 6.0},
    ("searches", "week is a Monday"): {"week": pd.Timestamp("2025-01-12")},
    ("searches", "sessions is not negative"): {"sessions": -1.0},
    ("searches", "queries is not negative"): {"queries": -1.0},
    ("searches", "conversions is not negative"): {"conversions": -1.0},
    ("calendar", "phase is one of presale, deposit, balance, spot, none"): {"phase": "sale"},
    ("policies", "ended_on is not before started_on"): {"ended_on": pd.Timestamp("2025-01-12")},
}
# Breaking the first makes the second break too; nothing else may.
ALONG = {
    ("order_lines", "amount is not negative"): {"refund_amount is not negative"},
    ("targets", "stretch is not negative"): {"floor is not negative"},
    ("traffic", "impressions is not negative"): {"clicks is not negative"},
}
LAWS = [(table, law.check) for table, contract in TABLES.items() for law in contract.laws]
NEVER_MISSING = [(t, c) for t, contract in TABLES.items() for c in contract.required if c not in contract.nullable]
VALUES = {"number": 5.0, "integer": 5, "date": DAY, "timestamp": DAY, "boolean": True}


def table(name: str, rows: int = 4) -> pd.DataFrame:
    """Rows that keep every law, with every column that the contract knows; the first key column tells them apart."""
    columns = {c: [TEXTS.get(c, VALUES.get(kind, f"{c}1"))] * rows for c, kind in TABLES[name].columns.items()}
    frame = pd.DataFrame(columns)
    own = next((c for c in TABLES[name].key if c not in TEXTS), TABLES[name].key[0])
    kind = TABLES[name].columns[own]
    step = "7D" if own == "week" else "D"
    days = pd.date_range(DAY, periods=rows, freq=step) if kind == "date" else [f"m{i + 1}" for i in range(rows)]
    return frame.assign(**{own: days}).assign(**({"period_end": days} if name == "targets" else {}))


def opened(**tables: pd.DataFrame) -> sk.Dataset:
    """The two tables that must be there and those given."""
    needed = {name: table(name) for name in ("order_lines", "merchants")}
    return sk.dataset_from_frames(**(needed | tables), timezone="Asia/Shanghai", currency="CNY", **WINDOW)


def with_row(name: str, **values: Any) -> pd.DataFrame:
    """The clean table with other values in its last row."""
    frame = table(name)
    for column, value in values.items():
        kept = frame[column].tolist()[:-1]
        frame[column] = pd.Series([*kept, value], dtype=object if value is None else None)
    return frame


def broken(issues: pd.DataFrame) -> dict[tuple[str, str], int]:
    found = issues[issues["rows"] > 0]
    return dict(zip(zip(found["table"], found["check"], strict=True), found["rows"].astype(int), strict=True))


def test_a_clean_data_set_breaks_nothing() -> None:
    issues = opened(**{name: table(name) for name in TABLES}).check()
    assert issues.columns.tolist() == COLUMNS == ["check", "severity", "table", "rows", "share", "example", "remedy"]
    assert broken(issues) == {}
    assert (issues["share"] == 0).all()
    assert (issues[["example", "remedy"]] == "").all(axis=None)
    assert set(issues["severity"]) == {"error", "warning"}
    assert not issues.duplicated(["table", "check"]).any()
    listed = set(zip(issues["table"], issues["check"], strict=True))
    assert set(LAWS) <= listed, "a law was not run"


def test_every_law_has_a_case_here() -> None:
    assert sorted(BROKEN) == sorted(LAWS), "write a row that breaks the new law, or drop that of a law that is gone"


@pytest.mark.parametrize("law", LAWS, ids=[f"{t}-{c}".replace(" ", "_") for t, c in LAWS])
def test_a_broken_row_breaks_exactly_its_law(law: tuple[str, str]) -> None:
    name, check = law
    issues = opened(**{name: with_row(name, **BROKEN[law])}).check()
    along = {(name, other) for other in ALONG.get(law, ())}
    assert broken(issues) == dict.fromkeys({law, *along}, 1)
    row = issues[(issues["table"] == name) & (issues["check"] == check)].iloc[0]
    declared = next(given for given in TABLES[name].laws if given.check == check)
    assert row["share"] == 1 / 4
    assert (row["severity"], row["remedy"]) == (declared.severity, declared.remedy)
    assert row["remedy"]
    for column in (*TABLES[name].key, *declared.columns):
        assert f"{column} " in row["example"]
    for column, value in BROKEN[law].items():
        shown = "missing" if value is None else str(value).removesuffix(" 00:00:00")
        assert column not in declared.columns or f"{column} {shown}" in row["example"]


@pytest.mark.parametrize(("name", "column"), NEVER_MISSING)
def test_a_missing_value_is_counted(name: str, column: str) -> None:
    found = broken(opened(**{name: with_row(name, **{column: None})}).check())
    assert found.pop((name, f"{column} is never missing")) == 1
    # a key that is missing may leave others without their merchant, or make a date incomparable; never more
    assert set(found) <= {(t, "merchant_id is on the roster") for t in TABLES}


@pytest.mark.parametrize("name", TABLES)
def test_a_repeated_key_counts_its_extra_rows(name: str) -> None:
    rows = table(name)
    thrice = pd.concat([rows, rows.iloc[[1, 1, 2]]], ignore_index=True)
    issues = opened(**{name: thrice}).check()
    check = f"{' and '.join(TABLES[name].key)} never repeat"
    assert broken(issues) == {(name, check): 3}
    row = issues[(issues["check"] == check) & (issues["table"] == name)].iloc[0]
    assert row["share"] == 3 / 7
    assert all(f"{c} " in row["example"] for c in TABLES[name].key)
    assert row["remedy"]


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_is_an_error(name: str) -> None:
    found = broken(opened(**{name: table(name).iloc[:0]}).check())
    assert found.pop((name, "the table has rows")) == 1
    assert {check for _, check in found} <= {"merchant_id is on the roster"}, found


def test_counts_are_of_all_broken_rows() -> None:
    negative = table("order_lines").assign(amount=[-3.0, -1.0, 0.0, np.nan], refund_amount=-5.0)
    found = broken(opened(order_lines=negative).check())
    assert found == {
        ("order_lines", "amount is not negative"): 2,
        ("order_lines", "amount is never missing"): 1,
        ("order_lines", "refund_amount is not negative"): 4,
    }


@pytest.mark.parametrize(
    ("moment", "outside"),
    [("2025-01-05 23:59:59", 1), ("2025-01-06", 0), ("2025-02-02 23:59:59.999999", 0), ("2025-02-03", 1)],
)
def test_the_window_holds_its_first_and_last_day_whole(moment: str, outside: int) -> None:
    found = opened(order_lines=with_row("order_lines", paid_at=pd.Timestamp(moment))).check()
    assert sum(broken(found).values()) == outside


def test_a_guess_of_the_last_day_is_a_warning() -> None:
    shop = sk.dataset_from_frames(table("order_lines"), table("merchants"), timezone="UTC", currency="CNY")
    assert broken(shop.check()) == {("dataset.toml", "data_through is stated"): 1}
    row = shop.check().iloc[-1]
    assert row["severity"] == "warning"
    assert "2025-01-13" in row["example"]
    shop.require_valid()


def test_pilot_categories_without_merchants_are_an_error() -> None:
    shop = sk.dataset_from_frames(table("order_lines"), table("merchants"), timezone="UTC", currency="CNY",
                                  pilot=dict.fromkeys(["beauty", "beuaty"], DAY.date()), **WINDOW)  # fmt: skip
    row = shop.check().iloc[-1]
    assert row[["check", "severity", "rows", "share", "example"]].tolist() == [
        "pilot categories have merchants", "error", 1, 0.5, "beuaty"]  # fmt: skip
    assert "did you mean 'beauty'?" in row["remedy"]
    with pytest.raises(ContractError, match="beuaty"):
        shop.require_valid()


def test_all_broken_laws_are_named_together() -> None:
    lines = with_row("order_lines", quantity=-1, status="lost", category=None)
    shop = opened(order_lines=lines, prices=with_row("prices", price=-2.0))
    with pytest.raises(ContractError) as raised:
        shop.require_valid()
    text = str(raised.value)
    assert "breaks 3 laws" in text
    for words in ("quantity is not negative, but 1 row breaks it", "status is one of", "status lost", "map it to",
                  "prices: price is not negative", "refunds belong in refund_amount"):  # fmt: skip
        assert words in text
    assert "category is known" not in text, "a warning is no reason to refuse"


def test_warnings_alone_do_not_raise() -> None:
    shop = opened(order_lines=with_row("order_lines", category=None, paid_at=pd.Timestamp("2026-01-01")))
    pd.testing.assert_frame_equal(shop.require_valid(), shop.check())
    assert sum(broken(shop.check()).values()) == 2


HOSTILE = [
    "'; drop table order_lines; --",
    'a"b',
    "line\nbreak\r\n\ttab",
    "中文\u202e🙂",
    "{data_from}",
    "$first",
    "%s\\",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(text: str) -> None:
    lines = table("order_lines").assign(merchant_id=text, category=text, buyer_id=text, market=text, status=text or "x")
    shop = opened(
        order_lines=lines,
        merchants=table("merchants").assign(merchant_id=[text, "m2", "m3", "m4"], region=text),
    )
    issues = shop.check()
    others = {("order_lines", "status is one of paid, cancelled, refunded"): 4}
    assert broken(issues) == others
    assert text in issues[issues["check"].str.startswith("status")].iloc[0]["example"]
    assert sk.kpi.table(shop, by=["category", "region"], metrics=["gmv"]).iloc[0].tolist() == [
        text,
        text,
        20.0,
        True,
    ]
    assert shop.engine.frame("select count(*) as n from order_lines")["n"][0] == 4


def test_an_empty_market_is_checked_and_its_periods_refused_in_words() -> None:
    shop = sk.dataset_from_frames(table("order_lines").iloc[:0], table("merchants"), timezone="UTC", currency="CNY")
    assert ("order_lines", "the table has rows") in broken(shop.check())
    assert "first order to last order" in repr(shop)
    with pytest.raises(ContractError, match="order_lines has no row with a paid_at"):
        shop.week()


def test_laws_of_columns_that_are_absent_are_not_run() -> None:
    shop = opened(order_lines=table("order_lines").drop(columns=["refund_amount", "refunded_at", "status", "quantity"]))
    checks = shop.check().query("table == 'order_lines'")["check"]
    assert not checks.str.contains("refund|status|quantity").any()
    assert broken(shop.check()) == {}


def test_laws_read_only_their_own_columns() -> None:
    for name, contract in TABLES.items():
        for law in contract.laws:
            assert isinstance(law, Law)
            assert set(law.columns) <= set(contract.columns), f"{name}: {law.check}"
            assert all(c in law.broken for c in law.columns)


def test_the_sample_breaks_nothing(sample: Any) -> None:
    issues = sk.open_dataset(sample).require_valid()
    assert broken(issues) == {}


def test_a_fault_far_down_a_csv_file_is_named(tmp_path: Path) -> None:
    rows = [f"o{n},1,b,m,beauty,2025-01-06,5" for n in range(30_000)]  # more than a reader samples to guess kinds
    head = "order_id,line_id,buyer_id,merchant_id,category,paid_at,amount"
    (tmp_path / "o.csv").write_text("\n".join([head, *rows, "last,1,b,m,beauty,2025-01-06,five"]))
    (tmp_path / "m.csv").write_text("merchant_id,category\nm,beauty\n")
    tables = 'tables = {order_lines = "o.csv", merchants = "m.csv"}'
    (tmp_path / "dataset.toml").write_text(f'name = "x"\ncurrency = "CNY"\ntimezone = "UTC"\n{tables}\n')
    with pytest.raises(ContractError, match=r"amount must be a number.*1 row cannot be read as one.*'five'"):
        sk.open_dataset(tmp_path)
