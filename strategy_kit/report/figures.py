"""The charts of the weekly page with their words, written from a `Reading`."""

from __future__ import annotations

from dataclasses import replace
from math import expm1
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from strategy_kit import charts, formats
from strategy_kit.metrics import METRICS
from strategy_kit.report import blocks, claims
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.claims import Spread, in_percent
from strategy_kit.report.page import against_others, kept_selling, measured, shown_cohorts
from strategy_kit.report.reading import Reading, listed, study_verb

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates

_AGES_BEFORE = 12


def placebo_strip(reading: Reading) -> Any:
    """Draw where the pilots stand among the categories and among all ways to choose as many."""
    say = reading.words
    groups = against_others(reading)
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
    return charts.figure(
        chart,
        title=say("strip_title", **counts),
        subtitle=say(
            "strip_subtitle", measure=measured(reading), start=start, weeks_before=before, weeks=reading.weeks_after
        ),
        caption=_caption(reading, _categories(reading)),
        description=say("strip_alt", listed=pilots, average=average, **counts),
        table=table,
        table_label=say("table_behind"),
    )


def event_study(reading: Reading) -> Any:
    """Draw supported merchants against others of the same categories by week since support; one line if unknown."""
    say, study = reading.words, reading.study
    if isinstance(study, str):
        return blocks.line(say("study_impossible", reason=study) if study else say("study_absent"))
    spread, verb = reading.study_spread, study_verb(reading)
    assert spread is not None  # noqa: S101  # a study has one
    title = say(f"study_title_{verb}", chance=claims.chance_of(verb, spread, say))
    unit = formats.currency_unit(reading.shop.description.currency, say.language)
    return effect_by_week(reading, study, title, say("study_subtitle", currency=unit))


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
    say, currency = reading.words, reading.shop.description.currency
    recent = _since(_kept(study, study.n_units >= FEWEST), -_AGES_BEFORE)
    spread = Spread(*study.average, np.inf, reading.widening)
    unit = formats.currency_unit(currency, say.language)
    labels = {
        "value": say("with_unit", name=say("column_estimate"), unit=unit),
        "age": say(f"{kind}_age"),
        "start": say(f"{kind}_start"),
    }
    labels["nested"], labels["band"] = (part.strip() for part in say("study_note").split("|"))
    rows = recent.tidy()
    table = pd.DataFrame(
        {
            say("column_age"): [formats.number(age, signed=True) for age in rows["age"]],
            say("column_estimate"): [formats.number(v, signed=True) for v in rows["estimate"]],
            say("column_interval"): [
                f"{formats.number(low, signed=True)} … {formats.number(high, signed=True)}"
                for low, high in zip(rows["conf_low"], rows["conf_high"], strict=True)
            ],
        }
    )
    average = formats.money(spread.estimate, currency, say.language, signed=True, like=spread.interval(reading.level))
    span = formats.money_range(*spread.interval(reading.level), currency, say.language)
    counts = dict(zip(("treated", "others"), map(formats.number, study.clusters), strict=True))
    return charts.figure(
        charts.event_study(recent, labels=labels),
        title=title,
        subtitle=subtitle,
        caption=_caption(reading, say(f"{kind}_n", **counts)),
        description=say("study_alt", average=average, interval=claims.interval_name(reading.evidence, say), range=span),
        table=table,
        table_label=say("table_behind"),
    )


def kpi_trend(reading: Reading, metric: str = "gmv") -> Any:
    """Draw a weekly measure, an amount or a share, of pilots and others, incomplete weeks marked."""
    say, currency = reading.words, reading.shop.description.currency
    rows = reading.measures.assign(series=np.where(reading.measures["pilot"], "pilot", "other"))
    rows = rows[rows["week"] >= reading.totals.periods[0]].astype({metric: float})
    if METRICS[metric].unit == "share":
        scale, unit = 0.01, "%"
    else:
        scale = 1e4 if say.language == "zh" else 1e6 if rows[metric].max() >= 1e6 else 1e3
        unit = say(f"axis_{scale:.0f}", unit=formats.currency_unit(currency, say.language))
    shown = rows.assign(**{metric: rows[metric] / scale})
    complete = rows[rows["week"] == pd.Timestamp(reading.monday)].set_index("series")[metric]
    labels = {
        "value": say("with_unit", name=say(f"metric_{metric}"), unit=unit),
        "incomplete": say("incomplete"),
        "start": say("pilot_starts"),
        "pilot": say("series_pilot"),
        "other": say("series_other"),
    }
    wide = rows.pivot_table(index="week", columns="series", values=metric)

    def told(value: float) -> str:
        return formats.percent(value) if unit == "%" else formats.money(value, currency, say.language)

    table = pd.DataFrame({say("column_week"): pd.DatetimeIndex(wide.index).strftime("%Y-%m-%d")})
    table = table.assign(**{say(f"series_{name}"): [told(v) for v in wide[name]] for name in ("pilot", "other")})
    chart = charts.kpi_trend(
        shown, metric=metric, period="week", series="series", labels=labels, start=reading.shop.pilot.starts_on
    )
    return charts.figure(
        chart,
        title=say("trend_title", measure=say(f"metric_{metric}")),
        subtitle=say("trend_subtitle", definition=getattr(METRICS[metric], say.language), currency=unit),
        caption=_caption(reading, _categories(reading)),
        description=say("trend_alt", **{name: told(float(complete[name])) for name in ("pilot", "other")}),
        table=table,
        table_label=say("table_behind"),
    )


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
    share = frame["value"] / frame["cohort_size"]
    wide = frame.assign(share=share).pivot_table(index=["cohort", "cohort_size"], columns="age", values="share")
    table = pd.DataFrame(
        {
            say("column_cohort"): pd.DatetimeIndex(wide.index.get_level_values(0)).strftime("%Y-%m"),
            say("column_size"): [formats.number(n) for n in wide.index.get_level_values(1)],
            **{str(age): ["" if np.isnan(v) else formats.percent(v, 0) for v in wide[age]] for age in wide.columns},
        }
    )
    return charts.figure(
        charts.triangle(frame, labels=labels),
        title=say("cohort_figure"),
        subtitle=say("cohort_subtitle"),
        caption=_caption(reading, say("cohort_n", n=formats.Count(len(wide)))),
        description=say(
            "cohort_alt", n=formats.Count(len(wide)), age=formats.Count(kept[0]), low=kept[1], high=kept[2]
        ),
        table=table,
        table_label=say("table_behind"),
    )


def _since(study: Any, age: int) -> Any:
    """Keep the ages from `age` on."""
    return _kept(study, (study.labels["age"] >= age).to_numpy())


def _kept(study: Any, held: np.ndarray) -> Any:
    return replace(
        study,
        labels=study.labels[held].reset_index(drop=True),
        estimate=study.estimate[held],
        spread=study.covariance[np.ix_(held, held)],
        n_units=study.n_units[held],
    )


def _categories(reading: Reading) -> str:
    pilots, others = reading.contrast.clusters
    return reading.words("n_categories", pilots=pilots, others=others)


def _caption(reading: Reading, n: str) -> str:
    say, about = reading.words, reading.shop.description
    marks = [say("synthetic")] * about.synthetic + [say("placebo_mark")] * reading.shop.pilot.placebo
    mark = "".join(f"{word} · " for word in marks)
    return say(
        "caption",
        mark=mark,
        dataset=say.label(about.title or about.name),
        week=formats.week_span(reading.monday, say.language),
        n=n,
    )
