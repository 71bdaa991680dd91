"""Treated against synthetic: what the chart draws, says and refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

from strategy_kit.charts import theme
from strategy_kit.charts.synthetic import synthetic_pair
from strategy_kit.did.synthetic import synthetic, synthetic_control
from strategy_kit.errors import ParameterError
from strategy_kit.panel import Panel

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHINESE = {
    "value": "成交总额（元）",
    "treated": "试点类目",
    "synthetic": "合成对照",
    "start": "试点开始",
    "times": "各前期周的权重",
    "donors": "对照类目的权重",
    "others": "个其他类目",
}


def panel(donors: int = 20, starts: tuple[int, ...] = (26,), *, dated: bool = True, scale: float = 1e6) -> Panel:
    """40 weeks of groups that share two trends; one of the donors has a long name."""
    rng, weeks = np.random.default_rng(3), pd.date_range("2024-10-07", periods=40, freq="W-MON")
    trends = rng.normal(size=(2, 40)).cumsum(axis=1)
    size = donors + len(starts)
    y = scale * np.exp(rng.uniform(size=(size, 2)) @ trends / 30 + rng.normal(size=(size, 40)) / 50)
    periods = weeks if dated else np.arange(1990, 2030)
    never = pd.NaT if dated else np.inf
    names = [f"group {i:02d}" for i in range(size - 1)] + ["home furniture and kitchen appliances"]
    first = [periods[at] for at in starts] + [never] * donors
    return Panel.from_matrix(y, treated_from=first, periods=periods, units=names, name="gmv")


def layers(spec: dict[str, Any], kind: str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Each layer with this mark, however deep, and its data."""
    found = []
    for part in spec["layer"]:
        layer = {"data": spec.get("data"), **part, "datasets": spec["datasets"]}
        if "layer" in layer:
            found += layers(layer, kind)
        elif layer["mark"]["type"] == kind:
            found.append((layer, pd.DataFrame(spec["datasets"][layer["data"]["name"]])))
    return found


def svg(spec: dict[str, Any], width: int = 720) -> str:
    kept = {name: value for name, value in spec.items() if name != "$schema"}
    return vl_convert.vegalite_to_svg({**kept, "width": width})


def test_it_draws_the_paths_and_weights_of_the_result() -> None:
    result = synthetic(panel())
    kept = {name: frame.copy() for name, frame in result.details.items()}
    spec = synthetic_pair(result).to_dict()
    for name, frame in kept.items():
        pd.testing.assert_frame_equal(result.details[name], frame, obj="the caller's frame")
    assert spec["width"] == theme.WIDTH
    assert 'width="720"' in svg(spec), "width is the total width"
    lines = layers(spec, "line")[0][1].pivot_table(index="when", columns="series", values="value", sort=False)
    for side in ("treated", "synthetic"):
        np.testing.assert_array_equal(lines[side], kept["paths"][side])
    (times, donors) = (rows for _, rows in layers(spec, "bar"))
    np.testing.assert_array_equal(times["weight"], kept["time_weights"]["weight"])
    ranked = kept["unit_weights"].sort_values("weight", ascending=False)
    assert donors["name"].tolist() == [*ranked["group"].head(10), "10 others"]
    assert donors["weight"].tolist() == pytest.approx([*ranked["weight"].head(10), ranked["weight"].iloc[10:].sum()])
    assert donors["middle"].is_monotonic_increasing
    rules = [rows for _, rows in layers(spec, "rule")]
    assert [rows["when"].tolist() for rows in rules] == [["2025-04-07"]]


def test_it_describes_itself_in_any_words() -> None:
    result = synthetic(panel())
    described = synthetic_pair(result).to_dict()["description"]
    assert described.startswith("gmv from 2024-10-07 to 2025-07-07, start 2025-04-07: treated and synthetic. ")
    assert "10 others" in described
    assert "nan" not in described
    chinese = synthetic_pair(result, labels=CHINESE).to_dict()
    drawn = svg(chinese)
    assert not [word for word in CHINESE.values() if word not in drawn]
    assert "成交总额（元）" in chinese["description"]
    with pytest.raises(ParameterError, match=r"no word is called 'valu'.*did you mean 'value'"):
        synthetic_pair(result, labels={"valu": "x"})


def test_synthetic_control_has_no_weights_of_periods() -> None:
    with_them, without = (synthetic_pair(method(panel())).to_dict() for method in (synthetic, synthetic_control))
    assert len(layers(without, "bar")) == len(layers(with_them, "bar")) - 1
    assert "earlier periods" not in svg(without)
    assert without["height"] < with_them["height"]


def test_years_are_numbers_without_separators() -> None:
    drawn = svg(synthetic_pair(synthetic(panel(dated=False))).to_dict())
    assert ">2000<" in drawn
    assert "2,000" not in drawn


def test_few_donors_have_no_row_of_others() -> None:
    rows = layers(synthetic_pair(synthetic(panel(donors=4))).to_dict(), "bar")[-1][1]
    assert len(rows) == 4
    assert not rows["name"].str.contains("others").any()


def test_one_of_several_cohorts_is_drawn_by_name() -> None:
    result = synthetic(panel(starts=(20, 30)))
    with pytest.raises(ParameterError, match=r"cohort is one of 2025-02-24.*2025-05-05.*not None; name one"):
        synthetic_pair(result)
    early, late = result.details["fit"]["cohort"]
    rules = [layers(synthetic_pair(result, cohort=at).to_dict(), "rule")[0][1] for at in (early, late)]
    assert [rows["when"][0] for rows in rules] == ["2025-02-24", "2025-05-05"]
    with pytest.raises(ParameterError, match="not 3; name one"):
        synthetic_pair(result, cohort=3)


def test_another_result_is_refused() -> None:
    result = replace(synthetic(panel(donors=4)), details={})
    with pytest.raises(ParameterError, match="paths: the frame lacks 'cohort', 'period', 'treated', 'synthetic'"):
        synthetic_pair(result)


OVERLAPS = """() => [...document.querySelectorAll("svg")].flatMap((chart) => {
  const frame = chart.getBoundingClientRect(), found = [];
  const boxes = [...chart.querySelectorAll("text")]
    .filter((text) => text.textContent.trim() && getComputedStyle(text).opacity !== "0")
    .map((text) => [text.textContent, text.getBoundingClientRect()]);
  boxes.forEach(([words, box], at) => {
    if (box.left < frame.left - 1 || box.right > frame.right + 1) found.push([words, "cut off"]);
    if (box.top < frame.top - 3 || box.bottom > frame.bottom + 3) found.push([words, "cut off"]);
    for (const [others, other] of boxes.slice(at + 1)) {
      const wide = Math.min(box.right, other.right) - Math.max(box.left, other.left);
      const high = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
      if (wide > 1 && high > 3) found.push([words, others]);
    }
  });
  return found;
})"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [720, 330])
def test_no_two_texts_overlap(width: int, browser: Browser) -> None:
    early = synthetic(panel(starts=(3,), donors=9))
    results = [synthetic(panel()), synthetic_control(panel()), early, synthetic(panel(dated=False, scale=1e-3))]
    charts = [synthetic_pair(result, labels=words) for result in results for words in (None, CHINESE)]
    page = browser.new_page(viewport={"width": 800, "height": 900})
    page.set_content("".join(svg(chart.to_dict(), width) for chart in charts))
    texts, found = page.locator("svg text").count(), page.evaluate(OVERLAPS)
    page.close()
    assert texts > 150, "the check saw the texts"
    # Boxes are as high as a line, glyphs are not: 3 px of two boxes may touch; 1 px is rounding.
    assert found == []
