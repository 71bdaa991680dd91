"""Synthetic comparison groups: R's numbers, optimal weights, what must not change them, placebos and refusals."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm

from strategy_kit.did.synthetic import simplex_weights, synthetic, synthetic_control
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from pathlib import Path

module = importlib.import_module("strategy_kit.did.synthetic")
RNG = np.random.default_rng
BOTH = pytest.mark.parametrize("method", [synthetic, synthetic_control])
quick = settings(deadline=None, derandomize=True, database=None, max_examples=15)


def market(seed: int, starts: list[float], periods: int = 14, effect: float = 0.0) -> Panel:
    """Groups that share two trends, with levels and noise of their own."""
    rng, start = RNG(seed), np.array(starts)
    trends = rng.normal(size=(2, periods)).cumsum(axis=1)
    y = rng.uniform(size=(len(start), 2)) @ trends + 3 * rng.normal(size=(len(start), 1))
    after = (start[:, None] > 0) & (np.arange(1, periods + 1) >= start[:, None])
    return Panel.from_matrix(y + 0.3 * rng.normal(size=y.shape) + effect * after, treated_from=start)


ONE, THREE, STAGGERED = [10.0] + [0.0] * 9, [10.0] * 3 + [0.0] * 9, [8.0, 8.0, 11.0] + [0.0] * 6


def unit_weights(result: Any) -> np.ndarray:
    return result.details["unit_weights"]["weight"].to_numpy()


def compared(first: Any, second: Any, factor: float = 1.0) -> None:
    """Both results agree to rounding: 1e-9 of an effect where levels are at most a few hundred times it."""
    columns = ["estimate", "std_error", "conf_low", "conf_high"]
    scale = 1e-9 * np.abs(first.tidy()[columns].to_numpy()).max() * factor
    np.testing.assert_allclose(second.tidy()[columns], factor * first.tidy()[columns], atol=scale)
    np.testing.assert_allclose(second.average, factor * np.array(first.average), atol=scale)
    np.testing.assert_array_equal(first.tidy()["p_value"], second.tidy()["p_value"])


# R synthdid 0.0.9 on the 39 states and 31 years of Abadie, Diamond and Hainmueller's cigarette sales.
@pytest.fixture(scope="module")
def cigarettes(shared: Path) -> tuple[Panel, dict[str, Any]]:
    frame = pd.read_csv(shared / "truth" / "public" / "california_prop99.csv.gz")
    frame["start"] = np.where(frame["State"] == "California", 1989, 0)
    panel = Panel.from_frame(frame, unit="State", period="Year", outcome="PacksPerCapita", treated_from="start")
    truth = json.loads((shared / "truth" / "public" / "synthdid_prop99.json").read_text())
    assert truth["control_order"] == panel.units[panel.cohort < 0].tolist()
    return panel, truth


def objective(panel: Panel, weights: np.ndarray, zeta: float, *, centred: bool) -> tuple[float, np.ndarray]:
    """Fit of donors' weights before 1989, 19 years, with the ridge; and half its gradient."""
    donors, treated = panel.outcome[panel.cohort < 0, :19], panel.outcome[panel.cohort >= 0, :19].mean(axis=0)
    gap = (donors - treated).T
    gap = gap - gap.mean(axis=0) if centred else gap
    rest, ridge = gap @ weights, 19 * zeta**2
    return float(rest @ rest + ridge * weights @ weights), gap.T @ rest + ridge * weights


@pytest.mark.parametrize(
    ("method", "name", "near"),
    # R's Frank-Wolfe steps end before the optimum: its objective is 0.2% (sdid) and 1% (sc) above the least. What is
    # left over of the estimates is 0.0016 and 0.106, of standard errors of 9 and 11.
    [(synthetic, "sdid", 0.002), (synthetic_control, "sc", 0.12)],
)
def test_the_optimum_is_beyond_where_r_stops(
    method: Any, name: str, near: float, cigarettes: tuple[Panel, dict[str, Any]]
) -> None:
    panel, truth = cigarettes
    theirs, result = truth["results"][name], method(panel)
    weights, centred = unit_weights(result), name == "sdid"
    ours, slope = objective(panel, weights, theirs["zeta_omega"], centred=centred)
    assert ours <= objective(panel, np.array(theirs["omega"]), theirs["zeta_omega"], centred=centred)[0]
    # Optimal on the simplex: the slope is level over the weights in use, and no lower elsewhere. Slopes are sums of
    # terms of size 1e5, so 1e-9 is their rounding.
    level = slope @ weights
    assert np.abs(slope - level)[weights > 0].max() < 1e-9
    assert (slope - level).min() > -1e-9
    assert result.glance()["estimate"][0] == pytest.approx(theirs["estimate"], abs=near)
    assert np.abs(weights - theirs["omega"]).max() < 0.005
    times = result.details["time_weights"]["weight"]
    assert times.to_numpy() == pytest.approx(theirs["lambda"], abs=1e-6)


@pytest.mark.parametrize(("method", "name"), [(synthetic, "sdid"), (synthetic_control, "sc")])
def test_with_the_weights_of_r_the_estimate_is_that_of_r(
    method: Any, name: str, cigarettes: tuple[Panel, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, truth = cigarettes
    theirs = truth["results"][name]

    def of_r(design: np.ndarray, _target: np.ndarray, ridge: float, *, centred: bool) -> np.ndarray:
        rows, weight = ("zeta_omega", "omega") if design.shape == (19, 38) else ("zeta_lambda", "lambda")
        assert ridge == pytest.approx(len(design) * theirs[rows] ** 2, rel=1e-12)
        assert centred == (name == "sdid")
        return np.array(theirs[weight])

    monkeypatch.setattr(module, "simplex_weights", of_r)
    monkeypatch.setattr(module, "_placebos", lambda donors, *_: (np.empty((0, 38), dtype=int), ()))
    assert method(panel).average[0] == pytest.approx(theirs["estimate"], abs=1e-10)


def test_the_placebo_error_is_that_of_r_up_to_its_draws(cigarettes: tuple[Panel, dict[str, Any]]) -> None:
    panel, truth = cigarettes
    result = synthetic(panel)
    every = result.details["placebo"]["statistic"].to_numpy()[1:]
    assert len(every) == 38
    assert result.average[1] == pytest.approx(every.std(), rel=1e-12)
    # R draws one of the 38 states 200 times; ours are all 38. Three standard errors of such a draw's spread.
    drawn = RNG(0).choice(every, (2000, 200)).std(axis=1)
    assert truth["placebo_se_sdid_seed_12345"] == pytest.approx(result.average[1], abs=3 * drawn.std())


@given(st.integers(0, 10**6), st.sampled_from([1e-10, 1e-3, 0.5, 5.0]), st.booleans())
@settings(quick, max_examples=60)
def test_weights_are_optimal(seed: int, ridge: float, centred: bool) -> None:
    rng = RNG(seed)
    rows, donors = rng.integers(2, 13, size=2)
    design, target = rng.normal(size=(rows, donors)) + 5, rng.normal(size=rows) + 5
    weights = simplex_weights(design, target, ridge, centred=centred)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    gap = design - target[:, None]
    gap = gap - gap.mean(axis=0) if centred else gap
    slope = gap.T @ (gap @ weights) + ridge * weights
    # Rounding of a hundred terms of size 10 or so.
    assert np.abs(slope - slope @ weights)[weights > 0].max() < 1e-11
    assert (slope - slope @ weights).min() > -1e-11


@pytest.mark.parametrize("ridge", [1e-6, 0.3, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_weights_equal_a_general_solver(seed: int, ridge: float) -> None:
    rng = RNG(seed)
    design, target = rng.normal(size=(8, 5)), rng.normal(size=8)

    def loss(weights: np.ndarray) -> float:
        return float(np.square(design @ weights - target).sum() + ridge * weights @ weights)

    total = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    exact: dict[str, Any] = {"method": "SLSQP", "options": {"ftol": 1e-14, "maxiter": 500}}
    slow = minimize(loss, np.full(5, 0.2), bounds=[(0, 1)] * 5, constraints=[total], **exact)
    found = simplex_weights(design, target, ridge, centred=False)
    assert loss(found) <= slow.fun + 1e-12
    # Differences of a loss of size 10 tell slopes to 1e-7 or so, and weights with them.
    np.testing.assert_allclose(found, slow.x, atol=1e-5)


def test_both_solvers_find_the_same_weights() -> None:
    rng = RNG(1)
    for _ in range(400):
        rows, donors = rng.integers(2, 30), rng.choice([3, 4, 5, 60])
        gap = rng.normal(size=(rows, donors)) * rng.lognormal(size=donors) + rng.choice([0, 3]) * rng.normal(
            size=(rows, 1)
        )
        ridge = np.square(gap).sum() * 10 ** rng.uniform(-5, 0)
        rounds, slow = module._by_rounds(gap, ridge), module._by_active_set(gap, ridge)
        # Two routes to one optimum, whose curvature is at least 1e-5 of the loss: rounding is below 1e-10.
        np.testing.assert_allclose(slow if rounds is None else rounds, slow, atol=1e-10)


def test_guesses_that_do_not_settle_go_to_the_other_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = synthetic(market(1, ONE))
    monkeypatch.setattr(module, "_ROUNDS", 0)
    compared(expected, synthetic(market(1, ONE)))


def test_one_pair_of_donors_by_hand() -> None:
    # Before the start 1 and 2 are nearest to 3/2, which 3/8 of the second donor gives; the third goes the wrong way.
    y = np.array([[1.0, 2.0, 5.0], [0.0, 0.0, 0.0], [4.0, 4.0, 8.0], [9.0, 0.0, 9.0]])
    result = synthetic_control(Panel.from_matrix(y, treated_from=[3, 0, 0, 0]))
    assert unit_weights(result) == pytest.approx([5 / 8, 3 / 8, 0], abs=1e-9)
    assert result.tidy()["estimate"].tolist() == pytest.approx([2], abs=1e-9)
    fit = result.details["fit"].iloc[0]
    assert fit["pre_period_error"] == pytest.approx(0.5, abs=1e-9)  # 1 and 2 against 3/2
    assert fit["effective_donors"] == pytest.approx(1 / (25 / 64 + 9 / 64), abs=1e-9)


def test_what_is_made_of_donors_is_found_again_and_its_effect_is_exact() -> None:
    donors, effect = market(3, [0.0] * 6, periods=16).outcome, np.r_[np.zeros(13), 1.0, -2.0, 4.0]
    mean = np.array([0.5, 0.3, 0.2, 0, 0, 0])
    result = synthetic_control(
        Panel.from_matrix(np.vstack([mean @ donors + effect, donors]), treated_from=[14] + [0] * 6)
    )
    # The ridge of 1e-6 of the noise moves weights by about its square.
    assert unit_weights(result) == pytest.approx(mean, abs=1e-8)
    assert result.estimate == pytest.approx(effect[13:], abs=1e-8)
    # The ridge of synthetic difference-in-differences does move weights; where all share a path that changes nothing.
    parallel = donors[0] + np.arange(6.0)[:, None]
    found = synthetic(Panel.from_matrix(np.vstack([donors[0] + effect, parallel]), treated_from=[14] + [0] * 6))
    assert found.estimate == pytest.approx(effect[13:], abs=1e-9)
    assert found.details["fit"]["pre_period_error"][0] == pytest.approx(0, abs=1e-9)


@BOTH
@pytest.mark.parametrize("starts", [ONE, THREE, STAGGERED])
def test_names_and_order_of_groups_do_not_matter(method: Any, starts: list[float]) -> None:
    panel = market(5, starts)
    order = RNG(6).permutation(len(starts))
    turned = Panel.from_matrix(
        panel.outcome[order], treated_from=np.array(starts)[order], units=[f"g{i:02d}" for i in order]
    )
    compared(method(panel), method(turned))
    first, second = (method(one).details["unit_weights"] for one in (panel, turned))
    named = first.assign(group="g" + first["group"].astype(str).str.zfill(2)).merge(second, on=["cohort", "group"])
    assert len(named) == len(first)
    np.testing.assert_allclose(named["weight_x"], named["weight_y"], atol=1e-9)


@BOTH
@given(seed=st.integers(0, 1000), factor=st.sampled_from([-2.5, 1e-4, 7.0, 1e6]))
@quick
def test_another_unit_of_the_outcome_scales_the_effect(method: Any, seed: int, factor: float) -> None:
    panel = market(seed, ONE)
    first, second = method(panel), method(replace(panel, outcome=factor * panel.outcome))
    np.testing.assert_allclose(unit_weights(first), unit_weights(second), atol=1e-9)
    np.testing.assert_allclose(second.estimate, factor * first.estimate, atol=1e-9 * abs(factor))
    np.testing.assert_allclose(second.std_error, abs(factor) * first.std_error, atol=1e-9 * abs(factor))


@given(seed=st.integers(0, 1000), starts=st.sampled_from([ONE, THREE, STAGGERED]))
@quick
def test_levels_of_groups_leave_synthetic_differences_alone(seed: int, starts: list[float]) -> None:
    panel = market(seed, starts)
    raised = replace(panel, outcome=panel.outcome + 10 * RNG(seed).normal(size=(len(starts), 1)))
    compared(synthetic(panel), synthetic(raised))


@BOTH
@given(seed=st.integers(0, 1000))
@quick
def test_a_path_common_to_all_groups_leaves_the_points_alone(method: Any, seed: int) -> None:
    panel = market(seed, ONE)
    # The noise level, and with it the ridge, sees a common path unless it is a constant step.
    moved = panel.outcome + (10 * np.arange(14) if method is synthetic else 10 * RNG(seed).normal(size=14))
    first, second = method(panel), method(replace(panel, outcome=moved))
    # In synthetic control the ridge is 1e-12 of the fit, and what it moves is below 1e-7.
    np.testing.assert_allclose(first.estimate, second.estimate, atol=1e-9 if method is synthetic else 1e-6)


@BOTH
def test_the_effect_is_what_treated_and_synthetic_differ_by(method: Any) -> None:
    result = method(market(8, THREE, effect=1.0))
    paths = result.details["paths"].assign(gap=lambda rows: rows["treated"] - rows["synthetic"])
    np.testing.assert_allclose(paths["gap"][paths["period"] >= 10], result.estimate, atol=1e-12)
    before = paths["gap"][:9]
    error = before.std(ddof=0) if method is synthetic else np.sqrt((before**2).mean())
    assert result.details["fit"]["pre_period_error"][0] == pytest.approx(error, rel=1e-9)
    times = result.details["time_weights"]["weight"].to_numpy()
    assert times @ paths["gap"][:9] == pytest.approx(0, abs=1e-12)
    assert times.sum() == pytest.approx(float(method is synthetic), abs=1e-12)
    assert result.glance()["estimate"][0] == pytest.approx(result.estimate.mean())
    assert result.n_units.tolist() == [3] * 5
    assert result.clusters == (3, 9)


@BOTH
def test_several_starts_are_fitted_one_by_one_and_averaged(method: Any) -> None:
    panel = market(9, STAGGERED, effect=0.5)
    early, late = (
        method(
            Panel.from_matrix(panel.outcome[[*rows, *range(3, 9)]], treated_from=[at] * len(rows) + [0.0] * 6)
        ).estimate
        for rows, at in (((0, 1), 8.0), ((2,), 11.0))
    )
    result = method(panel)
    both = np.r_[early[:3], (2 * early[3:] + late) / 3]
    np.testing.assert_allclose(result.estimate, both, atol=1e-12)
    assert result.average[0] == pytest.approx((2 * early.sum() + late.sum()) / (2 * 7 + 4), abs=1e-12)
    assert result.tidy()["period"].tolist() == list(range(8, 15))
    assert result.n_units.tolist() == [2] * 3 + [3] * 4
    assert result.details["fit"]["cohort"].tolist() == [8, 11]
    assert len(result.details["placebo"]) == 1 + len(set(permutations([8, 8, 11, 0, 0, 0])))


@BOTH
def test_placebos_are_all_other_ways_one_by_one(method: Any) -> None:
    panel = market(10, [10.0] * 2 + [0.0] * 6)
    result, donors = method(panel), panel.outcome[2:]
    drawn = [
        method(Panel.from_matrix(donors, treated_from=np.where(np.isin(range(6), pair), 10.0, 0.0))).estimate
        for pair in [(i, j) for i in range(6) for j in range(i)]
    ]
    np.testing.assert_allclose(result.covariance, np.cov(np.transpose(drawn), bias=True), atol=1e-12)
    average = np.mean(drawn, axis=1)
    assert result.average[1] == pytest.approx(average.std(), rel=1e-9)
    np.testing.assert_allclose(np.sort(result.details["placebo"]["statistic"][1:]), np.sort(average), atol=1e-12)
    top, rows = result.glance(0.9).iloc[0], result.tidy()
    assert top["p_value"] == (1 + (np.abs(average) >= abs(result.average[0])).sum()) / 16
    assert top["conf_high"] == pytest.approx(top["estimate"] + norm.ppf(0.95) * average.std())
    assert rows["p_value"].tolist() == ((1 + (np.abs(drawn) >= np.abs(result.estimate)).sum(axis=0)) / 16).tolist()
    assert (rows["band_high"] >= rows["conf_high"]).all()
    assert result.notes == ("placebos: all 15 ways to treat donors instead",)


def test_ties_count_in_the_rank() -> None:
    law = module._Placebo(effects=np.array([[1.0, 3.0], [-2.0, 0.0]]), weights=np.array([0.5, 0.5]))
    assert law.p_value(np.array([1 + 1e-12, -4.0]), np.ones(2)).tolist() == [1, 1 / 3]
    assert law.p_value(np.array([2.0]), np.ones(1)).tolist() == [2 / 3]  # averages 2 and -1


def test_too_many_ways_are_drawn_with_a_seed() -> None:
    panel = market(11, [10.0] * 4 + [0.0] * 16)  # 1,820 ways
    first, again, other = (synthetic(panel, seed=seed) for seed in (1, 1, 2))
    assert first.notes == ("placebos: a seeded sample of 1,000 of 1,820 ways to treat donors instead",)
    assert first.average == again.average
    assert first.average[1] != other.average[1]
    # Two samples of 1,000: four standard errors of their spreads' ratio are 4 / sqrt(1,000).
    assert first.average[1] == pytest.approx(other.average[1], rel=0.13)


@BOTH
def test_too_few_donors_leave_no_standard_error_and_say_so(method: Any) -> None:
    result = method(market(12, [10.0] * 3 + [0.0] * 4))
    assert result.notes == (
        "no standard error: 4 groups never treated cannot stand in for 3 treated with two left over",
    )
    assert result.tidy()[["std_error", "conf_low", "conf_high", "p_value"]].isna().all(axis=None)
    assert np.isfinite(result.estimate).all()
    assert result.glance()["p_value"].isna().all()


def test_a_category_is_one_group() -> None:
    panel = market(13, THREE)
    sizes = RNG(13).integers(1, 6, size=12)
    category = np.repeat([f"c{i:02d}" for i in range(12)], sizes)
    own = RNG(14).normal(size=(sizes.sum(), 14))
    own -= np.array([own[category == name].mean(axis=0) for name in np.unique(category)]).repeat(sizes, axis=0)
    inside = Panel.from_matrix(
        panel.outcome.repeat(sizes, axis=0) + own, treated_from=np.repeat(THREE, sizes), category=category
    )
    result = synthetic(inside)
    compared(synthetic(panel), result)
    assert (result.assigned_at, result.clusters) == ("category", (3, 9))
    assert result.n_units.tolist() == [sizes[:3].sum()] * 5
    assert result.details["unit_weights"]["group"].tolist() == [f"c{i:02d}" for i in range(3, 12)]


@BOTH
def test_donors_that_stand_still_share_the_weight(method: Any) -> None:
    y = np.vstack([[1.0, 1.0, 1.0, 3.0], np.zeros((4, 4))])
    result = method(Panel.from_matrix(y, treated_from=[4, 0, 0, 0, 0]))
    # Without noise the ridge is as small as rounding lets it be, whose root is 1.5e-8.
    assert unit_weights(result) == pytest.approx([0.25] * 4, abs=1e-7)
    assert result.estimate.tolist() == pytest.approx([2.0 if method is synthetic else 3.0])
    assert np.isnan(result.std_error).all(), "placebos that all are 0 measure no chance"


def test_false_alarms_where_nothing_happened() -> None:
    """One treated of ten, drawn alike: its rank is uniform, so p is at most 1/5 two times in ten."""
    p = np.array([synthetic(market(seed, ONE)).glance()["p_value"][0] for seed in range(100)])
    # Three binomial standard errors of 100 draws.
    assert np.mean(p <= 0.2 + 1e-9) == pytest.approx(0.2, abs=3 * np.sqrt(0.16 / 100))
    assert p.min() == pytest.approx(1 / 10)


REFUSED = {
    "none treated": (lambda: market(1, [0.0] * 5), "no group is treated"),
    "one donor": (lambda: market(1, [10.0, 10.0, 0.0]), "at least 2 groups never treated, and there are 1"),
    "one period before": (lambda: market(1, [2.0, 0, 0, 0]), r"cohort 2 has fewer than 2.*untreated_at_first\(2\)"),
    "many donors": (
        lambda: Panel.from_matrix(np.zeros((1002, 4)), treated_from=[3] + [0] * 1001),
        "1,001 groups are never treated.*at most 1,000; aggregate to categories",
    ),
    "unbalanced": (
        lambda: Panel.from_matrix(np.where(np.eye(4), np.nan, 1.0), treated_from=[3, 0, 0, 0]),
        "unbalanced.*complete_units",
    ),
    "weight": (lambda: replace(market(1, ONE), weight=np.ones(10)), "make the panel without a weight"),
    "two laws": (lambda: market(1, [2.0, 0.0]), r"breaks 2 laws: \(1\) cohort 2 .* \(2\) a synthetic group"),
}


@BOTH
@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals(method: Any, make: Any, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        method(make())


def test_a_seed_is_a_whole_number() -> None:
    with pytest.raises(ParameterError, match="seed is a whole number, 0 or more, not -1"):
        synthetic(market(1, ONE), seed=-1)
