"""Monitoring: the Prometheus operator, Debian's Prometheus and Alertmanager, node-exporter, a receiver.

The operator reads ServiceMonitors and PrometheusRules and makes Prometheus's configuration of them, as it
does on the clusters that people run. The receiver of alerts is ours: it keeps them to be read.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioners.errors import ProvisionError
from provisioners.kube import KubeError
from provisioners.kube_apply import apply_object
from provisioners.parts.base import (
    BinaryImage,
    DebianImage,
    Part,
    apply_manifest,
    await_rollout,
)
from provisioners.upstream.build import PROMETHEUS_OPERATOR, asset, binary
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Node
    from provisioners.kube import Object
    from provisioners.parts.base import PartContext

NAMESPACE = "monitoring"
PROMETHEUS = f"{NAMESPACE}/prometheus-operated:web"
ALERTMANAGER = f"{NAMESPACE}/alertmanager-operated:web"
RECEIVER = f"{NAMESPACE}/alert-receiver:http"

# What Debian trixie ships: the operator chooses flags by it, and what answers is compared with it.
PROMETHEUS_VERSION = "2.53.3"
ALERTMANAGER_VERSION = "0.28.1"

_GROUP = "monitoring.coreos.com"
# Thanos and the agent are not used; their two definitions would be a third of what the API server reads.
_KINDS = (
    "alertmanagerconfigs", "alertmanagers", "podmonitors", "probes",
    "prometheuses", "prometheusrules", "scrapeconfigs", "servicemonitors",
)  # fmt: skip
_VERSION_MARK = "operator.prometheus.io/version"
_PROGRAM = Path(__file__).with_name("monitoring_receiver.py")
_ENGINES = "swarm-engines"
_CRD_BOUND_S = 60.0
_ANSWER_BOUND_S = 120.0


def images() -> Sequence[BinaryImage | DebianImage]:
    """Return the part's images: two of Go binaries, four names for the Debian file system."""
    reloader = binary(PROMETHEUS_OPERATOR, "prometheus-config-reloader")
    return (
        BinaryImage(
            "prometheus-operator", {"prometheus-operator": binary(PROMETHEUS_OPERATOR, "prometheus-operator")}
        ),
        # The operator starts it by this path.
        BinaryImage("prometheus-config-reloader", {"bin/prometheus-config-reloader": reloader}),
        DebianImage("prometheus", ("/usr/bin/prometheus",)),
        DebianImage("alertmanager", ("/usr/bin/prometheus-alertmanager",)),
        DebianImage("node-exporter", ("/usr/bin/prometheus-node-exporter",)),
        DebianImage("alert-receiver", ("/usr/bin/python3", f"/opt/gonogo/{_PROGRAM.name}")),
    )


def apply(context: PartContext, say: Callable[[str], None]) -> None:
    """Make it and wait until Prometheus answers with the version that its flags were chosen for.

    Raises:
        NotReady: something was not there within its bound; the message names it.
        ProvisionError: another version of Prometheus answers.
    """
    values = _values(context.images, context.cluster.namespace)
    _apply_definitions(context, say)
    apply_manifest(context, "monitoring-operator.yaml", values)
    await_rollout(context, NAMESPACE, ["deployments/prometheus-operator"], say)
    apply_manifest(context, "monitoring-scrape.yaml", values)
    _apply_engines(context, say)
    apply_object(context.kube, _program())
    apply_manifest(context, "monitoring.yaml", values)
    parts = ("statefulsets/prometheus-main", "statefulsets/alertmanager-main", "daemonsets/node-exporter")
    await_rollout(context, NAMESPACE, [*parts, "deployments/alert-receiver"], say)
    _require_version(context, say)


def engine_metrics(node: Node) -> int | None:
    """Return the port at which the node's Docker engine offers metrics to others; None if it does not."""
    found = node.ssh.run(["cat", "/etc/docker/daemon.json"], timeout_s=20)
    return metrics_port(found.stdout) if found.ok else None


def metrics_port(daemon_json: str) -> int | None:
    """Return the port of `metrics-addr` in a daemon.json; None if there is none that pods could reach."""
    try:
        address = json.loads(daemon_json or "{}").get("metrics-addr", "")
    except (ValueError, AttributeError):
        return None
    host, _, port = str(address).rpartition(":")
    if host.startswith("127.") or host in {"localhost", "[::1]"} or not port.isdecimal():
        return None
    return int(port)


def engine_objects(ports: Mapping[str, int]) -> list[Object]:
    """Return what makes Prometheus scrape the Swarm's engines: `ports` by the node's address."""
    labels = {"app.kubernetes.io/name": _ENGINES, "gonogo.dev/part": NAMESPACE}
    meta: Object = {"name": _ENGINES, "namespace": NAMESPACE, "labels": labels}
    port = next(iter(ports.values()))
    entry = {"name": "metrics", "port": port, "protocol": "TCP"}
    addresses = [address for address, one in ports.items() if one == port]
    slice_labels = {**labels, "kubernetes.io/service-name": _ENGINES}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"clusterIP": "None", "ports": [entry]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": slice_labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]} for address in addresses],
            "ports": [entry],
        },
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "ServiceMonitor",
            "metadata": meta,
            "spec": {
                "selector": {"matchLabels": {"app.kubernetes.io/name": _ENGINES}},
                "endpoints": [{"port": "metrics", "interval": "15s"}],
            },
        },
    ]


def read_definition(text: str) -> Object:
    """Return a definition of a kind from its YAML, where a lone `=` is text, as Go's reader has it."""
    import yaml

    # Three megabytes in all: a minute without libyaml.
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("DefinitionLoader", (base,), {})
    loader.add_constructor("tag:yaml.org,2002:value", lambda self, node: self.construct_scalar(node))
    body: Object = yaml.load(text, Loader=loader)  # noqa: S506  a safe one
    return body


def _values(names: Mapping[str, str], workload: str) -> Mapping[str, str]:
    return {
        "workload": workload,
        "operator": names["prometheus-operator"],
        "reloader": names["prometheus-config-reloader"],
        "prometheus": names["prometheus"],
        "alertmanager": names["alertmanager"],
        "exporter": names["node-exporter"],
        "receiver": names["alert-receiver"],
        "receiver_hash": hashlib.sha256(_PROGRAM.read_bytes()).hexdigest()[:12],
        "prometheus_version": PROMETHEUS_VERSION,
        "alertmanager_version": ALERTMANAGER_VERSION,
    }


def _program() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "alert-receiver", "namespace": NAMESPACE},
        "data": {_PROGRAM.name: _PROGRAM.read_text(encoding="utf-8")},
    }


def _apply_definitions(context: PartContext, say: Callable[[str], None]) -> None:
    """Apply the operator's kinds, those not there in this version, and wait until they are served."""
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for kind in _KINDS:
        text = (asset(PROMETHEUS_OPERATOR, "crds") / f"{_GROUP}_{kind}.yaml").read_text(encoding="utf-8")
        there = context.kube.get(f"{root}/{kind}.{_GROUP}") or {}
        mark = re.search(rf"{_VERSION_MARK}: (\S+)", text)
        annotations = there.get("metadata", {}).get("annotations") or {}
        if not mark or annotations.get(_VERSION_MARK) != mark.group(1):
            say(f"definition of {kind}")
            context.kube.apply(f"{root}/{kind}.{_GROUP}", read_definition(text))
    wait_until(
        "the operator's kinds are served",
        lambda: ", ".join(_unserved(context)),
        say,
        bound_s=_CRD_BOUND_S,
        where=_GROUP,
        next_step=f"kubectl get crd | grep {_GROUP}",
    )


def _unserved(context: PartContext) -> list[str]:
    served: set[str] = set()
    for version in ("v1", "v1alpha1"):
        found = context.kube.get(f"/apis/{_GROUP}/{version}") or {}
        served |= {row["name"] for row in found.get("resources") or []}
    return [kind for kind in _KINDS if kind not in served]


def _apply_engines(context: PartContext, say: Callable[[str], None]) -> None:
    """Scrape the Swarm's engines where they offer metrics; forget those that no longer do."""
    ports = {node.address: port for node in context.nodes if (port := engine_metrics(node)) is not None}
    if ports:
        for body in engine_objects(ports):
            apply_object(context.kube, body)
        return
    say("no Docker engine offers metrics (metrics-addr in daemon.json): not scraped")
    monitor = context.kube.resource(f"{_GROUP}/v1", "ServiceMonitor").path(NAMESPACE, _ENGINES)
    for path in (monitor, f"/api/v1/namespaces/{NAMESPACE}/services/{_ENGINES}"):
        context.kube.delete(path)


def _require_version(context: PartContext, say: Callable[[str], None]) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/services/prometheus-operated:web/proxy/api/v1/status/buildinfo"
    found: list[str] = []

    def missing() -> str:
        try:
            answer = json.loads(context.kube.text(path))
            found.append(str(answer["data"]["version"]))
        except (KubeError, ValueError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {error}".partition("\n")[0]
        return ""

    wait_until("Prometheus answers", missing, say, bound_s=_ANSWER_BOUND_S, where=PROMETHEUS)
    if _minor(found[-1]) != _minor(PROMETHEUS_VERSION):
        raise ProvisionError(
            f"Prometheus {found[-1]} answers",
            where=PROMETHEUS,
            why=f"the operator chose its flags for {PROMETHEUS_VERSION}",
            next_step="set PROMETHEUS_VERSION in provisioners/parts/monitoring.py to what Debian ships",
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


PART = Part(
    name="monitoring",
    what="Prometheus, Alertmanager and node-exporter by the Prometheus operator, and a receiver of alerts",
    apply=apply,
    modules=(PROMETHEUS_OPERATOR,),
    images=images,
    debian=("prometheus", "prometheus-alertmanager", "prometheus-node-exporter", "python3"),
    facts={
        "part.monitoring.prometheus": PROMETHEUS,
        "part.monitoring.alertmanager": ALERTMANAGER,
        "part.monitoring.receiver": RECEIVER,
    },
)
