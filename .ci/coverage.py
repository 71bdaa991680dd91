"""Write docs/coverage.md from docs/coverage/*.toml: where the kit answers each question, and how that was verified."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Coverage

The questions that the strategy asks, and where the kit answers each: function, section of a notebook, chart, and the tests that
hold the answer to simulated truth or to a twin. Made from `docs/coverage/*.toml` by `make coverage`; a test holds it to the
code, so that every name below exists. What the data cannot say stands in the last column, with what would be needed.

| # | question | tables | functions | notebook · section | chart | verified by | limits |
|---|---|---|---|---|---|---|---|
"""


def rows() -> list[dict[str, Any]]:
    """Return the rows of all programmes, by number of the question."""
    found = [
        row | {"programme": file.stem}
        for file in sorted((ROOT / "docs" / "coverage").glob("*.toml"))
        for row in tomllib.loads(file.read_text(encoding="utf-8"))["row"]
    ]
    return sorted(found, key=lambda row: (row["number"], row["programme"]))


def page() -> str:
    """Return the page."""
    return HEAD + "".join(map(_line, rows()))


def _line(row: dict[str, Any]) -> str:
    functions = ", ".join(f"`{name.removeprefix('strategy_kit.')}`" for name in row["functions"])
    tests = ", ".join(f"[{_test(name)}](../{name.partition('::')[0]})" for name in row["verified"])
    place = f"[{row['notebook']}](../notebooks/{row['notebook']}.ipynb) · {row['section']}"
    cells = [str(row["number"]), row["question"], ", ".join(row["tables"]), functions, place, row["chart"], tests]
    return "| " + " | ".join([*cells, row["limits"]]) + " |\n"


def _test(name: str) -> str:
    file, _, test = name.partition("::")
    return test.removeprefix("test_").replace("_", " ") or Path(file).stem


if __name__ == "__main__":
    (ROOT / "docs" / "coverage.md").write_text(page(), encoding="utf-8", newline="\n")
