"""Effects category by category: by hand, against slow sums and a simulated prior, and how often intervals hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from strategy_kit import pooling
from strategy_kit.did.categories import _effective, category_effects, shrunken_together
from strategy_kit.did.groups import by_group, leave_one_out
from strategy_kit.did.pilot import pilot_contrast
from strategy_kit.did.stratified import within_categories
from strategy_kit.did.triple import eligible_gap
from strategy_kit.errors import DesignError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng
THREE = [7.0] * 3 + [0.0] * 9
steady = settings(deadline=None, derandomize=True, database=None, max_examples=25)


def pilots(seed: int, starts: list[float], periods: int = 12, effect: float = 0.0) -> Panel:
    start = np.array(starts)
    after = (start[:, None] > 0) & (np.arange(1, periods + 1) >= start[:, None])
    return Panel.from_matrix(RNG(seed).normal(size=(len(start), periods)) + effect * after, treated_from=start)


def change(y: np.ndarray, start: float) -> np.ndarray:
    return np.array([row[int(start) - 1 :].mean() - row[: int(start) - 1].mean() for row in y])


def test_by_hand() -> None:
    # Others change by 0, 1 and 2, variance 1; the mean of the others before is 1 and 1.
    y = np.array([[1.0, 5, 8, 8], [1, 3, 9, 9], [0, 2, 1, 1], [2, 0, 2, 2], [1, 1, 3, 3]])
    result = category_effects(Panel.from_matrix(y, treated_from=[3, 3, 0, 0, 0], units=list("abcde")))
    assert result.labels["group"].tolist() == ["a", "b"]
    assert result.estimate.tolist() == [5 - 1, 7 - 1]
    # Before, others move by 2, -2 and 0, around 0: variance over two periods 2, 2, 0, with two of three free: mean 2.
    # The gaps of a and b to their mean move by 4 and 2: variances 8 and 2, ratios 4 and 1, of a gap to m = 3 others.
    np.testing.assert_allclose(result.covariance, [[4.0, 1 / 3], [1 / 3, 1.0]])
    ranks = result.details["ranks"].set_index("group")
    assert ranks["volatility_ratio"].tolist() == pytest.approx([np.sqrt(4 - 1 / 3), np.sqrt(1 - 1 / 3)])
    assert ranks[["among", "smallest_p_value"]].to_numpy().tolist() == [[4, 0.25]] * 2
    # The degrees of freedom of two periods before are 1: 1 / (1/2 + 1 + 1/2) for each row.
    assert result.law.degrees_of_freedom.tolist() == pytest.approx([0.5, 0.5])
    assert result.average[0] == 5
    assert result.average[1] == pytest.approx(np.sqrt((4 + 1 + 2 / 3) / 4))


@pytest.mark.parametrize("start", [THREE, [5.0, 7, 0, 0, 0, 0], [5.0, 5, 8, 0, 0, 0, 0, 0]])
def test_it_equals_slow_sums(start: list[float]) -> None:
    panel = pilots(3, start)
    y, first = panel.outcome, int(min(s for s in start if s))
    others = [i for i, s in enumerate(start) if not s]
    m, result = len(others), category_effects(panel)
    past = y[:, : first - 1]
    centre = past[others].mean(axis=0)
    noise = np.mean([np.var(past[i] - centre, ddof=1) for i in others]) * m / (m - 1)
    rows = [(i, s) for i, s in enumerate(start) if s]
    for k, (i, s) in enumerate(rows):
        assert result.estimate[k] == pytest.approx(change(y, s)[i] - change(y, s)[others].mean())
        ratio = np.var(past[i] - centre, ddof=1) / noise
        spread = change(y, s)[others].var(ddof=1)
        assert result.std_error[k] == pytest.approx(np.sqrt(spread * (max(ratio - 1 / m, ratio / 2) + 1 / m)))
        for j, (_, t) in enumerate(rows):
            if j != k:
                shared = np.cov(change(y, s)[others], change(y, t)[others])[0, 1] / m
                assert result.covariance[k, j] == pytest.approx(shared)
    assert result.average[0] == pytest.approx(pilot_contrast(panel).average[0])
    assert result.average[1] == pytest.approx(np.sqrt(result.covariance.mean()))


def test_the_rank_is_counted_by_hand() -> None:
    panel = pilots(8, THREE, effect=1.0)
    result = category_effects(panel)
    others = list(range(3, 12))
    for k in range(3):
        sizes = []
        for i in [k, *others]:
            rest = [j for j in [k, *others] if j != i]
            gap = panel.outcome[i] - panel.outcome[rest].mean(axis=0)
            sizes.append(abs(gap[6:].mean() - gap[:6].mean()) / gap[:6].std())
        found = result.details["ranks"].iloc[k]
        assert found["rank"] == sum(size >= sizes[0] * (1 - 1e-9) for size in sizes)
        assert found["p_value"] == found["rank"] / 10
        shown = result.details["placebo"][result.details["placebo"]["group"] == k]
        assert shown["compared"].tolist() == [k, *others]
        assert shown["gap"].iloc[0] == pytest.approx(result.estimate[k])
        # In units of the deviation from all ten, which is 9/10 of that from the other nine, above and below the line.
        np.testing.assert_allclose(
            shown["statistic"] / shown["statistic"].iloc[0], np.array(sizes) / sizes[0], rtol=1e-9
        )


def test_one_pilot_has_an_interval() -> None:
    result = category_effects(pilots(2, [7.0] + [0.0] * 8))
    assert np.isfinite(result.tidy()[["conf_low", "band_high", "p_value"]]).all(axis=None)
    assert "shrunken" not in result.details
    assert "nothing is shrunken: 1 groups" in result.notes[-1]
    top, row = result.glance().iloc[0], result.tidy().iloc[0]
    for name in ("estimate", "std_error", "conf_low", "p_value"):
        assert top[name] == pytest.approx(row[name], rel=1e-12)


def test_one_period_before_takes_a_group_to_be_as_volatile_as_the_others() -> None:
    panel = pilots(2, [2.0] * 3 + [0.0] * 8, 6)
    result = category_effects(panel)
    spread = change(panel.outcome, 2.0)[3:].var(ddof=1)
    assert result.std_error.tolist() == pytest.approx([np.sqrt(spread * (1 + 1 / 8))] * 3)
    assert result.law.degrees_of_freedom.tolist() == pytest.approx([7.0] * 3)
    assert "as volatile as the others" in " ".join(result.notes)
    assert result.details["ranks"]["volatility_ratio"].tolist() == pytest.approx([1.0] * 3)


def test_its_band_is_bonferronis() -> None:
    result = category_effects(pilots(1, THREE))
    np.testing.assert_allclose(
        result.tidy(0.94)[["band_low", "band_high"]], result.tidy(0.98)[["conf_low", "conf_high"]]
    )


def test_merchants_are_averaged_and_counted() -> None:
    panel, rng = pilots(5, THREE), RNG(6)
    noise = rng.normal(size=(12, 12))
    y = np.concatenate([panel.outcome + noise, panel.outcome - noise, panel.outcome[:1]])
    merchants = Panel.from_matrix(y, treated_from=[*THREE, *THREE, 7.0], category=[*range(12), *range(12), 0])
    result, other = category_effects(merchants), category_effects(panel)
    names = ["group", "estimate", "std_error", "p_value"]
    pd.testing.assert_frame_equal(result.tidy()[names], other.tidy()[names])
    assert result.n_units.tolist() == [3, 2, 2]
    assert (result.assigned_at, result.clusters) == ("category", (3, 9))


def test_it_takes_the_gap_of_eligible_merchants() -> None:
    rng, category = RNG(9), np.repeat(np.arange(12), 4)
    panel = Panel.from_matrix(
        rng.normal(size=(48, 12)), treated_from=np.where(category < 3, 7.0, 0.0), category=category
    )
    gap = eligible_gap(panel, np.tile([True, False, True, False], 12))
    assert (gap.assigned_at, len(category_effects(gap).labels)) == ("category", 3)


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3]))
@steady
def test_shocks_of_all_levels_of_groups_and_units_of_money(seed: int, treated: int) -> None:
    start = [7.0] * treated + [0.0] * 7
    panel, rng = pilots(seed, start), RNG(seed)
    order = rng.permutation(len(start))
    moved = panel.outcome * 3 + rng.normal(size=12) + rng.normal(size=(len(start), 1))
    other = category_effects(Panel.from_matrix(moved[order], treated_from=np.array(start)[order], units=order))
    one, two = category_effects(panel), other.tidy().set_index("group").loc[list(range(treated))]
    np.testing.assert_allclose(two[["estimate", "std_error"]] / 3, one.tidy()[["estimate", "std_error"]], rtol=1e-7)
    np.testing.assert_allclose(two["p_value"], one.tidy()["p_value"], rtol=1e-7)
    ranks = other.details["ranks"].set_index("group").loc[list(range(treated)), "rank"]
    assert ranks.tolist() == one.details["ranks"]["rank"].tolist()


# Shrunken together


def test_without_shared_noise_it_is_the_pooling() -> None:
    value, variance = np.array([1.0, 3.0, 2.0, 7.0]), np.array([0.5, 1.0, 2.0, 1.5])
    known = pooling.posterior(value, variance)
    for found, expected in zip(
        shrunken_together(value, np.diag(variance)), pooling.shrunken(value, variance, known), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_noise_that_all_share_widens_and_does_not_pull() -> None:
    value, variance = np.array([1.0, 3.0, 2.0, 7.0]), np.array([0.5, 1.0, 2.0, 1.5])
    alone = shrunken_together(value, np.diag(variance))
    both = shrunken_together(value, np.diag(variance) + 0.7)
    # With a flat prior on the mean, shared noise is a part of it; the grids of the two differ, hence not to rounding.
    np.testing.assert_allclose(both[0], alone[0], rtol=1e-3)
    np.testing.assert_allclose(both[1] ** 2, alone[1] ** 2 + 0.7, rtol=1e-3)


def test_shrinking_equals_quadrature() -> None:
    rng = RNG(4)
    value, root = np.array([0.0, 2.0, 1.0, 4.0]), rng.normal(size=(4, 4))
    covariance = root @ root.T / 4 + np.eye(4)

    def at(tau: float) -> tuple[float, np.ndarray, np.ndarray]:
        inverse = np.linalg.inv(covariance + tau**2 * np.eye(4))
        precision = inverse.sum()
        mean = inverse.sum(axis=0) @ value / precision
        away = value - mean
        chance = np.sqrt(np.linalg.det(inverse) / precision) * np.exp(-away @ inverse @ away / 2)
        pulled = covariance @ inverse
        centre = value - pulled @ away
        spread = np.diag(covariance - pulled @ covariance) + pulled.sum(axis=1) ** 2 / precision
        return chance, centre, spread + centre**2

    def over(pick: Callable[[tuple[float, np.ndarray, np.ndarray]], np.ndarray]) -> Any:
        return integrate.quad_vec(lambda u: pick(at(u / (1 - u))) / (1 - u) ** 2, 0, 1, epsrel=1e-8)[0]

    whole = over(lambda point: np.array(point[0]))
    centre = over(lambda point: point[0] * point[1]) / whole
    spread = over(lambda point: point[0] * point[2]) / whole - centre**2
    found = shrunken_together(value, covariance)
    np.testing.assert_allclose(found[0], centre, atol=1e-3)
    np.testing.assert_allclose(found[1], np.sqrt(spread), rtol=1e-3)


# Degrees of freedom


def test_periods_that_hang_together_count_for_less() -> None:
    rng = RNG(2)
    for correlation in (0.0, 0.7):
        truth = correlation ** np.abs(np.subtract.outer(np.arange(13), np.arange(13)))
        centring = np.eye(13) - 1 / 13
        truth = centring @ truth @ centring
        known = np.trace(truth) ** 2 / np.trace(truth @ truth)
        draws = rng.multivariate_normal(np.zeros(13), truth, size=400, method="eigh")
        moments = draws.T @ draws / 400
        found = _effective(np.trace(moments) ** 2, (moments**2).sum(), 400, 12)
        # 400 draws estimate each entry of the covariance to a twentieth.
        assert found == pytest.approx(known, rel=0.1)
        few = [draws[k : k + 8].T @ draws[k : k + 8] / 8 for k in range(0, 400, 8)]
        ratio = [np.trace(s) ** 2 / (s**2).sum() for s in few]
        ours = [_effective(np.trace(s) ** 2, (s**2).sum(), 8, 12) for s in few]
        assert abs(np.median(ours) - known) < abs(np.median(ratio) - known)


def test_degrees_of_freedom_stay_within_their_bounds() -> None:
    assert _effective(1.0, 1.0, 1, 12) == 1.0
    assert _effective(4.0, 0.5, 8, 12) == 12.0
    assert _effective(1.0, 1.0, 8, 12) == 1.0


# Without each category in turn


def test_leaving_out_each_category_of_merchants() -> None:
    rng, category = RNG(3), np.repeat([f"c{i:02d}" for i in range(10)], 5)
    start = np.where(np.isin(category, ["c00", "c01", "c02"]), 5.0, 0.0)
    panel = Panel.from_matrix(rng.normal(size=(50, 8)), treated_from=start, category=category)
    result = leave_one_out(panel, panel.category, pilot_contrast)
    assert result.labels["left_out"].tolist() == sorted(set(category))
    assert result.assigned_at == "category"
    for row in result.tidy().itertuples():
        alone = pilot_contrast(panel.only(category != row.left_out)).glance().iloc[0]
        assert (row.estimate, row.std_error) == (alone["estimate"], alone["std_error"])
        # Intervals are Welch's with each row's own degrees of freedom.
        assert (row.conf_low, row.conf_high, row.p_value) == (alone["conf_low"], alone["conf_high"], alone["p_value"])
    shift = result.details["whole"]["shift"]
    np.testing.assert_allclose(shift, result.estimate - pilot_contrast(panel).average[0])
    assert result.glance()["p_value"][0] == pytest.approx(pilot_contrast(panel).glance()["p_value"][0])


def test_leaving_out_each_category_that_is_a_unit() -> None:
    names = [f"c{i:02d}" for i in range(9)]
    panel = Panel.from_matrix(RNG(3).normal(size=(9, 8)), treated_from=[5.0] * 2 + [0.0] * 7, units=names)
    result = leave_one_out(panel, pd.Series(names, index=names), pilot_contrast)
    # Without one of two pilots there is no interval: no row, and the notes say why.
    assert result.labels["left_out"].tolist() == names[2:]
    assert sum("no row for left out c0" in note and "1 are treated" in note for note in result.notes) == 2
    one_by_one = leave_one_out(panel, pd.Series(names, index=names), category_effects)
    assert one_by_one.labels["left_out"].tolist() == names
    found = one_by_one.tidy().iloc[0]
    alone = category_effects(panel.only(np.arange(9) != 0)).glance().iloc[0]
    assert found[["conf_low", "conf_high", "p_value"]].tolist() == alone[["conf_low", "conf_high", "p_value"]].tolist()


def test_groups_with_degrees_of_freedom_of_their_own_are_averaged() -> None:
    rng, category = RNG(3), np.repeat(["a", "b"], [9, 12])
    start = np.where(np.r_[np.arange(9) < 4, np.arange(12) < 3], 5.0, 0.0)
    panel = Panel.from_matrix(rng.normal(size=(21, 8)), treated_from=start, category=category)
    result = by_group(replace(panel, category=None), panel.category, pilot_contrast)
    inside = within_categories(panel).glance().iloc[0]
    found = result.glance().iloc[0]
    assert found[["estimate", "std_error"]].tolist() == pytest.approx(inside[["estimate", "std_error"]].tolist())
    # Satterthwaite's of the rows' own; and bands that are Bonferroni's.
    rows = [pilot_contrast(panel.only(category == name)).law[0].degrees_of_freedom for name in "ab"]
    part = np.array([4 / 7, 3 / 7]) ** 2 * result.std_error**2
    assert found["degrees_of_freedom"] == pytest.approx(part.sum() ** 2 / (part**2 / rows).sum())
    np.testing.assert_allclose(result.tidy(0.9)["band_high"], result.tidy(0.95)["conf_high"])


def shocks(rng: np.random.Generator, groups: int, periods: int, correlation: float) -> np.ndarray:
    path = np.empty((groups, periods))
    path[:, 0] = rng.normal(size=groups)
    fresh = rng.normal(size=(groups, periods)) * np.sqrt(1 - correlation**2)
    for t in range(1, periods):
        path[:, t] = correlation * path[:, t - 1] + fresh[:, t]
    return path


@pytest.mark.parametrize("volatile", [0.5, 1.0, 3.0])
def test_how_often_intervals_hold(volatile: float) -> None:
    """AR(1) shocks, 13 periods before and after, 3 of 12 groups with effects 1 to 3, calmer or more volatile than others."""
    rng, draws, missed, together, plain = RNG(13), 300, 0.0, 0.0, 0.0
    truth = np.array([1.0, 2.0, 3.0])
    for _ in range(draws):
        y = shocks(rng, 12, 26, 0.6)
        y[:3] *= volatile
        y[:3, 13:] += truth[:, None]
        result = category_effects(Panel.from_matrix(y, treated_from=[14] * 3 + [0] * 9))
        rows = result.tidy()
        missed += np.mean((rows["conf_low"] > truth) | (rows["conf_high"] < truth))
        together += ((rows["band_low"] > truth) | (rows["band_high"] < truth)).any()
        away = np.abs(result.estimate - truth)
        spread = change(y, 14)[3:].std(ddof=1) * np.sqrt(1 + 1 / 9)
        plain += np.mean(away > stats.t.isf(0.025, 8) * spread)
    # Rows of a draw share the others, so three binomial standard errors of the draws alone.
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    assert missed / draws <= most
    assert together / draws <= most
    # What the others' spread alone, without the category's own past, would say.
    if volatile != 1:
        assert plain / draws > 0.3 if volatile > 1 else plain / draws < 0.02


REFUSED: dict[str, tuple[Callable[[], Panel], str]] = {
    "none treated": (lambda: pilots(1, [0.0] * 5), "no group is treated"),
    "one other": (lambda: pilots(1, [5.0, 5, 0]), "at least 2 others, but there are 1"),
    "no period before": (lambda: pilots(1, [1.0, 0, 0, 0]), "no period lies before"),
    "both": (lambda: pilots(1, [1.0, 0]), "breaks 2 laws"),
    "others alike": (
        lambda: Panel.from_matrix(np.r_[RNG(1).normal(size=(2, 6)), np.ones((3, 6))], treated_from=[3, 3, 0, 0, 0]),
        "the other groups all changed by exactly the same amount",
    ),
    "merchant by merchant": (
        lambda: Panel.from_matrix(RNG(1).normal(size=(6, 6)), treated_from=[4, 0, 0, 4, 0, 0], category=list("aaabbb")),
        "within_categories, or by_group",
    ),
    "unbalanced": (
        lambda: Panel.from_matrix(np.where(np.eye(4), np.nan, 1.0), treated_from=[3, 3, 0, 0]),
        "unbalanced",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(DesignError, match=words):
        category_effects(make())


def test_calm_pilots_are_not_tied() -> None:
    # What they move by themselves is less than a share of the others' mean does: each keeps a noise of its own.
    y = np.random.default_rng(2).normal(size=(8, 20))
    y[:3, :12] = y[3:, :12].mean(axis=0) + 1e-3 * y[:3, :12]
    result = category_effects(Panel.from_matrix(y, treated_from=[13.0] * 3 + [0.0] * 5))
    correlation = result.covariance / np.outer(result.std_error, result.std_error)
    assert (correlation[np.triu_indices(3, 1)] < 1).all()
