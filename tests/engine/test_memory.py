"""A question stays under the memory limit, spills to a private folder that goes away, and gives the same answer."""

from __future__ import annotations

import datetime as dt
import gc
import subprocess
import sys
from pathlib import Path

import pytest

import strategy_kit as sk
from strategy_kit.cli import main
from strategy_kit.engine.duckdb import MEMORY_LIMIT, THREADS, DuckDBEngine
from strategy_kit.errors import ParameterError

SETTINGS = """select current_setting('memory_limit') as memory, current_setting('temp_directory') as folder,
                     current_setting('threads') as threads"""
# 600,000 groups of long keys, about 130 MB before they are counted
WIDE = """select count(*) as groups, sum(n) as lines, min(key) as first
          from (select key, count(*) as n from (select 'a key too long to lie in its row ' || i % 600000 as key
                                                from range(1200000) as r(i)) group by key)"""


def setting(engine: DuckDBEngine, name: str) -> str:
    return str(engine.frame(SETTINGS)[name][0])


def test_the_limit_is_four_gibibytes_or_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MEMORY_LIMIT, raising=False)
    size, unit = setting(DuckDBEngine(), "memory").split()
    assert (float(size), unit) <= (4.0, "GiB")


@pytest.mark.parametrize(
    ("given", "shown"), [("2GiB", "2.0 GiB"), ("512 mib", "512.0 MiB"), ("1.5GB", "1.3 GiB"), ("", None)]
)
def test_the_environment_sets_the_limit(monkeypatch: pytest.MonkeyPatch, given: str, shown: str | None) -> None:
    monkeypatch.delenv(MEMORY_LIMIT, raising=False)
    shown = shown or setting(DuckDBEngine(), "memory")
    monkeypatch.setenv(MEMORY_LIMIT, given)
    assert setting(DuckDBEngine(), "memory") == shown


@pytest.mark.parametrize(("name", "given"), [(MEMORY_LIMIT, "much"), (MEMORY_LIMIT, "4"), (MEMORY_LIMIT, "0GB"),
                                             (MEMORY_LIMIT, "-1GB"), (THREADS, "many"), (THREADS, "0")])  # fmt: skip
def test_a_bad_value_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, given: str
) -> None:
    monkeypatch.setenv(name, given)
    with pytest.raises(ParameterError, match=f"{name} is .* not '{given}'; correct it, or unset it"):
        sk.open_dataset("data/sample")
    assert main(["check", "data/sample"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_spills_gives_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS, "2")
    expected = DuckDBEngine().frame(WIDE)
    monkeypatch.setenv(MEMORY_LIMIT, "60MB")
    assert DuckDBEngine().frame(WIDE).equals(expected)
    stuck = DuckDBEngine()
    stuck.frame("set max_temp_directory_size = '1KB'")  # it did spill: without a disk it cannot be answered
    with pytest.raises(ParameterError, match=rf"its limit, 57\.2 MiB, .* raise {MEMORY_LIMIT}, or set TMPDIR"):
        stuck.frame(WIDE)


def test_questions_of_a_data_set_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"by": ["merchant_id", "week"], "metrics": ["orders", "buyers"]}
    expected = sk.kpi.table(sk.open_dataset("data/sample"), **asked)
    monkeypatch.setenv(THREADS, "1")
    monkeypatch.setenv(MEMORY_LIMIT, "16MiB")
    assert sk.kpi.table(sk.open_dataset("data/sample"), **asked).equals(expected)


@pytest.mark.parametrize(
    "by", [["category", "month"], ["merchant_id", "week"], ["day"], ["pilot", "quarter"], ["pilot"]]
)
def test_distinct_values_are_counted_stretch_by_stretch(
    sample: Path, monkeypatch: pytest.MonkeyPatch, by: list[str]
) -> None:
    shop, asked = sk.open_dataset(sample), {"by": by, "metrics": ["gmv", "orders", "buyers", "average_order_value"]}
    expected, part = (
        sk.kpi.table(shop, **asked),
        {"since": shop.data_from + dt.timedelta(30), "through": shop.data_through},
    )
    within, queries, frame = sk.kpi.table(shop, **asked, **part), list[str](), shop.engine.frame
    monkeypatch.setattr(shop.engine, "lines_at_once", 15_000 if "merchant_id" in by else 7_500)  # few groups take half
    monkeypatch.setattr(shop.engine, "frame", lambda sql, *values: (queries.append(sql), frame(sql, *values))[1])
    assert sk.kpi.table(shop, **asked).equals(expected)
    assert sum("count(distinct" in sql for sql in queries) == (1 if by == ["pilot"] else 3)
    assert sk.kpi.table(shop, **asked, **part).equals(within)


def test_the_folder_is_private_and_goes_with_the_last_connection() -> None:
    engine = DuckDBEngine()
    engine.add_files("merchants", ["data/sample/merchants.parquet"])
    folder, beside = Path(setting(engine, "folder")), engine.beside()
    assert beside is not None
    assert (folder.stat().st_mode & 0o777, list(folder.iterdir())) == (0o700, [])
    del engine
    gc.collect()
    assert setting(beside, "folder") == str(folder)
    assert folder.is_dir()
    del beside
    gc.collect()
    assert not folder.exists()


def test_the_folder_goes_when_the_process_ends(tmp_path: Path) -> None:
    code = "from strategy_kit.engine import DuckDBEngine; import os; e = DuckDBEngine(); print(os.listdir('.'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
                          env={"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())})  # fmt: skip
    assert "strategy-kit-spill-" in done.stdout
    assert list(tmp_path.iterdir()) == []
