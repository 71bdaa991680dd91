"""Edges of the KPI room: one small market of which every number is written out by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.errors import ParameterError

WINDOW: dict[str, Any] = {"data_from": dt.date(2024, 1, 1), "data_through": dt.date(2025, 3, 31)}


def shop(rows: list[tuple[Any, ...]], **others: Any) -> sk.Dataset:
    """Rows of (day, merchant, buyer, amount, category); each is an order of its own."""
    lines = pd.DataFrame(rows, columns=["paid_at", "merchant_id", "buyer_id", "amount", "category"])
    lines = lines.assign(order_id=range(len(rows)), line_id=0, paid_at=pd.to_datetime(lines["paid_at"]))
    lines["amount"] = lines["amount"].astype(float)
    lines = lines.assign(**{name: others.pop(name) for name in ("refund_amount",) if name in others})
    roster = pd.DataFrame({"merchant_id": sorted({row[1] for row in rows}), "category": "toys"})
    given = {"timezone": "Europe/Paris", "currency": "EUR", **WINDOW, **others}
    return sk.dataset_from_frames(lines, roster, **given)


def test_a_trailing_window_may_begin_on_the_first_day_of_the_data() -> None:
    market = shop([("2024-01-01", "m", "b", 5, "toys"), ("2025-01-05", "m", "c", 7, "toys")])
    found = sk.kpi.table(market, by=["month"], metrics=["annual_gmv"]).set_index("month")["annual_gmv"]
    assert np.isnan(found["2024-11-01"])
    assert found["2024-12-01"] == 5
    assert found["2025-01-01"] == 7
    change = sk.kpi.change(
        market, metrics=["annual_gmv"], period="month", before=dt.date(2024, 12, 1), after=dt.date(2025, 1, 1)
    )
    assert change["before"][0] == 5


def test_new_means_new_in_the_whole_data_not_since_the_first_day_asked_for() -> None:
    market = shop([("2024-02-01", "m", "old", 5, "toys"), ("2024-06-03", "m", "old", 5, "toys"),
                   ("2024-06-04", "m", "young", 5, "toys")])  # fmt: skip
    found = sk.kpi.table(market, by=[], metrics=["new_buyers", "buyers"], since=dt.date(2024, 6, 1)).iloc[0]
    assert [found["new_buyers"], found["buyers"]] == [1, 2]


def test_missing_buyers_of_a_window_are_not_counted() -> None:
    market = shop(
        [("2024-02-01", "m", "a", 5, "toys"), ("2024-02-02", "m", "b", 5, None), ("2024-02-02", "m", "b", 5, None)]
    )
    found = sk.kpi.table(market, by=["month"], trailing=1, metrics=["buyers"]).set_index("month")["buyers"]
    assert found["2024-02-01"] == 2
    distinct = sk.Metric("categories", "count", "count(distinct category)", additive=False)
    trailing = sk.kpi.table(market, by=["month"], trailing=2, metrics=[distinct]).set_index("month")["categories"]
    assert trailing["2024-03-01"] == 1


def test_a_part_of_a_month_is_never_complete() -> None:
    market = shop([("2024-02-20", "m", "a", 5, "toys"), ("2024-05-01", "m", "a", 5, "toys")])
    found = sk.kpi.table(
        market, by=["month"], metrics=["gmv"], since=dt.date(2024, 2, 10), through=dt.date(2024, 4, 30)
    )
    assert found["month"].dt.month.tolist() == [2, 3, 4]
    assert found["complete"].tolist() == [False, True, True]
    early = sk.kpi.table(market, by=["month"], metrics=["gmv"], since=dt.date(2024, 2, 1), through=dt.date(2024, 4, 29))
    assert early["complete"].tolist() == [True, True, False]


def two_months() -> sk.Dataset:
    """May: a sells 100, b 50, d 20. June: a 130, c 40 (new), d 20; e came in April and returns in June with 10."""
    return shop([
        ("2024-04-02", "e", "x", 30, "toys"),
        ("2024-05-02", "a", "x", 100, "toys"), ("2024-05-03", "b", "y", 50, None), ("2024-05-04", "d", "z", 20, "books"),
        ("2024-06-02", "a", "x", 130, "toys"), ("2024-06-03", "c", "y", 40, None), ("2024-06-04", "d", "w", 20, "books"),
        ("2024-06-05", "e", "w", 10, "toys"),
    ])  # fmt: skip


def test_growth_accounting_by_hand() -> None:
    june = sk.kpi.merchant_growth(two_months()).set_index("month").loc["2024-06-01"]
    expected = {
        "opening": 170,
        "new": 40,
        "resurrected": 10,
        "expansion": 30,
        "contraction": 0,
        "churned": 50,
        "closing": 200,
    }
    assert june[list(expected)].to_dict() == expected
    assert june["quick_ratio"] == pytest.approx(80 / 50)
    assert june["net_retention"] == pytest.approx(150 / 170)


def test_nothing_lost_has_no_quick_ratio() -> None:
    market = shop([("2024-05-02", "a", "x", 100, "toys"), ("2024-06-02", "a", "x", 130, "toys")])
    june = sk.kpi.merchant_growth(market).set_index("month").loc["2024-06-01"]
    assert np.isnan(june["quick_ratio"])


def test_entry_and_exit_by_hand() -> None:
    asked: dict[str, Any] = {"period": "month", "before": dt.date(2024, 5, 1), "after": dt.date(2024, 6, 1)}
    found = sk.kpi.entry_and_exit(two_months(), **asked).set_index("part")
    assert found["merchants"].to_dict() == {"continuing": 2, "entering": 2, "leaving": 1}
    assert found["contribution"].to_dict() == {"continuing": 30, "entering": 50, "leaving": -50}
    # means 170 / 3 and 200 / 4; who stayed 60 and 75
    assert found["mean_contribution"].to_dict() == pytest.approx(
        {"continuing": 15, "entering": -25, "leaving": 60 - 170 / 3 - 0}
    )
    assert found["mean_contribution"].sum() == pytest.approx(200 / 4 - 170 / 3)


def test_a_band_begins_at_its_lower_end_and_merchants_enter_and_leave() -> None:
    market = shop([("2024-02-01", "edge", "x", 1000, "toys"), ("2025-02-01", "edge", "x", 999.99, "toys"),
                   ("2024-02-01", "gone", "x", 5, "toys"), ("2025-02-02", "came", "x", 5, "toys")])  # fmt: skip
    day = dt.date(2025, 2, 1)
    found = sk.kpi.merchant_ladder(market, before=dt.date(2024, 12, 31), after=day, bands=(1000.0,))
    moves = {(row.band_before, row.band_after): (row.move, row.merchants) for row in found.itertuples()}
    assert moves == {("1,000 and more", "below 1,000"): ("down", 1), ("below 1,000", "no sales"): ("left", 1)}
    later = sk.kpi.merchant_ladder(market, before=dt.date(2024, 12, 31), after=dt.date(2025, 2, 2), bands=(1000.0,))
    assert ("no sales", "below 1,000", "entered", 1) in list(
        later[["band_before", "band_after", "move", "merchants"]].itertuples(index=False, name=None)
    )


def test_a_ladder_waits_for_the_settlement_lag() -> None:
    market = shop([("2024-02-01", "m", "x", 10, "toys")], settlement_days=10)
    with pytest.raises(ParameterError, match="is not inside the data, 2024-01-01 to 2025-03-21"):
        sk.kpi.merchant_ladder(market, before=dt.date(2024, 12, 31), after=dt.date(2025, 3, 25))


def test_yardsticks_rank_the_largest_growth_first_and_missing_ones_neither_agree_nor_not() -> None:
    rows = []
    for category, growth in (("toys", 3), ("books", 2), (None, 1)):
        rows += [("2024-05-02", "m", f"{category}{n}", 10, category) for n in range(4)]
        rows += [("2024-06-02", "m", f"{category}{n}", 10, category) for n in range(4) for _ in range(growth)]
    asked: dict[str, Any] = {"period": "month", "before": dt.date(2024, 5, 1), "after": dt.date(2024, 6, 1)}
    found = sk.kpi.yardsticks(shop(rows), by=["category"], **asked)
    gmv = found[found["metric"] == "gmv"].set_index("category")
    assert gmv["rank"].to_dict() == {"toys": 1, "books": 2, "unknown": 3}
    assert gmv["change"].to_dict() == {"toys": 2, "books": 1, "unknown": 0}
    assert found.loc[found["metric"] == "spend_per_annual_active_buyer", "change"].isna().all()
    assert found["agree"].all()
    assert not found["apart"].any()


def test_a_group_of_one_period_only_is_zero_in_the_other() -> None:
    market = shop(
        [
            ("2024-05-02", "m", "x", 10, "toys"),
            ("2024-05-03", "m", "y", 20, "toys"),
            ("2024-06-02", "m", "x", 7, "books"),
        ]
    )
    asked: dict[str, Any] = {"period": "month", "before": dt.date(2024, 5, 1), "after": dt.date(2024, 6, 1)}
    found = sk.kpi.change(market, metrics=["gmv"], by=["category"], **asked).set_index("category")
    assert found.loc["toys", ["before", "after", "change"]].tolist() == [30, 0, -1]
    assert found.loc["books", ["before", "after"]].tolist() == [0, 7]
    assert np.isnan(found.loc["books", "change"])
    assert found["n_units"].to_dict() == {"toys": 2, "books": 1}


def test_mix_of_a_category_that_is_absent_from_one_month() -> None:
    market = shop(
        [
            ("2024-05-02", "m", "x", 10, "toys"),
            ("2024-06-02", "m", "x", 10, "toys"),
            ("2024-06-03", "m", "y", 30, "books"),
        ]
    )
    asked: dict[str, Any] = {"period": "month", "before": dt.date(2024, 5, 1), "after": dt.date(2024, 6, 1)}
    found = sk.kpi.mix_and_rate(market, metric="average_order_value", by="category", **asked).set_index("category")
    assert np.isnan(found.loc["books", "rate_before"])
    assert found["rate_effect"].to_dict() == {"toys": 0, "books": 0}
    # weights 1, 0 then 1/2, 1/2; the means of both months 10 and 20, so 15 between them
    assert found["mix_effect"].to_dict() == pytest.approx({"toys": -0.5 * (10 - 15), "books": 0.5 * (30 - 15)})


def test_limits_forget_all_but_the_latest_26_weeks() -> None:
    days = pd.date_range("2024-01-01", periods=40, freq="W-MON")
    levels = [100.0] * 14 + [10.0, 12.0] * 13
    market = shop([(day, "m", "x", level, "toys") for day, level in zip(days, levels, strict=True)],
                  data_through=dt.date(2024, 10, 6))  # fmt: skip
    assert (sk.kpi.process_control(market, metric="gmv")["centre"] == 11).all()


def test_drivers_of_no_change_and_of_a_tiny_one() -> None:
    rows = [("2024-05-02", "m", f"b{n}", 10, "toys") for n in range(4)]
    same = [("2024-06-02", "m", "b0", 10, "toys") for _ in range(4)]
    asked: dict[str, Any] = {"period": "month", "before": dt.date(2024, 5, 1), "after": dt.date(2024, 6, 1)}
    level = sk.kpi.drivers(shop([*rows, *same]), **asked).set_index("driver")["contribution"]
    assert level.sum() == pytest.approx(0, abs=1e-12)
    assert level["buyers"] == pytest.approx(40 * np.log(1 / 4))
    tiny = [*same[:-1], ("2024-06-02", "m", "b0", 10.01, "toys")]
    found = sk.kpi.drivers(shop([*rows, *tiny]), **asked)
    # the promise: the residual is at most a billionth of the change
    assert found["contribution"].sum() == pytest.approx(40.01 - 40.0, rel=1e-9)
    # a cent on forty millions: the logs' own rounding is a ten-thousandth of such a change
    large = [(day, m, b, amount * 1_000_000, c) for day, m, b, amount, c in [*rows, *same[:-1]]]
    found = sk.kpi.drivers(shop([*large, ("2024-06-02", "m", "b0", 10_000_000.01, "toys")]), **asked)
    assert found["contribution"].sum() == pytest.approx(40_000_000.01 - 40_000_000.0, rel=1e-6)
