"""Latencies counted in logarithmic buckets 0.2 % wide: fixed memory, and counts that add up.

Histograms of several processes or windows merge by adding their counts. Where a
quantile lies in one is computed by `summarize`, as every percentile is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WIDTH = 0.002
_FLOOR_NS = 1_000
_CEILING_NS = 600_000_000_000
_LOG_STEP = math.log1p(WIDTH)
BUCKETS = int(math.log(_CEILING_NS / _FLOOR_NS) / _LOG_STEP) + 2


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

        clipped = np.clip(latencies_ns.astype(np.float64), _FLOOR_NS, _CEILING_NS)
        index = (np.log(clipped / _FLOOR_NS) / _LOG_STEP).astype(np.int64)
        self.counts += np.bincount(index, minlength=BUCKETS)

    def merge(self, other: LogHistogram) -> None:
        """Add another histogram's counts."""
        self.counts += other.counts


def bucket_ms(index: int) -> float:
    """Return the middle (geometric) of a bucket in milliseconds."""
    return _FLOOR_NS * math.exp((index + 0.5) * _LOG_STEP) / 1e6
