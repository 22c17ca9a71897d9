"""Dataclasses of this package: frozen for the type checker, cheap at run time.

A conversion makes tens of thousands of small objects in modules that one command loads afresh each
time. Checked at run time, a frozen one takes thrice as long to make; and methods that are written
out for each class, rather than once for all of them, take most of the time that the class takes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, eq: bool = True, **options: Any) -> Callable[[type], type]:  # noqa: ARG001
        """Equal by value and hashable, as a frozen dataclass is; with `eq=False` by identity."""

        def made(cls: type) -> type:
            cls.__repr__ = _shown
            if eq:
                cls.__eq__, cls.__hash__ = _equal, _hash
            return dataclasses.dataclass(eq=False, repr=False, match_args=False, **options)(cls)

        return made


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.__dataclass_fields__)


def _hash(self: Any) -> int:
    return hash(tuple(getattr(self, name) for name in self.__dataclass_fields__))


def _shown(self: Any) -> str:
    shown = (name for name, field in self.__dataclass_fields__.items() if field.repr)
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


__all__ = ["dataclass"]
