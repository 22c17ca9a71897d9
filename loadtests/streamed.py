"""The part of `summarize` for logs of any size: quantiles of each server with intervals, in one pass.

A log comes in the order of time, so each piece of it is a window. Its latencies are counted
in buckets, one histogram for each workload, side and server; a window's quantiles are taken
from its own histogram, and a quantile's interval from how its windows differ. Memory holds
one piece of the log and two sets of histograms, whatever the size of the log.

Buckets come from the bits of the float32 itself, 512 to an octave, so no logarithm is taken:
each is 0.1 to 0.2 % wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loadtests.columns import chunks
from loadtests.plan import SAMPLES_FILE, load_plan
from loadtests.profile import SIDES
from loadtests.sample import ROW, WARMUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    Counts = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

QUANTILES = (0.5, 0.95, 0.99, 0.999)
WINDOWS = 40
_MOST_ROWS = 500_000
_SHIFT = 14  # of the 23 bits after the point, 9 are kept: 512 buckets an octave
_LEAST_MS = 2.0**-10  # 1 us
_MOST_MS = 2.0**20  # 17 min
_ERROR_OR_WARMUP = 0xFF << 16 | WARMUP << 24
_FEWEST_BEYOND = 3.0
_FEWEST_WINDOWS = 8
_Z = 2.5758293035489004  # 0.5 % on each side: a 99 % interval


@dataclass(frozen=True, slots=True)
class ServerQuantile:
    """One quantile of one workload, side and server in ms, with its 99 % interval over windows.

    The interval is None where too few windows hold the quantile.
    """

    name: str
    side: str
    server: str
    quantile: float
    ms: float
    low_ms: float | None
    high_ms: float | None
    n: int


def server_quantiles(folder: Path, quantiles: Sequence[float] = QUANTILES) -> list[ServerQuantile]:
    """Return the quantiles of what was served in a load folder; a group that served nothing has none."""
    plan = load_plan(folder)
    path = folder / SAMPLES_FILE
    names = [
        (name, side, server.name)
        for name, _ in plan.profile.workloads
        for side in SIDES
        for server in plan.servers
    ]
    rows = path.stat().st_size // ROW.size if path.exists() else 0
    size = max(1, min(_MOST_ROWS, math.ceil(rows / WINDOWS)))

    pieces = (_served(chunk, len(plan.servers)) for chunk in chunks(path, size))
    return stream(pieces, names, quantiles)


def _served(chunk: npt.NDArray[Any], servers: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return group indexes and latencies in float32 ms of what was served after the warm-up.

    A row is read as words of 64, 32 and 16 bits: whole columns of words are several times
    quicker to take apart than the fields of a structured array. The last 32 bits hold workload,
    side, error and flags, 8 bits each; the server is word 16 of 16 bits.
    """
    import numpy as np

    size = ROW.size
    times = chunk.view("<u8").reshape(-1, size // 8)
    kind = chunk.view("<i4").reshape(-1, size // 4)[:, 9].copy()
    server = chunk.view("<u2").reshape(-1, size // 2)[:, 16].astype(np.int32)
    latency_ms = (times[:, 2] - times[:, 0]).astype(np.float32)
    left_out = (kind & np.int32(_ERROR_OR_WARMUP)) != 0
    if left_out.any():
        kind, server, latency_ms = kind[~left_out], server[~left_out], latency_ms[~left_out]
    latency_ms *= np.float32(1e-6)
    group = kind & 0xFF
    group *= len(SIDES)
    kind >>= 8
    kind &= 0xFF
    group += kind
    group *= servers
    group += server
    return group, latency_ms


def stream(
    pieces: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    names: Sequence[tuple[str, str, str]],
    quantiles: Sequence[float] = QUANTILES,
) -> list[ServerQuantile]:
    """Return every group's quantiles from pieces of (group index, latency in float32 ms) in order of time."""
    import numpy as np

    groups = len(names)
    total = np.zeros((groups, _BUCKETS), np.int64)
    logs: list[Floats] = []
    for group, latency_ms in pieces:
        counts = _count(group, latency_ms, groups)
        total += counts
        logs.append(np.log(_from_counts(counts, quantiles)))
    if not logs:
        return []
    whole = _from_counts(total, quantiles)
    n = total.sum(axis=1)
    low, high = _bounds(whole, np.stack(logs))
    return [
        ServerQuantile(
            *names[group],
            quantile=q,
            ms=float(whole[group, place]),
            low_ms=_or_none(low[group, place]),
            high_ms=_or_none(high[group, place]),
            n=int(n[group]),
        )
        for group in range(groups)
        for place, q in enumerate(quantiles)
        if math.isfinite(whole[group, place])
    ]


def _bits_of(ms: float) -> int:
    import struct

    return int(struct.unpack("<I", struct.pack("<f", ms))[0]) >> _SHIFT


_FIRST = _bits_of(_LEAST_MS)
_BUCKETS = _bits_of(_MOST_MS) - _FIRST + 1


def _count(group: npt.NDArray[Any], latency_ms: npt.NDArray[Any], groups: int) -> Counts:
    """Return counts by group and bucket; latencies beyond either end count in the last bucket there."""
    import numpy as np

    np.clip(latency_ms, np.float32(_LEAST_MS), np.float32(_MOST_MS), out=latency_ms)
    key = latency_ms.view(np.int32) >> _SHIFT
    key -= _FIRST
    key += group * np.int32(_BUCKETS)
    counts: Counts = np.bincount(key, minlength=groups * _BUCKETS).reshape(groups, _BUCKETS)
    return counts


def _from_counts(counts: Counts, quantiles: Sequence[float]) -> Floats:
    """Return quantiles (groups x quantiles) in ms; NaN where fewer than three values lie beyond one."""
    import numpy as np

    used = np.flatnonzero(counts.any(axis=0))
    if not len(used):
        return np.full((len(counts), len(quantiles)), math.nan)
    first = int(used[0])
    below = np.cumsum(counts[:, first : int(used[-1]) + 1], axis=1)
    n = below[:, -1]
    found = np.full((len(counts), len(quantiles)), math.nan)
    for place, q in enumerate(quantiles):
        rank = np.maximum(1, np.ceil(np.round(q * n, 6)))
        bucket = (below < rank[:, None]).sum(axis=1)
        enough = (n > 0) & (n * min(q, 1.0 - q) >= _FEWEST_BEYOND)
        found[:, place] = np.where(enough, _middle_ms(bucket + first), math.nan)
    return found


def _middle_ms(bucket: npt.NDArray[Any]) -> Floats:
    """Return the middle of buckets in ms."""
    import numpy as np

    low = ((bucket + _FIRST).astype(np.uint32) << _SHIFT).view(np.float32)
    high = ((bucket + _FIRST + 1).astype(np.uint32) << _SHIFT).view(np.float32)
    return np.sqrt(low.astype(np.float64) * high.astype(np.float64))


def _bounds(whole: Floats, logs: Floats) -> tuple[Floats, Floats]:
    """Return 99 % bounds from the scatter of window quantiles (windows x groups x quantiles)."""
    import numpy as np

    seen = np.isfinite(logs)
    count = seen.sum(axis=0)
    filled = np.where(seen, logs, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(seen, logs - mean, 0.0) ** 2).sum(axis=0)
    enough = count >= _FEWEST_WINDOWS
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    reach = np.where(enough, _student(np.maximum(count - 1, 1)) * error, math.nan)
    return whole * np.exp(-reach), whole * np.exp(reach)


def _student(freedom: npt.NDArray[Any]) -> Floats:
    """Return Student's t for a 99 % interval, from the normal's by Cornish and Fisher's expansion."""
    z, v = _Z, freedom.astype(float)
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    found: Floats = z + first / v + second / v**2 + third / v**3
    return found


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
