"""The checks of the trust strip see what could be taken for the pilots."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.report import read_week

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = {"timezone": "UTC", "currency": "CNY", "data_from": dt.date(2024, 7, 29), "data_through": dt.date(2025, 7, 30)}
PILOTS = {"apparel": dt.date(2025, 5, 19), "beauty": dt.date(2025, 5, 19), "sports_outdoors": dt.date(2025, 5, 19)}


def shop_of(sample: Path, pilot: dict[str, dt.date], **more: Any) -> sk.Dataset:
    frames = [pd.read_parquet(sample / f"{name}.parquet") for name in ("order_lines", "merchants")]
    return sk.dataset_from_frames(*frames, pilot=pilot, **WINDOW, **more)


@pytest.mark.parametrize(
    ("start", "end", "state"),
    [
        ("2024-01-01", None, "holds"),  # in force in all of the compared weeks
        ("2024-01-01", "2024-08-01", "holds"),  # over before they begin on 2024-11-18
        ("2025-08-01", None, "holds"),  # after the report's week
        ("2025-05-18", None, "limits"),  # from the day before the pilots
        ("2024-01-01", "2025-05-18", "limits"),  # until the day before the pilots
        ("2025-06-02", "2025-06-08", "limits"),
    ],
)
def test_a_policy_in_force_in_part_of_the_weeks_limits_the_claim(
    start: str, end: str | None, state: str, sample: Path
) -> None:
    policies = pd.DataFrame({"policy": ["p"], "started_on": [pd.Timestamp(start)], "ended_on": [pd.Timestamp(end)]})
    reading = read_week(shop_of(sample, PILOTS, policies=policies), "2025-W30")
    assert reading.checks[5].state == state
    assert (state == "limits") <= (reading.claim.verb not in ("rose", "fell"))


def test_a_pilot_that_has_not_begun_is_no_comparison(sample: Path) -> None:
    later = {**PILOTS, "sports_outdoors": dt.date(2025, 9, 1)}
    reading = read_week(shop_of(sample, later), "2025-W30")
    assert reading.contrast.clusters == (2, 12)
    assert "pilots that had not begun are left out: sports_outdoors" in reading.contrast.notes


def test_without_a_plan_nothing_is_extended_or_stopped(sample: Path) -> None:
    reading = read_week(shop_of(sample, PILOTS), "2025-W30")
    assert not reading.shop.plan.declared
    assert reading.claim.decision == "hold"


@pytest.mark.parametrize("weeks", [0, 2.5, -3])
def test_weeks_before_is_a_whole_number(weeks: Any, sample: Path) -> None:
    with pytest.raises(sk.errors.ParameterError, match="weeks_before is 1 or more"):
        read_week(shop_of(sample, PILOTS), "2025-W30", weeks_before=weeks)


def test_more_weeks_than_there_are_is_all_of_them(sample: Path) -> None:
    assert len(read_week(shop_of(sample, PILOTS), "2025-W30", weeks_before=10**6).totals.periods) == 52
