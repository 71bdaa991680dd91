"""DuckDB: the engine of one machine."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
from pandas.api.types import infer_dtype

from strategy_kit.engine.base import ZONED, quoted
from strategy_kit.errors import ContractError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import pyarrow as pa


MEMORY_LIMIT, THREADS = "STRATEGY_KIT_MEMORY_LIMIT", "STRATEGY_KIT_NUM_THREADS"
_MOST = 4 * 2**30  # bytes that a question holds before it spills, where the environment does not say
_LEAST = 2**20  # bytes: less is taken for a slip of the unit
_LINE = 170  # bytes: what a line takes while two of its columns are counted by merchant and week, and a third more
_AS_ARROW = {"varchar", "bigint", "ubigint"}  # DuckDB makes objects of texts, and doubles of whole numbers beside none
_WHOLE = 2**53  # beyond it doubles do not tell whole numbers apart
_SMALL = 8  # a table of that part of the lines at once is held in memory when many questions follow
_SIZES = {f"{letter}{kind}": base**power for power, letter in enumerate("KMGT", 1) for kind, base in
          (("B", 1000), ("IB", 1024))}  # fmt: skip


class DuckDBEngine:
    """An in-memory DuckDB over files or frames, which spills to a folder of its own what is over its memory limit.

    The limit is 4 GiB, or DuckDB's own share of the machine's memory where that is less, unless STRATEGY_KIT_MEMORY_LIMIT
    says otherwise. The folder is a temporary one (TMPDIR says where), private, and removed with the engine.

    Examples
    --------
    >>> DuckDBEngine().frame("select $n + 1 as next", {"n": 41})["next"].tolist()
    [42]
    """

    def __init__(self, beside: tuple[duckdb.DuckDBPyConnection, _Spill] | None = None) -> None:
        self._connection, self._spill = beside or _opened()
        self._lock = threading.RLock()  # a connection has one answer at a time
        self._framed = False
        self._files: set[str] = set()  # tables that are read from files in every question
        self._connection.execute("set TimeZone = 'UTC'")
        self.lines_at_once: int | None = _bytes(_limit(self._connection)) // _LINE

    def beside(self) -> DuckDBEngine | None:
        """Return a further connection to the same files, for another thread; None where a table is a frame, which one holds."""
        return None if self._framed else DuckDBEngine((self._connection.cursor(), self._spill))

    def add_files(self, table: str, paths: Sequence[str], root: str | None = None, keys: Collection[str] = ()) -> None:
        """Make Parquet or CSV files readable as `table`; only below `root` are folders named key=value columns.

        Of CSV, `keys` whose numbers are too long for whole ones are texts.
        """
        if outer := [part for part in Path(root or "").parts if "=" in part]:
            law = f"table {table} has folders named key=value below {outer[0]!r}, which would be read as a column too"
            raise ContractError(f"{law}; rename that folder")
        listed = ", ".join(f"'{_literal(path)}'" for path in paths)
        options = f"union_by_name = true, hive_partitioning = {root is not None}"
        with _readable(table):
            if paths[0].lower().endswith((".parquet", ".pq")):
                instants = "".join(
                    f"timezone('UTC', {name}) as {name}, " for name in _instants(self._connection, table, listed)
                )
                replaced = f" replace ({instants[:-2]})" if instants else ""
                source = f"(select *{replaced} from read_parquet([{listed}], {options}))"
            else:
                source = self._csv(
                    table, paths, f"read_csv([{listed}], sample_size = -1, comment = '', {options}", keys
                )
            self._connection.execute(f"create view {_raw(table)} as select * from {source}")
        self._files.add(table)
        self.refine(table, {})

    def _csv(self, table: str, paths: Sequence[str], source: str, keys: Collection[str]) -> str:
        """Return the source with long identifiers as texts: read as numbers, many of them would be one."""
        for path in paths:
            sniffed = (
                f"select coalesce(DateFormat, ''), coalesce(TimestampFormat, '') from sniff_csv('{_literal(path)}')"
            )
            other = [told for told in self._connection.execute(sniffed).fetchall()[0] if told and told[:2] != "%Y"]
            if other:
                law = f"table {table} writes dates as {other[0]}, which can be read in two ways"
                raise ContractError(f"{law}; write them as year-month-day, such as 2025-07-21")
        described = self._connection.execute(f"describe from {source})").fetchall()
        for name in (name for name, kind, *_ in described if kind == "TIMESTAMP WITH TIME ZONE"):
            column = quoted(name)
            bare = f"{column} is not null and not regexp_matches({column}, '{ZONED}')"
            texts = f"{source}, types = {{'{name}': 'VARCHAR'}}) where {bare}"
            if first := self._connection.execute(f"select {column} from {texts} limit 1").fetchall():
                law = f"table {table} writes some of {name} with a time zone and some without (first: {first[0][0]})"
                raise ContractError(f"{law}; write all alike")
        long = [f"'{name}': 'VARCHAR'" for name, kind, *_ in described if kind == "DOUBLE" and name in keys]
        return f"{source}, types = {{{', '.join(long)}}})" if long else f"{source})"

    def add_frame(self, table: str, frame: pd.DataFrame) -> None:
        """Make a pandas frame readable as `table`; Python Decimals with a fraction become doubles, their width being a guess.

        Texts are read where Arrow holds them; DuckDB would make a Python object of each, in every query.
        """
        self._framed = True
        with _readable(table):
            self._connection.register(f"{table}__raw", _plain(frame))
        self.refine(table, {})

    def hold(self, table: str) -> None:
        """Read a table of files into memory where it is small beside the memory limit; frames are there already."""
        raw = _raw(table)
        with _readable(table):
            if table not in self._files or self._count(raw) > (self.lines_at_once or 0) // _SMALL:
                return
            self._files.remove(table)
            named = f"drop view {raw}; alter table held rename to {raw}"
            self._connection.execute(f"create table held as select * from {raw}; {named}")

    def _count(self, raw: str) -> int:
        return int(self._connection.execute(f"select count(*) from {raw}").fetchall()[0][0])

    def refine(self, table: str, columns: Mapping[str, str]) -> None:
        """Replace `table` by a view of its source in which each named column is the given SQL expression."""
        replaced = ", ".join(f"{sql} as {quoted(name)}" for name, sql in columns.items())
        chosen = f"* replace ({replaced})" if replaced else "*"
        with _readable(table):
            self._connection.execute(f"create or replace view {quoted(table)} as select {chosen} from {_raw(table)}")

    def types(self, table: str) -> dict[str, str]:
        """Return column -> type name of the database, in file order."""
        with self._lock, _readable(table):
            described = self._connection.execute(f"describe {quoted(table)}").fetchall()
        return {row[0]: row[1] for row in described}

    def frame(self, sql: str, values: Mapping[str, object] | None = None) -> pd.DataFrame:
        """Run a query; `$name` in it is bound to `values`.

        SQL of a user that does not fit the tables, and a question over the memory limit that spilling does not help, are a
        ParameterError.
        """
        try:
            with self._lock:
                answer = self._connection.execute(sql, dict(values or {}))
                exact = any(kind.id in _AS_ARROW for _, kind, *_ in answer.description)
                return in_pandas(answer.to_arrow_table(), self._connection) if exact else answer.df()
        except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException) as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise ParameterError(f"a metric's SQL does not fit the data set: {reason}; correct its sql") from error
        except duckdb.OutOfMemoryException as error:
            law = (
                f"a question needs more memory than its limit, {_limit(self._connection)}, or a larger disk to spill to"
            )
            raise ParameterError(f"{law}; raise {MEMORY_LIMIT}, or set TMPDIR to a folder with more room") from error
        except (duckdb.DataError, duckdb.IOException, duckdb.InvalidInputException) as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            law = f"a question cannot be answered from these data: {reason}"
            raise ContractError(f"{law}; repair the file or the column, or correct a metric's sql") from error


def _plain(frame: pd.DataFrame) -> pd.DataFrame | pa.Table:
    import pyarrow as pa

    if repeated := frame.columns[frame.columns.duplicated()].tolist():
        raise ValueError(f"its columns {repeated} repeat; name each once")
    kinds = {name: infer_dtype(column, skipna=True) for name, column in frame.items() if column.dtype == object}
    plain = {"string": "str", **dict.fromkeys(("decimal", "floating", "mixed-integer-float"), "float64")}
    decimals = {name: pa.array(frame[name], from_pandas=True).type for name in kinds if kinds[name] == "decimal"}
    # identifiers may be longer than a double tells apart
    exact = {name for name, kind in decimals.items() if kind.scale == 0}
    frame = frame.astype({name: plain[kind] for name, kind in kinds.items() if kind in plain and name not in exact})
    return pa.Table.from_pandas(frame, preserve_index=False) if set(kinds.values()) <= set(plain) else frame


def _literal(path: str) -> str:
    """Write a path within quotes of SQL, none of its characters a pattern."""
    return re.sub(r"[\[*?]", r"[\g<0>]", path).replace("'", "''")


def _instants(connection: duckdb.DuckDBPyConnection, table: str, listed: str) -> list[str]:
    """Name the columns of the old type INT96, instants that DuckDB takes for local times.

    Instants in some files and local times in others are refused: one of them would shift by hours.
    """
    zoned = "(type = 'INT96' or regexp_matches(logical_type, 'isAdjustedToUTC=(1|true)'))"
    stamps = "type = 'INT96' or logical_type like 'Timestamp%'"
    sql = f"select name from parquet_schema([{listed}]) where {stamps} group by 1"
    if mixed := connection.execute(f"{sql} having count(distinct {zoned}) > 1").fetchall():
        law = f"table {table} stores {mixed[0][0]} with a time zone in some files and without one in others"
        raise ContractError(f"{law}; store it alike in all")
    return [
        quoted(name)
        for (name,) in connection.execute(f"{sql} having bool_and(coalesce(type, '') = 'INT96')").fetchall()
    ]


def in_pandas(answer: pa.Table, connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return an answer with DuckDB's own types of pandas columns; texts stay Arrow's: DuckDB makes a Python object of each.

    Examples
    --------
    >>> import pyarrow as pa
    >>> answer = pa.table({"merchant_id": ["m1", None], "orders": [1, 2]})
    >>> list(map(str, in_pandas(answer, duckdb.connect()).dtypes))
    ['str', 'int64']
    """
    import pyarrow as pa

    kinds = {field.name: field.type for field in answer.schema}
    texts = {name: answer[name].to_pandas() for name, kind in kinds.items() if pa.types.is_string(kind)}
    enums = {name: answer[name].to_pandas() for name, kind in kinds.items() if pa.types.is_dictionary(kind)}
    columns = texts | {name: column.cat.as_ordered() for name, column in enums.items()}
    whole = [name for name, kind in kinds.items() if pa.types.is_integer(kind) and _long(answer[name])]
    exact = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
    columns |= {name: answer[name].to_pandas(types_mapper=exact.get) for name in whole}
    others = answer.drop_columns(list(columns))
    if others.column_names:
        columns |= connection.from_arrow(others).df().items()
    return pd.DataFrame({name: columns[name] for name in kinds}, copy=False)


def _long(column: pa.ChunkedArray) -> bool:
    """Whether numbers of a column that has missing values would merge as doubles."""
    import pyarrow.compute as pc

    ends = pc.min_max(column).as_py() if column.null_count else {"min": None}
    return ends["min"] is not None and max(-ends["min"], ends["max"]) > _WHOLE


class _Spill:
    """A private temporary folder, removed with the last connection that holds it, or at exit."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="strategy-kit-spill-")
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def _opened() -> tuple[duckdb.DuckDBPyConnection, _Spill]:
    threads, limit = _threads(), _memory_limit()
    connection, spill = duckdb.connect(":memory:"), _Spill()
    connection.execute("set temp_directory = $folder", {"folder": spill.folder})
    if threads is not None:
        connection.execute(f"set threads = {threads}")
    if limit is not None or _bytes(_limit(connection)) > _MOST:
        connection.execute(f"set memory_limit = '{_MOST if limit is None else limit}B'")
    return connection, spill


def _limit(connection: duckdb.DuckDBPyConnection) -> str:
    return str(connection.execute("select current_setting('memory_limit')").fetchall()[0][0])


def _threads() -> int | None:
    given = os.environ.get(THREADS, "")
    if not given:
        return None
    if not (given.isdecimal() and int(given)):
        raise ParameterError(f"{THREADS} is a number of threads, 1 or more, not {given!r}; correct it, or unset it")
    return int(given)


def _memory_limit() -> int | None:
    given = os.environ.get(MEMORY_LIMIT, "")
    if not given:
        return None
    if (found := _bytes(given)) < _LEAST:
        law = f"{MEMORY_LIMIT} is an amount of memory such as 2GB or 512MiB, not {given!r}"
        raise ParameterError(f"{law}; correct it, or unset it")
    return found


def _bytes(amount: str) -> int:
    """Read an amount of memory as DuckDB writes it, 0 for what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]I?B)", amount.strip().upper())
    return int(float(found[1]) * _SIZES[found[2]]) if found else 0


def _raw(table: str) -> str:
    return quoted(f"{table}__raw")


@contextmanager
def _readable(table: str) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, ValueError, TypeError, OverflowError, NotImplementedError) as error:
        if "unicode" in (told := str(error)).lower() or "utf-8" in told.lower():
            raise ContractError(f"table {table} is not UTF-8; save its files as UTF-8") from error
        raise ContractError(f"table {table} cannot be read: {told.partition(chr(10))[0]}") from error
