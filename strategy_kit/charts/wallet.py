"""Share of wallet and level together, and growth here against growth in total."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts import theme

HEIGHT, LINE = 280, 17
SHARE = {"value": "Share of the total that passes through the platform", "level": "Total, 100 at the start"}
GROWTH = {
    "value": "Growth here, log points",
    "total": "Growth in total, log points",
    "even": "as much here as in total",
}
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross"]


def share_and_level(split: pd.DataFrame, *, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw how share of wallet and total moved together: a line from the start (open) to the end (filled) for each group.

    To the right and down: the total grew, and a smaller part of it passes through.

    Parameters
    ----------
    split
        group, total_before, total_after, share_before, share_after, and text, what is written beside the end.
    labels
        Words: "value", "level", and one per group.

    Examples
    --------
    >>> row = {"group": ["small"], "total_before": [80.0], "total_after": [100.0], "share_before": [0.9], "share_after": [0.8]}
    >>> share_and_level(pd.DataFrame({**row, "text": ["80%"]})).description
    'Share of the total that passes through the platform: small 90% to 80%, total 100 to 125.'
    """
    columns = ("group", "total_before", "total_after", "share_before", "share_after", "text")
    theme.require("share_and_level", split, dict.fromkeys(columns, ()))
    words = theme.worded({**SHARE, **{str(name): str(name) for name in split["group"]}}, labels)
    names = split["group"].astype(str).map(words)
    level = 100 * split["total_after"] / split["total_before"]
    ends = pd.DataFrame(
        {"name": names, "level": level, "share": split["share_after"], "text": names + " " + split["text"]}
    )
    ends = ends.sort_values("share", ignore_index=True)
    starts = pd.DataFrame({"name": names, "level": 100.0, "share": split["share_before"]})
    both = pd.concat([starts.assign(at=0), ends.assign(at=1)])
    low, high = both["share"].min(), both["share"].max()
    room = max(high - low, 0.02)
    spots: list[float] = []
    for share in ends["share"]:
        spots.append(max(share, spots[-1] + LINE * 1.3 * room / HEIGHT) if spots else share)
    moved = pd.Series(spots) > ends["share"]
    crowded = moved | moved.shift(-1, fill_value=False)  # such labels stand in one column, in order of the ends
    written = ends.assign(share=spots, level=ends["level"].mask(crowded, ends["level"][crowded].max()))
    x = alt.X("level:Q", scale=alt.Scale(zero=False, nice=True, padding=14)).axis(
        title=words["level"], titleAnchor="start", grid=False, tickCount=6
    )
    y = alt.Y("share:Q", title=None, scale=alt.Scale(domain=[low - 0.15 * room, high + 0.15 * room], nice=False))
    y = y.axis(format=".0%", tickCount=5)
    ink = alt.Chart(both).encode(x=x, y=y)
    tips = [alt.Tooltip("name:N", title=" "), alt.Tooltip("level:Q", format=".0f", title=words["level"]),
            alt.Tooltip("share:Q", format=".1%", title=words["value"])]  # fmt: skip
    layers = [
        ink.mark_line(color=theme.OTHER, strokeWidth=1.75).encode(detail="name:N", order="at:O"),
        ink.transform_filter("datum.at == 0")
        .mark_point(size=60, stroke=theme.PILOT, fill=theme.PAPER, opacity=1)
        .encode(tooltip=tips),
        ink.transform_filter("datum.at == 1")
        .mark_point(size=60, stroke=theme.PILOT, fill=theme.PILOT, opacity=1)
        .encode(tooltip=tips),
        alt.Chart(written)
        .mark_text(align="left", dx=10, color=theme.INK, fontWeight=600)
        .encode(x=x, y=y, text="text:N"),
        theme.headed(ends, words["value"], -14),
    ]
    told = [f"{name} {a:.0%} to {b:.0%}, total 100 to {c:.0f}" for name, a, b, c in
            zip(names, split["share_before"], split["share_after"], level, strict=True)]  # fmt: skip
    described = f"{words['value']}: {'; '.join(told)}."
    return alt.layer(*layers, width=theme.WIDTH, height=HEIGHT, description=described)


def growth_together(bins: pd.DataFrame, *, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw mean growth here against growth in total, one mark a bin and one shape a group, with the line of equal growth.

    Parameters
    ----------
    bins
        group, total, on_platform (log points), merchants.
    labels
        Words: "value", "total", "even", and one per group.

    Examples
    --------
    >>> rows = pd.DataFrame({"group": "small", "total": [-0.1, 0.1], "on_platform": [-0.2, 0.2], "merchants": 12})
    >>> growth_together(rows).description
    'Growth here, log points against Growth in total, log points: small 2 bins, from −0.20 to +0.20.'
    """
    theme.require("growth_together", bins, dict.fromkeys(("group", "total", "on_platform", "merchants"), ()))
    names = list(dict.fromkeys(bins["group"].astype(str)))
    words = theme.worded({**GROWTH, **{name: name for name in names}}, labels)
    rows = bins.assign(name=bins["group"].astype(str).map(words))
    most = 1.08 * float(np.abs(bins[["total", "on_platform"]].to_numpy()).max())
    scale, shown = alt.Scale(domain=[-most, most], nice=False), [words[name] for name in names]
    x = alt.X("total:Q", scale=scale).axis(
        title=words["total"], titleAnchor="start", grid=False, tickCount=7, labelExpr=theme.signed_axis()
    )
    y = alt.Y("on_platform:Q", title=None, scale=scale).axis(tickCount=6, labelExpr=theme.signed_axis())
    shape = alt.Shape(
        "name:N",
        scale=alt.Scale(domain=shown, range=SHAPES[: len(shown)]),
        legend=alt.Legend(title=None, orient="top-left"),
    )
    even = alt.Chart(pd.DataFrame({"total": [-most, most], "on_platform": [-most, most]})).encode(x=x, y=y)
    tips = [alt.Tooltip("name:N", title=" "), alt.Tooltip("total:Q", format="+.2f", title=words["total"]),
            alt.Tooltip("on_platform:Q", format="+.2f", title=words["value"]), alt.Tooltip("merchants:Q", title="n")]  # fmt: skip
    layers = [
        even.mark_line(color=theme.WARNING, strokeDash=[5, 3], strokeWidth=1.5),
        even.transform_filter("datum.total > 0").mark_text(
            text=words["even"], color=theme.WARNING, align="right", dx=-6, dy=100, fontWeight=600
        ),
        alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=theme.RULE).encode(y="at:Q"),
        alt.Chart(rows)
        .mark_point(size=70, color=theme.PILOT, fill=theme.PILOT, opacity=0.9)
        .encode(x=x, y=y, shape=shape, tooltip=tips),
        theme.headed(rows, words["value"], -14),
    ]
    told = [f"{words[name]} {len(part)} bins, from {_signed(part.min())} to {_signed(part.max())}"
            for name, part in bins.groupby(bins["group"].astype(str), sort=False)["on_platform"]]  # fmt: skip
    described = f"{words['value']} against {words['total']}: {'; '.join(told)}."
    return alt.layer(*layers, width=theme.WIDTH, height=360, description=described)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
