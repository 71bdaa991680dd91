"""What a typical merchant sells in a month: percentiles of all who are open, those without a sale included."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pandas as pd

from strategy_kit.engine import quoted
from strategy_kit.errors import DesignError, ParameterError, nearest
from strategy_kit.lasting_growth.grounds import ALL, months
from strategy_kit.periods import next_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

TENURE = "tenure"
NEW, LONG = "under a year", "a year or more"
PERCENTILES = (10, 25, 50, 75, 90)


def typical_merchants(shop: Dataset, *, by: str | None = None, through: dt.date | None = None) -> pd.DataFrame:
    """Give the percentiles of the last complete month's GMV over merchants, medians beside means, who sold nothing as 0.

    Merchants are all on the roster that had opened by the month's end; without opened_on, the whole roster. GMV is what was
    paid and not cancelled: sales, not what a merchant earns on them. Who has closed for good counts as without a sale, since
    the roster does not tell.

    Parameters
    ----------
    by
        A column of merchants such as "region", or "tenure" (opened less than a year before the month's end, or longer).

    Returns
    -------
    DataFrame
        One row a group, "all" first: group (missing where the column is), month, merchants, without_sale (share), mean, p10,
        p25, p50, p75, p90 (currency), mean_active and p50_active (of those with a sale; missing where nobody sold).

    Raises
    ------
    DesignError
        If no month is complete, or tenure is asked for without opened_on.
    ParameterError
        If the column is unknown.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> row = typical_merchants(sk.open_dataset("data/sample")).iloc[0]
    >>> bool(row["p50"] < row["mean"])
    True
    """
    known = months(shop, through, matured=False)
    if not known:
        raise DesignError(f"data set {shop.name!r} has no complete month yet, so no month's sales are told; wait")
    start = known[-1]
    stop = next_start(start, "month")
    columns = shop.columns("merchants")
    opened = "coalesce(cast(opened_on as date) < $stop, true)" if "opened_on" in columns else "true"
    groups = [f"'{ALL}'", *([_group(shop, columns, by)] if by else [])]
    values: dict[str, object] = {"start": start, "stop": stop}
    if by == TENURE:
        values["year_before"] = stop - dt.timedelta(days=365)
    levels = ", ".join(f"quantile_cont(sold, {share / 100}) as p{share}" for share in PERCENTILES)
    frames = [
        shop.engine.frame(
            f"""with sales as (select merchant_id, cast(sum(amount) as double) as sold from order_lines
                               where {sold_lines(shop)} and paid_at >= $start and paid_at < $stop group by 1),
                     every as (select {group} as "group", coalesce(s.sold, 0) as sold from merchants m
                               left join sales s on m.merchant_id = s.merchant_id where {opened})
                select "group", count(*) as merchants, avg(case when sold > 0 then 0.0 else 1.0 end) as without_sale,
                       avg(sold) as mean, {levels}, avg(case when sold > 0 then sold end) as mean_active,
                       quantile_cont(case when sold > 0 then sold end, 0.5) as p50_active
                from every group by 1 order by 1""",
            {name: value for name, value in values.items() if name != "year_before" or "year_before" in group},
        )
        for group in groups
    ]
    result = pd.concat(frames, ignore_index=True)
    result.insert(1, "month", pd.Timestamp(start))
    return result


def _group(shop: Dataset, columns: list[str], by: str) -> str:
    if by == TENURE:
        if "opened_on" not in columns:
            raise DesignError(f"data set {shop.name!r} lacks merchants.opened_on, which tenure needs; add the column")
        known = f"when opened_on is not null then '{LONG}'"
        return f"case when cast(opened_on as date) >= $year_before then '{NEW}' {known} end"
    if by not in columns or by == "merchant_id":
        raise ParameterError(f"{by!r} is no column of merchants that makes groups{nearest(by, [TENURE, *columns])}")
    return f"m.{quoted(by)}"
