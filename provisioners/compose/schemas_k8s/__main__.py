"""Renews the schemas from the sources of Kubernetes: `python -m provisioners.compose.schemas_k8s`.

The types, required keys and formats are those of `api/openapi-spec/swagger.json`, the allowed words
those of `pkg/generated/openapi` (the published file leaves them out), both of the Go module
k8s.io/kubernetes at the version that the lab runs. Descriptions and kinds that nobody writes as
manifests (lists, reviews, events) are left out; an object takes no key that its schema does not name.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioners.compose.schemas_k8s import FILE, KUBERNETES_VERSION
from provisioners.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema = dict[str, Any]

_MODULE = f"k8s.io/kubernetes@v{KUBERNETES_VERSION}"
_BOUND_S = 600.0
_LEFT_OUT = re.compile(
    r"List$|Review$|^Event$|^Binding$|^Eviction$|^Scale$|^(?:API|Delete|Watch|Status)|Token"
)
_ANY_GROUP = ("DeleteOptions", "WatchEvent", "Status")
_FREE = ("JSONSchemaProps", "JSON", "RawExtension", "FieldsV1")
_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_QUANTITY = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$"
_BYTES = r"^[A-Za-z0-9+/\s]*={0,2}\s*$"
_FUNCTION = re.compile(r"^func schema_k8sio_api_([a-z0-9]+)_(v\w+?)_(\w+)\(ref ")
_FIELD = re.compile(r'^\t{5}"([^"]+)": \{$')
_ENUM = re.compile(r"^\t+Enum: +\[\]interface\{\}\{(.*)\},$")


def main() -> int:
    """Write the file anew and say how large it is."""
    folder = _sources()
    definitions = json.loads((folder / "api/openapi-spec/swagger.json").read_text())["definitions"]
    generated = (folder / "pkg/generated/openapi/zz_generated.openapi.go").read_text()
    words = {(name, field): found for name, field, found in _enums(generated)}
    kinds, others = _kinds(definitions)
    parts: dict[str, Schema] = {}
    for name in kinds.values():
        _collect(name, definitions, words, parts)
    text = json.dumps(
        {"kinds": kinds, "others": others, "definitions": parts}, sort_keys=True, separators=(",", ":")
    )
    FILE.write_bytes(gzip.compress(text.encode(), mtime=0))
    sys.stderr.write(
        f"{FILE}: {len(kinds)} kinds, {len(parts)} parts, {len(words)} lists of words, "
        f"{FILE.stat().st_size} bytes\n"
    )
    return 0


def _sources() -> Path:
    done = run(["go", "mod", "download", "-json", _MODULE], timeout_s=_BOUND_S).check("install Go")
    return Path(json.loads(done.stdout)["Dir"])


def _kinds(definitions: Mapping[str, Schema]) -> tuple[dict[str, str], list[str]]:
    """Return the definition of each kind that is written as a manifest, and the names of the rest."""
    kinds: dict[str, str] = {}
    others: list[str] = []
    for name, schema in sorted(definitions.items()):
        for row in schema.get("x-kubernetes-group-version-kind", ()):
            version = f"{row['group']}/{row['version']}" if row["group"] else row["version"]
            title = f"{version}/{row['kind']}"
            if "metadata" in schema.get("properties", {}) and not _LEFT_OUT.search(row["kind"]):
                kinds[title] = name
            elif row["kind"] not in _ANY_GROUP:
                others.append(title)
    return kinds, sorted(others)


def _enums(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the definition, the field and its words, from Go code that a generator has written."""
    name = field = ""
    for line in text.splitlines():
        if match := _FUNCTION.match(line):
            name, field = f"io.k8s.api.{match[1]}.{match[2]}.{match[3]}", ""
        elif line.startswith("func "):
            name = ""
        elif match := _FIELD.match(line):
            field = match[1]
        elif name and field and (match := _ENUM.match(line)):
            yield name, field, sorted(json.loads(f"[{match[1]}]"))


def _collect(
    name: str,
    definitions: Mapping[str, Schema],
    words: Mapping[tuple[str, str], list[str]],
    parts: dict[str, Schema],
) -> None:
    """Put a definition, and what it refers to, among the parts."""
    if name in parts:
        return
    found = parts[name] = _schema(definitions[name], name)
    for field, schema in found.get("properties", {}).items():
        if enum := words.get((name, field)):
            target = schema.get("items", schema)
            target["enum"] = ["", *enum] if target["type"] == "string" else enum
    for other in _named(found):
        _collect(other, definitions, words, parts)


def _schema(given: Schema, name: str = "") -> Schema:
    short = name.rpartition(".")[2]
    if short in _FREE:
        return {}
    if short == "Quantity":
        return {"type": ["string", "number"], "pattern": _QUANTITY}
    if given.get("format") == "int-or-string":
        low, high = _BOUNDS["int32"]
        return {"type": ["integer", "string"], "minimum": low, "maximum": high}
    if "$ref" in given:
        return {"part": given["$ref"].rpartition("/")[2]}
    found: Schema = {key: given[key] for key in ("type", "required") if key in given}
    if given.get("format") in _BOUNDS:
        found["minimum"], found["maximum"] = _BOUNDS[given["format"]]
    if given.get("format") == "byte":
        found["pattern"] = _BYTES
    if "properties" in given:
        found["properties"] = {key: _schema(value) for key, value in given["properties"].items()}
        found["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if key in given:
            found[key] = _schema(given[key])
    return found


def _named(schema: Schema) -> Iterator[str]:
    if "part" in schema:
        yield schema["part"]
    for value in schema.get("properties", {}).values():
        yield from _named(value)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _named(schema[key])


if __name__ == "__main__":
    sys.exit(main())
