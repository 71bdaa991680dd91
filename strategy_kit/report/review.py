"""The KPI review: each figure with its change and interval, what the change is made of, and where yardsticks disagree."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit import charts, formats, kpi
from strategy_kit.errors import ParameterError
from strategy_kit.metrics import METRICS, parts
from strategy_kit.periods import Period, checked_period, next_start, week_label
from strategy_kit.report import blocks
from strategy_kit.report.common_figures import waterfall
from strategy_kit.report.sections import Section
from strategy_kit.report.week import Week
from strategy_kit.report.words import Words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strategy_kit.dataset import Dataset
    from strategy_kit.report.blocks import Block
    from strategy_kit.report.reading import Reading

REVIEWED = (
    "gmv", "orders", "buyers", "new_buyers", "active_merchants", "average_order_value", "orders_per_buyer", "repeat_rate",
    "spend_per_annual_active_buyer", "gmv_per_active_merchant", "median_gmv_per_active_merchant",
    "p90_gmv_per_active_merchant", "top_decile_share", "refund_rate", "refund_maturity", "subsidy_share", "discount_depth",
    "overseas_share", "take_rate",
)  # fmt: skip
ADD_UP_OVER_BUYERS = {"gmv", "orders", "buyers", "average_order_value", "orders_per_buyer", "spend_per_annual_active_buyer",
                      "refund_rate", "subsidy_share", "discount_depth", "overseas_share", "take_rate"}  # fmt: skip
SHOWN_WEEKS = 53
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Review(Week):
    """A data set, read in one language up to a week: what the review's blocks and charts are written from."""

    shop: Dataset
    monday: dt.date
    period: Period
    words: Words

    @cached_property
    def pair(self) -> tuple[dt.date, dt.date]:
        """The last two complete periods that end by the week's Sunday."""
        until = self.sunday
        ended = [p for p in self.shop.complete_periods(self.period) if next_start(p, self.period) - _DAY <= until]
        if len(ended) < 2:
            raise ParameterError(
                f"fewer than two complete {self.period}s end by {until} in data set {self.shop.name!r}; take a shorter period"
            )
        return ended[-2], ended[-1]

    @property
    def asked(self) -> dict[str, Any]:
        """The pair as keywords of the functions in `kpi`."""
        return {"period": self.period, "before": self.pair[0], "after": self.pair[1]}

    @property
    def names(self) -> list[str]:
        """The two periods by name."""
        return [formats.period_name(start, self.period, self.words.language) for start in self.pair]

    @cached_property
    def metrics(self) -> list[str]:
        """The reviewed metrics that the data set has the columns for."""
        known = set(self.shop.columns("order_lines"))
        names = [name for name in REVIEWED if all(known.issuperset(part.columns) for part in parts(METRICS[name]))]
        return [name for name in names if name != "refund_maturity" or "refund_rate" in names]

    @cached_property
    def moves(self) -> Any:
        """Changes with their intervals, by metric."""
        metrics = [name for name in self.metrics if name in ADD_UP_OVER_BUYERS]
        return kpi.change(self.shop, metrics=metrics, **self.asked).set_index("metric")

    @cached_property
    def mix(self) -> Any:
        """The change of the order value by group."""
        return kpi.mix_and_rate(self.shop, metric="average_order_value", by=self.by, **self.asked)

    @cached_property
    def by(self) -> str:
        """What makes the groups: the category, or the market where there is only one category."""
        if "market" not in self.shop.columns("order_lines"):
            return "category"
        categories = self.shop.engine.frame("select count(distinct category) as n from order_lines")["n"][0]
        return "market" if categories <= 1 else "category"

    def told(self, name: str, value: float, *, like: tuple[float, ...] = ()) -> str:
        """Write a value of a metric in its unit."""
        unit = METRICS[name].unit
        if np.isnan(value):
            return "–"
        if unit == "share":
            return formats.percent(value)
        if unit.startswith("currency"):
            return self.amount(value, like=like)
        return formats.number(value, 0 if unit == "count" else 2)

    def moved(self, name: str, before: float, change: float) -> str:
        """Write a relative change of a metric: of a share in percentage points, of all else in percent."""
        if METRICS[name].unit != "share" or np.isnan(change):
            return formats.percent(change, signed=True)
        return self.words("share_points", n=formats.number(100 * before * change, 1, signed=True))


def open_review(
    shop: Dataset, week: str | None = None, language: formats.Language = "en", period: Period = "month"
) -> Review:
    """Check the data set and settle what a review speaks of.

    Parameters
    ----------
    week
        Such as "2025-W30"; the last complete one by default. Nothing later is looked at.
    period
        What is compared with the one before.

    Raises
    ------
    ContractError
        If a law of severity "error" is broken.
    ParameterError
        If the week, language or period is wrong.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> open_review(sk.open_dataset("data/sample")).names
    ['May 2025', 'June 2025']
    """
    words = Words(language)
    shop.require_valid()
    return Review(shop, shop.week(week), checked_period(period), words)


def masthead(review: Review, title: str) -> Section:
    """Return the head of the page; `title` is the key of its name."""
    return opening(review, review.words("product_review"), review.words(title))


def opening(read: Review | Reading, product: str, title: str, languages: str = "") -> Section:
    """Return the head of a page of this name, with the marks of its data."""
    say, about = read.words, read.shop.description
    marks = [(say("synthetic"), say("synthetic_note"))] if about.synthetic else []
    marks += [(say("placebo_mark"), say("placebo_mark_note"))] if about.pilot and about.pilot.placebo else []
    week = formats.week_span(read.monday, say.language)
    edition = say("edition", dataset=say.label(about.title or about.name), week=week)
    return Section("masthead", (blocks.masthead(product, title, edition, marks, languages),))


def provenance(review: Review | Reading, method: str = "review_method") -> Block:
    """Return the foot of the page; `method` is the key of how its figures were made."""
    say, shop = review.words, review.shop
    window = f"{say.label(shop.description.title or shop.name)}; {shop.data_from} – {shop.data_through}"
    words = {"prov_method": say(method), "prov_words": say("prov_words_text")}
    return foot(review, f"{window}; {week_label(review.monday)}", words)


def foot(read: Review | Reading, data: str, more: Mapping[str, str]) -> Block:
    """Return the foot of a page: its data, their source, and more under the keys of their names."""
    say, about = read.words, read.shop.description
    told = {"prov_data": data, "prov_source": about.source or "–", **more}
    entries = [(say(name), text) for name, text in told.items()]
    return blocks.provenance(say("section_provenance"), entries, say("prov_invented") if about.synthetic else "")


def measures(review: Review) -> Block:
    """Return every measure of the period with its change, the interval where it has one, and its definition."""
    say, names, moves = review.words, review.metrics, review.moves
    every: Any = kpi.year_on_year(review.shop, metrics=names, period=review.period).set_index("metric")
    then, years = (every[every[review.period] == pd.Timestamp(start)] for start in review.pair)
    now, then = years["value"], then["value"]
    rows = []
    for name in names:
        held = name in moves.index and not np.isnan(moves.loc[name, "conf_low"])
        ends = (
            [review.moved(name, then[name], moves.loc[name, end]) for end in ("conf_low", "conf_high")] if held else []
        )
        year = {} if name == "refund_maturity" else dict(years.loc[name])
        known = name not in moves.index or not np.isnan(moves.loc[name, "change"])
        change = now[name] / then[name] - 1 if year and known and then[name] > 0 else np.nan
        cells = [review.told(name, now[name]), review.moved(name, then[name], change),
                 say.span(ends[0], ends[1]) if ends else "–",
                 review.moved(name, year.get("before", np.nan), year.get("change", np.nan))]  # fmt: skip
        definition = getattr(METRICS[name], say.language)
        rows.append([f"**{say(f'metric_{name}')}**", *cells, definition])
    heads = [
        say("column_measure"),
        review.names[1],
        *(say(f"column_{c}") for c in ("before", "interval", "year", "definition")),
    ]
    caption, past = say("review_measures_caption", before=review.names[0]), years.loc["gmv", "compared_with"]
    if not pd.isna(past):
        caption += f" {say('review_matched', past=formats.period_name(past.date(), review.period, say.language))}"
    return blocks.listing(heads, rows, caption, numbers=range(1, 5))


def measures_head(review: Review) -> Block:
    """Return the head of the measures; its title says what GMV did, as far as its interval allows."""
    say = review.words
    row = review.moves.loc["gmv"]
    first, last = review.names
    days = [(next_start(start, review.period) - start).days for start in review.pair]
    low, middle, high = ((1 + row[name]) * days[0] / days[1] - 1 for name in ("conf_low", "change", "conf_high"))
    verb = "rose" if low > 0 else "fell" if high < 0 else "no_clear_change"
    told = say(f"verb_{verb}", effect=formats.percent(abs(middle)))
    note = say("review_note")
    if days[0] != days[1]:
        counts = {"n": formats.Count(days[0]), "m": formats.Count(days[1])}
        note = say.prose(note, say("review_days", before=first, after=last, **counts))
    title = say("review_title", verb=told, before=first, after=last)
    return blocks.section_head(say("section_review"), say("question_review"), title, note)


def control(review: Review) -> Any:
    """Draw weekly GMV with the limits of what it does by itself; the title says what the last weeks did."""
    say = review.words
    found = kpi.process_control(review.shop, metric="gmv", through=review.sunday)
    found = found.rename(columns={"week": "period"}).tail(SHOWN_WEEKS)
    causes = found[~found["signal"].isin(["", "festival"])]
    recent = causes[causes["period"] > pd.Timestamp(review.monday - dt.timedelta(weeks=13))]
    last = found["signal"].iloc[-1] or "none"
    scale, unit = review.scale(float(found["value"].max()))
    shown = found.assign(**{name: found[name] / scale for name in ("value", "centre", "lower", "upper")})
    labels = {name: say(f"signal_{name}") for name in ("beyond", "run", "trend", "near_limit", "festival")}
    labels |= {name: say(f"limit_{name}") for name in ("upper", "centre", "lower")}
    labels |= {"value": say("with_unit", name=say("metric_gmv"), unit=unit), "incomplete": say("incomplete")}
    table = pd.DataFrame(
        {
            say("column_week"): found["period"].dt.strftime("%Y-%m-%d"),
            say("metric_gmv"): [review.amount(v) for v in found["value"]],
            say("column_words"): [say(f"signal_{code or 'none'}") for code in found["signal"]],
        }
    )
    chart = charts.process_control(shown, period="period", labels=labels)
    words = {"last": say(f"signal_{last}"), "n": formats.Count(len(recent)), "unit": unit}
    return review.figure("control", chart, table, say("control_note"), **words)


def drivers(review: Review) -> Any:
    """Draw what the change of GMV is made of: buyers, orders per buyer, order value."""
    say = review.words
    found = kpi.drivers(review.shop, **review.asked).set_index("driver")
    total = [float(np.prod(found[side])) for side in ("before", "after")]
    steps = {say(f"metric_{name}"): float(found.loc[name, "contribution"]) for name in found.index}
    most = max(steps, key=lambda name: abs(steps[name]))
    title = say(
        "drivers_title",
        driver=most,
        amount=review.amount(steps[most], signed=True),
        total=review.amount(total[1] - total[0], signed=True),
    )
    return _waterfall(review, (total[0], steps, total[1]), title, say("drivers_subtitle"))


def merchants(review: Review) -> Any:
    """Draw which merchants the change of GMV came from."""
    say = review.words
    found = kpi.merchant_growth(review.shop, period=review.period).set_index(review.period)
    row: Any = found.loc[pd.Timestamp(review.pair[1])]
    signs = {"new": 1, "resurrected": 1, "expansion": 1, "contraction": -1, "churned": -1}
    steps = {say(f"growth_{name}"): sign * float(row[name]) for name, sign in signs.items()}
    kept, quick = formats.percent(row["net_retention"], 0), float(row["quick_ratio"])
    title = (
        say("growth_title_none", kept=kept)
        if np.isnan(quick)
        else say("growth_title", quick=formats.number(quick, 2), kept=kept)
    )
    return _waterfall(review, (float(row["opening"]), steps, float(row["closing"])), title, say("growth_subtitle"))


def _waterfall(review: Review, flow: tuple[float, Mapping[str, float], float], title: str, subtitle: str) -> Any:
    say, (opening, steps, closing) = review.words, flow
    names, kinds = [review.names[0], *steps, review.names[1]], ["level", *["change"] * len(steps), "level"]
    amounts = [opening, *steps.values(), closing]
    chart, table, told = waterfall(review, names, amounts, kinds, say("metric_gmv"), max(opening, closing))
    return review.figure("waterfall", chart, table, say("adds_up"), title=title, subtitle=subtitle, description=told)
