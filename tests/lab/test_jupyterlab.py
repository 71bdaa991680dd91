"""Every notebook opens and runs in a real JupyterLab, and its charts are drawn without internet."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strategy_kit.report.new import new_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.lab]
TOKEN = "only-for-this-test"  # a server on loopback that lives as long as these tests
SECONDS = 60
OWN = "refunds_by_size"
KIT = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))

PANEL = "window.jupyterapp.shell.currentWidget"
CELLS = f"""[...{PANEL}.content.model.cells].map(cell => cell.toJSON())
  .filter(cell => cell.cell_type === 'code' && [cell.source].flat().join('').trim())"""
BOXES = f"""[...{PANEL}.node.querySelectorAll('.jp-RenderedVegaCommon5')].map(found => {{
  const box = found.querySelector('canvas, svg')?.getBoundingClientRect();
  return box ? [box.width, box.height] : [0, 0];
}})"""
CHROME = """[...document.querySelectorAll('.jp-SideBar, .jp-NotebookPanel-toolbar, #jp-top-panel, .jp-InputArea-editor')]
  .map(found => getComputedStyle(found)).map(style => [style.fontFamily, style.fontSize, style.color].join('|'))"""
SPILT = f"""[...{PANEL}.node.querySelectorAll('.jp-OutputArea-output')].filter(found =>
  found.scrollWidth > found.clientWidth + 1 && getComputedStyle(found).overflowX === 'visible').length"""
LOOKS = f"""[...{PANEL}.node.querySelectorAll('[class^="sk-"]')].filter(found => found.parentElement
  .closest('.jp-OutputArea-output') === found.parentElement).map(found => getComputedStyle(found).fontFamily)"""


@pytest.fixture(scope="module")
def lab(root: Path, whole_market: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve copies of notebooks/, a market in the place of data/sample, and a new notebook, on loopback; yield the address."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(root / "notebooks", home / "notebooks")
    shutil.copytree(whole_market, home / "data" / "sample")
    new_notebook(OWN, home / "notebooks")
    # all cells are laid out, however far down they stand; otherwise Lab draws those in view
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}', encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home}", "--expose-app-in-browser",
        "--ServerApp.port_retries=0", "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    environment = {**os.environ, "HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config")}
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=20)


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, "JupyterLab stopped"
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310  # loopback
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("JupyterLab did not answer")


@pytest.fixture(scope="module")
def desk(lab: str, browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """Open JupyterLab with everything but loopback blocked; yield it and the list of what was blocked."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    outside: list[str] = []

    def only_loopback(route: Route) -> None:
        if route.request.url.startswith((lab, "data:", "blob:")):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    page.set_default_timeout(SECONDS * 1000)
    page.route("**/*", only_loopback)
    page.goto(f"{lab}/lab?token={TOKEN}")
    page.wait_for_function("window.jupyterapp?.commands.hasCommand('notebook:run-all-cells')")
    page.evaluate("window.jupyterapp.restored.then(() => true)")
    yield page, outside
    page.close()


def opened(page: Page, name: str) -> None:
    """Open a notebook; wait for its kernel."""
    page.evaluate(f"void window.jupyterapp.commands.execute('docmanager:open', {{path: 'notebooks/{name}.ipynb'}})")
    page.wait_for_function(f"{PANEL}?.context?.path === 'notebooks/{name}.ipynb'")
    page.wait_for_function(f"{PANEL}.sessionContext?.session?.kernel?.status === 'idle'")


def run_all(page: Page) -> list[dict[str, Any]]:
    """Run all cells as the menu does; return the code cells once every one has run and every chart is drawn."""
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)")
    cells: list[dict[str, Any]] = page.evaluate(CELLS)
    charts = sum("application/vnd.vegalite.v5+json" in output.get("data", {}) for c in cells for output in c["outputs"])
    page.wait_for_function(f"{BOXES}.filter(([width, height]) => width > 300 && height > 40).length === {charts}")
    return cells


def photographed(page: Page, name: str) -> None:
    """Leave a picture of the notebook in the folder that the environment names, if any, for people to look at."""
    if folder := os.environ.get("STRATEGY_KIT_PICTURES"):
        height = page.evaluate(f"{PANEL}.node.querySelector('.jp-WindowedPanel-outer').scrollHeight")
        page.set_viewport_size({"width": 1400, "height": min(int(height) + 200, 16_000)})
        page.evaluate(f"{PANEL}.node.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
        page.wait_for_timeout(500)
        page.screenshot(path=f"{folder}/{name}.png")
        page.set_viewport_size({"width": 1400, "height": 1000})


@pytest.mark.parametrize("name", [*KIT, OWN])
def test_every_notebook_runs_in_jupyterlab_and_draws_offline(desk: tuple[Page, list[str]], name: str) -> None:
    page, outside = desk
    opened(page, name)
    try:
        before = page.evaluate(CHROME)
        cells = run_all(page)
        photographed(page, name)
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
        kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
        assert "error" not in kinds
        assert "display_data" in kinds
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.evaluate(BOXES), "a notebook without a chart"
        assert page.evaluate(SPILT) == 0, "an output is wider than its place"
        assert set(page.evaluate(CHROME)) == set(before), "the style of our blocks reaches Lab's own"
        fonts = page.evaluate(LOOKS)
        assert name == "explore" or (fonts and all("Noto Sans CJK SC" in font for font in fonts))
        assert outside == []
    finally:
        page.evaluate(f"{PANEL}.sessionContext.shutdown().then(() => {{ {PANEL}.dispose(); }})")


def test_a_request_to_the_outside_is_seen_and_blocked(desk: tuple[Page, list[str]]) -> None:
    page, outside = desk
    page.evaluate("fetch('https://cdn.invalid/vega.js').catch(() => 0)")
    assert outside.pop() == "https://cdn.invalid/vega.js"
