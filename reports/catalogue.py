"""The catalogue: every line of the migration guide as a Criterion, and where it blocks.

The blocking table is data: a criterion blocks a GO in the (profile, level) pairs that
its row names. `gonogo plan` prints it; `reports.judge` obeys it and nothing else.
A line that no check covers yet has owner `uncovered`: it is shown, and never counted;
`missing` says what it waits for.

    blocks from   in profiles                at levels
    smoke         smoke, nightly, cutover    every one: what smoke itself measures in the lab
    nightly       nightly, cutover           every real one: drills, monitoring, data, scaling, security
    rehearsal     cutover                    every real one: the shift of traffic and the way back
    hosts         nightly, cutover           hosts: what the lab can only simulate, such as GPUs
    cutover       cutover                    hosts: sign-offs and business metrics
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from reports.model import Criterion, Level, Limit, Profile
from reports.red_proof import shipped_proofs

LIVE = frozenset({Level.LAB_UPSTREAM, Level.LAB_K3S, Level.EXISTING, Level.HOSTS})
_EVERY_LEVEL = frozenset(Level)
_REAL = frozenset({Level.EXISTING, Level.HOSTS})
_ALL = frozenset(Profile)
_DEEP = frozenset({Profile.NIGHTLY, Profile.CUTOVER})
_CUTOVER = frozenset({Profile.CUTOVER})

# Profiles and levels in which a not-PASS stops a GO, by the name that a row gives. The no-op
# level is in the first line so that the tour shows a red check; it can never be a GO.
_BLOCKING: dict[str, tuple[frozenset[Profile], frozenset[Level]]] = {
    "smoke": (_ALL, _EVERY_LEVEL),
    "nightly": (_DEEP, LIVE),
    "rehearsal": (_CUTOVER, LIVE),
    "hosts": (_DEEP, frozenset({Level.HOSTS})),
    "cutover": (_CUTOVER, frozenset({Level.HOSTS})),
}
# Where a PASS can be believed; elsewhere only the mechanism is shown.
_SHOWN_AT = {
    "smoke": _EVERY_LEVEL,  # the tour shows its checks; the judge never makes a stub a GO
    "nightly": LIVE,
    "rehearsal": LIVE,
    "hosts": _REAL,
    "cutover": _REAL,
}

_PASS = Limit("==", 100, "%")
_SIGNED = Limit(">=", 1, "valid sign-off")
_NO_CHANGE = Limit("==", 0, "changes")

# (id, owner, blocks from, limit, title)
# ruff: noqa: E501 - one criterion a line
# fmt: off
_ROWS: tuple[tuple[str, str, str, Limit | None, str], ...] = (
    # Checklist before cutover (week 12)
    ("cutover.services", "suite", "smoke", _PASS, "Every service healthy, MCP spoken, same tools on both sides"),
    ("cutover.gpu", "suite", "hosts", _PASS, "A pod that asks for nvidia.com/gpu gets one and sees it"),
    ("cutover.intercomm", "suite", "smoke", _PASS, "Each server reaches each server it calls, by DNS name, across nodes"),
    ("cutover.ingress", "suite", "nightly", _PASS, "Reached from outside through the Ingress, wrong host refused"),
    ("cutover.monitoring", "suite", "nightly", _PASS, "Every target scraped; a provoked alert fires and resolves"),
    ("cutover.backup", "suite", "nightly", _PASS, "Data backed up, destroyed, restored elsewhere, compared"),
    # Checklist after migration
    ("technical.servers", "suite", "smoke", Limit("==", 16, "servers"), "All 16 MCP servers deployed and healthy"),
    ("technical.gpu_scheduling", "suite", "hosts", _PASS, "GPU pods land only on the wanted GPU nodes"),
    ("technical.discovery", "suite", "smoke", _PASS, "Cluster DNS and Service endpoints, a wrong name refused"),
    ("technical.monitoring", "suite", "nightly", _PASS, "ServiceMonitor selects targets, all up, rules loaded"),
    ("technical.backup", "suite", "nightly", _PASS, "Backup and restore with RPO and RTO measured"),
    ("technical.autoscaling", "suite", "nightly", _PASS, "HPA seen scaling out under load and back in"),
    ("technical.security", "suite", "nightly", _PASS, "NetworkPolicy, RBAC, pod security, secrets, ports"),
    ("performance.response", "load", "smoke", None, "Response times not worse than Docker Swarm (larger of 10 % and 1 ms)"),
    ("performance.resources", "load", "nightly", Limit("<=", 1.10, "x Swarm"), "CPU and memory per served request"),
    ("performance.gpu_utilization", "suite", "hosts", Limit(">", 60, "%"), "GPU busy over the load window"),
    ("performance.network_latency", "suite", "smoke", Limit("<", 10, "ms"), "p99 pod to pod, all node pairs, and by Service"),
    ("operational.runbooks", "person", "cutover", _SIGNED, "Runbooks exist, their commands parse, signed off"),
    ("operational.training", "person", "cutover", _SIGNED, "The team is trained, signed off"),
    ("operational.incident_response", "person", "cutover", _SIGNED, "Incident response rehearsed, signed off"),
    ("operational.deploy_automation", "suite", "smoke", _NO_CHANGE, "Deploying twice changes nothing"),
    # Success metrics
    ("metric.uptime", "measurement", "cutover", Limit(">=", 99.9, "%"), "Uptime from probe counts with a confidence bound"),
    ("metric.deploy_time", "measurement", "smoke", Limit("<", 10, "min"), "From apply to every service ready"),
    ("metric.recovery_time", "suite", "smoke", Limit("<", 5, "min"), "A killed container recovers, seen by a client"),
    ("metric.efficiency", "load", "cutover", Limit(">=", 25, "%"), "Better resource efficiency"),
    ("metric.cost", "measurement", "cutover", Limit(">=", 15, "%"), "Lower cost, from a user's prices"),
    ("metric.productivity", "measurement", "cutover", Limit(">=", 25, "%"), "Higher productivity, from a user's counts"),
    ("metric.time_to_market", "measurement", "cutover", Limit(">=", 30, "%"), "Shorter time to market"),
    ("metric.overhead", "measurement", "cutover", Limit(">=", 50, "%"), "Less operational overhead"),
    # Phase 1
    ("phase1.install", "measurement", "smoke", Limit("==", 2, "orchestrators"), "The orchestrators stand and answer with their identity"),
    ("phase1.verify", "suite", "smoke", _PASS, "Nodes ready, units, ports, file modes, clocks, namespaces"),
    ("phase1.kubeconfig", "suite", "smoke", _PASS, "Remote kubeconfig: TLS verified, mode 0600"),
    ("phase1.convert", "measurement", "smoke", Limit("==", 0, "keys lost"), "Compose file converted, every key accounted for"),
    ("phase1.deploy", "suite", "smoke", _PASS, "Services deployed as promised on both sides"),
    ("phase1.health", "suite", "smoke", _PASS, "Health and readiness endpoints answer"),
    ("phase1.servicemonitor", "suite", "nightly", _PASS, "ServiceMonitor of the first servers"),
    ("phase1.automation", "suite", "smoke", _NO_CHANGE, "Deploy automation repeats without change"),
    # Phase 2
    ("phase2.nodes", "suite", "smoke", _PASS, "Several nodes joined and ready"),
    ("phase2.join_token", "suite", "nightly", Limit("==", 0, "places readable by others"), "The join token is kept secret"),
    ("phase2.labels", "suite", "smoke", _PASS, "Role labels on every node"),
    ("phase2.affinity", "suite", "nightly", _PASS, "Node affinity honoured"),
    ("phase2.primary_tier", "suite", "smoke", _PASS, "PRIMARY tier deployed and healthy"),
    ("phase2.load_test", "measurement", "nightly", Limit(">=", 1_000, "requests a side"), "Load test ran on both sides with response times"),
    ("phase2.utilisation", "suite", "nightly", _PASS, "CPU and memory utilisation under load"),
    ("phase2.gpu", "suite", "hosts", _PASS, "GPU under load"),
    ("phase2.latency", "suite", "smoke", Limit("<", 10, "ms"), "Network latency between nodes"),
    # Phase 3
    ("phase3.backup", "suite", "nightly", _PASS, "Back up before moving data"),
    ("phase3.pvcs", "suite", "nightly", _PASS, "PersistentVolumeClaims bound and writable"),
    ("phase3.secondary_tier", "suite", "smoke", _PASS, "SECONDARY tier deployed and healthy"),
    ("phase3.dns_update", "uncovered", "rehearsal", _PASS, "DNS update rehearsed"),
    ("phase3.core_platform", "suite", "nightly", _PASS, "Backend, chat, dashboard and gateway deployed"),
    ("phase3.ingress", "suite", "nightly", _PASS, "Ingress routes the core platform"),
    ("phase3.blue_green", "suite", "rehearsal", Limit("==", 0, "requests lost"), "Traffic shifted step by step"),
    ("phase3.gates", "suite", "rehearsal", _PASS, "Gates stop a bad shift"),
    ("phase3.way_back", "suite", "rehearsal", _PASS, "The way back works at each step"),
    # Phase 4
    ("phase4.hpa", "suite", "nightly", _PASS, "Horizontal pod autoscalers"),
    ("phase4.network_policy", "suite", "nightly", _PASS, "Network policies enforced"),
    ("phase4.rbac", "suite", "nightly", _PASS, "RBAC allow and deny matrix"),
    ("phase4.velero", "suite", "nightly", _PASS, "Velero backs up objects and volumes"),
    ("phase4.node_failure", "suite", "nightly", Limit("<", 5, "min"), "A lost node's services come back"),
    ("phase4.dr", "suite", "nightly", _PASS, "Data restored after a disaster"),
    ("phase4.runbooks", "person", "cutover", _SIGNED, "Runbooks for daily work, signed off"),
    # Rollback
    ("rollback.traffic", "suite", "rehearsal", Limit("<", 5, "min"), "Traffic back to Swarm, time and losses counted"),
    ("rollback.data", "suite", "rehearsal", Limit("==", 0, "rows lost"), "Data written meanwhile is kept"),
    ("rollback.post_mortem", "suite", "rehearsal", Limit("==", 1, "report"), "Post-mortem report"),
)

_MISSING = {
    "phase3.dns_update": "a rehearsed change of DNS",
}
# fmt: on

_SHOWN_ELSEWHERE = {"metric.efficiency": LIVE}  # measured on the same machine for both sides


def catalogue() -> tuple[Criterion, ...]:
    """Return every criterion in the order of the migration guide, with what has shown it red."""
    proofs = shipped_proofs()
    return tuple(
        Criterion(
            id=criterion_id,
            title=title,
            owner=owner,
            limit=limit,
            blocking=frozenset(itertools.product(*_BLOCKING[blocks_from])),
            profiles=_BLOCKING[blocks_from][0],
            shown_at=_shown_at(criterion_id, owner, blocks_from),
            red_proof=str(proofs[criterion_id]) if criterion_id in proofs else "",
        )
        for criterion_id, owner, blocks_from, limit, title in _ROWS
    )


def missing(criterion: Criterion) -> str:
    """Return what an uncovered criterion waits for; empty for one that is covered."""
    return _MISSING.get(criterion.id, "a check") if criterion.owner == "uncovered" else ""


def with_checks(checks: dict[str, list[str]]) -> tuple[Criterion, ...]:
    """Return the catalogue with the checks that collection found, by criterion id.

    Raises:
        KeyError: a check names a criterion that the catalogue does not hold.
    """
    known = {criterion.id: criterion for criterion in catalogue()}
    for criterion_id in checks:
        if criterion_id not in known:
            message = f"a check bears on {criterion_id!r}, which the catalogue does not hold"
            raise KeyError(message)
    return tuple(
        replace(criterion, checks=tuple(sorted(checks.get(criterion.id, ())))) for criterion in known.values()
    )


def _shown_at(criterion_id: str, owner: str, blocks_from: str) -> frozenset[Level]:
    if owner == "person":
        return _EVERY_LEVEL  # a person's answer does not depend on where the run was made
    return _SHOWN_ELSEWHERE.get(criterion_id, _SHOWN_AT[blocks_from])
