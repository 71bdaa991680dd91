"""What questions cost as order lines grow: each in a process of its own, at the sizes given.

Data are simulated into the folder where they are not there yet. Memory is the peak of the whole process, imports and
opening included (Linux); times begin when the data set is open. Growth is what twice the lines cost, by wall clock and by CPU.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strategy_kit as sk
from strategy_kit.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.dataset import Dataset

LINES_A_MERCHANT = 300  # of a simulated market of 78 weeks
SUMS = ["gmv", "orders", "buyers", "average_order_value"]
ANNUAL = ["annual_active_buyers", "spend_per_annual_active_buyer"]


def joined(shop: Dataset) -> object:
    """Effects by age in the pilot categories, merchants that start later being the comparison."""
    panel = shop.panel(categories=shop.pilot.categories)
    return sk.did.event_study(sk.did.group_time(panel, control="not_yet")).tidy()


QUESTIONS: dict[str, Callable[[Dataset], object]] = {
    "checks": lambda shop: shop.check(),
    "KPIs by category and month": lambda shop: sk.kpi.table(shop, by=["category", "month"], metrics=SUMS),
    "KPIs by merchant and week": lambda shop: sk.kpi.table(shop, by=["merchant_id", "week"], metrics=SUMS),
    "annual buyers by month": lambda shop: sk.kpi.table(shop, by=["month"], metrics=ANNUAL),
    "annual buyers by category and month": lambda shop: sk.kpi.table(shop, by=["category", "month"], metrics=ANNUAL),
    "merchant cohorts": lambda shop: sk.cohort.triangle(shop, unit="merchant"),
    "buyer cohorts": lambda shop: sk.cohort.triangle(shop, unit="buyer"),
    "buyer cohorts, GMV": lambda shop: sk.cohort.triangle(shop, unit="buyer", value="gmv"),
    "weekly panel and moments": lambda shop: shop.panel().moments,
    "pilot contrast": lambda shop: sk.did.pilot_contrast(shop.category_panel().logs()).tidy(),
    "group-time effects": joined,
}


def data(folder: Path, lines: int) -> tuple[Path, int]:
    """Return the folder of about `lines` order lines, simulated where it is not there, and how many there are."""
    here = folder / f"lines{lines // 10**6}"
    if not here.exists():
        simulate(here, merchants=lines // LINES_A_MERCHANT)
    return here, json.loads((here / "truth.json").read_text(encoding="utf-8"))["counts"]["order_lines"]


def answer(question: str, folder: Path) -> dict[str, float]:
    """Ask once, in this process."""
    shop = sk.open_dataset(folder)
    wall, cpu = time.perf_counter(), time.process_time()
    QUESTIONS[question](shop)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # since this program began; what getrusage tells begins with the process that started it
    peak = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))[0]
    return {"wall": wall, "cpu": cpu, "peak": int(peak) / 2**20}


def asked(question: str, folder: Path) -> dict[str, float] | None:
    """Ask once, in a process of its own; None where that failed, of which standard error then tells."""
    command = [sys.executable, __file__, "--ask", question, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    found: dict[str, float] | None = None if done.returncode else json.loads(done.stdout.splitlines()[-1])
    return found


def growth(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Say what twice the lines cost between two sizes."""
    if before is None:
        return ""
    doublings = math.log2(now["lines"] / before["lines"])
    return " / ".join(f"{(now[clock] / before[clock]) ** (1 / doublings):.2f}" for clock in ("wall", "cpu"))


def main() -> None:
    """Print a markdown table, a row a question and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 5_000_000], help="sizes, ascending")
    parser.add_argument("--folder", type=Path, required=True, help="where the data are or go")
    parser.add_argument("--only", action="append", choices=QUESTIONS, help="one question; may be given again")
    parser.add_argument("--ask", choices=QUESTIONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        print(json.dumps(answer(given.ask, given.folder)))
        return
    sets = [data(given.folder, size) for size in given.lines]
    print("| question | million lines | seconds | CPU seconds | peak GiB | twice the lines (wall / CPU) |")
    print("|---|---|---|---|---|---|")
    for question in given.only or QUESTIONS:
        before = None
        for folder, lines in sets:
            found = asked(question, folder)
            row = f"| {question} | {lines / 1e6:.1f} |"
            if found is None:
                print(row, "failed | | | |", flush=True)
                continue
            now = {**found, "lines": lines}
            print(
                row, f"{now['wall']:.1f} | {now['cpu']:.1f} | {now['peak']:.2f} | {growth(now, before)} |", flush=True
            )
            before = now


if __name__ == "__main__":
    main()
