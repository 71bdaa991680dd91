"""Effects on each other: where bars lie, what is said, and what is refused."""

from __future__ import annotations

import pandas as pd
import pytest

from strategy_kit import charts
from strategy_kit.charts import theme
from strategy_kit.charts.stacked_effects import _laid
from strategy_kit.errors import ParameterError

ROWS = pd.DataFrame(
    {
        "age": [-1, 0, 1, 2],
        "filled": [0.0, 5.0, -3.0, 4.0],
        "hollow": [1.0, 2.0, -1.0, -6.0],
        "total": [1.0, 7.0, -4.0, -2.0],
    }
)


def test_parts_of_one_sign_lie_on_each_other_and_others_on_both_sides_of_zero() -> None:
    laid = _laid(ROWS)
    filled, hollow = (laid[laid["part"] == part].reset_index(drop=True) for part in ("filled", "hollow"))
    assert hollow["bottom"].tolist() == [0.0] * 4
    assert hollow["top"].tolist() == ROWS["hollow"].tolist()
    assert filled["bottom"].tolist() == [0.0, 2.0, -1.0, 0.0]
    assert filled["top"].tolist() == [0.0, 7.0, -4.0, 4.0]


def test_the_chart_is_as_wide_as_others_and_says_its_last_values() -> None:
    spec = charts.stacked_effects(ROWS, labels={"filled": "abroad", "hollow": "home"}).to_dict()
    assert spec["width"] == theme.WIDTH
    assert "at 2 abroad +4.0, home −6.0, total −2.0" in spec["description"]


def test_parts_that_do_not_add_up_and_columns_that_lack_are_refused() -> None:
    with pytest.raises(ParameterError, match="total is not the sum of its parts at age 1"):
        charts.stacked_effects(ROWS.assign(total=[1.0, 7.0, 0.0, -2.0]))
    with pytest.raises(ParameterError, match="lacks 'hollow'"):
        charts.stacked_effects(ROWS.drop(columns="hollow"))
