"""Where the change of platform revenue came from, and how much of added sales the platform keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, refuse
from strategy_kit.inference import Student
from strategy_kit.periods import day_of
from strategy_kit.platform_health.costs import priced, require, spent, stays
from strategy_kit.ratio import fieller
from strategy_kit.tables_to_panel import CATEGORY, sold_lines

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from strategy_kit.dataset import Dataset
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
BRIDGE = ("growth", "mix", "rate", "subsidies", "support")


def take_rate_bridge(shop: Dataset, before: tuple[dt.date, dt.date], after: tuple[dt.date, dt.date]) -> pd.DataFrame:
    """Split the change of platform revenue between two windows into growth, mix and rate, less subsidies and support.

    With GMV G, shares s of categories and their take rates r, revenue is G·Σ s·r. Each change is taken at the mean of both
    windows for all that is held, so that no order of the steps matters and nothing is left over.

    Parameters
    ----------
    before, after
        First and last day of each window, of the same number of days.

    Returns
    -------
    DataFrame
        One row a category: category; gmv_before, gmv_after, fees_before, fees_after; growth, mix, rate, which add up to
        the change of fees of the row and of all rows; subsidies and support, what rose of either with its sign turned;
        net, the sum of the five. Support cost is spread evenly over the days of a stay, one without an end lasting to the
        end of the data, and belongs to the merchant's frozen category.

    Raises
    ------
    ParameterError
        If the windows differ in length, overlap, or lie outside the data.
    DesignError
        If order lines have no platform_fee, a window no sale, or a stay in it no cost while others have one.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> spring, summer = (dt.date(2025, 3, 3), dt.date(2025, 3, 30)), (dt.date(2025, 6, 30), dt.date(2025, 7, 27))
    >>> found = take_rate_bridge(sk.open_dataset("data/sample"), spring, summer)
    >>> change = found["fees_after"].sum() - found["fees_before"].sum()
    >>> bool(abs(found[["growth", "mix", "rate"]].to_numpy().sum() - change) < 1e-9)
    True
    """
    before, after = (
        (day_of(first, name), day_of(last, name)) for name, (first, last) in {"before": before, "after": after}.items()
    )
    _refuse_windows(shop, before, after)
    require(shop, "order_lines", "platform_fee")
    sides = [_revenue(shop, window) for window in (before, after)]
    for window, side in zip((before, after), sides, strict=True):
        if not side["gmv"].sum() > 0:
            raise DesignError(
                f"nothing was sold from {window[0]} to {window[1]}, so there is no take rate; take other days"
            )
        if not side["known"].sum():
            raise DesignError(
                f"no line from {window[0]} to {window[1]} has its platform_fee, so there is no take rate; enter the fees"
            )
    names = sides[0].index.union(sides[1].index).sort_values()
    first, last = (side.reindex(names, fill_value=0.0) for side in sides)
    result = pd.DataFrame({"category": names})
    for name in ("gmv", "fees"):
        result[f"{name}_before"], result[f"{name}_after"] = first[name].to_numpy(), last[name].to_numpy()
    result = result.assign(**bridge_parts(first["gmv"], first["fees"], last["gmv"], last["fees"]))
    for name in ("subsidies", "support"):
        result[name] = first[name].to_numpy() - last[name].to_numpy()
    return result.assign(net=result[list(BRIDGE)].sum(axis=1))


def bridge_parts(gmv: ArrayLike, fees: ArrayLike, gmv_after: ArrayLike, fees_after: ArrayLike) -> dict[str, Array]:
    """Split the change of fees of C categories into growth of all GMV, mix over categories and rate within them, each (C,).

    A category that sold in one window only has that window's rate in both, so that it counts as mix. Fees of a window in which
    it sold nothing have no rate: their change, beyond growth, counts as rate.

    Examples
    --------
    >>> parts = bridge_parts([100, 100], [10, 2], [220, 110], [22, 2.2])
    >>> {name: round(float(values.sum()), 6) for name, values in parts.items()}
    {'growth': 8.666667, 'mix': 3.533333, 'rate': 0.0}
    """
    sold, fee = (np.asarray(pair, dtype=float) for pair in ((gmv, gmv_after), (fees, fees_after)))
    total = sold.sum(axis=1)
    share = sold / total[:, None]
    own = np.divide(fee, sold, out=np.full(fee.shape, np.nan), where=sold > 0)
    rate = np.where(np.isnan(own), own[::-1], own)
    rate = np.where(np.isnan(rate), 0.0, rate)
    per_sale = fee / total[:, None]
    middle = total.mean()
    unsold = middle * np.diff(np.where(sold > 0, 0.0, per_sale), axis=0)[0]
    return {
        "growth": (total[1] - total[0]) * per_sale.mean(axis=0),
        "mix": middle * (share[1] - share[0]) * rate.mean(axis=0),
        "rate": middle * share.mean(axis=0) * (rate[1] - rate[0]) + unsold,
    }


def revenue_panels(
    shop: Dataset, *, since: dt.date, through: dt.date, categories: Sequence[str] | None = None
) -> dict[str, Panel]:
    """Build panels of merchants by week whose effects `pass_through` and `net_contribution` compare.

    Returns
    -------
    dict
        "gmv"; "fees"; "together", the sum of both, whose variance tells how the two vary together; and "contribution",
        fees less platform subsidies, where subsidies are known.

    Raises
    ------
    DesignError
        If order lines have no platform_fee, or there is no support table.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> sorted(revenue_panels(sk.open_dataset("data/sample"), since=dt.date(2025, 4, 7), through=dt.date(2025, 7, 21)))
    ['contribution', 'fees', 'gmv', 'together']
    """
    require(shop, "order_lines", "platform_fee")
    gmv, fees = (
        shop.panel(name, categories=categories, since=since, through=through).collected() for name in ("gmv", "fees")
    )
    result = {
        "gmv": gmv,
        "fees": fees,
        "together": replace(gmv, outcome=gmv.outcome + fees.outcome, name="gmv and fees"),
    }
    if "platform_subsidy" in shop.columns("order_lines"):
        paid = shop.panel("subsidies", categories=categories, since=since, through=through).collected()
        result["contribution"] = replace(fees, outcome=fees.outcome - paid.outcome, name="fees less subsidies")
    return result


def pass_through(fees: Estimates, gmv: Estimates, together: Estimates, *, level: float = 0.95) -> pd.DataFrame:
    """Divide the effect on fees by the effect on GMV: what the platform earns of one unit of sales that support added.

    The interval is Fieller's: it holds the ratios that are not refused, and may be all outside its ends, or everything,
    where support may not have moved GMV at all.

    Parameters
    ----------
    fees, gmv, together
        The same estimator on the panels of `revenue_panels`: 2·cov(fees, gmv) is the variance of the sum less the two.

    Returns
    -------
    DataFrame
        One row: estimate, conf_low, conf_high, form.

    Raises
    ------
    ParameterError
        If `together` is not the sum of the other two.

    Examples
    --------
    >>> from strategy_kit.did import group_time, overall
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 4.0], [1.0, 5.0], [3.0, 3.0], [2.0, 2.5]])
    >>> parts = [overall(group_time(Panel.from_matrix(by * y, treated_from=[2, 2, 0, 0]))) for by in (0.1, 1, 1.1)]
    >>> float(pass_through(*parts)["estimate"][0].round(9))
    0.1
    """
    (over, error), (under, under_error), (both, both_error) = fees.average, gmv.average, together.average
    if not np.isclose(both, over + under, rtol=1e-9, atol=1e-9 * (abs(over) + abs(under))):
        raise ParameterError(f"`together` is the effect on fees and GMV added up, {over + under:.6g}, not {both:.6g}")
    shared = (both_error**2 - error**2 - under_error**2) / 2
    spread = np.array([[error**2, shared], [shared, under_error**2]])
    law = gmv.law_of_average
    student = law if isinstance(law, Student) else Student()
    low, high, form = fieller(over, under, spread, law=student, level=level)
    estimate = over / under if under else np.nan
    return pd.DataFrame(
        {"estimate": [estimate], "conf_low": low.ravel(), "conf_high": high.ravel(), "form": form.ravel()}
    )


def _revenue(shop: Dataset, window: tuple[dt.date, dt.date]) -> pd.DataFrame:
    subsidy = "coalesce(platform_subsidy, 0)" if "platform_subsidy" in shop.columns("order_lines") else "0"
    found = shop.engine.frame(
        f"""select {CATEGORY} as category, cast(sum(amount) as double) as gmv,
            cast(sum(coalesce(platform_fee, 0)) as double) as fees, count(platform_fee) as known,
            cast(sum({subsidy}) as double) as subsidies
            from order_lines where {sold_lines(shop)} and cast(paid_at as date) between $first and $last group by 1""",
        {"first": window[0], "last": window[1]},
    ).set_index("category")
    if "support" not in shop.tables or "cost" not in shop.columns("support"):
        return found.assign(support=0.0)
    held = stays(shop, "coalesce(m.category, 'unknown')", "join merchants m using (merchant_id)")
    if held["cost"].isna().all():
        return found.assign(support=0.0)
    held = priced(held[(held["first"] <= pd.Timestamp(window[1])) & (held["last"] >= pd.Timestamp(window[0]))])
    days = [np.full((len(held), 1), day, dtype="datetime64[D]") for day in window]
    cost = pd.Series(spent(held, *days)[:, 0]).groupby(held["unit"].to_numpy()).sum()
    found = found.reindex(found.index.union(cost[cost > 0].index), fill_value=0.0)
    return found.assign(support=cost.reindex(found.index).fillna(0.0))


def _refuse_windows(shop: Dataset, before: tuple[dt.date, dt.date], after: tuple[dt.date, dt.date]) -> None:
    laws = [f"a window ends on or after its first day, not {first} to {last}; exchange them"
            for first, last in (before, after) if last < first]  # fmt: skip
    lengths = [(last - first).days + 1 for first, last in (before, after)]
    if lengths[0] != lengths[1]:
        laws.append(f"both windows have the same number of days, not {lengths[0]} and {lengths[1]}; choose equal ones")
    if before[1] >= after[0]:
        laws.append(
            f"the first window ends before the second, not on {before[1]} with the other from {after[0]}; part them"
        )
    if before[0] < shop.data_from or after[1] > shop.settled_through:
        laws.append(f"windows lie within {shop.data_from} to {shop.settled_through}; choose days of the data")
    refuse(ParameterError, "bridge", laws)
