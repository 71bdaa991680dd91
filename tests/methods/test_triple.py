"""The triple difference against loops over units, against numerical derivatives, and where it is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategy_kit import did
from strategy_kit.errors import StrategyKitError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng
METHODS: list[Any] = ["regression", "weighting", "doubly_robust"]
steady = settings(deadline=None, derandomize=True, database=None, max_examples=30)
Design = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class Twin:
    """Cells by loops: one estimate and one influence value a unit for each control cohort, then weighted by precision."""

    def __init__(
        self, y: np.ndarray, start: np.ndarray, chosen: np.ndarray, *, control: str, anticipation: int
    ) -> None:
        last, n = y.shape[1], len(y)
        if (start > 0).all():
            final = start.max()
            last, start = int(final) - anticipation - 1, np.where(start == final, 0, start)
        self.cells, self.weights, estimate, columns = [], [], [], []
        for g in np.unique(start[start > 0]):
            for t in range(2, last + 1):
                base = int(g) - anticipation - 1 if t >= g else t - 1
                change = y[:, t - 1] - y[:, base - 1]
                others = [h for h in np.unique(start) if h == 0 or (h != g and h > max(t, base) + anticipation)]
                others = [0] if control == "never" else others
                pairs = [self.pair(change, start, chosen, (g, h)) for h in others]
                values, influence = np.array([v for v, _ in pairs]), np.array([i for _, i in pairs]).T
                inverse = np.linalg.inv(influence.T @ influence)
                weight = inverse.sum(axis=0) / inverse.sum()
                self.cells.append((int(g), t))
                self.weights.append(weight)
                estimate.append(weight @ values)
                columns.append(influence @ weight)
        self.estimate, self.influence = np.array(estimate), np.array(columns).T
        cohort, period = np.array(self.cells).T
        member = (start[:, None] == cohort) & chosen[:, None]
        share, after = member.mean(axis=0), period >= cohort
        part = after * share / (after * share).sum()
        self.overall = part @ self.estimate
        moved = (after * (self.estimate - self.overall)) * (member - share) / (after * share).sum() / n
        self.error = np.sqrt(np.square(self.influence @ part + moved.sum(axis=1)).sum())

    @staticmethod
    def pair(
        change: np.ndarray, start: np.ndarray, chosen: np.ndarray, cohorts: tuple[float, float]
    ) -> tuple[float, np.ndarray]:
        """Eligible less other units, in the cohort less in one control cohort."""
        value, influence = 0.0, np.zeros(len(change))
        for cohort, outer in zip(cohorts, (1, -1), strict=True):
            for side, inner in ((True, 1), (False, -1)):
                members = [i for i in range(len(change)) if start[i] == cohort and chosen[i] == side]
                mean = sum(change[i] for i in members) / len(members)
                value += outer * inner * mean
                for i in members:
                    influence[i] = outer * inner * (change[i] - mean) / len(members)
        return value, influence


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """A small random panel, who is eligible in it, and options that it allows."""
    anticipation, periods = draw(st.integers(0, 2)), draw(st.integers(5, 7))
    never = draw(st.booleans())
    possible = st.sets(st.integers(2 + anticipation, periods), min_size=2, max_size=3)
    starts = sorted(draw(possible), reverse=True)
    never = never or starts[1] >= starts[0] - anticipation
    cohorts = [*starts, *([0] if never else [])]
    sizes = [(draw(st.integers(5, 7)), draw(st.integers(5, 7))) for _ in cohorts]
    start = np.repeat(cohorts, [a + b for a, b in sizes]).astype(float)
    chosen = np.concatenate([np.arange(a + b) < a for a, b in sizes])
    rng = RNG(draw(st.integers(0, 10**6)))
    y, order = rng.normal(size=(len(start), periods)).cumsum(axis=1), rng.permutation(len(start))
    control = draw(st.sampled_from(["never", "not_yet"])) if never else "not_yet"
    return y, start[order], chosen[order], {"control": control, "anticipation": anticipation}


@given(designs())
@steady
def test_cells_weights_and_average_equal_the_twin(design: Design) -> None:
    y, start, chosen, options = design
    twin = Twin(y, start, chosen, **options)
    found = did.triple_difference(Panel.from_matrix(y, treated_from=start), chosen, **options)
    assert [tuple(row) for row in found.labels.to_numpy().tolist()] == twin.cells
    # Outcomes are of order 1, and precision weights invert matrices of condition up to 1e4.
    np.testing.assert_allclose(found.estimate, twin.estimate, atol=1e-10)
    np.testing.assert_allclose(found.covariance, twin.influence.T @ twin.influence, atol=1e-10)
    np.testing.assert_allclose(found.average, [twin.overall, twin.error], atol=1e-10)


@given(designs())
@steady
def test_what_moves_a_cohort_or_eligible_units_does_not_count(design: Design) -> None:
    y, start, chosen, options = design
    rng, found = RNG(1), did.triple_difference(Panel.from_matrix(y, treated_from=start), chosen, **options)
    cohort = np.unique(start, return_inverse=True)[1]
    moved = y + rng.normal(size=(4, y.shape[1]))[cohort] + np.outer(chosen, rng.normal(size=y.shape[1]))
    moved += rng.normal(size=(len(y), 1))
    order = rng.permutation(len(y))
    again = did.triple_difference(Panel.from_matrix(moved[order], treated_from=start[order]), chosen[order], **options)
    swapped = did.triple_difference(Panel.from_matrix(-2 * y, treated_from=start), ~chosen, **options)
    for other, factor in ((again, 1.0), (swapped, 2.0)):
        # sums in another order, then weights as above
        np.testing.assert_allclose(other.estimate, factor * found.estimate, atol=1e-10)
        np.testing.assert_allclose(other.covariance, factor**2 * found.covariance, atol=1e-10)


def covered(seed: int = 4, cohorts: tuple[int, ...] = (3, 0), units: int = 60) -> tuple[Panel, np.ndarray]:
    """A weighted panel whose covariates differ between the sides."""
    rng = RNG(seed)
    start, chosen = np.resize(cohorts, units).astype(float), rng.random(units) < 0.5
    x = rng.normal(size=(units, 2)) + 0.4 * chosen[:, None] - 0.3 * (start > 0)[:, None]
    y = rng.normal(size=(units, 4)) + np.outer(x[:, 0], [0, 0.4, 0.9, 1.2])
    panel = Panel.from_matrix(y, treated_from=start)
    weight = rng.uniform(0.5, 2.0, units)
    return replace(panel, covariates=x, covariate_names=("size", "age"), weight=weight), chosen


def derivative(panel: Panel, estimate: Callable[[Panel], np.ndarray], step: float = 1e-4) -> np.ndarray:
    """(N, K) weight of a unit times the derivative of the estimates by it: the influence that any estimator has."""
    weight, rows = np.asarray(panel.weight), []
    for i in range(len(weight)):
        up, down = (
            estimate(replace(panel, weight=weight * np.where(np.arange(len(weight)) == i, 1 + s, 1)))
            for s in (step, -step)
        )
        rows.append((up - down) / (2 * step))
    return np.array(rows)


@pytest.mark.parametrize("method", METHODS)
def test_with_covariates_the_influence_is_the_derivative_by_unit_weights(method: Any) -> None:
    panel, chosen = covered()
    found = did.triple_difference(panel, chosen, method=method)
    points = partial(did.triple_difference, eligible=chosen, method=method, inference="none")
    slope = derivative(panel, lambda p: points(p).estimate)  # (N, K)
    # Central differences of 1e-4 are wrong by its square times the third derivative.
    np.testing.assert_allclose(found.covariance, slope.T @ slope, rtol=1e-5, atol=1e-8)
    clustered = replace(panel, cluster=np.arange(60) // 3)
    sums = slope.reshape(20, 3, -1).sum(axis=1)
    again = did.triple_difference(clustered, chosen, method=method)
    np.testing.assert_allclose(again.covariance, sums.T @ sums, rtol=1e-5, atol=1e-8)


def test_several_control_cohorts_with_covariates_are_weighted_by_their_joint_precision() -> None:
    panel, chosen = covered(7, (2, 4, 0), 60)
    found = did.triple_difference(panel, chosen, control="not_yet")
    cell = found.labels.eq([2, 3]).all(axis=1).to_numpy().argmax()  # cohort 2 in period 3, against 4 and never

    def alone(other: float) -> Callable[[Panel], np.ndarray]:
        held = np.isin(panel.cohort, [0, other])

        def estimate(whole: Panel) -> np.ndarray:
            part = did.triple_difference(whole.only(held), chosen[held], control="not_yet", inference="none")
            return part.estimate[part.labels.eq([2, 3]).all(axis=1).to_numpy()]

        return estimate

    parts = [alone(1), alone(-1)]
    slope = np.hstack([derivative(panel, part) for part in parts])
    inverse = np.linalg.inv(slope.T @ slope)
    expected = inverse.sum(axis=0) / inverse.sum() @ np.concatenate([part(panel) for part in parts])
    # derivatives as above
    assert found.estimate[cell] == pytest.approx(expected, rel=1e-5)
    assert found.std_error[cell] == pytest.approx(inverse.sum() ** -0.5, rel=1e-5)


def test_the_difference_of_two_separate_fits_is_biased_where_covariates_differ() -> None:
    rng, n = RNG(11), 4_000
    treated, chosen = np.arange(n) % 4 < 2, np.arange(n) % 2 == 0
    x = rng.normal(size=n) + np.where(treated & chosen, 0.8, np.where(treated, -0.4, 0.0))
    # Size moves all units of the piloted group and all eligible units; the effect is 1.
    change = x * treated + 0.5 * x * chosen + 1.0 * (treated & chosen) + rng.normal(size=n)
    panel = Panel.from_matrix(np.column_stack([np.zeros(n), change]), treated_from=np.where(treated, 2, 0))
    panel = replace(panel, covariates=x[:, None], covariate_names=("size",))
    inside, outside = (did.group_time(panel.only(side)).estimate[0] for side in (chosen, ~chosen))
    # What it is biased by is the gap in size between eligible and other treated units, 1.2.
    assert inside - outside - 1 == pytest.approx(1.2, abs=0.3)
    for method in METHODS:
        found = did.triple_difference(panel, chosen, method=method)
        assert abs(found.estimate[0] - 1) < 4 * found.std_error[0] < 0.5


def plain(starts: tuple[int, ...] = (4, 5, 0), units: int = 36, seed: int = 2) -> tuple[Panel, np.ndarray]:
    start = np.resize(starts, units)
    return Panel.from_matrix(RNG(seed).normal(size=(units, 6)), treated_from=start), np.arange(units) // 3 % 2 == 0


def test_eligible_units_may_be_a_series_in_any_order() -> None:
    (panel, chosen), order = plain(), RNG(0).permutation(36)
    found = did.triple_difference(panel, pd.Series(chosen[order], index=panel.units[order]))
    assert found.estimate.tobytes() == did.triple_difference(panel, chosen).estimate.tobytes()


def piloted(seed: int = 3) -> tuple[Panel, np.ndarray]:
    """Eight categories of six merchants, three of them piloted from period 4 on."""
    category = np.repeat([f"c{i}" for i in range(8)], 6)
    start = np.where(category < "c3", 4, 0)
    return Panel.from_matrix(RNG(seed).normal(size=(48, 6)), treated_from=start, category=category), np.arange(
        48
    ) % 3 > 0


WRONG: dict[str, Any] = {"control": "nevr", "anticipation": -1}
TWICE = pd.Series(np.resize([True, False], 36), index=np.arange(36) // 2)
WAY_OUT = r"category level.*use pilot_contrast\(eligible_gap\(panel, eligible\)\), or inference='none'"
REFUSED: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "text": (did.triple_difference, lambda: (plain()[0], ["yes"] * 36), "true or false"),
    "a unit missing": (
        did.triple_difference,
        lambda: (plain()[0], pd.Series(True, index=range(35))),
        "of the 36 units",
    ),
    "a unit twice": (did.triple_difference, lambda: (plain()[0], TWICE), "each of the 36 units"),
    "a side is empty": (did.triple_difference, lambda: (plain()[0], [True] * 36), "4, 5, never.*lacks"),
    "nothing treated": (did.triple_difference, lambda: plain((0,)), "no treated cohort"),
    "no never treated": (did.triple_difference, lambda: plain((4, 5)), "control='not_yet'"),
    "options": (partial(did.triple_difference, **WRONG), plain, "2 laws.*did you mean 'never'.*whole periods"),
    "whole categories": (did.triple_difference, piloted, WAY_OUT),
    "a gap without categories": (did.eligible_gap, plain, "gaps are told by category"),
    "a gap of one kind": (did.eligible_gap, lambda: (piloted()[0], [True] * 48), "no category has both"),
}


@pytest.mark.parametrize(("estimate", "make", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals(estimate: Callable[..., Any], make: Callable[[], Any], words: str) -> None:
    with pytest.raises(StrategyKitError, match=words):
        estimate(*make())


def test_points_alone_are_given_where_whole_categories_started() -> None:
    panel, chosen = piloted()
    found = did.triple_difference(panel, chosen, inference="none")
    assert np.isnan(found.std_error).all()
    assert found.estimate.tobytes() == did.triple_difference(replace(panel, category=None), chosen).estimate.tobytes()


def test_the_pilot_contrast_of_gaps_is_welch_on_one_number_a_category() -> None:
    result = did.pilot_contrast(did.eligible_gap(*piloted()))
    panel, chosen = piloted()
    change = panel.outcome[:, 3:].mean(axis=1) - panel.outcome[:, :3].mean(axis=1)
    rows = [(panel.category == f"c{i}").to_numpy() for i in range(8)]
    numbers = [change[row & chosen].mean() - change[row & ~chosen].mean() for row in rows]
    expected = stats.ttest_ind(numbers[:3], numbers[3:], equal_var=False)
    assert result.average[0] == pytest.approx(np.mean(numbers[:3]) - np.mean(numbers[3:]))
    assert result.tidy()["p_value"][0] == pytest.approx(expected.pvalue, rel=1e-9)
    assert result.clusters == (3, 5)


def test_categories_of_one_kind_are_named_and_units_without_one_are_told() -> None:
    panel, chosen = piloted()
    gap = did.eligible_gap(panel, chosen | (panel.category == "c7").to_numpy())
    assert (len(gap.units), gap.notes) == (7, ("categories without both eligible and other units, left out: c7",))
    try:
        gap = did.eligible_gap(replace(panel, category=panel.category.where(panel.category != "c7")), chosen)
    except StrategyKitError:
        return
    assert len(gap.units) == 8 or gap.notes


def test_weights_are_used_by_gaps_refused_or_told() -> None:
    panel, chosen = piloted()
    try:
        gap = did.eligible_gap(replace(panel, weight=RNG(5).uniform(0.1, 9.0, 48)), chosen)
    except StrategyKitError:
        return
    assert not np.allclose(gap.outcome, did.eligible_gap(panel, chosen).outcome) or "weight" in "".join(gap.notes)


def test_a_side_of_few_units_is_told() -> None:
    found = did.triple_difference(plain()[0], np.arange(36) >= 6)  # two units a cohort are not eligible
    assert any("fewer than 5 units" in note for note in found.notes)


def test_a_control_cohort_of_one_unit_a_side_does_not_take_all_the_weight() -> None:
    start = np.r_[np.repeat(3, 8), 5, 5, np.repeat(0, 12)]
    panel, chosen = Panel.from_matrix(RNG(5).normal(size=(22, 5)), treated_from=start), np.arange(22) % 2 == 0
    found = did.triple_difference(panel, chosen, control="not_yet")
    tiny = did.triple_difference(panel.only(start > 0), chosen[start > 0], control="not_yet")
    # One unit has no spread of its own, so that its comparison looks exact.
    assert found.estimate[0] != pytest.approx(tiny.estimate[0], rel=1e-9)
