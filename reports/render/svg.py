"""Drawing by hand: scales, ticks and the few shapes that the charts are made of."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.render.escape import page

if TYPE_CHECKING:
    from collections.abc import Sequence

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps a value to a coordinate, linearly or by logarithm; values outside are held at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        low, high, at = (self._t(v) for v in (self.low, self.high, value))
        share = 0.5 if high <= low else min(max((at - low) / (high - low), 0.0), 1.0)
        return self.start + share * (self.end - self.start)

    def _t(self, value: float) -> float:
        return math.log(max(value, 1e-12)) if self.log else value


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values from low to high, at most about `most` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 times powers of ten from low to high; few enough to be read."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for marks in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**e for e, m in itertools.product(range(first, last + 1), marks)]
        inside = [value for value in found if low <= value <= high]
        if len(inside) <= 7:  # noqa: PLR2004 - more labels than that overlap
            return inside
    return inside


def svg(width: float, height: float, title: str, body: Sequence[str], *, ident: str, about: str = "") -> str:
    """Return a drawing with a name and a description for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{ident}-t {ident}-d">'
        f'<title id="{ident}-t">{page(title)}</title><desc id="{ident}-d">{page(about or title, 2000)}</desc>'
        f"{''.join(body)}</svg>"
    )


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """Return a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def rect(x: float, y: float, width: float, height: float, css: str, *, round_px: float = 0.0) -> str:
    """Return a rectangle."""
    corner = f' rx="{round_px:g}"' if round_px else ""
    size = f'width="{max(width, 0):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size}{corner} class="{css}"/>'


def text(x: float, y: float, words: object, css: str = "", anchor: str = "start") -> str:
    """Return one line of text, escaped."""
    named = f' class="{css}"' if css else ""
    placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{placed}{named}>{page(words, 80)}</text>'


def dot(x: float, y: float, css: str, radius: float = 4.0) -> str:
    """Return a filled circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{css}"/>'


def path(points: Sequence[Point], css: str) -> str:
    """Return an open line through the points."""
    if not points:
        return ""
    return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}" class="{css}"/>'


def area(upper: Sequence[Point], lower: Sequence[Point], css: str) -> str:
    """Return the filled area between two lines."""
    ring = [*upper, *reversed(lower)]
    if not ring:
        return ""
    return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in ring)}Z" class="{css}"/>'
