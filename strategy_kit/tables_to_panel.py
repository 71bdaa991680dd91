"""From tables to a panel: sums by unit and period in the engine, zero where nothing was sold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, nearest, refuse
from strategy_kit.metrics import plain_metric
from strategy_kit.periods import next_start

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel
    from strategy_kit.periods import Period

CATEGORY = "coalesce(category, 'unknown')"
POOLED = "all_other"


def sold_lines(shop: Dataset) -> str:
    """Return the SQL condition of an order line that was not cancelled."""
    return "coalesce(status, 'paid') <> 'cancelled'" if "status" in shop.columns("order_lines") else "true"


def merchant_panel(
    shop: Dataset, outcome: str, period: Period, periods: list[dt.date], categories: Sequence[str] | None
) -> Panel:
    """Carry out `Dataset.panel`, where everything is described."""
    if "support" not in shop.tables:
        raise DesignError(
            f"data set {shop.name!r} has no support table, so that no merchant's treatment is known; add the table, or "
            "compare categories with category_panel"
        )
    roster = _roster(shop, period)
    if categories is not None:
        known = roster["category"].dropna().unique()
        absent = [f"{c!r} is no merchant's category{nearest(c, known)}" for c in categories if c not in known]
        refuse(ParameterError, "categories", absent)
        roster = roster[roster["category"].isin(list(categories))]
    here = roster["opened"].isna() | (pd.to_datetime(roster["opened"]) <= pd.Timestamp(periods[0]))
    if not here.any():
        raise DesignError(f"no merchant was open by {periods[0]} in the categories asked for; choose others")
    late = int((~here).sum())
    panel = _panel(shop, outcome, period, periods, roster[here])
    note = f"{late} merchants opened after {periods[0]} and were left out"
    return replace(panel, notes=(*panel.notes, note)) if late else panel


def category_panel(shop: Dataset, outcome: str, period: Period, periods: list[dt.date], pool_below: float) -> Panel:
    """Carry out `Dataset.category_panel`, where everything is described."""
    pilots = shop.pilot.starts
    found = shop.engine.frame(f"select distinct {CATEGORY} as category from order_lines order by 1")
    unsold = [category for category in pilots if category not in set(found["category"])]
    if unsold:
        raise DesignError(
            f"pilot category {', '.join(unsold)} has no order line, so it cannot be compared; correct [pilot]"
        )
    later = [category for category, day in pilots.items() if day >= next_start(periods[-1], period)]
    found = found[~found["category"].isin(later)]
    roster = found.assign(treated_from=pd.to_datetime(found["category"].map(pilots))).set_index("category", drop=False)
    panel = _panel(shop, outcome, period, periods, roster.assign(number=found.index), (CATEGORY, "order_lines"))
    if later:
        panel = replace(panel, notes=(*panel.notes, f"pilots that had not begun are left out: {', '.join(later)}"))
    if pool_below <= 0:
        return panel
    before = panel.periods < (panel.cohorts[0] if len(panel.cohorts) else pd.Timestamp(min(pilots.values())))
    if not before.any():
        raise DesignError(
            f"no period lies before {panel.periods[0].date()}, when the pilots start; begin the data earlier"
        )
    share = panel.outcome[:, before].sum(axis=1) / max(panel.outcome[:, before].sum(), 1e-300)
    small = ((share < pool_below) | (panel.outcome == 0).any(axis=1)) & (panel.cohort < 0)
    if not small.any():
        return panel
    from strategy_kit.panel import Panel

    pooled = Panel.from_matrix(
        np.vstack([panel.outcome[~small], panel.outcome[small].sum(axis=0)]),
        treated_from=pd.concat([roster["treated_from"][~small], pd.Series([pd.NaT])]),
        periods=panel.periods,
        units=[*panel.units[~small], POOLED],
        category=[*panel.units[~small], POOLED],
        name=outcome,
    )
    return replace(pooled, notes=(*panel.notes, f"{int(small.sum())} small categories are added up as {POOLED}"))


def _roster(shop: Dataset, period: Period) -> pd.DataFrame:
    opened = "opened_on" if "opened_on" in shop.columns("merchants") else "null"
    found = shop.engine.frame(
        f"""select m.merchant_id, any_value(m.category) as category, min(s.started_on) as treated_from,
                   coalesce(any_value(m.{opened}), min(o.first)) as opened
            from merchants m left join support s using (merchant_id)
            left join (select merchant_id, cast(date_trunc('{period}', min(paid_at)) as date) as first
                       from order_lines group by all) o
                using (merchant_id)
            group by m.merchant_id order by m.merchant_id""".replace("m.null", "null")
    ).set_index("merchant_id")
    return found.assign(number=np.arange(len(found)))


def _panel(
    shop: Dataset,
    outcome: str,
    period: Period,
    periods: list[dt.date],
    roster: pd.DataFrame,
    units: tuple[str, str] = ("merchant_id", "merchants"),
) -> Panel:
    """Lay sums out by unit and period; `units` are an expression and the table whose values of it `roster` numbers in order.

    The engine sends numbers: texts of as many rows as merchants have weeks would take more memory than the panel.
    """
    from strategy_kit.panel import Panel

    metric = plain_metric(outcome, shop.columns("order_lines"))
    sold, (key, table) = sold_lines(shop), units
    sums = shop.engine.frame(
        f"""with units as (select "the unit", row_number() over (order by "the unit") - 1 as "its number"
                           from (select distinct {key} as "the unit" from {table})),
                 sums as (select {key} as "the unit", cast(date_trunc('{period}', paid_at) as date) as period,
                                 cast(coalesce({metric.sql}, 0) as double) as y
                          from order_lines
                          where {sold} and paid_at >= $first and paid_at < cast($last as date) + interval 1 {period}
                          group by 1, 2)
            select "its number" as unit, period, y from sums join units using ("the unit")""",
        {"first": periods[0], "last": periods[-1]},
    )
    times = pd.DatetimeIndex(periods)
    place = np.full(int(roster["number"].max()) + 1, -1)
    place[roster["number"]] = np.arange(len(roster))
    known = sums[sums["unit"] < len(place)]
    row, column = place[known["unit"]], times.get_indexer(pd.DatetimeIndex(known["period"]))
    values = np.zeros((len(roster) + 1, len(periods)))
    values[row, column] = known["y"]  # what is not on the roster falls into the last row
    return Panel.from_matrix(
        values[:-1],
        treated_from=roster["treated_from"],
        periods=times,
        units=roster.index,
        category=roster["category"],
        name=outcome,
    )
