"""A project as manifests of Kubernetes in folders by tier, with a loss for every leaf of the input."""

from __future__ import annotations

from collections import Counter
from dataclasses import field, replace
from typing import TYPE_CHECKING

from provisioners.base import Bundle, ServiceSpec, Side
from provisioners.compose.accounts import account
from provisioners.compose.aliases import aliases_of
from provisioners.compose.autoscale import autoscaler
from provisioners.compose.budget import budget_of
from provisioners.compose.context import Context
from provisioners.compose.emit import to_yaml
from provisioners.compose.entries import IMPLIED, SHOWN, entries_of, shared_entries
from provisioners.compose.fit import Fit, shapes
from provisioners.compose.ingress import Entrance, ingresses_of
from provisioners.compose.losses import Ledger, Loss
from provisioners.compose.model import Port
from provisioners.compose.naming import legal, legal_names, secret_object
from provisioners.compose.nodes import Table
from provisioners.compose.patches import apply_patches
from provisioners.compose.peers import Peers, own_ports, peers_of, real_name
from provisioners.compose.policy import POLICY_FILE, base_policies, note_networks, policy_of
from provisioners.compose.prepare import prepared, provided
from provisioners.compose.records import dataclass
from provisioners.compose.references import References
from provisioners.compose.secrecy import is_secret, telling
from provisioners.compose.storage import Storage
from provisioners.compose.tiering import tier_for
from provisioners.compose.toplevel import note_top_level
from provisioners.compose.volumes import claim_spec
from provisioners.compose.workload import http_port, labels_of, workload_of
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.compose.fit import Shape
    from provisioners.compose.ingress import Shown
    from provisioners.compose.model import Project, Service
    from provisioners.tiers import Tiers

Object = dict[str, object]


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted project, refused leaves and all; `documents` are the objects of each of its files."""

    bundle: Bundle
    losses: tuple[Loss, ...]
    documents: Mapping[str, Sequence[Object]]


def kubernetes_conversion(project: Project, tiers: Tiers, fit: Fit) -> Conversion:
    """Convert a project: the Kubernetes side of it, and what became of every leaf of its files."""
    ledger = Ledger()
    for service in provided(project):
        text = "a provider makes it, outside of containers: set it up, and name it by an ExternalName service"
        ledger.refused(service.at, text)
    return _Conversion(prepared(project), tiers.fitting(project.services), fit, ledger).run()


def kubernetes_bundle(project: Project, tiers: Tiers, fit: Fit) -> tuple[Bundle, tuple[Loss, ...]]:
    """Return the Kubernetes side of a project, and what became of every leaf of its files."""
    conversion = kubernetes_conversion(project, tiers, fit)
    return conversion.bundle, conversion.losses


def service_specs(project: Project, tiers: Tiers, shaped: dict[str, Shape]) -> tuple[ServiceSpec, ...]:
    """Return what both bundles promise, the servers first, under the names of Kubernetes."""
    names = legal_names(project.services, "services")
    known = [name for name in tiers.order if name in project.services]
    ordered = [*known, *(name for name in project.services if name not in known)]
    return tuple(
        ServiceSpec(
            name=names[name],
            tier=tier_for(project.services[name], tiers),
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
        peers = peers_of(project, self.tiers)
        aliases = aliases_of(project, names, self.ledger)
        services = {key: _with_implied(service, key, peers) for key, service in project.services.items()}
        renamed = {**aliases.renamed, **{old: new for old, new in names.items() if old != new}}
        context = Context(
            namespace=namespace,
            project=legal(project.name),
            fit=self.fit,
            ledger=self.ledger,
            storage=self._storage(shared, renamed),
            renamed=renamed,
            tiers=self.tiers,
            names=names,
            peers=peers,
            ports={key: own_ports(service) for key, service in services.items()},
            secrets=_known_secrets(project),
            aliases=aliases,
        )
        entrance = Entrance(context)
        shown = {
            key: entrance.shown(service, key, context.ports[key], http_port(service.healthcheck))
            for key, service in services.items()
        }
        services = {key: _with_shown(one, shown[key], context.ports[key]) for key, one in services.items()}
        context = replace(context, ports={key: own_ports(service) for key, service in services.items()})
        policies = self.fit.has_policies(self.tiers)
        documents: dict[str, list[Object]] = {"00-namespace.yaml": [_namespace(namespace)]}
        secrets: dict[str, bytes] = {}
        for volume in sorted(shared):
            documents[f"volumes/{legal(volume)}.yaml"] = [self._claim(volume, namespace)]
        if policies:
            legal_names(dict.fromkeys(real_name(project, name) for name in project.networks), "networks")
            documents[POLICY_FILE] = base_policies(context)
            note_networks(project, context)
        for key, service in services.items():
            tier, name = tier_for(service, self.tiers), names[key]
            objects, found = self._objects(service, name, tier, shaped[key], shown[key], context)
            objects += shared_entries(key, labels_of(name, tier, context.project), services, context)
            if policies:
                objects.append(policy_of(service, key, shown[key].ports, context))
            documents[f"{tier}/{name}.yaml"] = objects
            secrets.update(found)
            self._note_service(service, key, name, policies=policies)
        _check_unique(documents)
        _check_secrets(secrets)
        apply_patches(self.fit.patches, documents)
        note_top_level(project, self.ledger, networks=not policies)
        losses = self.ledger.close(project)
        bundle = Bundle(
            side=Side.KUBERNETES,
            namespace=namespace,
            files={name: to_yaml(*objects) for name, objects in sorted(documents.items())},
            services=service_specs(project, self.tiers, shaped),
            secrets=secrets,
        )
        return Conversion(bundle, losses, documents)

    def _objects(
        self, service: Service, name: str, tier: str, shape: Shape, shown: Shown, context: Context
    ) -> tuple[list[Object], Mapping[str, bytes]]:
        """Return what one service needs, in the order in which it is applied, and its secrets."""
        labels = labels_of(name, tier, context.project)
        workload = workload_of(service, name, tier, shape, context)
        scale = workload.scale
        most = scale.maximum if scale else shape.replicas
        entries = entries_of(
            service,
            name,
            labels,
            http_port(service.healthcheck),
            context,
            affine=self.tiers.server(service.name) is not None and most > 1,
            annotations=shown.service_annotations,
        )
        objects = [account(name, labels, context), *workload.objects, workload.controller, *entries]
        if scale is not None:
            objects.append(autoscaler(scale, str(workload.controller["kind"]), name, labels, context))
        budget = budget_of(service, name, shape.replicas, scale, labels, context)
        if budget is not None:
            objects.append(budget)
        return [*objects, *ingresses_of(shown, name, labels, context)], workload.secrets

    # -- volumes ---------------------------------------------------------------------------

    def _storage(self, shared: frozenset[str], renamed: Mapping[str, str]) -> Storage:
        namespace = self.tiers.namespace
        references = References(self.project, self.ledger, namespace, renamed)
        return Storage(self.project, self.ledger, namespace, self.fit.volume_size, shared, references)

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

    def _note_service(self, service: Service, key: str, name: str, *, policies: bool) -> None:
        ledger = self.ledger
        if key != name:
            ledger.remark(service.at, f"renamed to {name}; values that name it as a host follow", name)
        for ref in service.networks:
            detail = "pods share one flat network, so services reach each other by name without joining one"
            if policies:
                detail = (
                    "pods share one flat network, in which policies let those reach each other that join it"
                )
            target = f"NetworkPolicy/{name}" if policies else ""
            ledger.approximated(ref.at, detail + ("; aliases are Services" if ref.aliases else ""), target)
            if isinstance(ref.at, Table):
                for detail_key, node in ref.at.entries.items():
                    if detail_key != "aliases":
                        ledger.dropped(node, "pods get addresses and interfaces from the cluster network")


def _with_implied(service: Service, key: str, peers: Peers) -> Service:
    """Return a service with the ports that others call it on, which it does not list."""
    calls = peers.implied_ports(key, own_ports(service))
    ports = [Port(call.port, None, "tcp", IMPLIED, call.at) for call in calls if call.port is not None]
    return replace(service, expose=(*service.expose, *ports)) if ports else service


def _with_shown(service: Service, shown: Shown, own: Sequence[int]) -> Service:
    ports = [Port(port, None, "tcp", SHOWN, service.at) for port in shown.ports if port not in own]
    return replace(service, expose=(*service.expose, *ports)) if ports else service


def _known_secrets(project: Project) -> frozenset[str]:
    """Return values of secret variables that are unlike words, to find them in commands as well."""
    return telling(
        var.value
        for service in project.services.values()
        for var in (*service.file_environment, *service.environment)
        if var.value and is_secret(var.name, var.value)
    )


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _check_unique(documents: dict[str, list[Object]]) -> None:
    """Two objects of one kind and name would be one: an alias `web-entry` beside a published `web`."""
    titles = Counter(_title(item) for objects in documents.values() for item in objects)
    twice = sorted(title for title, count in titles.items() if count > 1)
    if twice:
        raise InputError(
            f"{len(twice)} object(s) would be made twice",
            why=", ".join(twice),
            next_step="rename a service or one of its network aliases",
        )


def _check_secrets(secrets: Mapping[str, bytes]) -> None:
    """Two values in one object of that name would be one: the last applied."""
    keys: dict[str, list[str]] = {}
    for key in secrets:
        keys.setdefault(secret_object(key), []).append(key)
    clashes = [
        f"{' and '.join(group)} are both Secret/{name}" for name, group in keys.items() if len(group) > 1
    ]
    if clashes:
        raise InputError(
            f"{len(clashes)} name(s) of secrets collide in Kubernetes",
            why="; ".join(clashes),
            next_step="rename a service, a secret or a variable",
        )


def _title(item: Object) -> str:
    metadata = item.get("metadata")
    return f"{item.get('kind')}/{metadata.get('name') if isinstance(metadata, dict) else ''}"
