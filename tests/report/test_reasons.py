"""Chinese pages tell reasons in Chinese, and the catalogue cannot drift from what the library raises."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import strategy_kit as sk
from strategy_kit.report import read_week, weekly
from strategy_kit.report.reasons import reason_in, reasons

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.fixture(scope="module")
def raised(root: Path) -> set[str]:
    """Every DesignError of the package, as a template."""
    found = set()
    for file in (root / "strategy_kit").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {
            node.targets[0].id: template(node.value, {})
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        found |= {
            template(node.args[0], names)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DesignError" and node.args
        }
    return found


@pytest.mark.parametrize("row", reasons(), ids=lambda row: row["en"][:40])
def test_each_reason_is_raised_as_it_stands_and_has_the_same_holes(row: dict[str, str], raised: set[str]) -> None:
    assert HOLE.sub("{}", row["en"]) in raised
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
