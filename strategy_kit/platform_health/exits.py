"""Merchants who stopped selling: what support did to their share, among those still there when it started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.errors import DesignError, ParameterError, whole_number
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
_HALF = 0.5  # of its weeks: how long a merchant that leaves at any time is gone


def exit_effect(panel: Panel, *, silence: int = 8) -> Estimates:
    """Estimate what support did to the share of merchants that have stopped selling: nothing in a week nor in any later one.

    Whoever gets support in a week still sells then; merchants long gone are no comparison for them. Each start therefore has
    its own risk set: those who sold before it, and in the week before it or later. Among them the supported are compared with
    those not supported yet, who count until their own support starts (Kaplan and Meier): to follow only those who never get
    any would pick those who left too early to get it.

    Parameters
    ----------
    panel
        Of merchants' sales by week, balanced.
    silence
        Weeks without a sale after which a merchant counts as gone; of the last `silence` - 1 weeks that cannot be said, and
        they are cut off.

    Returns
    -------
    Estimates
        One row: supported less not supported share gone, averaged over the weeks of the supported from their start on.
        `details["starts"]`: start, supported, others (its risk set), weeks, gone, otherwise (mean shares over these weeks).
        `clusters`: supported, others. Merchants are the clusters of its error, which is that of each side with two more, one
        that stays and one that leaves halfway, as few exits would else pass for certainty (Agresti and Caffo); Student's t of
        the smaller side less one.

    Raises
    ------
    ParameterError
        If `silence` is no whole number of 1 or more, or a week of a merchant is missing, which is not silence.
    DesignError
        If fewer than two weeks would be left, or no start has both sides in its risk set.

    Notes
    -----
    Assumed is that among those still selling, who gets support, and when, has nothing to do with who will leave. No week
    before the start can test this: nobody in a risk set has left yet. Who sells more often is seldom silent for long: where
    support makes merchants sell in more weeks, some of its effect on exits is that; ask again with more `silence`. A supported
    merchant that had fallen silent counts only if it sells again.

    References
    ----------
    Agresti and Caffo (2000), "Simple and effective confidence intervals for proportions and differences of proportions"; Kaplan
    and Meier (1958), "Nonparametric estimation from incomplete observations"; Suissa (2008), "Immortal time bias in
    pharmacoepidemiology".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> sales = [[1.0, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    >>> found = exit_effect(Panel.from_matrix(np.array(sales), treated_from=[3, 0, 0, 0]), silence=2)
    >>> found.estimate.tolist(), found.details["starts"]["others"].tolist()
    ([-0.75], [2])
    """
    panel, kept = panel.comparable, _weeks_told(panel, silence)
    weeks, sold = len(panel.periods), panel.outcome > 0
    ever, start = sold.any(axis=1), np.append(panel.starts, weeks)[panel.cohort]
    first, gone = np.where(ever, sold.argmax(axis=1), weeks), np.where(ever, weeks - sold[:, ::-1].argmax(axis=1), 0)
    pull, length, others, rows = np.zeros(len(sold)), np.zeros(len(sold)), np.zeros(len(sold), dtype=bool), []
    for begin in panel.starts[panel.starts < kept]:
        there = (first < begin) & (gone >= begin)
        own, near = there & (start == begin), there & (start > begin)
        last, left = np.minimum(gone, start - 1)[near] - begin, (gone < start)[near]
        share, at_exit, at_risk = _still_there(last, left, kept - begin)
        span = len(share)
        if not own.any() or not span:
            continue
        away = np.maximum(begin + span - gone[own], 0)
        pull[own] += away - (1 - share).sum()
        length[own] = span
        end = np.minimum(last, span - 1)
        pull[near] += own.sum() * (at_risk[end] - at_exit[end] * (left & (last < span)))
        others |= near
        rows.append((panel.periods[begin], int(own.sum()), int(near.sum()), span, away.mean() / span, 1 - share.mean()))
    if not rows:
        raise DesignError("no start has supported and other merchants that still sold then; take more weeks")
    starts = pd.DataFrame(rows, columns=["start", "supported", "others", "weeks", "gone", "otherwise"])
    weight = starts["supported"] * starts["weeks"]
    means = [float(np.average(starts[side], weights=weight)) for side in ("gone", "otherwise")]
    estimate, squares = means[0] - means[1], ((pull - (means[0] - means[1]) * length) / length.sum()) ** 2
    held, supported = int((length > 0).sum()), int((start < weeks).sum())
    clusters = (held, int(others.sum()))
    sides = zip((squares[length > 0], squares[length == 0]), means, clusters, strict=True)
    variance = sum(_with_two_more(float(own.sum()), mean, count) for own, mean, count in sides)
    lost = "supported merchants that did not sell around their start, or had no others to compare with, left out"
    return Estimates(
        estimator="exit_effect",
        outcome="share that stopped selling",
        labels=pd.DataFrame(index=[0]),
        estimate=np.array([estimate]),
        spread=np.array([[variance]]),
        n_units=np.array([held]),
        assigned_at="merchant",
        clusters=clusters,
        average=(estimate, float(np.sqrt(variance))),
        law=Student(float(max(min(clusters) - 1, 1))),
        details={"starts": starts},
        notes=(*panel.notes, *([f"{lost}: {supported - held} of {supported}"] if held < supported else [])),
    )


def _weeks_told(panel: Panel, silence: int) -> int:
    if not whole_number(silence, 1):
        raise ParameterError(f"silence is a whole number of weeks, 1 or more, not {silence!r}")
    weeks = len(panel.periods)
    if np.isnan(panel.outcome).any():
        raise ParameterError(
            "exits are told from every week of every merchant, and some are missing; take a balanced panel"
        )
    if (kept := weeks - silence + 1) < 2:
        raise DesignError(
            f"{weeks} weeks cannot show who was silent for {silence}; take more weeks, or fewer of silence"
        )
    return kept


def _with_two_more(variance: float, mean: float, count: int) -> float:
    """Return the variance of a side's mean share of weeks gone with two merchants more, one gone half of them."""
    squares = variance * count**2 + mean**2 + (_HALF - mean) ** 2
    return squares / ((count + 2) * (count + 1))


def _still_there(last: Array, left: Array, weeks: int) -> tuple[Array, Array, Array]:
    """Return the Kaplan-Meier share still there by week, and what an exit and a week at risk move its sum by.

    `last` is the last week in which each merchant is at risk, `left` whether it leaves then; weeks end where none is left.
    """
    ended = np.bincount(np.minimum(last, weeks), minlength=weeks + 1)
    risk = len(last) - np.append(0, np.cumsum(ended[:-1]))[:weeks]
    risk = risk[risk > 0]
    hazard = np.bincount(last[left], minlength=weeks)[: len(risk)] / risk
    share = np.cumprod(1 - hazard)
    later = np.cumsum(share[::-1])[::-1]
    at_exit = np.divide(later, risk * (1 - hazard), out=np.zeros(len(risk)), where=hazard < 1)
    return share, at_exit, np.cumsum(hazard * at_exit)
