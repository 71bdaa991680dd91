"""What every part of the room asks of a data set: columns, months that can be judged, and the side of a line."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from strategy_kit.errors import DesignError
from strategy_kit.periods import next_start
from strategy_kit.tables_to_panel import CATEGORY

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

DAY = dt.timedelta(days=1)
ALL = "all"


def need(shop: Dataset, question: str, *columns: str) -> None:
    """Refuse a data set whose order lines lack a column that the question needs."""
    if lacking := [name for name in columns if name not in shop.columns("order_lines")]:
        named = ", ".join(f"order_lines.{name}" for name in lacking)
        raise DesignError(f"data set {shop.name!r} lacks {named}, which {question} needs; add the column")


def months(shop: Dataset, through: dt.date | None, *, matured: bool, burn_in_days: int = 0) -> list[dt.date]:
    """Return the complete months known by `through`, of which refunds have all arrived where asked, after a burn-in."""
    known = min(through or shop.data_through, shop.data_through)
    late = shop.data_through - (shop.matured_through if matured else shop.settled_through)
    first = shop.data_from + dt.timedelta(days=burn_in_days)
    every = shop.complete_periods("month")
    return [month for month in every if month >= first and next_start(month, "month") - DAY <= known - late]


def sides(shop: Dataset) -> tuple[str, dict[str, object]]:
    """Return the SQL for the side of a line, pilots or others by its category, and its bound values."""
    if shop.description.pilot is None:
        return f"'{ALL}'", {}
    values: dict[str, object] = {f"pilot{n}": name for n, name in enumerate(shop.pilot.categories)}
    listed = ", ".join(f"${name}" for name in values)
    return f"case when {CATEGORY} in ({listed}) then 'pilots' else 'others' end", values
