"""Panels from tables: sums by pandas, who is in, who is treated when, and what is pooled."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.errors import DesignError, ParameterError

START = dt.date(2025, 1, 6)
PILOT = {"beauty": dt.date(2025, 1, 22)}
FREQ = {"week": "W-SUN", "month": "M"}


@pytest.fixture(scope="module")
def shop(sample: Any) -> sk.Dataset:
    return sk.open_dataset(sample)


@pytest.fixture(scope="module")
def raw(sample: Any) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(sample / f"{name}.parquet") for name in ("order_lines", "merchants", "support")}


def sums(lines: pd.DataFrame, unit: str, outcome: str, period: str) -> pd.Series:
    """Outcome by unit and first day of period, of what was not cancelled."""
    sold = lines[lines["status"] != "cancelled"].copy()
    sold["category"] = sold["category"].astype(object).where(sold["category"].notna(), "unknown")
    sold["at"] = sold["paid_at"].dt.to_period(FREQ[period]).dt.start_time
    column = {"gmv": "amount", "units": "quantity", "orders": "order_id", "buyers": "buyer_id"}[outcome]
    grouped = sold.groupby([unit, "at"])[column]
    return grouped.nunique().astype(float) if outcome in ("orders", "buyers") else grouped.sum().astype(float)


def matrix(panel: sk.Panel) -> pd.DataFrame:
    return pd.DataFrame(panel.outcome, index=panel.units.rename(None), columns=pd.DatetimeIndex(panel.periods))


def treated_from(panel: sk.Panel) -> dict[str, pd.Timestamp]:
    return {u: panel.cohorts[c] for u, c in zip(panel.units, panel.cohort, strict=True) if c >= 0}


def assert_sums(panel: sk.Panel, expected: pd.Series) -> None:
    cells = pd.MultiIndex.from_product([panel.units, panel.periods])
    # the engine adds exact decimals, pandas doubles
    np.testing.assert_allclose(panel.outcome.ravel(), expected.reindex(cells, fill_value=0.0).to_numpy(), rtol=1e-12)


@pytest.mark.parametrize("outcome", ["gmv", "orders", "buyers", "units"])
@pytest.mark.parametrize("period", ["week", "month"])
def test_merchants_of_the_sample_equal_the_twin(
    shop: sk.Dataset, raw: dict[str, pd.DataFrame], outcome: str, period: Any
) -> None:
    panel = shop.panel(outcome, period)
    assert_sums(panel, sums(raw["order_lines"], "merchant_id", outcome, period))
    assert panel.periods.date.tolist() == shop.complete_periods(period)
    first, last = panel.periods[0], shop.complete_periods(period)[-1]
    opened_on = pd.to_datetime(raw["merchants"].set_index("merchant_id")["opened_on"])
    assert set(panel.units) == set(opened_on.index[opened_on <= first])
    late = int((opened_on > first).sum())
    assert late > 0, "the sample has merchants that opened later"
    assert f"{late} merchants opened after {first:%Y-%m-%d} and were left out" in repr(panel)
    begun = pd.to_datetime(raw["support"].groupby("merchant_id")["started_on"].min())
    starts = begun.dt.to_period(FREQ[period]).dt.start_time
    assert treated_from(panel) == {u: starts[u] for u in panel.units if u in starts.index and starts[u].date() <= last}
    frozen = raw["merchants"].set_index("merchant_id")["category"]
    assert panel.category is not None
    assert panel.category.to_dict() == frozen[panel.units].to_dict()
    assert panel.assigned_at == "hybrid"
    assert panel.balanced
    assert panel.name == outcome


@pytest.mark.parametrize("outcome", ["gmv", "orders", "buyers"])
@pytest.mark.parametrize("period", ["week", "month"])
def test_categories_of_the_sample_equal_the_twin(
    shop: sk.Dataset, raw: dict[str, pd.DataFrame], outcome: str, period: Any
) -> None:
    panel = shop.category_panel(outcome, period)
    expected = sums(raw["order_lines"], "category", outcome, period)
    assert_sums(panel, expected)
    assert sorted(panel.units) == sorted(expected.index.get_level_values(0).unique())
    start = pd.Timestamp(shop.pilot.starts_on).to_period(FREQ[period]).start_time
    assert treated_from(panel) == dict.fromkeys(shop.pilot.categories, start)
    assert panel.assigned_at == "category"


def test_pooling_keeps_totals_and_pilots(shop: sk.Dataset) -> None:
    whole = shop.category_panel()
    before = matrix(whole).loc[:, whole.periods < pd.Timestamp(shop.pilot.starts_on)].sum(axis=1)
    share = (before / before.sum()).drop(shop.pilot.categories)
    assert (matrix(whole).loc[share.index] > 0).all(axis=None), "no other rule may be at work here"
    for bound in (float(share.sort_values().iloc[3]), float(share.max()) + 1e-9):
        pooled = shop.category_panel(pool_below=bound)
        kept = [*share.index[share >= bound], *shop.pilot.categories]
        assert sorted(pooled.units) == sorted([*kept, "all_other"])
        np.testing.assert_allclose(matrix(pooled).sum(), matrix(whole).sum(), rtol=1e-12)  # order of addition
        np.testing.assert_array_equal(matrix(pooled).loc[kept], matrix(whole).loc[kept])
        assert treated_from(pooled) == treated_from(whole)
        assert f"{int((share < bound).sum())} small categories are added up as all_other" in repr(pooled)
    assert "all_other" not in shop.category_panel(pool_below=float(share.min())).units, "a share at the bound is kept"
    assert "all_other" not in whole.units


def market(weeks: dict[str, list[float]], cancelled: tuple[str, ...] = ()) -> pd.DataFrame:
    """One line a category and week of these amounts; none for 0."""
    rows = [(c, START + dt.timedelta(days=7 * w + 2), y) for c, path in weeks.items() for w, y in enumerate(path) if y]
    lines = pd.DataFrame(rows, columns=["category", "paid_at", "amount"]).astype({"paid_at": "datetime64[us]"})
    lines["merchant_id"], lines["buyer_id"], lines["line_id"] = "m_" + lines["category"], "b", 1
    lines["status"] = np.where(lines["category"].isin(cancelled), "cancelled", "paid")
    return lines.assign(order_id=range(len(lines)))


def opened(lines: pd.DataFrame, roster: pd.DataFrame | None = None, weeks: int = 4, **others: Any) -> sk.Dataset:
    if roster is None:
        roster = lines.drop_duplicates("merchant_id")[["merchant_id", "category"]]
    last = START + dt.timedelta(days=7 * weeks - 1)
    return sk.dataset_from_frames(
        lines,
        roster,
        timezone="Asia/Shanghai",
        currency="CNY",
        **({"data_from": START, "data_through": last} | others),
    )


PATHS = {"beauty": [5.0, 0.0, 5.0, 5.0], "toys": [90.0, 90.0, 90.0, 90.0], "pets": [9.0, 9.0, 0.0, 9.0]}


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan"), "1%", None])
def test_what_is_no_share_pools_nothing(shop: sk.Dataset, share: Any) -> None:
    with pytest.raises(
        ParameterError, match=r"pool_below is a share of sales from 0 to below 1, not .*1 percent is 0.01"
    ):
        shop.category_panel(pool_below=share)


def test_a_week_without_sales_is_zero_and_pooled_outside_the_pilot() -> None:
    shop = opened(market(PATHS), pilot=PILOT)
    assert matrix(shop.category_panel()).to_numpy().tolist() == [
        PATHS["beauty"],
        PATHS["pets"],
        PATHS["toys"],
    ]
    pooled = shop.category_panel(pool_below=1e-9)
    assert pooled.units.tolist() == ["beauty", "toys", "all_other"]
    assert matrix(pooled).loc["all_other"].tolist() == PATHS["pets"]


def test_shares_are_those_before_the_pilot() -> None:
    late = {
        "beauty": [50.0, 50.0, 1.0, 1.0],
        "toys": [47.0, 47.0, 1.0, 1.0],
        "pets": [3.0, 3.0, 900.0, 900.0],
    }
    pooled = opened(market(late), pilot=PILOT).category_panel(pool_below=0.04)
    assert pooled.units.tolist() == ["beauty", "toys", "all_other"], "large only after the start"


def test_a_start_inside_a_week_counts_from_that_week_on() -> None:
    for day in pd.date_range("2025-01-20", "2025-01-26").date:
        panel = opened(market(PATHS), pilot={"beauty": day}).category_panel()
        assert treated_from(panel) == {"beauty": pd.Timestamp("2025-01-20")}
    support = pd.DataFrame(
        {"merchant_id": "m_beauty", "lever": "display", "started_on": pd.to_datetime(["2025-01-26"])}
    )
    assert treated_from(opened(market(PATHS), support=support).panel()) == {"m_beauty": pd.Timestamp("2025-01-20")}
    months = opened(market(PATHS), weeks=13, support=support, data_from=dt.date(2025, 1, 1)).panel(period="month")
    assert treated_from(months) == {"m_beauty": pd.Timestamp("2025-01-01")}


def test_the_week_of_the_start_is_no_longer_before_it() -> None:
    surge = {"beauty": [50.0, 50.0, 1.0, 1.0], "toys": [47.0, 47.0, 1.0, 1.0], "pets": [3.0, 3.0, 100.0, 3.0]}
    pooled = opened(market(surge), pilot=PILOT).category_panel(pool_below=0.04)
    assert "pets" not in pooled.units, "its large week holds treated days"


def test_two_starts_make_two_cohorts_and_cancelled_sales_are_zero() -> None:
    starts = {"beauty": dt.date(2025, 1, 20), "pets": dt.date(2025, 1, 27)}
    panel = opened(market(PATHS, cancelled=("pets",)), pilot=starts).category_panel()
    assert len(panel.cohorts) == 2
    assert matrix(panel).loc["pets"].tolist() == [0.0] * 4
    unnamed = market(PATHS)
    unnamed["category"] = unnamed["category"].replace("toys", None)
    roster = pd.DataFrame({"merchant_id": ["m_beauty", "m_toys", "m_pets"], "category": ["beauty", "toys", "pets"]})
    panel = opened(unnamed, roster, pilot=PILOT).category_panel()
    assert matrix(panel).loc["unknown"].tolist() == PATHS["toys"]


SUPPORT = pd.DataFrame({
    "merchant_id": ["m_beauty", "m_beauty", "m_pets", "m_stranger"],
    "lever": ["marketing", "display", "service", "display"],
    "started_on": pd.to_datetime(["2025-01-27", "2025-01-13", "2025-03-31", "2025-01-13"]),
})  # fmt: skip


def test_the_first_of_several_levers_starts_the_treatment() -> None:
    panel = opened(market(PATHS), support=SUPPORT).panel()
    assert treated_from(panel) == {"m_beauty": pd.Timestamp("2025-01-13")}
    assert "1 unit starts after the last period and counts as never treated" in repr(panel)
    assert "m_stranger" not in panel.units


def test_who_opened_later_is_left_out_and_counted() -> None:
    roster = pd.DataFrame({"merchant_id": ["m_beauty", "m_toys", "m_pets", "m_idle"], "category": "beauty"})
    roster["opened_on"] = pd.to_datetime(["2025-01-06", "2025-01-07", None, None])
    shop = opened(market(PATHS), roster, support=SUPPORT)
    panel = shop.panel()
    assert panel.units.tolist() == ["m_beauty", "m_idle", "m_pets"], (
        "with no day of opening, a sale in the period will do"
    )
    assert "1 merchant opened after 2025-01-06 and was left out" in panel.notes
    later = shop.panel(since=dt.date(2025, 1, 13))
    assert later.units.tolist() == ["m_beauty", "m_idle", "m_pets", "m_toys"]
    assert not any("left out" in note for note in later.notes)
    assert matrix(later).loc["m_idle"].tolist() == [0.0] * 3


def test_since_and_through_choose_the_periods() -> None:
    shop = opened(market(PATHS), pilot=PILOT, support=SUPPORT)
    for since, through in [("2025-01-13", "2025-01-20"), ("2025-01-07", "2025-01-26")]:
        for day in (dt.date.fromisoformat, pd.Timestamp):
            given = {"since": day(since), "through": day(through)}
            for panel in (shop.panel(**given), shop.category_panel(**given)):
                assert panel.periods.strftime("%m-%d").tolist() == ["01-13", "01-20"]
    assert matrix(shop.category_panel(since=dt.date(2025, 1, 20))).loc["toys"].tolist() == [90.0, 90.0]
    incomplete = replace(shop, description=replace(shop.description, data_through=dt.date(2025, 2, 1)))
    assert len(incomplete.category_panel().periods) == 3


def test_categories_choose_merchants_by_their_frozen_category() -> None:
    shop = opened(market(PATHS), support=SUPPORT)
    assert shop.panel(categories=["beauty", "toys"]).units.tolist() == ["m_beauty", "m_toys"]
    with pytest.raises(ParameterError, match=r"'toy' is no merchant's category .*'toys'"):
        shop.panel(categories=["beauty", "toy"])


def test_integer_keys_and_an_engine_of_any_order_make_the_same_panel() -> None:
    codes = {"m_beauty": 30, "m_pets": 4, "m_toys": 100}
    lines = market(PATHS).assign(merchant_id=lambda f: f["merchant_id"].map(codes)).sample(frac=1, random_state=1)
    support = SUPPORT.iloc[:3].assign(merchant_id=lambda f: f["merchant_id"].map(codes))
    panel = opened(lines, support=support).panel(since=dt.date(2025, 1, 13))
    assert panel.units.tolist() == [4, 30, 100]
    assert matrix(panel).loc[100].tolist() == PATHS["toys"][1:]


def test_logs_are_taken_only_of_what_is_above_zero() -> None:
    shop = opened(market(PATHS), support=SUPPORT, pilot=PILOT)
    with pytest.raises(DesignError, match=r"a log of zero was refused: 1 of .*m_beauty"):
        shop.panel(transform="log", categories=["beauty", "toys"])
    panel = shop.panel(transform="log", categories=["toys"])
    assert panel.name == "log gmv"
    np.testing.assert_allclose(panel.outcome, np.log(90.0), rtol=1e-15)
    with pytest.raises(ParameterError, match=r"one of none, log, not 'log1p'"):
        shop.panel(transform="log1p")  # type: ignore[arg-type]


def test_what_cannot_be_a_panel_is_refused() -> None:
    plain = opened(market(PATHS))
    with pytest.raises(DesignError, match=r"no support table.*category_panel"):
        plain.panel()
    with pytest.raises(DesignError, match=r"names no pilot categories"):
        plain.category_panel()
    shop = opened(market(PATHS), support=SUPPORT, pilot=PILOT)
    for build in (shop.panel, shop.category_panel):
        with pytest.raises(ParameterError, match="average_order_value is a ratio"):
            build("average_order_value")
        with pytest.raises(ParameterError, match=r"'gvm' is not a metric .*'gmv'"):
            build("gvm")
        with pytest.raises(ParameterError, match=r"one of day, week, month, quarter, not 'year'"):
            build("gmv", "year")  # type: ignore[arg-type]
        with pytest.raises(DesignError, match=r"has 1 complete weeks; a panel needs at least two"):
            build(since=dt.date(2025, 1, 27))
        with pytest.raises(DesignError, match=r"has 0 complete weeks"):
            build(through=dt.date(2024, 1, 1))
        with pytest.raises(DesignError, match=r"has 0 complete months"):
            build(period="month")


def test_support_of_whole_categories_is_assigned_at_category_level() -> None:
    roster = pd.DataFrame({"merchant_id": ["m_beauty", "m_toys", "m_pets"], "category": ["beauty", "toys", "toys"]})
    lines = market({k: [1.0] * 4 for k in PATHS})
    roster["opened_on"] = pd.Timestamp("2024-01-01")
    support = SUPPORT.iloc[:1]
    assert opened(lines, roster, support=support).panel().assigned_at == "category"
    assert opened(lines, roster.assign(category="toys"), support=support).panel().assigned_at == "merchant"
    mixed = roster.assign(category=["toys", "toys", "pets"])
    assert opened(lines, mixed, support=support).panel().assigned_at == "merchant"
