"""Rules about who reaches whom: policies, Services, Ingresses, ServiceMonitors, ports of the hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.lint_view import (
    Finding,
    Manifest,
    Trap,
    View,
    find,
    finding,
    items,
    text,
    texts,
    trap,
)
from provisioners.compose.lint_view import words as listed
from provisioners.compose.nodes import Leaf, Listing, Node, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

_DNS = 53
_DNS_NAMES = frozenset(("dns", "dns-udp"))
_ALL_ADDRESSES = frozenset(("0.0.0.0/0", "::/0"))
_WEB_PORTS = frozenset(("80", "443"))


@trap("network-policy-denies-dns")
def network_policy_denies_dns(view: View) -> Iterator[Finding]:
    """A policy of type Egress denies what no rule allows, DNS too, unless another one allows it."""
    policies = list(view.of_kind("NetworkPolicy"))
    for policy in policies:
        if not _bounds_egress(policy) or _allows_dns(policy):
            continue
        others = [
            other
            for other in policies
            if other is not policy and other.namespace == policy.namespace and _covers(other, policy)
        ]
        if not any(_allows_dns(other) for other in others):
            what = "all egress, DNS too" if not items(policy.root, "spec.egress") else "DNS"
            yield finding(
                "network-policy-denies-dns",
                find(policy.root, "spec.policyTypes") or find(policy.root, "spec.egress") or policy.root,
                f"NetworkPolicy {policy.name} denies {what}: names stop resolving; "
                "allow port 53, UDP and TCP, to kube-system",
            )


def _bounds_egress(policy: Manifest) -> bool:
    types = listed(policy.root, "spec.policyTypes")
    return "Egress" in types if types else bool(items(policy.root, "spec.egress"))


def _covers(other: Manifest, policy: Manifest) -> bool:
    """Whether the other policy is for at least the pods of this one."""
    wide, narrow = (texts(find(one.root, "spec.podSelector.matchLabels")) for one in (other, policy))
    return wide.items() <= narrow.items() and not items(other.root, "spec.podSelector.matchExpressions")


def _allows_dns(policy: Manifest) -> bool:
    return any(
        _reaches_dns(rule) and _has_dns_port(rule)
        for rule in items(policy.root, "spec.egress")
        if isinstance(rule, Table)
    )


def _has_dns_port(rule: Table) -> bool:
    ports = items(rule, "ports")
    return not ports or any(_is_dns(port) for port in ports)


def _is_dns(port: Node) -> bool:
    if (text(port, "protocol") or "TCP") != "UDP":
        return False
    first, last = text(port, "port"), text(port, "endPort")
    if not first or first in _DNS_NAMES:
        return True
    return first.isdigit() and int(first) <= _DNS <= int(last if last.isdigit() else first)


def _reaches_dns(rule: Table) -> bool:
    """Whether a rule lets pods of other namespaces be reached: a peer without a namespace is one's own."""
    peers = items(rule, "to")
    return not peers or any(
        find(peer, "namespaceSelector") is not None or text(peer, "ipBlock.cidr") in _ALL_ADDRESSES
        for peer in peers
    )


@trap("service-monitor-selects-nothing")
def service_monitor_selects_nothing(view: View) -> Iterator[Finding]:
    """A ServiceMonitor whose labels no Service has watches nothing, so nothing is ever down."""
    services = list(view.of_kind("Service"))
    for monitor in view.of_kind("ServiceMonitor"):
        where = find(monitor.root, "spec.selector") or monitor.root
        labelled = [one for one in services if _selected(find(monitor.root, "spec.selector"), one.labels)]
        found = [one for one in labelled if _in_namespace(monitor, one)]
        if not found:
            yield finding("service-monitor-selects-nothing", where, _why_nothing(monitor, labelled))
            continue
        names = {text(port, "name") for one in found for port in items(one.root, "spec.ports")}
        for endpoint in items(monitor.root, "spec.endpoints"):
            port = text(endpoint, "port")
            if port and port not in names:
                message = f"no selected Service has a port named {port}"
                yield finding("service-monitor-selects-nothing", endpoint, message)


def _why_nothing(monitor: Manifest, labelled: list[Manifest]) -> str:
    if labelled:
        places = ", ".join(sorted({one.namespace for one in labelled}))
        return f"the Services that it selects are in {places}, where it does not look: name the namespace"
    wanted = texts(find(monitor.root, "spec.selector.matchLabels"))
    labels = ", ".join(f"{key}: {value}" for key, value in wanted.items()) or "that it asks for"
    return f"no Service here has the labels {labels}: 0 targets look as if none were down"


def _in_namespace(monitor: Manifest, service: Manifest) -> bool:
    chosen = find(monitor.root, "spec.namespaceSelector")
    if text(chosen, "any") == "true":
        return True
    names = listed(chosen, "matchNames")
    return service.namespace in names if names else service.namespace == monitor.namespace


def _selected(selector: Node | None, labels: dict[str, str]) -> bool:
    """Whether a label selector, matchExpressions too, selects labels."""
    if not texts(find(selector, "matchLabels")).items() <= labels.items():
        return False
    for row in items(selector, "matchExpressions"):
        key, operator, values = text(row, "key"), text(row, "operator"), listed(row, "values")
        fits = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not fits.get(operator, False):
            return False
    return True


@trap("service-selects-nothing", "service-port-differs")
def service_without_pods(view: View) -> Iterator[Finding]:
    """A Service whose selector fits no pods here, or whose target port none of them has."""
    for service in view.of_kind("Service"):
        selector = find(service.root, "spec.selector")
        if not texts(selector) or text(service.root, "spec.type") == "ExternalName":
            continue
        found = view.behind(service)
        if not found:
            labels = ", ".join(f"{key}: {value}" for key, value in texts(selector).items())
            message = f"Service {service.name}: no pods here have the labels {labels}; it answers nobody"
            yield finding("service-selects-nothing", selector or service.root, message)
            continue
        ports = [port for one in found for box in one.main_containers() for port in items(box, "ports")]
        known = {text(port, key) for port in ports for key in ("name", "containerPort")}
        for port in items(service.root, "spec.ports"):
            target = text(port, "targetPort") or text(port, "port")
            if ports and target not in known:
                message = f"Service {service.name}: its pods have no port {target}"
                yield finding("service-port-differs", find(port, "targetPort") or port, message)


@trap("ingress-backend-missing")
def ingress_backend_missing(view: View) -> Iterator[Finding]:
    """An Ingress that leads to a Service, or a port of one, that is not there: 503 for ever."""
    services = {(one.namespace, one.name): one for one in view.of_kind("Service")}
    for ingress in view.of_kind("Ingress"):
        for backend in _backends(ingress):
            name = text(backend, "service.name")
            service = services.get((ingress.namespace, name))
            where = find(backend, "service") or backend
            if name and service is None:
                message = f"Ingress {ingress.name}: there is no Service {name} in {ingress.namespace}"
                yield finding("ingress-backend-missing", where, message)
            elif service is not None:
                port = text(backend, "service.port.name") or text(backend, "service.port.number")
                ports = items(service.root, "spec.ports")
                if port not in {text(one, key) for one in ports for key in ("name", "port")}:
                    message = f"Ingress {ingress.name}: Service {name} has no port {port}"
                    yield finding("ingress-backend-missing", where, message)


def _backends(ingress: Manifest) -> Iterator[Node]:
    default = find(ingress.root, "spec.defaultBackend")
    if default is not None:
        yield default
    for rule in items(ingress.root, "spec.rules"):
        for path in items(rule, "http.paths"):
            backend = find(path, "backend")
            if backend is not None:
                yield backend


@trap("takes-host-ports")
def takes_host_ports(view: View) -> Iterator[Finding]:
    """K3s's load balancer takes such ports on every node, from whatever serves there today."""
    for service in view.of_kind("Service"):
        if text(service.root, "spec.type") != "LoadBalancer":
            continue
        for port in items(service.root, "spec.ports"):
            if text(port, "port") in _WEB_PORTS:
                yield finding(
                    "takes-host-ports",
                    port,
                    f"Service {service.name}: on K3s it takes port {text(port, 'port')} of every node, "
                    "from a Swarm that still serves there too",
                )
    yield from _host_ports(view)
    for manifest in view.manifests:
        if manifest.is_k3s_server and not {"traefik", "servicelb"} & set(_disabled(manifest.root)):
            yield finding(
                "takes-host-ports",
                manifest.root,
                "K3s brings Traefik, which takes ports 80 and 443 of every node, from a Swarm that still "
                "serves there too; disable: [servicelb] until the cutover",
            )


def _host_ports(view: View) -> Iterator[Finding]:
    for workload in view.workloads():
        for container in workload.containers():
            for port in items(container, "ports"):
                if text(port, "hostPort") in _WEB_PORTS:
                    message = f"{workload.name}: it takes the port of every node it runs on"
                    yield finding("takes-host-ports", port, message)


def _disabled(root: Table) -> Iterator[str]:
    node = root.get("disable")
    if isinstance(node, Leaf):
        yield from (word.strip() for word in node.text.split(","))
    elif isinstance(node, Listing):
        yield from (item.text for item in node.items if isinstance(item, Leaf))


RULES: tuple[Trap, ...] = (
    network_policy_denies_dns,
    service_monitor_selects_nothing,
    service_without_pods,
    ingress_backend_missing,
    takes_host_ports,
)
