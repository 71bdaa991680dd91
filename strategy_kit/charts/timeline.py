"""The pilots' path around their start, and below it what else happened in the same weeks."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from strategy_kit.charts import theme

HEIGHT, BELOW, ROW = 260, 40, 26
KINDS = {"support": theme.PILOT, "festival": theme.OTHER, "policy": theme.SOFT, "limiting": theme.WARNING}
LEVELS = (0.95, 0.80, 0.50)
COLUMNS = ("age", "level", "estimate", "low", "high")
WORDS = {"value": "Gap, percent", "age": "weeks since the start", "start": "start", "span": "95%"}


def effect_timeline(path: pd.DataFrame, events: pd.DataFrame, *, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw a path with nested intervals by age, and bars of what was going on below, on the same weeks.

    Parameters
    ----------
    path
        age, level (0.5, 0.8, 0.95), estimate, and the ends low and high of what is shaded at that level, in percent; an age
        with a missing end has none.
    events
        kind (support, festival, policy, limiting), label, first and last in ages; one row below the chart each, in order.
    labels
        Words: "value", "age", "start", and "span" before the interval.

    Raises
    ------
    ParameterError
        If a frame lacks a column, the path is empty, or a kind is unknown.

    Examples
    --------
    >>> rows = [(age, level, 1.0 * age, age - level, age + level) for age in (-1, 0, 1) for level in (0.5, 0.8, 0.95)]
    >>> path = pd.DataFrame(rows, columns=["age", "level", "estimate", "low", "high"])
    >>> fair = {"kind": ["festival"], "label": ["Fair"], "first": [0.0], "last": [0.6]}
    >>> effect_timeline(path, pd.DataFrame(fair)).height
    260
    """
    words = theme.worded(WORDS, labels)
    theme.require("effect_timeline", path, dict.fromkeys(COLUMNS, ()))
    if not events.empty:
        theme.require("effect_timeline", events, {"kind": KINDS, "label": (), "first": (), "last": ()})
    first, last = path["age"].min() - 0.5, path["age"].max() + 0.5
    x = theme.ages([first, last], words["age"])
    y = alt.Axis(labelExpr=theme.signed_axis("%"), tickCount=6, title=None)
    areas = {level: path.loc[path["level"] == level, ["age", "low", "high"]].dropna() for level in LEVELS}
    bands = [theme.shade(rows, theme.TINTS[level], x, y) for level, rows in areas.items()]
    rows = path[path["level"] == LEVELS[0]]
    base = alt.Chart(rows).encode(x=x)
    tips = [alt.Tooltip("age:Q", title=words["age"]), alt.Tooltip("estimate:Q", title=words["value"], format="+.1f")]
    return alt.layer(
        *bands,
        alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=theme.INK, strokeWidth=1).encode(y="at:Q"),
        *theme.start_rule(x, -0.5, words["start"], "left" if last > -first / 3 else "right", HEIGHT),
        base.mark_line(color=theme.PILOT, strokeWidth=2.25).encode(y="estimate:Q"),
        base.mark_point(color=theme.PILOT, fill=theme.PILOT, size=18, opacity=1).encode(y="estimate:Q", tooltip=tips),
        theme.headed(rows, words["value"], -30),
        *_strip(events, x, (first, last)),
        width=theme.WIDTH,
        height=HEIGHT,
    )


def _beside(*, left: bool) -> dict[str, Any]:
    """Start a name at its bar, or end it there; a name longer than the plot is cut with an ellipsis."""
    room = "width - scale('x', datum.age)" if left else "scale('x', datum.age)"
    return {"align": "left" if left else "right", "limit": alt.ExprRef(f"max(60, {room})")}


def _strip(events: pd.DataFrame, x: alt.X, span: tuple[float, float]) -> list[Any]:
    """Place each event in a row of its own below the axis, its name above the bar on the side that has room."""
    layers = []
    for row, event in enumerate(events.to_dict("records")):
        ends = max(event["first"], span[0]), min(event["last"], span[1])
        top = HEIGHT + BELOW + row * ROW
        left = (ends[0] + ends[1]) / 2 < (span[0] + span[1]) / 2
        bar = alt.Chart(pd.DataFrame({"age": [ends[0]], "until": [ends[1]]})).encode(x=x, x2="until:Q")
        name = alt.Chart(pd.DataFrame({"age": [ends[0] if left else ends[1]]})).encode(x=x)
        ink = KINDS[event["kind"]]
        layers += [
            bar.mark_rule(color=ink, strokeWidth=5, y=top + 16),
            name.mark_text(text=event["label"], color=ink, y=top + 5, fontSize=12, **_beside(left=left)),
        ]
    return layers
