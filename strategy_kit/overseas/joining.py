"""Panels of who joined overseas: sales and margin at home, abroad and in total, and joining beside other levers."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

LEVER = "overseas"
SIDES = ("total", "domestic", "overseas")
ABROAD = "market is not null and market <> 'domestic'"
CELLS = ("overseas", "domestic", "both")


def joiners_panel(shop: Dataset, *, since: dt.date, through: dt.date) -> Panel:
    """Build the panel of merchants who joined overseas only, and of those without any support, by week.

    Merchants with another lever are left out and counted in the notes: what they gained could be either's.

    Raises
    ------
    DesignError
        If there is no support table, or nobody joined.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> joiners_panel(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: no merchant of data set 'sample' has the lever 'overseas'; enter who joined in support
    """
    panel = shop.panel(since=since, through=through).collected()
    levers = shop.engine.frame(
        """select merchant_id, bool_or(lever = $lever) as joined, bool_or(lever <> $lever and started_on < $until) as other
           from support group by 1""",
        {"lever": LEVER, "until": panel.periods[-1].date() + dt.timedelta(weeks=1)},
    ).set_index("merchant_id")
    if not levers["joined"].any():
        raise DesignError(f"no merchant of data set {shop.name!r} has the lever {LEVER!r}; enter who joined in support")
    other = levers["other"].reindex(panel.units, fill_value=False).to_numpy(bool)
    joined = levers["joined"].reindex(panel.units, fill_value=False).to_numpy(bool)
    if panel.late is not None:  # a start of another lever after the window is no joining later
        panel = replace(panel, late=np.where(joined, panel.late, 0))
    kept = panel.only(~other).untreated_at_first()
    note = f"merchants with another lever, left out: {int(other.sum())} of {len(other)}"
    return replace(kept, notes=(*kept.notes, note)) if other.any() else kept


def sales_panels(shop: Dataset, *, since: dt.date, through: dt.date) -> dict[str, Panel]:
    """Build panels of total, domestic and overseas sales with the units, weeks and starts of `joiners_panel`.

    Total is domestic plus overseas in each cell, and an effect that is linear in sales, such as `did.group_time` without
    covariates, adds up as they do. A line without a market counts as domestic, as in the metric `gmv_overseas`; such lines
    are counted in the notes.

    Returns
    -------
    dict
        "total", "domestic" and "overseas", in the currency of the data set a week.

    Raises
    ------
    DesignError
        If order_lines has no market, there is no support table, or nobody joined.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> sales_panels(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: no merchant of data set 'sample' has the lever 'overseas'; enter who joined in support
    """
    require_columns(shop, ["market"])
    return _sided(shop, joiners_panel(shop, since=since, through=through), "amount", "sales")


def margin_panels(shop: Dataset, *, since: dt.date, through: dt.date) -> dict[str, Panel]:
    """Build panels of what the platform keeps: fees less subsidies, overseas less the cost of the programme as well.

    The cost that support enters for the lever is spread evenly over the weeks from joining to ended_on or, where that is
    open, to the last complete week of the data set, not of the window. Lines without fee or subsidy count as 0 and are
    counted in the notes.

    Returns
    -------
    dict
        "total", "domestic" and "overseas", of which the first is the sum of the others, in currency a week.

    Raises
    ------
    DesignError
        If order_lines lacks market, platform_fee or platform_subsidy, or as in `joiners_panel`.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> margin_panels(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: no merchant of data set 'sample' has the lever 'overseas'; enter who joined in support
    """
    require_columns(shop, ["market", "platform_fee", "platform_subsidy"])
    panel = joiners_panel(shop, since=since, through=through)
    value = "coalesce(platform_fee, 0) - coalesce(platform_subsidy, 0)"
    found = _sided(shop, panel, value, "margin", unknown="platform_fee is null or platform_subsidy is null")
    cost, note = _weekly_cost(shop, panel)
    for name in ("total", "overseas"):
        side = found[name]
        found[name] = replace(side, outcome=side.outcome - cost, notes=(*side.notes, *note))
    return found


def among_joiners(panel: Panel) -> Panel:
    """Keep the merchants who join in the window or after it, so that joiners are compared with those who join later.

    Who grows by itself is likelier to join. A merchant that has not joined yet shares that growth, one that never joins does
    not; what is assumed instead is that *when* a merchant joins has nothing to do with its growth.

    Raises
    ------
    DesignError
        If all who join do so in one week: nobody joins later.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> among_joiners(Panel.from_matrix(np.zeros((3, 6)), treated_from=[3, 5, 0])).notes
    ('merchants that never join, left out: 1 of 3',)
    """
    held = panel.cohort >= 0
    if panel.late is not None:
        held = held | (panel.late > 0)
    if len(panel.cohorts) + bool((panel.cohort[held] < 0).any()) < 2:
        raise DesignError(
            "all who joined did so in the same week, so that nobody who joins later shows how joiners grow by themselves; "
            "compare with all other merchants"
        )
    note = f"merchants that never join, left out: {int((~held).sum())} of {len(held)}"
    return replace(panel.only(held), notes=(*panel.notes, note))


def overlap_panels(shop: Dataset, *, since: dt.date, through: dt.date) -> tuple[dict[str, Panel], pd.DataFrame]:
    """Build, for merchants with overseas support, domestic support or both, a panel of each against those with neither.

    Merchants are treated from the first support of their kind on and compared within the categories in which the cell has
    some; who had support from the first week on is left out. Of those with both, weeks in which they had one only are missing,
    and counted in the notes: the effect of both is the change from before the first to the weeks from the later one on. Their
    sales are less those of the week before the first, so that weeks of which some lack merchants compare like with like.

    Returns
    -------
    panels
        By cell: "overseas", "domestic" and "both", those without a merchant left out.
    table
        The 2 x 2: overseas, domestic (bool), merchants.

    Raises
    ------
    DesignError
        If there is no support table.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> panels, table = overlap_panels(shop, since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    >>> list(panels), int(table.loc[table["overseas"], "merchants"].sum())
    (['domestic'], 0)
    """
    panel = shop.panel(since=since, through=through).collected()
    began = _levers(shop, through).reindex(panel.units)
    joined, other = began.notna().to_numpy().T
    neither, early = ~joined & ~other, np.isin(panel.cohort, np.flatnonzero(panel.starts < 1))
    pairs = [(a, b) for a in (False, True) for b in (False, True)]
    table = pd.DataFrame(
        [(a, b, int(((joined == a) & (other == b)).sum())) for a, b in pairs],
        columns=["overseas", "domestic", "merchants"],
    )
    cells = dict(zip(CELLS, (joined & ~other, other & ~joined, joined & other), strict=True))
    found = {}
    for name, cell in cells.items():
        treated = cell & ~early
        if not treated.any():
            continue
        near = np.ones_like(treated)
        if panel.category is not None:
            near = panel.category.isin(panel.category[treated].unique()).to_numpy()
        found[name] = panel.only(treated | (near & neither))
    if "both" in found:
        found["both"] = _together(found["both"], began.max(axis=1, skipna=False))
    return found, table


def require_columns(shop: Dataset, columns: list[str]) -> None:
    """Refuse a data set whose order lines lack columns that are asked for, all at once."""
    absent = [column for column in columns if column not in shop.columns("order_lines")]
    if absent:
        raise DesignError(
            f"order_lines of data set {shop.name!r} lacks {', '.join(absent)}, without which this cannot be told; add it"
        )


def _levers(shop: Dataset, through: dt.date) -> pd.DataFrame:
    found = shop.engine.frame(
        """select merchant_id, min(started_on) filter (where lever = $lever) as joined,
                  min(started_on) filter (where lever <> $lever) as other
           from support where started_on < cast($last as date) + interval 1 week group by 1""",
        {"lever": LEVER, "last": through},
    )
    return found.set_index("merchant_id").apply(pd.to_datetime)


def _together(panel: Panel, later: pd.Series) -> Panel:
    """Leave out the weeks from a merchant's first support to the one in which it has both, and tell how many."""
    treated, outcome = np.flatnonzero(panel.cohort >= 0), panel.outcome.astype(float)
    first = panel.starts[panel.cohort[treated]]
    both = panel.periods.searchsorted(later.reindex(panel.units[treated]), side="right") - 1
    week = np.arange(len(panel.periods))
    between = (week >= first[:, None]) & (week < both[:, None])
    outcome[treated] = np.where(between, np.nan, outcome[treated] - outcome[treated, first - 1][:, None])
    note = f"weeks of merchants with one of the two only, left out: {int(between.sum())}"
    return replace(panel, outcome=outcome, notes=(*panel.notes, *([note] if between.any() else [])))


def _sided(shop: Dataset, panel: Panel, value: str, name: str, unknown: str = "market is null") -> dict[str, Panel]:
    """Add a value up by unit and week at home and abroad; total is made of both, so that they add up exactly."""
    days = {"first": panel.periods[0].date(), "last": panel.periods[-1].date()}
    sums = shop.engine.frame(
        f"""select merchant_id as unit, cast(date_trunc('week', paid_at) as date) as week,
                   cast(coalesce(sum({value}) filter (where {ABROAD}), 0) as double) as overseas,
                   cast(coalesce(sum({value}) filter (where not ({ABROAD})), 0) as double) as domestic,
                   count(*) filter (where {unknown}) as unknown
            from order_lines where {sold_lines(shop)} and paid_at >= $first and paid_at < cast($last as date) + interval 1 week
            group by 1, 2""",
        days,
    )
    row, column = (
        panel.units.get_indexer(pd.Index(sums["unit"])),
        panel.periods.get_indexer(pd.DatetimeIndex(sums["week"])),
    )
    held = (row >= 0) & (column >= 0)
    values = {side: np.zeros(panel.outcome.shape) for side in SIDES[1:]}
    for side, grid in values.items():
        grid[row[held], column[held]] = sums[side].to_numpy(float)[held]
    lacking = int(sums["unknown"].to_numpy()[held].sum())
    what = f"order lines without a market, counted as domestic: {lacking}"
    if name == "margin":
        what = f"order lines without fee or subsidy, counted as 0: {lacking}"
    notes = (*panel.notes, *([what] if lacking else []))
    grids = {"total": values["domestic"] + values["overseas"], **values}
    return {side: replace(panel, outcome=grid, name=f"{side} {name}", notes=notes) for side, grid in grids.items()}


def _weekly_cost(shop: Dataset, panel: Panel) -> tuple[np.ndarray, tuple[str, ...]]:
    """Spread what the programme costs over the weeks in which it is given, (N, T)."""
    cost = np.zeros(panel.outcome.shape)
    columns = shop.columns("support")
    if "cost" not in columns:
        return cost, ("support has no cost, so that the programme's own cost is not taken off",)
    ended = "ended_on" if "ended_on" in columns else "cast(null as date)"
    rows = shop.engine.frame(
        f"""select merchant_id, started_on, {ended} as ended_on, cast(cost as double) as cost
            from support where lever = $lever""",
        {"lever": LEVER},
    )
    last = pd.Timestamp(shop.complete_periods("week")[-1])
    start = _monday(rows["started_on"])
    end = _monday(rows["ended_on"]).fillna(last).clip(lower=start)
    weekly = rows["cost"].fillna(0).to_numpy(float) / (1 + (end - start).dt.days.to_numpy() // 7)
    unit = panel.units.get_indexer(pd.Index(rows["merchant_id"]))
    week = panel.periods.to_numpy()
    given = (week >= start.to_numpy()[:, None]) & (week <= end.to_numpy()[:, None])
    np.add.at(cost, unit[unit >= 0], (weekly[:, None] * given)[unit >= 0])
    unknown = int(rows["cost"].isna().sum())
    return cost, (f"joinings without a cost, counted as 0: {unknown} of {len(rows)}",) if unknown else ()


def _monday(days: pd.Series) -> pd.Series:
    days = pd.to_datetime(days)
    return days - pd.to_timedelta(days.dt.day_of_week, unit="D")
