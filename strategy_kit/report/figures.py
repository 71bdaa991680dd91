"""The charts of the weekly page with their words, written from a `Reading`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import expm1
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from strategy_kit import charts, formats
from strategy_kit.metrics import METRICS
from strategy_kit.report import blocks, claims
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.claims import in_percent
from strategy_kit.report.common_figures import cohort_table
from strategy_kit.report.page import kept_selling, measured, shown_alone, shown_cohorts
from strategy_kit.report.reading import Reading, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates
    from strategy_kit.report.words import Words

_AGES_BEFORE = 12


def placebo_strip(reading: Reading) -> Any:
    """Draw where the pilots stand among the categories and among all ways to choose as many."""
    say, (groups, few) = reading.words, shown_alone(reading)
    left_out = say("strip_few", n=formats.Count(few), fewest=FEWEST) if few else ""
    if groups.empty:
        return blocks.line(left_out)
    groups["group"] = [say.label(str(group)) for group in groups["group"]]
    groups["percent"] = 100 * np.expm1(groups["contrast"])
    placebo = 100 * np.expm1(reading.contrast.details["placebo"]["statistic"])
    n, total = reading.rank
    average = in_percent(reading.spread.estimate)
    days = sorted(set(reading.shop.pilot.starts.values()))
    start = " / ".join(formats.day(day, say.language) for day in days)
    before = len(reading.totals.periods) - reading.weeks_after
    counts = {"n": formats.number(n), "total": formats.number(total)}
    labels = {
        "value": say("column_change"),
        "pilots": say("strip_pilots"),
        "others": say("strip_others"),
        "placebo": say("strip_chance", total=formats.number(total)),
        "average": say("strip_average", average="").strip(),
        "sentence": say("strip_sentence", **counts),
    }
    chart = charts.placebo_strip(
        groups, pd.DataFrame({"percent": placebo}), average=100 * expm1(reading.spread.estimate), labels=labels
    )
    rows = groups.sort_values("contrast", ascending=False)
    table = pd.DataFrame(
        {
            say("column_category"): rows["group"],
            say("column_role"): [say("strip_pilots" if treated else "strip_others") for treated in rows["treated"]],
            say("column_change"): [in_percent(value) for value in rows["contrast"]],
        }
    )
    pilots = listed(
        say,
        [f"{name} {in_percent(value)}" for name, value in rows.loc[rows["treated"], ["group", "contrast"]].to_numpy()],
    )
    return reading.figure(
        "strip",
        chart,
        table,
        " · ".join(filter(None, [sides_counted(reading), left_out])),
        **counts,
        measure=measured(reading),
        start=start,
        weeks_before=before,
        weeks=reading.weeks_after,
        listed=pilots,
        average=average,
    )


def event_study(reading: Reading) -> Any:
    """Draw supported merchants against others of the same categories by week since support; one line if unknown."""
    say, study = reading.words, reading.study
    if isinstance(study, str):
        return blocks.line(say("study_impossible", reason=study) if study else say("study_absent"))
    spread = reading.mean(study)
    verb = reading.verb(spread, limited=reading.uneven)
    title = say(f"study_title_{verb}", chance=claims.chance_of(verb, spread, say))
    return effect_by_week(reading, study, title, say("study_subtitle", currency=reading.unit))


def effect_by_week(
    reading: Reading,
    study: Estimates,
    title: str,
    subtitle: str,
    *,
    kind: Literal["study", "joiners", "loosened"] = "study",
) -> Any:
    """Draw a study of merchants by week since their start; weeks that rest on fewer than ten of them are left out.

    `kind` says in which words: merchants start to be supported, or join, or their floor is loosened.
    """
    say, spread = reading.words, reading.mean(study)
    labels = {"value": say("with_unit", name=say("column_estimate"), unit=reading.unit)}
    labels |= {"age": say(f"{kind}_age"), "start": say(f"{kind}_start")}
    ends = spread.interval(reading.level)
    told = {
        "average": reading.amount(spread.estimate, signed=True, like=ends),
        "interval": claims.interval_name(reading.evidence, say),
        "range": reading.amounts(*ends),
    }
    shown = latest(study, -_AGES_BEFORE)
    table = effects_table(say, shown.tidy(), partial(formats.number, signed=True), "{} … {}".format)
    chart = charts.event_study(shown, labels=labels | bands(say))
    counts = dict(zip(("treated", "others"), map(formats.number, study.clusters), strict=True))
    return reading.figure("study", chart, table, say(f"{kind}_n", **counts), title=title, subtitle=subtitle, **told)


def bands(say: Words, key: str = "study_note") -> dict[str, str]:
    """Name the shades and the broken lines of a study by age."""
    return dict(zip(("nested", "band"), say(key).split(" | "), strict=True))


def effects_table(
    say: Words,
    rows: pd.DataFrame,
    write: Callable[[float], str],
    span: Callable[[str, str], str],
    age: str = "column_age",
) -> pd.DataFrame:
    """Return the table behind a study by age: estimates with the intervals of each age by itself."""
    low, middle, high = ([*map(write, rows[name])] for name in ("conf_low", "estimate", "conf_high"))
    ages = [formats.number(value, signed=True) for value in rows["age"]]
    return pd.DataFrame(
        {say(age): ages, say("column_estimate"): middle, say("column_interval"): [*map(span, low, high)]}
    )


def kpi_trend(reading: Reading, metric: str = "gmv") -> Any:
    """Draw a weekly measure, an amount or a share, of pilots and others, incomplete weeks marked."""
    say, share, name = reading.words, METRICS[metric].unit == "share", reading.words(f"metric_{metric}")
    rows = reading.measures.assign(series=np.where(reading.measures["pilot"], "pilot", "other"))
    rows = rows[rows["week"] >= reading.totals.periods[0]].astype({metric: float})
    scale, unit = (0.01, "%") if share else reading.scale(rows[metric].max())
    told: Callable[[float], str] = formats.percent if share else reading.amount
    chart, table = sides_by_week(reading, rows, metric, say("with_unit", name=name, unit=unit), told, scale)
    complete = rows[rows["week"] == pd.Timestamp(reading.monday)].set_index("series")[metric]
    words = {side: told(float(complete[side])) for side in ("pilot", "other")}
    words |= {"measure": name, "definition": getattr(METRICS[metric], say.language), "currency": unit}
    return reading.figure("trend", chart, table, sides_counted(reading), **words)


def sides_by_week(
    reading: Reading, rows: pd.DataFrame, measure: str, axis: str, write: Callable[[float], str], scale: float = 1.0
) -> tuple[Any, pd.DataFrame]:
    """Return the chart of a measure by week of the series pilot and other, and the table behind it."""
    say, start = reading.words, reading.shop.pilot.starts_on
    wide = rows.pivot_table(index="week", columns="series", values=measure)
    sides = {side: say(f"series_{side}") for side in ("pilot", "other") if side in wide}
    table = pd.DataFrame({say("column_week"): pd.DatetimeIndex(wide.index).strftime("%Y-%m-%d")})
    table = table.assign(**{name: [write(value) for value in wide[side]] for side, name in sides.items()})
    labels = {"value": axis, "incomplete": say("incomplete"), "start": say("pilot_starts"), **sides}
    shown = rows.assign(**{measure: rows[measure] / scale})
    chart = charts.kpi_trend(shown, metric=measure, period="week", series="series", labels=labels, start=start)
    return chart, table


def cohort_triangle(reading: Reading) -> Any:
    """Draw the share of each cohort of merchants that still sells, by months since its first sale."""
    say = reading.words
    frame = shown_cohorts(reading)
    kept = kept_selling(reading)
    if kept is None:
        return blocks.line(say("cohort_absent"))
    labels = {
        "age": say("cohort_months"),
        "value": say("cohort_value"),
        "cohort": f"{say('cohort_cohort')} · {say('column_size')}",
    }
    table = cohort_table(say, frame, say("column_size"), "%Y-%m")
    chart = charts.triangle(frame, labels=labels)
    note = say("cohort_n", n=formats.Count(len(table)))
    words = {"n": formats.Count(len(table)), "age": formats.Count(kept[0]), "low": kept[1], "high": kept[2]}
    return reading.figure("cohort", chart, table, note, **words)


def latest(study: Estimates, age: int, *, least: int = FEWEST) -> Estimates:
    """Keep the ages from `age` on that rest on at least so many units."""
    held = (study.labels["age"] >= age).to_numpy() & (study.n_units >= least)
    return replace(
        study,
        labels=study.labels[held].reset_index(drop=True),
        estimate=study.estimate[held],
        spread=study.covariance[np.ix_(held, held)],
        n_units=study.n_units[held],
    )


def sides_counted(reading: Reading) -> str:
    """Write how many categories are compared with how many."""
    pilots, others = reading.contrast.clusters
    return reading.words("n_categories", pilots=pilots, others=others)
