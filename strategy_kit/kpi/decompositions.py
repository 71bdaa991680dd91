"""What a change is made of: mix against rate, merchants who stay, enter and leave, and moves on the merchant ladder."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from strategy_kit.errors import ParameterError, refuse
from strategy_kit.kpi.control import counts_refunds, immature
from strategy_kit.kpi.growth import two_periods
from strategy_kit.kpi.table import grouping, table
from strategy_kit.metrics import Metric, chosen, parts
from strategy_kit.periods import Period, day_of, months_later, next_start
from strategy_kit.tables_to_panel import sold_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.dataset import Dataset

_DAY = dt.timedelta(days=1)
BANDS = (1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
NONE = "no sales"


def mix_and_rate(
    shop: Dataset, *, metric: str | Metric, by: str, period: Period, before: dt.date, after: dt.date
) -> pd.DataFrame:
    """Split the change of a ratio into groups' own rates that moved and weight that moved between groups.

    A group's weight is its share of all groups' denominators. Its rate effect is its mean weight times the change of its
    rate, its mix effect the change of its weight times the distance of its mean rate from the mean of all; what a group
    absent from one period brings or takes is mix. Where groups overlap, as when an order has two categories, or have a
    numerator without a denominator, a last row "overlap" holds what that makes of the change, so that all effects add up.

    Parameters
    ----------
    by
        Column of order_lines or merchants that makes the groups.
    before, after
        Any day of two complete periods.

    Returns
    -------
    DataFrame
        One row a group: the group, weight_before, weight_after, rate_before, rate_after, rate_effect, mix_effect.

    Raises
    ------
    ParameterError
        If the metric is no ratio, a period is not complete, or a name is unknown.

    Examples
    --------
    >>> import datetime as dt
    >>> import strategy_kit as sk
    >>> shop, may = sk.open_dataset("data/sample"), dt.date(2025, 5, 1)
    >>> found = mix_and_rate(shop, metric="refund_rate", by="category", period="month", before=may, after=dt.date(2025, 6, 1))
    >>> total = sk.kpi.table(shop, by=["month"], metrics=["refund_rate"]).set_index("month")["refund_rate"]
    >>> effect = found[["rate_effect", "mix_effect"]].to_numpy().sum()
    >>> bool(np.isclose(effect, total["2025-06-01"] - total["2025-05-01"]))
    True
    """
    asked = chosen([metric], shop.columns("order_lines"))[0]
    if asked.sql or any(part.trailing_months for part in parts(asked)):
        raise ParameterError(f"{asked.name} is no ratio over the period's lines, so that it has no mix; use one")
    ends = list(parts(asked))
    if by in get_args(Period):
        raise ParameterError(
            f"by is the name of one column that makes the groups, not {by!r}; give one such as 'category'"
        )
    grouping(shop, [by], ("weight_before", "weight_after", "rate_before", "rate_after", "rate_effect", "mix_effect"))
    starts = two_periods(shop, period, before, after)
    if counts_refunds(asked) and (young := immature(shop, starts, period)):
        raise ParameterError(
            f"refunds of {young[-1]} may still arrive, so that {asked.name} is not compared; take earlier periods"
        )
    groups, totals = [], []
    for start in starts:
        last = next_start(start, period) - _DAY
        groups.append(table(shop, by=[by], metrics=ends, since=start, through=last).drop(columns="complete"))
        totals.append(table(shop, by=[], metrics=[*ends, asked], since=start, through=last)[asked.name][0])
    both = groups[0].merge(groups[1], on=by, how="outer", suffixes=(" before", " after"))
    top, bottom = (
        [both[f"{end.name} {side}"].fillna(0.0).to_numpy(float) for side in ("before", "after")] for end in ends
    )
    if not all(side.sum() > 0 for side in bottom):
        raise ParameterError(f"{asked.name} has no value in one of the periods, as its denominator is 0; choose others")
    weight = np.array([side / side.sum() for side in bottom])
    rate = np.array([_divided(over, under) for over, under in zip(top, bottom, strict=True)])
    filled = np.where(np.isnan(rate), rate[::-1], rate)
    filled = np.where(np.isnan(filled), 0.0, filled)
    joint = (weight * filled).sum(axis=1)
    rows = pd.DataFrame({by: both[by], "weight_before": weight[0], "weight_after": weight[1]})
    rows = rows.assign(
        rate_before=rate[0], rate_after=rate[1], rate_effect=weight.mean(axis=0) * np.diff(filled, axis=0)[0]
    )
    rows["mix_effect"] = np.diff(weight, axis=0)[0] * (filled.mean(axis=0) - joint.mean())
    overlap = (totals[1] - totals[0]) - (joint[1] - joint[0])
    if abs(overlap) <= 1e-12 * max(float(np.abs(joint).max()), 1e-300):
        return rows
    return pd.concat(
        [rows, pd.DataFrame({by: ["overlap"], "rate_effect": [0.0], "mix_effect": [overlap]})], ignore_index=True
    )


def entry_and_exit(shop: Dataset, *, period: Period, before: dt.date, after: dt.date) -> pd.DataFrame:
    """Split growth between two complete periods into merchants who stayed, entered and left.

    Parameters
    ----------
    before, after
        Any day of the two periods.

    Returns
    -------
    DataFrame
        One row a part, continuing (sold in both), entering and leaving: part, merchants (number), gmv_before, gmv_after,
        contribution (currency; adds up to the change of GMV), growth (the same as a share of the GMV before), and
        mean_contribution (currency per merchant; adds up to the change of GMV per active merchant).

    Raises
    ------
    ParameterError
        If a period is not complete.

    References
    ----------
    Melitz and Polanec (2015), "Dynamic Olley-Pakes productivity decomposition with entry and exit", equation 3.

    Examples
    --------
    >>> import datetime as dt
    >>> import strategy_kit as sk
    >>> shop = sk.open_dataset("data/sample")
    >>> found = entry_and_exit(shop, period="month", before=dt.date(2025, 5, 1), after=dt.date(2025, 6, 1))
    >>> found["merchants"].tolist()[0] > found["merchants"].tolist()[1]
    True
    """
    spans = [(start, next_start(start, period)) for start in two_periods(shop, period, before, after)]
    found = _merchant_sales(
        shop,
        spans,
        """select case when before is null then 'entering' when after is null then 'leaving' else 'continuing' end as part,
                  count(*) as merchants, cast(coalesce(sum(before), 0) as double) as gmv_before,
                  cast(coalesce(sum(after), 0) as double) as gmv_after from sold group by 1""",
    )
    found = found.set_index("part").reindex(["continuing", "entering", "leaving"], fill_value=0)
    (stay, enter, leave), gmv = found["merchants"], found[["gmv_before", "gmv_after"]].to_numpy(float)
    stayed, total = gmv[0] / max(stay, 1), gmv[:, 0].sum()
    means = [
        stayed[1] - stayed[0],
        (gmv[1, 1] - enter * stayed[1]) / max(stay + enter, 1),
        (leave * stayed[0] - gmv[2, 0]) / max(stay + leave, 1),
    ]
    change = gmv[:, 1] - gmv[:, 0]
    found = found.assign(contribution=change, growth=change / total if total else np.nan, mean_contribution=means)
    return found.reset_index()


def merchant_ladder(shop: Dataset, *, before: dt.date, after: dt.date, bands: Sequence[float] = BANDS) -> pd.DataFrame:
    """Count merchants who moved up and down a ladder of yearly GMV, those who never sold in one of the years included.

    A year is the twelve months up to and with the day. Years that overlap show less movement than years that do not.

    Parameters
    ----------
    before, after
        Last days of the two years, inside the data, which must hold both years whole.
    bands
        Rising lower ends of the rungs above the first, in currency.

    Returns
    -------
    DataFrame
        One row a pair of rungs in which merchants are: band_before, band_after (ordered categories, "no sales" lowest),
        merchants, gmv_before, gmv_after (currency), move: up, down, same, entered (no sales before) or left.

    Raises
    ------
    ParameterError
        If a year is not inside the data, or the bands do not rise.

    Examples
    --------
    >>> import datetime as dt
    >>> import strategy_kit as sk
    >>> day = dt.date(2025, 7, 29)
    >>> merchant_ladder(sk.open_dataset("data/sample"), before=day, after=dt.date(2025, 7, 30))["move"].iloc[0]
    'same'
    """
    rising = isinstance(bands, list | tuple) and all(isinstance(band, int | float) and band > 0 for band in bands)
    rising = rising and list(bands) == sorted(set(bands))
    laws = [] if rising else [f"bands are positive amounts that rise, not {bands!r}; write them like (1e4, 1e6)"]
    spans, days = [], [day_of(day, name) for day, name in ((before, "before"), (after, "after"))]
    for day in days:
        opens = months_later(day + _DAY, -12)
        if opens < shop.data_from or day > shop.settled_through:
            window = f"{shop.data_from} to {shop.settled_through}; take other days"
            laws.append(f"the year from {opens} to {day} is not inside the data, {window}")
        spans.append((opens, day + _DAY))
    laws += ["before is not earlier than after; exchange them"] if days[0] >= days[1] else []
    refuse(ParameterError, "merchant_ladder", laws)
    rungs = {f"band{number}": float(band) for number, band in enumerate(bands)}
    lower = "".join(f" when {{side}} < ${name} then {number + 1}" for number, name in enumerate(rungs))
    rung = "case when {side} is null then 0" + lower + f" else {len(rungs) + 1} end as rung_{{side}}"
    rows = _merchant_sales(
        shop,
        spans,
        f"""select {rung.format(side="before")}, {rung.format(side="after")}, count(*) as merchants,
                   cast(coalesce(sum(before), 0) as double) as gmv_before,
                   cast(coalesce(sum(after), 0) as double) as gmv_after from sold group by 1, 2 order by 1, 2""",
        **rungs,
    )
    first, last = (rows.pop(f"rung_{side}").to_numpy().astype(int) for side in ("before", "after"))
    kinds = [first == last, first == 0, last == 0, last > first]
    names = pd.Index([NONE, *_band_names(bands)])
    rungs_held = [pd.Series(pd.Categorical.from_codes(codes, names, ordered=True)) for codes in (first, last)]
    rows = rows.assign(move=np.select(kinds, ["same", "entered", "left", "up"], "down"))
    return pd.concat([*rungs_held, rows], axis=1).set_axis(["band_before", "band_after", *rows.columns], axis=1)


def _merchant_sales(
    shop: Dataset, spans: Sequence[tuple[dt.date, dt.date]], query: str, **values: float
) -> pd.DataFrame:
    """Run a query over `sold`: each merchant's GMV before and after, missing without an order in the span."""
    sides = ", ".join(
        f"sum(amount) filter (where paid_at >= ${side}_from and paid_at < ${side}_to) as {side}"
        for side in ("before", "after")
    )
    (before_from, before_to), (after_from, after_to) = spans
    bound = {"before_from": before_from, "before_to": before_to, "after_from": after_from, "after_to": after_to}
    sold = f"select merchant_id, {sides} from order_lines where {sold_lines(shop)} group by 1"
    return shop.engine.frame(
        f"""with every as ({sold}), sold as (select * from every where before is not null or after is not null)
            {query}""",
        {**bound, **values},
    )


def _band_names(bands: Sequence[float]) -> list[str]:
    ends = [f"{band:,.10g}" for band in bands]
    inner = [f"{low} to {high}" for low, high in pairwise(ends)]
    return [f"below {ends[0]}", *inner, f"{ends[-1]} and more"] if ends else ["any sales"]


def _divided(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    result = np.full(len(over), np.nan)
    return np.divide(over, under, out=result, where=under != 0)
