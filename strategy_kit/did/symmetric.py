"""Before/after comparisons whose base window is chosen for a selection: its mirror image, or what came before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from strategy_kit.did.selection import difference, wave_of
from strategy_kit.errors import DesignError, ParameterError, whole_number

if TYPE_CHECKING:
    from strategy_kit.did.selection import Selection, Wave, Window
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

Array = np.ndarray


def symmetric(panel: Panel, *, window: Window, gap: int = 0) -> Estimates:
    """Compare changes from before a selection to after it, over windows equally far from it on both sides.

    Merchants that were chosen by a transitory high come down after it as they went up before it. Where their process is
    stationary, a mean as long after the selection as another was before it is free of both.

    Parameters
    ----------
    panel
        Balanced, with one start, equally spaced periods, and support given merchant by merchant. Weights and clusters are
        used.
    window
        First and last period of the window whose level counted for the choice.
    gap
        Periods from the start on, and their mirror images, that are left out.

    Returns
    -------
    Estimates
        One row, labelled base_first, base_last, after_first and after_last: the windows that were compared. Periods after
        the start whose mirror image lies before the panel are not used, and counted in the notes.

    Raises
    ------
    ParameterError
        If the gap is not a whole number of 0 or more.
    DesignError
        If the panel or the window breaks a law of theirs, periods are unequally spaced, or no period after the start and
        the gap has a mirror image.

    Notes
    -----
    Not for merchants chosen by growth from one window to the next: they are low before and high after, so that the biases
    of the two sides add up. Nor for a random walk, which does not come back.

    References
    ----------
    Chabé-Ferret (2015), "Analysis of the bias of matching and difference-in-difference under alternative earnings and
    selection processes".

    Examples
    --------
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 2.0, 9.0, 5.0, 4.0], [0.0, 1.0, 8.0, 3.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 3.0, 2.0]])
    >>> result = symmetric(Panel.from_matrix(y, treated_from=[4, 4, 0, 0]), window=(3, 3))
    >>> result.tidy()[["base_first", "base_last", "after_first", "after_last", "estimate"]].to_numpy().tolist()
    [[1.0, 2.0, 4.0, 5.0, 2.25]]
    """
    if not whole_number(gap, 0):
        raise ParameterError(f"a gap is a whole number of periods, 0 or more, not {gap!r}")
    wave = wave_of(panel, "symmetric", {"late": window})
    base, after = mirrored(wave, gap)
    unused = len(panel.periods) - after.stop
    notes = (
        (f"periods after the start without a mirror image before the selection, not used: {unused}",) if unused else ()
    )
    result = compared(wave, "symmetric", base, after)
    return replace(result, notes=(*result.notes, *notes))


def pre_selection(panel: Panel, *, selection: Selection) -> Estimates:
    """Compare changes from the periods before the selection to those after the start.

    The windows that merchants were chosen by are left out of both sides, as is what lies between them and the start.

    Parameters
    ----------
    panel
        Balanced, with one start and support given merchant by merchant. Weights and clusters are used.
    selection
        The windows that merchants were chosen by.

    Returns
    -------
    Estimates
        One row, labelled base_first, base_last, after_first and after_last.

    Raises
    ------
    DesignError
        If the panel or the windows break a law of theirs, or no period lies before the selection.

    Notes
    -----
    Right where the transitory part of what merchants were chosen by has died out at both ends, which takes longer the
    more persistent it is.

    References
    ----------
    Heckman, LaLonde and Smith (1999), "The economics and econometrics of active labor market programs", on dips before
    programmes.

    Examples
    --------
    >>> from strategy_kit.did import Selection
    >>> from strategy_kit.panel import Panel
    >>> y = np.array([[1.0, 9.0, 3.0], [0.0, 8.0, 1.0], [1.0, 1.0, 1.0], [2.0, 2.0, 3.0]])
    >>> chosen = Selection(late=(2, 2))
    >>> pre_selection(Panel.from_matrix(y, treated_from=[3, 3, 0, 0]), selection=chosen).estimate.tolist()
    [1.0]
    """
    wave = wave_of(panel, "pre_selection", selection.windows)
    first = min(held.start for held in wave.windows.values())
    if not first:
        raise DesignError("no period lies before the selection windows; begin the panel earlier")
    return compared(wave, "pre_selection", slice(first), slice(wave.start, len(panel.periods)))


def mirrored(wave: Wave, gap: int) -> tuple[slice, slice]:
    """Return the longest windows before and from the start on that mirror each other at the middle of the late window."""
    panel, late = wave.panel, wave.windows["late"]
    if not panel.step:
        raise DesignError(
            "periods are unequally spaced, so that equally many are not equally far; fill in the calendar"
        )
    middle, first = late.start + late.stop - 1, wave.start + gap
    last = min(len(panel.periods) - 1, middle)
    if last < first:
        raise DesignError(
            f"no period after the start, less a gap of {gap}, has a mirror image before the selection; begin the panel "
            "earlier, or take a smaller gap"
        )
    return slice(middle - last, middle - first + 1), slice(first, last + 1)


def compared(wave: Wave, estimator: str, base: slice, after: slice) -> Estimates:
    """Return the difference of the two sides' changes from one window to the other."""
    change = wave.mean(after) - wave.mean(base)
    estimate, influence = difference(change, wave.treated, ~wave.treated, wave.share)
    ends = (base.start or 0, base.stop - 1, after.start, after.stop - 1)
    names = ("base_first", "base_last", "after_first", "after_last")
    labels = pd.DataFrame({name: wave.panel.periods[[at]] for name, at in zip(names, ends, strict=True)})
    return wave.result(estimator, labels, np.array([estimate]), influence[:, None])
