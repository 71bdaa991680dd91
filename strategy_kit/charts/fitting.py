"""The chart that fits a result, for notebooks that show results by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.charts.bacon import bacon
from strategy_kit.charts.cohort_paths import cohort_paths
from strategy_kit.charts.effects_grid import effects_grid
from strategy_kit.charts.event_study import event_study
from strategy_kit.charts.figure import figure
from strategy_kit.charts.forest import forest
from strategy_kit.charts.looks import looks
from strategy_kit.charts.net import gross_to_net
from strategy_kit.charts.placebo import placebo_strip
from strategy_kit.charts.sensitivity import sensitivity
from strategy_kit.charts.synthetic import synthetic_pair
from strategy_kit.estimates import Estimates
from strategy_kit.moments import Moments
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.charts.theme import Chart

MOST_ROWS = 40
_BY_KIND: dict[str, Callable[[Any], Chart]] = {"bacon": bacon, "gross_to_net": gross_to_net, "weekly_looks": looks}
_BY_LABELS: dict[tuple[str, ...], Callable[[Any], Chart]] = {("age",): event_study, ("cohort", "period"): effects_grid}


def fitting(result: Any) -> Chart | None:
    """Return the chart that fits a result, with its name as title, or None where there is nothing to draw.

    Parameters
    ----------
    result
        An `Estimates`, a `Panel`, `Moments` or a `Sensitivity`. Estimates of more than 40 groups, estimates without a
        finite value, unbalanced panels and all other results have no chart.

    Examples
    --------
    >>> from strategy_kit.did import group_time, overall
    >>> panel = Panel.from_matrix(np.array([[1.0, 4.0], [1.0, 2.0], [3.0, 3.0]]), treated_from=[2, 0, 0])
    >>> fitting(overall(group_time(panel))).description
    'Effect, in units of the outcome. overall +2.5 (+1.8 … +3.2).'
    """
    chart, name = _drawn(result), getattr(result, "estimator", type(result).__name__)
    if chart is None:
        return None
    outcome = getattr(result, "outcome", None) if not isinstance(result, Panel) else result.name
    title = f"{name} of {outcome}" if isinstance(outcome, str) else name
    return figure(chart, title=title, description=chart.description)


def _drawn(result: Any) -> Chart | None:
    if isinstance(result, Estimates):
        return _estimates(result)
    if isinstance(result, Panel):
        return cohort_paths(_paths(result)) if result.balanced else None
    if isinstance(result, Moments):
        return cohort_paths(result.tidy().astype({"cohort": str}))
    return sensitivity(result) if hasattr(result, "breakdown") else None


def _estimates(result: Estimates) -> Chart | None:
    paths, by_labels = result.details.get("paths"), _BY_LABELS.get(tuple(result.labels.columns))
    if not np.isfinite(result.estimate).any():
        return None
    if paths is not None and len(paths["cohort"].unique()) == 1:
        return synthetic_pair(result)
    if result.estimator == "pilot_contrast" and result.outcome.startswith("log "):
        return placebo_strip(result, to_percent=lambda value: 100 * float(np.expm1(value)))
    if draw := _BY_KIND.get(result.estimator, by_labels):
        return draw(result)
    rows = result.tidy()[["estimate", "conf_low", "conf_high"]]
    rows.insert(0, "name", _names(result))
    return forest(rows) if len(rows) <= MOST_ROWS else None


def _names(result: Estimates) -> list[str]:
    """Name each row by its labels, days without a time of day."""
    labels = result.labels
    if labels.empty or not len(labels.columns):
        return [result.estimator]
    dated = labels.select_dtypes("datetime")
    labels = labels.assign(**{str(name): dated[name].dt.strftime("%Y-%m-%d") for name in dated})
    if len(labels.columns) == 1:
        return labels.iloc[:, 0].astype(str).tolist()
    return [", ".join(f"{name} {value}" for name, value in row.items()) for row in labels.to_dict("records")]


def _paths(panel: Panel) -> pd.DataFrame:
    rows = panel.moments.tidy()
    names = pd.Index([*panel.cohort_names, "never treated"])
    return rows.assign(cohort=names[rows["cohort"]], period=panel.periods[rows["period"]])
