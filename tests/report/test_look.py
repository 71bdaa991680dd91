"""Every page of the kit as readers get it: on a screen, a phone and paper, with a keyboard, and without a network."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import altair as alt
import nbformat
import pytest

import strategy_kit as sk
from strategy_kit.charts.nested import GREYS
from strategy_kit.charts.theme import HAIR, RULE, TINTS
from strategy_kit.report.batch import run_week
from strategy_kit.report.export import CHART, MOST_BYTES
from strategy_kit.report.ledger import read_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from strategy_kit.report import Run

pytestmark = pytest.mark.slow
WEEKLY = ("weekly_report", "weekly_report_zh", "rich")
PAGES = (*WEEKLY, "pilot_effect", "kpi_review", "merchant_cohorts", "data_check")


@pytest.fixture(scope="module")
def week(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The sample's week as planned."""
    return run_week(data=sample, out=tmp_path_factory.mktemp("week"), week="2025-W30")


@pytest.fixture(scope="module")
def runs(week: Run, whole_market: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Each page of the week, and a weekly report with all that it can show."""
    made = {page.stem.replace(".", "_"): replace(week, html=page, notebook=page.with_suffix(".ipynb"))
            for page in week.pages}  # fmt: skip
    rich = tmp_path_factory.mktemp("rich")  # each section has all it can show, and something to compare with
    for label in ("2025-W29", "2025-W30"):
        made["rich"] = sk.report.run("weekly_report", data=whole_market, week=label, out=rich)
    return made


def opened(browser: Browser, path: Path, width: int = 1200, **options: Any) -> tuple[Page, list[str]]:
    """Open a page with every request but its own aborted; return it with all that went wrong."""
    tab = browser.new_page(**{"viewport": {"width": width, "height": 900}, **options})
    troubles: list[str] = []
    address = path.resolve().as_uri()
    tab.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda request: request.url == address or troubles.append(request.url))
    tab.route("**/*", lambda route: route.continue_() if route.request.url == address else route.abort())
    tab.goto(address)
    return tab, troubles


# Boxes are as high as a line of the font; glyphs reach neither its top fifth nor its lowest tenth.
TEXTS = """() => {
  const shown = (text) => { for (let at = text; at && at.tagName !== "svg"; at = at.parentElement)
    if (getComputedStyle(at).opacity === "0") return false;
    return text.textContent.trim() && text.getClientRects().length; };
  const boxes = [...document.querySelectorAll("svg text")].filter(shown).map((text) => {
    const box = text.getBoundingClientRect(), frame = text.closest("svg").getBoundingClientRect();
    const [top, bottom] = [box.top + box.height * 0.2, box.bottom - box.height * 0.11];
    const size = parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
    return { words: text.textContent, left: box.left, right: box.right, top, bottom, frame, size };
  });
  const found = [];
  boxes.forEach((one, at) => {
    const { frame } = one;
    if (one.words.endsWith("…")) found.push([one.words, "is shortened"]);
    if (one.left < frame.left - 1 || one.right > frame.right + 1 || one.top < frame.top - 1 || one.bottom > frame.bottom + 1)
      found.push([one.words, "is cut"]);
    for (const other of boxes.slice(at + 1)) {
      const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (wide > 1 && high > 1) found.push([one.words, other.words]);
    }
  });
  return [boxes.length, found, Math.min(...boxes.map((box) => box.size))];
}"""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "least"), [(1200, 11.0), (768, 11.0), (390, 11.0), (360, 10.5)])
@pytest.mark.parametrize("name", PAGES)
def test_texts_are_readable_whole_and_apart(
    name: str, width: int, least: float, browser: Browser, runs: dict[str, Run]
) -> None:
    tab, _ = opened(browser, runs[name].html, width)
    for button in tab.locator(".sk-fold").all():
        button.click()
    number, found, smallest = tab.evaluate(TEXTS)
    for summary in tab.locator("summary:visible").all():
        summary.click()
    wide = tab.evaluate("document.documentElement.scrollWidth")
    tab.close()
    assert number >= 10, "the check saw the texts"
    assert found == []
    assert smallest >= least - 0.01
    assert wide == width, "nothing is wider than the screen, tables unfolded"


# For each mark of each picture the stronger of its fill and stroke, for each text its fill, with what lies below it.
COLOURS = """() => {
  const over = (top, share, below) => top.slice(0, 3).map((part, at) => part * share + below[at] * (1 - share));
  const ink = (mark, kind) => {
    const style = getComputedStyle(mark);
    const colour = style[kind].startsWith("rgb") && style[kind].match(/[\\d.]+/g).map(Number);
    if (!colour || (kind === "stroke" && parseFloat(style.strokeWidth) === 0)) return null;
    let share = parseFloat(style[kind + "-opacity"] ?? 1) * (colour[3] ?? 1);
    for (let at = mark; at && at.tagName !== "svg"; at = at.parentElement) share *= parseFloat(getComputedStyle(at).opacity);
    return share > 0.02 ? [colour, share] : null;
  };
  const found = [];
  for (const svg of document.querySelectorAll("figure svg, .sk-measures svg")) {
    if (!svg.getClientRects().length) continue;
    svg.scrollIntoView({ block: "center" });
    const home = svg.closest("figure, table");
    const tabled = Boolean(home.querySelector("details table")) || home.tagName === "TABLE" || home.matches(".sk-dots");
    for (const mark of svg.querySelectorAll("path, rect, circle, line, text")) {
      const box = mark.getBoundingClientRect(), isText = mark.tagName === "text";
      if (!mark.getClientRects().length || (isText && !mark.textContent.trim())) continue;
      let below = [255, 255, 255];
      const stack = isText ? document.elementsFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2) : [];
      for (const under of stack.reverse()) {
        const fill = under !== svg && svg.contains(under) && !under.closest("text") && ink(under, "fill");
        if (fill) below = over(...fill, below);
      }
      const inks = (isText ? ["fill"] : ["fill", "stroke"]).map((kind) => ink(mark, kind)).filter(Boolean);
      if (inks.length) found.push({ isText, tabled, below, inks: inks.map((used) => over(...used, below)),
        group: mark.closest("[class*=role-]")?.getAttribute("class") ?? "", words: mark.textContent,
        title: home.dataset.title ?? "" });
    }
  }
  return found;
}"""
QUIET = {HAIR, RULE}  # gridlines, rules between rows: nothing is read from them
BANDS = {*TINTS.values(), *GREYS.values()}  # intervals, whose numbers are printed and stand in the table
Colour = tuple[float, float, float]


def luminance(colour: Colour) -> float:
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Colour, other: Colour) -> float:
    """Contrast as WCAG 2.2 defines it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def rgb(code: str) -> Colour:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def code_of(colour: Colour) -> str:
    return "#" + "".join(f"{round(part):02X}" for part in colour)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(rgb("#000000"), rgb("#FFFFFF")) == pytest.approx(21)
    assert contrast(rgb("#F46A25"), rgb("#FFFFFF")) == pytest.approx(
        3.03, abs=0.005
    )  # published by the Analysis Function


def test_nested_bands_are_told_apart() -> None:
    for tints in (TINTS, GREYS):
        steps = [tints[level] for level in sorted(tints, reverse=True)]
        assert all(contrast(rgb(pale), rgb(deep)) > 1.15 for pale, deep in pairwise(["#FFFFFF", *steps]))
    assert contrast(rgb(TINTS[0.50]), rgb("#FFFFFF")) >= 3, "the inner band stands on paper"


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_colours_have_contrast(name: str, browser: Browser, runs: dict[str, Run]) -> None:
    tab, _ = opened(browser, runs[name].html, bypass_csp=True)
    tab.add_style_tag(content="svg * { pointer-events: all !important }")  # so that what lies below a text is found
    marks = tab.evaluate(COLOURS)
    tab.close()
    assert len(marks) > 20
    weak = set()
    for mark in marks:
        codes = {code_of(ink) for ink in mark["inks"]}
        best = max(contrast(ink, mark["below"]) for ink in mark["inks"])
        told = mark["tabled"] and (codes & BANDS or "mark-rect" in mark["group"])  # also the cells of a table of tints
        quiet = codes & QUIET or "role-axis" in mark["group"] or codes <= {"#FFFFFF"}
        if best < (4.5 if mark["isText"] else 3) and (mark["isText"] or not (told or quiet)):
            weak.add((mark["title"], mark["words"], *sorted(codes), round(best, 2)))
    assert weak == set()


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_every_chart_comes_alive_in_its_place_offline(name: str, browser: Browser, runs: dict[str, Run]) -> None:
    tab, troubles = opened(browser, runs[name].html)
    figures, heights = tab.locator("figure.sk-chart"), "all => all.map(one => one.getBoundingClientRect().height)"
    before = figures.evaluate_all(heights)
    for number in range(len(before)):
        figures.nth(number).locator(".sk-vis").hover()
        figures.nth(number).locator(".sk-live-broad svg").wait_for()
    assert figures.evaluate_all("all => all.every(one => one.dataset.state === 'ok')")
    # an axis may take a pixel more or less with the reader's fonts than with those the picture was measured with
    assert figures.evaluate_all(heights) == pytest.approx(before, abs=2)
    number, found, _ = tab.evaluate(TEXTS)
    tab.close()
    assert number >= 10
    assert found == []
    assert troubles == [], "no request and no word in the console"


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_everything_is_there(name: str, browser: Browser, runs: dict[str, Run]) -> None:
    tab, troubles = opened(browser, runs[name].html, 390, java_script_enabled=False)
    assert tab.locator("figure.sk-chart").count() == tab.locator("figure.sk-chart .sk-narrow svg:visible").count()
    assert tab.locator("section h2:visible").count() == tab.locator("section h2").count()
    assert tab.locator(".sk-out:visible").count() == tab.locator(".sk-out").count(), "nothing is folded"
    assert tab.locator(".sk-save:visible").count() == 0, "what needs scripts is not offered"
    assert [trouble for trouble in troubles if "://" in trouble] == []
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", WEEKLY)
def test_a_phone_folds_what_comes_after_the_money(name: str, browser: Browser, runs: dict[str, Run]) -> None:
    tab, _ = opened(browser, runs[name].html, 390)
    folded, tall = tab.locator("section.sk-folded"), "document.documentElement.scrollHeight"
    height, number = tab.evaluate(tall), folded.count()
    assert number >= 5
    assert tab.locator("#money .sk-plot:visible").count() >= 1
    assert tab.locator("#measures .sk-plot:visible").count() == 0
    assert tab.locator("#measures h2:visible").count() == 1, "its title stays"
    button = tab.locator("#measures .sk-fold")
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    assert tab.locator("#measures .sk-plot:visible").count() >= 1
    tab.locator('.sk-contents a[href="#glossary"]').click()
    tab.wait_for_selector("#glossary:not(.sk-folded) table")
    assert folded.count() == number - 2
    tab.set_viewport_size({"width": 1200, "height": 900})
    assert tab.locator(".sk-fold").count() == 0, "a wide screen has nothing to unfold"
    assert tab.locator("#yardsticks .sk-plot:visible").count() >= 1
    tab.set_viewport_size({"width": 390, "height": 900})
    assert tab.evaluate(tall) == height
    tab.emulate_media(media="print")
    assert tab.locator("#yardsticks .sk-plot:visible").count() >= 1, "paper shows all"
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", WEEKLY)
def test_paper_takes_six_pages(name: str, browser: Browser, runs: dict[str, Run], tmp_path: Path) -> None:
    tab, _ = opened(browser, runs[name].html)
    pdf = tab.pdf(prefer_css_page_size=True)
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 6
    assert set(re.findall(rb"/MediaBox\s*\[0 0 594\.\d+ 841\.\d+\]", pdf)), "A4, in points"
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 680, "height": 1000})  # A4 less its margins
    assert tab.evaluate("document.documentElement.scrollWidth") == 680, "or all would be printed smaller"
    ends = tab.locator("#points").evaluate("one => one.getBoundingClientRect().bottom + scrollY")
    assert ends < 1030, "decision and main points are on the first page"
    assert tab.locator("details:visible, button:visible, nav:visible").count() == 0
    _, found, smallest = tab.evaluate(TEXTS)
    assert found == []
    assert smallest >= 9, "of print, 7 points"
    tab.close()


PAINT = """() => new Promise((done) => new PerformanceObserver((list) => {
  const first = list.getEntriesByName("first-contentful-paint")[0];
  if (first) done(first.startTime);
}).observe({ type: "paint", buffered: true }))"""


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_small_and_paint_fast(name: str, browser: Browser, runs: dict[str, Run]) -> None:
    assert runs[name].html.stat().st_size < MOST_BYTES
    tab, _ = opened(browser, runs[name].html)
    assert 0 < tab.evaluate(PAINT) < 1000  # milliseconds
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", WEEKLY)
def test_the_keyboard_goes_in_the_order_of_reading(name: str, browser: Browser, runs: dict[str, Run]) -> None:
    tab, _ = opened(browser, runs[name].html)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.getAttribute('href')") == "#main", "first of all, a way past the head"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    stops = tab.locator("main :is(a[href], button, summary)").count()
    reached = []
    for _ in range(stops):
        tab.keyboard.press("Tab")
        place = tab.evaluate("""() => { const at = document.activeElement;
          return [...document.querySelectorAll("main *")].indexOf(at); }""")
        reached.append(place)
    assert -1 not in reached
    assert reached == sorted(set(reached)), "each once, from top to bottom"
    assert tab.evaluate("document.activeElement.matches('summary, button, a')")
    tab.locator("summary").first.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("details[open]").count() == 1
    tab.close()


class Outline(HTMLParser):
    """Levels of headings, and what is wrong with regions, charts and tables for who cannot see them."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.names: set[str] = set()
        self.labels: list[str] = []
        self.untold = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.levels += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.names |= {values["id"] or ""} if "id" in values else set()
        self.labels += (values.get("aria-labelledby") or "").split()
        self.untold += values.get("role") == "img" and not (values.get("aria-label") or "").strip()


@pytest.mark.parametrize("name", PAGES)
def test_headings_landmarks_and_tables_are_told(name: str, runs: dict[str, Run]) -> None:
    html = runs[name].html.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(html)
    assert outline.levels.count(1) == 1
    assert outline.levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(outline.levels))
    assert set(outline.labels) <= outline.names
    regions = re.findall(r'<section class="sk-section[^>]*>', html)
    assert len(regions) >= 3
    assert [region for region in regions if "aria-labelledby" not in region] == [], (
        "no region without a name, none empty"
    )
    assert outline.untold == 0
    assert html.count("<main ") == html.count("</main>") == 1
    assert f'<html lang="{"zh-Hans" if name.endswith("zh") else "en"}">' in html
    figures = html.split("<figure class=")[1:]
    behind = [figure for figure in figures if "<details>" in figure]
    assert len(behind) >= len([figure for figure in figures if "sk-chart" in figure[:20]])
    for figure in behind:
        assert "<caption" in figure
        assert 'scope="col"' in figure
        assert 'scope="row"' in figure


def specs(run: Run) -> Iterator[dict[str, Any]]:
    notebook = nbformat.read(run.notebook, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if CHART in output.get("data", {}):
                yield output.data[CHART]


@pytest.mark.parametrize("name", PAGES)
def test_a_chart_of_a_notebook_carries_its_words(name: str, runs: dict[str, Run], tmp_path: Path) -> None:
    told = list(specs(runs[name]))
    # raises where the grammar is broken, which a section does not check
    chart, *_ = (alt.Chart.from_dict({**spec, "$schema": alt.SCHEMA_URL}) for spec in told)
    for spec in told:
        words = " ".join(spec["title"]["subtitle"])
        assert re.search("Synthetic data|模拟数据", words), "what a picture must not lose"
        assert re.search(r"2025", words), "its date"
    chart.save(tmp_path / "x.svg")
    svg = re.sub("<[^>]+>", " ", (tmp_path / "x.svg").read_text(encoding="utf-8"))
    kit = told[0]["usermeta"]["strategy_kit"]
    for part in (kit["title"], kit["subtitle"], kit["caption"]):
        squeezed = re.sub(r"\s+|&\w+;|[&<>]", "", part)
        assert squeezed in re.sub(r"\s+|&\w+;|[&<>]", "", svg)
    chart.save(tmp_path / "x.png", scale_factor=1)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_week_again_gives_the_same_bytes_with_a_ledger_in_between(week: Run, sample: Path) -> None:
    folder = week.html.parents[1]
    again = run_week(data=sample, out=folder.parent, week="2025-W30")
    assert week.run_id != again.run_id
    for page in week.pages:
        made = [(folder / "runs" / run.run_id / page.name).read_bytes() for run in (week, again)]
        assert made[0] == made[1], page.name
    estimates = read_ledger(folder / "ledger.csv")["estimate"]
    assert (len(estimates), estimates.nunique()) == (6, 1)
