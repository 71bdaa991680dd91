"""Every estimator against R: did 2.5.1, fixest 0.14.2, didimputation 0.5.0 and bacondecomp 0.1.1."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit import did
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.estimates import Estimates

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
# Both sides compute in doubles with sums of a few hundred terms; R prints 17 significant digits.
TIGHT: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-15}
# R's logit stops when the deviance moves by less than 1e-8 of itself; ours goes on to the last digit.
LOGIT: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-12}
AVERAGES = {"simple": did.overall, "dynamic": did.event_study, "group": did.by_cohort, "calendar": did.by_period}
LABEL = {"dynamic": "age", "group": "cohort", "calendar": "period"}
CASES = [
    ("s1_balanced", "never_varying"),
    ("s1_balanced", "notyet_varying"),
    ("s1_balanced", "never_universal"),
    ("s1_balanced", "notyet_varying_a1"),
    ("s2_unbalanced", "never_varying_drop"),
    ("s2_unbalanced", "never_varying"),
    ("s2_unbalanced", "notyet_varying"),
    *(("s3_covariates", f"{way}_{control}_varying") for way in ("reg", "ipw", "dr") for control in ("never", "notyet")),
]
METHOD = {"reg": "regression", "ipw": "weighting", "dr": "doubly_robust"}
MPDTA = [(control, a, base) for control in ("never", "not_yet") for a in (0, 1) for base in ("varying", "universal")]


def truth(case: str, configuration: str) -> tuple[dict[str, Any], Estimates]:
    """What R found, and what we find with the same options."""
    expected = json.loads((REFERENCE / case / "truth.json").read_text())["results"][configuration]
    frame = pd.read_csv(REFERENCE / case / "panel.csv.gz")
    given = {"covariates": ["x1", "x2"]} if expected["xformla"] != "~1" else {}
    panel = Panel.from_frame(frame, unit="unit", period="period", outcome="y", treated_from="cohort", **given)
    options = {
        "method": METHOD[expected["est_method"]],
        "control": {"nevertreated": "never", "notyettreated": "not_yet"}[expected["control_group"]],
        "anticipation": expected["anticipation"],
        "base": expected["base_period"],
    }
    return expected, did.group_time(panel.complete_units() if configuration.endswith("drop") else panel, **options)


def near(configuration: str) -> dict[str, Any]:
    return LOGIT if configuration.startswith(("ipw", "dr")) else TIGHT


def numbers(values: Any) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


@pytest.mark.parametrize(("case", "configuration"), CASES)
def test_cells_equal_r(case: str, configuration: str) -> None:
    expected, effects = truth(case, configuration)
    rows, cells = effects.tidy(), expected["att_gt"]
    assert rows["cohort"].tolist() == cells["group"]
    assert rows["period"].tolist() == cells["t"]
    np.testing.assert_allclose(rows["estimate"], cells["att"], **near(configuration))
    np.testing.assert_allclose(rows["std_error"], numbers(cells["se"]), **near(configuration))
    with gzip.open(REFERENCE / case / expected["cov_file"], "rt") as file:
        covariance = np.loadtxt(file, delimiter=",")
    missing = np.isnan(numbers(cells["se"]))
    covariance[missing, :] = covariance[:, missing] = np.nan
    # Entries near zero are differences of terms up to the largest variance: its rounding is what can be asked of them.
    digits = near(configuration)["rtol"]
    np.testing.assert_allclose(effects.covariance, covariance, rtol=digits, atol=1e-3 * digits * np.nanmax(covariance))


@pytest.mark.parametrize("kind", AVERAGES)
@pytest.mark.parametrize(("case", "configuration"), CASES)
def test_averages_equal_r(case: str, configuration: str, kind: str) -> None:
    expected, effects = truth(case, configuration)
    found, average = expected["aggte"][kind], AVERAGES[kind](effects)
    top = average.glance().iloc[0]
    close = near(configuration)
    np.testing.assert_allclose(
        [top["estimate"], top["std_error"]], [found["overall_att"], found["overall_se"]], **close
    )
    rows = average.tidy()
    if kind == "simple":
        assert rows[["estimate", "std_error"]].to_numpy().tolist() == [[top["estimate"], top["std_error"]]]
        return
    assert rows[LABEL[kind]].tolist() == found["egt"]
    np.testing.assert_allclose(rows["estimate"], found["att"], **close)
    np.testing.assert_allclose(rows["std_error"], numbers(found["se"]), **close)
    if kind == "dynamic":
        held = np.isfinite(numbers(found["se"]))
        covariance = np.array(found["cov"], dtype=float)
        ours = average.covariance[np.ix_(held, held)]
        np.testing.assert_allclose(
            ours, covariance[np.ix_(held, held)], rtol=close["rtol"], atol=1e-3 * close["rtol"] * np.nanmax(covariance)
        )


def test_units_that_lack_a_period_are_counted_as_r_counts_them() -> None:
    expected, effects = truth("s2_unbalanced", "never_varying_drop")
    assert effects.notes == ("200 of 350 units lacked a period and were left out",)
    assert sum(effects.clusters) == expected["n_units"] == 150


@pytest.mark.parametrize("covariates", [[], ["lpop"]], ids=["alone", "lpop"])
@pytest.mark.parametrize("estimator", ["reg", "ipw", "dr"])
@pytest.mark.parametrize(("control", "anticipation", "base"), MPDTA)
def test_mpdta_equals_r(
    shared: Path, covariates: list[str], estimator: str, control: str, anticipation: int, base: str
) -> None:
    frame = pd.read_csv(shared / "truth/public/mpdta.csv.gz")
    named = {"unit": "countyreal", "period": "year", "outcome": "lemp", "treated_from": "first.treat"}
    panel = Panel.from_frame(frame, **named, covariates=covariates)
    options: dict[str, Any] = {"control": control, "anticipation": anticipation, "base": base}
    effects = did.group_time(panel, **options, method=METHOD[estimator])
    word = {"never": "nevertreated", "not_yet": "notyettreated"}[control]
    chosen = f"control == '{word}' and est == '{estimator}' and x == '~{''.join(covariates) or 1}' and base == '{base}'"
    chosen += f" and anticipation == {anticipation}"
    cells = pd.read_csv(shared / "truth/public/did_mpdta_attgt.csv.gz").query(chosen)
    rows = effects.tidy()
    # The reference has 15 significant digits.
    near = {"rtol": 1e-11, "atol": 1e-14} if estimator == "reg" else LOGIT
    assert len(cells)
    assert rows[["cohort", "period"]].to_numpy().tolist() == cells[["group", "t"]].to_numpy().tolist()
    np.testing.assert_allclose(rows[["estimate", "std_error"]], cells[["att", "se"]], **near)
    averages = pd.read_csv(shared / "truth/public/did_mpdta_aggte.csv.gz").query(chosen)
    for kind, average in ((kind, AVERAGES[kind](effects)) for kind in AVERAGES):
        found = averages[averages["type"] == kind]
        top = found[found["egt"].isna()][["att", "se"]]
        np.testing.assert_allclose(average.glance()[["estimate", "std_error"]], top, **near)
        if kind != "simple":
            each = found[found["egt"].notna()]
            assert average.labels.iloc[:, 0].tolist() == each["egt"].tolist()
            np.testing.assert_allclose(average.tidy()[["estimate", "std_error"]], each[["att", "se"]], **near)


COLUMNS = {
    "mpdta": {"unit": "countyreal", "period": "year", "outcome": "lemp", "treated_from": "first.treat"},
    "base_stagg": {"unit": "id", "period": "year", "outcome": "y", "treated_from": "year_treated"},
}
PLAIN: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-14}


def public(shared: Path, name: str) -> Panel:
    """A published panel; its never treated carry a start beyond the last period."""
    return Panel.from_frame(pd.read_csv(shared / f"truth/public/{name}.csv.gz"), **COLUMNS[name])


def whole(result: Estimates) -> tuple[list[float], list[float]]:
    return [result.average[0]], [result.average[1]]


def rows(result: Estimates) -> tuple[Any, Any]:
    return result.estimate, result.std_error


Both = tuple[Any, Any]
PUBLISHED: dict[str, tuple[str, str, str, Callable[[Panel], Both]]] = {
    "two-way": ("fixest", "mpdta_twfe_static", "mpdta", lambda p: rows(did.two_way(p))),
    "two-way event study": (
        "fixest",
        "base_stagg_twfe_event",
        "base_stagg",
        lambda p: rows(did.two_way_event_study(p)),
    ),
    "Sun-Abraham, mpdta": ("fixest", "mpdta_sunab_period", "mpdta", lambda p: rows(did.sun_abraham(p))),
    "Sun-Abraham overall, mpdta": ("fixest", "mpdta_sunab_att", "mpdta", lambda p: whole(did.sun_abraham(p))),
    "Sun-Abraham": ("fixest", "base_stagg_sunab_period", "base_stagg", lambda p: rows(did.sun_abraham(p))),
    "Sun-Abraham overall": ("fixest", "base_stagg_sunab_att", "base_stagg", lambda p: whole(did.sun_abraham(p))),
    "imputation": ("didimputation_mpdta", "static", "mpdta", lambda p: whole(did.imputation(p))),
    "imputation by age": ("didimputation_mpdta", "horizon_pretrends", "mpdta", lambda p: rows(did.imputation(p))),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_regressions_and_imputation_equal_r(shared: Path, case: str) -> None:
    file, name, data, estimate = PUBLISHED[case]
    expected = json.loads((shared / f"truth/public/{file}.json").read_text())["results"][name]
    found = estimate(public(shared, data))
    np.testing.assert_allclose(found[0], expected["estimate"], **PLAIN)
    np.testing.assert_allclose(found[1], expected["se"], **PLAIN)


BACON = {
    "castle": ("castle_min", {"unit": "state", "period": "year", "outcome": "l_homicide"}, "post"),
    "math_reform": ("math_reform", {"unit": "state", "period": "class", "outcome": "incearn_ln"}, "reform_math"),
}


@pytest.mark.parametrize("case", BACON)
def test_bacon_equals_r(shared: Path, case: str) -> None:
    file, columns, treated = BACON[case]
    frame = pd.read_csv(shared / f"truth/public/{file}.csv.gz")
    first = frame[frame[treated] > 0].groupby(columns["unit"])[columns["period"]].min()
    panel = Panel.from_frame(frame.assign(g=frame[columns["unit"]].map(first)), **columns, treated_from="g")
    result = did.bacon(panel)
    expected = json.loads((shared / "truth/public/bacondecomp.json").read_text())["results"][case]
    theirs = pd.DataFrame({name: expected[name] for name in ("treated", "untreated", "estimate", "weight", "type")})
    theirs["comparison"] = theirs["untreated"].astype(str).replace("99999", "never treated")
    both = result.tidy().merge(theirs, left_on=["cohort", "comparison"], right_on=["treated", "comparison"])
    assert len(both) == len(theirs) == len(result.labels)
    np.testing.assert_allclose(both["estimate_x"], both["estimate_y"], **PLAIN)
    np.testing.assert_allclose(both["weight_x"], both["weight_y"], **PLAIN)
    assert (
        both["type_x"] == both["type_y"].str.lower().replace("treated vs untreated", "treated vs never treated")
    ).all()
    np.testing.assert_allclose(result.average[0], expected["sum_weight_times_estimate"], **PLAIN)


@pytest.mark.parametrize("kind", ["repeated_cs", "unbalanced_allowed", "unbalanced_balanced_by_dropping"])
def test_cross_sections_and_unbalanced_panels_equal_r(shared: Path, kind: str) -> None:
    cells = pd.read_csv(shared / "truth/public/did_mpdta_rc_unbalanced.csv.gz").query(f"kind == '{kind}'")
    file = "mpdta" if kind == "repeated_cs" else "mpdta_unbalanced"
    columns = COLUMNS["mpdta"] | ({"unit": None} if kind == "repeated_cs" else {})
    panel = Panel.from_frame(pd.read_csv(shared / f"truth/public/{file}.csv.gz"), **columns)
    found = did.group_time(panel.complete_units() if kind.endswith("dropping") else panel).tidy()
    # the reference has 15 significant digits, and cells are differences of means near 6
    np.testing.assert_allclose(found[["estimate", "std_error"]], cells[["att", "se"]], rtol=1e-10, atol=1e-13)
