"""When each request is sent: pairs of slots on the grid of the shape, with jitter and a drawn side order.

A pair is the same server and workload on both sides, one slot after the other. Which
side goes first is drawn, equally often each way within a round. Every lane makes the
same draws from the same seed, so lanes need not talk to each other.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from loadtests.plan import LoadPlan

_JITTER_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Slot:
    """One planned send; `offset_ns` counts from the start of the warm-up."""

    pair: int
    side: int
    server: int
    workload: int
    offset_ns: int
    warmup: bool

    @property
    def call_id(self) -> int:
        """The JSON-RPC id that the answer must repeat."""
        return self.pair + 1


def visits_of(plan: LoadPlan) -> list[tuple[int, int]]:
    """Return which (server, workload) a round visits: each as often as its weight says."""
    return [
        (server, workload)
        for server in range(len(plan.servers))
        for workload in range(len(plan.profile.workloads))
        for _ in range(plan.weight(server, workload))
    ]


def round_slots(
    plan: LoadPlan, number: int, draw: random.Random, visits: Sequence[tuple[int, int]]
) -> list[Slot]:
    """Return the slots of round `number` in order of time; `draw` advances by one round."""
    visits = list(visits)
    draw.shuffle(visits)
    first = [pair % 2 for pair in range(len(visits))]
    if len(first) % 2:
        first[-1] = draw.randrange(2)
    draw.shuffle(first)
    slots = []
    warmup = number < plan.warmup_rounds
    offset_of = plan.offsets()
    for place, (server, workload) in enumerate(visits):
        pair = number * len(visits) + place
        for turn in (0, 1):
            offset = offset_of(2 * pair + turn, draw.random() * _JITTER_SHARE)
            slots.append(Slot(pair, first[place] ^ turn, server, workload, offset, warmup))
    return slots


class Course:
    """How far the schedule runs: the planned rounds, then those that `extend` adds.

    `extend` is asked once each time the end is reached, with the judged rounds so far, and
    returns how many more to send; 0 ends the course. It is bounded by `plan.most_rounds`.
    """

    def __init__(self, plan: LoadPlan, extend: Callable[[int], int]) -> None:
        self.plan = plan
        self.rounds = plan.measured_rounds
        self._extend = extend
        self._closed = False

    def slots(self, side: int) -> Iterator[Slot]:
        """Yield the slots of one side in order of time."""
        plan = self.plan
        visits = visits_of(plan)
        draw = random.Random(plan.seed)  # noqa: S311  a schedule, not a secret
        number = 0
        while self._wants(number):
            for slot in round_slots(plan, number, draw, visits):
                if slot.side == side and slot.pair % plan.parts == plan.part:
                    yield slot
            number += 1

    def _wants(self, number: int) -> bool:
        judged = number - self.plan.warmup_rounds
        if judged >= self.rounds and not self._closed:
            more = min(self._extend(self.rounds), self.plan.most_rounds - self.rounds)
            self.rounds += max(0, more)
            self._closed = more <= 0
        return judged < self.rounds
