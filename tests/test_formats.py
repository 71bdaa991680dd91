"""Numbers, money, dates and weeks as text: the two languages denote the same value."""

from __future__ import annotations

import datetime as dt
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_kit import formats
from strategy_kit.errors import ParameterError
from strategy_kit.periods import checked_period, last_complete, next_start, parse_week, period_start, week_label

MINUS = "\u2212"
SCALES = {"billion": 1e9, "million": 1e6, "thousand": 1e3, "亿": 1e8, "万": 1e4}
CURRENCIES = {"CNY": ("¥", "元"), "BRL": ("R$", "雷亚尔"), "USD": ("$", "美元"), "CHF": ("CHF", "CHF")}
steady = settings(deadline=None, derandomize=True, database=None, max_examples=300)
amounts = st.one_of(st.floats(-1e12, 1e12), st.floats(-1e5, 1e5), st.floats(-10, 10))
currencies = st.sampled_from(sorted(CURRENCIES))
languages = st.sampled_from(["en", "zh"])


def value_and_place(text: str) -> tuple[float, float]:
    """Read an amount back: its value, and the worth of its last digit; of four digits before a scale the last is rounded away."""
    digits = re.search(r"[\d,]+(?:\.(\d+))?", text)
    assert digits, text
    scale = next((size for word, size in SCALES.items() if word in text), 1.0)
    sign = -1 if MINUS in text else 1
    rounded = scale > 1 and len(digits[0].replace(",", "")) >= 4 and digits[1] is None
    return sign * float(digits[0].replace(",", "")) * scale, scale * 10.0 ** (rounded - len(digits[1] or ""))


@given(amounts, currencies)
@steady
def test_money_in_both_languages_denotes_the_value(value: float, currency: str) -> None:
    for language in ("en", "zh"):
        text = formats.money(value, currency, language)
        shown, place = value_and_place(text)
        # Half of the last digit, and the rounding of a double.
        assert shown == pytest.approx(value, abs=place / 2 * (1 + 1e-9), rel=1e-12)
        if abs(value) >= 1:
            assert place <= abs(value) / 99  # three significant digits
        assert CURRENCIES[currency][language == "zh"] in text
        assert "-" not in text
        assert " " not in text  # nothing that may break between number and unit


@given(amounts, st.lists(amounts, max_size=2))
@steady
def test_both_languages_round_an_amount_to_the_same_value(value: float, like: list[float]) -> None:
    english, chinese = (formats.money(value, "CNY", language, like=tuple(like)) for language in ("en", "zh"))
    assert value_and_place(english)[0] == pytest.approx(value_and_place(chinese)[0], rel=1e-12)


@given(amounts, amounts, currencies, languages)
@steady
def test_both_ends_of_an_interval_share_scale_and_order(
    first: float, second: float, currency: str, language: str
) -> None:
    low, high = sorted((first, second))
    text = formats.money_range(low, high, currency, language)
    ends = text.split({"en": " to ", "zh": "至 "}[language])
    assert len(ends) == 2
    # The scale is that of the larger end, which then shows five digits at most.
    larger = max(abs(low), abs(high))
    assert larger < 1 or max(value_and_place(end)[1] for end in ends) >= larger / 100_000
    assert len({next((w for w in SCALES if w in end), "") for end in ends}) == 1
    place = max(value_and_place(end)[1] for end in ends)  # one for both ends, told by the larger
    for end, value in zip(ends, (low, high), strict=True):
        shown = value_and_place(end)[0]
        assert shown == pytest.approx(value, abs=place / 2 * (1 + 1e-9), rel=1e-12)
        if shown:
            assert (MINUS if value < 0 else "+") in end
        else:
            assert not {MINUS, "+"} & set(end)
    assert "-" not in text


@given(st.one_of(st.floats(-1e9, 1e9), st.floats(-1, 1)), st.integers(0, 3), st.booleans())
@steady
def test_numbers_and_percentages_denote_the_value(value: float, digits: int, signed: bool) -> None:
    for text, meant in (
        (formats.number(value, digits, signed=signed), value),
        (formats.percent(value, digits, signed=signed), 100 * value),
    ):
        shown, _ = value_and_place(text)
        assert shown == pytest.approx(meant, abs=0.5 * 10.0**-digits * (1 + 1e-9), rel=1e-12)
        assert "-" not in text
        assert text.startswith("+") == (signed and shown > 0)
        assert text.startswith(MINUS) == (shown < 0)
        assert (f"{10.0**-digits:.{digits}f}".partition(".")[2] == "") == ("." not in text)


@pytest.mark.parametrize(
    ("value", "language", "text"),
    [
        (0, "en", "¥0"),
        (0, "zh", "0\u00a0元"),
        (9_999, "zh", "9,999\u00a0元"),
        (10_000, "zh", "1.00\u00a0万元"),
        (123_456_789, "zh", "1.23\u00a0亿元"),
        (123_456_789, "en", "¥123\u00a0million"),
        (-1_500, "en", f"{MINUS}\u2060¥1,500"),
        (-15_000, "en", f"{MINUS}\u2060¥15.0\u00a0thousand"),
        (60_240_000, "zh", "6,020\u00a0万元"),
        (math.inf, "en", "∞"),
        (-math.inf, "zh", f"{MINUS}∞"),
        (math.nan, "en", "–"),
    ],
)
def test_money_by_hand(value: float, language: str, text: str) -> None:
    assert formats.money(value, "CNY", language) == text


def test_what_is_missing_or_endless_is_shown_as_such() -> None:
    assert [formats.number(v) for v in (math.nan, math.inf, -math.inf)] == ["–", "∞", f"{MINUS}∞"]
    assert [formats.percent(v) for v in (math.nan, math.inf, -math.inf)] == ["–", "∞%", f"{MINUS}∞%"]
    assert formats.number(-0.04, 1) == "0.0"  # a minus before nothing says something that the digits do not


@given(st.dates(dt.date(2000, 1, 1), dt.date(2099, 12, 1)))
@steady
def test_weeks_and_months_by_the_calendar(day: dt.date) -> None:
    monday, first = period_start(day, "week"), period_start(day, "month")
    assert (monday.weekday(), first.day, period_start(day, "day")) == (0, 1, day)
    assert monday <= day < next_start(monday, "week")
    assert first <= day < next_start(first, "month")
    assert next_start(first, "month").day == 1
    assert week_label(monday) == f"{day:%G-W%V}"
    assert parse_week(week_label(monday)) == parse_week(str(day)) == monday
    for period in ("day", "week", "month"):
        last = last_complete(day, period)
        assert last == period_start(last, period)
        assert next_start(last, period) <= day + dt.timedelta(days=1) < next_start(next_start(last, period), period)


@given(st.dates(dt.date(2000, 1, 1), dt.date(2099, 12, 1)))
@steady
def test_both_languages_name_the_same_days(day: dt.date) -> None:
    months = [dt.date(2000, m, 1).strftime("%B") for m in range(1, 13)]
    date, month, year = formats.day(day, "en").split()
    assert (int(year), months.index(month) + 1, int(date)) == (day.year, day.month, day.day)
    assert re.findall(r"\d+", formats.day(day, "zh")) == [str(part) for part in (day.year, day.month, day.day)]
    monday = period_start(day, "week")
    english, chinese = (formats.week_span(monday, language) for language in ("en", "zh"))
    week, year, *days = re.findall(r"\d+", english)
    names = [months.index(name) + 1 for name in re.findall(r"[A-Z]\w+", english)]
    assert re.findall(r"\d+", chinese) == [
        year,
        week,
        *(str(x) for pair in zip(names, days, strict=True) for x in pair),
    ]
    assert f"{year}-W{int(week):02d}" == f"{monday:%G-W%V}"


@pytest.mark.parametrize("text", ["2025-W54", "2025-W00", "2025-02-30", "2025-30", "week 30", ""])
def test_a_week_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="week"):
        parse_week(text)


def test_a_period_that_does_not_exist_is_refused() -> None:
    with pytest.raises(
        ParameterError, match=r"one of day, week, month, quarter, not 'weeks' \(did you mean 'week'\?\)"
    ):
        checked_period("weeks")


@given(st.floats(0.01, 1e14), st.sampled_from([-3, -2, -1, 0, 1, 2]))
def test_both_languages_round_to_the_same_value_of_three_digits(size: float, digits: int) -> None:
    amount = round(size, digits)
    words = {"billion": 1e9, "million": 1e6, "thousand": 1e3, "亿": 1e8, "万": 1e4}
    read = []
    for language in ("en", "zh"):
        text = formats.money(amount, "CNY", language)
        figure = float("".join(letter for letter in text if letter in "0123456789."))
        read.append(figure * next((scale for word, scale in words.items() if word in text), 1.0))
    assert read[0] == pytest.approx(read[1], rel=1e-12)
    assert read[0] == pytest.approx(amount, rel=0.00501 if amount >= 100 else 1, abs=0.00501)


def test_a_tie_and_a_carry_are_told_alike() -> None:
    pairs = ((10_050, "en"), (10_050, "zh"), (999_999, "en"), (99_999_999, "zh"))
    told = [formats.money(amount, "CNY", language) for amount, language in pairs]
    assert [text.replace("\xa0", " ") for text in told] == ["¥10.0 thousand", "1.00 万元", "¥1.00 million", "1.00 亿元"]
