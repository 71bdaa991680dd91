"""Fair price on good goods: what quality costs, who offers it at a fair price, and how far apart prices lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.prices.rows import COMPARABLE, RELATIVE, SIDES, pilot_case, require_columns, sided, window
from strategy_kit.ratio import effective_count, wilson_interval

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

_FEW = 2
_QUALITY = ("rating", "return_rate")
_NO_ROOM = 1e-9  # share of a term's variation that the others leave, below which it is taken as theirs


def hedonic(
    shop: Dataset, *, supported: bool = False, since: dt.date | None = None, through: dt.date | None = None
) -> Estimates:
    """Estimate what a star of rating and a return go with in the price, within category and week.

    Least squares of log(price / market price) on rating and return rate with an effect of each category-week; a residual is a
    quality-adjusted relative price. Errors are clustered by merchant.

    Parameters
    ----------
    supported
        True adds whether the merchant is supported by that week: its coefficient, the overall estimate then, is how much
        dearer supported merchants are than others of the same category and week at equal quality. Compares, and claims no cause.
    since, through
        Days of the first and last week; all complete weeks by default.

    Returns
    -------
    Estimates
        Label term: supported, rating (log points a star), return_rate (log points for a rate of 1), those that there are.
        `details["fit"]`: product_weeks, left_out (without price, market price, rating or return rate), cells (category-weeks),
        merchants, r_squared (within).

    Raises
    ------
    DesignError
        If the prices table, market_price or both measures of quality are missing, fewer than two merchants have them, or a
        term or the relative price does not vary within category and week.

    References
    ----------
    Rosen (1974), "Hedonic prices and implicit markets".

    Examples
    --------
    >>> import strategy_kit as sk
    >>> hedonic(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no prices table, so no product has a price to compare; add the table
    """
    require_columns(shop, ["market_price"])
    quality = [name for name in _QUALITY if name in shop.columns("prices")]
    if not quality:
        raise DesignError(
            f"the prices table of data set {shop.name!r} has neither rating nor return_rate; add one of them"
        )
    terms = [*(["supported"] * supported), *quality]
    sums, fit = _cross_products(shop, terms, window(shop, since, through))
    return _clustered(terms, sums, fit)


def quadrants(shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None) -> pd.DataFrame:
    """Return how products spread over good or plain quality and fair or dear price, by side of support.

    Good: rated above the median of its category's product-weeks in the window; fair: priced at most at the market's price.

    Returns
    -------
    DataFrame
        side (supported; beside: without support by that week in the same categories; elsewhere), quality (good, plain), price
        (fair, dear), share (of the side's product-weeks), std_error (clustered by merchant), conf_low, conf_high (Wilson's, of
        `ratio.effective_count` draws), product_weeks and merchants (of the side), left_out
        (product-weeks of the side without rating or market price).

    Examples
    --------
    >>> import strategy_kit as sk
    >>> quadrants(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no prices table, so no product has a price to compare; add the table
    """
    require_columns(shop, ["market_price", "rating"])
    found = shop.engine.frame(
        f"""with sided as ({sided(shop)}),
                 middle as (select category, median(rating) as middle from sided where y is not null group by 1)
            select side, merchant_id, count(*) filter (where y is null or rating is null) as left_out,
                   count(*) filter (where rating > middle and fair and y is not null) as good_fair,
                   count(*) filter (where rating > middle and not fair and y is not null) as good_dear,
                   count(*) filter (where rating <= middle and fair and y is not null) as plain_fair,
                   count(*) filter (where rating <= middle and not fair and y is not null) as plain_dear
            from sided left join middle on sided.category = middle.category group by 1, 2 order by 1, 2""",
        window(shop, since, through),
    )
    parts = {str(side): _shares(str(side), part) for side, part in found.groupby("side")}
    return pd.concat([parts[side] for side in SIDES if side in parts], ignore_index=True)


def dispersion(shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None) -> pd.DataFrame:
    """Return how far log relative prices lie apart within a category and week, pilot categories against the others.

    Returns
    -------
    DataFrame
        group (pilot, other), week, std_dev and spread (ninth decile less first) in log points, each the mean over the group's
        categories, relative_price (mean log relative price, likewise), categories.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> dispersion(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no prices table, so no product has a price to compare; add the table
    """
    require_columns(shop, ["market_price"])
    return shop.engine.frame(
        f"""select {pilot_case(shop)} as "group", week, avg(std_dev) as std_dev, avg(high - low) as spread,
                   avg(middle) as relative_price, count(*) as categories
            from (select category, week, stddev_samp(y) as std_dev, avg(y) as middle, quantile_cont(y, 0.9) as high,
                         quantile_cont(y, 0.1) as low
                  from (select category, week, {RELATIVE} as y from prices
                        where {COMPARABLE} and week between $first and $last) as priced
                  group by 1, 2 having count(*) > 1) as cells
            group by 1, 2 order by 1, 2""",
        window(shop, since, through),
    )


def _cross_products(shop: Dataset, terms: list[str], days: dict[str, dt.date]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return products of all terms, demeaned by category and week, summed by merchant; and what they rest on."""
    asked = {
        name: "case when side = 'supported' then 1.0 else 0.0 end" if name == "supported" else name for name in terms
    }
    whole = " and ".join(["y is not null", *(f"{name} is not null" for name in terms if name != "supported")])
    rows = f"""select merchant_id, category, week, y, {", ".join(f"{sql} as x{k}" for k, sql in enumerate(asked.values()))}
               from ({sided(shop)}) as sided where {whole}"""
    names = ["y", *(f"x{k}" for k in range(len(terms)))]
    moved = ", ".join(f"{name} - avg({name}) over (partition by category, week) as {name}" for name in names)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place:]]
    products = ", ".join(f"sum({a} * {b}) as {a}_{b}" for a, b in pairs)
    sums = shop.engine.frame(
        f"select merchant_id, count(*) as n, {products} from (select merchant_id, {moved} from ({rows}) as kept) as demeaned "
        "group by 1 order by 1",
        days,
    )
    counts = shop.engine.frame(
        f"""select (select count(*) from (select distinct category, week from ({rows}) as kept) as c) as cells,
                   (select count(*) from prices where week between $first and $last) as every""",
        days,
    )
    held = int(sums["n"].sum())
    told = {"product_weeks": held, "left_out": int(counts["every"][0]) - held, "cells": int(counts["cells"][0])}
    return sums, pd.DataFrame([told | {"merchants": len(sums)}])


def _clustered(terms: list[str], sums: pd.DataFrame, fit: pd.DataFrame) -> Estimates:
    size, count, held = len(terms), len(sums), int(fit["product_weeks"][0])
    if count < _FEW:
        raise DesignError(f"prices and quality of {count} merchants are known, where an error needs two; add merchants")
    squares = np.zeros((count, size, size))
    for a in range(size):
        for b in range(a, size):
            squares[:, a, b] = squares[:, b, a] = sums[f"x{a}_x{b}"].to_numpy(float)
    cross = np.column_stack([sums[f"y_x{k}"].to_numpy(float) for k in range(size)])
    whole = squares.sum(axis=0)
    scale = np.sqrt(np.diag(whole))
    if (scale < np.sqrt(_NO_ROOM)).any() or np.linalg.eigvalsh(whole / np.outer(scale, scale))[0] < _NO_ROOM:
        raise DesignError(
            f"{', '.join(terms)} do not all vary by themselves within category and week, so that no coefficient stands; "
            "leave out the measure that does not, or take a longer window"
        )
    if not sums["y_y"].sum() > _NO_ROOM:
        raise DesignError(
            "relative prices do not vary within category and week, so that quality explains nothing; take a longer window"
        )
    inverse = np.linalg.inv(whole)
    slopes = inverse @ cross.sum(axis=0)
    score = cross - squares @ slopes
    free = max(held - size - int(fit["cells"][0]), 1)
    small = count / (count - 1) * (held - 1) / free
    covariance = small * inverse @ (score.T @ score) @ inverse
    explained = 1 - (sums["y_y"].sum() - slopes @ cross.sum(axis=0)) / sums["y_y"].sum()
    lost = int(fit["left_out"][0])
    notes = (f"product-weeks without a price or quality, left out: {lost} of {lost + held}",) if lost else ()
    return Estimates("hedonic", "log relative price", pd.DataFrame({"term": terms}), slopes, covariance, np.full(size, count),
                     "merchant", (count, 0), (float(slopes[0]), float(np.sqrt(covariance[0, 0]))), Student(float(count - 1)),
                     details={"fit": fit.assign(r_squared=float(explained))}, notes=notes)  # fmt: skip


def _shares(side: str, counts: pd.DataFrame) -> pd.DataFrame:
    corners = ("good_fair", "good_dear", "plain_fair", "plain_dear")
    each = counts[list(corners)].to_numpy(float)
    each, lost = each[each.sum(axis=1) > 0], int(counts["left_out"].sum())
    total, merchants = each.sum(), len(each)
    share = each.sum(axis=0) / total if total else np.full(len(corners), np.nan)
    moved = (each - share * each.sum(axis=1, keepdims=True)) / max(total, 1.0)
    small = merchants / (merchants - 1) if merchants > 1 else np.nan
    error = np.sqrt(small * (moved**2).sum(axis=0))
    low, high = wilson_interval(share, effective_count(share, error, merchants, 0.95), 0.95)
    frame = pd.DataFrame([corner.split("_") for corner in corners], columns=["quality", "price"])
    frame.insert(0, "side", side)
    return frame.assign(
        share=share, std_error=error, conf_low=low, conf_high=high, product_weeks=int(total), merchants=merchants, left_out=lost,
    )  # fmt: skip
