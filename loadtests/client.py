"""What sends one request and says what came back: the seam for a faster client.

`keepalive.KeepAliveClient` sends through gevent. Another client only has to give
Exchanges with the same clock (CLOCK_MONOTONIC nanoseconds) and the same error kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from loadtests.sample import ErrorKind

if TYPE_CHECKING:
    from loadtests.schedule import Slot


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came back for one request, as it came; `status` is 0 when nothing did.

    Whether it counts as served is judged later (`answer.judge`), outside the time in
    which sends are due. `retried` says that an idle connection had been closed by the server.
    """

    sent_ns: int
    done_ns: int
    status: int = 0
    content_type: str = ""
    body: bytes = b""
    error: ErrorKind = ErrorKind.NONE
    detail: str = ""
    retried: bool = False


class Client(Protocol):
    """One side's connections to all servers."""

    def send(self, slot: Slot) -> Exchange:
        """Send one request and wait for its last byte, bounded; never raises for the network."""

    def close(self) -> None:
        """Close all connections."""
