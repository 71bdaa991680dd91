"""What a panel is made of: labels read as times, starts as cohorts, and the laws that its rows must keep."""

from __future__ import annotations

import numpy as np
import pandas as pd

from strategy_kit.errors import ContractError

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


def row_laws(frame: pd.DataFrame, names: tuple[str, str, str], codes: tuple[Array, Array, Array]) -> list[str]:
    """Name missing labels, outcomes that are not finite numbers, and unit-periods that repeat."""
    (unit, period, outcome), (unit_code, period_code, values) = names, codes
    laws = []
    for name, code in ((unit, unit_code), (period, period_code)):
        if (code < 0).any():
            laws.append(f"{name} is missing in {int((code < 0).sum())} rows; fill it or leave the rows out")
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        laws.append(
            f"{outcome} must be a finite number, but {int(wrong.sum())} rows are missing, infinite or text "
            f"(first: {frame[outcome].iloc[row]}, unit {frame[unit].iloc[row]}); fill them or leave the rows out"
        )
    cell = unit_code * (period_code.max(initial=0) + 1) + period_code
    counts = np.bincount(cell[(unit_code >= 0) & (period_code >= 0)])
    if (counts > 1).any():
        row = int(np.flatnonzero(cell == int(np.argmax(counts > 1)))[0])
        laws.append(
            f"{unit} and {period} must not repeat, but {int((counts - 1)[counts > 1].sum())} rows do "
            f"(first: {frame[unit].iloc[row]}, {frame[period].iloc[row]}); sum or drop them first"
        )
    return laws if len(frame) else ["the frame has no row"]


def constant_law(values: pd.Series, first: Array, unit_code: Array, units: pd.Index, column: str) -> list[str]:
    """Say so when a column changes within a unit."""
    code, _ = pd.factorize(values)
    moved = (code != code[first][unit_code]) & (unit_code >= 0)
    if not moved.any():
        return []
    unit = units[unit_code[int(np.flatnonzero(moved)[0])]]
    count = len(np.unique(unit_code[moved]))
    law = f"{column} must be the same in all rows of a unit, but it changes in {count} units (first: {unit})"
    return [f"{law}; a treatment starts once and stays"]
