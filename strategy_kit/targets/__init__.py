"""Two-tier targets: how they are set, met and made, and what a low floor does."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.targets.attainment import attainment, attainment_bins, made, running
from strategy_kit.targets.bunching import Bins, Bunching, bunching, kink
from strategy_kit.targets.cutoff import REFUSED, density_test, discontinuity
from strategy_kit.targets.fairness import fairness, met_by_band
from strategy_kit.targets.gaming import gaming
from strategy_kit.targets.ratchet import loosened_panel, ratchet
from strategy_kit.targets.setting import backtest, setting

__all__ = [
    "REFUSED", "Bins", "Bunching", "attainment", "attainment_bins", "backtest", "bunching", "density_test", "discontinuity",
    "fairness", "gaming", "kink", "loosened_panel", "made", "met_by_band", "ratchet", "running", "setting"
]  # fmt: skip

hold_arguments(globals())
