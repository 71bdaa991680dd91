"""No Python object per row: what Python holds while a question is answered does not grow with lines or merchants."""

from __future__ import annotations

import datetime as dt
import gc
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

SIZES = (1_000, 4_000)
WARM = 500  # merchants of a first call, which fills caches
LINES = 20  # a merchant
SOON = 20e-6  # seconds, in which no machine makes 4,000 objects
PILOTS = ["apparel", "beauty", "sports"]
HEAD = """name = "rows"
synthetic = true
currency = "CNY"
timezone = "Asia/Shanghai"
data_from = 2025-01-06
data_through = 2025-10-12

[tables]
order_lines = "order_lines.parquet"
merchants = "merchants.parquet"
support = "support.parquet"

[pilot]
categories = ["apparel", "beauty", "sports"]
starts_on = 2025-06-02
"""
ASKED: dict[str, Callable[[sk.Dataset], Any]] = {
    "checks": lambda shop: shop.check(),
    "KPIs by merchant and week": lambda shop: sk.kpi.table(
        shop, by=["merchant_id", "week"], metrics=["gmv", "orders", "buyers"]
    ),
    "KPIs by category and month": lambda shop: sk.kpi.table(shop, by=["category", "month"], metrics=["gmv"]),
    "growth by merchant": sk.kpi.merchant_growth,
    "merchant cohorts": lambda shop: sk.cohort.triangle(shop, unit="merchant"),
    "buyer cohorts": lambda shop: sk.cohort.triangle(shop, unit="buyer", value="gmv"),
    "survival": sk.cohort.survival,
    "panel": lambda shop: shop.panel(),
    "group-time effects": lambda shop: sk.did.event_study(sk.did.group_time(shop.panel(), inference="none")).tidy(),
    "imputation": lambda shop: sk.did.imputation(shop.panel(), inference="none").tidy(),
    "regression": lambda shop: sk.did.two_way_event_study(shop.panel(), inference="none").tidy(),
    "pilot contrast": lambda shop: sk.did.pilot_contrast(shop.category_panel().logs()).tidy(),
    "targets set": lambda shop: sk.targets.setting(shop, weeks=4),
}


def tables(merchants: int) -> dict[str, pd.DataFrame]:
    draw, number = np.random.default_rng(7), np.arange(merchants)
    names = pd.Series([f"m{one:06}" for one in number])
    category = pd.Series([*PILOTS, *(f"c{one}" for one in range(9))]).iloc[number % 12].reset_index(drop=True)
    owner, count = draw.integers(0, merchants, merchants * LINES), merchants * LINES
    lines = pd.DataFrame({"order_id": [f"o{one:08}" for one in range(count)], "line_id": 1})
    lines["buyer_id"] = [f"b{one:07}" for one in draw.integers(0, merchants * 5, count)]
    lines["merchant_id"], lines["category"] = names.iloc[owner].to_numpy(), category.iloc[owner].to_numpy()
    lines["paid_at"] = pd.Timestamp("2025-01-06") + pd.to_timedelta(draw.integers(0, 280 * 86_400, count), unit="s")
    lines["amount"] = draw.gamma(2.0, 10.0, count).round(2) + 1
    roster = pd.DataFrame(
        {"merchant_id": names, "category": category, "size_band": np.where(number % 3, "small", "large")}
    )
    supported = names[number % 12 < len(PILOTS)].reset_index(drop=True)
    support = pd.DataFrame({"merchant_id": supported, "lever": "display", "started_on": pd.Timestamp("2025-06-02")})
    return {"order_lines": lines, "merchants": roster, "support": support}


def opened(merchants: int, way: str, folder: Path) -> sk.Dataset:
    given = tables(merchants)
    if way == "frames":
        pilot = {"categories": PILOTS, "starts_on": dt.date(2025, 6, 2)}
        lines, roster = given.pop("order_lines"), given.pop("merchants")
        return sk.dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY", pilot=pilot, **given)
    for name, frame in given.items():
        frame.to_parquet(folder / f"{name}.parquet")
    (folder / "dataset.toml").write_text(HEAD, encoding="utf-8")
    return sk.open_dataset(folder)


def most_objects(work: Callable[[], object]) -> int:
    """Return how many blocks of memory Python held more than at the start, at the end of the call where they were most."""
    gc.collect()
    before = most = sys.getallocatedblocks()
    last = time.perf_counter()

    def seen(frame: FrameType, event: str, given: object) -> None:
        nonlocal most, last
        # To count them takes long: what compiled code gives others is counted when their own functions return, and not again
        # within the time in which an object for each of the merchants could not have been made.
        if event == "return" or (event == "c_return" and "strategy_kit" in frame.f_code.co_filename):
            if time.perf_counter() - last < SOON:
                return
            most, last = max(most, sys.getallocatedblocks()), time.perf_counter()

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return most - before


@pytest.fixture(scope="module", params=["files", "frames"])
def shops(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[sk.Dataset]:
    return [opened(size, request.param, tmp_path_factory.mktemp(f"{request.param}{size}")) for size in (WARM, *SIZES)]


@pytest.mark.parametrize("question", ASKED)
def test_python_holds_no_object_per_row(question: str, shops: list[sk.Dataset]) -> None:
    warm, *rest = shops
    ASKED[question](warm)
    small, large = (most_objects(lambda shop=shop: ASKED[question](shop)) for shop in rest)
    assert large - small < 0.2 * (SIZES[1] - SIZES[0]), "one object a merchant would be more, one a line by far"


def test_the_measure_sees_an_object_per_row() -> None:
    numbers = pd.Series(np.arange(5_000) + 10**6)
    assert most_objects(lambda: numbers.astype(object).map(str)) > 5_000
