"""Readings that the tests of sections share: the sample's, and one with fees, complaints, traffic and declared families."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strategy_kit.dataset import Dataset
    from strategy_kit.report import Reading

    Made = Callable[..., Dataset]

START = dt.date(2025, 5, 19)


@pytest.fixture(scope="session")
def tables(sample: Path) -> dict[str, pd.DataFrame]:
    """Frames of the sample."""
    shop = sk.open_dataset(sample)
    return {name: shop.engine.frame(f"select * from {name}") for name in shop.tables}


@pytest.fixture(scope="session")
def shop_of() -> Made:
    """Make a data set of frames like the sample's, with other tables or keys."""

    def made(tables: dict[str, pd.DataFrame], **changes: Any) -> Dataset:
        keys: dict[str, Any] = {
            "timezone": "Asia/Shanghai", "currency": "CNY", "name": "sample", "data_from": dt.date(2024, 7, 29),
            "data_through": dt.date(2025, 7, 30), "plan": {"threshold": 0.03},
            "pilot": {"categories": ["apparel", "beauty", "sports_outdoors"], "starts_on": START},
        }  # fmt: skip
        return sk.dataset_from_frames(**{**tables, **keys, **changes})

    return made


@pytest.fixture(scope="session")
def reading(sample: Path) -> Reading:
    """The sample's last week."""
    return sk.report.read_week(sk.open_dataset(sample))


@pytest.fixture(scope="session")
def rich(tables: dict[str, pd.DataFrame], shop_of: Made) -> Reading:
    """Fees of 5, 8 and 12 % by category, complaints, traffic, declared families, two metrics that cannot be computed."""
    lines, roster = tables["order_lines"], tables["merchants"]
    rate = lines["category"].map({"apparel": 0.05, "beauty": 0.08}).fillna(0.12)
    weeks = pd.date_range("2024-07-29", "2025-07-28", freq="7D")
    rng = np.random.default_rng(5)
    kinds = pd.MultiIndex.from_product([sorted(lines["category"].dropna().unique()), weeks], names=["category", "week"])
    searches = kinds.to_frame(index=False).assign(
        sessions=rng.poisson(1000, len(kinds)), queries=2000, minutes_to_purchase=9.0, conversions=100
    )
    experience = pd.MultiIndex.from_product([roster["merchant_id"], weeks], names=["merchant_id", "week"])
    stays = experience.to_frame(index=False).assign(
        complaints=rng.poisson(2, len(experience)), score=4.5, response_minutes=5.0
    )
    families = {
        "reach": ("orders", "buyers", "new_buyers"),
        "quality": ("refund_rate", "refunds_by_event_date", "spend_per_annual_active_buyer"),
    }
    shop = shop_of(
        {**tables, "order_lines": lines.assign(platform_fee=lines["amount"].astype(float) * rate)},
        searches=searches,
        experience=stays,
        plan=Plan(threshold=0.03, horizon=26, families=families),
    )
    return sk.report.read_week(shop)
