"""Rules about pods: variables, images, GPUs, requests, probes, rights, sessions, dead nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioners.compose.lint_view import (
    Finding,
    Manifest,
    Trap,
    View,
    find,
    finding,
    items,
    scalars,
    text,
    texts,
    trap,
)
from provisioners.compose.nodes import Leaf, Node, Table
from provisioners.compose.secrecy import is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

GPU = "nvidia.com/gpu"
SESSION_NOTE = "gonogo.dev/mcp-sessions"
_UNEXPANDED = re.compile(r"\$\{[^}]*\}?")
_IN_IMAGE = re.compile(r"\$\w+|\{\{.*?\}\}|<[^>]*>")
_FRACTION = re.compile(r"(?:\d*\.\d+|\d+m)\Z")
_PORT_NAMES = re.compile(r"(?:(?:MCP|APP|HTTP|LISTEN|SERVER)_)*PORT\Z")
_EVICTION_LIMIT_S = 240
_DEFAULT_EVICTION = ("not-ready", "unreachable")
_READY_PATH = re.compile(
    r"(?:^|/)(?:readyz?|readiness|deep|full|dependencies)(?:[/?]|\Z)|/health[^?]*\?.*full", re.IGNORECASE
)
_RUNS_ON = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")


@trap("unexpanded-variable")
def unexpanded_variable(view: View) -> Iterator[Finding]:
    """A `${...}` that nothing will expand; in an image any placeholder."""
    for manifest in view.manifests:
        if manifest.kind in {"ConfigMap", "Secret"}:
            continue  # files of programs that expand such things themselves
        for leaf in scalars(manifest.root):
            match = _UNEXPANDED.search(leaf.text)
            if match is None and leaf.path.endswith(".image"):
                match = _IN_IMAGE.search(leaf.text)
            if match and not _is_shell(leaf):
                message = f"{match[0]} was not expanded; set it before applying"
                yield finding("unexpanded-variable", leaf, message)


def _is_shell(leaf: Leaf) -> bool:
    """Whether it is an argument of a container, where a shell may expand it."""
    return ".command[" in leaf.path or ".args[" in leaf.path


@trap("port-env-differs")
def port_env_differs(view: View) -> Iterator[Finding]:
    """A server told to listen on one port by PORT while another is declared."""
    for workload, container in _containers(view):
        ports = {text(port, "containerPort") for port in items(container, "ports")}
        for entry in items(container, "env"):
            name, value = text(entry, "name"), text(entry, "value")
            if _PORT_NAMES.match(name) and value.isdigit() and ports and value not in ports:
                message = f"{workload.name}: {name} is {value}, containerPort {', '.join(sorted(ports))}"
                yield finding("port-env-differs", entry, message)


@trap("duplicate-env")
def duplicate_env(view: View) -> Iterator[Finding]:
    """One environment name twice in a container: server-side apply refuses it, else the last one wins."""
    for workload, container in _containers(view):
        seen: dict[str, int] = {}
        for entry in items(container, "env"):
            name = text(entry, "name")
            if name in seen:
                message = f"{workload.name}: {name} is already at line {seen[name]}"
                yield finding("duplicate-env", entry, message)
            seen.setdefault(name, entry.line)


@trap("secret-in-plain-sight")
def secret_in_plain_sight(view: View) -> Iterator[Finding]:
    """A password, token or key that whoever may read workloads or ConfigMaps can read."""
    for workload, container in _containers(view):
        for entry in items(container, "env"):
            name = text(entry, "name")
            if is_secret(name, text(entry, "value")):
                message = f"{workload.name}: {name} stands in plain sight; use a Secret and secretKeyRef"
                yield finding("secret-in-plain-sight", entry, message)
    for manifest in view.of_kind("ConfigMap"):
        data = find(manifest.root, "data")
        for key, node in (data.entries if isinstance(data, Table) else {}).items():
            if isinstance(node, Leaf) and "\n" not in node.text and is_secret(key, node.text):
                message = f"ConfigMap {manifest.name}: {key} stands in plain sight; use a Secret"
                yield finding("secret-in-plain-sight", node, message)


@trap("latest-image")
def latest_image(view: View) -> Iterator[Finding]:
    """An image that is another one tomorrow: two nodes may run two versions, and there is no way back."""
    for workload, container in _containers(view):
        node = find(container, "image")
        if not isinstance(node, Leaf) or "@" in node.text or not node.text:
            continue
        tag = node.text.rpartition("/")[2].partition(":")[2]
        if tag in {"", "latest"}:
            message = f"{workload.name}: {node.text} names no version; give a tag of its own, or a digest"
            yield finding("latest-image", node, message)


@trap("gpu-fraction", "gpu-without-limit", "gpu-request-differs")
def gpu_amount(view: View) -> Iterator[Finding]:
    """GPUs are whole, stand under limits, and a request equals its limit."""
    for workload, container in _containers(view):
        limit, request = _gpu(container, "limits"), _gpu(container, "requests")
        for node in (limit, request):
            if isinstance(node, Leaf) and _FRACTION.match(node.text):
                message = f"{workload.name}: {node.text} of a GPU; only whole ones exist"
                yield finding("gpu-fraction", node, message)
        if isinstance(request, Leaf) and limit is None:
            yield finding("gpu-without-limit", request, f"{workload.name}: GPUs stand under limits")
        elif isinstance(request, Leaf) and isinstance(limit, Leaf) and request.text != limit.text:
            message = f"{workload.name}: request {request.text}, limit {limit.text}"
            yield finding("gpu-request-differs", request, message)


def _gpu(container: Table, section: str) -> Node | None:
    amounts = find(container, f"resources.{section}")
    return amounts.get(GPU) if isinstance(amounts, Table) else None


@trap("missing-requests", "missing-memory-limit")
def missing_resources(view: View) -> Iterator[Finding]:
    """Without requests the scheduler packs blindly; without a memory limit one leak takes the node."""
    for workload in view.of_kind(*_RUNS_ON):
        for container in workload.main_containers():
            resources = find(container, "resources")
            limits, requests = (texts(find(resources, key)) for key in ("limits", "requests"))
            where, name = resources or container, text(container, "name")
            lacking = [key for key in ("cpu", "memory") if key not in {**limits, **requests}]
            if lacking:  # a limit alone is a request of the same size
                message = f"{workload.name}/{name} requests no {' and no '.join(lacking)}"
                yield finding("missing-requests", where, f"{message}: the scheduler counts it as nothing")
            if "memory" not in limits:
                message = f"{workload.name}/{name} has no memory limit: a leak takes its neighbours along"
                yield finding("missing-memory-limit", where, message)


@trap("no-readiness", "liveness-asks-backends")
def probes(view: View) -> Iterator[Finding]:
    """Traffic before a server can work; restarts because something else is down."""
    served = {id(one.root) for service in view.of_kind("Service") for one in view.behind(service)}
    for workload in view.of_kind(*_RUNS_ON):
        ready = [one for one in workload.main_containers() if find(one, "readinessProbe") is not None]
        if not ready and id(workload.root) in served:
            yield finding(
                "no-readiness",
                find(workload.template, "spec.containers") or workload.root,
                f"{workload.name}: a Service sends traffic as soon as it runs; give it a readinessProbe",
            )
        for container in workload.main_containers():
            probe = find(container, "livenessProbe")
            path = text(probe, "httpGet.path")
            if probe is not None and _READY_PATH.search(path):
                message = f"{workload.name}: {path} fails when a backend is away, so all copies restart"
                yield finding("liveness-asks-backends", find(probe, "httpGet.path") or probe, message)


@trap("host-access")
def host_access(view: View) -> Iterator[Finding]:
    """Pods that can reach into their node: its network, processes, files, or all of it."""
    for workload in view.workloads():
        spec = find(workload.template, "spec")
        for field in _HOST_FIELDS:
            node = find(spec, field)
            if node is not None and text(spec, field) == "true":
                yield finding("host-access", node, f"{workload.name}: {field} shares it with the node")
        for volume in items(spec, "volumes"):
            node = find(volume, "hostPath")
            if isinstance(node, Table):
                message = f"{workload.name}: {text(node, 'path')} of whichever node it runs on"
                yield finding("host-access", node, message)
        for container in workload.containers():
            node = find(container, "securityContext.privileged")
            if node is not None and text(container, "securityContext.privileged") == "true":
                yield finding("host-access", node, f"{workload.name}: privileged is root on the node")


@trap("sessions-without-affinity")
def sessions_without_affinity(view: View) -> Iterator[Finding]:
    """Copies of a server that keeps sessions, behind a Service that sends each request anywhere."""
    for workload in view.of_kind("Deployment", "StatefulSet"):
        notes = texts(find(workload.root, "metadata.annotations"))
        if workload.pod_labels.get("tier") != "mcp" or notes.get(SESSION_NOTE) == "none":
            continue
        copies = view.copies(workload)
        for service in view.of_kind("Service") if copies > 1 else ():
            plain = text(service.root, "spec.sessionAffinity") != "ClientIP"
            if plain and workload in view.behind(service):
                yield finding(
                    "sessions-without-affinity",
                    find(service.root, "spec") or service.root,
                    f"{copies} copies of MCP server {workload.name} behind a plain Service lose sessions; "
                    f"sessionAffinity: ClientIP, or annotate {SESSION_NOTE}: none",
                )


@trap("slow-eviction", "tolerates-everything")
def tolerations(view: View) -> Iterator[Finding]:
    """50 s until a node counts as gone, then 300 s until its pods move: over the five minutes."""
    for workload in view.of_kind("Deployment", "StatefulSet"):
        spec = find(workload.template, "spec")
        rows = items(spec, "tolerations")
        for row in rows:
            if not text(row, "key") and not text(row, "tolerationSeconds"):
                message = f"{workload.name}: it tolerates every taint, so it stays on dead and drained nodes"
                yield finding("tolerates-everything", row, message)
        given = {
            text(row, "key").removeprefix("node.kubernetes.io/"): text(row, "tolerationSeconds")
            for row in rows
        }
        slow = [key for key in _DEFAULT_EVICTION if not _within(given.get(key, ""))]
        if slow:
            yield finding(
                "slow-eviction",
                spec or workload.root,
                f"{workload.name}: its pods leave a dead node after 50 s + 300 s; "
                f"tolerate {' and '.join(slow)} for less than {_EVICTION_LIMIT_S} s",
            )


def _within(seconds: str) -> bool:
    return seconds.isdigit() and int(seconds) < _EVICTION_LIMIT_S


def _containers(view: View) -> Iterator[tuple[Manifest, Table]]:
    return ((workload, container) for workload in view.workloads() for container in workload.containers())


RULES: tuple[Trap, ...] = (
    unexpanded_variable,
    port_env_differs,
    duplicate_env,
    secret_in_plain_sight,
    latest_image,
    gpu_amount,
    missing_resources,
    probes,
    host_access,
    sessions_without_affinity,
    tolerations,
)
__all__ = ["GPU", "RULES", "SESSION_NOTE"]
