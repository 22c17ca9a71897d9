"""The pictures of the report: quantile curves, intervals against the margin, windows over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.render.escape import page, visible
from reports.render.svg import Point, Scale, area, dot, line, log_ticks, path, rect, svg, text, ticks

if TYPE_CHECKING:
    from reports.model import StepTime, Window

_SIDES = (("swarm", "swarm"), ("kubernetes", "kube"))
_TONE = {"PASS": "t-go", "FAIL": "t-no"}
_MARKS = ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99"))
_MOST_PANELS = 8
_PANEL_WIDTH = 540.0
_LOWEST_QUANTILE = 0.05
_MOST_DOTS = 90


def key(*, band: bool = True) -> str:
    """Return the legend of both sides and the margin."""
    items = [
        ('<line x1="0" y1="5" x2="26" y2="5" class="curve swarm"/>', "Docker Swarm"),
        ('<line x1="0" y1="5" x2="26" y2="5" class="curve kube dash"/>', "Kubernetes"),
    ]
    if band:
        items.append(('<rect x="0" y="0" width="26" height="10" class="band"/>', "within the margin"))
    drawn = (
        f'<span><svg viewBox="0 0 26 10" aria-hidden="true">{shape}</svg>{name}</span>'
        for shape, name in items
    )
    return f'<div class="key">{"".join(drawn)}</div>'


# -- quantile curves ---------------------------------------------------------------------


def curves(quantiles: Mapping[str, Any], ratio: float, floor_ms: float) -> list[str]:
    """Return one panel a workload: latency by quantile of both sides, with the margin above Swarm."""
    panels = []
    for index, (name, sides) in enumerate(list(quantiles.items())[:_MOST_PANELS]):
        found = {side: _curve(sides, side) for side, _ in _SIDES}
        if any(found.values()):
            panels.append(_curve_panel(index, str(name), found, ratio, floor_ms))
    return panels


def _curve(sides: object, side: str) -> list[Point]:
    one = sides.get(side) if isinstance(sides, Mapping) else None
    points = one.get("points") if isinstance(one, Mapping) else None
    return [
        (float(q), float(ms))
        for q, ms in points or ()
        if isinstance(ms, int | float) and math.isfinite(ms) and ms > 0 and _LOWEST_QUANTILE <= q < 1
    ]


def _curve_panel(
    index: int, name: str, found: Mapping[str, Sequence[Point]], ratio: float, floor_ms: float
) -> str:
    limit = [(q, max(ms * (1 + ratio), ms + floor_ms)) for q, ms in found["swarm"]]
    every = [point for points in (*found.values(), limit) for point in points]
    width, height, left, right, top, bottom = _PANEL_WIDTH, 220.0, 52.0, 26.0, 24.0, 28.0
    tails = [1 / (1 - q) for q, _ in every]
    values = [ms for _, ms in every]
    x = Scale(min(tails), max(tails), left, width - right, log=True)
    y = Scale(min(values) * 0.9, max(values) * 1.1, height - bottom, top, log=True)

    def placed(points: Sequence[Point]) -> list[Point]:
        return [(x(1 / (1 - q)), y(ms)) for q, ms in points]

    body = [text(left, 14, f"{name}: latency by quantile", "head")]
    for value in log_ticks(y.low, y.high):
        body += [
            line(left, y(value), width - right, y(value), "grid"),
            text(left - 6, y(value) + 4, f"{value:g}", "tick", "end"),
        ]
    highest = max(q for q, _ in every)
    for quantile, label in _MARKS:
        if quantile <= highest + 1e-9:
            at = x(1 / (1 - quantile))
            body += [
                line(at, top, at, height - bottom, "grid"),
                text(at, height - bottom + 16, label, "tick", "middle"),
            ]
    body += [
        text(left - 6, 14, "ms", "tick", "end"),
        area(placed(limit), placed(found["swarm"]), "band"),
        path(placed(found["swarm"]), "curve swarm"),
        path(placed(found["kubernetes"]), "curve kube dash"),
    ]
    said = "; ".join(
        f"{label} Swarm {_at(found['swarm'], q)}, Kubernetes {_at(found['kubernetes'], q)}"
        for q, label in _MARKS
        if q <= highest
    )
    return svg(width, height, f"{name}: latency by quantile", body, ident=f"curve{index}", about=said)


def _at(points: Sequence[Point], quantile: float) -> str:
    near = min(points, key=lambda point: abs(point[0] - quantile), default=None)
    return f"{near[1]:.3g} ms" if near and abs(near[0] - quantile) < 1e-6 else "not measured"  # noqa: PLR2004 - same quantile


# -- intervals against the margin --------------------------------------------------------


def intervals(endpoints: Sequence[Mapping[str, Any]]) -> str:
    """Return the forest plot: each endpoint's slowdown with its bounds, and its margin as a red tick."""
    seen = [one for one in endpoints if one.get("ratio") is not None]
    if not endpoints:
        return ""
    left, right, row, top = 176.0, 262.0, 24.0, 28.0
    width, height = 1080.0, top + row * len(endpoints) + 28.0
    bounds = [_percent(one[k]) for one in seen for k in ("low", "high")]
    bounds += [100 * one["margin"] for one in seen if one.get("margin") is not None]
    low, high = min([*bounds, -2.0]), max([*bounds, 2.0])
    low, high = max(low, -100.0), min(high, 400.0)
    x = Scale(low - 0.04 * (high - low), high + 0.04 * (high - low), left, width - right)
    body = []
    for value in ticks(x.low, x.high, 10):
        body += [
            line(x(value), top - 4, x(value), height - 24, "axis" if value == 0 else "grid"),
            text(x(value), height - 8, "equal" if value == 0 else f"{value:+g} %", "tick", "middle"),
        ]
    body.append(text(width - right + 12, 16, "slowdown (bounds)", "tick"))
    body.append(text(x(0) - 6, 16, "← Kubernetes faster", "tick", "end"))
    body.append(text(x(0) + 6, 16, "slower →", "tick"))
    for index, one in enumerate(endpoints):
        body.append(_interval_row(one, x, top + row * index + row / 2, left, width - right))
    said = "; ".join(_interval_words(one) for one in endpoints)
    return svg(
        width, height, "Slowdown of Kubernetes against Swarm by endpoint", body, ident="intervals", about=said
    )


def _interval_row(one: Mapping[str, Any], x: Scale, y: float, left: float, right: float) -> str:
    tone = _TONE.get(str(one.get("outcome")), "t-un")
    label = f"{one.get('name')} p{100 * one['quantile']:g}"
    parts = [text(left - 12, y + 4, label + ("" if one.get("blocking") else " (advisory)"), "", "end")]
    if one.get("ratio") is None:
        return parts[0] + text(x(0) + 8, y + 4, visible(one.get("why", "not measured"), 70), "tick")
    at, low, high = (_percent(one[k]) for k in ("ratio", "low", "high"))
    margin = 100 * one["margin"]
    parts += [
        rect(x(0), y - 9, x(margin) - x(0), 18, "band"),
        line(x(low), y, x(high), y, "tline"),
        line(x(low), y - 5, x(low), y + 5, "tline"),
        line(x(high), y - 5, x(high), y + 5, "tline"),
        dot(x(at), y, "tfill", 5),
        line(x(margin), y - 10, x(margin), y + 10, "limit"),
        text(right + 12, y + 4, str(one.get("outcome")), "ttext"),
        text(
            right + 104,
            y + 4,
            f"{at:+.1f} % ({low:+.1f}, {high:+.1f})",
            "tick",
        ),
    ]
    return f'<g class="{tone}">{"".join(parts)}<title>{page(_interval_words(one))}</title></g>'


def _interval_words(one: Mapping[str, Any]) -> str:
    if one.get("ratio") is None:
        return f"{one.get('name')} p{100 * one['quantile']:g}: {one.get('outcome')}, {one.get('why')}"
    return (
        f"{one.get('name')} p{100 * one['quantile']:g}: {one.get('outcome')}, {_percent(one['ratio']):+.1f} %"
        f" ({_percent(one['low']):+.1f} to {_percent(one['high']):+.1f}), margin {100 * one['margin']:.1f} %,"
        f" samples {one.get('n_a')} and {one.get('n_b')}"
    )


def _percent(ratio: float) -> float:
    return 100.0 * (ratio - 1.0)


# -- windows over time -------------------------------------------------------------------


def series(windows: Sequence[Window], chosen: Sequence[tuple[str, float]]) -> list[str]:
    """Return one panel an endpoint: both sides' quantile in every paired window, over time."""
    panels = []
    for index, (name, quantile) in enumerate(chosen[:_MOST_PANELS]):
        mine = sorted(
            (w for w in windows if (w.name, w.quantile) == (name, quantile)), key=lambda w: w.start_s
        )
        mine = [w for w in mine if all(math.isfinite(v) and v > 0 for v in (w.swarm_ms, w.kubernetes_ms))]
        if mine:
            panels.append(_series_panel(index, f"{name} p{100 * quantile:g}", mine))
    return panels


def _series_panel(index: int, label: str, windows: Sequence[Window]) -> str:
    width, height, left, right, top, bottom = _PANEL_WIDTH, 150.0, 52.0, 26.0, 24.0, 28.0
    values = [value for w in windows for value in (w.swarm_ms, w.kubernetes_ms)]
    end = max(w.start_s + w.duration_s for w in windows)
    x = Scale(min(w.start_s for w in windows), end, left, width - right)
    y = Scale(0.0, max(values) * 1.1, height - bottom, top)
    body = [text(left, 14, f"{label} in {len(windows)} paired windows", "head")]
    body.append(text(left - 6, 14, "ms", "tick", "end"))
    for value in ticks(y.low, y.high, 4):
        body += [
            line(left, y(value), width - right, y(value), "grid"),
            text(left - 6, y(value) + 4, f"{value:g}", "tick", "end"),
        ]
    body += [
        text(x(value), height - bottom + 16, f"{value:g} s", "tick", "middle")
        for value in ticks(x.low, x.high, 8)
    ]
    for side, css in _SIDES:
        points = [(x(w.start_s + w.duration_s / 2), y(getattr(w, f"{side}_ms"))) for w in windows]
        body.append(path(points, f"curve {css}{' dash' if css == 'kube' else ''}"))
        body += [dot(*point, f"f{css}", 2.2) for point in points] if len(points) <= _MOST_DOTS else []
    swarm, kubernetes = (_range([getattr(w, f"{side}_ms") for w in windows]) for side, _ in _SIDES)
    said = f"Swarm {swarm}, Kubernetes {kubernetes}"
    return svg(width, height, f"{label} over time", body, ident=f"series{index}", about=said)


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g} ms"


# -- steps -------------------------------------------------------------------------------


def gantt(step: StepTime, total_s: float) -> str:
    """Return one lane of the table of steps: when the step ran within the whole run."""
    x = Scale(0.0, max(total_s, 1e-9), 0.0, 300.0)
    css = {"cached": "cached", "failed": "failed"}.get(step.status, "bar")
    start = x(step.started_s)
    length = max(x(step.started_s + step.duration_s) - start, 1.5)
    body = rect(0, 2, 300, 12, "lane", round_px=2) + rect(min(start, 298.5), 2, length, 12, css, round_px=2)
    return f'<svg viewBox="0 0 300 16" preserveAspectRatio="none" aria-hidden="true">{body}</svg>'
