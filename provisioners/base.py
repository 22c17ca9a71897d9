"""The nouns that every orchestrator speaks: Node, Service, Replica, Target, Provisioner.

Suites see a `Target` and nothing else, so one test text runs on Docker Swarm, on
Kubernetes and on the no-op twin. What only some targets can do (kill, pause, drain,
partition) is a capability apart: ask with `isinstance(target, Kill)`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provisioners.shell import CommandResult, Ssh


class Side(enum.StrEnum):
    """Which of the two compared systems: `swarm` is what runs today."""

    SWARM = "swarm"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, slots=True)
class Node:
    """One host of a target, as the inventory describes it."""

    name: str
    ssh: Ssh
    control_plane: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    index: int = 0

    @property
    def address(self) -> str:
        """The address that other hosts and this machine reach the node by."""
        return self.ssh.address


@dataclass(frozen=True, slots=True)
class Service:
    """One deployed service, as its orchestrator reports it now.

    `ports` are the container ports of the compose file; `image_id` is the config
    digest (`sha256:...`) that runs, so that both sides can be shown to run the same.
    """

    name: str
    tier: str
    desired: int
    ready: int
    ports: tuple[int, ...]
    image: str = ""
    image_id: str = ""
    cpu_limit: float | None = None
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One running copy of a service: a Swarm task's container or a Kubernetes pod.

    `addresses` are all of them where a copy is on several networks; `address` is one of these.
    """

    id: str
    service: str
    node: str
    address: str
    ready: bool
    restarts: int = 0
    started_at: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceFailure:
    """A service that will not get ready, the reason, and its last log lines."""

    service: str
    reason: str
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How a bounded wait for services ended: which are ready, which failed, after how long."""

    ready: tuple[str, ...]
    failed: tuple[ServiceFailure, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What applying a bundle changed; all but `unchanged` empty when nothing did."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a bundle promises for one service, for suites to compare with what runs.

    With `per_node` there is one replica on each node, and `replicas` does not count them.
    """

    name: str
    tier: str
    replicas: int
    ports: tuple[int, ...]
    calls: tuple[str, ...] = ()
    mcp: bool = False
    per_node: bool = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is applied to one side: files by relative path, and the services they promise.

    `files` never hold a secret's value; `secrets` has them by name, is never printed or
    saved, and is turned into Swarm secrets or Secret objects by `Target.apply`.
    """

    side: Side
    namespace: str
    files: Mapping[str, str]
    services: tuple[ServiceSpec, ...]
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class Target(Protocol):
    """One orchestrator with the workloads on it: what every suite may read and apply."""

    @property
    def side(self) -> Side: ...

    @property
    def nodes(self) -> Sequence[Node]: ...

    def version(self) -> Mapping[str, str]:
        """Return component versions (`engine`, `orchestrator`, `runtime`, ...)."""

    def identity(self) -> str:
        """Return what tells this cluster from any other (kube-system UID, Swarm cluster id)."""

    def node_states(self) -> Mapping[str, str]:
        """Return each node's state by name: `ready`, or the orchestrator's own word."""

    def namespaces(self) -> Sequence[str]:
        """Return namespaces (Kubernetes) or stacks (Swarm) that exist."""

    def apply(self, bundle: Bundle) -> ApplyResult:
        """Make the target hold the bundle; applying it twice changes nothing."""

    def wait_ready(self, services: Sequence[str], timeout_s: float, say: Callable[[str], None]) -> Readiness:
        """Wait until the services are ready; a service that cannot get ready ends it early."""

    def remove(self, bundle: Bundle) -> None:
        """Remove what `apply` made and wait, bounded, until it is gone."""

    def services(self) -> Sequence[Service]:
        """Return the deployed services."""

    def replicas(self, service: str) -> Sequence[Replica]:
        """Return the running copies of one service."""

    def url(self, service: str, port: int | None = None) -> str:
        """Return `http://address:port` by which this machine enters the service in equal hops.

        Without `port`, the service's first port. Raises ProvisionError if there is none.
        """

    def dns_name(self, service: str) -> str:
        """Return the name by which another service of the workload reaches this one."""

    def service_address(self, service: str) -> str | None:
        """Return the virtual IP of the service, or None where the side uses none (DNS round robin)."""

    def exec(self, replica: Replica, argv: Sequence[str], timeout_s: float = 30.0) -> CommandResult:
        """Run a command inside a replica; returncode None means that no status came back."""

    def logs(self, service: str, lines: int = 50) -> str:
        """Return the last log lines of all replicas of a service."""

    def snapshot(self, folder: Path) -> None:
        """Save objects and logs into `folder`, before teardown."""


@runtime_checkable
class Kill(Protocol):
    """A target whose replicas can be killed the hard way (SIGKILL of the container)."""

    def kill(self, replica: Replica) -> None: ...


@runtime_checkable
class Discard(Protocol):
    """A target whose replicas can be removed at once, without the grace that they usually get."""

    def discard(self, replica: Replica) -> None: ...


@runtime_checkable
class Mark(Protocol):
    """A target whose nodes can be given a label of ours, and lose it again (None)."""

    def mark(self, node: str, label: str, value: str | None) -> None: ...


@runtime_checkable
class Revive(Protocol):
    """A target that may leave a service down for good, and how to have it start that service again.

    Swarm does where `restart_policy` restarts failures only (a container that ends with status 0 when its
    engine is stopped has not failed), or only `max_attempts` times; nobody is told.
    """

    def ended(self) -> Sequence[str]: ...

    def revive(self, services: Sequence[str]) -> None: ...


@runtime_checkable
class Labels(Protocol):
    """A target that tells its nodes' labels as the orchestrator holds them."""

    def node_labels(self) -> Mapping[str, Mapping[str, str]]: ...


@runtime_checkable
class Pause(Protocol):
    """A target whose nodes can be paused and resumed."""

    def pause(self, node: str) -> None: ...

    def resume(self, node: str) -> None: ...


@runtime_checkable
class Drain(Protocol):
    """A target whose nodes can be drained and put back."""

    def drain(self, node: str) -> None: ...

    def undrain(self, node: str) -> None: ...


@runtime_checkable
class Partition(Protocol):
    """A target whose nodes can be cut off from the others and joined again."""

    def partition(self, node: str) -> None: ...

    def heal(self, node: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the two targets are reached: written by a provisioner, read by every process.

    It is plain data (paths, addresses, names), so xdist workers and the load generator
    open the same targets from the same file (`to_json` / `from_json` in `targets.py`).
    """

    kind: str  # noop | lab | existing
    level: str  # stub | lab-upstream | lab-k3s | existing | hosts
    nodes: tuple[Node, ...] = ()
    kubeconfig: Path | None = None
    kube_context: str | None = None
    namespace: str = "sophia-mcp"
    stack: str = "sophia"
    run_id: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


class Provisioner(Protocol):
    """Stands a cluster up and takes exactly that down again."""

    name: str

    def steps(self) -> Sequence[Step]:
        """Return the flat list of named, repeatable steps that `up` runs."""

    def cluster(self) -> Cluster:
        """Return how to reach what `up` made."""

    def down(self, say: Callable[[str], None]) -> None:
        """Remove exactly what the steps made; raises CleanupIncomplete naming what is left."""


@dataclass(frozen=True, slots=True)
class Step:
    """One repeatable step: running it again when it is done changes nothing.

    `needs` names steps that end before this one starts; independent steps overlap.
    `run` gets a `say` callable for one-line progress notes. `done` is asked first and
    skips the step (shown as cached) when it answers True.
    """

    name: str
    run: Callable[[Callable[[str], None]], None]
    needs: tuple[str, ...] = ()
    done: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step went; offsets are seconds from the start of the whole list."""

    name: str
    started_s: float
    duration_s: float
    cached: bool = False
    error: str = ""
