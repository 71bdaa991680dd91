"""Levers: sums before and after, steps that add up, coverage, slow twins, returns, curves and overlap."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

import strategy_kit as sk
from strategy_kit import levers
from strategy_kit.errors import DesignError
from strategy_kit.levers.changes import gains, log_changes
from strategy_kit.levers.windows import Windows
from strategy_kit.simulate import World, simulate
from strategy_kit.simulate.traffic import FASTER, FEWER_COMPLAINTS, step_shares, true_traffic

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

Array = np.ndarray
SINCE, THROUGH, EXACT = dt.date(2024, 7, 29), dt.date(2025, 7, 21), 1e-9
EFFECT = 0.15


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A market whose levers work as truth.json tells; merchants enough that each step shows."""
    folder = tmp_path_factory.mktemp("levers") / "funnel"
    return sk.open_dataset(simulate(folder, seed=7, merchants=1500, weeks=52, world=World(lever_funnel=1)))


@pytest.fixture(scope="module")
def found(shop: Dataset) -> Windows:
    return levers.windows(shop, since=SINCE, through=THROUGH)


def drawn(rng: np.random.Generator, own: int = 120, beside: int = 300) -> tuple[Windows, Array]:
    """Sales of heavy-tailed merchants in three categories and three starts, and what each of the supported truly gained."""
    growth = 1 + 0.1 * np.arange(3)[:, None] + 0.05 * np.arange(3)

    def levels(count: int) -> Array:
        quantile = (rng.permutation(count) + rng.uniform(0.25, 0.75, count)) / count
        return 50 * (quantile / (1 - quantile)) ** 0.7

    def noisy(mean: Array) -> Array:
        return rng.poisson(mean * np.exp(rng.normal(0, 0.25, mean.shape) - 0.25**2 / 2)).astype(float)

    category, start, other = rng.integers(0, 3, own), rng.integers(0, 3, own), rng.integers(0, 3, beside)
    mine, theirs = levels(own), levels(beside)
    after = mine * growth[category, start]
    before = np.repeat(noisy(theirs)[:, None], 3, axis=1)
    others = np.stack([before, noisy(theirs[:, None] * growth[other])], axis=2)
    supported = pd.DataFrame(
        {"bundle": np.where(np.arange(own) % 2, "display", "service"), "category": category, "start": start,
         "size_band": np.where(mine > 60, "large", "small"), "cost": 5 + 0.1 * mine}
    )  # fmt: skip
    sums = {"sales": np.column_stack([noisy(mine), noisy(after * np.exp(EFFECT))])}
    return Windows(supported, other, sums, {"sales": others}, list("abc")), after * np.expm1(EFFECT)


def by_hand(found: Windows, measure: str, members: Array) -> float:
    """The change of a group, one merchant after the other."""
    own, others = found.sums(measure)
    after = before = 0.0
    for i in np.flatnonzero(members):
        row = found.supported.iloc[i]
        side = others[found.category == row["category"], row["start"]]
        after += own[i, 1]
        before += own[i, 0] * side[:, 1].sum() / side[:, 0].sum()
    return float(np.log(after) - np.log(before))


def without(found: Windows, own: int | None = None, other: int | None = None) -> Windows:
    """The same windows without one merchant."""
    kept, beside = np.arange(len(found.supported)) != own, np.arange(len(found.category)) != other
    return replace(
        found, supported=found.supported[kept], category=found.category[beside],
        own={k: v[kept] for k, v in found.own.items()}, others={k: v[beside] for k, v in found.others.items()},
    )  # fmt: skip


# steps


def test_steps_add_up_to_orders(found: Windows) -> None:
    wide = levers.funnel(found).tidy().pivot_table(index="bundle", columns="step", values="estimate")
    parts = wide[["impressions", "click_rate", "conversion"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(wide["orders"].to_numpy(), abs=EXACT)
    seen = found.sums("seen_orders")[0].sum()
    assert seen == found.sums("orders")[0].sum()  # every week of an open merchant has a row of traffic


def test_each_lever_works_through_its_own_step(found: Windows) -> None:
    """Within 4 standard errors of the share of its orders that goes through a step: 18 tests in one draw."""
    fit = levers.funnel(found)
    assert set(fit.labels["bundle"]) >= {"display", "marketing", "service"}
    for lever, shares in true_traffic(1.0)["shares"].items():
        rows = (fit.labels["bundle"] == lever).to_numpy()
        value, spread = fit.estimate[rows], fit.covariance[np.ix_(rows, rows)]
        for place, step in enumerate(("impressions", "click_rate", "conversion")):
            contrast = np.eye(4)[place] - shares[step] * np.eye(4)[3]
            assert abs(contrast @ value) < 4 * np.sqrt(contrast @ spread @ contrast), (lever, step)
    own = fit.tidy().set_index(["bundle", "step"])
    assert own.loc[("display", "impressions"), "conf_low"] > 0
    assert own.loc[("marketing", "click_rate"), "conf_low"] > 0.05
    assert own.loc[("service", "click_rate"), "conf_high"] < 0.05


def test_service_lowers_complaints_and_minutes_by_the_known_size(found: Windows) -> None:
    rows = levers.care(found).tidy().set_index(["bundle", "measure"])
    for measure, size in (("complaints_per_order", FEWER_COMPLAINTS), ("response_minutes", FASTER)):
        row = rows.loc[("service", measure)]
        assert abs(row["estimate"] + size) < 4 * row["std_error"]
        idle = rows.loc[("marketing", measure)]
        assert abs(idle["estimate"]) < 4 * idle["std_error"]
    assert rows.loc[("service", "response_minutes"), "conf_high"] < -0.3
    refunds = rows.xs("refund_rate", level="measure")
    assert (refunds["estimate"].abs() < 4 * refunds["std_error"]).all()


def test_shares_of_steps_add_up_at_every_strength() -> None:
    held = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]])
    for strength in (0.25, 1.0):
        assert step_shares(held, strength).sum(axis=1) == pytest.approx(np.ones(4), abs=1e-12)
    assert step_shares(held, 1.0).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [1, 0, 0]]
    assert step_shares(held, 0.0)[:, 0].tolist() == [1, 1, 1, 1]


# twins and coverage


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_changes_and_influences_equal_their_slow_twins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found, _ = drawn(rng, own=18, beside=40)
    group = (found.supported["bundle"] == "service").to_numpy(int)
    change, gain = log_changes(found, "sales", group), gains(found, "sales", group)
    for place in (0, 1):
        assert change.estimate[place] == pytest.approx(by_hand(found, "sales", group == place), abs=EXACT)
    own, other = int(rng.integers(18)), int(rng.integers(40))
    fewer = without(found, own=own)
    left = log_changes(fewer, "sales", np.delete(group, own)).estimate[group[own]]
    assert change.influence[own, group[own]] == pytest.approx(change.estimate[group[own]] - left, abs=EXACT)
    fewer = without(found, other=other)
    for made, slow in ((change, log_changes(fewer, "sales", group)), (gain, gains(fewer, "sales", group))):
        # a difference of sums of thousands keeps fewer digits than the sums
        assert made.influence[18 + other] == pytest.approx(made.estimate - slow.estimate, abs=1e-7)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_units_and_order_do_not_matter(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    found, _ = drawn(rng, own=40, beside=60)
    plain = levers.sales(found)
    order = rng.permutation(40)
    other = replace(
        found, supported=found.supported.iloc[order], own={"sales": scale * found.own["sales"][order]},
        others={"sales": scale * found.others["sales"]},
    )  # fmt: skip
    moved = levers.sales(other)
    assert moved.estimate == pytest.approx(plain.estimate, abs=EXACT)
    assert moved.std_error == pytest.approx(plain.std_error, rel=1e-7)
    assert levers.returns(other).estimate == pytest.approx(scale * levers.returns(found).estimate, rel=1e-7)


def test_intervals_hold_what_they_promise() -> None:
    """150 draws of two bundles: 300 tests at 95%, less four binomial deviations, and two points for heavy tails."""
    rng, hits, gained, areas = np.random.default_rng(1), list[bool](), list[bool](), list[bool]()
    for _ in range(150):
        found, true = drawn(rng)
        rows = levers.sales(found).tidy()
        hits += ((rows["conf_low"] <= EFFECT) & (rows["conf_high"] >= EFFECT)).tolist()
        money = levers.returns(found).details["money"]
        sums = pd.Series(true).groupby(found.supported["bundle"].to_numpy()).sum()
        wide = stdtrit(money["merchants"] - 1, 0.975) * money["std_error"]
        gained += ((money["gain"] - sums[money["bundle"]].to_numpy()).abs() <= wide).tolist()
        areas.append(area_held(found, true))
    least = 0.95 - 0.02 - 4 * np.sqrt(0.95 * 0.05 / 300)
    assert least < np.mean(hits)
    assert least < np.mean(gained)
    assert 0.95 - 0.02 - 4 * np.sqrt(0.95 * 0.05 / 150) < np.mean(areas)


def test_a_bundle_of_ten_has_the_intervals_of_ten() -> None:
    """Each bundle's own merchants less one are the degrees of freedom; a cell of the curve has its own, too."""
    found, _ = drawn(np.random.default_rng(4), own=40)
    few = replace(found, supported=found.supported.assign(bundle=np.where(np.arange(40) < 10, "display", "service")))
    wide = stdtrit(np.array([9.0, 29.0]), 0.975)
    for fit in (levers.sales(few), levers.returns(few)):
        rows = fit.tidy()
        assert rows["n_units"].tolist() == [10, 30]
        assert (rows["conf_high"] - rows["estimate"]).to_numpy() == pytest.approx(wide * fit.std_error)
        assert fit.glance()["degrees_of_freedom"][0] == 39
    curve = levers.concentration(few, least=5).curve
    half = (curve["gain_high"] - curve["gain"]) / stdtrit(curve["merchants"] - 1, 0.975)
    narrow = levers.concentration(few, least=5, level=0.5).curve
    again = (narrow["gain_high"] - narrow["gain"]) / stdtrit(narrow["merchants"] - 1, 0.75)
    assert again.to_numpy() == pytest.approx(half.to_numpy())


def area_held(found: Windows, true: Array) -> bool:
    """Whether the true area lies in its interval; true areas are trapezoids under the true curve."""
    made = levers.concentration(found)
    frame = found.supported.assign(true=true, category=np.array(found.categories)[found.supported["category"]])
    size = frame.groupby(["size_band", "category"])["true"].transform("size")
    frame.loc[size < 10, "category"] = "other"
    sums = frame.groupby(["size_band", "category"])["true"].sum()
    so_far = np.cumsum([sums[pair] for pair in zip(made.curve["size_band"], made.curve["category"], strict=True)])
    true_area = 2 * np.trapezoid(np.r_[0, so_far / so_far[-1]], np.r_[0, made.curve["cost_so_far"]]) - 1
    area = made.area.iloc[0]
    inside = bool(area["low"] <= true_area <= area["high"])
    return {"bounded": inside, "everything": True}.get(area["form"], not area["low"] < true_area < area["high"])


# what came back, who gained, who holds what


def test_returns_are_gain_over_cost_and_add_up(found: Windows) -> None:
    fit = levers.returns(found)
    money = fit.details["money"]
    assert fit.estimate == pytest.approx((money["gain"] / money["cost"]).to_numpy(), abs=EXACT)
    assert fit.average[0] == pytest.approx(money["gain"].sum() / money["cost"].sum(), abs=EXACT)
    kept = found.supported["bundle"].isin(money["bundle"]).to_numpy()
    together = gains(found, "sales", np.where(kept, 0, -1)).estimate[0]
    assert money["gain"].sum() == pytest.approx(together, rel=1e-9)
    assert money["cost"].sum() == pytest.approx(found.supported["cost"][kept].sum(), abs=EXACT)


def test_the_area_is_that_under_the_curve(found: Windows) -> None:
    made = levers.concentration(found)
    curve = made.curve
    under = np.trapezoid(np.r_[0, curve["gain_so_far"]], np.r_[0, curve["cost_so_far"]])
    assert made.area["estimate"][0] == pytest.approx(2 * under - 1, abs=EXACT)
    assert curve["cost"].is_monotonic_decreasing
    assert curve[["cost_so_far", "gain_so_far"]].iloc[-1].tolist() == pytest.approx([1, 1], abs=EXACT)
    assert (curve["merchants"] >= 10).all()
    even = replace(found, supported=found.supported.assign(cost=1.0))
    assert levers.concentration(even).curve["cost_share"].sum() == pytest.approx(1, abs=EXACT)


def test_gain_in_proportion_to_cost_has_no_area() -> None:
    rng = np.random.default_rng(3)
    found, _ = drawn(rng)
    made = levers.concentration(found)
    names = list(zip(made.curve["size_band"], made.curve["category"], strict=True))
    cell = found.supported.assign(category=np.array(found.categories)[found.supported["category"]])
    size = cell.groupby(["size_band", "category"])["bundle"].transform("size")
    cell["category"] = cell["category"].where(size >= 10, "other")
    key = pd.Series(list(zip(cell["size_band"], cell["category"], strict=True)))
    gain = dict(zip(names, made.curve["gain"].abs() + 1.0, strict=True))
    if (made.curve["gain"] <= 0).any():
        pytest.fail("the draw has a cell without gain; take another seed")
    share = key.map({k: v - 1.0 for k, v in gain.items()}) / key.map(key.value_counts())
    even = levers.concentration(replace(found, supported=found.supported.assign(cost=share.to_numpy())))
    assert even.area["estimate"][0] == pytest.approx(0, abs=EXACT)


def test_overlap_is_counted_by_hand(shop: Dataset) -> None:
    rows = shop.engine.frame("select merchant_id, lever from support").drop_duplicates()
    held = rows.groupby("merchant_id")["lever"].agg(set)
    pairs = levers.overlap(shop, through=THROUGH, least=10).set_index(["lever", "other"])
    for (one, other), row in pairs.iterrows():  # type: ignore[misc]
        assert row["merchants"] == sum({one, other} <= kinds for kinds in held)
        assert row["alone"] == sum(kinds == {one} for kinds in held)
        assert row["only_these"] == sum(kinds == {one, other} for kinds in held)
    many = levers.overlap(shop, through=THROUGH, least=10_000)
    assert not many["told_apart"].any()


# sums and refusals


def test_sums_are_those_of_pandas(shop: Dataset, found: Windows) -> None:
    lines = shop.engine.frame(
        "select merchant_id, order_id, buyer_id, amount, cast(date_trunc('week', paid_at) as date) as week from order_lines"
        " where status <> 'cancelled'"
    )
    lines["week"], lines["amount"] = pd.to_datetime(lines["week"]), lines["amount"].astype(float)
    held = levers.stays(shop, through=THROUGH)
    first = lines.groupby(["merchant_id", "buyer_id"])["week"].transform("min")
    for place in (0, 7, 20):
        name = found.supported.index[place]
        mine = lines[(lines["merchant_id"] == name) & lines["week"].between(pd.Timestamp(SINCE), pd.Timestamp(THROUGH))]
        for late in (0, 1):
            part = mine[(mine["week"] >= held.loc[name, "start"]) == bool(late)]
            assert found.own["sales"][place, late] == pytest.approx(part["amount"].sum(), abs=1e-6)
            assert found.own["orders"][place, late] == part["order_id"].nunique()
            again = part[part["week"] > first[part.index]].drop_duplicates(["buyer_id", "week"])
            assert found.own["repeat_buyers"][place, late] == len(again)
            assert found.own["buyers"][place, late] == len(part.drop_duplicates(["buyer_id", "week"]))


def test_cost_is_what_the_elapsed_days_cost() -> None:
    support = pd.DataFrame(
        {"merchant_id": ["a", "a", "b"], "lever": ["display", "service", "overseas"], "cost": [100.0, 30.0, 5.0],
         "started_on": pd.to_datetime(["2025-03-05", "2025-03-10", "2025-03-03"]),
         "ended_on": pd.to_datetime(["2025-03-14", None, "2025-03-03"])}
    )  # fmt: skip
    shop = tiny(support)
    held = levers.stays(shop, through=dt.date(2025, 3, 3))  # its Sunday is the 9th: 5 of 10 days
    assert held.loc["a"].tolist() == ["display", pd.Timestamp("2025-03-03"), 50.0, False]
    held = levers.stays(shop, through=dt.date(2025, 3, 10))  # the 16th: all of the first, 7 of 22 days of the second
    assert held.loc["a", "bundle"] == "display + service"
    assert held.loc["a", "cost"] == pytest.approx(100 + 30 * 7 / 22)
    assert held.loc["b", "abroad"]


def tiny(support: pd.DataFrame | None, **tables: Any) -> Dataset:
    lines = pd.DataFrame(
        {"order_id": [1, 2, 3], "line_id": 1, "buyer_id": "x", "merchant_id": ["a", "b", "c"], "category": "toys",
         "paid_at": pd.to_datetime(["2025-02-03", "2025-02-04", "2025-03-20"]), "amount": [1.0, 2.0, 3.0]}
    )  # fmt: skip
    merchants = pd.DataFrame({"merchant_id": ["a", "b", "c"], "category": "toys"})
    tables |= {} if support is None else {"support": support}
    return sk.dataset_from_frames(
        order_lines=lines, merchants=merchants, timezone="Asia/Shanghai", currency="CNY",
        data_from=dt.date(2025, 2, 3), data_through=dt.date(2025, 3, 31), **tables,
    )  # fmt: skip


def test_what_cannot_be_told_is_refused(found: Windows) -> None:
    with pytest.raises(DesignError, match="no support table"):
        levers.windows(tiny(None), since=dt.date(2025, 2, 3), through=dt.date(2025, 3, 24))
    support = pd.DataFrame({"merchant_id": ["a"], "lever": "display", "started_on": pd.to_datetime(["2025-02-03"])})
    with pytest.raises(DesignError, match="nobody was supported after 2025-02-03"):
        levers.windows(tiny(support), since=dt.date(2025, 2, 3), through=dt.date(2025, 3, 24))
    with pytest.raises(DesignError, match="no bundle has 5000 supported merchants"):
        levers.sales(found, least=5000)
    with pytest.raises(DesignError, match=r"\d+ supported merchants have none in support.cost"):
        levers.returns(replace(found, supported=found.supported.assign(cost=np.nan)))
    with pytest.raises(DesignError, match="needs two cells of 120 merchants"):
        levers.concentration(found, least=120)
    bare = replace(found, own={}, others={}, lacking={"impressions": "traffic.impressions"})
    with pytest.raises(DesignError, match=r"impressions cannot be summed without traffic\.impressions"):
        levers.funnel(bare)


def test_a_sum_of_one_merchant_is_left_out_and_told(found: Windows) -> None:
    own = found.own["complaints"].copy()
    mine = (found.supported["bundle"] == "display").to_numpy()
    own[np.flatnonzero(mine)[1:]] = 0.0
    fit = levers.care(replace(found, own={**found.own, "complaints": own}))
    rows = set(zip(fit.labels["bundle"], fit.labels["measure"], strict=True))
    assert ("display", "complaints_per_order") not in rows
    assert ("service", "complaints_per_order") in rows
    assert any("rest on one merchant or none, left out: 1" in note for note in fit.notes)


def test_the_contract_knows_traffic() -> None:
    support = pd.DataFrame({"merchant_id": ["a"], "lever": "display", "started_on": pd.to_datetime(["2025-03-03"])})
    traffic = pd.DataFrame(
        {
            "merchant_id": ["a", "z"],
            "week": pd.to_datetime(["2025-03-03"] * 2),
            "impressions": [5, -1],
            "clicks": [6, 0],
        }
    )
    broken = tiny(support, traffic=traffic).check()
    laws = set(broken[(broken["table"] == "traffic") & (broken["rows"] > 0)]["check"])
    assert {"clicks is at most impressions", "impressions is not negative", "merchant_id is on the roster"} <= laws
