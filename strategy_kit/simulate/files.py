"""A simulated market as the files of a data set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from strategy_kit.simulate.market import NAMES, NEVER, PILOTS, Ints
from strategy_kit.simulate.orders import MARKETS, STATUSES, fen
from strategy_kit.simulate.seasons import POLICIES

if TYPE_CHECKING:
    from pathlib import Path

    from strategy_kit.simulate.market import Market

TABLES = ("order_lines", "merchants", "support", "calendar", "policies")
FILES = {"dataset.toml", "truth.json", *(f"{table}.parquet" for table in TABLES)}
_REGIONS = ["Zhejiang", "Guangdong", "Jiangsu", "Shanghai", "Fujian", "Shandong", "Beijing", "Hebei"]
_LEVERS = ["display", "marketing", "service"]
_MONEY = ("amount", "refund_amount", "platform_subsidy", "list_amount")
_PACKED = {"order_id": "DELTA_BYTE_ARRAY", "paid_at": "DELTA_BINARY_PACKED"}
# the row group is the unit that DuckDB gives to a thread; without the Arrow schema text stays plain text
_OPTIONS: dict[str, Any] = {"compression": "zstd", "compression_level": 6, "row_group_size": 122_880}
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
chance_needed = 0.90
next_decision = {}
owner = "Head of category operations"

[tables]
"""


def write_dataset(folder: Path, source: str, market: Market, lines: pd.DataFrame, rng: np.random.Generator) -> None:
    """Write dataset.toml and the five tables; the data set bears the folder's name."""
    clock, days = market.clock, market.clock.calendar()
    names = ("policy", "started_on", "ended_on", "direction")
    policies = dict(zip(names, (list(values) for values in zip(*POLICIES, strict=True)), strict=False))
    tables: dict[str, dict[str, Any]] = {
        "order_lines": _order_lines(market, lines),
        "merchants": _merchants(market, rng),
        "support": _support(market, rng),
        "calendar": {name: days[name].tolist() for name in ("date", "festival", "phase")},
        "policies": {**policies, "scope": ["all"] * len(POLICIES)},
    }
    for table, columns in tables.items():
        packed = {name: kind for name, kind in _PACKED.items() if name in columns}
        plain = [name for name in columns if name not in packed]
        path = folder / f"{table}.parquet"
        pq.write_table(pa.table(columns), path, use_dictionary=plain, column_encoding=packed, **_OPTIONS)
    pilot, decision = clock.monday(clock.pilot_week), clock.monday(clock.weeks + 2)
    pilots, last = json.dumps(list(PILOTS)), days["date"].iloc[-1]
    head = _HEAD.format(folder.name, clock.monday(0), last, source, pilots, pilot, decision)
    listed = "".join(f'{table} = "{table}.parquet"\n' for table in TABLES)
    (folder / "dataset.toml").write_text(head + listed, encoding="utf-8", newline="\n")


def _order_lines(market: Market, lines: pd.DataFrame) -> dict[str, Any]:
    code = {name: lines[name].to_numpy() for name in lines}
    start = np.datetime64(market.clock.monday(0), "us")
    return {
        "order_id": _ids("o", 8, code["order"]),
        "line_id": pa.array(code["line_id"], pa.int32()),
        "buyer_id": _ids("b", 7, code["buyer"]),
        "merchant_id": _ids("m", 5, code["merchant"]),
        "category": pa.array(NAMES).take(pa.array(market.column("category")[code["merchant"]])),
        "paid_at": pa.array(start + code["second"] * np.timedelta64(1_000_000, "us")),
        "quantity": pa.array(code["quantity"], pa.int32()),
        "status": pa.array(STATUSES).take(pa.array(code["status"])),
        **{name: _money(code[name]) for name in _MONEY},
        "market": pa.array(MARKETS).take(pa.array(code["market"])),
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
    weekly = who["dose"] * (0.03 * who["level"] * who["price"] + 40)
    return {
        "merchant_id": _ids("m", 5, who.index.to_numpy()),
        "lever": pa.array(np.array(_LEVERS)[who["lever"]]),
        "started_on": _dates(market, 7 * who["cohort"]),
        "announced_on": _dates(market, 7 * who["cohort"] - who["notice"]),
        "ended_on": pa.nulls(len(who), pa.date32()),
        "cost": _money(fen((weekly * (market.clock.weeks - who["cohort"])).to_numpy())),
        "dose": pa.array(who["dose"]),
    }


def _ids(letter: str, width: int, codes: Ints) -> pa.Array:
    numbers = pc.cast(pa.array(np.arange(codes.max(initial=0) + 1) + 1), pa.string())
    return pc.binary_join_element_wise(letter, pc.utf8_lpad(numbers, width, "0"), "").take(pa.array(codes))


def _dates(market: Market, days: pd.Series[int]) -> pa.Array:
    first = np.datetime64(market.clock.monday(0), "D")
    return pa.array(first + days.to_numpy().astype("timedelta64[D]"))


def _money(amount: Ints) -> pa.Array:
    return pa.array(amount / 100).cast(pa.decimal128(14, 2))
