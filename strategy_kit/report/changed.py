"""What changed since last week, and why: what was said, what the same week says on today's data, and what is said now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import formats
from strategy_kit.report import blocks
from strategy_kit.report.claims import in_percent
from strategy_kit.report.ledger import followed, read_ledger
from strategy_kit.report.page import measured
from strategy_kit.report.publish import MAIN
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from strategy_kit.report.blocks import Block
    from strategy_kit.report.reading import Reading


def changed(reading: Reading) -> Section:
    """Return what earlier pages said beside what is said now; one line in the first week."""
    say = reading.words
    head = say("section_changed"), say("question_changed")
    before = _earlier(reading)
    if before.empty or not before["comparable"].any():
        return Section("changed", (blocks.absent(*head, say("changed_first" if before.empty else "changed_other")),))
    before = before[before["comparable"]]
    last: Any = before.iloc[-1]
    values = {"said": in_percent(last.estimate), "now": in_percent(reading.spread.estimate)}
    week, same = formats.period_name(last.week.date(), "week", say.language), values["said"] == values["now"]
    title = say("changed_title_same" if same else "changed_title", week=week, **values)
    parts = (blocks.section_head(*head, title), _table(reading, last), blocks.line(_calibrated(reading, before)))
    return Section("changed", parts)


def _earlier(reading: Reading) -> pd.DataFrame:
    """Return earlier weeks' claims, followed, and which are on the plan's metric.

    The page's own week is left out, so that it reads alike when it is made again.
    """
    path = reading.audience.ledger
    if path is None:
        return pd.DataFrame()
    ledger = read_ledger(Path(path))
    ledger = ledger[ledger["week"] < pd.Timestamp(reading.monday)]
    rows = followed(ledger)
    rows = rows[rows["notebook"] == MAIN]
    return rows.assign(comparable=rows["metric"] == reading.shop.plan.metric)


def _table(reading: Reading, last: Any) -> Block:
    """Set three numbers side by side: what was said, the same week on today's data, and this week."""
    say, again = reading.words, reading.again
    values = [in_percent(last.estimate), "–", in_percent(reading.spread.estimate)]
    if again is not None and last.week == pd.Timestamp(reading.monday) - pd.Timedelta(weeks=1):
        values[1] = in_percent(float(again.glance()["estimate"].iloc[0]))
    rows = [
        [measured(reading), *values, _because(reading, values)],
        [say("recommendation"), say(f"decision_{last.decision}"), "–",
         say(f"decision_{reading.claim.decision}"), _decided(reading, last)],
    ]  # fmt: skip
    heads = say.heads("measure", "said", "again", "now", "because")
    week = formats.period_name(last.week.date(), "week", say.language)
    return blocks.listing(heads, rows, say("changed_caption", week=week), numbers=(1, 2, 3))


def _because(reading: Reading, values: list[str]) -> str:
    """Split the change into restated data and the further week, by comparing printed numbers."""
    say, (said, again, now) = reading.words, values
    if again == "–":
        return say("because_weeks" if said != now else "because_nothing")
    key = {(True, True): "because_both", (True, False): "because_restated", (False, True): "because_week"}
    return say(key.get((said != again, again != now), "because_nothing"), said=said, again=again, now=now)


def _decided(reading: Reading, last: Any) -> str:
    say = reading.words
    if last.decision == reading.claim.decision:
        return say("because_nothing")
    if isinstance(last.plan_fingerprint, str) and last.plan_fingerprint != reading.shop.plan.fingerprint:
        return say("decided_plan")
    limited = [check.label for check in reading.checks if check.state != "holds"]
    return say("decided_limited", listed=limited[0]) if limited else say("decided_numbers")


def _calibrated(reading: Reading, before: pd.DataFrame) -> str:
    """Tell how often earlier intervals held what came of them, or that it is too early to tell."""
    say = reading.words
    judged = before.dropna(subset=["inside_80"])
    if judged.empty:
        return say("calibration_none")
    counts = {"n": formats.Count(int(judged["inside_80"].sum())), "all": formats.Count(len(judged))}
    final = bool(judged["outcome_final"].all())
    return say("calibration_final" if final else "calibration_so_far", **counts)
