"""The panel contract and cohort moments: what is read, what is refused, and that no digit is lost on the way."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit import moments as moments_module
from strategy_kit.errors import ContractError, DesignError
from strategy_kit.moments import Moments
from strategy_kit.panel import Panel
from strategy_kit.periods import ages

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = {"unit": "id", "period": "t", "outcome": "y", "treated_from": "g"}


def frame(starts: list[Any] = (2, 3, 0), periods: Any = (1, 2, 3, 4), **columns: Any) -> pd.DataFrame:
    units, times = len(starts), list(periods)
    values = np.random.default_rng(1).normal(size=units * len(times))
    rows = {"id": np.repeat(np.arange(units), len(times)), "t": times * units, "y": values}
    return pd.DataFrame(rows | {"g": [g for g in starts for _ in times]}).assign(**columns)


def read(data: pd.DataFrame, **more: str) -> Panel:
    return Panel.from_frame(data, **NAMES, **more)


def cell(data: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    changed = data.astype({column: object}) if isinstance(value, str) or value is None else data.copy()
    changed.loc[row, column] = value
    return changed


def test_a_frame_in_order_is_not_copied_and_can_be_written_to_afterwards() -> None:
    data = frame()
    panel = read(data)
    assert np.shares_memory(panel.outcome, data["y"].to_numpy())
    before = panel.outcome.copy()
    data.loc[0, "y"] = 7.0
    data["y"] *= 2
    np.testing.assert_array_equal(panel.outcome, before)
    assert not panel.outcome.flags.writeable


BROKEN: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
    "duplicate": (
        lambda: pd.concat([frame(), frame().head(2)]),
        "id and t must not repeat, but 2 rows do.*sum or drop",
    ),
    "start moves": (lambda: cell(frame(), 1, "g", 4), "g must be the same.*changes in 1 unit .first: 0.*starts once"),
    "missing outcome": (lambda: cell(frame(), 5, "y", np.nan), "y must be a finite number, but 1 row is.*unit.*1"),
    "infinite outcome": (lambda: cell(frame(), 5, "y", np.inf), "y must be a finite number, but 1 row is"),
    "text outcome": (lambda: cell(frame(), 5, "y", "many"), "y must be a finite number.*first: many"),
    "missing unit": (lambda: cell(frame(), 0, "id", None), "^panel: id is missing in 1 row; fill it"),
    "missing period": (lambda: cell(frame(), 0, "t", np.nan), "^panel: t is missing in 1 row"),
    "empty": (lambda: frame().head(0), "the frame has no row"),
    "no column": (lambda: frame().rename(columns={"g": "gg"}), r"column 'g' is missing \(did you mean 'gg'\?\)"),
    "numbers and dates": (
        lambda: frame(starts=[dt.date(2025, 1, 6), dt.date(2025, 1, 6), None]),
        "periods and treated_from must both be numbers or both be dates",
    ),
    "mixed periods": (
        lambda: frame(periods=pd.Series([1, pd.Timestamp("2025-01-06"), 3, 4], dtype=object)),
        "period must be all integers, or all dates or timestamps, not a mixture",
    ),
    "words as periods": (
        lambda: frame(periods=["spring", "summer", "autumn", "winter"]),
        "integers, dates or timestamps",
    ),
    "truth values": (lambda: frame().assign(t=lambda f: f["t"] > 2), "not true and false"),
    "time zone": (
        lambda: frame(periods=pd.date_range("2025-01-06", periods=4, freq="W-MON", tz="Asia/Shanghai")),
        "local business time.*Asia/Shanghai",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_frame_is_refused(case: str) -> None:
    make, words = BROKEN[case]
    with pytest.raises(ContractError, match=words) as refusal:
        read(make())
    assert "\n" not in str(refusal.value)


def test_a_category_stays_the_same() -> None:
    with pytest.raises(ContractError, match="c must be the same in all rows of a unit"):
        read(frame(c=list("aaab" * 3)), category="c")


def test_all_broken_laws_are_told_at_once() -> None:
    data = cell(cell(pd.concat([frame(), frame().tail(1)], ignore_index=True), 2, "y", np.nan), 1, "g", 9)
    with pytest.raises(ContractError, match=r"breaks 3 laws: \(1\) y must .* \(2\) id and t .* \(3\) g must"):
        read(data)


def test_all_missing_columns_are_told_at_once() -> None:
    with pytest.raises(ContractError, match=r"breaks 2 laws.*'y' is missing.*'g' is missing"):
        read(frame()[["id", "t"]])


@pytest.mark.parametrize("missing", [0, np.nan, np.inf, None, pd.NA])
def test_five_ways_to_say_never(missing: Any) -> None:
    panel = read(frame(starts=[2, 3, missing]))
    assert panel.cohorts.tolist() == [2, 3]
    assert panel.cohort.tolist() == [0, 1, -1]
    assert panel.notes == ()


def test_zero_is_a_period_where_periods_count_from_below() -> None:
    assert read(frame(starts=[0, np.nan], periods=[-2, -1, 0, 1])).cohorts.tolist() == [0]


def test_nullable_and_object_numbers_are_numbers() -> None:
    plain = read(frame(starts=[2, 3, np.nan]))
    for kind in ("Int64", "Float64", object):
        other = read(frame(starts=[2, 3, np.nan]).astype({"g": kind, "t": kind}))
        assert other.cohorts.tolist() == plain.cohorts.tolist()
        assert other.periods.tolist() == plain.periods.tolist()
        assert other.outcome.tolist() == plain.outcome.tolist()


def test_rows_in_any_order_and_labels_of_any_kind() -> None:
    data = frame(c=np.repeat(["x", "y", "x"], 4))
    mixed = data.assign(id=data["id"].map({0: "n", 1: "a", 2: "m"})).sample(frac=1, random_state=2)
    panel, plain = read(mixed, category="c"), read(data, category="c")
    assert panel.units.tolist() == ["a", "m", "n"]
    assert panel.outcome[[2, 0, 1]].tolist() == plain.outcome.tolist()
    assert panel.cohort[[2, 0, 1]].tolist() == plain.cohort.tolist()
    assert panel.category["a"] == "y"


def test_a_start_after_the_last_period_is_never_and_told() -> None:
    panel = read(frame(starts=[2, 5, 0]))
    assert panel.cohort.tolist() == [0, -1, -1]
    assert panel.notes == ("1 unit starts after the last period and counts as never treated",)


WEEKS, MONTHS = pd.date_range("2025-01-06", periods=4, freq="W-MON"), pd.date_range("2024-11-01", periods=4, freq="MS")
QUARTERS = pd.date_range("2024-01-01", periods=4, freq="QS")


@pytest.mark.parametrize(
    ("periods", "start", "cohort"),
    [
        (WEEKS, "2025-01-13", "2025-01-13"),
        (WEEKS, "2025-01-19 23:00", "2025-01-13"),  # Sunday still belongs to the week of Monday the 13th
        (WEEKS, "2025-02-02", "2025-01-27"),
        (WEEKS, "2025-02-03", None),
        (WEEKS, "2024-12-01", "2025-01-06"),
        (WEEKS[[0, 1, 3]], "2025-02-03", None),  # a week without a row makes the others no longer
        (MONTHS, "2025-01-31", "2025-01-01"),
        (MONTHS, "2025-02-28", "2025-02-01"),
        (MONTHS, "2025-03-01", None),  # February has 28 days, other months more
        (QUARTERS, "2024-12-31", "2024-10-01"),
        (QUARTERS, "2025-01-01", None),
    ],
)
def test_a_date_inside_a_period_counts_from_that_period(
    periods: pd.DatetimeIndex, start: str, cohort: str | None
) -> None:
    panel = read(frame(starts=[pd.Timestamp(start), pd.NaT], periods=periods))
    assert [f"{g:%Y-%m-%d}" for g in panel.cohorts] == ([cohort] if cohort else [])
    assert bool(panel.notes) == (cohort is None)


@pytest.mark.parametrize("kind", ["dates", "text", "periods"])
def test_months_come_in_several_clothes(kind: str) -> None:
    wear: dict[str, Callable[[Any], Any]] = {
        "dates": lambda t: t.date(),
        "text": str,
        "periods": lambda t: t.to_period("M"),
    }
    data = frame(starts=[MONTHS[1], MONTHS[2]], periods=MONTHS)
    worn = data.assign(t=data["t"].map(wear[kind]), g=data["g"].map(wear[kind]))
    panel = read(worn)
    assert panel.periods.tolist() == MONTHS.tolist()
    assert panel.cohorts.tolist() == MONTHS[1:3].tolist()


@pytest.mark.parametrize(
    ("periods", "expected"), [(WEEKS, [-1, 0, 1, 2]), (MONTHS, [-1, 0, 1, 2]), (pd.RangeIndex(4), [-1, 0, 1, 2])]
)
def test_ages_count_periods(periods: pd.Index, expected: list[int]) -> None:
    assert ages(periods, periods[[1]]).tolist() == [expected]


@pytest.mark.parametrize(
    ("starts", "category", "level"),
    [
        ([2, 2, 0, 0], "aabb", "category"),
        ([2, 0, 2, 0], "aabb", "merchant"),
        ([2, 3, 0, 0], "aabb", "merchant"),
        ([2, 2, 3, 3], "aabb", "category"),
        ([2, 2, 2, 2], "aaaa", "merchant"),
        ([0, 0, 0, 0], "aabb", "merchant"),
        ([2, 2, 0, 0], None, "merchant"),
    ],
)
def test_where_treatment_was_assigned(starts: list[int], category: str | None, level: str) -> None:
    panel = Panel.from_matrix(
        np.ones((4, 4)), treated_from=starts, category=None if category is None else list(category)
    )
    assert panel.assigned_at == level
    assert repr(panel).endswith(f"assigned at {level} level")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"treated_from": [2]}, "outcome is 2 × 3, but there are 2 units, 1 starts and 3 periods"),
        ({"periods": [1, 2]}, "2 units, 2 starts and 2 periods"),
        ({"units": ["a"]}, "1 units"),
        ({"periods": [1, 3, 2]}, "periods must ascend without repeats"),
        ({"periods": [1, 2, 2]}, "periods must ascend without repeats"),
        ({"outcome": np.full((2, 3), np.inf)}, "outcome must be finite, or missing where"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    given = {"outcome": np.zeros((2, 3)), "treated_from": [2, 0]} | change
    with pytest.raises(ContractError, match=words):
        Panel.from_matrix(given.pop("outcome"), **given)


def test_units_that_lack_a_period() -> None:
    data = frame(starts=[2, 3, 3, 0]).drop(index=5)  # unit 1, period 2
    panel = read(data)
    assert not panel.balanced
    assert np.argwhere(np.isnan(panel.outcome)).tolist() == [[1, 1]]
    kept = panel.complete_units()
    assert kept.units.tolist() == [0, 2, 3]
    assert kept.cohort.tolist() == [0, 1, -1]
    assert kept.notes == ("1 of 4 units lacked a period and were left out",)
    with pytest.raises(DesignError, match=r"1 of 4 units lack at least one of 4 periods; keep.*complete_units\(\)"):
        _ = panel.moments


def test_a_cohort_that_leaves_takes_its_name_along() -> None:
    panel = Panel.from_matrix(np.ones((4, 4)), treated_from=[2, 3, 4, 0], category=list("abcd"))
    kept = panel.within(["a", "c"])
    assert (kept.cohorts.tolist(), kept.cohort.tolist(), kept.starts.tolist()) == ([2, 4], [0, 1], [1, 3])
    with pytest.raises(DesignError, match="no unit in z"):
        panel.within(["z"])
    with pytest.raises(DesignError, match="has no categories"):
        Panel.from_matrix(np.ones((1, 2)), treated_from=[0]).within(["a"])


def test_logs_refuse_zero_and_change_the_name() -> None:
    panel = Panel.from_matrix(np.array([[1.0, np.e], [1.0, 1.0]]), treated_from=[2, 0], name="gmv")
    assert panel.logs().outcome.tolist() == [[0, 1], [0, 0]]
    assert panel.logs().name == "log gmv"
    with pytest.raises(DesignError, match="a log of zero was refused: 1 of 2 units"):
        Panel.from_matrix(np.array([[1.0, 0.0], [1.0, 1.0]]), treated_from=[2, 0]).logs()


def test_a_placebo_in_time_sees_no_treated_period() -> None:
    panel = Panel.from_matrix(np.arange(24.0).reshape(3, 8), treated_from=[6, 7, 0]).restarted(2, 5)
    assert (panel.cohorts.tolist(), panel.cohort.tolist()) == ([3], [0, 0, -1])
    assert panel.outcome.tolist() == np.arange(24.0).reshape(3, 8)[:, :5].tolist()


@pytest.mark.parametrize("size", [1, 8_191, 8_192, 8_193, 16_384, 16_385])
def test_moments_equal_numpy_at_every_block_border(size: int) -> None:
    rng = np.random.default_rng(size)
    outcome, cohort = rng.normal(size=(size + 50, 3)), rng.permutation(np.r_[np.zeros(size, int), np.ones(50, int)])
    found = Moments.of(outcome, cohort, 2)
    assert found.count.tolist() == [size, 50]
    for g in (0, 1):
        rows = outcome[cohort == g]
        np.testing.assert_allclose(found.mean[g], rows.mean(axis=0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            found.covariance[g], np.cov((rows - rows.mean(axis=1, keepdims=True)).T, bias=True), rtol=1e-10, atol=1e-14
        )


def test_the_block_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    outcome, cohort = rng.normal(size=(500, 4)), rng.integers(0, 3, size=500)
    whole = Moments.of(outcome, cohort, 3)
    for rows in (1, 7, 499):
        monkeypatch.setattr(moments_module, "BLOCK_ROWS", rows)
        parts = Moments.of(outcome, cohort, 3)
        np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-10, atol=1e-14)


def test_a_large_offset_loses_no_digit() -> None:
    # Multiples of 1/1024 below 2**22 are exact beside 1e9, so that only the arithmetic could lose something.
    values = np.random.default_rng(3).integers(-2_000, 2_000, size=(20_000, 4)) / 1_024
    cohort = np.zeros(20_000, dtype=int)
    plain, far = Moments.of(values, cohort, 1), Moments.of(values + 1e9, cohort, 1)
    np.testing.assert_allclose(far.covariance, plain.covariance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(far.mean - 1e9, plain.mean, atol=2.5e-7)  # the spacing of doubles at 1e9 is 1.2e-7


def test_a_panel_shows_its_contract() -> None:
    data = frame(starts=[WEEKS[1], pd.NaT], periods=WEEKS).rename(columns={"y": "gmv"})
    panel = Panel.from_frame(data, unit="id", period="t", outcome="gmv", treated_from="g")
    assert repr(panel) == (
        "Panel: 2 units × 4 weeks [2025-01-06 to 2025-01-27], outcome gmv; 1 cohort + 1 never treated; balanced; "
        "assigned at merchant level"
    )


def test_zero_means_never_and_is_refused_where_it_may_be_a_period() -> None:
    y = np.random.default_rng(2).normal(size=(4, 5))
    from_zero = [Panel.from_matrix(y, treated_from=[2, 3, never, never], periods=range(5)) for never in (0, np.nan)]
    assert [panel.cohort.tolist() for panel in from_zero] == [[0, 1, -1, -1]] * 2
    with pytest.raises(
        ContractError, match="treated_from is 0 for 2 units, which can mean never or the period 0 of -2 to 2"
    ):
        Panel.from_matrix(y, treated_from=[1, 2, 0, 0], periods=range(-2, 3))
    always = Panel.from_matrix(y, treated_from=[0, 0, 3, np.nan], periods=range(5))
    assert always.cohorts.tolist() == [0, 3]
    centred = Panel.from_matrix(y, treated_from=[1, 0, np.nan, np.inf], periods=range(-2, 3))
    assert centred.cohorts.tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["int8", "int16", "int64", "Int64", "float64", "str", "category"])
def test_rows_in_any_order_and_labels_of_any_kind_make_the_same_panel(kind: str) -> None:
    data = frame(starts=[2, 3, 0] * 40).assign(id=lambda f: f["id"] * 2 - 119)  # -119 to 119: differences overflow int8
    told = data["id"].astype(str).str.zfill(4) if kind == "str" else data["id"]
    named = data.assign(id=told.astype(kind), t=data["t"].astype("int8"))
    expected, shuffled = read(named), read(named.sample(frac=1, random_state=3))
    np.testing.assert_array_equal(shuffled.outcome, expected.outcome)
    np.testing.assert_array_equal(shuffled.cohort, expected.cohort)
    assert shuffled.units.tolist() == expected.units.tolist() == sorted(named["id"].unique().tolist())
    assert shuffled.periods.tolist() == [1, 2, 3, 4]
    with pytest.raises(ContractError, match="must not repeat, but 1 row does"):
        read(pd.concat([named.sample(frac=1, random_state=3), named.iloc[[5]]]))


@pytest.mark.parametrize("frequency", ["ME", "MS", "YE", "QE"])
def test_ages_count_months_wherever_in_the_month_labels_stand(frequency: str) -> None:
    dates = pd.date_range("2023-12-31" if frequency.endswith("E") else "2024-01-01", periods=12, freq=frequency)
    assert ages(dates, dates[[0, 6]]).tolist() == [list(range(12)), list(range(-6, 6))]
    monthly = pd.DatetimeIndex(
        [date + pd.DateOffset(days=2) for date in pd.date_range("2024-01-01", periods=5, freq="MS")]
    )
    assert ages(monthly, monthly[[3]]).tolist() == [[-3, -2, -1, 0, 1]]


def test_nothing_untreated_gives_no_cap() -> None:
    with pytest.raises(DesignError, match="no unit-period is untreated"):
        Panel.from_matrix(np.ones((3, 3)), treated_from=[1, 1, 1]).winsorised(0.9)


@pytest.mark.parametrize(
    ("kind", "first", "start"), [("ME", "2025-01-31", "2025-04-10"), ("QE", "2024-03-31", "2025-02-11")]
)
def test_a_start_inside_a_period_that_is_named_by_its_last_day_counts_from_that_period(
    kind: str, first: str, start: str
) -> None:
    periods = pd.date_range(first, periods=8, freq=kind)
    panel = Panel.from_matrix(np.zeros((2, 8)), treated_from=[start, None], periods=periods)
    assert panel.cohorts[0] == pd.Timestamp(start) + {"ME": pd.offsets.MonthEnd(), "QE": pd.offsets.QuarterEnd()}[kind]
    late = Panel.from_matrix(np.zeros((2, 8)), treated_from=[periods[-1] + pd.Timedelta(days=1), None], periods=periods)
    assert late.late is not None
    assert late.late.tolist() == [1, 0]
