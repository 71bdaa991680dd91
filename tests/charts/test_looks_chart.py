"""The chart of looks: interval, band, threshold and horizon, in words and marks that need no colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

import strategy_kit as sk
from strategy_kit.charts import looks, theme
from strategy_kit.errors import ParameterError
from strategy_kit.plan import Plan
from strategy_kit.planning import weekly_looks

CHINESE = {
    "value": "对成交总额的影响（%）",
    "look": "开始后的完整周数",
    "interval": "阴影：单次查看的 95% 区间",
    "band": "虚线：期限内所有查看同时成立的 95% 区间",
    "band_without_horizon": "虚线：未声明期限，三年内每周均成立的 95% 区间",
    "threshold": "长虚线：门槛",
    "horizon": "终点",
}


def rows(count: int = 8) -> pd.DataFrame:
    look = np.arange(1, count + 1)
    frame = pd.DataFrame({"look": look, "estimate": 0.05 - 0.02 / look})
    half, wide = 0.03 + 0.05 / look, 0.04 + 0.1 / look
    ends = {"conf_low": -half, "conf_high": half, "band_low": -wide, "band_high": wide}
    return frame.assign(**{name: frame["estimate"] + end for name, end in ends.items()})


def svg(chart: Any, width: int = theme.WIDTH) -> str:
    kept = {name: value for name, value in chart.to_dict().items() if name != "$schema"}
    return vl_convert.vegalite_to_svg({**kept, "width": width})


def drawn(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    return [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]


def test_it_draws_describes_and_takes_words() -> None:
    given = rows()
    kept = given.copy(deep=True)
    chart = looks(given, threshold=0.03, horizon=26, percent=True)
    pd.testing.assert_frame_equal(given, kept, obj="the caller's frame")
    assert (
        chart.to_dict()
        == looks(given.sample(frac=1, random_state=1), threshold=0.03, horizon=26, percent=True).to_dict()
    )
    # at the last look: 0.05 - 0.0025, ± 0.03625 and ± 0.0525
    assert chart.to_dict()["description"] == (
        "Effect, in units of the outcome, by complete periods since the start from 1 to 8; the last estimate is +4.8%, "
        "interval +1.1% … +8.4%, band −0.5% … +10.0%. Shaded: interval for one look, 95%. Broken lines: band for all looks up "
        "to the horizon, 95%. Long dashes: threshold +3.0%."
    )
    chinese = [svg(looks(given, threshold=0.03, horizon=horizon, labels=CHINESE)) for horizon in (26, None)]
    for word in CHINESE.values():
        assert word in "".join(chinese)
    with pytest.raises(ParameterError, match=r"no word is called 'valu'.*did you mean 'value'"):
        looks(given, labels={"valu": "x"})


def test_both_kinds_of_band_are_labelled() -> None:
    told = [looks(rows(), horizon=horizon).to_dict()["description"] for horizon in (26, None)]
    assert "band for all looks up to the horizon" in told[0]
    assert "band for every week of three years, no horizon declared" in told[1]


def test_interval_and_band_differ_in_form_not_in_colour_alone() -> None:
    spec = looks(rows(), threshold=0.03, horizon=26).to_dict()
    assert len(drawn(spec, "area")) == 1
    assert [layer["mark"].get("strokeDash") for layer in drawn(spec, "line")] == [[3, 2], [3, 2], None]
    dashes = [layer["mark"].get("strokeDash") for layer in drawn(spec, "rule")]
    assert dashes == [None, [8, 4], None], "zero, threshold, horizon"
    assert {name: drawn(spec, "line")[k]["encoding"]["y"]["field"] for k, name in enumerate("abc")} == {
        "a": "band_low", "b": "band_high", "c": "estimate",
    }  # fmt: skip


def test_the_axis_reaches_the_horizon() -> None:
    def domain(**given: Any) -> list[float]:
        spec = looks(rows(), **given).to_dict()
        return list(drawn(spec, "area")[0]["encoding"]["x"]["scale"]["domain"])

    assert domain() == [0.5, 8.5]
    assert domain(horizon=26) == [0.5, 26.5]
    assert domain(horizon=4) == [0.5, 8.5]


def test_one_look_is_enough_and_no_threshold_or_horizon_is_needed() -> None:
    alone = looks(rows(1))
    assert "threshold" not in alone.to_dict()["description"]
    assert len(drawn(alone.to_dict(), "bar")) == 1
    ticks = drawn(alone.to_dict(), "tick")
    assert [layer["mark"]["orient"] for layer in ticks] == ["horizontal"] * 2, "ends of a band lie across"
    assert svg(alone, 330).count("<text") > 3
    assert 'width="330"' in svg(looks(rows(), horizon=26), 330)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ParameterError, match="no row has anything to draw"):
        looks(rows().head(0))
    with pytest.raises(ParameterError, match=r"the frame lacks 'band_low' .*'band_high'"):
        looks(rows().drop(columns=["band_low", "band_high"]))


def test_the_result_of_the_method_draws_as_it_is() -> None:
    y = np.random.default_rng(0).normal(size=(8, 20))
    study = weekly_looks(sk.Panel.from_matrix(y, treated_from=[13] * 3 + [0] * 5), Plan(horizon=8))
    assert looks(study).to_dict() == looks(study.tidy()).to_dict()
