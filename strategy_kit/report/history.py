"""The history of a headline as plain SVG: an estimate and its interval a week, the line of no effect and the threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from strategy_kit import formats
from strategy_kit.periods import week_label

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

_TOP, _BOTTOM, _LEFT, _RIGHT = 30, 28, 52, 36
_LABEL = 72  # px that the name of a week takes on the axis


@dataclass(frozen=True, slots=True)
class Point:
    """What one week claimed, as shares of the metric; without estimate where the week allowed no answer."""

    monday: dt.date
    estimate: float | None
    low: float
    high: float
    threshold: float


def history(points: Sequence[Point], width: int, threshold: str) -> str:
    """Draw the weeks from left to right, oldest first; `threshold` is the label of the threshold's line.

    Examples
    --------
    >>> import datetime as dt
    >>> drawn = history([Point(dt.date(2025, 7, 21), 0.064, -0.012, 0.146, 0.03)], 350, "threshold +3.0%")
    >>> drawn.startswith('<svg viewBox="0 0 350 240"'), "+6.4%" in drawn
    (True, True)
    """
    height = 240
    known = [point for point in points if point.estimate is not None]
    values = [0.0, *(value for point in known for value in (point.low, point.high, point.threshold))]
    first, last = min(values), max(values)
    first, last = first - 0.05 * (last - first or 1.0), last + 0.05 * (last - first or 1.0)
    days = max((points[-1].monday - points[0].monday).days, 1)

    def x(point: Point) -> float:
        left = _LEFT + 16
        return round(width - _RIGHT - (points[-1].monday - point.monday).days / days * (width - _RIGHT - left), 1)

    def y(value: float) -> float:
        return round(_TOP + (last - value) / (last - first) * (height - _TOP - _BOTTOM), 1)

    parts = [_across(y(tick), width, "var(--hair)", 1) for tick in ticks(first, last)]
    parts += [_text(_LEFT - 8, y(tick) + 4, _tick(tick, first, last), "end") for tick in ticks(first, last)]
    parts.append(_across(y(0.0), width, "var(--soft)", 1.5))
    if known:
        limit = y(known[-1].threshold)
        parts.append(_across(limit, width, "var(--warning)", 1.5, dashed=True))
        parts.append(_text(_LEFT, 14, f"- - {threshold}", "start", "var(--warning)"))
    parts += [_week(x(point), point, y) for point in points]
    free: float = width
    for point in reversed(points):
        if _LEFT + _LABEL / 2 - 16 < x(point) <= free - _LABEL / 2:
            parts.append(_text(x(point), height - 8, week_label(point.monday), "middle"))
            free = x(point) - _LABEL / 2
    if known and known[-1].estimate is not None:
        end = formats.percent(known[-1].estimate, signed=True)
        parts.append(_text(width - 2, 14, end, "end", "var(--pilot)", bold=True))
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} font-size="13" aria-hidden="true">{"".join(parts)}</svg>'


def ticks(first: float, last: float) -> list[float]:
    """Return round values between two ends.

    Examples
    --------
    >>> ticks(-0.02, 0.17)
    [0.0, 0.05, 0.1, 0.15]
    """
    raw = (last - first) / 5
    size = 10 ** math.floor(math.log10(raw))
    step = next(m for m in (1, 2, 5, 10) if m * size >= raw) * size
    return [round(n * step, 12) for n in range(math.ceil(first / step), math.floor(last / step) + 1)]


def _tick(value: float, first: float, last: float) -> str:
    return formats.percent(value, 0 if last - first > 0.05 else 1, signed=True)


def _week(x: float, point: Point, y: Callable[[float], float]) -> str:
    if point.estimate is None:
        return _line(f"M{x - 4} {y(0.0) - 4}l8 8m0 -8l-8 8", "var(--soft)", 1.5)
    ends = _line(f"M{x} {y(point.low)}V{y(point.high)}", "var(--pilot)", 2)
    return f'{ends}<circle cx="{x}" cy="{y(point.estimate)}" r="4.5" fill="var(--pilot)"/>'


def _across(y: float, width: int, ink: str, thick: float, *, dashed: bool = False) -> str:
    return _line(f"M{_LEFT} {y}H{width}", ink, thick, ' stroke-dasharray="6 4"' * dashed)


def _line(path: str, ink: str, thick: float, more: str = "") -> str:
    return f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="{thick}"{more}/>'


def _text(x: float, y: float, text: str, anchor: str, ink: str = "var(--soft)", *, bold: bool = False) -> str:
    weight = ' font-weight="700"' * bold
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{ink}"{weight}>{escape(text)}</text>'
