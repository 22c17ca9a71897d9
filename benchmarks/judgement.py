"""How often the judgement is wrong, and how small a slowdown it finds, beside what others do.

Twins are simulated request by request from a seed (latencies of a 5 ms server, lognormal
with sigma 0.4, under drift, modes, tails and stalls), and every judge decides over the
same logs. Then twins are recorded (`benchmarks.twins`). Decisions are those of
`benchmarks.batch`, which tests hold against `reports.compare`.

    python -m benchmarks.judgement [--quick] [--live N]
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.batch import FAIL, PASS
from benchmarks.common import Bar, Row
from benchmarks.decisions import POWER, QUANTILES, RATE_A_SIDE, SECONDS, SMOKE, counts_of, ours, share_row
from benchmarks.judges import five_percent, kayenta, mann_whitney
from benchmarks.table import plain
from benchmarks.twins import Recording, recorded
from loadtests.harrell_davis import weights
from loadtests.windows import samples_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_CHUNK = 50
_DRIFT = 0.9
_MARGIN = 0.10
_SHAPES = (
    "lognormal",
    "drift 2 %",
    "drift 5 %",
    "drift 10 %",
    "correlated",
    "correlated tail",
    "bimodal",
    "heavy tail",
    "stalls",
)
_RECORDING = Recording(2, 120.0)


@dataclass(frozen=True, slots=True)
class Logs:
    """What judges see of many runs, by quantile.

    `paired` are log ratios over windows of 10 / (1 - q) samples a side; `seconds` are one-second
    windows of both sides in ms, and `whole` is one number a run and side.
    """

    paired: Mapping[float, Floats]
    seconds: Mapping[float, tuple[Floats, Floats]]
    whole: Mapping[float, tuple[Floats, Floats]]


# -- simulated twins ---------------------------------------------------------------------


def simulate(shape: str, runs: int, seed: int) -> Logs:
    """Return the logs of `runs` A/A runs of 60 s at 1,000 requests a second in all."""
    draw = np.random.default_rng(seed)
    chunks = [_chunk(draw, shape, min(_CHUNK, runs - first)) for first in range(0, runs, _CHUNK)]
    return Logs(
        {q: np.concatenate([chunk.paired[q] for chunk in chunks]) for q in QUANTILES},
        {q: _joined([chunk.seconds[q] for chunk in chunks]) for q in QUANTILES},
        {q: _joined([chunk.whole[q] for chunk in chunks]) for q in QUANTILES},
    )


def _joined(pairs: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])


def _chunk(draw: np.random.Generator, shape: str, runs: int) -> Logs:
    spread = float(shape.split()[1]) / 100 if shape.startswith("drift") else 0.0
    walk = _ar1(draw, _DRIFT, spread, runs)  # the machine's, so both sides share it
    sides = [_latencies(draw, shape, runs) * np.exp(walk).repeat(RATE_A_SIDE, axis=1) for _ in range(2)]
    paired, seconds, whole = {}, {}, {}
    for q in QUANTILES:
        a, b = (_smoothed(side, samples_needed(q), q) for side in sides)
        paired[q] = np.log(b / a)
        seconds[q] = (_windows(sides[0], RATE_A_SIDE, q), _windows(sides[1], RATE_A_SIDE, q))
        whole[q] = tuple(_windows(side, side.shape[1], q)[:, 0] for side in sides)
    return Logs(paired, seconds, whole)  # type: ignore[arg-type]


def _latencies(draw: np.random.Generator, shape: str, runs: int) -> Floats:
    """Return one side's latencies in ms (runs x requests), in the order they were sent."""
    size = (runs, SECONDS * RATE_A_SIDE)
    values = 5.0 * np.exp(0.4 * draw.standard_normal(size, np.float32))
    found: Floats = np.asarray(values, np.float64)
    match shape:
        case "bimodal":  # the median lies between the modes, where there is next to nothing
            found *= np.where(draw.random(size, np.float32) < 0.5, 1.0, 3.0)  # noqa: PLR2004  half
        case "heavy tail":
            found *= 1.0 + 0.05 * draw.pareto(1.5, size)
        case "correlated":  # each side's own queue, for about two seconds at a time
            found *= np.exp(_ar1(draw, 0.6, 0.03, runs)).repeat(RATE_A_SIDE, axis=1)
        case "correlated tail":  # one request in twelve is slow, and each side's slow ones drift together
            tail = 3.0 * np.exp(_ar1(draw, 0.6, 0.1, runs)).repeat(RATE_A_SIDE, axis=1)
            found *= np.where(draw.random(size, np.float32) < 1 / 12, tail, 1.0)
        case "stalls":  # half a second in which requests wait for its end, about twice a minute
            found += _stalls(draw, runs)
    return found


def _stalls(draw: np.random.Generator, runs: int) -> Floats:
    length = RATE_A_SIDE // 2
    waits = np.zeros((runs, SECONDS * RATE_A_SIDE))
    left_ms = np.arange(length, 0, -1) * (1000.0 / RATE_A_SIDE)
    for row in range(runs):
        for _ in range(int(draw.poisson(2.0))):
            start = int(draw.integers(0, waits.shape[1] - length))
            waits[row, start : start + length] = left_ms
    return waits


def _ar1(draw: np.random.Generator, phi: float, spread: float, runs: int) -> Floats:
    """Return a walk by second (runs x seconds) with standard deviation `spread`."""
    steps = draw.normal(0.0, spread * math.sqrt(1.0 - phi * phi), (SECONDS + 50, runs))
    for index in range(1, len(steps)):
        steps[index] += phi * steps[index - 1]
    return np.asarray(steps[50:].T)


def _windows(values: Floats, samples: int, q: float) -> Floats:
    """Return the q-quantile (numpy's type 7) of consecutive windows, runs x windows."""
    runs = values.shape[0]
    cut = values[:, : values.shape[1] // samples * samples].reshape(runs, -1, samples)
    place = q * (samples - 1)
    low = math.floor(place)
    high = min(low + 1, samples - 1)
    ranked = np.partition(cut, (low, high), axis=2)
    return np.asarray(ranked[..., low] + (place - low) * (ranked[..., high] - ranked[..., low]), np.float64)


def _smoothed(values: Floats, samples: int, q: float) -> Floats:
    """Return the quantile that we compare by, of consecutive windows, runs x windows."""
    runs, given = values.shape[0], weights(samples, q)
    cut = values[:, : values.shape[1] // samples * samples].reshape(runs, -1, samples)
    ranked = np.partition(cut, given.first, axis=2)[..., given.first :]
    ranked.sort(axis=2)
    return np.asarray(ranked[..., : given.end - given.first] @ given.values)


# -- decisions ---------------------------------------------------------------------------


def theirs(logs: Logs, q: float, ratio: float) -> dict[str, int]:
    """Return how often each peer calls B slower at one quantile."""
    a, b = logs.seconds[q]
    whole_a, whole_b = logs.whole[q]
    return {
        "kayenta's rule": int(kayenta(a, b * ratio).sum()),
        "Mann-Whitney 0.05": int(mann_whitney(a, b * ratio).sum()),
        "5 % over": int(five_percent(whole_a, whole_b * ratio).sum()),
    }


def _twin_rows(logs: Logs, shape: str, runs: int) -> Iterator[Row]:
    """False no-go of equal sides at margin 0 and at 10 %, and what peers say of the same logs."""
    under = Bar("<=", 1.0)
    for name, quantiles in (("p50 p95", SMOKE), ("p50 p95 p99", QUANTILES)):
        found = ours(logs.paired, quantiles, 1.0, 0.0)
        what = f"false no-go, {shape}, {name}, margin 0"
        yield share_row("G6", what, found[FAIL], runs, bar=under, note=counts_of(found))
    found = ours(logs.paired, QUANTILES, 1.0, _MARGIN)
    what = f"false no-go, {shape}, p50 p95 p99, margin 10 %"
    yield share_row("G6", what, found[FAIL], runs, bar=under, note=counts_of(found))
    for q in SMOKE:
        for peer, hits in theirs(logs, q, 1.0).items():
            what = f"its false no-go, {shape}, p{100 * q:g}"
            yield share_row("", what, hits, runs, peer=peer)


def _margin_rows(logs: Logs, shape: str, runs: int) -> Iterator[Row]:
    """False go when B is slower by exactly the margin."""
    for margin in (0.02, _MARGIN):
        found = ours(logs.paired, SMOKE, 1.0 + margin, margin)
        what = f"false go, {shape}, p50 p95, slower by the margin of {100 * margin:g} %"
        yield share_row("G8", what, found[PASS], runs, bar=Bar("<=", 1.0), note=counts_of(found))
    alone = ours(logs.paired, (0.95,), 1.02, 0.02)
    yield share_row("G8", f"false go, {shape}, p95 alone, margin 2 %", alone[PASS], runs, bar=Bar("<=", 1.0))
    for peer, hits in theirs(logs, 0.95, 1.02).items():
        yield share_row("", f"its go at +2 % p95, {shape}", runs - hits, runs, peer=peer)


def _power_rows(logs: Logs, runs: int) -> Iterator[Row]:
    """How often the slowdowns of G7 are found at margin 0, endpoint by endpoint."""
    for q, ratio in POWER.items():
        found = ours(logs.paired, (q,), ratio, 0.0)
        what = f"p{100 * q:g} slower by {100 * (ratio - 1):.1f} % is found in 60 s"
        yield share_row("G7", what, found[FAIL], runs, bar=Bar(">=", 95.0), note=counts_of(found))
        for peer, hits in theirs(logs, q, ratio).items():
            yield share_row(
                "", f"it finds p{100 * q:g} slower by {100 * (ratio - 1):.1f} %", hits, runs, peer=peer
            )


def simulated(runs: int, shapes: Sequence[str]) -> list[Row]:
    """Return every row of the simulated twins."""
    rows: list[Row] = []
    for number, shape in enumerate(shapes):
        logs = simulate(shape, runs, seed=number)
        rows += _twin_rows(logs, shape, runs)
        if shape in ("lognormal", "drift 10 %", "stalls"):
            rows += _margin_rows(logs, shape, runs)
        if shape == "lognormal":
            rows += _power_rows(logs, runs)
    return rows


def run(quick: bool) -> list[Row]:
    """Return the rows of G6, G7 and G8."""
    if quick:
        return simulated(300, ("lognormal", "correlated")) + recorded(1_000, Recording(1, 20.0))
    return simulated(1_000, _SHAPES) + recorded(2_000, _RECORDING)


def main() -> None:
    """Print the table; `--live` records as many decisions of 60 s as are asked for, and nothing else."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--live", type=int, metavar="N", help="N live decisions alone, a minute each")
    options = parser.parse_args()
    if options.live:
        parts = math.ceil(options.live / 2)
        print(plain(recorded(2_000, Recording(parts, 2.0 * SECONDS))))
        return
    print(plain(run(options.quick)))


if __name__ == "__main__":
    main()
