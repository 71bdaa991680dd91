"""Data checks beyond the contract: kept by clean markets, each broken by exactly the fault that is injected."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.errors import ContractError, ParameterError
from strategy_kit.health import TOTALS
from strategy_kit.importers import import_olist
from strategy_kit.simulate import simulate

if TYPE_CHECKING:
    from pathlib import Path

FRESH = "the last complete day has orders"
GAPS = "every day of the window has orders"
MIXED = "an order has one buyer and one time"
DOUBLES = "no line is there twice under another key"
FOREIGN = "lines carry their merchant's category"
MOVED = "no merchant has moved to another category"
SILENT = "every category sells each week"
SHIFT = "weekly sales have no sudden level shift"
RESTATED = "no complete week was restated"
LATE = "no line arrived late"
CONTROL = "order_lines match the control totals"
ALWAYS = {FRESH, GAPS, MIXED, DOUBLES, FOREIGN, MOVED, SILENT, SHIFT}

FIRST, LAST = dt.date(2024, 12, 30), dt.date(2025, 7, 30)
DAYS, WEEKS = 213, 30
WINDOW: dict[str, Any] = {"timezone": "Asia/Shanghai", "currency": "CNY", "data_from": FIRST, "data_through": LAST}
MONDAY = pd.Timestamp("2025-03-31")  # more than four weeks from every festival of the simulated calendar
WEEK, DAY, SECOND = (pd.Timedelta(1, unit) for unit in ("W", "D", "s"))
FIRST_DAY = pd.Timestamp(FIRST)
NEW = 10_000_000  # more than any order_id
ROSTER = pd.DataFrame({"merchant_id": ["m"], "category": ["beauty"]})
Frames = dict[str, Any]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """A clean market of 30 complete weeks, some 400 order lines a day, 300 a week in apparel; keys are numbers, for speed."""
    folder = simulate(tmp_path_factory.mktemp("health") / "market", seed=3, merchants=800, weeks=WEEKS)
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("order_lines", "merchants", "calendar")}
    lines = frames["order_lines"]
    for key in ("order_id", "buyer_id"):
        lines[key] = lines[key].str[1:].astype(int)
    columns = ["order_id", "line_id", "buyer_id", "merchant_id", "category", "paid_at", "quantity", "status", "amount"]
    return frames | {"order_lines": lines[columns].astype({"amount": float})}


@pytest.fixture
def lines(market: Frames) -> pd.DataFrame:
    return market["order_lines"].copy()


def issues(market: Frames, lines: pd.DataFrame, previous: pd.DataFrame | None = None, **others: Any) -> pd.DataFrame:
    """What the checks say when the market has these lines; indexed by check."""
    shop = sk.dataset_from_frames(**(market | {"order_lines": lines} | WINDOW | others))
    return shop.check(previous).query("table != 'calendar'").set_index("check")


def broken(found: pd.DataFrame) -> dict[str, int]:
    return {str(check): int(rows) for check, rows in found["rows"].items() if rows > 0}


def hand_made(days: pd.DatetimeIndex, orders: int | np.ndarray) -> pd.DataFrame:
    """Orders of one line each at one merchant, so many a day, all at different times and prices."""
    number = np.broadcast_to(orders, len(days))
    day = np.repeat(days.to_numpy(), number)
    order = np.arange(len(day))
    paid_at = day + np.timedelta64(1, "h") + order % 80_000 * np.timedelta64(1, "s")
    same = {"line_id": 1, "merchant_id": "m", "category": "beauty"}
    return pd.DataFrame({"order_id": order, "buyer_id": order % 97, "paid_at": paid_at, "amount": 10.0, **same})


def said_of(lines: pd.DataFrame, **others: Any) -> dict[str, int]:
    return broken(issues({"merchants": ROSTER}, lines, **others))


def test_a_clean_market_keeps_every_law(market: Frames, lines: pd.DataFrame) -> None:
    found = issues(market, lines)
    assert broken(found) == {}
    assert set(found.index) >= ALWAYS
    assert not set(found.index) & {RESTATED, LATE, CONTROL}, "nothing was given to compare with"
    kept = found.loc[sorted(ALWAYS)]
    assert (kept["share"] == 0).all()
    assert (kept[["example", "remedy"]] == "").all(axis=None)
    assert set(kept["severity"]) == {"warning"}
    assert kept["table"].to_dict() == dict.fromkeys(ALWAYS, "order_lines") | {MOVED: "merchants"}


@pytest.mark.parametrize("days", [1, 3])
def test_days_missing_at_the_end(market: Frames, lines: pd.DataFrame, days: int) -> None:
    last = pd.Timestamp(LAST) - days * DAY
    found = issues(market, lines[lines["paid_at"] < last + DAY])
    assert broken(found) == {FRESH: days}
    row = found.loc[FRESH]
    assert (row["share"], row["example"]) == (days / DAYS, f"no order after {last.date()}")
    assert "data_through" in row["remedy"]


def test_days_missing_in_between(market: Frames, lines: pd.DataFrame) -> None:
    day = lines["paid_at"].dt.normalize()
    gone = [MONDAY + DAY, MONDAY + 32 * DAY]
    found = issues(market, lines[~day.isin(gone)])
    assert broken(found) == {GAPS: 2}
    assert found.loc[GAPS, "share"] == 2 / DAYS
    orders = lines[~day.isin(gone)].drop_duplicates("order_id").groupby(day).size()
    tuesdays = [orders.get(FIRST_DAY + n * DAY, 0) for n in range(1, DAYS, 7)]
    around = [orders.get(gone[0] + n * DAY) for n in range(-14, 15) if n]
    usual = min(np.median(tuesdays), np.median(around))
    assert found.loc[GAPS, "example"] == f"2025-04-01, usually {usual:.0f} orders"


def test_a_market_that_rests_on_sundays_has_no_gaps() -> None:
    days = pd.date_range(FIRST, LAST)
    days = days[days.day_of_week < 6]
    assert said_of(hand_made(days, 40)) == {}
    assert said_of(hand_made(days[days != MONDAY], 40)) == {GAPS: 1}
    weeks = (days >= MONDAY) & (days < MONDAY + 6 * WEEK)
    assert said_of(hand_made(days[~weeks], 40)) == {GAPS: 36}


def test_silence_is_usual_where_little_is_sold() -> None:
    days = pd.date_range(FIRST, LAST)
    orders = np.random.default_rng(5).poisson(2.0, len(days))
    orders[-13], orders[-2:] = 3, 0
    assert said_of(hand_made(days, orders)) == {}
    orders[-12:] = 0
    assert said_of(hand_made(days, orders)) == {FRESH: 12}, "24 orders were due in twelve days"


def test_the_slow_start_of_a_growing_market_has_no_gaps() -> None:
    days = pd.date_range(FIRST, LAST)
    orders = np.linspace(-25.0, 100.0, len(days)).clip(0).astype(int)  # nothing at all in the first six weeks
    assert np.median(orders) > 20
    assert GAPS not in said_of(hand_made(days, orders))


@pytest.mark.parametrize("days", [3, 20, 27])
def test_nothing_is_usual_in_less_than_four_weeks(days: int) -> None:
    window = {"data_from": FIRST, "data_through": FIRST + dt.timedelta(days=days)}
    assert said_of(hand_made(pd.date_range(FIRST, periods=days - 1), 40), **window) == {}


def test_a_category_that_is_silent_for_a_week(market: Frames, lines: pd.DataFrame) -> None:
    toys = lines["category"] == "toys"
    gone = toys & lines["paid_at"].between(MONDAY, MONDAY + WEEK, inclusive="left")
    found = issues(market, lines[~gone])
    assert broken(found) == {SILENT: 1}
    assert found.loc[SILENT, "share"] == 1 / (15 * WEEKS)
    assert str(found.loc[SILENT, "example"]).startswith("toys, 2025-03-31, usually ")
    known = issues(market, lines[~toys | (lines["paid_at"] >= MONDAY)])
    assert broken(known) == {}, "a category begins with its first sale"
    ended = issues(market, lines[~toys | (lines["paid_at"] < "2025-06-23")])
    assert broken(ended) == {SILENT: 5}


def test_orders_loaded_twice_under_new_keys(market: Frames, lines: pd.DataFrame) -> None:
    some = lines["order_id"].unique()[100:125]
    copies = lines[lines["order_id"].isin(some)].assign(order_id=lambda rows: rows["order_id"] + NEW)
    found = issues(market, pd.concat([lines, copies], ignore_index=True))
    assert broken(found) == {DOUBLES: len(copies)}
    assert len(copies) > len(some), "orders of two lines are among them"
    assert found.loc[DOUBLES, "share"] == len(copies) / (len(lines) + len(copies))
    assert found.loc[DOUBLES, "example"] == f"order_id {some[0]} and {some[0] + NEW}"


def test_lines_that_differ_in_one_column_are_no_doubles(market: Frames, lines: pd.DataFrame) -> None:
    rows = lines.iloc[[50, 60, 70]]
    new: dict[str, Any] = {"buyer_id": -1, "merchant_id": "m00001", "category": "books", "quantity": 9, "amount": 0.5}
    new["paid_at"] = rows["paid_at"] + SECOND
    keys = [rows["order_id"] + n * NEW for n in range(1, 7)]
    copies = [rows.assign(order_id=key, **{name: new[name]}) for key, name in zip(keys, new, strict=True)]
    assert broken(issues(market, pd.concat([lines, *copies]))) == {}


def test_a_line_a_piece_and_a_day_without_a_time_are_no_doubles(market: Frames, lines: pd.DataFrame) -> None:
    rows = lines.iloc[[50, 60, 70]]
    pieces = pd.concat([rows.assign(line_id=n) for n in (7, 8)])
    assert broken(issues(market, pd.concat([lines, pieces]))) == {}
    again = pd.concat([lines, pieces, rows.assign(order_id=rows["order_id"] + NEW)])
    assert broken(issues(market, again)) == {DOUBLES: 3}, "one piece of each was sold in another order"
    days = [rows.assign(order_id=rows["order_id"] + n * NEW, paid_at=rows["paid_at"].dt.normalize()) for n in (1, 2)]
    assert broken(issues(market, pd.concat([lines, *days]))) == {}


def test_orders_of_two_buyers_or_two_times(market: Frames, lines: pd.DataFrame) -> None:
    second = lines.index[lines["line_id"] == 2]
    lines.loc[second[:5], "buyer_id"] = -1
    lines.loc[second[3:8], "paid_at"] += SECOND
    found = issues(market, lines)
    assert broken(found) == {MIXED: 8}
    assert found.loc[MIXED, "share"] == 8 / lines["order_id"].nunique()
    assert found.loc[MIXED, "example"] == f"order_id {min(map(str, lines.loc[second[:8], 'order_id']))}"


def test_merchants_in_several_categories(market: Frames, lines: pd.DataFrame) -> None:
    for share, expected in ((0.04, False), (0.08, True)):
        moved = lines.assign(category=lines["category"].where(np.arange(len(lines)) % round(1 / share) > 0, "books"))
        other = int((moved["category"] != lines["category"]).sum())
        found = issues(market, moved)
        assert found.loc[FOREIGN, "rows"] == other * expected
        assert found.loc[FOREIGN, "share"] == pytest.approx(other / len(lines) * expected, rel=1e-12)
    assert " of apparel, category books" in str(found.loc[FOREIGN, "example"])


def test_a_merchant_that_moved(market: Frames, lines: pd.DataFrame) -> None:
    lately = lines[(lines["paid_at"] >= pd.Timestamp("2025-07-28") - 13 * WEEK) & (lines["paid_at"] < "2025-07-28")]
    sold = lately[lately["status"] != "cancelled"].groupby("merchant_id").size()
    ten, nine = sold.index[sold == 10][:3], sold.index[sold == 9][:3]
    assert len(ten) == len(nine) == 3
    here = lines["merchant_id"].isin([*ten, *nine]) & (lines["paid_at"] >= "2025-04-28")
    found = issues(market, lines.assign(category=lines["category"].where(~here, "antiques")))
    assert broken(found) == {MOVED: 3}, "with nine lines nobody is said to have moved"
    home = market["merchants"].set_index("merchant_id")["category"]
    assert found.loc[MOVED, "example"] == f"merchant_id {min(ten)}, {home[min(ten)]} to antiques"
    assert found.loc[MOVED, "share"] == 3 / (sold >= 10).sum()

    roster = market["merchants"].assign(category="unknown")
    assert broken(issues(market, lines, merchants=roster)) == {}, "what nobody knows is not compared"
    assert broken(issues(market, lines, merchants=roster.assign(category="other"))).keys() == {FOREIGN, MOVED}


def shifted(lines: pd.DataFrame, category: str, since: pd.Timestamp, factor: float) -> pd.DataFrame:
    here = (lines["category"] == category) & (lines["paid_at"] >= since)
    return lines.assign(amount=lines["amount"].where(~here, lines["amount"] * factor))


def test_a_category_that_halves(market: Frames, lines: pd.DataFrame) -> None:
    halved = shifted(lines, "apparel", MONDAY, 0.5)
    found = issues(market, halved)
    assert broken(found) == {SHIFT: 1}
    own = halved[(halved["category"] == "apparel") & (halved["status"] != "cancelled")]
    weekly = own.groupby(own["paid_at"].dt.to_period("W").dt.start_time)["amount"].sum()
    weeks = pd.date_range(MONDAY - 4 * WEEK, periods=8, freq="7D")
    before, after = (np.exp(np.log(weekly[four]).median()) / 1000 for four in (weeks[:4], weeks[4:]))
    assert found.loc[SHIFT, "example"] == (
        f"apparel, 2025-03-31: ¥{before:.1f}\xa0thousand to ¥{after:.1f}\xa0thousand a week"
    )
    assert found.loc[SHIFT, "share"] == 1 / (15 * WEEKS)
    found = issues(market, shifted(lines, "home", pd.Timestamp("2025-06-02"), 0.5))
    assert broken(found) == {SHIFT: 1}
    assert str(found.loc[SHIFT, "example"]).startswith("home, 2025-06-23: "), "618 ends in the week before"


def test_festivals_and_the_pilots_start_are_excused(market: Frames, lines: pd.DataFrame) -> None:
    feast = market["calendar"].set_index("date")["festival"].notna()
    doubled = lines.assign(amount=lines["amount"] * (1 + lines["paid_at"].dt.date.map(feast)))
    without = {name: frame for name, frame in market.items() if name != "calendar"}
    assert broken(issues(market, doubled)) == {}
    assert SHIFT in broken(issues(without, doubled))
    doubled = shifted(lines, "apparel", MONDAY, 2.0)
    assert broken(issues(market, doubled, pilot={"apparel": MONDAY.date()})) == {}
    assert broken(issues(market, doubled, pilot={"beauty": MONDAY.date()})) == {SHIFT: 1}
    assert broken(issues(market, doubled, pilot={"apparel": (MONDAY - 5 * WEEK).date()})) == {SHIFT: 1}
    never = {"categories": ["apparel"], "starts_on": MONDAY.date(), "placebo": True}
    assert broken(issues(market, doubled, pilot=never)) == {SHIFT: 1}


def test_clean_markets_seldom_warn(tmp_path: Path) -> None:
    for seed in range(8):
        folder = simulate(tmp_path / "market", seed=seed, merchants=150, weeks=30)
        assert broken(sk.open_dataset(folder).check().set_index("check")) == {}, f"seed {seed}"


def test_totals_equal_a_plain_sum_of_complete_weeks(market: Frames, lines: pd.DataFrame) -> None:
    shop = sk.dataset_from_frames(**(market | {"order_lines": lines} | WINDOW))
    monday = lines["paid_at"].dt.to_period("W").dt.start_time.rename("week")
    sold = lines[lines["status"] != "cancelled"].groupby(monday)
    twin = pd.DataFrame({"lines": lines.groupby(monday).size(), "orders": sold["order_id"].nunique()})
    twin["gmv"] = sold["amount"].sum()
    twin = twin[twin.index < "2025-07-28"].reset_index()
    pd.testing.assert_frame_equal(shop.totals(), twin, check_dtype=False, rtol=1e-12)  # float sums in another order
    assert shop.totals().columns.tolist() == TOTALS
    assert len(twin) == WEEKS
    thin = sk.dataset_from_frames(hand_made(pd.DatetimeIndex([FIRST, LAST]), 1), ROSTER, **WINDOW).totals()
    assert thin[["lines", "orders", "gmv"]].sum().tolist() == [1, 1, 10.0], "a week without a line is 0"
    assert len(thin) == WEEKS


@pytest.fixture(scope="module")
def before(market: Frames) -> pd.DataFrame:
    return sk.dataset_from_frames(**(market | WINDOW)).totals()


def test_weeks_as_they_were_and_weeks_that_vanished(market: Frames, lines: pd.DataFrame, before: pd.DataFrame) -> None:
    found = issues(market, lines.sample(frac=1.0, random_state=1), before)
    assert broken(found) == {}
    assert {RESTATED, LATE} <= set(found.index)
    text = before.assign(week=before["week"].astype(str))
    assert broken(issues(market, lines, text)) == {}, "a file of text may have kept them"
    first = FIRST + dt.timedelta(days=14)
    found = issues(market, lines[lines["paid_at"].dt.date >= first], before, data_from=first)
    assert broken(found) == {RESTATED: 2}, "weeks that vanished were restated"
    assert " to – (–), lines " in str(found.loc[RESTATED, "example"])


def test_a_changed_amount_and_a_late_line(market: Frames, lines: pd.DataFrame, before: pd.DataFrame) -> None:
    here = lines.index[(lines["paid_at"] >= MONDAY) & (lines["status"] != "cancelled")]
    cents = lines.assign(amount=lines["amount"].where(lines.index != here[0], lines["amount"] + 0.004))
    assert broken(issues(market, cents, before)) == {}
    lines.loc[here[0], "amount"] += 500.0
    lines.loc[here[-1], "amount"] += 500.0  # in the open week at the end
    found = issues(market, lines, before)
    assert broken(found) == {RESTATED: 1}
    old = before.set_index("week").loc[MONDAY]
    assert found.loc[RESTATED, "share"] == 1 / WEEKS
    assert found.loc[RESTATED, "example"] == (
        f"2025-03-31: gmv {old['gmv']:,.2f} to {old['gmv'] + 500:,.2f} (+{50000 / old['gmv']:.2f}%), "
        f"lines {old['lines']:,.0f} to {old['lines']:,.0f}"
    )
    late = lines.loc[[here[0]] * 3].assign(order_id=[NEW + 1, NEW + 2, NEW + 3], amount=[1.0, 2.0, 3.0])
    found = issues(market, pd.concat([lines, late.assign(paid_at=late["paid_at"] + WEEK)]), before)
    assert broken(found) == {RESTATED: 2, LATE: 3}
    assert found.loc[LATE, "share"] == 3 / (before.set_index("week")["lines"][MONDAY + WEEK] + 3)
    assert str(found.loc[LATE, "example"]).startswith("2025-04-07: gmv ")
    assert str(found.loc[RESTATED, "example"]).startswith("2025-03-31: gmv "), "the week with the largest change"


@pytest.mark.parametrize(
    "given",
    [
        "totals",
        pd.DataFrame({"week": [MONDAY]}),
        pd.DataFrame({"week": ["soon"], "lines": [1], "orders": [1], "gmv": [1.0]}),
        pd.DataFrame({"week": [MONDAY, MONDAY], "lines": 1, "orders": 1, "gmv": 1.0}),
        pd.DataFrame({"week": [MONDAY], "lines": ["1"], "orders": [1], "gmv": [1.0]}),
        pd.DataFrame({"week": [MONDAY], "gmv": [1.0], "lines": [1], "orders": [1]}),
    ],
)
def test_other_frames_are_refused(given: Any) -> None:
    with pytest.raises(ParameterError, match=r"previous must be a frame that Dataset.totals\(\) made.*given was"):
        said_of(hand_made(pd.date_range(FIRST, LAST), 1), previous=given)


def test_control_totals(market: Frames, lines: pd.DataFrame) -> None:
    count, amount = len(lines), round(lines["amount"].sum(), 2)
    assert broken(issues(market, lines, control={"lines": count, "amount": amount})) == {}
    found = issues(market, lines, control={"lines": count, "amount": amount + 0.01})
    assert broken(found) == {CONTROL: 1}
    row = found.loc[CONTROL]
    assert (row["severity"], row["table"], row["share"]) == ("error", "order_lines", 1 / 2)
    assert row["example"] == f"amount {amount:,.2f} instead of {amount + 0.01:,.2f}"
    shop = sk.dataset_from_frames(**(market | WINDOW), control={"lines": count + 1})
    with pytest.raises(ContractError, match="order_lines match the control totals"):
        shop.require_valid()


def test_tables_without_a_usable_line_are_checked_without_a_word_more(market: Frames, lines: pd.DataFrame) -> None:
    for rows in (
        lines.iloc[:0],
        lines.iloc[:9].assign(paid_at=lines["paid_at"].shift(9)),
        lines.iloc[:9].assign(order_id=None),
    ):
        found = issues(market, rows, pd.DataFrame(columns=TOTALS), control={"lines": 9})
        assert not set(broken(found)) & ALWAYS
        assert found.loc[CONTROL, "rows"] == (len(rows) != 9)
    outside = issues(market, lines, data_from=dt.date(2030, 1, 1), data_through=dt.date(2030, 12, 31))
    silent = {"the last complete day has orders", "every day of the window has orders"}
    assert set(broken(outside)) & ALWAYS == silent


def test_keys_and_categories_may_be_hostile_texts(market: Frames, lines: pd.DataFrame) -> None:
    name = "a'b\"{same} %s $first 美"
    texts = {key: name + lines[key].astype(str) for key in ("order_id", "buyer_id")}
    lines = shifted(lines, "apparel", MONDAY, 0.5).assign(**texts)
    lines["category"] = lines["category"].replace("apparel", name)
    roster = market["merchants"].assign(category=lambda rows: rows["category"].replace("apparel", name))
    copies = lines.iloc[:1].assign(order_id=f"{name}x")
    found = issues(market, pd.concat([lines, copies]), merchants=roster)
    assert broken(found) == {SHIFT: 1, DOUBLES: 1}
    assert str(found.loc[SHIFT, "example"]).startswith(f"{name}, 2025-03-31: ")
    assert found.loc[DOUBLES, "example"] == f"order_id {lines['order_id'].iloc[0]} and {name}x"


def test_what_the_checks_say_of_olist(shared: Path, tmp_path: Path) -> None:
    if not (shared / "data" / "olist").is_dir():
        pytest.skip("the published Olist files are not in the shared reference data")
    import_olist(shared / "data" / "olist", tmp_path / "olist")
    shop = sk.open_dataset(tmp_path / "olist")
    found = shop.check(shop.totals()).set_index("check")
    lines = pd.read_parquet(tmp_path / "olist" / "order_lines.parquet")
    roster = pd.read_parquet(tmp_path / "olist" / "merchants.parquet").set_index("merchant_id")["category"]
    # the fade-out lies after data_through, the silent months before data_from, and every gap in the thin first weeks
    assert broken(found).keys() & (ALWAYS | {RESTATED, LATE}) == {DOUBLES, FOREIGN, MOVED, SHIFT}
    key = ["buyer_id", "merchant_id", "category", "paid_at", "amount"]
    sizes = lines.groupby([*key, "order_id"]).size().groupby(level=key)
    assert found.loc[DOUBLES, "rows"] == (sizes.sum() - sizes.max()).sum()
    home = lines["merchant_id"].map(roster)
    compared = lines[lines["category"].notna() & (home != "unknown")]
    other = int((compared["category"] != home[compared.index]).sum())
    assert list(found.loc[FOREIGN, ["rows", "share"]]) == [other, other / len(compared)]
    assert str(found.loc[SHIFT, "example"]).startswith("beauty, 2017-01-30: R$1,898 to R$7,206")
