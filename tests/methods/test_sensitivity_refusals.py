"""What a sensitivity analysis reads from each estimator, what it refuses, and what its sentence says."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import strategy_kit as sk
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.glossary import COLUMNS
from strategy_kit.inference import Ratio
from strategy_kit.sensitivity import Sensitivity, relative_magnitudes, smoothness, study_of
from strategy_kit.sensitivity import relative as room
from strategy_kit.sensitivity.study import path_of

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates

AGES = [-4, -3, -2, 0, 1]
ROUND = np.diag([0.04] * 5)
METHODS = pytest.mark.parametrize("method", [relative_magnitudes, smoothness])


def study(ages: list[int] | None = None, effect: float = 2.0, size: float = 0.04) -> Estimates:
    ages = AGES if ages is None else ages
    bumps = np.resize([0.1, -0.1, 0.2], len(ages))
    return study_of(np.where(np.array(ages) >= 0, effect, bumps), np.eye(len(ages)) * size, ages)


def panel(starts: tuple[int, ...] = (5, 7, 0, 0), **named: Any) -> sk.Panel:
    draw, start = np.random.default_rng(1), np.tile(starts, 20)
    outcome = draw.normal(size=(80, 10)) + 2.0 * ((start[:, None] > 0) & (np.arange(1, 11) >= start[:, None]))
    return sk.Panel.from_matrix(outcome, treated_from=start, **named)


def universal(one: sk.Panel | None = None, **named: Any) -> Estimates:
    return sk.did.event_study(sk.did.group_time(one or panel(), base="universal", **named))


@METHODS
def test_the_base_period_is_left_out_wherever_it_stands(method: Any) -> None:
    fitted = universal()
    kept = np.isfinite(fitted.std_error)
    bare = study_of(fitted.estimate[kept], fitted.covariance[np.ix_(kept, kept)], fitted.labels["age"][kept])
    given = study_of(fitted.estimate, np.nan_to_num(fitted.covariance), fitted.labels["age"])
    results = [method(one).tidy() for one in (fitted, bare, given)]
    assert np.isnan(given.std_error).sum() == 1
    for other in results[1:]:
        # a centre is where a flat function is least, which takes half of the digits
        np.testing.assert_allclose(other.to_numpy(float), results[0].to_numpy(float), atol=1e-7)


@METHODS
@pytest.mark.parametrize("fit", ["sun_abraham", "two_way_event_study", "stacked"])
def test_event_studies_of_regressions_are_read_with_their_t_law(method: Any, fit: str) -> None:
    fitted = getattr(sk.did, fit)(panel())
    result = method(fitted)
    row = fitted.tidy().query("age == 0").iloc[0]
    assert result.original == pytest.approx((row["conf_low"], row["conf_high"]), rel=1e-12)
    assert result.ages == (0,)
    assert result.breakdown > 0


def test_with_anticipation_the_base_lies_earlier_and_its_ages_count_as_after() -> None:
    path = path_of(universal(anticipation=1), ages=None, level=0.95)
    assert path.all_ages[path.before] == -2
    assert path.ages == (0,)
    assert path.weight.tolist()[:2] == [0, 1], "age -1 is a nuisance"
    early = relative_magnitudes(universal(anticipation=1), ages=-1)
    assert early.ages == (-1,)


@METHODS
@pytest.mark.parametrize(
    ("fit", "sentence"),
    [
        (
            lambda: sk.did.event_study(sk.did.group_time(panel())),
            r"one base period, and event_study has 0 .*base='universal'",
        ),
        (lambda: universal(inference="none"), "no standard errors"),
        (lambda: sk.did.group_time(panel()), "no effects by age; use event_study"),
        (lambda: sk.did.event_study(sk.did.saturated(panel())), "no effect lies before the base period"),
        (lambda: sk.did.imputation(panel()), "from all earlier periods and those before it from one"),
        (lambda: sk.did.two_way_event_study(panel((5, 7, 9, 9))), "more than one age is a base; add units"),
        (lambda: study([-4, -2, 0, 1]), "needs? every age, and -3 is missing; leave out"),
        (lambda: study([-3, -2]), "no effect lies after the base"),
        (lambda: study([0, 1]), "no effect lies before"),
    ],
)
def test_what_cannot_be_bounded_is_refused_with_a_way_out(method: Any, fit: Any, sentence: str) -> None:
    with pytest.raises(DesignError, match=sentence):
        method(fit())


@METHODS
def test_categories_are_refused_by_name(method: Any) -> None:
    with pytest.raises(DesignError, match=r"assigned at category level.*pilot_contrast.*study_of"):
        method(replace(study(), assigned_at="category"))


@METHODS
def test_effects_in_percent_are_refused(method: Any) -> None:
    with pytest.raises(DesignError, match=r"neither the normal nor a common t law; .* logarithms"):
        method(replace(study(), law=Ratio()))


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(DesignError, match=r"breaks 2 laws: \(1\) no effect lies before .* \(2\) .* 2 is missing"):
        relative_magnitudes(study([0, 1, 3]))


def test_few_clusters_leave_a_singular_covariance_that_only_one_method_can_use() -> None:
    draw = np.random.default_rng(2).normal(size=(4, 7))
    singular = study_of([0.1, 0.2, 0.1, -0.1, 2, 2, 2], np.cov(draw.T) / 4, [-5, -4, -3, -2, 0, 1, 2])
    with pytest.raises(DesignError, match=r"the 4 effects before the start .* rank 3, .*or use relative_magnitudes"):
        smoothness(singular)
    assert np.isfinite(relative_magnitudes(singular).tidy().to_numpy(float)).all()


@METHODS
def test_a_change_that_was_not_estimated_is_refused(method: Any) -> None:
    still = np.eye(5) * 0.04
    still[1] = still[0]
    still[:, 1] = still[:, 0]
    with pytest.raises(DesignError, match=r"from age -4 to -3 has no variance|rank 3"):
        method(study_of([0.1, 0.1, 0.2, 2, 2], still, AGES))


@METHODS
@pytest.mark.parametrize("wrong", [-0.5, "big", [], [1.0, 0.5], [0.0, np.inf], [np.nan], [[0.0, 1.0]]])
def test_sizes_that_cannot_be_are_refused(method: Any, wrong: Any) -> None:
    with pytest.raises(ParameterError, match="finite numbers of 0 or more in rising order"):
        method(study(), magnitudes=wrong)


@METHODS
@pytest.mark.parametrize("wrong", [2, -2, -1, [], [0, 0], "0", 0.5, [0, 9]])
def test_ages_that_are_not_there_are_refused(method: Any, wrong: Any) -> None:
    with pytest.raises(ParameterError, match="distinct ages after the base period, 0 to 1, not"):
        method(study(), ages=wrong)


@METHODS
def test_early_ages_are_left_out_by_since(method: Any) -> None:
    whole = study()
    shorter = study_of(whole.estimate[1:], whole.covariance[1:, 1:], AGES[1:])
    assert method(whole, since=-3).tidy().equals(method(shorter).tidy())
    assert method(study([-6, -3, -2, 0, 1]), since=-3).ages == (0,), "and so is a gap"
    for wrong in (-1, 0, -5, 2.0):
        with pytest.raises(ParameterError, match=r"since is an age before the base period -1, -4 at the earliest, not"):
            method(whole, since=wrong)


def test_weights_fitted_to_few_units_are_cautioned_against_and_then_refused() -> None:
    few = universal(panel((5, 7, 0, 0)))  # 40 units a side, 5 early ages
    assert (
        smoothness(few)
        .notes[-1]
        .startswith("4 weights of early ages are fitted to a covariance that rests on 40 units")
    )
    assert "about 1.11 times as large" in smoothness(few).notes[-1], "39 / 35"
    assert smoothness(few, since=-2).notes == relative_magnitudes(few).notes == few.notes
    wide = study_of(few.estimate, np.nan_to_num(few.covariance), few.labels["age"], degrees_of_freedom=7)
    with pytest.raises(DesignError, match=r"4 weights .* 8 units .* by since, or use relative_magnitudes"):
        smoothness(wide)


def test_the_caution_says_how_far_off_standard_errors_are() -> None:
    units, before, draws = 40, 10, 250
    centres, halves = [], []
    for sample in np.random.default_rng(6).normal(size=(draws, units, before + 2)):
        changed = np.delete(sample - sample[:, [before]], before, axis=1)
        one = study_of(changed.mean(axis=0), np.cov(changed.T) / units, [*range(-before - 1, -1), 0])
        ends = smoothness(one, magnitudes=0.0)
        centres.append((ends.conf_high[0] + ends.conf_low[0]) / 2)
        halves.append((ends.conf_high[0] - ends.conf_low[0]) / 2)
    ratio = np.std(centres) / (np.mean(halves) / 1.96)
    # 39 / 30 = 1.3; a standard deviation of 250 draws is off by 4.5 %
    assert ratio == pytest.approx(1.3, rel=0.14)


@METHODS
@pytest.mark.parametrize("wrong", [95, 0.0, 1.0, None])
def test_a_level_that_cannot_be_is_refused(method: Any, wrong: Any) -> None:
    with pytest.raises(ParameterError, match=r"level (must lie between 0 and 1|is a number)"):
        method(study(), level=wrong)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (([1.0], np.eye(2), [0]), "K estimates, K ages and a K by K covariance"),
        (([], np.eye(0), []), "K estimates"),
        (([1.0, np.nan], np.eye(2), [-2, 0]), "missing or infinite"),
        (([1.0, 2.0], np.eye(2), [0, 0]), "distinct whole numbers"),
        (([1.0, 2.0], np.eye(2), [-2, 0.5]), "distinct whole numbers"),
        (([1.0, 2.0], [[1, 0.5], [0.1, 1]], [-2, 0]), "not symmetric"),
        (([1.0, 2.0], [[1, 2], [2, 1]], [-2, 0]), "negative eigenvalues"),
    ],
)
def test_numbers_that_are_no_event_study_are_refused(given: Any, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        study_of(*given)
    with pytest.raises(ParameterError, match="above 0"):
        study_of([1.0], [[1.0]], [0], degrees_of_freedom=-3)


@METHODS
@pytest.mark.parametrize("ages", [[-2, 0], [-2, 0, 1], [-3, -2, 0]])
def test_one_age_on_a_side_is_enough(method: Any, ages: list[int]) -> None:
    result = method(study(ages))
    assert np.isfinite(result.tidy().to_numpy(float)).all()
    assert (result.conf_high > result.conf_low).all()
    assert np.isnan(result.worst_seen) == (method is smoothness and ages[1] == 0)


def test_one_age_before_shows_no_bend_and_its_error_is_the_measure() -> None:
    assert smoothness(study([-2, 0], size=0.09)).magnitude.tolist() == pytest.approx([0, 0.075, 0.15, 0.225, 0.3])


def test_two_independent_coefficients_by_hand() -> None:
    # one age a side, so that no weight is free: theta = 1 + 0.1 (one slope a period), variance 0.01 + 0.01, bias M
    result = smoothness(study_of([0.1, 1.0], np.eye(2) * 0.01, [-2, 0]), magnitudes=[0.0, 10.0])
    error = np.sqrt(0.02)
    assert result.conf_low[0] == pytest.approx(1.1 - 1.959964 * error, abs=1e-6)
    assert result.conf_high[1] == pytest.approx(1.1 + 10 + 1.644854 * error, abs=1e-6)
    assert result.breakdown == pytest.approx(1.1 - 1.644854 * error, abs=1e-3)  # the other tail is 1e-8


def test_what_there_is_to_say() -> None:
    sure = relative_magnitudes(study())
    assert sure.reading == (
        f"The finding survives until trends break by {sure.breakdown:.2f} times the worst break seen before: the effect at "
        "age 0 (+2.000, 95% interval +1.608 to +2.392)."
    )
    assert sure.worst_seen == pytest.approx(0.3)
    unsure = relative_magnitudes(study(effect=0.1), ages=[0, 1])
    assert np.isnan(unsure.breakdown)
    assert unsure.reading.startswith(
        "No finding to defend: the effect at ages 0 to 1 on average (+0.100, 95% interval −0.17"
    )
    flat = study_of([0, 0, 0, 2, 2], ROUND, AGES)
    level = relative_magnitudes(flat)  # no change was seen, within its error: what was seen is not nothing
    assert 0 < level.breakdown < 100
    ends = relative_magnitudes(flat, magnitudes=[0.999 * level.breakdown, 1.001 * level.breakdown]).conf_low
    assert ends[0] > 0 > ends[1]
    for worst in (1e-2, 1e-5, 1e-6, 1e-7):
        tiny = study_of([worst, 1.0], np.eye(2) * 0.01, [-2, 0])
        assert relative_magnitudes(tiny).breakdown == pytest.approx(5.95, rel=0.07)
    certain = study_of([0, 0, 0, 2, 2], ROUND * 1e-12, AGES)
    assert np.isinf(relative_magnitudes(certain).breakdown)
    assert "however large" in relative_magnitudes(certain).reading
    line = study_of([-1.5, -1.0, -0.5, 0.5, 1.0], ROUND, AGES)
    assert smoothness(line).breakdown == 0
    assert smoothness(line).reading.startswith("The finding does not survive a straight line: the effect at age 0")
    bent = smoothness(study())
    assert bent.reading.startswith(f"The finding survives until slopes change by {bent.breakdown:.3g}")
    assert "where 0.500 is the worst estimated before" in bent.reading


def test_a_finding_of_the_other_sign_is_no_survival() -> None:
    # the original interval is below zero, the one beside the line above it
    turned = study_of([3.0, 2.0, 1.0, -0.6, -1.0], ROUND / 4, AGES)
    result = smoothness(turned, magnitudes=[0.0])
    assert result.original[1] < 0 < result.conf_low[0]
    assert result.breakdown == 0


@METHODS
def test_results_are_frozen_tidy_and_say_themselves(method: Any) -> None:
    result = method(study())
    assert isinstance(result, Sensitivity)
    with pytest.raises(FrozenInstanceError):
        result.level = 0.5
    for frame in (result.tidy(), result.glance()):
        assert not set(frame.columns) - set(COLUMNS)
    assert result.glance()["estimate"].tolist() == pytest.approx([2.0])
    assert repr(result).startswith(result.reading)
    assert result.notes[0] == study().notes[0], "the study's cautions go with it"
    assert result.reading in result._repr_html_()
    assert "<table" in result._repr_html_()
    again = method(study())
    assert again.tidy().equals(result.tidy())
    assert again.breakdown == result.breakdown


def test_a_hull_says_when_values_inside_it_are_refused() -> None:
    def lobes(e: np.ndarray) -> np.ndarray:
        return (np.abs(e) < 2) & (np.abs(e) > 1)

    ends = {"low": np.array([-3.0, -4.0]), "high": np.array([3.0, 2.5])}
    low, high, holes = room._hull(SimpleNamespace(**ends, estimate=10.0, accept=lobes))
    assert (low, high) == pytest.approx((8, 12))
    assert holes
    whole = room._hull(SimpleNamespace(**ends, estimate=10.0, accept=lambda e: np.abs(e) < 2))
    assert not whole[2]


def test_one_treated_unit_and_one_early_age_fit_no_weight() -> None:
    panel = sk.Panel.from_matrix(np.random.default_rng(0).normal(size=(6, 4)), treated_from=[3, 0, 0, 0, 0, 0])
    assert "fitted" not in " ".join(smoothness(sk.did.event_study(sk.did.group_time(panel, base="universal"))).notes)
