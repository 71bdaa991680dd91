"""Axes name what is there: days where weeks are few, and zero only where something is zero."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import vl_convert

from strategy_kit import charts
from strategy_kit.errors import ParameterError

TEXT = re.compile(r"<text[^>]*>([^<]*)</text>")


def test_a_short_trend_names_days_and_nothing_to_draw_is_refused() -> None:
    weeks = pd.date_range("2025-01-06", periods=6, freq="W-MON")
    frame = pd.DataFrame({"week": weeks, "who": "pilot", "gmv": [1.0, 2, 3, 4, 5, 6], "complete": True})
    words = TEXT.findall(
        vl_convert.vegalite_to_svg(charts.kpi_trend(frame, metric="gmv", period="week", series="who").to_dict())
    )
    assert len([word for word in words if re.fullmatch(r"2025-0\d-\d\d", word)]) >= 2
    with pytest.raises(ParameterError, match="kpi_trend: no row has anything to draw"):
        charts.kpi_trend(frame.assign(gmv=np.nan), metric="gmv", period="week", series="who")
    with pytest.raises(ParameterError, match="the frame lacks 'gmw'"):
        charts.kpi_trend(frame, metric="gmw", period="week", series="who")


def test_a_percentile_ladder_says_zero_only_where_something_is() -> None:
    row = {"group": "all", "p10": 2000.0, "p25": 4000.0, "p50": 9000.0, "p75": 20000.0, "p90": 90000.0, "mean": 50000.0}
    zero = row | {"p10": 0.0, "p25": 47.0, "p50": 200.0}
    none = dict.fromkeys(row, np.nan) | {"group": "none"}
    said = [
        TEXT.findall(vl_convert.vegalite_to_svg(charts.percentile_ladder(pd.DataFrame(rows)).to_dict()))
        for rows in ([row], [zero], [row, none])
    ]
    assert ["0" in words for words in said] == [False, True, False]
    assert all(sum(bool(re.fullmatch(r"[\d,]+", word)) for word in words) >= 3 for words in said)


def test_days_are_the_same_west_of_greenwich() -> None:
    drawn = (
        "import re, pandas as pd, vl_convert; from strategy_kit import charts;"
        "weeks = pd.date_range('2025-01-06', periods=30, freq='W-MON');"
        "frame = pd.DataFrame({'week': weeks, 'who': 'pilot', 'gmv': range(30), 'complete': True});"
        "chart = charts.kpi_trend(frame, metric='gmv', period='week', series='who', start=weeks[20].date());"
        "print(re.findall('aria-label=.([^\"]*)', vl_convert.vegalite_to_svg(chart.to_dict())))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", drawn], env=os.environ | {"TZ": zone}, capture_output=True, text=True, check=True
        )
        for zone in ("UTC", "America/New_York", "Asia/Shanghai")
    ]
    assert "2025-01-06" in told[0].stdout
    assert len({one.stdout for one in told}) == 1
