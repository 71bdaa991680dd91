"""Numbers, money and dates as text, in English and Chinese, from the same stored value."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Literal

Language = Literal["en", "zh"]
MINUS = "\u2212"
_SPACE = "\u00a0"
_JOINED = "\u2060"

_SYMBOLS = {"CNY": "¥", "BRL": "R$", "USD": "$", "EUR": "€", "GBP": "£"}
_UNITS_ZH = {"CNY": "元", "BRL": "雷亚尔", "USD": "美元", "EUR": "欧元", "GBP": "英镑"}
_SCALES: dict[Language, tuple[tuple[float, str], ...]] = {
    "en": ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")),
    "zh": ((1e8, "亿"), (1e4, "万")),
}

_LEAST_NAMED = 1e4  # Chinese names no scale below it; one law for both languages gives both the same digits


def number(value: float, digits: int = 0, *, signed: bool = False) -> str:
    """Write a number with thousands separators and a true minus.

    Examples
    --------
    >>> number(-1234.5, 1), number(0.0, signed=True), number(12, signed=True)
    ('−1,234.5', '0', '+12')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{abs(value):,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        return text
    return (MINUS if value < 0 else "+" * signed) + text


def percent(share: float, digits: int = 1, *, signed: bool = False) -> str:
    """Write a share as a percentage.

    Examples
    --------
    >>> percent(0.0642), percent(-0.017, signed=True)
    ('6.4%', '−1.7%')
    """
    if math.isnan(share):
        return "–"
    return number(100 * share, digits, signed=signed) + "%"


class Count(int):
    """A number of things that knows its word: `{n}` writes it with separators, `{n:week|weeks}` the word that suits it.

    Examples
    --------
    >>> "{n} {n:week|weeks}".format(n=Count(1)), "{n} {n:week|weeks}".format(n=Count(1200))
    ('1 week', '1,200 weeks')
    """

    def __format__(self, words: str) -> str:
        """Write the number, or the one of two words that suits it."""
        singular, bar, plural = words.partition("|")
        return (singular if self == 1 else plural) if bar else number(self)


def money(
    value: float, currency: str, language: Language, *, signed: bool = False, like: tuple[float, ...] = ()
) -> str:
    r"""Write an amount with three significant digits, its scale and its currency; every language rounds to the same value.

    Parameters
    ----------
    value
        In units of the currency.
    like
        Amounts that stand beside it: the largest of all decides scale and digits, so that they can be compared.

    Examples
    --------
    >>> money(1.43e9, "CNY", "en"), money(60.24e6, "CNY", "zh"), money(-420.5, "BRL", "en")
    ('¥1.43\xa0billion', '6,020\xa0万元', '−\u2060R$420')
    """
    if not math.isfinite(value):
        return number(value, signed=signed)
    largest = max([abs(v) for v in (value, *like) if math.isfinite(v)], default=0.0)
    step = _step(_rounded(largest, _step(largest)))  # 999,999 is a million once it is rounded
    top = _rounded(largest, step)
    named = _SCALES[language] if top >= _LEAST_NAMED else ()
    scale, word = next(((scale, word) for scale, word in named if top >= scale), (1.0, ""))
    places = max(0, Decimal(scale).adjusted() - Decimal(step).adjusted())
    digits = number(_rounded(abs(value), step) / scale, places)
    sign = (MINUS if value < 0 else "+" * signed) if digits == "∞" or any(d in digits for d in "123456789") else ""
    if language == "zh":
        return f"{sign}{digits}{_SPACE}{word}{_UNITS_ZH.get(currency, currency)}"
    symbol = _SYMBOLS.get(currency, currency + _SPACE)
    return f"{sign}{_JOINED * bool(sign)}{symbol}{digits}{_SPACE + word if word else ''}"


def _step(size: float) -> float:
    """Return the unit of the third digit, at least a hundredth; at most 1 where the amount is written in full."""
    power = max(Decimal(size).adjusted() - 2, -2) if size else 0
    return float(f"1e{power if size >= _LEAST_NAMED else min(power, 0)}")


def _rounded(size: float, step: float) -> float:
    """Round to a multiple of a power of ten, of two that are as near to the even one."""
    exact = Decimal(f"{step:g}")
    return float((Decimal(float(size)) / exact).quantize(Decimal(1)) * exact)


def money_range(low: float, high: float, currency: str, language: Language) -> str:
    r"""Write an interval of amounts, both ends in one scale, with the same digits, and signed.

    Examples
    --------
    >>> money_range(-0.42e9, 3.15e9, "CNY", "en")
    '−\u2060¥0.42\xa0billion to +\u2060¥3.15\xa0billion'
    """
    ends = (money(end, currency, language, signed=True, like=(low, high)) for end in (low, high))
    return {"en": " to ", "zh": "至 "}[language].join(ends)


def currency_unit(currency: str, language: Language) -> str:
    """Name the currency as a unit on an axis.

    Examples
    --------
    >>> currency_unit("CNY", "en"), currency_unit("CNY", "zh")
    ('CNY', '元')
    """
    return currency if language == "en" else _UNITS_ZH.get(currency, currency)


def day(date: dt.date, language: Language) -> str:
    """Write a date.

    Examples
    --------
    >>> day(dt.date(2025, 8, 11), "en"), day(dt.date(2025, 8, 11), "zh")
    ('11 August 2025', '2025 年 8 月 11 日')
    """
    if language == "zh":
        return f"{date.year} 年 {date.month} 月 {date.day} 日"
    return f"{date.day} {date:%B %Y}"


def week_span(monday: dt.date, language: Language) -> str:
    """Write a week with its dates.

    Examples
    --------
    >>> week_span(dt.date(2025, 7, 21), "en"), week_span(dt.date(2025, 7, 21), "zh")
    ('week 30 of 2025, 21 July to 27 July', '2025 年第 30 周（7 月 21 日至 7 月 27 日）')
    """
    year, week, _ = monday.isocalendar()
    sunday = monday + dt.timedelta(days=6)
    if language == "zh":
        ends = [f"{d.month} 月 {d.day} 日" for d in (monday, sunday)]
        return f"{year} 年第 {week} 周（{ends[0]}至 {ends[1]}）"
    return f"week {week} of {year}, {monday.day} {monday:%B} to {sunday.day} {sunday:%B}"


def period_name(start: dt.date, period: str, language: Language) -> str:
    """Write a period by its first day.

    Examples
    --------
    >>> period_name(dt.date(2025, 6, 1), "month", "en"), period_name(dt.date(2025, 4, 1), "quarter", "zh")
    ('June 2025', '2025 年第 2 季度')
    >>> period_name(dt.date(2025, 7, 21), "week", "zh"), period_name(dt.date(2025, 7, 21), "day", "en")
    ('2025 年第 30 周', '21 July 2025')
    >>> period_name(dt.date(2025, 7, 21), "week", "en"), period_name(dt.date(2025, 4, 1), "quarter", "en")
    ('2025-W30', 'Q2 2025')
    """
    if period == "day":
        return day(start, language)
    year, week, _ = start.isocalendar()
    quarter = (start.month + 2) // 3
    if period == "week":
        return f"{year} 年第 {week} 周" if language == "zh" else f"{year}-W{week:02d}"
    if period == "quarter":
        return f"{start.year} 年第 {quarter} 季度" if language == "zh" else f"Q{quarter} {start.year}"
    return f"{start.year} 年 {start.month} 月" if language == "zh" else f"{start:%B %Y}"
