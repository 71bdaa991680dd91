"""Waterfall, curves, process control, ladder and yardsticks: what they draw, say, and refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

from strategy_kit import charts
from strategy_kit.charts import curves, theme
from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

METRICS = ["orders", "gmv", "spend_per_annual_active_buyer"]


def growth(start: float = 1000.0) -> pd.DataFrame:
    changes = [120.0, 40.0, 260.0, -180.0, -150.0]
    steps = ["May 2025", "new", "resurrected", "expansion", "contraction", "churned", "June 2025"]
    frame = pd.DataFrame({"step": steps, "amount": [start, *changes, start + sum(changes)]})
    return frame.assign(kind=["level", *["change"] * 5, "level"])


def cohorts(number: int = 10) -> pd.DataFrame:
    rows = [(f"2024-{row + 1:02d}", age, 0.9**age - row / 100) for row in range(number) for age in range(number - row)]
    frame = pd.DataFrame(rows, columns=["series", "age", "value"])
    average = pd.DataFrame({"series": "average", "age": range(number), "value": 0.88 ** np.arange(number)})
    return pd.concat([frame, average.assign(low=average["value"] - 0.03, high=average["value"] + 0.03)])


def groups() -> pd.DataFrame:
    """Two series of unequal length; the one that is to lead comes second."""
    ages = pd.DataFrame({"age": range(12), "value": 0.9 ** np.arange(12)})
    both = [ages.assign(series="not supported"), ages.head(7).assign(series="supported", value=ages["value"] - 0.02)]
    return pd.concat(both)


def weeks() -> pd.DataFrame:
    """78 weeks with a step in the limits, every kind of signal, a missing week and an incomplete last one."""
    frame = pd.DataFrame(
        {"week": pd.date_range("2024-02-05", periods=78, freq="W-MON"), "signal": "", "complete": True}
    )
    frame["value"] = 100 + 5 * np.sin(np.arange(78)) + 15 * (frame.index >= 40)
    for name, height in (("centre", 100.0), ("lower", 82.0), ("upper", 118.0)):
        frame[name] = height + 15 * (frame.index >= 40)
    marked = {20: "festival", 21: "festival", 30: "beyond", 55: "trend", 70: "festival", 73: "beyond", 76: "near_limit"}
    for at, code in {**marked, **dict.fromkeys(range(44, 52), "run")}.items():
        frame.loc[at, "signal"] = code
    frame.loc[[20, 21, 70], "value"] = 150.0
    frame.loc[30, "value"], frame.loc[10, "value"], frame.loc[77, "value"] = 75.0, np.nan, 60.0
    frame.loc[77, "signal"], frame.loc[77, "complete"] = "beyond", False
    return frame


def ladder(bands: list[str] | None = None, scale: int = 1) -> pd.DataFrame:
    levels = [None, *(bands or ["below 100k", "100k to 1m", "1m to 10m", "10m to 100m", "over 100m"])]
    rows = []
    for at, before in enumerate(levels):
        for to, after in enumerate(levels):
            gone = {(True, False): "entered", (False, True): "left"}.get((before is None, after is None))
            moved = gone or ("same" if at == to else "up" if to > at else "down")
            rows += [(before, after, scale * 7200 // 5 ** abs(at - to), moved)] * (
                before != after or before is not None
            )
    return pd.DataFrame(rows, columns=["band_before", "band_after", "merchants", "move"])


def judged(names: tuple[str, ...] = ("apparel", "beauty"), scale: float = 1.0) -> pd.DataFrame:
    rows = [
        (name, metric, change * scale, (change - 0.03) * scale, (change + 0.04) * scale, at > 0)
        for at, name in enumerate(names)
        for metric, change in zip(METRICS, (0.12, 0.03, -0.02), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["group", "metric", "change", "conf_low", "conf_high", "agree"])
    frame.loc[1, ["conf_low", "conf_high"]] = np.nan
    return frame


DRAW: dict[str, Any] = {
    "waterfall": (charts.growth_waterfall, growth, {"step", "amount", "kind"}),
    "curves": (charts.retention_curves, cohorts, {"age", "value", "series"}),
    "control": (
        lambda frame, **words: charts.process_control(frame, period="week", **words),
        weeks,
        {"week", "value", "centre", "lower", "upper", "signal", "complete"},
    ),
    "ladder": (charts.ladder_transitions, ladder, {"band_before", "band_after", "merchants", "move"}),
    "yardsticks": (charts.yardsticks, judged, {"group", "metric", "change", "conf_low", "conf_high", "agree"}),
}
CONTROL = "upper centre lower run beyond trend near_limit festival incomplete"
CONTROL_CHINESE = "控制上限 平均 控制下限 连续位于同侧 超出界限 连续上升 接近界限 大促 未满一周"
CHINESE: dict[str, dict[str, str]] = {
    "waterfall": {"value": "成交总额（元）", "cut": "横轴不从零开始"},
    "curves": {
        "value": "仍有成交的商家占比",
        "age": "首次成交后的月数",
        "average": "全部批次的平均",
        "interval": "阴影：95% 区间",
    },
    "control": {"value": "成交总额（元）", **dict(zip(CONTROL.split(), CONTROL_CHINESE.split(), strict=True))},
    "ladder": {"value": "商家数", "before": "上一年", "after": "本年", "none": "无成交", "up": "上升", "down": "下降"},
    "yardsticks": {
        "value": "与去年同期相比",
        "disagree": "尺度不一致",
        "spend_per_annual_active_buyer": "年度活跃买家人均消费",
    },
}


def marks(spec: dict[str, Any], kind: str) -> list[pd.DataFrame]:
    """Data of each layer whose mark is of this kind."""
    layers = [layer for layer in spec["layer"] if layer["mark"]["type"] == kind]
    return [pd.DataFrame(spec["datasets"][layer["data"]["name"]]) for layer in layers]


def svg(spec: dict[str, Any], width: int = 720) -> str:
    kept = {name: value for name, value in spec.items() if name != "$schema"}
    return vl_convert.vegalite_to_svg({**kept, "width": width})


@pytest.mark.parametrize("name", DRAW)
def test_each_chart_draws_takes_words_and_describes(name: str) -> None:
    draw, frame, _ = DRAW[name]
    given = frame()
    kept = given.copy(deep=True)
    spec = draw(given).to_dict()
    pd.testing.assert_frame_equal(given, kept, obj="the caller's frame")
    assert spec["width"] == theme.WIDTH
    assert len(spec["description"]) > 40
    assert not any(missing in spec["description"] for missing in ("nan", "None", "NaT"))
    assert 'width="720"' in svg(spec), "width is the total width"
    chinese = draw(given, labels=CHINESE[name]).to_dict()
    drawn = svg(chinese) + chinese["description"]
    shown = CHINESE[name]["value"]
    assert shown in drawn
    assert shown in chinese["description"]
    with pytest.raises(ParameterError, match=r"no word is called 'valu'.*did you mean 'value'"):
        draw(given, labels={"valu": "x"})


@pytest.mark.parametrize("name", DRAW)
def test_one_row_is_enough_and_none_or_missing_columns_are_refused(name: str) -> None:
    draw, frame, columns = DRAW[name]
    assert svg(draw(frame().head(1)).to_dict()).count("<text") > 1
    with pytest.raises(ParameterError, match="no row has anything to draw"):
        draw(frame().head(0))
    assert set(frame().columns) >= columns
    with pytest.raises(ParameterError) as refused:
        draw(pd.DataFrame({"valu": [1]}))
    assert all(repr(column) in str(refused.value) for column in columns), "all of them in one sentence"
    assert str(refused.value).count("lacks") == 1


@pytest.mark.parametrize(
    ("name", "column", "wrong", "meant"),
    [("waterfall", "kind", "levl", "level"), ("control", "signal", "beyon", "beyond"), ("ladder", "move", "Up", "up")],
)
def test_unknown_codes_are_refused(name: str, column: str, wrong: str, meant: str) -> None:
    draw, frame, _ = DRAW[name]
    rows = frame()
    rows.loc[rows.index[1], column] = wrong
    with pytest.raises(ParameterError, match=f"{column} '{wrong}' is none of .*did you mean '{meant}'"):
        draw(rows)


@pytest.mark.parametrize(("name", "column"), [("curves", "value"), ("control", "value"), ("yardsticks", "change")])
def test_a_frame_of_missing_values_is_refused(name: str, column: str) -> None:
    draw, frame, _ = DRAW[name]
    with pytest.raises(ParameterError, match="no row has anything to draw"):
        draw(frame().assign(**{column: np.nan}))


def test_waterfall_floats_from_where_the_last_step_ended() -> None:
    spec = charts.growth_waterfall(growth()).to_dict()
    bars = marks(spec, "bar")[0]
    assert bars["amount"].tolist() == growth()["amount"].tolist(), "amounts as given"
    assert bars["end"].tolist() == [1000, 1120, 1160, 1420, 1240, 1090, 1090]
    assert bars["start"].tolist() == [0, 1000, 1120, 1160, 1420, 1240, 0]
    assert bars["kind"].tolist() == ["level", "rise", "rise", "rise", "fall", "fall", "level"]
    assert bars["text"].tolist()[:5] == ["1,000", "+120", "+40", "+260", "−180"]
    drawn = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "bar")["encoding"]
    paint = [drawn[channel]["scale"] for channel in ("fill", "stroke")]
    hollow = [dict(zip(scale["domain"], scale["range"], strict=True))["fall"] for scale in paint]
    assert hollow == [theme.PAPER, theme.WARNING]
    assert "expansion +260; contraction −180" in spec["description"]
    texts = growth().assign(text=[f"t{row}" for row in range(7)])
    assert marks(charts.growth_waterfall(texts).to_dict(), "bar")[0]["text"].tolist() == texts["text"].tolist()


def test_waterfall_says_where_its_axis_does_not_start_at_zero() -> None:
    far = charts.growth_waterfall(growth(start=50_000.0)).to_dict()
    assert "does not start at 0" in far["description"]
    bars = marks(far, "bar")[0]
    assert bars["start"].tolist()[0] == bars["end"].tolist()[0] == 50_000, "a line, as a bar would lie"
    assert "does not start" not in charts.growth_waterfall(growth()).to_dict()["description"]
    below = charts.growth_waterfall(growth(start=-1000.0)).to_dict()
    assert marks(below, "bar")[0]["start"].iloc[0] == 0
    assert "May 2025 −1,000" in below["description"]


def test_waterfall_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"'June 2025' is 970\.00, and the steps before lead to 1,090\.00"):
        charts.growth_waterfall(growth().assign(amount=lambda rows: rows["amount"].where(rows.index < 6, 970.0)))
    with pytest.raises(ParameterError, match="'new' has no amount"):
        charts.growth_waterfall(growth().assign(amount=lambda rows: rows["amount"].where(rows["step"] != "new")))
    tenths = pd.DataFrame(
        {"step": "a", "amount": [*[0.1] * 10, float(np.cumsum([0.1] * 10)[-1])], "kind": [*["change"] * 10, "level"]}
    )
    assert tenths["amount"].iloc[10] != 1.0, "rounding of floats is no forgotten step"
    assert charts.growth_waterfall(tenths).to_dict()["description"].endswith("a 1.0.")


def lines(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [layer["mark"] for layer in spec["layer"] if layer["mark"]["type"] == "line"]


def test_curves_make_the_average_heavy_and_name_the_ends() -> None:
    spec = charts.retention_curves(cohorts()).to_dict()
    assert [(mark["color"], mark["strokeWidth"]) for mark in lines(spec)] == [(theme.OTHER, 1.0), (theme.PILOT, 3.0)]
    drawn = pd.concat(marks(spec, "line"))
    key = ["series", "age"]
    pd.testing.assert_frame_equal(
        drawn.sort_values(key)[[*key, "value"]].reset_index(drop=True),
        cohorts().sort_values(key)[[*key, "value"]].reset_index(drop=True),
        check_dtype=False,
    )
    assert marks(spec, "text")[0]["text"].tolist() == ["average", "2024-01"]
    assert marks(spec, "area")[1]["low"].tolist() == cohorts()["low"].dropna().tolist()
    domain = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "line")["encoding"]["y"]["scale"]
    assert domain["domain"][0] == 0
    assert "average 100.0% at 0, 31.6% at 9" in spec["description"]


def test_curves_of_two_groups_differ_by_more_than_colour() -> None:
    spec = charts.retention_curves(groups(), percent=False).to_dict()
    assert [mark["color"] for mark in lines(spec)] == [theme.OTHER, theme.PILOT], "supported leads, wherever it stands"
    others = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "line")["encoding"]
    assert others["strokeDash"]["scale"]["range"] == [[6, 4]]
    assert not marks(spec, "area")
    named = marks(spec, "text")[0].set_index("text")
    assert set(named.index) == {"supported", "not supported"}
    assert named.loc["supported", "age"] == 6, "the name stands at the end of its own line"
    assert "supported 1.0 at 0, 0.5 at 6" in spec["description"]
    below = charts.retention_curves(groups().assign(value=lambda rows: -rows["value"]), percent=False).to_dict()
    assert next(layer for layer in below["layer"] if layer["mark"]["type"] == "line")["encoding"]["y"]["scale"][
        "domain"
    ] == [-1.05, 1.0]


def test_names_that_would_meet_are_moved_or_left_out() -> None:
    spots = pd.DataFrame(
        {"text": [f"series {at}" for at in range(7)], "across": 100.0, "down": 50.0, "align": "left", "dx": 8}
    )
    found = curves.placed(spots)
    assert found["text"].tolist() == [f"series {at}" for at in range(5)], "the most important five have room"
    assert sorted(found["down"]) == [18, 34, 50, 66, 82]
    apart = curves.placed(spots.assign(across=np.arange(7) * 80.0))
    assert apart["down"].tolist() == [50] * 7
    left = spots.head(2).assign(down=0.0, across=[100.0, 130.0], align=["left", "right"], dx=0)
    free = curves.placed(left, (-32, -16, 0), stem=True)
    assert free["text"].tolist() == ["series 0"], "the second would stand on the stem of the first, at every height"
    lower = curves.placed(left.iloc[::-1], (0, -32), stem=True)
    assert lower["text"].tolist() == ["series 1"], "and the stem of the first would cross the second"


def test_control_marks_by_shape_and_names_the_newest() -> None:
    spec = charts.process_control(weeks(), period="week").to_dict()
    points = [layer for layer in spec["layer"] if layer["mark"]["type"] == "point" and layer["mark"].get("shape")]
    drawn = {layer["mark"]["color"]: (layer["mark"]["shape"], layer["mark"]["fill"]) for layer in points[1:]}
    assert drawn == {
        theme.WARNING: ("diamond", theme.WARNING),
        theme.INK: ("square", theme.PAPER),
        theme.PILOT: ("circle", theme.PAPER),
    }
    counted = [len(spec["datasets"][layer["data"]["name"]]) for layer in points]
    assert counted == [78 - 12 - 3 - 1, 12, 3, 1], "plain, special cause, festival, incomplete (though it has a signal)"
    ends, causes = marks(spec, "text")[:2]
    assert ends["text"].tolist() == ["average", "upper limit", "lower limit"]
    assert ends["value"].tolist() == [115, 133, 97], "of the newest stretch"
    assert causes["text"].tolist()[:2] == ["incomplete", "near a limit"]
    assert spec["description"].endswith("2025-06-30 beyond limits; 2025-07-21 near a limit; 2025-07-28 incomplete.")
    assert spec["description"].count("run on one side") == 1, "once for all eight in a row"
    stretches = marks(spec, "rect")[0]
    assert stretches[["lower", "centre", "upper"]].to_numpy().tolist() == [[82, 100, 118], [97, 115, 133]]
    assert stretches["until"].iloc[0] == stretches["when"].iloc[1], "limits meet half-way between two weeks"
    solid, values = marks(spec, "line")[1]["value"], weeks()["value"]
    assert solid[:77].tolist()[11:] == values[:77].tolist()[11:]
    assert solid[[10, 77]].isna().all(), "a gap where there is no value, and no solid line to an incomplete one"


def test_control_without_limits_draws_none() -> None:
    bare = weeks().head(9).assign(lower=np.nan, upper=np.nan, centre=np.nan)
    spec = charts.process_control(bare, period="week").to_dict()
    assert marks(spec, "rect")[0].empty
    assert "limit" not in spec["description"]


def test_ladder_prints_every_count_with_its_direction() -> None:
    spec = charts.ladder_transitions(ladder()).to_dict()
    cells = marks(spec, "rect")[0]
    assert len(cells) == 35, "six rows of six, without merchants that never sold"
    moves = dict(zip(ladder()["move"], cells["mark"], strict=True))
    assert moves == {"up": "↑", "down": "↓", "same": "", "entered": "", "left": ""}
    assert (cells["edge"] == theme.INK).equals(cells["band_before"] == cells["band_after"]), "the diagonal is outlined"
    assert cells["number"].tolist() == [f"{count:,}" for count in ladder()["merchants"]]
    domain = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert domain == spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert domain[:2] == ["no sales", "below 100k"]
    assert "below 100k → 100k to 1m 1,440↑" in spec["description"]
    assert svg(spec).count(">↑1,440<") == svg(spec).count(">↓1,440<") == 4, "the mark is beside the number"
    assert svg(spec, 330).count(">1,440<") == 10, "and above it where columns are narrow"


def test_ladder_keeps_the_order_of_its_categories() -> None:
    bands = ["low", "middle", "high"]
    frame = ladder(bands)
    for end in ("band_before", "band_after"):
        frame[end] = pd.Categorical(frame[end], [*bands[::-1], "never seen"], ordered=True)
    spec = charts.ladder_transitions(frame.assign(merchants=0)).to_dict()
    assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"] == ["no sales", "high", "middle", "low"]
    assert set(marks(spec, "rect")[0]["number"]) == {"0"}


def test_yardsticks_flag_disagreement_by_a_word() -> None:
    spec = charts.yardsticks(judged()).to_dict()
    heads = marks(spec, "text")[-1]
    assert heads["head"].tolist() == ["apparel · yardsticks disagree", "beauty"]
    assert heads["ink"].tolist() == [theme.WARNING, theme.INK]
    rows = marks(spec, "point")[0]
    pd.testing.assert_series_equal(rows["change"], judged()["change"])
    assert rows["text"].tolist()[:3] == ["+12.0%", "+3.0%", "−2.0%"]
    assert len(marks(spec, "rule")[1]) == 5, "a missing interval has no line"
    shapes = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "point")["encoding"]["shape"]["scale"]
    assert len(set(shapes["range"])) == 3
    assert "orders +12.0% (+9.0% … +16.0%), GMV +3.0%, spend per buyer −2.0%" in spec["description"]
    mixed = judged().iloc[[0, 3, 1, 4, 2, 5]]
    assert marks(charts.yardsticks(mixed).to_dict(), "point")[0]["head"].tolist() == rows["head"].tolist(), (
        "side by side"
    )
    other = judged().replace({"metric": {"orders": "refund_rate"}})
    assert "refund_rate +12.0%" in charts.yardsticks(other).to_dict()["description"]
    one = judged().assign(agree=lambda rows: rows.index != 4)
    assert marks(charts.yardsticks(one).to_dict(), "text")[-1]["head"].iloc[1] == "beauty · yardsticks disagree"
    zero = judged(scale=0.0).assign(agree=True)
    assert "orders 0.0%" in charts.yardsticks(zero).to_dict()["description"]


OVERLAPS = """() => [...document.querySelectorAll("svg")].flatMap((chart) => {
  const frame = chart.getBoundingClientRect(), found = [];
  const boxes = [...chart.querySelectorAll("text")]
    .filter((text) => text.textContent.trim() && getComputedStyle(text).opacity !== "0")
    .map((text) => [text.textContent, text.getBoundingClientRect()]);
  boxes.forEach(([words, box], at) => {
    if (box.left < frame.left - 1 || box.right > frame.right + 1) found.push([words, "cut off"]);
    for (const [others, other] of boxes.slice(at + 1)) {
      const wide = Math.min(box.right, other.right) - Math.max(box.left, other.left);
      const high = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
      if (wide > 1 && high > 3) found.push([words, others]);
    }
  });
  return found;
})"""


def every_chart() -> list[theme.Chart]:
    plain = [draw(frame()) for draw, frame, _ in DRAW.values()]
    chinese = [draw(frame(), labels=CHINESE[name]) for name, (draw, frame, _) in DRAW.items()]
    bands = ["十万元以下", "十万至一百万元", "一百万至一千万元", "一千万元以上"]
    long = growth(30_000.0).assign(step=lambda rows: "2025年" + rows["step"] + "带来的成交总额变化")
    wide = growth().assign(text=lambda rows: rows["step"].map({"resurrected": "+¥1,234,567.8 million"}).fillna("+1"))
    more = [
        charts.growth_waterfall(wide),
        charts.growth_waterfall(long.assign(text="−¥1,234.5 million"), labels=CHINESE["waterfall"]),
        charts.retention_curves(
            groups(), labels={"supported": "获得平台扶持的商家", "not supported": "没有获得平台扶持的其他商家"}
        ),
        charts.process_control(weeks().tail(9), period="week"),
        charts.ladder_transitions(ladder(bands, scale=10), labels=CHINESE["ladder"]),
        charts.yardsticks(judged(("服饰鞋包与配饰（试点类目，自四月起）", "运动户外")), labels=CHINESE["yardsticks"]),
    ]
    return [*plain, *chinese, *more]


@pytest.mark.browser
@pytest.mark.parametrize("width", [720, 330])
def test_no_two_texts_overlap(width: int, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 800, "height": 900})
    page.set_content("".join(svg(chart.to_dict(), width) for chart in every_chart()))
    texts, found = page.locator("svg text").count(), page.evaluate(OVERLAPS)
    page.close()
    assert texts > 250, "the check saw the texts"
    # Boxes are as high as a line, glyphs are not: 3 px of two boxes may touch; 1 px is rounding.
    assert found == []
