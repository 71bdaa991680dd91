"""The charts of the effect page with their words, written from what `effect` computed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, formats
from strategy_kit.charts.bacon import LOOKS
from strategy_kit.report import blocks
from strategy_kit.report.effect import AGES_BEFORE, Inside, forbidden_share
from strategy_kit.report.effect_page import cohorts, compared, percent_sentence
from strategy_kit.report.figures import bands, sides_counted
from strategy_kit.report.reading import LEVEL
from strategy_kit.report.words import plain

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.reading import Reading


def inside_figures(inside: Inside | str) -> list[Any]:
    """Return what there is to see of supported merchants against others; nothing where none are compared."""
    return [] if isinstance(inside, str) else [draw(inside) for draw in (cohorts, study, grid, estimators, comparisons)]


def study(inside: Inside) -> Any:
    """Draw the effect by weeks since support started."""
    say, rows = inside.reading.words, inside.study.tidy(LEVEL)
    labels = {"value": _value(inside), "age": say("study_age"), "start": say("study_start")}
    labels |= bands(say)
    table = pd.DataFrame({say("column_age"): [formats.number(age, signed=True) for age in rows["age"]]})
    sides = {"n": rows["age"] >= 0, "m": rows["age"] < -1}
    clear = {name: formats.Count(_clear(rows[side]).sum()) for name, side in sides.items()}
    counts = {"all": formats.Count(sides["n"].sum()), "past": formats.Count(sides["m"].sum()), **clear}
    chart = charts.event_study(inside.study, labels=labels)
    words = say("effect_study_title", **counts), say("effect_study_subtitle", against=compared(inside, "group_time"))
    return _inside(inside, chart, words, _with_effects(inside, table, rows))


def grid(inside: Inside) -> Any:
    """Draw the effect on each cohort in each week."""
    say, rows = inside.reading.words, inside.effects.tidy(LEVEL)
    age = np.asarray(inside.effects.age)
    after, rows = rows[age >= 0], rows[age >= -AGES_BEFORE]
    labels = {name: say(f"grid_{name}") for name in ("cohort", "period", "excludes", "before", "missing", "none")}
    labels |= {"value": _value(inside), "start": say("grid_start")}
    title = say("grid_title", n=formats.Count(_clear(after).sum()), all=formats.Count(len(after)))
    days = {say(f"column_{words}"): rows[name].dt.strftime("%Y-%m-%d")
            for name, words in (("cohort", "support_start"), ("period", "week"))}  # fmt: skip
    table = _with_effects(inside, pd.DataFrame(days), rows)
    return _inside(inside, charts.effects_grid(rows, labels=labels), (title, say("grid_subtitle")), table)


def estimators(inside: Inside) -> Any:
    """Draw the overall effect by each estimator, the headline's first."""
    say, rows = inside.reading.words, inside.rows
    names = {name: say(f"estimator_{name}") for name in rows["estimator"]}
    rows = rows.assign(comparison=[compared(inside, name) for name in names])
    labels = {"value": _value(inside), "interval": say("estimators_interval"), **names}
    table = pd.DataFrame({say("column_estimator"): list(names.values()), say("column_against"): rows["comparison"]})
    absent = [f"{say(f'estimator_{name}')}: {fit}" for name, fit in inside.fits.items() if isinstance(fit, str)]
    percent = inside.in_percent
    notes = [percent if isinstance(percent, str) else percent_sentence(inside, percent), *absent]
    span = inside.span(rows["estimate"].min(), rows["estimate"].max())
    title = say("estimators_title", n=formats.Count(len(rows)), range=span)
    subtitle = plain(say.prose(say("estimators_subtitle"), *notes))
    table = _with_effects(inside, table, rows)
    return _inside(inside, charts.estimator_comparison(rows, labels=labels), (title, subtitle), table)


def comparisons(inside: Inside) -> Any:
    """Draw what the two-way coefficient is made of, one line where it cannot be split."""
    say, found = inside.reading.words, inside.decomposition
    if isinstance(found, str):
        return blocks.line(say("comparisons_absent", reason=found))
    rows, share = found.tidy(LEVEL), formats.percent(forbidden_share(found))
    kinds = dict(zip(LOOKS, [say(f"pair_{name}") for name in ("never", "earlier", "later", "always")], strict=True))
    labels = {name: say(f"comparisons_{name}") for name in ("weight", "average", "forbidden")}
    labels |= {"value": _value(inside), **kinds}
    whom = [str(name)[:10] if name != "never treated" else say("compared_never") for name in rows["comparison"]]
    table = pd.DataFrame({say("column_support_start"): rows["cohort"].dt.strftime("%Y-%m-%d"), say("column_against"): whom,
                          say("column_kind"): rows["type"].map(kinds),
                          say("column_weight"): rows["weight"].map(formats.percent),
                          say("column_estimate"): rows["estimate"].map(inside.amount)})  # fmt: skip
    words = (say("comparisons_title", share=share), say("comparisons_subtitle"))
    return _inside(inside, charts.bacon(rows.assign(comparison=whom), labels=labels), words, table)


def pair_figures(reading: Reading, pair: Estimates | str) -> list[Any]:
    """Return the pilots beside their synthetic pair, one chart a start, or one line that says why not."""
    say = reading.words
    if isinstance(pair, str):
        return [blocks.line(say("synthetic_absent", reason=pair))]
    paths, donors = pair.details["paths"], pair.details["unit_weights"]
    top = np.exp(paths[["treated", "synthetic"]].to_numpy().max())
    scale, unit = reading.scale(float(top))
    paths = paths.assign(**{side: np.exp(paths[side]) / scale for side in ("treated", "synthetic")})
    donors = donors.assign(group=[say.label(str(name)) for name in donors["group"]])
    shown = replace(pair, details={**pair.details, "paths": paths, "unit_weights": donors})
    labels = {name: say(f"synthetic_{name}") for name in ("treated", "synthetic", "start", "times", "donors", "others")}
    labels["value"] = say("with_unit", name=say("synthetic_value"), unit=unit)
    figures = []
    for cohort, rows in donors.groupby("cohort"):
        fit = pair.details["fit"].set_index("cohort").loc[cohort]
        error = formats.percent(float(np.expm1(fit["pre_period_error"])))
        start = formats.day(pd.Timestamp(str(cohort)).date(), say.language)
        table = rows.sort_values("weight", ascending=False)
        table = pd.DataFrame(
            {say("column_category"): table["group"], say("column_weight"): table["weight"].map(formats.percent)}
        )
        drawn = charts.synthetic_pair(shown, cohort=cohort, labels=labels)
        title = say("synthetic_title", error=error), say("synthetic_subtitle", start=start)
        figures.append(_figure(reading, drawn, title, table, sides_counted(reading)))
    return figures


def _value(inside: Inside) -> str:
    say = inside.reading.words
    name = say("effect_value", measure=say(f"metric_{inside.outcome}"))
    unit = inside.reading.unit
    return say("with_unit", name=name, unit=unit) if inside.outcome == "gmv" else name


def _clear(rows: pd.DataFrame) -> Any:
    return (rows["conf_low"] > 0) | (rows["conf_high"] < 0)


def _with_effects(inside: Inside, table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    say = inside.reading.words
    span = ["–" if np.isnan(low) else inside.span(low, high)
            for low, high in rows[["conf_low", "conf_high"]].to_numpy()]  # fmt: skip
    return table.assign(
        **{say("column_estimate"): [*map(inside.amount, rows["estimate"])], say("column_interval"): span}
    )


def _inside(inside: Inside, chart: Any, words: tuple[str, str], table: pd.DataFrame) -> Any:
    treated, others = map(formats.number, inside.effects.clusters)
    count = inside.reading.words("study_n", treated=treated, others=others)
    return _figure(inside.reading, chart, words, table, count)


def _figure(reading: Reading, chart: Any, words: tuple[str, str], table: pd.DataFrame, count: str) -> Any:
    title, subtitle = words
    described = reading.words("label_and_note", label=title, note=subtitle)
    return reading.figure("effect", chart, table, count, title=title, subtitle=subtitle, description=described)
