"""Where the pilots stand among all categories, and among all averages that chance could have picked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts.curves import pixels
from strategy_kit.charts.theme import INK, OTHER, PAPER, PILOT, SOFT, WIDTH, Chart, Labels, require, signed_axis, worded
from strategy_kit.formats import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LINE, DOT, HILL, GAP = 22, 12, 84, 9
NARROW = 330  # pixels on a phone
SIZE = 11.5  # a name and a number fit beside a dot in the middle of a phone
PIXEL = alt.Y("y:Q", axis=None, scale=None)
TIP = [alt.Tooltip("text:N", title=" ")]
WORDS = {"value": "Change after the start, percent", "pilots": "Pilot categories", "others": "Other categories",
    "placebo": "The same, had chance picked the pilots", "average": "pilots", "sentence": ""}  # fmt: skip


def placebo_strip(
    contrast: Any,
    placebo: pd.DataFrame | None = None,
    *,
    average: float | None = None,
    to_percent: Callable[[float], float] | None = None,
    labels: Labels | None = None,
) -> Chart:
    """Draw three rows on one axis: the pilots, the other categories, and what chance could have picked.

    Parameters
    ----------
    contrast
        An `Estimates` of `pilot_contrast`, or the frame of its groups: group, treated (bool), and percent
        or contrast.
    placebo
        With a frame of groups: the statistic under each reassignment, column percent or statistic.
    average
        The pilots' own statistic in percent; from `glance()` of the `Estimates` unless given.
    to_percent
        From contrast to percent, where the frames have no column percent; 100 times unless given.
    labels
        Words: "value" (axis title), "pilots", "others", "placebo", "average", and "sentence", for instance
        "4 of 455 as high".

    Raises
    ------
    ParameterError
        If what is given is no result or tidy frame, has no rows or lacks columns, or a word is unknown.

    Examples
    --------
    >>> groups = pd.DataFrame({"group": ["a", "b"], "treated": [True, False], "percent": [6.0, -1.0]})
    >>> chart = placebo_strip(groups, pd.DataFrame({"percent": [6.0, -1.0]}), average=6.0)
    """
    words = worded(WORDS, labels)
    scaled = to_percent or (lambda value: 100 * value)
    details = getattr(contrast, "details", {}) if placebo is None else {"groups": contrast, "placebo": placebo}
    require("placebo_strip", details.get("groups"), {"group": (), "treated": ()})
    groups, chance = details["groups"], _percent(details["placebo"], "statistic", scaled)
    at = scaled(float(contrast.glance()["estimate"].iloc[0])) if average is None else average
    rows = pd.DataFrame({"percent": _percent(groups, "contrast", scaled), "pilot": groups["treated"] == 1})
    rows["text"] = groups["group"].astype(str) + " " + rows["percent"].map(_told)
    rows = rows.sort_values("percent", ascending=False)
    edges = _edges([*chance, *rows["percent"], at, 0.0])
    pilots = rows[rows["pilot"]]
    others = _stacked(rows[~rows["pilot"]], (edges[-1] - edges[0]) * DOT / NARROW)
    second = LINE * (len(pilots) + 1) + 16
    third = second + LINE * 3 + DOT * int(others["level"].max() if len(others) else 0) + 16
    height = third + LINE * 3 + HILL
    axis = alt.Axis(title=words["value"], grid=False, labelExpr=signed_axis("%"), tickCount=8)
    x = alt.X("percent:Q", axis=axis, scale=alt.Scale(domain=[edges[0], edges[-1]], nice=False))
    heads = pd.DataFrame({"text": [words[row] for row in ("pilots", "others", "placebo")]})
    heads["y"] = [6, second, third]
    zero = pd.DataFrame({"percent": 0.0, "y": [18, second + 30, height - HILL]})
    zero["y2"] = [second - 14, third - 2 * LINE + 8, height]
    told = pd.DataFrame({"percent": at, "text": [f"{words['average']} {_told(at)}", words["sentence"]]})
    told["y"] = [third + LINE, third + LINE + 16]
    mean = pd.DataFrame({"percent": [at], "y": [third + LINE - 8], "y2": [height]})
    layers = [
        alt.Chart(zero).mark_rule(color=INK, strokeWidth=1).encode(x=x, y=PIXEL, y2=alt.Y2("y2:Q")),
        alt.Chart(heads).mark_text(align="left", x=0, color=INK, limit=340).encode(y=PIXEL, text=alt.Text("text:N")),
        *_pilots(pilots, x, edges),
        *_others(others, x, edges, second),
        _hill(chance, x, edges, height),
        alt.Chart(mean).mark_rule(color=PILOT, strokeWidth=2).encode(x=x, y=PIXEL, y2=alt.Y2("y2:Q")),
        *_labels(told[told["text"] != ""], x, edges, PILOT),
    ]
    span = " to ".join(others["percent"].agg(["min", "max"]).map(_told)) if len(others) else "none"
    described = (
        f"{words['value']}. {words['pilots']}: {'; '.join(pilots['text'])}. {words['others']}: {span}. "
        f"{words['placebo']}: {len(chance):,} values. {'; '.join(told['text'][told['text'] != ''])}."
    )
    return alt.layer(*layers, width=WIDTH, height=height, description=described)


def _told(value: float) -> str:
    return number(value, 1, signed=True) + "%"


def _percent(frame: pd.DataFrame, raw: str, scaled: Callable[[float], float]) -> pd.Series[float]:
    return (frame["percent"] if "percent" in frame else frame[raw].map(scaled)).astype(float)


def _edges(values: list[float]) -> Floats:
    """Bin edges on round numbers, at most 50 bins, wide enough for everything on the axis."""
    low, high = min(values), max(values)
    sizes = (size * 10.0**power for power in range(-4, 9) for size in (1, 2, 5))
    step = next(size for size in sizes if size * 46 >= high - low)
    return np.arange(np.floor(low / step) - 1, np.ceil(high / step) + 2) * step


def _stacked(rows: pd.DataFrame, apart: float) -> pd.DataFrame:
    """Lift each dot to the lowest level where it touches none on its right."""
    ends: list[float] = []
    levels = []
    for value in rows["percent"]:
        levels.append(next((level for level, end in enumerate(ends) if end - value >= apart), len(ends)))
        ends[levels[-1] : levels[-1] + 1] = [value]
    return rows.assign(level=levels)


def _labels(rows: pd.DataFrame, x: alt.X, edges: Floats, ink: str) -> list[alt.Chart]:
    """Write the column text beside each value: away from zero where it fits even on a phone, else where more is free."""
    unit = (edges[-1] - edges[0]) / NARROW
    at = rows["percent"]
    needed = rows["text"].map(pixels) * unit + GAP * unit
    above, below = edges[-1] - at, at - edges[0]
    late = ((at >= 0) & (needed > above) & (below > above)) | ((at < 0) & ((needed <= below) | (below > above)))
    kind: dict[str, Any] = {"color": ink, "fontSize": SIZE, "fontWeight": 600}
    here = "scale('x', datum.percent)"
    rows = rows.assign(late=late)  # one frame for both sides, so that pages of all languages hold the same numbers
    sides: list[Any] = [("datum.late", "right", -GAP, here), ("!datum.late", "left", GAP, f"width - {here}")]
    charts = [  # a name is shortened where it would leave the chart: pages are drawn in a font wider than their readers'
        alt.Chart(rows).transform_filter(chosen).mark_text(align=side, dx=dx, limit=alt.ExprRef(expr=left), **kind)
        for chosen, side, dx, left in sides
    ]
    return [chart.encode(x=x, y=PIXEL, text=alt.Text("text:N")) for chart in charts]


def _pilots(rows: pd.DataFrame, x: alt.X, edges: Floats) -> list[alt.Chart]:
    rows = rows.assign(y=[6 + LINE * (line + 1) for line in range(len(rows))])
    dots = alt.Chart(rows).mark_point(size=90, color=PILOT, fill=PILOT, opacity=1)
    return [dots.encode(x=x, y=PIXEL, tooltip=TIP), *_labels(rows, x, edges, PILOT)]


def _others(rows: pd.DataFrame, x: alt.X, edges: Floats, top: float) -> list[alt.Chart]:
    if rows.empty:
        return []
    rows = rows.assign(y=top + LINE + DOT * (rows["level"].max() - rows["level"]) + 16)
    dots = alt.Chart(rows).mark_point(size=70, color=OTHER, fill=PAPER, strokeWidth=1.75, opacity=1)
    ends = [rows.head(1).assign(y=top + LINE - 2), rows.iloc[1:].tail(1).assign(y=rows["y"].max() + 18)]
    return [dots.encode(x=x, y=PIXEL, tooltip=TIP), *_labels(pd.concat(ends), x, edges, SOFT)]


def _hill(chance: pd.Series[float], x: alt.X, edges: Floats, height: float) -> Any:
    count, _ = np.histogram(chance, bins=edges)
    y = height - count * HILL / max(int(count.max()), 1)
    bars = pd.DataFrame({"percent": edges[:-1], "end": edges[1:], "n": count, "y": y, "y2": height})
    drawn = alt.Chart(bars[bars["n"] > 0]).mark_bar(color=OTHER, stroke=PAPER, strokeWidth=0.75)
    return drawn.encode(x=x, x2=alt.X2("end:Q"), y=PIXEL, y2=alt.Y2("y2:Q"), tooltip=[alt.Tooltip("n:Q", title="n")])
