"""What became of every leaf of the input: a Loss for each, and a ledger that finds silent ones.

The counting rule: keys in = keys accounted for. `Ledger.close` counts, and a leaf that no
renderer spoke about is an error of the converter, never of the input.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from provisioners.compose.nodes import Leaf, Listing, Node, Table, leaves
from provisioners.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provisioners.compose.model import Project

_SHOWN = 20


class Outcome(enum.StrEnum):
    """How much of a leaf arrived; from whole to not at all."""

    CONVERTED = "converted"
    APPROXIMATED = "approximated"
    DROPPED = "dropped"
    REFUSED = "refused"


_ORDER = tuple(Outcome)
_Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of a leaf, or of all leaves below a path: where it stood, how, and into what."""

    file: str
    line: int
    path: str
    outcome: Outcome
    detail: str
    target: str


def losses_json(losses: Iterable[Loss]) -> str:
    """Return losses as a JSON list of objects, one on each line."""
    lines = [
        json.dumps(
            {
                "file": loss.file,
                "line": loss.line,
                "path": loss.path,
                "outcome": loss.outcome.value,
                "detail": loss.detail,
                "target": loss.target,
            },
            ensure_ascii=False,
        )
        for loss in losses
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Collects what renderers say of nodes; one entry for each file and path."""

    entries: dict[_Key, Loss] = field(default_factory=dict)
    covered: set[_Key] = field(default_factory=set)

    def note(self, node: Node, outcome: Outcome, detail: str, target: str = "") -> None:
        """Say what became of a node and of everything below it."""
        self._enter(node, outcome, detail, target)
        for leaf in leaves(node):
            self.covered.add((leaf.file, leaf.line, leaf.path))
            below = leaf.file == node.file and leaf.path.startswith(node.path)
            if not below:  # it came from another file, or from a list that became a table
                self._enter(leaf, outcome, detail, target)

    def remark(self, node: Node, detail: str, target: str = "") -> None:
        """Say something of a table itself; what is below it stays to be accounted for."""
        self._enter(node, Outcome.APPROXIMATED, detail, target)

    def covers(self, leaf: Node) -> bool:
        """Return whether something was said of a leaf."""
        return (leaf.file, leaf.line, leaf.path) in self.covered

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

    def _enter(self, node: Node, outcome: Outcome, detail: str, target: str) -> None:
        key = (node.file, node.line, node.path)
        old = self.entries.get(key)
        if old is None:
            self.entries[key] = Loss(node.file, node.line, node.path, outcome, detail, target)
            return
        self.entries[key] = replace(
            old,
            outcome=max(old.outcome, outcome, key=_ORDER.index),
            detail=_joined(old.detail, detail, "; "),
            target=_joined(old.target, target, ", "),
        )

    def close(self, project: Project) -> tuple[Loss, ...]:
        """Account for what no renderer has to speak about, count, and return all losses in file order.

        Raises:
            ProvisionError: a leaf of the input is not accounted for.
        """
        self._own_entries(project)
        self._extensions_and_empties(project)
        silent = [leaf for leaf in input_leaves(project) if not self.covers(leaf)]
        if silent:
            named = "; ".join(f"{leaf.file}:{leaf.line} {leaf.path}" for leaf in silent[:_SHOWN])
            raise ProvisionError(
                f"{len(silent)} of {count_keys(project)} keys would be lost in silence",
                why=named,
                next_step="report this: it is an error of the converter, not of the file",
            )
        order = {source.name: index for index, source in enumerate(project.sources)}
        return tuple(
            sorted(self.entries.values(), key=lambda loss: (order.get(loss.file, 0), loss.line, loss.path))
        )

    def _extensions_and_empties(self, project: Project) -> None:
        """What says nothing to anyone: `x-` keys anywhere, and keys without a value."""
        for leaf in input_leaves(project):
            if self.covers(leaf):
                continue
            if any(step.startswith("x-") for step in leaf.path.split(".")):
                self.dropped(leaf, "an extension: nothing reads it")
            elif not isinstance(leaf, Leaf) or leaf.is_null:
                self.dropped(leaf, "it is empty")

    def _own_entries(self, project: Project) -> None:
        for item in project.duplicates:
            self.dropped(item.earlier, f"duplicate key: the one at line {item.line} counts")
        for over in project.overridden:
            by = over.by
            self.dropped(over.node, f"overridden by {by.file}:{by.line} {by.path}")
        for unset in project.unset:
            key = (unset.file, unset.line, unset.path)
            if old := self.entries.get(key):
                detail = _joined(old.detail, f"{unset.name} is not set and was read as empty", "; ")
                self.entries[key] = replace(old, detail=detail)
        for source in project.sources:
            for table in _tables(source.root):
                for leaf in table:
                    self.converted(leaf, "", "merge key: what it brings in is accounted for where it lands")


def _tables(node: Node) -> Iterator[tuple[Node, ...]]:
    if isinstance(node, Table):
        if node.merges:
            yield node.merges
        for value in node.entries.values():
            yield from _tables(value)
    elif isinstance(node, Listing):
        for item in node.items:
            yield from _tables(item)


def input_leaves(project: Project) -> Iterator[Node]:
    """Yield every leaf of every input file, those of duplicate keys too."""
    for source in project.sources:
        yield from leaves(source.root)
    for item in project.duplicates:
        yield from leaves(item.earlier)


def count_keys(project: Project) -> int:
    """Return how many leaves the input files have."""
    return sum(1 for _ in input_leaves(project))


def _joined(old: str, new: str, separator: str) -> str:
    if not new or new in old.split(separator):
        return old
    return f"{old}{separator}{new}" if old else new
