"""Whoever passes a frame for a panel, a folder for a data set or a result for a frame is told what to pass."""

from __future__ import annotations

import datetime as dt
import inspect
import pickle
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit import did, kpi, open_dataset, report
from strategy_kit.arguments import DAYS, REMEDIES
from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOMS = ("charts", "cohort", "did", "kpi", "lasting_growth", "levers", "overseas", "planning", "platform_health", "prices",
         "sensitivity", "targets", "whole_web")  # fmt: skip
WRONG: dict[str, object] = {
    "Panel": pd.DataFrame({"y": [1.0]}),
    "Estimates": pd.DataFrame({"estimate": [0.1]}),
    "Dataset": "data/sample",
    "pd.DataFrame": [0.1, 0.2],
}


FUNCTIONS = {
    f"{room}.{name}": getattr(import_module(f"strategy_kit.{room}"), name)
    for room in ROOMS
    for name in import_module(f"strategy_kit.{room}").__all__
}


def public() -> list[tuple[str, str, Callable[..., Any]]]:
    """Return the parameter, its annotation, and the function of each that takes one of these first."""
    found = []
    for function in FUNCTIONS.values():
        if inspect.isfunction(function) and inspect.signature(function).parameters:
            first = next(iter(inspect.signature(function).parameters.values()))
            if first.annotation in REMEDIES:
                found.append((first.name, first.annotation, function))
    return found


CASES = public()
SHOP = open_dataset(Path(__file__).parents[2] / "data" / "sample")


def test_many_functions_take_one() -> None:
    assert len(CASES) >= 120
    assert {kind for _, kind, _ in CASES} == set(REMEDIES)


@pytest.mark.parametrize("wrong", ["another type", "nothing"])
@pytest.mark.parametrize(("name", "kind", "function"), CASES, ids=[f"{f.__module__}.{f.__name__}" for _, _, f in CASES])
def test_another_type_is_refused(name: str, kind: str, function: Callable[..., Any], wrong: str) -> None:
    """By place and by name, whatever else is missing: it is the first thing that is wrong."""
    given = WRONG[kind] if wrong == "another type" else None
    law = rf"^{function.__name__}: {name} must be .*{kind.removeprefix('pd.')}, not a {type(given).__name__}; "
    for call in (lambda: function(given), lambda: function(**{name: given})):
        with pytest.raises(ParameterError, match=law) as refused:
            call()
        assert str(refused.value).endswith(REMEDIES[kind])


def several() -> list[tuple[Callable[..., Any], str, object, str]]:
    """Return what is no list, or no mapping, for each parameter that takes one: function, parameter, value, law."""
    found = []
    for function in FUNCTIONS.values():
        for name, parameter in inspect.signature(function).parameters.items() if inspect.isfunction(function) else ():
            kind = str(parameter.annotation)
            if kind.startswith("Mapping["):
                found += [(function, name, wrong, "a mapping") for wrong in ("text", 3)]
            elif "Sequence[" in kind or "Array" in kind or "Collection[" in kind:
                found += [(function, name, wrong, "a list") for wrong in ("text", 3)
                          if not (kind.startswith("Sequence[str") and wrong == "text")
                          and not re.search(r"Metric|Panel|^float|^int", kind)]  # fmt: skip
    return found


SEVERAL = several()


@pytest.mark.parametrize(
    ("function", "name", "wrong", "law"), SEVERAL, ids=[f"{f.__name__}-{name}-{wrong}" for f, name, wrong, _ in SEVERAL]
)
def test_what_is_no_list_is_refused(function: Callable[..., Any], name: str, wrong: object, law: str) -> None:
    with pytest.raises(ParameterError, match=rf"^{function.__name__}: {name} is {law}, not {wrong!r}; give it as one$"):
        function(**{name: wrong})


def test_many_parameters_take_several_values() -> None:
    assert len({(function, name) for function, name, _, _ in SEVERAL}) >= 50


def test_one_name_is_no_list_of_names_and_one_text_no_panels() -> None:
    for call in (
        lambda: kpi.table(SHOP, by="week", metrics=["gmv"]),  # type: ignore[arg-type]
        lambda: kpi.table(SHOP, by=["week"], metrics="gmv"),
        lambda: kpi.process_control(SHOP, metric="gmv", by="pilot"),
        lambda: kpi.control_limits(SHOP, kpi.table(SHOP, by=["week"], metrics=["gmv"]), metric="gmv", by="week"),
    ):
        with pytest.raises(ParameterError, match=r"(by is|metrics are) a list of names"):
            call()
    for wrong in ("text", 3, None):
        with pytest.raises(ParameterError, match=r"takes a Panel, or panels by the names of their outcomes, not"):
            did.multiverse(wrong)  # type: ignore[arg-type]
    for make in (report.run, report.run_week):
        with pytest.raises(ParameterError, match="parameters is a mapping of names to values, not 'week'"):
            make(*(["weekly_report"] * (make is report.run)), data="data/sample", parameters="week")  # type: ignore[operator]


def test_functions_go_to_other_processes_as_they_are() -> None:
    """As `multiprocessing` and joblib send them: by module and name."""
    for _, _, function in CASES:
        assert pickle.loads(pickle.dumps(function)) is function  # noqa: S301  # our own
        assert inspect.signature(function) == inspect.signature(inspect.unwrap(function))


def test_what_is_left_out_is_pythons_own_error() -> None:
    from strategy_kit import did

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'panel'"):
        did.group_time()  # type: ignore[call-arg]


def test_a_subclass_is_what_it_derives_from() -> None:
    from strategy_kit import did
    from strategy_kit.panel import Panel

    class Own(Panel):
        """A panel with a name of its own."""

    panel = Own.from_matrix(np.array([[1.0, 2.0], [2.0, 5.0], [1.0, 2.0], [3.0, 4.5]]), treated_from=[2, 2, 0, 0])
    assert did.group_time(panel).estimate.tolist() == [0.75]


def test_numbers_and_further_arguments_are_held_too() -> None:
    from strategy_kit import did, platform_health, targets
    from strategy_kit.panel import Panel

    with pytest.raises(ParameterError, match=r"^pilot_contrast: seed is a number, not 'one'; give it as one"):
        did.pilot_contrast(Panel.from_matrix(np.zeros((4, 3)), treated_from=[3, 3, 0, 0]), seed="one")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"^bunching: at is a number, not None"):
        targets.bunching([1.0, 2.0], at=None)  # type: ignore[arg-type]
    study = did.overall(
        did.group_time(Panel.from_matrix(np.array([[1.0, 4], [1, 2], [3, 3], [2, 2]]), treated_from=[2, 0, 0, 0]))
    )
    with pytest.raises(ParameterError, match=r"^pass_through: gmv must be Estimates, not a NoneType"):
        platform_health.pass_through(study, None, study)  # type: ignore[arg-type]


def dated() -> list[tuple[str, bool, Callable[..., Any]]]:
    """Return each day that a public function takes, whether it must be given, and the function."""
    return [
        (parameter.name, parameter.annotation == "dt.date", function)
        for function in FUNCTIONS.values()
        if inspect.isfunction(function)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.annotation in DAYS
    ]


DATED = dated()


def test_many_functions_take_days() -> None:
    assert len(DATED) >= 60


@pytest.mark.parametrize("wrong", ["2025-03-31", 20250331, pd.NaT])
@pytest.mark.parametrize(
    ("name", "needed", "function"), DATED, ids=[f"{f.__module__}.{f.__name__}({n})" for n, _, f in DATED]
)
def test_what_is_no_day_is_refused(name: str, needed: bool, function: Callable[..., Any], wrong: object) -> None:
    """Before anything is read; nothing but a day, and None only where it may be left out."""
    first = next(iter(inspect.signature(function).parameters.values()))
    given: dict[str, Any] = {"shop": SHOP} if first.annotation == "Dataset" else {}
    given = {first.name: pd.DataFrame()} if first.annotation == "pd.DataFrame" else given
    for value in (wrong, None) if needed else (wrong,):
        with pytest.raises(ParameterError, match=rf"^{function.__name__}: {name} is a date, not .*; write it like"):
            function(**given, **{name: value})


def test_a_timestamp_is_its_day(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    from strategy_kit import kpi, lasting_growth

    monkeypatch.chdir(root)
    shop, day = open_dataset("data/sample"), pd.Timestamp("2025-05-31 18:00")
    for ask in (lasting_growth.ladder, lasting_growth.typical_merchants):
        pd.testing.assert_frame_equal(ask(shop, through=day), ask(shop, through=day.date()))
    by = {"by": ["pilot"], "metrics": ["gmv"]}
    pd.testing.assert_frame_equal(kpi.table(shop, **by, through=day), kpi.table(shop, **by, through=day.date()))


def test_a_frame_without_a_column_is_named() -> None:
    from strategy_kit import lasting_growth

    with pytest.raises(ParameterError, match=r"^growth_on_ladder: rungs lacks 'month'; pass the frame of the function"):
        lasting_growth.growth_on_ladder(pd.DataFrame({"x": [1]}), before=dt.date(2025, 3, 1), after=dt.date(2025, 5, 1))
