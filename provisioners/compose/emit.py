"""Writes plain data as YAML: the same bytes for the same data, safe for readers of YAML 1.1.

Every text that some reader might take for a number, a boolean or a date is quoted. A big
project is tens of thousands of lines, so the common kinds are told apart by their exact type,
and what a text looks like when it is written is worked out once.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence

# A text that needs no quotes: not one of the words that some reader takes for something else.
_SAFE = re.compile(
    r"(?!(?i:y|n|yes|no|on|off|true|false|null|none|nan|inf)\Z)"
    r"[A-Za-z/_][A-Za-z0-9_./@+-]*(?::[A-Za-z0-9_./@+-]+)*\Z"
)
_LONGEST_KEY = 1000  # a reader of YAML may give up on a key of more than 1024 characters
_REMEMBERED = 16384


def to_yaml(*documents: Mapping[str, object]) -> str:
    """Return documents as one YAML text, in their order, keys in theirs."""
    return "---\n".join([_document(document) for document in documents])


def _document(document: Mapping[str, object]) -> str:
    if not document:
        return "{}\n"
    lines: list[str] = []
    _table(document, "", lines, "")
    lines.append("")
    return "\n".join(lines)


def _table(table: Mapping[str, object], pad: str, lines: list[str], lead: str) -> None:
    """Write a table whose keys stand at `pad`; `lead` stands before the first one."""
    add = lines.append
    for key, value in table.items():
        head = f"{lead}{_text(key if type(key) is str else str(key))}:"
        if len(head) > _LONGEST_KEY:
            head = f"{lead}? {head[len(lead) : -1]}\n{pad}:"
        lead = pad
        kind = type(value)
        if kind is str and "\n" not in value:  # type: ignore[operator]  # it is a text
            add(f"{head} {_text(value)}")
        elif kind is int:
            add(f"{head} {value}")
        elif kind is dict and value:
            add(head)
            _table(value, f"{pad}  ", lines, f"{pad}  ")  # type: ignore[arg-type]
        elif kind is list and value:
            add(head)
            _list(value, pad, lines)  # type: ignore[arg-type]
        else:
            _entry(head, value, pad, lines)


def _entry(head: str, value: object, pad: str, lines: list[str]) -> None:
    if isinstance(value, str):
        if "\n" in value and _fits_block(value):
            _block(head, value, f"{pad}  ", lines)
        else:
            lines.append(f"{head} {_text(value)}")
    elif value and isinstance(value, Mapping):
        lines.append(head)
        _table(value, f"{pad}  ", lines, f"{pad}  ")
    elif value and isinstance(value, Sequence):
        lines.append(head)
        _list(value, pad, lines)
    else:
        lines.append(f"{head} {_scalar(value)}")


def _list(items: Sequence[object], pad: str, lines: list[str]) -> None:
    for item in items:
        if type(item) is str:
            lines.append(f"{pad}- {_text(item)}")
        elif item and isinstance(item, (dict, Mapping)):
            _table(item, f"{pad}  ", lines, f"{pad}- ")
        elif item and isinstance(item, Sequence) and not isinstance(item, str):
            lines.append(f"{pad}-")
            _list(item, f"{pad}  ", lines)
        else:
            lines.append(f"{pad}- {_scalar(item)}")


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, Sequence):
        return "[]"
    return json.dumps(value)  # null, true, 1


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(float(value))
    # YAML 1.1 takes `1e+20` for a text, and `1.0e+20` for what it is
    return text if "e" not in text or "." in text else text.replace("e", ".0e")


@functools.lru_cache(maxsize=_REMEMBERED)
def _text(value: str) -> str:
    if match := _SAFE.match(value):
        return match[0]
    quoted = json.dumps(value, ensure_ascii=False)
    return quoted if quoted.isprintable() else "".join(map(_escaped, quoted))


def _escaped(char: str) -> str:
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _block(head: str, text: str, pad: str, lines: list[str]) -> None:
    lines.append(f"{head} {'|' if text.endswith(chr(10)) else '|-'}")
    lines += [f"{pad}{line}" if line else "" for line in text.removesuffix("\n").split("\n")]


def _fits_block(text: str) -> bool:
    """Whether a block scalar carries the text exactly."""
    lines = text.split("\n")
    if not lines[0] or lines[0].startswith(" ") or text.endswith("\n\n"):
        return False
    return all(line.isprintable() for line in lines)
