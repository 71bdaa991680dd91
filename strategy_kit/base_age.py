"""The age from which all effects of an event study are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates

Array = np.ndarray
GIVEN = "study_of"
"""Name of studies that were not estimated here: what they leave out is age −1."""
NO_LINE = "cannot be told apart from age"
"""What the notes of a regression say where no unit is never treated."""
_OTHER_BASE = ("imputation",)  # rows after the start are measured from all earlier periods, those before it from one


def base_age(study: Estimates) -> int:
    """Return the age that all effects of a study are measured from: one that is 0 without an error, or is left out.

    Raises
    ------
    DesignError
        If effects have no age, or are measured from more than one base.

    Examples
    --------
    >>> from strategy_kit.did import sun_abraham
    >>> from strategy_kit.panel import Panel
    >>> panel = Panel.from_matrix(np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]), treated_from=[3, 0, 0])
    >>> base_age(sun_abraham(panel))
    -1
    """
    way_out = "use event_study(group_time(panel, base='universal'))"
    if "age" not in study.labels:
        raise DesignError(f"{study.estimator} has no effects by age; {way_out}")
    if study.estimator in _OTHER_BASE:
        raise DesignError(
            f"{study.estimator} measures effects after the start from all earlier periods and those before it from one, so "
            f"that a steady trend has a kink at the start; {way_out} or sun_abraham"
        )
    age = study.labels["age"].to_numpy()
    bases = age[~np.isfinite(study.std_error) & (study.estimate == 0) & (age < 0)].tolist()
    if not bases:
        bases = [-1] * (-1 not in age) if study.estimator == GIVEN else _left_out(np.sort(age))
    if any(NO_LINE in note for note in study.notes):
        raise DesignError(
            f"{study.estimator} left ages out because a straight line cannot be told from the effects, so that more than one "
            f"age is a base; add units that are never treated, or {way_out}"
        )
    if len(bases) != 1:
        raise DesignError(
            f"violations are measured in effects that have one base period, and {study.estimator} has {len(bases)} ages that "
            f"are zero by design; {way_out}"
        )
    return int(bases[0])


def _left_out(age: Array) -> list[int]:
    """Return the age that ascending ages leave out between those before the start and those after it, if it is one."""
    before, after = age[age < 0], age[age >= 0]
    if not len(before) or not len(after):
        return [-1] * (-1 not in age)
    steps, gap = np.concatenate([np.diff(before), np.diff(after)]), int(after[0] - before[-1])
    step = int(np.gcd.reduce(steps.astype(int))) if len(steps) else gap // 2
    return [int(before[-1]) + step] * (gap == 2 * step)
