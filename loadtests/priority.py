"""The CPUs of a load generator, and its turn on them before other work."""

from __future__ import annotations

import contextlib
import os

from loadtests.host import parse_cpus


def claim_cpu(cpus: str | None) -> None:
    """Take the CPUs of the plan, before other work on them where that is allowed.

    Real time, because a nice value only counts inside the session's own scheduling
    group: beside a compiler, p99 lateness was 3.4 ms at normal priority and 0.05 ms so.
    It needs about a tenth of one CPU, and the kernel keeps 5 % from it come what may.
    """
    if cpus:
        os.sched_setaffinity(0, parse_cpus(cpus))
    with contextlib.suppress(OSError):  # only root may; lateness is measured either way
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
