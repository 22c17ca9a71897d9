"""Merges compose files: later ones win by compose's rules, and nothing that loses is forgotten.

Tables merge by key; lists append without equal items, except those that are really tables
(environment, labels, networks, ...), those with an identity per item (ports by number, volumes by
target), and commands, which are replaced whole. `!reset` and `!override` are honoured.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, TypeVar

from provisioners.compose import units
from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

K = TypeVar("K")

_REPLACED = frozenset(("command", "entrypoint", "test"))
_PAIRS = frozenset(("environment", "labels", "annotations", "args", "sysctls", "additional_contexts"))
_NAMES = frozenset(("networks", "depends_on", "models"))
_SEQUENCES = frozenset(("env_file", "label_file", "dns", "dns_search", "dns_opt", "tmpfs", "extra_hosts"))
_ANY = "0.0.0.0"  # noqa: S104  what a port without an address is published on
_RESET, _OVERRIDE = "!reset", "!override"


@dataclass(frozen=True, slots=True)
class Overridden:
    """A value that a later file replaced."""

    node: Node
    by: Node


@dataclass(frozen=True, slots=True)
class Merge:
    """Merges nodes one after the other; keeps what was overridden, and the `!reset` that did it."""

    overridden: list[Overridden] = field(default_factory=list)
    resets: list[Node] = field(default_factory=list)

    def merge(self, base: Node, over: Node, key: str = "") -> Node | None:
        """Return `over` laid upon `base`; None when `over` takes the key away (`!reset`)."""
        if over.tag in {_RESET, _OVERRIDE}:
            self.overridden.append(Overridden(base, over))
            return self._unless_reset(over)
        if base.tag == _RESET:
            self.resets.append(base)
            return over
        if key in _PAIRS:
            base, over = self._pairs(base), self._pairs(over)
        base, over = _alike(base, over, key)
        if isinstance(base, Table) and isinstance(over, Table) and not _other_driver(base, over, key):
            return self._tables(base, over, null_wins=key in _PAIRS)
        if isinstance(base, Listing) and isinstance(over, Listing) and key not in _REPLACED:
            return self._lists(base, over, key)
        if isinstance(over, Leaf) and over.is_null and not _is_null(base) and key not in _REPLACED:
            # `key:` with nothing after it takes nothing away
            self.overridden.append(Overridden(over, base))
            return base
        self.overridden.append(Overridden(base, over))
        return over

    def _pairs(self, node: Node) -> Node:
        """Return a list of `key=value` as a table; of a name that stands twice the last one counts."""
        found = as_pairs(node)
        if not isinstance(found, Listing) or not all(isinstance(item, Leaf) for item in found.items):
            return found
        kept: dict[str, Leaf] = {}
        for item in found.items:
            if isinstance(item, Leaf):
                name = item.text.partition("=")[0]
                if name in kept:
                    self.overridden.append(Overridden(kept[name], item))
                kept[name] = item
        return as_pairs(replace(found, items=tuple(kept.values())))

    def _unless_reset(self, node: Node) -> Node | None:
        if node.tag != _RESET:
            return node
        self.resets.append(node)
        return None

    def _tables(self, base: Table, over: Table, *, null_wins: bool) -> Table:
        entries = dict(base.entries)
        for key, value in over.entries.items():
            old = entries.get(key)
            new: Node | None = value
            if old is None:
                new = self._unless_reset(value)
            elif null_wins and _is_null(value):
                self.overridden.append(Overridden(old, value))
            else:
                new = self.merge(old, value, key)
            if new is None:
                entries.pop(key, None)
            else:
                entries[key] = new
        return replace(base, entries=entries, merges=base.merges + over.merges, tag="")

    def _lists(self, base: Listing, over: Listing, key: str) -> Listing:
        identity = _IDENTITY.get(key, _frozen)
        kept: dict[Hashable, Node] = {}
        for item in (*base.items, *over.items):
            name = identity(item)
            old = kept.get(name)
            if old is None:
                kept[name] = item
            elif key == "config" and isinstance(old, Table) and isinstance(item, Table):
                kept[name] = self._tables(old, item, null_wins=False)
            else:
                self.overridden.append(Overridden(old, item))
                kept[name] = item
        return replace(base, items=tuple(kept.values()), tag="")

    def without_resets(self, node: Node) -> Node:
        """Return a node without what is still marked `!reset`: there was nothing to take away."""
        if isinstance(node, Table):
            entries = {key: self.without_resets(value) for key, value in self._kept(node.entries)}
            return replace(node, entries=entries)
        if isinstance(node, Listing):
            items = [self.without_resets(value) for _, value in self._kept(dict(enumerate(node.items)))]
            return replace(node, items=tuple(items))
        return node

    def _kept(self, entries: Mapping[K, Node]) -> list[tuple[K, Node]]:
        self.resets.extend(value for value in entries.values() if value.tag == _RESET)
        return [(key, value) for key, value in entries.items() if value.tag != _RESET]


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
        entries[name] = Leaf(value, not given, item.file, item.line, item.path, item.tag)
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


def _alike(base: Node, over: Node, key: str) -> tuple[Node, Node]:
    """Return both in the one form in which the values of a key merge."""
    if key in _NAMES:
        return as_names(base), as_names(over)
    if key in _SEQUENCES:
        return _as_list(base), _as_list(over)
    if key == "build":
        return _as_build(base), _as_build(over)
    return base, over


def _as_list(node: Node) -> Node:
    """Return one text as a list of one, and a table of hosts as a list of `host=address`."""
    if isinstance(node, Leaf) and not node.is_null:
        return Listing((node,), node.file, node.line, node.path)
    if isinstance(node, Table):
        items: list[Node] = []
        for name, value in node.entries.items():
            addresses = value.items if isinstance(value, Listing) else (value,)
            items += [_host(name, item) for item in addresses]
        return Listing(tuple(items), node.file, node.line, node.path)
    return node


def _host(name: str, address: Node) -> Node:
    return replace(address, text=f"{name}={address.text}") if isinstance(address, Leaf) else address


def _as_build(node: Node) -> Node:
    if isinstance(node, Leaf) and not node.is_null:
        return Table({"context": node}, node.file, node.line, node.path)
    return node


def _other_driver(base: Table, over: Table, key: str) -> bool:
    """Whether two `logging` tables name two drivers: then the options of one mean nothing to the other."""
    first, second = _text(base, "driver"), _text(over, "driver")
    return key == "logging" and bool(first and second) and first != second


def _is_null(node: Node) -> bool:
    return isinstance(node, Leaf) and node.is_null


def _frozen(item: Node) -> Hashable:
    """Return what two equal nodes have in common."""
    if isinstance(item, Leaf):
        return item.text
    if isinstance(item, Listing):
        return tuple(_frozen(value) for value in item.items)
    return frozenset((key, _frozen(value)) for key, value in item.entries.items())


def _port(item: Node) -> Hashable:
    try:
        if isinstance(item, Leaf):
            return tuple(map(_anywhere, units.parse_ports(item.text)))
        target, published = units.parse_port(_text(item, "target")), _text(item, "published")
        number = units.parse_port(published) if published else None
        port = units.PortText(
            target, number, _text(item, "protocol") or "tcp", _text(item, "host_ip") or _ANY
        )
    except units.UnitError:
        return _frozen(item)
    return (port,)


def _anywhere(port: units.PortText) -> units.PortText:
    return replace(port, host_ip=port.host_ip or _ANY)


def _mount(item: Node) -> Hashable:
    if isinstance(item, Leaf):
        try:
            return units.parse_mount(item.text).target
        except units.UnitError:
            return item.text
    return _text(item, "target") or _frozen(item)


def _reference(item: Node) -> Hashable:
    if isinstance(item, Leaf):
        return item.text
    return _text(item, "target") or _text(item, "source") or _frozen(item)


def _text(item: Node, key: str) -> str:
    found = item.entries.get(key) if isinstance(item, Table) else None
    return found.text if isinstance(found, Leaf) else ""


def _device(item: Node) -> Hashable:
    if isinstance(item, Leaf):
        source, _, rest = item.text.partition(":")
        return rest.partition(":")[0] or source
    return _text(item, "target") or _frozen(item)


def _env_file(item: Node) -> Hashable:
    return item.text if isinstance(item, Leaf) else _text(item, "path") or _frozen(item)


def _subnet(item: Node) -> Hashable:
    return _text(item, "subnet") or _frozen(item)


_IDENTITY: dict[str, Callable[[Node], Hashable]] = {
    "ports": _port,
    "volumes": _mount,
    "secrets": _reference,
    "configs": _reference,
    "devices": _device,
    "env_file": _env_file,
    "config": _subnet,
}
