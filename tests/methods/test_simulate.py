"""The simulated market keeps the contract, repeats to the byte, and its orders agree with its truth."""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from strategy_kit.errors import ParameterError
from strategy_kit.simulate import simulate

if TYPE_CHECKING:
    from pathlib import Path

PILOTS = ["apparel", "beauty", "sports_outdoors"]
TABLES = ["order_lines", "merchants", "support", "calendar", "policies"]
# enough merchants and weeks for the truth to show; about 0.5 million lines
SIZE = {"merchants": 2400, "weeks": 52}


class World:
    """A simulated folder read with pandas alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.head = tomllib.loads((folder / "dataset.toml").read_text())
        self.truth = json.loads((folder / "truth.json").read_text())
        frames = {table: pd.read_parquet(folder / f"{table}.parquet") for table in TABLES}
        self.lines, self.merchants, self.support, self.calendar, self.policies = frames.values()
        money = ["amount", "refund_amount", "platform_subsidy", "list_amount"]
        self.lines[money] = self.lines[money].astype(float)
        self.lines["week"] = self.lines["paid_at"].dt.to_period("W-SUN").dt.start_time
        last = pd.Timestamp(self.head["data_through"]).to_period("W-SUN").start_time
        self.complete = self.lines[(self.lines["week"] < last) & (self.lines["status"] != "cancelled")]

    @property
    def pilot(self) -> pd.Timestamp:
        return pd.Timestamp(self.head["pilot"]["starts_on"])

    def contrast(self, by: pd.Series) -> pd.Series:
        """Mean log of weekly totals after the pilot's start minus before, by group."""
        weekly = self.complete.groupby([by.rename("group"), "week"])["amount"].sum().unstack("week")  # noqa: PD010  # two index levels become a table
        after = weekly.columns >= self.pilot
        logs = np.log(weekly)
        return logs.loc[:, after].mean(axis=1) - logs.loc[:, ~after].mean(axis=1)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[World]:
    root = tmp_path_factory.mktemp("worlds")
    return [World(simulate(root / f"world{seed}", seed=seed, **SIZE)) for seed in range(6)]


@pytest.fixture(scope="module")
def world(worlds: list[World]) -> World:
    return worlds[0]


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_keys_are_unique_and_merchants_are_on_the_roster(world: World) -> None:
    keys = {
        "lines": (world.lines, ["order_id", "line_id"]),
        "merchants": (world.merchants, ["merchant_id"]),
        "support": (world.support, ["merchant_id", "lever", "started_on"]),
        "calendar": (world.calendar, ["date"]),
        "policies": (world.policies, ["policy"]),
    }
    for frame, key in keys.values():
        assert len(frame) > 0
        assert not frame.duplicated(key).any()
        assert frame[key].notna().all().all()
    assert set(world.lines["merchant_id"]) <= set(world.merchants["merchant_id"])
    assert world.lines.groupby("order_id")[["buyer_id", "merchant_id", "paid_at"]].nunique().max().max() == 1


def test_types_and_ids(world: World) -> None:
    schema = pq.read_schema(world.folder / "order_lines.parquet")
    assert str(schema.field("paid_at").type) == "timestamp[us]"
    for name in ("amount", "refund_amount", "platform_subsidy", "list_amount"):
        assert str(schema.field(name).type) == "decimal128(14, 2)"
    assert str(schema.field("order_id").type) == "string"
    for name, pattern in {"order_id": r"o\d{8}", "buyer_id": r"b\d{7}", "merchant_id": r"m\d{5}"}.items():
        assert world.lines[name].str.fullmatch(pattern).all()


def test_money_keeps_the_laws(world: World) -> None:
    lines = world.lines
    assert (lines["amount"] > 0).all()
    assert (lines["refund_amount"] <= lines["amount"]).all()
    assert ((lines["refund_amount"] > 0) == (lines["status"] == "refunded")).all()
    assert (lines["list_amount"] >= lines["amount"]).all()
    assert (lines["platform_subsidy"] <= lines["list_amount"] - lines["amount"] + 0.005).all()  # half a fen
    assert (lines["platform_subsidy"] > 0).any()
    assert set(lines["status"]) == {"paid", "cancelled", "refunded"}
    assert lines["market"].value_counts(normalize=True)["domestic"] > 0.9
    assert lines["market"].nunique() == 6


def test_nobody_sells_before_opening_and_some_leave(world: World) -> None:
    span = world.lines.groupby("merchant_id")["paid_at"].agg(["min", "max"])
    opened = pd.to_datetime(world.merchants.set_index("merchant_id")["opened_on"])
    assert (span["min"] >= opened.reindex(span.index)).all()
    first = pd.Timestamp(world.head["data_from"])
    assert 0.06 < (opened >= first).mean() < 0.16
    # of merchants with many orders, those silent for the last ten weeks have left
    busy = world.lines["merchant_id"].value_counts().loc[lambda n: n > 100].index
    silent = span.loc[busy, "max"] < pd.Timestamp(world.head["data_through"]) - pd.Timedelta(weeks=10)
    assert silent.sum() >= 5


def test_support_goes_to_eligible_pilot_merchants_in_waves(world: World) -> None:
    first = world.support.groupby("merchant_id")["started_on"].agg(["min", "max"])
    assert (first["min"] == first["max"]).all()
    roster = world.merchants.set_index("merchant_id")
    assert roster.loc[first.index, "eligible"].all()
    assert set(roster.loc[first.index, "category"]) == set(PILOTS)
    starts = sorted(set(world.support["started_on"]))
    assert len(starts) == 4
    assert starts[0] == world.pilot.date()
    assert all(day.weekday() == 0 for day in starts)
    assert (world.support["announced_on"] < world.support["started_on"]).all()
    assert world.support["ended_on"].isna().all()
    assert set(world.support["lever"]) == {"display", "marketing", "service"}
    eligible = roster[roster["eligible"] & roster["category"].isin(PILOTS)].index
    assert 0.05 < 1 - len(first) / len(eligible) < 0.25


def test_dates(world: World) -> None:
    weeks = world.complete["week"].nunique()
    assert (world.head["data_through"], world.pilot.weekday(), weeks) == (date(2025, 7, 30), 0, 52)
    assert world.lines["paid_at"].min().date() == world.head["data_from"] == date(2024, 7, 29)
    assert world.lines["paid_at"].max().date() == date(2025, 7, 30)
    assert list(world.calendar["date"]) == [d.date() for d in pd.date_range("2024-07-29", "2025-07-30")]
    phases = world.calendar.set_index("date")["phase"]
    assert set(phases) == {"presale", "deposit", "balance", "spot", "none"}
    festivals = world.calendar.dropna(subset="festival").groupby("festival")["date"].agg(["min", "max"])
    assert tuple(festivals.loc["double_11"]) == (date(2024, 10, 14), date(2024, 11, 11))
    assert tuple(festivals.loc["618"]) == (date(2025, 5, 13), date(2025, 6, 18))
    assert ((world.policies["started_on"] > world.pilot.date()) & (world.policies["scope"] == "all")).any()


def test_default_dates(tmp_path: Path) -> None:
    head = tomllib.loads((simulate(tmp_path / "demo", merchants=45) / "dataset.toml").read_text())
    assert (head["name"], head["synthetic"], head["data_from"]) == ("demo", True, date(2024, 1, 29))
    assert head["pilot"]["starts_on"] == date(2025, 4, 14)
    assert head["plan"]["next_decision"] == date(2025, 8, 11)
    calendar = pd.read_parquet(tmp_path / "demo" / "calendar.parquet").set_index("date")["festival"]
    starts = calendar[(calendar == "618") & (calendar.shift() != "618")].index
    assert list(starts) == [date(2024, 5, 20), date(2025, 5, 13)]
    assert calendar[date(2024, 2, 10)] == calendar[date(2025, 1, 29)] == "lunar_new_year"


def test_seasons_show_in_the_orders(world: World) -> None:
    daily = world.lines.groupby(world.lines["paid_at"].dt.date)["amount"].sum()
    usual = daily.median()
    assert daily[date(2024, 11, 11)] > 1.4 * usual
    assert daily[date(2025, 1, 29)] < 0.8 * usual
    hours = world.lines["paid_at"].dt.hour.value_counts()
    assert hours[21] > 10 * hours[4]


def test_merchants_are_heavy_tailed_and_buyers_come_back(world: World) -> None:
    sales = world.lines.groupby("merchant_id")["amount"].sum().sort_values(ascending=False)
    assert sales.head(len(world.merchants) // 100).sum() > 0.2 * sales.sum()
    visits = world.lines.groupby("buyer_id")["order_id"].nunique()
    assert 0.15 < (visits == 1).mean() < 0.6
    assert visits.max() > 10 * visits.mean()
    pairs = world.lines.groupby(["buyer_id", "merchant_id"])["order_id"].nunique()
    assert (pairs > 1).mean() > 0.05


def test_truth_of_categories_agrees_with_the_orders(worlds: list[World]) -> None:
    errors = []
    for world in worlds:
        seen = world.contrast(world.complete["category"])
        truth = pd.DataFrame(world.truth["categories"]).set_index("category")
        drift = truth["shock"].map(lambda row: row["log_effect"])
        net = seen - drift
        errors += list((net[PILOTS] - net.drop(PILOTS).mean()) - truth.loc[PILOTS, "log_effect"])
        assert (truth.drop(PILOTS)["log_effect"] == 0).all()
        weeks = pd.DataFrame(world.truth["category_weeks"]).groupby("category")["log_effect"].mean()
        assert np.allclose(weeks[truth.index], truth["log_effect"], atol=1e-7)  # 8 written digits
        average = truth.loc[PILOTS, "log_effect"].mean()
        assert world.truth["pilot_average"]["log_effect"] == pytest.approx(average, abs=1e-7)
    # with the drawn shocks taken out, sampling noise, churn and festivals are left: 0.027 for one category,
    # about 0.008 for the mean of 18; the effects themselves average 0.07
    assert abs(np.mean(errors)) < 0.025
    assert np.std(errors) < 0.05


def test_truth_of_cohorts_agrees_with_the_orders(worlds: list[World]) -> None:
    """Supported against never supported merchants of the same category, week by week since the start."""
    seen, told = [], []
    for world in worlds:
        effects = pd.DataFrame(world.truth["effects"])
        start = world.support.groupby("merchant_id")["started_on"].min()
        lines = world.complete.assign(cohort=world.complete["merchant_id"].map(start).astype(str))
        gone = world.merchants.set_index("merchant_id")["eligible"]
        weekly = lines[lines["merchant_id"].map(gone)].groupby(["category", "cohort", "week"])["amount"].sum()
        others = lines[~lines["merchant_id"].isin(start.index) & lines["merchant_id"].map(gone)]
        others = others.groupby(["category", "week"])["amount"].sum()
        for (category, cohort), rows in effects.groupby(["category", "cohort"]):
            gap = np.log(weekly[category, cohort] / others[category])
            after = gap.index >= pd.Timestamp(cohort)
            seen.append(gap[after].mean() - gap[~after].mean())
            told.append(rows["log_effect"].mean())
            assert list(rows["age"]) == list(range(after.sum()))
    # one gap has noise of 0.11 (few are never supported), the mean of 72 about 0.015; the mean truth is 0.09
    assert np.mean(seen) == pytest.approx(np.mean(told), abs=0.03)
    assert np.corrcoef(seen, told)[0, 1] > 0.2


def test_effects_rise_with_age_and_differ(world: World) -> None:
    effects = pd.DataFrame(world.truth["effects"])
    assert effects.groupby(["category", "cohort"])["log_effect"].apply(lambda e: e.is_monotonic_increasing).all()
    first = effects[effects["age"] == 3].pivot_table(index="category", columns="cohort", values="percent")
    assert (first.loc["beauty"] > first.loc["apparel"]).all()
    assert (first.loc["apparel"] > first.loc["sports_outdoors"]).all()
    assert (first.diff(axis=1).iloc[:, 1:] < 0).all().all()
    assert np.allclose(effects["percent"], 100 * np.expm1(effects["log_effect"]), atol=1e-6)  # 8 written digits


def test_category_effects_are_near_their_aim(worlds: list[World]) -> None:
    rows = pd.concat(pd.DataFrame(world.truth["categories"]) for world in worlds)
    mean = rows.groupby("category")["percent"].mean()[PILOTS]
    assert mean.to_numpy() == pytest.approx([8, 10, 4], abs=1.5)  # the aim is "around"


def test_same_numbers_same_bytes(tmp_path: Path) -> None:
    size = {"merchants": 60, "weeks": 14}
    first = hashes(simulate(tmp_path / "a" / "tiny", seed=3, **size))
    assert first == hashes(simulate(tmp_path / "b" / "deep" / "tiny", seed=3, **size))
    other = hashes(simulate(tmp_path / "c" / "tiny", seed=4, **size))
    assert [name for name in first if first[name] == other[name]] == [
        "calendar.parquet",
        "plan.seal",
        "policies.parquet",
    ]
    named = hashes(simulate(tmp_path / "named", seed=3, **size))
    assert [name for name in first if first[name] != named[name]] == ["dataset.toml"]


@pytest.mark.parametrize("numbers", [{"merchants": 45, "weeks": 12}, {"merchants": 50, "weeks": 200}])
def test_the_smallest_and_the_longest_market(tmp_path: Path, numbers: dict[str, int]) -> None:
    for seed in range(5):
        world = World(simulate(tmp_path / "market", seed=seed, **numbers))
        assert world.merchants["category"].value_counts().min() >= 3
        assert world.merchants["category"].nunique() == 15
        assert world.complete["week"].nunique() == numbers["weeks"]


def test_broken_numbers_and_names_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"seed.*merchants.*weeks.*'Bad Name'"):
        simulate(tmp_path / "Bad Name", seed=-1, merchants=44, weeks=11)
    for wrong in (True, 7.0, "7"):
        with pytest.raises(ParameterError, match="seed must be a whole number"):
            simulate(tmp_path / "x", seed=wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_only_simulated_folders_are_replaced(tmp_path: Path) -> None:
    size = {"merchants": 45, "weeks": 12}
    mine = tmp_path / "mine"
    (tmp_path / "empty").mkdir()
    assert len(hashes(simulate(tmp_path / "empty", **size))) == 8
    before = hashes(simulate(mine, **size))
    assert hashes(simulate(mine, seed=8, **size)) != before
    (mine / "notes.txt").write_text("keep me")
    with pytest.raises(ParameterError, match=r"notes\.txt"):
        simulate(mine, **size)
    other = tmp_path / "other"
    other.mkdir()
    for text in ('name = "other"\nsynthetic = true\n', 'source = "strategy-kit simulate"\n', "not = [toml"):
        (other / "dataset.toml").write_text(text)
        with pytest.raises(ParameterError, match="not simulated"):
            simulate(other, **size)
    with pytest.raises(ParameterError, match="is a file"):
        simulate(mine / "notes.txt", **size)
    assert (mine / "notes.txt").read_text() == "keep me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "mine", "other"]


def test_a_failed_run_leaves_the_old_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(simulate(tmp_path / "market", merchants=45, weeks=12))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        simulate(tmp_path / "market", seed=8, merchants=45, weeks=12)
    assert hashes(tmp_path / "market") == before
    assert [path.name for path in tmp_path.iterdir()] == ["market"]


def test_the_sample_is_this_code_s_work(sample: Path, tmp_path: Path) -> None:
    """Tables are compared decoded: Parquet files carry the version and choices of their library."""
    head = tomllib.loads((sample / "dataset.toml").read_text())
    words = head["source"].split()[2:]
    numbers = {key.removeprefix("--"): int(value) for key, value in zip(words[::2], words[1::2], strict=True)}
    again = simulate(tmp_path / "sample", **numbers)
    for name in ("dataset.toml", "truth.json"):
        assert (again / name).read_bytes() == (sample / name).read_bytes()
    for table in TABLES:
        assert pq.read_table(again / f"{table}.parquet").equals(pq.read_table(sample / f"{table}.parquet"))
    assert sum(path.stat().st_size for path in sample.iterdir()) < 1_000_000
    assert sorted(path.name for path in sample.iterdir()) == sorted(path.name for path in again.iterdir())
    world = World(sample)
    weeks = pd.Series(world.complete["week"].unique())
    assert (weeks >= world.pilot).sum() >= 8
    assert (weeks < world.pilot).sum() >= 30
    assert world.merchants["category"].nunique() == 15
