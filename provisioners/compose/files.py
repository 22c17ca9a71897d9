"""Reads the files of one project: interpolated, their paths rebased, and what was found kept together."""

from __future__ import annotations

import os
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.compose.merge import Merge
from provisioners.compose.model import Given, Source
from provisioners.compose.nodes import Leaf, Node, Table, place
from provisioners.compose.paths import REMOTE, rebased
from provisioners.compose.reader import MAX_NODES, read_file
from provisioners.compose.records import dataclass
from provisioners.compose.values import Problem
from provisioners.errors import InputError

if TYPE_CHECKING:
    from provisioners.compose.interpolate import Interpolation
    from provisioners.compose.reader import Duplicate

MAX_FILES = 500


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a file stands: the folder that its paths begin at, and the variables it sees.

    `prefix` is that folder as seen from the project's, "" when they are one.
    """

    folder: Path
    prefix: str
    interpolation: Interpolation


@dataclass(frozen=True, slots=True)
class Files:
    """Reads files, and keeps sources, duplicates, problems and merges of the whole project."""

    project: Path
    merge: Merge = field(default_factory=Merge)
    sources: dict[str, Source] = field(default_factory=dict)
    duplicates: list[Duplicate] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    taken: list[Given[str]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    tagged: set[str] = field(default_factory=set)
    borrowed: set[str] = field(default_factory=set)
    incomplete: set[tuple[str, str]] = field(default_factory=set)
    size: list[int] = field(default_factory=lambda: [0])

    def problem(self, at: Node, text: str) -> None:
        """Note that something is wrong at a node."""
        self.problems.append(Problem(at.file, at.line, at.path, text))

    def read(self, path: Path, scope: Scope, *, borrowed: bool = False) -> Table:
        """Return the root of a file as the project sees it; a file is a source of leaves once.

        `borrowed` files are those that `extends` and `include` name: not all of them need arrive.

        Raises:
            InputError: it cannot be read, is no table, or there are too many files.
        """
        name = str(path)
        document = read_file(path, name)
        root = scope.interpolation.node(document.root)
        if not isinstance(root, Table):
            raise InputError(
                "a compose file is a table", where=place(root), next_step="begin with `services:`"
            )
        if name not in self.sources:
            if len(self.sources) >= MAX_FILES:
                raise InputError(f"more than {MAX_FILES} files", where=name, next_step="split the project")
            self.sources[name] = Source(name, root)
            self.duplicates.extend(document.duplicates)
            if document.tagged:
                self.tagged.add(name)
            if borrowed:
                self.borrowed.add(name)
        return rebased(root, scope.prefix)

    def find(self, given: Leaf, folder: Path, what: str) -> Path | None:
        """Return the path of a file that a leaf names, or note why there is none."""
        if given.text.startswith(REMOTE) or given.text.endswith(".git"):
            self.problem(given, f"{what} {given.text} is not on this machine; fetch it and name the copy")
            return None
        path = Path(os.path.normpath(folder / given.text))
        if path.is_dir():
            self.problem(given, f"{what} {given.text} is a folder; name the file in it")
        elif not path.is_file():
            self.problem(given, f"{what} {given.text} is not there ({path})")
        else:
            return path
        return None

    def scope_of(self, folder: Path, interpolation: Interpolation) -> Scope:
        """Return the scope of files whose paths begin at a folder."""
        relative = os.path.relpath(folder, self.project)
        return Scope(folder, "" if relative == "." else relative, interpolation)

    def grow(self, count: int, at: Node) -> None:
        """Count what `extends` and `include` copy.

        Raises:
            InputError: it is more than any project needs.
        """
        self.size[0] += count
        if self.size[0] > MAX_NODES:
            raise InputError(
                f"`extends` and `include` expand to more than {MAX_NODES} values",
                where=place(at),
                why="no compose file needs that much",
                next_step="split the project",
            )
