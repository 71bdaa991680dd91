"""Two effects that add up to a third, by periods since the start: bars on each other, and the total over them."""

from __future__ import annotations

import altair as alt
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.errors import ParameterError
from strategy_kit.formats import number

HEIGHT, HALF = 280, 0.36
PARTS = ("filled", "hollow", "total")
WORDS = {"value": "Effect, in units of the outcome", "age": "Periods since the start", "start": "start of support",
    "filled": "one part", "hollow": "the other part", "total": "total"}  # fmt: skip


def stacked_effects(frame: pd.DataFrame, *, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw two effects by periods since the start as bars on each other, those below zero downwards, and their sum as dots.

    Parameters
    ----------
    frame
        age (periods since the start), filled and hollow (the two effects) and total, their sum.
    labels
        Words: "value" (axis title with the unit), "age", "start", and the names of "filled", "hollow" and "total".

    Raises
    ------
    ParameterError
        If the frame has no rows, lacks columns, or a total is not the sum of its parts.

    Examples
    --------
    >>> rows = pd.DataFrame({"age": [-1, 0], "filled": [0.0, 5.0], "hollow": [0.0, -2.0], "total": [0.0, 3.0]})
    >>> stacked_effects(rows).description
    'Effect, in units of the outcome, by periods since the start: at 0 one part +5.0, the other part −2.0, total +3.0.'
    """
    theme.require("stacked_effects", frame, dict.fromkeys(("age", *PARTS), ()))
    words, rows = theme.worded(WORDS, labels), frame.sort_values("age", ignore_index=True)
    astray = (rows["total"] - rows["filled"] - rows["hollow"]).abs() > 1e-6 * rows[list(PARTS)].abs().max().max()
    if astray.any():
        raise ParameterError(
            f"stacked_effects: total is not the sum of its parts at age {rows['age'][astray].iloc[0]}; give effects that add up"
        )
    bars, told = _laid(rows), _told(rows)
    x = theme.ages([rows["age"].min() - 0.5, rows["age"].max() + 0.5], words["age"])
    y = alt.Y("bottom:Q", axis=alt.Axis(labelExpr=theme.signed_axis(), tickCount=6, title=None))
    names = {"age": words["age"], **{part: words[part] for part in PARTS}}
    tips = theme.tips(**names)
    base = alt.Chart(pd.DataFrame({"age": rows["age"], "at": rows["total"], **told}))
    boxes = alt.Chart(bars).encode(x=x, x2="until:Q", y=y, y2="top:Q")
    key = f"■ {words['filled']}   □ {words['hollow']}   ◆ {words['total']}"
    last = ", ".join(f"{words[part]} {told[part].iloc[-1]}" for part in PARTS)
    side: theme.Side = "right" if -0.5 - rows["age"].min() > rows["age"].max() + 0.5 else "left"
    layers = alt.layer(
        boxes.transform_filter("datum.part == 'filled'").mark_bar(color=theme.PILOT, fill=theme.PILOT),
        boxes.transform_filter("datum.part == 'hollow'").mark_bar(fill=theme.PAPER, stroke=theme.SOFT, strokeWidth=1.5),
        alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=theme.INK, strokeWidth=1).encode(y="zero:Q"),
        *theme.start_rule(x, -0.5, words["start"], side, HEIGHT),
        base.mark_point(shape="diamond", color=theme.PAPER, fill=theme.INK, strokeWidth=1, size=55, opacity=1).encode(
            x=alt.X("age:Q"), y="at:Q", tooltip=tips
        ),
        theme.headed(rows, [words["value"], key], -46, lineHeight=17),
    )
    described = f"{words['value']}, by {words['age'].lower()}: at {number(rows['age'].iloc[-1])} {last}."
    edge = {"left": 2, "top": 2, "right": 8, "bottom": 2}
    return layers.properties(width=theme.WIDTH, height=HEIGHT, description=described, padding=edge)


def _laid(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay the hollow bar from zero, and the filled one on its end where both have one sign, else from zero too."""
    same = rows["filled"] * rows["hollow"] > 0
    start = rows["hollow"].where(same, 0.0)
    ends = {"hollow": (0.0 * start, rows["hollow"]), "filled": (start, start + rows["filled"])}
    return pd.concat(
        [pd.DataFrame({"age": rows["age"] - HALF, "until": rows["age"] + HALF, "bottom": low, "top": high, "part": part})
         for part, (low, high) in ends.items()],
        ignore_index=True,
    )  # fmt: skip


def _told(rows: pd.DataFrame) -> dict[str, pd.Series]:
    digits = int(rows[list(PARTS)].abs().max().max() < 100)
    return {part: rows[part].map(lambda value: number(value, digits, signed=True)) for part in PARTS}
