"""Fits a project to a target: images, replicas, limits, nodes and entry, the same on both sides.

What is fitted is shown in the report. Only `patches` change one side alone (Kubernetes), to
break something on purpose or to adapt it, and they are shown too.
"""

from __future__ import annotations

from dataclasses import field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from provisioners.compose import units
from provisioners.compose.records import dataclass
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.compose.model import Project, Service
    from provisioners.tiers import Tiers

START_PERIOD_S = 180.0
START_INTERVAL_S = 3.0
# The addresses of pods and Services that K3s takes unless it is told otherwise; those of IPv6 are private.
CLUSTER_RANGES = ("10.42.0.0/16", "10.43.0.0/16", "fc00::/7")

Entry = Literal["node", "ingress"]


@dataclass(frozen=True, slots=True)
class Substitute:
    """A third-party service's image here, with its command and more environment where needed."""

    image: str
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceFit:
    """What one service gets instead of the defaults of the fit."""

    replicas: int | None = None
    cpus: float | None = None
    memory: str | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """One change to a manifest of the Kubernetes side: `path` is `spec.ports[0].port`."""

    kind: str
    name: str
    path: str
    value: object


@dataclass(frozen=True, slots=True)
class Fit:
    """How a project is fitted. `images` maps globs on the image name; `{service}` is filled in.

    `pin_nodes` are dealt out to services round robin; `pin` names a node for a service itself.
    `health_interval_s` spaces the checks of services that are healthy, on both sides: Docker runs
    each in a process of its own, and twenty at once are seconds of a small machine. Until a
    service is first healthy it is asked every `START_INTERVAL_S`, for at least `START_PERIOD_S`.

    What only Kubernetes has: `policies` makes network policies (None: as the tiers file says, else
    none, because a comparison with Swarm wants no rules on one side only); `probe_access` lets pods
    with the label `gonogo.dev/probe` through them; `ingress_domain` gives published HTTP services
    hosts below it; `wait_image`, which has `sh` and `nc`, is what waits for `service_healthy`.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    substitutes: Mapping[str, Substitute] = field(default_factory=dict)
    replicas: int | None = None
    cpus: float | None = None
    memory: str | None = None
    services: Mapping[str, ServiceFit] = field(default_factory=dict)
    pin: Mapping[str, str] = field(default_factory=dict)
    pin_nodes: tuple[str, ...] = ()
    entry: Entry = "ingress"
    patches: tuple[Patch, ...] = ()
    eviction_toleration_s: int | None = 30
    volume_size: str = "1Gi"
    stack: str = "sophia"
    health_interval_s: float | None = None
    policies: bool | None = None
    probe_access: bool = False
    cluster_ranges: tuple[str, ...] = CLUSTER_RANGES
    monitoring: tuple[str, ...] = ("monitoring",)
    ingress_domain: str = ""
    ingress_class: str = ""
    wait_image: str = ""

    def has_policies(self, tiers: Tiers) -> bool:
        """Return whether network policies are made for these tiers."""
        return bool(tiers.policies) if self.policies is None else self.policies

    def fixes_replicas(self, service: str) -> bool:
        """Return whether it says how many copies of a service run, on both sides."""
        own = self.services.get(service)
        return self.replicas is not None or (own is not None and own.replicas is not None)


@dataclass(frozen=True, slots=True)
class Shape:
    """One service as it is deployed on either side."""

    image: str
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    replicas: int
    cpus: float | None
    memory_bytes: int | None
    cpus_reserved: float | None
    memory_reserved_bytes: int | None
    node: str | None
    spread: bool


def shapes(project: Project, tiers: Tiers, fit: Fit) -> dict[str, Shape]:
    """Return every service's shape.

    Raises:
        InputError: the fit names a service that the project does not have.
    """
    _check_names(project, fit)
    nodes = _nodes(project, tiers, fit)
    shaped = {name: _shape(service, fit, nodes.get(name)) for name, service in project.services.items()}
    crowded = [name for name, shape in shaped.items() if shape.spread and shape.node]
    if crowded:
        raise InputError(
            f"{', '.join(crowded)}: several copies are pinned to one node",
            why="each copy takes the published port of its node",
            next_step="pin one copy, or take the pin out",
        )
    return shaped


def image_of(service: Service, fit: Fit) -> str:
    """Return the image that runs: a substitute, the first glob that matches, or the file's own."""
    substitute = fit.substitutes.get(service.name)
    if substitute is not None:
        return substitute.image
    name = service.image.value if service.image else ""
    for pattern, image in fit.images.items():
        if fnmatchcase(name, pattern):
            return image.replace("{service}", service.name)
    return name


def _shape(service: Service, fit: Fit, node: str | None) -> Shape:
    own = fit.services.get(service.name, ServiceFit())
    limits, kept = service.deploy.limits, service.deploy.reservations
    cpus = _first(own.cpus, fit.cpus, limits.cpus.value if limits.cpus else None)
    memory = own.memory or fit.memory
    size = units.parse_bytes(memory) if memory else limits.memory_bytes.value if limits.memory_bytes else None
    replicas = _replicas(service, fit, own)
    substitute = fit.substitutes.get(service.name)
    many = replicas > 1 and not service.is_global
    published = any(port.published for port in service.ports)
    return Shape(
        image=image_of(service, fit),
        command=substitute.command if substitute else None,
        environment=dict(substitute.environment) if substitute else {},
        replicas=replicas,
        cpus=cpus,
        memory_bytes=size,
        cpus_reserved=_at_most(kept.cpus.value if kept.cpus else None, cpus),
        memory_reserved_bytes=_at_most(kept.memory_bytes.value if kept.memory_bytes else None, size),
        node=None if service.is_global or (many and service.name not in fit.pin) else node,
        # two copies cannot hold the same port of one node
        spread=many and fit.entry == "node" and published,
    )


def _replicas(service: Service, fit: Fit, own: ServiceFit) -> int:
    if service.is_global:
        return 1
    replicas = service.deploy.replicas
    return _first(own.replicas, fit.replicas, replicas.value if replicas else None, 1) or 0


def _nodes(project: Project, tiers: Tiers, fit: Fit) -> dict[str, str]:
    """Return the node of each service: named, or dealt out in the order of the tiers' table."""
    dealt: dict[str, str] = {}
    if fit.pin_nodes:
        known = [name for name in tiers.order if name in project.services]
        names = [*known, *(name for name in project.services if name not in known)]
        names = [name for name in names if not project.services[name].is_global]
        dealt = {name: fit.pin_nodes[index % len(fit.pin_nodes)] for index, name in enumerate(names)}
    return {**dealt, **fit.pin}


def _check_names(project: Project, fit: Fit) -> None:
    for section, names in (
        ("substitutes", fit.substitutes),
        ("scale.services", fit.services),
        ("pin", fit.pin),
    ):
        strange = [name for name in names if name not in project.services]
        if strange:
            raise InputError(
                f"{section} names {', '.join(strange)}, which the compose files do not have",
                next_step="correct the name, or take it out",
            )


def _first(*values: float | None) -> Any:
    return next((value for value in values if value is not None), None)


def _at_most(value: Any, limit: Any) -> Any:
    return value if value is None or limit is None else min(value, limit)


def listed(patches: Sequence[Patch]) -> str:
    """Return patches as one line each, for messages."""
    return "; ".join(f"{patch.kind}/{patch.name} {patch.path}" for patch in patches)
