"""Each knob of the simulated world: harmless at 0, wrong by a known amount at 1, and the sound reading stays right."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.errors import ParameterError
from strategy_kit.simulate import World
from strategy_kit.simulate.biases import QUESTIONS, biases
from strategy_kit.simulate.market import PIECES, Market, draw_market, truth
from strategy_kit.simulate.orders import draw_times
from strategy_kit.simulate.roster import IS_PILOT, NAMES, NEVER, PILOTS, REFUNDED
from strategy_kit.simulate.seasons import Clock
from strategy_kit.simulate.world import stream

KNOBS = [field.name for field in fields(World)]
CLOCK = Clock(78)
QUIET = World.quiet()
# what only an estimate of error can be wrong about needs shocks to be there at all
ALONE = {knob: replace(QUIET, **{knob: 1.0}) for knob in KNOBS}
ALONE |= {knob: replace(ALONE[knob], shocks=1.0) for knob in ("autocorrelation", "unequal_variance")}
TRACELESS = [  # on the effect of support
    *("churn", "shocks", "autocorrelation", "festival_response", "unequal_variance", "moving_festivals", "selection"),
    *("multi_homing", "refund_lag", "concurrent_policies", "target_bunching", "kpi_regimes", "overseas", "advertising"),
]
EXACT = 2e-8  # numbers are written with 8 decimals


def draw(world: World) -> Market:
    return draw_market(CLOCK, 400, np.random.default_rng(3), world)


@cache
def market(world: World) -> Market:
    return draw(world)


@cache
def readings(world: World) -> pd.DataFrame:
    return pd.DataFrame(biases(market, world))


def of(knob: str, world: World | None = None) -> pd.Series:
    rows = readings(world or ALONE[knob]).set_index("knob").loc[[knob]]
    return rows.iloc[0]


def pilots_mean(values: np.ndarray) -> float:
    return float(values[IS_PILOT].mean())


def windows(market: Market) -> tuple[np.ndarray, np.ndarray]:
    week = np.arange(market.clock.weeks + 1)
    return week < market.clock.pilot_week, (week >= market.clock.pilot_week) & (week < market.clock.weeks)


def test_in_the_quiet_world_every_reading_is_right() -> None:
    rows = readings(QUIET)
    assert len(rows) == len(QUESTIONS)
    assert set(rows["knob"]) == set(KNOBS)
    assert rows["naive"].to_numpy() == pytest.approx(rows["truth"].to_numpy(), abs=EXACT)
    assert rows["sound"].to_numpy() == pytest.approx(rows["sound_truth"].to_numpy(), abs=EXACT)
    effects = rows.set_index("knob").loc[["festival_response", "selection", "exits", "cannibalisation"], "truth"]
    assert (effects > 0.04).all()  # there is something to be wrong about


@pytest.mark.parametrize(("merchants", "weeks"), [(45, 12), (45, 53), (200, 31), (200, 104)])
def test_the_quiet_world_is_quiet_at_every_size(merchants: int, weeks: int) -> None:
    def small(world: World) -> Market:
        return draw_market(Clock(weeks), merchants, np.random.default_rng(weeks), world)

    rows = pd.DataFrame(biases(small, QUIET))
    assert len(rows) >= 15
    assert rows["naive"].to_numpy() == pytest.approx(rows["truth"].to_numpy(), abs=EXACT)
    assert rows["sound"].to_numpy() == pytest.approx(rows["sound_truth"].to_numpy(), abs=EXACT)
    assert (rows["bias"] == 0).all()
    everything = pd.DataFrame(biases(small, World(**dict.fromkeys(KNOBS, 1.0))))
    assert np.isfinite(everything[["bias", "sound_bias"]].to_numpy()).all()


@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_alone_makes_the_naive_reading_wrong_and_leaves_the_sound_one(knob: str) -> None:
    rows = readings(ALONE[knob]).query("knob == @knob")
    assert len(rows) == sum(question.knob == knob for question in QUESTIONS)
    assert (rows["bias"].abs() > 1e-3).all()
    assert rows["bias"].to_numpy() == pytest.approx((rows["naive"] - rows["truth"]).to_numpy(), abs=EXACT)
    assert rows["sound"].to_numpy() == pytest.approx(rows["sound_truth"].to_numpy(), abs=EXACT)


def test_biases_are_those_of_the_algebra() -> None:
    post, pre = CLOCK.weeks - CLOCK.pilot_week, CLOCK.pilot_week
    long_run = 1.05 * np.mean(list(PILOTS.values()))
    by_hand = {
        "anticipation": -0.5 * long_run,  # half of it is in the base already
        "concurrent_policies": 0.04,
        "multi_homing": -np.log(1.4) - 0.05,
        "kpi_regimes": np.log(0.96),  # 4% of orders counted before, not after
        "target_bunching": 0.8 * 0.1 / 0.6,
        "moving_festivals": 0.45 / post - 0.45 / pre,  # one week on each side
    }
    assert {knob: of(knob)["bias"] for knob in by_hand} == pytest.approx(by_hand, abs=EXACT)
    year = readings(ALONE["moving_festivals"]).query("estimate.str.contains('a year ago')").iloc[0]
    assert year["bias"] == pytest.approx(0.45 / post, abs=EXACT)


def test_supported_for_a_good_month_is_held_against_the_support() -> None:
    roster = market(ALONE["selection"]).roster
    others = roster[(roster["cohort"] == NEVER) & (roster["joins"] == NEVER) & IS_PILOT[roster["category"]]]
    value = others["level"] * others["price"]
    lift = (value * np.where(others["lucky"], np.exp(0.35), 1)).groupby(others["category"]).sum()
    expected = np.log(lift / value.groupby(others["category"]).sum()).mean() - 0.35
    assert of("selection")["bias"] == pytest.approx(expected, abs=EXACT)
    assert -0.35 < expected < -0.2


def test_survivors_alone_do_not_show_that_support_keeps_shops_open() -> None:
    shown, quiet = of("exits"), market(QUIET)
    assert shown["naive"] == pytest.approx(of("exits", QUIET)["truth"], abs=EXACT)
    week = np.arange(CLOCK.pilot_week, CLOCK.weeks)
    left = 0.8 ** ((week - CLOCK.pilot_week + 1) / len(week))
    pace = quiet.days[0].sum(axis=1)[week]
    logs = []
    for (_, start), group in quiet.roster.groupby(["category", "cohort"]):
        if start == CLOCK.pilot_week:
            logs.append(np.log((pace * np.exp(quiet.effects[group.index[0], week])).sum() / (pace * left).sum()))
    assert shown["truth"] == pytest.approx(np.mean(logs), abs=EXACT)


def test_who_leaves_is_drawn_from_the_chance_to_leave() -> None:
    mine = draw_market(CLOCK, 3000, np.random.default_rng(1), World(exits=1))
    leaves, cohort, week = mine.column("leaves"), mine.column("cohort"), np.arange(CLOCK.weeks + 1)
    gone = (leaves[:, None] != NEVER) & (week >= leaves[:, None])
    assert not gone[cohort == CLOCK.pilot_week].any()
    assert not gone[:, : CLOCK.pilot_week].any()
    for side in (cohort == NEVER, cohort > CLOCK.pilot_week):
        chance = 1 - np.exp(mine.log_open[side][:, CLOCK.weeks - 1])
        seen = gone[side][:, CLOCK.weeks - 1]
        assert seen.mean() == pytest.approx(chance.mean(), abs=4 * np.sqrt((chance * (1 - chance)).sum()) / len(seen))
    kept = (cohort > CLOCK.pilot_week) & (cohort < CLOCK.weeks)
    assert (leaves[kept] < cohort[kept]).all()  # whoever is supported by then stays
    assert 1 - np.exp(mine.log_open[cohort == NEVER][:, CLOCK.weeks - 1]) == pytest.approx(0.2)
    weaker = draw_market(CLOCK, 3000, np.random.default_rng(1), World(exits=0.5)).column("leaves")
    assert ((leaves != NEVER) & (leaves <= weaker))[weaker != NEVER].all()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_rivals_make_gains_look_larger_than_they_are(share: float) -> None:
    """With share c taken from rivals that sell 1/r of the supported, the difference shows (1 + c r) of (1 - c)."""
    world = replace(QUIET, cannibalisation=share)
    mine, before = market(world), windows(market(world))[0]
    week = CLOCK.weeks - 1
    given, without = mine.sales(), mine.sales(supported=False)
    for code in np.flatnonzero(IS_PILOT):
        own = (mine.column("category") == code) & (mine.column("cohort") != NEVER)
        others = (mine.column("category") == code) & ~own
        gross = (given - without)[own, week].sum()
        ratio = without[own, week].sum() / without[others, week].sum()
        growth = given[others, week].sum() / given[others][:, before].sum()
        shown = given[own, week].sum() - given[own][:, before].sum() * growth
        assert shown == pytest.approx((1 + share * ratio) * gross)
        net = (given - without)[own | others, week].sum()
        assert net == pytest.approx((1 - share) * gross, abs=1e-6 * gross)
    assert of("cannibalisation", world)["sound"] == pytest.approx(of("cannibalisation", world)["truth"], abs=EXACT)
    ladder = pd.DataFrame(truth(mine)["ladder"])
    assert list(ladder["category"]) == list(PILOTS)
    assert ladder["rivals_loss"].to_numpy() == pytest.approx(share * ladder["gross"].to_numpy(), abs=0.02)  # whole fen
    assert ladder["net"].to_numpy() == pytest.approx((ladder["gross"] - ladder["rivals_loss"]).to_numpy(), abs=0.02)


def test_rivals_cannot_lose_more_than_they_sell() -> None:
    small = draw_market(Clock(12), 45, np.random.default_rng(0), World(cannibalisation=1.0, exits=1.0))
    lost = small.effects[small.effects < 0]
    assert lost.size > 0
    assert lost.min() >= np.log(0.1) - 1e-12
    assert np.isfinite(small.category_effects()).all()


def test_joiners_grew_anyway_at_the_expense_of_others() -> None:
    row, mine = of("overseas"), market(ALONE["overseas"])
    assert row["truth"] == pytest.approx(np.log(1.1), abs=EXACT)
    # half a log point over the window, the weeks compared are 31 apart; seasons weigh weeks unequally
    assert row["bias"] == pytest.approx(0.5 * 31 / CLOCK.weeks, abs=0.02)
    joins = mine.column("joins")[:, None]
    joined = np.log(1.1) * ((joins != NEVER) & (np.arange(CLOCK.weeks + 1) >= joins))
    without = np.exp(-mine.effects - joined) * mine.sales()
    assert mine.by_category(without) == pytest.approx(market(QUIET).totals(supported=False))


def test_standard_errors_are_those_of_drawn_shocks() -> None:
    """Shocks drawn again and again, and the three errors read from them the way an analyst would."""
    world = World(shocks=1, autocorrelation=1, unequal_variance=1)
    told = {knob: of(knob, world) for knob in ("shocks", "autocorrelation", "unequal_variance")}
    rng, weeks, start = np.random.default_rng(0), CLOCK.weeks, CLOCK.pilot_week
    shocks = np.zeros((4000, len(NAMES), weeks))
    shocks[:, :, 0] = rng.normal(size=shocks.shape[:2])
    for week in range(1, weeks):
        shocks[:, :, week] = 0.65 * shocks[:, :, week - 1] + np.sqrt(1 - 0.65**2) * rng.normal(size=shocks.shape[:2])
    shocks *= 0.058 * np.where(IS_PILOT, 2, 1)[:, None]
    before, after = shocks[:, :, :start], shocks[:, :, start:]
    changes = after.mean(axis=2) - before.mean(axis=2)
    pilots, others = changes[:, IS_PILOT], changes[:, ~IS_PILOT]
    true = (pilots.mean(axis=1) - others.mean(axis=1)).std()
    pooled = (2 * pilots.var(axis=1, ddof=1) + 11 * others.var(axis=1, ddof=1)).mean() / 13 * (1 / 3 + 1 / 12)
    weekly = (part.var(axis=2, ddof=1).mean(axis=0) / part.shape[2] for part in (before, after))
    by_week = sum(weekly)
    independent = by_week[IS_PILOT].mean() / 3 + by_week[~IS_PILOT].mean() / 12
    # a standard deviation from 4,000 draws is off by 1.1%, the means of variances by less; three of those
    assert told["shocks"]["truth"] == pytest.approx(true, rel=0.035)
    assert told["unequal_variance"]["naive"] == pytest.approx(np.sqrt(pooled), rel=0.035)
    assert told["autocorrelation"]["naive"] == pytest.approx(np.sqrt(independent), rel=0.035)
    assert told["autocorrelation"]["naive"] < 0.5 * true


def test_drawn_shocks_follow_the_law_of_their_world() -> None:
    clock, world = Clock(26), World(unequal_variance=1, autocorrelation=0.5)
    drawn = np.array([draw_market(clock, 45, np.random.default_rng(s), world).shocks for s in range(60)])
    spread = drawn.std(axis=(0, 2))
    # 60 x 27 values, autocorrelated: some 900 free ones a category, 2.4% each; 45 to 180 categories' worth here
    assert spread[IS_PILOT].mean() == pytest.approx(0.116, rel=0.05)
    assert spread[~IS_PILOT].mean() == pytest.approx(0.058, rel=0.03)
    lagged = (drawn[:, :, 1:] * drawn[:, :, :-1]).sum() / (drawn[:, :, :-1] ** 2).sum()
    assert lagged == pytest.approx(0.325, abs=0.03)


def test_recent_refunds_are_those_that_have_arrived() -> None:
    """Two million refunds drawn one by one, over the last four complete weeks."""
    mine, rng = market(ALONE["refund_lag"]), np.random.default_rng(0)
    share = mine.days / mine.days.sum(axis=2, keepdims=True)
    paid = (mine.totals()[:, :, None] * share)[:, CLOCK.weeks - 4 : CLOCK.weeks].reshape(len(NAMES), -1)
    due = REFUNDED[:, None] * (0.8 + 0.2 / 2) * paid  # one in five is refunded by half
    day = rng.choice(28, 2_000_000, p=due.sum(axis=0) / due.sum())
    arrives = draw_times(day, rng) / 86_400 + rng.uniform(0, 28, day.size)
    known = (arrives < 28 + 3).mean()  # three days of the open week are in the data
    assert of("refund_lag")["truth"] == pytest.approx(np.log1p(-due.sum() / paid.sum()), abs=EXACT)
    # the share is known to 0.0003, of refunds that are 6% of sales
    assert of("refund_lag")["naive"] == pytest.approx(np.log1p(-known * due.sum() / paid.sum()), abs=1e-4)


@pytest.mark.parametrize("knob", [knob for knob in KNOBS if knob not in ("churn", "festival_response", "shocks")])
def test_a_stronger_knob_does_more(knob: str) -> None:
    worlds = [replace(ALONE[knob], **{knob: strength}) for strength in (0.0, 0.3, 0.6, 1.0)]
    sizes = [abs(of(knob, world)["bias"]) for world in worlds]
    assert sizes[0] == 0
    assert np.diff(sizes).min() > 1e-4
    assert np.allclose([of(knob, world)["sound_bias"] for world in worlds], 0, atol=EXACT)


def test_every_knob_has_numbers_of_its_own() -> None:
    assert len({stream(1, knob).random() for knob in KNOBS}) == len(KNOBS)
    roster = draw_market(CLOCK, 3000, np.random.default_rng(1), World()).roster
    assert not np.array_equal(
        roster["enters"], draw_market(CLOCK, 3000, np.random.default_rng(2), World()).column("enters")
    )
    parts = roster.loc[roster["cohort"] == NEVER, ["lucky", "enters", "joins", "opens"]] > 0
    correlation = np.corrcoef(parts.to_numpy().T.astype(float))
    assert np.abs(correlation[:2] - np.eye(4)[:2]).max() < 5 / np.sqrt(len(parts))


@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_moves_nobody_else_s_draws(knob: str) -> None:
    here, there = market(World.of({knob: 0.5})), market(World())
    drawn = ["category", "level", "price", "score", "eligible", "cohort", "lucky", "enters", "joins"]
    pd.testing.assert_frame_equal(here.roster[drawn], there.roster[drawn])
    if knob not in ("shocks", "autocorrelation", "unequal_variance"):
        assert np.array_equal(here.shocks, there.shocks)
    if knob not in ("festival_response", "moving_festivals"):
        assert np.array_equal(here.days, there.days)
    if knob in TRACELESS:
        assert np.array_equal(here.effects, there.effects)
    other = market(World.of({knob: 0.5, "selection": 1.0} if knob != "selection" else {knob: 0.5, "exits": 1.0}))
    alone = market(World.of({"selection": 1.0} if knob != "selection" else {"exits": 1.0}))
    assert np.allclose(other.forces - alone.forces, here.forces - there.forces, atol=1e-12)


@pytest.mark.parametrize("knob", TRACELESS)
def test_the_truth_of_support_is_not_moved_by_what_is_no_support(knob: str) -> None:
    told, plain = truth(market(replace(World(), **{knob: 1.0}))), truth(market(World()))
    assert told["effects"] == plain["effects"]
    values = [[row["log_effect"] for row in source["categories"]] for source in (told, plain)]
    # churn, growth of some and luck change who weighs how much in a category, never what support does
    assert values[0] == pytest.approx(values[1], abs=0.01)
    assert [value == 0 for value in values[0]] == [name not in PILOTS for name in NAMES]


def test_the_truth_of_support_holds_what_support_does() -> None:
    effects = pd.DataFrame(truth(market(World(anticipation=1)))["effects"])
    ready = effects[effects["age"] < 0].groupby(["category", "cohort"])["log_effect"].agg(["min", "max", "count"])
    assert (ready["count"] == 2).all()
    assert ready.loc["beauty"].iloc[0].tolist() == pytest.approx([0.5 * 0.217 * 1.05] * 2 + [2])
    kept, plain = (pd.DataFrame(truth(market(world))["effects"]) for world in (World(exits=1), World()))
    added = (kept["log_effect"] - plain["log_effect"]).groupby([kept["category"], kept["cohort"]])
    assert added.first().groupby("category").first().to_numpy() == pytest.approx(-np.log(0.8) / 15, abs=EXACT)
    assert (added.last() > added.first()).all()
    averages = {c: truth(market(World(cannibalisation=c)))["pilot_average"]["log_effect"] for c in (0, 0.5, 1)}
    assert averages[1] == pytest.approx(0, abs=1e-7)
    assert averages[0.5] == pytest.approx(averages[0] / 2, rel=0.05)  # of logs, not of sums


# the kit's own estimators, on expected sales


def contrast(world: World) -> float:
    totals = market(world).totals()[:, :-1]
    starts = np.where(IS_PILOT, CLOCK.pilot_week + 1, 0)
    panel = sk.Panel.from_matrix(np.log(totals), treated_from=starts, category=NAMES)
    return float(sk.did.pilot_contrast(panel).tidy()["estimate"].iloc[0])


def first_cohort(world: World, anticipation: int) -> tuple[float, float]:
    """The first cohort's average effect by group_time on beauty's merchants, in yuan, and the true one."""
    mine, weeks = market(world), slice(CLOCK.pilot_week, CLOCK.weeks)
    own = mine.column("cohort") == CLOCK.pilot_week
    chosen = (mine.column("category") == NAMES.index("beauty")) & (own | (mine.column("cohort") == NEVER))
    size = mine.column("level") * mine.column("price")
    value = mine.sales() / size[:, None]  # trends are then parallel in levels, too
    starts = np.where(own, CLOCK.pilot_week + 1, 0)[chosen]
    panel = sk.Panel.from_matrix(value[chosen, :-1], treated_from=starts)
    effects = sk.did.group_time(panel, control="never", anticipation=anticipation, inference="none").tidy()
    effects = effects[effects["period"] > CLOCK.pilot_week]
    truth = (value * -np.expm1(-mine.effects))[own & chosen][:, weeks].mean()
    return float(effects["estimate"].mean()), float(truth)


@pytest.mark.parametrize("knob", ["moving_festivals", "festival_response", "concurrent_policies"])
def test_the_pilot_contrast_is_as_wrong_as_told(knob: str) -> None:
    assert contrast(QUIET) == pytest.approx(truth(market(QUIET))["pilot_average"]["log_effect"], abs=EXACT)
    shift = contrast(ALONE[knob]) - truth(market(ALONE[knob]))["pilot_average"]["log_effect"]
    assert shift == pytest.approx(of(knob)["bias"], abs=EXACT)


def test_the_pilot_contrast_nets_what_rivals_lose() -> None:
    for share in (0.25, 0.75):
        told = truth(market(replace(QUIET, cannibalisation=share)))["pilot_average"]["log_effect"]
        assert contrast(replace(QUIET, cannibalisation=share)) == pytest.approx(told, abs=EXACT)


def test_group_time_needs_to_know_of_the_announcement() -> None:
    for anticipation in (0, 2):
        estimate, told = first_cohort(QUIET, anticipation)
        assert estimate == pytest.approx(told)
    estimate, told = first_cohort(ALONE["anticipation"], 2)
    assert estimate == pytest.approx(told)
    estimate, told = first_cohort(ALONE["anticipation"], 0)
    pace = market(QUIET).days[1].sum(axis=1)
    assert estimate - told == pytest.approx(-pace[CLOCK.pilot_week - 1] * np.expm1(0.5 * 0.217 * 1.05) * PIECES)
    estimate, told = first_cohort(ALONE["selection"], 0)
    assert estimate < told - 0.1 * PIECES
    estimate, told = first_cohort(ALONE["selection"], 4)
    assert estimate == pytest.approx(told)


def test_the_page_tells_of_every_knob() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "methods" / "simulator.md").read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == KNOBS


def test_worlds_refuse_what_is_no_strength() -> None:
    with pytest.raises(ParameterError, match=r"2 laws.*exits.*2.*overseas.*'much'"):
        World(exits=2, overseas="much")  # type: ignore[arg-type]
    for wrong in (True, float("nan"), -0.1, None, 1j):
        with pytest.raises(ParameterError, match="shocks is a number from 0"):
            World(shocks=wrong)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"'selektion' is not a knob \(did you mean 'selection'\?\)"):
        World.of({"selektion": 1})
    assert World(exits=np.float32(1), shocks=np.int64(0)) == World(exits=1, shocks=0)
    assert World(exits=1).chosen() == {"exits": 1.0}
    assert set(asdict(QUIET).values()) == {0.0}
