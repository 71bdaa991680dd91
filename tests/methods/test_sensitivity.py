"""Intervals under violations of parallel trends: published examples, slow twins, coverage, invariances."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.stats import norm, truncnorm

from strategy_kit.sensitivity import relative_magnitudes, smoothness, study_of
from strategy_kit.sensitivity.relative import _Sets
from strategy_kit.sensitivity.smooth import _Frontier, folded_quantile, lasso_path
from strategy_kit.sensitivity.study import path_of

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.estimates import Estimates

Array = np.ndarray
AGES = [-4, -3, -2, 0, 1, 2]  # three before the base, three after


@pytest.fixture(scope="module")
def published(root: Path) -> dict[str, Any]:
    return json.loads((root / "tests" / "reference" / "honestdid.json").read_text(encoding="utf-8"))


def as_study(one: dict[str, Any]) -> Estimates:
    return study_of(one["estimate"], one["covariance"], one["ages"])


def random_study(seed: int, ages: list[int] | None = None, slope: float = 0.0) -> Estimates:
    """Coefficients of a wide covariance with effects of 1 after the start and, with `slope`, a trend."""
    age = np.array(ages or AGES)
    draw = np.random.default_rng(seed)
    root = np.tril(draw.normal(size=(len(age), len(age)))) * 0.2 + np.eye(len(age)) * 0.3
    value = root @ draw.normal(size=len(age)) + (age >= 0) + slope * (age + 1)
    return study_of(value, root @ root.T, age)


def test_relative_magnitudes_equal_r_to_its_grid(published: dict[str, Any]) -> None:
    one = published["benzarti_carloni"]
    result, r = relative_magnitudes(as_study(one)), one["relative_magnitudes"]
    step = 40 * result.std_error / 999  # R's grid; its own critical value moves by as much between seeds
    assert result.magnitude.tolist() == r["magnitude"]
    assert np.abs(result.conf_low - r["low"]).max() < step
    assert np.abs(result.conf_high - np.array(r["high"], dtype=float))[:4].max() < step
    assert np.abs(np.array(result.original) - one["original"]["ends"]).max() < 1e-12


def test_smoothness_equals_r_but_for_its_simulated_quantile(published: dict[str, Any]) -> None:
    one = published["benzarti_carloni"]
    r = one["smoothness"]
    result = smoothness(as_study(one), magnitudes=r["magnitude"])
    low, high = ((np.array(r[end]) - getattr(result, f"conf_{end}")) / result.std_error for end in ("low", "high"))
    # a 95% quantile of 10^6 draws has an error of 0.0021: R's is off by one such error
    assert np.abs([low, high]).max() < 0.003
    half = (high - low)[1:] / 2
    assert np.ptp(half) < 1e-6  # at M > 0 it is one quantile and one estimator, so that nothing else differs
    assert np.abs((low + high)[1:]).max() < 1e-6


def test_default_magnitudes_and_other_ages_equal_the_published_ones(published: dict[str, Any]) -> None:
    one = published["benzarti_carloni"]
    table, study = one["published"], as_study(one)
    usual = table["smoothness"]
    assert smoothness(study).magnitude[-1] == pytest.approx(usual["last_magnitude"], abs=5e-5)
    ten = smoothness(study, magnitudes=np.linspace(0, usual["last_magnitude"], 10))
    # rounded to 0.001, from a quantile whose error is 0.00004
    assert np.abs(ten.conf_low - usual["low"]).max() < 6e-4
    assert np.abs(ten.conf_high - usual["high"]).max() < 6e-4
    third, r = smoothness(study, magnitudes=[0, 0.1, 0.2, 0.3], ages=2), table["smoothness_at_age_2"]
    assert np.abs([third.conf_low - r["low"], third.conf_high - r["high"]]).max() < 6e-4
    third, r = relative_magnitudes(study, ages=2), table["relative_magnitudes_at_age_2"]
    assert np.abs([third.conf_low - r["low"], third.conf_high - r["high"]]).max() < r["step"]


def test_the_medicaid_example_has_the_published_intervals(published: dict[str, Any]) -> None:
    study, table = as_study(published["medicaid"]), published["medicaid"]["published"]
    r = table["smoothness"]
    result = smoothness(study, magnitudes=r["magnitude"])
    assert np.abs([result.conf_low - r["low"], result.conf_high - r["high"]]).max() < 3e-4  # ends of three figures
    assert np.round(result.original, 3).tolist() == table["original"]
    for ages, block in ((0, table["relative_magnitudes"]), ([0, 1], table["average"])):
        found = relative_magnitudes(study, magnitudes=block["magnitude"], ages=ages)
        step = 40 * found.std_error / 999 + 5e-4 * (ages != 0)  # three decimals of the averages
        assert np.abs([found.conf_low - block["low"], found.conf_high - block["high"]]).max() < step
    assert relative_magnitudes(study).breakdown == pytest.approx(1.95, abs=0.05)  # "about 2"


def moments(
    study: Estimates, worst: int, sign: int, magnitude: float, weight: Array
) -> tuple[Array, Array, Array, Array]:
    """Point, covariance, effect of theta and of the nuisance of one set, from the constraints on violations."""
    age = study.labels["age"].to_numpy()
    before, count = int((age < -1).sum()), len(age)
    steps = np.zeros((count, count + 1))
    for row in range(count):
        steps[row, row : row + 2] = -1, 1
    bound = sign * steps[worst]
    rows = np.array([side * steps[row] - magnitude * bound for row in range(before, count) for side in (1, -1)])
    rows = np.delete(rows, before, axis=1)  # the base
    basis = np.vstack([weight, np.eye(count - before)[:-1] if weight[-1] else np.eye(count - before)[1:]])
    effect = rows[:, before:] @ np.linalg.inv(basis)
    return rows @ study.estimate, rows @ study.covariance @ rows.T, effect[:, 0], effect[:, 1:]


def dual_vertices(error: Array, nuisance: Array) -> Array:
    """All vertices of {g >= 0, g'error = 1, g'nuisance = 0}, by trying every support."""
    system = np.column_stack([error, nuisance]).T
    wanted, found = np.append(1.0, np.zeros(nuisance.shape[1])), []
    for size in range(1, len(wanted) + 1):
        for support in itertools.combinations(range(len(error)), size):
            part = system[:, support]
            some = np.linalg.lstsq(part, wanted, rcond=None)[0]
            whole = np.linalg.matrix_rank(part, tol=1e-10) == size
            if whole and np.allclose(part @ some, wanted, atol=1e-9) and (some > 1e-9).all():
                vertex = np.zeros(len(error))
                vertex[list(support)] = some
                found.append(vertex)
    return np.array(found)


@pytest.mark.parametrize("ages", [[-3, -2, 0, 1], AGES, [-3, -2, 0]])
@pytest.mark.parametrize("magnitude", [0.7, 2.0])
def test_the_closed_form_is_the_conditional_test_of_a_linear_program(ages: list[int], magnitude: float) -> None:
    study = random_study(len(ages), ages)
    after = sum(age >= 0 for age in ages)
    path = path_of(study, ages=None if after < 3 else [0, 2], level=0.95)
    sets = _Sets(path, magnitude)
    before = len(ages) - after
    thetas = np.linspace(-4, 6, 25)
    accepted = sets.accept(np.tile(sets.estimate - thetas / path.scale, (2 * before, 1)))
    normal, compared = np.random.default_rng(5).normal(size=(100_000, len(ages))), 0
    for number, (sign, worst) in enumerate(itertools.product((1, -1), range(before))):
        point, spread, effect, nuisance = moments(study, worst, sign, magnitude, path.weight)
        error = np.sqrt(np.diag(spread))
        vertices = dual_vertices(error, nuisance)
        values, vectors = np.linalg.eigh(spread)
        root = (vectors * np.sqrt(np.maximum(values, 0)))[:, -len(ages) :]
        drawn = (normal[:, : root.shape[1]] @ root.T @ vertices.T).max(axis=1)
        # 500 of 100,000 draws lie beyond: 4 binomial standard errors
        assert abs((drawn > sets.critical[number]).mean() - 0.005) < 0.0009
        for at, theta in enumerate(thetas):
            y = point - effect * theta
            program = linprog(
                np.append(1.0, np.zeros(nuisance.shape[1])),
                A_ub=-np.column_stack([error, nuisance]),
                b_ub=-y,
                bounds=(None, None),
            )
            value = vertices @ y
            assert program.fun == pytest.approx(value.max(), abs=1e-8)
            margin, refused = twin(vertices[value.argmax()], vertices, y, spread, float(sets.critical[number]))
            if margin > 1e-6:
                assert accepted[number, at] == (not refused)
                compared += 1
    assert compared > 0.95 * accepted.size


def twin(best: Array, vertices: Array, y: Array, spread: Array, critical: float) -> tuple[float, bool]:
    """How near a decision is, and whether the hybrid refuses: the truncation by walking along the statistic."""
    value, variance = best @ y, best @ spread @ best
    if value > critical:
        return value - critical, True
    if value <= 0 or variance < 1e-14:
        return 1.0, False
    along, rest = spread @ best / variance, y - spread @ best / variance * (best @ y)

    def optimal(c: float) -> bool:
        every = vertices @ (rest + along * c)
        return bool(every.max() <= best @ (rest + along * c) + 1e-9)

    ends = []
    for far in (-60.0, 60.0):
        inside, outside = value, far
        if optimal(far):
            ends.append(far)
            continue
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if optimal(middle) else (inside, middle)
        ends.append(inside)
    low, high = ends[0] / variance**0.5, min(ends[1], critical) / variance**0.5
    if high - low < 1e-6:
        return 0.0, False
    limit = max(0.0, truncnorm.ppf(1 - (0.05 - 0.005) / (1 - 0.005), low, high))
    return abs(value / variance**0.5 - limit), value / variance**0.5 > limit


def test_the_upper_end_of_the_truncation_counts_where_it_is_below_the_first_test() -> None:
    draw = np.random.default_rng(1507)  # one of few covariances of 6,000 where it decides
    root = draw.normal(size=(3, 3)) * draw.choice([0.1, 1, 5], size=3)[:, None]
    covariance = root @ root.T + 1e-3 * np.eye(3)
    study = study_of(draw.multivariate_normal(np.zeros(3), covariance), covariance, [-2, 0, 1])
    path, thetas = path_of(study, ages=None, level=0.95), np.linspace(-0.9, -0.8, 41)
    sets = _Sets(path, 1.0)
    accepted = sets.accept(np.tile(sets.estimate - thetas / path.scale, (2, 1)))[1]
    point, spread, effect, nuisance = moments(study, 0, -1, 1.0, path.weight)
    vertices = dual_vertices(np.sqrt(np.diag(spread)), nuisance)
    refused = []
    for theta in thetas:
        y = point - effect * theta
        best = vertices[(vertices @ y).argmax()]
        refused.append(twin(best, vertices, y, spread, float(sets.critical[1]))[1])
    assert accepted.tolist() == [not one for one in refused]
    assert 5 < sum(refused) < 36


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("broken", "sharp"), [(0.0, False), (0.4, False), (3.0, True)])
def test_the_truth_is_covered_where_the_violation_is_as_bad_as_allowed(sign: int, broken: float, sharp: bool) -> None:
    magnitude, draws = 1.5, 1000
    covariance = random_study(8).covariance
    violation = sign * broken * np.array([-1.0, 0, 0, magnitude, 2 * magnitude, 3 * magnitude])
    path = path_of(study_of(violation, covariance, AGES), ages=[0, 1, 2], level=0.95)
    sets, changes, held = _Sets(path, magnitude), path.changes[:3], 0
    for estimate in np.random.default_rng(11).multivariate_normal(violation, covariance, size=draws) / path.scale:
        sets.worst = np.append(
            changes @ estimate, -changes @ estimate
        )  # the only part that is not the same in all samples
        held += bool(sets.accept(np.full((6, 1), path.target @ estimate)).any())  # the effect is zero
    error = np.sqrt(0.05 * 0.95 / draws)
    assert held / draws > 0.95 - 3 * error
    if sharp:  # a break of many standard errors is surely the worst, and the bound one-sided
        assert held / draws < 0.95 + 3 * error


def test_with_few_clusters_the_t_law_restores_the_coverage() -> None:
    clusters, draws, ages = 8, 600, [-3, -2, 0, 1]
    violation = np.array([-3.0, 0.0, 3.0, 6.0])
    sample = np.random.default_rng(4).normal(size=(draws, clusters, 4)) + violation
    held = {7.0: 0, np.inf: 0}
    for draw in sample:
        for freedom in held:
            study = study_of(draw.mean(axis=0), np.cov(draw.T) / clusters, ages, degrees_of_freedom=freedom)
            sets = _Sets(path_of(study, ages=None, level=0.95), 1.0)
            held[freedom] += bool(sets.accept(np.full((4, 1), sets.estimate)).any())
    error = np.sqrt(0.05 * 0.95 / draws)
    assert held[np.inf] / draws < 0.95 - 3 * error
    assert held[7.0] / draws > 0.95 - 3 * error


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("magnitude", [0.0, 0.02, 0.2])
def test_no_other_estimator_has_a_shorter_interval(seed: int, magnitude: float) -> None:
    study = random_study(seed, [-5, -4, -3, -2, 0, 1])
    path = path_of(study, ages=[0, 1], level=0.95)
    size, line = magnitude / path.scale, np.array([-4.0, -3, -2, -1, 1, 2])
    half = _Frontier(path).interval(np.array([size]))[1][0]

    def length(free: Array) -> float:
        first = (-(path.weight @ line[4:]) - free @ line[1:4]) / line[0]  # no bias on a straight line
        row = np.concatenate([[first], free, path.weight])
        error = float(np.sqrt(row @ path.covariance @ row))
        return error * float(folded_quantile(np.array([size * worst_bias(row) / error]), 0.05)[0])

    starts = np.random.default_rng(seed).normal(size=(2, 3))
    found = [minimize(length, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10}) for start in starts]
    assert half == pytest.approx(min(one.fun for one in found), rel=1e-6)


def worst_bias(row: Array) -> float:
    """Largest bias per unit of M, over violations that bend by one, up or down, at each age; the base at zero."""
    levels = np.insert(np.eye(6), 4, 0.0, axis=0)
    flat = np.array([-4.0, -3, -2, -1, 1, 2])  # one violation of each shape is enough: a line has no bias
    shapes = np.array([[*bends, 0.0] for bends in itertools.product((-1, 1), repeat=5)])
    violations = np.linalg.solve(np.vstack([np.diff(levels, n=2, axis=0), flat]), shapes.T)
    return float((row @ violations).max())


def test_coverage_is_exact_at_the_worst_violation() -> None:
    path = path_of(random_study(3, [-5, -4, -3, -2, 0, 1]), ages=None, level=0.9)
    frontier, size = _Frontier(path), np.array([0.05, 0.5])
    half = frontier.interval(size)[1]
    for magnitude, length in zip(size, half, strict=True):
        bias = np.linspace(frontier._bias[0], frontier._bias[-1], 20_001)
        row = frontier._estimator(bias)
        error = np.sqrt(((row @ path.covariance) * row).sum(axis=1))
        at = (error * folded_quantile(magnitude * bias / error, 0.1)).argmin()
        worst = magnitude * worst_bias(row[at])
        assert worst == pytest.approx(magnitude * bias[at], rel=1e-9)
        covered = norm.cdf((length - worst) / error[at]) - norm.cdf((-length - worst) / error[at])
        assert covered == pytest.approx(0.9, abs=1e-6)  # the grid of estimators is that fine


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000), st.booleans())
def test_every_knot_of_the_path_is_a_least_point(size: int, seed: int, tied: bool) -> None:
    draw = np.random.default_rng(seed)
    root = np.eye(size) if tied else draw.normal(size=(size, size)) + np.eye(size)
    hessian = root @ root.T + 0.01 * np.eye(size)
    pull = draw.integers(-2, 3, size).astype(float) if tied else draw.normal(size=size)
    knots = lasso_path(hessian, pull)
    scale = np.abs(pull).max() + 1e-9
    for x in knots:
        force = -pull - hessian @ x
        penalty = np.abs(force).max()
        used = np.abs(x) > 1e-9 * (np.abs(knots).max() + 1)
        assert np.abs(force[used] - penalty * np.sign(x[used])).max(initial=0.0) < 1e-8 * scale
    assert np.abs(hessian @ knots[-1] + pull).max() < 1e-8 * scale
    assert (np.diff(np.abs(knots).sum(axis=1)) >= -1e-9 * scale).all()


@pytest.mark.parametrize("method", [relative_magnitudes, smoothness])
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1e-9, -1.0, 37.0, -1e12]))
def test_units_sign_and_order_do_not_matter(method: Any, seed: int, factor: float) -> None:
    study = random_study(seed)
    shuffled = np.random.default_rng(seed).permutation(len(AGES))
    other = study_of(
        factor * study.estimate[shuffled],
        factor**2 * study.covariance[np.ix_(shuffled, shuffled)],
        np.array(AGES)[shuffled],
    )
    unit = abs(factor) if method is smoothness else 1.0
    one, two = method(study, magnitudes=[0.0, 0.3]), method(other, magnitudes=[0.0, 0.3 * unit])
    ends = np.sort(factor * np.stack([one.conf_low, one.conf_high]), axis=0)
    # the shortest interval's centre is where a flat function is least: half of the digits
    assert np.abs(ends - [two.conf_low, two.conf_high]).max() < 2e-6 * abs(factor) * (one.std_error + 1)
    assert two.breakdown == pytest.approx(unit * one.breakdown, rel=1e-4, abs=1e-6 * unit, nan_ok=True)
    assert two.worst_seen == pytest.approx(one.worst_seen * abs(factor), rel=1e-9)


@pytest.mark.parametrize("freedom", [np.inf, 6.0])
def test_without_a_violation_the_interval_is_the_study_s_own(freedom: float) -> None:
    whole = random_study(2)
    study = study_of(whole.estimate, whole.covariance, AGES, degrees_of_freedom=freedom)
    result = relative_magnitudes(study, magnitudes=0.0, ages=1)
    row = study.tidy().iloc[4]
    assert result.original == pytest.approx((row["conf_low"], row["conf_high"]), rel=1e-12)
    # 2,048 directions give the critical value of the first test to 1e-6, and the ends do not depend on it
    assert (result.conf_low[0], result.conf_high[0]) == pytest.approx(result.original, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_larger_violations_give_longer_intervals(seed: int) -> None:
    sizes = np.linspace(0, 3, 13)
    relative, smooth = (method(random_study(seed), magnitudes=sizes) for method in (relative_magnitudes, smoothness))
    assert (np.diff(relative.conf_high) >= 0).all()
    assert (np.diff(relative.conf_low) <= 0).all()
    assert (np.diff(smooth.conf_high - smooth.conf_low) > 0).all()


@pytest.mark.parametrize("method", [relative_magnitudes, smoothness])
@pytest.mark.parametrize("sign", [1, -1])
def test_at_the_breakdown_an_end_of_the_interval_is_zero(method: Any, sign: int) -> None:
    study = random_study(1)
    study = study_of(sign * (study.estimate + 2 * (np.array(AGES) >= 0)), study.covariance, AGES)
    size = method(study).breakdown
    assert 0 < size < np.inf
    near = method(study, magnitudes=[0.999 * size, size, 1.001 * size])
    end = near.conf_low if sign > 0 else near.conf_high
    assert abs(end[1]) < 1e-4 * near.std_error
    assert near.tidy()["excludes_zero"].tolist()[::2] == [True, False]


def test_half_a_year_of_weeks_takes_seconds() -> None:
    study = random_study(0, [*range(-13, -1), *range(26)])
    began = time.process_time()
    relative_magnitudes(study, ages=range(26))
    smoothness(study, ages=range(26))
    assert time.process_time() - began < 12  # 2 s where it was written
