"""The same change by three yardsticks: orders, GMV and spend per buyer."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from strategy_kit.charts.curves import LINE, pixels
from strategy_kit.charts.theme import INK, PILOT, SOFT, WARNING, WIDTH, Chart, require, signed_axis, worded, wrapped
from strategy_kit.formats import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

ROW, GAP, NAME, HEAD = 22, 12, 16, 44
COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(["group", "metric", "change", "conf_low", "conf_high", "agree"], ())
PIXEL = alt.Y("y:Q", axis=None, scale=None)
WORDS = {"value": "Change", "interval": "lines: 95% intervals", "disagree": "yardsticks disagree", "orders": "orders",
    "gmv": "GMV", "spend_per_annual_active_buyer": "spend per buyer"}  # fmt: skip


def yardsticks(frame: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Chart:
    """Draw the change of each group by each metric, with its interval, and say where the metrics disagree.

    Parameters
    ----------
    frame
        In order: `group`, `metric` ("orders", "gmv", "spend_per_annual_active_buyer" or any other), `change` (share),
        `conf_low`, `conf_high` (shares, or missing), `agree` (bool, the same within a group).
    labels
        Words: "value" (axis title), "interval", "disagree", and one per metric.

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"group": "toys", "metric": ["orders", "gmv"], "change": [0.08, -0.02], "agree": False})
    >>> yardsticks(rows.assign(conf_low=float("nan"), conf_high=float("nan"))).description
    'Change. toys · yardsticks disagree: orders +8.0%, GMV −2.0%.'
    """
    frame = _grouped(frame)
    require("yardsticks", frame, COLUMNS)
    require("yardsticks", frame.dropna(subset="change"), {})
    metrics = list(dict.fromkeys(frame["metric"].astype(str)))
    words = worded({**{name: name for name in metrics}, **WORDS}, labels)
    rows, heads = _laid(frame, words)
    bounds = rows[["change", "conf_low", "conf_high"]]
    low, high = min(bounds.min().min(), 0.0), max(bounds.max().max(), 0.0)
    room = 0.04 * (high - low or 1.0)
    ranged = rows.dropna(subset=["conf_low", "conf_high"])
    axis = alt.Axis(grid=False, tickCount=5, labelExpr=signed_axis("%", 100), titleAnchor="start", titleLineHeight=LINE)
    axis.title = [
        *wrapped(words["value"], HEAD - NAME),
        *(wrapped(words["interval"], HEAD - NAME) if len(ranged) else []),
    ]
    x = alt.X("change:Q", axis=axis, scale=alt.Scale(domain=[low - room, high + room], nice=False, zero=False))
    shapes = cycle(["circle", "square", "diamond", "triangle-up"])
    shape = alt.Shape("metric:N", legend=None, scale=alt.Scale(domain=metrics, range=[next(shapes) for _ in metrics]))
    titles = {"head": " ", "name": "  ", "text": words["value"], "span": words["interval"]}
    tips = [alt.Tooltip(f"{name}:N", title=titles[name]) for name in titles]
    base, edge = alt.Chart(rows), -8 - int(rows["lines"].map(lambda lines: max(map(pixels, lines))).max())
    bold: dict[str, Any] = {"align": "left", "fontWeight": 600, "lineHeight": LINE, "limit": 0}
    names = base.mark_text(align="right", x=-8, color=INK, lineHeight=LINE, dy=alt.ExprRef("datum.dy"))
    head = alt.Chart(heads).mark_text(x=edge, **bold).encode(text="lines:N", color=alt.Color("ink:N", scale=None))
    zero, top = alt.Chart(heads.assign(change=0.0)).mark_rule(color=SOFT), alt.Y("top:Q", axis=None, scale=None)
    layers = [
        zero.encode(x=x, y=top, y2="bottom:Q"),
        alt.Chart(ranged).mark_rule(color=PILOT, strokeWidth=2).encode(x="conf_low:Q", x2="conf_high:Q", y=PIXEL),
        base.mark_point(size=70, color=PILOT, fill=PILOT, opacity=1).encode(x=x, y=PIXEL, shape=shape, tooltip=tips),
        names.encode(y=PIXEL, text="lines:N"),
        base.mark_text(x="width", dx=10, color=INK, **bold).encode(y=PIXEL, text="text:N"),
        head.encode(y=PIXEL),
    ]
    told = [
        f"{head}: {', '.join(part['name'] + ' ' + part['text'] + part['span'])}"
        for head, part in rows.groupby("head", sort=False)
    ]
    described = f"{words['value']}. {'; '.join(told)}."
    return alt.layer(*layers, width=WIDTH, height=float(heads["bottom"].max()), description=described)


def _grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """Name the groups of a frame of `kpi.yardsticks` by the columns before its metric."""
    if "group" in frame or "metric" not in frame:
        return frame
    keys = frame.columns[: frame.columns.get_loc("metric")]
    names = frame[keys].astype(str).agg(" · ".join, axis=1) if len(keys) else pd.Series("all", frame.index)
    return frame.assign(group=names)


def _laid(frame: pd.DataFrame, words: Mapping[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put each metric on its line below the name of its group; return the metrics' lines and the groups'."""
    rows = frame[list(COLUMNS)].reset_index(drop=True)
    rows = rows.astype({"group": str, "metric": str, "change": float, "conf_low": float, "conf_high": float})
    agree = rows["agree"].astype(bool).groupby(rows["group"]).transform("all")
    spans = zip(rows["conf_low"], rows["conf_high"], strict=True)
    rows = rows.assign(
        head=rows["group"] + agree.map({True: "", False: f" · {words['disagree']}"}),
        ink=agree.map({True: INK, False: WARNING}),
        name=rows["metric"].map(words),
        text=[percent(change, signed=True) for change in rows["change"]],
        span=[
            f" ({percent(low, signed=True)} … {percent(high, signed=True)})" if low <= high else ""
            for low, high in spans
        ],
    )
    rows = rows.iloc[rows.groupby("head", sort=False).ngroup().argsort(kind="stable")].reset_index(drop=True)
    rows["lines"] = rows["name"].map(lambda name: wrapped(name, NAME))
    rows["dy"] = -(rows["lines"].str.len() - 1) * LINE / 2
    first, tall = ~rows["head"].duplicated(), LINE * rows["lines"].str.len() + ROW - LINE
    above = (LINE * rows["head"].map(lambda head: len(wrapped(head, HEAD))) + GAP).where(first, 0)
    rows["bottom"] = (tall + above).cumsum()
    rows["y"] = rows["bottom"] - tall / 2
    heads = rows[first].assign(y=(rows["bottom"] - tall - above + GAP + LINE / 2), top=rows["bottom"] - tall)
    heads["bottom"] = rows.groupby("head", sort=False)["bottom"].last().to_numpy()
    return rows, heads.assign(lines=heads["head"].map(lambda head: wrapped(head, HEAD)))
