"""How far merchants came towards their stretch, with the floor and the stretch marked."""

from __future__ import annotations

import altair as alt
import pandas as pd

from strategy_kit.charts.theme import PILOT, SOFT, TINTS, WARNING, WIDTH, Chart, Labels, Side, require, worded

HEIGHT = 220
WORDS = {"value": "Merchants", "share": "Sold, as a share of the stretch", "floor": "floor", "stretch": "stretch"}


def attainment(bins: pd.DataFrame, *, labels: Labels | None = None) -> Chart:
    """Draw merchants by what they sold as a share of their stretch; bins at and above a target are dark.

    Parameters
    ----------
    bins
        low (lower end of a bin of 0.05, a share of the stretch), merchants and floor (a share of the stretch, the same in
        every row), as `targets.attainment_bins` returns.
    labels
        Words: "value", "share", "floor", "stretch".

    Examples
    --------
    >>> rows = {"low": [0.7, 0.75, 1.0], "merchants": [2, 5, 3], "floor": 0.75}
    >>> attainment(pd.DataFrame(rows)).height
    220
    """
    words = worded(WORDS, labels)
    require("attainment", bins, {"low": (), "merchants": (), "floor": ()})
    most = float(bins["low"].max())
    rows = bins.assign(low=100 * bins["low"], high=100 * bins["low"] + 4.5, met=bins["low"] >= 1)
    x = alt.X("low:Q", scale=alt.Scale(domain=[0, max(100 * most + 8, 120)], nice=False)).axis(
        title=words["share"], titleAnchor="start", grid=False, tickCount=6, labelExpr="datum.value + '%'",
        labelFlush=True,
    )  # fmt: skip
    tips = [alt.Tooltip("low:Q", title=words["share"]), alt.Tooltip("merchants:Q", title=words["value"])]
    bars = alt.Chart(rows).mark_bar().encode(
        x=x, x2=alt.X2("high:Q"), y2=alt.Y2Datum(0), tooltip=tips,
        y=alt.Y("merchants:Q", title=None, axis=alt.Axis(tickCount=4), scale=alt.Scale(domainMin=0)),
        color=alt.Color("met:N", scale=alt.Scale(domain=[False, True], range=[TINTS[0.50], PILOT]), legend=None),
    )  # fmt: skip
    marks = []
    targets: tuple[tuple[float, str, Side], ...]
    targets = ((100 * float(bins["floor"].iloc[0]), "floor", "right"), (100.0, "stretch", "left"))
    for at, name, side in targets:
        base = alt.Chart(pd.DataFrame({"low": [at]})).encode(x=x)
        marks += [
            base.mark_rule(color=WARNING, strokeWidth=1.5, y=-16, y2=HEIGHT),
            base.mark_text(text=words[name], color=WARNING, fontWeight=600, align=side, dx=-5 if side == "right" else 5, y=-9),
        ]  # fmt: skip
    axis = alt.Chart(rows.head(1)).mark_text(text=words["value"], align="left", x=0, y=-30, color=SOFT)
    return alt.layer(bars, *marks, axis, width=WIDTH, height=HEIGHT)
