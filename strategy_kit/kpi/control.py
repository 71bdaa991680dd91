"""KPIs over time without traffic lights: process control, and the year before with festivals aligned."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import festivals
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.kpi.table import grouping, names_listed, table
from strategy_kit.metrics import Metric, chosen, parts
from strategy_kit.periods import Period, checked_period, months_later, next_start, period_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset

FEWEST, LATEST = 8, 26
RUN, TREND = 8, 6
UNLIKE_DAYS = 2
# mean moving range of normal noise, in standard deviations
_RANGE = 2 / np.sqrt(np.pi)


def process_control(
    shop: Dataset,
    *,
    metric: str | Metric,
    period: Period = "week",
    by: Sequence[str] = (),
    through: dt.date | None = None,
) -> pd.DataFrame:
    """Set limits to what a KPI does by itself, and name the periods in which something else must have happened.

    An individuals chart: the limits lie three standard deviations around the average, the standard deviation being the
    mean change from one period to the next over 1.128. They rest on the latest 26 complete periods without a festival; on
    those before the pilot, if eight are there. Special causes: a point beyond a limit; eight in a row on one side of the average;
    six steps in a row up or down; two of three in the outer third on one side. Weekly sales carry over from one week to
    the next, so that without any cause signals come somewhat more often than the one in about ninety periods of
    independent noise.

    Parameters
    ----------
    through
        Last day that counts; the last day of the data by default. Lines are those known today, and so are refunds.

    Returns
    -------
    DataFrame
        One row a group and period: the `by` columns, the period, value, centre, lower, upper, signal (beyond, run, trend,
        near_limit, festival, or empty), cause (the same in words) and complete. Periods that are not complete, or whose
        refunds have not all arrived, have no signal. No limit lies below 0 for a metric that never does.

    Raises
    ------
    ParameterError
        If the metric, period or a column is unknown.
    DesignError
        If a group has fewer than eight periods to compute limits from.

    References
    ----------
    Wheeler and Chambers (1992), "Understanding statistical process control", chapters 3 and 5.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> found = process_control(sk.open_dataset("data/sample"), metric="orders")
    >>> bool(found.loc[found["cause"] == "618", "signal"].eq("festival").all())
    True
    """
    asked = chosen([metric], shop.columns("order_lines"))[0]
    period = checked_period(period)
    grouping(shop, by, ("period", "value", "centre", "lower", "upper", "signal", "cause", "festival", "complete"))
    known = table(shop, by=[*by, period], metrics=[asked], through=through)
    return control_limits(shop, known, metric=asked, period=period, by=by)


def control_limits(
    shop: Dataset,
    known: pd.DataFrame,
    *,
    metric: str | Metric,
    period: Period = "week",
    by: Sequence[str] = (),
    festivals_of: pd.Series | None = None,
) -> pd.DataFrame:
    """Set the limits of `process_control` for a metric of a table that is there already.

    Parameters
    ----------
    known
        From `table`, by the columns of `by` and the period; further metrics in it are left alone.
    festivals_of
        From `festival_names`, for the rows of `known`; looked up where it is not given.

    Returns
    -------
    DataFrame
        As `process_control` returns.

    Raises
    ------
    DesignError
        If the table is empty, or a group has fewer than eight periods to compute limits from.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> known = table(shop, by=["week"], metrics=["orders", "gmv"])
    >>> control_limits(shop, known, metric="orders").equals(process_control(shop, metric="orders"))
    True
    """
    if known.empty:
        raise DesignError(f"data set {shop.name!r} has no sale, so that no limits can be set; fill the tables")
    names_listed(by)
    asked = chosen([metric], shop.columns("order_lines"))[0]
    known = known[[*by, period, asked.name, "complete"]].rename(columns={asked.name: "value"})
    young = _young(shop, known[period], period) & counts_refunds(asked)
    judged = known["complete"] & known["value"].notna() & ~young
    known["festival"] = festival_names(shop, known[period], period) if festivals_of is None else festivals_of
    groups = known.groupby(list(by), dropna=False, sort=False) if by else [((), known)]
    return pd.concat([_controlled(shop, rows, judged, period, key) for key, rows in groups], ignore_index=True)


def _controlled(shop: Dataset, rows: pd.DataFrame, judged: pd.Series[bool], period: str, key: Any) -> pd.DataFrame:
    usual = rows[judged[rows.index] & (rows["festival"] == "")]
    pilot = shop.description.pilot
    began = (
        None if pilot is None or pilot.placebo else pd.Timestamp(period_start(pilot.starts_on, checked_period(period)))
    )
    before = usual if began is None else usual[usual[period] < began]
    base = (before if len(before) >= FEWEST else usual)["value"].to_numpy(float)[-LATEST:]
    if len(base) < FEWEST:
        where = f" of {key}" if key else ""
        raise DesignError(
            f"limits need {FEWEST} complete {period}s without a festival, but{where} {len(base)} are there"
        )
    centre, sigma = base.mean(), np.abs(np.diff(base)).mean() / _RANGE
    floor = 0.0 if (rows["value"].dropna() >= 0).all() else -np.inf
    result = rows.drop(columns=["festival", "complete"])
    result = result.assign(centre=centre, lower=max(centre - 3 * sigma, floor), upper=centre + 3 * sigma)
    away = usual["value"].to_numpy(float) - centre
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = pd.Series(np.where(away == 0, 0.0, np.clip(away / sigma, -99, 99)), usual.index)
    # a run that a festival interrupts is not one
    stretch = pd.Series(usual.index, usual.index).diff().ne(1).cumsum()
    named = [signals(part.to_numpy(), period).set_index(part.index) for _, part in scores.groupby(stretch)]
    result = result.join(pd.concat(named).reindex(rows.index, fill_value=""))
    held = (rows["festival"] != "") & rows["complete"]
    result.loc[held, "signal"], result.loc[held, "cause"] = "festival", rows.loc[held, "festival"]
    return result.assign(complete=rows["complete"])


def signals(scores: np.ndarray, period: str) -> pd.DataFrame:
    """Name the special cause of each score in turn, by its strongest rule, and say it in words.

    Parameters
    ----------
    scores
        (T,) distances from the average in standard deviations.
    period
        What a point is, for the words.

    Returns
    -------
    DataFrame
        (T,) signal and cause, empty where there is none.

    Examples
    --------
    >>> signals(np.array([0.1, 3.5, -0.2]), "week")["cause"].tolist()
    ['', 'above the upper limit', '']
    """
    sides, steps = np.sign(scores), np.sign(np.diff(scores, prepend=scores[:1]))
    runs, trends, named = _lengths(sides), _lengths(steps), []
    for at, score in enumerate(scores):
        high = score > 0
        last = scores[max(at - 2, 0) : at + 1] * sides[at]
        run, trend = runs[at], trends[at]
        if abs(score) > 3:
            found = ("beyond", "above the upper limit" if high else "below the lower limit")
        elif run >= RUN:
            found = ("run", f"{run} {period}s in a row {'above' if high else 'below'} the average")
        elif trend >= TREND:
            found = ("trend", f"{trend} {period}s in a row {'rising' if steps[at] > 0 else 'falling'}")
        elif abs(score) > 2 and (last > 2).sum() >= 2:
            found = ("near_limit", f"two of three {period}s near the {'upper' if high else 'lower'} limit")
        else:
            found = ("", "")
        named.append(found)
    return pd.DataFrame(named, columns=["signal", "cause"])


def _lengths(signs: np.ndarray) -> np.ndarray:
    """Count at each place how many signs up to it are alike and not zero."""
    place = np.arange(len(signs))
    began = np.maximum.accumulate(np.where(np.r_[True, signs[1:] != signs[:-1]][: len(signs)], place, 0))
    return np.where(signs == 0, 0, place - began + 1)


def year_on_year(
    shop: Dataset, *, metrics: Sequence[str | Metric], by: Sequence[str] = (), period: Period = "week"
) -> pd.DataFrame:
    """Compare each complete period with the year before; weeks of a festival with the same weeks of its same phase.

    Festivals come from the data set's calendar table; without one, in Asia/Shanghai, from the dates that the kit ships; else
    weeks are compared with those 52 weeks earlier. Months and quarters are compared with the same ones, and `matched`
    says by how many days a festival differs between them. New buyers are not compared with the data's first year, in which
    many are new only because the data begin.

    Returns
    -------
    DataFrame
        One row a group, complete period and metric: the `by` columns, the period, metric, value, compared_with (start of
        the period compared with; missing where there is none), before, change (share; missing where a side is, or refunds
        have not all arrived), matched (words).

    Raises
    ------
    ParameterError
        If a metric, column or period is unknown, or the period is a day.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> found = year_on_year(sk.open_dataset("data/sample"), metrics=["gmv"], period="month")
    >>> found["compared_with"].dropna().dt.strftime("%Y-%m").tolist()
    []
    """
    asked = chosen(metrics, shop.columns("order_lines"))
    if checked_period(period) == "day":
        raise ParameterError("days are not compared with the year before, as weekdays differ; take weeks or longer")
    grouping(shop, by, ("metric", "value", "compared_with", "before", "change", "matched"))
    known = table(shop, by=[*by, period], metrics=asked)
    known = known[known["complete"]].drop(columns="complete")
    names = [metric.name for metric in asked]
    long = known.melt([*by, period], names, var_name="metric", value_name="value")
    pairs = _pairs(shop, sorted(known[period].dt.date.unique()), period)
    rows = long.merge(pairs, on=period, how="left")
    past = long.rename(columns={period: "compared_with", "value": "before"})
    rows = rows.merge(past, on=[*by, "compared_with", "metric"], how="left")
    rows["compared_with"] = rows["compared_with"].where(rows["before"].notna())
    refunding = [metric.name for metric in asked if counts_refunds(metric)]
    young = rows["metric"].isin(refunding) & _young(shop, rows[period], period)
    # in the first year of the data many a unit is new only because they begin
    counting_new = [metric.name for metric in asked if any("is_new" in part.sql for part in parts(metric))]
    young |= rows["metric"].isin(counting_new) & (
        rows["compared_with"] < pd.Timestamp(months_later(shop.data_from, 12))
    )
    rows["change"] = (rows["value"] / rows["before"].where(rows["before"] > 0) - 1).where(~young)
    columns = [*by, period, "metric", "value", "compared_with", "before", "change", "matched"]
    return rows[columns].sort_values([*by, "metric", period], ignore_index=True)


def _pairs(shop: Dataset, starts: list[dt.date], period: Period) -> pd.DataFrame:
    """Return for each start the start to compare it with, and why it is that one."""
    if not starts:
        types = {period: "datetime64[us]", "compared_with": "datetime64[us]", "matched": "str"}
        return pd.DataFrame({name: [] for name in types}).astype(types)
    days = festival_days(shop, months_later(starts[0], -15), months_later(starts[-1], 4))
    if period == "week" and len(days):
        found = _alike(festivals.year_before(starts, days), days).rename(columns={"week": period})
    elif period == "week":
        earlier = [start - dt.timedelta(weeks=52) for start in starts]
        found = pd.DataFrame(
            {period: starts, "compared_with": earlier, "matched": "52 weeks earlier; no calendar is known"}
        )
    else:
        earlier = [months_later(start, -12) for start in starts]
        words = [_festival_shift(days, *pair, period) for pair in zip(starts, earlier, strict=True)]
        found = pd.DataFrame({period: starts, "compared_with": earlier, "matched": words})
    found = found.astype({period: "datetime64[us]", "compared_with": "datetime64[us]"})
    outside = found["compared_with"].notna() & ~found["compared_with"].isin(pd.DatetimeIndex(starts))
    found.loc[outside, "matched"] = f"the {period} before is not complete in the data"
    return found


def _alike(found: pd.DataFrame, days: pd.DataFrame) -> pd.DataFrame:
    """Take back matches of weeks whose festival days differ by more than two: they are not the same week of it."""
    marked = pd.to_datetime(days.dropna(subset="festival")["date"])
    counts = (marked - pd.to_timedelta(marked.dt.day_of_week, unit="D")).value_counts()
    now, then = (found[name].map(counts).fillna(0) for name in ("week", "compared_with"))
    unlike = found["compared_with"].notna() & ((now - then).abs() > UNLIKE_DAYS)
    words = found["matched"].str.partition(" (")[0] + ": too unlike, festival days "
    words += now.astype(int).astype(str) + " against " + then.astype(int).astype(str)
    return found.assign(
        compared_with=found["compared_with"].where(~unlike), matched=found["matched"].where(~unlike, words)
    )


def _festival_shift(days: pd.DataFrame, start: dt.date, earlier: dt.date, period: Period) -> str:
    """Say by how many days each festival differs between a period and the same one a year before."""
    counts = []
    for first in (start, earlier):
        inside = days["date"].between(pd.Timestamp(first), pd.Timestamp(next_start(first, period)), inclusive="left")
        counts.append(days.loc[inside & (days["phase"] != festivals.UNKNOWN), "festival"].value_counts())
    both = pd.concat(counts, axis=1, keys=["now", "then"]).fillna(0).astype(int).sort_index()
    moved = [f"{name} {row.now} days against {row.then}" for name, row in both.iterrows() if row.now != row.then]
    return "; ".join([f"the same {period} a year before", *moved])


def festival_days(shop: Dataset, first: dt.date, last: dt.date) -> pd.DataFrame:
    """Return date, festival, phase: the data set's calendar, else in Asia/Shanghai the shipped one, else no row."""
    if "calendar" in shop.tables:
        return shop.engine.frame("select cast(date as timestamp) as date, festival, phase from calendar")
    if shop.description.timezone == "Asia/Shanghai":
        return festivals.shipped(first, last)
    return pd.DataFrame({"date": pd.DatetimeIndex([]), "festival": [], "phase": []})


def festival_names(shop: Dataset, starts: pd.Series, period: Period) -> pd.Series:
    """Name the festival that each day or week belongs to, empty where it belongs to none; longer periods belong to none.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> festival_names(sk.open_dataset("data/sample"), pd.Series(pd.to_datetime(["2025-06-16", "2025-07-21"])), "week").tolist()
    ['618', '']
    """
    named: dict[pd.Timestamp, str] = {}
    if period in ("day", "week"):
        # beyond both ends, so that a festival is seen whole
        first, last = (months_later(start.date(), way) for start, way in ((starts.min(), -4), (starts.max(), 4)))
        days = festival_days(shop, first, last)
        marked = days.dropna(subset="festival")
        named = (
            festivals.festival_weeks(days)
            if period == "week"
            else dict(zip(marked["date"], marked["festival"], strict=True))
        )
    return pd.Series([named.get(start, "") for start in starts], starts.index, dtype="str")


def counts_refunds(metric: Metric) -> bool:
    """Whether a metric counts refunds to the period of the order, so that it is not final while they may arrive.

    Examples
    --------
    >>> from strategy_kit.metrics import METRICS
    >>> counts_refunds(METRICS["refund_rate"]), counts_refunds(METRICS["gmv"])
    (True, False)
    """
    return any("refund_amount" in part.columns and part.clock == "paid_at" for part in parts(metric))


def immature(shop: Dataset, starts: Sequence[dt.date], period: Period) -> list[dt.date]:
    """Return the periods of which refunds may still arrive.

    Examples
    --------
    >>> import datetime as dt
    >>> import strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> immature(shop, [dt.date(2025, 5, 1), dt.date(2025, 7, 1)], "month")
    [datetime.date(2025, 7, 1)]
    """
    return [start for start in starts if next_start(start, period) - dt.timedelta(days=1) > shop.matured_through]


def _young(shop: Dataset, starts: pd.Series, period: Period) -> pd.Series[bool]:
    return starts.isin(pd.DatetimeIndex(immature(shop, sorted({start.date() for start in starts}), period)))
