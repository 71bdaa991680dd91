"""Groups against the estimator alone, pooling against statsmodels and quadrature, and how often intervals hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.meta_analysis import combine_effects

from strategy_kit import did
from strategy_kit.did.groups import _pooled, by_group, leave_one_out
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel
from strategy_kit.pooling import heterogeneity, posterior, predicted, shrunken, spread_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates

RNG = np.random.default_rng
BANDS = ["large", "middle", "new", "small"]
steady = settings(deadline=None, derandomize=True, database=None, max_examples=50)


def market(seed: int = 1, copies: int = 40) -> tuple[Panel, pd.Series]:
    """Six periods, starts in 3 and 5, four bands with effects 0, 1, 2 and 3."""
    rng, start = RNG(seed), np.array([3, 5, 0, 0] * copies)
    band = rng.integers(0, 4, len(start))
    after = (start[:, None] > 0) & (np.arange(1, 7) >= start[:, None])
    y = rng.normal(size=(len(start), 1)) + after * band[:, None] + rng.normal(size=(len(start), 6))
    return Panel.from_matrix(y, treated_from=start), pd.Series(np.array(BANDS)[band])


def whole(panel: Panel) -> Estimates:
    return did.overall(did.group_time(panel, control="not_yet"))


def rows(value: np.ndarray, error: np.ndarray) -> Estimates:
    """Groups with these estimates and errors."""
    labels = pd.DataFrame({"group": np.arange(len(value))})
    return replace(whole(market()[0]), labels=labels, estimate=value, spread=np.diag(error**2))


def test_each_row_is_the_estimate_of_the_group_alone() -> None:
    panel, band = market()
    result = by_group(panel, band, whole)
    assert result.labels["group"].tolist() == BANDS
    for row in result.tidy().itertuples():
        alone = whole(panel.only((band == row.group).to_numpy()))
        assert (row.estimate, row.std_error, row.n_units) == (*alone.average, alone.clusters[0])
    assert result.covariance[~np.eye(4, dtype=bool)].tolist() == [0] * 12
    share = result.n_units / result.n_units.sum()
    assert result.average[0] == pytest.approx(share @ result.estimate)
    assert result.average[1] == pytest.approx(np.sqrt((share**2) @ result.std_error**2))
    assert result.clusters == (80, 80)
    assert result.details["shrunken"]["group"].tolist() == BANDS


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("tau", [0.0, 0.5, 3.0])
def test_pooling_equals_statsmodels(seed: int, tau: float) -> None:
    rng = RNG(seed)
    error = rng.uniform(0.2, 1.5, 7)
    value = 2 + tau * rng.normal(size=7) + error * rng.normal(size=7)
    details, _ = _pooled(rows(value, error))
    found = details["pooled"].iloc[0]
    expected = combine_effects(value, error**2, method_re="iterated", atol=1e-9, maxiter=1000)
    # statsmodels stops at 1e-9 of the equation for tau²; where its last step rounds to beyond the root, as with seed 1,
    # it gives 0, and the next test holds the equation itself.
    near: dict[str, Any] = {"rel": 1e-7, "abs": 1e-9}
    assert found["tau"] ** 2 == pytest.approx(max(expected.tau2, 0.0), **near)
    assert found["heterogeneity"] == pytest.approx(expected.q, rel=1e-12)
    assert found["heterogeneity_share"] == pytest.approx(max(expected.i2, 0.0), rel=1e-12)
    assert found["p_value"] == pytest.approx(stats.chi2.sf(expected.q, 6), rel=1e-9)
    assert found["estimate"] == pytest.approx(expected.mean_effect_re, **near)
    assert found["std_error"] == pytest.approx(expected.sd_eff_w_re, **near)
    # The modified Knapp-Hartung interval takes the larger of the two errors, with t on 6 degrees of freedom.
    larger = max(expected.sd_eff_w_re, expected.sd_eff_w_re_hksj)
    assert found["conf_high"] - found["estimate"] == pytest.approx(stats.t.ppf(0.975, 6) * larger, rel=1e-6)


@pytest.mark.parametrize(("seed", "tau"), [(0, 0.0), (1, 1.0), (2, 10.0)])
def test_shrinkage_equals_quadrature(seed: int, tau: float) -> None:
    """The posterior of each group as the book writes it, integrated over tau by an adaptive rule."""
    rng = RNG(seed)
    error = rng.uniform(0.3, 1.5, 4)
    value = 2 + tau * rng.normal(size=4) + error * rng.normal(size=4)

    def parts(spread: float) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, float]:
        total = error**2 + spread**2
        mean_variance = 1 / (1 / total).sum()
        mean = (value / total).sum() * mean_variance
        density = np.sqrt(mean_variance) * stats.norm.pdf(value, mean, np.sqrt(total)).prod()
        own = spread**2 / total
        below = stats.norm.cdf(low, mean, np.sqrt(spread**2 + mean_variance))
        return density, own, own * value + (1 - own) * mean, own * error**2 + (1 - own) ** 2 * mean_variance, below

    def integral(of: Callable[[float], float]) -> float:
        pieces = pairwise([0, 1, 5, 30, 1000, np.inf])
        return sum(integrate.quad(of, *ends, epsabs=0, epsrel=1e-6)[0] for ends in pieces)

    known = posterior(value, error**2)
    low = predicted(known, 0.025)
    size = integral(lambda s: parts(s)[0])
    # A midpoint rule of 400 steps is good to about 1 / 400² of what it averages.
    assert integral(lambda s: parts(s)[0] * parts(s)[4]) / size == pytest.approx(0.025, abs=1e-4)
    centre, spread, own_weight = shrunken(value, error**2, known)
    for j in range(4):
        at = integral(lambda s, j=j: parts(s)[0] * parts(s)[2][j]) / size
        second = integral(lambda s, j=j: parts(s)[0] * (parts(s)[3][j] + parts(s)[2][j] ** 2)) / size
        weight = integral(lambda s, j=j: parts(s)[0] * parts(s)[1][j]) / size
        assert centre[j] == pytest.approx(at, abs=2e-4 * error[j])
        assert spread[j] == pytest.approx(np.sqrt(second - at**2), rel=1e-3)
        assert own_weight[j] == pytest.approx(weight, abs=1e-4)


def test_tau_solves_its_equation() -> None:
    rng = RNG(1)
    for _ in range(200):
        value, variance = 2 * rng.normal(size=5), rng.uniform(0.1, 2, 5)
        between = spread_between(value, variance)
        assert heterogeneity(value, variance + between) == pytest.approx(4, rel=1e-8) or between == 0
        assert between > 0 or heterogeneity(value, variance) <= 4


def test_groups_far_apart_keep_their_own_and_equal_ones_lean_on_each_other() -> None:
    error = np.array([1.0, 1.0, 2.0, 1.0])
    apart, _ = _pooled(rows(np.array([0.0, 1000, 2000, 3000]), error))
    assert apart["shrunken"]["own_weight"].min() > 0.9999
    same, _ = _pooled(rows(np.full(4, 3.0), error))
    assert same["pooled"][["tau", "heterogeneity", "heterogeneity_share"]].to_numpy().tolist() == [[0, 0, 0]]
    np.testing.assert_allclose(same["shrunken"]["estimate"], 3.0, rtol=1e-12)
    assert (same["shrunken"]["std_error"] < error).all()
    assert same["shrunken"]["own_weight"].idxmin() == 2  # the least precise keeps least


@given(st.integers(0, 999), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([0.0, -5.0]))
@steady
def test_pooling_moves_and_scales_with_the_outcome(seed: int, scale: float, shift: float) -> None:
    rng = RNG(seed)
    value, variance = 2 * rng.normal(size=5), rng.uniform(0.1, 2, 5)
    moved = scale * (value + shift)
    near: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9 * scale}
    (before, low), (after, moved_low) = (
        (shrunken(y, v, known := posterior(y, v)), predicted(known, 0.025))
        for y, v in ((value, variance), (moved, scale**2 * variance))
    )
    assert moved_low == pytest.approx(scale * (low + shift), rel=1e-8, abs=1e-8 * scale)
    np.testing.assert_allclose(after[0], scale * (before[0] + shift), **near)
    np.testing.assert_allclose(after[1], scale * before[1], **near)
    between = spread_between(value, variance)
    assert spread_between(moved, scale**2 * variance) == pytest.approx(
        scale**2 * between, rel=1e-8, abs=1e-9 * scale**2
    )


@pytest.mark.parametrize("tau", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("size", [3, 8])
def test_intervals_of_shrunken_groups_and_of_the_mean_hold(size: int, tau: float) -> None:
    draws, rng = 300, RNG(20 + size)
    held, mean, further = [], [], []
    template = rows(np.zeros(size), np.ones(size))
    for _ in range(draws):
        error = rng.uniform(0.5, 1.5, size)
        truth = 2 + tau * rng.normal(size=size)
        drawn = replace(template, estimate=truth + error * rng.normal(size=size), spread=np.diag(error**2))
        details, _ = _pooled(drawn)
        own, pooled = details["shrunken"], details["pooled"].iloc[0]
        held.append(((own["conf_low"] <= truth) & (truth <= own["conf_high"])).mean())
        mean.append(pooled["conf_low"] <= 2 <= pooled["conf_high"])
        further.append(pooled["predicted_low"] <= 2 + tau * rng.normal() <= pooled["predicted_high"])
    # Three binomial standard errors of 300 draws are 3.8 points; intervals may be too wide where groups are few or alike.
    least = 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws)
    assert min(np.mean(held), np.mean(mean), np.mean(further)) >= least


def test_what_is_refused_in_a_group_is_named() -> None:
    panel, band = market()
    band[(band == "new") & (panel.cohort < 0)] = None
    band[(band == "new") & (panel.cohort == 1)] = None
    result = by_group(panel, band, whole)
    assert result.labels["group"].tolist() == ["large", "middle", "small"]
    none = int(band.isna().sum())
    assert f"units without a group: {none}" in result.notes
    assert any(
        note.startswith("no row for group new: the panel has one cohort and no other unit") for note in result.notes
    )
    with pytest.raises(DesignError, match=r"no group can be estimated, .*group large: .*; no row for group small"):
        by_group(panel.only(panel.cohort >= 0), band, lambda p: did.group_time(p, control="never"))


def test_cautions_of_a_group_are_kept_under_its_name() -> None:
    panel, band = market(3, 12)
    notes = by_group(replace(panel, notes=("told",)), band, whole).notes
    assert sum("told" in note for note in notes) == 1
    assert any(note.startswith("group new: cohorts of fewer than 5 units") for note in notes)


def test_pooling_needs_three_groups_with_an_error() -> None:
    panel, band = market()
    two = by_group(panel, band.where(band.isin(BANDS[:2])), whole)
    assert not two.details
    assert two.notes[-1] == "nothing is pooled: 2 groups have a standard error, and it takes 3"
    value, error = np.arange(4.0), np.array([1.0, np.nan, 1.0, 1.0])
    details, notes = _pooled(rows(value, error))
    assert details["shrunken"]["group"].tolist() == [0, 2, 3]
    assert notes == ("groups without a standard error, left out of the pooling: 1",)


def test_groups_keep_the_law_of_their_estimator() -> None:
    rng = RNG(4)
    panel = Panel.from_matrix(rng.normal(size=(40, 6)), treated_from=[4, 0, 4, 0] * 10)
    band = pd.Series(np.repeat(BANDS, 10))
    result = by_group(panel, band, did.pilot_contrast)
    for row in result.tidy().itertuples():
        alone = did.pilot_contrast(panel.only((band == row.group).to_numpy())).glance().iloc[0]
        assert (row.conf_low, row.conf_high, row.p_value) == (alone["conf_low"], alone["conf_high"], alone["p_value"])


def test_without_each_group_in_turn() -> None:
    panel, band = market()
    band[:3] = None
    result = leave_one_out(panel, band, whole)
    assert result.labels["left_out"].tolist() == BANDS
    for row in result.tidy().itertuples():
        rest = whole(panel.only((band != row.left_out).to_numpy()))
        assert (row.estimate, row.std_error, row.n_units) == (*rest.average, rest.clusters[0])
    beside = result.details["whole"]
    assert result.average == whole(panel).average == tuple(beside.loc[0, ["estimate", "std_error"]])
    np.testing.assert_allclose(beside["shift"], result.estimate - result.average[0], rtol=1e-12)
    assert beside["shift"][0] > 0 > beside["shift"][3]  # the large gained nothing, the small most
    assert any("covariances between rows are not estimated" in note for note in result.notes)


@pytest.mark.parametrize("function", [by_group, leave_one_out])
def test_groups_do_not_hide_that_categories_were_assigned(function: Callable[..., Estimates]) -> None:
    y, category = RNG(1).normal(size=(40, 6)), np.repeat(list("abcd"), 10)
    panel = Panel.from_matrix(y, treated_from=np.repeat([4, 4, 0, 0], 10), category=category)
    for groups in (np.tile(["x", "y"], 20), np.repeat(["x", "y", "x", "y"], 10), np.arange(40) % 7):
        with pytest.raises(DesignError, match=r"^treatment was assigned at category level"):
            function(panel, pd.Series(groups), did.group_time)
    points = by_group(panel, pd.Series(np.tile(["x", "y"], 20)), lambda p: did.group_time(p, inference="none"))
    assert points.assigned_at == "category"
    assert points.tidy()["conf_low"].isna().all()


@pytest.mark.parametrize("function", [by_group, leave_one_out])
def test_refusals(function: Callable[..., Estimates]) -> None:
    panel, band = market()
    with pytest.raises(DesignError, match="but the units of the panel have 1"):
        function(panel, pd.Series("all", index=panel.units), whole)
    with pytest.raises(DesignError, match="but the units of the panel have 0"):
        function(panel, pd.Series(["a", "b"], index=[-1, -2]), whole)
    with pytest.raises(DesignError, match="groups has one row a unit, but 160 units repeat"):
        function(panel, pd.concat([band, band]), whole)
    with pytest.raises(ParameterError, match="did you mean"):
        function(panel, band, lambda p: did.group_time(p, control="notyet"))


def test_groups_that_cut_through_clusters_are_refused() -> None:
    panel, band = market()
    whole_ones = replace(panel, cluster=pd.factorize(band)[0])
    assert len(by_group(whole_ones, band.where(band != "new"), lambda p: whole(replace(p, cluster=None))).labels) == 3
    with pytest.raises(DesignError, match=r"^40 clusters have units in several groups"):
        by_group(replace(panel, cluster=np.arange(160) // 4), pd.Series(np.arange(160) % 2), whole)
