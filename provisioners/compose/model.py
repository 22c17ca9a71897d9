"""The typed model of a compose project: what each service asks for, and where it says so."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Generic, TypeVar

from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioners.compose.interpolate import Unset
    from provisioners.compose.merge import Overridden
    from provisioners.compose.nodes import Node, Table
    from provisioners.compose.reader import Duplicate

T = TypeVar("T")

ALL_GPUS = -1  # `count: all`, as Docker itself counts it


@dataclass(frozen=True, slots=True)
class Given(Generic[T]):
    """A value, and the node of the file that gives it."""

    value: T
    at: Node


@dataclass(frozen=True, slots=True)
class EnvVar:
    """One environment variable; `value` is None when it comes from the caller's environment."""

    name: str
    value: str | None
    at: Node


@dataclass(frozen=True, slots=True)
class Port:
    """One container port; `published` is None when no host port is asked for."""

    target: int
    published: int | None
    protocol: str
    mode: str
    at: Node
    name: str = ""
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount: kind is volume, bind, tmpfs, anonymous, or another word of compose."""

    kind: str
    source: str
    target: str
    read_only: bool
    at: Node
    size_bytes: int | None = None
    subpath: str = ""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A secret or config as a file in the container."""

    source: str
    target: str
    at: Node
    mode: int | None = None
    uid: str = ""
    gid: str = ""


@dataclass(frozen=True, slots=True)
class NetworkRef:
    """A network that a service joins, with its other names there."""

    name: str
    aliases: tuple[str, ...]
    at: Node


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A health check; `test` is the argv, `shell` the text of a CMD-SHELL."""

    at: Table
    disabled: Given[bool] | None = None
    test: Given[tuple[str, ...]] | None = None
    shell: bool = False
    interval_s: Given[float] | None = None
    timeout_s: Given[float] | None = None
    retries: Given[int] | None = None
    start_period_s: Given[float] | None = None
    start_interval_s: Given[float] | None = None

    @property
    def active(self) -> bool:
        """Whether there is a test to run."""
        return self.test is not None and bool(self.test.value) and not (self.disabled and self.disabled.value)


@dataclass(frozen=True, slots=True)
class Amounts:
    """CPUs, memory and processes: of limits or of reservations; `gpus` may be ALL_GPUS."""

    cpus: Given[float] | None = None
    memory_bytes: Given[int] | None = None
    pids: Given[int] | None = None
    gpus: Given[int] | None = None
    gpu_nodes: tuple[Node, ...] = ()
    other_devices: tuple[Node, ...] = ()

    @property
    def gpu_count(self) -> int:
        """How many GPUs are asked for: one in place of all, which neither orchestrator can say."""
        if self.gpus is None:
            return 0
        return 1 if self.gpus.value == ALL_GPUS else self.gpus.value


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a task is started again, how soon and how often."""

    condition: Given[str] | None = None
    delay_s: Given[float] | None = None
    max_attempts: Given[int] | None = None
    window_s: Given[float] | None = None


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """How an update or a rollback proceeds."""

    parallelism: Given[int] | None = None
    delay_s: Given[float] | None = None
    failure_action: Given[str] | None = None
    monitor_s: Given[float] | None = None
    max_failure_ratio: Given[float] | None = None
    order: Given[str] | None = None


@dataclass(frozen=True, slots=True)
class Deploy:
    """The `deploy` table, as Swarm reads it."""

    mode: Given[str] | None = None
    replicas: Given[int] | None = None
    endpoint_mode: Given[str] | None = None
    labels: tuple[EnvVar, ...] = ()
    limits: Amounts = Amounts()
    reservations: Amounts = Amounts()
    restart: RestartPolicy = RestartPolicy()
    update: ChangePolicy = ChangePolicy()
    rollback: ChangePolicy = ChangePolicy()
    constraints: tuple[Given[str], ...] = ()
    preferences: tuple[Given[str], ...] = ()
    max_replicas_per_node: Given[int] | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `others` are keys that have no field here; each renderer disposes of them."""

    name: str
    at: Table
    image: Given[str] | None = None
    command: Given[tuple[str, ...]] | None = None
    entrypoint: Given[tuple[str, ...]] | None = None
    environment: tuple[EnvVar, ...] = ()
    env_files: tuple[Given[Path], ...] = ()
    file_environment: tuple[EnvVar, ...] = ()
    ports: tuple[Port, ...] = ()
    expose: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[FileRef, ...] = ()
    configs: tuple[FileRef, ...] = ()
    networks: tuple[NetworkRef, ...] = ()
    healthcheck: HealthCheck | None = None
    deploy: Deploy = Deploy()
    depends_on: tuple[Given[str], ...] = ()
    labels: tuple[EnvVar, ...] = ()
    user: Given[str] | None = None
    working_dir: Given[str] | None = None
    hostname: Given[str] | None = None
    stop_grace_s: Given[float] | None = None
    others: Mapping[str, Node] = field(default_factory=dict)

    @property
    def is_global(self) -> bool:
        """Whether one copy runs on every node."""
        return self.deploy.mode is not None and self.deploy.mode.value.startswith("global")

    @property
    def is_job(self) -> bool:
        """Whether it runs to its end and is not started again."""
        mode = self.deploy.mode.value if self.deploy.mode else ""
        condition = self.deploy.restart.condition
        return mode.endswith("-job") or (condition is not None and condition.value == "none")

    @property
    def container_ports(self) -> tuple[int, ...]:
        """The ports that it serves, published or exposed, each once, in the file's order."""
        return tuple(dict.fromkeys(port.target for port in (*self.ports, *self.expose)))


@dataclass(frozen=True, slots=True)
class Resource:
    """A top-level network, volume, secret or config."""

    name: str
    at: Node
    external: bool = False
    external_name: str = ""
    file: Path | None = None
    content: str | None = None
    variable: str = ""
    driver: str = ""
    body: Table | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One input file: its name in messages, and its root as it was read, before merging."""

    name: str
    root: Table


@dataclass(frozen=True, slots=True)
class Project:
    """All compose files as one: typed, merged, interpolated; every leaf knows its file and line."""

    name: str
    root: Table
    services: Mapping[str, Service]
    networks: Mapping[str, Resource]
    volumes: Mapping[str, Resource]
    secrets: Mapping[str, Resource]
    configs: Mapping[str, Resource]
    sources: tuple[Source, ...]
    folder: Path
    variables: Mapping[str, str] = field(repr=False)
    duplicates: tuple[Duplicate, ...] = ()
    overridden: tuple[Overridden, ...] = ()
    unset: tuple[Unset, ...] = ()
    mended: tuple[Given[str], ...] = ()
    inactive: tuple[Given[str], ...] = ()
    taken: tuple[Given[str], ...] = ()
    unused: tuple[Given[str], ...] = ()
