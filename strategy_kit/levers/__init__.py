"""Levers of support: who holds which, what each did on its own funnel, what it returned, and who gained."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.levers.effects import STEPS, care, funnel, sales
from strategy_kit.levers.held import overlap, stays
from strategy_kit.levers.resources import Concentration, concentration, returns
from strategy_kit.levers.windows import Windows, windows

__all__ = [
    "STEPS", "Concentration", "Windows", "care", "concentration", "funnel", "overlap", "returns", "sales", "stays", "windows"
]  # fmt: skip

hold_arguments(globals())
