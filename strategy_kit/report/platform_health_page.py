"""Platform health: where the change of platform revenue came from, and when support pays back."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, did, formats, platform_health
from strategy_kit.errors import DesignError
from strategy_kit.platform_health import Scenario
from strategy_kit.report import blocks, claims
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.common_figures import waterfall
from strategy_kit.report.figures import bands, latest
from strategy_kit.report.programme_page import Parts, ProgrammePage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel
    from strategy_kit.report.reading import Reading

WEEK, DAY = dt.timedelta(weeks=1), dt.timedelta(days=1)
AHEAD = 26
"""Weeks that the scenarios look ahead."""
KEPT = (1.0, 0.95)
"""Shares of a week's effect that are left a week later, of the scenarios."""


_STATES = {
    "not_yet": ("ph_payback_not_yet", "ph_state_not_yet"),
    "cannot_tell": ("ph_payback_cannot_tell", "ph_state_cannot_tell"),
    "paid_back": ("ph_payback_paid_back", "ph_state_paid_back"),
}
_STEPS = ("ph_step_before", "ph_step_growth", "ph_step_mix", "ph_step_rate", "ph_step_after", "ph_step_subsidies",
          "ph_step_support", "ph_step_kept")  # fmt: skip


PAGE = ProgrammePage("platform_health", "ph")
masthead, foot = PAGE.masthead, PAGE.foot


@PAGE.section("bridge")
def bridge(reading: Reading) -> Parts:
    """Return what platform revenue of equally many weeks before and after the start differs by, and the pass-through."""
    say = reading.words
    parts, weeks = bridged(reading)
    sums: Any = parts.sum(numeric_only=True)
    told = {name: reading.amount(float(sums[name]), signed=True) for name in platform_health.BRIDGE}
    change = float(sums["fees_after"] - sums["fees_before"])
    title = say(
        "ph_bridge_title", total=reading.amount(change, signed=True), weeks=formats.Count(weeks), growth=told["growth"]
    )
    note = say.prose(say("ph_bridge_note"), passed(reading))
    figure = _steps(reading, sums, say("ph_steps_title", **told))
    return title, note, figure


def bridged(reading: Reading) -> tuple[pd.DataFrame, int]:
    """Return the bridge from the weeks before the start to the last ones, and of how many weeks each is."""
    start = reading.monday - (reading.weeks_after - 1) * WEEK
    weeks = min(reading.weeks_after, (start - reading.totals.periods[0].date()) // WEEK)
    if weeks < 1:
        raise DesignError("no complete week lies before the start; begin the data earlier")
    last = reading.monday - (weeks - 1) * WEEK
    windows = (start - weeks * WEEK, start - DAY), (last, reading.monday + WEEK - DAY)
    return platform_health.take_rate_bridge(reading.shop, *windows), weeks


def passed(reading: Reading) -> str:
    """Say what the platform keeps of the sales that support added, or why that cannot be told."""
    say = reading.words
    try:
        studies = {name: _study(reading, panel) for name, panel in _panels(reading).items() if name != "contribution"}
        held = [
            replace(study, average=(study.average[0], study.average[1] * reading.widening))
            for study in studies.values()
        ]
        row: Any = platform_health.pass_through(held[1], held[0], held[2], level=reading.level).iloc[0]
    except DesignError as reason:
        return say("ph_pass_absent", reason=str(reason))
    if row["form"] != "bounded":
        return say("ph_pass_open")
    ends = {"estimate": "estimate", "low": "conf_low", "high": "conf_high"}
    return say("ph_pass", level=f"{reading.level:.0%}", **{k: formats.percent(row[c], 2) for k, c in ends.items()})


@PAGE.section("payback")
def payback(reading: Reading) -> Parts:
    """Return what support has brought the platform by weeks since its start, less its cost, and when that turns."""
    say = reading.words
    curve, study, cost = repaid(reading)
    title = say(_STATES[state_of(reading, curve)][0], **_last(reading, curve))
    note = " ".join(text for text in (say("ph_payback_note"), claims.limits(reading.evidence, say)) if text)
    scenarios = [Scenario(weeks=AHEAD, persistence=kept, supported=going) for kept in KEPT for going in (True, False)]
    rows = [_scenario(reading, study, cost, scenario) for scenario in scenarios]
    heads = [say(f"ph_column_{name}") for name in ("scenario", "left", "range", "turn")]
    table = blocks.listing(heads, rows, say("ph_scenarios", weeks=formats.Count(AHEAD)), numbers=(1, 2))
    return title, note, _curve(reading, curve, title), table


def repaid(reading: Reading) -> tuple[Estimates, Estimates, pd.DataFrame]:
    """Return the curve of net contribution, the study it adds up (as wide as all looks need), and cost by age."""
    panels = _panels(reading)
    panel = panels.get("contribution", panels["fees"])
    study = latest(_study(reading, panel), 0)
    study = replace(study, spread=study.covariance * reading.widening**2)
    cost = platform_health.cost_by_age(reading.shop, through=reading.monday, among=panel.units)
    return platform_health.net_contribution(study, cost), study, cost


def state_of(reading: Reading, curve: Estimates) -> str:
    """Return what may be said of payback: a check that limits takes "paid back" away, one that blocks takes all.

    Returns
    -------
    str
        not_yet, cannot_tell or paid_back.
    """
    state = str(platform_health.payback(curve, level=reading.level)["state"][0])
    limited = any(check != "holds" for check in reading.evidence.states)
    return "cannot_tell" if "blocks" in reading.evidence.states or (limited and state == "paid_back") else state


@PAGE.answer
def answer(reading: Reading) -> str:
    """Return one sentence for the weekly page.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> answer(sk.report.read_week(sk.open_dataset("data/sample"))).startswith("Platform revenue moved by ")
    True
    """
    say, sums = reading.words, bridged(reading)[0].sum(numeric_only=True)
    curve = repaid(reading)[0]
    state = state_of(reading, curve)
    change = reading.amount(float(sums["fees_after"] - sums["fees_before"]), signed=True)
    growth = reading.amount(float(sums["growth"]), signed=True)
    return say("ph_answer", total=change, growth=growth, state=say(_STATES[state][1]), **_last(reading, curve))


def _panels(reading: Reading) -> dict[str, Panel]:
    asked = {**reading.window, "categories": reading.shop.pilot.categories}
    panels = platform_health.revenue_panels(reading.shop, **asked)
    return {name: panel.untreated_at_first() for name, panel in panels.items()}


def _study(reading: Reading, panel: Panel) -> Estimates:
    study = did.event_study(did.group_time(panel, control="not_yet"))
    if study.clusters[0] < FEWEST:
        raise DesignError(reading.words("ph_few", n=formats.Count(study.clusters[0]), fewest=FEWEST))
    return study


def _last(reading: Reading, curve: Estimates) -> dict[str, Any]:
    row: Any = curve.tidy(reading.level).iloc[-1]
    span = reading.amounts(row["band_low"], row["band_high"])
    return {
        "weeks": formats.Count(len(curve.labels)),
        "value": reading.amount(row["estimate"], signed=True),
        "range": span,
    }


def _scenario(reading: Reading, study: Estimates, cost: pd.DataFrame, scenario: Scenario) -> list[str]:
    say = reading.words
    curve = platform_health.net_contribution(study, cost, scenario)
    row: Any = platform_health.payback(curve, level=reading.level).iloc[0]
    told = _last(reading, curve)
    ages = [say("ph_beyond") if np.isnan(at) else str(int(at)) for at in (row["age_low"], row["age"], row["age_high"])]
    turn = say("ph_turn", low=ages[0], age=ages[1], high=ages[2])
    name = say(f"ph_scenario_{'on' if scenario.supported else 'off'}", kept=formats.percent(scenario.persistence, 0))
    return [name, told["value"], told["range"], turn]


def _curve(reading: Reading, curve: Estimates, title: str) -> Any:
    say, rows = reading.words, curve.tidy(reading.level)
    labels = {
        "value": say("with_unit", name=say("ph_contribution"), unit=reading.unit),
        "age": say("ph_age"),
        "start": "",
    }
    labels |= bands(say)
    spans = [reading.amounts(low, high)
             for low, high in zip(rows["band_low"], rows["band_high"], strict=True)]  # fmt: skip
    table = pd.DataFrame({say("column_age"): rows["age"].astype(str),
                          say("ph_contribution"): rows["estimate"].map(partial(reading.amount, signed=True)),
                          say("ph_column_range"): spans})  # fmt: skip
    counts = dict(zip(("treated", "others"), map(formats.number, curve.clusters), strict=True))
    chart = charts.event_study(curve, labels=labels)
    return reading.figure("ph_payback", chart, table, say("ph_n", **counts), title=title, **_last(reading, curve))


def _steps(reading: Reading, sums: Any, title: str) -> Any:
    say = reading.words
    levels = [float(sums["fees_before"]), float(sums["fees_after"])]
    names: Sequence[str] = platform_health.BRIDGE
    values = [
        levels[0],
        *(float(sums[name]) for name in names[:3]),
        levels[1],
        *(float(sums[name]) for name in names[3:]),
    ]
    values += [levels[1] + sum(values[5:])]
    steps = [say(name) for name in _STEPS]
    kinds = ["level", "change", "change", "change", "level", "change", "change", "level"]
    chart, table, told = waterfall(reading, steps, values, kinds, say("ph_revenue"), max(levels))
    return reading.figure("ph_bridge", chart, table, say("adds_up"), title=title, description=told)
