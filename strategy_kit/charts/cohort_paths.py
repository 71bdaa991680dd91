"""Mean outcome by cohort over time."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts.curves import HEIGHT, NARROW, pixels, placed, texts
from strategy_kit.charts.theme import DAY, OTHER, PILOT, SOFT, WIDTH, Chart, Labels, require, worded
from strategy_kit.formats import number
from strategy_kit.shown import digits_of

COLUMNS: dict[str, tuple[str, ...]] = {"cohort": (), "period": (), "mean": (), "n_units": ()}
WORDS = {"value": "Mean outcome", "period": "Period", "units": "Units"}


def cohort_paths(frame: pd.DataFrame, *, labels: Labels | None = None) -> Chart:
    """Draw the mean outcome of each cohort over time, named at the end of its line; the last cohort is broken and grey.

    A name that would cover another is left to the tooltip.

    Parameters
    ----------
    frame
        Columns `cohort` (text), `period` (dates or numbers), `mean` (units of the outcome), `n_units`; of `Moments.tidy`,
        or with the labels of a panel in the place of positions.
    labels
        Words: "value" and "period" (axis titles), "units", and one per cohort.

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> rows = pd.DataFrame({"cohort": ["3", "3", "never"], "period": [1, 2, 1], "mean": [1.0, 2.5, 4.0], "n_units": 8})
    >>> cohort_paths(rows).description
    'Mean outcome, by period: 3 1.00 at 1, 2.50 at 2; never 4.00 at 1, 4.00 at 1.'
    """
    require("cohort_paths", frame, COLUMNS)
    names = list(dict.fromkeys(frame["cohort"].astype(str)))
    words = worded({**WORDS, **{name: name for name in names}}, labels)
    dated = pd.api.types.is_datetime64_any_dtype(frame["period"])
    when = frame["period"].dt.strftime("%Y-%m-%d") if dated else frame["period"]
    at = frame["period"].dt.strftime(DAY) if dated else when
    digits = digits_of(float(frame["mean"].abs().median()))
    rows = frame.assign(
        when=when, at=at, series=frame["cohort"].astype(str), name=frame["cohort"].astype(str).map(words),
        text=[number(value, digits) for value in frame["mean"]], units=[number(n) for n in frame["n_units"]],
    )[["when", "at", "series", "name", "mean", "text", "units"]]  # fmt: skip
    x = alt.X("at:T" if dated else "at:Q", title=words["period"]).axis(titleAnchor="start", grid=False, tickCount=6)
    y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(tickCount=5))
    heads = {"name": " ", "when": words["period"], "text": words["value"], "units": words["units"]}
    tips = [alt.Tooltip(f"{name}:N", title=heads[name]) for name in heads]
    lines = []
    for last, part in rows.groupby(rows["series"] == names[-1]):
        style: dict[str, Any] = {"color": OTHER, "strokeDash": [6, 4]} if last else {"color": PILOT}
        lines.append(alt.Chart(part).mark_line(strokeWidth=2, **style).encode(x=x, y=y, detail="series:N"))
    hover = alt.Chart(rows).mark_point(size=120, opacity=0).encode(x=x, y=y, tooltip=tips)
    title = alt.Chart(rows.head(1)).mark_text(text=words["value"], align="left", x=0, y=-14, color=SOFT)
    layers = alt.layer(*lines, hover, title, texts(placed(_ends(rows, names[-1])), x))
    return layers.properties(width=WIDTH, height=HEIGHT, description=_told(rows, words))


def _ends(rows: pd.DataFrame, last: str) -> pd.DataFrame:
    ends = rows.groupby("series", sort=False).tail(1)
    low, high = rows["mean"].min(), rows["mean"].max()
    return ends.assign(
        text=ends["name"],
        ink=np.where(ends["series"] == last, SOFT, PILOT),
        across=float(NARROW - 60 - ends["name"].map(pixels).max()),
        down=HEIGHT * (high - ends["mean"]) / ((high - low) or 1.0),
        align="left",
        dx=8,
    )


def _told(rows: pd.DataFrame, words: Labels) -> str:
    lines = [
        f"{name} {line['text'].iloc[0]} at {line['when'].iloc[0]}, {line['text'].iloc[-1]} at {line['when'].iloc[-1]}"
        for name, line in rows.groupby("name", sort=False)
    ]
    return f"{words['value']}, by {words['period'].lower()}: {'; '.join(lines)}."
