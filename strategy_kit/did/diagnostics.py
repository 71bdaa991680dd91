"""What a panel and its effects rest on: who is observed, in cohorts of what size, and from which base period."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.aggregate import overall
from strategy_kit.did.group_time import group_time
from strategy_kit.errors import DesignError, ParameterError, whole_number

if TYPE_CHECKING:
    from strategy_kit.did.cells import Control
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray
_WINDOWS = (4, 8, 16, 32)
_ANTICIPATIONS = (1, 2)
_BY_UNITS = ("sun_abraham", "imputation")
"""Studies by age whose average weighs ages by their units; others take the plain mean of ages."""


def composition(panel: Panel) -> pd.DataFrame:
    """Count who is observed when: units that come, go and stay, by cohort and period.

    Returns
    -------
    DataFrame
        One row a cohort and period, the never treated last (never_treated, cohort missing): cohort, never_treated,
        period, observed (units), share_observed (of the cohort's units), entered (observed, but not in the period
        before; 0 in the first), left (the reverse).

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, np.nan, 4.0], [np.nan, 2.0, 5.0], [1.0, 1.0, 2.0]])
    >>> composition(Panel.from_matrix(y, treated_from=[3, 3, 0])).iloc[:3, 3:].to_numpy().tolist()
    [[1.0, 0.5, 0.0, 0.0], [1.0, 0.5, 1.0, 1.0], [2.0, 1.0, 1.0, 0.0]]
    """
    groups, code = _groups(panel)
    seen = ~np.isnan(panel.outcome)
    before = np.column_stack([seen[:, :1], seen[:, :-1]])
    flows = {"observed": seen, "entered": seen & ~before, "left": before & ~seen}
    counts = {name: np.array([flow[code == row].sum(axis=0) for row in groups.index]) for name, flow in flows.items()}
    periods = len(panel.periods)
    frame = groups.loc[groups.index.repeat(periods), ["cohort", "never_treated"]].reset_index(drop=True)
    return frame.assign(
        period=panel.periods[np.tile(np.arange(periods), len(groups))],
        observed=counts["observed"].ravel(),
        share_observed=(counts["observed"] / groups[["n_units"]].to_numpy()).ravel(),
        entered=counts["entered"].ravel(),
        left=counts["left"].ravel(),
    )


def cohort_sizes(panel: Panel) -> pd.DataFrame:
    """List the cohorts with their size and the periods that they are seen before and after their start.

    Returns
    -------
    DataFrame
        One row a cohort, the never treated last (never_treated, cohort missing): cohort, never_treated, n_units,
        share (of all units, weighted where the panel is), periods_before and periods_after the start (all are before,
        where there is none).

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> cohort_sizes(Panel.from_matrix(np.zeros((4, 5)), treated_from=[3, 0, 4, 4])).iloc[:, 2:].to_numpy().tolist()
    [[1.0, 0.25, 2.0, 3.0], [2.0, 0.5, 3.0, 2.0], [1.0, 0.25, 5.0, 0.0]]
    """
    groups, code = _groups(panel)
    periods = len(panel.periods)
    before = np.append(panel.starts, periods)[groups.index]
    share = np.bincount(code, panel.weight)[groups.index]
    share = share / share.sum()
    return groups.assign(share=share, periods_before=before, periods_after=periods - before).reset_index(drop=True)


def thin_cells(effects: Estimates, *, least: int = 30) -> pd.DataFrame:
    """List the effects that rest on few treated units, with their weight in the overall average.

    Parameters
    ----------
    effects
        By cohort and period, by age or by period.
    least
        Units from which on an effect is left out of the list.

    Returns
    -------
    DataFrame
        The labels, estimate, std_error, n_units and weight: in the average that `glance` shows, 0 before the start.

    Raises
    ------
    ParameterError
        If `least` is not a whole number of at least 1.
    DesignError
        If `effects` have other labels.

    Examples
    --------
    >>> from strategy_kit.did import group_time
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> thin_cells(group_time(panel))[["n_units", "weight"]].to_numpy().tolist()
    [[1.0, 1.0]]
    """
    if not whole_number(least, 1):
        raise ParameterError(f"least is a whole number of units, 1 or more, not {least!r}")
    labels = effects.labels
    if effects.age is not None:
        after = effects.age >= 0
        weight = np.zeros(len(after))
        for cohort in labels["cohort"][after].unique():
            cells = (labels["cohort"] == cohort).to_numpy() & after
            # the average is linear in the effects, and the cells of a cohort weigh the same
            weight[cells] = overall(replace(effects, estimate=cells.astype(float))).estimate[0] / cells.sum()
    elif list(labels) in (["age"], ["period"]):
        counted = (labels["age"] >= 0).to_numpy() if "age" in labels else np.ones(len(labels), bool)
        if effects.estimator in _BY_UNITS:
            counted = counted * effects.n_units
        weight = counted / counted.sum()
    else:
        raise DesignError(
            f"{effects.estimator} has no effects by cohort and period, age or period; start from group_time"
        )
    frame = labels.assign(
        estimate=effects.estimate, std_error=effects.std_error, n_units=effects.n_units, weight=weight
    )
    return frame[frame["n_units"] < least].reset_index(drop=True)


def base_periods(panel: Panel, *, control: Control = "not_yet") -> pd.DataFrame:
    """Estimate the overall effect from other base periods: where trends are parallel, all mean the same.

    Parameters
    ----------
    panel
        As `group_time` takes it.
    control
        As in `group_time`.

    Returns
    -------
    DataFrame
        One row a choice: base, anticipation, window (periods whose mean outcome is the base, the last ones before each
        cohort's start, of the cohort and of its comparison units alike), estimate, std_error, spread (largest estimate
        less smallest, the same in all rows). First what `group_time` does by itself; then the universal base (equal by
        construction: they differ before the start only), anticipation of 1 and 2 periods, and windows of 4, 8, 16 and 32
        periods. So that all rows average the same cells, there is none for a choice that some cohort has too short a past
        for, for anticipation where no unit is never treated, and for windows of an unbalanced panel.

    Raises
    ------
    DesignError
        As `group_time`.

    References
    ----------
    Marcus and Sant'Anna (2021), "The role of parallel trends in event study settings".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0, 4.0], [2.0, 2.5, 5.0], [1.0, 1.0, 2.0], [3.0, 3.5, 4.5]])
    >>> base_periods(Panel.from_matrix(y, treated_from=[3, 3, 0, 0]))[["anticipation", "estimate"]].to_numpy().tolist()
    [[0.0, 1.25], [0.0, 1.25], [1.0, 1.75]]
    """
    panel = panel.comparable  # the past is that of the units which are compared
    first, universal = (group_time(panel, control=control, base=base).average for base in ("varying", "universal"))
    past = int(panel.starts.min())
    found = [("varying", 0, 1, *first), ("universal", 0, 1, *universal)]
    possible = [a for a in _ANTICIPATIONS if a < past and (panel.cohort < 0).any()]
    found += [("varying", a, 1, *group_time(panel, control=control, anticipation=a).average) for a in possible]
    found += [("universal", 0, k, *from_window(panel, k, control)) for k in _WINDOWS if k <= past and panel.balanced]
    frame = pd.DataFrame(found, columns=["base", "anticipation", "window", "estimate", "std_error"])
    return frame.assign(spread=np.ptp(frame["estimate"].to_numpy()))


def from_window(panel: Panel, window: int, control: Control) -> tuple[float, float]:
    """Return the overall effect with a period put in before each start that holds the mean of the last `window` ones."""
    starts, periods = panel.starts, panel.outcome.shape[1]
    means = np.column_stack([panel.outcome[:, s - window : s].mean(axis=1) for s in starts])
    put_in = starts + np.arange(len(starts))  # where each stands afterwards; its cohort starts right behind it
    given = panel.covariates
    if given is not None and given.ndim == 3:
        given = np.insert(given, starts, given[:, starts - 1], axis=1)
    longer = replace(
        panel,
        outcome=np.insert(panel.outcome, starts, means, axis=1),
        periods=pd.RangeIndex(periods + len(starts)),
        cohorts=pd.Index(put_in + 1),
        covariates=given,
    )
    effects = group_time(longer, control=control)
    label = effects.labels
    real = (~label["period"].isin(put_in) & (label["period"] >= label["cohort"])).to_numpy()
    chosen = np.eye(len(real))[real]
    joint = effects.joint
    assert joint is not None  # noqa: S101  # of group_time
    kept = replace(
        effects,
        labels=label[real].reset_index(drop=True),
        estimate=effects.estimate[real],
        spread=joint.combined(chosen, np.zeros((len(chosen), len(joint.shares)))),
        n_units=effects.n_units[real],
        age=np.asarray(effects.age)[real],
    )
    return overall(kept).average


def _groups(panel: Panel) -> tuple[pd.DataFrame, Array]:
    """Return one row a cohort and then the never treated if there are any, and each unit's row."""
    last = len(panel.cohorts)
    code = panel.cohort_codes
    count = np.bincount(code, minlength=last + 1)
    cohort = pd.Series(panel.cohorts).reindex(range(last + 1))
    frame = pd.DataFrame({"cohort": cohort, "never_treated": np.arange(last + 1) == last, "n_units": count})
    return frame[count > 0], code
