"""Shares or values by age: an average among its cohorts, or two groups side by side."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from strategy_kit.charts.theme import HAIR, OTHER, PILOT, SOFT, TINTS, WIDTH, Chart, Labels, require, worded, wrapped
from strategy_kit.formats import number
from strategy_kit.formats import percent as percentage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    Box = tuple[float, float, float, float]

HEIGHT, LINE, NARROW, LETTERS = 260, 16, 330, 16
COLUMNS: dict[str, tuple[str, ...]] = {"age": (), "value": (), "series": ()}
WORDS = {"value": "Share still active", "age": "Months since the first", "interval": "shaded: 95% intervals"}


def retention_curves(frame: pd.DataFrame, *, percent: bool = True, labels: Labels | None = None) -> Chart:
    """Draw values by age on an axis from 0, one line per series, named at its end.

    A series "average" is heavy and blue among others that are thin and grey, of which those that reach the last age
    are named. Without one, the series "supported", else the first, is solid and blue, and the others are broken and
    grey. A name that would cover another is left to the tooltip.

    Parameters
    ----------
    frame
        From `cohort.average`, `retention`, `survival` or `supported`; or columns `age` (whole number), `value`, `series`
        (text), and optionally `low` and `high`, which are shaded.
    percent
        True where values are shares, to be shown as percentages.
    labels
        Words: "value" and "age" (axis titles), "interval" (what the shading is), and one per value of `series`.

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> import pandas as pd
    >>> curve = pd.DataFrame({"age": [0, 1, 2], "value": [1, 0.62, 0.5], "series": "average"})
    >>> retention_curves(curve).description
    'Share still active, by months since the first: average 100.0% at 0, 50.0% at 2.'
    """
    frame = _series(frame)
    require("retention_curves", frame, COLUMNS)
    require("retention_curves", frame.dropna(subset="value"), {})
    rows = frame.reindex(columns=[*COLUMNS, "low", "high"]).astype({"value": float, "low": float, "high": float})
    rows = rows.assign(series=rows["series"].astype(str)).sort_values("age", kind="stable", ignore_index=True)
    names = list(dict.fromkeys(frame["series"].astype(str)))
    words = worded({**WORDS, **{name: name for name in names}}, labels)
    lead = next((name for name in ("average", "supported") if name in names), names[0])
    digits, edges = int(rows["value"].abs().max() < 100), rows[["value", "low", "high"]].to_numpy()
    told = [percentage(value) if percent else number(value, digits) for value in rows["value"]]
    rows = rows.assign(name=rows["series"].map(words), text=told)
    span = [int(rows["age"].min()), int(max(rows["age"].max(), rows["age"].min() + 1))]
    reach = [1.05 * min(np.nanmin(edges), 0.0), 1.05 * max(np.nanmax(edges), 0.0) or 1.0]
    x = alt.X("age:Q", title=words["age"], scale=alt.Scale(domain=span, nice=False)).axis(
        titleAnchor="start", grid=False, labelFlush=True, tickMinStep=1, tickCount=min(6, span[1] - span[0])
    )
    tick = "format(100 * datum.value, ',.12~g') + '%'" if percent else "format(datum.value, ',.12~g')"
    y = alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=5, labelExpr=tick))
    shaded = f" ({words['interval']})" if rows["low"].notna().any() else ""
    title = alt.Chart(rows.head(1)).mark_text(text=words["value"] + shaded, align="left", x=0, y=-14, color=SOFT)
    layers = [
        *_lines(rows, lead, words, x, y.scale(domain=reach, nice=False, zero=False)),
        texts(placed(_ends(rows, lead, span, reach)), x),
        title,
    ]
    ends = [
        f"{name} {line['text'].iloc[0]} at {line['age'].iloc[0]}, {line['text'].iloc[-1]} at {line['age'].iloc[-1]}"
        for name, line in rows.dropna(subset="value").groupby("name", sort=False)
    ]
    described = f"{words['value']}, by {words['age'].lower()}: {'; '.join(ends)}."
    return alt.layer(*layers, width=WIDTH, height=HEIGHT, description=described)


def _lines(rows: pd.DataFrame, lead: str, words: Labels, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Shade the intervals, then draw the lines, the leading one on top, with a dot where each ends."""
    names = [name for name in rows["series"].unique() if name != lead]
    thin, broken = lead == "average", cycle([[6, 4], [2, 3], [10, 3], [8, 3, 2, 3]])
    dashes = alt.Scale(domain=names, range=[[1, 0] if thin else next(broken) for _ in names])
    dash, shades, lines = alt.StrokeDash("series:N", legend=None, scale=dashes), [], []
    for leading, part in rows.groupby(rows["series"] == lead):
        ink, tint, heavy = (PILOT, TINTS[0.95], 3.0) if leading else (OTHER, HAIR, 1.0)
        width, apart = heavy if thin else 2.25, alt.Detail("series:N") if leading else dash
        shade = alt.Chart(part.dropna(subset=["low", "high"])).mark_area(color=tint, opacity=1)
        shades.append(shade.encode(x=x, y=alt.Y("low:Q", title=None), y2="high:Q", detail="series:N"))
        dot = alt.Chart(_last(part)).mark_point(color=ink, fill=ink, size=10 * width, opacity=1)
        lines += [alt.Chart(part).mark_line(color=ink, strokeWidth=width).encode(apart, x=x, y=y), dot.encode(x=x, y=y)]
    heads = {"name": " ", "age": words["age"], "text": words["value"]}
    tips = [alt.Tooltip(f"{name}:N", title=heads[name]) for name in heads]
    hover = alt.Chart(rows).mark_point(size=120, opacity=0).encode(x=x, y=y, tooltip=tips)
    return [*(shades if rows["low"].notna().any() else []), *lines, hover]


def _last(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.dropna(subset="value").groupby("series", sort=False).tail(1)


def _ends(rows: pd.DataFrame, lead: str, span: list[int], reach: list[float]) -> pd.DataFrame:
    """Put each name beside the end of its line: outside the plot where that is the last age, else above it."""
    ends = _last(rows).sort_values("age", ascending=False, kind="stable")
    ends = ends.sort_values("series", key=lambda series: series != lead, kind="stable")
    final, first = ends["age"] == span[1], ends["series"] == lead
    room = NARROW - 60 - ends["name"].map(pixels).clip(upper=7 * LETTERS).where(final, 0).max()
    ends = ends.assign(
        text=ends["name"],
        ink=np.where(first, PILOT, SOFT),
        across=(ends["age"] - span[0]) / (span[1] - span[0]) * room,
        down=HEIGHT * (reach[1] - ends["value"]) / (reach[1] - reach[0]) - np.where(final, 0, 12),
        align=np.where(final | (ends["age"] < sum(span) / 2), "left", "right"),
        dx=np.where(final, 8, 0),
    )
    return ends[first | final] if lead == "average" else ends


def pixels(text: str) -> int:
    """Width of a text at 12 px, rather too much than too little."""
    return sum(12 if letter >= "\u2e80" else 7 for letter in text)


def placed(
    spots: pd.DataFrame, moves: Sequence[int] = (0, -LINE, LINE, -2 * LINE, 2 * LINE), *, stem: bool = False
) -> pd.DataFrame:
    """Find each text a free place on a narrow page, the most important first; those that have none are left out.

    `spots` has `text`, `align`, `dx`, and where the text is before it is moved: `across` and `down`, in pixels. With
    a stem, no text stands on the line from another one down to the plot.
    """
    taken: list[Box] = []
    stems: list[Box] = []
    lines, found = spots["text"].map(lambda text: wrapped(text, LETTERS)), []
    for spot, rows in zip(spots.to_dict("records"), lines, strict=True):
        wide, half = max(map(pixels, rows)), LINE * len(rows) / 2
        left = spot["across"] + spot["dx"] - wide * (spot["align"] == "right")
        found.append(np.nan)
        for down in (spot["down"] + by for by in moves):
            text, line = (left, left + wide, down - half, down + half), (spot["across"], spot["across"], down, 0.0)
            if not _meets(text, taken + stems) and not (stem and _meets(line, taken)):
                found[-1], taken, stems = down, [*taken, text], [*stems, line] * stem
                break
    return spots.assign(down=found, lines=lines, shift=(1 - lines.str.len()) * LINE / 2).dropna(subset="down")


def _meets(box: Box, others: list[Box]) -> bool:
    left, right, top, bottom = box
    return any(left <= end and right >= start and top < low and bottom > high for start, end, high, low in others)


def texts(spots: pd.DataFrame, x: alt.X) -> alt.Chart:
    """Write what `placed` found a place for, in the colour of the column `ink`."""
    style: dict[str, Any] = {"align": alt.ExprRef("datum.align"), "dx": alt.ExprRef("datum.dx")}
    style |= {"y": alt.ExprRef("datum.down + datum.shift"), "fontWeight": 600, "lineHeight": LINE}
    return alt.Chart(spots).mark_text(**style).encode(x=x, text="lines:N", color=alt.Color("ink:N", scale=None))


def _series(frame: pd.DataFrame) -> pd.DataFrame:
    """Name the lines of a frame of `cohort`: its groups, its cohorts, else one average."""
    if "series" in frame or "age" not in frame:
        return frame
    if "survival" in frame:
        return frame.assign(series="average", value=frame["survival"]).dropna(subset="value")
    if "group" in frame:
        return frame.assign(series=frame["group"])
    if "cohort" in frame:
        return frame[frame["observed"]].assign(series=frame["cohort"].dt.strftime("%Y-%m-%d"))
    return frame.assign(series="average")
