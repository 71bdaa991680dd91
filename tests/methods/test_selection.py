"""Selection on growth: what each base window finds when nothing happened, against theory, twins and simulation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategy_kit import did
from strategy_kit.did import Selection
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray
GROWTH = Selection(early=(9, 12), late=(13, 16))
LEVEL = Selection(late=(13, 16))
EARLY, LATE, START, PERIODS = slice(8, 12), slice(12, 16), 16, 28
SPREAD = 0.5
BEFORE = {"before_selection": slice(8), "all_before": slice(16), "early": EARLY, "late": LATE, "symmetric": slice(12)}
steady = settings(deadline=None, derandomize=True, database=None, max_examples=15)


def world(persistence: float, units: int, random: np.random.Generator) -> Array:
    """Log sales without any support: a merchant's own level and a stationary transitory part."""
    noise = random.normal(size=(units, PERIODS)) * SPREAD
    noise[:, 1:] *= np.sqrt(1 - persistence**2)
    for period in range(1, PERIODS):
        noise[:, period] += persistence * noise[:, period - 1]
    return noise + random.normal(size=(units, 1))


def growth_of(y: Array) -> Array:
    return y[:, LATE].mean(axis=1) - y[:, EARLY].mean(axis=1)


def panel_of(y: Array, chosen: Array, **more: Any) -> Panel:
    return replace(Panel.from_matrix(y, treated_from=np.where(chosen, START + 1, 0)), **more)


def top_tenth(score: Array) -> Array:
    return score >= np.quantile(score, 0.9)


MEASURED = {
    0.5: {"all_before": 7.7, "late": -32.9, "before_selection": 11.1, "matched": 8.5},
    0.8: {"all_before": 30.8, "late": -21.2, "before_selection": 45.9, "matched": 32.5},
    0.95: {"all_before": 47.7, "late": 0.8, "before_selection": 69.3, "matched": 47.3},
}
"""Percent, from the world in which the top tenth by four-week growth was supported and support did nothing."""


def matched(y: Array, chosen: Array, bins: int = 200) -> float:
    """Change from all weeks before, against unsupported merchants with the same level in the last four weeks."""
    level, change = y[:, LATE].mean(axis=1), y[:, START:].mean(axis=1) - y[:, :START].mean(axis=1)
    code = np.digitize(level, np.quantile(level, np.linspace(0, 1, bins + 1)[1:-1]))
    mean = np.bincount(code, change * ~chosen, bins) / np.bincount(code, ~chosen, bins)
    return float(change[chosen].mean() - mean[code[chosen]].mean())


@pytest.mark.parametrize("persistence", MEASURED)
def test_the_effect_is_entirely_the_base_window(persistence: float) -> None:
    y = world(persistence, 40_000, np.random.default_rng(1))
    chosen = top_tenth(growth_of(y))
    frame = did.selection_windows(panel_of(y, chosen), selection=GROWTH).set_index("base_window")
    found = {name: np.log1p(value / 100) for name, value in MEASURED[persistence].items()}
    # Both sides are draws: errors here are below 0.008, and those of the numbers measured before are of that size.
    assert matched(y, chosen) == pytest.approx(found.pop("matched"), abs=0.025)
    assert frame.loc[list(found), "estimate"].tolist() == pytest.approx(list(found.values()), abs=0.025)
    assert "grew beyond all unsupported ones" in frame.loc["forecast", "missing_because"]
    assert frame["spread"].iloc[0] > 0.3


@pytest.mark.parametrize("persistence", MEASURED)
@pytest.mark.parametrize("selection", [GROWTH, LEVEL], ids=["growth", "level"])
def test_every_window_is_off_by_what_theory_says(persistence: float, selection: Selection) -> None:
    y = world(persistence, 40_000, np.random.default_rng(2))
    weight = np.zeros(PERIODS)
    weight[LATE] = 1 / 4
    if selection is GROWTH:
        weight[EARLY] = -1 / 4
    score = y @ weight
    chosen = top_tenth(score)
    covariance = SPREAD**2 * persistence ** np.abs(np.subtract.outer(np.arange(PERIODS), np.arange(PERIODS)))
    if selection is LEVEL:
        covariance += 1  # the merchants' own levels count for the choice too, and cancel in every change
    before = {**BEFORE, "before_selection": slice(8 if selection is GROWTH else 12)}
    gap = score[chosen].mean() - score[~chosen].mean()
    frame = did.selection_windows(panel_of(y, chosen), selection=selection).set_index("base_window")
    for name in frame.index.drop("forecast"):
        contrast = np.zeros(PERIODS)
        contrast[START:] += 1 / 12
        contrast[before[name]] -= 1 / (before[name].stop - (before[name].start or 0))
        bias = contrast @ covariance @ weight / (weight @ covariance @ weight) * gap
        assert frame.loc[name, "estimate"] == pytest.approx(bias, abs=4 * frame.loc[name, "std_error"])
        if name == "symmetric":
            # Around a level the two sides are alike; around growth they are opposite.
            assert (abs(bias) < 1e-12) == (selection is LEVEL)


def test_symmetric_windows_do_not_help_with_a_random_walk() -> None:
    random = np.random.default_rng(3)
    y = random.normal(size=(20_000, PERIODS)).cumsum(axis=1)
    row = did.symmetric(panel_of(y, top_tenth(y[:, LATE].mean(axis=1))), window=(13, 16)).tidy().iloc[0]
    assert row["conf_low"] > 1


def partly(y: Array, score: Array, random: np.random.Generator) -> Array:
    """Two fifths of the best fifth, by lot."""
    return (score >= np.quantile(score, 0.8)) & (random.random(len(y)) < 0.4)


@pytest.mark.parametrize(
    ("persistence", "selection"), [(0.5, GROWTH), (0.95, GROWTH), (0.8, LEVEL)], ids=["calm", "persistent", "level"]
)
def test_the_forecast_holds_where_choice_was_by_the_past(persistence: float, selection: Selection) -> None:
    random, draws, effect, found = np.random.default_rng(4), 300, 0.1, []
    for _ in range(draws):
        y = world(persistence, 800, random)
        chosen = partly(y, growth_of(y) if selection is GROWTH else y[:, LATE].mean(axis=1), random)
        y[chosen, START:] += effect
        result = did.past_growth(panel_of(y, chosen), selection=selection)
        change = y[:, START:].mean(axis=1) - y[:, :START].mean(axis=1)
        found.append([result.estimate[0], result.std_error[0], change[chosen].mean() - change[~chosen].mean()])
    estimate, error, plain = np.array(found).T
    covered = int((np.abs(estimate - effect) < stats.norm.ppf(0.975) * error).sum())
    # 99.9 % of a binomial at 95 %, one point lower because errors divide by n.
    assert stats.binom.ppf(0.0005, draws, 0.94) <= covered <= stats.binom.ppf(0.9995, draws, 0.95)
    assert abs(estimate.mean() - effect) < 4 * estimate.std() / np.sqrt(draws)
    assert abs(plain.mean() - effect) > 4 * plain.std() / np.sqrt(draws)  # the plain difference does not hold


def test_the_forecast_fails_where_the_future_was_known() -> None:
    random = np.random.default_rng(5)
    y = world(0.5, 20_000, random)
    chosen = partly(y, growth_of(y) + 0.3 * y[:, START:].mean(axis=1), random)
    row = did.past_growth(panel_of(y, chosen), selection=GROWTH).tidy().iloc[0]
    assert row["conf_low"] > 0.02


def test_the_forecast_is_least_squares_and_the_parts_add_up() -> None:
    random = np.random.default_rng(6)
    y = world(0.8, 800, random)
    chosen = partly(y, growth_of(y), random)
    result = did.past_growth(panel_of(y, chosen), selection=GROWTH)
    growth, early, late = growth_of(y), y[:, EARLY].mean(axis=1), y[:, LATE].mean(axis=1)
    terms = np.column_stack([growth, growth**2, (early + late) / 2, y[:, :8].mean(axis=1)])
    used = ~chosen & (growth >= growth[chosen].min()) & (growth <= growth[chosen].max())
    # Least squares on the level after the start: the base does not matter, because the terms hold the late window.
    fit = sm.OLS(y[used, START:].mean(axis=1), sm.add_constant(terms[used])).fit()
    missed = y[chosen, START:].mean(axis=1) - fit.predict(sm.add_constant(terms[chosen]))
    mean = np.append(1, terms[chosen].mean(axis=0))
    forecast = mean @ fit.get_robustcov_results("HC3").cov_params() @ mean
    assert result.std_error[0] ** 2 == pytest.approx(forecast + missed.var() / chosen.sum(), rel=1e-9)
    inside = growth[chosen] <= growth[~chosen].max()
    assert result.estimate == pytest.approx([missed.mean(), missed[inside].mean()], rel=1e-9)
    part = result.details["parts"].set_index("part")["estimate"]
    assert part["effect"] == pytest.approx(result.estimate[0], rel=1e-9)
    assert part["before_after"] == pytest.approx(part["effect"] + part["anyway"], rel=1e-9)
    change = y[:, START:].mean(axis=1) - late
    assert part["before_after"] == pytest.approx(change[chosen].mean() - change[~chosen].mean(), rel=1e-9)
    overlap = result.details["overlap"].iloc[0]
    assert overlap[["share_outside", "n_comparison"]].tolist() == [1 - inside.mean(), used.sum()]
    assert 0 < overlap["effective_units"] < used.sum()


def derivative_error(make: Callable[[Panel], Any], panel: Panel) -> Array:
    """Standard errors from what a small change of each unit's weight does to the estimates."""
    units, step = len(panel.units), 1e-5
    moved = []
    for unit in range(units):
        ends = []
        for sign in (1, -1):
            weight = np.ones(units)
            weight[unit] += sign * step
            ends.append(np.asarray(make(replace(panel, weight=weight)), float))
        moved.append((ends[0] - ends[1]) / (2 * step))
    return np.sqrt(np.square(moved).sum(axis=0))


def scored(panel: Panel) -> Any:
    return did.just_below(panel, pd.Series(growth_of(panel.outcome)), cut=0.1, width=0.2)


FITS: dict[str, Callable[[Panel], Any]] = {
    "past_growth": lambda panel: did.past_growth(panel, selection=GROWTH),
    "symmetric": lambda panel: did.symmetric(panel, window=(13, 16), gap=1),
    "pre_selection": lambda panel: did.pre_selection(panel, selection=GROWTH),
    "just_below": scored,
}


def small(seed: int, units: int = 150) -> Panel:
    random = np.random.default_rng(seed)
    y = world(0.5, units, random)
    return panel_of(y, partly(y, growth_of(y), random) | (np.arange(units) < 3))


@pytest.mark.parametrize("name", sorted(set(FITS) - {"past_growth"}))
def test_errors_are_derivatives_by_each_weight(name: str) -> None:
    panel = small(7)
    found = FITS[name](panel)
    assert found.std_error == pytest.approx(derivative_error(lambda p: FITS[name](p).estimate, panel), rel=1e-5)


@pytest.mark.parametrize("name", FITS)
def test_a_weight_of_two_is_two_units_of_one_cluster(name: str) -> None:
    panel = small(8)
    units = len(panel.units)
    weight = 1.0 + (np.arange(units) % 3 == 0)
    twice = np.repeat(np.arange(units), weight.astype(int))
    doubled = panel_of(panel.outcome[twice], panel.cohort[twice] == 0, cluster=twice)
    one, two = FITS[name](replace(panel, weight=weight)), FITS[name](doubled)
    assert two.estimate == pytest.approx(one.estimate, rel=1e-9)
    # the forecast's errors leave one merchant out, of weight 2 or one of two that are alike
    assert two.std_error == pytest.approx(one.std_error, rel=0.05 if name == "past_growth" else 1e-9)


@steady
@given(st.integers(0, 1_000), st.floats(0.1, 50), st.floats(-5, 5))
def test_order_scale_and_level_of_units_change_nothing_else(seed: int, factor: float, shift: float) -> None:
    panel = small(seed, 300)
    random = np.random.default_rng(seed)
    order, own = random.permutation(300), random.normal(size=(300, 1))
    for name, fit in FITS.items():
        if name == "just_below":
            continue
        base = fit(panel)
        mixed = fit(panel_of(panel.outcome[order], panel.cohort[order] == 0))
        # a constant of each merchant cancels in changes; the forecast uses the level, where only a common one does
        shifted = panel.outcome * factor + shift * (1 if name == "past_growth" else own)
        scaled = fit(panel_of(shifted, panel.cohort == 0))
        for other, by in ((mixed, 1.0), (scaled, factor)):
            assert other.estimate == pytest.approx(by * base.estimate, rel=1e-6, abs=1e-9 * by)
            assert other.std_error == pytest.approx(by * base.std_error, rel=1e-6)


def test_windows_are_those_of_the_single_functions() -> None:
    panel = small(9)
    frame = did.selection_windows(panel, selection=GROWTH).set_index("base_window")
    ends = ["base_first", "base_last", "after_first", "after_last", "estimate", "std_error"]
    for name, fit in (
        ("before_selection", did.pre_selection(panel, selection=GROWTH)),
        ("symmetric", did.symmetric(panel, window=(13, 16))),
    ):
        assert frame.loc[name, ends].tolist() == pytest.approx(fit.tidy()[ends].iloc[0].tolist())
    assert frame.loc["forecast", ends[:4]].tolist() == [9, 16, 17, 28]
    assert frame.loc["late", ends[:4]].tolist() == [13, 16, 17, 28]
    assert frame.loc["forecast", "n_comparison"] < frame.loc["late", "n_comparison"]
    estimate = frame["estimate"]
    assert frame["spread"].tolist() == pytest.approx([estimate.max() - estimate.min()] * len(frame))


def test_periods_may_be_dates_and_the_mirror_counts_them() -> None:
    panel = small(10)
    weeks = pd.date_range("2025-01-06", periods=PERIODS, freq="7D")
    chosen = panel.cohort == 0
    dated = Panel.from_matrix(
        panel.outcome,
        treated_from=pd.Series(np.where(chosen, weeks[START], pd.NaT)).astype("datetime64[us]"),
        periods=weeks,
    )
    one = did.symmetric(dated, window=("2025-03-31", "2025-04-21"), gap=2).tidy().iloc[0]
    two = did.symmetric(panel, window=(13, 16), gap=2).tidy().iloc[0]
    assert one["estimate"] == pytest.approx(two["estimate"])
    assert one["base_last"] == weeks[9]
    frame = did.selection_windows(dated, selection=Selection(early=tuple(weeks[[0, 3]]), late=tuple(weeks[[12, 15]])))
    assert frame["base_first"].isna().tolist() == [True, False, False, False, False, frame["estimate"].isna().iloc[-1]]
    short = did.symmetric(panel, window=(10, 11)).notes
    assert any("not used: 8" in note for note in short)


def test_negative_controls_find_nothing_where_nothing_is() -> None:
    random, draws, alarms = np.random.default_rng(11), 300, 0
    for _ in range(draws):
        y = world(0.8, 400, random)
        score = random.normal(size=400)
        result = did.just_below(panel_of(y, score >= 1), pd.Series(score), cut=1.0, width=0.7)
        alarms += int(result.tidy()["p_value"].iloc[0] < 0.05)
    # 99.9 % of a binomial at 5 %, one point higher because errors divide by n
    assert stats.binom.ppf(0.0005, draws, 0.05) <= alarms <= stats.binom.ppf(0.9995, draws, 0.06)


def test_negative_controls_show_regression_to_the_mean_and_take_part_of_it_away() -> None:
    y = world(0.8, 40_000, np.random.default_rng(12))
    growth = growth_of(y)
    chosen = top_tenth(growth)
    result = did.just_below(panel_of(y, chosen), pd.Series(growth), cut=growth[chosen].min(), width=0.1)
    rows = result.tidy().set_index("contrast")
    assert rows.loc["placebo", "conf_low"] > 0.1
    assert 0 < rows.loc["corrected", "estimate"] < rows.loc["uncorrected", "estimate"] / 2
    assert result.estimate @ [1, -1, 1] == pytest.approx(0, abs=1e-12)
    assert np.array([1, -1, 1]) @ result.covariance @ [1, -1, 1] == pytest.approx(0, abs=1e-12)
    placebo = y[:, START:].mean(axis=1) - y[:, :START].mean(axis=1)
    near = ~chosen & (growth >= growth[chosen].min() - 0.1)
    far = ~chosen & ~near
    assert result.estimate[0] == pytest.approx(placebo[near].mean() - placebo[far].mean())
    assert rows["n_units"].tolist() == [near.sum(), chosen.sum(), chosen.sum()]
    assert rows["n_comparison"].tolist() == [far.sum(), far.sum(), near.sum()]


def test_order_scale_and_level_of_units_do_not_move_the_placebo() -> None:
    panel, random = small(15), np.random.default_rng(15)
    score, order = pd.Series(growth_of(panel.outcome)), random.permutation(150)
    shifted = 3 * panel.outcome + random.normal(size=(150, 1))
    moved = Panel.from_matrix(
        shifted[order], treated_from=np.where(panel.cohort[order] == 0, START + 1, 0), units=order
    )
    one = did.just_below(panel, score, cut=0.1, width=0.2)
    two = did.just_below(moved, score, cut=0.1, width=0.2)  # scores are found by unit
    assert two.estimate == pytest.approx(3 * one.estimate)
    assert two.std_error == pytest.approx(3 * one.std_error)


def test_merchants_on_the_wrong_side_of_the_cut_are_counted() -> None:
    panel = small(13)
    notes = " ".join(scored(panel).notes)
    growth, chosen = growth_of(panel.outcome), panel.cohort == 0
    assert f"with a score below the cut, left out: {(chosen & (growth < 0.1)).sum()}" in notes
    assert f"not supported with a score at or above it, left out: {(~chosen & (growth >= 0.1)).sum()}" in notes
