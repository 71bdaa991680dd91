"""From what supported merchants gained to what the platform keeps: the gross-to-net ladder of whole piloted categories."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit.assigned import assigned_groups
from strategy_kit.did.collapsed import marked
from strategy_kit.did.guards import ROUNDING, unused_by_means
from strategy_kit.errors import DesignError, ParameterError, refuse
from strategy_kit.estimates import Estimates
from strategy_kit.inference import Student, welch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.assigned import AssignedGroups
    from strategy_kit.panel import Panel

Array = np.ndarray
PARTS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
"""(rung, part): the category is supported merchants and rivals together."""


class _Sales(NamedTuple):
    """Sales a period of supported merchants and of rivals (2 parts), with J pilots and M other categories."""

    before: Array  # (2, J), before each pilot's own start
    after: Array  # (2, J)
    growth: Array  # (2, M, J): of the part elsewhere, over the same periods
    periods: Array  # (J,) after the start


def gross_to_net(
    panel: Panel,
    supported: pd.Series | Sequence[bool],
    *,
    eligible: pd.Series | Sequence[bool] | None = None,
    take_rate: float | pd.Series | None = None,
    cost: float | None = None,
    cost_error: float = 0.0,
) -> Estimates:
    """Follow the money: what the category gained, of it supported merchants, what rivals lost, revenue and cost.

    Each category is one draw. Without the pilot, a part of a piloted category would have grown as the other categories did;
    what it sold beyond that, summed over the periods after the start and the pilots, is its gain. Gains of supported
    merchants and of their rivals add up to that of the category.

    Parameters
    ----------
    panel
        Sales of merchants in money, 0 where they sold nothing, with categories; whole categories start.
    supported
        True for the merchants of piloted categories that were supported, by unit or in the order of `panel.units`.
    eligible
        True for the merchants elsewhere that would have been supported: then each part is compared with its own kind,
        weighted as in the pilots. Without it both parts are expected to grow as other categories did as a whole.
    take_rate
        Share of sales that the platform keeps; one number, or one a category.
    cost
        Of the pilot, in the same money and over the same periods.
    cost_error
        Standard error of `cost`, independent of sales; 0 where it is known.

    Returns
    -------
    Estimates
        Label rung: supported (gross), rivals (spillover) and category (the net gain, which `glance` shows), then as far as
        given revenue, cost (without an error where it is known) and profit. In money over the periods after the start. `details`
        has "growth" (the first three as a share of what the pilots would have sold at their pace before, with 95 % intervals),
        "groups" (a column a rung: what all pilots together would have sold more had each done as this one; for other
        categories, had pilots grown as this one; the difference of means is the gain) and "within" (what a comparison with
        rivals inside the categories would call the gain of supported merchants, and its excess over it).

    Raises
    ------
    DesignError
        If treatment was not assigned to whole categories, a side has fewer than two, sales are negative, supported
        merchants are outside the pilots or absent from one, or a part that growth is measured by sold nothing; all at once.
    ParameterError
        If marks do not fit the units, a rate is not between 0 and 1, or a cost is negative.

    References
    ----------
    The algebra, and why the comparison inside categories counts losses of rivals as gains, is in
    docs/methods/gross_to_net.md. Welch (1947), "The generalization of Student's problem when several different population
    variances are involved".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> sales = np.array([[10.0, 14], [30, 28], [20, 26], [20, 21], [40, 40], [40, 42], [40, 41]])
    >>> panel = Panel.from_matrix(sales, treated_from=[2] * 4 + [0] * 3, category=list("aabbxyz"))
    >>> ladder = gross_to_net(panel, [True, False, True, False, False, False, False])
    >>> ladder.tidy()[["rung", "estimate"]].round(2).to_numpy().tolist()
    [['supported', 9.25], ['rivals', -2.25], ['category', 7.0]]
    """
    marks = marked(panel, supported, "supported")
    alike = marks if eligible is None else marked(panel, eligible, "eligible")
    category = _categories(panel, marks, alike)
    _refuse_money(take_rate, cost, cost_error)
    groups = assigned_groups(panel)
    sales = _sales(panel, category, groups, np.where(panel.cohort >= 0, marks, alike))
    pilots, others = _contrasts(sales, np.ones(len(sales.periods)))
    rungs = ["supported", "rivals", "category"]
    if take_rate is not None:
        kept = _contrasts(sales, _rates(take_rate, groups.names[groups.treated]))
        pilots, others, rungs = np.vstack([pilots, kept[0][2:]]), np.vstack([others, kept[1][2:]]), [*rungs, "revenue"]
    least = ROUNDING * float((sales.before.sum(axis=0) * sales.periods).sum())
    if np.ptp(pilots[2]) <= least and np.ptp(others[2]) <= least:
        raise DesignError("all categories of each side changed by exactly the same share, so chance cannot be measured")
    estimate, error, freedom = welch(pilots, others)
    laws = tuple(map(Student, freedom.tolist()))
    result = Estimates(
        estimator="gross_to_net",
        outcome=panel.name,
        labels=pd.DataFrame({"rung": rungs}),
        estimate=estimate,
        spread=np.cov(pilots) / pilots.shape[1] + np.cov(others) / others.shape[1],
        n_units=_units(panel, marks, len(rungs)),
        assigned_at="category",
        clusters=(pilots.shape[1], others.shape[1]),
        average=(float(estimate[2]), float(error[2])),
        law=laws,
        average_law=laws[2],
        notes=(*panel.notes, *unused_by_means(panel)),
    )
    details = _details(result, sales, groups, np.hstack([pilots, others]))
    return replace(result if cost is None else _with_cost(result, laws, cost, cost_error), details=details)


def _categories(panel: Panel, marks: Array, alike: Array) -> pd.Series:
    """Return the category of each unit, where the panel and the marks keep the laws of the ladder."""
    if panel.category is None or panel.assigned_at != "category":
        raise DesignError(
            "the ladder judges whole categories, but starts differ within categories; give all merchants of a pilot its "
            "start, and name those that were supported"
        )
    pilot, laws = panel.cohort >= 0, []
    if (panel.outcome < 0).any():
        laws.append(f"sales below 0: {int((panel.outcome < 0).sum())}; the ladder adds up sales in money, not logs")
    if outside := int((marks & ~pilot).sum()):
        laws.append(f"supported merchants outside the pilots: {outside}; they make their categories no comparison")
    held = panel.category[pilot & marks].unique()
    if without := [str(name) for name in panel.category[pilot].unique() if name not in held]:
        laws.append(f"pilots without a supported merchant: {', '.join(without)}; leave them out with panel.within")
    if marks[pilot].all():
        laws.append("all merchants of the pilots were supported, so that there are no rivals; use pilot_contrast")
    if alike is not marks and not alike[~pilot].any():
        laws.append("no merchant outside the pilots is eligible; mark those that would have been supported")
    refuse(DesignError, "gross_to_net", laws)
    return panel.category


def _refuse_money(take_rate: float | pd.Series | None, cost: float | None, cost_error: float) -> None:
    laws = []
    rates = np.atleast_1d(np.asarray(0.5 if take_rate is None else take_rate, dtype=float))
    if not ((rates > 0) & (rates <= 1)).all():
        laws.append(f"take_rate is a share of sales above 0, at most 1, not {rates[~((rates > 0) & (rates <= 1))][0]}")
    if cost is not None and not (np.isfinite(cost) and cost > 0):
        laws.append(f"cost is an amount of money above 0, not {cost}")
    if cost is not None and take_rate is None:
        laws.append("cost is set against revenue; give take_rate too")
    if not (np.isfinite(cost_error) and cost_error >= 0) or (cost is None and cost_error):
        laws.append(f"cost_error is the standard error of a cost that is given, 0 or more, not {cost_error}")
    refuse(ParameterError, "gross_to_net", laws)


def _rates(take_rate: float | pd.Series, pilots: pd.Index) -> Array:
    if not isinstance(take_rate, pd.Series):
        return np.full(len(pilots), float(take_rate))
    if lacking := [str(name) for name in pilots if name not in take_rate.index]:
        raise ParameterError(f"take_rate has no row for {', '.join(lacking)}; give one a pilot")
    return take_rate.reindex(pilots).to_numpy(dtype=float)


def _sales(panel: Panel, category: pd.Series, groups: AssignedGroups, marks: Array) -> _Sales:
    code = pd.factorize(category, sort=True, use_na_sentinel=False)[0]  # in the order of groups.names
    sums = np.zeros((2, len(groups.names), panel.outcome.shape[1]))
    np.add.at(sums, ((~marks).astype(int), code), panel.outcome)
    after, own = groups.after, groups.start[groups.treated]
    late = sums @ (after / after.sum(axis=1, keepdims=True)).T  # (2, G, S)
    early = sums @ (~after / (~after).sum(axis=1, keepdims=True)).T
    pilots = (slice(None), groups.treated.nonzero()[0], own)
    before, then = early[:, ~groups.treated][:, :, own], late[:, ~groups.treated][:, :, own]
    if not marks[panel.cohort < 0].any():  # nobody elsewhere is told apart
        before, then = (np.broadcast_to(side.sum(axis=0), side.shape) for side in (before, then))
    unsold = (before <= 0).any(axis=(0, 2))
    bare = [*groups.names[~groups.treated][unsold], *groups.names[groups.treated][early[pilots].sum(axis=0) <= 0]]
    if bare:
        raise DesignError(
            f"growth cannot be told where nothing, or nothing of one kind, was sold before: {', '.join(map(str, bare))}; merge "
            "categories, or leave eligible out"
        )
    return _Sales(early[pilots], late[pilots], then / before - 1, after.sum(axis=1)[own])


def _contrasts(sales: _Sales, rate: Array) -> tuple[Array, Array]:
    """Return (3, J) and (3, M): by rung, what all pilots would have gained had each done as this one, and what was expected.

    Their means differ by the gain. Pilots are alike in what they gain for each yuan that they sold before, whatever their size.
    """
    size = sales.before * sales.periods * rate  # (2, J)
    expected = PARTS @ np.einsum("pj,pmj->pm", size, sales.growth)
    change = PARTS @ ((sales.after - sales.before) * sales.periods * rate)
    whole = size.sum(axis=0)
    share = (change - PARTS @ (size * sales.growth.mean(axis=1))) / whole
    away = share - share.mean(axis=1, keepdims=True)
    return change.sum(axis=1, keepdims=True) + np.sqrt(len(whole) * whole @ whole) * away, expected


def _units(panel: Panel, marks: Array, rungs: int) -> Array:
    pilots = int((panel.cohort >= 0).sum())
    return np.array([int(marks.sum()), pilots - int(marks.sum()), pilots, pilots])[:rungs]


def _details(result: Estimates, sales: _Sales, groups: AssignedGroups, contrasts: Array) -> dict[str, pd.DataFrame]:
    size = sales.before * sales.periods
    parts = result.tidy().head(3)
    growth = {name: parts[name] / size.sum() for name in ("estimate", "std_error", "conf_low", "conf_high")}
    with np.errstate(divide="ignore", invalid="ignore"):
        rivals = sales.after[1] / sales.before[1]
    naive = float(((sales.after[0] - sales.before[0] * rivals) * sales.periods).sum())
    order = np.concatenate([groups.treated.nonzero()[0], (~groups.treated).nonzero()[0]])
    columns = dict(zip(result.labels["rung"], contrasts, strict=True))
    return {
        "growth": pd.DataFrame({"rung": parts["rung"], **growth}),
        "groups": pd.DataFrame({"group": groups.names[order], "treated": groups.treated[order], **columns}),
        "within": pd.DataFrame({"estimate": [naive], "excess": [naive - result.estimate[0]]}),
    }


def _with_cost(result: Estimates, laws: tuple[Student, ...], cost: float, cost_error: float) -> Estimates:
    """Add the rungs of cost and of profit, revenue less cost."""
    size = len(result.estimate)
    step = np.vstack([np.eye(size + 1), np.append(np.zeros(size - 1), [1.0, -1.0])])
    spread = np.zeros((size + 1, size + 1))
    spread[:size, :size], spread[size, size] = result.covariance, cost_error**2
    whole = replace(
        result,
        labels=pd.DataFrame({"rung": [*result.labels["rung"], "cost", "profit"]}),
        estimate=step @ np.append(result.estimate, cost),
        spread=step @ spread @ step.T,
        n_units=np.append(result.n_units, result.n_units[[0, 2]]),
        law=(*laws, Student(), laws[-1]),
    )
    return whole if cost_error else whole.without_errors(np.arange(size + 2) == size)
