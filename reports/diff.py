"""What changed between two runs, in what ran and in what came out: the use after an upgrade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.judgement import judge_run
from reports.model import Finding, Status
from reports.render.escape import number, visible
from reports.store import Store, open_run

if TYPE_CHECKING:
    from pathlib import Path

# A step that differs by less is the machine's mood.
_LEAST_STEP_S = 5.0
_LEAST_STEP_SHARE = 0.25
_FACTS = (
    "gonogo",
    "git_commit",
    "python",
    "level",
    "profile",
    "target",
    "machine",
    "packages",
    "versions",
    "identities",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One named thing with its value before and after; empty means that it was not there."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name}: {self.before or 'absent'} -> {self.after or 'absent'}"


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """A response-time endpoint in both runs; it `moved` if its intervals do not overlap."""

    name: str
    before: str
    after: str
    moved: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.before} -> {self.after}{' (moved)' if self.moved else ''}"


@dataclass(frozen=True, slots=True)
class RunDiff:
    """Two runs held against each other; empty parts did not change."""

    before: str
    after: str
    verdict: Change | None
    worse: tuple[Change, ...]
    better: tuple[Change, ...]
    observed: tuple[Change, ...]
    endpoints: tuple[EndpointChange, ...]
    versions: tuple[Change, ...]
    workload: tuple[Change, ...]
    steps: tuple[Change, ...]

    def __str__(self) -> str:
        """Return the differences as lines for a terminal."""
        parts: tuple[tuple[str, Sequence[object]], ...] = (
            ("verdict", [self.verdict] if self.verdict else []),
            ("worse", self.worse),
            ("better", self.better),
            ("observed differently", self.observed),
            ("response times, Kubernetes against Swarm", self.endpoints),
            ("versions", self.versions),
            ("workload and config", self.workload),
            ("steps", self.steps),
        )
        lines = [f"{self.before} -> {self.after}"]
        for title, items in parts:
            if items:
                lines += ["", f"{title}:", *(f"  {visible(item, 300)}" for item in items)]
        return "\n".join(lines if len(lines) > 1 else [*lines, "nothing changed"])


def diff(before: Path, after: Path) -> RunDiff:
    """Return what changed from one run to another."""
    old, new = open_run(before), open_run(after)
    first, second = judge_run(old), judge_run(new)
    findings = _findings(first.findings, second.findings)
    return RunDiff(
        before=old.path.name,
        after=new.path.name,
        verdict=_change("verdict", first.headline.partition(":")[0], second.headline.partition(":")[0]),
        worse=tuple(change for change, way in findings if way < 0),
        better=tuple(change for change, way in findings if way > 0),
        observed=_observed(first.findings, second.findings),
        endpoints=_endpoints(old, new),
        versions=_flat_changes(_facts(old), _facts(new)),
        workload=_flat_changes(_workload(old), _workload(new)),
        steps=_steps(old, new),
    )


def _change(name: str, before: str, after: str) -> Change | None:
    return Change(name, before, after) if before != after else None


def _findings(first: Sequence[Finding], second: Sequence[Finding]) -> list[tuple[Change, int]]:
    """Return statuses that changed, with the way they went: towards PASS is better."""
    old, new = ({one.criterion: one for one in found} for found in (first, second))
    changes = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before and after and before.status is after.status:
            continue
        way = _rank(after) - _rank(before)
        changes.append((Change(name, _status(before), _status(after)), way or -1))
    return changes


def _rank(finding: Finding | None) -> int:
    """Return how much a finding shows: a failure is least, a pass most, all else between."""
    if finding is None:
        return 1
    return {Status.FAIL: 0, Status.PASS: 2}.get(finding.status, 1)


def _status(finding: Finding | None) -> str:
    if finding is None:
        return ""
    why = f" ({finding.why})" if finding.status is not Status.PASS and finding.why else ""
    return f"{finding.status}{why}"


def _observed(first: Sequence[Finding], second: Sequence[Finding]) -> tuple[Change, ...]:
    old = {one.criterion: one for one in first}
    changes = []
    for after in second:
        before = old.get(after.criterion)
        if before and before.observed is not None and after.observed is not None:
            said = [f"{number(one.observed)} {one.unit}".strip() for one in (before, after)]
            changes.append(_change(after.criterion, *said))
    return tuple(change for change in changes if change)


def _endpoints(old: Store, new: Store) -> tuple[EndpointChange, ...]:
    first, second = _measured(old), _measured(new)
    changes = []
    for name in dict.fromkeys([*first, *second]):
        before, after = first.get(name), second.get(name)
        moved = bool(before and after and (before["low"] > after["high"] or after["low"] > before["high"]))
        changes.append(EndpointChange(name, _slowdown(before), _slowdown(after), moved))
    return tuple(change for change in changes if change.before != change.after)


def _measured(store: Store) -> dict[str, Mapping[str, Any]]:
    found = store.read_json("load/comparison.json", {}).get("endpoints", [])
    return {f"{one['name']} p{100 * one['quantile']:g}": one for one in found if one.get("ratio") is not None}


def _slowdown(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    at, low, high = (100 * (one[key] - 1) for key in ("ratio", "low", "high"))
    return f"{one['outcome']} {at:+.1f} % ({low:+.1f} to {high:+.1f})"


def _facts(store: Store) -> dict[str, str]:
    run = store.run()
    return _flat({key: run[key] for key in _FACTS if key in run})


def _workload(store: Store) -> dict[str, str]:
    services = store.read_json("workload.json", [])
    named = services.get("services", []) if isinstance(services, dict) else services
    return _flat(
        {
            "config": store.read_json("config.json", {}),
            "fit": store.read_json("fit.json", {}),
            "service": {str(one.get("name")): one for one in named if isinstance(one, dict)},
        }
    )


def _flat(value: object, name: str = "") -> dict[str, str]:
    """Return every leaf by its dotted path."""
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        pairs = {str(index): item for index, item in enumerate(value)}.items()
    else:
        return {name: "" if value is None else str(value)}
    leaves: dict[str, str] = {}
    for key, item in pairs:
        leaves |= _flat(item, f"{name}.{key}" if name else str(key))
    return leaves


def _flat_changes(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Change, ...]:
    names = dict.fromkeys([*first, *second])
    changes = (_change(name, first.get(name, ""), second.get(name, "")) for name in names)
    return tuple(change for change in changes if change)


def _steps(old: Store, new: Store) -> tuple[Change, ...]:
    first, second = ({step.name: step.duration_s for step in store.read_steps()} for store in (old, new))
    changes = []
    for name in dict.fromkeys([*first, *second]):
        before, after = first.get(name, 0.0), second.get(name, 0.0)
        if abs(after - before) > max(_LEAST_STEP_S, _LEAST_STEP_SHARE * before):
            changes.append(Change(name, f"{before:.1f} s", f"{after:.1f} s"))
    return tuple(changes)
