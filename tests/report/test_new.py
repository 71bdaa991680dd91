"""An analyst's own notebook: refused by all laws at once, clean, and accepted by the runner on every kind of data set."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import numpy as np
import pytest

import strategy_kit as sk
from strategy_kit.errors import NotebookError, ParameterError, StorageError
from strategy_kit.report import own, review
from strategy_kit.report.new import LONGEST, RESERVED, TEMPLATE, new_notebook
from strategy_kit.report.run import run
from strategy_kit.report.sections import SECTION, lab_style
from strategy_kit.report.words import catalogue

if TYPE_CHECKING:
    from strategy_kit.estimates import Estimates
    from strategy_kit.report.review import Review

HOUSE = runpy.run_path(str(Path(__file__).parents[1] / "house" / "test_notebooks.py"))
PROMISED = ["masthead", "trend", "answer", "provenance"]


def text_of(html: Path) -> str:
    """What a page says, scripts and styles left out."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", " ", html.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def test_it_keeps_the_laws_of_notebooks(tmp_path: Path) -> None:
    made = json.loads(new_notebook("q3_refunds", tmp_path).read_text(encoding="utf-8"))
    assert HOUSE["violations"](made) == []
    nbformat.validate(nbformat.from_dict(made))
    assert made["metadata"]["strategy_kit"] == {"sections": PROMISED, "title": "Q3 refunds"}
    sources = ["".join(cell["source"]) for cell in made["cells"]]
    assert 'own.masthead(read, "Q3 refunds")' in sources
    assert "TITLE" not in "".join(sources)
    assert HOUSE["violations"](json.loads(TEMPLATE.read_text(encoding="utf-8"))) == []


def test_the_same_name_gives_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (new_notebook("who_returns", folder).read_bytes() for folder in folders)
    assert first == second


@pytest.mark.parametrize(
    "name",
    ["Refunds", "refunds by size", "3_refunds", "_refunds", "../refunds", "refunds.ipynb", "退款", "", "a" * (LONGEST + 1),
     "a\n", "weekly_report", "explore", *RESERVED, "con"],
)  # fmt: skip
def test_bad_names_are_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError):
        new_notebook(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_whatever_its_case(tmp_path: Path) -> None:
    kept = tmp_path / "Refunds.IPYNB"
    kept.write_text("mine", encoding="utf-8")
    with pytest.raises(ParameterError, match="is there already and is never overwritten"):
        new_notebook("refunds", tmp_path)
    assert kept.read_text(encoding="utf-8") == "mine"
    assert list(tmp_path.iterdir()) == [kept]


def test_all_laws_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="breaks 3 laws") as raised:
        new_notebook("Weekly_Report", tmp_path / "nowhere")
    assert all(
        part in str(raised.value) for part in ("small letters", "keeps for itself", "is no folder; make it first")
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        new_notebook("refunds", tmp_path)


def test_a_failing_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Path.open

    def full(path: Path, mode: str = "r", **more: Any) -> Any:
        if mode == "x":
            raise OSError(28, "No space left on device")
        return usual(path, mode, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match="No space left on device; choose a folder that you may write to"):
        new_notebook("refunds", tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_notebook("refunds_by_size", tmp_path_factory.mktemp("own"))


def test_it_runs_on_the_sample_in_both_languages(made: Path, sample: Path, tmp_path: Path) -> None:
    shop = sk.open_dataset(sample)
    read = review.open_review(shop, "2025-W30")
    since = shop.pilot.starts_on - 26 * np.timedelta64(7, "D").astype(object)
    totals = shop.category_panel("orders", since=since, through=read.monday, pool_below=0.005).logs()
    row = sk.did.pilot_contrast(totals).tidy().iloc[0]
    told = [f"{100 * np.expm1(row[name]):+.1f}%".replace("-", "−") for name in ("estimate", "conf_low", "conf_high")]
    for language, words in (("en", "Synthetic data"), ("zh", "模拟数据")):
        found = run(made, data=sample, week="2025-W30", out=tmp_path / language, parameters={"language": language})
        page = found.html.read_text(encoding="utf-8")
        said = text_of(found.html)
        assert page.count("<figure") >= 2
        assert said.count(words) >= 3, "the mark stands in the head and in each caption"
        assert all(part in said for part in told)
        assert ".jp-" not in page, "the style that JupyterLab is given stays out of the page"
        executed = nbformat.read(found.notebook, as_version=4)
        marks = [
            o.data[SECTION] for cell in executed.cells for o in cell.get("outputs", []) if SECTION in o.get("data", {})
        ]
        assert [(mark["name"], mark["shown"]) for mark in marks] == [(name, True) for name in PROMISED]


def test_it_runs_without_pilot_and_support(made: Path, sample: Path, tmp_path: Path) -> None:
    data = tmp_path / "bare"
    shutil.copytree(sample, data)
    (data / "plan.seal").unlink()
    text = (data / "dataset.toml").read_text(encoding="utf-8")
    text = re.sub(r"\[(pilot|plan)\].*?\n(?=\[)", "", text, flags=re.DOTALL)
    text = re.sub(r"^(support|calendar|policies) = .*\n", "", text, flags=re.MULTILINE)
    (data / "dataset.toml").write_text(text, encoding="utf-8")
    said = text_of(run(made, data=data, out=tmp_path / "out", parameters={"metric": "gmv"}).html)
    assert "This data set names no pilot categories, so no effect can be asked for." in said
    assert "GMV by week" in said
    assert "estimate" not in said


def test_a_placebo_is_marked(sample: Path) -> None:
    read, contrast = placebo(sample)
    shown = own.answer(read, contrast, "gmv").parts[0].text
    assert shown.startswith("Placebo, no pilot ever ran here.")
    assert "Placebo" in own.masthead(read, "Refunds").parts[0].html


def placebo(sample: Path) -> tuple[Review, Estimates]:
    """The sample, told that its pilots never ran."""
    shop = sk.open_dataset(sample)
    object.__setattr__(shop.description.pilot, "placebo", True)
    read = review.open_review(shop, "2025-W30")
    totals = shop.category_panel(through=read.monday, pool_below=0.005).logs()
    return read, sk.did.pilot_contrast(totals)


def test_a_section_taken_away_is_missed(made: Path, sample: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(made, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "own.answer" not in cell.source]
    edited = tmp_path / "edited.ipynb"
    nbformat.write(notebook, edited)
    with pytest.raises(NotebookError, match="answer"):
        run(edited, data=sample, out=tmp_path / "out")


def test_a_measure_that_is_no_sum_is_refused_with_its_reason(made: Path, sample: Path, tmp_path: Path) -> None:
    with pytest.raises(sk.errors.StrategyKitError) as raised:
        run(made, data=sample, out=tmp_path / "out", parameters={"metric": "average_order_value"})
    assert raised.value.exit_code in (2, 3)


def test_every_word_of_it_is_used() -> None:
    sources = " ".join((TEMPLATE.parent / name).read_text(encoding="utf-8") for name in ("own.py", "notebook.ipynb"))
    keys = [key for key in catalogue() if key.startswith("own_")]
    assert keys
    stems = [re.sub("_(placebo|figure|subtitle|alt)$", "", key) for key in keys]  # a figure's words stand under one key
    assert [stem for stem in stems if f'"{stem}"' not in sources] == []


def test_the_style_for_jupyterlab_is_the_pages_and_bound_to_our_outputs() -> None:
    style = lab_style()
    sheet = (TEMPLATE.parent / "style.css").read_text(encoding="utf-8")
    assert sheet in style
    assert style.startswith(".jp-OutputArea-output.jp-RenderedHTMLCommon:has(")
    assert style.count("{") == style.count("}")
    depth, closed = 0, []
    for place, letter in enumerate(style):
        depth += (letter == "{") - (letter == "}")
        closed += [place] * (letter == "}" and depth == 0)
    assert closed == [len(style) - 1], "every rule stands inside the selector of our outputs"
    assert "</" not in style
