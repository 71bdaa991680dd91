"""Prices as outcomes: panels of merchants and categories for `did`, discounts, and what competition is fought with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.identifiers import places
from strategy_kit.panel import Panel
from strategy_kit.prices.fairness import dispersion
from strategy_kit.prices.rows import COMPARABLE, RELATIVE, pilot_case, require_columns, window
from strategy_kit.tables_to_panel import CATEGORY, sold_lines

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset

Outcome = Literal["relative_price", "dispersion", "discount_depth"]
NEW_WEEKS = 13


def merchant_prices(
    shop: Dataset,
    *,
    categories: Sequence[str] | None = None,
    since: dt.date | None = None,
    through: dt.date | None = None,
) -> Panel:
    """Build the panel of merchants' mean log relative prices by week, treated from their first support on.

    A merchant without a price in some week of the window is left out and counted. Whether support was dealt to merchants or to
    categories the panel detects; merchant-level estimators refuse what was dealt to categories.

    Parameters
    ----------
    categories
        Keep the products of these categories.

    Raises
    ------
    DesignError
        If the prices or support table or market_price is missing, or no merchant has a price in every week.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> merchant_prices(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no prices table, so no product has a price to compare; add the table
    """
    require_columns(shop, ["market_price"])
    if "support" not in shop.tables:
        raise DesignError(
            f"data set {shop.name!r} has no support table, so nobody's prices can follow support; add the table"
        )
    days = window(shop, since, through)
    means = shop.engine.frame(
        f"""select merchant_id as unit, week, avg({RELATIVE}) as y from prices
            where {COMPARABLE} and week between $first and $last group by 1, 2""",
        days,
    )
    roster = shop.engine.frame(
        """select m.merchant_id, m.category, s.started from merchants m left join
                  (select merchant_id, min(started_on) as started from support group by 1) s on m.merchant_id = s.merchant_id
           order by 1"""
    ).set_index("merchant_id")
    if categories is not None:
        roster = roster[roster["category"].isin(list(categories))]
    return _panel(shop, means, roster.rename(columns={"started": "treated_from"}), days, "log relative price")


def category_prices(
    shop: Dataset, outcome: Outcome = "relative_price", *, since: dt.date | None = None, through: dt.date | None = None
) -> Panel:
    """Build the panel of categories by week for `did.pilot_contrast`, pilots treated from their start.

    Parameters
    ----------
    outcome
        "relative_price": mean log price over the market's; "dispersion": its standard deviation within category and week;
        "discount_depth": 1 less what was paid of the list price, weighted by it, cancelled lines left out.

    Raises
    ------
    DesignError
        If a table or column is missing, no pilot is named, or no category is observed in every week.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> category_prices(shop, "discount_depth", since=dt.date(2025, 3, 3)).assigned_at
    'category'
    """
    starts = shop.pilot.starts
    if outcome == "discount_depth":
        weeks = _discount_weeks(shop, since, through)
        days = {"first": weeks[0], "last": weeks[-1]}
        means = shop.engine.frame(_depth(shop, CATEGORY, "unit"), days)
        means = means.assign(y=1 - means["paid"] / means["listed"].where(means["listed"] > 0))
    elif outcome in ("relative_price", "dispersion"):
        require_columns(shop, ["market_price"])
        days, sql = window(shop, since, through), "avg" if outcome == "relative_price" else "stddev_samp"
        means = shop.engine.frame(
            f"""select category as unit, week, {sql}({RELATIVE}) as y from prices
                where {COMPARABLE} and week between $first and $last group by 1, 2""",
            days,
        )
    else:
        raise ParameterError(f"outcome is one of relative_price, dispersion, discount_depth, not {outcome!r}")
    names = pd.Index(np.unique(means["unit"].dropna()), name="category")
    roster = pd.DataFrame({"category": names, "treated_from": pd.to_datetime(names.map(starts))}, index=names)
    return _panel(shop, means, roster, days, outcome)


def discounts(shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None) -> pd.DataFrame:
    """Return what was paid of the list price by week, pilot categories against the others; cancelled lines left out.

    Returns
    -------
    DataFrame
        group, week, listed and paid (currency), depth (1 - paid / listed), index (paid per listed, 1 in the first week), unlisted
        (lines without a list price, left out).

    Raises
    ------
    DesignError
        If order_lines has no list_amount.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> found = discounts(sk.open_dataset("data/sample"), since=dt.date(2025, 3, 3))
    >>> bool(((found["depth"] >= 0) & (found["depth"] < 1)).all())
    True
    """
    weeks = _discount_weeks(shop, since, through)
    found = shop.engine.frame(_depth(shop, pilot_case(shop), '"group"'), {"first": weeks[0], "last": weeks[-1]})
    found = found.assign(depth=1 - found["paid"] / found["listed"].where(found["listed"] > 0))
    kept = 1 - found["depth"]
    found["index"] = kept / kept.groupby(found["group"]).transform("first")
    return found[["group", "week", "listed", "paid", "depth", "index", "unlisted"]]


def competition(shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None) -> pd.DataFrame:
    """Return by week what competition is fought with, price, new products and service, pilots against the others.

    No component is added to another: they have no common unit.

    Returns
    -------
    DataFrame
        group, week, depth (discount), relative_price and std_dev (log points), new_share (of products on offer that were first
        seen in the last 13 weeks; missing in the first 13 weeks with prices, when all products look new), service (mean
        experience score of merchants). A component without its table or column is missing in every row.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> found = competition(sk.open_dataset("data/sample"), since=dt.date(2025, 3, 3))
    >>> found[["new_share", "service"]].isna().all().tolist()
    [True, True]
    """
    weeks = shop.complete_periods("week", through)
    weeks = [week for week in weeks if since is None or week >= since]
    if not weeks:
        raise DesignError(f"data set {shop.name!r} has no complete week in the window; take other days")
    days = {"first": weeks[0], "last": weeks[-1]}
    grid = pd.MultiIndex.from_product([("other", "pilot"), pd.DatetimeIndex(weeks)], names=["group", "week"])
    parts = [pd.DataFrame(index=grid)]
    if "list_amount" in shop.columns("order_lines"):
        parts.append(discounts(shop, since=weeks[0], through=through).set_index(["group", "week"])[["depth"]])
    if "market_price" in shop.columns("prices"):
        spread = dispersion(shop, since=since, through=through)
        parts.append(spread.set_index(["group", "week"])[["relative_price", "std_dev"]])
    if "prices" in shop.tables:
        parts.append(_new_share(shop, days))
    if "experience" in shop.tables:
        service = shop.engine.frame(
            f"""select {pilot_case(shop)} as "group", e.week, avg(cast(e.score as double)) as service
                from experience e join merchants m on e.merchant_id = m.merchant_id
                where e.week between $first and $last group by 1, 2""",
            days,
        )
        parts.append(service.set_index(["group", "week"]))
    found = pd.concat([part.reindex(grid) for part in parts], axis=1)
    names = ["depth", "relative_price", "std_dev", "new_share", "service"]
    return found.reindex(columns=names).astype(float).reset_index()


def _new_share(shop: Dataset, days: dict[str, dt.date]) -> pd.DataFrame:
    found = shop.engine.frame(
        f"""select {pilot_case(shop)} as "group", week, min(start) as start,
                   avg(case when week < first + interval {NEW_WEEKS} week then 1.0 else 0 end) as new_share
            from (select category, week, min(week) over (partition by sku_id) as first, min(week) over () as start
                  from prices where week <= $last) as seen
            where week >= $first group by 1, 2""",
        days,
    ).set_index(["group", "week"])
    known = pd.DatetimeIndex(found.index.get_level_values("week")) >= found["start"] + pd.Timedelta(weeks=NEW_WEEKS)
    return found[["new_share"]].where(np.asarray(known)[:, None])


def _discount_weeks(shop: Dataset, since: dt.date | None, through: dt.date | None) -> list[dt.date]:
    if "list_amount" not in shop.columns("order_lines"):
        raise DesignError(
            f"order_lines of data set {shop.name!r} has no list_amount, so that no discount is known; add the column"
        )
    weeks = shop.complete_periods("week", through, since=since)
    if not weeks:
        raise DesignError(f"data set {shop.name!r} has no complete week in the window; take other days")
    return weeks


def _depth(shop: Dataset, key: str, name: str) -> str:
    return f"""
        select {key} as {name}, cast(date_trunc('week', paid_at) as date) as week,
               cast(sum(list_amount) as double) as listed,
               cast(coalesce(sum(amount) filter (where list_amount is not null), 0) as double) as paid,
               count(*) filter (where list_amount is null) as unlisted
        from order_lines where {sold_lines(shop)} and paid_at >= $first and paid_at < cast($last as date) + interval 1 week
        group by 1, 2 order by 1, 2"""


def _panel(shop: Dataset, means: pd.DataFrame, roster: pd.DataFrame, days: dict[str, dt.date], name: str) -> Panel:
    weeks = shop.complete_periods("week", days["last"], since=days["first"])
    times = pd.DatetimeIndex(weeks)
    row, column = places(means["unit"], roster.index), times.get_indexer(pd.DatetimeIndex(means["week"]))
    values = np.full((len(roster), len(weeks)), np.nan)
    held = (row >= 0) & (column >= 0)
    values[row[held], column[held]] = means["y"].to_numpy(float)[held]
    priced = ~np.isnan(values).all(axis=1)
    panel = Panel.from_matrix(
        values,
        treated_from=roster["treated_from"],
        periods=times,
        units=roster.index,
        category=roster["category"],
        name=name,
    )
    if not priced.all():
        panel = panel.only(priced)
        note = f"units without any {name}, left out: {int((~priced).sum())} of {len(priced)}"
        panel = replace(panel, notes=(*panel.notes, note))
    whole = panel if panel.balanced else panel.complete_units()
    if not len(whole.units):
        raise DesignError(
            f"no unit has a {name} in each of {len(weeks)} weeks from {days['first']} on; take a shorter window"
        )
    return whole
