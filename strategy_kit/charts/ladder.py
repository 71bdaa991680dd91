"""Who went up and who went down: merchants by band before and band after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from strategy_kit.charts.curves import LINE, NARROW, pixels
from strategy_kit.charts.theme import INK, OTHER, PAPER, PILOT, SOFT, WARNING, WIDTH, Chart, require, worded, wrapped
from strategy_kit.formats import number

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME, ROW = 12, 40
MOVES = {"up": ("↑", PILOT), "down": ("↓", WARNING), "same": ("", OTHER), "entered": ("", OTHER), "left": ("", OTHER)}
COLUMNS: dict[str, tuple[str, ...]] = {"band_before": (), "band_after": (), "merchants": (), "move": tuple(MOVES)}
WORDS = {
    "value": "Merchants", "before": "Before", "after": "After", "none": "no sales",
    "up": "up", "down": "down", "same": "same band", "entered": "entered", "left": "left",
}  # fmt: skip


def ladder_transitions(frame: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Chart:
    """Draw a heat map that prints its numbers: rows are bands before, columns bands after, the diagonal is outlined.

    Who went up has an arrow up and a blue cell, who went down an arrow down and a red one. A number wider than its cell
    is left to the tooltip.

    Parameters
    ----------
    frame
        Columns `band_before`, `band_after` (ordered categories, or text in order of appearance; missing for
        merchants without sales), `merchants` (count), `move` ("up", "down", "same", "entered" or "left").
    labels
        Words: "value" (what is counted), "before", "after" (axis titles), "none" (no band), and one per move.

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns, or a move is unknown.

    Examples
    --------
    >>> moves = pd.DataFrame({"band_before": ["low", "low"], "band_after": ["low", "high"], "merchants": [80, 7]})
    >>> ladder_transitions(moves.assign(move=["same", "up"])).description
    'Merchants, before → after: low → low 80; low → high 7↑.'
    """
    require("ladder_transitions", frame, COLUMNS)
    words = worded(WORDS, labels)
    rows, bands = _cells(frame, words)
    heads = {"band_before": words["before"], "band_after": words["after"], "number": words["value"], "word": " "}
    packed = alt.Scale(domain=bands, paddingInner=0.04, paddingOuter=0)
    x, y = alt.X("band_after:N", axis=None, scale=packed), alt.Y("band_before:N", axis=None, scale=packed)
    base = alt.Chart(rows).encode(x=x, y=y, tooltip=[alt.Tooltip(f"{name}:N", title=heads[name]) for name in heads])
    fill, edge = alt.Fill("fill:N", scale=None), alt.Stroke("edge:N", scale=None)
    boxes = base.mark_rect(strokeWidth=1.5).encode(fill, edge, fillOpacity=alt.FillOpacity("depth:Q", scale=None))
    # An arrow stands beside its number, above it in narrow columns; a number shrinks to 9 px, then it is left out.
    split = "datum.mark != '' && bandwidth('x') < datum.wide + 16"
    shown = f"bandwidth('x') < 0.75 * datum.wide ? datum.mark : datum.mark + ({split} ? '\\n' : '') + datum.number"
    style: dict[str, Any] = {"text": alt.ExprRef(shown), "dy": alt.ExprRef(f"{split} ? -7 : 0")}
    style["fontSize"] = alt.ExprRef("max(9, min(12, 12 * bandwidth('x') / datum.wide))")
    digits = base.mark_text(color=INK, lineBreak="\n", lineHeight=14, **style)
    cells = "; ".join(rows["band_before"] + " → " + rows["band_after"] + " " + rows["number"] + rows["mark"])
    described = f"{words['value']}, {words['before'].lower()} → {words['after'].lower()}: {cells}."
    layers = [boxes, digits, *_names(bands, words, x, y)]
    return alt.layer(*layers, width=WIDTH, height=ROW * len(bands), description=described)


def _names(bands: list[str], words: Mapping[str, str], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Write the bands beside the rows and above the columns, in lines that fit a narrow page."""
    names = [wrapped(band, NAME) for band in bands]
    left = [words["before"], *(line for lines in names for line in lines)]
    room = NARROW - 12 - max(map(pixels, left))
    heads = [wrapped(band, max(room // len(bands) // 7, 2)) for band in bands]
    rows = pd.DataFrame({"band_before": bands, "name": names, "band_after": bands, "head": heads})
    rows["dy"] = (1 - rows["name"].str.len()) * LINE / 2
    rows["top"] = 2 - LINE * rows["head"].str.len()
    base, title, up = alt.Chart(rows), alt.Chart(rows.head(1)), float(rows["top"].min()) - 18
    value = f"{words['value']} ({', '.join(f'{MOVES[move][0]} {words[move]}' for move in ('up', 'down'))})"
    side = base.mark_text(align="right", x=-6, dy=alt.ExprRef("datum.dy"), color=INK, lineHeight=LINE)
    return [
        side.encode(y=y, text=alt.Text("name:N")),
        base.mark_text(y=alt.ExprRef("datum.top"), color=INK, lineHeight=LINE).encode(x=x, text=alt.Text("head:N")),
        title.mark_text(text=words["before"], x=-6, y=-8, align="right", color=SOFT),
        title.mark_text(text=[value, words["after"]], x=0, y=up - LINE, align="left", color=SOFT, lineHeight=LINE),
    ]


def _cells(frame: pd.DataFrame, words: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """Give each cell its texts and its look, and the bands in order; merchants without a band come first."""
    rows = frame[list(COLUMNS)].reset_index(drop=True)
    ends = rows[["band_before", "band_after"]]
    known = [
        list(band.cat.categories if isinstance(band.dtype, pd.CategoricalDtype) else band.dropna().unique())
        for _, band in ends.items()
    ]
    named = ends.astype(object).where(ends.notna(), words["none"]).astype(str)
    still, count = rows["move"] == "same", rows["merchants"].astype(float)
    written = count.map(number)
    cells = named.assign(
        word=rows["move"].map(words),
        number=written,
        mark=rows["move"].map({move: mark for move, (mark, _) in MOVES.items()}),
        fill=rows["move"].map({move: ink for move, (_, ink) in MOVES.items()}),
        edge=still.map({True: INK, False: PAPER}),
        depth=(0.1 + 0.35 * count / max(count[~still].max(), 1)).where(~still, 0.1),
        wide=7.0 * written.str.len() - 3.5 * written.str.count(","),
    )
    used = set(named.to_numpy().ravel())
    return cells, [band for band in dict.fromkeys([words["none"], *map(str, known[0] + known[1])]) if band in used]
