"""A section of a report: its blocks and charts in order, shown as one cell, named so that a run can be held to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SECTION = "application/vnd.strategy-kit.section+json"


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks and charts under one name; a notebook shows them by ending a cell with the section.

    Attributes
    ----------
    name
        Such as "money": the anchor on the page, and what the notebook's metadata promises to show.
    parts
        Blocks and charts, in the order of reading; empty where the reader's role leaves the section out.

    Examples
    --------
    >>> from strategy_kit.report.blocks import line
    >>> print(Section("targets", (line("No targets table."),)))
    No targets table.
    """

    name: str
    parts: tuple[Any, ...] = ()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display({SECTION: {"name": self.name, "shown": bool(self.parts)}, "text/plain": ""}, raw=True)
        for part in self.parts:
            display(part)

    def __str__(self) -> str:
        return "\n".join(str(part) if type(part).__name__ == "Block" else str(part.description) for part in self.parts)
