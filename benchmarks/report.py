"""The weekly report against an empty notebook with the same imports, and a whole week; each way a fresh process, in turns.

The empty notebook goes through the commands `papermill` and `jupyter nbconvert`, as it would without this kit. Start-up caches
(bytecode, the browser bundle) are made by a first round that does not count.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

ROUNDS = 3
ROOT = Path(__file__).resolve().parents[1]
IMPORTS = """import strategy_kit as sk
from strategy_kit.report import Audience, weekly
import altair, duckdb, pandas, scipy.optimize"""
SHARES = ("start_up", "data", "estimation", "export")


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return wall and CPU seconds, those of its own children included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ways(data: Path, folder: Path) -> dict[str, list[list[str]]]:
    """The commands of each way, in order."""
    programs = Path(sys.executable).parent
    nbformat.write(new_notebook(cells=[new_code_cell(IMPORTS)]), folder / "empty.ipynb")
    kit = [str(programs / "strategy-kit")]
    given = ["--data", str(data), "--out", str(folder / "reports")]
    return {
        "empty notebook": [
            [str(programs / "papermill"), "empty.ipynb", "ran.ipynb", "-k", "python3"],
            [str(programs / "jupyter"), "nbconvert", "--to", "html", "--no-input", "ran.ipynb"],
        ],
        "weekly_report": [[*kit, "run", "weekly_report", *given]],
        "five notebooks": [[*kit, "weekly", *given, "-p", "language=en"]],
        "the week as planned": [[*kit, "weekly", *given]],
    }


def shares(folder: Path) -> dict[str, float]:
    """Seconds of the weekly report by what they went to, from the last run's run.json."""
    told = json.loads(next((folder / "reports").glob("*/latest/run.json")).read_text(encoding="utf-8"))
    seconds = next(entry["seconds"] for entry in told["notebooks"] if entry["page"] == "weekly_report.html")
    return {name: seconds[name] for name in SHARES}


def main() -> None:
    """Time every way, and print medians, ratios to the empty notebook, and the shares of the weekly report."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "data" / "demo").resolve()
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, parts = Path(name), {}
        for turn in range(ROUNDS + 1):
            for way, commands in ways(data, folder).items():
                each = [timed(command, folder) for command in commands]
                if turn:
                    found.setdefault(way, []).append((sum(w for w, _ in each), sum(c for _, c in each)))
                if turn and way == "weekly_report":
                    parts[turn] = shares(folder)
    medians = {way: [statistics.median(column) for column in zip(*times, strict=True)] for way, times in found.items()}
    print(f"{data.name}, {os.cpu_count()} processors, medians of {ROUNDS} rounds")
    print(f"{'':22}{'wall, s':>10}{'CPU, s':>10}{'ratio of wall':>16}")
    for way, (wall, cpu) in medians.items():
        print(f"{way:22}{wall:10.1f}{cpu:10.1f}{wall / medians['empty notebook'][0]:16.2f}")
    each = {share: statistics.median(part[share] for part in parts.values()) for share in SHARES}
    print("weekly_report by share: " + ", ".join(f"{share} {seconds:.1f} s" for share, seconds in each.items()))


if __name__ == "__main__":
    main()
