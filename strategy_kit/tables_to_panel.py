"""From tables to a panel: sums by unit and period in the engine, zero where nothing was sold."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.engine import DistantEngine
from strategy_kit.errors import DesignError, ParameterError, nearest, refuse
from strategy_kit.formats import Count
from strategy_kit.identifiers import places
from strategy_kit.metrics import plain_metric
from strategy_kit.periods import next_start, period_start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strategy_kit.dataset import Dataset
    from strategy_kit.moment_panel import MomentPanel
    from strategy_kit.panel import Panel
    from strategy_kit.periods import Period

CATEGORY = "coalesce(category, 'unknown')"
POOLED = "all_other"
_DAY = dt.timedelta(days=1)


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
    engine, roster, first = shop.engine, _roster(shop, period), {"first": periods[0]}
    each = f"select *, 1 as n from ({roster}) order by merchant_id"
    counted = f"select treated_from, category, here, count(*) as n from ({roster}) group by 1, 2, 3 order by 1, 2, 3"

    def asked_for(rows: pd.DataFrame) -> pd.DataFrame:
        return rows if categories is None else rows[rows["category"].isin(list(categories))]

    def collected() -> Panel:
        rows = asked_for(engine.frame(each, first))
        return panel_of_merchants(shop, outcome, period, periods, rows[rows["here"]].set_index("merchant_id"))

    found = engine.frame(counted if isinstance(engine, DistantEngine) else each, first)
    if categories is not None:
        known = found["category"].dropna().unique()
        absent = [f"{c!r} is no merchant's category{nearest(c, known)}" for c in categories if c not in known]
        refuse(ParameterError, "categories", absent)
    rows = asked_for(found)
    here = rows[rows["here"]]
    if here.empty:
        raise DesignError(f"no merchant was open by {periods[0]} in the categories asked for; choose others")
    if isinstance(engine, DistantEngine):
        panel: Panel = _summed(engine, _Asked(shop, outcome, period, periods), here, collected)
    else:
        panel = panel_of_merchants(shop, outcome, period, periods, here.set_index("merchant_id"))
    late = Count(rows["n"].sum() - here["n"].sum())
    told = f"{late} {late:merchant|merchants} opened after {periods[0]} and {late:was|were} left out"
    return panel.noting(told) if late else panel


def category_panel(shop: Dataset, outcome: str, period: Period, periods: list[dt.date], pool_below: float) -> Panel:
    """Carry out `Dataset.category_panel`, where everything is described."""
    pilots = shop.pilot.starts
    within = f"select distinct {CATEGORY} as category from order_lines where {_within(period)} order by 1"
    found = shop.engine.frame(within, _span(periods))
    unsold = [category for category in pilots if category not in set(found["category"])]
    if unsold:
        raise DesignError(
            f"pilot category {', '.join(unsold)} has no order line, so it cannot be compared; correct [pilot]"
        )
    later = [category for category, day in pilots.items() if day >= next_start(periods[-1], period)]
    found = found[~found["category"].isin(later)]
    roster = found.assign(treated_from=pd.to_datetime(found["category"].map(pilots))).set_index("category", drop=False)
    sums = shop.engine.frame(_cells(shop, outcome, period, CATEGORY), _span(periods))
    panel = _laid_out(roster, periods, outcome, places(sums["unit"], roster.index), sums)
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
    small |= (panel.units == POOLED) & (panel.cohort < 0)  # a shop may have a category of that name
    rest = panel.outcome[small].sum(axis=0)
    if not plain_metric(outcome, shop.columns("order_lines")).additive:
        rest = _together(_Asked(shop, outcome, period, periods), panel.units[small].tolist())
    from strategy_kit.panel import Panel

    pooled = Panel.from_matrix(
        np.vstack([panel.outcome[~small], rest]),
        treated_from=pd.concat([roster["treated_from"][~small], pd.Series([pd.NaT])]),
        periods=panel.periods,
        units=[*panel.units[~small], POOLED],
        category=[*panel.units[~small], POOLED],
        name=outcome,
    )
    return replace(pooled, notes=(*panel.notes, f"{int(small.sum())} small categories are added up as {POOLED}"))


def open_merchants(shop: Dataset, period: Period) -> str:
    """Return the query of each merchant's category, and whether it was open on the day $first: by its day or first sale.

    Who sold in the first period of the data was open before: only where they begin is known.
    """
    opened = "m.opened_on" if "opened_on" in shop.columns("merchants") else "null"
    begun = next_start(period_start(shop.data_from, period), period)
    return f"""select m.merchant_id, any_value(m.category) as category,
                      coalesce(any_value({opened}) <= $first, min(o.first) <= $first or min(o.first) < date '{begun}', true)
                          as here
               from merchants m
               left join (select merchant_id, cast(min(paid_at) as date) as first from order_lines group by 1) o
                   on m.merchant_id = o.merchant_id
               group by m.merchant_id"""


def _roster(shop: Dataset, period: Period) -> str:
    """Return the query of `open_merchants` with each one's first support."""
    return f"""select m.merchant_id, m.category, s.treated_from, m.here from ({open_merchants(shop, period)}) m
               left join (select merchant_id, min(started_on) as treated_from from support group by 1) s
                   on m.merchant_id = s.merchant_id"""


@dataclass(frozen=True)
class _Asked:
    shop: Dataset
    outcome: str
    period: Period
    periods: list[dt.date]


def _summed(engine: DistantEngine, asked: _Asked, groups: pd.DataFrame, collect: Callable[[], Panel]) -> MomentPanel:
    """Sum up units where they are, by start and category; codes stand for both, the last one for a missing value."""
    shop, outcome, period, periods = asked.shop, asked.outcome, asked.period, asked.periods
    starts, categories = (pd.Index(groups[name].dropna().unique()) for name in ("treated_from", "category"))
    coded = {
        "start": _code("$starts", "cast(treated_from as date)", len(starts)),
        "category": _code("$categories", "category", len(categories)),
    }
    unknown = "category is null or " if groups["category"].isna().any() else ""
    sql = f"""with roster as ({_roster(shop, period)}),
                   held as (select merchant_id, {coded["start"]} as start, {coded["category"]} as category from roster
                            where here and ({unknown}list_contains($categories, category))),
                   cells as ({_cells(shop, outcome, period, "merchant_id")})
              select cast(h.start as integer) as start, cast(h.category as integer) as category,
                     list(struct_pack(position := list_position($periods, c.period), y := c.y)) as sold
              from held h left join cells c on h.merchant_id = c.unit group by h.merchant_id, h.start, h.category"""
    values = {
        **_span(periods), "periods": periods, "categories": categories.tolist(),
        "starts": [start.date() for start in pd.DatetimeIndex(starts)],
    }  # fmt: skip

    def summed(*, logs: bool) -> MomentPanel:
        from strategy_kit.moment_panel import MomentPanel, StartSums

        whole, parts = engine.summed(sql, values, len(periods), logs=logs)
        order = sorted(whole)
        labels = pd.Series(pd.DatetimeIndex([*starts, pd.NaT]).as_unit("us"))[order].reset_index(drop=True)
        names = [*categories, None]
        placed = {(order.index(start), names[category]): sums for (start, category), sums in parts.items()}
        name = f"log {outcome}" if logs else outcome
        sums = StartSums(labels, [whole[start] for start in order], placed)
        return MomentPanel(sums, pd.DatetimeIndex(periods).as_unit("us"), name, collect, lambda: summed(logs=True))

    return summed(logs=False)


def _code(among: str, value: str, count: int) -> str:
    """Return the SQL of a value's position from 0 on, `count` where it is missing."""
    return f"coalesce(list_position({among}, {value}), {count + 1}) - 1" if count else "0"


def _span(periods: list[dt.date]) -> dict[str, object]:
    return {"first": periods[0], "last": periods[-1]}


def _cells(shop: Dataset, outcome: str, period: Period, key: str) -> str:
    """Return the query of what each unit sold in each period in which it sold."""
    metric = plain_metric(outcome, shop.columns("order_lines"))
    measured = metric.sql.replace("$matured_before", f"date '{shop.matured_through + _DAY}'")
    return f"""select {key} as unit, cast(date_trunc('{period}', paid_at) as date) as period,
                      cast(coalesce({measured}, 0) as double) as y
               from order_lines where {sold_lines(shop)} and {_within(period)}
               group by 1, 2"""


def _within(period: Period) -> str:
    return f"paid_at >= $first and paid_at < cast($last as date) + interval 1 {period}"


def _together(asked: _Asked, categories: list[str]) -> np.ndarray:
    """Return what small categories sold in each period, together: a buyer of two of them counts once."""
    cells = _cells(asked.shop, asked.outcome, asked.period, f"list_contains($small, {CATEGORY})")
    sums = asked.shop.engine.frame(cells, _span(asked.periods) | {"small": categories})
    sums = sums[sums["unit"]]
    values = np.zeros(len(asked.periods))
    values[pd.DatetimeIndex(asked.periods).get_indexer(pd.DatetimeIndex(sums["period"]))] = sums["y"]
    return values


def panel_of_merchants(
    shop: Dataset, outcome: str, period: Period, periods: list[dt.date], roster: pd.DataFrame
) -> Panel:
    """Build the panel of the merchants of a roster: merchant_id (index), treated_from, category.

    The engine numbers them: texts of as many rows as merchants have weeks would take more memory than the panel.
    """
    listed = 'select distinct merchant_id as "the unit" from merchants'
    place = places(shop.engine.frame(f"{listed} order by 1")["the unit"], roster.index)
    sums = shop.engine.frame(
        f"""with units as (select "the unit", row_number() over (order by "the unit") - 1 as "its number" from ({listed}) l),
                 cells as ({_cells(shop, outcome, period, "merchant_id")})
            select "its number" as unit, period, y from cells join units on cells.unit = units."the unit" """,
        _span(periods),
    )
    return _laid_out(roster, periods, outcome, place[sums["unit"]], sums)


def _laid_out(roster: pd.DataFrame, periods: list[dt.date], name: str, row: np.ndarray, sums: pd.DataFrame) -> Panel:
    """Lay sums out by unit and period; `row` is the place of each on the roster, -1 for those that are not on it."""
    from strategy_kit.panel import Panel

    times = pd.DatetimeIndex(periods)
    values = np.zeros((len(roster) + 1, len(periods)))
    values[row, times.get_indexer(pd.DatetimeIndex(sums["period"]))] = sums["y"]  # strangers fall into the last row
    return Panel.from_matrix(
        values[:-1],
        treated_from=roster["treated_from"],
        periods=times,
        units=roster.index,
        category=roster["category"],
        name=name,
    )
