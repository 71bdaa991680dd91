"""Publish a week so that a reader sees the whole last good one or the whole new one, and nothing else.

Under the reports folder, ``<data set>/runs/<run id>/`` holds the files of one publication, ``<data set>/<week>`` is a
link to it, and ``failed/<run id>/`` takes what did not succeed.

All that follows from a publication is written beside its target first, and then renamed in this order: the week's link,
the ledger, the link ``latest``, the index pages. The first rename publishes. Links and run.json files tell everything
that the others hold, so a run that finds them apart, because one before it died between two renames, puts them right
before it does anything else.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import BusyError, ContractError, ExportError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

KEPT_RUNS = 5
LEAST_FREE = 100_000_000
"""Bytes that must be free before a kernel starts; a week of pages takes a tenth of it."""
LEDGER, TOTALS = "ledger.csv", "totals.csv"
UNDATED = "undated"
MAIN = "weekly_report"
"""The notebook that `latest` must lead to, where any week has its page."""
_WEEK = re.compile(r"\d{4}-W\d{2}")


class Desk:
    """Where one run writes.

    Readers open the week's `link`; the run works unseen in `staging`; `failed` takes failures. `pages` names what it
    makes, without suffix.
    """

    def __init__(self, out: Path, name: str, label: str | None, pages: Sequence[str], run_id: str) -> None:
        self.out, self.pages, self.run_id = out, tuple(pages), run_id
        self.shelf, self.failed = out / name, out / "failed" / run_id
        self.link = self.shelf / (label or UNDATED)
        self.keys = sorted({f"{name}-{self.link.name}-{page.partition('.')[0]}" for page in pages})
        self.staging = out / ".scratch" / "+".join(self.keys)[:200] / run_id


@contextmanager
def opened(desk: Desk) -> Iterator[None]:
    """Hold the locks of the reports, or raise BusyError, and the staging folder, or raise StorageError."""
    with ExitStack() as held:
        try:
            (desk.out / ".scratch").mkdir(mode=0o700, parents=True, exist_ok=True)
            for key in desk.keys:
                held.enter_context(_locked(desk, key, fcntl.LOCK_EX | fcntl.LOCK_NB))
            shutil.rmtree(desk.staging.parent, ignore_errors=True)
            held.callback(shutil.rmtree, desk.staging.parent, ignore_errors=True)
            desk.staging.mkdir(parents=True)
            for folder in (desk.shelf, desk.shelf / "runs", desk.failed.parent):
                if folder.exists():
                    with tempfile.TemporaryFile(dir=folder):
                        pass
            free = shutil.disk_usage(desk.out).free
        except BlockingIOError:
            raise BusyError(f"{key} is being made by another run; wait until that has ended") from None
        except OSError as error:
            law = f"reports cannot be written to {desk.out}: {error}"
            raise StorageError(f"{law}; choose another folder or free this one") from error
        if free < LEAST_FREE:
            law = f"{desk.out} has {free / 1e6:,.0f} MB free, and a run needs {LEAST_FREE / 1e6:,.0f}"
            raise StorageError(f"{law}; free space on that disk")
        _refuse_plain(desk)
        yield


def repaired(desk: Desk) -> pd.DataFrame:
    """Put right what a run left that died while it published; return the ledger.

    Raises
    ------
    ContractError
        If the ledger is torn or no ledger; it is left as it is.
    """
    with _locked(desk, desk.shelf.name, fcntl.LOCK_EX):
        return _repair(desk)


def publish(desk: Desk, reports: Mapping[str, Any], record: dict[str, Any], told: Mapping[str, Any]) -> Path:
    """Put the staged files beside the week's other reports, or change nothing; return the week's link.

    Parameters
    ----------
    reports
        The entry of each page for manifest.json.
    record
        run.json; the claims of each page under notebooks become rows of the ledger.
    told
        What every row of the ledger says beside the claim: published_at, week, data_through and fingerprints.
    """
    from strategy_kit.report.ledger import claim_rows

    with _locked(desk, desk.shelf.name, fcntl.LOCK_EX):
        _refuse_plain(desk)
        ledger = _repair(desk)
        for page in record["notebooks"]:
            of_page = {"notebook": page["notebook"], "run_id": desk.run_id}
            of_page |= {"language": page["language"]} if page["language"] else {}
            page["claims"] = claim_rows(page["claims"], {**told, **of_page}, ledger)
        _join(desk, reports, record)
        home = desk.shelf / "runs" / desk.run_id
        home.parent.mkdir(parents=True, exist_ok=True)
        desk.staging.rename(home)
        try:
            _sync(home.parent)
            rows = [row for page in record["notebooks"] if page["run_id"] == desk.run_id for row in page["claims"]]
            _switch(desk.shelf, _consequences(desk.shelf, {desk.link.name: home}, rows))
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise
        linked = {link.readlink().name for link in desk.shelf.iterdir() if link.is_symlink()}
        for run in sorted(run for run in home.parent.iterdir() if run.name not in linked)[:-KEPT_RUNS]:
            shutil.rmtree(run, ignore_errors=True)
    return desk.link


def weeks_of(shelf: Path) -> dict[str, Path]:
    """Return label -> folder of every published week, newest first, pages of no week last."""
    links = [link for link in shelf.iterdir() if link.is_symlink() and link.name != "latest"] if shelf.exists() else []
    known = {link.name: shelf / link.readlink() for link in links if _WEEK.fullmatch(link.name) or link.name == UNDATED}
    known = {label: folder for label, folder in known.items() if folder.is_dir()}
    return dict(sorted(known.items(), key=lambda pair: pair[0].replace(UNDATED, ""), reverse=True))


def totals_before(shelf: Path, label: str | None) -> str:
    """Return the file of weekly totals that the newest week before this one was published with; empty where none was."""
    earlier = [shelf / week for week in weeks_of(shelf) if week != UNDATED and label is not None and week < label]
    return next((str(week / TOTALS) for week in earlier if (week / TOTALS).is_file()), "")


def recorded(folder: Path) -> dict[str, Any]:
    """Return the run.json of a published folder; an empty record where there is none, as before there were any."""
    file = folder / "run.json"
    return _held(file) if file.exists() else {"notebooks": []}


def _held(file: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        remedy = "put its last good copy back, or take away the link of that week and run it again"
        raise ContractError(f"{file} is torn: {error}; {remedy}") from error
    return told


def _repair(desk: Desk) -> pd.DataFrame:
    from strategy_kit.report.ledger import ledger_from, read_ledger

    if not desk.shelf.exists():
        return ledger_from([])
    for spare in desk.shelf.glob(".*"):
        if spare.is_symlink() or not spare.is_dir():  # a folder is somebody else's, such as .ipynb_checkpoints
            spare.unlink(missing_ok=True)
    file = desk.shelf / LEDGER
    ledger = read_ledger(file) if file.exists() else ledger_from([])
    known = set(zip(ledger["run_id"], ledger["notebook"], ledger["language"].fillna(""), strict=True))
    pages = [page for week in weeks_of(desk.shelf).values() for page in recorded(week)["notebooks"]]
    rows = [row for page in pages for row in page["claims"]]
    lost = [row for row in rows if (row["run_id"], row["notebook"], row["language"] or "") not in known]
    lost.sort(key=lambda row: str(row["published_at"]))
    wanted = _consequences(desk.shelf, {}, lost)
    if stale := {name: text for name, text in wanted.items() if _told(desk.shelf / name) != text}:
        _switch(desk.shelf, stale)
    return read_ledger(file) if file.exists() else ledger


def _consequences(shelf: Path, new: Mapping[str, Path], rows: Sequence[Mapping[str, Any]]) -> dict[str, str | Path]:
    """Return what links and files at the top of a shelf hold once `new` weeks and rows of the ledger are there, in order."""
    from strategy_kit.report.index import index_pages
    from strategy_kit.report.ledger import extended, parsed

    file, weeks = shelf / LEDGER, {**weeks_of(shelf), **new}
    old = file.read_bytes().decode("utf-8") if file.exists() else ""
    wanted: dict[str, str | Path] = {label: Path("runs", home.name) for label, home in new.items()}
    if not weeks:
        return wanted
    text = extended(old, rows) if rows or not old else old
    wanted |= {LEDGER: text} if text != old else {}
    records = {label: recorded(weeks[label]) for label in sorted(weeks, key=lambda label: label.replace(UNDATED, ""))}
    whole = [label for label, record in records.items() if MAIN in [page["notebook"] for page in record["notebooks"]]]
    wanted["latest"] = Path("runs", weeks[(whole or list(records))[-1]].name)
    return {**wanted, **index_pages(parsed(text, str(file)), dict(reversed(records.items())))}


def _told(target: Path) -> str | Path | None:
    if target.is_symlink():
        return target.readlink()
    return target.read_text(encoding="utf-8") if target.exists() else None


def _switch(shelf: Path, wanted: Mapping[str, str | Path]) -> None:
    """Rename new links and files over the old ones, all or none."""
    spares, before = dict[Path, Path](), list[tuple[Path, Path | None]]()
    try:
        for name, held in wanted.items():
            spares[shelf / name] = _beside(shelf / name, held)
        for target in spares:
            before.append((target, _beside(target, None) if target.is_symlink() or target.exists() else None))
        for target, spare in spares.items():
            spare.replace(target)
        _sync(shelf)
    except BaseException:
        for target, old in reversed(before):
            if old is None:
                target.unlink(missing_ok=True)
            else:
                old.replace(target)
        raise
    finally:
        for spare in (*spares.values(), *(old for _, old in before if old is not None)):
            spare.unlink(missing_ok=True)


def _beside(target: Path, held: str | Path | None) -> Path:
    """Make a spare beside a target: a link, a file of this text, or another name of the target as it is."""
    spare = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    held = target.readlink() if held is None and target.is_symlink() else held
    if isinstance(held, Path):
        spare.symlink_to(held)
    elif held is None:
        _twin(target, spare)
    else:
        spare.write_text(held, encoding="utf-8", newline="\n")
        _sync(spare)
    return spare


def _twin(path: Path, twin: Path) -> None:
    try:
        twin.hardlink_to(path)
    except OSError:
        shutil.copy2(path, twin)


@contextmanager
def _locked(desk: Desk, key: str, how: int) -> Iterator[None]:
    (desk.out / ".locks").mkdir(exist_ok=True)
    with (desk.out / ".locks" / f"{key}.lock").open("a") as lock:
        fcntl.flock(lock, how)
        yield


def _refuse_plain(desk: Desk) -> None:
    for link in (desk.link, desk.shelf / "latest"):
        if link.exists() and not link.is_symlink():
            raise ExportError(f"{link} is no link that a run made, and is not overwritten; move it away")


def _join(desk: Desk, reports: Mapping[str, Any], record: dict[str, Any]) -> None:
    """Complete the staging folder with the week's other reports, the manifest and run.json, all on disk."""
    week, manifest = desk.link, dict[str, Any]()
    ours = {f"{page}{suffix}" for page in desk.pages for suffix in (".html", ".ipynb")}
    ours |= {"manifest.json", "run.json", TOTALS}
    if week.exists():
        manifest = _held(week / "manifest.json")["reports"]
        for page in _overtaken(manifest, reports):
            del manifest[page]
            ours |= {f"{page}.html", f"{page}.ipynb"}
        record["notebooks"] += [page for page in recorded(week)["notebooks"] if page["page"] not in ours]
        for path in week.resolve().iterdir():
            if path.name not in ours and path.is_file():
                _twin(path, desk.staging / path.name)
    for name, held in (("manifest", {"reports": {**manifest, **reports}}), ("run", record)):
        text = json.dumps(held, ensure_ascii=False, indent=2)
        (desk.staging / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    for path in (*desk.staging.iterdir(), desk.staging):
        _sync(path)


def _overtaken(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the other-language pages of what is made now whose data, plan or notebook were others: numbers may differ."""
    made, what = {name.partition(".")[0]: entry for name, entry in new.items()}, ("data", "plan", "notebook")
    beside = {name: made.get(name.partition(".")[0], entry) for name, entry in old.items() if name not in new}
    return [name for name, now in beside.items() if any(old[name].get(key) != now.get(key) for key in what)]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
