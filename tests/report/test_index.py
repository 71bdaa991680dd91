"""The index shows every week, newest first, from the ledger alone, in both languages, and reaches nothing outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from strategy_kit.report.history import Point, history, ticks
from strategy_kit.report.index import index_pages
from strategy_kit.report.ledger import ledger_from
from strategy_kit.report.verification import verify

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from playwright.sync_api import Browser

LABELS = [f"2025-W{week}" for week in range(30, 20, -1)]


def claim(week: str, estimate: float, **more: Any) -> dict[str, Any]:
    told = {"run_id": week, "edition": 1, "notebook": "weekly_report", "language": "en", "week": week, "metric": "gmv",
            "published_at": "2025-07-28T06:00:00Z", "headline": f"GMV in {week}", "decision": "hold", "verb": "rose",
            "estimate": estimate, "conf_low": estimate - 0.05, "conf_high": estimate + 0.05, "level": 0.95,
            "threshold": 0.03}  # fmt: skip
    return {**told, **more}


def made(**first: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Ten weeks, the newest of which holds `first`, with pages in two languages."""
    mondays = ["2025-07-21", "2025-07-14", "2025-07-07", "2025-06-30", "2025-06-23", "2025-06-16", "2025-06-09",
               "2025-06-02", "2025-05-26", "2025-05-19"]  # fmt: skip
    rows = [claim(monday, 0.06 + 0.004 * n) for n, monday in enumerate(mondays)]
    rows[0] |= first
    rows[3] |= {"verb": "cannot_tell", "decision": "cannot_tell"}
    rows.append(claim(mondays[1], 0.5, edition=2, headline="<script>alert(1)</script> & more", decision="extend"))
    rows.append(claim(mondays[0], 0.06, language="zh", headline="成交额上升"))
    told = [("weekly_report", "en", ""), ("weekly_report", "zh", ".zh"), ("data_check", "en", ""), ("my_look", "", "")]
    pages = [{"notebook": name, "language": lang, "page": f"{name}{end}.html"} for name, lang, end in told]
    record = {"data": "demo", "title": "Demo <market>", "synthetic": True, "notebooks": pages}
    return ledger_from(rows), dict.fromkeys([*LABELS, "undated"], record)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html.partition("<body>")[2]))


def test_weeks_stand_newest_first_with_decision_effect_and_pages() -> None:
    english = index_pages(*made())["index.html"]
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', english.rpartition("<tbody>")[2])
    assert [row[:8] for row in rows[:10]] == LABELS
    assert rows[-1].startswith("no week")
    assert "+6.2% (95% interval +1.0% to +11.6%)" in rows[0]  # exp of 0.06, 0.01 and 0.11
    links = re.findall(r'<a href="([^"]+)" hreflang="([^"]+)">([^<]+)</a>', rows[0])
    assert links == [
        ("2025-W30/weekly_report.html", "en", "Weekly report"),
        ("2025-W30/weekly_report.zh.html", "zh-Hans", "Weekly report (Chinese)"),
        ("2025-W30/data_check.html", "en", "Data check"),
        ("2025-W30/my_look.html", "en", "My look"),
    ]
    assert "edition 2" in rows[1]
    assert "Extend" in rows[1]
    assert "Cannot tell" in rows[3]
    assert "interval" not in rows[3]  # a week that could not tell shows no number
    assert english.count('class="sk-mark"><strong>Synthetic data') == 1


def test_both_indexes_tell_the_last_run_though_each_language_counts_its_own_editions() -> None:
    rows = [claim("2025-07-21", 0.1 * n, run_id=run, edition=edition, language=language, headline=f"{run} {language}")
            for n, (run, edition, language) in enumerate([("a", 1, "en"), ("a", 1, "zh"), ("b", 2, "en"), ("c", 3, "en"),
                                                          ("c", 2, "zh")])]  # fmt: skip
    record = {"2025-W30": {"data": "demo", "notebooks": []}}
    english, chinese = index_pages(ledger_from(rows), record).values()
    assert "c en" in english
    assert "c zh" in chinese
    alone = ledger_from([*rows, claim("2025-07-21", 0.5, run_id="d", edition=3, language="zh", headline="d zh")])
    assert all("d zh" in page and "c en" not in page for page in index_pages(alone, record).values())


def test_hostile_text_stays_text() -> None:
    for page in index_pages(*made()).values():
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
        assert "Demo &lt;market&gt;" in page


def test_both_languages_carry_the_same_numbers_and_link_each_other() -> None:
    pages = index_pages(*made())
    english, chinese = pages["index.html"], pages["index.zh.html"]
    assert ('lang="en"' in english[:60], 'lang="zh-Hans"' in chinese[:60]) == (True, True)
    assert ('href="index.zh.html"' in english, 'href="index.html"' in chinese) == (True, True)
    numbers = [re.findall(r"[+−]\d+\.\d+%", text_of(page)) for page in (english, chinese)]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 50
    assert "成交额上升" in chinese
    assert "成交额上升" not in english
    assert '<span lang="en">GMV in 2025-06-30</span>' in chinese  # what was said in one language only says so


def test_same_ledger_same_bytes_and_no_clock() -> None:
    assert index_pages(*made()) == index_pages(*made())
    assert "06:00" not in text_of(index_pages(*made())["index.html"])


@pytest.mark.parametrize("language", ["index.html", "index.zh.html"])
def test_the_page_stands_alone(language: str) -> None:
    page = index_pages(*made())[language]
    assert verify(page, [], own_scripts=0) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src &#x27;none&#x27;; script-src &#x27;none&#x27;; style-src &#x27;sha256-")
    assert "unsafe" not in policy[1]
    assert " style=" not in page


def test_no_claim_no_history() -> None:
    _, records = made()
    page = index_pages(ledger_from([]), records)["index.html"]
    assert "<svg" not in page
    assert "No week has claimed an effect so far" in page
    assert "2025-W30/weekly_report.html" in page


def test_the_drawing_holds_every_estimate_and_its_table() -> None:
    page = index_pages(*made())["index.html"]
    drawings = re.findall(r"<svg.*?</svg>", page)
    assert [re.search(r'width="(\d+)"', drawing)[1] for drawing in drawings] == ["720", "350"]  # type: ignore[index]
    assert [drawing.count("<circle") for drawing in drawings] == [9, 9]
    behind = page.partition("<details>")[2].partition("</details>")[0]
    assert behind.count("<tr>") == 10
    assert "+6.18%" in behind


class _Texts(HTMLParser):
    """Where texts of a drawing lie: x from, x to, baseline."""

    def __init__(self, drawing: str) -> None:
        super().__init__()
        self.boxes: list[tuple[float, float, float]] = []
        self.at: dict[str, str] = {}
        self.feed(drawing)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at = {name: value or "" for name, value in attrs} if tag == "text" else {}

    def handle_data(self, data: str) -> None:
        if self.at:
            wide, x = 8.5 * len(data), float(self.at["x"])  # no digit of 13 px is wider than 8.5
            left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[self.at["text-anchor"]]
            self.boxes.append((left, left + wide, float(self.at["y"])))


@pytest.mark.parametrize("width", [720, 350])
@pytest.mark.parametrize("weeks", [1, 2, 5, 30, 78])
def test_no_two_texts_overlap_and_none_leaves_the_drawing(width: int, weeks: int) -> None:
    import datetime as dt

    first = dt.date(2024, 12, 30)
    points = [Point(first + dt.timedelta(weeks=n), 0.01 * (n % 9 - 4), -0.9 + n % 2, 1.2, 0.03) for n in range(weeks)]
    boxes = _Texts(history(points, width, "threshold +3.0%")).boxes
    assert len(boxes) > 5
    assert all(left >= -0.1 and right <= width + 0.1 for left, right, _ in boxes), boxes
    for n, (left, right, y) in enumerate(boxes):
        for other, further, level in boxes[n + 1 :]:
            assert right <= other or further <= left or abs(y - level) >= 12


def test_ticks_are_round_and_inside() -> None:
    for low, high in ((-0.3, 0.9), (-0.0012, 0.0031), (0.0, 1e-9), (-40.0, 3.0)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 7
        assert all(low <= value <= high for value in found)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 390])
def test_it_reads_on_a_screen_and_on_a_phone(browser: Browser, tmp_path: Path, width: int) -> None:
    for name, html in index_pages(*made()).items():
        (tmp_path / name).write_text(html, encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=False)
    tab = context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((tmp_path / "index.html").as_uri())
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.reload()
    assert said == []
    ink = "document.querySelector('.sk-vis circle') && getComputedStyle(document.querySelector('.sk-vis circle')).fill"
    assert tab.evaluate(ink) == "rgb(18, 67, 109)"
    assert set(asked) == {(tmp_path / "index.html").as_uri()}
    shown = [tab.locator(f".sk-{kind} svg").is_visible() for kind in ("broad", "narrow")]
    assert shown == [width == 1200, width == 390]
    assert tab.locator("main").bounding_box()["width"] <= width  # type: ignore[index]
    right = [box["x"] + box["width"] for link in tab.locator("a").all() if (box := link.bounding_box())]
    assert max(right) <= width
    tab.click("nav a")
    assert tab.url.endswith("index.zh.html")
    context.close()
