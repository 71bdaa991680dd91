"""From a triangle to curves over ages; what gives a triangle again replaces its values. Other frames are refused."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from strategy_kit.cohort.triangle import COLUMNS, first_days, laid_out, last_number, numbered, starts_of, sums, triangle
from strategy_kit.errors import DesignError, ParameterError, nearest, whole_number
from strategy_kit.periods import Period, checked_period
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset
    from strategy_kit.metrics import Metric

Over = Literal["all_available", "common"]
_SUPPORTED = "merchant_id in (select merchant_id from support where started_on <= $through and merchant_id is not null)"


def retention(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn a triangle of active units into shares of the cohort; one in which more than all are active is refused.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> float(retention(sk.cohort.triangle(sk.open_dataset("data/sample"), unit="buyer"))["value"].max())
    1.0
    """
    _hold(frame)
    if (frame["value"] > frame["cohort_size"]).any():
        raise ParameterError("retention is of active units, but a value exceeds its cohort_size; follow value='active'")
    return frame.assign(value=frame["value"] / frame["cohort_size"])


def value_retention(frame: pd.DataFrame, base: int = 0) -> pd.DataFrame:
    """Divide each value by its cohort's at age `base`; missing where that is 0 or not observed.

    Age 0 is a part of a period, so that a share of it overstates what is kept; age 1 is whole.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> frame = sk.cohort.triangle(sk.open_dataset("data/sample"), unit="merchant", value="gmv")
    >>> value_retention(frame, base=1).query("age == 1")["value"].dropna().unique().tolist()
    [1.0]
    """
    _hold(frame, ("base", base))
    at_base = frame["cohort"].map(frame[frame["age"] == base].set_index("cohort")["value"])
    return frame.assign(value=(frame["value"] / at_base).where(at_base != 0))


def cumulative_per_member(frame: pd.DataFrame) -> pd.DataFrame:
    """Add up each cohort's values from age 0 on, per member; missing from an age that is not observed on.

    The value must add up over periods, as gmv does and active units do not.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> frame = sk.cohort.triangle(sk.open_dataset("data/sample"), unit="buyer", value="gmv")
    >>> int(cumulative_per_member(frame)["value"].max())
    8157
    """
    _hold(frame)
    cells = frame.sort_values(["cohort", "age"])
    unknown = cells["value"].isna().groupby(cells["cohort"]).cummax()
    return frame.assign(value=cells.groupby("cohort")["value"].cumsum().mask(unknown) / cells["cohort_size"])


def average(
    frame: pd.DataFrame,
    over: Over = "all_available",
    *,
    through_age: int | None = None,
    keep_left_censored: bool = False,
) -> pd.DataFrame:
    """Average shares or values per member, as the functions above give them, over cohorts, weighted by cohort size.

    Over "all_available", each age has all cohorts with a value, so that the curve also moves because young cohorts drop
    out; over "common", the same at every age: those with a value at each age from 0 to `through_age`, the last one shown.
    Where no cohort is left, a DesignError says so.

    Returns
    -------
    DataFrame
        One row an age: age, value, cohorts, members. `attrs["left_out"]` counts left-censored cohorts, if not kept.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> shares = retention(sk.cohort.triangle(sk.open_dataset("data/sample"), unit="buyer"))
    >>> average(shares, "common", through_age=3)["cohorts"].tolist()
    [6, 6, 6, 6]
    """
    if over not in get_args(Over):
        raise ParameterError(f"over is all_available or common, not {over!r}{nearest(str(over), get_args(Over))}")
    _hold(frame, *[("through_age", through_age)][: over == "common" or through_age is not None])
    last = frame["age"].max() if through_age is None else through_age
    kept = frame[keep_left_censored | ~frame["left_censored"]]
    seen = kept[kept["observed"] & kept["value"].notna() & (kept["age"] <= last)]
    if over == "common":
        seen = seen[(seen.groupby("cohort")["age"].transform("size") == last + 1).to_numpy()]
    left_out = frame["cohort"].nunique() - kept["cohort"].nunique()
    if seen.empty:
        law = f"no cohort has the values to average, and {left_out} are left out as left-censored"
        raise DesignError(f"{law}; take a smaller through_age or burn-in, or keep_left_censored=True")
    weighted = seen.assign(value=seen["value"] * seen["cohort_size"]).groupby("age", as_index=False)
    result = weighted.agg(value=("value", "sum"), cohorts=("cohort", "size"), members=("cohort_size", "sum"))
    result["value"] /= result["members"]
    result.attrs["left_out"] = left_out
    return result


def by_calendar(frame: pd.DataFrame, *, period: Period = "month") -> pd.DataFrame:
    """Put the cells by calendar period, whose layers add up to its total: cohort, period (first day), value, observed.

    The period is that of the triangle; another one is refused.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> by_calendar(sk.cohort.triangle(sk.open_dataset("data/sample"), unit="buyer")).columns.tolist()
    ['cohort', 'period', 'value', 'observed']
    """
    _hold(frame)
    cells = frame.sort_values(["cohort", "age"], ignore_index=True)
    born, seen = numbered(cells["cohort"], checked_period(period)), cells["observed"].to_numpy(dtype=bool)
    at = born + cells["age"].to_numpy()
    foreign = (first_days(born, period) != pd.DatetimeIndex(cells["cohort"])).any()
    # what is observed is one stretch of the calendar; numbered by another period it is not
    if foreign or (seen.any() and (~seen & (at >= at[seen].min()) & (at <= at[seen].max())).any()):
        raise ParameterError(f"the triangle's periods are not of one {period}; name the period that it was made with")
    return cells.assign(period=first_days(at, period))[["cohort", "period", "value", "observed"]]


SILENCE = {"day": 90, "week": 13, "month": 3, "quarter": 2}


def survival(
    shop: Dataset,
    *,
    period: Period = "month",
    gone_after: int | None = None,
    burn_in_days: int = 60,
    through: dt.date | None = None,
) -> pd.DataFrame:
    """Follow merchants from their first sale on: how many still sell, and how much, with and without the silent.

    A merchant exits after its last sale once it has been silent for `gone_after` complete periods up to the end of the
    data: by default 90 days, 13 weeks, 3 months or 2 quarters, since after a shorter silence merchants who sell seldom
    would count as gone. It may yet come back. Exits of the last periods cannot be seen yet, so that all others are
    censored at the last period in which one could be. Left-censored merchants (see `triangle`) are left out; if none is
    left, a DesignError says so. With `through`, the data are read as they stood once that day had settled.

    Returns
    -------
    DataFrame
        One row an age: age; at_risk (merchants followed to this age that had not exited before); exits (last sale one
        period before); survival (share with a sale at this age or later) and std_error, missing where nobody is at risk;
        members (merchants whose age is observed, gone ones too); value_per_member and value_per_survivor (GMV of the age
        over members, and over those who sold). `attrs["left_out"]` counts merchants that are left_censored, and those
        too_young for one complete period.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> curve = survival(sk.open_dataset("data/sample"))
    >>> bool((curve["value_per_member"] <= curve["value_per_survivor"]).all())
    True
    """
    gone_after = SILENCE[checked_period(period)] if gone_after is None else gone_after
    if not whole_number(gone_after, 1):
        raise ParameterError(f"gone_after is a whole number of periods, 1 or more, not {gone_after!r}")
    last = dt.date.max
    if through is not None:
        last = min(through + dt.timedelta(days=shop.description.settlement_days), shop.data_through)
        shop = replace(shop, description=replace(shop.description, data_through=last))
    cells = triangle(shop, unit="merchant", period=period, burn_in_days=burn_in_days)
    cells["gmv"] = triangle(shop, unit="merchant", period=period, value="gmv", burn_in_days=burn_in_days)["value"]
    known = cells["observed"] & ~cells["left_censored"]
    if not known.any():
        raise DesignError(
            f"no merchant first sold in a complete {period} {burn_in_days} days into the data; shorten the burn-in"
        )
    totals = cells[known].groupby("age")[["cohort_size", "value", "gmv"]].sum()
    lives = shop.engine.frame(
        f"""select date_trunc('{period}', first) as born, date_trunc('{period}', last) as gone, count(*) as merchants
            from (select merchant_id, min(paid_at) as first, max(paid_at) as last from order_lines
                  where {sold_lines(shop)} and cast(paid_at as date) <= $last and merchant_id is not null group by 1)
            group by 1, 2""",
        {"last": last},
    )
    lives[["born", "gone"]] = lives[["born", "gone"]].apply(numbered, period=period)
    dropped = lives["born"].isin(numbered(cells.loc[cells["left_censored"], "cohort"], period))
    end = last_number(shop, period)
    result = _kaplan_meier(lives[~dropped], end - gone_after + 1, len(totals)).assign(members=totals["cohort_size"])
    result["value_per_member"] = totals["gmv"] / totals["cohort_size"]
    result["value_per_survivor"] = (totals["gmv"] / totals["value"]).where(totals["value"] > 0)
    groups = {"left_censored": dropped, "too_young": ~dropped & (lives["born"] > end)}
    result.attrs["left_out"] = {name: int(lives.loc[which, "merchants"].sum()) for name, which in groups.items()}
    return result


def _kaplan_meier(lives: pd.DataFrame, horizon: int, ages: int) -> pd.DataFrame:
    """Estimate survival by age, where exits are seen up to the period numbered `horizon`."""
    stop = np.minimum(lives["gone"] + 1, horizon) - lives["born"]
    groups = (stop >= 0, lives["gone"] < horizon)
    ended, exits = (np.bincount(stop[w], lives["merchants"][w], ages).astype("int64") for w in groups)
    at_risk = ended[::-1].cumsum()[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.cumprod(1 - exits / at_risk)
        std_error = share * np.sqrt(np.cumsum(exits / (at_risk * (at_risk - exits))))
    columns = {"at_risk": at_risk, "exits": exits, "survival": share, "std_error": std_error}
    return pd.DataFrame({"age": np.arange(ages), **columns})


def supported(
    shop: Dataset, *, period: Period = "month", value: str | Metric = "gmv", burn_in_days: int = 60
) -> pd.DataFrame:
    """Set cohorts of supported merchants beside those of the others, by first sale, averaged by age: no effect of support.

    Support was not assigned at random, and merchants are supported after they sold: whoever is supported late has lasted
    that long, so that the supported look better even where support does nothing. For an effect, see `did`. Without a
    support table, or a cohort of either group, a DesignError says so.

    Returns
    -------
    DataFrame
        One row a group and age: group ("supported", when it began by the end of the data, or "not supported"), age, value
        (per member, exits kept as zeros), members, cohorts, reading ("description, not effect" in every row).
        `attrs["left_out"]` counts left-censored cohorts by group.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> supported(sk.open_dataset("data/sample"))["reading"].unique().tolist()
    ['description, not effect']
    """
    starts_of(shop, "merchant", "support")
    curves = {}
    for group, only in {"supported": _SUPPORTED, "not supported": f"not {_SUPPORTED}"}.items():
        found = sums(shop, "merchant_id", checked_period(period), value, "", only)
        if found.empty:
            raise DesignError(f"data set {shop.name!r} has no sale of a {group} merchant, so nothing can be compared")
        frame = laid_out(shop, found, period, burn_in_days)
        curves[group] = average(frame.assign(value=frame["value"] / frame["cohort_size"]))
    result = pd.concat(curves, names=["group"]).reset_index("group").assign(reading="description, not effect")
    result.attrs["left_out"] = {group: curve.attrs["left_out"] for group, curve in curves.items()}
    return result[["group", "age", "value", "members", "cohorts", "reading"]].reset_index(drop=True)


def _hold(frame: pd.DataFrame, *ages: tuple[str, int | None]) -> None:
    if lacking := [name for name in COLUMNS if name not in frame]:
        raise ParameterError(f"frame is no triangle, as it lacks {', '.join(lacking)}; make it with cohort.triangle")
    for name, age in ages:
        if not whole_number(age, 0) or age not in frame["age"].to_numpy():
            raise ParameterError(f"{name} is an age of the triangle, 0 to {frame['age'].max()}, not {age!r}")
