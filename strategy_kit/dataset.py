"""Open a data set: its tables in an engine, its description, its checks, and panels made from it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from strategy_kit import checks, health, tables_to_panel
from strategy_kit.contract import TABLES
from strategy_kit.description import Description, Pilot, describe, read_description
from strategy_kit.engine import DuckDBEngine
from strategy_kit.errors import ContractError, DesignError, ParameterError, nearest, refuse
from strategy_kit.periods import checked_period, last_complete, next_start, parse_week, period_start, week_label
from strategy_kit.plan import Plan
from strategy_kit.shown import Shown, dataset_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strategy_kit.engine import Engine
    from strategy_kit.panel import Panel
    from strategy_kit.periods import Period
    from strategy_kit.plan import SealState

_NO_ROWS = "order_lines has no row with a paid_at, so that no period can be formed; fill the table"
_FIRST_TABLES = ("order_lines", "merchants")


@dataclass(frozen=True)
class Dataset(Shown):
    """Tables that passed the opening checks, in the engine that holds them.

    Made by `open_dataset` or `dataset_from_frames`, not by hand.

    Examples
    --------
    >>> open_dataset("data/sample").pilot.categories
    ['apparel', 'beauty', 'sports_outdoors']
    """

    description: Description
    engine: Engine
    tables: tuple[str, ...]
    files: Mapping[str, tuple[Path, ...]]
    _view = dataset_view

    def __repr__(self) -> str:
        kind = "synthetic" if self.description.synthetic else "real"
        about = self.description
        window = f"{about.data_from or 'first order'} to {about.data_through or 'last order'}"
        return f"Dataset {self.name!r} ({kind} data): {', '.join(self.tables)}; {window}, {about.timezone}, {about.currency}"

    @property
    def name(self) -> str:
        """The name that folders carry."""
        return self.description.name

    @property
    def plan(self) -> Plan:
        """What was decided before outcomes were seen."""
        return self.description.plan

    @property
    def plan_seal(self) -> SealState:
        """State of the plan's seal: sealed_before or sealed_after the first pilot's start, unsealed, or changed since.

        Examples
        --------
        >>> open_dataset("data/sample").plan_seal
        'sealed_before'
        """
        return self.description.plan_seal

    @property
    def pilot(self) -> Pilot:
        """The pilot categories and dates.

        Raises
        ------
        DesignError
            If the data set names no pilot categories.
        """
        if self.description.pilot is None:
            raise DesignError(f"data set {self.name!r} names no pilot categories; add [pilot] to its dataset.toml")
        return self.description.pilot

    @cached_property
    def _dates(self) -> tuple[dt.date, dt.date]:
        span = self.engine.frame("select min(paid_at) as first, max(paid_at) as last from order_lines").iloc[0]
        if pd.isna(span["first"]):
            raise ContractError(_NO_ROWS)
        return span["first"].date(), span["last"].date()

    @property
    def data_from(self) -> dt.date:
        """First complete business day: as described, else the day of the first order."""
        return self.description.data_from or self._dates[0]

    @property
    def data_through(self) -> dt.date:
        """Last complete business day: as described, else the day of the last order, which is a guess."""
        return self.description.data_through or self._dates[1]

    @property
    def settled_through(self) -> dt.date:
        """Last day whose lines have all arrived: `data_through` less the settlement lag."""
        return self.data_through - dt.timedelta(days=self.description.settlement_days)

    @property
    def matured_through(self) -> dt.date:
        """Last day whose orders can no longer be refunded: `data_through` less the longer of both lags."""
        lags = self.description.settlement_days, self.description.refund_days
        return self.data_through - dt.timedelta(days=max(lags))

    def columns(self, table: str) -> list[str]:
        """Return the columns of a table; an empty list when the data set lacks the table."""
        return list(self.engine.types(table)) if table in self.tables else []

    def check(self, previous: pd.DataFrame | None = None) -> pd.DataFrame:
        """Run every law of the contract, and every check of `strategy_kit.health`, inside the engine.

        Parameters
        ----------
        previous
            `totals` of an earlier time, to name the weeks that have changed since; another frame is a ParameterError.

        Returns
        -------
        DataFrame
            One row a law, broken or kept: check, severity (error, warning), table, rows (lines, orders, days, weeks or
            merchants that break it), share (of all of them), example, remedy.

        Examples
        --------
        >>> issues = open_dataset("data/sample").check()
        >>> int(issues.query("severity == 'error'")["rows"].sum())
        0
        """
        return health.check(self, previous)

    def totals(self) -> pd.DataFrame:
        """Add up each complete week for a later `check`: week (Monday), lines (all), orders and gmv (not cancelled).

        Examples
        --------
        >>> open_dataset("data/sample").totals().columns.tolist()
        ['week', 'lines', 'orders', 'gmv']
        """
        return health.totals(self)

    def require_valid(self, previous: pd.DataFrame | None = None) -> pd.DataFrame:
        """Run `check`, with the same `previous`, and refuse the data set when a law of severity "error" is broken.

        Raises
        ------
        ContractError
            Naming every broken law with its rows, first example and remedy.
        """
        found = self.check(previous)
        laws = [
            f"{row.table}: {row.check}, but {row.rows} rows break it (first: {row.example}); {row.remedy}."
            for row in found.query("severity == 'error' and rows > 0").itertuples()
        ]
        refuse(ContractError, f"data set {self.name!r}", laws)
        return found

    def week(self, text: str | None = None) -> dt.date:
        """Return the Monday of a complete week that has data; of the last complete one when none is named.

        Raises
        ------
        ParameterError
            If `text` is not a week, or the week is not complete, before the data, or without any order.

        Examples
        --------
        >>> week_label(open_dataset("data/sample").week("2025-W30"))
        '2025-W30'
        """
        last = last_complete(self.settled_through, "week")
        monday = last if text is None else parse_week(text)
        name = f"week {week_label(monday)}"
        window = f"data set {self.name!r} covers {self.data_from} to {self.data_through}"
        if monday > last:
            raise ParameterError(f"{name} is not complete: {window}, so the last complete week is {week_label(last)}")
        if monday < self.data_from:
            raise ParameterError(f"{name} has no complete data: {window}; choose a later week")
        sold = self.engine.frame(
            "select count(*) as every, count(*) filter (where paid_at >= $first and paid_at < $next) as n from order_lines",
            {"first": monday, "next": next_start(monday, "week")},
        )
        if not sold["every"][0]:
            raise ContractError(_NO_ROWS)
        if not sold["n"][0]:
            raise ParameterError(f"{name} has no order at all: {window}; choose another week")
        return monday

    def complete_periods(self, period: Period, through: dt.date | None = None) -> list[dt.date]:
        """Return the starts of all periods that lie whole inside the data set's window, up to `through`'s."""
        start = period_start(self.data_from, checked_period(period))
        start = start if start >= self.data_from else next_start(start, period)
        stop = min(last_complete(self.settled_through, period), through or dt.date.max)
        result = []
        while start <= stop:
            result.append(start)
            start = next_start(start, period)
        return result

    def panel(
        self,
        outcome: str = "gmv",
        period: Period = "week",
        transform: Literal["none", "log"] = "none",
        *,
        categories: Sequence[str] | None = None,
        since: dt.date | None = None,
        through: dt.date | None = None,
    ) -> Panel:
        """Build a balanced panel of merchants and complete periods from the tables.

        A merchant is treated from the period in which its first support starts. One with no order in a period counts 0
        from its opening on; merchants that opened after the first period are left out and counted in the panel's repr.

        Parameters
        ----------
        outcome
            A metric that is 0 where nothing was sold: gmv, orders, buyers or units.
        transform
            "log" takes logs and refuses zeros.
        categories
            Keep the merchants of these categories (by their frozen category).
        since, through
            First and last period; all complete ones by default.

        Raises
        ------
        ParameterError
            If the outcome is a ratio, or the outcome, period, transform or a category is unknown.
        DesignError
            If there is no support table, fewer than two periods, or a log of zero would be taken.

        Examples
        --------
        >>> open_dataset("data/sample").panel().assigned_at
        'hybrid'
        """
        if transform not in ("none", "log"):
            raise ParameterError(f"transform is one of none, log, not {transform!r}")
        periods = self._window(period, since, through)
        panel = tables_to_panel.merchant_panel(self, outcome, period, periods, categories)
        return panel.logs() if transform == "log" else panel

    def category_panel(
        self,
        outcome: str = "gmv",
        period: Period = "week",
        *,
        since: dt.date | None = None,
        through: dt.date | None = None,
        pool_below: float = 0.0,
    ) -> Panel:
        """Build a balanced panel of category totals; the pilot categories are treated from their pilot's start.

        Parameters
        ----------
        outcome
            A metric that is 0 where nothing was sold.
        since, through
            First and last period; all complete ones by default.
        pool_below
            Categories outside the pilot with less than this share of sales before the pilot, or without sales in some
            period, are added up as "all_other", so that their sales still count; 0 pools none.

        Raises
        ------
        DesignError
            If the data set names no pilot categories, or has fewer than two complete periods.

        Examples
        --------
        >>> open_dataset("data/sample").category_panel().assigned_at
        'category'
        """
        return tables_to_panel.category_panel(self, outcome, period, self._window(period, since, through), pool_below)

    def _window(self, period: Period, since: dt.date | None, through: dt.date | None) -> list[dt.date]:
        first, last = (None if day is None else pd.Timestamp(day).date() for day in (since, through))
        periods = [p for p in self.complete_periods(period, last) if first is None or p >= first]
        if (count := len(periods)) < 2:
            raise DesignError(f"data set {self.name!r} has {count} complete {period}s; a panel needs at least two")
        return periods


def open_dataset(folder: str | Path, *, engine: Literal["duckdb"] = "duckdb") -> Dataset:
    """Open the data set in `folder`, described by its dataset.toml.

    Parameters
    ----------
    folder
        Holds dataset.toml and the Parquet or CSV files that it names; globs are allowed.
    engine
        The database that reads the files.

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
    if engine != "duckdb":
        raise ParameterError(f"engine {engine!r} is not available; use 'duckdb'")
    folder = Path(folder)
    description, patterns = read_description(folder)
    laws = [f"tables.{table} is missing; every data set has it" for table in _FIRST_TABLES if table not in patterns]
    files = {table: tuple(sorted(folder.glob(pattern))) for table, pattern in patterns.items()}
    laws += [f"tables.{table}: no file matches {patterns[table]!r}" for table, paths in files.items() if not paths]
    refuse(ContractError, f"data set {description.name!r}", laws)
    database = DuckDBEngine()
    for table, paths in files.items():
        database.add_files(table, [str(path) for path in paths])
    return _checked(Dataset(description, database, tuple(files), files))


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
    known = [f for f in Description.__dataclass_fields__ if f not in ("pilot", "seal")]
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
