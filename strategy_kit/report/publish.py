"""Publish a report so that a reader sees the whole last good one or the whole new one, and nothing else.

Under the reports folder, ``<data set>/runs/<run id>/`` holds the files, ``<data set>/<week>`` and
``<data set>/latest`` are links switched in one step, and ``failed/<run id>/`` takes what did not succeed.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import BusyError, ExportError, StrategyKitError
from strategy_kit.report.parameters import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nbformat import NotebookNode

KEPT_RUNS = 5
_PACKAGES = "strategy-kit altair duckdb ipykernel nbconvert numpy pandas papermill pyarrow scipy statsmodels"


class Desk:
    """Where one run of one notebook writes.

    Readers open the `links`; the run works unseen in `staging`, on its `draft`; `failed` takes failures.
    """

    def __init__(self, out: Path, name: str, label: str, notebook: str, run_id: str) -> None:
        self.out, self.notebook, self.run_id = out, notebook, run_id
        self.shelf, self.failed = out / name, out / "failed" / run_id
        self.links = self.shelf / label, self.shelf / "latest"
        self.key = f"{name}-{label}-{notebook}"
        self.staging = out / ".scratch" / self.key
        self.draft = self.staging / f"{notebook}.ipynb"


@contextmanager
def opened(desk: Desk) -> Iterator[None]:
    """Hold the lock of one report, or raise BusyError, and its staging folder, or raise ExportError."""
    with ExitStack() as held:
        try:
            (desk.out / ".scratch").mkdir(mode=0o700, parents=True, exist_ok=True)
            held.enter_context(_locked(desk, desk.key, fcntl.LOCK_EX | fcntl.LOCK_NB))
            shutil.rmtree(desk.staging, ignore_errors=True)
            held.callback(shutil.rmtree, desk.staging, ignore_errors=True)
            desk.staging.mkdir()
            for folder in (desk.shelf, desk.shelf / "runs", desk.failed.parent):
                if folder.exists():
                    with tempfile.TemporaryFile(dir=folder):
                        pass
        except BlockingIOError:
            raise BusyError(f"{desk.key} is being made by another run; wait until that has ended") from None
        except OSError as error:
            law = f"reports cannot be written to {desk.out}: {error}"
            raise ExportError(f"{law}; choose another folder or free this one") from error
        _refuse_plain(desk)
        yield


def publish(desk: Desk, entry: Mapping[str, Any]) -> Path:
    """Put the staged files beside the week's other reports, or change nothing; return the week's link."""
    with _locked(desk, desk.shelf.name, fcntl.LOCK_EX):
        _refuse_plain(desk)
        _join(desk, entry)
        home = desk.shelf / "runs" / desk.run_id
        home.parent.mkdir(parents=True, exist_ok=True)
        desk.staging.rename(home)
        _sync(home.parent)
        before = {link: link.readlink() if link.is_symlink() else None for link in desk.links}
        try:
            for link in desk.links:
                _point(link, Path("runs", desk.run_id))
        except BaseException:
            for link, target in before.items():
                _point(link, target)
            shutil.rmtree(home, ignore_errors=True)
            raise
        _sync(desk.shelf)
        linked = {link.readlink().name for link in desk.shelf.iterdir() if link.is_symlink()}
        for run in sorted(run for run in home.parent.iterdir() if run.name not in linked)[:-KEPT_RUNS]:
            shutil.rmtree(run, ignore_errors=True)
    return desk.links[0]


def file_failure(desk: Desk, error: StrategyKitError, values: Mapping[str, Any]) -> StrategyKitError:
    """Keep the unfinished notebook and the reason under failed/; return the error, naming that folder."""
    import nbformat

    reason = str(error).rstrip(".;, \n")
    try:
        desk.failed.mkdir(parents=True)
        text = f"{reason}\nexit code: {error.exit_code}\nwhat to do: correct that and run again\n"
        (desk.failed / "error.txt").write_text(text, encoding="utf-8")
        with suppress(ValueError, FileNotFoundError):  # the secrets of a torn notebook cannot be hidden
            draft = clean(nbformat.read(desk.draft, as_version=4), values)
            nbformat.write(draft, desk.failed / desk.draft.name)
    except OSError as trouble:
        return type(error)(f"{reason}; nor could the notebook be kept ({trouble}) in {desk.failed}")
    return type(error)(f"{reason}; the unfinished notebook and the reason are in {desk.failed}")


def clean(notebook: NotebookNode, values: Mapping[str, Any]) -> NotebookNode:
    """Hide secrets in the injected cell and the metadata, and cut machine paths, in place."""
    run = notebook.metadata.setdefault("papermill", {})
    run |= {name: Path(run[name]).name for name in ("input_path", "output_path") if run.get(name)}
    run["parameters"] = redacted(values)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = injected(redacted(values))
    return notebook


def injected(values: Mapping[str, Any]) -> str:
    """Write values as the cell that follows the parameters cell."""
    return "\n".join(["# Parameters of this run", *(f"{name} = {value!r}" for name, value in values.items())])


def describe(source: Path, data: Path, tables: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Say what a report is made of, as the manifest holds it: notebook, code, data and packages."""
    entry: dict[str, Any] = {"python": platform.python_version(), "packages": {}}
    entry["notebook"] = {"name": source.name, "sha256": sha256(source)}
    entry["data"] = [
        {"table": table, "name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
        for table, paths in {"dataset": [data / "dataset.toml"], **tables}.items()
        for path in paths
    ]
    for package in _PACKAGES.split():
        with suppress(importlib.metadata.PackageNotFoundError):
            entry["packages"][package] = importlib.metadata.version(package)
    git = ["git", "--no-optional-locks", "-C", str(source.parent), "status", "--porcelain=v2", "--branch"]
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout
        head, changes = re.findall(r"^# branch.oid (.*)", told), re.findall(r"^[^#]", told, re.MULTILINE)
        entry["git"] = {"commit": head[0], "dirty": bool(changes)}
    return entry


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(desk: Desk, key: str, how: int) -> Iterator[None]:
    (desk.out / ".locks").mkdir(exist_ok=True)
    with (desk.out / ".locks" / f"{key}.lock").open("a") as lock:
        fcntl.flock(lock, how)
        yield


def _refuse_plain(desk: Desk) -> None:
    for link in desk.links:
        if link.exists() and not link.is_symlink():
            raise ExportError(f"{link} is no link that a run made, and is not overwritten; move it away")


def _join(desk: Desk, entry: Mapping[str, Any]) -> None:
    """Complete the staging folder with the week's other reports and the manifest, all on disk."""
    week, reports = desk.links[0], {}
    ours = {f"{desk.notebook}.html", f"{desk.notebook}.ipynb", "manifest.json"}
    if week.exists():
        reports = json.loads((week / "manifest.json").read_text(encoding="utf-8"))["reports"]
        for path in week.resolve().iterdir():
            if path.name not in ours:
                try:
                    (desk.staging / path.name).hardlink_to(path)
                except OSError:
                    shutil.copy2(path, desk.staging / path.name)
    text = json.dumps({"reports": {**reports, desk.notebook: dict(entry)}}, ensure_ascii=False, indent=2)
    (desk.staging / "manifest.json").write_text(text + "\n", encoding="utf-8")
    for path in (*desk.staging.iterdir(), desk.staging):
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _point(link: Path, target: Path | None) -> None:
    if target is None:
        link.unlink(missing_ok=True)
        return
    spare = link.with_name(f".{link.name}-{secrets.token_hex(4)}")
    spare.symlink_to(target)
    spare.replace(link)
