"""All metrics in one table: corrections by hand and by simulation, nothing hidden, nothing undeclared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from strategy_kit import did
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.glossary import COLUMNS
from strategy_kit.inference import Student
from strategy_kit.panel import Panel
from strategy_kit.plan import Plan
from strategy_kit.planning.families import all_metrics

RNG = np.random.default_rng
PILOT = did.pilot_contrast(Panel.from_matrix(RNG(1).normal(size=(8, 6)), treated_from=[4] * 3 + [0] * 5))


def with_p(p_value: float) -> Any:
    """An effect whose overall two-sided p-value is this."""
    from scipy.stats import norm

    return replace(PILOT, average=(float(norm.isf(p_value / 2)), 1.0), law=(Student(),) * 3)


def test_holm_by_hand() -> None:
    """Three of 0.01, 0.03 and 0.04: 3 · 0.01, then 2 · 0.03, then the larger of 0.04 and 0.06."""
    given = {"gmv": with_p(0.04), "a": with_p(0.03), "b": with_p(0.01), "c": with_p(0.04), "d": with_p(0.02)}
    found = all_metrics(given, primary="gmv", families={"reach": ["a", "b", "c"], "quality": ["d"]})
    assert found["family"].tolist() == ["primary", "reach", "reach", "reach", "quality"]
    assert found["metric"].tolist() == ["gmv", "a", "b", "c", "d"]
    assert found["p_value"].tolist() == pytest.approx([0.04, 0.03, 0.01, 0.04, 0.02])
    assert found["p_adjusted"].tolist() == pytest.approx([0.04, 0.06, 0.03, 0.06, 0.02])
    assert found["survives"].tolist() == [True, False, True, False, True]
    assert found["missing_because"].tolist() == [""] * 5


def test_screening_by_hand() -> None:
    """Three of 0.01, 0.03 and 0.04: 3 / 1, 3 / 2 and 3 / 3 times, from the largest down."""
    given = {"gmv": with_p(0.5), "a": with_p(0.03), "b": with_p(0.01), "c": with_p(0.04)}
    found = all_metrics(given, primary="gmv", families={"reach": ["a", "b", "c"]}, correction="benjamini_hochberg")
    assert found["p_adjusted"].tolist() == pytest.approx([0.5, 0.04, 0.03, 0.04])
    assert found["survives"].tolist() == [False, True, True, True]
    assert not all_metrics(given, primary="gmv", families={"r": ["a", "b", "c"]}, level=0.99)["survives"].any()


def test_what_could_not_be_computed_is_shown_and_helps_nobody() -> None:
    lost = replace(PILOT, average=(1.0, np.nan))
    given = {"gmv": DesignError("too few pilots"), "a": with_p(0.02), "b": DesignError("no buyers"), "c": lost}
    found = all_metrics(given, primary="gmv", families={"reach": ["a", "b", "c", "d"]}).set_index("metric")
    assert found["missing_because"].tolist() == [
        "too few pilots",
        "",
        "no buyers",
        "the effect has no error",
        "it was declared, but no result was given",
    ]
    assert found.loc["a", "p_adjusted"] == pytest.approx(4 * 0.02)
    assert found.loc[["gmv", "b", "c", "d"], "p_adjusted"].isna().all()
    assert not found["survives"].any()
    assert found.loc["c", "estimate"] == 1.0


def test_numbers_are_those_of_the_estimates_and_the_plan_fits() -> None:
    plan = Plan(metric="gmv", families={"reach": ("orders",)}, level=0.9)
    found = all_metrics({"gmv": PILOT, "orders": PILOT}, primary=plan.metric, families=plan.families, level=plan.level)
    names = ["estimate", "std_error", "conf_low", "conf_high", "p_value"]
    for row in range(2):
        assert found.loc[row, names].tolist() == PILOT.glance(0.9).loc[0, names].tolist()
    assert found["p_adjusted"].tolist() == pytest.approx(found["p_value"].tolist())
    assert not set(found.columns) - set(COLUMNS)


@pytest.mark.parametrize("seed", range(4))
def test_corrections_equal_their_definitions(seed: int) -> None:
    names, p = list("abcdef"), RNG(seed).uniform(size=6) ** 3
    given = dict(zip(names, map(with_p, p), strict=True)) | {"gmv": PILOT}
    order, wanted = np.argsort(p), np.empty((2, 6))
    for place, at in enumerate(order):
        before, after = order[: place + 1], order[place:]
        wanted[0, at] = min(1, max((6 - k) * p[j] for k, j in enumerate(before)))
        wanted[1, at] = min(1, *(6 / (place + k + 1) * p[j] for k, j in enumerate(after)))
    for row, correction in enumerate(("holm", "benjamini_hochberg")):
        found = all_metrics(given, primary="gmv", families={"all": names}, correction=correction)
        assert found["p_adjusted"].tolist()[1:] == pytest.approx(wanted[row].tolist())


def test_refusals() -> None:
    with pytest.raises(ParameterError) as refusal:
        all_metrics(
            {"gmv": PILOT, "order": PILOT},
            primary="gmv",
            families={"primary": ["orders"], "reach": ["gmv"], "none": [], "text": "x"},
            correction="bonferroni",  # type: ignore[arg-type]
        )
    for words in (
        "'order' was not declared (did you mean 'orders'?)",
        "'gmv' is declared 2 times",
        "family 'none' has no metric",
        "a family is a list of metrics",
        "a family is called 'primary'",
        "correction is one of 'holm', 'benjamini_hochberg', not 'bonferroni'",
    ):
        assert words in str(refusal.value)
    with pytest.raises(ParameterError, match="level"):
        all_metrics({"gmv": PILOT}, primary="gmv", families={}, level=95)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["holm", "benjamini_hochberg"])
def test_corrections_equal_statsmodels(method: Any) -> None:
    from statsmodels.stats.multitest import multipletests

    for size in (1, 2, 7):
        p = np.round(RNG(size).uniform(size=size) ** 3, 2)  # rounded, so that some are tied
        given = {f"m{at}": with_p(float(value)) for at, value in enumerate(p)} | {"gmv": PILOT}
        found = all_metrics(given, primary="gmv", families={"all": [f"m{at}" for at in range(size)]}, correction=method)
        expected = multipletests(found["p_value"][1:], method={"holm": "holm"}.get(method, "fdr_bh"))[1]
        np.testing.assert_allclose(found["p_adjusted"][1:], expected, rtol=1e-12)  # the same products in another order
