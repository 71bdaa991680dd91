"""Turn the published Olist marketplace files into a data set that keeps the contract."""

from __future__ import annotations

import csv
import glob
import json
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pandas as pd

from strategy_kit.errors import ContractError, ParameterError, nearest, refuse
from strategy_kit.importers.olist_sql import BUILD, COUNTS, FILES, LAWS, OUTPUTS, PILOT

DATA_FROM, DATA_THROUGH = date(2017, 1, 2), date(2018, 8, 19)
ORIGIN = "Imported from the published Olist files"
WRITTEN = {"dataset.toml", "import_report.csv", *(f"{table}.parquet" for table in OUTPUTS)}
DESCRIPTION = f"""\
name = {{name}}
title = "Olist marketplace (Brazil)"
synthetic = false
currency = "BRL"
timezone = "America/Sao_Paulo"
data_from = {DATA_FROM}
data_through = {DATA_THROUGH}
source = "{ORIGIN} (Kaggle), licence CC BY-NC-SA 4.0: not to be committed or published."

[pilot]
categories = {json.dumps(list(PILOT))}
starts_on = {{day:%Y-%m-%d}}
placebo = true

[plan]
threshold = 0.03
chance_needed = 0.90

[tables]
""" + "".join(f'{table} = "{table}.parquet"\n' for table in OUTPUTS)


def import_olist(source: str | Path, out: str | Path, *, pilot_date: date = date(2018, 2, 5)) -> pd.DataFrame:
    """Write the Olist marketplace as a data set, and count what was read, dropped or could not be mapped.

    An order item is a line of quantity 1; its price is the `amount` (BRL). Freight is no column of the
    contract and is left out; refunds are not published. Canceled and unavailable orders are `cancelled`, all
    others `paid`. `paid_at` is `order_purchase_timestamp` (local time), when the buyer decided: the approval
    is missing for 160 orders and puts 8 % of the others into another week. A merchant's category is the one
    with most paid sales value strictly before `pilot_date`; ties go to more lines, then the alphabet; it is
    "unknown" without such a sale. `opened_on` is the day of the first paid sale. Mother's Day is spot from
    Monday to the Sunday itself. Olist ran no pilot: an effect estimated at `pilot_date` is a placebo.

    Parameters
    ----------
    source
        Folder with the published files (Kaggle olistbr/brazilian-ecommerce), CSV or Parquet.
    out
        Folder to write; an earlier import is replaced once the new one is complete.
    pilot_date
        Monday within the usable weeks on which the placebo pilot starts.

    Returns
    -------
    One row per count: `step`, `rows`, `meaning`; also written to `import_report.csv`.

    Raises
    ------
    ParameterError
        A file is missing, `pilot_date` does not fit, or `out` holds something that this import did not make.
    ContractError
        A column is missing, a key is empty or repeated, or a number or time cannot be read.

    Examples
    --------
    >>> import_olist("nowhere", "olist")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    strategy_kit.errors.ParameterError: import olist breaks 6 laws: (1) olist_orders_dataset...
    """
    source, out = Path(source), Path(out).resolve()
    files = _find(source, [*_broken_date(pilot_date), *_broken_target(out)])
    with duckdb.connect() as connection:
        _load(connection, files)
        _hold_laws(connection, files)
        report = _build(connection, pilot_date)
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as stage:
            fresh = Path(stage) / "fresh"
            fresh.mkdir()
            for table, query in OUTPUTS.items():
                connection.sql(query).write_parquet(str(fresh / f"{table}.parquet"), compression="zstd")
            _account(connection, fresh / "order_lines.parquet")
            report.to_csv(fresh / "import_report.csv", index=False, lineterminator="\n")
            description = DESCRIPTION.format(name=json.dumps(out.name, ensure_ascii=False), day=pilot_date)
            (fresh / "dataset.toml").write_text(description, encoding="utf-8")
            _swap(fresh, out, Path(stage) / "replaced")
    return report


def _broken_date(pilot_date: date) -> list[str]:
    day = f"{pilot_date:%Y-%m-%d}"
    fits = pilot_date.weekday() == 0 and f"{DATA_FROM}" < day <= f"{DATA_THROUGH}"
    law = f"pilot_date {day} is not a Monday after {DATA_FROM} and up to {DATA_THROUGH}; choose one."
    return [] if fits else [law]


def _broken_target(out: Path) -> list[str]:
    if out.exists() and not out.is_dir():
        return [f"{out} is a file; name a folder."]
    present = {path.name for path in out.iterdir()} if out.exists() else set()
    text = (out / "dataset.toml").read_text("utf-8", "replace") if "dataset.toml" in present else ""
    if present and f'\nsource = "{ORIGIN}' not in text:
        return [f"{out} holds something that is no Olist import; name a new or empty folder."]
    foreign = ", ".join(sorted(present - WRITTEN))
    return [f"{out} also holds {foreign}, which would be lost; move it away."] if foreign else []


def _find(source: Path, laws: list[str]) -> dict[str, Path]:
    files = {}
    for table, (stem, _) in FILES.items():
        present = [path for path in (source / f"{stem}.csv", source / f"{stem}.parquet") if path.is_file()]
        if len(present) != 1:
            fault = "is there twice; keep one" if present else "is missing; download it"
            laws.append(f"{stem}.csv or .parquet in {source} {fault}.")
        files[table] = present[0] if present else source
    refuse(ParameterError, "import olist", laws)
    return files


def _load(connection: duckdb.DuckDBPyConnection, files: dict[str, Path]) -> None:
    laws: list[str] = []
    for table, path in files.items():
        columns = FILES[table][1].split()
        try:
            names, reader = _reader(connection, path)
            absent = [column for column in columns if column not in names]
            laws += [f"{path.name} has no column {column}{nearest(column, names)}." for column in absent]
            if not absent:
                texts = ", ".join(f"nullif(trim({names[name]}::varchar), '') as {name}" for name in columns)
                query = f"create temp table {table} as select {texts} from {reader}"
                connection.execute(query, [glob.escape(str(path))])
        except (duckdb.Error, UnicodeDecodeError, csv.Error) as error:
            reason = " ".join(str(error).partition("Possible")[0].split())
            laws.append(f"{path.name} cannot be read ({reason}); download it again.")
    refuse(ContractError, "import olist", laws)


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


def _hold_laws(connection: duckdb.DuckDBPyConnection, files: dict[str, Path]) -> None:
    laws: list[str] = []
    for table, column, law, wanted in (line.split(" | ") for line in LAWS):
        values = f"select rowid as place, ({law}) as held, concat_ws(' / ', {column}) as value from {table}"
        query = f"select count(*), arg_min(value, place) from ({values}) where held is not true"
        count, first = _row(connection, query)
        if count:
            fault = f"{count} values are not {wanted}, first '{first}'; correct them or download it again."
            laws.append(f"{files[table].name}, column {column}: {fault}")
    refuse(ContractError, "import olist", laws)


def _build(connection: duckdb.DuckDBPyConnection, pilot_date: date) -> pd.DataFrame:
    pairs = [(published, category) for category, keys in PILOT.items() for published in keys.split()]
    pilot = "create temp table pilot as select unnest(?) as published, unnest(?) as category"
    connection.execute(pilot, [list(column) for column in zip(*pairs, strict=True)])
    span = "select ?::date as data_from, ?::date as data_through, ?::date as pilot_date"
    connection.execute(f"create temp table span as {span}", [DATA_FROM, DATA_THROUGH, pilot_date])
    connection.execute(BUILD)
    reads = [f"{table} read | rows of {stem} | {table}" for table, (stem, _) in FILES.items()]
    lines = (line.split(" | ") for line in [*reads, *COUNTS])
    counts = [(step, _row(connection, f"select count(*) from {rows}")[0], why) for step, why, rows in lines]
    return pd.DataFrame(counts, columns=["step", "rows", "meaning"])


def _account(connection: duckdb.DuckDBPyConnection, written: Path) -> None:
    """Raise unless every line and every centavo that was read was written or refused."""
    total = "select count(*), coalesce(sum({}::double::decimal(18, 4)), 0) from {}"
    read = _row(connection, total.format("price", "items"))
    kept = _row(connection, total.format("amount", "read_parquet(?)"), glob.escape(str(written)))
    refused = _row(connection, total.format("amount", "line where missing is not null"))
    lines, value = (read[i] - kept[i] - refused[i] for i in (0, 1))
    lost = [f"{lines} lines worth {value} BRL were neither written nor refused; the import has a fault."]
    refuse(ContractError, "import olist", lost if lines or value else [])


def _row(connection: duckdb.DuckDBPyConnection, query: str, *values: str) -> tuple[Any, ...]:
    return connection.execute(query, values).fetchall()[0]


def _swap(fresh: Path, out: Path, replaced: Path) -> None:
    if out.exists():
        out.rename(replaced)
    try:
        fresh.rename(out)
    finally:
        if not out.exists() and replaced.exists():
            replaced.rename(out)
