"""What load is sent, and where: LoadProfile, Server, LoadTargets. Stdlib only.

A profile is checked when it is made, so that a rate of zero or a duration of NaN is
refused before anything runs. One *round* is every server visited once per unit of
weight of every workload; windows are whole rounds, so every window holds equal counts
per server and side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loadtests.errors import LoadInputError
from loadtests.shape import RAMP, SHAPES, SOAK, SPIKE, STEADY

if TYPE_CHECKING:
    from collections.abc import Mapping

SIDES = ("swarm", "kubernetes")
HEALTH = "health"
TOOLS_LIST = "tools/list"
TOOLS_CALL = "tools/call"
READ = "tools/call read"
WRITE = "tools/call write"
SLOW = "tools/call slow"
EMBED = "tools/call embed"
STREAM = "stream"
SESSION = "session"
# What calls a tool that the server must name; every server offers the others.
CALL_WORKLOADS = (TOOLS_CALL, READ, WRITE, SLOW, EMBED, STREAM)
WORKLOADS = (HEALTH, TOOLS_LIST, *CALL_WORKLOADS, SESSION)
SESSION_CALLS = 5  # after initialize and notifications/initialized


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """How much load, for how long, and when a window or a send counts as lost.

    `rate_per_s` is the total over both sides and all workloads, at the shape's highest.
    `workloads` are (name, whole weight) pairs; those in `advisory` are measured and shown,
    and no verdict hangs on them. `quantiles` are taken over all servers together,
    `server_quantiles` for each server by itself. `seed` None draws one; the run records
    it either way. A send older than `drop_after_s` is dropped and counted, not sent in a
    burst. The warm-up is sent and recorded, and judged by nobody.
    """

    name: str
    rate_per_s: float
    duration_s: float
    warmup_s: float
    workloads: tuple[tuple[str, int], ...] = ((HEALTH, 1), (TOOLS_CALL, 1))
    seed: int | None = None
    quantiles: tuple[float, ...] = (0.5, 0.95)
    timeout_s: float = 5.0
    drop_after_s: float = 1.0
    senders_per_side: int = 48
    max_window_steal: float = 0.02
    max_lost_windows: float = 0.2
    min_windows: int = 8
    max_extension: float = 2.0
    shape: str = STEADY
    advisory: tuple[str, ...] = ()
    server_quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("rate_per_s", "duration_s", "timeout_s", "drop_after_s"):
            _positive(self.name, name, getattr(self, name))
        if not (math.isfinite(self.warmup_s) and self.warmup_s >= 0):
            raise LoadInputError(
                f"load profile {self.name}: warmup_s is {self.warmup_s}, it must be 0 or more"
            )
        if not 1 <= self.max_extension <= 2:  # noqa: PLR2004  the promise is "at most twice as long"
            raise LoadInputError(f"load profile {self.name}: max_extension must be from 1 to 2")
        if self.senders_per_side < 1:
            raise LoadInputError(f"load profile {self.name}: senders_per_side must be 1 or more")
        if not self.quantiles or not all(0 < q < 1 for q in (*self.quantiles, *self.server_quantiles)):
            raise LoadInputError(f"load profile {self.name}: quantiles must lie between 0 and 1")
        if self.shape not in SHAPES:
            raise LoadInputError(
                f"load profile {self.name}: shape {self.shape!r} is not one of {list(SHAPES)}"
            )
        self._check_workloads()

    def _check_workloads(self) -> None:
        names = [name for name, _ in self.workloads]
        unknown = sorted(set(names) - set(WORKLOADS))
        if unknown or not names or len(set(names)) != len(names):
            raise LoadInputError(
                f"load profile {self.name}: workloads are {names}; known are {list(WORKLOADS)}, each once"
            )
        if not all(isinstance(weight, int) and weight > 0 for _, weight in self.workloads):
            raise LoadInputError(f"load profile {self.name}: weights must be whole numbers above 0")
        if set(self.advisory) - set(names):
            raise LoadInputError(f"load profile {self.name}: advisory {list(self.advisory)} are not all sent")


def _positive(profile: str, name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise LoadInputError(f"load profile {profile}: {name} is {value}, it must be a number above 0")


SMOKE = LoadProfile(name="smoke", rate_per_s=160.0, duration_s=60.0, warmup_s=8.0)

# Every kind of request, so that a kind that only one side is slow or wrong at is seen; the
# verdict hangs on the two that smoke judges, by p99 and by each server's p50 besides.
_EVERY = (
    (HEALTH, 3),
    (TOOLS_CALL, 3),
    (TOOLS_LIST, 1),
    (READ, 1),
    (WRITE, 1),
    (SLOW, 1),
    (STREAM, 1),
    (SESSION, 1),
    (EMBED, 3),
)
_SHOWN = tuple(name for name, _ in _EVERY if name not in (HEALTH, TOOLS_CALL))
NIGHTLY = LoadProfile(
    name="nightly",
    rate_per_s=160.0,
    duration_s=900.0,
    warmup_s=20.0,
    workloads=_EVERY,
    quantiles=(0.5, 0.95, 0.99),
    server_quantiles=(0.5,),
    advisory=_SHOWN,
)
CUTOVER = LoadProfile(
    name="cutover",
    rate_per_s=160.0,
    duration_s=1800.0,
    warmup_s=30.0,
    workloads=_EVERY,
    quantiles=(0.5, 0.95, 0.99),
    server_quantiles=(0.5,),
    advisory=_SHOWN,
)
RAMP_PROFILE = LoadProfile("ramp", 320.0, 180.0, 8.0, shape=RAMP, max_extension=1.0)
SPIKE_PROFILE = LoadProfile("spike", 480.0, 120.0, 8.0, shape=SPIKE, max_extension=1.0)
SOAK_PROFILE = LoadProfile("soak", 100.0, 4 * 3600.0, 30.0, workloads=_EVERY, shape=SOAK, advisory=_SHOWN)
PROFILES = {
    profile.name: profile for profile in (SMOKE, NIGHTLY, CUTOVER, RAMP_PROFILE, SPIKE_PROFILE, SOAK_PROFILE)
}


def profile_named(name: str) -> LoadProfile:
    """Return a profile by its name; an unknown name is an input error that says the known ones."""
    if name not in PROFILES:
        raise LoadInputError(f"load profile {name!r} is not known; known are {', '.join(PROFILES)}")
    return PROFILES[name]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool and the arguments it is called with."""

    tool: str
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """One MCP server as both sides offer it, and the tools that load calls on it.

    The URLs are `http://address:port`, entered by equal hops on both sides. `tool` is what
    tools/call calls; `calls` names a tool for each other workload, and a server is not
    visited by one that it names none for. `weights` replaces the profile's weights, by
    workload; 0 leaves one out. `stream_path` is where an answer comes as an event stream.
    """

    name: str
    swarm_url: str
    kubernetes_url: str
    tool: str = "describe"
    arguments: Mapping[str, object] = field(default_factory=dict)
    health_path: str = "/health"
    mcp_path: str = "/mcp"
    calls: Mapping[str, ToolCall] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    stream_path: str = "/mcp/stream"

    def __post_init__(self) -> None:
        unknown = sorted({*self.calls, *self.weights} - set(WORKLOADS))
        if unknown:
            raise LoadInputError(
                f"load: {self.name}: {unknown} are no workloads; known are {list(WORKLOADS)}"
            )
        if not all(isinstance(weight, int) and weight >= 0 for weight in self.weights.values()):
            raise LoadInputError(f"load: {self.name}: weights must be whole numbers, 0 or more")

    def url(self, side: str) -> str:
        """Return the base URL of this server on `side`."""
        return self.swarm_url if side == "swarm" else self.kubernetes_url

    def call(self, workload: str) -> ToolCall | None:
        """Return the tool of a workload, or None where this server has none for it."""
        if workload == TOOLS_CALL and workload not in self.calls:
            return ToolCall(self.tool, self.arguments)
        return self.calls.get(workload)

    def weight(self, workload: str, usual: int) -> int:
        """Return how often a round visits this server with a workload whose usual weight is given."""
        if workload in CALL_WORKLOADS and self.call(workload) is None:
            return 0
        return self.weights.get(workload, usual)


@dataclass(frozen=True, slots=True)
class LoadTargets:
    """The servers to load, and which addresses besides loopback may be loaded at all.

    `allowed` holds addresses, networks (`172.30.0.0/24`) or exact host names: those of
    the lab, of the inventory, or of a host that a person allowed by name.
    """

    servers: tuple[Server, ...]
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [server.name for server in self.servers]
        if not names:
            raise LoadInputError("load: no server to send to")
        if len(set(names)) != len(names):
            raise LoadInputError(f"load: a server is named twice: {sorted(names)}")
