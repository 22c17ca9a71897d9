"""Changes of single values of finished manifests: to break something on purpose, or to adapt it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioners.compose.fit import Patch

Object = dict[str, object]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def apply_patches(patches: Iterable[Patch], documents: Mapping[str, Sequence[Object]]) -> None:
    """Change the objects of the documents in place.

    Raises:
        InputError: a patch finds no object, or nothing at its path.
    """
    for patch in patches:
        found = [item for objects in documents.values() for item in objects if _is(item, patch)]
        if not found:
            raise InputError(
                f"the patch of {patch.kind}/{patch.name} finds no such object",
                next_step="correct kind and name; `gonogo convert` shows what there is",
            )
        for item in found:
            _set(item, patch)


def _is(item: Object, patch: Patch) -> bool:
    metadata = item.get("metadata")
    return (
        item.get("kind") == patch.kind and isinstance(metadata, dict) and metadata.get("name") == patch.name
    )


def _set(item: Object, patch: Patch) -> None:
    """Set one value of an object; every step but the last has to be there."""
    steps: list[str | int] = [int(m[2]) if m[2] else m[1] for m in _STEP.finditer(patch.path)]
    node: object = item
    for number, step in enumerate(steps):
        try:
            if number < len(steps) - 1:
                node = node[step]  # type: ignore[index]  # a wrong step is the error below
            else:
                node[step] = patch.value  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            raise InputError(
                f"the patch of {patch.kind}/{patch.name} has no {patch.path}",
                why=f"there is nothing at step {step!r}",
                next_step="write a path such as spec.ports[0].targetPort",
            ) from None
