"""A data set whose every name holds what a page could trip over: the page shows it as text, and runs nothing."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import strategy_kit as sk

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from strategy_kit.report import Run

pytestmark = pytest.mark.slow
SCRIPT = "<script>document.title='run'</script>"
IMAGE = "</script><img src=x onerror=\"document.title='run'\">"
NAMES = (
    SCRIPT,
    f"\"quoted\" & 'single' {{{{x}}}} {{% raw %}} {{0}} {IMAGE}",
    "**strong** $x^2$ `code` [link](https://example.org) <!-- -->",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "\u202eright to left\u202c \u0627\u0644\u0645\u062a\u062c\u0631",
    "\U0001f9f5 \U0001f469\u200d\U0001f469\u200d\U0001f467 emoji",
    "ze\u200bro\u200dwidth\ufeff",
    "a\tb\\n %s %(x)s ${y}",
)
TEXTS = ("title", "source", "owner")
NOTEBOOKS = ("weekly_report", "kpi_review", "merchant_cohorts", "data_check")


@pytest.fixture(scope="module")
def hostile(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with its categories, levers, policies, merchants and words renamed."""
    folder = tmp_path_factory.mktemp("hostile") / "data"
    shutil.copytree(sample, folder, ignore=shutil.ignore_patterns("plan.seal", "truth.json"))
    merchants = pd.read_parquet(folder / "merchants.parquet")
    pilots = ["apparel", "beauty", "sports_outdoors"]
    others = [name for name in merchants["category"].unique() if name not in pilots]
    category = dict(zip(pilots + others, NAMES, strict=False))
    people = {old: f"{old}<b>'\"{NAMES[at % len(NAMES)]}" for at, old in enumerate(merchants["merchant_id"])}
    rename: dict[str, Any] = {"category": category, "merchant_id": people}
    for path in folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        for column in {"category", "merchant_id"} & set(frame.columns):
            frame[column] = frame[column].map(lambda old, known=rename[column]: known.get(old, old))
        for column in {"lever", "policy"} & set(frame.columns):
            known = {old: NAMES[at % len(NAMES)] for at, old in enumerate(frame[column].unique())}
            frame[column] = frame[column].map(known)
        frame.to_parquet(path)
    toml = (folder / "dataset.toml").read_text(encoding="utf-8")
    toml = toml.replace(json.dumps(pilots), json.dumps([category[name] for name in pilots], ensure_ascii=False))
    for at, key in enumerate(TEXTS):
        lines = [line for line in toml.splitlines() if line.startswith(f"{key} = ")]
        toml = toml.replace(lines[0], f"{key} = {json.dumps(NAMES[at] + NAMES[-1 - at], ensure_ascii=False)}")
    (folder / "dataset.toml").write_text(toml, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    out = tmp_path_factory.mktemp("out")
    return {name: sk.report.run(name, data=hostile, week="2025-W30", out=out) for name in NOTEBOOKS}


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_names_stay_text_and_run_nothing(name: str, width: int, runs: dict[str, Run], browser: Browser) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 900})
    troubles: list[str] = []
    address = runs[name].html.resolve().as_uri()
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("dialog", lambda dialog: troubles.append(dialog.message))
    tab.on("request", lambda request: request.url == address or troubles.append(request.url))
    tab.goto(address)
    for button in tab.locator(".sk-fold").all():
        button.click()
    for summary in tab.locator("summary:visible").all():
        summary.click()
    for picture in tab.locator(".sk-vis").all():
        picture.hover()
        picture.locator(".sk-live-broad svg, .sk-live-narrow svg").first.wait_for(state="attached")
    with tab.expect_download() as download:
        tab.locator(".sk-save").first.click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
    assert tab.title() != "run"
    assert tab.locator("img, b b, a[href*='example.org']").count() == 0
    assert tab.locator("script").count() == tab.locator("script[type]").count() + 2, "its own, and Vega unpacked"
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert troubles == []
    tab.close()


@pytest.mark.browser
def test_every_letter_of_a_name_is_shown(runs: dict[str, Run], browser: Browser) -> None:
    tab = browser.new_page()
    tab.goto(runs["weekly_report"].html.resolve().as_uri())
    told = tab.evaluate("document.body.textContent + document.title").replace("\u2060", "")
    assert NAMES[0] + NAMES[-1] in told, "the title of the data set"
    assert NAMES[2] + NAMES[-3] in told, "the owner of the next decision, marks and all"
    for name in NAMES[:3]:
        assert name in told, "a pilot category"
    assert tab.locator("strong").get_by_text("strong", exact=True).count() == 0, "asterisks of a name mark nothing"
    tab.close()


def test_nobody_is_named(runs: dict[str, Run]) -> None:
    for run in runs.values():
        assert "m00001" not in run.html.read_text(encoding="utf-8")
