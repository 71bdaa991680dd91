"""The ledger: one line for every claim that was ever published, and how those claims have fared since.

Lines are only ever added. A week that is published again is a further edition of it; its earlier lines stay.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from strategy_kit.errors import ContractError, NotebookError, ParameterError, refuse
from strategy_kit.periods import parse_week

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

COLUMNS: dict[str, str] = {
    "published_at": "time", "run_id": "text", "edition": "integer", "notebook": "text", "language": "text",
    "week": "day", "headline": "text", "verb": "text", "decision": "text", "metric": "text",
    "estimate": "number", "std_error": "number", "degrees_of_freedom": "number", "widening": "number",
    "conf_low": "number", "conf_high": "number", "level": "number", "looks": "text",
    "threshold": "number", "chance": "number", "weeks_after": "integer", "horizon": "integer",
    "last_week_again": "number", "data_through": "day", "data_fingerprint": "text", "plan_fingerprint": "text",
}  # fmt: skip
"""Columns of the ledger in their order, and the kind of each. Estimates, ends and threshold are in log points."""
_ALWAYS = ("published_at", "run_id", "edition", "notebook", "headline")
_DTYPES = {"time": "datetime64[us, UTC]", "day": "datetime64[us]", "integer": "Int64", "number": "float64",
    "text": "str"}  # fmt: skip
_WRITTEN = {"time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "day": r"\d{4}-\d\d-\d\d"}
_WEEK = pd.Timedelta(weeks=1)
_NARROW = 0.8
"""Level of the narrower interval that claims are held to beside their own."""


def read_ledger(path: Path) -> pd.DataFrame:
    """Read a ledger that runs have written.

    Returns
    -------
    DataFrame
        One row a claim in the order of publication, `COLUMNS` with their types; what a claim did not tell is missing.

    Raises
    ------
    ParameterError
        If there is no such file.
    ContractError
        If it is torn, or no ledger; nothing is ever written over such a file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> row = {"published_at": "2025-07-28T06:00:00Z", "run_id": "a", "edition": 1, "notebook": "weekly_report",
    ...        "headline": "GMV rose", "week": "2025-07-21", "estimate": 0.1}
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "ledger.csv")
    ...     _ = file.write_text(extended("", [row]))
    ...     read_ledger(file)[["week", "estimate"]]
            week  estimate
    0 2025-07-21       0.1
    """
    if not path.is_file():
        raise ParameterError(f"there is no ledger {path}; the first published week makes one")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractError(
            f"{path} is not the ledger that runs wrote: {error}; put its last good copy back"
        ) from error
    return parsed(text, str(path))


def parsed(text: str, subject: str) -> pd.DataFrame:
    """Return the table that the text of a ledger holds; `subject` opens the sentence of a refusal, as by `read_ledger`.

    Examples
    --------
    >>> len(parsed(extended("", []), "ledger.csv"))
    0
    """
    rows, laws = _rows(text)
    if laws:
        laws = [*laws[:3], *([f"and {len(laws) - 3} more."] if len(laws) > 3 else [])]
        laws[-1] += " Put the last good copy of the file back; runs only add lines to it."
    refuse(ContractError, subject, laws)
    return ledger_from(rows)


def ledger_from(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return claims as the typed table that `read_ledger` gives; times and days as ISO text, or as such.

    Examples
    --------
    >>> ledger_from([{"notebook": "weekly_report", "week": "2025-07-21", "horizon": 26}]).loc[0, "horizon"]
    np.int64(26)
    """
    frame = pd.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], columns=list(COLUMNS))
    for name, kind in COLUMNS.items():
        column: pd.Series[Any] = frame[name]
        if kind in ("time", "day"):
            column = pd.to_datetime(column, utc=kind == "time")
        elif kind == "integer":
            column = column.astype("float64")
        dtype: Any = _DTYPES[kind]
        frame[name] = column.astype(dtype)
    return frame


def claim_rows(
    claims: Sequence[Mapping[str, Any]], told: Mapping[str, Any], ledger: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return the ledger's rows for the claims of one page, each with the number of its edition.

    Parameters
    ----------
    claims
        As the notebook emitted them; keys that the ledger does not have are left out.
    told
        What the run knows: published_at, run_id, notebook, language, week, data_through and the fingerprints.

    Raises
    ------
    NotebookError
        If a value of a claim is not of its column's kind.
    """
    laws, rows = list[str](), []
    for claim in claims:
        row: dict[str, Any] = {}
        for name, kind in COLUMNS.items():
            given = told.get(name, claim.get(name))
            try:
                row[name] = None if given is None else _value(kind, parse_week(given) if name == "week" else given)
            except (ValueError, TypeError, ParameterError):
                laws.append(f"{name} of the claim {claim.get('headline')!r} is no {kind}: {given!r}.")
        if row.get("headline") in (None, ""):
            laws.append("a claim has no headline; emit it with report.page.statement.")
        rows.append(row)
    refuse(NotebookError, str(told["notebook"]), laws)
    for row in rows:
        same = ledger["notebook"].eq(row["notebook"]) & ledger["language"].fillna("").eq(row["language"] or "")
        same &= ledger["week"].eq(pd.Timestamp(row["week"])) if row["week"] else ledger["week"].isna()
        row["edition"] = 1 if not same.any() else int(ledger.loc[same, "edition"].max()) + 1
    return rows


def extended(text: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of a ledger with further rows at its end; an empty text gets the head first.

    Examples
    --------
    >>> extended("", []).split(",")[:3]
    ['published_at', 'run_id', 'edition']
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if not text:
        writer.writerow(COLUMNS)
    writer.writerows([[_written(row.get(name)) for name in COLUMNS] for row in rows])
    return text + stream.getvalue()


def followed(ledger: pd.DataFrame) -> pd.DataFrame:
    """Follow each week's last edition: what was said again of that week later, and what came of it.

    Parameters
    ----------
    ledger
        From `read_ledger`. A page that is to stay the same when it is made again passes the rows of earlier weeks only.

    Returns
    -------
    DataFrame
        One row a notebook, metric and week that claimed a number: language, edition, published_at, headline, decision,
        estimate, conf_low, conf_high, level and plan_fingerprint of its last edition; first_estimate, of its first;
        revised, the same week's estimate as the next week's claim gave it (missing where there is none);
        outcome_week and outcome, the estimate of the first week at the plan's horizon, or else of the latest (missing
        from that week on); outcome_final, whether that week was at the horizon;
        inside_80 and inside, whether the claim's 80 % interval and its own one contain the outcome.

    Examples
    --------
    >>> rows = [{"run_id": str(week), "edition": 1, "notebook": "weekly_report", "week": f"2025-07-{week:02d}",
    ...          "published_at": f"2025-08-{week:02d}T06:00:00Z", "metric": "gmv", "estimate": week / 100,
    ...          "last_week_again": (week - 6) / 100, "std_error": 0.06, "degrees_of_freedom": 8.0, "widening": 1.0,
    ...          "conf_low": week / 100 - 0.115, "conf_high": week / 100 + 0.115} for week in (7, 14, 21)]
    >>> followed(ledger_from(rows))[["estimate", "revised", "outcome", "inside_80", "inside"]].round(3)
       estimate  revised  outcome  inside_80  inside
    0      0.07     0.08     0.21      False   False
    1      0.14     0.15     0.21       True    True
    2      0.21      NaN      NaN       <NA>    <NA>
    """
    from scipy.special import stdtrit  # here, as the runner reads the ledger before any kernel starts

    keys, group = ["notebook", "metric", "week"], ["notebook", "metric"]
    told = ledger.dropna(subset=["week", "estimate"])
    told = told[told["metric"].fillna("") != ""].sort_values([*keys, "published_at"], kind="stable")
    newest = told["run_id"] == told.groupby(keys)["run_id"].transform("last")
    rows = told[newest].drop_duplicates(keys).reset_index(drop=True)
    first = told.drop_duplicates(keys)[[*keys, "estimate"]].rename(columns={"estimate": "first_estimate"})
    rows = rows.merge(first, on=keys, how="left", validate="1:1")
    again = rows[[*keys, "last_week_again"]].rename(columns={"last_week_again": "revised"})
    rows = rows.drop(columns="last_week_again")
    rows = rows.merge(again.assign(week=again["week"] - _WEEK), on=keys, how="left", validate="1:1")
    ended = (rows["weeks_after"] >= rows["horizon"]).fillna(value=False).astype(bool)
    ends = rows.assign(outcome_final=ended, order=np.where(ended, rows.index, len(rows) + len(rows) - rows.index))
    ends = ends.sort_values("order", kind="stable").drop_duplicates(group)
    ends = ends.rename(columns={"week": "outcome_week", "estimate": "outcome"})
    rows = rows.merge(ends[[*group, "outcome_week", "outcome", "outcome_final"]], on=group, validate="m:1")
    rows.loc[rows["week"] >= rows["outcome_week"], "outcome"] = np.nan
    half = stdtrit(rows["degrees_of_freedom"], 0.5 + _NARROW / 2) * rows["std_error"] * rows["widening"].fillna(1.0)
    rows["inside_80"] = _inside(rows["outcome"], rows["estimate"] - half, rows["estimate"] + half)
    rows["inside"] = _inside(rows["outcome"], rows["conf_low"], rows["conf_high"])
    said = ["language", "edition", "published_at", "headline", "decision", "estimate", "conf_low", "conf_high", "level",
            "plan_fingerprint"]  # fmt: skip
    since = ["first_estimate", "revised", "outcome_week", "outcome", "outcome_final", "inside_80", "inside"]
    return rows[[*keys, *said, *since]]


def calibration(ledger: pd.DataFrame) -> pd.DataFrame:
    """Count how many of the claims so far held their outcome, in their 80 % interval and in their own.

    Returns
    -------
    DataFrame
        One row a notebook, metric and level: forecasts, claims whose outcome is known; inside, how many held it;
        outcome_final, whether the outcome is that of the plan's horizon. Claims of one pilot share its luck: 10 of 10
        inside is not ten pilots.

    Examples
    --------
    >>> rows = [{"run_id": str(week), "edition": 1, "notebook": "weekly_report", "week": f"2025-07-{week:02d}",
    ...          "published_at": f"2025-08-{week:02d}T06:00:00Z", "metric": "gmv", "estimate": week / 100, "level": 0.95,
    ...          "std_error": 0.06, "degrees_of_freedom": 8.0, "widening": 1.0,
    ...          "conf_low": week / 100 - 0.115, "conf_high": week / 100 + 0.115} for week in (7, 14, 21)]
    >>> calibration(ledger_from(rows))[["level", "forecasts", "inside"]]
       level  forecasts  inside
    0   0.80          2       1
    1   0.95          2       1
    """
    rows = followed(ledger)
    narrow = rows.assign(level=_NARROW, inside=rows["inside_80"])
    known = pd.concat([narrow, rows]).dropna(subset=["inside", "level"])
    counted = known.groupby(["notebook", "metric", "level"], as_index=False).agg(
        forecasts=("inside", "size"), inside=("inside", "sum"), outcome_final=("outcome_final", "first")
    )
    return counted.astype({"forecasts": "int64", "inside": "int64"})


def _inside(outcome: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    known = outcome.notna() & low.notna() & high.notna()
    return ((low <= outcome) & (outcome <= high)).astype("boolean").where(known)


def _rows(text: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of a ledger's text, and a sentence for each that is none."""
    if not text.endswith("\n"):
        return [], ["it ends in the middle of a line."]
    try:
        head, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        return [], [f"it is torn: {error}."]
    if head != list(COLUMNS):
        return [], [f"its first line is not that of a ledger of claims, but {','.join(head)[:80]!r}."]
    rows, laws = [], list[str]()
    for number, line in enumerate(lines, 2):
        if len(line) != len(COLUMNS):
            laws.append(f"line {number} has {len(line)} of {len(COLUMNS)} values.")
            continue
        row: dict[str, Any] = {}
        for (name, kind), cell in zip(COLUMNS.items(), line, strict=True):
            try:
                row[name] = None if cell == "" and name not in _ALWAYS else _read(kind, cell)
            except ValueError:
                laws.append(f"line {number}: {name} is no {kind}: {cell!r}.")
        rows.append(row)
    return rows, laws


def _read(kind: str, text: str) -> Any:
    if not re.fullmatch(_WRITTEN.get(kind, ".+"), text, re.DOTALL):
        raise ValueError(text)
    readers: dict[str, Any] = {"time": dt.datetime.fromisoformat, "day": dt.date.fromisoformat, "integer": int}
    return {**readers, "number": float, "text": str}[kind](text)


def _value(kind: str, given: Any) -> Any:
    """Return a claim's value as run.json and the ledger hold it, or raise ValueError."""
    if kind in ("number", "integer"):
        if isinstance(given, bool) or (kind == "integer" and int(given) != float(given)):
            raise ValueError(given)
        number = float(given) if kind == "number" else int(given)
        return None if number != number else number  # noqa: PLR0124  # what is not a number is missing
    if kind == "day":
        return str(dt.date.fromisoformat(str(given)))
    return str(given)


def _written(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
