"""The page on benchmarks is what the measurements make, and what fails or costs too much is told as such."""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are measured through /proc")


@pytest.fixture(scope="module")
def benchmarks(root: Path) -> Iterator[Path]:
    folder = root / "benchmarks"
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture
def measure(benchmarks: Path) -> ModuleType:
    assert benchmarks.exists()
    return importlib.import_module("measure")


@pytest.fixture
def page(benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    assert benchmarks.exists()
    module = importlib.import_module("page")
    monkeypatch.setattr(module, "DOCS", tmp_path)
    return module


def test_the_page_is_what_the_measurements_make(root: Path, page: ModuleType, tmp_path: Path) -> None:
    written = (root / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page.page() == written, "run `make bench PART=page`"
    for name in re.findall(r"\]\((benchmarks/\w+\.svg)\)", written):
        # glyphs lie where this machine's fonts put them; marks and words are those of the measurements
        made, kept = ((folder / name).read_text(encoding="utf-8") for folder in (tmp_path, root / "docs"))
        assert re.findall(r">([^<>]+)</text>", made) == re.findall(r">([^<>]+)</text>", kept)


def test_make_runs_every_part_that_the_page_shows(root: Path, page: ModuleType) -> None:
    parts = re.findall(r"\$\(or \$\(PART\),([^)]*)\)", (root / "Makefile").read_text(encoding="utf-8"))[0].split()
    assert set(parts) == set(page.PARTS)
    assert all((root / "benchmarks" / f"{part}.py").exists() for part in parts)


def test_a_part_without_measurements_says_so(page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    assert page.page().count("Not measured yet") == len(page.PARTS)


def test_a_cluster_wins_where_the_arithmetic_says_so(page: ModuleType) -> None:
    rows = page.pd.DataFrame({"size": [1e6, 2e6, 4e6], "wall": [3.0, 4.0, 6.0]})
    assert page.line_through(rows) == pytest.approx((2.0, 1e-6))
    assert page.breaks_even((1.0, 1e-6), (6.0, 4e-6), 8) == "10 million"  # 1 + n = 6 + 4n / 8, n in millions
    assert page.breaks_even((1.0, 1e-6), (6.0, 4e-6), 4) == "never"


@linux
def test_the_cost_of_an_answer_counts_its_children(measure: ModuleType) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    work = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    cost, found = measure.timed(lambda: exec(work) or 7, measure.Limits())  # noqa: S102
    assert found == 7
    assert cost["cpu"] >= 0.25  # in ticks of a hundredth of a second
    assert cost["peak"] > 0


@linux
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise ValueError('no such estimator')", "failed: ValueError: no such estimator"),
        ("import sys; sys.exit(3)", "failed: exit 3"),
        (
            "import measure; measure.timed(lambda: [0 for _ in iter(int, 1)], measure.Limits(seconds=0.2))",
            "over 0.2 s of CPU",
        ),
        ("import time; a = bytearray(400_000_000); time.sleep(20)", "over 0.2 GiB"),
    ],
)
def test_what_fails_or_costs_too_much_is_told(measure: ModuleType, benchmarks: Path, code: str, told: str) -> None:
    limits = measure.Limits(seconds=0.2, gigabytes=0.2)
    call = [sys.executable, "-c", code]
    assert measure.run(call, limits, {"PYTHONPATH": str(benchmarks)}) == {"failed": told}


@linux
def test_ways_take_turns_and_the_slow_is_asked_once(measure: ModuleType) -> None:
    order: list[str] = []

    def asking(way: str, seconds: float) -> measure.Answer:
        order.append(way)
        return {"wall": seconds, "cpu": seconds + len(order) / 10, "answer": len(order)}

    asks = {"fast": lambda: asking("fast", 1.0), "slow": lambda: asking("slow", 9.0), "lost": lambda: {"failed": "no"}}
    found = measure.in_turns(asks, measure.Limits(rounds=3, slow=5.0))
    assert order == ["fast", "slow", "fast", "fast"]
    assert (found["fast"]["cpu"], found["fast"]["rounds"], found["slow"]["rounds"]) == (1.3, 3, 1)
    assert found["lost"] == {"failed": "no"}


@linux
def test_what_is_measured_again_takes_the_place_of_what_was(
    measure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(measure, "HERE", tmp_path / "benchmarks")
    costs = {"wall": 1.0, "cpu": 1.0, "rounds": 3}
    measure.record("x", [measure.row("a", size, "kit", costs, "equal") for size in (1, 2)])
    measure.record("x", [measure.row("a", 2, "kit", {**costs, "cpu": 5.0}, "equal")], threads=1)

    def read() -> dict[str, list[dict[str, object]]]:
        return json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))

    told = read()
    assert [(row["size"], row["cpu"]) for row in told["rows"]] == [(1, 1.0), (2, 5.0)]
    assert [machine["threads"] for machine in told["machines"]] == [1]
    elsewhere = {**measure.machine(), "processor": "another"}
    monkeypatch.setattr(measure, "machine", lambda: elsewhere)
    measure.record("x", [measure.row("b", 1, "kit", costs, "equal")])
    assert [machine["processor"] == "another" for machine in read()["machines"]] == [False, True]
    measure.record("x", [measure.row("a", 1, "kit", costs, "equal")])
    told = read()
    assert [(row["case"], row["size"], row["processor"]) for row in told["rows"]] == [
        ("b", 1, "another"),
        ("a", 1, "another"),
    ]
    assert [machine["processor"] for machine in told["machines"]] == ["another"]
