"""G12: quantiles of 16 services on 2 platforms from 10 million samples, beside polars and pandas.

We read the run's own log (40 bytes a request, 400 MB) in a pass and give intervals. The
peers get the same latencies and ids as bare columns (6 bytes a request) and give none. Each is
a fresh process, so imports count; memory is what the kernel says of it at its end.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import (
    Bar,
    Row,
    ToolFailed,
    not_measured,
    package_version,
    paired_rounds,
    run_tool,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


QUANTILES = (0.5, 0.95, 0.99, 0.999)
_SERVICES = 16
_RATE_PER_S = 20_000.0
_CHUNK = 1_000_000
_LIMIT_S = 300.0
_READ = """
import json, sys
import numpy as np
folder = sys.argv[1]
ms = np.fromfile(folder + "/ms.f32", np.float32)
service = np.fromfile(folder + "/service.u1", np.uint8)
platform = np.fromfile(folder + "/platform.u1", np.uint8)
qs = (0.5, 0.95, 0.99, 0.999)
"""
PEERS = {
    "polars": _READ
    + """
import polars as pl
frame = pl.DataFrame({"service": service, "platform": platform, "ms": ms})
every = [pl.col("ms").quantile(q, interpolation="linear").alias(str(q)) for q in qs]
found = frame.group_by(["platform", "service"]).agg(every).sort(["platform", "service"])
print(json.dumps([float(row[2]) for row in found.rows()]))
""",
    "pandas": _READ
    + """
import pandas as pd
frame = pd.DataFrame({"service": service, "platform": platform, "ms": ms})
found = frame.groupby(["platform", "service"])["ms"].quantile(list(qs))
print(json.dumps([float(value) for value in found.to_numpy()[::4]]))
""",
}
OURS = """
import json, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from loadtests.summarize import server_quantiles
found = server_quantiles(Path(sys.argv[1]))
assert all(one.low_ms <= one.ms <= one.high_ms for one in found if one.quantile < 0.999)
print(json.dumps([one.ms for one in found if one.quantile == 0.5]))
"""
_ROOT = Path(__file__).resolve().parent.parent


def make_log(folder: Path, samples: int) -> None:
    """Write a run's log, the same as bare columns, and the exact p50 of each group, by side then server."""
    import numpy as np

    from loadtests.plan import LoadPlan
    from loadtests.profile import HEALTH, LoadProfile, Server
    from loadtests.sample import ROW_FIELDS

    servers = tuple(Server(f"s{i}", "http://127.0.0.1:1", "http://127.0.0.1:2") for i in range(_SERVICES))
    profile = LoadProfile("g12", _RATE_PER_S, samples / _RATE_PER_S, 0.0, workloads=((HEALTH, 1),), seed=1)
    LoadPlan(profile, servers, seed=1).save(folder)
    draw = np.random.default_rng(1)
    files = [(folder / name).open("wb") for name in ("requests.bin", "ms.f32", "service.u1", "platform.u1")]
    kept = []
    for first in range(0, samples, _CHUNK):
        count = min(_CHUNK, samples - first)
        rows = np.zeros(count, np.dtype(list(ROW_FIELDS)))
        place = np.arange(first, first + count)
        rows["pair"], rows["side"] = place // 2, place % 2
        rows["server"] = (place // 2) % _SERVICES
        latency_ns = (5e6 * np.exp(draw.normal(0.02 * rows["server"], 0.4))).astype(np.int64)
        rows["planned_ns"] = 10**9 + place * int(1e9 / _RATE_PER_S)
        rows["sent_ns"] = rows["planned_ns"] + 20_000
        rows["done_ns"] = rows["planned_ns"] + latency_ns.astype(np.uint64)
        ms = (latency_ns / 1e6).astype(np.float32)
        for file, values in zip(files, (rows, ms, rows["server"], rows["side"]), strict=True):
            (values if values is rows or values is ms else values.astype(np.uint8)).tofile(file)
        kept.append((ms, rows["side"].astype(np.int64) * _SERVICES + rows["server"]))
    for file in files:
        file.close()
    ms, group = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    exact = [float(np.quantile(ms[group == number], 0.5)) for number in range(2 * _SERVICES)]
    (folder / "exact.json").write_text(json.dumps(exact), encoding="utf-8")


def _tool(script: str, folder: Path, exact: Sequence[float], memory: list[float]) -> Callable[[], float]:
    """Return a round of one tool: its wall time in s; its answer is checked and its memory kept (MiB)."""

    def once() -> float:
        done = run_tool([sys.executable, "-c", script, str(folder), str(_ROOT)], timeout_s=_LIMIT_S)
        worst = max(abs(one / true - 1.0) for one, true in zip(json.loads(done.output), exact, strict=True))
        if worst > 0.003:  # noqa: PLR2004  the goal's own: within 0.3 % of numpy.quantile
            raise ToolFailed(f"p50 is {worst:.2%} off numpy.quantile")
        memory.append(done.peak_bytes / 2**20)
        return done.wall_s

    return once


def stored_ms() -> float:
    """Return the time in ms that quantiles of 32 stored histograms take."""
    import numpy as np

    from loadtests import streamed

    counts = np.zeros((2 * _SERVICES, streamed._BUCKETS), np.int64)  # noqa: SLF001
    counts[:, 6000:9000] = np.random.default_rng(1).integers(0, 200, (2 * _SERVICES, 3000))
    begin = time.perf_counter()
    streamed._from_counts(counts, QUANTILES)  # noqa: SLF001
    return 1e3 * (time.perf_counter() - begin)


def run(quick: bool) -> list[Row]:
    """Return the rows of G12."""
    samples, rounds = (1_000_000, 3) if quick else (10_000_000, 7)
    bars: Sequence[tuple[str, float, float | None]] = (("polars", 0.7, None), ("pandas", 0.3, 0.5))
    with tempfile.TemporaryDirectory(prefix="gonogo-g12-") as name:
        folder = Path(name)
        # In a process of its own: a child's peak memory counts what its parent held when it was made.
        make = [sys.executable, "-m", "benchmarks.summarize", str(folder), str(samples)]
        run_tool(make, timeout_s=_LIMIT_S, cwd=_ROOT)
        exact = json.loads((folder / "exact.json").read_text(encoding="utf-8"))
        memory: dict[str, list[float]] = {"ours": []}
        tools = {"ours": _tool(OURS, folder, exact, memory["ours"])}
        for peer, _, _ in bars:
            if package_version(peer):
                memory[peer] = []
                tools[peer] = _tool(PEERS[peer], folder, exact, memory[peer])
        found = paired_rounds(tools, rounds)
    what = f"{samples / 1e6:g} million samples"
    rows = [found.of("ours").row("", f"our time, {what}, with intervals", "s", note=found.note)]
    rows.append(spread(memory["ours"]).row("", f"our memory, {what}", "MiB"))
    for peer, fastest, smallest in bars:
        if peer not in tools:
            bar = Bar("<=", fastest)
            rows.append(not_measured("G12", f"time, {what}", "x", "not installed", peer=peer, bar=bar))
            continue
        bar = Bar("<=", fastest)
        rows.append(found.ratio("ours", peer).row("G12", f"time with intervals, {what}", peer=peer, bar=bar))
        ratio = [a / b for a, b in zip(memory["ours"], memory[peer], strict=False)]
        most = Bar("<=", smallest) if smallest else None
        rows.append(spread(ratio).row("G12" if most else "", f"memory, {what}", peer=peer, bar=most))
    rows.append(
        spread([stored_ms() for _ in range(rounds)]).row(
            "G12", "quantiles from stored histograms", "ms", bar=Bar("<=", 50.0)
        )
    )
    return rows


if __name__ == "__main__":
    make_log(Path(sys.argv[1]), int(sys.argv[2]))
