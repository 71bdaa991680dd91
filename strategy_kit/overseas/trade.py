"""What is sold abroad by market, what exchange rates make of it, and the growth of joiners that is no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.overseas.joining import ABROAD, LEVER, require_columns
from strategy_kit.periods import day_of, period_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

YEAR_WEEKS = 52


def constant_currency(shop: Dataset, *, base: dt.date, through: dt.date | None = None) -> pd.DataFrame:
    """Return overseas sales by month and market at current rates, and at those of a base month.

    A currency's rate in a month is what its sales were worth in the data set's currency over what they were in their own. One
    that was not sold in the base month is taken at the rate of the first month since in which it was. Amounts are those of the
    data set, already converted by fx_rate: what is undone here is the change of that rate.

    Parameters
    ----------
    base
        First day of a complete month.
    through
        A day of the last month; the last complete one by default.

    Returns
    -------
    DataFrame
        month, market, merchants, current and constant (data set's currency), late (currencies taken at a later rate); one row a
        month and market since the base, and one a month with market "all", whose amounts are the sums.

    Raises
    ------
    DesignError
        If order_lines lacks market, currency or fx_rate, or nothing was sold abroad since the base.
    ParameterError
        If the base is no complete month of the data set.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> paid = pd.to_datetime(["2025-01-15", "2025-02-15"])
    >>> lines = pd.DataFrame({"order_id": [1, 2], "line_id": 1, "buyer_id": "b", "merchant_id": "m", "category": "toys",
    ...                       "paid_at": paid, "amount": [10.0, 11.0], "market": "US", "currency": "USD", "fx_rate": [7.0, 7.7]})
    >>> shop = sk.dataset_from_frames(lines, pd.DataFrame({"merchant_id": ["m"], "category": "toys"}), currency="CNY",
    ...     timezone="Asia/Shanghai", data_from=dt.date(2025, 1, 1), data_through=dt.date(2025, 2, 28))
    >>> found = constant_currency(shop, base=dt.date(2025, 1, 1))
    >>> found[found["market"] == "US"][["current", "constant"]].round(2).to_numpy().tolist()
    [[70.0, 70.0], [84.7, 77.0]]
    """
    require_columns(shop, ["market", "currency", "fx_rate"])
    months = shop.complete_periods("month", through)
    if base not in months:
        raise ParameterError(f"base is the first day of a complete month of data set {shop.name!r}, not {base}")
    own = shop.description.currency
    rows = shop.engine.frame(
        f"""select month, market, coin, cast(sum(amount) as double) as current, sum(cast(amount as double) / rate) as volume
            from (select cast(date_trunc('month', paid_at) as date) as month, market, amount, coalesce(currency, $own) as coin,
                         case when coalesce(currency, $own) = $own then 1.0 else cast(fx_rate as double) end as rate
                  from order_lines where {sold_lines(shop)} and {ABROAD} and paid_at >= $first
                        and paid_at < cast($last as date) + interval 1 month) as sold
            group by 1, 2, 3 order by 1, 2, 3""",
        {"first": base, "last": months[-1], "own": own},
    )
    rows = rows[rows["volume"] > 0]
    if rows.empty:
        raise DesignError(
            f"nothing was sold abroad from {base} to {months[-1]}, so no growth can be split; take other months"
        )
    sums = rows.groupby(["coin", "month"])[["current", "volume"]].sum().reset_index()
    first = sums.drop_duplicates("coin").set_index("coin")
    rate = first["current"] / first["volume"]
    late = first.index[first["month"] != pd.Timestamp(base)]
    rows = rows.assign(constant=rows["volume"] * rows["coin"].map(rate), late=rows["coin"].isin(late))
    found = rows.groupby(["month", "market"], as_index=False).agg({"current": "sum", "constant": "sum", "late": "sum"})
    total = found.groupby("month")[["current", "constant"]].sum()
    since = pd.DatetimeIndex([month for month in months if month >= base], name="month")
    total = total.reindex(since.astype(total.index.dtype), fill_value=0.0).reset_index().assign(market="all")
    total["late"] = total["month"].map(rows[rows["late"]].groupby("month")["coin"].nunique()).fillna(0).astype(int)
    days = {"first": base, "last": months[-1]}
    counts = _merchants(shop, "cast(date_trunc('month', paid_at) as date)", "month", days)
    result = pd.concat([found, total]).merge(counts, on=["month", "market"], how="left")
    result["merchants"] = result["merchants"].fillna(0).astype("int64")
    order = ["month", "market", "merchants", "current", "constant", "late"]
    return result.sort_values(["month", "market"], ignore_index=True)[order]


def growth_split(sales: pd.DataFrame) -> pd.DataFrame:
    """Split growth from the first to the last month of `constant_currency` into volume and currency.

    Growth is Σ q₁r₁ - Σ q₀r₀ over currencies, with sales q in their own currency and rates r. Volume is Σ (q₁ - q₀)r₀ and
    currency Σ q₁(r₁ - r₀), which add up to it exactly.

    Returns
    -------
    DataFrame
        One row a market, "all" first: market, merchants (in the month of the two in which there are fewer), before, after,
        volume, currency (amounts), growth, growth_constant (shares; missing where nothing was sold before).

    Examples
    --------
    >>> months = pd.to_datetime(["2025-01-01", "2025-02-01"])
    >>> sales = pd.DataFrame({"month": months, "market": "all", "merchants": 12, "current": [100.0, 121.0],
    ...                       "constant": [100.0, 110.0]})
    >>> growth_split(sales)[["volume", "currency", "growth", "growth_constant"]].round(3).to_numpy().tolist()
    [[10.0, 11.0, 0.21, 0.1]]
    """
    ends = sales["month"].min(), sales["month"].max()
    if ends[0] == ends[1]:
        raise DesignError("growth takes two complete months with sales abroad, but there is one; wait for the next")
    names = pd.Index(["all", *sorted(set(sales["market"]) - {"all"})], name="market")
    before, after = (sales[sales["month"] == end].set_index("market").reindex(names) for end in ends)
    amounts = [part[["current", "constant"]].fillna(0.0) for part in (before, after)]
    split = pd.DataFrame(
        {"merchants": np.minimum(before["merchants"].fillna(0), after["merchants"].fillna(0)).astype(int)}
    )
    split = split.assign(before=amounts[0]["current"], after=amounts[1]["current"])
    split["volume"] = amounts[1]["constant"] - amounts[0]["constant"]
    split["currency"] = (amounts[1]["current"] - amounts[1]["constant"]) - (
        amounts[0]["current"] - amounts[0]["constant"]
    )
    held = split["before"].where(split["before"] > 0)
    split = split.assign(growth=split["after"] / held - 1, growth_constant=split["volume"] / held)
    return split.reset_index()


def markets(shop: Dataset, *, since: dt.date, through: dt.date) -> pd.DataFrame:
    """Return what is sold in each market abroad over a window, the year before, and what the platform keeps of it.

    Returns
    -------
    DataFrame
        market, merchants, gmv, before (the same weeks 52 weeks earlier; missing where the data do not reach back), kept (fees
        less subsidies, before the cost of the programme; missing without these columns), the largest first.

    Raises
    ------
    DesignError
        If order_lines has no market, or nothing was sold abroad in the window.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> found = markets(sk.open_dataset("data/sample"), since=dt.date(2025, 5, 5), through=dt.date(2025, 7, 21))
    >>> "domestic" in set(found["market"])
    False
    """
    require_columns(shop, ["market"])
    known = {"platform_fee", "platform_subsidy"} <= set(shop.columns("order_lines"))
    kept = "coalesce(platform_fee, 0) - coalesce(platform_subsidy, 0)" if known else "cast(null as double)"

    def sums(first: dt.date, last: dt.date) -> pd.DataFrame:
        return shop.engine.frame(
            f"""select market, count(distinct merchant_id) as merchants, cast(sum(amount) as double) as gmv,
                       cast(sum({kept}) as double) as kept
                from order_lines where {sold_lines(shop)} and {ABROAD} and paid_at >= $first
                     and paid_at < cast($last as date) + interval 1 week group by 1 order by 3 desc, 1""",
            {"first": first, "last": last},
        )

    since, through = day_of(since, "since"), period_start(day_of(through, "through"), "week")
    found = sums(since, through)
    if found.empty:
        raise DesignError(
            f"nothing was sold abroad from {since} to {through}, so no market can be shown; take other weeks"
        )
    year = pd.Timedelta(weeks=YEAR_WEEKS).to_pytimedelta()
    reaches = shop.data_from <= since - year
    before = sums(since - year, through - year).set_index("market")["gmv"] if reaches else pd.Series(dtype=float)
    found["before"] = found["market"].map(before).astype(float).fillna(0.0 if reaches else np.nan)
    return found[["market", "merchants", "gmv", "before", "kept"]]


def naive_growth(shop: Dataset, *, since: dt.date, through: dt.date) -> pd.DataFrame:
    """Return how much faster joiners grew than the market: what is often shown, and no effect of joining.

    Who grows by itself is likelier to join, so that joiners would have outgrown the market without the programme too. The column
    `growth_before` shows it: growth within the weeks in which nobody had joined yet.

    Returns
    -------
    DataFrame
        group ("joiners", with other levers or not, "market", all merchants, and "others", the market without joiners), merchants,
        before and after (mean weekly sales before the first joining and from then on), growth, early and late (mean weekly sales
        in the halves of the weeks before), growth_before.

    Raises
    ------
    DesignError
        If there is no support table, nobody joined in the window, or fewer than two weeks lie before.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> naive_growth(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: no merchant of data set 'sample' has the lever 'overseas'; enter who joined in support
    """
    if "support" not in shop.tables:
        raise DesignError(f"data set {shop.name!r} has no support table, so it is not known who joined; add the table")
    weeks = shop.complete_periods("week", through, since=since)
    if not weeks:
        raise DesignError(f"data set {shop.name!r} has no complete week from {since} to {through}; take other days")
    rows = shop.engine.frame(
        f"""select s.started_on is not null as joined, o.week, cast(sum(o.amount) as double) as amount
            from (select merchant_id, cast(date_trunc('week', paid_at) as date) as week, amount from order_lines
                  where {sold_lines(shop)} and paid_at >= $first and paid_at < cast($last as date) + interval 1 week) as o
            left join ({_JOINED}) as s on o.merchant_id = s.merchant_id group by 1, 2""",
        {"lever": LEVER, "first": weeks[0], "last": weeks[-1]},
    )
    who = shop.engine.frame(
        f"""select count(*) as everyone, count(s.started_on) as joined, min(s.started_on) as first
            from merchants m left join ({_JOINED}) as s on m.merchant_id = s.merchant_id""",
        {"lever": LEVER, "last": weeks[-1]},
    ).iloc[0]
    if not who["joined"]:
        raise DesignError(f"no merchant of data set {shop.name!r} has the lever {LEVER!r}; enter who joined in support")
    times = pd.DatetimeIndex(weeks)
    before = times < pd.Timestamp(who["first"]).to_period("W").start_time
    if before.sum() < 2:
        raise DesignError(
            f"fewer than two weeks lie before the first joining ({pd.Timestamp(who['first']).date()}); begin earlier"
        )
    wide = rows.pivot_table(index="week", columns="joined", values="amount", aggfunc="sum")
    wide = wide.reindex(times).reindex(columns=[True, False]).fillna(0.0)
    paths = {"joiners": wide[True], "market": wide.sum(axis=1), "others": wide[False]}
    early = np.arange(len(times)) < int(before.sum()) // 2
    spans = {"before": before, "after": ~before, "early": early, "late": before & ~early}
    found = pd.DataFrame(
        {name: {group: path[held].mean() for group, path in paths.items()} for name, held in spans.items()}
    )
    everyone, joined = int(who["everyone"]), int(who["joined"])
    found.insert(0, "merchants", [joined, everyone, everyone - joined])
    found = found.assign(growth=found["after"] / found["before"] - 1, growth_before=found["late"] / found["early"] - 1)
    return found.rename_axis("group").reset_index()


_JOINED = """select merchant_id, min(started_on) as started_on from support
             where lever = $lever and started_on < cast($last as date) + interval 1 week group by 1"""


def _merchants(shop: Dataset, period: str, name: str, days: dict[str, dt.date]) -> pd.DataFrame:
    """Count merchants by period and market, and in all markets abroad together, where one may be in several."""
    query = f"""select {period} as {name}, {{market}} as market, count(distinct merchant_id) as merchants
        from order_lines where {sold_lines(shop)} and {ABROAD} and paid_at >= $first
             and paid_at < cast($last as date) + interval 1 month group by 1, 2"""
    return pd.concat([shop.engine.frame(query.format(market=market), days) for market in ("market", "'all'")])
