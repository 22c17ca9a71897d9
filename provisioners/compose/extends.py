"""Resolves `extends`: a service laid upon another one, of this file or of another.

The leaves keep the file, line and path where they stand, so that a service that two others
extend is accounted for once. Chains are followed, cycles are named with their whole path.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from provisioners.compose.model import Given
from provisioners.compose.nodes import Leaf, Node, Table, leaves
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioners.compose.files import Files, Scope

_MAX_CHAIN = 100
_KEYS = frozenset(("service", "file"))
_Step = tuple[str, str]  # file and service


def extended(root: Table, files: Files, scope: Scope) -> Table:
    """Return the root of one file with every `extends` of its services resolved.

    What is wrong becomes a problem of `files`, at the `extends` that asks for it.

    Raises:
        InputError: a named file cannot be read, or all of it grows past the bounds.
    """
    node = root.get("services")
    if not isinstance(node, Table):
        return root
    if not any(isinstance(value, Table) and "extends" in value.entries for value in node.entries.values()):
        return root
    resolver = _Resolver(files, scope)
    services = {name: resolver.service(name, node.entries, root.file) for name in node.entries}
    return replace(root, entries={**root.entries, "services": replace(node, entries=services)})


@dataclass(frozen=True, slots=True)
class _Resolver:
    files: Files
    scope: Scope
    done: dict[_Step, Node] = field(default_factory=dict)
    opened: dict[str, Mapping[str, Node]] = field(default_factory=dict)

    def service(
        self, name: str, services: Mapping[str, Node], file: str, trail: tuple[_Step, ...] = ()
    ) -> Node:
        """Return a service of a file, with what it extends below it."""
        step = (file, name)
        if step in self.done:
            return self.done[step]
        own = services[name]
        asked = own.entries.get("extends") if isinstance(own, Table) else None
        if not isinstance(own, Table) or asked is None:
            return own
        rest = {key: value for key, value in own.entries.items() if key != "extends"}
        bare = replace(own, entries=rest)
        base = self._base(asked, step, services, trail)
        self.files.taken.append(Given("what it takes over is accounted for where it stands", asked))
        found: Node = bare
        if base is None:
            self.files.incomplete.add((own.file, own.path))
        else:
            if isinstance(base, Table) and (base.file, base.path) in self.files.incomplete:
                self.files.incomplete.add((own.file, own.path))
            self.files.grow(len(leaves(base)), asked)
            found = self.files.merge.merge(base, bare) or bare
            found = _at(found, own)
        self.done[step] = found
        return found

    def _base(
        self, asked: Node, step: _Step, services: Mapping[str, Node], trail: tuple[_Step, ...]
    ) -> Node | None:
        """Return the service that `extends` asks for, resolved; None with a problem when there is none."""
        named, given = self._asked(asked)
        if named is None:
            return None
        file = step[0]
        if given is not None:
            path = self.files.find(given, self.files.project, "the extended file")
            if path is None:
                return None
            file = str(path)
            services = self._open(path, given)
        if named.text not in services:
            self.files.problem(named, f"service {named.text!r} is not in {file}{_near(named.text, services)}")
            return None
        trail = (*trail, step)
        if self._is_endless(asked, (file, named.text), trail):
            return None
        base = self.service(named.text, services, file, trail)
        if isinstance(base, Table):
            return base
        if not (isinstance(base, Leaf) and base.is_null):
            self.files.problem(base, "a table is wanted here")
        return None

    def _is_endless(self, asked: Node, target: _Step, trail: tuple[_Step, ...]) -> bool:
        """Note a cycle with its whole path, and a chain that is too long."""
        if target in trail:
            cycle = (*trail[trail.index(target) :], target)
            said = " -> ".join(f"{name} ({where})" for where, name in cycle)
            self.files.problem(asked, f"`extends` goes round in a circle: {said}")
            return True
        if len(trail) > _MAX_CHAIN:
            self.files.problem(asked, f"more than {_MAX_CHAIN} services extend each other in a chain")
            return True
        return False

    def _asked(self, asked: Node) -> tuple[Leaf | None, Leaf | None]:
        """Return the name of the service and of the file, if there is one, that `extends` gives."""
        if isinstance(asked, Leaf) and not asked.is_null:
            return asked, None
        if not isinstance(asked, Table):
            self.files.problem(
                asked, "a service's name, or a table with `service` and `file`, is wanted here"
            )
            return None, None
        for key, value in asked.entries.items():
            if key not in _KEYS and not key.startswith("x-"):
                self.files.problem(value, f"unknown key `{key}`; `service` and `file` are known here")
        named, given = asked.get("service"), asked.get("file")
        if not isinstance(named, Leaf) or named.is_null:
            self.files.problem(asked, "`service` is missing here")
            return None, None
        if given is not None and not isinstance(given, Leaf):
            self.files.problem(given, "a text is wanted here")
            return None, None
        return named, None if given is None or given.is_null else given

    def _open(self, path: Path, given: Leaf) -> Mapping[str, Node]:
        """Return the services of another file, their paths as the project sees them."""
        file = str(path)
        if file not in self.opened:
            scope = self.files.scope_of(path.parent, self.scope.interpolation)
            root = self.files.read(path, scope, borrowed=True)
            node = root.get("services")
            if not isinstance(node, Table):
                self.files.problem(given, f"{file} has no services")
            self.opened[file] = node.entries if isinstance(node, Table) else {}
        return self.opened[file]


def _at(merged: Node, own: Table) -> Node:
    """Return the merged service at the place of the one that extends, where messages point to."""
    return (
        replace(merged, file=own.file, line=own.line, path=own.path) if isinstance(merged, Table) else merged
    )


def _near(name: str, services: Mapping[str, Node]) -> str:
    import difflib

    found = difflib.get_close_matches(name, sorted(services), 1)
    return f", did you mean {found[0]!r}?" if found else ""
