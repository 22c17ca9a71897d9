"""Resolves `include`: other compose files as parts of this one, each with its own folder and variables.

What an included file defines and this one too is a conflict, unless both are the same; with
duplicates="last" this file's definition is laid upon the included one.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from provisioners.compose.envfile import read_env_file
from provisioners.compose.extends import extended
from provisioners.compose.merge import Overridden
from provisioners.compose.model import Given
from provisioners.compose.nodes import Leaf, Listing, Node, Table, leaves, place, plain
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from provisioners.compose.files import Files, Scope

_KEYS = frozenset(("path", "project_directory", "env_file"))
_SECTIONS = ("services", "networks", "volumes", "secrets", "configs", "models", "jobs")
_MAX_DEPTH = 32
_NO_FILE = "/dev/null"


@dataclass(frozen=True, slots=True)
class Includer:
    """Reads whole files, with what they include and what their services extend."""

    files: Files
    lenient: bool
    done: dict[tuple[object, ...], Table | None] = field(default_factory=dict)

    def read(self, path: Path, scope: Scope, trail: tuple[str, ...] = ()) -> Table:
        """Return the root of a file, complete; `trail` is what includes it, from the outside in.

        Raises:
            InputError: a file cannot be read, or all of it grows past the bounds.
        """
        root = self.files.read(path, scope, borrowed=bool(trail))
        if trail:
            root = _with_values(root, scope)
            self.files.values.update(_named_values(root, scope))
        node = root.get("include")
        if node is not None:
            root = self._included(root, node, scope, (*trail, str(path)))
        return extended(root, self.files, scope)

    def _included(self, root: Table, node: Node, scope: Scope, trail: tuple[str, ...]) -> Table:
        self.files.taken.append(Given("what it brings in is accounted for where it stands", node))
        entries = {key: value for key, value in root.entries.items() if key != "include"}
        items = node.items if isinstance(node, Listing) else ()
        if not isinstance(node, Listing) and not (isinstance(node, Leaf) and node.is_null):
            self.files.problem(node, "a list of files is wanted here")
        for item in items:
            found = self._one(item, scope, trail)
            if found is not None:
                self._import(entries, found, item)
        return replace(root, entries=entries)

    def _one(self, item: Node, scope: Scope, trail: tuple[str, ...]) -> Table | None:
        """Return what one item of `include` brings: its files, later ones laid upon earlier ones."""
        paths = self._paths(item, scope)
        if not paths:
            return None
        again = [str(path) for path in paths if str(path) in trail]
        if again:
            said = " -> ".join((*trail[trail.index(again[0]) :], again[0]))
            self.files.problem(item, f"`include` goes round in a circle: {said}")
            return None
        if len(trail) > _MAX_DEPTH:
            self.files.problem(item, f"files include each other more than {_MAX_DEPTH} levels deep")
            return None
        inner = self._scope(item, paths[0], scope)
        key = (tuple(paths), inner.folder, frozenset(inner.interpolation.variables.items()))
        if key not in self.done:
            roots = [self.read(path, inner, trail) for path in paths]
            whole: Node = roots[0]
            for over in roots[1:]:
                whole = self.files.merge.merge(whole, over) or whole
            self.done[key] = whole if isinstance(whole, Table) else None
        return self.done[key]

    def _paths(self, item: Node, scope: Scope) -> list[Path]:
        given: Node | None = item
        if isinstance(item, Table):
            for key, value in item.entries.items():
                if key not in _KEYS and not key.startswith("x-"):
                    self.files.problem(
                        value, f"unknown key `{key}`; {', '.join(sorted(_KEYS))} are known here"
                    )
            given = item.get("path")
        found = []
        for leaf in self._texts(given, item):
            path = self.files.find(leaf, scope.folder, "the included file")
            if path is None:
                return []
            found.append(path)
        if not found and not isinstance(given, Leaf):
            self.files.problem(item, "`path` is missing here")
        return found

    def _texts(self, node: Node | None, at: Node) -> list[Leaf]:
        """Return the leaves of one text or a list of texts."""
        items = node.items if isinstance(node, Listing) else () if node is None else (node,)
        for item in items:
            if not isinstance(item, Leaf) or item.is_null:
                self.files.problem(at, "a file's name, or a list of them, is wanted here")
                return []
        return [item for item in items if isinstance(item, Leaf)]

    def _scope(self, item: Node, first: Path, scope: Scope) -> Scope:
        """Return the folder and the variables of what an item includes."""
        table = item if isinstance(item, Table) else None
        wanted = table.get("project_directory") if table else None
        folder = first.parent
        if isinstance(wanted, Leaf) and not wanted.is_null:
            folder = scope.folder / wanted.text
            if not folder.is_dir():
                self.files.problem(wanted, f"the folder {wanted.text} is not there ({folder})")
        named = self._texts(table.get("env_file"), item) if table else []
        outer = scope.interpolation.variables
        files = [found for leaf in named if leaf.text != _NO_FILE and (found := self._env_file(leaf, scope))]
        if not named and (folder / ".env").is_file():
            files = [folder / ".env"]
        values: dict[str, str] = {}
        for file in files:
            read = read_env_file(file, {**values, **outer})
            values.update({name: value for name, value in read.items() if value is not None})
        interpolation = replace(scope.interpolation, variables={**values, **outer})
        return self.files.scope_of(folder, interpolation)

    def _env_file(self, leaf: Leaf, scope: Scope) -> Path | None:
        path = scope.folder / leaf.text
        if not path.is_file():
            self.files.problem(leaf, f"the env file {leaf.text} is not there ({path})")
            return None
        return path

    def _import(self, entries: dict[str, Node], found: Table, item: Node) -> None:
        """Add what was included to the sections of the file that includes it."""
        self.files.grow(len(leaves(found)), item)
        for section in _SECTIONS:
            brought = found.get(section)
            if not isinstance(brought, Table):
                continue
            own = entries.get(section)
            held = dict(own.entries) if isinstance(own, Table) else {}
            for name, value in brought.entries.items():
                held[name] = self._together(value, held[name], f"{section}.{name}") if name in held else value
            entries[section] = replace(own if isinstance(own, Table) else brought, entries=held)

    def _together(self, included: Node, own: Node, path: str) -> Node:
        if included is own:
            return own
        if plain(included) == plain(own):
            if {_key(leaf) for leaf in leaves(included)} != {_key(leaf) for leaf in leaves(own)}:
                self.files.merge.overridden.append(Overridden(included, own))
            return own
        if not self.lenient:
            text = f"{path} is defined here and, otherwise, in the included {place(included)}"
            self.files.problem(
                own, f"{text}; rename one, or give the change as a second `path` of the include"
            )
            return own
        return self.files.merge.merge(included, own) or own


def _key(leaf: Node) -> tuple[str, int, str]:
    return leaf.file, leaf.line, leaf.path


def _with_values(root: Table, scope: Scope) -> Table:
    """Return the root with the variables that an included file's own env file gives to `environment`."""
    services = root.get("services")
    if not isinstance(services, Table):
        return root
    changed: dict[str, Node] = {}
    for name, service in services.entries.items():
        node = service.entries.get("environment") if isinstance(service, Table) else None
        if isinstance(service, Table) and node is not None:
            given = _given(node, scope.interpolation.variables)
            changed[name] = replace(service, entries={**service.entries, "environment": given})
    whole = replace(services, entries={**services.entries, **changed})
    return replace(root, entries={**root.entries, "services": whole})


def _named_values(root: Table, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield the variables that secrets and configs of an included file take their content from."""
    for section in ("secrets", "configs"):
        node = root.get(section)
        for value in node.entries.values() if isinstance(node, Table) else ():
            name = value.get("environment") if isinstance(value, Table) else None
            if isinstance(name, Leaf) and name.text in scope.interpolation.variables:
                yield name.text, scope.interpolation.variables[name.text]


def _given(node: Node, variables: Mapping[str, str]) -> Node:
    if isinstance(node, Table):
        entries = {
            key: replace(value, text=variables[key], plain=False)
            if isinstance(value, Leaf) and value.is_null and key in variables
            else value
            for key, value in node.entries.items()
        }
        return replace(node, entries=entries)
    if isinstance(node, Listing):
        return replace(node, items=tuple(_listed(item, variables) for item in node.items))
    return node


def _listed(item: Node, variables: Mapping[str, str]) -> Node:
    if isinstance(item, Leaf) and item.text in variables:
        return replace(item, text=f"{item.text}={variables[item.text]}")
    return item
