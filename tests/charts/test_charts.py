"""The charts as readers see them: valid, worded, legible, and without two texts on top of each other."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import vl_convert

import strategy_kit as sk
from strategy_kit import charts
from strategy_kit.charts import theme
from strategy_kit.errors import ParameterError
from strategy_kit.report.export import export

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

NAMES = [
    "apparel",
    "beauty",
    "outdoors",
    "home",
    "toys",
    "games",
    "groceries",
    "books",
    "garden",
    "pets",
    "baby",
    "auto",
]


class Study:
    """Stands in for an event study: 43 ages, the one before the start without an interval."""

    age = np.arange(-26, 17)
    details: dict[str, pd.DataFrame]

    def tidy(self, level: float = 0.95) -> pd.DataFrame:
        estimate = np.where(self.age < 0, np.sin(self.age) / 90, 0.06 + np.cos(self.age) / 90)
        estimate[self.age == -1] = 0
        half = np.where(self.age == -1, np.nan, 0.07 * level)
        frame = pd.DataFrame({"age": self.age, "estimate": estimate})
        for name, width in (("conf", half), ("band", 1.5 * half)):
            frame[f"{name}_low"], frame[f"{name}_high"] = estimate - width, estimate + width
        return frame


class Contrast:
    """Stands in for a pilot contrast of 3 categories among 12."""

    def __init__(self) -> None:
        values = np.r_[0.099, 0.074, 0.021, np.linspace(-0.05, 0.05, 9) ** 3 * 400]
        averages = [values[list(three)].mean() for three in itertools.combinations(range(12), 3)]
        self.details = {
            "groups": pd.DataFrame({"group": NAMES, "treated": [True] * 3 + [False] * 9, "contrast": values}),
            "placebo": pd.DataFrame({"statistic": averages}),
        }

    def glance(self) -> pd.DataFrame:
        return pd.DataFrame({"estimate": [(0.099 + 0.074 + 0.021) / 3]})


def weeks(pilot: float = 1.0) -> pd.DataFrame:
    when = pd.date_range("2024-02-05", "2025-07-28", freq="W-MON")
    rows = []
    for who, factor in (("pilot", pilot), ("others", 1.01)):
        gmv = (100 + 10 * np.sin(np.arange(len(when)) / 6)) * factor
        rows.append(pd.DataFrame({"week": when, "who": who, "gmv": gmv, "complete": when < when[-1]}))
    frame = pd.concat(rows, ignore_index=True)
    frame.loc[~frame["complete"], "gmv"] *= 0.4
    return frame


def cohorts(number: int = 18) -> pd.DataFrame:
    starts = pd.date_range("2024-02-01", periods=number, freq="MS")
    return pd.DataFrame(
        [
            {"cohort": start, "age": age, "value": 900 * 0.8**age if row + age < number else np.nan,
             "cohort_size": 900, "observed": row + age < number}
            for row, start in enumerate(starts) for age in range(number)
        ],
    )  # fmt: skip


def trend(**words: Any) -> theme.Chart:
    return charts.kpi_trend(weeks(), metric="gmv", period="week", series="who", start="2025-04-14", **words)


ALL = {
    "trend": trend,
    "triangle": lambda: charts.triangle(cohorts()),
    "event_study": lambda: charts.event_study(Study(), percent=True),
    "placebo": lambda: charts.placebo_strip(Contrast(), labels={"sentence": "1 of 220 as high"}),
}


def marks(spec: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [mark for layer in spec.get("layer", []) for mark in marks(layer)]
    shared = {"data": spec["data"]} if "data" in spec else {}
    return [{"encoding": {}, **spec}] if "mark" in spec else [{**shared, **mark} for mark in inner]


def rows_of(spec: dict[str, Any], layer: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(spec["datasets"][layer["data"]["name"]])


@pytest.mark.parametrize("name", ALL)
def test_each_chart_is_valid_worded_and_draws(name: str) -> None:
    spec = ALL[name]().to_dict()
    assert len(spec["description"]) > 20
    assert spec["width"] == theme.WIDTH
    svg = vl_convert.vegalite_to_svg({key: value for key, value in spec.items() if key != "$schema"})
    assert svg.count("<path") > 5
    assert 'width="720"' in svg, "width is the total width"


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_text_and_marks() -> None:
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    for text in (theme.INK, theme.SOFT, theme.PILOT, theme.WARNING):
        assert contrast(text, theme.PAPER) >= 4.5, text  # WCAG 2.2, text
    assert contrast(theme.OTHER, theme.PAPER) >= 3  # WCAG 2.2, graphics
    spec = charts.triangle(cohorts()).to_dict()
    cells = rows_of(spec, marks(spec)[0])
    # At the point where white and ink swap, the best possible is the root of their own contrast, 4.07.
    assert min(contrast(ink, fill) for ink, fill in zip(cells["ink"], cells["fill"], strict=True)) >= 4.0


def test_marks_that_carry_meaning_have_named_colours() -> None:
    for name, chart in ALL.items():
        for layer in marks(chart().to_dict()):
            encoded = layer["encoding"].keys() & {"color", "stroke", "fill"}
            assert encoded or "color" in layer["mark"] or layer["mark"].get("opacity") == 0, (name, layer["mark"])


def test_labels_are_twelve_pixels_in_fonts_with_chinese() -> None:
    config = trend().to_dict()["config"]
    assert config["axis"]["labelFontSize"] >= 12
    assert config["autosize"]["type"] == "fit-x"
    assert {"PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC"} <= set(config["font"].replace('"', "").split(", "))


def test_renderer_speaks_the_schema_that_the_laboratory_draws() -> None:
    bundle = theme.renderer(trend().to_dict())
    assert bundle["text/plain"].startswith("Line chart")
    assert bundle[theme.MIME]["$schema"].endswith("/v5.json")
    nbformat.validate(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data=bundle)])],
        ),
    )


def test_incomplete_periods_are_open_dotted_and_named() -> None:
    spec = trend().to_dict()
    lines = next(layer for layer in marks(spec) if layer["mark"]["type"] == "line")
    parts = rows_of(spec, lines)
    dotted = parts[~parts["solid"]].groupby("series")["when"].agg(list)
    assert dotted["pilot"] == dotted["others"] == ["2025-07-21T00:00:00", "2025-07-28T00:00:00"], (
        "the joining week is in both parts"
    )
    assert parts.loc[parts["solid"], "when"].max() == "2025-07-21T00:00:00"
    assert "incomplete" in json.dumps(spec["layer"])
    whole = weeks().assign(complete=True)
    clean = charts.kpi_trend(whole, metric="gmv", period="week", series="who").to_dict()
    assert "incomplete" not in json.dumps(clean["layer"])


def test_triangle_prints_shares_and_leaves_the_future_empty() -> None:
    spec = charts.triangle(cohorts(4)).to_dict()
    cells = rows_of(spec, marks(spec)[0])
    assert len(cells) == 10
    assert cells.loc[cells["row"].str.startswith("2024-02"), "number"].tolist() == ["100", "80", "64", "51"]
    plain = charts.triangle(cohorts(2).assign(value=-1200), share=False).to_dict()
    assert set(rows_of(plain, marks(plain)[0])["number"]) == {"−1,200"}


def test_event_study_nests_three_bands_and_keeps_the_reference_age() -> None:
    spec = charts.event_study(Study()).to_dict()
    areas = [layer for layer in marks(spec) if layer["mark"]["type"] == "area"]
    widths = [(frame["conf_high"] - frame["conf_low"]).iloc[0] for frame in (rows_of(spec, area) for area in areas)]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3
    reference = rows_of(spec, areas[0]).set_index("age").loc[-1]
    assert reference["conf_low"] == reference["conf_high"] == 0
    alone = charts.event_study(Study().tidy()).to_dict()
    assert sum(layer["mark"]["type"] == "area" for layer in marks(alone)) == 1


def test_placebo_strip_shows_every_group_and_every_average() -> None:
    spec = ALL["placebo"]().to_dict()
    bars = next(layer for layer in marks(spec) if layer["mark"]["type"] == "bar")
    assert rows_of(spec, bars)["n"].sum() == 220
    dots = [rows_of(spec, layer) for layer in marks(spec) if layer["mark"]["type"] == "point"]
    assert sorted(len(rows) for rows in dots) == [3, 9]
    described = spec["description"]
    assert "apparel +9.9%" in described
    assert "pilots +6.5%" in described
    assert "1 of 220 as high" in described
    others = next(rows for rows in dots if len(rows) == 9).sort_values(["level", "percent"])
    per_px = (rows_of(spec, bars)["percent"].max() - rows_of(spec, bars)["percent"].min()) / 330
    gaps = others.groupby("level")["percent"].diff().dropna()
    assert gaps.min() / per_px >= 8, "dots of 9 px do not hide one another"
    frames = Contrast().details
    logs = charts.placebo_strip(
        frames["groups"], frames["placebo"], average=6.5, to_percent=lambda value: 100 * float(np.expm1(value))
    )
    assert "apparel +10.4%" in logs.to_dict()["description"]


def test_results_of_the_methods_draw_without_further_words() -> None:
    rows = [(unit, t, np.sin(unit * t) + (t >= 5) * (unit < 3)) for unit in range(12) for t in range(1, 11)]
    frame = pd.DataFrame(rows, columns=["unit", "t", "y"]).assign(start=lambda rows: (rows["unit"] < 3) * 5)
    panel = sk.Panel.from_frame(frame, unit="unit", period="t", outcome="y", treated_from="start")
    study = charts.event_study(sk.did.event_study(sk.did.group_time(panel))).to_dict()
    assert rows_of(study, marks(study)[0])["age"].tolist() == list(range(-3, 6))
    strip = charts.placebo_strip(sk.did.pilot_contrast(panel)).to_dict()
    bars = next(layer for layer in marks(strip) if layer["mark"]["type"] == "bar")
    assert rows_of(strip, bars)["n"].sum() == 220, "12 choose 3"


def test_a_frame_with_percent_is_taken_as_it_is() -> None:
    groups = pd.DataFrame({"group": ["a", "b"], "treated": [True, False], "percent": [6.0, -1.0]})
    spec = charts.placebo_strip(groups, pd.DataFrame({"percent": [6.0, -1.0]}), average=6.0).to_dict()
    assert "a +6.0%" in spec["description"]
    assert "−1.0%" in spec["description"]


def test_figure_carries_words_and_table() -> None:
    table = pd.DataFrame({"week": ["W30"], "effect": [None]})
    chart = charts.figure(trend(), title="A rose", subtitle="GMV", caption="Synthetic", description="One.", table=table)
    spec = chart.to_dict()
    assert spec["description"] == "One."
    assert spec["title"]["text"] == ["A rose"]
    assert spec["title"]["subtitle"] == ["GMV", "Synthetic"], "a picture of the chart carries its caption"
    words = spec["usermeta"]["strategy_kit"]
    assert words["table"] == {"columns": ["week", "effect"], "rows": [["W30", ""]]}
    long = charts.figure(trend(), title="类目" * 60, description="二").to_dict()["title"]["text"]
    assert max(map(len, long)) <= 40
    with pytest.raises(ParameterError, match="description"):
        charts.figure(trend(), title="A rose", description=" ")


def test_unknown_word_is_refused_with_a_hint() -> None:
    with pytest.raises(ParameterError, match="incomplete"):
        trend(labels={"incomplet": "x"})


OVERLAPS = """() => {
  const seen = [...document.querySelectorAll("svg text")].filter(
    (text) => text.textContent.trim() && text.getClientRects().length && getComputedStyle(text).opacity !== "0");
  const boxes = seen.map((text) => [text.textContent, text.getBoundingClientRect(),
                                    text.closest("svg").getBoundingClientRect()]);
  const found = [];
  boxes.forEach(([words, box, frame], at) => {
    if (box.left < frame.left - 1 || box.right > frame.right + 1) found.push([words, "cut off"]);
    for (const [others, other] of boxes.slice(at + 1)) {
      const wide = Math.min(box.right, other.right) - Math.max(box.left, other.left);
      const high = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
      if (wide > 1 && high > 3) found.push([words, others]);
    }
  });
  return [boxes.length, found];
}"""
CHINESE = {
    "trend": lambda: trend(labels={"pilot": "试点类目", "others": "其他类目", "incomplete": "未满一周"}),
    "event_study": lambda: charts.event_study(Study(), labels={"value": "对成交额的影响", "start": "扶持开始"}),
    "close": lambda: charts.kpi_trend(weeks(1.0101), metric="gmv", period="week", series="who", start="2024-03-04"),
}


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 390, 360])
def test_no_two_texts_overlap(width: int, browser: Browser, tmp_path: Path) -> None:
    made = [theme.renderer(chart().to_dict()) for chart in (*ALL.values(), *CHINESE.values())]
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in made]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=outputs)])
    nbformat.write(notebook, tmp_path / "page.ipynb")
    export(tmp_path / "page.ipynb", tmp_path / "page.html")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("html[data-charts=done]")
    number, found = page.evaluate(OVERLAPS)
    page.close()
    assert number > 100, "the check saw the texts"
    # Boxes are as high as a line, glyphs are not: 3 px of two boxes may touch; 1 px is rounding.
    assert found == []
