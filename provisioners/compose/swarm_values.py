"""Plain values of a stack file, as Docker writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.nodes import Leaf, Listing, Node, Table, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

Object = dict[str, object]


def duration(given: object) -> str | None:
    """Return seconds as Docker writes a duration; nothing where none is given."""
    value = getattr(given, "value", None)
    return units.docker_duration(value) if isinstance(value, float) else None


def filled(parts: Mapping[str, object]) -> Object:
    """Return the table without what is empty."""
    return {key: value for key, value in parts.items() if value not in (None, [], {})}


def body_of(table: Table | None) -> Object:
    """Return a top-level resource without its extensions."""
    found = plain(table) if table is not None else {}
    return (
        {key: value for key, value in found.items() if not key.startswith("x-")}
        if isinstance(found, dict)
        else {}
    )


def texts(node: Node) -> object:
    """Return a node as plain data in which numbers stay as they were written."""
    return (
        plain(node)
        if not isinstance(node, Leaf | Listing | Table) or isinstance(node, Leaf)
        else _inner(node)
    )


def _inner(node: Listing | Table) -> object:
    if isinstance(node, Listing):
        return [item.text if isinstance(item, Leaf) else texts(item) for item in node.items]
    return {key: texts(value) for key, value in node.entries.items()}


def doubled(value: object) -> object:
    """Return plain data in which every `$` is doubled, because the file is interpolated once more."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: doubled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [doubled(item) for item in value]
    return value
