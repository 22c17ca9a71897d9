"""What every form of the report says, gathered once from a run folder.

HTML, Markdown, JUnit and JSON are made from this one object, so that they cannot differ.
Nothing here asks the clock or the target: the same folder gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reports.judgement import judge_run
from reports.model import (
    Criterion,
    Evidence,
    Finding,
    Level,
    Status,
    StepTime,
    Undo,
    Verdict,
    Waiver,
    Window,
)

if TYPE_CHECKING:
    from reports.store import Store

# What each level leaves unproven, in the words of page one.
_LEVEL_GAPS: Mapping[Level, str] = {
    Level.STUB: (
        "Anything about the two orchestrators: the no-op target runs local processes in their place."
    ),
    Level.LAB_UPSTREAM: (
        "K3s itself: Kubernetes here is upstream, built with the parts that K3s packs;"
        " K3s's own packaging, defaults and upgrades are not shown."
    ),
    Level.LAB_K3S: "Real hosts: the nodes are containers on one machine, with its disks, network and clock.",
    Level.EXISTING: "How these clusters came to be: they were given, not installed by this run.",
    Level.HOSTS: "",
}
_LAB_GAP = "Real hosts: the nodes are containers that share one machine's cores, disks, network and clock."
_SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing that this run does not prove, and the criteria that it concerns."""

    text: str
    criteria: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fitted:
    """One thing in which the lab differs from the real workload: scale, images, stand-ins, patches."""

    kind: str
    what: str
    value: str


@dataclass(frozen=True, slots=True)
class Report:
    """A run, judged, with everything that its report shows."""

    run: Mapping[str, Any]
    verdict: Verdict
    criteria: Mapping[str, Criterion]
    evidence: tuple[Evidence, ...]
    waivers: tuple[Waiver, ...]
    steps: tuple[StepTime, ...]
    losses: tuple[Mapping[str, Any], ...]
    comparison: Mapping[str, Any]
    quantiles: Mapping[str, Any]
    noise: tuple[Mapping[str, Any], ...]
    windows: tuple[Window, ...]
    nodes: tuple[Mapping[str, Any], ...]
    services: tuple[Mapping[str, Any], ...]
    fitted: tuple[Fitted, ...]
    inequalities: tuple[str, ...]
    gaps: tuple[Gap, ...]
    undone: tuple[Undo, ...]
    problems: tuple[str, ...]
    extra: Mapping[str, str] = field(default_factory=dict)

    def title(self, criterion: str) -> str:
        """Return the criterion's title."""
        return self.criteria[criterion].title if criterion in self.criteria else ""

    @property
    def counted(self) -> tuple[Finding, ...]:
        """The findings that decide."""
        return tuple(finding for finding in self.verdict.findings if finding.blocking)

    @property
    def duration_s(self) -> float:
        """How long the steps of the run took, from the first start to the last end."""
        return max((step.started_s + step.duration_s for step in self.steps), default=0.0)

    @property
    def started(self) -> str:
        """When the run started, for people."""
        text = str(self.run.get("started_at", ""))
        try:
            return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
        except ValueError:
            return text


def gather(store: Store) -> Report:
    """Read a run folder, judge it, and return all that its report says."""
    run = store.run()
    verdict = judge_run(store)
    comparison = _mapping(store.read_json("load/comparison.json", {}))
    summary = _mapping(store.read_json("load/summary.json", {}))
    conditions = _mapping(_mapping(comparison.get("inputs")).get("conditions"))
    criteria = {criterion.id: criterion for criterion in store.read_criteria()}
    cluster = _mapping(store.read_json("cluster.json", {}))
    return Report(
        run=run,
        verdict=verdict,
        criteria=criteria,
        evidence=store.read_evidence(),
        waivers=store.read_waivers(),
        steps=store.read_steps(),
        losses=_mappings(store.read_json("losses.json", [])),
        comparison=comparison,
        quantiles=_mapping(store.read_json("load/quantiles.json", {})),
        noise=_mappings(summary.get("noise")),
        windows=store.read_windows(),
        nodes=_mappings(cluster.get("nodes")),
        services=_services(store.read_json("workload.json", [])),
        fitted=_fitted(_mapping(store.read_json("fit.json", {}))),
        inequalities=tuple(str(one) for one in conditions.get("unequal") or ()),
        gaps=_gaps(verdict, criteria, comparison),
        undone=store.read_undo(),
        problems=store.problems(),
        extra=_facts(_mapping(run.get("extra") or cluster.get("extra"))),
    )


def _facts(extra: Mapping[str, Any]) -> dict[str, str]:
    """Return what a target says of itself; paths and sockets only say how it was reached."""
    said = {str(key): str(value) for key, value in extra.items()}
    return {
        key: value for key, value in said.items() if value and not value.startswith(("/", "unix:", "tcp:"))
    }


def _gaps(
    verdict: Verdict, criteria: Mapping[str, Criterion], comparison: Mapping[str, Any]
) -> tuple[Gap, ...]:
    """Say what is not proven: by the level, by simulation, by what did not run, by what waits."""
    gaps = [Gap(text) for text in (_LEVEL_GAPS[verdict.level],) if text]
    if verdict.level is Level.LAB_UPSTREAM:
        gaps.append(Gap(_LAB_GAP))
    findings = verdict.findings
    gaps += _grouped(
        (
            (
                "Only a simulation of it was seen",
                [f for f in findings if f.status is Status.INCONCLUSIVE and _SIMULATED in f.why],
            ),
            ("No check covers it yet", [f for f in findings if _is_uncovered(f, criteria)]),
            ("Its check did not run", [f for f in findings if _was_not_run(f, criteria)]),
            ("Waits for a person's sign-off", [f for f in findings if f.status is Status.MANUAL]),
        )
    )
    wide = [
        f"{one.get('name')} p{100 * one['quantile']:g}: {100 * one['margin']:.0f} %"
        for one in _mappings(comparison.get("endpoints"))
        if one.get("blocking") and isinstance(one.get("margin"), float) and one["margin"] > 0.20  # noqa: PLR2004 - design: over 20 % stands on page one
    ]
    if wide:
        gaps.append(Gap(f"Slowdowns within a wide margin (over 20 %): {'; '.join(wide)}."))
    return tuple(gaps)


def _grouped(groups: Sequence[tuple[str, Sequence[Finding]]]) -> list[Gap]:
    return [Gap(text, tuple(finding.criterion for finding in found)) for text, found in groups if found]


def _is_uncovered(finding: Finding, criteria: Mapping[str, Criterion]) -> bool:
    criterion = criteria.get(finding.criterion)
    return finding.status is Status.NOT_RUN and criterion is not None and criterion.owner == "uncovered"


def _was_not_run(finding: Finding, criteria: Mapping[str, Criterion]) -> bool:
    return finding.status is Status.NOT_RUN and not _is_uncovered(finding, criteria)


def _fitted(fit: Mapping[str, Any]) -> tuple[Fitted, ...]:
    """Flatten fit.json into lines, whatever it holds: nothing that was fitted may stay unseen."""
    lines: list[Fitted] = []
    for kind, value in fit.items():
        if isinstance(value, Mapping):
            lines += [Fitted(str(kind), str(name), _said(item)) for name, item in value.items()]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            lines += [Fitted(str(kind), str(index), _said(item)) for index, item in enumerate(value, start=1)]
        elif value not in (None, ""):
            lines.append(Fitted(str(kind), "", _said(value)))
    return tuple(lines)


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} {_said(item)}" for key, item in value.items() if item not in (None, "", {}, [])
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_said(item) for item in value)
    return str(value)


def _services(found: object) -> tuple[Mapping[str, Any], ...]:
    if isinstance(found, Mapping):
        found = found.get("services", [])
    return _mappings(found)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return tuple(one for one in value if isinstance(one, Mapping))
