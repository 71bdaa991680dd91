"""Intervals of one effect under violations of parallel trends of growing size, and where the finding breaks down."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.charts.effects_grid import writer
from strategy_kit.formats import number

HEIGHT, EDGE, ROOM = 300, 0.16, 1.25
COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(["magnitude", "conf_low", "conf_high"], ())
WHOLE: dict[str, tuple[str, ...]] = dict.fromkeys(["estimate", "conf_low", "conf_high", "breakdown"], ())
WHOLE |= {"restriction": ("relative_magnitudes", "smoothness")}
WORDS = {
    "value": "Effect, in units of the outcome",
    "relative_magnitudes": "Violation after the start, in multiples of the worst one seen before it",
    "smoothness": "Change of slope that is allowed from one period to the next, in units of the outcome",
    "original": "original",
    "off": "Solid: the interval excludes zero",
    "holds": "Broken: it holds zero",
    "breakdown": "breakdown",
    "beyond": "breakdown beyond the scale:",
    "endless": "no violation seen before, so no breakdown",
    "none": "no finding to defend",
}


def sensitivity(result: Any, *, percent: bool = False, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw the fan of intervals over the size of the violation, the original interval at its left, the breakdown marked.

    Parameters
    ----------
    result
        A `Sensitivity`: `tidy()` with magnitude, conf_low, conf_high, and `glance()` with restriction, estimate, conf_low,
        conf_high, breakdown.
    percent
        True where the effects are shares, to be shown as percentages; so are sizes in units of the outcome.
    labels
        Words: "value" (axis title with the unit), "relative_magnitudes" and "smoothness" (titles of the sizes),
        "original", the legend "off" and "holds", and of the breakdown "breakdown", "beyond", "endless", "none".

    Raises
    ------
    ParameterError
        If a frame has no rows or lacks columns, or the restriction is unknown.

    Examples
    --------
    >>> from strategy_kit.sensitivity import relative_magnitudes, study_of
    >>> study = study_of([0.1, 1.0], [[0.01, 0.0], [0.0, 0.01]], [-2, 0])
    >>> sensitivity(relative_magnitudes(study, magnitudes=[0.0, 1.0])).description.split(". ")[1]
    'original +1.0 (+0.8 … +1.2); 0: +0.8 … +1.2; 1: +0.7 … +1.3'
    """
    words = theme.worded(WORDS, labels)
    rows, whole = (getattr(result, part, lambda: result)() for part in ("tidy", "glance"))
    theme.require("sensitivity", rows, COLUMNS)
    theme.require("sensitivity", whole, WHOLE)
    one = whole.iloc[0]
    factor, unit = (100, "%") if percent and one["restriction"] == "smoothness" else (1, "")  # a multiple has no unit
    rows = rows.assign(magnitude=rows["magnitude"] * factor)
    top, breakdown = float(rows["magnitude"].max()) or 1.0, float(one["breakdown"]) * factor
    shown = bool(breakdown <= ROOM * top)
    first, last = -EDGE * top, max(top, breakdown if shown else 0.0)
    cells = _laid(rows, one, first, writer(rows[["conf_low", "conf_high"]], percent=percent), words, unit)
    size = f"datum.value == 0 ? '0' : format(datum.value, '.3~g') + '{unit}'"
    told = f"(abs(datum.value - {first}) < {1e-6 * top}) ? {_quoted(words['original'])} : {size}"
    below = alt.Axis(
        titleAnchor="start", titleLineHeight=17, grid=False, values=cells["magnitude"].tolist(), labelExpr=told
    )
    below.title = [*theme.wrapped(words[one["restriction"]], 46), words["off"], words["holds"]]
    reach = alt.Scale(domain=[1.6 * first, last + EDGE / 2 * top], nice=False)
    x = alt.X("magnitude:Q", axis=below, scale=reach)
    signed = theme.signed_axis("%", 100) if percent else theme.signed_axis()
    y = alt.Y("conf_low:Q", axis=alt.Axis(labelExpr=signed, tickCount=6, title=None))
    mark = _breakdown(breakdown, words, unit, shown=shown)
    diamond: dict[str, Any] = {"color": theme.PILOT, "fill": theme.PILOT, "opacity": 1, "shape": "diamond", "size": 110}
    layers = [
        alt.Chart(cells.iloc[1:]).mark_area(color=theme.TINTS[0.95], opacity=1).encode(x=x, y=y, y2="conf_high:Q"),
        alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=theme.INK, strokeWidth=1).encode(y="at:Q"),
        *(_spans(part, x, y, off=bool(off)) for off, part in cells.groupby("off")),
        alt.Chart(cells.head(1)).mark_point(**diamond).encode(x=x, y="estimate:Q"),
        *_marked(mark, x, breakdown if shown else np.nan, last),
        theme.headed(rows, words["value"], -30),
    ]
    described = f"{words['value']}. {'; '.join(cells['told'])}. {words[one['restriction']]}; {mark}."
    return alt.layer(*layers, width=theme.WIDTH, height=HEIGHT, description=described)


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ") + "'"


def _laid(rows: pd.DataFrame, one: Any, first: float, write: Any, words: theme.Labels, unit: str) -> pd.DataFrame:
    """Put the original interval before those of each size, with the text of each."""
    head = pd.DataFrame({"magnitude": [first], **{name: [one[name]] for name in ("estimate", "conf_low", "conf_high")}})
    cells = pd.concat([head, rows[[*COLUMNS]]], ignore_index=True).astype(float)
    span = cells["conf_low"].map(write) + " … " + cells["conf_high"].map(write)
    sizes = cells["magnitude"].map(lambda size: f"{size:.3g}{unit}: ")
    told = (sizes + span).where(cells.index > 0, f"{words['original']} {write(one['estimate'])} (" + span + ")")
    return cells.assign(told=told, off=(cells["conf_low"] > 0) | (cells["conf_high"] < 0))


def _breakdown(value: float, words: theme.Labels, unit: str, *, shown: bool) -> str:
    if np.isnan(value):
        return words["none"]
    return words["endless"] if np.isinf(value) else f"{words['breakdown' if shown else 'beyond']} {_three(value)}{unit}"


def _three(value: float) -> str:
    """Write a size with three figures."""
    return number(value, int(np.clip(2 - np.floor(np.log10(value)), 0, 12)) if value > 0 else 0)


def _spans(part: pd.DataFrame, x: alt.X, y: alt.Y, *, off: bool) -> Any:
    look: dict[str, Any] = {"color": theme.PILOT} if off else {"color": theme.OTHER, "strokeDash": [5, 3]}
    tip = theme.tips(told=" ")
    return alt.Chart(part).mark_rule(strokeWidth=5, **look).encode(x=x, y=y, y2="conf_high:Q", tooltip=tip)


def _marked(text: str, x: alt.X, at: float, last: float) -> list[Any]:
    """Mark the breakdown by a line and its value above the plot; by words at the right where the scale ends before it."""
    if np.isfinite(at):
        return theme.start_rule(x, at, text, "right" if at > last / 2 else "left", HEIGHT)
    note = alt.Chart(pd.DataFrame({"text": [text]}))
    return [note.mark_text(color=theme.WARNING, fontWeight=600, align="right", x="width", y=-9).encode(text="text:N")]
