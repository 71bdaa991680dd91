"""Estimators from cohort moments against regressions on long data with every dummy written out, and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strategy_kit import did
from strategy_kit.errors import DesignError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates

RNG = np.random.default_rng
NEVER = np.inf
Design = tuple[np.ndarray, list[float]]
# Both sides are doubles; outcomes are of order 1 to 10 and systems have condition numbers of at most some thousands.
NEAR: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


def steady(examples: int) -> settings:
    return settings(deadline=None, derandomize=True, database=None, max_examples=examples)


@st.composite
def designs(draw: st.DrawFn, *, least_never: int = 0) -> Design:
    """A small random panel, sometimes with units that were always treated."""
    periods, never = draw(st.integers(5, 8)), draw(st.sampled_from([n for n in (0, 2, 4) if n >= least_never]))
    starts = draw(st.sets(st.integers(2, periods), min_size=1 if never else 2, max_size=4))
    always = [1] if draw(st.booleans()) else []
    cohorts = [*always, *sorted(starts)]
    start = [float(g) for g in cohorts for _ in range(draw(st.integers(2, 5)))] + [NEVER] * never
    rng = RNG(draw(st.integers(0, 10**6)))
    return rng.normal(size=(len(start), periods)).cumsum(axis=1) + rng.normal(size=(len(start), 1)) * 5, start


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
    rows = rows.assign(age=rows["period"] - rows["start"])
    if comparable:
        rows = rows[rows["start"] > 1]
        rows = rows[rows["period"] < max(rows["start"].max(), 0)]
    return rows


def dummies(*columns: pd.Series) -> np.ndarray:
    return np.hstack([pd.get_dummies(column).to_numpy(float) for column in columns])


class Regression:
    """Least squares on `x` and dummies, and what each unit moves the coefficients by."""

    def __init__(self, rows: pd.DataFrame, x: np.ndarray, effects: tuple[str, str] = ("unit", "period")) -> None:
        fixed = dummies(*(rows[name] for name in effects))
        every, k = np.hstack([x, fixed]), x.shape[1]
        self.told = np.linalg.matrix_rank(every) == np.linalg.matrix_rank(fixed) + k
        weight = rows.get("weight", pd.Series(1.0, index=rows.index)).to_numpy()
        root = np.sqrt(weight)[:, None]
        slope = np.linalg.lstsq(root * every, root[:, 0] * rows["y"].to_numpy(), rcond=1e-10)[0]
        left = rows["y"].to_numpy() - every @ slope
        inverse = np.linalg.pinv(every.T @ (weight[:, None] * every), rcond=1e-10, hermitian=True)
        moved = (every * (weight * left)[:, None]) @ inverse
        self.estimate = slope[:k]
        self.influence = pd.DataFrame(moved[:, :k]).groupby(rows["unit"].to_numpy()).sum()
        groups, counted = len(self.influence), k + rows[effects[1]].nunique()
        self.factor = (len(rows) - 1) / max(len(rows) - counted, 1) * groups / (groups - 1)

    @property
    def covariance(self) -> np.ndarray:
        value = self.influence.to_numpy()
        return self.factor * value.T @ value


def equal(result: Estimates, estimate: np.ndarray, covariance: np.ndarray) -> None:
    np.testing.assert_allclose(result.estimate, estimate, **NEAR)
    np.testing.assert_allclose(result.covariance, covariance, **NEAR)


def plain_average(result: Estimates, covariance: np.ndarray) -> None:
    after = (result.labels["age"] >= 0).to_numpy(float)
    after /= after.sum()
    spread = np.sqrt(after @ covariance @ after)
    np.testing.assert_allclose(result.average, [after @ result.estimate, spread], **NEAR)


@given(designs())
@steady(25)
def test_two_way_equals_least_squares_with_every_dummy(design: Design) -> None:
    rows, result = long(design), did.two_way(panel_of(design))
    twin = Regression(rows, (rows["age"] >= 0).to_numpy(float)[:, None])
    equal(result, twin.estimate, twin.covariance)
    units = len(design[1])
    treated = sum(np.isfinite(design[1]))
    assert result.clusters == (treated, units - treated)
    assert result.glance()["degrees_of_freedom"][0] == units - 1


def told_ages(rows: pd.DataFrame) -> list[int]:
    """Ages from the latest back to the earliest that -1, unit and period effects and the ages before them leave open."""
    held: list[int] = []
    age, fixed = rows["age"].to_numpy()[:, None], dummies(rows["unit"], rows["period"])
    for one in np.unique(rows["age"][np.isfinite(rows["start"])])[::-1].astype(int).tolist():
        every = np.hstack([fixed, age == [*held, one]])
        if one != -1 and np.linalg.matrix_rank(every) == np.linalg.matrix_rank(fixed) + len(held) + 1:
            held.append(one)
    return held[::-1]


@given(designs())
@example((RNG(1).normal(size=(6, 8)), [1.0] * 3 + [5.0] * 3))
@example((RNG(1).normal(size=(6, 8)), [4.0] * 6))
@steady(25)
def test_the_two_way_event_study_equals_least_squares_or_is_refused_where_an_effect_cannot_be_told(
    design: Design,
) -> None:
    rows, panel = long(design), panel_of(design)
    every, ages = np.unique(rows["age"][np.isfinite(rows["start"])]), told_ages(rows)
    if set(every[every >= 0]) - set(ages):
        with pytest.raises(DesignError, match="add units that are never treated"):
            did.two_way_event_study(panel)
        return
    result, twin = did.two_way_event_study(panel), Regression(rows, (rows["age"].to_numpy()[:, None] == ages) + 0.0)
    assert result.labels["age"].tolist() == ages
    equal(result, twin.estimate, twin.covariance)
    plain_average(result, twin.covariance)
    assert result.n_units.tolist() == [rows[rows["age"] == age]["unit"].nunique() for age in ages]
    assert any("told apart from age -1" in note for note in result.notes) == (len(ages) + 1 < len(every))


@given(designs())
@steady(25)
def test_saturated_equals_least_squares_on_cohort_by_period_dummies(design: Design) -> None:
    rows, result = long(design, comparable=True), did.saturated(panel_of(design))
    cells = sorted({(g, t) for g, t, a in rows[["start", "period", "age"]].to_numpy() if a >= 0})
    x = np.column_stack([(rows["start"] == g) & (rows["period"] == t) for g, t in cells]).astype(float)
    twin = Regression(rows, x)
    assert twin.told
    assert result.labels.to_numpy().tolist() == [list(cell) for cell in cells]
    equal(result, twin.estimate, twin.covariance)
    units = np.array([design[1].count(g) for g, _ in cells], dtype=float)
    assert result.n_units.tolist() == units.tolist()
    spread = units @ twin.covariance @ units
    np.testing.assert_allclose(result.average, np.array([units @ twin.estimate, np.sqrt(spread)]) / units.sum(), **NEAR)


@given(designs())
@steady(25)
def test_sun_abraham_equals_cohort_by_age_dummies_averaged_with_fixed_shares(design: Design) -> None:
    rows, result = long(design, comparable=True), did.sun_abraham(panel_of(design))
    last = rows["start"].max()
    cells = sorted({(a, g) for g, a in rows[["start", "age"]].to_numpy() if g < last and a != -1})
    x = np.column_stack([(rows["start"] == g) & (rows["age"] == a) for a, g in cells]).astype(float)
    twin = Regression(rows, x)
    ages = sorted({a for a, _ in cells})
    weight = np.array([[design[1].count(g) * (a == age) for a, g in cells] for age in ages], dtype=float)
    after = weight[np.array(ages) >= 0].sum(axis=0)
    after /= after.sum()
    weight /= weight.sum(axis=1, keepdims=True)
    assert result.labels["age"].tolist() == ages
    equal(result, weight @ twin.estimate, weight @ twin.covariance @ weight.T)
    np.testing.assert_allclose(
        result.average, [after @ twin.estimate, np.sqrt(after @ twin.covariance @ after)], **NEAR
    )


def experiments(rows: pd.DataFrame, before: int, after: int) -> pd.DataFrame:
    """Each cohort in its window above those that start after it, with weights of Wing, Freedman and Hollingsworth."""
    stacks, last = [], rows["period"].max()
    for g in sorted({g for g in rows["start"] if before < g <= last - after}):
        inside = rows["period"].between(g - before, g + after) & ((rows["start"] == g) | (rows["start"] > g + after))
        one = rows[inside].assign(stack=g, treated=rows["start"] == g, age=rows["period"] - g)
        if not one["treated"].all():
            stacks.append(one.assign(spell=one["unit"] + 1000 * g, moment=one["period"] + 1000 * g))
    frame = pd.concat(stacks)
    share = frame.groupby("treated")["stack"].value_counts(normalize=True)
    return frame.assign(weight=np.where(frame["treated"], 1.0, frame["stack"].map(share[True] / share[False])))


def stacked_twin(design: Design, before: int, after: int) -> tuple[list[int], Regression]:
    rows = long(design)
    frame = experiments(rows[rows["start"] > 1], before, after)
    ages = [age for age in range(-before, after + 1) if age != -1]
    x = (frame["age"].to_numpy()[:, None] == ages) & frame["treated"].to_numpy()[:, None]
    return ages, Regression(frame, x.astype(float), ("spell", "moment"))


@given(designs(least_never=2), st.integers(1, 2), st.integers(0, 2))
@steady(25)
def test_stacked_equals_least_squares_on_the_stacked_rows(design: Design, before: int, after: int) -> None:
    starts = [g for g in design[1] if 1 < g < NEVER]
    before, after = min(before, int(min(starts)) - 1), min(after, design[0].shape[1] - int(min(starts)))
    result = did.stacked(panel_of(design), before=before, after=after)
    ages, twin = stacked_twin(design, before, after)
    assert result.labels["age"].tolist() == ages
    equal(result, twin.estimate, twin.covariance)
    plain_average(result, twin.covariance)


def test_units_in_no_experiment_change_no_figure_of_stacked() -> None:
    y, start = RNG(4).normal(size=(14, 8)), [4.0] * 4 + [5.0] * 4 + [NEVER] * 6
    # a start in 2 is too early for its own window, and inside the others'
    more = Panel.from_matrix(np.vstack([y, RNG(5).normal(size=(3, 8))]), treated_from=[*start, 2, 2, 2])
    found = did.stacked(more, before=3, after=1)
    assert any(note.endswith("left out: 2") for note in found.notes)
    alone = did.stacked(panel_of((y, start)), before=3, after=1)
    equal(found, alone.estimate, alone.covariance)


def test_stacked_takes_the_longest_window_that_all_cohorts_have() -> None:
    design = RNG(6).normal(size=(12, 9)), [4.0] * 3 + [6.0] * 3 + [NEVER] * 6
    assert did.stacked(panel_of(design)).labels["age"].tolist() == [-3, -2, 0, 1, 2, 3]
    # without never treated units the last cohort is the comparison, and windows end before it starts
    without = RNG(6).normal(size=(12, 9)), [4.0] * 3 + [6.0] * 3 + [8.0] * 6
    found = did.stacked(panel_of(without))
    assert found.labels["age"].tolist() == [-3, -2, 0, 1]
    _, twin = stacked_twin(without, 3, 1)
    np.testing.assert_allclose(found.estimate, twin.estimate, **NEAR)


def imputation_twin(design: Design, ages: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Averages of tau by age and over all, with each unit's influence, by the weights v of Borusyak and others."""
    rows = long(design, comparable=True)
    z, y = dummies(rows["unit"], rows["period"]), rows["y"].to_numpy()
    on = (rows["age"] >= 0).to_numpy()
    inverse = np.linalg.pinv(z[~on].T @ z[~on], rcond=1e-10, hermitian=True)
    fitted = z @ (inverse @ z[~on].T @ y[~on])
    tau = pd.Series(y - fitted)[on]
    mean = tau.groupby([rows["start"].to_numpy()[on], rows["period"].to_numpy()[on]]).transform("mean")
    left = y - fitted
    left[on] -= mean.to_numpy()
    age = rows["age"].to_numpy()[on]
    w = np.array([*(age == a for a in ages), np.ones(len(age), dtype=bool)]).astype(float)
    w /= w.sum(axis=1, keepdims=True)
    v = np.zeros((len(w), len(y)))
    v[:, on], v[:, ~on] = w, -w @ z[on] @ inverse @ z[~on].T
    return w @ tau.to_numpy(), pd.DataFrame((v * left).T).groupby(rows["unit"].to_numpy()).sum().to_numpy()


def check_imputation(design: Design, result: Estimates) -> None:
    rows = long(design, comparable=True)
    before = rows[rows["age"] < 0]
    ages = sorted({int(a) for a in rows["age"] if a >= 0})
    leads = told_ages(before)
    assert result.labels["age"].tolist() == [*leads, *ages]
    estimate, influence = imputation_twin(design, ages)
    value = [estimate[:-1]]
    columns = [influence[:, :-1]]
    if leads:
        twin = Regression(before, (before["age"].to_numpy()[:, None] == leads).astype(float))
        value, columns = [twin.estimate, *value], [np.sqrt(twin.factor) * twin.influence.to_numpy(), *columns]
    every = np.hstack(columns)
    equal(result, np.concatenate(value), every.T @ every)
    np.testing.assert_allclose(result.average, [estimate[-1], np.linalg.norm(influence[:, -1])], **NEAR)


@given(designs(least_never=2))
@steady(25)
def test_imputation_equals_the_weights_of_its_paper(design: Design) -> None:
    check_imputation(design, did.imputation(panel_of(design)))


@given(designs().filter(lambda design: NEVER not in design[1]))
@steady(20)
def test_imputation_without_never_treated_units_is_the_same_and_leaves_out_leads_that_cannot_be_told(
    design: Design,
) -> None:
    check_imputation(design, did.imputation(panel_of(design)))


def bacon_twin(design: Design) -> dict[tuple[float, float], tuple[float, float, float]]:
    """(cohort, comparison) -> weight, estimate and standard error, from the rows of each pair alone."""
    rows, y, start = long(design), design[0], np.array(design[1])
    found = {}
    for g in {g for g in start if 1 < g < NEVER}:
        for other in {h for h in start if h != g}:
            first, end = (other, y.shape[1] + 1) if other < g else (1, min(other, y.shape[1] + 1))
            change = y[:, int(g) - 1 : int(end) - 1].mean(axis=1) - y[:, int(first) - 1 : int(g) - 1].mean(axis=1)
            sides = [change[start == side] for side in (g, other)]
            error = np.sqrt(sum(((side - side.mean()) ** 2).sum() / len(side) ** 2 for side in sides))
            pair = rows[rows["start"].isin([g, other]) & rows["period"].between(first, end - 1)]
            found[g, other] = (residual_squares(pair, g) * len(pair), sides[0].mean() - sides[1].mean(), error)
    return found


def residual_squares(rows: pd.DataFrame, cohort: float | None = None) -> float:
    """Sum of squares of the treatment (of one cohort) that unit and period effects leave."""
    on = ((rows["age"] >= 0) & (rows["start"] == (rows["start"] if cohort is None else cohort))).to_numpy(float)
    fixed = dummies(rows["unit"], rows["period"])
    return float(((on - fixed @ np.linalg.lstsq(fixed, on, rcond=1e-10)[0]) ** 2).sum())


def check_bacon(design: Design) -> None:
    panel = panel_of(design)
    result, twin = did.bacon(panel), bacon_twin(design)
    rows = result.tidy()
    assert (rows["weight"] > 0).all()
    assert rows["weight"].sum() == pytest.approx(1, abs=1e-12)
    whole = did.two_way(panel)
    assert rows["weight"] @ rows["estimate"] == pytest.approx(whole.estimate[0], abs=1e-9)
    assert result.average == whole.average
    assert len(rows) == len(twin)
    total = residual_squares(long(design)) * design[0].size
    for row in rows.itertuples():
        other = NEVER if row.comparison == "never treated" else float(row.comparison)
        weight, estimate, error = twin[row.cohort, other]
        assert [row.weight, row.estimate, row.std_error] == pytest.approx([weight / total, estimate, error], abs=1e-9)
        kind = "earlier vs later" if other > row.cohort else "later vs earlier"
        kind = "later vs always" if other == 1 else "treated vs never" if other == NEVER else kind
        assert row.type == f"{kind} treated"
    types = rows.assign(part=rows["weight"] * rows["estimate"]).groupby("type")[["weight", "part"]].sum()
    np.testing.assert_allclose(result.details["types"]["weight"], types["weight"], **NEAR)
    np.testing.assert_allclose(result.details["types"]["estimate"], types["part"] / types["weight"], **NEAR)


@given(designs(least_never=2))
@steady(20)
def test_bacon_adds_up_to_two_way_and_equals_each_pair_on_its_own(design: Design) -> None:
    check_bacon(design)


@given(designs().filter(lambda design: NEVER not in design[1]))
@steady(10)
def test_bacon_without_never_treated_units_is_the_same(design: Design) -> None:
    check_bacon(design)
