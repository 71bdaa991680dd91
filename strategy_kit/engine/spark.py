"""Spark: the engine of a cluster. The same SQL, translated; rows stay where they are, and answers come as small frames."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import sys
import warnings
from collections.abc import Collection
from contextlib import contextmanager
from functools import reduce
from itertools import count
from typing import TYPE_CHECKING, Any

from strategy_kit.engine.base import ZONED, quoted
from strategy_kit.errors import ContractError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from strategy_kit.engine.sums import Sums

_NUMBER = count(1)
_TYPES = {"string": "VARCHAR", "timestamp_ntz": "TIMESTAMP", "timestamp": "TIMESTAMP WITH TIME ZONE", "byte": "TINYINT",
    "short": "SMALLINT", "int": "INTEGER"}  # fmt: skip
_CSV = {"header": "true", "enforceSchema": "false", "escape": '"', "multiLine": "true"}
# Only of the session that the engine makes for itself.
_SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}


class SparkEngine:
    """Tables of a Spark session: the one given, the active one, or the one that Spark's own settings lead to.

    Settings and temporary views are those of a session of its own beside it, except through Spark Connect, whose sessions
    have none beside them.
    """

    lines_at_once: int | None = None

    def __init__(self, session: SparkSession | None = None) -> None:
        self._session = _beside(session or _found_session())
        self._prefix = f"strategy_kit_{next(_NUMBER)}_"
        self._tables: set[str] = set()
        for key, value in _SETTINGS.items():
            self._session.conf.set(key, value)

    def hold(self, table: str) -> None:
        """Hold nothing: what a cluster persists is its user's to say."""

    def beside(self) -> None:
        """Return nothing: Spark runs side by side what it is given."""

    def add_files(self, table: str, paths: Sequence[str], root: str | None = None, keys: Collection[str] = ()) -> None:
        """Make Parquet or CSV files readable as `table`; only below `root` are folders named key=value columns."""
        self._read(table, [re.sub(r"([\[\]{}*?\\])", r"\\\1", path) for path in paths], root, keys)

    def _read(self, table: str, paths: Sequence[str], root: str | None = None, keys: Collection[str] = ()) -> None:
        with _readable(table):
            reader = self._session.read if root is None else self._session.read.option("basePath", root)
            if paths[0].lower().rstrip("*").endswith((".parquet", ".pq", "/")):
                found = reader.option("mergeSchema", "true").parquet(*paths)
            else:
                found = self._csv(table, reader.options(**_CSV), paths, keys)
            self._add(table, found)

    def _csv(self, table: str, reader: Any, paths: Sequence[str], keys: Collection[str]) -> DataFrame:
        """Read each file by its own header, types alike in all; identifiers that are no plain whole numbers are texts."""
        split = {path: "\t" if path.lower().rstrip("*").endswith(".tsv") else "," for path in paths}
        kinds = {path: dict(reader.csv(path, sep=sep, inferSchema=True).dtypes) for path, sep in split.items()}
        met: dict[str, set[str]] = {}
        for name, kind in (pair for found in kinds.values() for pair in found.items()):
            met.setdefault(name, set()).add(kind)
        types = {name: _common(every) for name, every in met.items()}
        texts = [reader.csv(path, sep=sep, schema=_schema(kinds[path], {})) for path, sep in split.items()]
        for name, kind in types.items():
            if kind == "timestamp":
                bare = f"`{name}` is not null and not `{name}` rlike '{ZONED}'"
                firsts = [text.where(bare).select(name).first() for text in texts if name in text.columns]
                if first := next(filter(None, firsts), None):
                    law = f"table {table} writes some of {name} with a time zone and some without (first: {first[0]})"
                    raise ContractError(f"{law}; write all alike")
            elif name in keys and kind != "string":
                odd = f"`{name}` is not null and not trim(`{name}`) rlike '^(0|-?[1-9][0-9]{{0,17}})$'"
                if any(text.where(odd).limit(1).count() for text in texts if name in text.columns):
                    types[name] = "string"
        found = [reader.csv(path, sep=sep, schema=_schema(kinds[path], types)) for path, sep in split.items()]
        return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), found)

    def add_distant(self, table: str, place: str) -> None:
        """Make readable as `table` the files at an address, or what has this name in the session's catalogue."""
        if "://" in place:
            return self._read(table, [place])
        with _readable(table):
            self._add(table, self._session.table(place))
        return None

    def _add(self, table: str, found: DataFrame) -> None:
        found.createOrReplaceTempView(f"{self._prefix}{table}__raw")
        self._tables |= {table, f"{table}__raw"}
        self.refine(table, {})

    def refine(self, table: str, columns: Mapping[str, str]) -> None:
        """Replace `table` by a view of its source in which each named column is the given SQL expression."""
        raw = f"{table}__raw"
        with _readable(table):
            names = self._session.table(self._prefix + raw).columns
            chosen = (f"{columns.get(name, quoted(name))} as {quoted(name)}" for name in names)
            view = self._translated(f"select {', '.join(chosen)} from {quoted(raw)}")
            self._session.sql(view).createOrReplaceTempView(self._prefix + table)

    def types(self, table: str) -> dict[str, str]:
        """Return column -> type name as DuckDB has it, in file order."""
        with _readable(table):
            listed = self._session.table(self._prefix + table).dtypes
        return {name: _TYPES.get(kind, kind.upper()) for name, kind in listed}

    def frame(self, sql: str, values: Mapping[str, object] | None = None) -> pd.DataFrame:
        """Run a query in the DuckDB dialect, and bring its answer over with DuckDB's own types of pandas columns."""
        import duckdb

        from strategy_kit.engine.duckdb import in_pandas

        with _user_sql():
            answer = _local(self._sql(sql, values).toArrow())
        with duckdb.connect(":memory:") as connection:
            return in_pandas(answer, connection)

    def summed(
        self, sql: str, values: Mapping[str, object], periods: int, *, logs: bool = False
    ) -> tuple[dict[int, Sums], dict[tuple[int, int], Sums]]:
        """Sum up units' paths on the executors; one row a start and category comes over."""
        from pyspark import cloudpickle

        from strategy_kit.engine import sums

        cloudpickle.register_pickle_by_value(sums)  # so that executors need not have the kit
        with _user_sql(), warnings.catch_warnings():  # of pandas' version, which nothing here goes through
            warnings.simplefilter("ignore", FutureWarning)
            parts = self._sql(sql, values).mapInArrow(sums.summing(periods, logs=logs), sums.SPARK_SCHEMA)
            whole = parts.groupBy("start", "category").applyInArrow(sums.combining, sums.SPARK_SCHEMA).toArrow()
        return sums.received(whole)

    def _sql(self, sql: str, values: Mapping[str, object] | None) -> DataFrame:
        bound = {name: _bound(value) for name, value in (values or {}).items()}
        return self._session.sql(self._translated(sql), args=bound)

    def _translated(self, sql: str) -> str:
        from strategy_kit.engine.translation import to_spark

        return to_spark(sql, self._prefix, frozenset(self._tables))


def _common(kinds: set[str]) -> str:
    """Return the type that holds the values of columns of all these types."""
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds <= {"timestamp", "timestamp_ntz", "date"}:
        return "timestamp" if "timestamp" in kinds else "timestamp_ntz"
    return (
        "double" if {kind.partition("(")[0] for kind in kinds} <= {"int", "bigint", "double", "decimal"} else "string"
    )


def _schema(columns: Mapping[str, str], types: Mapping[str, str]) -> str:
    """Declare the columns of a file, as texts where no type is given."""
    return ", ".join(f"`{name}` {types.get(name, 'string')}" for name in columns)


def _bound(value: Any) -> Any:
    """Return a value as Spark binds it: lists as arrays."""
    from pyspark.sql import functions

    if isinstance(value, str) or not isinstance(value, Collection):
        return value
    if all(type(each) in (int, dt.date) for each in value):  # as one text: a call of its own for each takes seconds
        written = (f"date'{each}'" if isinstance(each, dt.date) else str(each) for each in value)
        return functions.expr(f"array({', '.join(written)})")
    return functions.array(*(functions.lit(_bound(each)) for each in value))


def _found_session() -> SparkSession:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ParameterError(
            "engine 'spark' needs pyspark 4, which is not installed; install strategy-kit[spark]"
        ) from error
    if (active := SparkSession.getActiveSession()) is not None:
        return active
    if not os.environ.get("SPARK_REMOTE") and not shutil.which("java") and not os.environ.get("JAVA_HOME"):
        raise ParameterError(
            "engine 'spark' needs Java 17 or newer to start a Spark of its own, and none was found; install it, set "
            "SPARK_REMOTE to a Spark Connect server, or open the data set from a session that runs"
        )
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # executors of this machine run this Python
    return SparkSession.builder.appName("strategy_kit").getOrCreate()


def _beside(session: SparkSession) -> SparkSession:
    from pyspark.sql.utils import is_remote

    if is_remote():
        return session
    own = session.newSession()
    own.catalog.setCurrentDatabase(session.catalog.currentDatabase())
    return own


def _local(table: pa.Table) -> pa.Table:
    """Take the zone off timestamps: it is the session's UTC, in which local times stand as they are."""
    import pyarrow as pa

    fields = [f.with_type(pa.timestamp(f.type.unit)) if pa.types.is_timestamp(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


@contextmanager
def _readable(table: str) -> Iterator[None]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise ContractError(f"table {table} cannot be read: {_first_line(error)}") from error


@contextmanager
def _user_sql() -> Iterator[None]:
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, ParseException, PySparkException

    try:
        yield
    except (AnalysisException, ParseException) as error:
        reason = _first_line(error)
        raise ParameterError(f"a metric's SQL does not fit the data set: {reason}; correct its sql") from error
    except (PySparkException, Py4JError) as error:
        law = f"a question cannot be answered from these data: {_first_line(error)}"
        raise ContractError(f"{law}; repair the file or the column, or correct a metric's sql") from error


def _first_line(error: Exception) -> str:
    told = [line for line in str(error).strip().split("\n") if not line.startswith("An error occurred while calling")]
    return told[0].removeprefix(": ")
