"""Intervals, bands, deals of starts and the columns of results."""

from __future__ import annotations

from math import comb, factorial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from strategy_kit import did
from strategy_kit.errors import ParameterError
from strategy_kit.glossary import COLUMNS
from strategy_kit.inference import FREEDOM_CAP, Student, band_critical, bell_mccaffrey, welch
from strategy_kit.panel import Panel
from strategy_kit.randomisation import Randomisation, deals, number_of_deals

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates

NUMBERS = ["estimate", "std_error", "conf_low", "conf_high", "band_low", "band_high", "p_value", "n_units"]
GLANCE = [
    "estimator",
    "outcome",
    "estimate",
    "std_error",
    "conf_low",
    "conf_high",
    "p_value",
    "degrees_of_freedom",
    "level",
    "assigned_at",
    "clusters_treated",
    "clusters_comparison",
]


def panel(*, seed: int = 3, each: int = 15) -> Panel:
    starts = np.repeat([3.0, 5.0, 0.0], each)
    return Panel.from_matrix(np.random.default_rng(seed).normal(size=(len(starts), 8)), treated_from=starts)


@pytest.mark.parametrize("freedom", [1.0, 2.7, 30.0, np.inf])
@pytest.mark.parametrize("level", [0.2, 0.95, 0.999])
def test_student_equals_scipy(freedom: float, level: float) -> None:
    estimate, error, law = np.array([-1.0, 0.0, 2.5]), np.array([0.5, 1.0, 2.0]), Student(freedom)
    # scipy inverts the t law to about 1e-10 at one degree of freedom.
    np.testing.assert_allclose(
        law.interval(estimate, error, level), stats.t.interval(level, freedom, estimate, error), rtol=1e-9
    )
    np.testing.assert_allclose(
        law.p_value(estimate, error), 2 * stats.t.sf(np.abs(estimate / error), freedom), rtol=1e-9
    )


def test_welch_equals_scipy_along_the_last_axis() -> None:
    rng = np.random.default_rng(5)
    treated, other = rng.normal(size=(4, 3)), 3 * rng.normal(size=(4, 9))
    difference, error, freedom = welch(treated, other)
    expected = stats.ttest_ind(treated, other, axis=1, equal_var=False)
    np.testing.assert_allclose(difference / error, expected.statistic, rtol=1e-12)
    most = FREEDOM_CAP * bell_mccaffrey(3, 9)
    assert (expected.df > most).any(), "the cap must bind somewhere"
    np.testing.assert_allclose(freedom, np.minimum(expected.df, most), rtol=1e-12)
    pair, same = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))  # equal sizes: the cap lies above any value
    np.testing.assert_allclose(
        welch(pair, same)[2], stats.ttest_ind(pair, same, axis=1, equal_var=False).df, rtol=1e-12
    )


@pytest.mark.parametrize(("size", "other"), [(3, 9), (2, 4), (5, 5), (3, 27)])
def test_bell_and_mccaffrey_equals_their_general_formula(size: int, other: int) -> None:
    # Their section 4: the CR2 variance of a coefficient is a sum of squares of linear forms of the errors; under equal
    # variances its mean and variance give the degrees of freedom (sum of eigenvalues)^2 / sum of squared eigenvalues.
    design = np.c_[np.ones(size + other), np.r_[np.ones(size), np.zeros(other)]]
    bread = np.linalg.inv(design.T @ design)
    hat = design @ bread @ design.T
    pull = (design @ bread)[:, 1]
    forms = (np.eye(size + other) - hat) * (pull / np.sqrt(1 - np.diag(hat)))[:, None]
    eigen = np.linalg.eigvalsh(forms @ forms.T)
    assert bell_mccaffrey(size, other) == pytest.approx(eigen.sum() ** 2 / (eigen**2).sum(), rel=1e-12)


def ar(size: int, correlation: float) -> np.ndarray:
    index = np.arange(size)
    return np.outer(1 + index, 1 + index) * correlation ** np.abs(index[:, None] - index)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("size", [2, 7, 30])
def test_bands_of_independent_rows_have_a_formula(size: int, level: float) -> None:
    # All of K independent normals within c: level = (2 Φ(c) − 1)^K. Simulation error: sqrt(q(1 − q) / 20,000) over the
    # density of the maximum at c, here by a difference quotient; four of those.
    exact = float(ndtri(0.5 + level ** (1 / size) / 2))
    density = ((1 - 2 * stats.norm.sf(exact + 1e-5)) ** size - level) / 1e-5
    assert band_critical(np.diag(np.arange(1.0, size + 1)), level) == pytest.approx(
        exact, abs=4 * np.sqrt(level * (1 - level) / 20_000) / density
    )


def test_bands_agree_with_a_simulation_by_cholesky() -> None:
    covariance = ar(12, 0.8)
    draws = np.random.default_rng(99).standard_normal((200_000, 12)) @ np.linalg.cholesky(ar(12, 0.8)).T
    expected = np.quantile(np.abs(draws / np.sqrt(np.diag(covariance))).max(axis=1), 0.95)
    # Simulation error at 20,000 draws is 0.012, at 200,000 it is 0.004; three of their sum of squares.
    assert band_critical(covariance, 0.95) == pytest.approx(expected, abs=0.038)


def test_a_band_of_one_row_is_its_interval() -> None:
    assert band_critical(np.array([[4.0]]), 0.9) == ndtri(0.95)
    assert band_critical(np.diag([np.nan, 2.0, 0.0]), 0.95) == ndtri(0.975)


def test_rows_without_an_error_do_not_widen_the_band() -> None:
    wide = np.full((5, 5), np.nan)
    wide[np.ix_([0, 2, 4], [0, 2, 4])] = ar(3, 0.5)
    assert band_critical(wide, 0.95) == band_critical(ar(3, 0.5), 0.95)


@given(seed=st.integers(0, 10**6), level=st.floats(0.05, 0.99))
@settings(deadline=None, derandomize=True, database=None, max_examples=10)
def test_a_band_is_never_narrower_than_its_intervals(seed: int, level: float) -> None:
    # Rows that move as one leave no room above the pointwise width: simulation error must not make it less.
    assert band_critical(np.ones((3, 3)), level, seed=seed) >= ndtri(0.5 + level / 2)
    rows = did.event_study(did.group_time(panel(seed=seed))).tidy(level)
    assert (rows["band_low"] <= rows["conf_low"]).all()
    assert (rows["band_high"] >= rows["conf_high"]).all()


def test_bands_repeat_to_the_byte_and_hang_on_the_seed() -> None:
    first, again = (did.event_study(did.group_time(panel())).tidy() for _ in range(2))
    assert first["band_low"].to_numpy().tobytes() == again["band_low"].to_numpy().tobytes()
    assert band_critical(ar(9, 0.5), 0.95, seed=1) != band_critical(ar(9, 0.5), 0.95, seed=2)


def results() -> dict[str, tuple[Estimates, list[str]]]:
    effects = did.group_time(panel())
    return {
        "group_time": (effects, ["cohort", "period"]),
        "event_study": (did.event_study(effects), ["age"]),
        "by_cohort": (did.by_cohort(effects), ["cohort"]),
        "by_period": (did.by_period(effects), ["period"]),
        "overall": (did.overall(effects), []),
        "pilot_contrast": (did.pilot_contrast(panel(each=3)), ["method"]),  # 1,680 ways to deal the starts
    }


@pytest.mark.parametrize("name", results())
def test_columns_stand_in_the_documented_order(name: str) -> None:
    result, labels = results()[name]
    assert list(result.tidy()) == [*labels, *NUMBERS]
    assert list(result.glance()) == GLANCE
    assert {*result.tidy(), *result.glance()} <= set(COLUMNS)
    assert result.glance()["estimator"].tolist() == [name]
    assert (len(result.glance()), len(result.tidy())) == (1, len(result.estimate))
    for frame in result.details.values():
        assert isinstance(frame, pd.DataFrame)
    text = repr(result)
    assert text.startswith(f"{name} of outcome: ")
    assert f"; {result.clusters[0]} treated, {result.clusters[1]} comparison units" in text
    assert "<table" in result._repr_html_()


@pytest.mark.parametrize("name", ["event_study", "pilot_contrast"])
def test_the_level_is_the_callers(name: str) -> None:
    result, _ = results()[name]
    narrow, wide = result.tidy(0.5), result.tidy(0.95)
    for frame in (narrow, wide):
        assert (frame["conf_low"] <= frame["estimate"]).all()
        assert (frame["band_high"] >= frame["estimate"]).all()
    assert (narrow["conf_high"] < wide["conf_high"]).all()
    assert (narrow["band_high"] < wide["band_high"]).all()
    assert (narrow["p_value"] == wide["p_value"]).all()
    assert result.glance(0.5)["level"].tolist() == [0.5]
    assert result.glance(0.5)["conf_high"][0] < result.glance()["conf_high"][0]


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95, float("nan")])
def test_a_level_outside_its_range_is_refused(level: float) -> None:
    for ask in (did.group_time(panel()).tidy, did.group_time(panel()).glance):
        with pytest.raises(ParameterError, match="level must lie between 0 and 1, not"):
            ask(level)


@pytest.mark.parametrize("start", [[0, 0, -1, -1, -1], [0, 1, 1, -1, -1, -1], [0, 1, 2, -1, -1]])
def test_every_deal_occurs_once(start: list[int]) -> None:
    found = np.concatenate(list(deals(np.array(start), 0)))
    assert len({tuple(row) for row in found.tolist()}) == len(found) == number_of_deals(np.array(start))
    assert all(sorted(row) == sorted(start) for row in found.tolist())


@pytest.mark.parametrize("sizes", [(3,), (2, 3), (15, 15), (20, 20, 20, 20), (25, 30)])
def test_deals_are_counted_exactly(sizes: tuple[int, ...]) -> None:
    groups, left, expected = sum(sizes) + 9, sum(sizes) + 9, 1
    for size in sizes:
        expected, left = expected * comb(left, size), left - size
    start = np.repeat([*range(len(sizes)), -1], [*sizes, 9])
    assert number_of_deals(start) == expected
    assert expected == factorial(groups) // np.prod([factorial(n) for n in (*sizes, 9)], dtype=object)


def test_draws_keep_the_sizes_and_put_the_real_one_first() -> None:
    start = np.repeat([0, 1, -1], [5, 5, 12])
    rng = np.random.default_rng(0)
    law = Randomisation(rng.normal(size=(22, 2)), np.zeros((22, 2)), start, seed=4)
    ways = np.concatenate(list(law._blocks()))
    assert len(ways) == law.count == pytest.approx(10_000, abs=3)  # less the draws that repeat the real one
    assert (ways[0] == start).all()
    assert (np.sort(ways, axis=1) == np.sort(start)).all()
    assert not (ways[1:] == start).all(axis=1).any()
    # Each group is treated in 10 of 22 draws: four binomial standard errors of 10,000 are 0.02.
    np.testing.assert_allclose((ways >= 0).mean(axis=0), 10 / 22, atol=0.02)
