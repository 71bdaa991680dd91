"""The overseas plan: parts that add up exactly, slow twins, and a market in which joining is known to give a tenth."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit import did, overseas
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel
from strategy_kit.simulate import World, simulate
from strategy_kit.simulate.forces import JOIN_GAIN
from strategy_kit.simulate.market import draw_market, truth
from strategy_kit.simulate.roster import NEVER
from strategy_kit.simulate.seasons import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.dataset import Dataset

FIRST, WEEKS, MERCHANTS = pd.Timestamp("2025-01-06"), 16, 30
LAST = FIRST + pd.Timedelta(weeks=WEEKS - 1)
WINDOW: dict[str, Any] = {"since": FIRST.date(), "through": LAST.date()}
COINS = {"domestic": "CNY", "SG": "SGD", "US": "USD"}
EXACT = 1e-9


def lines_of(seed: int, *, moving: bool = True) -> pd.DataFrame:
    """Order lines of 30 merchants over 16 weeks in three markets; amounts in their own currency, rates that move or not."""
    rng, count = np.random.default_rng(seed), 1500
    market = rng.choice([*COINS, None], count, p=[0.5, 0.25, 0.2, 0.05])
    day = rng.integers(0, 7 * WEEKS, count)
    start = pd.Series(market).map({"SG": 5.0, "US": 7.0})
    number = rng.integers(0, MERCHANTS, count)
    number[: MERCHANTS * 2] = np.tile(np.arange(MERCHANTS), 2)
    day[:MERCHANTS] = 0  # everyone is open in the first week
    return pd.DataFrame(
        {
            "order_id": range(count),
            "line_id": 1,
            "buyer_id": "b",
            "merchant_id": [f"m{n:02d}" for n in number],
            "category": "toys",
            "paid_at": FIRST + pd.to_timedelta(day, unit="D"),
            "amount": rng.integers(100, 9000, count) / 100,
            "market": market,
            "currency": pd.Series(market).map(COINS).fillna("CNY"),
            "fx_rate": start * (1 + 0.02 * day / 7 * moving),
            "status": rng.choice(["paid", "cancelled"], count, p=[0.95, 0.05]),
            "platform_fee": rng.integers(0, 400, count) / 100,
            "platform_subsidy": rng.integers(0, 300, count) / 100,
        }
    )


def support_of() -> pd.DataFrame:
    """Three waves of four joiners, six with domestic support, and three with both."""
    joined = [(n, overseas.LEVER, 4 + 3 * (n // 4), 30.0 + n) for n in range(12)]
    other = [(n, "display", 6, 50.0) for n in range(12, 18)]
    both = [(n, lever, week, 10.0) for n in range(18, 21) for lever, week in ((overseas.LEVER, 8), ("service", 5))]
    rows = [(f"m{n:02d}", lever, (FIRST + pd.Timedelta(weeks=week, days=2)).date(), cost)
            for n, lever, week, cost in (*joined, *other, *both)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["merchant_id", "lever", "started_on", "cost"])
    ended = [start + dt.timedelta(weeks=2) if n % 2 else None for n, start in enumerate(frame["started_on"])]
    return frame.assign(ended_on=pd.to_datetime(pd.Series(ended)))


def shop_of(lines: pd.DataFrame, support: pd.DataFrame | None = None, **more: Any) -> Dataset:
    merchants = pd.DataFrame({"merchant_id": [f"m{n:02d}" for n in range(MERCHANTS)], "category": "toys"})
    tables = {} if support is None else {"support": support}
    about: dict[str, Any] = {
        "timezone": "Asia/Shanghai",
        "currency": "CNY",
        "data_from": FIRST.date(),
        "data_through": (LAST + pd.Timedelta(days=6)).date(),
    }
    return sk.dataset_from_frames(lines, merchants, **tables, **about, **more)


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return lines_of(1)


@pytest.fixture(scope="module")
def shop(lines: pd.DataFrame) -> Dataset:
    return shop_of(lines, support_of())


def converted(lines: pd.DataFrame) -> pd.DataFrame:
    """What pandas makes of lines that count, money in yuan."""
    kept = lines[lines["status"] != "cancelled"]
    rate = kept["fx_rate"].where(kept["currency"] != "CNY", 1.0)
    money = {name: kept[name] * rate for name in ("amount", "platform_fee", "platform_subsidy")}
    monday = kept["paid_at"] - pd.to_timedelta(kept["paid_at"].dt.day_of_week, unit="D")
    abroad = kept["market"].notna() & (kept["market"] != "domestic")
    return kept.assign(rate=rate, own=kept["amount"], week=monday, abroad=abroad, **money)


def test_home_and_abroad_are_the_weekly_pages_total_and_effects_add_up(shop: Dataset) -> None:
    panels = overseas.sales_panels(shop, **WINDOW)
    whole = overseas.joiners_panel(shop, **WINDOW)
    assert np.abs(panels["total"].outcome - whole.outcome).max() < 1e-8  # one sum of doubles against another
    parts = panels["domestic"].outcome + panels["overseas"].outcome
    assert np.abs(panels["total"].outcome - parts).max() <= EXACT
    for found in (panels, {name: overseas.among_joiners(panel) for name, panel in panels.items()}):
        effects = {name: did.group_time(panel, control="not_yet") for name, panel in found.items()}
        gap = effects["total"].estimate - effects["domestic"].estimate - effects["overseas"].estimate
        assert np.abs(gap).max() < EXACT
        averages = {name: did.event_study(effect).average[0] for name, effect in effects.items()}
        assert averages["total"] == pytest.approx(averages["domestic"] + averages["overseas"], abs=EXACT)
        assert abs(averages["overseas"]) > 0


def test_panels_are_those_of_a_loop(shop: Dataset, lines: pd.DataFrame) -> None:
    rows, support = converted(lines), support_of()
    sales, kept = overseas.sales_panels(shop, **WINDOW), overseas.margin_panels(shop, **WINDOW)
    last = LAST
    for n, name in enumerate(sales["total"].units):
        for t, week in enumerate(sales["total"].periods):
            cell = rows[(rows["merchant_id"] == name) & (rows["week"] == week)]
            abroad, home = cell[cell["abroad"]], cell[~cell["abroad"]]
            cost = 0.0
            for row in support[(support["merchant_id"] == name) & (support["lever"] == overseas.LEVER)].itertuples():
                start = pd.Timestamp(row.started_on).to_period("W").start_time
                end = last if pd.isna(row.ended_on) else pd.Timestamp(row.ended_on).to_period("W").start_time
                cost += row.cost / ((end - start).days // 7 + 1) * (start <= week <= end)
            assert sales["overseas"].outcome[n, t] == pytest.approx(abroad["amount"].sum(), abs=0.01)
            assert sales["domestic"].outcome[n, t] == pytest.approx(home["amount"].sum(), abs=0.01)
            margin = (abroad["platform_fee"] - abroad["platform_subsidy"]).sum() - cost
            assert kept["overseas"].outcome[n, t] == pytest.approx(margin, abs=0.01)
    assert np.abs(kept["total"].outcome - kept["domestic"].outcome - kept["overseas"].outcome).max() < EXACT
    unmarked = int(rows[rows["merchant_id"].isin(sales["total"].units)]["market"].isna().sum())
    assert f"order lines without a market, counted as domestic: {unmarked}" in sales["total"].notes


def test_cost_is_spread_whole_over_the_weeks_in_which_it_is_given(lines: pd.DataFrame) -> None:
    free = support_of().assign(cost=0.0)
    with_cost, without = (
        overseas.margin_panels(shop_of(lines, table), **WINDOW)["overseas"] for table in (support_of(), free)
    )
    spent = (without.outcome - with_cost.outcome).sum(axis=1)
    table = support_of()
    table = table[table["lever"] == overseas.LEVER].set_index("merchant_id")["cost"]
    assert spent == pytest.approx(table.reindex(with_cost.units).fillna(0.0).to_numpy(), abs=EXACT)
    unknown = overseas.margin_panels(shop_of(lines, support_of().drop(columns="cost")), **WINDOW)["overseas"]
    assert any("support has no cost" in note for note in unknown.notes)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(2, 500))
def test_growth_is_split_exactly(seed: int) -> None:
    sales = overseas.constant_currency(shop_of(lines_of(seed)), base=dt.date(2025, 2, 1))
    found = overseas.growth_split(sales).set_index("market")
    gap = found["after"] - found["before"] - found["volume"] - found["currency"]
    assert np.abs(gap).max() < EXACT
    amounts = ["before", "after", "volume", "currency"]
    assert found.drop("all")[amounts].sum().to_numpy() == pytest.approx(
        found.loc["all", amounts].to_numpy(float), abs=EXACT
    )


def test_constant_currency_is_that_of_a_loop(lines: pd.DataFrame) -> None:
    rows = converted(lines)
    rows = rows[rows["abroad"]]
    months = rows["paid_at"].dt.to_period("M").dt.start_time
    found = overseas.constant_currency(shop_of(lines), base=dt.date(2025, 2, 1)).set_index(["month", "market"])
    for market, coin in (("SG", "SGD"), ("US", "USD")):
        base = rows[(months == pd.Timestamp("2025-02-01")) & (rows["currency"] == coin)]
        rate = base["amount"].sum() / base["own"].sum()
        for month in pd.to_datetime(["2025-02-01", "2025-03-01"]):
            part = rows[(months == month) & (rows["market"] == market)]
            told = found.loc[(month, market)]
            assert told["current"] == pytest.approx(part["amount"].sum(), abs=0.05)
            assert told["constant"] == pytest.approx(
                part["own"].sum() * rate, rel=1e-5
            )  # amounts are kept to four decimals
            assert told["merchants"] == part["merchant_id"].nunique()


def test_without_moves_of_rates_currency_is_nothing_and_rates_alone_leave_volume() -> None:
    still = lines_of(3, moving=False)
    found = overseas.growth_split(overseas.constant_currency(shop_of(still), base=dt.date(2025, 2, 1)))
    assert np.abs(found["currency"]).max() < 0.01  # amounts are kept to four decimals
    late = still["paid_at"] >= "2025-03-01"
    doubled = still.assign(fx_rate=still["fx_rate"] * np.where(late, 2, 1))
    moved = overseas.growth_split(overseas.constant_currency(shop_of(doubled), base=dt.date(2025, 2, 1)))
    assert moved["volume"].to_numpy() == pytest.approx(found["volume"].to_numpy(), abs=0.01)
    assert moved["after"].to_numpy() == pytest.approx(2 * found["after"].to_numpy(), abs=0.01)


def test_a_currency_that_comes_later_is_taken_at_its_first_rate() -> None:
    rows = lines_of(4)
    rows = rows[(rows["market"] != "US") | (rows["paid_at"] >= "2025-03-01")]
    found = overseas.constant_currency(shop_of(rows), base=dt.date(2025, 2, 1)).set_index(["month", "market"])
    last = found.loc[(pd.Timestamp("2025-03-01"), "US")]
    assert last["constant"] == pytest.approx(last["current"])
    assert found.loc[(pd.Timestamp("2025-03-01"), "all"), "late"] == 1
    assert np.isnan(overseas.growth_split(found.reset_index()).set_index("market").loc["US", "growth"])


def test_the_overlap_is_counted_by_hand(shop: Dataset) -> None:
    panels, table = overseas.overlap_panels(shop, **WINDOW)
    counts = table.set_index(["overseas", "domestic"])["merchants"].to_dict()
    assert counts == {(False, False): 9, (False, True): 6, (True, False): 12, (True, True): 3}
    treated = {name: int((panel.cohort >= 0).sum()) for name, panel in panels.items()}
    assert treated == {"overseas": 12, "domestic": 6, "both": 3}
    assert all(int((panel.cohort < 0).sum()) == counts[False, False] for panel in panels.values())
    # both: against before the first support, of the weeks from the later one on
    both = panels["both"]
    assert both.cohorts.tolist() == [FIRST + pd.Timedelta(weeks=5)]
    assert both.notes[-1] == "weeks of merchants with one of the two only, left out: 9"
    rows, whole = did.event_study(did.group_time(both)).tidy().query("age >= 0"), shop.panel(**WINDOW).collected()
    change = whole.outcome - whole.outcome[:, [4]]
    gap = change[whole.units.isin(["m18", "m19", "m20"])].mean(axis=0) - change[whole.cohort < 0].mean(axis=0)
    assert rows["age"].tolist() == list(range(3, WEEKS - 5))
    assert rows["estimate"].to_numpy() == pytest.approx(gap[8:], abs=EXACT)


def test_two_kinds_that_add_up_have_no_interaction() -> None:
    """Each kind adds 100 a week; who has both got the second kind 15 weeks after the first."""
    rng, weeks = np.random.default_rng(0), pd.date_range(FIRST, periods=40, freq="W-MON")
    starts = {"overseas": [99] * 20 + [99] * 20 + [10] * 20 + [20, 30] * 10,
              "display": [99] * 20 + [10] * 20 + [99] * 20 + [5, 15] * 10}  # fmt: skip
    gain = sum(100.0 * (np.arange(40) >= np.array(at)[:, None]) for at in starts.values())
    sold = (1000 + gain + rng.normal(0, 10, (80, 40))).round(2)
    names = [f"m{n:02d}" for n in range(80)]
    cells = {"merchant_id": np.repeat(names, 40), "paid_at": np.tile(weeks, 80), "amount": sold.ravel()}
    lines = pd.DataFrame(cells).assign(line_id=1, buyer_id="b", category="toys")
    held = [
        (name, lever, weeks[at])
        for lever, each in starts.items()
        for name, at in zip(names, each, strict=True)
        if at < 99
    ]
    shop = sk.dataset_from_frames(
        lines.assign(order_id=range(len(lines))), pd.DataFrame({"merchant_id": names, "category": "toys"}),
        support=pd.DataFrame(held, columns=["merchant_id", "lever", "started_on"]), timezone="Asia/Shanghai", currency="CNY",
        data_from=weeks[0].date(), data_through=(weeks[-1] + pd.Timedelta(days=6)).date())  # fmt: skip
    panels = overseas.overlap_panels(shop, since=weeks[0].date(), through=weeks[-1].date())[0]
    found = {name: did.event_study(did.group_time(each, control="not_yet")).average for name, each in panels.items()}
    assert found["both"][0] == pytest.approx(200, abs=4 * found["both"][1])
    interaction = found["both"][0] - found["overseas"][0] - found["domestic"][0]
    assert abs(interaction) < 2 * sum(error for _, error in found.values())


def test_markets_and_naive_growth_are_those_of_pandas(shop: Dataset, lines: pd.DataFrame) -> None:
    rows = converted(lines)
    found = overseas.markets(shop, **WINDOW).set_index("market")
    abroad = rows[rows["abroad"]].groupby("market")
    assert found["gmv"].sort_index().to_numpy() == pytest.approx(abroad["amount"].sum().to_numpy(), abs=0.05)
    assert found["merchants"].sort_index().tolist() == abroad["merchant_id"].nunique().tolist()
    assert found["before"].isna().all()
    grown = overseas.naive_growth(shop, **WINDOW).set_index("group")
    support = support_of()
    joined = set(support.loc[support["lever"] == overseas.LEVER, "merchant_id"])
    assert grown["merchants"].to_dict() == {"joiners": 15, "market": 30, "others": 15}
    paths = {
        "joiners": rows[rows["merchant_id"].isin(joined)],
        "market": rows,
        "others": rows[~rows["merchant_id"].isin(joined)],
    }
    for group, part in paths.items():
        path = part.groupby("week")["amount"].sum()
        before, after = path[:4], path[4:]
        assert grown.loc[group, "growth"] == pytest.approx(after.mean() / before.mean() - 1, abs=1e-5)
        assert grown.loc[group, "growth_before"] == pytest.approx(before[2:].mean() / before[:2].mean() - 1, abs=1e-5)


def expected_sales(seed: int, strength: float) -> Panel:
    """What merchants without other support are expected to sell by week, in a market with nothing but the knob."""
    clock = Clock(60)
    market = draw_market(clock, 200, np.random.default_rng(seed), replace(World.quiet(), overseas=strength))
    joins = market.column("joins")
    kept = (market.column("cohort") == NEVER) & (market.column("opens") == 0) & (market.column("closes") > clock.weeks)
    starts = np.where(joins == NEVER, np.inf, joins + 1.0)[kept]
    return Panel.from_matrix(market.sales()[kept, : clock.weeks], treated_from=starts)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_gain_of_joining_is_found_among_those_who_join_later(strength: float) -> None:
    """Over eight markets the mean lies within 3 of its errors of what the knob adds; the comparison with all lies far above.

    Waves differ in how much their categories' others lose, which is what the spread over markets is made of.
    """
    truth = JOIN_GAIN * strength
    panels = [expected_sales(seed, strength) for seed in range(8)]
    found = np.array([did.poisson_saturated(overseas.among_joiners(panel)).average[0] for panel in panels])
    against_all = np.array([did.poisson_saturated(panel).average[0] for panel in panels])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert error < 0.01
    assert abs(found.mean() - truth) < 3 * error
    assert (against_all > 2 * truth).all()


def test_intervals_of_joining_cover() -> None:
    """In 200 draws a 95% interval holds in at least 90%: 3.2 binomial errors below 95%."""
    hits, draws = 0, 200
    weeks = np.arange(30)
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        starts = np.repeat([10, 16, 22, 99], [30, 30, 30, 60])
        own = np.where(starts < 99, 0.5, 0.0)[:, None] * weeks / 30
        gain = np.log(1.1) * (weeks >= starts[:, None])
        level = rng.normal(0, 0.7, (len(starts), 1)) + rng.normal(0, 0.05, (1, len(weeks)))
        mean = np.exp(level + own + gain)
        sales = mean * rng.gamma(4, 1 / 4, mean.shape)
        panel = Panel.from_matrix(sales, treated_from=np.where(starts < 99, starts + 1.0, np.inf))
        row = did.poisson_saturated(overseas.among_joiners(panel)).glance(0.95).iloc[0]
        hits += int(row["conf_low"] <= 0.1 <= row["conf_high"])
    assert hits / draws >= 0.90


def test_what_data_cannot_say_is_refused(lines: pd.DataFrame) -> None:
    bare = shop_of(lines.drop(columns=["market", "fx_rate", "currency", "platform_fee"]), support_of())
    with pytest.raises(DesignError, match="lacks market,"):
        overseas.sales_panels(bare, **WINDOW)
    with pytest.raises(DesignError, match="lacks market, platform_fee,"):
        overseas.margin_panels(bare, **WINDOW)
    with pytest.raises(DesignError, match="lacks market, currency, fx_rate,"):
        overseas.constant_currency(bare, base=dt.date(2025, 2, 1))
    with pytest.raises(ParameterError, match="first day of a complete month"):
        overseas.constant_currency(shop_of(lines), base=dt.date(2025, 1, 1))
    with pytest.raises(DesignError, match="no support table"):
        overseas.naive_growth(shop_of(lines), **WINDOW)
    with pytest.raises(DesignError, match="nothing was sold abroad"):
        overseas.markets(shop_of(lines[lines["market"] == "domestic"]), **WINDOW)
    with pytest.raises(DesignError, match="same week"):
        overseas.among_joiners(Panel.from_matrix(np.zeros((3, 6)), treated_from=[3, 3, 0]))
    with pytest.raises(DesignError, match="two complete months"):
        overseas.growth_split(overseas.constant_currency(shop_of(lines), base=dt.date(2025, 3, 1)))
    late = support_of().assign(started_on=FIRST.date(), ended_on=pd.NaT)
    with pytest.raises(DesignError, match="fewer than two weeks"):
        overseas.naive_growth(shop_of(lines, late), **WINDOW)


def test_the_knob_tells_what_is_true_by_age() -> None:
    """Gain and own growth of truth.json are what joiners' expected sales show against who never joins in their category."""
    clock = Clock(40)
    market = draw_market(clock, 400, np.random.default_rng(5), replace(World.quiet(), overseas=0.6))
    told: Any = pd.DataFrame(truth(market)["overseas"]["ages"]).set_index("age")
    sales, joins, category = np.log(market.sales()), market.column("joins"), market.column("category")
    stays = (market.column("cohort") == NEVER) & (market.column("opens") == 0) & (market.column("closes") > clock.weeks)
    compared = 0
    for code in np.unique(category):
        never = np.flatnonzero(stays & (category == code) & (joins == NEVER))
        for merchant in np.flatnonzero(stays & (category == code) & (joins != NEVER)):
            path, start = sales[merchant] - sales[never[0]], int(joins[merchant])
            for age in (-start, -1, 0, clock.weeks - 1 - start):
                expected = np.log1p(told.loc[age, "gain"] / 100) + told.loc[age, "own_growth"]
                assert path[start + age] - path[start - 1] == pytest.approx(
                    expected, abs=1e-7
                )  # told to eight decimals
            compared += 1
    waves = truth(market)["overseas"]["waves"]
    assert compared == sum(wave["merchants"] for wave in waves) > 20
    assert told["gain"].to_numpy() == pytest.approx(
        (told["domestic_gain"] + told["overseas_gain"]).to_numpy(), abs=EXACT
    )
    assert "overseas" not in truth(draw_market(clock, 60, np.random.default_rng(5), World(exits=1)))


def test_what_joining_adds_is_sold_abroad_in_the_files(tmp_path: Path) -> None:
    """The share of joiners' orders that goes abroad is g / (1 + g) after joining, none before; within 4 binomial errors."""
    folder = simulate(tmp_path / "market", seed=3, merchants=200, weeks=40, world=World(overseas=1))
    told = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["overseas"]["ages"][-1]
    lines, support = (pd.read_parquet(folder / f"{name}.parquet") for name in ("order_lines", "support"))
    joined = support[support["lever"] == overseas.LEVER].set_index("merchant_id")["started_on"]
    orders = lines.drop_duplicates("order_id")
    orders = orders[orders["merchant_id"].isin(joined.index)]
    after = pd.to_datetime(orders["paid_at"]) >= pd.to_datetime(orders["merchant_id"].map(joined))
    abroad = orders["market"] != "domestic"
    share = told["overseas_gain"] / (100 + told["gain"])
    assert not abroad[~after].any()
    assert abroad[after].mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / after.sum()))


def test_who_gets_another_lever_after_the_window_does_not_join_later(lines: pd.DataFrame) -> None:
    support = support_of()
    extra = pd.DataFrame({"merchant_id": [f"m{n:02d}" for n in range(21, 27)], "lever": "display", "cost": 1.0,
                          "started_on": (FIRST + pd.Timedelta(weeks=13)).date()})  # fmt: skip
    early: Any = {"since": FIRST.date(), "through": (FIRST + pd.Timedelta(weeks=11)).date()}
    bare, more = (
        overseas.among_joiners(overseas.sales_panels(shop_of(lines, table), **early)["total"])
        for table in (support, pd.concat([support, extra], ignore_index=True))
    )
    assert more.units.tolist() == bare.units.tolist()
    np.testing.assert_array_equal(more.outcome, bare.outcome)
