"""Decompositions add up to the change, exactly, and agree with slow pandas twins."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from pathlib import Path

DAYS = pd.date_range("2025-01-01", "2025-04-30")
PARTS = ["new", "resurrected", "expansion", "contraction", "churned"]


def shop_of(sales: list[tuple[str, int, int, float]]) -> sk.Dataset:
    """A data set of one line an order: merchant, buyer, day of the four months, amount."""
    lines = pd.DataFrame(sales, columns=["merchant_id", "buyer_id", "day", "amount"])
    lines = lines.assign(order_id=range(len(lines)), line_id=1, category="c", paid_at=DAYS[lines["day"]])
    roster = pd.DataFrame({"merchant_id": sorted(lines["merchant_id"].unique()), "category": "c"})
    window = {"data_from": dt.date(2025, 1, 1), "data_through": dt.date(2025, 4, 30)}
    return sk.dataset_from_frames(lines.drop(columns="day"), roster, timezone="UTC", currency="CNY", **window)


def growth_twin(sales: list[tuple[str, int, int, float]]) -> pd.DataFrame:
    lines = pd.DataFrame(sales, columns=["merchant", "buyer", "day", "amount"])
    lines["month"] = DAYS[lines["day"]].to_period("M")
    rows = []
    for month in pd.period_range("2025-02", "2025-04", freq="M"):
        row = dict.fromkeys(PARTS, 0.0)
        for _, own in lines.groupby("merchant"):
            now, last = (own[own["month"] == m] for m in (month, month - 1))
            sold, was = now["amount"].sum(), last["amount"].sum()
            if len(last) and len(now):
                row["expansion"] += max(sold - was, 0)
                row["contraction"] += max(was - sold, 0)
            elif len(last):
                row["churned"] += was
            elif len(now):
                row["new" if own["month"].min() == month else "resurrected"] += sold
        rows.append(row)
    return pd.DataFrame(rows)


sale = st.tuples(st.sampled_from("abcd"), st.integers(1, 3), st.integers(0, len(DAYS) - 1), st.integers(1, 10_000))
# Each month holds a sale of merchant z, so that every month has a row to compare.
anchored = st.lists(sale, min_size=1, max_size=25).map(
    lambda sales: [*[(m, b, d, a / 100) for m, b, d, a in sales], *[("z", 9, d, 1.0) for d in (0, 31, 59, 90)]]
)


@settings(deadline=None, derandomize=True, database=None, max_examples=40)
@given(anchored)
def test_merchant_growth_equals_its_twin_and_adds_up(sales: list[tuple[str, int, int, float]]) -> None:
    found = sk.kpi.merchant_growth(shop_of(sales))
    # cents added as doubles in another order
    np.testing.assert_allclose(found[PARTS], growth_twin(sales)[PARTS], rtol=1e-12, atol=1e-9)
    signed = found[PARTS].to_numpy() @ [1, 1, 1, -1, -1]
    np.testing.assert_allclose(found["closing"], found["opening"] + signed, rtol=1e-12, atol=1e-9)
    assert (found["opening"].iloc[1:].to_numpy() == found["closing"].iloc[:-1].to_numpy()).all()


@settings(deadline=None, derandomize=True, database=None, max_examples=40)
@given(anchored)
def test_drivers_add_up_to_the_change(sales: list[tuple[str, int, int, float]]) -> None:
    shop = shop_of(sales)
    split = sk.kpi.drivers(shop, period="month", before=dt.date(2025, 1, 5), after=dt.date(2025, 3, 31))
    gmv = sk.kpi.table(shop, by=["month"], metrics=["gmv"]).set_index("month")["gmv"]
    change = gmv["2025-03-01"] - gmv["2025-01-01"]
    # the promise: a residual below 1e-9 of the change; unchanged GMV leaves the rounding of its own size
    assert split["contribution"].sum() == pytest.approx(change, rel=1e-9, abs=1e-12 * gmv.max())
    assert np.prod(split["after"]) == pytest.approx(gmv["2025-03-01"], rel=1e-12)


def test_only_the_driver_that_moved_contributes() -> None:
    january, february = [("a", b, 3, 10.0) for b in (1, 2)], [("a", b, 40, 10.0) for b in (1, 2, 3, 4)]
    shop = shop_of(january + february)
    split = sk.kpi.drivers(shop, period="month", before=dt.date(2025, 1, 1), after=dt.date(2025, 2, 1))
    assert split["contribution"].tolist() == pytest.approx(
        [20.0, 0.0, 0.0], abs=1e-12
    )  # twice the buyers, nothing else


def test_from_nothing_all_of_the_change_is_buyers() -> None:
    shop = shop_of([("a", 1, 0, 5.0), ("a", 1, 100, 7.0)])
    split = sk.kpi.drivers(shop, period="month", before=dt.date(2025, 2, 1), after=dt.date(2025, 4, 1))
    assert split["contribution"].tolist() == [7.0, 0.0, 0.0]


def test_incomplete_and_empty_periods_are_refused(sample: Path) -> None:
    shop = sk.open_dataset(sample)
    with pytest.raises(ParameterError, match="the month of 2025-07-01 is not complete"):
        sk.kpi.drivers(shop, period="month", before=dt.date(2025, 6, 1), after=dt.date(2025, 7, 9))
    silent = shop_of([("a", 1, 0, 5.0)])
    with pytest.raises(ParameterError, match="neither month has sales"):
        sk.kpi.drivers(silent, period="month", before=dt.date(2025, 2, 1), after=dt.date(2025, 3, 1))


def test_retention_of_the_sample_is_what_its_parts_say(sample: Path) -> None:
    found = sk.kpi.merchant_growth(sk.open_dataset(sample))
    kept = (found["opening"] + found["expansion"] - found["contraction"] - found["churned"]) / found["opening"]
    np.testing.assert_allclose(found["net_retention"], kept, rtol=1e-12)
    assert found["month"].is_monotonic_increasing
    assert (found["quick_ratio"] > 0).all()


def test_silent_months_are_rows_of_zeros(sample: Path) -> None:
    found = sk.kpi.merchant_growth(shop_of([("a", 1, 0, 5.0), ("a", 1, 100, 7.0)])).set_index("month")
    assert found.loc["2025-03-01", ["opening", "closing", *PARTS]].tolist() == [0.0] * 7
    assert found.loc["2025-04-01", "resurrected"] == 7.0
    assert np.isnan(found.loc["2025-03-01", "quick_ratio"])
    with pytest.raises(ParameterError, match="before is a date, not"):
        sk.kpi.drivers(sk.open_dataset(sample), period="month", before="2025-01-01", after="2025-02-01")  # type: ignore[arg-type]
