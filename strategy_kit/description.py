"""What a data set says of itself: `dataset.toml`, read and checked as a whole."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from zoneinfo import ZoneInfo

from strategy_kit.contract import TABLES
from strategy_kit.errors import ContractError, ParameterError, nearest, refuse
from strategy_kit.formats import Language
from strategy_kit.keys import days, key_laws
from strategy_kit.plan import Plan, plan_from, plan_laws, read_plan, read_seal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strategy_kit.plan import Seal, SealState

EngineName = Literal["duckdb", "spark"]
FILE_ENDS = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".txt")
"""How a table's place ends that is a file of the data set's folder; on Spark others are names of its catalogue."""
WEEKLY: dict[str, tuple[str, ...]] = {
    "weekly_report": ("en", "zh"),
    "pilot_effect": ("en",),
    "kpi_review": ("en",),
    "merchant_cohorts": ("en",),
    "data_check": ("en",),
}
"""Notebooks of a week, and the languages of each, where [weekly] names no others."""


@dataclass(frozen=True, slots=True)
class Pilot:
    """Which categories are piloted, from which day each; a placebo never ran."""

    starts: dict[str, dt.date]
    placebo: bool = False

    @property
    def categories(self) -> list[str]:
        """The pilot categories, in the order given."""
        return list(self.starts)

    @property
    def starts_on(self) -> dt.date:
        """The first day on which any pilot ran."""
        return min(self.starts.values())


@dataclass(frozen=True, slots=True)
class Description:
    """The head of a data set: names, units, window, lags, control totals, pilot and plan.

    Attributes
    ----------
    settlement_days
        Days after its end until a period's lines have all arrived; until then it is incomplete.
    refund_days
        Days within which a refund arrives; until then the refunds of an order may still grow.
    control
        Totals that order_lines must give, from another book: "lines" and "amount".
    seal
        Of the plan and the pilots' starts, where they were sealed.
    weekly
        Notebooks that a weekly run makes, and the languages of each; its first language bears the plain name.
    engine
        What reads the tables where nobody says otherwise: "duckdb" or "spark".
    """

    name: str
    timezone: str
    currency: str
    title: str = ""
    synthetic: bool = False
    data_from: dt.date | None = None
    data_through: dt.date | None = None
    source: str = ""
    settlement_days: int = 0
    refund_days: int = 28
    control: Mapping[str, float] = field(default_factory=dict)
    pilot: Pilot | None = None
    plan: Plan = field(default_factory=lambda: Plan(declared=False))
    seal: Seal | None = None
    weekly: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(WEEKLY))
    engine: EngineName = "duckdb"

    @property
    def plan_seal(self) -> SealState:
        """Whether plan and pilots' starts were sealed, before or after the first start, and have not changed since."""
        starts = {} if self.pilot is None else self.pilot.starts
        return "unsealed" if self.seal is None else self.seal.state(self.plan, starts)


_KEYS: dict[str, type] = {"name": str, "title": str, "synthetic": bool, "currency": str, "timezone": str, "data_from": dt.date,
    "data_through": dt.date, "source": str, "settlement_days": int, "refund_days": int, "control": Mapping,
    "pilot": Mapping, "plan": Mapping, "weekly": Mapping, "engine": str}  # fmt: skip
_REQUIRED = ("name", "currency", "timezone")
_PILOT_KEYS = {"categories": list, "starts_on": (dt.date, Mapping), "placebo": bool}
_CONTROL_KEYS = {"lines": int, "amount": (float, int)}


def read_description(folder: Path) -> tuple[Description, dict[str, str]]:
    """Read `folder`/dataset.toml, plan.toml and plan.seal; return them with the table name -> file pattern mapping.

    Raises
    ------
    ParameterError
        If there is no such folder or no dataset.toml in it.
    ContractError
        If a file is not TOML or breaks a rule, or there are two plans; every broken rule is named.
    """
    path = folder / "dataset.toml"
    try:
        if not path.is_file():
            what = "has no dataset.toml" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
            raise ParameterError(f"the data set folder {folder} {what}; see data/README.md for what a data set is")
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        law = f"{path} cannot be read: {error.strerror}"
        raise ParameterError(f"{law}; give this user the right to read the data set") from error
    except UnicodeDecodeError as error:
        raise ContractError(f"{path} is not UTF-8: {error.reason}; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{path} is not valid TOML: {error}; correct that line") from error
    tables, subject = given.pop("tables", None), str(path)
    laws = _table_laws(tables)
    if (plan := read_plan(folder)) is not None:
        laws += ["the plan stands twice, in plan.toml and as [plan]; keep one of them"] if "plan" in given else []
        given, subject = given | {"plan": plan}, f"{path} with plan.toml"
    return replace(describe(given, subject, laws), seal=read_seal(folder)), tables


def describe(given: Mapping[str, Any], subject: str, laws: Sequence[str] = ()) -> Description:
    """Check the parts of a description and build it; `subject` opens the error sentence, `laws` are broken already.

    Raises
    ------
    ContractError
        If a rule is broken; every broken rule is named.
    """
    given = days(given)
    laws = [*laws, *key_laws(given, _KEYS, ""), *_unit_laws(given)]
    pilot_given, plan_given = given.get("pilot"), given.get("plan", {})
    if isinstance(pilot_given, Mapping):
        pilot_given = pilot_table(pilot_given)
        laws += key_laws(pilot_given, _PILOT_KEYS, "pilot.") + _pilot_laws(pilot_given)
    if isinstance(plan_given, Mapping):
        laws += plan_laws(plan_given)
    if isinstance(given.get("control"), Mapping):
        laws += key_laws(given["control"], _CONTROL_KEYS, "control.")
    if isinstance(given.get("weekly"), Mapping):
        laws += _weekly_laws(given["weekly"])
    refuse(ContractError, subject, laws)
    plain = {key: value for key, value in given.items() if key not in ("pilot", "plan")}
    plain |= {"weekly": {name: tuple(chosen) for name, chosen in plain["weekly"].items()}} if "weekly" in plain else {}
    plan = plan_from(plan_given) if "plan" in given else Plan(declared=False)
    return Description(**plain, pilot=None if pilot_given is None else _pilot(pilot_given), plan=plan)


def pilot_table(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read {category: first day} as the [pilot] table that it abbreviates; leave a [pilot] table alone.

    Examples
    --------
    >>> pilot_table({"beauty": dt.date(2025, 4, 14)})["categories"]
    ['beauty']
    """
    if given and not set(given) & set(_PILOT_KEYS):
        return {"categories": list(given), "starts_on": dict(given)}
    return dict(given)


def _table_laws(given: Any) -> list[str]:
    if not isinstance(given, dict):
        return ["the [tables] that name each table's file are missing" if given is None else "tables must be a table"]
    laws = [f"tables: {t!r} is not a table of the contract{nearest(t, TABLES)}" for t in given if t not in TABLES]
    return laws + [
        f"tables.{table} must be a file name or glob inside the folder, or a place that Spark knows, not {pattern!r}"
        for table, pattern in given.items()
        if not isinstance(pattern, str) or not pattern or Path(pattern).is_absolute()
    ]


def _unit_laws(given: Mapping[str, Any]) -> list[str]:
    laws = [f"the key {key!r} is missing" for key in _REQUIRED if key not in given]
    name, zone = given.get("name"), given.get("timezone")
    if isinstance(name, str) and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        laws.append(f"name {name!r} must be lower-case letters, digits, - and _, since folders carry it")
    if isinstance(zone, str):
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            laws.append(f"timezone {zone!r} does not exist; write it like Asia/Shanghai")
    if isinstance(engine := given.get("engine", "duckdb"), str) and engine not in get_args(EngineName):
        laws.append(
            f"engine is one of {', '.join(get_args(EngineName))}, not {engine!r}{nearest(engine, get_args(EngineName))}"
        )
    first, last = given.get("data_from"), given.get("data_through")
    if type(first) is type(last) is dt.date and first > last:
        laws.append(f"data_from {first} is after data_through {last}")
    lags = {key: given.get(key, 0) for key in ("settlement_days", "refund_days")}
    return laws + [f"{key} is 0 or more, not {days}" for key, days in lags.items() if type(days) is int and days < 0]


def _weekly_laws(given: Mapping[str, Any]) -> list[str]:
    known = get_args(Language)
    laws = (
        [] if given else ['weekly names no notebook; write one a line, like kpi_review = ["en"], or leave [weekly] out']
    )
    for name, languages in given.items():
        if not isinstance(languages, list) or not languages or len(set(map(str, languages))) < len(languages):
            laws.append(f'weekly.{name} lists each of its languages once, like ["en", "zh"], not {languages!r}')
            continue
        strange = [language for language in languages if language not in known]
        laws += [
            f"weekly.{name}: {word!r} is not a language{nearest(str(word), known)}; {' and '.join(known)} are"
            for word in strange
        ]
    return laws


def _pilot_laws(given: Mapping[str, Any]) -> list[str]:
    laws = [f"pilot.{key} is missing" for key in ("categories", "starts_on") if key not in given]
    categories, starts = given.get("categories"), given.get("starts_on")
    if isinstance(categories, list) and (not categories or not all(isinstance(c, str) for c in categories)):
        laws.append(f"pilot.categories must name at least one category, not {categories!r}")
    if isinstance(starts, Mapping) and isinstance(categories, list):
        laws += [f"pilot.starts_on gives no date for {c!r}" for c in categories if c not in starts]
        laws += [f"pilot.starts_on names {c!r}, which pilot.categories does not" for c in starts if c not in categories]
        laws += [f"pilot.starts_on.{c} must be a date" for c, d in starts.items() if type(d) is not dt.date]
    return laws


def _pilot(given: Mapping[str, Any]) -> Pilot:
    starts = given["starts_on"]
    dates = {c: starts[c] if isinstance(starts, Mapping) else starts for c in given["categories"]}
    return Pilot(dates, placebo=given.get("placebo", False))
