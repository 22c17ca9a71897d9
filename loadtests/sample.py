"""One request as one fixed row of a binary log; a log cut anywhere is a readable prefix.

Times are CLOCK_MONOTONIC in nanoseconds. Latency counts from the planned time; the
time from the send is kept beside it. A dropped send has no `sent_ns`.

Where the time of a request went lies in a second log, row for row in the same order: its first
byte, and how long its connection and its TLS handshake took when it had to open one.
"""

from __future__ import annotations

import enum
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

ROW = struct.Struct("<QQQIIHHBBBB")
ROW_FIELDS = (
    ("planned_ns", "<u8"),
    ("sent_ns", "<u8"),
    ("done_ns", "<u8"),
    ("pair", "<u4"),
    ("size_bytes", "<u4"),
    ("server", "<u2"),
    ("status", "<u2"),
    ("workload", "u1"),
    ("side", "u1"),
    ("error", "u1"),
    ("flags", "u1"),
)
TIMES = struct.Struct("<QII")
TIMES_FIELDS = (("first_ns", "<u8"), ("connect_us", "<u4"), ("tls_us", "<u4"))
TIMES_FILE = "timings.bin"
WARMUP = 1
RETRIED = 2
_FLUSH_BYTES = ROW.size * 100


class ErrorKind(enum.IntEnum):
    """Why a request did not count as served; the name in lower case is what reports print."""

    NONE = 0
    REFUSED = 1
    CONNECT = 2
    CLOSED = 3
    TIMEOUT = 4
    DNS = 5
    TLS = 6
    GARBAGE = 7
    STATUS = 8
    REDIRECT = 9
    NOT_JSON = 10
    RPC_ERROR = 11
    TOOL_ERROR = 12
    ID_MISMATCH = 13
    TOO_LARGE = 14
    DROPPED = 15
    OTHER = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. `workload`, `server` and `side` are indexes into the plan's lists."""

    planned_ns: int
    sent_ns: int
    done_ns: int
    pair: int
    size_bytes: int
    server: int
    status: int
    workload: int
    side: int
    error: ErrorKind
    flags: int

    @property
    def latency_ms(self) -> float:
        """The time from the planned send to the last byte."""
        return (self.done_ns - self.planned_ns) / 1e6

    def pack(self) -> bytes:
        """Return the row."""
        return ROW.pack(
            self.planned_ns,
            self.sent_ns,
            self.done_ns,
            self.pair,
            min(self.size_bytes, 0xFFFFFFFF),
            self.server,
            self.status,
            self.workload,
            self.side,
            self.error,
            self.flags,
        )


class SampleWriter:
    """Appends rows, a few kilobytes at a time; what was written survives a SIGKILL."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._rows = bytearray()

    def append(self, sample: Sample) -> None:
        """Add one row."""
        self._rows += sample.pack()
        if len(self._rows) >= _FLUSH_BYTES:
            self.flush()

    def write(self, rows: bytes | bytearray) -> None:
        """Add whole rows that are packed already, and hand them to the kernel."""
        self._rows += rows
        self.flush()

    def flush(self) -> None:
        """Hand what is held to the kernel."""
        rows, self._rows = self._rows, bytearray()
        while rows:
            rows = rows[os.write(self._fd, rows) :]

    def close(self) -> None:
        """Flush and close; closing twice does nothing."""
        if self._fd >= 0:
            self.flush()
            os.close(self._fd)
            self._fd = -1


def read_samples(path: Path) -> npt.NDArray[np.void]:
    """Return the whole rows of a log as a numpy structured array; a cut last row is left out."""
    return _read_rows(path, ROW_FIELDS, 0)


def read_samples_from(path: Path, first: int) -> npt.NDArray[np.void]:
    """Return the whole rows from row `first` on: what was added to a log that is being written."""
    return _read_rows(path, ROW_FIELDS, first)


def read_timings(path: Path) -> npt.NDArray[np.void]:
    """Return the rows of TIMES_FIELDS; a run that a kill cut short may lack the last ones."""
    return _read_rows(path, TIMES_FIELDS, 0)


def _read_rows(path: Path, fields: tuple[tuple[str, str], ...], first: int) -> npt.NDArray[np.void]:
    import numpy as np

    dtype: Any = np.dtype(list(fields))
    count = path.stat().st_size // dtype.itemsize - first if path.exists() else 0
    if count <= 0:
        return np.empty(0, dtype)
    return np.fromfile(path, dtype, count, offset=first * dtype.itemsize)
