"""Open a data set: its tables in an engine, its description, its checks, and panels made from it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import pandas as pd

from strategy_kit import health, tables_to_panel
from strategy_kit.errors import ContractError, DesignError, ParameterError, refuse
from strategy_kit.formats import Count
from strategy_kit.periods import checked_period, day_of, last_complete, next_start, parse_week, period_start, week_label
from strategy_kit.shown import Shown, dataset_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from strategy_kit.description import Description, Pilot
    from strategy_kit.engine import Engine
    from strategy_kit.panel import Panel
    from strategy_kit.periods import Period
    from strategy_kit.plan import Plan, SealState

_NO_ROWS = "order_lines has no row with a paid_at, so that no period can be formed; fill the table"


@dataclass(frozen=True)
class Dataset(Shown):
    """Tables that passed the opening checks, in the engine that holds them.

    Made by `open_dataset` or `dataset_from_frames`, not by hand.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> sk.open_dataset("data/sample").pilot.categories
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
        >>> import strategy_kit as sk
        >>> sk.open_dataset("data/sample").plan_seal
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
        >>> import strategy_kit as sk
        >>> issues = sk.open_dataset("data/sample").check()
        >>> int(issues.query("severity == 'error'")["rows"].sum())
        0
        """
        return health.check(self, previous)

    def totals(self) -> pd.DataFrame:
        """Add up each complete week for a later `check`: week (Monday), lines (all), orders and gmv (not cancelled).

        Examples
        --------
        >>> import strategy_kit as sk
        >>> sk.open_dataset("data/sample").totals().columns.tolist()
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
        broken = found.query("severity == 'error' and rows > 0")
        laws = [
            f"{row.table}: {row.check}, but {n} {n:row breaks|rows break} it (first: {row.example}); {row.remedy}."
            for row, n in zip(broken.itertuples(), map(Count, broken["rows"]), strict=True)
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
        >>> import strategy_kit as sk
        >>> week_label(sk.open_dataset("data/sample").week("2025-W30"))
        '2025-W30'
        """
        last = last_complete(self.settled_through, "week")
        monday = last if text is None else parse_week(text)
        name = f"week {week_label(monday)}"
        window = f"data set {self.name!r} covers {self.data_from} to {self.data_through}"
        if monday > last:
            raise ParameterError(f"{name} is not complete: {window}, so the last complete week is {week_label(last)}")
        if last < self.data_from:
            raise ParameterError(f"no week from Monday to Sunday is complete: {window}; wait for one")
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

    def complete_periods(
        self, period: Period, through: dt.date | None = None, *, since: dt.date | None = None
    ) -> list[dt.date]:
        """Return the starts of all periods that lie whole inside the data set's window, from `since` on and up to `through`'s."""
        since, through = (
            None if day is None else day_of(day, name) for name, day in (("since", since), ("through", through))
        )
        start = period_start(self.data_from, checked_period(period))
        start = start if start >= self.data_from else next_start(start, period)
        stop = min(last_complete(self.settled_through, period), through or dt.date.max)
        result = []
        while start <= stop:
            result.append(start)
            start = next_start(start, period)
        return result if since is None else [start for start in result if start >= since]

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
        >>> import strategy_kit as sk
        >>> sk.open_dataset("data/sample").panel().assigned_at
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
        ParameterError
            If `pool_below` is no share below 1.

        Examples
        --------
        >>> import strategy_kit as sk
        >>> sk.open_dataset("data/sample").category_panel().assigned_at
        'category'
        """
        given: object = pool_below
        if not (isinstance(given, int | float) and 0 <= given < 1):
            raise ParameterError(f"pool_below is a share of sales from 0 to below 1, not {given!r}; 1 percent is 0.01")
        return tables_to_panel.category_panel(self, outcome, period, self._window(period, since, through), pool_below)

    def _window(self, period: Period, since: dt.date | None, through: dt.date | None) -> list[dt.date]:
        first, last = (None if day is None else pd.Timestamp(day).date() for day in (since, through))
        periods = self.complete_periods(period, last, since=first)
        if (count := len(periods)) < 2:
            raise DesignError(f"data set {self.name!r} has {count} complete {period}s; a panel needs at least two")
        return periods
