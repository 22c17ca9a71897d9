"""Compose to manifests: gonogo beside a plain PyYAML pipeline and beside kompose.

Each contender is a process of its own, start included, with its bytecode cached as an
installed program has it. The PyYAML pipeline is what any script in Python has to pay:
`yaml.safe_load` of the input, and `yaml.safe_dump_all` of the very objects that gonogo wrote.
These are handed to it ready-made; the time it takes to receive them is taken off.

    python -m benchmarks.convert [--quick] [--keys]

`--keys` prints which compose keys arrive in the output of each contender (`compose_keys`).
"""

from __future__ import annotations

import argparse
import marshal
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from benchmarks import compose_keys
from benchmarks.common import (
    Bar,
    Finished,
    Rounds,
    Row,
    installed,
    not_measured,
    paired_rounds,
    run_tool,
    spread,
)
from benchmarks.compose_input import compose_text
from benchmarks.table import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
SIZES = (50, 300)
GONOGO, PURE, WITH_C, KOMPOSE = "gonogo", "PyYAML safe", "PyYAML CSafe", "kompose"
# What has to hold for the big file; the small one is shown.
_BARS = {PURE: Bar("<=", 0.25), KOMPOSE: Bar("<=", 0.5)}
_QUICK_ROUNDS = 3
_ROUNDS = 7
_TIMEOUT_S = 120.0
_NO_KOMPOSE = "kompose is not on PATH: `make bench` builds it where there is a Go toolchain"

# argv: input, marshalled objects, output, C or not; prints the seconds that receiving them took
_PIPELINE = """
import marshal, sys, time
begin, begin_cpu = time.perf_counter(), time.process_time()
with open(sys.argv[2], "rb") as file:
    objects = marshal.load(file)
print(time.perf_counter() - begin, time.process_time() - begin_cpu)
import yaml
with open(sys.argv[1], encoding="utf-8") as file:
    if sys.argv[4] == "c":
        yaml.load(file, Loader=yaml.CSafeLoader)
    else:
        yaml.safe_load(file)
with open(sys.argv[3], "w", encoding="utf-8") as file:
    if sys.argv[4] == "c":
        yaml.dump_all(objects, file, Dumper=yaml.CSafeDumper)
    else:
        yaml.safe_dump_all(objects, file)
"""


def run(quick: bool) -> list[Row]:
    """Return the rows of both sizes, and how many compose keys arrive with each contender."""
    rows: list[Row] = []
    for services in SIZES[1:] if quick else SIZES:
        with tempfile.TemporaryDirectory(prefix="gonogo-convert-") as folder:
            rows += _rows(services, Path(folder), _QUICK_ROUNDS if quick else _ROUNDS)
    return rows + compose_keys.rows()


def _rows(services: int, folder: Path, rounds: int) -> list[Row]:
    contest = _Contest.prepare(services, folder)
    found = paired_rounds(contest.tools(), rounds)
    peers = [name for name in found.values if name != GONOGO]
    rows = [_ratio(services, found, contest, peer) for peer in peers]
    if KOMPOSE not in peers:
        what, bar = f"wall time, {services} services", _BARS[KOMPOSE] if services == SIZES[-1] else None
        rows.append(not_measured("G14", what, "x", _NO_KOMPOSE, peer=KOMPOSE, bar=bar))
    for name in found.values:
        rows += _absolute(services, name, contest.kept(name, found))
    return rows


def _ratio(services: int, found: Rounds, contest: _Contest, peer: str) -> Row:
    """Return the row of wall time; its note says CPU time and memory, round by round too."""
    pairs = list(zip(contest.kept(GONOGO, found), contest.kept(peer, found), strict=True))
    cpu = spread([one.cpu_s / other.cpu_s for one, other in pairs])
    peak = spread([one.peak_bytes / other.peak_bytes for one, other in pairs])
    said = f"CPU {cpu.median:.3f}x ({cpu.low:.3f} to {cpu.high:.3f}), peak memory {peak.median:.2f}x"
    note = "; ".join(text for text in (said, found.note) if text)
    bar = _BARS.get(peer) if services == SIZES[-1] else None
    what = f"wall time, {services} services"
    return found.ratio(GONOGO, peer).row("G14", what, peer=peer, bar=bar, note=note)


def _absolute(services: int, name: str, kept: list[Finished]) -> Iterator[Row]:
    for what, unit, values in (
        ("wall time", "s", [item.wall_s for item in kept]),
        ("CPU time", "s", [item.cpu_s for item in kept]),
        ("peak memory", "MiB", [item.peak_bytes / 2**20 for item in kept]),
    ):
        yield spread(values).row("", f"{name}: {what}, {services} services", unit)


@dataclass(frozen=True, slots=True)
class _Contest:
    """One input file, and what each contender did with it in each round, by its wall time."""

    folder: Path
    env: Mapping[str, str]
    runs: dict[str, dict[float, Finished]] = field(default_factory=dict)

    @classmethod
    def prepare(cls, services: int, folder: Path) -> _Contest:
        """Write the input and the objects that gonogo makes of it; every contender runs once, unmeasured."""
        (folder / "compose.yml").write_text(compose_text(services), encoding="utf-8")
        (folder / "pipeline.py").write_text(_PIPELINE, encoding="utf-8")
        env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        contest = cls(folder, {**env, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")})
        contest.gonogo()
        with (folder / "objects").open("wb") as file:
            marshal.dump(list(_objects(folder / "out")), file)
        for tool in contest.tools().values():
            tool()
        contest.runs.clear()
        return contest

    def tools(self) -> dict[str, Callable[[], float]]:
        """Return the contenders that this machine has; each returns its wall seconds."""
        found: dict[str, Callable[[], float]] = {
            GONOGO: self.gonogo,
            PURE: lambda: self.pipeline(PURE, "python"),
            WITH_C: lambda: self.pipeline(WITH_C, "c"),
        }
        if installed(KOMPOSE):
            found[KOMPOSE] = self.kompose
        return found

    def kept(self, name: str, found: Rounds) -> list[Finished]:
        """Return what a contender did in the rounds that count."""
        return [self.runs[name][wall_s] for wall_s in found.values[name]]

    def gonogo(self) -> float:
        argv = [sys.executable, str(ROOT / "gonogo.py"), "convert", str(self.folder / "compose.yml")]
        return self._note(GONOGO, self._run([*argv, "-o", str(self._empty("out"))]))

    def pipeline(self, name: str, kind: str) -> float:
        names = [str(self.folder / item) for item in ("compose.yml", "objects", "dump.yaml")]
        done = self._run([sys.executable, str(self.folder / "pipeline.py"), *names, kind])
        wall_s, cpu_s = map(float, done.output.split())
        return self._note(name, replace(done, wall_s=done.wall_s - wall_s, cpu_s=done.cpu_s - cpu_s))

    def kompose(self) -> float:
        out = self._empty("kompose")
        out.mkdir()
        return self._note(KOMPOSE, self._run(compose_keys.kompose_argv(self.folder / "compose.yml", out)))

    def _run(self, argv: list[str]) -> Finished:
        return run_tool(argv, timeout_s=_TIMEOUT_S, cwd=self.folder, env=self.env)

    def _empty(self, name: str) -> Path:
        """Return the path of a folder that is not there: everybody writes into a fresh one."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name

    def _note(self, name: str, done: Finished) -> float:
        self.runs.setdefault(name, {})[done.wall_s] = done
        return done.wall_s


def _objects(folder: Path) -> Iterator[object]:
    for path in sorted(folder.rglob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            yield from yaml.load_all(file, Loader=yaml.CSafeLoader)


def main() -> int:
    """Print the table of this benchmark alone, or which keys arrive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convert", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the big file alone, fewer rounds")
    parser.add_argument("--keys", action="store_true", help="which compose keys arrive, and nothing else")
    options = parser.parse_args()
    print(compose_keys.table() if options.keys else plain(run(options.quick)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
