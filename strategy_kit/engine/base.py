"""What every engine can do, and how identifiers and types are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd

    from strategy_kit.engine.sums import Sums


ZONED = ":[0-9.]+ ?(Z|z|[+-][0-9]{2}(:?[0-9]{2})?|[A-Za-z_]+(/[A-Za-z_/]+)?)$"
"""What a time ends with whose place on the globe is said."""


class Engine(Protocol):
    """A database that holds the tables of one data set.

    Attributes
    ----------
    lines_at_once
        Order lines whose distinct values, by merchant and week, fit its memory at a time; None where a cluster sees to that
        itself.
    """

    lines_at_once: int | None

    def add_files(self, table: str, paths: Sequence[str], root: str | None = None, keys: Collection[str] = ()) -> None:
        """Make Parquet or CSV files readable as `table`; folders named key=value below `root` are columns, `keys` identify."""

    def refine(self, table: str, columns: Mapping[str, str]) -> None:
        """Replace `table` by a view of it in which each named column is the given SQL expression."""

    def types(self, table: str) -> dict[str, str]:
        """Return column -> type name of the database, in file order."""

    def hold(self, table: str) -> None:
        """Read a table of files into memory for the many questions to come, where this engine gains by it and it is small."""

    def beside(self) -> Engine | None:
        """Return a further connection to the same tables for another thread, or None where one connection holds them."""

    def frame(self, sql: str, values: Mapping[str, object] | None = None) -> pd.DataFrame:
        """Run a query in the DuckDB dialect; `$name` in it is bound to `values`."""


@runtime_checkable
class DistantEngine(Engine, Protocol):
    """A database whose units stay where they are: panels come over as their sums."""

    def add_distant(self, table: str, place: str) -> None:
        """Make readable as `table` what lies at an address, or has this name in the catalogue."""

    def summed(
        self, sql: str, values: Mapping[str, object], periods: int, *, logs: bool = False
    ) -> tuple[dict[int, Sums], dict[tuple[int, int], Sums]]:
        """Sum up units' paths, or their logarithms, by start, and by start and category; see `engine.sums`."""


def quoted(identifier: str) -> str:
    """Quote a column or table name for SQL.

    Examples
    --------
    >>> quoted("size band")
    '"size band"'
    """
    return '"' + identifier.replace('"', '""') + '"'


_KINDS = {"VARCHAR": "text", "BOOLEAN": "boolean", "DATE": "date", "TIMESTAMP": "timestamp", "DECIMAL": "number",
    "DOUBLE": "number", "FLOAT": "number"}  # fmt: skip


def kind_of(type_name: str) -> str:
    """Name the kind of the contract that a database type belongs to.

    Examples
    --------
    >>> kind_of("DECIMAL(14,2)"), kind_of("TIMESTAMP WITH TIME ZONE"), kind_of("UBIGINT")
    ('number', 'timestamp', 'integer')
    """
    head = type_name.upper().split("(")[0].split(" ")[0].split("_")[0]
    if head.startswith("ENUM"):
        return "text"
    if "INT" in head and head != "INTERVAL":
        return "integer"
    return _KINDS.get(head, type_name.lower())
