"""How sure a KPI or its change is: delta-method errors over merchants or buyers, whose sums are formed inside the engine."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from strategy_kit.engine import quoted
from strategy_kit.errors import DesignError, ParameterError, nearest
from strategy_kit.kpi.control import counts_refunds, immature
from strategy_kit.kpi.growth import two_periods
from strategy_kit.kpi.scans import Scope, column, grouped, unit_rows, valued, words_of
from strategy_kit.kpi.table import grouping, merged, table
from strategy_kit.metrics import Metric, chosen, parts
from strategy_kit.periods import Period, months_later, next_start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strategy_kit.dataset import Dataset

Cluster = Literal["merchant", "buyer"]
YARDSTICKS = ("orders", "gmv", "spend_per_annual_active_buyer")
_DAY = dt.timedelta(days=1)
_LEVEL = 0.95
_SIDES = ("before", "after")
_CHANGED = ("metric", "before", "after", "change", "std_error", "conf_low", "conf_high", "n_units", "rank", "agree",
    "apart")  # fmt: skip


def uncertainty(
    shop: Dataset, *, metric: str | Metric, by: Sequence[str] = (), cluster: Cluster = "merchant"
) -> pd.DataFrame:
    """Give a ratio with its standard error, merchants or buyers being the sample.

    The error is the delta method's for a ratio of sums over clusters. Both sums must add up over the clusters, which is
    verified: where one order has several merchants, for instance, orders need buyers as clusters.

    Parameters
    ----------
    metric
        A ratio whose parts are had from the lines of the period, such as average_order_value or refund_rate; over buyers
        also repeat_rate and, without a period, spend_per_annual_active_buyer.
    by
        As in `table`.
    cluster
        What is sampled on its own.

    Returns
    -------
    DataFrame
        The `by` columns, value, std_error, conf_low, conf_high (95 %, t with one degree less than clusters), n_units
        (clusters) and complete. With fewer than two clusters the error is missing.

    Raises
    ------
    ParameterError
        If the metric is no such ratio, or `by` or cluster is wrong.
    DesignError
        If a part does not add up over the clusters.

    References
    ----------
    Deng, Knoblich and Lu (2018), "Applying the delta method in metric analytics", section 3.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> found = uncertainty(shop, metric="average_order_value", by=["pilot"], cluster="buyer")
    >>> bool((found["conf_low"] < found["value"]).all())
    True
    """
    asked = _asked(shop, [metric], cluster)[0]
    ends = parts(asked)
    expressions, period = grouping(shop, by, ("value", "std_error", "conf_low", "conf_high", "n_units", "complete"))
    months = ends[0].trailing_months
    if asked.sql:
        raise ParameterError(
            f"{asked.name} is no ratio, so that it has no such error; ask for a ratio, or for its change"
        )
    if period and months:
        raise ParameterError(
            f"{asked.name} runs over trailing months, to the last day of the data; leave the period out"
        )
    since = months_later(shop.data_through + _DAY, -months) if months else None
    if since and since < shop.data_from:
        raise ParameterError(
            f"{asked.name} needs the data from {since} on, but they begin on {shop.data_from}; take another"
        )
    scope = Scope(shop, expressions, period, since, shop.data_through if months else None)
    known = table(shop, by=by, metrics=list(map(_now, ends)), since=since, through=scope.through)
    y, x = (column(end.name) for end in ends)
    top, bottom = quoted(f"total of {ends[0].name}"), _total(ends[1].name)
    influence = {"std_error": (f"coalesce({y} / nullif({top}, 0), 0) - {x} / {bottom}", "true")}
    held = {end.name: end for end in ends}
    found = _spread([scope], _rows(scope, held, cluster), list(held), influence)
    aligned = merged([known, found], list(by))
    _hold_sums(aligned, list(held), cluster)
    over, under = (aligned[end.name] for end in ends)
    value = over / under.where(under != 0)
    result = aligned[list(by)].assign(value=value, std_error=aligned["std_error"] * value.astype(float).abs())
    clusters = aligned["n of std_error"].fillna(0).astype("int64")
    width = _quantile(clusters) * result["std_error"]
    result = result.assign(conf_low=result["value"] - width, conf_high=result["value"] + width)
    return result.assign(n_units=clusters, complete=aligned["complete"])


def change(
    shop: Dataset,
    *,
    metrics: Sequence[str | Metric],
    period: Period,
    before: dt.date,
    after: dt.date,
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """Compare two complete periods, with an interval of each relative change, buyers being the sample.

    The error is the delta method's for the log of the change: a buyer who buys in both periods counts once. It says how
    sure the change is, not what caused it.

    Parameters
    ----------
    metrics
        Sums and counts that add up over buyers, and their ratios; also those of trailing months, which are taken to the
        end of each period.
    before, after
        Any day of the two periods.
    by
        As in `table`, without a period.

    Returns
    -------
    DataFrame
        One row a group and metric: the `by` columns, metric, before, after, change (share), std_error (of the change),
        conf_low, conf_high (95 %), n_units (buyers who count in the metric). Missing where the earlier value is 0, a window
        begins before the data, or refunds of one of the periods may still arrive.

    Raises
    ------
    ParameterError
        If a period is not complete, a metric or column is unknown, or `by` names a period.
    DesignError
        If a sum does not add up over buyers.

    Examples
    --------
    >>> import datetime as dt
    >>> import strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> found = change(shop, metrics=["gmv"], period="month", before=dt.date(2025, 5, 1), after=dt.date(2025, 6, 1))
    >>> found[["metric", "n_units"]].shape
    (1, 2)
    """
    asked = _asked(shop, metrics, "buyer")
    if not asked:
        raise ParameterError("metrics names none; ask for at least one, such as gmv")
    starts = two_periods(shop, period, before, after)
    expressions, inner = grouping(shop, by, _CHANGED)
    if inner:
        raise ParameterError(f"by names the columns to group by, not a period such as {inner}")
    needed = list({part.name: part for metric in asked for part in parts(metric)}.values())
    sides: list[tuple[Scope, dict[str, Metric]]] = []
    last = next_start(starts[1], period) - _DAY
    sums = [table(shop, by=by, metrics=[], since=starts[0], through=last)[list(by)] if by else pd.DataFrame(index=[0])]
    for side, start in zip(_SIDES, starts, strict=True):
        end = next_start(start, period) - _DAY
        for months in sorted({part.trailing_months for part in needed}):
            opens = months_later(end + _DAY, -months) if months else start
            if opens >= shop.data_from:
                held = {f"{side} {part.name}": part for part in needed if part.trailing_months == months}
                sides.append((Scope(shop, expressions, None, opens, end, str(len(sides))), held))
                found = table(shop, by=by, metrics=[_now(p) for p in held.values()], since=opens, through=end)
                sided = {part.name: name for name, part in held.items()}
                sums.append(found.drop(columns="complete").rename(columns=sided))
    known = merged(sums, list(by))
    known = known.fillna(dict.fromkeys(known.columns.difference(list(by)), 0))
    names = [name for _, held in sides for name in held]
    logs = {metric.name: log for metric in asked if (log := _log_change(metric, names))}
    if logs:
        keys = [*sides[0][0].aliases(), "unit"]
        stacked = " union all ".join(_wide(keys, _rows(scope, held, "buyer"), held, names) for scope, held in sides)
        summed = ", ".join([*keys, *(f"coalesce(sum({column(name)}), 0) as {column(name)}" for name in names)])
        rows = f"select {summed} from ({stacked}) {grouped(len(keys))}"
        spread = _spread([scope for scope, _ in sides], rows, names, logs)
        known = merged([known, spread], list(by))
        _hold_sums(known, names, "buyer")
    final = {metric.name: not counts_refunds(metric) or not immature(shop, starts, period) for metric in asked}
    return pd.concat([_changed(known, metric, list(by), final[metric.name]) for metric in asked], ignore_index=True)


def yardsticks(
    shop: Dataset, *, period: Period, before: dt.date, after: dt.date, by: Sequence[str] = ()
) -> pd.DataFrame:
    """Judge one change by orders, by GMV and by spend per annual active buyer, side by side.

    Parameters
    ----------
    before, after, by
        As in `change`.

    Returns
    -------
    DataFrame
        The rows of `change`, then rank (1 grew most by this yardstick), agree (whether all yardsticks of the group that
        can be had point the same way) and apart (whether they disagree beyond error: one interval lies above 0 and
        another below).

    Examples
    --------
    >>> import datetime as dt
    >>> import strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> found = yardsticks(shop, period="month", before=dt.date(2025, 5, 1), after=dt.date(2025, 6, 1))
    >>> found["metric"].tolist()
    ['orders', 'gmv', 'spend_per_annual_active_buyer']
    """
    rows = change(shop, metrics=YARDSTICKS, period=period, before=before, after=after, by=by)
    rows["rank"] = rows.groupby("metric", sort=False)["change"].rank(ascending=False, method="min").astype("Int64")
    group = rows.groupby(list(by), dropna=False, sort=False).ngroup() if by else pd.Series(0, rows.index)
    signs = np.sign(rows["change"]).groupby(group)
    above, below = ((held.groupby(group).transform("any")) for held in (rows["conf_low"] > 0, rows["conf_high"] < 0))
    return rows.assign(agree=signs.transform("nunique") <= 1, apart=above & below)


def _asked(shop: Dataset, metrics: Sequence[str | Metric], cluster: str) -> list[Metric]:
    if cluster not in get_args(Cluster):
        raise ParameterError(
            f"a cluster is merchant or buyer, not {cluster!r}{nearest(str(cluster), get_args(Cluster))}"
        )
    asked = chosen(metrics, shop.columns("order_lines"))
    wrong = [m.name for m in asked for p in parts(m)
             if p.clock != "paid_at" or p.per not in ("line", cluster) or {"rank", "members"} & words_of([p])]  # fmt: skip
    if wrong:
        raise ParameterError(
            f"{', '.join(wrong)} cannot be summed over {cluster}s, so that no error is had; leave it out"
        )
    return asked


def _now(metric: Metric) -> Metric:
    return replace(metric, trailing_months=0)


def _wide(keys: list[str], rows: str, held: Mapping[str, Metric], names: list[str]) -> str:
    """Give rows every column of `names`, missing where they hold another side's."""
    values = (column(name) if name in held else f"cast(null as double) as {column(name)}" for name in names)
    return f"select {', '.join([*keys, *values])} from ({rows})"


def _rows(scope: Scope, held: Mapping[str, Metric], cluster: str) -> str:
    """Return the query of one row a group and cluster with the value of each metric under its name."""
    named = [replace(metric, name=name) for name, metric in held.items()]
    plain, own = ([m for m in named if (m.per == "line") == line] for line in (True, False))
    key = f"{cluster}_id"  # of which a row has one: to count distinct ones of it would cost as much as all the rest
    counted = [replace(m, sql=f"least(count({key}), 1)") if m.sql == f"count(distinct {key})" else m for m in plain]
    inner = unit_rows(scope, own, cluster, *(valued(scope.shop, metric) for metric in counted))
    if not own:
        return inner
    kept = [*scope.aliases(), "unit"]
    values = [f"any_value({column(m.name)}) as {column(m.name)}" for m in plain] + [valued(scope.shop, m) for m in own]
    return f"select {', '.join([*kept, *values])} from ({inner}) {grouped(len(kept))}"


def _spread(
    scopes: Sequence[Scope], rows: str, names: list[str], influences: Mapping[str, tuple[str, str]]
) -> pd.DataFrame:
    """Return for each group the sum of each column, and the error of each influence over the clusters that it names.

    An influence is the share by which one cluster moves a figure; those of a group add up to zero, so that their mean square
    is their variance. All is summed as decimals: sums of doubles depend on who adds first.
    """
    keys = scopes[0].aliases()
    over = f"over (partition by {', '.join(keys)})" if keys else "over ()"
    exact = {name: f"sum(cast({column(name)} as decimal(38, 12))) {over}" for name in names}
    totals = [f"cast({sql} as double) as {quoted(f'total of {name}')}" for name, sql in exact.items()]
    items = [f"any_value({quoted(f'total of {name}')}) as {quoted(f'sum of {name}')}" for name in names]
    for name, (sql, counted) in influences.items():
        clusters, squares = f"count(*) filter (where {counted})", f"sum(cast(power({sql}, 2) as decimal(38, 24)))"
        items += [f"sqrt({clusters} / nullif({clusters} - 1.0, 0) * cast({squares} as double)) as {quoted(name)}"]
        items += [f"{clusters} as {quoted(f'n of {name}')}"]
    values = {name: value for scope in scopes for name, value in scope.bindings.items()}
    return scopes[0].frame(
        f"""with unit as ({rows}), held as (select *, {", ".join(totals)} from unit)
            select {", ".join([*keys, *items])} from held {grouped(len(keys))}""",
        **values,
    )


def _total(name: str) -> str:
    return f"nullif({quoted(f'total of {name}')}, 0)"


def _log_change(metric: Metric, names: list[str]) -> tuple[str, str] | None:
    """Return a cluster's influence on the log of after / before and which clusters count; None where a window is not held."""
    signs = zip(parts(metric), (1, -1), strict=False)
    terms = [
        (f"{side} {part.name}", sign * way) for part, sign in signs for side, way in (("after", 1), ("before", -1))
    ]
    if not all(name in names for name, _ in terms):
        return None
    moved = " ".join(f"{'+' if sign > 0 else '-'} {column(name)} / {_total(name)}" for name, sign in terms)
    return moved, " or ".join(f"{column(name)} <> 0" for name, _ in terms)


def _hold_sums(found: pd.DataFrame, names: list[str], cluster: str) -> None:
    for name in names:
        known, over = found[name].astype(float), found[f"sum of {name}"].fillna(0.0)
        # sums of doubles in another order differ by rounding alone, far below a millionth of a cent per yuan
        wrong = ~np.isclose(known, over, rtol=1e-9, atol=1e-6) & known.notna()
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise DesignError(
                f"{name} does not add up over {cluster}s ({over[first]:,.0f} against {known[first]:,.0f}), since one order or "
                "line can belong to several; take the other cluster, or a metric that adds up"
            )


def _changed(known: pd.DataFrame, metric: Metric, by: list[str], final: bool) -> pd.DataFrame:  # noqa: FBT001
    nothing = pd.Series(np.nan, known.index)
    values = {}
    for side in _SIDES:
        sums = [known.get(f"{side} {part.name}", nothing).astype(float) for part in parts(metric)]
        values[side] = sums[0] if len(sums) == 1 else sums[0] / sums[1].where(sums[1] != 0)
    growth = values["after"] / values["before"].where(values["before"] > 0) * (1.0 if final else np.nan)
    error = known.get(metric.name, nothing).astype(float)
    clusters = known.get(f"n of {metric.name}", nothing).fillna(0).astype("int64")
    width = np.exp(_quantile(clusters) * error)
    rows = known[by].assign(metric=metric.name, **values, change=growth - 1, std_error=growth * error)
    return rows.assign(conf_low=growth / width - 1, conf_high=growth * width - 1, n_units=clusters)


def _quantile(clusters: pd.Series) -> np.ndarray:
    from scipy.special import stdtrit  # a table of KPIs needs none of scipy

    degrees = clusters.astype(float).to_numpy() - 1
    return np.asarray(stdtrit(np.where(degrees > 0, degrees, np.nan), 0.5 + _LEVEL / 2))
