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

if TYPE_CHECKING:
    from collections.abc import Mapping

SIDES = ("swarm", "kubernetes")
HEALTH = "health"
TOOLS_CALL = "tools/call"
WORKLOADS = (HEALTH, TOOLS_CALL)


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """How much load, for how long, and when a window or a send counts as lost.

    `rate_per_s` is the total over both sides and all workloads. `workloads` are
    (name, whole weight) pairs. `seed` None draws one; the run records it either way.
    A send older than `drop_after_s` is dropped and counted, not sent in a burst.
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
        if not self.quantiles or not all(0 < q < 1 for q in self.quantiles):
            raise LoadInputError(f"load profile {self.name}: quantiles must lie between 0 and 1")
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


def _positive(profile: str, name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise LoadInputError(f"load profile {profile}: {name} is {value}, it must be a number above 0")


SMOKE = LoadProfile(name="smoke", rate_per_s=160.0, duration_s=60.0, warmup_s=8.0)


@dataclass(frozen=True, slots=True)
class Server:
    """One MCP server as both sides offer it, and the tool that load calls on it.

    The URLs are `http://address:port`, entered by equal hops on both sides.
    """

    name: str
    swarm_url: str
    kubernetes_url: str
    tool: str = "describe"
    arguments: Mapping[str, object] = field(default_factory=dict)
    health_path: str = "/health"
    mcp_path: str = "/mcp"

    def url(self, side: str) -> str:
        """Return the base URL of this server on `side`."""
        return self.swarm_url if side == "swarm" else self.kubernetes_url


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
