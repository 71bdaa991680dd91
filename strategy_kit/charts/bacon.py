"""What a two-way regression averages: each comparison of two groups, by its weight."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.charts.curves import LINE
from strategy_kit.charts.effects_grid import named, writer
from strategy_kit.errors import ParameterError
from strategy_kit.formats import Count, percent

HEIGHT, LETTERS = 280, 46
NEVER, EARLIER = "treated vs never treated", "earlier vs later treated"
LATER, ALWAYS = "later vs earlier treated", "later vs always treated"
FORBIDDEN = (LATER, ALWAYS)
LOOKS = {NEVER: ("circle", theme.PILOT), EARLIER: ("square", theme.OTHER), LATER: ("triangle-up", theme.WARNING)}
LOOKS |= {ALWAYS: ("diamond", theme.INK)}
DASHED: dict[str, Any] = {"strokeWidth": 1.5, "strokeDash": [5, 3]}
COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(["cohort", "comparison", "weight", "estimate"], ())
WORDS = {
    "value": "Effect by comparison, in units of the outcome", "weight": "Weight in the two-way estimate",
    "average": "two-way estimate, average by weight", "forbidden": "forbidden, with units treated already",
    **{name: name for name in LOOKS},
}  # fmt: skip


def bacon(decomposition: Any, *, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw each comparison of two groups by its weight and its effect, and how much weight forbidden ones have.

    Forbidden are comparisons of a group that starts with one that is already treated, whose own change of effect is
    taken for a change without treatment. The horizontal line is the average by weight, the two-way estimate.

    Parameters
    ----------
    decomposition
        Columns `cohort`, `comparison` ("never treated" or a cohort), `type` ("treated vs never treated", "earlier vs
        later treated", "later vs earlier treated" or "later vs always treated"), `weight` (shares that add up to 1),
        `estimate` (units of the outcome); or a result whose tidy frame has these.
    labels
        Words: "value" (what is shown, with the unit), "weight" (axis title), "average", "forbidden", and one per type.

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns, a type is unknown, an estimate is missing, or weights are negative or
        do not add up to 1.

    References
    ----------
    Goodman-Bacon (2021), "Difference-in-differences with variation in treatment timing", theorem 1 and figure 6.

    Examples
    --------
    >>> pairs = pd.DataFrame({"cohort": [3, 5], "comparison": ["never treated", "3"], "weight": [0.75, 0.25]})
    >>> bacon(pairs.assign(type=["treated vs never treated", "later vs earlier treated"], estimate=[2.0, 0.4])).description
    'Effect by comparison, in units of the outcome: 2 comparisons. treated vs never treated: 75.0%; later vs earlier \
treated: 25.0%; two-way estimate, average by weight: +1.6; forbidden, with units treated already: 25.0%.'
    """
    frame = getattr(decomposition, "tidy", lambda: decomposition)()
    theme.require("bacon", frame, {**COLUMNS, "type": tuple(LOOKS)})
    weight, estimate = frame["weight"].astype(float), frame["estimate"].astype(float)
    # Weights are quotients of sums over the panel: rounding, with much to spare for a frame from a text file.
    if not (np.isfinite(estimate).all() and weight.ge(0).all() and abs(weight.sum() - 1) < 1e-4):
        raise ParameterError(
            f"bacon: each comparison needs an estimate and a weight of 0 or more, and weights add up to 1, not "
            f"{weight.sum():.6g}; give the whole decomposition"
        )
    words, write = theme.worded(WORDS, labels), writer(estimate)
    shares = weight.groupby(frame["type"]).sum().reindex(list(LOOKS)).dropna()
    average, forbidden = float(weight @ estimate), float(shares.reindex(list(FORBIDDEN)).sum())
    rows = pd.DataFrame({"weight": weight, "estimate": estimate, "type": frame["type"]}).assign(
        pair=named(frame["cohort"]) + " · " + named(frame["comparison"]),
        name=frame["type"].map(words),
        share=weight.map(percent),
        text=estimate.map(write),
    )
    axis = alt.Axis(titleAnchor="start", format=".12~%", grid=False, tickCount=5, labelFlush=True)
    x = alt.X("weight:Q", axis=axis, title=words["weight"]).scale(domain=[0, 1.06 * float(weight.max())], nice=False)
    across = alt.Axis(title=None, labelExpr=theme.signed_axis(), tickCount=6)
    y = alt.Y("estimate:Q", axis=across).scale(zero=True, padding=8)
    told = [f"{words[name]}: {percent(share)}" for name, share in shares.items()]
    told += [f"{words['average']}: {write(average)}", f"{words['forbidden']}: {percent(forbidden)}"]
    average_rule = alt.Chart(pd.DataFrame({"estimate": [average]})).mark_rule(color=theme.INK, **DASHED)
    layers = [
        alt.Chart(pd.DataFrame({"estimate": [0.0]})).mark_rule(color=theme.SOFT, strokeWidth=0.75).encode(y=y),
        average_rule.encode(y=y),
        _points(rows, words).encode(x=x, y=y),
        *_legend([words["value"], *told], ["", *shares.index, "average", "forbidden" if forbidden else "none"]),
    ]
    n = Count(len(rows))
    described = f"{words['value']}: {n} {n:comparison|comparisons}. {'; '.join(told)}."
    return alt.layer(*layers, width=theme.WIDTH, height=HEIGHT, description=described)


def _points(rows: pd.DataFrame, words: theme.Labels) -> Any:
    """Draw tinted marks, the types with the fewest on top."""
    heads = {"pair": " ", "name": "  ", "text": words["value"], "share": words["weight"]}
    tips = theme.tips(**heads)
    many = rows["type"].map(rows["type"].value_counts())
    rows = rows.iloc[many.mul(-1).argsort(kind="stable")]
    marks = alt.Chart(rows).mark_point(size=60 if len(rows) < 100 else 30, fillOpacity=0.3, strokeWidth=1.5, opacity=1)
    return marks.encode(*_look(), tooltip=tips)


def _look() -> list[Any]:
    """Shape and colour of each type, the same in the plot and above it."""
    shapes, inks = (list(look) for look in zip(*LOOKS.values(), strict=True))
    scale = alt.Scale(domain=list(LOOKS), range=inks)
    return [
        alt.Shape("type:N", legend=None, scale=alt.Scale(domain=list(LOOKS), range=shapes)),
        alt.Stroke("type:N", legend=None, scale=scale),
        alt.Fill("type:N", legend=None, scale=scale),
    ]


def _legend(told: list[str], types: list[str]) -> list[Any]:
    """Write above the plot what is shown and, after its mark, what weight each type has."""
    rooms = [LETTERS - 6 * (kind == "forbidden") for kind in types]  # bold is wider
    lines = [theme.wrapped(text, room) for text, room in zip(told, rooms, strict=True)]
    above = np.cumsum([len(part) for part in lines[::-1]])[::-1]
    rows = pd.DataFrame({"type": types, "lines": lines, "y": -LINE * above.astype(float) - 6})
    rows["x"] = np.where(rows["type"] == "", 0.0, 16.0)
    rows["ink"] = rows["type"].map({"": theme.SOFT, "forbidden": theme.WARNING}).fillna(theme.INK)
    y, weight = alt.Y("y:Q", axis=None, scale=None), alt.ExprRef("datum.type == 'forbidden' ? 600 : 400")
    text = alt.Chart(rows).mark_text(align="left", lineHeight=LINE, x=alt.ExprRef("datum.x"), fontWeight=weight)
    marks = alt.Chart(rows[rows["type"].isin(list(LOOKS))]).mark_point(size=60, fillOpacity=0.3, x=6, opacity=1)
    dash = alt.Chart(rows[rows["type"] == "average"]).mark_rule(color=theme.INK, **DASHED)
    return [
        text.encode(y=y, text="lines:N", color=alt.Color("ink:N", scale=None)),
        marks.encode(*_look(), y=y),
        dash.encode(y=y, x=alt.value(0), x2=alt.value(12)),
    ]
