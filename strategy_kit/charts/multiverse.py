"""Every specification in the order of its estimate, and below it what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts.curves import LINE, pixels
from strategy_kit.charts.effects_grid import writer
from strategy_kit.charts.theme import HAIR, INK, OTHER, PILOT, SOFT, WIDTH, Chart, require, signed_axis, worded, wrapped
from strategy_kit.formats import Count, number

if TYPE_CHECKING:
    from collections.abc import Mapping

HEIGHT, LETTERS, NAME = 220, 46, 20
PARTS = ("estimator", "base_window", "control", "left_out", "outcome")
COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(["estimate", "conf_low", "conf_high", "headline", *PARTS], ())
WORDS = {
    "value": "Effect, in units of the outcome", "declared": "declared beforehand",
    "interval": "Each line: one specification and its 95% interval, lowest estimate first",
    "cut": "Intervals at the edge reach further",
    "caution": "They share their data: no share of them is a p-value", "missing": "not run, or the same as another",
    "estimator": "Estimator", "base_window": "Base", "control": "Compared with", "left_out": "Left out",
    "outcome": "Outcome",
}  # fmt: skip
TOP = alt.Y("y:Q", axis=None, scale=None)


def multiverse(rows: pd.DataFrame, *, percent: bool = False, labels: Mapping[str, str] | None = None) -> Chart:
    """Draw the specifications by their estimates, the declared one marked, above a matrix of what each is made of.

    Intervals that reach further than most end at the edge of the plot. Parts that are the same everywhere are not shown.

    Parameters
    ----------
    rows
        As `did.multiverse` returns them: estimator, base_window, control, left_out, outcome (text), estimate, conf_low,
        conf_high (units of the outcome, missing where not run), headline (bool).
    percent
        True where the estimates are shares, to be shown as percentages.
    labels
        Words: "value" (what is shown, with the unit), "declared", "interval", "cut" (said where intervals end at the edge),
        "caution", "missing", one per part, and one per estimator, base window, control, group or outcome.

    Raises
    ------
    ParameterError
        If the frame has no estimates or lacks columns, or a word is unknown.

    Examples
    --------
    >>> rows = pd.DataFrame({"estimator": ["welch", "pooled"], "estimate": [0.05, 0.04], "conf_low": [-0.01, 0.01]})
    >>> rows = rows.assign(conf_high=0.1, headline=[True, False], base_window="all_before", control="never")
    >>> multiverse(rows.assign(left_out="none", outcome="log gmv"), percent=True).description
    'Effect, in units of the outcome: 2 specifications, +4.0% to +5.0%; 1 interval excludes zero. declared beforehand: \
welch, all before, +5.0% (−1.0% … +10.0%).'
    """
    require("multiverse", rows, COLUMNS)
    run = rows.dropna(subset="estimate")
    require("multiverse", run, {})
    values = dict.fromkeys(str(value) for part in PARTS for value in rows[part])
    words = worded({**{value: value.replace("_", " ") for value in values}, **WORDS}, labels)
    cells = run.astype(dict.fromkeys(PARTS, str)).sort_values("estimate", kind="stable", ignore_index=True)
    cells = cells[["estimate", "conf_low", "conf_high", "headline", *PARTS]].assign(rank=range(1, len(cells) + 1))
    write = writer(cells["estimate"], percent=percent)
    low, high = (cells[name].map(write) for name in ("conf_low", "conf_high"))
    cells["told"] = cells["estimator"].map(words) + ", " + cells["base_window"].map(words) + ", "
    cells["told"] += cells["estimate"].map(write) + " (" + low + " … " + high + ")"
    lines = _head(cells, words, len(rows) - len(run))
    under = LINE * float(lines["lines"].str.len().sum()) + 8
    matrix = _matrix(run.astype(str), words, under + HEIGHT + 14)
    x = alt.X("rank:Q", axis=None, scale=alt.Scale(domain=[0, len(cells) + 1], nice=False))
    thick = max(0.75, min(3.0, 150 / len(cells)))
    layers = alt.layer(
        alt.layer(*_curve(cells, x, under, thick, percent=percent)),
        *_marks(cells, matrix, x, thick),
        _text(matrix, x=-8, align="right"),
        _text(lines, x=-8 - max(pixels(line) for part in matrix["lines"] for line in part)),
    )
    zero = Count(((cells["conf_low"] > 0) | (cells["conf_high"] < 0)).sum())
    n, ends = Count(len(cells)), cells["estimate"].iloc[[0, -1]].map(write)
    described = (
        f"{words['value']}: {n} {n:specification|specifications}, {ends.iloc[0]} to {ends.iloc[1]}; {zero} "
        f"{zero:interval excludes|intervals exclude} zero."
    )
    described += "".join(f" {words['declared']}: {told}." for told in cells.loc[cells["headline"], "told"])
    return layers.resolve_scale(y="independent").properties(
        width=WIDTH, height=float(matrix["end"].iloc[-1]), description=described
    )


def _head(cells: pd.DataFrame, words: Mapping[str, str], missing: int) -> pd.DataFrame:
    """Lines above the plot: what is shown, how to read it, and the declared specification."""
    least, most = _reach(cells)
    cut = bool(((cells["conf_low"] < least) | (cells["conf_high"] > most)).any())
    told = [(words["value"], SOFT), (words["interval"], SOFT), *[(words["cut"], SOFT)] * cut, (words["caution"], INK)]
    told += [(f"{number(missing)} {words['missing']}", SOFT)] * bool(missing)
    told += [(f"◆ {words['declared']}: {text}", PILOT) for text in cells.loc[cells["headline"], "told"]]
    lines = pd.DataFrame(told, columns=["text", "ink"]).assign(weight=400)
    lines.loc[lines["ink"] == PILOT, "weight"] = 600
    lines["lines"] = [wrapped(text, LETTERS) for text in lines["text"]]
    count = lines["lines"].str.len()
    return lines.assign(y=LINE * (count.cumsum() - count) + 6.0)


def _reach(cells: pd.DataFrame) -> list[float]:
    """Ends of an axis that holds all estimates, the declared interval and nine ends in ten."""
    own, ends = cells[cells["headline"]], cells[["conf_low", "conf_high"]].replace([np.inf, -np.inf], np.nan)
    low, high = (np.nan_to_num(ends[name].quantile(share)) for name, share in (("conf_low", 0.1), ("conf_high", 0.9)))
    bounds = [0.0, low, high, *cells["estimate"], *own["conf_low"], *own["conf_high"]]
    finite = [value for value in bounds if np.isfinite(value)]
    room = 0.04 * (max(finite) - min(finite) or 1.0)
    return [min(finite) - room, max(finite) + room]


def _curve(cells: pd.DataFrame, x: alt.X, under: float, thick: float, *, percent: bool) -> list[Any]:
    """Intervals, cut where the axis ends, and estimates."""
    reach = _reach(cells)
    scale = alt.Scale(domain=reach, range=[under + HEIGHT, under], nice=False, zero=False)
    axis = alt.Axis(tickCount=5, title=None, labelExpr=signed_axis("%", 100) if percent else signed_axis())
    shown = cells.assign(left=cells["conf_low"].clip(*reach), right=cells["conf_high"].clip(*reach))
    y, tip = alt.Y("estimate:Q", axis=axis, scale=scale), [alt.Tooltip("told:N", title=" ")]
    zero = alt.Chart(pd.DataFrame({"estimate": [0.0]})).mark_rule(color=INK, strokeWidth=1).encode(y=y)
    layers = [zero]
    for head, part in shown.groupby("headline"):
        ink, wide = (PILOT, max(3.0, thick)) if head else (OTHER, thick)
        look: dict[str, Any] = {"shape": "diamond", "size": 130} if head else {"shape": "circle", "size": 8 + 6 * thick}
        ranged = alt.Chart(part.dropna(subset=["left", "right"])).mark_rule(color=ink, strokeWidth=wide, opacity=1)
        layers.append(ranged.encode(x=x, y=alt.Y("left:Q", scale=scale, axis=axis), y2="right:Q"))
        point = alt.Chart(part).mark_point(color=ink if head else INK, fill=ink if head else INK, opacity=1, **look)
        layers.append(point.encode(x=x, y=y, tooltip=tip))
    return layers


def _matrix(run: pd.DataFrame, words: Mapping[str, str], top: float) -> pd.DataFrame:
    """One row a value of each part that has several, in the order of the frame, under the part's name."""
    parts = [part for part in PARTS if part == "estimator" or len(run[part].unique()) > 1]
    found = [(part, value) for part in parts for value in ("", *run[part].unique())]
    rows = pd.DataFrame(found, columns=["part", "value"])
    head = rows["value"] == ""
    rows["lines"] = [wrapped(words[value or part], NAME) for part, value in found]
    tall = LINE * rows["lines"].str.len()
    rows["end"] = top + (tall + 8 * head).cumsum()
    return rows.assign(y=rows["end"] - tall + LINE / 2, ink=INK, weight=np.where(head, 600, 400))


def _marks(cells: pd.DataFrame, matrix: pd.DataFrame, x: alt.X, thick: float) -> list[Any]:
    """A stroke where a specification has the value of the row; a diamond for the declared one."""
    lines = alt.Chart(matrix[matrix["value"] != ""]).mark_rule(color=HAIR, strokeWidth=1, x=0)
    long = cells.melt(["rank", "headline"], list(PARTS), "part", "value").merge(matrix, on=["part", "value"])
    strokes = long.assign(y=long["y"] - 5, y2=long["y"] + 5)
    bars = alt.Chart(strokes[~strokes["headline"]]).mark_rule(color=OTHER, strokeWidth=thick, opacity=1)
    own = alt.Chart(long[long["headline"]]).mark_point(color=PILOT, fill=PILOT, shape="diamond", size=90, opacity=1)
    return [lines.encode(y=TOP, x2=alt.value("width")), bars.encode(x=x, y=TOP, y2="y2:Q"), own.encode(x=x, y=TOP)]


def _text(rows: pd.DataFrame, **style: Any) -> Any:
    look: dict[str, Any] = {"align": "left", "lineHeight": LINE, "fontWeight": alt.ExprRef("datum.weight"), **style}
    return alt.Chart(rows).mark_text(**look).encode(y=TOP, text="lines:N", color=alt.Color("ink:N", scale=None))
