"""What public functions work on: something of another type is refused in words, before it fails for want of an attribute."""

from __future__ import annotations

from functools import wraps
from inspect import isfunction
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

REMEDIES = {
    "Panel": "make one with Panel.from_frame, Panel.from_matrix or Dataset.panel",
    "Estimates": "pass what an estimator returns, such as did.group_time(panel)",
    "Dataset": "pass what open_dataset(folder) returns",
    "pd.DataFrame": "pass a frame, such as the tidy() of a result",
}
"""How to get what a first parameter of this annotation takes."""


def hold_first_arguments(room: dict[str, Any]) -> None:
    """Let the public functions among a room's globals refuse a first argument of another type than they say.

    Types are told by the names of their classes: to load the classes would load what the room may not need.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> sk.kpi.table("data/sample", by=["pilot"], metrics=["gmv"])
    Traceback (most recent call last):
    strategy_kit.errors.ParameterError: table: shop must be a Dataset, not a str; pass what open_dataset(folder) returns
    """
    for name in room["__all__"]:
        parameter, kind = next(iter(getattr(room[name], "__annotations__", {}).items()), ("return", ""))
        if isfunction(room[name]) and parameter != "return" and kind in REMEDIES:
            room[name] = _held(room[name], parameter, kind)


def _held(function: Callable[..., Any], parameter: str, kind: str) -> Callable[..., Any]:
    wanted = kind.removeprefix("pd.")

    @wraps(function)
    def held(*given: Any, **named: Any) -> Any:
        value = given[:1] or [named[name] for name in (parameter,) if name in named]
        if value and wanted not in {base.__name__ for base in type(value[0]).__mro__}:
            law = f"{function.__name__}: {parameter} must be a {wanted}, not a {type(value[0]).__name__}"
            raise ParameterError(f"{law.replace('a Estimates', 'Estimates')}; {REMEDIES[kind]}")
        return function(*given, **named)

    return held
