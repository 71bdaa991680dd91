"""Sums of units' paths, added up in any order and in any batches, are the moments of all units together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit import did
from strategy_kit.engine import sums
from strategy_kit.errors import DesignError
from strategy_kit.moment_panel import MomentPanel, StartSums
from strategy_kit.moments import Moments
from strategy_kit.panel import Panel

STEADY = settings(deadline=None, derandomize=True, database=None, max_examples=60)
PERIODS = pd.DatetimeIndex(pd.date_range("2025-01-06", periods=6, freq="7D", unit="us"))
STARTS = pd.Series(pd.DatetimeIndex(["2025-01-20", "2025-02-03", "2025-03-03", None]).as_unit("us"))


def batches(paths: np.ndarray, start: np.ndarray, category: np.ndarray, size: int) -> list[pa.RecordBatch]:
    """Lay units out as a database sends them: only the periods in which something was sold, in any order."""
    rng = np.random.default_rng(0)
    result = []
    for first in range(0, len(paths), size):
        rows = range(first, min(first + size, len(paths)))
        sold = [
            [{"position": int(t) + 1, "y": float(paths[i, t])} for t in rng.permutation(np.flatnonzero(paths[i]))]
            or [{"position": None, "y": None}]
            for i in rows
        ]
        columns = {
            "start": pa.array(start[list(rows)], pa.int32()),
            "category": pa.array(category[list(rows)], pa.int32()),
            "sold": pa.array(sold, pa.list_(pa.struct([("position", pa.int64()), ("y", pa.float64())]))),
        }
        result.append(pa.RecordBatch.from_pydict(columns))
    return result


def market(seed: int, units: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    paths = rng.gamma(0.4, 900.0, (units, len(PERIODS))).round(2) * (rng.random((units, len(PERIODS))) > 0.3)
    return paths, rng.integers(0, len(STARTS), units), rng.integers(0, 3, units)


def gathered(parts: list[list[pa.RecordBatch]]) -> tuple[dict[int, sums.Sums], dict[tuple[int, int], sums.Sums]]:
    """Sum up each part by itself, as executors do, then add the parts of one key up."""
    fold = sums.summing(len(PERIODS), logs=False)
    table = pa.Table.from_batches([row for part in parts for row in fold(iter(part))])
    keys = sorted(set(zip(table["start"].to_pylist(), table["category"].to_pylist(), strict=True)))
    frame = pa.table({"start": table["start"], "category": table["category"]}).to_pandas()
    held = [table.take(np.flatnonzero((frame["start"] == s) & (frame["category"] == c))) for s, c in keys]
    return sums.received(pa.concat_tables([sums.combining(each) for each in held]))


def panel_of(paths: np.ndarray, start: np.ndarray, category: np.ndarray, size: int, parts: int) -> MomentPanel:
    laid = batches(paths, start, category, size)
    whole, pairs = gathered([laid[k::parts] for k in range(parts) if laid[k::parts]])
    order = sorted(whole)
    placed = {(order.index(s), "abc"[c]): each for (s, c), each in pairs.items()}
    held = StartSums(STARTS.iloc[order].reset_index(drop=True), [whole[s] for s in order], placed)

    def collect() -> Panel:
        names = np.array(list("abc"))[category]
        return Panel.from_matrix(paths, treated_from=STARTS.iloc[start], periods=PERIODS, category=names, name="gmv")

    def never() -> MomentPanel:
        raise AssertionError

    return MomentPanel(held, PERIODS, "gmv", collect, never)


@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(1, 5))
@STEADY
def test_moments_do_not_depend_on_batches_and_executors(seed: int, size: int, parts: int) -> None:
    paths, start, category = market(seed)
    found = panel_of(paths, start, category, size, parts)
    whole = found.collected()
    assert found.n_units == whole.n_units
    np.testing.assert_array_equal(found.units_by_cohort, whole.units_by_cohort)
    np.testing.assert_array_equal(found.starts_by_category, whole.starts_by_category)
    np.testing.assert_array_equal(found.selling, whole.selling)
    assert (found.scale, found.negative, found.notes) == (whole.scale, whole.negative, whole.notes)
    for name in ("count", "path", "own", "covariance", "level"):
        # a double has sixteen digits, products of paths are of the size of the largest squared
        size_of = max(np.abs(getattr(whole.moments, name)).max(), 1e-300)
        assert np.abs(getattr(found.moments, name) - getattr(whole.moments, name)).max() <= 1e-12 * size_of, name


def test_moments_of_large_levels_keep_their_digits() -> None:
    """What adding up raw squares would lose: a spread of one beside a level of a hundred million."""
    rng = np.random.default_rng(2)
    paths = 1e8 + rng.normal(0, 1, (500, len(PERIODS)))
    start, category = np.repeat([0, 3], 250), np.zeros(500, dtype=int)
    found = panel_of(paths, start, category, 40, 3)
    shifted = panel_of(paths - 1e8 + 1.0, start, category, 40, 3)
    np.testing.assert_allclose(found.moments.covariance, shifted.moments.covariance, atol=1e-6)
    assert isinstance(found.moments, Moments)


def test_estimates_come_from_it_and_late_starts_are_told_apart() -> None:
    paths, start, category = market(4, 400)
    found = panel_of(paths, start, category, 64, 4)
    whole = found.collected()
    ahead = int((whole.late[whole.late > 0]).min())
    for anticipation in (0, ahead):
        ours = did.group_time(whole, control="not_yet", anticipation=anticipation)
        theirs = did.group_time(found, control="not_yet", anticipation=anticipation)
        assert ours.notes == theirs.notes
        pd.testing.assert_frame_equal(ours.tidy(), theirs.tidy(), rtol=1e-7)
    np.testing.assert_array_equal(found.unmoved(ahead).collected().outcome, whole.unmoved(ahead).outcome)


def test_categories_that_start_whole_are_judged_by_their_means() -> None:
    paths, _, category = market(5, 90)
    start = np.array([0, 3, 3])[category]
    found = panel_of(paths, start, category, 7, 3)
    whole = found.collected()
    assert found.assigned_at == whole.assigned_at == "category"
    for ours, theirs in zip(whole.category_means, found.category_means, strict=True):
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(theirs, ours, rtol=1e-13)
        else:
            assert list(ours) == list(theirs)
    with pytest.raises(DesignError, match="pilot_contrast"):
        did.group_time(found)


def test_units_are_refused_by_name_with_the_way_to_them() -> None:
    found = panel_of(*market(6), 9, 2)
    for name in ("outcome", "units", "category"):
        with pytest.raises(DesignError, match=rf"{name} would need them; .* panel\.collected\(\)"):
            getattr(found, name)
    with pytest.raises(DesignError, match=r"a log of zero was refused: 5\d of 60 units"):
        found.logs()
    with pytest.raises(AttributeError):
        found.no_such_name  # noqa: B018
    assert "MomentPanel: 60 units" in repr(found)
    assert found._repr_html_()
