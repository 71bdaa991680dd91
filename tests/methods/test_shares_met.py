"""Shares of targets that are met: their errors, intervals and tests, and the chance that a set target promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from strategy_kit import targets
from strategy_kit.targets.setting import _quantiles

PROMISE, REACH = 0.9, 0.25


def test_quantiles_promise_exactly_what_exchangeable_draws_keep() -> None:
    rng, draws = np.random.default_rng(4), 20_000
    sample = np.sort(rng.normal(size=(draws, 19)), axis=1)
    new = rng.normal(size=draws)
    ends = np.array([_quantiles(row, (PROMISE, REACH)) for row in sample])
    for column, share in ((0, 0.9), (2, 0.25)):  # k = 2 and 15 of 20 places
        assert (new >= ends[:, column]).mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / draws))
    assert np.isnan(_quantiles(np.arange(8.0), (PROMISE, REACH))).all()  # one in ten of nine cannot be had


def test_shares_by_band_are_clustered_means() -> None:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"merchant_id": rng.integers(0, 60, 400), "size_band": "x"})
    rows["size_band"] = np.where(rows["merchant_id"] < 20, "small", "large")
    met = rng.random(400) < 0.3 + 0.005 * rows["merchant_id"]
    found: Any = targets.met_by_band(rows, met).set_index("size_band")
    for band, inside in (("all", np.full(400, True)), ("small", rows["size_band"] == "small")):
        part, owner = met[inside].astype(float), rows["merchant_id"][inside]
        fit = sm.OLS(np.asarray(part), np.ones(len(part))).fit(
            cov_type="cluster", cov_kwds={"groups": owner, "use_correction": False}
        )
        groups = owner.nunique()
        assert found.loc[band, "std_error"] == pytest.approx(fit.bse[0] * np.sqrt(groups / (groups - 1)), rel=1e-9)
    gap = found.loc["large", "met"] - found.loc["small", "met"]
    spread: Any = found["met"] * (1 - found["met"])
    error = found["std_error"] * np.sqrt(spread["all"] / spread)  # what it would be at the share of all
    law = sm.stats.stattools.stats.norm
    chance = 2 * law.sf(abs(gap / np.hypot(error["large"], error["small"])))
    assert found["p_value"].iloc[0] == pytest.approx(chance, rel=1e-6)
    draws = (law.ppf(0.975) / sm.stats.stattools.stats.t.ppf(0.975, found["clusters"] - 1)) ** 2 * spread
    draws /= found["std_error"] ** 2
    ends = sm.stats.proportion_confint(found["met"] * draws, draws, method="wilson")
    ours = found[["conf_low", "conf_high"]].to_numpy().T
    assert ours == pytest.approx(np.array(ends), rel=1e-9)


def test_a_band_that_met_all_is_not_known_exactly() -> None:
    rows = pd.DataFrame({"merchant_id": range(24), "size_band": np.repeat(["large", "small"], 12)})
    found = targets.met_by_band(rows, rows["merchant_id"] != 20).set_index("size_band")
    assert found.loc["large", ["met", "conf_high"]].tolist() == [1.0, 1.0]
    assert 0.6 < found.loc["large", "conf_low"] < 0.8
    # 11 of 12 against 12 of 12: Pearson's test, whose variance is that of the share of all
    gap, whole = 1 / 12, 23 / 24
    chance = 2 * sm.stats.stattools.stats.norm.sf(gap / np.sqrt(whole * (1 - whole) * (1 / 11 + 1 / 12)))
    assert found["p_value"].iloc[0] == pytest.approx(chance)
    assert (targets.met_by_band(rows, np.full(24, True))["p_value"] == 1).all()


@pytest.mark.parametrize("count", [10, 30])
def test_intervals_of_high_shares_hold(count: int) -> None:
    rng, rows = np.random.default_rng(11), pd.DataFrame({"merchant_id": range(count), "size_band": "small"})
    found = [targets.met_by_band(rows, rng.random(count) < 0.9).iloc[0] for _ in range(200)]
    held = [row["conf_low"] <= 0.9 <= row["conf_high"] for row in found]
    assert np.mean(held) > 0.95 - 4 * np.sqrt(0.05 * 0.95 / 200)


def test_fair_targets_are_called_unequal_as_seldom_as_the_level_says() -> None:
    rng, runs, seen = np.random.default_rng(6), 400, 0
    rows = pd.DataFrame({"merchant_id": np.arange(300) % 100})
    rows["size_band"] = np.array(["small", "middle", "large"])[rows["merchant_id"] % 3]
    for _ in range(runs):
        own = rng.normal(0, 0.1, 100)[rows["merchant_id"]]
        seen += targets.met_by_band(rows, rng.random(300) < 0.6 + own)["p_value"].iloc[0] < 0.05
    # a chi-squared law for some 33 clusters a band rejects a little too often: 0.05 to 0.08, and four deviations
    assert 0.01 < seen / runs < 0.08 + 4 * np.sqrt(0.07 * 0.93 / runs)
