"""The weekly report, from data to the page in a browser that may reach nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import strategy_kit as sk
from strategy_kit.importers import import_olist
from strategy_kit.report import page, read_week
from strategy_kit.report.words import plain

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from strategy_kit.report import Run

OVERCLAIMS = ("increased", "effect of support is", "rose by", "fell by", "may have risen", "may have fallen")


@pytest.fixture(scope="module")
def english(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sk.report.run("weekly_report", data=sample, week="2025-W30", out=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def placebo(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("placebo")
    import_olist(shared / "data" / "olist", folder / "olist")
    return sk.report.run("weekly_report", data=folder / "olist", week="2018-W30", out=folder / "reports")


def opened(browser: Browser, html: Path, *, scripts: bool = True) -> tuple[Page, list[str], list[str]]:
    """Open a page with every request but the file itself aborted and recorded, and the console recorded."""
    context = browser.new_context(java_script_enabled=scripts, viewport={"width": 1200, "height": 900})
    tab = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    address = html.resolve().as_uri()
    tab.route("**/*", lambda route: route.continue_() if route.request.url == address else route.abort())
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    return tab, [url for url in asked if url != address], said


@pytest.mark.browser
@pytest.mark.parametrize("which", ["english", "placebo"])
def test_page_opens_offline_with_every_chart(which: str, browser: Browser, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(which)
    tab, asked, said = opened(browser, run.html)
    figures = tab.locator("figure.sk-chart").count()
    assert figures >= (
        10 if which == "english" else 4
    )  # the placebo has no support table, so no event study and no money
    assert tab.locator("figure.sk-chart .sk-broad svg:visible").count() == figures
    assert asked == []
    assert said == []
    assert tab.locator(".sk-verb").bounding_box()["y"] < 400  # type: ignore[index]  # the decision is on the first screen
    tab.context.close()


@pytest.mark.browser
def test_page_shows_its_charts_without_scripts(english: Run, browser: Browser) -> None:
    tab, asked, _ = opened(browser, english.html, scripts=False)
    pictures = tab.locator("figure.sk-chart .sk-broad svg")
    assert pictures.count() == tab.locator("figure.sk-chart").count() >= 10
    assert all(box.bounding_box()["width"] > 300 for box in pictures.all())  # type: ignore[index]
    assert asked == []
    tab.context.close()


def test_page_is_one_small_strict_file(english: Run) -> None:
    html = english.html.read_text(encoding="utf-8")
    assert len(html.encode()) < 2_000_000
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1].replace("&#39;", "'")
    assert not re.search(r"script-src[^;]*unsafe", policy[1])
    assert html.count('<script type="text/plain" id="vega">') == 1  # Vega once, packed


def test_headline_is_the_same_in_page_manifest_and_command(english: Run) -> None:
    manifest = json.loads(english.manifest.read_text(encoding="utf-8"))["reports"]["weekly_report"]
    shown = re.sub("<[^>]+>", "", english.html.read_text(encoding="utf-8"))
    assert english.headline
    assert manifest["headline"] == english.headline
    assert english.headline in shown


def test_synthetic_data_say_so_on_the_page_and_in_every_chart(english: Run) -> None:
    html = english.html.read_text(encoding="utf-8")
    assert 'class="sk-mark"><strong>Synthetic data' in html
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert (
        sum(caption.startswith("Synthetic data") for caption in captions)
        == html.count('<figure class="sk-chart"')
        >= 10
    )


def test_placebo_claims_nothing(placebo: Run) -> None:
    assert placebo.headline is not None
    assert "No pilot ran in this data set" in placebo.headline
    words = re.sub("<[^>]+>", " ", placebo.html.read_text(encoding="utf-8").split("<script")[0])
    assert "Cannot tell" in words
    assert "Placebo" in words
    assert not [claim for claim in OVERCLAIMS if claim in words]


def test_the_claim_follows_the_headline_interval_and_the_checks(sample: Path) -> None:
    reading = read_week(sk.open_dataset(sample), "2025-W30")
    low, high = reading.spread.interval(0.95)
    said = plain(page.headline(reading))
    capped = any(check.state == "limits" for check in reading.checks)
    assert ("rose by" in said) == (low > 0 and not capped)
    if low <= 0 <= high or capped:
        assert re.search("may have|no clear change", said)
    assert reading.claim.decision in ("hold", "stop") or not capped
    row = reading.contrast.tidy().iloc[0]
    assert reading.width is not None
    assert (reading.width.kind, reading.widening) == ("declared", reading.width.factor)
    half = (row["conf_high"] - row["conf_low"]) / 2 * reading.widening
    assert (low, high) == pytest.approx((row["estimate"] - half, row["estimate"] + half), rel=1e-12)  # the same t twice


def test_money_adds_up_to_the_sales_that_were_made(sample: Path) -> None:
    reading = read_week(sk.open_dataset(sample), "2025-W30")
    rows = reading.measures[reading.measures["pilot"] & reading.measures["week"].between("2025-05-19", "2025-07-21")]
    sold, gained = float(rows["gmv"].sum()), reading.money[1]
    ratio = sold / (sold - gained)  # actual over what would have been
    assert ratio == pytest.approx(2.718281828459045**reading.spread.estimate, rel=1e-12)  # one line of algebra


def test_the_committed_page_says_what_the_sample_says(root: Path, sample: Path) -> None:
    html = (root / "reports" / "sample_page.html").read_text(encoding="utf-8")
    assert plain(page.headline(read_week(sk.open_dataset(sample)))) in re.sub("<[^>]+>", "", html), "run `make sample`"


def test_the_analysts_notebook_runs_through_the_runner(sample: Path, tmp_path: Path) -> None:
    run = sk.report.run("explore", data=sample, out=tmp_path)
    html = run.html.read_text(encoding="utf-8")
    assert run.html == tmp_path / "sample" / "undated" / "explore.html"
    assert html.count('class="sk-chart"') == 5  # two by hand; contrast, panel and study show themselves
    assert run.headline is None


def test_runs_that_start_together_do_not_meet(sample: Path, tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-m", "strategy_kit.cli", "run", "explore", "--data", str(sample), "--out"]
    runs = [subprocess.Popen([*command, str(tmp_path / str(n))], cwd=root, stderr=subprocess.PIPE) for n in range(3)]
    said = [run.communicate(timeout=120)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    assert not [text for text in said if "Signature" in text]
