"""Where growth came from: decompositions that add up exactly to the change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError
from strategy_kit.kpi.table import table
from strategy_kit.periods import Period, checked_period, day_of, period_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

DRIVERS = ("buyers", "orders_per_buyer", "average_order_value")


def two_periods(shop: Dataset, period: Period, before: dt.date, after: dt.date) -> list[dt.date]:
    """Return the starts of two complete periods, given any day of each; ParameterError when one is not complete."""
    days = [day_of(day, name) for day, name in ((before, "before"), (after, "after"))]
    starts = [period_start(day, checked_period(period)) for day in days]
    if starts[0] >= starts[1]:
        raise ParameterError(
            f"before, {starts[0]}, is not an earlier {period} than after, {starts[1]}; exchange or choose others"
        )
    complete = shop.complete_periods(period)
    lacking = [str(day) for day in starts if day not in complete]
    if lacking:
        span = f"those from {complete[0]} to {complete[-1]} are" if complete else "none is"
        raise ParameterError(
            f"the {period} of {', '.join(lacking)} is not complete in this data set; {span}; choose another"
        )
    return starts


def drivers(shop: Dataset, *, period: Period, before: dt.date, after: dt.date) -> pd.DataFrame:
    """Split the change of GMV between two complete periods into buyers, orders per buyer and order value.

    Each driver's contribution is the logarithmic mean of both GMVs times the log of its own ratio, so that the
    contributions add up to the change, whatever the order of the drivers. Where one GMV is zero, the driver that is zero
    has all of the change.

    Parameters
    ----------
    before, after
        Any day of the two periods.

    Returns
    -------
    DataFrame
        One row a driver: driver, before, after, contribution (currency).

    Raises
    ------
    ParameterError
        If a period is not complete, or both have no sales.

    References
    ----------
    Ang (2005), "The LMDI approach to decomposition analysis: a practical guide".

    Examples
    --------
    >>> import datetime as dt
    >>> import strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> split = drivers(shop, period="month", before=dt.date(2025, 5, 1), after=dt.date(2025, 6, 1))
    >>> split["driver"].tolist()
    ['buyers', 'orders_per_buyer', 'average_order_value']
    """
    starts = two_periods(shop, period, before, after)
    sums = table(shop, by=[period], metrics=["gmv", "orders", "buyers"]).set_index(period).drop(columns="complete")
    rows = sums.reindex(pd.DatetimeIndex(starts), fill_value=0).to_numpy(dtype=float)
    gmv, orders, buyers = rows.T
    if not gmv.any():
        raise ParameterError(f"neither {period} has sales, so there is no change to split; choose others")
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.array([buyers, orders / buyers, gmv / orders])
    contribution = _shares(factors, gmv)
    return pd.DataFrame(
        {"driver": DRIVERS, "before": factors[:, 0], "after": factors[:, 1], "contribution": contribution}
    )


def _shares(factors: np.ndarray, gmv: np.ndarray) -> np.ndarray:
    change = gmv[1] - gmv[0]
    if (gmv == 0).any():
        empty = (factors == 0).any(axis=1)
        return change * (np.arange(len(factors)) == np.argmax(empty))
    logs = np.log(factors[:, 1] / factors[:, 0])
    # the logs of the factors add up to that of GMV but for rounding, which a tiny change would show
    mean = change / logs.sum() if change and logs.sum() else gmv[0]
    shares: np.ndarray = mean * logs
    return shares


def merchant_growth(shop: Dataset, *, period: Period = "month") -> pd.DataFrame:
    """Account for the change of GMV from one complete period to the next, merchant by merchant.

    Parameters
    ----------
    period
        Length of the periods that are compared.

    Returns
    -------
    DataFrame
        One row a complete period after the first: period, opening and closing GMV, new (first sale ever), resurrected
        (sold before, not in the last period), expansion, contraction, churned (sold in the last period only);
        closing = opening + new + resurrected + expansion - contraction - churned. quick_ratio is what came over what
        went, net_retention what merchants of the last period sell now over what they sold then; missing over nothing.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> merchant_growth(sk.open_dataset("data/sample")).columns[:3].tolist()
    ['month', 'opening', 'new']
    """
    sold = sold_lines(shop)
    step = f"interval 1 {checked_period(period)}"
    found = shop.engine.frame(
        f"""with sums as (select merchant_id, date_trunc('{period}', paid_at) as p, sum(amount) as y,
                                min(date_trunc('{period}', min(paid_at))) over (partition by merchant_id) as first
                         from order_lines where {sold} group by merchant_id, date_trunc('{period}', paid_at))
            select cast(coalesce(b.p, a.p + {step}) as timestamp) as {period},
                   cast(coalesce(sum(a.y), 0) as double) as opening,
                   cast(coalesce(sum(b.y) filter (where a.y is null and b.p = b.first), 0) as double) as new,
                   cast(coalesce(sum(b.y) filter (where a.y is null and b.p > b.first), 0) as double) as resurrected,
                   cast(coalesce(sum(b.y - a.y) filter (where b.y > a.y), 0) as double) as expansion,
                   cast(coalesce(sum(a.y - b.y) filter (where b.y < a.y), 0) as double) as contraction,
                   cast(coalesce(sum(a.y) filter (where b.y is null), 0) as double) as churned,
                   cast(coalesce(sum(b.y), 0) as double) as closing
            from sums a full join sums b on a.merchant_id = b.merchant_id and b.p = a.p + {step}
            group by 1 order by 1"""
    )
    complete = pd.DatetimeIndex(shop.complete_periods(period))
    found = found.set_index(period).reindex(complete[1:].rename(period), fill_value=0.0).reset_index()
    gone, stayed = found["contraction"] + found["churned"], found["opening"] + found["expansion"]
    found["quick_ratio"] = ((found["new"] + found["resurrected"] + found["expansion"]) / gone).where(gone > 0)
    found["net_retention"] = ((stayed - gone) / found["opening"]).where(found["opening"] > 0)
    return found
