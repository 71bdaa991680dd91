"""The roster of day 0: merchants that closed stay in the count, with the zeros that they sold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.collapsed import described, summed
from strategy_kit.did.selection import difference, wave_of
from strategy_kit.errors import DesignError, ParameterError, refuse, whole_number
from strategy_kit.inference import Student

if TYPE_CHECKING:
    from strategy_kit.did.selection import Wave
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
_LEAST = 2
ROUNDING = 1e-12
"""Distance from 0 or 1 up to which a sum of shares counts as that."""


@dataclass(frozen=True, eq=False)
class Roster:
    """The merchants with a sale before the start, and when they left; made by `roster_of`.

    Attributes
    ----------
    held
        (N,) which units of the panel are on the roster.
    left
        (N,) position of the first period after the exit, periods of the panel for those that stayed.
    base, after
        (N,) mean outcome before and from the start on, with zeros after the exit.
    """

    wave: Wave
    held: Array
    left: Array
    base: Array
    after: Array
    notes: tuple[str, ...]

    @property
    def stayed(self) -> Array:
        """(N,) whether a merchant of the roster is there at the end."""
        result: Array = self.held & (self.left == len(self.wave.panel.periods))
        return result

    @property
    def sides(self) -> dict[str, Array]:
        """(N,) the merchants of the roster on each side."""
        return {"supported": self.held & self.wave.treated, "unsupported": self.held & ~self.wave.treated}


def attrition(panel: Panel, *, silent: int = 1) -> Estimates:
    """Compare changes over the whole roster of day 0, exits counting as zeros, and beside it over survivors alone.

    The roster is every merchant with a sale before the start. An exit is the last period with a sale, when all later ones
    are zero or missing.

    Parameters
    ----------
    panel
        With an outcome of 0 or more, one start, and support given merchant by merchant. Gaps are allowed before a
        merchant's first observation and after its last sale. Weights and clusters are used.
    silent
        Periods without a sale, at the end of the panel, that make an exit: in the last weeks, a merchant with fewer may
        only be slow.

    Returns
    -------
    Estimates
        Label merchants: roster, the headline, the effect on sales through staying and through selling together; and
        survivors, the same comparison over those still there at the end, which is no effect where support changed who
        stays. `details` has "survival" (series, age, value, low, high, n_units: share still there, as
        `charts.retention_curves` draws it), "exits" (side, n_units, exits, share) and "staying" (estimate and interval of
        the difference in the share that stays to the end).

    Raises
    ------
    ParameterError
        If `silent` is not a whole number of 1 or more.
    DesignError
        If the panel breaks a law of a selection, an outcome is below 0 or missing between sales, or a side of the roster
        or its survivors has fewer than two units; all at once.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[2.0, 4.0], [2.0, 3.0], [1.0, 0.0], [2.0, 2.0], [3.0, 4.0], [1.0, np.nan]])
    >>> result = attrition(Panel.from_matrix(y, treated_from=[2, 2, 2, 0, 0, 0]))
    >>> result.tidy()[["merchants", "estimate", "n_units"]].round(3).to_numpy().tolist()
    [['roster', 0.667, 3], ['survivors', 1.0, 2]]
    """
    roster = roster_of(panel, "attrition", silent)
    wave, change = roster.wave, roster.after - roster.base
    stayed = roster.stayed
    supported, unsupported = roster.sides.values()
    laws = [
        f"{int((side & stayed).sum())} {name} merchants survive, and an error needs {_LEAST}; shorten the panel"
        for name, side in roster.sides.items()
        if (side & stayed).sum() < _LEAST
    ]
    refuse(DesignError, "attrition", laws)
    found = [difference(change, supported & held, unsupported & held, wave.share) for held in (roster.held, stayed)]
    labels = pd.DataFrame({"merchants": ["roster", "survivors"]})
    estimate, influence = np.array([e for e, _ in found]), np.column_stack([i for _, i in found])
    result = wave.result("attrition", labels, estimate, influence)
    share, moved = difference(stayed.astype(float), supported, unsupported, wave.share)
    error = np.sqrt(summed(moved[:, None], panel.cluster)[0])
    count = np.array([[side.sum(), (side & ~stayed).sum()] for side in roster.sides.values()])
    exits = pd.DataFrame({"side": list(roster.sides), "n_units": count[:, 0], "exits": count[:, 1]})
    return replace(
        result,
        n_units=np.array([supported.sum(), (supported & stayed).sum()]),
        clusters=(int(supported.sum()), int(unsupported.sum())),
        details={
            "survival": _survival(roster),
            "exits": exits.assign(share=exits["exits"] / exits["n_units"]),
            "staying": described(pd.DataFrame(index=[0]), np.array([share]), error),
        },
        notes=(*result.notes, *roster.notes),
    )


def roster_of(panel: Panel, estimator: str, silent: int) -> Roster:
    """Read who was there on day 0, who left when, and what they sold."""
    if not whole_number(silent, 1):
        raise ParameterError(f"silent is a whole number of periods, 1 or more, not {silent!r}")
    wave = wave_of(panel, estimator, {}, gaps=True)
    periods = np.arange(len(panel.periods))
    sold, seen = panel.outcome > 0, ~np.isnan(panel.outcome)
    last = np.where(sold.any(axis=1), len(periods) - 1 - np.argmax(sold[:, ::-1], axis=1), -1)
    opened = np.argmax(seen, axis=1)  # what lies before the first observation is no zero
    inside = (periods >= opened[:, None]) & (periods <= last[:, None])
    broken = {
        "have an outcome below 0, so sales cannot be told; take gross sales": panel.outcome < 0,
        "lack an outcome between sales; write 0 where they sold nothing": inside & ~seen,
    }
    laws = [f"{int(cells.any(axis=1).sum())} merchants {law}" for law, cells in broken.items() if cells.any()]
    left = np.where(len(periods) - 1 - last < silent, len(periods), last + 1)
    held = np.asarray(sold[:, : wave.start].any(axis=1))
    small = [
        f"the roster has {int(n)} {name} merchants, and an error needs {_LEAST}; add merchants"
        for name, side in (("supported", wave.treated), ("unsupported", ~wave.treated))
        if (n := (held & side).sum()) < _LEAST
    ]
    refuse(DesignError, estimator, laws + small)
    filled = np.where(seen, panel.outcome, 0.0)
    base = filled[:, : wave.start].sum(axis=1) / np.maximum(wave.start - opened, 1)
    absent = int((~held).sum())
    notes = (f"merchants without a sale before the start, not on the roster: {absent}",) if absent else ()
    return Roster(wave, held, left, base, filled[:, wave.start :].mean(axis=1), notes)


def _survival(roster: Roster) -> pd.DataFrame:
    """Share of each side still there by age, with Wilson's interval for as many units as the weights and clusters leave."""
    wave, frames = roster.wave, []
    critical = float(Student().interval(np.zeros(1), np.ones(1), 0.95)[1][0])
    ages = wave.panel.ages[0, wave.start :]
    for name, side in roster.sides.items():
        there = (roster.left[:, None] > np.arange(wave.start, len(wave.panel.periods))).astype(float)
        share = np.where(side, wave.share, 0.0) / wave.share[side].sum()
        value = share @ there
        variance = np.diag(summed(share[:, None] * (there - value), wave.panel.cluster))
        alone = float(1 / summed(share[:, None], wave.panel.cluster)[0, 0])
        mixed = np.abs(value - 0.5) < 0.5 - ROUNDING
        size = np.where(mixed, value * (1 - value) / np.where(mixed, variance, 1.0), alone)
        shrunk = critical**2 / size
        middle = (value + shrunk / 2) / (1 + shrunk)
        half = np.sqrt(shrunk * (value * (1 - value) + shrunk / 4)) / (1 + shrunk)
        frame = {"series": name, "age": ages, "value": value, "low": middle - half, "high": middle + half}
        frames.append(pd.DataFrame(frame).assign(n_units=int(side.sum())))
    return pd.concat(frames, ignore_index=True)
