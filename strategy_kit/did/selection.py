"""A wave of merchants chosen by their past: the periods that they were chosen by, and one comparison of two sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.collapsed import summed
from strategy_kit.did.guards import assignment_laws, cautions, refuse_few_clusters, settled
from strategy_kit.errors import ContractError, DesignError, refuse
from strategy_kit.estimates import Estimates
from strategy_kit.panel_input import times_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strategy_kit.panel import Panel

Array = np.ndarray
Window = tuple[object, object]
"""First and last period, both inside."""
_LEAST = 2


@dataclass(frozen=True, slots=True)
class Selection:
    """The periods by which merchants were chosen for support.

    Attributes
    ----------
    late
        First and last period of the window whose mean outcome counted.
    early
        The window that it was compared with, where merchants were chosen by growth from `early` to `late`; None where
        they were chosen by the level in `late`.

    Examples
    --------
    >>> Selection(early=(9, 12), late=(13, 16)).windows
    {'early': (9, 12), 'late': (13, 16)}
    """

    late: Window
    early: Window | None = None

    @property
    def windows(self) -> dict[str, Window]:
        """The windows by name, in their order."""
        return {"late": self.late} if self.early is None else {"early": self.early, "late": self.late}


@dataclass(frozen=True, eq=False)
class Wave:
    """The supported merchants of one start and those never supported; made by `wave_of`.

    Attributes
    ----------
    treated
        (N,) which units are supported.
    start
        Position of the first supported period.
    share
        (N,) sampling weights, adding up to one on each side.
    windows
        Positions of the periods of each window.
    """

    panel: Panel
    treated: Array
    start: int
    share: Array
    windows: Mapping[str, slice]

    def mean(self, periods: slice) -> Array:
        """Return (N,) mean outcomes over the periods."""
        result: Array = self.panel.outcome[:, periods].mean(axis=1)
        return result

    @property
    def after(self) -> Array:
        """(N,) mean outcomes from the start on."""
        return self.mean(slice(self.start, None))

    def result(self, estimator: str, labels: pd.DataFrame, estimate: Array, influence: Array) -> Estimates:
        """Return K estimates with the (N, K) influence of each unit on them; the first is the headline."""
        spread, supported = summed(influence, self.panel.cluster), int(self.treated.sum())
        fit = Estimates(
            estimator=estimator,
            outcome=self.panel.name,
            labels=labels,
            estimate=estimate,
            spread=spread,
            n_units=np.repeat(supported, len(labels)),
            assigned_at=self.panel.assigned_at,
            clusters=(supported, len(self.treated) - supported),
            average=(float(estimate[0]), float(np.sqrt(spread[0, 0]))),
            notes=(*self.panel.notes, *cautions(self.panel), *self._unused()),
        )
        return settled(fit, self.panel.scale)

    def _unused(self) -> tuple[str, ...]:
        names = ", ".join(self.panel.covariate_names)
        return (f"covariates of the panel, not adjusted for: {names}",) if names else ()


def difference(value: Array, side: Array, other: Array, weight: Array) -> tuple[float, Array]:
    """Return the mean of (N,) values over one side less that over the other, and the (N,) influence of units on it."""
    total, influence = 0.0, np.zeros(len(value))
    for sign, held in ((1.0, side), (-1.0, other)):
        share = weight[held] / weight[held].sum()
        mean = share @ value[held]
        influence[held] += sign * share * (value[held] - mean)
        total += sign * mean
    return float(total), influence


def wave_of(panel: Panel, estimator: str, windows: Mapping[str, Window], *, gaps: bool = False) -> Wave:
    """Read a panel as one wave; `gaps` says whether units may lack periods.

    Raises
    ------
    DesignError
        If support was assigned at category level, the panel has gaps or not exactly one start, a side has fewer than two
        units or one cluster, or the windows are not periods before the start, one after the other; all at once.
    """
    treated = panel.cohort >= 0
    laws = _panel_laws(panel, treated, gaps=gaps)
    start = int(panel.starts[0]) if len(panel.cohorts) == 1 else len(panel.periods)
    placed: dict[str, slice] = {}
    least = 0
    for name, window in windows.items():
        first, last = _placed(panel, window, name)
        law = f"the {name} window is {window!r}, "
        if min(first, last) < 0 or first > last:
            shown = " to ".join(panel.periods[[0, -1]].astype(str))
            laws.append(law + f"but it is a first and a last period inside the panel's {shown}; correct it")
        elif last >= start:
            laws.append(law + f"but support starts at {panel.cohorts[0]}; take periods before it")
        elif first < least:
            laws.append(law + "but it begins before the window ahead of it ends; keep them apart")
        placed[name], least = slice(first, last + 1), last + 1
    refuse(DesignError, estimator, laws)
    refuse_few_clusters(panel)
    weight = np.ones(len(treated)) if panel.weight is None else panel.weight
    share = weight / np.where(treated, weight[treated].sum(), weight[~treated].sum())
    return Wave(panel, treated, start, share, placed)


def _placed(panel: Panel, window: Window, name: str) -> tuple[int, int]:
    """Return the positions of first and last period, -1 for what is none."""
    try:
        first, last = panel.periods.get_indexer(pd.Index(times_of(pd.Series(list(window)), f"the {name} window")))
    except (TypeError, ValueError, ContractError):
        return -1, -1
    return int(first), int(last)


def _panel_laws(panel: Panel, treated: Array, *, gaps: bool) -> list[str]:
    laws, starts = assignment_laws(panel), len(panel.cohorts)
    if not (gaps or panel.balanced):
        laws.append("the panel is unbalanced; keep the complete units with panel.complete_units()")
    if starts != 1:
        laws.append(
            f"a selection is of one wave, but the panel has {starts} starts; keep the units of one and the never treated "
            "with panel.only((panel.cohort == k) | (panel.cohort < 0))"
        )
    if starts == 1 and panel.starts[0] < 1:
        laws.append(f"no period lies before the start at {panel.cohorts[0]}; begin the panel earlier")
    if min(treated.sum(), (~treated).sum()) < _LEAST:
        laws.append(
            f"an error needs two units on each side, but {int(treated.sum())} are supported and {int((~treated).sum())} are "
            "not; add units"
        )
    return laws
