"""Where treatment was assigned: whole categories, merchants, or merchants inside chosen categories."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from strategy_kit import did
from strategy_kit.assigned import _log_choices, assignment_level, starts_by_category
from strategy_kit.errors import DesignError
from strategy_kit.panel import Panel


def level(cohort: np.ndarray, category: pd.Series) -> str:
    return assignment_level(starts_by_category(cohort, category))


HYBRID = {
    "one whole category, half of another": [20, 10, 0, 0, 0, 0],
    "merchants inside two of six categories": [6, 7, 0, 0, 0, 0],
    "whole categories, and merchants of one": [20, 20, 8, 0, 0, 0],
    "two whole at different times, one in part": [-20, 20, 9, 0, 0, 0],
}


@pytest.mark.parametrize("treated", HYBRID.values(), ids=HYBRID)
def test_a_hybrid_is_named(treated: list[int]) -> None:
    """How many of twenty merchants of each category start in period 3, or if negative in 4."""
    start = np.concatenate([np.r_[np.full(abs(n), 3 if n > 0 else 4), np.zeros(20 - abs(n))] for n in treated])
    order = np.random.default_rng(1).permutation(120)
    panel = Panel.from_matrix(
        np.random.default_rng(2).normal(size=(120, 5)),
        treated_from=start[order],
        category=np.repeat(list("abcdef"), 20)[order],
    )
    assert panel.assigned_at == "hybrid"
    assert "hybrid" in repr(panel)
    with pytest.raises(DesignError, match=r"a hybrid.*pilot_contrast|a hybrid.*within_categories.*inference='none'"):
        did.group_time(panel)
    for estimator in (did.pilot_contrast, did.pilot_path, did.synthetic, did.two_way, did.pre_selection):
        with pytest.raises(DesignError, match="hybrid: whole categories were chosen"):
            estimator(panel, **({"selection": did.Selection(late=(1, 1))} if estimator is did.pre_selection else {}))
    assert any(note.startswith("hybrid assignment") for note in did.group_time(panel, inference="none").notes)


def test_one_stray_merchant_does_not_switch_the_guard_off() -> None:
    # Whole categories but for one merchant: its thousands of neighbours are no draws because of it.
    category = np.repeat(np.arange(12), 40)
    start = np.where(category < 3, 3, 0)
    start[0] = 0
    panel = Panel.from_matrix(np.random.default_rng(3).normal(size=(480, 5)), treated_from=start, category=category)
    assert panel.assigned_at == "hybrid"
    for estimator in (did.pilot_contrast, did.group_time, did.imputation):
        with pytest.raises(DesignError, match="hybrid"):
            estimator(panel)


@pytest.mark.parametrize("missing", [np.nan, None])
def test_categories_may_be_numbers_of_which_some_are_missing(missing: object) -> None:
    category = pd.Series(np.repeat(np.arange(6.0), 20)).astype(object)
    category[100:] = missing
    numbers = category.astype(float)
    start = np.where(np.arange(120) < 40, 3, 0)
    for given in (numbers, numbers.astype("Int64"), category):
        assert Panel.from_matrix(np.zeros((120, 4)), treated_from=start, category=given).assigned_at == "category"


def test_uneven_shares_of_treated_units_are_told() -> None:
    rng = np.random.default_rng(0)
    category = np.repeat(list("abc"), 200)
    even, uneven = (rng.random(600) < np.repeat(shares, 200) for shares in ([0.4] * 3, [0.6, 0.3, 0.1]))
    told = []
    for treated in (even, uneven):
        panel = Panel.from_matrix(rng.normal(size=(600, 5)), treated_from=np.where(treated, 4, 0), category=category)
        told.append(any("compare within each" in note for note in did.group_time(panel).notes))
        assert panel.uneven == told[-1]
    assert told == [False, True]


def test_merchants_chosen_by_chance_make_no_hybrid() -> None:
    # 400 draws of an event with a chance of at most 1 in 100: more than 11 has a chance below 1e-3.
    found = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        start, category = np.where(rng.random(60) < 0.25, 3, 0), rng.integers(0, 12, 60)
        found += level(np.where(start > 0, 0, -1), pd.Series(category)) == "hybrid"
    assert found <= 11


def test_the_chance_of_a_hybrid_equals_drawing_lots() -> None:
    # Two categories of three and one of four; five of ten treated: enumerate all 252 ways.
    code = pd.Series(list("aaabbbcccc"))
    ways = [np.isin(np.arange(10), chosen) for chosen in combinations(range(10), 5)]
    same = np.mean([w[:3].all() or not w[:3].any() for w in ways])
    size, total = np.array([[3]]), np.array([[5, 5]])
    chance = np.exp(_log_choices(total, size) - _log_choices(np.array(10), size)).sum()
    assert chance == pytest.approx(same, rel=1e-12)
    assert level(np.where(ways[0], 0, -1), code) == "merchant"


def test_the_ways_out_of_a_hybrid_lead_somewhere() -> None:
    # Merchants inside three of twelve categories: compare inside them, or judge the categories as a whole.
    rng = np.random.default_rng(5)
    category = np.repeat(np.arange(12), 30)
    supported = (category < 3) & (rng.random(360) < 0.4)
    y = rng.normal(size=(360, 8))
    hybrid = Panel.from_matrix(y, treated_from=np.where(supported, 5, 0), category=category)
    with pytest.raises(DesignError, match=r"within_categories, or with panel\.within"):
        did.group_time(hybrid)
    inside, within = did.within_categories(hybrid), did.group_time(hybrid.within([0, 1, 2]))
    assert inside.clusters[0] == within.clusters[0] == supported.sum()
    assert np.isfinite(inside.std_error).all()
    whole = Panel.from_matrix(y, treated_from=np.where(category < 3, 5, 0), category=category)
    assert did.pilot_contrast(whole).clusters == (3, 9)


def test_the_table_of_starts_counts_every_unit() -> None:
    category = pd.Series(["a", None, "a", "b", None])
    table = starts_by_category(np.array([1, -1, -1, 0, 1]), category)
    assert table.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]  # a, b, and those without a category


def old_support(each: int) -> Panel:
    """Whole categories start in period 5, and `each` merchants of every category have had support all along."""
    rng = np.random.default_rng(0)
    category, place = np.repeat(np.arange(8), 40), np.tile(np.arange(40), 8)
    start = np.where(place < each, 1.0, np.where(category < 4, 5.0, np.inf))
    return Panel.from_matrix(rng.normal(size=(320, 8)), treated_from=start, category=category)


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("estimator", ["group_time", "sun_abraham", "saturated", "imputation", "stacked", "two_way",
                                       "two_way_event_study", "bacon", "triple_difference"])  # fmt: skip
def test_merchants_supported_all_along_do_not_switch_the_guard_off(estimator: str, each: int) -> None:
    """They make the panel one of merchants, and are left out before anything is compared; the rest are whole categories."""
    panel = old_support(each)
    assert panel.assigned_at == "merchant"
    given = (np.arange(320) % 2 == 0,) if estimator == "triple_difference" else ()
    ask = getattr(did, estimator)
    with pytest.raises(DesignError, match="assigned at category level"):
        ask(panel, *given)
    assert np.isfinite(ask(panel, *given, inference="none").estimate).all()


@pytest.mark.parametrize(("last", "refused"), [(1, True), (9, True), (10, False)])
def test_the_last_cohort_stands_for_the_never_treated_in_counting_clusters(last: int, refused: bool) -> None:
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(30), 4)
    start = np.where(cluster < last, 6.0, 4.0)
    y = rng.normal(size=(120, 6)) + rng.normal(size=(30, 6))[cluster]
    rows = pd.DataFrame({"i": np.repeat(np.arange(120), 6), "t": np.tile(np.arange(1, 7), 120), "y": y.ravel(),
                         "g": np.repeat(start, 6), "c": np.repeat(cluster, 6)})  # fmt: skip
    panel = Panel.from_frame(rows, unit="i", period="t", outcome="y", treated_from="g", cluster="c")
    if not refused:
        assert did.group_time(panel, control="not_yet").average[1] > 0
        return
    with pytest.raises(
        DesignError, match=f"at least 10 clusters on each side, but {30 - last} are treated and {last} are not"
    ):
        did.group_time(panel, control="not_yet")
