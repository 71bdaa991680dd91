"""A festival and the weeks after it against what ordinary weeks lead to expect: what came on top, and what was given back."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts.curves import HEIGHT
from strategy_kit.charts.theme import (
    DAY,
    INK,
    OTHER,
    PILOT,
    SOFT,
    TINTS,
    WARNING,
    WIDTH,
    Chart,
    Labels,
    require,
    worded,
)
from strategy_kit.formats import number

COLUMNS: dict[str, tuple[str, ...]] = {
    "week": (), "part": ("ordinary", "festival", "trough"), "sold": (), "expected": (),
}  # fmt: skip
WORDS = {
    "value": "Weekly sales",
    "sold": "sold",
    "expected": "expected",
    "festival": "festival",
    "trough": "weeks after",
}


def festival_block(frame: pd.DataFrame, *, labels: Labels | None = None) -> Chart:
    """Draw weekly sales as a line and the expectation broken; between them what came on top is filled, what is missing hollow.

    Parameters
    ----------
    frame
        From `lasting_growth.festival_weeks_shown`: week (dates), part (ordinary, festival, trough), sold, expected, in the
        unit that is to be shown.
    labels
        Words: "value" (axis title with the unit), "sold", "expected", "festival", "trough".

    Raises
    ------
    ParameterError
        If the frame has no rows, lacks columns, or a part is unknown.

    Examples
    --------
    >>> weeks = pd.date_range("2025-06-02", periods=4, freq="W-MON")
    >>> rows = pd.DataFrame({"week": weeks, "part": ["ordinary", "festival", "trough", "ordinary"], "expected": 5.0})
    >>> festival_block(rows.assign(sold=[5.0, 8.0, 4.0, 5.0])).description
    'Weekly sales: festival sold 8.0, expected 5.0; weeks after sold 4.0, expected 5.0.'
    """
    require("festival_block", frame, COLUMNS)
    words, rows = worded(WORDS, labels), frame[list(COLUMNS)].sort_values("week", ignore_index=True)
    rows = rows.assign(when=pd.to_datetime(rows["week"]).dt.strftime(DAY), over=rows["sold"] > rows["expected"])
    rows["text"] = [number(value, int(value < 100)) for value in rows["sold"]]
    rows["was"] = [number(value, int(value < 100)) for value in rows["expected"]]
    x = alt.X("when:T", title=None, axis=alt.Axis(grid=False, format="%Y-%m-%d", tickCount=5))
    top = 1.12 * float(np.nanmax(rows[["sold", "expected"]].to_numpy()))
    y = alt.Y("sold:Q", title=None, axis=alt.Axis(tickCount=5, format=",.12~g")).scale(domain=[0, top], nice=False)
    tips = [
        alt.Tooltip("when:T", format="%Y-%m-%d", title=" "),
        alt.Tooltip("text:N", title=words["sold"]),
        alt.Tooltip("was:N", title=words["expected"]),
    ]
    block = rows[rows["part"] != "ordinary"]
    bars = alt.Chart(block).encode(x=x, y=y, y2="expected:Q")
    layers = [
        bars.transform_filter("datum.over").mark_bar(width=14, color=PILOT, opacity=1, fill=TINTS[0.5]),
        bars.transform_filter("!datum.over").mark_bar(width=14, fill="#FFFFFF", stroke=WARNING, strokeWidth=1.5),
        alt.Chart(rows).mark_line(color=OTHER, strokeWidth=2, strokeDash=[6, 4]).encode(x=x, y="expected:Q"),
        alt.Chart(rows).mark_line(color=PILOT, strokeWidth=2.25).encode(x=x, y=y),
        alt.Chart(rows).mark_point(color=PILOT, fill=PILOT, size=30, opacity=1).encode(x=x, y=y, tooltip=tips),
        *_names(block, words, x),
        alt.Chart(rows.head(1)).mark_text(text=_key(words), align="left", x=0, y=-14, color=SOFT),
    ]
    return alt.layer(*layers, width=WIDTH, height=HEIGHT, description=_told(block, words))


def _key(words: Labels) -> str:
    return f"{words['value']} (—— {words['sold']}, – – {words['expected']})"


def _names(block: pd.DataFrame, words: Labels, x: alt.X) -> list[alt.Chart]:
    """Name the two parts above their middle week."""
    spots = block.groupby("part", sort=False)["when"].agg(
        lambda days: days.iloc[len(days) // 2 if len(days) > 2 else 0]
    )
    names = pd.DataFrame({"when": spots.to_numpy(), "name": [words[part] for part in spots.index]})
    return [alt.Chart(names).mark_text(color=INK, fontWeight=600, y=6, align="center").encode(x=x, text="name:N")]


def _told(block: pd.DataFrame, words: Labels) -> str:
    sums = block.groupby("part", sort=False)[["sold", "expected"]].sum()
    parts = []
    for part, row in sums.iterrows():
        digits = int(max(row) < 100)
        sold, expected = (number(float(row[name]), digits) for name in ("sold", "expected"))
        parts.append(f"{words[str(part)]} {words['sold']} {sold}, {words['expected']} {expected}")
    return f"{words['value']}: {'; '.join(parts)}."
