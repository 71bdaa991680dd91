"""Platform health: the bridge adds up, payback holds its promise, search and trust recover what was simulated."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

import strategy_kit as sk
from strategy_kit import did
from strategy_kit import platform_health as health
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.dataset import Dataset
    from strategy_kit.estimates import Estimates

WINDOWS = (dt.date(2025, 3, 3), dt.date(2025, 5, 11)), (dt.date(2025, 5, 19), dt.date(2025, 7, 27))
SPAN: dict[str, Any] = {"since": dt.date(2025, 3, 3), "through": dt.date(2025, 7, 21)}
MONEY = arrays(float, 4, elements=st.floats(0.01, 1e6))


@pytest.fixture(scope="module")
def shop(sample: Path) -> Dataset:
    return sk.open_dataset(sample)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(
        tmp_path_factory.mktemp("health") / "searched", seed=3, merchants=120, weeks=40, world=World(search_cost=1)
    )


def study_of(panel: Panel) -> Estimates:
    return did.event_study(did.group_time(panel))


@given(MONEY, MONEY, st.floats(0.001, 0.9), st.floats(0.001, 0.9), st.floats(0.1, 10))
@settings(max_examples=60, deadline=None)
def test_the_bridge_adds_up_and_names_each_cause(
    before: np.ndarray, after: np.ndarray, low: float, high: float, by: float
) -> None:
    rates, later = np.linspace(low, high, 4), np.linspace(high, low, 4)
    fees, then = rates * before, later * after
    parts = health.bridge_parts(before, fees, after, then)
    scale = fees.sum() + then.sum()
    assert sum(parts.values()) == pytest.approx(then - fees, abs=1e-9 * scale)
    grown = health.bridge_parts(before, fees, by * before, by * fees)  # nothing but growth
    assert grown["growth"].sum() == pytest.approx((by - 1) * fees.sum(), abs=1e-9 * (1 + by) * fees.sum())
    assert [abs(grown[name]).max() for name in ("mix", "rate")] == pytest.approx([0, 0], abs=1e-9 * (1 + by) * scale)
    back = health.bridge_parts(after, then, before, fees)  # no order of the windows matters
    assert all(back[name] == pytest.approx(-parts[name], abs=1e-9 * scale) for name in parts)


def test_a_category_of_one_window_counts_as_mix() -> None:
    parts = health.bridge_parts([100, 0], [5, 0], [50, 50], [2.5, 10])
    assert parts["rate"] == pytest.approx([0, 0], abs=1e-12)
    assert parts["mix"] == pytest.approx([-2.5, 10])
    parts = health.bridge_parts([0, 100], [5, 10], [50, 150], [5, 15])  # fees without sales have no rate
    assert sum(parts.values()) == pytest.approx([0, 5])


def test_the_bridge_is_what_the_tables_say(shop: Dataset) -> None:
    found = health.take_rate_bridge(shop, *WINDOWS)
    lines = shop.engine.frame("select * from order_lines where status <> 'cancelled'")
    day = pd.to_datetime(lines["paid_at"]).dt.date
    stays = shop.engine.frame("select m.category, s.* from support s join merchants m using (merchant_id)")
    started, cost = pd.to_datetime(stays["started_on"]), stays["cost"].astype(float)
    length = (pd.Timestamp(shop.data_through) - started).dt.days + 1
    for name, (first, last) in zip(("before", "after"), WINDOWS, strict=True):
        inside = lines[(day >= first) & (day <= last)]
        for column, source in (("gmv", "amount"), ("fees", "platform_fee")):
            by_hand = inside.astype({source: float}).groupby("category")[source].sum()
            assert found[f"{column}_{name}"].to_numpy() == pytest.approx(by_hand.to_numpy())
    spent = []
    for window in WINDOWS:
        first, last = map(pd.Timestamp, window)
        days = (last - started.where(started > first, first)).dt.days + 1
        spent.append((cost * days.clip(lower=0) / length).sum())
    assert found["support"].sum() == pytest.approx(spent[0] - spent[1])
    change = found["fees_after"] - found["fees_before"]
    assert abs(found[["growth", "mix", "rate"]].sum(axis=1) - change).max() < 1e-9
    assert abs(found[list(health.BRIDGE)].sum(axis=1) - found["net"]).max() < 1e-9


def test_what_a_bridge_refuses(shop: Dataset) -> None:
    (first, last), after = WINDOWS
    with pytest.raises(ParameterError, match=r"2 laws.*same number of days, not 140 and 70.*ends before the second"):
        health.take_rate_bridge(shop, (first, last + dt.timedelta(days=70)), after)
    with pytest.raises(ParameterError, match="windows lie within"):
        health.take_rate_bridge(
            shop, (dt.date(2020, 1, 1), dt.date(2020, 1, 7)), (dt.date(2020, 2, 1), dt.date(2020, 2, 7))
        )
    lines = shop.engine.frame("select * from order_lines limit 500").drop(columns="platform_fee")
    roster = shop.engine.frame("select * from merchants")
    bare = sk.dataset_from_frames(order_lines=lines, merchants=roster, timezone="Asia/Shanghai", currency="CNY")
    with pytest.raises(DesignError, match=r"no order_lines.platform_fee"):
        health.revenue_panels(bare, **SPAN)


def test_pass_through_is_the_pilots_take_rate(shop: Dataset) -> None:
    """Fees of the simulated market are a fixed share of sales, 5% in each pilot, in whole fen."""
    panels = health.revenue_panels(shop, **SPAN, categories=shop.pilot.categories)
    effects = [
        did.overall(did.group_time(panels[name].untreated_at_first(), control="not_yet"))
        for name in ("fees", "gmv", "together")
    ]
    row = health.pass_through(*effects).iloc[0]
    assert row["estimate"] == pytest.approx(0.05, abs=2e-4)
    with pytest.raises(ParameterError, match="added up"):
        health.pass_through(effects[0], effects[1], effects[1])


def test_the_interval_of_pass_through_holds() -> None:
    """Effects on sales of 3 and on fees of 0.3: Fieller's interval holds 0.1 as often as promised."""
    rng, held, runs = np.random.default_rng(2), 0, 300
    for _ in range(runs):
        gmv = rng.normal(0, 2, (60, 4)) + 3 * (np.arange(60)[:, None] < 30) * (np.arange(4) >= 2)
        fees = 0.1 * gmv + rng.normal(0, 0.1, (60, 4))
        starts = [3] * 30 + [0] * 30
        parts = [
            did.overall(did.group_time(Panel.from_matrix(y, treated_from=starts))) for y in (fees, gmv, fees + gmv)
        ]
        row = health.pass_through(*parts).iloc[0]
        held += bool(row["conf_low"] <= 0.1 <= row["conf_high"])
    # binomial: a standard deviation of 1.3% around 95%, normal critical values at 30 and 30 units cost half a percent
    assert held / runs == pytest.approx(0.945, abs=4 * np.sqrt(0.95 * 0.05 / runs))


def test_payback_is_in_its_interval_as_often_as_promised() -> None:
    """True effect 2 a week against a cost of 1.5, after 6 in the first week: below 0 for the first 11 weeks."""
    rng, runs, inside, covered, weeks = np.random.default_rng(4), 200, 0, 0, 16
    cost = pd.DataFrame({"age": range(weeks), "cost": [7.25] + [1.5] * (weeks - 1)})
    true = np.cumsum(2 - cost["cost"].to_numpy())
    turns = int(np.flatnonzero(true < 0)[-1] + 1)
    for _ in range(runs):
        own = rng.normal(0, 1, (120, 1)) + rng.normal(0, 1.5, (120, 4 + weeks))
        own[:60, 4:] += 2
        curve = health.net_contribution(study_of(Panel.from_matrix(own, treated_from=[5] * 60 + [0] * 60)), cost)
        rows, found = curve.tidy(), health.payback(curve).iloc[0]
        covered += bool(((rows["band_low"] <= true) & (true <= rows["band_high"])).all())
        inside += bool(
            np.nan_to_num(found["age_low"], nan=np.inf) <= turns <= np.nan_to_num(found["age_high"], nan=np.inf)
        )
    # a band that is too narrow by chance at 95%, less what normal critical values cost at 60 units a side
    assert covered / runs >= 0.945 - 3 * np.sqrt(0.95 * 0.05 / runs)
    assert inside >= covered  # whenever the path lies in its band, the age lies in its interval


def test_the_curve_is_the_sum_of_its_weeks() -> None:
    own = np.random.default_rng(5).normal(0, 1, (40, 9))
    study = study_of(Panel.from_matrix(own, treated_from=[4] * 20 + [0] * 20))
    after = study.labels["age"].to_numpy() >= 0
    cost = pd.DataFrame({"age": range(6), "cost": np.arange(6.0)})
    scenario = health.Scenario(weeks=3, persistence=0.5, averaged=2)
    curve = health.net_contribution(study, cost, scenario)
    weekly, spread = study.estimate[after], study.covariance[np.ix_(after, after)]
    last = weekly[-2:].mean()
    by_hand = np.cumsum([*(weekly - np.arange(6)), *(last * 0.5**step - 4.5 for step in (1, 2, 3))])
    assert curve.estimate == pytest.approx(by_hand)
    assert curve.std_error[5] == pytest.approx(np.sqrt(spread.sum()))
    assert curve.labels["scenario"].tolist() == ["observed"] * 6 + [scenario.name] * 3
    ends = health.net_contribution(study, cost, health.Scenario(weeks=3, supported=False))
    assert np.diff(ends.estimate[5:]) == pytest.approx([weekly[-4:].mean()] * 3)
    with pytest.raises(DesignError, match="without a gap"):
        health.net_contribution(study, cost.iloc[1:])
    with pytest.raises(ParameterError, match=r"2 laws.*weeks is 1 or more.*persistence"):
        health.Scenario(weeks=0, persistence=2)


def test_not_yet_needs_the_whole_band_below_zero() -> None:
    own = np.random.default_rng(6).normal(0, 1, (60, 8))
    study = study_of(Panel.from_matrix(own, treated_from=[5] * 30 + [0] * 30))
    states = [
        health.payback(health.net_contribution(study, pd.DataFrame({"age": range(4), "cost": by}))).iloc[0]
        for by in (9.0, 0.0, -9.0)
    ]
    assert [row["state"] for row in states] == ["not_yet", "cannot_tell", "paid_back"]
    assert np.isnan(states[0][["age", "age_low", "age_high"]].astype(float)).all()
    assert states[2]["age_high"] == 0


def test_cost_by_age_is_what_stays_cost(shop: Dataset) -> None:
    found = health.cost_by_age(shop, through=SPAN["through"])
    stays = shop.engine.frame("select * from support")
    days = (pd.Timestamp(shop.data_through) - pd.to_datetime(stays["started_on"])).dt.days + 1
    merchants = stays["merchant_id"].nunique()
    assert found["cost"][0] == pytest.approx((7 * stays["cost"].astype(float) / days).sum() / merchants)
    assert found["merchants"][0] == merchants
    assert found["merchants"].is_monotonic_decreasing


def test_search_cost_is_a_ratio_of_sums_and_recovers_what_was_saved(searched: Path) -> None:
    shop = sk.open_dataset(searched)
    told = json.loads((searched / "truth.json").read_text())["searches"]
    table = shop.engine.frame("select * from searches")
    whole = health.search_cost(shop, ()).iloc[0]
    assert whole["minutes_per_purchase"] == pytest.approx(
        np.average(table["minutes_to_purchase"], weights=table["conversions"])
    )
    assert whole["queries_per_purchase"] == pytest.approx(table["queries"].sum() / table["conversions"].sum())
    assert whole["conversion"] == pytest.approx(table["conversions"].sum() / table["sessions"].sum())
    span: dict[str, Any] = {"since": shop.data_from, "through": shop.week()}
    for name, true in told.items():
        row = did.pilot_contrast(health.search_panel(shop, name, **span)).tidy().iloc[0]
        # noise of 2% a week: 8 weeks after and 31 before in 3 pilots give 0.5%; rounding of queries as much again
        assert row["estimate"] == pytest.approx(true, abs=0.025)
        assert row["conf_low"] - 0.01 < true < row["conf_high"] + 0.01
    with pytest.raises(ParameterError, match="did you mean 'week'"):
        health.search_cost(shop, ("weeks",))


def test_the_knob_leaves_all_else_as_it_was(searched: Path) -> None:
    plain = simulate(searched.parent / "plain" / "searched", seed=3, merchants=120, weeks=40)
    for name in ("order_lines", "merchants", "support", "calendar"):
        assert (plain / f"{name}.parquet").read_bytes() == (searched / f"{name}.parquet").read_bytes()


def leaving(rng: np.random.Generator, units: int, weeks: int) -> Panel:
    """Everyone leaves at 2% a week; 3% a week of those still there get support, which does nothing."""
    life, start = rng.geometric(0.02, units), 3 + rng.geometric(0.03, units)
    sold = (np.arange(weeks) < life[:, None]) & (rng.random((units, weeks)) < 0.8)
    return Panel.from_matrix(sold * 1.0, treated_from=np.where((life >= start) & (start < weeks), start + 1, 0))


def test_exits_are_counted_by_hand_in_the_risk_set_of_each_start() -> None:
    panel, silence = leaving(np.random.default_rng(8), 150, 30), 5
    found = health.exit_effect(panel, silence=silence)
    sold, kept, rows = panel.outcome > 0, 30 - silence + 1, []
    start = np.append(panel.starts, 99)[panel.cohort]
    for begin in [at for at in panel.starts if at < kept]:
        there = [i for i in range(150) if sold[i, :begin].any() and sold[i, begin - 1 :].any()]
        own, others = [i for i in there if start[i] == begin], [i for i in there if start[i] > begin]
        still, shares = 1.0, []
        for week in range(begin, kept):
            risk = [i for i in others if start[i] > week and sold[i, week - 1 :].any()]
            still *= 1 - np.mean([not sold[i, week:].any() for i in risk])
            shares.append(1 - still)
        if own:
            away = np.mean([[not sold[i, week:].any() for week in range(begin, kept)] for i in own])
            rows.append((panel.periods[begin], len(own), len(others), kept - begin, away, np.mean(shares)))
    starts = pd.DataFrame(rows, columns=["start", "supported", "others", "weeks", "gone", "otherwise"])
    pd.testing.assert_frame_equal(found.details["starts"], starts, check_dtype=False, rtol=1e-9)
    held = starts["supported"].sum()
    assert found.clusters[0] == held
    assert found.notes[-1].endswith(f"left out: {(panel.cohort >= 0).sum() - held} of {(panel.cohort >= 0).sum()}")


def test_support_by_lot_among_those_still_selling_moves_no_exits() -> None:
    found = [health.exit_effect(leaving(np.random.default_rng(run), 300, 40), silence=5).average for run in range(120)]
    estimate, error = np.array(found).T
    assert abs(estimate.mean()) < 4 * estimate.std() / np.sqrt(120)
    assert error.mean() == pytest.approx(estimate.std(), rel=0.25)
    assert np.mean(np.abs(estimate) < 1.96 * error) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 120))


@pytest.mark.parametrize(
    ("own", "others", "hazard"), [(10, 40, 0.01), (20, 100, 0.005), (100, 10, 0.01), (10, 40, 0.05)]
)
def test_few_exits_do_not_pass_for_certainty(own: int, others: int, hazard: float) -> None:
    held, runs = 0, 200
    for run in range(runs):
        # nobody leaves before the start, in week 4
        gone = 3 + np.random.default_rng(run).geometric(hazard, own + others)
        sold = (np.arange(24) < gone[:, None]).astype(float)
        panel = Panel.from_matrix(sold, treated_from=[4] * own + [np.inf] * others)
        row = health.exit_effect(panel, silence=5).glance().iloc[0]
        held += bool(row["conf_low"] <= 0 <= row["conf_high"])
    assert held / runs > 0.95 - 3.4 * np.sqrt(0.95 * 0.05 / runs)


def test_what_exits_refuse() -> None:
    panel = leaving(np.random.default_rng(8), 20, 12)
    with pytest.raises(ParameterError, match="silence is a whole number of weeks"):
        health.exit_effect(panel, silence=0)
    holed = Panel.from_matrix(np.where(np.eye(6) == 1, np.nan, 1.0), treated_from=[4] * 3 + [np.inf] * 3)
    with pytest.raises(ParameterError, match="some are missing; take a balanced panel"):
        health.exit_effect(holed, silence=2)
    with pytest.raises(DesignError, match="12 weeks cannot show who was silent for 12"):
        health.exit_effect(panel, silence=12)
    with pytest.raises(DesignError, match="no start has supported and other merchants"):
        health.exit_effect(Panel.from_matrix(np.eye(6), treated_from=[4] * 6), silence=2)


def test_support_that_keeps_shops_open_is_found(tmp_path: Path) -> None:
    folder = simulate(tmp_path / "leaving", seed=5, merchants=200, weeks=52, world=World(exits=1, churn=0))
    shop = sk.open_dataset(folder)
    merchants = shop.panel(categories=shop.pilot.categories).untreated_at_first()
    effect = health.exit_effect(merchants, silence=3).glance().iloc[0]
    assert effect["estimate"] < 0  # a fifth of the unsupported close by the last week, none of the supported
    assert effect["conf_low"] < -0.05


def test_lead_lag_covers_and_its_leads_are_a_placebo() -> None:
    rng, runs, held, refused = np.random.default_rng(9), 150, 0, 0
    for _ in range(runs):
        score = rng.normal(0, 1, (80, 1)) + rng.normal(0, 1, (80, 24))
        sales = rng.normal(0, 2, (80, 1)) + rng.normal(0, 1, 24) + rng.normal(0, 1, (80, 24))
        sales[:, 2:] += 0.3 * score[:, :-2]
        found = health.lead_lag(sales, score, lags=4, leads=2)
        row = found.tidy().query("lag == 2").iloc[0]
        held += bool(row["conf_low"] <= 0.3 <= row["conf_high"])
        refused += bool(found.details["placebo"]["p_value"][0] < 0.05)
    # binomial, and 80 clusters cost a percent
    assert held / runs == pytest.approx(0.94, abs=4 * np.sqrt(0.95 * 0.05 / runs))
    assert refused / runs == pytest.approx(0.06, abs=4 * np.sqrt(0.95 * 0.05 / runs))
    follows = np.roll(sales, 1, axis=1) + rng.normal(0, 0.5, sales.shape)  # a score that follows sales by a week
    assert health.lead_lag(sales, follows, lags=2, leads=2).details["placebo"]["p_value"][0] < 1e-6


def test_lead_lag_is_the_regression_with_dummies() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(12, 10)), rng.normal(size=(12, 10))
    rows = [(i, t, y[i, t], *(x[i, t - k] for k in (-1, 0, 1, 2))) for i in range(12) for t in range(2, 9)]
    frame = pd.DataFrame(rows, columns=["unit", "week", "y", "a", "b", "c", "d"])
    design = pd.concat(
        [
            frame[list("abcd")],
            pd.get_dummies(frame["unit"], dtype=float),
            pd.get_dummies(frame["week"], prefix="w", drop_first=True, dtype=float),
        ],
        axis=1,
    )
    design.columns = design.columns.astype(str)
    fit = sm.OLS(frame["y"], design).fit(
        cov_type="cluster", cov_kwds={"groups": frame["unit"], "use_correction": False}
    )
    found = health.lead_lag(y, x, lags=2, leads=1)
    assert found.estimate == pytest.approx(fit.params[list("abcd")].to_numpy())
    # statsmodels' k counts units too; they nest in the clusters, as week effects do not
    small = 12 / 11 * (12 * 7 - 1) / (12 * 7 - 4 - 7)
    assert found.std_error == pytest.approx(fit.bse[list("abcd")].to_numpy() * np.sqrt(small))
    row = found.details["placebo"].iloc[0]
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(found.estimate[0]) / found.std_error[0], 11))
    assert row["statistic"] == pytest.approx((found.estimate[0] / found.std_error[0]) ** 2)


def test_what_lead_lag_refuses() -> None:
    steady = np.repeat(np.arange(20.0)[:, None], 12, axis=1)
    with pytest.raises(DesignError, match="does not move by itself"):
        health.lead_lag(np.random.default_rng(1).normal(size=(20, 12)), steady, lags=2, leads=1)
    with pytest.raises(ParameterError, match="without gaps"):
        health.lead_lag(np.full((20, 12), np.nan), steady)
    with pytest.raises(DesignError, match="cannot tell 10 leads and lags apart"):
        health.lead_lag(steady[:, :10], steady[:, :10])


def test_complaints_and_experience_come_from_their_tables(sample: Path) -> None:
    base = sk.open_dataset(sample)
    tables = {name: base.engine.frame(f"select * from {name}") for name in ("order_lines", "merchants", "support")}
    weeks = pd.date_range("2025-01-06", "2025-07-21", freq="W-MON")
    index = pd.MultiIndex.from_product([tables["merchants"]["merchant_id"], weeks], names=["merchant_id", "week"])
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"score": rng.normal(4.7, 0.1, len(index)), "complaints": rng.poisson(2, len(index))}, index=index
    )
    pilots = {"categories": list(base.pilot.categories), "starts_on": base.pilot.starts_on}
    shop = sk.dataset_from_frames(
        **tables, experience=table.reset_index(), timezone="Asia/Shanghai", currency="CNY", pilot=pilots
    )
    span: dict[str, Any] = {"since": weeks[0].date(), "through": weeks[-1].date()}
    found = health.complaints(shop, **span)
    assert found["complaints"].sum() == table["complaints"].sum()
    assert found["rate"].dropna().to_numpy() == pytest.approx(
        (found["complaints"] / found["orders"]).dropna().to_numpy()
    )
    assert did.pilot_contrast(health.complaints_panel(shop, **span)).outcome == "complaints an order"
    sales, score, left_out = health.experience_panel(shop, **span)
    assert sales.shape == score.shape == (len(tables["merchants"]) - left_out, len(weeks))
    assert sales.mean(axis=1) == pytest.approx(1)
    with pytest.raises(ParameterError, match="score, response_minutes"):
        health.experience_panel(shop, **span, measure="stars")
