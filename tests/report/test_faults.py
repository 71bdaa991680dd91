"""Whatever goes wrong, nothing is published, the last good report stays byte for byte, and a note says what to do."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from strategy_kit import errors
from strategy_kit.report import publish
from strategy_kit.report.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Tree, Write

GOOD = """\
from IPython.display import display
display({"application/vnd.strategy-kit.claim+json": {"headline": "GMV rose", "metric": "gmv", "estimate": 0.1}}, raw=True)
f"week {week}"
"""
SECTION = "from strategy_kit.report.sections import Section\nfrom strategy_kit.report.blocks import line\n"
GATE = "import strategy_kit as sk\nsk.open_dataset(data).require_valid()"
WEEK = {"week": "2025-W30"}


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, new_shop: Callable[[Path], Path], new_book: Callable[[Path], Write]
) -> SimpleNamespace:
    """A data set, a reports folder that a first run has made, and the good report in it."""
    folder = tmp_path_factory.mktemp("faults")
    shop, book = new_shop(folder), new_book(folder)
    out = folder / "not" / "there" / "reports"
    good = run(book("look", GOOD), data=shop, out=out, **WEEK)
    assert good.html == out / "shop" / "2025-W30" / "look.html"  # the folder was missing and was made
    return SimpleNamespace(folder=folder, shop=shop, book=book, out=out, good=good)


@pytest.fixture
def fails(desk: SimpleNamespace, tree: Tree) -> Callable[..., str]:
    """Run, and hold all that a failure promises; return the message."""

    def failed(kind: type[errors.StrategyKitError], notebook: Path, *words: str, **options: Any) -> str:
        before = tree(desk.out / "shop")
        with pytest.raises(kind) as caught:
            run(notebook, **{"data": desk.shop, "out": desk.out, **WEEK, **options})
        assert type(caught.value) is kind
        assert tree(desk.out / "shop") == before
        assert not list((desk.out / ".scratch").iterdir())
        message = str(caught.value)
        assert all(word in message for word in words), message
        noted(desk, kind, message)
        return message

    return failed


def noted(desk: SimpleNamespace, kind: type[errors.StrategyKitError], message: str) -> None:
    """The note names the failure, the exit code and the remedy of its kind; run.json says the same to machines."""
    folder = Path(message.rpartition(" in ")[2])
    assert folder.parent == desk.out / "failed"
    reason, code, remedy = (folder / "error.txt").read_text(encoding="utf-8").splitlines()
    assert message.startswith(reason)
    assert (code, remedy) == (f"exit code: {kind.exit_code}", f"what to do: {kind.remedy}")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert (record["exit_code"], record["error"]) == (kind.exit_code, kind.__name__)
    assert (record["message"], record["what_to_do"]) == (reason, kind.remedy)
    assert not [page for page in record["notebooks"] if page["status"] == "published"]


def test_every_kind_has_its_own_code_and_remedy() -> None:
    kinds = errors.StrategyKitError.__subclasses__()
    codes = {kind.__name__: kind.exit_code for kind in kinds}
    assert codes == {
        "ParameterError": 2, "NotebookError": 3, "DesignError": 3, "ContractError": 4, "ExportError": 5, "RunTimeout": 6,
        "LateData": 7, "ClockError": 8, "StorageError": 73, "BusyError": 75, "KernelDied": 137, "Stopped": 143,
    }  # fmt: skip
    assert len({kind.remedy for kind in kinds}) == len(kinds)
    told = errors.__doc__ or ""
    assert not [name for name, code in codes.items() if not re.search(rf"── {name} +{code}   \w", told)]


# Section E of what papermill does: cells, processes, parameters.


@pytest.mark.parametrize(
    ("sources", "kind", "words"),
    [
        (
            ["raise ValueError('no such week')"],
            errors.NotebookError,
            ["cell [3] of broken", "ValueError: no such week"],
        ),
        (["raise SystemExit(0)", "'after'"], errors.NotebookError, ["SystemExit: 0"]),
        (["raise SystemExit(1)", "'after'"], errors.NotebookError, ["SystemExit: 1"]),
        (["raise MemoryError"], errors.NotebookError, ["MemoryError: no message"]),
        (["import os; os.kill(os.getpid(), 9)", "'after'"], errors.KernelDied, ["was killed", "memory"]),
        (["import time; time.sleep(60)"], errors.RunTimeout, ["longer than the 2 seconds", "allow more"]),
    ],
    ids=["raises", "SystemExit 0", "SystemExit 1", "MemoryError", "SIGKILL", "timeout"],
)
def test_a_notebook_that_does_not_end_well(
    desk: SimpleNamespace,
    fails: Callable[..., str],
    sources: list[str],
    kind: type[errors.StrategyKitError],
    words: list[str],
) -> None:
    timeout = {"timeout": 2.0} if kind is errors.RunTimeout else {}
    message = fails(kind, desk.book("broken", *sources), *words, **timeout)
    assert (Path(message.rpartition(" in ")[2]) / "broken.ipynb").is_file()


PARAMETERS = "data: str = ''\nweek: str | None = None\nn: int = 1\nmust: str = None"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["must is missing, a str without default"]),
        ({"must": "x", "wek": "2025-W30"}, ["'wek' is not a parameter", "did you mean 'week'?"]),
        ({"must": "x", "n": "abc"}, ["n must be int, not 'abc'"]),
        ({"must": "x", "n": 7.5}, ["n must be int"]),
    ],
    ids=["missing", "unknown", "wrong type", "nearly"],
)
def test_wrong_parameters(
    desk: SimpleNamespace, fails: Callable[..., str], given: dict[str, Any], words: list[str]
) -> None:
    fails(errors.ParameterError, desk.book("asks", "1", parameters=PARAMETERS), *words, parameters=given)


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    node = nbformat.read(path, as_version=4)
    change(node)
    nbformat.write(node, path)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda node: node.cells[0].metadata.update(tags=[]), ["must be tagged 'parameters'"]),
        (lambda node: node.cells[1].metadata.update(tags=["raises-exception"]), ["tagged 'raises-exception'"]),
        (lambda node: node.cells[1].metadata.update(tags=["skip-execution"]), ["cell 2 is tagged 'skip-execution'"]),
        (lambda node: node.metadata.update(kernelspec={"name": "julia-1.9", "language": "julia"}), ["speaks julia"]),
        (
            lambda node: node.metadata.update(kernelspec={"name": "no-such-kernel"}),
            ["'no-such-kernel' is not installed"],
        ),
        (lambda node: node.cells[1].update(source="%%script false --no-raise-error\n1 / 0"), ["opens with %%script"]),
        (lambda node: node.cells[1].update(source="\n%%bash\nexit 0"), ["cell 2 opens with %%bash"]),
        (lambda node: node.cells.append(nbformat.v4.new_raw_cell("section(reading)")), ["cell 3 is raw"]),
    ],
    ids=["no tag", "raises-exception", "skip-execution", "julia", "kernel", "script", "bash", "raw"],
)
def test_a_notebook_that_could_hide_a_failure(
    desk: SimpleNamespace, fails: Callable[..., str], change: Callable[[Any], None], words: list[str]
) -> None:
    fails(errors.ParameterError, changed(desk.book("hides", "1 + 1"), change), *words)


def test_a_cell_that_was_edited_away_is_missed(desk: SimpleNamespace, fails: Callable[..., str]) -> None:
    """Emptied, made a comment, or put behind an `if`: what counts is what the notebook showed."""
    cells = [f"{SECTION}Section('effect', (line('+5%'),))", "", "# Section('money')", "if False:\n    Section('trust')"]
    cells += ["Section('effect', ())"]
    promised = ["effect", "doubts", "money", "trust"]
    message = fails(
        errors.NotebookError, desk.book("edited", *cells, sections=promised), "promises to show each of its"
    )
    assert "effect (2 times), doubts (0 times), money (0 times), trust (0 times)" in message


# Data.


def repeated_merchant(shop: Path) -> None:
    (shop / "m.csv").write_text("merchant_id,category\nm0,beauty\nm1,beauty\nm1,apparel\n", encoding="utf-8")


def unknown_merchant(shop: Path) -> None:
    (shop / "m.csv").write_text("merchant_id,category\nm0,beauty\n", encoding="utf-8")


def renamed_column(shop: Path) -> None:
    swap(shop / "o.csv", "paid_at,amount", "paid_at,amout")


def other_type(shop: Path) -> None:
    swap(shop / "o.csv", "2025-07-07,5", "2025-07-07,five")


def no_policies(shop: Path) -> None:
    swap(shop / "dataset.toml", "[tables]", '[tables]\npolicies = "policies.parquet"')


def ahead_of_the_clock(shop: Path) -> None:
    swap(shop / "dataset.toml", "2025-07-27", "2999-12-31")


def swap(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (repeated_merchant, errors.ContractError, ["merchants: merchant_id never repeat", "m1"]),
        (unknown_merchant, errors.ContractError, ["is on the roster", "m1"]),
        (renamed_column, errors.ContractError, ["order_lines.amount is missing", "did you mean 'amout'"]),
        (other_type, errors.ContractError, ["order_lines.amount must be a number", "'five'"]),
        (no_policies, errors.ContractError, ["tables.policies", "no file matches 'policies.parquet'"]),
        (ahead_of_the_clock, errors.ClockError, ["clock says", "reach 2999-12-31 already", "set the clock"]),
    ],
)
def test_data_that_cannot_be_reported(
    desk: SimpleNamespace,
    fails: Callable[..., str],
    tmp_path: Path,
    spoil: Callable[[Path], None],
    kind: type[errors.StrategyKitError],
    words: list[str],
) -> None:
    shop = shutil.copytree(desk.shop, tmp_path / "shop")
    spoil(shop)
    fails(kind, desk.book("gate", GATE), *words, data=shop)


def test_late_data_are_not_a_wrong_week(desk: SimpleNamespace, fails: Callable[..., str]) -> None:
    look = desk.folder / "notebooks" / "look.ipynb"
    words = ["2025-W31 is not complete", "ended on 2025-08-03", "reach 2025-07-27", "wait for the data"]
    fails(errors.LateData, look, *words, week="2025-W31")
    fails(errors.ParameterError, look, "2999-W01 is not complete", week="2999-W01")


def test_a_clock_behind_the_newest_claim(desk: SimpleNamespace, fails: Callable[..., str], tree: Tree) -> None:
    ledger = desk.out / "shop" / "ledger.csv"
    before = ledger.read_bytes()
    head, line = before.decode().splitlines()
    ledger.write_text(f"{head}\n2999{line[4:]}\n", encoding="utf-8")
    try:
        look = desk.folder / "notebooks" / "look.ipynb"
        fails(errors.ClockError, look, "before the newest claim of 2999-", "set the clock")
    finally:
        ledger.write_bytes(before)


@pytest.mark.parametrize(("file", "words"), [("ledger.csv", "middle of a line"), ("2025-W30/run.json", "is torn")])
def test_a_torn_record_is_never_written_over(
    desk: SimpleNamespace, fails: Callable[..., str], file: str, words: str
) -> None:
    path = desk.out / "shop" / file
    before = path.read_bytes()
    path.write_bytes(before[:-9])
    try:
        fails(errors.ContractError, desk.folder / "notebooks" / "look.ipynb", words, "last good copy")
    finally:
        path.write_bytes(before)


# The machine.


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Let a folder be a disk of its own; skip where that is not allowed."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("this user may not mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def disk(desk: SimpleNamespace, tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB with the good report on it."""
    with small_disk(tmp_path, "400k"):
        yield shutil.copytree(desk.out, tmp_path / "reports", symlinks=True)


def test_a_full_disk(
    desk: SimpleNamespace, disk: Path, monkeypatch: pytest.MonkeyPatch, tree: Tree, fails: Callable[..., str]
) -> None:
    before, look = tree(disk / "shop"), desk.folder / "notebooks" / "look.ipynb"
    with pytest.raises(errors.StorageError, match="MB free, and a run needs"):
        run(look, data=desk.shop, out=disk, **WEEK)
    monkeypatch.setattr(publish, "LEAST_FREE", 0)
    with pytest.raises(errors.StorageError, match="No space left"):
        run(desk.book("wide", "'x' * 900_000"), data=desk.shop, out=disk, **WEEK)
    assert tree(disk / "shop") == before
    assert not list((disk / ".scratch").iterdir())


def test_a_file_that_may_not_grow(desk: SimpleNamespace, fails: Callable[..., str]) -> None:
    """What a quota does; the note is small enough to be kept."""
    wide, (soft, hard) = desk.book("wide", "'x' * 900_000"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        fails(errors.StorageError, wide, "File too large", "free space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_that_may_only_be_read(desk: SimpleNamespace, tmp_path: Path, tree: Tree) -> None:
    out, look, root = tmp_path / "reports", desk.folder / "notebooks" / "look.ipynb", os.geteuid() == 0
    out.mkdir()
    with small_disk(out, "4m") if root else nullcontext():  # rights alone do not hold root back
        shutil.copytree(desk.out, out, symlinks=True, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", out] if root else ["chmod", "-R", "a-w", out], check=True)
        before = tree(out)
        with pytest.raises(errors.StorageError, match=r"cannot be written.*nor could a note be kept"):
            run(look, data=desk.shop, out=out, **WEEK)
        assert tree(out) == before
        subprocess.run(["chmod", "-R", "u+w", out], check=not root)


def started(desk: SimpleNamespace, name: str) -> tuple[subprocess.Popen[str], int]:
    """Start a run whose kernel sleeps; return it and the kernel's process once it sleeps."""
    mark = desk.folder / f"{name}.pid"
    note = f"import os, pathlib, time; pathlib.Path({str(mark)!r}).write_text(str(os.getpid()))"
    command = [sys.executable, "-m", "strategy_kit.cli", "run", str(desk.book(name, note, "time.sleep(60)")), "--json"]
    command += ["--data", str(desk.shop), "--out", str(desk.out), "--week", "2025-W30"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    while not (mark.exists() and mark.read_text()) and process.poll() is None:
        time.sleep(0.05)
    return process, int(mark.read_text())


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=["INT", "TERM", "KILL"]
)
def test_a_runner_that_is_stopped(
    desk: SimpleNamespace, tree: Tree, gone: Callable[[int], bool], number: int, code: int
) -> None:
    before, notes = tree(desk.out / "shop"), set((desk.out / "failed").glob("*"))
    process, kernel = started(desk, f"long{number}")
    with pytest.raises(errors.BusyError, match="is being made by another run"):  # two runs at once
        run(desk.folder / "notebooks" / f"long{number}.ipynb", data=desk.shop, out=desk.out, **WEEK)
    process.send_signal(number)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in said) == (code, False), said
    assert gone(kernel)
    assert tree(desk.out / "shop") == before
    new = set((desk.out / "failed").glob("*")) - notes
    if number == signal.SIGKILL:
        assert not new
        assert list((desk.out / ".scratch").iterdir())  # half a run, which the next one clears
        short = desk.book(f"long{number}", "1 / 0")
        with pytest.raises(errors.NotebookError):
            run(short, data=desk.shop, out=desk.out, **WEEK)
    else:
        (folder,) = new
        noted(desk, errors.Stopped, f"{(folder / 'error.txt').read_text().splitlines()[0]} in {folder}")
    if number == signal.SIGTERM:
        assert json.loads(out.splitlines()[-1])["exit_code"] == code
    assert not list((desk.out / ".scratch").iterdir())
    assert tree(desk.out / "shop") == before


def test_a_half_written_previous_run_is_not_seen_and_not_joined(desk: SimpleNamespace, tmp_path: Path) -> None:
    out = shutil.copytree(desk.out, tmp_path / "reports", symlinks=True)
    shelf, scratch = out / "shop", out / ".scratch" / "shop-2025-W30-look"
    for half in (shelf / "runs" / "20250101T000000Z-dead" / "look.html", scratch / "old" / "look.html"):
        half.parent.mkdir(parents=True)
        half.write_text("half", encoding="utf-8")
    (shelf / ".ledger.csv-0badcafe").write_text("half", encoding="utf-8")
    (shelf / "index.html").write_text("half", encoding="utf-8")
    page = desk.good.html.read_bytes()
    done = run(desk.folder / "notebooks" / "look.ipynb", data=desk.shop, out=out, **WEEK)
    assert done.html.read_bytes() == page
    assert "half" not in (shelf / "index.html").read_text(encoding="utf-8")
    assert not list(shelf.glob(".*"))
    assert not list((out / ".scratch").iterdir())
    assert {path.name for path in done.html.parent.iterdir()} == {
        "look.html",
        "look.ipynb",
        "manifest.json",
        "run.json",
        "totals.csv",
    }
