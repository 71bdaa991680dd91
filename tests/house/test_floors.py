"""Imports inside the package go down only, and rooms of methods do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "strategy_kit"

FLOORS = (
    {
        *("errors", "arguments", "threads", "formats", "periods", "settings", "engine", "identifiers"),
        *("inference", "randomisation", "pooling", "ratio", "distributed_lag"),
    },
    {
        *(
            "assigned",
            "contract",
            "description",
            "checks",
            "dataset",
            "panel",
            "panel_input",
            "panel_starts",
            "outcomes",
            "kept_units",
            "opening",
            "moment_panel",
            "tables_to_panel",
            "joint",
            "moments",
        ),
        *("health", "keys", "plan", "shown"),
        *("estimates", "base_age", "metrics", "festivals", "glossary"),
    },
    {
        *("kpi", "cohort", "did", "planning", "sensitivity", "targets", "simulate", "importers"),
        *(
            "programmes",
            "overseas",
            "offplatform",
            "prices",
            "support",
            "lasting_growth",
            "levers",
            "platform_health",
            "surrogate",
            "whole_web",
        ),
    },
    {"charts", "tables"},
    {"report"},
    {"__init__", "__main__", "cli"},
)
METHODS = 2


def room(path: Path) -> str:
    """The part of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int | None:
    return next((number for number, rooms in enumerate(FLOORS) if name in rooms), None)


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and room of each import from the package that happens when the program runs."""
    package = path.relative_to(PACKAGE.parent).with_suffix("").parts[:-1]
    found: list[tuple[int, str]] = []
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"), str(path))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        pending.extend(ast.iter_child_nodes(node))
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = (*base, *(node.module.split(".") if node.module else ()))
            names = [(*stem, alias.name) for alias in node.names]
        line = getattr(node, "lineno", 0)
        found += [(line, target(name)) for name in names if name[0] == PACKAGE.name]
    return sorted(found)


def target(name: tuple[str, ...]) -> str:
    """The room that a dotted name leads to; a name that is no room comes from the package's own door."""
    first = name[1] if len(name) > 1 else "__init__"
    return first if (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file() else "__init__"


def violations(path: Path) -> list[str]:
    """Return every import of a file that does not go down."""
    own = room(path)
    here = floor(own)
    where = path.relative_to(PACKAGE.parent)
    if here is None:
        return [f"{where} stands on no floor; give {own} one in {Path(__file__).name}"]
    found = []
    for line, other in imports(path):
        there = floor(other)
        seen = f"{where}:{line} imports strategy_kit.{other}"
        if there is None or there > here:
            found.append(f"{seen} from floor {there}; {own} is on floor {here}")
        elif here == there == METHODS and other != own:
            found.append(f"{seen}; rooms of methods do not import each other")
    return found


def test_imports_go_down_only() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert files
    assert not [law for path in files for law in violations(path)]


def test_an_import_that_goes_up_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path / "strategy_kit", raising=True)
    did = tmp_path / "strategy_kit" / "did"
    did.mkdir(parents=True)
    for name in ("errors.py", "charts.py", "cohort.py", "report.py"):
        (tmp_path / "strategy_kit" / name).touch()
    file = did / "group.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "from strategy_kit.errors import nearest\n"
        "if TYPE_CHECKING:\n    import strategy_kit.report\n"
        "def late():\n    from .. import charts\n"
        "from ..cohort import triangle\n"
        "from strategy_kit import open_dataset\n",
    )
    assert [law.split(" imports ")[1].split()[0].rstrip(";") for law in violations(file)] == [
        "strategy_kit.charts",
        "strategy_kit.cohort",
        "strategy_kit.__init__",
    ]
