"""Diagnostics of panels against slow twins and statsmodels, on designs with a known answer, and under relabelling."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit import did
from strategy_kit.did.comparison import balance, overlap
from strategy_kit.did.diagnostics import base_periods, cohort_sizes, composition, thin_cells
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng
START = [4.0] * 5 + [6.0] * 7 + [7.0] * 4 + [np.inf] * 9
LAST_AS_CONTROL = [4.0] * 5 + [6.0] * 7 + [7.0] * 4
steady = settings(deadline=None, derandomize=True, database=None, max_examples=50)


def panel_of(seed: int, start: list[float], periods: int = 8, *, traits: int = 0, **more: Any) -> Panel:
    rng = RNG(seed)
    panel = Panel.from_matrix(rng.normal(size=(len(start), periods)).cumsum(axis=1), treated_from=start)
    if traits:
        more |= {"covariates": rng.normal(size=(len(start), traits)), "covariate_names": tuple("abc"[:traits])}
    return replace(panel, **more)


def shuffled(panel: Panel, seed: int) -> Panel:
    order = RNG(seed).permutation(len(panel.units))
    mixed = {"outcome": panel.outcome[order], "units": panel.units[order], "cohort": panel.cohort[order]}
    if panel.covariates is not None:
        mixed["covariates"] = panel.covariates[order]
    return replace(panel, **mixed)


def compared(start: list[float]) -> list[tuple[float, list[int], list[int]]]:
    """Each cohort's units and those it is compared with, one by one."""
    never = [i for i, g in enumerate(start) if g == np.inf]
    found = []
    for g in sorted({g for g in start if g < np.inf}):
        other = never or [i for i, h in enumerate(start) if h > g]
        if other:
            found.append((g, [i for i, h in enumerate(start) if h == g], other))
    return found


@pytest.mark.parametrize("start", [START, LAST_AS_CONTROL])
def test_balance_equals_its_twin(start: list[float]) -> None:
    panel = panel_of(1, start, traits=2)
    expected = []
    for g, treated, other in compared(start):
        half, last = (int(g) - 1) // 2, int(g) - 1
        measures = {
            "a": panel.covariates[:, 0],
            "b": panel.covariates[:, 1],
            "outcome_level": panel.outcome[:, :last].mean(axis=1),
            "outcome_trend": panel.outcome[:, last - half : last].mean(axis=1) - panel.outcome[:, :half].mean(axis=1),
        }
        for name, values in measures.items():
            x, z = values[treated], values[other]
            gap = (x.mean() - z.mean()) / np.sqrt((x.var(ddof=1) + z.var(ddof=1)) / 2)
            ratio = x.var(ddof=1) / z.var(ddof=1)
            expected.append((int(g), name, x.mean(), z.mean(), gap, ratio, len(treated), len(other)))
    found = balance(panel)
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected, columns=found.columns), rtol=1e-10, atol=1e-12)
    pd.testing.assert_frame_equal(balance(shuffled(panel, 3)), found, rtol=1e-10, atol=1e-12)


def test_balance_weighs_and_counts_what_was_observed() -> None:
    panel = panel_of(2, START)
    holes = panel.outcome.copy()
    holes[0, :3] = holes[20, :6] = np.nan
    weight = RNG(1).uniform(1, 5, size=len(START))
    found = (
        balance(replace(panel, outcome=holes, weight=weight))
        .query("cohort == 4 and measure == 'outcome_level'")
        .iloc[0]
    )
    level = holes[:, :3].mean(axis=1)
    assert found[["n_units", "n_comparison"]].tolist() == [4, 8]
    assert found["treated_mean"] == pytest.approx(np.average(level[1:5], weights=weight[1:5]))
    # equal weights change nothing, and the size of weights never does
    one = balance(replace(panel, weight=np.full(len(START), 7.0)))
    pd.testing.assert_frame_equal(one, balance(panel), rtol=1e-10, atol=1e-12)
    pd.testing.assert_frame_equal(
        balance(replace(panel, weight=3 * weight)), balance(replace(panel, weight=weight)), rtol=1e-10, atol=1e-12
    )


def test_what_never_varies_has_no_standardised_difference() -> None:
    panel = panel_of(3, START, covariates=np.full((25, 1), 0.1), covariate_names=("constant",))
    rows = balance(panel).query("measure == 'constant'")
    assert rows[["standardised_difference", "variance_ratio"]].isna().all(axis=None)
    assert rows["treated_mean"].tolist() == [0.1] * 3
    assert "outcome_trend" not in set(
        balance(panel_of(3, [2.0, 2.0, 0.0, 0.0]))["measure"]
    )  # one period before the start


def test_traits_that_change_count_as_in_the_first_period_or_just_before_the_start() -> None:
    changing = RNG(8).normal(size=(25, 8, 1))
    panel = panel_of(4, START, covariates=changing, covariate_names=("x",))
    first = replace(panel, covariates=changing[:, 0])
    pd.testing.assert_frame_equal(balance(panel), balance(first))
    for g in (4, 6, 7):
        before = replace(panel, covariates=changing[:, g - 2])
        one, other = (rows[rows["cohort"] == g] for rows in (overlap(panel), overlap(before)))
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("start", [START * 2, LAST_AS_CONTROL * 3])
def test_overlap_equals_statsmodels(start: list[float]) -> None:
    panel = panel_of(5, start, traits=2)
    rows = overlap(panel)
    for g, treated, other in compared(start):
        units = treated + other
        X = sm.add_constant(panel.covariates[units])
        chance = sm.Logit(np.arange(len(units)) < len(treated), X).fit(disp=0, tol=1e-12).predict(X)
        own, others = chance[: len(treated)], chance[len(treated) :]
        odds = others / (1 - others)
        side = rows[rows["cohort"] == g].set_index("side")
        names = ["smallest", "lower_quartile", "median", "upper_quartile", "largest"]
        for name, values in (("treated", own), ("comparison", others)):
            # both iterate the likelihood to at least 1e-9
            np.testing.assert_allclose(
                side.loc[name, names].astype(float), np.percentile(values, [0, 25, 50, 75, 100]), rtol=1e-8
            )
        assert side["n_side"].tolist() == [len(own), len(others)]
        assert side["share_outside"].tolist() == [np.mean(own > others.max()), np.mean(others < own.min())]
        assert side["effective_units"].tolist() == pytest.approx(
            [len(own), odds.sum() ** 2 / (odds**2).sum()], rel=1e-7
        )
    pd.testing.assert_frame_equal(overlap(shuffled(panel, 1)), rows, rtol=1e-8)


def test_comparison_units_that_are_certain_to_be_treated_count_for_nothing() -> None:
    # Two comparison units sit far on the treated side, with fitted propensities near 1.
    rng = RNG(7)
    x = np.concatenate([rng.normal(6, 1, 400), rng.normal(0, 1, 400), [9.0, 9.5]])
    panel = Panel.from_matrix(np.zeros((802, 2)), treated_from=[2.0] * 400 + [0.0] * 402)
    rows = overlap(replace(panel, covariates=x[:, None], covariate_names=("x",))).set_index("side")
    assert rows.loc["comparison", "largest"] >= 0.995
    assert rows.loc["comparison", "share_trimmed"] == pytest.approx(2 / 402)
    X = sm.add_constant(x)
    chance = sm.Logit(np.arange(802) < 400, X).fit(disp=0, tol=1e-12).predict(X)[400:]
    odds = (chance / (1 - chance))[chance < 0.995]
    assert rows.loc["comparison", "effective_units"] == pytest.approx(odds.sum() ** 2 / (odds**2).sum(), rel=1e-7)


@st.composite
def holes(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.integers(3, 8)), draw(st.integers(2, 6))
    seen = RNG(draw(st.integers(0, 10_000))).random(shape) < draw(st.floats(0.3, 1.0))
    return np.where(seen, 1.0, np.nan)


@given(holes())
@steady
def test_composition_counts_units_one_by_one(outcome: np.ndarray) -> None:
    start = [2.0, 0.0, *([2.0] * (len(outcome) - 2))]
    rows = composition(Panel.from_matrix(outcome, treated_from=start))
    for row in rows.itertuples():
        units = [i for i, g in enumerate(start) if (g == 0) == row.never_treated]
        t = row.period - 1
        now = {i for i in units if not np.isnan(outcome[i, t])}
        before = {i for i in units if not np.isnan(outcome[i, t - 1])} if t else now
        assert (row.observed, row.entered, row.left) == (len(now), len(now - before), len(before - now))
        assert row.share_observed == len(now) / len(units)
    assert rows["cohort"].isna().tolist() == rows["never_treated"].tolist()
    assert len(rows) == 2 * outcome.shape[1]


def test_sizes_of_dated_cohorts() -> None:
    weeks = pd.date_range("2025-01-06", periods=6, freq="7D")
    starts = [weeks[2], weeks[4], weeks[4], pd.NaT]
    panel = Panel.from_matrix(np.zeros((4, 6)), treated_from=starts, periods=weeks)
    rows = cohort_sizes(replace(panel, weight=np.array([1.0, 2.0, 3.0, 4.0])))
    assert rows["cohort"].tolist()[:2] == [weeks[2], weeks[4]]
    assert rows["cohort"].isna().tolist() == rows["never_treated"].tolist() == [False, False, True]
    assert rows["n_units"].tolist() == [1, 2, 1]
    assert rows["share"].tolist() == pytest.approx([0.1, 0.5, 0.4])
    assert rows[["periods_before", "periods_after"]].to_numpy().tolist() == [[2, 4], [4, 2], [6, 0]]
    assert len(cohort_sizes(panel_of(1, LAST_AS_CONTROL))) == 3


@pytest.mark.parametrize("weighted", [False, True])
def test_weights_of_thin_cells_make_the_overall_average(weighted: bool) -> None:
    weight = RNG(2).uniform(1, 9, size=len(START)) if weighted else None
    effects = did.group_time(panel_of(6, START, weight=weight), control="not_yet")
    for result in (effects, did.event_study(effects), did.by_period(effects)):
        rows = thin_cells(result, least=1000)
        assert len(rows) == len(result.labels)
        assert rows["weight"].sum() == pytest.approx(1)
        assert rows["weight"] @ rows["estimate"] == pytest.approx(result.average[0], rel=1e-10)
    few = thin_cells(effects, least=5)
    assert set(few["cohort"]) == {7}
    assert (few["weight"] == 0).tolist() == (few["period"] < 7).tolist()


def from_window(y: np.ndarray, start: list[float], control: str, window: int, unit_weight: np.ndarray) -> float:
    """The overall effect with the mean of the last `window` periods as base, cell by cell."""
    total = size = 0.0
    for g in sorted({int(g) for g in start if g < np.inf}):
        for t in range(g, y.shape[1] + 1):
            other = [i for i, h in enumerate(start) if h == np.inf or (control == "not_yet" and h > max(t, g))]
            own = [i for i, h in enumerate(start) if h == g]
            change = y[:, t - 1] - y[:, g - 1 - window : g - 1].mean(axis=1)
            gap = (np.average(change[side], weights=unit_weight[side]) for side in (own, other))
            share = unit_weight[own].sum()
            total, size = total + share * (next(gap) - next(gap)), size + share
    return total / size


@pytest.mark.parametrize("control", ["never", "not_yet"])
@pytest.mark.parametrize("window", [1, 4])
def test_windows_equal_their_twin(control: str, window: int) -> None:
    start = [float(np.where(g == 4, 5, g)) for g in START]
    panel = panel_of(7, start)
    found = base_periods(panel, control=control).query("window == @window and base == 'universal'").iloc[0]
    equal = np.ones(len(start))
    assert found["estimate"] == pytest.approx(from_window(panel.outcome, start, control, window, equal), rel=1e-10)
    # A unit's influence is the slope of the estimate in that unit's weight; central differences of step 1e-4 err by 1e-8.
    influence = []
    for unit in np.eye(len(start)) * 1e-4:
        ends = (from_window(panel.outcome, start, control, window, equal + side * unit) for side in (1, -1))
        influence.append((next(ends) - next(ends)) / 2e-4)
    assert found["std_error"] == pytest.approx(np.sqrt(np.square(influence).sum()), rel=1e-6)


def test_bases_agree_on_parallel_trends_and_differ_by_the_slope() -> None:
    start, periods = [9.0] * 4 + [11.0] * 3 + [np.inf] * 5, 14
    common = RNG(3).normal(size=periods) + RNG(4).normal(size=(len(start), 1))
    treated = (np.array(start) < np.inf)[:, None] * np.arange(1, periods + 1)
    level = base_periods(Panel.from_matrix(common, treated_from=start))
    assert level["spread"].tolist() == pytest.approx([0] * 6, abs=1e-12)
    rows = base_periods(Panel.from_matrix(common + 0.5 * treated, treated_from=start), control="never")
    assert rows["anticipation"].tolist() == [0, 0, 1, 2, 0, 0]
    assert rows["window"].tolist() == [1, 1, 1, 1, 4, 8]
    # an older base adds the slope once for each period that it lies further back: 1 and 2, and on average 1.5 and 3.5
    gaps = (rows["estimate"] - rows["estimate"][0]).tolist()
    assert gaps == pytest.approx([0, 0, 0.5, 1.0, 0.75, 1.75], abs=1e-12)
    assert rows["spread"].tolist() == pytest.approx([1.75] * 6)


def test_only_bases_that_every_cohort_has_are_tried() -> None:
    first = did.group_time(panel_of(8, START), control="not_yet").average
    rows = base_periods(panel_of(8, START))
    assert rows[["base", "anticipation", "window"]].to_numpy().tolist() == [
        ["varying", 0, 1],
        ["universal", 0, 1],
        ["varying", 1, 1],
        ["varying", 2, 1],
    ]
    assert rows[["estimate", "std_error"]].iloc[0].tolist() == list(first)
    pd.testing.assert_frame_equal(base_periods(shuffled(panel_of(8, START), 2)), rows, rtol=1e-10)
    assert len(base_periods(panel_of(8, [3.0, 3, 3, 2, 2, 2, 0, 0, 0]))) == 2
    # without a never-treated unit anticipation would cut periods off
    assert base_periods(panel_of(8, LAST_AS_CONTROL))["anticipation"].tolist() == [0, 0]


def test_windows_take_covariates_weights_and_clusters() -> None:
    start = [9.0] * 30 + [11.0] * 30 + [np.inf] * 60
    rng = RNG(5)
    traits = np.repeat(rng.normal(size=(120, 1)), 14, axis=1)[:, :, None]
    more = {"weight": rng.uniform(1, 3, 120), "cluster": np.arange(120) // 2, "covariate_names": ("x",)}
    changing, fixed = (panel_of(9, start, 14, covariates=c, **more) for c in (traits, traits[:, 0]))
    one, other = base_periods(changing), base_periods(fixed)
    assert one["window"].tolist() == [1, 1, 1, 1, 4, 8]
    pd.testing.assert_frame_equal(one, other, rtol=1e-8)  # the same logits, fitted in another order
    holes = fixed.outcome.copy()
    holes[0, 0] = np.nan
    assert base_periods(replace(fixed, outcome=holes, covariates=None))["window"].tolist() == [1, 1, 1, 1]


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no covariates": (lambda: overlap(panel_of(1, START)), DesignError, "no covariates"),
    "separated": (
        lambda: overlap(panel_of(1, START, covariates=np.nan_to_num(START, posinf=0)[:, None], covariate_names=("x",))),
        DesignError,
        "separate cohort 4, 6, 7",
    ),
    "nobody to compare": (lambda: balance(panel_of(1, [4.0, 4.0])), DesignError, "units that start later or never"),
    "nobody treated": (
        lambda: balance(panel_of(1, [0.0, 0.0])),
        DesignError,
        "a cohort with a period before its start",
    ),
    "early": (lambda: balance(panel_of(1, [1.0, 0.0])), DesignError, "untreated_at_first"),
    "least": (lambda: thin_cells(did.group_time(panel_of(1, START)), least=0), ParameterError, "1 or more, not 0"),
    "thin cohorts": (
        lambda: thin_cells(did.by_cohort(did.group_time(panel_of(1, START)))),
        DesignError,
        "start from group_time",
    ),
    "category": (
        lambda: base_periods(
            Panel.from_matrix(np.eye(4), treated_from=[3, 3, 0, 0], category=["a", "a", "b", "b"]), control="never"
        ),
        DesignError,
        "pilot_contrast",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()
