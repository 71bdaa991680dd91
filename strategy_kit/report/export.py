"""One offline HTML page from an executed notebook: no request, strict policy, charts also without scripts."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from contextlib import ExitStack
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import ExportError, refuse
from strategy_kit.report.pictures import WIDTHS, Pictures, replace, slim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from nbformat import NotebookNode

CHART = "application/vnd.vegalite.v5+json"
CLAIM = "application/vnd.strategy-kit.claim+json"
PRIORITY = [CHART, "text/html", "text/markdown", "text/plain"]
MOST_BYTES = 2_000_000
HERE = Path(__file__).parent
LANGUAGES = {"zh": "zh-Hans"}


def export(
    notebook: Path,
    html: Path,
    *,
    pictures: Pictures | None = None,
    about: Mapping[str, Any] | None = None,  # noqa: ARG001
    never: Collection[str] = (),  # noqa: ARG001
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
        Ids of merchants, buyers or orders that no reader may see.

    Raises
    ------
    ExportError
        Naming everything at once: failed cells, charts without a description or that cannot be drawn,
        pictures, references to anything outside the page, foreign scripts, an empty or too large page.
    """
    import nbformat

    nb = nbformat.read(notebook, as_version=4)
    laws = list(_unfit(nb))
    charts = _keep_visible(nb)
    if not any(cell.get("outputs") for cell in nb.cells):
        laws.append("no cell has an output to show; run the notebook first.")
    with ExitStack() as own:
        drawn = pictures or own.enter_context(Pictures())
        for chart in charts:
            drawn.draw_soon(chart["spec"])
        laws += [law for chart in charts if (law := _draw(chart, drawn))]
        page = _render(nb, notebook.stem, charts, drawn.script()[0] if charts else "")
    refuse(ExportError, notebook.name, laws + _verify(page, charts))
    html.parent.mkdir(parents=True, exist_ok=True)
    replace(html, page)


def _unfit(nb: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(nb.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {number} failed with {output.ename}: {output.evalue}; only good runs are published."
            elif any(mime.startswith("image/") for mime in output.get("data", {})):
                yield f"cell {number} shows a picture, which carries no words; use strategy_kit.charts."


def _keep_visible(nb: NotebookNode) -> list[dict[str, Any]]:
    """Drop the outputs that readers do not see; return the charts in order."""
    charts: list[dict[str, Any]] = []
    for cell in (cell for cell in nb.cells if cell.cell_type == "code"):
        cell.outputs = [output for output in cell.outputs if _visible(output.get("data", {}))]
        for output in (output for output in cell.outputs if CHART in output.data):
            charts.append(_chart(copy.deepcopy(dict(output.data[CHART])), len(charts) + 1))
            output.metadata["sk_chart"] = len(charts) - 1
    return charts


def _visible(data: dict[str, Any]) -> bool:
    return CLAIM not in data and bool(str(next((data[mime] for mime in PRIORITY if mime in data), "")).strip())


def _chart(spec: dict[str, Any], number: int) -> dict[str, Any]:
    """Take the words out of a specification; the page sets them as text."""
    title = spec.pop("title", None) or {}
    title = title if isinstance(title, dict) else {"text": title}
    lines = {"title": title.get("text", ""), "subtitle": title.get("subtitle", "")}
    words = {name: line if isinstance(line, str) else " ".join(line) for name, line in lines.items()}
    words |= spec.pop("usermeta", {}).get("strategy_kit", {})
    spec.pop("$schema", None)
    safe = json.dumps(spec, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for letter in "<>&\u2028\u2029":
        safe = safe.replace(letter, f"\\u{ord(letter):04x}")
    told = str(spec.get("description") or "").strip()
    return {**words, "number": number, "spec": spec, "json": safe, "description": told, "pictures": []}


def _draw(chart: dict[str, Any], pictures: Pictures) -> str | None:
    """Take the chart's pictures for a wide and a narrow page; return what is wrong with it, if anything."""
    name = f"chart {chart['number']} ({chart['title'] or 'no title'})"
    if not chart["description"]:
        return f"{name} has no description; set it with strategy_kit.charts.figure."
    try:
        drawn = pictures.get(chart["spec"])
    except ExportError as problem:
        return f"{name} cannot be drawn: {problem}."
    chart["pictures"] = [slim(svg, f"c{chart['number']}w{width}-") for svg, width in zip(drawn, WIDTHS, strict=True)]
    return None


def _render(nb: NotebookNode, stem: str, charts: list[dict[str, Any]], bundle: str) -> str:
    from jinja2 import FileSystemLoader
    from nbconvert.exporters import TemplateExporter
    from traitlets.config import Config

    style, drawing = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    scripts = [bundle, "(()=>{" + drawing + "})();"] if charts else []
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "font-src 'none'; base-uri 'none'; form-action 'none'"
    )
    page: dict[str, Any] = {"language": _language(nb), "title": _title(nb, stem), "policy": policy, "style": style}
    exporter = TemplateExporter(
        config=Config({"NbConvertBase": {"display_data_priority": PRIORITY}}),
        file_extension=".html",
        template_name="base",
        template_file="page.html.j2",
        extra_loaders=[FileSystemLoader(HERE)],
        filters={"markdown": _markdown(), "span": _span, "numeric": _numeric},
        exclude_input=True,
    )
    page |= {"scripts": scripts, "charts": charts}
    html, _ = exporter.from_notebook_node(nb, resources={"page": page})
    return str(html)


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
        self.scripts += tag == "script" and values.get("type") != "application/json"
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


def _verify(page: str, charts: list[dict[str, Any]]) -> list[str]:
    reader = _Reader()
    reader.feed(page)
    laws = reader.laws
    if foreign := reader.scripts - 2 * bool(charts):
        laws.append(f"{foreign} scripts are not the page's own; outputs may hold none.")
    whole = sum(len(chart["pictures"]) == len(WIDTHS) for chart in charts)
    parts = ('class="sk-broad"><svg', 'class="sk-narrow"><svg', '<script type="application/json">{')
    laws += [f"a chart lacks its {part!r}." for part in parts if page.count(part) < whole]
    if (size := len(page.encode())) > MOST_BYTES:
        laws.append(f"the page has {size:,} bytes, more than {MOST_BYTES:,}; aggregate before charting.")
    return laws
