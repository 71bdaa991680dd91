"""Keys of a TOML table: known ones, of the right kind, with midnights read as days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from strategy_kit.errors import nearest

_WORDS = {str: "a text", bool: "true or false", dt.date: "a date", float: "a number", int: "a whole number",
          list: "a list", Mapping: "a table"}  # fmt: skip


def days(value: Any) -> Any:
    """Read midnights, as TOML and pandas write days, as dates; at every depth.

    Examples
    --------
    >>> days({"starts_on": dt.datetime(2025, 4, 14)})
    {'starts_on': datetime.date(2025, 4, 14)}
    """
    if isinstance(value, Mapping):
        return {key: days(part) for key, part in value.items()}
    if (
        isinstance(value, dt.datetime)
        and value.tzinfo is None
        and value == dt.datetime.combine(value.date(), dt.time())
    ):
        return value.date()
    return value


def key_laws(given: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> list[str]:
    """Return a sentence for each key that is unknown or of the wrong kind.

    Examples
    --------
    >>> key_laws({"placeboo": 1}, {"placebo": bool}, "pilot.")
    ["pilot.placeboo is not a key (did you mean 'placebo'?)"]
    """
    laws = [f"{prefix}{key} is not a key{nearest(key, known)}" for key in given if key not in known]
    for key, kinds in known.items():
        value = given.get(key)
        wrong = isinstance(value, dt.datetime) or (isinstance(value, bool) and kinds is not bool)
        if key in given and (wrong or not isinstance(value, kinds)):
            allowed = kinds if isinstance(kinds, tuple) else (kinds,)
            laws.append(f"{prefix}{key} must be {' or '.join(_WORDS[k] for k in allowed)}, not {value!r}")
    return laws
