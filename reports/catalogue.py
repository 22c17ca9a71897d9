"""The catalogue: every line of the migration guide as a Criterion, and where it blocks.

The blocking table is data: a criterion blocks a GO in the (profile, level) pairs that
its row names. `gonogo plan` prints it; `reports.judge` obeys it and nothing else.
A line that no check covers yet has owner `uncovered`: it is shown, and never counted.
"""

from __future__ import annotations

from dataclasses import replace

from reports.model import Criterion, Level, Limit, Profile

LIVE = frozenset({Level.LAB_UPSTREAM, Level.LAB_K3S, Level.EXISTING, Level.HOSTS})
_EVERY_LEVEL = frozenset(Level)
_ALL = tuple(Profile)

# Where a not-PASS stops a GO, by the name that a row of the catalogue gives. The no-op
# level is in the first line so that the tour shows a red check; it can never be a GO.
_BLOCKING: dict[str, frozenset[tuple[Profile, Level]]] = {
    "smoke": frozenset((p, lv) for p in _ALL for lv in _EVERY_LEVEL),
    "nightly": frozenset((p, lv) for p in (Profile.NIGHTLY, Profile.CUTOVER) for lv in LIVE),
    "cutover": frozenset({(Profile.CUTOVER, Level.HOSTS)}),
    "hosts": frozenset((p, Level.HOSTS) for p in (Profile.NIGHTLY, Profile.CUTOVER)),
    "never": frozenset(),
}

_PASS = Limit("==", 100, "%")

# (id, owner, blocks from, limit, title)
_ROWS: tuple[tuple[str, str, str, Limit | None, str], ...] = (
    # Checklist before cutover (week 12)
    (
        "cutover.services",
        "suite",
        "smoke",
        _PASS,
        "Every service healthy, MCP spoken, same tools on both sides",
    ),
    ("cutover.gpu", "uncovered", "hosts", None, "A pod that asks for nvidia.com/gpu gets one and sees it"),
    (
        "cutover.intercomm",
        "suite",
        "smoke",
        _PASS,
        "Each server reaches each server it calls, by DNS name, across nodes",
    ),
    (
        "cutover.ingress",
        "uncovered",
        "nightly",
        None,
        "Reached from outside through the Ingress, wrong host refused",
    ),
    (
        "cutover.monitoring",
        "uncovered",
        "nightly",
        None,
        "Every target scraped; a provoked alert fires and resolves",
    ),
    (
        "cutover.backup",
        "uncovered",
        "nightly",
        None,
        "Data backed up, destroyed, restored elsewhere, compared",
    ),
    # Checklist after migration
    (
        "technical.servers",
        "suite",
        "smoke",
        Limit("==", 16, "servers"),
        "All 16 MCP servers deployed and healthy",
    ),
    ("technical.gpu_scheduling", "uncovered", "hosts", None, "GPU pods land only on the wanted GPU nodes"),
    (
        "technical.discovery",
        "suite",
        "smoke",
        _PASS,
        "Cluster DNS and Service endpoints, a wrong name refused",
    ),
    (
        "technical.monitoring",
        "uncovered",
        "nightly",
        None,
        "ServiceMonitor selects targets, all up, rules loaded",
    ),
    ("technical.backup", "uncovered", "nightly", None, "Backup and restore with RPO and RTO measured"),
    ("technical.autoscaling", "uncovered", "nightly", None, "HPA seen scaling out under load and back in"),
    ("technical.security", "uncovered", "nightly", None, "NetworkPolicy, RBAC, pod security, secrets, ports"),
    (
        "performance.response",
        "load",
        "smoke",
        None,
        "Response times not worse than Docker Swarm (larger of 10 % and 1 ms)",
    ),
    (
        "performance.resources",
        "uncovered",
        "nightly",
        Limit("<=", 1.10, "x Swarm"),
        "CPU and memory per served request",
    ),
    (
        "performance.gpu_utilization",
        "uncovered",
        "hosts",
        Limit(">", 60, "%"),
        "GPU busy over the load window",
    ),
    (
        "performance.network_latency",
        "suite",
        "smoke",
        Limit("<", 10, "ms"),
        "p99 pod to pod, all node pairs, and by Service",
    ),
    ("operational.runbooks", "person", "cutover", None, "Runbooks exist, their commands parse, signed off"),
    ("operational.training", "person", "cutover", None, "The team is trained, signed off"),
    ("operational.incident_response", "person", "cutover", None, "Incident response rehearsed, signed off"),
    (
        "operational.deploy_automation",
        "suite",
        "smoke",
        Limit("==", 0, "changes"),
        "Deploying twice changes nothing",
    ),
    # Success metrics
    (
        "metric.uptime",
        "uncovered",
        "cutover",
        Limit(">=", 99.9, "%"),
        "Uptime from probe counts with a confidence bound",
    ),
    (
        "metric.deploy_time",
        "measurement",
        "smoke",
        Limit("<", 10, "min"),
        "From apply to every service ready",
    ),
    (
        "metric.recovery_time",
        "suite",
        "smoke",
        Limit("<", 5, "min"),
        "A killed container recovers, seen by a client",
    ),
    ("metric.efficiency", "uncovered", "cutover", Limit(">=", 25, "%"), "Better resource efficiency"),
    ("metric.cost", "uncovered", "cutover", Limit(">=", 15, "%"), "Lower cost, from a user's prices"),
    (
        "metric.productivity",
        "uncovered",
        "cutover",
        Limit(">=", 25, "%"),
        "Higher productivity, from a user's counts",
    ),
    ("metric.time_to_market", "uncovered", "cutover", Limit(">=", 30, "%"), "Shorter time to market"),
    ("metric.overhead", "uncovered", "cutover", Limit(">=", 50, "%"), "Less operational overhead"),
    # Phase 1
    (
        "phase1.install",
        "measurement",
        "smoke",
        None,
        "The orchestrators stand and answer with their identity",
    ),
    ("phase1.verify", "suite", "smoke", _PASS, "Nodes ready, units, ports, file modes, clocks, namespaces"),
    ("phase1.kubeconfig", "suite", "smoke", _PASS, "Remote kubeconfig: TLS verified, mode 0600"),
    (
        "phase1.convert",
        "measurement",
        "smoke",
        Limit("==", 0, "keys lost"),
        "Compose file converted, every key accounted for",
    ),
    ("phase1.deploy", "suite", "smoke", _PASS, "Services deployed as promised on both sides"),
    ("phase1.health", "suite", "smoke", _PASS, "Health and readiness endpoints answer"),
    ("phase1.servicemonitor", "uncovered", "nightly", None, "ServiceMonitor of the first servers"),
    (
        "phase1.automation",
        "suite",
        "smoke",
        Limit("==", 0, "changes"),
        "Deploy automation repeats without change",
    ),
    # Phase 2
    ("phase2.nodes", "suite", "smoke", _PASS, "Several nodes joined and ready"),
    ("phase2.join_token", "uncovered", "nightly", None, "The join token is kept secret"),
    ("phase2.labels", "suite", "smoke", _PASS, "Role labels on every node"),
    ("phase2.affinity", "uncovered", "nightly", None, "Node affinity honoured"),
    ("phase2.primary_tier", "suite", "smoke", _PASS, "PRIMARY tier deployed and healthy"),
    ("phase2.load_test", "uncovered", "nightly", None, "Load test ran on both sides with response times"),
    ("phase2.utilisation", "uncovered", "nightly", None, "CPU and memory utilisation under load"),
    ("phase2.gpu", "uncovered", "hosts", None, "GPU under load"),
    ("phase2.latency", "suite", "smoke", Limit("<", 10, "ms"), "Network latency between nodes"),
    # Phase 3
    ("phase3.backup", "uncovered", "nightly", None, "Back up before moving data"),
    ("phase3.pvcs", "uncovered", "nightly", None, "PersistentVolumeClaims bound and writable"),
    ("phase3.secondary_tier", "suite", "smoke", _PASS, "SECONDARY tier deployed and healthy"),
    ("phase3.dns_update", "uncovered", "cutover", None, "DNS update rehearsed"),
    ("phase3.core_platform", "uncovered", "nightly", None, "Backend, chat, dashboard and gateway deployed"),
    ("phase3.ingress", "uncovered", "nightly", None, "Ingress routes the core platform"),
    ("phase3.blue_green", "uncovered", "cutover", None, "Traffic shifted step by step"),
    ("phase3.gates", "uncovered", "cutover", None, "Gates stop a bad shift"),
    ("phase3.way_back", "uncovered", "cutover", None, "The way back works at each step"),
    # Phase 4
    ("phase4.hpa", "uncovered", "nightly", None, "Horizontal pod autoscalers"),
    ("phase4.network_policy", "uncovered", "nightly", None, "Network policies enforced"),
    ("phase4.rbac", "uncovered", "nightly", None, "RBAC allow and deny matrix"),
    ("phase4.velero", "uncovered", "nightly", None, "Velero backs up objects and volumes"),
    ("phase4.node_failure", "uncovered", "nightly", Limit("<", 5, "min"), "A lost node's services come back"),
    ("phase4.dr", "uncovered", "nightly", None, "Data restored after a disaster"),
    ("phase4.runbooks", "person", "cutover", None, "Runbooks for daily work, signed off"),
    # Rollback
    ("rollback.traffic", "uncovered", "cutover", None, "Traffic back to Swarm, time and losses counted"),
    ("rollback.data", "uncovered", "cutover", None, "Data written meanwhile is kept"),
    ("rollback.post_mortem", "uncovered", "cutover", None, "Post-mortem report"),
)

_PROFILES = {
    "smoke": frozenset(_ALL),
    "nightly": frozenset({Profile.NIGHTLY, Profile.CUTOVER}),
    "hosts": frozenset({Profile.NIGHTLY, Profile.CUTOVER}),
    "cutover": frozenset({Profile.CUTOVER}),
    "never": frozenset(_ALL),
}
_SHOWN_AT = {
    "smoke": _EVERY_LEVEL,  # the tour shows its checks; the judge never makes a stub a GO
    "hosts": frozenset({Level.EXISTING, Level.HOSTS}),
    "cutover": frozenset({Level.HOSTS}),
}


def catalogue() -> tuple[Criterion, ...]:
    """Return every criterion in the order of the migration guide."""
    return tuple(
        Criterion(
            id=criterion_id,
            title=title,
            owner=owner,
            limit=limit,
            blocking=_BLOCKING[blocks_from],
            profiles=_PROFILES[blocks_from],
            shown_at=_SHOWN_AT.get(blocks_from, LIVE),
        )
        for criterion_id, owner, blocks_from, limit, title in _ROWS
    )


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
