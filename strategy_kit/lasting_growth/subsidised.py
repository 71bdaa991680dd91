"""Buyers whose first order carried a platform subsidy beside those whose first order carried none, by age."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from strategy_kit.errors import DesignError, ParameterError, level_laws, refuse, whole_number
from strategy_kit.lasting_growth.grounds import months, need
from strategy_kit.periods import next_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

MEASURES = ("retention", "orders", "spend")
READING = "description, not effect"
BURN_IN, FEWEST = 60, 10
"""Days of burn-in, and buyers of either kind below which a cohort is left out: the variance of one buyer is not known."""


def subsidised_buyers(
    shop: Dataset, *, through: dt.date | None = None, burn_in_days: int = BURN_IN, level: float = 0.95
) -> pd.DataFrame:
    """Set the two groups of buyers side by side by months since their first order: no effect of the subsidy.

    A cohort is the buyers whose first order (not cancelled) fell into a month. Each age compares within cohorts, weighted by
    their subsidised buyers, over the cohorts that have reached it, so that the season and who came when do not enter. The
    first order itself is not counted in any measure. Errors treat buyers as independent draws.

    Parameters
    ----------
    through
        Last day that is known; the last day of the data by default. Months whose refunds may still arrive are left out.
    burn_in_days
        Buyers first seen in a month that begins earlier than this many days into the data may have bought before: they are
        left out and counted.
    level
        Coverage of the intervals, pointwise.

    Returns
    -------
    DataFrame
        One row a measure and age: measure (retention: share with a later order in the month; orders, spend: per buyer, spend
        net of refunds and subsidies in currency), age (months), subsidised, subsidised_low, subsidised_high, others,
        others_low, others_high, difference, std_error, conf_low, conf_high, buyers_subsidised, buyers_others, cohorts, reading.
        `attrs["left_out"]` counts buyers: left_censored, too_young (first seen after the last month that has matured), and
        few (in a cohort with fewer than 10 buyers of either kind).

    Raises
    ------
    DesignError
        If platform_subsidy or refund_amount is lacking, or no cohort has 10 buyers of both kinds.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> found = subsidised_buyers(sk.open_dataset("data/sample"))
    >>> found["reading"].unique().tolist()
    ['description, not effect']
    """
    cells, left_out, last = _cells(shop, through, burn_in_days, level)
    result = pd.concat([_by_age(cells, measure, last, level) for measure in MEASURES], ignore_index=True)
    result.attrs["left_out"] = left_out
    return result.assign(reading=READING)


def later_orders(
    shop: Dataset, *, through: dt.date | None = None, burn_in_days: int = BURN_IN, level: float = 0.95
) -> pd.DataFrame:
    """Compare all that the two groups bought after their first order, as a ratio: no effect of the subsidy.

    Means are per buyer over everything after the first order up to the last month that has matured, compared within cohorts
    as in `subsidised_buyers`. The interval is that of the log ratio (delta method), buyers as independent draws.

    Returns
    -------
    DataFrame
        One row a measure (orders, spend): measure, subsidised, others (mean per buyer), ratio, std_error (of the log ratio),
        conf_low, conf_high (of the ratio), buyers_subsidised, buyers_others, reading.

    Raises
    ------
    DesignError
        As `subsidised_buyers`.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> later_orders(sk.open_dataset("data/sample"))["measure"].tolist()
    ['orders', 'spend']
    """
    cells, left_out, _ = _cells(shop, through, burn_in_days, level)
    whole, rows = cells[cells["age"] < 0], []
    for measure in MEASURES[1:]:
        mean, variance, counts, _ = _means(whole, measure)
        # of what is lost on average there is no ratio
        own = mean if (mean > 0).all() else np.full(2, np.nan)
        ratio, error = own[0] / own[1], float(np.sqrt((variance / own**2).sum()))
        half = ndtri(0.5 + level / 2) * error
        low, high = ratio * np.exp(-half), ratio * np.exp(half)
        ends = {"ratio": ratio, "std_error": error, "conf_low": low, "conf_high": high}
        rows.append(
            {"measure": measure, "subsidised": mean[0], "others": mean[1], **ends, **counts, "reading": READING}
        )
    result = pd.DataFrame(rows)
    result.attrs["left_out"] = left_out
    return result


def _by_age(cells: pd.DataFrame, measure: str, last: int, level: float) -> pd.DataFrame:
    rows, z = [], float(ndtri(0.5 + level / 2))
    for age in range(last + 1):
        here = cells[cells["age"] == age]
        if here.empty:
            continue
        mean, variance, counts, cohorts = _means(here, measure)
        error, own = float(np.sqrt(variance.sum())), np.sqrt(variance)
        gap = mean[0] - mean[1]
        row = {"measure": measure, "age": age}
        for place, group in enumerate(("subsidised", "others")):
            ends = mean[place] - z * own[place], mean[place] + z * own[place]
            row |= {
                group: mean[place],
                f"{group}_low": ends[0] if measure == "spend" else max(ends[0], 0.0),
                f"{group}_high": ends[1],
            }
        row |= {"difference": gap, "std_error": error, "conf_low": gap - z * error, "conf_high": gap + z * error}
        rows.append({**row, **counts, "cohorts": cohorts})
    return pd.DataFrame(rows)


def _means(cells: pd.DataFrame, measure: str) -> tuple[np.ndarray, np.ndarray, dict[str, int], int]:
    """Return the means of both groups under one weight a cohort, (2,), their variances, the buyers, and the cohorts."""
    wide: Any = cells.pivot_table(
        index="cohort", columns="subsidised", values=["size", measure, f"{measure}_squares"], sort=False
    )
    size = wide["size"].reindex(columns=[True, False]).to_numpy(float)
    mean = wide[measure].reindex(columns=[True, False]).to_numpy(float) / size
    squares = wide[f"{measure}_squares"].reindex(columns=[True, False]).to_numpy(float)
    within = np.maximum(squares - size * mean**2, 0) / (size - 1)
    weight = size[:, :1] / size[:, 0].sum()
    counts = dict(zip(("buyers_subsidised", "buyers_others"), size.sum(axis=0).astype(int).tolist(), strict=True))
    return (weight * mean).sum(axis=0), (weight**2 * within / size).sum(axis=0), counts, len(size)


def _cells(
    shop: Dataset, through: dt.date | None, burn_in_days: int, level: float
) -> tuple[pd.DataFrame, dict[str, int], int]:
    """Return sums and sums of squares by cohort, group and age; age −1 stands for all ages together."""
    laws = level_laws(level)
    if not whole_number(burn_in_days, 0):
        laws.append(f"burn_in_days is a whole number of days, 0 or more, not {burn_in_days!r}")
    refuse(ParameterError, "the comparison of subsidised buyers", laws)
    need(shop, "the comparison of subsidised buyers", "platform_subsidy", "refund_amount")
    known = months(shop, through, matured=True)
    cohorts = [month for month in known if month >= shop.data_from + dt.timedelta(days=burn_in_days)]
    if not cohorts:
        raise DesignError(
            f"no month of data set {shop.name!r} has matured refunds {burn_in_days} days into the data; shorten the burn-in"
        )
    found, size = _sums(shop, next_start(known[-1], "month"))
    born = size["cohort"]
    whole = size[born.isin(pd.to_datetime(cohorts))]
    both = whole[whole["size"] >= FEWEST].groupby("cohort")["subsidised"].nunique() == 2
    enough = whole["cohort"].isin(both.index[both])
    left_out = {
        "left_censored": int(size.loc[born < pd.Timestamp(cohorts[0]), "size"].sum()),
        "too_young": int(_buyers(shop, through) - size["size"].sum()),
        "few": int(whole.loc[~enough, "size"].sum()),
    }
    kept = whole[enough]
    if kept.empty:
        raise DesignError(
            f"no cohort of data set {shop.name!r} has {FEWEST} buyers with and {FEWEST} without a subsidy; nothing is compared"
        )
    return _grid(found, kept, known[-1]), left_out, _apart(kept["cohort"].min(), known[-1])


def _apart(first: pd.Timestamp, last: dt.date) -> int:
    return 12 * (last.year - first.year) + last.month - first.month


def _grid(found: pd.DataFrame, kept: pd.DataFrame, last: dt.date) -> pd.DataFrame:
    """Give every cohort, group and observed age a row, zeros where nobody bought."""
    reach = np.array([_apart(cohort, last) for cohort in kept["cohort"]])
    rows = kept.loc[kept.index.repeat(reach + 2)].reset_index(drop=True)
    rows["age"] = np.concatenate([np.arange(-1, ages + 1) for ages in reach])
    filled = rows.merge(found, on=["cohort", "subsidised", "age"], how="left").fillna(0.0)
    return filled.assign(retention_squares=filled["retention"])


def _sums(shop: Dataset, until: dt.date) -> tuple[pd.DataFrame, pd.DataFrame]:
    sold, refund = sold_lines(shop), "coalesce(cast(refund_amount as double), 0)"
    share = f"(case when amount > 0 then 1 - {refund} / cast(amount as double) else 0 end)"
    net = f"cast(amount as double) - {refund} - coalesce(cast(platform_subsidy as double), 0) * {share}"
    base = f"""with orders as (select order_id, any_value(buyer_id) as buyer, min(paid_at) as day, sum({net}) as net,
                                      sum(coalesce(platform_subsidy, 0)) > 0 as aided from order_lines
                               where {sold} and paid_at < $until group by order_id),
                    placed as (select *, row_number() over (partition by buyer order by day, order_id) as place from orders),
                    firsts as (select buyer, cast(date_trunc('month', day) as date) as cohort, aided as subsidised
                               from placed where place = 1),
                    later as (select f.buyer, f.cohort, f.subsidised, cast(date_trunc('month', p.day) as date) as month,
                                     cast(count(*) as double) as orders, sum(p.net) as spend
                              from firsts f join placed p on f.buyer = p.buyer
                              where p.place > 1 group by 1, 2, 3, 4)"""
    sums = """count(*) as retention, sum(orders) as orders, sum(orders * orders) as orders_squares, sum(spend) as spend,
              sum(spend * spend) as spend_squares"""
    asked = {"until": until}
    by_month = shop.engine.frame(f"{base} select cohort, subsidised, month, {sums} from later group by 1, 2, 3", asked)
    whole = shop.engine.frame(
        f"""{base}, totals as (select buyer, cohort, subsidised, sum(orders) as orders, sum(spend) as spend from later
                               group by 1, 2, 3)
            select cohort, subsidised, {sums} from totals group by 1, 2""",
        asked,
    ).assign(age=-1)
    size = shop.engine.frame(
        f"{base} select cohort, subsidised, count(*) as size from firsts group by 1, 2 order by 1, 2", asked
    )
    born, at = (pd.to_datetime(by_month[name]).dt for name in ("cohort", "month"))
    by_month["age"] = 12 * (at.year - born.year) + at.month - born.month
    found = pd.concat([by_month.drop(columns="month"), whole], ignore_index=True)
    return tuple(frame.assign(cohort=pd.to_datetime(frame["cohort"])) for frame in (found, size))  # type: ignore[return-value]


def _buyers(shop: Dataset, through: dt.date | None) -> int:
    known = min(through or shop.data_through, shop.data_through) + dt.timedelta(days=1)
    sql = f"select count(distinct buyer_id) as n from order_lines where {sold_lines(shop)} and paid_at < $until"
    return int(shop.engine.frame(sql, {"until": known})["n"][0])
