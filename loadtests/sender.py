"""`python -m loadtests.sender FOLDER`: the process that sends; Locust starts it and reads its log.

It prints `ready` when its connections and its schedule are there, waits for one line
with the start (CLOCK_MONOTONIC in ns), and sends plan.json to its end or until SIGTERM.
The requests come from a process of their own so that Locust's statistics and web page
never hold up a send.

Exit codes: 0 the schedule was run to its end, 1 it was stopped, else those of `errors`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.errors import LoadError
from loadtests.open_loop import run_open_loop
from loadtests.plan import load_plan
from loadtests.priority import claim_cpu
from loadtests.profile import LoadTargets

if TYPE_CHECKING:
    from loadtests.open_loop import OpenLoop

READY = "ready"
_EARLY_NS = 300_000_000  # the loop opens its connections and looks around for so long before it sends
_STOPPED = 1


def main(folder: Path) -> int:
    """Send the plan in `folder`; the log goes there too."""
    try:
        plan = load_plan(folder)
        # The plan's addresses were checked by whoever made it, who knows what is allowed.
        targets = LoadTargets(plan.servers, allowed=plan.allowed)
        claim_cpu(plan.cpus)
        plan = replace(plan, parent_pid=os.getppid())
        end = run_open_loop(plan, targets, folder, on_start=_wait_for_start)
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr, flush=True)  # noqa: T201  Locust's log
        return error.exit_code
    for note in end.notes:
        print(f"load: {note}", file=sys.stderr, flush=True)  # noqa: T201
    return 0 if end.complete else _STOPPED


def _wait_for_start(loop: OpenLoop) -> None:
    """Say that all is ready, and return when the start is near; an end of input is no start."""
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    print(READY, flush=True)  # noqa: T201  the front waits for it
    line = sys.stdin.readline()
    if not line.strip().isdigit():
        loop.stop()
        return
    time.sleep(max(0.0, (int(line) - _EARLY_NS - time.monotonic_ns()) / 1e9))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
