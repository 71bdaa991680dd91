"""The KPI review, the cohort review and the data check: words follow the figures, in both languages, on any data set."""

from __future__ import annotations

import datetime as dt
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit import formats
from strategy_kit.errors import ContractError, ParameterError
from strategy_kit.report import followed, groups, review, soundness
from strategy_kit.simulate import simulate

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

NOTEBOOKS = ("kpi_review", "merchant_cohorts", "data_check")
FIGURES = (
    review.control, review.drivers, review.merchants, groups.yardsticks, groups.ladder,
    followed.retention_map, followed.retention_curves, followed.value_curves, followed.survival, followed.supported,
    partial(followed.retention_map, unit="buyer"), partial(followed.retention_curves, unit="buyer"),
    partial(followed.value_curves, unit="buyer"), soundness.coverage,
)  # fmt: skip


def small(**others: Any) -> sk.Dataset:
    """One merchant, two buyers, a sale a day for three months: most sections have nothing to say."""
    days = pd.date_range("2025-01-06", "2025-04-06")
    lines = pd.DataFrame({"order_id": range(len(days)), "line_id": 0, "buyer_id": np.arange(len(days)) % 2,
                          "merchant_id": "m", "category": "toys & <b>games</b>", "paid_at": days, "amount": 10.0})  # fmt: skip
    roster = pd.DataFrame({"merchant_id": ["m"], "category": ["toys"]})
    window = {"data_from": dt.date(2025, 1, 6), "data_through": dt.date(2025, 4, 6)}
    given = {"timezone": "Europe/Paris", "currency": "EUR", **window, **others}
    return sk.dataset_from_frames(
        others.pop("order_lines", lines), roster, **{k: v for k, v in given.items() if k != "order_lines"}
    )


def title(shown: Any) -> str:
    text = shown.to_dict()["title"]["text"]
    return text if isinstance(text, str) else " ".join(text)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    """A market large enough for every figure."""
    return sk.open_dataset(simulate(tmp_path_factory.mktemp("data") / "market", merchants=1500))


@pytest.fixture(scope="module")
def sample_review(sample: Path) -> review.Review:
    return review.open_review(sk.open_dataset(sample))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_figure_has_title_description_table_and_caption(market: sk.Dataset, language: Any) -> None:
    read = review.open_review(market, "2025-W30", language)
    for draw in FIGURES:
        shown = draw(read)
        words = shown.to_dict()["usermeta"]["strategy_kit"]
        assert words["title"], draw
        assert shown.description
        assert words["table"]["rows"], draw
        mark = {"en": "Synthetic data", "zh": "模拟数据"}[language]
        assert words["caption"].startswith(mark)


def test_titles_say_what_the_figures_say(sample_review: review.Review) -> None:
    read = sample_review
    change = sk.kpi.change(read.shop, metrics=["gmv"], **read.asked).iloc[0]
    told = str(review.measures_head(read))
    days = [(dt.date(2025, month + 1, 1) - dt.date(2025, month, 1)).days for month in (5, 6)]
    low, middle, high = ((1 + change[name]) * days[0] / days[1] - 1 for name in ("conf_low", "change", "conf_high"))
    assert (formats.percent(abs(middle)) in told) == (low > 0 or high < 0)
    assert "May 2025 has 31 days, June 2025 30" in told or "31 days" in review.measures_head(read).html
    growth: Any = sk.kpi.merchant_growth(read.shop).set_index("month").loc[pd.Timestamp(read.pair[1])]
    assert f"{growth['quick_ratio']:.2f} of GMV gained" in title(review.merchants(read))
    assert formats.percent(growth["net_retention"], 0) in title(review.merchants(read))
    yardsticks = sk.kpi.yardsticks(read.shop, by=["category"], **read.asked).drop_duplicates("category")
    clear = yardsticks["apart"].sum()
    assert f"{(~yardsticks['agree']).sum()} of {len(yardsticks)} categories, beyond error in {clear}" in title(
        groups.yardsticks(read)
    )


def test_supported_merchants_are_a_description_with_their_numbers(market: sk.Dataset) -> None:
    shown = followed.supported(review.open_review(market))
    heads = sk.cohort.supported(market).query("age == 0").set_index("group")["members"]
    assert "not an effect" in title(shown)
    caption = shown.to_dict()["usermeta"]["strategy_kit"]["caption"]
    assert f"{heads['supported']} supported and {heads['not supported']:,} other" in caption
    early = review.open_review(market, "2025-W20")
    assert "last complete week only" in str(followed.supported(early))
    assert "last complete week only" in str(followed.survival(early))


def test_one_category_is_read_by_market() -> None:
    days = pd.date_range("2025-01-06", "2025-04-06")
    lines = pd.DataFrame({"order_id": range(len(days)), "line_id": 0, "buyer_id": np.arange(len(days)) % 7,
                          "merchant_id": "m", "category": "toys", "paid_at": days, "amount": 10.0,
                          "market": np.where(np.arange(len(days)) % 3 == 0, "France", "domestic")})  # fmt: skip
    read = review.open_review(small(order_lines=lines), period="month")
    assert read.by == "market"
    assert "in the markets" in str(groups.mix_head(read))
    assert "of 2 markets" in title(groups.yardsticks(read))


def test_a_change_that_may_be_chance_is_not_told_as_one() -> None:
    read = review.open_review(small(), period="month")
    assert "no clear change" in str(review.measures_head(read))


def test_shares_change_in_points_and_amounts_in_percent(sample_review: review.Review) -> None:
    html = review.measures(sample_review).html
    rows = {row.split("</strong>")[0].split("<strong>")[1]: row for row in html.split("<tr>")[2:]}
    assert " pt<" in rows["Repeat rate"]
    assert " pt<" not in rows["GMV"]
    levels = sk.kpi.table(sample_review.shop, by=["month"], metrics=["repeat_rate"]).set_index("month")["repeat_rate"]
    now, then = (levels[pd.Timestamp(start)] for start in reversed(sample_review.pair))
    assert formats.number(100 * (now - then), 1, signed=True) in rows["Repeat rate"]


def test_figures_that_cannot_be_drawn_say_so_in_one_line() -> None:
    read = review.open_review(small(), period="month")
    assert "two different years" in str(groups.ladder(read))
    assert "none followed" in str(followed.retention_map(read))
    assert "no support table" in str(followed.supported(read))
    assert title(review.merchants(read))


def test_the_foot_names_the_data_set_in_the_language_of_the_page() -> None:
    about = {"title": "Demo marketplace", "source": "a test"}
    assert "演示市场" in review.provenance(review.open_review(small(**about), language="zh")).html


def test_hostile_names_stay_text() -> None:
    read = review.open_review(small(), period="month")
    assert "<b>games</b>" not in groups.mix_table(read).html
    assert "&lt;b&gt;games" in groups.mix_table(read).html


def test_both_languages_show_the_same_numbers_where_they_are_no_money(sample: Path) -> None:
    shop = sk.open_dataset(sample)
    pages = [review.measures(review.open_review(shop, None, language)).html for language in ("en", "zh")]
    numbers = [re.findall(r"[+−]?[\d,]+\.?\d*%|[+−][\d.]+(?= pt| 个百分点)", page) for page in pages]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 30


def test_a_review_looks_at_nothing_after_its_week(sample: Path) -> None:
    early = review.open_review(sk.open_dataset(sample), "2025-W20")
    assert early.names == ["March 2025", "April 2025"]
    days = [row[0] for row in review.control(early).to_dict()["usermeta"]["strategy_kit"]["table"]["rows"]]
    assert max(days) == "2025-05-12"


def test_a_review_of_data_that_break_a_law_is_refused_and_the_check_shows_it(sample: Path) -> None:
    days = pd.date_range("2025-01-06", "2025-04-06")
    wrong = pd.DataFrame({"order_id": range(len(days)), "line_id": 0, "buyer_id": 1, "merchant_id": "m", "category": "toys",
                          "paid_at": days, "amount": [-5.0, *[10.0] * (len(days) - 1)]})  # fmt: skip
    shop = small(order_lines=wrong)
    with pytest.raises(ContractError, match="amount is not negative"):
        review.open_review(shop)
    check = soundness.open_check(shop)
    found = soundness.checked(check)
    assert "1 check fails" in str(soundness.verdict(check, found))
    assert "amount is not negative" in soundness.broken_laws(check, found).html
    assert "amount is not negative" not in soundness.kept_laws(check, found).html
    good = soundness.open_check(sk.open_dataset(sample))
    kept = soundness.checked(good)
    assert f"All {len(kept)} checks hold" in str(soundness.verdict(good, kept))
    assert "No check is broken" in str(soundness.broken_laws(good, kept))


@pytest.mark.parametrize(("week", "period", "law"), [("2025-W02", "quarter", "fewer than two complete quarters"),
                                                     ("2025-W03", "year", "a period is one of")])  # fmt: skip
def test_what_cannot_be_reviewed_is_refused(week: str, period: Any, law: str) -> None:
    with pytest.raises(ParameterError, match=law):
        _ = review.open_review(small(), week, period=period).pair


@pytest.mark.browser
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_published_page_draws_every_chart_and_asks_for_nothing(
    notebook: str, sample: Path, tmp_path: Path, browser: Browser
) -> None:
    done = sk.report.run(notebook, data=sample, out=tmp_path, parameters={"language": "zh"})
    tab = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
    asked: list[str] = []
    said: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(done.html.resolve().as_uri())
    assert tab.locator("figure.sk-chart .sk-narrow svg:visible").count() == tab.locator("figure.sk-chart").count() > 0
    assert asked == [done.html.resolve().as_uri()]
    assert not said
    assert tab.evaluate("document.documentElement.lang") == "zh-Hans"
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert "模拟数据" in tab.inner_text("body")
