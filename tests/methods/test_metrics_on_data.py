"""Every metric on the demo, Olist and Online Retail, month by month, against one loop in pandas: to the cent and the count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.importers import import_olist, import_online_retail
from strategy_kit.metrics import METRICS, parts
from strategy_kit.simulate import simulate

if TYPE_CHECKING:
    from pathlib import Path

MONEY = ["amount", "refund_amount", "platform_subsidy", "platform_fee", "list_amount"]
TEN_THOUSANDTHS = 10_000
MONTH, YEAR = pd.DateOffset(months=1), pd.DateOffset(months=12)


@pytest.fixture(scope="module", params=["demo", "olist", "online retail"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    """The three data sets: the demo as `make report` makes it, the others as published."""
    folder = tmp_path_factory.mktemp("data") / "made"
    if request.param == "demo":
        return sk.open_dataset(simulate(folder))
    shared: Path = request.getfixturevalue("shared")
    if request.param == "olist":
        import_olist(shared / "data" / "olist", folder)
    else:
        import_online_retail(shared / "data" / "retail", folder)
    return sk.open_dataset(folder)


def lines_of(shop: sk.Dataset) -> pd.DataFrame:
    """The sold lines; money as whole ten-thousandths, so that pandas adds it exactly."""
    lines = pd.concat([pd.read_parquet(path) for path in shop.files["order_lines"]])
    for name in MONEY:
        given = lines[name].astype(float) if name in lines else pd.Series(np.nan, lines.index)
        lines[name] = (given * TEN_THOUSANDTHS).round()
    lines["refunded_at"] = lines.get("refunded_at", pd.NaT)
    lines["category"] = lines["category"].astype(object).where(lines["category"].notna(), "unknown")
    lines["first"] = lines[lines["status"] != "cancelled"].groupby("buyer_id")["paid_at"].transform("min")
    return lines[lines["status"] != "cancelled"]


def divided(over: float, under: float) -> float:
    return over / under if under else np.nan


def twins(group: pd.DataFrame, at: pd.Timestamp, shop: sk.Dataset) -> dict[str, float]:
    """Every metric of the month from `at` on, by filters and sums."""
    now = group[(group["paid_at"] >= at) & (group["paid_at"] < at + MONTH)]
    money = {name: float(now[name].sum()) / TEN_THOUSANDTHS for name in MONEY}
    gmv, orders, buyers = money["amount"], now["order_id"].nunique(), now["buyer_id"].nunique()
    listed = now[now["list_amount"].notna()]
    discounts = float((listed["list_amount"] - listed["amount"]).sum()) / TEN_THOUSANDTHS
    abroad = float(now.loc[now["market"] != "domestic", "amount"].sum()) / TEN_THOUSANDTHS
    event = group[(group["refunded_at"] >= at) & (group["refunded_at"] < at + MONTH)]
    refunded = float(event["refund_amount"].sum()) / TEN_THOUSANDTHS
    opens = at + MONTH - YEAR
    year = group[(group["paid_at"] >= opens) & (group["paid_at"] < at + MONTH)]
    covered = opens >= pd.Timestamp(shop.data_from) and at <= pd.Timestamp(shop.data_through)
    heads = float(year["buyer_id"].nunique()) if covered else np.nan
    annual = float(year["amount"].sum()) / TEN_THOUSANDTHS if covered else np.nan
    repeat = int((now.groupby("buyer_id")["order_id"].nunique() >= 2).sum())
    each = now.groupby("merchant_id")["amount"].sum().sort_values(ascending=False) / TEN_THOUSANDTHS
    top = float(each.iloc[: -(-len(each) // 10)].sum()) if len(each) else np.nan
    last = pd.Timestamp(shop.data_through) + pd.Timedelta(days=1 - shop.description.refund_days)
    mature = float(now.loc[now["paid_at"] < last, "amount"].sum()) / TEN_THOUSANDTHS
    return {
        "gmv": gmv, "refunds": money["refund_amount"], "refunds_by_event_date": refunded, "mature_gmv": mature,
        "gmv_net": gmv - money["refund_amount"], "orders": orders, "buyers": buyers, "annual_active_buyers": heads,
        "new_buyers": now.loc[now["first"] >= at, "buyer_id"].nunique(), "repeat_buyers": repeat, "annual_gmv": annual,
        "active_merchants": now["merchant_id"].nunique(), "median_gmv_per_active_merchant": float(each.median()),
        "p90_gmv_per_active_merchant": float(each.quantile(0.9)), "top_decile_gmv": top, "units": float(now["quantity"].sum()),
        "fees": money["platform_fee"], "take_rate": divided(money["platform_fee"], gmv),
        "subsidies": money["platform_subsidy"], "list_value": money["list_amount"], "discounts": discounts,
        "gmv_overseas": abroad, "refund_rate": divided(money["refund_amount"], gmv),
        "refund_rate_by_event_date": divided(refunded, gmv), "refund_maturity": divided(mature, gmv),
        "repeat_rate": divided(repeat, buyers), "average_order_value": divided(gmv, orders),
        "orders_per_buyer": divided(orders, buyers), "spend_per_annual_active_buyer": divided(annual, heads),
        "gmv_per_active_merchant": divided(gmv, len(each)), "top_decile_share": divided(top, gmv),
        "subsidy_share": divided(money["platform_subsidy"], gmv), "discount_depth": divided(discounts, money["list_amount"]),
        "overseas_share": divided(abroad, gmv),
    }  # fmt: skip


def test_every_metric_of_every_month_equals_the_loop(shop: sk.Dataset) -> None:
    columns = shop.columns("order_lines")
    asked = [name for name, metric in METRICS.items() if all(c in columns for p in parts(metric) for c in p.columns)]
    by = "market" if shop.name == "online-retail" else "category"
    found: Any = sk.kpi.table(shop, by=[by, "month"], metrics=asked)
    lines = lines_of(shop)
    assert set(asked) <= set(twins(lines.iloc[:0], pd.Timestamp("2018-01-01"), shop))
    parted = dict(list(lines.groupby(by)))
    expected = pd.DataFrame(
        [twins(parted[row[0]], row[1], shop) for row in found[[by, "month"]].itertuples(index=False)]
    )
    assert len(found) > 200
    for name in asked:
        one, other = found[name].to_numpy(float), expected[name].to_numpy(float)
        assert (np.isnan(one) == np.isnan(other)).all(), name
        if METRICS[name].unit == "count":
            np.testing.assert_array_equal(one, other, err_msg=name)
        elif METRICS[name].sql:
            # half a cent: doubles hold a month's money to far less, so that no cent can differ
            np.testing.assert_allclose(one, other, rtol=0, atol=0.005, err_msg=name)
        else:
            # two doubles divided: rounding in the last digits
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15, err_msg=name)
