"""A project as manifests of Kubernetes in folders by tier, with a loss for every leaf of the input."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.base import Bundle, ServiceSpec, Side
from provisioners.compose.emit import to_yaml
from provisioners.compose.fit import Fit, Patch, shapes
from provisioners.compose.losses import Ledger, Loss
from provisioners.compose.naming import legal, legal_names, port_name
from provisioners.compose.nodes import Leaf, Table, leaves
from provisioners.compose.storage import Storage, claim_spec
from provisioners.compose.workload import NAME_LABEL, Context, labels_of, workload_of
from provisioners.errors import InputError

if TYPE_CHECKING:
    from provisioners.compose.fit import Shape
    from provisioners.compose.model import Port, Project, Resource, Service
    from provisioners.tiers import Tiers

Object = dict[str, object]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted project, refused leaves and all."""

    bundle: Bundle
    losses: tuple[Loss, ...]


def kubernetes_bundle(project: Project, tiers: Tiers, fit: Fit) -> tuple[Bundle, tuple[Loss, ...]]:
    """Return the Kubernetes side of a project, and what became of every leaf of its files."""
    conversion = _Conversion(project, tiers, fit).run()
    return conversion.bundle, conversion.losses


def service_specs(project: Project, tiers: Tiers, shaped: dict[str, Shape]) -> tuple[ServiceSpec, ...]:
    """Return what both bundles promise, the servers first, under the names of Kubernetes."""
    names = legal_names(project.services, "services")
    known = [name for name in tiers.order if name in project.services]
    ordered = [*known, *(name for name in project.services if name not in known)]
    return tuple(
        ServiceSpec(
            name=names[name],
            tier=tiers.tier_of(name),
            replicas=shaped[name].replicas,
            ports=project.services[name].container_ports,
            calls=server.calls if (server := tiers.server(name)) else (),
            mcp=tiers.server(name) is not None,
        )
        for name in ordered
    )


@dataclass(frozen=True, slots=True)
class _Conversion:
    project: Project
    tiers: Tiers
    fit: Fit
    ledger: Ledger = field(default_factory=Ledger)

    def run(self) -> Conversion:
        project = self.project
        namespace = self.tiers.namespace
        names = legal_names(project.services, "services")
        legal_names(project.volumes, "volumes")
        shaped = shapes(project, self.tiers, self.fit)
        shared = self._shared_volumes()
        context = Context(
            namespace=namespace,
            project=legal(project.name),
            fit=self.fit,
            ledger=self.ledger,
            storage=Storage(project, self.ledger, namespace, self.fit.volume_size, shared),
            renamed={old: new for old, new in names.items() if old != new},
        )
        documents: dict[str, list[Object]] = {"00-namespace.yaml": [_namespace(namespace)]}
        secrets: dict[str, bytes] = {}
        for volume in sorted(shared):
            documents[f"volumes/{legal(volume)}.yaml"] = [self._claim(volume, namespace)]
        for key, service in project.services.items():
            tier, name = self.tiers.tier_of(key), names[key]
            workload = workload_of(service, name, tier, shaped[key], context)
            entries = self._entries(service, name, tier, workload.http_port, context)
            documents[f"{tier}/{name}.yaml"] = [*workload.objects, workload.controller, *entries]
            secrets.update(workload.secrets)
            self._note_service(service, key, name)
        self._patch(documents)
        self._note_top_level()
        losses = self.ledger.close(project)
        bundle = Bundle(
            side=Side.KUBERNETES,
            namespace=namespace,
            files={name: to_yaml(*objects) for name, objects in sorted(documents.items())},
            services=service_specs(project, self.tiers, shaped),
            secrets=secrets,
        )
        return Conversion(bundle, losses)

    # -- volumes ---------------------------------------------------------------------------

    def _shared_volumes(self) -> frozenset[str]:
        """Volumes of several services, or of a job, which need a claim of their own."""
        users: Counter[str] = Counter()
        for service in self.project.services.values():
            names = {mount.source for mount in service.mounts if mount.kind == "volume"}
            if not service.is_global:
                users.update(dict.fromkeys(names, 2 if service.is_job else 1))
        return frozenset(
            name for name, count in users.items() if count > 1 and not self.project.volumes[name].external
        )

    def _claim(self, volume: str, namespace: str) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": legal(volume), "namespace": namespace},
            "spec": claim_spec(self.fit.volume_size),
        }

    # -- Service objects -------------------------------------------------------------------

    def _entries(
        self, service: Service, name: str, tier: str, http: int | None, context: Context
    ) -> list[Object]:
        labels = labels_of(name, tier, context.project)
        inner = _service_ports((*service.ports, *service.expose), http)
        outer = _service_ports(service.ports, http)
        self._note_ports(service, name)
        found: list[Object] = []
        if not outer or len(outer) == len(inner):
            found.append(self._entry(name, name, labels, outer or inner, context, entry=bool(outer)))
        else:
            found.append(self._entry(name, name, labels, inner, context, entry=False))
            found.append(self._entry(f"{name}-entry", name, labels, outer, context, entry=True))
        aliases = {legal(alias) for ref in service.networks for alias in ref.aliases} - {name}
        found += [self._entry(alias, name, labels, inner, context, entry=False) for alias in sorted(aliases)]
        return found

    def _entry(
        self, name: str, target: str, labels: Object, ports: list[Object], context: Context, *, entry: bool
    ) -> Object:
        spec: Object = {"selector": {NAME_LABEL: target}}
        if entry:
            policy = "Local" if self.fit.entry == "node" else "Cluster"
            spec = {"type": "NodePort", "externalTrafficPolicy": policy, **spec, "ports": ports}
        elif ports:
            spec = {"type": "ClusterIP", **spec, "ports": ports}
        else:
            spec = {"clusterIP": "None", **spec}  # no port is named, so any is reached by the pods' addresses
        metadata: Object = {"name": name, "namespace": context.namespace, "labels": labels}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    def _note_ports(self, service: Service, name: str) -> None:
        for port in service.ports:
            self.ledger.approximated(port.at, _entry_words(port), f"Service/{name} port {port.target}")
        for port in service.expose:
            self.ledger.converted(port.at, f"Service/{name} port {port.target}")

    # -- what has no object of its own -----------------------------------------------------

    def _note_service(self, service: Service, key: str, name: str) -> None:
        ledger = self.ledger
        if key != name:
            ledger.remark(service.at, f"renamed to {name}; values that name it as a host follow", name)
        for ref in service.networks:
            detail = "pods share one flat network, so services reach each other by name without joining one"
            ledger.approximated(ref.at, detail + ("; aliases are Services" if ref.aliases else ""))
        for other in service.depends_on:
            ledger.dropped(
                other.at, "Swarm ignores it too; readiness keeps traffic away until a server can work"
            )
        for section in (
            "environment",
            "ports",
            "expose",
            "volumes",
            "secrets",
            "configs",
            "networks",
            "labels",
            "deploy",
        ):
            self._note_empty(service, section)

    def _note_empty(self, service: Service, section: str) -> None:
        node = service.at.get(section)
        if node is None:
            return
        for leaf in leaves(node):
            if not (isinstance(leaf, Leaf) and leaf.text) and not self.ledger.covers(leaf):
                self.ledger.dropped(leaf, "it is empty")

    def _note_top_level(self) -> None:
        project, ledger = self.project, self.ledger
        for given in project.mended:
            ledger.approximated(given.at, given.value)
        for network in project.networks.values():
            ledger.dropped(
                network.at, "one flat pod network with its own addresses takes the place of overlay networks"
            )
        for volume in project.volumes.values():
            self._note_volume(volume)
        for resource in (*project.secrets.values(), *project.configs.values()):
            self._note_content(resource)
        root = project.root
        for key, node in root.entries.items():
            if key.startswith("x-"):
                ledger.dropped(
                    node, "an extension: what aliases take from it is accounted for where it lands"
                )
            elif key == "version":
                ledger.dropped(node, "the version of the file format; nothing else depends on it")
            elif key == "name":
                ledger.converted(node, "label app.kubernetes.io/part-of")
            elif key == "models":
                ledger.refused(node, "deploy the model server as a service")
        for section in ("services", "networks", "volumes", "secrets", "configs"):
            self._note_section(section)

    def _note_section(self, section: str) -> None:
        node = self.project.root.get(section)
        if not isinstance(node, Table):
            if node is not None:
                self.ledger.dropped(node, "it is empty")
            return
        if not node.entries:
            self.ledger.dropped(node, "it is empty")
        for key, value in node.entries.items():
            if key.startswith("x-"):
                self.ledger.dropped(value, "an extension: nothing reads it")

    def _note_volume(self, volume: Resource) -> None:
        if volume.external:
            self.ledger.approximated(volume.at, "a claim of that name has to exist", "PersistentVolumeClaim")
        elif volume.driver not in {"", "local"}:
            self.ledger.approximated(
                volume.at,
                f"driver {volume.driver}: the default storage class serves it",
                "PersistentVolumeClaim",
            )
        elif volume.body is not None and volume.body.get("driver_opts") is not None:
            self.ledger.refused(
                volume.at, "driver_opts need a storage class: make one and name it in the claim"
            )
        else:
            self.ledger.converted(volume.at, "PersistentVolumeClaim of the default storage class")

    def _note_content(self, resource: Resource) -> None:
        if resource.external:
            self.ledger.approximated(
                resource.at, "an object of that name has to exist", "Secret or ConfigMap"
            )
        elif resource.driver:
            self.ledger.refused(
                resource.at, f"driver {resource.driver}: give the value by `file`, or make it `external`"
            )
        else:
            self.ledger.converted(resource.at, "Secret or ConfigMap; values of secrets are in no file")

    # -- patches ---------------------------------------------------------------------------

    def _patch(self, documents: dict[str, list[Object]]) -> None:
        for patch in self.fit.patches:
            found = [item for objects in documents.values() for item in objects if _is(item, patch)]
            if not found:
                raise InputError(
                    f"the patch of {patch.kind}/{patch.name} finds no such object",
                    next_step="correct kind and name; `gonogo convert` shows what there is",
                )
            for item in found:
                _set(item, patch)


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _service_ports(ports: tuple[Port, ...], http: int | None) -> list[Object]:
    found: dict[tuple[int, str], Object] = {}
    for port in ports:
        name = port.name or port_name(port.protocol, port.target, http=port.target == http)
        found.setdefault(
            (port.target, port.protocol),
            {"name": name, "port": port.target, "targetPort": name, "protocol": port.protocol.upper()},
        )
    return list(found.values())


def _entry_words(port: Port) -> str:
    inside = f"inside by name on {port.target}"
    if port.published is None:
        return f"{inside}, outside on a port of the nodes that the cluster chooses, as Swarm would"
    return f"{inside}, outside on a port of the nodes that the cluster chooses instead of {port.published}"


def _is(item: Object, patch: Patch) -> bool:
    metadata = item.get("metadata")
    return (
        item.get("kind") == patch.kind and isinstance(metadata, dict) and metadata.get("name") == patch.name
    )


def _set(item: Object, patch: Patch) -> None:
    """Set one value of an object; every step but the last has to be there."""
    steps: list[str | int] = [int(m[2]) if m[2] else m[1] for m in _STEP.finditer(patch.path)]
    node: object = item
    for number, step in enumerate(steps):
        try:
            if number < len(steps) - 1:
                node = node[step]  # type: ignore[index]  # a wrong step is the error below
            else:
                node[step] = patch.value  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            raise InputError(
                f"the patch of {patch.kind}/{patch.name} has no {patch.path}",
                why=f"there is nothing at step {step!r}",
                next_step="write a path such as spec.ports[0].targetPort",
            ) from None
