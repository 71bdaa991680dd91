"""`import strategy_kit` costs about what pandas and DuckDB cost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SLOW = {
    *("altair", "matplotlib", "nbconvert", "nbformat", "papermill"),
    *("scipy.stats", "sqlglot", "statsmodels", "vl_convert"),
}


def loaded_after(statement: str) -> set[str]:
    """The slow libraries that a fresh interpreter has loaded after a statement."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1])) & SLOW


def test_the_package_loads_no_slow_library() -> None:
    loaded = loaded_after("import strategy_kit; strategy_kit.open_dataset")
    assert not loaded, f"import strategy_kit loads {sorted(loaded)}; import them where they are used"


def test_the_command_line_answers_without_slow_libraries() -> None:
    assert not loaded_after("import strategy_kit.cli")


def test_a_slow_library_is_seen() -> None:
    assert "altair" in loaded_after("import altair")
