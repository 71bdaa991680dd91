"""The words around a chart: title, subtitle, caption, description and the table behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import altair as alt

from strategy_kit.charts.theme import wrapped
from strategy_kit.errors import ParameterError, refuse

if TYPE_CHECKING:
    import pandas as pd


class Behind(TypedDict, total=False):
    """The table behind a chart, and the words that unfold it."""

    table: pd.DataFrame | None
    table_label: str


def figure(
    chart: Any, *, title: str, description: str, subtitle: str = "", caption: str = "", **behind: Unpack[Behind]
) -> Any:
    """Put the words around a chart, for the notebook, a picture of it, and the exported page alike.

    Parameters
    ----------
    title, subtitle, caption
        The main story; measure, population and period; source, freshness and how to read.
    description
        What a reader who cannot see the chart is told.
    table, table_label
        Cells that are already formatted, folded beneath the chart under this label.

    Returns
    -------
    The chart with `title`, `description` and `usermeta` on its outermost level.

    Raises
    ------
    ParameterError
        If the title or the description is empty.

    Examples
    --------
    >>> import pandas as pd
    >>> bars = alt.Chart(pd.DataFrame({"n": [1, 2]})).mark_bar().encode(x="n:Q")
    >>> figure(bars, title="Two rose", description="Two bars.").description
    'Two bars.'
    """
    needed = {"title": title, "description": description}
    empty = [name for name in needed if not needed[name].strip()]
    refuse(ParameterError, "figure", [f"it needs a {name}, one sentence on what it shows" for name in empty])
    table = behind.get("table")
    words = {
        "title": title,
        "subtitle": subtitle,
        "caption": caption,
        "table": None if table is None else _cells(table),
        "table_label": behind.get("table_label", "Table behind the chart"),
    }
    notes = [*wrapped(subtitle, 110), *wrapped(caption, 110)]
    head = alt.Title(wrapped(title, 80), subtitle=notes) if notes else alt.Title(wrapped(title, 80))
    return chart.properties(title=head, description=description, usermeta={"strategy_kit": words})


def _cells(table: pd.DataFrame) -> dict[str, list[Any]]:
    shown = table.astype(object).where(table.notna(), "")
    return {
        "columns": [str(name) for name in table.columns],
        "rows": [[str(cell) for cell in row] for row in shown.itertuples(index=False)],
    }
