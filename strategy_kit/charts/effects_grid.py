"""Effects by cohort and period, as a heat map around zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.charts.curves import LINE, pixels
from strategy_kit.errors import ParameterError, refuse
from strategy_kit.formats import number

if TYPE_CHECKING:
    from collections.abc import Callable

ROW, LEAST, TALL = 28, 14, 560
SMALL, NAME = 0.72, 110
ROOMS = {"wide": 116, "narrow": 46}
EDGES = ["x1", "x2", "y1", "y2"]
COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(["cohort", "period", "estimate", "conf_low", "conf_high"], ())
WORDS = {
    "value": "Effect, in units of the outcome", "cohort": "Cohort", "period": "Period",
    "excludes": "● own 95% interval excludes 0", "before": "small cells: before the start",
    "missing": "/ no interval", "none": "without intervals", "start": "heavy line: start of support",
}  # fmt: skip


def effects_grid(effects: Any, *, percent: bool = False, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw the effect on each cohort in each period, with the start of each cohort as a line in steps.

    Cells above 0 are blue, below 0 red, both on one scale. A dot marks a cell whose 95 % interval excludes 0, a stroke
    a cell without an interval where others have one. Cells before the start are placebos: small and outlined. A cell
    without an estimate stays empty; numbers are printed where all of them fit.

    Parameters
    ----------
    effects
        An `Estimates` labelled by cohort and period, or its tidy frame: cohort (first treated period), period (both
        numbers or dates), estimate, conf_low, conf_high.
    percent
        True where the estimates are shares, to be shown as percentages.
    labels
        Words: "value" (what is shown, with the unit), "cohort" and "period" (what rows and columns are), and the legend
        "excludes", "before", "missing", "none", "start".

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns, a cohort or period is missing, the two are of different kinds, a cell
        repeats, or an estimate is infinite.

    Examples
    --------
    >>> cells = pd.DataFrame({"cohort": 3, "period": [2, 3], "estimate": [0.1, 2.0], "conf_low": [-1.0, 1.0]})
    >>> print(effects_grid(cells.assign(conf_high=[1.2, 3.0])).description)
    Effect, in units of the outcome: cohorts 3 to 3, periods 2 to 3; lowest +0.1 (3, 2), highest +2.0 (3, 3); the 95% \
interval excludes 0 in 1 of 1 cells from the start on and 0 of 1 before it.
    """
    frame = getattr(effects, "tidy", lambda: effects)()
    theme.require("effects_grid", frame, COLUMNS)
    theme.require("effects_grid", frame.dropna(subset="estimate"), {})
    frame = frame[list(COLUMNS)].assign(**{name: _timed(frame[name]) for name in ("cohort", "period")})
    refuse(ParameterError, "effects_grid", _broken(frame))
    words, write = theme.worded(WORDS, labels), writer(frame["estimate"], percent=percent)
    cells, periods, cohorts = _cells(frame, write)
    rows = cells.dropna(subset="estimate")
    tall = max(LEAST, min(ROW, TALL // len(cohorts)))
    flat: dict[str, Any] = {**dict.fromkeys(["grid", "domain", "ticks"], False), "title": None, "labelAngle": 0}
    flat["labelLimit"] = NAME
    packed: dict[str, Any] = {"paddingInner": 0, "paddingOuter": 0}
    x = alt.X("column:N", axis=alt.Axis(orient="top", **flat), scale=alt.Scale(domain=periods, **packed))
    y = alt.Y("row:N", axis=alt.Axis(labelOverlap=False, **flat), scale=alt.Scale(domain=cohorts, **packed))
    heads = {"row": words["cohort"], "column": words["period"], "text": words["value"], "span": "95%"}
    place = {"x": x, "y": y, "tooltip": theme.tips(**heads)}
    layers = [
        *_boxes(rows, place, percent=percent),
        *_strokes(cells, len(periods), tall),
        *_signs(rows, place, tall),
        _legend(rows, words, 8 + min(NAME, max(map(pixels, cohorts)))),
    ]
    described = _described(rows, words, periods, cohorts)
    return alt.layer(*layers, width=theme.WIDTH, height=tall * len(cohorts), description=described)


def writer(values: Any, *, percent: bool = False) -> Callable[[float], str]:
    """Return what writes values of one kind, signed, the largest of them with two digits or more.

    Examples
    --------
    >>> write = writer([0.021, -0.4], percent=True)
    >>> write(0.021), write(-0.4), writer([0.003])(0.003)
    ('+2.1%', '−40.0%', '+0.0030')
    """
    factor, unit = (100, "%") if percent else (1, "")
    held = np.abs(np.asarray(values, dtype=float))
    top = factor * max(held[np.isfinite(held)], default=0.0)
    digits = max(1, min(6, 1 - math.floor(math.log10(top)))) if 0 < top < 100 else 0
    return lambda value: number(value * factor, digits, signed=True) + unit * math.isfinite(value)


def named(values: pd.Series[Any]) -> pd.Series[str]:
    """Write numbers and dates as they are named on an axis.

    Examples
    --------
    >>> named(pd.Series([2004.0, 2005.0])).tolist(), named(pd.Series(pd.to_datetime(["2025-01-06"]))).tolist()
    (['2004', '2005'], ['2025-01-06'])
    """
    values = _timed(values)
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.strftime("%Y-%m-%d" if values.eq(values.dt.normalize()).all() else "%Y-%m-%d %H:%M:%S")
    whole = pd.api.types.is_float_dtype(values) and values.mod(1).eq(0).all()
    return (values.astype("int64") if whole else values).astype(str)


def _timed(values: pd.Series[Any]) -> pd.Series[Any]:
    dates = values.dtype == object and all(hasattr(value, "strftime") for value in values)
    return pd.to_datetime(values) if dates else values


def _broken(frame: pd.DataFrame) -> list[str]:
    """Sentences on the cells that have no one place or no colour."""
    named_by, laws = frame[["cohort", "period"]], []
    if named_by.isna().any(axis=None):
        laws.append("a cohort or a period is missing; leave out rows that belong to none")
    if len({kind.kind.translate({102: "i", 117: "i"}) for kind in named_by.dtypes}) > 1:
        laws.append("cohort and period are of different kinds; give both as numbers or both as dates")
    for cohort, period in named_by[named_by.duplicated()].head(1).to_numpy():
        laws.append(f"cohort {cohort} has period {period} more than once; choose one estimate a cell")
    if np.isinf(frame["estimate"].astype(float)).any():
        laws.append("an estimate is infinite; leave its cell without one")
    return laws


def _cells(frame: pd.DataFrame, write: Callable[[float], str]) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Give each cell its texts and its place; and the names of columns and rows in order."""
    rows = frame.sort_values(["cohort", "period"], ignore_index=True)
    low, high, estimate = (rows[name].astype(float) for name in ("conf_low", "conf_high", "estimate"))
    bare, known = low.isna() | high.isna(), estimate.notna()
    periods, cohorts = (rows[name].drop_duplicates().sort_values() for name in ("period", "cohort"))
    order = periods.to_numpy()
    strong = estimate.abs() > np.where(estimate > 0, 0.672, 0.648) * estimate.abs().max()
    cells = pd.DataFrame({"row": named(rows["cohort"]), "column": named(rows["period"])}).assign(
        estimate=estimate,
        before=rows["period"] < rows["cohort"],
        excludes=(low > 0) | (high < 0),
        missing=bare & known & (not bare[known].all()),
        text=estimate.map(write),
        span=(low.map(write) + " … " + high.map(write)).where(~bare, "–"),
        # The better of the two on each tint: a contrast of at least 4.5.
        ink=np.where(strong, theme.PAPER, "#000000"),
        at=np.searchsorted(order, rows["period"].to_numpy()),
        line=np.searchsorted(cohorts.to_numpy(), rows["cohort"].to_numpy()),
        start=np.searchsorted(order, rows["cohort"].to_numpy()),
    )
    return cells, named(periods).tolist(), named(cohorts).tolist()


def _boxes(rows: pd.DataFrame, place: dict[str, Any], *, percent: bool) -> list[Any]:
    """Draw full cells from the start on, and small outlined ones before it."""
    end = float(rows["estimate"].abs().max()) or 1.0
    legend = alt.Legend(title=None, orient="bottom", gradientLength=180, gradientThickness=10, padding=20, offset=0)
    legend.tickCount, legend.labelExpr = 3, theme.signed_axis("%", 100) if percent else theme.signed_axis()
    scale = alt.Scale(domain=[-end, 0, end], range=[theme.WARNING, theme.HAIR, theme.PILOT], interpolate="rgb")
    fill, edge = alt.Fill("estimate:Q", scale=scale, legend=legend), alt.ExprRef("bandwidth('x') < 8 ? 0.25 : 1")
    looks: dict[bool, dict[str, Any]] = {False: {"stroke": theme.PAPER}, True: {"stroke": theme.OTHER}}
    looks[True] |= {side: {"band": SMALL} for side in ("width", "height")}
    return [
        alt.Chart(part).mark_rect(strokeWidth=edge, **looks[bool(before)]).encode(fill, **place)
        for before, part in rows.groupby("before")
    ]


def _signs(rows: pd.DataFrame, place: dict[str, Any], tall: int) -> list[Any]:
    """Print all numbers or none, so that no cell seems to be without one; a dot is above the number or alone."""
    shown, dotted, ink = rows[~rows["missing"]], rows[rows["excludes"]], alt.Color("ink:N", scale=None)
    least = (shown["text"].map(pixels).max() + 10) / SMALL if tall == ROW else math.inf
    fits = f"bandwidth('x') >= {min(least, 2 * theme.WIDTH):.0f}"
    digits = alt.Chart(shown).mark_text(text=alt.ExprRef(f"{fits} ? datum.text : ''")).encode(ink, **place)
    style: dict[str, Any] = {"size": alt.ExprRef(f"pow(min(5, bandwidth('x') * 0.5, {tall * 0.35}), 2)"), "opacity": 1}
    style["xOffset"] = alt.ExprRef(f"{fits} ? {SMALL / 2} * bandwidth('x') - 5 : 0")
    style["yOffset"] = alt.ExprRef(f"{fits} ? {5 - SMALL / 2 * tall} : 0")
    dots = alt.Chart(dotted).mark_point(shape="circle", filled=True, **style).encode(ink, **place)
    return [digits, *([dots] if len(dotted) else [])]


def _strokes(rows: pd.DataFrame, count: int, tall: int) -> list[Any]:
    """Draw the start as a line in steps, and a stroke across each cell without an interval."""
    starts = rows.drop_duplicates("line")[["line", "start"]]
    up = starts.assign(x1=starts["start"], x2=starts["start"], y1=starts["line"], y2=starts["line"] + 1)
    over = up.assign(x2=up["start"].shift(-1), y1=up["y2"]).dropna()
    bare = rows.loc[rows["missing"], ["at", "line"]]
    bare = bare.assign(x1=bare["at"] + 0.2, x2=bare["at"] + 0.8, y1=bare["line"] + 0.8, y2=bare["line"] + 0.2)
    ends = [alt.value(alt.ExprRef(f"datum.{name} * width / {count}")) for name in ("x1", "x2")]
    ends += [alt.value(alt.ExprRef(f"datum.{name} * {tall}")) for name in ("y1", "y2")]
    place = dict(zip(("x", "x2", "y", "y2"), ends, strict=True))
    line = alt.Chart(pd.concat([up, over])[EDGES]).mark_rule(color=theme.INK, strokeWidth=2.5, strokeCap="square")
    across = alt.Chart(bare[EDGES]).mark_rule(color=theme.SOFT, strokeWidth=1)
    return [part.encode(**place) for part in (line, across)[: 1 + bool(len(bare))]]


def _legend(rows: pd.DataFrame, words: theme.Labels, left: int) -> Any:
    """Write what is shown and how above the plot, in lines for a wide and for a narrow page."""
    told = {name: rows[name].any() for name in ("before", "excludes", "missing")}
    told["none"] = (rows["span"] == "–").all()
    parts = [words["start"], *(words[name] for name in told if told[name])]
    axes = f"{words['cohort']} ↓  ·  {words['period']} →"
    said = {"wide": ["  ·  ".join(parts)], "narrow": parts}
    lines = {
        name: [line for part in (words["value"], *said[name], axes) for line in theme.wrapped(part, room)]
        for name, room in ROOMS.items()
    }
    wide, narrow = (-22 - LINE * (len(lines[name]) - 1) for name in ROOMS)
    text = alt.Chart(pd.DataFrame({name: [lines[name]] for name in lines}))
    style: dict[str, Any] = {"align": "left", "baseline": "bottom", "color": theme.SOFT, "lineHeight": LINE}
    broad = f"width > {theme.WIDTH - 40 - left}"
    text = text.mark_text(text=alt.ExprRef(f"{broad} ? datum.wide : datum.narrow"), **style)
    return text.encode(x=alt.value(-left), y=alt.value(alt.ExprRef(f"{broad} ? {wide} : {narrow}")))


def _described(rows: pd.DataFrame, words: theme.Labels, periods: list[str], cohorts: list[str]) -> str:
    ends = rows.loc[[rows["estimate"].idxmin(), rows["estimate"].idxmax()]]
    low, high = ends["text"] + " (" + ends["row"] + ", " + ends["column"] + ")"
    held = rows[rows["span"] != "–"]
    found = [f"{part['excludes'].sum()} of {len(part)}" for part in (held[~held["before"]], held[held["before"]])]
    judged = f"the 95% interval excludes 0 in {found[0]} cells from the start on and {found[1]} before it"
    return (
        f"{words['value']}: cohorts {cohorts[0]} to {cohorts[-1]}, periods {periods[0]} to {periods[-1]}; lowest {low}, "
        f"highest {high}; {words['none'] if held.empty else judged}."
    )
