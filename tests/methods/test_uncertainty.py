"""Errors of ratios and of changes: against the formula in pandas, against replications, and what is refused."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import strategy_kit as sk
from strategy_kit.errors import DesignError, ParameterError

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = {"data_from": dt.date(2023, 1, 1), "data_through": dt.date(2024, 12, 31)}
BEFORE, AFTER = dt.date(2024, 5, 1), dt.date(2024, 11, 1)


def market(seed: int = 0, buyers: int = 150, rows: int = 3000) -> pd.DataFrame:
    """Lines of buyers who differ in pace and purse; every order has one buyer and one merchant."""
    rng = np.random.default_rng(seed)
    buyer = rng.choice(buyers, rows, p=rng.dirichlet(np.full(buyers, 2.0)))
    order = np.arange(rows) // 2
    amount = np.round(np.exp(rng.normal(3 + (buyer % 7) / 10, 0.5)), 2)
    return pd.DataFrame({
        "order_id": order, "line_id": range(rows), "buyer_id": buyer[order * 2], "merchant_id": buyer[order * 2] % 40,
        "category": np.where(buyer[order * 2] % 2 == 0, "beauty", "toys"), "amount": amount,
        "paid_at": pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 731, rows)[order * 2], unit="D"),
        "refund_amount": np.where(rng.random(rows) < 0.2, amount, 0.0),
    })  # fmt: skip


def opened(lines: pd.DataFrame) -> sk.Dataset:
    roster = pd.DataFrame({"merchant_id": range(40), "category": "toys"})
    return sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", **WINDOW)  # type: ignore[arg-type]


def delta(y: pd.Series, x: pd.Series) -> tuple[float, float]:
    """Ratio of sums and its error by the textbook formula, from sample moments."""
    n, ratio = len(y), y.sum() / x.sum()
    variance = (y.var() - 2 * ratio * y.cov(x) + ratio**2 * x.var()) / (n * x.mean() ** 2)
    return ratio, float(np.sqrt(variance))


RATIOS = [
    ("average_order_value", "buyer", lambda g: (g["amount"].sum(), g["order_id"].nunique())),
    ("average_order_value", "merchant", lambda g: (g["amount"].sum(), g["order_id"].nunique())),
    ("refund_rate", "merchant", lambda g: (g["refund_amount"].sum(), g["amount"].sum())),
    ("repeat_rate", "buyer", lambda g: (float(len(set(g["order_id"])) > 1), 1.0)),
    ("orders_per_buyer", "buyer", lambda g: (g["order_id"].nunique(), 1.0)),
]


@pytest.mark.parametrize(("metric", "cluster", "values"), RATIOS, ids=[f"{m}-{c}" for m, c, _ in RATIOS])
def test_errors_equal_the_textbook_formula(metric: str, cluster: Any, values: Any) -> None:
    lines = market()
    found = sk.kpi.uncertainty(opened(lines), metric=metric, by=["category"], cluster=cluster)
    known = sk.kpi.table(opened(lines), by=["category"], metrics=[metric])
    for row, (_, part), value in zip(found.itertuples(), lines.groupby("category"), known[metric], strict=True):
        pairs = pd.DataFrame([values(g) for _, g in part.groupby(f"{cluster}_id")], columns=["y", "x"]).astype(float)
        ratio, error = delta(pairs["y"], pairs["x"])
        width = stats.t.ppf(0.975, len(pairs) - 1) * error
        # the same sums in another order: rounding alone
        assert row.value == value
        assert [row.value, row.std_error] == pytest.approx([ratio, error], rel=1e-9)
        assert [row.conf_low, row.conf_high] == pytest.approx([ratio - width, ratio + width], rel=1e-9)
        assert row.n_units == len(pairs)


def test_spend_per_annual_active_buyer_takes_the_twelve_months_to_the_last_day() -> None:
    lines = market(1)
    found = sk.kpi.uncertainty(opened(lines), metric="spend_per_annual_active_buyer", cluster="buyer").iloc[0]
    spend = lines[lines["paid_at"] >= "2024-01-01"].groupby("buyer_id")["amount"].sum()
    ratio, error = delta(spend, pd.Series(1.0, spend.index))
    assert [found["value"], found["std_error"]] == pytest.approx([ratio, error], rel=1e-9)
    assert error == pytest.approx(spend.std() / np.sqrt(len(spend)))


def test_with_a_period_each_one_has_its_own_clusters_and_silence_is_missing() -> None:
    lines = market(2)
    lines = lines[~lines["paid_at"].between("2024-03-01", "2024-03-31")]
    found = sk.kpi.uncertainty(opened(lines), metric="refund_rate", by=["month"], cluster="merchant").set_index("month")
    known = sk.kpi.table(opened(lines), by=["month"], metrics=["refund_rate"]).set_index("month")
    pd.testing.assert_series_equal(found["value"], known["refund_rate"], check_names=False)
    assert found.loc["2024-03-01", ["value", "std_error", "conf_low"]].isna().all()
    assert found.loc["2024-03-01", "n_units"] == 0
    assert found["complete"].all()


def test_a_rate_of_nothing_is_zero_with_an_error_of_zero() -> None:
    found = sk.kpi.uncertainty(opened(market().assign(refund_amount=0.0)), metric="refund_rate", cluster="buyer").iloc[
        0
    ]
    assert found[["value", "std_error", "conf_low", "conf_high"]].tolist() == [0, 0, 0, 0]


def test_one_cluster_has_no_error() -> None:
    found = sk.kpi.uncertainty(opened(market().assign(buyer_id=1)), metric="refund_rate", cluster="buyer").iloc[0]
    assert np.isfinite(found["value"])
    assert np.isnan(found["std_error"])
    assert found["n_units"] == 1


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says() -> None:
    rng, markets, clusters = np.random.default_rng(5), 300, 60
    x = rng.poisson(5, markets * clusters) + 1.0
    y = x * 10 + rng.normal(0, 8, x.size) * np.sqrt(x)
    lines = pd.DataFrame({"order_id": range(x.size), "line_id": 0, "buyer_id": range(x.size), "merchant_id": 1,
                          "category": [f"market {n // clusters}" for n in range(x.size)], "amount": y.clip(0),
                          "paid_at": pd.Timestamp("2024-02-02"), "list_amount": x})  # fmt: skip
    own = sk.Metric("per_list", "share", numerator="gmv", denominator="list_value", additive=False)
    found = sk.kpi.uncertainty(opened(lines), metric=own, by=["category"], cluster="buyer")
    held = ((found["conf_low"] <= 10) & (found["conf_high"] >= 10)).sum()
    # binomial(300, 0.95) lies within 270..297 with probability 0.999
    assert 270 <= held <= 297


def test_changes_equal_the_influence_formula_for_each_yardstick() -> None:
    lines = market(3)
    shop = opened(lines)
    found = sk.kpi.yardsticks(shop, period="month", before=BEFORE, after=AFTER, by=["category"])
    for category, rows in found.groupby("category"):
        part = lines[lines["category"] == category]
        month = part["paid_at"].dt.to_period("M")
        amount = part["amount"]
        year = {end: part["paid_at"].between(pd.Timestamp(end) - pd.DateOffset(years=1) + pd.Timedelta(days=1), end)
                for end in ("2024-05-31", "2024-11-30")}  # fmt: skip
        buyer = pd.DataFrame(index=part["buyer_id"].unique())
        for side, inside, last in (("0", month == "2024-05", "2024-05-31"), ("1", month == "2024-11", "2024-11-30")):
            buyer[f"gmv{side}"] = amount[inside].groupby(part["buyer_id"]).sum()
            buyer[f"orders{side}"] = part[inside].groupby("buyer_id")["order_id"].nunique()
            buyer[f"annual{side}"] = amount[year[last]].groupby(part["buyer_id"]).sum()
            buyer[f"active{side}"] = part[year[last]].groupby("buyer_id").size().clip(upper=1)
        buyer = buyer.fillna(0.0)
        share = buyer / buyer.sum()
        moves = {"orders": share["orders1"] - share["orders0"], "gmv": share["gmv1"] - share["gmv0"]}
        moves["spend_per_annual_active_buyer"] = (
            share["annual1"] - share["active1"] - share["annual0"] + share["active0"]
        )
        total = buyer.sum()
        own = {"orders": ["orders0", "orders1"], "gmv": ["gmv0", "gmv1"],
               "spend_per_annual_active_buyer": ["annual0", "annual1", "active0", "active1"]}  # fmt: skip
        counts = {name: int((buyer[columns] != 0).any(axis=1).sum()) for name, columns in own.items()}
        growth = {name: total[f"{name}1"] / total[f"{name}0"] for name in ("orders", "gmv")}
        spend = [total[f"annual{s}"] / total[f"active{s}"] for s in "01"]
        growth["spend_per_annual_active_buyer"] = spend[1] / spend[0]
        for row in rows.itertuples():
            n = counts[row.metric]
            error = np.sqrt((moves[row.metric] ** 2).sum() * n / (n - 1))
            width = np.exp(stats.t.ppf(0.975, n - 1) * error)
            assert row.change == pytest.approx(growth[row.metric] - 1, rel=1e-9)
            assert row.std_error == pytest.approx(growth[row.metric] * error, rel=1e-8)
            ends = [growth[row.metric] / width - 1, growth[row.metric] * width - 1]
            assert [row.conf_low, row.conf_high] == pytest.approx(ends, rel=1e-8)
            assert row.n_units == n
        assert rows["agree"].tolist() == [len(set(np.sign(rows["change"]))) == 1] * 3
    assert found.groupby("metric")["rank"].apply(lambda r: sorted(r.tolist())).tolist() == [[1, 2]] * 3


def test_a_window_before_the_data_is_missing_and_does_not_disturb_the_others() -> None:
    found = sk.kpi.yardsticks(opened(market(4)), period="month", before=dt.date(2023, 6, 1), after=AFTER)
    spend = found.set_index("metric").loc["spend_per_annual_active_buyer"]
    assert spend[["before", "change", "std_error", "conf_low"]].isna().all()
    assert np.isfinite(spend["after"])
    assert found.set_index("metric").loc[["orders", "gmv"], "std_error"].notna().all()


def test_yardsticks_that_disagree_are_flagged() -> None:
    # in November fewer orders of twice the value, all months before alike
    lines = market(6)
    late = lines["paid_at"] >= "2024-11-01"
    lines = lines[~late | (lines["order_id"] % 4 > 1)].assign(amount=lines["amount"].where(~late, lines["amount"] * 4))
    found = sk.kpi.yardsticks(opened(lines), period="month", before=BEFORE, after=AFTER)
    assert found.set_index("metric").loc["orders", "change"] < 0 < found.set_index("metric").loc["gmv", "change"]
    assert not found["agree"].any()


def test_orders_of_several_merchants_need_buyers_as_clusters() -> None:
    lines = market().assign(merchant_id=lambda f: f["line_id"] % 40)
    with pytest.raises(DesignError, match="orders does not add up over merchants"):
        sk.kpi.uncertainty(opened(lines), metric="average_order_value", cluster="merchant")
    assert np.isfinite(sk.kpi.uncertainty(opened(lines), metric="average_order_value", cluster="buyer")["std_error"][0])


@pytest.mark.parametrize(
    ("asked", "law"),
    [
        ({"metric": "gmv"}, "gmv is no ratio"),
        ({"metric": "repeat_rate"}, "repeat_rate cannot be summed over merchants"),
        (
            {"metric": "refund_rate", "cluster": "buyers"},
            "a cluster is merchant or buyer, not 'buyers' .did you mean 'buyer'",
        ),
        ({"metric": "refund_rate_by_event_date"}, "needs order_lines.refunded_at"),
        ({"metric": "spend_per_annual_active_buyer", "cluster": "buyer", "by": ["month"]}, "leave the period out"),
        ({"metric": "refund_rat"}, "did you mean 'refund_rate'"),
    ],
)
def test_what_has_no_error_is_refused(asked: dict[str, Any], law: str) -> None:
    with pytest.raises(ParameterError, match=law):
        sk.kpi.uncertainty(opened(market(rows=20)), **asked)


def test_changes_of_what_is_not_complete_are_refused() -> None:
    shop = opened(market(rows=50))
    for asked, law in (
        (
            {"after": dt.date(2025, 1, 1)},
            "the month of 2025-01-01 is not complete in this data set; those from 2023-01-01",
        ),
        ({"after": AFTER, "by": ["week"]}, "not a period such as week"),
        ({"after": "2024-04-01"}, "after is a date, not '2024-04-01'"),
        ({"after": dt.date(2024, 4, 1)}, "before, 2024-05-01, is not an earlier month than after, 2024-04-01"),
    ):
        with pytest.raises(ParameterError, match=law):
            sk.kpi.change(shop, metrics=["gmv"], period="month", before=BEFORE, **asked)  # type: ignore[arg-type]


def test_the_same_data_give_the_same_bits_whoever_adds_first(root: Path) -> None:
    shop, months = sk.open_dataset(root / "data" / "sample"), (dt.date(2025, 5, 1), dt.date(2025, 6, 1))
    first, *others = (
        sk.kpi.yardsticks(shop, by=["category"], period="month", before=months[0], after=months[1]) for _ in range(5)
    )
    for other in others:
        pd.testing.assert_frame_equal(other, first, check_exact=True)


def test_a_line_after_the_data_s_end_counts_on_neither_side_of_a_year_s_ratio(sample: Path) -> None:
    lines, roster = (pd.read_parquet(sample / f"{name}.parquet") for name in ("order_lines", "merchants"))
    window: Any = {"timezone": "Asia/Shanghai", "currency": "CNY"}
    window |= {"data_from": dt.date(2024, 7, 29), "data_through": dt.date(2025, 7, 30)}
    late = lines.iloc[-1:].assign(order_id="late", paid_at=pd.Timestamp("2025-07-31 10:00"))
    shops = [sk.dataset_from_frames(frame, roster, **window) for frame in (lines, pd.concat([lines, late]))]
    asked: Any = {"metric": "spend_per_annual_active_buyer", "cluster": "buyer"}
    pd.testing.assert_frame_equal(*(sk.kpi.uncertainty(shop, **asked) for shop in shops))
