"""The closed loop: as fast as answers come, on a fixed number of connections.

It measures what the client itself can do, or what a server can at most. Its latencies say
nothing about users: a slow answer holds back the next request, and nobody is counted as
having waited for it.
"""

from __future__ import annotations

import time
from time import monotonic_ns
from typing import TYPE_CHECKING

from loadtests.endpoint import resolve_all
from loadtests.mcp_session import introduce_all
from loadtests.outcome import loop_end, no_collection
from loadtests.record import FINISHED, RunLog
from loadtests.schedule import Slot
from loadtests.watch import EVERY_S, Watch
from loadtests.wire import Wire
from loadtests.workloads import is_rpc

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.endpoint import Endpoint
    from loadtests.outcome import LoopEnd

_POLL_S = 0.05
_MOST_UNJUDGED = 64


class ClosedLoop(Wire):
    """One request after the other on each of `connections` connections, for `duration_s`."""

    def __init__(
        self, endpoint: Endpoint, workload: str, log: RunLog, *, connections: int, timeout_s: float
    ) -> None:
        super().__init__([endpoint, endpoint], [workload], log, Watch(), timeout_s)
        self._endpoint = endpoint
        self._wanted = connections
        self._slot = Slot(0, 0, endpoint.index, 0, 0, warmup=False)
        self._pair = 0
        self._due = 0
        self._sending = False

    def freed(self, endpoint: Endpoint) -> None:
        """Send the next request at once; a send that fails at once is made again in the next turn."""
        if not self._sending:
            self._due += 1
            return
        self._pair += 1
        self._sending = False
        self.start(endpoint, self._slot, monotonic_ns(), self._pair, 0)
        self._sending = True

    def run(self, duration_s: float) -> None:
        """Send for `duration_s` seconds and then wait for the answers that are under way."""
        start_ns = monotonic_ns()
        self.log.start(start_ns, exact_timer=True)
        end_ns = start_ns + round(duration_s * 1e9)
        next_look_ns = start_ns
        self._due = self._wanted
        while True:
            now_ns = monotonic_ns()
            self._sending = False
            if now_ns >= end_ns:
                break
            while self._due:
                self._due -= 1
                self._pair += 1
                self.start(self._endpoint, self._slot, monotonic_ns(), self._pair, 0)
                if self._due >= self._wanted:
                    break  # nothing can be sent; look at the clock again
            self._sending = True
            self.pump(_POLL_S)
            while len(self.unjudged) > _MOST_UNJUDGED:
                self.judge_one()
            if now_ns >= next_look_ns:
                next_look_ns = now_ns + round(EVERY_S * 1e9)
                self.time_out(now_ns)
                self.rows.flush()
                self.log.tick()
        last = time.monotonic() + self._timeout_ns / 1e9
        while self.busy and time.monotonic() < last:
            self.pump(_POLL_S)
        while self.unjudged:
            self.judge_one()
        self.rows.flush()


def run_closed_loop(
    endpoint: Endpoint,
    workload: str,
    folder: Path,
    *,
    connections: int = 32,
    duration_s: float = 5.0,
    timeout_s: float = 5.0,
) -> LoopEnd:
    """Send as fast as `connections` connections allow; the log lies in `folder` as a run's does.

    Whether the address may be loaded is for the caller to check (`addresses.check_addresses`).
    """
    resolve_all([endpoint])
    notes = introduce_all([endpoint]) if is_rpc(workload) else []
    log = RunLog(folder)
    loop = ClosedLoop(endpoint, workload, log, connections=connections, timeout_s=timeout_s)
    try:
        with no_collection():
            loop.run(duration_s)
    finally:
        log.close(FINISHED)
        loop.close()
    return loop_end(loop, complete=True, flags={}, notes=notes)
