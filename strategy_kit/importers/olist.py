"""Turn the published Olist marketplace files into a data set that keeps the contract."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from strategy_kit.importers.files import Source
from strategy_kit.importers.olist_sql import BOOKS, BUILD, COUNTS, FILES, LAWS, OUTPUTS, PILOT

if TYPE_CHECKING:
    import pandas as pd

DATA_FROM, DATA_THROUGH = date(2017, 1, 2), date(2018, 8, 19)
OLIST = Source("Olist", "BRL", FILES, LAWS, OUTPUTS, BOOKS)
DESCRIPTION = f"""\
name = {{name}}
title = "Olist marketplace (Brazil)"
synthetic = false
currency = "BRL"
timezone = "America/Sao_Paulo"
data_from = {DATA_FROM}
data_through = {DATA_THROUGH}
source = "{OLIST.origin} (Kaggle), licence CC BY-NC-SA 4.0: not to be committed or published."

[pilot]
categories = {json.dumps(list(PILOT))}
starts_on = {{day:%Y-%m-%d}}
placebo = true

[plan]
threshold = 0.03
chance_needed = 0.90
"""


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
    >>> import_olist("nowhere", "olist")
    Traceback (most recent call last):
    strategy_kit.errors.ParameterError: import olist: nowhere does not exist; name the folder of the downloaded files.
    """
    source, out = Path(source), Path(out).resolve()
    files = OLIST.find(source, out, _broken_date(pilot_date))
    head = DESCRIPTION.format(name=json.dumps(out.name, ensure_ascii=False), day=pilot_date)
    with duckdb.connect() as connection:
        OLIST.load(connection, files)
        report = _build(connection, pilot_date)
        OLIST.write(connection, out, report, head)
    return report


def _broken_date(pilot_date: date) -> list[str]:
    day = f"{pilot_date:%Y-%m-%d}"
    fits = pilot_date.weekday() == 0 and f"{DATA_FROM}" < day <= f"{DATA_THROUGH}"
    law = f"pilot_date {day} is not a Monday after {DATA_FROM} and up to {DATA_THROUGH}; choose one."
    return [] if fits else [law]


def _build(connection: duckdb.DuckDBPyConnection, pilot_date: date) -> pd.DataFrame:
    pairs = [(published, category) for category, keys in PILOT.items() for published in keys.split()]
    pilot = "create temp table pilot as select unnest(?) as published, unnest(?) as category"
    connection.execute(pilot, [list(column) for column in zip(*pairs, strict=True)])
    span = "select ?::date as data_from, ?::date as data_through, ?::date as pilot_date"
    connection.execute(f"create temp table span as {span}", [DATA_FROM, DATA_THROUGH, pilot_date])
    connection.execute(BUILD)
    reads = [f"{table} read | rows of {stem} | {table}" for table, (stem, _) in FILES.items()]
    return OLIST.counted(connection, [*reads, *COUNTS], valued=False)
