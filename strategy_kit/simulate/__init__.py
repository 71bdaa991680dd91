"""Simulated markets whose truth is known: the demo, the samples and the yardstick of every estimator."""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from strategy_kit.errors import ParameterError, refuse
from strategy_kit.simulate.biases import biases
from strategy_kit.simulate.files import FILES, write_dataset
from strategy_kit.simulate.market import Market, draw_market, truth
from strategy_kit.simulate.orders import WHOLE, draw_counts, draw_lines, draw_luck
from strategy_kit.simulate.records import rework
from strategy_kit.simulate.seasons import Clock
from strategy_kit.simulate.world import DEFAULT, World, fresh_key

__all__ = ["World", "simulate"]

_SOURCE = "strategy-kit simulate"
_FEWEST = {"seed": 0, "merchants": 45, "weeks": 12}


def simulate(out: str | Path, *, seed: int = 7, merchants: int = 3000, weeks: int = 78, world: World = DEFAULT) -> Path:
    """Draw a market with three pilot categories among fifteen and write it as a data set with its truth.

    The data end on 2025-07-30, three days into a week; the pilot starts about a fifth of `weeks` earlier. The
    same numbers give the same bytes; of the folder only its own name enters, as the data set's name.

    Parameters
    ----------
    out
        Folder to make. A market simulated before is replaced as a whole; any other content is refused.
    seed, merchants, weeks
        Start of the random numbers (>= 0), sellers on the roster (>= 45) and complete weeks (>= 12); the
        defaults give about 0.9 million order lines. Festivals are known from 2024 on.
    world
        What is done to the analyst. In two worlds with the same numbers everything is the same but what the knobs do; the
        truth then says what well-known readings make of it, and which stay right.

    Raises
    ------
    ParameterError
        If a number is out of range, `world` is none, the folder's name cannot name a data set, or it holds something else.

    Examples
    --------
    >>> folder = simulate(Path(tempfile.mkdtemp()) / "tiny", merchants=45, weeks=12)
    >>> sorted(path.name for path in folder.iterdir())[:3]
    ['calendar.parquet', 'dataset.toml', 'merchants.parquet']
    """
    numbers = {"seed": seed, "merchants": merchants, "weeks": weeks}
    name, folder = Path(out).absolute().name, Path(out).resolve()
    refuse(ParameterError, "simulate", [*_world_laws(world), *_laws(numbers, folder, name)])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as staging:
        fresh, old = Path(staging, "fresh", name), Path(staging, "old")
        fresh.mkdir(parents=True)
        _write(fresh, numbers, world)
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    return Path(out)


def _write(folder: Path, numbers: dict[str, int], world: World) -> None:
    for_market, for_lines, for_tables = np.random.SeedSequence(numbers["seed"]).spawn(3)
    rng, clock = np.random.default_rng(for_lines), Clock(numbers["weeks"])

    def draw(world: World) -> Market:
        return draw_market(clock, numbers["merchants"], np.random.default_rng(for_market), world)

    market, targets, told = draw(DEFAULT), None, {}
    luck = draw_luck(market, rng)
    counts = draw_counts(market, luck, rng)
    blocks = draw_lines(market, counts, rng)
    if world != DEFAULT:
        refuse(ParameterError, "simulate", _whole_laws(int(counts.sum()), numbers["merchants"]))
        plain, market, told, (lines,) = market, draw(world), {"biases": biases(draw, world)}, blocks
        lines, targets = rework(plain, lines, luck, market, fresh_key(rng))
        blocks = iter([lines])
    knobs = (f"--knob {knob}={value}" for knob, value in world.chosen().items())
    source = " ".join([_SOURCE, *(f"--{key} {value}" for key, value in numbers.items()), *knobs])
    written = write_dataset(folder, source, market, blocks, targets, np.random.default_rng(for_tables))
    text = json.dumps({**truth(market), **told, **numbers, "counts": written}, sort_keys=True, indent=1)
    (folder / "truth.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def _world_laws(world: object) -> list[str]:
    return [] if isinstance(world, World) else [f"world is a World, such as World(exits=1), not {world!r}"]


def _whole_laws(orders: int, merchants: int) -> list[str]:
    """What a knob does to orders needs all of them in memory."""
    fewer = merchants * WHOLE // max(orders, 1) // 100 * 100
    law = f"a world with knobs holds all orders in memory, up to {WHOLE:,}, and this one has {orders:,}; take at most"
    return [f"{law} {fewer:,} merchants for these weeks, or leave the knobs out"] if orders > WHOLE else []


def _laws(numbers: dict[str, Any], folder: Path, name: str) -> list[str]:
    laws = [
        f"{key} must be a whole number of at least {_FEWEST[key]}, not {value!r}"
        for key, value in numbers.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < _FEWEST[key]
    ]
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        laws.append(f"{name!r} cannot name a data set: take lower-case letters, digits, - and _ for the folder")
    if folder.exists() and not folder.is_dir():
        laws.append(f"{folder} is a file; name a new folder")
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if found and not _made_here(folder / "dataset.toml"):
        laws.append(f"{folder} holds something that was not simulated; name a new folder")
    elif found - FILES:
        laws.append(f"{folder} also holds {', '.join(sorted(found - FILES))}; move that away first")
    return laws


def _made_here(head: Path) -> bool:
    try:
        given = tomllib.loads(head.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return given.get("synthetic") is True and str(given.get("source", "")).startswith(_SOURCE)
