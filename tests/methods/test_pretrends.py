"""Pre-tests against R, against their definitions by simulation and in closed form, and under relabelling."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategy_kit import did
from strategy_kit.did.pretrends import pretrend_power, pretrend_test
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.estimates import Estimates
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
RNG = np.random.default_rng
CONTROL = {"nevertreated": "never", "notyettreated": "not_yet"}
METHOD = {"reg": "regression", "ipw": "weighting", "dr": "doubly_robust"}
CASES = {
    "s1_balanced": ("never_varying", "notyet_varying", "never_universal", "notyet_varying_a1"),
    "s2_unbalanced": ("never_varying_drop",),
    "s3_covariates": tuple(f"{m}_{c}_varying" for m in METHOD for c in ("never", "notyet")),
}
steady = settings(deadline=None, derandomize=True, database=None, max_examples=50)


def panel_of(seed: int, start: list[float], periods: int = 8, **more: Any) -> Panel:
    y = RNG(seed).normal(size=(len(start), periods)).cumsum(axis=1)
    return replace(Panel.from_matrix(y, treated_from=start), **more)


START = [4.0] * 5 + [6.0] * 7 + [7.0] * 4 + [np.inf] * 9


@pytest.mark.parametrize(("case", "name"), [(c, n) for c in CASES for n in CASES[c]])
def test_wald_equals_r(case: str, name: str, request: pytest.FixtureRequest) -> None:
    covariates = case == "s3_covariates"
    folder = request.getfixturevalue("shared") / "truth" if covariates else REFERENCE
    expected = json.loads((folder / case / "truth.json").read_text())["results"][name]
    frame = pd.read_csv(folder / case / "panel.csv.gz")
    traits = ["x1", "x2"] if covariates else None
    panel = Panel.from_frame(frame, unit="unit", period="period", outcome="y", treated_from="cohort", covariates=traits)
    effects = did.group_time(
        panel if panel.balanced else panel.complete_units(),
        control=CONTROL[expected["control_group"]],
        anticipation=expected["anticipation"],
        base=expected["base_period"],
        method=METHOD[expected["est_method"]],
    )
    found, wald = pretrend_test(effects).iloc[0], expected["wald_pretest"]
    assert found["degrees_of_freedom"] == wald["df"]
    # The covariance agrees to 1e-11, its inverse loses two digits; R's logit stops at about 1e-9.
    near = 1e-6 if covariates else 1e-9
    assert found[["statistic", "p_value"]].tolist() == pytest.approx([wald["W"], wald["p_value"]], rel=near)


@pytest.mark.parametrize("row", range(48))
def test_wald_of_mpdta_equals_r(shared: Path, row: int) -> None:
    expected = pd.read_csv(shared / "truth/public/did_mpdta_wald.csv.gz").iloc[row]
    frame = pd.read_csv(shared / "truth/public/mpdta.csv.gz")
    traits = {"~1": None, "~lpop": ["lpop"]}[expected["x"]]
    panel = Panel.from_frame(
        frame, unit="countyreal", period="year", outcome="lemp", treated_from="first.treat", covariates=traits
    )
    effects = did.group_time(
        panel,
        control=CONTROL[expected["control"]],
        anticipation=int(expected["anticipation"]),
        base=expected["base"],
        method=METHOD[expected["est"]],
    )
    found = pretrend_test(effects).iloc[0]
    assert found["degrees_of_freedom"] == 5
    assert found["statistic"] == pytest.approx(expected["W"], rel=1e-7)  # R's logit stops at about 1e-9
    assert found["p_value"] == pytest.approx(expected["Wpval"], abs=5.1e-6)  # R rounds it to five places


def test_wald_by_age_is_the_quadratic_form_of_the_ages_before() -> None:
    study = did.event_study(did.group_time(panel_of(1, START), base="universal"))
    before = [k for k, a in enumerate(study.labels["age"]) if a < -1]
    b, V = study.estimate[before], study.covariance[np.ix_(before, before)]
    found = pretrend_test(study).iloc[0]
    assert found["statistic"] == pytest.approx(b @ np.linalg.solve(V, b), rel=1e-10)  # one well-conditioned solve
    assert found["p_value"] == pytest.approx(stats.chi2.sf(found["statistic"], len(before)), rel=1e-12)


@given(st.integers(0, 10_000), st.integers(0, 1))
@steady
def test_wald_depends_neither_on_the_base_nor_on_the_order_of_units(seed: int, anticipation: int) -> None:
    panel = panel_of(seed, START)
    order = RNG(seed).permutation(len(START))
    mixed = Panel.from_matrix(panel.outcome[order], treated_from=np.array(START)[order])
    one = pretrend_test(did.group_time(panel, anticipation=anticipation))
    other = pretrend_test(did.group_time(mixed, anticipation=anticipation, base="universal"))
    # 25 units and 10 effects: the covariance's condition reaches 1e4.
    pd.testing.assert_frame_equal(one, other, rtol=1e-8)


def study_of(ages: list[int], estimate: np.ndarray, covariance: np.ndarray) -> Estimates:
    return Estimates(
        estimator="event_study",
        outcome="y",
        labels=pd.DataFrame({"age": ages}),
        estimate=estimate,
        spread=covariance,
        n_units=np.full(len(ages), 50),
        assigned_at="merchant",
        clusters=(50, 50),
        average=(0.0, 1.0),
    )


def random_study(seed: int, ages: list[int]) -> Estimates:
    rng = RNG(seed)
    root = rng.normal(size=(len(ages), 2 * len(ages)))
    covariance = root @ root.T / len(ages) + 0.5
    return study_of(ages, rng.normal(size=len(ages)), covariance)


AGES = [-5, -4, -3, -2, 0, 1, 2]


@pytest.mark.parametrize("test", ["individual", "joint"])
@pytest.mark.parametrize("power", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", [1, 2])
def test_power_and_bias_equal_their_definition(test: str, power: float, seed: int) -> None:
    study, draws = random_study(seed, AGES), 200_000
    found = pretrend_power(study, power=power).query("test == @test")
    slope = found["slope"].iloc[0]
    V, before = study.covariance[:4, :4], np.array(AGES) < -1
    assert found["age"].tolist() == [0, 1, 2]
    assert found["bias"].tolist() == pytest.approx([slope, 2 * slope, 3 * slope], rel=1e-14)

    def passed(slope: float) -> tuple[np.ndarray, np.ndarray]:
        sample = RNG(9).multivariate_normal(slope * (np.array(AGES) + 1), study.covariance, size=draws)
        pre = sample[:, before]
        wald = np.einsum("ij,jk,ik->i", pre, np.linalg.inv(V), pre)
        alone = (np.abs(pre) < stats.norm.ppf(0.975) * np.sqrt(np.diag(V))).all(axis=1)
        return sample[:, ~before], alone if test == "individual" else wald < stats.chi2.ppf(0.95, 4)

    for given_slope, wanted in ((slope, power), (0.0, found["false_alarm"].iloc[0])):
        _, kept = passed(given_slope)
        # four standard errors of a share among the draws
        assert 1 - kept.mean() == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / draws))
    after, kept = passed(slope)
    error = after[kept].std(axis=0) / np.sqrt(kept.sum())
    assert (np.abs(after[kept].mean(axis=0) - found["bias_if_passed"]) < 4 * error).all()


def test_one_effect_before_the_start_has_a_closed_form() -> None:
    # unit variances: the chance to pass is that of a normal with mean -slope inside ±1.96
    study = study_of([-2, 0], np.array([0.3, 1.0]), np.array([[1.0, 0.4], [0.4, 2.0]]))
    rows = pretrend_power(study, power=[0.5, 0.9])
    limit = stats.norm.ppf(0.975)
    for row in rows.itertuples():
        chance = stats.norm.cdf(limit - row.slope) - stats.norm.cdf(-limit - row.slope)
        mean = stats.truncnorm.mean(-limit + row.slope, limit + row.slope, loc=-row.slope)
        near = 1e-3 if row.test == "individual" else 1e-9  # quasi-random points against a closed form
        assert 1 - chance == pytest.approx(row.power, abs=near)
        assert row.bias_if_passed == pytest.approx(row.slope + 0.4 * (mean + row.slope), rel=near)
        ratio = stats.norm.pdf(0.3, -row.slope) / stats.norm.pdf(0.3)
        assert row.likelihood_ratio == pytest.approx(ratio, rel=1e-12)
    assert rows["test"].tolist() == ["individual"] * 2 + ["joint"] * 2


def test_chance_to_pass_equals_scipys_integral() -> None:
    ages = [-8, -7, -6, -5, -4, -3, -2, 0]
    study = random_study(3, ages)
    V = study.covariance[:7, :7]
    end = stats.norm.ppf(0.975) * np.sqrt(np.diag(V))
    found = pretrend_power(study, power=0.6).iloc[0]
    for slope, wanted in ((0.0, found["false_alarm"]), (found["slope"], 0.6)):
        law = stats.multivariate_normal(slope * (np.array(ages[:7]) + 1), V, maxpts=200_000, abseps=1e-6, seed=1)
        assert 1 - law.cdf(end, lower_limit=-end) == pytest.approx(wanted, abs=2e-4)  # both integrate to about 1e-4


def test_likelihood_ratio_is_that_of_the_effects_seen() -> None:
    study = random_study(5, AGES)
    for row in pretrend_power(study).query("age == 0").itertuples():
        law = stats.multivariate_normal(cov=study.covariance[:4, :4])
        shifted = study.estimate[:4] - row.slope * (np.array(AGES[:4]) + 1)
        assert np.log(row.likelihood_ratio) == pytest.approx(
            law.logpdf(shifted) - law.logpdf(study.estimate[:4]), abs=1e-9
        )


def test_false_alarms_that_reach_the_power_leave_no_slope() -> None:
    # 30 independent effects: one of them is significant in 1 - 0.95**30 = 79% of the samples without any violation.
    ages = [*range(-31, -1), 0]
    rows = pretrend_power(study_of(ages, np.zeros(31), np.eye(31))).set_index("test")
    assert rows.loc["individual", ["slope", "bias", "bias_if_passed"]].tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert rows.loc["individual", "false_alarm"] == pytest.approx(1 - 0.95**30, abs=1e-12)  # a product, no integral
    assert rows.loc["joint", "slope"] > 0


@given(st.integers(0, 10_000), st.floats(1e-6, 1e6))
@settings(steady, max_examples=10)
def test_slopes_scale_with_the_outcome_and_repeat_byte_for_byte(seed: int, scale: float) -> None:
    study = random_study(seed, AGES)
    larger = replace(study, estimate=scale * study.estimate, spread=scale**2 * study.covariance)
    one, again, other = (pretrend_power(s, power=0.7) for s in (study, study, larger))
    pd.testing.assert_frame_equal(one, again, rtol=0, atol=0)
    scaled = one.assign(**{name: scale * one[name] for name in ("slope", "bias", "bias_if_passed")})
    pd.testing.assert_frame_equal(other, scaled, rtol=1e-6)  # the root is found to 1e-10 of its bracket


def test_slopes_count_from_the_base_period() -> None:
    effects = did.group_time(panel_of(2, [6.0] * 20 + [0.0] * 20), anticipation=1, base="universal")
    rows = pretrend_power(did.event_study(effects)).query("test == 'joint'")
    assert rows["age"].tolist() == [-1, 0, 1, 2]
    assert (rows["bias"] / rows["slope"]).tolist() == pytest.approx([1, 2, 3, 4])


def repeated() -> Estimates:
    """Two periods alike: their changes from the base are one and the same."""
    panel = panel_of(1, [8.0] * 12 + [0.0] * 12, 9)
    panel.outcome[:, 1] = panel.outcome[:, 0]
    return did.group_time(panel, base="universal")


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "singular": (
        lambda: pretrend_test(repeated()),
        DesignError,
        "6 effects before the start have a covariance of rank 5",
    ),
    "no errors": (
        lambda: pretrend_test(did.group_time(panel_of(1, START), inference="none")),
        DesignError,
        "no effect before the start with a standard error",
    ),
    "no past": (
        lambda: pretrend_test(did.group_time(panel_of(1, [2.0, 2, 0, 0]))),
        DesignError,
        "begin the panel earlier",
    ),
    "no ages": (
        lambda: pretrend_test(did.by_cohort(did.group_time(panel_of(1, START)))),
        DesignError,
        "by_cohort has no effects before the start",
    ),
    "varying base": (
        lambda: pretrend_power(did.event_study(did.group_time(panel_of(1, START)))),
        DesignError,
        "one base period, and event_study has 0.*base='universal'",
    ),
    "cells": (
        lambda: pretrend_power(did.group_time(panel_of(1, START))),
        DesignError,
        "has no effects by age; use event_study",
    ),
    "no later age": (lambda: pretrend_power(random_study(1, [-3, -2])), DesignError, "no effect after its base period"),
    "power": (lambda: pretrend_power(random_study(1, AGES), power=[0.5, 0.05]), ParameterError, "above 0.05"),
    "certain": (lambda: pretrend_power(random_study(1, AGES), power=1.0), ParameterError, "below 1, not 1.0"),
    "no power": (lambda: pretrend_power(random_study(1, AGES), power=[]), ParameterError, "not \\[\\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()
