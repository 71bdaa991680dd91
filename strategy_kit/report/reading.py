"""One week of a data set, read once: the estimates, the checks and the claim from which the whole page is written."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from math import expm1, log1p
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from strategy_kit import cohort, did, formats, kpi, planning
from strategy_kit.errors import DesignError, ParameterError, whole_number
from strategy_kit.kpi.control import festival_names
from strategy_kit.metrics import METRICS, parts
from strategy_kit.periods import period_start, week_label
from strategy_kit.report.ahead import Ahead
from strategy_kit.report.audience import FEWEST, Audience
from strategy_kit.report.claims import Check, Claim, Evidence, Spread, claim_for, told, verb_for
from strategy_kit.report.reasons import attempt
from strategy_kit.report.trust import MORE_WEEKS, design_checks, trust_checks
from strategy_kit.report.week import Week, known_by, until
from strategy_kit.report.words import Words
from strategy_kit.tables_to_panel import CATEGORY, sold_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    import pandas as pd

    from strategy_kit.dataset import Dataset
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel
    from strategy_kit.planning import ReadingWidth
    from strategy_kit.report.claims import Verb
    from strategy_kit.report.money import Money

LEVEL = 0.95
POOL_BELOW = 0.005
"""Share of sales before the pilot under which comparison categories are added up."""
MEASURED = ("gmv", "orders", "buyers", "new_buyers", "average_order_value", "spend_per_annual_active_buyer",
            "active_merchants", "refund_rate", "overseas_share")  # fmt: skip
WEEK = dt.timedelta(weeks=1)


@dataclass(frozen=True, eq=False)
class Reading(Week):
    """All that one week's page says, in numbers; made by `read_week`.

    Attributes
    ----------
    totals
        Log weekly totals of the plan's metric by category, from `weeks_before` weeks before the pilot to the week.
    contrast
        `pilot_contrast` of `totals`: the headline.
    width
        How much wider the headline's interval is than that of a single look; None where the past is too short to tell.
    study
        Event study of supported merchants inside the pilot categories, in currency a week; where there is none, the
        sentence that says why, empty without support table.
    supported
        Merchants of the pilot categories that the study compares; None where it cannot.
    power
        What one more pilot or more weeks would buy, from `planning.what_if`; None where the past is too short to tell.
    measures
        Weekly KPIs of pilots and others: pilot, week, a column a metric, and complete.
    cohorts
        Monthly triangle of merchants.
    ahead
        What sections ask, begun before they are made.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> read_week(sk.open_dataset("data/sample")).weeks_after
    10
    """

    shop: Dataset
    monday: dt.date
    words: Words
    totals: Panel
    contrast: Estimates
    width: ReadingWidth | None
    study: Estimates | str
    supported: Panel | None
    power: pd.DataFrame | None
    measures: pd.DataFrame
    cohorts: pd.DataFrame
    laws: pd.DataFrame
    checks: list[Check]
    audience: Audience
    ahead: Ahead = field(default_factory=Ahead)

    @property
    def spread(self) -> Spread:
        """The headline estimate as a distribution, in log points."""
        return self.overall(self.contrast)

    @property
    def marks(self) -> list[str]:
        """What sets the data apart: that they are invented, or that the pilots are a placebo."""
        return [*super().marks, *[self.words("placebo_mark")] * self.shop.pilot.placebo]

    @property
    def window(self) -> dict[str, Any]:
        """The compared weeks, as keywords."""
        return {"since": self.totals.periods[0].date(), "through": self.monday}

    @property
    def widening(self) -> float:
        """Times the interval of a single look that every interval of a claim is wide."""
        return self.width.factor if self.width else 1.0

    @property
    def evidence(self) -> Evidence:
        """All that the claim is made from."""
        return Evidence(
            self.spread,
            self.shop.plan,
            self.checks,
            *self.contrast.clusters,
            self.weeks_after,
            self.merchants,
            looks=self.width.kind if self.width else "unknown",
            count=self.width.looks if self.width else 1,
            placebo=self.shop.pilot.placebo,
        )

    @property
    def claim(self) -> Claim:
        """What may be said and advised; a placebo says nothing."""
        return claim_for(self.evidence)

    @property
    def level(self) -> float:
        """Coverage of the headline's interval, as the plan declares it."""
        return self.shop.plan.level

    @property
    def study_spread(self) -> Spread | None:
        """The supported merchants' average after the start, in currency a week, as a distribution; read as the headline is."""
        return None if isinstance(self.study, str) else self.mean(self.study)

    def overall(self, found: Estimates) -> Spread:
        """Read an overall estimate with its t law as the headline is read."""
        row = found.glance().iloc[0]
        value, error, freedom = (float(row[c]) for c in ("estimate", "std_error", "degrees_of_freedom"))
        return Spread(value, error, freedom, self.widening)

    def mean(self, study: Estimates) -> Spread:
        """Read the average of a study of merchants as the headline is read."""
        return Spread(*study.average, np.inf, self.widening)

    def verb(self, spread: Spread, *, together: int = 1, limited: bool = False) -> Verb:
        """Choose the verb that an interval, of `together` that hold at once, and the checks allow."""
        states = self.evidence.states
        return verb_for(spread, 1 - (1 - self.level) / together, [*states, "limits"] if limited else states)

    def told(self, spread: Spread, effect: str, *, together: int = 1, limited: bool = False) -> str:
        """Say the verb with the size of the effect."""
        return told(self.verb(spread, together=together, limited=limited), spread, effect, self.words)

    @property
    def weeks_after(self) -> int:
        """Complete weeks since the first pilot's start."""
        return len(self.totals.periods) - int(self.totals.starts.min())

    @property
    def money(self) -> tuple[float, float, float]:
        """Extra of the plan's metric in the pilots, each since its start: lower end, estimate and upper end, in its unit.

        Actual sales minus what they would have been without the average effect.
        """
        treated = self.totals.cohort >= 0
        after = np.arange(len(self.totals.periods)) >= self.totals.starts[self.totals.cohort[treated], None]
        sold = float((np.exp(self.totals.outcome[treated]) * after).sum())
        low, high = self.spread.interval(self.level)
        return sold * -expm1(-low), sold * -expm1(-self.spread.estimate), sold * -expm1(-high)

    @property
    def uneven(self) -> bool:
        """Whether the study's merchants were chosen more often in some categories than in others, which limits its verb."""
        return self.supported is not None and self.supported.uneven

    @cached_property
    def pilots_apart(self) -> Estimates | str:
        """The effect of each pilot, or the sentence why they cannot be told apart."""
        return attempt(did.category_effects, self.totals)

    @cached_property
    def further(self) -> Estimates | None:
        """What the pilots say of a category that was not tried; None where they are too few, or no pilot can be judged."""
        if self.claim.verb == "cannot_tell" or isinstance(self.pilots_apart, str):
            return None
        try:
            return did.new_category(self.pilots_apart)
        except DesignError:
            return None

    @cached_property
    def merchant_sales(self) -> tuple[Panel, np.ndarray]:
        """Weekly sales of supported and of other merchants of each category, and which are the supported ones."""
        from strategy_kit.report.money import merchant_sales  # which is written from a reading

        return merchant_sales(self)

    @cached_property
    def money_followed(self) -> Money | str:
        """The ladder from what supported merchants gained to what the platform keeps, or why it cannot be followed."""
        from strategy_kit.report.money import read_money  # which is written from a reading

        return read_money(self)

    @property
    def rank(self) -> tuple[int, int]:
        """How many ways to assign the pilots differ at least as much as the real one, and of how many."""
        size = self.contrast.details["placebo"]["statistic"].abs()
        return int((size >= size.iloc[0] * (1 - 1e-12)).sum()), len(size)

    @property
    def not_begun(self) -> list[str]:
        """The pilots that start after the week: neither pilots of it nor a comparison."""
        return [name for name in self.shop.pilot.categories if name not in self.totals.units]

    @cached_property
    def merchants(self) -> int:
        """Merchants who sold anything in the compared weeks."""
        found = self.shop.engine.frame(
            f"select count(distinct merchant_id) as n from order_lines where {sold_lines(self.shop)} and paid_at >= $first "
            f"and paid_at < $next and not list_contains($later, {CATEGORY})",
            {"first": self.totals.periods[0].date(), "next": self.monday + WEEK, "later": self.not_begun},
        )
        return int(found["n"][0])

    @cached_property
    def again(self) -> Estimates | None:
        """The headline contrast of the week before, on today's data; None in the first week."""
        if self.weeks_after == 1:
            return None
        try:
            return did.pilot_contrast(_totals(self.shop, self.totals.periods[0].date(), self.monday - WEEK))
        except DesignError:  # one category more could be compared this week
            return None

    @cached_property
    def controls(self) -> dict[str, pd.DataFrame | str]:
        """The pilots' weeks of each measure with their limits, as `kpi.process_control` has them, or why there are none."""
        pilots = self.measures[self.measures["pilot"]].reset_index(drop=True)
        festivals = festival_names(self.shop, pilots["week"], "week")
        limits = partial(kpi.control_limits, self.shop, pilots, festivals_of=festivals)
        return {name: attempt(limits, metric=name) for name in self.measures.columns.intersection(list(MEASURED))}


def read_week(
    shop: Dataset,
    week: str | None = None,
    language: formats.Language = "en",
    *,
    weeks_before: int = 26,
    audience: Audience | None = None,
) -> Reading:
    """Check the data set and compute everything that one week's report says.

    Parameters
    ----------
    shop
        The data set; its contract must hold and it must name pilot categories.
    week
        Such as "2025-W30"; the last complete one by default.
    language
        "en" or "zh".
    weeks_before
        Weeks before the pilot's start that serve as comparison in time; at least one.
    audience
        Who reads, and what was published before; everybody, and nothing, by default.

    Raises
    ------
    ContractError
        If a law of severity "error" is broken.
    ParameterError
        If the week is not complete or has no data, the language is unknown, or `weeks_before` is not positive.
    DesignError
        If no pilot is named, the week lies before its start, or no comparison is possible.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> read_week(sk.open_dataset("data/sample"), "2025-W30").claim.verb in ("may_have_risen", "no_clear_change", "rose")
    True
    """
    words = Words(language)
    if not whole_number(weeks_before, 1):
        raise ParameterError(f"weeks_before is 1 or more, not {weeks_before}: without a past nothing can be compared")
    asked = _Asked(week, words, weeks_before, audience or Audience())
    previous = asked.audience.totals_before()
    with ThreadPoolExecutor(1) as pool:
        for late in ("scipy.optimize", "strategy_kit.charts"):  # while lines are read
            pool.submit(import_module, late)
        shop.engine.hold("order_lines")  # some eighty questions follow
        if (beside := shop.engine.beside()) is None:
            laws = shop.require_valid(previous)
            return _read(shop, asked, lambda: laws, pool)
        checked = pool.submit(replace(shop, engine=beside).require_valid, previous)  # as long as half of all else
        try:
            return _read(shop, asked, checked.result, pool)
        except Exception:
            checked.result()  # a broken law is the reason for whatever else went wrong
            raise


class _Asked(NamedTuple):
    week: str | None
    words: Words
    weeks_before: int
    audience: Audience


def _read(shop: Dataset, asked: _Asked, laws_of: Callable[[], pd.DataFrame], pool: Executor) -> Reading:
    monday, start = shop.week(asked.week), period_start(shop.pilot.starts_on, "week")
    if monday < start:
        raise DesignError(
            f"week {week_label(monday)} lies before the pilots start on {shop.pilot.starts_on}, so there is nothing to "
            "compare yet; choose a later week"
        )
    words = replace(asked.words, placebo=shop.pilot.placebo)
    since = start - min(asked.weeks_before, (start - shop.data_from) // WEEK + 1) * WEEK
    totals = _totals(shop, since, monday)
    contrast, simulated = did.pilot_contrast(totals), pool.submit(_width, totals, shop)
    study, supported = _study(shop, since, monday)
    after = len(totals.periods) - int(totals.starts.min())
    known = set(shop.columns("order_lines"))
    available = [name for name in MEASURED if all(known.issuperset(part.columns) for part in parts(METRICS[name]))]
    measures = until(shop, monday, kpi.table(shop, by=["pilot", "week"], metrics=available))
    cohorts = known_by(monday + WEEK, cohort.triangle(shop, unit="merchant", period="month"))
    laws, width = laws_of(), simulated.result()
    power = _power(totals, shop, width.factor if width else 1.0)
    return Reading(
        shop=shop,
        monday=monday,
        words=words,
        totals=totals,
        contrast=contrast,
        width=width,
        study=study,
        supported=supported,
        power=power,
        measures=measures,
        cohorts=cohorts,
        laws=laws,
        checks=[*trust_checks(shop, totals, contrast, laws, words), *design_checks(shop, after, width, power, words)],
        audience=asked.audience,
    )


def _totals(shop: Dataset, since: dt.date, through: dt.date) -> Panel:
    return shop.category_panel(shop.plan.metric, since=since, through=through, pool_below=POOL_BELOW).logs()


def _width(totals: Panel, shop: Dataset) -> ReadingWidth | None:
    """Looks that nothing shows to be older than the outcomes may have been chosen by them: they buy no narrower interval."""
    plan = shop.plan if shop.plan_seal == "sealed_before" else replace(shop.plan, horizon=None, looks=())
    try:
        return planning.reading_width(totals, plan)
    except DesignError:  # the contrast has refused already what cannot be compared: what is left is a short past
        return None


def _power(totals: Panel, shop: Dataset, widening: float) -> pd.DataFrame | None:
    effect, weeks = log1p(shop.plan.threshold) or None, (0, MORE_WEEKS)
    try:
        return planning.what_if(totals, effect=effect, more_weeks=weeks, level=shop.plan.level, widening=widening)
    except DesignError:
        return None


def _study(shop: Dataset, since: dt.date, through: dt.date) -> tuple[Estimates | str, Panel | None]:
    """Return the study with its merchants, or why there is none."""
    if "support" not in shop.tables or shop.pilot.placebo:
        return "", None
    try:
        panel = shop.panel(categories=shop.pilot.categories, since=since, through=through)
        panel = panel.untreated_at_first().collected()
        study = did.event_study(did.group_time(panel, control="not_yet"))
    except DesignError as reason:
        return str(reason), None
    treated = study.clusters[0]
    few = DesignError(f"only {treated} supported merchants can be compared")
    return (study, panel) if treated >= FEWEST else (str(few), None)


def listed(words: Words, parts: Sequence[str]) -> str:
    """Join parts by the comma of the language."""
    return {"en": ", ", "zh": "、"}[words.language].join(parts)
