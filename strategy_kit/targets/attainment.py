"""How many merchants meet a low floor and a high stretch, and how far all of them together come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.periods import day_of
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

BIN = 0.05
"""Width of a bin of attainment, as a share of the stretch."""


def attainment(shop: Dataset, *, through: dt.date | None = None) -> pd.DataFrame:
    """Compare what merchants sold with their targets, by period and size band, for periods that have ended.

    Parameters
    ----------
    through
        Last day that counts; the last settled day of the data by default and at most. Periods that began before the data are
        left out: what was sold in them is not known.

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
        {"until": known_until(shop, through)},
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
        {"until": known_until(shop, None), "start": period_start},
    )


def made(shop: Dataset, *, through: dt.date | None = None) -> pd.DataFrame:
    """Return every target whose period has ended, with what its merchant sold: what the other functions of this room read.

    Parameters
    ----------
    through
        Last day that counts; the last settled day of the data by default and at most. Periods that began before the data are
        left out: what was sold in them is not known.

    Returns
    -------
    DataFrame
        merchant_id, period_start, period_end, size_band (missing where the roster has none), floor, stretch and sold (currency),
        by merchant and period.

    Raises
    ------
    DesignError
        If the data set has no targets table.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> made(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no targets table, so nothing was promised; add the table
    """
    return shop.engine.frame(f"select * from ({_sold(shop)}) order by 1, 2", {"until": known_until(shop, through)})


def running(shop: Dataset, *, through: dt.date | None = None) -> pd.DataFrame:
    """Compare what merchants sold so far with what of their targets was due by now, for periods that have not ended.

    What is due is the share that the category had sold by the same day of the same period 364 days earlier, which has the
    same weekdays; where it sold nothing then, or the data do not reach back to that period's first day, the share of days.

    Returns
    -------
    DataFrame
        period_start, size_band, merchants, sold, floor_due and stretch_due (sums in currency), elapsed (share of the
        stretches that was due) and seasonal (merchants whose share is that of their category a year before).

    Raises
    ------
    DesignError
        If the data set has no targets table.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> running(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no targets table, so nothing was promised; add the table
    """
    until = known_until(shop, through)
    sold = _sold(shop, "t.period_start <= $until and t.period_end > $until", "o.day <= $until")
    found = shop.engine.frame(sold, {"until": until})
    roster = shop.engine.frame("select merchant_id, category from merchants")
    days = shop.engine.frame(
        f"""select m.category, cast(o.paid_at as date) as day, cast(sum(o.amount) as double) as sold
            from order_lines o join merchants m using (merchant_id) where {sold_lines(shop)} group by 1, 2"""
    )
    found = found.merge(roster, on="merchant_id")
    spans = found[["category", "period_start", "period_end"]].drop_duplicates()
    past = spans.merge(days, on="category", how="left")
    ago = pd.to_datetime(past["day"]) + pd.Timedelta(days=364)
    held = past[(ago >= past["period_start"]) & (ago <= past["period_end"])]
    held = held.assign(by_now=held["sold"].where(ago[held.index] <= pd.Timestamp(until), 0.0))
    keys = ["category", "period_start", "period_end"]
    sums = held.groupby(keys, dropna=False)[["by_now", "sold"]].sum().rename(columns={"sold": "whole"}).reset_index()
    found = found.merge(sums, on=keys, how="left")
    length = (found["period_end"] - found["period_start"]).dt.days + 1
    plain = ((pd.Timestamp(until) - found["period_start"]).dt.days + 1) / length
    reached = found["period_start"] - pd.Timedelta(days=364) >= pd.Timestamp(shop.data_from)
    known = reached & (found["whole"].fillna(0.0) > 0)
    share = (found["by_now"] / found["whole"].where(known)).where(known, plain)
    found = found.assign(
        merchants=1, seasonal=known, floor_due=share * found["floor"], stretch_due=share * found["stretch"]
    )
    wanted = ["merchants", "sold", "floor_due", "stretch_due", "stretch", "seasonal"]
    result = found.groupby(["period_start", "size_band"], dropna=False)[wanted].sum().reset_index()
    result["elapsed"] = result["stretch_due"] / result.pop("stretch")
    return result


def known_until(shop: Dataset, through: dt.date | None) -> dt.date:
    """Return the last day of which all sales are known, `through` at most.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> known_until(sk.open_dataset("data/sample"), dt.date(2030, 1, 1))
    datetime.date(2025, 7, 30)
    """
    return shop.settled_through if through is None else min(day_of(through, "through"), shop.settled_through)


def _sold(shop: Dataset, which: str = "t.period_end <= $until", lines: str = "true") -> str:
    if "targets" not in shop.tables:
        raise DesignError(f"data set {shop.name!r} has no targets table, so nothing was promised; add the table")
    band = "size_band" if "size_band" in shop.columns("merchants") else "cast(null as varchar)"
    return f"""select t.merchant_id, t.period_start, any_value(t.period_end) as period_end, any_value(m.size_band) as size_band,
                      cast(any_value(t.floor) as double) as floor, cast(any_value(t.stretch) as double) as stretch,
                      cast(coalesce(sum(o.amount), 0) as double) as sold
               from targets t join (select merchant_id, {band} as size_band from merchants) m using (merchant_id)
               left join (select merchant_id, paid_at, amount, cast(paid_at as date) as day from order_lines
                          where {sold_lines(shop)}) o
                 on o.merchant_id = t.merchant_id and o.paid_at >= t.period_start
                    and o.paid_at < cast(t.period_end as date) + interval 1 day and {lines}
               where {which} and cast(t.period_start as date) >= date '{shop.data_from}'
               group by t.merchant_id, t.period_start"""
