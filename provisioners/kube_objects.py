"""What is read of Kubernetes objects: Pod, Workload, Entry and KubeNode, parsed from their JSON.

Pure: JSON in, frozen data out, so that recorded objects test every rule without a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Object = dict[str, Any]

WORKLOAD_KINDS = (("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"))
_SIZES = {
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod, or one that is not running and why."""

    name: str
    id: str  # without the `containerd://` scheme; empty before it started once
    image: str
    image_id: str
    ready: bool
    started: bool
    running: bool
    restarts: int
    waiting: str  # reason, such as ImagePullBackOff; empty when it is not waiting
    waiting_message: str
    ended: str  # reason of the last end: Error, OOMKilled, StartError, ...
    ended_status: int | None


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod: where it runs, whether it is ready, what holds it back."""

    name: str
    uid: str
    namespace: str
    node: str
    address: str
    labels: Mapping[str, str]
    phase: str
    ready: bool
    deleting: bool
    started_at: str
    containers: tuple[Container, ...]
    unschedulable: str  # the scheduler's message; empty when it has a node
    startup_budget_s: float  # how long its own probes give it to get ready
    probed: bool  # every container has a readiness probe: its word is worth more than "it runs"
    created: str
    revision: str  # tells pods of one template from those of another
    reason: str = ""  # why the whole pod failed, such as Evicted

    @property
    def restarts(self) -> int:
        """All restarts of all its containers."""
        return sum(container.restarts for container in self.containers)


@dataclass(frozen=True, slots=True)
class Workload:
    """One Deployment, StatefulSet or DaemonSet: what is wanted and what there is."""

    kind: str
    name: str
    labels: Mapping[str, str]
    selector: Mapping[str, str]
    desired: int
    ready: int
    updated: int  # replicas of the current spec, ready or not; 0 until its controller saw it
    settled: bool  # the controller saw this spec, and every replica is of it
    image: str
    ports: tuple[int, ...]
    cpu_limit: float | None
    memory_limit_bytes: int | None

    @property
    def is_ready(self) -> bool:
        """Whether every wanted replica is of this spec and ready; never for none wanted."""
        return self.settled and self.desired > 0 and self.ready >= self.desired

    def owns(self, pod: Pod) -> bool:
        """Return whether the pod is one of its replicas."""
        return bool(self.selector) and self.selector.items() <= pod.labels.items()

    def current(self, pods: Sequence[Pod]) -> list[Pod]:
        """Return its pods of the current spec; none until the controller made the first."""
        own = sorted((pod for pod in pods if self.owns(pod)), key=lambda pod: pod.created)
        if not own or not self.updated:
            return []
        return [pod for pod in own if pod.revision == own[-1].revision and not pod.deleting]


@dataclass(frozen=True, slots=True)
class EntryPort:
    """One port of a Service object; `target` is the container's port, or its name."""

    name: str
    port: int
    target: int | str
    node_port: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One Service object: the name and addresses by which pods are reached."""

    name: str
    selector: Mapping[str, str]
    cluster_ip: str | None
    local: bool  # externalTrafficPolicy Local: only a node that runs a pod answers
    ports: tuple[EntryPort, ...]

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return whether pods with these labels are behind it."""
        return bool(self.selector) and self.selector.items() <= labels.items()


@dataclass(frozen=True, slots=True)
class KubeNode:
    """One node as the API server knows it."""

    name: str
    ready: bool
    schedulable: bool
    address: str
    labels: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def state(self) -> str:
        """Return `ready`, or what is in the way."""
        if not self.ready:
            return "not ready"
        return "ready" if self.schedulable else "cordoned"


def parse_pod(row: Object) -> Pod:
    """Return the pod that one item of the API describes."""
    meta, spec, status = row["metadata"], row.get("spec") or {}, row.get("status") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return Pod(
        name=meta["name"],
        uid=meta.get("uid", ""),
        namespace=meta.get("namespace", ""),
        node=spec.get("nodeName", ""),
        address=status.get("podIP", ""),
        labels=meta.get("labels") or {},
        phase=status.get("phase", ""),
        ready=conditions.get("Ready", {}).get("status") == "True" and not meta.get("deletionTimestamp"),
        deleting=bool(meta.get("deletionTimestamp")),
        started_at=_started_at(status),
        containers=tuple(_container(item) for item in statuses),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        probed=all("readinessProbe" in item for item in spec.get("containers") or []),
        created=meta.get("creationTimestamp") or "",
        revision=_revision(meta.get("labels") or {}),
        startup_budget_s=max((_budget_s(item) for item in spec.get("containers") or []), default=0.0),
        reason=status.get("reason", "") if status.get("phase") == "Failed" else "",
    )


def parse_workload(row: Object, kind: str) -> Workload:
    """Return the workload that one item of the API describes; list items carry no kind."""
    meta, spec, status = row["metadata"], row["spec"], row.get("status") or {}
    containers = spec["template"]["spec"].get("containers") or [{}]
    limits = (containers[0].get("resources") or {}).get("limits") or {}
    desired, ready, updated, settled = _counts(kind, spec, status)
    observed = status.get("observedGeneration", 0) >= meta.get("generation", 0)
    return Workload(
        kind=kind,
        name=meta["name"],
        labels=meta.get("labels") or {},
        selector=(spec.get("selector") or {}).get("matchLabels") or {},
        desired=desired,
        ready=ready,
        updated=updated if observed else 0,
        settled=settled and observed,
        image=containers[0].get("image", ""),
        ports=tuple(
            port["containerPort"] for container in containers for port in container.get("ports") or []
        ),
        cpu_limit=parse_quantity(limits["cpu"]) if "cpu" in limits else None,
        memory_limit_bytes=int(parse_quantity(limits["memory"])) if "memory" in limits else None,
    )


def parse_entry(row: Object) -> Entry:
    """Return the Service object that one item of the API describes."""
    spec = row["spec"]
    address = spec.get("clusterIP")
    return Entry(
        name=row["metadata"]["name"],
        selector=spec.get("selector") or {},
        cluster_ip=None if address in {None, "", "None"} else address,
        local=spec.get("externalTrafficPolicy") == "Local",
        ports=tuple(
            EntryPort(
                name=port.get("name", ""),
                port=port["port"],
                target=port.get("targetPort", port["port"]),
                node_port=port.get("nodePort"),
            )
            for port in spec.get("ports") or []
        ),
    )


def parse_node(row: Object) -> KubeNode:
    """Return the node that one item of the API describes."""
    status = row.get("status") or {}
    conditions = {item["type"]: item["status"] for item in status.get("conditions") or []}
    addresses = {item["type"]: item["address"] for item in status.get("addresses") or []}
    info = status.get("nodeInfo") or {}
    return KubeNode(
        name=row["metadata"]["name"],
        ready=conditions.get("Ready") == "True",
        schedulable=not (row.get("spec") or {}).get("unschedulable"),
        address=addresses.get("InternalIP", ""),
        labels=row["metadata"].get("labels") or {},
        versions={
            "kubelet": info.get("kubeletVersion", ""),
            "runtime": info.get("containerRuntimeVersion", ""),
            "kernel": info.get("kernelVersion", ""),
            "os": info.get("osImage", ""),
        },
    )


def parse_quantity(text: str | float) -> float:
    """Return a Kubernetes quantity (`500m`, `64Mi`, `1e3`) as a number."""
    value = str(text)
    if value.endswith("m"):
        return float(value[:-1]) / 1000
    for suffix, factor in _SIZES.items():
        if value.endswith(suffix):
            return float(value[: -len(suffix)]) * factor
    return float(value)


def _counts(kind: str, spec: Object, status: Object) -> tuple[int, int, int, bool]:
    """Return wanted, ready and current replicas, and whether there are no others."""
    if kind == "DaemonSet":
        desired, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
        return desired, status.get("numberReady", 0), updated, updated == desired
    desired, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    return desired, status.get("readyReplicas", 0), updated, updated == desired == status.get("replicas", 0)


def _revision(labels: Mapping[str, str]) -> str:
    return labels.get("pod-template-hash") or labels.get("controller-revision-hash", "")


def _container(row: Object) -> Container:
    state, last = row.get("state") or {}, row.get("lastState") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    return Container(
        name=row["name"],
        id=row.get("containerID", "").rpartition("://")[2],
        image=row.get("image", ""),
        image_id=row.get("imageID", ""),
        ready=bool(row.get("ready")),
        started=bool(row.get("started")),
        running="running" in state,
        restarts=row.get("restartCount", 0),
        waiting=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        ended=ended.get("reason", ""),
        ended_status=ended.get("exitCode"),
    )


def _started_at(status: Object) -> str:
    for row in status.get("containerStatuses") or []:
        started = ((row.get("state") or {}).get("running") or {}).get("startedAt")
        if started:
            return str(started)
    return str(status.get("startTime") or "")


def _budget_s(container: Object) -> float:
    """Return how many seconds the container's own startup and readiness probes allow."""
    total = 0.0
    for name in ("startupProbe", "readinessProbe"):
        probe = container.get(name)
        if probe:
            tries = probe.get("failureThreshold", 3)
            each = max(probe.get("periodSeconds", 10), probe.get("timeoutSeconds", 1))
            total += probe.get("initialDelaySeconds", 0) + tries * each
    return total
