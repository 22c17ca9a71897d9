"""The generator watching itself while it runs: its own CPU, stolen time, and how late it sends.

A flag is raised within a second of its cause and says that what was measured then may be
the generator's doing. It is no verdict: whoever judges the run decides what it is worth.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.host import cpu_share, read_tick, steal_share

if TYPE_CHECKING:
    from loadtests.host import Tick

CPU, STEAL, LAG, DROPPED = "cpu", "steal", "lag", "dropped"
EVERY_S = 0.25
_CPU_OVER_NS = 500_000_000
_STEAL_OVER_NS = 1_000_000_000
_KEPT_TICKS = 8
_LEAST_STOLEN_JIFFIES = 3
_LATE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a reading is flagged: CPU of one core, stolen share, and p99 of send lag."""

    cpu: float = 0.9
    steal: float = 0.02
    lag_ns: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look found. `cpu` and `steal` are shares (0..1) of the last half and whole second.

    `late_share` is the share of sends since the last look that were over the lag limit: over
    1 % of them is a p99 over the limit.
    """

    at_ns: int
    cpu: float
    steal: float
    late_share: float
    flags: tuple[str, ...]


class Watch:
    """Takes a look every EVERY_S; `sends`, `over` and `dropped` are counted by the loop between looks."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.sends = 0
        self.over = 0
        self.dropped = 0
        self._ticks: deque[Tick] = deque(maxlen=_KEPT_TICKS)

    def drop(self) -> None:
        """Count a send that was not made: it is over every limit."""
        self.dropped += 1
        self.sends += 1
        self.over += 1

    def look(self, tick: Tick | None = None) -> Reading:
        """Read the counters now and say what is over its limit; starts counting sends anew."""
        tick = tick or read_tick()
        self._ticks.append(tick)
        cpu = cpu_share(self._ticks, max(tick.at_ns - _CPU_OVER_NS, self._ticks[0].at_ns), tick.at_ns)
        since_ns = max(tick.at_ns - _STEAL_OVER_NS, self._ticks[0].at_ns)
        steal = steal_share(self._ticks, since_ns, tick.at_ns)
        stolen = tick.steal_jiffies - self._ticks[0].steal_jiffies
        late_share = self.over / self.sends if self.sends else 0.0
        found = (
            (CPU, cpu > self.limits.cpu),
            (STEAL, steal > self.limits.steal and stolen >= _LEAST_STOLEN_JIFFIES),
            (LAG, late_share > _LATE_SHARE),
            (DROPPED, self.dropped > 0),
        )
        self.sends = self.over = self.dropped = 0
        return Reading(tick.at_ns, cpu, steal, late_share, tuple(name for name, raised in found if raised))
