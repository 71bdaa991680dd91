"""DuckDB: the engine of one machine."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
from pandas.api.types import infer_dtype

from strategy_kit.engine.base import quoted
from strategy_kit.errors import ContractError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd


class DuckDBEngine:
    """An in-memory DuckDB over files or frames; nothing is written to disk unless a query spills.

    Examples
    --------
    >>> DuckDBEngine().frame("select $n + 1 as next", {"n": 41})["next"].tolist()
    [42]
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        self._connection = connection or duckdb.connect(":memory:")
        self._framed = False
        self._connection.execute("set TimeZone = 'UTC'")
        if (threads := os.environ.get("STRATEGY_KIT_NUM_THREADS", "")).isdecimal() and int(threads):
            self._connection.execute(f"set threads = {int(threads)}")

    def beside(self) -> DuckDBEngine | None:
        """Return a further connection to the same files, for another thread; None where a table is a frame, which one holds."""
        return None if self._framed else DuckDBEngine(self._connection.cursor())

    def add_files(self, table: str, paths: Sequence[str]) -> None:
        """Make Parquet or CSV files readable as `table`."""
        reader = "read_parquet" if paths[0].lower().endswith((".parquet", ".pq")) else "read_csv"
        listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
        options = "union_by_name = true" if reader == "read_parquet" else "union_by_name = true, sample_size = -1"
        with _readable(table):
            self._connection.execute(f"create view {_raw(table)} as select * from {reader}([{listed}], {options})")
        self.refine(table, {})

    def add_frame(self, table: str, frame: pd.DataFrame) -> None:
        """Make a pandas frame readable as `table`; Python Decimals become numbers, whose width DuckDB would guess."""
        objects = {name: column for name, column in frame.items() if column.dtype == object}
        decimals = [name for name, column in objects.items() if infer_dtype(column, skipna=True) == "decimal"]
        if decimals:
            frame = frame.astype(dict.fromkeys(decimals, float))
        self._framed = True
        with _readable(table):
            self._connection.register(f"{table}__raw", frame)
        self.refine(table, {})

    def refine(self, table: str, columns: Mapping[str, str]) -> None:
        """Replace `table` by a view of its source in which each named column is the given SQL expression."""
        replaced = ", ".join(f"{sql} as {quoted(name)}" for name, sql in columns.items())
        chosen = f"* replace ({replaced})" if replaced else "*"
        with _readable(table):
            self._connection.execute(f"create or replace view {quoted(table)} as select {chosen} from {_raw(table)}")

    def types(self, table: str) -> dict[str, str]:
        """Return column -> type name of the database, in file order."""
        with _readable(table):
            described = self._connection.execute(f"describe {quoted(table)}").fetchall()
        return {row[0]: row[1] for row in described}

    def frame(self, sql: str, values: Mapping[str, object] | None = None) -> pd.DataFrame:
        """Run a query; `$name` in it is bound to `values`. SQL of a user that does not fit the tables is a ParameterError."""
        try:
            return self._connection.execute(sql, dict(values or {})).df()
        except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException) as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise ParameterError(f"a metric's SQL does not fit the data set: {reason}; correct its sql") from error


def _raw(table: str) -> str:
    return quoted(f"{table}__raw")


@contextmanager
def _readable(table: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise ContractError(f"table {table} cannot be read: {reason}") from error
