"""Targets around a line: how many there are, and how many there would be without it."""

from __future__ import annotations

import altair as alt
import pandas as pd

from strategy_kit.charts.theme import INK, PILOT, SOFT, TINTS, WARNING, WIDTH, Chart, Labels, require, worded

HEIGHT, STEP = 240, 64
WORDS = {
    "value": "Targets",
    "share": "Sold, as a share of the target",
    "line": "target",
    "expected": "without the line",
}
SHARES = {"promised": "promised", "share": "Share met", "floor": "floor", "stretch": "stretch"}


def bunching(bins: pd.DataFrame, *, at: float = 1.0, labels: Labels | None = None) -> Chart:
    """Draw targets by attainment with the density that they would have without the line; bins that did not fit it are dark.

    Parameters
    ----------
    bins
        low, high, observed, counterfactual, excluded, as `targets.bunching` returns.
    at
        The line.
    labels
        Words: "value", "share", "line", "expected".

    Examples
    --------
    >>> rows = {"low": [0.99, 1.0], "high": [1.0, 1.01], "observed": [4, 9], "counterfactual": [5.0, 5.0]}
    >>> bunching(pd.DataFrame({**rows, "excluded": [False, True]})).height
    240
    """
    words = worded(WORDS, labels)
    require("bunching", bins, dict.fromkeys(("low", "high", "observed", "counterfactual", "excluded"), ()))
    rows = bins.assign(low=100 * bins["low"], high=100 * bins["high"], middle=50 * (bins["low"] + bins["high"]))
    ends = [float(rows["low"].min()), float(rows["high"].max())]
    x = alt.X("low:Q", scale=alt.Scale(domain=ends, nice=False)).axis(
        title=words["share"], titleAnchor="start", grid=False, tickCount=6, labelExpr="datum.value + '%'", labelFlush=True
    )  # fmt: skip
    y = alt.Y("observed:Q", title=None, axis=alt.Axis(tickCount=4), scale=alt.Scale(domainMin=0))
    bars = alt.Chart(rows).mark_bar(stroke="white", strokeWidth=0.5).encode(
        x=x, x2="high:Q", y=y, y2=alt.Y2Datum(0),
        tooltip=[alt.Tooltip("low:Q", title=words["share"]), alt.Tooltip("observed:Q", title=words["value"])],
        color=alt.Color("excluded:N", scale=alt.Scale(domain=[False, True], range=[TINTS[0.80], PILOT]), legend=None),
    )  # fmt: skip
    smooth = alt.Chart(rows).encode(x=alt.X("middle:Q", scale=alt.Scale(domain=ends, nice=False)), y="counterfactual:Q")
    curve = smooth.mark_line(color=INK, strokeWidth=2, strokeDash=[5, 3])
    named = alt.Chart(rows.head(1)).mark_text(text=words["expected"], color=INK, align="left", dy=-24)
    named = named.encode(x=x, y="counterfactual:Q")
    base = alt.Chart(pd.DataFrame({"low": [100 * at]})).encode(x=x)
    rule = base.mark_rule(color=WARNING, strokeWidth=1.5, y=-16, y2=HEIGHT)
    name = base.mark_text(text=words["line"], color=WARNING, fontWeight=600, align="left", dx=5, y=-9)
    axis = alt.Chart(rows.head(1)).mark_text(text=words["value"], align="left", x=0, y=-30, color=SOFT)
    return alt.layer(bars, curve, named, rule, name, axis, width=WIDTH, height=HEIGHT)


def met_by_band(shares: pd.DataFrame, *, labels: Labels | None = None) -> Chart:
    """Draw which share met floor and stretch by size band, with intervals and, where there is one, what was promised.

    Parameters
    ----------
    shares
        tier (floor, stretch), size_band, met, conf_low, conf_high and, if promised, promised.
    labels
        Words: "promised", "share", "floor", "stretch", and one per band.

    Examples
    --------
    >>> row = {"tier": ["floor"], "size_band": ["small"], "met": [0.9], "conf_low": [0.8], "conf_high": [0.95]}
    >>> met_by_band(pd.DataFrame(row)).width
    720
    """
    require(
        "met_by_band", shares, {"tier": ("floor", "stretch"), **dict.fromkeys(("met", "conf_low", "conf_high"), ())}
    )
    words = worded({**SHARES, **{name: name for name in shares["size_band"].astype(str)}}, labels)
    rows = shares.assign(name=shares["tier"].map(words) + " · " + shares["size_band"].astype(str).map(words))
    rows[["met", "conf_low", "conf_high"]] *= 100
    y = alt.Y("name:N", sort=rows["name"].tolist(), title=None, axis=alt.Axis(labelLimit=170, labelColor=INK))
    x = alt.X("met:Q", scale=alt.Scale(domain=[0, 100])).axis(
        title=words["share"], titleAnchor="start", tickCount=5, labelExpr="datum.value + '%'", labelFlush=True
    )  # fmt: skip
    base = alt.Chart(rows).encode(y=y)
    layers = [
        base.mark_rule(strokeWidth=3, color=TINTS[0.50]).encode(x=alt.X("conf_low:Q"), x2="conf_high:Q"),
        base.mark_point(filled=True, size=60, color=PILOT, opacity=1).encode(x=x),
    ]
    if "promised" in rows:
        tick = alt.Chart(rows.assign(promised=100 * rows["promised"])).encode(y=y, x="promised:Q")
        layers.append(tick.mark_tick(color=WARNING, thickness=2, size=20))
        first = alt.Chart(rows.assign(promised=100 * rows["promised"]).head(1)).encode(x="promised:Q")
        layers.append(first.mark_text(text=words["promised"], color=WARNING, fontWeight=600, y=-9))
    return alt.layer(*layers, width=WIDTH, height=max(STEP, 32 * len(rows)))
