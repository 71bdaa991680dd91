"""What the exporter adds to a notebook's outputs: regions, the foot, refusals of names, pictures drawn ahead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import altair as alt
import nbformat
import pandas as pd
import pytest
from nbformat import v4

import strategy_kit as sk
from strategy_kit import charts
from strategy_kit.charts.theme import renderer
from strategy_kit.errors import ExportError, ParameterError
from strategy_kit.report.export import CHART, CLAIM, export
from strategy_kit.report.pictures import Pictures
from strategy_kit.report.sections import SECTION
from strategy_kit.report.verification import ids_of

if TYPE_CHECKING:
    from pathlib import Path


def bars(**words: Any) -> alt.Chart:
    chart = alt.Chart(pd.DataFrame({"n": [1, 2]})).mark_bar().encode(x="n:Q")
    told = {"title": "Two rose", "description": "Two bars."}
    return charts.figure(chart.properties(width=720, height=100), **{**told, **words})


def shown(data: dict[str, Any] | alt.Chart) -> nbformat.NotebookNode:
    data = renderer(data.to_dict()) if isinstance(data, alt.Chart) else data
    return v4.new_output("display_data", data=data)


def html(text: str) -> nbformat.NotebookNode:
    return shown({"text/html": text, "text/plain": "<repr>"})


def section(name: str, *outputs: Any, shown: bool = True) -> nbformat.NotebookNode:
    marker = v4.new_output("display_data", data={SECTION: {"name": name, "shown": shown}, "text/plain": ""})
    return v4.new_code_cell(
        "x", outputs=[marker, *outputs], execution_count=1, id=re.sub(r"\W", "-", name) + str(len(outputs))
    )


def written(folder: Path, *cells: nbformat.NotebookNode, **options: Any) -> str:
    nbformat.write(v4.new_notebook(cells=list(cells)), folder / "weekly_report.ipynb")
    export(folder / "weekly_report.ipynb", folder / "weekly_report.html", **options)
    return (folder / "weekly_report.html").read_text(encoding="utf-8")


def test_sections_are_regions_named_by_their_headings(tmp_path: Path) -> None:
    head = '<div class="sk-head"><p class="sk-section-name">Money</p><h2>It &amp; paid</h2></div>'
    text = written(
        tmp_path,
        section("masthead", html("<header><h1>Title</h1></header>")),
        section("trust", html('<section class="sk-trust" id="trust"><h2>Rests on</h2></section>')),
        section("hidden", html("<p>unseen</p>"), shown=False),
        section("statement", shown({CLAIM: {"headline": "unseen claim"}, "text/plain": "unseen claim"})),
        section("money", html(head), shown(bars(title="It & paid")), html("<p>x</p>")),
        section("more", shown(bars(title="Four rose"))),
        section("rows", html("<table></table>")),
        section("later", html("<h2>Two</h2>"), shown(bars()), shown(bars(title="Three rose"))),
    )
    names = re.findall(r'<[^>]*\sid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert 'id="masthead"' in text.split("<main")[0], "the head of the page stands before its main content"
    assert '<section class="sk-section sk-grid" id="trust" aria-labelledby="trust-name">' in text
    assert '<section class="sk-section sk-grid" id="money" aria-labelledby="money-name">' in text
    assert '<h2 id="money-name">It &amp; paid</h2>' in text
    assert 'sk-figure-title">It' not in text, "a figure does not repeat the heading of its section"
    assert text.count('<h3 class="sk-figure-title"') == 3, "figures of one section have headings below its own"
    assert 'id="more" aria-labelledby="more-name" data-folds' in text
    assert '<h3 class="sk-figure-title" id="more-name">Four rose</h3>' in text, "a figure alone names its region"
    assert '<div class="sk-section sk-grid" id="rows" data-folds>' in text, "what has no name is no region"
    assert 'id="later" aria-labelledby="later-name" data-folds' in text
    assert text.count(" data-folds>") == 3, "a phone shows everything up to the money"
    assert "unseen" not in text
    assert 'id="statement"' not in text, "nor an empty region"
    assert SECTION not in text


@pytest.mark.parametrize(
    ("names", "law"),
    [
        (("effect", "effect"), "shows the section 'effect' again"),
        (("no name",), "shows the section 'no name'; one cell"),
    ],
)
def test_sections_without_a_name_of_their_own_are_refused(names: tuple[str, ...], law: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=law):
        written(tmp_path, *(section(name, *[html("<p>x</p>")] * n) for n, name in enumerate(names, 1)))


def test_the_foot_says_what_the_page_was_made_from(tmp_path: Path) -> None:
    about = {
        "parameters": {"data": "someone/sample", "week": "2025-W30", "api_token": "s3cret", "role": None},
        "data": [{"table": "orders", "name": "a.parquet", "bytes": 2_000_000, "sha256": "ab", "rows": 1200}],
        "plan": "6277f524fd58aa",
        "notebook": {"name": "weekly_report.ipynb", "sha256": "0123456789abcdef"},
        "git": {"commit": "fedcba9876543210", "dirty": True},
        "python": "3.11.7",
        "packages": {"altair": "6.3.0"},
        "run_id": "20260101T000000Z-ffff",
        "started": "2026-01-01T00:00:00Z",
        "seconds": 5.1,
    }
    text = written(tmp_path, section("effect", html("<p>x</p>")), about=about)
    foot = text.split("</main>")[1]
    for told in ("data = sample", "api_token = [redacted]", "1 file, 2.0 MB", "rows read: 1,200", "6277f524fd58<"):
        assert told in foot
    for told in ("0123456789ab<", "commit fedcba987654, with changes", "python 3.11.7 · altair 6.3.0"):
        assert told in foot
    assert not re.search("someone|s3cret|20260101|2026-01|role", text.split("</style>")[1])
    moved = {**about, "data": [{**about["data"][0], "name": "b.parquet"}], "run_id": "other", "seconds": 9.0}
    assert written(tmp_path, section("effect", html("<p>x</p>")), about=moved) == text


PEOPLE = {
    "block": (html("<p>led by M0017.</p>"), "cell 1 names 1 merchants, buyers or orders of the data set, such as M0…"),
    "alt": (shown(bars(description="Mostly M0017 and b&o-9")), r"chart 1 \(Two rose\) names 2 merchants"),
    "data": (
        shown(
            charts.figure(alt.Chart(pd.DataFrame({"n": [1], "x": ["b&o-9"]})).mark_bar(), title="T", description="D")
        ),
        r"chart 1 \(T\) names 1 merchants",
    ),
    "column": (
        shown(charts.figure(alt.Chart(pd.DataFrame({"buyer_id": [7]})).mark_bar(), title="T", description="D")),
        r"chart 1 \(T\) has a column 'buyer_id'",
    ),
    "table": (shown(bars(table=pd.DataFrame({"merchant_id": ["x"]}))), "has a column 'merchant_id'"),
    "frame": (html(pd.DataFrame({"order_id": [1]})._repr_html_()), "cell 1 has a column 'order_id'"),
}


@pytest.mark.parametrize("case", PEOPLE)
def test_a_page_that_names_people_is_refused(case: str, tmp_path: Path) -> None:
    output, law = PEOPLE[case]
    with pytest.raises(ExportError, match=law):
        written(tmp_path, v4.new_code_cell("x", outputs=[output], execution_count=1), never={"M0017", "b&o-9", "3"})


def test_figures_that_look_like_ids_are_not_ids(tmp_path: Path) -> None:
    told = html("<p>3 of 455 merchants; M0017b; xM0017; the column merchant_id</p>")
    assert written(tmp_path, v4.new_code_cell("x", outputs=[told], execution_count=1), never={"M0017", "3", "455"})


def test_the_data_are_asked_for_ids(tmp_path: Path, sample: Path) -> None:
    ask = ids_of(sk.open_dataset(sample))
    for told, law in (
        ("buyer b0004989", "such as b0…"),
        ("order (o00000001)", "such as o0…"),
        ("m00001,", "such as m0…"),
    ):
        cell = v4.new_code_cell("x", outputs=[html(f"<p>{told} of 100000</p>")], execution_count=1)
        with pytest.raises(ExportError, match=law):
            written(tmp_path, cell, never=ask)
    clean = v4.new_code_cell("x", outputs=[html("<p>GMV of 270 merchants, o0000000, 10</p>")], execution_count=1)
    assert written(tmp_path, clean, never=ask)
    assert ids_of(sk.open_dataset(sample))([]) == set()


def test_ids_with_marks_in_them_are_found(tmp_path: Path) -> None:
    ids = {"shop-17", "a.b/c", "旗舰店", "x y 9"}
    for name in sorted(ids):
        cell = v4.new_code_cell("x", outputs=[html(f"<p>by {name}.</p>")], execution_count=1)
        with pytest.raises(ExportError, match="cell 1 names 1 merchants"):
            written(tmp_path, cell, never=ids)
    with pytest.raises(ExportError, match="cell 1 names 1 merchants"):
        written(
            tmp_path,
            v4.new_code_cell("x", outputs=[html("<p>by shop-17</p>")], execution_count=1),
            never=ids.intersection,
        )


def test_pictures_drawn_ahead_are_the_same(tmp_path: Path) -> None:
    alone = written(tmp_path, v4.new_code_cell("x", outputs=[shown(bars())], execution_count=1, id="b0"))
    with Pictures(workers=1) as pictures:
        pictures.draw_soon(renderer(bars().to_dict())[CHART])
        cell = v4.new_code_cell("x", outputs=[shown(bars())], execution_count=1, id="b0")
        assert written(tmp_path, cell, pictures=pictures) == alone


def test_a_killed_process_of_pictures_is_told(tmp_path: Path) -> None:
    with Pictures(workers=1) as pictures:
        pictures.get({"mark": "point", "data": {"values": []}})
        pictures._processes[0].kill()
        cell = v4.new_code_cell("x", outputs=[shown(bars())], execution_count=1)
        with pytest.raises(ExportError, match=r"chart 1 .*the process that draws charts was killed; free memory"):
            written(tmp_path, cell, pictures=pictures)


def test_no_worker_is_refused() -> None:
    with pytest.raises(ParameterError, match="workers must be at least 1, not 0"):
        Pictures(workers=0)
