"""How a total went from one period to the next, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts.curves import LETTERS, LINE, pixels
from strategy_kit.charts.theme import INK, OTHER, PAPER, PILOT, SOFT, WARNING, WIDTH, Chart, require, worded, wrapped
from strategy_kit.errors import ParameterError, refuse
from strategy_kit.formats import number

if TYPE_CHECKING:
    from collections.abc import Mapping

BAR = 18
COLUMNS: dict[str, tuple[str, ...]] = {"step": (), "amount": (), "kind": ("level", "change")}
WORDS = {"value": "Amount", "cut": "axis does not start at 0"}
DRAWN, FILLS, EDGES = ["level", "rise", "fall"], [OTHER, PILOT, PAPER], [OTHER, PILOT, WARNING]


def growth_waterfall(frame: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Chart:
    """Draw levels and the changes between them as floating bars: a rise is filled, a fall hollow, both have a sign.

    Where the changes are small beside the levels, a level is a line instead of a bar, and the chart says that
    its axis does not start at 0.

    Parameters
    ----------
    frame
        From `kpi.drivers`, or `kpi.merchant_growth` (its last period); or in order: `step` (text), `amount` (signed
        change, or the level), `kind` ("level" or "change"), and optionally `text`, the amount as it is to be written.
    labels
        Words: "value" (what the amounts are, with the unit), "cut" (said where the axis does not start at 0).

    Raises
    ------
    ParameterError
        If rows, columns or amounts are missing, a kind is unknown, or a level is not where the changes lead.

    Examples
    --------
    >>> steps = pd.DataFrame({"step": ["May", "buyers", "June"], "amount": [9.0, -4.0, 5.0]})
    >>> growth_waterfall(steps.assign(kind=["level", "change", "level"])).description
    'Amount: May 9.0; buyers −4.0; June 5.0.'
    """
    frame = _steps(frame)
    require("growth_waterfall", frame, COLUMNS)
    words, rows = worded(WORDS, labels), _floating(frame)
    rooted = (rows["start"] == 0).any()
    heading = [words["value"]] if rooted else [words["value"], words["cut"]]
    ends = rows[["start", "end"]].to_numpy()
    inner: list[Any] = [6, alt.ExprRef(f"width - {12 + rows['text'].map(pixels).max()}")]
    scale = alt.Scale(domain=[ends.min(), ends.max()], range=inner, nice=False, zero=False)
    x = alt.X("start:Q", axis=None, scale=scale)
    top, middle, name, bottom = (alt.Y(f"{at}:Q", axis=None, scale=None) for at in ("top", "middle", "name", "bottom"))
    fill, edge = (alt.Scale(domain=DRAWN, range=inks) for inks in (FILLS, EDGES))
    paint = {
        "fill": alt.Fill("kind:N", scale=fill, legend=None),
        "stroke": alt.Stroke("kind:N", scale=edge, legend=None),
    }
    tips = [alt.Tooltip("step:N", title=" "), alt.Tooltip("text:N", title=words["value"])]
    base, levels = alt.Chart(rows).encode(x=x), alt.Chart(rows[rows["kind"] == "level"])
    layers = [
        base.mark_bar(strokeWidth=1.5).encode(x2="end:Q", y=top, y2="bottom:Q", tooltip=tips, **paint),
        alt.Chart(rows.iloc[:-1]).mark_rule(color=SOFT).encode(x="end:Q", y=bottom, y2="next:Q"),
        levels.mark_rule(color=INK, strokeWidth=3).encode(x="end:Q", y=top, y2="bottom:Q"),
        alt.Chart(rows).mark_text(align="right", x=-8, color=INK, lineHeight=LINE).encode(y=name, text="lines:N"),
        base.mark_text(align="left", dx=7, color=INK, fontWeight=600).encode(x="right:Q", y=middle, text="text:N"),
        alt.Chart(rows.head(1)).mark_text(
            text=heading, align="left", x=0, y=-4 - LINE * len(heading), lineHeight=LINE, color=SOFT
        ),
    ]
    described = f"{' · '.join(heading)}: {'; '.join(rows['step'] + ' ' + rows['text'])}."
    return alt.layer(*layers, width=WIDTH, height=int(rows["bottom"].max()), description=described)


def _floating(frame: pd.DataFrame) -> pd.DataFrame:
    """Lay out each bar from where it starts to where it ends; refuse amounts that do not add up."""
    level = (frame["kind"] == "level").to_numpy()
    rows = pd.DataFrame({"step": frame["step"].astype(str), "amount": frame["amount"].astype(float)}).reset_index(
        drop=True
    )
    rows["end"] = rows["amount"].groupby(level.cumsum()).cumsum()
    rows["start"] = (rows["end"] - rows["amount"]).where(~level, rows["end"])
    ends, most, led = rows[["start", "end"]].to_numpy(), rows["amount"].abs().max(), rows["end"].shift()
    # Sums of floats differ in their last digits; anything more is a step that was forgotten.
    astray = level & ((rows["end"] - led).abs() > 1e-9 * max(most, np.abs(ends).max()))
    laws = [f"{step!r} has no amount; give it, or leave the step out" for step in rows["step"][rows["amount"].isna()]]
    laws += [
        f"{step!r} is {at:,.2f}, and the steps before lead to {before:,.2f}; give every step"
        for step, at, before in zip(rows["step"][astray], rows["end"][astray], led[astray], strict=True)
    ]
    refuse(ParameterError, "growth_waterfall", laws)
    if not 0 < ends.max() - ends.min() < 0.25 * most:
        rows["start"] = rows["start"].where(~level, 0.0)
    lines = rows["step"].map(lambda step: wrapped(step, LETTERS))
    pitch = LINE * max(int(lines.str.len().max()), 2) + 4
    top, digits = rows.index * pitch, int(most < 100)
    written = [number(by, digits, signed=not at) for by, at in zip(rows["amount"], level, strict=True)]
    kind = rows["amount"].lt(0).map({True: "fall", False: "rise"}).where(~level, "level")
    middle, text = top + BAR / 2, frame["text"].astype(str).to_numpy() if "text" in frame else written
    rows = rows.assign(kind=kind, text=text, lines=lines, right=rows[["start", "end"]].max(axis=1), top=top)
    name = middle - (lines.str.len() - 1) * LINE / 2
    return rows.assign(bottom=top + BAR, next=top + pitch, middle=middle, name=name)


def _steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn a frame of `kpi.drivers`, or the last row of one of `kpi.merchant_growth`, into steps."""
    if {"driver", "contribution"} <= set(frame):
        opening, closing = frame["before"].prod(), frame["after"].prod()
        amounts = dict(zip(frame["driver"], frame["contribution"], strict=True))
    elif {"opening", "closing"} <= set(frame) and len(frame):
        last = frame.iloc[-1]
        opening, closing = last["opening"], last["closing"]
        amounts = {name: last[name] for name in ("new", "resurrected", "expansion")}
        amounts |= {name: -last[name] for name in ("contraction", "churned")}
    else:
        return frame
    rows = [("before", opening, "level"), *((name, value, "change") for name, value in amounts.items())]
    return pd.DataFrame([*rows, ("after", closing, "level")], columns=["step", "amount", "kind"])
