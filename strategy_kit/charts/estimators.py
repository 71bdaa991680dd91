"""The same effect by several estimators, the first of them being the headline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts.curves import LINE, pixels
from strategy_kit.charts.effects_grid import writer
from strategy_kit.charts.theme import INK, OTHER, PILOT, SOFT, WIDTH, Chart, require, signed_axis, worded, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME, HEAD, GAP = 20, 44, 14
COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(["estimator", "estimate", "conf_low", "conf_high"], ())
WORDS = {"value": "Effect, in units of the outcome", "interval": "lines: 95% intervals", "missing": "no interval"}
BOUNDS = ["estimate", "conf_low", "conf_high"]


def estimator_comparison(
    rows: pd.DataFrame, *, percent: bool = False, labels: Mapping[str, str] | None = None
) -> Chart:
    """Draw the estimates of several estimators with their intervals, in the order given, the headline first and heavy.

    Parameters
    ----------
    rows
        Columns `estimator` (text), `estimate`, `conf_low`, `conf_high` (units of the outcome, or missing), as `glance`
        of each result has them, and optionally `comparison` (text: what is compared), which stands below the name.
    percent
        True where the estimates are shares, to be shown as percentages.
    labels
        Words: "value" (axis title with the unit), "interval", "missing" (said where there is none), and one per
        estimator.

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> fits = pd.DataFrame({"estimator": ["group_time", "two_way"], "estimate": [2.0, 1.2], "conf_low": [1.1, np.nan]})
    >>> estimator_comparison(fits.assign(conf_high=[2.9, np.nan])).description
    'Effect, in units of the outcome. group_time +2.0 (+1.1 … +2.9); two_way +1.2 (no interval).'
    """
    require("estimator_comparison", rows, COLUMNS)
    require("estimator_comparison", rows.dropna(subset="estimate"), {})
    names = dict.fromkeys(rows["estimator"].astype(str))
    words = worded({**{name: name for name in names}, **WORDS}, labels)
    cells = _laid(rows, words, percent=percent)
    bounds = cells[BOUNDS].replace([np.inf, -np.inf], np.nan)
    low, high = min(bounds.min().min(), 0.0), max(bounds.max().max(), 0.0)
    room = 0.04 * (high - low or 1.0)
    reach = [low - room, high + room]
    cells = cells.assign(left=cells["conf_low"].clip(*reach), right=cells["conf_high"].clip(*reach))
    axis = alt.Axis(grid=False, tickCount=4, titleAnchor="start", titleLineHeight=LINE)
    axis.labelExpr = signed_axis("%", 100) if percent else signed_axis()
    ranged = cells.dropna(subset=["left", "right"])
    axis.title = [*wrapped(words["value"], HEAD - NAME), *([words["interval"]] if len(ranged) else [])]
    x = alt.X("estimate:Q", axis=axis, scale=alt.Scale(domain=reach, nice=False, zero=False))
    zero = alt.Chart(pd.DataFrame({"estimate": [0.0]})).mark_rule(color=SOFT, y=0).encode(x=x, y2=alt.value("height"))
    described = f"{words['value']}. {'; '.join(cells['told'])}."
    layers = [zero, *(layer for head, part in cells.groupby("head") for layer in _marks(part, x, head=bool(head)))]
    height = float(cells["bottom"].iloc[-1])
    return alt.layer(*layers, *_texts(cells), width=WIDTH, height=height, description=described)


def _laid(rows: pd.DataFrame, words: Mapping[str, str], *, percent: bool) -> pd.DataFrame:
    """Give each estimator its texts and its place, below the one before."""
    given = rows.reset_index(drop=True).reindex(columns=[*COLUMNS, "comparison"])
    cells = given.astype({"estimator": str, **dict.fromkeys(BOUNDS, float)})
    write = writer(cells[BOUNDS], percent=percent)
    low, high = cells["conf_low"].map(write), cells["conf_high"].map(write)
    bare, note = (
        cells[["conf_low", "conf_high"]].isna().any(axis=1),
        cells["comparison"].astype(object).where(cells["comparison"].notna(), "").astype(str),
    )
    name, shown = cells["estimator"].map(words), cells["estimate"].map(write)
    span = (low + " … " + high).where(~bare, words["missing"])
    cells = cells[BOUNDS].assign(head=cells.index == 0, name=name, shown=shown, span=span, note=note)
    cells["told"] = name + (", " + note).where(note != "", "") + " " + shown + " (" + span + ")"
    cells["lines"], cells["notes"] = ([wrapped(text, NAME) for text in texts] for texts in (name, note))
    cells["value"] = [[text, *wrapped(words["missing"], NAME)[:lacks]] for text, lacks in zip(shown, bare, strict=True)]
    tall = LINE * np.maximum(cells["lines"].str.len() + cells["notes"].str.len(), cells["value"].str.len())
    cells["bottom"] = (tall + GAP).cumsum()
    return cells.assign(y=cells["bottom"] - (tall + GAP) / 2, top=cells["bottom"] - tall - GAP / 2 + LINE / 2)


def _marks(part: pd.DataFrame, x: alt.X, *, head: bool) -> list[Any]:
    """Draw intervals and estimates; those of the headline are thick and blue, with a diamond."""
    ink, wide = (PILOT, 4) if head else (OTHER, 1.75)
    y, base = alt.Y("y:Q", axis=None, scale=None), alt.Chart(part)
    tips = [alt.Tooltip(f"{name}:N", title=" " * at) for at, name in enumerate(("name", "shown", "span", "note"), 1)]
    line = alt.Chart(part.dropna(subset=["left", "right"])).mark_rule(color=ink, strokeWidth=wide)
    shape: dict[str, Any] = {"shape": "diamond", "size": 160} if head else {"shape": "circle", "size": 55}
    point = base.mark_point(color=ink, fill=ink, opacity=1, **shape)
    return [line.encode(x=alt.X("left:Q"), x2=alt.X2("right:Q"), y=y), point.encode(x=x, y=y, tooltip=tips)]


def _texts(cells: pd.DataFrame) -> list[Any]:
    """Write name and comparison to the left of each row, the estimate to its right."""
    said = [line for lines in (*cells["lines"], *cells["notes"]) for line in lines]
    edge = -10 - max(map(pixels, said))
    cells = cells.assign(below=cells["top"] + LINE * cells["lines"].str.len())
    style: dict[str, Any] = {"align": "left", "lineHeight": LINE, "fontWeight": alt.ExprRef("datum.head ? 600 : 400")}
    base, left = alt.Chart(cells), {**style, "x": edge}
    noted = alt.Chart(cells[cells["notes"].str.len() > 0]).mark_text(x=edge, align="left", lineHeight=LINE, color=SOFT)
    ends = base.mark_text(
        x="width", dx=10, color=INK, dy=alt.ExprRef(f"{LINE / 2} * (1 - length(datum.value))"), **style
    )
    at = {name: alt.Y(f"{name}:Q", axis=None, scale=None) for name in ("top", "below", "y")}
    return [
        base.mark_text(color=INK, **left).encode(y=at["top"], text=alt.Text("lines:N")),
        noted.encode(y=at["below"], text=alt.Text("notes:N")),
        ends.encode(y=at["y"], text=alt.Text("value:N")),
    ]
