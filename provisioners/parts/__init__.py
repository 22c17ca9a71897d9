"""The platform parts that a profile may add to the lab: monitoring, ingress, backups and the like.

Each part is a module of this package with a `PART`; `part(name)` imports it when it is asked for.
On clusters that exist none is installed: suites detect what is there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioners.parts.base import Part

# In the order in which they start where nothing else decides.
NAMES: tuple[str, ...] = ("monitoring", "ingress", "storage-s3", "velero", "policy", "gpu")


def part(name: str) -> Part:
    """Return the part of that name.

    Raises:
        InputError: there is none.
    """
    if name not in NAMES:
        raise InputError(f"no platform part {name!r}", next_step=f"choose among {', '.join(NAMES)}")
    found: Part = importlib.import_module(f"provisioners.parts.{name.replace('-', '_')}").PART
    return found


def parts(names: Iterable[str]) -> tuple[Part, ...]:
    """Return the parts of these names and those that they need, each once, needed ones first."""
    found: dict[str, Part] = {}

    def take(name: str) -> None:
        if name not in found:
            one = part(name)
            for other in one.needs:
                take(other)
            found[name] = one

    for name in names:
        take(name)
    return tuple(found.values())
