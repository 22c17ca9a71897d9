"""The parsed text of a compose file: leaves, lists and tables that know their file, line and path.

Every scalar stays the text that was written, so `22:22`, `on` and `0644` are never turned
into something else; the typed model reads each one as what its key asks for.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, TypeAlias

from provisioners.compose import scalars
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """One scalar; `plain` tells an unquoted one, which may mean a number, a boolean or nothing."""

    text: str
    plain: bool
    file: str
    line: int
    path: str
    tag: str = ""

    @property
    def is_null(self) -> bool:
        """Whether this is YAML's null: `~`, `null` or nothing at all, unquoted."""
        return self.plain and self.text in scalars.NULLS


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """A YAML sequence."""

    items: tuple[Node, ...]
    file: str
    line: int
    path: str
    tag: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A YAML mapping with text keys, merge keys already applied."""

    entries: Mapping[str, Node]
    file: str
    line: int
    path: str
    tag: str = ""
    merges: tuple[Leaf, ...] = field(default=())

    def get(self, key: str) -> Node | None:
        """Return the value of `key`, or None when it is absent."""
        return self.entries.get(key)


Node: TypeAlias = Leaf | Listing | Table


def place(node: Node) -> str:
    """Return `file:line` of a node, as messages begin."""
    return f"{node.file}:{node.line}"


def moved(node: Node, path: str) -> Node:
    """Return the node as it stands at another path: an alias, or a merged key."""
    # `replace` of dataclasses would take four times as long, and big files have many aliases
    if isinstance(node, Leaf):
        return Leaf(node.text, node.plain, node.file, node.line, path, node.tag)
    if isinstance(node, Listing):
        items = tuple([moved(item, f"{path}[{index}]") for index, item in enumerate(node.items)])
        return Listing(items, node.file, node.line, path, node.tag)
    entries = {key: moved(value, f"{path}.{key}") for key, value in node.entries.items()}
    return Table(entries, node.file, node.line, path, node.tag, node.merges)


def leaves(node: Node) -> list[Node]:
    """Return what has to be accounted for under a node: scalars, empty lists and empty tables."""
    if isinstance(node, Leaf):
        return [node]
    found: list[Node] = []
    _collect(node, found)
    return found


def _collect(node: Listing | Table, found: list[Node]) -> None:
    below: Iterable[Node]
    if isinstance(node, Listing):
        below, empty = node.items, not node.items
    else:
        below, empty = node.entries.values(), not (node.entries or node.merges)
    if empty:
        found.append(node)
    for item in below:
        if isinstance(item, Leaf):
            found.append(item)
        else:
            _collect(item, found)
    if isinstance(node, Table):
        found.extend(node.merges)


def plain(node: Node | None) -> object:
    """Return the node as plain Python data, scalars by the YAML 1.2 core rules."""
    if node is None:
        return None
    if isinstance(node, Leaf):
        return scalars.resolve(node.text) if node.plain else node.text
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.entries.items()}
