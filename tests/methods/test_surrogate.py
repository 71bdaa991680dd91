"""The surrogate index: what it promises holds where its assumptions do, and fails where they fail."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from strategy_kit import did, surrogate
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates

WEEKS, HORIZON, SPAN = 4, 20, 30
START = 24  # week in which support starts, after the training window


def drawn(rng: np.random.Generator, effect: float = 1.5, units: int = 240) -> dict[str, Panel]:
    """Sales follow orders at 10 and 1 each a week; support adds `effect` orders a week to half of the last third."""
    level = rng.gamma(4, 1, (units, 1))
    orders = level + rng.normal(0, 0.5, (units, SPAN))
    treated = np.arange(units) >= 2 * units // 3
    orders[treated, START:] += effect
    sales = 10 + orders + rng.normal(0, 1, (units, SPAN))
    starts = np.where(treated, START + 1, 0)
    return {
        name: Panel.from_matrix(y, treated_from=starts, name=name) for name, y in (("gmv", sales), ("orders", orders))
    }


def study(panel: Panel) -> Estimates:
    return did.event_study(did.group_time(panel))


def projected(panels: dict[str, Panel], past: int = 0) -> tuple[surrogate.Index, Estimates]:
    index = surrogate.fit_index(panels, weeks=WEEKS, horizon=HORIZON, past=past)
    effects = {name: study(panel) for name, panel in surrogate.without_season(panels).items()}
    return index, surrogate.long_run_effect(index, study(surrogate.index_panel(index, panels)), effects)


def test_the_long_run_effect_covers_what_the_index_means() -> None:
    """Against the effect on the best linear prediction, which is the estimand whatever the measures' noise."""
    large = surrogate.fit_index(drawn(np.random.default_rng(1), units=120_000), weeks=WEEKS, horizon=HORIZON)
    true = 1.5 * large.coefficients.sum()  # support moves sales and orders alike
    rng, runs = np.random.default_rng(2), 150
    rows = [projected(drawn(rng))[1].glance().iloc[0] for _ in range(runs)]
    held = np.mean([row["conf_low"] <= true <= row["conf_high"] for row in rows])
    # binomial; 80 and 160 units with normal critical values cost half a percent
    assert held == pytest.approx(0.945, abs=4 * np.sqrt(0.95 * 0.05 / runs))
    estimates = np.array([row["estimate"] for row in rows])
    assert estimates.mean() == pytest.approx(true, abs=4 * estimates.std() / np.sqrt(runs))
    errors = np.mean([row["std_error"] for row in rows])
    # a standard deviation of 150 draws has an error of 6%
    assert errors == pytest.approx(estimates.std(), rel=0.25)


def test_both_readings_bracket_a_lasting_effect() -> None:
    """A lasting 1.5 a week is worth 30; what the past takes out of the index is the part that it reads as noise."""
    panels = drawn(np.random.default_rng(3), units=6000)
    lasting, fresh = (projected(panels, past)[1].estimate[0] for past in (0, WEEKS))
    assert lasting == pytest.approx(30, rel=0.1)
    assert 0 < fresh < 0.85 * lasting


def test_a_direct_effect_breaks_surrogacy_and_is_not_seen() -> None:
    """What support does after the first weeks is in no measure of them: the note says so, the number cannot."""
    panels = drawn(np.random.default_rng(4), effect=0.0, units=3000)
    later = panels["gmv"].outcome.copy()
    later[2000:, START + WEEKS :] += 5
    index, found = projected(
        {"gmv": Panel.from_matrix(later, treated_from=[0] * 2000 + [START + 1] * 1000), "orders": panels["orders"]}
    )
    assert abs(found.estimate[0]) < 4 * found.std_error[0]
    assert set(index.assumptions) <= set(found.notes)
    assert [note.split(":")[0] for note in found.notes[-3:]] == ["surrogacy", "comparability", "season"]


def test_the_season_of_the_weeks_learnt_from_does_not_enter() -> None:
    """Weeks learnt from lie at half the level, weeks of support above it; a lasting tenth is worth a tenth of a learnt year."""
    rng, span, start = np.random.default_rng(0), 70, 60
    season = np.where(np.arange(span) < 10, 0.5, 1.1)
    own, treated = rng.uniform(1, 9, (300, 1)), np.arange(300) >= 250
    sales = own * season * np.exp(rng.normal(0, 0.02, (300, span)))
    sales[treated, start:] *= 1.1
    panels = {"gmv": Panel.from_matrix(sales, treated_from=np.where(treated, start + 1, 0), name="gmv")}
    index = surrogate.fit_index(panels, weeks=8, horizon=52)
    effects = {"gmv": study(surrogate.without_season(panels)["gmv"])}
    found = surrogate.long_run_effect(index, study(surrogate.index_panel(index, panels)), effects)
    true = 0.1 * own[treated].mean() * season[:52].sum()
    assert found.estimate[0] == pytest.approx(true, abs=2 * found.std_error[0])
    assert found.estimate[0] == pytest.approx(true, rel=0.08)


def test_a_swing_of_all_merchants_is_no_noise() -> None:
    """Everybody moves by 10 in every other fortnight: the order of merchants never changes."""
    sales = np.random.default_rng(0).uniform(1, 9, (200, 1)) + np.where(np.arange(52) % 4 < 2, 0.0, 10.0)
    card = surrogate.scorecard({"gmv": Panel.from_matrix(sales, treated_from=[0] * 200)})
    assert card["reliability"][0] == pytest.approx(1)


def test_held_out_merchants_are_predicted_without_themselves() -> None:
    panels = drawn(np.random.default_rng(5))
    index = surrogate.fit_index(panels, weeks=WEEKS, horizon=HORIZON, folds=4, seed=2)
    trained = index.fold >= 0
    assert trained.all()  # nobody was supported within the horizon
    value = panels["gmv"].outcome[:, :HORIZON].sum(axis=1)
    level = surrogate.without_season(panels).values()
    design = np.column_stack([*(p.outcome[:, :WEEKS].mean(axis=1) for p in level), np.ones(len(value))])
    for part in range(4):
        own = index.fold == part
        fitted = np.linalg.lstsq(design[~own], value[~own], rcond=None)[0]
        assert index.by_fold[part] == pytest.approx(fitted[:2])
        assert index.held_out["predicted"][own].to_numpy() == pytest.approx(design[own] @ fitted)
    calibration = index.calibration()
    assert calibration.attrs["slope_low"] < 1 < calibration.attrs["slope_high"]
    assert calibration["merchants"].sum() == len(value)
    assert calibration["predicted"].is_monotonic_increasing


def test_the_covariance_is_that_of_statsmodels() -> None:
    import statsmodels.api as sm

    panels = drawn(np.random.default_rng(6))
    index = surrogate.fit_index(panels, weeks=WEEKS, horizon=HORIZON)
    value = panels["gmv"].outcome[:, :HORIZON].sum(axis=1)
    level = surrogate.without_season(panels).values()
    design = np.column_stack([*(p.outcome[:, :WEEKS].mean(axis=1) for p in level), np.ones(len(value))])
    fit = sm.OLS(value, design).fit(cov_type="HC2")
    assert index.coefficients == pytest.approx(fit.params[:2])
    assert index.covariance == pytest.approx(fit.cov_params()[:2, :2])


def test_who_was_supported_within_the_horizon_is_not_learnt_from() -> None:
    panels = {"gmv": Panel.from_matrix(np.ones((90, SPAN)), treated_from=[5] * 20 + [START + 1] * 10 + [0] * 60)}
    index = surrogate.fit_index(panels, weeks=WEEKS, horizon=HORIZON)
    assert (index.fold >= 0).sum() == 70
    assert index.calibration()["merchants"].tolist() == [14] * 5


def test_the_scorecard_ranks_by_what_foretells() -> None:
    rng = np.random.default_rng(7)
    panels = drawn(rng, units=3000)
    noise = replace(panels["gmv"], outcome=rng.normal(0, 1, (3000, SPAN)))
    card: Any = surrogate.scorecard({**panels, "luck": noise}, weeks=WEEKS, horizon=HORIZON).set_index("metric")
    assert card.index[-1] == "luck"
    assert card.loc["luck", "r_squared"] < 0.01
    # variances: level 4, orders' own 0.25, sales' 1.25
    assert card.loc["orders", "reliability"] == pytest.approx(4 / 4.25, abs=0.01)
    assert card.loc["gmv", "reliability"] == pytest.approx(4 / 5.25, abs=0.02)
    assert (card.loc[["gmv", "orders"], "rank_correlation"] > 0.9).all()
    assert card["weeks_needed"].between(0, WEEKS).all()


def test_what_an_index_refuses() -> None:
    panels = drawn(np.random.default_rng(8))
    with pytest.raises(DesignError, match="needs 52 complete weeks, and there are 30"):
        surrogate.fit_index(panels, weeks=WEEKS)
    with pytest.raises(DesignError, match=r"50 merchants at least without support up to week 20 .*are 0"):
        surrogate.fit_index({"gmv": Panel.from_matrix(np.ones((60, 30)), treated_from=[3] * 60)}, weeks=4, horizon=20)
    with pytest.raises(ParameterError, match=r"2 laws.*weeks.*folds"):
        surrogate.fit_index(panels, weeks=0, folds=1)
    with pytest.raises(ParameterError, match="weeks lie before the horizon"):
        surrogate.scorecard(panels, weeks=20, horizon=20)
    idle = panels["gmv"].outcome.copy()
    idle[:, 2] = 0
    with pytest.raises(DesignError, match="gmv in week 3 of the panel is not above 0"):
        surrogate.without_season({"gmv": Panel.from_matrix(idle, treated_from=[0] * 240)})
    index = surrogate.fit_index(panels, weeks=WEEKS, horizon=HORIZON)
    with pytest.raises(ParameterError, match="give the same panels"):
        surrogate.index_panel(index, {"gmv": panels["gmv"]})
    strangers = {name: replace(panel, units=panel.units + 1000) for name, panel in panels.items()}
    with pytest.raises(ParameterError, match="give the same panels"):
        surrogate.index_panel(index, strangers)
    with pytest.raises(DesignError, match="only 6"):
        surrogate.first_weeks(study(panels["gmv"]), 7)


def test_panels_of_other_merchants_are_refused() -> None:
    rng = np.random.default_rng(1)
    level = rng.uniform(1, 9, (80, 1)) + rng.normal(0, 1, (80, 12))
    names = [f"m{number:02}" for number in range(80)]
    gmv = Panel.from_matrix(level, treated_from=[0] * 80, units=names)
    turned = Panel.from_matrix(level[::-1].copy(), treated_from=[0] * 80, units=names[::-1])
    gap = replace(gmv, outcome=np.where(np.eye(80, 12) > 0, np.nan, level))
    for other, law in ((turned, "the panel of orders has other units"), (gap, "the panel of orders has gaps")):
        for asked in (surrogate.fit_index, surrogate.scorecard):
            with pytest.raises(DesignError, match=law):
                asked({"gmv": gmv, "orders": other}, weeks=3, horizon=12)  # type: ignore[operator]
    with pytest.raises(ParameterError, match="at least one panel"):
        surrogate.fit_index({}, weeks=3, horizon=12)
    with pytest.raises(ParameterError, match=r"value names no panel: 'gvm' .did you mean 'gmv'"):
        surrogate.scorecard({"gmv": gmv}, weeks=3, horizon=12, value="gvm")
