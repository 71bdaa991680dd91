"""Programmes at the edges of the data: what began before them, is not settled, has no date, no cost, or only one other."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did, levers, overseas, targets
from strategy_kit import platform_health as health
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from pathlib import Path

Tables = dict[str, pd.DataFrame]
SINCE, THROUGH = dt.date(2024, 6, 3), dt.date(2025, 7, 21)


@pytest.fixture(scope="module")
def tables(whole_market: Path) -> Tables:
    shop = sk.open_dataset(whole_market)
    return {name: shop.engine.frame(f"select * from {name}") for name in shop.tables}


def opened(whole_market: Path, tables: Tables, **head: Any) -> sk.Dataset:
    about = sk.open_dataset(whole_market).description
    given = {name: frame for name, frame in tables.items() if name not in ("order_lines", "merchants")}
    pilot = {"categories": list(about.pilot.categories), "starts_on": about.pilot.starts_on} if about.pilot else None
    known = {"data_from": about.data_from, "data_through": about.data_through, "pilot": pilot} | head
    return sk.dataset_from_frames(
        tables["order_lines"], tables["merchants"], timezone="Asia/Shanghai", currency="CNY", **known, **given
    )


def test_targets_of_periods_before_the_data_or_not_yet_settled_are_not_missed(
    whole_market: Path, tables: Tables
) -> None:
    whole = targets.attainment(opened(whole_market, tables))
    lines = tables["order_lines"]
    first = sorted(tables["targets"]["period_start"].unique())[4]
    late = tables | {"order_lines": lines[lines["paid_at"] >= first]}
    cut = targets.attainment(opened(whole_market, late, data_from=pd.Timestamp(first).date()))
    same = whole[whole["period_start"] >= first].reset_index(drop=True)
    pd.testing.assert_frame_equal(cut, same)
    end = pd.Timestamp(sorted(tables["targets"]["period_end"].unique())[-2])
    unsettled = tables | {"order_lines": lines[lines["paid_at"] < end - pd.Timedelta(days=5)]}
    waiting = opened(whole_market, unsettled, data_through=end.date(), settlement_days=7)
    assert targets.made(waiting)["period_end"].max() < end
    assert targets.made(waiting, through=dt.date(2030, 1, 1))["period_end"].max() < end


def test_refunds_without_any_date_are_refused(whole_market: Path, tables: Tables) -> None:
    undated = tables["order_lines"].assign(refunded_at=pd.Series(pd.NaT, tables["order_lines"].index))
    with pytest.raises(DesignError, match=r"refunds of data set .* has its refunded_at"):
        targets.gaming(opened(whole_market, tables | {"order_lines": undated}))


def test_a_fall_of_exactly_the_least_loosens_nobody(whole_market: Path, tables: Tables) -> None:
    goals = tables["targets"].copy()
    starts = sorted(goals["period_start"].unique())
    base = goals["merchant_id"].map(
        dict(zip(sorted(goals["merchant_id"].unique()), [0.7, 0.75, 0.72, 0.8, 0.66, 0.9] * 200, strict=False))
    )
    goals["stretch"] = 100.0
    goals["floor"] = (100 * (base - 0.02 * (goals["period_start"] >= starts[len(starts) // 2]))).round(2)
    with pytest.raises(DesignError, match="the floor of 0 of"):
        targets.loosened_panel(opened(whole_market, tables | {"targets": goals}))


def test_a_curve_without_errors_is_not_paid_back() -> None:
    y = np.random.default_rng(0).normal(10, 3, (60, 12))
    panel = Panel.from_matrix(y, treated_from=np.repeat([7, 0], [20, 40]))
    study = did.event_study(did.group_time(panel, inference="none"))
    curve = health.net_contribution(study, pd.DataFrame({"age": range(6), "cost": 0.1}))
    assert health.payback(curve)["state"].tolist() == ["cannot_tell"]


def test_a_category_of_one_other_says_nothing_of_the_rest() -> None:
    draw = np.random.default_rng(1)
    supported = pd.DataFrame(
        {"bundle": ["A"] * 12 + ["B"] * 12, "category": [0] * 12 + [1] * 12, "size_band": "s", "start": 0}
    )
    own, other = draw.uniform(5, 10, (24, 2)), draw.uniform(5, 10, (21, 1, 2))
    one = levers.Windows(
        supported.assign(cost=10.0), np.array([0] + [1] * 20), {"sales": own}, {"sales": other}, ["x", "y"]
    )
    rest = supported.tail(12).assign(category=0)
    alone = levers.Windows(rest, np.zeros(20, int), {"sales": own[12:]}, {"sales": other[1:]}, ["y"])
    found, twin = levers.sales(one).tidy(), levers.sales(alone).tidy()
    assert found["bundle"].tolist() == ["B"]
    np.testing.assert_allclose(found[["estimate", "std_error"]], twin[["estimate", "std_error"]])


def test_merchants_of_the_first_week_were_open_before_the_data(whole_market: Path, tables: Tables) -> None:
    roster = tables["merchants"].drop(columns="opened_on")
    lines = tables["order_lines"]
    first = lines.groupby("merchant_id")["paid_at"].min().reindex(roster["merchant_id"])
    shop = opened(whole_market, tables | {"merchants": roster})
    begun = pd.Timestamp(shop.data_from)
    late = int((first >= begun + pd.Timedelta(days=7 - begun.day_of_week)).sum())
    held = levers.windows(shop, since=shop.data_from, through=shop.week())
    joined = set(tables["support"].query("lever == 'overseas'")["merchant_id"])
    later = first[first >= begun + pd.Timedelta(days=7 - begun.day_of_week)].index
    assert held.left_out["late"] == late - len(joined & set(later))


def test_a_stay_without_a_cost_is_not_free(whole_market: Path, tables: Tables) -> None:
    support = tables["support"]
    merchant = support.loc[(support["lever"] == "display"), "merchant_id"].iloc[0]
    further = (
        support[support["merchant_id"] == merchant].head(1).assign(cost=np.nan, started_on=pd.Timestamp("2025-06-23"))
    )
    shop = opened(whole_market, tables | {"support": pd.concat([support, further], ignore_index=True)})
    assert np.isnan(levers.held.stays(shop, through=THROUGH).loc[merchant, "cost"])
    with pytest.raises(DesignError, match="nobody had a lever by 2024-06-10"):
        levers.overlap(shop, through=dt.date(2024, 6, 10))


def test_months_without_sales_abroad_are_months() -> None:
    paid = pd.to_datetime(["2025-01-15", "2025-02-15", "2025-03-15"])
    lines = pd.DataFrame({
        "order_id": [1, 2, 3], "line_id": 1, "buyer_id": "b", "merchant_id": "m", "category": "toys", "paid_at": paid,
        "amount": [10.0, 12.0, 5.0], "market": ["US", "US", "domestic"], "currency": ["USD", "USD", "CNY"],
        "fx_rate": [7.0, 7.0, 1.0],
    })  # fmt: skip
    shop = sk.dataset_from_frames(
        lines, pd.DataFrame({"merchant_id": ["m"], "category": "toys"}), currency="CNY", timezone="Asia/Shanghai",
        data_from=dt.date(2025, 1, 1), data_through=dt.date(2025, 3, 31),
    )  # fmt: skip
    split = overseas.growth_split(overseas.constant_currency(shop, base=dt.date(2025, 1, 1))).set_index("market")
    assert split.loc["all", ["before", "after", "growth"]].tolist() == [70.0, 0.0, -1.0]


def test_a_window_ends_with_its_last_week(whole_market: Path, tables: Tables) -> None:
    shop = opened(whole_market, tables)
    by_monday, by_sunday = (
        overseas.markets(shop, since=dt.date(2025, 3, 3), through=day)
        for day in (dt.date(2025, 5, 5), dt.date(2025, 5, 11))
    )
    pd.testing.assert_frame_equal(by_monday, by_sunday)
    lines = tables["order_lines"]
    abroad = lines[
        lines["market"].ne("domestic") & lines["market"].notna() & lines["status"].ne("cancelled")
        & lines["paid_at"].between("2025-03-03", "2025-05-12", inclusive="left")
    ]  # fmt: skip
    assert by_sunday["gmv"].sum() == pytest.approx(abroad["amount"].sum())


def test_joiners_are_told_by_what_was_known_then(whole_market: Path, tables: Tables) -> None:
    support = tables["support"]
    until = dt.date(2025, 3, 31)
    known = support[support["started_on"] < pd.Timestamp(until) + pd.Timedelta(weeks=1)]
    joined = support[support["lever"].eq("overseas")]
    seen = tables | {"support": pd.concat([known, joined]).drop_duplicates()}
    now, then = (
        overseas.joiners_panel(opened(whole_market, given), since=SINCE, through=until) for given in (tables, seen)
    )
    assert now.units.tolist() == then.units.tolist()


def test_a_missing_outcome_is_refused() -> None:
    draw = np.random.default_rng(0)
    x = draw.uniform(0.5, 1.5, 3000)
    y = x + draw.normal(size=3000)
    y[5] = np.nan
    with pytest.raises(ParameterError, match="1 of 3000 targets have none"):
        targets.discontinuity(y, x)


@pytest.mark.parametrize("kind", [pd.Timestamp, dt.datetime.fromisoformat])
def test_days_may_be_timestamps_and_are_never_texts(kind: Any, whole_market: Path) -> None:
    shop = sk.open_dataset(whole_market)
    span = {"since": dt.date(2024, 7, 1), "through": dt.date(2025, 6, 30)}
    later = {name: kind(str(day)) for name, day in span.items()}
    asked = [overseas.markets, overseas.naive_growth, sk.prices.price_index, sk.prices.discounts, sk.whole_web.changes]
    for question in asked:
        pd.testing.assert_frame_equal(question(shop, **later), question(shop, **span))
        with pytest.raises(ParameterError, match="is a date, not '2024-07-01'"):
            question(shop, since="2024-07-01", through=span["through"])
    pd.testing.assert_frame_equal(
        targets.setting(shop, through=kind("2025-06-30")), targets.setting(shop, through=span["through"])
    )
    with pytest.raises(ParameterError, match="a block has 1, 2, 4"):
        targets.setting(shop, weeks=2.0)  # type: ignore[arg-type]
