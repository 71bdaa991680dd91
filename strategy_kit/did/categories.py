"""The effect in each piloted category, whose own noise can only be told from the others and from its own past."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.assigned import AssignedGroups, group_means
from strategy_kit.did.collapsed import described
from strategy_kit.did.guards import ROUNDING, unused_by_means
from strategy_kit.errors import DesignError, refuse
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student, StudentByRow

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
_LEAST, _LEAST_POOLED = 2, 3
_TIED = 1e-9


class _Noise(NamedTuple):
    """How much the gaps of K treated groups to the mean of m others vary.

    With one period before the start there is no past, and a treated group's noise is taken to be that of the others.
    """

    covariance: Array  # (K, K)
    ratio: Array  # (K,) of a group's own volatility to that of the others
    others: int  # m
    past: float  # degrees of freedom of a volatility before the start, infinite where none was used

    def degrees_of_freedom(self, weights: Array) -> Array:
        """Return (J,) Satterthwaite's, of the variances of `weights` (J, K) @ gaps."""
        variance = np.einsum("jk,kl,jl->j", weights, self.covariance, weights)
        share = weights**2 * np.diag(self.covariance) / variance[:, None]
        past = (share**2).sum(axis=1) + share.sum(axis=1) ** 2 / (self.others - 1)
        return 1 / (1 / (self.others - 1) + past / self.past)


def category_effects(panel: Panel) -> Estimates:
    """Estimate the effect in each treated category: its change less the mean change of the others at its own start.

    One category has one change, so that its noise cannot be seen in it. It is told from the others: the variance of their
    changes, times how volatile the category's gap to them was before the start, relative to theirs. That holds where
    the ratio of volatilities stays as it was.

    Parameters
    ----------
    panel
        Observed in every period. Groups are categories where whole categories start, else units.

    Returns
    -------
    Estimates
        Label group. Rows share the others, as the covariance says; degrees of freedom are each row's own, and bands are
        Bonferroni's. `glance` is the mean over treated categories, `pilot_contrast`'s estimate, with an error that takes the
        pilots as they are. `details` has "ranks" (group, volatility_ratio; rank of its gap among `among` groups, itself and
        the others, each in units of its own volatility before; p_value, and smallest_p_value that could come out), "placebo"
        (group, compared, gap, statistic: what the ranks are made of) and, for three or more, "shrunken" (each drawn
        towards the others, with own_weight).

    Raises
    ------
    DesignError
        If no group is treated, fewer than two are not, no period lies before the first start, the others all changed by
        the same amount, the panel is unbalanced, or treatment was given merchant by merchant inside categories.

    References
    ----------
    Abadie, Diamond and Hainmueller (2010), "Synthetic control methods for comparative case studies" (ranks of effects in
    units of the fit before); Satterthwaite (1946), "An approximate distribution of estimates of variance components";
    Gelman et al. (2013), "Bayesian data analysis", section 5.4 (shrunken, averaged over the spread with a flat prior).

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2, 4, 4], [5, 4, 7, 8], [1, 0, 1, 0], [2, 2, 2, 3], [3, 4, 2, 4]])
    >>> result = category_effects(Panel.from_matrix(y, treated_from=[3, 3, 0, 0, 0], units=list("abcde")))
    >>> result.tidy()[["group", "estimate", "std_error"]].round(2).to_numpy().tolist()
    [['a', 2.5, 0.5], ['b', 3.0, 0.5]]
    """
    groups = _groups(panel)
    treated = groups.treated
    start, other = groups.start[treated], groups.changes[~treated]
    if np.ptp(other, axis=0).max() <= ROUNDING * panel.scale:
        raise DesignError(
            "the other groups all changed by exactly the same amount, so chance cannot be measured; check that the outcome is "
            "not filled in"
        )
    estimate = groups.changes[treated, start] - other.mean(axis=0)[start]
    noise = _noise(groups, panel.scale)
    mean = np.full((1, len(start)), 1 / len(start))
    law = StudentByRow(noise.degrees_of_freedom(np.eye(len(start))))
    labels = pd.DataFrame({"group": groups.names[treated]})
    details = _ranks(groups, noise)
    notes = [*panel.notes, *unused_by_means(panel)]
    if np.isinf(noise.past):
        notes.append(
            "the past does not show how volatile groups are, so that each is taken to be as volatile as the others"
        )
    if len(start) >= _LEAST_POOLED:
        centre, spread, own = shrunken_together(estimate, noise.covariance)
        details["shrunken"] = described(labels, centre, spread, law).assign(own_weight=own)
    else:
        notes.append(f"nothing is shrunken: {len(start)} groups are treated, and it takes {_LEAST_POOLED}")
    return Estimates(
        estimator="category_effects",
        outcome=panel.name,
        labels=labels,
        estimate=estimate,
        spread=noise.covariance,
        n_units=groups.units[treated],
        assigned_at=panel.assigned_at,
        clusters=(len(start), noise.others),
        average=(float(estimate.mean()), float(np.sqrt(mean @ noise.covariance @ mean.T)[0, 0])),
        law=law,
        details=details,
        notes=tuple(notes),
        average_law=Student(float(noise.degrees_of_freedom(mean)[0])),
    )


def shrunken_together(value: Array, covariance: Array, steps: int = 400) -> tuple[Array, Array, Array]:
    """Return posterior means, errors and weights of own data, (K,) each, of effects whose errors are correlated.

    As `pooling.shrunken`, for any covariance (K, K): what all rows share says nothing on their differences, so that rows
    are drawn together by their own noise alone and keep the shared one. Effects are normal around a mean with a spread,
    both with flat priors.

    Examples
    --------
    >>> centre, error, own = shrunken_together(np.array([1.0, 2.0, 6.0]), np.eye(3))
    >>> centre.round(1).tolist()
    [1.2, 2.1, 5.8]
    """
    noise, turn = np.linalg.eigh(covariance)
    one, seen = turn.T @ np.ones(len(value)), turn.T @ value
    part = (np.arange(steps) + 0.5) / steps
    tau = np.sqrt(value.var(ddof=1) + len(value) / (1 / np.diag(covariance)).sum()) * part / (1 - part)
    inverse = 1 / (np.maximum(noise, 0) + tau[:, None] ** 2)  # (S, K)
    precision = inverse @ one**2
    mean = inverse @ (one * seen) / precision
    away = seen - mean[:, None] * one
    fit = np.log(precision) - np.log(inverse).sum(axis=1) + (inverse * away**2).sum(axis=1)
    likely = np.exp((fit.min() - fit) / 2) / (1 - part) ** 2
    likely /= likely.sum()
    pulled = np.maximum(noise, 0) * inverse
    at = value - (pulled * away) @ turn.T
    centre = likely @ at
    own = (tau[:, None] ** 2 * inverse) @ (turn**2).T
    spread = (tau[:, None] ** 2 * pulled) @ (turn**2).T + ((pulled * one) @ turn.T) ** 2 / precision[:, None]
    return centre, np.sqrt(likely @ (spread + (at - centre) ** 2)), likely @ own


def _groups(panel: Panel) -> AssignedGroups:
    if panel.category is not None and panel.assigned_at != "category":
        raise DesignError(
            "treatment was given merchant by merchant inside categories, so that a category's mean is no effect; use "
            "within_categories, or by_group for the effect in each"
        )
    names, paths, code, _ = group_means(panel)
    cohorts = np.unique(code[code >= 0])
    treated, firsts = code >= 0, panel.starts[cohorts]
    laws = []
    if not treated.any():
        laws.append("no group is treated; check treated_from")
    if (others := int((~treated).sum())) < _LEAST:
        laws.append(f"a treated group is judged by the spread of at least {_LEAST} others, but there are {others}")
    if treated.any() and firsts.min() < 1:
        laws.append("no period lies before the first start; begin the panel earlier")
    refuse(DesignError, "category effects", laws)
    start = np.where(treated, np.searchsorted(cohorts, code), -1)
    return AssignedGroups(names, paths, _sizes(panel), start, firsts)


def _noise(groups: AssignedGroups, scale: float) -> _Noise:
    treated, start = groups.treated, groups.start[groups.treated]
    others = int((~treated).sum())
    shared = np.atleast_2d(np.cov(groups.changes[~treated].T))[np.ix_(start, start)]
    past = groups.paths[:, : groups.firsts.min()]
    gap = past - past[~treated].mean(axis=0)
    gap = gap - gap.mean(axis=1, keepdims=True)
    moments = gap[~treated].T @ gap[~treated] / (others - 1)
    total = float(np.trace(moments))
    if total <= (ROUNDING * scale) ** 2:
        ratio, freedom = np.full(len(start), 1 + 1 / others), np.inf
    else:
        ratio = (gap[treated] ** 2).sum(axis=1) / total
        freedom = _effective(total**2, float((moments**2).sum()), others - 1, past.shape[1] - 1)
    own = np.maximum(ratio - 1 / others, ratio / 2)  # never 0, or the effects of two calm pilots would be tied
    covariance = shared / others + np.diag(own * np.diag(shared))
    return _Noise(covariance, np.sqrt(own), others, freedom)


def _effective(trace: float, squares: float, draws: int, most: int) -> float:
    """Return tr(S)² / tr(S²), the degrees of freedom of a variance over periods that hang together.

    Both are estimated without bias from those of a sample covariance with `draws` degrees of freedom.
    """
    surplus = draws * squares - trace
    if draws < _LEAST or surplus <= 0:
        return 1.0 if draws < _LEAST else float(most)
    return float(np.clip(((draws + 1) * trace - 2 * squares) / surplus, 1, most))


def _ranks(groups: AssignedGroups, noise: _Noise) -> dict[str, pd.DataFrame]:
    ranks, placebo = [], []
    held, past = ~groups.treated, groups.paths[:, : groups.firsts.min()]
    for position, ratio in zip(np.flatnonzero(groups.treated).tolist(), noise.ratio, strict=True):
        compared = np.append(position, np.flatnonzero(held))
        change = groups.changes[compared, groups.start[position]]
        gap = (change - change.mean()) * len(compared) / noise.others
        away = past[compared] - past[compared].mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.abs(gap) / (1.0 if np.isinf(noise.past) else away.std(axis=1))
        extreme = int((np.nan_to_num(statistic, posinf=np.inf) >= statistic[0] * (1 - _TIED)).sum())
        name = groups.names[position]
        ranks.append((name, ratio, extreme, len(compared), extreme / len(compared), 1 / len(compared)))
        rows = {"group": name, "compared": groups.names[compared], "gap": gap, "statistic": statistic}
        placebo.append(pd.DataFrame(rows))
    columns = ["group", "volatility_ratio", "rank", "among", "p_value", "smallest_p_value"]
    return {"ranks": pd.DataFrame(ranks, columns=columns), "placebo": pd.concat(placebo, ignore_index=True)}


def _sizes(panel: Panel) -> Array:
    if panel.category is None:
        return np.ones(len(panel.units), dtype=int)
    return np.bincount(pd.factorize(panel.category, sort=True, use_na_sentinel=False)[0])
