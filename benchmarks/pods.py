"""Listing and judging 5,000 pods with planted faults: gonogo beside the official client and lightkube.

The API server is a real one on loopback (`api_server`), the pods were written to it once by its
API, and its own work counts for every client. Each client is a process of its own; its
start, its imports and the opening of its connection are before the clock, for all alike
(`pods_client`). All must name exactly the planted faults: nothing is compared that differs.

    python -m benchmarks --only pods
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.api_server import api_server
from benchmarks.common import (
    Bar,
    Rounds,
    Row,
    ToolFailed,
    not_measured,
    package_version,
    paired_rounds,
    run_tool,
    spread,
)
from benchmarks.pods_input import plan, write_pods
from provisioners.kube import Kube

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PODS = 5_000
OURS, WHOLE, OFFICIAL, LIGHTKUBE = "gonogo", "whole objects", "kubernetes", "lightkube"
_TIME = {OFFICIAL: Bar("<=", 1 / 30), LIGHTKUBE: Bar("<=", 1 / 10)}
_MEMORY = {OFFICIAL: Bar("<=", 1 / 8)}
_ROUNDS = 5
_QUICK_ROUNDS = 2
_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Used:
    """What one listing took: seconds, and bytes of resident memory gained at the peak, and in all."""

    wall_s: float
    cpu_s: float
    gained_bytes: int
    peak_bytes: int


def run(quick: bool) -> list[Row]:
    """Return time and memory against each peer, and the plain numbers of each client."""
    planned = plan(PODS)
    try:
        with api_server() as kubeconfig:
            write_pods(Kube(kubeconfig), planned)
            contest = Contest(kubeconfig, planned)
            found = paired_rounds(contest.tools(), _QUICK_ROUNDS if quick else _ROUNDS)
    except ToolFailed as why:
        return [not_measured("G9", f"list and judge {PODS:,} pods", "x", str(why), peer=OFFICIAL)]
    rows = [row for peer in found.values if peer != OURS for row in _against(peer, found, contest)]
    if LIGHTKUBE not in found.values:
        rows.append(not_measured("G9", "time", "x", "not installed: pip install lightkube", peer=LIGHTKUBE))
    return rows + [row for name in found.values for row in _plain(name, found, contest)]


@dataclass(slots=True)
class Contest:
    """The clients, and what each used in each round, by its wall time."""

    kubeconfig: Path
    planned: Mapping[str, str]
    used: dict[str, dict[float, Used]] = field(default_factory=dict)

    def tools(self) -> dict[str, _Tool]:
        """Return the clients that this machine has; each returns its wall seconds."""
        names = [OURS, WHOLE, OFFICIAL, *([LIGHTKUBE] if package_version(LIGHTKUBE) else [])]
        return {name: _Tool(self, name) for name in names}

    def measure(self, name: str) -> float:
        """Run one client once; raises ToolFailed unless it names exactly the planted faults."""
        argv = [sys.executable, "-m", "benchmarks.pods_client", name, str(self.kubeconfig)]
        done = run_tool(argv, timeout_s=_TIMEOUT_S)
        row = json.loads(done.output.splitlines()[-1])
        self.check(name, row.pop("judged"))
        used = Used(**row)
        self.used.setdefault(name, {})[used.wall_s] = used
        return used.wall_s

    def check(self, name: str, judged: Mapping[str, str]) -> None:
        """Raise ToolFailed with the first pods that a client judged otherwise than planted."""
        wanted = {pod: fault for pod, fault in self.planned.items() if fault}
        wanted[""] = str(len(self.planned) - len(wanted))
        wrong = sorted(
            pod for pod in {*wanted, *judged} if wanted.get(pod, "sound") != judged.get(pod, "sound")
        )
        if wrong:
            said = ", ".join(f"{pod or 'sound pods'}: {judged.get(pod)!r}" for pod in wrong[:3])
            raise ToolFailed(f"{name} judged {len(wrong)} pods otherwise than planted: {said}")

    def kept(self, name: str, found: Rounds) -> list[Used]:
        """Return what a client used in the rounds that count."""
        return [self.used[name][wall_s] for wall_s in found.values[name]]


@dataclass(frozen=True, slots=True)
class _Tool:
    contest: Contest
    name: str

    def __call__(self) -> float:
        return self.contest.measure(self.name)


def _against(peer: str, found: Rounds, contest: Contest) -> list[Row]:
    pairs = list(zip(contest.kept(OURS, found), contest.kept(peer, found), strict=True))
    cpu = spread([one.cpu_s / other.cpu_s for one, other in pairs])
    peak = spread([one.peak_bytes / other.peak_bytes for one, other in pairs])
    gained = spread([one.gained_bytes / other.gained_bytes for one, other in pairs])
    said = f"CPU of the client {cpu.median:.3f}x ({cpu.low:.3f} to {cpu.high:.3f})"
    note = "; ".join(text for text in (said, found.note) if text)
    what = f"list and judge {PODS:,} pods"
    whole = f"of the whole process, interpreter and imports too, {peak.median:.2f}x"
    return [
        found.ratio(OURS, peer).row("G9", f"{what}: time", peer=peer, bar=_TIME.get(peer), note=note),
        gained.row("G9", f"{what}: memory gained", peer=peer, bar=_MEMORY.get(peer), note=whole),
    ]


def _plain(name: str, found: Rounds, contest: Contest) -> list[Row]:
    kept = contest.kept(name, found)
    numbers = (
        ("time", "s", [item.wall_s for item in kept]),
        ("CPU time", "s", [item.cpu_s for item in kept]),
        ("memory gained", "MiB", [item.gained_bytes / 2**20 for item in kept]),
    )
    return [
        spread(values).row("", f"{name}: {what}, {PODS:,} pods", unit=unit) for what, unit, values in numbers
    ]
