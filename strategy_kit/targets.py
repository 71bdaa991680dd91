"""Two-tier targets: how many merchants meet a low floor and a high stretch, and how far all of them together come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategy_kit.errors import DesignError
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    import datetime as dt

    import pandas as pd

    from strategy_kit.dataset import Dataset

BIN = 0.05
"""Width of a bin of attainment, as a share of the stretch."""


def attainment(shop: Dataset, *, through: dt.date | None = None) -> pd.DataFrame:
    """Compare what merchants sold with their targets, by period and size band, for periods that have ended.

    Parameters
    ----------
    through
        Last day that counts; the last day of the data by default.

    Returns
    -------
    DataFrame
        period_start, size_band (missing where the roster has none), merchants, sold, floor and stretch (sums in currency),
        met_floor and met_stretch (merchants). A portfolio's attainment is the ratio of sums, not the mean of ratios.

    Raises
    ------
    DesignError
        If the data set has no targets table.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> attainment(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no targets table, so nothing was promised; add the table
    """
    return shop.engine.frame(
        f"""select period_start, size_band, count(*) as merchants, sum(sold) as sold, sum(floor) as floor,
                   sum(stretch) as stretch, count(*) filter (where sold >= floor) as met_floor,
                   count(*) filter (where sold >= stretch) as met_stretch
            from ({_sold(shop)}) group by all order by all""",
        {"until": through or shop.data_through},
    )


def attainment_bins(shop: Dataset, period_start: dt.date) -> pd.DataFrame:
    """Count the merchants of one period by what they sold as a share of their stretch.

    Returns
    -------
    DataFrame
        low (lower end of the bin, a share of the stretch; the last one is 2 and all above), merchants, and floor, the
        median of floor over stretch, the same in every row.

    Raises
    ------
    DesignError
        If the data set has no targets table.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> attainment_bins(sk.open_dataset("data/sample"), dt.date(2025, 6, 30))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no targets table, so nothing was promised; add the table
    """
    # a bin's lower end belongs to it, and money that meets a target must not fall below it by rounding
    low = f"least(floor(round(sold / stretch / {BIN}, 9)) * {BIN}, 2.0)"
    return shop.engine.frame(
        f"""select round({low}, 2) as low, count(*) as merchants, any_value(usual) as floor
            from (select *, median(floor / stretch) over () as usual from ({_sold(shop)})
                  where period_start = $start and stretch > 0)
            group by 1 order by 1""",
        {"until": shop.data_through, "start": period_start},
    )


def _sold(shop: Dataset) -> str:
    if "targets" not in shop.tables:
        raise DesignError(f"data set {shop.name!r} has no targets table, so nothing was promised; add the table")
    band = "size_band" if "size_band" in shop.columns("merchants") else "cast(null as varchar)"
    return f"""select t.merchant_id, t.period_start, any_value(m.size_band) as size_band,
                      cast(any_value(t.floor) as double) as floor, cast(any_value(t.stretch) as double) as stretch,
                      cast(coalesce(sum(o.amount), 0) as double) as sold
               from targets t join (select merchant_id, {band} as size_band from merchants) m using (merchant_id)
               left join (select merchant_id, paid_at, amount from order_lines where {sold_lines(shop)}) o
                 on o.merchant_id = t.merchant_id and o.paid_at >= t.period_start
                    and o.paid_at < cast(t.period_end as date) + interval 1 day
               where t.period_end <= $until group by t.merchant_id, t.period_start"""
