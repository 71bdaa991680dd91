"""Random effects against published examples, statsmodels, and generalised least squares written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.pooling import heterogeneity, random_effects, spread_between

RNG = np.random.default_rng
steady = settings(deadline=None, derandomize=True, database=None, max_examples=40)
THREE = np.array([9.0, 5.0, 12.0]), np.array([2.0, 2.5, 3.0]) ** 2
# Teacher expectancy, 19 studies: Raudenbush (2009), "Analyzing effect sizes: random-effects models", dat.raudenbush1985 of R's
# metafor.
EXPECTANCY = (
    np.array([3, 12, -14, 118, 26, -6, -2, -32, 27, 80, 54, 18, -2, 23, -18, -6, 30, 7, -7]) / 100,
    np.array(
        [156, 216, 279, 1391, 1362, 106, 106, 484, 269, 630, 912, 497, 835, 841, 253, 279, 193, 88, 303],
    )
    / 10_000,
)


def test_three_categories() -> None:
    """Worked out once by hand: mean 8.47, tau² 4.20, and multipliers of 1.96, 4.30 and 12.71."""
    pooled = random_effects(*THREE, between="dersimonian_laird")
    normal = stats.norm.interval(0.95, pooled.mean, pooled.model_error)
    assert np.round(normal, 1).tolist() == [4.9, 12.1]
    assert np.round(pooled.interval(0.95), 1).tolist() == [0.3, 16.7]
    assert np.round(pooled.predicted(0.95), 1).tolist() == [-26.6, 43.5]


def test_published_knapp_hartung() -> None:
    pooled = random_effects(*EXPECTANCY, between="dersimonian_laird")
    found = [pooled.tau**2, pooled.mean, pooled.std_error, *pooled.interval(0.95)]
    # Table 16.3, the row of DerSimonian and Laird, which has four digits; its statistic is 1.405.
    assert np.round(found, 4).tolist() == [0.0259, 0.0893, 0.0636, -0.0442, 0.2229]
    assert pooled.mean / pooled.std_error == pytest.approx(1.405, abs=5e-4)


def test_paule_mandel_of_metafor() -> None:
    """rma(yi, vi, method = "PM", test = "knha") and predict() of R's metafor, the latter with K - 1 degrees of freedom."""
    pooled = random_effects(np.array([0.40, -0.20, 0.55, 0.10]), np.array([0.05, 0.06, 0.04, 0.05]))
    assert [round(pooled.mean, 5), round(pooled.tau**2, 4)] == [0.22957, 0.0593]
    half = (pooled.predicted(0.95)[1] - pooled.mean) / stats.t.ppf(0.975, 2) * stats.t.ppf(0.975, 3)
    assert np.round([pooled.mean - half, pooled.mean + half], 4).tolist() == [-0.7065, 1.1656]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tau", [0.0, 1.0, 4.0])
def test_equals_statsmodels(seed: int, tau: float) -> None:
    rng = RNG(seed)
    error = rng.uniform(0.2, 1.5, 6)
    value = 2 + tau * rng.normal(size=6) + error * rng.normal(size=6)
    with np.errstate(invalid="ignore"):  # of the negative variance that statsmodels goes on with
        expected = combine_effects(value, error**2, method_re="chi2")
    found = random_effects(value, error**2, between="dersimonian_laird")
    near: dict[str, Any] = {"rel": 1e-9, "abs": 1e-12}
    assert heterogeneity(value, error**2) == pytest.approx(expected.q, rel=1e-9)
    assert found.tau**2 == pytest.approx(max(expected.tau2, 0.0), **near)
    if expected.tau2 > 0:
        assert found.mean == pytest.approx(expected.mean_effect_re, **near)
        assert found.model_error == pytest.approx(expected.sd_eff_w_re, **near)
        assert found.std_error == pytest.approx(max(expected.sd_eff_w_re, expected.sd_eff_w_re_hksj), **near)
    assert found.std_error >= found.model_error


@given(st.integers(0, 999), st.floats(0.01, 5))
@steady
def test_an_error_shared_by_all_groups_moves_the_mean_alone(seed: int, shared: float) -> None:
    rng = RNG(seed)
    value, own = 2 * rng.normal(size=5), rng.uniform(0.1, 2, 5)
    apart, tied = random_effects(value, own), random_effects(value, np.diag(own) + shared)
    # The root is found to 1e-12 of the plain variance; solving with a shared part loses a few digits more.
    assert tied.mean == pytest.approx(apart.mean, rel=1e-7, abs=1e-9)
    assert tied.tau == pytest.approx(apart.tau, rel=1e-6, abs=1e-6)
    assert tied.model_error**2 == pytest.approx(apart.model_error**2 + shared, rel=1e-7)


@given(st.integers(0, 999))
@steady
def test_any_covariance_is_generalised_least_squares(seed: int) -> None:
    rng = RNG(seed)
    value, root = 3 * rng.normal(size=4), rng.normal(size=(4, 4))
    covariance = root @ root.T + 0.2 * np.eye(4)
    between = spread_between(value, covariance)
    precision = np.linalg.inv(covariance + between * np.eye(4))
    mean = precision.sum(axis=0) @ value / precision.sum()
    surplus = (value - mean) @ precision @ (value - mean)
    assert surplus == pytest.approx(3, rel=1e-6) if between else surplus <= 3 * (1 + 1e-9)
    assert random_effects(value, covariance).mean == pytest.approx(mean, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("tau", [0.0, 1.0, 3.0])
def test_intervals_hold_with_three_groups(tau: float) -> None:
    """Errors of 1 and half of it shared, as where three pilots have the same comparison."""
    draws, rng, mean, further = 1_000, RNG(5), 0, 0
    covariance = np.eye(3) + 0.25
    for _ in range(draws):
        value = 2 + tau * rng.normal(size=3) + np.linalg.cholesky(covariance) @ rng.normal(size=3)
        pooled = random_effects(value, covariance)
        low, high = pooled.interval(0.95)
        mean += low <= 2 <= high
        low, high = pooled.predicted(0.95)
        further += low <= 2 + tau * rng.normal() <= high
    # Three binomial standard errors of 1,000 draws are 2.1 points.
    assert min(mean, further) / draws >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws)


def test_two_groups_predict_nothing() -> None:
    pooled = random_effects(np.array([1.0, 3.0]), np.ones(2))
    assert pooled.interval(0.95) == pytest.approx(stats.t.interval(0.95, 1, 2, 1))  # (3 - 1) / 2 with tau² = 1
    assert pooled.predicted(0.95) == (-np.inf, np.inf)


def test_refusals() -> None:
    with pytest.raises(DesignError, match="2 or more, not 1"):
        random_effects(np.zeros(1), np.ones(1))
    for errors in (np.array([1.0, 0.0, 1.0]), np.array([1.0, np.nan, 1.0]), np.ones((3, 3))):
        with pytest.raises(DesignError, match="finite and above 0, and not fully tied"):
            random_effects(np.arange(3.0), errors)
    with pytest.raises(ParameterError, match="not 'reml'"):
        random_effects(np.arange(3.0), np.ones(3), between="reml")  # type: ignore[arg-type]


def test_errors_that_are_nothing_leave_the_spread_of_the_effects() -> None:
    value = np.array([0.1, 0.7, 0.3, 0.9, 0.55, 0.21, 0.87, 0.34])
    assert spread_between(value, np.full(8, 1e-18)) == pytest.approx(value.var(ddof=1))
