"""The pilot question: did the piloted groups change more than the others, judged group by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.guards import ROUNDING
from strategy_kit.errors import DesignError, ParameterError, whole_number
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student, welch
from strategy_kit.randomisation import Randomisation, own_and_pooled

if TYPE_CHECKING:
    from strategy_kit.panel import Panel

Array = np.ndarray
_LEAST = 2


def pilot_contrast(panel: Panel, *, seed: int = 0) -> Estimates:
    """Compare the change of treated groups with that of the others, one before/after contrast a group.

    A group is a category where the start is constant within categories, else a unit. Its outcome is averaged over units
    and periods; after minus before is its contrast. With several starts an untreated group's contrast is the average over
    the starts that happened. With a log outcome the effect is in log points.

    Parameters
    ----------
    panel
        Observed in every period; the outcome is used as it is.
    seed
        Of the sample, should there be more than 50,000 ways to deal the starts.

    Returns
    -------
    Estimates
        Label method: welch (the headline), pooled, randomisation (exact where feasible; its interval holds the effects
        that it does not refuse). `details` has "groups" (group, treated, contrast), "placebo" (statistic: the difference
        under every assignment, the real one first) and "balance" (measure, value: volatility_ratio of treated to other
        groups before the start, smallest_p_value, assignments, exact).

    Raises
    ------
    DesignError
        If a side has fewer than two groups, no period lies before the first start, all groups of each side changed by
        exactly the same amount, or the panel is unbalanced.

    References
    ----------
    Donald and Lang (2007), "Inference with difference-in-differences and other panel data"; MacKinnon and
    Webb (2020), "Randomization inference for difference-in-differences with few treated clusters".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 3.0], [2.0, 4.5], [1.0, 1.0], [2.0, 2.5], [3.0, 3.1]])
    >>> pilot = Panel.from_matrix(y, treated_from=[2, 2, 0, 0, 0])
    >>> pilot_contrast(pilot).tidy()[["method", "estimate"]].round(2).to_numpy().tolist()
    [['welch', 2.05], ['pooled', 2.05], ['randomisation', 2.05]]
    """
    if not whole_number(seed, 0):
        raise ParameterError(f"a seed is a whole number, 0 or more, not {seed!r}")
    groups, paths, start = _groups(panel)
    starts = np.unique(start[start >= 0])
    _refuse(panel, start, starts)
    after = np.arange(paths.shape[1])[None, :] >= panel.starts[starts][:, None]  # (S, T)
    weights = after / after.sum(axis=1, keepdims=True) - ~after / (~after).sum(axis=1, keepdims=True)
    contrasts = paths @ weights.T
    position = np.where(start >= 0, np.searchsorted(starts, start), -1)
    law = Randomisation(contrasts, _exposure(after, weights, position), position, seed)
    values = own_and_pooled(contrasts, position[None, :], position)[0]
    treated = position >= 0
    _refuse_no_spread(values, treated, ROUNDING * panel.scale)
    estimate, error, freedom = welch(values[treated], values[~treated])
    pooled = _pooled_error(values, treated)
    return Estimates(
        estimator="pilot_contrast",
        outcome=panel.name,
        labels=pd.DataFrame({"method": ["welch", "pooled", "randomisation"]}),
        estimate=np.repeat(estimate, 3),
        spread=np.diag(np.array([error, pooled, error]) ** 2),
        n_units=np.repeat(int((panel.cohort >= 0).sum()), 3),
        assigned_at=panel.assigned_at,
        clusters=(int(treated.sum()), int((~treated).sum())),
        average=(float(estimate), float(error)),
        law=(Student(float(freedom)), Student(float(len(values) - 2)), law),
        details={
            "groups": pd.DataFrame({"group": groups, "treated": treated, "contrast": values}),
            "placebo": pd.DataFrame({"statistic": law.statistics()[0]}),
            "balance": _balance(paths, treated, after.argmax(axis=1).min(), law),
        },
        notes=(*panel.notes, *_unused(panel)),
        seed=seed,
    )


def _unused(panel: Panel) -> tuple[str, ...]:
    given = {"covariates": panel.covariates, "weights": panel.weight, "clusters": panel.cluster}
    named = [name for name, value in given.items() if value is not None]
    return (f"groups are compared by their plain means, without {' and '.join(named)}",) if named else ()


def _groups(panel: Panel) -> tuple[pd.Index, Array, Array]:
    if not panel.balanced:
        raise DesignError("the panel is unbalanced; keep the complete units with panel.complete_units()")
    if panel.category is None or panel.assigned_at == "merchant":
        return panel.units, panel.outcome, panel.cohort
    code, groups = pd.factorize(panel.category, sort=True, use_na_sentinel=False)
    count = np.bincount(code)
    paths = np.zeros((len(groups), panel.outcome.shape[1]))
    np.add.at(paths, code, panel.outcome)
    first = np.full(len(groups), -1)
    first[code[::-1]] = panel.cohort[::-1]
    return pd.Index(groups), paths / count[:, None], first


def _refuse(panel: Panel, start: Array, starts: Array) -> None:
    treated, other = int((start >= 0).sum()), int((start < 0).sum())
    if treated < _LEAST or other < _LEAST:
        raise DesignError(
            f"an interval needs at least two groups on each side, but {treated} are treated and {other} are not; add "
            "categories, or report the changes without an interval"
        )
    if panel.starts[starts].min() < 1:
        raise DesignError(
            f"no period lies before {panel.cohorts[starts[0]]}, when the first groups start; begin the panel earlier"
        )


def _refuse_no_spread(values: Array, treated: Array, least: float) -> None:
    if np.ptp(values[treated]) <= least and np.ptp(values[~treated]) <= least:
        raise DesignError(
            "all groups of each side changed by exactly the same amount, so chance cannot be measured; check that the outcome "
            "is not filled in"
        )


def _exposure(after: Array, weights: Array, position: Array) -> Array:
    own = np.where(position[:, None] >= 0, after[np.maximum(position, 0)], 0.0)
    return own @ weights.T


def _pooled_error(values: Array, treated: Array) -> float:
    size, other = int(treated.sum()), int((~treated).sum())
    squares = values[treated].var() * size + values[~treated].var() * other
    return float(np.sqrt(squares / (size + other - 2) * (1 / size + 1 / other)))


def _balance(paths: Array, treated: Array, before: int, law: Randomisation) -> pd.DataFrame:
    past = paths[:, :before]
    residual = past - past.mean(axis=1, keepdims=True) - past.mean(axis=0) + past.mean()
    spread = residual.std(axis=1)
    other = spread[~treated].mean()
    measures = {
        "volatility_ratio": spread[treated].mean() / other if other > 0 else np.nan,
        "smallest_p_value": law.smallest_p_value,
        "assignments": float(law.count),
        "exact": float(law.exact),
    }
    return pd.DataFrame({"measure": list(measures), "value": list(measures.values())})
