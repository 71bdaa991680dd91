"""The pilot question: did the piloted groups change more than the others, judged group by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.assigned import assigned_groups
from strategy_kit.did.guards import ROUNDING, refuse_no_spread, unused_by_means
from strategy_kit.errors import ParameterError, refuse, seed_laws
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student, pooled, welch
from strategy_kit.randomisation import Randomisation

if TYPE_CHECKING:
    from strategy_kit.assigned import AssignedGroups
    from strategy_kit.panel import Panel

Array = np.ndarray


def pilot_contrast(panel: Panel, *, seed: int = 0) -> Estimates:
    """Compare the change of treated groups with that of the others, one before/after contrast a group.

    A group is a category where the start is constant within categories, else a unit. Its outcome is averaged over units
    and periods; after minus before is its contrast. With several starts an untreated group's contrast is the average over
    the starts that happened, and a treated one's is told less what the untreated moved more at its start than at the average
    one, which is no chance of its own. With a log outcome the effect is in log points.

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
        under every assignment, the real one first) and "balance" (measure, value: volatility_ratio and size_ratio of
        treated to other groups before the start, by weekly noise and by units; smallest_p_value, assignments, exact).

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
    refuse(ParameterError, "pilot_contrast", seed_laws(seed))
    groups = assigned_groups(panel)
    law = Randomisation(groups.changes, _exposure(groups), groups.start, seed)
    values, treated = groups.contrasts, groups.treated
    refuse_no_spread(values, treated, ROUNDING * panel.scale)
    estimate, error, freedom = welch(values[treated], values[~treated])
    _, alike, degrees = pooled(values[treated], values[~treated])
    return Estimates(
        estimator="pilot_contrast",
        outcome=panel.name,
        labels=pd.DataFrame({"method": ["welch", "pooled", "randomisation"]}),
        estimate=np.repeat(estimate, 3),
        spread=np.diag(np.array([error, alike, error]) ** 2),
        n_units=np.repeat(panel.units_by_cohort[: len(panel.cohorts)].sum(), 3),
        assigned_at=panel.assigned_at,
        clusters=(int(treated.sum()), int((~treated).sum())),
        average=(float(estimate), float(error)),
        law=(Student(float(freedom)), Student(float(degrees)), law),
        details={
            "groups": pd.DataFrame({"group": groups.names, "treated": treated, "contrast": values}),
            "placebo": pd.DataFrame({"statistic": law.statistics()[0]}),
            "balance": _balance(groups, law),
        },
        notes=(*panel.notes, *unused_by_means(panel)),
        seed=seed,
    )


def _exposure(groups: AssignedGroups) -> Array:
    own = np.where(groups.treated[:, None], groups.after[np.maximum(groups.start, 0)], 0.0)
    result: Array = own @ groups.weights.T
    return result


def _balance(groups: AssignedGroups, law: Randomisation) -> pd.DataFrame:
    past, treated = groups.paths[:, : int(groups.firsts.min())], groups.treated
    residual = past - past.mean(axis=1, keepdims=True) - past.mean(axis=0) + past.mean()
    spread = residual.std(axis=1)
    other = spread[~treated].mean()
    measures = {
        "volatility_ratio": spread[treated].mean() / other if other > 0 else np.nan,
        "size_ratio": groups.units[treated].mean() / groups.units[~treated].mean(),
        "smallest_p_value": law.smallest_p_value,
        "assignments": float(law.count),
        "exact": float(law.exact),
    }
    return pd.DataFrame({"measure": list(measures), "value": list(measures.values())})
