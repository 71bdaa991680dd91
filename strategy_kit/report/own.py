"""The sections of an analyst's own notebook that are the same in all of them: its head, its answer, its foot."""

from __future__ import annotations

from math import expm1
from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import charts, formats
from strategy_kit.metrics import METRICS
from strategy_kit.report import blocks, review
from strategy_kit.report.claims import in_percent
from strategy_kit.report.reading import listed
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.review import Review


def masthead(read: Review, title: str) -> Section:
    """Return the head of the page, with the marks of its data.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> print(masthead(review.open_review(sk.open_dataset("data/sample"), "2025-W30"), "Refunds by size"))
    Refunds by size · Demo marketplace · week 30 of 2025, 21 July to 27 July
    """
    return review.opening(read, read.words("own_product"), title)


def trend(read: Review, weekly: pd.DataFrame, metric: str) -> Section:
    """Return one measure by week: a table of `kpi.table` with the column week, and pilot where its lines are told apart.

    Weeks after the one that is read are left out.
    """
    say, unit = read.words, read.words(f"metric_{metric}")
    rows = weekly[weekly["week"] <= pd.Timestamp(read.monday)]
    told_apart = "pilot" in rows
    series = rows["pilot"].map({True: "pilot", False: "others"}) if told_apart else "others"
    rows = rows.assign(series=series)
    words = {"pilot": say("series_pilot"), "others": say("own_others") if told_apart else unit}
    words = {name: words[name] for name in words if (rows["series"] == name).any()}
    complete = rows[rows["complete"]]
    last = complete[complete["week"] == complete["week"].max()]
    ends = [
        f"{words[name]} {read.told(metric, value)}" for name, value in zip(last["series"], last[metric], strict=True)
    ]
    currency = read.unit
    priced = METRICS[metric].unit.startswith("currency")
    value = say("with_unit", name=unit, unit=currency) if priced else unit
    labels = {**words, "value": value, "incomplete": say("incomplete")}
    chart = charts.kpi_trend(rows, metric=metric, period="week", series="series", labels=labels)
    note = say("own_trend_note", n=formats.Count(complete["week"].nunique()))
    told = {"measure": unit, "definition": getattr(METRICS[metric], say.language), "listed": listed(say, ends)}
    drawn = read.figure("own_trend", chart, None, note, **told)
    return Section("trend", (drawn,))


def answer(read: Review, contrast: Estimates | None, metric: str) -> Section:
    """Return what the pilots tell of a measure: estimate, interval and categories, and no verb; None says why not.

    Parameters
    ----------
    contrast
        `did.pilot_contrast` of the logs of category totals; None where the data set names no pilot.
    """
    say = read.words
    if contrast is None:
        return Section("answer", (blocks.line(say("own_no_pilot")),))
    row, measure = contrast.tidy().iloc[0], say(f"metric_{metric}")
    pilots, others = contrast.clusters
    counts = {"pilots": pilots, "others": others, "level": "95%", "measure": measure}
    ends = {
        name: in_percent(row[end])
        for name, end in (("estimate", "estimate"), ("low", "conf_low"), ("high", "conf_high"))
    }
    placebo = read.shop.pilot.placebo
    sentence = say("own_answer_placebo" if placebo else "own_answer", **counts, **ends)
    return Section("answer", (blocks.line(sentence), _strip(read, contrast, measure)))


def provenance(read: Review) -> Section:
    """Return the foot of the page: data, source, method, words."""
    return Section("provenance", (review.provenance(read, "own_method"),))


def _strip(read: Review, contrast: Estimates, measure: str) -> Any:
    say, counts = read.words, contrast.clusters
    groups, placebo = contrast.details["groups"], contrast.details["placebo"]
    gap = groups["contrast"] - groups.loc[~groups["treated"], "contrast"].mean()
    groups = groups.assign(group=[say.label(str(name)) for name in groups["group"]], contrast=gap)
    labels = {
        "value": say("own_strip_value"), "pilots": say("series_pilot"), "others": say("own_others"),
        "placebo": say("own_strip_chance", total=formats.number(len(placebo))), "average": say("own_strip_average"),
    }  # fmt: skip
    average = expm1(contrast.average[0])
    chart = charts.placebo_strip(
        groups, placebo, average=100 * average, to_percent=lambda v: 100 * expm1(v), labels=labels
    )
    treated, others = (groups[groups["treated"] == side] for side in (True, False))
    told = [f"{name} {in_percent(value)}" for name, value in zip(treated["group"], treated["contrast"], strict=True)]
    ends = {"low": in_percent(others["contrast"].min()), "high": in_percent(others["contrast"].max())}
    note = say("n_categories", pilots=counts[0], others=counts[1])
    words = {"measure": measure, "listed": listed(say, told), "average": in_percent(contrast.average[0])}
    return read.figure("own_strip", chart, None, note, **words, **ends)
