"""The parsed text of a compose file: leaves, lists and tables that know their file, line and path.

Every scalar stays the text that was written, so `22:22`, `on` and `0644` are never turned
into something else; the typed model reads each one as what its key asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from provisioners.compose import scalars

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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
    if isinstance(node, Leaf):
        return replace(node, path=path)
    if isinstance(node, Listing):
        items = tuple(moved(item, f"{path}[{index}]") for index, item in enumerate(node.items))
        return replace(node, items=items, path=path)
    entries = {key: moved(value, f"{path}.{key}") for key, value in node.entries.items()}
    return replace(node, entries=entries, path=path)


def leaves(node: Node) -> Iterator[Leaf | Listing | Table]:
    """Yield what has to be accounted for under a node: scalars, empty lists and empty tables."""
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, Listing):
        if not node.items:
            yield node
        for item in node.items:
            yield from leaves(item)
    else:
        if not node.entries and not node.merges:
            yield node
        for value in node.entries.values():
            yield from leaves(value)
        yield from node.merges


def plain(node: Node | None) -> object:
    """Return the node as plain Python data, scalars by the YAML 1.2 core rules."""
    if node is None:
        return None
    if isinstance(node, Leaf):
        return scalars.resolve(node.text) if node.plain else node.text
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.entries.items()}
