"""Writes plain data as YAML: the same bytes for the same data, safe for readers of YAML 1.1.

Every text that some reader might take for a number, a boolean or a date is quoted.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence

_SAFE = re.compile(r"[A-Za-z/_][A-Za-z0-9_./@+-]*(?::[A-Za-z0-9_./@+-]+)*\Z")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"))


def to_yaml(*documents: Mapping[str, object]) -> str:
    """Return documents as one YAML text, in their order, keys in theirs."""
    return "---\n".join(_document(document) for document in documents)


def _document(document: Mapping[str, object]) -> str:
    lines: list[str] = []
    _table(document, 0, lines)
    return "\n".join(lines) + "\n"


def _table(table: Mapping[str, object], indent: int, lines: list[str], first: str = "") -> None:
    for number, (key, value) in enumerate(table.items()):
        lead = first if first and number == 0 else " " * indent
        _entry(f"{lead}{_scalar(str(key))}:", value, indent, lines)


def _entry(head: str, value: object, indent: int, lines: list[str]) -> None:
    if isinstance(value, Mapping):
        if not value:
            lines.append(f"{head} {{}}")
            return
        lines.append(head)
        _table(value, indent + 2, lines)
    elif isinstance(value, str) and "\n" in value and _fits_block(value):
        lines.append(f"{head} |{'' if value.endswith(chr(10)) else '-'}")
        pad = " " * (indent + 2)
        lines += [f"{pad}{line}" if line else "" for line in value.removesuffix("\n").split("\n")]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            lines.append(f"{head} []")
            return
        lines.append(head)
        _list(value, indent, lines)
    else:
        lines.append(f"{head} {_scalar(value)}")


def _list(items: Sequence[object], indent: int, lines: list[str]) -> None:
    pad = " " * indent
    for item in items:
        if isinstance(item, Mapping) and item:
            _table(item, indent + 2, lines, first=f"{pad}- ")
        elif isinstance(item, Sequence) and not isinstance(item, str) and item:
            lines.append(f"{pad}-")
            _list(item, indent + 2, lines)
        else:
            lines.append(f"{pad}- {_scalar(item)}")


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value)  # null, true, 1, 0.5, {} and []


@functools.lru_cache(maxsize=4096)
def _text(value: str) -> str:
    if _SAFE.match(value) and value.lower() not in _WORDS:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return quoted if quoted.isprintable() else "".join(map(_escaped, quoted))


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    return f"\\U{ord(char):08x}"


def _fits_block(text: str) -> bool:
    """Whether a block scalar carries the text exactly."""
    lines = text.split("\n")
    if not lines[0] or lines[0].startswith(" ") or text.endswith("\n\n"):
        return False
    return all(line.isprintable() for line in lines)
