"""What of borrowed files arrived: `extends` takes one service of a file, and services share leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.merge import Overridden
from provisioners.compose.model import Given
from provisioners.compose.nodes import Node, Table, leaves
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioners.compose.files import Files

_Key = tuple[str, int, str]
_SECTIONS = frozenset(("services", "networks", "volumes", "secrets", "configs", "models", "jobs"))
_WHYS = {
    "version": "the version of the file format; nothing else depends on it",
    "name": "the project has the name of the file that was given",
}


@dataclass(frozen=True, slots=True)
class Arrived:
    """Sets what the merged root holds against what the files hold.

    A leaf that one service overrides and another one takes has arrived; it is no loss.
    Nothing is compared for a project without `extends` and `include`.
    """

    files: Files
    root: Table
    over: tuple[Overridden, ...]
    asleep: tuple[Given[str], ...]

    def overridden(self) -> tuple[Overridden, ...]:
        """Return what was overridden and arrived nowhere else."""
        if not self._shared:
            return self.over
        live = self._live()
        found: list[Overridden] = []
        for item in self.over:
            if _in_one_list(item):
                found.append(item)  # one name twice in a list: wherever the list arrives, this item does not
                continue
            lost = [leaf for leaf in leaves(item.node) if _key(leaf) not in live]
            whole = len(lost) == len(leaves(item.node))
            found += [item] if whole else [Overridden(leaf, item.by) for leaf in lost]
        return tuple(found)

    def inactive(self) -> tuple[Given[str], ...]:
        """Return the services without an active profile, or those leaves of them that no other one has."""
        if not self._shared or not self.asleep:
            return self.asleep
        sleeping = {id(given.at) for given in self.asleep}
        live = {_key(leaf) for node in self._services() if id(node) not in sleeping for leaf in leaves(node)}
        return tuple(
            Given(given.value, leaf)
            for given in self.asleep
            for leaf in leaves(given.at)
            if _key(leaf) not in live
        )

    def unused(self) -> tuple[Given[str], ...]:
        """Return what of borrowed files is not part of the project."""
        if not self.files.borrowed:
            return ()
        spoken = self._live()
        spoken |= {_key(leaf) for item in self.over for leaf in leaves(item.node)}
        spoken |= {_key(leaf) for given in self.files.taken for leaf in leaves(given.at)}
        found: list[Given[str]] = []
        for name in self.files.borrowed:
            for node in _parts(self.files.sources[name].root):
                lost = [leaf for leaf in leaves(node) if _key(leaf) not in spoken]
                whole = len(lost) == len(leaves(node))
                found += [Given(_why(part), part) for part in ([node] if whole and lost else lost)]
        return tuple(found)

    @property
    def _shared(self) -> bool:
        return bool(self.files.borrowed or self.files.taken)

    def _live(self) -> set[_Key]:
        return {_key(leaf) for leaf in leaves(self.root)}

    def _services(self) -> tuple[Node, ...]:
        node = self.root.get("services")
        return tuple(node.entries.values()) if isinstance(node, Table) else ()


def _parts(root: Table) -> Iterator[Node]:
    """Yield what is told of as one: entries of sections, and other keys whole."""
    for key, node in root.entries.items():
        if key in _SECTIONS and isinstance(node, Table) and node.entries:
            yield from node.entries.values()
        else:
            yield node


def _why(node: Node) -> str:
    if node.path.startswith("x-"):
        return "an extension: what aliases take from it is accounted for where it lands"
    return _WHYS.get(node.path, "only parts of this file are used, and this is none of them")


def _in_one_list(item: Overridden) -> bool:
    node, by = item.node, item.by
    parent = by.path.rpartition("[")[0]
    return bool(parent) and node.file == by.file and node.path.rpartition("[")[0] == parent


def _key(leaf: Node) -> _Key:
    return leaf.file, leaf.line, leaf.path
