"""A level of confidence is a share and a seed a whole number: whatever takes one refuses what is none."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest

import strategy_kit
from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


KINDS: dict[str, tuple[object, tuple[object, ...], str]] = {
    "level": (0.95, (95.0, 1.0, "0.95"), r"level (must lie between 0 and 1|is a number), not "),
    "seed": (0, (-1, 0.5, "one"), "seed is a whole number, 0 or more, not "),
}


def takers(kind: str) -> Iterator[Callable[..., Any]]:
    """Functions that are public in a room of their own and take a level, or a seed, of the usual default."""
    for module in pkgutil.walk_packages(strategy_kit.__path__, "strategy_kit."):
        for value in vars(importlib.import_module(module.name)).values():
            if (
                not inspect.isfunction(value)
                or inspect.unwrap(value).__module__ != module.name
                or ">>> " not in (value.__doc__ or "")
            ):
                continue
            given = inspect.signature(value).parameters.get(kind)
            if given is not None and given.default == KINDS[kind][0]:
                yield inspect.unwrap(value)


CASES = [(kind, taker, wrong) for kind in KINDS for taker in takers(kind) for wrong in KINDS[kind][1]]


def test_many_functions_take_them() -> None:
    assert len({taker for _, taker, _ in CASES}) >= 25


@pytest.mark.parametrize(("kind", "taker", "wrong"), CASES, ids=lambda part: getattr(part, "__qualname__", str(part)))
def test_what_is_none_is_refused(
    kind: str, taker: Callable[..., Any], wrong: object, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    """The function's own example, with another default."""
    monkeypatch.chdir(root)
    if kind in (taker.__kwdefaults__ or {}):
        monkeypatch.setitem(taker.__kwdefaults__, kind, wrong)
    else:
        names = [name for name, value in inspect.signature(taker).parameters.items() if value.default is not value.empty
                 and value.kind is value.POSITIONAL_OR_KEYWORD]  # fmt: skip
        given = dict(zip(names, taker.__defaults__ or (), strict=True)) | {kind: wrong}
        monkeypatch.setattr(taker, "__defaults__", tuple(given.values()))
    (example,) = doctest.DocTestFinder(recurse=False).find(taker, globs=dict(vars(inspect.getmodule(taker))))

    def run() -> None:
        for line in example.examples:
            exec(compile(line.source, taker.__qualname__, "single"), example.globs)  # noqa: S102  # the kit's own

    with pytest.raises(ParameterError, match=KINDS[kind][2]):
        run()
