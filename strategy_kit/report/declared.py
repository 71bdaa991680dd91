"""All metrics that were declared, and the guardrails, in one forest: also those that did not move and those that fell."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from functools import cached_property
from math import expm1
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import did, formats, kpi, planning
from strategy_kit.errors import DesignError
from strategy_kit.kpi.control import counts_refunds, immature
from strategy_kit.metrics import METRICS, Metric, fills_with_zero, parts
from strategy_kit.panel import Panel
from strategy_kit.planning.families import PRIMARY
from strategy_kit.report import blocks
from strategy_kit.report.categories import Row, forest, interval_columns, percent_rows, signed_percent
from strategy_kit.report.claims import Spread, in_percent
from strategy_kit.report.figures import sides_counted
from strategy_kit.report.reading import WEEK, listed
from strategy_kit.report.reasons import attempt, reason_in
from strategy_kit.report.sections import Section
from strategy_kit.tables_to_panel import POOLED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strategy_kit.estimates import Estimates
    from strategy_kit.report.reading import Reading

    Parts = tuple[np.ndarray, np.ndarray | None]

UNDECLARED = ("orders", "buyers", "average_order_value", "orders_per_buyer", "units", "active_merchants")
"""Shown where the plan names no family."""
RIVALS, COMPLAINTS, TRAFFIC = "rivals", "complaints_per_order", "sessions"
GUARDRAILS = ("refund_rate", RIVALS, COMPLAINTS, TRAFFIC)


@dataclass(frozen=True, eq=False)
class Declared:
    """The contrasts of all metrics in one reading.

    Attributes
    ----------
    families
        Names of metrics by family, the guardrails last.
    results
        By metric: the contrast of its logarithm, or the sentence why there is none.
    summed
        Metrics with a week of nothing, compared by their sums before and after instead.
    """

    reading: Reading
    families: Mapping[str, tuple[str, ...]]
    results: Mapping[str, Estimates | str]
    summed: frozenset[str]

    @cached_property
    def table(self) -> pd.DataFrame:
        """As `planning.all_metrics` has it, errors widened for all looks: in log points."""
        reading = self.reading
        given = {reading.shop.plan.metric: reading.contrast, **self.results}
        wide = {name: _widened(fit, reading.widening) for name, fit in given.items()}
        return planning.all_metrics(wide, primary=reading.shop.plan.metric, families=self.families, level=reading.level)

    def spread(self, metric: str) -> Spread | None:
        """Return the effect on a metric as a distribution in log points; None where there is none."""
        fit = self.results.get(metric, self.reading.contrast)
        return None if isinstance(fit, str) else self.reading.overall(fit)

    @cached_property
    def rows(self) -> list[Row]:
        """The metrics with an effect, as a forest has them; intervals of a family hold for all of it together."""
        rows = []
        for family, metric in self.table[["family", "metric"]].to_numpy():
            spread, size = self.spread(metric), len(self.families.get(family, (metric,)))
            if spread is not None:
                row = Row(metric, "open", spread, size, block=family)
                low, high = row.interval(self.reading.level)
                rows.append(row._replace(kind="clear" if low > 0 or high < 0 else "open"))
        return rows


def declared(reading: Reading) -> Section:
    """Return the section of all metrics, one line for a placebo.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> section = declared(sk.report.read_week(sk.open_dataset("data/sample")))
    >>> str(section).splitlines()[0]
    'All metrics: No interval of 8 further metrics excludes 0'
    """
    say = reading.words
    head = say("section_declared"), say("question_declared")
    if reading.claim.verb == "cannot_tell":
        return Section("declared", (blocks.absent(*head, say("declared_absent")),))
    found = replace(reading.ahead.of(read_declared, reading), reading=reading)
    further = [row for row in found.rows if row.block != PRIMARY]
    counts = {"n": formats.Count(sum(row.kind == "clear" for row in further)), "all": formats.Count(len(further))}
    clear = any(row.kind == "clear" for row in further)
    title = say("declared_title" if clear else "declared_title_none", **counts)
    note = say.prose(*_notes(found))
    return Section("declared", (blocks.section_head(*head, title, note), _forest(found)))


def read_declared(reading: Reading) -> Declared:
    """Compare every metric of the plan's families, or of the kit's own set, and the guardrails, as the headline is."""
    plan = reading.shop.plan
    families = dict(plan.families) or {"undeclared": tuple(name for name in UNDECLARED if name != plan.metric)}
    taken = {plan.metric, *(name for names in families.values() for name in names)}
    own = {name: values for name, values in _guardrails(reading).items() if name not in taken}
    guards = tuple(name for name in GUARDRAILS if name in own or (name in METRICS and name not in taken))
    families = {**families, "guardrails": guards} if guards else families
    asked = [name for names in families.values() for name in names if name in METRICS]
    given = {**_measured(reading, asked), **own}
    results, summed = dict[str, Any](), set()
    for name, values in given.items():
        results[name] = values if isinstance(values, str) else _compared(reading, name, values)
        if not isinstance(values, str) and _empty(values):
            summed.add(name)
    return Declared(reading, families, results, frozenset(summed))


def _widened(fit: Estimates | str, widening: float) -> Estimates | DesignError:
    if isinstance(fit, str):
        return DesignError(fit)
    return replace(fit, average=(fit.average[0], fit.average[1] * widening))


def _measured(reading: Reading, names: list[str]) -> dict[str, Parts | str]:
    """Return (G, T) of each metric, or of its numerator and denominator, for the headline's categories and weeks."""
    shop, known = reading.shop, set(reading.shop.columns("order_lines"))
    lacking = {name: [c for part in parts(METRICS[name]) for c in part.columns if c not in known] for name in names}
    needed = {part.name: part for name in names if not lacking[name] for part in parts(METRICS[name])}
    until = reading.monday + WEEK - dt.timedelta(days=1)
    tables: dict[str, np.ndarray] = {}
    for windowed in (False, True):
        chosen = [part for part in needed.values() if bool(part.trailing_months) == windowed]
        since = shop.data_from if windowed else reading.totals.periods[0].date()
        if chosen:
            frame = kpi.table(shop, by=["category", "week"], metrics=chosen, since=since, through=until)
            tables |= {part.name: _grouped(reading, frame, part) for part in chosen}
    result: dict[str, Parts | str] = {}
    for name in names:
        pair = [tables.get(part.name) for part in parts(METRICS[name])]
        absent = reading.words("declared_column", columns=listed(reading.words, lacking[name]))
        result[name] = absent if pair[0] is None else (pair[0], pair[1] if len(pair) > 1 else None)
    return result


def _grouped(reading: Reading, frame: pd.DataFrame, part: Metric) -> np.ndarray:
    """Return (G, T); small categories are added up as in the headline, or missing where the metric does not add up."""
    totals = reading.totals
    wide = frame.pivot_table(index="category", columns="week", values=part.name, aggfunc="first", dropna=False)
    wide = wide.reindex(columns=totals.periods).astype(float)
    small = wide[~wide.index.isin([*totals.units, *reading.not_begun])]
    wide = wide.reindex(totals.units)
    if POOLED in totals.units and POOLED not in frame["category"].to_numpy():
        wide.loc[POOLED] = small.sum() if fills_with_zero(part) else np.nan
    return (wide.fillna(0.0) if fills_with_zero(part) and not part.trailing_months else wide).to_numpy()


def _guardrails(reading: Reading) -> dict[str, Parts]:
    """Return the guardrails that no metric tells, as far as the data have them."""
    shop, totals = reading.shop, reading.totals
    found: dict[str, Parts] = {}
    if "support" in shop.tables:
        panel, _ = reading.merchant_sales
        supported, others = panel.outcome[::2], panel.outcome[1::2]  # pairs, the supported ones first
        found[RIVALS] = (np.where((totals.cohort >= 0)[:, None], others, supported + others), None)
    queries = {
        (COMPLAINTS, "experience"): "select category, week, sum(complaints) as y from experience join "
        "(select distinct merchant_id, category from merchants) m using (merchant_id) group by all",
        (TRAFFIC, "searches"): "select category, week, sum(sessions) as y from searches group by all",
    }
    for (name, table), query in queries.items():
        if (column := {COMPLAINTS: "complaints", TRAFFIC: "sessions"}[name]) in shop.columns(table):
            metric = Metric(column, "count", "sum(y)")
            frame = shop.engine.frame(query).rename(columns={"y": column}).astype({column: float})
            frame["week"] = pd.to_datetime(frame["week"])
            orders = _measured(reading, ["orders"])["orders"][0] if name == COMPLAINTS else None
            found[name] = (_grouped(reading, frame, metric), orders)  # type: ignore[assignment]
    return found


def _empty(values: Parts) -> bool:
    return any(part is not None and bool((part <= 0).any()) for part in values)


def _compared(reading: Reading, name: str, values: Parts) -> Estimates | str:
    """Contrast the logarithm of a metric as the headline does; by sums before and after where a week has nothing."""
    totals, say = reading.totals, reading.words
    weeks = len(totals.periods)
    if name in METRICS and counts_refunds(METRICS[name]):
        weeks -= len(immature(reading.shop, [day.date() for day in totals.periods], "week"))
        if weeks <= totals.starts.max():
            return say("declared_young")
    known = np.all([np.isfinite(part).all(axis=1) for part in values if part is not None], axis=0)
    if not known[totals.cohort >= 0].all():
        return say("declared_unknown")
    top, below = (np.ones((1, weeks)) if part is None else part[known, :weeks] for part in values)
    start, periods = pd.Series(totals.cohort[known]).map(dict(enumerate(totals.cohorts))), totals.periods[:weeks]
    if _empty(values):
        if len(totals.cohorts) > 1:
            return say("declared_zero")
        first = int(totals.starts.min())
        top, below = (np.add.reduceat(part, [0, first], axis=1) for part in (top, below))
        start, periods = start.notna() * 2, pd.RangeIndex(1, 3)
    units = [str(unit) for unit in totals.units[known]]
    labels: Any = {"treated_from": start, "periods": periods, "units": units, "category": units, "name": name}
    return attempt(lambda: did.pilot_contrast(Panel.from_matrix(top / below, **labels).logs()))


def _name(reading: Reading, metric: str) -> str:
    return reading.words(f"declared_{metric}" if metric in GUARDRAILS[1:] else f"metric_{metric}")


def _family(found: Declared, family: str) -> str:
    """Name a family, and say where the plan does not name it."""
    say, plan = found.reading.words, found.reading.shop.plan
    if family == PRIMARY:
        return say("declared_primary" if plan.declared else "declared_primary_undeclared")
    return say.label(family) if family in plan.families else say(f"declared_family_{family}")


def _notes(found: Declared) -> list[str]:
    """Say what was declared, what each guardrail does, and which have no data."""
    reading, say = found.reading, found.reading.words
    notes = [say("declared_by_plan" if reading.shop.plan.families else "declared_by_nobody")]
    told = []
    for row in found.rows:
        if row.block == "guardrails":
            verb = reading.told(row.spread, formats.percent(abs(expm1(row.spread.estimate))), together=row.together)
            low, high = map(in_percent, row.interval(reading.level))
            told.append(say("declared_one", name=_name(reading, row.name), verb=verb, low=low, high=high))
    if told:
        notes.append(say("declared_guardrails", listed=say.clauses(told)))
    shown = {name for names in found.families.values() for name in names}
    if absent := [_name(reading, name) for name in GUARDRAILS if name not in shown and name not in METRICS]:
        notes.append(say("declared_without", listed=listed(say, absent)))
    return notes


def _forest(found: Declared) -> Any:
    reading, say = found.reading, found.reading.words
    frame = percent_rows(found.rows, reading.level, say).set_index("name")
    frame = frame.reindex(found.table["metric"])
    lacking = frame["value"].isna()
    frame["kind"] = frame["kind"].where(~lacking, "open")
    frame["value"] = frame["value"].where(~lacking, say("declared_missing"))
    families = [_family(found, family) for family in found.table["family"]]
    names = [_name(reading, metric) for metric in found.table["metric"]]
    frame = frame.reset_index(drop=True).assign(block=families, name=names)
    reasons = [
        reason_in(say.language, reason) if reason else (say("declared_summed") if metric in found.summed else "")
        for metric, reason in found.table[["metric", "missing_because"]].to_numpy()
    ]
    table = pd.DataFrame({say("declared_family"): families, say("column_measure"): names})
    table[say("column_change")] = frame["estimate"].map(signed_percent)
    table = table.assign(**interval_columns(frame, reading.level, signed_percent, say))
    table[say("declared_p")] = ["" if np.isnan(p) else formats.number(p, 3) for p in found.table["p_adjusted"]]
    table[say("declared_note")] = reasons
    note = f"{sides_counted(reading)} · {say('declared_reading', level=f'{reading.level:.0%}')}"
    return forest(reading, "declared", frame, table, note)
