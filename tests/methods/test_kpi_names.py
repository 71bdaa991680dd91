"""Names that users choose meet none of ours, and what users get wrong is refused in one sentence."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.errors import DesignError, ParameterError, StrategyKitError

MAY, JUNE = dt.date(2024, 5, 1), dt.date(2024, 6, 1)
ASKED = ["gmv", "orders", "annual_active_buyers", "new_buyers", "repeat_rate", "top_decile_share"]
HOSTILE = ["n", "unit", "gmv_", "members", "is_new", "counted", "enters", "leaves", "_enters", "day_", "w", "opened",
           "period", "total of gmv", "key 0", "metric gmv", "select", "类目(一级)",
           'a "quoted" one', "paid_at_channel"]  # fmt: skip


def market(name: str) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = 600
    order = np.arange(rows) // 2
    return pd.DataFrame({
        "order_id": order, "line_id": range(rows), "buyer_id": order % 90, "merchant_id": order % 20,
        "category": "toys", "amount": np.round(rng.exponential(50, rows), 2), "quantity": 1,
        "paid_at": pd.Timestamp("2023-06-01") + pd.to_timedelta(order * 2 % 520, unit="D"),
        name: rng.choice(["a", "b"], rows // 2)[order],
    })  # fmt: skip


def opened(lines: pd.DataFrame) -> sk.Dataset:
    roster = pd.DataFrame({"merchant_id": range(20), "category": "toys"})
    window: dict[str, Any] = {"data_from": dt.date(2023, 6, 1), "data_through": dt.date(2024, 10, 31)}
    return sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", **window)


def answers(name: str) -> list[pd.DataFrame]:
    """Every question that groups by a column, with the column renamed to "plain" in the answers."""
    shop = opened(market(name))
    asked: dict[str, Any] = {"period": "month", "before": MAY, "after": JUNE}
    found = [
        sk.kpi.table(shop, by=[name, "quarter"], metrics=ASKED),
        sk.kpi.table(shop, by=["month", name], metrics=["gmv", "buyers"], trailing=3),
        sk.kpi.uncertainty(shop, metric="repeat_rate", by=[name], cluster="buyer"),
        sk.kpi.uncertainty(shop, metric="average_order_value", by=[name], cluster="buyer"),
        sk.kpi.yardsticks(shop, by=[name], **asked),
        sk.kpi.mix_and_rate(shop, metric="average_order_value", by=name, **asked),
        sk.kpi.process_control(shop, metric="gmv", by=[name], period="month"),
        sk.kpi.year_on_year(shop, metrics=["gmv"], by=[name], period="month"),
    ]
    return [frame.rename(columns={name: "plain"}) for frame in found]


@pytest.fixture(scope="module")
def plain() -> list[pd.DataFrame]:
    return answers("plain")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_column_may_be_called_anything(name: str, plain: list[pd.DataFrame]) -> None:
    if name == "period":
        with pytest.raises(ParameterError, match="'period' is a column of the result too; rename it"):
            sk.kpi.process_control(opened(market(name)), metric="gmv", by=[name])
        return
    for found, expected in zip(answers(name), plain, strict=True):
        pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("name", ["value", "metric", "before", "change", "signal", "festival", "complete", "rank"])
def test_a_column_called_like_one_of_the_result_is_refused(name: str) -> None:
    refused = 0
    shop = opened(market(name))
    calls: list[Any] = [
        lambda: sk.kpi.table(shop, by=[name], metrics=["gmv"]),
        lambda: sk.kpi.uncertainty(shop, metric="average_order_value", by=[name], cluster="buyer"),
        lambda: sk.kpi.change(shop, metrics=["gmv"], by=[name], period="month", before=MAY, after=JUNE),
        lambda: sk.kpi.process_control(shop, metric="gmv", by=[name], period="month"),
        lambda: sk.kpi.year_on_year(shop, metrics=["gmv"], by=[name], period="month"),
    ]
    for call in calls:
        try:
            assert list(call().columns).count(name) == 1
        except ParameterError as law:
            refused += "is a column of the result too" in str(law)
    assert refused


@pytest.mark.parametrize("name", ["enters", "unit", "Total of GMV", "value of it", "orders per line", "订单行"])
def test_a_metric_may_be_called_anything(name: str) -> None:
    shop = opened(market("plain"))
    own = sk.Metric(name, "count", "count(*)")
    other = sk.Metric("lines", "count", "count(*)")
    for asked in ({"by": ["plain", "month"]}, {"by": ["month"], "trailing": 3}):
        found = sk.kpi.table(shop, metrics=[own], **asked)  # type: ignore[arg-type]
        expected = sk.kpi.table(shop, metrics=[other], **asked)  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(found.rename(columns={name: "lines"}), expected)
    ratio, alike = (sk.Metric("r", "share", numerator=m, denominator="gmv", additive=False) for m in (own, other))
    one, two = (sk.kpi.uncertainty(shop, metric=metric, cluster="buyer") for metric in (ratio, alike))
    pd.testing.assert_frame_equal(one, two)


def test_a_share_whose_sql_begins_with_a_count_keeps_its_fraction() -> None:
    shop = opened(market("plain"))
    big = sk.Metric("big", "share", "count(*) filter (where amount > 50) / count(*)", additive=False)
    assert 0 < sk.kpi.table(shop, by=[], metrics=[big])["big"][0] < 1


@pytest.mark.parametrize(
    ("metric", "law"),
    [
        (sk.Metric("GMV", "currency", "sum(amount)"), "two different metrics are called 'GMV', capitals aside"),
        (sk.Metric("", "count", "count(*)"), "needs a name without quotation marks"),
        (sk.Metric('a "b"', "count", "count(*)"), "needs a name without quotation marks"),
        (sk.Metric("x", "moneys", "count(*)"), "has the unit 'moneys'; it is one of currency, count"),  # type: ignore[arg-type]
        (sk.Metric("x", "count", "count(*)", per="shop"), "has the per 'shop'; it is one of line, merchant, buyer"),  # type: ignore[arg-type]
        (sk.Metric("x", "count", "count(*)", trailing_months=-3), "trails -3 months; give a whole number"),
        (
            sk.Metric("x", "currency", "max(amount)", additive=False, trailing_months=3),
            "cannot run over trailing months",
        ),
        (sk.Metric("x", "currency", "sum(amout)"), "a metric's SQL does not fit the data set"),
        (sk.Metric("x", "currency", "amount"), "does not fit the data set: .*GROUP BY"),
        (
            sk.Metric("x", "share", numerator="refunds", denominator="gmvv"),
            "'gmvv' is not a metric .did you mean 'gmv'",
        ),
        ("AAC", "write spend_per_annual_active_buyer"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(metric: Any, law: str) -> None:
    with pytest.raises(ParameterError, match=law) as refusal:
        sk.kpi.table(opened(market("plain")), by=[], metrics=["gmv", metric])
    assert "\n" not in str(refusal.value)


WRONG: list[Any] = [
    None,
    3,
    "gmv",
    ["x"],
    [3],
    [None],
    [["gmv"]],
    ("a", None),
    dt.date(2024, 1, 1),
    float("nan"),
    {"a": 1},
]


def test_a_metric_that_is_no_aggregate_is_refused_alone_too() -> None:
    with pytest.raises(ParameterError, match="a metric is an aggregate, such as sum"):
        sk.kpi.table(opened(market("plain")), by=[], metrics=[sk.Metric("x", "currency", "amount", additive=False)])


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_whatever_is_handed_over_the_refusal_is_ours(wrong: Any) -> None:
    shop = opened(market("plain"))
    asked: dict[str, Any] = {"period": "month", "before": MAY, "after": JUNE}
    calls: list[Any] = [
        lambda: sk.kpi.table(shop, by=wrong, metrics=["gmv"]),
        lambda: sk.kpi.table(shop, by=[], metrics=wrong),
        lambda: sk.kpi.table(shop, by=["month"], metrics=["gmv"], trailing=wrong),
        lambda: sk.kpi.table(shop, by=[], metrics=["gmv"], since=wrong),
        lambda: sk.kpi.uncertainty(shop, metric=wrong),
        lambda: sk.kpi.uncertainty(shop, metric="average_order_value", cluster=wrong),
        lambda: sk.kpi.change(shop, metrics=["gmv"], by=wrong, **asked),
        lambda: sk.kpi.change(shop, metrics=["gmv"], **{**asked, "period": wrong}),
        lambda: sk.kpi.change(shop, metrics=["gmv"], **{**asked, "before": wrong}),
        lambda: sk.kpi.mix_and_rate(shop, metric=wrong, by="plain", **asked),
        lambda: sk.kpi.mix_and_rate(shop, metric="average_order_value", by=wrong, **asked),
        lambda: sk.kpi.merchant_ladder(shop, before=wrong, after=dt.date(2024, 10, 31)),
        lambda: sk.kpi.merchant_ladder(shop, before=dt.date(2024, 6, 1), after=dt.date(2024, 10, 31), bands=wrong),
        lambda: sk.kpi.process_control(shop, metric=wrong),
        lambda: sk.kpi.year_on_year(shop, metrics=["gmv"], period=wrong),
    ]
    for number, call in enumerate(calls):
        # what means something: three periods, an open or given bound, a band, a metric
        fits = {
            2: wrong == 3,
            3: wrong is None or type(wrong) is dt.date,
            8: type(wrong) is dt.date,
            12: wrong == [3],
            13: wrong == "gmv",
        }
        with nullcontext() if fits.get(number) else pytest.raises(StrategyKitError):
            call()


def test_timestamps_are_days_and_keys_of_a_table_feed_back() -> None:
    shop = opened(market("plain"))
    months = sk.kpi.table(shop, by=["month"], metrics=["gmv"])["month"]
    asked: dict[str, Any] = {"period": "month", "before": months.iloc[-3], "after": months.iloc[-2]}
    assert sk.kpi.drivers(shop, **asked)["contribution"].notna().all()
    assert len(sk.kpi.change(shop, metrics=["gmv"], **asked)) == 1
    part = sk.kpi.table(shop, by=["month"], metrics=["gmv"], since=months.iloc[-3], through=pd.Timestamp("2024-09-30"))
    assert part["month"].tolist() == months.iloc[-3:-1].tolist()


def test_a_group_without_the_rest_has_zeros_where_windows_are_held() -> None:
    lines = market("plain").assign(refund_amount=0.0, refunded_at=pd.NaT)
    lines["plain"] = np.where(lines["paid_at"] < "2024-01-01", "early", lines["plain"])
    shop = opened(lines)
    found = sk.kpi.table(
        shop, by=["plain"], metrics=["gmv", "annual_gmv", "refunds_by_event_date"], since=dt.date(2024, 5, 1)
    )
    assert found.set_index("plain").loc["early", ["gmv", "refunds_by_event_date"]].tolist() == [0, 0]
    rate = sk.kpi.table(shop, by=["plain"], metrics=["refund_rate_by_event_date"])["refund_rate_by_event_date"]
    assert (rate == 0).all()


def test_constant_limits_still_see_a_change_and_nothing_sold_is_refused() -> None:
    days = pd.date_range("2024-01-01", periods=7 * 20)
    lines = pd.DataFrame({"order_id": range(len(days)), "line_id": 0, "buyer_id": 1, "merchant_id": 1, "category": "toys",
                          "paid_at": days, "amount": np.where(np.arange(len(days)) < 7 * 12, 10.0, 50.0)})  # fmt: skip
    roster = pd.DataFrame({"merchant_id": [1], "category": ["toys"]})
    window: dict[str, Any] = {"data_from": dt.date(2024, 1, 1), "data_through": days[-1].date()}
    pilot: dict[str, Any] = {"categories": ["toys"], "starts_on": dt.date(2024, 3, 25)}
    shop = sk.dataset_from_frames(lines, roster, timezone="Europe/Paris", currency="EUR", pilot=pilot, **window)
    signal = sk.kpi.process_control(shop, metric="gmv")["signal"]
    assert signal.tolist() == [""] * 12 + ["beyond"] * 8
    none = sk.dataset_from_frames(lines.iloc[:0], roster, timezone="Europe/Paris", currency="EUR", **window)
    with pytest.raises(DesignError, match="has no sale, so that no limits can be set"):
        sk.kpi.process_control(none, metric="gmv")


def test_a_festival_in_its_middle_is_known_to_end() -> None:
    days = pd.date_range("2024-01-01", "2025-06-08")
    lines = pd.DataFrame({"order_id": range(len(days)), "line_id": 0, "buyer_id": 1, "merchant_id": 1, "category": "toys",
                          "paid_at": days, "amount": 10.0})  # fmt: skip
    roster = pd.DataFrame({"merchant_id": [1], "category": ["toys"]})
    window: dict[str, Any] = {"data_from": days[0].date(), "data_through": days[-1].date()}
    shop = sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", **window)
    last = sk.kpi.year_on_year(shop, metrics=["gmv"]).iloc[-1]
    assert last["compared_with"] == pd.Timestamp("2024-06-03")
    assert sk.kpi.process_control(shop, metric="gmv")["cause"].iloc[-1] == "618"


def test_young_refunds_are_not_compared() -> None:
    lines = market("plain").assign(refund_amount=1.0)
    shop = opened(lines)
    asked: dict[str, Any] = {"period": "month", "before": dt.date(2024, 9, 1), "after": dt.date(2024, 10, 1)}
    found = sk.kpi.change(shop, metrics=["refund_rate", "gmv"], **asked).set_index("metric")
    assert found.loc["refund_rate", ["change", "std_error", "conf_low"]].isna().all()
    assert np.isfinite(found.loc["gmv", "change"])
    with pytest.raises(ParameterError, match="refunds of 2024-10-01 may still arrive"):
        sk.kpi.mix_and_rate(shop, metric="refund_rate", by="plain", **asked)
