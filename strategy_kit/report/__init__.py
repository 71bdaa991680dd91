"""The report: what a week's numbers allow to be said, the page that says it, and the run that publishes it."""

from __future__ import annotations

from strategy_kit.report import figures, page
from strategy_kit.report.audience import Audience
from strategy_kit.report.reading import Reading, read_week
from strategy_kit.report.run import Run, run

__all__ = ["Audience", "Reading", "Run", "figures", "page", "read_week", "run"]
