"""Small files, short functions, few parameters."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES = 400
FUNCTION_LINES = 50
PARAMETERS = 6
PACKAGE_LINES = 28_400  # of code, see docs/decisions/009

# The design fixes these signatures: each parameter names a column or a table.
WIDE = {"strategy_kit/panel.py:from_frame", "strategy_kit/dataset.py:dataset_from_frames"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    folders = ("strategy_kit", "tests", ".ci", "benchmarks")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def lines(function: Function) -> int:
    """Lines of a function without its docstring."""
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


def parameters(function: Function) -> int:
    """Positional and keyword parameters; self and cls do not count."""
    arguments = function.args
    positional = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    return len(positional) - (positional[:1] in (["self"], ["cls"])) + len(arguments.kwonlyargs)


def violations(source: str, name: str) -> list[str]:
    """Return every breach of the three laws in a file."""
    found = []
    if (total := len(source.splitlines())) > FILE_LINES:
        found.append(f"{name} has {total} lines, at most {FILE_LINES}: split it by subject")
    for node in ast.walk(ast.parse(source, name)):
        if not isinstance(node, Function):
            continue
        where = f"{name}:{node.lineno} {node.name}"
        if (length := lines(node)) > FUNCTION_LINES:
            found.append(f"{where} has {length} lines without its docstring, at most {FUNCTION_LINES}")
        if (count := parameters(node)) > PARAMETERS and f"{name}:{node.name}" not in WIDE:
            found.append(f"{where} has {count} parameters, at most {PARAMETERS}")
    return found


def test_files_functions_and_signatures_are_small() -> None:
    files = sources()
    assert files
    names = {path: path.relative_to(ROOT).as_posix() for path in files}
    assert not [law for path in files for law in violations(path.read_text(encoding="utf-8"), names[path])]


def code_lines(source: str) -> int:
    """Lines that hold code: no docstring, comment or blank line."""
    kept = {n for n, line in enumerate(source.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node, clean=False) is not None:
            kept -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(kept)


def test_the_package_stays_within_its_lines() -> None:
    total = sum(code_lines(path.read_text(encoding="utf-8")) for path in (ROOT / "strategy_kit").rglob("*.py"))
    assert 0 < total <= PACKAGE_LINES


def test_docstrings_comments_and_blank_lines_are_no_code() -> None:
    source = 'a = 1  # one\n\n# note\ndef f():\n    """Doc.\n\n    More.\n    """\n    return """two\nlines"""\n'
    assert code_lines(source) == 4


def test_what_is_too_large_is_seen() -> None:
    body = "\n".join(["    a = 1"] * (FUNCTION_LINES - 1))
    short = f'def f():\n    """Doc.\n\n    Doc.\n    """\n{body}\n'
    assert violations(short, "x.py") == []
    assert "51 lines" in violations(f"{short}    b = 2\n", "x.py")[0]
    assert violations("class A:\n    def f(self, a, b, c, *, d, e, g): ...\n", "x.py") == []
    assert "7 parameters" in violations("def f(a, b, c, d, *args, e, g, h, **more): ...\n", "x.py")[0]
    assert "401 lines" in violations("a = 1\n" * (FILE_LINES + 1), "x.py")[0]
