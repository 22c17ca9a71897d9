"""The plan of one load run: what the generator process reads, and what explains its log later.

Row indexes of the log (`server`, `workload`, `side`) point into this file's lists, so a
run folder can be summarised with no profile, no code of that time and no target.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from loadtests.errors import LoadInputError
from loadtests.profile import LoadProfile, LoadTargets, Server
from loadtests.windows import rounds_needed

if TYPE_CHECKING:
    from pathlib import Path

PLAN_FILE = "plan.json"
SAMPLES_FILE = "requests.bin"
TICKS_FILE = "generator.jsonl"
LOG_FILE = "locust.log"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A profile with its seed drawn, the servers, and the CPUs that the generator is pinned to."""

    profile: LoadProfile
    servers: tuple[Server, ...]
    seed: int
    cpus: str | None = None
    parent_pid: int | None = None

    @property
    def pairs_per_round(self) -> int:
        """How many pairs a round holds: every server once per unit of weight."""
        return len(self.servers) * sum(weight for _, weight in self.profile.workloads)

    @property
    def slot_ns(self) -> int:
        """The time between two planned sends."""
        return round(1e9 / self.profile.rate_per_s)

    @property
    def round_ns(self) -> int:
        """How long a round lasts."""
        return 2 * self.pairs_per_round * self.slot_ns

    @property
    def warmup_rounds(self) -> int:
        """How many rounds are sent and recorded, but not judged."""
        return math.ceil(self.profile.warmup_s * 1e9 / self.round_ns)

    @property
    def measured_rounds(self) -> int:
        """How many rounds are judged when nothing is extended; at least one."""
        return max(1, round(self.profile.duration_s * 1e9 / self.round_ns))

    @property
    def most_rounds(self) -> int:
        """How many judged rounds there may be after extension."""
        return max(1, math.floor(self.measured_rounds * self.profile.max_extension))

    def window_rounds(self) -> dict[tuple[str, float], int]:
        """Return how many rounds a window of each workload and quantile needs."""
        return {
            (name, quantile): rounds_needed(quantile, len(self.servers) * weight)
            for name, weight in self.profile.workloads
            for quantile in self.profile.quantiles
        }

    def save(self, folder: Path) -> None:
        """Write the plan into the load folder."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)
        (folder / PLAN_FILE).write_text(text + "\n", encoding="utf-8")


def load_plan(folder: Path) -> LoadPlan:
    """Read the plan of a load folder."""
    path = folder / PLAN_FILE
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != _FORMAT:
            raise LoadInputError(f"{path}: format {raw['format']} is not known, this version reads {_FORMAT}")
        profile = dict(raw["profile"])
        profile["workloads"] = tuple((str(name), int(weight)) for name, weight in profile["workloads"])
        profile["quantiles"] = tuple(float(q) for q in profile["quantiles"])
        servers = tuple(Server(**server) for server in raw["servers"])
        return LoadPlan(LoadProfile(**profile), servers, raw["seed"], raw["cpus"], raw["parent_pid"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadInputError(f"{path}: not a load plan: {error!r}") from error


def make_plan(
    profile: LoadProfile, targets: LoadTargets, *, cpus: str | None = None, parent_pid: int | None = None
) -> LoadPlan:
    """Return the plan of a run; a profile without a seed gets one drawn here."""
    import secrets

    seed = profile.seed if profile.seed is not None else secrets.randbits(32)
    return LoadPlan(profile, targets.servers, seed, cpus, parent_pid)
