"""What the same products cost from week to week: chained, and by indexes that no chain can make drift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.prices.rows import pilot_case, require_columns, window

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

Price = Literal["price", "market_price"]
By = Literal["pilot", "category"]
Method = Literal["geks", "time_product_dummy"]


def price_index(
    shop: Dataset,
    *,
    of: Price = "price",
    by: By = "pilot",
    since: dt.date | None = None,
    through: dt.date | None = None,
) -> pd.DataFrame:
    """Return price indexes of matched products by week and group, 1 in the first week.

    Parameters
    ----------
    of
        The price asked here, or the market's price of the same products.
    by
        Pilot categories against the others ("pilot", "other"), or each category.
    since, through
        Days of the first and last week; all complete weeks by default.

    Returns
    -------
    DataFrame
        group, week, chained (Jevons index from week to week, multiplied up), geks, time_product_dummy (both multilateral:
        transitive, so that they cannot drift), drift (log of chained less log of geks), items (products with a price above 0),
        matched (of them, with a price the week before too), entered, left (since the week before), free (products at price 0 or
        without one, left out), skipped (weeks without any product between this week and the one before, which then is the
        last that has some).

    Raises
    ------
    DesignError
        If there is no prices table, fewer than two weeks with prices, or weeks that no product ties to the others.

    References
    ----------
    Ivancic, Diewert and Fox (2011), "Scanner data, time aggregation and the construction of price indexes".

    Examples
    --------
    >>> import strategy_kit as sk
    >>> price_index(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no prices table, so no product has a price to compare; add the table
    """
    pairs = matched_pairs(shop, of=of, by=by, since=since, through=through)
    counts = _counts(shop, of, by, since, through)
    parts = [_indexes(name, part, pairs[pairs["group"] == name]) for name, part in counts.groupby("group", sort=True)]
    return pd.concat(parts, ignore_index=True)


def matched_pairs(
    shop: Dataset,
    *,
    of: Price = "price",
    by: By = "pilot",
    since: dt.date | None = None,
    through: dt.date | None = None,
) -> pd.DataFrame:
    """Add up, for each two weeks, how the prices of the products on offer in both have changed: all that an index needs.

    Returns
    -------
    DataFrame
        group, earlier, later (weeks), matched (products on offer in both), change (sum of their log price changes), weight and
        weighted (counts and changes where a product on offer in n weeks counts 1/n).

    Examples
    --------
    >>> import strategy_kit as sk
    >>> matched_pairs(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no prices table, so no product has a price to compare; add the table
    """
    days = _asked(shop, of, by, since, through)
    return shop.engine.frame(
        f"""with kept as ({_kept(shop, of, by)}), seen as (select sku, grp, count(*) as n from kept group by 1, 2)
            select a.grp as "group", a.week as earlier, b.week as later, count(*) as matched, sum(b.x - a.x) as change,
                   sum(1.0 / n) as weight, sum((b.x - a.x) / n) as weighted
            from kept a join kept b on a.sku = b.sku and a.grp = b.grp and a.week < b.week
            join seen on a.sku = seen.sku and a.grp = seen.grp
            group by 1, 2, 3 order by 1, 2, 3""",
        days,
    )


def multilateral(pairs: pd.DataFrame, *, method: Method = "geks") -> pd.Series:
    """Return the log level of prices by week, 0 in the first, that fits the matched changes of all pairs of weeks best.

    Least squares over pairs. Where every two weeks have a product in common, equal weight a pair gives GEKS-Jevons, the mean
    of all indirect comparisons; weight 1/n a product on offer in n weeks gives the time-product dummy regression. Both
    are differences of levels, and so transitive and reversible in time.

    Parameters
    ----------
    pairs
        Of one group, as `matched_pairs` returns them.

    Raises
    ------
    DesignError
        If some weeks share no product with the others, directly or through further weeks.

    References
    ----------
    Ivancic, Diewert and Fox (2011); Rao (2004) for the time-product dummy.

    Examples
    --------
    >>> pairs = pd.DataFrame({"earlier": [1, 1, 2], "later": [2, 3, 3], "matched": [1, 1, 2], "change": [0.3, 0.0, 0.0]})
    >>> multilateral(pairs).round(3).tolist()
    [0.0, 0.2, 0.1]
    """
    from scipy.sparse.csgraph import connected_components

    if method not in ("geks", "time_product_dummy"):
        raise ParameterError(f"method is one of geks, time_product_dummy, not {method!r}")
    weeks = np.union1d(pairs["earlier"], pairs["later"])
    row, column = np.searchsorted(weeks, pairs["earlier"]), np.searchsorted(weeks, pairs["later"])
    dummy = method == "time_product_dummy"
    weight = pairs["weight"].to_numpy(float) if dummy else np.ones(len(pairs))
    change = (pairs["weighted"] if dummy else pairs["change"] / pairs["matched"]).to_numpy(float)
    ties, pull = np.zeros((len(weeks), len(weeks))), np.zeros((len(weeks), len(weeks)))
    ties[row, column], pull[row, column] = weight, change
    ties, pull = ties + ties.T, pull - pull.T
    count, _ = connected_components(ties > 0, directed=False)
    if count != 1 or len(weeks) < 2:
        raise DesignError(
            f"the products on offer tie the {len(weeks)} weeks into {count} parts that share none, so that no index spans them; "
            "take a shorter window"
        )
    laplacian = np.diag(ties.sum(axis=0)) - ties
    level = np.append(0.0, np.linalg.solve(laplacian[1:, 1:], pull.sum(axis=0)[1:]))
    return pd.Series(level, index=weeks, name=method)


def _asked(shop: Dataset, of: str, by: str, since: dt.date | None, through: dt.date | None) -> dict[str, dt.date]:
    if of not in ("price", "market_price"):
        raise ParameterError(f"of is one of price, market_price, not {of!r}")
    if by not in ("pilot", "category"):
        raise ParameterError(f"by is one of pilot, category, not {by!r}")
    require_columns(shop, [of])
    return window(shop, since, through)


def _group(shop: Dataset, by: str) -> str:
    return pilot_case(shop) if by == "pilot" else "category"


def _kept(shop: Dataset, of: str, by: str) -> str:
    return f"""select sku_id as sku, week, {_group(shop, by)} as grp, ln(cast({of} as double)) as x
               from prices where {of} > 0 and week between $first and $last"""


def _counts(shop: Dataset, of: str, by: str, since: dt.date | None, through: dt.date | None) -> pd.DataFrame:
    return shop.engine.frame(
        f"""select {_group(shop, by)} as "group", week, count(*) filter (where {of} > 0) as items,
                   count(*) filter (where coalesce({of}, 0) <= 0) as free
            from prices where week between $first and $last group by 1, 2 order by 1, 2""",
        _asked(shop, of, by, since, through),
    )


def _indexes(name: object, counts: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    weeks = pd.DatetimeIndex(counts["week"])
    follow = pairs.set_index(["earlier", "later"]).reindex(pd.MultiIndex.from_arrays([weeks[:-1], weeks[1:]]))
    unmatched = follow["matched"].isna().to_numpy()
    if len(weeks) < 2 or unmatched.any():
        where = f"week {weeks[1:][unmatched][0].date()}" if len(weeks) > 1 else f"the only week, {weeks[0].date()},"
        raise DesignError(
            f"no product of group {name!r} in {where} was on offer the week before, so that the chain breaks; take "
            "a window in which products stay"
        )
    step = (follow["change"] / follow["matched"]).to_numpy(float)
    chained = np.append(0.0, np.cumsum(step))
    geks, dummy = (multilateral(pairs, method=method).to_numpy() for method in ("geks", "time_product_dummy"))
    items = counts["items"].to_numpy()
    matched = follow["matched"].to_numpy(np.int64)
    return pd.DataFrame(
        {
            "group": name,
            "week": weeks,
            "chained": np.exp(chained),
            "geks": np.exp(geks),
            "time_product_dummy": np.exp(dummy),
            "drift": chained - geks,
            "items": items,
            "matched": np.append(0, matched),
            "entered": np.append(0, items[1:] - matched),
            "left": np.append(0, items[:-1] - matched),
            "free": counts["free"].to_numpy(),
            "skipped": np.append(0, np.diff(weeks) // np.timedelta64(7, "D") - 1),
        }
    )
