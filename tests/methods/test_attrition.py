"""The roster of day 0 and Lee's bounds: by hand, against slow twins and Lee's formulas, and on simulated truth."""

from __future__ import annotations

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
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray
NO = np.nan
BOUNDS = ["lower", "upper"]
ERRORS = ["lower_error", "upper_error"]
steady = settings(deadline=None, derandomize=True, database=None, max_examples=25)


def by_hand() -> Panel:
    """Two weeks before the start and three after it."""
    y = [
        [2.0, 2.0, 4.0, 4.0, 4.0],  # supported, stays: +2
        [2.0, 2.0, 3.0, 0.0, 3.0],  # a silent week is no exit: 0
        [1.0, 1.0, 3.0, 0.0, NO],  # leaves after one week, once as zero and once as missing: 0
        [NO, 3.0, 3.0, 3.0, 3.0],  # not supported, opened in the second week: 0
        [1.0, 1.0, 2.0, 2.0, 2.0],  # +1
        [2.0, 0.0, 0.0, 0.0, 0.0],  # leaves before the start: -1
        [0.0, 0.0, 9.0, 9.0, 9.0],  # nothing before the start: not on the roster
    ]
    return Panel.from_matrix(np.array(y), treated_from=[3, 3, 3, 0, 0, 0, 0])


def test_the_roster_by_hand() -> None:
    result = did.attrition(by_hand())
    # the roster: 2, 0, 0 against 0, 1, -1; survivors: 2, 0 against 0, 1
    assert result.estimate == pytest.approx([2 / 3, 0.5])
    assert result.n_units.tolist() == [3, 2]
    assert result.clusters == (3, 3)
    assert "merchants without a sale before the start, not on the roster: 1" in result.notes
    exits = result.details["exits"]
    assert exits.to_numpy().tolist() == [["supported", 3, 1, 1 / 3], ["unsupported", 3, 1, 1 / 3]]
    survival = result.details["survival"]
    assert survival["age"].tolist() == [0, 1, 2] * 2
    assert survival["value"].tolist() == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert result.details["staying"]["estimate"].tolist() == [0.0]


def test_survival_has_wilson_intervals() -> None:
    from statsmodels.stats.proportion import proportion_confint

    survival = did.attrition(by_hand()).details["survival"]
    low, high = proportion_confint([3, 2, 2, 2, 2, 2], 3, method="wilson")
    assert survival["low"].tolist() == pytest.approx(list(low), abs=1e-12)
    assert survival["high"].tolist() == pytest.approx(list(high), abs=1e-12)


def test_survival_of_all_has_an_interval_below_it() -> None:
    survival = did.attrition(sample(3)).details["survival"]
    assert survival["value"].iloc[0] == pytest.approx(1)
    assert survival["low"].iloc[0] == pytest.approx(1 / (1 + stats.norm.ppf(0.975) ** 2 / 60))


def test_two_silent_weeks_at_the_end_may_be_asked_for() -> None:
    y = np.array([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]])
    panel = Panel.from_matrix(y, treated_from=[2, 2, 2, 0, 0])
    assert did.attrition(panel, silent=2).details["exits"]["exits"].tolist() == [1, 0]
    assert did.attrition(panel, silent=3).details["exits"]["exits"].tolist() == [0, 0]


def sample(seed: int, units: int = 120, *, ties: bool = False, first: int | None = None) -> Panel:
    """Of the first units, by default half, 15 % leave, and of the others 40 %."""
    random = np.random.default_rng(seed)
    y = random.lognormal(size=(units, 6))
    if ties:
        y = np.ceil(y)
    treated = np.arange(units) < (first or units // 2)
    leaves = random.random(units) < np.where(treated, 0.15, 0.4)
    y[leaves, random.integers(3, 6)] = 0
    y[leaves, -1] = NO
    return Panel.from_matrix(y, treated_from=np.where(treated, 4, 0))


def slow_bounds(panel: Panel) -> tuple[float, float]:
    """Copy every survivor of the fuller side until the share to trim is a whole number of copies, then cut and average."""
    y, treated = np.nan_to_num(panel.outcome), panel.cohort >= 0
    change, stay = y[:, 3:].mean(axis=1) - y[:, :3].mean(axis=1), y[:, -1] > 0
    n1, n0 = int(treated.sum()), int((~treated).sum())
    s1, s0 = int((treated & stay).sum()), int((~treated & stay).sum())
    if s1 * n0 < s0 * n1:
        lower, upper = slow_bounds(replace(panel, cohort=np.where(treated, -1, 0)))
        return -upper, -lower
    keep = s0 * n1  # of s1 * n0 copies
    copies = np.repeat(np.sort(change[treated & stay]), n0)
    rest = change[~treated & stay].mean()
    return float(copies[:keep].mean() - rest), float(copies[len(copies) - keep :].mean() - rest)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_bounds_equal_a_slow_twin(ties: bool, swapped: bool) -> None:
    for seed in range(5):
        panel = sample(seed, ties=ties)
        if swapped:
            panel = replace(panel, cohort=np.where(panel.cohort >= 0, -1, 0))
        row = did.lee_bounds(panel).iloc[0]
        assert row[BOUNDS].tolist() == pytest.approx(slow_bounds(panel), rel=1e-9)
        assert row["trimmed"] == ("unsupported" if swapped else "supported")
        assert row["lower"] <= row["upper"]


def test_errors_are_those_of_lee() -> None:
    """Lee (2009), proposition 3, for the side that is trimmed at the top and at the bottom, plus the other's mean."""
    panel = sample(1, 400, first=190)
    row = did.lee_bounds(panel, outcome="level").iloc[0]
    y, treated = np.nan_to_num(panel.outcome), panel.cohort >= 0
    level, stay = y[:, 3:].mean(axis=1), y[:, -1] > 0
    units, half = len(y), treated.mean()
    q1, q0 = stay[treated].mean(), stay[~treated].mean()
    p = 1 - q0 / q1
    own, rest = np.sort(level[treated & stay]), level[~treated & stay]
    both = q1 * half  # share of all units that are treated and stay
    of_p = (1 - p) ** 2 * ((1 - q0 / (1 - p)) / (half * q0 / (1 - p)) + (1 - q0) / ((1 - half) * q0))
    errors = []
    for values in (own, -own[::-1]):
        count = (1 - p) * len(own)
        kept = np.clip(count - np.arange(len(own)), 0, 1)
        mean = kept @ values / count
        edge = values[int(np.ceil(count)) - 1]
        variance = kept @ (values - mean) ** 2 / count
        part = variance / (both * (1 - p)) + (edge - mean) ** 2 * p / (both * (1 - p))
        part += ((edge - mean) / (1 - p)) ** 2 * of_p
        errors.append(np.sqrt((part + rest.var() / (q0 * (1 - half))) / units))
    # the unit at the edge is cut in two, which the formula for a density does not know: 1e-3 of the error
    assert row[ERRORS].tolist() == pytest.approx(errors, rel=3e-3)


def derivative_error(make: Callable[[Panel], Any], panel: Panel) -> Array:
    """Standard errors from what a small change of each unit's weight does to the estimates."""
    units, step, moved = len(panel.units), 1e-6, []
    for unit in range(units):
        ends = []
        for sign in (1, -1):
            weight = np.ones(units)
            weight[unit] += sign * step
            ends.append(np.asarray(make(replace(panel, weight=weight)), float))
        moved.append((ends[0] - ends[1]) / (2 * step))
    return np.sqrt(np.square(moved).sum(axis=0))


GROUPS = pd.Series(np.arange(1_000) % 2)


@pytest.mark.parametrize(("swapped", "first"), [(False, 30), (True, 28)])
def test_errors_are_derivatives_by_each_weight(swapped: bool, first: int) -> None:
    # with sides of one size whole units are trimmed, and the error is halfway between those by more and by less weight
    panel = sample(2, 60, first=first)
    if swapped:
        panel = replace(panel, cohort=np.where(panel.cohort >= 0, -1, 0))
    found = did.lee_bounds(panel, groups=GROUPS)
    slow = derivative_error(lambda p: did.lee_bounds(p, groups=GROUPS)[BOUNDS].to_numpy().ravel(), panel)
    assert found[ERRORS].to_numpy().ravel() == pytest.approx(slow, rel=1e-4)
    roster = did.attrition(panel)
    assert roster.std_error == pytest.approx(derivative_error(lambda p: did.attrition(p).estimate, panel), rel=1e-5)
    staying = roster.details["staying"]["std_error"].iloc[0]
    slow = derivative_error(lambda p: did.attrition(p).details["staying"]["estimate"], panel)
    assert staying == pytest.approx(slow[0], rel=1e-5)


def test_a_weight_of_two_is_two_units_of_one_cluster() -> None:
    panel = sample(3)
    weight = 1.0 + (np.arange(120) % 3 == 0)
    twice = np.repeat(np.arange(120), weight.astype(int))
    two = Panel.from_matrix(panel.outcome[twice], treated_from=np.where(panel.cohort[twice] == 0, 4, 0))
    two, one = replace(two, cluster=twice), replace(panel, weight=weight)
    a = did.lee_bounds(one, groups=GROUPS)[BOUNDS + ERRORS].to_numpy()
    b = did.lee_bounds(two, groups=pd.Series(GROUPS.to_numpy()[twice]))[BOUNDS + ERRORS].to_numpy()
    assert b == pytest.approx(a, rel=1e-9)
    c, d = did.attrition(one), did.attrition(two)
    assert d.tidy()[["estimate", "std_error"]].to_numpy() == pytest.approx(
        c.tidy()[["estimate", "std_error"]].to_numpy(), rel=1e-9
    )
    survival = ["value", "low", "high"]
    assert d.details["survival"][survival].to_numpy() == pytest.approx(
        c.details["survival"][survival].to_numpy(), rel=1e-9
    )


def test_without_a_difference_in_staying_the_bounds_meet() -> None:
    y = np.random.default_rng(4).lognormal(size=(60, 6))
    panel = Panel.from_matrix(y, treated_from=[4] * 20 + [0] * 40)
    row = did.lee_bounds(panel).iloc[0]
    survivors = did.attrition(panel)
    assert row["trimmed"] == "none"
    assert row[BOUNDS].tolist() == pytest.approx([survivors.estimate[1]] * 2)
    # an interval for one number: 1.96 errors on each side
    assert row["conf_high"] - row["upper"] == pytest.approx(stats.norm.ppf(0.975) * row["upper_error"])


def test_far_apart_bounds_have_a_one_sided_interval() -> None:
    row = did.lee_bounds(sample(5, 4_000), level=0.9).iloc[0]
    assert row["upper"] - row["lower"] > 10 * row["upper_error"]
    critical = (row["conf_high"] - row["upper"]) / row["upper_error"]
    assert critical == pytest.approx(stats.norm.ppf(0.9), abs=1e-6)
    narrow = did.lee_bounds(sample(5, 100), level=0.9).iloc[0]
    between = (narrow["lower"] - narrow["conf_low"]) / narrow["lower_error"]
    width = (narrow["upper"] - narrow["lower"]) / narrow[ERRORS].max()
    assert stats.norm.cdf(between + width) - stats.norm.cdf(-between) == pytest.approx(0.9)


EFFECT = 1.0


def strata(random: np.random.Generator, units: int) -> tuple[Panel, pd.Series]:
    """Strong and weak merchants; support adds 1 to all, and keeps those that would have left, who sell little."""
    strong = random.random(units) < 0.5
    always = random.random(units) < np.where(strong, 0.9, 0.5)
    kept = ~always & (random.random(units) < 0.6)
    treated = random.random(units) < 0.5
    y = 10 + random.normal(size=(units, 6))
    y[:, 3:] += EFFECT * treated[:, None] + np.where(kept, -2.0, 0.0)[:, None] + 0.5 * strong[:, None]
    y[~(always | (kept & treated)), 4:] = 0
    return Panel.from_matrix(np.maximum(y, 0), treated_from=np.where(treated, 4, 0)), pd.Series(strong)


def test_bounds_hold_the_truth_where_survivors_do_not() -> None:
    random, draws, rows, survivors = np.random.default_rng(6), 200, [], []
    for _ in range(draws):
        panel, strong = strata(random, 600)
        rows.append(did.lee_bounds(panel, groups=strong).set_index("sample").loc[["all", "tightened"]])
        survivors.append(did.attrition(panel).estimate[1])
    assert np.mean(survivors) < EFFECT - 0.3
    for name in ("all", "tightened"):
        table = pd.DataFrame([row.loc[name] for row in rows])
        covered = int(((table["conf_low"] <= EFFECT) & (table["conf_high"] >= EFFECT)).sum())
        # those kept by support sell least, so the truth is close to the upper end: 99.9 % of a binomial at 95 %
        assert covered >= stats.binom.ppf(0.0005, draws, 0.95)
        assert table["lower"].mean() < EFFECT < table["upper"].mean()
    width = [[row.loc[name, "upper"] - row.loc[name, "lower"] for name in ("all", "tightened")] for row in rows]
    assert np.mean(width, axis=0)[1] < np.mean(width, axis=0)[0]


def test_the_interval_covers_a_truth_at_a_bound() -> None:
    """Those kept by support are the best of the supported, so that the lower bound is the truth."""
    random, draws, covered = np.random.default_rng(7), 300, 0
    for _ in range(draws):
        y = 50 + random.normal(size=(500, 2))
        treated, kept = random.random(500) < 0.5, random.random(500) < 0.3
        y[kept, 1] += 20
        y[kept & ~treated, 1] = 0
        row = did.lee_bounds(Panel.from_matrix(y, treated_from=np.where(treated, 2, 0))).iloc[0]
        covered += int(row["conf_low"] <= 0 <= row["conf_high"])
    # 99.9 % of a binomial at 95 %, one point lower because errors divide by n
    assert stats.binom.ppf(0.0005, draws, 0.94) <= covered <= stats.binom.ppf(0.9995, draws, 0.95)


@steady
@given(st.integers(0, 1_000), st.floats(0.1, 50))
def test_order_and_scale_change_nothing_else(seed: int, factor: float) -> None:
    panel = sample(seed, ties=True)
    order = np.random.default_rng(seed).permutation(120)
    mixed = Panel.from_matrix(panel.outcome[order] * factor, treated_from=np.where(panel.cohort[order] == 0, 4, 0))
    a, b = did.lee_bounds(panel, groups=GROUPS), did.lee_bounds(mixed, groups=pd.Series(GROUPS.to_numpy()[order]))
    columns = BOUNDS + ERRORS
    assert b[columns].to_numpy() == pytest.approx(factor * a[columns].to_numpy(), rel=1e-9)
    assert b["trimmed_share"].tolist() == pytest.approx(a["trimmed_share"].tolist())
    assert did.attrition(mixed).estimate == pytest.approx(factor * did.attrition(panel).estimate)


def test_tightened_bounds_by_hand() -> None:
    """Group a: 3 of 4 supported and 2 of 4 others stay; group b: all stay."""
    supported = {"a": [3.0, 5.0, 7.0, 0.0], "b": [4.0, 6.0]}
    others = {"a": [2.0, 4.0, 0.0, 0.0], "b": [5.0, 1.0]}
    after = [*supported["a"], *supported["b"], *others["a"], *others["b"]]
    y = np.column_stack([np.ones(12), after])
    panel = Panel.from_matrix(y, treated_from=[2] * 6 + [0] * 6)
    frame = did.lee_bounds(panel, outcome="level", groups=pd.Series(list("aaaabb" * 2)))
    # a: a third is trimmed, 3, 5 or 5, 7 less 3; b: 5 less 3; two of four supported of a and both of b stay either way
    assert frame[BOUNDS].iloc[1:].to_numpy().tolist() == pytest.approx(np.array([[1, 3], [2, 2], [1.5, 2.5]]))
    assert frame["trimmed"].tolist() == ["supported", "supported", "none", "supported"]
    assert frame["trimmed_share"].tolist() == pytest.approx([1 / 5, 1 / 3, 0, 1 / 6])
    assert frame[["n_units", "n_comparison", "n_survivors", "n_comparison_survivors"]].iloc[1].tolist() == [4, 4, 3, 2]
    # whole: four of five, the last one in full: 3, 4, 5, 6 or 4, 5, 6, 7 less 3
    assert frame[BOUNDS].iloc[0].tolist() == pytest.approx([1.5, 2.5])


def edited(change: Callable[[Array], None], seed: int = 8) -> Panel:
    panel = sample(seed)
    y = panel.outcome.copy()
    change(y)
    return replace(panel, outcome=y)


def negative(y: Array) -> None:
    y[0, 0] = -1


def gap(y: Array) -> None:
    y[:2, 1] = NO


def closed(y: Array) -> None:
    y[60:119, 4:] = 0


def never_sold(y: Array) -> None:
    y[60:119] = 0
    negative(y)


CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "negative": (lambda: did.attrition(edited(negative)), DesignError, "1 merchants have an outcome below 0"),
    "gap": (lambda: did.attrition(edited(gap)), DesignError, "2 merchants lack an outcome between sales; write 0"),
    "no survivors": (lambda: did.attrition(edited(closed)), DesignError, "unsupported merchants survive"),
    "roster": (
        lambda: did.attrition(edited(never_sold)),
        DesignError,
        "breaks 2 laws.*below 0.*the roster has 1 unsupported merchants",
    ),
    "silent": (lambda: did.attrition(sample(1), silent=0), ParameterError, "silent is a whole number"),
    "categories": (
        lambda: did.attrition(replace(sample(1), category=pd.Series(list("ab")).repeat(60).reset_index(drop=True))),
        DesignError,
        "pilot_contrast",
    ),
    "words": (
        lambda: did.lee_bounds(sample(1), outcome="growth", level=95),  # type: ignore[arg-type]
        ParameterError,
        "breaks 2 laws.*'change' or 'level', not 'growth'.*level must lie between 0 and 1, not 95",
    ),
    "bounds without survivors": (
        lambda: did.lee_bounds(edited(closed)),
        DesignError,
        "bounds need 2 survivors on each side, but there are [01] unsupported survivors",
    ),
    "groups": (
        lambda: did.lee_bounds(sample(1), groups=pd.Series(["a", *["b"] * 110])),
        DesignError,
        "breaks 2 laws.*9 merchants of the roster have no group.*1 supported survivors in group a",
    ),
    "no groups": (
        lambda: did.lee_bounds(sample(1), groups=pd.Series(["a"], index=["x"])),
        DesignError,
        "no unit of the panel has a group",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals(case: str) -> None:
    make, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        make()
