"""Difference-in-differences on a simulated merchant panel: the kit against public packages for Python.

Estimates are compared before times are. The clock starts when the data are in memory and the same call was made once on a few
merchants: loading, imports and compilation lie before it. What a way cannot do at one size it is not asked at a larger one.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import measure
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (2_000, 20_000, 200_000, 1_000_000)
LIMITS = measure.Limits()
DRAWS, WARM, EQUAL = 999, 300, 1e-3  # the last of a standard error
SETTINGS = {"DIFF_DIFF_BACKEND": "rust"}  # diff-diff then refuses to run without its compiled core
SETTINGS["PYTHONHASHSEED"] = "0"  # standard errors of pyfixest 0.60 depend on it
KIT, STAGGERED = ("kit", "kit frame"), ("diff-diff", "csdid", "moderndid", "differences")
CASES = {
    "event_study": (*KIT, *STAGGERED),
    "bands": (*KIT, "kit draws", "kit frame draws", *STAGGERED),
    "doubly_robust": ("kit frame", *STAGGERED),
    **dict.fromkeys(("imputation_overall", "imputation"), (*KIT, "diff-diff", "did-imputation")),
    **dict.fromkeys(("two_way", "two_way_event_study"), (*KIT, "pyfixest", "linearmodels")),
    "sun_abraham": (*KIT, "diff-diff", "pyfixest"),
    **dict.fromkeys(("again", "daily"), (*KIT, "diff-diff")),
}
LAID_OUT = {"daily": [(20_000, 365)]}  # merchants and periods, where they are not the sizes asked for over 52 weeks
Answer = dict[str, list[float]]


def make(file: Path, units: int, periods: int) -> None:
    """Write a panel with two fifths never treated, where what merchants are like moves their start and their growth."""
    draw = np.random.default_rng(20_260)
    starts = [13, 21, 29, 37] if periods == 52 else np.linspace(60, 340, 20).astype(int)
    traits, period = draw.standard_normal((units, 2)), np.arange(1, periods + 1)
    leaning = 0.5 * traits[:, 0] + draw.standard_normal(units)
    start = np.where(leaning < np.quantile(leaning, 0.4), 0, draw.choice(starts, units))
    outcome = draw.standard_normal((units, periods)) + 3 * np.sin(period / 8) + draw.gamma(2.0, 2.0, (units, 1))
    outcome += (traits @ [0.4, 0.2])[:, None] * (period / periods)
    age = period - start[:, None]
    outcome += ((start[:, None] > 0) & (age >= 0)) * (0.2 + 0.005 * age)
    np.savez(file, outcome=outcome, starts=start, traits=traits)


def load(file: Path, way: str, case: str, units: int | None = None) -> Any:
    """Read the first `units` merchants and, for ways that read one, lay them out as a long frame in order."""
    with np.load(file) as parts:
        outcome, start, traits = (parts[name][:units] for name in ("outcome", "starts", "traits"))
    data = SimpleNamespace(outcome=outcome, starts=start, frame=None, panel=None, draws=way.endswith("draws"))
    if way in {"kit", "kit draws"}:
        return data
    n, periods = outcome.shape
    columns = {"unit": np.repeat(np.arange(n), periods), "week": np.tile(np.arange(1, periods + 1), n)}
    columns |= {"y": outcome.ravel(), "g": np.repeat(start, periods)}
    if case == "doubly_robust":
        columns |= {name: np.repeat(traits[:, k], periods) for k, name in enumerate(("x1", "x2"))}
    if case.startswith("two_way"):
        columns["age"] = np.where(columns["g"] > 0, columns["week"] - columns["g"], -1)
        columns["d"] = (columns["age"] >= 0).astype(float)
    data.frame = pd.DataFrame(columns, copy=False)
    return data


def answer(ages: Any, estimate: Any, std_error: Any, critical: Any = None) -> Answer:
    """Put estimates and standard errors by age; the critical value of a band beside them."""
    rows = zip(np.ravel(ages), np.ravel(estimate), np.ravel(std_error), strict=True)
    found = {str(int(age)): [float(value), float(error)] for age, value, error in rows if error > 0}
    return found if critical is None else found | {"critical": [float(critical)]}


def kit(case: str, data: Any) -> Answer:
    """Ask this library."""
    import strategy_kit as sk
    from strategy_kit.inference import Multiplier

    did, names = sk.did, {"unit": "unit", "period": "week", "outcome": "y", "treated_from": "g"}
    if data.panel is None and data.frame is None:
        data.panel = sk.Panel.from_matrix(data.outcome, treated_from=data.starts)
    elif data.panel is None:
        traits = ["x1", "x2"] if case == "doubly_robust" else None
        data.panel = sk.Panel.from_frame(data.frame, **names, covariates=traits)
    whole = {"imputation_overall": did.imputation, "two_way": did.two_way}
    if case in whole:
        return answer(0, *whole[case](data.panel).average)
    if case in {"imputation", "two_way_event_study", "sun_abraham"}:
        study = getattr(did, case)(data.panel)
    else:
        options: Any = {"inference": Multiplier(draws=DRAWS)} if data.draws else {}
        options["control"] = "never" if case == "again" else "not_yet"
        study = did.event_study(did.group_time(data.panel, **options))
    rows = study.tidy() if case == "bands" else None
    critical = None if rows is None else ((rows["band_high"] - rows["estimate"]) / rows["std_error"]).median()
    return answer(study.labels["age"], study.estimate, study.std_error, critical)


def diff_diff(case: str, data: Any) -> Answer:
    """Ask diff-diff."""
    package = importlib.import_module("diff_diff")
    names = {"data": data.frame, "outcome": "y", "unit": "unit", "time": "week", "first_treat": "g"}
    if case == "sun_abraham":
        rows = pd.DataFrame(package.SunAbraham().fit(**names).event_study_effects).T
        return answer(rows.index, rows["effect"], rows["se"])
    if case.startswith("imputation"):
        fit = package.ImputationDiD().fit(**names)
    else:
        control = "never_treated" if case == "again" else "not_yet_treated"
        traits, method = (["x1", "x2"], "dr") if case == "doubly_robust" else (None, "reg")
        options = {"estimation_method": method, "n_bootstrap": DRAWS * (case == "bands"), "seed": 1}
        fit = package.CallawaySantAnna(control_group=control, **options).fit(**names, covariates=traits)
    if case == "imputation_overall":
        return answer(0, fit.overall_att, fit.overall_se)
    study = fit.aggregate("event_study")
    return answer(study.event_time, study.att, study.se, study.cband_crit_value if case == "bands" else None)


def csdid(case: str, data: Any) -> Answer:
    """Ask csdid."""
    package = importlib.import_module("csdid.att_gt")
    draws = case == "bands"
    traits, method = ("~x1+x2", "dr") if case == "doubly_robust" else (None, "reg")
    effects = package.ATTgt("y", "week", "unit", "g", data.frame, "notyettreated", traits, cband=draws, biters=DRAWS)
    fit = effects.fit(est_method=method, bstrap=draws)
    study = fit.aggte("dynamic", bstrap=draws, cband=draws, biters=DRAWS).atte
    return answer(study["egt"], study["att_egt"], study["se_egt"], study["crit_val_egt"] if draws else None)


def moderndid(case: str, data: Any) -> Answer:
    """Ask moderndid."""
    package = importlib.import_module("moderndid")
    draws = {"boot": case == "bands", "cband": case == "bands", "biters": DRAWS, "random_state": 1}
    traits, method = ("~ x1 + x2", "dr") if case == "doubly_robust" else (None, "reg")
    options = {"xformla": traits, "est_method": method, "control_group": "notyettreated"}
    study = package.aggte(package.att_gt(data.frame, "y", "week", "unit", "g", **options, **draws), "dynamic", **draws)
    critical = np.median(study.critical_values) if case == "bands" else None
    return answer(study.event_times, study.att_by_event, study.se_by_event, critical)


def differences(case: str, data: Any) -> Answer:
    """Ask differences."""
    package = importlib.import_module("differences")
    draws = {"boot_iterations": DRAWS, "random_state": 1} if case == "bands" else {}
    formula, method = ("y ~ x1 + x2", "dr") if case == "doubly_robust" else ("y", "reg")
    frame = data.frame.assign(g=data.frame["g"].where(data.frame["g"] > 0).astype(float))
    model = package.ATTgt(frame.set_index(["unit", "week"]), "g")
    model.fit(formula, est_method=method, control_group="not_yet_treated", progress_bar=False, **draws)
    study = model.aggregate("event", **draws)
    value, error, _, upper = study.iloc[:, :4].to_numpy(float).T
    return answer(study.index, value, error, np.median((upper - value) / error) if case == "bands" else None)


def pyfixest(case: str, data: Any) -> Answer:
    """Ask pyfixest, with its options for little memory."""
    package = importlib.import_module("pyfixest")
    if case == "sun_abraham":
        fit = package.event_study(data.frame, "y", "unit", "week", "g", cluster="unit", estimator="saturated")
        return answer(fit.aggregate().index, *fit.aggregate()[["Estimate", "Std. Error"]].T.to_numpy())
    formula = "y ~ d | unit + week" if case == "two_way" else "y ~ i(age, ref=-1) | unit + week"
    fit = package.feols(formula, data.frame, vcov={"CRV1": "unit"}, lean=True, store_data=False, copy_data=False)
    ages = [0 if case == "two_way" else int(name.split("::")[1]) for name in fit.coef().index]
    return answer(ages, fit.coef(), fit.se())


def linearmodels(case: str, data: Any) -> Answer:
    """Ask linearmodels."""
    package = importlib.import_module("linearmodels")
    frame = data.frame.set_index(["unit", "week"])
    design = frame[["d"]].set_axis([0], axis=1)
    if case != "two_way":
        design = pd.get_dummies(frame["age"], dtype=float).drop(columns=-1)
    fit = package.PanelOLS(frame["y"], design.rename(columns=str), entity_effects=True, time_effects=True)
    found = fit.fit(cov_type="clustered", cluster_entity=True)
    return answer(design.columns, found.params, found.std_errors)


def did_imputation(case: str, data: Any) -> Answer:
    """Ask did-imputation."""
    package = importlib.import_module("did_imputation")
    frame = data.frame.assign(g=data.frame["g"].where(data.frame["g"] > 0).astype(float))
    found = package.did_imputation(frame, "y", "unit", "week", "g", allhorizons=case == "imputation", minn=0)
    return answer(range(len(found.estimates)), list(found.estimates.values()), list(found.std_errors.values()))


ASKED = (diff_diff, csdid, moderndid, differences, pyfixest, linearmodels, did_imputation)
PEERS = {work.__name__.replace("_", "-"): work for work in ASKED}


def ask(way: str, case: str, file: str) -> None:
    """Answer one case and print its cost and the answer."""
    work, data = PEERS.get(way, kit), load(Path(file), way, case)
    if case == "again":
        work("event_study", data)
    warm = partial(work, case, load(Path(file), way, case, WARM))
    measure.told(*measure.timed(partial(work, case, data), LIMITS, warm))


def compared(own: Answer, other: Answer) -> str:
    """Say how far estimates are apart, in standard errors, and standard errors as a share, at the ages of both."""
    ages = [age for age in own if age in other and age != "critical"]
    if not ages:
        return "NOTHING TO COMPARE"
    mine, theirs = (np.array([found[age] for age in ages]) for found in (own, other))
    gap, spread = (np.abs(theirs - mine) / mine[:, 1:]).max(axis=0)
    critical = f"; critical value {other['critical'][0]:.2f}" if "critical" in other else ""
    return f"{'equal' if gap <= EQUAL else 'DIFFER'}: {gap:.0e} SE, SE {spread:.0e}{critical}"


def answers(case: str, ways: Sequence[str], file: Path, refused: dict[str, str]) -> list[measure.Answer]:
    """Ask all ways in turns but those that were refused before; compare their answers and return the rows."""
    units = int(file.stem.split(" ")[0])
    pythons = {way: measure.PEERS_PYTHON if way in PEERS else sys.executable for way in ways}
    asks = {
        way: partial(measure.run, [python, __file__, "--ask", way, case, str(file)], LIMITS, SETTINGS)
        for way, python in pythons.items()
        if way not in refused
    }
    found = measure.in_turns(asks, LIMITS) | {way: {"failed": refused[way]} for way in ways if way in refused}
    own, rows = found[ways[0]].get("answer", {}), []
    for way in ways:
        if "failed" in found[way]:
            refused.setdefault(way, f"not asked: {found[way]['failed']} with {units:,} merchants")
        told = "reference" if way == ways[0] else compared(own, found[way].get("answer", {}))
        rows.append(measure.row(case, units, way, found[way], told))
        measure.show(rows[-1])
    return rows


def main() -> None:
    """Write each panel once, then let every way answer every case, from the smallest panel to the largest; record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("merchants", type=int, nargs="*", default=SIZES)
    parser.add_argument("--ways", default=",".join([*KIT, "kit draws", "kit frame draws", *PEERS]))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--threads", default=str(os.cpu_count()), help="of BLAS, for all")
    given = parser.parse_args()
    SETTINGS["OPENBLAS_NUM_THREADS"] = given.threads
    versions = measure.peers(list(PEERS))
    with tempfile.TemporaryDirectory() as scratch:
        for case in given.cases.split(","):
            ways, refused, rows = [way for way in CASES[case] if way in given.ways.split(",")], {}, []
            for units, periods in LAID_OUT.get(case, [(units, 52) for units in given.merchants]):
                file = Path(scratch) / f"{units} x {periods}.npz"
                if not file.exists():
                    make(file, units, periods)
                rows += answers(case, ways, file, refused)
            measure.record("did", rows, peers=versions, threads=given.threads)


if __name__ == "__main__":
    words = measure.asked()
    main() if words is None else ask(*words)
