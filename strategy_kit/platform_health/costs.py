"""What support costs, by stay and day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

Array = np.ndarray
STAY = """select {key} as unit, s.started_on as first, coalesce(s.ended_on, $end) as last, cast(s.cost as double) as cost
    from support s {roster} where s.started_on <= coalesce(s.ended_on, $end)"""


def stays(shop: Dataset, key: str, roster: str = "") -> pd.DataFrame:
    """Return each stay: unit, first and last day, cost, missing where none is entered (see `priced`).

    One without an end lasts to the end of the data. `key` is the SQL of the unit, `roster` a join that it needs.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> list(stays(sk.open_dataset("data/sample"), "s.merchant_id"))
    ['unit', 'first', 'last', 'cost']
    """
    query = STAY.format(key=key, roster=roster)
    if "ended_on" not in shop.columns("support"):
        query = query.replace("coalesce(s.ended_on, $end)", "cast($end as date)")
    found = shop.engine.frame(query, {"end": shop.data_through})
    return found.assign(first=pd.to_datetime(found["first"]), last=pd.to_datetime(found["last"]))


def priced(held: pd.DataFrame) -> pd.DataFrame:
    """Return the stays, of which each has a cost: a missing one is no cost of 0.

    Raises
    ------
    DesignError
        If one has none.

    Examples
    --------
    >>> priced(pd.DataFrame({"cost": [10.0, None]}))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: 1 of 2 stays of support have no cost, which is not a cost of 0; enter it, 0 where it was none
    """
    if lacking := int(held["cost"].isna().sum()):
        raise DesignError(
            f"{lacking} of {len(held)} stays of support have no cost, which is not a cost of 0; enter it, 0 where it was none"
        )
    return held


def spent(held: pd.DataFrame, first: Array, last: Array) -> Array:
    """Return the cost (S, A) of each stay from day `first` to `last` (S, A), when it is spread evenly over the stay.

    Examples
    --------
    >>> days = pd.to_datetime(["2025-07-01", "2025-07-10"])
    >>> stay = pd.DataFrame({"first": days[:1], "last": days[1:], "cost": [100.0]})
    >>> day = np.array([["2025-07-08"]], dtype="datetime64[D]")
    >>> spent(stay, day, day + 6).tolist()
    [[30.0]]
    """
    start, end = (held[name].to_numpy("datetime64[D]")[:, None] for name in ("first", "last"))
    day = np.timedelta64(1, "D")
    days = (np.minimum(end, last) - np.maximum(start, first)) / day + 1
    result: Array = held["cost"].to_numpy(dtype=float)[:, None] / ((end - start) / day + 1) * np.maximum(days, 0.0)
    return result


def require(shop: Dataset, table: str, *columns: str) -> None:
    """Refuse a data set without the columns, in one sentence."""
    known = shop.columns(table) if table in shop.tables else []
    if absent := [f"{table}.{column}" for column in columns if column not in known]:
        raise DesignError(
            f"data set {shop.name!r} has no {', '.join(absent)}, which this question rests on; add the data"
        )
