"""What a page may not hold: anything outside itself, foreign scripts, broken charts, and people."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from strategy_kit.engine import quoted
from strategy_kit.report.pictures import WIDTHS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from strategy_kit.dataset import Dataset

    Never = Collection[str] | Callable[[Collection[str]], Collection[str]]

MOST_BYTES = 2_000_000
INERT = ("application/json", "text/plain")  # scripts that a browser does not run
_LETTER = re.compile(r"[^\W\d_]")
_MARKS = r"""<>"'&,;:(){}\[\]，。、；：？！“”（）《》·"""
_WORDS = (r"\w+", r"[A-Za-z0-9_]+", rf"[^\s{_MARKS}]+")  # Chinese runs into an id beside it; an id may hold a hyphen
_LONGEST = 4  # words of an id with spaces
PERSONAL = ("merchant_id", "buyer_id", "order_id")


class _Reader(HTMLParser):
    """Collects what a page would fetch, run or follow."""

    fetching = ("src", "href", "xlink:href", "srcset", "data", "poster", "action", "formaction", "background")
    refused = ("iframe", "object", "embed", "base", "link", "applet", "frame")
    styled = ("style", "fill", "stroke", "clip-path", "mask", "filter", "cursor")

    def __init__(self) -> None:
        super().__init__()
        self.laws: list[str] = []
        self.scripts = 0
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: (value or "").strip() for name, value in attrs}
        self.in_style = tag == "style"
        self.scripts += tag == "script" and values.get("type") not in INERT
        if tag in self.refused or "refresh" in values.get("http-equiv", "").lower():
            self.laws.append(f"<{tag}> is not allowed in a page that stands alone.")
        for name, value in values.items():
            if name.startswith("on"):
                self.laws.append(f"<{tag} {name}> is a script, which the page's policy forbids.")
            elif name in self.fetching and value and not self._stays(tag, value):
                self.laws.append(f"<{tag} {name}> refers to {value[:120]!r}, outside the page.")
            elif name in self.styled:
                self._styled(value)

    @staticmethod
    def _stays(tag: str, value: str) -> bool:
        allowed = r"#|(?![a-z][a-z0-9+.-]*:|[/\\]{2})" if tag == "a" else r"#|data:image/"
        return bool(re.match(allowed, value, re.IGNORECASE))

    def _styled(self, text: str) -> None:
        found = re.findall(r"@import[^;]*|url\(\s*['\"]?(?!#|data:|['\"])[^)]*", text, re.IGNORECASE)
        self.laws += [f"a style refers to {reference[:120]!r}, outside the page." for reference in found]

    def handle_endtag(self, tag: str) -> None:
        self.in_style = self.in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self._styled(data)


def verify(page: str, charts: Sequence[Mapping[str, Any]], own_scripts: int) -> list[str]:
    """Return every law that a finished page breaks."""
    reader = _Reader()
    reader.feed(page)
    laws = reader.laws
    if foreign := reader.scripts - own_scripts:
        laws.append(f"{foreign} scripts are not the page's own; outputs may hold none.")
    whole = sum(len(chart["pictures"]) == len(WIDTHS) for chart in charts)
    parts = ('class="sk-broad"><svg', 'class="sk-narrow"><svg', '<script type="application/json">{')
    laws += [f"a chart lacks its {part!r}." for part in parts if page.count(part) < whole]
    if (size := len(page.encode())) > MOST_BYTES:
        laws.append(f"the page has {size:,} bytes, more than {MOST_BYTES:,}; aggregate before charting.")
    return laws


def named(places: Mapping[str, str], never: Never) -> Iterator[str]:
    """Yield a law for each place of a page that names a merchant, buyer or order.

    An id counts where it stands as a whole word and holds a letter: a bare number could be any figure.

    Parameters
    ----------
    places
        What is told a reader (HTML, or a chart's data as JSON), by the name of its place.
    never
        Ids of the data set, or a function that says which of many words are.
    """
    texts = {place: unescape(told) for place, told in places.items()}
    words = {place: set(_words(text)) for place, text in texts.items()}
    if callable(never):
        asked = {word for told in words.values() for word in told if len(word) > 1 and _LETTER.search(word)}
        never = never(asked)
    first: dict[str, list[str]] = {}
    for name in (name for name in never if _LETTER.search(name)):
        first.setdefault((re.findall(r"\w+", name) or [name])[0], []).append(name)
    for place, told in places.items():
        found = [name for word in words[place] & first.keys() for name in first[word]]
        shown = sorted(name for name in found if re.search(_whole(name), texts[place]))
        if shown:
            law = f"{place} names {len(shown)} merchants, buyers or orders of the data set"
            yield f"{law}, such as {shown[0][:2]}…; show groups, or mask their ids."
        columns = re.findall(rf"<th[^>]*>\s*({'|'.join(PERSONAL)})\s*</th>|\"({'|'.join(PERSONAL)})\":", told)
        for column in sorted({one or other for one, other in columns}):
            yield f"{place} has a column {column!r}; a page for readers names nobody, so aggregate first."


def _words(text: str) -> Iterator[str]:
    """Yield all that may be an id: words, what stands between spaces and marks, and several of these in a row."""
    for pattern in _WORDS:
        yield from (word.strip(".!?-/…–—") for word in set(re.findall(pattern, text)))
    for phrase in set(re.split(f"[{_MARKS}]", text)):
        row = phrase.split()
        for length in range(2, _LONGEST + 1):
            yield from (" ".join(row[at : at + length]).rstrip(".!?…") for at in range(len(row) - length + 1))


def _whole(name: str) -> str:
    """Return the pattern of an id that is no part of a longer word of its own script."""
    letter = "[A-Za-z0-9_]" if name.isascii() else r"\w"
    return rf"(?<!{letter}){re.escape(name)}(?!{letter})"


def ids_of(shop: Dataset) -> Callable[[Collection[str]], set[str]]:
    """Return a function that says which words are ids of the data set's merchants, buyers or orders.

    The words of a page are few, the ids may be millions: the question goes to the data, in one query.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> sorted(ids_of(sk.open_dataset("data/sample"))(["m00001", "GMV", "b0004989", "o00000001"]))
    ['b0004989', 'm00001', 'o00000001']
    """

    def among(words: Collection[str]) -> set[str]:
        columns = [
            (table, column) for table in shop.tables for column in PERSONAL if column in shop.engine.types(table)
        ]
        parts = [f"select cast({quoted(column)} as varchar) from {quoted(table)}" for table, column in columns]
        asked = "select distinct word from (select unnest($words) as word)"
        sql = " union ".join(f"{asked} where word in ({part})" for part in parts)
        return set(shop.engine.frame(sql, {"words": sorted(words)})["word"]) if words else set()

    return among
