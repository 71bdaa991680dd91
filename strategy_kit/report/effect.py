"""The pilots' effect at length: supported merchants by several estimators, a synthetic pair, and what limits the words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import floor, log10
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from strategy_kit import did, formats, sensitivity
from strategy_kit.charts.bacon import FORBIDDEN
from strategy_kit.did.cells import Control
from strategy_kit.errors import DesignError, ParameterError, nearest
from strategy_kit.metrics import METRICS, plain_metric
from strategy_kit.report.audience import FEWEST
from strategy_kit.report.claims import Check, Spread, told, verb_for
from strategy_kit.report.figures import latest
from strategy_kit.report.reading import LEVEL, Reading
from strategy_kit.report.reasons import reason_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel
    from strategy_kit.report.claims import State, Verb

AGES_BEFORE = 12
"""Weeks before the start that are drawn, and tested: what a reader judges is what the test judged."""
MOST_FORBIDDEN = 0.25
"""Share of the two-way weight on merchants supported already, above which clean comparisons are few."""
LEAST_UNITS = 30
REJECTED = 0.05
COMPARED = {"group_time": "", "sun_abraham": "never", "saturated": "not_yet", "imputation": "not_yet", "stacked": "clean",
            "two_way": "already"}  # fmt: skip
SAME_AVERAGE = ("sun_abraham", "saturated", "imputation")
"""Estimators that average the same cells as the first; stacking leaves late weeks out, two-way weighs some below 0."""


@dataclass(frozen=True, eq=False)
class Inside:
    """Supported merchants against others of the pilot categories; made by `inside_pilots`.

    Attributes
    ----------
    panel
        Merchants of the pilot categories in the weeks of the reading.
    effects
        By cohort and week, against `control`, from the week before each start.
    """

    reading: Reading
    outcome: str
    control: Control
    panel: Panel
    effects: Estimates

    @cached_property
    def study(self) -> Estimates:
        """Effects by week since the start, from twelve weeks before it on."""
        return latest(did.event_study(self.effects), -AGES_BEFORE, least=0)

    @cached_property
    def fits(self) -> dict[str, Estimates | str]:
        """The overall effect by each estimator, or the sentence why there is none."""
        others = {name: attempt(getattr(did, name), self.panel) for name in COMPARED if name != "group_time"}
        return {"group_time": did.overall(self.effects), **others}

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Estimator, estimate, std_error, conf_low and conf_high of the estimators that gave an answer."""
        rows = [fit.glance(LEVEL).assign(estimator=name) for name, fit in self.fits.items() if not isinstance(fit, str)]
        return pd.concat(rows, ignore_index=True)[["estimator", "estimate", "std_error", "conf_low", "conf_high"]]

    @cached_property
    def in_percent(self) -> Estimates | str:
        """The effect as a share of what would have been sold."""
        return attempt(did.poisson_saturated, self.panel)

    @cached_property
    def decomposition(self) -> Estimates | str:
        """What the two-way coefficient is made of."""
        return attempt(did.bacon, self.panel)

    @cached_property
    def checks(self) -> list[Check]:
        """What the merchants' comparison rests on; a check that cannot be made limits it."""
        made = []
        for name, measure in _CHECKS.items():
            try:
                found = measure(self)
            except DesignError as reason:
                found = ("–", reason_in(self.reading.words.language, str(reason)), "limits")
            made.append(Check(self.reading.words(f"check_{name}"), *found))
        return made

    @property
    def verb(self) -> Verb:
        """What the first estimator's interval and all checks allow to be said."""
        states = [check.state for check in (*self.reading.checks, *self.checks)]
        return verb_for(self.spread, self.reading.level, states)

    @property
    def spread(self) -> Spread:
        """The first estimator's overall effect as a distribution, read as often as the headline."""
        return Spread(*did.overall(self.effects).average, np.inf, self.reading.widening)

    @property
    def told(self) -> str:
        """The verb with the size of the effect."""
        effect = self.amount(abs(float(self.rows["estimate"].iloc[0])), signed=False)
        return told(self.verb, self.spread, effect, self.reading.words)

    def amount(self, value: float, *, signed: bool = True) -> str:
        """Write an effect with its unit, all of a page with as many digits, and alike in every language."""
        money = METRICS[self.outcome].unit == "currency"
        unit = f"\u00a0{self.reading.unit}" * money
        return formats.number(value, self._digits, signed=signed) + unit

    @cached_property
    def _digits(self) -> int:
        ends = self.rows[["estimate", "conf_low", "conf_high"]].abs().to_numpy()
        top = float(np.nanmax(ends, initial=0.0))
        return min(6, max(0, 2 - floor(log10(top)))) if 0 < top < np.inf else 0

    def span(self, low: float, high: float) -> str:
        """Write two ends."""
        return self.reading.words.span(self.amount(low), self.amount(high))


def attempt(estimator: Callable[[Panel], Estimates], panel: Panel) -> Estimates | str:
    """Return what an estimator finds, or the sentence why it finds nothing."""
    try:
        return estimator(panel)
    except (DesignError, ParameterError) as reason:
        return str(reason)


def inside_pilots(reading: Reading, outcome: str = "gmv", control: Control = "not_yet") -> Inside | str:
    """Compare supported merchants with others of the pilot categories, in the weeks of the reading.

    Parameters
    ----------
    outcome
        A metric that is 0 where nothing was sold: gmv, orders, buyers or units.
    control
        "never": merchants never supported. "not_yet": these and those supported later.

    Returns
    -------
    Inside or str
        The sentence why nothing is compared; empty without a support table and for a placebo.

    Raises
    ------
    ParameterError
        If the outcome is no such metric, or the control is unknown.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> from strategy_kit.report import read_week
    >>> inside_pilots(read_week(sk.open_dataset("data/sample"))).effects.clusters
    (39, 29)
    """
    shop = reading.shop
    plain_metric(outcome, shop.columns("order_lines"))
    if control not in get_args(Control):
        known = get_args(Control)
        raise ParameterError(f"control is one of {', '.join(known)}, not {control!r}{nearest(control, known)}")
    if "support" not in shop.tables or shop.pilot.placebo:
        return ""
    weeks = reading.window
    try:
        panel = shop.panel(outcome, categories=shop.pilot.categories, **weeks).collected().untreated_at_first()
        effects = did.group_time(panel, control=control, base="universal")
        did.overall(effects)
    except DesignError as reason:
        return str(reason)
    if effects.clusters[0] < FEWEST:
        return f"only {effects.clusters[0]} supported merchants can be compared"
    return Inside(reading, outcome, control, panel, effects)


def synthetic_pair(reading: Reading) -> Estimates | str:
    """Compare the pilots' log totals with a weighted mean of the other categories, or say why not.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> from strategy_kit.report import read_week
    >>> synthetic_pair(read_week(sk.open_dataset("data/sample"))).clusters
    (3, 12)
    """
    return attempt(did.synthetic, reading.totals)


def _pretrend(inside: Inside) -> tuple[str, str, State]:
    test: Any = did.pretrend_test(inside.study).iloc[0]
    note = inside.reading.words("check_pretrend_note", n=formats.Count(test.degrees_of_freedom))
    value = f"p < {1e-3}" if test.p_value < 1e-3 else f"p = {test.p_value:.2g}"
    return value, note, "limits" if test.p_value < REJECTED else "holds"


def _drift(inside: Inside) -> tuple[str, str, State]:
    rows = did.pretrend_power(inside.study)
    rows = rows[(rows["test"] == "joint") & (rows["age"] >= 0)]
    say, bias = inside.reading.words, inside.amount(float(rows["bias"].mean()))
    slope = inside.amount(float(rows["slope"].iloc[0]))
    return slope, say("check_drift_note", bias=bias, estimate=inside.amount(inside.rows["estimate"].iloc[0])), "holds"


def _sensitivity(inside: Inside) -> tuple[str, str, State]:
    ages = inside.study.labels["age"].to_numpy()
    found = sensitivity.relative_magnitudes(inside.study, ages=ages[ages >= 0].tolist(), level=inside.reading.level)
    say, worst = inside.reading.words, inside.amount(found.worst_seen)
    if np.isnan(found.breakdown):
        return "–", say("check_sensitivity_none"), "holds"
    value = say("check_sensitivity_value", ratio=formats.number(found.breakdown, 2))
    return value, say("check_sensitivity_note", worst=worst), "holds"


def _uneven(inside: Inside) -> tuple[str, str, State]:
    panel, say = inside.panel, inside.reading.words
    category = np.zeros(len(panel.units)) if panel.category is None else panel.category.to_numpy()
    share = pd.Series(panel.cohort >= 0).groupby(category).mean()
    ends = {"low": formats.percent(share.min(), 0), "high": formats.percent(share.max(), 0)}
    return say("range_to", **ends), say("check_uneven_note"), "limits" if panel.uneven else "holds"


def _bases(inside: Inside) -> tuple[str, str, State]:
    rows = did.base_periods(inside.panel, control=inside.control)
    found = rows.loc[(rows["base"] == "varying") | (rows["window"] > 1), "estimate"]  # the universal base says the same
    note = inside.reading.words("check_bases_note", n=formats.Count(len(found)))
    return inside.span(found.min(), found.max()), note, "holds"


def _thin(inside: Inside) -> tuple[str, str, State]:
    thin = did.thin_cells(inside.effects, least=LEAST_UNITS)
    counts = {"n": formats.Count((thin["weight"] > 0).sum()), "least": LEAST_UNITS}
    return formats.percent(thin["weight"].sum()), inside.reading.words("check_thin_note", **counts), "holds"


def _forbidden(inside: Inside) -> tuple[str, str, State]:
    if isinstance(inside.decomposition, str):
        raise DesignError(inside.decomposition)
    share = forbidden_share(inside.decomposition)
    note = inside.reading.words("check_forbidden_note", most=formats.percent(MOST_FORBIDDEN, 0))
    return formats.percent(share), note, "limits" if share > MOST_FORBIDDEN else "holds"


def _agreement(inside: Inside) -> tuple[str, str, State]:
    rows = inside.rows.set_index("estimator")
    head, others = rows.loc["group_time"], rows.loc[rows.index.isin(SAME_AVERAGE), "estimate"]
    if others.empty:
        raise DesignError(str(inside.fits[SAME_AVERAGE[0]]))
    outside = int(((others < head["conf_low"]) | (others > head["conf_high"])).sum())
    say = inside.reading.words
    note = say("check_agreement_note", n=outside, all=len(others), range=inside.span(others.min(), others.max()))
    return (
        say("check_agreement_value", n=len(others) - outside, all=len(others)),
        note,
        "limits" if outside else "holds",
    )


_CHECKS: dict[str, Callable[[Inside], tuple[str, str, State]]] = {
    "pretrend": _pretrend, "drift": _drift, "sensitivity": _sensitivity, "uneven": _uneven, "bases": _bases,
    "thin": _thin, "forbidden": _forbidden, "agreement": _agreement,
}  # fmt: skip


def forbidden_share(decomposition: Estimates) -> float:
    """Return the weight of comparisons with units that are treated already."""
    types = decomposition.details["types"]
    return float(types.loc[types["type"].isin(FORBIDDEN), "weight"].sum())
