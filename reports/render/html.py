"""report.html: one file for managers and engineers; no script, nothing loaded from elsewhere.

Page one says the verdict, why, what is not proven, and the comparison in one picture;
then come the criteria with links to their evidence, the steps, the losses, the versions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reports.model import Decision, Finding, Status
from reports.render import response, tables
from reports.render.escape import number, page
from reports.render.parts import bullets, duration, finding_chip, section, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.render.content import Gap, Report

_TONE = {Decision.GO: "t-go", Decision.NO_GO: "t-no", Decision.INCONCLUSIVE: "t-un"}
_SIGN = {Decision.GO: "\u2713", Decision.NO_GO: "\u2715", Decision.INCONCLUSIVE: "?"}
_MEANS = {
    Decision.GO: "Every criterion that blocks here was shown.",
    Decision.NO_GO: "At least one criterion that blocks here failed.",
    Decision.INCONCLUSIVE: "Not enough was shown to say either; this is never a yes.",
}
_MOST_REASONS = 8
_MOST_FITTED = 20
_LONGEST_REASON = 260
_CSS = Path(__file__).with_name("style.css")
# Whatever a hostile string may smuggle in, the page itself forbids scripts and loading.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(report: Report) -> str:
    """Return the text of report.html."""
    parts = [
        _verdict(report),
        _facts(report),
        _reasons(report),
        f'<div class="two">{_gaps(report)}{_fitted(report)}</div>',
        _waivers(report),
        response.section_of(report),
        tables.criteria(report),
        tables.steps(report),
        tables.losses(report),
        tables.versions(report),
        tables.evidence(report),
    ]
    title = f"{report.verdict.decision} · {report.run.get('target', '')} · gonogo"
    body = "\n".join(part for part in parts if part)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{page(title)}</title>",
            f"<style>{_CSS.read_text(encoding='utf-8')}</style></head>",
            f"<body><main>\n{body}\n</main>\n{_footer(report)}</body></html>\n",
        ]
    )


def _verdict(report: Report) -> str:
    verdict = report.verdict
    said = verdict.headline.partition(": ")[2] or verdict.headline
    sign = f'<span aria-hidden="true">{_SIGN[verdict.decision]} </span>'
    return (
        f'<section class="verdict {_TONE[verdict.decision]}" aria-label="Verdict">'
        f'<div class="word">{sign}{verdict.decision}</div>'
        f"<div><h1>May we move from Docker Swarm to K3s?</h1><p><strong>{page(said)}</strong></p>"
        f'<p class="soft small">{_MEANS[verdict.decision]} Profile <strong>{verdict.profile}</strong>,'
        f" level <strong>{verdict.level}</strong>.</p></div></section>"
    )


def _facts(report: Report) -> str:
    counted = report.counted
    passed = sum(finding.status is Status.PASS for finding in counted)
    facts = (
        ("Target", report.run.get("target", "")),
        ("Started", report.started),
        ("Took", duration(report.duration_s)),
        ("Nodes", len(report.nodes) or "unknown"),
        ("Services", len(report.services) or "unknown"),
        ("Blocking, shown", f"{passed} of {len(counted)}"),
        ("Evidence rows", number(len(report.evidence))),
    )
    items = "".join(f"<div><dt>{name}</dt><dd>{page(value, 60)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{items}</dl>'


def _reasons(report: Report) -> str:
    """Say why: failures first, then what is undecided, each linked to its row."""
    unmet = [finding for finding in report.counted if finding.status is not Status.PASS]
    unmet.sort(key=lambda finding: (finding.waived, finding.status is not Status.FAIL))
    known = {f"{finding.criterion} {finding.status}: {finding.why}" for finding in report.counted}
    groups: dict[tuple[Status, bool, str], list[Finding]] = {}
    for finding in unmet:
        groups.setdefault((finding.status, finding.waived, finding.why), []).append(finding)
    shown = list(groups.values())[:_MOST_REASONS]
    items = [_reason(found) for found in shown if found[0].status is Status.FAIL]
    # Doubts about the run itself come before what is undecided, which often follows from them.
    items += [page(reason) for reason in report.verdict.reasons if reason not in known]
    items += [_reason(found) for found in shown if found[0].status is not Status.FAIL]
    if len(groups) > _MOST_REASONS:
        items.append(f'<a href="#criteria">and {len(groups) - _MOST_REASONS} more reasons</a>')
    if not items:
        items = ["All blocking criteria passed; nothing casts doubt on the run.", *_response(report)]
    return section("Why", bullets(items))


def _response(report: Report) -> list[str]:
    said = [page(one) for one in report.comparison.get("why") or ()]
    return [f'<a href="#comparison">Response times</a>: {"; ".join(said)}'] if said else []


def _reason(found: Sequence[Finding]) -> str:
    """Return one reason, with every criterion that it stopped."""
    first = found[0]
    names = _link(first.criterion) if len(found) == 1 else _names([one.criterion for one in found])
    return f"{finding_chip(first)} {names}: {page(first.why, _LONGEST_REASON)}"


def _link(criterion: str, shown: str = "") -> str:
    return f'<a href="#c-{page(criterion)}"><code>{page(shown or criterion)}</code></a>'


def _gaps(report: Report) -> str:
    items = [_gap(gap) for gap in report.gaps]
    return section(
        "What this run does not prove", bullets(items or ["Nothing that the guide asks for was left out."])
    )


def _gap(gap: Gap) -> str:
    if not gap.criteria:
        return page(gap.text)
    return f'{page(gap.text)} ({len(gap.criteria)}): <span class="names small">{_names(gap.criteria)}</span>'


def _names(criteria: Sequence[str]) -> str:
    """Return linked criteria, the common part of their ids said once."""
    groups: dict[str, list[str]] = {}
    for name in criteria:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    return "; ".join(
        f"<b>{page(group)}</b> " + ", ".join(_link(name, name.rpartition(".")[2]) for name in names)
        for group, names in groups.items()
    )


def _fitted(report: Report) -> str:
    """Say what differs between the sides, and between this target and the real workload."""
    equal = "No inequality between the two sides was found while load ran."
    if not report.comparison:
        equal = "Load was not compared, so equality of the two sides was not checked."
    kinds: dict[str, list[str]] = {}
    for one in report.fitted:
        kinds.setdefault(one.kind, []).append(
            f"<code>{page(one.what)}</code> {page(one.value)}" if one.what else page(one.value)
        )
    fitted = [_few(kind, said) for kind, said in kinds.items()]
    facts = [f"{page(name)}: {page(value)}" for name, value in sorted(report.extra.items())[:_MOST_FITTED]]
    body = bullets([page(one) for one in report.inequalities] or [f'<span class="soft">{equal}</span>'])
    body += "<h3>Fitted to this target</h3>"
    body += bullets(fitted or ['<span class="soft">Nothing was scaled, substituted or patched.</span>'])
    if facts:
        body += f"<h3>Facts of this target</h3>{bullets(facts)}"
    return section("Equal on both sides?", body)


def _few(kind: str, said: Sequence[str]) -> str:
    hidden = len(said) - _MOST_FITTED
    rest = f"; and {hidden} more in fit.json" if hidden > 0 else ""
    return f"<b>{page(kind)}</b>: {'; '.join(said[:_MOST_FITTED])}{rest}"


def _waivers(report: Report) -> str:
    parts = []
    if report.waivers:
        waived = {finding.criterion for finding in report.verdict.findings if finding.waived}
        rows = (
            (
                _link(one.criterion),
                page(one.name),
                page(one.reason),
                page(one.until),
                "in force" if one.criterion in waived else "<strong>not in force</strong>",
            )
            for one in report.waivers
        )
        head = ("criterion", "by", "reason", "until", "state")
        parts.append(section("Waivers", table("Failures that a person accepted by name", head, rows)))
    if report.undone:
        left = [f"{page(one.what)} on {page(one.host)}" for one in report.undone]
        parts.append(section("Not undone yet; <code>gonogo sweep</code> finishes it", bullets(left)))
    return "".join(parts)


def _footer(report: Report) -> str:
    return (
        f"<footer>Run <code>{page(report.run.get('id', ''))}</code>. All of this is computed from the run"
        " folder: <code>gonogo verify</code> recomputes the verdict and the hashes,"
        " <code>gonogo report</code> renders this page again, offline.</footer>"
    )
