"""Reading every week: each look is the pilot contrast of its day, and the band holds at all of them."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from strategy_kit.assigned import assigned_groups
from strategy_kit.did import pilot_contrast
from strategy_kit.glossary import COLUMNS
from strategy_kit.inference import StudentByRow, band_critical, welch
from strategy_kit.panel import Panel
from strategy_kit.plan import LONGEST, Plan
from strategy_kit.planning import weekly_looks
from strategy_kit.planning.looks import LookLaw
from strategy_kit.planning.movement import (
    AUTOCORRELATIONS,
    SHARES,
    Looks,
    autoregressive,
    expected_error,
    fading,
    growth,
    largest_ratios,
    movement,
    spreads,
    tables,
)

Array = np.ndarray
BEFORE, LATER = 10, 12
ONE = [BEFORE + 1] * 3 + [0] * 5
SEVERAL = [BEFORE + 1, BEFORE + 1, BEFORE + 4, 0, 0, 0, 0, 0]
steady = settings(max_examples=25, deadline=None, derandomize=True)


def outcomes(seed: int = 0, groups: int = 8, periods: int = BEFORE + LATER, rho: float = 0.5) -> Array:
    normal = np.random.default_rng(seed).normal(size=(periods, groups))
    return autoregressive(normal, rho).T + np.linspace(0, 3, groups)[:, None]


def panel(y: Array | None = None, starts: list[int] = ONE) -> Panel:
    return Panel.from_matrix(outcomes() if y is None else y, treated_from=starts)


@pytest.mark.parametrize("starts", [ONE, SEVERAL, [BEFORE + 2, BEFORE + 5, BEFORE + 5, 0, 0, 0, 0, 0]])
def test_each_look_is_the_pilot_contrast_of_its_day(starts: list[int]) -> None:
    whole = panel(starts=starts)
    study = weekly_looks(whole, Plan(horizon=20)).tidy()
    first = min(start for start in starts if start)
    names = ["estimate", "std_error", "conf_low", "conf_high", "p_value", "n_units"]
    for row in study.to_dict("records"):
        seen = first - 1 + row["look"]
        assert row["period"] == seen
        # a start after the last period counts as never treated, as in a panel of that day
        day = Panel.from_matrix(outcomes()[:, :seen], treated_from=[s if s <= seen else 0 for s in starts])
        told = pilot_contrast(day).tidy().iloc[0]
        assert [row[name] for name in names] == told[names].tolist()
    assert study["look"].iloc[-1] == BEFORE + LATER - first + 1
    final = weekly_looks(whole, Plan(horizon=20)).glance().iloc[0]
    told = pilot_contrast(whole).glance().iloc[0]
    same = ["estimate", "std_error", "conf_low", "conf_high", "p_value", "degrees_of_freedom", "clusters_treated"]
    assert final[same].tolist() == told[same].tolist()


def test_looks_with_one_started_group_are_left_out_and_told() -> None:
    study = weekly_looks(panel(starts=[BEFORE + 1, BEFORE + 4, 0, 0, 0, 0, 0, 0]), Plan(horizon=6))
    assert study.tidy()["look"].tolist() == [4, 5, 6]
    assert "looks left out, fewer than two groups had started: 1, 2, 3" in study.notes
    assert "periods after the horizon, not read: 6" in study.notes
    assert study.notes[-1] == "valid at all 3 declared looks"


def critical(largest: Array, level: float) -> float:
    """The critical value that these largest ratios give."""
    return LookLaw(StudentByRow(np.ones(1)), np.ones(1), largest).critical(level)


def correlation(law: tuple[float, float], size: int) -> Array:
    """Of a path with this share of noise and autocorrelation."""
    share, rho = law
    return np.array([[1.0 if s == t else (1 - share) * rho ** abs(s - t) for s in range(size)] for t in range(size)])


def squares(law: tuple[float, float], size: int) -> float:
    """Expected sum of squares of a path less its mean."""
    inner = np.eye(size) - 1 / size
    return float(np.trace(inner @ correlation(law, size) @ inner))


def law_twin(residual: Array) -> tuple[float, float]:
    first = residual.shape[1]
    centre, half = np.eye(first) - 1 / first, first // 2
    windows = [range(at, at + half) for at in range(first - half + 1)]

    def shown(share: float, rho: float) -> tuple[float, float]:
        inner = centre @ correlation((share, rho), first) @ centre
        slow = sum(inner[np.ix_(window, window)].sum() for window in windows)
        return float(np.diag(inner, 1).sum() / np.trace(inner)), float(slow / np.trace(inner))

    total = (residual**2).sum()
    next_one = (residual[:, 1:] * residual[:, :-1]).sum() / total
    halves = sum((residual[:, window].sum(axis=1) ** 2).sum() for window in windows) / total
    ladder = [float(rho) for rho in AUTOCORRELATIONS]
    found = (0.0, ladder[-1])
    for share in [float(share) for share in SHARES]:
        if not any(shown(share, rho)[1] >= halves for rho in ladder):
            break
        found = share, next(rho for rho in ladder if shown(share, rho)[1] >= halves)
        if shown(*found)[0] <= next_one:
            break
    share, rho = found
    if share == 0 or rho == 0:
        return 0.0, max(rho, next((rho for rho in ladder if shown(0, rho)[0] >= next_one), ladder[-1]))
    return share, rho


def whole_twin(y: Array, starts: list[int], looks: list[int]) -> tuple[tuple[float, float], list[float]]:
    """The expected errors by loops over groups, pairs of periods and definitions, as the page of the method has them."""
    groups, first = len(y), min(s for s in starts if s) - 1
    past = y[:, :first]
    residual = past - past.mean(1)[:, None] - past.mean(0)[None, :] + past.mean()
    law = law_twin(residual)
    raw = (residual**2).sum(axis=1) / squares(law, first)
    own = (raw - raw.sum() / (1 - 1 / groups) / groups**2) / (1 - 2 / groups)
    errors = []
    for look in looks:
        size = first + look
        begun = [s for s in sorted({s for s in starts if s}) if s <= size]
        contrast = {
            s: np.array([1 / (size - s + 1) if t >= s - 1 else -1 / (s - 1) for t in range(size)]) for s in begun
        }
        on = [g for g in range(groups) if starts[g] in begun]
        off = [g for g in range(groups) if g not in on]
        pooled = sum(contrast[starts[g]] for g in on) / len(on)
        total = 0.0
        for g in range(groups):
            weights = contrast[starts[g]] / len(on) if g in on else -pooled / len(off)
            kind = [h for h in range(groups) if starts[h] == starts[g]]
            side = [h for h in range(groups) if (starts[h] > 0) == (starts[g] > 0)]
            apart = y[side] - y[side].mean(axis=0)
            before, after = (
                sum(((path - path.mean()) ** 2).sum() for path in part)
                for part in (apart[:, :first], apart[:, first:size])
            )
            more = 1.0 if look == 1 else max(1.0, (after / squares(law, look)) / (before / squares(law, first)))
            variance = max(float(np.mean(own[kind])), 0.0)
            later = np.where(np.arange(size) >= first, weights, 0.0)
            link = correlation(law, size)
            total += variance * float(weights @ link @ weights + (more - 1) * later @ link @ later)
        errors.append(total**0.5)
    return law, errors


@pytest.mark.parametrize(("starts", "seed"), list(product([ONE, SEVERAL], [0, 1, 2])))
def test_expected_errors_equal_a_twin_with_loops(starts: list[int], seed: int) -> None:
    y = outcomes(seed, rho=0.3 * seed)
    y[:3, BEFORE:] *= 1 + seed  # some panels move more after the start
    study = weekly_looks(panel(y, starts), Plan(horizon=11))
    law, errors = whole_twin(y, starts, study.tidy()["look"].tolist())
    measures = study.details["calibration"].set_index("measure")["value"]
    assert (measures["noise_share"], measures["autocorrelation"]) == law
    np.testing.assert_allclose(study.details["expected"]["expected_error"], errors, rtol=1e-10)


def test_weights_of_mean_paths_give_the_estimates() -> None:
    for starts in (ONE, SEVERAL):
        groups = assigned_groups(panel(starts=starts))
        sizes = tuple(np.bincount(groups.start[groups.treated]).tolist())
        design = Looks(BEFORE, tuple((groups.firsts - BEFORE).tolist()), (*sizes, 5), tuple(range(1, LATER + 1)))
        kind = np.where(groups.treated, groups.start, len(sizes))
        means = np.stack([groups.paths[kind == k].mean(axis=0) for k in range(len(sizes) + 1)])
        estimates = np.einsum("skt,st->k", tables(design).weights, means)
        np.testing.assert_allclose(
            estimates, weekly_looks(panel(starts=starts), Plan(horizon=LATER)).estimate, atol=1e-12
        )


@pytest.mark.parametrize("before", [6, 7, 13, 26, 105])
def test_what_residuals_show_rises_with_the_autocorrelation(before: int) -> None:
    assert (np.diff(tables(Looks(before, (0,), (3, 9), (1,))).shown[:, 0], axis=1) > 0).all()


@pytest.mark.parametrize("ratio", [1.0, 3.0])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_fading_and_variances_are_told_without_bias(rho: float, ratio: float) -> None:
    design = Looks(26, (0,), (3, 9), (1,))
    kind = np.repeat([0, 1], [3, 9])
    past = autoregressive(np.random.default_rng(5).normal(size=(26, 2_000, 12)), rho) * np.where(kind == 0, ratio, 1)
    known, at = tables(design), int(np.searchsorted(AUTOCORRELATIONS, rho))
    residual = past - past.mean(axis=0) - past.mean(axis=2, keepdims=True) + past.mean(axis=(0, 2))[:, None]
    total = np.square(residual).sum(axis=(0, 2))
    # shares of sums over 2,000 worlds, standard errors below 0.004 and 1 %
    next_one, halves = fading(residual).sum(axis=1) / total.sum()
    assert next_one == pytest.approx(known.shown[0, 0, at], abs=0.012)
    assert halves == pytest.approx(known.shown[1, 0, at], rel=0.03)
    variance = movement(past, kind, known)[1]
    if rho < 0.5:  # beyond, the variance of a path that hardly returns to its mean is itself hard to tell
        assert (variance.mean(axis=0) / [ratio**2, 1.0] > 0.97).all()
        assert (variance.mean(axis=0) / [ratio**2, 1.0] < 1.15).all()  # the law is rounded up


def test_the_critical_value_is_that_of_a_gaussian_maximum_where_variances_are_known() -> None:
    # sixty groups and sixty periods before the start leave nothing to estimate; at no autocorrelation the estimates at
    # looks s < t have the covariance of the one at t, 1 / T0 + 1 / t
    looks = np.arange(1, 27)
    largest = largest_ratios(Looks(60, (0,), (30, 30), tuple(looks.tolist())), 0, 0)
    covariance = 1 / 60 + 1 / np.maximum(looks[:, None], looks[None, :])
    for level in (0.8, 0.9, 0.95):
        found = critical(largest, level)
        # 6,000 worlds: a standard error of the quantile near 0.02; and expected errors lean to the large side: of two
        # autocorrelations the larger counts, and volatility after the start is never taken as less
        assert band_critical(covariance, level) - 0.14 < found < band_critical(covariance, level) + 0.06


def test_more_looks_and_higher_levels_cost_more_and_one_look_costs_no_correction() -> None:
    design = [Looks(26, (0,), (3, 9), looks) for looks in ((26,), (13, 26), tuple(range(1, 27)), tuple(range(1, 157)))]
    found = [critical(largest_ratios(one, 10, 0), 0.95) for one in design]
    assert found == sorted(found)
    assert len(set(found)) == 4
    assert 1.8 < found[0] < 2.3  # near 1.96, but variances are estimated
    by_level = [critical(largest_ratios(design[2], 10, 0), level) for level in (0.8, 0.9, 0.95, 0.99)]
    assert by_level == sorted(set(by_level))
    assert largest_ratios(design[0], 10, 0) is largest_ratios(design[0], 6, 0), "rounded up to tenths, once for all"
    assert not np.array_equal(largest_ratios(design[0], 10, 1), largest_ratios(design[0], 10, 0))
    wide, wider = Looks(26, (0,), (3, 40), (26,)), Looks(26, (0,), (3, 90_000), (26,))
    assert largest_ratios(wider, 10, 0) is largest_ratios(wide, 10, 0), "no worlds of 90,000 groups are needed"


def test_the_least_favourable_volatility_of_the_pilots_counts() -> None:
    assert critical(np.stack([np.linspace(0, 1, 101), np.linspace(0, 2, 101)]), 0.9) == pytest.approx(1.8)
    largest = largest_ratios(Looks(26, (0,), (3, 9), (26,)), 0, 0)
    assert largest.shape == (3, 6_000)
    assert len({critical(row[None, :], 0.95) for row in largest}) == 3


def test_without_a_horizon_the_band_costs_less_than_a_confidence_sequence() -> None:
    # the normal mixture at its narrowest, for an estimate whose variance is known
    alpha = 0.05
    best = -2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))
    mixture = np.sqrt((1 + 1 / best) * (np.log1p(best) - 2 * np.log(alpha)))
    found = [
        critical(largest_ratios(Looks(26, (0,), (3, 9), tuple(range(1, last + 1))), 0, 0), 0.95)
        for last in (26, LONGEST)
    ]
    assert found[0] < found[1] < mixture


@cache
def rates(
    groups: int, ratio: float, rho: float, later: float = 1.0, horizon: int = 26, noise: float = 0.0
) -> dict[str, float]:
    """Share of worlds without an effect in which a reading ever claims one, by the functions of the method."""
    worlds, before, treated = 1_500, 26, 3
    design = Looks(before, (0,), (treated, groups - treated), tuple(range(1, horizon + 1)))
    known, kind = tables(design), np.repeat([0, 1], [treated, groups - treated])
    random = np.random.default_rng(11)
    paths = autoregressive(random.normal(size=(before + horizon, worlds, groups)), rho)
    paths = (1 - noise) ** 0.5 * paths + noise**0.5 * random.normal(size=paths.shape)
    paths[:, :, :treated] *= ratio
    paths[before:, :, :treated] *= later
    after = paths[before:].cumsum(axis=0) / np.arange(1, horizon + 1)[:, None, None]
    change = after - paths[:before].mean(axis=0)
    effect, error, freedom = welch(change[:, :, :treated], change[:, :, treated:])
    half = stdtrit(freedom, 0.975) * error
    step, variance = movement(paths[:before], kind, known)
    wide = expected_error(step, variance, growth(spreads(paths, before, kind), before, known, step), known).T
    found: dict[int, float] = {}
    for at in set(step.tolist()):
        found[at] = critical(largest_ratios(design, at, 0), 0.95)
    band = np.maximum(half, wide * [found[at] for at in step.tolist()])
    return {
        "weekly": float((np.abs(effect) > half).any(axis=0).mean()),
        "band": float((np.abs(effect) > band).any(axis=0).mean()),
        "last": float((np.abs(effect[-1]) > band[-1]).mean()),
        "wider": float(np.median(band[-1] / half[-1])),
    }


@pytest.mark.parametrize(("groups", "ratio", "rho"), list(product([8, 30], [1 / 3, 1.0, 3.0], [0.0, 0.9])))
def test_no_effect_is_ever_claimed_in_more_than_one_world_in_twenty(groups: int, ratio: float, rho: float) -> None:
    # 5 % and three standard errors of a share of 1,500 worlds: 6.7 %
    found = rates(groups, ratio, rho)
    assert found["band"] < 0.05 + 3 * (0.05 * 0.95 / 1_500) ** 0.5
    assert found["last"] <= found["band"] <= found["weekly"]
    if ratio >= 1:  # intervals for one look do not hold, or this would show nothing
        assert found["weekly"] > (0.2 if ratio > 1 else 0.1)
    assert found["wider"] < 1.8


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_pilots_that_become_twice_as_volatile_are_mostly_seen(ratio: float) -> None:
    found = rates(12, ratio, 0.0, later=2.0)
    assert found["weekly"] > 0.30
    assert found["band"] < 0.11


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_a_slow_movement_beneath_as_much_fast_noise_is_seen(ratio: float) -> None:
    # one period apart the correlation is 0.45, which would be taken for a movement that is over in three periods
    assert rates(12, ratio, 0.9, noise=0.5)["band"] < 0.05 + 3 * (0.05 * 0.95 / 1_500) ** 0.5


def test_without_a_horizon_a_year_of_looks_holds() -> None:
    assert rates(12, 3.0, 0.6, horizon=52)["band"] < 0.05 + 3 * (0.05 * 0.95 / 1_500) ** 0.5


@given(st.floats(-2, 2), st.integers(0, 20), st.floats(0.01, 100))
@steady
def test_an_effect_moves_the_band_and_does_not_change_its_width(effect: float, seed: int, unit: float) -> None:
    y = outcomes(seed)
    moved = y * unit + np.random.default_rng(seed).normal(size=8)[:, None] + np.sin(np.arange(BEFORE + LATER))
    moved[:3, BEFORE:] += effect * unit
    rows = [weekly_looks(panel(given), Plan(horizon=LATER)).tidy() for given in (y, moved)]
    columns = ["estimate", "conf_low", "conf_high", "band_low", "band_high"]
    np.testing.assert_allclose((rows[0][columns] + effect) * unit, rows[1][columns], atol=1e-9 * max(unit, 1))


def test_the_order_of_groups_does_not_matter_and_the_same_inputs_give_the_same_bytes() -> None:
    order = np.array([4, 1, 7, 0, 6, 2, 5, 3])
    turned = Panel.from_matrix(outcomes()[order], treated_from=[ONE[k] for k in order])
    plan = Plan(horizon=LATER)
    once, again = weekly_looks(panel(), plan).tidy(), weekly_looks(panel(), plan).tidy()
    pd.testing.assert_frame_equal(once, again, check_exact=True)
    pd.testing.assert_frame_equal(once, weekly_looks(turned, plan).tidy(), rtol=1e-12)
    other = weekly_looks(panel(), plan, seed=1).tidy()
    assert not other["band_low"].equals(once["band_low"])
    assert other["conf_low"].equals(once["conf_low"])


def test_the_band_is_the_wider_of_interval_and_expected_errors() -> None:
    study = weekly_looks(panel(), Plan(horizon=LATER))
    for level in (0.8, 0.95):
        rows = study.tidy(level)
        half = study.law.critical(level) * study.details["expected"]["expected_error"]  # type: ignore[union-attr]
        np.testing.assert_allclose(rows["band_high"], np.maximum(rows["conf_high"], rows["estimate"] + half))
        np.testing.assert_allclose(rows["band_low"], np.minimum(rows["conf_low"], rows["estimate"] - half))
    rows = pd.concat([weekly_looks(panel(outcomes(seed)), Plan(horizon=LATER)).tidy() for seed in range(4)])
    assert not {*study.tidy().columns, *study.glance().columns} - set(COLUMNS)
    assert (rows["band_high"] > rows["conf_high"]).any()
    assert (rows["band_high"] == rows["conf_high"]).any()
