"""The rules of the lint: each finds one trap that a real migration fell into.

A rule takes the view of all manifests and yields findings; its name is in every finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from provisioners.compose import units
from provisioners.compose.lint_view import Finding, Manifest, View, find, items, scalars, text, texts
from provisioners.compose.nodes import Leaf, Listing, Node, Table

Rule: TypeAlias = Callable[[View], Iterator[Finding]]

_UNEXPANDED = re.compile(r"\$\{[^}]*\}?")
_FRACTION = re.compile(r"\A(?:\d*\.\d+|\d+m)\Z")
_SESSION_NOTE = "gonogo.dev/mcp-sessions"
_EVICTION_LIMIT_S = 240
_LARGE_BYTES = 50 * 2**30
_DNS_PORTS = frozenset(("53", "dns", "dns-tcp"))
_DEFAULT_EVICTION = ("not-ready", "unreachable")


def _finding(rule: str, node: Node, message: str) -> Finding:
    return Finding(rule, node.file, node.line, node.path, message)


def network_policy_denies_dns(view: View) -> Iterator[Finding]:
    """A policy of type Egress without a rule denies everything, DNS too, unless another one allows it."""
    policies = list(view.of_kind("NetworkPolicy"))
    for policy in policies:
        kinds = {item.text for item in items(policy.root, "spec.policyTypes") if isinstance(item, Leaf)}
        if "Egress" not in kinds or items(policy.root, "spec.egress"):
            continue
        others = [other for other in policies if other is not policy and other.namespace == policy.namespace]
        if not any(_allows_dns(other) for other in others):
            yield _finding(
                "network-policy-denies-dns",
                find(policy.root, "spec.policyTypes") or policy.root,
                f"NetworkPolicy {policy.name} denies all egress, DNS too: names stop resolving; "
                "allow port 53, UDP and TCP, to kube-system",
            )


def _allows_dns(policy: Manifest) -> bool:
    for rule in items(policy.root, "spec.egress"):
        if not isinstance(rule, Table):
            continue
        ports = items(rule, "ports")
        if not ports or any(text(port, "port") in _DNS_PORTS for port in ports):
            return True
    return False


def service_monitor_selects_nothing(view: View) -> Iterator[Finding]:
    """A ServiceMonitor whose labels no Service has watches nothing, so nothing is ever down."""
    services = list(view.of_kind("Service"))
    for monitor in view.of_kind("ServiceMonitor"):
        wanted = texts(find(monitor.root, "spec.selector.matchLabels"))
        found = [service for service in services if wanted.items() <= service.labels.items()]
        where = find(monitor.root, "spec.selector") or monitor.root
        if not found:
            labels = ", ".join(f"{key}: {value}" for key, value in wanted.items())
            yield _finding(
                "service-monitor-selects-nothing",
                where,
                f"no Service here has the labels {labels}: 0 targets look as if none were down",
            )
            continue
        names = {text(port, "name") for service in found for port in items(service.root, "spec.ports")}
        for endpoint in items(monitor.root, "spec.endpoints"):
            port = text(endpoint, "port")
            if port and port not in names:
                yield _finding(
                    "service-monitor-selects-nothing",
                    endpoint,
                    f"no selected Service has a port named {port}",
                )


def unexpanded_variable(view: View) -> Iterator[Finding]:
    """A `${...}` that nothing will expand."""
    for manifest in view.manifests:
        if manifest.kind == "ConfigMap":
            continue  # files of programs that expand such things themselves
        for leaf in scalars(manifest.root):
            match = _UNEXPANDED.search(leaf.text)
            if match and not _is_shell(leaf):
                yield _finding(
                    "unexpanded-variable", leaf, f"{match[0]} was not expanded; set it before applying"
                )


def _is_shell(leaf: Leaf) -> bool:
    """Whether it is an argument of a container, where a shell may expand it."""
    return ".command[" in leaf.path or ".args[" in leaf.path


def port_env_differs(view: View) -> Iterator[Finding]:
    """A server told to listen on one port by PORT while another is declared."""
    for workload in view.workloads():
        for container in workload.containers():
            ports = {text(port, "containerPort") for port in items(container, "ports")}
            for entry in items(container, "env"):
                value = text(entry, "value")
                if text(entry, "name") == "PORT" and value.isdigit() and ports and value not in ports:
                    yield _finding(
                        "port-env-differs",
                        entry,
                        f"{workload.name}: PORT is {value}, containerPort {', '.join(sorted(ports))}",
                    )


def duplicate_env(view: View) -> Iterator[Finding]:
    """One environment name twice in a container: the last one silently wins."""
    for workload in view.workloads():
        for container in workload.containers():
            seen: dict[str, int] = {}
            for entry in items(container, "env"):
                name = text(entry, "name")
                if name in seen:
                    yield _finding(
                        "duplicate-env", entry, f"{workload.name}: {name} is already at line {seen[name]}"
                    )
                seen.setdefault(name, entry.line)


def gpu_amount(view: View) -> Iterator[Finding]:
    """GPUs are whole, stand under limits, and a request equals its limit."""
    for workload in view.workloads():
        for container in workload.containers():
            limit = _gpu(container, "limits")
            request = _gpu(container, "requests")
            for node in (limit, request):
                if isinstance(node, Leaf) and _FRACTION.match(node.text):
                    yield _finding(
                        "gpu-fraction", node, f"{workload.name}: {node.text} of a GPU; only whole ones exist"
                    )
            if isinstance(request, Leaf) and limit is None:
                yield _finding("gpu-without-limit", request, f"{workload.name}: GPUs stand under limits")
            elif isinstance(request, Leaf) and isinstance(limit, Leaf) and request.text != limit.text:
                yield _finding(
                    "gpu-request-differs",
                    request,
                    f"{workload.name}: request {request.text}, limit {limit.text}",
                )


def _gpu(container: Table, section: str) -> Node | None:
    table = find(container, f"resources.{section}")
    return table.get("nvidia.com/gpu") if isinstance(table, Table) else None


def readable_kubeconfig(view: View) -> Iterator[Finding]:
    """A kubeconfig that every user of the host can read is cluster admin for every user."""
    for manifest in view.manifests:
        if manifest.kind:
            continue
        node = manifest.root.get("write-kubeconfig-mode")
        if isinstance(node, Leaf) and _readable_by_others(node.text):
            yield _finding(
                "readable-kubeconfig", node, f"mode {node.text}: whoever can read it is cluster admin; 0600"
            )
    for manifest in view.manifests:
        for leaf in scalars(manifest.root):
            match = re.search(r"--write-kubeconfig-mode[= ]+(\d+)", leaf.text)
            if match and _readable_by_others(match[1]):
                yield _finding(
                    "readable-kubeconfig",
                    leaf,
                    f"mode {match[1]}: whoever can read it is cluster admin; 0600",
                )


def _readable_by_others(mode: str) -> bool:
    digits = mode.removeprefix("0o")
    return digits.isdigit() and not set(digits) - set("01234567") and bool(int(digits, 8) & 0o077)


def sessions_without_affinity(view: View) -> Iterator[Finding]:
    """Copies of a server that keeps sessions, behind a Service that sends each request anywhere."""
    for workload in view.of_kind("Deployment", "StatefulSet"):
        replicas = text(workload.root, "spec.replicas")
        labels = texts(find(workload.template, "metadata.labels"))
        notes = texts(find(workload.root, "metadata.annotations"))
        if labels.get("tier") != "mcp" or notes.get(_SESSION_NOTE) == "none":
            continue
        if not replicas.isdigit() or int(replicas) < 2:  # noqa: PLR2004  one copy loses nothing
            continue
        for service in view.of_kind("Service"):
            selector = texts(find(service.root, "spec.selector"))
            same = service.namespace == workload.namespace and selector and selector.items() <= labels.items()
            if same and text(service.root, "spec.sessionAffinity") != "ClientIP":
                yield _finding(
                    "sessions-without-affinity",
                    find(service.root, "spec") or service.root,
                    f"{replicas} copies of MCP server {workload.name} behind a plain Service lose sessions; "
                    f"sessionAffinity: ClientIP, or annotate {_SESSION_NOTE}: none",
                )


def slow_eviction(view: View) -> Iterator[Finding]:
    """50 s until a node counts as gone, then 300 s until its pods move: over the five minutes."""
    for workload in view.of_kind("Deployment"):
        spec = find(workload.template, "spec")
        given = {
            text(item, "key").removeprefix("node.kubernetes.io/"): text(item, "tolerationSeconds")
            for item in items(spec, "tolerations")
        }
        slow = [key for key in _DEFAULT_EVICTION if not _within(given.get(key, ""))]
        if slow:
            yield _finding(
                "slow-eviction",
                spec or workload.root,
                f"{workload.name}: its pods leave a dead node after 50 s + 300 s; "
                f"tolerate {' and '.join(slow)} for less than {_EVICTION_LIMIT_S} s",
            )


def _within(seconds: str) -> bool:
    return seconds.isdigit() and int(seconds) < _EVICTION_LIMIT_S


def takes_host_ports(view: View) -> Iterator[Finding]:
    """K3s's load balancer takes such ports on every node, from whatever serves there today."""
    for service in view.of_kind("Service"):
        if text(service.root, "spec.type") != "LoadBalancer":
            continue
        for port in items(service.root, "spec.ports"):
            if text(port, "port") in {"80", "443"}:
                yield _finding(
                    "takes-host-ports",
                    port,
                    f"Service {service.name}: on K3s it takes port {text(port, 'port')} of every node, "
                    "from a Swarm that still serves there too",
                )
    for workload in view.workloads():
        for container in workload.containers():
            for port in items(container, "ports"):
                if text(port, "hostPort") in {"80", "443"}:
                    yield _finding(
                        "takes-host-ports",
                        port,
                        f"{workload.name}: it takes the port of every node it runs on",
                    )


def large_local_volume(view: View) -> Iterator[Finding]:
    """local-path checks no size and ties the pod to the node: a large claim promises what is not there."""
    for manifest in view.of_kind("PersistentVolumeClaim"):
        yield from _local(manifest.name, find(manifest.root, "spec"))
    for manifest in view.of_kind("StatefulSet"):
        for claim in items(manifest.root, "spec.volumeClaimTemplates"):
            yield from _local(f"{manifest.name}/{text(claim, 'metadata.name')}", find(claim, "spec"))


def _local(name: str, spec: Node | None) -> Iterator[Finding]:
    size = find(spec, "resources.requests.storage")
    if not isinstance(size, Leaf) or text(spec, "storageClassName") != "local-path":
        return
    try:
        amount = units.parse_bytes(size.text)
    except units.UnitError:
        return
    if amount >= _LARGE_BYTES:
        yield _finding(
            "large-local-volume",
            size,
            f"{name}: local-path checks no size, and its pod stays on one node; measure the free space there",
        )


def backup_commands(view: View) -> Iterator[Finding]:
    """BGSAVE returns at once, and a redirected pg_dump hides that it was cut."""
    for leaf in _commands(view):
        if "BGSAVE" in leaf.text.upper() and "LASTSAVE" not in leaf.text.upper():
            yield _finding(
                "bgsave-not-waited-for",
                leaf,
                "BGSAVE returns before it has saved; wait for LASTSAVE to change",
            )
        if re.search(r"pg_dump(?:all)?\b[^|;&]*[>|]", leaf.text) and "pipefail" not in leaf.text:
            yield _finding(
                "pg-dump-redirected",
                leaf,
                "a cut dump looks whole: use -f FILE, or pipefail, and check its end",
            )


def one_curl_loop(view: View) -> Iterator[Finding]:
    """A loop of curl in one shell measures curl."""
    for leaf in _commands(view):
        if re.search(r"\b(?:while|for)\b.*\bcurl\b", leaf.text, re.DOTALL):
            yield _finding("curl-loop", leaf, "one loop of curl is no load test: it waits for each answer")


def gpu_by_grep(view: View) -> Iterator[Finding]:
    """Labels name nvidia where no GPU can be allocated."""
    for leaf in _commands(view):
        if re.search(r"describe\s+nodes?\b.*grep.*nvidia", leaf.text, re.DOTALL):
            yield _finding("gpu-by-grep", leaf, "it matches labels too; read .status.allocatable")


def velero_saves_nothing(view: View) -> Iterator[Finding]:
    """A backup without a bucket, or one that leaves volume data out."""
    for location in view.of_kind("BackupStorageLocation"):
        if not text(location.root, "spec.objectStorage.bucket"):
            yield _finding(
                "velero-without-bucket", location.root, f"{location.name}: there is no bucket to save into"
            )
    for backup in view.of_kind("Backup", "Schedule"):
        spec = find(backup.root, "spec.template" if backup.kind == "Schedule" else "spec")
        ways = ("defaultVolumesToFsBackup", "defaultVolumesToRestic", "snapshotMoveData")
        if not any(text(spec, way) == "true" for way in ways):
            yield _finding(
                "velero-without-volume-data",
                spec or backup.root,
                f"{backup.name}: volume data is saved only with defaultVolumesToFsBackup and a node agent",
            )


def sqlite_control_plane(view: View) -> Iterator[Finding]:
    """A K3s server without a cluster datastore is one process on one disk."""
    for manifest in view.manifests:
        root = manifest.root
        keys = set(root.entries)
        is_server = not manifest.kind and keys & {
            "write-kubeconfig-mode",
            "tls-san",
            "cluster-cidr",
            "disable",
            "node-taint",
        }
        if is_server and not keys & {"cluster-init", "datastore-endpoint", "server"}:
            yield _finding(
                "sqlite-control-plane",
                root,
                "one server on SQLite: 99.9 % leaves 43 minutes a month for restarts; use cluster-init",
            )


def _commands(view: View) -> Iterator[Leaf]:
    for workload in view.workloads():
        for container in workload.containers():
            for section in ("command", "args"):
                node = find(container, section)
                if isinstance(node, Listing):
                    yield from scalars(node)
    for manifest in view.of_kind("ConfigMap"):
        node = find(manifest.root, "data")
        if node is not None:
            yield from scalars(node)


RULES: tuple[Rule, ...] = (
    network_policy_denies_dns,
    service_monitor_selects_nothing,
    unexpanded_variable,
    port_env_differs,
    duplicate_env,
    gpu_amount,
    readable_kubeconfig,
    sessions_without_affinity,
    slow_eviction,
    takes_host_ports,
    large_local_volume,
    backup_commands,
    one_curl_loop,
    gpu_by_grep,
    velero_saves_nothing,
    sqlite_control_plane,
)
