"""Where CPU seconds of the laptop's work go on the demo market: data, KPIs, cohorts and the weekly page section by section."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
import report

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = measure.Limits(seconds=300)
SECTIONS = ("decision", "points", "effect", "categories", "money", "measures", "yardsticks", "strategy")
METRICS = ["gmv", "orders", "buyers", "average_order_value"]


def ask(data: str) -> None:
    """Do each part once to warm up and once to measure; tell CPU seconds in all and inside the engine."""
    spent = clocked_engine()
    told: dict[str, list[float]] = {}

    def part(name: str, work: Callable[[], Any], rounds: int = 2) -> Any:
        for _ in range(rounds):
            spent[0], began = 0.0, time.process_time()
            found = work()
            told[name] = [time.process_time() - began, spent[0]]
        return found

    import strategy_kit as sk
    from strategy_kit.report import reading, weekly

    def fresh() -> Any:
        return reading.read_week(sk.open_dataset(data))

    shop = part("open_dataset", partial(sk.open_dataset, data))
    part("check", shop.check)
    part("kpi.table", partial(sk.kpi.table, shop, by=["category", "month"], metrics=METRICS))
    part("cohort.triangle", partial(sk.cohort.triangle, shop, unit="merchant"))
    read = part("reading the week", fresh)
    for name in SECTIONS:
        part(f"section {name}", partial(getattr(weekly, name), read), rounds=1)
    measure.told({}, told)


def clocked_engine() -> list[float]:
    """Make the engine answer one query at a time, and count their CPU seconds into the list that is returned."""
    from strategy_kit.engine import DuckDBEngine

    plain, spent = DuckDBEngine.frame, [0.0]

    def frame(*given: Any, **named: Any) -> Any:
        began = time.process_time()
        found = plain(*given, **named)
        spent[0] += time.process_time() - began
        return found

    DuckDBEngine.beside = lambda _: None  # type: ignore[method-assign]
    DuckDBEngine.frame = frame  # type: ignore[method-assign]
    return spent


def main() -> None:
    """Measure each part in turns of whole processes and record medians."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    data = report.demo(Path(measure.HERE.parent / "data" / "demo"))
    asked = measure.in_turns(
        {"kit": partial(measure.run, [sys.executable, __file__, "--ask", str(data)], LIMITS)}, LIMITS
    )
    each, rows = asked["kit"].get("each", []), []
    for name in each[0] if each else ():
        whole, engine = (measure.statistics.median(one[name][k] for one in each) for k in (0, 1))
        for case, seconds in (("whole", whole), ("engine", engine)):
            rows.append(measure.row(case, 1, name, {"cpu": seconds, "rounds": len(each)}, ""))
        print(f"{name:24}{whole:8.2f} s CPU, {engine:.2f} s of it in the engine")
    if not rows:
        raise SystemExit(asked["kit"]["failed"])
    measure.record("hottest", rows)


if __name__ == "__main__":
    words = measure.asked()
    main() if words is None else ask(*words)
