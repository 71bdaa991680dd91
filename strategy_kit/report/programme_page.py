"""The page of a programme: its head, its foot, and sections that are one line where the data cannot answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.review import opening, provenance
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.report.reading import Reading

Parts = tuple[Any, ...]
"""The title of a section, the note below it, and what it shows."""


@dataclass(frozen=True, slots=True)
class ProgrammePage:
    """A page of one programme.

    Attributes
    ----------
    notebook
        Its name.
    words
        What the keys of its words have in common.
    table
        Without which nothing can be told; empty where none is needed.

    Examples
    --------
    >>> ProgrammePage("prices", "prices", "prices").lacks
    'prices_absent'
    """

    notebook: str
    words: str
    table: str = ""

    @property
    def lacks(self) -> str:
        """The key of what is said without the table."""
        return f"{self.words}_absent"

    def masthead(self, reading: Reading) -> Section:
        """Return the head of the page with its marks."""
        say = reading.words
        return opening(reading, say("product_review"), say(f"title_{self.notebook}"))

    def foot(self, reading: Reading) -> Section:
        """Return the foot of the page."""
        return Section("provenance", (provenance(reading, f"{self.words}_method"),))

    def section(self, name: str, *, always: bool = False) -> Callable[[Callable[..., Parts]], Callable[..., Section]]:
        """Turn what makes the parts of a section into what makes the section, or the one line why it has nothing to show.

        `always` is for sections that need no table.
        """

        def decorated(parts: Callable[..., Parts]) -> Callable[..., Section]:
            @wraps(parts)
            def section(reading: Reading, *asked: Any, **named: Any) -> Section:
                say = reading.words
                head = say(f"section_{self.words}_{name}"), say(f"question_{self.words}_{name}")
                if self.table and not always and self.table not in reading.shop.tables:
                    return Section(name, (blocks.absent(*head, say(self.lacks)),))
                try:
                    title, note, *shown = parts(reading, *asked, **named)
                except DesignError as reason:
                    return Section(name, (blocks.absent(*head, say(f"{self.words}_impossible", reason=reason)),))
                return Section(name, (blocks.section_head(*head, title, note), *shown))

            return section

        return decorated

    def answer(self, tell: Callable[[Reading], str]) -> Callable[[Reading], str]:
        """Turn what tells one sentence for the weekly page into what also says why it cannot."""

        @wraps(tell)
        def answer(reading: Reading) -> str:
            if self.table and self.table not in reading.shop.tables:
                return reading.words(self.lacks)
            try:
                return tell(reading)
            except DesignError as reason:
                return reading.words(f"{self.words}_impossible", reason=reason)

        return answer
