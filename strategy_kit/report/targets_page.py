"""Targets: how they would best be set, what was attained, whether they are fair, gamed, and what a looser floor did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, did, formats, targets
from strategy_kit.errors import DesignError
from strategy_kit.report import blocks
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.claims import Spread
from strategy_kit.report.figures import effect_by_week
from strategy_kit.report.programme_page import Parts, ProgrammePage
from strategy_kit.report.programmes import target_section
from strategy_kit.report.sections import Section

if TYPE_CHECKING:
    from strategy_kit.report.reading import Reading

_LEAST_SHOWN, _WHOLE_AND_ONE = 0.001, 2
_MEASURES = ("last_days", "next_week", "refunded_after", "undone")


PAGE = ProgrammePage("targets", "targets", "targets")
masthead, foot = PAGE.masthead, PAGE.foot


def attained(reading: Reading) -> Section:
    """Return how far merchants came in the last period that ended, and how far they are in one that has not."""
    say, shop = reading.words, reading.shop
    parts = list(target_section(reading).parts)
    if "targets" in shop.tables:
        now: Any = targets.running(shop, through=reading.sunday)[["merchants", "sold", "stretch_due"]].sum()
        if now["merchants"] >= FEWEST:
            due, told = now["stretch_due"], {"n": formats.Count(int(now["merchants"]))}
            share = {"share": formats.percent(now["sold"] / due)} if due > 0 else {}
            parts.append(blocks.line(say("targets_running" if share else "targets_not_due", **told, **share)))
    return Section("attained", tuple(parts))


@PAGE.answer
def answer(reading: Reading) -> str:
    """Return one sentence for the weekly page."""
    made = _made(reading)
    found: Any = _bunching(made).measures.set_index("measure")
    met = {tier: formats.percent(float((made["sold"] >= made[tier]).mean()), 0) for tier in ("floor", "stretch")}
    excess = {name: formats.percent(float(found.loc["share", column])) for name, column in _ENDS.items()}
    return reading.words("targets_answer", n=formats.Count(len(made)), **met, **excess)


_ENDS = {"excess": "estimate", "low": "conf_low", "high": "conf_high"}


def _made(reading: Reading) -> pd.DataFrame:
    made = targets.made(reading.shop, through=reading.sunday)
    merchants = made["merchant_id"].nunique()
    if merchants < FEWEST:
        raise DesignError(reading.words("targets_few_ended", n=formats.Count(merchants), least=FEWEST))
    return made


def _bunching(made: pd.DataFrame) -> targets.Bunching:
    made = made[made["stretch"] > 0]
    return targets.bunching(
        made["sold"].to_numpy() / made["stretch"].to_numpy(), cluster=made["merchant_id"].to_numpy()
    )


@PAGE.section("setting", always=True)
def setting(reading: Reading, promise: float = 0.9, reach: float = 0.25) -> Parts:
    """Return what targets the past would set for the next period, and how such targets would have held."""
    say = reading.words
    asked: dict[str, Any] = {"promise": promise, "reach": reach, "through": reading.sunday}
    tried, following = (
        targets.backtest(reading.shop, **asked),
        targets.setting(reading.shop, **asked).dropna(subset=["floor"]),
    )
    parts = [
        targets.met_by_band(tried, tried["sold"] >= tried[tier], cluster="period_start").assign(
            tier=tier, promised=share
        )
        for tier, share in (("floor", promise), ("stretch", reach))
    ]
    shares = pd.concat(parts, ignore_index=True)
    whole = shares[shares["size_band"] == "all"].set_index("tier")["met"]
    title = say("setting_title", floor=formats.percent(whole["floor"]), promise=formats.percent(promise, 0),
                stretch=formats.percent(whole["stretch"]), reach=formats.percent(reach, 0))  # fmt: skip
    sums: Any = (
        following.groupby("size_band")[["floor", "forecast", "stretch"]]
        .median()
        .join(following["size_band"].value_counts())
    )
    rows = [
        [say.label(str(row.Index)), *(formats.number(row.count_), *(reading.amount(getattr(row, name))
         for name in ("floor", "forecast", "stretch")))]
        for row in sums.rename(columns={"count": "count_"}).itertuples() if row.count_ >= FEWEST
    ]  # fmt: skip
    heads = say.heads("size_band", "merchants", "next_floor", "next_forecast", "next_stretch")
    table = blocks.listing(heads, rows, say("setting_caption", least=FEWEST), numbers=range(1, 5))
    note = say("setting_note", n=formats.Count(tried["period_start"].nunique()))
    return title, note, _shares(reading, shares, say("setting_figure")), table


@PAGE.section("fairness")
def fairness(reading: Reading) -> Parts:
    """Return which share of all ended targets was met at each size, and whether sizes differ."""
    say, found = reading.words, targets.fairness(_made(reading))
    if found["size_band"].nunique() <= _WHOLE_AND_ONE:
        raise DesignError(say("fairness_one_size"))
    p_value: Any = found.drop_duplicates("tier").set_index("tier")["p_value"]
    told = {tier: formats.number(float(p_value[tier]), 3) for tier in ("floor", "stretch")}
    differ = bool((p_value < 0.05 / len(p_value)).any())
    title = say("fairness_differ") if differ else say("fairness_alike")
    return title, say("fairness_note", **told), _shares(reading, found, say("fairness_figure"))


def _shares(reading: Reading, shares: pd.DataFrame, title: str) -> Any:
    """Draw shares met by tier and band, those of fewer than ten targets left out."""
    say = reading.words
    shown: Any = shares[shares["merchants"] >= FEWEST]
    names = {name: say("targets_all") if name == "all" else say.label(name) for name in shown["size_band"].unique()}
    words = {
        "share": say("share_met"),
        "floor": say("word_floor"),
        "stretch": say("word_stretch"),
        "promised": say("promised"),
    }
    rows = [
        (f"{words[row.tier]} · {names[row.size_band]}", formats.number(row.targets), formats.percent(row.met),
         say.span(formats.percent(row.conf_low), formats.percent(row.conf_high)))
        for row in shown.itertuples()
    ]  # fmt: skip
    heads = [say("column_size_band"), say("column_targets"), say("share_met"), say("column_interval")]
    chart = charts.met_by_band(shown, labels=words | names)
    table = pd.DataFrame(rows, columns=heads)
    note = say("shares_n", n=formats.Count(int(shares["targets"].iloc[0])), least=FEWEST)
    told = {"title": title, "listed": "; ".join(f"{row[0]} {row[2]}" for row in rows)}
    return reading.figure("shares", chart, table, note, **told)


@PAGE.section("gaming")
def gaming(reading: Reading) -> Parts:
    """Return how many targets sit just over the stretch beyond what a smooth density gives, and what made them."""
    say, made = reading.words, _made(reading)
    found = _bunching(made)
    share: Any = found.measures.set_index("measure").loc["share"]
    told = {name: formats.percent(float(share[column])) for name, column in _ENDS.items()}
    title = say("gaming_title", **told) if share["conf_low"] > 0 else say("gaming_none", **told)
    bins = found.bins.assign(observed=found.bins["observed"].where(found.bins["clusters"] >= FEWEST, 0))
    table = pd.DataFrame({say("column_attained"): [formats.percent(low, 0) for low in bins["low"]],
                          say("column_targets"): [formats.number(n) if n else f"< {FEWEST}" for n in bins["observed"]],
                          say("column_expected"): [formats.number(n, 1) for n in bins["counterfactual"]]})  # fmt: skip
    words = {"value": say("column_targets"), "share": say("attained_share"), "line": say("word_stretch")}
    chart = charts.bunching(bins, labels=words | {"expected": say("gaming_expected")})
    note = say("gaming_n", n=formats.Count(len(made)), out=formats.Count(found.left_out), least=FEWEST)
    figure = reading.figure("gaming", chart, table, note, **told)
    return title, say("gaming_note"), figure, _made_of(reading)


def _made_of(reading: Reading) -> Any:
    """Tell what targets that were just made are made of, beside the others."""
    say = reading.words
    try:
        found: Any = targets.gaming(reading.shop, through=reading.sunday).set_index(["measure", "group"])
    except DesignError as reason:
        return blocks.line(say("targets_impossible", reason=reason))
    made, clear, gap = ({name: found.loc[(name, group)] for name in _MEASURES}
                        for group in ("just_made", "clear", "just_made_less_clear"))  # fmt: skip
    merchants = {name: min(side[name]["merchants"] for side in (made, clear)) for name in _MEASURES}
    if merchants["last_days"] < FEWEST:
        return blocks.line(say("targets_few", least=FEWEST))
    rows = [
        [say(f"gaming_{name}"), *(formats.percent(side[name]["estimate"]) for side in (made, clear)),
         say.span(*(formats.percent(gap[name][end], signed=True) for end in ("conf_low", "conf_high")))]
        if merchants[name] >= FEWEST else [say(f"gaming_{name}"), *["–"] * 3] for name in _MEASURES
    ]  # fmt: skip
    heads = say.heads("measure", "just_made", "clear", "difference_interval")
    told = say("gaming_caption", least=FEWEST, days=formats.Count(reading.shop.description.refund_days))
    return blocks.listing(heads, rows, told, numbers=range(1, 4))


@PAGE.section("floor")
def floor(reading: Reading) -> Parts:
    """Return what a looser floor did to sales, whether targets ratchet, and what may be said at the floor itself."""
    say, made = reading.words, _made(reading)
    rest = _ratchet(reading, made), *(_jump(reading, made, tier) for tier in ("floor", "stretch"))
    try:
        panel = targets.loosened_panel(reading.shop, through=reading.monday)
        study = did.event_study(did.group_time(panel.untreated_at_first(), control="not_yet", base="universal"))
    except DesignError as reason:
        return say("loosened_none"), say("targets_impossible", reason=reason), *rest
    if min(study.clusters) < FEWEST:
        return say("loosened_none"), say("targets_few", least=FEWEST), *rest
    spread = reading.mean(study)
    verb = reading.told(
        spread, reading.amount(abs(spread.estimate)), limited=True
    )  # a floor is loosened after bad weeks
    title = say("loosened_title", verb=verb)
    figure = effect_by_week(reading, study, title, say("loosened_subtitle", unit=reading.unit), kind="loosened")
    told = (reading.amounts(*gap.interval(reading.level)) for gap in (spread, _before(reading, study)))
    return title, say("loosened_note", **dict(zip(("range", "before"), told, strict=True))), figure, *rest


def _before(reading: Reading, study: Any) -> Spread:
    """Return how far the loosened stood from the others in the weeks before, measured from the last week before."""
    at = np.flatnonzero((study.labels["age"] < 0) & np.isfinite(study.std_error))
    if not len(at):
        return Spread(np.nan, np.nan, np.inf)
    error = float(np.sqrt(study.covariance[np.ix_(at, at)].mean()))
    return Spread(float(study.estimate[at].mean()), error, np.inf, reading.widening)


def _ratchet(reading: Reading, made: pd.DataFrame) -> Any:
    say = reading.words
    try:
        found: Any = targets.ratchet(made).tidy().set_index("term")
    except DesignError as reason:
        return blocks.line(say("targets_impossible", reason=reason))
    told = {name: formats.number(float(found.loc[name, "estimate"]), 2) for name in ("after_beaten", "after_missed")}
    low, high = (formats.number(float(found.loc["ratchet", end]), 2, signed=True) for end in ("conf_low", "conf_high"))
    rises = found.loc["ratchet", "conf_low"] > 0
    return blocks.line(say("ratchet_found" if rises else "ratchet_none", low=low, high=high, **told))


def _jump(reading: Reading, made: pd.DataFrame, tier: str) -> Any:
    """Tell how sales of the next period differ just above and just below a line, or why that may not be read."""
    say = reading.words
    growth, held = _growth(made)
    held &= made[tier] > 0
    growth, score = growth[held], made["sold"][held].to_numpy() / made[tier][held].to_numpy()
    growth -= growth.groupby(made["period_start"][held]).transform("mean")
    try:
        test = targets.density_test(score)
        if (smallest := min(test.p_value, test.p_near)) < targets.REFUSED:
            told = "p < 0.001" if smallest < _LEAST_SHOWN else f"p = {formats.number(smallest, 3)}"
            return blocks.line(say("jump_sorted", tier=say(f"word_{tier}"), p=told))
        owner = made["merchant_id"][held].to_numpy()
        row = targets.discontinuity(growth.to_numpy(), score, cluster=owner).tidy().iloc[0]
    except DesignError as reason:
        return blocks.line(say("jump_refused", tier=say(f"word_{tier}"), reason=reason))
    ends = {name: formats.percent(float(row[f"conf_{name}"]), signed=True) for name in ("low", "high")}
    counts = {"out": formats.Count(int((~held).sum())), "n": formats.Count(len(held))}
    return blocks.line(say("jump_found", tier=say(f"word_{tier}"), **ends, **counts))


def _growth(made: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return sales in the period right after over this one's, 0 included, and where there are such: in the order of `made`."""
    following = made.sort_values("period_start").groupby("merchant_id")[["period_start", "sold"]].shift(-1)
    following = following.reindex(made.index)
    next_one = following["period_start"] == made["period_end"] + pd.Timedelta(days=1)
    return following["sold"] / made["sold"], next_one & (made["sold"] > 0)
