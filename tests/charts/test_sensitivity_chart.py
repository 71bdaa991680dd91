"""The fan of intervals: what it draws and says, where it marks the breakdown, and what it refuses."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

from strategy_kit.charts import sensitivity, theme
from strategy_kit.errors import ParameterError
from strategy_kit.sensitivity import relative_magnitudes, smoothness, study_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def result(breakdown: float = 1.4, restriction: str = "relative_magnitudes") -> SimpleNamespace:
    rows = pd.DataFrame({"magnitude": [0.0, 0.5, 1, 1.5, 2], "conf_low": [0.03, 0.02, 0.01, -0.01, -0.02]})
    rows["conf_high"] = 0.07 + rows["magnitude"] / 50
    one = {"restriction": restriction, "estimate": 0.05, "conf_low": 0.029, "conf_high": 0.071, "breakdown": breakdown}
    return SimpleNamespace(tidy=lambda: rows, glance=lambda: pd.DataFrame(one, index=[0]))


def marks(spec: dict[str, Any], kind: str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    layers = [layer for layer in spec["layer"] if layer["mark"]["type"] == kind]
    return [(layer["mark"], pd.DataFrame(spec["datasets"][layer["data"]["name"]])) for layer in layers]


def svg(spec: dict[str, Any], width: int = 720) -> str:
    kept = {name: value for name, value in spec.items() if name != "$schema"}
    return vl_convert.vegalite_to_svg({**kept, "width": width})


def test_intervals_that_hold_zero_are_broken_and_the_original_stands_apart() -> None:
    spec = sensitivity(result(), percent=True).to_dict()
    spans = {"strokeDash" in mark: rows for mark, rows in marks(spec, "rule") if mark.get("strokeWidth") == 5}
    assert spans[True]["magnitude"].tolist() == [1.5, 2.0]
    assert spans[False]["magnitude"].tolist()[1:] == [0.0, 0.5, 1.0]
    assert spans[False]["magnitude"][0] < 0, "the original at the left"
    area = marks(spec, "area")[0][1]
    assert area["magnitude"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0], "the fan is of the sizes alone"
    assert spec["width"] == theme.WIDTH
    assert spec["description"] == (
        "Effect, in units of the outcome. original +5.0% (+2.9% … +7.1%); 0: +3.0% … +7.0%; 0.5: +2.0% … +8.0%; "
        "1: +1.0% … +9.0%; 1.5: −1.0% … +10.0%; 2: −2.0% … +11.0%. Violation after the start, in multiples of the worst "
        "one seen before it; breakdown 1.40."
    )
    assert ">original<" in svg(spec)
    assert ">breakdown 1.40<" in svg(spec)


def test_a_bend_has_the_unit_of_the_effect_and_a_multiple_has_none() -> None:
    bends = sensitivity(result(restriction="smoothness"), percent=True).to_dict()
    assert "; 50%: +2.0% … +8.0%; " in bends["description"]
    assert bends["description"].endswith("; breakdown 140%.")
    assert ">200%<" in svg(bends)
    assert ">200%<" not in svg(sensitivity(result(), percent=True).to_dict())


@pytest.mark.parametrize(
    ("breakdown", "said", "lines"),
    [
        (1.4, "breakdown 1.40", 1),
        (2.3, "breakdown 2.30", 1),
        (0.0, "breakdown 0", 1),
        (41.0, "breakdown beyond the scale: 41.0", 0),
        (np.inf, "no violation seen before, so no breakdown", 0),
        (np.nan, "no finding to defend", 0),
    ],
)
def test_the_breakdown_is_marked_or_told(breakdown: float, said: str, lines: int) -> None:
    spec = sensitivity(result(breakdown)).to_dict()
    lined = [rows for mark, rows in marks(spec, "rule") if mark.get("color") == theme.WARNING]
    assert [rows["magnitude"].tolist() for rows in lined] == [[breakdown]] * lines
    assert said in spec["description"]
    assert f">{said}<" in svg(spec)


def test_results_of_the_methods_draw_without_further_words() -> None:
    study = study_of([0.1, 1.0], [[0.01, 0.0], [0.0, 0.01]], [-2, 0])
    for method, title in ((relative_magnitudes, "multiples of the worst"), (smoothness, "Change of slope")):
        spec = sensitivity(method(study)).to_dict()
        assert title in spec["description"]
        assert f"{method(study).breakdown:.3g}" in spec["description"]


def test_words_are_the_callers_and_stay_text() -> None:
    word = "</script>'\\ {{x}}"
    spec = sensitivity(result(), labels={"original": word, "value": "对成交总额的影响", "breakdown": "界限"}).to_dict()
    assert "对成交总额的影响" in spec["description"]
    drawn = svg(spec)
    assert "界限 1.40" in drawn
    assert "&lt;/script&gt;" in drawn
    assert "<script>" not in drawn
    with pytest.raises(ParameterError, match=r"no word is called 'orignal'.*did you mean 'original'"):
        sensitivity(result(), labels={"orignal": "x"})


def test_other_frames_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"restriction 'smoothnes' is none of .*mean 'smoothness'"):
        sensitivity(result(restriction="smoothnes"))
    bare = SimpleNamespace(tidy=lambda: result().tidy().drop(columns="conf_low"), glance=result().glance)
    with pytest.raises(ParameterError, match="lacks 'conf_low'"):
        sensitivity(bare)
    empty = SimpleNamespace(tidy=lambda: result().tidy().head(0), glance=result().glance)
    with pytest.raises(ParameterError, match="no row"):
        sensitivity(empty)


def test_one_size_is_enough() -> None:
    one = SimpleNamespace(tidy=lambda: result().tidy().head(1), glance=result(0.5).glance)
    assert ">original<" in svg(sensitivity(one).to_dict())


BOXES = "() => [...document.querySelectorAll('svg text')].map(t => [t.textContent, t.getBoundingClientRect().toJSON()])"
LINE = 3  # boxes are as high as a line, glyphs are not


@pytest.mark.browser
@pytest.mark.parametrize("width", [330, 720])
def test_no_two_texts_overlap_or_leave_the_page(width: int, browser: Browser) -> None:
    page = browser.new_page()
    for breakdown, restriction in ((0.02, "smoothness"), (1.4, "relative_magnitudes"), (41.0, "smoothness")):
        page.set_content(svg(sensitivity(result(breakdown, restriction), percent=True).to_dict(), width))
        edge = page.evaluate("document.querySelector('svg').getBoundingClientRect().right")
        boxes = [(text, box) for text, box in page.evaluate(BOXES) if text.strip()]
        assert len(boxes) > 10
        assert not [text for text, box in boxes if box["right"] > edge + 1]
        for (one, a), (other, b) in itertools.combinations(boxes, 2):
            beside = a["right"] <= b["left"] or b["right"] <= a["left"]
            assert beside or a["bottom"] - LINE <= b["top"] or b["bottom"] - LINE <= a["top"], f"{one!r} on {other!r}"
    page.close()
