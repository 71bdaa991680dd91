"""Weekly or monthly lines: the pilots against the others."""

from __future__ import annotations

from itertools import chain, cycle
from typing import TYPE_CHECKING

import altair as alt
import pandas as pd

from strategy_kit.charts.theme import (
    DAY,
    OTHER,
    PAPER,
    PILOT,
    SOFT,
    WIDTH,
    Chart,
    Labels,
    Side,
    require,
    start_rule,
    worded,
)

if TYPE_CHECKING:
    import datetime as dt

HEIGHT, LINE = 260, 17
WORDS = {"incomplete": "incomplete", "start": "pilot starts"}


def kpi_trend(
    table: pd.DataFrame,
    *,
    metric: str,
    period: str,
    series: str,
    labels: Labels | None = None,
    start: str | dt.date | None = None,
) -> Chart:
    """Draw one metric over time, one line per series, incomplete periods as open points.

    Parameters
    ----------
    table
        Columns `period` (dates), `series` (with the value "pilot" for the pilots), `metric` in the unit
        that is to be shown, and `complete` (bool).
    labels
        Words: "value" (axis title with the unit), "incomplete", "start", and one per value of `series`.
    start
        Day on which the pilot began; a labelled rule.

    Examples
    --------
    >>> weeks = pd.date_range("2025-01-06", periods=4, freq="W-MON")
    >>> frame = pd.DataFrame({"week": weeks, "who": "pilot", "gmv": [1, 2, 3, 1], "complete": [1, 1, 1, 0]})
    >>> chart = kpi_trend(frame, metric="gmv", period="week", series="who")
    """
    require("kpi_trend", table, dict.fromkeys([period, series, metric, "complete"], ()))
    kept = table.dropna(subset=[metric]).sort_values([series, period], ignore_index=True)
    require("kpi_trend", kept, {})
    names = sorted(kept[series].astype(str).unique(), key=lambda name: (name != "pilot", name))
    words = worded({"value": metric, **WORDS, **{name: name for name in names}}, labels)
    rows = pd.DataFrame({"when": pd.to_datetime(kept[period]).dt.strftime(DAY)}).assign(
        series=kept[series].astype(str),
        name=kept[series].astype(str).map(words),
        value=kept[metric].astype(float),
        complete=kept["complete"].astype(bool),
    )
    low, high = rows["value"].min(), rows["value"].max()
    room = (high - low or abs(high) or 1.0) * 0.06
    y = alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=5, format=",.12~g")).scale(
        domain=[0.0 if 0 <= low <= room else low - room, high + room], nice=False
    )
    when = pd.to_datetime(kept[period])
    short = when.max() - when.min() < pd.Timedelta(weeks=26)
    time = alt.Axis(grid=False, format="%Y-%m-%d" if short else "%Y-%m", tickCount=4 if short else 6)
    x = alt.X("when:T", title=None, axis=time)
    above = -8 - LINE * (start is not None)
    unfinished = _incomplete(rows, words["incomplete"], x, above)
    title = alt.Chart(rows.head(1)).mark_text(text=words["value"], align="left", x=0, color=SOFT)
    layers = [
        *_start(start, rows["when"], words["start"], x),
        *_lines(rows, names, words["value"], x, y),
        *_end_labels(rows, names, x, 1.12 * (high - low or abs(high) or 1.0) / HEIGHT),
        *unfinished,
        title.encode(y=alt.value(above - LINE * bool(unfinished))),
    ]
    described = f"Line chart of {words['value']} for {', '.join(words[name] for name in names)}."
    return alt.layer(*layers, width=WIDTH, height=HEIGHT, description=described)


def _ink(names: list[str]) -> alt.Scale:
    return alt.Scale(domain=names, range=[PILOT if name == "pilot" else OTHER for name in names])


def _lines(rows: pd.DataFrame, names: list[str], title: str, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    grey = chain([[6, 4]], cycle([[2, 3], [10, 3], [8, 3, 2, 3]]))
    dashes = alt.Scale(domain=names, range=[[1, 0] if name == "pilot" else next(grey) for name in names])
    dash, ink = alt.StrokeDash("series:N", legend=None, scale=dashes), _ink(names)
    colour = alt.Color("series:N", legend=None, scale=ink)
    parts = alt.Chart(_parts(rows)).encode(x=x, y=y, color=colour, detail=alt.Detail("part:N"))
    when = alt.Tooltip("when:T", format="%Y-%m-%d", title=" ")
    tips = [alt.Tooltip("name:N", title="  "), when, alt.Tooltip("value:Q", format=",.4~g", title=title)]
    dots = alt.Chart(rows).encode(x=x, y=y, tooltip=tips)
    late = dots.transform_filter("!datum.complete")
    hollow = late.mark_point(size=50, strokeWidth=1.75, fill=PAPER, opacity=1)
    solid = parts.transform_filter("datum.solid").mark_line(strokeWidth=2.25).encode(strokeDash=dash)
    lines = [solid, dots.mark_point(size=120, opacity=0)]
    if not rows["complete"].all():
        dotted = parts.transform_filter("!datum.solid").mark_line(strokeWidth=2.25, strokeDash=[1.5, 3.5])
        lines += [dotted, hollow.encode(stroke=alt.Stroke("series:N", legend=None, scale=ink))]
    return lines


def _parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Split each series where it turns complete or incomplete; the joining period is in both parts."""
    parts = []
    for name, line in rows.groupby("series", sort=False):
        solid = line["complete"] & line["complete"].shift(-1, fill_value=True)
        for number, run in solid.groupby((solid != solid.shift()).cumsum()):
            part = line.loc[run.index[0] : run.index[-1] + 1, ["when", "series", "value"]]
            parts.append(part.assign(part=f"{name} {number}", solid=bool(run.iloc[0])))
    return pd.concat(parts)


def _end_labels(rows: pd.DataFrame, names: list[str], x: alt.X, pixel: float) -> list[alt.Chart]:
    """Name each line at its end, as high as its last complete period, at least 16 px apart."""
    whole = rows[rows["complete"]] if rows["complete"].any() else rows
    ends = whole.groupby("series", sort=False).tail(1).sort_values("value").assign(when=rows["when"].max())
    spots: list[float] = []
    for value in ends["value"]:
        spots.append(max(value, spots[-1] + 16 * pixel) if spots else value)
    down = max(0.0, spots[-1] - rows["value"].max())
    ends["value"] = [spot - down for spot in spots]
    text = alt.Chart(ends).mark_text(align="left", dx=10, fontWeight=600)
    ink = alt.Color("series:N", legend=None, scale=_ink(names))
    return [text.encode(x=x, y=alt.Y("value:Q"), text=alt.Text("name:N"), color=ink)]


def _start(start: str | dt.date | None, when: pd.Series[str], label: str, x: alt.X) -> list[alt.Chart]:
    if start is None:
        return []
    day, first, last = pd.Timestamp(start), pd.Timestamp(when.min()), pd.Timestamp(when.max())
    side: Side = "right" if day > first + (last - first) / 2 else "left"
    return start_rule(x, day.strftime(DAY), label, side, HEIGHT)


def _incomplete(rows: pd.DataFrame, label: str, x: alt.X, y: float) -> list[alt.Chart]:
    ends: list[tuple[str, Side]] = [(rows["when"].min(), "left"), (rows["when"].max(), "right")]
    base = {end: alt.Chart(pd.DataFrame({"when": [end]})).encode(x=x) for end, _ in ends}
    open_ends = [pair for pair in ends if not rows.loc[rows["when"] == pair[0], "complete"].all()]
    return [base[end].mark_text(text=label, color=SOFT, align=side, y=y) for end, side in open_ends]
