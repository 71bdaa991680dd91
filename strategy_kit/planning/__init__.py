"""Planning: what a pilot can find, before it begins and while it runs."""

from __future__ import annotations

from strategy_kit.arguments import hold_arguments
from strategy_kit.planning.families import all_metrics
from strategy_kit.planning.looks import ReadingWidth, reading_width, weekly_looks
from strategy_kit.planning.next_wave import candidates, wave
from strategy_kit.planning.power import detectable_effect, power, what_if, what_if_sentence

__all__ = [
    "ReadingWidth", "all_metrics", "candidates", "detectable_effect", "power", "reading_width", "wave", "weekly_looks",
    "what_if", "what_if_sentence"
]  # fmt: skip

hold_arguments(globals())
