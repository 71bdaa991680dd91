"""One offline HTML page from an executed notebook: no request, strict policy, charts also without scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import ExitStack
from functools import cache
from html import escape, unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import ExportError, refuse
from strategy_kit.report.origin import origin
from strategy_kit.report.pictures import WIDTHS, Pictures, bare, replace, slim
from strategy_kit.report.sections import SECTION
from strategy_kit.report.verification import MOST_BYTES, named, verify
from strategy_kit.report.words import Words, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nbconvert.exporters import TemplateExporter
    from nbformat import NotebookNode

    from strategy_kit.report.verification import Never

__all__ = ["CHART", "CLAIM", "MOST_BYTES", "export"]

CHART = "application/vnd.vegalite.v5+json"
CLAIM = "application/vnd.strategy-kit.claim+json"
PRIORITY = [CHART, "text/html", "text/markdown", "text/plain"]
HERE = Path(__file__).parent
LANGUAGES = {"zh": "zh-Hans"}
_LONG_PAGE = 6  # sections, from which on a page lists them
_FOLDED_AFTER = "money"  # what a phone shows unfolded: the decision, what it rests on, the effect and the money
_FIRST_SCREEN = ("masthead", "decision", "points")
_POLICY = "the policy is set here"
_HEADING = re.compile(r"<(h[12])\b([^>]*)>(.*?)</\1>", re.DOTALL)


def export(
    notebook: Path,
    html: Path,
    *,
    pictures: Pictures | None = None,
    about: Mapping[str, Any] | None = None,
    never: Never = (),
) -> None:
    """Write the outputs of an executed notebook as one page that opens anywhere, without a network.

    Code is left out; a chart is embedded as specification, as picture for viewers that run no scripts, and
    as table. The same notebook gives the same bytes. `html` is replaced in one step, and only by a page
    that passed the verification.

    Parameters
    ----------
    pictures
        Where charts are drawn, or were already while the notebook ran; made for this page by default.
    about
        What the page was made from, as the run's manifest holds it: parameters, data, plan, notebook, git,
        packages. Printed at its foot in the page's language; of the clock and of folders nothing is.
    never
        Ids of merchants, buyers or orders that no reader may see, or a function that says which of many words
        are ids, such as `verification.ids_of(shop)`.

    Raises
    ------
    ExportError
        Naming everything at once: failed cells, charts without a description or that cannot be drawn,
        pictures, references to anything outside the page, foreign scripts, an empty or too large page.
    """
    import nbformat

    nb = nbformat.read(notebook, as_version=4)
    say = Words("zh" if _language(nb).startswith("zh") else "en")
    laws = list(_unfit(nb))
    sections = _take_sections(nb)
    laws += _misnamed(sections)
    claims = [o.data[CLAIM] for cell in nb.cells for o in cell.get("outputs", []) if CLAIM in o.get("data", {})]
    charts = _keep_visible(nb)
    if not any(cell.get("outputs") for cell in nb.cells):
        laws.append("no cell has an output to show; run the notebook first.")
    _name(nb, sections, charts)
    with ExitStack() as own:
        drawn = pictures or own.enter_context(Pictures())
        for chart in charts:
            drawn.draw_soon(chart["spec"])
        laws += [law for chart in charts if (law := _draw(chart, drawn))]
        scripts = _scripts(drawn) if charts else {}
    words = {"skip": say("skip"), "contents": say("on_this_page"), "save": say("save_picture")}
    parts = {"charts": charts, "sections": sections, "scripts": scripts, "words": words}
    parts |= {"stem": notebook.stem, "origin": origin(about, say) if about else ""}
    page = _render(nb, parts)
    laws += verify(page, charts, own_scripts=int(bool(scripts)))
    places = _places(nb, charts) | {"the foot of the page": str(parts["origin"])}
    places |= {f"claim {number}": json.dumps(claim, ensure_ascii=False) for number, claim in enumerate(claims, 1)}
    laws += named(places, never)
    refuse(ExportError, notebook.name, laws)
    html.parent.mkdir(parents=True, exist_ok=True)
    replace(html, page)


def ready() -> None:
    """Load what every page is made with, so that an export that follows finds it loaded."""
    catalogue()
    _ = _exporter().template


def _unfit(nb: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(nb.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {number} failed with {output.ename}: {output.evalue}; only good runs are published."
            elif any(mime.startswith("image/") for mime in output.get("data", {})):
                yield f"cell {number} shows a picture, which carries no words; use strategy_kit.charts."


def _take_sections(nb: NotebookNode) -> list[dict[str, Any]]:
    """Take the markers out of the cells; a section that is not shown takes its cell's outputs along."""
    sections: list[dict[str, Any]] = []
    for number, cell in enumerate(nb.cells, 1):
        markers = [dict(o.data[SECTION]) for o in cell.get("outputs", []) if SECTION in o.get("data", {})]
        if markers:
            cell.outputs = [output for output in cell.outputs if SECTION not in output.get("data", {})]
            cell.outputs *= any(marker.get("shown", True) for marker in markers)
            cell.metadata["sk_section"] = len(sections)
            names = " and ".join(str(marker.get("name")) for marker in markers)
            listed = names not in _FIRST_SCREEN
            shown = any(_visible(output.get("data", {})) for output in cell.outputs)
            sections.append({"cell": number, "name": names, "listed": listed, "shown": shown})
    for after, section in enumerate(sections):
        section["folds"] = _FOLDED_AFTER in [earlier["name"] for earlier in sections[:after]]
    return sections


def _misnamed(sections: list[dict[str, Any]]) -> Iterator[str]:
    names = [section["name"] for section in sections]
    for at, section in enumerate(sections):
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", section["name"]):
            yield f"cell {section['cell']} shows the section {section['name']!r}; one cell shows one, in plain letters."
        elif section["name"] in names[:at]:
            yield f"cell {section['cell']} shows the section {section['name']!r} again; show it once."


def _keep_visible(nb: NotebookNode) -> list[dict[str, Any]]:
    """Drop the outputs that readers do not see; return the charts in order."""
    charts: list[dict[str, Any]] = []
    for cell in (cell for cell in nb.cells if cell.cell_type == "code"):
        cell.outputs = [output for output in cell.outputs if _visible(output.get("data", {}))]
        for output in (output for output in cell.outputs if CHART in output.data):
            charts.append(_chart(dict(output.data[CHART]), len(charts) + 1))
            output.data, output.metadata["sk_chart"] = (
                {CHART: ""},
                len(charts) - 1,
            )  # the template takes the chart from these
    return charts


def _visible(data: dict[str, Any]) -> bool:
    return CLAIM not in data and bool(str(next((data[mime] for mime in PRIORITY if mime in data), "")).strip())


def _chart(spec: dict[str, Any], number: int) -> dict[str, Any]:
    """Take the words out of a specification; the page sets them as text."""
    given = spec.get("title") or {}
    title: dict[str, Any] = dict(given) if isinstance(given, dict) else {"text": given}
    lines = {"title": title.get("text", ""), "subtitle": title.get("subtitle", "")}
    words: dict[str, Any] = {name: line if isinstance(line, str) else " ".join(line) for name, line in lines.items()}
    words |= spec.get("usermeta", {}).get("strategy_kit", {})
    told = str(spec.get("description") or "").strip()
    chart = {"number": number, "spec": spec, "json": _inert(bare(spec)), "description": told, "pictures": []}
    rows = (words.get("table") or {}).get("rows") or []
    numeric = [all(map(_numeric, filter(None, cells))) for cells in zip(*rows, strict=True)]
    return {**words, **chart, "level": "p", "titled": True, "numeric": numeric}


def _inert(spec: dict[str, Any]) -> str:
    """Write a specification as JSON that no parser of HTML can take for a tag."""
    safe = json.dumps(spec, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for letter in "<>&\u2028\u2029":
        safe = safe.replace(letter, f"\\u{ord(letter):04x}")
    return safe


def _name(nb: NotebookNode, sections: list[dict[str, Any]], charts: list[dict[str, Any]]) -> None:
    """Give each section its heading's id as label, and its figures headings below that where there are several.

    A section that continues the one before has no heading of its own: its figure's is its label.
    """
    for cell in (cell for cell in nb.cells if cell.get("outputs") and "sk_section" in cell.metadata):
        section = sections[cell.metadata["sk_section"]]
        label = f"{section['name']}-name"
        texts: list[str] = []
        for block in (output for output in cell.outputs if "text/html" in output.data):
            html = re.sub(rf'(<[^>]*?) id="{re.escape(section["name"])}"', r"\1", block.data["text/html"], count=1)
            if not texts and (heading := _HEADING.search(html)):
                tag, attributes, words = heading.groups()
                html = html.replace(heading[0], f'<{tag}{attributes} id="{label}">{words}</{tag}>', 1)
                short = re.search(r'class="sk-section-name"[^>]*>(.*?)<', html)
                texts = [_text(words)]
                section |= {"label": label, "short": _text(short[1]) if short else texts[0]}
            block.data["text/html"] = html
        own = [charts[output.metadata["sk_chart"]] for output in cell.outputs if "sk_chart" in output.metadata]
        for chart in own:
            chart |= {"level": "h3" if len(own) > 1 or not texts else "p", "titled": chart["title"] not in texts}
        if own and not texts:
            section["label"] = own[0]["label"] = label


def _text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def _draw(chart: dict[str, Any], pictures: Pictures) -> str | None:
    """Take the chart's pictures for a wide and a narrow page; return what is wrong with it, if anything."""
    name = _called(chart)
    if not chart["description"]:
        return f"{name} has no description; set it with strategy_kit.charts.figure."
    try:
        drawn = pictures.get(chart["spec"])
    except ExportError as problem:
        return f"{name} cannot be drawn: {problem}."
    chart["pictures"] = [slim(svg, f"c{chart['number']}w{width}-") for svg, width in zip(drawn, WIDTHS, strict=True)]
    return None


def _called(chart: Mapping[str, Any]) -> str:
    return f"chart {chart['number']} ({chart['title'] or 'no title'})"


def _places(nb: NotebookNode, charts: list[dict[str, Any]]) -> dict[str, str]:
    """All that the page tells its readers, by the name of the place."""
    places = {"the page's title": _title(nb, "")}
    for number, cell in enumerate(nb.cells, 1):
        shown = [output.data for output in cell.get("outputs", []) if CHART not in output.data]
        told = [str(next(data[mime] for mime in PRIORITY if mime in data)) for data in shown]
        places[f"cell {number}"] = "\n".join(told + [cell.source] * (cell.cell_type == "markdown"))
    for chart in charts:
        words = {name: chart.get(name) for name in ("title", "subtitle", "caption", "description", "table")}
        heads = "".join(f"<th>{escape(name)}</th>" for name in (chart.get("table") or {}).get("columns", []))
        told = [json.dumps(told, ensure_ascii=False) for told in (bare(chart["spec"]), words)]
        places[_called(chart)] = heads + "".join(told)
    return places


def _scripts(pictures: Pictures) -> dict[str, str]:
    """The page's own script, and Vega: packed, so that a browser reads it only for whom it is wanted."""
    script, packed = pictures.script()
    drawing = "(()=>{" + (HERE / "page.js").read_text(encoding="utf-8") + "})();"
    return {"drawing": drawing, "packed": packed, "vega": script}


def _render(nb: NotebookNode, parts: dict[str, Any]) -> str:
    style = (HERE / "style.css").read_text(encoding="utf-8")
    _lay_out(nb, parts["sections"])
    page = {**parts, "policy": _POLICY, "language": _language(nb), "title": _title(nb, parts["stem"]), "style": style}
    html, _ = _exporter().from_notebook_node(nb, resources={"page": page})
    return str(html).replace(_POLICY, _policy(html, parts["scripts"]), 1)


@cache
def _exporter() -> TemplateExporter:
    from jinja2 import FileSystemLoader
    from nbconvert.exporters import TemplateExporter
    from traitlets.config import Config

    return TemplateExporter(
        config=Config({"NbConvertBase": {"display_data_priority": PRIORITY}}),
        file_extension=".html",
        template_name="base",
        template_file="page.html.j2",
        extra_loaders=[FileSystemLoader(HERE)],
        filters={"markdown": _markdown(), "span": _span, "numeric": _numeric},
        exclude_input=True,
        default_preprocessors=["nbconvert.preprocessors.CoalesceStreamsPreprocessor"],
    )


def _lay_out(nb: NotebookNode, sections: list[dict[str, Any]]) -> None:
    """Say before which cell the main content begins, after which the list of sections stands, and what is set in columns."""
    seen = [cell for cell in nb.cells if cell.get("outputs") or (cell.cell_type == "markdown" and cell.source.strip())]
    called = [sections[cell.metadata["sk_section"]]["name"] if "sk_section" in cell.metadata else "" for cell in seen]
    if main := seen[called[:1] == ["masthead"] :]:
        main[0].metadata["sk_main"] = True
    if sum("short" in section for section in sections) > _LONG_PAGE and "points" in called:
        seen[called.index("points")].metadata["sk_contents"] = True
    ahead = called.index("effect") + 1 if "effect" in called else len(called)
    last = called.index("provenance") if "provenance" in called else -1
    if ahead < last:
        seen[ahead].metadata["sk_columns"], seen[last].metadata["sk_columns"] = "open", "close"


def _policy(html: str, scripts: Mapping[str, str]) -> str:
    """Allow the page's own scripts and styles, by their hashes, and nothing else."""
    styles = [_hash(style) for style in re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL)]
    inline = sorted({_hash(unescape(style)) for style in re.findall(r'<[^>]+\sstyle="([^"]*)"', html)})
    styles += ["'unsafe-hashes'", *inline] * bool(inline)
    allowed = [_hash(scripts[name]) for name in ("drawing", "vega") if name in scripts] or ["'none'"]
    return (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src {' '.join(styles)}; img-src data:; "
        "font-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _markdown() -> Callable[[str], str]:
    from latex2mathml.converter import convert
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return str(convert(body, display="block"))

        def inline_math(self, body: str) -> str:
            return str(convert(body))

        def latex_environment(self, name: str, body: str) -> str:
            return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    return lambda text: MarkdownWithMath(Renderer(escape=False, exclude_anchor_links=True)).render(text)


def _span(html: str) -> str:
    """Class that lets an output use the rail as well, when its root asks for it."""
    root = re.match(r'\s*<\w+[^>]*\bclass="([^"]*)"', html)
    return " sk-span" if root and {"sk-wide", "sk-head"} & set(root[1].split()) else ""


def _numeric(cell: str) -> bool:
    return bool(re.match(r"[+−-]?[^\w\s]?\d", cell))


def _language(nb: NotebookNode) -> str:
    """Language of the run's parameters, else of the declared ones, else English."""
    given = nb.metadata.get("papermill", {}).get("parameters", {}).get("language")
    tagged = "\n".join(cell.source for cell in nb.cells if "parameters" in cell.metadata.get("tags", []))
    declared = re.search(r"""^language\b[^=\n]*=\s*["']([\w-]+)["']""", tagged, re.MULTILINE)
    language = str(given or (declared[1] if declared else "en"))
    return LANGUAGES.get(language, re.sub(r"[^\w-]", "", language))


def _title(nb: NotebookNode, stem: str) -> str:
    """Text of the first heading, else what the notebook's metadata says, else its file name."""
    for cell in nb.cells:
        words = cell.source if cell.cell_type == "markdown" else ""
        if heading := re.search(r"^#\s+(.+?)\s*$", words, re.MULTILINE):
            return re.sub(r"[*_`]", "", heading[1])
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            if found := re.search(r"<h1\b[^>]*>(.*?)</h1>", html, re.DOTALL):
                return " ".join(unescape(re.sub(r"<[^>]+>", "", found[1])).split())
    return str(nb.metadata.get("strategy_kit", {}).get("title") or nb.metadata.get("title") or stem)
