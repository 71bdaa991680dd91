"""Synthetic comparison groups: weighted means of donors that moved like the treated groups before the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.assigned import group_means
from strategy_kit.did.guards import settled
from strategy_kit.errors import DesignError, ParameterError, refuse, seed_laws
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student
from strategy_kit.randomisation import deals, number_of_deals

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
_MOST_DONORS, _MOST_PLACEBOS, _ROUNDS = 1_000, 1_000, 50
_TINY = 1e-6
_WELL_CONDITIONED = 1e-5


def synthetic(panel: Panel, *, seed: int = 0) -> Estimates:
    """Estimate the effect by synthetic difference-in-differences: weighted donors and weighted earlier periods.

    The donors' weights make a path parallel to the treated groups' before the start; the periods' weights make the
    donors' past like their later periods. The effect in a period is treated less synthetic, less the same gap in the
    weighted earlier periods. Cohorts are fitted one by one against the never treated and averaged by treated groups.

    Parameters
    ----------
    panel
        Balanced. A group is a category where the start is constant within categories, else a unit.
    seed
        Of the sample of placebos, should there be more than 1,000 ways to treat donors instead.

    Returns
    -------
    Estimates
        Label period, from the first start on; `glance` has the average over treated groups and periods. Standard errors
        come from placebos: donors treated on paper, at the same starts, with the other donors as theirs. Intervals are
        normal; a p-value is the rank of the absolute estimate among the placebos. `details` has "unit_weights" (cohort,
        group, weight), "time_weights" (cohort, period, weight), "paths" (cohort, period, treated, synthetic: raised by
        the gap in the weighted earlier periods), "placebo" (statistic: the average, the real one first) and "fit"
        (cohort, pre_period_error: root mean square of the gap before the start, here of the gap less its mean;
        effective_donors: one over the sum of squared weights).

    Raises
    ------
    DesignError
        If the panel is unbalanced or has covariates, a weight or a cluster, no group is treated, fewer than 2 or more
        than 1,000 are never treated, or a cohort has fewer than 2 periods before its start.
    ParameterError
        If `seed` is not a whole number of 0 or more.

    References
    ----------
    Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), "Synthetic difference in differences", equations (1) to (6),
    algorithms 1 and 4.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> donors = np.array([[1.0, 2.0, 4.0, 3.0], [2.0, 2.0, 1.0, 5.0], [0.0, 1.0, 1.0, 2.0]])
    >>> treated = donors[:2].mean(axis=0) + [3, 3, 3, 5]
    >>> panel = Panel.from_matrix(np.vstack([treated, donors]), treated_from=[4, 0, 0, 0])
    >>> synthetic(panel).details["unit_weights"]["weight"].round(2).tolist()
    [0.35, 0.33, 0.32]
    """
    return _estimated(panel, seed, "synthetic")


def synthetic_control(panel: Panel, *, seed: int = 0) -> Estimates:
    """Estimate the effect by synthetic control: a weighted mean of donors as high as the treated groups before the start.

    As `synthetic`, without weights of periods: the effect is treated less synthetic, and the synthetic path must match
    the level before the start, not only the movement.

    Parameters
    ----------
    panel, seed
        As in `synthetic`.

    Returns
    -------
    Estimates
        As `synthetic` does; the weights of periods are zero.

    Raises
    ------
    DesignError, ParameterError
        As `synthetic` does.

    References
    ----------
    Abadie, Diamond and Hainmueller (2010), "Synthetic control methods for comparative case studies", section 2, with
    the outcomes before the start as the only predictors and a ridge of 1e-6 times the noise that breaks ties.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> donors = np.array([[1.0, 2.0, 4.0, 3.0], [2.0, 2.0, 1.0, 5.0], [0.0, 1.0, 1.0, 2.0]])
    >>> treated = donors[:2].mean(axis=0) + [0, 0, 0, 2]
    >>> panel = Panel.from_matrix(np.vstack([treated, donors]), treated_from=[4, 0, 0, 0])
    >>> synthetic_control(panel).tidy()[["period", "estimate"]].round(6).to_numpy().tolist()
    [[4.0, 2.0]]
    """
    return _estimated(panel, seed, "synthetic_control")


def average_effects(panel: Panel) -> dict[str, float]:
    """Return the averages of `synthetic` and of `synthetic_control`, without the placebos that tell how sure they are.

    Raises
    ------
    DesignError
        As `synthetic` does.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> donors = np.array([[1.0, 2.0, 4.0, 3.0], [2.0, 2.0, 1.0, 5.0], [0.0, 1.0, 1.0, 2.0]])
    >>> panel = Panel.from_matrix(np.vstack([donors[:2].mean(axis=0) + [0, 0, 0, 2], donors]), treated_from=[4, 0, 0, 0])
    >>> round(average_effects(panel)["synthetic_control"], 6)
    2.0
    """
    _, paths, cohort, _ = group_means(panel)
    _refuse(panel, cohort, 0, "synthetic")
    found = {}
    for name, moving in (("synthetic", True), ("synthetic_control", False)):
        fits, count, held, weights = _matched(paths, cohort, panel.starts, moving=moving)
        found[name] = float(_effects(fits, held, count) @ weights)
    return found


@dataclass(frozen=True, kw_only=True)
class _Placebo(Student):
    """Normal intervals; p-values by rank among (M, K) placebo effects or their averages with (K,) weights."""

    effects: Array
    weights: Array

    def p_value(self, estimate: Array, std_error: Array) -> Array:  # noqa: ARG002  # the law holds its own data
        """Return the share of placebos, the real one among them, that are at least as far from zero."""
        if not len(self.effects):
            return np.full(estimate.shape, np.nan)
        rows = len(estimate) == len(self.weights)
        drawn = self.effects if rows else (self.effects @ self.weights)[:, None]
        return (1 + (np.abs(drawn) >= np.abs(estimate) * (1 - 1e-9)).sum(axis=0)) / (1 + len(drawn))


class _Fit(NamedTuple):
    units: Array  # (N,) weights of donors
    times: Array  # (start,) weights of periods; zero in synthetic control
    gap: Array  # (T,) treated less synthetic; from the start on, the effects


def _estimated(panel: Panel, seed: int, estimator: str) -> Estimates:
    groups, paths, cohort, _ = group_means(panel)
    _refuse(panel, cohort, seed, estimator)
    treated, moving = cohort >= 0, estimator == "synthetic"
    fits, count, held, weights = _matched(paths, cohort, panel.starts, moving=moving)
    estimate = _effects(fits, held, count)
    drawn, notes = _placebos(paths[~treated], cohort[treated], seed)
    effects = [_effects(_fits(paths[~treated], deal, panel.starts, moving=moving), held, count) for deal in drawn]
    placebos = np.array(effects).reshape(-1, len(estimate))
    average = placebos @ weights
    size = (len(estimate),) * 2
    value = float(estimate @ weights)
    result = Estimates(
        estimator=estimator,
        outcome=panel.name,
        labels=pd.DataFrame({"period": panel.periods[panel.starts[0] :]}),
        estimate=estimate,
        spread=np.cov(placebos.T, bias=True).reshape(size) if len(placebos) else np.full(size, np.nan),
        n_units=held @ np.bincount(panel.cohort[panel.cohort >= 0]),
        assigned_at=panel.assigned_at,
        clusters=(int(treated.sum()), int((~treated).sum())),
        average=(value, float(average.std()) if len(average) else np.nan),
        law=_Placebo(effects=placebos, weights=weights),
        details={
            **_details(panel, fits, groups[~treated], paths, cohort),
            "placebo": pd.DataFrame({"statistic": [value, *average]}),
        },
        notes=(*panel.notes, *notes),
        seed=seed,
    )
    return settled(result, panel.scale)


def _matched(paths: Array, cohort: Array, starts: Array, *, moving: bool) -> tuple[list[_Fit], Array, Array, Array]:
    """Fit the cohorts: fits, (G,) treated groups, (K, G) cohorts that have started by period, (K,) weights of periods."""
    count = np.bincount(cohort[cohort >= 0])
    held = np.arange(starts[0], paths.shape[1])[:, None] >= starts
    total = (held * count).sum(axis=1)
    return _fits(paths, cohort, starts, moving=moving), count, held, total / total.sum()


def _refuse(panel: Panel, cohort: Array, seed: int, estimator: str) -> None:
    refuse(ParameterError, estimator, seed_laws(seed))
    donors, early = int((cohort < 0).sum()), [str(start) for start in panel.cohorts[panel.starts < 2]]
    given = {"covariates": panel.covariates, "a weight": panel.weight, "a cluster": panel.cluster}
    laws = [
        f"groups are matched on their outcomes alone; make the panel without {name}"
        for name, values in given.items()
        if values is not None
    ]
    if not len(panel.cohorts):
        laws.append("no group is treated within the panel's periods; check treated_from")
    if early:
        laws.append(
            f"cohort {', '.join(early)} has fewer than 2 periods before its start; begin the panel earlier, or leave its "
            "units out with panel.untreated_at_first(2)"
        )
    if donors < 2:
        laws.append(
            f"a synthetic group is a mean of at least 2 groups never treated, and there are {donors}; add such groups"
        )
    if donors > _MOST_DONORS:
        laws.append(
            f"{donors:,} groups are never treated, and weights are found for at most {_MOST_DONORS:,}; aggregate to "
            "categories, or keep some with panel.within"
        )
    refuse(DesignError, estimator, laws)


def _fits(paths: Array, cohort: Array, starts: Array, *, moving: bool) -> list[_Fit]:
    """Fit each cohort against the groups never treated; with `moving`, levels are free and earlier periods weighted."""
    donors = paths[cohort < 0]
    return [_fit(paths[cohort == g], donors, int(start), moving=moving) for g, start in enumerate(starts)]


def _fit(treated: Array, donors: Array, start: int, *, moving: bool) -> _Fit:
    past, path = donors[:, :start], treated.mean(axis=0)
    noise = np.diff(past, axis=1).std(ddof=1)
    breadth = treated[:, start:].size ** 0.25 if moving else _TINY
    units = simplex_weights(past.T, path[:start], start * (breadth * noise) ** 2, centred=moving)
    gap, times = path - units @ donors, np.zeros(start)
    if moving:
        later = donors[:, start:].mean(axis=1)
        times = simplex_weights(past, later, len(donors) * (_TINY * noise) ** 2, centred=True)
        gap -= times @ gap[:start]
    return _Fit(units, times, gap)


def _effects(fits: list[_Fit], held: Array, count: Array) -> Array:
    """(K,) effects by period, over the cohorts that have started, weighted by their groups."""
    gaps = np.array([fit.gap[-len(held) :] for fit in fits]).T
    return (held * count * gaps).sum(axis=1) / (held * count).sum(axis=1)


def simplex_weights(design: Array, target: Array, ridge: float, *, centred: bool) -> Array:
    """Return the (N,) weights w ≥ 0 with sum 1 that minimise |design w − target|² + ridge·|w|².

    Parameters
    ----------
    design, target
        (M, N) and (M,).
    centred
        With a free intercept.

    Examples
    --------
    >>> simplex_weights(np.array([[0.0, 2.0], [2.0, 0.0]]), np.array([0.5, 1.5]), 0.0, centred=False).round(6).tolist()
    [0.75, 0.25]
    """
    gap = design - target[:, None]
    gap = gap - gap.mean(axis=0) if centred else gap
    size = float(np.square(gap).sum())
    ridge = ridge or np.finfo(float).eps * size or 1.0
    found = _by_rounds(gap, ridge) if ridge > _WELL_CONDITIONED * size else None
    return _by_active_set(gap, ridge) if found is None else found


def _by_rounds(gap: Array, ridge: float) -> Array | None:
    """Guess which weights are positive, solve, correct the guess; exact once it stands, None if it does not settle."""
    held = np.ones(gap.shape[1], dtype=bool)
    for _ in range(_ROUNDS):
        weights = np.zeros(len(held))
        weights[held] = _ray(gap[:, held], ridge)
        weights /= weights.sum()
        slope = gap.T @ (gap @ weights) + ridge * weights
        wanted = np.where(held, weights > 0, slope < slope @ weights)
        if (wanted == held).all():
            return weights
        held = wanted
    return None


def _ray(gap: Array, ridge: float) -> Array:
    """Solve (gap'gap + ridge·I) z = 1 through the smaller matrix of periods, and once more for what is left."""
    inner = np.linalg.inv(gap @ gap.T + ridge * np.eye(len(gap)))
    ray, left = np.zeros(gap.shape[1]), np.ones(gap.shape[1])
    for _ in range(2):
        ray += (left - gap.T @ (inner @ (gap @ left))) / ridge
        left = 1 - gap.T @ (gap @ ray) - ridge * ray
    return ray


def _by_active_set(gap: Array, ridge: float) -> Array:
    """Find the positive weights without the ridge's rows first; where the ridge changes which they are, with them."""
    ridged = np.vstack([gap, np.sqrt(ridge) * np.eye(gap.shape[1])])
    for rows in (gap, ridged):
        raw = _nearest(rows)
        held, weights = np.flatnonzero(raw), np.zeros(len(raw))
        base = ridged[:, held[:1]]
        rest = np.linalg.lstsq(ridged[:, held[1:]] - base, -base[:, 0])[0]
        weights[held] = 1 - rest.sum(), *rest
        slope = gap.T @ (gap @ weights) + ridge * weights
        if weights.min() >= 0 and (slope >= slope @ weights)[weights == 0].all():
            return weights
    return weights if weights.min() >= 0 else raw


def _nearest(rows: Array) -> Array:
    """Point nearest to zero in the hull of the columns: the direction of a non-negative least-squares solution."""
    from scipy.optimize import nnls

    donors = rows.shape[1]
    scaled = rows * (np.sqrt(donors) / (np.linalg.norm(rows) or 1.0))
    found = nnls(np.vstack([scaled, np.ones(donors)]), np.r_[np.zeros(len(rows)), 1.0], maxiter=30 * donors)[0]
    return found / found.sum()


def _placebos(donors: Array, treated: Array, seed: int) -> tuple[Array, tuple[str, ...]]:
    """Return the (M, N) ways to treat donors as the treated groups were, and the sentence on how many there are."""
    start = np.r_[treated, np.full(len(donors) - len(treated), -1)] if len(donors) >= len(treated) + 2 else np.array([])
    if not len(start):
        told = f"{len(donors)} groups never treated cannot stand in for {len(treated)} treated with two left over"
        return np.empty((0, len(donors)), dtype=int), (f"no standard error: {told}",)
    ways = number_of_deals(start)
    if ways <= _MOST_PLACEBOS:
        return np.vstack(list(deals(start, seed))), (f"placebos: all {ways:,} ways to treat donors instead",)
    drawn = np.random.default_rng(seed).permuted(np.tile(start, (_MOST_PLACEBOS, 1)), axis=1)
    return drawn, (f"placebos: a seeded sample of {_MOST_PLACEBOS:,} of {ways:,} ways to treat donors instead",)


def _details(panel: Panel, fits: list[_Fit], donors: pd.Index, paths: Array, cohort: Array) -> dict[str, pd.DataFrame]:
    frames: dict[str, list[pd.DataFrame]] = {"unit_weights": [], "time_weights": [], "paths": [], "fit": []}
    for code, (name, start, fit) in enumerate(zip(panel.cohorts, panel.starts, fits, strict=True)):
        path, past = paths[cohort == code].mean(axis=0), fit.gap[:start]
        error = past.std() if fit.times.any() else np.sqrt(np.square(past).mean())
        tables = {
            "unit_weights": {"group": donors, "weight": fit.units},
            "time_weights": {"period": panel.periods[:start], "weight": fit.times},
            "paths": {"period": panel.periods, "treated": path, "synthetic": path - fit.gap},
            "fit": {"pre_period_error": [error], "effective_donors": [1 / np.square(fit.units).sum()]},
        }
        for table, columns in tables.items():
            frame = pd.DataFrame(columns)
            frame.insert(0, "cohort", name)
            frames[table].append(frame)
    return {table: pd.concat(parts, ignore_index=True) for table, parts in frames.items()}
