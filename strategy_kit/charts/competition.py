"""What competition is fought with: one row a component, aligned in time, each on its own scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts.theme import (
    DAY,
    HAIR,
    INK,
    OTHER,
    PILOT,
    WIDTH,
    Chart,
    Labels,
    down,
    require,
    start_rule,
    worded,
)

if TYPE_CHECKING:
    import datetime as dt

TALL, GAP = 52, 40
WORDS = {"pilot": "pilots", "other": "others", "start": "pilot starts"}


def competition(components: pd.DataFrame, *, labels: Labels | None = None, start: str | dt.date | None = None) -> Chart:
    """Draw each component's weeks, pilots (solid) against others, in a row of its own from its lowest to its highest value.

    At the head of a row stand its last values, pilots first.

    Parameters
    ----------
    components
        component, group (pilot, other), week, value, shown (the value as text); weeks without a value are left out.
    labels
        Words: "pilot", "other", "start", and one per component.
    start
        Day on which the pilot began; a labelled rule.

    Examples
    --------
    >>> row = {"component": ["depth"] * 2, "group": ["pilot"] * 2, "week": pd.to_datetime(["2025-01-06", "2025-01-13"])}
    >>> competition(pd.DataFrame({**row, "value": [0.05, 0.04], "shown": ["5%", "4%"]})).description
    'depth: pilots 4%.'
    """
    require("competition", components, dict.fromkeys(("component", "group", "week", "value", "shown"), ()))
    rows = components.dropna(subset=["value"]).sort_values("week", kind="stable")
    names = [name for name in dict.fromkeys(components["component"].astype(str)) if (rows["component"] == name).any()]
    words = worded({**WORDS, **{name: name for name in names}}, labels)
    ends = rows.groupby("component")["value"].agg(["min", "max"]).loc[rows["component"]].to_numpy(float)
    share = (rows["value"].to_numpy(float) - ends[:, 0]) / np.where(ends[:, 1] > ends[:, 0], ends[:, 1] - ends[:, 0], 1)
    top = rows["component"].map(names.index).to_numpy() * (TALL + GAP) + GAP
    rows = rows.assign(
        y=top + TALL * (1 - share), when=rows["week"].dt.strftime(DAY), name=rows["component"].map(words)
    )
    last = rows.groupby(["group", "component"], sort=True)["shown"].last()
    sides = [side for side in ("pilot", "other") if side in last.index.get_level_values("group")]
    final = {name: {side: str(last.get((side, name), "–")) for side in sides} for name in names}
    text = [f"{words[name]}: {' | '.join(final[name].values())}" for name in names]
    heads = pd.DataFrame({"y": [k * (TALL + GAP) + GAP - 13 for k in range(len(names))], "text": text})
    x = alt.X("when:T", title=None, axis=alt.Axis(grid=False, format="%Y-%m", tickCount=6))
    ink = alt.Color("group:N", scale=alt.Scale(domain=["pilot", "other"], range=[PILOT, OTHER]), legend=None)
    dash = alt.StrokeDash("group:N", scale=alt.Scale(domain=["pilot", "other"], range=[[1, 0], [5, 3]]), legend=None)
    height = len(names) * (TALL + GAP)
    tips = [alt.Tooltip("name:N", title=" "), alt.Tooltip("shown:N", title="  ")]
    rule = start_rule(x, pd.Timestamp(start).strftime(DAY), words["start"], "left", height) if start is not None else []
    layers = [
        alt.Chart(heads).mark_rule(color=HAIR).encode(y=down("y")),
        *rule,
        alt.Chart(rows).mark_line(strokeWidth=1.75).encode(
            x=x, y=down("y"), color=ink, strokeDash=dash, detail="name:N", tooltip=tips
        ),
        alt.Chart(heads).mark_text(align="left", fontWeight=600, color=INK, baseline="bottom", dy=-2).encode(
            x=alt.value(0), y=down("y"), text="text:N"
        ),
    ]  # fmt: skip
    told = {name: "; ".join(f"{words[side]} {value}" for side, value in final[name].items()) for name in names}
    described = ". ".join(f"{words[name]}: {told[name]}" for name in names)
    return alt.layer(*layers, width=WIDTH, height=height, description=f"{described}.")
