"""What lint rules look at: manifests as nodes with lines, and ways to find things in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.reader import read_documents, read_text_of
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WORKLOADS = frozenset(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"))


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


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file."""

    root: Table

    @property
    def kind(self) -> str:
        """Its kind; empty for a file that is no Kubernetes object, such as K3s's config.yaml."""
        return text(self.root, "kind")

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.root, "metadata.name")

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return text(self.root, "metadata.namespace") or "default"

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return texts(find(self.root, "metadata.labels"))

    @property
    def template(self) -> Table | None:
        """The pod template of a workload; the object itself for a Pod."""
        if self.kind not in WORKLOADS:
            return None
        if self.kind == "Pod":
            return self.root
        path = "spec.jobTemplate.spec.template" if self.kind == "CronJob" else "spec.template"
        found = find(self.root, path)
        return found if isinstance(found, Table) else None

    def containers(self) -> Iterator[Table]:
        """Yield its containers, init containers too."""
        for section in ("spec.initContainers", "spec.containers"):
            listing = find(self.template, section)
            if isinstance(listing, Listing):
                yield from (item for item in listing.items if isinstance(item, Table))


@dataclass(frozen=True, slots=True)
class View:
    """All manifests together."""

    manifests: tuple[Manifest, ...]

    def of_kind(self, *kinds: str) -> Iterator[Manifest]:
        """Yield the objects of some kinds."""
        return (manifest for manifest in self.manifests if manifest.kind in kinds)

    def workloads(self) -> Iterator[Manifest]:
        """Yield what has pods."""
        return self.of_kind(*WORKLOADS)


def read_manifests(files: Mapping[str, Path | str]) -> tuple[tuple[Manifest, ...], tuple[Finding, ...]]:
    """Return the objects of files (paths, or text itself), and findings for what cannot be read."""
    manifests: list[Manifest] = []
    found: list[Finding] = []
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
            line = error.where.rpartition(":")[2]
            found.append(
                Finding(
                    "unreadable",
                    name,
                    int(line) if line.isdigit() else 1,
                    "",
                    f"{error.what} {error.why}".strip(),
                )
            )
    return tuple(manifests), tuple(found)


def _objects(root: Node) -> Iterator[Manifest]:
    if not isinstance(root, Table):
        return
    items = root.get("items")
    if text(root, "kind") == "List" and isinstance(items, Listing):
        for item in items.items:
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
    return found.text if isinstance(found, Leaf) else ""


def texts(node: Node | None) -> dict[str, str]:
    """Return a table of scalars as text."""
    if not isinstance(node, Table):
        return {}
    return {key: value.text for key, value in node.entries.items() if isinstance(value, Leaf)}


def items(node: Node | None, path: str) -> tuple[Node, ...]:
    """Return the items of a list at a path."""
    found = find(node, path)
    return found.items if isinstance(found, Listing) else ()


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
