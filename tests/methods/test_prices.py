"""Prices: indexes against slow twins and identities, hedonic against statsmodels, and a market whose truth is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategy_kit as sk
from strategy_kit import did, prices
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.simulate import World, simulate
from strategy_kit.simulate.prices import DRIFT, PENALTY, PREMIUM, TREND

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.dataset import Dataset

WEEKS = pd.date_range("2025-01-06", periods=6, freq="W-MON")
INDEXES = ("chained", "geks", "time_product_dummy")


def shop_of(table: pd.DataFrame, **more: Any) -> Dataset:
    """A data set with this prices table, one order a week and a roster of its merchants."""
    weeks = sorted(table["week"].unique())
    merchants = table.drop_duplicates("merchant_id")[["merchant_id", "category"]]
    lines = pd.DataFrame({"order_id": range(len(weeks)), "line_id": 1, "buyer_id": "b", "paid_at": pd.DatetimeIndex(weeks),
                          "merchant_id": merchants["merchant_id"].iloc[0], "category": "beauty", "amount": 1.0})  # fmt: skip
    through = (pd.Timestamp(weeks[-1]) + pd.Timedelta(days=6)).date()
    head: dict[str, Any] = {
        "timezone": "Asia/Shanghai",
        "currency": "CNY",
        "data_from": pd.Timestamp(weeks[0]).date(),
        "data_through": through,
    }
    pilot = {"categories": ["beauty"], "starts_on": pd.Timestamp(weeks[len(weeks) // 2]).date()}
    return sk.dataset_from_frames(lines, merchants, pilot=pilot, prices=table, **head, **more)


def table_of(levels: np.ndarray, on_offer: np.ndarray, *, category: str = "beauty") -> pd.DataFrame:
    """Prices exp(levels) of products (N, T) on offer, one merchant a product."""
    product, week = np.nonzero(on_offer)
    sku = pd.Series(product).map("s{:03d}".format)
    rows = {"sku_id": sku, "week": WEEKS[week], "merchant_id": "m" + sku, "category": category}
    return pd.DataFrame({**rows, "price": np.exp(levels[product, week])})


def drawn(seed: int, products: int = 25) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    on_offer = rng.random((products, len(WEEKS))) < 0.7
    on_offer[0] = True
    return rng.normal(3, 0.4, (products, len(WEEKS))), on_offer


def test_indexes_are_their_slow_twins() -> None:
    levels, on_offer = drawn(1)
    found = prices.price_index(shop_of(table_of(levels, on_offer)))
    count = len(WEEKS)
    direct = np.zeros((count, count))
    for s in range(count):
        for t in range(count):
            both = on_offer[:, s] & on_offer[:, t]
            direct[s, t] = (levels[both, t] - levels[both, s]).mean()
    geks = [np.mean([direct[0, k] + direct[k, t] for k in range(count)]) for t in range(count)]
    product, week = np.nonzero(on_offer)
    dummies = np.column_stack([np.eye(len(levels))[product], np.eye(count)[week][:, 1:]])
    slopes = np.linalg.lstsq(dummies, levels[product, week], rcond=None)[0][len(levels) :]
    steps = [direct[t - 1, t] for t in range(1, count)]
    np.testing.assert_allclose(np.log(found["geks"]), geks, atol=1e-9)
    np.testing.assert_allclose(np.log(found["time_product_dummy"]), [0, *slopes], atol=1e-9)
    np.testing.assert_allclose(np.log(found["chained"]), [0, *np.cumsum(steps)], atol=1e-9)
    matched = [(on_offer[:, t] & on_offer[:, t - 1]).sum() for t in range(1, count)]
    assert found["matched"].tolist() == [0, *matched]
    assert found["items"].tolist() == on_offer.sum(axis=0).tolist()
    flow = found["items"].diff().iloc[1:] - found["entered"].iloc[1:] + found["left"].iloc[1:]
    assert (flow == 0).all()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), base=st.integers(1, len(WEEKS) - 1))
def test_multilateral_indexes_are_transitive_and_reversible(seed: int, base: int) -> None:
    """Starting in another week, or running time backwards, changes no comparison of two weeks."""
    pairs = prices.matched_pairs(shop_of(table_of(*drawn(seed))))
    back = pairs.assign(change=-pairs["change"], weighted=-pairs["weighted"])
    last = pairs["later"].max()
    for name in ("earlier", "later"):
        back[name] = last - (pairs["later" if name == "earlier" else "earlier"] - last)
    for method in ("geks", "time_product_dummy"):
        level = prices.multilateral(pairs, method=method).to_numpy()
        reverse = prices.multilateral(back, method=method).to_numpy()[::-1]
        np.testing.assert_allclose(reverse - reverse[0], level, atol=1e-9)
        others = pairs.sample(frac=1, random_state=seed)
        np.testing.assert_allclose(prices.multilateral(others, method=method), level, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_geks_of_every_pair_is_the_difference_of_levels(seed: int) -> None:
    """GEKS of each two weeks, taken by itself as a mean of detours, is transitive: levels say all."""
    levels, on_offer = drawn(seed)
    both = on_offer.T[:, None] & on_offer.T[None]
    direct = np.where(both, levels.T[None] - levels.T[:, None], 0).sum(axis=2) / both.sum(axis=2)
    np.testing.assert_allclose(direct, -direct.T, atol=1e-12)
    geks = (direct[:, :, None] + direct[None]).mean(axis=1)
    level = prices.multilateral(prices.matched_pairs(shop_of(table_of(levels, on_offer)))).to_numpy()
    np.testing.assert_allclose(geks, level[None] - level[:, None], atol=1e-9)
    chained = direct[:-1, 1:].diagonal().sum()
    assert abs(chained - direct[0, -1]) > 1e-6  # matched samples differ, so that a chain does not close


def test_prices_that_return_bring_multilateral_indexes_back_and_leave_the_chain_adrift() -> None:
    """A product leaves in its sale and comes back at full price: the chain sees the fall and never the rise."""
    levels = np.zeros((3, len(WEEKS)))
    on_offer = np.ones((3, len(WEEKS)), dtype=bool)
    levels[0, 2], on_offer[0, 3] = -0.6, False
    found = prices.price_index(shop_of(table_of(levels, on_offer)))
    assert np.log(found["chained"].iloc[-1]) == pytest.approx(-0.2)
    assert abs(np.log(found["time_product_dummy"].iloc[-1])) < 1e-9
    assert found["drift"].iloc[-1] == pytest.approx(np.log(found["chained"].iloc[-1] / found["geks"].iloc[-1]))
    assert abs(np.log(found["geks"].iloc[-1])) < 0.2


def test_on_a_fixed_basket_all_indexes_are_the_direct_one() -> None:
    levels, on_offer = drawn(3)
    found = prices.price_index(shop_of(table_of(levels, np.ones_like(on_offer))))
    for name in INDEXES:
        np.testing.assert_allclose(np.log(found[name]), (levels - levels[:, :1]).mean(axis=0), atol=1e-9)


def test_a_change_of_units_of_a_product_moves_no_index() -> None:
    levels, on_offer = drawn(4)
    moved = levels + np.random.default_rng(5).normal(0, 2, (len(levels), 1))
    one, two = (prices.price_index(shop_of(table_of(values, on_offer))) for values in (levels, moved))
    np.testing.assert_allclose(one[list(INDEXES)], two[list(INDEXES)], rtol=1e-9)


def test_weeks_that_nothing_ties_are_refused() -> None:
    levels, on_offer = drawn(6)
    on_offer[:12, 3:], on_offer[12:, :3], on_offer[0] = False, False, False
    with pytest.raises(DesignError, match=r"2025-01-27 was on offer the week before.*chain breaks"):
        prices.price_index(shop_of(table_of(levels, on_offer)))
    pairs = prices.matched_pairs(shop_of(table_of(levels, on_offer)))
    with pytest.raises(DesignError, match="into 2 parts that share none"):
        prices.multilateral(pairs)


def test_products_without_a_price_are_counted() -> None:
    table = table_of(*drawn(7))
    table.loc[table["week"] == WEEKS[2], "price"] *= np.where(np.arange((table["week"] == WEEKS[2]).sum()) == 1, 0, 1)
    found = prices.price_index(shop_of(table))
    assert found["free"].tolist() == [0, 0, 1, 0, 0, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(
        tmp_path_factory.mktemp("prices") / "drift", seed=3, merchants=200, weeks=40, world=World(price_drift=1)
    )


@pytest.fixture(scope="module")
def market(folder: Path) -> Dataset:
    return sk.open_dataset(folder)


def rows_of(shop: Dataset) -> pd.DataFrame:
    rows = shop.engine.frame("select * from prices")
    started = shop.engine.frame("select merchant_id, min(started_on) as started from support group by 1")
    rows = rows.merge(started, how="left", on="merchant_id")
    rows[["price", "market_price"]] = rows[["price", "market_price"]].astype(float)
    monday = rows["started"] - pd.to_timedelta(rows["started"].dt.day_of_week, unit="D")
    return rows.assign(y=np.log(rows["price"] / rows["market_price"]), supported=monday <= rows["week"])


def test_the_hedonic_regression_is_that_of_statsmodels(market: Dataset) -> None:
    import statsmodels.formula.api as smf

    since = market.complete_periods("week")[-6]
    found = prices.hedonic(market, supported=True, since=since)
    rows = rows_of(market)
    rows = rows[(rows["week"] >= pd.Timestamp(since)) & (rows["week"] <= pd.Timestamp(market.week()))]
    rows = rows.assign(cell=rows["category"] + rows["week"].astype(str), supported=rows["supported"].astype(float))
    groups = pd.factorize(rows["merchant_id"])[0]
    twin = smf.ols("y ~ supported + rating + return_rate + C(cell)", rows).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    terms = found.labels["term"].tolist()
    np.testing.assert_allclose(found.estimate, twin.params[terms], atol=1e-9)
    # statsmodels counts clusters and observations as Stata does; the same small-sample factor stands here
    np.testing.assert_allclose(found.std_error, twin.bse[terms], rtol=1e-7)
    fit = found.details["fit"].iloc[0]
    assert (fit["product_weeks"], fit["cells"], fit["left_out"]) == (len(rows), rows["cell"].nunique(), 0)


def test_quadrants_are_counts_by_hand(market: Dataset) -> None:
    since = market.pilot.starts_on
    found = prices.quadrants(market, since=since).set_index(["side", "quality", "price"])["share"]
    rows = rows_of(market)
    rows = rows[(rows["week"] >= pd.Timestamp(since)) & (rows["week"] <= pd.Timestamp(market.week()))]
    good = rows["rating"] > rows.groupby("category")["rating"].transform("median")
    corner = good & (rows["price"] <= rows["market_price"])
    inside = rows["category"].isin(market.pilot.categories)
    sides = {"supported": rows["supported"], "beside": inside & ~rows["supported"], "elsewhere": ~inside}
    for side, held in sides.items():
        assert found[(side, "good", "fair")] == pytest.approx(corner[held].mean(), abs=1e-12)
        assert found[side].sum() == pytest.approx(1)


def test_dispersion_and_panels_are_those_of_pandas(market: Dataset) -> None:
    rows = rows_of(market)
    rows = rows[rows["week"] <= pd.Timestamp(market.week())]
    cells = rows.groupby(["category", "week"])["y"]
    wide = rows.pivot_table(index="category", columns="week", values="y", aggfunc=["std", "mean"])
    spread, mean = wide["std"], wide["mean"]
    np.testing.assert_allclose(prices.category_prices(market, "dispersion").outcome, spread, atol=1e-9)
    np.testing.assert_allclose(prices.category_prices(market).outcome, mean, atol=1e-9)
    found: Any = prices.dispersion(market).set_index(["group", "week"])
    pilots = spread.loc[list(market.pilot.categories)].mean()
    np.testing.assert_allclose(found.loc["pilot", "std_dev"], pilots, atol=1e-9)
    deciles = (cells.quantile(0.9) - cells.quantile(0.1)).loc[list(market.pilot.categories)]
    np.testing.assert_allclose(found.loc["pilot", "spread"], deciles.groupby("week").mean(), atol=1e-9)


def test_discounts_are_sums_and_not_means_of_shares(market: Dataset) -> None:
    found = prices.discounts(market)
    lines = market.engine.frame("select * from order_lines where status <> 'cancelled'")
    lines = lines.astype({"amount": float, "list_amount": float})
    week = lines["paid_at"].dt.normalize() - pd.to_timedelta(lines["paid_at"].dt.day_of_week, unit="D")
    group = np.where(lines["category"].isin(market.pilot.categories), "pilot", "other")
    sums = lines.groupby([group, week.rename("week")])[["amount", "list_amount"]].sum()
    depth = (1 - sums["amount"] / sums["list_amount"]).reindex(pd.MultiIndex.from_frame(found[["group", "week"]]))
    np.testing.assert_allclose(found["depth"], depth, atol=1e-9)
    assert (found.groupby("group")["index"].first() == 1).all()
    panel = prices.category_prices(market, "discount_depth")
    assert panel.assigned_at == "category"


def test_competition_shows_components_and_what_is_absent(market: Dataset) -> None:
    found = prices.competition(market)
    assert found["service"].isna().all()
    early = found["week"] < found["week"].min() + pd.Timedelta(weeks=13)
    assert found.loc[early, "new_share"].isna().all()
    rows = rows_of(market)
    last = pd.Timestamp(market.week())
    first = rows.groupby("sku_id")["week"].transform("min")
    held = (rows["week"] == last) & rows["category"].isin(market.pilot.categories)
    new = (first[held] > last - pd.Timedelta(weeks=13)).mean()
    shown = found[(found["week"] == last) & (found["group"] == "pilot")]["new_share"].iloc[0]
    assert shown == pytest.approx(new, abs=1e-12)


def test_truth_is_written_and_no_other_table_moves(folder: Path, tmp_path: Path) -> None:
    told = json.loads((folder / "truth.json").read_text())["prices"]
    assert told == {"drift": -DRIFT, "rating": PREMIUM, "return_rate": PENALTY, "market_trend": TREND, "skus": 5}
    plain = simulate(tmp_path / "drift", seed=3, merchants=200, weeks=40)
    for path in plain.glob("*.parquet"):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
    assert not (plain / "prices.parquet").exists()


def test_the_drift_and_the_market_trend_are_found(market: Dataset) -> None:
    """Five standard errors: a chance of less than one in a million to fail if the estimate is centred on the truth."""
    panel = prices.merchant_prices(market, categories=market.pilot.categories)
    assert any("lacked a period" in note for note in panel.notes)
    value, error = did.overall(did.group_time(panel.untreated_at_first(), control="not_yet")).average
    assert error < DRIFT / 5
    assert abs(value + DRIFT) < 5 * error
    trend = prices.price_index(market, of="market_price", by="category").groupby("group").last()
    weeks = len(market.complete_periods("week")) - 1
    # prices are written in hundredths: at most 0.005 on prices of some tens moves a mean log by less than 0.0005
    np.testing.assert_allclose(np.log(trend["geks"]), TREND * weeks, atol=5e-4)


def test_intervals_of_the_drift_and_of_quality_cover(tmp_path: Path) -> None:
    """Of 16 markets: 95% intervals miss more than four times with a chance of 0.001 each (binomial), three kinds are read."""
    missed = np.zeros(3, dtype=int)
    for seed in range(16):
        folder = simulate(tmp_path / f"m{seed}", seed=seed, merchants=120, weeks=16, world=World(price_drift=1))
        shop = sk.open_dataset(folder)
        panel = prices.merchant_prices(shop, categories=shop.pilot.categories).untreated_at_first()
        ends = (
            did.overall(did.group_time(panel, control="not_yet")).glance()[["conf_low", "conf_high"]].to_numpy(float)[0]
        )
        missed[0] += not ends[0] <= -DRIFT <= ends[1]
        tidy: Any = prices.hedonic(shop).tidy().set_index("term")
        for place, (term, truth) in enumerate({"rating": PREMIUM, "return_rate": PENALTY}.items(), 1):
            missed[place] += not tidy.loc[term, "conf_low"] <= truth <= tidy.loc[term, "conf_high"]
    assert (missed <= 4).all(), missed


def test_categories_are_judged_as_categories(market: Dataset) -> None:
    panel = prices.category_prices(market)
    assert panel.assigned_at == "category"
    found: Any = did.pilot_contrast(panel).tidy().iloc[0]
    assert found["method"] == "welch"
    assert -DRIFT < found["estimate"] < 0  # some merchants of a pilot are not supported
    whole = market.engine.frame("select * from merchants")
    everybody = whole.loc[whole["category"].isin(market.pilot.categories), ["merchant_id"]]
    support = everybody.assign(lever="display", started_on=market.pilot.starts_on)
    tables = {name: market.engine.frame(f"select * from {name}") for name in ("order_lines", "prices")}
    head: dict[str, Any] = {"timezone": "Asia/Shanghai", "currency": "CNY", "pilot": market.pilot}
    head |= {"data_from": market.data_from, "data_through": market.data_through}
    dealt = sk.dataset_from_frames(tables["order_lines"], whole, prices=tables["prices"], support=support, **head)
    with pytest.raises(DesignError, match="pilot_contrast"):
        did.group_time(prices.merchant_prices(dealt))


def test_what_cannot_be_answered_is_refused(market: Dataset, sample: Path) -> None:
    bare = sk.open_dataset(sample)
    for ask in (prices.price_index, prices.hedonic, prices.quadrants, prices.dispersion, prices.merchant_prices):
        with pytest.raises(DesignError, match=r"no prices table.*add the table"):
            ask(bare)
    with pytest.raises(ParameterError, match="of is one of price, market_price, not 'list'"):
        prices.price_index(market, of="list")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="by is one of pilot, category"):
        prices.price_index(market, by="region")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="outcome is one of"):
        prices.category_prices(market, "level")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="method is one of"):
        prices.multilateral(prices.matched_pairs(market), method="fisher")  # type: ignore[arg-type]
    table = table_of(*drawn(8))
    plain = shop_of(table)
    with pytest.raises(DesignError, match="lacks market_price"):
        prices.hedonic(plain)
    with pytest.raises(DesignError, match="neither rating nor return_rate"):
        prices.hedonic(shop_of(table.assign(market_price=10.0)))
    with pytest.raises(DesignError, match="do not all vary"):
        prices.hedonic(shop_of(table.assign(market_price=10.0, rating=4.5)))
    rated = table.assign(market_price=table["price"], rating=np.arange(len(table)) % 7)
    with pytest.raises(DesignError, match="relative prices do not vary within category and week"):
        prices.hedonic(shop_of(rated))
    with pytest.raises(DesignError, match="no support table"):
        prices.merchant_prices(shop_of(table.assign(market_price=10.0)))
    with pytest.raises(DesignError, match="no list_amount"):
        prices.discounts(plain)


def test_without_quality_rows_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(9)
    table = table_of(*drawn(9))
    table = table.assign(market_price=20.0, rating=rng.normal(4.5, 0.2, len(table)))
    table.loc[table.index[:7], "rating"] = np.nan
    found = prices.hedonic(shop_of(table))
    assert found.details["fit"]["left_out"].tolist() == [7]
    assert found.notes == (f"product-weeks without a price or quality, left out: 7 of {len(table)}",)
    assert prices.quadrants(shop_of(table))["left_out"].iloc[0] == 7


@pytest.mark.parametrize("day", ["2025-01-20", "2025-01-22", "2025-01-26"])
def test_support_counts_from_its_week_whatever_the_weekday(day: str) -> None:
    table = table_of(np.full((2, len(WEEKS)), 3.0), np.ones((2, len(WEEKS)), dtype=bool))
    support = pd.DataFrame({"merchant_id": ["ms000"], "lever": "display", "started_on": pd.Timestamp(day)})
    found = prices.quadrants(shop_of(table.assign(market_price=20.0, rating=4.5), support=support))
    assert found.drop_duplicates("side").set_index("side")["product_weeks"].to_dict() == {"supported": 4, "beside": 8}


def test_a_share_of_all_or_none_is_not_known_without_error() -> None:
    """All of 40 merchants sell plain and dear goods: what another merchant does is not known for sure."""
    table = table_of(np.full((40, len(WEEKS)), 3.0), np.ones((40, len(WEEKS)), dtype=bool))
    found = prices.quadrants(shop_of(table.assign(market_price=10.0, rating=4.5))).set_index(["quality", "price"])
    dear, fair = found.loc[("plain", "dear")], found.loc[("good", "fair")]
    assert (dear["share"], dear["conf_high"], fair["share"], fair["conf_low"]) == (1, 1, 0, 0)
    assert 0.85 < dear["conf_low"] < 0.95
    assert fair["conf_high"] == pytest.approx(1 - dear["conf_low"])


def test_weeks_without_products_are_stepped_over_and_counted() -> None:
    levels, on_offer = drawn(10)
    on_offer[:, 2] = False
    found = prices.price_index(shop_of(table_of(levels, on_offer)))
    assert found["skipped"].tolist() == [0, 0, 1, 0, 0]
    assert len(found) == len(WEEKS) - 1
