"""What support cost and returned by bundle, and who got the money against who gained."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student, StudentByRow
from strategy_kit.levers.changes import gains
from strategy_kit.levers.effects import ASSUMED, FEWEST, groups
from strategy_kit.ratio import fieller

if TYPE_CHECKING:
    from strategy_kit.levers.windows import Windows

Array = np.ndarray


def returns(found: Windows, *, size_band: str | None = None, least: int = FEWEST) -> Estimates:
    """Estimate what each bundle's merchants sold beyond their comparison for each unit of what it cost.

    Returns
    -------
    Estimates
        Label bundle, with intervals as of `funnel`; the estimate is gain over cost, the cost being known. `details["money"]`
        has bundle, merchants, cost, gain and the gain's std_error; `glance` is all bundles together.

    Raises
    ------
    DesignError
        If support has no cost, or no bundle has enough merchants.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> from strategy_kit.levers import windows
    >>> found = windows(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    >>> money = returns(found).details["money"]
    >>> bool((money["cost"] > 0).all())
    True
    """
    labels, code, notes = groups(found, ["bundle"], least, size_band)
    cost = _cost(found, code, len(labels))
    change = gains(found, "sales", code)
    spread = change.influence.T @ change.influence
    total = float(change.estimate.sum() / cost.sum()), float(np.sqrt(spread.sum()) / cost.sum())
    size = np.bincount(code[code >= 0])
    money = labels.assign(merchants=size, cost=cost, gain=change.estimate, std_error=np.sqrt(np.diag(spread)))
    return Estimates(
        "returns", "sales per unit of cost", labels, change.estimate / cost, spread / np.outer(cost, cost), size,
        "merchant", (int(size.sum()), len(found.category)), total, StudentByRow(np.maximum(size - 1, 1)),
        details={"money": money}, average_law=Student(max(float(size.sum()) - 1, 1.0)), notes=(*found.notes, *notes, ASSUMED),
    )  # fmt: skip


class Concentration(NamedTuple):
    """Who got resources against who gained: the curve by cell in order of cost share, its area, and what it rests on.

    Attributes
    ----------
    curve
        size_band, category, merchants, cost, cost_share, gain, gain_low, gain_high, cost_so_far, gain_so_far, low, high, form.
    area
        One row: estimate (twice the area between curve and diagonal; above 0 where the cells with most of the money gained
        more than their share), low, high, form.
    notes
        What was merged, left out and assumed.

    Examples
    --------
    >>> area = pd.DataFrame({"estimate": [0.1], "low": [-0.1], "high": [0.3], "form": ["bounded"]})
    >>> Concentration(pd.DataFrame(), area, ()).area["form"].item()
    'bounded'
    """

    curve: pd.DataFrame
    area: pd.DataFrame
    notes: tuple[str, ...]


def concentration(found: Windows, *, level: float = 0.95, least: int = FEWEST) -> Concentration:
    """Set shares of what support cost against shares of what it gained, over cells of size band and category.

    What one merchant gained is not identified: its sales without support were never seen. Sums over `least` merchants or
    more are. Smaller cells of a band are merged; what is still smaller is left out and counted. Cells are in order of their
    cost, which is known, so that chance has no part in the order. Shares and area are ratios of uncertain sums and have
    Fieller's intervals; degrees of freedom are a cell's merchants less one, by Satterthwaite where cells are added.

    Raises
    ------
    DesignError
        If support has no cost, or there are fewer than two cells.

    References
    ----------
    Kakwani (1980), "Income inequality and poverty" (concentration curves and indices); Fieller (1954), "Some problems in
    interval estimation".

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> from strategy_kit.levers import windows
    >>> found = windows(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    >>> concentration(found, least=3).curve["cost_share"].round(2).tolist()[-1] < 0.3
    True
    """
    names = pd.Series(np.array(found.categories)[found.supported["category"]], index=found.supported.index)
    cell = found.supported.assign(category=names)
    size = cell.groupby(["size_band", "category"])["bundle"].transform("size")
    merged = int((size < least).sum())
    cell["category"] = names.where(size >= least, "other" if "other" not in set(names) else "other (small)")
    labels, code, notes = groups(found, ["size_band", "category"], least, cells=cell)
    if len(labels) < 2:
        raise DesignError(
            f"a curve of cost against gain needs two cells of {least} merchants, not {len(labels)}; pool more weeks or categories"
        )
    cost, change = _cost(found, code, len(labels)), gains(found, "sales", code)
    order = np.lexsort((np.arange(len(cost)), -cost))
    cost, gain, influence = cost[order], change.estimate[order], change.influence[:, order]
    spread, share = influence.T @ influence, cost / cost.sum()
    so_far = np.tril(np.ones((len(cost), len(cost))))
    width = np.triu(np.ones((len(cost), len(cost))), 1) @ share + share / 2
    weights = np.vstack([so_far, width])
    merchants = np.bincount(code[code >= 0])[order]
    law = StudentByRow(np.maximum(merchants - 1, 1))
    low, high, form = _shares(weights, gain, spread, law.degrees_of_freedom, level)
    low[-2], high[-2], form[-2] = 1.0, 1.0, "bounded"  # all of the gain is all of it
    value, half = weights @ gain / gain.sum(), law.interval(gain, np.sqrt(np.diag(spread)), level)
    curve = labels.iloc[order].reset_index(drop=True).assign(
        merchants=merchants, cost=cost, cost_share=share, gain=gain,
        gain_low=half[0], gain_high=half[1], cost_so_far=np.cumsum(share), gain_so_far=value[:-1],
        low=low[:-1], high=high[:-1], form=form[:-1],
    )  # fmt: skip
    area = pd.DataFrame(
        {"estimate": [2 * value[-1] - 1], "low": [2 * low[-1] - 1], "high": [2 * high[-1] - 1], "form": [form[-1]]}
    )
    told = [f"merchants in cells of fewer than {least}, merged within their size band: {merged}"] if merged else []
    return Concentration(curve, area, (*found.notes, *told, *notes, ASSUMED))


def _cost(found: Windows, code: Array, count: int) -> Array:
    """Add up what each group cost; a merchant without a cost is refused, as its share cannot be known."""
    cost = found.supported["cost"].to_numpy(float)
    missing = int((np.isnan(cost) & (code >= 0)).sum())
    total = np.bincount(code[code >= 0], np.nan_to_num(cost[code >= 0]), count)
    if missing or not (total > 0).all():
        raise DesignError(
            f"returns divide by cost, but {missing} supported merchants have none in support.cost; enter what each stay cost"
        )
    return total


def _shares(weights: Array, gain: Array, spread: Array, freedom: Array, level: float) -> tuple[Array, Array, Array]:
    """Return Fieller's interval of each weighted sum of gains over the total, with Satterthwaite's degrees of freedom."""
    both = np.stack([weights, np.ones_like(weights)], axis=1)
    covariance = both @ spread @ both.swapaxes(1, 2)
    covariance = (covariance + covariance.swapaxes(1, 2)) / 2
    total = gain.sum()
    part = (weights - (weights @ gain / total)[:, None]) ** 2 * np.diag(spread)
    known = part.sum(axis=1) ** 2 / np.maximum((part**2 / freedom).sum(axis=1), 1e-300)
    ends = [fieller(one @ gain, total, both, law=Student(max(float(free), 1.0)), level=level)
            for one, both, free in zip(weights, covariance, known, strict=True)]  # fmt: skip
    low, high, form = (np.array(column) for column in zip(*ends, strict=True))
    return low, high, form
