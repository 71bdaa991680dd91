"""Platform health where something is missing: costs, minutes, and pilots that have not begun."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import platform_health as health
from strategy_kit.errors import DesignError

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset

WEEKS = pd.date_range("2025-01-06", periods=12, freq="W-MON")
LAST = WEEKS[-1].date()
WINDOWS = (dt.date(2025, 1, 6), dt.date(2025, 2, 2)), (dt.date(2025, 3, 3), dt.date(2025, 3, 30))


def shop_of(**tables: Any) -> Dataset:
    rows = [
        (f"{n}_{k}", n, name, week) for n, name in enumerate(["toys", "books", "home"]) for k, week in enumerate(WEEKS)
    ]
    lines = pd.DataFrame(rows, columns=["order_id", "merchant_id", "category", "paid_at"])
    lines = lines.assign(line_id=1, buyer_id="b", amount=100.0, platform_fee=5.0)
    merchants = lines[["merchant_id", "category"]].drop_duplicates()
    through = (WEEKS[-1] + pd.Timedelta(days=6)).date()
    about: dict[str, Any] = {"timezone": "Asia/Shanghai", "currency": "CNY", "data_from": WEEKS[0].date()}
    return sk.dataset_from_frames(lines, merchants, data_through=through, **about, **tables)


def support_of(*cost: float) -> pd.DataFrame:
    """One merchant supported at week 4 and again at week 8, another at week 4."""
    begun = [(0, WEEKS[4]), (0, WEEKS[8]), (1, WEEKS[4])]
    return pd.DataFrame(begun, columns=["merchant_id", "started_on"]).assign(lever="display", cost=cost)


def test_a_merchants_age_counts_from_its_first_support_and_missing_costs_are_refused() -> None:
    found = health.cost_by_age(shop_of(support=support_of(0.0, 80.0, 0.0)), through=LAST)
    assert found["merchants"].tolist() == [2] * 8
    assert found["cost"].tolist() == pytest.approx([0.0] * 4 + [10.0] * 4)
    holed = shop_of(support=support_of(np.nan, 80.0, np.nan))
    with pytest.raises(DesignError, match="2 of 3 stays of support have no cost, which is not a cost of 0"):
        health.cost_by_age(holed, through=LAST)
    with pytest.raises(DesignError, match="2 of 3 stays of support have no cost"):
        health.take_rate_bridge(holed, *WINDOWS)
    bare = health.take_rate_bridge(shop_of(support=support_of(np.nan, np.nan, np.nan)), *WINDOWS)
    assert not bare["support"].any()
    with pytest.raises(DesignError, match="no support had started by"):
        health.cost_by_age(shop_of(support=support_of(1.0, 1.0, 1.0)), through=WEEKS[2].date())


def searches_of(minutes: list[float]) -> pd.DataFrame:
    table = pd.DataFrame(
        [(name, week) for name in ("toys", "books", "home") for week in WEEKS], columns=["category", "week"]
    )
    return table.assign(sessions=100, queries=200.0, minutes_to_purchase=np.repeat(minutes, 12), conversions=20)


def test_minutes_that_are_not_known_are_no_zeros() -> None:
    found = health.search_cost(shop_of(searches=searches_of([10.0, np.nan, 16.0])), ())
    row = found.iloc[0]
    assert row["minutes_per_purchase"] == pytest.approx(13.0)
    assert row["queries_per_purchase"] == pytest.approx(10.0)
    assert found.attrs["unknown"] == {"minutes_per_purchase": 12, "queries_per_purchase": 0, "conversion": 0}


def test_a_pilot_that_has_not_begun_is_no_comparison() -> None:
    starts = {"toys": WEEKS[5].date(), "books": WEEKS[-1].date()}
    pilot = {"categories": list(starts), "starts_on": starts}
    shop = shop_of(searches=searches_of([10.0, 12.0, 16.0]), pilot=pilot)
    span: dict[str, Any] = {"since": WEEKS[0].date(), "through": WEEKS[9].date()}
    panel = health.search_panel(shop, **span)
    assert list(panel.units) == list(shop.category_panel(**span).units) == ["home", "toys"]
    assert panel.notes == ("pilots that had not begun are left out: books",)
