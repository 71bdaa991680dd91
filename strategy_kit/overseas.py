"""The overseas programme: what joining did to a merchant's sales, at home and abroad together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    import datetime as dt

    from strategy_kit.dataset import Dataset
    from strategy_kit.panel import Panel

LEVER = "overseas"


def joiners_panel(shop: Dataset, *, since: dt.date, through: dt.date) -> Panel:
    """Build the panel of merchants who joined overseas only, and of those without any support, by week.

    Merchants with another lever are left out and counted in the notes: what they gained could be either's.

    Raises
    ------
    DesignError
        If there is no support table, or nobody joined.

    Examples
    --------
    >>> import datetime as dt, strategy_kit as sk
    >>> joiners_panel(sk.open_dataset("data/sample"), since=dt.date(2025, 1, 6), through=dt.date(2025, 7, 21))
    Traceback (most recent call last):
    strategy_kit.errors.DesignError: no merchant of data set 'sample' has the lever 'overseas'; enter who joined in support
    """
    panel = shop.panel(since=since, through=through)
    levers = shop.engine.frame(
        "select merchant_id, bool_or(lever = $lever) as joined, bool_or(lever <> $lever) as other from support group by 1",
        {"lever": LEVER},
    ).set_index("merchant_id")
    if not levers["joined"].any():
        raise DesignError(f"no merchant of data set {shop.name!r} has the lever {LEVER!r}; enter who joined in support")
    other = levers["other"].reindex(panel.units, fill_value=False).to_numpy(bool)
    kept = panel.only(~other).untreated_at_first()
    note = f"merchants with another lever, left out: {int(other.sum())} of {len(other)}"
    return replace(kept, notes=(*kept.notes, note)) if other.any() else kept
