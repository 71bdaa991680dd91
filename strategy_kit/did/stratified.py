"""Support given merchant by merchant: supported against other merchants of the same category, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.assigned import AssignedGroups
from strategy_kit.did.collapsed import marked
from strategy_kit.did.guards import ROUNDING, known_errors, unused_by_means
from strategy_kit.did.strata import WithinStrata
from strategy_kit.errors import DesignError, ParameterError, refuse, seed_laws
from strategy_kit.estimates import Estimates
from strategy_kit.inference import FREEDOM_CAP, Student, StudentByRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.panel import Panel

Array = np.ndarray
_LEAST = 2
_ELIGIBLE = (
    "eligible merchants differ from the others of their category in more than support; set their gap against that of other "
    "categories with pilot_contrast(eligible_gap(panel, eligible))"
)


class _Sides(NamedTuple):
    """Count, mean and variance of the changes on both sides of C categories, (C, 2) each: others, supported."""

    size: Array
    mean: Array
    variance: Array

    @property
    def weight(self) -> Array:
        """(C,) shares of supported merchants."""
        result: Array = self.size[:, 1] / self.size[:, 1].sum()
        return result

    @property
    def difference(self) -> Array:
        """(C,) supported less others."""
        result: Array = self.mean[:, 1] - self.mean[:, 0]
        return result

    def error(self, weights: Array) -> Array:
        """Return (J,) errors of `weights` (J, C) @ differences."""
        return np.sqrt(weights**2 @ (self.variance / self.size).sum(axis=1))

    def degrees_of_freedom(self, weights: Array) -> Array:
        """Return (J,) Satterthwaite's, capped as in `inference.welch`."""
        seen, alike = (self._freedom(weights, part) for part in (self.variance / self.size, 1 / self.size))
        return np.fmin(seen, FREEDOM_CAP * alike)

    def _freedom(self, weights: Array, squares: Array) -> Array:
        with np.errstate(invalid="ignore"):
            whole = (weights**2 @ squares.sum(axis=1)) ** 2
            return np.asarray(whole / (weights**4 @ (squares**2 / (self.size - 1)).sum(axis=1)))


def within_categories(panel: Panel, *, eligible: pd.Series | Sequence[bool] | None = None, seed: int = 0) -> Estimates:
    """Compare the change of supported merchants with that of others in the same category, and put the categories together.

    A merchant's change is its mean outcome from its start on less its mean before. In a category, an unsupported merchant
    counts as the average over the starts that happened there. Categories are weighted by supported merchants. What moves a
    whole category cancels; what moves supported merchants of it for another reason does not.

    Parameters
    ----------
    panel
        With categories, observed in every period; the outcome is used as it is.
    eligible
        (N,) in the order of `panel.units`, or a Series indexed by them: who of the merchants that have a start counts as
        supported, where whole categories started but only eligible merchants took part.
    seed
        Of the sample, should there be more than 50,000 ways to deal the starts inside the categories.

    Returns
    -------
    Estimates
        Label method: welch (errors of both sides of each category apart, the headline), randomisation (starts dealt anew
        inside each category; its interval holds the effects that it does not refuse). `details` has "categories" (group,
        supported, other, weight, estimate, std_error, conf_low, conf_high), "placebo" (statistic: the difference under
        every assignment, the real one first) and "balance" (measure, value: volatility_ratio of supported to other
        merchants before the first start, smallest_p_value, assignments, exact). Categories with fewer than two merchants on
        a side are left out and counted in the notes.

    Raises
    ------
    DesignError
        If whole categories started and no one is named eligible, no category has two merchants on both sides, changes do
        not vary, or the panel has no categories, is unbalanced, clustered or weighted.
    ParameterError
        If `eligible` does not fit the units, or `seed` is no whole number.

    References
    ----------
    Imbens and Rubin (2015), "Causal inference for statistics, social, and biomedical sciences", chapter 9 (stratified
    experiments); Wu and Ding (2021), "Randomization tests for weak null hypotheses in randomized experiments" (why the
    statistic is studentised).

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.c_[np.zeros(8), [4.0, 6, 1, 0, 5, 3, 2, 1.5]]
    >>> panel = Panel.from_matrix(y, treated_from=[2, 2, 0, 0] * 2, category=list("aaaabbbb"))
    >>> within_categories(panel).tidy()[["method", "estimate", "p_value"]].round(3).to_numpy().tolist()
    [['welch', 3.375, 0.029], ['randomisation', 3.375, 0.056]]
    """
    refuse(ParameterError, "within_categories", seed_laws(seed))
    chosen = None if eligible is None else marked(panel, eligible, "eligible")
    _refuse(panel, named=chosen is not None)
    groups, code, names, notes = _inside(panel, chosen)
    treated = groups.treated
    shares = _shares(groups, code)
    size = np.bincount(code[~treated])[:, None]
    common = np.stack([np.bincount(code[~treated], change) for change in groups.changes[~treated].T], axis=1) / size
    shift = common - (common * shares).sum(axis=1, keepdims=True)  # common to all of a category at a start, and no draw
    own = groups.changes[np.arange(len(code)), groups.start] - shift[code, groups.start]
    values = np.where(treated, own, (groups.changes * shares[code]).sum(axis=1))
    sides = _sides(values, code, treated)
    whole = sides.weight[None, :]
    estimate, error = float(sides.weight @ sides.difference), float(sides.error(whole)[0])
    if error <= ROUNDING * panel.scale:
        raise DesignError(
            "all merchants on each side of a category changed by exactly the same amount, so chance cannot be measured; check "
            "that the outcome is not filled in"
        )
    held = groups.after.astype(float) @ groups.weights.T  # (S, S) of an effect at one start, by the contrast at another
    law = WithinStrata(groups.changes, held[groups.start] * treated[:, None], groups.start, seed, stratum=code)
    return Estimates(
        estimator="within_categories",
        outcome=panel.name,
        labels=pd.DataFrame({"method": ["welch", "randomisation"]}),
        estimate=np.repeat(estimate, 2),
        spread=np.diag(np.repeat(error**2, 2)),
        n_units=np.repeat(int(treated.sum()), 2),
        assigned_at="merchant" if panel.assigned_at == "category" else panel.assigned_at,
        clusters=(int(treated.sum()), int((~treated).sum())),
        average=(estimate, error),
        law=(Student(float(sides.degrees_of_freedom(whole)[0])), law),
        details={
            "categories": _categories(names, sides, panel.scale),
            "placebo": pd.DataFrame({"statistic": law.statistics()[0]}),
            "balance": _balance(groups, code, sides.weight, law),
        },
        notes=(*notes, *unused_by_means(panel), *([_ELIGIBLE] if panel.assigned_at == "category" else [])),
        seed=seed,
    )


def _refuse(panel: Panel, *, named: bool) -> None:
    laws = []
    if panel.category is None:
        laws.append("the panel has no categories; name their column when it is made, or use group_time")
    if not panel.balanced:
        laws.append("the panel is unbalanced; keep the complete units with panel.complete_units()")
    if panel.cluster is not None or panel.weight is not None:
        laws.append("clusters and weights are not taken, though errors depend on them; use group_time")
    if panel.assigned_at == "category" and not named:
        laws.append(
            "whole categories started, so nobody in them is without support; use pilot_contrast, or name eligible"
        )
    refuse(DesignError, "a comparison within categories", laws)


def _inside(panel: Panel, chosen: Array | None) -> tuple[AssignedGroups, Array, pd.Index, tuple[str, ...]]:
    """Keep the merchants of the categories with both kinds; return them, their category's code, names and notes."""
    compared = panel.comparable
    supported = compared.cohort >= 0
    if chosen is not None:
        supported = supported & chosen[panel.units.isin(compared.units)]
    code, names = pd.factorize(pd.Series(compared.category), sort=True)
    count = np.zeros((len(names) + 1, 2), dtype=int)
    np.add.at(count, (code, supported.astype(int)), 1)  # merchants without a category come last
    usable: Array = np.append((count[:-1] >= _LEAST).all(axis=1), False)
    if not usable.any():
        raise DesignError(
            "no category has at least two supported and two other merchants, so that nothing can be compared inside one; use "
            "pilot_contrast where whole categories started, or gather more merchants"
        )
    inside = usable[code]
    notes = list(compared.notes)
    if lone := int((~usable[:-1]).sum()):
        notes.append(
            f"categories without two supported and two other merchants, left out: {lone} of {len(names)}, with "
            f"{int(count[:-1][~usable[:-1], 1].sum())} supported merchants"
        )
    if unknown := int(count[-1].sum()):
        notes.append(f"merchants without a category, left out: {unknown}")
    cohorts = np.unique(compared.cohort[inside & supported])
    start = np.where(supported, np.searchsorted(cohorts, compared.cohort), -1)[inside]
    outcome = compared.outcome if inside.all() else compared.outcome[inside]
    kept = AssignedGroups(compared.units[inside], outcome, np.ones(len(start)), start, compared.starts[cohorts])
    renumbered = (np.cumsum(usable) - 1)[code[inside]]
    return kept, renumbered, pd.Index(names)[usable[:-1]], tuple(notes)


def _shares(groups: AssignedGroups, code: Array) -> Array:
    """(C, S) shares of the starts among the supported merchants of each category."""
    count = np.zeros((code.max() + 1, len(groups.firsts)))
    np.add.at(count, (code[groups.treated], groups.start[groups.treated]), 1)
    return count / count.sum(axis=1, keepdims=True)


def _sides(values: Array, code: Array, treated: Array) -> _Sides:
    key, size = 2 * code + treated, 2 * (code.max() + 1)
    count = np.bincount(key, minlength=size)
    mean = np.bincount(key, values, size) / count
    variance = np.bincount(key, (values - mean[key]) ** 2, size) / (count - 1)
    return _Sides(count.reshape(-1, 2), mean.reshape(-1, 2), variance.reshape(-1, 2))


def _categories(names: pd.Index, sides: _Sides, scale: float) -> pd.DataFrame:
    alone = np.eye(len(names))
    error = known_errors(sides.error(alone), scale)
    low, high = StudentByRow(sides.degrees_of_freedom(alone)).interval(sides.difference, error, 0.95)
    columns = {"group": names, "supported": sides.size[:, 1], "other": sides.size[:, 0], "weight": sides.weight}
    rows = {"estimate": sides.difference, "std_error": error, "conf_low": low, "conf_high": high}
    return pd.DataFrame(columns | rows)


def _balance(groups: AssignedGroups, code: Array, weight: Array, law: WithinStrata) -> pd.DataFrame:
    past = groups.paths[:, : int(groups.firsts.min())]
    count = np.bincount(code)
    common = np.stack([np.bincount(code, column) for column in past.T], axis=1) / count[:, None]
    spread = (past - common[code]).std(axis=1)
    mean = _sides(spread, code, groups.treated).mean
    other = float(weight @ mean[:, 0])
    measures = {
        "volatility_ratio": float(weight @ mean[:, 1]) / other if other > 0 else np.nan,
        "smallest_p_value": law.smallest_p_value,
        "assignments": float(law.count),
        "exact": float(law.exact),
    }
    return pd.DataFrame({"measure": list(measures), "value": list(measures.values())})
