"""Panels that ought to break an estimator: each is refused in one sentence, or answered with finite numbers and notes."""

from __future__ import annotations

import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit import did
from strategy_kit.did.guards import LEAST_CLUSTERS
from strategy_kit.did.synthetic import synthetic
from strategy_kit.errors import ContractError, DesignError, StrategyKitError
from strategy_kit.inference import Multiplier
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates

RNG = np.random.default_rng
METHODS = ("regression", "weighting", "doubly_robust")
ESTIMATORS: dict[str, Callable[[Panel], Estimates]] = {
    **{f"group_time {m}": partial(did.group_time, control="not_yet", method=m) for m in METHODS},
    "two_way": did.two_way,
    "two_way_event_study": did.two_way_event_study,
    "sun_abraham": did.sun_abraham,
    "saturated": did.saturated,
    "stacked": did.stacked,
    "imputation": did.imputation,
    "bacon": did.bacon,
    "poisson": did.poisson,
    "poisson_saturated": did.poisson_saturated,
    "synthetic": synthetic,
    "pilot_contrast": did.pilot_contrast,
    "triple_difference": lambda p: did.triple_difference(p, np.arange(len(p.units)) // 3 % 2 == 0, control="not_yet"),
}
LINEAR = [name for name in ESTIMATORS if "poisson" not in name]


def outcome(units: int = 24, periods: int = 6, seed: int = 0) -> np.ndarray:
    """Positive, in 1024ths, so that levels up to 1e9 are added without rounding."""
    rng = RNG(seed)
    return np.round(1024 * (3 + rng.exponential(size=(units, 1)) + rng.exponential(size=(units, periods)))) / 1024


def panel(starts: Any = (4, 5, 0), *, y: np.ndarray | None = None, periods: Any = None, **fields: Any) -> Panel:
    y = outcome() if y is None else y
    return replace(Panel.from_matrix(y, treated_from=np.resize(starts, len(y)), periods=periods), **fields)


def lacking(cells: Any) -> np.ndarray:
    y = outcome()
    y[cells] = np.nan
    return y


def adjusted(*columns: np.ndarray, **fields: Any) -> Panel:
    names = tuple("abc"[: len(columns)])
    return panel((4, 0), covariates=np.column_stack(columns), covariate_names=names, **fields)


NAMES: dict[str, Any] = {"unit": "id", "period": "t", "outcome": "y", "treated_from": "g"}


def frame(**columns: Any) -> pd.DataFrame:
    rows = {"id": np.repeat(np.arange(24), 6), "t": np.tile(np.arange(1, 7), 24), "y": outcome().ravel()}
    return pd.DataFrame(rows | {"g": np.repeat(np.resize([4, 5, 0], 24), 6)}).assign(**columns)


PARALLEL = RNG(1).exponential(size=(24, 1)) + RNG(2).exponential(size=(1, 6))
X, TREATED = RNG(3).normal(size=24), np.resize([1.0, 0.0], 24)
PANELS: dict[str, Callable[[], Panel]] = {
    "all treated at once": lambda: panel(4),
    "never none": lambda: panel((3, 4, 6)),
    "never none and a gap": lambda: panel((2, 5)),
    "none treated": lambda: panel(0),
    "all treated from the first period": lambda: panel(1),
    "one period": lambda: panel((1, 0), y=outcome(24, 1)),
    "one unit": lambda: panel(4, y=outcome(1)),
    "one unit a side": lambda: panel((4, 0), y=outcome(2)),
    "cohorts of one unit": lambda: panel((3, 4, 5, 6, 0, 0), y=outcome(6)),
    "no unit": lambda: panel([], y=np.zeros((0, 4))),
    "an outcome missing": lambda: panel(y=lacking((3, 2))),
    "a period without observation": lambda: panel(y=lacking((slice(None), 2))),
    "no observation": lambda: panel(y=lacking(slice(None))),
    "zeros": lambda: panel(y=np.zeros((24, 6))),
    "one value": lambda: panel(y=np.full((24, 6), 0.1)),
    "paths in parallel": lambda: panel(y=PARALLEL),
    "tiny numbers": lambda: panel(y=outcome() * 1e-60),
    "unequal spacing": lambda: panel((7, 8, 0), periods=[1, 2, 4, 7, 8, 12]),
    "a start between periods": lambda: panel((6, 7, 0), periods=[1, 2, 4, 7, 8, 12]),
    "a constant covariate": lambda: adjusted(np.full(24, 3.0)),
    "covariates of one line": lambda: adjusted(X, 2 * X + 1),
    "a covariate that is the treatment": lambda: adjusted(TREATED),
    "a covariate that separates": lambda: adjusted(X + 20 * TREATED),
    "more covariates than units": lambda: adjusted(RNG(5).normal(size=(24, 13))),
    "one cluster": lambda: panel(cluster=np.zeros(24, dtype=int)),
    "a cluster a cohort": lambda: panel(cluster=np.resize([0, 1, 2], 24)),
    "weights": lambda: panel(weight=RNG(6).uniform(0.1, 9, 24)),
    "whole categories": lambda: panel(category=pd.Series(np.resize(list("abc"), 24))),
}


def one_sentence(refusal: StrategyKitError) -> None:
    """A refusal is one line, and says what to do after a semicolon."""
    assert "\n" not in str(refusal)
    assert ";" in str(refusal), refusal


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("case", PANELS)
def test_a_panel_is_refused_in_one_sentence_or_answered_with_numbers(case: str, estimator: str) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            made = PANELS[case]()
            found = ESTIMATORS[estimator](made)
        except StrategyKitError as refusal:
            one_sentence(refusal)
            return
        rows, top = found.tidy(), found.glance()
    assert not heard, heard[0].message
    assert len(rows)
    assert np.isfinite([*rows["estimate"], *top["estimate"]]).all()
    error = rows["std_error"].to_numpy()
    if np.isnan(error).any() or top["std_error"].isna().any():
        assert found.notes, "standard errors are missing without a word"
    assert rows["p_value"].isna().tolist() == np.isnan(error).tolist()
    size = 1.0 if "poisson" in estimator else np.abs(made.outcome[np.isfinite(made.outcome)]).max()
    # Rounding of sums leaves about 1e-16 of the outcome's size, and what is not identified about 1e+14 of it.
    assert not ((error < 1e-13 * size) | (error > 1e6 * size)).any(), f"errors of rounding: {error}"


def in_blocks_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    readers = [m for name, m in sys.modules.items() if name.startswith("strategy_kit.") and hasattr(m, "BLOCK_ROWS")]
    assert len(readers) >= 5
    for module in readers:
        monkeypatch.setattr(module, "BLOCK_ROWS", 3)


def alike(again: Estimates, first: Estimates) -> None:
    # sums of 24 numbers in another order
    np.testing.assert_allclose(again.estimate, first.estimate, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(again.covariance, first.covariance, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_neither_run_nor_row_order_nor_block_changes_a_number(estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = ESTIMATORS[estimator]
    first = estimate(panel())
    for other in (panel(), Panel.from_frame(frame().sample(frac=1, random_state=1), **NAMES)):
        again = estimate(other)
        assert again.covariance.tobytes() == first.covariance.tobytes()
        assert again.tidy().equals(first.tidy())
    in_blocks_of_three(monkeypatch)
    alike(estimate(panel()), first)


@pytest.mark.parametrize("more", [{}, {"covariates": X[:, None], "covariate_names": ("a",)}, {"weight": np.exp(X)}])
@pytest.mark.parametrize("y", [outcome(), lacking((3, 2))], ids=["balanced", "unbalanced"])
def test_blocks_do_not_matter_where_units_are_read(
    y: np.ndarray, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = did.group_time(panel(y=y, **more))
    in_blocks_of_three(monkeypatch)
    alike(did.group_time(panel(y=y, **more)), first)


def test_draws_of_a_seed_have_the_same_bytes_and_those_of_another_do_not() -> None:
    drawn = [did.group_time(panel(), inference=Multiplier(99, seed)).covariance.tobytes() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("estimator", LINEAR)
def test_a_large_level_costs_no_digit_that_the_outcome_has(estimator: str) -> None:
    low, high = (ESTIMATORS[estimator](panel(y=outcome() + level)) for level in (0.0, 1e9))
    # Doubles near 1e9 are 1.2e-7 apart; a few of these steps are all that sums may lose.
    np.testing.assert_allclose(high.estimate, low.estimate, atol=1e-6)
    np.testing.assert_allclose(high.std_error, low.std_error, rtol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_unit_of_money_changes_nothing_but_itself(estimator: str) -> None:
    one, tiny = (ESTIMATORS[estimator](panel(y=outcome() * unit)) for unit in (1.0, 2.0**-40))
    factor = 1.0 if "poisson" in estimator else 2.0**-40
    # powers of two are exact; iterations and cut-offs are not
    np.testing.assert_allclose(tiny.estimate / factor, one.estimate, rtol=1e-7)
    np.testing.assert_allclose(tiny.std_error / factor, one.std_error, rtol=1e-7)


@pytest.mark.parametrize("y", [outcome(), lacking((3, 2))], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("shift", "scale"), [(1e4, 1.0), (0.0, 1e9), (0.0, 1e-9)])
def test_the_unit_of_a_covariate_changes_nothing(y: np.ndarray, method: Any, shift: float, scale: float) -> None:
    plain, moved = (
        did.group_time(panel(y=y, covariates=x[:, None], covariate_names=("a",)), method=method)
        for x in (X, X * scale + shift)
    )
    # A shift of 1e4 leaves 12 digits of the covariate, and its square in a cross-product half of what is left.
    np.testing.assert_allclose(moved.estimate, plain.estimate, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(moved.std_error, plain.std_error, rtol=1e-6)


CLOCKS = {
    "quarters": pd.date_range("2024-01-01", periods=6, freq="QS"),
    "years as dates": pd.date_range("2019-01-01", periods=6, freq="YS"),
    "fortnights": pd.date_range("2024-01-01", periods=6, freq="14D"),
    "hours": pd.date_range("2024-01-01", periods=6, freq="h"),
    "decimal quarters": [2003, 2003.25, 2003.5, 2003.75, 2004, 2004.25],
}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("anticipation", [0, 1])
def test_periods_are_counted_not_measured(clock: str, anticipation: int) -> None:
    labels = pd.Series(CLOCKS[clock])
    starts = labels.iloc[np.resize([3, 4, 0], 24)].where(np.resize([True, True, False], 24))
    counted = did.group_time(panel(), anticipation=anticipation)
    try:
        made = Panel.from_matrix(outcome(), treated_from=starts, periods=labels)
    except ContractError:
        return
    found = did.group_time(made, anticipation=anticipation)
    np.testing.assert_allclose(found.estimate, counted.estimate, atol=1e-12)
    assert did.event_study(found).tidy()["age"].tolist() == did.event_study(counted).tidy()["age"].tolist()


def test_a_start_in_weeks_that_nobody_observed_is_not_put_before_them() -> None:
    weeks = pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-15", "2024-02-05", "2024-02-12", "2024-02-19"])
    starts = pd.Series(np.resize([pd.Timestamp("2024-01-24"), pd.NaT], 24))
    try:
        found = Panel.from_matrix(outcome(), treated_from=starts, periods=weeks)
    except StrategyKitError:
        return
    # The week of 15 January was over when treatment started.
    assert found.starts.tolist() == [3]


@pytest.mark.parametrize("start", [3.5, 3.2])
def test_a_start_between_two_numbers_is_the_next_period_for_every_estimator(start: float) -> None:
    try:
        between = panel((start, 0))
    except StrategyKitError:
        return
    for name, estimate in ESTIMATORS.items():
        whole = estimate(panel((4, 0)))
        np.testing.assert_allclose(estimate(between).estimate, whole.estimate, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("clusters", [1, 9, 10])
@pytest.mark.parametrize("estimator", ["group_time", "dose_response", "triple_difference"])
def test_errors_over_few_clusters_are_refused_with_the_way_out(estimator: str, clusters: int) -> None:
    treated = np.arange(120) % 2 == 0
    cluster = np.where(treated, np.arange(120) // 2 % clusters, 100 + np.arange(120) // 2 % 12)
    made = Panel.from_matrix(RNG(3).normal(size=(120, 5)), treated_from=np.where(treated, 4, 0))
    made = replace(made, cluster=cluster)
    estimate = {
        "group_time": did.group_time,
        "dose_response": lambda p: did.dose_response(
            p, pd.Series(np.where(treated, 1.0 + np.arange(120) % 4 / 2, 0.0)), edges=[0, 1, 2]
        ),
        "triple_difference": lambda p: did.triple_difference(p, np.arange(120) % 4 < 2),
    }[estimator]
    if clusters >= LEAST_CLUSTERS:
        assert np.isfinite(estimate(made).std_error).all()
        return
    with pytest.raises(DesignError, match=f"but {clusters} are treated and 12 are not.*pilot_contrast"):
        estimate(made)
    if estimator == "group_time":
        assert np.isfinite(did.group_time(made, inference="none").estimate).all()


@pytest.mark.parametrize(
    "estimator",
    ["group_time", "two_way", "two_way_event_study", "sun_abraham", "saturated", "imputation", "stacked", "bacon"],
)
def test_points_under_category_assignment_count_categories(estimator: str) -> None:
    category = np.repeat(np.arange(12), 20)
    made = Panel.from_matrix(
        RNG(4).normal(size=(240, 10)), treated_from=np.where(category < 3, 6, 0), category=category
    )
    estimate = getattr(did, estimator)
    with pytest.raises(DesignError, match=r"assigned at category level.*pilot_contrast.*inference='none'"):
        estimate(made)
    points = estimate(made, inference="none")
    assert (points.assigned_at, points.clusters) == ("category", (3, 9))
    assert np.isnan(points.std_error).all()
    assert "3 treated, 9 comparison categories" in repr(points)


CLOTHES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "objects": lambda f: f.astype(object),
    "categories": lambda f: f.astype({"id": "category", "t": "category", "g": "category"}),
    "arrow": lambda f: f.astype(dict.fromkeys(("id", "t", "g"), "int64[pyarrow]") | {"y": "double[pyarrow]"}),
    "nullable": lambda f: f.assign(g=f["g"].where(f["g"] > 0)).convert_dtypes(),
    "unsigned": lambda f: f.astype({"id": "uint8", "t": "uint8", "g": "uint64"}),
    "Decimal outcome": lambda f: f.assign(y=f["y"].map(Decimal)),
    "text outcome": lambda f: f.assign(y=f["y"].astype(str)),
    "units of two kinds": lambda f: f.assign(id=[i if i % 2 else f"shop {i}" for i in f["id"]]),
    "columns of our names": lambda f: f.assign(cohort=0, unit=1, period=2, outcome=3, age=4, joint=5),
}


@pytest.mark.parametrize("case", CLOTHES)
def test_a_frame_in_other_clothes_is_the_same_panel(case: str) -> None:
    found, plain = (did.group_time(Panel.from_frame(f, **NAMES)) for f in (CLOTHES[case](frame()), frame()))
    np.testing.assert_allclose(found.estimate, plain.estimate, atol=1e-12)


BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "both infinities": (lambda: frame(y=np.resize([1.0, np.inf, -np.inf], 144)), "y must be a finite number, but 96"),
    "complex": (lambda: frame(y=1j), "y must be a finite number"),
    "dates as outcome": (lambda: frame(y=pd.Timestamp("2024-01-01")), "y must be a finite number"),
    "a column twice": (lambda: pd.concat([frame(), frame()[["y"]]], axis=1), "'?y'? .*(twice|repeat|once)"),
    "numbers as text": (lambda: frame(t=np.tile(list("123456"), 24)), "period must be integers.*not other text; write"),
    "units of no order": (lambda: frame(id=np.resize([pd.Timestamp("2024-01-01"), 1], 144)), "id .*;"),
    "a time zone": (lambda: frame(t=pd.Timestamp("2024-01-01", tz="Asia/Shanghai")), "take the time zone"),
    "a treatment that stops": (lambda: frame(g=np.tile([4, 4, 4, 4, 0, 0], 24)), "24 units.*starts once and stays"),
    "a unit twice": (lambda: pd.concat([frame(), frame().head(6)]), "6 rows do.*sum or drop"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_frame_that_is_no_panel_is_refused(case: str) -> None:
    make, words = BROKEN[case]
    data = make()
    with pytest.raises(ContractError, match=words):
        Panel.from_frame(data, **NAMES)


MATRICES: dict[str, dict[str, Any]] = {
    "no period": {"outcome": np.zeros((4, 0)), "treated_from": [0] * 4},
    "one row of numbers": {"outcome": np.zeros(4), "treated_from": [0] * 4},
    "too few categories": {"outcome": np.zeros((4, 2)), "treated_from": [2, 2, 0, 0], "category": ["a"]},
    "units that repeat": {"outcome": np.zeros((4, 2)), "treated_from": [2, 2, 0, 0], "units": [1, 1, 2, 2]},
    "an endless period": {"outcome": np.zeros((4, 2)), "treated_from": [2, 2, 0, 0], "periods": [1, np.inf]},
    "both infinities": {"outcome": np.array([[np.inf, -np.inf]] * 4), "treated_from": [2, 2, 0, 0]},
}


@pytest.mark.parametrize("given", MATRICES.values(), ids=MATRICES)
def test_a_matrix_that_is_no_panel_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        Panel.from_matrix(**given)


def test_cross_sections_are_answered_or_refused_with_what_lacks() -> None:
    rows = Panel.from_frame(frame().drop(columns="id"), **(NAMES | {"unit": None}))
    found = did.group_time(rows)
    assert found.estimate == pytest.approx(did.group_time(panel()).estimate, abs=1e-12)
    assert found.notes[0].startswith("144 observed rows of 144 units")
    for name, estimate in ESTIMATORS.items():
        with nullcontext() if "group" in name else pytest.raises(DesignError, match=r"unbalanced|every unit"):
            estimate(rows)


@pytest.mark.parametrize("estimator", ["pilot_contrast", "synthetic", "two_way", "imputation"])
@pytest.mark.parametrize("field", ["weight", "cluster", "covariates"])
def test_what_an_estimator_does_not_use_it_refuses_or_tells(estimator: str, field: str) -> None:
    given = {"weight": np.exp(X), "cluster": np.arange(24) // 2, "covariates": X[:, None]}[field]
    try:
        found = ESTIMATORS[estimator](panel((4, 0), **{field: given}))
    except DesignError as refusal:
        one_sentence(refusal)
        return
    assert any(field[:6] in note for note in found.notes), f"{field} is ignored without a word"


@pytest.mark.parametrize("seed", [-1, 1.5])
@pytest.mark.parametrize("estimate", [did.pilot_contrast, synthetic])
def test_a_seed_that_is_none_is_refused(estimate: Any, seed: Any) -> None:
    with pytest.raises(StrategyKitError, match="seed"):
        estimate(panel((4, 0)), seed=seed)  # with more ways to deal the starts than are counted one by one
