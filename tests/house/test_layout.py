"""What stands at the top of the project, and what its commands are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("notebooks", "strategy_kit", "data", "reports", "tests", "docs", "benchmarks")
FILES = (
    *("environment.yml", "README.md", "pyproject.toml", "requirements.lock", "Makefile", ".ci/run"),
    *("CHANGELOG.md", "LICENSE", "data/README.md", "reports/README.md", "data/sample/dataset.toml"),
    *("notebooks/weekly_report.ipynb", "strategy_kit/__init__.py", "strategy_kit/cli.py"),
)
HIDDEN = {".ci", ".gitattributes", ".gitignore"}
TARGETS = ("report", "test", "lint", "lab", "sample", "grade", "bench", "coverage", "lock", "clean", "help")


def make(*arguments: str, **variables: str) -> str:
    """What make prints, with none of this process's own variables for make."""
    own = {"DATA", "LANGUAGE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PART", "PYTHON", "WEEK"}
    environment = {name: value for name, value in os.environ.items() if name not in own} | variables
    command = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", FOLDERS)
def test_the_folders_of_the_design_exist(name: str) -> None:
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize("name", FILES)
def test_the_files_of_the_design_exist(name: str) -> None:
    assert (ROOT / name).is_file()


def test_nothing_else_stands_at_the_top() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("only git knows which files belong to the project")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {name.split("/")[0] for name in listed.split("\0") if name}
    assert top <= {*FOLDERS, *(name for name in FILES if "/" not in name), *HIDDEN}


def test_data_and_reports_are_not_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/data/*", "/reports/*", "!/data/sample/", ".venv/"} <= set(ignored)


def test_the_page_on_data_names_every_table_and_column() -> None:
    from strategy_kit.contract import TABLES

    rows = (ROOT / "data" / "README.md").read_text(encoding="utf-8").splitlines()
    told = {row.split("`")[1]: set(row.split("`")[1::2]) for row in rows if row.startswith("| `")}
    assert {name: set(table.columns) - told.get(name, set()) for name, table in TABLES.items()} == {
        name: set() for name in TABLES
    }


def test_the_ci_script_is_runnable() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMake:
    def test_it_says_what_it_can_do(self) -> None:
        told = [line.split()[1] for line in make().splitlines()]
        assert set(told) == set(TARGETS)

    def test_report_passes_week_and_language_on(self) -> None:
        command = make("-n", "report", "WEEK=2025-W30", "LANGUAGE=zh", "DATA=data/sample")
        assert "weekly --data data/sample --week 2025-W30 -p language=zh --out reports" in command
        assert "simulate" not in command

    def test_the_language_of_the_desktop_is_not_the_language_of_the_report(self) -> None:
        assert "language=" not in make("-n", "report", LANGUAGE="en_GB:en")

    def test_report_makes_the_demo_market_when_it_is_absent(self, bare: Path) -> None:
        command = make("-C", str(bare), "-n", "report", "DATA=data/demo/")
        assert "simulate data/demo --seed 7 --merchants 3000 --weeks 78" in command
        steps = [command.index(word) for word in ("--require-hashes", "--editable", "simulate data/demo")]
        assert steps == sorted(steps)

    @pytest.mark.parametrize("version", ["3.10", "3.14"])
    def test_another_python_is_refused_in_one_sentence(self, bare: Path, version: str) -> None:
        pretend = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0); exec(sys.argv[1])"
        done = install(bare, f'exec {sys.executable} -c "{pretend}" "$2"')
        assert f"strategy-kit runs on Python 3.11 to 3.13 and {bare}/python is {version}; name" in done.stderr
        assert not (bare / ".venv").exists()

    def test_an_absent_python_is_named(self, bare: Path) -> None:
        assert "python was not found; install Python 3.11, 3.12 or 3.13" in install(bare, None).stderr

    def test_an_interrupted_install_is_not_taken_for_a_whole_one(self, bare: Path) -> None:
        failing_pip = "mkdir -p .venv/bin; printf '#!/bin/sh\\nexit 1\\n' > .venv/bin/python; chmod +x .venv/bin/python"
        done = install(bare, f'test "$1" = -c || {{ {failing_pip}; }}')
        assert done.returncode != 0
        assert sorted(path.name for path in (bare / ".venv").iterdir()) == ["bin"]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with what make reads and nothing installed."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    return tmp_path


def install(folder: Path, python: str | None) -> subprocess.CompletedProcess[str]:
    """Let make install with an interpreter that is a shell script."""
    interpreter = folder / "python"
    if python is not None:
        interpreter.write_text(f"#!/bin/sh\n{python}\n", encoding="utf-8")
        interpreter.chmod(0o755)
    command = ["make", "-C", str(folder), ".venv/.ready", f"PYTHON={interpreter}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)
