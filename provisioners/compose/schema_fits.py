"""Says quickly that a value fits a schema of Kubernetes; what does not fit is for jsonschema to put in words.

It knows the keywords that those schemas have. A schema with any other one fits nothing, so a value is
never called sound by a rule that was not looked at; and a renewed schema costs time, not strictness.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYWORDS = frozenset(
    (
        "type",
        "properties",
        "additionalProperties",
        "required",
        "items",
        "enum",
        "pattern",
        "minimum",
        "maximum",
    )
)
_TYPES: Mapping[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def fits(value: object, schema: Mapping[str, Any]) -> bool:
    """Return whether a value surely fits; False may mean that jsonschema has to be asked.

    As the API server reads it, a key whose value is null is a key that is absent.
    """
    if not schema.keys() <= _KEYWORDS or not _is_of(value, schema.get("type")):
        return False
    if isinstance(value, dict):
        return _table_fits(value, schema)
    if isinstance(value, list):
        items = schema.get("items")
        return items is None or all(fits(item, items) for item in value)
    if isinstance(value, str) and "pattern" in schema and not _compiled(schema["pattern"]).search(value):
        return False
    if isinstance(value, int) and not isinstance(value, bool):
        lowest, highest = schema.get("minimum", value), schema.get("maximum", value)
        if not lowest <= value <= highest:
            return False
    return "enum" not in schema or value in schema["enum"]


def _is_of(value: object, wanted: str | list[str] | None) -> bool:
    if wanted is None:
        return True
    names = (wanted,) if isinstance(wanted, str) else wanted
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float):
        return "number" in names
    return any(isinstance(value, _TYPES[name]) for name in names if name in _TYPES)


def _table_fits(value: Mapping[str, object], schema: Mapping[str, Any]) -> bool:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for key, inner in value.items():
        if inner is None:
            continue
        own = properties.get(key, others)
        if own is not True and (own is False or not fits(inner, own)):
            return False
    return "enum" not in schema and all(value.get(key) is not None for key in schema.get("required", ()))


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
