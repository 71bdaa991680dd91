"""The rows of the prices table that can be read, as SQL, and who is on which side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset

SIDES = ("supported", "beside", "elsewhere")
RELATIVE = "ln(cast(price as double) / market_price)"
COMPARABLE = "price > 0 and market_price > 0"


def require_columns(shop: Dataset, columns: Sequence[str]) -> None:
    """Refuse a data set without the prices table, or without the columns of it that are asked for."""
    if "prices" not in shop.tables:
        raise DesignError(
            f"data set {shop.name!r} has no prices table, so no product has a price to compare; add the table"
        )
    absent = [column for column in columns if column not in shop.columns("prices")]
    if absent:
        raise DesignError(
            f"the prices table of data set {shop.name!r} lacks {', '.join(absent)}, without which this cannot be told; add it"
        )


def window(shop: Dataset, since: dt.date | None, through: dt.date | None) -> dict[str, dt.date]:
    """Return the first and the last complete week with prices, as the values of a query."""
    weeks = shop.complete_periods("week", through, since=since)
    if not weeks:
        raise DesignError(
            f"data set {shop.name!r} has no complete week from {since or 'its start'} to {through or 'its end'}; take other days"
        )
    found = shop.engine.frame(
        "select min(week) as first, max(week) as last from prices where week between $first and $last",
        {"first": weeks[0], "last": weeks[-1]},
    )
    if not found["first"].notna()[0]:
        raise DesignError(
            f"no product of data set {shop.name!r} has a price from {weeks[0]} to {weeks[-1]}; take other days"
        )
    return {"first": found["first"][0].date(), "last": found["last"][0].date()}


def pilot_case(shop: Dataset, column: str = "category") -> str:
    """Return SQL for "pilot" or "other", by the data set's pilot categories; a DesignError where none is named."""
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in shop.pilot.categories)
    return f"case when {column} in ({names}) then 'pilot' else 'other' end"


def sided(shop: Dataset) -> str:
    """Return a query of all product-weeks from $first to $last, with y (log relative price, null where unknown) and side.

    A merchant is supported from the week of its first support on; beside is who is not, or not yet, in the categories in
    which someone is supported by the week of $last, elsewhere all the rest.
    """
    monday = "cast(date_trunc('week', min(started_on)) as date)"
    through = "started_on < cast($last as date) + interval 7 day"
    started = f"select merchant_id, {monday} as started from support where {through} group by 1"
    if "support" not in shop.tables:
        started = "select merchant_id, cast(null as date) as started from merchants where $last is null"
    known = [column for column in ("rating", "return_rate") if column in shop.columns("prices")]
    more = "".join(f", cast(p.{column} as double) as {column}" for column in known)
    return f"""
        select p.sku_id, p.merchant_id, p.category, p.week{more}, p.price <= p.market_price as fair,
               case when {COMPARABLE} then {RELATIVE} end as y,
               case when s.started <= p.week then 'supported' when c.category is not null then 'beside'
                    else 'elsewhere' end as side
        from prices p left join ({started}) s on p.merchant_id = s.merchant_id
        left join (select distinct q.category from prices q join ({started}) t on q.merchant_id = t.merchant_id) c
            on p.category = c.category
        where p.week between $first and $last"""
