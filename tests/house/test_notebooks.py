"""A notebook holds parameters and calls, and is committed without what a run left in it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").rglob("*.ipynb"))
CELL_LINES = 15

Cell = dict[str, Any]


def source(cell: Cell) -> str:
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def tags(cell: Cell) -> list[str]:
    return list(cell["metadata"].get("tags", []))


def left_by_a_run(notebook: Cell) -> list[str]:
    found = ["metadata.papermill is left by a run"] if "papermill" in notebook["metadata"] else []
    for number, cell in enumerate(notebook["cells"]):
        if cell.get("outputs"):
            found.append(f"cell {number} has outputs")
        if cell.get("execution_count") is not None:
            found.append(f"cell {number} has an execution count")
        if "injected-parameters" in tags(cell):
            found.append(f"cell {number} was injected by a run")
    return found


def parameters_cell(code: list[Cell]) -> list[str]:
    tagged = [number for number, cell in enumerate(code) if "parameters" in tags(cell)]
    return [] if tagged == [0] else [f"the first code cell alone is tagged parameters, but {tagged} are"]


def shape(number: int, text: str) -> list[str]:
    """What a code cell may not hold."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError as error:
        return [f"code cell {number} is not plain Python: {error.msg}"]
    found = []
    if (length := len(text.splitlines())) > CELL_LINES:
        found.append(f"code cell {number} has {length} lines, at most {CELL_LINES}; move work into strategy_kit")
    if any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in nodes):
        found.append(f"code cell {number} defines a function or class; it belongs in strategy_kit")
    if sum(isinstance(node, ast.Lambda) for node in nodes) > 1:
        found.append(f"code cell {number} has more than one lambda; the work belongs in strategy_kit")
    return found


def late_imports(code: list[Cell]) -> list[str]:
    """Imports stand right after the parameters."""
    imports = [bool(re.search(r"^\s*(import|from)\s", source(cell), re.MULTILINE)) for cell in code]
    last = 1 + next((number for number, found in enumerate(imports[1:]) if not found), len(imports))
    return [
        f"code cell {number} imports; imports stand in the cells right after the parameters"
        for number, found in enumerate(imports)
        if found and (number == 0 or number > last)
    ]


def violations(notebook: Cell) -> list[str]:
    """Return every breach of the laws of notebooks."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    prose = [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    kernel = notebook["metadata"].get("kernelspec", {}).get("name")
    return [
        *left_by_a_run(notebook),
        *([] if kernel == "python3" else [f"the kernel is {kernel!r}, not python3"]),
        *(f"prose holds a number: {text!r}" for text in prose if re.search(r"\d", text)),
        *parameters_cell(code),
        *late_imports(code),
        *(law for number, cell in enumerate(code) for law in shape(number, source(cell))),
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_clean(path: Path) -> None:
    assert not violations(json.loads(path.read_text(encoding="utf-8")))


def cell(text: str, kind: str = "code", **more: Any) -> Cell:
    ran: Cell = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "source": text, "metadata": {}, **ran, **more}


def notebook(*cells: Cell, kernel: str = "python3") -> Cell:
    return {"cells": list(cells), "metadata": {"kernelspec": {"name": kernel}}}


PARAMETERS = cell('week: str = "2025-W30"', metadata={"tags": ["parameters"]})


@pytest.mark.parametrize(
    ("cells", "law"),
    [
        ([PARAMETERS, cell("1", outputs=[{"output_type": "stream"}])], "has outputs"),
        ([PARAMETERS, cell("1", execution_count=3)], "execution count"),
        ([PARAMETERS, cell("a = 1", metadata={"tags": ["injected-parameters"]})], "injected"),
        ([cell("import os"), PARAMETERS], "tagged parameters"),
        ([cell("a = 1")], "tagged parameters"),
        ([PARAMETERS, PARAMETERS], "tagged parameters"),
        ([PARAMETERS, cell("GMV rose by 8 percent", "markdown")], "number"),
        ([PARAMETERS, cell("a = 1\n" * (CELL_LINES + 1))], "16 lines"),
        ([PARAMETERS, cell("def f(): ...")], "defines"),
        ([PARAMETERS, cell("a = [lambda: 1, lambda: 2]")], "lambda"),
        ([PARAMETERS, cell("%matplotlib inline")], "plain Python"),
        ([PARAMETERS, cell("a = 1"), cell("import os")], "imports"),
    ],
)
def test_each_breach_is_seen(cells: list[Cell], law: str) -> None:
    assert law in " ".join(violations(notebook(*cells)))


def test_a_clean_notebook_passes() -> None:
    good = [cell("# Weekly report", "markdown"), PARAMETERS, cell("import os"), cell("import re"), cell("re")]
    assert violations(notebook(*good)) == []
    assert "'conda'" in violations(notebook(*good, kernel="conda"))[0]
