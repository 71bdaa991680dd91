"""kpi.table against a slow pandas twin, on the sample and on random orders."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit.errors import DesignError, ParameterError

METRICS = ["gmv", "orders", "buyers", "units", "average_order_value"]
PERIODS = ("day", "week", "month")
WINDOW = {"data_from": dt.date(2023, 12, 20), "data_through": dt.date(2024, 3, 2)}


def start(times: pd.Series, period: str) -> pd.Series:
    days = times.dt.normalize()
    if period == "week":
        return days - pd.to_timedelta(days.dt.day_of_week, unit="D")
    return days - pd.to_timedelta(days.dt.day - 1, unit="D") if period == "month" else days


def following(day: pd.Timestamp, period: str) -> pd.Timestamp:
    return day + (pd.DateOffset(months=1) if period == "month" else pd.Timedelta(days=7 if period == "week" else 1))


def row_of(part: pd.DataFrame) -> list[Any]:
    gmv, orders = float(sum(part["amount"], Decimal(0))), part["order_id"].nunique()
    return [
        gmv,
        orders,
        part["buyer_id"].nunique(),
        int(part["quantity"].sum()),
        gmv / orders if orders else np.nan,
    ]


def twin(
    lines: pd.DataFrame, roster: pd.DataFrame, by: list[str], pilots: list[str], window: dict[str, dt.date]
) -> pd.DataFrame:
    """Loop over groups and periods, one filter each; amounts are exact decimals."""
    sold = lines[lines["status"] != "cancelled"].copy()
    sold["amount"] = [Decimal(str(a)) for a in sold["amount"]]
    sold["category"] = sold["category"].astype(object).where(sold["category"].notna(), "unknown")
    sold["pilot"] = sold["category"].isin(pilots)
    own = roster.rename(columns={"category": "merchant_category"}).set_index("merchant_id")
    for column in own:
        sold[column] = sold["merchant_id"].map(own[column])
    for period in PERIODS:
        sold[period] = start(sold["paid_at"], period)
    period = next((b for b in by if b in PERIODS), None)
    keys = [b for b in by if b != period]
    groups = [list(k) for k in sold[keys].drop_duplicates().itertuples(index=False)] if keys else [[]]
    rows = []
    for key in groups:
        mine = sold
        for name, value in zip(keys, key, strict=True):
            mine = mine[mine[name].isna() if pd.isna(value) else mine[name] == value]
        if period is None:
            rows.append([*key, *row_of(mine), True])
            continue
        first, last = pd.Timestamp(window["data_from"]), pd.Timestamp(window["data_through"])
        at, end = mine[period].min(), max(sold[period].max(), start(pd.Series([last]), period)[0])
        while at <= end:
            complete = at >= first and following(at, period) - pd.Timedelta(days=1) <= last
            rows.append([*key, at, *row_of(mine[mine[period] == at]), complete])
            at = following(at, period)
    names = [*keys, *([period] if period else []), *METRICS, "complete"]
    return pd.DataFrame(rows, columns=names)[[*by, *METRICS, "complete"]].sort_values(by, ignore_index=True)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    # dtypes are tested by name below; sums are cents that a double holds exactly up to the last bit of one rounding
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_column_type=False, rtol=1e-15, atol=0)


def opened(lines: pd.DataFrame, roster: pd.DataFrame, **others: Any) -> sk.Dataset:
    return sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", **(WINDOW | others))


@pytest.fixture(scope="module")
def shop(sample: Any) -> sk.Dataset:
    return sk.open_dataset(sample)


@pytest.fixture(scope="module")
def tables(sample: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    lines = pd.read_parquet(sample / "order_lines.parquet")
    return lines, pd.read_parquet(sample / "merchants.parquet")[["merchant_id", "category", "region", "size_band"]]


GROUPINGS = [
    [], ["month"], ["week"], ["day"], ["category"], ["category", "month"], ["week", "category"], ["pilot", "week"],
    ["region", "merchant_category"], ["status"], ["market", "size_band", "month"], ["pilot"],
]  # fmt: skip


@pytest.mark.parametrize("by", GROUPINGS, ids="-".join)
def test_the_sample_equals_the_twin(shop: sk.Dataset, tables: tuple[pd.DataFrame, pd.DataFrame], by: list[str]) -> None:
    window = {"data_from": shop.data_from, "data_through": shop.data_through}
    found = sk.kpi.table(shop, by=by, metrics=METRICS)
    assert_same(found, twin(*tables, by, shop.pilot.categories, window).astype({b: found[b].dtype for b in by}))
    assert found.columns.tolist() == [*by, *METRICS, "complete"]
    kinds = {"gmv": "float64", "orders": "int64", "buyers": "int64", "units": "int64", "complete": "bool"}
    assert {name: str(found[name].dtype) for name in kinds} == kinds
    assert not any(isinstance(value, Decimal) for value in found.iloc[0])


@st.composite
def markets(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    n = draw(st.integers(1, 12))
    times = st.datetimes(dt.datetime(2023, 12, 24), dt.datetime(2024, 3, 5))
    pick = lambda *values: draw(st.lists(st.sampled_from(values), min_size=n, max_size=n))  # noqa: E731
    lines = pd.DataFrame({
        "order_id": pick("o1", "o2", "o3", "o4"), "line_id": range(n), "buyer_id": pick("x", "y", "z"),
        "merchant_id": pick("m1", "m2", "m3"), "category": pd.Series(pick("beauty", "toys", None), dtype="str"),
        "paid_at": pd.to_datetime(draw(st.lists(times, min_size=n, max_size=n))),
        "amount": draw(st.lists(st.integers(0, 10**9).map(lambda c: c / 100), min_size=n, max_size=n)),
        "quantity": pick(0, 1, 7), "status": pick("paid", "paid", "refunded", "cancelled"),
    })  # fmt: skip
    roster = {
        "merchant_id": ["m1", "m2", "m3"],
        "category": ["beauty", "toys", "toys"],
        "region": ["n", None, "s"],
    }
    return lines, pd.DataFrame(roster)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(markets(), st.sampled_from([["week"], ["category", "month"], ["day", "pilot"], ["region", "week"], ["region"]]),
       st.sampled_from(["float", "decimal"]), st.randoms(use_true_random=False))  # fmt: skip
def test_random_markets_equal_the_twin(
    market: tuple[pd.DataFrame, pd.DataFrame], by: list[str], money: str, random: Any
) -> None:
    lines, roster = market
    expected = twin(lines, roster, by, ["beauty"], WINDOW)
    order = list(range(len(lines)))
    random.shuffle(order)
    stored = lines.iloc[order]
    if money == "decimal":
        stored = stored.assign(amount=[Decimal(f"{a:.2f}") for a in stored["amount"]])
    found = sk.kpi.table(opened(stored, roster, pilot={"beauty": dt.date(2024, 1, 15)}), by=by, metrics=METRICS)
    if (lines["status"] == "cancelled").all():
        assert found.empty
        assert found.columns.tolist() == expected.columns.tolist()
    else:
        assert_same(found, expected.astype({b: found[b].dtype for b in by}))


@pytest.mark.parametrize("period", PERIODS)
def test_categories_add_up_to_the_total(shop: sk.Dataset, period: str) -> None:
    total = sk.kpi.table(shop, by=[period], metrics=["gmv", "units"])
    parts = (
        sk.kpi.table(shop, by=["category", period], metrics=["gmv", "units"]).groupby(period)[["gmv", "units"]].sum()
    )
    # cents of up to 1e7 added as doubles: no more than a few last bits
    np.testing.assert_allclose(parts.to_numpy(), total[["gmv", "units"]].to_numpy(), rtol=1e-12)
    orders = sk.kpi.table(shop, by=["category", period], metrics=["orders"])["orders"].sum()
    assert orders >= sk.kpi.table(shop, by=[period], metrics=["orders"])["orders"].sum()


def small(**columns: Any) -> pd.DataFrame:
    """Three lines on the days in question; keywords replace columns."""
    plain = {"order_id": ["a", "b", "c"], "line_id": 1, "buyer_id": ["x", "y", "x"], "merchant_id": ["m1", "m2", "m1"],
             "category": ["beauty", None, "toys"],
             "paid_at": pd.to_datetime(["2024-01-31", "2024-02-29", "2024-03-01"]),
             "amount": [10.0, 0.1, 0.2]}  # fmt: skip
    return pd.DataFrame(plain | columns)


ROSTER = pd.DataFrame({"merchant_id": ["m1", "m2"], "category": ["beauty", "toys"], "region": ["n", "s"]})


def test_weeks_and_months_at_the_edges_of_years_and_february() -> None:
    days = ["2025-12-28 23:59:59", "2025-12-29", "2026-01-04 23:59:59", "2026-01-05"]
    lines = pd.concat([small(), small().iloc[:1]]).assign(paid_at=pd.to_datetime(days, format="ISO8601"))
    weeks = sk.kpi.table(opened(lines, ROSTER, data_through=dt.date(2026, 1, 5)), by=["week"], metrics=["gmv"])
    assert weeks["week"].dt.strftime("%Y-%m-%d").tolist() == ["2025-12-22", "2025-12-29", "2026-01-05"]
    assert weeks["gmv"].tolist() == pytest.approx([10.0, 0.3, 10.0])
    assert weeks["complete"].tolist() == [True, True, False]
    months = sk.kpi.table(opened(small(), ROSTER), by=["month"], metrics=["gmv"])
    assert months["month"].dt.strftime("%Y-%m-%d").tolist() == ["2024-01-01", "2024-02-01", "2024-03-01"]
    assert months["complete"].tolist() == [True, True, False]
    leap = sk.kpi.table(opened(small(), ROSTER), by=["day"], metrics=["gmv"]).set_index("day")["gmv"]
    assert leap["2024-02-29"] == 0.1
    assert len(leap) == 32  # 31 January to 2 March of a leap year, zeros between


def test_nothing_sold_is_zero_and_its_ratio_missing() -> None:
    table = sk.kpi.table(opened(small(), ROSTER), by=["category", "week"], metrics=["gmv", "average_order_value"])
    sizes = table.groupby("category")["week"].agg(["min", "max", "size"])
    assert sizes["size"].to_dict() == {"beauty": 5, "toys": 1, "unknown": 1}
    assert sizes["min"].dt.strftime("%m-%d").to_dict() == {
        "beauty": "01-29",
        "toys": "02-26",
        "unknown": "02-26",
    }
    silent = table[table["gmv"] == 0]
    assert len(silent) == 4
    assert silent["average_order_value"].isna().all()
    free = sk.kpi.table(opened(small(amount=0.0), ROSTER), by=[], metrics=["average_order_value"])
    assert free["average_order_value"].tolist() == [0.0], "orders of amount zero do have a value"


def test_without_columns_there_is_one_row_even_of_nothing() -> None:
    for lines in (small(status="cancelled"), small().iloc[:0]):
        table = sk.kpi.table(opened(lines, ROSTER), by=[], metrics=["gmv", "orders", "average_order_value"])
        assert table.fillna(-1.0).to_numpy().tolist() == [[0.0, 0, -1.0, True]]
        assert sk.kpi.table(opened(lines, ROSTER), by=["month"], metrics=["gmv"]).empty


def test_cancelled_lines_are_out_refunded_and_unmarked_ones_in() -> None:
    lines = small(status=["refunded", None, "cancelled"], refund_amount=[10.0, 0.0, 0.0])
    table = sk.kpi.table(opened(lines, ROSTER), by=["category"], metrics=["gmv", "buyers"])
    assert table.iloc[:, :3].to_numpy().tolist() == [["beauty", 10.0, 1], ["unknown", 0.1, 1]]


def test_metrics_come_in_the_order_asked_for() -> None:
    table = sk.kpi.table(opened(small(), ROSTER), by=["month", "region"], metrics=["buyers", "gmv"])
    assert table.columns.tolist() == ["month", "region", "buyers", "gmv", "complete"]
    assert table["month"].is_monotonic_increasing
    again = sk.kpi.table(opened(small(), ROSTER), by=["month"], metrics=["average_order_value"])
    assert again.columns.tolist() == ["month", "average_order_value", "complete"], "its parts were not asked for"


@pytest.mark.parametrize("quantity", [[1.5, 2.0, np.nan], [Decimal("1.50"), Decimal("2.00"), None]])
def test_fractional_quantities_are_kept(quantity: list[Any]) -> None:
    table = sk.kpi.table(opened(small(quantity=quantity), ROSTER), by=[], metrics=["units", "orders"])
    assert table["units"].tolist() == [3.5]
    assert str(table["orders"].dtype) == "int64", "orders are whole whatever the quantities are"


def test_names_of_the_roster_do_not_shadow_those_of_the_lines() -> None:
    own = ROSTER.assign(status="cancelled", amount=1e6, quantity=9, buyer_id="z", order_id="z", paid_at="never")
    lines = small(status="paid", quantity=1)
    table = sk.kpi.table(opened(lines, own), by=["region", "merchant_status"], metrics=METRICS)
    plain = sk.kpi.table(opened(lines, ROSTER), by=["region"], metrics=METRICS)
    assert_same(table.drop(columns="merchant_status"), plain)
    assert table["merchant_status"].unique().tolist() == ["cancelled"]


def test_a_seller_outside_the_roster_still_counts() -> None:
    table = sk.kpi.table(opened(small(merchant_id=["m1", "stranger", "m1"]), ROSTER), by=["region"], metrics=["gmv"])
    assert table["gmv"].tolist() == pytest.approx([10.2, 0.1])
    assert table["region"].isna().tolist() == [False, True]


def test_unknown_names_are_refused_together() -> None:
    shop = opened(small(), ROSTER)
    with pytest.raises(ParameterError, match=r"'categry' is not a column .*'category'.*'weekk' .*'week'"):
        sk.kpi.table(shop, by=["categry", "weekk"], metrics=["gmv"])
    with pytest.raises(ParameterError, match=r"'gvm' is not a metric .*'gmv'.*units needs order_lines\.quantity"):
        sk.kpi.table(shop, by=["week"], metrics=["gvm", "units"])
    with pytest.raises(ParameterError, match="'aac' is not a metric"):
        sk.kpi.table(shop, by=[], metrics=["aac"])
    with pytest.raises(ParameterError, match="one period, not week and month"):
        sk.kpi.table(shop, by=["week", "category", "month"], metrics=["gmv"])
    with pytest.raises(ParameterError, match="named twice"):
        sk.kpi.table(shop, by=["category", "category"], metrics=["gmv"])
    with pytest.raises(ParameterError, match="not a column"):
        sk.kpi.table(shop, by=['category" --'], metrics=["gmv"])
    with pytest.raises(DesignError, match="no pilot categories"):
        sk.kpi.table(shop, by=["pilot"], metrics=["gmv"])


def test_odd_column_names_are_quoted() -> None:
    lines = small(**{'a "b"; drop': ["u", "v", "u"], "select": 1})
    table = sk.kpi.table(opened(lines, ROSTER), by=['a "b"; drop', "select"], metrics=["orders"])
    assert table["orders"].tolist() == [2, 1]
