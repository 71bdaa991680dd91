"""Advertising elsewhere and demand here: how sales follow it over months, an association with a placebo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit import distributed_lag
from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.whole_web.rows import CLASSES, FEWEST, both_sides, comparable, days_of, months_known

if TYPE_CHECKING:
    import datetime as dt

    from numpy.typing import ArrayLike

    from strategy_kit.dataset import Dataset
    from strategy_kit.distributed_lag import DistributedLag

Array = np.ndarray
LAGS, LEADS = 3, 2


class Advertisers(NamedTuple):
    """Merchants that sell here and advertise elsewhere in every month: logs (N, T) of both, and who they are.

    Attributes
    ----------
    sales, spend
        (N, T) logs of sales here and of advertising elsewhere.
    category, confidence
        (N,) category, and the class that most of the merchant's estimates have.
    months
        (T,) first days.
    left_out
        Merchants with some advertising elsewhere that lack a month of it, or sold nothing here in one.

    Examples
    --------
    >>> Advertisers(np.zeros((1, 2)), np.zeros((1, 2)), np.array(["toys"]), np.array(["high"]), pd.Index([1, 2]), 3).left_out
    3
    """

    sales: Array
    spend: Array
    category: Array
    confidence: Array
    months: pd.Index
    left_out: int


def advertisers(shop: Dataset, *, since: dt.date | None = None, through: dt.date | None = None) -> Advertisers:
    """Collect sales here and advertising elsewhere of the merchants that have both in every month of the window.

    Raises
    ------
    DesignError
        If the table, its ad_spend or two common months are missing, or fewer than ten merchants have both in every month.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> advertisers(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no offplatform_sales table, so what merchants sell elsewhere is \
not known; add it
    """
    months = months_known(shop, since, through, least=2, columns=("ad_spend",))
    found = shop.engine.frame(
        f"""select s.merchant_id, coalesce(m.category, 'unknown') as category, s.month, s.on_platform, s.ad_spend, s.confidence
            from ({both_sides(shop)}) as s join merchants m on s.merchant_id = m.merchant_id where s.ad_spend > 0
            order by 1, 3""",
        days_of(months),
    )
    whole = found[found["on_platform"] > 0].groupby("merchant_id")["month"].transform("size") == len(months)
    kept = found.loc[whole.index[whole]]
    count = len(kept) // len(months)
    if count < FEWEST:
        raise DesignError(
            f"{count} merchants sell here and advertise elsewhere in each of {len(months)} months, where this needs {FEWEST}; "
            "take a shorter window"
        )
    sales, spend = (np.log(kept[name].to_numpy(float).reshape(count, -1)) for name in ("on_platform", "ad_spend"))
    ranks = kept["confidence"].to_numpy(int).reshape(count, -1)
    often = np.stack([(ranks == rank).sum(axis=1) for rank in range(len(CLASSES))], axis=1).argmax(axis=1)
    classes = np.array(CLASSES[::-1])[often]
    first = kept["category"].to_numpy().reshape(count, -1)[:, 0]
    return Advertisers(sales, spend, first, classes, pd.DatetimeIndex(months), found["merchant_id"].nunique() - count)


def lag_profile(
    sales: ArrayLike, spend: ArrayLike, *, groups: ArrayLike | None = None, lags: int = LAGS, leads: int = LEADS
) -> Estimates:
    """Estimate how log sales follow log spend over the months since, with merchant and month effects: an association.

    y_it = a_i + w_gt + Σ_k b_k x_i,t-k + e_it, k from -`leads` to `lags`, months by group g. b_k is an elasticity: 1% more
    spend than the merchant's own usual, beyond what the month brings to its group, goes with b_k % more sales k months later.
    Leads are a placebo: what is spent later cannot have moved sales, so that leads off 0 say that spend follows sales. They
    cannot see spend that is set from the same month's sales: that is in lag 0.

    Parameters
    ----------
    sales, spend
        (N, T) logs, without gaps.
    groups
        (N,) such as categories; one group by default.

    Returns
    -------
    Estimates
        Label lag (negative: the spend comes later). Errors are clustered by merchant, as `distributed_lag` says, with Student's t
        of merchants less groups; who is alone in a group is left out. The overall estimate is the sum over lags from 0 on.
        `details["cumulative"]`: lag, estimate, std_error, conf_low, conf_high of sums from lag 0 on, and "after", the sum from
        lag 1 on, which the same month cannot blur; `details["placebo"]`: statistic, degrees_of_freedom, p_value (F) of the
        joint test that all leads are 0.

    Raises
    ------
    ParameterError
        If shapes do not fit, a value is not finite, or lags or leads are no whole numbers of 1 or more.
    DesignError
        If merchants or months are too few, or spend does not move by itself within merchants.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(200, 20))
    >>> y = 0.5 * x + 0.2 * np.roll(x, 1, axis=1) + rng.normal(size=(200, 20))
    >>> lag_profile(y, x, lags=2, leads=1).estimate.round(1).tolist()[1:3]
    [0.5, 0.2]
    """
    found = distributed_lag.fitted(sales, spend, lags=lags, leads=leads, groups=groups)
    law = Student(float(found.freedom))
    details = {"cumulative": _cumulative(found, law), "placebo": found.placebo}
    notes = ["an association: nobody set advertising by lot", "leads (negative lags) are a placebo"]
    notes += [f"merchants alone in their group, left out: {found.alone}"] * (found.alone > 0)
    value, error = found.sums((found.lags >= 0).astype(float)[None])
    return Estimates("lag_profile", "log sales here", pd.DataFrame({"lag": found.lags}), found.estimate,
                     found.covariance, np.full(len(found.lags), found.units), "merchant", (found.units, 0),
                     (float(value[0]), float(error[0])), law, details=details, notes=tuple(notes))  # fmt: skip


def advertising_response(found: Advertisers, *, lags: int = LAGS, leads: int = LEADS) -> Estimates:
    """Estimate the lag profile of merchants within categories, and note who was left out.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> x = rng.normal(size=(60, 12))
    >>> y = 0.3 * x + rng.normal(0, 0.1, (60, 12))
    >>> given = Advertisers(y, x, np.repeat(["toys", "books"], 30), np.repeat("high", 60), pd.RangeIndex(12), 5)
    >>> advertising_response(given, lags=1, leads=1).notes[-1]
    'merchants without sales here and advertising elsewhere in every month, left out: 5 of 65'
    """
    fit = lag_profile(found.sales, found.spend, groups=found.category, lags=lags, leads=leads)
    every = found.left_out + len(found.sales)
    note = (
        f"merchants without sales here and advertising elsewhere in every month, left out: {found.left_out} of {every}"
    )
    return replace(fit, notes=(*fit.notes, note)) if found.left_out else fit


def response_by_confidence(
    found: Advertisers, *, lags: int = LAGS, leads: int = LEADS, level: float = 0.95
) -> pd.DataFrame:
    """Return the sum over lags from 0 on by the class that most of a merchant's estimates have.

    Returns
    -------
    DataFrame
        confidence (those with at least nine merchants more than categories that tell the lags apart), estimate, std_error,
        conf_low, conf_high, merchants.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> x = rng.normal(size=(60, 12))
    >>> y = 0.3 * x + rng.normal(0, 0.1, (60, 12))
    >>> given = Advertisers(y, x, np.repeat("toys", 60), np.repeat(["high", "low"], 30), pd.RangeIndex(12), 0)
    >>> response_by_confidence(given, lags=1, leads=1)["merchants"].tolist()
    [30, 30]
    """
    rows = []
    for name in CLASSES:
        mine = found.confidence == name
        if comparable(found.category[mine]) < max(FEWEST - 1, lags + leads + 2):
            continue
        fit = lag_profile(found.sales[mine], found.spend[mine], groups=found.category[mine], lags=lags, leads=leads)
        row = fit.glance(level)[["estimate", "std_error", "conf_low", "conf_high"]]
        rows.append(row.assign(confidence=name, merchants=int(mine.sum())))
    columns = ["confidence", "estimate", "std_error", "conf_low", "conf_high", "merchants"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def _cumulative(found: DistributedLag, law: Student) -> pd.DataFrame:
    since = found.lags[found.lags >= 0]
    sums = [(found.lags >= 0) & (found.lags <= k) for k in since] + [found.lags >= 1]
    value, error = found.sums(np.array(sums, dtype=float))
    low, high = law.interval(value, error, 0.95)
    names = [*map(str, since), "after"]
    return pd.DataFrame({"lag": names, "estimate": value, "std_error": error, "conf_low": low, "conf_high": high})
