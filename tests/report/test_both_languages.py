"""Every number of the English page stands on the Chinese page too, and none besides."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

import strategy_kit as sk
from strategy_kit.report import Audience, weekly
from strategy_kit.report.audience import ALWAYS, CHOSEN
from strategy_kit.report.blocks import Block
from strategy_kit.simulate import World, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strategy_kit.formats import Language
    from strategy_kit.report.sections import Section

MONTHS = list(calendar.month_name)[1:]
SCALES = {"billion": 1e9, "million": 1e6, "thousand": 1e3, "亿": 1e8, "万": 1e4}
NUMBER = re.compile(
    r"(?P<sign>[+\u2212]?)\u2060?[¥$]?(?P<digits>\d[\d,]*(?:\.\d+)?)(?P<percent>\s?%)?"
    r"[\u00a0 ]?(?P<scale>billion|million|thousand|亿|万)?"
)
SECTIONS = [name for name in (*ALWAYS, *CHOSEN["analyst"]) if name != "statement"]


def texts(part: Any) -> Iterator[tuple[str, float]]:
    """All that a reader of a block or a figure can read, outside the drawing itself, each with the scale of its unit."""
    if isinstance(part, Block):
        yield unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", " ", part.html, flags=re.DOTALL))), 1
        yield unescape(" ".join(re.findall(r'aria-label="([^"]*)"', part.html))), 1
        return
    spec = part.to_dict()
    words = spec["usermeta"]["strategy_kit"]
    yield from ((words[name], 1) for name in ("title", "subtitle", "caption"))
    table = words["table"] or {"columns": [], "rows": []}
    scale = next((size for column in table["columns"] for word, size in SCALES.items() if word in column), 1.0)
    yield spec["description"], scale
    yield from ((cell, scale) for row in table["rows"] for cell in row)
    for data in spec.get("datasets", {}).values():  # texts that the chart prints beside its marks
        yield from ((value, 1) for row in data for value in row.values() if isinstance(value, str) and "%" in value)


def numbers(text: str, scale: float = 1.0) -> Iterator[tuple[float, bool]]:
    """Read each number as its value and whether it is a percentage; dates as day, month and year."""
    text = re.sub(rf"\b({'|'.join(MONTHS)})\b", lambda month: str(1 + MONTHS.index(month[0])), text)
    text = re.sub(r"\bQ(\d)\b", r"\1", re.sub(r"(\d{4})-W(\d\d)", r"\1 \2", text))
    text = re.sub(r"(\d+)(?: cases)? (?:in|of) (?:about )?100\b(?: cases)?", r"\1%", text)
    text = re.sub(r"\b50, 80 and (?=\d+%)", "50% 80% ", text)
    for found in NUMBER.finditer(text):
        percent = bool(found["percent"])
        value = float(found["digits"].replace(",", "")) * SCALES.get(found["scale"], 1 if percent else scale)
        yield (-value if found["sign"] == "\u2212" else value), percent


def told(section: Section) -> Counter[tuple[float, bool]]:
    found = (number for part in section.parts for text, scale in texts(part) for number in numbers(text, scale))
    return Counter((float(f"{value:.9g}"), percent) for value, percent in found)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market with targets and an overseas programme, so that every section has something to say."""
    world = World.of({"overseas": 1.0, "target_bunching": 1.0})
    return simulate(tmp_path_factory.mktemp("rich") / "market", seed=3, merchants=600, weeks=60, world=world)


@pytest.fixture(scope="module", params=["sample", "rich"])
def both(request: pytest.FixtureRequest, sample: Path) -> dict[Language, dict[str, Section]]:
    shop = sk.open_dataset(sample if request.param == "sample" else request.getfixturevalue("rich"))
    made: dict[Language, dict[str, Section]] = {}
    for language in ("en", "zh"):
        reading = sk.report.read_week(shop, language=language, audience=Audience())  # type: ignore[arg-type]
        made[language] = {name: getattr(weekly, name)(reading) for name in SECTIONS}  # type: ignore[index]
    return made


@pytest.mark.parametrize("name", SECTIONS)
def test_every_number_is_the_same_in_both_languages(both: dict[Language, dict[str, Section]], name: str) -> None:
    english, chinese = told(both["en"][name]), told(both["zh"][name])
    assert english - chinese == chinese - english == Counter()
    assert english or name in ("targets", "changed")


def test_numbers_are_read_as_a_reader_would() -> None:
    for english, chinese in (
        ("+\u2060¥1.43\u00a0billion", "+14.3\u00a0亿元"),
        ("probable (87 in 100)", "很可能（87%）"),
        ("11 August 2025", "2025 年 8 月 11 日"),
        ("\u22121.7% to +15.2%", "\u22121.7% 至 +15.2%"),
    ):
        assert sorted(numbers(english)) == sorted(numbers(chinese))
    assert list(numbers("8.5% of 1,240")) == [(8.5, True), (1240.0, False)]
