"""Panels of some of the units: complete ones, untreated at first, unmoved by a start outside the span, of some categories.

Each is a method of `Panel`, whose notes count the units left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.errors import DesignError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strategy_kit.panel import Panel


def complete_units(panel: Panel) -> Panel:
    """Return the panel of the units observed in every period; its notes count the others."""
    held = ~np.isnan(panel.outcome).any(axis=1)
    note = f"{int((~held).sum())} of {len(held)} units lacked a period and were left out"
    return panel.only(held).noting(note)


def untreated_at_first(panel: Panel, periods: int = 1) -> Panel:
    """Return the panel of the units not treated in the first `periods` periods; its notes count the others.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> Panel.from_matrix(np.zeros((2, 3)), treated_from=[1, 3]).untreated_at_first().notes
    ('units treated from the first periods on, left out: 1 of 2',)
    """
    early = np.isin(panel.cohort, np.flatnonzero(panel.ages[:, 0] > -periods))
    if not early.any():
        return panel
    note = f"units treated from the first periods on, left out: {panel.units_in(early)} of {panel.n_units}"
    return panel.only(~early).noting(note)


def unmoved(panel: Panel, anticipation: int) -> Panel:
    """Return the panel of the units that do not react to a start before its first or after its last period.

    Units of the first kind have no base period, and of the second they would pass for never treated; its notes count
    both.

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> Panel.from_matrix(np.zeros((3, 3)), treated_from=[3, 4, 9]).unmoved(1).notes[1]
    'units that start within 1 periods after the last one and may react before, left out: 1 of 3'
    """
    result = panel.untreated_at_first(anticipation + 1)
    if result.late is None or not (moved := (result.late > 0) & (result.late <= anticipation)).any():
        return result
    note = (
        f"units that start within {anticipation} periods after the last one and may react before, left out: "
        f"{result.units_in(moved)} of {result.n_units}"
    )
    return result.only(~moved).noting(note)


def within(panel: Panel, categories: Sequence[str]) -> Panel:
    """Return the panel of the units of these categories.

    Raises
    ------
    DesignError
        If the panel has no categories, or none of these.
    """
    if panel.category is None:
        raise DesignError("the panel has no categories; name their column when it is made")
    held = panel.category.isin(categories).to_numpy()
    if not held.any():
        raise DesignError(f"the panel has no unit in {', '.join(categories)}; choose among its categories")
    return panel.only(held)


def refuse_apart(panels: Mapping[str, Panel]) -> None:
    """Refuse panels of which one holds other units, periods or starts than the first, or has gaps.

    Raises
    ------
    ParameterError
        If there is no panel.
    DesignError
        If panels differ, or one is not balanced.

    Examples
    --------
    >>> refuse_apart({})
    Traceback (most recent call last):
    strategy_kit.errors.ParameterError: it takes at least one panel, by the name of its measure; give one
    """
    if not panels:
        raise ParameterError("it takes at least one panel, by the name of its measure; give one")
    first = next(iter(panels.values()))
    for name, panel in panels.items():
        alike = panel.units.equals(first.units) and panel.periods.equals(first.periods)
        if not alike or not np.array_equal(panel.cohort, first.cohort):
            raise DesignError(
                f"the panel of {name} has other units, periods or starts than the first; make both from one"
            )
        if not panel.balanced:
            raise DesignError(f"the panel of {name} has gaps; keep the complete units with panel.complete_units()")
