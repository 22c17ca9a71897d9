"""Validates Kubernetes objects offline, as strictly as the API server's dry run: no cluster is needed.

Two parts: the API server's own schemas (fields, types, words; an unknown field is an error), and
what schemas do not hold (`validate_rules`: names, labels, ports, mounts, probes, selectors).
Objects of kinds that Kubernetes does not bring itself are checked in their metadata alone.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from provisioners.compose.records import dataclass
from provisioners.compose.schema_fits import fits
from provisioners.compose.schemas_k8s import KUBERNETES_VERSION, load_schemas
from provisioners.compose.validate_names import Problem
from provisioners.compose.validate_rules import object_rules
from provisioners.errors import InputError, ProvisionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jsonschema.protocols import Validator

    from provisioners.compose.schemas_k8s import Schemas

__all__ = ["KUBERNETES_VERSION", "Problem", "Validation", "check_objects", "check_texts", "object_problems"]

Object = dict[str, Any]

MISTYPED = "type"
_SHOWN = 20
_ALL_RULES = 500
_INT32 = 2**31
_END = object()  # of a table in a shape: no key is that
_KINDS_OF_VALUES = {
    "object": "a table",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True, slots=True)
class Validation:
    """Remembers which shapes of objects were sound: hundreds of services have a handful of shapes.

    The shape of an object is its keys, the types of its values, and the values themselves where the
    schema looks at them. Only sound shapes are remembered, so each bad object gets its own words.
    """

    sound: set[object]

    def problems(self, body: Object, *, sampled: bool = False) -> tuple[Problem, ...]:
        """Return everything wrong with one object; empty when the API server would take it.

        Where a value is of the wrong type, rules about what it says are left for the next time. With
        `sampled` an object whose shape was sound before is not looked at any further.
        """
        before = len(self.sound)
        schema = self._schema_problems(body)
        if sampled and not schema and len(self.sound) == before:
            return ()
        typed = not any(one.rule == MISTYPED for one in schema)
        return (*schema, *object_rules(body, typed=typed))

    def _schema_problems(self, body: Object) -> tuple[Problem, ...]:
        title = f"{body.get('apiVersion')}/{body.get('kind')}"
        schemas = load_schemas()
        if title not in schemas.kinds:
            return tuple(_unknown(body, title))
        shape = (title, _shape(body, "", schemas))
        if shape in self.sound:
            return ()
        if fits(body, schemas.kinds[title]):
            self.sound.add(shape)
            return ()
        read: Any = without_nulls(body)
        found = tuple(_worded(error) for error in _validator(title).iter_errors(read))
        if not found:
            self.sound.add(shape)
        return found


def object_problems(body: Object, *, sampled: bool = False) -> tuple[Problem, ...]:
    """Return everything wrong with one object; `sampled` as in `Validation.problems`."""
    return _SHARED.problems(body, sampled=sampled)


def check_objects(documents: Mapping[str, Sequence[Object]], *, patched: bool = False) -> None:
    """Check what is about to be written; `documents` are the objects of each file.

    Every object is checked against its schema. The rules beside it are asked of the first
    `_ALL_RULES` objects, and of those after them that have a shape of their own: one more check of
    the same few shapes would cost large projects a tenth of the whole conversion.

    Raises:
        ProvisionError: an object is not what the API server takes. With `patched` the cause is
            most likely a patch of the config, so it is an InputError.
    """
    listed = [(file, body) for file, bodies in documents.items() for body in bodies]
    lines = [
        f"{file}: {body.get('kind')} {body['metadata'].get('name')}: {problem}"
        for number, (file, body) in enumerate(listed)
        for problem in object_problems(body, sampled=number >= _ALL_RULES)
    ]
    if lines:
        shown = lines[:_SHOWN] + ([f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])
        kind, next_step = (
            (InputError, "correct the patches of the config")
            if patched
            else (ProvisionError, "report this: it is an error of the converter")
        )
        raise kind(
            f"{len(lines)} thing(s) in the manifests would be refused by Kubernetes {KUBERNETES_VERSION}",
            why="\n        ".join(shown),
            next_step=next_step,
        )


def check_texts(files: Mapping[str, str], *, patched: bool = False) -> int:
    """Check manifests given as text by file name, as `check_objects` does; returns how many objects."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = {
        name: [body for body in yaml.load_all(text, loader) if body is not None]
        for name, text in files.items()
        if name.endswith((".yaml", ".yml"))
    }
    check_objects(documents, patched=patched)
    return sum(map(len, documents.values()))


def without_nulls(value: object) -> object:
    """Return the value as the API server reads it: a key whose value is null is a key that is absent."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


_SHARED = Validation(set())


@functools.cache
def _validator(title: str) -> Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(load_schemas().kinds[title])


def _shape(value: object, key: str, schemas: Schemas) -> object:
    """Return what the schema can see of a value under a key."""
    if isinstance(value, dict):
        found: list[object] = []
        _table_shape(value, key if key in schemas.patterns else "", schemas, found)
        return tuple(found)
    if isinstance(value, list | tuple):
        return (list, frozenset([_shape(item, key, schemas) for item in value]))
    if isinstance(value, str):
        return _text_shape(value, key, schemas)
    if isinstance(value, int) and not isinstance(value, bool):
        return int if -_INT32 <= value < _INT32 else value
    return type(value)


def _table_shape(value: Mapping[str, object], pattern: str, schemas: Schemas, found: list[object]) -> None:
    """Add the keys of a table, each with the shape of its value; a table in it stands between two marks.

    The values of a table such as `limits` have the `pattern` of its own key.
    """
    add, special = found.append, schemas.special
    for name, inner in value.items():
        key = pattern or name
        kind = type(inner)
        add(name)
        if kind is str:  # most values are texts, and most keys take any text
            add(_text_shape(inner, key, schemas) if key in special else str)  # type: ignore[arg-type]
        elif kind is dict:
            add(dict)
            _table_shape(inner, key if key in schemas.patterns else "", schemas, found)  # type: ignore[arg-type]
            add(_END)
        else:
            add(_shape(inner, key, schemas))


def _text_shape(value: str, key: str, schemas: Schemas) -> object:
    if key in schemas.patterns:
        matches = [bool(pattern.search(value)) for pattern in schemas.patterns[key]]
        return (str, *matches, value if key in schemas.worded else "")
    return value if key in schemas.worded else str


def _unknown(body: Object, title: str) -> Iterator[Problem]:
    """A kind without a schema: wrong where the group is Kubernetes' own, somebody's else."""
    version, kind = body.get("apiVersion"), body.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str) or not version or not kind:
        yield Problem("schema", (), "a Kubernetes object has an `apiVersion` and a `kind`")
        return
    schemas = load_schemas()
    if title in schemas.others or not schemas.serves_group(version):
        return
    right = schemas.versions_of(kind)
    known = {name.rpartition("/")[2] for name in schemas.kinds}
    import difflib

    near = difflib.get_close_matches(kind, sorted(known), 1)
    hint = f"; it is in {' and '.join(right)}" if right else f"; did you mean {near[0]}?" if near else ""
    words = f"Kubernetes {KUBERNETES_VERSION} has no {kind} in {version}{hint}"
    yield Problem("schema", ("apiVersion",), words)


def _worded(error: Any) -> Problem:
    """Return one error of the schema in plain words, at the very key where there is one."""
    steps = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        strange = [key for key in error.instance if key not in known]
        import difflib

        near = difflib.get_close_matches(str(strange[0]), sorted(known), 1)
        hint = f", did you mean `{near[0]}`?" if near else ""
        named = ", ".join(f"`{key}`" for key in strange)
        return Problem("schema", (*steps, strange[0]), f"there is no field {named} here{hint}")
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return Problem("schema", steps, f"{', '.join(f'`{key}`' for key in missing)} is missing")
    if error.validator == "type":
        kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        wanted = " or ".join(_KINDS_OF_VALUES[kind] for kind in kinds)
        quote = "; put quotes around it" if "string" in kinds and _is_scalar(error.instance) else ""
        return Problem(MISTYPED, steps, f"{wanted} is wanted, not {_short(error.instance)}{quote}")
    if error.validator == "enum":
        words = ", ".join(word for word in error.validator_value if word)
        return Problem("schema", steps, f"{_short(error.instance)} is none of {words}")
    if error.validator == "pattern" and "\\d" in str(error.validator_value):
        return Problem("schema", steps, f"{_short(error.instance)} is no quantity; write 500m, 2 or 1Gi")
    return Problem("schema", steps, error.message)


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float)


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004  one line of a message
