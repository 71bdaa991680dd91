"""The same questions on DuckDB and on Spark, at growing sizes, answers compared; Spark has the processors of this machine.

Starting the session and a first small call lie before the clock. The page works out from the measured times how many executors
of this speed Spark needs before it wins.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import kpi
import measure

SIZES = (1_250_000, 2_500_000, 5_000_000, 10_000_000, 20_000_000)
WARM = 20_000
LIMITS = measure.Limits(seconds=600, slow=120, gigabytes=16)
QUESTIONS = ("category by month", "buyer cohorts", "weekly panel and effects")
ENGINES = ("duckdb", "spark")


def answered(question: str, engine: Any, folder: Path) -> list[float]:
    """Ask one question of an engine; return the digest of its answer."""
    import strategy_kit as sk

    if question in kpi.QUESTIONS:
        return kpi.digest(kpi.kit(question, folder, engine))
    panel = sk.open_dataset(folder, engine=engine).panel(outcome="gmv", period="week")
    study = sk.did.event_study(sk.did.group_time(panel, control="not_yet"))
    return [float(len(study.estimate)), *map(float, study.estimate), *map(float, study.std_error)]


def ask(engine: str, question: str, folder: str, small: str) -> None:
    """Answer one question on one engine and print its cost and the answer."""
    chosen: Any = session() if engine == "spark" else engine
    warm = partial(answered, question, chosen, Path(small))
    measure.told(*measure.timed(partial(answered, question, chosen, Path(folder)), LIMITS, warm))
    if engine == "spark":
        chosen.stop()


def session() -> Any:
    """Start Spark on all processors of this machine."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{os.cpu_count()}]").appName("benchmark")
    quiet = builder.config("spark.ui.enabled", "false").config("spark.driver.memory", "6g")
    return quiet.config("spark.sql.shuffle.partitions", 2 * (os.cpu_count() or 1)).getOrCreate()


def main() -> None:
    """Write the lines of each size in turn, ask both engines in turns, and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("lines", type=int, nargs="*", default=SIZES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for lines in (WARM, *given.lines):
            (Path(scratch) / str(lines)).mkdir()
            kpi.write(Path(scratch) / str(lines), lines)
        small = str(Path(scratch) / str(WARM))
        for lines in given.lines:
            rows = []
            for question in QUESTIONS:
                words = [question, str(Path(scratch) / str(lines)), small]
                asks = {
                    engine: partial(measure.run, [sys.executable, __file__, "--ask", engine, *words], LIMITS)
                    for engine in ENGINES
                }
                found = measure.in_turns(asks, LIMITS)
                own = found["duckdb"].get("answer") or [0.0]
                for engine, one in found.items():
                    told = "reference" if engine == "duckdb" else kpi.compared(own, one.get("answer") or [0.0])
                    rows.append(measure.row(question, lines, engine, one, told))
                    measure.show(rows[-1])
            measure.record("engines", rows, pyspark=measure.metadata.version("pyspark"))


if __name__ == "__main__":
    words = measure.asked()
    main() if words is None else ask(*words)
