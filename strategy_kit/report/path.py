"""The pilots' path by week, with what else happened in the same weeks below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, did, formats
from strategy_kit.charts.timeline import LEVELS
from strategy_kit.errors import DesignError
from strategy_kit.kpi.control import festival_days
from strategy_kit.report import blocks
from strategy_kit.report.claims import in_percent
from strategy_kit.report.figures import sides_counted
from strategy_kit.report.page import measured
from strategy_kit.report.reading import listed

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.reading import Reading

_WEEK = pd.Timedelta(weeks=1)


def pilot_path(reading: Reading) -> Any:
    """Draw the pilots' gap by week with bands for all weeks together, and the events of these weeks below it.

    Where the ways to assign the pilots are too few for a band, each week's own interval is drawn and nothing is judged.
    """
    say = reading.words
    try:
        path = did.pilot_path(reading.totals)
    except DesignError as reason:
        return blocks.line(say("path_absent", reason=reason))
    together = bool(np.isfinite(path.tidy(level=LEVELS[0])["band_low"]).any())
    rows = pd.concat([_percent(path, level, "band" if together else "conf") for level in LEVELS], ignore_index=True)
    widest: Any = rows[rows["level"] == LEVELS[0]]
    after = widest[widest["age"] >= 0]
    beyond = int(((after["low"] > 0) | (after["high"] < 0)).sum()) if together else 0
    counts = {"n": formats.Count(beyond), "all": formats.Count(len(after))}
    title = say("path_title" if beyond else "path_title_none" if together else "path_title_single", **counts)
    labels = {"value": say("path_value"), "age": say("path_age"), "start": say("pilot_starts"), "span": "95%"}
    events = timeline_events(reading)
    names = listed(say, list(events["label"]))
    table = pd.DataFrame(
        {
            say("column_age"): [formats.number(age, signed=True) for age in widest["age"]],
            say("column_estimate"): [_written(value) for value in widest["estimate"]],
            say("column_interval"): [f"{_written(row.low)} … {_written(row.high)}" for row in widest.itertuples()],
        }
    )
    note = say("path_together" if together else "path_single")
    chart = charts.effect_timeline(rows, events, labels=labels)
    counted = f"{sides_counted(reading)} · {note}"
    return reading.figure(
        "path",
        chart,
        table,
        counted,
        title=title,
        measure=measured(reading),
        weeks=formats.Count((widest["age"] < 0).sum()),
        average=in_percent(path.average[0]),
        listed=names or "–",
        **counts,
    )


def timeline_events(reading: Reading) -> pd.DataFrame:
    """Return kind, label, first and last, in weeks since the first pilot's start, of what happened in the compared weeks.

    Policies in force in all of the weeks are left out: they change nothing between before and after.
    """
    say, shop = reading.words, reading.shop
    since, until = reading.totals.periods[0], pd.Timestamp(reading.monday) + _WEEK
    start = reading.totals.periods[int(reading.totals.starts.min())]
    rows = [("support", say("event_support"), start, until)] if not shop.pilot.placebo else []
    rows += [("festival", say.label(name), *span) for name, span in _festivals(reading, since, until)]
    if "policies" in shop.tables:
        ended = "ended_on" if "ended_on" in shop.columns("policies") else "null"
        found = shop.engine.frame(
            f"select policy, started_on, cast({ended} as date) as ended_on from policies where started_on < $until"
            f" and coalesce(cast({ended} as date), $until) >= $since order by started_on, policy",
            {"since": since.date(), "until": until.date()},
        )
        for policy, first, last in found.itertuples(index=False):
            begun = pd.Timestamp(first)
            ending = until if pd.isna(last) else min(pd.Timestamp(last) + pd.Timedelta(days=1), until)
            if begun > since or ending < until:
                rows.append(("limiting", say.label(str(policy)), max(begun, since), ending))
    frame = pd.DataFrame(rows, columns=["kind", "label", "first", "last"])
    shift = 0.5  # a week's point stands in its middle
    ages = {end: (frame[end] - start) / _WEEK - shift for end in ("first", "last")}
    return frame.assign(**{end: age.astype(float) for end, age in ages.items()})


def _festivals(reading: Reading, since: pd.Timestamp, until: pd.Timestamp) -> list[tuple[str, tuple[Any, Any]]]:
    days = festival_days(reading.shop, since.date(), until.date()).dropna(subset="festival").sort_values("date")
    days = days[(days["date"] >= since) & (days["date"] < until)]
    block = ((days["date"].diff() > pd.Timedelta(days=8)) | (days["festival"] != days["festival"].shift())).cumsum()
    found = days.groupby(block)
    spans = [(str(part["festival"].iloc[0]), (part["date"].min(), part["date"].max())) for _, part in found]
    return [(name, (first, last + pd.Timedelta(days=1))) for name, (first, last) in spans]


def _percent(path: Estimates, level: float, kind: str) -> pd.DataFrame:
    """Turn log points into percent."""
    rows = path.tidy(level=level)
    ends = {"estimate": rows["estimate"], "low": rows[f"{kind}_low"], "high": rows[f"{kind}_high"]}
    return rows[["age"]].assign(level=level, **{name: 100 * np.expm1(end.astype(float)) for name, end in ends.items()})


def _written(percent: float) -> str:
    return "–" if np.isnan(percent) else formats.percent(percent / 100, signed=True)
