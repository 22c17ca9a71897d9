"""What keys hold that may be a list or a table: one text, several, or pairs, each with its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.nodes import Leaf, Listing, Node, Table

if TYPE_CHECKING:
    from collections.abc import Iterator


def text_of(node: Node) -> str:
    """Return the text of a leaf; empty for what is none."""
    return node.text if isinstance(node, Leaf) else ""


def leaves_of(node: Node) -> Iterator[tuple[Node, str]]:
    """Yield the texts of a list, or the one of a leaf, with their nodes."""
    if isinstance(node, Listing):
        yield from ((item, text_of(item)) for item in node.items)
    elif isinstance(node, Leaf) and not node.is_null:
        yield node, node.text


def texts_of(node: Node) -> list[str]:
    """Return the texts of a list, or the one of a leaf."""
    return [text for _, text in leaves_of(node)]


def pairs_of(node: Node, separators: str = "=") -> Iterator[tuple[Node, str, str]]:
    """Yield names and values of a table, or of a list of `name=value`, with their nodes.

    Of several separators the first that a text has counts; a name with a list of values has pairs of
    its own for each.
    """
    if isinstance(node, Table):
        for name, held in node.entries.items():
            if isinstance(held, Listing):
                yield from ((leaf, name, text) for leaf, text in leaves_of(held))
            else:
                yield held, name, text_of(held)
        return
    for leaf, text in leaves_of(node):
        separator = next((one for one in separators if one in text), separators[0])
        name, _, value = text.partition(separator)
        yield leaf, name, value
