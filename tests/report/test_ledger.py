"""The ledger keeps every claim, is never written over when it is torn, and is followed as one would by hand."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from strategy_kit.errors import ContractError, NotebookError, ParameterError
from strategy_kit.report.claims import Spread
from strategy_kit.report.ledger import (
    COLUMNS,
    calibration,
    claim_rows,
    extended,
    followed,
    ledger_from,
    parsed,
    read_ledger,
)

if TYPE_CHECKING:
    from pathlib import Path

TOLD = {"notebook": "weekly_report", "language": "en", "run_id": "r1", "published_at": "2025-07-28T06:00:00Z",
        "week": "2025-W30", "data_through": "2025-07-30"}  # fmt: skip
CLAIM = {"headline": 'GMV "rose", by 5%\nor so 中', "verb": "rose", "decision": "extend", "language": "en",
         "metric": "gmv", "week": "2025-W30", "estimate": 0.1 + 0.2, "std_error": 1e-17, "degrees_of_freedom": "inf",
         "widening": 1, "conf_low": -1 / 3, "conf_high": 2 / 3, "level": 0.95, "looks": "declared",
         "threshold": 0.0296, "chance": 0.917, "weeks_after": 15, "horizon": 26, "last_week_again": None,
         "unknown": 1}  # fmt: skip


def row(week: str, estimate: float, **more: Any) -> dict[str, Any]:
    """A claim of standard error 0.05 on 6 degrees of freedom with its 95 % interval."""
    half = float(t.ppf(0.975, 6)) * 0.05
    told = {"run_id": week, "edition": 1, "notebook": "weekly_report", "language": "en", "week": week, "metric": "gmv",
            "published_at": f"{week}T06:00:00Z", "headline": week, "decision": "hold", "estimate": estimate,
            "std_error": 0.05, "degrees_of_freedom": 6.0, "widening": 1.0, "level": 0.95, "weeks_after": 3,
            "horizon": 26, "conf_low": estimate - half, "conf_high": estimate + half}  # fmt: skip
    return {**told, **more}


def test_a_claim_comes_back_with_every_digit(tmp_path: Path) -> None:
    rows = claim_rows([CLAIM], TOLD, ledger_from([]))
    file = tmp_path / "ledger.csv"
    file.write_text(extended("", rows), encoding="utf-8", newline="")
    found = read_ledger(file)
    assert list(found.columns) == list(COLUMNS)
    told = found.iloc[0]
    assert told["headline"] == CLAIM["headline"]
    numbers = ("estimate", "std_error", "conf_low", "conf_high", "threshold", "weeks_after", "horizon", "level")
    assert {name: told[name] for name in numbers} == {name: CLAIM[name] for name in numbers}
    assert (told["week"], told["data_through"]) == (pd.Timestamp("2025-07-21"), pd.Timestamp("2025-07-30"))
    assert told["published_at"] == pd.Timestamp("2025-07-28T06:00:00Z")
    assert (told["degrees_of_freedom"], told["edition"]) == (np.inf, 1)
    assert pd.isna(told["last_week_again"])
    assert pd.isna(told["plan_fingerprint"])
    assert extended(extended("", rows), []) == extended("", rows)


def test_an_old_claim_of_a_headline_alone_is_kept() -> None:
    rows = claim_rows([{"headline": "GMV rose"}], {**TOLD, "week": None}, ledger_from([]))
    found = parsed(extended("", rows), "ledger")
    assert found.loc[0, "headline"] == "GMV rose"
    assert found[["week", "estimate", "metric", "horizon"]].isna().all(axis=None)
    assert followed(found).empty


def test_editions_count_by_page_and_week() -> None:
    rows: list[dict[str, Any]] = []
    counted = []
    for change in (
        {},
        {},
        {"language": "zh"},
        {"week": "2025-W31"},
        {"week": None},
        {"week": None},
        {"language": "zh"},
    ):
        new = claim_rows([CLAIM, CLAIM], {**TOLD, **change}, ledger_from(rows))
        rows += new
        counted.append([claim["edition"] for claim in new])
    assert counted == [[1, 1], [2, 2], [1, 1], [1, 1], [1, 1], [2, 2], [2, 2]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"estimate": "large"}, "estimate of the claim .* is no number: 'large'"),
        ({"weeks_after": 2.5}, "weeks_after .* is no integer"),
        ({"chance": True}, "chance .* is no number"),
        ({"headline": ""}, "no headline"),
        ({"headline": None}, "no headline"),
    ],
)
def test_a_claim_of_the_wrong_kind_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(NotebookError, match=words):
        claim_rows([{**CLAIM, **change}], TOLD, ledger_from([]))


GOOD = extended("", [row("2025-07-21", 0.1), row("2025-07-28", 0.2)])


def cell(name: str, value: str) -> str:
    """The good ledger with one value of its last line changed."""
    lines = list(csv.reader(io.StringIO(GOOD)))
    lines[-1][list(COLUMNS).index(name)] = value
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD[:-1], "ends in the middle of a line"),
        (GOOD[:-30] + "\n", "line 3 has 1[0-9] of 26 values"),
        (GOOD.replace("2025-07-21,2025-07-21", '2025-07-21,"2025-07-21'), "torn"),
        ("week,gmv\n1,2\n", "first line is not that of a ledger of claims, but 'week,gmv'"),
        ("", "ends in the middle"),
        (cell("estimate", "0.1.2"), "line 3: estimate is no number: '0.1.2'"),
        (cell("edition", ""), "line 3: edition is no integer"),
        (cell("published_at", "2025-07-28T06:00:00"), "published_at is no time"),
        (cell("week", "2025-W31"), "week is no day"),
        (cell("run_id", ""), "run_id is no text"),
    ],
)
def test_what_is_torn_or_foreign_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert text != GOOD
    file = tmp_path / "ledger.csv"
    file.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ContractError, match=words) as caught:
        read_ledger(file)
    assert "Put the last good copy of the file back" in str(caught.value)


def test_bytes_that_are_no_text_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.csv").write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(ContractError, match="last good copy"):
        read_ledger(tmp_path / "ledger.csv")
    with pytest.raises(ParameterError, match="no ledger"):
        read_ledger(tmp_path / "none.csv")


@given(cut=st.integers(1, len(GOOD) - 1))
@settings(max_examples=60, deadline=None)
def test_no_torn_ledger_gives_a_claim_that_was_not_made(cut: int) -> None:
    """A cut is refused, or falls between two lines and leaves whole claims."""
    try:
        left = parsed(GOOD[:cut], "ledger")
    except ContractError:
        return
    assert GOOD[:cut].endswith("\n")
    pd.testing.assert_frame_equal(left, parsed(GOOD, "ledger").iloc[: len(left)])


def test_followed_by_hand() -> None:
    ledger = ledger_from(
        [
            row("2025-07-07", 0.10),
            row("2025-07-14", 0.30, last_week_again=0.12),
            row(
                "2025-07-14", 0.20, edition=2, run_id="again", published_at="2025-07-16T06:00:00Z", last_week_again=0.13
            ),
            row("2025-07-28", 0.16, last_week_again=0.5),  # a week without report lies before it
            row("2025-07-28", 0.16, language="zh", headline="中", last_week_again=0.5),
            row("2025-07-28", 9.0, notebook="other", last_week_again=0.5),
        ]
    )
    rows = followed(ledger)
    rows = rows[rows["notebook"] == "weekly_report"].reset_index(drop=True)
    assert rows["week"].dt.strftime("%m-%d").tolist() == ["07-07", "07-14", "07-28"]
    assert rows["estimate"].tolist() == [0.10, 0.20, 0.16]
    assert rows["first_estimate"].tolist() == [0.10, 0.30, 0.16]
    assert rows["edition"].tolist() == [1, 2, 1]
    assert rows["headline"].tolist()[2] == "2025-07-28"  # the page's own language, which is the first of the run
    np.testing.assert_array_equal(rows["revised"], [0.13, np.nan, np.nan])
    np.testing.assert_array_equal(rows["outcome"], [0.16, 0.16, np.nan])
    assert not rows["outcome_final"].any()
    half = Spread(0.0, 0.05, 6.0).interval(0.8)[1]
    assert 0.06 < half < 0.08
    assert rows["inside_80"].tolist()[:2] == [half >= 0.06, True]
    assert rows["inside"].tolist()[:2] == [True, True]
    assert rows["inside"].isna().tolist() == [False, False, True]


def test_the_answer_at_the_horizon_is_the_outcome_and_stays_it() -> None:
    weeks = pd.date_range("2025-07-07", periods=4, freq="W-MON").strftime("%Y-%m-%d")
    rows = [row(week, n / 10, weeks_after=24 + n, horizon=26) for n, week in enumerate(weeks)]
    found = followed(ledger_from(rows))
    np.testing.assert_array_equal(found["outcome"], [0.2, 0.2, np.nan, np.nan])
    assert found["outcome_final"].all()
    assert (found["outcome_week"] == pd.Timestamp(weeks[2])).all()


def test_the_interval_is_as_wide_as_the_looks_ask() -> None:
    narrow, wide = (
        followed(ledger_from([row("2025-07-07", 0.0, widening=w), row("2025-07-14", 0.1)]))["inside_80"].iloc[0]
        for w in (1.0, 2.0)
    )
    assert Spread(0.0, 0.05, 6.0, 1.0).interval(0.8)[1] < 0.1 < Spread(0.0, 0.05, 6.0, 2.0).interval(0.8)[1]
    assert (narrow, wide) == (False, True)


def test_calibration_counts_what_followed_tells() -> None:
    rng = np.random.default_rng(5)
    weeks = pd.date_range("2025-01-06", periods=20, freq="W-MON").strftime("%Y-%m-%d")
    ledger = ledger_from([row(week, float(rng.normal(0.1, 0.06))) for week in weeks])
    counted, rows = calibration(ledger), followed(ledger)
    assert counted["level"].tolist() == [0.8, 0.95]
    assert counted["forecasts"].tolist() == [19, 19]
    assert counted["inside"].tolist() == [int(rows["inside_80"].sum()), int(rows["inside"].sum())]
    assert 0 < counted["inside"].iloc[0] < counted["inside"].iloc[1]


def test_nothing_published_is_nothing_followed() -> None:
    assert followed(ledger_from([])).empty
    assert calibration(ledger_from([])).empty
    assert calibration(ledger_from([row("2025-07-07", 0.1)])).empty


def test_every_column_is_explained_where_reports_lie(root: Path) -> None:
    ledger = ledger_from([row("2025-07-07", 0.1), row("2025-07-14", 0.1)])
    frames = (ledger, followed(ledger), calibration(ledger))
    told = set(re.findall(r"`(\w+)`", (root / "reports" / "README.md").read_text(encoding="utf-8")))
    assert not {name for frame in frames for name in frame.columns} - told
