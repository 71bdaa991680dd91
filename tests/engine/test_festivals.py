"""The shipped festivals are facts with sources, and no week is compared with one of another kind."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit.contract import PHASES
from strategy_kit.errors import ParameterError
from strategy_kit.festivals import calendar, phases, year_before

YEARS = range(2022, 2027)
NEW_YEARS_DAYS = ["2022-02-01", "2023-01-22", "2024-02-10", "2025-01-29", "2026-02-17"]
ANCHORS = {"618": (6, 18), "double_11": (11, 11)}
DAYS = calendar(dt.date(2022, 1, 1), dt.date(2026, 12, 31))
WEEKS = [day.date() for day in pd.date_range("2022-01-03", "2026-12-28", freq="W-MON")]
ORDINARY = ("", "none")


def matched(week: str, days: pd.DataFrame = DAYS) -> tuple[str | None, str]:
    """The match of one week and its words."""
    row = year_before([dt.date.fromisoformat(week)], days).iloc[0]
    return None if pd.isna(row["compared_with"]) else str(row["compared_with"].date()), row["matched"]


def kinds(days: pd.DataFrame) -> dict[dt.date, tuple[str, str]]:
    """The slow twin: festival and phase of each week with a day in the calendar, day by day."""
    rows = sorted(zip(days["date"].dt.date, days["festival"].fillna(""), days["phase"], strict=True))
    festive = [row for row in rows if row[1]]
    found = {day - dt.timedelta(days=day.weekday()): ORDINARY for day, _, _ in rows}
    for week in found:
        inside = [row for row in festive if week <= row[0] < week + dt.timedelta(days=7)]
        later = [{(other[0] - day).days for other in festive if other[1] == name} for day, name, _ in inside]
        if len(inside) >= 2 or any(not gaps & set(range(1, 60)) for gaps in later):
            counts, latest = Counter(row[1:] for row in inside), {row[1:]: row[0] for row in inside}
            found[week] = max(counts, key=lambda kind: (counts[kind], latest[kind]))
    return found


def comparable(week: dt.date, known: dict[dt.date, tuple[str, str]]) -> dt.date | None:
    """The slow twin for festivals that come once a year and last at most 150 days."""
    base, kind = week - dt.timedelta(days=364), known[week]
    if base not in known:
        return None
    same = [other for other in known if known[other] == kind]
    if kind == ORDINARY:
        near = [other for other in same if abs(other - base) <= dt.timedelta(weeks=4)]
        return min(near, key=lambda other: (abs(other - base), other), default=None)
    end = max(other for other in same if abs((other - week).days) < 150)
    before = [other for other in same if 150 < (end - other).days < 530]
    other = max(before) - (end - week) if before else week
    return other if other in before else None


def violations(days: pd.DataFrame) -> list[Any]:
    """Weeks whose match is not the twin's, or whose words do not say what it is."""
    known = kinds(days)
    rows: list[Any] = list(year_before(WEEKS, days).itertuples())
    found = []
    for week, row in zip(WEEKS, rows, strict=True):
        expected = comparable(week, known) if week in known else None
        if expected is None:
            right = pd.isna(row.compared_with) and row.matched.startswith(("no ", "the calendar does not"))
        else:
            name = "ordinary week" if known[week] == ORDINARY else known[week][0]
            right = row.compared_with == pd.Timestamp(expected) and row.matched.startswith(name)
            right &= known[expected] == known[week] and expected.weekday() == 0 and 200 <= (week - expected).days <= 500
        found += [] if right else [(row, expected)]
    return found


def test_every_year_has_every_festival_and_every_row_a_source() -> None:
    table = phases()
    found = set(zip(table["first"].dt.year, table["festival"], strict=True))
    assert found == {(year, name) for year in YEARS for name in ("lunar_new_year", "618", "double_11")}
    assert (table["source"].str.count(" ") >= 2).all()
    assert not table["source"].str.contains("http|www", regex=True).any()
    assert set(table["confidence"]) == {"reported", "recalled", "anchor_only"}
    assert set(table["phase"]) <= set(PHASES)


def test_phases_do_not_overlap_and_a_presale_ends_the_day_before_the_sale() -> None:
    table = phases().sort_values("first")
    assert (table["first"] <= table["last"]).all()
    assert (table["last"].shift() < table["first"])[1:].all()
    following = table.shift(-1)[table["phase"] == "presale"]
    presale = table[table["phase"] == "presale"]
    assert (following["phase"] == "spot").all()
    assert (following["first"] - presale["last"] == pd.Timedelta(days=1)).all()


@pytest.mark.parametrize("day", NEW_YEARS_DAYS)
def test_new_years_day_is_in_its_holiday(day: str) -> None:
    row = DAYS.set_index("date").loc[day]
    assert tuple(row) == ("lunar_new_year", "none")


@pytest.mark.parametrize("year", YEARS)
def test_the_day_that_names_a_festival_is_a_day_of_sale(year: int) -> None:
    for festival, (month, day) in ANCHORS.items():
        assert tuple(DAYS.set_index("date").loc[dt.datetime(year, month, day)]) == (festival, "spot")


@pytest.mark.parametrize(
    ("day", "before", "after"),
    [
        ("2022-10-24", "none", "presale"),
        ("2024-05-20", "none", "spot"),
        ("2025-05-13", "none", "presale"),
        ("2025-05-16", "presale", "spot"),
        ("2025-10-15", "none", "presale"),
        ("2025-11-15", "spot", "none"),
    ],
)
def test_known_changes_of_phase(day: str, before: str, after: str) -> None:
    phase = DAYS.set_index("date")["phase"]
    assert (phase[pd.Timestamp(day) - pd.Timedelta(days=1)], phase[day]) == (before, after)


def test_the_calendar_has_each_day_once_and_agrees_with_the_table() -> None:
    assert DAYS["date"].tolist() == pd.date_range("2022-01-01", "2026-12-31").tolist()
    rows: list[Any] = list(phases().itertuples())
    expected: dict[pd.Timestamp, tuple[str, str]] = {}
    for row in rows:
        expected |= dict.fromkeys(pd.date_range(row.first, row.last), (row.festival, row.phase))
    festive = DAYS.dropna(subset="festival").set_index("date")
    assert dict(zip(festive.index, festive.itertuples(index=False, name=None), strict=True)) == expected
    assert (DAYS.loc[DAYS["festival"].isna(), "phase"] == "none").all()
    part = calendar(dt.date(2025, 5, 1), dt.date(2025, 6, 30))
    pd.testing.assert_frame_equal(part, DAYS[DAYS["date"].between("2025-05-01", "2025-06-30")].reset_index(drop=True))


def test_the_calendar_is_a_table_of_the_contract() -> None:
    lines = {"order_id": ["a"], "line_id": [1], "buyer_id": ["b"], "merchant_id": ["m"], "amount": [1.0]}
    lines |= {"category": ["c"], "paid_at": [pd.Timestamp("2025-06-18 20:00")]}
    merchants = pd.DataFrame({"merchant_id": ["m"], "category": ["c"], "opened_on": [pd.Timestamp("2024-01-01")]})
    shop = sk.dataset_from_frames(
        order_lines=pd.DataFrame(lines), merchants=merchants, timezone="Asia/Shanghai", currency="CNY", calendar=DAYS
    )
    stored = shop.engine.frame("select * from calendar order by date")
    pd.testing.assert_frame_equal(year_before(WEEKS, stored), year_before(WEEKS, DAYS))


@pytest.mark.parametrize(
    ("first", "last"),
    [(dt.date(2021, 12, 31), dt.date(2022, 2, 1)), (dt.date(2026, 1, 1), dt.date(2027, 1, 1)), (WEEKS[1], WEEKS[0])],
)
def test_days_outside_the_table_are_refused(first: dt.date, last: dt.date) -> None:
    with pytest.raises(ParameterError, match=f"2022-01-01 to 2026-12-31, not {first} to {last}"):
        calendar(first, last)
    with pytest.raises(ParameterError, match="not soon to"):
        calendar("soon", last)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("week", "other", "words"),
    [
        ("2025-05-12", None, "no week of 618 spot a year before that is 5 weeks before its end"),
        ("2025-05-19", "2024-05-20", "618 spot, 4 weeks before its end"),
        ("2025-06-09", "2024-06-10", "618 spot, 1 week before its end"),
        ("2025-06-16", "2024-06-17", "618 spot, the week of its end (days of it: 3, a year before 2)"),
        ("2024-05-20", None, "no week of 618 spot a year before that is 4 weeks before its end"),
        ("2024-06-03", "2023-05-29", "618 spot, 2 weeks before its end (days of it: 7, a year before 5)"),
        ("2024-06-10", "2023-06-05", "618 spot, 1 week before its end"),
        ("2025-10-13", "2024-10-14", "double_11 presale, the week of its end (days of it: 5, a year before 7)"),
        ("2023-10-23", "2022-10-24", "double_11 presale, the week of its end (days of it: 6, a year before 7)"),
        ("2024-11-11", "2023-11-06", "double_11 spot, the week of its end (days of it: 1, a year before 6)"),
        ("2025-11-10", "2024-11-11", "double_11 spot, the week of its end (days of it: 5, a year before 1)"),
        ("2025-01-27", "2024-02-05", "lunar_new_year, 1 week before its end (days of it: 6, a year before 2)"),
        ("2025-02-10", "2024-02-19", "ordinary week, moved 1 week past lunar_new_year"),
        ("2026-02-16", "2025-01-27", "lunar_new_year, 1 week before its end (days of it: 7, a year before 6)"),
        ("2026-01-26", "2025-01-20", "ordinary week, moved 1 week past lunar_new_year"),
        ("2026-12-28", "2025-12-29", "ordinary week"),
        ("2022-06-13", None, "the calendar does not cover the year before"),
    ],
)
def test_weeks_of_the_real_calendar(week: str, other: str | None, words: str) -> None:
    assert matched(week) == (other, words)


@pytest.mark.parametrize(("apart", "is_matched"), [(28, False), (29, True), (71, True), (72, False)])
def test_the_year_before_is_200_to_500_days_away(apart: int, is_matched: bool) -> None:
    days = DAYS.assign(festival=pd.Series(index=DAYS.index, dtype="str"), phase="none")
    for monday in (pd.Timestamp("2024-09-02"), pd.Timestamp("2024-09-02") - pd.Timedelta(weeks=apart)):
        days.loc[days["date"].between(monday, monday + pd.Timedelta(days=6)), ["festival", "phase"]] = ["fair", "spot"]
    expected = str((pd.Timestamp("2024-09-02") - pd.Timedelta(weeks=apart)).date()) if is_matched else None
    words = "fair spot, the week of its end" if is_matched else "no week of fair spot a year before"
    assert matched("2024-09-02", days) == (expected, words)


def test_a_festival_within_another_does_not_part_it() -> None:
    days = DAYS.assign(festival=pd.Series(index=DAYS.index, dtype="str"), phase="none")
    for first in ("2023-09-04", "2024-09-02"):
        day = days.index[days["date"] == first][0]
        days.loc[day : day + 20, ["festival", "phase"]] = ["fair", "spot"]
        days.loc[day + 7 : day + 13, ["festival", "phase"]] = ["autumn", "none"]
    assert matched("2024-09-02", days) == ("2023-09-04", "fair spot, 2 weeks before its end")
    assert matched("2024-09-09", days) == ("2023-09-11", "autumn, the week of its end")


def test_of_two_phases_with_as_many_days_a_week_has_the_later() -> None:
    days = DAYS.assign(festival=pd.Series(index=DAYS.index, dtype="str"), phase="none")
    for first in ("2023-09-04", "2024-09-02"):
        day = days.index[days["date"] == first][0]
        days.loc[day : day + 2, ["festival", "phase"]] = ["fair", "presale"]
        days.loc[day + 3 : day + 5, ["festival", "phase"]] = ["fair", "balance"]
    assert matched("2024-09-02", days) == ("2023-09-04", "fair balance, the week of its end")


def test_a_presale_without_one_a_year_before_has_no_match() -> None:
    days = DAYS[DAYS["date"] >= "2024-01-01"].copy()
    days.loc[days["date"].between("2025-05-12", "2025-05-18"), ["festival", "phase"]] = ["618", "presale"]
    assert matched("2025-05-12", days) == (None, "no week of 618 presale a year before")


def test_the_day_that_names_a_festival_is_never_in_an_ordinary_week() -> None:
    known = kinds(DAYS)
    for year in YEARS:
        for festival, (month, day) in ANCHORS.items():
            anchor = dt.date(year, month, day)
            assert known[anchor - dt.timedelta(days=anchor.weekday())] == (festival, "spot")
    result = year_before(WEEKS, DAYS).set_index("week")["matched"]
    assert "double_11" in result["2024-11-11"]


def test_a_year_of_53_weeks_is_matched_week_by_week() -> None:
    weeks = [week for week in WEEKS if week.isocalendar().year == 2026]
    result = year_before(weeks, DAYS)
    assert len(weeks) == 53
    plain = result[result["matched"] == "ordinary week"]
    assert (plain["week"] - plain["compared_with"] == pd.Timedelta(days=364)).all()
    assert plain["compared_with"].is_unique


def test_a_festival_that_the_calendar_cuts_off_is_not_compared() -> None:
    days = DAYS[DAYS["date"] <= "2025-06-08"]
    assert matched("2025-06-02", days) == (None, "the calendar ends within 618 spot, so that its end is not known")
    assert matched("2025-06-09", days) == (None, "the calendar does not cover the week")


def test_an_ordinary_week_is_not_moved_out_of_the_calendar() -> None:
    assert matched("2025-02-10")[0] == "2024-02-19"
    assert matched("2024-01-22", DAYS[DAYS["date"] >= "2023-01-23"])[0] == "2023-01-30"
    assert matched("2024-01-15", DAYS[DAYS["date"] >= "2023-01-16"])[0] == "2023-01-30"


def test_without_an_ordinary_week_near_there_is_no_match() -> None:
    days = DAYS[DAYS["date"] >= "2024-01-01"].copy()
    days.loc[days["date"].between("2024-03-04", "2024-05-19"), ["festival", "phase"]] = ["spring", "spot"]
    words = "no ordinary week within 4 weeks of spring a year before"
    assert matched("2025-04-07", days) == (None, words)


def test_the_shipped_calendar_equals_the_slow_twin() -> None:
    assert not violations(DAYS)


def test_words_say_how_far_an_ordinary_week_was_moved() -> None:
    rows: list[Any] = list(year_before(WEEKS, DAYS).itertuples())
    moved = [row for row in rows if "moved" in row.matched]
    assert moved
    for row in moved:
        steps = abs((row.week - row.compared_with).days - 364) // 7
        assert f"moved {steps} week{'s' * (steps > 1)} past" in row.matched
    assert all((row.week - row.compared_with).days == 364 for row in rows if row.matched == "ordinary week")


# day of the year; for each year a shift, the days of presale and the days of sale
FESTIVAL = st.tuples(
    st.integers(0, 250), st.lists(st.tuples(*map(st.integers, (0, 0, 0), (40, 20, 30))), min_size=5, max_size=5)
)


@settings(max_examples=30, deadline=None)
@given(st.lists(FESTIVAL, max_size=3), st.integers(0, 99))
def test_any_calendar_equals_the_slow_twin_in_any_order(
    festivals: list[tuple[int, list[tuple[int, int, int]]]], seed: int
) -> None:
    days = DAYS.assign(festival=pd.Series(index=DAYS.index, dtype="str"), phase="none")
    for name, (start, years) in zip("abc", festivals, strict=False):
        for year, (shift, presale, spot) in zip(YEARS, years, strict=True):
            first = (dt.date(year, 1, 1) - dt.date(2022, 1, 1)).days + start + shift
            days.loc[first : first + presale - 1, ["festival", "phase"]] = [name, "presale"]
            days.loc[first + presale : first + presale + spot - 1, ["festival", "phase"]] = [name, "spot"]
    assert not violations(days)
    pd.testing.assert_frame_equal(year_before(WEEKS, days.sample(frac=1, random_state=seed)), year_before(WEEKS, days))


def test_a_festival_week_compared_with_an_ordinary_one_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    weeks = pd.DatetimeIndex(WEEKS)
    naive = pd.DataFrame({"week": weeks, "compared_with": weeks - pd.Timedelta(days=364), "matched": "ordinary week"})
    monkeypatch.setattr(f"{__name__}.year_before", lambda weeks, days: naive)
    assert len(violations(DAYS)) > 20


def test_a_calendar_of_dates_without_festivals_has_ordinary_weeks() -> None:
    days = pd.DataFrame({"date": DAYS["date"].dt.date, "festival": None, "phase": "none"})
    result = year_before(WEEKS, days)
    assert (result["matched"][52:] == "ordinary week").all()
    assert result["compared_with"][:51].isna().all()
    assert year_before([], days).dtypes.equals(result.dtypes)


def test_all_that_is_wrong_is_said_at_once() -> None:
    days = pd.concat([DAYS, DAYS.tail(1)])
    days.iloc[5, 2] = None
    with pytest.raises(ParameterError) as refusal:
        year_before([dt.date(2025, 6, 10), "soon", dt.date(2025, 6, 9)], days)  # type: ignore[list-item]
    assert str(refusal.value) == (
        "year_before breaks 4 laws: (1) a week is keyed by its Monday, which 2025-06-10 is not; give the Monday "
        "(2) a week is keyed by its Monday, which soon is not; give the Monday "
        "(3) the calendar lacks a phase in a row; fill it "
        "(4) the calendar has 2026-12-31 more than once; keep one row a day"
    )
    with pytest.raises(ParameterError, match="the calendar has no column festival, phase; it needs"):
        year_before([], DAYS[["date"]])
