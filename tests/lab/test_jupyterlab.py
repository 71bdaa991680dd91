"""The analyst's notebook runs in a real JupyterLab, and its charts are drawn without internet."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Route

pytestmark = [pytest.mark.browser, pytest.mark.lab]
TOKEN = "only-for-this-test"  # a server on loopback that lives for one test
SECONDS = 60


@pytest.fixture
def lab(root: Path, tmp_path: Path) -> Iterator[str]:
    """Serve a copy of notebooks/ and data/sample on loopback; yield the address."""
    shutil.copytree(root / "notebooks", tmp_path / "notebooks")
    shutil.copytree(root / "data" / "sample", tmp_path / "data" / "sample")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={tmp_path}", "--expose-app-in-browser",
        "--ServerApp.port_retries=0", "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    home = {**os.environ, "HOME": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=home)
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


def test_explore_runs_in_jupyterlab_and_draws_offline(lab: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 9000})
    outside: list[str] = []

    def only_loopback(route: Route) -> None:
        if route.request.url.startswith((lab, "data:", "blob:")):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    page.route("**/*", only_loopback)
    page.goto(f"{lab}/lab/tree/notebooks/explore.ipynb?token={TOKEN}")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=SECONDS * 1000)
    page.wait_for_function("window.jupyterapp?.commands.hasCommand('runmenu:run-all')", timeout=SECONDS * 1000)
    idle = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    page.wait_for_function(idle, timeout=SECONDS * 1000)
    page.evaluate("void window.jupyterapp.commands.execute('runmenu:run-all')")
    page.wait_for_function(
        "[...document.querySelectorAll('.jp-RenderedVegaCommon5')].filter(e => e.querySelector('canvas, svg')).length === 3",
        timeout=SECONDS * 1000,
    )
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator(".jp-RenderedHTMLCommon table").count() >= 3
    drawn = page.locator(".jp-RenderedVegaCommon5 canvas").first.bounding_box()
    assert drawn is not None
    assert drawn["width"] > 300  # a drawn chart, not an empty box
    assert outside == []
    page.close()
