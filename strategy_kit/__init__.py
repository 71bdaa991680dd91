"""Honest, fast strategy analysis in Jupyter: KPIs, cohorts, difference-in-differences and an offline weekly report.

Rooms: `kpi`, `cohort`, `did`, `planning`, `sensitivity`, `charts`, `report`, `simulate`, `importers`, `errors`; and of the
programmes `targets`, `levers`, `overseas`, `prices`, `lasting_growth`, `platform_health`, `surrogate`, `whole_web`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from strategy_kit import errors, shown
from strategy_kit.dataset import Dataset
from strategy_kit.metrics import Metric
from strategy_kit.opening import dataset_from_frames, open_dataset
from strategy_kit.plan import Plan

if TYPE_CHECKING:
    from strategy_kit import (
        charts,
        cohort,
        did,
        importers,
        kpi,
        lasting_growth,
        levers,
        overseas,
        planning,
        platform_health,
        prices,
        report,
        sensitivity,
        simulate,
        surrogate,
        targets,
        whole_web,
    )
    from strategy_kit.estimates import Estimates
    from strategy_kit.panel import Panel

# jsonschema builds a grammar for more than a second at import where this package is installed, for a format that nothing
# here uses; whoever needs it imports rfc3987_syntax before strategy_kit.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# What a notebook shows is drawn by the charts, which are loaded with the first result that is shown.
shown.draw_by(lambda result: import_module("strategy_kit.charts.fitting").fitting(result))

__version__ = "0.1.0"
# Rooms, and classes by their module, that load when they are first used: a run and a query need none of scipy.
_LATE = ("charts", "cohort", "did", "importers", "kpi", "lasting_growth", "levers", "overseas", "planning",
         "platform_health", "prices", "report", "sensitivity", "simulate", "surrogate", "targets", "whole_web")  # fmt: skip
_LATE_CLASSES = {"Estimates": "estimates", "Panel": "panel"}

__all__ = [
    "Dataset", "Estimates", "Metric", "Panel", "Plan", "charts", "cohort", "dataset_from_frames", "did", "errors",
    "importers", "kpi", "lasting_growth", "levers", "open_dataset", "overseas", "planning", "platform_health",
    "prices", "report", "sensitivity", "simulate", "surrogate", "targets", "whole_web"
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return import_module(f"strategy_kit.{name}")
    if name in _LATE_CLASSES:
        return getattr(import_module(f"strategy_kit.{_LATE_CLASSES[name]}"), name)
    raise AttributeError(f"module 'strategy_kit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
