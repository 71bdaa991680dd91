"""Effects one below the other with their intervals: categories and what they say on a new one, many metrics, ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.charts.curves import LINE, pixels
from strategy_kit.charts.effects_grid import writer
from strategy_kit.charts.theme import across, down
from strategy_kit.formats import number

Unit = Literal["", "%"] | Callable[[float], str]
NAME, HEAD, GAP, LONG = 20, 44, 12, 7
BOUNDS = ["estimate", "conf_low", "conf_high"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"shape": "circle", "size": 55, "fill": theme.PILOT},
    "open": {"shape": "circle", "size": 55, "fill": theme.PAPER},
    "head": {"shape": "diamond", "size": 170, "fill": theme.PILOT},
    "new": {"shape": "stroke", "size": 170, "fill": theme.PILOT},
}
FOREST = {
    "value": "Effect, in units of the outcome",
    "average": "average category",
    "new": "a new category",
    "note": "lines: 95% intervals; pale bar: 95% interval of the effect in a new category",
    "missing": "no interval",
}
METRICS = {
    "value": "Effect, each row drawn in widths of its own 95% interval",
    "note": "filled: survives; p: corrected within its family",
    "p": "p",
    "primary": "primary metric",
    "missing": "not computed",
}
RANKS = {"value": "Rank, 1 for the largest effect", "note": "lines: ranks that hold together at 95%", "to": "to"}


def forest(
    effects: Any, pooled: Any = None, *, percent: bool = False, labels: theme.Labels | None = None
) -> theme.Chart:
    """Draw the effect in each category, below them their average, and where the effect in a new category lies.

    Parameters
    ----------
    effects
        An `Estimates` with one label, such as of `category_effects`, or its tidy frame.
    pooled
        An `Estimates` of `new_category` or its tidy frame: scope (average, new), estimate, conf_low, conf_high.
    percent
        True where the estimates are shares, to be shown as percentages.
    labels
        Words: "value", "average", "new", "note", "missing", and one per category.

    Raises
    ------
    ParameterError
        If a frame has no rows or lacks columns.

    Examples
    --------
    >>> rows = pd.DataFrame({"group": ["toys", "books"], "estimate": [0.09, 0.05], "conf_low": [0.05, 0.0]})
    >>> forest(rows.assign(conf_high=[0.13, 0.1]), percent=True).description
    'Effect, in units of the outcome. toys +9.0% (+5.0% … +13.0%); books +5.0% (0.0% … +10.0%).'
    """
    rows = getattr(effects, "tidy", lambda: effects)()
    theme.require("forest", rows, dict.fromkeys(BOUNDS, ()))
    rows = rows.assign(name=rows.iloc[:, 0].astype(str), kind="plain")
    if pooled is not None:
        tidy = getattr(pooled, "tidy", lambda: pooled)()
        theme.require("forest", tidy, {"scope": ("average", "new"), **dict.fromkeys(BOUNDS, ())})
        kind = tidy["scope"].map({"average": "head", "new": "new"})
        rows = pd.concat([rows, tidy.assign(name=tidy["scope"], kind=kind)])
    words = theme.worded({**{name: name for name in rows["name"]}, **FOREST}, labels)
    rows = rows[["name", "kind", *BOUNDS]].reset_index(drop=True)
    write = writer(rows[BOUNDS], percent=percent)
    rows["value"] = rows["estimate"].map(write)
    rows["told"] = [_span(row, write, words["missing"]) for row in rows.itertuples()]
    note = words["note"] if pooled is not None else words["note"].split(";")[0]
    return drawn(
        rows.assign(block=words["value"], name=rows["name"].map(words)), note=note, unit="%" if percent else ""
    )


def metrics_forest(table: pd.DataFrame, *, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw every declared metric in its family, filled where it survives the correction, with what could not be computed.

    Metrics have different units, so that each row is drawn in widths of its own interval: how far it lies from zero compares.

    Parameters
    ----------
    table
        Of `planning.all_metrics`: family, metric, estimate, conf_low, conf_high, p_adjusted, survives, missing_because.
    labels
        Words: "value", "note", "p", "primary", "missing", and one per metric, family and reason of `missing_because`.

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> row = {"family": ["primary"], "metric": ["gmv"], "estimate": [2.0], "conf_low": [1.0], "conf_high": [3.0]}
    >>> metrics_forest(pd.DataFrame({**row, "p_adjusted": [0.01], "survives": [True], "missing_because": [""]})).description
    'primary metric. gmv +2.0 (+1.0 … +3.0), p 0.010.'
    """
    columns = ["family", "metric", *BOUNDS, "p_adjusted", "survives", "missing_because"]
    theme.require("metrics_forest", table, dict.fromkeys(columns, ()))
    rows = table[columns].reset_index(drop=True)
    told = rows["missing_because"].astype(str)
    names = [*rows["family"].astype(str), *rows["metric"].astype(str), *told[told != ""]]
    words = theme.worded({**{name: name for name in names}, **METRICS}, labels)
    told = told.where(told == "", told.map(words))
    half = (rows["conf_high"] - rows["conf_low"]) / 2
    writes = [writer(row) for row in rows[BOUNDS].to_numpy()]
    p = words["p"] + " " + rows["p_adjusted"].map(lambda p: number(p, 3))
    spans = [_span(row, write, words["missing"]) for row, write in zip(rows.itertuples(), writes, strict=True)]
    rows["told"] = told.where(told != "", pd.Series(spans) + ", " + p)
    shown = [write(at) for write, at in zip(writes, rows["estimate"], strict=True)]
    rows["value"] = [
        [words["missing"]] if lacks else [text, below]
        for text, below, lacks in zip(shown, p, rows["estimate"].isna(), strict=True)
    ]
    rows[BOUNDS] = rows[BOUNDS].div(half, axis=0)
    kind = np.where(rows["survives"].astype(bool), "plain", "open")
    rows = rows.assign(kind=kind, block=rows["family"].map(words), name=rows["metric"].map(words), below=told)
    return drawn(rows, note=f"{words['value']}; {words['note']}", unit=None)


def rank_intervals(ranks: pd.DataFrame, *, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw the ranks that each lever or group may have, from the largest effect.

    Parameters
    ----------
    ranks
        Of `did.rank_intervals`: a label, rank, rank_low and rank_high.
    labels
        Words: "value", "note", "to", and one per label.

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> ranks = pd.DataFrame({"lever": ["display", "service"], "rank": [2, 1], "rank_low": [1, 1], "rank_high": [2, 2]})
    >>> rank_intervals(ranks).description
    'Rank, 1 for the largest effect. service 1 (1 to 2); display 2 (1 to 2).'
    """
    theme.require("rank_intervals", ranks, dict.fromkeys(["rank", "rank_low", "rank_high"], ()))
    rows = ranks.sort_values("rank", kind="stable").reset_index(drop=True)
    rows = rows.assign(name=rows.iloc[:, 0].astype(str), kind="plain")
    words = theme.worded({**{name: name for name in rows["name"]}, **RANKS}, labels)
    renamed = dict(zip(["rank", "rank_low", "rank_high"], BOUNDS, strict=True))
    rows = rows.drop(columns=BOUNDS, errors="ignore").rename(columns=renamed)
    rows["value"] = rows["estimate"].astype(str)
    rows["told"] = [f"{row.estimate} ({row.conf_low} {words['to']} {row.conf_high})" for row in rows.itertuples()]
    rows = rows.assign(block=words["value"], name=rows["name"].map(words))
    return drawn(rows, note=words["note"], ticks=list(range(1, len(rows) + 1)))


def _span(row: Any, write: Any, missing: str) -> str:
    ends = f"{write(row.conf_low)} … {write(row.conf_high)}" if pd.notna(row.conf_low) else missing
    return f"{write(row.estimate)} ({ends})"


def drawn(rows: pd.DataFrame, *, note: str, unit: Unit | None = "", ticks: list[int] | None = None) -> theme.Chart:
    """Draw rows of blocks, each block on its own scale with its own zero.

    Parameters
    ----------
    rows
        block (its title), name, kind (one of `KINDS`), estimate, conf_low, conf_high, value (text to the right, or its lines),
        told (what a tooltip and the description say) and optionally below (text under the name).
    note
        How to read the marks, at the foot.
    unit
        Of the numbers below a block, or what writes them; None draws all blocks on one scale that has only a zero.
    ticks
        Numbers below a block instead of round ones, without a zero line.
    """
    rows = rows.reset_index(drop=True).astype({"block": str, "name": str, **dict.fromkeys(BOUNDS, float)})
    cells, heads, scale = _laid(rows, ticks, unit)
    foot = float(heads["bottom"].iloc[-1])
    notes = pd.DataFrame({"text": [theme.wrapped(note, HEAD)], "y": [foot + LINE]})
    base, edge = alt.Chart(cells), -10 - max(pixels(line) for lines in cells["lines"] for line in lines)
    x, y = across("at"), down("y")
    bold: dict[str, Any] = {"align": "left", "lineHeight": LINE, "color": theme.INK}
    weight = alt.ExprRef("datum.kind == 'head' ? 600 : 400")
    ranged = cells.dropna(subset=["left", "right"])
    bar = ranged[ranged["kind"] == "new"]
    line = ranged[ranged["kind"] != "new"]
    tips = theme.tips(name=" ", told="  ")
    told = [
        f"{head}. {'; '.join(part['name'] + ' ' + part['told'])}" for head, part in cells.groupby("block", sort=False)
    ]
    layers = [
        alt.Chart(scale)
        .mark_rule()
        .encode(x=x, y=down("top"), y2=alt.Y2("bottom:Q"), color=alt.Color("ink:N", scale=None)),
        alt.Chart(scale)
        .mark_text(color=theme.SOFT, baseline="top", dy=3, align=alt.ExprRef("datum.side"))
        .encode(x=x, y=down("bottom"), text=alt.Text("text:N")),
        alt.Chart(bar)
        .mark_bar(size=12, color=theme.TINTS[0.80], stroke=theme.PILOT, strokeWidth=1)
        .encode(x=across("left"), x2=alt.X2("right:Q"), y=y),
        alt.Chart(line).mark_rule(color=theme.PILOT, strokeWidth=2).encode(x=across("left"), x2=alt.X2("right:Q"), y=y),
        *(
            alt.Chart(part)
            .mark_point(color=theme.PILOT, strokeWidth=1.75, opacity=1, **KINDS[str(kind)])
            .encode(x=x, y=y, tooltip=tips)
            for kind, part in cells.dropna(subset="at").groupby("kind", sort=False)
        ),
        base.mark_text(x=edge, dy=alt.ExprRef("datum.lift"), fontWeight=weight, **bold).encode(
            y=y, text=alt.Text("lines:N")
        ),
        base.mark_text(x="width", dx=10, dy=alt.ExprRef("datum.raise"), fontWeight=weight, **bold).encode(
            y=y, text=alt.Text("value:N")
        ),
        alt.Chart(heads).mark_text(x=edge, fontWeight=600, **bold).encode(y=down("y"), text=alt.Text("lines:N")),
        alt.Chart(notes).mark_text(x=edge, **{**bold, "color": theme.SOFT}).encode(y=y, text=alt.Text("text:N")),
    ]
    height = foot + LINE * (len(notes["text"][0]) + 0.5)
    return alt.layer(*layers, width=theme.WIDTH, height=height, description=". ".join(told) + ".")


def _laid(
    rows: pd.DataFrame, ticks: list[int] | None, unit: Unit | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Place rows and titles below each other, and everything across on a scale; return what the scales draw too."""
    parts, heads, scales, bottom = [], list[dict[str, Any]](), [], 0.0
    below = rows.get("below", pd.Series("", index=rows.index)).map(lambda text: theme.wrapped(str(text), NAME))
    lines = rows["name"].map(lambda name: theme.wrapped(name, NAME) or [""]) + below
    beside = rows["value"].map(lambda value: len(value) if isinstance(value, list) else 1)
    rows = rows.assign(lines=lines, tall=LINE * np.maximum(lines.str.len(), beside) + GAP)
    rows = rows.assign(lift=-(lines.str.len() - 1) * LINE / 2, **{"raise": -(beside - 1) * LINE / 2})
    for head, part in rows.groupby("block", sort=False):
        title = theme.wrapped(str(head), HEAD)
        top = bottom + LINE * len(title) + GAP / 2
        ends = top + part["tall"].cumsum()
        heads.append({"lines": title, "y": bottom + LINE / 2, "bottom": float(ends.iloc[-1]) + LINE + GAP})
        low, high, places, texts = _scale(rows if unit is None else part, ticks, unit)
        ends_of = zip(("at", "left", "right"), BOUNDS, strict=True)
        placed = {name: ((part[bound] - low) / (high - low)).clip(0, 1) for name, bound in ends_of}
        parts.append(part.assign(y=ends - part["tall"] / 2, **placed))
        ink = [theme.SOFT if place == 0 and ticks is None else theme.RULE for place in places]
        at = [(place - low) / (high - low) for place in places]
        pairs = zip(places, texts, strict=True)
        sides = [("right", "left")[place > 0] if len(text) > LONG else "center" for place, text in pairs]
        marks = {"at": at, "text": texts, "side": sides, "ink": ink}
        scales.append(pd.DataFrame({**marks, "top": top, "bottom": float(ends.iloc[-1])}))
        bottom = float(heads[-1]["bottom"]) + GAP
    return pd.concat(parts), pd.DataFrame(heads), pd.concat(scales)


def _scale(
    part: pd.DataFrame, ticks: list[int] | None, unit: Unit | None
) -> tuple[float, float, list[float], list[str]]:
    """Return the ends of a scale, where it has lines, and what stands below them."""
    if ticks is not None:
        return ticks[0] - 0.5, ticks[-1] + 0.5, [float(tick) for tick in ticks], [str(tick) for tick in ticks]
    given = part[BOUNDS].to_numpy()
    bounds = np.append(given[np.isfinite(given)], 0.0)
    room = 0.05 * (np.ptp(bounds) or 1.0)
    low, high = float(bounds.min() - room), float(bounds.max() + room)
    if unit is None:
        return low, high, [0.0], ["0"]
    raw, factor = (high - low) / 2.5, 100 if unit == "%" else 1
    step = 10 ** np.floor(np.log10(raw))
    step *= max(times for times in (1, 2, 5) if times * step <= raw)
    places = step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
    digits = max(0, -int(np.floor(np.log10(step * factor) + 1e-9)))
    texts = [unit(place) if callable(unit) else number(place * factor, digits, signed=True) + unit for place in places]
    at = {0, int(np.abs(places).argmin()), len(places) - 1}  # more would meet on a phone
    if max(map(len, texts)) > LONG:
        at = {int(np.abs(places).argmin()), int(np.abs(places).argmax())}
    shown = ["0" if place == 0 else text for place, text in zip(places, texts, strict=True)]
    return low, high, places.tolist(), [text * (n in at) for n, text in enumerate(shown)]
