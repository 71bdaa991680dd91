"""What a target that was just made is made of: a rush in the last days, a dip after it, refunds once the period is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, refuse, whole_number
from strategy_kit.inference import StudentByRow
from strategy_kit.tables_to_panel import sold_lines
from strategy_kit.targets.attainment import known_until, made
from strategy_kit.targets.fairness import Ratio, clustered_ratio

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset

GROUPS = ("just_made", "clear")
DIFFERENCE = "just_made_less_clear"
_MEASURES = {
    "last_days": ("late", "sold"),
    "next_week": ("after", "usual"),
    "refunded_after": ("hollow", "settled"),
    "undone": ("refunded", "needed"),
}
_ROUNDING = 1e-9


def gaming(
    shop: Dataset, *, days: int = 3, near: float = 0.02, beyond: float = 0.1, through: dt.date | None = None
) -> pd.DataFrame:
    """Compare targets that were just made with those that were missed or made by a wide margin.

    Parameters
    ----------
    days
        Last days of the period.
    near
        Just made is a stretch met by less than this share.
    beyond
        Clear is missed or made by more than this share, so that who pushed is not among them.
    through
        Last day that counts; the last settled day of the data by default.

    Returns
    -------
    DataFrame
        measure: last_days (share of the period's sales paid in its last days), next_week (sales of the week after it, over a
        week's mean before the last days; only where that week is over), refunded_after (share of the period's sales that was
        refunded in the data set's refund_days after it had ended) and undone (share of the targets that were just made and
        would not be without those sales; of clear, what share their refunds would undo that near the line). Both only of
        periods that ended so many days ago: `targets` counts them, and none leaves them missing.
        group: just_made, clear and their difference just_made_less_clear.
        estimate (ratio of sums), std_error (clustered by merchant), targets, merchants (of a difference, the fewer), conf_low,
        conf_high.

    Raises
    ------
    DesignError
        If there is no targets table, refunds have no date, or a group is empty.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> gaming(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no targets table, so nothing was promised; add the table
    """
    if not whole_number(days, 1) or not 0 < near < beyond:
        raise ParameterError(
            f"days are 1 or more and near lies between 0 and beyond, not {days!r}, {near!r}, {beyond!r}"
        )
    until = known_until(shop, through)
    found = made(shop, through=until)
    absent = [name for name in ("refunded_at", "refund_amount") if name not in shop.columns("order_lines")]
    if absent:
        raise DesignError(
            f"data set {shop.name!r} has no order_lines.{absent[0]}, so no refund has a date; add the column"
        )
    undated, dated = _refund_lines(shop)
    if undated and not dated:
        raise DesignError(
            f"none of the {undated} refunds of data set {shop.name!r} has its refunded_at, so that none can be laid; enter it"
        )
    found = found.merge(_pieces(shop, until, days), on=["merchant_id", "period_start"])
    length, end = (found["period_end"] - found["period_start"]).dt.days + 1, found["period_end"]
    over, settled = (end + pd.Timedelta(days=wait) <= pd.Timestamp(until) for wait in (7, shop.description.refund_days))
    usual = 7 * (found["sold"] - found["late"]) / (length - days).clip(lower=1)
    sold = found["sold"].where(settled)
    found = found.assign(
        usual=usual.where(over), after=found["after"].where(over), settled=sold,
        refunded=found["hollow"] / sold.where(sold > 0), needed=1 - found["stretch"] / sold.where(sold > 0),
    )  # fmt: skip
    gap = (found["sold"] / found["stretch"].where(found["stretch"] > 0)).to_numpy() - 1
    gap[np.abs(gap) < _ROUNDING] = 0
    masks = ((gap >= 0) & (gap < near), np.abs(gap) > beyond)
    sides = dict(zip(GROUPS, masks, strict=True))
    refuse(
        DesignError,
        "targets",
        [f"none is {name}; widen near, or add periods" for name in GROUPS if not sides[name].any()],
    )
    result = pd.concat([_compared(found, sides, name) for name in _MEASURES], ignore_index=True)
    result.attrs["undated_refunds"] = undated
    return result


def _refund_lines(shop: Dataset) -> tuple[int, int]:
    """Count lines with a refund that has no date, and with one that has."""
    lines = "count(*) filter (where refunded_at is {}null) as {}dated"
    found = shop.engine.frame(
        f"select {lines.format('', 'un')}, {lines.format('not ', '')} from order_lines where refund_amount > 0"
    )
    return int(found["undated"][0]), int(found["dated"][0])


def _pieces(shop: Dataset, until: dt.date, days: int) -> pd.DataFrame:
    """Return, by target, what was paid in the last days and in the week after, and what was refunded after the end."""
    return shop.engine.frame(
        f"""select t.merchant_id, t.period_start,
                   cast(coalesce(sum(case when o.day > t.last - {days} and o.day <= t.last then o.amount end), 0) as double)
                       as late,
                   cast(coalesce(sum(case when o.day > t.last then o.amount end), 0) as double) as after,
                   cast(coalesce(sum(case when o.day <= t.last and o.back > t.last and o.back <= t.last + $lag
                                          then o.refund_amount end), 0) as double) as hollow
            from (select merchant_id, period_start, cast(period_start as date) as first, cast(period_end as date) as last
                  from targets where period_end <= $until) t
            left join (select merchant_id, amount, refund_amount, cast(paid_at as date) as day, cast(refunded_at as date) as back
                       from order_lines where {sold_lines(shop)}) o
                on o.merchant_id = t.merchant_id and o.day >= t.first and o.day <= t.last + 7
            group by 1, 2""",
        {"until": until, "lag": shop.description.refund_days},
    )


def _compared(found: pd.DataFrame, sides: dict[str, np.ndarray], measure: str) -> pd.DataFrame:
    top, bottom = (found[name].to_numpy() for name in _MEASURES[measure])
    unit = pd.factorize(found["merchant_id"])[0]
    held = [side & ~np.isnan(bottom) for side in sides.values()]
    if measure == "undone":
        made, clear = _undone(top, bottom, held, unit)
    else:
        made, clear = (clustered_ratio(np.where(side, top, 0.0), np.where(side, bottom, 0.0), unit) for side in held)
    gap = Ratio(made.share - clear.share, made.influence - clear.influence, min(made.clusters, clear.clusters))
    ratios = {**dict(zip(GROUPS, (made, clear), strict=True)), DIFFERENCE: gap}
    frame = pd.DataFrame(
        {"measure": measure, "group": list(ratios), "estimate": [ratio.share for ratio in ratios.values()],
         "std_error": [ratio.std_error for ratio in ratios.values()],
         "targets": [int(side.sum()) for side in (*held, held[0] | held[1])],
         "merchants": [*(np.unique(unit[side]).size for side in held), gap.clusters]}
    )  # fmt: skip
    # the mean over pairs rests on the merchants of both sides
    law = StudentByRow(np.maximum([ratio.clusters - 1.0 for ratio in ratios.values()], 1.0))
    low, high = law.interval(frame["estimate"].to_numpy(), frame["std_error"].to_numpy(), 0.95)
    return frame.assign(conf_low=low, conf_high=high)


def _undone(refunded: np.ndarray, needed: np.ndarray, held: list[np.ndarray], unit: np.ndarray) -> tuple[Ratio, Ratio]:
    """Return the share of just made targets whose refunds exceed the share that undoes them, and of clear ones' refunds.

    Each refund of a clear target is held against what would undo each target that was just made: a mean over all pairs.
    """
    near, clear = held
    most, shares = np.sort(needed[near]) + _ROUNDING, np.sort(refunded[clear])
    made = clustered_ratio(1.0 * (near & (refunded > needed + _ROUNDING)), 1.0 * near, unit)
    at_need = 1 - np.searchsorted(shares, np.where(near, needed, 0.0) + _ROUNDING, "right") / max(len(shares), 1)
    at_share = np.searchsorted(most, np.where(clear, refunded, 0.0)) / max(len(most), 1)
    by_need, by_share = (clustered_ratio(1.0 * side * value, 1.0 * side, unit)
                         for side, value in ((near, at_need), (clear, at_share)))  # fmt: skip
    moved = by_need.influence + by_share.influence
    return made, Ratio(by_share.share if near.any() else np.nan, moved, min(by_need.clusters, by_share.clusters))
