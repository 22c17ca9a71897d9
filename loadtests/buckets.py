"""Latencies counted in logarithmic buckets 0.2 % wide: fixed memory, and counts that add up.

Histograms of several processes or windows merge by adding their counts. Where a
quantile lies in one is computed by `summarize`, as every percentile is. A run keeps one for each
second, side and workload (histograms.bin): only the buckets that hold something, a row each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from loadtests.plan import SAMPLES_FILE, TICKS_FILE
from loadtests.record import read_log
from loadtests.sample import WARMUP, ErrorKind, read_samples

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

WIDTH = 0.002
_FLOOR_NS = 1_000
_CEILING_NS = 600_000_000_000
_LOG_STEP = math.log1p(WIDTH)
BUCKETS = int(math.log(_CEILING_NS / _FLOOR_NS) / _LOG_STEP) + 2
HISTOGRAMS_FILE = "histograms.bin"
HISTOGRAM_FIELDS = (
    ("second", "<u4"),
    ("count", "<u4"),
    ("bucket", "<u2"),
    ("side", "u1"),
    ("workload", "u1"),
)
_SECOND_NS = 1_000_000_000


class LogHistogram:
    """Counts of latencies from 1 us to 10 min; beyond either end they count in the last bucket there."""

    def __init__(self) -> None:
        import numpy as np

        self.counts: npt.NDArray[np.int64] = np.zeros(BUCKETS, np.int64)

    @property
    def n(self) -> int:
        """How many latencies were counted."""
        return int(self.counts.sum())

    def add(self, latencies_ns: npt.NDArray[Any]) -> None:
        """Count an array of latencies in nanoseconds."""
        import numpy as np

        self.counts += np.bincount(bucket_of(latencies_ns), minlength=BUCKETS)

    def merge(self, other: LogHistogram) -> None:
        """Add another histogram's counts."""
        self.counts += other.counts


def bucket_of(latencies_ns: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the bucket of each latency in nanoseconds."""
    import numpy as np

    clipped = np.clip(latencies_ns.astype(np.float64), _FLOOR_NS, _CEILING_NS)
    found: npt.NDArray[np.int64] = (np.log(clipped / _FLOOR_NS) / _LOG_STEP).astype(np.int64)
    return found


def bucket_ms(index: int) -> float:
    """Return the middle (geometric) of a bucket in milliseconds."""
    return _FLOOR_NS * math.exp((index + 0.5) * _LOG_STEP) / 1e6


def write_histograms(folder: Path) -> None:
    """Write histograms.bin of a run from its exact log: latency from the planned time of what was served.

    `second` counts from the first planned send, by planned time; the warm-up is left out.
    """
    import numpy as np

    rows = read_samples(folder / SAMPLES_FILE)
    start_ns = int(read_log(folder / TICKS_FILE).head.get("start_ns", 0))
    rows = rows[(rows["error"] == ErrorKind.NONE) & ((rows["flags"] & WARMUP) == 0)]
    second = (rows["planned_ns"].astype(np.int64) - start_ns) // _SECOND_NS
    bucket = bucket_of(rows["done_ns"].astype(np.int64) - rows["planned_ns"].astype(np.int64))
    side, workload = rows["side"].astype(np.int64), rows["workload"].astype(np.int64)
    keys, counts = np.unique(((second << 16 | side << 8 | workload) << 16) | bucket, return_counts=True)
    table = np.empty(len(keys), np.dtype(list(HISTOGRAM_FIELDS)))
    table["second"], table["bucket"] = keys >> 32, keys & 0xFFFF
    table["side"], table["workload"] = keys >> 24 & 0xFF, keys >> 16 & 0xFF
    table["count"] = counts
    table.tofile(folder / HISTOGRAMS_FILE)


def read_histogram(
    path: Path,
    side: int,
    workload: int,
    *,
    first_second: int = 0,
    end_second: int | None = None,
) -> LogHistogram:
    """Return one side's histogram of a workload over the seconds [first, end), all by default."""
    import numpy as np

    table: npt.NDArray[Any] = np.fromfile(path, np.dtype(list(HISTOGRAM_FIELDS)))
    chosen = (table["side"] == side) & (table["workload"] == workload) & (table["second"] >= first_second)
    if end_second is not None:
        chosen &= table["second"] < end_second
    histogram = LogHistogram()
    np.add.at(histogram.counts, table["bucket"][chosen], table["count"][chosen])
    return histogram
