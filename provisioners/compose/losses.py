"""What became of every leaf of the input: a Loss for each, and a ledger that finds silent ones.

The counting rule: keys in = keys accounted for. `Ledger.close` counts, and a leaf that no
renderer spoke about is an error of the converter, never of the input.
"""

from __future__ import annotations

import enum
from dataclasses import field
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NamedTuple

from provisioners.compose.nodes import Leaf, Node, leaves
from provisioners.compose.records import dataclass
from provisioners.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provisioners.compose.model import Project

MERGE = "<<"
_SHOWN = 20


class Outcome(enum.StrEnum):
    """How much of a leaf arrived; from whole to not at all."""

    CONVERTED = "converted"
    APPROXIMATED = "approximated"
    DROPPED = "dropped"
    REFUSED = "refused"


_ORDER = tuple(Outcome)
_Key = tuple[str, int, str]


class Loss(NamedTuple):
    """What became of a leaf, or of all leaves below a path: where it stood, how, and into what."""

    file: str
    line: int
    path: str
    outcome: Outcome
    detail: str
    target: str


def losses_json(losses: Iterable[Loss]) -> str:
    """Return losses as a JSON list of objects, one on each line."""
    text = encode_basestring  # one encoder for each line would cost more than the conversion of its key
    lines = [
        f'{{"file": {text(loss.file)}, "line": {loss.line}, "path": {text(loss.path)}, '
        f'"outcome": "{loss.outcome}", "detail": {text(loss.detail)}, "target": {text(loss.target)}}}'
        for loss in losses
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Collects what renderers say of nodes; one entry for each file, line and path."""

    entries: dict[_Key, Loss] = field(default_factory=dict)
    covered: set[_Key] = field(default_factory=set)

    def note(self, node: Node, outcome: Outcome, detail: str, target: str = "") -> None:
        """Say what became of a node and of everything below it."""
        file, path = node.file, node.path
        key = (file, node.line, path)
        if key in self.entries:
            self._enter(key, outcome, detail, target)
        else:
            self.entries[key] = Loss(file, node.line, path, outcome, detail, target)
        if isinstance(node, Leaf):
            self.covered.add(key)
            return
        for leaf in leaves(node):
            key = (leaf.file, leaf.line, leaf.path)
            self.covered.add(key)
            below = leaf.file == file and leaf.path.startswith(path)
            if not below:  # it came from another file, or from a list that became a table
                self._enter(key, outcome, detail, target)

    def remark(self, node: Node, detail: str, target: str = "") -> None:
        """Say something of a table itself; what is below it stays to be accounted for."""
        self._enter((node.file, node.line, node.path), Outcome.APPROXIMATED, detail, target)

    def converted(self, node: Node, target: str, detail: str = "") -> None:
        """Say that a node arrived whole."""
        self.note(node, Outcome.CONVERTED, detail, target)

    def approximated(self, node: Node, detail: str, target: str = "") -> None:
        """Say that a node arrived nearly, and how."""
        self.note(node, Outcome.APPROXIMATED, detail, target)

    def dropped(self, node: Node, detail: str) -> None:
        """Say that a node did not arrive, and why that does not matter."""
        self.note(node, Outcome.DROPPED, detail)

    def refused(self, node: Node, detail: str) -> None:
        """Say that a node cannot arrive, and what to do."""
        self.note(node, Outcome.REFUSED, detail)

    def _enter(self, key: _Key, outcome: Outcome, detail: str, target: str) -> None:
        old = self.entries.get(key)
        if old is not None:
            outcome = max(old.outcome, outcome, key=_ORDER.index)
            detail = _joined(old.detail, detail, "; ")
            target = _joined(old.target, target, ", ")
        self.entries[key] = Loss(*key, outcome, detail, target)

    def close(self, project: Project) -> tuple[Loss, ...]:
        """Account for what no renderer has to speak about, count, and return all losses in file order.

        Raises:
            ProvisionError: a leaf of the input is not accounted for.
        """
        self._own_entries(project)
        counted = 0
        silent = []
        for leaf in input_leaves(project):
            counted += 1
            if isinstance(leaf, Leaf) and leaf.text == MERGE and _last_step(leaf) == MERGE:
                self.converted(leaf, "", "merge key: what it brings in is accounted for where it lands")
            elif (leaf.file, leaf.line, leaf.path) not in self.covered and not self._says_nothing(leaf):
                silent.append(f"{leaf.file}:{leaf.line} {leaf.path}")
        if silent:
            raise ProvisionError(
                f"{len(silent)} of {counted} keys would be lost in silence",
                why="; ".join(silent[:_SHOWN]),
                next_step="report this: it is an error of the converter, not of the file",
            )
        order = {source.name: index for index, source in enumerate(project.sources)}
        return tuple(
            sorted(self.entries.values(), key=lambda loss: (order.get(loss.file, 0), loss.line, loss.path))
        )

    def _says_nothing(self, leaf: Node) -> bool:
        """Account for a leaf that tells nobody anything: an `x-` key anywhere, or a key without a value."""
        if "x-" in leaf.path and any(step.startswith("x-") for step in leaf.path.split(".")):
            self.dropped(leaf, "an extension: nothing reads it")
        elif not isinstance(leaf, Leaf) or leaf.is_null:
            self.dropped(leaf, "it is empty")
        else:
            return False
        return True

    def _own_entries(self, project: Project) -> None:
        for item in project.duplicates:
            self.dropped(item.earlier, f"duplicate key: the one at line {item.line} counts")
        for over in project.overridden:
            by = over.by
            self.dropped(over.node, f"overridden by {by.file}:{by.line} {by.path}")
        for unset in project.unset:
            key = (unset.file, unset.line, unset.path)
            if old := self.entries.get(key):
                self._enter(key, old.outcome, f"{unset.name} is not set and was read as empty", "")


def _last_step(node: Node) -> str:
    return node.path.rpartition(".")[2]


def input_leaves(project: Project) -> Iterator[Node]:
    """Yield every leaf of every input file, those of duplicate keys too."""
    for source in project.sources:
        yield from leaves(source.root)
    for item in project.duplicates:
        yield from leaves(item.earlier)


def count_keys(project: Project) -> int:
    """Return how many leaves the input files have."""
    return sum(len(leaves(source.root)) for source in project.sources) + sum(
        len(leaves(item.earlier)) for item in project.duplicates
    )


def _joined(old: str, new: str, separator: str) -> str:
    if not new or new in old.split(separator):
        return old
    return f"{old}{separator}{new}" if old else new
