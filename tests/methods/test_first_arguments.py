"""Whoever passes a frame for a panel, a folder for a data set or a result for a frame is told what to pass."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit.errors import ParameterError
from strategy_kit.first_arguments import REMEDIES

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


def public() -> list[tuple[str, str, Callable[..., Any]]]:
    """Return the parameter, its annotation, and the function of each that takes one of these first."""
    rooms = [import_module(f"strategy_kit.{room}") for room in ROOMS]
    functions = {f"{room.__name__}.{name}": getattr(room, name) for room in rooms for name in room.__all__}
    found = []
    for function in functions.values():
        if inspect.isfunction(function) and inspect.signature(function).parameters:
            first = next(iter(inspect.signature(function).parameters.values()))
            if first.annotation in REMEDIES:
                found.append((first.name, first.annotation, function))
    return found


CASES = public()


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
