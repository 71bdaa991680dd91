"""The only place where a column of a result may be born, with its meaning: glossary.toml, read."""

from __future__ import annotations

import tomllib
from importlib.resources import files

COLUMNS: dict[str, str] = tomllib.loads(files("strategy_kit").joinpath("glossary.toml").read_text(encoding="utf-8"))
"""Column name -> meaning, for `Estimates.tidy` and `Estimates.glance`."""
