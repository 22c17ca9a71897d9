"""What the workloads of each side, and the orchestrators beside them, use: CPU and memory by cgroup.

One command a node reads every cgroup there is, of version 1 or 2, so that both sides are
read at the same moment and in the same way; nothing is installed and nothing is written.
Counters are cumulative: what a span of time cost is the difference of two readings, and
`at` interpolates, so nodes need not be read at once. The no-op twin has no cgroups of its
own; its two processes are read from /proc.
"""

from __future__ import annotations

import bisect
import os
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from provisioners.base import Side
from provisioners.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Cluster, Node

_ROOT = "/sys/fs/cgroup"
_PODS = "/var/log/pods"
_CONTAINER = re.compile(r"(?:^|[-/])([0-9a-f]{64})(?:\.scope)?$")
_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$")
_UNIT = re.compile(r"(?:^|/)([^/]+)\.service$")
_READ_S = 10.0
_FAILURES = 3

WORKLOAD = {side: str(side) for side in Side}
OVERHEAD = {side: f"{side} overhead" for side in Side}
SHARED = "shared overhead"
_PART_OF_UNIT = {
    "docker": OVERHEAD[Side.SWARM],
    "containerd": SHARED,  # it runs the containers of both
    **dict.fromkeys(
        (
            "etcd",
            "k3s",
            "k3s-agent",
            "kine",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubelet",
        ),
        OVERHEAD[Side.KUBERNETES],
    ),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What one part used: CPU seconds since its cgroups were made, and working set in bytes now."""

    cpu_s: float = 0.0
    memory_bytes: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_s + other.cpu_s, self.memory_bytes + other.memory_bytes)


@dataclass(frozen=True, slots=True)
class Reading:
    """One node at one moment: the parts are `swarm`, `kubernetes`, their overheads, `shared overhead`.

    `at_s` is this machine's monotonic clock, half way through the command. `members` counts
    the containers and pods of each side that were seen, so that one that came or went shows.
    """

    node: str
    at_s: float
    parts: Mapping[str, Usage]
    members: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Members:
    """Which containers (Swarm) and pods (Kubernetes, by UID) of a node are the workload's."""

    containers: frozenset[str]
    pods: frozenset[str]


def command() -> tuple[str, ...]:
    """Return the one command that reads all cgroups of a node, of either version."""
    names = ("cpuacct.usage", "cpu.stat", "memory.usage_in_bytes", "memory.current", "memory.stat")
    either = [word for name in names for word in ("-o", "-name", name)][1:]
    values = "^([0-9]+$|usage_usec |total_inactive_file |inactive_file )"
    return (
        "find", _ROOT, "-maxdepth", "9", "(", *either, ")",
        "-exec", "grep", "-sHE", values, "{}", "+",
    )  # fmt: skip


def parse_cgroups(text: str) -> dict[str, Usage]:
    """Return CPU and working set (usage without inactive file cache) by cgroup path, of the command's output.

    Both versions give the same paths: version 1 has a folder for each controller first.
    """
    cpu: dict[str, float] = {}
    memory: dict[str, int] = {}
    inactive: dict[str, int] = {}
    for line in text.splitlines():
        file, _, value = line.partition(":")
        folder, _, name = file.removeprefix(_ROOT + "/").rpartition("/")
        words = value.split()
        if not words or not words[-1].isdecimal():
            continue
        number = int(words[-1])
        first, _, below = folder.partition("/")
        match name:
            case "cpuacct.usage":
                cpu[below] = number / 1e9
            case "memory.usage_in_bytes":
                memory[below] = number
            case "memory.current":
                memory[folder] = number
            case "cpu.stat":
                path = below if first == "unified" else folder
                cpu.setdefault(path, number / 1e6)
            case "memory.stat":
                version_1 = words[0] == "total_inactive_file"
                if version_1 or first != "memory":
                    inactive[below if version_1 else folder] = number
    return {
        path: Usage(seconds, max(0, memory.get(path, 0) - inactive.get(path, 0)))
        for path, seconds in cpu.items()
    }


def by_part(cgroups: Mapping[str, Usage], members: Members) -> tuple[dict[str, Usage], dict[str, int]]:
    """Return the sum of each part, and how many containers and pods each side's workload has here.

    A pod is taken whole, with its sandbox. Pods of others are Kubernetes' overhead;
    containers of nobody's stack are nobody's.
    """
    parts: dict[str, Usage] = {}
    counts = {WORKLOAD[side]: 0 for side in Side}
    for path, usage in cgroups.items():
        part = _part_of(path, members)
        if part is None:
            continue
        parts[part] = parts.get(part, Usage()) + usage
        if part in counts:
            counts[part] += 1
    return parts, counts


def _part_of(path: str, members: Members) -> str | None:
    pod = _POD.search(path)
    if pod:
        own = _uid(pod[1]) in members.pods
        return WORKLOAD[Side.KUBERNETES] if own else OVERHEAD[Side.KUBERNETES]
    if "kubepods" in path:
        return None  # a container inside a pod, or a slice of many
    container = _CONTAINER.search(path)
    if container:
        return WORKLOAD[Side.SWARM] if container[1] in members.containers else None
    unit = _UNIT.search(path)
    return _PART_OF_UNIT.get(unit[1]) if unit else None


def _uid(text: str) -> str:
    """Return a pod's UID without separators: systemd writes _ for -."""
    return text.replace("-", "").replace("_", "")


def read_members(node: Node, cluster: Cluster) -> Members:
    """Ask a node which of its containers and pods are the workload's; two commands, before load."""
    label = f"label=com.docker.stack.namespace={cluster.stack}"
    listed = node.ssh.run(["docker", "ps", "--no-trunc", "--quiet", "--filter", label], timeout_s=_READ_S)
    folders = node.ssh.run(
        ["find", _PODS, "-mindepth", "1", "-maxdepth", "1", "-name", f"{cluster.namespace}_*"],
        timeout_s=_READ_S,
    )
    # A node of one side alone has no docker, or no pods: that is none, not a failure.
    pods = {_uid(line.rpartition("_")[2]) for line in folders.stdout.splitlines() if "_" in line}
    return Members(frozenset(listed.stdout.split()) if listed.ok else frozenset(), frozenset(pods))


def read_node(node: Node, members: Members) -> Reading:
    """Read one node now; raises ProvisionError when it does not answer."""
    before = time.monotonic()
    result = node.ssh.run(command(), timeout_s=_READ_S)
    at_s = (before + time.monotonic()) / 2
    cgroups = parse_cgroups(result.stdout)
    if not cgroups:
        raise ProvisionError(
            "no cgroup could be read", where=node.name, why=result.stderr.strip()[:200] or "find printed none"
        )
    parts, counts = by_part(cgroups, members)
    return Reading(node.name, at_s, parts, counts)


def read_processes(cluster: Cluster, proc: Path = Path("/proc")) -> Reading:
    """Read the no-op twin: each side is one process, known by its control socket."""
    parts: dict[str, Usage] = {}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            for side in Side:
                socket = cluster.extra.get(str(side), "").encode()
                if socket and b"--all" in words and socket in words:
                    parts[WORKLOAD[side]] = _process(entry)
        except OSError:  # it ended meanwhile
            continue
    counts = {WORKLOAD[side]: int(WORKLOAD[side] in parts) for side in Side}
    return Reading("localhost", time.monotonic(), parts, counts)


def _process(entry: Path) -> Usage:
    fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    user, system, pages = int(fields[11]), int(fields[12]), int(fields[21])
    return Usage((user + system) / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


class Meter:
    """Reads all nodes in turn, every few seconds, in a thread of its own, while load runs.

    A node that does not answer three times running is left alone and stands in `lost`;
    `problems` tells every reading that failed.
    """

    def __init__(self, readers: Mapping[str, Callable[[], Reading]], every_s: float = 5.0) -> None:
        self.readings: list[Reading] = []
        self.problems: list[str] = []
        self.lost: dict[str, str] = {}
        self._readers = dict(readers)
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def __enter__(self) -> Self:
        """Read every node once and go on in the background."""
        for name in list(self._readers):
            self._read(name)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read every node a last time."""
        self._stop.set()
        self._thread.join(timeout=2 * _READ_S)
        for name in list(self._readers):
            if not self._read(name):
                self.lost[name] = self.problems[-1]

    def _run(self) -> None:
        failed: dict[str, int] = {}
        while self._readers:
            # Spread over the interval: reading all nodes at once would be one burst of load.
            for name in list(self._readers):
                if self._stop.wait(self._every_s / max(1, len(self._readers))):
                    return
                failed[name] = 0 if self._read(name) else failed.get(name, 0) + 1
                if failed[name] >= _FAILURES:
                    del self._readers[name]
                    self.lost[name] = self.problems[-1]

    def _read(self, name: str) -> bool:
        try:
            self.readings.append(self._readers[name]())
        except ProvisionError as error:
            self.problems.append(f"{name}: {error.what}")
            return False
        return True


def meter_of(cluster: Cluster, every_s: float = 5.0) -> Meter:
    """Return the meter of a cluster's nodes, or of the no-op twin's processes."""
    if cluster.kind == "noop":
        return Meter({"localhost": lambda: read_processes(cluster)}, every_s)

    def reader(node: Node) -> Callable[[], Reading]:
        members = read_members(node, cluster)
        return lambda: read_node(node, members)

    return Meter({node.name: reader(node) for node in cluster.nodes}, every_s)


def at(readings: Sequence[Reading], part: str, at_s: float) -> Usage:
    """Return a part's counters over all nodes at a moment, straight between the readings beside it."""
    total = Usage()
    for node in {reading.node for reading in readings}:
        mine = sorted((one for one in readings if one.node == node), key=lambda one: one.at_s)
        total += _between(mine, part, at_s)
    return total


def _between(mine: Sequence[Reading], part: str, at_s: float) -> Usage:
    right = bisect.bisect_left(mine, at_s, key=lambda one: one.at_s)
    before = mine[max(0, right - 1)]
    after = mine[min(right, len(mine) - 1)]
    low, high = before.parts.get(part, Usage()), after.parts.get(part, Usage())
    if after.at_s <= before.at_s:
        return low
    share = min(1.0, max(0.0, (at_s - before.at_s) / (after.at_s - before.at_s)))
    return Usage(
        low.cpu_s + share * (high.cpu_s - low.cpu_s),
        low.memory_bytes + share * (high.memory_bytes - low.memory_bytes),
    )


def span(readings: Sequence[Reading]) -> tuple[float, float]:
    """Return from when to when every node was read; an empty span when none was."""
    nodes = {reading.node for reading in readings}
    times = [[one.at_s for one in readings if one.node == node] for node in nodes]
    if not times:
        return 0.0, 0.0
    return max(min(mine) for mine in times), min(max(mine) for mine in times)
