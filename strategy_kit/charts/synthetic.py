"""Treated groups against their synthetic comparison, and the weights that make it."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.charts.curves import LINE
from strategy_kit.errors import ParameterError
from strategy_kit.formats import percent

HEIGHT, AXIS, BARS, TALL, BAR, MOST, NAME = 220, 30, 68, 28, 14, 10, 16
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "paths": {"cohort": (), "period": (), "treated": (), "synthetic": ()},
    "unit_weights": {"cohort": (), "group": (), "weight": ()},
    "time_weights": {"cohort": (), "period": (), "weight": ()},
}
TOP, FOOT = alt.Y("top:Q", axis=None, scale=None), alt.Y2("foot:Q")
WORDS = {"treated": "treated", "synthetic": "synthetic", "start": "start", "times": "Weights of the earlier periods",
    "donors": "Weights of the comparison groups", "others": "others"}  # fmt: skip


def synthetic_pair(result: Any, *, cohort: object = None, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw treated against synthetic over time, and below them the weights of periods and of comparison groups.

    The ten largest weights of groups are named, the others added up.

    Parameters
    ----------
    result
        An `Estimates` of `synthetic` or `synthetic_control`.
    cohort
        Start of the cohort that is drawn; needed where there are several.
    labels
        Words: "value" (axis title; the outcome's name unless given), "treated", "synthetic", "start", "times",
        "donors", "others".

    Raises
    ------
    ParameterError
        If the result does not carry paths and weights, the cohort is not one of its cohorts, or a word is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from strategy_kit.did.synthetic import synthetic
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0, 5.0], [0.0, 1.0, 2.0], [2.0, 3.0, 4.0]])
    >>> synthetic_pair(synthetic(Panel.from_matrix(y, treated_from=[3, 0, 0]))).description
    'outcome from 1 to 3, start 3: treated and synthetic. Weights of the comparison groups: 1 50.0%, 2 50.0%.'
    """
    paths, donors, times = (_of(result, name, cohort) for name in COLUMNS)
    words = theme.worded({"value": result.outcome, **WORDS}, labels)
    earlier = AXIS + LINE + BARS if times["weight"].any() else 0
    rows = _named(donors, words["others"], HEIGHT + (earlier or AXIS) + 2 * LINE)
    height = int(rows["end"].max())
    when = _times(paths["period"])
    x = _axis(when, HEIGHT - height)
    start = _times(paths["cohort"]).iloc[0]
    side: Any = "right" if 2 * (when < start).sum() > len(when) else "left"
    heads = [(words["value"], -8 - LINE), (words["donors"], rows["top"].min() - LINE)]
    heads += [(words["times"], HEIGHT + AXIS + LINE)] * bool(earlier)
    over = [*_lines(paths.assign(when=when), words, x), *theme.start_rule(x, start, words["start"], side, HEIGHT)]
    if earlier:
        shown = times.assign(when=_times(times["period"]), foot=HEIGHT + earlier - 12)
        over += _bars(shown, words["times"], x, 0.6 / len(paths))
    titles = [theme.headed(rows, text, y) for text, y in heads]
    first, last = when.iloc[[0, -1]]
    described = (
        f"{words['value']} from {first} to {last}, {words['start']} {start}: {words['treated']} and {words['synthetic']}. "
        f"{words['donors']}: {', '.join(rows['name'] + ' ' + rows['text'])}."
    )
    chart = alt.layer(alt.layer(*over), alt.layer(*_donors(rows, words["donors"])), *titles)
    return chart.resolve_scale(x="independent", y="independent").properties(
        width=theme.WIDTH, height=height, description=described
    )


def _of(result: Any, name: str, cohort: object) -> pd.DataFrame:
    """Rows of one cohort."""
    frame: pd.DataFrame = getattr(result, "details", {}).get(name, pd.DataFrame())
    theme.require(f"synthetic_pair: {name}", frame, COLUMNS[name])
    known = frame["cohort"].unique()
    chosen = known[0] if cohort is None and len(known) == 1 else cohort
    rows = frame[frame["cohort"] == chosen].reset_index(drop=True)
    if rows.empty:
        raise ParameterError(f"synthetic_pair: cohort is one of {', '.join(map(str, known))}, not {cohort!r}; name one")
    return rows


def _times(periods: pd.Series[Any]) -> pd.Series[Any]:
    return periods.dt.strftime("%Y-%m-%d") if pd.api.types.is_datetime64_any_dtype(periods) else periods


def _axis(when: pd.Series[Any], offset: int) -> alt.X:
    """Periods along the foot of the lines, which is not the foot of the chart."""
    axis: dict[str, Any] = {"grid": False, "tickCount": 6, "offset": offset, "format": "d", "tickMinStep": 1}
    if dated := isinstance(when.iloc[0], str):
        axis = {**axis, "format": "%Y-%m", "tickMinStep": alt.Undefined}
    kind, scale = "T" if dated else "Q", alt.Scale(nice=False, zero=alt.Undefined if dated else False)
    return alt.X(f"when:{kind}", title=None, axis=alt.Axis(**axis), scale=scale)


def _lines(paths: pd.DataFrame, words: theme.Labels, x: alt.X) -> list[alt.Chart]:
    """Both paths, each named at its end, the names at least a line apart."""
    rows = paths.melt(["when"], ["treated", "synthetic"], "series", "value")
    low, high = rows["value"].min(), rows["value"].max()
    room = (high - low or abs(high) or 1.0) * 0.06
    scale = alt.Scale(domain=[low - room, high + room], range=[HEIGHT, 0], nice=False, zero=False)
    y = alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=5, format=",.12~g"), scale=scale)
    rows["name"] = rows["series"].map(words)
    both = ["treated", "synthetic"]
    ink = alt.Color("series:N", legend=None, scale=alt.Scale(domain=both, range=[theme.PILOT, theme.OTHER]))
    dash = alt.StrokeDash("series:N", legend=None, scale=alt.Scale(domain=both, range=[[1, 0], [6, 4]]))
    tips = [alt.Tooltip("name:N", title=" "), alt.Tooltip("value:Q", format=",.4~g", title=words["value"])]
    ends = rows.groupby("series", sort=False).tail(1).sort_values("value", ascending=False)
    ends["top"] = HEIGHT * (high + room - ends["value"]) / (high - low + 2 * room)
    lack = max(0.0, LINE - float(np.ptp(ends["top"]))) / 2
    ends["top"] += [-lack, lack]
    base = alt.Chart(rows).encode(x=x, y=y)
    return [
        base.mark_line(strokeWidth=2.25).encode(color=ink, strokeDash=dash),
        base.mark_point(size=120, opacity=0).encode(tooltip=tips),
        alt.Chart(ends).mark_text(align="left", dx=8, fontWeight=600).encode(x=x, y=TOP, text="name:N", color=ink),
    ]


def _bars(times: pd.DataFrame, title: str, x: alt.X, share: float) -> list[alt.Chart]:
    """Weights of periods as bars under the axis, each `share` of the width wide, the largest with its number."""
    top = times["foot"] - TALL * times["weight"] / times["weight"].max()
    rows, wide = times.assign(top=top, text=times["weight"].map(percent)), alt.ExprRef(f"max(2, {share} * width)")
    tips = theme.tips(when=" ", text=title)
    most = alt.Chart(rows.nlargest(1, "weight")).mark_text(dy=-8, color=theme.INK, fontWeight=600)
    bars = alt.Chart(rows).mark_bar(color=theme.OTHER, size=wide).encode(x=x, y=TOP, y2=FOOT, tooltip=tips)
    return [bars, most.encode(x=x, y=TOP, text="text:N")]


def _named(donors: pd.DataFrame, others: str, top: int) -> pd.DataFrame:
    """Largest weights first, one bar each from `top` down; the rest in one more."""
    ranked = donors.sort_values("weight", ascending=False, kind="stable")
    shown = ranked[ranked["weight"] > 0].head(MOST)
    rest = len(ranked) - len(shown)
    rows = pd.DataFrame({"name": shown["group"].astype(str), "weight": shown["weight"], "ink": theme.PILOT})
    if rest:
        last = {"name": f"{rest:,} {others}", "weight": max(0.0, 1 - shown["weight"].sum()), "ink": theme.OTHER}
        rows = pd.concat([rows, pd.DataFrame([last])], ignore_index=True)
    rows["lines"] = rows["name"].map(lambda name: theme.wrapped(name, NAME))
    count = rows["lines"].str.len()
    rows["end"] = top + (LINE * count + 6).cumsum() - 6
    rows["middle"] = rows["end"] - LINE * count / 2
    rows["head"] = rows["middle"] - (count - 1) * LINE / 2
    return rows.assign(
        zero=0.0, top=rows["middle"] - BAR / 2, foot=rows["middle"] + BAR / 2, text=rows["weight"].map(percent)
    )


def _donors(rows: pd.DataFrame, title: str) -> list[alt.Chart]:
    most = float(rows["weight"].max())
    x = alt.X("weight:Q", axis=None, scale=alt.Scale(domain=[0, most], range=[0, alt.ExprRef("width - 50")]))
    base, ink = alt.Chart(rows), alt.Color("ink:N", scale=None)
    tips = theme.tips(name=" ", text=title)
    middle, head = (alt.Y(f"{at}:Q", axis=None, scale=None) for at in ("middle", "head"))
    names = base.mark_text(align="right", x=-8, color=theme.INK, lineHeight=LINE)
    return [
        base.mark_bar().encode(x=x, x2="zero:Q", y=TOP, y2=FOOT, color=ink, tooltip=tips),
        names.encode(y=head, text="lines:N"),
        base.mark_text(align="left", dx=6, color=theme.INK, fontWeight=600).encode(x=x, y=middle, text="text:N"),
    ]
