"""cohort.triangle against a slow twin, and what is missing, zero, not observed or not known."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.importers import import_olist
from strategy_kit.metrics import METRICS, parts

if TYPE_CHECKING:
    from pathlib import Path

VALUES = ("active", "gmv", "orders")
KEYS = {"merchant": "merchant_id", "buyer": "buyer_id"}
COLUMNS = ["cohort", "age", "value", "cohort_size", "observed", "left_censored"]
KINDS = {"age": "int64", "value": "float64", "cohort_size": "int64", "observed": "bool", "left_censored": "bool"}
DAY = dt.timedelta(days=1)
Starts = dict[Any, dt.date | None]


def begin(day: dt.date, period: str) -> dt.date:
    if period == "week":
        return day - day.weekday() * DAY
    months = {"day": 0, "month": 1, "quarter": 3}[period]
    return dt.date(day.year, (day.month - 1) // months * months + 1, 1) if months else day


def shifted(start: dt.date, age: int, period: str) -> dt.date:
    if period in ("day", "week"):
        return start + age * DAY * (7 if period == "week" else 1)
    months = start.year * 12 + start.month - 1 + age * (3 if period == "quarter" else 1)
    return dt.date(months // 12, months % 12 + 1, 1)


def age_at(cohort: dt.date, at: dt.date, period: str) -> int:
    age = 0
    while shifted(cohort, age + 1, period) <= at:
        age += 1
    return age


def twin(shop: sk.Dataset, lines: pd.DataFrame, unit: str, period: str, starts: Starts | None = None) -> pd.DataFrame:
    """Loop over lines, then over cohorts and ages; cents are added as whole numbers."""
    sold = [row for row in lines.to_dict("records") if row.get("status") != "cancelled"]
    born: Starts = {}
    for row in sold:
        day, name = row["paid_at"].date(), row[KEYS[unit]]
        born[name] = min(day, born.get(name) or day)
    first_sale, starts = starts is None, born if starts is None else starts
    members = {name: day for name, day in starts.items() if day and (first_sale or day <= shop.data_through)}
    cells: dict[tuple[dt.date, dt.date], list[Any]] = {}
    for row in sold:
        day, since = row["paid_at"].date(), members.get(row[KEYS[unit]])
        if since and day >= since:
            cells.setdefault((begin(since, period), begin(day, period)), []).append(row)
    sizes = Counter(begin(day, period) for day in members.values())
    cohorts = sorted(sizes)
    tomorrow = shop.data_through - shop.description.settlement_days * DAY + DAY
    complete = begin(begin(tomorrow, period) - DAY, period)
    reach = [age_at(cohort, at, period) for cohort, at in cells]
    longest = max([0, *reach, age_at(cohorts[0], complete, period)])
    rows = []
    for cohort in cohorts:
        for age in range(longest + 1):
            at = shifted(cohort, age, period)
            part = cells.get((cohort, at), [])
            observed = shifted(at, 1, period) <= tomorrow and (first_sale or at >= shop.data_from)
            measured = {
                "active": len({row[KEYS[unit]] for row in part}),
                "gmv": sum(round(100 * float(row["amount"])) for row in part) / 100,
                "orders": len({row["order_id"] for row in part}),
            }
            cell = {
                "cohort": pd.Timestamp(cohort),
                "age": age,
                "cohort_size": sizes[cohort],
                "observed": observed,
                "left_censored": first_sale and cohort < shop.data_from + 60 * DAY,
            }
            rows.append(cell | {name: float(value) if observed else float("nan") for name, value in measured.items()})
    return pd.DataFrame(rows)


def assert_twin(
    shop: sk.Dataset,
    lines: pd.DataFrame,
    unit: str,
    period: str,
    starts: tuple[str, Starts | None] = ("first_sale", None),
) -> None:
    expected = twin(shop, lines, unit, period, starts[1])
    for value in VALUES:
        found = sk.cohort.triangle(shop, unit=unit, period=period, value=value, start=starts[0])  # type: ignore[arg-type]
        mine = expected.assign(value=expected[value])[COLUMNS]
        # exactly: the engine adds decimals, the twin whole cents
        pd.testing.assert_frame_equal(found, mine, check_dtype=False, check_exact=True)
        assert {name: str(found[name].dtype) for name in KINDS} == KINDS


@pytest.fixture(scope="module")
def shop(sample: Path) -> sk.Dataset:
    return sk.open_dataset(sample)


@pytest.fixture(scope="module")
def lines(sample: Path) -> pd.DataFrame:
    return pd.read_parquet(sample / "order_lines.parquet")


@pytest.mark.parametrize(
    ("unit", "period"), [("buyer", "week"), ("buyer", "month"), ("merchant", "day"), ("merchant", "quarter")]
)
def test_the_sample_equals_the_twin(shop: sk.Dataset, lines: pd.DataFrame, unit: str, period: str) -> None:
    assert_twin(shop, lines, unit, period)


@pytest.mark.parametrize("start", ["support", "opened_on"])
def test_the_sample_by_other_starts_equals_the_twin(
    shop: sk.Dataset, lines: pd.DataFrame, sample: Path, start: str
) -> None:
    table, column = ("support", "started_on") if start == "support" else ("merchants", start)
    given_starts = pd.read_parquet(sample / f"{table}.parquet").groupby("merchant_id")[column].min()
    assert_twin(shop, lines, "merchant", "month", (start, given_starts.to_dict()))


@pytest.mark.parametrize("unit", KEYS)
def test_olist_equals_the_twin(shared: Path, tmp_path: Path, unit: str) -> None:
    folder = shared / "data" / "olist"
    if not folder.is_dir():
        pytest.skip("the published Olist files are not in the shared reference data")
    import_olist(folder, tmp_path / "olist")
    given_lines = pd.read_parquet(tmp_path / "olist" / "order_lines.parquet")
    assert_twin(sk.open_dataset(tmp_path / "olist"), given_lines, unit, "month")


def frame(days: list[str], **columns: Any) -> pd.DataFrame:
    n = len(days)
    plain = {"order_id": [f"o{i}" for i in range(n)], "line_id": 1, "buyer_id": "b", "merchant_id": "m",
             "category": "beauty", "paid_at": pd.to_datetime(days), "amount": 1.0, "status": "paid"}  # fmt: skip
    return pd.DataFrame(plain | columns)


def opened(given: pd.DataFrame, last: dt.date | None = None, **keys: Any) -> sk.Dataset:
    sellers = sorted(set(given["merchant_id"]))
    window: dict[str, Any] = {} if last is None else {"data_through": last}
    roster = keys.pop("merchants", pd.DataFrame({"merchant_id": sellers, "category": "beauty"}))
    return sk.dataset_from_frames(given, roster, timezone="UTC", currency="CNY", **window, **keys)


@st.composite
def sales(draw: st.DrawFn) -> pd.DataFrame:
    """Lines of few units on close days, so that cohorts, silences and orders over several units all occur."""
    days = draw(st.lists(st.dates(dt.date(2023, 12, 20), dt.date(2024, 3, 5)).map(str), min_size=1, max_size=10))

    def pick(*values: Any) -> list[Any]:
        return draw(st.lists(st.sampled_from(values), min_size=len(days), max_size=len(days)))

    return frame(
        days, buyer_id=pick("x", "y", "z"), merchant_id=pick("m", "n"), order_id=pick("o1", "o2"),
        line_id=range(len(days)), status=["paid", *pick("paid", "paid", "cancelled")[1:]],
        amount=[cents / 100 for cents in pick(1, 10, 12345)],
        joined_on=pd.to_datetime(pick("2023-12-25", "2024-01-31", "2024-05-01", None)),
    )  # fmt: skip


units, periods = st.sampled_from(["merchant", "buyer"]), st.sampled_from(["day", "week", "month", "quarter"])
lasts = st.dates(dt.date(2024, 1, 31), dt.date(2024, 4, 30))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sales(), lasts, units, periods, st.integers(0, 20))
def test_random_orders_equal_the_twin(given: pd.DataFrame, last: dt.date, unit: str, period: str, lag: int) -> None:
    assert_twin(opened(given, last, settlement_days=lag), given, unit, period)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sales(), lasts, periods)
def test_random_date_columns_equal_the_twin(given: pd.DataFrame, last: dt.date, period: str) -> None:
    shop = opened(given, last)
    joined = {
        name: None if pd.isna(day) else day.date() for name, day in given.groupby("buyer_id")["joined_on"].min().items()
    }
    late = [name for name, day in joined.items() if day is None or day > last]
    if len(late) == len(joined):
        with pytest.raises(ParameterError, match=rf"has no buyer whose joined_on lies up to {last}"):
            sk.cohort.triangle(shop, unit="buyer", start="joined_on")
        return
    assert_twin(shop, given, "buyer", period, ("joined_on", joined))
    assert sk.cohort.triangle(shop, unit="buyer", start="joined_on").attrs["left_out"] == len(late)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(sales(), units, periods, st.randoms(use_true_random=False))
def test_order_duplication_and_size_of_the_lines(given: pd.DataFrame, unit: Any, period: Any, random: Any) -> None:
    last = dt.date(2024, 3, 31)
    shuffled = given.iloc[random.sample(range(len(given)), len(given))]
    doubled = pd.concat([given, given.assign(line_id=given["line_id"] + len(given))])
    shops = [opened(rows, last) for rows in (given, shuffled, doubled)]
    for value, factor in {"active": 1, "gmv": 2, "orders": 1}.items():
        once, mixed, twice = (sk.cohort.triangle(s, unit=unit, period=period, value=value) for s in shops)
        pd.testing.assert_frame_equal(once, mixed, check_exact=True)
        pd.testing.assert_frame_equal(once.assign(value=factor * once["value"]), twice, check_exact=True)
    sold = given[given["status"] != "cancelled"]
    assert once.drop_duplicates("cohort")["cohort_size"].sum() == sold[KEYS[unit]].nunique()
    assert (once["value"].isna() == ~once["observed"]).all()


@pytest.mark.parametrize(
    ("period", "last", "observed"),
    [
        ("month", dt.date(2024, 2, 28), [True, False]),
        ("month", dt.date(2024, 2, 29), [True, True]),
        ("week", dt.date(2024, 2, 3), [False]),
        ("week", dt.date(2024, 2, 4), [True]),
        ("quarter", dt.date(2024, 3, 30), [False]),
        ("quarter", dt.date(2024, 3, 31), [True]),
    ],
)
@pytest.mark.parametrize("lag", [0, 5])
def test_a_cell_is_observed_once_its_period_has_ended_and_settled(
    period: Any, last: dt.date, observed: list[bool], lag: int
) -> None:
    days = ["2024-01-31", "2024-02-10"] if period == "month" else ["2024-01-31"]
    shop = opened(frame(days), last + lag * DAY, settlement_days=lag)
    table = sk.cohort.triangle(shop, unit="buyer", period=period)
    assert table["observed"].tolist() == observed
    assert table["value"].isna().tolist() == [not seen for seen in observed]


def test_ages_in_quarters_count_quarters_of_the_calendar() -> None:
    given_lines = frame(["2023-12-31", "2024-01-01", "2024-09-30"], amount=[1.0, 2.0, 4.0])
    table = sk.cohort.triangle(opened(given_lines, dt.date(2024, 12, 31)), unit="buyer", period="quarter", value="gmv")
    assert table["cohort"].unique().tolist() == [pd.Timestamp("2023-10-01")]
    assert table["value"].tolist() == [1.0, 2.0, 0.0, 4.0, 0.0]


def test_silence_is_zero_up_to_the_end_of_the_data() -> None:
    table = sk.cohort.triangle(opened(frame(["2024-01-31", "2024-03-01"]), dt.date(2024, 6, 15)), unit="merchant")
    assert table["age"].tolist() == [0, 1, 2, 3, 4]
    assert table["value"].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert table["observed"].all()


def test_a_cancelled_order_founds_no_cohort() -> None:
    given_lines = frame(["2024-01-05", "2024-02-05", "2024-02-06"], buyer_id=["a", "a", "c"],
                        status=["cancelled", "paid", "cancelled"])  # fmt: skip
    table = sk.cohort.triangle(opened(given_lines, dt.date(2024, 2, 29)), unit="buyer")
    assert table.to_numpy().tolist() == [[pd.Timestamp("2024-02-01"), 0, 1.0, 1, True, True]]
    with pytest.raises(ParameterError, match="no sale, so that no cohort"):
        sk.cohort.triangle(opened(given_lines.assign(status="cancelled")), unit="buyer")


@pytest.mark.parametrize(("burn_in_days", "flags"), [(0, [True, False]), (30, [True, False]), (31, [True, True])])
def test_cohorts_that_begin_in_the_burn_in_are_left_censored(burn_in_days: int, flags: list[bool]) -> None:
    # data from 2 January: the cohort of January begins before them, that of February 30 days later
    shop = opened(frame(["2024-01-05", "2024-02-05"], buyer_id=["a", "b"]), data_from=dt.date(2024, 1, 2))
    table = sk.cohort.triangle(shop, unit="buyer", burn_in_days=burn_in_days)
    assert table.groupby("cohort")["left_censored"].first().tolist() == flags


def test_starts_before_the_data_are_not_observed_and_silent_members_count() -> None:
    roster = pd.DataFrame({"merchant_id": ["m", "n", "s", "late"], "category": "beauty",
                           "opened_on": pd.to_datetime(["2023-11-20", "2024-02-10", "2024-02-11", "2024-04-01"])})  # fmt: skip
    given_lines = frame(["2024-01-09", "2024-02-09", "2024-02-10", "2024-03-05"], merchant_id=["m", "n", "n", "n"])
    window = {"merchants": roster, "data_from": dt.date(2024, 1, 1)}
    table = sk.cohort.triangle(
        opened(given_lines, dt.date(2024, 3, 31), **window), unit="merchant", start="opened_on", value="orders"
    )
    seen = table[table["observed"]].set_index(["cohort", "age"])["value"]
    old, new = pd.Timestamp("2023-11-01"), pd.Timestamp("2024-02-01")
    # November and December lie before the data; n sold a day before it opened, which does not count; s never sold
    assert seen.to_dict() == {(old, 2): 1, (old, 3): 0, (old, 4): 0, (new, 0): 1, (new, 1): 1}
    assert table.drop_duplicates("cohort")["cohort_size"].tolist() == [1, 2]
    assert not table["left_censored"].any()
    assert table.attrs["left_out"] == 1


def test_support_starts_with_a_merchants_first_and_leaves_others_out() -> None:
    given_lines = frame(["2024-01-09", "2024-02-10", "2024-03-05"], merchant_id=["m", "m", "n"])
    rows = [("m", "service", "2024-03-01"), ("m", "display", "2024-02-01"), ("n", "display", "2024-06-01")]
    support = pd.DataFrame(rows, columns=["merchant_id", "lever", "started_on"])
    shop = opened(
        given_lines, dt.date(2024, 3, 31), support=support.assign(started_on=pd.to_datetime(support["started_on"]))
    )
    table = sk.cohort.triangle(shop, unit="merchant", start="support", value="gmv")
    assert table.iloc[:, :5].to_numpy().tolist() == [
        [pd.Timestamp("2024-02-01"), 0, 1.0, 1, True],
        [pd.Timestamp("2024-02-01"), 1, 0.0, 1, True],
    ]
    assert table.attrs["left_out"] == 1


def test_a_start_with_a_zone_is_a_day_of_business_time() -> None:
    joined = pd.Series(pd.to_datetime(["2024-01-31 17:00"])).dt.tz_localize("UTC")  # 1 February, 01:00 in Shanghai
    roster = pd.DataFrame({"merchant_id": ["m"], "category": "beauty"})
    given_lines = frame(["2024-02-03"], joined=joined)
    shop = sk.dataset_from_frames(given_lines, roster, timezone="Asia/Shanghai", currency="CNY")
    assert sk.cohort.triangle(shop, unit="buyer", start="joined")["cohort"][0] == pd.Timestamp("2024-02-01")


def test_extra_columns_of_the_lines_do_no_harm() -> None:
    given_lines = frame(["2024-01-31"], cohort="x", age=3, value=9.0, members=1, period="p", start="s")
    shop = opened(given_lines, dt.date(2024, 1, 31))
    own = sk.Metric("own", "count", "sum(value + members)", columns=("value", "members"))
    measures: list[Any] = ["active", "gmv", own]
    assert [sk.cohort.triangle(shop, unit="buyer", value=m)["value"].tolist() for m in measures] == [[1], [1], [10]]


def test_every_metric_over_lines_is_followed_or_refused(shop: sk.Dataset) -> None:
    refused = []
    for name, metric in METRICS.items():
        if any(set(part.columns) - set(shop.columns("order_lines")) for part in parts(metric)):
            continue
        if metric.plain:
            table = sk.cohort.triangle(shop, unit="merchant", value=name)
            assert table.loc[table["observed"], "value"].notna().all()
        else:
            refused.append(name)
            with pytest.raises(ParameterError, match=f"{name} is no sum or count over the lines paid in a period"):
                sk.cohort.triangle(shop, unit="merchant", value=name)
    assert {"average_order_value", "new_buyers", "annual_gmv"} <= set(refused)
    assert not {"gmv", "orders", "buyers", "mature_gmv"} & set(refused)


@pytest.mark.parametrize(
    ("given_names", "words"),
    [
        ({"unit": "merchnt"}, "merchant or buyer, not 'merchnt'.*'merchant'"),
        ({"unit": "buyer", "period": "year"}, "one of day, week, month, quarter, not 'year'"),
        ({"unit": "buyer", "value": "gvm"}, "'gvm' is not a metric.*'gmv'"),
        ({"unit": "buyer", "value": "units"}, r"units needs order_lines\.quantity"),
        (
            {"unit": "buyer", "value": sk.Metric("mean", "currency", "avg(amount)", additive=False)},
            "mean is no sum or count",
        ),
        ({"unit": "buyer", "start": "paid"}, "first_sale or a date column of order_lines, not 'paid'.*'paid_at'"),
        ({"unit": "buyer", "start": "support"}, "first_sale or a date column of order_lines, not 'support'"),
        ({"unit": "merchant", "start": "suport"}, "first_sale, support or a date column.*'suport'.*'support'"),
        ({"unit": "merchant", "start": "category"}, "a date column of merchants, not 'category'"),
        ({"unit": "merchant", "burn_in_days": -1}, "burn_in_days is a whole number of days, 0 or more, not -1"),
    ],
)
def test_unknown_names_are_refused(given_names: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        sk.cohort.triangle(opened(frame(["2024-01-31"])), **given_names)


def test_support_without_its_table_is_refused() -> None:
    with pytest.raises(DesignError, match="no support table"):
        sk.cohort.triangle(opened(frame(["2024-01-31"])), unit="merchant", start="support")
