"""What every import shares: published files in, laws held, rows counted, and the new folder swapped in whole."""

from __future__ import annotations

import csv
import glob
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd

from strategy_kit.errors import ContractError, ParameterError, nearest, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Source:
    """A published collection: its name and currency, what is read, what must hold, what is written.

    `files` has each table's file stem and columns, "name, name|other name" (the last name counts); a law is "table |
    column | condition of every row | what the values must be"; `outputs` are queries by table; `books` are two queries
    of lines and value: as read; as written (the file is bound) or refused.
    """

    name: str
    currency: str
    files: Mapping[str, tuple[str, str]]
    laws: Sequence[str]
    outputs: Mapping[str, str]
    books: tuple[str, str]

    @property
    def subject(self) -> str:
        """What a refusal begins with."""
        return f"import {self.name.lower().replace(' ', '-')}"

    @property
    def origin(self) -> str:
        """What `source` in dataset.toml begins with; an earlier import is known by it."""
        return f"Imported from the published {self.name} files"

    @property
    def written(self) -> set[str]:
        """Every file name that an import writes."""
        return {"dataset.toml", "import_report.csv", *(f"{table}.parquet" for table in self.outputs)}

    def find(self, folder: Path, out: Path, laws: Sequence[str] = ()) -> dict[str, Path]:
        """Return each table's file; refuse `laws`, what is missing, and an `out` that holds something else."""
        laws, files = [*laws, *self._broken_target(out)], {}
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            refuse(ParameterError, self.subject, [*laws, f"{folder} {what}; name the folder of the downloaded files."])
        for table, (stem, _) in self.files.items():
            present = [path for path in (folder / f"{stem}.csv", folder / f"{stem}.parquet") if path.is_file()]
            if len(present) != 1:
                fault = "is there twice; keep one" if present else "is missing; download it"
                laws.append(f"{stem}.csv or .parquet in {folder} {fault}.")
            files[table] = present[0] if present else folder
        refuse(ParameterError, self.subject, laws)
        return files

    def _broken_target(self, out: Path) -> list[str]:
        if out.exists() and not out.is_dir():
            return [f"{out} is a file; name a folder."]
        present = {path.name for path in out.iterdir()} if out.exists() else set()
        text = (out / "dataset.toml").read_text("utf-8", "replace") if "dataset.toml" in present else ""
        if present and f'\nsource = "{self.origin}' not in text:
            return [f"{out} holds something that is no {self.name} import; name a new or empty folder."]
        foreign = ", ".join(sorted(present - self.written))
        return [f"{out} also holds {foreign}, which would be lost; move it away."] if foreign else []

    def load(self, connection: duckdb.DuckDBPyConnection, files: Mapping[str, Path]) -> None:
        """Read every file as trimmed text into a table of its own; refuse columns and values that break a law."""
        laws: list[str] = []
        for table, path in files.items():
            known = [names.split("|") for names in self.files[table][1].split(", ")]
            try:
                header, reader = _reader(connection, path)
                present = [(header[name], names[-1]) for names in known for name in names if name in header]
                absent = [names for names in known if not header.keys() & set(names)]
                laws += [f"{path.name} has no column {' or '.join(n)}{nearest(n[0], header)}." for n in absent]
                if not absent:
                    texts = ", ".join(f"nullif(trim({here}::varchar), '') as {name}" for here, name in present)
                    query = f"create temp table {table} as select {texts} from {reader}"
                    connection.execute(query, [glob.escape(str(path))])
            except (duckdb.Error, UnicodeDecodeError, csv.Error) as error:
                reason = " ".join(str(error).partition("Possible")[0].split())
                laws.append(f"{path.name} cannot be read ({reason}); download it again.")
        refuse(ContractError, self.subject, laws)
        self._hold_laws(connection, files)

    def _hold_laws(self, connection: duckdb.DuckDBPyConnection, files: Mapping[str, Path]) -> None:
        broken: list[str] = []
        for table, column, law, wanted in (line.split(" | ") for line in self.laws):
            values = f"select rowid as place, ({law}) as held, concat_ws(' / ', {column}) as value from {table}"
            query = f"select count(*), arg_min(value, place) from ({values}) where held is not true"
            count, first = row(connection, query)
            if count:
                fault = f"{count} values are not {wanted}, first '{first}'; correct them or download it again."
                broken.append(f"{files[table].name}, column {column}: {fault}")
        refuse(ContractError, self.subject, broken)

    def counted(self, connection: duckdb.DuckDBPyConnection, lines: Iterable[str], *, valued: bool) -> pd.DataFrame:
        """Make the import report: the rows, and when `valued` their worth, of each "step | meaning | rows"."""
        total = f"select count(*), {'coalesce(sum(value), 0)' if valued else 'null'} from "
        counts = []
        for step, meaning, rows in (line.split(" | ") for line in lines):
            count, value = row(connection, total + rows)
            worth = f"; worth {value:,.2f} {self.currency}" if valued else ""
            counts.append((step, count, meaning + worth))
        return pd.DataFrame(counts, columns=["step", "rows", "meaning"])

    def write(self, connection: duckdb.DuckDBPyConnection, out: Path, report: pd.DataFrame, head: str) -> None:
        """Put tables, report and description in the place of `out`; raise if a line or its value is lost."""
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as stage:
            fresh = Path(stage) / "fresh"
            fresh.mkdir()
            for table, query in self.outputs.items():
                connection.sql(query).write_parquet(str(fresh / f"{table}.parquet"), compression="zstd")
            read, found = row(connection, self.books[0]), row(connection, self.books[1], fresh / "order_lines.parquet")
            lost = f"{read[0] - found[0]} lines worth {read[1] - found[1]} {self.currency}"
            law = f"{lost} were neither written nor refused; the import has a fault."
            refuse(ContractError, self.subject, [law] if read != found else [])
            report.to_csv(fresh / "import_report.csv", index=False, lineterminator="\n")
            tables = "".join(f'{table} = "{table}.parquet"\n' for table in self.outputs)
            (fresh / "dataset.toml").write_text(f"{head}\n[tables]\n{tables}", encoding="utf-8")
            swap(fresh, out, Path(stage) / "replaced")


def row(connection: duckdb.DuckDBPyConnection, query: str, *paths: Path) -> tuple[Any, ...]:
    """Return the first row of a query."""
    return connection.execute(query, [glob.escape(str(path)) for path in paths]).fetchall()[0]


def swap(fresh: Path, out: Path, replaced: Path) -> None:
    """Put `fresh` in the place of `out`, or leave `out` as it was."""
    if out.exists():
        out.rename(replaced)
    try:
        fresh.rename(out)
    finally:
        if not out.exists() and replaced.exists():
            replaced.rename(out)


def _reader(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[dict[str, str], str]:
    # DuckDB's sniffer drops a header that is narrower than the rows: columns go by place, unsniffed.
    if path.suffix == ".parquet":
        connection.execute("select * from read_parquet(?) limit 0", [glob.escape(str(path))])
        return {column[0]: f'"{column[0]}"' for column in connection.description or ()}, "read_parquet(?)"
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = next(csv.reader(file), [])
    types = ", ".join(f"c{place}: 'varchar'" for place in range(len(header)))
    options = f"""auto_detect = false, header = true, quote = '"', escape = '"', columns = {{{types}}}"""
    return {name: f"c{place}" for place, name in enumerate(header)}, f"read_csv(?, {options})"
