"""Decompositions add up to the change, whatever the market; ladder and entry counts equal loops over merchants."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from pathlib import Path

WINDOW: dict[str, Any] = {"data_from": dt.date(2023, 1, 1), "data_through": dt.date(2024, 12, 31)}
MAY, JUNE = dt.date(2024, 5, 1), dt.date(2024, 6, 1)


def opened(lines: pd.DataFrame) -> sk.Dataset:
    roster = pd.DataFrame({"merchant_id": range(50), "category": "toys"})
    return sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", **WINDOW)


def market(rows: int, seed: int, first: str = "2023-01-01", days: int = 731) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    amount = np.round(np.exp(rng.normal(4, 2, rows)), 2)
    return pd.DataFrame({
        "order_id": rng.integers(0, rows, rows), "line_id": range(rows), "buyer_id": rng.integers(0, rows // 2 + 1, rows),
        "merchant_id": rng.integers(0, 50, rows), "category": rng.choice(["beauty", "toys", "books", None], rows),
        "paid_at": pd.Timestamp(first) + pd.to_timedelta(rng.integers(0, days * 24, rows), unit="h"), "amount": amount,
        "refund_amount": np.where(rng.random(rows) < 0.2, amount, 0.0),
        "status": rng.choice(["paid", "cancelled"], rows, p=[0.9, 0.1]),
    })  # fmt: skip


def month(lines: pd.DataFrame, start: dt.date) -> pd.DataFrame:
    sold = lines[lines["status"] != "cancelled"]
    return sold[sold["paid_at"].dt.to_period("M") == pd.Period(start, "M")]


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(2, 60),
    st.integers(0, 10**6),
    st.sampled_from(["average_order_value", "refund_rate", "orders_per_buyer"]),
)
def test_mix_and_rate_add_up_to_the_change_of_the_published_ratio(rows: int, seed: int, metric: str) -> None:
    lines = market(rows, seed, "2024-05-01", 61)
    shop = opened(lines)
    if any(month(lines, start)["amount"].sum() == 0 for start in (MAY, JUNE)):
        with pytest.raises(ParameterError, match="denominator is 0"):
            sk.kpi.mix_and_rate(shop, metric=metric, by="category", period="month", before=MAY, after=JUNE)
        return
    found = sk.kpi.mix_and_rate(shop, metric=metric, by="category", period="month", before=MAY, after=JUNE)
    ratio = sk.kpi.table(shop, by=["month"], metrics=[metric]).set_index("month")[metric]
    effects = found[["rate_effect", "mix_effect"]].to_numpy().sum()
    change = ratio["2024-06-01"] - ratio["2024-05-01"]
    # rounding of doubles alone: a billionth of the ratio itself
    assert effects == pytest.approx(change, abs=1e-9 * max(abs(ratio.to_numpy())))
    groups = found[found["category"] != "overlap"]
    assert groups[["weight_before", "weight_after"]].sum().tolist() == pytest.approx([1, 1])


def test_mix_and_rate_equals_hand_arithmetic() -> None:
    lines = pd.DataFrame({
        "order_id": range(6), "line_id": 0, "buyer_id": range(6), "merchant_id": 1,
        "category": ["a", "a", "b", "a", "b", "b"], "amount": [100.0, 100.0, 20.0, 120.0, 20.0, 20.0],
        "paid_at": pd.to_datetime(["2024-05-02"] * 3 + ["2024-06-02"] * 3),
    })  # fmt: skip
    asked: dict[str, Any] = {"by": "category", "period": "month", "before": MAY, "after": JUNE}
    found = sk.kpi.mix_and_rate(opened(lines), metric="average_order_value", **asked).set_index("category")
    # weights 2/3, 1/3 then 1/3, 2/3; rates 100, 20 then 120, 20; ratios 220/3 and 160/3, their mean 190/3
    assert found.loc["a", "rate_effect"] == pytest.approx(0.5 * 20)
    assert found.loc["a", "mix_effect"] == pytest.approx(-1 / 3 * (110 - 190 / 3))
    assert found.loc["b", "mix_effect"] == pytest.approx(1 / 3 * (20 - 190 / 3))


def test_groups_that_overlap_have_a_row_of_their_own() -> None:
    lines = market(400, 1, "2024-05-01", 61).assign(order_id=lambda f: f["line_id"] // 3)
    asked: dict[str, Any] = {"by": "category", "period": "month", "before": MAY, "after": JUNE}
    orders = sk.kpi.mix_and_rate(opened(lines), metric="average_order_value", **asked)
    assert orders["category"].tolist()[-1] == "overlap"
    assert "overlap" not in sk.kpi.mix_and_rate(opened(lines), metric="refund_rate", **asked)["category"].tolist()


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 60), st.integers(0, 10**6))
def test_entry_and_exit_equal_loops_over_merchants_and_add_up(rows: int, seed: int) -> None:
    lines = market(rows + 1, seed, "2024-05-01", 61)
    found = sk.kpi.entry_and_exit(opened(lines), period="month", before=MAY, after=JUNE).set_index("part")
    sides = [month(lines, start).groupby("merchant_id")["amount"].sum() for start in (MAY, JUNE)]
    kinds = {"continuing": set(sides[0].index) & set(sides[1].index)}
    kinds |= {
        "entering": set(sides[1].index) - set(sides[0].index),
        "leaving": set(sides[0].index) - set(sides[1].index),
    }
    for part, who in kinds.items():
        sums = [side[side.index.isin(who)].sum() for side in sides]
        assert found.loc[part, "merchants"] == len(who)
        # cents: doubles add them up to a rounding far below one
        assert found.loc[part, ["gmv_before", "gmv_after"]].tolist() == pytest.approx(sums, abs=1e-6)
    change = sides[1].sum() - sides[0].sum()
    assert found["contribution"].sum() == pytest.approx(change, abs=1e-6)
    means = [side.mean() if len(side) else 0.0 for side in sides]
    assert found["mean_contribution"].sum() == pytest.approx(means[1] - means[0], abs=1e-6)
    assert (
        found["growth"].isna().all()
        if not len(sides[0])
        else found["growth"].sum() == pytest.approx(change / sides[0].sum())
    )


def test_the_ladder_equals_a_loop_over_merchants_and_counts_everyone() -> None:
    lines = market(900, 4)
    before, after, bands = dt.date(2023, 12, 31), dt.date(2024, 12, 31), (100.0, 1_000.0, 10_000.0)
    found = sk.kpi.merchant_ladder(opened(lines), before=before, after=after, bands=bands)
    sold = lines[lines["status"] != "cancelled"]
    years = [
        sold[sold["paid_at"].dt.year == day.year].groupby("merchant_id")["amount"].sum() for day in (before, after)
    ]
    names = ["no sales", "below 100", "100 to 1,000", "1,000 to 10,000", "10,000 and more"]

    def rung(year: pd.Series, merchant: int) -> str:
        return names[0] if merchant not in year else names[1 + sum(year[merchant] >= band for band in bands)]

    moves = pd.Series([(rung(years[0], m), rung(years[1], m)) for m in set(years[0].index) | set(years[1].index)])
    counts = moves.value_counts()
    assert {(row.band_before, row.band_after): row.merchants for row in found.itertuples()} == counts.to_dict()
    for row in found.itertuples():
        places = names.index(row.band_before), names.index(row.band_after)
        expected = "same" if places[0] == places[1] else "entered" if places[0] == 0 else "left" if places[1] == 0 else \
            "up" if places[1] > places[0] else "down"  # fmt: skip
        assert row.move == expected
    assert found["gmv_after"].sum() == pytest.approx(years[1].sum())
    assert found["band_before"].cat.categories.tolist() == names


@pytest.mark.parametrize(
    ("asked", "law"),
    [
        ({"before": dt.date(2023, 6, 30)}, "the year from 2022-07-01 to 2023-06-30 is not inside the data"),
        ({"after": dt.date(2025, 3, 1)}, "the year from 2024-03-02 to 2025-03-01 is not inside the data"),
        ({"before": dt.date(2024, 12, 31)}, "before is not earlier than after"),
        ({"bands": (10.0, 5.0)}, "bands are positive amounts that rise"),
        ({"before": "2024-01-01"}, "before is a date, not '2024-01-01'"),
    ],
)
def test_a_ladder_that_cannot_stand_is_refused(asked: dict[str, Any], law: str) -> None:
    given = {"before": dt.date(2023, 12, 31), "after": dt.date(2024, 12, 31)} | asked
    with pytest.raises(ParameterError, match=law):
        sk.kpi.merchant_ladder(opened(market(30, 1)), **given)


def test_what_has_no_mix_is_refused() -> None:
    for metric in ("gmv", "spend_per_annual_active_buyer"):
        with pytest.raises(ParameterError, match=f"{metric} is no ratio over the period's lines"):
            sk.kpi.mix_and_rate(
                opened(market(30, 1)), metric=metric, by="category", period="month", before=MAY, after=JUNE
            )


def test_bands_of_any_size_have_names_of_their_own(sample: Path) -> None:
    lines, roster = (pd.read_parquet(sample / f"{name}.parquet") for name in ("order_lines", "merchants"))
    window = {"data_from": dt.date(2024, 7, 29), "data_through": dt.date(2025, 7, 30)}
    shop = sk.dataset_from_frames(lines, roster, timezone="UTC", currency="CNY", **window)
    days = {"before": dt.date(2025, 7, 29), "after": dt.date(2025, 7, 30)}
    found = sk.kpi.merchant_ladder(shop, bands=(0.1, 0.25, 1_000_000.5), **days)
    assert found["band_after"].cat.categories.tolist()[1:] == [
        "below 0.1", "0.1 to 0.25", "0.25 to 1,000,000.5", "1,000,000.5 and more",
    ]  # fmt: skip
