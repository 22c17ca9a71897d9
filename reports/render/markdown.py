"""report.md: the report for a pull request, a chat or a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.model import Decision, Finding, Status
from reports.render.escape import cell, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reports.render.content import Report

# A summary step of a CI system takes 1 MiB; rows beyond these are in report.json.
_MOST_REASONS = 25
_MOST_ROWS = 200
_SIGN = {Decision.GO: "✅", Decision.NO_GO: "❌", Decision.INCONCLUSIVE: "⚠️"}


def markdown(report: Report) -> str:
    """Return the text of report.md."""
    verdict = report.verdict
    parts = [
        f"# {_SIGN[verdict.decision]} {cell(verdict.headline)}",
        _run(report),
        _bullets("Why", [cell(reason) for reason in verdict.reasons]),
        _bullets("Not proven by this run", [_gap(gap.text, gap.criteria) for gap in report.gaps]),
        _bullets(
            "Waivers",
            [cell(f"{one.criterion}: {one.name} until {one.until}: {one.reason}") for one in report.waivers],
        ),
        _bullets("Not equal on the two sides", [cell(one) for one in report.inequalities]),
        _bullets(
            "Fitted to this target",
            [cell(f"{one.kind} {one.what}: {one.value}".replace(" :", ":")) for one in report.fitted],
        ),
        _comparison(report),
        _table(
            "Criteria",
            ("criterion", "status", "blocks", "observed", "limit", "samples", "why"),
            (_criterion(finding) for finding in _ordered(verdict.findings)),
        ),
        _table(
            "Steps",
            ("step", "start s", "took s", "status"),
            (
                (cell(step.name), f"{step.started_s:.1f}", f"{step.duration_s:.1f}", cell(step.status))
                for step in report.steps
            ),
        ),
        _bullets("Left undone (gonogo sweep)", [cell(f"{one.what} on {one.host}") for one in report.undone]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _run(report: Report) -> str:
    took = f"{number(round(report.duration_s))} s"
    target = cell(report.run.get("target", ""))
    return f"Run `{_code(report.run.get('id', ''))}`, target {target}, {cell(report.started)}, {took}."


def _ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Put what decides first: blocking ones that did not pass, then blocking ones, then the rest."""
    return sorted(findings, key=lambda f: (not f.blocking, f.status is Status.PASS))


def _criterion(finding: Finding) -> tuple[str, ...]:
    status = f"{finding.status} (waived)" if finding.waived else str(finding.status)
    return (
        f"`{_code(finding.criterion)}`",
        status,
        "yes" if finding.blocking else "no",
        cell(f"{number(finding.observed)} {finding.unit}".strip(), 80),
        cell(finding.limit, 80),
        number(finding.samples),
        cell(finding.why, 300),
    )


def _comparison(report: Report) -> str:
    endpoints = report.comparison.get("endpoints") or ()
    if not endpoints:
        return ""
    rows = (
        (
            cell(f"{one['name']} p{100 * one['quantile']:g}"),
            str(one["outcome"]),
            "yes" if one["blocking"] else "no",
            _slower(one["ratio"]),
            f"{_slower(one['low'])} to {_slower(one['high'])}",
            "" if one["margin"] is None else f"{100 * one['margin']:.1f} %",
            f"{one['n_a']:,} / {one['n_b']:,}",
        )
        for one in endpoints
    )
    head = ("endpoint", "outcome", "blocks", "slower than Swarm", "interval", "margin", "samples S / K")
    return _table("Response times, Kubernetes against Swarm", head, rows)


def _slower(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{100 * (ratio - 1):+.1f} %"


def _gap(text: str, criteria: Sequence[str]) -> str:
    names = ", ".join(f"`{_code(name)}`" for name in criteria)
    return f"{cell(text)}: {names}" if names else cell(text)


def _code(text: object) -> str:
    return cell(text).replace("\\_", "_").replace("`", "'").replace("\\", "")


def _bullets(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    more = len(lines) - _MOST_REASONS
    shown = [f"- {line}" for line in lines[:_MOST_REASONS]]
    return "\n".join(
        [f"## {title}", "", *shown, *([f"- and {more} more, see report.json"] if more > 0 else [])]
    )


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    more = len(lines) - _MOST_ROWS
    rest = [f"\n{more} more rows in report.json"] if more > 0 else []
    rule = f"|{'---|' * len(head)}"
    return "\n".join([f"## {title}", "", f"| {' | '.join(head)} |", rule, *lines[:_MOST_ROWS], *rest])
