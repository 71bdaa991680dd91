"""The parameters cell is read without running it, and values are held to its annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from strategy_kit.errors import ParameterError
from strategy_kit.report.parameters import declared, parse, redacted, resolve
from strategy_kit.report.secrets import scrubbed

if TYPE_CHECKING:
    from nbformat import NotebookNode

CELL = """\
week: str | None = None  # ISO week, 2025-W30
data: str = None
weeks: int = 8
share: float = -0.5   # 份额 # and more
full: bool = False
tables: list[str] = ["a", "b"]
language: Literal["en", "zh"] = "en"
"""


def notebook(*sources: str) -> NotebookNode:
    tagged = [new_code_cell(source, metadata={"tags": ["parameters"]}) for source in sources]
    return new_notebook(cells=[new_markdown_cell("# Title"), *tagged, new_code_cell("import os")])


def refused(call: Any, *given: Any) -> str:
    with pytest.raises(ParameterError) as caught:
        call(*given)
    return str(caught.value)


def test_the_cell_is_read_as_it_stands() -> None:
    found = declared(notebook(CELL))
    assert list(found) == ["week", "data", "weeks", "share", "full", "tables", "language"]
    assert found["week"].help == "ISO week, 2025-W30"
    assert found["share"].help == "份额 # and more"
    assert found["share"].default == -0.5
    assert found["language"].choices == ("en", "zh")
    assert [name for name, parameter in found.items() if parameter.required] == ["data"]


def test_no_tag_two_tags_and_a_tagged_text_cell_are_refused() -> None:
    assert "no cell has the tag" in refused(declared, notebook())
    assert "code, code cell" in refused(declared, notebook("a: int = 1", "b: int = 2"))
    text = new_notebook(cells=[new_markdown_cell("x", metadata={"tags": ["parameters"]})])
    assert "markdown cell" in refused(declared, text)


def test_every_bad_line_is_named_at_once() -> None:
    bad = "a = 1\nb: int = len('x')\nc: dict = {}\nimport os\nd: int = 'x'\ne: int = 1\ne: int = 2\nf: int"
    message = refused(declared, notebook(bad))
    for piece in (
        "line 1: `a = 1`",
        "default of b",
        "c: dict",
        "`import os`",
        "d must be int",
        "e stands",
        "`f: int`",
    ):
        assert piece in message
    assert "breaks 7 laws" in message


@pytest.mark.parametrize("line", ["a: float = 1e999", "a: Literal[1, 2] = 3", "a: int = True", "a: list[str] = [1]"])
def test_a_default_must_fit_its_own_annotation(line: str) -> None:
    assert "a must be" in refused(declared, notebook(line))


def test_a_cell_that_is_no_python_is_refused() -> None:
    assert "line 2" in refused(declared, notebook("a: int = 1\n%matplotlib inline"))


def test_values_default_and_given() -> None:
    values = resolve(declared(notebook(CELL)), {"data": "demo", "share": 1, "tables": ("x",), "week": None})
    assert values == {
        "week": None, "data": "demo", "weeks": 8, "share": 1.0, "full": False, "tables": ["x"],
        "language": "en",
    }  # fmt: skip
    assert isinstance(values["share"], float)


def test_every_violation_stands_in_one_sentence() -> None:
    message = refused(
        resolve, declared(notebook(CELL)), {"wek": "2025-W30", "weeks": True, "language": "zn", "full": 1}
    )
    for piece in (
        "'wek'",
        "did you mean 'week'?",
        "weeks must be int, not True",
        "must be Literal['en', 'zh'], not 'zn'",
        "full must be bool",
    ):
        assert piece in message
    assert "data is missing" in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, 10**400])
def test_a_float_is_a_finite_number(value: object) -> None:
    assert "share must be float" in refused(resolve, declared(notebook(CELL)), {"data": "demo", "share": value})


def test_texts_become_values_by_the_annotation_and_nothing_is_guessed() -> None:
    texts = {
        "data": "007",
        "weeks": "12",
        "share": "1e-2",
        "full": "true",
        "tables": "a, b",
        "language": "zh",
        "week": "",
    }
    assert parse(declared(notebook(CELL)), texts) == {
        "data": "007", "weeks": 12, "share": 0.01, "full": True, "tables": ["a", "b"], "language": "zh",
        "week": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [("share", "nan"), ("share", "inf"), ("share", "1_0"), ("weeks", "1.0"), ("weeks", "abc"), ("weeks", "٣"),
     ("full", "yes"), ("full", "1"), ("language", "fr"), ("weeks", "")],
)  # fmt: skip
def test_texts_of_the_wrong_type_are_refused(name: str, text: str) -> None:
    assert f"{name} must be" in refused(parse, declared(notebook(CELL)), {name: text})


def test_an_unknown_text_is_refused_with_the_nearest_name() -> None:
    assert "did you mean 'weeks'?" in refused(parse, declared(notebook(CELL)), {"weaks": "3", "weeks": "x"})


def test_a_list_of_secrets_is_hidden_one_by_one() -> None:
    values = {"api_keys": ["alpha123", "beta456"], "categories": ["beauty"]}
    told = {"cell": ["no access with alpha123", "nor with ['beta456']"], "about": "beauty"}
    assert scrubbed(told, values) == {
        "cell": ["no access with [redacted]", "nor with ['[redacted]']"], "about": "beauty",
    }  # fmt: skip


def test_secrets_do_not_show_even_when_refused() -> None:
    assert redacted({"API_Key": 1, "tokens": 2, "week": 3}) == {
        "API_Key": "[redacted]",
        "tokens": "[redacted]",
        "week": 3,
    }
    assert "4711" not in refused(resolve, declared(notebook("password: str = ''")), {"password": 4711})
