"""Who reads a report: the role chooses the sections, and the ledger says what was published before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strategy_kit import formats
from strategy_kit.errors import ParameterError, nearest
from strategy_kit.health import read_totals

if TYPE_CHECKING:
    import pandas as pd

ALWAYS = ("masthead", "decision", "points", "trust", "changed", "method", "glossary", "provenance", "statement")
CHOSEN = {
    "executive": ("effect", "categories", "money", "measures", "strategy", "doubts"),
    "category_lead": ("effect", "categories", "measures", "yardsticks", "merchants", "targets", "strategy", "declared"),
    "merchant_operations": ("effect", "measures", "merchants", "targets", "overseas", "strategy", "declared"),
    "finance": ("effect", "money", "yardsticks", "overseas", "strategy", "declared", "doubts"),
    "analyst": ("effect", "categories", "money", "measures", "yardsticks", "merchants", "targets", "overseas", "strategy",
                "declared", "doubts"),
}  # fmt: skip
"""Sections by role, beside those that everybody gets: nobody can choose away what the claim rests on."""

FEWEST = 10
"""Merchants that a cell of a page rests on at least; fewer are not shown."""


def masked(count: int, *, zero: bool = False) -> str:
    """Write a count, and only that it is small where it is; none is told as none where `zero` allows it.

    Examples
    --------
    >>> masked(1200), masked(3), masked(0, zero=True)
    ('1,200', '< 10', '0')
    """
    return formats.number(count) if count >= FEWEST or (zero and count == 0) else f"< {FEWEST}"


@dataclass(frozen=True, slots=True)
class Audience:
    """Who reads the page, and what its readers were told before.

    Attributes
    ----------
    role
        One of executive, category_lead, merchant_operations, finance and analyst; None for a page with every section.
    ledger
        File of the claims published before; None where nothing was.
    previous
        File of the weekly totals that an earlier week was published with; None where there is none.
    translation
        File name of the same page in the other language; None where there is none.

    Raises
    ------
    ParameterError
        If the role is unknown, or the translation is no file name of a page beside this one.

    Examples
    --------
    >>> Audience("finance").wants("money"), Audience("finance").wants("merchants"), Audience().wants("merchants")
    (True, False, True)
    """

    role: str | None = None
    ledger: str | None = None
    previous: str | None = None
    translation: str | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown role, and a translation that lies elsewhere."""
        if self.role is not None and self.role not in CHOSEN:
            raise ParameterError(f"role is one of {', '.join(CHOSEN)}, not {self.role!r}{nearest(self.role, CHOSEN)}")
        if self.translation is not None and Path(self.translation).name != self.translation:
            raise ParameterError(f"translation is the name of a page in the same folder, not {self.translation!r}")

    def totals_before(self) -> pd.DataFrame | None:
        """Return the weekly totals of `previous`; ContractError if it holds something else, ParameterError if it is gone."""
        return None if self.previous is None else read_totals(Path(self.previous))

    def wants(self, section: str) -> bool:
        """Return whether the role's page has a section."""
        return self.role is None or section in ALWAYS or section in CHOSEN[self.role]
