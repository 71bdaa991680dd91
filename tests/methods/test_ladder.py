"""The ladder from gross to net: by hand, against loops, its sums, and how often it holds the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategy_kit import did
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel
from strategy_kit.simulate import World
from strategy_kit.simulate.market import IS_PILOT, NEVER, draw_market
from strategy_kit.simulate.seasons import Clock

RNG = np.random.default_rng
steady = settings(deadline=None, derandomize=True, database=None, max_examples=40)
SALES = np.array([[10.0, 14], [30, 28], [20, 26], [20, 21], [40, 40], [40, 42], [40, 41]])
MARKS = [True, False, True, False, False, False, False]


def small() -> Panel:
    return Panel.from_matrix(SALES, treated_from=[2] * 4 + [0] * 3, category=list("aabbxyz"), name="gmv")


def market(seed: int, starts: tuple[int, ...] = (5, 5, 5), others: int = 5) -> tuple[Panel, np.ndarray, np.ndarray]:
    """Nine weeks of eight merchants in each of some categories of different size; supported and eligible ones."""
    rng, groups = RNG(seed), len(starts) + others
    category = np.repeat(np.arange(groups), 8)
    size = np.exp(rng.normal(size=groups))[category] * np.exp(rng.normal(size=8 * groups))
    start = np.append(starts, np.zeros(others))[category]
    kind = np.tile(np.arange(8) < 3, groups)
    y = size[:, None] * np.exp(0.1 * rng.normal(size=(8 * groups, 9)))
    y *= 1 + 0.3 * (kind & (start > 0))[:, None] * (np.arange(1, 10) >= start[:, None])
    return Panel.from_matrix(y, treated_from=start, category=category), kind & (start > 0), kind


def row(ladder: Any, rung: str) -> pd.Series:
    return ladder.tidy().set_index("rung").loc[rung]


def test_by_hand() -> None:
    """Others grew by 0, 5 and 2.5 %. Pilot a gained 2 - 1 = 1 of 40, b 7 - 1 = 6, so all pilots like a 2, all like b 12."""
    ladder = did.gross_to_net(small(), MARKS)
    groups = ladder.details["groups"].set_index("group")
    # The sums 9 + (2 - 7) and 9 + (12 - 7), expected 2 taken off the others' side: 80 of them growing by 0, 5, 2.5 %.
    assert groups["category"].tolist() == pytest.approx([4, 14, 0, 4, 2])
    assert groups["supported"].to_numpy()[2:].tolist() == pytest.approx([0, 1.5, 0.75])
    assert groups["treated"].tolist() == [True, True, False, False, False]
    for rung, estimate in {"category": 7.0, "supported": 9.25, "rivals": -2.25}.items():
        found, sides = row(ladder, rung), [groups.loc[groups["treated"] == side, rung] for side in (True, False)]
        expected = stats.ttest_ind(*sides, equal_var=False)
        assert found["estimate"] == pytest.approx(estimate)
        assert found["std_error"] == pytest.approx(estimate / expected.statistic)
    assert ladder.glance()[["estimate", "clusters_treated", "clusters_comparison"]].to_numpy().tolist() == [
        [pytest.approx(7.0), 2, 3]
    ]
    assert ladder.n_units.tolist() == [2, 2, 4]
    growth = ladder.details["growth"].set_index("rung")["estimate"]
    assert growth.tolist() == pytest.approx([9.25 / 80, -2.25 / 80, 7 / 80])
    # Inside a, supported 14 against 10 · 28 / 30; inside b, 26 against 20 · 21 / 20.
    within = 14 - 28 / 3 + 26 - 21
    assert ladder.details["within"].to_numpy().tolist() == [[pytest.approx(within), pytest.approx(within - 9.25)]]


def test_pilots_of_one_size_are_judged_as_the_pilot_contrast_does() -> None:
    rng, category = RNG(3), np.repeat(np.arange(9), 4)
    y = np.exp(0.2 * rng.normal(size=(36, 10)))
    before = pd.DataFrame(y).groupby(category).sum().to_numpy()[:, :5].mean(axis=1)
    y = y / before[category][:, None] * 100
    start = np.where(category < 3, 6, 0)
    ladder = did.gross_to_net(
        Panel.from_matrix(y, treated_from=start, category=category),
        np.tile([True, False, False, False], 9) & (start > 0),
    )
    growth = pd.DataFrame(y).groupby(category).sum().to_numpy() / 100
    expected = did.pilot_contrast(Panel.from_matrix(growth, treated_from=[6] * 3 + [0] * 6)).glance().iloc[0]
    found = ladder.glance().iloc[0]
    for name in ("estimate", "std_error", "conf_low", "conf_high"):
        assert found[name] == pytest.approx(100 * 5 * 3 * expected[name], rel=1e-9)
    assert found["p_value"] == pytest.approx(expected["p_value"], rel=1e-9)
    assert found["degrees_of_freedom"] == pytest.approx(expected["degrees_of_freedom"], rel=1e-9)


def slow(panel: Panel, marks: np.ndarray, kinds: np.ndarray | None) -> dict[str, float]:
    """Gains of supported merchants and of rivals, one pilot and one other category after the other."""
    y, category = panel.outcome, panel.category.to_numpy()
    pilots, gain = np.unique(category[panel.cohort >= 0]), {"supported": 0.0, "rivals": 0.0}
    for pilot in pilots:
        at = int(panel.starts[panel.cohort[category == pilot][0]])
        for part, chosen in (("supported", marks), ("rivals", ~marks)):
            own = y[(category == pilot) & chosen].sum(axis=0)
            growth = []
            for other in np.setdiff1d(category, pilots):
                like = np.ones(len(y), dtype=bool) if kinds is None else (kinds if part == "supported" else ~kinds)
                path = y[(category == other) & like].sum(axis=0)
                growth.append(path[at:].mean() / path[:at].mean())
            gain[part] += own[at:].sum() - len(own[at:]) * own[:at].mean() * np.mean(growth)
    return gain


@pytest.mark.parametrize("starts", [(5, 5, 5), (4, 6, 6), (3, 5, 8)])
@pytest.mark.parametrize("alike", [False, True])
def test_estimates_equal_loops(starts: tuple[int, ...], alike: bool) -> None:
    panel, marks, kinds = market(2, starts)
    ladder = did.gross_to_net(panel, marks, eligible=kinds if alike else None)
    expected = slow(panel, marks, kinds if alike else None)
    for rung in expected:
        assert row(ladder, rung)["estimate"] == pytest.approx(expected[rung], rel=1e-9)


@given(st.integers(0, 999), st.booleans(), st.sampled_from([1e-4, 1.0, 1e4]))
@steady
def test_rungs_add_up_in_any_unit_of_money_and_order(seed: int, alike: bool, money: float) -> None:
    panel, marks, kinds = market(seed, (4, 6, 6))
    order = RNG(seed).permutation(len(marks))
    start = np.append([4, 6, 6], np.zeros(5))[panel.category.to_numpy()]
    moved = Panel.from_matrix(
        money * panel.outcome[order], treated_from=start[order], category=panel.category.to_numpy()[order]
    )
    first = did.gross_to_net(panel, marks, eligible=kinds if alike else None, take_rate=0.1)
    again = did.gross_to_net(moved, marks[order], eligible=kinds[order] if alike else None, take_rate=0.1)
    names = ["estimate", "std_error", "conf_low", "conf_high"]
    np.testing.assert_allclose(again.tidy()[names], money * first.tidy()[names], rtol=1e-9, atol=1e-9 * money)
    gross, spill, net, revenue = first.estimate
    assert gross + spill == pytest.approx(net, abs=1e-9 * panel.outcome.sum())
    assert revenue == pytest.approx(0.1 * net, rel=1e-9)
    sums = np.array([1.0, 1.0, -1.0, 0.0])
    # The net gain less its parts is nothing, without error.
    assert sums @ first.covariance @ sums == pytest.approx(0, abs=1e-9 * first.covariance.max())
    growth = first.details["growth"].set_index("rung")["estimate"]
    assert growth["supported"] + growth["rivals"] == pytest.approx(growth["category"], abs=1e-9)


@pytest.mark.parametrize(("taken", "ratio"), [(0.0, 1.0), (0.25, 1.0), (0.5, 1.0), (0.5, 2.0), (0.75, 0.5)])
def test_what_a_comparison_inside_the_category_says(taken: float, ratio: float) -> None:
    """With a share c of the gain taken from rivals and r of supported to rivals' sales: (1 + c r) gross, net (1 - c) gross."""
    rivals, gross = 100.0, 20.0
    supported = ratio * rivals
    one = [[supported] * 2 + [supported + gross] * 2, [rivals] * 2 + [rivals - taken * gross] * 2]
    other = [[100.0, 100, 101, 101], [100, 100, 99, 99]]
    panel = Panel.from_matrix(np.array(one * 2 + other), treated_from=[3] * 4 + [0] * 2, category=list("aabbxy"))
    ladder = did.gross_to_net(panel, [True, False] * 2 + [False] * 2)
    whole = 2 * 2 * gross  # two pilots, two periods
    assert ladder.estimate.tolist() == pytest.approx([whole, -taken * whole, (1 - taken) * whole])
    assert ladder.details["within"]["estimate"][0] == pytest.approx((1 + taken * ratio) * whole)
    assert ladder.details["within"]["excess"][0] == pytest.approx(taken * ratio * whole)


def test_revenue_cost_and_profit() -> None:
    panel, marks, _ = market(1)
    rates = pd.Series({0: 0.05, 1: 0.1, 2: 0.2, 9: 0.9})
    ladder = did.gross_to_net(panel, marks, take_rate=rates, cost=3.0, cost_error=0.5)
    assert ladder.labels["rung"].tolist() == ["supported", "rivals", "category", "revenue", "cost", "profit"]
    single = [
        did.gross_to_net(panel, marks, take_rate=rates.where(rates.index == k, 1e-12)).estimate[3] for k in range(3)
    ]
    revenue, cost, profit = ladder.estimate[3:]
    assert revenue == pytest.approx(sum(single), rel=1e-6)
    assert (cost, profit) == (3.0, pytest.approx(revenue - 3))
    assert ladder.std_error[5] == pytest.approx(np.hypot(ladder.std_error[3], 0.5))
    assert ladder.covariance[4, 5] == pytest.approx(-0.25)
    known = did.gross_to_net(panel, marks, take_rate=rates, cost=3.0)
    assert known.tidy().loc[4, ["std_error", "conf_low", "conf_high", "p_value"]].isna().all()
    assert known.std_error[5] == known.std_error[3]


def test_return_with_a_known_cost_is_revenue_divided_by_it() -> None:
    panel, marks, _ = market(4)
    ladder = did.gross_to_net(panel, marks, take_rate=0.1, cost=2.0)
    found, revenue = did.return_per_yuan(ladder).set_index("method"), row(ladder, "revenue")
    fieller, parametric, bootstrap = (found.loc[name] for name in ("fieller", "parametric", "bootstrap"))
    assert fieller["form"] == "bounded"
    for name in ("estimate", "conf_low", "conf_high"):
        assert fieller[name] == pytest.approx(revenue[name] / 2, rel=1e-9)
    law = ladder.law[3]
    chance = stats.t.cdf((revenue["estimate"] - 2) / revenue["std_error"], law.degrees_of_freedom)
    assert fieller["break_even"] == pytest.approx(chance, rel=1e-9)
    # Four binomial standard errors of 9,999 draws are at most 2 points.
    assert parametric["break_even"] == pytest.approx(chance, abs=0.02)
    wide = fieller["conf_high"] - fieller["conf_low"]
    # Quantiles of 9,999 draws of a t law with two to four degrees of freedom: about 3 % of the width.
    assert parametric["conf_low"] == pytest.approx(fieller["conf_low"], abs=0.09 * wide)
    assert parametric["conf_high"] == pytest.approx(fieller["conf_high"], abs=0.09 * wide)
    assert bootstrap["conf_high"] - bootstrap["conf_low"] < 0.7 * wide
    assert found["distinct_draws"].tolist()[1:] == [9_999, 10]


def test_return_with_an_uncertain_cost() -> None:
    panel, marks, _ = market(4)
    forms, chances = [], []
    for error in (0.01, 1.5, 40.0):
        ladder = did.gross_to_net(panel, marks, take_rate=0.1, cost=2.0, cost_error=error)
        first, again, other = (did.return_per_yuan(ladder, seed=seed) for seed in (1, 1, 2))
        assert first.equals(again)
        assert not first.equals(other)
        forms.append(first["form"][0])
        chances.append(first["break_even"][0])
        profit = row(ladder, "profit")
        chance = stats.t.cdf(profit["estimate"] / profit["std_error"], ladder.law[5].degrees_of_freedom)
        assert chances[-1] == pytest.approx(chance, rel=1e-9)
    assert forms[0] == "bounded"
    assert forms[2] == "outside"  # a cost that may be 0, and revenue that is not
    assert first.loc[1:, ["form", "conf_low", "conf_high"]].to_numpy().tolist() == [["everything", -np.inf, np.inf]] * 2
    everything = did.gross_to_net(small(), MARKS, take_rate=0.1, cost=0.5, cost_error=0.5)
    first = did.return_per_yuan(everything).iloc[0]
    assert first[["form", "conf_low", "conf_high"]].tolist() == ["everything", -np.inf, np.inf]
    assert abs(chances[2] - 0.5) < abs(chances[0] - 0.5)


def ladder_of(sales: np.ndarray, marks: list[bool], category: str | None = "aabbxyz", **given: Any) -> Any:
    start = [2] * 4 + [0] * (len(sales) - 4)
    return did.gross_to_net(
        Panel.from_matrix(sales, treated_from=start, category=None if category is None else list(category)),
        marks,
        **given,
    )


FLAT, EMPTY = np.array([[1.0, 2], [1, 2], [1, 2], [1, 2], [2, 3], [2, 3]]), SALES * (np.arange(7) != 4)[:, None]
NONE, BOTH = [False] * 7, [True, False, True, False]
REFUSED: dict[str, tuple[Any, str]] = {
    "starts within": (lambda: ladder_of(SALES, MARKS, None), "starts differ within"),
    "negative": (lambda: ladder_of(-SALES, MARKS), "sales below 0: 14"),
    "outside": (lambda: ladder_of(SALES, [*BOTH, True, False, False]), "outside the pilots: 1"),
    "pilot without": (lambda: ladder_of(SALES, [True, *NONE[1:]]), "without a supported merchant: b"),
    "no rivals": (lambda: ladder_of(SALES, [True] * 4 + [False] * 3), "there are no rivals"),
    "none eligible": (lambda: ladder_of(SALES, MARKS, eligible=MARKS), "no merchant outside the pilots is eligible"),
    "one kind": (lambda: ladder_of(SALES, MARKS, eligible=[True] * 7), "nothing of one kind, was sold before: x, y, z"),
    "no sales": (lambda: ladder_of(EMPTY, MARKS), "was sold before: x"),
    "no chance": (lambda: ladder_of(FLAT, [*BOTH, False, False], "aabbxy"), "exactly the same share"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(DesignError, match=words):
        make()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"take_rate": 1.2}, "take_rate is a share"),
        ({"take_rate": pd.Series({"a": 0.1})}, "no row for b"),
        ({"cost": 2.0}, "give take_rate too"),
        ({"take_rate": 0.1, "cost": 0.0}, "money above 0"),
        ({"take_rate": 0.1, "cost_error": 1.0}, "of a cost that is given"),
        ({"eligible": [True]}, "eligible is true or false for each of the 7 units"),
    ],
)
def test_refused_parameters(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        did.gross_to_net(small(), MARKS, **given)


def test_refused_returns() -> None:
    ladder = did.gross_to_net(small(), MARKS, take_rate=0.1)
    with pytest.raises(ParameterError, match="needs cost"):
        did.return_per_yuan(ladder)
    ladder = did.gross_to_net(small(), MARKS, take_rate=0.1, cost=1.0)
    for wrong in ({"seed": -1}, {"level": 1.0}):
        with pytest.raises(ParameterError):
            did.return_per_yuan(ladder, **wrong)


def world(rng: np.random.Generator, tail: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sales without support of 12 categories with AR(1) shocks of 6 %; heavy-tailed merchants, some weeks without sales."""
    category = np.repeat(np.arange(12), rng.integers(10, 30, 12))
    first = np.searchsorted(category, range(3))  # at least one in each pilot is supported
    size = np.exp(rng.normal(0, 1.2, len(category))) if tail is None else rng.pareto(tail, len(category)) + 1
    shock, fresh = np.empty((12, 16)), rng.normal(size=(12, 16))
    shock[:, 0] = fresh[:, 0]
    for week in range(1, 16):
        shock[:, week] = 0.6 * shock[:, week - 1] + 0.8 * fresh[:, week]
    noise = 0.3 * rng.normal(size=(len(category), 16))
    y = size[:, None] * np.exp(0.06 * shock[category] + noise) * (rng.random(noise.shape) > 0.1)
    return y, category, (category < 3) & (rng.random(len(category)) < 0.35) | np.isin(np.arange(len(category)), first)


@pytest.mark.slow
@pytest.mark.parametrize("tail", [None, 1.3])
def test_the_net_gain_is_held_whatever_is_taken_from_rivals(tail: float | None) -> None:
    """Gains of 20 % of which rivals in the category lose none, a quarter, half or three quarters."""
    draws, rng, held = 150, RNG(11), np.zeros((4, 3))
    for _ in range(draws):
        y, category, marks = world(rng, tail)
        gain = 0.2 * y * (marks[:, None] & (np.arange(16) >= 8))
        rivals = np.where(marks[:, None], 0.0, y)
        sums = np.zeros((2, 12, 16))
        np.add.at(sums, (slice(None), category), np.stack([gain, rivals]))
        for at, taken in enumerate((0.0, 0.25, 0.5, 0.75)):
            loss = np.minimum(taken * sums[0] / np.maximum(sums[1], 1e-9), 1)[category] * rivals
            panel = Panel.from_matrix(y + gain - loss, treated_from=np.where(category < 3, 9, 0), category=category)
            low, high, _ = did.gross_to_net(panel, marks)._intervals(0.95)
            truth = np.array([gain.sum(), -loss.sum(), (gain - loss).sum()])
            held[at] += (low <= truth) & (truth <= high)
    # Three binomial standard errors of 150 draws below 95 % are 89.7 %; with 1,000 draws (seed 77) 94 to 98 % held.
    assert (held / draws).min() >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws)


@pytest.mark.parametrize("taken", [0.0, 0.25, 0.5, 0.75])
def test_it_holds_in_the_markets_of_the_simulator(taken: float) -> None:
    """Fifteen categories, three pilots whose effects differ and build up in waves; the simulator's own truth."""
    draws, clock, held = 100, Clock(78), np.zeros(3)
    start = clock.pilot_week
    for draw in range(draws):
        market = draw_market(clock, 900, RNG(1_000 + draw), World(cannibalisation=taken))
        sales, without = (market.sales(supported=given)[:, :-1] for given in (True, False))
        category, noise = market.column("category"), RNG(5_000 + draw).normal(-0.08, 0.4, sales.shape)
        pilot = IS_PILOT[category]
        marks = pilot & (market.column("cohort") != NEVER)
        gain = (sales - without)[:, start:].sum(axis=1)
        seen = (sales * np.exp(noise))[:, start - 26 :]
        panel = Panel.from_matrix(seen, treated_from=np.where(pilot, 27, 0), category=category)
        low, high, _ = did.gross_to_net(panel, marks)._intervals(0.95)
        truth = np.array([gain[marks].sum(), gain[pilot & ~marks].sum(), gain[pilot].sum()])
        held += (low <= truth) & (truth <= high)
    # Three binomial standard errors of 100 draws are 6.5 points; effects that differ between pilots make intervals wider.
    assert (held / draws).min() >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws)
