"""Starts of treatment read as cohorts: which period each counts from, and who starts when the panel is over."""

from __future__ import annotations

import numpy as np
import pandas as pd

from strategy_kit.errors import ContractError
from strategy_kit.formats import Count
from strategy_kit.periods import ages, period_length

Array = np.ndarray


def late_notes(units: int) -> tuple[str, ...]:
    """Say how many units start after the last period."""
    n = Count(units)
    told = f"{n} {n:unit starts|units start} after the last period and {n:counts|count} as never treated"
    return (told,) if units else ()


def cohorts_of(given: pd.Series, periods: pd.Index) -> tuple[Array, pd.Index, Array | None]:
    """Return each unit's position among the distinct starts, -1 for never, these starts, and how late others are.

    A start inside a period counts from that period on. One in a period that is missing counts from the next one on, and its
    age from its own place on the calendar.
    """
    dated = isinstance(periods, pd.DatetimeIndex)
    if dated != pd.api.types.is_datetime64_any_dtype(given) and not given.isna().all():
        raise ContractError(
            f"periods and treated_from must both be numbers or both be dates, not {periods.dtype} and {given.dtype}; write "
            "units that are never treated as missing"
        )
    labels = periods.to_numpy()
    if isinstance(periods, pd.DatetimeIndex):
        values = pd.to_datetime(given).to_numpy().astype(labels.dtype)
        inside = ~np.isnat(values)
        length = period_length(periods)
        if isinstance(length, pd.offsets.MonthEnd):  # a label is the last day of its period
            position = np.searchsorted(labels, values.astype("datetime64[D]").astype(labels.dtype))
        else:
            position = np.maximum(np.searchsorted(labels, values, side="right") - 1, 0)
            position += values >= (periods + length).to_numpy()[position]
    else:
        values = given.to_numpy().astype(float)
        zero, unmarked = values == 0, bool(np.isfinite(values).all())
        _refuse_ambiguous_zero(zero, unmarked=unmarked, periods=periods)
        # a start in the first period could not be evaluated; where others are marked as never treated, 0 is one all the same
        inside = np.isfinite(values) & ~(zero & (periods[0] > 0 or (periods[0] == 0 and unmarked)))
        position = np.searchsorted(labels, values)
    late = inside & (position >= len(labels))
    held = inside & ~late
    between = held if dated else held & (values != np.rint(values))
    lost = (
        between & (position > 0) & (values < labels[np.minimum(position, len(labels) - 1)])
        if dated
        else between & False
    )
    own = {value: _in_gap(pd.Timestamp(value), pd.DatetimeIndex(periods)) for value in np.unique(values[lost])}
    values[lost] = np.array([own[value] for value in values[lost]], dtype=labels.dtype)
    values[between & ~lost] = labels[position[between & ~lost]]
    cohort = np.full(len(values), -1)
    cohort[held], found = pd.factorize(values[held], sort=True)
    whole = not dated and len(found) and bool((found == found.astype(int)).all())
    cohorts = pd.Index(found.astype(int) if whole else found)
    if not late.any():
        return cohort, cohorts, None
    starts, code = np.unique(values[late], return_inverse=True)
    until = np.zeros(len(values), dtype=int)
    until[late] = -ages(periods, pd.Index(starts))[code, -1]
    return cohort, cohorts, until


def _in_gap(start: pd.Timestamp, periods: pd.DatetimeIndex) -> pd.Timestamp:
    """Return the label of the period that holds a start, whether the panel has that period or not."""
    length, label = period_length(periods), periods[periods < start][-1]
    ends = isinstance(length, pd.offsets.MonthEnd)
    while label < start.normalize() if ends else label + length <= start:
        label += length
    return label


def _refuse_ambiguous_zero(zero: Array, *, unmarked: bool, periods: pd.Index) -> None:
    """Refuse a 0 that may be a period or, as many files write it, no start at all."""
    if zero.any() and periods[0] < 0 and unmarked:
        n = Count(zero.sum())
        raise ContractError(
            f"treated_from is 0 for {n} {n:unit|units}, which can mean never or the period 0 of {periods[0]} to "
            f"{periods[-1]}; write never as missing, or number periods from 1"
        )
