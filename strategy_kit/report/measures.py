"""Weekly measures of the pilots: what each does by itself, festivals around their own centre, and what is out of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import formats
from strategy_kit.charts.theme import HAIR, OTHER, PAPER, PILOT, TINTS
from strategy_kit.kpi.control import counts_refunds, immature
from strategy_kit.metrics import METRICS
from strategy_kit.report import blocks
from strategy_kit.report.words import Html

if TYPE_CHECKING:
    from strategy_kit.report.blocks import Block
    from strategy_kit.report.reading import Reading

SHOWN_WEEKS = 52
_WIDE, _HIGH, _EDGE = 200, 40, 5
_BEYOND = 1.6
"""Half widths of the limits that a small picture shows; a week further out is drawn at its edge."""


def signalled(reading: Reading) -> list[str]:
    """Return the measures whose last complete week has a special cause, festivals aside."""
    return [name for name in reading.controls if last_signal(reading, name) not in ("none", "festival", "unknown")]


def last_signal(reading: Reading, name: str) -> str:
    """Return the code of the report week's signal: none, festival, unknown or that of `kpi.process_control`."""
    rows = reading.controls[name]
    if isinstance(rows, str):
        return "unknown"
    row = rows[rows["week"] == pd.Timestamp(reading.monday)].iloc[-1]
    young = counts_refunds(METRICS[name]) and immature(reading.shop, [reading.monday], "week")
    if pd.isna(row["value"]) or young:
        return "unknown"
    return str(row["signal"] or "none")


def head(reading: Reading) -> Block:
    """Return the head of the section; its title counts the measures with a special cause."""
    say, out = reading.words, signalled(reading)
    counts = {"n": formats.Count(len(out)), "all": formats.Count(len(reading.controls))}
    title = say("measures_title" if out else "measures_title_none", **counts)
    return blocks.section_head(say("section_measures"), say("question_measures"), title)


def table(reading: Reading) -> Block:
    """Return the pilots' measures with their limits, and what the process says in words."""
    say = reading.words
    rows = [_row(reading, name) for name in reading.controls]
    columns = say.heads("measure", "weeks", "value", "range", "words")
    return blocks.table(columns, rows, say("measures_caption", week=formats.week_span(reading.monday, say.language)))


def written(reading: Reading, name: str, *values: float) -> list[str]:
    """Write values of a metric in one unit."""
    unit = METRICS[name].unit
    if unit == "share":
        return [formats.percent(value) for value in values]
    if unit.startswith("currency"):
        return [reading.amount(value, like=values) for value in values]
    return [formats.number(value) for value in values]


def last_week(reading: Reading, name: str) -> tuple[float, float, float]:
    """Return the report week's value with its lower and upper limit, missing where there are none."""
    rows = reading.controls[name]
    if isinstance(rows, str):
        pilots: Any = reading.measures[reading.measures["pilot"]].set_index("week")
        return float(pilots.loc[pd.Timestamp(reading.monday), name]), np.nan, np.nan
    row: Any = rows[rows["week"] == pd.Timestamp(reading.monday)].iloc[-1]
    return float(row["value"]), float(row["lower"]), float(row["upper"])


def _row(reading: Reading, name: str) -> list[str]:
    say, rows = reading.words, reading.controls[name]
    value, low, high = last_week(reading, name)
    signal = last_signal(reading, name)
    words = say(f"process_{signal}", cause=_cause(reading, rows))
    label = say(f"metric_{name}")
    if isinstance(rows, str):
        return [label, "", *written(reading, name, value), "–", say("process_short")]
    shown, *ends = written(reading, name, value, low, high)
    line = _line(rows[rows["complete"]].tail(SHOWN_WEEKS), f"{label}: {words.replace('**', '')}")
    return [label, line, shown, say.span(ends[0], ends[1]), words]


def _cause(reading: Reading, rows: pd.DataFrame | str) -> str:
    if isinstance(rows, str):
        return ""
    return reading.words.label(str(rows.loc[rows["week"] == pd.Timestamp(reading.monday), "cause"].iloc[-1]))


def _line(rows: pd.DataFrame, alt: str) -> Html:
    """Draw weeks against their limits; festival weeks, around their own average, are open; signals are filled."""
    centre, half = (
        float(value) for value in (rows["centre"].iloc[-1], rows["upper"].iloc[-1] - rows["centre"].iloc[-1])
    )
    festival = (rows["signal"] == "festival").to_numpy()
    value = rows["value"].to_numpy(float)
    own = rows["value"].groupby(rows["cause"]).transform("mean").to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.where(festival, centre * (value / own - 1), value - centre) / (half or 1.0)
    xs = np.round(np.linspace(_EDGE, _WIDE - _EDGE, len(rows)), 1)
    ys = np.round(_HIGH / 2 - np.clip(away, -_BEYOND, _BEYOND) / _BEYOND * (_HIGH / 2 - _EDGE), 1)
    seen = np.isfinite(ys)
    top, bottom = (round(_HIGH / 2 - side / _BEYOND * (_HIGH / 2 - _EDGE), 1) for side in (1, -1))
    path = "M" + "L".join(f"{x} {y}" for x, y in zip(xs[seen], ys[seen], strict=True))
    marks = [
        f'<circle cx="{x}" cy="{y}" r="2.5" fill="{PAPER}" stroke="{OTHER}"/>' if is_festival
        else f'<circle cx="{x}" cy="{y}" r="3" fill="{PILOT}"/>'
        for x, y, is_festival, signal, ok in zip(xs, ys, festival, rows["signal"], seen, strict=True) if signal and ok
    ]  # fmt: skip
    return Html(
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" width="{_WIDE}" height="{_HIGH}" role="img" aria-label="{escape(alt)}">'
        f'<rect x="0" y="{top}" width="{_WIDE}" height="{bottom - top:.1f}" fill="{TINTS[0.95]}"/>'
        f'<path d="M0 {_HIGH / 2}H{_WIDE}" stroke="{HAIR}"/><path d="{path}" fill="none" stroke="{PILOT}" stroke-width="1.5"/>'
        f'{"".join(marks)}<circle cx="{xs[-1]}" cy="{ys[-1]}" r="3.5" fill="{PAPER}" stroke="{PILOT}" stroke-width="1.75"/></svg>'
    )
