"""The index of all weeks of a data set: one page in each language, made from the ledger and the run.json files alone."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from math import expm1
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from strategy_kit import formats
from strategy_kit.formats import Language
from strategy_kit.periods import parse_week
from strategy_kit.report import blocks
from strategy_kit.report.history import Point, history
from strategy_kit.report.words import Html, Words, marked

if TYPE_CHECKING:
    from collections.abc import Mapping

_WIDTHS = (720, 350)
_POLICY = (
    "default-src 'none'; script-src 'none'; style-src 'sha256-{}'; img-src data:; font-src 'none'; "
    "base-uri 'none'; form-action 'none'"
)
_CODES = {"en": "en", "zh": "zh-Hans"}
_PAGES: dict[Language, str] = {"en": "index.html", "zh": "index.zh.html"}
_MOST = 700.0  # log points of which the exponential is still a number


def index_pages(ledger: pd.DataFrame, records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return file name -> HTML of the index in each language; the same ledger and records give the same bytes.

    Parameters
    ----------
    ledger
        From `read_ledger`.
    records
        The run.json of each week by its label, newest first, pages of no week last.

    Examples
    --------
    >>> from strategy_kit.report.ledger import ledger_from
    >>> pages = index_pages(ledger_from([]), {"2025-W30": {"notebooks": [], "data": "demo"}})
    >>> list(pages), "<script" in "".join(pages.values())
    (['index.html', 'index.zh.html'], False)
    """
    return {_PAGES[language]: _page(ledger, records, Words(language)) for language in get_args(Language)}


def _page(ledger: pd.DataFrame, records: Mapping[str, Mapping[str, Any]], say: Words) -> str:
    newest = next((record for record in records.values() if record.get("data")), {})
    title = say.label(str(newest.get("title") or newest.get("data") or ""))
    claims = {label: _headline(ledger, label, record, say) for label, record in records.items()}
    weeks = [label for label in records if "W" in label]
    edition = say("index_edition", n=formats.Count(len(weeks)), week=weeks[0] if weeks else say("index_undated"))
    marks = [(say("synthetic"), say("synthetic_note"))] * bool(newest.get("synthetic"))
    marks += [(say("placebo_mark"), say("placebo_mark_note"))] * bool(newest.get("placebo"))
    other = next(file for language, file in _PAGES.items() if language != say.language)
    languages = blocks.language_links(say.language, other)
    head = blocks.masthead(say("index_product"), title, edition, marks, languages).html
    dated = {label: row for label, row in claims.items() if row is not None and "W" in label}
    body = "\n".join([*_history(dated, say), *_weeks(claims, records, say)])
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f'<!doctype html>\n<html lang="{_CODES[say.language]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY.format(digest))}">\n'
        f"<title>{escape(title)} · {escape(say('index_weeks'))}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<div class="sk-page">\n<div class="sk-section sk-grid"><div class="sk-out sk-span">{head}</div></div>\n'
        f'<main id="main" class="sk-grid">\n{body}\n</main>\n</div>\n</body>\n</html>\n'
    )


def _out(html: str, kind: str) -> str:
    return f'<div class="sk-out {kind}">{html}</div>'


def _headline(ledger: pd.DataFrame, label: str, record: Mapping[str, Any], say: Words) -> Any:
    """Return the week's claim of the last run, in the page's language where there is one; None without claim."""
    week = ledger[ledger["week"].eq(pd.Timestamp(parse_week(label)))] if "W" in label else ledger[ledger["week"].isna()]
    order = [page["notebook"] for page in record["notebooks"]]
    for name in [*order, *week["notebook"].unique()]:
        rows = week[week["notebook"] == name]
        if len(rows):
            rows = rows[rows["run_id"] == rows["run_id"].iloc[-1]]  # a language made alone counts editions of its own
            own = rows[rows["language"] == say.language]
            return (own if len(own) else rows).iloc[-1]
    return None


def _share(log_points: float) -> float:
    return expm1(min(log_points, _MOST))


def _numbers(row: Any) -> tuple[float, float, float] | None:
    """Return estimate and interval as shares, None where the week claimed no number."""
    ends = [row["estimate"], row["conf_low"], row["conf_high"]]
    if row["verb"] == "cannot_tell" or any(pd.isna(ends)):
        return None
    estimate, low, high = map(_share, ends)
    return estimate, low, high


def _history(claims: Mapping[str, Any], say: Words) -> list[str]:
    """Draw the weeks that claimed the newest claim's metric, with the table behind the drawing."""
    told = {label: row for label, row in claims.items() if isinstance(row["metric"], str) and row["metric"]}
    told = {label: row for label, row in told.items() if row["metric"] == next(iter(told.values()))["metric"]}
    points = [_point(label, row) for label, row in reversed(told.items())]
    known = [point for point in points if point.estimate is not None]
    if not known:
        return []
    percent = {point.monday: formats.percent(point.estimate or 0.0, signed=True) for point in known}
    last, limit = known[-1], formats.percent(known[-1].threshold, signed=True)
    week = formats.period_name(last.monday, "week", say.language)
    measure = say(f"metric_{next(iter(told.values()))['metric']}")
    title = say("index_history_title", measure=measure, effect=percent[last.monday], week=week)
    head = blocks.section_head(say("index_history"), say("index_history_question"), title, say("index_history_note"))
    names = [formats.period_name(point.monday, "week", say.language) for point in known]
    estimates = ", ".join(f"{name} {percent[point.monday]}" for name, point in zip(names, known, strict=True))
    alt = say("index_history_alt", first=names[0], last=names[-1], estimates=estimates, threshold=limit)
    drawn = [history(points, width, say("index_threshold", threshold=limit)) for width in _WIDTHS]
    columns = [say(f"index_column_{name}") for name in ("effect", "low", "high", "threshold")]
    rows = [
        [name, *(formats.percent(v, 2, signed=True) for v in (p.estimate or 0.0, p.low, p.high, p.threshold))]
        for name, p in zip(names, known, strict=True)
    ]
    behind = blocks.listing([say("column_week"), *columns], rows, "", numbers=range(1, 5)).html
    figure = (
        f'<figure class="sk-chart" id="history" data-state="static"><div class="sk-vis" role="img" aria-label="{escape(alt)}">'
        f'<div class="sk-broad">{drawn[0]}</div><div class="sk-narrow">{drawn[1]}</div></div>'
        f"<details><summary>{escape(say('index_table'))}</summary>{behind}</details></figure>"
    )
    return [_out(head.html, "sk-span"), _out(figure, "sk-plot")]


def _point(label: str, row: Any) -> Point:
    numbers, limit = _numbers(row), row["threshold"]
    estimate, low, high = numbers or (None, 0.0, 0.0)
    return Point(parse_week(label), estimate, low, high, 0.0 if pd.isna(limit) else _share(limit))


def _weeks(claims: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], say: Words) -> list[str]:
    decided = next((row["decision"] for row in claims.values() if row is not None and row["decision"]), None)
    title = say("index_weeks_none")
    if isinstance(decided, str):
        title = say("index_weeks_title", decision=say(f"decision_{decided}"))
    head = blocks.section_head(say("index_weeks"), say("index_weeks_question"), title)
    columns = [
        say("column_week"),
        *(say(f"index_column_{name}") for name in ("decision", "headline", "effect", "pages")),
    ]
    rows = [_row(label, claims[label], record, say) for label, record in records.items()]
    table = blocks.listing(columns, rows, say("index_weeks_note"))
    return [_out(head.html, "sk-span"), _out(table.html, "sk-span")]


def _row(label: str, claim: Any, record: Mapping[str, Any], say: Words) -> list[str]:
    name = say("index_undated")
    if "W" in label:
        monday = parse_week(label)
        name = f"{formats.period_name(monday, 'week', say.language)} · {formats.day(monday, say.language)}"
    decision = headline = effect = "–"
    if claim is not None:
        if isinstance(claim["decision"], str) and claim["decision"]:
            decided = claim["decision"]
            decision = f"**{say(f'decision_{decided}')}**"
        language = claim["language"] if claim["language"] in _CODES else say.language
        there = f' lang="{_CODES[language]}"' * (language != say.language)
        headline = Html(f"<span{there}>{marked(claim['headline'])}</span>")
        if numbers := _numbers(claim):
            estimate, low, high = (formats.percent(value, signed=True) for value in numbers)
            level = formats.percent(claim["level"], 0)
            effect = say("index_effect", effect=estimate, level=level, low=low, high=high)
        if claim["edition"] > 1:
            name += f" · {say('index_edition_number', n=int(claim['edition']))}"
    links = Html("<br>".join(_link(label, page, say) for page in record["notebooks"]))
    return [name, decision, headline, effect, links]


def _link(label: str, page: Mapping[str, Any], say: Words) -> str:
    known = say.label(page["notebook"])
    name = known if known != page["notebook"].replace("_", " ") else known.capitalize()
    if page["language"] not in (say.language, ""):
        name = say("index_page", page=name)
    address, code = escape(f"{label}/{page['page']}"), _CODES.get(page["language"], "en")
    return f'<a href="{address}" hreflang="{code}">{escape(name)}</a>'
