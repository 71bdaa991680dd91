"""What is begun ahead says the same as what is made in its turn, is made once, and fails where it is asked."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import strategy_kit as sk
from strategy_kit.errors import DesignError
from strategy_kit.report import Audience, Reading, weekly
from strategy_kit.report.ahead import Ahead
from strategy_kit.report.declared import read_declared
from strategy_kit.report.groups import pilots_and_others
from strategy_kit.report.strategy import answers

if TYPE_CHECKING:
    from pathlib import Path

LONG = {pilots_and_others, answers, read_declared}
SECTIONS = (weekly.yardsticks, weekly.strategy, weekly.declared)


def told(section: Any) -> list[Any]:
    return [part.html if hasattr(part, "html") else part.to_dict() for part in section.parts]


def test_sections_say_the_same_whether_begun_ahead_or_not(sample: Path) -> None:
    early, late = (sk.report.read_week(sk.open_dataset(sample)) for _ in range(2))
    weekly.masthead(early)
    for make in SECTIONS:
        assert told(make(early)) == told(make(late)), make.__name__


def test_what_is_begun_runs_on_another_thread_and_connection_and_once(sample: Path) -> None:
    reading, seen = sk.report.read_week(sk.open_dataset(sample)), []

    def asked(given: Reading) -> int:
        seen.append((threading.current_thread(), given.shop.engine, given.ahead))
        return given.weeks_after

    reading.ahead.begin(reading, asked)
    reading.ahead.begin(reading, asked)
    assert [reading.ahead.of(asked, reading) for _ in range(2)] == [reading.weeks_after] * 2
    ((thread, engine, ahead),) = seen
    assert thread is not threading.current_thread()
    assert engine is not reading.shop.engine
    assert ahead is not reading.ahead


def test_what_it_raises_is_raised_where_it_is_asked(sample: Path) -> None:
    reading = sk.report.read_week(sk.open_dataset(sample))

    def refused(_: Reading) -> None:
        raise DesignError("no comparison is possible")

    reading.ahead.begin(reading, refused, answers)
    assert list(reading.ahead.of(answers, reading))
    with pytest.raises(DesignError, match="no comparison is possible"):
        reading.ahead.of(refused, reading)


def test_the_want_of_two_months_is_one_line_though_it_was_begun(sample: Path) -> None:
    shop = sk.open_dataset(sample)
    young = replace(shop, description=replace(shop.description, data_from=dt.date(2025, 5, 5)))
    reading = sk.report.read_week(young)
    weekly.masthead(reading)
    (line,) = weekly.yardsticks(reading).parts
    assert "sk-nothing" in line.html


@pytest.mark.parametrize(
    ("role", "begun"), [(None, LONG), ("executive", {answers}), ("merchant_operations", {answers, read_declared})]
)
def test_only_what_the_role_is_shown_is_begun(
    sample: Path, monkeypatch: pytest.MonkeyPatch, role: str | None, begun: set[Any]
) -> None:
    reading, seen = sk.report.read_week(sk.open_dataset(sample), audience=Audience(role)), set[Any]()
    monkeypatch.setattr(Ahead, "begin", lambda _, __, *makers: seen.update(makers))
    weekly.masthead(reading)
    assert seen == begun


def test_frames_have_one_connection_and_nothing_is_begun(sample: Path) -> None:
    files = sk.open_dataset(sample)
    tables = {name: files.engine.frame(f"select * from {name}") for name in files.tables}
    about = files.description
    pilot = {"categories": about.pilot.categories, "starts_on": about.pilot.starts_on} if about.pilot else None
    keys: dict[str, Any] = {"timezone": about.timezone, "currency": about.currency, "name": about.name, "pilot": pilot}
    reading = sk.report.read_week(sk.dataset_from_frames(**tables, **keys, plan=about.plan))
    here = threading.current_thread()

    def asked(given: Reading) -> bool:
        return given is reading and threading.current_thread() is here

    reading.ahead.begin(reading, asked)
    assert reading.ahead.of(asked, reading)
