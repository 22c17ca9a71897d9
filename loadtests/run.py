"""One load run: Locust in its own process, bounded, watched, and ended with ours.

A load that fails is data: `run_load` returns `LoadRun(complete=False, reason=...)` when
Locust crashed, was killed, ran over its bound or sent nothing. It raises only for what
is wrong before anything is sent: a bad profile (exit code 2), a refused address (4).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.addresses import check_addresses
from loadtests.buckets import write_histograms
from loadtests.errors import LoadInputError
from loadtests.host import parse_cpus
from loadtests.plan import LOG_FILE, SAMPLES_FILE, TICKS_FILE, LoadPlan, make_plan
from loadtests.record import FINISHED
from loadtests.sample import ROW

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from loadtests.profile import LoadProfile, LoadTargets

_ROOT = Path(__file__).resolve().parents[1]
_START_BOUND_S = 30.0
_END_BOUND_S = 10.0
_TERM_BOUND_S = 5.0
_POLL_S = 0.2
_SAY_EVERY_S = 3.0
_SILENT_S = 2.0
_TAIL_BYTES = 4096
_LOG_LINES = 5
_MOST_PROCESSES = 64


@dataclass(frozen=True, slots=True)
class LoadRun:
    """How one load run went; the files lie in `folder` whether it is complete or not.

    `returncode` is Locust's, negative for a signal. `extended_s` is by how much the run
    was made longer because the hypervisor took too many windows.
    """

    complete: bool
    reason: str
    returncode: int | None
    started: str
    duration_s: float
    folder: Path
    requests: int
    extended_s: float = 0.0

    @property
    def samples(self) -> Path:
        """The binary log of requests."""
        return self.folder / SAMPLES_FILE

    @property
    def ticks(self) -> Path:
        """The generator's own readings, a line of JSON each."""
        return self.folder / TICKS_FILE

    @property
    def log(self) -> Path:
        """What Locust printed."""
        return self.folder / LOG_FILE


def run_load(
    profile: LoadProfile,
    targets: LoadTargets,
    out_dir: Path,
    *,
    cpus: str | None = None,
    processes: int = 1,
    say: Callable[[str], None] = lambda _text: None,
    stop: threading.Event | None = None,
) -> LoadRun:
    """Send the profile's load to both sides and wait for its end, at most twice its length and a bit.

    More than one of `processes` send it together, as workers of one Locust on this machine.
    Setting `stop`, or any exception in this thread (KeyboardInterrupt), ends Locust in
    order: SIGTERM, then SIGKILL after 5 s.
    """
    check_addresses(targets)
    if cpus is not None:
        parse_cpus(cpus)
    if not 1 <= processes <= _MOST_PROCESSES:
        raise LoadInputError(f"load: {processes} processes; from 1 to {_MOST_PROCESSES} can send")
    out_dir = out_dir.absolute()
    out_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in (SAMPLES_FILE, TICKS_FILE):
        (out_dir / name).unlink(missing_ok=True)
    plan = make_plan(profile, targets, cpus=cpus, parent_pid=os.getpid())
    plan.save(out_dir)
    started = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    clock = time.monotonic()
    scratch = out_dir / "scratch"  # of workers, which a killed one leaves behind
    scratch.mkdir(exist_ok=True)
    with (out_dir / LOG_FILE).open("wb") as log:
        process = subprocess.Popen(
            [*locust_command(out_dir), *worker_options(processes)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=out_dir,
            env={**clean_environment(), "TMPDIR": str(scratch)},
            start_new_session=True,  # Ctrl-C reaches gonogo, which ends Locust in order
        )
        try:
            ended_for = _watch(process, plan, out_dir, say, stop)
        finally:
            end_group(process)
            shutil.rmtree(scratch, ignore_errors=True)
    with contextlib.suppress(OSError, ValueError):  # what there is of a log that was cut short
        write_histograms(out_dir)
    reason, requests, extended_s = _outcome(out_dir, plan, process.returncode, ended_for)
    return LoadRun(
        complete=not reason,
        reason=reason,
        returncode=process.returncode,
        started=started,
        duration_s=time.monotonic() - clock,
        folder=out_dir,
        requests=requests,
        extended_s=extended_s,
    )


def locust_command(out_dir: Path) -> list[str]:
    """Return the command line, as a person could paste it."""
    locustfile = str(_ROOT / "loadtests" / "paired.py")
    options = ["--headless", "--only-summary", "--exit-code-on-error", "0", "--plan", str(out_dir)]
    return [sys.executable, "-m", "locust", "-f", locustfile, *options]


def worker_options(processes: int) -> list[str]:
    """Return what makes Locust fork workers: on a loopback port of their own, so runs never meet."""
    if processes == 1:
        return []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    return ["--processes", str(processes), *bind, "--master-host", "127.0.0.1", "--master-port", port]


def clean_environment() -> dict[str, str]:
    """Return ours without Locust's own settings, which would change what is sent."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "GONOGO_LOAD"))
    }
    path = os.pathsep.join(filter(None, (str(_ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _watch(
    process: subprocess.Popen[bytes],
    plan: LoadPlan,
    folder: Path,
    say: Callable[[str], None],
    stop: threading.Event | None,
) -> str:
    """Wait for the end; return why it was cut short, or nothing when it ended by itself."""
    profile = plan.profile
    longest_s = (plan.warmup_rounds + plan.most_rounds) * plan.round_ns / 1e9
    bound_s = _START_BOUND_S + longest_s + profile.timeout_s + _END_BOUND_S
    begin = said = time.monotonic()
    while process.poll() is None:
        now = time.monotonic()
        if now - begin > bound_s:
            return f"did not end within its bound of {bound_s:.0f} s"
        if now - said >= _SAY_EVERY_S:
            said = now
            say(_progress(plan, _tail(folder / TICKS_FILE), now))
        if stop is None:
            time.sleep(_POLL_S)
        elif stop.wait(_POLL_S):
            return "was stopped on request"
    return ""


def _progress(plan: LoadPlan, tail: Mapping[str, Any], now: float) -> str:
    if "sent" not in tail:
        return "load: starting Locust"
    errors = " and ".join(f"{count} on {side}" for side, count in tail["errors"].items())
    planned = (plan.warmup_rounds + tail["rounds"]) * plan.pairs_per_round * 2
    silent_s = now - tail["at_ns"] / 1e9
    extended_s = (tail["rounds"] - plan.measured_rounds) * plan.round_ns / 1e9
    return (
        f"load: {sum(tail['sent'].values())} requests of {planned}, "
        f"errors {errors}, {tail['late']} late, {tail['dropped']} dropped"
        + (f"; {extended_s:.0f} s longer, windows were lost to the hypervisor" if extended_s > 0 else "")
        + (f"; last heard of {silent_s:.0f} s ago" if silent_s > _SILENT_S else "")
    )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End Locust if it still runs: SIGTERM lets it close its log, SIGKILL if it does not.

    Workers that outlive it are killed: they are of its process group, and nobody else is.
    """
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_TERM_BOUND_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _outcome(folder: Path, plan: LoadPlan, returncode: int | None, ended_for: str) -> tuple[str, int, float]:
    """Return why the run does not count (nothing when it does), its requests, its extension."""
    samples = folder / SAMPLES_FILE
    requests = samples.stat().st_size // ROW.size if samples.exists() else 0
    end = _tail(folder / TICKS_FILE)
    extended = max(0, int(end.get("rounds", plan.measured_rounds)) - plan.measured_rounds)
    reason = _reason(returncode, ended_for, requests, end)
    if reason:
        reason += log_tail(folder / LOG_FILE)
    return reason, requests, extended * plan.round_ns / 1e9


def _reason(returncode: int | None, ended_for: str, requests: int, end: Mapping[str, Any]) -> str:
    """Return why the run does not count, or nothing when it does."""
    if ended_for:
        return f"Locust {ended_for}, after {requests} requests"
    if returncode is not None and returncode < 0:
        return f"Locust was killed by {signal_name(-returncode)} after {requests} requests"
    if returncode:
        return f"Locust ended with exit status {returncode} after {requests} requests"
    if not requests:
        return "Locust ended without sending a request"
    if end.get("end") == FINISHED:
        return ""
    why = f": {end['why']}" if end.get("why") else ""
    return f"Locust ended before the schedule did, after {requests} requests{why}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(path: Path) -> dict[str, Any]:
    """Return the last whole line of the generator's readings; nothing when there is none."""
    try:
        with path.open("rb") as source:
            source.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = source.read().splitlines(keepends=True)
    except OSError:
        return {}
    for line in reversed(lines):
        if line.endswith(b"\n"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            return found if isinstance(found, dict) else {}
    return {}


def log_tail(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "backslashreplace").strip().splitlines()
    except OSError:
        return ""
    return f"; its last lines ({path}):\n" + "\n".join(lines[-_LOG_LINES:]) if lines else ""
