"""Make reports/sample_page.html from data/sample, and the picture of its first screen that the README shows."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import strategy_kit as sk

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURE = ROOT / "reports" / "sample_page.html", ROOT / "docs" / "report.png"


def main() -> None:
    """Run the weekly report on the sample market and photograph it in Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        run = sk.report.run("weekly_report", data="data/sample", out=folder)
        shutil.copyfile(run.html, PAGE)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 1200, "height": 900})
        tab.goto(PAGE.as_uri())
        tab.wait_for_function("document.documentElement.dataset.charts === 'done'")
        tab.screenshot(path=PICTURE)
        chromium.close()
    print(run.headline)


if __name__ == "__main__":
    main()
