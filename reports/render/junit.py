"""junit.xml: one test case per criterion, for CI systems that show such files.

FAIL is a failure (an error if it does not block would be too much: it is skipped with its
reason), INVALID an error, everything undecided is skipped with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from reports.model import Finding, Status
from reports.render.escape import visible

if TYPE_CHECKING:
    from reports.render.content import Report

_LONGEST = 4_000


def junit(report: Report) -> str:
    """Return the text of junit.xml."""
    cases = [_case(report, finding) for finding in report.verdict.findings]
    kinds = [_kind(finding) for finding in report.verdict.findings]
    name = f"gonogo {report.verdict.profile} {report.verdict.level}"
    counts = (
        f'tests="{len(kinds)}" failures="{kinds.count("failure")}"'
        f' errors="{kinds.count("error")}" skipped="{kinds.count("skipped")}"'
    )
    head = (
        f"<testsuite name={quoteattr(name)} {counts}"
        f' timestamp={quoteattr(visible(report.run.get("started_at", "")))} time="{report.duration_s:.3f}">'
    )
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="gonogo" {counts}>',
            head,
            "<properties>",
            *(
                f"<property name={quoteattr(key)} value={quoteattr(visible(value))}/>"
                for key, value in (
                    ("verdict", report.verdict.decision),
                    ("headline", report.verdict.headline),
                    ("run", report.run.get("id", "")),
                )
            ),
            "</properties>",
            *cases,
            "</testsuite>",
            "</testsuites>",
            "",
        ]
    )


def _kind(finding: Finding) -> str:
    if finding.status is Status.PASS:
        return ""
    if finding.status is Status.FAIL and finding.blocking and not finding.waived:
        return "failure"
    if finding.status is Status.INVALID and finding.blocking:
        return "error"
    return "skipped"


def _case(report: Report, finding: Finding) -> str:
    group, _, name = finding.criterion.rpartition(".")
    title = report.title(finding.criterion)
    head = (
        f"<testcase classname={quoteattr(visible(group or 'criterion'))}"
        f" name={quoteattr(visible(f'{name}: {title}' if title else name))}"
    )
    kind = _kind(finding)
    if not kind:
        return f"{head}/>"
    waived = " (waived)" if finding.waived else "" if finding.blocking else " (does not block)"
    message = visible(f"{finding.status}{waived}: {finding.why}", _LONGEST)
    return f"{head}><{kind} message={quoteattr(message)}>{escape(_detail(finding))}</{kind}></testcase>"


def _detail(finding: Finding) -> str:
    rows = ", ".join(str(line) for line in finding.evidence[:20])
    observed = visible(finding.observed) or "nothing"
    return (
        f"observed {observed} {visible(finding.unit)}, limit {finding.limit or 'none'},"
        f" samples {finding.samples}, evidence.jsonl lines {rows or 'none'}"
    )
