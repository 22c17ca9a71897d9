"""Any locustfile in its own process, bounded and watched, its exact samples in a run folder.

The same promises as `run`: what fails while it runs is data (`complete` is False and
`reason` says why), what is wrong before anything is sent is raised.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.addresses import check_urls
from loadtests.errors import LoadInputError
from loadtests.exact_log import EXACT_FILE
from loadtests.exact_summary import ExactSummary, summarize_exact
from loadtests.host import parse_cpus
from loadtests.plan import LOG_FILE, SAMPLES_FILE
from loadtests.run import clean_environment, end_group, log_tail, signal_name, worker_options

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

_EXACT = Path(__file__).resolve().parent / "exact.py"
_START_BOUND_S = 30.0
_END_BOUND_S = 30.0
_POLL_S = 0.2
_MOST_USERS = 10_000


@dataclass(frozen=True, slots=True)
class FileRun:
    """How one run of a locustfile went; `summary` is None when not even a log came of it."""

    complete: bool
    reason: str
    returncode: int | None
    started: str
    duration_s: float
    folder: Path
    summary: ExactSummary | None


def run_locustfile(
    locustfile: Path,
    out_dir: Path,
    *,
    host: str,
    duration_s: float,
    users: int = 10,
    spawn_per_s: float = 100.0,
    warmup_s: float = 0.0,
    processes: int = 1,
    allowed: tuple[str, ...] = (),
    cpus: str | None = None,
    stop: threading.Event | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> FileRun:
    """Run a locustfile against `host` for `duration_s` and return its exact numbers."""
    _check(locustfile, host, allowed, cpus, (duration_s, spawn_per_s), (users, _MOST_USERS))
    out_dir = out_dir.absolute()
    out_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in (SAMPLES_FILE, EXACT_FILE):
        (out_dir / name).unlink(missing_ok=True)
    exact = [
        "--exact-folder",
        str(out_dir),
        "--exact-warmup",
        f"{warmup_s}",
        "--exact-allow",
        ",".join(allowed),
    ]
    command = [
        *(sys.executable, "-m", "locust", "-f", f"{_EXACT},{locustfile.absolute()}", "--headless"),
        *("--only-summary", "--exit-code-on-error", "0", "--host", host, "-u", str(users)),
        *("-r", f"{spawn_per_s}", "-t", f"{math.ceil(duration_s + warmup_s)}s"),
        *exact,
        *(["--exact-cpus", cpus] if cpus else []),
        *worker_options(processes),
    ]
    started = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    begin = time.monotonic()
    with (out_dir / LOG_FILE).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=out_dir,
            env=clean_environment(),
            start_new_session=True,
        )
        try:
            ended_for = _watch(process, _START_BOUND_S + warmup_s + duration_s + _END_BOUND_S, stop)
        finally:
            end_group(process)
    summary = None
    with contextlib.suppress(LoadInputError):
        summary = summarize_exact(out_dir)
    reason = _reason(process.returncode, ended_for, summary)
    if reason:
        reason += log_tail(out_dir / LOG_FILE)
    say(reason.split("\n", 1)[0] or f"{summary.requests if summary else 0} requests")
    return FileRun(
        not reason, reason, process.returncode, started, time.monotonic() - begin, out_dir, summary
    )


def _check(
    locustfile: Path,
    host: str,
    allowed: tuple[str, ...],
    cpus: str | None,
    numbers: Sequence[float],
    users: tuple[int, int],
) -> None:
    if not locustfile.is_file():
        raise LoadInputError(f"load: {locustfile} is not a file")
    check_urls([host], allowed)
    if cpus is not None:
        parse_cpus(cpus)
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        raise LoadInputError("load: a duration and a spawn rate must be numbers above 0")
    if not 1 <= users[0] <= users[1]:
        raise LoadInputError(f"load: {users[0]} users; from 1 to {users[1]} can run")


def _watch(process: subprocess.Popen[bytes], bound_s: float, stop: threading.Event | None) -> str:
    begin = time.monotonic()
    while process.poll() is None:
        if time.monotonic() - begin > bound_s:
            return f"did not end within its bound of {bound_s:.0f} s"
        if stop is None:
            time.sleep(_POLL_S)
        elif stop.wait(_POLL_S):
            return "was stopped on request"
    return ""


def _reason(returncode: int | None, ended_for: str, summary: ExactSummary | None) -> str:
    requests = summary.requests if summary else 0
    if ended_for:
        return f"Locust {ended_for}, after {requests} requests"
    if returncode is not None and returncode < 0:
        return f"Locust was killed by {signal_name(-returncode)} after {requests} requests"
    if returncode:
        return f"Locust ended with exit status {returncode} after {requests} requests"
    if summary is None:
        return "Locust ended without an exact log"
    return "; ".join(summary.invalid)
