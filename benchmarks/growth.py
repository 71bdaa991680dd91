"""How the kit's own cost grows: order lines through KPIs, cohorts and a panel; merchants, periods and cohorts through estimators.

One dimension grows while the others stand still. Every step is a process of its own; steps are asked in turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import kpi
import measure
import numpy as np

LIMITS = measure.Limits(seconds=600, slow=60, gigabytes=16)
MERCHANTS = 25_000  # of the order lines
STILL = {"merchants": 20_000, "periods": 52, "cohorts": 4}
STEPS = {
    "rows": (2_500_000, 5_000_000, 10_000_000, 20_000_000, 40_000_000),
    "merchants": (25_000, 50_000, 100_000, 200_000, 400_000, 800_000),
    "periods": (26, 52, 104, 208, 416),
    "cohorts": (2, 4, 8, 16, 32),
}
ROWS = ("category by month", "buyer cohorts", "weekly panel and effects")
WORK = dict.fromkeys(STEPS, ("effects", "bands", "imputation", "two_way_event_study")) | {"rows": ROWS}


def effects(panel: Any, work: str = "effects") -> Any:
    """Estimate from the panel's moments, which are formed here."""
    import strategy_kit as sk

    if work in {"imputation", "two_way_event_study"}:
        return getattr(sk.did, work)(panel)
    study = sk.did.event_study(sk.did.group_time(panel, control="not_yet"))
    return study.tidy() if work == "bands" else study


def from_lines(work: str, folder: Path) -> Any:
    """Answer from order lines on disk."""
    import strategy_kit as sk

    if work in kpi.QUESTIONS:
        return kpi.kit(work, folder)
    return effects(sk.open_dataset(folder).panel(outcome="gmv", period="week"))


def matrix(sizes: dict[str, int]) -> Any:
    """Return a panel with half its merchants never treated and starts spread over its periods."""
    import strategy_kit as sk

    draw = np.random.default_rng(20_260)
    n, periods, cohorts = sizes["merchants"], sizes["periods"], sizes["cohorts"]
    starts = np.linspace(periods // 4, periods - 2, cohorts).round()
    treated = np.where(draw.random(n) < 0.5, np.inf, draw.choice(starts, n))
    return sk.Panel.from_matrix(draw.standard_normal((n, periods)), treated_from=treated)


def ask(dimension: str, size: str, work: str, folder: str) -> None:
    """Do one piece of work at one size and print its cost."""
    if dimension == "rows":
        import strategy_kit.did  # noqa: F401

        task = partial(from_lines, work, Path(folder) / size)
        measure.told(measure.timed(task, LIMITS)[0], None)
        return
    panel = matrix(STILL | {dimension: int(size)})
    small = matrix({"merchants": 300, "periods": 12, "cohorts": 2})
    measure.told(measure.timed(partial(effects, panel, work), LIMITS, warm=partial(effects, small, work))[0], None)


def grown(dimension: str, sizes: tuple[int, ...], folder: str) -> list[measure.Answer]:
    """Do every piece of work at every size, sizes in turns."""
    rows = []
    for work in WORK[dimension]:
        asks = {
            size: partial(measure.run, [sys.executable, __file__, "--ask", dimension, str(size), work, folder], LIMITS)
            for size in sizes
        }
        for size, found in measure.in_turns(asks, LIMITS).items():
            rows.append(measure.row(dimension, size, work, found, ""))
            measure.show(rows[-1])
    return rows


def main() -> None:
    """Grow each dimension in turn and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dimensions", default=",".join(STEPS))
    parser.add_argument("--rows", type=int, nargs="+", default=STEPS["rows"])
    given = parser.parse_args()
    for dimension in given.dimensions.split(","):
        sizes = tuple(given.rows) if dimension == "rows" else STEPS[dimension]
        with tempfile.TemporaryDirectory() as folder:
            for lines in sizes if dimension == "rows" else ():
                (Path(folder) / str(lines)).mkdir()
                kpi.write(Path(folder) / str(lines), lines, MERCHANTS)
            measure.record("growth", grown(dimension, sizes, folder), **STILL, roster=MERCHANTS)


if __name__ == "__main__":
    words = measure.asked()
    main() if words is None else ask(*words)
