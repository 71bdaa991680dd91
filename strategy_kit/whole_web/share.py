"""Share of wallet and level together, and what entering another platform did to sales here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.identifiers import places
from strategy_kit.inference import Student
from strategy_kit.ratio import fieller
from strategy_kit.tables_to_panel import open_merchants, sold_lines
from strategy_kit.whole_web.rows import FEWEST, MONTH, both_sides, cell_of, days_of, months_known

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

SIDES = ("on_platform", "off_platform", "total")


def wallet(
    shop: Dataset,
    by: Literal["all", "size_band", "category"] = "size_band",
    *,
    since: dt.date | None = None,
    through: dt.date | None = None,
) -> pd.DataFrame:
    """Return by month what merchants sell here and elsewhere, of those with any estimate in the window.

    The merchants are the same in each month: who has no estimate in a month sold nothing elsewhere, as far as is known. Of
    merchants without any estimate the total is not known; `covered` says how much of the sales here is known merchants'.

    Parameters
    ----------
    by
        Cells: all merchants as one, their size band or their category (frozen).
    since, through
        First and last day; all months that orders and estimates have in common by default.

    Returns
    -------
    DataFrame
        group, month, merchants (that sold anywhere), multi_homing (that sold elsewhere), on_platform, off_platform, total
        (currency), share (on_platform of total), covered (share of all sales here that these merchants make up), masked:
        True where fewer than 10 merchants sold anywhere, or sold elsewhere while some did; amounts are missing then.

    Raises
    ------
    DesignError
        If the table, a column or a common month is missing.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> wallet(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no offplatform_sales table, so what merchants sell elsewhere is \
not known; add it
    """
    months = months_known(shop, since, through)
    group = "'all'" if by == "all" else cell_of(shop, by)
    found = shop.engine.frame(
        f"""with known as ({both_sides(shop)}),
                 here as (select {group} as cell, cast(date_trunc('month', o.paid_at) as date) as month,
                                 cast(sum(o.amount) as double) as everyone
                          from order_lines o join merchants m on o.merchant_id = m.merchant_id
                          where {sold_lines(shop)} and o.paid_at >= $first and o.paid_at < $next group by 1, 2),
                 cells as (select {group} as cell, k.month, count(*) filter (where on_platform + off_platform > 0) as merchants,
                                  count(*) filter (where off_platform > 0) as multi_homing,
                                  sum(on_platform) as on_platform, sum(off_platform) as off_platform
                           from known k join merchants m on k.merchant_id = m.merchant_id group by 1, 2)
            select cells.cell as "group", cells.month, merchants, multi_homing, on_platform, off_platform, everyone
            from cells left join here on cells.cell = here.cell and cells.month = here.month order by 1, 2""",
        days_of(months),
    )
    total = found["on_platform"] + found["off_platform"]
    few = (found["merchants"] < FEWEST) | found["multi_homing"].between(1, FEWEST - 1)
    result = found.assign(
        month=pd.to_datetime(found["month"]),
        total=total,
        share=found["on_platform"] / total.where(total > 0),
        covered=found["on_platform"] / found["everyone"].where(found["everyone"] > 0),
    )
    amounts = [*SIDES, "share", "covered"]
    result[amounts] = result[amounts].mask(few)
    return result[["group", "month", "merchants", "multi_homing", *amounts]].assign(masked=few)


def growth_split(found: pd.DataFrame, *, months: int = 1) -> pd.DataFrame:
    """Split each cell's growth of the total into what is sold here and what is sold elsewhere, exactly.

    (total - before) / before = (change on the platform) / before + (change off it) / before.

    Parameters
    ----------
    found
        Of `wallet`.
    months
        Each month is compared with the one so many months before; 12 compares with the same season.

    Returns
    -------
    DataFrame
        group, month, merchants, total_before, total_after, on_platform_change, off_platform_change (currency), growth (of the
        total), from_on_platform, from_off_platform (shares of the total before, which add up to growth), share_before,
        share_after, share_change. Masked cells are left out.

    Raises
    ------
    ParameterError
        If `months` is no whole number of 1 or more.

    Examples
    --------
    >>> sold = pd.DataFrame({"group": "all", "month": pd.to_datetime(["2025-01-01", "2025-02-01"]), "merchants": 20})
    >>> sold = sold.assign(on_platform=[80.0, 84.0], off_platform=[20.0, 36.0], masked=False)
    >>> growth_split(sold)[["growth", "from_on_platform", "from_off_platform", "share_change"]].round(3).to_numpy().tolist()
    [[0.2, 0.04, 0.16, -0.1]]
    """
    if isinstance(months, bool) or not isinstance(months, int) or months < 1:  # type: ignore[redundant-expr]
        raise ParameterError(f"months is a whole number of 1 or more, not {months!r}")
    kept = found.loc[~found["masked"], ["group", "month", "merchants", "on_platform", "off_platform"]]
    earlier = kept.assign(month=kept["month"] + pd.DateOffset(months=months)).drop(columns="merchants")
    both = kept.merge(earlier, on=["group", "month"], suffixes=("", "_before"))
    before = both["on_platform_before"] + both["off_platform_before"]
    after, both = (both["on_platform"] + both["off_platform"])[before > 0], both[before > 0]
    before = before[before > 0]
    result = both[["group", "month", "merchants"]].assign(total_before=before, total_after=after)
    for side in SIDES[:2]:
        result[f"{side}_change"] = both[side] - both[f"{side}_before"]
    result["growth"] = (after - before) / before
    for side in SIDES[:2]:
        result[f"from_{side}"] = result[f"{side}_change"] / before
    shares = {
        "share_before": both["on_platform_before"] / before,
        "share_after": both["on_platform"] / after.where(after > 0),
    }
    result = result.assign(**shares)
    return result.assign(share_change=result["share_after"] - result["share_before"]).reset_index(drop=True)


def entry_panels(shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None) -> dict[str, Panel]:
    """Build panels of merchants by month, treated from their first month with sales elsewhere, for `did.group_time`.

    The window begins with the first month that has estimates: who is there then may have come at any time before, and is left
    out and counted, as are merchants who opened later (without opened_on: first sold later). The first month elsewhere is
    treated in part, as entry falls inside it.
    Merchants of the roster without any estimate count as never elsewhere.

    Returns
    -------
    dict
        "on_platform", "off_platform" and "total", in currency a month, of the same merchants.

    Raises
    ------
    DesignError
        If the table or three common months are missing, or nobody enters after the first month.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> entry_panels(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no offplatform_sales table, so what merchants sell elsewhere is \
not known; add it
    """
    from strategy_kit.panel import Panel

    months = months_known(shop, since, through, least=3)
    roster = shop.engine.frame(
        f"""select m.merchant_id, m.category, m.here, o.entered from ({open_merchants(shop, "month")}) m
            left join (select merchant_id, min({MONTH}) as entered from offplatform_sales where gmv > 0 group by 1) o
                on m.merchant_id = o.merchant_id order by 1""",
        {"first": months[0]},
    ).set_index("merchant_id")
    late = ~roster["here"].to_numpy(dtype=bool)
    roster, entered = roster[~late], pd.to_datetime(roster.loc[~late, "entered"])
    if not entered.between(pd.Timestamp(months[1]), pd.Timestamp(months[-1])).any():
        raise DesignError(
            f"no merchant is first seen elsewhere after {months[0]}, when the estimates begin, so entry has no month; "
            "take earlier estimates"
        )
    sums = shop.engine.frame(
        f"""select merchant_id as unit, month, sum(on_platform) as on_platform, sum(off_platform) as off_platform
            from ({both_sides(shop, everyone=True)}) as sides group by 1, 2""",
        days_of(months),
    )
    times = pd.DatetimeIndex(months)
    row, column = places(sums["unit"], roster.index), times.get_indexer(pd.DatetimeIndex(sums["month"]))
    values = np.zeros((2, len(roster), len(months)))
    values[:, row[row >= 0], column[row >= 0]] = sums[list(SIDES[:2])].to_numpy(float)[row >= 0].T
    notes = (
        (f"merchants who opened after {months[0]}, left out: {int(late.sum())} of {len(late)}",) if late.any() else ()
    )
    shown = dict(zip(SIDES, (*values, values.sum(axis=0)), strict=True))
    panels = {
        name: Panel.from_matrix(
            outcome,
            treated_from=entered,
            periods=times,
            units=roster.index,
            category=roster["category"],
            name=f"sales {name.replace('_', ' ')}",
        ).untreated_at_first()
        for name, outcome in shown.items()
    }
    return {name: replace(panel, notes=(*panel.notes, *notes)) for name, panel in panels.items()}


def diversion(
    on_platform: Estimates, off_platform: Estimates, total: Estimates, *, level: float = 0.95
) -> pd.DataFrame:
    """Divide what entry costs here by what it brings elsewhere: of each unit sold elsewhere, how much would be sold here.

    The interval is Fieller's. Below 0, entry added to sales here.

    Parameters
    ----------
    on_platform, off_platform, total
        The same estimator on the panels of `entry_panels`: 2·cov(on, off) is the variance of the total less the two.

    Returns
    -------
    DataFrame
        One row: estimate, conf_low, conf_high, form (bounded, outside, everything).

    Raises
    ------
    ParameterError
        If `total` is not the sum of the other two.
    DesignError
        If an effect has no standard error, as where sales elsewhere do not vary.

    Examples
    --------
    >>> from strategy_kit.did import group_time, overall
    >>> from strategy_kit.panel import Panel
    >>> here = np.array([[5.0, 4.0], [6.0, 5.5], [3.0, 3.1], [2.0, 1.9]])
    >>> there = np.array([[0.0, 3.0], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    >>> fits = [overall(group_time(Panel.from_matrix(y, treated_from=[2, 2, 0, 0]))) for y in (here, there, here + there)]
    >>> float(diversion(*fits)["estimate"][0].round(9))
    0.3
    """
    (lost, error), (won, won_error), (both, both_error) = on_platform.average, off_platform.average, total.average
    if not np.isclose(both, lost + won, rtol=1e-9, atol=1e-9 * (abs(lost) + abs(won))):
        raise ParameterError(f"`total` is the effect on both sides added up, {lost + won:.6g}, not {both:.6g}")
    if not np.isfinite([error, won_error, both_error]).all():
        raise DesignError("an effect of entry has no standard error; wait for months in which sales elsewhere differ")
    shared = (both_error**2 - error**2 - won_error**2) / 2
    law = on_platform.law_of_average
    student = law if isinstance(law, Student) else Student()
    spread = np.array([[error**2, -shared], [-shared, won_error**2]])
    low, high, form = fieller(-lost, won, spread, law=student, level=level)
    told = {"estimate": [-lost / won if won else np.nan], "conf_low": low.ravel(), "conf_high": high.ravel()}
    return pd.DataFrame(told | {"form": form.ravel()})
