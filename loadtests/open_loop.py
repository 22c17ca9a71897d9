"""The open loop: every request at its planned time, however slow the answers are.

One thread, one epoll, one timerfd. The last moments before a send are spent looking for
answers, because an idle CPU takes tens of microseconds to wake. Judging answers, writing the
log and looking at itself wait for a moment in which no send is due, within bounds.

A send waits while its side has `senders_per_side` requests under way, and counts as late; one
that is older than `drop_after_s` is dropped and counted. Latency counts from the planned time.
"""

from __future__ import annotations

import heapq
import os
import select
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING

from loadtests.endpoint import make_endpoints, resolve_all
from loadtests.extension import extra_rounds
from loadtests.host import read_tick, steal_share
from loadtests.mcp_session import introduce_all
from loadtests.outcome import LoopEnd, Progress, loop_end, no_collection
from loadtests.profile import SESSION, SIDES
from loadtests.record import FINISHED, STOPPED, RunLog
from loadtests.sample import WARMUP
from loadtests.schedule import Course
from loadtests.timer import TimerFd
from loadtests.watch import EVERY_S, Limits, Watch
from loadtests.wire import Wire
from loadtests.workloads import is_rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from loadtests.endpoint import Endpoint
    from loadtests.plan import LoadPlan
    from loadtests.profile import LoadTargets
    from loadtests.schedule import Slot

_LEAD_NS = 200_000_000
_AWAKE_SHARE = 0.06
_MOST_AWAKE_NS = 400_000
_LEAST_AWAKE_NS = 15_000
_LEAST_QUIET_NS = 150_000
_MOST_QUIET_NS = 1_500_000
_QUIET_SHARE = 0.25
_HOUSEKEEPING_NS = 10_000_000
_OVERDUE_NS = 100_000_000
_MOST_UNJUDGED = 500
_BURST = 32
_IDLE_WAIT_S = 0.01
_AHEAD_SLOTS = 100_000
_LEAST_AHEAD_SLOTS = 2_000
_WARM_CONNECTIONS = 2
_HANDSHAKE_S = 3.0


class OpenLoop(Wire):
    """One run of a plan; `run` blocks until its end, `stop` may be called from anywhere.

    `start_at_ns` may be set before `run`, to the moment (CLOCK_MONOTONIC) of the first planned
    time: processes that share a schedule begin together. A moment that has passed makes sends late.
    """

    def __init__(
        self,
        plan: LoadPlan,
        endpoints: list[Endpoint],
        log: RunLog,
        *,
        limits: Limits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.plan = plan
        profile = plan.profile
        super().__init__(
            endpoints, [name for name, _ in profile.workloads], log, Watch(limits), profile.timeout_s
        )
        self.flags: dict[str, int] = {}
        self.start_at_ns = 0
        self._on_progress = on_progress
        self._servers = len(plan.servers)
        self._room = [profile.senders_per_side for _ in SIDES]
        self._waiting: list[deque[Slot]] = [deque() for _ in SIDES]
        self._drop_ns = round(profile.drop_after_s * 1e9)
        self._rounds = plan.measured_rounds
        self._slots: deque[Slot] = deque()
        self._source = self._merged()
        self._made = 0
        self._exhausted = False
        self._draining = False
        self._fill(_AHEAD_SLOTS)
        self._timer = TimerFd()
        self._epoll.register(self._timer.fd, select.EPOLLIN | select.EPOLLET)
        self._armed_ns = 0
        self._awake_ns = awake_ns(plan.slot_ns)
        self._quiet_ns = quiet_ns(plan.slot_ns)
        self._start_ns = 0
        self._kept_ns = 0
        self._looked_ns = 0
        self._stopped = False

    @property
    def finished(self) -> bool:
        """Whether every planned request was answered, timed out or dropped, and judged."""
        under_way = self._slots or self.busy or any(self._waiting) or self.unjudged
        return self._exhausted and not under_way

    def stop(self) -> None:
        """End at the next moment; what is under way is not recorded."""
        self._stopped = True

    def run(self) -> None:
        """Send the whole schedule; then the log is whole but not closed."""
        self.preconnect(_WARM_CONNECTIONS)
        with no_collection():
            self._start_ns = self.start_at_ns or monotonic_ns() + _LEAD_NS
            self.log.rounds = self._rounds
            self.log.start(self._start_ns, exact_timer=True)
            while not self._stopped and not self.finished:
                self._turn()
        self._look(read=True)

    def freed(self, endpoint: Endpoint) -> None:
        """Give the room of a finished request to the one that has waited longest."""
        side = endpoint.side
        self._room[side] += 1
        waiting = self._waiting[side]
        if self._draining:
            return  # a send that failed at once; the loop below goes on with the next
        self._draining = True
        while waiting and self._room[side] > 0:
            self._send(waiting.popleft())
        self._draining = False

    def close(self) -> None:
        """Close the connections and the timer."""
        self._timer.close()
        super().close()

    def _turn(self) -> None:
        """Send what is due, deal with answers, and wait for whatever comes next."""
        slots = self._slots
        if not slots and not self._exhausted:
            self._fill(_BURST)
        now_ns = monotonic_ns()
        gap_ns = self._due_ns() - now_ns
        burst = _BURST
        while gap_ns <= 0 and slots and burst:
            burst -= 1
            slot = slots.popleft()
            side = slot.side
            if self._waiting[side] or self._room[side] <= 0:
                self._waiting[side].append(slot)
            else:
                self._send(slot)
            now_ns = monotonic_ns()
            gap_ns = self._due_ns() - now_ns
        quiet = gap_ns > self._quiet_ns
        if self.unjudged and (quiet or len(self.unjudged) > _MOST_UNJUDGED):
            self.judge_one()
            self.pump(0)
        elif now_ns - self._kept_ns > (_HOUSEKEEPING_NS if quiet else _OVERDUE_NS):
            self._keep_house(now_ns, quiet=quiet)
        elif gap_ns > self._awake_ns:
            self._sleep(now_ns + gap_ns - self._awake_ns)
        else:
            self.pump(0)

    def _due_ns(self) -> int:
        """Return when the next send is due; far away when there is none."""
        if self._slots:
            return self._start_ns + self._slots[0].offset_ns
        return monotonic_ns() + _HOUSEKEEPING_NS

    def _sleep(self, until_ns: int) -> None:
        """Wait for an answer, at most until the moment given, or to the next housekeeping."""
        if self._slots and until_ns != self._armed_ns:
            self._armed_ns = until_ns
            self._timer.arm(until_ns)
        self.pump(_IDLE_WAIT_S)

    def _send(self, slot: Slot) -> None:
        """Send a slot, or drop it when it is too old."""
        planned_ns = self._start_ns + slot.offset_ns
        flags = WARMUP if slot.warmup else 0
        if monotonic_ns() - planned_ns > self._drop_ns:
            self.drop(slot, planned_ns, flags)
            return
        self._room[slot.side] -= 1
        self.start(
            self.endpoints[slot.side * self._servers + slot.server], slot, planned_ns, slot.pair, flags
        )

    def _keep_house(self, now_ns: int, *, quiet: bool) -> None:
        """Time out and drop what is too old, refill the schedule, and look at ourselves."""
        self._kept_ns = now_ns
        self.time_out(now_ns)
        for waiting in self._waiting:
            while waiting and now_ns - self._start_ns - waiting[0].offset_ns > self._drop_ns:
                self._send(waiting.popleft())
        if len(self._slots) < (_AHEAD_SLOTS if quiet else _LEAST_AHEAD_SLOTS):
            self._fill(len(self._slots) + _BURST)
        if now_ns - self._looked_ns > EVERY_S * 1e9:
            self._looked_ns = now_ns
            self._look()

    def _look(self, *, read: bool = False) -> None:
        """Note what the generator did; `read` makes it look even where a tick was just taken."""
        tick = read_tick()
        reading = self.watch.look(tick)
        for flag in reading.flags:
            self.flags[flag] = self.flags.get(flag, 0) + 1
        self.rows.flush()
        self.log.tick(
            tick,
            flags=list(reading.flags),
            cpu=round(reading.cpu, 4),
            steal=round(reading.steal, 4),
            over=round(reading.late_share, 4),
        )
        if self.plan.parent_pid is not None and os.getppid() != self.plan.parent_pid:
            self._stopped = not read
        if self._on_progress is not None:
            totals = self.log.totals
            self._on_progress(
                Progress(
                    elapsed_s=(tick.at_ns - self._start_ns) / 1e9,
                    planned_s=self.plan.round_start_ns(self.plan.warmup_rounds + self._rounds) / 1e9,
                    sent=dict(totals.sent),
                    errors=dict(totals.errors),
                    late=totals.late,
                    dropped=totals.dropped,
                    reading=reading,
                )
            )

    def _merged(self) -> Iterator[Slot]:
        """Yield the slots of both sides in order of time, with the rounds that are added at the end."""
        course = Course(self.plan, self._extend)
        sides = (course.slots(side) for side in range(len(SIDES)))
        return heapq.merge(*sides, key=lambda slot: slot.offset_ns)

    def _fill(self, wanted: int) -> None:
        """Have `wanted` slots ready; making one costs some microseconds.

        The last one is only made when all others were sent: asking for it asks how many windows
        were lost, and whether the schedule goes on.
        """
        slots = self._slots
        while len(slots) < wanted and (self._made < self._planned() - 1 or not slots):
            slot = next(self._source, None)
            if slot is None:
                self._exhausted = True
                return
            self._made += 1
            slots.append(slot)

    def _planned(self) -> int:
        """Return how many sends this process has planned by now."""
        pairs = (self.plan.warmup_rounds + self._rounds) * self.plan.pairs_per_round
        return 2 * len(range(self.plan.part, pairs, self.plan.parts))

    def _extend(self, rounds: int) -> int:
        """Return how many rounds to add, when the schedule ends and windows were lost to steal."""
        self.log.tick()
        more = extra_rounds(self.plan, rounds, self._window_steal)
        self._rounds = self.log.rounds = min(rounds + more, self.plan.most_rounds)
        return more

    def _window_steal(self, first: int, end: int) -> float:
        plan = self.plan
        edges = (self._start_ns + plan.round_start_ns(plan.warmup_rounds + number) for number in (first, end))
        return steal_share(self.log.ticks, *edges)


def quiet_ns(slot_ns: float) -> int:
    """Return how far away the next send has to be for other work to begin.

    Judging a long answer, or writing the log, may take a millisecond where caches are cold: time
    that there is plenty of at low rates, and little at high ones.
    """
    return min(max(round(slot_ns * _QUIET_SHARE), _LEAST_QUIET_NS), _MOST_QUIET_NS)


def awake_ns(slot_ns: int) -> int:
    """Return how long before a send the loop stays awake: a share of the time between sends.

    It buys exact sends with CPU time, so it is bounded by both; where sends follow each other
    closely the CPU does not fall asleep, and nothing is spent.
    """
    wanted = min(_MOST_AWAKE_NS, int(_AWAKE_SHARE * slot_ns))
    return wanted if wanted >= _LEAST_AWAKE_NS else 0


def run_open_loop(
    plan: LoadPlan,
    targets: LoadTargets,
    folder: Path,
    *,
    ca_file: Path | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_start: Callable[[OpenLoop], None] | None = None,
) -> LoopEnd:
    """Run a plan to its end in this thread and leave its log in `folder`.

    Refuses addresses outside loopback and `targets.allowed` (LoadRefused) and a plan whose
    servers are not those of `targets` (LoadInputError) before any packet, name look-ups too.
    `on_progress` is called four times a second between sends and must be quick; `on_start`
    gets the loop, whose `stop` may be called from a signal handler or another thread.
    """
    from loadtests.addresses import check_addresses
    from loadtests.errors import LoadInputError

    if plan.servers != targets.servers:
        raise LoadInputError("load: the plan's servers are not the targets that were checked")
    check_addresses(targets)
    workloads = [name for name, _ in plan.profile.workloads]
    endpoints = make_endpoints(plan.servers, workloads, ca_file)
    resolve_all(endpoints)
    notes = [endpoint.unresolved for endpoint in endpoints if endpoint.unresolved]
    if any(is_rpc(name) and name != SESSION for name in workloads):
        reachable = [endpoint for endpoint in endpoints if endpoint.address]
        notes += introduce_all(reachable, min(plan.profile.timeout_s, _HANDSHAKE_S))
    log = RunLog(folder)
    loop = OpenLoop(plan, endpoints, log, limits=limits, on_progress=on_progress)
    complete = False
    try:
        if on_start is not None:
            on_start(loop)
        loop.run()
        complete = loop.finished
    finally:
        loop.rows.flush()
        log.close(FINISHED if complete else STOPPED)
        loop.close()
    return loop_end(loop, complete=complete, flags=loop.flags, notes=notes)
