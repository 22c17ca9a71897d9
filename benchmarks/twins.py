"""Live twins: two delay servers that differ in their seed alone, under the real load.

Each minute of a recording is a decision of `reports.compare` by itself, and all of its
windows are resampled in blocks into thousands of runs of a minute.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.batch import FAIL, PASS
from benchmarks.common import Bar, Row, ToolFailed, free_port, not_measured, server, wait_for_port
from benchmarks.decisions import POWER, QUANTILES, RATE_A_SIDE, SECONDS, SMOKE, counts_of, ours, share_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from loadtests.summary import LoadSummary, WindowRow
    from reports.comparison import Comparison

    Floats = npt.NDArray[np.float64]

_BLOCK_S = 5.0
_MARGIN = 0.10


@dataclass(frozen=True, slots=True)
class Recording:
    """How much is recorded: so many loads, so many seconds each, at `rate_per_s` over both sides."""

    parts: int
    seconds: float
    rate_per_s: float = 2.0 * RATE_A_SIDE


def record(seconds: float, rate_per_s: float, seed: int) -> LoadSummary:
    """Load twins of 5 ms; raises ToolFailed where the load did not run to its end."""
    from loadtests.profile import HEALTH, LoadProfile, LoadTargets, Server
    from loadtests.run import run_load
    from loadtests.summarize import summarize

    ports = free_port(), free_port()
    argv = [[sys.executable, "-m", "benchmarks.delay_server", "--port", str(port)] for port in ports]
    profile = LoadProfile(
        "twins", rate_per_s, seconds, 3.0, workloads=((HEALTH, 1),), quantiles=QUANTILES, seed=seed
    )
    with tempfile.TemporaryDirectory(prefix="gonogo-twins-") as name:
        seeds = [str(2 * seed + side) for side in (1, 2)]
        with server([*argv[0], "--seed", seeds[0]]), server([*argv[1], "--seed", seeds[1]]):
            for port in ports:
                wait_for_port(port)
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            run = run_load(profile, LoadTargets((Server("twin", urls[0], urls[1]),)), Path(name))
        if not run.complete:
            raise ToolFailed(run.reason.split("\n", 1)[0])
        return summarize(Path(name))


def decisions_of(summary: LoadSummary) -> list[Comparison]:
    """Judge every whole minute of a recording by itself, at a margin of 10 %, as `gonogo compare` would.

    Failed requests of the whole recording count in each minute.
    """
    minutes = int(summary.measured_s // SECONDS)
    return [
        _judged(summary, [w for w in summary.windows if w.start_s // SECONDS == m]) for m in range(minutes)
    ]


def _judged(summary: LoadSummary, rows: Sequence[WindowRow]) -> Comparison:
    from reports.compare import compare
    from reports.comparison import Conditions, Rules
    from reports.model import Window
    from verbs.traffic import generator_of

    windows = [
        Window(w.name, w.quantile, w.start_s, w.duration_s, w.swarm_ms, w.kubernetes_ms, w.n_swarm,
               w.n_kubernetes, w.steal)
        for w in rows
    ]  # fmt: skip
    failed = summary.counts()
    finest = [w for w in rows if w.quantile == QUANTILES[0]]
    served = {"swarm": sum(w.n_swarm for w in finest), "kubernetes": sum(w.n_kubernetes for w in finest)}
    errors = {
        side: {"sent": n + failed[side]["failed"], "failed": failed[side]["failed"]}
        for side, n in served.items()
    }
    made = Conditions(summary.rate_per_s, float(SECONDS), generator_of(summary))
    return compare(windows, errors, Rules(margin_ratio=_MARGIN, margin_floor_ms=0.0), made)


def log_ratios(summaries: Sequence[LoadSummary]) -> Mapping[float, Floats]:
    """Return the log ratios of all windows that the hypervisor left alone, by quantile."""
    return {
        q: np.array(
            [
                math.log(w.kubernetes_ms / w.swarm_ms)
                for summary in summaries
                for w in summary.windows
                if w.quantile == q and w.steal <= 0.02  # noqa: PLR2004  the rule's own
            ]
        )
        for q in QUANTILES
    }


def resampled(windows: Floats, window_s: float, runs: int, draw: np.random.Generator) -> Floats:
    """Return runs of 60 s, made of blocks of 5 s of the recording, centred on its mean.

    Blocks keep the correlation between neighbours; centring makes the twins equal, as they are.
    The recording is a ring, so that each window is drawn as often as any other: else those at its
    ends were rarer, and the mean that was taken out was not that of what is drawn.
    """
    block = max(1, min(round(_BLOCK_S / window_s), len(windows) // 4))
    wanted = round(SECONDS / window_s)
    starts = draw.integers(0, len(windows), (runs, math.ceil(wanted / block)))
    places = (starts[..., None] + np.arange(block)).reshape(runs, -1)[:, :wanted] % len(windows)
    return np.asarray((windows - windows.mean())[places])


def recorded(runs: int, recording: Recording) -> list[Row]:
    """Return the rows of the recorded twins: live decisions, then resampled ones."""
    seconds = recording.parts * recording.seconds
    what = f"twins recorded for {seconds:.0f} s at {recording.rate_per_s:.0f} req/s"
    try:
        summaries = [
            record(recording.seconds, recording.rate_per_s, part + 1) for part in range(recording.parts)
        ]
    except ToolFailed as error:
        return [not_measured("G6", what, "%", str(error))]
    ratios = log_ratios(summaries)
    if min(map(len, ratios.values())) < 8:  # noqa: PLR2004  the rule's own
        return [not_measured("G6", what, "%", "the hypervisor left too few windows")]
    draw = np.random.default_rng(3)
    made = {q: resampled(values, seconds / len(values), runs, draw) for q, values in ratios.items()}
    return [*_live_rows([one for part in summaries for one in decisions_of(part)]), *_rows(made, runs, what)]


def _live_rows(live: Sequence[Comparison]) -> list[Row]:
    """Return how often equal servers were told GO and NO-GO, a minute of real load each."""
    if not live:
        return [
            not_measured("G6", "live twins, a minute each", "%", "the recording is shorter than a minute")
        ]
    found = Counter(one.to_json()["verdict"] for one in live)
    note = ", ".join(f"{verdict} {count}" for verdict, count in sorted(found.items(), key=str))
    note += " (--live 100 takes 110 minutes)"
    what = f"{len(live)} live decisions of twins, 60 s each, margin 10 %"
    return [
        share_row("G6", f"{what}: GO", found["GO"], len(live), bar=Bar(">=", 90.0), note=note),
        share_row("G6", f"{what}: NO-GO", found["NO-GO"], len(live), bar=Bar("<=", 1.0)),
    ]


def _rows(made: Mapping[float, Floats], runs: int, what: str) -> list[Row]:
    under = Bar("<=", 1.0)
    rows = []
    for margin in (0.0, _MARGIN):
        twins = ours(made, SMOKE, 1.0, margin)
        said = f"{what}, resampled, p50 p95, margin {100 * margin:.0f} %"
        note = counts_of(twins)
        rows.append(share_row("G6", f"false no-go, {said}", twins[FAIL], runs, bar=under, note=note))
        if margin:
            rows.append(share_row("G6", f"go, {said}", twins[PASS], runs, bar=Bar(">=", 90.0), note=note))
    slower = ours(made, SMOKE, 1.02, 0.02)
    said = f"false go, {what}, resampled, p50 p95, slower by the margin of 2 %"
    rows.append(share_row("G8", said, slower[PASS], runs, bar=under, note=counts_of(slower)))
    for q, ratio in POWER.items():
        power = ours(made, (q,), ratio, 0.0)
        said = f"p{100 * q:g} slower by {100 * (ratio - 1):.1f} % is found, {what}, resampled"
        rows.append(share_row("G7", said, power[FAIL], runs, bar=Bar(">=", 95.0), note=counts_of(power)))
    return rows
