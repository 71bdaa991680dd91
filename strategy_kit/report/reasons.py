"""Reasons of refusals in the language of a page: the library raises them in English, and Chinese pages tell them in Chinese."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.formats import Language

P = ParamSpec("P")
T = TypeVar("T")
_CHINESE = re.compile("[\u4e00-\u9fff]")
_SENTENCE = re.compile(r"(?:[A-Za-z]{2,}[ ,;]+){4}")
_REFUSED = re.compile(r"(?P<subject>.{1,80}?)(?: breaks \d+ laws)?: (?P<laws>.+)", re.DOTALL)
_NUMBERED = re.compile(r" ?(\(\d+\)) ")


def attempt(make: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | str:
    """Return what a function makes, or the reason why the design gives none."""
    try:
        return make(*args, **options)
    except DesignError as reason:
        return str(reason)


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
    return _told(text) or (text if _CHINESE.search(text) else f"「{text}」")


@cache
def reasons() -> list[dict[str, str]]:
    """Return the catalogue: rows of en, as raised, and zh, with the same holes."""
    text = files("strategy_kit.report").joinpath("reasons.toml").read_text(encoding="utf-8")
    rows: list[dict[str, str]] = tomllib.loads(text)["reason"]
    return rows


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """Return patterns and what they become, those with most words of their own first."""
    rows = sorted(reasons(), key=lambda row: -len(re.sub(r"\{\w+\}", "", row["en"])))
    hole = re.compile(r"\\\{(\w+)\\\}")
    return [(re.compile(hole.sub(r"(?P<\1>.*?)", re.escape(row["en"])), re.DOTALL), row["zh"]) for row in rows]


def _told(text: str) -> str:
    """Return the Chinese of a reason, or of all the laws that one refusal names; empty where a part has none."""
    for pattern, told in _templates():
        if found := pattern.fullmatch(text):
            return told.format_map({name: _value(value) for name, value in found.groupdict().items()})
    if not (refused := _REFUSED.fullmatch(text)):
        return ""
    parts = _NUMBERED.split(f" {refused['laws']}" if refused["laws"].startswith("(1) ") else refused["laws"])
    laws = [part if _NUMBERED.fullmatch(f"{part} ") else _told(part) for part in parts if part.strip()]
    return f"{_value(refused['subject'])}：{''.join(laws)}" if all(laws) else ""


def _value(text: str) -> str:
    """Return what fills a hole: counts, names and dates as they are, words and laws in Chinese."""
    if told := _told(text.strip()):
        return told
    parts = [_told(part) for part in re.split(" and (?=it |treated |units )", text)]
    return "、".join(parts) if all(parts) else f"「{text}」" if _SENTENCE.search(text) else text
