"""Merchant trust: complaints an order, and whether experience comes before growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit import distributed_lag
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.periods import day_of
from strategy_kit.platform_health.costs import require
from strategy_kit.platform_health.rates import rates_panel
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

Array = np.ndarray


def complaints(shop: Dataset, *, since: dt.date, through: dt.date) -> pd.DataFrame:
    """Return complaints an order by category and week, a ratio of sums over the merchants whose complaints are known.

    Returns
    -------
    DataFrame
        category, week, merchants (with known complaints), complaints, orders (theirs), rate; rate is missing without orders.

    Raises
    ------
    DesignError
        If there are no experience.complaints.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> complaints(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no experience.complaints, which this question rests on; add the data
    """
    require(shop, "experience", "complaints")
    found = shop.engine.frame(
        f"""select coalesce(m.category, 'unknown') as category, cast(e.week as date) as week, count(*) as merchants,
            cast(sum(e.complaints) as double) as complaints, cast(sum(coalesce(o.orders, 0)) as double) as orders
            from experience e join merchants m using (merchant_id)
            left join (select merchant_id, cast(date_trunc('week', paid_at) as date) as week,
                       count(distinct order_id) as orders from order_lines where {sold_lines(shop)} group by 1, 2) o
                on o.merchant_id = e.merchant_id and o.week = cast(e.week as date)
            where e.complaints is not null and cast(e.week as date) between $since and $through
            group by 1, 2 order by 1, 2""",
        {"since": since, "through": through},
    )
    rate = (found["complaints"] / found["orders"]).where(found["orders"] > 0)
    return found.assign(week=pd.to_datetime(found["week"]), rate=rate)


def complaints_panel(shop: Dataset, *, since: dt.date, through: dt.date) -> Panel:
    """Build the panel of complaints an order by category and week, the pilots treated from their start.

    Categories without orders in some week, and pilots that begin later, are left out and counted.

    Raises
    ------
    DesignError
        If there are no experience.complaints, or no category has all weeks.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> complaints_panel(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no experience.complaints, which this question rests on; add the data
    """
    found = complaints(shop, since=since, through=through)
    wide = found.pivot_table(index="category", columns="week", values="rate", dropna=False)
    weeks = pd.DatetimeIndex(shop.complete_periods("week", through))
    wide = wide.reindex(columns=weeks[weeks >= pd.Timestamp(since)])
    refusal = f"no category has complaints and orders in each of the {wide.shape[1]} weeks; take other weeks"
    lacking = "categories without orders of known merchants in each week"
    return rates_panel(shop, wide, "complaints an order", lacking=lacking, refusal=refusal)


def experience_panel(
    shop: Dataset, *, since: dt.date, through: dt.date, measure: str = "score"
) -> tuple[Array, Array, int]:
    """Return sales over a merchant's own mean, and an experience measure, of merchants known in each week.

    Returns
    -------
    sales, measure, left_out
        (N, T), (N, T) and how many merchants with some experience lack a week, or never sold.

    Raises
    ------
    DesignError
        If the measure is missing, or no merchant has it in each week.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> experience_panel(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no experience.score, which this question rests on; add the data
    """
    if measure not in ("score", "response_minutes", "complaints"):
        raise ParameterError(f"experience has score, response_minutes and complaints, not {measure!r}")
    require(shop, "experience", measure)
    weeks = pd.DatetimeIndex(shop.complete_periods("week", through))
    weeks = weeks[weeks >= pd.Timestamp(since)]
    asked = {"since": day_of(since, "since"), "through": day_of(through, "through")}
    known, sold = (shop.engine.frame(query, asked) for query in (
        f"""select merchant_id, cast(week as date) as week, cast({measure} as double) as y from experience
            where cast(week as date) between $since and $through""",
        f"""select merchant_id, cast(date_trunc('week', paid_at) as date) as week, cast(sum(amount) as double) as y
            from order_lines where {sold_lines(shop)} and cast(date_trunc('week', paid_at) as date) between $since and $through
            group by 1, 2"""))  # fmt: skip
    grid, sales = (frame.assign(week=pd.to_datetime(frame["week"])).pivot_table(index="merchant_id", columns="week", values="y")
                   .reindex(columns=weeks) for frame in (known, sold))  # fmt: skip
    sales = sales.reindex(grid.index).fillna(0.0)
    kept = grid.notna().all(axis=1) & (sales.sum(axis=1) > 0)
    if not kept.any():
        raise DesignError(f"no merchant has {measure} in each of the {len(weeks)} weeks; enter it, or take other weeks")
    values = sales[kept].to_numpy()
    return values / values.mean(axis=1, keepdims=True), grid[kept].to_numpy(), int((~kept).sum())


def lead_lag(outcome: Array, measure: Array, *, lags: int = 6, leads: int = 3) -> Estimates:
    """Regress an outcome on a measure of earlier and later weeks, with unit and week effects: an association.

    y_it = a_i + w_t + Σ_k b_k x_i,t-k + e_it, for k from -`leads` to `lags`. Leads are a placebo: what comes later cannot
    have moved the outcome, so that leads off 0 say that the measure follows sales, or that both follow something else.

    Parameters
    ----------
    outcome, measure
        (N, T), without gaps.

    Returns
    -------
    Estimates
        Label lag (negative: the measure comes later than the outcome), in units of the outcome a unit of the measure;
        standard errors are clustered by unit, with the factor G/(G - 1) · (n - 1)/(n - k), week effects counted in k, and
        Student's t of G - 1. `details["placebo"]` has statistic, degrees_of_freedom and p_value (F) of the joint test that all
        leads are 0; `glance` has the sum over lags from 1 on.

    Raises
    ------
    DesignError
        If too few weeks or units are left, or the measure does not move within units.
    ParameterError
        If the arrays do not fit, or have gaps.

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(200, 30))
    >>> y = 0.5 * np.roll(x, 2, axis=1) + np.random.default_rng(2).normal(size=(200, 30))
    >>> lead_lag(y, x, lags=3, leads=1).estimate.round(1).tolist()[3:]
    [0.5, 0.0]
    """
    found = distributed_lag.fitted(outcome, measure, lags=lags, leads=leads)
    value, error = found.sums((found.lags >= 1).astype(float)[None])
    return Estimates(
        estimator="lead_lag",
        outcome="outcome",
        labels=pd.DataFrame({"lag": found.lags}),
        estimate=found.estimate,
        spread=found.covariance,
        n_units=np.full(len(found.lags), found.units),
        assigned_at="merchant",
        clusters=(found.units, 0),
        average=(float(value[0]), float(error[0])),
        law=Student(float(found.freedom)),
        details={"placebo": found.placebo},
        notes=("an association: nobody changed the measure by lot", "leads (negative lags) are a placebo"),
    )
