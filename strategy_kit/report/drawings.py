"""Small pictures inside the page's own blocks, drawn as plain SVG: quantile dots and sparklines."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from strategy_kit.charts.theme import OTHER, PAPER, PILOT, SOFT, TINTS, WARNING

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray
_WIDTH, _RADIUS, _AXIS = 400, 6.0, 190


def quantile_dots(
    values: Array,
    threshold: float,
    interval: tuple[float, float, float],
    words: dict[str, str],
    tick: Callable[[float], str],
) -> str:
    """Draw equally likely values as stacked dots, filled where they exceed the threshold, above their interval.

    Parameters
    ----------
    values
        (Q,) in percent.
    threshold
        In percent.
    interval
        Low, estimate and high in percent.
    words
        threshold, above, note, alt.
    tick
        Writes a percentage on the axis.
    """
    low, estimate, high = interval
    span = max(values[-1], high, threshold) - min(values[0], low, threshold)
    first, last = min(values[0], low, threshold) - 0.06 * span, max(values[-1], high, threshold) + 0.06 * span
    step = (last - first) * (2 * _RADIUS + 1) / _WIDTH

    def x(value: float) -> float:
        return round(14 + (value - first) / (last - first) * (_WIDTH - 28), 1)

    column = np.floor((values - threshold) / step).astype(int)
    level = np.array([int((column[:i] == column[i]).sum()) for i in range(len(values))])
    shrink = min(1.0, 10 / (level.max() + 1))
    top = _AXIS - 58 - (2 * _RADIUS + 1) * shrink * level.max()  # two lines of words above the tallest stack
    parts = [_rule(x(threshold), top + 4, _AXIS, WARNING, 1.5), _rule_across(_AXIS)]
    for c, n in zip(column, level, strict=True):
        height = _AXIS - 9 - n * (2 * _RADIUS + 1) * shrink
        parts.append(_dot(x(threshold + (c + 0.5) * step), height, _RADIUS * max(shrink, 0.7), filled=bool(c >= 0)))
    parts += [_tick(x(at), tick(at)) for at in _ticks(first, last)]
    bar = _AXIS + 34
    parts.append(f'<path d="M{x(low)} {bar}H{x(high)}" fill="none" stroke="{TINTS[0.50]}" stroke-width="6"/>')
    parts.append(_rule(x(estimate), bar - 7, bar + 7, PILOT, 3))
    ends = _apart([x(low), x(estimate), x(high)])
    parts += [
        _text(at, bar + 24, tick_text, PILOT if bold else SOFT, "middle", bold=bold)
        for at, tick_text, bold in zip(ends, map(tick, interval), (False, True, False), strict=True)
    ]
    left = x(threshold) > _WIDTH - 130
    for line, (name, ink) in enumerate((("threshold", WARNING), ("above", PILOT))):
        beside = x(threshold) + (-8 if left else 8)
        parts.append(_text(beside, top + 14 + 18 * line, words[name], ink, "end" if left else "start", bold=True))
    return (
        f'<svg viewBox="0 {top:.1f} {_WIDTH} {_AXIS + 64 - top:.1f}" role="img" aria-label="{escape(words["alt"])}" '
        f'font-size="13.5">{"".join(parts)}</svg>'
        f"<figcaption>{escape(words['note'])}</figcaption>"
    )


def _ticks(first: float, last: float) -> list[float]:
    raw = (last - first) / 5
    size = 10 ** np.floor(np.log10(raw))
    step = float(size * next(m for m in (1, 2, 5, 10) if m * size >= raw))
    return [float(t) for t in np.arange(np.ceil(first / step), np.floor(last / step) + 1) * step]


def _apart(at: list[float], least: float = 56) -> list[float]:
    low, middle, high = at
    low, high = min(low, middle - least), max(high, middle + least)
    return [max(low, 26), middle, min(high, _WIDTH - 26)]


def _rule(x: float, top: float, bottom: float, ink: str, width: float) -> str:
    return f'<path d="M{x} {top}V{bottom}" fill="none" stroke="{ink}" stroke-width="{width}"/>'


def _rule_across(y: float) -> str:
    return f'<path d="M4 {y}H{_WIDTH - 4}" fill="none" stroke="{OTHER}"/>'


def _dot(x: float, y: float, radius: float, *, filled: bool) -> str:
    ink = f'fill="{PILOT if filled else PAPER}" stroke="{PILOT}" stroke-width="1.4"'
    return f'<circle cx="{x}" cy="{y:.1f}" r="{radius:.1f}" {ink}/>'


def _tick(x: float, text: str) -> str:
    return _rule(x, _AXIS, _AXIS + 5, OTHER, 1) + _text(x, _AXIS + 18, text, SOFT, "middle")


def _text(x: float, y: float, text: str, ink: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x}" y="{y}" fill="{ink}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
