"""Ladder, forests and ranks: what they draw, say, and refuse."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

import strategy_kit as sk
from strategy_kit import did
from strategy_kit.charts.forest import KINDS, forest, metrics_forest, rank_intervals
from strategy_kit.charts.net import gross_to_net
from strategy_kit.charts.theme import theme
from strategy_kit.errors import DesignError, ParameterError
from strategy_kit.formats import money
from strategy_kit.panel import Panel
from strategy_kit.planning import all_metrics

HOSTILE = '</script><b>"it\'s" {{x}} ${y}' + "w" * 90 + " \\ \n\\"


def rungs() -> pd.DataFrame:
    rows = [
        ("supported", 900.0, 500.0, 1_300.0),
        ("rivals", -300.0, -700.0, 100.0),
        ("category", 600.0, -100.0, 1_300.0),
        ("revenue", 30.0, -5.0, 65.0),
        ("cost", 20.0, np.nan, np.nan),
        ("profit", 10.0, -25.0, 45.0),
    ]
    return pd.DataFrame(rows, columns=["rung", "estimate", "conf_low", "conf_high"])


def categories() -> pd.DataFrame:
    frame = pd.DataFrame({"group": ["toys", "books", "pets"], "estimate": [0.09, 0.05, 0.12]})
    return frame.assign(conf_low=frame["estimate"] - 0.05, conf_high=frame["estimate"] + 0.05)


def pooled() -> pd.DataFrame:
    return pd.DataFrame(
        {"scope": ["average", "new"], "estimate": 0.085, "conf_low": [0.003, -0.266], "conf_high": [0.167, 0.435]}
    )


def metrics() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "family": ["primary", "reach", "reach", "quality"],
            "metric": ["gmv", "orders", "buyers", "minutes"],
            "estimate": [0.12, 40.0, -2.0, np.nan],
            "conf_low": [0.02, -10.0, -3.0, np.nan],
            "conf_high": [0.22, 90.0, -1.0, np.nan],
            "p_adjusted": [0.02, 0.11, 0.004, np.nan],
            "survives": [True, False, True, False],
            "missing_because": ["", "", "", "nobody measured them"],
        }
    )


def ranks() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "lever": ["a", "b", "c"],
            "estimate": [1.0, 3.0, 2.0],
            "rank": [3, 1, 2],
            "rank_low": [2, 1, 1],
            "rank_high": [3, 2, 3],
        }
    )


def spec(chart: Any) -> dict[str, Any]:
    return dict(chart.to_dict())


def marks(drawn: dict[str, Any], kind: str) -> list[pd.DataFrame]:
    """Data of each layer whose mark is of this kind, if it has any."""
    layers = [layer for layer in drawn["layer"] if layer["mark"]["type"] == kind]
    return [pd.DataFrame(rows) for layer in layers if (rows := drawn["datasets"][layer["data"]["name"]])]


def svg(drawn: dict[str, Any], width: int) -> str:
    kept = {name: value for name, value in drawn.items() if name != "$schema"}
    return str(vl_convert.vegalite_to_svg(json.dumps({**kept, "width": width, "config": theme()["config"]})))


DRAW = {
    "net": lambda **words: gross_to_net(rungs(), **words),
    "forest": lambda **words: forest(categories(), pooled(), percent=True, **words),
    "metrics": lambda **words: metrics_forest(metrics(), **words),
    "ranks": lambda **words: rank_intervals(ranks(), **words),
}
CHINESE = {
    "net": {
        "sales": "启动后各期成交额（元）",
        "supported": "受扶持商家",
        "rivals": "同品类对手",
        "missing": "已知",
        "cost": "成本",
    },
    "forest": {"value": "对成交总额的影响", "average": "品类平均", "new": "新品类", "toys": "玩具"},
    "metrics": {"gmv": "成交总额", "reach": "覆盖", "primary": "主指标", "missing": "未能计算", "p": "校正后 p"},
    "ranks": {"value": "名次，1 为影响最大", "a": "流量扶持", "to": "至"},
}


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize("width", [330, 720])
def test_charts_are_drawn_whole_in_both_widths_and_languages(name: str, width: int) -> None:
    for words in ({}, {"labels": CHINESE[name]}):
        drawn = spec(DRAW[name](**words))
        picture = svg(drawn, width)
        assert f'width="{width}"' in picture
        assert drawn["description"].endswith(".")
        for word in words.get("labels", {}).values():
            assert word in json.dumps(drawn, ensure_ascii=False)
        rows = pd.concat(marks(drawn, "text")[1:2])
        assert rows["y"].is_monotonic_increasing
        assert rows["y"].diff().min() >= 25  # no line of 13 pixels meets the next row


def test_the_ladder_says_all_its_numbers_and_ends_in_diamonds() -> None:
    drawn = spec(gross_to_net(rungs()))
    assert drawn["description"] == (
        "Sales, over the periods after the start. supported merchants +900 (+500 … +1,300); their rivals in the category "
        "−300 (−700 … +100); the category +600 (−100 … +1,300). The platform, over the same periods. revenue on it +30.0 (−5.0 … "
        "+65.0); cost 20.0 (known); revenue less cost +10.0 (−25.0 … +45.0)."
    )
    points = {tuple(frame["rung"]): frame["kind"].iloc[0] for frame in marks(drawn, "point")}
    assert points == {("supported", "rivals", "revenue", "cost"): "plain", ("category", "profit"): "head"}
    assert KINDS["head"]["shape"] == "diamond"
    lines = marks(drawn, "rule")[1]
    assert "cost" not in set(lines["rung"])  # known, so without a line


def test_each_block_has_its_own_scale_and_zero() -> None:
    drawn = spec(gross_to_net(rungs()))
    scale = marks(drawn, "rule")[0]
    zeros = scale[scale["text"] == "0"]
    assert len(zeros) == 2
    cells = pd.concat(marks(drawn, "point")).set_index("rung")
    for block, zero in zip((["supported", "rivals", "category"], ["revenue", "profit"]), zeros["at"], strict=True):
        part = cells.loc[block]
        # Distances from zero are in proportion to the numbers, within a block.
        np.testing.assert_allclose(
            (part["at"] - zero) / part["estimate"], ((part["at"] - zero) / part["estimate"]).iloc[0]
        )
        np.testing.assert_allclose(
            (part["left"] - zero) / part["conf_low"], ((part["at"] - zero) / part["estimate"]).iloc[0]
        )
    assert scale["text"].tolist()[:2] == ["−500", "0"]


def test_amounts_are_written_as_money_and_long_ones_keep_apart() -> None:
    rows = rungs()
    rows[["estimate", "conf_low", "conf_high"]] *= 1e6
    drawn = spec(gross_to_net(rows, write=lambda value: money(value, "CNY", "en", signed=True)))
    shown = "".join(letter for letter in drawn["description"] if letter != "\u2060").replace("\xa0", " ")
    assert "supported merchants +¥900 million (+¥500 million … +¥1.30 billion)" in shown
    assert "cost ¥20.0 million (known)" in shown
    scale = marks(drawn, "rule")[0]
    assert (scale["text"] != "").groupby(scale["bottom"]).sum().tolist() == [2, 2]  # zero and the outermost
    assert set(scale.loc[scale["text"].str.len() > 7, "side"]) <= {"left", "right"}


def test_a_new_category_is_a_bar_and_the_average_a_diamond() -> None:
    drawn = spec(forest(categories(), pooled(), percent=True))
    bar = marks(drawn, "bar")[0]
    assert bar["name"].tolist() == ["a new category"]
    assert drawn["description"].endswith(
        "average category +8.5% (+0.3% … +16.7%); a new category +8.5% (−26.6% … +43.5%)."
    )
    kinds = [frame["kind"].iloc[0] for frame in marks(drawn, "point")]
    assert kinds == ["plain", "head", "new"]
    assert "pale bar" not in str(spec(forest(categories())))


def test_endless_predictions_end_at_the_edge() -> None:
    frame = pooled()
    frame.loc[1, ["conf_low", "conf_high"]] = [-np.inf, np.inf]
    bar = marks(spec(forest(categories(), frame)), "bar")[0]
    assert bar[["left", "right"]].to_numpy().tolist() == [[0.0, 1.0]]


def test_metrics_show_what_survives_and_what_could_not_be_computed() -> None:
    drawn = spec(metrics_forest(metrics()))
    points = {kind: part["metric"].tolist() for frame in marks(drawn, "point") for kind, part in frame.groupby("kind")}
    assert points == {"plain": ["gmv", "buyers"], "open": ["orders"]}
    assert KINDS["open"]["fill"] != KINDS["plain"]["fill"]
    assert drawn["description"].endswith("quality. minutes nobody measured them.")
    names = marks(drawn, "text")[1]
    assert names["lines"].map(" ".join).tolist()[-1] == "minutes nobody measured them"
    assert names["value"].tolist()[1:] == [["+40.0", "p 0.110"], ["−2.0", "p 0.004"], ["not computed"]]
    translated = spec(metrics_forest(metrics(), labels={"nobody measured them": "没有人测量"}))
    assert translated["description"].endswith("minutes 没有人测量.")
    scale = marks(drawn, "rule")[0]
    assert (scale["at"] == scale["at"].iloc[0]).all()  # one zero for all families
    lines = marks(drawn, "rule")[1]
    np.testing.assert_allclose(lines["right"] - lines["left"], (lines["right"] - lines["left"]).iloc[0])


def test_ranks_stand_in_their_order_on_whole_numbers() -> None:
    drawn = spec(rank_intervals(ranks()))
    assert drawn["description"] == "Rank, 1 for the largest effect. b 1 (1 to 2); c 2 (1 to 3); a 3 (2 to 3)."
    assert marks(drawn, "rule")[0]["text"].tolist() == ["1", "2", "3"]
    points = marks(drawn, "point")[0]
    np.testing.assert_allclose(points["at"], [1 / 6, 3 / 6, 5 / 6])


def test_charts_draw_what_methods_return() -> None:
    rng, start = np.random.default_rng(1), np.array([5] * 3 + [0] * 6)
    category = np.repeat(np.arange(9), 3)
    y = np.exp(0.1 * rng.normal(size=(27, 8)))
    panel = Panel.from_matrix(y, treated_from=start[category], category=category)
    marked = (np.arange(27) % 3 == 0) & (category < 3)
    ladder = did.gross_to_net(panel, marked, take_rate=0.1, cost=0.2)
    effects = did.category_effects(panel)
    table = all_metrics({"gmv": effects, "buyers": DesignError("none")}, primary="gmv", families={"reach": ["buyers"]})
    charts = [
        sk.charts.gross_to_net(ladder),
        sk.charts.forest(effects, did.new_category(effects)),
        sk.charts.metrics_forest(table),
        sk.charts.rank_intervals(did.rank_intervals(effects)),
    ]
    assert all(chart.description and svg(spec(chart), 720) for chart in charts)


@pytest.mark.parametrize("name", DRAW)
def test_hostile_words_are_drawn_as_they_are(name: str) -> None:
    key = next(iter(CHINESE[name]))
    drawn = spec(DRAW[name](labels={key: HOSTILE}))
    assert HOSTILE in drawn["description"] or name in {"net", "forest", "ranks"}
    assert "<b>" not in svg(drawn, 330)


@pytest.mark.parametrize("name", DRAW)
def test_unknown_words_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="no word is called 'valeu'"):
        DRAW[name](labels={"valeu": "x"})


def test_refusals() -> None:
    with pytest.raises(ParameterError, match="lacks 'conf_low'"):
        gross_to_net(rungs().drop(columns="conf_low"))
    with pytest.raises(ParameterError, match="rung 'cots' is none of"):
        gross_to_net(rungs().replace("cost", "cots"))
    with pytest.raises(ParameterError, match="no row has anything to draw"):
        forest(categories().head(0))
    with pytest.raises(ParameterError, match="scope 'old' is none of"):
        forest(categories(), pooled().replace("new", "old"))
    with pytest.raises(ParameterError, match="lacks 'survives'"):
        metrics_forest(metrics().drop(columns="survives"))
    with pytest.raises(ParameterError, match="lacks 'rank_low'"):
        rank_intervals(ranks().drop(columns="rank_low"))
