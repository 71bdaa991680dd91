"""A simulated market as the files of a data set."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from strategy_kit.description import read_description
from strategy_kit.plan import write_seal
from strategy_kit.simulate.advertising import planned
from strategy_kit.simulate.forces import ELSEWHERE, NOTICE_WEEKS
from strategy_kit.simulate.market import PIECES
from strategy_kit.simulate.orders import MARKETS, STATUSES, fen
from strategy_kit.simulate.prices import draw_prices
from strategy_kit.simulate.roster import KEPT, NAMES, NEVER, PILOTS, Ints
from strategy_kit.simulate.searches import make_searches
from strategy_kit.simulate.seasons import OPEN_DAYS, POLICIES
from strategy_kit.simulate.targets import PERIOD_WEEKS
from strategy_kit.simulate.traffic import add_orders, levers_held, make_traffic
from strategy_kit.simulate.world import fresh_key, stream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from strategy_kit.simulate.market import Market

TABLES = (
    "order_lines",
    "merchants",
    "support",
    "calendar",
    "policies",
    "targets",
    "offplatform_sales",
    "prices",
    "searches",
    "traffic",
    "experience",
)
FILES = {"dataset.toml", "plan.seal", "truth.json", *(f"{table}.parquet" for table in TABLES)}
_REGIONS = ["Zhejiang", "Guangdong", "Jiangsu", "Shanghai", "Fujian", "Shandong", "Beijing", "Hebei"]
_LEVERS = ["display", "marketing", "service", "overseas"]
_TIMES = ("second", "refunded")
_MONEY = ("amount", "refund_amount", "platform_subsidy", "list_amount")
_PACKED = {"order_id": "DELTA_BYTE_ARRAY", "paid_at": "DELTA_BINARY_PACKED", "refunded_at": "DELTA_BINARY_PACKED"}
_ROWS = 122_880  # of a row group, the unit that DuckDB gives to a thread
# without the Arrow schema text stays plain text
_OPTIONS: dict[str, Any] = {"compression": "zstd", "compression_level": 6}
_OPTIONS |= {"store_decimal_as_integer": True, "store_schema": False}
_HEAD = """name = "{}"
title = "Demo marketplace"
synthetic = true
currency = "CNY"
timezone = "Asia/Shanghai"
data_from = {}
data_through = {}
source = "{}"

[pilot]
categories = {}
starts_on = {}
placebo = false

[plan]
threshold = 0.03
horizon = 26
chance_needed = 0.90
next_decision = {}
owner = "Head of category operations"

[tables]
"""


def write_dataset(
    folder: Path,
    source: str,
    market: Market,
    blocks: Iterable[pd.DataFrame],
    targets: pd.DataFrame | None,
    rng: np.random.Generator,
) -> dict[str, int]:
    """Write dataset.toml and the tables, five and those that knobs add, and count the lines, orders and buyers written.

    The data set bears the folder's name. Of the order lines, which come in `blocks`, one block at a time is in memory.
    """
    clock = market.clock
    counts, sold = _write_lines(folder / "order_lines.parquet", market, blocks)
    tables: dict[str, dict[str, Any]] = {
        "merchants": _merchants(market, rng),
        "support": _support(market, rng),
        "calendar": _calendar(market),
        "policies": _policies(market),
    }
    if targets is not None:
        tables["targets"] = _targets(market, targets)
    key = fresh_key(rng)
    if market.world.multi_homing or market.world.advertising:
        tables["offplatform_sales"] = _offplatform_sales(market, stream(key, "multi_homing"))
    if market.world.price_drift:
        tables["prices"] = _prices(market, draw_prices(market, key))
    if market.world.search_cost:
        tables["searches"] = make_searches(market, key)
    if market.world.lever_funnel:
        tables |= _funnel(market, sold, tables["support"], key)
    for table, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{table}.parquet", row_group_size=_ROWS, **_OPTIONS)
    pilot, decision = clock.monday(clock.pilot_week), clock.monday(clock.weeks + 2)
    pilots, last = json.dumps(list(PILOTS)), clock.calendar()["date"].iloc[-1]
    head = _HEAD.format(folder.name, clock.monday(0), last, source, pilots, pilot, decision)
    listed = "".join(f'{table} = "{table}.parquet"\n' for table in ("order_lines", *tables))
    (folder / "dataset.toml").write_text(head + listed, encoding="utf-8", newline="\n")
    about, _ = read_description(folder)
    write_seal(folder, about.plan, dict.fromkeys(PILOTS, pilot), pilot - dt.timedelta(days=1))
    return counts


def _write_lines(
    path: Path, market: Market, blocks: Iterable[pd.DataFrame]
) -> tuple[dict[str, int], NDArray[np.int32]]:
    """Write lines block by block; return counts, and the orders sold by merchant and week (N, T) for a funnel."""
    sold = np.zeros((len(market.roster), market.clock.weeks + 1), np.int32)
    lines, orders, buyers, writer = 0, 0, np.zeros(0, dtype=bool), None
    try:
        for block in blocks:
            table = pa.table(_order_lines(market, block))
            writer = writer or _writer(path, table.schema)
            writer.write_table(table, _ROWS)
            if market.world.lever_funnel:
                add_orders(sold, block)
            lines, orders = lines + len(block), orders + block["order"].nunique()
            buyers = np.pad(buyers, (0, max(int(block["buyer"].max()) + 1 - buyers.size, 0)))
            buyers[block["buyer"]] = True
    finally:
        if writer:
            writer.close()
    return {"order_lines": lines, "orders": orders, "buyers": int(buyers.sum())}, sold


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    packed = {name: kind for name, kind in _PACKED.items() if name in schema.names}
    plain = [name for name in schema.names if name not in packed]
    return pq.ParquetWriter(path, schema, use_dictionary=plain, column_encoding=packed, **_OPTIONS)


def _calendar(market: Market) -> dict[str, list[Any]]:
    days = market.clock.calendar()
    if market.world.moving_festivals:
        own = np.isin(np.arange(len(days)) // 7, market.clock.moved_festival())
        days.loc[own, ["festival", "phase"]] = ["pilots_own_week", "spot"]
    return {name: days[name].tolist() for name in ("date", "festival", "phase")}


def _policies(market: Market) -> dict[str, list[Any]]:
    start, world = market.clock.monday(market.clock.pilot_week), market.world
    rows = [(name, first, last, direction, "all") for name, first, last, direction, _ in POLICIES]
    if world.concurrent_policies:
        rows.append(("pilot_categories_rebate", start, None, "up", ", ".join(PILOTS)))
    if world.kpi_regimes:
        rows.append(("gmv_excludes_cancelled", start, None, "down", "all"))
    names = ("policy", "started_on", "ended_on", "direction", "scope")
    return dict(zip(names, (list(values) for values in zip(*rows, strict=True)), strict=True))


def _order_lines(market: Market, lines: pd.DataFrame) -> dict[str, Any]:
    code = {name: lines[name].to_numpy() for name in lines}
    start = np.datetime64(market.clock.monday(0), "us")
    times = {
        name: start + seconds * np.timedelta64(1_000_000, "us") for name, seconds in code.items() if name in _TIMES
    }
    category = market.column("category")[code["merchant"]]
    fee = np.where(code["status"] == STATUSES.index("cancelled"), 0, np.round(KEPT[category] * code["amount"]))
    late = {"refunded_at": pa.array(times["refunded"], mask=code["refunded"] < 0)} if "refunded" in times else {}
    return {
        "order_id": _ids("o", 8, code["order"]),
        "line_id": pa.array(code["line_id"], pa.int32()),
        "buyer_id": _ids("b", 7, code["buyer"]),
        "merchant_id": _ids("m", 5, code["merchant"]),
        "category": pa.array(NAMES).take(pa.array(category)),
        "paid_at": pa.array(times["second"]),
        "quantity": pa.array(code["quantity"], pa.int32()),
        "status": pa.array(STATUSES).take(pa.array(code["status"])),
        **{name: _money(code[name]) for name in _MONEY},
        "platform_fee": _money(fee),
        "market": pa.array(MARKETS).take(pa.array(code["market"])),
        **late,
        **({"sku_id": _ids("s", 7, code["sku"])} if "sku" in code else {}),
    }


def _merchants(market: Market, rng: np.random.Generator) -> dict[str, Any]:
    roster, count = market.roster, len(market.roster)
    size = roster["level"] * roster["price"]
    band = np.searchsorted(size.quantile([0.5, 0.9]), size)
    age = rng.integers(1, 7, count) + (roster["opens"] == 0) * rng.integers(0, 3000, count)
    return {
        "merchant_id": _ids("m", 5, roster.index.to_numpy()),
        "category": pa.array(np.array(NAMES)[roster["category"]]),
        "opened_on": _dates(market, 7 * roster["opens"] - age),
        "size_band": pa.array(np.array(["small", "middle", "large"])[band]),
        "eligible": pa.array(roster["eligible"]),
        "score": pa.array(roster["score"]),
        "region": pa.array(rng.choice(_REGIONS, count)),
    }


def _support(market: Market, rng: np.random.Generator) -> dict[str, Any]:
    """Give each supported merchant one lever, and one merchant in five a second one from the same day."""
    who = market.roster[market.roster["cohort"] != NEVER]
    who = who.assign(lever=rng.integers(0, 3, len(who)), notice=7 * rng.integers(1, 3, len(who)))
    more = who[rng.random(len(who)) < 0.2]
    who = pd.concat([who, more.assign(lever=(more["lever"] + rng.integers(1, 3, len(more))) % 3)])
    who = who.sort_index(kind="stable").assign(dose=np.round(rng.uniform(0.5, 2.0, len(who)), 2))
    if market.world.anticipation:
        who = who.assign(notice=7 * NOTICE_WEEKS)
    weekly = who["dose"] * (0.03 * who["level"] * who["price"] + 40)
    who = who.assign(cost=fen((weekly * (market.clock.weeks - who["cohort"])).to_numpy()))
    if market.world.overseas:
        joiners = market.roster[market.roster["joins"] != NEVER].assign(
            lever=len(_LEVERS) - 1, notice=0, dose=1.0, cost=0
        )
        who = pd.concat([who, joiners.assign(cohort=joiners["joins"])])
    return {
        "merchant_id": _ids("m", 5, who.index.to_numpy()),
        "lever": pa.array(np.array(_LEVERS)[who["lever"]]),
        "started_on": _dates(market, 7 * who["cohort"]),
        "announced_on": _dates(market, 7 * who["cohort"] - who["notice"]),
        "ended_on": pa.nulls(len(who), pa.date32()),
        "cost": _money(who["cost"].to_numpy()),
        "dose": pa.array(who["dose"]),
    }


def _targets(market: Market, targets: pd.DataFrame) -> dict[str, Any]:
    first = 7 * PERIOD_WEEKS * targets["period"]
    return {
        "merchant_id": _ids("m", 5, targets["merchant"].to_numpy()),
        "period_start": _dates(market, first),
        "period_end": _dates(market, first + 7 * PERIOD_WEEKS - 1),
        "floor": _money(targets["floor"].to_numpy()),
        "stretch": _money(targets["stretch"].to_numpy()),
        "set_on": _dates(market, first - 7),
    }


def _prices(market: Market, prices: pd.DataFrame) -> dict[str, Any]:
    return {
        "sku_id": _ids("s", 7, prices["sku"].to_numpy()),
        "week": _dates(market, 7 * prices["week"]),
        "merchant_id": _ids("m", 5, prices["merchant"].to_numpy()),
        "category": pa.array(np.array(NAMES)[market.column("category")[prices["merchant"]]]),
        **{name: _money(prices[name].to_numpy()) for name in ("price", "market_price")},
        **{name: pa.array(prices[name]) for name in ("rating", "return_rate")},
    }


def _funnel(market: Market, sold: NDArray[np.int32], support: dict[str, Any], key: int) -> dict[str, dict[str, Any]]:
    numbers = pc.cast(pc.utf8_slice_codeunits(support["merchant_id"], 1), pa.int64())
    lever = pc.index_in(support["lever"], pa.array(_LEVERS))
    held = levers_held(numbers.to_numpy() - 1, lever.to_numpy(), len(market.roster))
    tables = zip(("traffic", "experience"), make_traffic(market, sold[:, :-1], held, key), strict=True)
    return {
        name: {
            "merchant_id": _ids("m", 5, made.pop("merchant")),
            "week": _dates(market, pd.Series(7 * made.pop("week"))),
            **{column: pa.array(values) for column, values in made.items()},
        }
        for name, made in tables
    }


def _offplatform_sales(market: Market, rng: np.random.Generator) -> dict[str, Any]:
    """Estimate what merchants sell on the platform that they entered, in each complete month, with an error of a tenth.

    Who advertises elsewhere is there throughout, and spends as planned; others spend by what they sell there.
    """
    advertises = ~np.isnan(market.spending[:, 0]) & (market.world.advertising > 0)
    enters = np.where(market.world.multi_homing > 0, market.column("enters"), NEVER)
    enters, part = (
        np.where(advertises, 0, enters),
        np.where(advertises, ELSEWHERE, ELSEWHERE * market.world.multi_homing),
    )
    who = np.flatnonzero(enters != NEVER)
    days = pd.date_range(market.clock.monday(0), periods=7 * market.clock.weeks + OPEN_DAYS)
    month = days.to_period("M").to_timestamp()
    months = pd.DatetimeIndex([m for m in month.unique() if (month == m).sum() == m.days_in_month])
    within = np.zeros((7 * (market.clock.weeks + 1), len(months)))
    within[: len(days)] = month.to_numpy()[:, None] == months.to_numpy()
    share = market.days / market.days.sum(axis=2, keepdims=True)
    share = np.einsum("ctd,tdm->ctm", share, within.reshape(-1, 7, len(months)))
    there = np.arange(market.clock.weeks + 1) >= enters[who, None]
    here = PIECES * (market.column("price")[:, None] * market.orders_while_open())[who] * there
    elsewhere = part[who, None] * np.einsum("nt,ntm->nm", here, share[market.column("category")[who]])
    usual = ELSEWHERE * PIECES * 52 / 12 * (market.column("price") * market.column("level"))[who]
    spend = planned(market, usual, months, who)
    row, column = np.nonzero(elsewhere)
    gmv = elsewhere[row, column] * np.exp(rng.normal(0, 0.1, row.size))
    platform, by_sales = rng.integers(0, 2, who.size)[row], 0.08 * gmv * rng.uniform(0.5, 1.5, row.size)
    return {
        "merchant_id": _ids("m", 5, who[row]),
        "month": pa.array(months.to_numpy()[column].astype("datetime64[D]")),
        "platform": pa.array(np.array(["platform_b", "platform_c"])[platform]),
        "gmv": _money(fen(gmv)),
        "ad_spend": _money(fen(np.where(advertises[who][row], spend[row, column], by_sales))),
        "source": pa.array(["panel estimate"] * row.size),
        "confidence": pa.array(np.array(["low", "medium", "high"])[rng.integers(0, 3, row.size)]),
    }


def _ids(letter: str, width: int, codes: Ints) -> pa.Array:
    """Write codes, counted from 0, as text; each code once where there are fewer codes than rows."""
    first, last = (int(codes.min()), int(codes.max())) if codes.size else (0, -1)
    span = np.arange(first, last + 1) if last - first < codes.size else codes
    numbers = pc.utf8_lpad(pc.cast(pa.array(span + 1), pa.string()), width, "0")
    ids = pc.binary_join_element_wise(letter, numbers, "")
    return ids if span is codes else ids.take(pa.array(codes - first))


def _dates(market: Market, days: pd.Series[int]) -> pa.Array:
    first = np.datetime64(market.clock.monday(0), "D")
    return pa.array(first + days.to_numpy().astype("timedelta64[D]"))


def _money(amount: Ints) -> pa.Array:
    return pa.array(amount / 100).cast(pa.decimal128(14, 2))
