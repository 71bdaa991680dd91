"""Colours, fonts, words and the renderer that every chart of the kit shares."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Mapping
from typing import Any, Literal

import altair as alt
import pandas as pd

from strategy_kit.errors import ParameterError, nearest, refuse

INK, SOFT, RULE, HAIR, PAPER = "#1B1F23", "#4A5157", "#C9CED2", "#E6E9EB", "#FFFFFF"
PILOT, OTHER, WARNING = "#12436D", "#6B7278", "#801650"
TINTS = {0.95: "#DEE5EB", 0.80: "#B8C7D3", 0.50: "#7C97AE"}
FONT = (
    '-apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "PingFang SC", "Microsoft YaHei", '
    '"Noto Sans CJK SC", sans-serif'
)
WIDTH = 720
DAY = "%Y-%m-%dT00:00:00"
"""How a day is handed to a time axis: a date alone would be midnight in Greenwich, which is the day before to its west."""
MIME = "application/vnd.vegalite.v5+json"

Chart = alt.Chart | alt.LayerChart | alt.FacetChart
Side = Literal["left", "right"]
Labels = Mapping[str, str]


def signed_axis(unit: str = "", factor: float = 1) -> str:
    """Vega expression that labels an axis with signed numbers and a bare zero."""
    number = f"format(abs(datum.value) * {factor}, ',.12~g') + '{unit}'"
    return f"datum.value == 0 ? '0' : (datum.value > 0 ? '+' : '−') + {number}"


# a run of spaces; a Chinese character with the mark that closes it; a word or number with its Chinese unit
_PIECE = re.compile(r"[ \n\t]+|[\u2e80-\uffff][，。；：、！？）》”]*|[^ \n\t–\u2e80-\uffff]+[千万亿]*–?|–")


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` Latin letters, of which a Chinese character takes two.

    Words and numbers stay whole unless one is wider than a line.
    """
    lines, room = [""], width
    for piece in _PIECE.findall(text):
        size = sum(1 + (letter >= "\u2e80") for letter in piece)
        if size > room and lines[-1]:
            lines, room = [*lines, ""], width
        if piece.isspace() and not lines[-1]:
            continue
        parts = [piece] if size <= width else textwrap.wrap(piece, max(width, 1))
        lines[-1:] = [lines[-1] + parts[0], *parts[1:]]
        room = (room if len(parts) == 1 else width) - sum(1 + (letter >= "\u2e80") for letter in parts[-1])
    return [line.rstrip(" ") for line in lines if line.strip(" ")]


def worded(default: Labels, labels: Labels | None) -> dict[str, str]:
    """Put the caller's words in the place of the default ones; an unknown one is refused."""
    given = labels or {}
    unknown = [f"no word is called {name!r}{nearest(name, default)}" for name in given if name not in default]
    refuse(ParameterError, "labels", unknown)
    return {**default, **given}


def require(chart: str, frame: Any, columns: Mapping[str, Collection[str]]) -> None:
    """Refuse a frame without a column, without a row, or with a code that is none of those listed for its column."""
    if not isinstance(frame, pd.DataFrame):
        kind = type(frame).__name__
        raise ParameterError(f"{chart}: a {kind} is no result or tidy frame; pass what a function of the kit returns")
    lacking = [f"{name!r}{nearest(name, map(str, frame.columns))}" for name in columns if name not in frame.columns]
    if lacking:
        raise ParameterError(f"{chart}: the frame lacks {', '.join(lacking)}; add what is missing")
    if frame.empty:
        raise ParameterError(f"{chart}: no row has anything to draw; leave the chart out")
    coded = [(name, code, known) for name, known in columns.items() if known for code in frame[name].unique()]
    laws = [
        f"{name} {code!r} is none of {', '.join(map(repr, known))}{nearest(str(code), known)}"
        for name, code, known in coded
        if code not in known
    ]
    refuse(ParameterError, chart, laws)


def down(name: str) -> alt.Y:
    """Place by a column of pixels from the top, without an axis."""
    return alt.Y(f"{name}:Q", axis=None, scale=None)


def across(name: str, most: int = 1, **scale: Any) -> alt.X:
    """Place by a column of shares of the width, which is `most`, without an axis."""
    return alt.X(f"{name}:Q", axis=None, scale=alt.Scale(domain=[0, most], nice=False, zero=False, **scale))


def below(field: str, ends: list[Any], title: str | list[str], **axis: Any) -> alt.X:
    """Axis below a plot that goes from one end to the other, without lines through the plot."""
    lines: dict[str, Any] = {"titleLineHeight": 17} if isinstance(title, list) else {}
    x = alt.X(field, scale=alt.Scale(domain=ends, nice=False))
    return x.axis(title=title, titleAnchor="start", **lines, grid=False, **axis)


def ages(ends: list[Any], title: str | list[str]) -> alt.X:
    """Axis below a plot of periods before and after a start."""
    labels: dict[str, Any] = {"labelExpr": signed_axis(), "labelSeparation": 10, "labelFlush": True}
    return below("age:Q", ends, title, tickMinStep=1, tickCount=12, **labels)


def tips(**titles: str) -> list[alt.Tooltip]:
    """Show these columns under these titles where the pointer is."""
    return [alt.Tooltip(f"{name}:N", title=title) for name, title in titles.items()]


def headed(rows: pd.DataFrame, text: str | list[str], y: float, **style: Any) -> alt.Chart:
    """Write what is shown above the plot."""
    return alt.Chart(rows.head(1)).mark_text(text=text, align="left", x=0, y=y, color=SOFT, **style)


def shade(rows: pd.DataFrame, tint: str, x: alt.X, axis: alt.Axis) -> Any:
    """Fill what is between the last two columns."""
    low, high = rows.columns[-2:]
    return (
        alt.Chart(rows)
        .mark_area(color=tint, opacity=1)
        .encode(x=x, y=alt.Y(f"{low}:Q", axis=axis), y2=alt.Y2(f"{high}:Q"))
    )


def edge(base: alt.Chart, bound: str) -> Any:
    """Draw an end of a band as a broken line."""
    return base.mark_line(color=SOFT, strokeWidth=1, strokeDash=[3, 2]).encode(y=alt.Y(f"{bound}:Q"))


def start_rule(x: alt.X, at: str | float, label: str, side: Side, height: int) -> list[alt.Chart]:
    """Mark the start in the warning colour, its label above the plot on the side that has room."""
    base = alt.Chart(pd.DataFrame({x.shorthand.split(":")[0]: [at]})).encode(x=x)
    text = base.mark_text(text=label, color=WARNING, fontWeight=600, align=side, dx=-5 if side == "right" else 5, y=-9)
    return [base.mark_rule(color=WARNING, strokeWidth=1.5, y=-16, y2=height), text]


def renderer(spec: dict[str, Any], **_: object) -> dict[str, Any]:
    """Mime bundle that JupyterLab draws without a network, and that the exporter reads."""
    schema = "https://vega.github.io/schema/vega-lite/v5.json"
    words = spec.get("description") or "Chart without a description"
    return {MIME: {**spec, "$schema": schema}, "text/plain": words}


def theme() -> alt.theme.ThemeConfig:
    """Configuration of every chart: one font, quiet axes, `width` as the total width."""
    axis = {"domainColor": RULE, "gridColor": HAIR, "tickColor": INK, "labelColor": SOFT, "titleColor": SOFT}
    sizes = {"labelFontSize": 12, "titleFontSize": 12}
    title = {"anchor": "start", "frame": "bounds", "offset": 16, "color": INK, "fontSize": 16}
    subtitle = {"subtitleColor": SOFT, "subtitleFontSize": 12, "subtitleLineHeight": 16, "subtitlePadding": 6}
    config: dict[str, Any] = {
        "font": FONT,
        "background": PAPER,
        "padding": 2,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "view": {"stroke": None, "continuousWidth": WIDTH, "discreteWidth": WIDTH},
        "axis": {**axis, **sizes, "labelOverlap": "greedy", "labelSeparation": 8, "titleFontWeight": 400},
        "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
        "legend": sizes,
        "title": {**title, **subtitle, "fontWeight": 600, "lineHeight": 22},
        "text": {"font": FONT, "fontSize": 12, "color": SOFT},
        "mark": {"color": PILOT},
        "rule": {"color": INK},
        "tick": {"opacity": 1},
        "range": {"category": [PILOT, OTHER, WARNING, SOFT], "ramp": [TINTS[0.95], PILOT]},
    }
    return {"config": config}  # type: ignore[typeddict-item]


def enable() -> None:
    """Make the kit's renderer and theme the ones that Altair uses."""
    alt.renderers.register("strategy_kit", renderer)
    alt.renderers.enable("strategy_kit")
    alt.theme.register("strategy_kit", enable=True)(theme)
