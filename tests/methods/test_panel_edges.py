"""Panels at their edges: nobody never treated, starts between waves, always treated units, weights and outcomes that fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit import did
from strategy_kit.did.diagnostics import base_periods, thin_cells
from strategy_kit.errors import ContractError, DesignError, ParameterError
from strategy_kit.panel import Panel

RNG = np.random.default_rng
EXACT = 1e-12  # the same sums in another order


def cross_sections(seen: dict[int, dict[int, int]]) -> Panel:
    """Rows seen once, `seen[start][period]` of them; the effect of a cohort is its start, a number without noise between rows."""
    rows = [
        pd.DataFrame({"t": t, "g": g, "y": RNG([g, t]).normal(size=count) * 0.01 + (t >= g) * g})
        for g, counts in seen.items()
        for t, count in counts.items()
    ]
    return Panel.from_frame(pd.concat(rows, ignore_index=True), unit=None, period="t", outcome="y", treated_from="g")


def test_rows_of_periods_without_controls_count_in_no_average() -> None:
    # R's did drops the periods from the last start on before it counts: pg = mean(G == g) of what is left
    early = {1: 50, 2: 50, 3: 50}
    panel = cross_sections({2: {**early, 4: 10}, 3: {**early, 4: 400}, 4: {**early, 4: 50}})
    kept = cross_sections({2: early, 3: early, 4: early})
    cells, fewer = did.group_time(panel, control="not_yet"), did.group_time(kept, control="not_yet")
    assert did.overall(cells).estimate == pytest.approx(
        (2 * 2 + 3) / 3, abs=0.01
    )  # cells (2, 2), (2, 3), (3, 3), shares alike
    for average in (did.overall, did.event_study, did.by_period, did.by_cohort):
        ours, theirs = average(cells), average(fewer)
        assert ours.estimate == pytest.approx(theirs.estimate, rel=EXACT)
        assert ours.std_error == pytest.approx(theirs.std_error, rel=EXACT)
        assert ours.average == pytest.approx(theirs.average, rel=EXACT)
    assert cells.tidy()["n_units"].tolist() == fewer.tidy()["n_units"].tolist()


def test_gaps_in_dropped_periods_alone_leave_a_balanced_panel() -> None:
    outcome = RNG(3).normal(size=(60, 5)).cumsum(axis=1)
    traits = {"covariates": RNG(4).normal(size=(60, 1)), "covariate_names": ("x",)}
    start = [3] * 30 + [5] * 30
    whole = replace(Panel.from_matrix(outcome, treated_from=start), **traits)
    outcome[::7, 4] = np.nan
    holed = replace(Panel.from_matrix(outcome, treated_from=start), **traits)
    ours, theirs = (did.group_time(panel, control="not_yet").tidy() for panel in (holed, whole))
    pd.testing.assert_frame_equal(ours, theirs, rtol=EXACT, check_exact=False)


def test_a_cohort_seen_only_after_the_last_start_is_none() -> None:
    early = {1: 40, 2: 40, 3: 40}
    panel = cross_sections({2: early, 3: early, 4: {4: 500}})
    kept = cross_sections({2: early, 3: early})
    ours, theirs = (did.overall(did.group_time(one, control="not_yet")) for one in (panel, kept))
    assert ours.estimate == pytest.approx(theirs.estimate, rel=EXACT)


@pytest.mark.parametrize("estimator", [did.saturated, did.sun_abraham, did.poisson_saturated, did.group_time])
def test_starts_between_the_same_waves_leave_nothing_to_compare(estimator: object) -> None:
    outcome = RNG(0).exponential(size=(40, 3))
    for starts in ((2, 3), (4, 5))[
        : 1 if estimator is did.group_time else 2
    ]:  # group_time tells the past of the second
        panel = Panel.from_matrix(outcome, periods=[1, 3, 5], treated_from=[starts[0]] * 20 + [starts[1]] * 20)
        options = {"control": "not_yet"} if estimator is did.group_time else {}
        with pytest.raises(DesignError, match="no cohort is treated while another is not"):
            estimator(panel, **options)  # type: ignore[operator]


def test_stacked_refuses_starts_between_waves() -> None:
    panel = Panel.from_matrix(
        RNG(1).normal(size=(60, 6)), periods=range(2000, 2012, 2), treated_from=[2001] * 20 + [2006] * 20 + [0] * 20
    )
    with pytest.raises(DesignError, match="cohorts 2001 start between two periods"):
        did.stacked(panel, before=1, after=1)


def test_an_always_treated_unit_takes_no_base_period_away() -> None:
    outcome = RNG(2).normal(size=(41, 10)).cumsum(axis=1)
    with_it = base_periods(Panel.from_matrix(outcome, treated_from=[1] + [9] * 20 + [0] * 20))
    without = base_periods(Panel.from_matrix(outcome[1:], treated_from=[9] * 20 + [0] * 20))
    pd.testing.assert_frame_equal(with_it, without)
    assert len(with_it) > 4
    assert with_it["spread"].iloc[0] > 0


@pytest.mark.parametrize("estimator", [did.sun_abraham, did.imputation, did.two_way_event_study, did.stacked])
def test_weights_of_thin_cells_are_those_of_the_average(estimator: object) -> None:
    panel = Panel.from_matrix(RNG(5).normal(size=(60, 9)).cumsum(axis=1), treated_from=[4] * 30 + [8] * 10 + [0] * 20)
    found = estimator(panel)  # type: ignore[operator]
    rows = thin_cells(found, least=10**6)
    assert rows["weight"] @ rows["estimate"] == pytest.approx(found.average[0], rel=1e-9)


def test_controls_that_all_count_for_nothing_are_refused() -> None:
    traits = np.r_[np.tile([0, 1], 500), np.tile([0, 1], 2)].astype(float)[:, None]
    start = [3] * 1000 + [0] * 4  # a propensity of 0.996 everywhere: no control has a weight
    panel = Panel.from_matrix(RNG(6).normal(size=(1004, 4)), treated_from=start)
    panel = replace(panel, covariates=traits, covariate_names=("x",))
    for method in ("doubly_robust", "weighting"):
        with pytest.raises(DesignError, match=r"separate cohort 3 .*of 0\.995 for all of these"):
            did.group_time(panel, method=method, inference="none")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "outcome", [[[1e308, 1e308]] * 12, [[1e200, np.nan]] + [[1.0, 2.0]] * 11, [[-1e120, 2e120]] * 12]
)
def test_outcomes_whose_squares_cannot_be_told_are_refused(outcome: list[list[float]]) -> None:
    with pytest.raises(ContractError, match=r"exceeds 1e\+100"):
        Panel.from_matrix(np.array(outcome), treated_from=[2] * 6 + [0] * 6)


def test_a_slope_is_refused_where_effects_have_other_bases() -> None:
    outcome = RNG(7).normal(size=(80, 9)).cumsum(axis=1)
    panel = Panel.from_matrix(outcome, treated_from=[5] * 30 + [8] * 20 + [0] * 30)
    with pytest.raises(DesignError, match="imputation measures effects after the start from all earlier periods"):
        did.pretrend_power(did.imputation(panel))
    nobody_never = Panel.from_matrix(outcome, treated_from=[4] * 30 + [6] * 20 + [8] * 30)
    with pytest.raises(DesignError, match="more than one age is a base"):
        did.pretrend_power(did.two_way_event_study(nobody_never))


@pytest.mark.parametrize("estimator", [did.sun_abraham, did.two_way_event_study, did.stacked])
def test_a_slope_counts_from_the_base_of_years_two_apart(estimator: object) -> None:
    outcome = RNG(8).normal(size=(80, 8)).cumsum(axis=1)
    yearly, other = (
        Panel.from_matrix(
            outcome, periods=range(2000, 2000 + 8 * step, step), treated_from=[2000 + 4 * step] * 50 + [0] * 30
        )
        for step in (1, 2)
    )
    one, two = (did.pretrend_power(estimator(panel)) for panel in (yearly, other))  # type: ignore[operator]
    assert two["age"].tolist() == (2 * one["age"]).tolist()
    assert two["slope"].to_numpy() == pytest.approx(one["slope"].to_numpy() / 2, rel=1e-6)  # an age is half a step
    assert two["bias"].to_numpy() == pytest.approx(one["bias"].to_numpy(), rel=1e-6)


def test_labels_in_another_order_than_the_rows_are_refused_and_masks_are_gaps() -> None:
    y = np.random.default_rng(1).normal(size=(6, 4))
    units = [f"m{number}" for number in range(6)]
    start = pd.Series([3, 3, 3, 0, 0, 0], index=units)
    assert Panel.from_matrix(pd.DataFrame(y, index=units), treated_from=start, units=units).cohorts.tolist() == [3]  # type: ignore[arg-type]
    for given in ({"treated_from": start[::-1]}, {"treated_from": start, "category": start.astype(str)[::-1]}):
        with pytest.raises(ContractError, match="is labelled by the units in another order"):
            Panel.from_matrix(y, units=units, **given)
    assert Panel.from_matrix(y, units=[5, 4, 3, 2, 1, 0], treated_from=pd.Series([3, 3, 3, 0, 0, 0])).n_units == 6
    masked = np.ma.masked_array(y, mask=np.eye(6, 4, dtype=bool))
    assert np.isnan(Panel.from_matrix(masked, treated_from=start).outcome).sum() == 4


@pytest.mark.parametrize("held", [[True], "ab", [0, 1, 3], np.array([[True, False, True]])])
def test_only_takes_a_boolean_a_unit(held: object) -> None:
    panel = Panel.from_matrix(np.zeros((3, 4)), treated_from=[3, 4, 0])
    with pytest.raises(ParameterError, match=r"held marks each of 3 units as true or false.*panel.units.isin"):
        panel.only(held)  # type: ignore[arg-type]


@pytest.mark.parametrize("frame", [[1.0], None, np.zeros((2, 4))])
def test_what_is_no_frame_is_not_read_as_one(frame: Any) -> None:
    with pytest.raises(ParameterError, match=r"frame must be a DataFrame, not a .*from_matrix reads arrays"):
        Panel.from_frame(frame, unit="u", period="t", outcome="y", treated_from="g")


@pytest.mark.parametrize("inside", [0, 3])
def test_a_start_in_a_missing_period_keeps_its_place_whatever_the_labels_are(inside: int) -> None:
    """Numbers, weeks, month starts and month ends: the same ages, base and effects; a start inside a period is its period's."""
    y, start, held = RNG(3).normal(size=(40, 5)), np.r_[[4.0] * 15, [np.inf] * 25], [1, 2, 3, 5, 6]
    plain = Panel.from_matrix(y, treated_from=start, periods=held)
    first, monday = pd.Timestamp("2025-01-31"), pd.Timestamp("2025-01-06")
    labels = {
        "weeks": lambda k: monday + pd.Timedelta(weeks=k - 1),
        "month starts": lambda k: pd.Timestamp(2025, k, 1),
        "month ends": lambda k: first + pd.offsets.MonthEnd(k - 1),
    }
    for name, label in labels.items():
        day = label(4) + pd.Timedelta(days=-inside if name == "month ends" else inside, hours=18)
        given = [day] * 15 + [pd.NaT] * 25
        panel = Panel.from_matrix(y, treated_from=given, periods=[label(k) for k in held])
        assert panel.ages.tolist() == plain.ages.tolist() == [[-3, -2, -1, 1, 2]]
        assert panel.cohorts.tolist() == [label(4)]
        for anticipation in (0, 1):
            one, other = (did.group_time(p, anticipation=anticipation, base="universal") for p in (plain, panel))
            np.testing.assert_allclose(other.estimate, one.estimate, rtol=0, atol=EXACT)
