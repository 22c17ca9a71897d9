"""Reads nodes as the values that keys ask for, and collects every problem instead of stopping at one."""

from __future__ import annotations

import shlex
from dataclasses import field
from typing import TYPE_CHECKING, TypeVar

from provisioners.compose import known
from provisioners.compose.merge import Overridden, as_pairs
from provisioners.compose.model import EnvVar, Given
from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.records import dataclass
from provisioners.compose.scalars import as_bool
from provisioners.compose.units import UnitError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

T = TypeVar("T")

_MOST = 1_000_000
_HIGHEST_MODE = 0o7777


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that compose refuses: place, path and what is wrong."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.text}"


@dataclass(frozen=True, slots=True)
class Values:
    """Reads nodes of one project; `problems` fills up, `mended` holds what was read in spite of one.

    `incomplete` holds (file, path) of services whose `extends` could not be followed.
    """

    folder: Path
    variables: Mapping[str, str]
    lenient: bool = False
    incomplete: Collection[tuple[str, str]] = ()
    problems: list[Problem] = field(default_factory=list)
    mended: list[Given[str]] = field(default_factory=list)
    overridden: list[Overridden] = field(default_factory=list)

    # -- reading one value ---------------------------------------------------------------

    def problem(self, at: Node, text: str) -> None:
        """Note that something is wrong at a node."""
        self.problems.append(Problem(at.file, at.line, at.path, text))

    def text(self, node: Node | None) -> Given[str] | None:
        """Return a scalar's text; nothing for an absent key or null."""
        if node is None:
            return None
        if not isinstance(node, Leaf):
            self.problem(node, "a text is wanted here")
            return None
        return None if node.is_null else Given(node.text, node)

    def read(self, node: Node | None, parse: Callable[[str], T]) -> Given[T] | None:
        """Return a scalar through a parser of `units`, whose error becomes a problem."""
        given = self.text(node)
        if given is None:
            return None
        try:
            return Given(parse(given.value), given.at)
        except ValueError as error:
            self.problem(given.at, str(error))
            return None

    def word(self, node: Node | None, words: frozenset[str]) -> Given[str] | None:
        """Return a scalar that has to be one of a few words."""
        given = self.text(node)
        if given is not None and given.value not in words:
            self.problem(given.at, f"{given.value!r} is not one of {', '.join(sorted(words))}")
            return None
        return given

    def boolean(self, node: Node | None) -> Given[bool] | None:
        """Return a scalar that has to be true or false."""
        given = self.text(node)
        if given is None:
            return None
        value = as_bool(given.value)
        if value is None:
            self.problem(given.at, f"{given.value!r} is neither true nor false")
            return None
        return Given(value, given.at)

    def table(self, node: Node | None, where: str) -> Table | None:
        """Return a table whose keys compose knows at the place `where`."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return None
        if not isinstance(node, Table):
            self.problem(node, "a table is wanted here")
            return None
        for key in known.strange(where, node.entries):
            self.unknown(node, key, where)
        return node

    def unknown(self, node: Table, key: str, where: str) -> None:
        """Note a key that compose does not know at its place, with the nearest one."""
        value = node.entries[key]
        home = known.home_of(key, where)
        hint = f"; it belongs under `{home}`" if home else known.nearest(where, key)
        self.problem(value, f"unknown key `{key}`{hint}")

    def items(self, node: Node | None) -> tuple[Node, ...]:
        """Return the items of a list; a single scalar counts as a list of one."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return ()
        if isinstance(node, Listing):
            return node.items
        if isinstance(node, Leaf):
            return (node,)
        self.problem(node, "a list is wanted here")
        return ()

    def texts(self, node: Node | None) -> tuple[Given[str], ...]:
        """Return the texts of a list."""
        return tuple(given for item in self.items(node) if (given := self.text(item)) is not None)

    def words(self, node: Node | None) -> Given[tuple[str, ...]] | None:
        """Return an argv: a list as it is, a text split as a shell would split it, without running one."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return None
        if isinstance(node, Leaf):
            try:
                return Given(tuple(shlex.split(node.text)), node)
            except ValueError as error:
                self.problem(node, f"cannot be split into words: {error}")
                return None
        return Given(tuple(given.value for given in self.texts(node)), node)

    def pairs(self, node: Node | None) -> tuple[EnvVar, ...]:
        """Return `KEY=value` items or a table of values."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return ()
        table = as_pairs(node)
        if isinstance(table, Listing):
            return self._listed_pairs(table)
        if not isinstance(table, Table):
            self.problem(node, "a table or a list of KEY=value is wanted here")
            return ()
        found = []
        for name, value in table.entries.items():
            if not isinstance(value, Leaf):
                self.problem(value, "a text is wanted here")
                continue
            found.append(EnvVar(name, None if value.is_null else value.text, value))
        return tuple(found)

    def _listed_pairs(self, listing: Listing) -> tuple[EnvVar, ...]:
        """Some name stands twice: the last one counts, as in compose."""
        first: dict[str, Leaf] = {}
        found: dict[str, EnvVar] = {}
        for item in listing.items:
            if not isinstance(item, Leaf):
                self.problem(item, "a text KEY=value is wanted here")
                continue
            name, given, value = item.text.partition("=")
            if name in first:
                self.overridden.append(Overridden(first[name], item))
            first[name] = item
            found[name] = EnvVar(name, value if given else None, item)
        return tuple(found.values())


def octal(text: str) -> int:
    """Return a file mode: `0440`, `440`, `0o440`."""
    try:
        value = int(text.removeprefix("0o"), 8)
    except ValueError:
        value = -1
    if not 0 <= value <= _HIGHEST_MODE:
        raise UnitError(f"{text!r} is no file mode; write 0440")
    return value


def count(text: str) -> int:
    """Return a whole number that is not negative."""
    if not text.isascii() or not text.isdigit() or int(text[:12]) > _MOST:
        raise UnitError(f"{text!r} is no number; write 2")
    return int(text)
