"""Replicate? Where support would be worth most, where a pilot would teach most, and how the next wave is drawn."""

from __future__ import annotations

import datetime as dt
from functools import partial
from math import log1p
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import formats, planning
from strategy_kit.charts.nested import nested_forest
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.categories import BOUNDS, Row, forest, interval_columns, nested_rows, prediction
from strategy_kit.report.claims import in_hundred, in_percent
from strategy_kit.report.page import merchants_of
from strategy_kit.report.programme_page import Parts, ProgrammePage
from strategy_kit.tables_to_panel import POOLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strategy_kit.report.reading import Reading

SHOWN = 8
"""Candidates that the figure shows; the table behind it and the one below it hold all."""
NOTICE_WEEKS, WAVES = 4, 2
NO_CATEGORY = (POOLED, "unknown")
"""What sales are added up as that no pilot could be in."""
_MOST = 700.0  # log points of which the exponential is still a number


PAGE = ProgrammePage("next_category", "next")
masthead, foot = PAGE.masthead, PAGE.foot


def ranked(reading: Reading) -> pd.DataFrame | str:
    """Return the candidates of `planning.candidates`, named and of ten merchants at least, or why there are none.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> ranked(sk.report.read_week(sk.open_dataset("data/sample")))["category"].iloc[0]
    'appliances'
    """
    say, further = reading.words, reading.further
    if further is None:
        return say("next_untold")
    try:
        found = planning.candidates(
            reading.totals, further, weeks=weeks_of(reading), threshold=log1p(reading.shop.plan.threshold)
        )
    except DesignError as reason:
        return str(reason)
    sold = merchants_of(reading)
    few = found["category"].map(lambda name: sold.get(name, 0) < FEWEST)
    kept = found[~few & ~found["category"].isin(NO_CATEGORY)].reset_index(drop=True)
    ends = prediction(further, reading.widening).interval(reading.level)
    for name, end in zip(("value_low", "value_high"), ends, strict=True):
        kept[name] = kept["sales"] * weeks_of(reading) * np.expm1(min(end, _MOST))
    kept = kept.assign(
        **{f"rank_{name}": kept[name].rank(ascending=False).astype(int) for name in ("value", "learning")}
    )
    return kept if len(kept) else say("next_few", fewest=FEWEST)


def _candidates(reading: Reading) -> pd.DataFrame:
    if isinstance(found := ranked(reading), str):
        raise DesignError(found)
    return found


def weeks_of(reading: Reading) -> int:
    """Return the weeks that a further pilot would last: the plan's horizon, or half a year."""
    return reading.shop.plan.horizon or 26


@PAGE.section("value")
def value(reading: Reading) -> Parts:
    """Return what support would be worth in each candidate, with its interval, largest first."""
    say, found = reading.words, _candidates(reading)
    title = say("next_value_title", name=say.label(found["category"].iloc[0]), **_told(reading, found.iloc[0]))
    note = say("next_value_note", chance=in_hundred(float(found["chance"].iloc[0]), say), weeks=formats.Count(weeks_of(reading)),
               threshold=in_percent(log1p(reading.shop.plan.threshold)))  # fmt: skip
    return title, note, _values(reading, found)


@PAGE.section("learning")
def learning(reading: Reading) -> Parts:
    """Return what a pilot in each candidate would teach, on itself and on a category after it."""
    say, found = reading.words, _candidates(reading)
    first: Any = found.sort_values("rank_learning").iloc[0]
    narrower = formats.percent(1 - first["further_width"], 0)
    title = say("next_learning_title", name=say.label(first["category"]), narrower=narrower)
    write = partial(reading.amount, signed=True)
    rows = [
        [say.label(str(row.category)), *(
            str(row.rank_value), str(row.rank_learning), in_percent(row.error, signed=False), formats.percent(row.own_width, 0),
            formats.percent(row.further_width, 0), write(row.learning))]
        for row in _rows(found)
    ]  # fmt: skip
    names = ("category", "rank_value", "rank_learning", "pilot_error", "own_width", "further_width", "learning")
    heads = [say(f"column_{name}") for name in names]
    table = blocks.listing(heads, rows, say("next_learning_caption"), numbers=range(1, 7))
    return title, say("next_learning_note"), table


@PAGE.section("design")
def design(reading: Reading, pilots: int = 3, weeks_between: int = 4, seed: int = 1) -> Parts:
    """Return the next wave as drawn by lot, and the effect that it would find."""
    say, found = reading.words, _candidates(reading)
    starts = [reading.monday + dt.timedelta(weeks=NOTICE_WEEKS + wave * weeks_between) for wave in range(WAVES)]
    drawn = planning.wave(found, pilots=pilots, starts=starts, seed=seed)
    rows = [
        [str(row.pair), say.label(str(row.category)),
         formats.day(row.start, say.language) if row.piloted else say("next_comparison")]
        for row in _rows(drawn)
    ]  # fmt: skip
    heads = say.heads("pair", "category", "start")
    counts = {"pilots": formats.Count(pilots), "ways": formats.Count(2**pilots), "seed": str(seed)}
    p_value = formats.number(float(drawn["smallest_p_value"].iloc[0]), 3)
    caption = say("next_design_caption", p=p_value, **counts)
    return say("next_design_title", **counts), _found(reading, pilots), blocks.listing(heads, rows, caption)


@PAGE.answer
def answer(reading: Reading) -> str:
    """Return one sentence for the weekly page."""
    say, found = reading.words, _candidates(reading)
    best, first = found.iloc[0], found.sort_values("rank_learning").iloc[0]
    names = {"name": say.label(best["category"]), "teacher": say.label(first["category"])}
    return say("next_answer", **names, **_told(reading, best))


def _found(reading: Reading, pilots: int) -> str:
    """Tell which effect the pilots would find together with the new ones, by the weeks before."""
    say = reading.words
    try:
        rows = planning.what_if(reading.totals, more_pilots=(0, pilots), more_weeks=(weeks_of(reading),),
                                level=reading.level, widening=reading.widening)  # fmt: skip
    except DesignError as reason:
        return say("next_impossible", reason=str(reason))
    now, more = (in_percent(size, signed=False) for size in rows["detectable_effect"])
    return say("next_design_note", now=now, more=more, weeks=formats.Count(weeks_of(reading)))


def _told(reading: Reading, row: Any) -> dict[str, str]:
    names = {"value": "value", "low": "value_low", "high": "value_high"}
    return {name: reading.amount(float(row[column]), signed=True) for name, column in names.items()}


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    return frame.itertuples(index=False)


def _values(reading: Reading, found: pd.DataFrame) -> Any:
    """Draw the value of the largest candidates as grey bands, for they are predictions."""
    say, spread = reading.words, prediction(reading.further, reading.widening)  # type: ignore[arg-type]
    frame = nested_rows([Row(say.label(str(name)), "prediction", spread) for name in found["category"]], reading.level,
                        lambda *_: "")  # fmt: skip
    size = (found["sales"] * weeks_of(reading)).to_numpy()
    for name in ("estimate", *BOUNDS):
        frame[name] = size * np.expm1(frame[name].astype(float).clip(upper=_MOST))
    write = partial(reading.amount, signed=True)
    frame["value"] = [
        say("nested_value", estimate=write(row.estimate), low=write(row.low_80), high=write(row.high_80))
        for row in _rows(frame)
    ]
    table = pd.DataFrame({say("column_category"): frame["name"], say("column_worth"): frame["estimate"].map(write)})
    table = table.assign(**interval_columns(frame, reading.level, write, say))
    counts = {"shown": formats.Count(min(SHOWN, len(frame))), "all": len(frame)}
    listed = "; ".join(frame["name"] + " " + frame["value"])
    draw, weeks = partial(nested_forest, unit=write), formats.Count(weeks_of(reading))
    note = say("next_value_caption", **counts)
    return forest(reading, "next_value", frame.head(SHOWN), table, note, draw, listed=listed, weeks=weeks)
