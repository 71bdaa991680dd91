"""Charts: free functions from tidy frames to Altair charts; importing the room turns the kit's look on."""

from __future__ import annotations

from strategy_kit.charts.event_study import event_study
from strategy_kit.charts.figure import figure
from strategy_kit.charts.placebo import placebo_strip
from strategy_kit.charts.theme import enable
from strategy_kit.charts.trend import kpi_trend
from strategy_kit.charts.triangle import triangle

enable()

__all__ = ["event_study", "figure", "kpi_trend", "placebo_strip", "triangle"]
