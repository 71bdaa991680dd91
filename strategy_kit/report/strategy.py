"""The rest of the strategy on the weekly page: one sentence a programme, and one line for what has no data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strategy_kit.report import (
    blocks,
    lasting_growth_page,
    levers_page,
    next_category_page,
    platform_health_page,
    prices_page,
    whole_web_page,
)
from strategy_kit.report.reading import listed
from strategy_kit.report.sections import Section
from strategy_kit.report.words import marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from strategy_kit.report.reading import Reading


class Programme(NamedTuple):
    """A programme's answer, and the tables and columns of order lines without which it has none."""

    answer: Callable[[Reading], str]
    tables: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def lacks(self, reading: Reading) -> list[str]:
        """Return the names of what the data set lacks."""
        known = set(reading.shop.columns("order_lines"))
        absent = [table for table in self.tables if table not in reading.shop.tables]
        return absent + [f"order_lines.{column}" for column in self.columns if column not in known]


PROGRAMMES = {
    "next_category": Programme(next_category_page.answer),
    "levers": Programme(levers_page.answer, ("support",)),
    "lasting_growth": Programme(lasting_growth_page.answer),
    "prices": Programme(prices_page.answer, ("prices",)),
    "platform_health": Programme(platform_health_page.answer, columns=("platform_fee",)),
    "whole_web": Programme(whole_web_page.answer, ("offplatform_sales",)),
}
"""By the name of its notebook; targets and overseas have sections of their own."""


def answers(reading: Reading) -> dict[str, str]:
    """Return the sentence of each programme that has its data, by name."""
    return {name: programme.answer(reading) for name, programme in PROGRAMMES.items() if not programme.lacks(reading)}


def strategy(reading: Reading) -> Section:
    """Return what each programme's data say, and which programmes have none."""
    say = reading.words
    head = say("section_strategy"), say("question_strategy")
    lacking = {name: programme.lacks(reading) for name, programme in PROGRAMMES.items()}
    rows = [
        [marked(say(f"programme_{name}")), marked(answer)]
        for name, answer in reading.ahead.of(answers, reading).items()
    ]
    absent = [say("programme_lacks", name=say(f"programme_{name}"), what=listed(say, what))
              for name, what in lacking.items() if what]  # fmt: skip
    caption = say("strategy_absent", listed=listed(say, absent)) if absent else say("strategy_pages")
    title = say("strategy_title", n=str(len(rows)), all=str(len(PROGRAMMES)))
    heads = [say("column_programme"), say("column_answer")]
    return Section("strategy", (blocks.section_head(*head, title), blocks.listing(heads, rows, caption)))
