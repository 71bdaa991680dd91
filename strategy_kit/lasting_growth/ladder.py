"""The quality ladder of GMV: what is left of paid sales once cancelled, refunded and subsidised money is taken off."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, whole_number
from strategy_kit.lasting_growth.grounds import ALL, months, need, sides
from strategy_kit.periods import next_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

STEPS = {
    "paid": 1,
    "cancelled": -1,
    "refunded": -1,
    "settled": 1,
    "subsidy": -1,
    "net": 1,
    "first_time": -1,
    "repeat": 1,
}
_LEVELS = ("paid", "settled", "net", "repeat")
LOOKBACK = 90
"""Days within which a buyer must have bought before to count as one who came back."""


def ladder(
    shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None, lookback_days: int = LOOKBACK
) -> pd.DataFrame:
    """Take paid GMV down to the GMV of buyers who came back, by month and side.

    Paid is the amount of every line, cancelled ones included. Less cancelled lines, less refunds of the others it is
    settled; less the platform's subsidy on what settled (a refunded share of a line gives back that share of its subsidy)
    it is net; less the net GMV of orders whose buyer had not bought in the `lookback_days` before, it is repeat. Only
    complete months are given whose refunds have all arrived by `through` and whose look-back lies inside the data.

    Parameters
    ----------
    since
        Leaves earlier months out; none by default.
    through
        Last day that is known; the last day of the data by default.
    lookback_days
        The same for every month, so that months compare; a buyer who stays away for longer counts as new again.

    Returns
    -------
    DataFrame
        One row a month, side (pilots, others, all) and step, in order: month, side, step (paid, cancelled, refunded,
        settled, subsidy, net, first_time, repeat), kind (level or change), amount (currency, signed), share (of paid;
        missing where nothing was paid).

    Raises
    ------
    DesignError
        If status, refund_amount or platform_subsidy is lacking, or no month can be judged yet.
    ParameterError
        If `lookback_days` is no whole number of at least 1.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> found = ladder(sk.open_dataset("data/sample")).query("month == month.max() and side == 'all'").set_index("step")
    >>> found["share"].round(2)[["settled", "net", "repeat"]].to_dict()
    {'settled': 0.91, 'net': 0.9, 'repeat': 0.7}
    """
    if not whole_number(lookback_days, 1):
        raise ParameterError(f"lookback_days is a whole number of days, 1 or more, not {lookback_days!r}")
    need(shop, "the ladder from paid to durable GMV", "status", "refund_amount", "platform_subsidy")
    known = months(shop, through, matured=True, burn_in_days=lookback_days)
    known = [month for month in known if since is None or month >= since]
    if not known:
        raise DesignError(
            f"no month of data set {shop.name!r} has matured refunds and {lookback_days} days before it; wait, or look back less"
        )
    sums = _sums(shop, known, lookback_days)
    if sums.empty:
        raise DesignError(f"data set {shop.name!r} has no order line in the months that can be judged; wait")
    both = sums.assign(side=ALL).groupby(["month", "side"], as_index=False).sum()
    sums = both if set(sums["side"]) == {ALL} else pd.concat([sums, both], ignore_index=True)
    return _long(sums)


def growth_on_ladder(rungs: pd.DataFrame, *, before: dt.date, after: dt.date) -> pd.DataFrame:
    """Split the growth of paid GMV between two months into the steps of the ladder, a day on average.

    What was cancelled, refunded, paid by the platform, bought by first-time buyers and by those who came back adds up to
    the growth of paid GMV exactly. The share of `subsidy` is the subsidy-funded share of growth: yuan of subsidy a day more
    for each yuan of paid GMV a day more. It is bookkeeping: what would have been sold without the subsidy is not known.

    Parameters
    ----------
    rungs
        From `ladder`.
    before, after
        First days of two of its months.

    Returns
    -------
    DataFrame
        One row a side and part (cancelled, refunded, subsidy, first_time, repeat): side, part, before, after, change
        (currency a day), growth (the change of paid GMV a day), share (of that growth; missing where GMV did not grow).

    Raises
    ------
    ParameterError
        If a month is not on the ladder, or `before` is not earlier.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> rungs = ladder(sk.open_dataset("data/sample"))
    >>> parts = growth_on_ladder(rungs, before=dt.date(2025, 3, 1), after=dt.date(2025, 5, 1)).query("side == 'all'")
    >>> bool(abs(parts["share"].sum() - 1) < 1e-9)
    True
    """
    given = {pd.Timestamp(month).date() for month in rungs["month"]}
    if absent := [str(day) for day in (before, after) if day not in given]:
        raise ParameterError(f"{', '.join(absent)} is no month of the ladder; take from {min(given)} to {max(given)}")
    if before >= after:
        raise ParameterError(f"before, {before}, is not earlier than after, {after}; exchange them")
    daily = []
    for month in (before, after):
        rows = rungs[rungs["month"] == pd.Timestamp(month)]
        wide = rows.pivot_table(index="side", columns="step", values="amount", sort=False)
        daily.append(wide / (next_start(month, "month") - month).days)
    old, new = daily
    parts = [name for name in STEPS if name == "repeat" or name not in _LEVELS]
    growth = (new["paid"] - old["paid"]).rename("growth")
    # a step down is negative on the ladder; as a part of what was paid it counts positive
    frames = [
        pd.DataFrame({"part": part, "before": STEPS[part] * old[part], "after": STEPS[part] * new[part]})
        for part in parts
    ]
    result = pd.concat(frames).join(growth).reset_index()
    result["change"] = result["after"] - result["before"]
    result["share"] = np.where(
        result["growth"] > 0, result["change"] / result["growth"].where(result["growth"] != 0), np.nan
    )
    return result[["side", "part", "before", "after", "change", "growth", "share"]]


def _sums(shop: Dataset, known: list[dt.date], lookback_days: int) -> pd.DataFrame:
    side, values = sides(shop)
    sold, refund = sold_lines(shop), "coalesce(cast(refund_amount as double), 0)"
    kept = f"(case when amount > 0 then 1 - {refund} / cast(amount as double) else 0 end)"
    aid = f"coalesce(cast(platform_subsidy as double), 0) * {kept}"
    net = f"cast(amount as double) - {refund} - {aid}"
    again = f"coalesce(previous >= placed - interval {lookback_days} day, false)"
    found = shop.engine.frame(
        f"""with orders as (select order_id, any_value(buyer_id) as buyer, min(paid_at) as placed from order_lines
                            where {sold} and paid_at >= $since and paid_at < $until group by order_id),
                 came as (select order_id, placed, lag(placed) over (partition by buyer order by placed, order_id) as previous
                          from orders),
                 lines as (select order_id, amount, refund_amount, platform_subsidy, paid_at, {side} as side, {sold} as sold
                           from order_lines where paid_at >= $first and paid_at < $until)
            select cast(date_trunc('month', paid_at) as date) as month, side, sum(cast(amount as double)) as paid,
                   sum(case when sold then 0 else cast(amount as double) end) as cancelled,
                   sum(case when sold then {refund} else 0 end) as refunded,
                   sum(case when sold then {aid} else 0 end) as subsidy,
                   sum(case when sold and not {again} then {net} else 0 end) as first_time,
                   sum(case when sold and {again} then {net} else 0 end) as repeat
            from lines left join came using (order_id) group by 1, 2 order by 1, 2""",
        {**values, "since": known[0] - dt.timedelta(days=lookback_days), "first": known[0],
         "until": next_start(known[-1], "month")},
    )  # fmt: skip
    return found.assign(month=pd.to_datetime(found["month"]))


def _long(sums: pd.DataFrame) -> pd.DataFrame:
    """Lay the sums out as levels and signed changes; the levels follow from what was taken off."""
    wide = sums.assign(settled=sums["paid"] - sums["cancelled"] - sums["refunded"])
    wide["net"] = wide["settled"] - wide["subsidy"]
    rows = wide.melt(["month", "side"], list(STEPS), var_name="step", value_name="amount")
    rows["amount"] *= rows["step"].map(STEPS)
    rows["kind"] = np.where(rows["step"].isin(_LEVELS), "level", "change")
    paid = rows[["month", "side"]].merge(sums[["month", "side", "paid"]], how="left")["paid"].to_numpy()
    rows["share"] = rows["amount"] / np.where(paid > 0, paid, np.nan)
    order = rows["step"].map(dict(zip(STEPS, range(len(STEPS)), strict=True)))
    rows = rows.assign(order=order).sort_values(["month", "side", "order"], kind="stable", ignore_index=True)
    return rows[["month", "side", "step", "kind", "amount", "share"]]
