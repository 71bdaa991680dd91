"""The effect page: words follow the figures and the checks, in both languages, on any data set."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import did
from strategy_kit.errors import ParameterError
from strategy_kit.report import effect, effect_figures, effect_page, read_week
from strategy_kit.report.claims import Spread, verb_for
from strategy_kit.report.effect import Inside

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from strategy_kit.report import Reading

CLAIMS = ("rose by", "fell by", "may have risen", "may have fallen")
WEEKS = 30
NUMBER = re.compile(r"[+−]\d[\d,]*\.?\d*%?|\d[\d,]*\.\d+%?")


@dataclass(frozen=True)
class Page:
    """All that a page shows of the sample."""

    reading: Reading
    inside: Inside
    pair: Any
    figures: list[Any]

    @property
    def text(self) -> str:
        """What the page says, in blocks, titles and tables."""
        words = [shown.to_dict()["usermeta"]["strategy_kit"] for shown in self.figures]
        cells = [(w["title"], w["subtitle"], *(cell for row in w["table"]["rows"] for cell in row)) for w in words]
        return said(self.reading, self.inside, self.pair) + " ".join(part for row in cells for part in row)


def said(reading: Reading, inside: Inside | str, pair: Any) -> str:
    """What the blocks of a page say."""
    heads = [
        *effect_page.masthead(reading).parts,
        effect_page.pair_head(reading, pair),
        effect_page.provenance(reading),
    ]
    heads += [part(reading, inside) for part in (effect_page.merchants_head, effect_page.checks)]
    heads.append(effect_page.finding(reading, inside, pair))
    tables = [] if isinstance(inside, str) else [effect_page.cohorts(inside)]
    return " ".join(re.sub("<[^>]+>", " ", block.html) for block in (*heads, *tables))


@pytest.fixture(scope="module")
def pages(sample: Path) -> dict[str, Page]:
    made = {}
    for language in ("en", "zh"):
        reading = read_week(sk.open_dataset(sample), "2025-W30", language)
        inside, pair = effect.inside_pilots(reading), effect.synthetic_pair(reading)
        assert isinstance(inside, Inside)
        _, *figures = [*effect_figures.inside_figures(inside), *effect_figures.pair_figures(reading, pair)]
        made[language] = Page(reading, inside, pair, figures)
    return made


@pytest.fixture(scope="module")
def reading(pages: dict[str, Page]) -> Reading:
    return pages["en"].reading


@pytest.fixture(scope="module")
def inside(pages: dict[str, Page]) -> Inside:
    return pages["en"].inside


def made(reading: Reading, outcome: np.ndarray, starts: np.ndarray) -> Inside:
    """A panel of merchants in hand, with no check of the pilot question in the way."""
    weeks = pd.date_range("2025-01-06", periods=WEEKS, freq="7D")
    from_week = pd.Series([weeks[start] if start >= 0 else pd.NaT for start in starts])
    panel = sk.Panel.from_matrix(outcome, treated_from=from_week, periods=weeks)
    effects = did.group_time(panel, control="not_yet", base="universal")
    return Inside(replace(reading, checks=[]), "gmv", "not_yet", panel, effects)


def noise(units: int, seed: int = 1) -> np.ndarray:
    return 100 + np.random.default_rng(seed).normal(0, 10, (units, WEEKS))


def staggered(units: int, *, never: float = 0.5) -> np.ndarray:
    """(N,) position of the start, two waves among the treated, -1 for never."""
    order = np.arange(units) / units
    return np.where(order < never, -1, np.where(np.arange(units) % 2, 18, 22))


def states(found: Inside) -> dict[str, str]:
    return dict(zip(effect._CHECKS, [check.state for check in found.checks], strict=True))


def test_the_first_estimator_is_group_time_whatever_its_base(inside: Inside) -> None:
    assert inside.panel.notes  # merchants opened later are counted
    average = did.overall(did.group_time(inside.panel, control="not_yet")).average
    first = inside.rows[["estimate", "std_error"]].to_numpy()[0]
    assert first == pytest.approx(average, rel=1e-9)  # sums in another order
    assert list(inside.rows["estimator"]) == list(effect.COMPARED)
    for name in ("sun_abraham", "saturated", "imputation", "stacked", "two_way"):
        row = inside.rows.set_index("estimator").loc[name]
        assert row["estimate"] == getattr(did, name)(inside.panel).average[0]


def test_the_verb_follows_the_first_interval_and_all_checks(inside: Inside) -> None:
    row = inside.rows.iloc[0]
    found = [check.state for check in (*inside.reading.checks, *inside.checks)]
    assert inside.verb == verb_for(Spread(row["estimate"], row["std_error"], np.inf), 0.95, found)
    assert inside.told in str(effect_page.merchants_head(inside.reading, inside))
    assert inside.told in str(effect_page.finding(inside.reading, inside, ""))


def test_a_clear_effect_is_told_as_one_unless_a_check_limits_it(reading: Reading) -> None:
    starts = staggered(200)
    outcome = noise(200) + 50 * ((starts >= 0)[:, None] & (np.arange(WEEKS) >= starts[:, None]))
    clear = made(reading, outcome, starts)
    assert set(states(clear).values()) == {"holds"}
    assert clear.verb == "rose"
    assert "None of 8 checks limits" in str(effect_page.finding(clear.reading, clear, ""))
    drifting = made(reading, outcome + 2.0 * np.outer(starts >= 0, np.arange(WEEKS)), starts)
    assert states(drifting)["pretrend"] == "limits"
    assert drifting.verb == "may_have_risen"
    limits = list(states(drifting).values()).count("limits")
    said = str(effect_page.finding(drifting.reading, drifting, ""))
    assert re.search(rf"{limits} of 8 checks limits? the words: Trends before support", said)
    few = made(reading, noise(200), np.where(np.arange(200) < 4, -1, np.where(np.arange(200) % 2, 8, 16)))
    assert states(few)["forbidden"] == "limits"
    dipped = outcome.copy()
    for row, start in enumerate(starts):
        dipped[row, start - 1] -= 40 * (start >= 0)  # merchants were chosen after a bad week
    assert states(made(reading, dipped, starts))["agreement"] == "limits"


def test_a_check_that_cannot_be_made_limits_and_says_why(reading: Reading) -> None:
    found = made(reading, noise(12), np.where(np.arange(12) < 6, 18, -1))  # fewer merchants than effects to test
    held = dict(zip(effect._CHECKS, found.checks, strict=True))
    assert held["pretrend"].state == held["drift"].state == "limits"
    assert "cannot be tested together" in held["pretrend"].note
    assert effect_figures.study(found).description


def test_what_an_estimator_refuses_is_said_beside_the_others(reading: Reading) -> None:
    starts = staggered(60)
    outcome = noise(60) - 100  # below 0 in some weeks, so no percentage can be told
    found = made(reading, outcome, starts)
    assert isinstance(found.in_percent, str)
    assert found.in_percent in effect_figures.estimators(found).to_dict()["usermeta"]["strategy_kit"]["subtitle"]
    odd = made(reading, outcome, starts)
    odd.fits["stacked"] = "no cohort has a window"
    subtitle = effect_figures.estimators(odd).to_dict()["usermeta"]["strategy_kit"]["subtitle"]
    assert "Stacked: no cohort has a window" in subtitle
    assert "stacked" not in set(odd.rows["estimator"])


def test_titles_count_what_the_figures_show(inside: Inside) -> None:
    grid: Any = inside.effects.tidy()
    after = [row for row in grid.itertuples() if row.period >= row.cohort]  # the slow twin of a mask
    clear = sum(row.conf_low > 0 or row.conf_high < 0 for row in after)
    assert f"{clear} of {len(after)} cohort-weeks" in title(effect_figures.grid(inside))
    pairs: Any = did.bacon(inside.panel).tidy()
    forbidden = sum(row.weight for row in pairs.itertuples() if "later vs" in row.type)
    assert f"{100 * forbidden:.1f}%" in title(effect_figures.comparisons(inside))
    ages = inside.study.tidy()
    early = ages[ages["age"] < -1]
    m = int(((early["conf_low"] > 0) | (early["conf_high"] < 0)).sum())
    assert f"before it {m} of {len(early)}" in title(effect_figures.study(inside))
    sizes = inside.panel.cohort_codes
    html = effect_page.cohorts(inside).html
    assert all(f">{int((sizes == code).sum())}<" in html for code in set(sizes))


def title(shown: Any) -> str:
    return str(shown.to_dict()["usermeta"]["strategy_kit"]["title"])


def test_every_figure_has_title_description_table_and_mark(pages: dict[str, Page]) -> None:
    for language, mark in {"en": "Synthetic data", "zh": "模拟数据"}.items():
        assert len(pages[language].figures) == 5
        for figure in pages[language].figures:
            words = figure.to_dict()["usermeta"]["strategy_kit"]
            assert words["title"] in figure.description
            assert words["table"]["rows"]
            assert words["caption"].startswith(mark)


def test_both_languages_show_the_same_numbers(pages: dict[str, Page]) -> None:
    numbers = [sorted(NUMBER.findall(page.text)) for page in pages.values()]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 200


@pytest.mark.parametrize("placebo", [False, True])
def test_without_support_or_pilot_merchants_are_one_line(sample: Path, placebo: bool) -> None:
    shop = sk.open_dataset(sample)
    if placebo:
        shop = replace(shop, description=replace(shop.description, pilot=replace(shop.pilot, placebo=True)))
    else:
        shop = replace(shop, tables=tuple(name for name in shop.tables if name != "support"))
    read = read_week(shop)
    found = effect.inside_pilots(read)
    assert found == ""
    assert effect_figures.inside_figures(found) == []
    assert "not compared" in str(effect_page.merchants_head(read, found))
    if placebo:
        told = said(read, found, effect.synthetic_pair(read))
        assert "No pilot ran in this data set" in told
        assert not [claim for claim in CLAIMS if claim in told]


def test_other_measures_are_counted_without_a_currency(reading: Reading) -> None:
    found = effect.inside_pilots(reading, "orders", "never")
    assert isinstance(found, Inside)
    assert "CNY" not in found.amount(1.0)
    assert "Orders" in str(effect_page.merchants_head(reading, found))
    assert "never supported" in str(effect_page.finding(reading, found, ""))


def test_why_merchants_are_not_compared_is_said(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effect, "FEWEST", 1_000)
    found = effect.inside_pilots(reading)
    assert found == "only 39 supported merchants can be compared"
    assert found in str(effect_page.merchants_head(reading, found).html)
    assert "The pilots have no synthetic pair (too few)" in str(effect_figures.pair_figures(reading, "too few")[0])


@pytest.mark.parametrize(
    ("asked", "law"),
    [({"control": "nevr"}, "control is one of never, not_yet, not 'nevr' \\(did you mean 'never'"),
     ({"outcome": "average_order_value"}, "is a ratio"), ({"outcome": "gvm"}, "did you mean 'gmv'")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(reading: Reading, asked: Any, law: str) -> None:
    with pytest.raises(ParameterError, match=law):
        effect.inside_pilots(reading, **asked)


@pytest.mark.browser
def test_the_published_page_draws_every_chart_on_a_phone(sample: Path, tmp_path: Path, browser: Browser) -> None:
    done = sk.report.run("pilot_effect", data=sample, week="2025-W30", out=tmp_path, parameters={"language": "zh"})
    tab = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(done.html.resolve().as_uri())
    assert tab.locator("figure.sk-chart .sk-narrow svg:visible").count() == 6
    assert asked == [done.html.resolve().as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert done.headline
    assert done.headline in tab.inner_text("body")
