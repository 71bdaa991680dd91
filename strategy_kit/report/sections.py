"""A section of a report: its blocks and charts in order, shown as one cell, named so that a run can be held to it.

The page has a style sheet; JupyterLab has none for our blocks. So the mark of the section that opens a notebook brings the
page's sheet along, for outputs with our blocks in them alone. The exporter takes all marks out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SECTION = "application/vnd.strategy-kit.section+json"
OPENING = "masthead"
_OUTPUTS = '.jp-OutputArea-output.jp-RenderedHTMLCommon:has([class^="sk-"])'
_GROUND = """
font: 400 16px/24px var(--latin), var(--han), sans-serif; font-variant-numeric: tabular-nums lining-nums;
color: var(--ink); background: #fff; padding: 8px 16px;
dt, dd { float: none; width: auto; font-weight: 400; } table { font-size: inherit; }
tbody tr, tbody tr:hover { background: none; }
"""  # and what Lab's own sheet does otherwise is undone


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

        style = {"text/html": f"<style>{lab_style()}</style>"} if self.name == OPENING else {}
        display({SECTION: {"name": self.name, "shown": bool(self.parts)}, **style, "text/plain": ""}, raw=True)
        for part in self.parts:
            if hasattr(part, "usermeta"):
                display(_drawn(part), raw=True)
            else:
                display(part)

    def __str__(self) -> str:
        return "\n".join(str(getattr(part, "description", part)) for part in self.parts)


def _drawn(chart: Any) -> dict[str, Any]:
    """Return what a chart shows, as its own display has it but for the check of its grammar, which costs as much again."""
    import altair as alt

    from strategy_kit.charts.theme import renderer

    alt.data_transformers.register("strategy_kit", inline)
    with alt.data_transformers.enable("strategy_kit", consolidate_datasets=True):
        return renderer(chart.to_dict(validate=False, context={"pre_transform": False}))


def inline(data: Any) -> Any:
    """Return the rows as Altair does, without its copies of the frame: a page draws a hundred of them.

    Examples
    --------
    >>> inline(pd.DataFrame({"week": [pd.Timestamp("2025-07-21")], "gmv": [np.inf]}))
    {'values': [{'week': '2025-07-21T00:00:00', 'gmv': None}]}
    """
    import altair as alt

    if not isinstance(data, pd.DataFrame) or any(dtype.kind in "mc" for dtype in data.dtypes):
        return alt.default_data_transformer(data)
    names = [str(name) for name in data.columns]
    columns = [_values(column) for _, column in data.items()]
    return {"values": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}


def _values(column: pd.Series[Any]) -> list[Any]:
    values: list[Any] = column.tolist()
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biu":
        return values
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        return [value if math.isfinite(value) else None for value in values]
    if column.dtype.kind == "M":
        return ["" if value is pd.NaT else value.isoformat() for value in values]
    values = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    missing = column.isna().tolist()
    return [None if absent else value for value, absent in zip(values, missing, strict=True)]


@cache
def lab_style() -> str:
    """Return the page's style sheet for the outputs of JupyterLab that hold our blocks, by nesting it in their selector.

    Rules for the whole page match nothing inside an output.
    """
    sheet = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    variables = re.search(r":root\s*{(.*?)}", sheet, re.DOTALL)
    return f"{_OUTPUTS} {{ {variables[1] if variables else ''} {_GROUND}\n{sheet}}}"
