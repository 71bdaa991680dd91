"""A short grading: the kit's headline on worlds whose truth is known. `make grade` is the long one.

Tolerances are binomial: with n worlds a rate of at most p is refused where the count has a chance below one in a thousand.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

WORLDS = 120


@pytest.fixture(scope="module")
def grading() -> Iterator[ModuleType]:
    from pathlib import Path

    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    sys.path.insert(0, str(folder))
    yield importlib.import_module("grading")
    sys.path.remove(str(folder))


def at_most(count: int, worlds: int, rate: float) -> bool:
    return bool(stats.binom.sf(count - 1, worlds, rate) > 1e-3)


def at_least(count: int, worlds: int, rate: float) -> bool:
    return bool(stats.binom.cdf(count, worlds, rate) > 1e-3)


def worlds(grading: ModuleType, design: Any, effect: float, count: int = WORLDS) -> Iterator[Any]:
    for number in range(count):
        yield grading.draw(design, effect, (design.groups, grading.KINDS.index(design.kind), number))


@pytest.mark.parametrize("kind", ["equal", "big", "volatile"])
@pytest.mark.parametrize("groups", [8, 20])
def test_where_nothing_happened_little_is_claimed(groups: int, kind: str, grading: ModuleType) -> None:
    said = asserted = covered = 0
    for world in worlds(grading, grading.Design(groups, kind), 0.0):
        made = grading.headline(world.panel, grading.FINAL)
        low, high = made.spread.interval(0.95)
        said += grading.claim_for(made).verb in ("rose", "fell")
        asserted += grading.asserted(made)
        covered += low <= 0 <= high
    assert at_most(said, WORLDS, 0.075)
    assert at_most(asserted, WORLDS, 0.05)
    assert at_least(covered, WORLDS, 0.925)


@pytest.mark.parametrize("kind", ["equal", "big", "volatile"])
def test_an_effect_is_covered_and_found_more_often_than_nothing(kind: str, grading: ModuleType) -> None:
    found = covered = 0
    for world in worlds(grading, grading.Design(12, kind), 0.15):
        made = grading.headline(world.panel, grading.FINAL)
        low, high = made.spread.interval(0.95)
        found += grading.claim_for(made).verb == "rose"
        covered += low <= 0.15 <= high
    assert at_least(covered, WORLDS, 0.925)
    assert at_least(found, WORLDS, 0.5), "15 log points against shocks of 6 percent"


@pytest.mark.parametrize("kind", ["equal", "volatile"])
def test_reading_every_week_claims_no_more(kind: str, grading: ModuleType) -> None:
    ever = {"kit": 0, "band": 0, "one_look": 0}
    for world in worlds(grading, grading.Design(12, kind), 0.0, 80):
        seen = grading.watched(world, grading.WEEKLY)
        for name in ever:
            ever[name] += bool(seen[name].any())
    assert at_most(ever["band"], 80, 0.05)
    assert ever["kit"] <= ever["band"]
    assert ever["one_look"] > ever["band"], "what weekly reading with the interval of one look does"


@pytest.mark.parametrize("share", [0.0, 0.75])
def test_the_net_effect_is_covered_whatever_rivals_lose(share: float, grading: ModuleType) -> None:
    held = sum(grading.netted(share, (1, number))["category"] for number in range(60))
    assert at_least(held, 60, 0.9)


def test_merchants_taken_as_draws_are_wrong_far_more_often(grading: ModuleType) -> None:
    rows = pd.concat(grading.judged(world) for world in worlds(grading, grading.Design(12, "equal"), 0.0, 40))
    claimed = rows.groupby("method")["claims"].sum()
    assert claimed["by_merchant"] >= 10
    assert claimed["kit"] <= 6


def test_the_error_clustered_by_category_is_the_usual_one(grading: ModuleType) -> None:
    from statsmodels.api import OLS, add_constant

    rng = np.random.default_rng(4)
    category = np.repeat(np.arange(9), rng.integers(3, 9, 9))
    piloted, change = category < 3, rng.normal(size=len(category)) + rng.normal(size=9)[category]
    fit = OLS(change, add_constant(piloted.astype(float))).fit(cov_type="cluster", cov_kwds={"groups": category})
    np.testing.assert_allclose(grading.clustered(change, piloted, category), (fit.params[1], fit.bse[1]), rtol=1e-10)


def test_the_page_is_written_from_the_rows(grading: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    grade = importlib.import_module("grade")
    monkeypatch.setattr(grade, "BLOCK", 12)
    design = grading.Design(8, "equal")
    read = pd.concat([grade.once(design, effect, 0) for effect in (0.0, 0.05)], ignore_index=True)
    seen, ladder = grade.weekly(design, 0.0, 0), grade.net(0.5, 0)
    about = dict.fromkeys(("worlds", "some", "half", "after", "speed", "command"), "50")
    page = grade.paragraphs(read, seen, ladder, about)
    own = read[(read["method"] == "by_merchant") & (read["effect"] == 0)]["claims"].mean()
    assert "| 8 categories, pilots equal | 0.6 |" in page
    assert f"{100 * own:.1f}" in page
    assert "{" not in page
    pd.testing.assert_frame_equal(grade.once(design, 0.05, 0), read[read["effect"] == 0.05].reset_index(drop=True))
    assert grade.picture(read).to_dict()["layer"]


def test_the_graded_page_is_the_one_that_the_code_writes(root: Path, grading: ModuleType) -> None:
    """All that needs no draws, the worlds' settings among it, stands in the page as the code would write it today."""
    known = importlib.import_module("grade").setting()
    page = " ".join((root / "docs" / "grading.md").read_text(encoding="utf-8").split())
    template = " ".join((root / "benchmarks" / "grading.md").read_text(encoding="utf-8").split())
    sentences = [part for part in template.split(". ") if set(re.findall(r"{(\w+)}", part)) <= set(known)]
    assert sum("{" in sentence for sentence in sentences) >= 3
    assert not [text for sentence in sentences if (text := sentence.format(**known)) not in page], "run `make grade`"
