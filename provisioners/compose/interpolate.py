"""Replaces `${...}` in compose values: `$$`, `$A`, `${A}`, and `:-` `-` `:?` `?` `:+` `+`, nested.

A `$` that no name and no brace follows stays, as in `$(date)`. Keys are never touched. Every
mistake is collected with its line, so all are reported at once.
"""

from __future__ import annotations

import re
from dataclasses import field, replace
from typing import TYPE_CHECKING, TypeVar

from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.records import dataclass
from provisioners.compose.scalars import NULLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

K = TypeVar("K")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_MAX_NESTING = 20
_MAX_CHARS = 1_000_000


class InterpolationError(ValueError):
    """A `$` that cannot be replaced; the text says why."""


@dataclass(frozen=True, slots=True)
class Unset:
    """A variable that was used without a value or a default: compose reads it as empty."""

    name: str
    file: str
    line: int
    path: str


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Replaces variables in nodes, and remembers what was unset and what was wrong."""

    variables: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    unset: list[Unset] = field(default_factory=list)
    failed: set[tuple[str, str]] = field(default_factory=set)
    replaced: set[tuple[str, str]] = field(default_factory=set)

    def node(self, node: Node) -> Node:
        """Return the node with every `$` of its values replaced; the same node when there is none."""
        if isinstance(node, Leaf):
            return self._leaf(node) if "$" in node.text and node.text != "<<" else node
        if isinstance(node, Listing):
            others = self._others(enumerate(node.items))
            if not others:
                return node
            items = tuple([others.get(index, item) for index, item in enumerate(node.items)])
            return Listing(items, node.file, node.line, node.path, node.tag)
        changed = self._others(node.entries.items())
        if not changed:
            return node
        return Table({**node.entries, **changed}, node.file, node.line, node.path, node.tag, node.merges)

    def _others(self, values: Iterable[tuple[K, Node]]) -> dict[K, Node]:
        """Return those values that are others once every `$` is replaced."""
        found: dict[K, Node] = {}
        for key, value in values:
            if isinstance(value, Leaf) and "$" not in value.text:
                continue
            new = self.node(value)
            if new is not value:
                found[key] = new
        return found

    def _leaf(self, leaf: Leaf) -> Leaf:
        def unset(name: str) -> None:
            self.unset.append(Unset(name, leaf.file, leaf.line, leaf.path))

        self.replaced.add((leaf.file, leaf.path))
        try:
            text = substitute(leaf.text, self.variables, unset)
            plain = leaf.plain and text not in NULLS  # a variable gives a text, and never nothing
            return Leaf(text, plain, leaf.file, leaf.line, leaf.path, leaf.tag)
        except InterpolationError as error:
            self.problems.append(f"{leaf.file}:{leaf.line}: {leaf.path}: {error}")
            self.failed.add((leaf.file, leaf.path))
            return replace(leaf, text="")


def substitute(text: str, variables: Mapping[str, str], unset: Callable[[str], None] = lambda _: None) -> str:
    """Return the text with its variables replaced.

    Raises:
        InterpolationError: unclosed brace, no name, or a required variable without a value.
    """
    return _substitute(text, variables, unset, 0)


def _substitute(text: str, variables: Mapping[str, str], unset: Callable[[str], None], depth: int) -> str:
    if depth > _MAX_NESTING:
        raise InterpolationError("variables are nested too deep")
    parts: list[str] = []
    at = total = 0
    while (start := text.find("$", at)) >= 0:
        parts.append(text[at:start])
        value, at = _one(text, start, variables, unset, depth)
        parts.append(value)
        total += len(value)
        if total > _MAX_CHARS:
            raise InterpolationError("the text grows too long")
    parts.append(text[at:])
    return "".join(parts)


def _one(
    text: str, start: int, variables: Mapping[str, str], unset: Callable[[str], None], depth: int
) -> tuple[str, int]:
    """Return what replaces the `$` at `start`, and where the text goes on."""
    following = text[start + 1 : start + 2]
    if following == "$":
        return "$", start + 2
    if following == "{":
        end = _closing(text, start + 2)
        return _braced(text[start + 2 : end], variables, unset, depth), end + 1
    match = _NAME.match(text, start + 1)
    if not match:
        return "$", start + 1  # `$(date)`, `^a$`: compose leaves a `$` without a name alone
    if match[0] not in variables:
        unset(match[0])
    return variables.get(match[0], ""), match.end()


def _closing(text: str, at: int) -> int:
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    raise InterpolationError("`${` is not closed by `}`")


def _braced(body: str, variables: Mapping[str, str], unset: Callable[[str], None], depth: int) -> str:
    match = _NAME.match(body)
    if not match:
        raise InterpolationError(f"`${{{body[:20]}}}` does not begin with a name")
    name, rest = match[0], body[match.end() :]
    if not rest:
        if name not in variables:
            unset(name)
        return variables.get(name, "")
    operator = next((word for word in _OPERATORS if rest.startswith(word)), None)
    if operator is None:
        raise InterpolationError(f"`${{{body[:40]}}}` has no operator that compose knows after the name")
    word = rest[len(operator) :]
    value = variables.get(name)
    given = bool(value) if operator.startswith(":") else value is not None
    kind = operator[-1]
    if kind == "+":
        return _substitute(word, variables, unset, depth + 1) if given else ""
    if given:
        return value or ""
    if kind == "-":
        return _substitute(word, variables, unset, depth + 1)
    message = _substitute(word, variables, unset, depth + 1)
    raise InterpolationError(f"{name} is required{': ' + message if message else ''}")
