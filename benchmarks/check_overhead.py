"""What a check costs beside an empty pytest test: collection, record, evidence with its hash chain.

Two folders of equally many tests are run in the same rounds, each by its own pytest, in the
process's own time from collection to the end of the session: one of empty tests in bare
pytest, one of checks with gonogo's plug-in, a real run folder, a criterion and a record. The
difference, divided by the tests, is what a check costs. A second number is a run's
whole wall time, start of both processes included.

    python -m benchmarks --only check_overhead
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common import Bar, Row, ToolFailed, paired_rounds, run_tool, spread
from reports.catalogue import catalogue
from reports.model import Profile, Status
from reports.store import create, open_run

ROOT = Path(__file__).resolve().parent.parent
CHECKS = 500
EMPTY, OURS = "empty tests", "checks"
_ROUNDS, _QUICK_ROUNDS = 7, 3
_BAR_MS = Bar("<=", 1.0)
_TIMEOUT_S = 120.0
_CRITERION = "technical.servers"

_EMPTY_TESTS = """
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_nothing(number):
    pass
"""
_CHECKS = """
import pytest

@pytest.mark.criterion("{criterion}")
@pytest.mark.parametrize("number", range({count}))
def test_something(record, number):
    record(samples=1, observed=100, unit="%")
"""
# Times the session from collection on, in the process itself, and writes it to $TIMES.
_CLOCK = """
import json, os, time
_began = {}

def pytest_sessionstart(session):
    _began["at"] = time.perf_counter(), time.process_time()

def pytest_sessionfinish(session, exitstatus):
    wall, cpu = _began["at"]
    row = [time.perf_counter() - wall, time.process_time() - cpu, session.testscollected, int(exitstatus)]
    with open(os.environ["TIMES"], "w", encoding="ascii") as file:
        json.dump(row, file)
"""


def run(quick: bool) -> list[Row]:
    """Return the cost of a check in ms, and the time of a whole run beside bare pytest."""
    with tempfile.TemporaryDirectory(prefix="gonogo-overhead-") as name:
        contest = Contest.prepare(Path(name))
        tools = {EMPTY: contest.empty, OURS: contest.checks}
        found = paired_rounds(tools, _QUICK_ROUNDS if quick else _ROUNDS)
    pairs = list(zip(found.values[OURS], found.values[EMPTY], strict=True))
    cost = spread([1e3 * (ours - empty) / CHECKS for ours, empty in pairs])
    cpu = [1e3 * (contest.cpu_s[ours] - contest.cpu_s[empty]) / CHECKS for ours, empty in pairs]
    note = f"CPU alone {spread(cpu).median:.2f} ms; {CHECKS} checks; {found.note}".rstrip("; ")
    return [
        cost.row("G10", "a check costs more than an empty test", "ms", peer="pytest", bar=_BAR_MS, note=note),
        *(
            spread([1e3 * value / CHECKS for value in values]).row("", f"{name}: time of one", "ms")
            for name, values in found.values.items()
        ),
    ]


@dataclass(slots=True)
class Contest:
    """The two folders of tests, and the CPU seconds of each session by its wall seconds."""

    folder: Path
    cpu_s: dict[float, float] = field(default_factory=dict)

    @classmethod
    def prepare(cls, folder: Path) -> Contest:
        """Write both folders and the plug-in with the clock."""
        (folder / "clock.py").write_text(_CLOCK, encoding="utf-8")
        texts = {EMPTY: _EMPTY_TESTS, OURS: _CHECKS}
        for name, text in texts.items():
            place = folder / name.replace(" ", "_")
            place.mkdir()
            body = text.format(count=CHECKS, criterion=_CRITERION)
            (place / "test_all.py").write_text(body, encoding="utf-8")
            (place / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        return cls(folder)

    def empty(self) -> float:
        """Run the empty tests in bare pytest; return the session's wall seconds."""
        return self._session(EMPTY, [])

    def checks(self) -> float:
        """Run the checks into a new run folder; return the session's wall seconds."""
        store = create(self.folder / "runs", "benchmark", Profile.SMOKE)
        store.criteria(catalogue())
        for name in ("cluster.json", "workload.json"):  # what the checks' turns are locked on
            store.write_json(name, {})
        plugins = ["-p", "conftest", "-p", "verbs.recorder"]  # as the launcher starts the suites
        seconds = self._session(OURS, [*plugins, "--gonogo-run", str(store.path)])
        rows = open_run(store.path).read_evidence()
        passed = sum(row.status is Status.PASS for row in rows)
        if passed != CHECKS:
            raise ToolFailed(f"{passed} of {CHECKS} checks left evidence that they passed")
        return seconds

    def _session(self, name: str, options: list[str]) -> float:
        times = self.folder / "times.json"
        times.unlink(missing_ok=True)
        quiet = ["-q", "-p", "no:cacheprovider", "-p", "clock"]
        argv = [sys.executable, "-m", "pytest", *quiet, *options, "."]
        env = {
            **os.environ,
            "TIMES": str(times),
            "PYTHONPATH": f"{self.folder}:{ROOT}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        run_tool(argv, timeout_s=_TIMEOUT_S, cwd=self.folder / name.replace(" ", "_"), env=env)
        wall_s, cpu_s, collected, status = json.loads(times.read_text(encoding="ascii"))
        if collected != CHECKS or status:
            raise ToolFailed(f"{name}: {collected} of {CHECKS} collected, exit status {status}")
        self.cpu_s[wall_s] = cpu_s
        return float(wall_s)
