"""A further category: worked numbers, what more pilots buy, the sentence, and how often intervals hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strategy_kit import did
from strategy_kit.did.categories import category_effects
from strategy_kit.did.transport import new_category
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel

RNG = np.random.default_rng
VALUE, ERROR = np.array([0.09, 0.05, 0.12]), np.array([0.02, 0.025, 0.03])


def panel(seed: int, effect: np.ndarray | None = None, noise: float = 1.0) -> Panel:
    """Sixteen periods of twelve categories, the first three piloted from the ninth on."""
    y = noise * RNG(seed).normal(size=(12, 16))
    y[:3, 8:] += (np.zeros(3) if effect is None else effect)[:, None]
    return Panel.from_matrix(y, treated_from=[9] * 3 + [0] * 9)


def rows(value: np.ndarray, covariance: np.ndarray) -> Any:
    """Categories with these effects and this covariance."""
    labels = pd.DataFrame({"group": [f"c{k}" for k in range(len(value))]})
    template = category_effects(panel(1))
    return replace(
        template, labels=labels, estimate=value, spread=covariance, n_units=np.ones(len(value), dtype=int), notes=()
    )


def test_three_categories() -> None:
    """Worked out once by hand with DerSimonian and Laird's tau² of 4.2 (in percent)."""
    result = new_category(rows(VALUE, np.diag(ERROR**2)), between="dersimonian_laird")
    ends = result.tidy().set_index("scope")[["conf_low", "conf_high"]]
    assert (100 * ends).round(1).to_numpy().tolist() == [[0.3, 16.7], [-26.6, 43.5]]
    assert result.glance()[["estimate", "conf_low", "degrees_of_freedom"]].round(4).to_numpy().tolist() == [
        [0.0847, 0.0027, 2]
    ]
    assert result.details["spread"]["tau"][0] ** 2 == pytest.approx(4.2013e-4, rel=1e-4)
    assert result.details["spread"]["p_value"][0] == pytest.approx(stats.chi2.sf(3.3795, 2), rel=1e-4)
    # A fourth with the average squared error, 6.417, makes 1 / error² of the mean 0.3875: t of 4.30 times √(4.201 + 2.580).
    said = (
        "3 categories hardly constrain a new one, whose effect may be three times the average or its opposite (95 % interval "
        "from -0.2658 to 0.4352, 10.0 times the span of the effects seen); with 4 it would be 68% narrower, with 5 77%, were "
        "they to spread alike"
    )
    assert result.notes == (said,)


def test_effects_that_are_all_the_same_have_no_span_to_compare_with() -> None:
    (said,) = new_category(rows(np.full(3, 0.5), np.diag(ERROR**2))).notes
    assert ", those seen were all the same); with 4" in said


def test_without_each_in_turn() -> None:
    value, error = np.append(VALUE, 0.3), np.append(ERROR, 0.02)
    found = new_category(rows(value, np.diag(error**2))).details["left_out"]
    assert found["left_out"].tolist() == ["c0", "c1", "c2", "c3"]
    for at, row in found.iterrows():
        rest = np.arange(4) != at
        alone = new_category(rows(value[rest], np.diag(error[rest] ** 2))).tidy()
        assert (
            row[["estimate", "conf_low", "conf_high"]].tolist()
            == alone.loc[0, ["estimate", "conf_low", "conf_high"]].tolist()
        )
        # The same roots and quantiles along two paths: on some processors their last bit differs.
        predicted = row[["predicted_low", "predicted_high"]].tolist()
        assert predicted == pytest.approx(alone.loc[1, ["conf_low", "conf_high"]].tolist(), rel=1e-14)
    three = new_category(rows(VALUE, np.diag(ERROR**2))).details["left_out"]
    assert np.isinf(three[["predicted_low", "predicted_high"]]).all(axis=None)


def test_what_further_pilots_would_buy() -> None:
    """With equal errors v, of which s is shared, the mean of k has error² (tau² + v - s) / k + s."""
    own, shared, value = 0.5, 0.2, np.array([1.0, 3.0, 6.0])
    result = new_category(rows(value, np.diag(np.full(3, own)) + shared))
    tau, found = result.details["spread"]["tau"][0], result.details["further"]
    assert tau**2 == pytest.approx(value.var(ddof=1) - own)
    assert found["categories"].tolist() == [3, 4, 5, 6]
    for row in found.itertuples():
        error = np.sqrt(tau**2 + (tau**2 + own) / row.categories + shared)
        ends = stats.t.interval(0.95, row.categories - 2, value.mean(), error)
        assert (row.predicted_low, row.predicted_high) == pytest.approx(ends, rel=1e-9)
    assert found["predicted_low"][0] == pytest.approx(result.tidy()["conf_low"][1])
    width = found["predicted_high"] - found["predicted_low"]
    assert found["relative_width"].tolist() == pytest.approx((width / width[0]).tolist())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([0.9, 1.0, 1.1]) + 99, "3 categories settle the sign of the effect in a new one"),
        (np.array([4.0, 5.0, 6.0]), "3 categories hardly constrain a new one"),
        (np.array([8.0, 10.0, 12.0, 9.0, 11.0, 2.0]), "6 categories do not settle the sign of the effect in a new one"),
    ],
)
def test_the_sentence_follows_the_numbers(value: np.ndarray, words: str) -> None:
    result = new_category(rows(value, np.diag(np.full(len(value), 0.01))))
    low, high = result.tidy().loc[1, ["conf_low", "conf_high"]]
    assert result.notes[-1].startswith(words)
    assert ("settle the sign" in words and "not" not in words) == (low > 0)
    assert ("hardly" in words) == (low <= -value.mean())
    assert f"from {low:.4g} to {high:.4g}" in result.notes[-1]


@pytest.mark.parametrize("tau", [0.0, 0.5, 2.0])
def test_intervals_hold_where_effects_come_from_one_population(tau: float) -> None:
    draws, rng, average, further = 300, RNG(7), 0, 0
    for draw in range(draws):
        effects = category_effects(panel(1_000 + draw, 2 + tau * rng.normal(size=3)))
        result = new_category(effects).tidy().set_index("scope")
        average += result.loc["average", "conf_low"] <= 2 <= result.loc["average", "conf_high"]
        further += result.loc["new", "conf_low"] <= 2 + tau * rng.normal() <= result.loc["new", "conf_high"]
    # Three binomial standard errors of 300 draws are 3.8 points; where effects are alike both are too wide.
    assert min(average, further) / draws >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws)


def test_refusals() -> None:
    with pytest.raises(ParameterError, match="but labels cohort, period"):
        new_category(did.group_time(Panel.from_matrix(RNG(1).normal(size=(20, 4)), treated_from=[3, 0] * 10)))
    with pytest.raises(DesignError, match="2 categories say nothing"):
        new_category(rows(VALUE[:2], np.eye(2)))
    with pytest.raises(DesignError, match="finite and above 0"):
        new_category(rows(VALUE, np.diag([1.0, np.nan, 1.0])))
