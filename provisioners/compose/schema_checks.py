"""Compiles a JSON schema into functions over nodes, which tell every fault at its own line.

The keywords are those that the schemas of compose files use. Wider than JSON schema where nothing
can be misread: a key without a value is empty, and an item may stand twice in a list.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from provisioners.compose import scalars
from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.records import dataclass

Schema: TypeAlias = Mapping[str, Any]

_SCALARS = frozenset(("string", "number", "integer", "boolean"))
_ORDER = ("string", "number", "integer", "boolean", "array", "object")
_WORDS = {
    "string": "a text",
    "number": "a number",
    "integer": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What a schema refuses: the node, in words.

    `wrong_kind` is set when the node itself is of another kind than is wanted, and
    `wants_scalar` when some scalar would do there.
    """

    at: Node
    text: str
    wrong_kind: bool = False
    wants_scalar: bool = False


Check: TypeAlias = Callable[[Node, list[Fault]], None]


class Compiler:
    """Turns the schemas of one document into functions; None stands for one that accepts everything."""

    def __init__(self, document: Schema, extra_keys: Mapping[str, tuple[str, ...]]) -> None:
        """Take a document; `extra_keys` are keys to allow in definitions, by their names."""
        self._document = document
        self._extra_keys = extra_keys
        self._named: dict[str, Check | None] = {}
        self._open: set[str] = set()

    def check(self, schema: Schema) -> Check | None:
        """Return the function for a schema."""
        if "allOf" in schema:
            return self.check(self._joined(schema))
        if "$ref" in schema:
            return self._referred(schema["$ref"])
        options = schema.get("oneOf") or schema.get("anyOf")
        if options:
            return self._one_of(options)
        kinds = _types(schema)
        if not kinds:
            return None
        table = self._table(schema) if "object" in kinds else None
        item = self.check(schema.get("items", {})) if "array" in kinds else None
        return _typed(kinds, _leaf(schema, kinds), table, item)

    def _referred(self, reference: str) -> Check | None:
        if reference in self._open:  # a definition that holds itself: looked up when it is called
            return functools.partial(_late, self._named, reference)
        if reference not in self._named:
            self._open.add(reference)
            self._named[reference] = self.check(self._definition(reference))
            self._open.discard(reference)
        return self._named[reference]

    def _definition(self, reference: str) -> Schema:
        node: Any = self._document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        extra = self._extra_keys.get(reference.rpartition("/")[2], ())
        found: Schema = node
        if not extra:
            return found
        properties = {**{key: {} for key in extra}, **found["properties"]}
        return {**found, "properties": properties}

    def _joined(self, schema: Schema) -> Schema:
        """Return one table schema of the parts of an `allOf`, closed as `unevaluatedProperties` says."""
        whole: dict[str, Any] = {"type": "object", "properties": {}, "patternProperties": {}, "required": []}
        own = {key: value for key, value in schema.items() if key != "allOf"}
        for part in (*(self._definition(part["$ref"]) for part in schema["allOf"]), own):
            joined = self._joined(part) if "allOf" in part else part
            whole["properties"] |= joined.get("properties", {})
            whole["patternProperties"] |= joined.get("patternProperties", {})
            whole["required"] += joined.get("required", [])
        whole["additionalProperties"] = schema.get("unevaluatedProperties", True)
        return whole

    def _one_of(self, options: list[Schema]) -> Check | None:
        kinds = [self._kinds(option) for option in options]
        checks = [self.check(option) for option in options]
        if None in checks:
            return None
        known = [(accepts, kind) for accepts, kind in zip(checks, kinds, strict=True) if accepts is not None]
        tables = tuple(accepts for accepts, kind in known if "object" in kind)
        lists = tuple(accepts for accepts, kind in known if "array" in kind)
        leaves = tuple(accepts for accepts, kind in known if kind & _SCALARS or "null" in kind)
        mismatch = _mismatch(frozenset[str]().union(*kinds))

        def one_of(node: Node, out: list[Fault]) -> None:
            fitting = leaves if isinstance(node, Leaf) else lists if isinstance(node, Listing) else tables
            best: list[Fault] = []
            for accepts in fitting:
                found: list[Fault] = []
                accepts(node, found)
                if not found:
                    return
                if not any(fault.at is node and fault.wrong_kind for fault in found):
                    best = found  # it is of the right kind, and something in it is wrong
            if fitting or not (isinstance(node, Leaf) and node.is_null):
                out.extend(best or [mismatch(node)])

        return one_of

    def _kinds(self, schema: Schema) -> frozenset[str]:
        if "$ref" in schema:
            return self._kinds(self._definition(schema["$ref"]))
        options = schema.get("oneOf") or schema.get("anyOf") or ()
        return _types(schema).union(*map(self._kinds, options))

    def _table(self, schema: Schema) -> Check | None:
        properties = schema.get("properties", {})
        patterns = [
            (re.compile(pattern), self.check(value))
            for pattern, value in schema.get("patternProperties", {}).items()
            if pattern != "^x-"
        ]
        extra = schema.get("additionalProperties", True)
        rest = self.check(extra) if isinstance(extra, dict) else None
        required = tuple(schema.get("required", ()))
        if not (properties or patterns or required) and rest is None and extra is not False:
            return None
        compiled = functools.cache(lambda key: self.check(properties[key]))  # most keys are never met
        return _keyed(frozenset(properties), compiled, patterns, rest, required, closed=extra is False)


def _late(named: Mapping[str, Check | None], reference: str, node: Node, out: list[Fault]) -> None:
    accepts = named[reference]
    if accepts is not None:
        accepts(node, out)


def _types(schema: Schema) -> frozenset[str]:
    given = schema.get("type")
    if given is None:
        return frozenset(("object",) if "properties" in schema or "patternProperties" in schema else ())
    return frozenset([given] if isinstance(given, str) else given)


def _typed(kinds: frozenset[str], leaf: Check, table: Check | None, item: Check | None) -> Check:
    """Return the check of a node whose kind is one of `kinds`, and of what is in it."""
    mismatch = _mismatch(kinds)
    tables, lists = "object" in kinds, "array" in kinds

    def typed(node: Node, out: list[Fault]) -> None:
        if isinstance(node, Leaf):
            leaf(node, out)
        elif isinstance(node, Listing):
            if not lists:
                out.append(mismatch(node))
            elif item is not None:
                for value in node.items:
                    item(value, out)
        elif not tables:
            out.append(mismatch(node))
        elif table is not None:
            table(node, out)

    return typed


def _leaf(schema: Schema, kinds: frozenset[str]) -> Check:
    mismatch = _mismatch(kinds)
    words = tuple(str(word) for word in schema.get("enum", ()))
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    pattern = re.compile(schema["pattern"]) if "pattern" in schema else None
    any_scalar = not words and pattern is None and lowest is None and kinds >= {"string", "number", "boolean"}
    bounded = lowest is not None or highest is not None

    text_is_enough = "string" in kinds and not words and pattern is None

    def leaf(node: Node, out: list[Fault]) -> None:
        if any_scalar or not isinstance(node, Leaf):
            return
        kind = kind_of(node.text) if node.plain else "string"
        if kind == "null" or (text_is_enough and kind == "string"):
            return
        if kind not in kinds and not (kind == "integer" and "number" in kinds):
            out.append(mismatch(node))
        elif words and node.text not in words:
            out.append(Fault(node, f"{node.text!r} is not one of {', '.join(sorted(words))}"))
        elif pattern is not None and not pattern.search(node.text):
            out.append(Fault(node, f"{node.text!r} has characters that are not allowed here"))
        elif bounded and kind != "string":
            number = float(node.text)
            if (lowest is not None and number < lowest) or (highest is not None and number > highest):
                low, high = ("..." if bound is None else bound for bound in (lowest, highest))
                out.append(Fault(node, f"{node.text} is not within {low} to {high}"))

    return leaf


@functools.lru_cache(maxsize=4096)
def kind_of(text: str) -> str:
    """Return what JSON schema calls the kind of an unquoted scalar."""
    value = scalars.resolve(text)
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "null" if value is None else "string"


def _mismatch(kinds: frozenset[str]) -> Callable[[Node], Fault]:
    """Return what makes the fault of a node that is of none of the kinds."""
    words = list(dict.fromkeys(_WORDS[kind] for kind in _ORDER if kind in kinds))
    wanted = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    wants_scalar = bool(kinds & _SCALARS)

    def fault(node: Node) -> Fault:
        text = f"{wanted} is wanted here, not {_said(node)}"
        if "string" in kinds and isinstance(node, Leaf):
            text += "; write it in quotes"
        return Fault(node, text, wrong_kind=True, wants_scalar=wants_scalar)

    return fault


def _said(node: Node) -> str:
    if isinstance(node, Listing):
        return "a list"
    if isinstance(node, Table):
        return "a table"
    kind = kind_of(node.text) if node.plain else "string"
    if kind == "string":
        return f"the text {node.text[:40]!r}"
    return f"{'the number ' if kind != 'boolean' else ''}{node.text[:40]}"


def _keyed(
    properties: frozenset[str],
    compiled: Callable[[str], Check | None],
    patterns: list[tuple[re.Pattern[str], Check | None]],
    rest: Check | None,
    required: tuple[str, ...],
    *,
    closed: bool,
) -> Check:
    """Return the check of a table's keys and of their values."""

    def keyed(node: Node, out: list[Fault]) -> None:
        entries = node.entries if isinstance(node, Table) else {}
        for key, value in entries.items():
            if key in properties:
                accepts = compiled(key)
            elif key.startswith("x-"):
                continue
            else:
                matched = [accepts for pattern, accepts in patterns if pattern.search(key)]
                if matched:
                    accepts = matched[0]
                elif closed:
                    out.append(Fault(value, f"unknown key `{key}`{_near(key, properties)}"))
                    continue
                else:
                    accepts = rest
            if accepts is not None:
                accepts(value, out)
        out += [Fault(node, f"`{key}` is missing here") for key in required if key not in entries]

    return keyed


def _near(key: str, properties: frozenset[str]) -> str:
    import difflib

    found = difflib.get_close_matches(key, sorted(properties), 1)
    return f", did you mean `{found[0]}`?" if found else ""
