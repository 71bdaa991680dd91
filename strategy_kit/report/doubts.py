"""What would change our mind: broken trends, one category less, other ways to compute it, and what to measure next."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from strategy_kit import did, formats, sensitivity
from strategy_kit.assigned import assigned_groups
from strategy_kit.did.synthetic import average_effects
from strategy_kit.errors import DesignError
from strategy_kit.inference import welch
from strategy_kit.planning.power import FOUND
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.blocks import Block
from strategy_kit.report.claims import Spread, in_percent
from strategy_kit.report.figures import latest
from strategy_kit.report.page import merchants_of
from strategy_kit.report.sections import Section
from strategy_kit.report.trust import MORE_WEEKS
from strategy_kit.report.words import marked, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.panel import Panel
    from strategy_kit.report.reading import Reading
    from strategy_kit.sensitivity import Sensitivity

BASES = (4, 8, 13)
"""Weeks before the start that could have been the whole base."""
AGES_BEFORE = 12
_LEAST_PAST = 4


class Without(NamedTuple):
    """The headline without one category."""

    group: str
    spread: Spread


def doubts(reading: Reading) -> Section:
    """Return the box of what would change the finding, one line for a placebo.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> section = doubts(sk.report.read_week(sk.open_dataset("data/sample")))
    >>> str(section).splitlines()[0]
    'Doubts: Without Beauty, +13.9% becomes +8.1%'
    """
    say = reading.words
    head = say("section_doubts"), say("question_doubts")
    if reading.claim.verb == "cannot_tell":
        return Section("doubts", (blocks.absent(*head, say("doubts_absent")),))
    rest = without_each(reading)
    answers = [
        (say("doubts_drift"), _drift(reading)),
        (say("doubts_break"), _break(reading)),
        (say("doubts_without"), _left_out(reading, rest)),
        (say("doubts_choices"), _choices(reading)),
        (say("doubts_next"), _next(reading)),
    ]
    return Section("doubts", (blocks.section_head(*head, _title(reading, rest)), box(answers)))


def box(answers: Sequence[tuple[str, str]]) -> Block:
    """Build the boxed list of doubts and what is known of each; answers may have **marks**.

    Examples
    --------
    >>> print(box([("One category less", "**7%** at least.")]))
    One category less: 7% at least.
    """
    items = "".join(f"<div><dt>{escape(doubt)}</dt><dd>{marked(answer)}</dd></div>" for doubt, answer in answers)
    return Block(
        f'<dl class="sk-doubts">{items}</dl>', "\n".join(f"{doubt}: {plain(answer)}" for doubt, answer in answers)
    )


def without_each(reading: Reading) -> list[Without]:
    """Compute the headline without each category that can be spared, in the order of the categories."""
    totals, rows = reading.totals, []
    for at, name in enumerate(totals.units):
        try:
            groups = assigned_groups(totals.only(np.arange(len(totals.units)) != at))
        except DesignError:  # a side of one category has no interval
            continue
        values, treated = groups.contrasts, groups.treated
        value, error, freedom = map(float, welch(values[treated], values[~treated]))
        rows.append(Without(str(name), Spread(value, error, freedom, reading.widening)))
    return rows


def other_ways(reading: Reading) -> dict[str, float]:
    """Return the pilots' effect, in log points, by other base weeks and against synthetic pairs."""
    totals, first = reading.totals, int(reading.totals.starts.min())
    last = len(totals.periods) - first
    windows = {f"base_{weeks}": weeks for weeks in BASES if weeks < first}
    windows |= {"symmetric": last} if last < first and last not in BASES else {}
    result = {}
    for name, weeks in windows.items():
        result[name] = _welch(_cut(totals, first - weeks))
    try:
        found = average_effects(totals)
    except DesignError:  # too few donors: two ways less
        return result
    return result | {name: found[name] for name in ("synthetic", "synthetic_control")}


def merchants_break(reading: Reading) -> Sensitivity | None:
    """Bound breaks of trends in the study of supported merchants, measured from one base; None where there is no study."""
    if reading.supported is None:
        return None
    try:
        study = did.event_study(did.group_time(reading.supported, control="not_yet", base="universal"))
        study = latest(study, -AGES_BEFORE, least=0)
        wide = replace(study, spread=study.covariance * reading.widening**2)
        ages = study.labels["age"].to_numpy()
        return sensitivity.relative_magnitudes(wide, magnitudes=0.0, ages=ages[ages >= 0].tolist(), level=reading.level)
    except DesignError:  # such as ages that no cohort has
        return None


def _cut(panel: Panel, first: int) -> Panel:
    return replace(panel, outcome=panel.outcome[:, first:], periods=panel.periods[first:])


def _welch(panel: Panel) -> float:
    groups = assigned_groups(panel)
    values, treated = groups.contrasts, groups.treated
    return float(values[treated].mean() - values[~treated].mean())


def _title(reading: Reading, rest: list[Without]) -> str:
    say = reading.words
    if not rest:
        return say("doubts_title_none")
    most = _most_moving(reading, rest)
    ends = {"estimate": in_percent(reading.spread.estimate), "other": in_percent(most.spread.estimate)}
    return say("doubts_title", name=_named(reading, most), **ends)


def _named(reading: Reading, row: Without) -> str:
    """Name the category that is left out, unless so few sold in it that it is not shown alone."""
    few = merchants_of(reading).get(row.group, 0) < FEWEST
    return reading.words("doubts_small", fewest=FEWEST) if few else reading.words.label(row.group)


def _most_moving(reading: Reading, rest: list[Without]) -> Without:
    return max(rest, key=lambda row: abs(row.spread.estimate - reading.spread.estimate))


def _drift(reading: Reading) -> str:
    """Say how much the pilots may have been about to outgrow the others, and how much they did before."""
    say, (low, high) = reading.words, reading.spread.interval(reading.level)
    first = int(reading.totals.starts.min())
    past = say("doubts_past_short")
    if first >= _LEAST_PAST:
        before = reading.totals.restarted(first // 2, first)
        past = say("doubts_past", weeks=formats.Count(first), drift=in_percent(_welch(before)))
    if low <= 0 <= high:
        verdict = say("doubts_drift_none")
    else:
        edge = low if low > 0 else high
        verdict = say("doubts_drift_edge", side=say("doubts_more" if low > 0 else "doubts_less"), edge=in_percent(edge))
    return say.prose(verdict, past)


def _break(reading: Reading) -> str:
    say, found = reading.words, merchants_break(reading)
    if found is None:
        return say("doubts_break_absent")
    if np.isnan(found.breakdown):
        return say("doubts_break_none")
    worst, average = (reading.amount(abs(v)) for v in (found.worst_seen, found.estimate))
    key = "doubts_break_endless" if np.isinf(found.breakdown) else "doubts_break_at"
    return say(key, ratio=formats.number(found.breakdown, 2), worst=worst, average=average)


def _left_out(reading: Reading, rest: list[Without]) -> str:
    say = reading.words
    if not rest:
        return say("doubts_without_none")
    clear = sum(low * high > 0 for low, high in (row.spread.interval(reading.level) for row in rest))
    order = sorted(rest, key=lambda row: row.spread.estimate)
    most = _most_moving(reading, rest)
    low, high = map(in_percent, most.spread.interval(reading.level))
    named = {"low": in_percent(order[0].spread.estimate), "high": in_percent(order[-1].spread.estimate)}
    names = {"low_name": order[0], "high_name": order[-1], "name": most}
    named |= {name: _named(reading, row) for name, row in names.items()} | {"other_low": low, "other_high": high}
    return say("doubts_without_range", n=formats.Count(clear), all=formats.Count(len(rest)), **named)


def _choices(reading: Reading) -> str:
    say, found = reading.words, pd.Series(other_ways(reading), dtype=float)
    if found.empty:
        return say("doubts_choices_none")
    names = {}
    for name in found.index:
        base, _, weeks = name.partition("_") if name.startswith("base") else (name, "", str(reading.weeks_after))
        names[name] = say(f"doubts_way_{base}", weeks=formats.Count(int(weeks)))
    same = int((np.sign(found) == np.sign(reading.spread.estimate)).sum())
    ends = {"low": in_percent(found.min()), "high": in_percent(found.max())}
    ends |= {"low_name": names[found.idxmin()], "high_name": names[found.idxmax()]}
    counts = {"n": formats.Count(len(found)), "same": formats.Count(same)}
    return say("doubts_choices_range", **counts, **ends)


def _next(reading: Reading) -> str:
    """Say which buys more: one more pilot category or more weeks."""
    say = reading.words
    if reading.power is None:
        return say("doubts_next_none")
    rows = reading.power.set_index(["pilots", "weeks"])["detectable_effect"]
    pilots, weeks = rows.index[0]
    now, pilot, longer = rows.iloc[0], rows[pilots + 1, weeks], rows[pilots, weeks + MORE_WEEKS]
    sizes = {"now": now, "pilot": pilot, "longer": longer}
    told = {name: in_percent(size, signed=False) for name, size in sizes.items()}
    best = say("doubts_best_pilot" if pilot < longer else "doubts_best_weeks", n=formats.Count(MORE_WEEKS))
    found = f"{100 * FOUND:.0f}"
    return say("doubts_next_answer", best=best, n=formats.Count(MORE_WEEKS), found=found, **told)
