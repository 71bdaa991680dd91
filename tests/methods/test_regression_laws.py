"""What must not matter to an estimator on cohort moments, and what every one of them refuses in one sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit import did
from strategy_kit.errors import DesignError, ParameterError, StrategyKitError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates

RNG = np.random.default_rng
NEVER = np.inf
Design = tuple[np.ndarray, list[float]]
LINEAR = ["two_way", "two_way_event_study", "saturated", "sun_abraham", "stacked", "imputation", "bacon"]
EVERY = [*LINEAR, "poisson", "poisson_saturated"]
DROPPING = ["saturated", "sun_abraham", "stacked", "imputation", "poisson_saturated"]
CALENDAR = ["cohort", "period", "comparison"]
# Sums of a few hundred doubles of order 10 in another order; systems have condition numbers of some thousands.
NEAR: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
steady = settings(deadline=None, derandomize=True, database=None, max_examples=4)


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """A small panel of positive outcomes with two to four never treated units."""
    periods = draw(st.integers(5, 8))
    starts = sorted(draw(st.sets(st.integers(2, periods), min_size=1, max_size=4)))
    start = [float(g) for g in starts for _ in range(draw(st.integers(2, 5)))] + [NEVER] * draw(st.integers(2, 4))
    rng = RNG(draw(st.integers(0, 10**6)))
    return np.exp(rng.normal(1.0, 0.5, (len(start), periods)).cumsum(axis=1) / 4), start


def fit(name: str, y: np.ndarray, start: Any, **labels: Any) -> Estimates:
    return getattr(did, name)(Panel.from_matrix(y, treated_from=start, **labels))


def same(found: Estimates, wanted: Estimates, by: float = 1.0, near: dict[str, Any] = NEAR) -> None:
    """Figures agree, up to a factor of the outcome; labels too, but for those of the calendar."""
    tidy = [result.labels.drop(columns=CALENDAR, errors="ignore") for result in (found, wanted)]
    pd.testing.assert_frame_equal(*tidy, rtol=1e-9, check_dtype=False)
    np.testing.assert_allclose(found.estimate, by * wanted.estimate, **near)
    np.testing.assert_allclose(found.covariance, by**2 * wanted.covariance, **near)
    np.testing.assert_allclose(found.average, by * np.array(wanted.average), **near)
    assert found.n_units.tolist() == wanted.n_units.tolist()
    assert found.clusters == wanted.clusters


@pytest.mark.parametrize("name", EVERY)
@given(design=designs(), seed=st.integers(0, 100))
@steady
def test_order_and_names_of_units_do_not_matter(name: str, design: Design, seed: int) -> None:
    y, start = design
    rng, wanted = RNG(seed), fit(name, y, start)
    order = rng.permutation(len(y))
    same(fit(name, y[order], np.array(start)[order], units=[f"m{i}" for i in range(len(y))]), wanted)
    code = rng.permutation(len(y)).repeat(y.shape[1])
    rows = pd.DataFrame({"id": code.astype(str), "t": np.tile(np.arange(1, y.shape[1] + 1), len(y)), "y": y.ravel()})
    rows = rows.assign(g=np.repeat(start, y.shape[1])).sample(frac=1.0, random_state=seed)
    same(getattr(did, name)(Panel.from_frame(rows, unit="id", period="t", outcome="y", treated_from="g")), wanted)


CALENDARS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "later": (lambda n: (np.arange(101, 101 + n), 0)),
    "below zero": (lambda n: (np.arange(-3, n - 3), 0)),
    "weeks": (lambda n: (pd.date_range("2025-12-15", periods=n, freq="7D"), pd.Timedelta(days=3))),
    "months": (lambda n: (pd.date_range("2024-11-01", periods=n, freq="MS"), pd.Timedelta(days=20))),
    "days": (lambda n: (pd.date_range("2024-02-27", periods=n, freq="D"), pd.Timedelta(hours=5))),
}


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("name", EVERY)
@given(design=designs())
@settings(steady, max_examples=2)
def test_the_calendar_does_not_matter(name: str, calendar: str, design: Design) -> None:
    y, start = design
    periods, inside = CALENDARS[calendar](y.shape[1])
    # a start inside a period counts from that period on
    moved = [periods[int(g) - 1] + inside if g < NEVER else None if inside else NEVER for g in start]
    found, wanted = fit(name, y, moved, periods=periods), fit(name, y, start)
    assert found.estimate.tobytes() == wanted.estimate.tobytes()
    assert found.covariance.tobytes() == wanted.covariance.tobytes()
    assert found.average == wanted.average
    same(found, wanted)
    for column in {"cohort", "period"} & set(wanted.labels):
        assert found.labels[column].tolist() == list(periods[wanted.labels[column] - 1])


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("by", [-3.0, 1e-4, 1e6])
@given(design=designs())
@settings(steady, max_examples=2)
def test_figures_scale_with_the_outcome(name: str, by: float, design: Design) -> None:
    near = {"rtol": 1e-9, "atol": 1e-9 * max(by**2, abs(by))}
    wanted = fit(name, *design)
    found = fit(name, by * design[0], design[1])
    average = replace(wanted, average=(wanted.average[0], np.sign(by) * wanted.average[1]))  # errors stay positive
    same(found, average, by, near)


@pytest.mark.parametrize("name", LINEAR)
@given(design=designs(), level=st.sampled_from([1.0, 1e4]))
@steady
def test_what_is_constant_in_a_unit_or_common_to_all_does_not_matter(name: str, design: Design, level: float) -> None:
    y, start = design
    rng = RNG(len(y))
    moved = y + level * rng.normal(size=(len(y), 1)) + level * rng.normal(size=y.shape[1])
    # of levels of 1e4 doubles keep 12 digits after the point, which squares and inverses cost some of
    same(fit(name, moved, start), fit(name, y, start), near={"rtol": 1e-7, "atol": 1e-9 * level})


@pytest.mark.parametrize("name", DROPPING)
@pytest.mark.parametrize("early", [1, -4])
@given(design=designs())
@settings(steady, max_examples=3)
def test_units_treated_from_the_first_period_on_are_left_out_and_counted(name: str, early: int, design: Design) -> None:
    y, start = design
    more = np.vstack([np.exp(RNG(5).normal(size=(3, y.shape[1]))), y])
    found = fit(name, more, [early] * 3 + start)
    same(found, fit(name, y, start))
    assert f"units treated from the first periods on, left out: 3 of {len(more)}" in found.notes


@pytest.mark.parametrize("name", EVERY)
@given(design=designs())
@settings(steady, max_examples=3)
def test_a_start_after_the_last_period_is_never_and_told(name: str, design: Design) -> None:
    y, start = design
    later = [g if g < NEVER else y.shape[1] + 1.0 for g in start]
    found = fit(name, y, later)
    same(found, fit(name, y, start))
    assert f"{start.count(NEVER)} units start after the last period and count as never treated" in found.notes


@pytest.mark.parametrize("name", EVERY)
@given(design=designs())
@steady
def test_covariances_are_symmetric_without_negative_variance_and_the_panel_is_as_it_was(
    name: str, design: Design
) -> None:
    panel = Panel.from_matrix(design[0], treated_from=design[1])
    before = panel.outcome.tobytes()
    found = getattr(did, name)(panel)
    largest = np.abs(found.covariance).max()
    # sums of products of doubles: a billionth of the largest entry is far above their rounding
    np.testing.assert_allclose(found.covariance, found.covariance.T, rtol=0, atol=1e-9 * largest)
    assert np.linalg.eigvalsh(found.covariance)[0] >= -1e-9 * largest
    assert panel.outcome.tobytes() == before
    again = getattr(did, name)(Panel.from_matrix(design[0].copy(), treated_from=design[1]))
    assert again.covariance.tobytes() == found.covariance.tobytes()


@pytest.mark.parametrize("name", LINEAR)
@given(design=designs(), effect=st.sampled_from([0.0, 1.5, -20.0]))
@settings(steady, max_examples=3)
def test_an_effect_that_is_alike_everywhere_is_found_exactly(name: str, design: Design, effect: float) -> None:
    y, start = design
    treated = np.arange(1, y.shape[1] + 1) >= np.array(start)[:, None]
    found = fit(name, y[:, :1] + 3 * y[0] + effect * treated, start)
    age = found.labels.get("age", pd.Series(0, index=found.labels.index)).to_numpy()
    assert found.estimate == pytest.approx(np.where(age >= 0, effect, 0.0), abs=1e-9)
    assert found.average[0] == pytest.approx(effect, abs=1e-9)
    # residuals are roundings, and a variance is a sum of their squares
    assert np.nan_to_num(found.std_error).max() < 1e-6


def refused(call: Callable[[], Any], words: str, kind: type[StrategyKitError] = DesignError) -> str:
    """The refusal is one sentence that ends with what to do."""
    with pytest.raises(kind, match=words) as caught:
        call()
    sentence = str(caught.value)
    assert ". " not in sentence
    assert "; " in sentence or "use " in sentence
    return sentence


def outcomes(units: int = 8) -> np.ndarray:
    return np.exp(RNG(1).normal(size=(units, 6)))


START = [3.0] * 4 + [NEVER] * 4
GIVEN: dict[str, dict[str, np.ndarray]] = {
    "covariates": {"covariates": np.ones((8, 1))},
    "weights": {"weight": np.ones(8)},
    "clusters": {"cluster": np.arange(8) // 2},
}


@pytest.mark.parametrize("what", GIVEN)
@pytest.mark.parametrize("name", EVERY)
def test_what_it_would_ignore_is_refused(name: str, what: str) -> None:
    panel = replace(Panel.from_matrix(outcomes(), treated_from=START), **GIVEN[what])
    refused(lambda: getattr(did, name)(panel), f"^{name}: it takes no {what} and would ignore them; group_time takes")


@pytest.mark.parametrize("name", EVERY)
def test_gaps_are_refused_together_with_all_else_that_it_cannot_take(name: str) -> None:
    y = outcomes()
    y[0, 0] = y[0, 1] = y[5, 3] = np.nan
    panel = Panel.from_matrix(y, treated_from=START)
    refused(lambda: getattr(did, name)(panel), r"2 of 8 lack one; use panel.complete_units\(\)")
    every = replace(panel, **{field: value for one in GIVEN.values() for field, value in one.items()})
    sentence = refused(lambda: getattr(did, name)(every), "2 of 8 lack one")
    assert [sentence.count(f"no {what} and would ignore them") for what in GIVEN] == [1, 1, 1]
    complete = getattr(did, name)(panel.complete_units())
    assert "2 of 8 units lacked a period and were left out" in complete.notes


@pytest.mark.parametrize("name", EVERY)
def test_assignment_by_category_is_refused_with_a_way_out_that_exists(name: str) -> None:
    panel = Panel.from_matrix(outcomes(), treated_from=START, category=list("aabbccdd"))
    sentence = refused(lambda: getattr(did, name)(panel), "assigned at category level.*use pilot_contrast")
    assert np.isfinite(did.pilot_contrast(panel).estimate).all()
    if "inference='none'" in sentence:
        assert np.isnan(getattr(did, name)(panel, inference="none").std_error).all()


NOTHING = {
    "nothing treated": [NEVER] * 8,
    "all in one cohort": [3.0] * 8,
    "treated throughout or never": [1.0] * 4 + [NEVER] * 4,
    "all treated throughout": [1.0] * 8,
    "one cohort and units treated throughout": [3.0] * 4 + [1.0] * 4,
}


@pytest.mark.parametrize("case", NOTHING)
@pytest.mark.parametrize("name", EVERY)
def test_nothing_to_compare_is_refused(name: str, case: str) -> None:
    if case.startswith("one cohort and") and name in {"two_way", "bacon", "poisson"}:
        assert np.isfinite(fit(name, outcomes(), NOTHING[case]).estimate).all()  # as in any regression
        return
    refused(lambda: fit(name, outcomes(), NOTHING[case]), "compare|impute|no treated cohort")


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({"before": 0}, "at least 1 period before the start and 0 after, not 0 and 3"),
        ({"before": -1, "after": -1}, "not -1 and -1"),
        ({"before": 1.5}, "not 1.5 and 3"),
        ({"after": "2"}, "not 2 and '2'"),
        ({"before": 3}, "no cohort has 3 periods before its start and 3 after; take a shorter window"),
        ({"after": 4}, "no cohort has 2 periods before its start and 4 after; take a shorter window"),
        ({"before": 99, "after": 99}, "no cohort has 99 periods before its start and 99 after"),
    ],
)
def test_a_window_that_no_cohort_has_is_refused(window: dict[str, Any], words: str) -> None:
    panel = Panel.from_matrix(outcomes(), treated_from=START)
    with pytest.raises(ParameterError, match=words):
        did.stacked(panel, **window)
    assert did.stacked(panel).labels["age"].tolist() == [-2, 0, 1, 2, 3]
