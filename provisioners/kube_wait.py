"""Wait for Kubernetes workloads by watching them, and end early when one cannot get ready.

`pod_failure` holds the rules and is pure; `wait_for_workloads` feeds it from watches of the
namespace, so nothing is polled and a failure is seen in the second in which it happens.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.base import ServiceFailure
from provisioners.errors import ProvisionError
from provisioners.kube import Listing
from provisioners.kube_objects import WORKLOAD_KINDS, parse_pod, parse_workload
from provisioners.kube_watch import follow
from provisioners.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Readiness
    from provisioners.kube import Kube, Object
    from provisioners.kube_objects import Container, Pod, Workload

HOPELESS = frozenset({"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"})
PATIENT = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
KILLED = frozenset({137, 143})
CRASHES = 2  # restarts in a row that make a crash loop; one may be an accident of the node
PATIENCE_S = 15.0
UNSCHEDULABLE_S = 30.0
READY_SLACK_S = 60.0  # readiness follows backends that start at the same time
_LOG_LINES = 20


@dataclass(slots=True)
class Held:
    """How long each pod's troubles have lasted, and how often it restarted before the wait."""

    now: Callable[[], float] = time.monotonic
    since: dict[tuple[str, str], float] = field(default_factory=dict)
    restarts: dict[tuple[str, str], int] = field(default_factory=dict)

    def seconds(self, pod: Pod, what: str, *, holds: bool) -> float:
        """Return for how long `what` has held of the pod; 0 when it does not."""
        if not holds:
            self.since.pop((pod.uid, what), None)
            return 0.0
        now = self.now()
        return now - self.since.setdefault((pod.uid, what), now)

    def new_restarts(self, pod: Pod, container: Container) -> int:
        """Return how often the container restarted since it was first seen."""
        return container.restarts - self.restarts.setdefault((pod.uid, container.name), container.restarts)


def pod_failure(pod: Pod, held: Held) -> str:
    """Return why the pod will not get ready by itself; empty while it still may."""
    unschedulable_s = held.seconds(pod, "unschedulable", holds=bool(pod.unschedulable) and not pod.node)
    if pod.deleting or pod.ready:
        return ""
    if pod.reason:
        return f"pod failed: {pod.reason}"
    if unschedulable_s > UNSCHEDULABLE_S:
        return f"not scheduled for {unschedulable_s:.0f} s: {pod.unschedulable}"
    for container in pod.containers:
        reason = _container_failure(pod, container, held)
        if reason:
            return reason
    running = bool(pod.containers) and all(item.running for item in pod.containers)
    budget_s = pod.startup_budget_s + READY_SLACK_S
    unready_s = held.seconds(pod, "unready", holds=running)
    if unready_s > budget_s:
        return f"runs, but not ready after {unready_s:.0f} s; its probes and {READY_SLACK_S:.0f} s are over"
    return ""


def pod_waits_for(pod: Pod) -> str:
    """Return in a few words what the pod waits for."""
    if not pod.node:
        return "a node"
    for container in pod.containers:
        if container.waiting:
            return container.waiting
        if not container.ready:
            return "its readiness probe" if container.running else "its container"
    return "its container" if not pod.containers else "the controller"


def _container_failure(pod: Pod, container: Container, held: Held) -> str:
    new = held.new_restarts(pod, container)
    stuck = container.waiting in PATIENT  # it alternates with CrashLoopBackOff: only running ends it
    stuck_s = held.seconds(pod, f"{container.name} stuck", holds=stuck) if stuck or container.running else 0.0
    said = f": {container.waiting_message}" if container.waiting_message else ""
    if container.waiting in HOPELESS or stuck_s > PATIENCE_S:
        return f"{container.waiting}{said}"
    looping = container.waiting == "CrashLoopBackOff" and container.restarts >= CRASHES
    if looping and (new >= CRASHES or container.ended_status not in KILLED):
        ended = f"{container.ended or 'Error'}, exit status {container.ended_status}"
        return f"CrashLoopBackOff: {container.restarts} restarts, last end: {ended}"
    return ""


def wait_for_workloads(
    kube: Kube, namespace: str, services: Sequence[str], timeout_s: float, say: Callable[[str], None]
) -> Readiness:
    """Wait until the named workloads are ready or failed, at most `timeout_s` seconds."""
    return _Wait(kube, namespace, Tally(tuple(services), say), timeout_s).run()


class _Wait:
    """One wait: the objects as last seen, kept up to date by one watching thread a kind."""

    def __init__(self, kube: Kube, namespace: str, tally: Tally, timeout_s: float) -> None:
        self.kube = kube
        self.namespace = namespace
        self.tally = tally
        self.services = tally.services
        self.deadline = time.monotonic() + timeout_s
        self.held = Held()
        self.calm: frozenset[str] | None = None  # ready when the wait began, without a restart
        self.paths = {"Pod": f"/api/v1/namespaces/{namespace}/pods"} | {
            kind: kube.resource(version, kind).path(namespace) for version, kind in WORKLOAD_KINDS
        }
        self.objects: dict[str, dict[str, Object]] = {}
        self.changes: queue.SimpleQueue[_Change] = queue.SimpleQueue()
        self.ended = threading.Event()
        self.failed: dict[str, tuple[str, Pod | None]] = {}
        self.asked: set[tuple[str, int]] = set()

    def run(self) -> Readiness:
        for kind, path in self.paths.items():
            listing = self.kube.list_all(path)
            self.objects[kind] = _by_name(listing.items)
            threading.Thread(
                target=self._follow, args=(kind, path, listing.resource_version), daemon=True
            ).start()
        try:
            waiting = self._evaluate()
            while waiting and time.monotonic() < self.deadline:
                self._take_changes(min(1.0, max(0.0, self.deadline - time.monotonic())))
                waiting = self._evaluate()
        finally:
            self.ended.set()
        return self._readiness(waiting)

    def _follow(self, kind: str, path: str, version: str) -> None:
        left_s = self.deadline - time.monotonic()
        try:
            for change in follow(self.kube, path, version, self.ended, bound_s=left_s):
                if isinstance(change, Listing):
                    self.changes.put(_Change(kind, "LISTED", {}, _by_name(change.items)))
                else:
                    self.changes.put(_Change(kind, change.type, change.object))
        except ProvisionError as error:
            self.changes.put(_Change(kind, "BROKEN", {}, error=error))

    def _take_changes(self, timeout_s: float) -> None:
        try:
            change = self.changes.get(timeout=timeout_s)
            while True:
                self._take(change)
                change = self.changes.get_nowait()
        except queue.Empty:
            return

    def _take(self, change: _Change) -> None:
        if change.error:
            raise change.error
        if change.type == "LISTED":
            self.objects[change.kind] = change.listed
        elif change.type == "DELETED":
            self.objects[change.kind].pop(change.object["metadata"]["name"], None)
        else:
            self.objects[change.kind][change.object["metadata"]["name"]] = change.object

    def _evaluate(self) -> dict[str, str]:
        """Return what each service that is neither ready nor failed waits for."""
        pods = [parse_pod(row) for row in self.objects["Pod"].values()]
        found = {
            name: parse_workload(row, kind)
            for _, kind in WORKLOAD_KINDS
            for name, row in self.objects[kind].items()
            if name in self.services
        }
        if self.calm is None:
            self.calm = frozenset(name for name, workload in found.items() if _is_calm(workload, pods))
        waiting: dict[str, str] = {}
        for service in self.services:
            workload = found.get(service)
            if workload and self._is_ready(workload, pods):
                self.failed.pop(service, None)
            elif service not in self.failed:
                what = self._look_at(service, workload, pods)
                if what:
                    waiting[service] = what
        self.tally.tell(waiting, self.failed)
        return waiting

    def _is_ready(self, workload: Workload, pods: Sequence[Pod]) -> bool:
        proven = workload.name in (self.calm or ()) or all(pod.probed for pod in workload.current(pods))
        return self.tally.settled(workload.name, ready=workload.is_ready, proven=proven)

    def _look_at(self, service: str, workload: Workload | None, pods: Sequence[Pod]) -> str:
        """Return what the service waits for; empty when it was found to have failed."""
        if workload is None:
            kinds = ", ".join(kind for _, kind in WORKLOAD_KINDS)
            self.failed[service] = (f"none of {kinds} has this name in {self.namespace}", None)
            return ""
        if workload.desired == 0 and workload.kind != "DaemonSet":
            self.failed[service] = (f"{workload.kind} is scaled to 0", None)
            return ""
        own = workload.current(pods)  # an old pod may crash on: what counts is what replaces it
        for pod in own:
            reason = pod_failure(pod, self.held) or self._killed_by_probe(pod)
            if reason:
                self.failed[service] = (reason, pod)
                return ""
        unready = [pod for pod in own if not pod.ready]
        if workload.is_ready:
            return "a few seconds without a crash"
        return pod_waits_for(unready[0]) if unready else "the controller"

    def _killed_by_probe(self, pod: Pod) -> str:
        """Return the event that says that a probe ended the container: its own budget is over."""
        for container in pod.containers:
            key = (pod.uid + container.name, container.restarts)
            new = self.held.new_restarts(pod, container)
            if new < 1 or key in self.asked:
                continue
            self.asked.add(key)
            for message in self._events(pod):
                if "failed startup probe" in message or "failed liveness probe" in message:
                    return f"never got ready within its own probes: {message}"
        return ""

    def _events(self, pod: Pod) -> list[str]:
        path = f"/api/v1/namespaces/{self.namespace}/events"
        rows = self.kube.list_all(path, fields=f"involvedObject.uid={pod.uid}").items
        rows = tuple(
            sorted(rows, key=lambda row: str(row.get("lastTimestamp") or row.get("eventTime") or ""))
        )
        return [str(row.get("message", "")) for row in rows]

    def _readiness(self, waiting: Mapping[str, str]) -> Readiness:
        duration_s = self.tally.seconds
        late = {name: (why, None) for name, why in self.tally.late(waiting).items()}
        failures = tuple(self._failure(name, *why) for name, why in {**self.failed, **late}.items())
        return self.tally.readiness(failures, duration_s)

    def _failure(self, service: str, reason: str, pod: Pod | None) -> ServiceFailure:
        pod = pod or self._some_pod(service)
        if pod is None:
            return ServiceFailure(service, reason)
        events = [message for message in self._events(pod) if message and message not in reason]
        last = f"; last event: {events[-1]}" if events else ""
        return ServiceFailure(service, f"{reason}{last}", self._log_tail(pod))

    def _some_pod(self, service: str) -> Pod | None:
        for _, kind in WORKLOAD_KINDS:
            row = self.objects[kind].get(service)
            if row:
                workload = parse_workload(row, kind)
                pods = [parse_pod(item) for item in self.objects["Pod"].values()]
                return next((pod for pod in pods if workload.owns(pod) and not pod.ready), None)
        return None

    def _log_tail(self, pod: Pod) -> str:
        texts = [self._container_log(pod, container) for container in pod.containers]
        return "\n".join(text for text in texts if text)

    def _container_log(self, pod: Pod, container: Container) -> str:
        """Return the last lines of the container, of the one before it where it has none yet."""
        for previous in (False, True):
            if container.restarts or not previous:
                text = self.kube.log(
                    self.namespace, pod.name, lines=_LOG_LINES, container=container.name, previous=previous
                )
                if text.strip():
                    return text
        return ""


def _is_calm(workload: Workload, pods: Sequence[Pod]) -> bool:
    return workload.is_ready and not any(pod.restarts for pod in workload.current(pods))


@dataclass(frozen=True, slots=True)
class _Change:
    kind: str
    type: str
    object: Object
    listed: dict[str, Object] = field(default_factory=dict)
    error: ProvisionError | None = None


def _by_name(rows: Sequence[Object]) -> dict[str, Object]:
    return {row["metadata"]["name"]: row for row in rows}
