"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

# Before numpy is loaded: workers share the cores, and threads of one that wait for small sums keep another's from working.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

ROOT = Path(__file__).resolve().parents[1]
PROGRAMMES = (
    "advertising",
    "hollow_growth",
    "lever_funnel",
    "multi_homing",
    "overseas",
    "price_drift",
    "search_cost",
    "target_bunching",
)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the shared reference data is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def sample() -> Path:
    """The small demo market that is committed."""
    return ROOT / "data" / "sample"


@pytest.fixture(scope="session")
def whole_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated market in which every programme is at work, so that each table of the contract has rows."""
    from strategy_kit.simulate import World, simulate

    folder = tmp_path_factory.mktemp("whole") / "market"
    return simulate(folder, seed=3, merchants=600, weeks=60, world=World.of(dict.fromkeys(PROGRAMMES, 1.0)))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; skipped where none is installed, unless the run requires one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("STRATEGY_KIT_BROWSER") == "required":
            pytest.fail("STRATEGY_KIT_BROWSER=required, and no Chromium is installed")
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, headless=True, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()
