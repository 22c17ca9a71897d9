"""Reads one YAML file into nodes with line numbers, strictly and within bounds.

All duplicate keys are found in one pass; aliases and merge keys are expanded only after the
size of what they expand to has been counted, so an alias bomb costs nothing.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Literal

from provisioners.compose.nodes import Leaf, Listing, Node, Table, moved, place
from provisioners.compose.records import dataclass
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Duplicates = Literal["error", "last"]

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 64
MAX_NODES = 200_000
_SHOWN = 200
_MERGE_TAGS = frozenset(("!reset", "!override"))


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that stands twice in one table: the earlier value, and the line of the later one."""

    earlier: Node
    path: str
    file: str
    first_line: int
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path} is already at line {self.first_line}"


@dataclass(frozen=True, slots=True)
class Document:
    """One file, read: its root and the duplicates found on the way.

    `tagged` is set when some node has the tag `!reset` or `!override`.
    """

    root: Node
    duplicates: tuple[Duplicate, ...]
    tagged: bool = False


def read_file(path: Path, name: str | None = None) -> Document:
    """Read a YAML file; `name` is what messages and losses call it.

    Raises:
        InputError: it is not readable YAML, or past the bounds; the line is named.
    """
    shown = name or str(path)
    return read_text(_text(path, shown), shown)


def read_text(text: str, name: str) -> Document:
    """Read YAML text; the same contract as `read_file`."""
    documents = _Reader(name).read(text)
    if not documents:
        raise InputError("the file is empty", where=name, next_step="check that it is the right one")
    if len(documents) > 1:
        raise InputError(
            f"the file has {len(documents)} YAML documents",
            where=place(documents[1].root),
            next_step="give each document a file of its own; several files are merged",
        )
    return documents[0]


def read_documents(text: str, name: str) -> tuple[Document, ...]:
    """Read all YAML documents of a text, as files of manifests have them."""
    return _Reader(name).read(text)


def read_text_of(path: Path, name: str) -> str:
    """Return the text of a file, within bounds; the same errors as `read_file`."""
    return _text(path, name)


def duplicates_error(found: tuple[Duplicate, ...]) -> InputError:
    """Return the error that names every duplicate key with both of its lines."""
    lines = [str(item) for item in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more")
    return InputError(
        f"{len(found)} duplicate key{'s' if len(found) > 1 else ''}",
        where=found[0].file,
        why="\n        ".join(lines),
        next_step="keep one of each, or convert with --duplicates last",
    )


def _text(path: Path, shown: str) -> str:
    if path.is_dir():
        raise InputError("this is a folder, not a file", where=shown, next_step="name the file in it")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _too(f"the file has {size / 2**20:.0f} MiB, more than {MAX_BYTES >> 20}", shown)
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError("there is no such file", where=shown, next_step="correct the path") from None
    except OSError as error:
        raise InputError("the file cannot be read", where=shown, why=str(error.strerror)) from None
    return _decode(data, shown)


def _decode(data: bytes, shown: str) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\x00" in data[:256]:
        raise InputError(
            "the file is not UTF-8",
            where=shown,
            why="it looks like UTF-16 or binary data",
            next_step="save it as UTF-8",
        )
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            "the file is not UTF-8", where=f"{shown}:{line}", why=error.reason, next_step="save it as UTF-8"
        ) from None


def _too(what: str, where: str) -> InputError:
    return InputError(
        what,
        where=where,
        why="no compose file needs that much",
        next_step="split the file, or check that it is one",
    )


@dataclasses.dataclass(slots=True)
class _Open:
    """A list or table whose end has not been seen yet."""

    line: int
    path: str
    tag: str
    anchor: str | None
    keyed: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)
    merges: list[tuple[int, Node]] = field(default_factory=list)
    key: str | None = None
    key_line: int = 0
    size: int = 1


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._duplicates: list[Duplicate] = []
        self._root: Node | None = None
        self._documents: list[Document] = []
        self._size = 0
        self._tagged = False

    def read(self, text: str) -> tuple[Document, ...]:
        import yaml

        parser = getattr(yaml, "CLoader", yaml.Loader)(text)
        handlers: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: functools.partial(self._start, keyed=True),
            yaml.SequenceStartEvent: functools.partial(self._start, keyed=False),
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentEndEvent: self._end_document,
        }
        next_event, last = parser.get_event, yaml.StreamEndEvent
        try:
            while (kind := type(event := next_event())) is not last:
                if kind in handlers:
                    handlers[kind](event)
        except yaml.YAMLError as error:
            raise self._yaml_error(error) from None
        except RecursionError:
            raise _too("the file is nested too deep", self._name) from None
        finally:
            parser.dispose()
        return tuple(self._documents)

    def _end_document(self, _: Any) -> None:
        root, self._root = self._root, None
        if root is not None and not (isinstance(root, Leaf) and root.is_null):
            self._documents.append(Document(root, tuple(self._duplicates), self._tagged))
        self._duplicates.clear()
        self._anchors.clear()

    def _scalar(self, event: Any) -> None:
        line = event.start_mark.line + 1
        top = self._stack[-1] if self._stack else None
        if top is not None and top.keyed and top.key is None:
            top.key, top.key_line = event.value, line
            if event.anchor:  # `&a key: value` names the key alone
                self._anchors[event.anchor] = (self._leaf(event, line, ""), 1)
            return
        if top is not None and top.keyed:
            line = top.key_line
        leaf = self._leaf(event, line, self._path())
        self._keep(event.anchor, leaf, 1)
        self._add(leaf, 1)

    def _leaf(self, event: Any, line: int, path: str) -> Leaf:
        tag = self._short(event.tag)
        plain = bool(event.implicit[0]) if not tag else tag not in {"!!str", "!"}
        return Leaf(event.value, plain, self._name, line, path, tag)

    def _start(self, event: Any, *, keyed: bool) -> None:
        line = event.start_mark.line + 1
        top = self._stack[-1] if self._stack else None
        if len(self._stack) >= MAX_DEPTH:
            raise _too(f"nested deeper than {MAX_DEPTH} levels", f"{self._name}:{line}")
        if top is not None and top.keyed:
            if top.key is None:
                raise InputError(
                    "a key is a list or a table", where=f"{self._name}:{line}", next_step="use a text as key"
                )
            line = top.key_line
        self._stack.append(_Open(line, self._path(), self._short(event.tag), event.anchor, keyed))

    def _end(self, _: Any) -> None:
        done = self._stack.pop()
        node: Node
        if done.keyed:
            node = Table(
                self._merged(done), self._name, done.line, done.path, done.tag, self._merge_leaves(done)
            )
        else:
            node = Listing(tuple(done.items), self._name, done.line, done.path, done.tag)
        self._keep(done.anchor, node, done.size)
        self._add(node, done.size)

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        where = f"{self._name}:{line}"
        if event.anchor not in self._anchors:
            raise InputError(
                f"alias *{event.anchor} has no anchor before it", where=where, next_step="correct the name"
            )
        if self._stack and self._stack[-1].keyed and self._stack[-1].key is None:
            raise InputError(f"alias *{event.anchor} stands where a key must", where=where)
        node, size = self._anchors[event.anchor]
        self._grow(size, line)
        copy = moved(node, self._path())
        if not isinstance(copy, Leaf):
            copy = replace(copy, line=line)
        self._add(copy, size)

    def _keep(self, anchor: str | None, node: Node, size: int) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)
        self._grow(1, node.line)

    def _grow(self, count: int, line: int) -> None:
        self._size += count
        if self._size > MAX_NODES:
            raise _too(f"its aliases expand to more than {MAX_NODES} values", f"{self._name}:{line}")

    def _path(self) -> str:
        if not self._stack:
            return ""
        top = self._stack[-1]
        if not top.keyed:
            return f"{top.path}[{len(top.items)}]"
        return f"{top.path}.{top.key}" if top.path else str(top.key)

    def _add(self, node: Node, size: int) -> None:
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.size += size
        if not top.keyed:
            top.items.append(node)
            return
        key, top.key = top.key or "", None
        if key == "<<":
            top.merges.append((top.key_line, node))
            return
        if key in top.entries:
            path = f"{top.path}.{key}" if top.path else key
            self._duplicates.append(
                Duplicate(top.entries.pop(key), path, self._name, top.key_lines[key], top.key_line)
            )
        top.entries[key] = node
        top.key_lines[key] = top.key_line

    def _merged(self, done: _Open) -> dict[str, Node]:
        entries = done.entries
        if not done.merges:
            return entries
        merged: dict[str, Node] = {}
        for line, node in done.merges:
            sources = node.items if isinstance(node, Listing) else (node,)
            for source in sources:
                if not isinstance(source, Table):
                    raise InputError(
                        "a merge key takes a table, or a list of tables",
                        where=f"{self._name}:{line}",
                        next_step="write `<<: *anchor` with an anchor on a table",
                    )
                for key, value in source.entries.items():
                    if key not in entries and key not in merged:
                        merged[key] = moved(value, f"{done.path}.{key}" if done.path else key)
        return {**merged, **entries}

    def _merge_leaves(self, done: _Open) -> tuple[Leaf, ...]:
        path = f"{done.path}.<<" if done.path else "<<"
        return tuple(Leaf("<<", plain=True, file=self._name, line=line, path=path) for line, _ in done.merges)

    def _yaml_error(self, error: Any) -> InputError:
        mark = getattr(error, "problem_mark", None)
        where = f"{self._name}:{mark.line + 1}" if mark else self._name
        why = str(getattr(error, "problem", None) or error)
        if "maximum nesting depth" in why:  # libyaml reads ahead of the events, and has a bound of its own
            return _too(f"nested deeper than {MAX_DEPTH} levels", where)
        return InputError("this is not YAML", where=where, why=why, next_step="correct that line")

    def _short(self, tag: str | None) -> str:
        if not tag:
            return ""
        self._tagged = self._tagged or tag in _MERGE_TAGS
        return tag.replace("tag:yaml.org,2002:", "!!")
