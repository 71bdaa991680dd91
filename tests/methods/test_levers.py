"""Levers against statsmodels and loops, the test of additivity, and how often intervals hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit.did.levers import lever_effects
from strategy_kit.errors import DesignError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng
NAMES = ["display", "marketing", "service"]
TRUE = np.array([1.0, 0.5, -0.5])
NEAR: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}  # statsmodels inverts by a pseudo-inverse
steady = settings(deadline=None, derandomize=True, database=None, max_examples=50)


def supported(seed: int, starts: list[int], copies: int, together: float = 0.0) -> tuple[Panel, pd.DataFrame]:
    """Eight periods, three levers that overlap; `together` is what display and service do beyond their sum."""
    rng, start = RNG(seed), np.array(starts * copies)
    held = rng.random((len(start), 3)) < 0.5
    held[~held.any(axis=1), 0] = True
    held &= (start > 0)[:, None]
    after = (start[:, None] > 0) & (np.arange(1, 9) >= start[:, None])
    effect = held @ TRUE + together * (held[:, 0] & held[:, 2])
    noise = (1 + held[:, :1]) * rng.normal(size=(len(start), 8))
    y = 5 * rng.normal(size=(len(start), 1)) + rng.normal(size=8) + after * effect[:, None] + noise
    return Panel.from_matrix(y, treated_from=start), pd.DataFrame(held, columns=NAMES)


def changes(panel: Panel) -> np.ndarray:
    """Mean since the start less the period before, less that of the never treated; unit by unit."""
    found = np.zeros(len(panel.units))
    for i, g in enumerate(panel.cohort):
        if g >= 0:
            at = int(panel.starts[g])
            change = panel.outcome[:, at:].mean(axis=1) - panel.outcome[:, at - 1]
            found[i] = change[i] - change[panel.cohort < 0].mean()
    return found


def test_points_are_least_squares_without_a_constant() -> None:
    panel, levers = supported(1, [4, 6, 0], 40)
    result = lever_effects(panel, levers)
    fit = sm.OLS(changes(panel), levers.astype(float)).fit()
    np.testing.assert_allclose(result.estimate, fit.params, **NEAR)
    treated = panel.cohort >= 0
    assert result.average[0] == pytest.approx(changes(panel)[treated].mean(), rel=1e-12)
    assert result.labels["lever"].tolist() == NAMES
    assert result.n_units.tolist() == levers.sum().tolist()
    assert result.clusters == (80, 40)


def test_levers_that_never_meet_equal_least_squares_with_robust_errors() -> None:
    panel, levers = supported(2, [5, 0], 60)
    first = levers.to_numpy().argmax(axis=1)
    alone = pd.DataFrame(levers.any(axis=1).to_numpy()[:, None] & (first[:, None] == np.arange(3)), columns=NAMES)
    raw = panel.outcome[:, 4:].mean(axis=1) - panel.outcome[:, 3]
    fit = sm.OLS(raw, sm.add_constant(alone.astype(float))).fit(cov_type="HC0")
    result = lever_effects(panel, alone)
    np.testing.assert_allclose(result.estimate, fit.params[1:], **NEAR)
    np.testing.assert_allclose(result.covariance, fit.cov_params().to_numpy()[1:, 1:], **NEAR)
    assert result.details["additivity"].empty
    assert any("additivity cannot be tested" in note for note in result.notes)
    assert (result.details["overlap"]["n_units"] == 0).all()
    bundles = result.details["bundles"]
    np.testing.assert_allclose(bundles["estimate"], bundles["additive"], **NEAR)


def test_errors_equal_the_derivatives_by_unit_weights() -> None:
    """The influence of a unit is what a little more of its weight moves each estimate by."""
    panel, levers = supported(3, [4, 6, 7, 0, 0], 8)
    step, moved = 1e-4, []

    def found(weight: np.ndarray) -> np.ndarray:
        result = lever_effects(replace(panel, weight=weight), levers)
        return np.r_[result.estimate, result.details["bundles"]["estimate"], result.average[0]]

    for i in range(40):
        up, down = (found(1 + side * step * (np.arange(40) == i)) for side in (1, -1))
        moved.append((up - down) / (2 * step))
    result = lever_effects(panel, levers)
    ours = np.r_[result.std_error, result.details["bundles"]["std_error"], result.average[1]]
    # A central difference is wrong by the order of step² = 1e-8; bundles of one unit have no error of their own.
    np.testing.assert_allclose(ours, np.sqrt((np.array(moved) ** 2).sum(axis=0)), rtol=1e-6)


def test_a_weight_of_two_equals_two_units_of_one_cluster() -> None:
    panel, levers = supported(4, [4, 6, 0], 12)
    weight = RNG(1).integers(1, 4, len(levers))
    copied = np.repeat(np.arange(len(levers)), weight)
    long = replace(panel.only(copied), units=pd.RangeIndex(len(copied)), cluster=copied)
    once = lever_effects(replace(panel, weight=weight.astype(float)), levers)
    again = lever_effects(long, levers.iloc[copied].reset_index(drop=True))
    np.testing.assert_allclose(once.estimate, again.estimate, **NEAR)
    np.testing.assert_allclose(once.covariance, again.covariance, **NEAR)


def test_bundles_and_overlap_equal_loops() -> None:
    panel, levers = supported(5, [4, 6, 0], 30)
    result, value = lever_effects(panel, levers), changes(panel)
    bundles = result.details["bundles"].set_index("bundle")
    assert bundles["n_units"].sum() == result.clusters[0]
    for name, row in bundles.iterrows():
        chosen = np.array([lever in str(name).split(" + ") for lever in NAMES])
        members = (levers.to_numpy() == chosen).all(axis=1)
        assert row["n_units"] == members.sum()
        assert row["estimate"] == pytest.approx(value[members].mean(), rel=1e-12)
        assert row["additive"] == pytest.approx(result.estimate[chosen].sum(), rel=1e-12)
    assert bundles.index[:3].tolist() == ["service", "marketing", "display"]
    for row in result.details["overlap"].itertuples():
        both = (levers[row.lever] & levers[row.other]).sum()
        assert (row.n_units, row.share) == (both, both / levers[row.lever].sum())
    assert len(result.details["overlap"]) == 6


def test_additivity_equals_the_wald_test_of_an_interaction() -> None:
    panel, levers = supported(6, [5, 0], 100, together=1.0)
    two = levers[["display", "service"]]
    kept = (panel.cohort < 0) | two.any(axis=1).to_numpy()
    panel, two = panel.only(kept), two[kept]
    raw = panel.outcome[:, 4:].mean(axis=1) - panel.outcome[:, 3]
    design = sm.add_constant(two.assign(both=two.all(axis=1)).astype(float))
    expected = sm.OLS(raw, design).fit(cov_type="HC0").wald_test("both = 0", use_f=False, scalar=True)
    found = lever_effects(panel, two).details["additivity"].iloc[0]
    assert found["statistic"] == pytest.approx(expected.statistic, rel=1e-9)
    assert found["degrees_of_freedom"] == 1
    assert found["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)


def test_small_bundles_are_left_out_of_the_test_and_told() -> None:
    panel, levers = supported(7, [4, 0], 40)
    treated = np.flatnonzero(panel.cohort >= 0)
    levers.iloc[treated] = [[i % 2 == 0, i % 2 == 1, False] for i in range(len(treated))]
    levers.iloc[treated[:12]] = [[True, True, i < 6] for i in range(12)]
    levers.iloc[treated[12:14], 2] = True
    result = lever_effects(panel, levers)
    assert result.details["additivity"]["degrees_of_freedom"].tolist() == [1]
    assert "bundles of fewer than 5 units, left out of the test of additivity: 2" in result.notes
    few = lever_effects(panel.only(np.r_[treated[:2], treated[12:16], np.flatnonzero(panel.cohort < 0)]), levers)
    assert few.details["additivity"].empty
    assert any(note.startswith("levers of fewer than 5 units") for note in few.notes)
    assert any("not in the panel, not used: 34" in note for note in few.notes)


@given(st.integers(0, 999))
@steady
def test_the_order_of_units_and_levers_does_not_matter(seed: int) -> None:
    panel, levers = supported(8, [4, 6, 0], 25)
    rng = RNG(seed)
    order, columns = rng.permutation(len(levers)), rng.permutation(3)
    old = lever_effects(panel, levers)
    new = lever_effects(panel.only(order), levers.iloc[rng.permutation(len(levers)), columns])
    np.testing.assert_allclose(new.estimate, old.estimate[columns], **NEAR)
    np.testing.assert_allclose(new.covariance, old.covariance[np.ix_(columns, columns)], **NEAR)
    np.testing.assert_allclose(new.details["additivity"], old.details["additivity"], rtol=1e-7)


def test_units_never_treated_may_be_absent() -> None:
    panel, levers = supported(9, [4, 6, 0], 20)
    short = lever_effects(panel, levers[levers.any(axis=1)])
    assert short.tidy().equals(lever_effects(panel, levers).tidy())


def broken(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[], Any]:
    panel, levers = supported(10, [4, 6, 0], 20)
    return lambda: lever_effects(panel, change(levers.copy()))


def put(levers: pd.DataFrame, unit: int, *, value: bool) -> pd.DataFrame:
    levers.loc[unit] = value
    return levers


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "always together": (
        broken(lambda f: f.assign(visit=f["service"])),
        "sum to one another: service, visit; merge them",
    ),
    "a sum": (
        broken(
            lambda f: f.assign(
                any_lever=f["display"] | ~f["display"] & f.any(axis=1), rest=~f["display"] & f.any(axis=1)
            )
        ),
        "display, any_lever, rest; merge them",
    ),
    "unused": (broken(lambda f: f.assign(visit=False)), "no treated unit has visit; leave it out"),
    "no lever": (broken(lambda f: put(f, 0, value=False)), r"1 treated units have no lever \(first: 0\)"),
    "never treated": (broken(lambda f: put(f, 2, value=True)), r"1 never-treated units have a lever \(first: 2\)"),
    "all at once": (broken(lambda f: put(put(f, 0, value=False), 2, value=True).assign(visit=False)), "breaks 3 laws"),
    "not booleans": (broken(lambda f: f.astype(int)), "but display, marketing, service are not"),
    "gaps": (broken(lambda f: f.astype("boolean").mask(f["display"])), "but some values are not"),
    "none": (broken(lambda f: f[[]]), "true and false"),
    "category": (
        lambda: lever_effects(
            Panel.from_matrix(RNG(1).normal(size=(4, 4)), treated_from=[3, 3, 0, 0], category=list("abcd")),
            pd.DataFrame({"display": [True, True, False, False]}),
        ),
        "use pilot_contrast",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(DesignError, match=words):
        make()


def test_intervals_hold_and_the_test_of_additivity_is_honest() -> None:
    draws, held, wrong = 300, [], 0
    for seed in range(draws):
        rows = (result := lever_effects(*supported(seed, [3, 5, 7, 0, 0], 60))).tidy()
        held.append((rows["conf_low"] <= TRUE) & (rows["conf_high"] >= TRUE))
        wrong += result.details["additivity"]["p_value"][0] < 0.05
    # Three binomial standard errors of 300 draws are 3.8 points.
    margin = 3 * np.sqrt(0.95 * 0.05 / draws)
    assert np.abs(np.mean(held, axis=0) - 0.95).max() <= margin
    # Bundles of 13 to 48 units make the Wald test reject a little often: 7.5 % in 2,000 draws.
    assert abs(wrong / draws - 0.075) <= margin


def test_what_two_levers_do_beyond_their_sum_is_seen() -> None:
    found = [
        lever_effects(*supported(seed, [3, 5, 0], 60, 3.0)).details["additivity"]["p_value"][0] for seed in range(30)
    ]
    assert np.mean(np.array(found) < 0.05) > 0.9
