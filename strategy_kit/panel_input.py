"""What a panel is made of: labels read as times, and the laws that its rows must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import ContractError, refuse
from strategy_kit.formats import Count
from strategy_kit.identifiers import all_differ
from strategy_kit.moments import BLOCK_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = np.ndarray
LARGEST = 1e100
"""Outcomes beyond it are refused: sums of their squares would overflow."""


def times_of(values: pd.Series, what: str) -> pd.Series:
    """Return numbers as they are and everything else as local timestamps; ContractError for what is neither."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(values):
        raise ContractError(f"{what} must be integers, dates or timestamps, not true and false")
    if pd.api.types.is_numeric_dtype(values):
        return values
    if isinstance(values.dtype, pd.PeriodDtype):
        return values.dt.to_timestamp()
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind in {"integer", "floating", "mixed-integer-float"}:
        return pd.to_numeric(values.where(values.notna(), np.nan))
    if kind.startswith("mixed"):
        raise ContractError(f"{what} must be all integers, or all dates or timestamps, not a mixture")
    try:
        times = pd.to_datetime(values, format="ISO8601").dt.as_unit("us")
    except (ValueError, TypeError) as error:
        first = str(error).splitlines()[0].split(". You might")[0]
        raise ContractError(
            f"{what} must be integers, dates or timestamps, not other text; write it like 7 or 2025-01-06 ({first})"
        ) from error
    if times.dt.tz is not None:
        raise ContractError(f"{what} must be local business time; take the time zone {times.dt.tz} off first")
    return times


def matrix_laws(outcome: Array, units: pd.Index, starts: pd.Series, periods: pd.Index, name: str) -> list[str]:
    """Name what a matrix and its labels break: sizes, the order of periods, repeated units, infinite and huge outcomes."""
    laws = [] if periods.is_monotonic_increasing and periods.is_unique else ["periods must ascend without repeats"]
    laws += [] if all_differ(units) else ["units must not repeat"]
    if (len(units), len(periods)) != outcome.shape or len(starts) != len(outcome):
        laws.append(
            f"outcome is {outcome.shape[0]} × {outcome.shape[1]}, but there are {len(units)} units, "
            f"{len(starts)} starts and {len(periods)} periods"
        )
    if not isinstance(periods, pd.DatetimeIndex) and not np.isfinite(periods.to_numpy(dtype=float)).all():
        laws.append("periods must be finite")
    with np.errstate(all="ignore"):
        total = float(np.abs(outcome[:, 0]).sum() + outcome.sum())
    plain = np.isfinite(total) and abs(total) <= LARGEST  # one pass tells most panels
    if not plain and np.isinf(outcome).any():
        laws.append(f"{name} must be finite, or missing where a unit was not observed")
    elif not plain and (np.abs(outcome) > LARGEST).any():
        laws.append(f"{name} exceeds {LARGEST:g} and its squares cannot be told; give it in larger units")
    return laws


def as_matrix(given: object, name: str) -> Array:
    """Return a matrix of numbers as it is, or refuse what is none."""
    try:
        filled = np.ma.filled(given.astype(float), np.nan) if isinstance(given, np.ma.MaskedArray) else given
        outcome = np.asarray(filled, dtype=float)
    except (TypeError, ValueError):
        outcome = np.zeros(0)
    if outcome.ndim != 2 or not outcome.size:
        raise ContractError(
            f"panel: {name} must be a matrix of numbers with at least one unit and one period; "
            "give one row a unit and one column a period"
        )
    return outcome


def mislaid(given: Mapping[str, object], units: Sequence[object] | pd.Index | None) -> list[str]:
    """Name each Series or frame whose own labels are those of the units in another order: rows are taken as they stand."""
    if units is None:
        return []
    wanted = pd.Index(units)
    labelled = {name: one.index for name, one in given.items() if isinstance(one, pd.Series | pd.DataFrame)
                and not isinstance(one.index, pd.RangeIndex)}  # fmt: skip
    return [
        f"{name} is labelled by the units in another order, and rows are taken as they stand; give {name}.loc[units]"
        for name, index in labelled.items()
        if len(index) == len(wanted) and not index.equals(wanted) and all_differ(index) and wanted.isin(index).all()
    ]


def codes_of(values: pd.Series) -> tuple[Array, pd.Index]:
    """Return positions among the distinct values in ascending order, -1 where missing, and these values.

    Whole numbers that lie close together are looked up in a table instead of hashed.
    """
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "i" and len(values):
        plain = values.to_numpy(dtype=np.int64)
        low, width = int(plain.min()), int(plain.max()) - int(plain.min()) + 1
        if width <= 2 * len(plain):
            offset = plain - low
            present = np.zeros(width, dtype=bool)
            present[offset] = True
            return (np.cumsum(present, dtype=np.int32) - 1)[offset], pd.Index(np.flatnonzero(present) + low)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    try:
        hashed, labels = pd.factorize(values, sort=True)
    except TypeError as error:
        raise ContractError(
            f"panel: the labels in {values.name} cannot be put in order; give them as text or as numbers, all of one kind"
        ) from error
    return hashed.astype(np.int32), pd.Index(labels)


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a long frame, as `Panel.from_frame` takes them."""

    unit: str | None
    period: str
    outcome: str
    treated_from: str
    category: str | None = None
    covariates: tuple[str, ...] = ()
    weight: str | None = None
    cluster: str | None = None

    @property
    def used(self) -> list[str]:
        """Every column that is read."""
        named = (self.unit, self.period, self.outcome, self.treated_from, self.category, self.weight, self.cluster)
        return [column for column in (*named, *self.covariates) if column is not None]


@dataclass(frozen=True)
class Layout:
    """Which unit and period each of R rows is, -1 where its label is missing."""

    unit_code: Array
    period_code: Array
    units: pd.Index
    periods: pd.Index
    first: Array
    """(N,) the first row of each unit."""

    @classmethod
    def of(cls, unit: pd.Series, period: pd.Series) -> Layout | Grid:
        """Look whether rows fill the panel one after the other, and code them where they do not."""
        if (grid := Grid.of(unit, period)) is not None:
            return grid
        (unit_code, units), (period_code, periods) = codes_of(unit), codes_of(period)
        first = np.zeros(len(units), dtype=np.int64)
        known = np.flatnonzero(unit_code >= 0)[::-1]
        first[unit_code[known]] = known
        return cls(unit_code, period_code, units, periods, first)

    def grid(self, values: Array) -> Array:
        """Lay (R,) values out as (N, T), missing where there is no row."""
        matrix = np.full((len(self.units), len(self.periods)), np.nan)
        matrix[self.unit_code, self.period_code] = values
        return matrix

    def moved(self, values: Array) -> Array:
        """Return the rows that differ from the first row of their unit; missing equals missing."""
        return np.flatnonzero(_differ(values, values[self.first][self.unit_code]) & (self.unit_code >= 0))


@dataclass(frozen=True)
class Grid:
    """Rows that fill the panel one after the other, the periods of one unit after those of another: nothing is copied."""

    units: pd.Index
    periods: pd.Index

    @classmethod
    def of(cls, unit: pd.Series, period: pd.Series) -> Grid | None:
        """Return the grid of two columns of numbers or times, or None where they are none or in another order."""
        if not len(unit) or any(not isinstance(c.dtype, np.dtype) or c.dtype.kind not in "iuM" for c in (unit, period)):
            return None
        time = period.to_numpy()
        length = int(np.argmin(np.append(time[1:] > time[:-1], False))) + 1
        if len(unit) % length:
            return None
        grid = unit.to_numpy().reshape(-1, length), time.reshape(-1, length)
        labels, periods = grid[0][:, 0].copy(), grid[1][0].copy()
        ascending = bool((labels[1:] > labels[:-1]).all())
        parts = [slice(k, k + BLOCK_ROWS) for k in range(0, len(labels), BLOCK_ROWS)] if ascending else []
        filled = [bool((grid[0][k] == labels[k, None]).all() and (grid[1][k] == periods).all()) for k in parts]
        return cls(pd.Index(labels), pd.Index(periods)) if ascending and all(filled) else None

    @property
    def first(self) -> Array:
        """(N,) the first row of each unit."""
        return np.arange(0, len(self.units) * len(self.periods), len(self.periods))

    @property
    def unit_code(self) -> Array:
        """(R,) position of each row's unit."""
        return np.repeat(np.arange(len(self.units)), len(self.periods))

    def grid(self, values: Array) -> Array:
        """Return (R,) values as (N, T), in the same memory where they lie side by side."""
        return values.reshape(len(self.units), len(self.periods))

    def moved(self, values: Array) -> Array:
        """Return the rows that differ from the first row of their unit; missing equals missing."""
        length = len(self.periods)
        lines = values.reshape(-1, length)
        found = []
        for k in range(0, len(lines), BLOCK_ROWS):
            block = lines[k : k + BLOCK_ROWS]
            if (moved := block != block[:, :1]).any():
                moved &= _differ(block, block[:, :1])
                found.append(np.flatnonzero(moved) + k * length)
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Rows:
    """A long frame that has kept every law."""

    layout: Layout | Grid
    starts: pd.Series
    numbers: dict[str, Array]

    def covariates(self, names: tuple[str, ...]) -> Array | None:
        """Return (N, P) covariates, (N, T, P) where one changes within a unit, None where there are none."""
        columns = [self.numbers[name] for name in names]
        if not columns:
            return None
        if any(len(self.layout.moved(values)) for values in columns):
            return np.stack([self.layout.grid(values) for values in columns], axis=-1)
        return np.stack([values[self.layout.first] for values in columns], axis=-1)


def read(frame: pd.DataFrame, names: Columns) -> Rows:
    """Code the rows of a frame that has the columns, and refuse it with every broken law at once."""
    unit = pd.Series(range(len(frame))) if names.unit is None else frame[names.unit]
    layout = Layout.of(unit, times_of(frame[names.period], "period"))
    starts = times_of(frame[names.treated_from], "treated_from")
    positive = [names.weight] if names.weight else []
    numbers = {column: _numbers(frame, column) for column in (names.outcome, *names.covariates, *positive)}
    laws = [
        law
        for c, values in numbers.items()
        for law in _finite_law(frame, c, values, names.unit, positive=c in positive)
    ]
    if isinstance(layout, Layout):
        laws += _row_laws(frame, (names.unit or "row", names.period), layout.unit_code, layout.period_code)
    fixed = [(starts, "a treatment starts once and stays")]
    fixed += [(frame[c], "give each unit one value") for c in (names.category, names.weight, names.cluster) if c]
    for column, remedy in fixed:
        moved = layout.moved(_comparable(column))
        laws += _constant_law(str(column.name), layout.unit_code[moved], layout.units, remedy) if len(moved) else []
    if names.cluster is not None and frame[names.cluster].isna().any():
        n = Count(frame[names.cluster].isna().sum())
        laws.append(f"{names.cluster} is missing in {n} {n:row|rows}; give each unit a cluster or leave the rows out")
    refuse(ContractError, "panel", laws)
    return Rows(layout, starts, numbers)


def _comparable(values: pd.Series) -> Array:
    """Return values that can be compared: numbers and times as they are, all else by code."""
    plain = values.to_numpy() if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iufM" else None
    return pd.factorize(values)[0] if plain is None else plain


def _differ(values: Array, own: Array) -> Array:
    """Where two arrays differ; missing equals missing."""
    moved: Array = values != own
    return moved & ~(pd.isna(values) & pd.isna(own)) if values.dtype.kind in "fM" else moved


def _numbers(frame: pd.DataFrame, column: str) -> Array:
    """Return a column as numbers, missing where it holds none: a date, a duration or a complex number is none."""
    values = frame[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    kind = values.dtype.kind if isinstance(values.dtype, np.dtype) else "O"
    if kind in "iuf":
        return values.to_numpy(dtype=float)
    if getattr(values.dtype, "kind", "O") in "mMc":
        return np.full(len(values), np.nan)
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def _finite_law(frame: pd.DataFrame, column: str, values: Array, unit: str | None, *, positive: bool) -> list[str]:
    """Say so when a column holds something that is not a finite number, or not above zero where it must be."""
    with np.errstate(all="ignore"):
        total = values.sum()
    if np.isfinite(total) and not (positive and values.min(initial=1.0) <= 0):
        return []
    wrong = ~np.isfinite(values) | (positive & (values <= 0))
    if not wrong.any():
        return []
    row, n, kind = int(np.flatnonzero(wrong)[0]), Count(wrong.sum()), "positive" if positive else "finite"
    where = "" if unit is None else f", unit {frame[unit].iloc[row]}"
    rows = f"{n} {n:row is|rows are} missing, infinite{', zero or negative' * positive} or text"
    first = f"(first: {frame[column].iloc[row]}{where})"
    return [f"{column} must be a {kind} number, but {rows} {first}; fill them or leave the rows out"]


def _row_laws(frame: pd.DataFrame, names: tuple[str, str], unit_code: Array, period_code: Array) -> list[str]:
    """Name missing labels, and unit-periods that repeat."""
    unit, period = names
    laws = []
    for name, code in ((unit, unit_code), (period, period_code)):
        if len(code) and code.min() < 0:
            n = Count((code < 0).sum())
            laws.append(f"{name} is missing in {n} {n:row|rows}; fill it or leave the rows out")
    cell = unit_code.astype(np.int64) * (int(period_code.max(initial=0)) + 1) + period_code
    known = (unit_code >= 0) & (period_code >= 0)
    seen = np.zeros(int(cell.max(initial=0)) + 1, dtype=bool)
    seen[cell if known.all() else cell[known]] = True
    if seen.sum() < known.sum():
        counts = np.bincount(cell[known])
        row = int(np.flatnonzero(known & (cell == int(np.argmax(counts > 1))))[0])
        n, first = Count((counts - 1)[counts > 1].sum()), f"{frame[unit].iloc[row]}, {frame[period].iloc[row]}"
        law = f"{unit} and {period} must not repeat, but {n} {n:row does|rows do} (first: {first})"
        laws.append(f"{law}; sum or drop them first")
    return laws if len(frame) else ["the frame has no row; check what was selected"]


def _constant_law(column: str, moved: Array, units: pd.Index, remedy: str) -> list[str]:
    """Say that a column changes within the units whose codes are given."""
    n, first = Count(len(np.unique(moved))), units[moved[0]]
    law = f"{column} must be the same in all rows of a unit, but it changes in {n} {n:unit|units}"
    return [f"{law} (first: {first}); {remedy}"]
