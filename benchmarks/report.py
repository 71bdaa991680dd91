"""The weekly report against an empty notebook with the same imports, and a whole week; each way a fresh process, in turns.

The empty notebook goes through the commands `papermill` and `jupyter nbconvert`, as it would without this kit. Start-up caches
(bytecode, the browser bundle) are made by a first round that does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import measure
import nbformat
from nbformat.v4 import new_code_cell, new_notebook

LIMITS = measure.Limits(slow=300, seconds=600)
DEMO = ["data/demo", "--seed", "7", "--merchants", "3000", "--weeks", "78"]
IMPORTS = """import strategy_kit as sk
from strategy_kit.report import Audience, weekly
import altair, duckdb, pandas, scipy.optimize"""
SHARES = ("start_up", "data", "estimation", "export")
PROGRAMS = Path(sys.executable).parent
KIT = str(PROGRAMS / "strategy-kit")
WAYS = ("empty notebook", "weekly_report", "five notebooks", "the week as planned")


def commands(way: str, data: str) -> list[list[str]]:
    """Return the commands of a way, in order."""
    given = ["--data", data, "--out", "reports"]
    return {
        "empty notebook": [
            [str(PROGRAMS / "papermill"), "empty.ipynb", "ran.ipynb", "-k", "python3"],
            [str(PROGRAMS / "jupyter"), "nbconvert", "--to", "html", "--no-input", "ran.ipynb"],
        ],
        "weekly_report": [[KIT, "run", "weekly_report", *given]],
        "five notebooks": [[KIT, "weekly", *given, "-p", "language=en"]],
        "the week as planned": [[KIT, "weekly", *given]],
    }[way]


def ask(way: str, data: str, folder: str) -> None:
    """Run the commands of a way; tell its cost and, of the weekly report, the seconds by what they went to."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def work() -> None:
        for command in commands(way, data):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)

    cost, _ = measure.timed(work, LIMITS)
    measure.told(cost, shares(Path(folder)) if way == "weekly_report" else None)


def shares(folder: Path) -> dict[str, float]:
    """Return seconds of the weekly report by what they went to, from the last run's run.json."""
    told = json.loads(next((folder / "reports").glob("*/latest/run.json")).read_text(encoding="utf-8"))
    seconds = next(entry["seconds"] for entry in told["notebooks"] if entry["page"] == "weekly_report.html")
    return {name: seconds[name] for name in SHARES}


def demo(data: Path) -> Path:
    """Return the folder of a data set; the demo market is made where it is absent."""
    if not data.exists():
        subprocess.run([KIT, "simulate", *DEMO], cwd=measure.HERE.parent, check=True)
    return data.resolve()


def main() -> None:
    """Time every way after a round that does not count, and record, with the shares of the weekly report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", default=measure.HERE.parent / "data" / "demo")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    given = parser.parse_args()
    data = demo(given.data)
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(new_notebook(cells=[new_code_cell(IMPORTS)]), Path(folder) / "empty.ipynb")
        words = [sys.executable, __file__, "--ask"]
        asks = {way: partial(measure.run, [*words, way, str(data), folder], LIMITS) for way in given.ways}
        for first in asks.values():
            first()
        found = measure.in_turns(asks, LIMITS)
    rows = [measure.row("report", 1, way, one, "") for way, one in found.items()]
    for share in SHARES if "each" in found.get("weekly_report", {}) else ():
        middle = statistics.median(each[share] for each in found["weekly_report"]["each"])
        rows.append(measure.row("share of weekly_report", 1, share, {"wall": middle}, ""))
    for one in rows:
        measure.show(one)
    measure.record("report", rows, data=data.name)


if __name__ == "__main__":
    words = measure.asked()
    main() if words is None else ask(*words)
