"""The one room that knows a database: SQL in, small pandas frames out."""

from __future__ import annotations

from strategy_kit.engine.base import DistantEngine, Engine, kind_of, quoted
from strategy_kit.engine.duckdb import DuckDBEngine

__all__ = ["DistantEngine", "DuckDBEngine", "Engine", "kind_of", "quoted"]
