"""Supported against other merchants inside categories: against loops, against all deals by hand, and its error rate."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import combinations, permutations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategy_kit.did.pilot import pilot_contrast
from strategy_kit.did.strata import WithinStrata
from strategy_kit.did.stratified import within_categories
from strategy_kit.did.triple import eligible_gap
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.inference import FREEDOM_CAP, bell_mccaffrey
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng
steady = settings(deadline=None, derandomize=True, database=None, max_examples=25)
# Starts and categories of designs small enough to be dealt by hand.
SMALL: dict[str, tuple[list[float], str]] = {
    "one start": ([4.0, 4, 0, 0, 4, 4, 4, 0, 0], "aaaabbbbb"),
    "two starts": ([4.0, 6, 0, 0, 6, 6, 4, 0, 0], "aaaabbbbb"),
    "three categories": ([4.0, 4, 0, 0, 5, 5, 0, 0, 0, 0, 4, 4, 0], "aaaabbbbbcccc"),
    "out of order": ([0, 4.0, 4, 0, 4, 4, 0, 0, 0], "babababab"),
}


def market(seed: int, start: list[float], category: str, effect: float = 0.0, periods: int = 8) -> Panel:
    first = np.array(start)
    after = (first[:, None] > 0) & (np.arange(1, periods + 1) >= first[:, None])
    y = RNG(seed).normal(size=(len(start), periods)) + effect * after
    return Panel.from_matrix(y, treated_from=start, category=list(category))


def change(row: np.ndarray, start: float) -> float:
    return float(row[int(start) - 1 :].mean() - row[: int(start) - 1].mean())


def by_category(y: np.ndarray, dealt: list[float], real: list[float], category: str) -> list[tuple[int, float, float]]:
    """Supported, difference and squared error of each category, merchant by merchant."""
    found = []
    for name in sorted(set(category)):
        members = [i for i, c in enumerate(category) if c == name]
        starts = [real[i] for i in members if real[i]]
        rest = [i for i in members if not dealt[i]]
        outside = [np.mean([change(y[i], s) for s in starts]) for i in rest]
        common = {s: np.mean([change(y[i], s) for i in rest]) - np.mean(outside) for s in starts}
        inside = [change(y[i], dealt[i]) - common[dealt[i]] for i in members if dealt[i]]
        error = np.var(inside, ddof=1) / len(inside) + np.var(outside, ddof=1) / len(outside)
        found.append((len(inside), float(np.mean(inside) - np.mean(outside)), float(error)))
    return found


def combined(parts: list[tuple[int, float, float]]) -> tuple[float, float]:
    total = sum(n for n, _, _ in parts)
    return sum(n * d for n, d, _ in parts) / total, np.sqrt(sum((n / total) ** 2 * v for n, _, v in parts))


def every_deal(real: list[float], category: str) -> list[list[float]]:
    options = []
    for name in sorted(set(category)):
        members = [i for i, c in enumerate(category) if c == name]
        starts = [real[i] for i in members if real[i]]
        ways = []
        for chosen in combinations(members, len(starts)):
            ways += [dict(zip(chosen, order, strict=True)) for order in sorted(set(permutations(starts)))]
        options.append(ways)
    found = []
    for parts in product(*options):
        dealt = [0.0] * len(real)
        for part in parts:
            for place, start in part.items():
                dealt[place] = start
        found.append(dealt)
    return found


def row(result: Any, method: str, level: float = 0.95) -> pd.Series:
    return result.tidy(level).set_index("method").loc[method]


def enumerated_p(y: np.ndarray, start: list[float], category: str, effect: float = 0.0) -> float:
    untouched = np.array(y)
    for i, s in enumerate(start):
        if s:
            untouched[i, int(s) - 1 :] -= effect
    sizes = []
    for dealt in [start, *every_deal(start, category)]:
        difference, error = combined(by_category(untouched, dealt, start, category))
        sizes.append(abs(difference / error))
    return float(np.mean([size >= sizes[0] * (1 - 1e-9) for size in sizes[1:]]))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("effect", [0.0, 1.5])
def test_it_equals_loops_and_enumeration(name: str, effect: float) -> None:
    start, category = SMALL[name]
    panel = market(5, start, category, effect)
    result = within_categories(panel)
    parts = by_category(panel.outcome, start, start, category)
    estimate, error = combined(parts)
    for method in ("welch", "randomisation"):
        assert row(result, method)["estimate"] == pytest.approx(estimate, rel=1e-10)
        assert row(result, method)["std_error"] == pytest.approx(error, rel=1e-10)
    shown = result.details["categories"]
    assert shown["supported"].tolist() == [n for n, _, _ in parts]
    assert shown["estimate"].tolist() == pytest.approx([d for _, d, _ in parts])
    assert shown["std_error"].tolist() == pytest.approx([np.sqrt(v) for _, _, v in parts])
    deals = every_deal(start, category)
    law = result.law[1]
    assert law.exact
    assert law.count == len(deals)
    for shift in (0.0, -0.8, 0.7):
        expected = enumerated_p(panel.outcome, start, category, shift)
        assert law.p_value_of(shift) == pytest.approx(expected, abs=1e-12)
    assert row(result, "randomisation")["p_value"] == law.p_value_of(0.0)
    placebo = result.details["placebo"]["statistic"]
    assert placebo[0] == pytest.approx(estimate)
    every = [combined(by_category(panel.outcome, dealt, start, category))[0] for dealt in deals]
    assert np.sort(placebo) == pytest.approx(np.sort(every))


def test_welch_by_hand() -> None:
    # a: 4 and 6 against 1 and 0, difference 4.5, squared error 1 + 1/4; b: 5, 3, 4 against 2 and 1, 2.5 and 1/3 + 1/4.
    y = np.c_[np.zeros(9), [4.0, 6, 1, 0, 5, 3, 4, 2, 1]]
    panel = Panel.from_matrix(y, treated_from=[2, 2, 0, 0, 2, 2, 2, 0, 0], category=list("aaaabbbbb"))
    found, part = row(within_categories(panel), "welch"), np.array([0.4, 0.6])
    squares = np.array([[1.0, 0.25], [1 / 3, 0.25]])
    error = np.sqrt(part**2 @ squares.sum(axis=1))
    freedom = error**4 / (part**4 @ (squares**2 / np.array([[1, 1], [2, 1]])).sum(axis=1))
    assert found["estimate"] == pytest.approx(0.4 * 4.5 + 0.6 * 2.5)
    assert found["std_error"] == pytest.approx(error)
    assert found["p_value"] == pytest.approx(2 * stats.t.sf(found["estimate"] / error, freedom))


def test_one_category_is_the_pilot_contrast_of_its_merchants() -> None:
    panel = market(3, [5.0] * 4 + [0.0] * 7, "a" * 11, 0.5)
    one, other = within_categories(panel), pilot_contrast(replace(panel, category=None))
    for method in ("welch", "randomisation"):
        names = ["estimate", "std_error", "conf_low", "conf_high", "p_value"]
        np.testing.assert_allclose(
            row(one, method)[names].astype(float), row(other, method)[names].astype(float), rtol=1e-9
        )
    balance = [result.details["balance"].set_index("measure")["value"] for result in (one, other)]
    for name in ("smallest_p_value", "assignments", "exact"):
        assert balance[0][name] == balance[1][name]


def test_degrees_of_freedom_are_capped_like_welchs() -> None:
    # Spreads that look far too alike: Satterthwaite's would be 8.
    y = np.c_[np.zeros(12), [1.0, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]]
    panel = Panel.from_matrix(y, treated_from=[2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0], category=["a"] * 12)
    law = within_categories(panel).law[0]
    spread = np.array([1.0 / 3, np.var([1, 2, 3] * 3, ddof=1) / 9])
    seen = spread.sum() ** 2 / (spread**2 / np.array([2, 8])).sum()
    assert law.degrees_of_freedom == pytest.approx(min(seen, FREEDOM_CAP * bell_mccaffrey(3, 9)))


@given(st.integers(0, 10_000), st.sampled_from(sorted(SMALL)), st.randoms(use_true_random=False))
@steady
def test_what_moves_a_category_or_a_merchant_cancels(seed: int, name: str, shuffle: Any) -> None:
    start, category = SMALL[name]
    panel, rng = market(seed, start, category), RNG(seed)
    alike = name in {"one start", "out of order"}
    shocks = {c: rng.normal(size=8) if alike else rng.normal() for c in set(category)}
    moved = panel.outcome + rng.normal(size=(len(start), 1)) + np.stack([np.zeros(8) + shocks[c] for c in category])
    order = list(range(len(start)))
    shuffle.shuffle(order)
    other = Panel.from_matrix(
        moved[order],
        treated_from=np.array(start)[order],
        category=[{"a": "z"}.get(category[i], category[i]) for i in order],
    )
    names = ["estimate", "std_error", "conf_low", "conf_high", "p_value"]
    np.testing.assert_allclose(
        within_categories(other).tidy(0.7)[names], within_categories(panel).tidy(0.7)[names], rtol=1e-6, atol=1e-9
    )


def test_an_effect_moves_estimate_and_interval_alone() -> None:
    start, category = SMALL["one start"]
    one, other = (within_categories(market(2, start, category, effect)).tidy(0.8) for effect in (0.0, 3.0))
    for name in ("estimate", "conf_low", "conf_high"):
        # The interval of the randomisation is found by halving 30 times, from steps of the error's size.
        np.testing.assert_allclose(other[name] - one[name], 3.0, rtol=1e-6)
    np.testing.assert_allclose(other["std_error"], one["std_error"])


def test_categories_without_both_kinds_are_left_out_and_counted() -> None:
    start, category = SMALL["one start"]
    panel = market(4, [*start, 4.0, 4, 0, 0, 4, 0, 0, 0], category + "ccdd" + "eee?", 1.0)
    unknown = replace(panel, category=panel.category.where(panel.category != "?"))
    result = within_categories(unknown)
    kept = within_categories(panel.only(panel.category.isin(["a", "b"]).to_numpy()))
    assert result.tidy().equals(kept.tidy())
    assert result.notes == (
        "categories without two supported and two other merchants, left out: 3 of 5, with 3 supported merchants",
        "merchants without a category, left out: 1",
    )
    assert result.clusters == (5, 4)


def test_merchants_supported_from_the_first_period_on_are_left_out_and_counted() -> None:
    start, category = SMALL["one start"]
    result = within_categories(market(4, [*start, 1.0], category + "a"))
    assert "from the first periods on, left out: 1 of 10" in result.notes[0]
    assert result.clusters == (5, 4)


def test_balance_and_smallest_p_value() -> None:
    panel = market(1, [5.0, 5, 0, 0, 5, 5, 0, 0], "aaaabbbb")
    measures = within_categories(panel).details["balance"].set_index("measure")["value"]
    # Six ways in each category; the mirror image in both at once is as extreme.
    assert measures[["assignments", "exact", "smallest_p_value"]].tolist() == [36, 1, 2 / 36]
    past = panel.outcome[:, :4]
    away = np.concatenate([past[:4] - past[:4].mean(axis=0), past[4:] - past[4:].mean(axis=0)]).std(axis=1)
    assert measures["volatility_ratio"] == pytest.approx(away[[0, 1, 4, 5]].mean() / away[[2, 3, 6, 7]].mean())
    uneven = within_categories(market(1, *SMALL["one start"])).law[1]
    assert uneven.smallest_p_value == 1 / (6 * 10)
    lopsided = market(1, [5.0, 5, 0, 0], "aaaa", 50.0)
    assert row(within_categories(lopsided), "randomisation")[["conf_low", "conf_high"]].tolist() == [-np.inf, np.inf]


def wide(seed: int, merchants: int, starts: tuple[float, ...], effect: float = 0.0) -> Panel:
    rng, category = RNG(seed), np.arange(merchants) % 3
    first = np.where(rng.random(merchants) < 0.3, rng.choice(starts, merchants), 0.0)
    y = rng.normal(size=(merchants, 8)) * (1 + category[:, None]) + effect * (first[:, None] > 0) * (
        np.arange(1, 9) >= 5
    )
    return Panel.from_matrix(y, treated_from=first, category=category)


@pytest.mark.parametrize("starts", [(5.0,), (4.0, 6.0)])
@pytest.mark.parametrize("merchants", [90, 6_000])
def test_drawn_deals_have_the_moments_of_all_deals(merchants: int, starts: tuple[float, ...]) -> None:
    """Under all deals the difference has mean 0 and, with one start, a variance that is known (Imbens and Rubin, chapter 6)."""
    panel = wide(3, merchants, starts)
    result = within_categories(panel)
    law, other = result.law[1], within_categories(panel, seed=1).law[1]
    assert not law.exact
    assert law.count == (10_000 if merchants == 90 else 1_000)
    statistic = result.details["placebo"]["statistic"][1:]
    standard = statistic.std() / np.sqrt(len(statistic))
    if len(starts) == 1:
        shown = result.details["categories"]
        spread = []
        for name, n, m in shown[["group", "supported", "other"]].itertuples(index=False):
            values = [change(y, 5.0) for y in panel.outcome[(panel.category == name).to_numpy()]]
            spread.append(np.var(values, ddof=1) * (1 / n + 1 / m))
        known = np.sqrt(shown["weight"] ** 2 @ np.array(spread))
        # A standard deviation from m draws has a relative error of 1 / sqrt(2 m); four of them.
        assert statistic.std() == pytest.approx(known, rel=4 / np.sqrt(2 * len(statistic)))
        assert abs(statistic.mean()) < 4 * standard
    p = law.p_value_of(0.0), other.p_value_of(0.0)
    assert p[0] != p[1]
    # Four standard errors of the difference of two samples at p = 1/2.
    assert p[0] == pytest.approx(p[1], abs=4 * np.sqrt(0.5 / law.count))
    assert within_categories(panel).tidy().equals(result.tidy())


@pytest.mark.parametrize("starts", [(5.0,), (4.0, 6.0)])
def test_looking_at_the_supported_only_equals_masks(starts: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    panel = wide(4, 600, starts, 0.2)
    masks = within_categories(panel).law[1]
    monkeypatch.setattr("strategy_kit.did.strata._LARGE", 10)
    looks = within_categories(panel).law[1]
    assert looks.count == masks.count == 10_000
    for shift in (0.0, 0.2, 0.4):
        # Other draws of the same law: four standard errors of a difference at p = 1/2 and 10,000 draws are 0.028.
        assert looks.p_value_of(shift) == pytest.approx(masks.p_value_of(shift), abs=0.028)
    one, other = (np.sort(law.statistics(0.3)[1][1:]) for law in (looks, masks))
    assert stats.ks_2samp(one, other).pvalue > 1e-3


def test_many_merchants_take_seconds() -> None:
    panel = wide(2, 200_000, (5.0,))
    panel = replace(panel, category=pd.Series(np.arange(200_000) % 15))
    began = time.process_time()
    result = within_categories(panel)
    assert result.law[1].count == 1_000
    assert time.process_time() - began < 3


def test_eligible_within_pilot_categories() -> None:
    rng = RNG(5)
    category = np.repeat([f"c{i}" for i in range(8)], 12)
    start = np.where(np.isin(category, ["c0", "c1"]), 5.0, 0.0)
    eligible = np.tile([True, False, False], 32)
    y = rng.normal(size=(96, 8)) + 2.0 * ((start > 0) & eligible)[:, None] * (np.arange(1, 9) >= 5)
    panel = Panel.from_matrix(y, treated_from=start, category=category)
    result = within_categories(panel, eligible=eligible)
    alone = Panel.from_matrix(y, treated_from=np.where(eligible, start, 0.0), category=category)
    assert result.tidy().equals(within_categories(alone).tidy())
    assert result.clusters == (8, 16)
    assert "pilot_contrast(eligible_gap(panel, eligible))" in result.notes[-1]
    shuffled = pd.Series(eligible, index=panel.units).sample(frac=1, random_state=1)
    assert within_categories(panel, eligible=shuffled).tidy().equals(result.tidy())
    gap = pilot_contrast(eligible_gap(panel, eligible))
    assert (gap.assigned_at, gap.clusters) == ("category", (2, 6))
    measures = gap.details["balance"].set_index("measure")["value"]
    assert measures["assignments"] == 28
    assert np.isfinite(measures["volatility_ratio"])
    assert measures["volatility_ratio"] > 0


def nothing(panel: Panel) -> Callable[[], Any]:
    return lambda: within_categories(panel)


WHOLE = market(1, [5.0, 5, 0, 0], "aabb")
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "whole categories": (nothing(WHOLE), DesignError, "whole categories started.*pilot_contrast, or name eligible"),
    "no categories": (nothing(replace(WHOLE, category=None)), DesignError, "no categories.*group_time"),
    "too few of a kind": (nothing(market(1, [5.0, 0, 0, 5, 5, 0], "aaabbb")), DesignError, "no category has at least two"),
    "unbalanced": (
        nothing(replace(market(1, *SMALL["one start"]), outcome=np.full((9, 8), np.nan))),
        DesignError,
        "unbalanced",
    ),
    "clusters": (
        nothing(replace(market(1, *SMALL["one start"]), cluster=np.arange(9))),
        DesignError,
        "clusters and weights are not taken",
    ),
    "all at once": (nothing(replace(WHOLE, weight=np.ones(4))), DesignError, r"breaks 2 laws.*\(2\) whole categories"),
    "nothing varies": (
        nothing(replace(market(1, *SMALL["one start"]), outcome=np.ones((9, 8)))),
        DesignError,
        "exactly the same amount",
    ),
    "eligible of another length": (
        lambda: within_categories(WHOLE, eligible=[True]),
        ParameterError,
        "eligible is true or false for each of the 4",
    ),
    "a seed that is none": (lambda: within_categories(market(1, *SMALL["one start"]), seed=0.5), ParameterError, "seed is"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()


def test_strata_need_no_order() -> None:
    start, category = SMALL["one start"]
    panel = market(3, start, category)
    values = np.array([[change(y, 4.0)] for y in panel.outcome])
    order = RNG(1).permutation(9)
    code = np.array([0 if c == "a" else 1 for c in category])
    began = np.where(np.array(start) > 0, 0, -1)
    one = WithinStrata(values, (began[:, None] >= 0) * 1.0, began, stratum=code)
    other = WithinStrata(values[order], (began[order, None] >= 0) * 1.0, began[order], stratum=code[order])
    assert one.p_value_of(0.3) == other.p_value_of(0.3)


def test_how_often_nothing_is_called_something() -> None:
    """Shocks of whole categories, supported merchants three times as volatile, no effect: p-values of both rows are uniform."""
    rng, draws = RNG(11), 300
    category = np.repeat(np.arange(4), 15)
    supported = np.tile(np.arange(15) < 5, 4)
    found = np.empty((draws, 2))
    for draw in range(draws):
        noise = rng.normal(size=(60, 8)) * np.where(supported, 3.0, 1.0)[:, None]
        y = noise + 5.0 * rng.normal(size=(4, 8))[category]
        result = within_categories(Panel.from_matrix(y, treated_from=np.where(supported, 5.0, 0.0), category=category))
        found[draw] = result.glance()["p_value"][0], result.law[1].p_value_of(0.0)
    # Three binomial standard errors; the studentised randomisation is exact only where spreads are alike.
    for level in (0.05, 0.25, 0.5, 0.75):
        margin = 3 * np.sqrt(level * (1 - level) / draws)
        assert np.abs((found < level).mean(axis=0) - level).max() < margin


def test_what_moves_a_category_alike_is_no_chance() -> None:
    """A campaign in one category between its two starts leaves the estimate and both intervals as they are."""
    start, category = SMALL["two starts"]
    quiet = market(5, start, category, 1.0).outcome
    loud = quiet + np.outer([c == "a" for c in category], [0.0, 0, 0, 9, -7, 5, 0, 3])
    rows, moved = (within_categories(Panel.from_matrix(y, treated_from=start, category=list(category))).tidy()
                   for y in (quiet, loud))  # fmt: skip
    pd.testing.assert_frame_equal(rows, moved, rtol=1e-8)
