"""Who holds which levers: bundles, what they cost, and which levers come together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.periods import day_of, period_start

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

OVERSEAS = "overseas"


def stays(shop: Dataset, *, through: dt.date) -> pd.DataFrame:
    """Return the levers that each merchant got by the week of `through`, as one row a merchant.

    Each stay's cost is spread evenly over its days; a stay without an end is taken to have run until the data end.

    Returns
    -------
    DataFrame
        By merchant_id: bundle (its levers in order of name, joined by " + "), start (Monday of the first), cost up to the
        week's Sunday (missing where support has no cost), abroad (whether it joined overseas).

    Raises
    ------
    DesignError
        If there is no support table.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> stays(sk.open_dataset("data/sample"), through=dt.date(2025, 7, 21))["bundle"].value_counts().index[0]
    'marketing'
    """
    if "support" not in shop.tables:
        raise DesignError(
            f"data set {shop.name!r} has no support table, so that nobody's lever is known; add the table"
        )
    known = shop.columns("support")
    ended = "cast(ended_on as date)" if "ended_on" in known else "cast(null as date)"
    cost = "cost" if "cost" in known else "cast(null as double)"
    rows: Any = shop.engine.frame(
        f"""select merchant_id, lever, cast(started_on as date) as started_on, {ended} as ended_on,
            cast({cost} as double) as cost from support where started_on < cast($last as date) + interval 7 day
            order by merchant_id, lever, started_on""",
        {"last": (monday := period_start(day_of(through, "through"), "week"))},
    )
    first, sunday = pd.to_datetime(rows["started_on"]), pd.Timestamp(monday) + pd.Timedelta(days=6)
    last = pd.to_datetime(rows["ended_on"]).fillna(pd.Timestamp(shop.data_through))
    last = last.where(last > first, first)
    share = (last.where(last < sunday, sunday) - first).dt.days.add(1) / (last - first).dt.days.add(1)
    rows = rows.assign(start=first - pd.to_timedelta(first.dt.day_of_week, unit="D"), cost=rows["cost"] * share)
    by = rows.groupby("merchant_id")
    bundle = rows.drop_duplicates(["merchant_id", "lever"]).groupby("merchant_id")["lever"].agg(" + ".join)
    return pd.DataFrame(
        {
            "bundle": bundle,
            "start": by["start"].min(),
            "cost": by["cost"].sum(min_count=1).where(by["cost"].count() == by.size()),
            "abroad": (rows["lever"] == OVERSEAS).groupby(rows["merchant_id"]).any(),
        }
    )


def overlap(shop: Dataset, *, through: dt.date, least: int = 10) -> pd.DataFrame:
    """Count which levers come together, and say of which pairs each lever can be told apart.

    What a lever adds to another shows only if there are merchants with each alone and merchants with both; what each does by
    itself, only if there are merchants with it alone.

    Parameters
    ----------
    least
        Merchants below which a cell cannot be told.

    Returns
    -------
    DataFrame
        lever, other (all pairs, and each lever with itself), merchants (that hold both), alone (that hold `lever` and nothing
        else), only_these (that hold exactly the two), same_day (that got both on one day), told_apart (whether `lever` alone,
        `other` alone and exactly both are each held by `least`). Of a lever with itself, merchants are all that hold it, and
        only those that hold it alone count for the rest.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> pairs = overlap(sk.open_dataset("data/sample"), through=dt.date(2025, 7, 21))
    >>> pairs.shape[0], bool(pairs.set_index(["lever", "other"]).loc[("display", "service"), "told_apart"])
    (9, False)
    """
    stays(shop, through=through)
    rows: Any = shop.engine.frame(
        """select merchant_id, lever, min(cast(started_on as date)) as first from support
           where started_on < cast($last as date) + interval 7 day group by merchant_id, lever order by merchant_id, lever""",
        {"last": period_start(day_of(through, "through"), "week")},
    )
    if rows.empty:
        raise DesignError(f"nobody had a lever by {through}, so that none come together; choose a later week")
    wide = rows.set_index(["merchant_id", "lever"])["first"].astype("datetime64[s]").unstack()  # noqa: PD010 - no sums of dates
    names, first = [str(name) for name in wide.columns], wide.to_numpy()
    held = ~np.isnat(first)
    count = held.sum(axis=1)
    one, other = np.indices((len(names), len(names))).reshape(2, -1)
    same = one == other
    both = held[:, one] & held[:, other]
    alone = (held & (count == 1)[:, None]).sum(axis=0)
    exact = (both & (count[:, None] == np.where(same, 1, 2))).sum(axis=0)
    enough = np.where(same, alone[one] >= least, (alone[one] >= least) & (alone[other] >= least) & (exact >= least))
    return pd.DataFrame(
        {
            "lever": np.array(names)[one],
            "other": np.array(names)[other],
            "merchants": both.sum(axis=0),
            "alone": alone[one],
            "only_these": exact,
            "same_day": (both & (first[:, one] == first[:, other])).sum(axis=0),
            "told_apart": enough.astype(bool),
        }
    )
