"""The data check: what holds, what does not, and which weeks can be relied on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from strategy_kit import charts, formats, kpi
from strategy_kit.health import read_totals
from strategy_kit.metrics import Metric
from strategy_kit.report import blocks
from strategy_kit.report.review import Review
from strategy_kit.report.verification import PERSONAL
from strategy_kit.report.words import Html, Words, marked

if TYPE_CHECKING:
    from strategy_kit.dataset import Dataset
    from strategy_kit.report.blocks import Block

_LONG_ID = 4
LINES = Metric("lines", "count", "count(*)", en="order lines", zh="订单行数")


def open_check(shop: Dataset, week: str | None = None, language: formats.Language = "en") -> Review:
    """Settle what a data check speaks of; unlike a review it also opens data that break their laws.

    Raises
    ------
    ParameterError
        If the week or language is wrong.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> open_check(sk.open_dataset("data/sample"), "2025-W30").monday
    datetime.date(2025, 7, 21)
    """
    words = Words(language)
    return Review(shop, shop.week(week), "week", words)


def checked(check: Review, previous: str | None = None) -> pd.DataFrame:
    """Run every check of the data set, with the weekly totals of an earlier run when their CSV file is named.

    Raises
    ------
    ParameterError
        If the file is missing, or holds no weekly totals.

    Examples
    --------
    >>> import strategy_kit as sk
    >>> int(checked(open_check(sk.open_dataset("data/sample")))["rows"].sum())
    0
    """
    return check.shop.check(None if previous is None else read_totals(Path(previous)))


def verdict(check: Review, found: pd.DataFrame) -> Block:
    """Return the head of the page's first section; its title counts what holds and what does not."""
    say, broken = check.words, found[found["rows"] > 0]
    counts = {name: formats.Count((broken["severity"] == name).sum()) for name in ("error", "warning")}
    key = "checks_title_error" if counts["error"] else "checks_title_warning" if counts["warning"] else "checks_title"
    kept = formats.Count(len(found) - len(broken))
    title = say(key, kept=kept, all=formats.Count(len(found)), errors=counts["error"], warnings=counts["warning"])
    return blocks.section_head(say("section_checks"), say("question_checks"), title, say("checks_note"))


def broken_laws(check: Review, found: pd.DataFrame) -> Block:
    """Return every broken law with its rows, share, first example and remedy; errors first."""
    say = check.words
    broken: Any = found[found["rows"] > 0].sort_values(["severity", "rows"], ascending=[True, False])
    if broken.empty:
        return blocks.line(say("checks_clean"))
    rows = [
        [
            f"**{say(f'severity_{row.severity}')}**, {row.table}: {row.check}",
            formats.number(row.rows),
            _share(row.share),
            *(
                Html(f'<span class="sk-break">{marked(cell)}</span>')
                for cell in (masked(str(row.example)), str(row.remedy))
            ),
        ]
        for row in broken.itertuples()
    ]
    heads = say.heads("check", "rows", "broken", "example", "remedy")
    return blocks.listing(heads, rows, f"{say('checks_caption')} {say('checks_masked')}", numbers=(1, 2))


def masked(example: str) -> str:
    """Hide whom an example speaks of, but for the last two letters of a long id.

    Examples
    --------
    >>> masked("order_id o00000017, line_id 1, buyer_id b2")
    'order_id …17, line_id 1, buyer_id …'
    """

    def hidden(found: re.Match[str]) -> str:
        name, value = found.groups()
        return f"{name} …{value[-2:]}" if len(value) > _LONG_ID else f"{name} …"

    both = re.sub(r"\b(order_id) (.+?) and (.+)$", r"\1 \2, \1 \3", example)
    return re.sub(rf"\b({'|'.join(PERSONAL)}) (.+?)(?=, \w+ |$)", hidden, both)


def kept_laws(check: Review, found: pd.DataFrame) -> Block:
    """Return the laws that hold, by table."""
    say, kept = check.words, found[found["rows"] == 0]
    rows = [[str(table), "; ".join(laws)] for table, laws in kept.groupby("table", sort=False)["check"]]
    return blocks.listing(say.heads("table", "kept"), rows, say("kept_caption"))


def coverage(check: Review) -> Any:
    """Draw order lines a week, so that gaps and shifts are seen, with the weeks that are not complete marked."""
    say = check.words
    found = kpi.table(check.shop, by=["week"], metrics=[LINES]).assign(series="pilot")  # the one that is drawn solid
    complete = found[found["complete"]]
    words = {
        "n": formats.Count(len(complete)),
        "first": formats.day(complete["week"].min().date(), say.language),
        "last": formats.day(complete["week"].max().date() + pd.Timedelta(days=6), say.language),
    }
    labels = {"value": say("lines_axis"), "incomplete": say("incomplete"), "pilot": say("lines_all")}
    table = pd.DataFrame(
        {
            say("column_week"): found["week"].dt.strftime("%Y-%m-%d"),
            say("lines_axis"): [formats.number(n) for n in found["lines"]],
            say("column_complete"): found["complete"].map({True: say("complete_yes"), False: say("complete_no")}),
        }
    )
    chart = charts.kpi_trend(found, metric="lines", period="week", series="series", labels=labels)
    return check.figure("coverage", chart, table, say("coverage_note"), **words)


def _share(share: float) -> str:
    return formats.percent(share, 1 if share >= 0.01 else 3)  # a few lines of a million are still seen
