"""report.json: the report as data, in the form that reports/report.schema.json describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.rows import plain

if TYPE_CHECKING:
    from reports.model import Json
    from reports.render.content import Report

_SIDES = ("swarm", "kubernetes")


def document(report: Report) -> dict[str, Json]:
    """Return report.json's object."""
    verdict, run = report.verdict, report.run
    return {
        "format": 1,
        "verdict": str(verdict.decision),
        "profile": str(verdict.profile),
        "level": str(verdict.level),
        "headline": verdict.headline,
        "exit_code": verdict.exit_code,
        "reasons": list(verdict.reasons),
        "run": {
            "id": plain(run.get("id", "")),
            "target": plain(run.get("target", "")),
            "started_at": plain(run.get("started_at", "")),
            "gonogo": plain(run.get("gonogo", "")),
            "git_commit": plain(run.get("git_commit", "")),
        },
        "targets": [_target(report, side) for side in _SIDES],
        "findings": [
            {
                "criterion": finding.criterion,
                "title": report.title(finding.criterion),
                "status": str(finding.status),
                "blocking": finding.blocking,
                "waived": finding.waived,
                "observed": plain(finding.observed),
                "limit": finding.limit,
                "unit": finding.unit,
                "samples": finding.samples,
                "why": finding.why,
                "evidence": list(finding.evidence),
            }
            for finding in verdict.findings
        ],
        "not_proven": [plain(gap) for gap in report.gaps],
        "waivers": [plain(waiver) for waiver in report.waivers],
        "fitted": [plain(one) for one in report.fitted],
        "inequalities": list(report.inequalities),
        "comparison": plain(report.comparison),
        "losses": [plain(loss) for loss in report.losses],
        "steps": [plain(step) for step in report.steps],
        "undo_open": [plain(undo) for undo in report.undone],
        "problems": list(report.problems),
    }


def _target(report: Report, side: str) -> dict[str, Json]:
    identities = report.run.get("identities") or {}
    versions = report.run.get("versions") or {}
    return {
        "side": side,
        "identity": plain(identities.get(side, "")),
        "versions": plain(versions.get(side, {})),
        "nodes": [plain(node.get("name", "")) for node in report.nodes],
    }
