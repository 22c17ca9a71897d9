"""How long an orchestrator waits before it moves what ran on a lost node, read from its settings.

Kubernetes: the controller manager's grace until a silent node is NotReady, then what each pod
tolerates. Swarm: three heartbeats that stay out, and no further wait. What a new copy needs to
start comes on top of both.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioners.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioners.kube_target import KubernetesTarget
    from provisioners.swarm_target import SwarmTarget

DEFAULT_TOLERATION_S = 300.0  # what the API server adds to a pod that says nothing

_LONGER_GRACE_SINCE = 32  # Kubernetes 1.32: 50 s, before that 40 s
_MISSED_HEARTBEATS = 3
_FLAG = "node-monitor-grace-period"
_TAINTS = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"([0-9.]+)(h|ms|m|us|ns|s)")
_K3S_CONFIG = "/etc/rancher/k3s/config.yaml"


@dataclass(frozen=True, slots=True)
class Failover:
    """The two waits, in seconds, that settings put between a node's loss and its replacements.

    `toleration_s` is the longest of all services, infinite for a pod that is never moved;
    `slowest` names that service, `source` says where `grace_s` was read.
    """

    grace_s: float
    toleration_s: float
    slowest: str = ""
    source: str = ""

    @property
    def expected_s(self) -> float:
        """Both together; a new copy's start comes on top."""
        return self.grace_s + self.toleration_s

    def __str__(self) -> str:
        if not self.toleration_s:
            return f"{self.grace_s:.0f} s ({self.source})"
        waits = "for ever" if math.isinf(self.toleration_s) else f"{self.toleration_s:.0f} s"
        total = "never" if math.isinf(self.expected_s) else f"{self.expected_s:.0f} s"
        return (
            f"{total}: {self.grace_s:.0f} s until a node is given up ({self.source}), "
            f"then {waits} tolerated by {self.slowest}"
        )


def kubernetes_failover(target: KubernetesTarget) -> Failover:
    """Return the waits of a cluster for the pods of the target's namespace.

    Raises ProvisionError where no pod is there to be asked.
    """
    pods = target.kube.list_all(f"/api/v1/namespaces/{target.namespace}/pods").items
    movable = [pod for pod in pods if not _is_daemon(pod)]
    if not movable:
        raise ProvisionError(
            "no pod that could be moved", where=f"namespace {target.namespace}", next_step="gonogo deploy"
        )
    seconds, slowest = max(
        (toleration_s(pod["spec"].get("tolerations") or []), _named(pod)) for pod in movable
    )
    grace_s, source = _grace(target)
    return Failover(grace_s, seconds, slowest, source)


def swarm_failover(target: SwarmTarget) -> Failover:
    """Return the wait of a swarm: so many heartbeats have to stay out."""
    info = target.docker.run("info", "--format", "{{json .Swarm}}").check().stdout
    dispatcher = ((json.loads(info).get("Cluster") or {}).get("Spec") or {}).get("Dispatcher") or {}
    period_s = float(dispatcher.get("HeartbeatPeriod") or 5e9) / 1e9
    return Failover(
        _MISSED_HEARTBEATS * period_s, 0.0, source=f"{_MISSED_HEARTBEATS} heartbeats of {period_s:g} s"
    )


def toleration_s(tolerations: Iterable[Mapping[str, Any]]) -> float:
    """Return how long a pod with these tolerations stays bound to a node that is gone.

    0 when it tolerates neither taint, infinity when it tolerates one without a bound.
    """
    rows = list(tolerations)
    return max(_tolerated_s(rows, taint) for taint in _TAINTS)


def grace_flag_s(lines: Sequence[str]) -> float | None:
    """Return the grace period that command lines or a K3s config name, in seconds; None if none does."""
    for line in lines:
        found = re.search(rf"{_FLAG}[=\s\"']+([0-9a-z.]+)", line)
        if found:
            return duration_s(found[1])
    return None


def duration_s(text: str) -> float:
    """Return a Go duration (`50s`, `1m0s`) in seconds.

    Raises ValueError for anything else.
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        message = f"{text!r} is no duration"
        raise ValueError(message)
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def default_grace_s(minor: str) -> float:
    """Return the controller manager's own grace period by the server's minor version (`34`, `34+`)."""
    digits = re.match(r"\d+", minor)
    return 50.0 if not digits or int(digits[0]) >= _LONGER_GRACE_SINCE else 40.0


def _grace(target: KubernetesTarget) -> tuple[float, str]:
    for node in target.nodes:
        if node.control_plane:
            script = f"ps -eww -o args=; cat {shlex.quote(_K3S_CONFIG)} 2>/dev/null || true"
            found = node.ssh.run(["sh", "-c", script], timeout_s=20)
            seconds = grace_flag_s(found.stdout.splitlines())
            if seconds is not None:
                return seconds, f"{_FLAG} on {node.name}"
    server = target.kube.get("/version") or {}
    minor = str(server.get("minor", ""))
    return default_grace_s(minor), f"default of Kubernetes 1.{minor or '?'}"


def _tolerated_s(rows: Sequence[Mapping[str, Any]], taint: str) -> float:
    matching = [
        row
        for row in rows
        if row.get("effect") in {None, "", "NoExecute"} and row.get("key") in {None, "", taint}
    ]
    bounds = [float(row["tolerationSeconds"]) for row in matching if row.get("tolerationSeconds") is not None]
    if bounds:
        return max(0.0, min(bounds))
    return math.inf if matching else 0.0


def _is_daemon(pod: Mapping[str, Any]) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("kind") in {"DaemonSet", "Node"} for owner in owners)


def _named(pod: Mapping[str, Any]) -> str:
    labels = pod["metadata"].get("labels") or {}
    return str(labels.get("app.kubernetes.io/name") or labels.get("app") or pod["metadata"]["name"])
