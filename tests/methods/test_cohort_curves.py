"""Curves from triangles, survival and supported cohorts, against slow twins, known truths and hand-made cases."""

from __future__ import annotations

import datetime as dt
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.duration.survfunc import SurvfuncRight

import strategy_kit as sk
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.importers import import_olist

if TYPE_CHECKING:
    from pathlib import Path

Cells = dict[tuple[Any, int], float]
JANUARY, FEBRUARY, MARCH = (pd.Timestamp(2024, month, 1) for month in (1, 2, 3))


def hand_made() -> pd.DataFrame:
    """Three cohorts up to March; the first is left-censored, the second has nothing at age 0."""
    rows = [(JANUARY, 0, 8.0, 8), (JANUARY, 1, 4.0, 8), (JANUARY, 2, 2.0, 8), (FEBRUARY, 0, 0.0, 2), (FEBRUARY, 1, 1.0, 2),
            (FEBRUARY, 2, np.nan, 2), (MARCH, 0, 6.0, 6), (MARCH, 1, np.nan, 6), (MARCH, 2, np.nan, 6)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["cohort", "age", "value", "cohort_size"])
    return frame.assign(observed=frame["value"].notna(), left_censored=frame["cohort"] == JANUARY)


@pytest.fixture(scope="module", params=["sample", "olist"])
def shop(request: pytest.FixtureRequest, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    if request.param == "sample":
        return sk.open_dataset(sample)
    folder = request.getfixturevalue("shared") / "data" / "olist"
    if not folder.is_dir():
        pytest.skip("the published Olist files are not in the shared reference data")
    out = tmp_path_factory.mktemp("data") / "olist"
    import_olist(folder, out)
    return sk.open_dataset(out)


def cells_of(frame: pd.DataFrame) -> Cells:
    return {(row["cohort"], row["age"]): row["value"] for row in frame.to_dict("records") if row["observed"]}


def assert_cells(found: pd.DataFrame, given: pd.DataFrame, expected: Cells) -> None:
    """Hold every cell, missing ones too, and that nothing but values differs from the triangle."""
    pd.testing.assert_frame_equal(found.drop(columns="value"), given.drop(columns="value"))
    mine = [expected.get((row["cohort"], row["age"]), np.nan) for row in given.to_dict("records")]
    # sums of doubles in another order
    np.testing.assert_allclose(found["value"], mine, rtol=1e-12, atol=0)


@pytest.mark.parametrize("unit", ["merchant", "buyer"])
def test_curves_equal_their_twins(shop: sk.Dataset, unit: Any) -> None:
    active, gmv = (sk.cohort.triangle(shop, unit=unit, value=value) for value in ("active", "gmv"))
    size = dict(zip(active["cohort"], active["cohort_size"], strict=True))
    cells = cells_of(gmv)
    assert_cells(sk.cohort.retention(active), active, {at: n / size[at[0]] for at, n in cells_of(active).items()})
    for base in (0, 1):
        shares = {at: y / b for at, y in cells.items() if (b := cells.get((at[0], base), 0.0))}
        assert_cells(sk.cohort.value_retention(gmv, base), gmv, shares)
    running = {(c, age): sum(cells[c, k] for k in range(age + 1)) / size[c] for c, age in cells}
    assert_cells(sk.cohort.cumulative_per_member(gmv), gmv, running)
    shuffled = gmv.sample(frac=1, random_state=1)
    again = sk.cohort.cumulative_per_member(shuffled).sort_values(["cohort", "age"])
    pd.testing.assert_frame_equal(again, sk.cohort.cumulative_per_member(gmv))


def average_twin(frame: pd.DataFrame, through: int, *, common: bool) -> list[list[float]]:
    rows = []
    for age in range(through + 1):
        parts = []
        for _, own in frame[~frame["left_censored"]].groupby("cohort"):
            known = {
                row["age"]: row for row in own.to_dict("records") if row["observed"] and not np.isnan(row["value"])
            }
            if all(k in known for k in (range(through + 1) if common else [age])):
                parts.append((known[age]["value"], known[age]["cohort_size"]))
        if parts:
            members = sum(size for _, size in parts)
            rows.append([age, sum(value * size for value, size in parts) / members, len(parts), members])
    return rows


@pytest.mark.parametrize("through", [3, None])
@pytest.mark.parametrize("over", ["all_available", "common"])
def test_averages_equal_their_twin(shop: sk.Dataset, over: Any, through: int | None) -> None:
    frame = sk.cohort.value_retention(sk.cohort.triangle(shop, unit="buyer", value="gmv"))
    if over == "common" and through is None:
        with pytest.raises(ParameterError, match=r"through_age is an age of the triangle, 0 to \d+, not None"):
            sk.cohort.average(frame, over)
        return
    found = sk.cohort.average(frame, over, through_age=through)
    assert found.columns.tolist() == ["age", "value", "cohorts", "members"]
    expected = average_twin(frame, frame["age"].max() if through is None else through, common=over == "common")
    # sums of doubles in another order
    np.testing.assert_allclose(found.to_numpy(dtype=float), np.array(expected, dtype=float), rtol=1e-12)
    assert found.attrs["left_out"] == frame.loc[frame["left_censored"], "cohort"].nunique()


def test_averages_of_all_and_of_common_cohorts_by_hand() -> None:
    shares = sk.cohort.retention(hand_made())
    found = sk.cohort.average(shares)
    assert found.to_numpy().tolist() == [[0, 6 / 8, 2, 8], [1, 0.5, 1, 2]]
    assert found.attrs["left_out"] == 1
    every = sk.cohort.average(shares, keep_left_censored=True)
    assert every.to_numpy().tolist() == [[0, 14 / 16, 3, 16], [1, 0.5, 2, 10], [2, 0.25, 1, 8]]
    assert every.attrs["left_out"] == 0
    common = sk.cohort.average(shares, "common", through_age=1, keep_left_censored=True)
    assert common.to_numpy().tolist() == [[0, 0.8, 2, 10], [1, 0.5, 2, 10]]


def test_a_base_of_nothing_is_missing_and_keeps_its_cohort_out_of_averages() -> None:
    kept = sk.cohort.value_retention(hand_made())
    assert kept["value"].isna().tolist() == [False] * 3 + [True] * 3 + [False, True, True]
    assert sk.cohort.average(kept, keep_left_censored=True)["cohorts"].tolist() == [2, 1, 1]


def test_what_was_not_observed_from_the_start_has_no_running_sum() -> None:
    frame = hand_made()
    early = (frame["cohort"] == JANUARY) & (frame["age"] == 0)
    frame = frame.assign(value=frame["value"].mask(early), observed=frame["observed"] & ~early)
    running = sk.cohort.cumulative_per_member(frame)
    np.testing.assert_array_equal(running["value"], [np.nan] * 3 + [0.0, 0.5, np.nan, 1.0, np.nan, np.nan])


@pytest.mark.parametrize("period", ["day", "week", "month", "quarter"])
def test_layers_add_up_to_the_kpis_of_each_period(shop: sk.Dataset, period: Any) -> None:
    for value, metric in {"active": "active_merchants", "gmv": "gmv", "mature_gmv": "mature_gmv"}.items():
        frame = sk.cohort.triangle(shop, unit="merchant", period=period, value=value)
        layers = sk.cohort.by_calendar(frame, period=period)
        assert layers.columns.tolist() == ["cohort", "period", "value", "observed"]
        assert len(layers) == len(frame)
        total = layers[layers["observed"]].groupby("period")["value"].sum()
        known = sk.kpi.table(shop, by=[period], metrics=[metric]).query("complete").set_index(period)[metric]
        np.testing.assert_allclose(total.reindex(known.index), known, rtol=1e-12)
        # periods that begin before the data are no complete ones, though sales that are there found cohorts
        assert (total.index.difference(known.index) < pd.Timestamp(shop.data_from)).all()


@pytest.mark.parametrize(("made", "named"), list(permutations(["day", "week", "month", "quarter"], 2)))
def test_layers_of_another_period_are_refused(sample: Path, made: Any, named: Any) -> None:
    frame = sk.cohort.triangle(sk.open_dataset(sample), unit="merchant", period=made)
    with pytest.raises(ParameterError, match=f"periods are not of one {named}"):
        sk.cohort.by_calendar(frame, period=named)


def test_one_cohort_is_enough_to_see_another_period() -> None:
    with pytest.raises(ParameterError, match="periods are not of one week"):
        sk.cohort.by_calendar(hand_made()[3:6], period="week")


@pytest.mark.parametrize(
    ("name", "given_names", "words"),
    [
        ("retention", {}, "a value exceeds its cohort_size"),
        ("value_retention", {"base": 3}, "base is an age of the triangle, 0 to 2, not 3"),
        ("average", {"over": "comon"}, "all_available or common, not 'comon'.*'common'"),
        ("average", {"through_age": -1}, "through_age is an age of the triangle, 0 to 2, not -1"),
        ("by_calendar", {"period": "moth"}, "not 'moth'.*'month'"),
    ],
)
def test_what_cannot_be_followed_is_refused(name: str, given_names: dict[str, Any], words: str) -> None:
    function, frame = getattr(sk.cohort, name), hand_made().assign(value=9.0)
    with pytest.raises(ParameterError, match=words):
        function(frame, **given_names)
    with pytest.raises(ParameterError, match=r"no triangle, as it lacks age, observed|not 'comon'"):
        function(frame.drop(columns=["age", "observed"]), **given_names)


def test_an_average_of_no_cohort_is_refused() -> None:
    with pytest.raises(DesignError, match="no cohort has the values to average, and 1 are left out"):
        sk.cohort.average(hand_made(), "common", through_age=2)
    with pytest.raises(DesignError, match="3 are left out as left-censored"):
        sk.cohort.average(hand_made().assign(left_censored=True))


def market(sales: list[tuple[str, str, float]], **keys: Any) -> sk.Dataset:
    """Merchants that sold on given days; data from October 2023 to June 2024."""
    lines = pd.DataFrame(sales, columns=["merchant_id", "paid_at", "amount"])
    lines = lines.assign(
        order_id=range(len(lines)), line_id=1, buyer_id="b", category="c", paid_at=pd.to_datetime(lines["paid_at"])
    )
    roster = pd.DataFrame({"merchant_id": sorted(set(lines["merchant_id"])), "category": "c"})
    window = {"data_from": dt.date(2023, 10, 1), "data_through": dt.date(2024, 6, 30)}
    return sk.dataset_from_frames(lines, roster, timezone="UTC", currency="CNY", **(window | keys))


def months(merchant: str, *numbers: int, amount: float = 1.0) -> list[tuple[str, str, float]]:
    return [(merchant, f"2024-{number:02d}-15", amount) for number in numbers]


LIVES = [*months("a", 1, 2, 3, 4, 5, 6), *months("b", 1, amount=5.0), *months("c", 1, 3), *months("d", 1, 5)]


def test_survival_by_hand() -> None:
    curve = sk.cohort.survival(market([*LIVES, ("old", "2023-10-05", 7.0)]), gone_after=2)
    # b is gone from age 1 on and c from age 3 on; d, silent for one month, is followed to May, as a is
    assert curve["at_risk"].tolist() == [4, 4, 3, 3, 2, 0]
    assert curve["exits"].tolist() == [0, 1, 0, 1, 0, 0]
    np.testing.assert_allclose(curve["survival"], [1, 0.75, 0.75, 0.5, 0.5, np.nan])
    assert curve["members"].tolist() == [4] * 6
    assert curve["value_per_member"].tolist() == [2, 0.25, 0.5, 0.25, 0.5, 0.25]
    assert curve["value_per_survivor"].tolist() == [2, 1, 1, 1, 1, 1]
    assert curve.attrs["left_out"] == {"left_censored": 1, "too_young": 0}


def test_unsettled_periods_show_no_exit_and_leave_the_youngest_out() -> None:
    curve = sk.cohort.survival(market([*LIVES, *months("e", 6)], settlement_days=5), gone_after=2)
    assert curve["at_risk"].tolist() == [4, 4, 3, 3, 0]
    assert curve["exits"].tolist() == [0, 1, 0, 1, 0]
    assert curve.attrs["left_out"] == {"left_censored": 0, "too_young": 1}


def survival_twin(shop: sk.Dataset, period: str, gone_after: int) -> pd.DataFrame:
    """Loop over merchants and ages; periods are numbered by pandas."""
    sold = shop.engine.frame("select merchant_id, paid_at, cast(amount as double) as amount, status from order_lines")
    sold = sold[sold["status"] != "cancelled"]
    sold["at"] = sold["paid_at"].dt.to_period(period)
    end = pd.Period(shop.data_through + dt.timedelta(days=1), freq=period) - 1
    first_known = pd.Timestamp(shop.data_from + dt.timedelta(days=60))
    lives = []
    for _, own in sold.groupby("merchant_id"):
        first, last = own["at"].min(), own["at"].max()
        if first.start_time >= first_known and first <= end:
            gone = (end - last).n >= gone_after
            stop = (last - first).n + 1 if gone else (end - first).n - gone_after + 1
            lives.append(
                (stop, gone, (end - first).n, own.groupby((own["at"] - first).map(lambda d: d.n))["amount"].sum())
            )
    rows, share, spread = [], 1.0, 0.0
    for age in range(max(reach for _, _, reach, _ in lives) + 1):
        risk = sum(stop >= age for stop, _, _, _ in lives)
        exits = sum(gone and stop == age for stop, gone, _, _ in lives)
        share, spread = (
            (share * (1 - exits / risk), spread + exits / (risk * (risk - exits))) if risk else (np.nan, np.nan)
        )
        known = [amounts.get(age) for _, _, reach, amounts in lives if reach >= age]
        kept = [amount for amount in known if amount is not None]
        each = sum(kept) / len(kept) if kept else np.nan
        rows.append([age, risk, exits, share, share * spread**0.5, len(known), sum(kept) / len(known), each])
    names = ["age", "at_risk", "exits", "survival", "std_error", "members", "value_per_member", "value_per_survivor"]
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize(
    ("period", "code", "gone_after"), [("month", "M", 3), ("month", "M", 1), ("quarter", "Q", 1), ("week", "W", 6)]
)
def test_survival_equals_its_twin(shop: sk.Dataset, period: Any, code: str, gone_after: int) -> None:
    found = sk.cohort.survival(shop, period=period, gone_after=gone_after)
    expected = survival_twin(shop, code, gone_after)
    # sums of doubles in another order
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-12)
    assert found[["at_risk", "exits", "members"]].dtypes.unique().tolist() == [np.dtype("int64")]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=15))
def test_kaplan_meier_equals_statsmodels(given: list[tuple[int, int, int]]) -> None:
    lives = pd.DataFrame([(b, b + length, n) for b, length, n in given], columns=["born", "gone", "merchants"])
    horizon = 14
    found = sk.cohort.curves._kaplan_meier(lives, horizon, 26)
    each = lives.loc[lives.index.repeat(lives["merchants"])]
    times = np.minimum(each["gone"] + 1, horizon) - each["born"]
    # with a constant nobody exits at, so that statsmodels has an event to begin with
    truth = SurvfuncRight(np.append(times, 0), np.append(each["gone"] < horizon, 0))
    own = found.set_index("age").loc[truth.surv_times[truth.n_events > 0]]
    np.testing.assert_allclose(own["survival"], truth.surv_prob[truth.n_events > 0], rtol=1e-12, atol=1e-12)
    some = truth.surv_prob[truth.n_events > 0] > 0
    np.testing.assert_allclose(own["std_error"][some], truth.surv_prob_se[truth.n_events > 0][some], rtol=1e-9)


def test_survival_finds_the_hazard_that_made_the_data() -> None:
    draw, hazard, end = np.random.default_rng(5), 0.1, 8
    days = [f"{day:%Y-%m-15}" for day in pd.date_range("2023-10-01", periods=end + 1, freq="MS")]
    born, lived = draw.integers(2, end + 1, 1500).tolist(), draw.geometric(hazard, 1500).tolist()
    sales = [(f"m{m}", day, 1.0) for m in range(1500) for day in days[born[m] : born[m] + lived[m]]]
    curve = sk.cohort.survival(market(sales)).dropna()
    assert len(curve) == end - 2 - 2 + 1
    distance = (curve["survival"] - (1 - hazard) ** curve["age"]).abs()
    assert (distance <= 3 * curve["std_error"]).all()
    assert curve["std_error"].max() < 0.03


@pytest.mark.parametrize(
    ("given_names", "error", "words"),
    [
        ({"gone_after": 0}, ParameterError, "gone_after is a whole number of periods"),
        ({"period": "year"}, ParameterError, "not 'year'"),
        ({"burn_in_days": 900}, DesignError, "no merchant first sold in a complete month"),
    ],
)
def test_no_survival_where_it_cannot_be_known(given_names: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sk.cohort.survival(market(LIVES), **given_names)


def supported_market(*starts: tuple[str, str]) -> sk.Dataset:
    support = pd.DataFrame(starts, columns=["merchant_id", "started_on"]).assign(lever="display")
    return market(LIVES, support=support.assign(started_on=pd.to_datetime(support["started_on"])))


def test_supported_cohorts_stand_beside_the_others_as_a_description() -> None:
    found = sk.cohort.supported(supported_market(("a", "2024-04-01"), ("b", "2024-06-30"), ("c", "2024-07-01")))
    # c is supported only after the data: it is one of the others
    assert found.columns.tolist() == ["group", "age", "value", "members", "cohorts", "reading"]
    assert found["reading"].unique().tolist() == ["description, not effect"]
    assert found["group"].tolist() == ["supported"] * 6 + ["not supported"] * 6
    assert found["value"].tolist() == [3, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 0, 0.5, 0, 0.5, 0]
    assert found["members"].tolist() == [2] * 12
    assert found.attrs["left_out"] == {"supported": 0, "not supported": 0}


def test_a_group_without_a_cohort_is_named() -> None:
    with pytest.raises(DesignError, match="no support table"):
        sk.cohort.supported(market(LIVES))
    for start, group in {"2024-07-01": "supported", "2024-01-01": "not supported"}.items():
        with pytest.raises(DesignError, match=f"no sale of a {group} merchant"):
            sk.cohort.supported(supported_market(*[(merchant, start) for merchant in "abcd"]))


def test_supported_equals_triangles_of_the_two_groups(sample: Path) -> None:
    shop, tables = (
        sk.open_dataset(sample),
        {t: pd.read_parquet(sample / f"{t}.parquet") for t in ("order_lines", "merchants")},
    )
    names = set(pd.read_parquet(sample / "support.parquet")["merchant_id"])
    found = sk.cohort.supported(shop, value="orders")
    for group, inside in {"supported": True, "not supported": False}.items():
        own = tables["order_lines"][tables["order_lines"]["merchant_id"].isin(names) == inside]
        window = {"data_from": shop.data_from, "data_through": shop.data_through}
        part = sk.dataset_from_frames(own, tables["merchants"], timezone="Asia/Shanghai", currency="CNY", **window)  # type: ignore[arg-type]
        frame = sk.cohort.triangle(part, unit="merchant", value="orders")
        expected = sk.cohort.average(frame.assign(value=frame["value"] / frame["cohort_size"]))
        mine = found[found["group"] == group].reset_index(drop=True)[expected.columns]
        pd.testing.assert_frame_equal(mine, expected, check_exact=True)
