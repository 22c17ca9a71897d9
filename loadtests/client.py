"""`python -m loadtests.client FOLDER`: the process that sends a plan, without Locust or gevent.

It reads FOLDER/plan.json, prints `ready` when its connections and its schedule are there,
waits for one line with the start (CLOCK_MONOTONIC in ns), sends the plan to its end
(`open_loop`) or until SIGTERM, and leaves in FOLDER, beside the plan: requests.bin and
timings.bin (a row a request, `sample`) and generator.jsonl (readings, four a second, `record`).
Requests come from a process of their own so that Locust's statistics and web page never
hold up a send; `engine.Engine` is how a parent holds it.

Exit codes: 0 the schedule was run to its end, 3 it was ended before, 2 and 4 as in `errors`.
"""

from __future__ import annotations

import argparse
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
    from collections.abc import Sequence

    from loadtests.open_loop import OpenLoop

READY = "ready"
ENDED_EARLY = 3
_EARLY_NS = 300_000_000  # the loop opens its connections and looks around for so long before it sends


def client_command(folder: Path, ca_file: Path | None = None) -> list[str]:
    """Return the command line, as a person could paste it."""
    more = ["--ca-file", str(ca_file)] if ca_file else []
    return [sys.executable, "-m", "loadtests.client", str(folder), *more]


def main(argv: Sequence[str]) -> int:
    """Send the plan of a folder; its log goes there too."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.client", description="Sends a load plan.")
    parser.add_argument("folder", type=Path, help="folder with plan.json")
    parser.add_argument("--ca-file", type=Path, default=None, help="CA certificates for https targets")
    options = parser.parse_args(argv)
    try:
        return _send(options.folder, options.ca_file)
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr, flush=True)  # noqa: T201  the parent's log
        return error.exit_code


def _send(folder: Path, ca_file: Path | None) -> int:
    plan = load_plan(folder)
    # The plan's addresses were checked by whoever made it, who knows what is allowed.
    targets = LoadTargets(plan.servers, allowed=plan.allowed)
    claim_cpu(plan.cpus)
    plan = replace(plan, parent_pid=os.getppid())
    end = run_open_loop(plan, targets, folder, ca_file=ca_file, on_start=_wait_for_start)
    for note in end.notes:
        print(f"load: {note}", file=sys.stderr, flush=True)  # noqa: T201
    return 0 if end.complete else ENDED_EARLY


def _wait_for_start(loop: OpenLoop) -> None:
    """Say that all is ready, and return when the start is near; an end of input is no start."""
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    print(READY, flush=True)  # noqa: T201  the parent waits for it
    line = sys.stdin.readline()
    if not line.strip().isdigit():
        loop.stop()
        return
    time.sleep(max(0.0, (int(line) - _EARLY_NS - time.monotonic_ns()) / 1e9))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
