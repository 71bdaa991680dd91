"""Worlds whose effect is known, and what each method says of them: the yardstick of the kit's own headline.

A world has categories of merchants with weekly sales. Three categories are piloted. Log sales of a merchant are its level, a
shock that its whole category shares and that fades slowly, and noise of its own; the pilots' sales are higher by the effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from strategy_kit import did, planning
from strategy_kit.inference import bell_mccaffrey
from strategy_kit.panel import Panel
from strategy_kit.plan import Plan
from strategy_kit.report.claims import Evidence, Spread, claim_for, sentence
from strategy_kit.report.trust import panel_checks
from strategy_kit.report.words import Words

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates

Array = np.ndarray
PILOTS, MERCHANTS, BEFORE, AFTER = 3, 100, 26, 26
SHOCK, NOISE, LEVELS = 0.06, 0.5, 0.7
LEVEL, GAIN, BIG, VOLATILE = 0.95, 0.2, 4, 2
KINDS = ("equal", "big", "volatile")
WORDS = Words("en"), Words("zh")
ASSERTED = "rose", "上升了"
FINAL = Plan(threshold=0.03, horizon=AFTER, looks=(AFTER,))
WEEKLY = Plan(threshold=0.03, horizon=AFTER)
UNPLANNED = Plan(threshold=0.03)


class Design(NamedTuple):
    """How many categories there are, how the pilots differ from the others, and how slowly shocks fade."""

    groups: int
    kind: str
    fading: float = 0.6

    @property
    def name(self) -> str:
        """As a row of a table is called."""
        return f"{self.groups} categories, pilots {self.kind}"


@dataclass(frozen=True)
class World:
    """Merchants' weekly sales (N, T) with the category of each and whether it is piloted; `effect` in log points."""

    sales: Array
    category: Array
    piloted: Array
    effect: float

    @property
    def panel(self) -> Panel:
        """Log weekly totals of the categories, as the report has them."""
        totals = np.zeros((self.category.max() + 1, self.sales.shape[1]))
        np.add.at(totals, self.category, self.sales)
        start = np.where(np.arange(len(totals)) < PILOTS, BEFORE + 1, 0)
        return Panel.from_matrix(np.log(totals), treated_from=start)


def draw(design: Design, effect: float, seed: tuple[int, ...]) -> World:
    """Draw a world, pilots first. Big pilots have more merchants, volatile ones larger shocks."""
    random = np.random.default_rng(seed)
    size = np.full(design.groups, MERCHANTS)
    size[:PILOTS] *= BIG if design.kind == "big" else 1
    spread = np.full(design.groups, SHOCK)
    spread[:PILOTS] *= VOLATILE if design.kind == "volatile" else 1
    category, weeks = np.repeat(np.arange(design.groups), size), BEFORE + AFTER
    shock = random.standard_normal((design.groups, weeks))
    for week in range(1, weeks):
        shock[:, week] = design.fading * shock[:, week - 1] + np.sqrt(1 - design.fading**2) * shock[:, week]
    logs = NOISE * random.standard_normal((len(category), weeks), dtype=np.float32)
    logs += LEVELS * random.standard_normal((len(category), 1), dtype=np.float32)
    logs += (spread[:, None] * shock)[category]
    piloted = category < PILOTS
    logs[piloted, BEFORE:] += effect
    return World(np.exp(logs, dtype=np.float64), category, piloted, effect)


def headline(panel: Panel, plan: Plan, contrast: Estimates | None = None) -> Evidence:
    """Make the evidence of the weekly report from the categories' paths: the same contrast, width and checks."""
    contrast, width = contrast or did.pilot_contrast(panel), planning.reading_width(panel, plan)
    row = contrast.glance().iloc[0]
    spread = Spread(*(float(row[c]) for c in ("estimate", "std_error", "degrees_of_freedom")), width.factor)
    checks = panel_checks(panel, contrast, WORDS[0])
    weeks = panel.outcome.shape[1] - int(panel.starts.min())
    return Evidence(spread, plan, checks, *contrast.clusters, weeks, 0, looks=width.kind, count=width.looks)


def asserted(evidence: Evidence) -> bool:
    """Whether the sentence asserts a rise, in English or Chinese; "may have risen" does not."""
    return any(word in sentence(evidence, words) for word, words in zip(ASSERTED, WORDS, strict=True))


def judged(world: World) -> pd.DataFrame:
    """Return what each method says of a world read once, 26 weeks after the start.

    Returns
    -------
    DataFrame
        Columns method, estimate, covers (the true effect, by a 95 % interval), claims and asserts. The kit claims what its
        sentence says, all checks heeded; the others what their interval excludes. `welch` is the kit's interval alone.
    """
    panel = world.panel
    contrast = did.pilot_contrast(panel)
    evidence, groups = headline(panel, FINAL, contrast), contrast.details["groups"]
    values, treated = groups["contrast"].to_numpy(), groups["treated"].to_numpy()
    estimate, spread, pooled = contrast.estimate[0], evidence.spread, contrast.std_error[1]
    law = contrast.law[2]
    intervals = {
        "welch": (estimate, *spread.interval(LEVEL)),
        "pooled": _interval(estimate, pooled, len(values) - 2),
        **_other_freedoms(values[treated], values[~treated]),
        **_by_merchant(world),
    }
    rows = [
        (name, value, low <= world.effect <= high, low > 0 or high < 0)
        for name, (value, low, high) in intervals.items()
    ]
    refused = [law.p_value_of(effect) <= 1 - LEVEL + 1e-12 for effect in (world.effect, 0.0)]
    rows += [("randomisation", estimate, not refused[0], refused[1])]
    rows += [("kit", estimate, rows[0][2], claim_for(evidence).verb in ("rose", "fell"))]
    frame = pd.DataFrame(rows, columns=["method", "estimate", "covers", "claims"])
    return frame.assign(asserts=asserted(evidence))


def _other_freedoms(treated: Array, other: Array) -> dict[str, tuple[float, float, float]]:
    """Welch's interval with each of the two usual degrees of freedom."""
    first, second = treated.var(ddof=1) / len(treated), other.var(ddof=1) / len(other)
    error, estimate = np.sqrt(first + second), treated.mean() - other.mean()
    free = (first + second) ** 2 / (first**2 / (len(treated) - 1) + second**2 / (len(other) - 1))
    widths = {"satterthwaite": free, "bell_mccaffrey": bell_mccaffrey(len(treated), len(other))}
    return {name: _interval(estimate, error, freedom) for name, freedom in widths.items()}


def _by_merchant(world: World) -> dict[str, tuple[float, float, float]]:
    """What is usual: a regression with merchant and week effects, clustered by merchant, and by category."""
    logs = np.log(world.sales)
    panel = Panel.from_matrix(logs, treated_from=np.where(world.piloted, BEFORE + 1, 0))
    row = did.two_way(panel).glance(LEVEL).iloc[0]
    change = logs[:, BEFORE:].mean(axis=1) - logs[:, :BEFORE].mean(axis=1)
    estimate, error = clustered(change, world.piloted, world.category)
    by_category = _interval(estimate, error, world.category.max())
    return {"by_merchant": (row["estimate"], row["conf_low"], row["conf_high"]), "by_category": by_category}


def clustered(change: Array, piloted: Array, category: Array) -> tuple[float, float]:
    """Return the difference of mean changes and its error clustered by category (CR1, as Stata and fixest have it)."""
    groups, count = category.max() + 1, len(change)
    slope = change[piloted].mean() - change[~piloted].mean()
    left = change - np.where(piloted, change[piloted].mean(), change[~piloted].mean())
    pull = piloted - piloted.mean()
    scores = np.bincount(category, pull * left)
    error = np.sqrt((scores**2).sum() * groups / (groups - 1) * (count - 1) / (count - 2)) / (pull @ pull)
    return float(slope), float(error)


def _interval(estimate: float, error: float, freedom: float) -> tuple[float, float, float]:
    width = stdtrit(freedom, 0.5 + LEVEL / 2) * error
    return float(estimate), float(estimate - width), float(estimate + width)


def watched(world: World, plan: Plan) -> pd.DataFrame:
    """Return what is said in each week from the second on: look, covered, claims of the kit and of the interval of one look."""
    panel = world.panel
    looks = planning.weekly_looks(panel, plan).tidy(LEVEL)
    limited = "limits" in headline(panel, plan).states
    covered = looks["band_low"].le(world.effect) & looks["band_high"].ge(world.effect)
    return pd.DataFrame(
        {
            "look": looks["look"],
            "covered": covered,
            "kit": (looks["band_low"].gt(0) | looks["band_high"].lt(0)) & (not limited),
            "band": looks["band_low"].gt(0) | looks["band_high"].lt(0),
            "one_look": looks["conf_low"].gt(0) | looks["conf_high"].lt(0),
        }
    )


def netted(share: float, seed: tuple[int, ...]) -> dict[str, bool]:
    """Say whether the ladder's 95 % intervals hold the truth where rivals lose a share of what supported merchants gain."""
    world = draw(Design(12, "equal"), 0.0, seed)
    supported = world.piloted & (np.arange(len(world.category)) % 2 == 0)
    rival = world.piloted & ~supported
    change = np.zeros_like(world.sales)
    change[supported, BEFORE:] = world.sales[supported, BEFORE:] * np.expm1(GAIN)
    for pilot in range(PILOTS):
        own = rival & (world.category == pilot)
        lost = share * change[world.category == pilot].sum(axis=0)
        change[own] = -world.sales[own] * lost / world.sales[own].sum(axis=0)
    start = np.where(world.piloted, BEFORE + 1, 0)
    panel = Panel.from_matrix(world.sales + change, treated_from=start, category=world.category)
    rows = did.gross_to_net(panel, supported).tidy(LEVEL).set_index("rung")
    truth = {"category": change.sum(), "supported": change[supported].sum(), "rivals": change[rival].sum()}
    return {
        name: bool(rows.loc[name, "conf_low"] <= value <= rows.loc[name, "conf_high"]) for name, value in truth.items()
    }
