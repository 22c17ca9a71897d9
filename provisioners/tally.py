"""How a wait for services stands: who is ready for good, told in one line, summed up at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioners.base import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioners.base import ServiceFailure

SETTLE_S = 3.0  # a process that no check vouches for must at least have run this long in view
_QUIET_S = 5.0
_NAMED = 3


@dataclass(slots=True)
class Tally:
    """One wait's services, and since when each has looked ready."""

    services: tuple[str, ...]
    say: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    _since: dict[str, float] = field(default_factory=dict)
    _told: tuple[object, ...] = ()
    _told_at: float = 0.0

    def __post_init__(self) -> None:
        """Start the clock of the wait."""
        self.started = self.now()

    @property
    def seconds(self) -> float:
        """How long the wait has lasted."""
        return self.now() - self.started

    def settled(self, service: str, *, ready: bool, proven: bool) -> bool:
        """Return whether the service is ready for good: proven by a check, or ready for a while."""
        if not ready:
            self._since.pop(service, None)
            return False
        since = self._since.setdefault(service, self.now())
        return proven or self.now() - since >= SETTLE_S

    def tell(self, waiting: Mapping[str, str], failed: Mapping[str, object]) -> None:
        """Say how the wait stands, when that changed or the details are no longer fresh."""
        names = sorted(waiting)
        key = (len(failed), *names)
        if key == self._told and (not names or self.now() - self._told_at < _QUIET_S):
            return
        self._told, self._told_at = key, self.now()
        done = len(self.services) - len(waiting) - len(failed)
        text = f"{done} of {len(self.services)} ready" + (f", {len(failed)} failed" if failed else "")
        named = ", ".join(f"{name} ({waiting[name]})" for name in names[:_NAMED])
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        self.say(text + (f"; waiting for {named}{more}" if names else ""))

    def late(self, waiting: Mapping[str, str]) -> dict[str, str]:
        """Return why each service that is still waited for has failed: the time is over."""
        return {
            name: f"not ready after {self.seconds:.0f} s: waiting for {what}"
            for name, what in waiting.items()
        }

    def readiness(self, failures: tuple[ServiceFailure, ...], duration_s: float) -> Readiness:
        """Return how the wait ended."""
        failed = {failure.service for failure in failures}
        ready = tuple(name for name in self.services if name not in failed)
        return Readiness(ready=ready, failed=failures, duration_s=duration_s)
