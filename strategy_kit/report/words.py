"""The catalogue of every sentence, in both languages."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from strategy_kit.errors import ParameterError, nearest
from strategy_kit.formats import Language
from strategy_kit.report.reasons import reason_in

if TYPE_CHECKING:
    from collections.abc import Iterable

_JOINER = "\u2060"  # invisible; keeps apart two asterisks of a name
_FOREIGN = re.compile(r"「([^「」<\u4e00-\u9fff]*[A-Za-z] [A-Za-z][^「」<\u4e00-\u9fff]*)」")
"""English that a Chinese sentence quotes: a screen reader has to change its voice for it."""


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Return key -> language -> sentence.

    Examples
    --------
    >>> catalogue()["decision_hold"]["en"]
    'Hold'
    """
    books = [
        tomllib.loads(file.read_text(encoding="utf-8"))
        for file in sorted((Path(__file__).parent / "words").glob("*.toml"))
    ]
    return {key: entry for book in books for key, entry in book.items()}


@dataclass(frozen=True, slots=True)
class Words:
    """The catalogue in one language.

    Raises
    ------
    ParameterError
        If the language is not one of the catalogue's.

    Examples
    --------
    >>> Words("en")("verb_rose", effect="6.4%")
    'rose by 6.4%'
    """

    language: Language
    placebo: bool = False

    def __post_init__(self) -> None:
        """Refuse a language that the catalogue does not have."""
        if self.language not in get_args(Language):
            hint = nearest(str(self.language), get_args(Language))
            raise ParameterError(f"language is one of {', '.join(get_args(Language))}, not {self.language!r}{hint}")

    def __call__(self, key: str, **values: object) -> str:
        """Return the sentence as text, **marks** and all, a reason in its language; for a placebo its own wording, if any."""
        if "reason" in values:
            values["reason"] = reason_in(self.language, str(values["reason"]))
        own = f"{key}_placebo"
        return catalogue()[own if self.placebo and own in catalogue() else key][self.language].format(**values)

    def __contains__(self, key: str) -> bool:
        """Return whether the catalogue has a sentence of this key."""
        return key in catalogue()

    def clauses(self, parts: Iterable[str]) -> str:
        """Join clauses by the semicolon of the language."""
        return {"en": "; ", "zh": "；"}[self.language].join(parts)

    def prose(self, *sentences: str) -> str:
        """Set sentences one after the other, leaving out empty ones; Chinese ones need no space between."""
        return (" " * (self.language == "en")).join(filter(None, sentences))

    def span(self, low: str, high: str) -> str:
        """Write a range by its ends."""
        return self("range_to", low=low, high=high)

    def heads(self, *columns: str) -> list[str]:
        """Return the heads of columns."""
        return [self(f"column_{name}") for name in columns]

    def label(self, name: str) -> str:
        """Return the readable name of a category or other key of the data; its own asterisks mark nothing."""
        known = catalogue().get(f"label_{name}")
        return known[self.language] if known else re.sub(r"\*(?=\*)", f"*{_JOINER}", name.replace("_", " "))


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def marked(text: str) -> Html:
    """Turn text into HTML: everything escaped, **marks** made strong, quoted English marked as such; HTML stays what it is.

    Examples
    --------
    >>> marked("**1 < 2**")
    '<strong>1 &lt; 2</strong>'
    >>> marked("无法判断：「too few」。")
    '无法判断：「<span lang="en">too few</span>」。'
    >>> marked("\N{MINUS SIGN}\N{WORD JOINER}¥78") == "\N{MINUS SIGN}\N{WORD JOINER}¥78"
    True
    """
    if isinstance(text, Html):
        return text
    strong = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    strong = re.sub(
        rf"\*{_JOINER}(?=\*)", "*", strong
    )  # and nowhere else: it holds a sign to the sum of money behind it
    return Html(_FOREIGN.sub(r'「<span lang="en">\1</span>」', strong))


def plain(text: str) -> str:
    """Return text without its **marks**.

    Examples
    --------
    >>> plain("**Hold** on")
    'Hold on'
    """
    return text.replace("**", "").replace(_JOINER, "")
