"""Every result shows itself: a sentence with the numbers of its table, at most twelve rows, a chart that can be drawn."""

from __future__ import annotations

import datetime as dt
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from IPython.core.interactiveshell import InteractiveShell
from IPython.terminal.interactiveshell import TerminalInteractiveShell
from IPython.testing.globalipapp import start_ipython

import strategy_kit as sk
from strategy_kit.charts.fitting import MOST_ROWS
from strategy_kit.estimates import Estimates
from strategy_kit.moments import Moments
from strategy_kit.planning import ReadingWidth
from strategy_kit.shown import ROWS, Shown, View, cells, digits_of, ranged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOSTILE = '<img src=x onerror=alert(1)> & "quoted" <b>bold</b>'
VERBS = re.compile(r"\b(rose|risen|fell|fallen|grew|grow|raised|lifted|increased?|decreased?|gain|loss|caused?)\b")
FITS = runpy.run_path(str(Path(__file__).parents[1] / "house" / "test_glossary.py"))["fits"]()


def estimates() -> dict[str, Callable[[], Any]]:
    """The estimators whose results are `Estimates`; those that return frames are shown by pandas."""
    frames = {
        *(
            "selection_windows",
            "lee_bounds",
            "pretrend_power",
            "multiverse",
            "multiverse_summary",
            "balance",
            "overlap",
        ),
        *(
            "rank_intervals",
            "return_per_yuan",
            "cohort_sizes",
            "composition",
            "base_periods",
            "thin_cells",
            "pretrend_test",
        ),
    }
    assert frames < set(FITS)
    return {name: fit for name, fit in FITS.items() if name not in frames}


def numbers(text: str) -> list[float]:
    """The signed numbers and the numbers of a text, in order."""
    found = re.findall(r"[+−]?(?:\d[\d,]*\.?\d*|∞)", text)
    return [float(word.replace("−", "-").replace(",", "").replace("∞", "inf").rstrip(".")) for word in found]


@pytest.mark.parametrize("name", estimates())
def test_the_sentence_has_the_numbers_of_the_result(name: str) -> None:
    result: Estimates = FITS[name]()
    assert isinstance(result, Estimates)
    whole = result.glance().iloc[0]
    words = result.reading.split(": ", 1)[1]
    told = numbers(re.sub(r"\(\w+\) ", "", words, count=1))
    expected = [whole["estimate"], 95.0, whole["conf_low"], whole["conf_high"]]
    if np.isnan(whole["conf_low"]):
        assert "no interval" in words
        expected = expected[:1]
    width = whole["conf_high"] - whole["conf_low"] if len(expected) > 1 else abs(whole["estimate"])
    close = 0.5 * 10.0 ** -digits_of(width) * 1.001  # half a unit of the last decimal that is told
    assert told[: len(expected)] == pytest.approx(expected, abs=close)
    counts = [whole["clusters_treated"], whole["clusters_comparison"]]
    assert told[-2:] == counts
    assert f"assigned at {whole['assigned_at']} level" in words
    if len(result.labels) == 1:
        assert result.tidy()["estimate"].iloc[0] == whole["estimate"]
    assert not VERBS.search(words)


@pytest.mark.parametrize("name", estimates())
def test_each_kind_is_shown_as_html_text_and_chart(name: str) -> None:
    result = FITS[name]()
    html, text = result._repr_html_(), repr(result)
    assert html.count("<tr") == 1 + min(len(result.labels), ROWS)
    assert text.startswith(result.reading)
    assert "<" not in text.splitlines()[0]
    assert "estimate" in text
    chart = sk.charts.fitting(result)
    assert chart is not None
    spec = chart.to_dict(validate=True)
    assert spec["description"]
    assert result.estimator in str(spec["title"])
    assert vl_convert.vegalite_to_svg(spec).count("<path") > 0


def test_the_control_group_is_named() -> None:
    y = np.random.default_rng(3).normal(size=(60, 6))
    panel = sk.Panel.from_matrix(y, treated_from=[3] * 15 + [5] * 15 + [0] * 30)
    for control, words in (("never", "(never treated)"), ("not_yet", "(not yet treated)")):
        effects = sk.did.group_time(panel, control=control)
        assert words in effects.reading
        assert all(words in average(effects).reading for average in (sk.did.event_study, sk.did.overall))
    assert "treated)" not in sk.did.two_way(panel).reading


def test_logs_are_also_told_in_percent() -> None:
    y = np.exp(np.random.default_rng(3).normal(size=(60, 6)))
    logs = sk.Panel.from_matrix(y, treated_from=[4] * 30 + [0] * 30).logs()
    whole = sk.did.overall(sk.did.group_time(logs))
    row = whole.glance().iloc[0]
    expected = [100 * np.expm1(row[name]) for name in ("estimate", "conf_low", "conf_high")]
    assert numbers(whole.reading.split("in percent ")[1])[:3] == pytest.approx(expected, abs=0.0501)


def hostile_results() -> dict[str, Any]:
    """Results whose categories, cohorts, outcome and notes bear markup."""
    rng = np.random.default_rng(5)
    names = [f"{HOSTILE}{n}" for n in range(8)]
    unit = np.arange(48)
    category = pd.Series([names[n % 8] for n in unit])
    start = np.where(unit % 8 < 3, 4, 0)
    panel = sk.Panel.from_matrix(rng.normal(size=(48, 6)), treated_from=start, category=category)
    panel = replace(panel, name=HOSTILE, notes=(HOSTILE,))
    contrast = sk.did.pilot_contrast(panel)
    effects = sk.did.category_effects(panel)
    shop = sk.open_dataset(Path(__file__).parents[2] / "data" / "sample")
    named = replace(shop.plan, owner=HOSTILE)
    return {"panel": panel, "contrast": contrast, "effects": effects, "plan": named}


@pytest.mark.parametrize("name", ["panel", "contrast", "effects", "plan"])
def test_hostile_names_stay_text(name: str) -> None:
    result = hostile_results()[name]
    html = result._repr_html_()
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;img" in html
    chart = sk.charts.fitting(result)
    if chart is not None:
        svg = vl_convert.vegalite_to_svg(chart.to_dict(validate=True))
        assert "<img" not in svg
        assert "<b>" not in svg


def test_a_long_table_shows_the_rows_around_the_start_and_counts_the_rest() -> None:
    y = np.random.default_rng(3).normal(size=(60, 40))
    study = sk.did.event_study(sk.did.group_time(sk.Panel.from_matrix(y, treated_from=[30] * 30 + [0] * 30)))
    html = study._repr_html_()
    shown = [int(age.replace("−", "-")) for age in re.findall(r"<tr>\s*<td>(−?\d+)</td>", html)]
    assert shown == list(range(-4, 8))
    rows = len(study.labels)
    first = int((study.labels["age"] < -4).sum()) + 1
    assert f"Rows {first} to {first + ROWS - 1} of {rows}; tidy() has all." in html


def test_a_long_table_in_a_terminal_is_cut_and_says_its_size() -> None:
    y = np.random.default_rng(3).normal(size=(90, 40))
    effects = sk.did.group_time(sk.Panel.from_matrix(y, treated_from=[20] * 30 + [30] * 30 + [0] * 30))
    assert len(effects.labels) > 60
    assert f"[{len(effects.labels)} rows x" in repr(effects)
    assert len(repr(effects).splitlines()) < 70


def test_more_groups_than_fit_have_no_chart() -> None:
    result = FITS["category_effects"]()
    many = pd.DataFrame({"group": [f"g{n}" for n in range(MOST_ROWS + 1)]})
    count = len(many)
    wide = replace(
        result, labels=many, estimate=np.arange(count) + 1.0, spread=np.eye(count), n_units=np.ones(count, int),
        law=result.law_of_average,
    )  # fmt: skip
    assert sk.charts.fitting(wide) is None
    narrow = replace(wide, labels=many[:-1], estimate=wide.estimate[:-1], spread=np.eye(count - 1))
    assert sk.charts.fitting(replace(narrow, n_units=narrow.n_units[:-1])) is not None


def test_a_panel_shows_its_cohorts_and_their_mean_paths() -> None:
    y = np.arange(24.0).reshape(6, 4) ** 1.5
    weeks = pd.date_range("2025-01-06", periods=4, freq="W-MON")
    panel = sk.Panel.from_matrix(y, treated_from=[weeks[2], weeks[2], weeks[3], None, None, None], periods=weeks)
    table = panel._view().table
    assert table.to_numpy().tolist() == [["2025-01-20", 2, 2, 2], ["2025-01-27", 1, 3, 1], ["never treated", 3, 4, 0]]
    assert panel._view().sentence == repr(panel).splitlines()[0]
    chart = sk.charts.fitting(panel)
    assert chart is not None
    drawn = chart.to_dict()["datasets"]
    rows = pd.DataFrame([row for data in drawn.values() for row in data if "mean" in row and "when" in row])
    never = rows[(rows["series"] == "never treated") & (rows["when"] == "2025-01-06")]["mean"].unique()
    assert never.tolist() == pytest.approx([y[3:, 0].mean()])
    gap = replace(panel, outcome=np.where(y == y[0, 0], np.nan, y))
    assert sk.charts.fitting(gap) is None
    assert "unbalanced" in gap._repr_html_()


def test_moments_show_means_and_counts() -> None:
    moments = Moments.of(np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]]), np.array([0, 0, 1]), 2)
    assert moments.tidy().to_numpy().tolist() == [[0, 0, 2, 2], [0, 1, 4, 2], [1, 0, 5, 1], [1, 1, 5, 1]]
    assert repr(moments) == "Moments of 2 cohorts over 2 periods, from 3 units"
    assert "<td>2.00</td>" in moments._repr_html_() or "<td>2</td>" in moments._repr_html_()
    assert sk.charts.fitting(moments) is not None


def test_a_data_set_and_its_plan_are_shown_without_a_chart(sample: Path) -> None:
    shop = sk.open_dataset(sample)
    table = shop._view().table.set_index("table")
    assert table.loc["order_lines", "n_columns"] == len(shop.columns("order_lines"))
    assert set(table.index) == set(shop.tables)
    assert sk.charts.fitting(shop) is None
    shown = shop.plan._repr_html_()
    assert "gmv by more than +3.0% with a chance of 90%" in shown
    assert "final in week 26" in shown
    assert "2025-08-11" in shown
    assert "No plan was declared" in sk.Plan(declared=False)._repr_html_()
    assert "has no horizon" in sk.Plan()._repr_html_()


def test_the_width_of_a_reading_is_told() -> None:
    shown = ReadingWidth(1.2345, "declared", 4, 26)._repr_html_()
    assert "is 1.23 times that of a single look: valid at all 26 declared looks" in shown.replace("&#x27;", "'")


def test_a_sensitivity_is_shown_by_its_reading() -> None:
    study = sk.sensitivity.study_of([0.1, 1.0], [[0.01, 0.0], [0.0, 0.01]], [-2, 0])
    result = sk.sensitivity.relative_magnitudes(study, magnitudes=[0.0, 1.0])
    assert result.reading in result._repr_html_()
    assert "<td>yes</td>" in result._repr_html_()
    assert sk.charts.fitting(result) is not None


def test_cells_are_text_of_one_form_in_a_column() -> None:
    table = pd.DataFrame({
        "cohort": [dt.datetime(2025, 1, 6), pd.NaT], "age": [-2, 3], "estimate": [1234.567, -0.5],
        "conf_low": [np.nan, -np.inf], "p_value": [0.0004, 0.25], "n_units": [12_000, 3], "excludes_zero": [True, False],
        "whole": [2.0, 3.0],
    })  # fmt: skip
    assert cells(table).to_numpy().tolist() == [
        ["2025-01-06", "−2", "1,235", "–", "<0.001", "12,000", "yes", "2"],
        ["–", "3", "0", "−∞", "0.250", "3", "no", "3"],
    ]


def test_ranges_have_three_figures_of_their_width() -> None:
    assert ranged(1234.5, 1000.0, 1500.0, 0.9) == "+1,234 (90% interval +1,000 to +1,500)"
    assert ranged(0.5, 0.5, 0.5, 0.95) == "+0.500 (95% interval +0.500 to +0.500)"
    assert ranged(float("nan"), 0.0, 1.0, 0.95) == "none"
    assert ranged(-2.0, -np.inf, 1.0, 0.95) == "−2.00 (95% interval −∞ to +1.00)"


class Spy:
    """Takes what a shell displays."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.seen: list[dict[str, Any]] = []

    def publish(self, data: dict[str, Any], *args: object, **more: object) -> None:
        self.seen.append(data)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    """A shell that shows every kind of output, as a notebook's does."""
    monkeypatch.delenv(
        "VIRTUAL_ENV", raising=False
    )  # another one than the running Python's is a warning, hence an error
    start_ipython()
    running = InteractiveShell._instance
    spy = Spy(running)
    monkeypatch.setattr(running.display_pub, "publish", spy.publish)
    monkeypatch.setattr(running.display_formatter, "active_types", running.display_formatter.format_types)
    with alt.renderers.enable("strategy_kit"):
        yield spy


def test_a_notebook_shows_sentence_table_and_chart(shell: Spy) -> None:
    result = FITS["event_study"]()
    result._ipython_display_()
    first, second = shell.seen
    assert result.reading in first["text/html"]
    assert first["text/plain"] == repr(result)
    assert second["application/vnd.vegalite.v5+json"]["title"]["text"] == ["event_study of y"]


def test_what_cannot_be_drawn_says_so_below_its_table(shell: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(result: Any) -> None:
        raise sk.errors.ParameterError("too odd to draw")

    monkeypatch.setattr("strategy_kit.shown._charts", [refuse])
    FITS["overall"]()._ipython_display_()
    assert [data["text/plain"] for data in shell.seen[1:]] == ["no chart: too odd to draw"]


def test_a_terminal_prints_text_alone(shell: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert issubclass(TerminalInteractiveShell, InteractiveShell)
    monkeypatch.setattr(shell.shell.display_formatter, "active_types", ["text/plain"])
    result = FITS["overall"]()
    result._ipython_display_()
    assert [data["text/plain"] for data in shell.seen] == [repr(result)]


def test_a_class_must_say_what_is_shown() -> None:
    with pytest.raises(NotImplementedError):
        Shown()._repr_html_()
    assert View("a < b").html == '<div class="sk-shown"><p>a &lt; b</p></div>'
