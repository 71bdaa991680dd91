"""The pilot contrast against scipy, against enumeration by hand, and its error rate where nothing happened."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strategy_kit import did
from strategy_kit.errors import DesignError
from strategy_kit.inference import FREEDOM_CAP, bell_mccaffrey
from strategy_kit.panel import Panel

RNG = np.random.default_rng
THREE = [7.0] * 3 + [0.0] * 9


def pilots(seed: int, starts: list[float] | None = None, periods: int = 12, effect: float = 0.0) -> Panel:
    start = np.array(THREE if starts is None else starts)
    after = (start[:, None] > 0) & (np.arange(1, periods + 1) >= start[:, None])
    return Panel.from_matrix(RNG(seed).normal(size=(len(start), periods)) + effect * after, treated_from=start)


def contrast(y: np.ndarray, start: int) -> np.ndarray:
    """Mean from `start` (counted from 1) on, minus mean before, of each row."""
    return np.array([row[start - 1 :].mean() - row[: start - 1].mean() for row in y])


def row(result: Any, method: str, level: float = 0.95) -> pd.Series:
    return result.tidy(level).set_index("method").loc[method]


@pytest.mark.parametrize(("method", "equal"), [("welch", False), ("pooled", True)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("seed", range(4))
def test_t_intervals_equal_scipy(seed: int, level: float, method: str, equal: bool) -> None:
    panel = pilots(seed, effect=0.4)
    values = contrast(panel.outcome, 7)
    expected = stats.ttest_ind(values[:3], values[3:], equal_var=equal)
    freedom = expected.df if equal else min(expected.df, FREEDOM_CAP * bell_mccaffrey(3, 9))
    result = did.pilot_contrast(panel)
    found = row(result, method, level)
    difference = values[:3].mean() - values[3:].mean()
    error = difference / expected.statistic
    ends = stats.t.interval(level, freedom, difference, error)
    wanted = [difference, error, *ends, 2 * stats.t.sf(abs(expected.statistic), freedom)]
    # Both invert the same t law; scipy's inverse is good to about 1e-12.
    np.testing.assert_allclose(
        found[["estimate", "std_error", "conf_low", "conf_high", "p_value"]].astype(float), wanted, rtol=1e-9
    )
    law = result.law[["welch", "pooled"].index(method)]
    assert law.degrees_of_freedom == pytest.approx(freedom, rel=1e-12)
    if method == "welch":
        top = result.glance(level).iloc[0]
        np.testing.assert_allclose(
            top[["estimate", "std_error", "conf_low", "conf_high", "p_value"]].astype(float), wanted, rtol=1e-9
        )
        assert top["degrees_of_freedom"] == pytest.approx(freedom, rel=1e-12)


def test_by_hand() -> None:
    # Changes: treated 3 and 5, others 1, 2 and 3. Difference 4 - 2; Welch error sqrt(2/2 + 1/3);
    # pooled variance (2 + 2) / 3, error sqrt(4/3 * (1/2 + 1/3)).
    y = np.array([[0.0, 0, 3, 3], [1, 3, 7, 7], [5, 5, 6, 6], [1, 1, 2, 4], [0, 0, 3, 3]])
    result = did.pilot_contrast(Panel.from_matrix(y, treated_from=[3, 3, 0, 0, 0]))
    rows = result.tidy()
    assert rows["method"].tolist() == ["welch", "pooled", "randomisation"]
    assert rows["estimate"].tolist() == [2, 2, 2]
    assert rows["std_error"].tolist() == pytest.approx([np.sqrt(4 / 3), np.sqrt(10 / 9), np.sqrt(4 / 3)])
    assert result.details["groups"]["contrast"].tolist() == [3, 5, 1, 2, 3]
    # Of the ten pairs {3, 5} has t = 1.73, {5, the other 3} ties with it, {1, 2} is further out (-2.6).
    assert rows["p_value"][2] == pytest.approx(3 / 10)
    assert rows[["band_low", "band_high"]].to_numpy().tolist() == rows[["conf_low", "conf_high"]].to_numpy().tolist()
    assert result.n_units.tolist() == [2, 2, 2]
    assert result.clusters == (2, 3)


def shuffled_p(y: np.ndarray, start: list[float], effect: float = 0.0) -> float:
    """Share of all ways to deal the starts whose Welch statistic is as extreme, one by one with scipy."""
    treated = [int(s) for s in start if s > 0]
    untouched = np.array(y)
    for i, s in enumerate(start):
        if s > 0:
            untouched[i, int(s) - 1 :] -= effect
    by_start = {s: contrast(untouched, s) for s in set(treated)}
    found = []
    for chosen in combinations(range(len(y)), len(treated)):
        for order in set(permutations(treated)):
            rest = [i for i in range(len(y)) if i not in chosen]
            outside = [np.mean([by_start[s][i] for s in treated]) for i in rest]
            common = {s: np.mean([by_start[s][i] for i in rest]) - np.mean(outside) for s in by_start}
            inside = [by_start[s][i] - common[s] for i, s in zip(chosen, order, strict=True)]
            real = all(start[i] == s for i, s in zip(chosen, order, strict=True))
            found.append((real, abs(stats.ttest_ind(inside, outside, equal_var=False).statistic)))
    happened = next(size for real, size in found if real)
    return float(np.mean([size >= happened * (1 - 1e-9) for _, size in found]))


STARTS = [[5.0, 5.0, 5.0, 0, 0, 0, 0], [0, 5.0, 0, 5.0, 0, 0], [4.0, 0, 6.0, 0, 6.0, 0, 0], [3.0, 5.0, 7.0, 0, 0, 0]]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("effect", [0.0, 1.5])
def test_randomisation_equals_enumeration(start: list[float], effect: float) -> None:
    panel = pilots(11, start, 8, effect)
    result = did.pilot_contrast(panel)
    assert row(result, "randomisation")["p_value"] == pytest.approx(shuffled_p(panel.outcome, start), abs=1e-12)
    law = result.law[2]
    assert law.exact
    for shift in (-0.7, 0.3, 1.1):
        assert law.p_value_of(shift) == pytest.approx(shuffled_p(panel.outcome, start, shift), abs=1e-12)


@pytest.mark.parametrize("start", [STARTS[0], STARTS[2], STARTS[3]])
def test_several_starts_take_each_group_at_its_own(start: list[float]) -> None:
    y = pilots(5, start, 8).outcome
    treated = [int(s) for s in start if s > 0]
    rest = [i for i, s in enumerate(start) if not s]
    outside = [np.mean([contrast(y, s)[i] for s in treated]) for i in rest]
    common = {s: np.mean([contrast(y, s)[i] for i in rest]) - np.mean(outside) for s in treated}
    inside = [contrast(y, int(s))[i] - common[int(s)] for i, s in enumerate(start) if s > 0]
    plain = [contrast(y, int(s))[i] for i, s in enumerate(start) if s > 0]
    assert np.mean(inside) == pytest.approx(np.mean(plain))
    expected = stats.ttest_ind(inside, outside, equal_var=False)
    found = row(did.pilot_contrast(Panel.from_matrix(y, treated_from=start)), "welch")
    assert found["estimate"] == pytest.approx(np.mean(inside) - np.mean(outside), rel=1e-12)
    assert found["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("start", STARTS)
def test_what_moves_all_groups_alike_is_no_chance(start: list[float]) -> None:
    """A festival between two starts: common to all, so neither the estimate nor any interval may know of it."""
    quiet = pilots(11, start, 8, 1.0)
    loud = quiet.outcome + np.array([0.0, 0, 0, 9, -7, 5, 0, 3])
    rows, moved = (did.pilot_contrast(Panel.from_matrix(y, treated_from=start)).tidy() for y in (quiet.outcome, loud))
    pd.testing.assert_frame_equal(rows, moved, rtol=1e-8)


@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize(
    ("start", "seed"), [([5.0] * 3 + [0] * 5, 1), ([5.0] * 3 + [0] * 5, 2), ([4.0, 6.0, 6.0, 0, 0, 0, 0], 3)]
)
def test_its_interval_equals_a_slow_grid(start: list[float], seed: int, level: float) -> None:
    result = did.pilot_contrast(pilots(seed, start, 8, 0.5))
    found, law = row(result, "randomisation", level), result.law[2]
    step = found["std_error"] / 200
    for side, end in ((-1, "conf_low"), (1, "conf_high")):
        # From the estimate, where nothing is refused, outwards to the first effect that is.
        away = next(
            k for k in range(1, 20_000) if law.p_value_of(found["estimate"] + side * k * step) <= 1 - level + 1e-12
        )
        assert abs(found[end] - found["estimate"]) == pytest.approx(away * step, abs=1.01 * step)


def test_too_few_assignments_refuse_no_effect() -> None:
    # 2 of 4 gives six assignments and no p below 1/6; 3 of 6 gives twenty, in mirrored pairs, and none below 1/10.
    for start in ([5.0, 5, 0, 0], [5.0, 5, 5, 0, 0, 0]):
        found = row(did.pilot_contrast(pilots(2, start, 8, 50.0)), "randomisation")
        assert found[["conf_low", "conf_high"]].tolist() == [-np.inf, np.inf]
    assert np.isfinite(row(did.pilot_contrast(pilots(2, [5.0, 5, 5, 0, 0, 0], 8)), "randomisation", 0.5)["conf_high"])


def test_merchants_inside_categories_are_averaged_first() -> None:
    rng = RNG(8)
    sizes = rng.integers(1, 9, size=12)
    category = np.repeat([f"c{i:02d}" for i in range(12)], sizes)
    y = rng.normal(size=(len(category), 10))
    start = np.repeat([6.0] * 3 + [0.0] * 9, sizes)
    shuffle = rng.permutation(len(category))
    inside = did.pilot_contrast(Panel.from_matrix(y[shuffle], treated_from=start[shuffle], category=category[shuffle]))
    means = np.array([y[category == name].mean(axis=0) for name in np.unique(category)])
    outside = did.pilot_contrast(Panel.from_matrix(means, treated_from=[6.0] * 3 + [0.0] * 9))
    names = ["estimate", "std_error", "conf_low", "conf_high", "p_value"]
    np.testing.assert_allclose(inside.tidy()[names], outside.tidy()[names], rtol=1e-9)
    assert (inside.assigned_at, outside.assigned_at) == ("category", "merchant")
    assert inside.clusters == outside.clusters == (3, 9)
    assert inside.n_units.tolist() == [sizes[:3].sum()] * 3
    ratio = inside.details["balance"].set_index("measure").loc["size_ratio", "value"]
    assert ratio == pytest.approx(sizes[:3].mean() / sizes[3:].mean(), rel=1e-12)
    assert outside.details["balance"].set_index("measure").loc["size_ratio", "value"] == 1
    assert inside.details["groups"]["group"].tolist() == np.unique(category).tolist()


def test_units_without_a_category_are_a_group_of_their_own() -> None:
    y, start = RNG(3).normal(size=(8, 6)), [4.0] * 4 + [0.0] * 4
    named = Panel.from_matrix(y, treated_from=start, category=["a", "a", "b", "b", "c", "c", "z", "z"])
    unnamed = Panel.from_matrix(y, treated_from=start, category=["a", "a", "b", "b", "c", "c", None, None])
    assert did.pilot_contrast(unnamed).tidy().equals(did.pilot_contrast(named).tidy())


def test_a_start_that_differs_within_a_category_makes_units_the_groups() -> None:
    panel = Panel.from_matrix(RNG(1).normal(size=(6, 6)), treated_from=[4, 4, 0, 0, 4, 0], category=list("aabbcc"))
    assert did.pilot_contrast(panel).clusters == (3, 3)


def test_balance_and_placebo() -> None:
    panel = pilots(6)
    noisy = Panel.from_matrix(np.r_[3 * panel.outcome[:3], panel.outcome[3:]], treated_from=THREE)
    details = did.pilot_contrast(noisy).details
    measures = details["balance"].set_index("measure")["value"]
    assert measures[["smallest_p_value", "assignments", "exact"]].tolist() == [1 / 220, 220, 1]
    past = noisy.outcome[:, :6] - noisy.outcome[:, :6].mean(axis=0)
    spread = (past - past.mean(axis=1, keepdims=True)).std(axis=1)
    assert measures["volatility_ratio"] == pytest.approx(spread[:3].mean() / spread[3:].mean(), rel=1e-9)
    values = contrast(noisy.outcome, 7)
    every = [values[list(c)].mean() - np.delete(values, c).mean() for c in combinations(range(12), 3)]
    found = details["placebo"]["statistic"]
    assert found[0] == pytest.approx(every[0])
    assert np.sort(found) == pytest.approx(np.sort(every))


def test_too_many_ways_are_drawn_with_a_seed() -> None:
    panel = pilots(9, [7.0] * 8 + [0.0] * 12)  # 125,970 ways
    first, again, other = (did.pilot_contrast(panel, seed=s) for s in (1, 1, 2))
    laws = [result.law[2] for result in (first, again, other)]
    assert not laws[0].exact
    assert laws[0].count == pytest.approx(10_000, abs=10)  # less the few that repeat the real one
    p = [law.p_value_of(0.0) for law in laws]
    assert p[0] == p[1] != p[2]
    # Two samples of 10,000: four standard errors of their difference at p = 1/2 are 0.029.
    assert p[0] == pytest.approx(p[2], abs=0.029)


REFUSED = {
    "one treated": (lambda: pilots(1, [5.0] + [0.0] * 5), "1 are treated and 5 are not"),
    "one comparison": (lambda: pilots(1, [5.0] * 5 + [0.0]), "5 are treated and 1 are not"),
    "none treated": (lambda: pilots(1, [0.0] * 5), "0 are treated and 5 are not"),
    "no period before": (lambda: pilots(1, [1.0, 1.0, 0, 0]), "no period lies before 1"),
    "no change": (lambda: Panel.from_matrix(np.zeros((4, 4)), treated_from=[3, 3, 0, 0]), "exactly the same amount"),
    "unbalanced": (
        lambda: Panel.from_matrix(np.where(np.eye(4), np.nan, 1.0), treated_from=[3, 3, 0, 0]),
        "unbalanced.*complete_units",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(DesignError, match=words):
        did.pilot_contrast(make())


def shocks(rng: np.random.Generator, periods: int, correlation: float) -> np.ndarray:
    path = np.empty((12, periods))
    path[:, 0] = rng.normal(size=12)
    fresh = rng.normal(size=(12, periods)) * np.sqrt(1 - correlation**2)
    for t in range(1, periods):
        path[:, t] = correlation * path[:, t - 1] + fresh[:, t]
    return 0.06 * path


def test_false_alarms_where_nothing_happened() -> None:
    """AR(1) category shocks of 6%, 13 weeks before and after, 3 of 12 categories, 40 merchants each: no effect.

    Their noise of 10% weighs as little as that of 30% among the 360 merchants of a real category.
    """
    rng, category = RNG(2025), np.repeat(np.arange(12), 40)
    start = np.where(category < 3, 14, 0)
    draws, wrong = 400, {"welch": 0, "merchant": 0}
    for _ in range(draws):
        y = shocks(rng, 26, 0.6)[category] + rng.normal(scale=0.1, size=(480, 26))
        panel = Panel.from_matrix(y, treated_from=start, category=category)
        wrong["welch"] += did.pilot_contrast(panel).glance()["p_value"][0] < 0.05
        # Hiding the category is the mistake that the panel refuses: the error is then clustered by merchant.
        value, error = did.group_time(Panel.from_matrix(y, treated_from=start)).average
        wrong["merchant"] += abs(value / error) > 1.96
    # 5.9% in 6,000 runs of this design; three binomial standard errors of 400 draws are 3.5 points.
    margin = 3 * np.sqrt(0.059 * 0.941 / draws)
    assert 0.059 - margin <= wrong["welch"] / draws <= 0.059 + margin
    assert wrong["merchant"] / draws > 0.30
