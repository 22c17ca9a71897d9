"""The plan of one load run: what the generator process reads, and what explains its log later.

Row indexes of the log (`server`, `workload`, `side`) point into this file's lists, so a
run folder can be summarised with no profile, no code of that time and no target.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from loadtests.errors import LoadInputError
from loadtests.profile import LoadProfile, LoadTargets, Server, ToolCall
from loadtests.shape import first_factor, is_flat, mean_factor, time_of
from loadtests.windows import rounds_needed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLAN_FILE = "plan.json"
SAMPLES_FILE = "requests.bin"
TICKS_FILE = "generator.jsonl"
LOG_FILE = "locust.log"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A profile with its seed drawn, the servers, and the CPUs that the generator is pinned to.

    Of `parts` generator processes, this one (`part`, from 0) sends every so many'th pair:
    both slots of a pair come from one process, and the schedule is that of one.
    """

    profile: LoadProfile
    servers: tuple[Server, ...]
    seed: int
    cpus: str | None = None
    parent_pid: int | None = None
    part: int = 0
    parts: int = 1
    allowed: tuple[str, ...] = ()

    def weight(self, server: int, workload: int) -> int:
        """Return how often a round visits a server with a workload; both are indexes of the plan."""
        name, usual = self.profile.workloads[workload]
        return self.servers[server].weight(name, usual)

    def pairs_of(self, workload: int) -> int:
        """Return how many pairs of a round are of one workload, over all servers."""
        return sum(self.weight(server, workload) for server in range(len(self.servers)))

    @property
    def pairs_per_round(self) -> int:
        """How many pairs a round holds: every server once per unit of weight."""
        return sum(self.pairs_of(workload) for workload in range(len(self.profile.workloads)))

    @property
    def slot_ns(self) -> int:
        """The time between two planned sends at the full rate."""
        return round(1e9 / self.profile.rate_per_s)

    @property
    def round_ns(self) -> int:
        """How long a round lasts at the full rate."""
        return 2 * self.pairs_per_round * self.slot_ns

    @property
    def flat(self) -> bool:
        """Whether the rate never changes."""
        return is_flat(self.profile.shape)

    @property
    def warmup_rounds(self) -> int:
        """How many rounds are sent and recorded, but not judged."""
        wanted = self.profile.warmup_s * first_factor(self.profile.shape)
        return math.ceil(wanted * 1e9 / self.round_ns)

    @property
    def measured_rounds(self) -> int:
        """How many rounds are judged when nothing is extended; at least one."""
        wanted = self.profile.duration_s * mean_factor(self.profile.shape)
        return max(1, round(wanted * 1e9 / self.round_ns))

    @property
    def most_rounds(self) -> int:
        """How many judged rounds there may be after extension; a rate that changes has none."""
        extension = self.profile.max_extension if self.flat and self.parts == 1 else 1.0
        return max(1, math.floor(self.measured_rounds * extension))

    def offset_ns(self, place: int, share: float = 0.0) -> int:
        """Return when slot `place` begins, or has passed by `share`, from the start of the warm-up."""
        return self.offsets()(place, share)

    def offsets(self) -> Callable[[int, float], int]:
        """Return `offset_ns` for many calls: what is the same for all is worked out once."""
        slot_ns, profile = self.slot_ns, self.profile
        if self.flat:
            return lambda place, share: place * slot_ns + int(share * slot_ns)
        rate = 1e9 / slot_ns
        first_rate = rate * first_factor(profile.shape)
        warm = self.warmup_rounds * 2 * self.pairs_per_round

        def offset(place: int, share: float) -> int:
            sends = place + share
            if sends <= warm:
                return round(sends / first_rate * 1e9)
            measured_s = time_of(profile.shape, sends - warm, rate, profile.duration_s)
            return round(1e9 * (warm / first_rate + measured_s))

        return offset

    def round_start_ns(self, number: int) -> int:
        """Return when round `number` begins, from the start of the warm-up, whose first round is 0."""
        return self.offset_ns(number * 2 * self.pairs_per_round)

    def window_rounds(self) -> dict[tuple[str, float], int]:
        """Return how many rounds a window of each workload and quantile needs, all servers together."""
        return {
            (name, quantile): rounds_needed(quantile, self.pairs_of(index))
            for index, (name, _) in enumerate(self.profile.workloads)
            for quantile in self.profile.quantiles
        }

    def server_window_rounds(self) -> dict[tuple[str, str, float], int]:
        """Return the same for each server by itself: (server, workload, server quantile) to rounds."""
        return {
            (server.name, name, quantile): rounds_needed(quantile, self.weight(place, index))
            for place, server in enumerate(self.servers)
            for index, (name, _) in enumerate(self.profile.workloads)
            if self.weight(place, index) and name not in self.profile.advisory
            for quantile in self.profile.server_quantiles
        }

    def judged_needs(self) -> set[int]:
        """Return the lengths, in rounds, of the windows that a verdict hangs on."""
        pooled = {
            need for (name, _), need in self.window_rounds().items() if name not in self.profile.advisory
        }
        return (pooled | set(self.server_window_rounds().values())) or set(self.window_rounds().values())

    def part_of(self, part: int, parts: int) -> LoadPlan:
        """Return the plan of one of several processes that send this plan together."""
        return replace(self, part=part, parts=parts)

    def save(self, folder: Path) -> None:
        """Write the plan into the load folder."""
        (folder / PLAN_FILE).write_text(self.to_text(), encoding="utf-8")

    def to_text(self) -> str:
        """Return the plan as JSON, for a file or for another process."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1) + "\n"


def load_plan(folder: Path) -> LoadPlan:
    """Read the plan of a load folder."""
    path = folder / PLAN_FILE
    try:
        return plan_of(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError) as error:
        raise LoadInputError(f"{path}: not a load plan: {error!r}") from error


def plan_of(text: str, where: str) -> LoadPlan:
    """Return the plan that a text of JSON holds; `where` names it in the error."""
    try:
        raw: dict[str, Any] = json.loads(text)
        if raw["format"] != _FORMAT:
            raise LoadInputError(
                f"{where}: format {raw['format']} is not known, this version reads {_FORMAT}"
            )
        del raw["format"]
        profile = dict(raw["profile"])
        profile["workloads"] = tuple((str(name), int(weight)) for name, weight in profile["workloads"])
        for name in ("quantiles", "server_quantiles"):
            profile[name] = tuple(float(q) for q in profile.get(name, ()))
        raw["allowed"] = tuple(raw.get("allowed", ()))
        profile["advisory"] = tuple(profile.get("advisory", ()))
        servers = tuple(_server(server) for server in raw["servers"])
        return LoadPlan(**{**raw, "profile": LoadProfile(**profile), "servers": servers})
    except (ValueError, KeyError, TypeError) as error:
        raise LoadInputError(f"{where}: not a load plan: {error!r}") from error


def _server(raw: dict[str, Any]) -> Server:
    calls = {name: ToolCall(**call) for name, call in raw.get("calls", {}).items()}
    return Server(**{**raw, "calls": calls})


def make_plan(
    profile: LoadProfile, targets: LoadTargets, *, cpus: str | None = None, parent_pid: int | None = None
) -> LoadPlan:
    """Return the plan of a run; a profile without a seed gets one drawn here."""
    import secrets

    seed = profile.seed if profile.seed is not None else secrets.randbits(32)
    plan = LoadPlan(
        offered(profile, targets), targets.servers, seed, cpus, parent_pid, allowed=targets.allowed
    )
    if not plan.pairs_per_round:
        raise LoadInputError(f"load profile {profile.name}: the weights leave nothing to send")
    return plan


def offered(profile: LoadProfile, targets: LoadTargets) -> LoadProfile:
    """Return the profile without the workloads that no server offers: they would be empty for ever."""
    kept = tuple(
        (name, weight)
        for name, weight in profile.workloads
        if any(server.weight(name, weight) for server in targets.servers)
    )
    if not kept:
        raise LoadInputError(f"load profile {profile.name}: no server offers any of its workloads")
    names = {name for name, _ in kept}
    return replace(
        profile, workloads=kept, advisory=tuple(name for name in profile.advisory if name in names)
    )
