"""Targets: promises that were kept, shares by size, what just-made targets are made of, ratchets and looser floors."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import strategy_kit as sk
from strategy_kit import did, targets
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.simulate import World, simulate
from strategy_kit.simulate.targets import true_targets
from strategy_kit.targets.setting import _Blocks, _set

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.dataset import Dataset

PROMISE, REACH, MARKETS = 0.9, 0.25, 6


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A market whose merchants make targets as truth.json tells."""
    folder = tmp_path_factory.mktemp("targets") / "pushed"
    return sk.open_dataset(simulate(folder, seed=3, merchants=300, weeks=78, world=World(target_bunching=1)))


def shop_of(lines: list[tuple[Any, ...]], goals: list[tuple[Any, ...]], **optional: Any) -> Dataset:
    """A data set from (merchant, day, amount) and (merchant, start, end, floor, stretch)."""
    first = optional.pop("data_from", dt.date(2024, 1, 1))
    orders = pd.DataFrame(lines, columns=["merchant_id", "paid_at", "amount"]).assign(**optional)
    orders = orders.assign(order_id=range(len(orders)), line_id=1, buyer_id="b", category="toys")
    orders["paid_at"] = pd.to_datetime(orders["paid_at"])
    names = sorted({*orders["merchant_id"], *(row[0] for row in goals)})
    merchants = pd.DataFrame({"merchant_id": names, "category": "toys", "size_band": "small"})
    frame = pd.DataFrame(goals, columns=["merchant_id", "period_start", "period_end", "floor", "stretch"])
    return sk.dataset_from_frames(
        order_lines=orders, merchants=merchants, targets=frame, timezone="Asia/Shanghai", currency="CNY",
        data_from=first, data_through=dt.date(2025, 3, 9),
    )  # fmt: skip


# setting


def test_promises_are_kept_to_a_binomial_where_blocks_are_alike() -> None:
    rng, merchants, count = np.random.default_rng(9), 900, 24
    band = np.array(["small", "middle", "large"])[np.arange(merchants) % 3]
    noise = {"small": 0.6, "middle": 0.3, "large": 0.15}
    spread = np.array([noise[name] for name in band])[:, None]
    level = rng.normal(0, 1, merchants) + 3 * (band == "large")
    sold = np.exp(level[:, None] + spread * rng.normal(size=(merchants, count)))
    roster = pd.DataFrame({"merchant_id": range(merchants), "category": "toys", "size_band": band})
    blocks = _Blocks(sold, roster, [dt.date(2024, 1, 1)] * count, 13)
    met = {tier: np.zeros((3, 2)) for tier in ("floor", "stretch")}
    for origin in range(6, count):
        found = _set(blocks, origin, (PROMISE, REACH))
        for tier, counts in met.items():
            hit = sold[:, origin] >= found[tier].to_numpy()
            counts += [[hit[band == name].sum(), (band == name).sum()] for name in noise]
    for tier, share in (("floor", PROMISE), ("stretch", REACH)):
        hits, tried = met[tier].T
        # targets of a merchant in turn share a base and residuals: twice the binomial deviation, at four of them
        assert (abs(hits / tried - share) < 4 * 2 * np.sqrt(share * (1 - share) / tried)).all()


@pytest.mark.parametrize("world", [World.quiet(), World()], ids=["quiet", "demo"])
def test_promises_are_kept_at_every_size_in_periods_that_were_not_seen(tmp_path: Path, world: World) -> None:
    parts = []
    for seed in range(MARKETS):
        shop = sk.open_dataset(simulate(tmp_path / f"m{seed}", seed=seed, merchants=200, weeks=104, world=world))
        parts.append(targets.backtest(shop, promise=PROMISE, reach=REACH))
    tried = pd.concat(parts)
    for tier, share in (("floor", PROMISE), ("stretch", REACH)):
        found = targets.met_by_band(tried, tried["sold"] >= tried[tier], cluster="period_start")
        assert set(found["size_band"]) == {"all", "small", "middle", "large"}
        # all markets have one calendar, so that its periods are the draws: their error holds the binomial one
        binomial = np.sqrt(share * (1 - share) / found["targets"])
        assert (abs(found["met"] - share) < 3 * np.maximum(found["std_error"], binomial)).all()
        assert (abs(found["met"] - share) < 0.05).all()
        assert (found["std_error"] < 0.04).all()  # else nothing would be tested


def test_setting_is_what_a_slow_loop_makes(pushed: Dataset) -> None:
    found = targets.setting(pushed, weeks=2).set_index("merchant_id")
    weekly = pushed.engine.frame(
        "select merchant_id, cast(date_trunc('week', paid_at) as date) as week, sum(amount) as sold from order_lines "
        "where status <> 'cancelled' group by all"
    )
    mondays = pushed.complete_periods("week")
    table = weekly.astype({"sold": float}).pivot_table("sold", "merchant_id", "week", "sum", fill_value=0.0)
    table = table.reindex(found.index, fill_value=0.0)[pd.DatetimeIndex(mondays)]
    blocks = np.array([table.iloc[:, 2 * n : 2 * n + 2].sum(axis=1) for n in range(len(mondays) // 2)]).T
    category = pushed.engine.frame("select merchant_id, category from merchants").set_index("merchant_id")["category"]
    sums = pd.DataFrame(blocks, index=found.index).groupby(category.reindex(found.index)).sum()

    def season(origin: int) -> Any:
        ratio = sums[origin - 26] / sums[list(range(origin - 29, origin - 26))].mean(axis=1)
        return category.reindex(found.index).map(ratio).to_numpy()

    inside = (found["size_band"] == "middle").to_numpy()
    rows = []
    for origin in range(29, 39):
        level = [
            np.log(row[origin - 3 : origin].mean()) if (row[origin - 3 : origin] > 0).all() else np.nan
            for row in blocks
        ]
        reached = blocks[:, origin] / season(origin)
        rows += [
            (origin, x, y) for x, y in zip(np.array(level)[inside], reached[inside], strict=True) if not np.isnan(x)
        ]
    past = pd.DataFrame(rows, columns=["origin", "level", "sold"])
    sold = past[past["sold"] > 0].assign(sold=lambda frame: np.log(frame["sold"]))
    slope = (
        sm.OLS(sold["sold"], pd.get_dummies(sold["origin"], dtype=float).assign(level=sold["level"]))
        .fit()
        .params["level"]
    )
    centre = past.groupby("origin")["level"].transform("mean")
    residual = sorted(past["sold"] / np.exp(centre + slope * (past["level"] - centre)))
    now = np.array([np.log(row[-3:].mean()) if (row[-3:] > 0).all() else np.nan for row in blocks])
    mean = np.nanmean(now[inside])
    expected = np.exp(mean + slope * (now - mean)) * season(39)
    size = len(residual)
    places = [int((1 - share) * (size + 1) + 1e-9) for share in (PROMISE, REACH)]
    assert 0 < slope < 1
    for name, value in (("floor", residual[places[0] - 1]), ("stretch", residual[places[1] - 1])):
        assert found.loc[inside, name].to_numpy() == pytest.approx((value * expected)[inside], rel=1e-9, nan_ok=True)


def test_merchants_without_a_level_have_no_target(pushed: Dataset) -> None:
    found = targets.setting(pushed)
    assert found["floor"].isna().any()
    assert (found["floor"].isna() == found["forecast"].isna()).all()
    assert len(found) == 300


def test_wrong_promises_and_short_pasts_are_refused(pushed: Dataset) -> None:
    with pytest.raises(ParameterError, match="reach the smaller one"):
        targets.setting(pushed, promise=0.2)
    with pytest.raises(ParameterError, match="a divisor of 52"):
        targets.setting(pushed, weeks=5)
    with pytest.raises(DesignError, match="use shorter ones"):
        targets.setting(pushed, weeks=26)
    with pytest.raises(DesignError, match=r"too few to promise 0\.9999"):
        targets.setting(pushed, promise=0.9999)
    with pytest.raises(DesignError, match="too few to try"):
        targets.backtest(pushed, promise=0.9999)


# attainment


def test_what_is_due_follows_last_year_s_season() -> None:
    last_year = [
        ("a", "2024-03-04", 70.0),
        ("a", "2024-03-08", 30.0),
        ("a", "2024-03-20", 100.0),
        ("a", "2024-02-01", 9.0),
    ]
    now = [("a", "2025-03-04", 40.0), ("a", "2025-03-09", 10.0), ("a", "2025-02-20", 5.0)]
    shop = shop_of([*last_year, *now], [("a", dt.date(2025, 3, 3), dt.date(2025, 3, 30), 80.0, 100.0)])
    row = targets.running(shop).iloc[0]
    assert row[["sold", "floor_due", "stretch_due", "elapsed"]].tolist() == [50.0, 40.0, 50.0, 0.5]
    early = targets.running(shop, through=dt.date(2025, 3, 4)).iloc[0]
    assert early[["sold", "stretch_due"]].tolist() == [40.0, 35.0]
    plain = shop_of(now, [("a", dt.date(2025, 3, 3), dt.date(2025, 3, 30), 80.0, 100.0)])
    row = targets.running(plain).iloc[0]
    assert (row["elapsed"], row["seasonal"]) == (0.25, 0)  # 7 of 28 days


def test_a_year_before_that_the_data_hold_in_part_sets_nothing_due() -> None:
    days = pd.date_range("2024-01-15", "2025-01-08")  # the data begin within the window a year before
    lines = [("a", day, 1.0) for day in days]
    shop = shop_of(
        lines, [("a", dt.date(2025, 1, 1), dt.date(2025, 1, 31), 15.5, 31.0)], data_from=dt.date(2024, 1, 15)
    )
    row = targets.running(shop, through=dt.date(2025, 1, 8)).iloc[0]
    assert row[["sold", "floor_due", "stretch_due", "seasonal"]].tolist() == [8.0, 4.0, 8.0, 0]


def test_what_was_made_adds_up_to_attainment(pushed: Dataset) -> None:
    made, whole = targets.made(pushed), targets.attainment(pushed)
    assert made["sold"].sum() == pytest.approx(whole["sold"].sum(), rel=1e-12)
    assert (made["sold"] >= made["stretch"]).sum() == whole["met_stretch"].sum()
    assert len(made) == whole["merchants"].sum()
    share = (made["sold"] >= made["stretch"]).mean()
    told = true_targets(1.0, 78)
    assert share == pytest.approx(told["share_met"], abs=4 * np.sqrt(share * (1 - share) / len(made)))


# gaming


def test_each_measure_is_counted_by_hand() -> None:
    days = (dt.date(2025, 1, 6), dt.date(2025, 1, 12))
    lines = [
        *[("just", "2025-01-07", 60.0), ("just", "2025-01-11", 41.0), ("just", "2025-01-14", 30.0)],
        *[
            ("far", "2025-01-07", 80.0),
            ("far", "2025-01-12", 120.0),
            ("far", "2025-01-19", 70.0),
            ("far", "2025-01-20", 5.0),
        ],
        ("miss", "2025-01-08", 99.0),
    ]
    back = [None, "2025-01-15", None, None, "2025-01-12", None, None, None]
    paid_back = [0.0, 10.0, 0.0, 0.0, 120.0, 0.0, 0.0, 0.0]
    goals = [(name, *days, 50.0, 100.0) for name in ("just", "far", "miss")]
    shop = shop_of(lines, goals, refunded_at=pd.to_datetime(pd.Series(back)), refund_amount=paid_back)
    found = targets.gaming(shop, days=2).set_index(["measure", "group"])["estimate"]
    assert found["last_days"]["just_made"] == pytest.approx(41 / 101)
    assert found["last_days"]["clear"] == pytest.approx(120 / 200)
    assert found["next_week"]["just_made"] == pytest.approx(30 / (60 / 5 * 7))
    assert found["next_week"]["clear"] == pytest.approx(70 / (80 / 5 * 7))
    assert found["refunded_after"]["just_made"] == pytest.approx(10 / 101)
    assert found["refunded_after"]["clear"] == 0  # refunded while the period ran
    assert found["undone"].to_dict() == {"just_made": 1, "clear": 0, "just_made_less_clear": 1}


def test_gaming_of_a_market_is_seen(pushed: Dataset) -> None:
    found: Any = targets.gaming(pushed).set_index(["measure", "group"])
    for measure in ("last_days", "refunded_after", "undone"):
        assert found.loc[(measure, "just_made_less_clear"), "conf_low"] > 0
        assert found.loc[(measure, "clear"), "targets"] > 100
    assert found.loc[("refunded_after", "clear"), "estimate"] < 0.001  # refunds of honest orders come at once


def test_honest_refunds_undo_targets_near_the_line_as_often_as_clear_ones_would() -> None:
    rng, count = np.random.default_rng(10), 900
    sold, days = 100 * rng.lognormal(0, 0.15, count), (dt.date(2025, 1, 6), dt.date(2025, 1, 12))
    back = np.clip(rng.normal(0.03, 0.02, count), 0, 1) * sold
    lines = [(str(unit), "2025-01-07", amount) for unit, amount in enumerate(sold)]
    late = pd.Series(pd.Timestamp("2025-01-20"), index=range(count))
    shop = shop_of(
        lines, [(str(unit), *days, 50.0, 100.0) for unit in range(count)], refunded_at=late, refund_amount=back
    )
    found: Any = targets.gaming(shop).set_index(["measure", "group"])
    near, clear = (sold >= 100) & (sold < 102), abs(sold / 100 - 1) > 0.1
    pairs = ((back / sold)[clear][:, None] > (1 - 100 / sold)[near]).mean()
    assert found.loc[("undone", "just_made"), "estimate"] == pytest.approx((sold - back < 100)[near].mean())
    assert found.loc[("undone", "clear"), "estimate"] == pytest.approx(pairs)
    assert pairs > 0.6  # a target met by less than 2% is undone by any refund above that
    gap = found.loc[("undone", "just_made_less_clear")]
    assert (gap["conf_low"] < 0 < gap["conf_high"], gap["std_error"] > 0.02) == (True, True)
    row = found.loc[("undone", "clear")]  # a mean over pairs has the freedom of the smaller side
    assert row["conf_high"] == pytest.approx(row["estimate"] + stats.t.ppf(0.975, near.sum() - 1) * row["std_error"])


def test_refunds_are_read_where_they_had_time_to_come() -> None:
    spans = [(dt.date(2025, 1, 6), dt.date(2025, 1, 12)), (dt.date(2025, 2, 10), dt.date(2025, 2, 16))]
    lines = [(name, str(day), amount) for name, amount in (("just", 101.0), ("far", 150.0)) for day, _ in spans]
    goals = [(name, *span, 50.0, 100.0) for name in ("just", "far") for span in spans]
    back = pd.to_datetime(pd.Series(["2025-02-01", None, "2025-02-01", None]))
    shop = shop_of(lines, goals, refunded_at=back, refund_amount=[10.0, 0.0, 15.0, 0.0])
    found: Any = targets.gaming(shop).set_index(["measure", "group"])  # 21 days after the second period
    assert found.loc[("refunded_after", "just_made"), ["estimate", "targets"]].tolist() == [pytest.approx(10 / 101), 1]
    assert found.loc[("undone", "clear"), ["estimate", "targets"]].tolist() == [1, 1]
    assert found.loc[("last_days", "clear"), "targets"] == 2
    young: Any = targets.gaming(shop, through=dt.date(2025, 2, 8)).set_index(["measure", "group"])["estimate"]
    assert young[["refunded_after", "undone"]].isna().all()


def test_gaming_needs_dates_of_refunds_and_targets_at_the_line() -> None:
    goal = [("a", dt.date(2025, 1, 6), dt.date(2025, 1, 12), 5.0, 10.0)]
    with pytest.raises(DesignError, match=r"no order_lines\.refunded_at"):
        targets.gaming(shop_of([("a", "2025-01-07", 10.0)], goal))
    dated = shop_of([("a", "2025-01-07", 10.0)], goal, refunded_at=[pd.NaT], refund_amount=[0.0])
    with pytest.raises(DesignError, match="none is clear"):
        targets.gaming(dated)
    with pytest.raises(ParameterError, match="near lies between"):
        targets.gaming(dated, near=0.2)


# ratchet and floors


def targets_of(gap: Any, up: float, down: float, noise: Any = 0.0) -> pd.DataFrame:
    """Targets (N, T) that follow sales by `up` above and `down` below, and by `noise`; sales off by `gap` in logs."""
    step = up * np.maximum(gap, 0) + down * np.minimum(gap, 0) + noise
    stretch = np.exp(np.c_[np.zeros(len(gap)), np.cumsum(step, axis=1)[:, :-1]])
    unit, period = np.indices(gap.shape)
    rows = {"merchant_id": unit.ravel(), "period_start": period.ravel(), "stretch": stretch.ravel()}
    return pd.DataFrame(rows | {"sold": (stretch * np.exp(gap)).ravel()})


def test_ratchet_is_a_clustered_regression() -> None:
    rng = np.random.default_rng(7)
    made = targets_of(rng.normal(0, 0.2, (40, 5)), 0.7, 0.3, rng.normal(0, 0.05, (40, 5)))
    result = targets.ratchet(made)
    pairs: Any = made.assign(next=made.groupby("merchant_id")["stretch"].shift(-1)).dropna()
    near = (pairs["sold"] >= pairs["stretch"]) & (pairs["sold"] < 1.02 * pairs["stretch"])
    pairs = pairs[~near]
    gap: Any = np.log(pairs["sold"] / pairs["stretch"])
    terms = pd.get_dummies(pairs["period_start"], dtype=float).assign(up=gap.clip(lower=0), down=gap.clip(upper=0))
    fit = sm.OLS(np.log(pairs["next"] / pairs["stretch"]), terms).fit(
        cov_type="cluster", cov_kwds={"groups": pairs["merchant_id"]}
    )
    assert result.estimate[:2] == pytest.approx(fit.params[["up", "down"]].to_numpy(), rel=1e-9)
    assert result.std_error[:2] == pytest.approx(fit.bse[["up", "down"]].to_numpy(), rel=1e-9)
    test = fit.t_test(np.array([0.0] * 4 + [1.0, -1.0]))
    assert (result.estimate[2], result.std_error[2]) == pytest.approx((test.effect[0], test.sd[0, 0]), rel=1e-9)
    assert result.notes == (
        "targets without a next one or without sales, left out: 40 of 200",
        f"targets just made, left out: {near.sum()} of 200",
    )


@pytest.mark.parametrize(("up", "down"), [(0.5, 0.5), (0.7, 0.3)])
def test_ratchet_lies_in_its_interval(up: float, down: float) -> None:
    rng, runs, held = np.random.default_rng(8), 200, 0
    for _ in range(runs):
        noise = rng.normal(0, 0.05, (60, 4)) + rng.normal(0, 0.05, 60)[:, None]  # a merchant's own growth, too
        row = targets.ratchet(targets_of(rng.normal(0, 0.2, (60, 4)), up, down, noise)).tidy().iloc[2]
        held += row["conf_low"] <= up - down <= row["conf_high"]
    assert held / runs > 0.95 - 4 * np.sqrt(0.05 * 0.95 / runs)


def test_ratchet_needs_both_sides() -> None:
    with pytest.raises(DesignError, match="some beaten and some missed"):
        targets.ratchet(targets_of(np.full((20, 3), 0.1), 0.5, 0.5))


def test_loosened_floors_make_a_panel(pushed: Dataset) -> None:
    panel = targets.loosened_panel(pushed)
    told = true_targets(1.0, 78)
    first = pushed.data_from + dt.timedelta(weeks=4 * int(told["loosened_from_period"]))
    assert panel.cohorts.tolist() == [pd.Timestamp(first)]
    study = did.overall(did.group_time(panel, control="never"))
    estimate, error = study.average
    assert abs(estimate - told["effect_of_looser_floor"]) < 4 * error
    made = targets.made(pushed).query("merchant_id in @panel.units")
    ratio: Any = (made["floor"] / made["stretch"]).groupby(made["merchant_id"]).agg(["max", "min"])
    assert (panel.cohort >= 0).sum() == (ratio["max"] - ratio["min"] > 0.05).sum()


def test_tightened_floors_are_left_out_and_no_loosening_is_refused() -> None:
    spans = [
        (dt.date(2025, 1, 6) + dt.timedelta(weeks=n), dt.date(2025, 1, 12) + dt.timedelta(weeks=n)) for n in range(3)
    ]
    floors = {"same": (75, 75, 75), "loose": (75, 60, 60), "mixed": (60, 75, 60)}
    goals = [
        (name, *span, float(low), 100.0) for name, lows in floors.items() for span, low in zip(spans, lows, strict=True)
    ]
    shop = shop_of([("same", "2024-01-02", 1.0)], goals)
    panel = targets.loosened_panel(shop)
    assert panel.units.tolist() == ["loose", "same"]
    assert panel.cohorts.tolist() == [pd.Timestamp(spans[1][0])]
    assert panel.notes == ("merchants whose floor was tightened, left out: 1 of 3",)
    with pytest.raises(DesignError, match="best by lot"):
        targets.loosened_panel(shop, by=0.2)


def test_merchants_who_opened_later_are_no_controls_of_looser_floors() -> None:
    weeks = [dt.date(2025, 1, 6) + dt.timedelta(weeks=n) for n in range(8)]
    lines = [
        (name, str(week), 10.0)
        for name in ("same", "loose", "new")
        for week in weeks
        if name != "new" or week > weeks[5]
    ]
    goals = [
        (name, day, day + dt.timedelta(days=6), 60.0 if name == "loose" and day > weeks[4] else 75.0, 100.0)
        for name, day, _ in ((name, dt.date.fromisoformat(day), amount) for name, day, amount in lines)
    ]
    panel = targets.loosened_panel(shop_of(lines, goals), since=weeks[0])
    assert panel.units.tolist() == ["loose", "same"]
    assert panel.notes == (f"merchants who opened after {weeks[0]}, left out: 1 of 3",)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 2.0), st.integers(0, 99))
def test_money_has_no_unit_and_rows_no_order(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = targets_of(rng.normal(0, 0.2, (20, 4)), 0.6, 0.2).assign(size_band="small", floor=0.8)
    moved = made.assign(**{name: made[name] * scale for name in ("sold", "stretch", "floor")}).sample(
        frac=1, random_state=seed
    )
    assert targets.ratchet(moved).estimate == pytest.approx(targets.ratchet(made).estimate, rel=1e-6, abs=1e-9)
    columns = ["targets", "merchants", "met", "std_error"]
    one, other = (targets.fairness(frame)[columns].to_numpy() for frame in (made, moved))
    assert other == pytest.approx(one, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "function", [targets.made, targets.running, targets.gaming, targets.attainment, targets.loosened_panel]
)
def test_without_targets_each_function_says_so(sample: Path, function: Any) -> None:
    with pytest.raises(DesignError, match="has no targets table"):
        function(sk.open_dataset(sample))
