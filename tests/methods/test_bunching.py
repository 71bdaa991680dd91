"""Bunching and cut-offs: against slow twins, a published package's numbers and the truth of simulated targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit import targets
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.simulate.targets import true_targets

TOLD = true_targets(1.0, 52)


def honest(rng: np.random.Generator, size: int) -> Any:
    return rng.uniform(0.7, 1.3, size)


def pushed(rng: np.random.Generator, size: int) -> Any:
    """Attainment as the simulator makes it: four in five from 0.9 on come to 1 and at most 0.6% more."""
    even = honest(rng, size)
    over = (even >= 0.9) & (even < 1) & (rng.random(size) < 0.8)
    return np.where(over, 1 + 0.006 * rng.random(size), even)


def slow_fit(counts: Any, step: Any, excluded: Any, degree: int) -> Any:
    """Least squares with a dummy for each excluded bin; the polynomial without the dummies."""
    terms = np.column_stack([((step + 0.5) / 25) ** power for power in range(degree + 1)])
    dummies = np.column_stack([(step == at).astype(float) for at in step[excluded]])
    fit = sm.OLS(counts, np.column_stack([terms, dummies])).fit()
    return terms @ fit.params[: degree + 1]


def counted(values: Any, bins: targets.Bins, at: float) -> tuple[Any, Any]:
    edges = np.arange(-bins.counts[0], bins.counts[1])
    counts = np.array(
        [((values >= at + e * bins.width - 1e-12) & (values < at + (e + 1) * bins.width - 1e-12)).sum() for e in edges]
    )
    return counts.astype(float), edges


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_bunching_equals_a_regression_with_dummies(degree: int) -> None:
    values, bins = pushed(np.random.default_rng(1), 3000), targets.Bins(degree=degree)
    counts, step = counted(values, bins, 1.0)
    for under in range(1, bins.counts[3] + 1):
        drawn = slow_fit(counts, step, (step >= -under) & (step < bins.counts[2]), degree)
        above = (counts - drawn)[(step >= 0) & (step < bins.counts[2])].sum()
        missing = (drawn - counts)[(step >= -under) & (step < 0)].sum()
        if missing >= above:
            break
    found = targets.bunching(values, bins=bins, draws=10)
    told = found.measures.set_index("measure")["estimate"]
    assert found.bins["observed"].tolist() == counts.tolist()
    assert found.bins["counterfactual"].to_numpy() == pytest.approx(drawn, rel=1e-8)
    assert told["excess"] == pytest.approx(above, rel=1e-8)
    assert told["share"] == pytest.approx(above / counts.sum(), rel=1e-8)
    assert told["height"] == pytest.approx(above / drawn[(step >= 0) & (step < bins.counts[2])].mean(), rel=1e-8)
    assert told["reach"] == pytest.approx(under * bins.width)
    assert found.balanced == bool(missing >= above)
    assert found.left_out == len(values) - counts.sum()


def test_kink_equals_lifting_the_bins_below_by_hand() -> None:
    rng = np.random.default_rng(2)
    values, bins = np.r_[honest(rng, 3000), rng.uniform(1, 1.01, 200)], targets.Bins(missing=0.02)
    counts, step = counted(values, bins, 1.0)
    excluded, lifted, excess = (step >= -2) & (step < 2), step < -2, 0.0
    for _ in range(200):
        raised = counts * (1 + lifted * excess / counts[lifted].sum())
        drawn = slow_fit(raised, step, excluded, bins.degree)
        excess = (counts - drawn)[excluded].sum()
    found = targets.kink(values, bins=bins, draws=10)
    assert found.measures["estimate"].iloc[0] == pytest.approx(excess, rel=1e-6)
    assert found.bins["counterfactual"].sum() == pytest.approx(counts.sum(), rel=1e-8)  # nobody is lost or made


def test_the_excess_lies_in_its_interval() -> None:
    rng, runs = np.random.default_rng(3), 100
    held = dict.fromkeys(("pushed", "honest"), 0)
    for run in range(runs):
        for name, draw, truth in (("pushed", pushed, TOLD["excess_share"]), ("honest", honest, 0.0)):
            values = draw(rng, 2000)
            inside = np.abs(values - 1) < 0.25
            row = targets.bunching(values, seed=run, draws=200).measures.iloc[1]
            held[name] += row["conf_low"] <= truth * len(values) / inside.sum() <= row["conf_high"]
    # percentile intervals of 95%; four deviations of a binomial of 100, and 3% for percentiles of 200 draws
    assert min(held.values()) / runs > 0.92 - 4 * np.sqrt(0.05 * 0.95 / runs)


def test_where_the_missing_begin_is_found() -> None:
    reach = (
        targets.bunching(pushed(np.random.default_rng(4), 20_000), draws=50).measures.set_index("measure").loc["reach"]
    )
    assert reach["conf_low"] - 1e-9 <= 1 - TOLD["missing_from"] <= reach["conf_high"] + 0.01 + 1e-9  # a bin is 0.01


def test_merchants_with_many_targets_widen_the_interval() -> None:
    rng = np.random.default_rng(5)
    owner = np.repeat(np.arange(150), 12)
    values = np.where((rng.random(150) < 0.2)[owner], rng.uniform(1, 1.01, owner.size), honest(rng, owner.size))
    wide, narrow = (
        targets.bunching(values, cluster=cluster).measures.iloc[0][["conf_low", "conf_high"]].diff().iloc[1]
        for cluster in (owner, None)
    )
    assert wide > 1.5 * narrow
    bins = targets.bunching(values, cluster=owner, draws=10).bins
    for row in bins.iloc[::7].itertuples():
        assert row.clusters == len(set(owner[(values >= row.low - 1e-12) & (values < row.high - 1e-12)]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_units_and_order_do_not_matter(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values = pushed(rng, 600)
    sizes = {name: getattr(targets.Bins(), name) * scale for name in ("width", "below", "above", "excess", "missing")}
    one = targets.bunching(values, draws=10).measures["estimate"]
    other = targets.bunching(rng.permutation(values) * scale, at=scale, bins=targets.Bins(**sizes), draws=10).measures[
        "estimate"
    ]
    assert other.tolist()[:3] == pytest.approx(one.tolist()[:3], rel=1e-6, abs=1e-6)
    assert other[3] == pytest.approx(one[3] * scale)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = pushed(np.random.default_rng(6), 1000)
    first, again, other = (targets.bunching(values, seed=seed, draws=50).measures for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_too_little_to_see_is_refused() -> None:
    with pytest.raises(DesignError, match="100 targets around the line, but 3"):
        targets.bunching([0.9, 1.0, 1.1])
    with pytest.raises(DesignError, match="on one side"):
        targets.bunching(np.linspace(1.0, 1.2, 200))
    with pytest.raises(ParameterError, match="widen the window"):
        targets.Bins(below=0.13)
    with pytest.raises(ParameterError, match="width above 0"):
        targets.Bins(width=0)


# cut-offs

RDDENSITY = {"even": (0.1, 1.873940764004658, 1.6697745136801245, -0.5206920969633194),
             "normal": (0.15, 2.580589747451067, 2.389763245882743, -0.3982810679460768)}  # fmt: skip
"""Bandwidth, densities and jackknife statistic of rddensity 3.0 (p = 2, q = 3) for the values below."""


@pytest.mark.parametrize("name", RDDENSITY)
def test_densities_equal_those_of_rddensity(name: str) -> None:
    rng = np.random.default_rng(1)
    values = {"even": rng.uniform(0.7, 1.3, 3000)}
    rng.random(3000)
    rng.random(3000)
    values["normal"] = rng.normal(1.02, 0.15, 2000)
    bandwidth, below, above, statistic = RDDENSITY[name]
    found = targets.density_test(values[name], bandwidth=bandwidth)
    assert (found.below, found.above) == pytest.approx((below, above), rel=1e-9)
    # its errors are of deleting one value, ours of moving it a little: they differ by terms of 1 / n
    assert found.statistic == pytest.approx(statistic, rel=0.01)


def test_smooth_densities_are_rejected_as_seldom_as_the_level_says() -> None:
    rng, runs = np.random.default_rng(7), 400
    laws = (lambda: rng.uniform(0.7, 1.3, 1000), lambda: np.exp(rng.normal(0, 0.3, 1000)))
    for law in laws:
        found = [targets.density_test(law()) for _ in range(runs)]
        for p_value in ("p_value", "p_near"):
            assert np.mean([getattr(test, p_value) < 0.05 for test in found]) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / runs)


def test_pushing_and_heaping_are_seen() -> None:
    rng = np.random.default_rng(8)
    assert targets.density_test(pushed(rng, 2000)).p_value < 1e-6
    assert targets.density_test(np.r_[honest(rng, 2000), np.ones(100)]).p_near < 1e-6
    values = pushed(rng, 2000)
    with pytest.raises(DesignError, match=r"jumps at 1 \(p = \d"):
        targets.discontinuity(values, values)


def test_a_jump_is_a_weighted_regression_with_hc3() -> None:
    rng = np.random.default_rng(11)
    values = honest(rng, 2000)
    outcome = values**2 + 0.3 * (values >= 1) + rng.normal(0, 0.2, 2000)
    result = targets.discontinuity(outcome, values, bandwidth=0.2)
    near = np.abs(values - 1) < 0.2
    gap = values[near] - 1
    terms = np.column_stack([gap**power for power in range(3)])
    design = np.column_stack([terms, terms * (gap >= 0)[:, None]])
    weight = 1 - np.abs(gap) / 0.2
    fit = sm.OLS(outcome[near] * np.sqrt(weight), design * np.sqrt(weight)[:, None]).fit(cov_type="HC3")
    assert result.estimate[0] == pytest.approx(fit.params[3], rel=1e-8)
    size = near.sum()
    assert result.std_error[0] == pytest.approx(fit.bse[3] * np.sqrt(size / (size - 1)), rel=1e-8)
    assert "density test: p = " in result.notes[0]


def test_a_jump_lies_in_its_interval() -> None:
    rng, runs, held, tried = np.random.default_rng(10), 200, 0, 0
    for _ in range(runs):
        values = honest(rng, 1500)
        outcome = np.sin(3 * values) + 0.1 * (values >= 1) + rng.standard_t(5, 1500)
        try:
            row = targets.discontinuity(outcome, values).tidy().iloc[0]
        except DesignError:  # one of two tests at 2.5% rejects in up to one in twenty
            continue
        tried, held = tried + 1, held + (row["conf_low"] <= 0.1 <= row["conf_high"])
    assert tried / runs > 0.95 - 4 * np.sqrt(0.05 * 0.95 / runs)
    assert held / tried > 0.95 - 4 * np.sqrt(0.05 * 0.95 / tried)


def test_a_jump_needs_values_on_both_sides_and_of_one_length() -> None:
    even = np.linspace(0.7, 1.3, 601)
    with pytest.raises(DesignError, match="needs 20 values on each side"):
        targets.density_test(even, at=1.299)
    with pytest.raises(DesignError, match="needs 100 targets on each side"):
        targets.discontinuity(even, even, bandwidth=0.05)
    with pytest.raises(ParameterError, match="not 600 and 601"):
        targets.discontinuity(even[1:], even)


def test_pushing_over_the_line_is_no_ratchet() -> None:
    rng, runs, held = np.random.default_rng(13), 200, {0.02: 0, 1e-9: 0}
    for _ in range(runs):
        honest = rng.uniform(0.7, 1.3, (300, 3))
        stretch = np.exp(rng.normal(0, 0.05, honest.shape)) / honest
        over = (honest > 0.9) & (honest < 1) & (rng.random(honest.shape) < 0.8)
        sold = stretch * np.where(over, 1.003, honest)
        unit, period = np.indices(honest.shape)
        rows = {
            "merchant_id": unit.ravel(),
            "period_start": period.ravel(),
            "stretch": stretch.ravel(),
            "sold": sold.ravel(),
        }
        for near in held:
            row = targets.ratchet(pd.DataFrame(rows), near=near).tidy().iloc[2]
            held[near] += row["conf_low"] <= 0 <= row["conf_high"]
    assert held[0.02] / runs > 0.95 - 4 * np.sqrt(0.05 * 0.95 / runs)
    assert held[1e-9] < held[0.02]  # with those who pushed, a ratchet is seen that is none


@pytest.mark.parametrize(
    ("given", "law"),
    [
        ({"draws": 0}, "draws is a whole number"),
        ({"seed": -1}, "seed is a whole number"),
        ({"cluster": ["a"]}, "1 owners; give"),
    ],
)
@pytest.mark.parametrize("ask", [targets.bunching, targets.kink])
def test_what_is_no_draw_seed_or_owner_is_refused(ask: Any, given: dict[str, Any], law: str) -> None:
    with pytest.raises(ParameterError, match=law):
        ask(np.linspace(0.7, 1.3, 500), **given)
