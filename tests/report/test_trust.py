"""The checks of the trust strip see what could be taken for the pilots."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.plan import Plan, Seal
from strategy_kit.report import read_week
from strategy_kit.report.audience import Audience
from strategy_kit.report.words import Words

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


@pytest.mark.parametrize(
    ("late", "state"),
    [(0, "holds"), (1, "holds"), (9, "limits")],
)
def test_what_arrived_after_a_week_was_published_is_told_and_limits_above_a_hundredth(
    late: int, state: str, sample: Path, tmp_path: Path
) -> None:
    shop = shop_of(sample, PILOTS)
    totals = shop.totals()
    share = late / totals["lines"].iloc[-2]
    totals.loc[totals.index[-2], ["lines", "gmv"]] -= [late, 10.0 * late]
    totals.iloc[:-1].to_csv(tmp_path / "totals.csv", index=False)
    said = f"{late} {'line' if late == 1 else 'lines'} ({share:.1%} of the weeks concerned); 1 week changed"
    told = {"en": said, "zh": f"迟到订单行 {late} 条（占所涉各周的 {share:.1%}），1 周有变动"}
    told = told if late else {"en": "Nothing changed in the weeks reported before", "zh": "此前已报告的各周没有变动"}
    for language, note in told.items():
        audience = Audience(previous=str(tmp_path / "totals.csv"))
        reading = read_week(shop, "2025-W30", language, audience=audience)  # type: ignore[arg-type]
        check = reading.checks[1]
        assert check.state == state
        assert note in check.note


def test_without_the_totals_of_an_earlier_week_late_data_are_not_known(sample: Path) -> None:
    check = read_week(shop_of(sample, PILOTS), "2025-W30").checks[1]
    assert check.state == "holds"
    assert "not known before a second edition" in check.note


@pytest.mark.parametrize(
    "held", [b"", b"week,lines\n2025-07-21,3\n", b"\xff\xfe\x00", b"week,lines,orders,gmv\n2025-07-21,a,b,c\n"]
)
def test_torn_totals_are_refused_by_name(held: bytes, sample: Path, tmp_path: Path) -> None:
    file = tmp_path / "totals.csv"
    file.write_bytes(held)
    with pytest.raises(sk.errors.ContractError, match=r"totals\.csv holds no weekly totals: .*take it away"):
        read_week(shop_of(sample, PILOTS), "2025-W30", audience=Audience(previous=str(file)))


def test_a_pilot_that_has_not_begun_is_no_comparison(sample: Path) -> None:
    later = {**PILOTS, "sports_outdoors": dt.date(2025, 9, 1)}
    reading = read_week(shop_of(sample, later), "2025-W30")
    assert reading.contrast.clusters == (2, 12)
    assert "pilots that had not begun are left out: sports_outdoors" in reading.contrast.notes


def test_a_pilot_that_has_not_begun_moves_neither_n_nor_cost(sample: Path) -> None:
    support = pd.read_parquet(sample / "support.parquet")
    later = {**PILOTS, "sports_outdoors": dt.date(2025, 9, 1)}
    lines, roster = (pd.read_parquet(sample / f"{name}.parquet") for name in ("order_lines", "merchants"))
    rest = lines[lines["category"] != "sports_outdoors"]
    others = roster[roster["category"] != "sports_outdoors"]
    whole = read_week(shop_of(sample, later, support=support), "2025-W30")
    kept = sk.dataset_from_frames(rest, others, pilot={name: PILOTS[name] for name in ("apparel", "beauty")},
                                  support=support[support["merchant_id"].isin(others["merchant_id"])], **WINDOW)  # fmt: skip
    without = read_week(kept, "2025-W30")
    assert whole.merchants == without.merchants
    assert whole.merchants < read_week(shop_of(sample, PILOTS), "2025-W30").merchants
    assert not isinstance(whole.money_followed, str)
    assert not isinstance(without.money_followed, str)
    assert whole.money_followed.cost == pytest.approx(without.money_followed.cost)


@pytest.mark.parametrize(
    ("start", "end", "state"),
    [
        ("2024-01-01", "2024-08-01", "holds"),  # over before the compared weeks begin
        ("2025-08-01", None, "holds"),  # after the report's week
        ("2025-06-02", "2025-06-08", "limits"),
        ("2024-01-01", None, "limits"),
    ],
)
def test_support_outside_the_pilots_limits_where_it_ran_in_the_compared_weeks(
    start: str, end: str | None, state: str, sample: Path
) -> None:
    roster = pd.read_parquet(sample / "merchants.parquet")
    outside = roster.loc[~roster["category"].isin(list(PILOTS)), "merchant_id"].iloc[:1]
    support = pd.DataFrame({"merchant_id": outside, "lever": "marketing", "started_on": pd.Timestamp(start),
                            "ended_on": pd.Timestamp(end)})  # fmt: skip
    check = read_week(shop_of(sample, PILOTS, support=support), "2025-W30").checks[6]
    assert check.label == Words("en")("check_contamination")
    assert (check.state, check.value) == (state, "1" if state == "limits" else "0")


def test_a_sealed_plan_that_is_gone_is_a_changed_plan() -> None:
    shop = resealed(market())
    gone = replace_plan(shop, Plan())
    assert gone.plan_seal == "changed"
    check = next(check for check in read_week(gone).checks if check.label == Words("en")("check_plan"))
    assert (check.state, check.value) == ("limits", Words("en")("check_plan_changed"))


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


FIRST = dt.date(2024, 9, 2)
START = dt.date(2025, 3, 3)  # 26 weeks later
WEEKS, CATEGORIES = 38, 12


def market(
    *, drift: float = 0.0, noise: float = 1.0, first: dt.date = FIRST, doubled: bool = False, **more: Any
) -> sk.Dataset:
    """Twelve categories of two merchants with an order a week each; three are piloted. All checks hold by default."""
    rng = np.random.default_rng(5)
    week, merchant = (grid.ravel() for grid in np.indices((WEEKS, 2 * CATEGORIES)))
    category, after = merchant // 2, week >= 26
    pilot = category < 3
    logs = 0.03 * rng.standard_normal(week.size) * np.where(pilot & ~after, noise, 1.0)
    logs += 0.5 * (pilot & after) + drift * (pilot & (week >= 13))
    days = pd.to_datetime(FIRST) + pd.to_timedelta(7 * week + 1, unit="D")
    lines = pd.DataFrame(
        {
            "order_id": np.arange(week.size).astype(str),
            "line_id": 1,
            "buyer_id": (merchant % 5).astype(str),
            "merchant_id": merchant.astype(str),
            "category": [f"c{c:02d}" for c in category],
            "paid_at": days,
            "amount": np.round(1000 * np.exp(logs), 2),
        }
    )
    lines = lines[lines["paid_at"].dt.date >= first]
    lines = pd.concat([lines, lines.head(1)]) if doubled else lines
    roster = lines.groupby("merchant_id", as_index=False)["category"].first()
    plan = Plan(threshold=0.03, horizon=12, looks=(12,))
    window = {
        "timezone": "UTC",
        "currency": "CNY",
        "data_from": first,
        "data_through": FIRST + dt.timedelta(7 * WEEKS - 1),
    }
    shop = sk.dataset_from_frames(lines, roster, pilot=dict.fromkeys(("c00", "c01", "c02"), START), **window, **more)
    return replace(shop, description=replace(shop.description, plan=plan))


def support(merchants: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"merchant_id": merchants, "lever": "display", "started_on": pd.Timestamp(START)})


def resealed(shop: sk.Dataset) -> sk.Dataset:
    """As if another plan had been sealed."""
    seal = Seal("0" * 64, "0" * 64, FIRST)
    return replace(shop, description=replace(shop.description, seal=seal))


POLICY = pd.DataFrame({"policy": ["p"], "started_on": [pd.Timestamp("2025-03-10")], "ended_on": [pd.NaT]})
FLIPS = {
    "check_past": lambda: market(drift=0.05),
    "check_volatility": lambda: market(noise=6.0),
    "check_policies": lambda: market(policies=POLICY),
    "check_contamination": lambda: market(support=support(["0", "23"])),
    "check_reading": lambda: replace_plan(
        market(first=START - dt.timedelta(weeks=5)), Plan(threshold=0.03, horizon=26)
    ),
    "check_plan": lambda: resealed(market()),
}


def replace_plan(shop: sk.Dataset, plan: Plan) -> sk.Dataset:
    return replace(shop, description=replace(shop.description, plan=plan))


def test_a_large_effect_with_all_checks_green_rose() -> None:
    reading = read_week(market(support=support(["0"])))
    assert [check.state for check in reading.checks] == ["holds"] * len(reading.checks)
    assert (reading.claim.verb, reading.claim.decision) == ("rose", "extend")


@pytest.mark.parametrize("name", FLIPS)
def test_flipping_one_check_in_the_data_changes_the_verb(name: str) -> None:
    reading = read_week(FLIPS[name]())
    red = [check.label for check in reading.checks if check.state != "holds"]
    assert red == [Words("en")(name)]
    assert (reading.claim.verb, reading.claim.decision) == ("may_have_risen", "hold")


def test_broken_data_make_no_claim() -> None:
    with pytest.raises(sk.errors.ContractError, match="order_lines"):
        read_week(market(doubled=True))
