"""A load run's log as compact columns, read in chunks: 26 bytes a request in memory, not 40 twice.

The warm-up is left out. Latencies are float32 milliseconds: seven digits of a value that a
clock gives to six.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from loadtests.sample import ROW, ROW_FIELDS, WARMUP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

CHUNK_ROWS = 250_000
_NS_PER_MS = 1e6


def chunks(path: Path, rows: int = CHUNK_ROWS) -> Iterator[npt.NDArray[Any]]:
    """Yield the whole rows of a log, `rows` at a time; a cut last row is left out, no file is none."""
    import numpy as np

    dtype: Any = np.dtype(list(ROW_FIELDS))
    left = path.stat().st_size // ROW.size if path.exists() else 0
    if not left:
        return
    with path.open("rb") as source:
        while left > 0:
            found = np.fromfile(source, dtype, min(rows, left))
            if not len(found):
                return
            left -= len(found)
            yield found


@dataclass(slots=True)
class Columns:
    """Requests without the warm-up, in the order of the log; one array a field, all of one length."""

    pair: npt.NDArray[np.uint32]
    server: npt.NDArray[np.uint16]
    workload: npt.NDArray[np.uint8]
    side: npt.NDArray[np.uint8]
    error: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]
    due_ms: npt.NDArray[np.float32]
    since_sent_ms: npt.NDArray[np.float32]
    late_ms: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pair)


def read_columns(path: Path) -> Columns:
    """Read a log; `late_ms` and `since_sent_ms` of a dropped send mean nothing."""
    import numpy as np

    most = path.stat().st_size // ROW.size if path.exists() else 0
    kinds: dict[str, Any] = {
        "pair": np.uint32,
        "server": np.uint16,
        "due_ms": np.float32,
        "since_sent_ms": np.float32,
        "late_ms": np.float32,
    }
    made = {field.name: np.empty(most, kinds.get(field.name, np.uint8)) for field in fields(Columns)}
    end = 0
    for chunk in chunks(path):
        kept = chunk[(chunk["flags"] & WARMUP) == 0]
        place = slice(end, end + len(kept))
        for name in ("pair", "server", "workload", "side", "error", "flags"):
            made[name][place] = kept[name]
        done, planned, sent = (kept[name].astype(np.int64) for name in ("done_ns", "planned_ns", "sent_ns"))
        made["due_ms"][place] = (done - planned) / _NS_PER_MS
        made["since_sent_ms"][place] = (done - sent) / _NS_PER_MS
        made["late_ms"][place] = (sent - planned) / _NS_PER_MS
        end += len(kept)
    return Columns(**{name: values[:end] for name, values in made.items()})
