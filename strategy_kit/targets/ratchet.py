"""Does a beaten target raise the next one, and whose floor was loosened: what targets do to targets, and to sales."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.tables_to_panel import open_merchants, panel_of_merchants

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

TERMS = ("after_beaten", "after_missed", "ratchet")
_FEW = 10


def ratchet(made: pd.DataFrame, *, near: float = 0.02) -> Estimates:
    """Estimate how much of what a target was beaten or missed by goes into the merchant's next target.

    Within merchants: log change of the stretch from one period to the next on the log of sales over the stretch, with a slope
    above it and one below, and an effect of each period. A target that follows sales follows them both ways; a ratchet goes up
    with a beaten target further than it comes down with a missed one.

    Parameters
    ----------
    made
        Targets of ended periods, as `targets.made` returns them. Periods of a merchant follow each other; a target whose
        merchant has none in the next period, or no sale, is left out and counted.
    near
        Targets beaten by less than this share are left out and counted: who pushed them over the line would have sold less,
        and sells less in the next period, which bends the slope as a ratchet does.

    Returns
    -------
    Estimates
        Label term: after_beaten and after_missed (log points of the next stretch a log point) and ratchet, their difference,
        which is the overall estimate. Errors are clustered by merchant.

    Raises
    ------
    DesignError
        If fewer than ten merchants have such pairs, or none was beaten or none missed.

    References
    ----------
    Leone and Rock (2002), "Empirical tests of budget ratcheting and its effect on managers' discretionary accrual choices".

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> gap = rng.normal(0, 0.2, (300, 4))
    >>> step = 0.8 * np.maximum(gap, 0) + 0.2 * np.minimum(gap, 0)
    >>> stretch = np.exp(np.c_[np.zeros(300), np.cumsum(step, axis=1)[:, :3]])
    >>> unit, period = np.indices(gap.shape)
    >>> rows = {"merchant_id": unit.ravel(), "period_start": period.ravel(), "stretch": stretch.ravel()}
    >>> made = pd.DataFrame(rows | {"sold": (stretch * np.exp(gap)).ravel()})
    >>> ratchet(made).estimate.round(6).tolist()
    [0.8, 0.2, 0.6]
    """
    order = {start: place for place, start in enumerate(np.unique(made["period_start"]))}
    rows = made.assign(place=made["period_start"].map(order)).sort_values(["merchant_id", "place"])
    following = rows.groupby("merchant_id")[["place", "stretch"]].shift(-1)
    positive = (rows[["sold", "stretch"]] > 0).all(axis=1) & (following["stretch"] > 0)
    held = positive & (following["place"] == rows["place"] + 1)
    pushed = held & (rows["sold"] >= rows["stretch"]) & (rows["sold"] < (1 + near) * rows["stretch"])
    lost = {"without a next one or without sales": int((~held).sum()), "just made": int(pushed.sum())}
    held &= ~pushed
    change = np.log(following["stretch"][held].to_numpy() / rows["stretch"][held].to_numpy())
    rows = rows[held]
    gap = np.log(rows["sold"].to_numpy() / rows["stretch"].to_numpy())
    unit = pd.factorize(rows["merchant_id"])[0]
    count = len(np.unique(unit))
    if count < _FEW or not (gap > 0).any() or not (gap < 0).any():
        raise DesignError(
            f"a ratchet needs {_FEW} merchants with targets in successive periods, some beaten and some missed, but there are "
            f"{count} merchants and {int((gap > 0).sum())} beaten of {len(gap)} targets; add periods"
        )
    terms = np.column_stack([np.maximum(gap, 0), np.minimum(gap, 0), pd.get_dummies(rows["place"], dtype=float)])
    inverse = np.linalg.pinv(terms.T @ terms)
    slopes = inverse @ terms.T @ change
    residual = change - terms @ slopes
    score = np.zeros((count, terms.shape[1]))
    np.add.at(score, unit, terms * residual[:, None])
    small = count / (count - 1) * (len(gap) - 1) / max(len(gap) - terms.shape[1], 1)
    covariance = (small * inverse @ (score.T @ score) @ inverse)[:2, :2]
    mix = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    estimate, spread, law = mix @ slopes[:2], mix @ covariance @ mix.T, Student(float(count - 1))
    notes = tuple(f"targets {why}, left out: {number} of {len(made)}" for why, number in lost.items() if number)
    return Estimates("ratchet", "log stretch", pd.DataFrame({"term": TERMS}), estimate, spread, np.full(3, count), "merchant",
                     (count, 0), (float(estimate[2]), float(np.sqrt(spread[2, 2]))), law, notes=notes)  # fmt: skip


def loosened_panel(
    shop: Dataset,
    *,
    outcome: str = "gmv",
    by: float = 0.02,
    since: dt.date | None = None,
    through: dt.date | None = None,
) -> Panel:
    """Build the panel of merchants with targets, treated from the week in which their floor was loosened, for `did`.

    A floor is loosened where floor over stretch falls by more than `by` from one period to the next; the first time counts.
    Merchants whose floor was tightened by as much before that, or who opened after the first week, are left out and counted.

    Parameters
    ----------
    outcome
        Any sum or count by week, such as gmv, orders, discounts.
    by
        Least fall of the ratio that counts.
    since, through
        Days of the first and last week; the whole window by default.

    Raises
    ------
    DesignError
        If there is no targets table, or no floor was loosened, or all were.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> loosened_panel(sk.open_dataset("data/sample"))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: data set 'sample' has no targets table, so no floor was loosened; add the table
    """
    if "targets" not in shop.tables:
        raise DesignError(f"data set {shop.name!r} has no targets table, so no floor was loosened; add the table")
    weeks = shop.complete_periods("week", through, since=since)
    found = shop.engine.frame(
        f"""select merchant_id, any_value(category) as category, any_value(here) as here,
                   min(case when round(fall, 9) > $by then start end) as treated_from,
                   min(case when round(fall, 9) < -$by then start end) as tightened
            from (select t.merchant_id, m.category, m.here, cast(t.period_start as date) as start,
                         lag(cast(t.floor as double) / t.stretch) over (partition by t.merchant_id order by t.period_start)
                         - cast(t.floor as double) / t.stretch as fall
                  from targets t join ({open_merchants(shop, "week")}) m using (merchant_id) where t.stretch > 0) as falls
            group by 1 order by 1""",
        {"by": by, "first": weeks[0] if weeks else shop.data_from},
    ).set_index("merchant_id")
    start, tight = pd.to_datetime(found["treated_from"]), pd.to_datetime(found["tightened"])
    late = ~found["here"].astype(bool)
    mixed = tight.notna() & ~(start <= tight) & ~late
    kept = found.assign(treated_from=start)[~mixed & ~late]
    loosened = int((kept["treated_from"] <= pd.Timestamp(weeks[-1])).sum()) if weeks else 0
    if not loosened or loosened == len(kept):
        raise DesignError(
            f"the floor of {loosened} of {len(kept)} merchants was loosened by more than {by:g} of the stretch, so there is "
            "nothing to compare; loosen some floors and not others, best by lot"
        )
    panel = panel_of_merchants(shop, outcome, "week", weeks, kept)
    lost = {"whose floor was tightened": mixed, f"who opened after {weeks[0]}": late}
    notes = (f"merchants {why}, left out: {int(out.sum())} of {len(out)}" for why, out in lost.items() if out.any())
    return replace(panel, notes=(*panel.notes, *notes))
