"""Chinese pages tell reasons in Chinese, and the catalogue cannot drift from what the library raises."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.report import (
    platform_health_page,
    platform_outlook,
    prices_page,
    read_week,
    targets_page,
    weekly,
)
from strategy_kit.report.reasons import reason_in, reasons

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strategy_kit.report.reading import Reading
    from strategy_kit.report.sections import Section

HOLE = re.compile(r"\{\w*\}")
SENTENCE = re.compile(r"(?:[A-Za-z]{2,}[ ,;]+){4}")
"""Five Latin words in a row are no name."""


def template(node: ast.AST, names: dict[str, str]) -> str:
    """A message as written, with {} for what is computed."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)  # noqa: PD011 - no frame
    if isinstance(node, ast.BinOp):
        return template(node.left, names) + template(node.right, names)
    return names.get(node.id, "{}") if isinstance(node, ast.Name) else "{}"


UNREACHED = {
    "attrition", "collapsed", "cross_sections", "dose", "groups", "just_below", "lee", "levers", "multiverse",
    "past_growth", "selection", "stratified", "symmetric", "triple",
}  # fmt: skip
"""Modules of did that no page calls."""


def one_hole(text: str) -> str:
    """Every hole alike, and neighbours as one."""
    return re.sub(r"(\{\})+", "{}", HOLE.sub("{}", text))


def strings(node: ast.AST) -> set[str]:
    """Every text inside a piece of source, as a template; not what a bad argument is told."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ParameterError":
        return set()
    own = isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp))
    inner = set[str]().union(*map(strings, ast.iter_child_nodes(node)))
    return inner | ({one_hole(template(node, {})).strip()} if own else set())


@pytest.fixture(scope="module")
def trees(root: Path) -> dict[str, ast.Module]:
    """The package's modules, parsed."""
    folder = root / "strategy_kit"
    return {
        str(file.relative_to(folder).with_suffix("")): ast.parse(file.read_text(encoding="utf-8"))
        for file in sorted(folder.rglob("*.py"))
    }


@pytest.fixture(scope="module")
def written(trees: dict[str, ast.Module]) -> set[str]:
    """Every text of the package as a template."""
    return set().union(*map(strings, trees.values()))


def refusals(tree: ast.Module) -> set[str]:
    """What a module refuses as DesignError: the messages, and the laws where several are refused at once."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    told = [node.args[0] for node in calls if getattr(node.func, "id", "") == "DesignError"]
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        inside = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        if any(ast.unparse(node).startswith("refuse(DesignError") for node in inside):
            told += [node.args[0] for node in inside if ast.unparse(node.func) == "laws.append"]
    return {one_hole(template(node, {})) for node in told} - {"{}"}


def test_every_refusal_that_a_page_can_meet_is_told_in_chinese(trees: dict[str, ast.Module]) -> None:
    known = {one_hole(row["en"]) for row in reasons()}
    lacking = [
        f"{name}: {law}"
        for name, tree in trees.items()
        if "DesignError" in strings(tree) | {getattr(node, "id", "") for node in ast.walk(tree)}
        and not name.startswith(("report/", "importers/", "simulate/"))
        and name.removeprefix("did/") not in UNREACHED
        for law in sorted(refusals(tree) - known)
    ]
    assert not lacking, "add to report/reasons.toml:\n" + "\n".join(lacking)


def test_pages_call_nothing_of_the_modules_that_are_left_out(root: Path, trees: dict[str, ast.Module]) -> None:
    pages = [*(root / "strategy_kit" / "report").glob("*.py"), *(root / "notebooks").glob("*.ipynb")]
    called = set(re.findall(r"\bdid\.(\w+)", "\n".join(page.read_text(encoding="utf-8") for page in pages)))
    for name in UNREACHED:
        made = {node.name for node in trees[f"did/{name}"].body if isinstance(node, ast.FunctionDef)}
        assert not made & called, name


def test_laws_inside_a_refusal_are_told_too() -> None:
    law = "no group is treated; check treated_from"
    two = (
        f"category effects breaks 2 laws: (1) {law} (2) no period lies before the first start; begin the panel earlier"
    )
    assert reason_in("zh", f"category effects: {law}") == "分类目效果：没有试点组；请检查起始日"
    assert reason_in("zh", two) == "分类目效果：(1)没有试点组；请检查起始日(2)首个起始日之前没有数据；请把数据起点提前"
    gap = "cohort 2025-05-05 sold nothing before its start, and 2 more such gaps"
    way_out = "use longer periods or larger units, or poisson for one effect over all"
    told = reason_in("zh", f"{gap}, so that no percentage can be told for each cohort and period; {way_out}")
    assert told.startswith("2025-05-05 批次在开始前没有成交，另有 2 处同样的空缺，")
    assert reason_in("zh", "group_time: a law nobody wrote yet") == "「group_time: a law nobody wrote yet」"


@pytest.mark.parametrize("row", reasons(), ids=lambda row: row["en"][:40])
def test_each_reason_is_raised_as_it_stands_and_has_the_same_holes(row: dict[str, str], written: set[str]) -> None:
    plain = one_hole(row["en"])
    assert plain in written or plain.removeprefix("{}") in written
    assert sorted(HOLE.findall(row["en"])) == sorted(HOLE.findall(row["zh"]))
    filled = row["en"].format(**{name: str(n) for n, name in enumerate(re.findall(r"\{(\w+)\}", row["en"]), 11)})
    told = reason_in("zh", filled)
    assert not told.startswith("「")
    assert not SENTENCE.search(told)
    assert reason_in("en", filled) == filled


def test_a_reason_is_told_once_in_each_language() -> None:
    assert len({row["en"] for row in reasons()}) == len(reasons()) == len({row["zh"] for row in reasons()})


def shop_of(sample: Path, **more: Any) -> sk.Dataset:
    frames = {name: pd.read_parquet(sample / f"{name}.parquet") for name in ("order_lines", "merchants")}
    known = sk.open_dataset(sample)
    window = {"timezone": "UTC", "currency": "CNY", "data_from": known.data_from, "data_through": known.data_through}
    return sk.dataset_from_frames(**frames, **{**window, "pilot": known.pilot.starts, **more})


def test_a_chinese_page_without_what_it_needs_says_so_in_chinese(sample: Path) -> None:
    starts = sk.open_dataset(sample).pilot.starts
    two = {name: starts[name] for name in ("apparel", "beauty")}
    support = pd.read_parquet(sample / "support.parquet")
    few = support[support["merchant_id"].isin(support["merchant_id"].unique()[:1])]
    for shop in (shop_of(sample, pilot=two), shop_of(sample, support=few)):
        reading = read_week(shop, "2025-W30", "zh")
        for section in (weekly.effect, weekly.categories, weekly.money, weekly.overseas, weekly.doubts):
            shown = " ".join(
                re.sub("<[^>]+>", " ", part.html) for part in section(reading).parts if hasattr(part, "html")
            )
            assert shown
            assert not SENTENCE.search(shown), SENTENCE.search(shown)


@pytest.mark.parametrize(
    ("section", "needed"),
    [
        (targets_page.attained, "没有目标表"),
        (targets_page.gaming, "没有目标表"),
        (prices_page.index, "需要 prices 表"),
        (platform_health_page.payback, "support"),
        (platform_outlook.trust, "support"),
        (platform_outlook.search, "searches.sessions"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_a_programme_without_its_table_says_in_chinese_which(
    sample: Path, section: Callable[[Reading], Section], needed: str
) -> None:
    parts = section(read_week(shop_of(sample), "2025-W30", "zh")).parts
    shown = " ".join(re.sub("<[^>]+>", " ", part.html) for part in parts if hasattr(part, "html"))
    assert needed in shown
    assert "「" not in shown
    assert not SENTENCE.search(shown), SENTENCE.search(shown)
