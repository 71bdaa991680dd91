"""Data checks beyond the contract: silence, doubles, restated weeks, merchants that moved, sudden shifts of level.

Each is a query that returns counts, or one row a day, a week, or a category and week. From few lines nothing is said:
where 20 are usual, a Poisson count is 0 twice in a thousand million times, so that silence means missing data.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.checks import COLUMNS, run_laws
from strategy_kit.errors import ContractError, ParameterError, nearest
from strategy_kit.formats import money, number, percent
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.dataset import Dataset

TOTALS = ["week", "lines", "orders", "gmv"]
RESTATED, LATE = "no complete week was restated", "no line arrived late"
_REMEDIES = {
    "order_lines match the control totals": "load what is missing, or correct [control] in dataset.toml",
    "the last complete day has orders": "load these days, or correct data_through in dataset.toml",
    "every day of the window has orders": "load these days, or note the closure",
    "an order has one buyer and one time": "give each buyer and time an order of its own; it counts as one until then",
    "no line is there twice under another key": "if a file was loaded twice under new keys, keep one of the orders",
    "lines carry their merchant's category": "merchants of several categories are common; else correct roster or lines",
    "no merchant has moved to another category": "its frozen category stays; see that it was right when frozen",
    "every category sells each week": "load these lines, or see whether the category was renamed",
    "weekly sales have no sudden level shift": "see whether data are missing or a name changed; else compare one side only",
    RESTATED: "tell the readers which weeks changed, and why",
    LATE: "wait longer: raise settlement_days in dataset.toml",
    "data_through is stated": "write the last complete business day into dataset.toml",
    "pilot categories have merchants": "correct pilot.categories",
}
_ERRORS = {"order_lines match the control totals", "pilot categories have merchants"}
_TABLES = dict.fromkeys(("data_through is stated", "pilot categories have merchants"), "dataset.toml")
_TABLES |= {"no merchant has moved to another category": "merchants"}
_ENOUGH = 20  # lines or orders, see above
_WEEKS = 4  # before a weekday or a category has a usual count, on each side of a shift, and around a pilot's start
# Six standard errors of the difference of two medians of four normals (variance 0.298 each), whose deviation is read
# from the median change. Of 921 clean simulated markets of 150 to 3,000 merchants 11 then have a shift, at five standard
# errors 1 in 19. Sales halved for eight weeks are found 99 times in 100 at 430 lines a week, 4 in 5 at 200, 1 in 6 at 90.
_NOISE = float(6 * np.sqrt(2 * 0.298) * 1.4826 / np.sqrt(2))
_ROSTER = """(select merchant_id, min(category) as "its home" from merchants group by 1
              having min(category) <> 'unknown') as roster using (merchant_id)"""  # as importers call what nobody knows
# One order may hold a line a piece, and a day alone does not tell two sales of the same thing apart.
_QUERIES = {
    "no line is there twice under another key": """
        with together as (select buyer_id, paid_at from order_lines where paid_at <> date_trunc('day', paid_at)
                          group by 1, 2 having min(order_id) <> max(order_id)),
             lines as (select {same}, order_id, count(*) as n
                       from order_lines join together using (buyer_id, paid_at) group by {same}, order_id),
             doubles as (select sum(n) - max(n) as n, 'order_id ' || min(order_id) || ' and ' || max(order_id) as example
                         from lines group by {same} having count(*) > 1)
        select coalesce(sum(n), 0) as rows, (select count(*) from order_lines) as total, min(example) as example
        from doubles""",
    "lines carry their merchant's category": f"""
        select case when n > greatest({_ENOUGH}, total / 20) then n else 0 end as rows, total, example
        from (select count(*) filter (where category <> "its home") as n, count(*) as total,
                     min(case when category <> "its home" then 'merchant_id ' || merchant_id || ' of ' || "its home"
                         || ', category ' || category end) as example
              from order_lines join {_ROSTER} where category is not null)""",
    "no merchant has moved to another category": f"""
        with sums as (select merchant_id, "its home" as home, category, sum(amount) as y, count(*) as n
                      from order_lines join {_ROSTER} where {{sold}} and category is not null
                      and paid_at >= date '{{first}}' and paid_at < date '{{last}}' + interval 7 day group by 1, 2, 3),
             lately as (select merchant_id, home, max_by(category, y) as main,
                               max(y) > 2 * coalesce(max(y) filter (where category = home), 0) as moved
                        from sums group by 1, 2 having sum(n) >= 10)
        select count(*) filter (where moved) as rows, count(*) as total,
               min(case when moved then 'merchant_id ' || merchant_id || ', ' || home || ' to ' || main end) as example
        from lately""",
}


def check(shop: Dataset, previous: pd.DataFrame | None) -> pd.DataFrame:
    """Carry out `Dataset.check`, where everything is described."""
    about = shop.description
    window = {"data_from": about.data_from or dt.date.min, "data_through": about.data_through or dt.date.max}
    rows = _orders(shop)
    if rows:
        rows += [*_counted(shop), *_category_weeks(shop), *([] if previous is None else _restated(shop, previous))]
    own = pd.DataFrame([*rows, *_described(shop)], columns=COLUMNS)
    return pd.concat([run_laws(shop.engine, list(shop.tables), window), own], ignore_index=True)


def totals(shop: Dataset) -> pd.DataFrame:
    """Carry out `Dataset.totals`, where everything is described."""
    sold = sold_lines(shop)
    found = shop.engine.frame(
        f"""select cast(date_trunc('week', paid_at) as timestamp) as week, count(*) as lines,
                   count(distinct order_id) filter (where {sold}) as orders,
                   cast(coalesce(sum(amount) filter (where {sold}), 0) as double) as gmv
            from order_lines group by 1"""
    )
    weeks = pd.DatetimeIndex(shop.complete_periods("week"), name="week").as_unit("us")
    return found.set_index("week").reindex(weeks, fill_value=0).reset_index()


def read_totals(path: Path) -> pd.DataFrame:
    """Read the weekly totals that `strategy-kit check --totals` or a published week wrote.

    Raises
    ------
    ParameterError
        If there is no such file.
    ContractError
        If it holds something else.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_totals(Path("nowhere.csv"))
    Traceback (most recent call last):
    strategy_kit.errors.ParameterError: there are no weekly totals at nowhere.csv; run 'strategy-kit check --totals' first
    """
    if not path.is_file():
        raise ParameterError(f"there are no weekly totals at {path}; run 'strategy-kit check --totals' first")
    try:
        found = pd.read_csv(path)
        _required_totals(found)
    except (ValueError, ParameterError) as error:  # also of text that is no CSV, and of bytes that are no text
        remedy = "take it away, or make it again with 'strategy-kit check --totals'"
        raise ContractError(f"{path} holds no weekly totals: {str(error).strip()}; {remedy}") from error
    return found


def _required_totals(previous: Any) -> pd.DatetimeIndex:
    """Return the weeks of a frame that `totals` made; ParameterError for another."""
    given = list(previous.columns) if isinstance(previous, pd.DataFrame) else previous
    week = pd.to_datetime(previous["week"], errors="coerce") if given == TOTALS else pd.Series([None])
    if week.isna().any() or week.duplicated().any() or any(previous[c].dtype.kind not in "iuf" for c in TOTALS[1:]):
        law = "previous must be a frame that Dataset.totals() made: each week once, numbers in lines, orders and gmv"
        raise ParameterError(f"{law}; given was {given!r}")
    return pd.DatetimeIndex(week).as_unit("us")


def _row(check: str, rows: float, total: float, example: str, hint: str = "") -> list[object]:
    place = ["error" if check in _ERRORS else "warning", _TABLES.get(check, "order_lines")]
    said = [example, _REMEDIES[check] + hint] if rows else ["", ""]
    return [check, *place, int(rows), rows / total if total else 0.0, *said]


def _orders(shop: Dataset) -> list[list[object]]:
    """Compare a silent day with the same weekday, so that a market that rests on Sundays has no gaps."""
    days = shop.engine.frame(
        """select cast(day as timestamp) as day, count(*) as orders, count(*) filter (where mixed) as mixed,
                  min('order_id ' || order_id) filter (where mixed) as example
           from (select order_id, cast(min(paid_at) as date) as day,
                        min(buyer_id) <> max(buyer_id) or min(paid_at) <> max(paid_at) as mixed
                 from order_lines where order_id is not null group by 1)
           where day is not null group by 1"""
    ).set_index("day")
    if days.empty:
        return []
    window = pd.date_range(shop.data_from, shop.data_through, unit="us")
    orders = days["orders"].reindex(window, fill_value=0)
    last, weekday = orders[orders > 0].index.max(), pd.Series(window.day_of_week, window)
    if pd.isna(last):
        told = f"no order from {shop.data_from} to {shop.data_through}"
        silence = ("the last complete day has orders", "every day of the window has orders")
        return [_row(check, len(orders), len(orders), told) for check in silence]
    seen = orders[window <= last]
    usual = seen.groupby(weekday).median() * (len(seen) >= 7 * _WEEKS)
    around = orders.where(orders > 0).rolling(29, center=True, min_periods=1).median().ffill().bfill()
    expected = weekday.map(usual).clip(upper=around)[orders == 0].fillna(0.0)
    late, gaps = expected[expected.index > last], expected[(expected.index <= last) & (expected >= _ENOUGH)]
    silent = len(late) if late.sum() >= _ENOUGH else 0
    first = f"{gaps.index[0]:%Y-%m-%d}, usually {number(gaps.iloc[0])} orders" if len(gaps) else ""
    mixed, example = days["mixed"].sum(), min(days["example"].dropna(), default="")
    return [
        _row("the last complete day has orders", silent, len(orders), f"no order after {last.date()}"),
        _row("every day of the window has orders", len(gaps), len(orders), first),
        _row("an order has one buyer and one time", mixed, days["orders"].sum(), example),
    ]


def _counted(shop: Dataset) -> list[list[object]]:
    weeks, quantity = shop.complete_periods("week")[-13:], ", quantity" * ("quantity" in shop.columns("order_lines"))
    days = {"first": min(weeks, default=dt.date.min), "last": max(weeks, default=dt.date.min)}
    words = {"sold": sold_lines(shop), "same": f"buyer_id, merchant_id, category, paid_at, amount{quantity}", **days}
    found = {check: shop.engine.frame(sql.format(**words)).iloc[0] for check, sql in _QUERIES.items()}
    return [_row(check, row["rows"], row["total"], row["example"]) for check, row in found.items()]


def _category_weeks(shop: Dataset) -> list[list[object]]:
    found = shop.engine.frame(
        f"""select cast(date_trunc('week', paid_at) as timestamp) as week, category, cast(count(*) as double) as lines,
                   cast(sum(amount) as double) as gmv
            from order_lines where {sold_lines(shop)} and category is not null group by 1, 2 order by 1, 2"""
    )
    found = found[found["week"].isin(pd.DatetimeIndex(shop.complete_periods("week")))]
    lines = found.pivot_table(index="week", columns="category", values="lines").fillna(0.0)
    begun = lines.gt(0).cummax()
    usual = lines.where(begun).median()[begun.sum() >= _WEEKS]
    usual = usual[usual >= _ENOUGH]
    around = lines.where(lines > 0)[usual.index].rolling(9, center=True, min_periods=1).median().ffill()
    around = around.clip(upper=usual, axis=1)
    silent = np.argwhere(((begun & lines.eq(0))[usual.index] & (around >= _ENOUGH)).to_numpy())
    gaps = [
        f"{usual.index[c]}, {lines.index[w]:%Y-%m-%d}, usually {number(around.iloc[w, c])} lines" for w, c in silent
    ]
    shifts = _shifts(shop, found[found["category"].isin(usual.index) & found["gmv"].gt(0)])
    total = begun.to_numpy().sum()
    return [
        _row("every category sells each week", len(gaps), total, "".join(gaps[:1])),
        _row("weekly sales have no sudden level shift", len(shifts), total, "".join(shifts[:1])),
    ]


def _shifts(shop: Dataset, sums: pd.DataFrame) -> list[str]:
    """Say where a category's median of four weeks left that of the four before, outside festivals and its pilot's start."""
    if "calendar" in shop.tables:
        festive = "select date_trunc('week', date) as week from calendar where festival is not null"
        sums = sums[~sums["week"].isin(shop.engine.frame(festive)["week"])]
    pilot, currency, said = shop.description.pilot, shop.description.currency, []
    starts = {} if pilot is None or pilot.placebo else pilot.starts
    sums = sums[sums.groupby("category")["week"].transform("size") >= 16]  # before it is known what change is usual
    for category in sums["category"].unique():
        own = sums[sums["category"] == category]
        level, week = np.log(own["gmv"].to_numpy()), own["week"].to_numpy()[_WEEKS : 1 - _WEEKS]
        medians = np.median(np.lib.stride_tricks.sliding_window_view(level, _WEEKS), axis=1)
        step = np.abs(np.diff(level))
        large = np.abs(medians[_WEEKS:] - medians[:-_WEEKS]) > max(np.log(1.4), _NOISE * np.median(step))
        if category in starts:
            large &= np.abs(week - pd.Timestamp(starts[category]).to_datetime64()) > np.timedelta64(7 * _WEEKS, "D")
        found = np.flatnonzero(large)
        for run in np.split(found, np.flatnonzero(np.diff(found) > _WEEKS) + 1) if len(found) else []:
            at = run[np.argmax(step[run + _WEEKS - 1])]
            ends = np.exp(medians[[at, at + _WEEKS]])
            before, after = (money(end, currency, "en", like=tuple(ends)) for end in ends)
            said.append(f"{category}, {pd.Timestamp(week[at]):%Y-%m-%d}: {before} to {after} a week")
    return said


def _restated(shop: Dataset, previous: Any) -> list[list[object]]:
    """Compare the weeks of then with now; what came late is a share of the lines of the weeks it came to."""
    weeks = _required_totals(previous)
    now = totals(shop).set_index("week").add_suffix("_now")
    both = previous.set_index(weeks).join(now)  # a week that is gone has no totals now
    both["change"], both["late"] = (both["gmv_now"] - both["gmv"]).abs(), both["lines_now"] - both["lines"]
    size = both["gmv_now"] / both["gmv"].where(both["gmv"] != 0) - 1
    pairs = zip(both.index, both["gmv"], both["gmv_now"], size, both["lines"], both["lines_now"], strict=True)
    both["said"] = [
        f"{week:%Y-%m-%d}: gmv {number(old, 2)} to {number(new, 2)} ({percent(share, 2, signed=True)}), "
        f"lines {number(few)} to {number(many)}"
        for week, old, new, share, few, many in pairs
    ]
    changed = both[(both["change"] >= 0.005) | (both["late"] != 0)].sort_values("change")
    late = both[both["late"] > 0].sort_values("late")
    return [
        _row(RESTATED, len(changed), len(both), "".join(changed["said"][-1:])),
        _row(LATE, late["late"].sum(), late["lines_now"].sum(), "".join(late["said"][-1:])),
    ]


def _described(shop: Dataset) -> list[list[object]]:
    about = shop.description
    found = shop.engine.frame(
        """select count(*) as lines, cast(coalesce(sum(amount), 0) as double) as amount,
                  'taken as ' || left(cast(max(paid_at) as varchar), 10) || ', the day of the last order' as guess
           from order_lines"""
    ).iloc[0]
    wrong = {key: value for key, value in about.control.items() if abs(found[key] - value) >= 0.005}
    said = ", ".join(f"{key} {number(found[key], 2)} instead of {number(value, 2)}" for key, value in wrong.items())
    rows = [_row("order_lines match the control totals", len(wrong), len(about.control), said)] if about.control else []
    rows.append(_row("data_through is stated", about.data_through is None, 1, found["guess"]))
    if about.pilot is not None:
        known = shop.engine.frame("select distinct category from merchants")["category"].dropna().tolist()
        pilots, absent = about.pilot.categories, [c for c in about.pilot.categories if c not in known]
        hint = nearest(absent[0], known) if absent else ""
        rows.append(_row("pilot categories have merchants", len(absent), len(pilots), ", ".join(absent), hint))
    return rows
