"""The table of questions cannot drift: what it names exists, and the page is what the registry makes."""

from __future__ import annotations

import ast
import importlib
import json
import runpy
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest

from strategy_kit.contract import TABLES

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = range(1, 46)


@pytest.fixture(scope="module")
def made(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / ".ci" / "coverage.py"))


@pytest.fixture(scope="module")
def rows(made: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = made["rows"]()
    return found


def test_the_page_is_what_the_registry_makes(root: Path, made: dict[str, Any]) -> None:
    assert (root / "docs" / "coverage.md").read_text(encoding="utf-8") == made["page"](), "run `make coverage`"


def test_every_question_has_an_answer_or_says_what_it_needs(rows: list[dict[str, Any]]) -> None:
    assert {row["number"] for row in rows} == set(QUESTIONS)
    assert all(row["functions"] or row["limits"] for row in rows)


def test_every_function_and_table_exists(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert set(row["tables"]) <= set(TABLES), row["number"]
        for name in row["functions"]:
            module, *attributes = name.rsplit(".", 1)
            found = reduce(getattr, attributes, importlib.import_module(module))
            assert callable(found), name


def test_every_section_is_promised_by_its_notebook(root: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        file = root / "notebooks" / f"{row['notebook']}.ipynb"
        promised = json.loads(file.read_text(encoding="utf-8"))["metadata"]["strategy_kit"]["sections"]
        assert row["section"] in promised, (row["number"], row["notebook"])


def test_every_test_that_is_named_is_there(root: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["verified"] or not row["functions"], row["number"]
        for name in row["verified"]:
            file, _, test = name.partition("::")
            tree = ast.parse((root / file).read_text(encoding="utf-8"))
            known = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert known, file
            assert not test or test in known, name
