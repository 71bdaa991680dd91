"""A run publishes a whole report, or fails with its own exit code and changes nothing that readers see."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from strategy_kit.errors import (
    BusyError,
    ContractError,
    ExportError,
    KernelDied,
    NotebookError,
    ParameterError,
    RunTimeout,
    Stopped,
    StorageError,
    StrategyKitError,
)
from strategy_kit.periods import parse_week
from strategy_kit.plan import Plan
from strategy_kit.report import jobs
from strategy_kit.report.notebooks import judge
from strategy_kit.report.run import Run, run

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNER = sys.modules[run.__module__]  # the package re-exports the function under the same name
SECRET = "s3cret-{of}-'demo'"
PARAMETERS = "week: str = None  # ISO week\ndata: str = None\nnote: str = 'none'\napi_token: str = ''"
CLAIM = f"""\
import hashlib
from IPython.display import display
assert (week, note) == ("2025-W30", "it's \\n中 {{x}}")
assert hashlib.sha256(api_token.encode()).hexdigest() == "{hashlib.sha256(SECRET.encode()).hexdigest()}"
display({{"application/vnd.strategy-kit.claim+json": {{"headline": "First"}}}}, raw=True)
display({{"application/vnd.strategy-kit.claim+json": {{"headline": "GMV may have risen"}}}}, raw=True)
"""
GIVEN = {"note": "it's \n中 {x}", "api_token": SECRET}


def write(folder: Path, name: str, *sources: str, parameters: str = PARAMETERS, tag: str = "") -> Path:
    cells = [new_markdown_cell("# Report"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(source, metadata={"tags": [tag]} if tag else {}) for source in sources]
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def tree(folder: Path) -> dict[str, str]:
    """Every file, link and folder below, with what it holds."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


def stub_export(notebook: Path, html: Path, **_: object) -> None:
    """Stand in for the exporter: the page holds all that the notebook holds."""
    html.write_text(f"<!doctype html>{notebook.read_text(encoding='utf-8')}", encoding="utf-8")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A data set in stub, an exporter in stub, and one good published report."""
    folder = tmp_path_factory.mktemp("run{braces}")
    data = folder / "demo"
    data.mkdir()
    (data / "dataset.toml").write_text("name = 'demo'\n")
    (data / "lines.csv").write_text("a,b\n1,2\n")
    shop = SimpleNamespace(
        name="demo",
        week=lambda text: parse_week(text) if text else dt.date(2025, 7, 21),
        files={"order_lines": (data / "lines.csv",)},
        tables=("order_lines",),
        plan=Plan(),
        data_through=dt.date(2025, 7, 30),
        settled_through=dt.date(2025, 7, 30),
        totals=lambda: pd.DataFrame({"week": [pd.Timestamp(2025, 7, 21)], "lines": 1, "orders": 1, "gmv": 2.0}),
        description=SimpleNamespace(timezone="Asia/Shanghai", title="", synthetic=True, pilot=None),
    )
    opening, export = ModuleType("strategy_kit.opening"), ModuleType("strategy_kit.report.export")
    opening.open_dataset = lambda _: shop  # type: ignore[attr-defined]
    export.export = stub_export  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "strategy_kit.opening", opening)
        patch.setitem(sys.modules, "strategy_kit.report.export", export)
        source = write(folder, "weekly_report", CLAIM, "# nothing but a comment", "")
        out = folder / "reports"
        good = run(source, data=data, out=out, week="2025-07-24", parameters=GIVEN)
        yield SimpleNamespace(folder=folder, data=data, out=out, source=source, good=good, shop=shop, export=export)


def start(desk: SimpleNamespace, notebook: str | Path, **options: Any) -> Run:
    return run(notebook, **{"data": desk.data, "out": desk.out, "week": "2025-W30", **options})


def refused(desk: SimpleNamespace, kind: type[StrategyKitError], notebook: str | Path, **options: Any) -> str:
    """Run, expect the error of this very class, hold what is published still; return the message."""
    before = tree(desk.out / "demo")
    with pytest.raises(kind) as caught:
        start(desk, notebook, **options)
    assert type(caught.value) is kind
    assert tree(desk.out / "demo") == before
    assert not list((desk.out / ".scratch").iterdir())
    return str(caught.value)


def filed(desk: SimpleNamespace, message: str, code: int) -> Path:
    """Return the folder that a message ends with, after a look at the reason in it."""
    folder = desk.out / "failed" / message.rpartition("/")[2]
    assert message.endswith(str(folder))
    reason, exit_code, remedy = (folder / "error.txt").read_text(encoding="utf-8").splitlines()
    assert message.startswith(reason)
    assert exit_code == f"exit code: {code}"
    assert remedy.startswith("what to do: ")
    return folder


def test_a_good_run_publishes_page_notebook_and_manifest(desk: SimpleNamespace) -> None:
    good, week = desk.good, desk.out / "demo" / "2025-W30"
    assert (good.html, good.notebook) == (week / "weekly_report.html", week / "weekly_report.ipynb")
    assert (good.headline, good.week) == ("GMV may have risen", "2025-W30")
    assert week.readlink() == (desk.out / "demo" / "latest").readlink() == Path("runs") / good.run_id
    executed = nbformat.read(good.notebook, as_version=4)
    assert [cell.execution_count for cell in executed.cells[1:5]] == [1, 2, 3, 4]
    assert executed.metadata.papermill.input_path == "weekly_report.ipynb"  # and no path of this machine
    assert executed.metadata.papermill.parameters["week"] == "2025-W30"
    assert not list((desk.out / ".scratch").iterdir())


def test_the_manifest_tells_the_truth(desk: SimpleNamespace) -> None:
    entry = json.loads(desk.good.manifest.read_text(encoding="utf-8"))["reports"]["weekly_report"]
    lines = desk.data / "lines.csv"
    assert entry["html_sha256"] == hashlib.sha256(desk.good.html.read_bytes()).hexdigest()
    assert entry["notebook"]["sha256"] == hashlib.sha256(desk.source.read_bytes()).hexdigest()
    assert entry["data"][1] == {
        "table": "order_lines", "name": "lines.csv", "bytes": 8,
        "sha256": hashlib.sha256(lines.read_bytes()).hexdigest(),
    }  # fmt: skip
    assert entry["run_id"] == desk.good.run_id
    assert entry["headline"] == "GMV may have risen"
    assert entry["packages"]["papermill"]
    assert dt.datetime.fromisoformat(entry["started"]).utcoffset() == dt.timedelta(0)


def test_no_published_file_holds_a_secret(desk: SimpleNamespace) -> None:
    files = [path for path in desk.out.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert "s3cret" not in path.read_text(encoding="utf-8"), path
    note = nbformat.read(desk.good.notebook, as_version=4)
    assert "api_token = '[redacted]'" in note.cells[2].source
    assert note.metadata.papermill.parameters["api_token"] == "[redacted]"
    assert (
        json.loads(desk.good.manifest.read_text())["reports"]["weekly_report"]["parameters"]["api_token"]
        == "[redacted]"
    )


def test_a_second_notebook_joins_the_week(desk: SimpleNamespace) -> None:
    page = desk.good.html.read_bytes()
    other = start(desk, write(desk.folder, "merchants", "1 + 1"))
    assert other.headline is None
    assert other.html.is_file()
    assert desk.good.html.read_bytes() == page
    assert set(json.loads(other.manifest.read_text())["reports"]) == {"weekly_report", "merchants"}


def test_a_notebook_without_week_is_undated(desk: SimpleNamespace) -> None:
    done = start(desk, write(desk.folder, "stock", "n", parameters="n: int = 1"), week=None)
    assert (done.week, done.html) == (None, desk.out / "demo" / "undated" / "stock.html")
    assert "'week' is not a parameter of the notebook" in refused(desk, ParameterError, desk.folder / "stock.ipynb")


@pytest.mark.parametrize(
    ("source", "kind", "pieces"),
    [
        ("1 / 0", NotebookError, ["cell [3] of broken stopped with ZeroDivisionError"]),
        ("raise SystemExit(0)", NotebookError, ["cell [3]", "SystemExit: 0"]),
        ("import os; os.kill(os.getpid(), 9)", KernelDied, ["killed"]),
        ("from strategy_kit.errors import ContractError; raise ContractError('amount is negative')",
         ContractError,
         ["amount is negative; the unfinished"]),
    ],
    ids=["error", "SystemExit", "killed", "ContractError"],
)  # fmt: skip
def test_a_failing_cell_fails_the_run(
    desk: SimpleNamespace, source: str, kind: type[StrategyKitError], pieces: list[str]
) -> None:
    write(desk.folder, "broken", source, "'after'")
    message = refused(desk, kind, desk.folder / "broken.ipynb", parameters={"api_token": SECRET})
    folder = filed(desk, message, kind.exit_code)
    assert all(piece in message for piece in pieces)
    half = (folder / "broken.ipynb").read_text(encoding="utf-8")
    assert "[redacted]" in half
    assert "s3cret" not in half
    assert str(desk.out) not in half


def test_the_time_allowed_is_for_all_cells_together(desk: SimpleNamespace) -> None:
    write(desk.folder, "slow", "import time", *["time.sleep(1)"] * 30)
    began = time.monotonic()
    message = refused(desk, RunTimeout, desk.folder / "slow.ipynb", timeout=2.5)
    assert time.monotonic() - began < 20  # half a minute of cells would need 30
    filed(desk, message, 6)
    assert "2.5 seconds" in message


def test_sigterm_stops_the_kernel_and_files_the_failure(desk: SimpleNamespace) -> None:
    mark = desk.folder / "pid"
    note_pid = f"import os, pathlib, time; pathlib.Path({str(mark)!r}).write_text(str(os.getpid()))"
    write(desk.folder, "long", note_pid,
          "time.sleep(60)")  # fmt: skip

    def stop() -> None:
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=stop, daemon=True).start()
    filed(desk, refused(desk, Stopped, desk.folder / "long.ipynb"), 143)
    assert signal.getsignal(signal.SIGTERM) is handler
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_failed_export_after_a_good_run_publishes_nothing(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(notebook: Path, html: Path, **_: object) -> None:
        html.write_text("half")
        raise ExportError(f"{notebook.name} loads a script from elsewhere; take it out")

    monkeypatch.setattr(desk.export, "export", broken)
    message = refused(desk, ExportError, desk.source, parameters=GIVEN)
    assert (filed(desk, message, 5) / "weekly_report.ipynb").is_file()
    assert not list((desk.out / "failed").rglob("*.html"))
    monkeypatch.setattr(jobs, "_execute", lambda job, _: nbformat.read(desk.good.notebook, as_version=4))
    monkeypatch.setattr(desk.export, "export", lambda *_, **__: None)
    assert "no page is there" in refused(desk, ExportError, desk.source, parameters=GIVEN)
    monkeypatch.setattr(desk.export, "export", lambda *_, **__: 1 / 0)
    assert "ZeroDivisionError" in refused(desk, ExportError, desk.source, parameters=GIVEN)


@pytest.mark.parametrize(
    ("options", "piece"),
    [
        ({"parameters": {"wek": "2025-W30"}}, "did you mean 'week'?"),
        ({"parameters": {"note": 3}}, "note must be str"),
        ({"parameters": {"data": "x"}}, "given once"),
        ({"parameters": {"week": "2025-W30"}}, "given once"),
        ({"week": 30}, "week must be str"),
        ({"week": "2025-30"}, "2025-W30"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_written(
    desk: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    piece: str,
) -> None:
    monkeypatch.setattr(RUNNER, "make", None)
    assert piece in refused(desk, ParameterError, desk.source, **options)
    with pytest.raises(ParameterError):
        start(desk, desk.source, out=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_week_may_come_among_the_parameters(desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RUNNER, "make", lambda job: pytest.fail(job.values["week"]))  # noqa: PD011 - no frame
    with pytest.raises(pytest.fail.Exception, match="2025-W29"):
        start(desk, desk.source, week=None, parameters={"week": "2025-07-15"})


def test_a_notebook_that_cannot_be_trusted_is_refused(desk: SimpleNamespace) -> None:
    for tag in ("raises-exception", "skip-execution", "injected-parameters"):
        assert f"tagged '{tag}'" in refused(desk, ParameterError, write(desk.folder, "tagged", "1 / 0", tag=tag))
    untagged = desk.folder / "untagged.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("week = 1")]), untagged)
    assert "'parameters'" in refused(desk, ParameterError, untagged)
    (desk.folder / "torn.ipynb").write_text('{"cells": [')
    assert "cannot be read" in refused(desk, ParameterError, desk.folder / "torn.ipynb")


def test_a_bare_name_is_looked_up_and_an_unknown_one_refused(
    desk: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    write(tmp_path / "notebooks", "monthly_look", "1")
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'monthly_look'?" in refused(desk, ParameterError, "monthly_lok")
    assert "wek" in refused(desk, ParameterError, "monthly_look", parameters={"wek": 1})
    assert "no notebook" in refused(desk, ParameterError, tmp_path / "monthly_look.ipynb")


def test_a_second_run_of_the_same_report_is_refused(desk: SimpleNamespace) -> None:
    failed = tree(desk.out / "failed") if (desk.out / "failed").exists() else {}
    with (desk.out / ".locks" / "demo-2025-W30-weekly_report.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another run" in refused(desk, BusyError, desk.source)
    assert (tree(desk.out / "failed") if (desk.out / "failed").exists() else {}) == failed


def test_a_folder_that_cannot_be_written_fails_before_the_kernel(
    desk: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RUNNER, "make", None)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(desk, StorageError, desk.source, out=tmp_path / "file")
    (tmp_path / "reports" / "demo" / "2025-W30").mkdir(parents=True)
    assert "move it away" in refused(desk, ExportError, desk.source, out=tmp_path / "reports")
    desk.shop.name, name = "failed", desk.shop.name
    try:
        assert "dataset.toml" in refused(desk, ParameterError, desk.source)
    finally:
        desk.shop.name = name


def test_cells_are_the_witnesses_and_not_the_metadata() -> None:
    cells = [new_code_cell("a = 1", execution_count=1, metadata={"papermill": {"status": "completed"}}),
             new_code_cell("b = 2", metadata={"papermill": {"status": "completed"}})]  # fmt: skip
    node = new_notebook(cells=cells, metadata={"papermill": {"exception": None, "end_time": "2025-07-24"}})
    with pytest.raises(NotebookError, match="1 of the 2 code cells of x did not run to their end, first 'b = 2'"):
        judge(node, "x")
    cells[1].execution_count = 2
    judge(node, "x")
    cells[1].metadata["papermill"]["status"] = "running"
    with pytest.raises(NotebookError):
        judge(node, "x")
