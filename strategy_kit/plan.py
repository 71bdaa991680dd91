"""The plan: what counts as the answer, when it is read and what follows, written down before outcomes are known."""

from __future__ import annotations

import datetime as dt
import json
import math
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from strategy_kit.errors import ContractError, ParameterError, nearest, refuse, whole_number
from strategy_kit.formats import percent
from strategy_kit.keys import days, key_laws
from strategy_kit.metrics import METRICS
from strategy_kit.shown import Shown, View

if TYPE_CHECKING:
    from pathlib import Path

SealState = Literal["sealed_before", "sealed_after", "unsealed", "changed"]
LONGEST = 156
"""Weeks that a horizon may have: three years."""
_SEAL = "plan.seal"
_KEYS: dict[str, Any] = {"metric": str, "threshold": (float, int), "chance_needed": (float, int), "level": (float, int),
    "horizon": int, "looks": list, "families": Mapping, "next_decision": dt.date, "owner": str}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan(Shown):
    """What was decided before outcomes were seen; its laws are checked when it is made.

    Attributes
    ----------
    metric
        The primary metric: a sum or count over the lines paid in a week.
    threshold
        Smallest effect worth extending the pilot for, as a share of the metric.
    chance_needed
        Chance of an effect above the threshold that extending takes. The decision rule is complete with it: the pilot is
        stopped where the interval ends below the threshold, and goes on otherwise.
    level
        Coverage of the interval that counts.
    horizon
        Complete weeks after the pilots' start when the answer is final; None where none was declared.
    looks
        Weeks after the start at which somebody reads the answer; every week up to the horizon where none are given.
    families
        Secondary metrics by the name of their family; those of a family are judged together.
    next_decision, owner
        Day of the next decision, and who takes it. They bind nothing.
    declared
        Whether somebody wrote it down.

    Raises
    ------
    ContractError
        If a value breaks a law; every broken law is named.

    Examples
    --------
    >>> Plan(threshold=0.03, horizon=26).looks[:3]
    (1, 2, 3)
    >>> Plan(threshold=0.03).fingerprint == Plan(threshold=0.03, owner="head of sales").fingerprint
    True
    """

    metric: str = "gmv"
    threshold: float = 0.0
    chance_needed: float = 0.9
    level: float = 0.95
    horizon: int | None = None
    looks: tuple[int, ...] = ()
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    next_decision: dt.date | None = None
    owner: str | None = None
    declared: bool = True

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _KEYS if getattr(self, name) is not None}
        refuse(ContractError, "the plan", plan_laws(given if self.looks else given | {"looks": None}))
        looks = tuple(self.looks) or tuple(range(1, (self.horizon or 0) + 1))
        object.__setattr__(self, "looks", looks)
        object.__setattr__(self, "families", {name: tuple(metrics) for name, metrics in self.families.items()})

    @property
    def binding(self) -> dict[str, Any]:
        """All that binds, in one order and form."""
        return {
            "metric": self.metric,
            "threshold": float(self.threshold),
            "chance_needed": float(self.chance_needed),
            "level": float(self.level),
            "horizon": self.horizon,
            "looks": [int(look) for look in self.looks],
            "families": {name: sorted(self.families[name]) for name in sorted(self.families)},
        }

    def _view(self) -> View:
        final = f"is final in week {self.horizon}" if self.horizon else "has no horizon"
        told = (
            f"The plan: {self.metric} by more than {percent(self.threshold, signed=True)} with a chance of "
            f"{percent(self.chance_needed, 0)}, in an interval of {percent(self.level, 0)}; the answer {final}, "
            f"fingerprint {self.fingerprint[:12]}."
        )
        values = {**self.binding, "owner": self.owner, "next_decision": self.next_decision}
        shown = [json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for v in values.values()]
        notes = () if self.declared else ("No plan was declared; these values stand in for one.",)
        return View(told, notes, pd.DataFrame({"what": list(values), "value": pd.Series(shown, dtype=object)}))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that binds; owner and day of the next decision may change without it."""
        return fingerprint(self.binding)


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value's JSON, keys in order.

    Examples
    --------
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    return sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def plan_laws(given: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each law that the keys of a plan break; a key that is None was not given.

    Examples
    --------
    >>> plan_laws({"looks": [4, 8]})
    ['plan.looks needs plan.horizon, the week in which the answer is final']
    """
    given = {key: _listed(value) for key, value in days(given).items() if value is not None}
    if laws := key_laws(given, _KEYS, "plan."):
        return laws
    return [*_number_laws(given), *_look_laws(given), *_metric_laws(given)]


def plan_from(given: Mapping[str, Any]) -> Plan:
    """Make a declared plan of keys that keep the laws.

    Examples
    --------
    >>> plan_from({"horizon": 8, "looks": [4, 8]}).looks
    (4, 8)
    """
    values: dict[str, Any] = days(given)
    return Plan(**values | {"looks": tuple(values.get("looks", ()))})


def read_plan(folder: Path) -> Mapping[str, Any] | None:
    """Return what `folder`/plan.toml says, or None where there is no such file.

    Raises
    ------
    ContractError
        If the file is not TOML.
    """
    path = folder / "plan.toml"
    return _toml(path) if path.is_file() else None


def _listed(value: Any) -> Any:
    """Write tuples as lists, as TOML has them."""
    if isinstance(value, Mapping):
        return {key: _listed(part) for key, part in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _number_laws(given: Mapping[str, Any]) -> list[str]:
    threshold, needed, level = (given.get(key, 0.5) for key in ("threshold", "chance_needed", "level"))
    laws = [] if -1 < threshold < math.inf else [f"plan.threshold is a share of the metric above -1, not {threshold!r}"]
    laws += [] if 0 < needed < 1 else [f"plan.chance_needed lies between 0 and 1, not {needed!r}"]
    return laws if 0.5 <= level <= 0.99 else [*laws, f"plan.level lies between 0.5 and 0.99, not {level!r}"]


def _look_laws(given: Mapping[str, Any]) -> list[str]:
    horizon, looks = given.get("horizon"), given.get("looks")
    laws = []
    if horizon is not None and not 1 <= horizon <= LONGEST:
        laws.append(f"plan.horizon is a number of weeks from 1 to {LONGEST}, not {horizon}")
    if looks is None:
        return laws
    if not looks or not all(whole_number(look, 1) and not isinstance(look, bool) for look in looks):
        return [*laws, f"plan.looks are whole weeks after the start, 1 or more, not {looks!r}"]
    if any(later <= look for look, later in pairwise(looks)):
        laws.append(f"plan.looks ascend, each week once, not {looks!r}")
    if horizon is None:
        laws.append("plan.looks needs plan.horizon, the week in which the answer is final")
    elif max(looks) != horizon:
        laws.append(f"plan.looks end with plan.horizon, when the answer is final: with {horizon}, not {max(looks)}")
    return laws


def _metric_laws(given: Mapping[str, Any]) -> list[str]:
    primary, families = given.get("metric", "gmv"), given.get("families", {})
    laws = [] if primary in METRICS else [f"plan.metric {primary!r} is not a metric{nearest(primary, METRICS)}"]
    if not laws and not METRICS[primary].plain:
        laws.append(f"plan.metric {primary!r} is no sum or count over the lines paid in a week; use one, such as gmv")
    listed = []
    for name, metrics in families.items():
        if not isinstance(metrics, list) or not metrics or not all(isinstance(metric, str) for metric in metrics):
            laws.append(f"plan.families.{name} is a list of metrics, not {metrics!r}")
            continue
        listed += metrics
        laws += [
            f"plan.families.{name}: {metric!r} is not a metric{nearest(metric, METRICS)}"
            for metric in metrics
            if metric not in METRICS
        ]
    repeated = [metric for metric, count in Counter([primary, *listed]).items() if count > 1]
    return laws + [
        f"plan.families: {metric!r} stands in one place only, as primary metric or in one family" for metric in repeated
    ]


@dataclass(frozen=True, slots=True)
class Seal:
    """What `plan.seal` says of the day of sealing: fingerprints of the plan and of the pilots' starts, and the data's end.

    Examples
    --------
    >>> starts = {"beauty": dt.date(2025, 4, 14)}
    >>> Seal.of(Plan(), starts, dt.date(2025, 3, 30)).state(Plan(), starts)
    'sealed_before'
    """

    plan: str
    pilot: str
    data_through: dt.date

    @classmethod
    def of(cls, plan: Plan, starts: Mapping[str, dt.date], data_through: dt.date) -> Seal:
        """Return the seal of a plan and the pilots' starts with data up to `data_through`."""
        return cls(plan.fingerprint, fingerprint(starts), data_through)

    def state(self, plan: Plan, starts: Mapping[str, dt.date]) -> SealState:
        """Compare with a plan and starts of today: changed, or sealed before or after the first pilot's start."""
        if (self.plan, self.pilot) != (plan.fingerprint, fingerprint(starts)) or not starts:
            return "changed"
        return "sealed_before" if self.data_through < min(starts.values()) else "sealed_after"


def read_seal(folder: Path) -> Seal | None:
    """Return the seal in `folder`, or None where there is none.

    Raises
    ------
    ContractError
        If the file is not a seal.
    """
    path = folder / _SEAL
    if not path.is_file():
        return None
    given = days(_toml(path))
    known = {part.name: dt.date if part.name == "data_through" else str for part in fields(Seal)}
    laws = key_laws(given, known, "") + [f"the key {key!r} is missing" for key in known if key not in given]
    refuse(ContractError, f"{path} is not as it was sealed", laws)
    return Seal(**given)


def write_seal(folder: Path, plan: Plan, starts: Mapping[str, dt.date], data_through: dt.date) -> Seal:
    """Seal a plan and the pilots' starts in `folder`; one that is sealed already stays as it is.

    Raises
    ------
    ParameterError
        If no plan was declared or no pilot is named.
    ContractError
        If another plan was sealed there.
    """
    if not plan.declared or not starts:
        what = "[pilot] to dataset.toml" if plan.declared else "plan.toml"
        raise ParameterError(f"{folder} has nothing to seal: add {what}, see data/README.md")
    seal, old = Seal.of(plan, starts, data_through), read_seal(folder)
    if old is None:
        lines = [f'{key} = "{getattr(seal, key)}"\n' for key in ("plan", "pilot")]
        fresh = folder / f".{_SEAL}.fresh"
        fresh.write_text("".join([*lines, f"data_through = {data_through}\n"]), encoding="utf-8")
        fresh.replace(folder / _SEAL)
        return seal
    if old.state(plan, starts) == "changed":
        what = "the plan was" if old.plan != seal.plan else "the pilots' categories or starts were"
        raise ContractError(
            f"{folder / _SEAL}: {what} other when it was sealed, with data up to {old.data_through}; put back what was "
            "sealed, or delete plan.seal, seal anew and tell readers that the plan changed"
        )
    return old


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} is not valid TOML: {error}") from error
