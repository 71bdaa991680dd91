"""A result has no column that the glossary does not explain."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS, PERIODS = 48, 10
STARTS = (5, 7, np.nan)


def panel(*, category: bool, positive: bool = False, covariate: bool = False) -> Any:
    """A small balanced panel, assigned by unit or, with `category`, by category."""
    import strategy_kit as sk

    noise = np.random.default_rng(7).normal(size=(UNITS, PERIODS))
    unit, period = (grid.ravel() for grid in np.indices((UNITS, PERIODS)))
    frame = pd.DataFrame({"id": unit, "t": period, "y": noise.ravel(), "c": unit % 12})
    frame["g"] = np.where(frame["c"] < 3, 6.0, np.nan) if category else np.take(STARTS, unit % 3)
    frame["y"] = np.exp(frame["y"]) if positive else frame["y"]
    named: dict[str, Any] = {"category": "c"} if category else {}
    named |= {"covariates": ["x"]} if covariate else {}
    frame["x"] = np.random.default_rng(8).normal(size=UNITS)[unit]
    return sk.Panel.from_frame(frame, unit="id", period="t", outcome="y", treated_from="g", **named)


def wave_of_merchants() -> Any:
    """One start, 30 supported units and 90 others, outcomes above 0."""
    import strategy_kit as sk

    outcome = np.exp(np.random.default_rng(9).normal(size=(120, PERIODS)))
    return sk.Panel.from_matrix(outcome, treated_from=[7] * 30 + [0] * 90)


def pilot_fits() -> dict[str, Callable[[], Any]]:
    """Results for whole categories, and for eligible merchants inside them."""
    from strategy_kit import did

    pilots, eligible = panel(category=True), np.arange(UNITS) % 24 < 12
    return {
        "pilot_contrast": lambda: did.pilot_contrast(pilots),
        "pilot_path": lambda: did.pilot_path(pilots),
        "category_effects": lambda: did.category_effects(pilots),
        "within_categories": lambda: did.within_categories(pilots, eligible=eligible),
        "eligible_gap": lambda: did.pilot_contrast(did.eligible_gap(pilots, eligible)),
    }


def fits() -> dict[str, Callable[[], Any]]:
    """A result of each estimator, by its public name."""
    from strategy_kit import did
    from strategy_kit.did.categories import category_effects

    def effects() -> Any:
        return did.group_time(panel(category=False), control="never")

    def ladder() -> Any:
        given = panel(category=True, positive=True)
        return did.gross_to_net(given, np.arange(UNITS) % 24 < 3, take_rate=0.1, cost=1.0, cost_error=0.1)

    direct = ("two_way", "two_way_event_study", "sun_abraham", "saturated", "stacked", "imputation", "bacon")
    direct += ("synthetic", "synthetic_control", "poisson_saturated", "cohort_sizes", "composition", "base_periods")
    averages = ("event_study", "overall", "by_cohort", "by_period", "thin_cells", "pretrend_test")
    third = np.arange(UNITS) // 16
    doses, levers = pd.Series([1.0, 2.0, 0.0] * 16), pd.DataFrame({"a": [True, False, False] * 16})
    wave, chosen = wave_of_merchants(), did.Selection(early=(2, 3), late=(4, 5))
    return {
        "group_time": effects,
        **pilot_fits(),
        "past_growth": lambda: did.past_growth(wave, selection=chosen),
        "pre_selection": lambda: did.pre_selection(wave, selection=chosen),
        "selection_windows": lambda: did.selection_windows(wave, selection=chosen),
        "symmetric": lambda: did.symmetric(wave, window=(4, 5)),
        "just_below": lambda: did.just_below(
            wave, pd.Series(np.r_[np.full(30, 9.0), np.arange(90) / 10]), cut=9, width=3
        ),
        "attrition": lambda: did.attrition(wave),
        "lee_bounds": lambda: did.lee_bounds(wave, groups=pd.Series(np.arange(120) % 2)),
        "triple_difference": lambda: did.triple_difference(panel(category=False), np.arange(UNITS) % 2 == 0),
        "dose_response": lambda: did.dose_response(panel(category=False), doses, edges=[0, 1, 2]),
        "lever_effects": lambda: did.lever_effects(panel(category=False), levers.assign(b=~levers["a"] & (doses > 0))),
        "by_group": lambda: did.by_group(panel(category=False), pd.Series(third), did.group_time),
        "leave_one_out": lambda: did.leave_one_out(panel(category=False), pd.Series(third), did.group_time),
        "poisson": lambda: did.poisson(panel(category=False, positive=True)),
        "pretrend_power": lambda: did.pretrend_power(
            did.event_study(did.group_time(panel(category=False), base="universal"))
        ),
        "multiverse": lambda: did.multiverse(panel(category=True), windows=[2]),
        "multiverse_summary": lambda: did.multiverse_summary(did.multiverse(panel(category=True), windows=[2])),
        "balance": lambda: did.balance(panel(category=False, covariate=True)),
        "overlap": lambda: did.overlap(panel(category=False, covariate=True)),
        "gross_to_net": ladder,
        "rank_intervals": lambda: did.rank_intervals(did.by_cohort(effects()), 0.9),
        "new_category": lambda: did.new_category(category_effects(panel(category=True))),
        "return_per_yuan": lambda: did.return_per_yuan(ladder()),
        **{name: lambda name=name: getattr(did, name)(panel(category=False, positive=True)) for name in direct},
        **{name: lambda name=name: getattr(did, name)(effects()) for name in averages},
    }


def undefined(result: Any) -> set[str]:
    """Columns of a result that the glossary does not hold."""
    from strategy_kit.glossary import COLUMNS

    frames = (result,) if isinstance(result, pd.DataFrame) else (result.tidy(), result.glance())
    return {str(name) for frame in frames for name in frame.columns} - set(COLUMNS)


def test_every_meaning_is_a_phrase() -> None:
    from strategy_kit.glossary import COLUMNS

    assert not [name for name, meaning in COLUMNS.items() if len(meaning.split()) < 2 or not name.islower()]


def test_every_estimator_is_held_to_the_glossary() -> None:
    from strategy_kit import did

    functions = {name for name in did.__all__ if inspect.isfunction(getattr(did, name))}
    assert functions
    assert not functions - set(fits()), "add the new estimator to fits()"


def test_results_have_no_other_column() -> None:
    from strategy_kit import did

    made = {name: fit() for name, fit in fits().items() if name in did.__all__}
    assert made
    assert not {name: words for name, result in made.items() if (words := undefined(result))}


def test_a_new_column_is_seen() -> None:
    class Result:
        def tidy(self) -> pd.DataFrame:
            return pd.DataFrame(columns=["estimate", "t_stat"])

        def glance(self) -> pd.DataFrame:
            return pd.DataFrame(columns=["estimate"])

    assert undefined(Result()) == {"t_stat"}


@pytest.mark.parametrize("name", ["estimate", "std_error", "conf_low", "conf_high", "band_low", "band_high"])
def test_the_words_of_every_result_are_explained(name: str) -> None:
    from strategy_kit.glossary import COLUMNS

    assert name in COLUMNS
