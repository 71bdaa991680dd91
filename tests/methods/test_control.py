"""Process control and the year before: rules on scores made by hand, limits, festivals, and periods that do not count."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import festivals
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.kpi.control import signals

ZERO = [0.1, -0.1] * 4


def weekly(values: list[float], first: str = "2024-01-01", **others: Any) -> sk.Dataset:
    """One line a week of the given amount, every week complete."""
    weeks = pd.date_range(first, periods=len(values), freq="W-MON")
    lines = pd.DataFrame({"order_id": range(len(values)), "line_id": 0, "buyer_id": 1, "merchant_id": 1, "category": "toys",
                          "paid_at": weeks + pd.Timedelta(days=2), "amount": values})  # fmt: skip
    lines = lines.assign(**{name: others.pop(name) for name in ("refund_amount",) if name in others})
    window = {"data_from": weeks[0].date(), "data_through": weeks[-1].date() + dt.timedelta(days=6)}
    roster = pd.DataFrame({"merchant_id": [1], "category": ["toys"]})
    return sk.dataset_from_frames(lines, roster, **{"timezone": "Europe/Paris", "currency": "EUR", **window, **others})


@pytest.mark.parametrize(
    ("scores", "signal", "cause"),
    [
        ([*ZERO, 3.1], "beyond", "above the upper limit"),
        ([*ZERO, -3.1], "beyond", "below the lower limit"),
        ([*ZERO, 3.0], "", ""),
        ([-0.2, *[0.5, 0.6, 0.4, 0.5, 0.6, 0.4, 0.5, 0.6]], "run", "8 weeks in a row above the average"),
        ([-0.2, *[0.5, 0.6, 0.4, 0.5, 0.6, 0.4, 0.5]], "", ""),
        ([0.3, -1.5, -1.0, -0.5, 0.1, 0.6, 1.2], "", ""),
        ([0.3, -1.5, -1.0, -0.5, 0.1, 0.6, 1.2, 1.4], "trend", "6 weeks in a row rising"),
        ([-0.3, 1.5, 1.0, 0.5, -0.1, -0.6, -1.2], "", ""),
        ([-0.3, 1.5, 1.0, 0.5, -0.1, -0.6, -1.2, -1.4], "trend", "6 weeks in a row falling"),
        ([*ZERO, 2.1, 0.2, 2.2], "near_limit", "two of three weeks near the upper limit"),
        ([*ZERO, 2.1, 0.2, 0.1, 2.2], "", ""),
        ([*ZERO, 2.1, -2.2], "", ""),
        ([0.0] * 12, "", ""),
    ],
)
def test_each_rule_names_its_last_point_and_no_earlier_one(scores: list[float], signal: str, cause: str) -> None:
    found = signals(np.array(scores), "week")
    assert found.iloc[-1].tolist() == [signal, cause]
    assert (found["signal"].iloc[:-1] == "").all()


def test_limits_are_those_of_an_individuals_chart() -> None:
    values = [100.0, 110, 90, 105, 95, 100, 120, 80, 100, 500]
    found = sk.kpi.process_control(weekly(values), metric="gmv")
    spread = np.abs(np.diff(values)).mean() / 1.128379167
    centre = np.mean(values)
    # 1.128379167 is the mean range of two normal deviates, written to nine digits
    assert found["upper"].iloc[0] == pytest.approx(centre + 3 * spread, rel=1e-8)
    assert found["lower"].iloc[0] == 0.0
    assert centre - 3 * spread < 0


def test_limits_come_from_before_the_pilot_and_signals_from_after() -> None:
    calm = [100.0, 104, 98, 101, 97, 103, 99, 102, 100, 96]
    pilot: dict[str, Any] = {"categories": ["toys"], "starts_on": dt.date(2024, 3, 11)}
    found = sk.kpi.process_control(weekly([*calm, 140, 101], pilot=pilot), metric="gmv")
    assert found["centre"].iloc[0] == pytest.approx(np.mean(calm))
    assert found["signal"].tolist() == [""] * 10 + ["beyond", ""]


def test_a_festival_is_named_and_moves_no_limit() -> None:
    values = [100.0, 104, 98, 101, 97, 103, 99, 102, 100, 96]
    calendar = pd.DataFrame({"date": pd.date_range("2024-01-15", periods=3), "festival": "gala", "phase": "spot"})
    quiet = sk.kpi.process_control(weekly(values), metric="gmv")
    values[2] = 900.0
    found = sk.kpi.process_control(weekly(values, calendar=calendar), metric="gmv")
    assert found["cause"].tolist()[2] == "gala"
    assert found["signal"].tolist() == ["", "", "festival", *[""] * 7]
    assert found["upper"].iloc[0] < quiet["upper"].iloc[0] * 1.1


def test_the_week_of_a_festivals_last_day_belongs_to_it_here_and_year_on_year() -> None:
    shop = weekly([100.0, 101.0] * 60, "2023-01-02", timezone="Asia/Shanghai")
    found = sk.kpi.process_control(shop, metric="gmv").set_index("week")
    days = festivals.calendar(dt.date(2022, 1, 1), dt.date(2025, 12, 31))
    assert found.loc["2024-11-11", "cause"] == "double_11"
    named = {week: name for week, name in festivals.festival_weeks(days).items() if week in found.index}
    assert found.loc[found["signal"] == "festival", "cause"].to_dict() == named
    daily = sk.kpi.process_control(shop, metric="gmv", period="day").set_index("day")
    assert daily.loc["2024-06-18", "cause"] == "618"
    assert daily.loc["2024-06-19", "cause"] != "618"


def test_a_week_that_is_not_complete_has_no_signal() -> None:
    shop = weekly([*[100.0, 104, 98, 101, 97, 103, 99, 102, 100], 5.0], data_through=dt.date(2024, 3, 5))
    last = sk.kpi.process_control(shop, metric="gmv").iloc[-1]
    assert not last["complete"]
    assert last["signal"] == ""
    assert last["value"] == 5.0


def test_young_refunds_are_not_judged() -> None:
    refunds = [10.0, 11, 9, 10, 12, 9, 10, 11, 10, 9, 10, 11, 0.0, 0, 0, 0]
    shop = weekly([100.0] * 16, refund_amount=refunds, refund_days=28)
    found = sk.kpi.process_control(shop, metric="refund_rate")
    assert found["complete"].all()
    assert (found["signal"] == "").all()
    late = weekly([100.0] * 16, refund_amount=refunds, refund_days=0)
    assert (sk.kpi.process_control(late, metric="refund_rate")["signal"].iloc[-4:] == "beyond").any()


def test_independent_noise_gives_about_the_signals_that_the_docstring_says() -> None:
    scores = np.random.default_rng(11).normal(size=100_000)
    share = (signals(scores, "week")["signal"] == "beyond").mean()
    # three standard deviations: 0.27 %, with a sampling error of 0.016 %
    assert share == pytest.approx(0.0027, abs=0.0005)
    every = (signals(scores, "week")["signal"] != "").mean()
    assert 0.008 < every < 0.016


def test_too_few_weeks_for_limits_are_refused() -> None:
    with pytest.raises(DesignError, match="limits need 8 complete weeks without a festival, but 7 are there"):
        sk.kpi.process_control(weekly([1.0] * 7), metric="gmv")


def year(timezone: str, **others: Any) -> pd.DataFrame:
    shop = weekly([float(n) for n in range(1, 131)], "2023-01-02", timezone=timezone, **others)
    return sk.kpi.year_on_year(shop, metrics=["gmv"]).set_index("week")


def test_in_china_festival_weeks_are_compared_with_the_same_phase() -> None:
    found = year("Asia/Shanghai")
    weeks = [week.date() for week in found.index]
    days = festivals.calendar(dt.date(2022, 1, 1), dt.date(2025, 12, 31))
    expected = festivals.year_before(weeks, days).set_index("week")
    unlike = found["matched"].str.contains("too unlike")
    marked = days.dropna(subset="festival")["date"]
    counts = (marked - pd.to_timedelta(marked.dt.day_of_week, unit="D")).value_counts()
    now, then = (
        pd.Series(keys, found.index).map(counts).fillna(0) for keys in (found.index, expected["compared_with"])
    )
    assert (unlike == ((now - then).abs() > 2) & expected["compared_with"].notna()).all()
    assert unlike.sum() > 2
    assert found.loc[unlike, ["compared_with", "change"]].isna().all(axis=None)
    inside = expected["compared_with"].isin(found.index) & ~unlike
    assert inside.sum() > 60
    pd.testing.assert_series_equal(
        found.loc[inside, "compared_with"], expected.loc[inside, "compared_with"], check_names=False
    )
    value = found["value"]
    for week, row in found[inside].iterrows():
        assert row["before"] == value[row["compared_with"]]
        assert row["change"] == pytest.approx(value[week] / row["before"] - 1)
    assert found.loc["2025-06-02", "matched"].startswith("618 spot")
    assert (
        found.loc[found.index < "2023-12-25", "matched"].str.contains(
            "not complete in the data|not cover|too unlike|no week of"
        )
    ).all()


def test_elsewhere_weeks_are_52_weeks_apart_and_a_calendar_of_ones_own_counts() -> None:
    found = year("Europe/Paris")
    held = found["compared_with"].notna()
    assert (found.index[held] - found.loc[held, "compared_with"] == pd.Timedelta(weeks=52)).all()
    assert held.sum() == 130 - 52
    days = pd.DataFrame({"date": pd.date_range("2022-01-01", "2025-12-31")}).assign(festival=None, phase="none")
    for first in ("2023-05-01", "2024-05-13"):
        days.loc[days["date"].between(first, pd.Timestamp(first) + pd.Timedelta(days=6)), ["festival", "phase"]] = [
            "gala",
            "spot",
        ]
    own = year("Europe/Paris", calendar=days)
    assert own.loc["2024-05-13", "compared_with"] == pd.Timestamp("2023-05-01")
    assert own.loc["2024-04-29", "compared_with"] != pd.Timestamp("2023-05-01")


def test_months_say_by_how_many_days_a_festival_differs_and_incomplete_ones_are_absent() -> None:
    shop = weekly([float(n) for n in range(1, 131)], "2023-01-02", timezone="Asia/Shanghai")
    found = sk.kpi.year_on_year(shop, metrics=["gmv", "orders"], period="month")
    assert not found["month"].isin(pd.to_datetime(["2023-01-01"])).any()
    february = found[(found["month"] == "2024-02-01") & (found["metric"] == "gmv")].iloc[0]
    assert "lunar_new_year 8 days against 0" in february["matched"]
    assert february["before"] == found[(found["month"] == "2023-02-01") & (found["metric"] == "gmv")]["value"].iloc[0]


def test_days_are_not_compared_with_the_year_before() -> None:
    with pytest.raises(ParameterError, match="days are not compared with the year before"):
        sk.kpi.year_on_year(weekly([1.0] * 5), metrics=["gmv"], period="day")


@pytest.mark.parametrize(("period", "start"), [("week", dt.date(2024, 3, 13)), ("week", dt.date(2024, 3, 11))])
def test_the_week_in_which_a_pilot_starts_is_no_part_of_the_limits(period: Any, start: dt.date) -> None:
    before = [100.0, 104, 98, 101, 97, 103, 99, 102, 100, 96]
    shop = weekly([*before, 140, 118], pilot={"toys": start})
    found = sk.kpi.process_control(shop, metric="gmv", period=period)
    assert found["centre"].iloc[0] == pytest.approx(np.mean(before))
    assert found["signal"].tolist()[-2:] == ["beyond", "beyond"]


def test_before_and_after_the_shipped_calendar_no_week_is_a_festival() -> None:
    for first in ("2020-01-06", "2027-02-01"):
        shop = weekly([100.0, 101.0] * 15, first=first, timezone="Asia/Shanghai", currency="CNY")
        assert (sk.kpi.process_control(shop, metric="gmv")["signal"] != "festival").all()
        assert sk.kpi.year_on_year(shop, metrics=["gmv"])["change"].isna().all()


def test_weeks_before_a_festival_of_which_only_the_day_is_known_are_neither_ordinary_nor_compared() -> None:
    shop = weekly([100.0, 101.0] * 50, first="2025-01-06", timezone="Asia/Shanghai", currency="CNY")
    found = sk.kpi.year_on_year(shop, metrics=["gmv"]).set_index("week")
    autumn = found.loc["2026-10-12":"2026-11-08"]  # type: ignore[misc]
    assert autumn["change"].isna().all()
    assert autumn["matched"].iloc[-1] == "the phases of this double_11 are not known"
    assert found.loc["2026-10-05", "matched"] == "ordinary week"
    control = sk.kpi.process_control(shop, metric="gmv").set_index("week")
    assert control.loc["2026-11-02", "cause"] == "double_11"
    months = sk.kpi.year_on_year(shop, metrics=["gmv"], period="month").set_index("month")
    assert "double_11 0 days against 17" in months.loc["2026-10-01", "matched"]


def test_january_2023_is_compared_within_the_shipped_calendar() -> None:
    shop = weekly([100.0, 101.0] * 55, first="2022-01-03", timezone="Asia/Shanghai", currency="CNY")
    found = sk.kpi.year_on_year(shop, metrics=["gmv"]).set_index("week")
    assert "does not cover" not in found.loc["2023-01-09", "matched"]
