"""The section on response times: outcome, pictures, and the same in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.model import Status
from reports.render import charts
from reports.render.escape import number, page
from reports.render.parts import bullets, chip, empty, section, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.render.content import Report

_TITLE = "Response times, Kubernetes against Docker Swarm"
_HEAD = (
    "endpoint",
    "outcome",
    "Swarm ms",
    "Kubernetes ms",
    "margin",
    "without floor",
    "smallest detectable",
    "would decide after",
    "samples S / K",
    "windows (lost)",
)


def section_of(report: Report) -> str:
    """Return the section; without a comparison it says so."""
    found = report.comparison
    if not found:
        return section(_TITLE, empty("Not measured in this run."), ident="comparison")
    endpoints: Sequence[Mapping[str, Any]] = found.get("endpoints") or ()
    chosen = [(str(one["name"]), float(one["quantile"])) for one in endpoints if one.get("blocking")]
    curves = charts.curves(report.quantiles, found.get("margin", 0.1), found.get("margin_floor_ms", 0.0))
    series = charts.series(report.windows, chosen)
    body = [
        _words(found),
        _forest(found, endpoints),
        charts.key() if curves else "",
        _figures(curves),
        charts.key(band=False) if series and not curves else "",
        _figures(series),
        table("The same in numbers", _HEAD, (_numbers(one) for one in endpoints)) if endpoints else "",
        _noise(report),
    ]
    return section(_TITLE, "".join(body), ident="comparison")


def _words(found: Mapping[str, Any]) -> str:
    why = bullets([page(one) for one in found.get("why") or ()])
    facts = " · ".join(page(fact) for fact in _facts(found))
    return f'<p>{_outcome(found)}</p>{why}<p class="soft small">{facts}</p>'


def _facts(found: Mapping[str, Any]) -> list[str]:
    made, errors = found.get("generator") or {}, found.get("errors") or {}
    percent = f"{100 * found.get('margin', 0.0):g} %"
    facts = [
        f"{number(found.get('rate_total'))} requests/s in all for {number(found.get('duration_s'))} s",
        f"margin: the larger of {percent} and {number(found.get('margin_floor_ms'))} ms",
        f"judged on {percent} alone: {found.get('outcome_without_floor')}",
        f"generator CPU {_share(made.get('cpu'))}",
        f"sends late p99 {number(made.get('late'))} ms",
        f"dropped {number(made.get('dropped'))}",
        f"steal {_share(made.get('steal'))}",
    ]
    if errors:
        facts += [
            f"errors: Swarm {number(errors.get('failed_a'))} of {number(errors.get('n_a'))}",
            f"Kubernetes {number(errors.get('failed_b'))} of {number(errors.get('n_b'))}",
            f"{errors.get('outcome')} at a margin of {100 * errors.get('margin', 0.0):g} points",
        ]
    return facts


def _forest(found: Mapping[str, Any], endpoints: Sequence[Mapping[str, Any]]) -> str:
    if not endpoints:
        return ""
    sure = f"{100 * (1 - found.get('alpha', 0.005)):g} %"
    caption = (
        f"Slowdown by endpoint: the dot is the measured ratio, the bar its one-sided {sure} bounds, the red"
        " tick the margin. A bar wholly left of its tick passes, one wholly right of it fails, one across it"
        " is undecided."
    )
    drawn = charts.intervals(endpoints)
    return f'<figure><figcaption>{caption}</figcaption><div class="wide">{drawn}</div></figure>'


def _figures(drawn: Sequence[str]) -> str:
    if not drawn:
        return ""
    return f'<div class="figures">{"".join(f"<figure>{one}</figure>" for one in drawn)}</div>'


def _numbers(one: Mapping[str, Any]) -> tuple[str, ...]:
    deciding = one.get("deciding_s")
    advisory = "" if one.get("blocking") else " advisory"
    return (
        page(f"{one['name']} p{100 * one['quantile']:g}"),
        _outcome(one) + advisory,
        _fixed(one.get("swarm_ms"), 2, ""),
        _fixed(one.get("kubernetes_ms"), 2, ""),
        _percent(one.get("margin")),
        f'<span class="nowrap">{page(one.get("outcome_without_floor"))}</span>',
        _percent(one.get("smallest_detectable")),
        _fixed(deciding, 0, " s") if one.get("ratio") is not None or deciding else "unknown",
        f"{number(one.get('n_a'))} / {number(one.get('n_b'))}",
        f"{number(one.get('windows'))} ({number(one.get('windows_lost'))})",
    )


def _outcome(one: Mapping[str, Any]) -> str:
    return chip(Status(one["outcome"]))


def _fixed(value: object, digits: int, unit: str) -> str:
    return f"{value:,.{digits}f}{unit}" if isinstance(value, int | float) else "none"


def _percent(value: object) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else "none"


def _share(value: object) -> str:
    return f"{100 * value:.0f} %" if isinstance(value, int | float) else "unknown"


def _noise(report: Report) -> str:
    """Print the noise floor: each side against itself, which nothing but noise can move."""
    said = [
        f"{one.get('name')} p{100 * one['quantile']:g} {one.get('side')} {100 * (one['ratio'] - 1):+.1f} %"
        f" (sd of a window {100 * (one.get('sd_log') or 0):.1f} %)"
        for one in report.noise
        if isinstance(one.get("ratio"), float) and isinstance(one.get("quantile"), float)
    ]
    if not said:
        return ""
    return f'<p class="soft small">Noise floor, each side against itself: {page("; ".join(said), 2000)}.</p>'
