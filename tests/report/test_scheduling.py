"""The recipes for schedulers are read as their schedulers read them, and what they call is really run."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import nbformat
import papermill
import pytest
import yaml
from jinja2 import Template

from strategy_kit import errors
from strategy_kit.report.notebooks import load
from strategy_kit.report.parameters import declared, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SCHEDULES = ROOT / "docs" / "schedules"
DOC = ROOT / "docs" / "scheduling.md"
WEEK = "2025-W30"


def kinds(kind: type[errors.StrategyKitError] = errors.StrategyKitError) -> set[int]:
    """Every exit code of the tree of refusals."""
    return {kind.exit_code, *(code for child in kind.__subclasses__() for code in kinds(child))}


def table_of_codes() -> dict[int, str]:
    rows = re.findall(r"^\| (\d+) \| [^|]+ \|([^|]*)\|$", DOC.read_text(encoding="utf-8"), re.MULTILINE)
    return {int(code): again.strip() for code, again in rows}


def test_the_page_lists_every_exit_code_and_no_other() -> None:
    assert set(table_of_codes()) == kinds() | {0, 130}  # 130 is the command line's own, for the keyboard


@pytest.fixture
def kit(tmp_path: Path, sample: Path) -> SimpleNamespace:
    """A stand-in for a checkout with its .venv, a data set whose week is one notebook, and a folder for reports."""
    folder = tmp_path / "kit"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("docs", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    for name, words in (("strategy-kit", " -m strategy_kit.cli"), ("python", "")):
        script = folder / ".venv" / "bin" / name
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}"{words} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    data = tmp_path / "market"
    shutil.copytree(sample, data)
    text = (data / "dataset.toml").read_text(encoding="utf-8")
    (data / "dataset.toml").write_text(
        text.replace("[tables]", '[weekly]\ndata_check = ["en"]\n\n[tables]'), encoding="utf-8"
    )
    given = {"KIT": str(folder), "DATA": str(data), "REPORTS": str(tmp_path / "reports")}
    return SimpleNamespace(folder=folder, data=data, reports=tmp_path / "reports", given=given, home=tmp_path)


def call(command: list[str], given: dict[str, str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run as a scheduler does: a bare environment, no terminal."""
    bare = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
    bare |= {name: os.environ[name] for name in ("XDG_CACHE_HOME",) if name in os.environ}
    return subprocess.run(
        command, env=bare | given, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **more
    )


def published(reports: Path) -> dict[str, str]:
    """What readers can open, with what it holds."""
    found = (path for path in reports.rglob("*") if path.is_file())
    inside = (path for path in found if path.relative_to(reports).parts[0] not in (".locks", ".scratch", "failed"))
    return {str(path.relative_to(reports)): hashlib.sha256(path.read_bytes()).hexdigest() for path in inside}


def cron_job() -> tuple[dict[str, str], str, str]:
    """Read the crontab as cron does: assignments, then five fields and a command."""
    lines = (SCHEDULES / "crontab").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    (job,) = [line for line in lines if not re.match(r"[A-Z_]+=", line)]
    *when, command = job.split(None, 5)
    return settings, " ".join(when), command


def test_the_line_of_cron_runs_and_a_failure_is_all_that_it_mails(kit: SimpleNamespace) -> None:
    settings, when, command = cron_job()
    assert when == "15 6 * * 1"
    assert "%" not in command, "cron takes a percent sign for the end of the line"
    assert settings["MAILTO"].startswith("maintainer")
    given = settings | kit.given | {"WEEK": WEEK}
    good = call(["/bin/sh", "-c", command], given)
    assert (good.returncode, good.stdout, good.stderr) == (0, "", ""), "a good run mails nothing"
    before = published(kit.reports)
    assert any(name.endswith("data_check.html") for name in before)
    assert json.loads((kit.reports / "sample" / WEEK / "run.json").read_text(encoding="utf-8"))
    late = call(["/bin/sh", "-c", command], settings | kit.given)
    assert late.returncode == errors.LateData.exit_code
    assert late.stdout == ""
    assert late.stderr.startswith("strategy-kit weekly: week 20"), "the mail says what to do"
    (kit.data / "order_lines.parquet").unlink()
    broken = call(["/bin/sh", "-c", command], given)
    assert broken.returncode == errors.ContractError.exit_code
    assert "order_lines" in broken.stderr
    assert published(kit.reports) == before, "the last good report stays byte for byte"


def test_the_script_names_the_week_that_has_ended_and_hands_the_code_on(kit: SimpleNamespace) -> None:
    stub = kit.folder / ".venv" / "bin" / "strategy-kit"
    stub.write_text('#!/bin/sh\necho "$@"\nexit 75\n', encoding="utf-8")
    zone = "Pacific/Kiritimati"
    days = {dt.datetime.now(ZoneInfo(zone)).date()}
    called = call([str(SCHEDULES / "weekly.sh"), "-p", "note=a b"], kit.given | {"ZONE": zone})
    days |= {dt.datetime.now(ZoneInfo(zone)).date()}  # midnight may have passed
    assert called.returncode == 75
    weeks = {f"{day - dt.timedelta(days=7):%G-W%V}" for day in days}
    options = f"--out {kit.reports} --json -p note=a b\n"
    assert called.stdout in {f"weekly --data {kit.data} --week {week} {options}" for week in weeks}
    lagging = call([str(SCHEDULES / "weekly.sh")], kit.given | {"ZONE": zone, "DAYS_AGO": "14"})
    assert any(f"{day - dt.timedelta(days=14):%G-W%V}" in lagging.stdout for day in days)


@pytest.mark.parametrize("name", ["KIT", "DATA", "REPORTS"])
def test_the_script_does_not_start_without_its_folders(kit: SimpleNamespace, name: str) -> None:
    called = call([str(SCHEDULES / "weekly.sh")], {key: value for key, value in kit.given.items() if key != name})
    assert called.returncode != 0
    assert f"{name}: is the folder" in called.stderr


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """Read a unit file: its sections, each a list of keys and values."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (SCHEDULES / name).read_text(encoding="utf-8").splitlines():
        if head := re.fullmatch(r"\[(\w+)\]", line):
            rows = sections.setdefault(head[1], [])
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            rows.append((key, value))
    return sections


def test_systemd_retries_what_time_heals_and_tells_the_maintainer_of_the_rest() -> None:
    service = unit("strategy-kit-weekly.service")
    main, head = dict(service["Service"]), dict(service["Unit"])
    never = {int(code) for code in main["RestartPreventExitStatus"].split()}
    assert never == {code for code, told in table_of_codes().items() if told == "no"}
    assert main["Restart"] == "on-failure"
    assert main["Type"] == "oneshot"
    assert head["OnFailure"] == "strategy-kit-failed@%n.service"
    assert (SCHEDULES / "strategy-kit-failed@.service").is_file()
    tries, apart = int(head["StartLimitBurst"]), int(main["RestartSec"].removesuffix("min"))
    assert (tries - 1) * apart == 6 * 60, "six hours, as the page says"
    assert tries * apart <= 60 * int(head["StartLimitIntervalSec"].removesuffix("h")), "else it would be tried for ever"
    environment = dict(
        part.split("=") for key, value in service["Service"] if key == "Environment" for part in value.split()
    )
    assert environment["REPORTS"] == main["ReadWritePaths"]
    assert main["ExecStart"] == f"{environment['KIT']}/docs/schedules/weekly.sh"
    assert environment["XDG_CACHE_HOME"] == f"/var/cache/{main['CacheDirectory']}"
    assert dict(unit("strategy-kit-weekly.timer")["Timer"])["Persistent"] == "yes"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here; the test above reads the units")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    units = [path for path in SCHEDULES.iterdir() if path.suffix in (".service", ".timer")]
    assert len(units) == 3
    for path in units:
        text = path.read_text(encoding="utf-8").replace("/srv/strategy-kit", str(ROOT))
        text = re.sub(r"^User=.*$", "User=root", text, flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    for name in ("strategy-kit-weekly.service", "strategy-kit-weekly.timer", "strategy-kit-failed@.service"):
        named = [str(tmp_path / name.replace("@.", "@weekly."))] if "@" in name else [str(tmp_path / name)]
        if "@" in name:
            shutil.copy(tmp_path / name, named[0])
        told = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *named], capture_output=True, text=True, check=False
        )
        own = [line for line in (told.stdout + told.stderr).splitlines() if "strategy-kit" in line]
        assert own == []
    when = dict(unit("strategy-kit-weekly.timer")["Timer"])["OnCalendar"]
    told = subprocess.run(["systemd-analyze", "calendar", when], capture_output=True, text=True, check=True)
    assert f"Normalized form: {when}" in told.stdout


def test_the_maintainer_gets_the_end_of_the_journal(tmp_path: Path) -> None:
    for name, body in (
        ("journalctl", 'echo "journal $@"'),
        ("sendmail", f'cat > "{tmp_path}/mail"; echo "$@" > "{tmp_path}/to"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    failed = unit("strategy-kit-failed@.service")
    environment = dict(
        part.split("=") for key, value in failed["Service"] if key == "Environment" for part in value.split()
    )
    script, argument = dict(failed["Service"])["ExecStart"].split()
    assert argument == "%i"
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    called = call([str(SCHEDULES / Path(script).name), "weekly.service"], environment | path)
    assert (called.returncode, called.stderr) == (0, "")
    mail = (tmp_path / "mail").read_text(encoding="utf-8")
    assert mail.startswith("To: maintainer@example.org\nSubject: weekly.service failed on ")
    assert "journal --unit=weekly.service --lines=50 --no-pager" in mail
    assert (tmp_path / "to").read_text(encoding="utf-8") == "-t\n"


class Task:
    """Stands in for an operator: keeps what it was given; `a >> b` says that b follows a."""

    made: list[Task]

    def __init__(self, **given: Any) -> None:
        self.given, self.after = given, list[Task]()
        Task.made.append(self)

    def __rshift__(self, other: Task) -> Task:
        other.after.append(self)
        return other


class Bash(Task):
    """Stands in for BashOperator."""


class Papermill(Task):
    """Stands in for PapermillOperator, which hands its parameters to papermill.execute_notebook."""


@contextmanager
def dag(name: str, *, schedule: str, **given: Any) -> Iterator[None]:
    assert schedule == "15 6 * * 1"
    assert given["params"] == {"week": ""}
    yield


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch, kit: SimpleNamespace) -> dict[str, Task]:
    """The tasks of the DAG file by name, their templates filled in for a run that was started by hand."""
    modules = {
        "airflow.sdk": {"DAG": dag},
        "airflow.providers.papermill.operators.papermill": {"PapermillOperator": Papermill},
        "airflow.providers.standard.operators.bash": {"BashOperator": Bash},
        "pendulum": {"datetime": lambda *day, tz: dt.datetime(*day, tzinfo=ZoneInfo(tz))},
    }
    for name, content in modules.items():
        for end in [*(i for i, letter in enumerate(name) if letter == "."), len(name)]:
            monkeypatch.setitem(sys.modules, name[:end], ModuleType(name[:end]))
        for key, value in content.items():
            setattr(sys.modules[name], key, value)
    Task.made = []
    spec = importlib.util.spec_from_file_location("airflow_weekly", SCHEDULES / "airflow_weekly.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return {task.given["task_id"]: task for task in Task.made}


def filled(value: Any, kit: SimpleNamespace, week: str = WEEK) -> Any:
    """Fill templates in as Airflow does, with the folders of the test in the place of those of the file."""
    if isinstance(value, dict):
        return {key: filled(part, kit, week) for key, part in value.items()}
    if not isinstance(value, str):
        return value
    moment = SimpleNamespace(in_timezone=lambda zone: dt.datetime(2025, 7, 21, 6, 15, tzinfo=ZoneInfo(zone)))
    end = type("Moment", (), {"__sub__": lambda self, days: moment if days == dt.timedelta(days=7) else None})()
    macros, params = SimpleNamespace(timedelta=dt.timedelta), SimpleNamespace(week=week)
    text = Template(value).render(params=params, data_interval_end=end, macros=macros)
    places = {
        "/srv/strategy-kit": kit.folder,
        "/srv/market": kit.data,
        "/srv/reports": kit.reports,
        "/srv/work": kit.home,
    }
    for old, new in places.items():
        text = text.replace(old, str(new))
    return text


def bash(task: Task, kit: SimpleNamespace, **more: str) -> subprocess.CompletedProcess[str]:
    assert task.given["append_env"] is True
    command = task.given["bash_command"]
    assert not command.endswith((".sh", ".bash")), "Airflow would take the command for a file of templates"
    assert "{{" not in command, "values go in as environment"
    return call(["bash", "-c", command], filled(task.given["env"], kit) | more)


def test_airflow_calls_the_runner_and_its_json_is_the_last_line(flow: dict[str, Task], kit: SimpleNamespace) -> None:
    weekly = flow["weekly"]
    assert filled(weekly.given["env"]["WEEK"], kit, week="") == WEEK, "the week that ended before the run was due"
    good = bash(weekly, kit)
    assert good.returncode == 0, good.stderr
    told = json.loads(good.stdout.splitlines()[-1])
    assert (told["exit_code"], told["week"]) == (0, WEEK)
    before = published(kit.reports)
    hostile = f"{WEEK}; touch {kit.home}/owned"
    refused = bash(weekly, kit, WEEK=hostile)
    assert refused.returncode == errors.ParameterError.exit_code
    assert json.loads(refused.stdout.splitlines()[-1])["error"] == "ParameterError"
    assert not (kit.home / "owned").exists()
    assert published(kit.reports) == before


def test_around_papermill_parameters_are_admitted_and_cells_judged(flow: dict[str, Task], kit: SimpleNamespace) -> None:
    admit, execute, judge = (flow[name] for name in ("admit", "execute", "judge"))
    assert (execute.after, judge.after) == ([admit], [execute])
    given = filled(execute.given, kit)
    assert given["kernel_name"] == "strategy-kit"
    source = Path(given["input_nb"])
    values = resolve(declared(load(source)), given["parameters"])
    assert (values["data"], values["week"]) == (str(kit.data), WEEK)
    assert bash(admit, kit).returncode == 0
    late = call(["bash", "-c", admit.given["bash_command"].replace("week=", "wek=")], filled(admit.given["env"], kit))
    assert late.returncode == errors.ParameterError.exit_code
    assert "'wek' is not a parameter of the notebook" in late.stderr
    page = kit.reports / f"kpi_review_{WEEK}.html"
    executed = Path(given["output_nb"])
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[-1].source = "raise SystemExit(0)"
    nbformat.write(notebook, kit.home / "left.ipynb")
    papermill.execute_notebook(  # what the operator does, with a notebook that leaves early: papermill is content
        str(kit.home / "left.ipynb"),
        str(executed),
        parameters=given["parameters"],
        kernel_name="python3",
        progress_bar=False,
    )
    refused = bash(judge, kit)
    assert refused.returncode == errors.NotebookError.exit_code
    assert "judge: " in refused.stderr
    assert not page.exists()
    papermill.execute_notebook(
        str(source), str(executed), parameters=given["parameters"], kernel_name="python3", progress_bar=False
    )
    good = bash(judge, kit)
    assert good.returncode == 0, good.stderr
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def workflow() -> dict[str, Any]:
    return dict(yaml.safe_load((SCHEDULES / "github.yml").read_text(encoding="utf-8")))


def test_the_workflow_keeps_the_ledger_of_good_runs_alone() -> None:
    whole = workflow()
    assert whole["permissions"] == {"contents": "read"}
    assert whole["concurrency"]["cancel-in-progress"] is False
    assert whole[True]["schedule"] == [{"cron": "15 22 * * 0"}]  # YAML 1.1 reads the key `on` as true
    steps = whole["jobs"]["weekly"]["steps"]
    uses = [str(step.get("uses", step.get("name"))).split("@")[0] for step in steps]
    run = uses.index("Run")
    assert (
        uses.index("actions/cache/restore")
        < run
        < uses.index("actions/cache/save")
        < uses.index("actions/upload-artifact")
    )
    save, upload = steps[uses.index("actions/cache/save")], steps[uses.index("actions/upload-artifact")]
    assert "if" not in save, "only after a good run"
    assert upload["if"] == "${{ !cancelled() }}"
    assert {save["with"]["path"], upload["with"]["path"]} == {whole["jobs"]["weekly"]["env"]["REPORTS"]}


def test_the_steps_of_the_workflow_run_and_a_failure_is_not_lost_in_the_pipe(kit: SimpleNamespace) -> None:
    whole = workflow()
    assert whole["defaults"]["run"]["shell"] == "bash"
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]  # as GitHub starts it where bash is asked for
    steps = {step["name"]: step["run"] for step in whole["jobs"]["weekly"]["steps"] if "run" in step}
    assert list(steps) == ["Install", "Run"]
    assert steps["Install"].split() == ["make", ".venv/.ready"]
    assert re.search(r"^\.venv/\.ready:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    given = whole["jobs"]["weekly"]["env"] | {"DATA": str(kit.data), "WEEK": WEEK}
    good = call([*shell, steps["Run"]], given, cwd=kit.folder)
    assert good.returncode == 0, good.stderr
    assert json.loads((kit.folder / "run.json").read_text(encoding="utf-8"))["exit_code"] == 0
    before = published(kit.folder / "reports")
    late = call([*shell, steps["Run"]], given | {"WEEK": ""}, cwd=kit.folder)
    assert late.returncode == errors.LateData.exit_code
    assert published(kit.folder / "reports") == before
