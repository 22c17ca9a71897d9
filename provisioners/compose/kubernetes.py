"""A project as manifests of Kubernetes in folders by tier, with a loss for every leaf of the input."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.base import Bundle, ServiceSpec, Side
from provisioners.compose.context import Context
from provisioners.compose.emit import to_yaml
from provisioners.compose.entries import entries_of
from provisioners.compose.fit import Fit, Patch, shapes
from provisioners.compose.losses import Ledger, Loss
from provisioners.compose.naming import legal, legal_names
from provisioners.compose.nodes import Table
from provisioners.compose.storage import Storage, claim_spec
from provisioners.compose.toplevel import note_top_level
from provisioners.compose.workload import labels_of, workload_of
from provisioners.errors import InputError

if TYPE_CHECKING:
    from provisioners.compose.fit import Shape
    from provisioners.compose.model import Project, Service
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
            per_node=project.services[name].is_global,
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
            affine = self.tiers.server(key) is not None and shaped[key].replicas > 1
            labels = labels_of(name, tier, context.project)
            entries = entries_of(service, name, labels, workload.http_port, context, affine=affine)
            documents[f"{tier}/{name}.yaml"] = [*workload.objects, workload.controller, *entries]
            secrets.update(workload.secrets)
            self._note_service(service, key, name)
        _check_unique(documents)
        self._patch(documents)
        note_top_level(project, self.ledger)
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

    # -- what has no object of its own -----------------------------------------------------

    def _note_service(self, service: Service, key: str, name: str) -> None:
        ledger = self.ledger
        if key != name:
            ledger.remark(service.at, f"renamed to {name}; values that name it as a host follow", name)
        for ref in service.networks:
            detail = "pods share one flat network, so services reach each other by name without joining one"
            ledger.approximated(ref.at, detail + ("; aliases are Services" if ref.aliases else ""))
            if isinstance(ref.at, Table):
                for detail_key, node in ref.at.entries.items():
                    if detail_key != "aliases":
                        ledger.dropped(node, "pods get addresses and interfaces from the cluster network")
        for other in service.depends_on:
            ledger.dropped(
                other.at, "Swarm ignores it too; readiness keeps traffic away until a server can work"
            )

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


def _check_unique(documents: dict[str, list[Object]]) -> None:
    """Two objects of one kind and name would be one: an alias that is another service's name."""
    titles = Counter(_title(item) for objects in documents.values() for item in objects)
    twice = sorted(title for title, count in titles.items() if count > 1)
    if twice:
        raise InputError(
            f"{len(twice)} object(s) would be made twice",
            why=", ".join(twice),
            next_step="rename a service or one of its network aliases",
        )


def _title(item: Object) -> str:
    metadata = item.get("metadata")
    return f"{item.get('kind')}/{metadata.get('name') if isinstance(metadata, dict) else ''}"


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
