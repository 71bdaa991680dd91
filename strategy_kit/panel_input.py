"""What a panel is made of: labels read as times, starts as cohorts, and the laws that its rows must keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from strategy_kit.errors import ContractError, refuse

Array = np.ndarray


def times_of(values: pd.Series, what: str) -> pd.Series:
    """Return numbers as they are and everything else as local timestamps; ContractError for what is neither."""
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
        raise ContractError(f"{what} must be integers, dates or timestamps: {str(error).splitlines()[0]}") from error
    if times.dt.tz is not None:
        raise ContractError(f"{what} must be local business time; take the time zone {times.dt.tz} off first")
    return times


def cohorts_of(given: pd.Series, periods: pd.Index) -> tuple[Array, pd.Index, tuple[str, ...]]:
    """Return each unit's position among the distinct starts, -1 for never, these starts, and notes."""
    dated = isinstance(periods, pd.DatetimeIndex)
    if dated != pd.api.types.is_datetime64_any_dtype(given) and not given.isna().all():
        raise ContractError("periods and treated_from must both be numbers or both be dates")
    values = given.to_numpy()
    if dated:
        values = pd.to_datetime(given).to_numpy().astype(periods.to_numpy().dtype)
        inside = ~np.isnat(values)
        late = inside & (values >= _end(pd.DatetimeIndex(periods)))
        position = np.searchsorted(periods, values[inside & ~late], side="right") - 1
        values[inside & ~late] = periods.to_numpy()[np.maximum(position, 0)]
    else:
        values = values.astype(float)
        inside = np.isfinite(values) & ~((values == 0) & (periods[0] > 0))
        late = inside & (values > periods[-1])
    held = inside & ~late
    cohort = np.full(len(values), -1)
    cohort[held], found = pd.factorize(values[held], sort=True)
    whole = not dated and len(found) and bool((found == found.astype(int)).all())
    cohorts = pd.Index(found.astype(int) if whole else found)
    note = f"{int(late.sum())} units start after the last period and count as never treated"
    return cohort, cohorts, (note,) if late.any() else ()


def _end(periods: pd.DatetimeIndex) -> np.datetime64:
    """Return the end of the last period, which is as long as the shortest one."""
    if len(periods) > 1 and (periods.day == 1).all():
        months = np.diff(periods.year * 12 + periods.month).min()
        return (periods[-1] + pd.DateOffset(months=int(months))).to_datetime64()
    step = np.diff(periods).min() if len(periods) > 1 else np.timedelta64(1, "D")
    return periods.to_numpy()[-1] + step


def codes_of(values: pd.Series) -> tuple[Array, pd.Index]:
    """Return positions among the distinct values in ascending order, -1 where missing, and these values.

    Numbers and times that stand in runs, as units and periods of a sorted panel do, are read without hashing.
    """
    plain = values.to_numpy() if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuM" else None
    if plain is not None and len(plain) > 1 and not (plain.dtype.kind == "M" and np.isnat(plain).any()):
        step = plain[1:] > plain[:-1]
        if bool((step | (plain[1:] == plain[:-1])).all()):
            code = np.zeros(len(plain), dtype=np.int32)
            np.cumsum(step, out=code[1:])
            return code, pd.Index(plain[np.append(True, step)])  # noqa: FBT003  # the first value begins a run
        length = int(np.argmin(step)) + 1
        if len(plain) % length == 0 and bool((plain.reshape(-1, length) == plain[:length]).all()):
            return np.tile(np.arange(length, dtype=np.int32), len(plain) // length), pd.Index(plain[:length])
    code, labels = pd.factorize(values, sort=True)
    return code.astype(np.int32), pd.Index(labels)


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
class Rows:
    """A long frame that has kept every law: codes of its rows, and where each unit's first row stands."""

    unit_code: Array
    units: pd.Index
    period_code: Array
    periods: pd.Index
    starts: pd.Series
    first: Array
    numbers: dict[str, Array]

    def grid(self, values: Array) -> Array:
        """Lay (R,) values out as (N, T), missing where there is no row; rows in order are copied at once."""
        shape = (len(self.units), len(self.periods))
        if len(values) == shape[0] * shape[1] and _in_order(self.unit_code, self.period_code, shape[1]):
            return np.array(values, dtype=float).reshape(shape)
        matrix = np.full(shape, np.nan)
        matrix[self.unit_code, self.period_code] = values
        return matrix

    def covariates(self, names: tuple[str, ...]) -> Array | None:
        """Return (N, P) covariates, (N, T, P) where one changes within a unit, None where there are none."""
        columns = [self.numbers[name] for name in names]
        if not columns:
            return None
        if any((values != values[self.first][self.unit_code]).any() for values in columns):
            return np.stack([self.grid(values) for values in columns], axis=-1)
        return np.stack([values[self.first] for values in columns], axis=-1)


def read(frame: pd.DataFrame, names: Columns) -> Rows:
    """Code the rows of a frame that has the columns, and refuse it with every broken law at once."""
    unit_code, units = codes_of(pd.Series(range(len(frame))) if names.unit is None else frame[names.unit])
    period_code, periods = codes_of(times_of(frame[names.period], "period"))
    starts = times_of(frame[names.treated_from], "treated_from")
    positive = [names.weight] if names.weight else []
    numbers = {column: _numbers(frame, column) for column in (names.outcome, *names.covariates, *positive)}
    laws = [law for c, values in numbers.items() for law in _finite_law(frame, c, values, names.unit, c in positive)]
    laws += _row_laws(frame, (names.unit or "row", names.period), unit_code, period_code)
    first = np.zeros(len(units), dtype=np.int64)
    known = np.flatnonzero(unit_code >= 0)[::-1]
    first[unit_code[known]] = known
    laws += _constant_law(starts, first, unit_code, units, "a treatment starts once and stays")
    for column in (names.category, names.weight, names.cluster):
        if column is not None:
            laws += _constant_law(frame[column], first, unit_code, units, "give each unit one value")
    refuse(ContractError, "panel", laws)
    return Rows(unit_code, units, period_code, periods, starts, first, numbers)


def _in_order(unit_code: Array, period_code: Array, periods: int) -> bool:
    """Whether each row is the next cell of the panel, none left out or repeated."""
    by_unit, by_period = unit_code.reshape(-1, periods), period_code.reshape(-1, periods)
    units = np.arange(len(by_unit), dtype=np.int32)[:, None]
    return bool((by_period == np.arange(periods, dtype=np.int32)).all() and (by_unit == units).all())


def _numbers(frame: pd.DataFrame, column: str) -> Array:
    """Return a column as numbers, missing where it holds none."""
    return pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def _finite_law(frame: pd.DataFrame, column: str, values: Array, unit: str | None, positive: bool) -> list[str]:
    """Say so when a column holds something that is not a finite number, or not above zero where it must be."""
    total = values.sum()
    if np.isfinite(total) and not (positive and values.min(initial=1.0) <= 0):
        return []
    wrong = ~np.isfinite(values) | (positive & (values <= 0))
    if not wrong.any():
        return []
    row = int(np.flatnonzero(wrong)[0])
    kind = "a positive number" if positive else "a finite number"
    where = "" if unit is None else f", unit {frame[unit].iloc[row]}"
    return [
        f"{column} must be {kind}, but {int(wrong.sum())} rows are missing, infinite{', zero or negative' * positive} or text "
        f"(first: {frame[column].iloc[row]}{where}); fill them or leave the rows out"
    ]


def _row_laws(frame: pd.DataFrame, names: tuple[str, str], unit_code: Array, period_code: Array) -> list[str]:
    """Name missing labels, and unit-periods that repeat."""
    unit, period = names
    laws = []
    for name, code in ((unit, unit_code), (period, period_code)):
        if len(code) and code.min() < 0:
            laws.append(f"{name} is missing in {int((code < 0).sum())} rows; fill it or leave the rows out")
    periods = int(period_code.max(initial=0)) + 1
    if len(frame) % periods == 0 and _in_order(unit_code, period_code, periods):
        return laws if len(frame) else ["the frame has no row"]
    cell = unit_code.astype(np.int64) * periods + period_code
    known = (unit_code >= 0) & (period_code >= 0)
    counts = np.bincount(cell[known])
    if (counts > 1).any():
        row = int(np.flatnonzero(known & (cell == int(np.argmax(counts > 1))))[0])
        laws.append(
            f"{unit} and {period} must not repeat, but {int((counts - 1)[counts > 1].sum())} rows do "
            f"(first: {frame[unit].iloc[row]}, {frame[period].iloc[row]}); sum or drop them first"
        )
    return laws


def _constant_law(values: pd.Series, first: Array, unit_code: Array, units: pd.Index, remedy: str) -> list[str]:
    """Say so when a column changes within a unit."""
    plain = values.to_numpy() if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf" else None
    code = pd.factorize(values)[0] if plain is None else plain
    own = code[first][unit_code]
    moved = (code != own) & (unit_code >= 0)
    if plain is not None and plain.dtype.kind == "f":
        moved &= ~(np.isnan(code) & np.isnan(own))
    if not moved.any():
        return []
    unit = units[unit_code[int(np.flatnonzero(moved)[0])]]
    count = len(np.unique(unit_code[moved]))
    law = f"{values.name} must be the same in all rows of a unit, but it changes in {count} units (first: {unit})"
    return [f"{law}; {remedy}"]
