"""The sections after page one: criteria, steps, conversion, versions, evidence."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from reports.model import Evidence, Finding, Status
from reports.render import charts
from reports.render.escape import number, page
from reports.render.parts import chip, duration, empty, finding_chip, more, row, section, table, table_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reports.render.content import Report

_MOST_EVIDENCE = 2_000
_MOST_LOSSES = 200
_MOST_LINKS = 6
_OWN = (("version", "gonogo"), ("commit", "git_commit"), ("python", "python"))


def criteria(report: Report) -> str:
    """Return every criterion: what decides and did not pass first, then the rest."""
    findings = report.verdict.findings
    groups = (
        ("Blocks here, not passed", [f for f in findings if f.blocking and f.status is not Status.PASS]),
        ("Blocks here, passed", [f for f in findings if f.blocking and f.status is Status.PASS]),
        ("Shown, not counted here", [f for f in findings if not f.blocking]),
    )
    rows = []
    for name, found in groups:
        if found:
            rows.append(f'<tr class="group"><th scope="rowgroup" colspan="6">{name} ({len(found)})</th></tr>')
            rows += [_criterion(report, finding) for finding in found]
    head = ("criterion", "status", "observed", "limit", "why", "evidence")
    caption = "Every line of the migration guide; whether a row blocks depends on profile and level"
    return section("Criteria", table_of(caption, head, rows), ident="criteria", css="newpage")


def _criterion(report: Report, finding: Finding) -> str:
    links = ", ".join(f'<a href="#e-{line}">{line}</a>' for line in finding.evidence[:_MOST_LINKS])
    hidden = len(finding.evidence) - _MOST_LINKS
    observed = page(f"{number(finding.observed)} {finding.unit}".strip(), 80)
    samples = f'<span class="soft small nowrap">{number(finding.samples)} samples</span>'
    seen = samples if finding.samples else ""
    name = f"<code>{page(finding.criterion)}</code>"
    return row(
        (
            f'{name}<br><span class="soft">{page(report.title(finding.criterion))}</span>',
            finding_chip(finding),
            "<br>".join(part for part in (observed, seen) if part),
            page(finding.limit, 80),
            page(finding.why, 500),
            (links or '<span class="soft">none</span>') + (f" +{hidden}" if hidden > 0 else ""),
        ),
        f"c-{page(finding.criterion)}",
    )


def steps(report: Report) -> str:
    """Return the table of steps, each with its lane of the run."""
    if not report.steps:
        return section("Steps", empty("No step was recorded."))
    total = report.duration_s
    rows = (
        (
            page(step.name) + (f' <span class="soft">{page(step.note, 160)}</span>' if step.note else ""),
            f"{step.started_s:.1f}",
            f"{step.duration_s:.1f}",
            page(step.status),
            charts.gantt(step, total),
        )
        for step in report.steps
    )
    caption = f"{len(report.steps)} steps in {duration(total)}; bars above each other ran at once"
    head = ("step", "start s", "took s", "status", "when")
    return section("Steps", table(caption, head, rows, "gantt"), ident="steps")


def losses(report: Report) -> str:
    """Count what conversion did to the keys of the compose files, and list what is not as it was."""
    if not report.losses:
        return section("Conversion", empty("No loss was recorded."))
    counts = Counter(str(loss.get("outcome", "unknown")) for loss in report.losses)
    said = ", ".join(f"{count} {page(name)}" for name, count in sorted(counts.items()))
    rows = (_loss(loss) for loss in report.losses[:_MOST_LOSSES])
    head = ("where", "key", "outcome", "target", "detail")
    body = table(f"Keys of the compose files that are not carried over as they are: {said}", head, rows)
    body += more(len(report.losses) - _MOST_LOSSES, "losses.json")
    return section("Conversion", body, ident="losses")


def _loss(loss: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"<code>{page(loss.get('file'))}:{page(loss.get('line'))}</code>",
        f"<code>{page(loss.get('path'), 160)}</code>",
        page(loss.get("outcome")),
        page(loss.get("target")),
        page(loss.get("detail"), 300),
    )


def versions(report: Report) -> str:
    """Return what ran on each side, what measured it, and on which machine."""
    rows = list(_version_rows(report))
    if not rows:
        return section("Versions", empty("No version was recorded."))
    body = table("What ran, what measured it, and where", ("part", "name", "value"), rows)
    return section("Versions", body, ident="versions")


def _version_rows(report: Report) -> Iterator[tuple[str, ...]]:
    run = report.run
    for side, found in _pairs(run.get("versions")):
        for name, value in _pairs(found):
            yield page(side), page(name), f"<code>{page(value)}</code>"
    for side, value in _pairs(run.get("identities")):
        yield page(side), "identity", f"<code>{page(value)}</code>"
    for name, key in _OWN:
        if run.get(key):
            yield "gonogo", name, f"<code>{page(run[key])}</code>"
    for part in ("packages", "machine"):
        for name, value in _pairs(run.get(part)):
            yield part, page(name), f"<code>{page(number(value))}</code>"
    for service in report.services:
        yield "service", page(service.get("name")), page(_service(service))


def _pairs(found: object) -> list[tuple[str, Any]]:
    return list(found.items()) if isinstance(found, dict) else []


def _service(service: Mapping[str, Any]) -> str:
    ports = ", ".join(str(port) for port in service.get("ports") or ()) or "none"
    calls = ", ".join(str(name) for name in service.get("calls") or ()) or "nothing"
    return f"{service.get('tier', '')}, {service.get('replicas', '?')} replicas, port {ports}, calls {calls}"


def evidence(report: Report) -> str:
    """Return the lines of evidence.jsonl that criteria link to."""
    if not report.evidence:
        return section("Evidence", empty("No evidence was recorded."), ident="evidence")
    rows = [_row(line, one) for line, one in enumerate(report.evidence[:_MOST_EVIDENCE], start=1)]
    head = ("line", "criterion", "status", "side", "observed", "samples", "why, and the check", "at (UTC)")
    caption = "Lines of evidence.jsonl, as they were written; each carries the hash of the one before it"
    body = table_of(caption, head, rows) + more(len(report.evidence) - _MOST_EVIDENCE, "evidence.jsonl")
    return section("Evidence", body, ident="evidence", css="newpage")


def _row(line: int, one: Evidence) -> str:
    attempt = f"(attempt {one.attempt})" if one.attempt > 1 else ""
    why = f"{page(one.why, 300)}<br>" if one.why else ""
    return row(
        (
            str(line),
            f"<code>{page(one.criterion)}</code>",
            chip(one.status, attempt),
            page(one.side),
            page(f"{number(one.observed)} {one.unit}".strip(), 80),
            number(one.samples),
            f'{why}<span class="soft small">{page(one.check, 200)}</span>',
            _clock(one.at),
        ),
        f"e-{line}",
    )


def _clock(at: str) -> str:
    """Return the time of day of an ISO timestamp."""
    return page(at[11:19] if len(at) >= 19 else at)  # noqa: PLR2004 - YYYY-MM-DDTHH:MM:SS
