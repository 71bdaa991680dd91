"""Publication is one step for a reader, and a failure inside it leaves no trace."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from strategy_kit.errors import BusyError, ContractError, ExportError
from strategy_kit.report import publish as press
from strategy_kit.report.publish import Desk


def desk_at(out: Path, number: int, *, notebook: str = "weekly", label: str = "2025-W30") -> Desk:
    return Desk(out, "demo", label, notebook, f"20250724T1015{number:02d}Z-0000")


def put(desk: Desk, text: str) -> Path:
    """Publish a page of this text, as a run does once its notebook is good."""
    with press.opened(desk):
        desk.draft.write_text(text)
        desk.draft.with_suffix(".html").write_text(text)
        return press.publish(desk, {"run_id": desk.run_id, "text": text})


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
        "weekly.html", "weekly.ipynb", "stock.html", "stock.ipynb", "manifest.json",
    }  # fmt: skip
    assert {name: entry["text"] for name, entry in reports(week).items()} == {
        "weekly": "three",
        "stock": "two",
    }
    assert (week / "stock.html").read_text() == "two"
    first = tmp_path / "demo" / "runs" / "20250724T101501Z-0000"
    assert (first / "weekly.html").read_text() == "one"


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


@pytest.mark.parametrize("step", ["_join", "_point", "_sync", "second _point"])
def test_a_failure_inside_publication_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    put(desk_at(tmp_path, 1, label="2025-W29"), "older")
    put(desk_at(tmp_path, 2), "old")
    before = tree(tmp_path / "demo")
    true_point = press._point

    def fail(*given: Any) -> None:
        if step == "second _point" and given[0].name != "latest":
            true_point(*given)
        elif step != "second _point" or given[1] == Path("runs", "20250724T101503Z-0000"):
            raise OSError(28, "No space left on device")
        else:
            true_point(*given)

    name = step.removeprefix("second ")
    if name == "_point":
        monkeypatch.setattr(press, name, lambda link, target: fail(link, target) if "03Z" in str(target)
                            else true_point(link, target))  # fmt: skip
    else:
        monkeypatch.setattr(press, name, fail)
    with pytest.raises(OSError, match="No space"):
        put(desk_at(tmp_path, 3), "new")
    assert tree(tmp_path / "demo") == before
    assert not list((tmp_path / "demo").rglob("*03Z*"))
    assert not list((tmp_path / ".scratch").iterdir())


def test_a_first_report_that_fails_leaves_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_point = press._point

    def fail(link: Path, target: Path | None) -> None:
        if link.name == "latest" and target is not None:
            raise OSError(28, "No space left on device")
        true_point(link, target)

    monkeypatch.setattr(press, "_point", fail)
    with pytest.raises(OSError, match="No space"):
        put(desk_at(tmp_path, 1), "new")
    assert tree(tmp_path / "demo") == {}


def test_what_stands_where_a_link_belongs_is_not_overwritten(tmp_path: Path) -> None:
    desk = desk_at(tmp_path, 1)
    with press.opened(desk):
        desk.draft.write_text("x")
        desk.links[0].mkdir(parents=True)  # made by hand while the notebook ran
        with pytest.raises(ExportError, match="move it away"):
            press.publish(desk, {})
    with pytest.raises(ExportError, match="move it away"):
        put(desk, "x")
    desk.links[0].rmdir()
    desk.links[0].symlink_to("runs/gone")  # a link to nothing is replaced
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
    import nbformat

    desk = desk_at(tmp_path, 1)
    cells = [
        new_code_cell("db_password = 'tiger'", metadata={"tags": ["injected-parameters"]}),
        new_code_cell("1 / 0"),
    ]
    told = {
        "input_path": "/somewhere/weekly.ipynb",
        "output_path": None,
        "parameters": {"db_password": "tiger"},
    }
    with press.opened(desk):
        nbformat.write(new_notebook(cells=cells, metadata={"papermill": told}), desk.draft)
        error = press.file_failure(
            desk, ContractError("amount is below 0; correct it."), {"db_password": "tiger", "n": 1}
        )
    assert str(error) == f"amount is below 0; correct it; the unfinished notebook and the reason are in {desk.failed}"
    assert type(error) is ContractError
    text = (desk.failed / "weekly.ipynb").read_text()
    assert "tiger" not in text
    assert "somewhere" not in text
    assert "1 / 0" in text
    assert (desk.failed / "error.txt").read_text().splitlines()[1] == "exit code: 4"


def test_a_torn_notebook_is_left_out_and_the_reason_still_filed(tmp_path: Path) -> None:
    desk = desk_at(tmp_path, 1)
    with press.opened(desk):
        desk.draft.write_text('{"cells": [{"source": "db_password = \'tiger\'')
        press.file_failure(desk, ExportError("disk is full"), {})
    assert [path.name for path in desk.failed.iterdir()] == ["error.txt"]


def test_the_description_names_data_code_and_packages(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text("name = 'x'")
    table, source = tmp_path / "lines.csv", tmp_path / "weekly.ipynb"
    table.write_text("a\n1\n")
    source.write_text("{}")
    told = press.describe(source, tmp_path, {"order_lines": [table]})
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
    clean = press.describe(source, tmp_path, {})["git"]
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    table.write_text("a\n2\n")
    assert press.describe(source, tmp_path, {})["git"] == {"commit": clean["commit"], "dirty": True}
