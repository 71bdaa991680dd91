"""Dose and response against R, statsmodels and derivatives by hand, and how often its intervals hold."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit import did
from strategy_kit.did.dose import dose_response
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
RNG = np.random.default_rng
EDGES = [0.0, 2.0, 5.0, 10.0]
steady = settings(deadline=None, derandomize=True, database=None, max_examples=50)


def spenders(
    seed: int, starts: list[int], copies: int, slope: float = 0.3, spread: float = 1.0
) -> tuple[Panel, pd.Series]:
    """Eight periods; the effect of a dose d is 1 + slope · d, so that trends are parallel at every dose."""
    rng, start = RNG(seed), np.array(starts * copies)
    dose = np.where(start > 0, rng.uniform(0.5, 9.5, len(start)), 0.0)
    after = (start[:, None] > 0) & (np.arange(1, 9) >= start[:, None])
    level, season = rng.normal(size=(len(start), 1)), rng.normal(size=8)
    noise = spread * (1 + (start > 0)[:, None]) * rng.normal(size=(len(start), 8))
    y = 5 * level + season + after * (1 + slope * dose)[:, None] + noise
    return Panel.from_matrix(y, treated_from=start), pd.Series(dose)


def found(panel: Panel, dose: pd.Series, degree: int = 1, edges: Any = EDGES) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and standard errors of bands, slopes and the whole."""
    result = dose_response(panel, dose, edges=edges, degree=degree)
    slope = result.details["slope"]
    return (
        np.r_[result.estimate, slope["estimate"], result.average[0]],
        np.r_[result.std_error, slope["std_error"], result.average[1]],
    )


def changes(panel: Panel) -> np.ndarray:
    """Mean since the start less the period before, unit by unit, of a panel with one cohort."""
    at = int(panel.starts[0])
    return np.array([row[at:].mean() - row[at - 1] for row in panel.outcome])


def test_bands_that_are_cohorts_equal_r() -> None:
    expected = json.loads((REFERENCE / "s1_balanced/truth.json").read_text())["results"]["never_varying"]["aggte"][
        "group"
    ]
    frame = pd.read_csv(REFERENCE / "s1_balanced/panel.csv.gz")
    panel = Panel.from_frame(frame, unit="unit", period="period", outcome="y", treated_from="cohort")
    dose = pd.Series(panel.cohort + 1.0, index=panel.units)
    result = dose_response(panel, dose, edges=np.arange(len(panel.cohorts) + 1))
    near: dict[str, Any] = {"rtol": 1e-11}  # both are sums of at most 400 doubles
    np.testing.assert_allclose(result.estimate, expected["att"], **near)
    np.testing.assert_allclose(result.std_error, expected["se"], **near)
    np.testing.assert_allclose(result.average, [expected["overall_att"], expected["overall_se"]], **near)
    twin = did.by_cohort(did.group_time(panel))
    np.testing.assert_allclose(result.covariance, twin.covariance, rtol=1e-9)
    assert result.n_units.tolist() == twin.n_units.tolist()
    assert result.clusters == twin.clusters


def test_one_cohort_equals_least_squares_with_robust_errors() -> None:
    panel, dose = spenders(1, [5, 5, 0], 60)
    result = dose_response(panel, dose, edges=EDGES)
    value, treated = changes(panel), panel.cohort >= 0
    band = np.column_stack([(dose > low) & (dose <= high) for low, high in pairwise(EDGES)])
    fit = sm.OLS(value, np.column_stack([np.ones(len(value)), band])).fit(cov_type="HC0")
    near: dict[str, Any] = {"rtol": 1e-9}  # statsmodels inverts by a pseudo-inverse
    np.testing.assert_allclose(result.estimate, fit.params[1:], **near)
    np.testing.assert_allclose(result.covariance, fit.cov_params()[1:, 1:], **near)
    # The comparison mean moves the level of the line only, not its slope.
    line = sm.OLS(value[treated], sm.add_constant(dose[treated].to_numpy())).fit(cov_type="HC0")
    slope = result.details["slope"]
    np.testing.assert_allclose(slope["estimate"], line.params[1], **near)
    np.testing.assert_allclose(slope["std_error"], line.bse[1], **near)
    assert slope["at"].tolist() == ["mean_dose", "all_doses"]
    assert slope["dose"].tolist() == pytest.approx([dose[treated].mean()] * 2)
    np.testing.assert_allclose(slope["conf_high"] - slope["estimate"], 1.959964 * line.bse[1], rtol=1e-6)


def test_slopes_are_derivatives_of_the_polynomial() -> None:
    panel, dose = spenders(2, [4, 6, 0], 30)
    treated = panel.cohort >= 0
    own = []
    for i in np.flatnonzero(treated):
        at = int(panel.starts[panel.cohort[i]])
        change = panel.outcome[:, at:].mean(axis=1) - panel.outcome[:, at - 1]
        own.append(change[i] - change[~treated].mean())
    spent = dose[treated].to_numpy()
    for degree in (1, 2, 3):
        slope = np.polynomial.Polynomial.fit(spent, own, degree).deriv()
        ours = dose_response(panel, dose, edges=EDGES, degree=degree).details["slope"]["estimate"]
        # Two orthogonalisations of powers up to 3 of doses over one order of size.
        np.testing.assert_allclose(ours, [slope(spent.mean()), slope(spent).mean()], rtol=1e-8)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_errors_equal_the_derivatives_by_unit_weights(degree: int) -> None:
    """The influence of a unit is what a little more of its weight moves each estimate by."""
    panel, dose = spenders(3, [4, 6, 7, 0, 0], 8)
    step, weight = 1e-4, np.ones(40)
    moved = []
    for i in range(40):
        up, down = (replace(panel, weight=weight + side * step * (np.arange(40) == i)) for side in (1, -1))
        moved.append((found(up, dose, degree)[0] - found(down, dose, degree)[0]) / (2 * step))
    # A central difference is wrong by the order of step² = 1e-8.
    np.testing.assert_allclose(found(panel, dose, degree)[1], np.sqrt((np.array(moved) ** 2).sum(axis=0)), rtol=1e-6)


def test_a_weight_of_two_equals_two_units_of_one_cluster() -> None:
    panel, dose = spenders(4, [4, 6, 0], 12)
    weight = RNG(1).integers(1, 4, len(dose))
    copied = np.repeat(np.arange(len(dose)), weight)
    long = replace(panel.only(copied), units=pd.RangeIndex(len(copied)), cluster=copied)
    once = found(replace(panel, weight=weight.astype(float)), dose, 2)
    again = found(long, dose.iloc[copied].reset_index(drop=True), 2)
    np.testing.assert_allclose(once, again, rtol=1e-9)  # the same sums in another order


@given(st.integers(0, 999), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([0.0, 1e8]))
@steady
def test_order_levels_seasons_and_measures_do_not_matter(seed: int, measure: float, level: float) -> None:
    panel, dose = spenders(5, [4, 6, 0], 10)
    rng = RNG(seed)
    order = rng.permutation(len(dose))
    other = panel.outcome + level * rng.integers(-3, 4, (len(dose), 1)) + rng.normal(size=8)
    shuffled = panel.only(order)
    moved = replace(shuffled, outcome=other[order])
    old, new = found(panel, dose, 2), found(moved, dose * measure, 2, np.array(EDGES) * measure)
    scale = np.array([1, 1, 1, measure, measure, 1])
    # Levels of 3e8 leave 3e8 · 2e-16 of each outcome, and effects are about 1.
    for before, after in zip(old, new, strict=True):
        np.testing.assert_allclose(after * scale, before, rtol=1e-8, atol=1e-6 if level else 1e-9)


def test_notes_tell_what_was_left_out_and_assumed() -> None:
    panel, dose = spenders(6, [4, 0], 6)
    dose[dose > 0] = [1.0, 1.5, 1.7, 1.2, 1.9, 8.0]
    dose.loc[99] = 3.0
    result = dose_response(panel, dose, edges=EDGES)
    assert result.labels.to_numpy().tolist() == [[0, 2], [5, 10]]
    text = "\n".join(result.notes)
    for words in (
        "units that are not in the panel, not used: 1",
        "bands of dose without a treated unit, left out: 2 to 5",
        "bands of fewer than 5 units (5 to 10)",
        "strong parallel trends",
    ):
        assert words in text
    assert dose_response(replace(panel, covariate_names=("age",)), dose, edges=EDGES).notes[0].endswith("for: age")


def test_a_band_holds_its_upper_edge() -> None:
    panel, dose = spenders(6, [4, 0], 6)
    dose[dose > 0] = [2.0, 2.0, 2.0, 2.0, 2.1, 10.0]
    assert dose_response(panel, dose, edges=EDGES).n_units.tolist() == [4, 1, 1]


def changed(**doses: float) -> Callable[[], Estimates]:
    panel, dose = spenders(7, [4, 6, 0], 5)
    for unit, amount in doses.items():
        dose[int(unit[1:])] = amount
    return lambda: dose_response(panel, dose, edges=EDGES)


def on(starts: list[float], **more: Any) -> Callable[[], Estimates]:
    panel = Panel.from_matrix(RNG(1).normal(size=(len(starts), 6)), treated_from=starts, **more)
    return lambda: dose_response(panel, pd.Series(np.arange(1.0, len(starts) + 1)) * (panel.cohort >= 0), edges=[0, 9])


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no dose": (changed(u0=np.nan, u1=0.0), DesignError, r"2 treated units have no finite dose above 0 \(first: 0\)"),
    "stray dose": (changed(u2=1.0), DesignError, r"1 units were never treated but have a dose \(first: 2\)"),
    "infinite": (changed(u0=np.inf), DesignError, "no finite dose"),
    "beyond": (changed(u0=11.0), DesignError, r"1 treated units have a dose outside the bands .* to 11 in all"),
    "both": (changed(u0=-1.0, u2=1.0), DesignError, "breaks 2 laws"),
    "one dose": (changed(**{f"u{i}": 1.0 for i in range(15) if i % 3 < 2}), DesignError, "doses, but there are 1"),
    "twice": (
        lambda: dose_response(spenders(1, [4, 0], 4)[0], pd.Series([1.0, 2.0], index=[0, 0]), edges=EDGES),
        DesignError,
        "1 unit repeats",
    ),
    "no past": (on([1, 3, 3, 0, 0]), DesignError, r"untreated_at_first\(\)"),
    "no never": (on([3, 3, 4, 4]), DesignError, "4 and 0"),
    "category": (on([3, 3, 0, 0], category=list("abcd")), DesignError, "use pilot_contrast"),
    "edges": (
        lambda: dose_response(*spenders(1, [4, 0], 4), edges=[2, 1]),
        ParameterError,
        "ascending doses from 0 on",
    ),
    "degree": (
        lambda: dose_response(*spenders(1, [4, 0], 4), edges=EDGES, degree=0),
        ParameterError,
        "1 or more, not 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()


def test_an_unbalanced_panel_is_refused() -> None:
    panel, dose = spenders(1, [4, 0], 5)
    panel.outcome[3, 2] = np.nan
    with pytest.raises(DesignError, match="complete_units"):
        dose_response(panel, dose, edges=EDGES)


def test_intervals_hold_in_about_95_of_100_cases() -> None:
    """A true line 1 + 0.3 d, three starts, unequal noise; bands are judged by the mean dose that they happened to have."""
    draws, held = 400, []
    for seed in range(draws):
        panel, dose = spenders(seed, [3, 5, 7, 0, 0], 50)
        result, spent = dose_response(panel, dose, edges=EDGES), dose[panel.cohort >= 0]
        truth = 1 + 0.3 * spent.groupby(np.searchsorted(EDGES, spent)).mean().to_numpy()
        rows, slope = result.tidy(), result.details["slope"].iloc[0]
        bands = (rows["conf_low"] <= truth) & (truth <= rows["conf_high"])
        held.append([*bands, slope["conf_low"] <= 0.3 <= slope["conf_high"]])
    # 92 % in 1,500 draws for the lowest band, of about 25 units, and 94 to 95 % for the others; three binomial standard
    # errors of 400 draws are 3.3 points.
    assert np.abs(np.mean(held, axis=0) - [0.921, 0.943, 0.951, 0.943]).max() <= 3 * np.sqrt(0.95 * 0.05 / draws)


def test_errors_of_nothing_but_rounding_are_missing() -> None:
    y = np.random.default_rng(0).normal(size=(12, 1)) + np.array([0, 0.3, 0.1, 0.7, 0.2])
    y[:6, 3:] += 1
    panel = Panel.from_matrix(y, treated_from=[4] * 6 + [0] * 6)
    amount = pd.Series(np.where(np.arange(12) < 6, np.arange(12) % 3 + 1.0, 0.0))
    by_dose = did.dose_response(panel, amount, edges=[0, 2, 4])
    levers = pd.DataFrame({"display": amount > 0, "coupon": amount > 2})
    for found in (by_dose, did.lever_effects(panel, levers)):
        assert found.tidy()[["std_error", "conf_low", "p_value"]].isna().all(axis=None)
        assert any("cannot be told from rounding" in note for note in found.notes)
    assert by_dose.details["slope"]["std_error"].isna().all()
    bounds = did.lee_bounds(Panel.from_matrix(np.maximum(y + 9, 1), treated_from=[4] * 6 + [0] * 6))
    assert bounds.filter(regex="error|conf").isna().all(axis=None)
