"""Run the contract: columns and kinds when a data set is opened, every law when it is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit.contract import TABLES, Kind, Law, Table
from strategy_kit.engine import kind_of, quoted
from strategy_kit.errors import nearest
from strategy_kit.formats import Count

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from strategy_kit.engine import Engine

_ACCEPTED: dict[Kind, tuple[str, ...]] = {"text": ("text",), "key": ("text", "integer", "number"),
    "number": ("number", "integer"), "integer": ("integer",), "date": ("date", "timestamp"),
    "timestamp": ("timestamp", "date"), "boolean": ("boolean",)}  # fmt: skip
_STORED = {"number": "double", "integer": "bigint", "date": "date", "timestamp": "timestamp", "boolean": "boolean"}
_MONEY = ("amount", "refund_amount", "platform_subsidy", "platform_fee", "list_amount", "gmv", "ad_spend")
"""Columns that are summed as decimals: sums of doubles depend on who adds first."""
_LARGEST = 1e14  # what decimal(18, 4) can hold
_FLOATS = ("DOUBLE", "FLOAT")
_CURRENCY = "cast(currency as varchar)"  # a column without any value may be of any type
_DECIMALS, _COARSE = 4, 0.001  # of money that is kept, and the share of all amounts that this may take away
_WHOLE = 2**53  # above it, doubles next to each other stand for one identifier
COLUMNS = ["check", "severity", "table", "rows", "share", "example", "remedy"]


def column_laws(engine: Engine, table: str) -> list[str]:
    """Name every required column that is missing and every column of the wrong kind."""
    types = engine.types(table)
    contract = TABLES[table]
    strange = [column for column in types if column not in contract.columns]
    laws = [f"{table}.{c} is missing{nearest(c, strange)}" for c in contract.required if c not in types]
    for column, kind in contract.columns.items():
        if column in types and kind_of(types[column]) not in _ACCEPTED[kind]:
            laws += _kind_law(engine, table, column, kind, types[column])
        elif kind == "number" and types.get(column) in _FLOATS:
            laws += _finite_laws(engine, table, column)
        elif kind == "key" and column in types and not _plain_key(types[column]):
            laws += _exact_laws(engine, table, column, types[column])
    return laws


def roster_laws(engine: Engine, tables: Sequence[str]) -> list[str]:
    """Name every table whose merchant_id is text where the roster's is a number, or the other way round."""
    types = {table: given for table in tables if (given := engine.types(table).get("merchant_id")) is not None}
    roster = types.get("merchants")
    other = [t for t in types if roster is not None and (kind_of(types[t]) == "text") != (kind_of(roster) == "text")]
    return [
        f"{table}.merchant_id holds {types[table]}, but merchants.merchant_id holds {roster}; store both alike"
        for table in other
        if engine.frame(f"select count(merchant_id) as n from {quoted(table)}")["n"][0]
    ]


def currency_laws(engine: Engine, currency: str) -> list[str]:
    """Refuse lines in another currency than the data set's that have no rate to convert them."""
    types = engine.types("order_lines")
    if "currency" not in types:
        return []
    rate = f"cast({'fx_rate' if 'fx_rate' in types else 'null'} as double)"
    found = engine.frame(
        f"""select count(*) as n, string_agg(distinct {_CURRENCY}, ', ' order by {_CURRENCY}) as named from order_lines
            where {_CURRENCY} <> $own and not coalesce(not isnan({rate}) and {rate} > 0 and {rate} < {_LARGEST}, false)""",
        {"own": currency},
    ).iloc[0]
    if not found["n"]:
        return []
    law = f"order_lines holds {found['n']} lines in {found['named']} beside {currency} without a positive fx_rate"
    return [f"{law}; fill fx_rate with {currency} per unit of the line's currency"]


def refinements(engine: Engine, table: str, timezone: str, currency: str) -> dict[str, str]:
    """Give the SQL that turns columns as stored into columns as meant: local time, dates, exact money in one currency."""
    types, contract = engine.types(table), TABLES[table]
    result = _converted(types, currency) if {"currency", "fx_rate"} <= set(types) else {}
    roster = kind_of(engine.types("merchants").get("merchant_id", ""))
    if "merchant_id" in types and (kind_of(types["merchant_id"]) == "text") != (roster == "text"):
        result["merchant_id"] = f"cast(null as {'varchar' if roster == 'text' else 'bigint'})"  # an empty column
    for column, kind in contract.columns.items():
        name, given = quoted(column), types.get(column, "")
        local = f"{name} at time zone '{timezone}'" if given == "TIMESTAMP WITH TIME ZONE" else name
        if column in result:
            continue
        if column in types and kind_of(given) not in _ACCEPTED[kind]:  # opened only because it holds nothing at all
            result[column] = f"cast(null as {_STORED.get(kind, 'varchar')})"
        elif column in types and kind in ("date", "timestamp"):
            result[column] = f"cast({local} as {kind})"
        elif column in types and kind in ("text", "key") and given.startswith("ENUM"):
            result[column] = f"cast({name} as varchar)"
        elif column in types and kind == "key" and not _plain_key(given):
            result[column] = f"cast({_known(name) if given in _FLOATS else name} as bigint)"
        elif column in _MONEY and given in _FLOATS:
            result[column] = f"cast({_known(f'cast({name} as double)')} as decimal(18, 4))"
        elif kind == "number" and given in _FLOATS:
            result[column] = _known(name)
    return result


def _known(number: str) -> str:
    """Return SQL in which what is not a number is missing; a comparison with NaN would be lost to a file's statistics."""
    return f"case when isnan({number}) then null else {number} end"


def _plain_key(given: str) -> bool:
    """Whether identifiers of a type are told apart as they are."""
    return kind_of(given) == "text" or (kind_of(given) == "integer" and "HUGE" not in given)


def _converted(types: Mapping[str, str], currency: str) -> dict[str, str]:
    own = "'" + currency.replace("'", "''") + "'"
    rate = f"case when coalesce({_CURRENCY}, {own}) = {own} then 1.0 else cast(fx_rate as double) end"
    return {
        column: f"cast({_known(f'cast({column} as double)')} * {rate} as decimal(18, 4))"
        for column in _MONEY
        if column in types and kind_of(types[column]) in _ACCEPTED["number"]
    }


def _kind_law(engine: Engine, table: str, column: str, kind: Kind, given: str) -> list[str]:
    name, law = quoted(column), f"{table}.{column} must be a {kind}, but the file holds {given.lower()}"
    if not engine.frame(f"select count({name}) as n from {quoted(table)}")["n"][0]:
        return []
    if kind_of(given) == "text" and kind in _STORED:
        bad = f"{name} is not null and try_cast({name} as {_STORED[kind]}) is null"
        found = engine.frame(f"select count(*) as n, min({name}) as first from {quoted(table)} where {bad}")
        if n := Count(found["n"][0]):
            law += f" ({n} {n:row|rows} cannot be read as one, for example {found['first'][0]!r})"
    return [law]


def _finite_laws(engine: Engine, table: str, column: str) -> list[str]:
    name, laws = f"cast({quoted(column)} as double)", list[str]()
    known = f"not isnan({name}) and abs({name}) < {_LARGEST}"
    found = engine.frame(
        f"""select count(*) filter (where isinf({name}) or not isnan({name}) and abs({name}) >= {_LARGEST}) as n,
                   sum(abs({name})) filter (where {known}) as whole,
                   sum(abs({name} - round({name}, {_DECIMALS}))) filter (where {known}) as lost from {quoted(table)}"""
    ).iloc[0]
    if n := Count(found["n"]):
        law = f"{table}.{column} must be finite and below {_LARGEST:.0e}, but {n} {n:row is|rows are} not"
        laws.append(f"{law}; correct {n:it|them}")
    if column in _MONEY and found["lost"] > _COARSE * found["whole"]:
        share = found["lost"] / found["whole"]
        law = f"{table}.{column} keeps {_DECIMALS} decimals, which would lose {share:.1%} of these amounts"
        laws.append(f"{law}; give amounts in the currency itself, not in thousands or millions of it")
    return laws


def _exact_laws(engine: Engine, table: str, column: str, given: str) -> list[str]:
    name = quoted(column)
    wrong = f"({name} <> floor({name}) or abs({name}) >= {_WHOLE if given in _FLOATS else 2**63})"
    wrong = f"not isnan({name}) and {wrong}" if given in _FLOATS else wrong
    n = Count(engine.frame(f"select count(*) as n from {quoted(table)} where {wrong}")["n"][0])
    law = f"{table}.{column} holds {given}, in which {n} {n:row is no whole number|rows are no whole numbers}"
    return [f"{law} that can be told apart; store identifiers as text or 64-bit whole numbers"] if n else []


def run_laws(engine: Engine, tables: list[str], window: Mapping[str, dt.date]) -> pd.DataFrame:
    """Count the broken rows of every law of `tables`, one query a table.

    Returns
    -------
    DataFrame
        One row a law: check, severity, table, rows (int), share (of the table's rows), example (text), remedy.
    """
    return pd.concat([_table_laws(engine, t, window) for t in tables], ignore_index=True)[COLUMNS]


def _table_laws(engine: Engine, table: str, window: Mapping[str, dt.date]) -> pd.DataFrame:
    contract, present = TABLES[table], engine.types(table)
    remedy = "fill it or leave the row out"
    laws = [
        Law(f"{c} is never missing", f"{quoted(c)} is null", (c,), remedy)
        for c in contract.required
        if c not in contract.nullable
    ]
    laws += [law for law in contract.laws if set(law.columns) <= set(present)]
    example = " || ', ' || ".join(f"'{c} ' || coalesce(cast({quoted(c)} as varchar), 'missing')" for c in contract.key)
    broken = [law.broken.format(**window) for law in laws]
    parts = ["count(*) as total", *(f"count(*) filter (where {sql}) as n{i}" for i, sql in enumerate(broken))]
    counts = engine.frame(f"select {', '.join(parts)} from {quoted(table)}").iloc[0]
    # examples are texts, dear to make for each row: they are sought for broken laws only
    parts = [f"min({_shown(example, contract, law)}) filter (where {sql}) as e{i}"
             for i, (law, sql) in enumerate(zip(laws, broken, strict=True)) if counts[f"n{i}"]]  # fmt: skip
    examples: Any = engine.frame(f"select {', '.join(parts)} from {quoted(table)}").iloc[0] if parts else {}
    total = int(counts["total"])
    rows = [_row(law, table, int(counts[f"n{i}"]), examples.get(f"e{i}"), total) for i, law in enumerate(laws)]
    return pd.DataFrame([_empty_row(table, total), _key_row(engine, table, example, total), *rows])


def _shown(example: str, contract: Table, law: Law) -> str:
    """Return the SQL text of a row's key and of what the law reads of it."""
    columns = [c for c in law.columns if c not in contract.key]
    return example + "".join(f" || ', {c} ' || coalesce(cast({quoted(c)} as varchar), 'missing')" for c in columns)


def _row(law: Law, table: str, rows: int, example: object, total: int) -> dict[str, object]:
    return {
        "check": law.check,
        "severity": law.severity,
        "table": table,
        "rows": rows,
        "share": rows / total if total else 0.0,
        "example": example if rows else "",
        "remedy": law.remedy if rows else "",
    }


def _empty_row(table: str, total: int) -> dict[str, object]:
    law = Law("the table has rows", "", (), f"fill {table}, or take it out of dataset.toml")
    return _row(law, table, int(total == 0), "no row at all", 1)


def _key_row(engine: Engine, table: str, example: str, total: int) -> dict[str, object]:
    key = ", ".join(quoted(c) for c in TABLES[table].key)
    repeated = f"select {{}} from {quoted(table)} group by {key} having count(*) > 1"
    rows = int(engine.frame(f"select coalesce(sum(n - 1), 0) as n from ({repeated.format('count(*) as n')})")["n"][0])
    first = f"select min(example) as example from ({repeated.format(f'min({example}) as example')})"
    law = Law(f"{' and '.join(TABLES[table].key)} never repeat", "", (), "keep the latest version of each row")
    return _row(law, table, rows, engine.frame(first)["example"][0] if rows else "", total)
