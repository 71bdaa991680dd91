"""Effects one below the other as nested bands, their numbers beside them, on a phone above them."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.charts.curves import LINE, pixels
from strategy_kit.charts.forest import BOUNDS, Unit, _scale
from strategy_kit.charts.theme import across, down

NARROW, NAME, FOOT, EDGE, UNDER, MOST = 500, 26, 48, 8, 17, 1.5
"""A page this narrow has names and numbers above the bands, which are so many pixels high."""
GREYS = {0.95: "#ECEEEF", 0.80: "#D3D7DA", 0.50: "#A9AFB4"}
BANDS = {0.95: ("conf_low", "conf_high"), 0.80: ("low_80", "high_80"), 0.50: ("low_50", "high_50")}
ENDS = [end for pair in BANDS.values() for end in pair]
KINDS: dict[str, dict[str, Any]] = {
    "one": {"shape": "stroke", "angle": 90, "size": 260, "strokeWidth": 3},
    "average": {"shape": "stroke", "angle": 90, "size": 420, "strokeWidth": 4},
    "prediction": {"shape": "stroke", "angle": 90, "size": 260, "strokeWidth": 3, "color": theme.SOFT},
    "clear": {"shape": "circle", "size": 70, "fill": theme.PILOT},
    "open": {"shape": "circle", "size": 70, "fill": theme.PAPER, "strokeWidth": 2},
}
WORDS = {"note": "from dark to pale: 50, 80 and 95% intervals", "cut": "at the edge: reaches further"}


def nested_forest(
    rows: pd.DataFrame, *, unit: Unit = "%", shared: bool = True, labels: theme.Labels | None = None
) -> theme.Chart:
    """Draw estimates with nested bands, grey where they are predictions, in blocks below each other.

    A prediction whose outer band reaches further than all else is cut at the edge and marked there; its numbers are not.

    Parameters
    ----------
    rows
        block (its title, or empty), name, kind ("one", "average", "prediction"; or "clear" and "open", drawn filled and
        hollow), estimate, conf_low, conf_high, low_80, high_80, low_50, high_50 (missing where there is none), value (the
        numbers as text) and optionally also (a second estimate, a hollow diamond).
    unit
        Of the numbers below the bands: "%" where values are shares, or what writes them.
    shared
        Whether all blocks are on one scale; else each has its own.
    labels
        Words: "note" (how to read the bands; empty where the caption says it) and "cut" (said where a band is cut).

    Raises
    ------
    ParameterError
        If the frame has no rows, lacks columns or has an unknown kind.

    Examples
    --------
    >>> row = {"block": "", "name": "toys", "kind": "one", "estimate": 0.09, "value": "+9.0% (+5.0 to +13.0)"}
    >>> ends = {"conf_low": 0.05, "conf_high": 0.13, "low_80": 0.06, "high_80": 0.12, "low_50": 0.08, "high_50": 0.1}
    >>> nested_forest(pd.DataFrame([row | ends])).description
    'toys +9.0% (+5.0 to +13.0).'
    """
    theme.require("nested_forest", rows, {"block": (), "name": (), "kind": tuple(KINDS), "estimate": (), "value": ()})
    theme.require("nested_forest", rows, dict.fromkeys(ENDS, ()))
    words = theme.worded(WORDS, labels)
    rows = rows.reset_index(drop=True).astype({"block": str, "name": str, "value": str, **dict.fromkeys(ENDS, float)})
    rows["also"] = rows.get("also", pd.Series(np.nan, index=rows.index)).astype(float)
    cells, heads, scale = _laid(rows, unit, shared=shared)
    foot = float(heads["bottom"].iloc[-1])
    cut = bool(cells[["beyond_low", "beyond_high"]].any(axis=None))
    notes = theme.wrapped("; ".join(text for text in (words["note"], words["cut"] * cut) if text), FOOT)
    parts = [
        f"{head}{': ' if head else ''}{'; '.join((part['name'] + ' ' + part['value']).str.strip())}"
        for head, part in cells.groupby("block", sort=False)
    ]
    layers = [
        *_frame(scale, cells),
        *_bands(cells),
        *_rules(scale[scale["zero"]], theme.INK),
        *_marks(cells),
        *_texts(cells, heads, notes, foot),
    ]
    height, told = foot + (LINE * (len(notes) + 0.5) if notes else 0), ". ".join(parts) + "."
    return alt.layer(*layers, width=theme.WIDTH, height=height, description=told)


def _laid(rows: pd.DataFrame, unit: Unit, *, shared: bool) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Place rows, titles and the lines of the scales; across, everything is a share of the room for bands."""
    rows = rows.assign(lines=rows["name"].map(lambda name: theme.wrapped(name, NAME) or [""]))
    count = rows["lines"].str.len()
    rows = rows.assign(tall=LINE * count + UNDER, lift=-(count - 1) * LINE / 2)
    parts, heads, scales, bottom, last = [], list[dict[str, Any]](), [], 0.0, rows["block"].iloc[-1]
    for head, part in rows.groupby("block", sort=False):
        title = theme.wrapped(str(head), FOOT)
        top = bottom + LINE * len(title)
        ends = top + part["tall"].cumsum()
        told = not shared or head == last  # one scale for all has its numbers once
        heads.append({"lines": title, "y": bottom + LINE / 2, "bottom": float(ends.iloc[-1]) + LINE * told + 12})
        low, high, places, texts = _scale(_reach(rows if shared else part), None, unit)
        placed: dict[str, Any] = {name: (part[name] - low) / (high - low) for name in ["estimate", "also", *ENDS]}
        edges: dict[str, Any] = {"beyond_low": placed["conf_low"] < 0, "beyond_high": placed["conf_high"] > 1}
        placed = {name: at.clip(0, 1) for name, at in placed.items()}
        top_of = ends - part["tall"]
        edges |= {"top": top_of, "first": top, "wide": ends - part["tall"] / 2, "narrow": ends - UNDER / 2 - 1}
        parts.append(part.assign(**placed, **edges, words=top_of + (part["tall"] - UNDER) / 2))
        at = [(place - low) / (high - low) for place in places]
        line = {
            "at": at,
            "text": [text * told for text in texts],
            "zero": [place == 0 for place in places],
            "foot": float(ends.iloc[-1]),
        }
        rows_of = pd.DataFrame({"top": top_of, "bottom": ends})
        scales.append(pd.DataFrame(line).merge(rows_of, how="cross"))
        bottom = float(heads[-1]["bottom"])
    return pd.concat(parts), pd.DataFrame(heads), pd.concat(scales)


def _reach(rows: pd.DataFrame) -> pd.DataFrame:
    """Return bounds that the scale must hold.

    A prediction that would take more than `MOST` times the room of all else is held by its inner bounds only.
    """
    bounds, new = rows[BOUNDS], rows["kind"] == "prediction"
    inner = bounds.assign(
        conf_low=rows["low_80"].fillna(rows["conf_low"]), conf_high=rows["high_80"].fillna(rows["conf_high"])
    )
    inner = bounds.where(~new, inner)
    spans = [np.ptp(np.append(ends.to_numpy()[np.isfinite(ends)], 0.0)) for ends in (bounds, inner)]
    return bounds if new.all() or (spans[0] <= MOST * spans[1] and np.isfinite(bounds).all(axis=None)) else inner


def _room(cells: pd.DataFrame) -> list[Any]:
    """Ends of the bands in pixels: between names and numbers, on a phone below both."""
    left = max(pixels(line) for lines in cells["lines"] for line in lines) + 20
    right = cells["value"].map(pixels).max() + 16
    wide = (f"{EDGE} + {left}", f"width - {EDGE} - {right}")
    return [alt.ExprRef(f"width < {NARROW} ? {near} : {far}") for near, far in
            zip((str(EDGE), f"width - {EDGE}"), wide, strict=True)]  # fmt: skip


def _frame(scale: pd.DataFrame, cells: pd.DataFrame) -> list[Any]:
    """Draw the lines of the scales, their numbers once a block, and a line above an average."""
    told = scale.drop_duplicates(["at", "foot"])
    ruled = cells.loc[(cells["kind"] == "average") & (cells["top"] > cells["first"]), ["top"]]
    return [
        *_rules(scale, theme.HAIR),
        alt.Chart(told[["at", "text", "foot"]])
        .mark_text(color=theme.SOFT, baseline="top", dy=3)
        .encode(x=across("at", range=_room(cells)), y=down("foot"), text=alt.Text("text:N")),
        alt.Chart(ruled).mark_rule(color=theme.RULE, x=0, x2="width").encode(y=down("top")),
    ]


def _rules(scale: pd.DataFrame, ink: str) -> list[Any]:
    """Draw lines through the rows, on a phone only where the bands are, so that none runs through a name."""
    base = alt.Chart(scale[["at", "top", "bottom"]])
    base = base.transform_calculate(top=f"width < {NARROW} ? datum.bottom - {UNDER} : datum.top")
    return [base.mark_rule(color=ink).encode(x=across("at"), y=down("top"), y2=alt.Y2("bottom:Q"))]


def _bands(cells: pd.DataFrame) -> list[Any]:
    """Draw the widest bands first, each narrower one over them."""
    parts = []
    for level, (low, high) in BANDS.items():
        part = cells.dropna(subset=[low, high])
        ink = part["kind"].eq("prediction").map({True: GREYS[level], False: theme.TINTS[level]})
        parts.append(pd.DataFrame({"left": part[low], "right": part[high], "ink": ink, **part[["narrow", "wide"]]}))
    base = _placed(pd.concat(parts)).mark_rule(strokeWidth=alt.ExprRef(f"width < {NARROW} ? 8 : 12"))
    return [base.encode(x=across("left"), x2=alt.X2("right:Q"), y=down("y"), color=alt.Color("ink:N", scale=None))]


def _marks(cells: pd.DataFrame) -> list[Any]:
    layers: list[Any] = []
    tips = theme.tips(name=" ", value="  ")
    for side, arrow in (("low", "◂"), ("high", "▸")):
        base = _placed(cells[cells[f"beyond_{side}"]])
        tip = base.mark_text(text=arrow, color=theme.SOFT, fontSize=13)
        layers.append(tip.encode(x=across(f"conf_{side}"), y=down("y")))
    second: dict[str, Any] = {"shape": "diamond", "size": 60, "fill": theme.PAPER, "strokeWidth": 1.5}
    also = _placed(cells.dropna(subset="also")).mark_point(**second, color=theme.PILOT, opacity=1)
    layers.append(also.encode(x=across("also"), y=down("y")))
    for kind, part in cells.dropna(subset="estimate").groupby("kind", sort=False):
        look: dict[str, Any] = {"color": theme.PILOT, "opacity": 1, **KINDS[str(kind)]}
        layers.append(_placed(part).mark_point(**look).encode(x=across("estimate"), y=down("y"), tooltip=tips))
    return layers


def _texts(cells: pd.DataFrame, heads: pd.DataFrame, notes: list[str], foot: float) -> list[Any]:
    weight = alt.ExprRef("datum.kind == 'average' ? 600 : 400")
    place = f"width < {NARROW} ? datum.words : datum.wide"
    base = alt.Chart(cells).transform_calculate(y=place)
    style: dict[str, Any] = {"color": theme.INK, "lineHeight": LINE, "fontWeight": weight}
    below, y = pd.DataFrame({"text": [notes], "y": [foot + LINE / 2]}), down("y")
    left: dict[str, Any] = {"x": 0, "align": "left"}
    return [
        base.mark_text(**left, dy=alt.ExprRef("datum.lift"), **style).encode(y=y, text=alt.Text("lines:N")),
        base.mark_text(x="width", align="right", **style).encode(y=y, text=alt.Text("value:N")),
        alt.Chart(heads).mark_text(**left, fontWeight=600, color=theme.INK).encode(y=y, text=alt.Text("lines:N")),
        alt.Chart(below).mark_text(**left, color=theme.SOFT, lineHeight=LINE).encode(y=y, text=alt.Text("text:N")),
    ]


def _placed(part: pd.DataFrame) -> alt.Chart:
    return alt.Chart(part).transform_calculate(y=f"width < {NARROW} ? datum.narrow : datum.wide")
