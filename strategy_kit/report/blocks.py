"""The page's own blocks: masthead, decision card, points, trust strip, section heads, tables, provenance."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any

from strategy_kit.report.words import marked, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strategy_kit.formats import Language
    from strategy_kit.report.claims import Check

_LANGUAGES = {"en": ("English", "en"), "zh": ("中文", "zh-Hans")}


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the page as HTML, with a line of text for viewers that show none."""

    html: str
    text: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Statement:
    """The claim of a run for the machine that publishes it, words and numbers; the page does not show it."""

    headline: str
    verb: str
    decision: str
    language: str
    numbers: Mapping[str, float | str | None] = field(default_factory=dict)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        words = {name: getattr(self, name) for name in ("headline", "verb", "decision", "language")}
        numbers = {name: _finite(value) for name, value in self.numbers.items()}
        return {"application/vnd.strategy-kit.claim+json": {**words, **numbers}, "text/plain": self.headline}

    def __str__(self) -> str:
        return json.dumps(self.headline, ensure_ascii=False)


def _finite(value: float | str | None) -> float | str | None:
    """JSON has no infinite number and none that is missing."""
    return value if not isinstance(value, float) or isfinite(value) else None


def masthead(product: str, title: str, edition: str, marks: Sequence[tuple[str, str]], languages: str = "") -> Block:
    """Build the head of the page; each mark is a boxed word with a note, such as the synthetic mark.

    `languages` is the HTML of `language_links`.
    """
    boxes = "".join(
        f'<aside class="sk-mark"><strong>{escape(word)}</strong><span>{escape(note)}</span></aside>'
        for word, note in marks
    )
    return Block(
        f'<header class="sk-masthead sk-wide"><div><p class="sk-product">{escape(product)}</p><h1>{escape(title)}</h1>'
        f'<p class="sk-edition">{escape(edition)}</p></div><div class="sk-marks">{languages}{boxes}</div></header>',
        f"{title} · {edition}",
    )


def language_links(current: Language, translation: str | None) -> str:
    """Name the page's language, and link the same page in the other one where there is one.

    Examples
    --------
    >>> language_links("en", None)
    ''
    """
    if translation is None:
        return ""
    there: Language = "zh" if current == "en" else "en"
    links = {current: f'<strong aria-current="page">{_LANGUAGES[current][0]}</strong>'}
    name, code = _LANGUAGES[there]
    links[there] = f'<a href="{escape(translation)}" lang="{code}" hreflang="{code}">{name}</a>'
    return f'<nav class="sk-languages" aria-label="English / 中文">{links["en"]} {links["zh"]}</nav>'


@dataclass(frozen=True, slots=True)
class Card:
    """The words of the decision card; facts are (label, value, note)."""

    kicker: str
    decision: str
    advice: str
    headline: str
    dots_title: str
    dots: str
    limit: str
    facts: Sequence[tuple[str, str, str]]


def decision_card(card: Card) -> Block:
    """Build the first screen."""
    facts = "".join(
        f'<div><dt>{escape(label)}</dt><dd class="sk-fact">{escape(value)}</dd><dd class="sk-note">{escape(note)}</dd></div>'
        for label, value, note in card.facts
    )
    limit = f'<p class="sk-limit">{marked(card.limit)}</p>' if card.limit else ""
    return Block(
        f'<section class="sk-decision sk-wide"><div class="sk-words"><h2 class="sk-kicker">{escape(card.kicker)}</h2>'
        f'<p class="sk-verb">{escape(card.decision)}</p><p class="sk-advice">{escape(card.advice)}</p>'
        f'<p class="sk-headline">{marked(card.headline)}</p></div>'
        f'<figure class="sk-dots"><p class="sk-figure-title">{escape(card.dots_title)}</p>{card.dots}</figure>'
        f'{limit}<dl class="sk-facts">{facts}</dl></section>',
        f"{card.decision}. {plain(card.headline)}",
    )


def points(heading: str, sentences: Sequence[str]) -> Block:
    """Build the ranked main points."""
    items = "".join(f"<li>{marked(sentence)}</li>" for sentence in sentences)
    return Block(
        f'<section class="sk-points sk-head"><div class="sk-rail"><h2 class="sk-section-name">{escape(heading)}</h2></div>'
        f'<ol class="sk-title">{items}</ol></section>',
        "\n".join(f"{n}. {plain(s)}" for n, s in enumerate(sentences, 1)),
    )


def trust_strip(heading: str, failed: str, checks: Sequence[Check]) -> Block:
    """Build the strip of checks; one that limits the claim is ruled, marked and named."""
    cells = "".join(
        f'<li class="sk-check{" sk-failed" * (c.state != "holds")}"><p class="sk-label">{escape(c.label)}</p>'
        f'<p class="sk-value">{escape(c.value)}</p><p class="sk-note">{escape(c.note)}'
        f"{f' <strong>{escape(failed)}</strong>' * (c.state != 'holds')}</p></li>"
        for c in checks
    )
    return Block(
        f'<section class="sk-trust sk-wide" id="trust"><h2 class="sk-section-name">{escape(heading)}</h2>'
        f"<ul>{cells}</ul></section>",
        "\n".join(f"{c.label}: {c.value}. {c.note}" for c in checks),
    )


def section_head(name: str, question: str, title: str, note: str = "") -> Block:
    """Build the head of a section: its name and question in the rail, its active title beside."""
    below = f"<p>{marked(note)}</p>" if note else ""
    return Block(
        f'<div class="sk-head"><div class="sk-rail"><p class="sk-section-name">{escape(name)}</p>'
        f'<p class="sk-question">{escape(question)}</p></div><div class="sk-title"><h2>{escape(title)}</h2>{below}</div></div>',
        f"{name}: {title}",
    )


def absent(name: str, question: str, sentence: str) -> Block:
    """Build a section that has nothing to show: its name and question in the rail, and one line that says why."""
    return Block(
        f'<div class="sk-head sk-nothing"><div class="sk-rail"><h2 class="sk-section-name">{escape(name)}</h2>'
        f'<p class="sk-question">{escape(question)}</p></div><p class="sk-title sk-absent">{marked(sentence)}</p></div>',
        f"{name}: {plain(sentence)}",
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Block:
    """Build a table; cells are text with **marks**, or HTML, and the first of each row is its head."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{marked(row[0])}</th>{"".join(f"<td>{marked(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return Block(
        f'<div class="sk-scroll"><table class="sk-table sk-measures"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<p class="sk-caption">{escape(caption)}</p>',
        caption,
    )


def listing(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str, numbers: Sequence[int] = ()) -> Block:
    """Build a table of any columns; cells are text with **marks**, or HTML, and those of `numbers` stand to the right.

    On a phone each row is a block whose cells bear their column's name.
    """
    kinds = [' class="sk-number"' if place in numbers else "" for place in range(len(columns))]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(columns, kinds, strict=True))
    body = "".join(
        f'<tr><th scope="row">{marked(row[0])}</th>'
        + "".join(
            f'<td{kind} data-label="{escape(name)}">{marked(cell)}</td>'
            for cell, name, kind in zip(row[1:], columns[1:], kinds[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return Block(
        f'<div class="sk-scroll"><table class="sk-table sk-listing"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<p class="sk-caption">{escape(caption)}</p>',
        caption,
    )


def line(sentence: str) -> Block:
    """Build one line of prose, such as the reason why a section has nothing to show."""
    return Block(f'<p class="sk-absent">{marked(sentence)}</p>', plain(sentence))


def provenance(heading: str, entries: Sequence[tuple[str, str]], last: str) -> Block:
    """Build the foot of the page."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in entries)
    closing = f'<p class="sk-limit">{escape(last)}</p>' if last else ""
    return Block(
        f'<footer class="sk-provenance sk-wide"><h2 class="sk-section-name">{escape(heading)}</h2>'
        f"<dl>{items}</dl>{closing}</footer>",
        "\n".join(f"{name}: {text}" for name, text in entries),
    )
