"""The Kubernetes side as a Target: what suites read, apply and break on a K3s or upstream cluster.

Everything is read through `kube`, one list request a kind. Only killing a container needs
the node itself, over SSH: no API ends a process the hard way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from provisioners import kube_apply
from provisioners.base import ApplyResult, Replica, Service, Side
from provisioners.errors import NotReady, ProvisionError, TargetRefused
from provisioners.kube import open_kube
from provisioners.kube_objects import (
    WORKLOAD_KINDS,
    parse_entry,
    parse_node,
    parse_pod,
    parse_workload,
)
from provisioners.kube_pods import list_pods
from provisioners.kube_wait import wait_for_workloads
from provisioners.kube_watch import ServiceChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provisioners.base import Bundle, Cluster, Node, Readiness, ServiceSpec
    from provisioners.kube import Kube
    from provisioners.kube_objects import Entry, KubeNode, Pod, Workload
    from provisioners.shell import CommandResult

_LOG_LINES = 500
_FOLLOW_S = 3600.0
_SNAPSHOT_KINDS = (
    *WORKLOAD_KINDS,
    ("v1", "Pod"), ("v1", "Service"), ("v1", "ConfigMap"), ("v1", "PersistentVolumeClaim"), ("v1", "Event"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
)  # fmt: skip


class KubernetesTarget:
    """One namespace of a Kubernetes cluster, seen as the Kubernetes side."""

    side = Side.KUBERNETES

    def __init__(self, cluster: Cluster, workload: Sequence[ServiceSpec] = ()) -> None:
        self.cluster = cluster
        self.namespace = cluster.namespace
        self.specs = {spec.name: spec for spec in workload}
        self._config_digests: dict[str, str] = {}
        self._known: dict[str, Workload] = {}  # as first seen: only selectors are read, which never change

    @property
    def nodes(self) -> Sequence[Node]:
        """Return the hosts of the inventory that carry this side."""
        wanted = self.cluster.extra.get("kubernetes_nodes")
        names = wanted.split(",") if wanted else [node.name for node in self.cluster.nodes]
        return tuple(node for node in self.cluster.nodes if node.name in names)

    @property
    def kube(self) -> Kube:
        """Return the process's one client for this cluster."""
        if self.cluster.kubeconfig is None:
            raise TargetRefused("the cluster has no kubeconfig", where=self.cluster.kind)
        return open_kube(self.cluster.kubeconfig, self.cluster.kube_context)

    def version(self) -> Mapping[str, str]:
        """Return versions of the API server and of what runs on the nodes; they may differ by node."""
        server = self.kube.get("/version") or {}
        nodes = self._kube_nodes().values()
        found = {
            key: ", ".join(sorted({node.versions[key] for node in nodes}))
            for key in ("kubelet", "runtime", "kernel", "os")
        }
        return {
            "engine": found["runtime"],
            "orchestrator": f"Kubernetes {server.get('gitVersion', 'unknown')}",
            **found,
        }

    def identity(self) -> str:
        """Return the UID of the namespace kube-system, which lives as long as the cluster does."""
        row = self.kube.get("/api/v1/namespaces/kube-system")
        if row is None:
            raise ProvisionError("there is no namespace kube-system", where=self.kube.server)
        return str(row["metadata"]["uid"])

    def node_states(self) -> Mapping[str, str]:
        """Return each node's state: `ready`, `cordoned` or `not ready`."""
        return {name: node.state for name, node in self._kube_nodes().items()}

    def node_labels(self) -> Mapping[str, Mapping[str, str]]:
        """Return each node's labels as the API server holds them."""
        return {name: node.labels for name, node in self._kube_nodes().items()}

    def namespaces(self) -> Sequence[str]:
        """Return all namespaces."""
        rows = self.kube.list_all("/api/v1/namespaces").items
        return tuple(row["metadata"]["name"] for row in rows)

    def apply(self, bundle: Bundle) -> ApplyResult:
        """Make the namespace hold the bundle; applying it twice changes nothing."""
        return kube_apply.apply_bundle(self.kube, bundle, self.cluster.run_id)

    def wait_ready(self, services: Sequence[str], timeout_s: float, say: Callable[[str], None]) -> Readiness:
        """Wait until the services are ready or one after the other is known to have failed."""
        return wait_for_workloads(self.kube, self.namespace, services, timeout_s, say)

    def remove(self, bundle: Bundle) -> None:
        """Remove what `apply` made and wait until it is gone."""
        kube_apply.remove_bundle(self.kube, bundle)

    def services(self) -> Sequence[Service]:
        """Return the deployed services: every workload of the namespace."""
        pods = self._pods()
        return tuple(self._service(workload, pods) for workload in self._workloads().values())

    def replicas(self, service: str) -> Sequence[Replica]:
        """Return the service's pods that are not being deleted; a replica's id is its pod's name."""
        labels = self._labels_of(service)
        return tuple(
            Replica(
                id=pod.name,
                service=service,
                node=pod.node,
                address=pod.address,
                ready=pod.ready,
                restarts=pod.restarts,
                started_at=pod.started_at,
            )
            for pod in self._pods(labels)
            if not pod.deleting and pod.phase not in {"Succeeded", "Failed"}
        )

    def follow(self, service: str) -> ServiceChanges:
        """Follow the service's pods, and the nodes, by watch while the block lasts (an hour at most)."""
        return ServiceChanges(self.kube, self.namespace, self._labels_of(service), _FOLLOW_S)

    def url(self, service: str, port: int | None = None) -> str:
        """Return the node port of the service on a node that runs a ready pod of it."""
        wanted = port or self._first_port(service)
        for entry in self._entries_of(service):
            for item in entry.ports:
                if item.node_port and wanted in {item.port, item.target}:
                    return f"http://{self._entry_node(service, entry)}:{item.node_port}"
        raise ProvisionError(
            f"{service} has no node port for port {wanted}",
            where=f"namespace {self.namespace}",
            why="no Service of type NodePort selects its pods on that port",
            next_step="publish the port in the compose file, or ask for another port",
        )

    def dns_name(self, service: str) -> str:
        """Return the name of the service's Service object: the short name, as in Swarm."""
        return service

    def service_address(self, service: str) -> str | None:
        """Return the ClusterIP of the service; None when it is headless."""
        row = self.kube.get(f"/api/v1/namespaces/{self.namespace}/services/{self.dns_name(service)}")
        return parse_entry(row).cluster_ip if row else None

    def exec(self, replica: Replica, argv: Sequence[str], timeout_s: float = 30.0) -> CommandResult:
        """Run a command in the pod's first container."""
        container = self._pod(replica).containers[0].name
        return self.kube.exec(self.namespace, replica.id, container, argv, timeout_s)

    def logs(self, service: str, lines: int = 50) -> str:
        """Return the last lines of each of the service's pods, each under the pod's name."""
        texts = []
        for replica in self.replicas(service):
            text = self.kube.log(self.namespace, replica.id, lines=lines)
            texts.append(f"== {replica.id} on {replica.node}\n{text}")
        return "\n".join(texts)

    def snapshot(self, folder: Path) -> None:
        """Save the namespace's objects (never secrets) and every service's log."""
        folder.mkdir(parents=True, exist_ok=True)
        for version, kind in _SNAPSHOT_KINDS:
            path = self.kube.resource(version, kind).path(self.namespace)
            _save(folder / f"{kind.lower()}.json", list(self.kube.list_all(path).items))
        _save(folder / "node.json", list(self.kube.list_all("/api/v1/nodes").items))
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        for name in self._workloads():
            (logs / f"{name}.log").write_text(self.logs(name, _LOG_LINES), encoding="utf-8")

    def kill(self, replica: Replica) -> None:
        """End the pod's first container with SIGKILL on its node, as a crash would."""
        container = self._pod(replica).containers[0]
        if not container.running:
            raise NotReady(f"container {container.name} of {replica.id} does not run", where=replica.node)
        node = self._node(replica.node)
        node.ssh.run(
            [*self._ctr(replica.node), "task", "kill", "-s", "SIGKILL", container.id], timeout_s=20
        ).check(next_step="see `journalctl -u containerd` (or k3s) on the node")

    def discard(self, replica: Replica) -> None:
        """Delete the pod with a grace of 0, as `kubectl delete --force --grace-period=0` does."""
        self.kube.delete(f"/api/v1/namespaces/{self.namespace}/pods/{replica.id}", grace_s=0)

    def mark(self, node: str, label: str, value: str | None) -> None:
        """Set a label of the node, or remove it; removing one that is not there changes nothing."""
        self.kube.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": {label: value}}})

    def drain(self, node: str) -> None:
        """Cordon the node and evict its pods of this namespace; their budgets are respected."""
        self.kube.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})
        for pod in self._pods():
            if pod.node == node and not pod.deleting:
                body = {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": pod.name, "namespace": self.namespace},
                }
                self.kube.create(f"/api/v1/namespaces/{self.namespace}/pods/{pod.name}/eviction", body)

    def undrain(self, node: str) -> None:
        """Let the node take pods again."""
        self.kube.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": None}})

    def _service(self, workload: Workload, pods: Sequence[Pod]) -> Service:
        digests = {
            self._config_digest(pod.node, pod.containers[0].image_id)
            for pod in pods
            if workload.owns(pod) and not pod.deleting and pod.containers and pod.containers[0].image_id
        }
        return Service(
            name=workload.name,
            tier=workload.labels.get("mcp-tier", ""),
            desired=workload.desired,
            ready=workload.ready,
            ports=workload.ports,
            image=workload.image,
            image_id=",".join(sorted(digests)),
            cpu_limit=workload.cpu_limit,
            memory_limit_bytes=workload.memory_limit_bytes,
        )

    def _config_digest(self, node: str, image_id: str) -> str:
        """Return the config digest behind an image id of the runtime.

        containerd gives the config digest itself for an image that was imported, and
        `name@sha256:manifest` for one that was pulled; its image store then has both.
        """
        if image_id.startswith("sha256:"):
            return image_id
        manifest = image_id.rpartition("@")[2]
        if manifest not in self._config_digests:
            listing = self._node(node).ssh.run([*self._ctr(node), "images", "ls"], timeout_s=20).check()
            self._config_digests |= parse_config_digests(listing.stdout)
        return self._config_digests.get(manifest, image_id)

    def _ctr(self, node: str) -> list[str]:
        runtime = self._kube_nodes()[node].versions["runtime"]
        return [*(["k3s"] if "k3s" in runtime else []), "ctr", "-n", "k8s.io"]

    def _node(self, name: str) -> Node:
        for node in self.cluster.nodes:
            if node.name == name:
                return node
        address = self._kube_nodes()[name].address if name in self._kube_nodes() else ""
        for node in self.cluster.nodes:
            if address and node.address == address:
                return node
        raise TargetRefused(
            f"node {name} is not in the inventory",
            where=self.kube.server,
            why=f"its address is {address or 'unknown'}",
            next_step="add the host to the inventory by that name or address",
        )

    def _kube_nodes(self) -> dict[str, KubeNode]:
        rows = self.kube.list_all("/api/v1/nodes").items
        return {node.name: node for node in map(parse_node, rows)}

    def _pods(self, labels: str = "") -> list[Pod]:
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        return list_pods(self.kube, path, labels=labels)

    def _pod(self, replica: Replica) -> Pod:
        row = self.kube.get(f"/api/v1/namespaces/{self.namespace}/pods/{replica.id}")
        if row is None:
            raise NotReady(f"pod {replica.id} is gone", where=f"namespace {self.namespace}")
        pod = parse_pod(row)
        if not pod.containers:
            raise NotReady(f"pod {replica.id} has no container yet", where=pod.node or "no node")
        return pod

    def _workloads(self) -> dict[str, Workload]:
        found = {}
        for version, kind in WORKLOAD_KINDS:
            path = self.kube.resource(version, kind).path(self.namespace)
            for row in self.kube.list_all(path).items:
                found[row["metadata"]["name"]] = parse_workload(row, kind)
        return found

    def _workload(self, service: str) -> Workload:
        if service not in self._known:
            self._known.update(self._workloads())
        try:
            return self._known[service]
        except KeyError:
            raise ProvisionError(
                f"there is no service {service}",
                where=f"namespace {self.namespace}",
                why=f"it holds {', '.join(sorted(self._known)) or 'no workload'}",
                next_step="deploy it first: `gonogo deploy`",
            ) from None

    def _labels_of(self, service: str) -> str:
        """Return the label selector of the service's pods, as the API takes it."""
        return ",".join(f"{key}={value}" for key, value in self._workload(service).selector.items())

    def _first_port(self, service: str) -> int:
        spec = self.specs.get(service)
        ports = spec.ports if spec else self._workload(service).ports
        if not ports:
            raise ProvisionError(f"{service} has no port", where=f"namespace {self.namespace}")
        return ports[0]

    def _entries_of(self, service: str) -> list[Entry]:
        rows = self.kube.list_all(f"/api/v1/namespaces/{self.namespace}/services").items
        selector = self._workload(service).selector
        return [entry for entry in map(parse_entry, rows) if entry.selects(selector)]

    def _entry_node(self, service: str, entry: Entry) -> str:
        """Return the address to enter by: a node with a ready pod where only such a node answers."""
        ready = [replica.node for replica in self.replicas(service) if replica.ready]
        states = self._kube_nodes()
        names = ready if entry.local or ready else [name for name, node in states.items() if node.ready]
        if not names:
            raise NotReady(
                f"{service} has no ready pod to enter by",
                where=f"namespace {self.namespace}",
                why="its Service answers only on nodes that run one",
            )
        return self._address(names[0], states)

    def _address(self, name: str, states: Mapping[str, KubeNode]) -> str:
        for node in self.cluster.nodes:
            if node.name == name:
                return node.address
        return states[name].address


def parse_config_digests(listing: str) -> dict[str, str]:
    """Return config digest by manifest digest from `ctr images ls`.

    The CRI plugin keeps each image under its config digest too: such a row's name is
    `sha256:...` and its digest is the manifest's.
    """
    found = {}
    for line in listing.splitlines()[1:]:
        words = line.split()
        if len(words) > 2 and words[0].startswith("sha256:"):  # noqa: PLR2004 - name, type, digest
            found[words[2]] = words[0]
    return found


def _save(path: Path, rows: object) -> None:
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
