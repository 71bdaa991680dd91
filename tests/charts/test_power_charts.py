"""Specification curve, power curve and what-if table: what they draw, say and refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

import strategy_kit as sk
from strategy_kit import planning
from strategy_kit.charts import multiverse, power_curve, theme, what_if
from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WORD = '</script><b>"it\'s" {{x}} ${y}' + "w" * 90
HOSTILE = WORD + " \\ \n"


def panel(groups: int = 9, periods: int = 20) -> sk.Panel:
    y = np.random.default_rng(1).normal(scale=0.05, size=(groups, periods))
    start = np.array([13] * 3 + [0] * (groups - 3))
    y[:3, 12:] += 0.1
    return sk.Panel.from_matrix(y, treated_from=start, category=[f"category {j}" for j in range(groups)])


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return sk.did.multiverse(panel(), windows=[4, 8])


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    sizes = np.linspace(0, 0.15, 16)
    return pd.concat([planning.power(panel(), effects=sizes, pilots=p, weeks=w) for p, w in ((3, 8), (4, 8), (3, 21))])


@pytest.fixture(scope="module")
def designs() -> pd.DataFrame:
    return planning.what_if(panel(), effect=0.05, more_pilots=(0, 1, 2))


def svg(chart: theme.Chart, width: int = 720) -> str:
    kept = {name: value for name, value in chart.to_dict().items() if name != "$schema"}
    return vl_convert.vegalite_to_svg({**kept, "width": width})


def layers(chart: theme.Chart, kind: str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Mark and data of every layer of this kind, nested ones too."""
    spec, found = chart.to_dict(), []

    def walk(layer: dict[str, Any]) -> None:
        for inner in layer.get("layer", []):
            walk(inner)
        if layer.get("mark", {}).get("type") == kind:
            found.append((layer["mark"], pd.DataFrame(spec["datasets"][layer["data"]["name"]])))

    walk(spec)
    return found


def test_every_specification_run_is_a_line_and_a_mark_in_each_part(rows: pd.DataFrame) -> None:
    chart = multiverse(rows, percent=True)
    run = rows.dropna(subset="estimate").sort_values("estimate")
    points = pd.concat([data for mark, data in layers(chart, "point") if mark["shape"] == "circle"])
    own = [data for mark, data in layers(chart, "point") if mark["shape"] == "diamond"]
    drawn = pd.concat([points, own[0]]).sort_values("rank")
    assert drawn["estimate"].tolist() == run["estimate"].tolist()
    assert own[0]["told"].tolist() == [run.loc[run["headline"], "estimator"].iloc[0] + own[0]["told"].iloc[0][5:]]
    strokes = next(data for _, data in layers(chart, "rule") if "part" in data and "rank" in data)
    shown = [
        part for part in ("estimator", "base_window", "control", "left_out", "outcome") if len(run[part].unique()) > 1
    ]
    assert sorted(strokes["part"].unique()) == sorted(shown) == ["base_window", "estimator", "left_out"]
    assert len(strokes) + len(own[1]) == len(run) * len(shown)
    names = layers(chart, "text")[0][1]
    wanted = [
        value for part in ("estimator", "base_window", "left_out") for value in ("", *run.sort_index()[part].unique())
    ]
    assert names["value"].tolist() == wanted, "in the order of the table"
    assert names["y"].is_monotonic_increasing


def test_the_curve_says_what_it_is_and_what_it_is_not(rows: pd.DataFrame) -> None:
    said = layers(multiverse(rows), "text")[1][1]["text"].tolist()
    missing = int(rows["estimate"].isna().sum())
    assert said[2:5] == [
        "Intervals at the edge reach further",
        "They share their data: no share of them is a p-value",
        f"{missing} not run, or the same as another",
    ]
    narrow = rows.assign(conf_low=rows["estimate"], conf_high=rows["estimate"])
    assert "reach further" not in str(layers(multiverse(narrow), "text")[1][1]["text"].tolist())
    assert said[5].startswith("◆ declared beforehand: welch, all before, +")
    described = multiverse(rows, percent=True).description
    run = rows.dropna(subset="estimate")
    zero = ((run["conf_low"] > 0) | (run["conf_high"] < 0)).sum()
    assert f": {len(run)} specifications, +" in described
    assert f"; {zero} intervals exclude zero. declared beforehand: welch, all before, +" in described
    alone = multiverse(run.head(1))
    assert "1 specification, " in alone.description
    assert "not run" not in "".join(layers(alone, "text")[1][1]["text"])


def test_endless_and_missing_intervals_do_not_stretch_the_axis(rows: pd.DataFrame) -> None:
    odd = rows.copy()
    places = odd.index[odd["estimate"].notna()][1:3]
    odd.loc[places[0], ["conf_low", "conf_high"]] = [-np.inf, np.inf]
    odd.loc[places[1], ["conf_low", "conf_high"]] = np.nan
    for chart in (multiverse(odd), multiverse(rows)):
        lines = pd.concat([data for _, data in layers(chart, "rule") if "left" in data])
        assert np.isfinite(lines[["left", "right"]]).all(axis=None)
        assert lines["right"].max() < 1.0
    assert len(lines) == rows["estimate"].notna().sum()


def test_power_curves_carry_their_designs(curves: pd.DataFrame) -> None:
    chart = power_curve(curves, percent=True)
    line = layers(chart, "line")[0][1]
    for name, part in line.groupby("name"):
        pilots, weeks = (int(word) for word in name.replace(",", "").split() if word.isdigit())
        held = curves[(curves["pilots"] == pilots) & (curves["weeks"] == weeks)]
        assert part["power"].tolist() == held["power"].tolist()
    assert layers(chart, "text")[1][1]["name"].tolist() == [
        "3 pilots, 8 weeks",
        "4 pilots, 8 weeks",
        "3 pilots, 21 weeks",
    ]
    assert chart.description.count(" at +15.0%") == 3
    with pytest.raises(ParameterError, match="draws up to 5 designs, not 6"):
        power_curve(pd.concat([curves.assign(weeks=week) for week in (1, 2, 3)]))


def test_the_table_has_a_cell_a_design_and_marks_the_present_one(designs: pd.DataFrame) -> None:
    chart = what_if(designs, percent=True)
    cells, present = (data for _, data in layers(chart, "rect"))
    assert len(cells) == len(designs) == 6
    assert present[["line", "column"]].to_numpy().tolist() == [["3 pilots", "8 weeks"]]
    for cell, row in zip(cells.itertuples(), designs.itertuples(), strict=True):
        assert float(cell.told[1:-1]) == pytest.approx(100 * row.detectable_effect, abs=0.051)
        assert float(cell.chance[:-1]) == pytest.approx(100 * row.power, abs=0.051)
    assert "for an effect of +5.0%" in chart.description
    assert layers(chart, "text")[-1][0]["text"][-1] == "Framed: the present design"


def test_no_chance_is_shown_as_certain(designs: pd.DataFrame) -> None:
    described = what_if(designs.assign(power=[0.9989, 0.9991, 1.0, 0.5, 0.5, 0.5])).description
    assert ", 99.9%; " in described
    assert described.count(", >99.9%; ") == 2


def test_the_key_stands_below_the_axis_where_no_curve_passes(curves: pd.DataFrame) -> None:
    chart = power_curve(curves.assign(power=curves["power"] / 10))
    key = layers(chart, "text")[1][1]
    assert key["y"].min() > chart.to_dict()["height"] + 40, "below the numbers and the title of the axis"
    assert key["y"].diff().min() >= 15


CHINESE = {
    "multiverse": {"value": "对成交总额的影响", "declared": "事先声明", "caution": "各口径共用数据，所占比例不是 p 值"},
    "power": {"value": "效果大小", "chance": "被发现的机会", "pilots": "个试点", "weeks": "周"},
    "table": {"value": "百分之八十机会被发现的效果；其下为 {effect} 的效果", "chance": "被发现的机会"},
}


def test_words_are_the_callers_and_stay_text(rows: pd.DataFrame, curves: pd.DataFrame, designs: pd.DataFrame) -> None:
    for draw, frame, words in (
        (multiverse, rows, CHINESE["multiverse"]),
        (power_curve, curves, CHINESE["power"]),
        (what_if, designs, CHINESE["table"]),
    ):
        kept = frame.copy(deep=True)
        chart = draw(frame, percent=True, labels=words)
        pd.testing.assert_frame_equal(frame, kept)
        assert words["value"].split("{")[0] in chart.description
        assert 'width="720"' in svg(chart)
        assert chart.to_dict() == draw(frame, percent=True, labels=words).to_dict()
        hostile = svg(draw(frame, labels={"value": WORD}))
        assert "<b>" not in hostile
        assert "&lt;b" in hostile
        with pytest.raises(ParameterError, match="no word is called 'valu'"):
            draw(frame, labels={"valu": "x"})
        with pytest.raises(ParameterError, match="no row has anything to draw"):
            draw(frame.head(0))
        with pytest.raises(ParameterError, match="the frame lacks"):
            draw(pd.DataFrame({"x": [1]}))
    named = multiverse(rows.assign(left_out=rows["left_out"].replace("category 1", HOSTILE)))
    assert "<b>" not in svg(named)


OVERLAPS = """() => [...document.querySelectorAll("svg")].flatMap((chart) => {
  const frame = chart.getBoundingClientRect();
  const boxes = [...chart.querySelectorAll("text")].filter((text) => text.textContent.trim())
    .map((text) => [text.textContent, text.getBoundingClientRect()]);
  const cut = boxes.filter(([, box]) => box.left < frame.left - 1 || box.right > frame.right + 1).map(([words]) => words);
  const met = boxes.flatMap(([words, box], at) => boxes.slice(at + 1).filter(([, other]) =>
    Math.min(box.right, other.right) - Math.max(box.left, other.left) > 1 &&
    Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top) > 3).map(([others]) => words + " / " + others));
  return [...cut, ...met];
})"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [720, 330])
def test_no_two_texts_overlap(
    width: int, browser: Browser, rows: pd.DataFrame, curves: pd.DataFrame, designs: pd.DataFrame
) -> None:
    charts = [multiverse(rows), multiverse(rows, percent=True, labels=CHINESE["multiverse"])]
    charts += [multiverse(rows.assign(left_out=rows["left_out"] + " and all that goes with it"))]
    charts += [power_curve(curves, percent=True), power_curve(curves, labels=CHINESE["power"])]
    charts += [what_if(designs, percent=True), what_if(designs, labels=CHINESE["table"])]
    wide = pd.concat(
        [
            designs.drop_duplicates("pilots").assign(weeks=weeks, detectable_effect=0.231)
            for weeks in (8, 21, 34, 47, 60)
        ]
    )
    charts += [what_if(wide, percent=True)]
    page = browser.new_page(viewport={"width": 800, "height": 900})
    page.set_content("".join(svg(chart, width) for chart in charts))
    texts, found = page.locator("svg text").count(), page.evaluate(OVERLAPS)
    page.close()
    assert texts > 100, "the check saw the texts"
    # Boxes are as high as a line, glyphs are not: 3 px of two boxes may touch; 1 px is rounding.
    assert found == []
