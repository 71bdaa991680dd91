"""Candidates are ranked by the formulas, what a pilot teaches is what simulated pilots teach, and lots are fair."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import strategy_kit as sk
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.planning import candidates, wave

PILOTS, OTHERS, BEFORE, AFTER = 4, 8, 52, 13


def market(seed: int = 1, *, effect: float = 0.08, spread: float = 0.03) -> sk.Panel:
    """Log totals of twelve categories, the last of which moves five times as much; four are piloted after a year."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(scale=0.04, size=(PILOTS + OTHERS, BEFORE + AFTER))
    noise[-1] *= 5
    path = np.linspace(14, 10, PILOTS + OTHERS)[:, None] + noise
    path[:PILOTS, BEFORE:] += rng.normal(effect, spread, PILOTS)[:, None]
    return sk.Panel.from_matrix(path, treated_from=[BEFORE + 1] * PILOTS + [0] * OTHERS)


def predicted(panel: sk.Panel) -> sk.Estimates:
    return sk.did.new_category(sk.did.category_effects(panel))


def test_value_chance_and_widths_are_the_formulas() -> None:
    panel = market()
    further = predicted(panel)
    found = candidates(panel, further, weeks=26, threshold=0.03, level=0.9)
    assert sorted(found["category"]) == list(range(PILOTS, PILOTS + OTHERS))
    assert found["rank_value"].tolist() == list(range(1, OTHERS + 1))
    mean, spread = float(further.estimate[1]), float(further.std_error[1])
    law = stats.t(PILOTS - 2, mean, spread)
    for row in found.itertuples():
        sales = np.exp(panel.outcome[int(row.category), :BEFORE]).mean()  # type: ignore[arg-type]
        ends = (row.predicted_low, row.predicted, row.predicted_high)
        np.testing.assert_allclose(ends, [*law.ppf([0.05, 0.5, 0.95])], rtol=1e-9)
        values: list[Any] = [row.value_low, row.value, row.value_high]
        np.testing.assert_allclose(values, sales * 26 * np.expm1(ends), rtol=1e-9)  # type: ignore[arg-type]
        assert row.chance == pytest.approx(law.sf(0.03), rel=1e-9)
    noisy = found.set_index("category").loc[PILOTS + OTHERS - 1]
    quiet = found.set_index("category").loc[PILOTS]
    assert noisy["error"] > 3 * quiet["error"], "the error is the category's own"
    assert noisy["own_width"] > quiet["own_width"]
    assert noisy["further_width"] > quiet["further_width"]


def test_the_error_is_that_of_simulated_pilots() -> None:
    errors = [candidates(panel, predicted(panel), weeks=AFTER)["error"].iloc[0] for panel in map(market, range(40))]
    # white noise of 0.04, one pilot against the mean of the others, of which the last has five times the deviation
    variance = 0.04**2 * (1 / BEFORE + 1 / AFTER)
    true = np.sqrt(variance * (1 + (OTHERS - 2 + 25) / (OTHERS - 1) ** 2))
    assert np.mean(errors) == pytest.approx(
        true, rel=0.06
    )  # the fitted autocorrelation of 52 weeks is off by 0.05 or so


def test_learning_is_what_deciding_after_simulated_pilots_is_worth() -> None:
    panel = market()
    further = predicted(panel)
    threshold = float(further.estimate[1]) + 0.01
    found = candidates(panel, further, weeks=26, threshold=threshold)
    rng, (mean, spread) = np.random.default_rng(3), (float(further.estimate[1]), float(further.std_error[1]))
    for row in found.head(3).itertuples():
        true = rng.normal(mean, spread, 400_000)
        seen = true + rng.normal(scale=row.error, size=true.size)  # type: ignore[arg-type]
        believed = mean + spread**2 / (spread**2 + row.error**2) * (seen - mean)  # type: ignore[operator]
        gain = np.where(believed > threshold, true - threshold, 0.0)
        worth = (gain.mean() - max(mean - threshold, 0.0)) * row.sales * 26
        error = gain.std() / np.sqrt(true.size) * row.sales * 26
        assert abs(worth - float(row.learning)) < 4 * error  # type: ignore[arg-type]


def test_a_category_to_come_lies_in_its_interval_as_often_as_promised() -> None:
    rng, held, runs = np.random.default_rng(5), 0, 300
    for seed in range(runs):
        panel = market(seed)
        row = candidates(panel, predicted(panel), weeks=26).iloc[0]
        held += row["predicted_low"] <= rng.normal(0.08, 0.03) <= row["predicted_high"]
    assert held / runs > 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)  # three binomial errors below


def test_a_pilot_that_is_announced_is_no_candidate() -> None:
    panel = market()
    late = np.zeros(PILOTS + OTHERS, dtype=int)
    late[PILOTS] = 70
    found = candidates(replace(panel, late=late), predicted(panel), weeks=26)
    assert PILOTS not in set(found["category"])


def test_lots_are_fair_and_can_be_drawn_again() -> None:
    ranked = pd.DataFrame({"category": list("abcdefgh")})
    draws = [wave(ranked, pilots=3, starts=[1, 2], seed=seed) for seed in range(400)]
    for drawn in draws:
        assert drawn["category"].tolist() == list("abcdef"), "the largest six take part"
        assert drawn.groupby("pair")["piloted"].sum().tolist() == [1, 1, 1]
        assert sorted(drawn["start"].value_counts().tolist()) == [1, 2], "as even as can be"
        assert (drawn["start"].isna() == ~drawn["piloted"]).all()
    share = np.mean([drawn["piloted"].to_numpy() for drawn in draws], axis=0)
    assert np.abs(share - 0.5).max() < 4 * np.sqrt(0.25 / 400)  # four binomial errors
    assert draws[0]["smallest_p_value"].unique().tolist() == [0.25]
    pd.testing.assert_frame_equal(draws[7], wave(ranked, pilots=3, starts=[1, 2], seed=7))


def test_what_cannot_be_asked_is_refused_all_at_once() -> None:
    panel = market()
    further = predicted(panel)
    with pytest.raises(ParameterError, match=r"weeks is .*0.*level must lie between 0 and 1, not 2") as caught:
        candidates(panel, further, weeks=0, level=2)
    assert "prediction" not in str(caught.value)
    with pytest.raises(ParameterError, match=r"result of did\.new_category"):
        candidates(panel, sk.did.category_effects(panel), weeks=4)
    with pytest.raises(ParameterError, match=r"panel\.logs"):
        candidates(replace(panel, outcome=panel.outcome * 100), further, weeks=4)
    everywhere = sk.Panel.from_matrix(panel.outcome[:PILOTS], treated_from=[BEFORE + 1] * PILOTS)
    with pytest.raises(DesignError, match="every category is piloted already"):
        candidates(everywhere, further, weeks=4)
    with pytest.raises(ParameterError, match=r"pilots is a whole number from 1 to 1.*starts names.*"):
        wave(pd.DataFrame({"category": list("abc")}), pilots=2, starts=[], seed=0)


@pytest.mark.parametrize("named", [False, True])
def test_errors_are_a_categorys_own_in_whatever_order_the_panel_has_them(named: bool) -> None:
    panel, order = market(), np.random.default_rng(4).permutation(PILOTS + OTHERS)
    if named:
        names = [f"c{at:02d}" for at in range(PILOTS + OTHERS)]
        panel = replace(panel, units=pd.Index(names), category=pd.Series(names))
    shuffled = replace(
        panel, outcome=panel.outcome[order], cohort=panel.cohort[order], units=panel.units[order],
        category=None if panel.category is None else panel.category.iloc[order].reset_index(drop=True))  # fmt: skip
    errors = [candidates(each, predicted(each), weeks=26).set_index("category")["error"] for each in (panel, shuffled)]
    pd.testing.assert_series_equal(errors[0].sort_index(), errors[1].sort_index(), rtol=1e-9)


def test_units_that_share_a_category_are_no_candidates() -> None:
    panel = market()
    doubled = replace(panel, category=pd.Series(np.arange(PILOTS + OTHERS) // 2))
    with pytest.raises(ParameterError, match=r"panel has one unit a category; take shop.category_panel\(\).logs\(\)"):
        candidates(doubled, predicted(panel), weeks=26)


def test_the_width_after_a_pilot_is_one_of_the_level() -> None:
    panel = market()
    further = predicted(panel)
    freedom = float(further.law[1].degrees_of_freedom)  # type: ignore[index, union-attr]
    wide, narrow = (candidates(panel, further, weeks=13, level=level)["further_width"] for level in (0.95, 0.8))
    share = [stats.t.ppf(0.5 + q / 2, freedom + 1) / stats.t.ppf(0.5 + q / 2, freedom) for q in (0.95, 0.8)]
    np.testing.assert_allclose(narrow / wide, share[1] / share[0])


def test_the_past_alone_is_enough_and_gaps_are_refused_as_gaps() -> None:
    panel = market()
    further, start = predicted(panel), int(panel.starts.min())
    past = replace(
        panel, outcome=panel.outcome[:, :start], periods=panel.periods[:start], cohorts=panel.cohorts[:0],
        cohort=np.full_like(panel.cohort, -1), late=(panel.cohort >= 0).astype(int),
    )  # fmt: skip
    found = candidates(past, further, weeks=13)
    np.testing.assert_allclose(
        found.set_index("category")["sales"].sort_index(),
        candidates(panel, further, weeks=13).set_index("category")["sales"].sort_index(),
    )
    gap = panel.outcome.copy()
    gap[-1, -1] = np.nan
    with pytest.raises(ParameterError, match="panel has no gaps"):
        candidates(replace(panel, outcome=gap), further, weeks=13)
