"""Which levers come together, and who got the money against who gained."""

from __future__ import annotations

import altair as alt
import pandas as pd

from strategy_kit.charts.theme import INK, PAPER, PILOT, RULE, SOFT, TINTS, WIDTH, Chart, Labels, require, worded

TALL, HEIGHT = 54, 360
OVERLAP = {"few": "too few", "value": "Merchants that hold both levers; on the diagonal, that lever alone"}
CURVE = {
    "cost": "Share of what support cost, cells with most first",
    "gain": "Share of what was gained",
    "even": "gain as cost",
}


def overlap_map(pairs: pd.DataFrame, *, labels: Labels | None = None) -> Chart:
    """Draw how many merchants hold each pair of levers, framed where a cell can be told apart.

    Parameters
    ----------
    pairs
        lever, other, merchants (missing where too few to show) and told_apart, as `levers.overlap` returns them.
    labels
        Words: "few", "value", and one per lever.

    Examples
    --------
    >>> pairs = pd.DataFrame({"lever": ["display"], "other": ["display"], "merchants": [40], "told_apart": [True]})
    >>> overlap_map(pairs).description
    'Merchants that hold both levers; on the diagonal, that lever alone. display × display: 40.'
    """
    require("overlap_map", pairs, dict.fromkeys(("lever", "other", "merchants", "told_apart"), ()))
    names = list(dict.fromkeys(pairs["lever"].astype(str)))
    words = worded({**OVERLAP, **{name: name for name in names}}, labels)
    shown = [words["few"] if pd.isna(n) else f"{n:,.0f}" for n in pairs["merchants"]]
    most = float(pairs["merchants"].max()) if pairs["merchants"].notna().any() else 1.0
    rows = pd.DataFrame(
        {
            "lever": pairs["lever"].map(words), "other": pairs["other"].map(words), "text": shown,
            "n": pairs["merchants"].fillna(0).astype(float), "apart": pairs["told_apart"].astype(bool),
        }
    )  # fmt: skip
    order = [words[name] for name in names]
    x = alt.X("other:N", sort=order, title=None, axis=alt.Axis(orient="top", labelAngle=0, grid=False, labelLimit=200))
    y = alt.Y("lever:N", sort=order, title=None, axis=alt.Axis(grid=False, labelLimit=200))
    base = alt.Chart(rows).encode(x=x, y=y, tooltip=[alt.Tooltip("text:N", title=words["value"])])
    scale = alt.Scale(domain=[0, most], range=[PAPER, TINTS[0.80]], interpolate="rgb")
    layers = [
        base.mark_rect(stroke=RULE).encode(color=alt.Color("n:Q", scale=scale, legend=None)),
        base.transform_filter("datum.apart").mark_rect(fill=None, stroke=PILOT, strokeWidth=3),
        base.mark_text(fontSize=15, color=INK).encode(text="text:N"),
    ]
    told = "; ".join(f"{row.lever} × {row.other}: {row.text}" for row in rows.itertuples())
    chart = alt.layer(*layers, width=WIDTH - 120, height=TALL * len(names))
    return chart.properties(description=f"{words['value']}. {told}.")


def concentration_curve(curve: pd.DataFrame, *, labels: Labels | None = None) -> Chart:
    """Draw the share of what was gained against the share of what it cost, from the cells with most of the money on.

    Parameters
    ----------
    curve
        name (of the cell), cost_so_far, gain_so_far, low, high, in order of cost, as `levers.concentration` returns them; an
        interval that is not bounded is missing.
    labels
        Words: "cost", "gain", "even".

    Examples
    --------
    >>> rows = {"name": ["small", "large"], "cost_so_far": [0.6, 1.0], "gain_so_far": [0.3, 1.0], "low": [0.1, 1.0]}
    >>> concentration_curve(pd.DataFrame({**rows, "high": [0.5, 1.0]})).description
    'Share of what was gained. small: 60% of cost, 30% of gain; large: 100% of cost, 100% of gain.'
    """
    columns = ["cost_so_far", "gain_so_far", "low", "high"]
    require("concentration_curve", curve, dict.fromkeys(["name", *columns], ()))
    words = worded(CURVE, labels)
    start = pd.DataFrame({"name": [""], **{column: [0.0] for column in columns}})
    rows = pd.concat([start, curve[["name", *columns]]], ignore_index=True)
    rows[columns] = 100 * rows[columns].astype(float)
    ends = rows[["gain_so_far", "low", "high"]].clip(-100, 200)
    y_scale = alt.Scale(domain=[min(0.0, float(ends.min().min())), max(100.0, float(ends.max().max()))], nice=False)
    rows[["low", "high"]] = ends[["low", "high"]]
    percent = "datum.value + '%'"
    x = alt.X("cost_so_far:Q", scale=alt.Scale(domain=[0, 100])).axis(
        title=words["cost"], titleAnchor="start", grid=False, tickCount=5, labelExpr=percent
    )
    y = alt.Y("gain_so_far:Q", scale=y_scale, title=None, axis=alt.Axis(tickCount=5, labelExpr=percent))
    base, even = alt.Chart(rows), alt.Chart(pd.DataFrame({"cost_so_far": [0, 100], "gain_so_far": [0, 100]}))
    tips = [
        alt.Tooltip("name:N", title=" "),
        *(alt.Tooltip(f"{n}_so_far:Q", title=words[n], format=".0f") for n in ("cost", "gain")),
    ]
    later, bounded = "datum.cost_so_far > 0", "isValid(datum.low) && datum.high > datum.low"
    mark = base.transform_filter(later).mark_point(color=PILOT, fill=PILOT, size=55, opacity=1)
    bar = base.transform_filter(bounded).mark_rule(color=TINTS[0.50], strokeWidth=2)
    layers = [
        even.mark_line(color=SOFT, strokeDash=[4, 4]).encode(x=x, y=y),
        alt.Chart(pd.DataFrame({"cost_so_far": [70], "gain_so_far": [70]}))
        .mark_text(text=words["even"], align="left", dx=14, dy=22, color=SOFT)
        .encode(x=x, y=y),
        bar.encode(x=x, y=alt.Y("low:Q", scale=y_scale), y2="high:Q"),
        base.mark_line(color=PILOT, strokeWidth=2.5).encode(x=x, y=y),
        mark.encode(x=x, y=y, tooltip=tips),
        alt.Chart(rows.head(1)).mark_text(text=words["gain"], align="left", x=0, y=-12, color=SOFT),
    ]
    told = "; ".join(
        f"{row.name}: {row.cost_so_far:.0f}% of cost, {row.gain_so_far:.0f}% of gain"
        for row in rows.iloc[1:].itertuples(index=False)
    )
    return alt.layer(*layers, width=WIDTH, height=HEIGHT, description=f"{words['gain']}. {told}.")
