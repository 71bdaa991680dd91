"""With --json every command ends stdout with one line of JSON, after a success and after a failure."""

from __future__ import annotations

import importlib.metadata
import json
import runpy
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strategy_kit import cli, errors

if TYPE_CHECKING:
    from collections.abc import Callable

RETAIL = runpy.run_path(str(Path(__file__).parent / "methods" / "test_import_online_retail.py"))


def commands() -> set[str]:
    """The commands of the parser."""
    (choices,) = (action.choices for action in cli._parser()._actions if getattr(action, "choices", None))
    return set(choices)


def market(folder: Path, sample: Path) -> Path:
    """The sample, whose weekly run is one notebook."""
    data = folder / "market"
    shutil.copytree(sample, data)
    text = (data / "dataset.toml").read_text(encoding="utf-8")
    (data / "dataset.toml").write_text(
        text.replace("[tables]", '[weekly]\ndata_check = ["en"]\n\n[tables]'), encoding="utf-8"
    )
    return data


Words = list[str]
GOOD: dict[str, Callable[[Path, Path], Words]] = {
    "simulate": lambda data, out: [str(out / "made"), "--merchants", "45", "--weeks", "12"],
    "import": lambda data, out: ["online-retail", str(RETAIL["Files"](out / "src").folder), str(out / "retail")],
    "check": lambda data, out: [str(data)],
    "plan": lambda data, out: [str(data)],
    "run": lambda data, out: ["data_check", "--data", str(data), "--out", str(out)],
    "weekly": lambda data, out: ["--data", str(data), "--out", str(out)],
    "new": lambda data, out: ["refunds_by_size", "--folder", str(out)],
    "doctor": lambda data, out: [],
}
BAD: dict[str, Callable[[Path, Path], Words]] = {
    "simulate": lambda data, out: [str(out / "made"), "--merchants", "3"],
    "import": lambda data, out: ["online-retail", str(out / "nowhere"), str(out / "retail")],
    "check": lambda data, out: [str(out / "nowhere")],
    "plan": lambda data, out: [str(out / "nowhere")],
    "run": lambda data, out: ["data_chek", "--data", str(data), "--out", str(out)],
    "weekly": lambda data, out: ["--data", str(data), "--out", str(out), "--week", "2099-W01"],
    "new": lambda data, out: ["weekly_report", "--folder", str(out)],
    "doctor": lambda data, out: [],
}


def last_line(capsys: pytest.CaptureFixture[str], command: str, words: Words) -> tuple[int, dict[str, Any], str]:
    code = cli.main([command, *words, "--json"])
    out, err = capsys.readouterr()
    assert out.endswith("\n")
    return code, json.loads(out.splitlines()[-1]), err


def test_every_command_is_tried() -> None:
    assert commands() == set(GOOD) == set(BAD)


@pytest.mark.parametrize("command", GOOD)
def test_a_success_ends_with_json(
    command: str, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told, _ = last_line(capsys, command, GOOD[command](market(tmp_path, sample), tmp_path))
    assert (code, told["exit_code"], told["command"]) == (0, 0, command)
    assert "error" not in told
    for name in ("folder", "html", "notebook", "record", "index"):
        assert name not in told or Path(told[name]).exists()


@pytest.mark.parametrize("command", BAD)
def test_a_failure_ends_with_json_too(
    command: str, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if command == "doctor":

        def missing(name: str) -> str:
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "version", missing)
    code, told, err = last_line(capsys, command, BAD[command](market(tmp_path, sample), tmp_path))
    assert code == told["exit_code"] != 0
    assert told["command"] == command
    if command == "doctor":
        assert any(state.startswith("missing") for state in told["found"].values())
    else:
        assert getattr(errors, told["error"]).exit_code == code
        assert err.startswith(f"strategy-kit {command}: "), "the reason, for people"
        assert err.count("\n") == 1
