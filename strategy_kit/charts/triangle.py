"""Cohort triangles: a heat map that prints its numbers."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from strategy_kit.charts.theme import PAPER, PILOT, WIDTH, Chart, Labels, require, worded
from strategy_kit.formats import number

ROW = 28
WORDS = {"age": "Months since the first", "value": "Share of the cohort, %", "cohort": "Cohort · size"}


def triangle(frame: pd.DataFrame, *, share: bool | None = None, labels: Labels | None = None) -> Chart:
    """Draw a cohort triangle: one row per cohort, one column per age, empty where not yet observed.

    Parameters
    ----------
    frame
        Columns cohort, age (0, 1, ...), value, cohort_size, observed (bool).
    share
        True prints `value` as a percentage of `cohort_size`, False as it is; by default a percentage where
        no value exceeds the size of its cohort.
    labels
        Words: "age" (axis title), "value" (what the numbers are), "cohort" (head of the row names).

    Raises
    ------
    ParameterError
        If what is given is no result or tidy frame, has no rows or lacks columns, or a word is unknown.

    Examples
    --------
    >>> cells = pd.DataFrame({"cohort": ["a", "a"], "age": [0, 1], "value": [8, 4], "cohort_size": 8})
    >>> chart = triangle(cells.assign(observed=True))
    """
    require("triangle", frame, dict.fromkeys(("cohort", "age", "value", "cohort_size", "observed"), ()))
    seen = frame.loc[frame["observed"].astype(bool) & frame["value"].notna()].sort_values(["cohort", "age"])
    share = bool((seen["value"].abs() <= seen["cohort_size"]).all()) if share is None else share
    words = worded({**WORDS, "value": WORDS["value"] if share else "Value"}, labels)
    shown = (seen["value"] / seen["cohort_size"] * 100 if share else seen["value"]).astype(float)
    depth = 0.05 + 0.95 * (shown / (100 if share else max(shown.max(), 1e-12))).clip(0, 1)
    rows = pd.DataFrame({"row": _row_names(seen), "age": seen["age"].astype(int)})
    rows["number"] = shown.map(number)
    rows["fill"] = depth.map(_tint)
    # Paper on the darker tints, black on the lighter ones: where they meet, both have a contrast of 4.5.
    rows["ink"] = [PAPER if part > 0.712 else "#000000" for part in depth]
    flat: dict[str, Any] = {"grid": False, "domain": False, "ticks": False}
    top = alt.Axis(orient="top", titleAnchor="start", titleLineHeight=16, labelAngle=0, **flat)
    side = alt.Axis(titleAngle=0, titleAlign="right", titleBaseline="bottom", titleX=-6, titleY=-8, **flat)
    packed = alt.Scale(paddingInner=0, paddingOuter=0)
    x = alt.X("age:O", axis=top, scale=packed, title=[words["value"], words["age"]])
    y = alt.Y("row:N", axis=side, scale=packed, title=words["cohort"], sort=None)
    heads = {"row": words["cohort"], "age": words["age"], "number": words["value"]}
    tips = [alt.Tooltip(f"{name}:N", title=heads[name]) for name in heads]
    base = alt.Chart(rows).encode(x=x, y=y, tooltip=tips)
    # Where columns are narrower than the numbers, only every second or third column prints them.
    usual = rows.loc[rows["age"] > 0, "number"] if rows["age"].any() else rows["number"]
    widest = 7 * int(usual.str.len().quantile(0.9, interpolation="lower"))
    skipped = f"datum.age % max(1, ceil({widest} / bandwidth('x'))) > 0"
    spilt = "7 * length(datum.number) > bandwidth('x')"
    digits = base.mark_text(text=alt.ExprRef(f"({skipped}) || ({spilt}) ? '' : datum.number"))
    boxes = base.mark_rect(stroke=PAPER, strokeWidth=1.5).encode(color=alt.Color("fill:N", scale=None))
    count = rows["row"].nunique()
    described = f"Cohort table, {count} cohorts: {words['value']}, by {words['age'].lower()}."
    digits = digits.encode(color=alt.Color("ink:N", scale=None))
    return alt.layer(boxes, digits, width=WIDTH, height=ROW * count, description=described)


def _tint(depth: float) -> str:
    blue = (int(PILOT[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(255 - depth * (255 - part)):02X}" for part in blue)


def _row_names(seen: pd.DataFrame) -> pd.Series[str]:
    cohort = seen["cohort"]
    if pd.api.types.is_datetime64_any_dtype(cohort) or hasattr(cohort.iloc[0], "strftime"):
        days = pd.to_datetime(cohort)
        cohort = days.dt.strftime("%Y-%m" if days.dt.day.eq(1).all() else "%Y-%m-%d")
    return cohort.astype(str) + " · " + seen["cohort_size"].map(number)
