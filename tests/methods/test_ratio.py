"""Fieller's ratios against tests inverted one by one and scipy's paired test; Wilson's shares against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategy_kit.errors import ParameterError
from strategy_kit.inference import Student
from strategy_kit.ratio import effective_count, fieller, wilson_interval

RNG = np.random.default_rng
steady = settings(deadline=None, derandomize=True, database=None, max_examples=150)
numbers = st.floats(-5, 5)


def inside(ratio: float, low: float, high: float, form: str) -> bool:
    if form == "everything":
        return True
    return low <= ratio <= high if form == "bounded" else ratio <= low or ratio >= high


@given(
    numbers,
    numbers,
    st.floats(0.01, 2),
    st.floats(0.01, 2),
    st.floats(-0.95, 0.95),
    st.sampled_from([1.0, 4.0, np.inf]),
)
@steady
def test_equals_tests_inverted_one_by_one(a: float, b: float, s: float, t: float, r: float, freedom: float) -> None:
    covariance = np.array([[s * s, r * s * t], [r * s * t, t * t]])
    low, high, form = fieller(a, b, covariance, law=Student(freedom), level=0.9)
    critical = stats.t.ppf(0.95, freedom)
    for ratio in np.tan(np.linspace(-1.57, 1.57, 401)):
        weight = np.array([1.0, -ratio])
        distance = abs(weight @ [a, b]) / np.sqrt(weight @ covariance @ weight)
        if abs(distance / critical - 1) > 1e-9:  # not on an end itself
            assert inside(ratio, float(low), float(high), str(form)) == (distance <= critical)


@pytest.mark.parametrize("seed", range(4))
def test_its_ends_are_where_the_paired_test_of_scipy_is_at_its_level(seed: int) -> None:
    rng = RNG(seed)
    x = rng.normal(3, 1, 8)
    y = 1 + 0.4 * x + rng.normal(1, 0.5, 8)
    covariance = np.cov(x, y) / 8
    low, high, form = fieller(x.mean(), y.mean(), covariance, law=Student(7.0), level=0.95)
    assert form == "bounded"
    for end in (low, high):
        assert stats.ttest_1samp(x - end * y, 0).pvalue == pytest.approx(0.05, rel=1e-9)


def test_the_three_forms_by_hand() -> None:
    """With variances of 1 and a critical value of 2: (b² − 4) r² − 2abr + a² − 4 ≤ 0."""
    level = float(2 * stats.norm.cdf(2) - 1)
    low, high, form = fieller([0.0, 4.0, 1.0, 3.0], [4.0, 0.0, 1.0, 2.0], np.eye(2), law=Student(), level=level)
    assert form.tolist() == ["bounded", "outside", "everything", "outside"]
    np.testing.assert_allclose(high[:3], [3**-0.5, 3**0.5, np.inf], rtol=1e-9)
    np.testing.assert_allclose(low[:3], -high[:3], rtol=1e-9)
    # At b = 2 the square vanishes: −12 r + 5 ≤ 0, a half line from 5 / 12 on.
    assert low[3] < -1e6
    assert high[3] == pytest.approx(5 / 12)


def test_known_parts_leave_a_plain_interval() -> None:
    spread = np.array([[0.25, 0.0], [0.0, 0.0]])
    low, high, form = fieller(3.0, 2.0, spread, law=Student(5.0), level=0.95)
    half = stats.t.ppf(0.975, 5) * 0.5 / 2
    assert (form, low, high) == ("bounded", pytest.approx(1.5 - half), pytest.approx(1.5 + half))
    low, high, form = fieller([3.0, 0.0], 2.0, np.zeros((2, 2)), law=Student(5.0), level=0.95)
    assert (form.tolist(), low.tolist(), high.tolist()) == (["bounded"] * 2, [1.5, 0.0], [1.5, 0.0])


@pytest.mark.parametrize("denominator", [3.0, 0.5])
def test_it_holds_the_true_ratio_as_often_as_it_says(denominator: float) -> None:
    draws, size, truth = 4_000, 6, 2.0
    sample = RNG(3).multivariate_normal([truth * denominator, denominator], [[1.0, 0.3], [0.3, 0.5]], (draws, size))
    mean = sample.mean(axis=1)
    centred = sample - mean[:, None]
    covariance = np.einsum("dni,dnj->dij", centred, centred) / size / (size - 1)
    low, high, form = fieller(mean[:, 0], mean[:, 1], covariance, law=Student(size - 1.0), level=0.95)
    held = [inside(truth, *ends) for ends in zip(low, high, form, strict=True)]
    # Exact in theory: three binomial standard errors of 4,000 draws are one point.
    assert np.mean(held) == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / draws))
    assert ("outside" in form) == (denominator < 1)


def test_refusals() -> None:
    for wrong in ([[1.0, 0.2], [0.3, 1.0]], [[-1.0, 0.0], [0.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]):
        with pytest.raises(ParameterError, match="finite and symmetric"):
            fieller(1.0, 1.0, wrong, law=Student(), level=0.95)


@pytest.mark.parametrize(("met", "count"), [(0, 8), (8, 8), (3, 8), (50, 52)])
def test_interval_of_a_share_is_that_of_scipy_and_has_width_at_0_and_1(met: int, count: int) -> None:
    found = stats.binomtest(met, count).proportion_ci(0.9, method="wilson")
    low, high = wilson_interval(met / count, count, 0.9)
    assert (low, high) == pytest.approx((found.low, found.high), abs=1e-12)
    assert low <= met / count <= high
    assert high - low > 0.05


def test_a_share_without_a_size_has_no_interval() -> None:
    assert np.isnan(wilson_interval([0.5, np.nan], [0.0, 5.0], 0.95)).all()
    found = effective_count([0.5, 1.0, 0.5], [0.1, 0.0, np.nan], [1e9, 1e9, 1], 0.95)
    assert found.tolist() == pytest.approx([25.0, 1e9, np.nan], nan_ok=True)
