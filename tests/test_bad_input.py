"""Bad input gets a clear sentence and its own exit code, and what was published stays byte for byte."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def market(sample: Path, tmp_path: Path) -> Path:
    """A copy of the sample market that a test may break."""
    folder = tmp_path / "market"
    shutil.copytree(sample, folder)
    with (folder / "dataset.toml").open("a", encoding="utf-8") as file:
        file.write('\n[weekly]\nweekly_report = ["en"]\n')  # one page is refused as five are
    return folder


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A reports folder with a page that must survive."""
    page = tmp_path / "reports" / "sample" / "runs" / "20250101T000000Z-0000" / "weekly_report.html"
    page.parent.mkdir(parents=True)
    page.write_text("the last good page", encoding="utf-8")
    return tmp_path / "reports"


def fingerprint(folder: Path) -> dict[str, str]:
    """Hash every published file; locks and failed runs are not published."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not {"failed", ".locks"} & set(p.parts)]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def lines(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Rewrite the order lines."""
    path = folder / "order_lines.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def describe(folder: Path, old: str, new: str) -> None:
    """Rewrite a piece of dataset.toml."""
    path = folder / "dataset.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def missing_file(folder: Path) -> None:
    (folder / "merchants.parquet").unlink()


def wrong_column(folder: Path) -> None:
    lines(folder, lambda f: f.rename(columns={"amount": "amout"}))


def duplicate_key(folder: Path) -> None:
    lines(folder, lambda f: pd.concat([f, f.head(3)]))


def negative_amount(folder: Path) -> None:
    lines(folder, lambda f: f.assign(amount=f["amount"].astype(float).where(np.arange(len(f)) > 1, -5.0)))


def text_in_numbers(folder: Path) -> None:
    lines(folder, lambda f: f.assign(amount=f["amount"].astype(str).where(np.arange(len(f)) > 1, "n/a")))


def empty_table(folder: Path) -> None:
    lines(folder, lambda f: f.head(0))


def silent_week(folder: Path) -> None:
    lines(folder, lambda f: f[~f["paid_at"].between("2025-07-21", "2025-07-28")])


def no_pilot(folder: Path) -> None:
    path = folder / "dataset.toml"
    text = path.read_text(encoding="utf-8")
    start, stop = text.index("[pilot]"), text.index("[plan]")
    path.write_text(text[:start] + text[stop:], encoding="utf-8")


def no_past(folder: Path) -> None:
    start = next(line for line in (folder / "dataset.toml").read_text().splitlines() if line.startswith("starts_on"))
    describe(folder, start, "starts_on = 2024-07-29")


def nothing(folder: Path) -> None:
    assert folder.is_dir()


CASES = {
    "missing file": (missing_file, [], 4, ["tables.merchants", "no file matches 'merchants.parquet'"]),
    "wrong column": (wrong_column, [], 4, ["order_lines.amount is missing", "did you mean 'amout'"]),
    "duplicate key": (duplicate_key, [], 4, ["order_id and line_id never repeat", "3 rows"]),
    "negative amount": (
        negative_amount,
        [],
        4,
        ["amount is not negative", "2 rows", "refunds belong in refund_amount"],
    ),
    "text in a number column": (text_in_numbers, [], 4, ["order_lines.amount must be a number", "2 rows", "'n/a'"]),
    "empty table": (empty_table, [], 4, ["order_lines", "no row"]),
    "week without data": (silent_week, ["--week", "2025-W30"], 2, ["2025-W30", "no order at all"]),
    "week after data_through": (nothing, ["--week", "2025-W40"], 7, ["2025-W40 is not complete", "2025-W30"]),
    "unknown parameter": (nothing, ["-p", "langage=zh"], 2, ["langage", "did you mean 'language'"]),
    "parameter of the wrong type": (nothing, ["-p", "weeks_before=many"], 2, ["weeks_before", "many"]),
    "unknown language": (nothing, ["-p", "language=fr"], 2, ["language is one of en, zh"]),
    "pilots without a past": (no_past, [], 3, ["no period", "before"]),
}


@pytest.mark.parametrize("name", CASES)
def test_weekly_refuses_and_keeps_what_was_published(
    name: str, market: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it, options, exit_code, words = CASES[name]
    break_it(market)
    before = fingerprint(published)
    code = main(["weekly", "--data", str(market), "--out", str(published), *options])
    said = capsys.readouterr().err
    assert code == exit_code, said
    assert all(word in said for word in words), said
    assert "Traceback" not in said
    assert fingerprint(published) == before


def test_the_weekly_report_without_a_pilot_is_refused(
    market: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A week leaves it out and publishes the rest; asked for by name it is refused."""
    no_pilot(market)
    before = fingerprint(published)
    assert main(["run", "weekly_report", "--data", str(market), "--out", str(published)]) == 3
    said = capsys.readouterr().err
    assert "names no pilot categories" in said
    assert "[pilot]" in said
    assert fingerprint(published) == before


def test_missing_folder_is_a_parameter_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weekly", "--data", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_check_exits_4_for_a_broken_law_and_prints_every_law(market: Path, capsys: pytest.CaptureFixture[str]) -> None:
    duplicate_key(market)
    assert main(["check", str(market)]) == 4
    printed = capsys.readouterr()
    assert "order_id and line_id never repeat" in printed.err
    assert printed.out.count("\n") > len(sk.open_dataset(market).check())


def test_no_cohort_with_a_period_before_it_starts() -> None:
    panel = sk.Panel.from_matrix(np.ones((4, 3)), treated_from=[1, 1, 0, 0])
    with pytest.raises(sk.errors.DesignError, match="no treated cohort with a period before its start") as refusal:
        sk.did.group_time(panel)
    assert refusal.value.exit_code == 3


def test_one_cohort_and_no_control() -> None:
    panel = sk.Panel.from_matrix(np.ones((4, 3)), treated_from=[2, 2, 2, 2])
    with pytest.raises(sk.errors.DesignError, match="nothing to compare with") as refusal:
        sk.did.group_time(panel, control="not_yet")
    assert refusal.value.exit_code == 3
