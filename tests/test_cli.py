"""The command line: one sentence, one exit code, one line of JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.cli import main
from strategy_kit.report import Run

if TYPE_CHECKING:
    from pathlib import Path

TOML = """\
name = "shop"
currency = "CNY"
timezone = "UTC"
data_through = 2025-02-02
[tables]
order_lines = "o.csv"
merchants = "m.csv"
"""
LINES = """\
order_id,line_id,buyer_id,merchant_id,category,paid_at,amount
a,1,b,m,beauty,2025-01-06,5
a,2,b,m,,2025-01-06,6
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A valid data set with one warning."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "dataset.toml").write_text(TOML, encoding="utf-8")
    (folder / "o.csv").write_text(LINES, encoding="utf-8")
    (folder / "m.csv").write_text("merchant_id,category\nm,beauty\n", encoding="utf-8")
    return folder


def last_line(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, object], str]:
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1]), err


def test_check_of_the_sample_exits_0(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sample), "--json"]) == 0
    laws = len(sk.open_dataset(sample).check())
    found, err = last_line(capsys)
    assert found == {"command": "check", "laws": laws, "errors": 0, "warnings": 0, "exit_code": 0}
    assert err == ""


def test_check_without_json_prints_none(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(small)]) == 0
    out, err = capsys.readouterr()
    assert "0 errors, 1 warning" in out.splitlines()[-1]
    assert "{" not in out
    assert err.startswith(
        "warning: order_lines: category is known: 1 row, first: order_id a, line_id 2, category missing"
    )


def test_totals_of_the_last_call_show_restated_weeks_and_are_renewed(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, totals = tmp_path / "data", tmp_path / "kept" / "totals.csv"
    shutil.copytree(sample, data)
    call = ["check", str(data), "--totals", str(totals), "--json"]
    assert main(call) == 0
    first, found = totals.read_bytes(), last_line(capsys)[0]
    assert main(call) == 0
    assert last_line(capsys)[0]["laws"] == found["laws"] + 2
    assert totals.read_bytes() == first
    lines = pd.read_parquet(data / "order_lines.parquet")
    lines.drop(lines.index[lines["paid_at"] >= "2025-03-03"][:3]).to_parquet(data / "order_lines.parquet")
    assert main(call) == 0
    assert "no complete week was restated: 1 row," in last_line(capsys)[1]
    assert totals.read_bytes() != first
    totals.write_text("week,gmv\n", encoding="utf-8")
    assert main(call) == 4
    assert totals.read_text(encoding="utf-8") == "week,gmv\n"


def test_check_of_broken_laws_exits_4_and_names_all(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "o.csv").write_text(LINES + "a,1,b,stranger,beauty,2025-01-07,-3\n", encoding="utf-8")
    assert main(["check", str(small), "--json"]) == 4
    found, err = last_line(capsys)
    assert (found["errors"], found["warnings"], found["exit_code"]) == (3, 2, 4)
    for words in (
        "amount is not negative",
        "is on the roster",
        "never repeat",
        "refunds belong in refund_amount",
    ):
        assert words in err
    assert err.splitlines()[-1].startswith("warning"), "errors come first"


def test_check_of_what_cannot_be_opened(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "o.csv").write_text(LINES.replace("amount", "amuont").replace(",b,", ",,"), encoding="utf-8")
    assert main(["check", str(small), "--json"]) == 4
    found, err = last_line(capsys)
    assert found == {"command": "check", "error": "ContractError", "exit_code": 4}
    assert err.startswith("strategy-kit check: ")
    assert err.count("\n") == 1, "one sentence"
    assert "did you mean 'amuont'?" in err


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_check_of_no_folder_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    assert main(["check", str(tmp_path / "nowhere"), *flags]) == 2
    out, err = capsys.readouterr()
    assert "nowhere does not exist" in err
    assert "Traceback" not in err
    assert (out == "") == (not flags)
    assert not flags or json.loads(out)["error"] == "ParameterError"
    assert list(tmp_path.iterdir()) == []


def test_simulate_writes_a_data_set_that_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tiny"
    given = ["simulate", str(out), "--merchants", "45", "--weeks", "12", "--seed", "3", "--json"]
    assert main(given) == 0
    assert last_line(capsys)[0] == {"command": "simulate", "folder": str(out), "exit_code": 0}
    assert main(["check", str(out)]) == 0
    source = tomllib.loads((out / "dataset.toml").read_text(encoding="utf-8"))["source"]
    assert "--seed 3 --merchants 45 --weeks 12" in source
    assert len(pd.read_parquet(out / "merchants.parquet")) == 45


def test_simulate_refuses_all_at_once_and_leaves_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert main(["simulate", str(tmp_path), "--merchants", "3", "--weeks", "1", "--json"]) == 2
    found, err = last_line(capsys)
    assert (found["error"], found["exit_code"]) == ("ParameterError", 2)
    for words in ("merchants must be", "weeks must be", "holds something"):
        assert words in err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("date", "words"), [("2018-02-05", "olist_orders_dataset"), ("tomorrow", "2018-02-05, not 'tomorrow'")]
)
def test_import_of_nothing_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], date: str, words: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    assert main(["import", "olist", str(source), str(tmp_path / "out"), "--pilot-date", date, "--json"]) == 2
    found, err = last_line(capsys)
    assert found == {"command": "import", "error": "ParameterError", "exit_code": 2}
    assert words in err
    assert not (tmp_path / "out").exists()


def test_doctor_names_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found, _ = last_line(capsys)
    packages = found["found"]
    assert isinstance(packages, dict)
    assert packages["pandas"] == pd.__version__
    assert packages["python"].split(".")[:2] == [str(n) for n in sys.version_info[:2]]
    assert code == found["exit_code"] == int(any(str(state).startswith("missing") for state in packages.values()))


def test_weekly_prints_pages_what_was_left_out_and_the_headline(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, object] = {}

    def run_week(**given: object) -> Run:
        asked.update(given)
        files = [tmp_path / "shop" / "2025-W05" / f"kpi_review{end}" for end in (".html", ".ipynb")]
        told = {"headline": "GMV rose", "week": "2025-W05", "seconds": 9.5, "run_id": "r"}
        return Run(
            *files, files[0].with_name("manifest.json"), **told, pages=(files[0],), left_out={"look": "no pilot"}
        )

    monkeypatch.setattr("strategy_kit.report.batch.run_week", run_week)
    call = ["weekly", "--data", str(small), "--week", "2025-W05", "--out", str(tmp_path), "-p", "language=zh"]
    assert main([*call, "--timeout", "60", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    page, folder = tmp_path / "shop" / "2025-W05" / "kpi_review.html", tmp_path / "shop"
    assert out[:3] == [str(page), "left out: look, since no pilot", "GMV rose"]
    assert json.loads(out[3]) == {
        "command": "weekly", "html": str(page), "headline": "GMV rose", "week": "2025-W05", "run_id": "r",
        "pages": [str(page)], "left_out": {"look": "no pilot"}, "seconds": 9.5,
        "record": str(page.parent / "run.json"), "index": str(folder / "index.html"), "exit_code": 0,
    }  # fmt: skip
    assert asked == {
        "data": small, "out": tmp_path, "week": "2025-W05", "parameters": {"language": "zh"}, "timeout": 60.0,
    }  # fmt: skip
    assert main([*call, "-p", "langage=zh", "--json"]) == 2
    found, err = last_line(capsys)
    assert (found["exit_code"], "did you mean 'language'" in err) == (2, True)


def test_a_stop_from_the_keyboard_ends_with_json_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("strategy_kit.cli._doctor", stopped)
    assert main(["doctor", "--json"]) == 130
    assert last_line(capsys)[0] == {"command": "doctor", "error": "Stopped", "exit_code": 130}


def test_new_writes_a_notebook_and_overwrites_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "refunds", "--folder", str(tmp_path), "--json"]) == 0
    path = tmp_path / "refunds.ipynb"
    assert last_line(capsys)[0] == {"command": "new", "notebook": str(path), "exit_code": 0}
    assert path.is_file()
    assert main(["new", "refunds", "--folder", str(tmp_path), "--json"]) == 2


def test_what_cannot_be_written_has_its_own_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["simulate", str(tmp_path / "file" / "x"), "--merchants", "45", "--weeks", "12", "--json"]) == 73
    assert last_line(capsys)[0]["error"] == "StorageError"


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["chek", "x"],
        ["check"],
        ["simulate", "x", "--weeks", "many"],
        ["import", "amazon", "a", "b"],
        ["check", "x", "--jsn"],
    ],
)
def test_words_that_are_no_command_exit_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(given)
    assert raised.value.code == 2
    assert "usage: strategy-kit" in capsys.readouterr().err


def test_the_module_is_a_program(small: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "strategy_kit.cli", "check", str(small), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout.splitlines()[-1])["warnings"]) == (0, 1)
    assert done.stderr.count("\n") == 1


def test_the_public_door_opens_late_rooms_and_knows_no_others() -> None:
    for name in sk.__all__:
        assert getattr(sk, name) is not None
        assert name in dir(sk)
    assert sk.simulate.__name__ == "strategy_kit.simulate"
    with pytest.raises(AttributeError, match="'strategy_kit' has no attribute 'aac'"):
        _ = sk.aac  # type: ignore[attr-defined]


def test_totals_go_to_a_file(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sample), "--totals", str(tmp_path)]) == 2
    assert f"--totals names a file, and {tmp_path} is a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
