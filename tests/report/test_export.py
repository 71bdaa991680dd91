"""The exported page, as a browser without a network, without scripts, or with ill will in the data sees it."""

from __future__ import annotations

import base64
import gzip
import re
import struct
from typing import TYPE_CHECKING, Any, Literal

import altair as alt
import nbformat
import pandas as pd
import pytest
from nbformat import v4

import strategy_kit as sk
from strategy_kit import charts
from strategy_kit.charts.theme import renderer
from strategy_kit.errors import ExportError
from strategy_kit.report.export import CLAIM, MOST_BYTES, export
from strategy_kit.report.pictures import VEGA_LITE, Pictures
from strategy_kit.report.verification import ids_of, named

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

HOSTILE = "</script><img src=x onerror=alert(1)><!-- & \u2028"


def bars(**words: Any) -> alt.Chart:
    frame = pd.DataFrame({"category": ["apparel", HOSTILE], "effect": [3, 5]})
    stops = [alt.GradientStop(offset=end, color=ink) for end, ink in enumerate(("#12436D", "#7E98AF"))]
    bar = alt.Chart(frame).mark_bar(color=alt.Gradient(gradient="linear", stops=stops))
    chart = bar.encode(x="effect:Q", y="category:N", tooltip="category:N")
    table = pd.DataFrame({"category": frame["category"], "effect": ["+3.0%", "−5.0%"]})
    told = {"title": "Two rose", "subtitle": "GMV, %", "caption": "Synthetic", "description": "Two bars."}
    return charts.figure(chart.properties(width=720, height=100), **{**told, "table": table, **words})


def shown(data: dict[str, Any] | alt.Chart) -> nbformat.NotebookNode:
    data = renderer(data.to_dict()) if isinstance(data, alt.Chart) else data
    return v4.new_output("display_data", data=data)


def html(text: str) -> nbformat.NotebookNode:
    return shown({"text/html": text, "text/plain": "<repr>"})


def exported(folder: Path, *outputs: Any, before: str = "", **metadata: Any) -> str:
    cells = [v4.new_markdown_cell(before, id="a")] if before else []
    for number, output in enumerate(outputs):
        cells.append(v4.new_code_cell("secret_source = 1", outputs=[output], execution_count=1, id=f"b{number}"))
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), folder / "weekly_report.ipynb")
    export(folder / "weekly_report.ipynb", folder / "weekly_report.html")
    return (folder / "weekly_report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("page")
    text = exported(
        folder,
        html('<header class="sk-masthead sk-wide"><h1>Support &amp; <b>pilots</b></h1></header>'),
        shown(bars()),
        shown(bars(title="Three rose")),
        html(pd.DataFrame({"category": [HOSTILE], "gmv": [1.5]})._repr_html_()),
        shown({"text/plain": f"plain {HOSTILE}"}),
        shown({CLAIM: {"headline": "unseen claim"}, "text/plain": "unseen claim"}),
        v4.new_output("stream", name="stderr", text="unseen warning"),
        before="## Method\nThe effect is $\\hat\\theta = a - b$.",
    )
    return folder / "weekly_report.html", text


def test_page_holds_outputs_only(page: tuple[Path, str]) -> None:
    text = page[1]
    assert "<title>Support &amp; pilots</title>" in text
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert '<div class="sk-out sk-span"><header' in text
    assert "<math" in text
    assert "unseen" not in text
    assert "secret_source" not in text
    assert text.count("<figure") == 2
    assert text.count('<script type="text/plain" id="vega">H4sI') == 1, "the bundle is there once, packed"
    assert text.count('<td class="sk-number">−5.0%</td>') == 2
    assert text.count('<th scope="row">apparel</th>') == 2
    assert text.count('<caption class="sk-hidden">Two rose</caption>') == 1
    assert len(text.encode()) < MOST_BYTES


def test_policy_allows_no_foreign_script(page: tuple[Path, str]) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page[1])
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].replace("&#39;", "'").split(";"))
    assert rules["default-src"] == "'none'"
    assert set(map(len, rules["script-src"].split())) == {53}, "two hashes and nothing else"
    assert rules["style-src"].split().count("'unsafe-hashes'") == 1, "the frame of pandas has styles in its rows"
    assert set(map(len, rules["style-src"].split())) == {53, 15}
    assert rules["base-uri"] == rules["form-action"] == rules["font-src"] == "'none'"


def test_names_inside_pictures_are_unique(page: tuple[Path, str]) -> None:
    names = re.findall(r'<[^>]*\sid="([^"]+)"', page[1])
    assert len(names) >= 6, "two figures, and a gradient in each of four pictures"
    assert len(names) == len(set(names))
    assert set(re.findall(r"url\(#([^)]+)\)", page[1].split("<script>")[0])) <= set(names)


def test_same_notebook_gives_same_bytes(tmp_path: Path) -> None:
    assert exported(tmp_path, shown(bars())) == exported(tmp_path, shown(bars()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weekly_report.html", "weekly_report.ipynb"]


BOXES = "all => all.map(box => JSON.stringify(box.getBoundingClientRect()))"
INKED_ROWS = """async (png) => {
  const image = new Image(); image.src = "data:image/png;base64," + png; await image.decode();
  const canvas = document.createElement("canvas"); [canvas.width, canvas.height] = [image.width, image.height];
  const pen = canvas.getContext("2d", { willReadFrequently: true }); pen.drawImage(image, 0, 0);
  return Array.from({ length: image.height }, (_, y) =>
    Number(pen.getImageData(0, y, image.width, 1).data.some((value) => value < 160)));
}"""


def opened(browser: Browser, path: Path, **options: Any) -> tuple[Page, list[str]]:
    """Open a page with every request but the page's own aborted; return it with all that went wrong."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    troubles: list[str] = []
    tab = context.new_page()
    tab.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda request: request.url == path.as_uri() or troubles.append(request.url))
    tab.route("**/*", lambda route: route.continue_() if route.request.url == path.as_uri() else route.abort())
    tab.goto(path.as_uri())
    return tab, troubles


@pytest.mark.browser
@pytest.mark.parametrize(("width", "kind"), [(1200, "broad"), (390, "narrow")])
def test_charts_come_alive_in_their_place(
    browser: Browser, page: tuple[Path, str], width: int, kind: Literal["broad", "narrow"]
) -> None:
    tab, troubles = opened(browser, page[0], viewport={"width": width, "height": 900})
    tab.wait_for_selector("html[data-charts=done]", timeout=20_000)
    before = tab.locator(".sk-vis").evaluate_all(BOXES)
    assert tab.locator("figure[data-state=static]").count() == 2, "nothing is drawn that nobody points at"
    for number in (0, 1):
        tab.locator(".sk-vis").nth(number).hover()
        tab.locator("figure.sk-chart").nth(number).locator(f".sk-live-{kind} svg").wait_for()
    assert tab.locator("figure[data-state=ok]").count() == 2
    assert tab.locator(".sk-vis").evaluate_all(BOXES) == before, "the page does not move"
    assert tab.locator(".sk-broad:visible, .sk-narrow:visible").count() == 0, "the live chart hides the picture"
    bar = tab.locator(".sk-live .mark-rect path, .sk-vis .mark-rect path").last
    bar.hover()
    tab.locator("#vg-tooltip-element.visible").wait_for()
    assert "onerror=alert(1)" in tab.locator("#vg-tooltip-element").inner_text()
    assert tab.locator("img").count() == 0, "hostile names stay text"
    assert "onerror=alert(1)" in tab.locator("pre").inner_text()
    tab.emulate_media(media="print")
    assert tab.locator(".sk-broad:visible").count() == 2, "paper shows the picture, whatever the screen was"
    assert tab.locator(".sk-vis > :visible").count() == 2
    assert troubles == []
    tab.context.close()


@pytest.mark.browser
def test_a_figure_is_saved_with_its_words(browser: Browser, page: tuple[Path, str]) -> None:
    tab, troubles = opened(browser, page[0], accept_downloads=True)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save picture").first.click()
    png = download.value.path().read_bytes()
    assert download.value.suggested_filename == "weekly_report-chart-1.png"
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    picture = tab.locator(".sk-broad svg").first.evaluate("svg => svg.height.baseVal.value")
    assert width == 2 * (720 + 48)
    assert height > 2 * (picture + 100), "title, subtitle, caption and foot have their room"
    # where the words stand there is ink: row by row, as far down as the title, the caption and the foot are
    inked = tab.evaluate(INKED_ROWS, base64.b64encode(png).decode())
    assert sum(inked[:100]) > 15, "title and subtitle"
    assert sum(inked[-100:]) > 15, "caption and foot"
    assert troubles == []
    tab.context.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 360])
def test_phone_page_does_not_scroll_sideways(browser: Browser, page: tuple[Path, str], width: int) -> None:
    tab, _ = opened(browser, page[0], viewport={"width": width, "height": 800})
    tab.wait_for_selector("html[data-charts=done]", timeout=20_000)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    tab.context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "kind"), [(1200, "broad"), (390, "narrow")])
def test_without_scripts_the_pictures_show(browser: Browser, page: tuple[Path, str], width: int, kind: str) -> None:
    tab, troubles = opened(browser, page[0], java_script_enabled=False, viewport={"width": width, "height": 800})
    visible = tab.locator(".sk-vis svg:visible")
    assert visible.count() == 2
    assert tab.locator(f".sk-{kind} svg:visible").count() == 2
    assert tab.locator("figure[data-state=static]").count() == 2
    assert not [trouble for trouble in troubles if trouble.startswith("http")]
    tab.context.close()


def test_language_comes_from_the_run_then_from_the_parameters(tmp_path: Path) -> None:
    papermill = {"parameters": {"language": "zh"}}
    assert '<html lang="zh-Hans">' in exported(tmp_path, html("<p>中文</p>"), papermill=papermill)
    cell = v4.new_code_cell('language: str = "zh"  # en or zh', metadata={"tags": ["parameters"]}, id="p")
    cell.outputs = [html("<p>中文</p>")]
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "weekly_report.ipynb")
    export(tmp_path / "weekly_report.ipynb", tmp_path / "other.html")
    text = (tmp_path / "other.html").read_text(encoding="utf-8")
    assert '<html lang="zh-Hans">' in text
    assert "<title>weekly_report</title>" in text
    assert "script-src 'none'" in text.replace("&#39;", "'"), "no chart, no script"
    assert "<script" not in text
    assert len(text) < 40_000


def test_first_heading_is_the_title(tmp_path: Path) -> None:
    text = exported(tmp_path, html("<p>x</p>"), before="# Weekly *report*\n", strategy_kit={"title": "unused"})
    assert "<title>Weekly report</title>" in text
    assert "<title>Kept</title>" in exported(tmp_path, html("<p>x</p>"), strategy_kit={"title": "Kept"})


REFUSED = {
    "no description": (shown(bars().properties(description=" ")), "chart 1 .* has no description"),
    "undrawable": (shown({**renderer({"mark": "nothing", "description": "x"})}), "chart 1 .* cannot be drawn"),
    "image": (shown({"image/png": "AAAA", "text/plain": "x"}), "cell 1 shows a picture"),
    "error": (v4.new_output("error", ename="ValueError", evalue="bad", traceback=[]), "cell 1 failed with ValueError"),
    "stream only": (v4.new_output("stream", name="stdout", text="x"), "no cell has an output"),
    "blank": (html("  "), "no cell has an output"),
    "too large": (html("<p>" + "x" * MOST_BYTES + "</p>"), "bytes, more than"),
    "script": (html("<script>1</script>"), "1 scripts are not the page's own"),
    "handler": (html("<p onclick='x()'>x</p>"), "<p onclick> is a script"),
    "remote image": (html('<img src="https://example.org/a.png">'), "<img src> refers to"),
    "protocol-relative": (html('<img srcset="//example.org/a.png 2x">'), "<img srcset> refers to"),
    "file image": (html('<img src="plot.png">'), "<img src> refers to"),
    "stylesheet": (html('<link rel="stylesheet" href="a.css">'), "<link> is not allowed"),
    "frame": (html('<iframe srcdoc="x"></iframe>'), "<iframe> is not allowed"),
    "refresh": (html('<meta http-equiv="refresh" content="0">'), "<meta> is not allowed"),
    "import": (html("<style>@import 'https://example.org/a.css';</style>"), "a style refers to"),
    "url": (html('<p style="background: url(//example.org/a.png)">x</p>'), "a style refers to"),
    "link": (html('<a href="https://example.org">x</a>'), "<a href> refers to"),
    "javascript": (html('<a href="javascript:alert(1)">x</a>'), "<a href> refers to"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unfit_pages_are_refused_and_the_old_one_stays(case: str, tmp_path: Path) -> None:
    output, message = REFUSED[case]
    (tmp_path / "weekly_report.html").write_text("last week", encoding="utf-8")
    with pytest.raises(ExportError, match=message):
        exported(tmp_path, output)
    assert (tmp_path / "weekly_report.html").read_text(encoding="utf-8") == "last week"


def test_all_violations_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"breaks 3 laws: \(1\) chart 1.*\(2\) <img src>.*\(3\) <p onclick>"):
        exported(
            tmp_path, shown(bars().properties(description="")), html('<img src="https://example.org/">'),
            html("<p onclick='x'>x</p>"),
        )  # fmt: skip


IDS = pd.DataFrame({"merchant_id": ["m00001", "shop-17", "Shop 17", "张记"], "category": "toys"})
NAMED = [
    "商家m00001销售最高",
    "by shop-17.",
    "by shop-17，其次",
    "Shop 17 sold most",
    "of (Shop 17)",
    "商家“张记”",
    "<td>m00001</td>",
]
UNNAMED = ["xM00001", "m000012", "shop-171", "Shop 171", "workshop-17", "张记录", "m0 0001"]


@pytest.mark.parametrize("told", [*NAMED, *UNNAMED])
def test_a_name_is_found_beside_chinese_marks_and_spaces_and_not_inside_a_word(told: str) -> None:
    lines = pd.DataFrame({"order_id": "1", "line_id": 1, "buyer_id": "b", "category": "toys", "amount": 1.0,
                          "merchant_id": IDS["merchant_id"], "paid_at": pd.Timestamp("2025-07-01")})  # fmt: skip
    shop = sk.dataset_from_frames(lines, IDS, timezone="UTC", currency="CNY")
    assert bool(list(named({"cell 1": told}, ids_of(shop)))) == (told in NAMED)
    assert bool(list(named({"cell 1": told}, set(IDS["merchant_id"])))) == (told in NAMED)


@pytest.mark.parametrize("place", ["foot of the page", "claim 1"])
def test_a_name_in_a_parameter_or_in_a_claim_is_refused(place: str, tmp_path: Path) -> None:
    claim = shown({CLAIM: {"headline": "m00001 rose" if place == "claim 1" else "GMV rose"}, "text/plain": ""})
    cells = [v4.new_code_cell("1", outputs=[html("<p>x</p>"), claim], execution_count=1)]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "page.ipynb")
    about = {"parameters": {"merchant": "m00001" if place != "claim 1" else "all"}}
    with pytest.raises(ExportError, match=f"{place} names 1 merchants, buyers or orders"):
        export(tmp_path / "page.ipynb", tmp_path / "page.html", about=about, never={"m00001"})
    export(tmp_path / "page.ipynb", tmp_path / "page.html", about=about, never={"m00002"})


def test_links_inside_the_report_and_data_images_are_kept(tmp_path: Path) -> None:
    kept = '<a href="#trust">trust</a><a href="zh.html">中文</a><img alt="" src="data:image/gif;base64,R0lG">'
    assert kept in exported(tmp_path, html(f"<p>{kept}</p>"))


def test_text_that_looks_like_a_reference_is_text(tmp_path: Path) -> None:
    name = '<img src="https://example.org"> url(https://example.org) @import'
    chart = bars(description=name, title=name)
    assert exported(tmp_path, shown(chart), html(pd.DataFrame({"name": [name]})._repr_html_()))


def test_charts_are_drawn_by_the_grammar_that_altair_writes() -> None:
    assert alt.SCHEMA_VERSION.startswith(f"v{VEGA_LITE}.")


def test_bundle_is_kept_and_a_broken_copy_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Pictures(workers=1) as pictures:
        fresh, packed = pictures.script()
        kept = next((tmp_path / "strategy-kit").iterdir())
        assert kept.read_text(encoding="utf-8") == fresh == gzip.decompress(base64.b64decode(packed)).decode()
        kept.write_text(fresh[:1000], encoding="utf-8")
        assert pictures.script()[0] == fresh == kept.read_text(encoding="utf-8")
        monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
        assert pictures.script() == (fresh, packed), "a cache that cannot be written is done without"
