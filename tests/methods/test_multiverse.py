"""The multiverse against its own estimators, row by row; what is refused stays in the table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit import did
from strategy_kit.did.multiverse import PARTS
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng
NAMES = [f"c{j}" for j in range(8)]
FOUND = ["estimate", "conf_low", "conf_high", "p_value"]


def pilot(seed: int = 1, periods: int = 14, start: int = 9, effect: float = 0.0, each: int = 1) -> Panel:
    """Three of eight categories start; `each` merchants in a category."""
    y = RNG(seed).normal(size=(8 * each, periods))
    code = np.repeat(np.arange(8), each)
    y[code < 3, start - 1 :] += effect
    return Panel.from_matrix(y, treated_from=np.where(code < 3, start, 0), category=np.array(NAMES)[code])


def merchants(starts: tuple[float, ...] = (9, 11), periods: int = 14) -> Panel:
    start = np.repeat([*starts, np.inf], 20)
    return Panel.from_matrix(RNG(2).normal(size=(len(start), periods)) / 5, treated_from=start)


def one(rows: pd.DataFrame, **parts: str) -> pd.Series[Any]:
    held = rows[(rows[list(parts)] == pd.Series(parts)).all(axis=1)]
    assert len(held) == 1, parts
    return held.iloc[0]


def cut(panel: Panel, columns: list[int]) -> Panel:
    return replace(panel, outcome=panel.outcome[:, columns], periods=panel.periods[columns])


BEFORE = {
    "all_before": range(8), "last_3": range(5, 8), "without_last_3": range(5), "symmetric": range(2, 8),
}  # fmt: skip


@pytest.mark.parametrize("base_window", BEFORE)
@pytest.mark.parametrize("each", [1, 4])
def test_category_rows_are_what_their_estimators_say(base_window: str, each: int) -> None:
    panel = pilot(each=each)
    rows = did.multiverse(panel, windows=[3])
    short = cut(panel, [*BEFORE[base_window], *range(8, 14)])
    for left_out in ("none", "c0", "c5"):
        held = did.pilot_contrast(short.only((panel.category != left_out).to_numpy()))
        wanted = held.tidy().set_index("method")
        for method in ("welch", "pooled"):
            row = one(rows, estimator=method, base_window=base_window, left_out=left_out)
            assert row[FOUND].tolist() == pytest.approx(wanted.loc[method, FOUND].tolist(), rel=1e-9)
            assert (row["clusters_treated"], row["clusters_comparison"]) == held.clusters
    for name in ("synthetic", "synthetic_control"):
        wanted = getattr(did, name)(short).glance().iloc[0]
        assert one(rows, estimator=name, base_window=base_window)[FOUND].tolist() == wanted[FOUND].tolist()


def test_every_combination_is_a_row_and_none_is_dropped() -> None:
    rows = did.multiverse(pilot(), windows=[3, 8, 9])
    # two methods, eight base windows, with all groups and without each; two more on all groups
    assert len(rows) == 2 * 8 * 9 + 2 * 8
    assert rows["specification"].tolist() == list(range(1, len(rows) + 1))
    assert not rows.duplicated(list(PARTS)).any()
    empty = rows["missing_because"] != ""
    assert (rows["estimate"].isna() == empty).all()
    welch = rows[(rows["estimator"] == "welch") & (rows["left_out"] == "none")].set_index("base_window")
    assert welch.loc["last_8", "missing_because"] == "the same periods as specification 1"
    assert welch.loc["last_9", "missing_because"] == "last_9 asks for more than the 8 periods before the first start"
    assert welch.loc["without_last_8", "missing_because"].startswith("without_last_8 asks for more")
    two = pilot()
    two = two.only(np.arange(8) != 2)
    lone = did.multiverse(two, windows=[3]).query("left_out == 'c0'")
    assert lone["missing_because"].str.contains("at least two groups on each side, but 1 are treated").any()
    assert lone["estimate"].isna().all()


@pytest.mark.parametrize("control", ["never", "not_yet"])
def test_group_time_rows_take_each_cohorts_own_past(control: Any) -> None:
    panel = merchants()
    rows = did.multiverse(panel, windows=[4, 3])
    shown = {w: one(rows, estimator="group_time", control=control, base_window=w) for w in ("last_1", "last_4")}
    plain = did.overall(did.group_time(panel, control=control)).glance().iloc[0]
    assert shown["last_1"][FOUND].tolist() == plain[FOUND].tolist()
    bases = did.base_periods(panel, control=control).query("window == 4").iloc[0]
    assert shown["last_4"]["estimate"] == bases["estimate"]
    half = (shown["last_4"]["conf_high"] - shown["last_4"]["conf_low"]) / 2
    assert half == pytest.approx(1.959963984540054 * bases["std_error"], rel=1e-12)
    early = did.overall(did.group_time(panel, control=control, anticipation=3)).glance().iloc[0]
    found = one(rows, estimator="group_time", control=control, base_window="without_last_3")
    assert found[FOUND].tolist() == early[FOUND].tolist()
    too_far = did.multiverse(panel, windows=[8])
    refused = one(too_far, estimator="group_time", control=control, base_window="without_last_8")
    assert refused["missing_because"].startswith("without_last_8 asks for more than the 8 periods")


def test_regressions_run_on_the_panel_cut_to_the_window() -> None:
    panel = merchants()
    rows = did.multiverse(panel, windows=[3])
    short = cut(panel, [*range(5, 8), *range(8, 14)])
    for name, control in (("two_way", "any"), ("imputation", "not_yet"), ("saturated", "not_yet")):
        wanted = getattr(did, name)(short).glance().iloc[0]
        row = one(rows, estimator=name, base_window="last_3", control=control)
        assert row[FOUND].tolist() == wanted[FOUND].tolist()
        left = one(rows, estimator=name, base_window="without_last_3")
        assert left["missing_because"] == "without_last_3 leaves out periods before one start, and there are 2 starts"
    for name in ("sun_abraham", "stacked"):
        wanted = getattr(did, name)(panel).glance().iloc[0]
        assert one(rows, estimator=name, base_window="last_1")[FOUND].tolist() == wanted[FOUND].tolist()


def test_with_one_start_and_nobody_later_regressions_agree() -> None:
    rows = did.multiverse(merchants((9,)), windows=[3])
    for window in ("all_before", "last_3", "without_last_3"):
        held = rows[(rows["base_window"] == window) & rows["estimator"].isin(["two_way", "imputation", "saturated"])]
        assert np.ptp(held["estimate"]) < 1e-12
        if window != "without_last_3":  # there group_time takes one period, not their mean
            mean = one(rows, estimator="group_time", base_window=window, control="never")
            assert mean["estimate"] == pytest.approx(held["estimate"].iloc[0], abs=1e-12)


def test_ratios_of_means_join_only_in_logs() -> None:
    panel = merchants()
    level = did.multiverse(panel, windows=[3])
    ratios = level[level["estimator"].str.startswith("poisson")]
    told = ratios["missing_because"].str.startswith("its effect is a share of the mean")
    assert told.sum() == len(ratios) == 2 * 4
    rows = did.multiverse(panel, windows=[3], logs=True)
    positive = replace(panel, outcome=np.exp(panel.outcome))
    wanted = did.poisson_saturated(positive).glance().iloc[0]
    row = one(rows, estimator="poisson_saturated", base_window="all_before")
    assert row[FOUND[:3]].tolist() == pytest.approx(np.log1p(wanted[FOUND[:3]].astype(float)).tolist(), rel=1e-12)
    assert row["p_value"] == wanted["p_value"]


def test_outcomes_of_one_unit_stand_in_one_table() -> None:
    panel = pilot()
    capped = replace(panel, outcome=np.minimum(panel.outcome, 1.0))
    rows = did.multiverse({"as it is": panel, "capped": capped}, windows=[3])
    assert rows["outcome"].value_counts().tolist() == [len(rows) // 2] * 2
    alone = did.multiverse(capped, windows=[3])
    pd.testing.assert_series_equal(
        rows.query("outcome == 'capped'")["estimate"].reset_index(drop=True), alone["estimate"]
    )
    assert rows["headline"].sum() == 1


def test_the_headline_is_the_one_that_was_declared() -> None:
    rows = did.multiverse(pilot(), windows=[3], headline={"base_window": "last_3", "estimator": "pooled"})
    marked = rows[rows["headline"]]
    assert marked[["estimator", "base_window", "left_out"]].to_numpy().tolist() == [["pooled", "last_3", "none"]]
    assert did.multiverse(pilot(), windows=[3])["headline"].tolist()[0]


@given(st.integers(0, 999), st.floats(0.01, 100), st.booleans())
@settings(deadline=None, derandomize=True, database=None, max_examples=5)
def test_estimates_scale_and_repeat(seed: int, scale: float, each: bool) -> None:
    panel = pilot(seed) if each else replace(merchants(), outcome=RNG(seed).normal(size=(60, 14)))
    rows, again = (did.multiverse(panel, windows=[3]) for _ in range(2))
    pd.testing.assert_frame_equal(rows, again, rtol=0, atol=0)
    larger = did.multiverse(replace(panel, outcome=scale * panel.outcome), windows=[3])
    exact = rows["estimator"] != "synthetic_control"  # a ridge breaks its ties
    sizes = FOUND[:3]
    np.testing.assert_allclose(scale * rows.loc[exact, sizes], larger.loc[exact, sizes], rtol=1e-4, atol=1e-9 * scale)


def test_summary_by_hand() -> None:
    rows = pd.DataFrame(
        {
            "estimate": [2.0, 1.0, -1.0, 3.0, np.nan],
            "conf_low": [1.0, -1.0, -2.0, 2.0, np.nan],
            "conf_high": [3.0, 3.0, -0.5, 4.0, np.nan],
            "headline": [True, False, False, False, False],
        }
    )
    told = did.multiverse_summary(rows).iloc[0]
    assert told.to_dict() == {
        "n_run": 4, "n_missing": 1, "share_same_sign": 0.75, "share_excluding_zero": 0.5, "share_opposite": 0.25,
        "lowest": -1.0, "middle": 1.5, "highest": 3.0, "headline_estimate": 2.0, "headline_rank": 3,
    }  # fmt: skip
    with pytest.raises(DesignError, match="the headline has no estimate"):
        did.multiverse_summary(rows.assign(headline=rows["estimate"].isna()))


def test_a_large_effect_is_found_by_all_and_none_by_few() -> None:
    large, none = (did.multiverse_summary(did.multiverse(pilot(4, effect=e), windows=[3])).iloc[0] for e in (9.0, 0.0))
    assert large["share_same_sign"] == 1
    assert large["share_excluding_zero"] > 0.9
    assert none["share_excluding_zero"] + none["share_opposite"] < 0.5


OTHER = replace(pilot(), units=pd.RangeIndex(1, 9))
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "all at once": (
        lambda: did.multiverse(pilot(), windows=[0], level=2.0, seed=-1),
        ParameterError,
        "breaks 3 laws.*windows.*level.*seed",
    ),
    "part": (
        lambda: did.multiverse(pilot(), headline={"window": "x"}),
        ParameterError,
        "no part 'window'.*mean 'base_window'",
    ),
    "value": (
        lambda: did.multiverse(pilot(), headline={"base_window": "last_7"}),
        ParameterError,
        "base_window is one of all_before, last_4.*not 'last_7'",
    ),
    "apart": (
        lambda: did.multiverse(pilot(), headline={"estimator": "synthetic", "left_out": "c1"}),
        ParameterError,
        "no specification has all of",
    ),
    "others": (lambda: did.multiverse({"a": pilot(), "b": OTHER}), DesignError, "b has other units, periods or starts"),
    "nothing": (
        lambda: did.multiverse(Panel.from_matrix(np.zeros((4, 4)), treated_from=[0, 0, 9, 0])),
        DesignError,
        "nothing starts after the first period",
    ),
    "none given": (lambda: did.multiverse({}), ParameterError, "at least one panel"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()


@pytest.mark.parametrize("starts", [(5, 8, 8), (5, 7, 9)])
def test_without_a_group_windows_are_those_of_the_others(starts: tuple[int, ...]) -> None:
    y, start = RNG(3).normal(size=(9, 12)), np.array([*starts, *[0] * 6])
    rows = did.multiverse(Panel.from_matrix(y, treated_from=start, category=list("abcdefghi")), windows=[2])
    rest = Panel.from_matrix(y[1:], treated_from=start[1:], category=list("bcdefghi"))
    alone = did.multiverse(rest, windows=[2])
    for window in ("all_before", "last_2", "without_last_2", "symmetric"):
        found = one(rows, estimator="welch", left_out="a", base_window=window)
        twin = one(alone, estimator="welch", left_out="none", base_window=window)
        np.testing.assert_allclose(found[FOUND].astype(float), twin[FOUND].astype(float), rtol=1e-12)
    first = one(rows, estimator="welch", left_out="a", base_window="all_before")
    assert first["estimate"] == pytest.approx(did.pilot_contrast(rest).estimate[0])


def test_what_cannot_be_compared_is_told_and_not_found_certain() -> None:
    single = Panel.from_matrix(RNG(3).normal(size=(9, 12)), treated_from=[7] + [0] * 8, category=list("abcdefghi"))
    rows = did.multiverse(single, windows=[2])
    told = rows.loc[rows["left_out"] == "a", "missing_because"]
    assert told.str.contains("no group that starts is left|the same periods").all()
    alike = RNG(0).normal(size=(7, 1)) + np.arange(6.0)
    alike[:3, 4:] += 1
    found = did.multiverse(
        Panel.from_matrix(alike, treated_from=[5] * 3 + [0] * 4, category=list("abcdefg")), windows=[2]
    )
    assert found.loc[found["estimator"].isin(["welch", "pooled"]), "missing_because"].ne("").all()


def test_a_category_may_be_called_none() -> None:
    y = RNG(0).normal(size=(7, 8))
    rows = did.multiverse(
        Panel.from_matrix(y, treated_from=[5] * 3 + [0] * 4, category=["none", *"bcdefg"]), windows=[2]
    )
    welch = rows[(rows["left_out"] == "none") & (rows["estimator"] == "welch") & (rows["base_window"] == "all_before")]
    twin = did.pilot_contrast(Panel.from_matrix(y[1:], treated_from=[5] * 2 + [0] * 4, category=list("bcdefg")))
    assert welch["estimate"].iloc[1] == pytest.approx(twin.estimate[0])
