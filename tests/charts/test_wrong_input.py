"""Whatever is drawn, something else in its place is refused in a sentence that says what is missing."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from strategy_kit import charts
from strategy_kit.errors import ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

WRONG: dict[str, object] = {
    "no row": pd.DataFrame(),
    "other columns": pd.DataFrame({"x": [1.0]}),
    "nothing": None,
    "a panel": Panel.from_matrix(np.arange(8.0).reshape(4, 2), treated_from=[2, 2, 0, 0]),
}
STANDS = {"str": "gmv", "pd.DataFrame": pd.DataFrame({"x": [1.0]})}


def drawn() -> list[Callable[..., Any]]:
    """Return the charts; `figure` takes a chart, and `fitting` finds none for what it does not know."""
    public = [getattr(charts, name) for name in charts.__all__]
    return [
        chart for chart in public if inspect.isfunction(chart) and chart.__name__ not in ("figure", "fitting", "enable")
    ]


def test_all_charts_are_here() -> None:
    assert len(drawn()) >= 35


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("chart", drawn(), ids=lambda chart: chart.__name__)
def test_something_else_is_refused(chart: Callable[..., Any], wrong: str) -> None:
    _, *others = inspect.signature(chart).parameters.values()
    needed = {other.name: STANDS.get(other.annotation) for other in others if other.default is other.empty}
    with pytest.raises(ParameterError, match=rf"^{chart.__name__}\b.*"):
        chart(WRONG[wrong], **needed)
