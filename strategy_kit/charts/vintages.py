"""What each vintage brings: monthly sales stacked by when products were launched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from strategy_kit.charts.curves import HEIGHT
from strategy_kit.charts.theme import DAY, HAIR, INK, OTHER, PAPER, PILOT, SOFT, WIDTH, Chart, Labels, require, worded
from strategy_kit.formats import number

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: dict[str, tuple[str, ...]] = {"month": (), "vintage": (), "gmv": ()}
TONES = ("#7C97AE", "#B8C7D3")
WORDS = {"value": "Monthly sales", "established": "established"}


def vintage_areas(frame: pd.DataFrame, *, labels: Labels | None = None) -> Chart:
    """Draw stacked areas, the oldest vintage at the bottom, each named at its end where its layer is high enough.

    Layers alternate in lightness with a white edge, so that neighbours differ in print too; the last one is the darkest.

    Parameters
    ----------
    frame
        From `lasting_growth.vintages`: month (dates), vintage ("established" is the oldest, others sort by name), gmv in the
        unit that is to be shown. Other columns are not read.
    labels
        Words: "value" (axis title with the unit), "established".

    Raises
    ------
    ParameterError
        If the frame has no rows or lacks columns.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"month": pd.to_datetime(["2025-05-01", "2025-06-01"] * 2), "gmv": [9.0, 8.0, 1.0, 3.0]})
    >>> vintage_areas(rows.assign(vintage=["established"] * 2 + ["2025-Q2"] * 2)).description
    'Monthly sales, last month: established 8.0; 2025-Q2 3.0.'
    """
    require("vintage_areas", frame, COLUMNS)
    words = worded(WORDS, labels)
    names = sorted(frame["vintage"].unique(), key=lambda name: (name != "established", name))
    wide = (
        frame.pivot_table(index="month", columns="vintage", values="gmv", aggfunc="sum")
        .reindex(columns=names)
        .fillna(0.0)
    )
    ends = wide.cumsum(axis=1)
    layered = {"gmv": wide, "top": ends, "bottom": ends - wide}
    parts = [part.reset_index().melt("month", names, "vintage", name) for name, part in layered.items()]
    rows = parts[0].assign(top=parts[1]["top"], bottom=parts[2]["bottom"])
    rows["when"], rows["name"] = (
        rows["month"].dt.strftime(DAY),
        rows["vintage"].replace({"established": words["established"]}),
    )
    rows["text"] = [number(value, int(value < 100)) for value in rows["gmv"]]
    inks = [HAIR if place == 0 else (TONES[place % len(TONES)]) for place in range(len(names))]
    inks[-1] = PILOT if len(names) > 1 else OTHER
    paint = alt.Color("vintage:N", legend=None, scale=alt.Scale(domain=names, range=inks))
    x = alt.X("when:T", title=None, axis=alt.Axis(grid=False, format="%Y-%m", tickCount=6))
    y = alt.Y("bottom:Q", title=None, axis=alt.Axis(tickCount=5, format=",.12~g"))
    areas = alt.Chart(rows).mark_area(opacity=1, stroke=PAPER, strokeWidth=1.5)
    last = rows[rows["month"] == rows["month"].max()]
    told = "; ".join(f"{row.name_} {row.text}" for row in last.rename(columns={"name": "name_"}).itertuples())
    high = last[last["gmv"] > 0.07 * float(ends.to_numpy().max())]
    spots = high.assign(middle=(high["top"] + high["bottom"]) / 2)
    tips = [
        alt.Tooltip("name:N", title=" "),
        alt.Tooltip("when:T", format="%Y-%m-%d", title="  "),
        alt.Tooltip("text:N", title=words["value"]),
    ]
    layers = [
        areas.encode(paint, x=x, y=y, y2="top:Q", detail="vintage:N", tooltip=tips),
        alt.Chart(spots).mark_text(align="left", dx=6, color=INK).encode(x=x, y="middle:Q", text="name:N"),
        alt.Chart(rows.head(1)).mark_text(text=words["value"], align="left", x=0, y=-14, color=SOFT),
    ]
    described = f"{words['value']}, last month: {told}."
    return alt.layer(*layers, width=WIDTH, height=HEIGHT, description=described)
