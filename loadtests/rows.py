"""Rows of finished requests, packed as they finish and handed to the log in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.profile import SIDES
from loadtests.sample import ROW, TIMES, ErrorKind

if TYPE_CHECKING:
    from loadtests.record import RunLog
    from loadtests.schedule import Slot

_MOST_HELD_BYTES = 1 << 16
_NONE = int(ErrorKind.NONE)

# planned, sent, done and first byte in ns, pair, slot, flags, connect and TLS in us
Key = tuple[int, int, int, int, int, "Slot", int, int, int]


class Rows:
    """Packs rows for a log and counts them there; `servers` are names for messages."""

    def __init__(self, log: RunLog, servers: list[str]) -> None:
        self._log = log
        self._servers = servers
        self._sent = [0] * len(SIDES)
        self._rows = bytearray()
        self._times = bytearray()

    def served(self, key: Key, status: int, size: int) -> None:
        """Write the row of a request that was served."""
        self._pack(key, status, size, _NONE)

    def failed(self, key: Key, status: int, size: int, kind: ErrorKind, detail: str) -> None:
        """Write the row of a request that was not served, and keep what the first of its kind said."""
        slot = key[5]
        side = SIDES[slot.side]
        self._log.totals.errors[side] += 1
        self._log.first_error(side, self._servers[slot.server], kind, detail)
        if kind is ErrorKind.DROPPED:
            self._sent[slot.side] -= 1
        self._pack(key, status, size, int(kind))

    def flush(self) -> None:
        """Hand the rows so far to the log."""
        for side, name in enumerate(SIDES):
            self._log.totals.sent[name] = self._sent[side]
        if self._rows:
            rows, self._rows = self._rows, bytearray()
            times, self._times = self._times, bytearray()
            self._log.write(rows, times)

    def _pack(self, key: Key, status: int, size: int, error: int) -> None:
        planned_ns, sent_ns, done_ns, first_ns, pair, slot, flags, connect_us, tls_us = key
        side = slot.side
        self._sent[side] += 1
        rows = self._rows
        rows += ROW.pack(
            planned_ns,
            sent_ns,
            done_ns,
            pair,
            size,
            slot.server,
            status,
            slot.workload,
            side,
            error,
            flags,
        )
        self._times += TIMES.pack(first_ns, connect_us, tls_us)
        if len(rows) >= _MOST_HELD_BYTES:
            self.flush()
