"""Values that nobody may read, kept out of every file that a run leaves; and the cell that carries a run's values."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from strategy_kit.report.parameters import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbformat import NotebookNode

Value = TypeVar("Value")
_HIDDEN = "[redacted]"
_SHORTEST = 4  # letters of a secret that is searched for: a shorter one would be found in words that are none


def injected(values: Mapping[str, Any]) -> str:
    """Write values as the cell that follows the parameters cell.

    Examples
    --------
    >>> print(injected({"week": "2025-W30"}))
    # Parameters of this run
    week = '2025-W30'
    """
    return "\n".join(["# Parameters of this run", *(f"{name} = {value!r}" for name, value in values.items())])


def scrubbed(told: Value, values: Mapping[str, Any]) -> Value:
    """Return text, or lists and tables of text, without the values whose names speak of a secret.

    Examples
    --------
    >>> scrubbed(["no access with s3cret"], {"api_token": "s3cret", "week": "2025-W30"})
    ['no access with [redacted]']
    """
    hidden = redacted(values)
    kept = [value for name, value in values.items() if hidden[name] != value]
    secrets = [part for value in kept for part in (value if isinstance(value, list) else [value])]
    forms = {form for part in map(str, secrets) if len(part) >= _SHORTEST for form in _forms(part)}
    return _without(told, sorted(forms, key=lambda form: (-len(form), form))) if forms else told


def _forms(value: str) -> set[str]:
    """How a text is written in Python, JSON and HTML, and as it is."""
    return {
        value,
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        escape(value),
    }


def _without(told: Any, forms: list[str]) -> Any:
    if isinstance(told, str):
        for form in forms:
            told = told.replace(form, _HIDDEN)
        return told
    if isinstance(told, list | tuple):
        return [_without(part, forms) for part in told]
    if isinstance(told, dict):
        for name, part in told.items():
            told[name] = _without(part, forms)
    return told


def clean(notebook: NotebookNode, values: Mapping[str, Any]) -> NotebookNode:
    """Hide secrets wherever the notebook shows them, and cut machine paths, in place."""
    run = notebook.metadata.setdefault("papermill", {})
    run |= {name: Path(run[name]).name for name in ("input_path", "output_path") if run.get(name)}
    run["parameters"] = redacted(values)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = injected(redacted(values))
    scrubbed(notebook, values)
    return notebook
