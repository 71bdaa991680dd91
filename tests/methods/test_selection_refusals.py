"""What comparisons of chosen merchants refuse, each by its sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit import did
from strategy_kit.did import Selection
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray
GROWTH = Selection(early=(9, 12), late=(13, 16))


def growth_of(y: Array) -> Array:
    return y[:, 12:16].mean(axis=1) - y[:, 8:12].mean(axis=1)


def panel_of(y: Array, chosen: Array) -> Panel:
    return Panel.from_matrix(y, treated_from=np.where(chosen, 17, 0))


def small(seed: int) -> Panel:
    """28 periods, a fifth of 150 merchants supported by lot."""
    random = np.random.default_rng(seed)
    return panel_of(random.normal(size=(150, 28)), random.permutation(150) < 30)


def edited(**more: Any) -> Panel:
    return replace(small(14), **more)


TWO_STARTS = Panel.from_matrix(small(14).outcome, treated_from=[17] * 40 + [20] * 40 + [0] * 70)
CATEGORIES = pd.Series(np.where(small(14).cohort == 0, "a", np.where(np.arange(150) % 2, "b", "c")))
SCORE = pd.Series(np.arange(150.0))
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "window outside": (
        lambda: did.past_growth(small(1), selection=Selection(late=(13, 99))),
        DesignError,
        r"late window is \(13, 99\), but it is a first and a last period inside the panel's 1 to 28",
    ),
    "window reversed": (lambda: did.symmetric(small(1), window=(16, 13)), DesignError, "a first and a last period"),
    "no window": (lambda: did.symmetric(small(1), window="13"), DesignError, "a first and a last period"),
    "window of dates": (
        lambda: did.symmetric(small(1), window=("2025-01-06", "2025-01-13")),
        DesignError,
        "a first and a last period",
    ),
    "window after the start": (
        lambda: did.pre_selection(small(1), selection=Selection(late=(13, 17))),
        DesignError,
        "support starts at 17; take periods before it",
    ),
    "windows overlap": (
        lambda: did.past_growth(small(1), selection=Selection(early=(9, 13), late=(13, 16))),
        DesignError,
        "keep them apart",
    ),
    "all at once": (
        lambda: did.past_growth(
            replace(TWO_STARTS, outcome=np.where(np.arange(28) == 2, np.nan, TWO_STARTS.outcome)),
            selection=Selection(early=(9, 13), late=(0, 16)),
        ),
        DesignError,
        "breaks 3 laws.*unbalanced.*2 starts.*late window",
    ),
    "categories": (
        lambda: did.symmetric(edited(category=CATEGORIES), window=(13, 16)),
        DesignError,
        "assigned at category level.*pilot_contrast",
    ),
    "one unit": (
        lambda: did.symmetric(panel_of(small(1).outcome, np.arange(150) == 0), window=(13, 16)),
        DesignError,
        "1 are supported and 149 are not",
    ),
    "few clusters": (
        lambda: did.symmetric(edited(cluster=np.arange(150) % 4), window=(13, 16)),
        DesignError,
        "clusters",
    ),
    "nobody grew alike": (
        lambda: did.past_growth(panel_of(small(1).outcome, growth_of(small(1).outcome) > 0.3), selection=GROWTH),
        DesignError,
        "breaks 2 laws.*100% of the supported merchants grew beyond all unsupported.*just_below.*only 0 unsupported",
    ),
    "collinear": (
        lambda: did.past_growth(panel_of(np.arange(28.0) * np.ones((90, 1)), np.arange(90) < 30), selection=GROWTH),
        DesignError,
        "5 terms of the forecast have rank 1",
    ),
    "nothing before": (
        lambda: did.pre_selection(small(1), selection=Selection(late=(1, 16))),
        DesignError,
        "no period lies before the selection",
    ),
    "no mirror": (
        lambda: did.symmetric(small(1), window=(1, 2)),
        DesignError,
        "no period after the start.*mirror image",
    ),
    "gap too long": (lambda: did.symmetric(small(1), window=(13, 16), gap=12), DesignError, "a gap of 12"),
    "gap": (lambda: did.symmetric(small(1), window=(13, 16), gap=-1), ParameterError, "whole number of periods"),
    "uneven": (
        lambda: did.symmetric(
            Panel.from_matrix(small(1).outcome[:, :4], treated_from=[5] * 9 + [0] * 141, periods=[1, 2, 5, 9]),
            window=(2, 2),
        ),
        DesignError,
        "unequally spaced",
    ),
    "cut and width": (
        lambda: did.just_below(small(1), SCORE, cut=np.nan, width=0),
        ParameterError,
        "breaks 2 laws.*cut is a finite number.*width is a finite number above 0, not 0",
    ),
    "scores": (
        lambda: did.just_below(small(1), SCORE.iloc[1:], cut=500.0, width=1),
        DesignError,
        "breaks 3 laws.*1 merchants have no finite score.*supported holds 0.*just_below holds 0",
    ),
    "base": (
        lambda: did.just_below(small(1), SCORE, cut=100, width=10, base=(1, 17)),
        DesignError,
        "the base window is",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()
