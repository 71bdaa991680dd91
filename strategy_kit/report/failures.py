"""What a run that did not succeed leaves for whoever maintains the report: a note, run.json and the unfinished notebooks."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from strategy_kit import errors
from strategy_kit.errors import StrategyKitError
from strategy_kit.report.secrets import clean, scrubbed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from strategy_kit.report.jobs import Job


def named(error: BaseException) -> StrategyKitError:
    """Return an error as one of this package's.

    Examples
    --------
    >>> named(KeyboardInterrupt()).exit_code, named(OSError(28, "No space left on device")).exit_code
    (143, 73)
    """
    if isinstance(error, StrategyKitError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return errors.Stopped("the run was stopped from outside; run it again")
    if isinstance(error, OSError):
        return errors.StorageError(f"reports cannot be written: {error}; free space or choose another folder")
    return errors.ExportError(f"the run could not be published: {type(error).__name__}: {error}")


def file_failure(
    folder: Path, error: StrategyKitError, record: Mapping[str, Any], jobs: Sequence[Job] = ()
) -> StrategyKitError:
    """Keep the reason, run.json and the unfinished notebooks in `folder`, under failed/; return the error, naming it.

    Nothing is made where there is no reports folder yet: a mistyped command leaves no trace.
    """
    values = {name: value for job in jobs for name, value in job.values.items()}
    reason = scrubbed(str(error), values).rstrip(".;, \n")
    if not folder.parent.parent.is_dir():
        return type(error)(reason)
    told = {"exit_code": error.exit_code, "error": type(error).__name__, "message": reason, "what_to_do": error.remedy}
    try:
        folder.mkdir(parents=True)
        note = f"{reason}\nexit code: {error.exit_code}\nwhat to do: {error.remedy}\n"
        (folder / "error.txt").write_text(note, encoding="utf-8")
        text = json.dumps(scrubbed({**record, **told}, values), ensure_ascii=False, indent=2)
        (folder / "run.json").write_text(text + "\n", encoding="utf-8")
        kept = [job for job in jobs if _kept(job, folder)]
    except OSError as trouble:
        return type(error)(f"{reason}; nor could a note be kept ({trouble}) in {folder}")
    what = "the unfinished notebook and the reason are" if kept else "the reason is"
    return type(error)(f"{reason}; {what} in {folder}")


def _kept(job: Job, folder: Path) -> bool:
    import nbformat

    with suppress(ValueError, FileNotFoundError):  # the secrets of a torn notebook cannot be hidden
        nbformat.write(clean(nbformat.read(job.draft, as_version=4), job.values), folder / job.draft.name)
        return True
    return False
