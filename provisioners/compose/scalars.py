"""What an unquoted YAML scalar means: the YAML 1.2 core rules, narrowed to what compose files mean.

YAML 1.1 reads `22:22` as 1342, `on` as true and `0644` as 420; here they stay text.
"""

from __future__ import annotations

import re

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})\Z")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?\Z")


def resolve(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted scalar; text that is nothing else stays text."""
    if text in NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INT.match(text):
        return int(text)
    if any(char.isdigit() for char in text) and _FLOAT.match(text):
        return float(text)
    return text


def as_bool(text: str) -> bool | None:
    """Return what a key that wants a boolean makes of the text, or None when it is none."""
    word = text.lower()
    if word in {"true", "yes", "on", "y"}:
        return True
    if word in {"false", "no", "off", "n"}:
        return False
    return None
