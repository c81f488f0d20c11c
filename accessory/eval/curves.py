"""Curves of a training run as inline SVG: raw and smoothed, with axes, no script and no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 22, 14, 40
MOST_POINTS = 300  # more than these cannot be told apart at the width of a chart
SHARE_SMOOTHED = 30  # the running mean goes over one part of so many


@dataclass(frozen=True)
class Curve:
    """One quantity over steps; `tone` (1, 2, …) picks its colour in the style sheet."""

    name: str
    points: tuple[tuple[float, float], ...]
    tone: int = 1


@dataclass(frozen=True)
class _Axis:
    """Maps values to pixels of the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def smoothed(values: Sequence[float], span: int) -> list[float]:
    """The mean over `span` values around each, over fewer at the two ends; so it does not lag behind."""
    sums = [0.0, *accumulate(values)]
    half = span // 2
    means = []
    for index in range(len(values)):
        first, last = max(0, index - half), min(len(values), index + half + 1)
        means.append((sums[last] - sums[first]) / (last - first))
    return means


def thinned(points: Points, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most about `most` points that look the same: of every stretch its lowest and its highest, in order."""
    if len(points) <= most:
        return list(points)
    length = math.ceil(len(points) / (most // 2))
    kept = []
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def ticks(low: float, high: float, log: bool = False, wanted: int = 5) -> list[float]:
    """Round numbers within [low, high]: steps of 1, 2 or 5 times a power of ten."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5)):
            found = [factor * 10.0**decade for decade in decades for factor in factors]
            found = [tick for tick in found if low <= tick <= high]
            if len(found) >= 3:
                return found
    if high <= low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.8 * rough)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A short way to write a value: 0.05, 1.5, 2,000, 4e-5."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e")
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def chart(title: str, curves: Sequence[Curve], y_label: str, x_label: str = "step") -> str:
    """An SVG of `curves` over one pair of axes, "" where nothing can be drawn.

    The y axis is logarithmic where all values are positive and span more than a factor of eight.
    """
    kept = [_finite(curve) for curve in curves]
    drawn = [curve for curve in kept if curve.points]
    values = [y for curve in drawn for _, y in curve.points]
    if not values:
        return ""
    log = min(values) > 0 and max(values) / min(values) > 8
    steps = [x for curve in drawn for x, _ in curve.points]
    start = 0.0 if min(steps) < 0.05 * max(steps) else min(steps)
    x_axis = _Axis(start, max(steps), LEFT, WIDTH - RIGHT)
    low, high = (min(values), max(values)) if log else (min(0.0, *values), max(values))
    y_axis = _Axis(low, high * 1.05 if high > 0 else high, HEIGHT - BOTTOM, TOP, log)
    said = "; ".join(_said(curve) for curve in drawn)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}. {said}.")}">',
        *_grid(x_axis, y_axis, x_label, y_label + (", logarithmic" if log else "")),
        *(part for curve in drawn for part in _lines(curve, x_axis, y_axis)),
        "</svg>",
    ]
    return "\n".join(parts)


def _finite(curve: Curve) -> Curve:
    points = tuple((x, y) for x, y in curve.points if math.isfinite(x) and math.isfinite(y))
    return Curve(curve.name, points, curve.tone)


def last_value(curve: Curve) -> float | None:
    """The smoothed value at the end; None where the curve has no finite value."""
    values = [y for _, y in _finite(curve).points]
    return smoothed(values, len(values) // SHARE_SMOOTHED)[-1] if values else None


def _said(curve: Curve) -> str:
    """The curve in words, for those who cannot see it."""
    (first, start), (last, _) = curve.points[0], curve.points[-1]
    end = last_value(curve)
    assert end is not None, "a drawn curve has points"
    return f"{curve.name} goes from {number(start)} at step {first:g} to {number(end)} at step {last:g}"


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> list[str]:
    parts = []
    floor = HEIGHT - BOTTOM
    for tick in ticks(y_axis.low, y_axis.high, y_axis.log):
        y = y_axis.place(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in ticks(x_axis.low, x_axis.high, wanted=4):
        x = x_axis.place(tick)
        parts.append(
            f'<line class="tickmark" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 4}"/>'
        )
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{number(tick)}</text>'
        )
    floor = HEIGHT - BOTTOM
    middle = (TOP + floor) / 2
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
    parts.append(
        f'<text class="axis-label" x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 5}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    parts.append(
        f'<text class="axis-label" transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return parts


def _lines(curve: Curve, x_axis: _Axis, y_axis: _Axis) -> list[str]:
    """The raw values as a faint line, their mean as a strong one, and a dot at the end."""
    means = smoothed([y for _, y in curve.points], len(curve.points) // SHARE_SMOOTHED)
    smooth = [(x, mean) for (x, _), mean in zip(curve.points, means, strict=True)]
    end = smooth[-1]
    # Every few steps are enough for a mean; its last value is where the dot stands.
    stride = max(1, len(smooth) // MOST_POINTS)
    return [
        _polyline(thinned(curve.points), x_axis, y_axis, f"raw tone{curve.tone}"),
        _polyline([*smooth[::stride], end], x_axis, y_axis, f"smooth tone{curve.tone}"),
        f'<circle class="end tone{curve.tone}" cx="{x_axis.place(end[0]):.1f}" cy="{y_axis.place(end[1]):.1f}" r="3"/>',
    ]


def _polyline(points: Points, x_axis: _Axis, y_axis: _Axis, classes: str) -> str:
    places = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in points)
    return f'<polyline class="{classes}" points="{places}"/>'
