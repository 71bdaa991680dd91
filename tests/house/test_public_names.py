"""Every public name explains itself with an example that runs."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "strategy_kit"

# Name -> why it has no example in its docstring.
EXEMPT = {
    "main": "the command line is documented by its own --help",
    "run": "starts a kernel; tests/report runs it",
    "Run": "made by run",
    "export": "needs an executed notebook; tests/report exports some",
    "simulate": "writes a folder; README shows it",
    "import_olist": "needs files that are not ours to ship",
    "Engine": "an interface; its implementations are shown",
    "DistantEngine": "likewise",
}


def doors() -> list[str]:
    """The package and its rooms."""
    folders = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    files = [path.stem for path in PACKAGE.glob("*.py") if not path.name.startswith("__")]
    return ["strategy_kit", *sorted(f"strategy_kit.{name}" for name in folders + files)]


def unexplained(value: object) -> str | None:
    """Say what the documentation of a public value lacks."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return None
    documentation = inspect.getdoc(value) or ""
    if not documentation:
        return "has no docstring"
    if inspect.isclass(value) and issubclass(value, Exception):
        return None
    return None if ">>> " in documentation else "has no Examples section"


def test_the_package_says_what_is_public() -> None:
    strategy_kit = importlib.import_module("strategy_kit")
    assert strategy_kit.__all__
    assert not [name for name in strategy_kit.__all__ if not hasattr(strategy_kit, name)]


@pytest.mark.parametrize("door", doors())
def test_public_names_are_documented(door: str) -> None:
    module = importlib.import_module(door)
    assert module.__doc__, f"{door} has no docstring"
    names = [name for name in getattr(module, "__all__", ()) if name not in EXEMPT]
    lacking = {name: unexplained(getattr(module, name)) for name in names}
    assert not [f"{door}.{name} {lack}" for name, lack in lacking.items() if lack]


def test_a_name_without_an_example_is_seen() -> None:
    def bare() -> None: ...

    def told() -> None:
        """Do nothing."""

    assert unexplained(bare) == "has no docstring"
    assert unexplained(told) == "has no Examples section"
    assert unexplained(ValueError) is None
    assert unexplained(3.0) is None


def test_the_index_of_methods_names_every_function_of_did() -> None:
    did = importlib.import_module("strategy_kit.did")
    pages = "".join(path.read_text(encoding="utf-8") for path in (PACKAGE.parent / "docs" / "methods").glob("*.md"))
    assert not [name for name in did.__all__ if f"`{name}" not in pages and f"={name}(" not in pages]
