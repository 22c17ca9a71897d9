"""Rebases the relative paths of a file that lies in another folder than the project."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioners.compose.nodes import Leaf, Listing, Node, Table

if TYPE_CHECKING:
    from collections.abc import Callable

REMOTE = ("http://", "https://", "git://", "ssh://", "git@", "oci://", "github.com/")


def rebased(root: Table, prefix: str) -> Table:
    """Return the root with its relative paths as they are seen from the project's folder."""
    if not prefix:
        return root
    sections = {
        "services": _service_paths,
        "secrets": _file_path,
        "configs": _file_path,
        "volumes": _driver_paths,
    }
    entries = dict(root.entries)
    for section, change in sections.items():
        node = entries.get(section)
        if isinstance(node, Table):
            changed = {
                key: change(value, prefix) if isinstance(value, Table) else value
                for key, value in node.entries.items()
            }
            entries[section] = replace(node, entries=changed)
    return replace(root, entries=entries)


def _service_paths(service: Table, prefix: str) -> Table:
    changes: dict[str, Callable[[Node, str], Node]] = {
        "build": _build,
        "env_file": _env_file,
        "label_file": _each_path,
        "volumes": _mounts,
        "extends": _file_path,
        "develop": _watched,
    }
    entries = {
        key: changes[key](value, prefix) if key in changes else value
        for key, value in service.entries.items()
    }
    return replace(service, entries=entries)


def _path(node: Node, prefix: str) -> Node:
    """Return a leaf that holds a path, rebased; absolute ones and `~` stay."""
    if not isinstance(node, Leaf) or node.is_null or not node.text or node.text.startswith(("/", "~")):
        return node
    return replace(node, text=_joined(prefix, node.text))


def _joined(prefix: str, path: str) -> str:
    joined = os.path.normpath(f"{prefix}/{path}")
    return joined if joined.startswith("..") else f"./{joined}"


def _context(node: Node, prefix: str) -> Node:
    if isinstance(node, Leaf) and (node.text.startswith(REMOTE) or "://" in node.text):
        return node
    return node if isinstance(node, Leaf) and node.text.startswith("service:") else _path(node, prefix)


def _build(node: Node, prefix: str) -> Node:
    if isinstance(node, Table):
        node = _in_table(node, "context", _context, prefix)
        return _in_table(node, "additional_contexts", _contexts, prefix)
    return _context(node, prefix)


def _contexts(node: Node, prefix: str) -> Node:
    if isinstance(node, Table):
        return replace(node, entries={key: _context(value, prefix) for key, value in node.entries.items()})
    return node


def _in_table(node: Node, key: str, change: Callable[[Node, str], Node], prefix: str) -> Node:
    value = node.entries.get(key) if isinstance(node, Table) else None
    if value is None or not isinstance(node, Table):
        return node
    return replace(node, entries={**node.entries, key: change(value, prefix)})


def _each(node: Node, change: Callable[[Node, str], Node], prefix: str) -> Node:
    if isinstance(node, Listing):
        return replace(node, items=tuple(change(item, prefix) for item in node.items))
    return change(node, prefix)


def _each_path(node: Node, prefix: str) -> Node:
    return _each(node, _path, prefix)


def _env_file(node: Node, prefix: str) -> Node:
    def one(item: Node, prefix: str) -> Node:
        return _in_table(item, "path", _path, prefix) if isinstance(item, Table) else _path(item, prefix)

    return _each(node, one, prefix)


def _mounts(node: Node, prefix: str) -> Node:
    return _each(node, _mount, prefix)


def _mount(item: Node, prefix: str) -> Node:
    if isinstance(item, Leaf):
        source, colon, rest = item.text.partition(":")
        return (
            replace(item, text=f"{_joined(prefix, source)}:{rest}") if colon and source[:1] == "." else item
        )
    kind = item.entries.get("type") if isinstance(item, Table) else None
    if isinstance(kind, Leaf) and kind.text == "bind":
        return _in_table(item, "source", _path, prefix)
    return item


def _watched(node: Node, prefix: str) -> Node:
    return _in_table(node, "watch", lambda watch, at: _each(watch, _file_in("path"), at), prefix)


def _file_in(key: str) -> Callable[[Node, str], Node]:
    return lambda node, prefix: _in_table(node, key, _path, prefix)


def _file_path(node: Node, prefix: str) -> Node:
    return _in_table(node, "file", _path, prefix)


def _driver_paths(node: Node, prefix: str) -> Node:
    """A volume of driver `local` that is a bind mount in disguise has a path in `device`."""
    options = node.entries.get("driver_opts") if isinstance(node, Table) else None
    kind = options.entries.get("o") if isinstance(options, Table) else None
    if isinstance(kind, Leaf) and "bind" in kind.text.split(","):
        return _in_table(node, "driver_opts", _file_in("device"), prefix)
    return node
