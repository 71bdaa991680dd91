"""Panels of a rate by category and week."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel


def rates_panel(shop: Dataset, wide: pd.DataFrame, name: str, *, lacking: str, refusal: str) -> Panel:
    """Build the panel of a rate by category (rows) and week, the pilots treated from their start.

    Categories without a value in each week, and pilots that had not begun by the end of the last one, are left out and told.

    Raises
    ------
    DesignError
        With the sentence `refusal`, if there are no weeks, or no category has all of them.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> weeks = pd.DatetimeIndex(["2025-05-12", "2025-05-19"])
    >>> wide = pd.DataFrame([[1.0, 2.0], [1.0, None]], index=["books", "toys"], columns=weeks)
    >>> rates_panel(sk.open_dataset("data/sample"), wide, "rate", lacking="categories without a rate", refusal="").notes
    ('categories without a rate, left out: 1 of 2',)
    """
    from strategy_kit.panel import Panel

    if not wide.shape[1]:
        raise DesignError(refusal)
    end, starts = pd.DatetimeIndex(wide.columns)[-1] + pd.Timedelta(weeks=1), shop.pilot.starts
    later = [pilot for pilot in wide.index if pilot in starts and pd.Timestamp(starts[pilot]) >= end]
    wide = wide.drop(index=later)
    whole = wide.notna().all(axis=1)
    if not whole.any():
        raise DesignError(refusal)
    kept = wide[whole]
    begun = pd.to_datetime(pd.Series(kept.index).map(starts))
    panel = Panel.from_matrix(
        kept.to_numpy(dtype=float), treated_from=begun, periods=kept.columns, units=kept.index, category=list(kept.index),
        name=name)  # fmt: skip
    notes = [f"{lacking}, left out: {int((~whole).sum())} of {len(whole)}"] if not whole.all() else []
    notes += [f"pilots that had not begun are left out: {', '.join(map(str, later))}"] if later else []
    return replace(panel, notes=(*panel.notes, *notes))
