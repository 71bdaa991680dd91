"""The report: what a week's numbers allow to be said, the page that says it, and the run that publishes it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from strategy_kit.report.batch import run_week
from strategy_kit.report.run import Run, run

if TYPE_CHECKING:
    from strategy_kit.report import figures, page, weekly
    from strategy_kit.report.audience import Audience
    from strategy_kit.report.reading import Reading, read_week
    from strategy_kit.report.sections import Section

# a run needs no estimator: kernels do
_LATE = {"Audience": "audience", "Reading": "reading", "read_week": "reading", "Section": "sections"}

__all__ = ["Audience", "Reading", "Run", "Section", "figures", "page", "read_week", "run", "run_week", "weekly"]


def __getattr__(name: str) -> Any:
    if name in ("figures", "page", "weekly"):
        return import_module(f"{__name__}.{name}")
    if name in _LATE:
        return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
