"""Difference-in-differences on a simulated merchant panel: the kit against public packages for Python.

Each answer comes from a process of its own, in turns, and is compared before its time is. The clock starts when the data
are in memory and the same call was made once on a few merchants: loading, imports and compilation lie before it. Memory is
what the call adds to that at its peak (Linux). The peers live in an environment of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
PEERS_HOME = HERE.parent / ".peers"
PEERS_PYTHON = str(PEERS_HOME / "bin" / "python")
ROUNDS, SLOW = 3, 30.0  # what takes more CPU seconds is asked once
LIMIT, CAP = 120, 10.0  # CPU seconds, GB of the whole process
DRAWS, WARM, EQUAL = 999, 300, 1e-3  # the last of a standard error
SETTINGS = {"PYTHONWARNINGS": "ignore"}
SETTINGS["DIFF_DIFF_BACKEND"] = "rust"  # diff-diff then refuses to run without its compiled core
SETTINGS["PYTHONHASHSEED"] = "0"  # standard errors of pyfixest 0.60 depend on it
ABOUT = """import sys, importlib.metadata as m, diff_diff as d
print(*(f"{p} {m.version(p)}," for p in sys.argv[1:]), "compiled core of diff-diff", "on" if d.HAS_RUST_BACKEND else "OFF")"""
KIT, STAGGERED = ("kit", "kit frame"), ("diff-diff", "csdid", "moderndid")
CASES = {
    "event_study": (*KIT, *STAGGERED),
    "bands": (*KIT, "kit draws", "kit frame draws", *STAGGERED),
    "doubly_robust": ("kit frame", *STAGGERED),
    **dict.fromkeys(("imputation_overall", "imputation"), (*KIT, "diff-diff", "did-imputation")),
    **dict.fromkeys(("two_way", "two_way_event_study"), (*KIT, "pyfixest", "linearmodels")),
    "sun_abraham": (*KIT, "diff-diff", "pyfixest"),
    **dict.fromkeys(("again", "growth", "daily"), (*KIT, "diff-diff")),
}
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


PEERS = {f.__name__.replace("_", "-"): f for f in (diff_diff, csdid, moderndid, pyfixest, linearmodels, did_imputation)}


def held(field: str, process: int | str = "self") -> float:
    """Return VmRSS or VmHWM of a process in GB; 0 once it has ended."""
    found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{process}/status").read_text(encoding="ascii"))
    return int(found[1]) / 2**20 if found else 0.0


def ask(way: str, case: str, file: Path) -> None:
    """Answer one case and print its cost and the answer."""
    work, data = PEERS.get(way, kit), load(file, way, case)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    work(case, load(file, way, case, WARM))
    if case == "again":
        work("event_study", data)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = held("VmRSS")
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    began, clock = time.perf_counter(), time.process_time()
    found = work(case, data)
    cost = {"wall": time.perf_counter() - began, "cpu": time.process_time() - clock}
    print("\n" + json.dumps({**cost, "memory": held("VmHWM") - before, "answer": found}))


def run(way: str, case: str, file: Path) -> dict[str, Any]:
    """Answer one case in a process of its own, which is ended beyond the limits."""
    call = [PEERS_PYTHON if way in PEERS else sys.executable, __file__, "--ask", way, case, str(file)]
    pipe, peak = subprocess.PIPE, 0.0
    with subprocess.Popen(call, env={**os.environ, **SETTINGS}, stdout=pipe, stderr=pipe, text=True) as job:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, errors = job.communicate(timeout=0.05)
                break
            peak = max(peak, held("VmRSS", job.pid))
            if peak > CAP:
                job.kill()
    if job.returncode == 0:
        return json.loads(out.splitlines()[-1])
    over = {-signal.SIGPROF: f"over {LIMIT} s", -signal.SIGKILL: f"over {CAP:g} GB"}
    return {"failed": over.get(job.returncode, f"failed: {errors.strip()[-120:].splitlines()[-1:]}"), "peak": peak}


def compared(own: Answer, other: Answer) -> str:
    """Say how far estimates are apart, in standard errors, and standard errors as a share, at the ages of both."""
    ages = [age for age in own if age in other and age != "critical"]
    if not ages:
        return "NOTHING TO COMPARE"
    mine, theirs = (np.array([found[age] for age in ages]) for found in (own, other))
    gap, spread = (np.abs(theirs - mine) / mine[:, 1:]).max(axis=0)
    critical = f"; critical value {other['critical'][0]:.2f}" if "critical" in other else ""
    return f"{'equal' if gap <= EQUAL else 'DIFFER'} at {len(ages)}: {gap:.0e} SE, SE {spread:.0e}{critical}"


def measure(case: str, ways: list[str], file: Path) -> None:
    """Ask all ways in turns, compare their answers, print medians and their ratios to the kit from a matrix and a frame."""
    rounds = {way: [run(way, case, file)] for way in ways}
    for _ in range(ROUNDS - 1):
        for way, done in rounds.items():
            if done[-1].get("cpu", SLOW) < SLOW:
                done.append(run(way, case, file))
    heads = ["way", "wall, s", "CPU, s", "added, GB", *(f"{part} ÷ {way}'s" for way in KIT for part in ("wall", "CPU"))]
    print(f"\n{case}, {file.stem}\n\n| {' | '.join(heads)} | answers against the kit |\n|---|{'--:|' * 7}---|")
    own = rounds[ways[0]][0].get("answer", {})
    unit = {
        (part, way): statistics.median(one.get(part, np.nan) for one in rounds.get(way, [{}]))
        for way in KIT
        for part in ("wall", "cpu")
    }
    for way, done in rounds.items():
        if "failed" in done[-1]:
            print(f"| {way} | {done[-1]['failed']} | | {done[-1]['peak']:.1f} in all | | | | | |", flush=True)
            continue
        cost = {part: statistics.median(one[part] for one in done) for part in ("wall", "cpu", "memory")}
        times = " | ".join(f"{cost[part] / whole:.3g}" for (part, _), whole in unit.items())
        costs = f"{cost['wall']:.3f} | {cost['cpu']:.3f} | {cost['memory']:.3f} | {times.replace('nan', '')}"
        print(f"| {way} | {costs} | {compared(own, done[0]['answer'])} |", flush=True)


def prepare() -> None:
    """Make the environment of the peers on first use, and print what is in it."""
    if not Path(PEERS_PYTHON).exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS_HOME)], check=True)
        subprocess.run([PEERS_PYTHON, "-m", "pip", "install", "-q", "-r", str(HERE / "peers.txt")], check=True)
    subprocess.run([PEERS_PYTHON, "-c", ABOUT, *PEERS], check=True, env={**os.environ, **SETTINGS})


def main() -> None:
    """Write each panel once, then let every way answer every case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("merchants", type=int, nargs="?", default=200_000)
    parser.add_argument("--peers", default=",".join(PEERS), help="names, or none")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--threads", default=str(os.cpu_count()), help="of BLAS, for all")
    given = parser.parse_args()
    SETTINGS["OPENBLAS_NUM_THREADS"] = given.threads
    n, peers = given.merchants, given.peers.split(",")
    if peers != ["none"]:
        prepare()
    print(f"{os.cpu_count()} CPUs, BLAS threads for all: {given.threads}, load {os.getloadavg()[0]:.1f}", end="; ")
    print(f"medians of {ROUNDS} rounds (one above {SLOW:g} s); at most {LIMIT} s of CPU and {CAP:g} GB", flush=True)
    sizes = {"growth": [(n // 8, 52), (n // 4, 52), (n // 2, 52), (n, 52), (5 * n, 52)], "daily": [(n // 10, 365)]}
    with tempfile.TemporaryDirectory() as scratch:
        for case in given.cases.split(","):
            for units, periods in sizes.get(case, [(n, 52)]):
                file = Path(scratch) / f"{units:,} × {periods}.npz"
                if not file.exists():
                    make(file, units, periods)
                measure(case, [way for way in CASES[case] if way not in PEERS or way in peers], file)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        ask(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
