"""What public functions are given: something of another type is refused in words, before it fails for want of an attribute."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import wraps
from inspect import isfunction, signature
from numbers import Real
from sys import modules
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import ParameterError
from strategy_kit.periods import day_of

if TYPE_CHECKING:
    from collections.abc import Callable

REMEDIES = {
    "Panel": "make one with Panel.from_frame, Panel.from_matrix or Dataset.panel",
    "Estimates": "pass what an estimator returns, such as did.group_time(panel)",
    "Dataset": "pass what open_dataset(folder) returns",
    "pd.DataFrame": "pass a frame, such as the tidy() of a result",
}
"""How to get what a parameter of this annotation takes."""
DAYS, NUMBERS = ("dt.date", "dt.date | None"), ("int", "float")
_LISTS = ("Sequence[", "Collection[", "Array", "pd.Series", "np.ndarray")


def hold_arguments(room: dict[str, Any]) -> None:
    """Let the public functions among a room's globals refuse arguments of other types than they say.

    These are panels, estimates, data sets and frames; numbers, lists and mappings; and days, also as datetimes or timestamps.
    Types are told by the names of their classes: to load these would load what the room may not need.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> sk.kpi.table("data/sample", by=["pilot"], metrics=["gmv"])
    Traceback (most recent call last):
    strategy_kit.errors.ParameterError: table: shop must be a Dataset, not a str; pass what open_dataset(folder) returns
    """
    for name in room["__all__"]:
        kinds = dict(getattr(room[name], "__annotations__", {}))
        kinds.pop("return", None)
        if isfunction(room[name]) and any(
            kind in (*REMEDIES, *DAYS, *NUMBERS) or _many(kind) for kind in kinds.values()
        ):
            held = _held(room[name], kinds)
            room[name] = held
            setattr(modules[held.__module__], name, held)  # the module that defines it: pickle looks there


def _held(function: Callable[..., Any], kinds: dict[str, str]) -> Callable[..., Any]:
    names, name = list(signature(function).parameters), function.__name__
    many = {parameter: law for parameter, kind in kinds.items() if (law := _many(kind))}
    days = [parameter for parameter, kind in kinds.items() if kind in DAYS]

    @wraps(function)
    def held(*given: Any, **named: Any) -> Any:
        filled = dict(zip(names, given, strict=False)) | named
        for parameter in (each for each in kinds if each in filled):
            _refuse(f"{name}: {parameter}", filled[parameter], kinds[parameter])
            if (law := many.get(parameter)) and not _holds(law, filled[parameter], kinds[parameter]):
                raise ParameterError(f"{name}: {parameter} is {law}, not {filled[parameter]!r}; give it as one")
        for day in days:
            if filled.get(day) is not None or (kinds[day] == "dt.date" and day in filled):
                filled[day] = day_of(filled[day], f"{name}: {day}")
        told = [filled[parameter] for parameter, _ in zip(names, given, strict=False)]
        try:
            return function(*told, *given[len(told) :], **{parameter: filled[parameter] for parameter in named})
        except KeyError as error:
            frame: Any = filled.get(names[0])
            asked = re.findall(r"'([^']+)'", str(error)) if kinds.get(names[0]) == "pd.DataFrame" else []
            if lacking := [column for column in asked if column not in frame]:
                law = f"{name}: {names[0]} lacks {', '.join(map(repr, lacking))}"
                raise ParameterError(f"{law}; pass the frame of the function that makes it") from error
            raise

    return held


def _many(kind: str) -> str:
    """Say what holds several values an annotation asks for, empty where it asks for none."""
    if kind.startswith("Mapping["):
        return "a mapping"
    return "a list" if all(part.startswith(_LISTS) for part in kind.removesuffix(" | None").split(" | ")) else ""


def _holds(law: str, value: object, kind: str) -> bool:
    if value is None and kind.endswith(" | None"):
        return True
    if isinstance(value, str):  # of names, the functions say how they are listed
        return kind.startswith("Sequence[str")
    return isinstance(value, Mapping if law == "a mapping" else Iterable)


def _refuse(parameter: str, value: object, kind: str) -> None:
    if kind in NUMBERS and not isinstance(value, Real):
        raise ParameterError(f"{parameter} is a number, not {value!r}; give it as one")
    wanted = kind.removeprefix("pd.")
    if kind in REMEDIES and wanted not in {base.__name__ for base in type(value).__mro__}:
        article = "" if wanted == "Estimates" else "a "
        raise ParameterError(f"{parameter} must be {article}{wanted}, not a {type(value).__name__}; {REMEDIES[kind]}")
