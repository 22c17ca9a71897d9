"""What lint rules look at: manifests as nodes with lines, and ways to find things in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.reader import read_documents, read_text_of
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.validate_names import Steps

WORKLOADS = frozenset(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"))
SCALED = ("Deployment", "StatefulSet", "ReplicaSet")
_K3S_KEYS = frozenset(
    ("write-kubeconfig-mode", "tls-san", "cluster-cidr", "cluster-init", "disable", "node-taint")
)
# What Kubernetes' own reader of YAML takes an unquoted word for; it is YAML 1.1, `on` and `y` too.
_TRUE = frozenset(("y", "yes", "true", "on"))
_FALSE = frozenset(("n", "no", "false", "off"))
_INTEGER = re.compile(r"[-+]?(?:0b[01]+|0o?[0-7]+|0x[0-9a-fA-F]+|[0-9][0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")


@dataclass(frozen=True, slots=True)
class Finding:
    """One trap: the rule's name, where it is, and what to do about it."""

    rule: str
    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True)
class Manifest:
    """One object of a file."""

    root: Table

    @cached_property
    def kind(self) -> str:
        """Its kind; empty for a file that is no Kubernetes object, such as K3s's config.yaml."""
        return text(self.root, "kind")

    @cached_property
    def name(self) -> str:
        """Its name."""
        return text(self.root, "metadata.name")

    @cached_property
    def namespace(self) -> str:
        """Its namespace."""
        return text(self.root, "metadata.namespace") or "default"

    @cached_property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return texts(find(self.root, "metadata.labels"))

    @cached_property
    def pod_labels(self) -> dict[str, str]:
        """The labels of its pods."""
        return texts(find(self.template, "metadata.labels"))

    @cached_property
    def template(self) -> Table | None:
        """The pod template of a workload; the object itself for a Pod."""
        if self.kind not in WORKLOADS:
            return None
        if self.kind == "Pod":
            return self.root
        path = "spec.jobTemplate.spec.template" if self.kind == "CronJob" else "spec.template"
        found = find(self.root, path)
        return found if isinstance(found, Table) else None

    @cached_property
    def is_k3s_server(self) -> bool:
        """Whether it is the config file of a K3s server, which has no kind."""
        return not self.kind and bool(_K3S_KEYS & self.root.entries.keys())

    def containers(self) -> Iterator[Table]:
        """Yield its containers, init containers too."""
        for section in ("spec.initContainers", "spec.containers"):
            yield from (item for item in items(self.template, section) if isinstance(item, Table))

    def main_containers(self) -> Iterator[Table]:
        """Yield its containers without those that end before the others start."""
        yield from (item for item in items(self.template, "spec.containers") if isinstance(item, Table))


@dataclass(frozen=True)
class View:
    """All manifests together."""

    manifests: tuple[Manifest, ...]

    @cached_property
    def _labelled(self) -> dict[tuple[str, str, str], list[Manifest]]:
        """Workloads by namespace and by each label of their pods."""
        found: dict[tuple[str, str, str], list[Manifest]] = {}
        for workload in self.workloads():
            for key, value in workload.pod_labels.items():
                found.setdefault((workload.namespace, key, value), []).append(workload)
        return found

    @cached_property
    def _scalers(self) -> dict[tuple[str, str, str], list[Manifest]]:
        """Autoscalers by namespace, kind and name of what they scale."""
        found: dict[tuple[str, str, str], list[Manifest]] = {}
        for scaler in self.of_kind("HorizontalPodAutoscaler"):
            target = find(scaler.root, "spec.scaleTargetRef")
            key = (scaler.namespace, text(target, "kind"), text(target, "name"))
            found.setdefault(key, []).append(scaler)
        return found

    def of_kind(self, *kinds: str) -> Iterator[Manifest]:
        """Yield the objects of some kinds."""
        return (manifest for manifest in self.manifests if manifest.kind in kinds)

    def workloads(self) -> Iterator[Manifest]:
        """Yield what has pods."""
        return self.of_kind(*WORKLOADS)

    def behind(self, service: Manifest) -> list[Manifest]:
        """Return the workloads whose pods a Service selects; none for one without a selector."""
        wanted = texts(find(service.root, "spec.selector"))
        if not wanted:
            return []
        rows = [self._labelled.get((service.namespace, *pair), []) for pair in wanted.items()]
        return [one for one in min(rows, key=len) if wanted.items() <= one.pod_labels.items()]

    def copies(self, workload: Manifest) -> int:
        """Return how many pods a workload may have at once: its replicas, or what an autoscaler allows."""
        scalers = self._scalers.get((workload.namespace, workload.kind, workload.name), [])
        most = [text(scaler.root, "spec.maxReplicas") for scaler in scalers]
        numbers = [int(value) for value in (text(workload.root, "spec.replicas"), *most) if value.isdigit()]
        return max(numbers, default=1)


Rule: TypeAlias = Callable[[View], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Trap:
    """One thing that the lint looks for: the names its findings may have, and how it looks."""

    names: tuple[str, ...]
    check: Rule


def trap(*names: str) -> Callable[[Rule], Trap]:
    """Mark a function as a rule that yields findings of these names."""
    return lambda check: Trap(names, check)


def finding(rule: str, node: Node, message: str) -> Finding:
    """Return a finding at a node."""
    return Finding(rule, node.file, node.line, node.path, message)


def read_manifests(
    files: Mapping[str, Path | str],
) -> tuple[tuple[Manifest, ...], tuple[Finding, ...], tuple[str, ...]]:
    """Return the objects of files (paths, or text itself), duplicate keys, and what cannot be read."""
    manifests: list[Manifest] = []
    found: list[Finding] = []
    unreadable: list[str] = []
    for name, source in files.items():
        try:
            body = read_text_of(source, name) if isinstance(source, Path) else source
            for document in read_documents(body, name):
                found += [
                    Finding(
                        "duplicate-key",
                        item.file,
                        item.line,
                        item.path,
                        f"it is already at line {item.first_line}",
                    )
                    for item in document.duplicates
                ]
                manifests += _objects(document.root)
        except InputError as error:
            unreadable.append(f"{error.where}: {error.what}{f': {error.why}' if error.why else ''}")
    return tuple(manifests), tuple(found), tuple(unreadable)


def _objects(root: Node) -> Iterator[Manifest]:
    if not isinstance(root, Table):
        return
    listed = root.get("items")
    if text(root, "kind").endswith("List") and isinstance(listed, Listing):
        for item in listed.items:
            yield from _objects(item)
        return
    yield Manifest(root)


def find(node: Node | None, path: str) -> Node | None:
    """Return what is at a dotted path below a node; None when there is nothing."""
    for step in path.split("."):
        if not isinstance(node, Table):
            return None
        node = node.get(step)
    return node


def text(node: Node | None, path: str) -> str:
    """Return the text of a scalar at a path; empty when there is none."""
    found = find(node, path)
    return found.text if isinstance(found, Leaf) and not found.is_null else ""


def texts(node: Node | None) -> dict[str, str]:
    """Return a table of scalars as text."""
    if not isinstance(node, Table):
        return {}
    return {key: value.text for key, value in node.entries.items() if isinstance(value, Leaf)}


def items(node: Node | None, path: str) -> tuple[Node, ...]:
    """Return the items of a list at a path."""
    found = find(node, path)
    return found.items if isinstance(found, Listing) else ()


def words(node: Node | None, path: str) -> list[str]:
    """Return the scalars of a list at a path as text; a scalar alone is a list of one."""
    found = find(node, path)
    if isinstance(found, Leaf):
        return [found.text]
    return [item.text for item in items(node, path) if isinstance(item, Leaf)]


def scalars(node: Node) -> Iterator[Leaf]:
    """Yield every scalar below a node."""
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, Listing):
        for item in node.items:
            yield from scalars(item)
    else:
        for value in node.entries.values():
            yield from scalars(value)


def at_steps(node: Node, steps: Steps) -> Node:
    """Return what is at some steps below a node, or the last one on the way that is there."""
    for step in steps:
        inner: Node | None = None
        if isinstance(node, Table) and isinstance(step, str):
            inner = node.get(step)
        elif isinstance(node, Listing) and isinstance(step, int) and step < len(node.items):
            inner = node.items[step]
        if inner is None:
            return node
        node = inner
    return node


def as_kubernetes_reads(node: Node) -> Any:
    """Return a node as plain data, unquoted scalars as Kubernetes' reader of YAML resolves them."""
    if isinstance(node, Table):
        return {key: as_kubernetes_reads(value) for key, value in node.entries.items()}
    if isinstance(node, Listing):
        return [as_kubernetes_reads(item) for item in node.items]
    return _scalar(node.text) if node.plain else node.text


def _scalar(word: str) -> object:
    small = word.lower()
    if small in {"", "~", "null"}:
        return None
    if small in _TRUE or small in _FALSE:
        return small in _TRUE
    if _INTEGER.match(word):
        digits = word.replace("_", "")
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
        try:
            return int(f"{octal[1]}{octal[2]}", 8) if octal else int(digits, 0)
        except ValueError:
            pass  # 089 is no octal number, so it is a decimal fraction without one
    return float(word) if _FLOAT.match(word) else word
