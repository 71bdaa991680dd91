"""Publication is one step for a reader, and a failure inside it leaves no trace."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from strategy_kit.errors import BusyError, ContractError, ExportError, StorageError
from strategy_kit.report import failures, manifest
from strategy_kit.report import publish as press
from strategy_kit.report.jobs import Job
from strategy_kit.report.ledger import read_ledger
from strategy_kit.report.publish import Desk


def desk_at(out: Path, number: int, *, notebook: str = "weekly", label: str = "2025-W30") -> Desk:
    return Desk(out, "demo", label, [notebook], f"20250724T1015{number:02d}Z-0000")


def put(desk: Desk, text: str, **entry: object) -> Path:
    """Publish a page of this text, as a run does once its notebook is good."""
    with press.opened(desk):
        page, week = desk.pages[0], desk.link.name
        for suffix in ("ipynb", "html"):
            (desk.staging / f"{page}.{suffix}").write_text(text)
        claims = [{"headline": f"headline {text[:9]}", "metric": "gmv", "estimate": len(text) / 1e6, "verb": "rose"}]
        told = {"notebook": page, "language": "en", "page": f"{page}.html", "run_id": desk.run_id, "claims": claims}
        record = {"data": "demo", "week": week, "synthetic": True, "notebooks": [told]}
        when = {"published_at": f"2025-07-24T10:15:{desk.run_id[13:15]}Z", "week": None if week == "undated" else week}
        return press.publish(desk, {page: {"run_id": desk.run_id, "text": text, **entry}}, record, when)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def reports(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["reports"]
    return found


def test_week_and_latest_are_relative_links_to_the_run(tmp_path: Path) -> None:
    week = put(desk_at(tmp_path, 1), "one")
    assert week == tmp_path / "demo" / "2025-W30"
    shutil.move(tmp_path / "demo", tmp_path / "moved")  # the folder may be copied elsewhere as a whole
    assert (tmp_path / "moved" / "2025-W30" / "weekly.html").read_text() == "one"
    assert (tmp_path / "moved" / "latest" / "weekly.ipynb").read_text() == "one"
    assert reports(tmp_path / "moved" / "latest") == {"weekly": {"run_id": "20250724T101501Z-0000", "text": "one"}}


def test_notebooks_of_one_week_stand_together_and_are_renewed_alone(tmp_path: Path) -> None:
    put(desk_at(tmp_path, 1), "one")
    put(desk_at(tmp_path, 2, notebook="stock"), "two")
    week = put(desk_at(tmp_path, 3), "three")
    assert {path.name for path in week.iterdir()} == {
        "weekly.html", "weekly.ipynb", "stock.html", "stock.ipynb", "manifest.json", "run.json",
    }  # fmt: skip
    assert {name: entry["text"] for name, entry in reports(week).items()} == {
        "weekly": "three",
        "stock": "two",
    }
    assert (week / "stock.html").read_text() == "two"
    first = tmp_path / "demo" / "runs" / "20250724T101501Z-0000"
    assert (first / "weekly.html").read_text() == "one"


def test_a_page_made_again_on_other_data_leaves_no_older_translation_beside_it(tmp_path: Path) -> None:
    put(desk_at(tmp_path, 1), "one", data="old", plan="a")
    put(desk_at(tmp_path, 2, notebook="weekly.zh"), "one in Chinese", data="old", plan="a")
    put(desk_at(tmp_path, 3, notebook="stock"), "stock", data="old", plan="a")
    week = put(desk_at(tmp_path, 4), "again", data="old", plan="a")
    assert (week / "weekly.zh.html").read_text() == "one in Chinese"
    for number, entry in enumerate(({"data": "new", "plan": "a"}, {"data": "new", "plan": "b"}), 5):
        week = put(desk_at(tmp_path, 2 * number), "restated", **entry)
        assert {path.name for path in week.glob("*.html")} == {"weekly.html", "stock.html"}
        assert set(reports(week)) == {"weekly", "stock"}
        assert [page["page"] for page in press.recorded(week)["notebooks"]] == ["weekly.html", "stock.html"]
        put(desk_at(tmp_path, 2 * number + 1, notebook="weekly.zh"), "restated in Chinese", **entry)
        assert (week / "weekly.zh.html").read_text() == "restated in Chinese"


def test_two_notebooks_published_at_once_both_stay(tmp_path: Path) -> None:
    def publish_it(number: int) -> None:
        put(desk_at(tmp_path, number, notebook=f"n{number}"), str(number))

    threads = [threading.Thread(target=publish_it, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(reports(tmp_path / "demo" / "2025-W30")) == {f"n{number}" for number in range(8)}


def test_five_unlinked_runs_are_kept_and_linked_ones_always(tmp_path: Path) -> None:
    put(desk_at(tmp_path, 0, label="2025-W29"), "kept by its week")
    for number in range(1, 10):
        put(desk_at(tmp_path, number), str(number))
    kept = sorted(path.name[13:15] for path in (tmp_path / "demo" / "runs").iterdir())
    assert kept == ["00", "04", "05", "06", "07", "08", "09"]


def test_a_reader_never_sees_a_missing_or_half_page(tmp_path: Path) -> None:
    week = put(desk_at(tmp_path, 0), "0" * 200_000)
    seen, done = set(), threading.Event()
    problems: list[object] = []

    def read() -> None:
        while not done.is_set():
            try:
                page = (week / "weekly.html").read_text()
                entry = reports(tmp_path / "demo" / "latest")["weekly"]
            except (OSError, ValueError, KeyError) as error:
                problems.append(error)
                return
            if len(page) != 200_000 or len(set(page)) != 1 or len(entry["text"]) != 200_000:
                problems.append(page[:50])
            seen.add(page[0])

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 40):
        put(desk_at(tmp_path, number), str(number % 10) * 200_000)
    done.set()
    reader.join()
    assert not problems
    assert len(seen) > 1  # the reader was awake while pages changed


STEPS = ("2025-W30", "ledger.csv", "latest", "index.html", "index.zh.html")
"""What a publication renames, in this order."""


def halted(monkeypatch: pytest.MonkeyPatch, at: str, how: BaseException) -> None:
    """Let the rename over `at` fail, as a full disk or the end of the process would."""
    true_replace = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == at and "03Z" in (str(self.readlink()) if self.is_symlink() else self.read_text()):
            raise how
        return true_replace(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("step", ["_join", "_sync", "_beside", "2025-W30", "ledger.csv", "latest"])
def test_a_failure_inside_publication_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    put(desk_at(tmp_path, 1, label="2025-W29"), "older")
    put(desk_at(tmp_path, 2), "old")
    before = tree(tmp_path / "demo")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if step.startswith("_"):
        monkeypatch.setattr(press, step, fail)
    else:
        halted(monkeypatch, step, OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        put(desk_at(tmp_path, 3), "new")
    assert tree(tmp_path / "demo") == before
    assert not list((tmp_path / "demo").rglob("*03Z*"))
    assert not list((tmp_path / ".scratch").iterdir())


def test_a_first_report_that_fails_leaves_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halted(monkeypatch, "latest", OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        put(desk_at(tmp_path, 3), "new")
    assert tree(tmp_path / "demo") == {}


class Death(BaseException):
    """The end of the process."""


def dies(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """End at the rename over `at`: from then on nothing is renamed, removed or undone."""
    true_replace = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name != at:
            return true_replace(self, target)
        for owner, name in ((Path, "replace"), (Path, "unlink"), (shutil, "rmtree")):
            monkeypatch.setattr(owner, name, lambda *_, **__: None)
        raise Death

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_dies_between_two_renames_is_put_right_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    put(desk_at(tmp_path, 1, label="2025-W29"), "older")
    put(desk_at(tmp_path, 2), "old")
    old = tree(tmp_path / "demo")
    with monkeypatch.context() as patch:
        dies(patch, step)
        with pytest.raises(Death):
            put(desk_at(tmp_path, 3), "new")
    left = tree(tmp_path / "demo")
    done = STEPS.index(step)
    assert {name for name in STEPS if left.get(name) != old[name]} == set(STEPS[:done])  # the order that is documented
    assert (tmp_path / "demo" / "2025-W30" / "weekly.html").read_text() == ("new" if done else "old")
    desk = desk_at(tmp_path, 4, notebook="stock", label="2025-W28")
    with press.opened(desk):
        ledger = press.repaired(desk)
    new = ["headline new"] * (done > 0)  # the first rename publishes
    assert list(ledger["headline"]) == ["headline older", "headline old", *new]
    assert (tmp_path / "demo" / "latest").readlink() == (tmp_path / "demo" / "2025-W30").readlink()
    assert ("headline new" in (tmp_path / "demo" / "index.html").read_text()) == bool(new)
    assert not list((tmp_path / "demo").glob(".*"))
    whole = tree(tmp_path / "demo")
    with press.opened(desk):
        press.repaired(desk)
    assert tree(tmp_path / "demo") == whole  # nothing is put right twice


def test_latest_never_moves_back(tmp_path: Path) -> None:
    put(desk_at(tmp_path, 1, label="undated"), "no week")
    assert (tmp_path / "demo" / "latest" / "weekly.html").read_text() == "no week"
    put(desk_at(tmp_path, 2, label="2026-W01"), "newest")
    put(desk_at(tmp_path, 3, label="2025-W52"), "older")
    put(desk_at(tmp_path, 4, label="undated"), "no week")
    assert (tmp_path / "demo" / "latest" / "weekly.html").read_text() == "newest"


def test_latest_leads_to_a_week_that_has_the_weekly_report(tmp_path: Path) -> None:
    put(desk_at(tmp_path, 1, notebook="weekly_report", label="2025-W30"), "whole")
    put(desk_at(tmp_path, 2, notebook="kpi_review", label="2025-W31"), "one notebook alone")
    assert (tmp_path / "demo" / "latest" / "weekly_report.html").read_text() == "whole"
    put(desk_at(tmp_path, 3, notebook="weekly_report", label="2025-W31"), "next")
    assert (tmp_path / "demo" / "latest" / "weekly_report.html").read_text() == "next"
    assert (tmp_path / "demo" / "latest" / "kpi_review.html").read_text() == "one notebook alone"


def test_folders_that_an_analyst_s_tools_leave_are_no_obstacle(tmp_path: Path) -> None:
    week = put(desk_at(tmp_path, 1), "one")
    for place in (week, tmp_path / "demo"):
        (place / ".ipynb_checkpoints").mkdir()
        (place / ".ipynb_checkpoints" / "weekly-checkpoint.ipynb").write_text("{}")
    assert (put(desk_at(tmp_path, 2), "two") / "weekly.html").read_text() == "two"
    assert (tmp_path / "demo" / ".ipynb_checkpoints" / "weekly-checkpoint.ipynb").exists()
    assert not (week / ".ipynb_checkpoints").exists()  # what stands in a week's folder is what runs made


def test_the_ledger_keeps_every_edition_and_its_first_bytes(tmp_path: Path) -> None:
    put(desk_at(tmp_path, 1), "one")
    first = (tmp_path / "demo" / "ledger.csv").read_bytes()
    put(desk_at(tmp_path, 2), "two")
    put(desk_at(tmp_path, 3, notebook="stock"), "three")
    assert (tmp_path / "demo" / "ledger.csv").read_bytes().startswith(first)
    ledger = read_ledger(tmp_path / "demo" / "ledger.csv")
    assert ledger[["notebook", "edition", "headline"]].values.tolist() == [
        ["weekly", 1, "headline one"], ["weekly", 2, "headline two"], ["stock", 1, "headline three"],
    ]  # fmt: skip
    told = json.loads((tmp_path / "demo" / "2025-W30" / "run.json").read_text())
    assert [(page["notebook"], page["claims"][0]["edition"]) for page in told["notebooks"]] == [
        ("stock", 1), ("weekly", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("damage", ["torn", "foreign"])
def test_a_ledger_that_is_none_is_refused_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    put(desk_at(tmp_path, 1), "one")
    file = tmp_path / "demo" / "ledger.csv"
    file.write_bytes(file.read_bytes()[:-7] if damage == "torn" else b"week,headline\n2025-W30,GMV rose\n")
    before = tree(tmp_path / "demo")
    with pytest.raises(ContractError, match=r"ledger\.csv.*Put the last good copy"):
        put(desk_at(tmp_path, 2), "two")
    assert tree(tmp_path / "demo") == before


def test_too_little_room_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=99_000_000))
    with pytest.raises(StorageError, match="has 99 MB free, and a run needs 100"):
        put(desk_at(tmp_path, 1), "one")
    assert not (tmp_path / "demo").exists()
    assert not list((tmp_path / ".scratch").iterdir())


def test_what_stands_where_a_link_belongs_is_not_overwritten(tmp_path: Path) -> None:
    desk = desk_at(tmp_path, 1)
    with press.opened(desk):
        desk.link.mkdir(parents=True)  # made by hand while the notebook ran
        with pytest.raises(ExportError, match="move it away"):
            press.publish(desk, {}, {"notebooks": []}, {})
    with pytest.raises(ExportError, match="move it away"):
        put(desk, "x")
    desk.link.rmdir()
    desk.link.symlink_to("runs/gone")  # a link to nothing is replaced
    assert (put(desk, "x") / "weekly.html").read_text() == "x"


def test_the_lock_is_for_one_report_and_is_given_back(tmp_path: Path) -> None:
    desk = desk_at(tmp_path, 1)
    with press.opened(desk):
        with pytest.raises(BusyError, match="demo-2025-W30-weekly is"), press.opened(desk_at(tmp_path, 2)):
            pass
        assert desk.staging.is_dir()
        put(desk_at(tmp_path, 3, label="2025-W31"), "another week")
    put(desk_at(tmp_path, 4), "after")


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    desk = desk_at(tmp_path, 1)
    desk.staging.mkdir(parents=True)
    (desk.staging / "half.html").write_text("half")
    assert not (put(desk, "x") / "half.html").exists()


def test_a_failure_is_filed_without_secrets_or_paths(tmp_path: Path) -> None:

    desk, job = (
        desk_at(tmp_path, 1),
        Job(Path("weekly.ipynb"), "weekly", {"db_password": "tiger"}, tmp_path, 9.0, tmp_path),
    )
    cells = [
        new_code_cell("db_password = 'tiger'", metadata={"tags": ["injected-parameters"]}),
        new_code_cell("1 / 0"),
    ]
    told = {"input_path": "/somewhere/weekly.ipynb", "output_path": None, "parameters": {"db_password": "tiger"}}
    nbformat.write(new_notebook(cells=cells, metadata={"papermill": told}), job.draft)
    problem = ContractError("tiger finds an amount below 0; correct it.")
    error = failures.file_failure(desk.failed, problem, {"week": "2025-W30"}, [job])
    reason = "[redacted] finds an amount below 0; correct it"
    assert str(error) == f"{reason}; the unfinished notebook and the reason are in {desk.failed}"
    assert type(error) is ContractError
    text = "".join(path.read_text() for path in desk.failed.iterdir())
    assert "tiger" not in text
    assert "somewhere" not in text
    assert "1 / 0" in text
    assert (desk.failed / "error.txt").read_text() == f"{reason}\nexit code: 4\nwhat to do: {problem.remedy}\n"
    record = json.loads((desk.failed / "run.json").read_text())
    assert record == {
        "week": "2025-W30", "exit_code": 4, "error": "ContractError", "message": reason, "what_to_do": problem.remedy,
    }  # fmt: skip


def test_a_torn_notebook_is_left_out_and_the_reason_still_filed(tmp_path: Path) -> None:
    desk, job = desk_at(tmp_path, 1), Job(Path("weekly.ipynb"), "weekly", {}, tmp_path, 9.0, tmp_path)
    job.draft.write_text('{"cells": [{"source": "db_password = \'tiger\'')
    error = failures.file_failure(desk.failed, ExportError("disk is full"), {}, [job])
    assert str(error) == f"disk is full; the reason is in {desk.failed}"
    assert sorted(path.name for path in desk.failed.iterdir()) == ["error.txt", "run.json"]


def test_a_command_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    desk = desk_at(tmp_path / "reports", 1)
    assert str(failures.file_failure(desk.failed, ExportError("no."), {})) == "no"
    assert not (tmp_path / "reports").exists()


def test_the_description_names_data_code_and_packages(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text("name = 'x'")
    table, source = tmp_path / "lines.csv", tmp_path / "weekly.ipynb"
    table.write_text("a\n1\n")
    source.write_text("{}")
    told = manifest.describe(source, manifest.files_of(tmp_path, {"order_lines": [table]}))
    assert [(row["table"], row["name"], row["bytes"]) for row in told["data"]] == [
        ("dataset", "dataset.toml", 10), ("order_lines", "lines.csv", 4),
    ]  # fmt: skip
    assert told["data"][1]["sha256"] == hashlib.sha256(b"a\n1\n").hexdigest()
    assert "git" not in told
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    clean = manifest.describe(source, [])["git"]
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    table.write_text("a\n2\n")
    assert manifest.describe(source, [])["git"] == {"commit": clean["commit"], "dirty": True}
