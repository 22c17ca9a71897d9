"""Merges compose files: later ones win by compose's rules, and nothing that loses is forgotten.

Tables merge by key; lists append, except those that are really tables (environment, labels,
networks, ...), those with an identity per item (ports by number, volumes by target), and
commands, which are replaced whole. `!reset` and `!override` are honoured.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.nodes import Leaf, Listing, Node, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_REPLACED = frozenset(("command", "entrypoint", "test"))
_PAIRS = frozenset(
    ("environment", "labels", "annotations", "args", "sysctls", "driver_opts", "options", "extra_hosts")
)
_NAMES = frozenset(("networks", "depends_on"))


@dataclass(frozen=True, slots=True)
class Overridden:
    """A value that a later file replaced."""

    node: Node
    by: Node


@dataclass(frozen=True, slots=True)
class Merge:
    """Merges nodes one after the other and keeps what was overridden on the way."""

    overridden: list[Overridden] = field(default_factory=list)

    def merge(self, base: Node, over: Node, key: str = "") -> Node | None:
        """Return `over` laid upon `base`; None when `over` takes the key away (`!reset`)."""
        if over.tag in {"!reset", "!override"}:
            self.overridden.append(Overridden(base, over))
            return None if over.tag == "!reset" else over
        base, over = _as_table(base, over, key)
        if isinstance(base, Table) and isinstance(over, Table):
            return self._tables(base, over)
        if isinstance(base, Listing) and isinstance(over, Listing) and key not in _REPLACED:
            return self._lists(base, over, _IDENTITY.get(key, _whole))
        if isinstance(base, Leaf) and isinstance(over, Leaf) and over.is_null and not base.is_null:
            # `key:` with nothing after it takes nothing away
            self.overridden.append(Overridden(over, base))
            return base
        self.overridden.append(Overridden(base, over))
        return over

    def _tables(self, base: Table, over: Table) -> Table:
        entries = dict(base.entries)
        for key, value in over.entries.items():
            old = entries.get(key)
            new = value if old is None else self.merge(old, value, key)
            if new is None or value.tag == "!reset":
                entries.pop(key, None)
            else:
                entries[key] = new
        return replace(base, entries=entries, merges=base.merges + over.merges)

    def _lists(self, base: Listing, over: Listing, identity: Callable[[Node], Hashable]) -> Listing:
        kept = {identity(item): item for item in base.items}
        for item in over.items:
            name = identity(item)
            if name in kept:
                self.overridden.append(Overridden(kept[name], item))
            kept[name] = item
        return replace(base, items=tuple(kept.values()))


def as_pairs(node: Node, separator: str = "=") -> Node:
    """Return a list of `key=value` as a table; the values keep the place of their items."""
    if not isinstance(node, Listing):
        return node
    entries: dict[str, Node] = {}
    for item in node.items:
        if not isinstance(item, Leaf):
            return node
        name, given, value = item.text.partition(separator)
        if name in entries:
            return node  # one name twice: the model tells which counts
        entries[name] = replace(item, text=value, plain=not given)
    return Table(entries, node.file, node.line, node.path, node.tag)


def as_names(node: Node) -> Node:
    """Return a list of names as a table without values."""
    if not isinstance(node, Listing):
        return node
    entries: dict[str, Node] = {}
    for item in node.items:
        if not isinstance(item, Leaf):
            return node
        entries[item.text] = replace(item, text="", plain=True)
    return Table(entries, node.file, node.line, node.path, node.tag)


def _as_table(base: Node, over: Node, key: str) -> tuple[Node, Node]:
    if key in _PAIRS:
        separator = ":" if key == "extra_hosts" else "="
        return as_pairs(base, separator), as_pairs(over, separator)
    if key in _NAMES:
        return as_names(base), as_names(over)
    return base, over


def _whole(item: Node) -> Hashable:
    return item.text if isinstance(item, Leaf) else item.path + item.file


def _port(item: Node) -> Hashable:
    if isinstance(item, Leaf):
        try:
            return units.parse_ports(item.text)
        except units.UnitError:
            return item.text
    if isinstance(item, Table):
        return tuple(_text(item, key) for key in ("host_ip", "target", "published", "protocol"))
    return item.path


def _mount(item: Node) -> Hashable:
    if isinstance(item, Leaf):
        try:
            return units.parse_mount(item.text).target
        except units.UnitError:
            return item.text
    return _text(item, "target")


def _reference(item: Node) -> Hashable:
    if isinstance(item, Leaf):
        return item.text
    return _text(item, "target") or _text(item, "source")


def _text(item: Node, key: str) -> str:
    found = item.entries.get(key) if isinstance(item, Table) else None
    return found.text if isinstance(found, Leaf) else ""


_IDENTITY: dict[str, Callable[[Node], Hashable]] = {
    "ports": _port,
    "volumes": _mount,
    "secrets": _reference,
    "configs": _reference,
}
