"""The queries behind a table of KPIs: one for each kind of row that its metrics read."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.engine import quoted
from strategy_kit.metrics import DISTINCT, Metric, fills_with_zero
from strategy_kit.periods import Period, months_later, next_start, period_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strategy_kit.dataset import Dataset

_DAY = dt.timedelta(days=1)
_METRIC = "metric "
_FEW = 2  # times the lines fit where no key identifies: 80 bytes a line, where merchant and week take 130
# what a row of a merchant or buyer holds; {began} is its first sale in the data, {start} that of the period
_UNIT_COLUMNS = {
    "gmv": "cast(sum(amount) as double)",
    "orders": "count(distinct order_id)",
    "is_new": "any_value(f._began) >= min({start})",
}


@dataclass(frozen=True)
class Scope:
    """What is grouped: SQL by column name, the period among them, and the first and last day that count.

    Scopes that share a query have different tags.
    """

    shop: Dataset
    keys: Mapping[str, str]
    period: Period | None
    since: dt.date | None
    through: dt.date | None
    tag: str = ""

    @property
    def bindings(self) -> dict[str, object]:
        """Values by the name that a query binds them to."""
        after = self.through and self.through + _DAY
        return {
            f"since{self.tag}": self.since,
            f"next{self.tag}": after,
            "matured_before": self.shop.matured_through + _DAY,
        }

    @property
    def groups(self) -> list[str]:
        """The keys beside the period."""
        return [name for name in self.keys if name != self.period]

    def aliases(self, names: Sequence[str] | None = None) -> list[str]:
        """Return the keys as queries call them, so that no name of a user's column meets one of ours."""
        every = list(self.keys)
        return [f'"key {every.index(name)}"' for name in (every if names is None else names)]

    def source(self, clock: str = "paid_at", join: str = "", *, since: bool = True) -> str:
        """Return the lines, joined with the roster where a key needs it, inside the scope."""
        if any(sql.startswith("m.") for sql in self.keys.values()):
            # no name of the roster may shadow a column that a metric reads
            renamed = ", ".join(f"{quoted(c)} as {quoted(f'merchant {c}')}" for c in self.shop.columns("merchants"))
            join += f' left join (select {renamed} from merchants) m on l.merchant_id = m."merchant merchant_id"'
        limits = [sold_lines(self.shop)]
        limits += [f"{clock} >= $since{self.tag}"] if since and self.since else []
        limits += [f"{clock} < $next{self.tag}"] if self.through else [f"{clock} is not null"]
        return f"from order_lines l {join} where {' and '.join(limits)}"

    def stretches(self, clock: str) -> list[tuple[str, dict[str, object]]]:
        """Cut the lines into stretches of whole periods that fit the engine, each a further condition and its values."""
        most, starts = self.shop.engine.lines_at_once, Windows.laid(self, 0, 1).periods if self.period else []
        most = most and most * (1 if any(key.endswith("_id") for key in self.groups) else _FEW)
        parts = 1
        if most and len(starts) > 1:
            lines = self.shop.engine.frame("select count(*) as n from order_lines")["n"][0]
            parts = min(-(-int(lines) // most), len(starts))
        cuts = [starts[len(starts) * part // parts] for part in range(1, parts)]
        laid: list[tuple[str, dict[str, object]]] = []
        for first, after in zip([None, *cuts], [*cuts, None], strict=True):
            limits = f" and {clock} >= $_first" if first else ""
            limits += f" and {clock} < $_after" if after else ""
            laid.append((limits, {"_first": first, "_after": after}))
        return laid

    def named(self, keys: Sequence[str], clock: str = "paid_at") -> list[str]:
        """Return keys as select items, the period by `clock`."""
        period = f"cast(date_trunc('{self.period}', l.{clock}) as timestamp)"
        written = [period if name == self.period else self.keys[name] for name in keys]
        return [f"{sql} as {alias}" for sql, alias in zip(written, self.aliases(keys), strict=True)]

    def frame(self, sql: str, **values: object) -> pd.DataFrame:
        """Run a query, binding the values that it names; keys and metrics come back under their own names."""
        bound, plain = {**self.bindings, **values}, re.sub(r'"[^"]*"', "", sql)
        if "$pilots" in plain:
            bound["pilots"] = self.shop.pilot.categories
        found = self.shop.engine.frame(sql, {k: v for k, v in bound.items() if re.search(rf"\${k}\b", plain)})
        own = dict(zip((alias.strip('"') for alias in self.aliases()), self.keys, strict=True))
        found = found.rename(columns={name: own.get(name, name.removeprefix(_METRIC)) for name in found.columns})
        return found.astype({self.period: "datetime64[us]"}) if self.period in found else found


def column(metric: str) -> str:
    """Return a metric as queries call it."""
    return quoted(_METRIC + metric)


def line_scan(scope: Scope, metrics: Sequence[Metric], clock: str) -> pd.DataFrame:
    """Aggregate the lines of each group, put into periods by `clock`; distinct values are counted stretch by stretch."""
    items = [*scope.named(list(scope.keys), clock), *(valued(scope.shop, metric) for metric in metrics)]
    counting = any("distinct" in metric.sql.lower() for metric in metrics)
    found = [
        scope.frame(f"select {', '.join(items)} {scope.source(clock)}{limits} {grouped(len(scope.keys))}", **values)
        for limits, values in (scope.stretches(clock) if counting else [("", {})])
    ]
    return pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]


def unit_scan(scope: Scope, metrics: Sequence[Metric], unit: str) -> pd.DataFrame:
    """Aggregate each group's merchants or buyers, each having one row."""
    keys = scope.aliases()
    parted = f"partition by {', '.join(keys)}" if keys else ""
    more = f", row_number() over ({parted} order by gmv desc) as rank, count(*) over ({parted}) as members"
    more *= bool(words_of(metrics) & {"rank", "members"})
    return scope.frame(
        f"""with listed as (select *{more} from ({unit_rows(scope, metrics, unit)}) where unit is not null)
            select {", ".join([*keys, *(valued(scope.shop, metric) for metric in metrics)])}
            from listed {grouped(len(keys))}"""
    )


def unit_rows(scope: Scope, metrics: Sequence[Metric], unit: str, *lines: str) -> str:
    """Return the query of one row for each group's merchant or buyer: the columns that metrics read, and more from its lines."""
    used = words_of(metrics)
    used |= {"gmv"} if used & {"rank", "members"} else set()
    start = (
        scope.keys[scope.period]
        if scope.period
        else f"cast($since{scope.tag} as timestamp)"
        if scope.since
        else "f._began"
    )
    join = ""
    if "is_new" in used:
        sold = sold_lines(scope.shop)
        join = f"join (select {unit}_id, min(paid_at) as _began from order_lines where {sold} group by 1) f using ({unit}_id)"
    columns = [f"{sql.format(start=start)} as {name}" for name, sql in _UNIT_COLUMNS.items() if name in used]
    items = [*scope.named(list(scope.keys)), f"l.{unit}_id as unit", *columns, *lines]
    return f"select {', '.join(items)} {scope.source(join=join)} {grouped(len(scope.keys) + 1)}"


def words_of(metrics: Sequence[Metric]) -> set[str]:
    """Return the words in the SQL of metrics over merchants or buyers: columns of their rows among them."""
    return {word for metric in metrics if metric.per != "line" for word in re.findall(r"\w+", metric.sql)}


@dataclass(frozen=True)
class Windows:
    """Overlapping windows, one a period: starts of the periods, first day of each window, and the day after its last."""

    periods: list[dt.date]
    opens: list[dt.date]
    ends: list[dt.date]

    @classmethod
    def laid(cls, scope: Scope, months: int, trailing: int) -> Windows:
        """Lay a window of `months`, else of `trailing` periods, to the end of each period."""
        last = scope.through or scope.shop.data_through
        if scope.period is None:
            return cls([last], [months_later(last + _DAY, -months)], [last + _DAY])
        starts = [period_start(scope.since or scope.shop.data_from, scope.period)]
        while (following := next_start(starts[-1], scope.period)) <= last:
            starts.append(following)
        ends = [next_start(start, scope.period) for start in starts]
        if months:
            return cls(starts, [months_later(end, -months) for end in ends], ends)
        opens = list(starts)
        for _ in range(trailing - 1):
            opens = [period_start(start - _DAY, scope.period) for start in opens]
        return cls(starts, opens, ends)

    @property
    def days(self) -> dict[str, list[Any]]:
        """Each day with the first window that ends after it and the first that opens after it."""
        first, last = np.datetime64(min(self.opens), "D"), np.datetime64(self.ends[-1], "D")
        days = np.arange(first, last)
        enters = np.searchsorted(np.array(self.ends, "M8[D]"), days, side="right")
        leaves = np.searchsorted(np.array(self.opens, "M8[D]"), days, side="right")
        numbers = range(1, len(days) + 1)
        return {"numbers": [*numbers], "days": days.tolist(), "enters": enters.tolist(), "leaves": leaves.tolist()}


def window_scan(scope: Scope, metrics: Sequence[Metric], windows: Windows) -> pd.DataFrame:
    """Run sums, or one count of distinct values, over the windows: exactly, and in one pass over the lines.

    A line enters the window that ends its period, and leaves at the first window that opens after its day. A value that
    counts once, such as a buyer, leaves when it enters again, if that is earlier. Windows that begin before the data
    are missing.
    """
    keys, counted = scope.aliases(scope.groups), DISTINCT.fullmatch(metrics[0].sql)
    days = """(select cast($days[_number] as date) as _day, $enters[_number] as _enters, $leaves[_number] as _leaves
                  from (select unnest($numbers) as _number) n) w"""
    on = "cast(l.paid_at as date) = w._day and w._enters < w._leaves"
    by_day = scope.source(since=False).replace("order_lines l", f"order_lines l join {days} on {on}", 1)
    named, places = scope.named(scope.groups), grouped(len(keys) + 2)
    ends = ['_enters as "its enters"', '_leaves as "its leaves"']
    if counted:
        again = f"lead(_enters) over (partition by {', '.join([*keys, '_counted'])} order by _enters)"
        sql = f"""with seen as (select {", ".join([*named, "w._enters", f"l.{counted[1]} as _counted"])},
                                       max(w._leaves) as _leaves {by_day} {places}),
                       runs as (select {", ".join([*keys, "_enters"])}, least(_leaves, coalesce({again}, _leaves)) as _leaves
                                from seen where _counted is not null)
                  select {", ".join([*keys, *ends])}, count(*) as {column(metrics[0].name)} from runs {places}"""
    else:
        values = ", ".join(valued(scope.shop, metric) for metric in metrics)
        sql = f"select {', '.join([*named, *(f'w.{end}' for end in ends)])}, {values} {by_day} {places}"
    names = [metric.name for metric in metrics]
    return _running(scope, scope.frame(sql, **windows.days), names, windows)


def _running(scope: Scope, moves: pd.DataFrame, names: list[str], windows: Windows) -> pd.DataFrame:
    keyed = moves.groupby(scope.groups, dropna=False, sort=False) if scope.groups else None
    group = keyed.ngroup().to_numpy() if keyed is not None else np.zeros(len(moves), dtype=int)
    firsts = moves.loc[~pd.Series(group).duplicated().to_numpy(), scope.groups].reset_index(drop=True)
    count = int(group.max(initial=-1)) + 1
    enters, leaves = moves["its enters"].to_numpy(), moves["its leaves"].to_numpy()
    begun = np.full(count, len(windows.ends))
    np.minimum.at(begun, group, enters)
    place, window = np.nonzero(np.arange(len(windows.ends)) >= begun[:, None])
    result = firsts.iloc[place].reset_index(drop=True)
    if scope.period:
        result[scope.period] = np.array(windows.periods, "M8[us]")[window]
    short = np.array(windows.opens) < scope.shop.data_from
    for name in names:
        grid = np.zeros((count, len(windows.ends) + 1))
        np.add.at(grid, (group, enters), moves[name].to_numpy(float))
        np.add.at(grid, (group, leaves), -moves[name].to_numpy(float))
        # adding and taking away leaves dust far below the fourth decimal of money
        held = np.round(np.cumsum(grid, axis=1)[place, window], 6) + 0.0
        result[name] = np.where(short[window], np.nan, held)
    return result


def valued(shop: Dataset, metric: Metric) -> str:
    """Return a metric as a select item, typed, and 0 rather than missing where nothing sold means none."""
    quantity = shop.engine.types("order_lines").get("quantity", "")
    counts = metric.unit == "count" and metric.sql.startswith("count(")
    whole = counts or (metric.sql == "sum(quantity)" and "INT" in quantity)
    sql = f"coalesce({metric.sql}, 0)" if fills_with_zero(metric) else metric.sql
    return f"cast({sql} as {'bigint' if whole else 'double'}) as {column(metric.name)}"


def grouped(keys: int) -> str:
    """Return the clause that groups by the first `keys` select items."""
    return f"group by {', '.join(str(number + 1) for number in range(keys))}" if keys else ""
