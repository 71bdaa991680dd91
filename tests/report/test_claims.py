"""Words follow numbers: every verb and decision, and the chance is told where it is needed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategy_kit.formats import Language
from strategy_kit.plan import Plan
from strategy_kit.report.claims import (
    LIKELY,
    Check,
    Claim,
    Decision,
    Evidence,
    Looks,
    Spread,
    State,
    Verb,
    chance_of,
    claim_for,
    sentence,
    verb_for,
)
from strategy_kit.report.words import Words, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL, FREEDOM, ERROR = 0.95, 8.0, 0.02
PLAN = Plan(threshold=0.03, chance_needed=0.9)
VERB_STRENGTH = {
    "rose": 2,
    "fell": 2,
    "may_have_risen": 1,
    "may_have_fallen": 1,
    "no_clear_change": 0,
    "cannot_tell": -1,
}
DECISION_STRENGTH = {"extend": 2, "stop": 2, "hold": 1, "cannot_tell": 0}
steady = settings(deadline=None, derandomize=True, database=None, max_examples=300)
spreads = st.builds(
    Spread,
    st.floats(-0.5, 0.5),
    st.floats(1e-4, 0.5),
    st.sampled_from([1.3, 4.0, 11.0, float("inf")]),
    st.floats(1.0, 3.0),
)
states = st.lists(st.sampled_from(get_args(State)), max_size=4)

# Estimate in standard errors (8 degrees of freedom: 2.31 makes an interval of 95%, 1.40 a chance of 90%), then what may
# be said when all checks hold and when one limits.
TABLE = [
    (5.0, "rose", "extend", "may_have_risen", "hold"),
    (2.4, "rose", "hold", "may_have_risen", "hold"),  # 0.048: rose, but the chance to beat 0.03 is 81%
    (2.2, "may_have_risen", "hold", "may_have_risen", "hold"),
    (1.45, "may_have_risen", "hold", "may_have_risen", "hold"),
    (1.35, "no_clear_change", "hold", "no_clear_change", "hold"),
    (0.0, "no_clear_change", "hold", "no_clear_change", "hold"),  # up to 0.046, beyond the threshold
    (-1.35, "no_clear_change", "stop", "no_clear_change", "hold"),  # up to 0.019, short of it
    (-1.45, "may_have_fallen", "stop", "may_have_fallen", "hold"),
    (-2.2, "may_have_fallen", "stop", "may_have_fallen", "hold"),
    (-2.4, "fell", "stop", "may_have_fallen", "hold"),
]
CHECKS: list[tuple[State, ...]] = [
    (),
    ("holds",),
    ("limits",),
    ("holds", "limits", "limits"),
    ("blocks",),
    ("limits", "blocks"),
]


def evidence(spread: Spread, checks: Sequence[State] = (), plan: Plan = PLAN, **more: Any) -> Evidence:
    made = [Check(f"check {n}", "3 times", "what was measured.", state) for n, state in enumerate(checks)]
    return Evidence(spread, plan, made, 3, 12, 10, 270, **more)


def claim_of(spread: Spread, checks: Sequence[State] = (), plan: Plan = PLAN) -> Claim:
    return claim_for(evidence(spread, checks, plan))


@pytest.mark.parametrize("checks", CHECKS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row[0]))
def test_every_verb_and_decision(row: tuple[float, Verb, Decision, Verb, Decision], checks: tuple[State, ...]) -> None:
    size, verb, decision, capped, held = row
    claim = claim_of(Spread(size * ERROR, ERROR, FREEDOM), checks)
    if "blocks" in checks:
        assert (claim.verb, claim.decision) == ("cannot_tell", "cannot_tell")
    else:
        assert (claim.verb, claim.decision) == ((capped, held) if "limits" in checks else (verb, decision))
    assert claim.chance == pytest.approx(stats.t.sf((np.log(1.03) - size * ERROR) / ERROR, FREEDOM), rel=1e-9)


def test_a_rise_that_is_surely_short_of_the_threshold_stops_as_the_plan_declares() -> None:
    sure = Spread(0.011, 0.003, FREEDOM)  # +0.4% to +1.8%, of 3% that were asked for
    assert (claim_of(sure).verb, claim_of(sure).decision) == ("rose", "stop")
    assert claim_of(Spread(0.005, 0.003, FREEDOM)).verb == "may_have_risen"
    assert claim_of(Spread(0.005, 0.003, FREEDOM)).decision == "stop"
    assert claim_of(sure, ("limits",)).decision == "hold"


def test_the_table_holds_every_verb_and_decision() -> None:
    assert {row[1] for row in TABLE} | {"cannot_tell"} == set(get_args(Verb)) == set(VERB_STRENGTH)
    assert {row[2] for row in TABLE} | {"cannot_tell"} == set(get_args(Decision)) == set(DECISION_STRENGTH)


@pytest.mark.parametrize("needed", [0.5, 0.85, 0.97])
def test_extending_takes_a_rise_and_the_chance_that_the_plan_asks(needed: float) -> None:
    for estimate in np.linspace(-0.1, 0.2, 301):
        spread = Spread(float(estimate), ERROR, FREEDOM)
        claim = claim_of(spread, plan=Plan(threshold=0.03, chance_needed=needed))
        assert (claim.decision == "extend") == (
            spread.interval(LEVEL)[0] > 0 and spread.chance_above(np.log(1.03)) >= needed
        )


@pytest.mark.parametrize("error", [0.003, 0.02, 0.06])
def test_a_better_result_never_gets_a_worse_word(error: float) -> None:
    order = ["fell", "may_have_fallen", "no_clear_change", "may_have_risen", "rose"]
    ranks, steps = [], []
    for estimate in np.linspace(-0.2, 0.2, 801):
        claim = claim_of(Spread(float(estimate), error, FREEDOM))
        ranks.append(order.index(claim.verb))
        steps.append(["stop", "hold", "extend"].index(claim.decision))
    assert ranks == sorted(ranks)
    assert steps == sorted(steps)
    assert len(set(ranks)) == 5


@given(
    spreads, states, st.integers(0, 4), st.sampled_from(["limits", "blocks"]), st.floats(0, 0.1), st.floats(0.5, 0.99)
)
@steady
def test_one_more_failed_check_never_makes_it_stronger(
    spread: Spread, checks: list[State], place: int, added: State, threshold: float, needed: float
) -> None:
    plan = Plan(threshold=threshold, chance_needed=needed)
    before = claim_of(spread, checks, plan)
    after = claim_of(spread, [*checks[:place], added, *checks[place:]], plan)
    assert VERB_STRENGTH[after.verb] <= VERB_STRENGTH[before.verb]
    assert DECISION_STRENGTH[after.decision] <= DECISION_STRENGTH[before.decision]
    assert after.verb not in ("rose", "fell")
    assert after.decision in ("hold", "cannot_tell")
    assert after.chance == before.chance


@given(spreads, states)
@steady
def test_a_mirrored_result_gets_the_mirrored_verb(spread: Spread, checks: list[State]) -> None:
    mirror = {"rose": "fell", "may_have_risen": "may_have_fallen"}
    mirror |= {b: a for a, b in mirror.items()}
    verb = verb_for(spread, LEVEL, checks)
    other = verb_for(replace(spread, estimate=-spread.estimate), LEVEL, checks)
    assert other == mirror.get(verb, verb)


@pytest.mark.parametrize(
    "numbers", [(np.nan, 0.1, 5.0), (0.1, np.nan, 5.0), (0.1, 0.0, 5.0), (0.1, np.inf, 5.0), (0.1, 0.1, np.nan)]
)
def test_nothing_is_said_without_numbers(numbers: tuple[float, float, float]) -> None:
    claim = claim_of(Spread(*numbers))
    assert (claim.verb, claim.decision) == ("cannot_tell", "cannot_tell")


@given(spreads, st.floats(0.05, 0.99))
@steady
def test_a_spread_is_the_t_law(spread: Spread, level: float) -> None:
    law = stats.t(spread.degrees_of_freedom, spread.estimate, spread.std_error)
    wide = stats.t(spread.degrees_of_freedom, spread.estimate, spread.std_error * spread.widening)
    scale = abs(spread.estimate) + spread.std_error
    np.testing.assert_allclose(spread.interval(level), wide.interval(level), rtol=1e-7, atol=1e-9 * scale)
    assert spread.chance_above(0.03) == pytest.approx(law.sf(0.03), abs=1e-9)
    dots = spread.quantiles(50)
    assert (np.diff(dots) > 0).all()
    np.testing.assert_allclose(law.cdf(dots), (np.arange(50) + 0.5) / 50, atol=1e-9)


@pytest.mark.parametrize("added", ["limits", "blocks"])
@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("size", [5.0, -5.0])
def test_flipping_any_check_changes_the_verb(size: float, place: int, added: State) -> None:
    spread, green = Spread(size * ERROR, ERROR, FREEDOM), ["holds"] * 9
    red: list[State] = [*green[:place], added, *green[place + 1 :]]  # type: ignore[list-item]
    before, after = evidence(spread, green), evidence(spread, red)  # type: ignore[arg-type]
    assert claim_for(before).verb in ("rose", "fell")
    assert claim_for(after).verb not in ("rose", "fell")
    assert claim_for(after).decision in ("hold", "cannot_tell")
    for words in map(Words, LANGUAGES):
        assert sentence(before, words) != sentence(after, words)


@pytest.mark.parametrize("state", ["red", "LIMITS", None])
def test_a_check_of_an_unknown_state_limits(state: Any) -> None:
    assert verb_for(Spread(5 * ERROR, ERROR, FREEDOM), LEVEL, [state]) == "may_have_risen"
    made = evidence(Spread(5 * ERROR, ERROR, FREEDOM), ["holds", state])
    assert claim_for(made).decision == "hold"


def test_an_interval_without_bound_is_still_a_sentence() -> None:
    assert "95% interval" in sentence(evidence(Spread(0.0, 60.0, 1.0)), Words("en"))


@pytest.mark.parametrize("widening", [1.0, 1.2, 1.5, 2.6])
def test_the_interval_of_all_looks_is_the_one_that_counts(widening: float) -> None:
    spread = Spread(3.0 * ERROR, ERROR, FREEDOM, widening)  # 2.31 errors are the interval of one look
    assert claim_of(spread).verb == ("rose" if widening < 3.0 / 2.31 else "may_have_risen")
    assert claim_of(spread).chance == claim_of(replace(spread, widening=1.0)).chance


NUMBER = re.compile(r"[+\u2212]?\d[\d,]*(?:\.\d+)?")
BRACKETED = {
    "en": re.compile(r"may have (?:risen|fallen) \((\d+) in 100\)"),
    "zh": re.compile(r"可能（(\d+)%）有所(?:上升|下降)"),
}
LANGUAGES = get_args(Language)


def numbers(text: str, language: str) -> list[str]:
    """Numbers of a sentence in their order; 94 in 100 is 94%."""
    text = text.replace(" in 100", "") if language == "en" else text
    return [found.replace(",", "") for found in NUMBER.findall(text)]


@given(spreads, states, st.sampled_from(get_args(Looks)), st.booleans())
@steady
def test_both_languages_carry_the_same_numbers(
    spread: Spread, checks: list[State], looks: Looks, placebo: bool
) -> None:
    made = evidence(spread, checks, looks=looks, count=26, placebo=placebo)
    english, chinese = (numbers(sentence(made, Words(language)), language) for language in LANGUAGES)
    assert sorted(english) == sorted(chinese)
    assert len(english) >= (1 if claim_for(made).verb == "cannot_tell" else 6)


@given(spreads, states)
@steady
def test_a_likelihood_word_is_followed_by_its_number(spread: Spread, checks: list[State]) -> None:
    made = evidence(spread, checks)
    verb = claim_for(made).verb
    for language in LANGUAGES:
        said = sentence(made, Words(language))
        found = BRACKETED[language].findall(said)
        hedged = "may have" in said or "可能（" in said
        assert hedged == (verb in ("may_have_risen", "may_have_fallen")) == bool(found)
        if found:
            rising = spread.chance_above(0.0)
            chance = rising if verb == "may_have_risen" else 1 - rising
            assert 0 <= 100 * chance - int(found[0]) <= 1 + 1e-6 or int(found[0]) in (1, 99)
            assert ("limits" in checks and not 0.1 < rising < 0.9) or chance >= LIKELY - 1e-12


def test_effects_told_together_need_more_chance_for_the_same_word() -> None:
    likely = Spread(0.1, 0.1 / 1.645, FREEDOM)  # 95 in 100
    assert verb_for(likely, 0.95, ["limits"]) == verb_for(likely, 0.8, ["limits"]) == "may_have_risen"
    assert verb_for(likely, 1 - 0.05 / 3, ["limits"]) == "no_clear_change"
    assert verb_for(replace(likely, estimate=-0.1), 1 - 0.05 / 3) == "no_clear_change"
    assert verb_for(replace(likely, estimate=0.15), 1 - 0.05 / 3, ["limits"]) == "may_have_risen"


def test_effect_unit_interval_and_n_at_the_level_of_assignment() -> None:
    made = evidence(Spread(0.1, 0.02, FREEDOM, 1.3), looks="declared", count=26)
    low, high = (f"{100 * np.expm1(end):+.1f}%" for end in made.spread.interval(LEVEL))
    assert plain(sentence(made, Words("en"))) == (
        f"GMV in the pilot categories rose by 10.5% (95% interval for all 26 planned looks {low} to {high}): "
        "3 pilot categories against 12 others, 10 complete weeks, 270 merchants."
    )
    assert plain(sentence(made, Words("zh"))) == (
        f"试点类目的成交额上升了 10.5%（计划内 26 次查看均有效的 95% 区间 {low} 至 {high}）："
        "3 个试点类目对 12 个其他类目，10 个完整周，270 个商家。"
    )


def test_the_plan_says_which_level_and_metric_count() -> None:
    plan = Plan(metric="orders", level=0.8)
    said = sentence(evidence(Spread(1.6 * ERROR, ERROR, FREEDOM), plan=plan), Words("en"))
    assert said.startswith("Orders in the pilot categories **rose by")  # 1.40 errors are an interval of 80%
    assert "80% interval" in said


def test_what_blocks_is_told() -> None:
    said = sentence(evidence(Spread(0.1, 0.02, FREEDOM), ["holds", "blocks"]), Words("en"))
    assert said == "**We cannot tell** whether GMV in the pilot categories changed: check 1: what was measured."
    unknown = sentence(evidence(Spread(0.1, 0.0, FREEDOM)), Words("en"))
    assert unknown.endswith("there is no spread to measure chance by.")
    assert chance_of("may_have_risen", Spread(0.1, 0.0, FREEDOM), Words("en")) == ""


def test_asserting_words_are_not_said_without_evidence() -> None:
    # What a reader may search for: the words of an assertion stand in no sentence that does not assert.
    hedged = evidence(Spread(2.0 * ERROR, ERROR, FREEDOM))
    assert claim_for(hedged).verb == "may_have_risen"
    assert not re.search(r"\brose\b|increased", sentence(hedged, Words("en")))
    assert not re.search("上升了|增加了|增长了", sentence(hedged, Words("zh")))
