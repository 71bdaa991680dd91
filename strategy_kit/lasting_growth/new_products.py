"""New products: their share of GMV, how many still sell later, and how much each vintage brings."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.lasting_growth.grounds import ALL, months, need, sides
from strategy_kit.periods import next_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

NEW_DAYS, SILENT_MONTHS = 90, 3
ESTABLISHED = "established"
_ASKED = "the share of new products"


def new_product_share(shop: Dataset, *, through: dt.date | None = None) -> pd.DataFrame:
    """Give the share of each month's GMV from products that were first sold less than 90 days before.

    A product's age counts from its first sale in the data, for launch days are not in the tables: one that had not sold for
    90 days looks new when it sells again first. The first 90 days cannot tell new from old and are not shown.

    Returns
    -------
    DataFrame
        One row a complete month and side (pilots, others, all): month, side, gmv (not cancelled), gmv_new, share, skus,
        skus_new (numbers with a sale), merchants (with a sale); of lines with a sku_id: `attrs["unlabelled"]` is the share
        of the GMV of these months that has none.

    Raises
    ------
    DesignError
        If order_lines has no sku_id, or no month lies so far into the data.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> new_product_share(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' lacks order_lines.sku_id, which the share of new products needs; add \
the column
    """
    known = _months(shop, through)
    side, values = sides(shop)
    result = []
    for kind in dict.fromkeys((side, f"'{ALL}'")):
        found = shop.engine.frame(
            f"""with firsts as (select sku_id, min(paid_at) as born from order_lines where {sold_lines(shop)} group by 1),
                     sold as (select l.*, {kind} as side, paid_at < born + interval {NEW_DAYS} day as fresh
                              from (select * from order_lines
                                    where {sold_lines(shop)} and paid_at >= $first and paid_at < $until) l
                              join firsts using (sku_id))
                select cast(date_trunc('month', paid_at) as date) as month, side, sum(cast(amount as double)) as gmv,
                       sum(case when fresh then cast(amount as double) else 0 end) as gmv_new,
                       count(distinct sku_id) as skus, count(distinct case when fresh then sku_id end) as skus_new,
                       count(distinct merchant_id) as merchants
                from sold group by 1, 2 order by 1, 2""",
            {**(values if kind == side else {}), "first": known[0], "until": next_start(known[-1], "month")},
        )  # fmt: skip
        result.append(found)
    rows = pd.concat(result, ignore_index=True)
    rows.insert(4, "share", rows["gmv_new"] / rows["gmv"].where(rows["gmv"] > 0))
    rows["month"] = pd.to_datetime(rows["month"])
    return _counted(shop, known, rows.sort_values(["month", "side"], kind="stable", ignore_index=True))


def vintages(shop: Dataset, *, through: dt.date | None = None) -> pd.DataFrame:
    """Split each month's GMV by the quarter in which its products were first sold; the layers add up to GMV.

    Lines without a sku_id are in no layer; `attrs["unlabelled"]` is their share of the GMV of these months. Products first
    sold in the first 90 days of the data are "established": they may be of any age.

    Returns
    -------
    DataFrame
        One row a complete month and vintage that sold: month, vintage ("established" or a quarter such as "2025-Q1"), gmv
        (not cancelled), skus.

    Raises
    ------
    DesignError
        As `new_product_share`.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> vintages(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' lacks order_lines.sku_id, which the share of new products needs; add \
the column
    """
    known = _months(shop, through)
    found = shop.engine.frame(
        f"""with firsts as (select sku_id, cast(min(paid_at) as date) as born from order_lines
                            where {sold_lines(shop)} group by 1)
            select cast(date_trunc('month', paid_at) as date) as month,
                   case when born >= $settled then cast(date_trunc('quarter', born) as date) end as quarter,
                   sum(cast(amount as double)) as gmv, count(distinct sku_id) as skus
            from (select sku_id, paid_at, amount from order_lines
                  where {sold_lines(shop)} and paid_at >= $first and paid_at < $until) l join firsts using (sku_id)
            group by 1, 2 order by 1, 2 nulls first""",
        {"first": known[0], "until": next_start(known[-1], "month"), "settled": _settled(shop)},
    )
    quarter = pd.to_datetime(found.pop("quarter"))
    named = quarter.dt.strftime("%Y-Q") + quarter.dt.quarter.astype("Int64").astype(str)
    found.insert(1, "vintage", named.where(quarter.notna(), ESTABLISHED))
    return _counted(shop, known, found.assign(month=pd.to_datetime(found["month"])))


def sku_survival(shop: Dataset, *, through: dt.date | None = None) -> pd.DataFrame:
    """Follow new products from their first sale on: how many still sell, by months of age (Kaplan-Meier).

    A product is gone after its last sale once it has been silent for three complete months up to the last one known; it may
    yet come back. Exits of the last three months cannot be seen, so that all others are censored before. Products first sold
    in the first 90 days are left out and counted.

    Returns
    -------
    DataFrame
        One row an age: age (months), at_risk, exits (last sale one month before), survival, std_error (Greenwood).
        `attrs["left_out"]` counts products: left_censored, too_young (first sold in the last two complete
        months or after them, so that no silence can be seen).

    Raises
    ------
    DesignError
        As `new_product_share`, or if no new product can be followed.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> sku_survival(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' lacks order_lines.sku_id, which the share of new products needs; add \
the column
    """
    known = _months(shop, through)
    day = min(through or shop.data_through, shop.data_through) + dt.timedelta(days=1)
    lives = shop.engine.frame(
        f"""select cast(date_trunc('month', born) as date) as born, cast(date_trunc('month', gone) as date) as gone,
                   born < $settled as censored, count(*) as skus
            from (select sku_id, min(paid_at) as born, max(paid_at) as gone from order_lines
                  where {sold_lines(shop)} and paid_at < $day and sku_id is not null group by 1) group by 1, 2, 3""",
        {"settled": _settled(shop), "day": day},
    )
    born, gone = (np.asarray(lives[name], "datetime64[M]").astype(int) for name in ("born", "gone"))
    last = int(np.datetime64(known[-1], "M").astype(int))
    horizon = last - SILENT_MONTHS + 1
    old, young = lives["censored"].to_numpy(bool), born > horizon
    stop = np.minimum(gone + 1, horizon) - born
    usable = ~old & ~young
    if not usable.any():
        raise DesignError(
            f"no product of data set {shop.name!r} can be followed past {SILENT_MONTHS} silent months; wait"
        )
    count, exits = (
        np.bincount(stop[which], lives["skus"][which], int(stop[usable].max()) + 1).astype(int)
        for which in (usable, usable & (gone < horizon))
    )
    at_risk = count[::-1].cumsum()[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        survival = np.cumprod(1 - exits / at_risk)
        error = survival * np.sqrt(np.cumsum(exits / (at_risk * (at_risk - exits))))
    result = pd.DataFrame({"age": np.arange(len(exits)), "at_risk": at_risk, "exits": exits, "survival": survival})
    result["std_error"] = error
    dropped = {"left_censored": old, "too_young": ~old & young}
    result.attrs["left_out"] = {name: int(lives.loc[which, "skus"].sum()) for name, which in dropped.items()}
    return result


def _counted(shop: Dataset, known: list[dt.date], rows: pd.DataFrame) -> pd.DataFrame:
    """Say how much of the months' GMV has no sku_id."""
    found = shop.engine.frame(
        f"""select cast(sum(amount) as double) as gmv, cast(sum(case when sku_id is null then amount end) as double) as lost
            from order_lines where {sold_lines(shop)} and paid_at >= $first and paid_at < $until""",
        {"first": known[0], "until": next_start(known[-1], "month")},
    ).iloc[0]
    rows.attrs["unlabelled"] = float(found["lost"] / found["gmv"]) if found["lost"] > 0 else 0.0
    return rows


def _months(shop: Dataset, through: dt.date | None) -> list[dt.date]:
    need(shop, _ASKED, "sku_id")
    known = months(shop, through, matured=False, burn_in_days=NEW_DAYS)
    if not known:
        raise DesignError(f"no complete month of data set {shop.name!r} lies {NEW_DAYS} days into the data; wait")
    return known


def _settled(shop: Dataset) -> dt.date:
    return shop.data_from + dt.timedelta(days=NEW_DAYS)
