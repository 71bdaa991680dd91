"""Effects before and after the start, as nested bands."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.formats import number

HEIGHT, RANGE = 300, ["age", "conf_low", "conf_high"]
WORDS = {
    "value": "Effect, in units of the outcome",
    "age": "Periods since the start",
    "start": "start of support",
    "nested": "Shaded: 50, 80 and 95% intervals",
    "single": "Shaded: 95% interval",
    "band": "Broken lines: 95% band for all periods together",
}


def event_study(study: Any, *, percent: bool = False, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw the effect by periods since the start, with nested pointwise intervals and the simultaneous band.

    Parameters
    ----------
    study
        An `Estimates` labelled by age, or its tidy frame: age, estimate, conf_low, conf_high, band_low,
        band_high. From a frame only the 95 % interval can be drawn, from an `Estimates` 50, 80 and 95 %.
    percent
        True where the estimates are shares, to be shown as percentages.
    labels
        Words: "value" (axis title with the unit), "age", "start", and the legend "nested", "single", "band".

    Raises
    ------
    ParameterError
        If what is given is no result or tidy frame, has no rows or lacks columns, or a word is unknown.

    Examples
    --------
    >>> ages = pd.DataFrame({"age": [-1, 0, 1], "estimate": [0.0, 1, 2], "conf_low": [0.0, 0, 1]})
    >>> chart = event_study(ages.assign(conf_high=ages["estimate"] + 1, band_low=-1.0, band_high=4.0))
    """
    words = theme.worded(WORDS, labels)
    tidy = getattr(study, "tidy", lambda **_: study)
    levels = list(theme.TINTS) if hasattr(study, "tidy") else [0.95]
    found = {level: tidy(level=level) for level in levels}
    theme.require("event_study", found[0.95], dict.fromkeys((*RANGE, "estimate", "band_low", "band_high"), ()))
    frames = {level: _filled(frame) for level, frame in found.items()}
    rows, (factor, unit) = frames[0.95], (100, "%") if percent else (1, "")
    banded = rows["band_low"].abs().lt(float("inf")).any()
    legend = [words["nested" if len(levels) > 1 else "single"], *([words["band"]] if banded else [])]
    first, last = rows["age"].min(), rows["age"].max()
    x = theme.ages([first - 0.5, last + 0.5], [words["age"], *legend])
    axis = alt.Axis(labelExpr=theme.signed_axis(unit, factor), tickCount=6, title=None)

    def told(value: float) -> str:
        return number(value * factor, 1 if abs(value * factor) < 100 else 0, signed=True) + unit

    span = rows["conf_low"].map(told) + " … " + rows["conf_high"].map(told)
    base = alt.Chart(rows.assign(shown=rows["estimate"].map(told), span=span)).encode(x=x)
    tips = {"age": words["age"], "shown": words["value"], "span": "95%"}
    dots = base.mark_point(color=theme.PILOT, fill=theme.PILOT, size=18, opacity=1)
    ends = rows["estimate"].iloc[[0, -1]].map(told)
    described = (
        f"{words['value']}, by {words['age'].lower()} from {number(first)} to {number(last)}; "
        f"the first estimate is {ends.iloc[0]}, the last {ends.iloc[1]}. {'. '.join(legend)}."
    )
    side: theme.Side = "right" if -0.5 - first > last + 0.5 else "left"
    edge = {"left": 2, "top": 2, "right": 8, "bottom": 2}  # the last age stands half a step from the edge
    return alt.layer(
        *(theme.shade(frame[RANGE], theme.TINTS[level], x, axis) for level, frame in frames.items()),
        *(theme.edge(base, bound) for bound in ("band_low", "band_high") if banded),
        alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=theme.INK, strokeWidth=1).encode(y=alt.Y("at:Q")),
        *theme.start_rule(x, -0.5, words["start"], side, HEIGHT),
        base.mark_line(color=theme.PILOT, strokeWidth=2.25).encode(y=alt.Y("estimate:Q")),
        dots.encode(y=alt.Y("estimate:Q"), tooltip=theme.tips(**tips)),
        theme.headed(rows, words["value"], -30),
        width=theme.WIDTH,
        height=HEIGHT,
        description=described,
        padding=edge,
    )


def _filled(tidy: pd.DataFrame) -> pd.DataFrame:
    """Give ages without an interval, such as the reference age, an interval of no width."""
    bounds = ["conf_low", "conf_high", "band_low", "band_high"]
    rows = tidy.sort_values("age").reindex(columns=["age", "estimate", *bounds]).astype(float)
    for bound in bounds:
        if rows[bound].notna().any():
            rows[bound] = rows[bound].fillna(rows["estimate"])
    return rows.reset_index(drop=True)
