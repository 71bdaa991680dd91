"""Poisson regressions from cohort means against statsmodels on long data with every dummy, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.genmod.families import Poisson
from statsmodels.genmod.generalized_linear_model import GLM

from strategy_kit import did
from strategy_kit.errors import DesignError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates

RNG = np.random.default_rng
NEVER = np.inf
Design = tuple[np.ndarray, list[float]]
# Both sides stop when the last step of a coefficient is below 1e-12 and then invert systems of condition 1e4 at most.
NEAR: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-9}


def steady(examples: int) -> settings:
    return settings(deadline=None, derandomize=True, database=None, max_examples=examples)


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """A small random panel of amounts, many of them 0, in which every cohort sells in every period."""
    periods, never = draw(st.integers(5, 8)), draw(st.sampled_from([0, 2, 4]))
    starts = draw(st.sets(st.integers(2, periods), min_size=1 if never else 2, max_size=3))
    always = [1] if draw(st.booleans()) else []
    start = [float(g) for g in [*always, *sorted(starts)] for _ in range(draw(st.integers(2, 5)))] + [NEVER] * never
    rng = RNG(draw(st.integers(0, 10**6)))
    y = amounts(rng, len(start), periods)
    for g in set(start):  # the first unit of a cohort always sells, and the last may be silent
        y[start.index(g)] += 1.0
    if draw(st.booleans()):
        y[len(start) - 1] = 0.0
    return y, start


def amounts(rng: np.random.Generator, units: int, periods: int) -> np.ndarray:
    size = rng.gamma(2.0, 20.0, (units, 1)) * rng.gamma(20.0, 0.05, periods)
    return np.round(size * rng.gamma(3.0, 0.33, (units, periods)) * (rng.random((units, periods)) > 0.25), 2)


def panel_of(design: Design) -> Panel:
    return Panel.from_matrix(design[0], treated_from=design[1])


def long(design: Design, *, comparable: bool = False) -> pd.DataFrame:
    """One row a unit and period; `comparable` leaves out what has no past and periods in which all are treated."""
    y, start = design
    units, periods = y.shape
    rows = pd.DataFrame({
        "unit": np.repeat(np.arange(units), periods),
        "period": np.tile(np.arange(1, periods + 1), units),
        "start": np.repeat(start, periods),
        "y": y.ravel(),
    })  # fmt: skip
    if comparable:
        rows = rows[rows["start"] > 1]
        rows = rows[rows["period"] < rows["start"].max()]
    rows = rows.assign(treated=rows["period"] >= rows["start"])
    return rows[(rows.groupby("unit")["y"].transform("sum") > 0) & (rows.groupby("period")["y"].transform("sum") > 0)]


class Regression:
    """Poisson regression on `x`, unit and period dummies, with the sandwich clustered by unit."""

    def __init__(self, rows: pd.DataFrame, x: np.ndarray, weight: np.ndarray | None = None) -> None:
        dummies = [pd.get_dummies(rows[name]).to_numpy(float) for name in ("unit", "period")]
        every, k = np.hstack([x, dummies[0], dummies[1][:, 1:]]), x.shape[1]
        model = GLM(rows["y"].to_numpy(), every, family=Poisson(), freq_weights=weight)
        fitted = model.fit(tol=1e-12, tol_criterion="params", maxiter=200)
        mean = fitted.fittedvalues
        inverse = np.linalg.inv(every.T @ (mean[:, None] * every))
        moved = (every * (rows["y"].to_numpy() - mean)[:, None]) @ inverse
        influence = pd.DataFrame(moved[:, :k]).groupby(rows["unit"].to_numpy()).sum().to_numpy()
        units, counted = len(influence), k + dummies[1].shape[1]
        self.factor = (len(rows) - 1) / max(len(rows) - counted, 1) * units / (units - 1)
        self.effect = np.expm1(fitted.params[:k])
        # the error of a share follows from that of the logarithm
        self.covariance = self.factor * influence.T @ influence * np.outer(1 + self.effect, 1 + self.effect)


def whole_twin(rows: pd.DataFrame) -> Regression:
    return Regression(rows, rows["treated"].to_numpy(float)[:, None])


def cells_of(rows: pd.DataFrame) -> tuple[list[tuple[float, int]], np.ndarray]:
    """The treated cells (cohort, period) and their indicators."""
    cells = sorted(set(rows[rows["treated"]][["start", "period"]].itertuples(index=False, name=None)))
    return cells, np.column_stack([(rows["start"] == g) & (rows["period"] == t) for g, t in cells]).astype(float)


def equal(result: Estimates, twin: Regression) -> None:
    np.testing.assert_allclose(result.estimate, twin.effect, **NEAR)
    np.testing.assert_allclose(result.covariance, twin.covariance, **NEAR)


@given(designs())
@steady(30)
def test_poisson_equals_statsmodels_with_every_dummy(design: Design) -> None:
    result, twin = did.poisson(panel_of(design)), whole_twin(long(design))
    equal(result, twin)
    np.testing.assert_allclose(result.average, [twin.effect[0], twin.covariance[0, 0] ** 0.5], **NEAR)
    silent = int((design[0].sum(axis=1) == 0).sum())
    assert any("sold nothing at all" in note for note in result.notes) == bool(silent)
    treated = sum(np.isfinite(design[1]))
    assert result.clusters == (treated, len(design[1]) - treated)


@given(designs())
@steady(30)
def test_poisson_saturated_equals_statsmodels_on_cohort_by_period_dummies(design: Design) -> None:
    result, rows = did.poisson_saturated(panel_of(design)), long(design, comparable=True)
    cells, x = cells_of(rows)
    assert result.labels.to_numpy().tolist() == [list(cell) for cell in cells]
    equal(result, Regression(rows, x))
    assert result.n_units.tolist() == [design[1].count(g) for g, _ in cells]
    assert any("left out" in note for note in result.notes) == (1 in design[1])


def percentage(rows: pd.DataFrame, x: np.ndarray, weight: np.ndarray) -> float:
    """What the treated sold above what they would have sold, as a share of the latter, each row counted `weight` times."""
    effect = Regression(rows, x, weight).effect
    sold = weight * rows["y"].to_numpy() * x.sum(axis=1)
    return float(sold.sum() / (sold / (1 + x @ effect)).sum() - 1)


@given(designs())
@steady(4)
def test_the_error_of_the_percentage_of_all_is_its_derivative_by_the_weight_of_each_unit(design: Design) -> None:
    found, rows = did.poisson_saturated(panel_of(design)).average, long(design, comparable=True)
    x, one, step = cells_of(rows)[1], np.ones(len(rows)), 1e-3
    assert found[0] == pytest.approx(percentage(rows, x, one), rel=1e-8, abs=1e-9)
    influence = []
    for unit in rows["unit"].unique():
        more = step * (rows["unit"] == unit).to_numpy()
        influence.append((percentage(rows, x, one + more) - percentage(rows, x, one - more)) / (2 * step))
    error = np.sqrt(Regression(rows, x).factor) * np.linalg.norm(influence)
    # central differences leave an error of the order of the step squared
    assert found[1] == pytest.approx(error, rel=1e-5)


def test_two_periods_and_one_cohort_by_hand() -> None:
    # treated 30 then 45, others 20 then 25: 45/30 over 25/20 is 1.2
    y = np.array([[10.0, 30], [20, 15], [8, 5], [12, 20]])
    for name in ("poisson", "poisson_saturated"):
        result = getattr(did, name)(Panel.from_matrix(y, treated_from=[2, 2, 0, 0]))
        assert result.estimate == pytest.approx([0.2], abs=1e-12)
        # a unit moves the log ratio by its outcomes less its share of its cohort's, each over the cohort's sum
        total = y.sum(axis=1)
        fitted = np.outer(total[:2], [30 / 75, 45 / 75]), np.outer(total[2:], [20 / 45, 25 / 45])
        left = np.vstack([(y[:2] - fitted[0]) / [30, 45], (y[2:] - fitted[1]) / [20, 25]])
        spread = ((left[:, 1] - left[:, 0]) ** 2).sum() * 7 / (8 - 3) * 4 / 3
        assert result.std_error == pytest.approx([1.2 * np.sqrt(spread)], rel=1e-9)
        row = result.tidy().iloc[0]
        ends = 1.2 * np.exp(np.array([-1, 1]) * 1.959963984540054 * np.sqrt(spread)) - 1
        assert [row["conf_low"], row["conf_high"]] == pytest.approx(ends.tolist(), rel=1e-9)


def proportional(effect: float) -> Design:
    rng, start = RNG(4), [3.0] * 3 + [5.0] * 2 + [NEVER] * 3
    y = rng.gamma(3.0, 9.0, (8, 1)) * rng.gamma(9.0, 0.1, 7)
    return y * np.where(np.arange(1, 8) >= np.array(start)[:, None], 1 + effect, 1.0), start


@pytest.mark.parametrize("effect", [-0.4, 0.0, 0.25, 3.0])
@pytest.mark.parametrize("name", ["poisson", "poisson_saturated"])
def test_an_effect_without_noise_is_found_exactly(name: str, effect: float) -> None:
    result = getattr(did, name)(panel_of(proportional(effect)))
    assert result.estimate == pytest.approx(np.full(len(result.labels), effect), abs=1e-10)
    assert result.average[0] == pytest.approx(effect, abs=1e-10)
    # the residuals are roundings of doubles; their squares add up before the root is taken
    assert np.nan_to_num(result.std_error).max() < 1e-6
    assert np.nan_to_num(result.average[1]) < 1e-6


@pytest.mark.parametrize("name", ["poisson", "poisson_saturated"])
@pytest.mark.parametrize("unit", [1e-4, 100.0, 1e9])
@given(design=designs())
@steady(4)
def test_the_unit_of_money_changes_nothing(name: str, unit: float, design: Design) -> None:
    estimate = getattr(did, name)
    yuan, other = estimate(panel_of(design)), estimate(panel_of((design[0] * unit, design[1])))
    # the change of unit rounds every outcome once, which a sandwich of cells that sold 1 among 100 magnifies
    np.testing.assert_allclose(other.estimate, yuan.estimate, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(other.covariance, yuan.covariance, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(other.average, yuan.average, rtol=1e-6, atol=1e-10)
    assert other.notes == yuan.notes


SPACE = slice(None)
PILOTS = [3.0] * 3 + [5.0] * 3 + [NEVER] * 3


def silent(*blocks: tuple[Any, Any], start: list[float] = PILOTS) -> Panel:
    """Two cohorts of three units and three never treated over six periods, with blocks that sold nothing."""
    y = RNG(7).gamma(3.0, 5.0, (len(start), 6))
    for units, periods in blocks:
        y[units, periods] = 0.0
    return Panel.from_matrix(y, treated_from=start)


@pytest.mark.parametrize("name", ["poisson", "poisson_saturated"])
def test_units_that_sold_nothing_are_told_and_change_no_figure(name: str) -> None:
    panel = silent((0, SPACE), (7, SPACE))
    found = getattr(did, name)(panel)
    selling = getattr(did, name)(panel.only(panel.outcome.sum(axis=1) > 0))
    np.testing.assert_allclose(found.estimate, selling.estimate, **NEAR)
    np.testing.assert_allclose(found.covariance, selling.covariance, **NEAR)
    np.testing.assert_allclose(found.average, selling.average, **NEAR)
    assert "2 of 9 units sold nothing at all and do not count" in found.notes


@pytest.mark.parametrize("name", ["poisson", "poisson_saturated"])
def test_a_period_before_the_starts_in_which_nobody_sold_changes_no_figure(name: str) -> None:
    panel = silent((SPACE, 0))
    rows = long((panel.outcome, PILOTS), comparable=name != "poisson")
    equal(getattr(did, name)(panel), whole_twin(rows) if name == "poisson" else Regression(rows, cells_of(rows)[1]))


@pytest.mark.parametrize("block", [(slice(0, 3), slice(0, 2)), (slice(0, 3), slice(2, 6)), (slice(6, 9), SPACE)])
def test_a_cohort_silent_for_a_while_leaves_one_effect_over_all_to_be_told(block: tuple[Any, Any]) -> None:
    panel = silent(block)
    equal(did.poisson(panel), whole_twin(long((panel.outcome, PILOTS))))


TWO = [3.0] * 3 + [NEVER] * 3
Case = tuple["Callable[[], Panel]", str]
BOTH: dict[str, Case] = {
    "an outcome below 0": (lambda: Panel.from_matrix(silent().outcome - 9, treated_from=PILOTS), "outcome below 0"),
    "all silent after the start": (
        lambda: silent((slice(0, 3), slice(2, 6)), start=TWO),
        "treated units after their start sold nothing|cohort 3 sold nothing in 3",
    ),
    "all silent before it": (
        lambda: silent((slice(0, 3), slice(0, 2)), start=TWO),
        "treated units before it sold nothing",
    ),
    "nothing sold": (lambda: silent((SPACE, SPACE)), "and units not treated sold nothing"),
    "comparison silent": (lambda: silent((slice(3, 6), SPACE), start=TWO), "sold nothing"),
    "comparison silent after the start": (lambda: silent((slice(3, 6), slice(2, 6)), start=TWO), "sold nothing"),
    "comparison silent before it": (lambda: silent((slice(3, 6), slice(0, 2)), start=TWO), "sold nothing"),
    "one cohort alone": (lambda: silent(start=[3.0] * 6), "compare|impute"),
    "nothing treated": (lambda: silent(start=[NEVER] * 6), "no treated cohort"),
}
SATURATED: dict[str, Case] = {
    "a treated cell silent": (lambda: silent((slice(0, 3), 4)), "cohort 3 sold nothing in 5"),
    "a cohort silent before its start": (lambda: silent((slice(0, 3), slice(0, 2))), "sold nothing"),
    "comparison silent in a treated period": (lambda: silent((slice(6, 9), 5)), "sold nothing"),
    "comparison silent once the last cohort starts": (lambda: silent((slice(6, 9), slice(4, 6))), "sold nothing"),
    "never treated units silent": (lambda: silent((slice(6, 9), SPACE)), "sold nothing"),
    "comparison silent but in the last period": (lambda: silent((slice(6, 9), slice(0, 5))), "sold nothing"),
}


@pytest.mark.parametrize(
    ("name", "case"),
    [
        *(("poisson", case) for case in BOTH),
        *(("poisson_saturated", case) for case in BOTH),
        *(("poisson_saturated", case) for case in SATURATED),
    ],
)
def test_what_leaves_no_percentage_is_refused(name: str, case: str) -> None:
    make, words = (BOTH | SATURATED)[case]
    panel = make()
    with pytest.raises(DesignError, match=words) as caught:
        getattr(did, name)(panel)
    assert ". " not in str(caught.value)
    assert "; " in str(caught.value) or "use " in str(caught.value)
