"""Advertising elsewhere: the profile is that of the regression, covers what is true, and its placebo sees what it can."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit import whole_web as web
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.simulate import World, simulate
from strategy_kit.simulate.advertising import ADVERTISERS, BEFORE, PROFILE, months_of_weeks, true_advertising
from strategy_kit.simulate.market import draw_market
from strategy_kit.simulate.roster import IS_PILOT
from strategy_kit.simulate.seasons import Clock

if TYPE_CHECKING:
    from pathlib import Path

TRUE = np.array([0.0, 0.0, 0.5, 0.3, 0.1, 0.0])  # two leads, then lags 0 to 3


def drawn(
    seed: int, *, units: int = 40, periods: int = 16, profile: np.ndarray = TRUE
) -> tuple[np.ndarray, np.ndarray]:
    """Logs of sales that follow spend by the profile, with merchants and months of their own, errors that last, (N, T)."""
    rng = np.random.default_rng(seed)
    spend = rng.normal(0, 0.5, (units, periods + 5)) + rng.normal(0, 1, (units, 1)) + rng.normal(0, 0.3, periods + 5)
    kept = np.arange(3, 3 + periods)
    sales = sum(weight * spend[:, kept - lag] for lag, weight in zip(range(-2, 4), profile, strict=True))
    noise = rng.normal(0, 0.3, (units, periods))
    for month in range(1, periods):
        noise[:, month] += 0.5 * noise[:, month - 1]
    return sales + noise + rng.normal(0, 1, (units, 1)) + rng.normal(0, 0.3, periods), spend[:, kept]


def test_the_profile_is_the_regression_with_dummies() -> None:
    import statsmodels.api as sm

    sales, spend = drawn(1, units=24)
    group = np.repeat([0, 1], [10, 14])
    found = web.lag_profile(sales, spend, groups=group, lags=2, leads=1)
    unit, month = (part.ravel() for part in np.meshgrid(np.arange(24), np.arange(2, 15), indexing="ij"))
    columns = [spend[unit, month - lag] for lag in range(-1, 3)]
    columns += [unit == i for i in range(24)]
    columns += [(group[unit] == g) & (month == t) for g in range(2) for t in range(3, 15)]
    fit = sm.OLS(sales[unit, month], np.column_stack(columns).astype(float)).fit(
        cov_type="cluster", cov_kwds={"groups": unit}
    )
    assert found.estimate == pytest.approx(fit.params[:4], abs=1e-9)
    # merchant effects lie inside clusters and are not counted; statsmodels counts all of its columns
    factor = (len(unit) - len(columns)) / (len(unit) - 4 - 2 * 12 - 1)
    assert found.covariance == pytest.approx(fit.cov_params()[:4, :4] * factor, rel=1e-9)
    total = found.details["cumulative"].set_index("lag")
    assert total.loc["2", "estimate"] == pytest.approx(found.average[0])
    assert total.loc["2", "std_error"] == pytest.approx(found.average[1])
    assert total.loc["after", "estimate"] == pytest.approx(found.estimate[2:].sum())
    assert total.loc["0", "estimate"] == pytest.approx(found.estimate[1])


def test_intervals_cover_and_the_placebo_rejects_as_rarely_as_it_should() -> None:
    """200 draws: a standard deviation of 1.5 points for what holds in 95 of 100."""
    held, rejected = np.zeros(7), 0
    for seed in range(200):
        found = web.lag_profile(*drawn(seed))
        tidy = found.tidy()
        held[:6] += (tidy["conf_low"] <= TRUE) & (tidy["conf_high"] >= TRUE)
        row = found.glance().iloc[0]
        held[6] += row["conf_low"] <= TRUE.sum() <= row["conf_high"]
        rejected += found.details["placebo"]["p_value"][0] < 0.05
    assert (held / 200 > 0.95 - 4 * 0.016).all()
    assert rejected / 200 < 0.05 + 4 * 0.016


def test_spend_that_follows_last_month_s_sales_fails_the_placebo_and_same_month_s_does_not() -> None:
    rng = np.random.default_rng(7)
    sales = rng.normal(0, 0.3, (80, 18))
    late = np.roll(sales, 1, axis=1) + rng.normal(0, 0.3, sales.shape)
    assert web.lag_profile(sales, late).details["placebo"]["p_value"][0] < 1e-6
    found = web.lag_profile(sales, sales + rng.normal(0, 0.3, sales.shape))
    assert found.details["placebo"]["p_value"][0] > 0.01
    assert found.tidy().set_index("lag").loc[0, "conf_low"] > 0.3  # nothing was moved by spend: lag 0 alone is fooled
    after = found.details["cumulative"].set_index("lag").loc["after"]
    assert abs(after["estimate"]) < 3 * after["std_error"]


@given(st.integers(0, 10_000), st.floats(-5, 5))
@settings(max_examples=15, deadline=None)
def test_what_is_a_merchant_s_or_a_month_s_changes_nothing(seed: int, size: float) -> None:
    sales, spend = drawn(seed, units=20)
    group, rng = np.arange(20) % 2, np.random.default_rng(seed)
    plain = web.lag_profile(sales, spend, groups=group)
    own, month = size * rng.normal(size=(2, 20, 1)), size * rng.normal(size=(2, 2, 16))
    moved = web.lag_profile(sales + own[0] + month[0][group], spend + own[1] + month[1][group], groups=group)
    assert moved.estimate == pytest.approx(plain.estimate, abs=1e-9)
    assert moved.covariance == pytest.approx(plain.covariance, abs=1e-9)
    order = rng.permutation(20)
    assert web.lag_profile(sales[order], spend[order], groups=group[order]).estimate == pytest.approx(
        plain.estimate, abs=1e-9
    )


def test_who_is_alone_in_a_group_is_left_out_and_scale_does_not_matter() -> None:
    sales, spend = drawn(1)
    group = np.where(np.arange(40) < 30, 0, np.arange(40))
    found, own = web.lag_profile(sales, spend, groups=group), web.lag_profile(sales[:30], spend[:30])
    assert found.covariance == pytest.approx(own.covariance)
    assert found.details["placebo"]["p_value"][0] == pytest.approx(own.details["placebo"]["p_value"][0])
    assert found.notes[-1] == "merchants alone in their group, left out: 10"
    assert web.lag_profile(sales, 1e-11 * spend).estimate * 1e-11 == pytest.approx(
        web.lag_profile(sales, spend).estimate
    )


def test_refusals() -> None:
    sales, spend = drawn(1)
    with pytest.raises(DesignError, match="0 units of 16 periods cannot tell 6 leads and lags apart"):
        web.lag_profile(sales, spend, groups=np.arange(40))
    with pytest.raises(ParameterError, match="not missing for 1"):
        web.lag_profile(sales, spend, groups=[None, *["a"] * 39])
    with pytest.raises(ParameterError, match=r"(with N groups|is a list), not"):
        web.lag_profile(1.0, 2.0)
    with pytest.raises(DesignError, match="40 units of 6 periods cannot tell 6 leads and lags apart"):
        web.lag_profile(sales[:, :6], spend[:, :6])
    with pytest.raises(DesignError, match="does not move by itself"):
        web.lag_profile(sales, np.tile(spend[:1], (40, 1)))
    with pytest.raises(ParameterError, match="arrays without gaps"):
        web.lag_profile(sales, np.where(spend > 1, np.nan, spend))
    with pytest.raises(ParameterError, match="whole numbers of 1 or more, not 0 and 2"):
        web.lag_profile(sales, spend, lags=0)


# the simulated market


def test_expected_sales_follow_the_profile_that_the_truth_tells() -> None:
    """Without noise, months of the calendar show what `by_calendar_month` says, but for months of unequal length."""
    clock = Clock(78)
    market = draw_market(
        clock,
        600,
        np.random.default_rng(1),
        World(**dict.fromkeys(("churn", "shocks", "festival_response"), 0.0), advertising=1),
    )
    share = market.days / market.days.sum(axis=2, keepdims=True)
    daily = (market.sales()[:, :, None] * share[market.column("category")]).reshape(600, -1)
    days = pd.date_range(clock.monday(0), periods=7 * 79)
    number = (days.year * 12 + days.month) - (days[0].year * 12 + days[0].month)
    months = np.arange(1, 18)  # the complete ones
    monthly = np.stack([daily[:, number == month].sum(axis=1) for month in months], axis=1)
    own = ~np.isnan(market.spending[:, 0]) & ~IS_PILOT[market.column("category")]
    assert (~np.isnan(market.spending[:, 0])).mean() == pytest.approx(ADVERTISERS, abs=4 * np.sqrt(0.21 / 600))
    spend = market.spending[own][:, BEFORE + months]
    found = web.lag_profile(np.log(monthly[own]), spend, groups=market.column("category")[own])
    told = [row["log_points"] for row in true_advertising(1.0, clock)["by_calendar_month"]]
    assert found.estimate == pytest.approx([0, 0, *told], abs=0.004)
    assert sum(told) == pytest.approx(PROFILE.sum(), abs=1e-7)
    assert months_of_weeks(clock)[[0, 1, 78]].tolist() == [0, 1, 18]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(advertising=1, churn=0)
    return simulate(tmp_path_factory.mktemp("ads") / "advertised", seed=3, merchants=250, weeks=66, world=world)


def test_the_knob_alone_writes_the_table_and_its_profile_is_found(folder: Path) -> None:
    shop = sk.open_dataset(folder)
    shop.require_valid()
    found = web.advertisers(shop)
    told = json.loads((folder / "truth.json").read_text())["advertising"]
    off = pd.read_parquet(folder / "offplatform_sales.parquet")
    months = off.groupby("merchant_id").size()
    assert (months == months.iloc[0]).all()  # there throughout
    assert len(months) == pytest.approx(ADVERTISERS * 250, abs=4 * np.sqrt(0.21 * 250))
    assert len(found.months) == months.iloc[0]
    assert len(found.sales) + found.left_out == len(months)
    fit = web.advertising_response(found)
    truth = np.array([0, 0, *(row["log_points"] for row in told["by_calendar_month"])])
    assert (np.abs(fit.estimate - truth) < 3.7 * fit.std_error).all()  # the largest of six, once in some 700 draws
    assert abs(fit.average[0] - told["sum"]) < 3.5 * fit.average[1]
    assert fit.average[0] > 0


def test_planned_spend_is_in_the_file(folder: Path) -> None:
    world = World(**json.loads((folder / "truth.json").read_text())["world"])
    start = np.random.SeedSequence(3).spawn(3)[0]
    market = draw_market(Clock(66), 250, np.random.default_rng(start), world)
    off = pd.read_parquet(folder / "offplatform_sales.parquet").astype({"ad_spend": float})
    wide = np.log(off.pivot_table(index="merchant_id", columns="month", values="ad_spend").to_numpy())
    planned = market.spending[~np.isnan(market.spending[:, 0])]
    months = pd.to_datetime(off["month"]).sort_values().unique()
    first = Clock(66).monday(0)
    column = BEFORE + 12 * (months.year - first.year) + months.month - first.month
    moved = np.diff(wide, axis=1)
    assert moved == pytest.approx(np.diff(planned[:, column], axis=1), abs=0.02)  # whole fen of small budgets


def test_the_class_of_a_merchant_is_that_of_most_of_its_estimates(folder: Path) -> None:
    found = web.advertisers(sk.open_dataset(folder))
    off = pd.read_parquet(folder / "offplatform_sales.parquet")
    count = pd.crosstab(off["merchant_id"], off["confidence"])[["low", "medium", "high"]]
    assert set(found.confidence) <= {"low", "medium", "high"}
    rows = web.response_by_confidence(found, lags=1, leads=1)
    assert rows["merchants"].sum() <= len(found.sales)
    most = count.idxmax(axis=1).value_counts()
    assert (rows.set_index("confidence")["merchants"] <= most.reindex(rows["confidence"])).all()
