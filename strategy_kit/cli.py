"""The command line: a thin skin over the library, with one sentence and one exit code for every refusal."""

from __future__ import annotations

import argparse
import atexit
import datetime as dt
import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import ParameterError, StorageError, StrategyKitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strategy_kit.report.parameters import Parameter
    from strategy_kit.report.run import Run

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, which `strategy_kit.errors` lists.

    Examples
    --------
    >>> main(["check", "data/sample", "--json"])  # doctest: +ELLIPSIS
    table ...
    {"command": "check", ...}
    0
    """
    given = _parser().parse_args(arguments)
    atexit.register(gc.freeze)  # the process ends: to free its modules one by one would take a fifth of a second
    try:
        result = given.run(given)
    except KeyboardInterrupt:
        print(f"strategy-kit {given.command}: stopped from the keyboard", file=sys.stderr)
        if given.json:
            print(json.dumps({"command": given.command, "error": "Stopped", "exit_code": 130}))
        return 130
    except (StrategyKitError, OSError) as problem:
        error = problem if isinstance(problem, StrategyKitError) else StorageError(f"cannot read or write: {problem}")
        print(f"strategy-kit {given.command}: {error}", file=sys.stderr)
        if given.json:
            print(json.dumps({"command": given.command, "error": type(error).__name__, "exit_code": error.exit_code}))
        return error.exit_code
    if given.json:
        print(
            json.dumps(
                {"command": given.command, **result, "exit_code": result.get("exit_code", 0)}, ensure_ascii=False
            )
        )
    return int(result.get("exit_code", 0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="strategy-kit", description="Honest strategy analysis, from orders to one offline page."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text)
        added.add_argument("--json", action="store_true", help="print one line of JSON last")
        added.set_defaults(run=run)
        return added

    simulate = command("simulate", _simulate, "write a simulated marketplace with known truth")
    simulate.add_argument("out", metavar="OUT", type=Path)
    for option, default in (("seed", 7), ("merchants", 3000), ("weeks", 78)):
        simulate.add_argument(f"--{option}", type=int, default=default)
    simulate.add_argument(
        "--knob",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the world does to the analyst, from 0 to 1; docs/methods/simulator.md has the names",
    )
    imported = command("import", _import, "turn published files into a data set")
    imported.add_argument("source", choices=["olist", "online-retail"])
    imported.add_argument("files", metavar="SRC", type=Path)
    imported.add_argument("out", metavar="OUT", type=Path)
    imported.add_argument("--pilot-date", metavar="MONDAY", help="first day of the placebo pilot (olist only)")
    check = command("check", _check, "run every law of the data contract; exit 4 if one of severity error is broken")
    check.add_argument("data", metavar="DATA", type=Path)
    check.add_argument(
        "--totals", metavar="FILE", type=Path, help="compare with this file of weekly totals, then renew it"
    )
    plan = command("plan", _plan, "show the plan, its fingerprint and its seal")
    plan.add_argument("data", metavar="DATA", type=Path)
    plan.add_argument("--seal", action="store_true", help="write plan.seal, so that a later change of the plan shows")
    run = command("run", _run, "run a notebook and publish its page")
    run.add_argument("notebook", metavar="NOTEBOOK")
    weekly = command("weekly", _weekly, "run every notebook of the weekly plan and publish all pages, or none")
    for added in (run, weekly):
        added.add_argument("--data", required=True, metavar="DATA", type=Path)
        added.add_argument("--week", metavar="2025-W30", help="the last complete week by default")
        added.add_argument("--out", default="reports", metavar="FOLDER", type=Path)
        added.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE")
        added.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    new = command("new", _new, "write a notebook of your own, which run and weekly accept")
    new.add_argument("name", metavar="NAME")
    new.add_argument("--folder", default="notebooks", metavar="FOLDER", type=Path)
    command("doctor", _doctor, "say what this machine has and lacks for reports")
    return parser


def _simulate(given: argparse.Namespace) -> Result:
    from strategy_kit.simulate import World, simulate

    world = World.of({name: _strength(name, text) for name, text in map(_pair, given.knob)})
    folder = simulate(given.out, seed=given.seed, merchants=given.merchants, weeks=given.weeks, world=world)
    print(f"simulated market written to {folder}")
    return {"folder": str(folder)}


def _import(given: argparse.Namespace) -> Result:
    from strategy_kit.importers import import_olist, import_online_retail

    when = {} if given.pilot_date is None else {"pilot_date": _date(given.pilot_date)}
    if when and given.source != "olist":
        raise ParameterError(f"{given.source} ran no pilot, not even a placebo; leave out --pilot-date")
    importer = import_olist if given.source == "olist" else import_online_retail
    report = importer(given.files, given.out, **when)
    print(report.to_string(index=False))
    print(f"data set written to {given.out}")
    return {"folder": str(given.out)}


def _check(given: argparse.Namespace) -> Result:
    from strategy_kit.formats import Count
    from strategy_kit.health import read_totals
    from strategy_kit.opening import open_dataset

    if given.totals is not None and given.totals.is_dir():
        raise ParameterError(f"--totals names a file, and {given.totals} is a folder; name a file in it")
    shop = open_dataset(given.data)
    known = given.totals is not None and given.totals.is_file()
    issues = shop.check(read_totals(given.totals) if known else None)
    broken = issues[issues["rows"] > 0].sort_values(["severity", "rows"], ascending=[True, False])
    print(_laws_table(issues))
    errors = Count((broken["severity"] == "error").sum())
    warnings = Count(len(broken) - errors)
    for row, n in zip(broken.itertuples(), map(Count, broken["rows"]), strict=True):
        law = f"{row.severity}: {row.table}: {row.check}: {n} {n:row|rows}, first: {row.example}; {row.remedy}"
        print(law, file=sys.stderr)
    if given.totals is not None and not errors:
        given.totals.parent.mkdir(parents=True, exist_ok=True)
        fresh = given.totals.with_name(f".{given.totals.name}.fresh")
        shop.totals().to_csv(fresh, index=False, lineterminator="\n")
        fresh.replace(given.totals)
    told = f"{errors} {errors:error|errors}, {warnings} {warnings:warning|warnings}"
    print(f"{len(issues)} laws: {len(issues) - len(broken)} kept, {told}")
    return {"laws": len(issues), "errors": errors, "warnings": warnings, "exit_code": 4 if errors else 0}


def _laws_table(issues: Any) -> str:
    shown = issues[["table", "check", "severity", "rows", "share"]]
    return str(shown.to_string(index=False, justify="left", formatters={"share": "{:.4%}".format}))


_SEALS = {
    "unsealed": "nothing shows that this plan is older than the outcomes",
    "sealed_after": "this plan was sealed when outcomes could be known already",
    "changed": "this plan is not the one that was sealed",
}


def _plan(given: argparse.Namespace) -> Result:
    from strategy_kit.opening import open_dataset
    from strategy_kit.plan import write_seal

    shop = open_dataset(given.data)
    about, plan = shop.description, shop.plan
    starts = {} if about.pilot is None else about.pilot.starts
    seal = write_seal(given.data, plan, starts, shop.data_through) if given.seal else about.seal
    state = "unsealed" if seal is None else seal.state(plan, starts)
    through = None if seal is None else str(seal.data_through)
    decided = {"owner": plan.owner, "next_decision": None if plan.next_decision is None else str(plan.next_decision)}
    shown = {**plan.binding, **decided, "fingerprint": plan.fingerprint, "seal": state, "sealed_through": through}
    if not plan.declared:
        print("no plan was declared; these values stand in for one")
    elif state != "sealed_before":
        print(f"{_SEALS[state]}: its looks buy no narrower interval")
    for name, value in shown.items():
        print(f"{name:15} {'-' if value is None else value}")
    return {"declared": plan.declared, **shown}


def _run(given: argparse.Namespace) -> Result:
    from strategy_kit.report.notebooks import find, load
    from strategy_kit.report.parameters import declared
    from strategy_kit.report.run import run

    typed = _typed(given, lambda: declared(load(find(given.notebook))))
    return _published(
        run(given.notebook, data=given.data, out=given.out, week=given.week, parameters=typed, timeout=given.timeout)
    )


def _weekly(given: argparse.Namespace) -> Result:
    from strategy_kit.opening import open_dataset
    from strategy_kit.report.batch import parameters_of, run_week

    typed = _typed(given, lambda: parameters_of(open_dataset(given.data)))
    return _published(
        run_week(data=given.data, out=given.out, week=given.week, parameters=typed, timeout=given.timeout)
    )


def _typed(given: argparse.Namespace, known: Callable[[], Mapping[str, Parameter]]) -> dict[str, Any]:
    from strategy_kit.report.parameters import parse

    texts = dict(_pair(text) for text in given.parameter)
    return parse(known(), texts) if texts else {}


def _published(done: Run) -> Result:
    for page in done.pages:
        print(page)
    for notebook, reason in done.left_out.items():
        print(f"left out: {notebook}, since {reason}")
    if done.headline:
        print(done.headline)
    told: Result = {"html": str(done.html), "headline": done.headline, "week": done.week, "run_id": done.run_id}
    told |= {"pages": [str(page) for page in done.pages], "left_out": done.left_out, "seconds": done.seconds}
    return told | {"record": str(done.html.parent / "run.json"), "index": str(done.html.parent.parent / "index.html")}


def _new(given: argparse.Namespace) -> Result:
    from strategy_kit.report.new import new_notebook

    path = new_notebook(given.name, given.folder)
    print(f"{path} is yours: open it with 'make lab', publish it with 'strategy-kit run {given.name} --data DATA'")
    return {"notebook": str(path)}


def _doctor(given: argparse.Namespace) -> Result:  # noqa: ARG001
    import importlib.metadata
    import importlib.util
    import platform
    import shutil
    import subprocess

    found = {"python": platform.python_version()}
    for package in ("altair", "duckdb", "nbconvert", "numpy", "pandas", "papermill", "vl-convert-python"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing: install the locked packages with 'make report'"
    lab = importlib.util.find_spec("jupyterlab")
    found["jupyterlab"] = "present" if lab else "absent: needed only for 'make lab'"
    spark = importlib.util.find_spec("pyspark") and shutil.which("java")
    found["spark"] = "present, with Java" if spark else "absent, or without Java: needed only for data sets on Spark"
    found["chromium"] = shutil.which("chromium") or "absent: needed only for browser tests and PDF"
    listing = shutil.which("fc-list")
    fonts = (
        subprocess.run([listing, ":lang=zh", "family"], capture_output=True, text=True, check=False)
        if listing
        else None
    )
    chinese = (
        fonts.stdout.splitlines()[0]
        if fonts and fonts.stdout.strip()
        else "absent: readers use their own; PDF needs one here"
    )
    found["chinese font"] = chinese
    for name, state in found.items():
        print(f"{name:20} {state}")
    return {"found": found, "exit_code": int(any(state.startswith("missing") for state in found.values()))}


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ParameterError(f"a parameter is written name=value, not {text!r}")
    return name, value


def _strength(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ParameterError(f"a knob is a number from 0 to 1, like {name}=0.5, not {text!r}") from None


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ParameterError(f"a date is written like 2018-02-05, not {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())
