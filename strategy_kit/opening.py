"""Data sets opened: from a folder on this machine or a cluster, or from frames in hand; the same laws hold for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from strategy_kit import checks
from strategy_kit.contract import TABLES
from strategy_kit.dataset import Dataset
from strategy_kit.description import FILE_ENDS, Description, EngineName, Pilot, describe, read_description
from strategy_kit.engine import DistantEngine, DuckDBEngine
from strategy_kit.errors import ContractError, ParameterError, nearest, refuse
from strategy_kit.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

    from strategy_kit.engine import Engine

_FIRST_TABLES = ("order_lines", "merchants")


def open_dataset(folder: str | Path, *, engine: EngineName | SparkSession | None = None) -> Dataset:
    """Open the data set in `folder`, described by its dataset.toml.

    Parameters
    ----------
    folder
        Holds dataset.toml and the Parquet or CSV files that it names; globs are allowed. On Spark a table may also be named
        by its address (s3://.../*.parquet) or by its name in the catalogue (lake.sales.order_lines).
    engine
        "duckdb" on this machine, "spark" on the active Spark session or the one that Spark's own settings lead to (also
        through SPARK_REMOTE), or a Spark session; by default what dataset.toml says, else DuckDB.

    Raises
    ------
    ParameterError
        If the folder or its dataset.toml does not exist.
    ContractError
        If a file or column is missing or of the wrong kind; every such fault is named at once.

    Examples
    --------
    >>> open_dataset("data/sample").name
    'sample'
    """
    folder = Path(folder)
    description, patterns = read_description(folder)
    laws = [f"tables.{table} is missing; every data set has it" for table in _FIRST_TABLES if table not in patterns]
    engine = description.engine if engine is None else engine
    distant = {t: name for t, name in patterns.items() if not name.lower().endswith(FILE_ENDS) or "://" in name}
    if engine == "duckdb":
        remedy = (
            'no Parquet or CSV file of this folder; save it as one, or set engine = "spark" for a catalogue or address'
        )
        laws += [f"tables.{table}: {name!r} is {remedy}" for table, name in distant.items()]
    files = {t: tuple(sorted(folder.glob(pattern))) for t, pattern in patterns.items() if t not in distant}
    laws += [f"tables.{table}: no file matches {patterns[table]!r}" for table, paths in files.items() if not paths]
    refuse(ContractError, f"data set {description.name!r}", laws)
    database = _database(engine)  # last: Spark takes seconds to start
    for table, paths in files.items():
        partitioned = any("=" in part for path in paths for part in path.relative_to(folder).parts[:-1])
        root = str(folder.resolve()) if partitioned else None
        keys = [column for column, kind in TABLES[table].columns.items() if kind == "key"]
        database.add_files(table, [str(path.resolve()) for path in paths], root, keys)
    if isinstance(database, DistantEngine):
        for table, name in distant.items():
            database.add_distant(table, name)
    return _checked(Dataset(description, database, tuple(patterns), files))


def _database(engine: str | SparkSession) -> Engine:
    if engine == "duckdb":
        return DuckDBEngine()
    if isinstance(engine, str) and engine != "spark":
        known = get_args(EngineName)
        raise ParameterError(f"engine is one of {', '.join(known)}, not {engine!r}{nearest(engine, known)}")
    from strategy_kit.engine.spark import SparkEngine

    return SparkEngine(None if isinstance(engine, str) else engine)


def dataset_from_frames(
    order_lines: pd.DataFrame,
    merchants: pd.DataFrame,
    *,
    timezone: str,
    currency: str,
    pilot: Mapping[str, Any] | Pilot | None = None,
    **others: Any,
) -> Dataset:
    """Make a data set of pandas frames in hand; the same laws hold as for files.

    Parameters
    ----------
    order_lines, merchants
        Frames with the contract's columns; their index is ignored.
    timezone
        Business time zone, for example "Asia/Shanghai"; naive timestamps are already in it.
    pilot
        {category: first day}, or {"categories": [...], "starts_on": day}, or a `Pilot`.
    **others
        Further tables of the contract as frames (support=..., calendar=...), or keys of dataset.toml (name=...,
        title=..., synthetic=..., data_from=..., data_through=..., plan={...} or a `Plan`).

    Raises
    ------
    ParameterError
        If a keyword is neither a table nor a key.
    ContractError
        If a column is missing or of the wrong kind, or a key breaks a rule; all at once.

    Examples
    --------
    >>> lines = pd.DataFrame({"order_id": [1, 2], "line_id": 1, "buyer_id": ["a", "b"], "merchant_id": "m",
    ...     "category": "beauty", "paid_at": pd.to_datetime(["2025-01-06", "2025-01-14"]), "amount": [10.0, 5.5]})
    >>> roster = pd.DataFrame({"merchant_id": ["m"], "category": ["beauty"]})
    >>> dataset_from_frames(lines, roster, timezone="Asia/Shanghai", currency="CNY").data_through
    datetime.date(2025, 1, 14)
    """
    given = {"order_lines": order_lines, "merchants": merchants, **others}
    frames = {name: value for name, value in given.items() if isinstance(value, pd.DataFrame)}
    keys = {name: value for name, value in others.items() if name not in frames and name not in TABLES}
    unknown = [f"{t} must be a pandas frame, not {given[t]!r}" for t in given if t in TABLES and t not in frames]
    unknown += [f"{t!r} is not a table of the contract{nearest(t, TABLES)}" for t in frames if t not in TABLES]
    known = [f for f in Description.__dataclass_fields__ if f not in ("pilot", "seal", "engine")]
    unknown += [f"{name!r} is not a key{nearest(name, [*known, *TABLES])}" for name in keys if name not in known]
    refuse(ParameterError, "dataset_from_frames", unknown)
    head: dict[str, Any] = {"name": "frames", "timezone": timezone, "currency": currency, **keys}
    head |= {} if pilot is None else {"pilot": pilot}
    made: dict[str, Any] = {name: head[name] for name in ("pilot", "plan") if isinstance(head.get(name), Pilot | Plan)}
    plain = {name: value for name, value in head.items() if name not in made}
    description = replace(describe(plain, "the data set"), **made)
    database = DuckDBEngine()
    for table, frame in frames.items():
        database.add_frame(table, frame.reset_index(drop=True))
    return _checked(Dataset(description, database, tuple(frames), {}))


def _checked(shop: Dataset) -> Dataset:
    laws = [law for table in shop.tables for law in checks.column_laws(shop.engine, table)]
    laws += checks.roster_laws(shop.engine, shop.tables)
    about = shop.description
    laws = laws or checks.currency_laws(shop.engine, about.currency)
    refuse(ContractError, f"data set {shop.name!r}", laws)
    for table in shop.tables:
        shop.engine.refine(table, checks.refinements(shop.engine, table, about.timezone, about.currency))
    return shop
