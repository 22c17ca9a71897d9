"""Checks a merged compose file against the published JSON schemas, in words and with file and line.

The schemas are compiled into functions over nodes, once in a process: that keeps the lines, tells
all faults at once, and costs a small part of a general validator, which the tests hold it against.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioners.compose.nodes import Leaf, Node, Table
from provisioners.compose.records import dataclass
from provisioners.compose.schema_checks import Check, Compiler, Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_FOLDER = Path(__file__).with_name("schemas")
SPECIFICATION = "compose-spec.json"
STACK = "config_schema_v3.13.json"
# Keys of older files that the specification has no more: they are read, and told of as losses.
_OLDER = ("volume_driver", "net", "log_driver", "log_opt", "cgroupns_mode")
_EXTRA_KEYS = {"container_spec": _OLDER, "service": _OLDER}


def check(root: Table, replaced: Collection[tuple[str, str]] = ()) -> list[Fault]:
    """Return every fault of a merged project's sections.

    `replaced` holds (file, path) of values that came out of `${...}`: they may be any scalar,
    as their kind is that of the variable. What only Swarm's schema of version 3 knows is
    accepted in a file of that version. Unknown top-level keys are not told of here.
    """
    version = root.get("version")
    stack = isinstance(version, Leaf) and version.text.startswith("3")
    found: list[Fault] = []
    for section, node in root.entries.items():
        for key, accepts, value in _parts(SPECIFICATION, section, node):
            faults = _faults(accepts, value, replaced)
            if faults and stack:
                others = {name: other for name, other, _ in _parts(STACK, section, node)}
                if key in others and not _faults(others[key], value, replaced):
                    continue
            found += faults
    return found


def _faults(accepts: Check, node: Node, replaced: Collection[tuple[str, str]]) -> list[Fault]:
    found: list[Fault] = []
    accepts(node, found)
    return [
        fault
        for fault in found
        if not (
            fault.wants_scalar and isinstance(fault.at, Leaf) and (fault.at.file, fault.at.path) in replaced
        )
    ]


def _parts(file: str, section: str, node: Node) -> list[tuple[str, Check, Node]]:
    """Return what is checked apart of a section: its entries, or itself when it has none."""
    schema = compiled(file)
    entries = schema.entries.get(section)
    if entries is None or not isinstance(node, Table):
        whole = schema.sections.get(section)
        return [] if whole is None else [("", whole, node)]
    pattern, accepts = entries
    found: list[tuple[str, Check, Node]] = []
    for name, value in node.entries.items():
        if name.startswith("x-"):
            continue
        if not pattern.search(name):
            found.append((name, _illegal(name), value))
        elif accepts is not None:
            found.append((name, accepts, value))
    return found


def _illegal(name: str) -> Check:
    def refuse(node: Node, out: list[Fault]) -> None:
        out.append(
            Fault(node, f"the name {name!r} has other characters than letters, digits, `.`, `_` and `-`")
        )

    return refuse


@dataclass(frozen=True, slots=True)
class Compiled:
    """One compiled schema: the checks of whole sections, and of the entries of those that have names."""

    sections: Mapping[str, Check | None]
    entries: Mapping[str, tuple[re.Pattern[str], Check | None]]


@functools.cache
def compiled(file: str) -> Compiled:
    """Return one of the two schemas, compiled."""
    document: dict[str, Any] = json.loads((_FOLDER / file).read_text(encoding="utf-8"))
    compiler = Compiler(document, _EXTRA_KEYS)
    sections, entries = {}, {}
    for key, schema in document["properties"].items():
        if key == "version":
            continue  # Docker asks for a text, but a number cannot be misread
        sections[key] = compiler.check(schema)
        patterns = [pattern for pattern in schema.get("patternProperties", {}) if pattern != "^x-"]
        if len(patterns) == 1:
            (pattern,) = patterns
            entries[key] = re.compile(pattern), compiler.check(schema["patternProperties"][pattern])
    return Compiled(sections, entries)
