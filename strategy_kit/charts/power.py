"""What a pilot can find, and what more pilots or more weeks would buy."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from strategy_kit.charts import theme
from strategy_kit.charts.curves import LINE
from strategy_kit.charts.effects_grid import writer
from strategy_kit.errors import ParameterError
from strategy_kit.formats import percent as percentage

HEIGHT, FOOT, CELL, LETTERS, NARROW = 260, 50, 56, 40, 275
ENOUGH, MOST = 0.8, 0.999  # draws cannot show certainty
INKS, DASHES = (theme.OTHER, theme.SOFT, theme.WARNING, theme.INK), ([6, 4], [2, 3], [10, 3], [8, 3, 2, 3])
CURVE: dict[str, tuple[str, ...]] = {"effect": (), "power": (), "pilots": (), "weeks": ()}
DESIGNS: dict[str, tuple[str, ...]] = {**CURVE, "detectable_effect": ()}
WORDS = {"chance": "Chance of being found", "pilots": "pilots", "weeks": "weeks", "enough": "80 in 100"}
TABLE = {
    "value": "Effect found in 80 of 100 cases; below it, for an effect of {effect}",
    "present": "Framed: the present design",
}


def power_curve(rows: pd.DataFrame, *, percent: bool = False, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw the chance of being found by the size of the effect, a line a design, the first of them heavy.

    Parameters
    ----------
    rows
        As `planning.power` returns them, of one design or several stacked: effect (units of the outcome), power (share),
        pilots, weeks.
    percent
        True where effects are shares, to be shown as percentages.
    labels
        Words: "value" (axis title with the unit), "chance", "pilots", "weeks", "enough".

    Raises
    ------
    ParameterError
        If the frame has no rows, lacks columns, or holds more than five designs.

    Examples
    --------
    >>> rows = pd.DataFrame({"effect": [0.0, 0.05, 0.1], "power": [0.05, 0.4, 0.9], "pilots": 3, "weeks": 13})
    >>> power_curve(rows, percent=True).description
    'Chance of being found, by effect, in units of the outcome. 3 pilots, 13 weeks: 5.0% at 0.0%, 90.0% at +10.0%.'
    """
    theme.require("power_curve", rows, CURVE)
    words = theme.worded({"value": "Effect, in units of the outcome", **WORDS}, labels)
    lines = rows[list(CURVE)].assign(name=_named(rows, words)).sort_values(["effect"], kind="stable")
    names = list(dict.fromkeys(_named(rows, words)))
    if len(names) > 1 + len(DASHES):
        raise ParameterError(f"power_curve draws up to {1 + len(DASHES)} designs, not {len(names)}; choose among them")
    write = writer(lines["effect"], percent=percent)
    lines["told"] = lines["effect"].map(write) + ": " + lines["power"].map(percentage)
    axis = alt.Axis(
        grid=False, tickCount=6, titleAnchor="start", labelExpr=theme.signed_axis(*(("%", 100) if percent else ()))
    )
    x = alt.X("effect:Q", title=words["value"], axis=axis, scale=alt.Scale(nice=False))
    y = alt.Y("power:Q", axis=alt.Axis(format="%", tickCount=5, title=None), scale=alt.Scale(domain=[0, 1]))
    enough = alt.Chart(pd.DataFrame({"power": [ENOUGH]})).encode(y=y)
    tip = theme.tips(name=" ", told=words["chance"])
    told = [f"{name}: {_ends(part, write)}" for name, part in lines.groupby("name", sort=False)]
    return alt.layer(
        enough.mark_rule(color=theme.SOFT, strokeDash=[3, 3]),
        enough.mark_text(text=words["enough"], align="left", x=4, dy=-8, color=theme.SOFT),
        alt.Chart(lines).mark_line(strokeWidth=2.25).encode(*_look(names), x=x, y=y),
        alt.Chart(lines).mark_point(size=120, opacity=0, color=theme.SOFT).encode(x=x, y=y, tooltip=tip),
        *_key(names),
        theme.headed(lines, words["chance"], -14),
        width=theme.WIDTH,
        height=HEIGHT,
        description=f"{words['chance']}, by {words['value'].lower()}. {'; '.join(told)}.",
    )


def what_if(rows: pd.DataFrame, *, percent: bool = False, labels: theme.Labels | None = None) -> theme.Chart:
    """Draw a small table: detectable effect by pilots and weeks, below it the chance that the effect asked about is found.

    The present design is framed.

    Parameters
    ----------
    rows
        As `planning.what_if` returns them, the present design first: pilots, weeks, detectable_effect, effect (units of
        the outcome), power (share).
    percent
        True where effects are shares, to be shown as percentages.
    labels
        Words: "value" (what is shown), "chance", "present" (said of the frame), "pilots", "weeks".

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> rows = pd.DataFrame({"pilots": [3, 4], "weeks": 13, "detectable_effect": [0.1, 0.08], "power": [0.5, 0.65]})
    >>> what_if(rows.assign(effect=0.06), percent=True).description
    'Effect found in 80 of 100 cases; below it, for an effect of +6.0%: chance of being found. 3 pilots, 13 weeks: +10.0%, \
50.0%; 4 pilots, 13 weeks: +8.0%, 65.0%.'
    """
    theme.require("what_if", rows, DESIGNS)
    words = theme.worded({**WORDS, **TABLE}, labels)
    write = writer(rows["detectable_effect"], percent=percent)
    head = f"{words['value'].replace('{effect}', write(rows['effect'].iloc[0]))}: {words['chance'].lower()}"
    cells = rows[list(DESIGNS)].assign(told=rows["detectable_effect"].map(write), chance=rows["power"].map(_chance))
    cells["line"] = cells["pilots"].astype(str) + f" {words['pilots']}"
    cells["column"] = cells["weeks"].astype(str) + f" {words['weeks']}"
    plain: dict[str, Any] = {"title": None, "domain": False, "ticks": False, "labelColor": theme.INK}
    x = alt.X("column:N", sort=None, axis=alt.Axis(orient="top", labelAngle=0, **plain))
    base = alt.Chart(cells).encode(x=x, y=alt.Y("line:N", sort=None, axis=alt.Axis(**plain)))
    edge = alt.Chart(cells.head(1)).mark_rect(color=theme.TINTS[0.95], stroke=theme.PILOT, strokeWidth=2)
    lines = [*theme.wrapped(head, LETTERS), *theme.wrapped(words["present"], LETTERS)]
    return alt.layer(
        base.mark_rect(color=theme.TINTS[0.95], stroke=theme.PAPER, strokeWidth=2),
        edge.encode(x=x, y=alt.Y("line:N", sort=None)),
        base.mark_text(fontSize=_letters(cells), fontWeight=600, color=theme.PILOT, dy=-7).encode(text="told:N"),
        base.mark_text(color=theme.INK, dy=12).encode(text="chance:N"),
        theme.headed(cells, lines, -26 - LINE * len(lines), lineHeight=LINE),
        width=theme.WIDTH,
        height=CELL * len(cells["line"].unique()),
        description=f"{head}. {'; '.join(_named(rows, words) + ': ' + cells['told'] + ', ' + cells['chance'])}.",
    )


def _letters(cells: pd.DataFrame) -> int:
    """Size at which the longest effect, its letters 0.65 as wide as high, fits into a column on a phone."""
    columns, longest = len(cells["column"].unique()), int(cells["told"].str.len().max())
    return max(10, min(17, int(NARROW / columns / longest / 0.65)))


def _chance(power: float) -> str:
    return percentage(power) if power < MOST else f">{percentage(MOST)}"


def _named(rows: pd.DataFrame, words: theme.Labels) -> pd.Series[str]:
    return rows["pilots"].astype(str) + f" {words['pilots']}, " + rows["weeks"].astype(str) + f" {words['weeks']}"


def _ends(part: pd.DataFrame, write: Any) -> str:
    first, last = (part.iloc[at] for at in (0, -1))
    return f"{percentage(first['power'])} at {write(first['effect'])}, {percentage(last['power'])} at {write(last['effect'])}"


def _look(names: list[str]) -> list[Any]:
    """Colour and dash of each line; the first is solid and blue."""
    inks, dashes = [theme.PILOT, *INKS][: len(names)], [[1, 0], *DASHES][: len(names)]
    return [
        alt.Color("name:N", legend=None, scale=alt.Scale(domain=names, range=inks)),
        alt.StrokeDash("name:N", legend=None, scale=alt.Scale(domain=names, range=dashes)),
    ]


def _key(names: list[str]) -> list[Any]:
    """Name the lines below the axis, where no curve passes."""
    rows = pd.DataFrame({"name": names, "y": [HEIGHT + FOOT + LINE * at for at in range(len(names))]})
    y, (ink, dash) = alt.Y("y:Q", axis=None, scale=None), _look(names)
    text = alt.Chart(rows).mark_text(align="left", x=46, color=theme.INK)
    stroke = alt.Chart(rows).mark_rule(strokeWidth=2.25, x=0, x2=38)
    return [text.encode(y=y, text="name:N"), stroke.encode(ink, dash, y=y)]
