"""What is read of Docker Swarm objects: SwarmService, SwarmTask and SwarmNode, parsed from their JSON.

Pure: JSON in, frozen data out, so that recorded objects test every rule without a Swarm.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Object = dict[str, Any]

STACK_LABEL = "com.docker.stack.namespace"
FAILED_STATES = frozenset({"failed", "rejected", "orphaned"})


@dataclass(frozen=True, slots=True)
class SwarmPort:
    """One published port: `host` mode answers on the task's node only, `ingress` on every node."""

    target: int
    published: int
    mode: str


@dataclass(frozen=True, slots=True)
class SwarmService:
    """One service of a stack, under the name it has in the compose file."""

    id: str
    name: str
    spec_hash: str
    labels: Mapping[str, str]
    image: str
    replicas: int | None  # None: one on every node
    ports: tuple[SwarmPort, ...]
    networks: tuple[str, ...]
    addresses: Mapping[str, str]  # virtual IP by network id; empty for DNS round robin
    cpu_limit: float | None
    memory_limit_bytes: int | None
    update_state: str  # updating, paused, rollback_started, ...; empty when it never was updated
    update_message: str
    has_health_check: bool

    @property
    def is_updating(self) -> bool:
        """Whether old and new tasks may run side by side."""
        return self.update_state in {"updating", "rollback_started"}


@dataclass(frozen=True, slots=True)
class SwarmTask:
    """One task of a service: a container, wanted or past."""

    id: str
    service_id: str
    slot: str  # the slot's number, or the node's id for a global service
    node_id: str
    state: str
    wanted: bool
    error: str
    at: str
    container_id: str
    addresses: Mapping[str, str]  # by network id, without the prefix length
    host_ports: Mapping[int, int]  # published by container port, where the port was not fixed

    @property
    def running(self) -> bool:
        """Whether it runs and, where it has a health check, is healthy."""
        return self.wanted and self.state == "running"


@dataclass(frozen=True, slots=True)
class SwarmNode:
    """One node as the managers know it."""

    id: str
    name: str
    state: str
    address: str
    manager: bool
    labels: Mapping[str, str]


def parse_service(row: Object, stack: str) -> SwarmService:
    """Return the service that one object of `docker service inspect` describes."""
    spec = row["Spec"]
    template = spec["TaskTemplate"]
    limits = (template.get("Resources") or {}).get("Limits") or {}
    update = row.get("UpdateStatus") or {}
    endpoint = row.get("Endpoint") or {}
    ports = (spec.get("EndpointSpec") or {}).get("Ports") or endpoint.get("Ports") or []
    return SwarmService(
        id=row["ID"],
        name=spec["Name"].removeprefix(f"{stack}_"),
        spec_hash=hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest(),
        labels=spec.get("Labels") or {},
        image=template["ContainerSpec"]["Image"],
        replicas=((spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas"),
        ports=tuple(
            SwarmPort(port["TargetPort"], port.get("PublishedPort", 0), port.get("PublishMode", "ingress"))
            for port in ports
        ),
        networks=tuple(net["Target"] for net in template.get("Networks") or spec.get("Networks") or []),
        addresses={
            item["NetworkID"]: item["Addr"].partition("/")[0]
            for item in endpoint.get("VirtualIPs") or []
            if item.get("Addr")
        },
        cpu_limit=limits["NanoCPUs"] / 1e9 if limits.get("NanoCPUs") else None,
        memory_limit_bytes=limits.get("MemoryBytes") or None,
        update_state=update.get("State", ""),
        update_message=update.get("Message", ""),
        has_health_check=_has_health_check(template["ContainerSpec"]),
    )


def _has_health_check(container: Object) -> bool:
    test = (container.get("Healthcheck") or {}).get("Test") or []
    return bool(test) and test != ["NONE"]


def parse_task(row: Object) -> SwarmTask:
    """Return the task that one object of `docker inspect --type task` describes."""
    status = row.get("Status") or {}
    container = status.get("ContainerStatus") or {}
    ports = (status.get("PortStatus") or {}).get("Ports") or []
    return SwarmTask(
        id=row["ID"],
        service_id=row["ServiceID"],
        slot=str(row.get("Slot") or row.get("NodeID", "")),
        node_id=row.get("NodeID", ""),
        state=status.get("State", ""),
        wanted=row.get("DesiredState") in {"running", "ready", "starting"},
        error=status.get("Err", ""),
        at=status.get("Timestamp", ""),
        container_id=container.get("ContainerID", ""),
        addresses={
            item["Network"]["ID"]: item["Addresses"][0].partition("/")[0]
            for item in row.get("NetworksAttachments") or []
            if item.get("Addresses")
        },
        host_ports={port["TargetPort"]: port["PublishedPort"] for port in ports if port.get("PublishedPort")},
    )


def parse_node(row: Object) -> SwarmNode:
    """Return the node that one object of `docker node inspect` describes."""
    status, spec = row.get("Status") or {}, row.get("Spec") or {}
    state = status.get("State", "unknown")
    availability = spec.get("Availability", "active")
    manager = row.get("ManagerStatus") or {}
    address = manager.get("Addr", "").rpartition(":")[0] or status.get("Addr", "")
    return SwarmNode(
        id=row["ID"],
        name=(row.get("Description") or {}).get("Hostname", ""),
        state=availability if state == "ready" and availability != "active" else state,
        address=address,
        manager=bool(manager),
        labels=spec.get("Labels") or {},
    )


def unhealthy_words(row: Object) -> str:
    """Return what the health check of a container said last, when it was found unhealthy."""
    health = (row.get("State") or {}).get("Health") or {}
    if health.get("Status") != "unhealthy":
        return ""
    failed = [entry for entry in health.get("Log") or [] if entry.get("ExitCode")] or [{}]
    told = [entry for entry in failed if str(entry.get("Output", "")).strip()]
    last = (told or failed[:1])[-1]  # the very last one may have been cut off by the container's end
    return f"exit status {last.get('ExitCode')}: {str(last.get('Output', '')).strip()[-300:] or 'no output'}"


def shared_network(service: SwarmService, all_services: Sequence[SwarmService]) -> str:
    """Return the id of the network that the service shares with the most others."""
    return max(
        sorted(service.networks),
        key=lambda net: sum(net in other.networks for other in all_services),
        default="",
    )


def ended_slots(service: SwarmService, tasks: Sequence[SwarmTask]) -> tuple[str, ...]:
    """Return the service's slots in which a task has ended, well or badly, and none is wanted any more."""
    own = [task for task in tasks if task.service_id == service.id]
    wanted = {task.slot for task in own if task.wanted}
    ended = {task.slot for task in own if task.state == "complete" or task.state in FAILED_STATES}
    return tuple(sorted(ended - wanted))


def restarts(task: SwarmTask, tasks: Sequence[SwarmTask]) -> int:
    """Return how often the task's slot was filled before; the Swarm remembers four at most."""
    return sum(
        other.service_id == task.service_id and other.slot == task.slot and other.id != task.id
        for other in tasks
    )
