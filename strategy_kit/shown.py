"""How a result shows itself in a notebook: one sentence, a table of at most twelve rows, and the chart that fits it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.errors import StrategyKitError
from strategy_kit.formats import MINUS, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

ROWS = 12
_FIGURES, _DECIMALS = 3, 12


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a result: a sentence, notes below it, and a table, of which at most `ROWS` rows are shown.

    Attributes
    ----------
    first
        Row with which the shown part of a long table begins.
    """

    sentence: str
    notes: tuple[str, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    first: int = 0

    @property
    def html(self) -> str:
        """Sentence, notes and table; whatever the data named is text."""
        lines = "".join(f"<p>{escape(line)}</p>" for line in (self.sentence, *self.notes))
        rows, part = cells(self.table), ""
        if len(rows) > ROWS:
            first = min(max(self.first, 0), len(rows) - ROWS)
            rows = rows.iloc[first : first + ROWS]
            part = f"<p>Rows {first + 1} to {first + ROWS} of {number(len(self.table))}; tidy() has all.</p>"
        table = "" if rows.empty else str(rows.to_html(index=False, border=0))
        return f'<div class="sk-shown">{lines}{table}{part}</div>'


class Shown:
    """A result that shows itself; a class of it says by `_view` what is shown."""

    __slots__ = ()

    def _view(self) -> View:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self._view().html

    def _ipython_display_(self) -> None:
        from IPython.core.getipython import get_ipython
        from IPython.display import display

        display({"text/html": self._repr_html_(), "text/plain": repr(self)}, raw=True)
        shell: Any = get_ipython()
        terminal = shell is None or shell.display_formatter.active_types == ["text/plain"]
        try:
            chart = None if terminal else _charts[-1](self)
        except StrategyKitError as reason:
            display({"text/plain": f"no chart: {reason}"}, raw=True)
            return
        if chart is not None:
            display(chart)


_charts: list[Callable[[Any], Any]] = [lambda _: None]


def draw_by(chart_of: Callable[[Any], Any]) -> None:
    """Take the function that returns the chart of a result, or None where no chart fits; the package's door gives it."""
    _charts.append(chart_of)


def digits_of(size: float) -> int:
    """Return the decimals that show three figures of a number of this size.

    Examples
    --------
    >>> digits_of(1234.0), digits_of(0.0123)
    (0, 4)
    """
    known = np.isfinite(size) and size > 0
    return int(np.clip(_FIGURES - 1 - np.floor(np.log10(size)), 0, _DECIMALS)) if known else 0


def ranged(estimate: float, low: float, high: float, level: float) -> str:
    """Write an estimate and its interval, with as many decimals as the interval's width shows three figures.

    Examples
    --------
    >>> ranged(0.0123, -0.02, 0.045, 0.95)
    '+0.0123 (95% interval −0.0200 to +0.0450)'
    >>> ranged(1234.0, float("nan"), float("nan"), 0.95)
    '+1,234 (no interval)'
    """
    if np.isnan(estimate):
        return "none"
    known = not np.isnan(low) and not np.isnan(high)
    digits = digits_of(high - low if known and np.isfinite(high - low) and high > low else abs(estimate))
    value, *ends = (number(part, digits, signed=True) for part in (estimate, low, high))
    return f"{value} ({level:.0%} interval {ends[0]} to {ends[1]})" if known else f"{value} (no interval)"


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Write every cell as text: numbers of a column with the same decimals, days as dates.

    Examples
    --------
    >>> cells(pd.DataFrame({"estimate": [1234.5, -0.5], "p_value": [0.04, 0.0001]})).to_numpy().tolist()
    [['1,234', '0.040'], ['0', '<0.001']]
    """
    return pd.DataFrame({str(name): _column(str(name), table[name]) for name in table.columns}, dtype=object)


def _column(name: str, values: pd.Series[Any]) -> list[str]:
    if name == "p_value":
        return ["<0.001" if value < 0.001 else number(value, 3) for value in values]
    if name.startswith("n_") and pd.api.types.is_integer_dtype(values):
        return [number(value) for value in values]
    if not pd.api.types.is_float_dtype(values):
        return [_cell(value) for value in values]
    size = values.abs().replace(np.inf, np.nan)
    whole = bool((size.dropna() % 1 == 0).all())
    digits = 0 if whole else digits_of(float(size[size > 0].median()))
    return [number(value, digits) for value in values]


def _cell(value: Any) -> str:
    if value is None or value is pd.NaT or value is pd.NA:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime) and value == pd.Timestamp(value).normalize():
        return f"{value:%Y-%m-%d}"
    return str(value).replace("-", MINUS) if isinstance(value, int | np.integer) else str(value)


def panel_view(panel: Panel) -> View:
    """Show a panel by its cohorts: units, and periods before and from the start."""
    before = panel.starts.astype(int)
    count = np.append(panel.units_by_cohort, 0)[: len(before) + 1]
    rows = {
        "cohort": panel.cohort_names,
        "n_units": count[:-1],
        "n_before": before,
        "n_after": len(panel.periods) - before,
    }
    table = pd.DataFrame(rows)
    if count[-1]:
        table.loc[len(table)] = ["never treated", count[-1], len(panel.periods), 0]
    return View(repr(panel).split("\n", 1)[0], panel.notes, table)


def dataset_view(shop: Dataset) -> View:
    """Show a data set by its tables: how many columns each has, and in how many files."""
    names = list(shop.tables)
    counts = {
        "n_columns": [len(shop.columns(name)) for name in names],
        "n_files": [len(shop.files.get(name, ())) for name in names],
    }
    return View(repr(shop), (), pd.DataFrame({"table": names, **counts}))
