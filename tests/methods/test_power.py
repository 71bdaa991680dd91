"""Power from the past: against fresh worlds, closed forms and slow twins, and what it must not look at."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategy_kit import did
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.inference import welch
from strategy_kit.panel import Panel
from strategy_kit.planning import detectable_effect, power, what_if, what_if_sentence
from strategy_kit.planning.past import Past, ar1, own_variance

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng
steady = settings(deadline=None, derandomize=True, database=None, max_examples=15)


def shocks(rng: np.random.Generator, shape: tuple[int, ...], correlation: float = 0.6) -> np.ndarray:
    """Stationary AR(1) of unit variance along the last axis."""
    path = rng.normal(size=shape)
    for t in range(1, shape[-1]):
        path[..., t] = correlation * path[..., t - 1] + np.sqrt(1 - correlation**2) * path[..., t]
    return path


def planned(past: np.ndarray, pilots: int = 3) -> Panel:
    """The first groups start in the period after the last."""
    periods = past.shape[1]
    return Panel.from_matrix(past, treated_from=[periods + 1] * pilots + [0] * (len(past) - pilots))


def spreads(groups: int, volatile: float = 1.0) -> np.ndarray:
    return 0.06 * np.repeat([volatile, 1.0], [3, groups - 3])


def realised(groups: int, effect: float, volatile: float = 1.0, worlds: int = 20_000) -> float:
    """Share of fresh worlds, 13 weeks before and 13 after, whose interval lies above zero."""
    path = spreads(groups, volatile)[:, None] * shocks(RNG(99), (worlds, groups, 26))
    change = path[..., 13:].mean(axis=-1) - path[..., :13].mean(axis=-1)
    change[:, :3] += effect
    estimate, error, freedom = welch(change[:, :3], change[:, 3:])
    return float(np.mean(estimate > stats.t.ppf(0.975, freedom) * error))


@pytest.mark.parametrize("basis", ["placebo", "model"])
@pytest.mark.parametrize("volatile", [1.0, 2.0])
def test_power_equals_what_fresh_worlds_show(basis: str, volatile: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Past, "basis", lambda *_: basis)
    past = spreads(12, volatile)[:, None] * shocks(RNG(3), (12, 4_000))
    rows = power(planned(past), effects=[0.05, 0.1, 0.15], weeks=13, base=13)
    assert rows["basis"].eq(basis).all()
    for row in rows.itertuples():
        # three standard errors of two shares in 20,000, and 1.5 points for what 4,000 weeks leave unknown of spreads
        assert row.power == pytest.approx(realised(12, row.effect, volatile), abs=3 * np.sqrt(0.5 / 20_000) + 0.015)


def test_a_world_is_judged_as_the_headline_judges_it() -> None:
    path = 0.06 * shocks(RNG(1), (12, 26))
    path[:3, 13:] += 0.1
    change = path[:, 13:].mean(axis=1) - path[:, :13].mean(axis=1)
    estimate, error, freedom = welch(change[:3], change[3:])
    found = did.pilot_contrast(Panel.from_matrix(path, treated_from=[14] * 3 + [0] * 9)).glance().iloc[0]
    assert found[["estimate", "std_error", "degrees_of_freedom"]].tolist() == pytest.approx([estimate, error, freedom])


@pytest.mark.parametrize(("groups", "expected"), [(12, [28, 70, 91]), (20, [28, 68, 90]), (30, [28, 66, 89])])
def test_three_pilots_with_six_percent_noise_find_little(groups: int, expected: list[int]) -> None:
    """Effects of 5, 10 and 15%: with more comparison groups there is no more power, since the pilots' spread decides."""
    past = 0.06 * shocks(RNG(7), (groups, 5_000))
    rows = power(planned(past), effects=[0.05, 0.1, 0.15], weeks=13, base=13)
    # expected: the law itself, by 200,000 draws; the dealt past of one world differs by up to 3 points
    assert (100 * rows["power"]).tolist() == pytest.approx(expected, abs=4)
    assert rows["wrong_sign"].max() < 0.01
    assert rows["exaggeration"].iloc[0] > 1.3, "what is found at low power is found too large"


@pytest.mark.parametrize(("periods", "correlation"), [(8, 0.0), (8, 0.6), (13, 0.6), (26, 0.9)])
def test_short_series_do_not_hide_their_autocorrelation(periods: int, correlation: float) -> None:
    rng, kit, naive, spread = RNG(5), [], [], []
    truth = ar1(Past(shocks(rng, (12, 20_000), correlation), 3, 0).own)._replace(correlation=correlation)
    for _ in range(400):
        own = Past(shocks(rng, (12, periods), correlation), 3, 0).own
        fit = ar1(own)
        kit.append(fit.correlation)
        naive.append((own[:, 1:] * own[:, :-1]).sum() / (own**2).sum())
        spread.append(np.sqrt(fit.contrast_variance(periods, 13).mean()))
    assert np.mean(kit) == pytest.approx(correlation, abs=0.07), "8 weeks meet the upper end now and then"
    assert abs(np.mean(naive) - correlation) > 2 * abs(np.mean(kit) - correlation)
    wanted = np.sqrt(np.mean(truth.contrast_variance(periods, 13)))
    assert np.median(spread) == pytest.approx(wanted, rel=0.06)


@given(st.integers(2, 12), st.integers(1, 9), st.floats(-0.9, 0.99))
@steady
def test_variance_of_a_contrast_is_its_quadratic_form(base: int, weeks: int, correlation: float) -> None:
    weight = np.r_[-np.ones(base) / base, np.ones(weeks) / weeks]
    matrix = correlation ** np.abs(np.subtract.outer(np.arange(base + weeks), np.arange(base + weeks)))
    fit = ar1(Past(RNG(0).normal(size=(5, 9)), 2, 0).own)._replace(
        correlation=correlation, variance=np.array([1.0, 4.0])
    )
    assert fit.contrast_variance(base, weeks) == pytest.approx(np.array([1, 4]) * (weight @ matrix @ weight), rel=1e-9)


@given(st.lists(st.floats(0.1, 9), min_size=4, max_size=9))
@steady
def test_variances_are_recovered_from_their_expected_squares(variance: list[float]) -> None:
    groups = len(variance)
    centring = np.eye(groups) - 1 / groups
    expected = np.diag(centring @ np.diag(variance) @ centring)
    assert own_variance(expected) == pytest.approx(variance, rel=1e-9)


def test_detectable_effect_is_where_power_reaches_the_chance() -> None:
    panel = planned(0.06 * shocks(RNG(2), (12, 26)))
    row = detectable_effect(panel, weeks=13, chance=0.7).iloc[0]
    around = row["detectable_effect"] + np.array([0.0, 1e-9])
    found = power(panel, weeks=13, effects=around)["power"]
    assert found[0] < 0.7 + 1e-4
    assert found[1] >= 0.7
    others = [
        detectable_effect(panel, weeks=13, chance=0.7, seed=seed)["detectable_effect"][0] for seed in range(1, 31)
    ]
    # a standard deviation of 30 has an error of 13%
    assert np.std(others) == pytest.approx(row["simulation_error"], rel=0.4)


@pytest.mark.parametrize(("correlation", "volatile"), [(0.0, 2.0), (0.6, 1.0)])
def test_past_error_is_how_much_the_answer_moves_from_past_to_past(correlation: float, volatile: float) -> None:
    rng, spread = RNG(20), np.repeat([volatile, 1.0], [3, 9])[:, None]
    rows = [detectable_effect(planned(spread * shocks(rng, (12, 26), correlation)), weeks=13) for _ in range(60)]
    told = pd.concat(rows)
    # a standard deviation of 60 answers is known to 9%, and each row's own error to about as much
    assert told["past_error"].mean() == pytest.approx(told["detectable_effect"].std(), rel=0.3)
    assert told["past_error"].min() > 5 * told["simulation_error"].max()


def test_normal_formula_is_too_hopeful_with_few_pilots_and_right_with_many() -> None:
    formula = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    few, many = (
        detectable_effect(planned(shocks(RNG(4), (groups, 26)), pilots), weeks=13).iloc[0]
        for groups, pilots in ((12, 3), (160, 80))
    )
    assert few["detectable_effect"] > 1.25 * formula * few["std_error"]
    # t with 150 degrees of freedom lies 1% above the normal law; 20,000 draws know the quantile to 1%
    assert many["detectable_effect"] == pytest.approx(formula * many["std_error"], rel=0.03)
    student = stats.t(1.3 * 2.59)  # with three pilots of 12, nearly always the cap
    assert few["detectable_effect"] == pytest.approx((student.ppf(0.975) + 0.85) * few["std_error"], rel=0.15)


def test_nothing_after_the_start_is_looked_at() -> None:
    y = 0.06 * shocks(RNG(6), (12, 40))
    start = [27] * 2 + [33] + [0] * 9
    later = np.where(np.arange(1, 41) >= 27, np.nan, y)
    rows = [what_if(Panel.from_matrix(each, treated_from=start)) for each in (y, later)]
    pd.testing.assert_frame_equal(*rows)
    plan = planned(y[:, :26])
    pd.testing.assert_frame_equal(rows[0], what_if(plan, more_weeks=[14, 27]))
    undecided = replace(plan, late=None)
    assert power(undecided, pilots=3, weeks=14)["pilots"].eq(3).all()


def test_pilots_keep_their_own_spread_and_a_further_one_is_one_of_the_others() -> None:
    y = shocks(RNG(8), (12, 26))
    loud = y * np.repeat([3.0, 1.0], [3, 9])[:, None]
    here, average = (detectable_effect(each, weeks=13, pilots=3) for each in (planned(loud), planned(loud, 0)))
    assert here["std_error"][0] > 1.3 * average["std_error"][0]
    fit = ar1(Past.of(planned(loud)).own)
    variance = fit.contrast_variance(26, 13)
    for pilots in (3, 4):
        others = variance[3:].mean()
        wanted = (variance[:3].sum() + (pilots - 3) * others) / pilots**2 + others / (12 - pilots)
        found = detectable_effect(planned(loud), weeks=13, pilots=pilots)["std_error"][0]
        assert found == pytest.approx(np.sqrt(wanted), rel=0.02)  # a spread over 20,000 draws is known to 0.5%


@pytest.mark.parametrize(("periods", "basis"), [(26, "model"), (104, "placebo")])
def test_more_pilots_and_more_weeks_buy_what_single_answers_say(periods: int, basis: str) -> None:
    panel = planned(0.06 * shocks(RNG(9), (15, periods)))
    base = 26 if basis == "placebo" else periods
    rows = what_if(panel, effect=0.08, more_pilots=(0, 1, 2), more_weeks=(13, 26), base=base)
    assert rows["basis"].eq(basis).all()
    table = rows.pivot_table(index="pilots", columns="weeks", values="detectable_effect")
    assert (np.diff(table, axis=0) < 0).all()
    assert (np.diff(table, axis=1) < 0).all()
    for row in rows.itertuples():
        alone = power(panel, effects=[0.08], pilots=row.pilots, weeks=row.weeks, base=base)
        assert alone["power"].tolist() == [row.power]


def test_without_a_threshold_the_present_design_is_the_yardstick() -> None:
    rows = what_if(planned(0.06 * shocks(RNG(10), (12, 26))), more_weeks=(13,))
    assert rows["effect"].eq(rows["detectable_effect"][0]).all()
    assert rows["power"][0] == pytest.approx(0.8, abs=1e-4)
    assert rows["power"][1] > 0.8
    told = what_if_sentence(rows)
    assert told.startswith("With 3 pilots and 13 weeks an effect of 0.")
    assert "; with 1 more pilot one of 0." in told


def test_looks_and_levels_widen_and_false_alarms_fall() -> None:
    panel = planned(0.06 * shocks(RNG(11), (12, 26)))
    plain, wide, loose = (
        power(panel, effects=[0.0, 0.1], weeks=13, **reading) for reading in ({}, {"widening": 1.4}, {"level": 0.8})
    )
    assert wide["power"].tolist() < plain["power"].tolist() < loose["power"].tolist()
    # 3 of 12 that vary alike: the capped interval is wrong in 4.4% of 20,000
    assert plain["power"][0] == pytest.approx(0.044, abs=0.012)
    assert loose["power"][0] == pytest.approx(0.2, abs=0.03)


@given(st.floats(1e-3, 1e3), st.integers(0, 99), st.booleans())
@steady
def test_scale_order_and_what_all_groups_share_do_not_matter(scale: float, seed: int, long: bool) -> None:
    rng = RNG(seed)
    y = shocks(rng, (10, 80 if long else 20))
    mixed = scale * (y + rng.normal(size=y.shape[1])) + rng.normal(size=(10, 1))
    one, other = (
        what_if(planned(each), effect=size, more_weeks=(6, 12), base=12)
        for each, size in ((y, 0.7), (mixed, 0.7 * scale))
    )
    sizes = ["detectable_effect", "past_error", "std_error", "effect"]
    np.testing.assert_allclose(scale * one[sizes], other[sizes], rtol=1e-6)
    pd.testing.assert_frame_equal(one.drop(columns=sizes), other.drop(columns=sizes), rtol=1e-6)
    again = what_if(planned(y), effect=0.7, more_weeks=(6, 12), base=12)
    pd.testing.assert_frame_equal(one, again, rtol=0, atol=0)


def test_every_column_is_explained() -> None:
    from strategy_kit.glossary import COLUMNS

    for rows in (power(WIDE, weeks=3), detectable_effect(WIDE, weeks=3), what_if(WIDE, more_weeks=[3])):
        assert not set(rows) - set(COLUMNS)


def test_negative_effects_mirror_positive_ones() -> None:
    rows = power(planned(shocks(RNG(12), (12, 26))), effects=[-1.0, 1.0], weeks=13)
    assert rows["power"][0] == pytest.approx(rows["power"][1], abs=0.015)  # two shares of the same 20,000 draws


def test_merchants_count_as_their_categories() -> None:
    y = shocks(RNG(13), (8, 20))
    noise = RNG(14).normal(size=(8, 5, 20))
    noise -= noise.mean(axis=1, keepdims=True)
    merchants = Panel.from_matrix(
        (y[:, None] + noise).reshape(40, 20), treated_from=[21] * 10 + [0] * 30, category=np.repeat(list("abcdefgh"), 5)
    )
    pd.testing.assert_frame_equal(power(merchants, weeks=6), power(planned(y, 2), weeks=6), rtol=1e-9)


def test_a_weekly_panel_takes_less_than_two_seconds() -> None:
    panel = planned(shocks(RNG(15), (30, 104)))
    begun = time.process_time()
    what_if(panel, more_pilots=(0, 1, 2), more_weeks=(13, 26))
    power(panel, weeks=13)
    assert time.process_time() - begun < 2


WIDE = planned(shocks(RNG(16), (12, 26)))
HALF = ["a"] * 3 + list("bcdefghij")
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no past": (
        lambda: power(Panel.from_matrix(np.zeros((12, 9)), treated_from=[4] * 3 + [0] * 9)),
        DesignError,
        "at least 6 periods before the first start, and the panel has 3",
    ),
    "few groups": (lambda: power(planned(shocks(RNG(1), (3, 9)), 2)), DesignError, "4 to 2,000 groups"),
    "flat": (lambda: power(planned(np.ones((12, 9))), weeks=3), DesignError, "vary in their own way"),
    "flat others": (
        lambda: power(planned(np.outer([1.0, -1, 0, 0], np.arange(9.0) - 4), 2), weeks=3),
        DesignError,
        "vary in their own way",
    ),
    "inside": (
        lambda: power(replace(WIDE, category=pd.Series(["a"] * 2 + ["b"] * 10)), weeks=3),
        DesignError,
        "starts inside 1 of 2 categories",
    ),
    "gap": (
        lambda: power(planned(np.where(np.eye(12, 26) > 0, np.nan, 1.0)), weeks=3),
        DesignError,
        "12 of 12 units lack a period before the start",
    ),
    "rounding": (
        lambda: power(planned(np.outer(np.ones(9), 0.1 + np.arange(9) / 7)), weeks=3),
        DesignError,
        "in their own way",
    ),
    "zero": (lambda: power(WIDE, pilots=0, weeks=0), ParameterError, "breaks 2 laws.*from 3 to 10.*at least 1, not 0"),
    "no weeks": (lambda: power(WIDE), ParameterError, "weeks is how many periods the pilot lasts"),
    "fewer pilots": (lambda: power(WIDE, pilots=2, weeks=3), ParameterError, "from 3 to 10"),
    "one pilot": (lambda: power(planned(WIDE.outcome, 1), weeks=3), ParameterError, "from 2 to 10"),
    "all pilots": (lambda: what_if(WIDE, more_pilots=[0, 8], more_weeks=[3]), ParameterError, "from 3 to 10"),
    "nothing more": (lambda: what_if(WIDE, more_pilots=[], more_weeks=[-1]), ParameterError, "breaks 2 laws"),
    "effect": (lambda: what_if(WIDE, effect=np.nan, more_weeks=[3]), ParameterError, "effect is a number"),
    "effects": (lambda: power(WIDE, effects=[], weeks=3), ParameterError, "effects are numbers"),
    "chance": (lambda: detectable_effect(WIDE, chance=1.0, weeks=3), ParameterError, "between 0 and 1"),
    "reading": (
        lambda: power(WIDE, weeks=3, seed=-1, level=1, widening=0.5, base=27),
        ParameterError,
        "breaks 4 laws.*seed.*level.*widening.*from 1 to the 26 periods",
    ),
    "word": (lambda: power(WIDE, weeks=3, wide=2), ParameterError, "'wide' is none of"),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()
