"""Being told of changes instead of asking for them: an optional capability of a target."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Changes(Protocol):
    """What wakes whoever waits for a change."""

    def wait(self, timeout_s: float) -> bool:
        """Return True once something changed since the last call, False after `timeout_s` seconds."""


@runtime_checkable
class Follow(Protocol):
    """A target that says when a service may look different: its replicas, or a node."""

    def follow(self, service: str) -> AbstractContextManager[Changes]:
        """Follow the service while the block lasts; what cannot be followed wakes nobody."""


class Bell:
    """Rung by any thread; a ring before `wait` is not lost."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        """Wake who waits, or the next who will."""
        self._rung.set()

    def wait(self, timeout_s: float) -> bool:
        """Return True once rung since the last call, False after `timeout_s` seconds."""
        rung = self._rung.wait(timeout_s)
        if rung:
            self._rung.clear()
        return rung
