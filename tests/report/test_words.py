"""A catalogue that says the same in both languages, and holds what is asked for and nothing else."""

from __future__ import annotations

import re
from functools import cache
from string import Formatter
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit.errors import ParameterError
from strategy_kit.metrics import METRICS
from strategy_kit.periods import Period
from strategy_kit.plan import SealState
from strategy_kit.report.claims import Decision, Looks, Verb
from strategy_kit.report.words import Words, catalogue, marked, plain

if TYPE_CHECKING:
    from pathlib import Path

steady = settings(deadline=None, derandomize=True, database=None, max_examples=300)


def fields(sentence: str) -> list[str]:
    """Name the placeholders; `{n:week|weeks}` is a word that suits n, which only English needs."""
    return sorted(
        name for _, name, spec, _ in Formatter().parse(sentence) if name is not None and "|" not in (spec or "")
    )


@pytest.mark.parametrize("key", catalogue())
def test_both_languages_say_the_same(key: str) -> None:
    entry = catalogue()[key]
    assert list(entry) == ["en", "zh"]
    english, chinese = entry.values()
    assert fields(english) == fields(chinese)
    assert english.count("**") == chinese.count("**")
    assert english.count("**") % 2 == 0
    assert english.count(" | ") == chinese.count(" | ")
    assert all(text == text.strip() and text for text in entry.values())
    # A Chinese entry that is neither Chinese nor made of placeholders alone was not translated.
    assert re.search(r"[\u4e00-\u9fff]", chinese) or re.fullmatch(r"(\{\w+\}|[ ·%：，])+", chinese)
    assert not re.search(r"[\u4e00-\u9fff]", english)


def test_no_sentence_stands_in_two_files(root: Path) -> None:
    books = (root / "strategy_kit" / "report" / "words").glob("*.toml")
    keys = [key for book in books for key in re.findall(r"^\[(.+)\]$", book.read_text(encoding="utf-8"), re.MULTILINE)]
    assert len(keys) == len(set(keys)) == len(catalogue())


CALL = re.compile(r"""\b(?:say|words)\(\s*(?=f?["'])((?:f?"[^"]*"|f?'[^']*'|[^"'(),]+)+)""")
FIGURE = re.compile(r"""\b(?:figure|forest)\(\s*(?:reading,\s*)?f?"([^"]+)\"""")
ENDINGS = ("figure", "subtitle", "alt")  # a figure's words stand under one key
LITERAL = re.compile(r"""f?(?:"([^"]*)"|'([^']*)')""")
SUMS = tuple(name for name, metric in METRICS.items() if metric.plain)
DYNAMIC = {
    "verb": get_args(Verb),
    "evidence.looks": get_args(Looks),
    "width.kind": get_args(Looks),
    "state": (*get_args(SealState), "none"),
    "evidence.plan.metric": SUMS,
    "reading.claim.verb": get_args(Verb),
    "reading.shop.plan.metric": SUMS,
    "claim.decision": get_args(Decision),
    "_position(reading, name)": ("within", "above", "below"),
    "review.period": get_args(Period),
    "scale:.0f": ("1000", "10000", "1000000"),
}


def parts_of(key: str) -> set[str]:
    """Every run of words inside a key: what may have been put into a hole."""
    words = key.split("_")
    return {"_".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


@cache
def used(root: Path) -> tuple[set[str], str]:
    """Keys asked for by name in the report and the charts, patterns filled, and the whole text."""
    files = [p for folder in ("report", "charts") for p in sorted((root / "strategy_kit" / folder).glob("*.py"))]
    text = "\n".join(p.read_text(encoding="utf-8") for p in files if p.name != "words.py")
    books = sorted((root / "notebooks").glob("*.ipynb"))
    text += "\n".join(p.read_text(encoding="utf-8").replace('\\"', '"') for p in books)
    bare = set(re.findall(r'"(\w+)"', text)) & {part for key in catalogue() for part in parts_of(key)}
    keys: set[str] = set()
    for call in CALL.finditer(text):
        for double, single in LITERAL.findall(call.group(1)):
            key = double or single
            holes = re.findall(r"\{([^{}]+)\}", key)
            # a hole that is not listed is filled by words that stand as such in the code
            known = [DYNAMIC.get(hole) for hole in holes]
            filled = {key}
            for hole, words in zip(holes, known, strict=True):
                filled = {text.replace(f"{{{hole}}}", word) for text in filled for word in words or bare}
            keys |= filled if all(known) else filled & set(catalogue())
    return keys, text


def test_every_key_that_is_asked_for_exists(root: Path) -> None:
    keys, _ = used(root)
    assert len(keys) > 80
    assert not keys - set(catalogue())


def test_every_key_is_used(root: Path) -> None:
    keys, text = used(root)
    families = {f"metric_{name}" for name in METRICS}
    families |= {f"column_{word}" for word in re.findall(r'"(\w+)"', text)}
    families |= set(re.findall(r'"(\w+)"', text))  # a bare word handed on, such as "side_above"
    figures = [re.sub(r"\{[^{}]+\}", r"\\w+", key) for key in FIGURE.findall(text)]
    told = re.compile(rf"({'|'.join(figures)})_({'|'.join(ENDINGS)})")
    families |= {key for key in catalogue() if told.fullmatch(key)}
    endings = (*ENDINGS, "absent", "method")  # the last two of a programme's page
    families |= {f"{word}_{ending}" for word in re.findall(r'"(\w+)"', text) for ending in endings}
    families |= {f"{key}_placebo" for key in keys | families}
    unused = {key for key in catalogue() if not key.startswith("label_")} - keys - families
    assert not unused


def test_labels_are_known_names_or_the_name_itself() -> None:
    assert Words("en").label("sports_outdoors") == "Sports & outdoors"
    assert Words("zh").label("sports_outdoors") == "运动户外"
    assert Words("zh").label("garden_tools") == "garden tools"


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"language is one of en, zh, not 'eng' \(did you mean 'en'\?\)"):
        Words("eng")  # type: ignore[arg-type]


@given(st.text(max_size=30))
@steady
def test_marks_become_strong_and_nothing_else_becomes_html(text: str) -> None:
    html = marked(text)
    assert re.sub(r'</?strong>|<span lang="en">|</span>', "", html).count("<") == 0
    assert html.count("<strong>") == html.count("</strong>")
    assert "**" not in plain(text)
