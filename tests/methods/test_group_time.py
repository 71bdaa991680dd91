"""Group-time effects and their averages against a slow twin written unit by unit, under relabelling, and refused."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit import did
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.inference import Student, band_critical
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable


AVERAGES = {"simple": did.overall, "dynamic": did.event_study, "group": did.by_cohort, "calendar": did.by_period}
steady = settings(deadline=None, derandomize=True, database=None, max_examples=100)


class Twin:
    """The estimator as the paper writes it: one influence value for each unit and cell, by loops."""

    def __init__(self, y: np.ndarray, start: list[float], *, control: str, anticipation: int, base: str) -> None:
        units, last = range(len(y)), y.shape[1]
        if np.inf not in start:
            final = max(start)
            last, start = int(final) - anticipation - 1, [np.inf if g == final else g for g in start]
        self.start, self.cells, self.estimate, columns = start, [], [], []
        for g in sorted({g for g in start if g < np.inf}):
            for t in range(1, last + 1):
                before = int(g) - anticipation - 1
                b = before if base == "universal" or t >= g else t - 1
                if b < 1:
                    continue
                change = [y[i, t - 1] - y[i, b - 1] for i in units]
                inside = [i for i in units if start[i] == g]
                wait = np.inf if control == "never" else max(t, b) + anticipation + 1
                outside = [i for i in units if start[i] >= wait and start[i] != g]
                here, there = (sum(change[i] for i in side) / len(side) for side in (inside, outside))
                value = np.zeros(len(y))
                for i in inside:
                    value[i] += (change[i] - here) / len(inside)
                for i in outside:
                    value[i] -= (change[i] - there) / len(outside)
                self.cells.append((int(g), t))
                self.estimate.append(here - there)
                columns.append(value)
        self.influence = np.array(columns).T  # (N, K), each already divided by N

    def average(self, chosen: list[int]) -> tuple[float, np.ndarray]:
        """Cells weighted by cohort shares, with the influence of every unit on those shares."""
        n = len(self.start)
        share = [self.start.count(self.cells[k][0]) / n for k in chosen]
        total = sum(share)
        value = sum(p * self.estimate[k] for p, k in zip(share, chosen, strict=True)) / total
        influence = np.zeros(n)
        for i in range(n):
            for p, k in zip(share, chosen, strict=True):
                moved = ((self.start[i] == self.cells[k][0]) - p) / n
                influence[i] += p / total * self.influence[i, k] + (self.estimate[k] - value) / total * moved
        return value, influence

    def rows(self, label: Callable[[int, int], int | None]) -> dict[int, tuple[float, np.ndarray]]:
        """The average of the cells that share a label."""
        labels = [label(*cell) for cell in self.cells]
        wanted = sorted({x for x in labels if x is not None})
        return {x: self.average([k for k, other in enumerate(labels) if other == x]) for x in wanted}


@st.composite
def designs(draw: st.DrawFn) -> tuple[np.ndarray, list[float], dict[str, Any]]:
    """A small random panel and options that it allows."""
    periods, anticipation = draw(st.integers(5, 8)), draw(st.integers(0, 2))
    never = draw(st.integers(0, 4).filter(lambda n: n != 1))
    possible = range(2 + anticipation, periods + 1)
    starts = sorted(draw(st.sets(st.sampled_from(possible), min_size=1 if never else 2, max_size=3)))
    if not never and starts[-2] >= starts[-1] - anticipation:  # nothing of the last treated cohort would be left
        never = 2
    control = draw(st.sampled_from(["never", "not_yet"])) if never else "not_yet"
    sizes = [draw(st.integers(2, 4)) for _ in starts]
    start = [float(g) for g, n in zip(starts, sizes, strict=True) for _ in range(n)] + [np.inf] * never
    y = np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=(len(start), periods)).cumsum(axis=1)
    options = {
        "control": control,
        "anticipation": anticipation,
        "base": draw(st.sampled_from(["varying", "universal"])),
    }
    return y, start, options


@given(designs())
@steady
def test_cells_equal_the_twin(design: tuple[np.ndarray, list[float], dict[str, Any]]) -> None:
    y, start, options = design
    twin, effects = Twin(y, start, **options), did.group_time(Panel.from_matrix(y, treated_from=start), **options)
    assert [tuple(row) for row in effects.labels.to_numpy().tolist()] == twin.cells
    np.testing.assert_allclose(effects.estimate, twin.estimate, atol=1e-12)  # outcomes are of order 1
    fixed = np.isnan(effects.std_error)
    anticipation = options["anticipation"]
    base_cells = [options["base"] == "universal" and t == g - anticipation - 1 for g, t in twin.cells]
    assert fixed.tolist() == base_cells
    covariance = twin.influence.T @ twin.influence
    np.testing.assert_allclose(
        effects.covariance[np.ix_(~fixed, ~fixed)], covariance[np.ix_(~fixed, ~fixed)], atol=1e-12
    )


@given(designs())
@steady
def test_averages_equal_the_twin(design: tuple[np.ndarray, list[float], dict[str, Any]]) -> None:
    y, start, options = design
    twin, effects = Twin(y, start, **options), did.group_time(Panel.from_matrix(y, treated_from=start), **options)
    n = len(y)
    labels: dict[str, Callable[[int, int], int | None]] = {
        "simple": lambda g, t: 0 if t >= g else None,
        "dynamic": lambda g, t: t - g,
        "group": lambda g, t: g if t >= g else None,
        "calendar": lambda g, t: t if t >= g else None,
    }
    for kind, label in labels.items():
        rows, average = twin.rows(label), AVERAGES[kind](effects)
        influence = np.array([row[1] for row in rows.values()]).T
        if kind != "simple":
            assert average.labels.iloc[:, 0].tolist() == list(rows)
        np.testing.assert_allclose(average.estimate, [row[0] for row in rows.values()], atol=1e-12)
        free = np.isfinite(average.std_error)
        assert (free | (np.abs(influence).max(axis=0) < 1e-15)).all()
        expected = influence.T @ influence
        np.testing.assert_allclose(average.covariance[np.ix_(free, free)], expected[np.ix_(free, free)], atol=1e-12)
        counted = {x: row for x, row in rows.items() if kind != "dynamic" or x >= 0}
        value = np.mean([row[0] for row in counted.values()])
        whole = np.mean([row[1] for row in counted.values()], axis=0)
        if kind == "group":
            share = {g: twin.start.count(g) / n for g in counted}
            total = sum(share.values())
            value = sum(share[g] / total * row[0] for g, row in counted.items())
            whole = sum(
                share[g] / total * row[1]
                + (row[0] - value) / total * (np.array([s == g for s in twin.start]) - share[g]) / n
                for g, row in counted.items()
            )
        np.testing.assert_allclose(average.average, [value, np.sqrt(whole @ whole)], atol=1e-12)


def long_frame(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    unit, t = (grid.ravel() for grid in np.indices((24, 7)))
    y = rng.normal(size=(24, 7)).cumsum(axis=1).ravel()
    start = np.array([3.0, 5.0, 6.0, np.nan])[rng.permutation(24) % 4]
    return pd.DataFrame({"id": unit, "t": t + 1, "y": y, "g": start[unit]})


def dated(first: str, frequency: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        days = dict(enumerate(pd.date_range(first, periods=7, freq=frequency), 1))
        return frame.assign(t=frame["t"].map(days), g=frame["g"].map(days))

    return change


def relabelled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(id=frame["id"].map(lambda i: string.ascii_lowercase[(7 * i + 3) % 26]))


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "relabelled": relabelled,
    "shuffled": lambda f: f.sample(frac=1, random_state=3),
    "later": lambda f: f.assign(t=f["t"] + 2_000, g=f["g"] + 2_000),
    "scaled": lambda f: f.assign(y=1_000 * f["y"]),
    "own levels": lambda f: f.assign(y=f["y"] + np.random.default_rng(1).normal(size=24)[f["id"]]),
    "common path": lambda f: f.assign(y=f["y"] + np.arange(8.0)[f["t"]] ** 2),
    "weeks": dated("2025-12-01", "W-MON"),
    "months": dated("2025-01-01", "MS"),
}


@pytest.mark.parametrize("change", CHANGES)
@given(seed=st.integers(0, 10**6), control=st.sampled_from(["never", "not_yet"]))
@settings(steady, max_examples=5)
def test_what_does_not_matter_changes_nothing(change: str, seed: int, control: str) -> None:
    frame, names = long_frame(seed), {"unit": "id", "period": "t", "outcome": "y", "treated_from": "g"}
    plain, other = (
        did.group_time(Panel.from_frame(f, **names), control=control) for f in (frame, CHANGES[change](frame))
    )
    factor = 1_000 if change == "scaled" else 1
    for average in (lambda e: e, *AVERAGES.values()):
        first, second = average(plain), average(other)
        np.testing.assert_allclose(second.estimate, factor * first.estimate, rtol=1e-9, atol=1e-10 * factor)
        np.testing.assert_allclose(second.covariance, factor**2 * first.covariance, rtol=1e-9, atol=1e-10 * factor**2)
        np.testing.assert_allclose(second.average, np.multiply(factor, first.average), rtol=1e-9)
        assert second.n_units.tolist() == first.n_units.tolist()
    assert did.event_study(plain).labels["age"].tolist() == did.event_study(other).labels["age"].tolist()


def noise(starts: list[float], periods: int = 6, **more: Any) -> Panel:
    y = np.random.default_rng(4).normal(size=(len(starts), periods))
    return Panel.from_matrix(y, treated_from=starts, **more)


PILOTS = {"starts": [4, 4, 4, 4, 0, 0, 0, 0], "category": list("aabbccdd")}
REFUSED: list[tuple[str, Callable[[], object], type[Exception], str]] = [
    (
        "category",
        lambda: did.group_time(noise(**PILOTS)),
        DesignError,
        "category level.*pilot_contrast.*inference='none'",
    ),
    (
        "one cohort",
        lambda: did.group_time(noise([4, 4]), control="not_yet"),
        DesignError,
        "one cohort and no other unit",
    ),
    ("no never", lambda: did.group_time(noise([4, 4, 5])), DesignError, "control='not_yet'"),
    ("always treated", lambda: did.group_time(noise([1, 1, 0])), DesignError, "no treated cohort with a period"),
    ("inference", lambda: did.group_time(noise([4, 0]), inference=7), ParameterError, "analytic, none or a Multiplier"),
    (
        "no past at all",
        lambda: did.group_time(noise([3, 0]), anticipation=2),
        DesignError,
        "no treated cohort with a period",
    ),
    ("no cohort", lambda: did.group_time(noise([0, np.inf, np.nan])), DesignError, "no treated cohort"),
    ("control", lambda: did.group_time(noise([4, 0]), control="notyet"), ParameterError, "did you mean 'not_yet'"),
    ("base", lambda: did.group_time(noise([4, 0]), base="universl"), ParameterError, "did you mean 'universal'"),
    ("anticipation", lambda: did.group_time(noise([4, 0]), anticipation=-1), ParameterError, "0 or more, not -1"),
    ("both", lambda: did.group_time(noise([4, 0]), base="x", inference="y"), ParameterError, "breaks 2 laws"),
    (
        "not cells",
        lambda: did.overall(did.overall(did.group_time(noise([4, 0])))),
        DesignError,
        "start from group_time",
    ),
]


@pytest.mark.parametrize(("make", "kind", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_answered_is_refused(make: Callable[[], object], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        make()


def test_units_treated_from_the_first_period_on_are_left_out_and_counted() -> None:
    y, starts = np.random.default_rng(4).normal(size=(7, 6)), [1, 3, 3, 5, 0, 0, 0]
    whole = did.group_time(Panel.from_matrix(y, treated_from=starts), control="not_yet")
    without = did.group_time(Panel.from_matrix(y[1:], treated_from=starts[1:]), control="not_yet")
    np.testing.assert_array_equal(whole.covariance, without.covariance)
    assert whole.estimate.tolist() == without.estimate.tolist()
    assert whole.notes[0] == "units treated from the first periods on, left out: 1 of 7"


def test_an_unbalanced_panel_says_what_was_used() -> None:
    y = np.arange(12.0).reshape(3, 4)
    y[0, 2] = np.nan
    notes = did.group_time(Panel.from_matrix(y, treated_from=[3, 3, 0])).notes
    assert (
        notes[0] == "11 observed rows of 3 units are used as they are; panel.complete_units() compares complete units"
    )


def test_points_alone_are_given_at_category_level() -> None:
    pilots = noise(**PILOTS)
    points, free = did.group_time(pilots, inference="none"), did.group_time(noise(PILOTS["starts"]))
    assert points.estimate.tolist() == free.estimate.tolist()
    for result in (points, *(average(points) for average in AVERAGES.values())):
        rows = result.tidy()
        assert rows.drop(columns=[*result.labels, "estimate", "n_units"]).isna().all(axis=None)
        assert np.isnan(result.glance()[["std_error", "conf_low", "conf_high", "p_value"]]).all(axis=None)
        assert np.isfinite(result.average[0])


def test_one_unit_against_one_has_no_standard_error() -> None:
    assert did.group_time(noise([4, 0])).tidy()["std_error"].isna().all()


def test_the_last_cohort_as_control_is_told_and_not_estimated() -> None:
    effects = did.group_time(noise([3, 3, 6, 6]), control="not_yet", anticipation=1)
    assert set(effects.labels["cohort"]) == {3}
    assert effects.labels["period"].max() == 4  # 6 - 1 of anticipation is the first period left out
    assert effects.clusters == (2, 2)
    assert "the last cohort, 6, serves as control" in " ".join(effects.notes)


@pytest.mark.parametrize("method", ["regression", "weighting", "doubly_robust"])
def test_without_covariates_every_method_is_the_same(method: str) -> None:
    one, other = did.group_time(noise([3, 4, 0, 0, 0]), method=method), did.group_time(noise([3, 4, 0, 0, 0]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(one.covariance, other.covariance)


def test_a_cohort_that_anticipation_leaves_without_a_past_is_left_out_and_counted() -> None:
    effects = did.group_time(noise([3, 5, 0, 0]), anticipation=2)
    assert set(effects.labels["cohort"]) == {5}
    assert effects.notes[0] == "units treated from the first periods on, left out: 1 of 4"


def test_cohorts_of_few_units_and_categories_without_treatment_are_told() -> None:
    outcome, starts = np.random.default_rng(0).normal(size=(16, 5)), [3] * 6 + [4] * 2 + [0] * 8
    panel = Panel.from_matrix(outcome, treated_from=starts, category=["a"] * 12 + ["b"] * 4)
    small, elsewhere = did.group_time(panel).notes
    assert "(4)" in small
    assert "treated units are in 1 of 2 categories only" in elsewhere


@pytest.mark.parametrize("base", ["varying", "universal"])
def test_factors_say_what_the_whole_covariance_says(base: Any) -> None:
    effects = did.group_time(noise([3, 4, 6, 0] * 12), control="not_yet", base=base)
    joint = effects.joint
    assert joint is not None
    np.testing.assert_allclose(joint.variance, np.diag(effects.covariance), rtol=1e-12, atol=1e-18)
    # both maxima are simulated with 20,000 draws of their own: 0.02 each
    assert joint.critical(0.95, Student(), 0) == pytest.approx(band_critical(effects.covariance, 0.95), abs=0.04)
    fixed = effects.labels["period"] == effects.labels["cohort"] - 1 if base == "universal" else joint.variance < 0
    np.testing.assert_array_equal(np.isnan(joint.variance), fixed)


@pytest.mark.parametrize("control", ["never", "not_yet"])
def test_units_that_may_react_before_a_start_after_the_last_period_are_no_controls(control: Any) -> None:
    y = np.random.default_rng(0).normal(size=(40, 5))
    y[10:20, 4] += 10  # those that start in the sixth period react one period early
    starts = np.repeat([3.0, 6.0, 9.0, 0.0], 10)
    whole = Panel.from_matrix(y, treated_from=starts)
    found = did.group_time(whole, control=control, anticipation=1)
    without = did.group_time(whole.only(starts != 6), control=control, anticipation=1)
    np.testing.assert_array_equal(found.estimate, without.estimate)
    assert (
        "units that start within 1 periods after the last one and may react before, left out: 10 of 40" in found.notes
    )
    assert (
        abs(did.group_time(whole, control=control).estimate).max() > abs(found.estimate).max()
    )  # asked without it, they count
    eligible = np.tile([True, False], 20)
    three = did.triple_difference(whole, eligible, control=control, anticipation=1)
    kept = starts != 6
    np.testing.assert_array_equal(
        three.estimate,
        did.triple_difference(whole.only(kept), eligible[kept], control=control, anticipation=1).estimate,
    )


def test_cells_before_the_start_alone_have_no_average() -> None:
    found = did.group_time(noise([5, 6] * 10), control="not_yet", anticipation=1)
    assert (found.labels["period"] < found.labels["cohort"]).all()
    assert np.isfinite(found.std_error).all()
    assert found.glance()["estimate"].isna().all()
    assert "no effect lies at or after a start: no average" in found.notes


def test_clusters_are_counted_where_they_are_the_draws() -> None:
    whole = noise([3, 3, 4, 4, 0, 0, 0, 0] * 5)
    drawn = did.group_time(replace(whole, cluster=np.arange(40) // 2)).glance()
    assert drawn[["clusters_treated", "clusters_comparison"]].to_numpy().tolist() == [[10, 10]]


def test_units_that_never_sell_are_no_part_of_the_intensive_margin() -> None:
    sold = np.random.default_rng(3).gamma(1.0, size=(60, 6)) * (np.random.default_rng(4).uniform(size=(60, 6)) < 0.6)
    sold[::4] = 0.0
    starts = np.resize([3, 5, 0, 0, 5], 60)
    whole = Panel.from_matrix(sold, treated_from=starts)
    kept = sold.any(axis=1)
    assert f"{int((~kept).sum())} of 60 units that never had any are left out" in whole.while_active().notes
    found, alone = (did.group_time(p.while_active(), control="not_yet") for p in (whole, whole.only(kept)))
    assert found.average == alone.average
    assert found.clusters == alone.clusters


def test_notes_are_escaped_where_they_are_shown() -> None:
    assert "<script>" not in replace(did.group_time(noise([3, 0] * 6)), notes=("<script>",))._repr_html_()
