"""Reasons of refusals in the language of a page: the library raises them in English, and Chinese pages tell them in Chinese."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strategy_kit.formats import Language


_CHINESE = re.compile("[\u4e00-\u9fff]")


def reason_in(language: Language, text: str) -> str:
    """Return a reason in a language; one that the catalogue lacks stays whole, in quotation marks.

    Examples
    --------
    >>> reason_in("zh", "2 categories say nothing on another one; it takes 3")
    '2 个类目推不出另一个类目，至少需要 3 个'
    >>> reason_in("zh", "something new")
    '「something new」'
    """
    if language == "en":
        return text
    for pattern, told in _templates():
        if found := pattern.fullmatch(text):
            return told.format_map(found.groupdict())
    return text if _CHINESE.search(text) else f"「{text}」"


@cache
def reasons() -> list[dict[str, str]]:
    """Return the catalogue: rows of en, as raised, and zh, with the same holes."""
    text = files("strategy_kit.report").joinpath("reasons.toml").read_text(encoding="utf-8")
    rows: list[dict[str, str]] = tomllib.loads(text)["reason"]
    return rows


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.*?)", re.escape(row["en"]))), row["zh"]) for row in reasons()
    ]
