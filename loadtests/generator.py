"""The open-loop generator inside Locust: one lane per side, senders that take turns waiting.

In each lane one idle sender holds the baton and waits for the next planned slot; it
hands the baton on as it sends, so a slow answer holds up nobody. Lanes share nothing
but the schedule, so a slow side does not delay the other side's sends. Judging and
recording an answer waits for a moment in which no send is due.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event
from gevent.lock import Semaphore

from loadtests.answer import judge
from loadtests.client import Client, Exchange
from loadtests.host import steal_share
from loadtests.keepalive import KeepAliveClient
from loadtests.profile import SIDES
from loadtests.record import FINISHED, STOPPED, RunLog
from loadtests.sample import RETRIED, WARMUP, ErrorKind, Sample
from loadtests.schedule import Course, Slot
from loadtests.timer import PlannedTimer
from loadtests.windows import cut

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loadtests.plan import LoadPlan

_TICK_S = 0.5
_LEAD_NS = 200_000_000
_QUIET_NS = 800_000
_MOST_WAITING = 500


class Lane:
    """The senders of one side."""

    def __init__(self, plan: LoadPlan, side: int, course: Course, client: Client) -> None:
        self.side = side
        self.start_ns = 0
        self.due_ns = 0
        self.in_flight = 0
        self.finished = False
        self.timer = PlannedTimer()
        self._client = client
        self._drop_ns = round(plan.profile.drop_after_s * 1e9)
        self._slots = course.slots(side)
        self._baton = Semaphore()

    def send_next(self) -> tuple[Slot, Exchange] | None:
        """Wait for the next slot, send it, return what came back; None when the course is over."""
        with self._baton:
            slot = next(self._slots, None)
            if slot is None:
                self.finished = True
                return None
            self.due_ns = self.start_ns + slot.offset_ns
            self.timer.wait_until(self.due_ns)
            self.in_flight += 1
        try:
            now_ns = time.monotonic_ns()
            if now_ns - self.start_ns - slot.offset_ns > self._drop_ns:
                dropped = Exchange(0, now_ns, error=ErrorKind.DROPPED, detail="all senders were busy")
                return slot, dropped
            return slot, self._client.send(slot)
        finally:
            self.in_flight -= 1

    def close(self) -> None:
        """Close the connections and the timer."""
        self._client.close()
        self.timer.close()


class Generator:
    """Both lanes of one load run, and its log.

    `report` is told each sample; it is what writes it into the log, through Locust's event.
    """

    def __init__(self, plan: LoadPlan, folder: Path, report: Callable[[Sample], None]) -> None:
        self.plan = plan
        self.log = RunLog(folder)
        self.log.rounds = plan.measured_rounds
        self.course = Course(plan, self._extend)
        self.lanes = tuple(
            Lane(plan, side, self.course, KeepAliveClient(plan, side)) for side in range(len(SIDES))
        )
        self._report = report
        self._waiting: deque[tuple[int, Slot, Exchange]] = deque()
        self._open = Event()
        self._ticker: gevent.Greenlet | None = None

    def start(self) -> None:
        """Set the first planned time a moment ahead and let the senders go."""
        start_ns = time.monotonic_ns() + _LEAD_NS
        for lane in self.lanes:
            lane.start_ns = start_ns
        self.log.start(start_ns, exact_timer=all(lane.timer.exact for lane in self.lanes))
        self._ticker = gevent.spawn(self._tick)
        self._open.set()

    def run_sender(self, side: int) -> None:
        """Send planned requests of one side until there are none left."""
        self._open.wait()
        while (sent := self.lanes[side].send_next()) is not None:
            self._waiting.append((side, *sent))
            while self._waiting and (self._quiet() or len(self._waiting) > _MOST_WAITING):
                self._settle(*self._waiting.popleft())

    @property
    def finished(self) -> bool:
        """Whether every planned request was answered, timed out or dropped."""
        return all(lane.finished and not lane.in_flight for lane in self.lanes)

    def close(self) -> None:
        """End the log, saying whether the course was run to its end."""
        if self._ticker is not None:
            self._ticker.kill()
            self._ticker = None
        while self._waiting:
            self._settle(*self._waiting.popleft())
        self.log.close(FINISHED if self.finished else STOPPED)
        for lane in self.lanes:
            lane.close()

    def _quiet(self) -> bool:
        """Whether no send is due for a moment; a lane that is behind is no reason to wait."""
        now_ns = time.monotonic_ns()
        return not any(0 <= lane.due_ns - now_ns < _QUIET_NS for lane in self.lanes)

    def _settle(self, side: int, slot: Slot, exchange: Exchange) -> None:
        """Judge one answer and record it."""
        workload = self.plan.profile.workloads[slot.workload][0]
        error, detail = judge(exchange, workload, slot.call_id)
        sample = Sample(
            planned_ns=self.lanes[side].start_ns + slot.offset_ns,
            sent_ns=exchange.sent_ns,
            done_ns=exchange.done_ns,
            pair=slot.pair,
            size_bytes=len(exchange.body),
            server=slot.server,
            status=exchange.status,
            workload=slot.workload,
            side=side,
            error=error,
            flags=(WARMUP if slot.warmup else 0) | (RETRIED if exchange.retried else 0),
        )
        if error is not ErrorKind.NONE:
            self.log.first_error(SIDES[side], self.plan.servers[slot.server].name, error, detail)
        self._report(sample)

    def _tick(self) -> None:
        while True:
            gevent.sleep(_TICK_S)
            if not self._quiet():
                gevent.sleep(_QUIET_NS / 1e9)
            self.log.tick()

    def _extend(self, rounds: int) -> int:
        """Return how many rounds to add: a largest window's while too few windows can be used."""
        self.log.tick()
        more = extra_rounds(self.plan, rounds, self._window_steal)
        self.log.rounds = min(rounds + more, self.plan.most_rounds)
        return more

    def _window_steal(self, first: int, end: int) -> float:
        start_ns = self.lanes[0].start_ns + self.plan.warmup_rounds * self.plan.round_ns
        return steal_share(
            self.log.ticks, start_ns + first * self.plan.round_ns, start_ns + end * self.plan.round_ns
        )


def extra_rounds(plan: LoadPlan, rounds: int, steal: Callable[[int, int], float]) -> int:
    """Return how many rounds would help a run that lost too many windows to the hypervisor.

    A run that was planned too short for its windows is not made longer for that.
    """
    needs = plan.window_rounds()
    profile = plan.profile
    for need in set(needs.values()):
        windows = cut(rounds, need)
        lost = sum(steal(first, end) > profile.max_window_steal for first, end in windows)
        too_many = lost > profile.max_lost_windows * len(windows)
        too_few_left = len(windows) - lost < min(profile.min_windows, plan.measured_rounds // need)
        if lost and (too_many or too_few_left):
            return max(needs.values())
    return 0
