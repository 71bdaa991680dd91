"""A market too large to be drawn at once is drawn week after week: same truth, same counts, memory for one block."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import strategy_kit as sk
from strategy_kit.errors import ParameterError
from strategy_kit.simulate import World, orders, simulate

if TYPE_CHECKING:
    from pathlib import Path

SIZE = {"seed": 11, "merchants": 400, "weeks": 26}
KEYS = ["order_id", "line_id"]


def in_blocks(patch: pytest.MonkeyPatch, size: int) -> None:
    patch.setattr(orders, "WHOLE", size)
    patch.setattr(orders, "BLOCK", size)
    patch.setattr("strategy_kit.simulate.WHOLE", size)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("whole") / "market", **SIZE)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        in_blocks(patch, 5_000)
        return simulate(tmp_path_factory.mktemp("blocks") / "market", **SIZE)


def lines_of(folder: Path) -> pd.DataFrame:
    lines = pd.read_parquet(folder / "order_lines.parquet")
    return lines.assign(week=lines["paid_at"].dt.to_period("W-SUN").dt.start_time, amount=lines["amount"].astype(float))


def test_blocks_hold_the_same_market(whole: Path, blocks: Path) -> None:
    for name in (path.name for path in whole.iterdir() if path.name not in ("order_lines.parquet", "truth.json")):
        assert (whole / name).read_bytes() == (blocks / name).read_bytes()
    told, again = (json.loads((folder / "truth.json").read_text()) for folder in (whole, blocks))
    assert told.pop("counts")["orders"] == again.pop("counts")["orders"]
    assert told == again
    one, many = lines_of(whole), lines_of(blocks)
    by = ["merchant_id", "week"]
    pd.testing.assert_series_equal(*(lines.drop_duplicates("order_id").groupby(by).size() for lines in (one, many)))
    assert pq.ParquetFile(blocks / "order_lines.parquet").num_row_groups > 1


def test_blocks_join_without_a_seam(blocks: Path) -> None:
    many = lines_of(blocks)
    assert not many.duplicated(KEYS).any()
    assert many["paid_at"].is_monotonic_increasing
    number = many["order_id"].str[1:].astype(int).drop_duplicates()
    assert number.tolist() == list(range(1, len(number) + 1))
    counts = json.loads((blocks / "truth.json").read_text())["counts"]
    assert counts == {"order_lines": len(many), "orders": len(number), "buyers": many["buyer_id"].nunique()}
    sk.open_dataset(blocks).require_valid()


def test_blocks_are_drawn_by_the_same_laws(whole: Path, blocks: Path) -> None:
    """What is drawn by line agrees within four standard errors; regulars come back across blocks."""
    one, many = lines_of(whole), lines_of(blocks)
    for share in (
        lambda x: x["status"] == "refunded",
        lambda x: x["platform_subsidy"] > 0,
        lambda x: x["quantity"] > 1,
    ):
        p, q = share(one).mean(), share(many).mean()
        assert abs(p - q) < 4 * np.sqrt(2 * p * (1 - p) / len(one))
    assert np.log(many["amount"].sum() / one["amount"].sum()) == pytest.approx(0, abs=0.03)
    pairs = [lines.groupby(["buyer_id", "merchant_id"])["week"].nunique().gt(1).mean() for lines in (one, many)]
    assert pairs[1] == pytest.approx(pairs[0], rel=0.1)


def test_same_numbers_same_bytes_in_blocks(tmp_path: Path, blocks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch, 5_000)
    again = simulate(tmp_path / "market", **SIZE)
    for path in blocks.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_a_block_as_large_as_the_market_is_the_market(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "WHOLE", 0)
    again = simulate(tmp_path / "market", **SIZE)
    assert (again / "order_lines.parquet").read_bytes() == (whole / "order_lines.parquet").read_bytes()


def test_knobs_are_refused_where_orders_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch, 20_000)
    with pytest.raises(ParameterError, match=r"up to 20,000, and this one has [\d,]+; take at most 200 merchants"):
        simulate(tmp_path / "market", **SIZE, world=World(exits=1))
    assert list(tmp_path.iterdir()) == []
    simulate(tmp_path / "market", **SIZE | {"merchants": 200}, world=World(exits=1))


PEAK = """
import re, sys
from strategy_kit.simulate import orders, simulate
orders.WHOLE = orders.BLOCK = int(sys.argv[2])
simulate(sys.argv[1], merchants=1500, weeks=78)
print(int(re.findall(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[0]) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a program is in /proc")
def test_memory_is_for_a_block(tmp_path: Path) -> None:
    """0.4 million lines at once take about 130 MB more than in blocks of a thirtieth."""
    peaks = []
    for size in (10**9, 10_000):
        command = [sys.executable, "-c", PEAK, str(tmp_path / f"market{size}"), str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    assert peaks[1] < peaks[0] - 80
