"""cohort.triangle against a slow twin, and what is missing, zero or not observed yet."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit.errors import ParameterError

VALUES = ("active", "gmv", "orders")
KEYS = {"merchant": "merchant_id", "buyer": "buyer_id"}


def begin(day: dt.date, period: str) -> dt.date:
    if period == "week":
        return day - dt.timedelta(days=day.weekday())
    return dt.date(day.year, day.month, 1) if period == "month" else day


def shifted(start: dt.date, age: int, period: str) -> dt.date:
    if period == "month":
        months = start.year * 12 + start.month - 1 + age
        return dt.date(months // 12, months % 12 + 1, 1)
    return start + dt.timedelta(days=age * (7 if period == "week" else 1))


def twin(lines: pd.DataFrame, last: dt.date, unit: str, period: str) -> list[list[Any]]:
    """Loop over cohorts and ages; a cell is observed when the next period starts no later than the day after `last`."""
    sold = lines[lines["status"] != "cancelled"]
    sold = sold.assign(at=[begin(t.date(), period) for t in sold["paid_at"]], unit=sold[KEYS[unit]])
    born = sold.groupby("unit")["at"].min().to_dict()
    sold = sold.assign(cohort=[born[u] for u in sold["unit"]])
    cells = dict(iter(sold.groupby(["cohort", "at"])))
    cohorts, longest, tomorrow = sorted(set(born.values())), 0, last + dt.timedelta(days=1)
    for cohort, at in [*cells, *((cohorts[0], day) for day in pd.date_range(cohorts[0], last).date)]:
        age = next(k for k in range(2000) if shifted(cohort, k + 1, period) > at)
        if (cohort, at) in cells or shifted(cohorts[0], age + 1, period) <= tomorrow:
            longest = max(longest, age)
    rows = []
    for cohort in cohorts:
        for age in range(longest + 1):
            part = cells.get((cohort, shifted(cohort, age, period)), sold.iloc[:0])
            measured = {
                "active": part["unit"].nunique(),
                "gmv": float(part["amount"].astype(float).sum()),
                "orders": part["order_id"].nunique(),
            }
            observed = shifted(cohort, age + 1, period) <= tomorrow
            size = sum(b == cohort for b in born.values())
            rows.append(
                [
                    pd.Timestamp(cohort),
                    age,
                    *(float(m) if observed else np.nan for m in measured.values()),
                    size,
                    observed,
                ]
            )
    return rows


def assert_twin(shop: sk.Dataset, lines: pd.DataFrame, unit: str, period: str) -> None:
    names = ["cohort", "age", *VALUES, "cohort_size", "observed"]
    expected = pd.DataFrame(twin(lines, shop.data_through, unit, period), columns=names)
    kinds = {"age": "int64", "value": "float64", "cohort_size": "int64", "observed": "bool"}
    for value in VALUES:
        found = sk.cohort.triangle(shop, unit=unit, period=period, value=value)  # type: ignore[arg-type]
        assert found.columns.tolist() == ["cohort", "age", "value", "cohort_size", "observed"]
        mine = expected.rename(columns={value: "value"})[found.columns]
        # the twin adds doubles in another order than the engine adds decimals
        pd.testing.assert_frame_equal(found, mine, check_dtype=False, rtol=1e-12)
        assert {name: str(found[name].dtype) for name in kinds} == kinds


@pytest.fixture(scope="module")
def shop(sample: Any) -> sk.Dataset:
    return sk.open_dataset(sample)


@pytest.fixture(scope="module")
def lines(sample: Any) -> pd.DataFrame:
    return pd.read_parquet(sample / "order_lines.parquet")


@pytest.mark.parametrize("period", ["week", "month"])
@pytest.mark.parametrize("unit", KEYS)
def test_the_sample_equals_the_twin(shop: sk.Dataset, lines: pd.DataFrame, unit: str, period: str) -> None:
    assert_twin(shop, lines, unit, period)


def frame(days: list[str], **columns: Any) -> pd.DataFrame:
    n = len(days)
    plain = {"order_id": [f"o{i}" for i in range(n)], "line_id": 1, "buyer_id": "b", "merchant_id": "m",
             "category": "beauty", "paid_at": pd.to_datetime(days), "amount": 1.0, "status": "paid"}  # fmt: skip
    return pd.DataFrame(plain | columns)


def opened(given: pd.DataFrame, last: dt.date | None = None) -> sk.Dataset:
    sellers = sorted(set(given["merchant_id"]))
    window = {} if last is None else {"data_through": last}
    return sk.dataset_from_frames(
        given,
        pd.DataFrame({"merchant_id": sellers, "category": "beauty"}),
        timezone="UTC",
        currency="CNY",
        **window,
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_random_orders_equal_the_twin(data: st.DataObject) -> None:
    days = data.draw(st.lists(st.dates(dt.date(2023, 12, 20), dt.date(2024, 3, 5)).map(str), min_size=1, max_size=10))
    pick = lambda *values: data.draw(st.lists(st.sampled_from(values), min_size=len(days), max_size=len(days)))  # noqa: E731
    given_lines = frame(
        days, buyer_id=pick("x", "y", "z"), merchant_id=pick("m", "n"), order_id=pick("o1", "o2"),
        line_id=range(len(days)),
        status=pick("paid", "paid", "cancelled"), amount=[float(i) for i in range(len(days))],
    )  # fmt: skip
    if (given_lines["status"] == "cancelled").all():
        with pytest.raises(ParameterError, match="no sale"):
            sk.cohort.triangle(opened(given_lines), unit="buyer")
        return
    last = data.draw(st.dates(dt.date(2024, 1, 31), dt.date(2024, 4, 30)))
    unit, period = (
        data.draw(st.sampled_from(["merchant", "buyer"])),
        data.draw(st.sampled_from(["day", "week", "month"])),
    )
    assert_twin(opened(given_lines, last), given_lines, unit, period)


@pytest.mark.parametrize(
    ("period", "last", "observed"),
    [
        ("month", dt.date(2024, 2, 28), [True, False]),
        ("month", dt.date(2024, 2, 29), [True, True]),
        ("week", dt.date(2024, 2, 3), [False]),
        ("week", dt.date(2024, 2, 4), [True]),
    ],
)
def test_a_cell_is_observed_from_the_last_day_of_its_period_on(
    period: str, last: dt.date, observed: list[bool]
) -> None:
    days = ["2024-01-31", "2024-02-10"] if period == "month" else ["2024-01-31"]
    table = sk.cohort.triangle(opened(frame(days), last), unit="buyer", period=period)  # type: ignore[arg-type]
    assert table["observed"].tolist() == observed
    assert table["value"].isna().tolist() == [not seen for seen in observed]


def test_silence_is_zero_up_to_the_end_of_the_data() -> None:
    table = sk.cohort.triangle(opened(frame(["2024-01-31", "2024-03-01"]), dt.date(2024, 6, 15)), unit="merchant")
    assert table["age"].tolist() == [0, 1, 2, 3, 4]
    assert table["value"].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert table["observed"].all()


def test_a_cancelled_order_founds_no_cohort() -> None:
    given_lines = frame(["2024-01-05", "2024-02-05", "2024-02-06"], buyer_id=["a", "a", "c"],
                        status=["cancelled", "paid", "cancelled"])  # fmt: skip
    table = sk.cohort.triangle(opened(given_lines, dt.date(2024, 2, 29)), unit="buyer")
    assert table.to_numpy().tolist() == [[pd.Timestamp("2024-02-01"), 0, 1.0, 1, True]]


def test_sizes_count_units_once_and_ages_shrink_to_what_is_there(shop: sk.Dataset, lines: pd.DataFrame) -> None:
    table = sk.cohort.triangle(shop, unit="buyer", period="week")
    sold = lines[lines["status"] != "cancelled"]
    assert table.drop_duplicates("cohort")["cohort_size"].sum() == sold["buyer_id"].nunique()
    seen = table[table["observed"]]
    assert (seen["value"] <= seen["cohort_size"]).all()
    assert (seen[seen["age"] == 0]["value"] == seen[seen["age"] == 0]["cohort_size"]).all()
    assert not table.duplicated(["cohort", "age"]).any()


def test_extra_columns_of_the_lines_do_no_harm() -> None:
    given_lines = frame(["2024-01-31"], cohort="x", age=3, value=9.0, members=1)
    table = sk.cohort.triangle(opened(given_lines, dt.date(2024, 1, 31)), unit="buyer")
    assert table["value"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("given_names", "words"),
    [
        ({"unit": "merchnt"}, "merchant or buyer, not 'merchnt'.*'merchant'"),
        ({"unit": "buyer", "period": "year"}, "one of day, week, month, quarter, not 'year'"),
        ({"unit": "buyer", "value": "gvm"}, "'gvm' is not a metric.*'gmv'"),
        ({"unit": "buyer", "value": "units"}, r"units needs order_lines\.quantity"),
        (
            {"unit": "buyer", "value": "average_order_value"},
            "average_order_value is a ratio; follow its parts gmv and orders",
        ),
    ],
)
def test_unknown_names_are_refused(given_names: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        sk.cohort.triangle(opened(frame(["2024-01-31"])), **given_names)
