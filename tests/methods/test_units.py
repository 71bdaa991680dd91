"""Covariates, weights, clusters, gaps and multiplier draws: points by plain regressions, errors by derivatives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from strategy_kit import did
from strategy_kit.did.cells import comparisons
from strategy_kit.did.cross_sections import CrossSections
from strategy_kit.did.influence import Units
from strategy_kit.errors import ContractError, DesignError
from strategy_kit.inference import BAND_DRAWS, Multiplier, band_critical
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

METHODS = ["regression", "weighting", "doubly_robust"]
steady = settings(deadline=None, derandomize=True, database=None, max_examples=12)


def panel(seed: int, *, units: int = 120, gaps: bool = False, moving: bool = False, covariates: bool = True) -> Panel:
    """Units of three cohorts and never treated over five periods; who is treated depends on the covariates."""
    draw = np.random.default_rng(seed)
    x = np.column_stack([draw.normal(size=units), draw.integers(0, 2, size=units)])
    score = 0.5 * x[:, 0] - 0.4 * x[:, 1] + draw.logistic(size=units)
    start = np.select([score > 0.9, score > 0.3, score > -0.2], [3.0, 4.0, 5.0], np.inf)
    y = draw.normal(size=(units, 5)).cumsum(axis=1) + np.outer(x[:, 0], np.arange(5)) + draw.normal(size=(units, 1))
    if gaps:
        y[draw.random(y.shape) < 0.15] = np.nan
    made = Panel.from_matrix(y, treated_from=start)
    given = x[:, None, :] + moving * draw.normal(size=(units, 5, 2)) * 0.3 if moving else x
    names = ("x0", "x1")
    return replace(made, covariates=given, covariate_names=names) if covariates else made


KINDS: dict[str, dict[str, Any]] = {
    "balanced": {},
    "covariates that move": {"moving": True},
    "gaps": {"gaps": True},
    "gaps and covariates that move": {"gaps": True, "moving": True},
    "gaps without covariates": {"gaps": True, "covariates": False},
    "weights alone": {"covariates": False},
}


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (kind, method)
        for kind in KINDS
        for method in METHODS
        if KINDS[kind].get("covariates", True) or method == METHODS[0]
    ],
)
def test_errors_are_the_derivative_of_the_estimate_by_each_unit(kind: str, method: Any) -> None:
    # Repeating a unit a little more often moves the estimate by its influence: no formula of an error is trusted.
    base = panel(11, units=80, **KINDS[kind])
    weight = np.random.default_rng(2).uniform(0.5, 2.0, size=len(base.units))
    options: dict[str, Any] = {"control": "not_yet", "method": method}
    averages = (did.event_study, did.overall, did.by_cohort, did.by_period)

    def values(w: np.ndarray) -> np.ndarray:
        effects = did.group_time(replace(base, weight=w), **options)
        found = [average(effects) for average in averages]
        return np.concatenate([effects.estimate, *(r.estimate for r in found), [r.average[0] for r in found]])

    step = 1e-4
    influence = []
    for i in range(len(base.units)):
        up, down = weight.copy(), weight.copy()
        up[i] *= 1 + step
        down[i] *= 1 - step
        influence.append((values(up) - values(down)) / (2 * step))
    expected = np.array(influence).T @ np.array(influence)
    effects = did.group_time(replace(base, weight=weight), **options)
    found = [effects, *(average(effects) for average in averages)]
    # central differences err by the square of the step
    at = 0
    for result in found:
        size = len(result.estimate)
        np.testing.assert_allclose(result.covariance, expected[at : at + size, at : at + size], rtol=2e-5, atol=1e-7)
        at += size
    spreads = np.sqrt(np.diag(expected))[at:]
    np.testing.assert_allclose([result.average[1] for result in found[1:]], spreads, rtol=2e-5)


def lines(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    fitted: np.ndarray = sm.WLS(y, x, weights=weight).fit().params
    return fitted


def chance(x: np.ndarray, treated: np.ndarray, weight: np.ndarray) -> np.ndarray:
    fit = sm.GLM(treated, x, family=sm.families.Binomial(), freq_weights=weight).fit(tol=1e-13)
    found: np.ndarray = fit.fittedvalues
    return found


def plain(base: Panel, method: str, cohort: int, period: int, before: int, control: np.ndarray) -> float:
    """One comparison of a balanced panel, as the papers write it."""
    inside, outside = base.cohort_codes == cohort, control[base.cohort_codes]
    rows = inside | outside
    given = base.covariates
    assert given is not None
    x = np.column_stack([np.ones(len(rows)), given if given.ndim == 2 else given[:, min(period, before)]])[rows]
    weight = np.ones(rows.sum()) if base.weight is None else base.weight[rows]
    change, treated = (base.outcome[:, period] - base.outcome[:, before])[rows], inside[rows]
    fitted = np.zeros(len(change))
    odds = np.zeros(len(change))
    if method != "weighting":
        fitted = x @ lines(x[~treated], change[~treated], weight[~treated])
    if method != "regression":
        p = chance(x, treated.astype(float), weight)
        odds = np.where(treated, 0.0, weight * p / (1 - p))
    left = change - fitted
    effect = np.average(left[treated], weights=weight[treated])
    return float(effect - (np.average(left, weights=odds) if method != "regression" else 0.0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["balanced", "covariates that move"])
@given(seed=st.integers(0, 10**6), control=st.sampled_from(["never", "not_yet"]))
@steady
def test_points_are_those_of_plain_regressions(kind: str, method: Any, seed: int, control: Any) -> None:
    base = panel(seed, units=90, **KINDS[kind])
    base = replace(base, weight=np.random.default_rng(seed).uniform(0.5, 2.0, size=90))
    cells, _ = comparisons(base, 4, control=control, anticipation=0, universal=False)
    try:
        found = did.group_time(base, control=control, method=method)
    except DesignError as refusal:
        if "separate" not in str(refusal) or method == "regression":
            raise
        reject()
    cell = zip(cells.cohort, cells.period, cells.base, cells.control, strict=True)
    expected = [plain(base, method, *each) for each in cell]
    # statsmodels' logit stops at a deviance that moves by 1e-13
    np.testing.assert_allclose(found.estimate, expected, atol=1e-7)


def of_two_rounds(base: Panel, cohort: int, period: int, before: int, control: np.ndarray) -> float:
    """The doubly robust estimator of repeated cross-sections, term by term (DRDID's drdid_rc)."""
    given = base.covariates
    assert given is not None
    codes = base.cohort_codes
    rows = [
        (post, codes[i] == cohort, base.outcome[i, at], *given[i])
        for at, post in ((before, 0), (period, 1))
        for i in np.flatnonzero(~np.isnan(base.outcome[:, at]) & ((codes == cohort) | control[codes]))
    ]
    frame = pd.DataFrame(rows, columns=["post", "d", "y", "a", "b"])
    x, y = np.column_stack([np.ones(len(frame)), frame[["a", "b"]]]), frame["y"].to_numpy()
    d, one = frame["d"].to_numpy(), np.ones(len(frame))
    p = chance(x, d.astype(float), one)
    total = 0.0
    for post, sign in ((1, 1), (0, -1)):
        now = (frame["post"] == post).to_numpy()
        control_fit = x @ lines(x[now & ~d], y[now & ~d], one[now & ~d])
        treated_fit = x @ lines(x[now & d], y[now & d], one[now & d])
        left = y - control_fit
        total += sign * (left[now & d].mean() - np.average(left[now & ~d], weights=(p / (1 - p))[now & ~d]))
        total += sign * ((treated_fit - control_fit)[d].mean() - (treated_fit - control_fit)[now & d].mean())
    return total


def test_points_of_an_unbalanced_panel_are_those_of_two_cross_sections() -> None:
    base = panel(5, gaps=True, units=150)
    cells, _ = comparisons(base, 4, control="not_yet", anticipation=0, universal=False)
    found = did.group_time(base, control="not_yet", method="doubly_robust")
    cell = zip(cells.cohort, cells.period, cells.base, cells.control, strict=True)
    np.testing.assert_allclose(found.estimate, [of_two_rounds(base, *each) for each in cell], atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_a_balanced_panel_read_row_by_row_gives_the_same_points(method: Any) -> None:
    base = panel(8, units=120)
    cells, _ = comparisons(base, 4, control="never", anticipation=0, universal=False)
    rows = CrossSections(base, Units.of(base), cells, method)
    np.testing.assert_allclose(rows.estimate, did.group_time(base, method=method).estimate, atol=1e-9)


def same(first: Any, second: Any) -> None:
    # both add the same terms in another order
    np.testing.assert_allclose(second.estimate, first.estimate, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(second.covariance, first.covariance, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(second.average, first.average, rtol=1e-10)


ALIKE: dict[str, Callable[[Panel], Panel]] = {
    "equal weights": lambda p: replace(p, weight=np.full(len(p.units), 3.0)),
    "a cluster for each unit": lambda p: replace(p, cluster=np.arange(len(p.units))[::-1].copy()),
    "covariates that stand still": lambda p: replace(p, covariates=np.repeat(p.covariates[:, None], 5, axis=1)),
    "scaled covariates": lambda p: replace(p, covariates=p.covariates * [1e3, 2.0] + [5.0, 1.0]),
}


@pytest.mark.parametrize("change", [*ALIKE])
@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_matter_changes_nothing(change: str, method: Any) -> None:
    base = panel(3)
    same(did.group_time(base, method=method), did.group_time(ALIKE[change](base), method=method))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_weight_of_two_is_two_units_of_one_cluster(gaps: bool, method: Any) -> None:
    base = panel(4, gaps=gaps, units=100)
    times = np.random.default_rng(1).integers(1, 4, size=100)
    unit = np.repeat(np.arange(100), times)
    copied = Panel.from_matrix(
        base.outcome[unit], treated_from=np.append(base.cohorts, np.inf)[base.cohort_codes[unit]]
    )
    given = base.covariates
    assert given is not None
    copied = replace(copied, covariates=given[unit], covariate_names=base.covariate_names, cluster=unit)
    weighted = replace(base, weight=times.astype(float))
    same(did.group_time(weighted, method=method), did.group_time(copied, method=method))


def test_units_and_moments_are_two_ways_to_one_result() -> None:
    base = panel(6, covariates=False)
    for control in ("never", "not_yet"):
        plainly = did.group_time(base, control=control)
        by_unit = did.group_time(replace(base, weight=np.ones(len(base.units))), control=control)
        same(plainly, by_unit)
        for average in (did.event_study, did.overall, did.by_cohort, did.by_period):
            same(average(plainly), average(by_unit))


CRITICAL = 0.06  # four standard deviations of the 95 % quantile of a maximum over 1,999 draws, seen over seeds


@pytest.mark.parametrize("kind", ["moments", "balanced", "gaps without covariates", "clusters"])
def test_multiplier_draws_agree_with_the_covariance(kind: str) -> None:
    base = panel(9, units=2_000, **(KINDS.get(kind, {"covariates": False})))
    base = replace(base, cluster=np.arange(2_000) // 4) if kind == "clusters" else base
    analytic = did.event_study(did.group_time(base))
    drawn = did.event_study(did.group_time(base, inference=Multiplier(draws=1_999, seed=3)))
    # the standard deviation of 1,999 draws has a relative error of 1 / sqrt(2 * 1,999) = 1.6 %
    np.testing.assert_allclose(drawn.std_error, analytic.std_error, rtol=0.065)
    assert drawn.estimate.tolist() == analytic.estimate.tolist()
    assert drawn.joint is not None
    ours = band_critical(analytic.covariance, 0.95)
    theirs = band_critical(drawn.covariance, 0.95, draws=drawn.joint.estimate_draws)
    assert abs(ours - theirs) < CRITICAL * 2
    assert BAND_DRAWS >= 1_999


def test_the_same_seed_gives_the_same_bytes() -> None:
    base = panel(9, covariates=False)
    first, again = (did.group_time(base, inference=Multiplier(draws=99, seed=5)) for _ in range(2))
    assert first.covariance.tobytes() == again.covariance.tobytes()
    other = did.group_time(base, inference=Multiplier(draws=99, seed=6))
    assert first.covariance.tobytes() != other.covariance.tobytes()


def long(**columns: Any) -> pd.DataFrame:
    unit, t = (grid.ravel() for grid in np.indices((40, 4)))
    draw = np.random.default_rng(0)
    start = np.where(np.arange(40) % 2 == 0, 3, 0)
    rows = {"id": unit, "t": t + 1, "y": draw.normal(size=160), "g": start[unit], "x": draw.normal(size=40)[unit]}
    return pd.DataFrame(rows | {name: value(unit, t) for name, value in columns.items()})


def read(frame: pd.DataFrame, **named: Any) -> Panel:
    return Panel.from_frame(frame, unit="id", period="t", outcome="y", treated_from="g", **named)


HURT: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "constant covariate": (
        lambda: did.group_time(read(long(c=lambda u, t: 1.0 + 0 * u), covariates=["x", "c"])),
        DesignError,
        "c is a combination of the others.*leave one of them out",
    ),
    "twice the same": (
        lambda: did.group_time(twice()),
        DesignError,
        "z is a combination of the others",
    ),
    "separated": (
        lambda: did.group_time(read(long(z=lambda u, t: 9.0 * (u % 2 == 0) + u / 40), covariates=["z"])),
        DesignError,
        "separate cohort 3 from its comparison units.*method='regression'",
    ),
    "missing covariate": (
        lambda: read(long().assign(x=lambda f: f["x"].where(f["id"] > 0)), covariates=["x"]),
        ContractError,
        "x must be a finite number, but 4 rows are missing",
    ),
    "weight of nothing": (
        lambda: read(long(w=lambda u, t: 0.0 + (u > 0)), weight="w"),
        ContractError,
        "w must be a positive number, but 4 rows",
    ),
    "weight that moves": (
        lambda: read(long(w=lambda u, t: 1.0 + t), weight="w"),
        ContractError,
        "w must be the same in all rows of a unit",
    ),
    "cluster that moves": (
        lambda: read(long(k=lambda u, t: t), cluster="k"),
        ContractError,
        "k must be the same in all rows of a unit.*give each unit one value",
    ),
}


def twice() -> Panel:
    frame = long()
    return read(frame.assign(z=2 * frame["x"]), covariates=["x", "z"])


@pytest.mark.parametrize("case", HURT)
def test_what_cannot_be_answered_is_refused_in_one_sentence(case: str) -> None:
    make, kind, words = HURT[case]
    with pytest.raises(kind, match=words) as refusal:
        make()
    assert "\n" not in str(refusal.value)


def test_a_separated_cohort_can_still_be_regressed() -> None:
    frame = long(z=lambda u, t: np.where(u % 2 == 0, 1.0, 0.0) + 0.001 * u)
    assert np.isfinite(did.group_time(read(frame, covariates=["z"]), method="regression").std_error).all()


def test_a_cell_that_nobody_was_seen_in_is_left_out_and_counted() -> None:
    frame = long()
    gone = (frame["g"] == 3) & (frame["t"] == 4)
    effects = did.group_time(read(frame[~gone]))
    assert effects.labels["period"].tolist() == [2, 3]
    assert "1 cells in which a side was never observed are left out (first: cohort 3, period 4)" in effects.notes


def test_each_row_of_a_cross_section_is_a_unit() -> None:
    frame = long()
    rows = Panel.from_frame(frame, unit=None, period="t", outcome="y", treated_from="g")
    assert rows.outcome.shape == (160, 4)
    effects = did.group_time(rows)
    means = frame.groupby(["g", "t"])["y"].mean()
    assert effects.estimate[-1] == pytest.approx(means[3, 4] - means[3, 2] - means[0, 4] + means[0, 2])
    spread = frame.groupby(["g", "t"])["y"].var(ddof=0) / frame.groupby(["g", "t"])["y"].size()
    assert effects.std_error[-1] == pytest.approx(np.sqrt(spread.loc[[(3, 4), (3, 2), (0, 4), (0, 2)]].sum()))
