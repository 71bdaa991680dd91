"""The whole web: splits add up, twins agree, what was simulated is found, and what the data cannot say is refused."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit import did
from strategy_kit import whole_web as web
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel
from strategy_kit.simulate import World, simulate
from strategy_kit.simulate.forces import ENTRY_LIFT

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.dataset import Dataset

MONTHS = pd.date_range("2024-03-01", periods=12, freq="MS")
WINDOW = {"data_from": dt.date(2024, 3, 1), "data_through": dt.date(2025, 2, 28)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(multi_homing=1)
    return simulate(tmp_path_factory.mktemp("web") / "entered", seed=2, merchants=200, weeks=52, world=world)


@pytest.fixture(scope="module")
def shop(folder: Path) -> Dataset:
    return sk.open_dataset(folder)


def levels_of(here: np.ndarray, there: np.ndarray, confidence: Any = 2) -> pd.DataFrame:
    """Long levels of (N, T) sales on both sides, one category and size."""
    units, periods = here.shape
    months = pd.date_range("2025-01-01", periods=periods, freq="MS")
    frame = pd.DataFrame({"merchant_id": np.repeat(np.arange(units), periods), "category": "c", "size_band": "s"})
    frame = frame.assign(month=np.tile(months, units), on_platform=here.ravel(), off_platform=there.ravel())
    return frame.assign(confidence=np.repeat(np.broadcast_to(confidence, units), periods))


def shop_of(here: np.ndarray, there: np.ndarray, **more: Any) -> Dataset:
    """A data set whose merchants sell `here` (N, 12) once a month, and `there` as estimated; nothing where it is 0."""
    units = len(here)
    who, month = (part.ravel() for part in np.indices(here.shape))
    names = np.array([f"m{k:03d}" for k in range(units)])
    lines = pd.DataFrame({"order_id": np.arange(who.size), "line_id": 1, "buyer_id": "b", "merchant_id": names[who]})
    lines = lines.assign(category="toys", paid_at=MONTHS[month] + pd.Timedelta(days=3), amount=here.ravel())
    off = pd.DataFrame({"merchant_id": names[who], "month": MONTHS[month], "platform": "b", "gmv": there.ravel()})
    given = {name: np.broadcast_to(value, here.shape).ravel() for name, value in more.items()}
    off = off.assign(**given)[there.ravel() > 0]
    roster = pd.DataFrame({"merchant_id": names, "category": "toys", "size_band": "small"})
    return sk.dataset_from_frames(
        lines[lines["amount"] > 0], roster, timezone="UTC", currency="CNY", offplatform_sales=off, **WINDOW
    )


# wallet


@pytest.mark.parametrize("by", ["all", "size_band", "category"])
def test_the_wallet_is_what_a_loop_adds_up(folder: Path, shop: Dataset, by: Any) -> None:
    lines, off = (pd.read_parquet(folder / f"{name}.parquet") for name in ("order_lines", "offplatform_sales"))
    group = pd.read_parquet(folder / "merchants.parquet").assign(all="all").set_index("merchant_id")[by]
    lines = lines[lines["status"] != "cancelled"].assign(month=lines["paid_at"].dt.to_period("M"))
    off = off.assign(month=pd.to_datetime(off["month"]).dt.to_period("M"))
    known, found = set(off["merchant_id"]), web.wallet(shop, by)
    assert list(found["month"].unique()) == list(
        pd.date_range(found["month"].min(), off["month"].max().to_timestamp(), freq="MS")
    )
    for row in found.itertuples():
        month = pd.Timestamp(row.month).to_period("M")
        sold, elsewhere = lines[lines["month"] == month], off[off["month"] == month]
        mine = sold[sold["merchant_id"].map(group) == row.group]
        there = elsewhere[elsewhere["merchant_id"].map(group) == row.group]
        ours = mine[mine["merchant_id"].isin(known)]
        assert row.multi_homing == there["merchant_id"].nunique()
        assert row.merchants == len(set(ours["merchant_id"]) | set(there["merchant_id"]))
        assert row.masked == (row.merchants < 10 or 0 < row.multi_homing < 10)
        if row.masked:
            assert np.isnan([row.on_platform, row.off_platform, row.total, row.share, row.covered]).all()
            continue
        here, gone = float(ours["amount"].astype(float).sum()), float(there["gmv"].astype(float).sum())
        assert [row.on_platform, row.off_platform, row.total] == pytest.approx([here, gone, here + gone], abs=1e-6)
        assert row.share == pytest.approx(here / (here + gone))
        assert row.covered == pytest.approx(here / float(mine["amount"].astype(float).sum()))


MONEY = st.floats(1, 1e7)


@given(st.lists(st.tuples(MONEY, MONEY), min_size=14, max_size=14), st.sampled_from([1, 3, 12]))
@settings(max_examples=40, deadline=None)
def test_growth_is_split_exactly(sales: list[tuple[float, float]], months: int) -> None:
    frame = pd.DataFrame(sales, columns=["on_platform", "off_platform"])
    frame = frame.assign(
        group="all", month=pd.date_range("2024-01-01", periods=14, freq="MS"), merchants=20, masked=False
    )
    split = web.growth_split(frame, months=months)
    assert len(split) == 14 - months
    total = frame[["on_platform", "off_platform"]].sum(axis=1).to_numpy()
    growth = total[months:] / total[:-months] - 1
    scale = 1e-9 * (1 + np.abs(split[["from_on_platform", "from_off_platform"]]).max(axis=1).to_numpy())
    assert (np.abs(split["growth"].to_numpy() - growth) < scale).all()
    assert (np.abs(split["from_on_platform"] + split["from_off_platform"] - split["growth"]).to_numpy() < scale).all()
    share = frame["on_platform"].to_numpy() / total
    assert split["share_change"].to_numpy() == pytest.approx(share[months:] - share[:-months], abs=1e-9)
    hidden = web.growth_split(frame.assign(masked=np.arange(14) == 13), months=months)
    assert len(hidden) == len(split) - 1


def test_sources_and_confidence_are_told(shop: Dataset) -> None:
    behind = web.estimates_behind(shop)
    assert set(behind["source"]) == {"panel estimate"}
    assert list(behind["confidence"]) == ["high", "medium", "low"]
    assert behind["share"].sum() == pytest.approx(1)
    plain = web.estimates_behind(shop_of(np.ones((12, 12)), np.ones((12, 12))))
    assert plain[["source", "confidence", "estimates"]].to_numpy().tolist() == [["unstated", "unstated", 144]]


# entry


def entered(lift: float = 0.05, part: float = 0.4) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Merchants alike but for their own size and when they enter; selling elsewhere adds to their sales here."""
    starts = np.repeat([0, 4, 7, 99], 15)  # from the first month on, later, and never
    there = np.arange(12) >= starts[:, None]
    season = np.exp(0.3 * np.sin(np.arange(12)))
    here = 100 * season * np.exp(lift * there)
    return shop_of(here, part * here * there), here, starts


def test_entry_is_the_first_month_elsewhere_and_who_was_there_is_left_out() -> None:
    shop, here, starts = entered()
    panels = web.entry_panels(shop)
    for name, panel in panels.items():
        assert panel.name == f"sales {name.replace('_', ' ')}"
        assert list(panel.cohorts) == [MONTHS[4], MONTHS[7]]
        assert len(panel.units) == 45
        assert panel.notes == ("units treated from the first periods on, left out: 15 of 60",)
    assert panels["on_platform"].outcome == pytest.approx(here[starts > 0])
    assert panels["total"].outcome == pytest.approx(panels["on_platform"].outcome + panels["off_platform"].outcome)
    later = web.entry_panels(shop, since=dt.date(2024, 8, 1))  # who entered before the window is left out as well
    assert list(later["total"].cohorts) == [MONTHS[7]]
    assert len(later["total"].units) == 30


def test_without_a_day_of_opening_the_first_sale_tells_who_came_later() -> None:
    here, after = np.full((30, 12), 100.0), np.arange(12) >= np.repeat([0, 6, 99], 10)[:, None]
    here[20:, :9] = 0
    panel = web.entry_panels(shop_of(here, 40.0 * after))["on_platform"]
    assert panel.units.tolist() == [f"m{k:03d}" for k in range(10, 20)]
    assert panel.notes[-1] == f"merchants who opened after {MONTHS[0].date()}, left out: 10 of 30"
    here[20:, 3:9] = 100  # first sold on the fourth day of the first month asked for
    later = web.entry_panels(shop_of(here, 40.0 * after), since=MONTHS[3].date())["on_platform"]
    assert later.units.tolist() == panel.units.tolist()


def test_what_entry_does_is_found_exactly_where_nothing_else_moves() -> None:
    panels = web.entry_panels(entered()[0])
    percent = did.poisson_saturated(panels["on_platform"])
    assert percent.average[0] == pytest.approx(np.expm1(0.05), abs=1e-6)
    fits = [did.overall(did.group_time(panel, control="not_yet")) for panel in panels.values()]
    # of 0.4 sold elsewhere per sale here, 1 - exp(-0.05) came on top here; amounts of some 100 are kept to four decimals
    assert -fits[0].average[0] / fits[1].average[0] == pytest.approx(np.expm1(-0.05) / 0.4, abs=1e-6)


def test_entry_in_a_simulated_market_is_found(shop: Dataset) -> None:
    row = did.poisson_saturated(web.entry_panels(shop)["on_platform"]).glance().iloc[0]
    off = (row["estimate"] - np.expm1(ENTRY_LIFT)) / row["std_error"]
    assert abs(off) < 3.5  # one draw of a number that is close to normal


def test_the_interval_of_diversion_holds() -> None:
    """Ratios that are lost to chance 1 time in 20: 150 draws have a standard deviation of 1.8 points."""
    rng, held = np.random.default_rng(3), 0
    starts, draws = np.repeat([3, 5, 0], 30), 150
    after = (starts > 0)[:, None] & (np.arange(1, 8) >= np.where(starts > 0, starts, 99)[:, None])
    for _ in range(draws):
        there = rng.gamma(4, 0.5, (90, 7)) * after
        here = rng.normal(10, 1, (90, 7)) + rng.normal(0, 2, (90, 1)) - 0.3 * there
        fits = [did.overall(did.group_time(Panel.from_matrix(y, treated_from=starts), control="not_yet"))
                for y in (here, there, here + there)]  # fmt: skip
        row = web.diversion(*fits).iloc[0]
        held += row["conf_low"] <= 0.3 <= row["conf_high"]
    assert held / draws > 0.95 - 4 * 0.018


def test_the_total_of_diversion_is_the_sum() -> None:
    fits = [did.overall(did.group_time(panel, control="not_yet")) for panel in web.entry_panels(entered()[0]).values()]
    with pytest.raises(ParameterError, match="effect on both sides added up"):
        web.diversion(fits[0], fits[1], fits[1])


def test_sales_elsewhere_that_do_not_vary_have_no_diversion() -> None:
    here, starts = np.array([[5.0, 4.0], [6.0, 5.5], [3.0, 3.1], [2.0, 1.9]]), [2, 2, 0, 0]
    there = np.ones((4, 2)) * [[1, 2], [1, 2], [1, 1], [1, 1]]
    fits = [did.overall(did.group_time(Panel.from_matrix(y, treated_from=starts))) for y in (here, there, here + there)]
    with pytest.raises(DesignError, match="no standard error"):
        web.diversion(*fits)


# pass-through


def drawn(seed: int, *, units: int = 40, slope: float = 0.0, blur: float = 0.0) -> pd.DataFrame:
    """Changes of merchants whose growth here is `slope` of that elsewhere, which is measured with an error of `blur`."""
    rng = np.random.default_rng(seed)
    there = rng.normal(0, 0.3, (units, 10)).cumsum(axis=1)
    here = slope * there + rng.normal(0, 0.15, (units, 10)).cumsum(axis=1)
    return web.log_changes(levels_of(np.exp(5 + here), np.exp(4 + there + rng.normal(0, blur, (units, 10)))))


@given(st.lists(st.tuples(MONEY, MONEY), min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_growth_of_the_total_is_the_weighted_growth_of_both_sides(sales: list[tuple[float, float]]) -> None:
    here, there = np.array(sales).T
    moved = web.log_changes(levels_of(here[None], there[None]))
    total = np.diff(np.log(here + there))
    assert moved["total"].to_numpy() == pytest.approx(total, abs=1e-9)
    weighted = moved["weight_on"] * moved["on_platform"] + moved["weight_off"] * moved["off_platform"]
    assert weighted.to_numpy() == pytest.approx(total, abs=1e-9)
    assert ((moved[["weight_on", "weight_off"]] >= 0) & (moved[["weight_on", "weight_off"]] <= 1)).all(axis=None)
    lagged = moved["off_platform_before"].to_numpy()
    assert np.isnan(lagged[0])
    assert lagged[1:] == pytest.approx(np.diff(np.log(there))[:-1])


def test_changes_are_those_of_a_loop(folder: Path, shop: Dataset) -> None:
    lines, off = (pd.read_parquet(folder / f"{name}.parquet") for name in ("order_lines", "offplatform_sales"))
    lines = lines[lines["status"] != "cancelled"]
    here = (
        lines.assign(amount=lines["amount"].astype(float))
        .groupby(["merchant_id", lines["paid_at"].dt.to_period("M")])["amount"]
        .sum()
    )
    off = off.assign(month=pd.to_datetime(off["month"]).dt.to_period("M"), gmv=off["gmv"].astype(float)).set_index(
        ["merchant_id", "month"]
    )
    order, first = {"low": 1, "medium": 2, "high": 3}, off.index.get_level_values("month").min()
    moved = web.changes(shop)
    known, count = moved.set_index(["merchant_id", moved["month"].dt.to_period("M")]), 0
    for merchant, part in off.groupby(level=0):
        months = [m for _, m in part.index if here.get((merchant, m), 0) > 0 and part.loc[(merchant, m), "gmv"] > 0]
        for month in months:
            if month - 1 not in months or (month - 1 == months[0] and months[0] != first):
                continue
            row, count = known.loc[(merchant, month)], count + 1
            now, then = part.loc[(merchant, month)], part.loc[(merchant, month - 1)]
            assert row["on_platform"] == pytest.approx(np.log(here[(merchant, month)] / here[(merchant, month - 1)]))
            assert row["off_platform"] == pytest.approx(np.log(now["gmv"] / then["gmv"]))
            assert row["confidence"] == min(now["confidence"], then["confidence"], key=order.__getitem__)
    assert count == len(moved) > 100
    assert moved.attrs["left_out"] == (off["gmv"] > 0).sum() - count


def test_slopes_are_those_of_statsmodels_and_their_parts_add_up() -> None:
    import statsmodels.formula.api as smf

    moved = drawn(1, slope=0.4)
    moved["category"] = np.where(moved["merchant_id"] % 2, "a", "b")
    found = web.pass_through(moved)
    tidy = found.tidy().set_index("term")
    data = moved.assign(cell=moved["category"] + moved["month"].astype(str))
    for term, held in (("total", data), ("off_platform", data), ("off_platform_before", data.dropna())):
        fit = smf.ols(f"on_platform ~ {term} + C(cell)", held).fit(
            cov_type="cluster", cov_kwds={"groups": held["merchant_id"]}
        )
        assert tidy.loc[term, "estimate"] == pytest.approx(fit.params[term], abs=1e-9)
        assert tidy.loc[term, "std_error"] == pytest.approx(
            fit.bse[term], rel=1e-9
        )  # the cells are counted as parameters
    parts = np.array([-1.0, 1.0, 1.0, 0.0, 0.0])
    assert parts @ found.estimate == pytest.approx(0, abs=1e-9)
    assert parts @ found.covariance @ parts == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_the_slope_on_growth_elsewhere_covers_and_that_on_the_total_does_not(slope: float) -> None:
    """200 draws of an interval that holds 95%: a standard deviation of 1.5 points."""
    rows = [web.pass_through(drawn(seed, slope=slope)).tidy().set_index("term") for seed in range(200)]
    held = [row.loc["off_platform", "conf_low"] <= slope <= row.loc["off_platform", "conf_high"] for row in rows]
    assert 0.95 - 4 * 0.015 < np.mean(held) < 0.95 + 3.4 * 0.015
    raw = np.array([row.loc["total", "estimate"] for row in rows])
    assert (raw > 0.25 + slope / 2).all()  # part of the total, whatever the sides have in common


@pytest.mark.parametrize("blur", [0.1, 0.2])
def test_errors_of_estimates_are_bounded_and_put_right(blur: float) -> None:
    rows = pd.concat([web.attenuation_bounds(drawn(seed, slope=0.5, blur=blur), error=blur) for seed in range(60)])
    mean, error = rows.mean(), rows.std() / np.sqrt(len(rows))
    reliability = 0.3**2 / (0.3**2 + 2 * blur**2)
    assert mean["estimate"] == pytest.approx(0.5 * reliability, abs=4 * error["estimate"])
    # a ratio leans by its own variance
    assert mean["corrected"] == pytest.approx(0.5, abs=4 * error["corrected"] + 0.01)
    assert mean["reliability"] == pytest.approx(reliability, abs=4 * error["reliability"] + 0.005)
    assert ((rows["estimate"] < 0.5) & (rows["reverse"] > 0.5)).mean() > 0.95
    assert np.isnan(web.attenuation_bounds(drawn(1, slope=0.5))["corrected"][0])


def test_less_sure_estimates_are_drawn_to_zero() -> None:
    rng, sure = np.random.default_rng(5), np.repeat([3, 2, 1], 40)
    there = rng.normal(0, 0.3, (120, 12)).cumsum(axis=1)
    here = np.exp(0.6 * there + rng.normal(0, 0.05, (120, 12)))
    seen = np.exp(there + rng.normal(0, 1, (120, 12)) * np.array([0.4, 0.15, 0.02])[sure - 1, None])
    found = web.by_confidence(web.log_changes(levels_of(here, seen, sure))).set_index("confidence")
    assert list(found.index) == ["high", "medium", "low"]
    assert (np.diff(found["estimate"]) < 0).all()
    assert found["merchants"].tolist() == [40, 40, 40]
    few = web.by_confidence(web.log_changes(levels_of(here[:9], seen[:9])))
    assert few.empty


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-1, 1))
@settings(max_examples=15, deadline=None)
def test_the_unit_of_money_and_what_moves_a_whole_month_change_no_slope(seed: int, by: float, shock: float) -> None:
    rng = np.random.default_rng(seed)
    here, there = np.exp(rng.normal(0, 0.3, (2, 20, 6)))
    plain = web.pass_through(web.log_changes(levels_of(here, there)))
    scaled = web.pass_through(web.log_changes(levels_of(by * here, by * there)))
    assert scaled.estimate == pytest.approx(plain.estimate, abs=1e-9)
    month = np.exp(shock * np.arange(6))
    common = web.pass_through(web.log_changes(levels_of(here * month, there * month)))
    assert common.estimate[3:] == pytest.approx(plain.estimate[3:], abs=1e-9)
    others = levels_of(here, there).sample(frac=1, random_state=seed)
    assert web.pass_through(web.log_changes(others)).estimate == pytest.approx(plain.estimate, abs=1e-9)


def test_bins_hold_all_changes_and_none_is_of_few() -> None:
    moved = drawn(2, units=60)
    bins = web.growth_bins(moved, bins=6)
    assert bins["changes"].sum() == len(moved)
    assert (bins["merchants"] >= 10).all()
    assert (np.diff(bins["total"]) > 0).all()
    assert (bins["total"] * bins["changes"]).sum() == pytest.approx(0, abs=1e-9)
    with pytest.raises(ParameterError, match="bins is a whole number, 1 or more, not 0"):
        web.growth_bins(moved, bins=0)
    thin = web.growth_bins(moved[moved["merchant_id"] < 9], bins=2)
    assert thin.empty
    assert thin.attrs["left_out"] == 9 * 9


def test_a_month_begun_inside_is_no_growth() -> None:
    here, there = np.full((12, 6), 10.0), np.full((12, 6), 4.0)
    there[6:, :2], there[6:, 2] = 0.0, 1.0  # half enter in the middle of the third month
    moved = web.log_changes(levels_of(here, there))
    assert (moved["off_platform"].abs() < 1e-12).all()
    assert moved.groupby("merchant_id").size().tolist() == [5] * 6 + [2] * 6


# refusals


def test_what_cannot_be_told_is_refused(sample: Path) -> None:
    bare = sk.open_dataset(sample)
    for ask in (web.wallet, web.entry_panels, web.changes, web.advertisers, web.estimates_behind):
        with pytest.raises(DesignError, match="no offplatform_sales table"):
            ask(bare)
    full = np.ones((12, 12))
    with pytest.raises(DesignError, match=r"offplatform_sales of data set .* has no ad_spend"):
        web.advertisers(shop_of(full, full))
    with pytest.raises(DesignError, match="1 complete months in common, where this needs 3"):
        web.entry_panels(shop_of(full, full), since=dt.date(2025, 2, 1))
    with pytest.raises(DesignError, match="no merchant is first seen elsewhere after 2024-03-01"):
        web.entry_panels(shop_of(full, full))
    with pytest.raises(DesignError, match="two months in a row"):
        web.changes(shop_of(full, np.tile([1.0, 0.0], (12, 6))))
    with pytest.raises(DesignError, match=r"known of 9 merchants, .* two or more of them: 1; this needs 9 more"):
        web.pass_through(drawn(1, units=9))
    with pytest.raises(DesignError, match="growth does not vary"):
        web.pass_through(web.log_changes(levels_of(full, full)))
    # more than all variance, and more than what is unexplained
    for error, moved in ((5.0, drawn(1)), (0.15, drawn(1, slope=0.9))):
        with pytest.raises(DesignError, match="more than growth here leaves room for"):
            web.attenuation_bounds(moved, error=error)
    with pytest.raises(ParameterError, match="above 0, not -1"):
        web.attenuation_bounds(drawn(1), error=-1)
    with pytest.raises(ParameterError, match="months is a whole number"):
        web.growth_split(pd.DataFrame(), months=0)


def test_a_cell_needs_its_column(shop: Dataset) -> None:
    frames = {
        name: shop.engine.frame(f"select * from {name}") for name in ("order_lines", "merchants", "offplatform_sales")
    }
    frames["merchants"] = frames["merchants"].drop(columns="size_band")
    window = {"data_from": shop.data_from, "data_through": shop.data_through}
    plain = sk.dataset_from_frames(**frames, timezone="UTC", currency="CNY", **window)
    with pytest.raises(DesignError, match="have no size_band"):
        web.wallet(plain)
    assert set(web.changes(plain)["size_band"]) == {"all"}
