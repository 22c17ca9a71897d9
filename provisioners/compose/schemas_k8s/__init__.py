"""The API server's own schemas of Kubernetes objects, as JSON Schema; `__main__` renews them."""

from __future__ import annotations

import functools
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KUBERNETES_VERSION = "1.34.3"
FILE = Path(__file__).with_name(f"{KUBERNETES_VERSION}.json.gz")

Schema = dict[str, Any]

_GONE = ("extensions",)  # groups that are served no more


@dataclass(frozen=True, slots=True)
class Schemas:
    """What one version of Kubernetes serves.

    `kinds` has a schema for each `apiVersion/Kind` (`apps/v1/Deployment`, `v1/Service`); `others` are
    served too, but nobody writes them as manifests. Texts under one of the `worded` keys have a list of
    words somewhere, those under one of `patterns` have to match somewhere; `special` is either of them.
    """

    kinds: Mapping[str, Schema]
    others: frozenset[str]
    worded: frozenset[str]
    patterns: Mapping[str, tuple[re.Pattern[str], ...]]
    special: frozenset[str]

    def serves_group(self, api_version: str) -> bool:
        """Return whether the group of an `apiVersion` is one of Kubernetes' own, of any version."""
        group = api_version.rpartition("/")[0]
        return group in _GONE or any(_group(kind) == group for kind in (*self.kinds, *self.others))

    def versions_of(self, kind: str) -> tuple[str, ...]:
        """Return the `apiVersion`s that a kind has."""
        found = (title.rpartition("/") for title in self.kinds)
        return tuple(version for version, _, name in found if name == kind)


@functools.cache
def load_schemas() -> Schemas:
    """Return the schemas.

    Parts that several kinds share are the same objects in memory, so there is no reference to
    resolve while validating.
    """
    data = json.loads(gzip.decompress(FILE.read_bytes()))
    parts: dict[str, Schema] = data["definitions"]
    worded: set[str] = set()
    patterns: dict[str, set[str]] = {}
    for part in parts.values():
        for key, value in part.get("properties", {}).items():
            part["properties"][key] = linked = _linked(value, parts)
            if "enum" in linked or "enum" in linked.get("items", ()):
                worded.add(key)
            patterns.setdefault(key, set()).update(_patterns(linked))
        for key in ("items", "additionalProperties"):
            if isinstance(part.get(key), dict):
                part[key] = _linked(part[key], parts)
    kinds = {kind: parts[name] for kind, name in data["kinds"].items()}
    compiled = {key: tuple(map(re.compile, sorted(found))) for key, found in patterns.items() if found}
    special = frozenset((*worded, *compiled))
    return Schemas(kinds, frozenset(data["others"]), frozenset(worded), compiled, special)


def _group(title: str) -> str:
    return title.rpartition("/")[0].rpartition("/")[0]


def _patterns(schema: Schema) -> set[str]:
    inner = (schema.get(key) for key in ("items", "additionalProperties"))
    found = {one["pattern"] for one in inner if isinstance(one, dict) and "pattern" in one}
    return found | ({schema["pattern"]} if "pattern" in schema else set())


def _linked(schema: Schema, parts: dict[str, Schema]) -> Schema:
    if "part" in schema:
        return parts[schema["part"]]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _linked(schema[key], parts)
    return schema
