"""How wrong parallel trends may be before a finding is lost."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.sensitivity.relative import relative_magnitudes
from strategy_kit.sensitivity.result import Sensitivity
from strategy_kit.sensitivity.smooth import smoothness
from strategy_kit.sensitivity.study import study_of

__all__ = ["Sensitivity", "relative_magnitudes", "smoothness", "study_of"]

hold_arguments(globals())
