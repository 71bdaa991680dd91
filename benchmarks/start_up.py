"""What importing the kit costs beside importing pandas and DuckDB, which it is made of; each a fresh interpreter, in turns."""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial

import measure

LIMITS = measure.Limits(rounds=15)
STATEMENTS = {
    "pandas and duckdb": "import pandas, duckdb",
    "strategy_kit": "import strategy_kit",
    "with KPIs and cohorts": "import strategy_kit as sk; sk.kpi, sk.cohort",
    "with estimators": "import strategy_kit as sk; sk.did",
}


def ask(way: str) -> None:
    """Start an interpreter that imports what is asked for."""
    work = partial(subprocess.run, [sys.executable, "-c", STATEMENTS[way]], check=True)
    measure.told(measure.timed(work, LIMITS, warm=work)[0], None)


def main() -> None:
    """Import each in turns and record."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    asks = {way: partial(measure.run, [sys.executable, __file__, "--ask", way], LIMITS) for way in STATEMENTS}
    found = measure.in_turns(asks, LIMITS)
    rows = [measure.row("import", 1, way, one, "") for way, one in found.items()]
    for one in rows:
        measure.show(one)
    measure.record("start_up", rows)


if __name__ == "__main__":
    words = measure.asked()
    main() if words is None else ask(*words)
