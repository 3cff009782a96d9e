"""Plots as inline SVG, which a page needs nothing else for. Pure: numbers in, markup out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 380
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 16, 52
COLOURS: Final = (
    *("#0b6e4f", "#c1121f", "#4361ee", "#d17a22", "#7b2d8b", "#118ab2", "#6b705c", "#b5179e"),
    *("#3a5a40", "#9a031e", "#1d3557", "#8a5a00"),
)
GREY: Final = "#667"
BAR: Final = 22
"""Height of a bar and the space below it."""


@dataclass(frozen=True, slots=True)
class Point:
    """A mean at its place, with the ends of its intervals."""

    x: float
    y: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one strategy, joined where there are several; `mark` is a letter in the circle."""

    mark: str
    colour: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, in powers of ten where `is_log`."""

    title: str
    low: float
    high: float
    is_log: bool = False
    form: Callable[[float], str] = "{:g}".format

    def share(self, value: float) -> float:
        """How far along the axis a value lies: 0 to 1, and not beyond."""
        at, low, high = (
            (math.log(max(x, 1e-12)) if self.is_log else x) for x in (value, self.low, self.high)
        )
        return min(1.0, max(0.0, (at - low) / (high - low))) if high > low else 0.5

    def ticks(self) -> Sequence[float]:
        """Round values along it."""
        return _decades(self.low, self.high) if self.is_log else _steps(self.low, self.high)


def axis_over(title: str, values: Sequence[float], form: Callable[[float], str]) -> Axis:
    """An axis with all positive `values`, by powers of ten where they span more than one."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    if high / low > 10 and all(value > 0 for value in values):
        return Axis(title, low / 1.3, high * 1.3, is_log=True, form=form)
    return Axis(title, 0.0, high * 1.08, form=form)


def scatter(x: Axis, y: Axis, series: Sequence[Series], *, dashed: Sequence[Point] = ()) -> str:
    """Points with their intervals; `dashed` joins further points behind them."""
    parts = [_frame(x, y)]
    if dashed:
        places = " ".join(f"{_x(x, p.x):.1f},{_y(y, p.y):.1f}" for p in dashed)
        parts.append(
            f'<polyline points="{places}" fill="none" stroke="{GREY}" stroke-dasharray="5 5"/>'
        )
    for one in series:
        places = " ".join(f"{_x(x, p.x):.1f},{_y(y, p.y):.1f}" for p in one.points)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{one.colour}"/>')
        parts += [_cross(x, y, point, one.colour) for point in one.points]
    # The marks last: an interval of another must not hide them.
    parts += [_mark(x, y, one, point) for one in series for point in one.points]
    return _svg(HEIGHT, parts)


def reliability(series: Mapping[str, tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """What came true against what was told, by mark: (colour, points); the diagonal is perfect."""
    x = Axis("told chance of being right", 0, 1)
    y = Axis("share that was right", 0, 1)
    ends = [Point(at, at, at, at, at, at) for at in (0.0, 1.0)]
    lines = [
        Series(mark, colour, [Point(a, b, a, a, b, b) for a, b in points])
        for mark, (colour, points) in series.items()
    ]
    return scatter(x, y, lines, dashed=ends)


def stacked(rows: Sequence[tuple[str, Mapping[str, float]]], colours: Mapping[str, str]) -> str:
    """A bar a row, its shares side by side."""
    height = BAR * (len(rows) + 1) + 8
    label = 240
    parts: list[str] = []
    for number, (name, shares) in enumerate(rows):
        top, left = number * BAR + 4, float(label)
        parts.append(
            f'<text x="{label - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>'
        )
        for part, share in shares.items():
            width = share * (WIDTH - label - RIGHT)
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="16" '
                f'fill="{colours[part]}"><title>{escape(part)} {share:.1%}</title></rect>'
            )
            if width > 44:
                parts.append(
                    f'<text x="{left + 6:.1f}" y="{top + 13}" fill="#fff">{share:.0%}</text>'
                )
            left += width
    left = float(label)
    for part, colour in colours.items():
        top = len(rows) * BAR + 8
        parts.append(f'<rect x="{left}" y="{top}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{left + 17}" y="{top + 11}">{escape(part)}</text>')
        left += 34 + 8 * len(part)
    return _svg(height, parts)


def _frame(x: Axis, y: Axis) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#333"/>']
    for tick in x.ticks():
        at = _x(x, tick)
        parts.append(f'<path d="M{at:.1f} {TOP}V{bottom}" stroke="#eee"/>')
        said = escape(x.form(tick))
        parts.append(f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{said}</text>')
    for tick in y.ticks():
        at = _y(y, tick)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{right}" stroke="#eee"/>')
        said = escape(y.form(tick))
        parts.append(f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{said}</text>')
    middle = (LEFT + right) / 2
    title = escape(x.title) + (" (powers of ten)" if x.is_log else "")
    parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{title}</text>')
    up = (TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(15 {up}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.title)}</text>"
    )
    return "".join(parts)


def _cross(x: Axis, y: Axis, point: Point, colour: str) -> str:
    across = f"M{_x(x, point.x_low):.1f} {_y(y, point.y):.1f}H{_x(x, point.x_high):.1f}"
    up = f"M{_x(x, point.x):.1f} {_y(y, point.y_low):.1f}V{_y(y, point.y_high):.1f}"
    return f'<path d="{across}{up}" stroke="{colour}" stroke-width="1.5" opacity=".7"/>'


def _mark(x: Axis, y: Axis, one: Series, point: Point) -> str:
    at, up = _x(x, point.x), _y(y, point.y)
    return (
        f'<circle cx="{at:.1f}" cy="{up:.1f}" r="9" fill="{one.colour}" stroke="#fff"/>'
        f'<text x="{at:.1f}" y="{up + 4:.1f}" text-anchor="middle" fill="#fff" '
        f'font-weight="bold" font-size="11">{escape(one.mark)}</text>'
    )


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM)


def _svg(height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" font-size="12" role="img" '
        f'font-family="system-ui,sans-serif">{"".join(parts)}</svg>'
    )


def _steps(low: float, high: float) -> Sequence[float]:
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * place, 12) for place in range(first, last + 1)]


def _decades(low: float, high: float) -> Sequence[float]:
    factors = (1, 2, 5) if high / low < 300 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]
