"""A weekly figure within the limits of its own process."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.charts.curves import HEIGHT, LETTERS, LINE, NARROW, pixels, placed, texts
from strategy_kit.errors import ParameterError
from strategy_kit.formats import number

LIMITS = ["centre", "upper", "lower"]
WORDS = {
    "value": "Value", "upper": "upper limit", "centre": "average", "lower": "lower limit", "beyond": "beyond limits",
    "run": "run on one side", "trend": "steady trend", "near_limit": "near a limit", "festival": "festival",
    "incomplete": "incomplete",
}  # fmt: skip
SIGNALS = ("", "beyond", "run", "trend", "near_limit", "festival")
COLUMNS: dict[str, tuple[str, ...]] = {**dict.fromkeys(["value", *LIMITS, "complete"], ()), "signal": SIGNALS}
MARKS: dict[str, dict[str, Any]] = {
    "": {"shape": "circle", "fill": theme.PILOT, "color": theme.PILOT, "size": 10},
    "signal": {"shape": "diamond", "fill": theme.WARNING, "color": theme.WARNING, "size": 70},
    "festival": {"shape": "square", "fill": theme.PAPER, "color": theme.INK, "size": 70},
    "incomplete": {"shape": "circle", "fill": theme.PAPER, "color": theme.PILOT, "size": 70},
}


def process_control(frame: pd.DataFrame, *, period: str = "week", labels: theme.Labels | None = None) -> theme.Chart:
    """Draw a figure over time with its average and limits, and say in words which points have a special cause.

    Special causes are filled diamonds, festivals open squares, incomplete periods open circles. Of several in a row
    with the same word the last has it; a word that would cover a newer one is left to the tooltip.

    Parameters
    ----------
    frame
        Columns `period` (dates), `value`, `centre`, `lower`, `upper` (constant, in steps, or missing), `signal` ("",
        "beyond", "run", "trend", "near_limit" or "festival"), `complete` (bool).
    labels
        Words: "value" (what is shown, with the unit), "upper", "centre", "lower", one per signal, "incomplete".

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns, or a signal is unknown.

    Examples
    --------
    >>> weeks = pd.DataFrame({"week": pd.date_range("2025-01-06", periods=3, freq="W-MON"), "value": [5, 6, 9]})
    >>> weeks = weeks.assign(centre=5.0, lower=3.0, upper=7.0, signal=["", "", "beyond"], complete=True)
    >>> process_control(weeks, period="week").description
    'Value, 2025-01-06 to 2025-01-20; average 5.0, upper limit 7.0, lower limit 3.0; 2025-01-20 beyond limits.'
    """
    theme.require("process_control", frame, {period: (), **COLUMNS})
    if frame[period].duplicated().any():
        raise ParameterError(
            f"process_control draws one line, but a {period} repeats; choose one group of the frame first"
        )
    theme.require("process_control", frame.dropna(subset="value"), {})
    words = theme.worded(WORDS, labels)
    rows = _marked(frame, period, words)
    values = rows[["value", "lower", "upper"]].to_numpy()
    low, high = np.nanmin(values), np.nanmax(values)
    room = 0.1 * (high - low or abs(high) or 1.0)
    reach = [0.0 if 0 <= low <= room else low - room, high + room]
    rows["point"] = HEIGHT * (reach[1] - rows["value"]) / (reach[1] - reach[0])
    phases = _phases(rows)
    ends = phases.tail(1).melt(["when", "until"], LIMITS, "name").assign(when=lambda end: end["until"])
    ends = ends.assign(text=ends["name"].map(words), across=0.0, align="left", dx=6, ink=theme.SOFT)
    ends = placed(ends.assign(down=HEIGHT * (reach[1] - ends["value"]) / (reach[1] - reach[0])))
    said = _causes(rows, NARROW - 60 - max(ends["text"].map(pixels), default=0))
    causes = placed(said, (-2 * LINE, -LINE, 0), stem=True)
    causes["down"] -= causes["down"].max() + 10
    short = rows["day"].max() - rows["day"].min() < pd.Timedelta(weeks=26)
    time = alt.Axis(grid=False, format="%Y-%m-%d" if short else "%Y-%m", tickCount=4 if short else 6)
    x = alt.X("when:T", title=None, axis=time)
    y = alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=5, format=",.12~g"))
    stem: dict[str, Any] = {"y": alt.ExprRef("datum.down - 7"), "y2": alt.ExprRef("datum.point - 5")}
    head = causes["down"].min() - 20 if len(causes) else -14
    layers = [
        *_limits(phases, x),
        *(
            [alt.Chart(causes).mark_rule(color=theme.OTHER, strokeWidth=0.75, **stem).encode(x=x)]
            if len(causes)
            else []
        ),
        *_points(rows, words["value"], x, y.scale(domain=reach, nice=False, zero=False)),
        texts(ends, x),
        *([texts(causes, x)] if len(causes) else []),
        theme.headed(rows, words["value"], head),
    ]
    told = [", ".join(f"{text} {number(at, 1)}" for text, at in zip(ends["text"], ends["value"], strict=True))]
    told += list((said["when"].str[:10] + " " + said["text"]).iloc[::-1])
    span = f"{words['value']}, {rows['when'].iloc[0]:.10} to {rows['when'].iloc[-1]:.10}"
    described = "; ".join(filter(None, [span, *told]))
    return alt.layer(*layers, width=theme.WIDTH, height=HEIGHT, description=f"{described}.")


def _marked(frame: pd.DataFrame, period: str, words: theme.Labels) -> pd.DataFrame:
    """Say of each period how it is drawn and what its word is; incomplete goes before any signal."""
    rows = frame.assign(day=pd.to_datetime(frame[period])).sort_values("day", ignore_index=True)
    code = rows["signal"].astype(str).where(rows["complete"].astype(bool), "incomplete")
    return rows[["day", "value", *LIMITS]].assign(
        value=rows["value"].astype(float),
        when=rows["day"].dt.strftime(theme.DAY),
        mark=code.where(code.isin(list(MARKS)), "signal"),
        text=code.map({**words, "": ""}),
    )


def _phases(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each stretch of equal limits, from half a period before its first day to half after its last."""
    limits, half = rows[LIMITS], (rows["day"].diff().median() if len(rows) > 1 else pd.Timedelta(days=7)) / 2
    stretch = limits.ne(limits.shift()).any(axis=1).cumsum()
    edges = rows.assign(when=rows["day"] - half, until=rows["day"] + half).groupby(stretch)
    return edges.agg({**dict.fromkeys(LIMITS, "first"), "when": "first", "until": "last"}).dropna()


def _limits(phases: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    base = alt.Chart(phases).encode(x=x, x2=alt.X2("until:T"))
    area = base.mark_rect(color=theme.TINTS[0.95], opacity=0.6).encode(
        y=alt.Y("lower:Q", title=None), y2=alt.Y2("upper:Q")
    )
    rules = [base.mark_rule(color=theme.SOFT, strokeDash=[2, 3] if name == "centre" else [6, 3]) for name in LIMITS]
    return [area, *(rule.encode(y=alt.Y(f"{name}:Q", title=None)) for rule, name in zip(rules, LIMITS, strict=True))]


def _points(rows: pd.DataFrame, title: str, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Draw the line, dotted to incomplete periods, the marks, and what the pointer finds."""
    when = alt.Tooltip("when:T", format="%Y-%m-%d", title=" ")
    tips = [when, alt.Tooltip("value:Q", format=",.4~g", title=title), alt.Tooltip("text:N", title="  ")]
    base = alt.Chart(rows)
    whole = alt.Chart(rows.assign(value=rows["value"].where(rows["mark"] != "incomplete")))
    held = {name: rows[rows["mark"] == name] for name in MARKS}
    marks = [alt.Chart(held[name]).mark_point(opacity=1, **MARKS[name]) for name in MARKS if len(held[name])]
    layers = [
        base.mark_line(color=theme.PILOT, strokeWidth=1.5, strokeDash=[1.5, 3.5]),
        whole.mark_line(color=theme.PILOT, strokeWidth=2),
        *marks,
        base.mark_point(size=120, opacity=0).encode(tooltip=tips),
    ]
    return [layer.encode(x=x, y=y) for layer in layers]


def _causes(rows: pd.DataFrame, wide: int) -> pd.DataFrame:
    """Words of the marked points, newest first, in a strip above the plot."""
    days = (rows["day"] - rows["day"].min()).dt.days
    across = days / max(days.max(), 1) * wide
    room = across > rows["text"].map(pixels).clip(upper=7 * LETTERS)
    rows = rows.assign(across=across, align=np.where(room, "right", "left"), dx=np.where(room, -4, 4))
    rows = rows.assign(ink=np.where(rows["mark"] == "signal", theme.WARNING, theme.SOFT))
    rows["down"] = -LINE / 2 * rows["text"].map(lambda text: len(theme.wrapped(text, LETTERS)) - 1)
    last = (rows["text"] != "") & (rows["text"] != rows["text"].shift(-1)) & rows["value"].notna()
    return rows[last].iloc[::-1]
