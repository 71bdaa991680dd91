"""Everything the kit refuses, and the exit code that each refusal has on the command line.

StrategyKitError            1
├── ParameterError          2   a parameter, file name, week or metric that does not exist or has the wrong type
├── NotebookError           3   a cell of a notebook failed or never ran
├── DesignError             3   the data cannot answer the question that was asked
├── ContractError           4   a table breaks the data contract
├── ExportError             5   the page could not be made or did not pass its verification
├── RunTimeout              6   a notebook ran longer than it was allowed to
├── BusyError              75   the same report is being made by another run
└── KernelDied            137   the process that ran the notebook was killed
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


class ParameterError(StrategyKitError):
    """A parameter, name or week that does not exist or has the wrong type."""

    exit_code = 2


class NotebookError(StrategyKitError):
    """A cell of a notebook failed or never ran."""

    exit_code = 3


class DesignError(StrategyKitError):
    """The data cannot answer the question that was asked of it."""

    exit_code = 3


class ContractError(StrategyKitError):
    """A table breaks the data contract."""

    exit_code = 4


class ExportError(StrategyKitError):
    """The page could not be made, or did not pass its verification."""

    exit_code = 5


class RunTimeout(StrategyKitError):
    """A notebook ran longer than it was allowed to."""

    exit_code = 6


class BusyError(StrategyKitError):
    """The same report is being made by another run."""

    exit_code = 75


class KernelDied(StrategyKitError):
    """The process that ran the notebook was killed, most often for want of memory."""

    exit_code = 137


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


def whole_number(value: object, least: int) -> bool:
    """Whether `value` is an integer, of Python or numpy, of at least `least`.

    Examples
    --------
    >>> whole_number(2, 1), whole_number(2.0, 1), whole_number(0, 1)
    (True, False, False)
    """
    return isinstance(value, Integral) and int(value) >= least
