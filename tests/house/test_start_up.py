"""`import strategy_kit` costs about what pandas and DuckDB cost."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

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


def test_what_python_may_not_compile_was_compiled_with_the_install() -> None:
    if not sys.dont_write_bytecode:
        pytest.skip("this Python writes the bytecode of what it imports")
    files = [pd.__file__, sys.modules["pandas.core.frame"].__file__]
    lacking = [file for file in files if file is None or not Path(importlib.util.cache_from_source(file)).is_file()]
    assert not lacking, "install by make: each process compiles its imports anew, two seconds each"


def test_a_slow_library_is_seen() -> None:
    assert "altair" in loaded_after("import altair")
