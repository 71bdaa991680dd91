"""Metrics by buyer, by merchant, by refund date and over trailing windows, against twins that loop over every period."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit.errors import ContractError, ParameterError

WINDOW = {"data_from": dt.date(2023, 1, 1), "data_through": dt.date(2024, 12, 20)}
STEPS = {"day": pd.DateOffset(days=1), "week": pd.DateOffset(weeks=1)}
STEPS |= {"month": pd.DateOffset(months=1), "quarter": pd.DateOffset(months=3)}
FREQUENCY = {"day": "D", "week": "W-SUN", "month": "M", "quarter": "Q"}
ASKED = ["gmv", "new_buyers", "repeat_rate", "annual_active_buyers", "spend_per_annual_active_buyer",
         "median_gmv_per_active_merchant", "p90_gmv_per_active_merchant", "top_decile_share", "refund_rate",
         "refund_rate_by_event_date", "refund_maturity", "take_rate"]  # fmt: skip


def market(rows: int, seed: int, first: str = "2022-12-25", days: int = 728) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    paid = pd.Timestamp(first) + pd.to_timedelta(rng.integers(0, days * 86_400, rows), unit="s")
    order = rng.integers(0, max(rows * 2 // 3, 1), rows)
    amount = rng.integers(0, 40_000, rows) / 100
    refund = np.where(rng.random(rows) < 0.3, amount / 2, 0).round(2)
    return pd.DataFrame({
        "order_id": order, "line_id": range(rows), "buyer_id": order % max(rows // 5, 1), "paid_at": paid,
        "merchant_id": rng.integers(0, 30, rows), "category": rng.choice(["beauty", "toys", "books"], rows),
        "amount": amount, "refund_amount": refund, "platform_fee": (amount / 20).round(2), "quantity": 1,
        "refunded_at": pd.Series(paid + pd.to_timedelta(rng.integers(0, 50, rows), unit="D")).where(refund > 0),
        "status": rng.choice(["paid", "cancelled"], rows, p=[0.9, 0.1]),
    })  # fmt: skip


def opened(lines: pd.DataFrame, **others: Any) -> sk.Dataset:
    roster = pd.DataFrame({"merchant_id": range(30), "category": "toys"})
    return sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", **{**WINDOW, **others})


def start(times: pd.Series, period: str) -> pd.Series:
    return times.dt.to_period(FREQUENCY[period]).dt.start_time.astype("datetime64[us]")


def divided(over: float, under: float) -> float:
    return over / under if under else np.nan


def row(sold: pd.DataFrame, group: pd.DataFrame, at: pd.Timestamp, end: pd.Timestamp) -> list[Any]:
    """All metrics of ASKED for the period from `at` to the day before `end`."""
    now = group[(group["paid_at"] >= at) & (group["paid_at"] < end)]
    gmv = now["amount"].sum()
    first = sold.groupby("buyer_id")["paid_at"].min()
    orders = now.groupby("buyer_id")["order_id"].nunique()
    opens = end - pd.DateOffset(months=12)
    year = group[(group["paid_at"] >= opens) & (group["paid_at"] < end)]
    covered = opens >= pd.Timestamp(WINDOW["data_from"])
    each = now.groupby("merchant_id")["amount"].sum().sort_values(ascending=False)
    top = each.iloc[: -(-len(each) // 10)].sum()
    event = group[(group["refunded_at"] >= at) & (group["refunded_at"] < end)]["refund_amount"].sum()
    mature = now.loc[now["paid_at"] < pd.Timestamp("2024-12-21") - pd.Timedelta(days=28), "amount"].sum()
    return [
        gmv, (first[now["buyer_id"].unique()] >= at).sum(), divided((orders > 1).sum(), len(orders)),
        year["buyer_id"].nunique() if covered else np.nan,
        divided(year["amount"].sum(), year["buyer_id"].nunique()) if covered else np.nan,
        each.median(), each.quantile(0.9), divided(top, gmv), divided(now["refund_amount"].sum(), gmv),
        divided(event, gmv), divided(mature, gmv), divided(now["platform_fee"].sum(), gmv),
    ]  # fmt: skip


def twin(lines: pd.DataFrame, groups: list[str], period: str) -> pd.DataFrame:
    sold = lines[lines["status"] != "cancelled"]
    rows = []
    # a refund may come after the last sale, but never before the first
    last = max(start(sold[column], period).max() for column in ("refunded_at", "paid_at"))
    parts: list[Any] = list(sold.groupby(groups)) if groups else [((), sold)]
    for key, group in parts:
        at = start(group["paid_at"], period).min()
        while at <= last:
            end = at + STEPS[period]
            rows.append([*(key if isinstance(key, tuple) else (key,)), at, *row(sold, group, at, end)])
            at = end
    return pd.DataFrame(rows, columns=[*groups, period, *ASKED]).sort_values([*groups, period], ignore_index=True)


@pytest.mark.parametrize(
    ("groups", "period"), [([], "week"), (["category"], "month"), ([], "quarter"), (["category"], "week"), ([], "day")]
)
def test_every_period_equals_the_twin(groups: list[str], period: str) -> None:
    lines = market(1500, 3)
    found = sk.kpi.table(opened(lines), by=[*groups, period], metrics=ASKED).drop(columns="complete")
    expected = twin(lines, groups, period)
    # periods after the last one of the data hold refunds at most: no window ends there
    late = expected[period] > start(pd.Series([pd.Timestamp("2024-12-20")]), period)[0]
    expected.loc[late, ["annual_active_buyers", "spend_per_annual_active_buyer"]] = np.nan
    # amounts are cents; doubles add a thousand of them with an error below 1e-12 of the sum
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_column_type=False, rtol=1e-11, atol=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 60), st.integers(0, 10**6), st.sampled_from(["week", "month"]), st.integers(2, 5))
def test_trailing_windows_equal_a_scan_of_each(rows: int, seed: int, period: str, trailing: int) -> None:
    lines = market(rows, seed, "2024-06-01", 120)
    asked = ["gmv", "buyers", "orders", "average_order_value"]
    window = {"data_from": dt.date(2024, 6, 3), "data_through": dt.date(2024, 9, 20)}
    found = sk.kpi.table(opened(lines, **window), by=[period], metrics=asked, trailing=trailing)
    sold = lines[lines["status"] != "cancelled"]
    for at, gmv, buyers, orders, value, complete in found.itertuples(index=False):
        opens, end = at - (trailing - 1) * STEPS[period], at + STEPS[period]
        inside = sold[(sold["paid_at"] >= opens) & (sold["paid_at"] < end)]
        if opens < pd.Timestamp(window["data_from"]):
            assert np.isnan(gmv)
            assert np.isnan(buyers)
            assert not complete
        elif at <= pd.Timestamp(window["data_through"]):
            assert gmv == pytest.approx(inside["amount"].sum(), abs=1e-6)  # cents
            assert [buyers, orders] == [inside["buyer_id"].nunique(), inside["order_id"].nunique()]
            assert np.isnan(value) if orders == 0 else value == pytest.approx(gmv / orders)
            assert complete == (end <= pd.Timestamp(window["data_through"]) + pd.Timedelta(days=1))


def test_no_period_takes_the_twelve_months_to_the_last_day() -> None:
    lines = market(800, 5)
    found = sk.kpi.table(opened(lines), by=["category"], metrics=["annual_active_buyers", "annual_gmv"])
    year = lines[
        (lines["status"] != "cancelled") & lines["paid_at"].between("2023-12-21", "2024-12-20 23:59:59.999999")
    ]
    assert found["annual_active_buyers"].tolist() == year.groupby("category")["buyer_id"].nunique().tolist()
    np.testing.assert_allclose(found["annual_gmv"], year.groupby("category")["amount"].sum(), rtol=1e-12)


def test_days_outside_since_and_through_do_not_count_but_trailing_windows_reach_back() -> None:
    shop = opened(market(1500, 4))
    asked = ["gmv", "annual_active_buyers", "buyers", "new_buyers"]
    whole = sk.kpi.table(shop, by=["month"], metrics=asked).set_index("month")
    since, through = dt.date(2024, 3, 1), dt.date(2024, 6, 15)
    part = sk.kpi.table(shop, by=["month"], metrics=asked, since=since, through=through).set_index("month")
    assert part.index.tolist() == list(pd.date_range("2024-03-01", "2024-06-01", freq="MS"))
    assert part["complete"].tolist() == [True, True, True, False]
    pd.testing.assert_frame_equal(part.iloc[:3], whole.loc["2024-03-01":"2024-05-01"], check_freq=False)
    assert part["gmv"].iloc[3] < whole.loc["2024-06-01", "gmv"]


def test_a_settlement_lag_keeps_the_last_periods_incomplete() -> None:
    lines = market(300, 6)
    last = sk.kpi.table(opened(lines), by=["week"], metrics=["gmv"]).query("complete")["week"].max()
    lagged = sk.kpi.table(opened(lines, settlement_days=5), by=["week"], metrics=["gmv"])
    assert last == pd.Timestamp("2024-12-09")
    assert lagged.query("complete")["week"].max() == pd.Timestamp("2024-12-09")
    assert opened(lines, settlement_days=6).week() == dt.date(2024, 12, 2)


@pytest.mark.parametrize(
    ("asked", "law"),
    [
        ({"metrics": ["aac"], "by": []}, "write spend_per_annual_active_buyer .money. or annual_active_buyers"),
        ({"metrics": ["new_buyers"], "by": ["week"], "trailing": 4}, "new_buyers cannot run over several periods"),
        ({"metrics": ["gmv"], "by": [], "trailing": 4}, "by names none; add week, month or quarter"),
        ({"metrics": ["gmv"], "by": ["week"], "trailing": 0}, "trailing is a number of periods, 1 to 1000, not 0"),
        ({"metrics": ["gmv"], "by": ["lever"]}, "'lever' is a column of support, where a merchant has many rows"),
        ({"metrics": ["gmv"], "by": ["categori"]}, "did you mean 'category'"),
        ({"metrics": ["gmv"], "by": [], "since": dt.date(2019, 1, 1)}, "since 2019-01-01 lies outside the data"),
        ({"metrics": ["gmv"], "by": [], "through": "2024-01-01"}, "through is a date, not '2024-01-01'"),
        (
            {"metrics": ["gmv"], "by": [], "since": dt.date(2024, 2, 2), "through": dt.date(2024, 2, 1)},
            "is after through",
        ),
    ],
)
def test_what_has_no_answer_is_refused(asked: dict[str, Any], law: str) -> None:
    with pytest.raises(ParameterError, match=law):
        sk.kpi.table(opened(market(20, 1)), **asked)


def test_a_roster_that_names_a_merchant_twice_cannot_fan_lines_out() -> None:
    roster = pd.DataFrame({"merchant_id": [*range(30), 3], "category": "toys"})
    shop = sk.dataset_from_frames(market(50, 1), roster, timezone="Asia/Shanghai", currency="CNY")
    with pytest.raises(ContractError, match="names a merchant_id again in 1 row,"):
        sk.kpi.table(shop, by=["merchant_category"], metrics=["gmv"])
    assert len(sk.kpi.table(shop, by=["category"], metrics=["gmv"])) == 3


def test_lines_in_several_currencies_are_converted_and_without_a_rate_refused() -> None:
    lines = market(200, 2)
    foreign = lines["line_id"] % 3 == 0
    lines = lines.assign(currency=np.where(foreign, "USD", "CNY"), fx_rate=np.where(foreign, 7.25, np.nan))
    found = sk.kpi.table(opened(lines), by=[], metrics=["gmv", "refunds", "average_order_value"]).iloc[0]
    rate = lines["fx_rate"].fillna(1.0)
    plain = opened(market(200, 2).assign(amount=lines["amount"] * rate, refund_amount=lines["refund_amount"] * rate))
    expected = sk.kpi.table(plain, by=[], metrics=["gmv", "refunds", "average_order_value"]).iloc[0]
    pd.testing.assert_series_equal(found, expected)
    for broken in (lines.assign(fx_rate=np.nan), lines.drop(columns="fx_rate"), lines.assign(fx_rate=-1.0)):
        with pytest.raises(ContractError, match="67 lines in USD beside CNY without a positive fx_rate"):
            opened(broken)


ADDITIVE = ["gmv", "refunds", "gmv_net", "fees", "units", "annual_gmv", "refunds_by_event_date"]
COUNTS = ["orders", "buyers", "active_merchants", "annual_active_buyers", "new_buyers", "repeat_buyers"]


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 200), st.integers(0, 10**6), st.sampled_from(["week", "month", "quarter"]))
def test_groups_add_up_order_does_not_matter_and_doubled_lines_double_money_alone(
    rows: int, seed: int, period: str
) -> None:
    lines = market(rows, seed)
    asked = [*ADDITIVE, *COUNTS]
    whole = sk.kpi.table(opened(lines), by=[period], metrics=asked).set_index(period)
    parts = sk.kpi.table(opened(lines), by=["category", period], metrics=asked).groupby(period)[asked].sum(min_count=1)
    shuffled = sk.kpi.table(opened(lines.sample(frac=1, random_state=seed)), by=[period], metrics=asked)
    pd.testing.assert_frame_equal(shuffled.set_index(period), whole)
    doubled = pd.concat([lines, lines.assign(line_id=lines["line_id"] + 10_000)])
    twice = sk.kpi.table(opened(doubled), by=[period], metrics=asked).set_index(period)
    for name in ADDITIVE:
        # cents added in another order: rounding of doubles alone
        np.testing.assert_allclose(parts[name].fillna(0), whole[name].fillna(0), rtol=1e-12, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(twice[name], 2 * whole[name], rtol=1e-12, atol=1e-9, err_msg=name)
    for name in COUNTS:
        np.testing.assert_array_equal(twice[name], whole[name], err_msg=name)
        # one who buys in two groups counts in both; two orders of two groups are a repeat in neither
        if name != "repeat_buyers":
            assert (parts[name].fillna(0) >= whole[name].fillna(0)).all()
