"""Bounds for the effect on merchants that stay whether supported or not, when support changes who stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from strategy_kit.did.attrition import ROUNDING, roster_of
from strategy_kit.did.collapsed import by_unit, summed
from strategy_kit.did.guards import known_errors
from strategy_kit.errors import DesignError, ParameterError, level_laws, refuse

if TYPE_CHECKING:
    from strategy_kit.did.attrition import Roster
    from strategy_kit.panel import Panel

Array = np.ndarray
_LEAST = 2
_FOUND = (
    *("lower", "upper", "lower_error", "upper_error", "conf_low", "conf_high", "trimmed", "trimmed_share"),
    *("n_units", "n_comparison", "n_survivors", "n_comparison_survivors"),
)


@dataclass(frozen=True, eq=False)
class _Bounds:
    """Lower and upper end (2,), the (N, 2) influence of units, and the merchants that stay either way, as log influence."""

    ends: Array
    influence: Array
    trimmed: str
    share: float
    always: float  # weight of supported merchants that stay either way
    moved: Array  # (N,) influence on the logarithm of `always`


def lee_bounds(
    panel: Panel,
    *,
    outcome: Literal["change", "level"] = "change",
    silent: int = 1,
    groups: pd.Series | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Bound the effect on merchants that stay to the end with support and without it.

    More merchants stay on one side than on the other. That side's excess is taken off at its bottom, or at its top: what
    is left holds the best, or the worst, that those who stay either way can have done.

    Parameters
    ----------
    panel, silent
        As in `attrition`.
    outcome
        The mean from the start on less the mean before it, or the mean from the start on alone.
    groups
        Traits from before the start, indexed by unit: bounds within groups are averaged over supported merchants that
        stay either way, which is mostly tighter. Each group may be trimmed on its own side.
    level
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        One row a sample: all; with groups, a row for each group and tightened. Columns sample, group, lower, upper, lower_error,
        upper_error, conf_low, conf_high (for the effect, wherever it lies between the bounds), trimmed (supported,
        unsupported or none), trimmed_share (of the survivors of that side), n_units and n_comparison (of the roster),
        n_survivors and n_comparison_survivors.

    Raises
    ------
    ParameterError
        If outcome, silent or level is none of its values.
    DesignError
        As `attrition`; if a unit of the roster has no group, there are fewer than two groups, or a group has fewer than
        two survivors on a side; all at once.

    Notes
    -----
    Assumes that support was as good as drawn by lot (among `groups`, where given), and monotonicity: it made no merchant
    leave, or none stay. Ties are trimmed in part, so that the share is exact.

    References
    ----------
    Lee (2009), "Training, wages, and sample selection: estimating sharp bounds on treatment effects", propositions 1a, 1b
    and 3; Imbens and Manski (2004), "Confidence intervals for partially identified parameters".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 4.0], [1.0, 5.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0], [1.0, 0.0]])
    >>> panel = Panel.from_matrix(y, treated_from=[2] * 4 + [0] * 4)
    >>> lee_bounds(panel)[["lower", "upper", "trimmed", "trimmed_share"]].to_numpy().tolist()
    [[1.0, 2.0, 'supported', 0.25]]
    """
    laws = [] if outcome in {"change", "level"} else [f"outcome is 'change' or 'level', not {outcome!r}"]
    refuse(ParameterError, "lee_bounds", laws + level_laws(level))
    roster = roster_of(panel, "lee_bounds", silent)
    value = roster.after - (roster.base if outcome == "change" else 0.0)
    given = pd.Series("all", index=panel.units) if groups is None else by_unit(groups, panel.units, "groups")[0]
    code, names = pd.factorize(given, sort=True)
    _refuse(roster, code, names)
    whole = _bounded(roster, value, roster.held)
    rows = [_row(roster, whole, roster.held, level, sample="all")]
    if groups is not None:
        cells = {name: roster.held & (code == k) for k, name in enumerate(names)}
        bounds = [_bounded(roster, value, held) for held in cells.values()]
        pairs = zip(cells.items(), bounds, strict=True)
        rows += [_row(roster, bound, held, level, sample="group", group=name) for (name, held), bound in pairs]
        rows.append(_row(roster, _tightened(bounds), roster.held, level, sample="tightened"))
    return pd.DataFrame(rows)


def _refuse(roster: Roster, code: Array, names: Array | pd.Index) -> None:
    laws, none = [], int((roster.held & (code < 0)).sum())
    if none:
        laws.append(f"{none} merchants of the roster have no group; give them one")
    if not len(names):
        laws.append("no unit of the panel has a group; index groups by unit")
    few = [
        f"{int(n)} {side} survivors" + ("" if len(names) == 1 else f" in group {name}")
        for k, name in enumerate(names)
        for side, held in roster.sides.items()
        if (n := (held & roster.stayed & (code == k)).sum()) < _LEAST
    ]
    if few:
        laws.append(f"bounds need {_LEAST} survivors on each side, but there are {', '.join(few)}; use larger groups")
    refuse(DesignError, "lee_bounds", laws)


def _bounded(roster: Roster, value: Array, held: Array) -> _Bounds:
    """Trim the side of which more stay, among the marked units."""
    weight, stayed = roster.wave.share, roster.stayed.astype(float)
    sides = [held & side for side in roster.sides.values()]
    totals = [weight[side].sum() for side in sides]
    rates = [float(weight[side] @ stayed[side] / total) for side, total in zip(sides, totals, strict=True)]
    on_rate = [
        np.where(side, weight * (stayed - rate) / (total * rate), 0.0)
        for side, rate, total in zip(sides, rates, totals, strict=True)
    ]
    fuller, other = (1, 0) if rates[1] > rates[0] else (0, 1)
    kept, sign = rates[other] / rates[fuller], 1 - 2 * fuller
    full, on_full, _ = _trimmed(value, weight, sides[other] & roster.stayed, 1.0)
    ends, influence = np.empty(2), np.empty((len(value), 2))
    for end, tail in enumerate((sign, -sign)):
        # the lower end keeps the bottom of the supported, or the top of the unsupported
        mean, on_mean, slope = _trimmed(tail * value, weight, sides[fuller] & roster.stayed, kept)
        ends[end] = sign * (tail * mean - full)
        influence[:, end] = sign * (tail * (on_mean + slope * kept * (on_rate[other] - on_rate[fuller])) - on_full)
    moved = np.where(sides[0], weight / totals[0], 0.0) + on_rate[other]
    trimmed = "none" if kept > 1 - ROUNDING else ("supported", "unsupported")[fuller]
    return _Bounds(ends, influence, trimmed, 1 - kept, totals[0] * rates[other], moved)


def _trimmed(value: Array, weight: Array, held: Array, kept: float) -> tuple[float, Array, float]:
    """Return the mean of the lowest share `kept` of the marked values, the (N,) influence, and the derivative by `kept`."""
    own, share = value[held], weight[held] / weight[held].sum()
    order = np.argsort(own, kind="stable")
    upto = np.cumsum(share[order])
    part = np.clip(kept - (upto - share[order]), 0.0, share[order])  # the last tie counts in part
    mean = float(part @ own[order] / part.sum())
    near = np.searchsorted(upto, kept * np.array([1 - ROUNDING, 1 + ROUNDING])).clip(max=len(own) - 1)
    edge = own[order][near].mean()  # halfway where whole units are trimmed
    influence = np.zeros(len(value))
    influence[held] = share * (np.minimum(own - edge, 0.0) / kept - (mean - edge))
    return mean, influence, float((edge - mean) / kept)


def _tightened(bounds: list[_Bounds]) -> _Bounds:
    """Average over groups, by the supported merchants that stay either way."""
    share = np.array([bound.always for bound in bounds])
    total = share.sum()
    share = share / total
    ends = share @ np.array([bound.ends for bound in bounds])
    influence = sum(
        s * (bound.influence + bound.moved[:, None] * (bound.ends - ends))
        for s, bound in zip(share, bounds, strict=True)
    )
    trimmed = sorted({bound.trimmed for bound in bounds} - {"none"})
    lost = float(share @ [bound.share for bound in bounds])
    return _Bounds(ends, np.asarray(influence), " and ".join(trimmed) or "none", lost, float(total), np.zeros(0))


def _row(roster: Roster, bound: _Bounds, held: Array, level: float, **names: object) -> dict[str, object]:
    panel = roster.wave.panel
    error = known_errors(np.sqrt(np.diag(summed(bound.influence, panel.cluster))), panel.scale)
    critical = _critical(max(float(bound.ends[1] - bound.ends[0]), 0.0), float(error.max()), level)
    counts = [int((side & held & stay).sum()) for stay in (held, roster.stayed) for side in roster.sides.values()]
    found = (*bound.ends, *error, bound.ends[0] - critical * error[0], bound.ends[1] + critical * error[1])
    return {
        "sample": None,
        "group": None,
        **names,
        **dict(zip(_FOUND, (*found, bound.trimmed, bound.share, *counts), strict=True)),
    }


def _critical(width: float, error: float, level: float) -> float:
    """Return the multiple of the errors at which the interval holds the effect at either bound with chance `level`."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    if not error > 0:
        return np.nan
    return float(
        brentq(lambda c: ndtr(c + width / error) - ndtr(-c) - level, ndtri(level) - 1e-9, ndtri(0.5 + level / 2) + 1e-9)
    )
