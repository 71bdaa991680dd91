"""Everything the kit refuses, and the exit code that each refusal has on the command line.

StrategyKitError            1
├── ParameterError          2   a parameter, file name, week or metric that does not exist or has the wrong type
├── NotebookError           3   a cell of a notebook failed or never ran, or a promised section is missing
├── DesignError             3   the data cannot answer the question that was asked
├── ContractError           4   a table, or the ledger of claims, breaks its contract
├── ExportError             5   the page could not be made or did not pass its verification
├── RunTimeout              6   a notebook ran longer than it was allowed to
├── LateData                7   the week that was asked for is over, and its data have not arrived
├── ClockError              8   the machine's clock is behind the data or behind the newest published claim
├── StorageError           73   the disk is full, or a folder or file cannot be written
├── BusyError              75   the same report is being made by another run
├── KernelDied            137   the process that ran the notebook was killed or never started
└── Stopped               143   the run was ended from outside

`remedy` of each is what the note of a failed run says to do.
"""

from __future__ import annotations

from difflib import get_close_matches
from numbers import Integral
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class StrategyKitError(Exception):
    """Base of all refusals: the law, the value and the remedy in one sentence."""

    exit_code: ClassVar[int] = 1
    remedy: ClassVar[str] = "show this note to whoever maintains strategy_kit here"


class ParameterError(StrategyKitError):
    """A parameter, name or week that does not exist or has the wrong type."""

    exit_code = 2
    remedy = (
        "correct the command or the notebook as the sentence says; `strategy-kit COMMAND --help` lists what there is"
    )


class NotebookError(StrategyKitError):
    """A cell of a notebook failed or never ran, or a section that the notebook promises is missing."""

    exit_code = 3
    remedy = (
        "open the notebook that lies beside this note in JupyterLab, run it up to the cell that is named and correct it"
    )


class DesignError(StrategyKitError):
    """The data cannot answer the question that was asked of it."""

    exit_code = 3
    remedy = "ask what these data can answer: change the week, the pilot, the plan or a parameter as the sentence says"


class ContractError(StrategyKitError):
    """A table, or the ledger of claims, breaks its contract."""

    exit_code = 4
    remedy = "run `strategy-kit check` on the data set, correct what it names where the data come from, and run again"


class ExportError(StrategyKitError):
    """The page could not be made, or did not pass its verification."""

    exit_code = 5
    remedy = "correct the output that the sentence names in the notebook that lies beside this note, and run again"


class RunTimeout(StrategyKitError):
    """A notebook ran longer than it was allowed to."""

    exit_code = 6
    remedy = "run again with a longer --timeout, or when the machine has less to do"


class LateData(StrategyKitError):
    """The week that was asked for is over, and its data have not arrived."""

    exit_code = 7
    remedy = "wait until the data have arrived and data_through in dataset.toml says so, and run again"


class ClockError(StrategyKitError):
    """The machine's clock is behind the data or behind the newest published claim."""

    exit_code = 8
    remedy = "set the machine's clock, or correct data_through in dataset.toml, and run again"


class StorageError(StrategyKitError):
    """The disk is full, or a folder or file cannot be written."""

    exit_code = 73
    remedy = "free space on the disk, or give the user of the run the right to write there, and run again"


class BusyError(StrategyKitError):
    """The same report is being made by another run."""

    exit_code = 75
    remedy = "wait until the other run has ended"


class KernelDied(StrategyKitError):
    """The process that ran the notebook was killed, most often for want of memory, or it never started."""

    exit_code = 137
    remedy = "give the machine more memory or the notebook fewer rows, and run again"


class Stopped(StrategyKitError):
    """The run was ended from outside, from the keyboard or by the machine."""

    exit_code = 143
    remedy = "run again"


def nearest(name: str, known: Iterable[str]) -> str:
    """Name the closest known word, as the end of an error sentence.

    Examples
    --------
    >>> nearest("amout", ["amount", "paid_at"])
    " (did you mean 'amount'?)"
    >>> nearest("zzz", ["amount"])
    ''
    """
    lowered = {word.lower(): word for word in known}
    match = get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.6)
    return f" (did you mean '{lowered[match[0]]}'?)" if match else ""


def error_named(name: str) -> type[StrategyKitError] | None:
    """Return the class of the tree above with this name, or None.

    Examples
    --------
    >>> error_named("ContractError").exit_code
    4
    """
    return next((kind for kind in StrategyKitError.__subclasses__() if kind.__name__ == name), None)


def refuse(kind: type[StrategyKitError], subject: str, laws: list[str]) -> None:
    """Raise `kind` when `laws`, the sentences of what is broken, is not empty; all of them at once.

    Examples
    --------
    >>> refuse(ContractError, "orders", [])
    """
    if len(laws) == 1:
        raise kind(f"{subject}: {laws[0]}")
    if laws:
        listed = " ".join(f"({number}) {law}" for number, law in enumerate(laws, 1))
        raise kind(f"{subject} breaks {len(laws)} laws: {listed}")


def level_laws(level: object) -> list[str]:
    """Return the law that a level of confidence breaks, if it breaks it.

    Examples
    --------
    >>> level_laws(0.95), level_laws(95)
    ([], ['level must lie between 0 and 1, not 95; write 95 percent as 0.95'])
    """
    share = isinstance(level, float) and 0 < level < 1
    return [] if share else [f"level must lie between 0 and 1, not {level!r}; write 95 percent as 0.95"]


def seed_laws(seed: object) -> list[str]:
    """Return the law that a seed breaks, if it breaks it.

    Examples
    --------
    >>> seed_laws(0), seed_laws(-1)
    ([], ['seed is a whole number, 0 or more, not -1; choose one such as 0'])
    """
    return [] if whole_number(seed, 0) else [f"seed is a whole number, 0 or more, not {seed!r}; choose one such as 0"]


def whole_number(value: object, least: int) -> bool:
    """Whether `value` is an integer, of Python or numpy, of at least `least`.

    Examples
    --------
    >>> whole_number(2, 1), whole_number(2.0, 1), whole_number(0, 1)
    (True, False, False)
    """
    return isinstance(value, Integral) and int(value) >= least
