"""Grid of effects, comparison of estimators and decomposition: what they draw, say, and refuse."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

import strategy_kit as sk
from strategy_kit.charts import theme
from strategy_kit.charts.bacon import LOOKS, bacon
from strategy_kit.charts.effects_grid import effects_grid, writer
from strategy_kit.charts.estimators import estimator_comparison
from strategy_kit.errors import ParameterError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WORD = '</script><b>"it\'s" {{x}} ${y}' + "w" * 90
HOSTILE = WORD + " \\ \n\\"


def effects(cohorts: int = 3, periods: int = 7, *, dates: bool = False) -> pd.DataFrame:
    """Cells of cohorts that start from period 3 on; the period before each start is the base, without an interval."""
    starts = np.unique(np.linspace(3, periods, cohorts).round())
    rows = [(start, period) for start in starts for period in range(2, periods + 1)]
    frame = pd.DataFrame(rows, columns=["cohort", "period"])
    age = frame["period"] - frame["cohort"]
    frame["estimate"] = np.where(age >= 0, 0.04 + 0.002 * age, np.where(age == -1, 0, 0.03 * np.sin(9 * age)))
    half = np.where(age == -1, np.nan, 0.025)
    frame = frame.assign(conf_low=frame["estimate"] - half, conf_high=frame["estimate"] + half)
    if dates:
        weeks = {name: pd.to_timedelta(7 * frame[name], unit="D") for name in ("cohort", "period")}
        frame = frame.assign(**{name: pd.Timestamp("2024-01-29") + weeks[name] for name in weeks})
    return frame


def fits() -> pd.DataFrame:
    rows = [
        ("group_time", 0.064, 0.030, 0.098, "with units not treated yet"),
        ("two_way", 0.031, -0.004, 0.066, "also with units already treated"),
        ("synthetic", 0.070, np.nan, np.nan, ""),
    ]
    return pd.DataFrame(rows, columns=["estimator", "estimate", "conf_low", "conf_high", "comparison"])


def pairs(cohorts: int = 3) -> pd.DataFrame:
    """Every comparison of so many cohorts, of the never treated and of the always treated, all of equal weight."""
    alone = {"never treated": ("treated vs never treated", 1.0), "always": ("later vs always treated", 0.2)}
    rows = [(one, other, *alone[other]) for one in range(cohorts) for other in alone]
    for early, late in itertools.combinations(range(cohorts), 2):
        rows += [
            (early, str(late), "earlier vs later treated", 0.92),
            (late, str(early), "later vs earlier treated", 0.1),
        ]
    frame = pd.DataFrame(rows, columns=["cohort", "comparison", "type", "estimate"])
    return frame.assign(weight=1 / len(frame))


DRAW: dict[str, Any] = {
    "grid": (effects_grid, effects, {"cohort", "period", "estimate", "conf_low", "conf_high"}),
    "estimators": (estimator_comparison, fits, {"estimator", "estimate", "conf_low", "conf_high"}),
    "bacon": (bacon, lambda: pairs(1).tail(1).assign(weight=1), {"cohort", "comparison", "type", "weight", "estimate"}),
}
CHINESE: dict[str, dict[str, str]] = {
    "grid": {
        "value": "对成交总额的影响（%）", "cohort": "批次", "period": "周", "excludes": "● 该格的 95% 区间不含 0",
        "before": "小格：扶持开始之前", "missing": "/ 无区间", "start": "粗线：扶持开始",
    },
    "estimators": {
        "value": "对成交总额的影响", "interval": "线段：95% 区间", "missing": "无区间", "two_way": "双向固定效应回归",
    },
    "bacon": {
        "value": "每组比较的影响", "weight": "在双向估计中的权重", "average": "双向估计，即加权平均",
        "forbidden": "不可取的比较：对照组已经受到扶持", "later vs always treated": "后受扶持与一直受扶持的商家相比",
    },
}  # fmt: skip


def marks(spec: dict[str, Any], kind: str) -> list[pd.DataFrame]:
    """Data of each layer whose mark is of this kind."""
    layers = [layer for layer in spec["layer"] if layer["mark"]["type"] == kind]
    return [pd.DataFrame(spec["datasets"][layer["data"]["name"]]) for layer in layers]


def encoding(spec: dict[str, Any], kind: str) -> dict[str, Any]:
    """How the first layer whose mark is of this kind is drawn."""
    return next(layer["encoding"] for layer in spec["layer"] if layer["mark"]["type"] == kind)


def svg(spec: dict[str, Any], width: int = 720) -> str:
    kept = {name: value for name, value in spec.items() if name != "$schema"}
    return vl_convert.vegalite_to_svg({**kept, "width": width})


@pytest.mark.parametrize("name", DRAW)
def test_each_chart_draws_takes_words_and_describes(name: str) -> None:
    draw, frame, columns = DRAW[name]
    given = frame()
    kept = given.copy(deep=True)
    spec = draw(given).to_dict()
    pd.testing.assert_frame_equal(given, kept, obj="the caller's frame")
    assert spec == draw(given).to_dict(), "the same frame gives the same chart"
    assert spec["width"] == theme.WIDTH
    assert not any(missing in spec["description"] for missing in ("nan", "None", "NaT"))
    for layer in spec["layer"]:
        assert layer["encoding"].keys() & {"color", "stroke", "fill"} or "color" in layer["mark"], "a named colour"
    assert 'width="720"' in svg(spec), "width is the total width"
    chinese = draw(given, labels=CHINESE[name]).to_dict()
    assert CHINESE[name]["value"] in svg(chinese)
    assert CHINESE[name]["value"] in chinese["description"]
    with pytest.raises(ParameterError, match=r"no word is called 'valu'.*did you mean 'value'"):
        draw(given, labels={"valu": "x"})
    assert svg(draw(given.head(1)).to_dict()).count("<text") > 1, "one row is enough"
    with pytest.raises(ParameterError, match="no row has anything to draw"):
        draw(given.head(0))
    with pytest.raises(ParameterError) as refused:
        draw(pd.DataFrame({"valu": [1]}))
    assert all(repr(column) in str(refused.value) for column in columns), "all of them in one sentence"


def test_the_grid_marks_starts_placebos_and_cells_that_exclude_zero() -> None:
    spec = effects_grid(effects(), percent=True).to_dict()
    after, before = marks(spec, "rect")
    assert (len(after), len(before)) == (5 + 3 + 1, 1 + 3 + 5)
    looks = [layer["mark"] for layer in spec["layer"] if layer["mark"]["type"] == "rect"]
    assert [look.get("width") for look in looks] == [None, {"band": 0.72}], "placebos are smaller"
    assert looks[1]["stroke"] == theme.OTHER, "and outlined"
    scale = encoding(spec, "rect")["fill"]["scale"]
    largest = effects()["estimate"].abs().max()
    assert scale["domain"] == [-largest, 0, largest]
    assert scale["range"] == [theme.WARNING, theme.HAIR, theme.PILOT]
    dots = marks(spec, "point")[0]
    truth = effects().query("conf_low > 0 or conf_high < 0")
    assert list(zip(dots["row"], dots["column"], strict=True)) == [
        (f"{cohort:.0f}", str(period)) for cohort, period in zip(truth["cohort"], truth["period"], strict=True)
    ]
    steps, strokes = marks(spec, "rule")
    # Starts 3, 5, 7 in columns 2 to 7: up at 1, 3, 5, and across between them at the foot of rows 1 and 2.
    assert steps.to_numpy().tolist() == [[1, 1, 0, 1], [3, 3, 1, 2], [5, 5, 2, 3], [1, 3, 1, 1], [3, 5, 2, 2]]
    assert len(strokes) == 3, "one base cell a cohort"
    assert "in 9 of 9 cells from the start on" in spec["description"]
    assert f"and {(truth['period'] < truth['cohort']).sum()} of 6 before it" in spec["description"]
    assert "highest +4.8% (3, 7)" in spec["description"]


def test_the_grid_prints_all_its_numbers_or_none() -> None:
    spec = effects_grid(effects(), percent=True).to_dict()
    wide, narrow = svg(spec), svg(spec, 330)
    assert wide.count(">+4.0%<") == 3
    assert ">+4.0%<" not in narrow
    assert ">+4.0%<" not in svg(effects_grid(effects(2, 30), percent=True).to_dict())


def test_the_grid_says_when_it_has_no_intervals_and_leaves_cells_without_estimate_empty() -> None:
    bare = effects().assign(conf_low=np.nan, conf_high=np.nan)
    spec = effects_grid(bare).to_dict()
    assert len(marks(spec, "rule")) == 1, "no stroke, as no cell differs"
    assert not marks(spec, "point")
    assert spec["description"].endswith("without intervals.")
    assert "without intervals" in svg(spec)
    gap = effects().assign(estimate=lambda rows: rows["estimate"].where(rows["cohort"] != 5))
    drawn = effects_grid(gap).to_dict()
    assert sum(map(len, marks(drawn, "rect"))) == 12
    assert encoding(drawn, "rect")["y"]["scale"]["domain"] == ["3", "5", "7"], "the empty row stays"
    assert len(marks(drawn, "rule")[0]) == 5, "and so does its start"
    with pytest.raises(ParameterError, match="no row has anything to draw"):
        effects_grid(effects().assign(estimate=np.nan))


def test_the_grid_takes_numbers_dates_and_timestamps_in_any_order() -> None:
    stamps = effects(dates=True)
    days = stamps.assign(**{name: stamps[name].dt.date for name in ("cohort", "period")})
    assert isinstance(days["period"].iloc[0], dt.date)
    spec = effects_grid(stamps).to_dict()
    assert effects_grid(days).to_dict() == spec
    assert effects_grid(stamps.sample(frac=1, random_state=1)).to_dict() == spec
    assert encoding(spec, "rect")["x"]["scale"]["domain"][:2] == ["2024-02-12", "2024-02-19"]
    assert encoding(spec, "rect")["y"]["scale"]["domain"] == ["2024-02-19", "2024-03-04", "2024-03-18"]
    hours = stamps.assign(period=stamps["period"] + pd.Timedelta(hours=6))
    assert encoding(effects_grid(hours).to_dict(), "rect")["x"]["scale"]["domain"][0] == "2024-02-12 06:00:00"
    late = effects().query("period < 7")
    assert marks(effects_grid(late).to_dict(), "rule")[0]["x1"].tolist()[2] == 5, (
        "a start after the last period is the edge"
    )


def test_results_of_the_methods_draw_without_further_words() -> None:
    outcome = np.sin(np.outer(np.arange(12), np.arange(1, 9)))
    panel = sk.Panel.from_matrix(outcome, treated_from=[5, 5, 7, 7, *[0] * 8])
    cells = sk.did.group_time(panel)
    spec = effects_grid(cells).to_dict()
    assert encoding(spec, "rect")["y"]["scale"]["domain"] == ["5", "7"]
    assert sum(map(len, marks(spec, "rect"))) == 14
    glances = [sk.did.overall(cells).glance(), sk.did.event_study(cells).glance()]
    described = estimator_comparison(pd.concat(glances)).to_dict()["description"]
    assert "overall " in described
    assert "; event_study " in described


@pytest.mark.parametrize(("cohorts", "periods"), [(2, 4), (40, 78)])
def test_the_grid_fits_few_and_many_cells(cohorts: int, periods: int) -> None:
    spec = effects_grid(effects(cohorts, periods, dates=True), percent=True).to_dict()
    assert spec["height"] == cohorts * (28 if cohorts < 20 else 14)
    drawn = svg(spec, 330)
    assert 'width="330"' in drawn
    assert drawn.count('aria-roledescription="rect mark"') + drawn.count("<path") > cohorts * (periods - 1)


def luminance(colour: Any) -> float:
    """Relative luminance of a colour in parts of 255, by WCAG 2.2."""
    parts = np.asarray(colour) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_numbers_and_dots_stand_out_on_every_tint() -> None:
    estimates = np.linspace(-1, 1, 201)
    frame = pd.DataFrame({"cohort": 0, "period": range(201), "estimate": estimates, "conf_low": estimates})
    cells = marks(effects_grid(frame.assign(conf_high=2)).to_dict(), "rect")[0]
    colours = (theme.PILOT, theme.WARNING, theme.HAIR, theme.PAPER, "#000000")
    parts = {name: np.array([int(name[at : at + 2], 16) for at in (1, 3, 5)]) for name in colours}
    found = []
    for value, ink in zip(cells["estimate"], cells["ink"], strict=True):
        end = parts[theme.PILOT if value > 0 else theme.WARNING]
        fill = luminance(parts[theme.HAIR] + abs(value) * (end - parts[theme.HAIR]))
        light, dark = max(fill, luminance(parts[ink])), min(fill, luminance(parts[ink]))
        found.append((light + 0.05) / (dark + 0.05))
    # White and black swap where both have a contrast of about 4.58, the root of their own.
    assert min(found) >= 4.5


def test_broken_grids_are_refused_with_all_their_laws() -> None:
    twice = pd.concat([effects(), effects().head(1)])
    twice.iloc[3, 2] = np.inf
    with pytest.raises(ParameterError, match=r"2 laws: .*cohort 3.0 has period 2.0 more than once; .*infinite; "):
        effects_grid(twice)
    with pytest.raises(ParameterError, match="different kinds; give both as numbers or both as dates"):
        effects_grid(effects().assign(period=effects(dates=True)["period"]))
    with pytest.raises(ParameterError, match="a cohort or a period is missing"):
        effects_grid(effects().assign(cohort=lambda rows: rows["cohort"].where(rows["cohort"] > 3)))


@pytest.mark.parametrize(
    ("values", "shown"),
    [([0.0], "0"), ([123.4], "+123"), ([-12.34], "−12.3"), ([0.06], "+0.060"), ([np.nan], "–"), ([np.inf], "∞")],
)
def test_numbers_have_the_digits_that_the_largest_needs(values: list[float], shown: str) -> None:
    assert writer(values)(values[0]) == shown


def test_the_first_estimator_is_the_headline() -> None:
    spec = estimator_comparison(fits(), percent=True).to_dict()
    points = [layer["mark"] for layer in spec["layer"] if layer["mark"]["type"] == "point"]
    drawn = {tuple(frame["name"]): mark["shape"] for frame, mark in zip(marks(spec, "point"), points, strict=True)}
    assert drawn == {("two_way", "synthetic"): "circle", ("group_time",): "diamond"}
    rules = [layer["mark"] for layer in spec["layer"] if layer["mark"]["type"] == "rule"][1:]
    assert [(mark["color"], mark["strokeWidth"]) for mark in rules] == [(theme.OTHER, 1.75), (theme.PILOT, 4)]
    names = marks(spec, "text")[0]
    assert names["lines"].map(" ".join).tolist() == fits()["estimator"].tolist(), "in the order given"
    assert names["y"].is_monotonic_increasing
    assert names["value"].tolist() == [["+6.4%"], ["+3.1%"], ["+7.0%", "no interval"]]
    assert spec["description"] == (
        "Effect, in units of the outcome. group_time, with units not treated yet +6.4% (+3.0% … +9.8%); two_way, also with "
        "units already treated +3.1% (−0.4% … +6.6%); synthetic +7.0% (no interval)."
    )
    domain = encoding(spec, "point")["x"]["scale"]["domain"]
    assert domain[0] < -0.004 < 0.098 < domain[1]


def test_estimators_need_no_comparison_and_endless_intervals_end_at_the_edge() -> None:
    frame = fits().drop(columns="comparison")
    frame.loc[1, "conf_high"], frame.loc[2, "estimate"] = np.inf, np.nan
    spec = estimator_comparison(frame).to_dict()
    line = marks(spec, "rule")[1]
    domain = encoding(spec, "point")["x"]["scale"]["domain"]
    assert line["right"].tolist() == [domain[1]]
    assert "two_way +0.031 (−0.004 … ∞); synthetic – (no interval)" in spec["description"]
    with pytest.raises(ParameterError, match="no row has anything to draw"):
        estimator_comparison(frame.assign(estimate=np.nan))


def test_the_decomposition_names_the_weight_of_forbidden_comparisons() -> None:
    spec = bacon(pairs()).to_dict()
    points = marks(spec, "point")[0]
    assert sorted(points["type"].unique()) == sorted(LOOKS)
    drawn = encoding(spec, "point")
    assert len(set(drawn["shape"]["scale"]["range"])) == len(set(drawn["stroke"]["scale"]["range"])) == 4
    average = pairs()["estimate"].mean()
    assert marks(spec, "rule")[1]["estimate"].tolist() == pytest.approx([average])
    lines = marks(spec, "text")[0]
    assert lines["lines"].map(" ".join).tolist() == [
        "Effect by comparison, in units of the outcome",
        "treated vs never treated: 25.0%",
        "earlier vs later treated: 25.0%",
        "later vs earlier treated: 25.0%",
        "later vs always treated: 25.0%",
        "two-way estimate, average by weight: +0.6",
        "forbidden, with units treated already: 50.0%",
    ]
    assert lines["ink"].iloc[-1] == theme.WARNING
    assert "12 comparisons. treated vs" in spec["description"]
    assert "forbidden, with units treated already: 50.0%" in spec["description"]


def test_a_decomposition_without_forbidden_comparisons_says_so_without_alarm() -> None:
    clean = pairs(1).head(1).assign(weight=1.0)
    spec = bacon(clean).to_dict()
    assert "treated already: 0.0%" in spec["description"]
    assert theme.WARNING not in marks(spec, "text")[0]["ink"].tolist()
    assert "1 comparison. " in spec["description"]


def test_broken_decompositions_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"weights add up to 1, not 0\.916667; give the whole decomposition"):
        bacon(pairs().iloc[1:])
    with pytest.raises(ParameterError, match="needs an estimate"):
        bacon(pairs().assign(estimate=np.nan))
    with pytest.raises(ParameterError, match="a weight of 0 or more"):
        bacon(pairs().assign(weight=[-1 / 12, 3 / 12, *[1 / 12] * 10]))
    with pytest.raises(ParameterError, match=r"type 'treated vs never' is none of .*mean 'treated vs never treated'"):
        bacon(pairs().replace({"type": {"treated vs never treated": "treated vs never"}}))


def hostile() -> list[theme.Chart]:
    grid = {name: effects()[name].map(lambda value: f"{value:02.0f}{HOSTILE}") for name in ("cohort", "period")}
    return [
        effects_grid(effects().assign(**grid), labels=dict.fromkeys(["value", "cohort", "start"], WORD)),
        estimator_comparison(fits().assign(estimator=HOSTILE, comparison=HOSTILE), labels={"value": WORD}),
        bacon(pairs().assign(comparison=HOSTILE), labels={"value": WORD, "later vs always treated": HOSTILE}),
    ]


def test_hostile_text_stays_text() -> None:
    for chart in hostile():
        drawn = svg(chart.to_dict())
        assert "<script" not in drawn
        assert "<b>" not in drawn
        assert "&lt;b" in drawn


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
    long = {
        "estimator": "按批次与时期估计后再合并的平均影响",
        "comparison": "与尚未受到扶持的商家相比，权重按批次的大小",
    }
    grids = [
        effects_grid(effects(cohorts, periods, dates=dates), percent=True)
        for cohorts, periods, dates in ((2, 4, True), (5, 26, True), (12, 12, False), (40, 78, True))
    ]
    thousands = fits().assign(**{name: fits()[name] * -1e7 for name in ("estimate", "conf_low", "conf_high")})
    return [
        *plain,
        *chinese,
        *grids,
        effects_grid(effects(4, 9).assign(estimate=lambda rows: rows["estimate"] * 1e6)),
        estimator_comparison(fits().assign(**long), percent=True),
        estimator_comparison(thousands),
        bacon(pairs(12), labels=CHINESE["bacon"]),
        bacon(pairs()),
    ]


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
