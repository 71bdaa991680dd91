"""What each lever, alone or with others, did to each step from exposure to order, and to service."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student, StudentByRow
from strategy_kit.levers.changes import log_changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strategy_kit.levers.windows import Windows

Array = np.ndarray
FEWEST = 10
STEPS = ("impressions", "click_rate", "conversion", "orders")
FUNNEL = {
    "impressions": ("impressions", None),
    "click_rate": ("clicks", "impressions"),
    "conversion": ("seen_orders", "clicks"),
    "orders": ("seen_orders", None),
}
CARE = {
    "refund_rate": ("refunded", "sales"),
    "complaints_per_order": ("complaints", "heard_orders"),
    "response_minutes": ("minutes", "answered_orders"),
    "repeat_share": ("repeat_buyers", "buyers"),
}
ASSUMED = "without support, sums of a lever's merchants would have grown as those of the others of their category"


def funnel(found: Windows, *, least: int = FEWEST) -> Estimates:
    """Estimate what each bundle of levers did to impressions, clicks an impression and orders a click, in log points.

    Steps of a bundle add up to its orders exactly. Merchants with one lever speak for it; those with two are a bundle of
    their own. Intervals are Student's, with the bundle's merchants less one degrees of freedom.

    Parameters
    ----------
    found
        Of `windows`, with traffic.
    least
        Merchants below which a bundle is left out, and counted.

    Returns
    -------
    Estimates
        Labels bundle and step (impressions, click_rate, conversion, orders), with the covariance of all of them; `glance`
        is the effect on orders of all bundles together.

    Raises
    ------
    DesignError
        If there is no traffic, or no bundle of enough merchants.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> from strategy_kit.levers import windows
    >>> found = windows(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    >>> funnel(found)
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: impressions cannot be summed without traffic.impressions; add it
    """
    return _rates(found, FUNNEL, "step", "orders", least)


def care(found: Windows, *, least: int = FEWEST) -> Estimates:
    """Estimate what each bundle did to refunds per sales, complaints per order, response minutes and the share of repeat buyers.

    All in log points of ratios of sums; minutes are weighted by orders, and a repeat buyer is one who bought from the
    merchant in an earlier week. What the data set has no column for is left out and noted.

    Returns
    -------
    Estimates
        Labels bundle and measure; `glance` is the repeat share of all bundles together.

    Raises
    ------
    DesignError
        If no bundle has enough merchants.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> from strategy_kit.levers import windows
    >>> found = windows(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    >>> care(found).tidy()["measure"].unique().tolist()
    ['refund_rate', 'repeat_share']
    """
    known = {name: pair for name, pair in CARE.items() if not set(filter(None, pair)) & set(found.lacking)}
    result = _rates(found, known, "measure", "repeat_share", least)
    absent = [f"{name} left out: no {found.lacking[CARE[name][0]]}" for name in CARE if name not in known]
    return replace(result, notes=(*result.notes, *absent))


def sales(found: Windows, *, size_band: str | None = None, least: int = FEWEST) -> Estimates:
    """Estimate what each bundle did to sales, in log points, over all merchants or those of one size.

    Returns
    -------
    Estimates
        Label bundle, for `did.rank_intervals` where two or more are left; `glance` is all of them together.

    Raises
    ------
    DesignError
        If no bundle has enough merchants.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> from strategy_kit.levers import windows
    >>> found = windows(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    >>> sales(found).tidy()["bundle"].tolist()
    ['marketing']
    """
    result = _rates(found, {"sales": ("sales", None)}, "measure", "sales", least, size_band)
    return replace(result, labels=result.labels[["bundle"]])


def groups(
    found: Windows, by: Sequence[str], least: int, size_band: str | None = None, *, cells: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, Array, tuple[str, ...]]:
    """Return the groups of at least `least` merchants, each merchant's place among them or −1, and what was left out."""
    frame = found.supported if cells is None else cells
    chosen = (frame["size_band"] == size_band).to_numpy() if size_band is not None else np.ones(len(frame), dtype=bool)
    key = frame[list(by)].agg(" · ".join, axis=1)
    size = key[chosen].value_counts()
    kept = frame[chosen & key.map(size).ge(least).to_numpy()][list(by)].drop_duplicates().sort_values(list(by))
    if "bundle" in by:
        kept = kept.iloc[np.argsort(kept["bundle"].str.count(r"\+"), kind="stable")]
    if kept.empty:
        raise DesignError(f"no {' and '.join(by)} has {least} supported merchants; pool more weeks or levers")
    place = pd.Series(range(len(kept)), index=kept.agg(" · ".join, axis=1))
    code = np.where(chosen, key.map(place).fillna(-1), -1).astype(int)
    few = size[size < least]
    notes = (
        (f"{' and '.join(by)} of fewer than {least} merchants, left out: {len(few)}, with {few.sum()} merchants",)
        if len(few)
        else ()
    )
    return kept.reset_index(drop=True), code, notes


def _rates(
    found: Windows,
    rates: Mapping[str, tuple[str, str | None]],
    name: str,
    whole: str,
    least: int,
    size_band: str | None = None,
) -> Estimates:
    """Estimate log changes of sums or of ratios of two, by bundle, in one covariance."""
    labels, code, notes = groups(found, ["bundle"], least, size_band)
    sums = {part: log_changes(found, part, code) for pair in rates.values() for part in pair if part}
    together = np.where(code >= 0, 0, -1)
    size, value, influence, overall = np.bincount(code[code >= 0]), [], [], (np.nan, np.nan)
    for rate, (over, under) in rates.items():
        pair = [sums[over], *([sums[under]] if under else [])]
        value.append(pair[0].estimate - pair[1].estimate if under else pair[0].estimate)
        influence.append(pair[0].influence - pair[1].influence if under else pair[0].influence)
        if rate == whole:
            one = [log_changes(found, part, together) for part in (over, under) if part]
            way = one[0].influence - one[1].influence if under else one[0].influence
            overall = float(one[0].estimate[0] - (one[1].estimate[0] if under else 0.0)), float(np.sqrt((way**2).sum()))
    frame = labels.loc[labels.index.repeat(len(rates))].reset_index(drop=True).assign(**{name: [*rates] * len(labels)})
    estimate = np.array(value).T.ravel()
    ways = np.stack(influence, axis=2).reshape(len(influence[0]), -1)
    known = np.isfinite(estimate)
    lost = [f"rows that rest on one merchant or none, left out: {int((~known).sum())}"] if not known.all() else []
    if not known.any():
        raise DesignError(f"no bundle has {whole} of more than one merchant before and after; pool more weeks")
    merchants = size.repeat(len(rates))[known]
    return Estimates(
        "levers", whole, frame[known].reset_index(drop=True), estimate[known], ways[:, known].T @ ways[:, known],
        merchants, "merchant", (int(size.sum()), len(found.category)), overall, StudentByRow(np.maximum(merchants - 1, 1)),
        average_law=Student(max(float(size.sum()) - 1, 1.0)), notes=(*found.notes, *notes, *lost, ASSUMED),
    )  # fmt: skip
