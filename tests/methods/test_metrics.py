"""Every shipped metric against a slow pandas twin, and metrics of one's own."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.errors import ParameterError
from strategy_kit.metrics import METRICS, parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Frame = pd.DataFrame
# the sample's last complete day is 30 July 2025, and refunds arrive within 28 days
MATURE = pd.Timestamp("2025-07-31") - pd.Timedelta(days=28)


def top_decile(lines: Frame) -> float:
    sold = lines.groupby("merchant_id")["amount"].sum().sort_values(ascending=False)
    return float(sold.iloc[: -(-len(sold) // 10)].sum())


def repeating(lines: Frame) -> pd.Series[bool]:
    orders = lines.groupby("buyer_id")["order_id"].nunique()
    return orders >= 2


def divided(lines: Frame, by: str) -> float:
    return float(lines["amount"].sum() / lines[by].nunique())


TWINS: dict[str, Callable[[Frame], float]] = {
    "gmv": lambda f: f["amount"].sum(),
    "refunds": lambda f: f["refund_amount"].sum(),
    "gmv_net": lambda f: (f["amount"] - f["refund_amount"].fillna(0)).sum(),
    "orders": lambda f: f["order_id"].nunique(),
    "buyers": lambda f: f["buyer_id"].nunique(),
    "active_merchants": lambda f: f["merchant_id"].nunique(),
    "refunds_by_event_date": lambda f: f.loc[f["refunded_at"].notna(), "refund_amount"].sum(),
    "mature_gmv": lambda f: f.loc[f["paid_at"] < MATURE, "amount"].sum(),
    # without a period every buyer of the data is new in them
    "new_buyers": lambda f: f["buyer_id"].nunique(),
    "repeat_buyers": lambda f: repeating(f).sum(),
    "annual_active_buyers": lambda f: f.loc[f["paid_at"] >= "2024-07-31", "buyer_id"].nunique(),
    "annual_gmv": lambda f: f.loc[f["paid_at"] >= "2024-07-31", "amount"].sum(),
    "median_gmv_per_active_merchant": lambda f: f.groupby("merchant_id")["amount"].sum().median(),
    "p90_gmv_per_active_merchant": lambda f: f.groupby("merchant_id")["amount"].sum().quantile(0.9),
    "top_decile_gmv": top_decile,
    "fees": lambda f: f["platform_fee"].sum(),
    "units": lambda f: f["quantity"].sum(),
    "subsidies": lambda f: f["platform_subsidy"].sum(),
    "list_value": lambda f: f["list_amount"].sum(),
    "discounts": lambda f: (f["list_amount"] - f["amount"])[f["list_amount"].notna()].sum(),
    "gmv_overseas": lambda f: f.loc[f["market"] != "domestic", "amount"].sum(),
    "refund_rate": lambda f: f["refund_amount"].sum() / f["amount"].sum(),
    "refund_rate_by_event_date": lambda f: f.loc[f["refunded_at"].notna(), "refund_amount"].sum() / f["amount"].sum(),
    "refund_maturity": lambda f: f.loc[f["paid_at"] < MATURE, "amount"].sum() / f["amount"].sum(),
    "repeat_rate": lambda f: repeating(f).mean(),
    "spend_per_annual_active_buyer": lambda f: divided(f[f["paid_at"] >= "2024-07-31"], "buyer_id"),
    "top_decile_share": lambda f: top_decile(f) / f["amount"].sum(),
    "take_rate": lambda f: f["platform_fee"].sum() / f["amount"].sum(),
    "average_order_value": lambda f: f["amount"].sum() / f["order_id"].nunique(),
    "orders_per_buyer": lambda f: f["order_id"].nunique() / f["buyer_id"].nunique(),
    "gmv_per_active_merchant": lambda f: f["amount"].sum() / f["merchant_id"].nunique(),
    "subsidy_share": lambda f: f["platform_subsidy"].sum() / f["amount"].sum(),
    "discount_depth": lambda f: 1 - f["amount"][f["list_amount"].notna()].sum() / f["list_amount"].sum(),
    "overseas_share": lambda f: f.loc[f["market"] != "domestic", "amount"].sum() / f["amount"].sum(),
}


@pytest.fixture(scope="module")
def lines(sample: Path) -> Frame:
    """The lines that were sold, as plain doubles, some without a list price and some without a refund."""
    frame = pd.read_parquet(sample / "order_lines.parquet")
    money = ["amount", "refund_amount", "platform_subsidy", "list_amount"]
    frame[money] = frame[money].astype(float)
    frame.loc[frame.index % 7 == 0, "list_amount"] = np.nan
    frame["platform_fee"] = (0.05 * frame["amount"]).round(2)
    late = frame["paid_at"] + pd.to_timedelta(frame.index % 40, unit="D")
    frame["refunded_at"] = late.where(frame["refund_amount"] > 0)
    return frame


@pytest.fixture(scope="module")
def shop(sample: Path, lines: Frame) -> sk.Dataset:
    roster = pd.read_parquet(sample / "merchants.parquet")
    window: dict[str, Any] = {"data_from": dt.date(2024, 7, 29), "data_through": dt.date(2025, 7, 30)}
    return sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", **window)


def test_every_metric_has_a_twin() -> None:
    assert set(TWINS) == set(METRICS)
    assert "aac" not in METRICS


@pytest.mark.parametrize("name", METRICS)
def test_metric_equals_its_twin_by_category(name: str, shop: sk.Dataset, lines: Frame) -> None:
    found = sk.kpi.table(shop, by=["category"], metrics=[name]).set_index("category")[name]
    sold = lines[lines["status"] != "cancelled"]
    expected = pd.Series({category: TWINS[name](part) for category, part in sold.groupby("category")})
    # The engine adds decimals exactly; pandas adds doubles, whose rounding over some thousand lines stays below 1e-10.
    pd.testing.assert_series_equal(
        found.astype(float), expected.astype(float), rtol=1e-10, check_names=False, check_index_type=False
    )


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.additive])
def test_additive_metrics_add_up(name: str, shop: sk.Dataset) -> None:
    by_merchant = sk.kpi.table(shop, by=["merchant_id"], metrics=[name])[name].sum()
    # sums of cents: equal up to the rounding of the last addition of doubles
    assert by_merchant == pytest.approx(sk.kpi.table(shop, by=[], metrics=[name])[name][0], rel=1e-12)


def test_every_metric_is_defined_in_both_languages_and_by_parts_that_exist() -> None:
    for metric in METRICS.values():
        assert metric.en, metric.name
        assert re.search(r"[\u4e00-\u9fff]", metric.zh), metric.name
        assert bool(metric.sql) != bool(metric.numerator and metric.denominator), metric.name
        assert all(part.sql for part in parts(metric))


def test_a_metric_of_ones_own_stands_beside_the_shipped_ones(shop: sk.Dataset, lines: Frame) -> None:
    biggest = sk.Metric("biggest_line", "currency", "max(amount)", columns=("amount",), additive=False)
    share = sk.Metric("biggest_share", "share", numerator=biggest, denominator="gmv", additive=False)
    row = sk.kpi.table(shop, by=[], metrics=["gmv", biggest, share]).iloc[0]
    sold = lines[lines["status"] != "cancelled"]
    assert row["biggest_line"] == sold["amount"].max()
    assert row["biggest_share"] == row["biggest_line"] / row["gmv"]


def test_a_ratio_of_nothing_is_missing(lines: Frame, sample: Path) -> None:
    none = lines.assign(list_amount=np.nan, amount=0.0, refund_amount=0.0)
    shop = sk.dataset_from_frames(none, pd.read_parquet(sample / "merchants.parquet"), timezone="UTC", currency="CNY")
    row = sk.kpi.table(shop, by=[], metrics=["discount_depth", "refund_rate", "discounts"]).iloc[0]
    assert np.isnan(row["discount_depth"])
    assert np.isnan(row["refund_rate"])
    assert row["discounts"] == 0


def test_a_metric_whose_column_is_absent_is_refused_with_all_that_is_wrong(lines: Frame, sample: Path) -> None:
    bare = lines.drop(columns=["refund_amount", "market"])
    shop = sk.dataset_from_frames(bare, pd.read_parquet(sample / "merchants.parquet"), timezone="UTC", currency="CNY")
    with pytest.raises(ParameterError) as refusal:
        sk.kpi.table(shop, by=[], metrics=["refund_rate", "overseas_share", "gvm"])
    for word in ("refund_rate needs order_lines.refund_amount", "overseas_share needs order_lines.market", "'gmv'"):
        assert word in str(refusal.value)


def test_names_that_clash_are_refused(shop: sk.Dataset) -> None:
    own = sk.Metric("gmv", "currency", "sum(amount) filter (where quantity > 1)", columns=("amount", "quantity"))
    ratio = sk.Metric("s", "share", numerator=own, denominator="gmv", additive=False)
    for metrics in ([ratio], ["average_order_value", own]):
        with pytest.raises(ParameterError, match="two different metrics are called 'gmv'"):
            sk.kpi.table(shop, by=[], metrics=metrics)
    for name in ("month", "complete"):
        with pytest.raises(ParameterError, match=f"{name} cannot name both a metric and another column"):
            sk.kpi.table(shop, by=["month"], metrics=[sk.Metric(name, "count", "count(*)")])


@pytest.mark.parametrize("wrong", [3, sk.Metric("x", "count"), sk.Metric("x", "share", numerator="gmw", denominator="gmv"),
                                   sk.Metric("x", "share", numerator="refund_rate", denominator="gmv")])  # fmt: skip
def test_what_is_no_metric_is_refused(wrong: object, shop: sk.Dataset) -> None:
    with pytest.raises(ParameterError, match=r"is not a metric|needs an aggregate"):
        sk.kpi.table(shop, by=[], metrics=[wrong])  # type: ignore[list-item]


def test_an_average_of_nothing_is_missing_and_keeps_its_fraction(lines: Frame, sample: Path) -> None:
    gap = lines[~lines["paid_at"].between("2025-02-01", "2025-02-28 23:59:59")]
    shop = sk.dataset_from_frames(gap, pd.read_parquet(sample / "merchants.parquet"), timezone="UTC", currency="CNY")
    mean = sk.Metric("mean_amount", "currency", "avg(amount)", columns=("amount",), additive=False)
    found = sk.kpi.table(shop, by=["month"], metrics=["gmv", "orders", mean]).set_index("month").loc["2025-02-01"]
    assert np.isnan(found["mean_amount"])
    assert found["gmv"] == found["orders"] == 0
    whole = sk.kpi.table(shop, by=[], metrics=[sk.Metric("m", "count", "avg(amount)", additive=False)])["m"][0]
    assert whole == pytest.approx(gap.loc[gap["status"] != "cancelled", "amount"].mean(), rel=1e-9)  # doubles, decimals


def test_a_sum_over_months_of_payment_has_no_other_clock(shop: sk.Dataset) -> None:
    columns = ("refund_amount", "refunded_at")
    own = sk.Metric(
        "refunds", "currency", "sum(refund_amount)", columns=columns, clock="refunded_at", trailing_months=12
    )
    with pytest.raises(ParameterError, match="runs over months of payment, not of refunded_at"):
        sk.kpi.table(shop, by=["month"], metrics=[own])
