"""What a typical merchant sells: percentiles on a log scale, the median and the mean marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from strategy_kit.charts.theme import HAIR, INK, PAPER, PILOT, SOFT, WARNING, WIDTH, Chart, Labels, require, worded
from strategy_kit.formats import number

if TYPE_CHECKING:
    import pandas as pd

PITCH = 44
MARKS = ("p10", "p25", "p50", "p75", "p90", "mean")
COLUMNS: dict[str, tuple[str, ...]] = {"group": (), **dict.fromkeys(MARKS, ())}
WORDS = {"value": "Sales of the month, log scale", "zero": "0", "mean": "mean", "p50": "median"}


def percentile_ladder(frame: pd.DataFrame, *, labels: Labels | None = None) -> Chart:
    """Draw one rung a group on a log axis, the median as a dot and the mean as a diamond.

    A thin line reaches from the 10th to the 90th percentile, a thick one from the 25th to the 75th. What is 0 stands at the
    left edge, which says so.

    Parameters
    ----------
    frame
        From `lasting_growth.typical_merchants`: group (text, as it is to be shown), p10, p25, p50, p75, p90, mean.
    labels
        Words: "value" (axis title with the unit), "zero" (name of the left edge), "mean", "p50".

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"group": ["all"], "p10": 0.0, "p25": 40.0, "p50": 200.0, "p75": 900.0, "p90": 4000.0, "mean": 1500.0}
    >>> percentile_ladder(pd.DataFrame(row)).description
    'Sales of the month, log scale: all median 200, mean 1,500, from 0 to 4,000.'
    """
    require("percentile_ladder", frame, COLUMNS)
    words, rows = worded(WORDS, labels), frame[list(COLUMNS)].reset_index(drop=True)
    values = rows[list(MARKS)].to_numpy(float)
    positive = values[values > 0]
    least = float(positive.min()) / 2 if positive.size else 0.5
    largest = max(float(positive.max(initial=0.0)), 2 * least)
    names = rows["group"].astype(str)
    told = [
        f"{name} {words['p50']} {number(row[2])}, {words['mean']} {number(row[5])}, from {number(row[0])} to {number(row[4])}"
        for name, row in zip(names, values, strict=True)
    ]
    drawn = rows.assign(**{mark: rows[mark].clip(lower=least) for mark in MARKS}, name=names)
    drawn["middle"] = PITCH * rows.index + 30
    drawn["high"] = drawn["middle"] - 16
    scale, plain = alt.Scale(type="log", domain=[least, largest], nice=False), "format(datum.value, ',.12~g')"
    style: dict[str, Any] = {"gridColor": HAIR, "titleAnchor": "start", "labelFlush": True}
    if (values <= 0).any():  # what sold nothing lies at the left edge, which is 0 only then
        style["labelExpr"] = f"datum.value <= {least * 1.0001} ? '{words['zero']}' : {plain}"
        axis = alt.Axis(values=[least, *_round_between(2 * least, largest)], **style)
    else:
        axis = alt.Axis(tickCount=5, labelExpr=plain, **style)
    x, y = alt.X("p10:Q", title=words["value"], scale=scale, axis=axis), alt.Y("middle:Q", axis=None, scale=None)
    tips = [alt.Tooltip("name:N", title=" "), *(alt.Tooltip(f"{mark}:Q", format=",.4~g") for mark in MARKS)]
    base = alt.Chart(drawn).encode(y=y, tooltip=tips)
    both = base.mark_rule(color=PILOT, strokeWidth=2).encode(x=x, x2="p90:Q")
    half = base.mark_rule(color=PILOT, strokeWidth=8, opacity=0.5).encode(x=alt.X("p25:Q"), x2="p75:Q")
    median = base.mark_point(shape="circle", size=90, fill=PAPER, stroke=PILOT, strokeWidth=2.5, opacity=1).encode(
        x="p50:Q"
    )
    mean = base.mark_point(shape="diamond", size=90, fill=WARNING, stroke=WARNING, opacity=1).encode(x="mean:Q")
    text = (
        alt.Chart(drawn)
        .mark_text(align="left", color=INK, x=0)
        .encode(y=alt.Y("high:Q", axis=None, scale=None), text="name:N")
    )
    key = f"○ {words['p50']}   ◆ {words['mean']}"
    title = alt.Chart(drawn.head(1)).mark_text(text=key, align="left", x=0, y=-14, color=SOFT)
    height = int(PITCH * len(drawn) + 10)
    layers, described = (both, half, median, mean, text, title), f"{words['value']}: {'; '.join(told)}."
    return alt.layer(*layers, width=WIDTH, height=height, description=described)


def _round_between(low: float, high: float) -> list[float]:
    """Return powers of ten, and twice and five times them where these are few, from one value to another."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = (1.0,) if high >= 1000 * low else (1.0, 2.0, 5.0)
    marks = np.sort(np.outer(powers, steps).ravel())
    return [float(mark) for mark in marks if low <= mark <= high]
